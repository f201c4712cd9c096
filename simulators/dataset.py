r"""Training sets: simulated rows on disk, larger than memory, the same bytes however they were made.

A set is a Zarr v3 group with the variables ``theta`` (N, D), ``waves`` (N, site, T), ``quantities`` (N, Q) and
``status`` (N), cut into shards. Each shard has a stream of random numbers of its own, from the seed and its number, and
is simulated in batches of one size by a process with one thread: any number of workers gives the same files, byte for
byte. A shard counts once its mark is written, which holds the SHA-256 of its files; a kill at any moment costs the
shards in progress, and the same call with ``resume=True`` goes on. Rows that failed stay, with their status.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple, cast

from ._identity import attributes_of, differences
from ._pool import Hand, WorkerPool
from ._shards import Layout, create, read_marks, sweep
from .registry import SimulatorSpec
from .status import STATUS, usable_names
from .training_set import TrainingSet

if TYPE_CHECKING:
    from .cluster import ClusterPool

__all__ = [
    "Progress",
    "TrainingSet",
    "TrainingSetError",
    "TrainingSetInterrupted",
    "TrainingSetReport",
    "default_workers",
    "make_training_set",
]

_PASSED_ON: dict[str, type[Exception]] = {
    "ValueError": ValueError, "TypeError": TypeError, "ImportError": ImportError, "ModuleNotFoundError": ImportError,
    "MemoryError": MemoryError,
}  # fmt: skip


class Progress(NamedTuple):
    r"""How far a run is.

    Arguments:
        rows: Rows simulated, those of earlier runs included.
        n: Rows wanted.
        stopping: Whether the run only waits for the shards in progress.

    Example:
        >>> Progress(512, 1024, stopping=False).rows
        512
    """

    rows: int
    n: int
    stopping: bool


class TrainingSetError(ValueError):
    r"""A training set cannot be written where it was asked for.

    Arguments:
        message: What was expected and what was found.
        code: Short slug for programs: ``exists``, ``not-a-set``, ``differs`` or ``busy``.
        hint: What to try.

    Example:
        >>> str(TrainingSetError("set.zarr exists", code="exists", hint="add --force to replace it"))
        'set.zarr exists: add --force to replace it'
    """

    def __init__(self, message: str, *, code: str, hint: str) -> None:
        super().__init__(f"{message}: {hint}")
        self.message = message
        self.code = code
        self.hint = hint


class TrainingSetInterrupted(KeyboardInterrupt):
    r"""A run was stopped by Ctrl-C, after the shards in progress were finished.

    Arguments:
        message: How much is done.
        hint: How to go on.

    Example:
        >>> TrainingSetInterrupted("512 of 1024 rows are done", hint="--resume").hint
        '--resume'
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class TrainingSetReport:
    r"""What a run made.

    Arguments:
        out: The set.
        n: Rows of the set.
        made: Rows simulated by this run.
        seconds: Wall-clock time from the first worker being ready to the last shard being written [s].
        compile_seconds: Wall-clock time until the first worker was ready: imports, tables, compilation, one batch [s].
        status: Rows of the set by name of their status.
        fingerprint: Hash of all that determines the bytes.

    Example:
        >>> TrainingSetReport(Path("set.zarr"), 100, 100, 2.0, 1.0, {"ok": 90, "diverged": 10}, "ab12").acceptance
        0.9
    """

    out: Path
    n: int
    made: int
    seconds: float
    compile_seconds: float
    status: dict[str, int]
    fingerprint: str

    @property
    def rate(self) -> float:
        r"""Rows simulated per second; 0 when there was nothing left to do."""
        return self.made / self.seconds if self.made and self.seconds > 0 else 0.0

    @property
    def acceptance(self) -> float:
        r"""Share of rows that may be trained on."""
        return sum(self.status.get(name, 0) for name in usable_names()) / self.n


def default_workers() -> int:
    r"""Returns the number of cores this process may run on.

    Example:
        >>> default_workers() >= 1
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_training_set(
    simulator_spec: SimulatorSpec | tuple[str, Mapping[str, object]],
    n: int,
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    shard_size: int = 1024,
    batch_size: int = 256,
    workers: int = 0,
    resume: bool = False,
    force: bool = False,
    device: str = "cpu",
    scheduler: str = "",
    progress: Callable[[Progress], None] | None = None,
) -> TrainingSetReport:
    r"""Simulates a training set, or goes on with one.

    Arguments:
        simulator_spec: Name and configuration of the simulator.
        n: Number of rows N.
        out: The folder of the set, usually ``*.zarr``.
        seed: Seed of the set, not negative.
        shard_size: Rows per shard, the unit of work; at most ``n`` is taken.
        batch_size: Rows simulated at a time; at most ``shard_size`` is taken.
        workers: Number of processes; 0 takes one for each core.
        resume: Go on with what stands at ``out``: verified, nothing done twice. Starts anew where nothing stands.
        force: Replace the training set that stands at ``out``; anything else there is never touched.
        device: ``"cpu"`` or ``"cuda"``, where JAX simulates.
        scheduler: Address of a Dask scheduler, or its scheduler file, whose workers simulate; empty for this machine.
        progress: Called whenever rows are finished.

    Returns:
        What was made.

    Raises:
        ValueError: If an argument is out of range.
        TrainingSetError: If something stands at ``out`` and neither ``resume`` nor ``force``
            is given; if ``resume`` meets a set of another simulator, configuration, seed or size.
        OSError: If ``out`` cannot be written, or the disk is full.
        ChildProcessError: If a worker on this machine is killed.
        ClusterError: If the cluster cannot be reached, is lost, or runs other software.
        TrainingSetInterrupted: After Ctrl-C, once the shards in progress are finished; a second Ctrl-C ends at once.

    Example:
        >>> report = make_training_set(SimulatorSpec("windkessel"), 4096, "set.zarr")  # doctest: +SKIP
        >>> TrainingSet.open("set.zarr").theta.shape  # doctest: +SKIP
        (4096, 2)
    """
    path = Path(out)
    size = min(shard_size, n)
    layout = Layout(n, size, min(batch_size, size))
    _check(seed, workers, device, scheduler, resume=resume, force=force)
    _make_room(path, resume=resume, force=force)
    _check_writable(path)
    run = _Run(SimulatorSpec(*simulator_spec), layout, path, seed, device, progress, begun=time.perf_counter())
    setup = {"name": run.spec.name, "config": dict(run.spec.config), "seed": seed, "layout": vars(layout)}
    with _interrupts() as interrupts, _pool(run, setup, workers, scheduler) as pool, run:
        while not run.is_complete:
            for worker, message in pool.hear(0.2):
                if interrupts and not run.stopping:
                    run.stop()
                run.take(worker, message)
            if interrupts and not run.stopping:
                run.stop()
            if run.stopping:
                pool.withdraw()
                if not run.busy:
                    break
    return run.report()


@dataclass
class _Run:
    """State of one call: what is done, what waits and who is at work."""

    spec: SimulatorSpec
    layout: Layout
    out: Path
    seed: int
    device: str
    progress: Callable[[Progress], None] | None
    begun: float
    attributes: dict[str, object] = field(default_factory=dict)
    is_open: bool = False
    stopping: bool = False
    pending: deque[int] = field(default_factory=deque)
    busy: set[int] = field(default_factory=set)
    done: dict[int, dict[str, int]] = field(default_factory=dict)
    rows: int = 0
    made: int = 0
    ready: float = 0.0
    ended: float = 0.0
    lock: int = -1

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        if self.lock >= 0:
            os.close(self.lock)

    @property
    def is_complete(self) -> bool:
        return self.is_open and len(self.done) == self.layout.n_shards

    def stop(self) -> None:
        self.stopping = True
        self.pending.clear()
        self._tell()

    def take(self, worker: Hand, message: dict[str, object]) -> None:
        kind = message["kind"]
        if kind == "built" and not self.attributes:
            self._built(cast("dict[str, object]", message["description"]))
        elif kind == "warm":
            self._warm(cast("tuple[int, int]", message["wave_shape"]))
            worker.is_warm = True
            self._assign(worker)
        elif kind == "rows":
            self.rows += int(str(message["rows"]))
            self._tell()
        elif kind == "done":
            self._done(int(str(message["shard"])), cast("dict[str, int]", message["status"]))
            self._assign(worker)
        elif kind == "withdrawn":
            self.busy.discard(int(str(message["shard"])))
        elif kind == "failed":
            raise _failure(message, self.out, worker.shard)

    def report(self) -> TrainingSetReport:
        if not self.is_complete:
            raise TrainingSetInterrupted(
                f"{self.out.name}: {sum(sum(s.values()) for s in self.done.values())} of {self.layout.n} rows are done",
                hint="run the same command with --resume to go on",
            )
        status = {name: sum(counts.get(name, 0) for counts in self.done.values()) for name in STATUS.values()}
        return TrainingSetReport(
            out=self.out,
            n=self.layout.n,
            made=self.made,
            seconds=max(self.ended - self.ready, 0.0),
            compile_seconds=max((self.ready or time.perf_counter()) - self.begun, 0.0),
            status={name: count for name, count in status.items() if count or name == "ok"},
            fingerprint=str(self.attributes["fingerprint"]),
        )

    def _built(self, description: dict[str, object]) -> None:
        self.attributes = attributes_of(description, self.layout, seed=self.seed, device=self.device)
        if not _is_free(self.out):
            self._open()

    def _warm(self, wave_shape: tuple[int, int]) -> None:
        if self.ready:
            return
        self.ready = self.ended = time.perf_counter()
        if not self.is_open and not self.stopping:
            widths = tuple(len(cast("list[str]", self.attributes[key])) for key in ("theta_names", "quantity_names"))
            create(
                self.out,
                self.layout,
                {**self.attributes, "n_samples": wave_shape[1]},
                site_shape=wave_shape,
                widths=cast("tuple[int, int]", widths),
            )
            self._open()

    def _open(self) -> None:
        self.lock = _lock(self.out)
        _check_same(self.out, self.attributes)
        sweep(self.out)
        self.done = read_marks(self.out, self.layout, verify=True)
        self.rows = sum(sum(counts.values()) for counts in self.done.values())
        self.pending.extend(shard for shard in range(self.layout.n_shards) if shard not in self.done)
        self.is_open = True
        self._tell()

    def _assign(self, worker: Hand) -> None:
        worker.shard = None
        if self.pending:
            worker.shard = self.pending.popleft()
            self.busy.add(worker.shard)
            worker.tell({"shard": worker.shard, "out": str(self.out)})

    def _done(self, shard: int, status: dict[str, int]) -> None:
        self.busy.discard(shard)
        self.done[shard] = status
        self.made += sum(status.values())
        self.ended = time.perf_counter()

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(Progress(self.rows, self.layout.n, self.stopping))


def _pool(run: _Run, setup: Mapping[str, object], workers: int, scheduler: str) -> WorkerPool | ClusterPool:
    double = run.spec.config.get("precision") == "float64"
    environment = {"JAX_PLATFORMS": run.device, "JAX_ENABLE_X64": str(int(double))}
    if not scheduler:
        return WorkerPool(setup, min(workers or default_workers(), run.layout.n_shards), environment=environment)
    from .cluster import ClusterPool

    return ClusterPool(scheduler, setup, run.out, device=run.device, environment=environment)


def _check(seed: int, workers: int, device: str, scheduler: str, *, resume: bool, force: bool) -> None:
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if workers < 0:
        raise ValueError(f"workers must not be negative, got {workers}: 0 takes one for each core")
    if workers and scheduler:
        raise ValueError("workers counts processes of this machine, the scheduler has its own: give one of them")
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}")
    if resume and force:
        raise ValueError("resume goes on with a set and force replaces it: give one of them")


def _make_room(out: Path, *, resume: bool, force: bool) -> None:
    if _is_free(out) or (resume and TrainingSet.stands_at(out)):
        return
    if not TrainingSet.stands_at(out):
        raise TrainingSetError(
            f"{out.name} exists and is not a training set",
            code="not-a-set",
            hint="choose another name, it stays as it is",
        )
    if not force:
        raise TrainingSetError(
            f"{out.name} exists", code="exists", hint="add --resume to go on with it, or --force to replace it"
        )
    os.close(_lock(out))
    shutil.rmtree(out)


def _check_writable(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        reason = f"{out.name} cannot be written here: a folder is expected where a file stands"
        raise NotADirectoryError(errno.ENOTDIR, reason, str(error.filename)) from error
    try:
        trial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))  # before anything is simulated
    except OSError as error:
        raise OSError(error.errno, f"cannot be written: {error.strerror}", str(out)) from error
    trial.rmdir()


def _is_free(out: Path) -> bool:
    return not out.exists() or (out.is_dir() and not any(out.iterdir()))


def _check_same(out: Path, attributes: Mapping[str, object]) -> None:
    there = TrainingSet.read_attributes(out)
    if there.get("fingerprint") == attributes["fingerprint"]:
        return
    found = differences(there, attributes)
    raise TrainingSetError(
        f"{out.name} was made otherwise and cannot be resumed: {'; '.join(found) or 'its fingerprint differs'}",
        code="differs",
        hint="ask for what it was made with, or replace it with --force",
    )


def _failure(message: Mapping[str, object], out: Path, shard: int | None) -> Exception:
    kind, text = str(message["type"]), str(message["message"])
    if message["errno"] is not None:
        kept = f"{text} (in shard {shard}; finished shards are kept: make room, then run again with resume)"
        return OSError(message["errno"], kept, str(message["file"] or out))
    if kind in _PASSED_ON:
        return _PASSED_ON[kind](text)
    return RuntimeError(f"the simulator failed in shard {shard}: {kind}: {text}")


def _lock(out: Path) -> int:
    """Locks the folder against a second run; the lock ends with the descriptor, and so with the process."""
    import fcntl

    descriptor = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise TrainingSetError(
            f"{out.name} is being written by another run", code="busy", hint="wait for it, or choose another name"
        ) from None
    return descriptor


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collects Ctrl-C instead of raising it; the second one is raised."""
    seen: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)
