r"""Work that takes longer than a page may: in a thread, with progress and cancel, kept for whoever asks the same again.

A task is known by what it is about (recording, labels, model, settings), so that going back to a page, or reloading it,
finds the work where it stands. Threads hold results in a list that only grows; pages read it whenever they draw.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Desk", "Task"]

MOST_TASKS = 24


@dataclass
class Task:
    r"""One piece of work in a thread.

    Arguments:
        total: How many results there will be; 0 where it is not known.

    Example:
        >>> task = Task(2)
        >>> task.start(lambda: iter([1, 2])).wait(5.0)
        True
        >>> task.results, task.state
        ([1, 2], 'done')
    """

    total: int
    results: list[Any] = field(default_factory=list)
    error: Exception | None = None
    seconds: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)

    def start(self, work: Callable[[], Iterator[Any]]) -> Task:
        r"""Begin the work in a thread.

        Arguments:
            work: Gives an iterator of results.
        """
        threading.Thread(target=self._run, args=(work,), daemon=True, name="desk").start()
        return self

    def cancel(self) -> None:
        r"""Ask the work to stop after the result it is at; what is there stays."""
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        r"""Wait for the end.

        Arguments:
            seconds: Longest wait [s].

        Returns:
            Whether the work is over.
        """
        return self._over.wait(seconds)

    @property
    def running(self) -> bool:
        r"""Whether it is at work."""
        return not self._over.is_set()

    @property
    def state(self) -> str:
        r"""`running`, `done`, `cancelled` or `failed`."""
        if self.running:
            return "running"
        if self.error is not None:
            return "failed"
        return "cancelled" if self._stop.is_set() else "done"

    @property
    def progress(self) -> float:
        r"""Share done, from 0 to 1."""
        return min(len(self.results) / self.total, 1.0) if self.total else 0.0

    def _run(self, work: Callable[[], Iterator[Any]]) -> None:
        begun = time.perf_counter()
        try:
            for result in work():
                self.results.append(result)
                if self._stop.is_set():
                    break
                time.sleep(0.001)  # the page's thread comes first
        except Exception as error:  # told on the page, with what was found until then
            self.error = error
        finally:
            self.seconds = time.perf_counter() - begun
            self._over.set()


class Desk:
    r"""Tasks and results by what they are about, the oldest forgotten first.

    Example:
        >>> desk = Desk()
        >>> task = desk.task(("count", 3), 3, lambda: iter(range(3)))
        >>> task is desk.task(("count", 3), 3, lambda: iter(range(3)))
        True
    """

    def __init__(self) -> None:
        self._tasks: OrderedDict[Hashable, Task] = OrderedDict()
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def task(self, about: Hashable, total: int, work: Callable[[], Iterator[Any]]) -> Task:
        r"""The task about something, begun if there is none.

        Arguments:
            about: What it is about.
            total: How many results there will be.
            work: Gives an iterator of results.
        """
        with self._lock:
            if about not in self._tasks:
                self._tasks[about] = Task(total).start(work)
            self._tasks.move_to_end(about)
            while len(self._tasks) > MOST_TASKS:
                self._tasks.popitem(last=False)[1].cancel()
            return self._tasks[about]

    def known(self, about: Hashable) -> Task | None:
        r"""The task about something, if there is one.

        Arguments:
            about: What it is about.
        """
        return self._tasks.get(about)

    def forget(self, about: Hashable) -> None:
        r"""Cancel and drop a task, so that it can be begun again.

        Arguments:
            about: What it is about.
        """
        with self._lock:
            task = self._tasks.pop(about, None)
        if task is not None:
            task.cancel()

    def keep(self, about: Hashable, make: Callable[[], Any], *, most: int = 64) -> Any:
        r"""A result that is made once.

        Arguments:
            about: What it is about.
            make: Makes it.
            most: How many results are kept.
        """
        if about not in self._kept:
            made = make()
            with self._lock:
                self._kept[about] = made
                while len(self._kept) > most:
                    self._kept.popitem(last=False)
        return self._kept[about]
