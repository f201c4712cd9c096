r"""Work shared out and taken back in order: windows in, answers out, by threads or by processes of their own.

Answering a window is many small steps of NumPy and torch, each of which holds the interpreter: two threads do little
more than one. Processes do not wait for each other, but take some seconds to start, so they are for long recordings.
"""

from __future__ import annotations

import io
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Any, TypeVar

__all__ = ["Processes", "Workers", "in_order"]

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 8
"""Items that a process is sent at a time."""
_DO: Callable[[Any], Any]
"""What a worker process does; sent once, when it starts."""


@dataclass(frozen=True)
class Processes:
    r"""Fresh interpreters, each with one thread of torch.

    What is sent is pickled, and a script that asks for them must be guarded by ``if __name__ == "__main__"``, as
    `multiprocessing` asks of every script.

    Arguments:
        n: Number of processes.

    Example:
        >>> Processes(2).n
        2
    """

    n: int


Workers = int | Processes
"""A number of threads, or processes."""


def in_order(items: Iterable[T], do: Callable[[T], R], workers: Workers) -> Iterator[R]:
    r"""Results in the order of the items, at most a few more in flight than there are workers.

    Arguments:
        items: What is to be done, asked for here and one after another.
        do: Does one of them.
        workers: Threads that call it, or processes.

    Returns:
        An iterator over results. If the items end with a `ValueError`, those that came before count.

    Raises:
        ValueError: If there are no workers, or as the items do.
        ChildProcessError: If a process dies.

    Example:
        >>> import math
        >>> list(in_order([1.0, 4.0, 9.0], math.sqrt, workers=2))
        [1.0, 2.0, 3.0]
    """
    n = workers.n if isinstance(workers, Processes) else workers
    if n < 1:
        raise ValueError(f"workers must be at least 1, got {n}")
    if isinstance(workers, Processes):
        return _by_processes(iter(items), do, n)
    return map(do, items) if n == 1 else _by_threads(iter(items), do, n)


def _by_threads(items: Iterator[T], do: Callable[[T], R], n: int) -> Iterator[R]:
    with _Closing(ThreadPoolExecutor(n)) as pool:
        yield from _taken_back((pool.submit(do, item) for item in items), 2 * n)


def _by_processes(items: Iterator[T], do: Callable[[T], R], n: int) -> Iterator[R]:
    fault: list[ValueError] = []
    whole = _until_fault(items, fault)
    parts = iter(lambda: list(islice(whole, _AT_ONCE)), [])
    try:
        with _Closing(ProcessPoolExecutor(n, get_context("spawn"), _begin, (_bytes(do),))) as pool:
            for answers in _taken_back((_sent(pool, part) for part in parts), 2 * n):
                yield from pickle.loads(answers)
    except BrokenProcessPool as error:
        raise ChildProcessError("a process that answers windows was ended from outside") from error
    if fault:
        raise fault[0]


def _sent(pool: Executor, part: list[Any]) -> Future[bytes]:
    """Sends a part. Processes start here, and inherit that Ctrl-C is not for them."""
    if not hasattr(signal, "pthread_sigmask"):
        return pool.submit(_do, _bytes(part))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return pool.submit(_do, _bytes(part))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _until_fault(items: Iterator[T], fault: list[ValueError]) -> Iterator[T]:
    """Items until one cannot be had, so that those of its part that could be are not lost."""
    try:
        yield from items
    except ValueError as error:
        fault.append(error)


def _taken_back(sent: Iterator[Future[R]], most: int) -> Iterator[R]:
    """Results in order, with at most so many more sent than were taken."""
    waiting: deque[Future[R]] = deque()
    try:
        for one in sent:
            waiting.append(one)
            if len(waiting) > most:
                yield waiting.popleft().result()
    except ValueError:
        # The items are damaged further on: what came before still counts.
        while waiting:
            yield waiting.popleft().result()
        raise
    while waiting:
        yield waiting.popleft().result()


class _Closing:
    """An executor that is not asked to finish what nobody waits for."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    def __enter__(self) -> Executor:
        return self._pool

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _begin(do: bytes) -> None:
    """Makes a process ready: one thread, and Ctrl-C is its parent's."""
    import torch

    global _DO
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _DO = pickle.loads(do)


def _do(part: bytes) -> bytes:
    """Does some items."""
    return _bytes([_DO(item) for item in pickle.loads(part)])


class _Pickler(pickle.Pickler):
    """Sends tensors as arrays: torch would write the whole storage of a view, or share it through a file."""

    def reducer_override(self, one: Any) -> Any:
        import torch

        if type(one) is torch.Tensor and one.dtype in (torch.float32, torch.float64, torch.int64):
            return torch.from_numpy, (one.detach().cpu().numpy().copy(),)
        return NotImplemented


def _bytes(one: Any) -> bytes:
    file = io.BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(one)
    return file.getvalue()
