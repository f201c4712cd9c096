r"""A few worker processes and the lines of JSON that pass between them and their parent.

Every worker is a fresh interpreter, so nothing of the parent's threads or libraries is inherited; it stands in a
process group of its own, so Ctrl-C reaches the parent alone, which lets the shards in progress end.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Protocol

__all__ = ["Hand", "Worker", "WorkerPool"]

_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
_XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


class Hand(Protocol):
    r"""Whoever takes a shard: a process of this machine, or a place in a cluster's queue."""

    shard: int | None
    is_warm: bool

    def tell(self, message: Mapping[str, object]) -> None:
        r"""Sends a message."""


class Worker:
    r"""One worker process.

    Arguments:
        number: Number of the worker; it runs on the core of that number, counted from the parent's process id.
        environment: Environment variables that it has beside its parent's.
    """

    def __init__(self, number: int, *, environment: Mapping[str, str]) -> None:
        self.number = number
        self.shard: int | None = None
        self.is_warm = False
        self._unread = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}._worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**_environment(number), **environment},
            process_group=0,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a worker has no pipes")
        self._tasks, self.answers = self._process.stdin, self._process.stdout

    def tell(self, message: Mapping[str, object]) -> None:
        r"""Sends a message; one to a worker that has died is lost, and its end is met by ``hear``."""
        try:
            self._tasks.write(json.dumps(message).encode() + b"\n")
            self._tasks.flush()
        except BrokenPipeError:
            return

    def hear(self) -> Iterator[dict[str, object]]:
        r"""Yields the messages that have come.

        Raises:
            ChildProcessError: If the worker has ended.
        """
        data = os.read(self.answers.fileno(), 1 << 16)
        *lines, self._unread = (self._unread + data).split(b"\n")
        yield from (json.loads(line) for line in lines)
        if not data:
            code = self._process.wait()
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            where = "while starting" if self.shard is None else f"in shard {self.shard}"
            raise ChildProcessError(
                f"worker {self.number} {how} {where}: if memory ran out, ask for fewer workers or a smaller batch; "
                "finished shards are kept, run again with resume"
            )

    def end(self, *, at_once: bool) -> None:
        r"""Ends the worker: hangs up, and kills it if it stays."""
        if at_once:
            self._process.kill()
        with suppress(BrokenPipeError):
            self._tasks.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.answers.close()


class WorkerPool:
    r"""Workers that were all given the same setup; a context manager that ends them.

    Arguments:
        setup: First message to each worker.
        workers: Number of workers.
        environment: Environment variables that they have beside their parent's.
    """

    def __init__(self, setup: Mapping[str, object], workers: int, *, environment: Mapping[str, str]) -> None:
        self._selector = selectors.DefaultSelector()
        self.workers: list[Worker] = []
        try:
            for number in range(workers):
                worker = Worker(number, environment=environment)
                self.workers.append(worker)
                self._selector.register(worker.answers, selectors.EVENT_READ, worker)
                worker.tell(setup)
        except BaseException:
            self._end(at_once=True)
            raise

    def hear(self, timeout_s: float) -> Iterator[tuple[Worker, dict[str, object]]]:
        r"""Yields the messages that come within ``timeout_s``, each with its worker.

        Raises:
            ChildProcessError: If a worker has ended.
        """
        for key, _ in self._selector.select(timeout_s):
            for message in key.data.hear():
                yield key.data, message

    def withdraw(self) -> None:
        r"""Takes back shards that nobody has begun: there are none, a worker is only told what it does at once."""

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(at_once=kind is not None)

    def _end(self, *, at_once: bool) -> None:
        for worker in self.workers:
            worker.end(at_once=at_once)
        self._selector.close()


def _environment(number: int) -> dict[str, str]:
    flags = f"{os.environ.get('XLA_FLAGS', '')} {_XLA_ONE_THREAD}".strip()
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {
        **os.environ,
        **_ONE_THREAD,
        "XLA_FLAGS": flags,
        "PYTHONPATH": path,
        "PULSEBAYES_WORKER": str(number + os.getpid()),
    }
