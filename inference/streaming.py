r"""Batches from a training set that is larger than memory, in a new order and with fresh sensors every epoch.

Blocks of consecutive rows are visited in random order; a buffer of several blocks is shuffled as it fills, and each
batch goes through the sensor model once more. Order and sensors depend on (seed, epoch, batch) only, so a run that is
resumed after an epoch sees the same batches as one that never stopped. A thread reads ahead while a batch trains.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float

__all__ = [
    "ArraySource",
    "Batches",
    "ChannelSource",
    "PartSource",
    "ReadBatches",
    "Sensor",
    "SetSource",
    "Source",
    "WholeWindow",
]

Batch = tuple[Float[np.ndarray, "B *window"], Float[np.ndarray, "B D"]]


class Source(Protocol):
    r"""Rows of waveforms, read by range.

    Example:
        >>> source: Source = ArraySource(np.zeros((4, 10), np.float32))
        >>> source.rows(1, 3).shape
        (2, 10)
    """

    @property
    def n(self) -> int:
        r"""Number of rows."""

    def rows(self, start: int, stop: int) -> Float[np.ndarray, "n *wave"]:
        r"""Reads the waveforms of rows ``start`` to ``stop``: (n, T), or (n, C, T) of several channels."""


class Sensor(Protocol):
    r"""What turns simulated waveforms into observed windows.

    Example:
        >>> sensor: Sensor = WholeWindow()
    """

    def apply(
        self, waves: Any, rng: np.random.Generator, *, fs: float, out_samples: int = 1000, width: float = 1.0
    ) -> Float[np.ndarray, "N *window"]:
        r"""Observes waveforms with parameters drawn for each row."""


@dataclass(frozen=True)
class WholeWindow:
    r"""No sensor: waveforms are observed as they are.

    Example:
        >>> WholeWindow().apply(np.ones((2, 5)), np.random.default_rng(0), fs=125.0, out_samples=5).shape
        (2, 5)
    """

    def apply(
        self,
        waves: Float[np.ndarray, "N T"],
        rng: np.random.Generator,
        *,
        fs: float,
        out_samples: int = 1000,
        width: float = 1.0,
    ) -> Float[np.ndarray, "N samples"]:
        r"""Returns the first samples.

        Arguments:
            waves: Waveforms.
            rng: Not used.
            fs: Not used.
            out_samples: Samples to keep.
            width: Not used.
        """
        return np.asarray(waves[:, :out_samples], dtype=np.float32)


@dataclass(frozen=True)
class ArraySource:
    r"""Waveforms held in memory.

    Arguments:
        waves: Waveforms.

    Example:
        >>> ArraySource(np.zeros((4, 10), np.float32)).n
        4
    """

    waves: Float[np.ndarray, "n *wave"]

    @property
    def n(self) -> int:
        r"""Number of rows."""
        return len(self.waves)

    def rows(self, start: int, stop: int) -> Float[np.ndarray, "n *wave"]:
        r"""Reads rows.

        Arguments:
            start: First row.
            stop: Row after the last.
        """
        return np.asarray(self.waves[start:stop], dtype=np.float32)


@dataclass(frozen=True)
class SetSource:
    r"""Waveforms of one site of a training set on disk.

    Arguments:
        waves: Lazy array of waveforms with shape (n, site, time) [mmHg].
        site: Index of the site.

    Example:
        >>> SetSource(np.zeros((4, 2, 10), np.float32), 1).rows(0, 3).shape
        (3, 10)
    """

    waves: Any
    site: int = 0

    @property
    def n(self) -> int:
        r"""Number of rows."""
        return int(self.waves.shape[0])

    def rows(self, start: int, stop: int) -> Float[np.ndarray, "n T"]:
        r"""Reads rows.

        Arguments:
            start: First row.
            stop: Row after the last.
        """
        return np.asarray(self.waves[start:stop, self.site], dtype=np.float32)


@dataclass(frozen=True)
class ChannelSource:
    r"""Waveforms of several sites of a training set on disk.

    Arguments:
        waves: Lazy array of waveforms with shape (n, site, time).
        sites: Index of each channel's site, in the order of the channels.

    Example:
        >>> ChannelSource(np.zeros((4, 3, 10), np.float32), (2, 0)).rows(0, 3).shape
        (3, 2, 10)
    """

    waves: Any
    sites: tuple[int, ...]

    @property
    def n(self) -> int:
        r"""Number of rows."""
        return int(self.waves.shape[0])

    def rows(self, start: int, stop: int) -> Float[np.ndarray, "n C T"]:
        r"""Reads rows.

        Arguments:
            start: First row.
            stop: Row after the last.
        """
        return np.asarray(self.waves[start:stop], dtype=np.float32)[:, list(self.sites)]


@dataclass(frozen=True)
class PartSource:
    r"""A range of rows of another source.

    Arguments:
        source: The other source.
        start: First row.
        stop: Row after the last.

    Raises:
        ValueError: If the range does not lie in the source.

    Example:
        >>> PartSource(ArraySource(np.arange(8.0)[:, None]), 2, 6).rows(0, 2).ravel().tolist()
        [2.0, 3.0]
    """

    source: Source
    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= self.source.n:
            raise ValueError(
                f"start and stop must lie in order within {self.source.n} rows, got {self.start}, {self.stop}"
            )

    @property
    def n(self) -> int:
        r"""Number of rows."""
        return self.stop - self.start

    def rows(self, start: int, stop: int) -> Float[np.ndarray, "n *wave"]:
        r"""Reads rows.

        Arguments:
            start: First row.
            stop: Row after the last.
        """
        return self.source.rows(self.start + start, min(self.start + stop, self.stop))


@dataclass(frozen=True)
class Batches:
    r"""Shuffled batches of windows and targets.

    Arguments:
        source: Where waveforms are read.
        targets: Unconstrained outputs of every row.
        keep: Rows to train on.
        sensor: Sensor model.
        fs: Sampling rate of the waveforms [Hz].
        samples: Length of a window.
        batch: Rows in a batch.
        block: Consecutive rows read at once.
        buffer: Blocks that are shuffled together.
        seed: Seed of order and sensors.

    Raises:
        ValueError: If targets or keep have another length than the source.

    Example:
        >>> batches = Batches(ArraySource(np.zeros((64, 8), np.float32)), np.zeros((64, 2), np.float32),
        ...                   np.ones(64, bool), WholeWindow(), samples=8, batch=16)
        >>> [x.shape for x, z in batches.epoch(0)]
        [(16, 8), (16, 8), (16, 8), (16, 8)]
    """

    source: Source
    targets: Float[np.ndarray, "N D"]
    keep: Bool[np.ndarray, " N"]
    sensor: Sensor
    fs: float = 125.0
    samples: int = 1000
    batch: int = 512
    block: int = 1024
    buffer: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if not len(self.targets) == len(self.keep) == self.source.n:
            raise ValueError(
                f"targets and keep must have {self.source.n} rows, got {len(self.targets)} and {len(self.keep)}"
            )

    @property
    def per_epoch(self) -> int:
        r"""Number of batches in an epoch: whole ones only, at least one."""
        return max(1, int(self.keep.sum()) // self.batch)

    def epoch(self, epoch: int, *, ahead: int = 4) -> Iterator[Batch]:
        r"""Yields the batches of an epoch, read ahead in a thread.

        Arguments:
            epoch: Number of the epoch.
            ahead: Batches to prepare in advance; 0 for no thread.
        """
        return _read_ahead(self._batches(epoch), ahead) if ahead else self._batches(epoch)

    def fixed(self, rows: slice, *, seed: int) -> Batch:
        r"""Observes a range of rows once, for validation.

        Arguments:
            rows: Range of rows; those not kept are left out.
            seed: Seed of the sensors.
        """
        start, stop, _ = rows.indices(self.source.n)
        keep = self.keep[start:stop]
        return self._observe(
            self.source.rows(start, stop)[keep], self.targets[start:stop][keep], np.random.default_rng([seed, 1])
        )

    def clean(self, start: int, stop: int, *, at_once: int = 8192) -> Iterator[Batch]:
        r"""Yields a range of rows without a sensor, block by block.

        Arguments:
            start: First row.
            stop: Row after the last.
            at_once: Rows of a block.
        """
        plain = dataclasses.replace(self, sensor=WholeWindow())
        for at in range(start, stop, at_once):
            yield plain.fixed(slice(at, min(at + at_once, stop)), seed=self.seed)

    def _observe(
        self, waves: Float[np.ndarray, "B *wave"], targets: Float[np.ndarray, "B D"], rng: np.random.Generator
    ) -> Batch:
        x = self.sensor.apply(waves, rng, fs=self.fs, out_samples=self.samples)
        return np.ascontiguousarray(x, dtype=np.float32), np.ascontiguousarray(targets, dtype=np.float32)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng([self.seed, epoch])
        starts = rng.permutation(np.arange(0, self.source.n, self.block))
        waves: list[Float[np.ndarray, "n *wave"]] = []
        rows: list[np.ndarray] = []
        done = 0
        for i, start in enumerate(starts):
            kept = np.flatnonzero(self.keep[start : start + self.block])
            if len(kept):
                waves.append(self.source.rows(int(start), min(int(start) + self.block, self.source.n))[kept])
                rows.append(kept + start)
            last = i == len(starts) - 1
            if not rows or (len(rows) < self.buffer and not last):
                continue
            pool, where = np.concatenate(waves), np.concatenate(rows)
            order = rng.permutation(len(where))
            full = len(order) // self.batch * self.batch
            if last and not full and not done:
                full = len(order)
            for at in range(0, full, self.batch):
                pick = order[at : min(at + self.batch, full)]
                yield self._observe(
                    pool[pick], self.targets[where[pick]], np.random.default_rng([self.seed, epoch, done])
                )
                done += 1
            waves, rows = [pool[order[full:]]], [where[order[full:]]]


@dataclass(frozen=True)
class ReadBatches:
    r"""Batches of what is computed from windows once: a few passes with fresh sensors, then again in other orders.

    Arguments:
        batches: The batches of windows.
        read: What is computed from windows.
        passes: Passes with fresh sensors that are kept.

    Example:
        >>> batches = Batches(ArraySource(np.ones((64, 8), np.float32)), np.zeros((64, 2), np.float32),
        ...                   np.ones(64, bool), WholeWindow(), samples=8, batch=16)
        >>> read = ReadBatches(batches, lambda x: x.mean(1, keepdims=True), 2)
        >>> [x.shape for x, _ in read.epoch(7)]
        [(16, 1), (16, 1), (16, 1), (16, 1)]
    """

    batches: Batches
    read: Callable[[np.ndarray], np.ndarray]
    passes: int
    _kept: dict[int, Batch] = field(default_factory=dict, repr=False, compare=False)

    @property
    def per_epoch(self) -> int:
        r"""Number of batches in an epoch."""
        return self.batches.per_epoch

    def epoch(self, epoch: int) -> Iterator[Batch]:
        r"""Yields the batches of an epoch.

        Arguments:
            epoch: Number of the epoch.
        """
        which = epoch % self.passes
        if which not in self._kept:
            found = [(self.read(x), z) for x, z in self.batches.epoch(which)]
            self._kept[which] = np.concatenate([x for x, _ in found]), np.concatenate([z for _, z in found])
        x, z = self._kept[which]
        order = np.random.default_rng([self.batches.seed, epoch, 1]).permutation(len(x))
        for at in range(0, len(order), self.batches.batch):
            rows = order[at : at + self.batches.batch]
            yield x[rows], z[rows]


def _read_ahead(batches: Iterator[Batch], ahead: int) -> Iterator[Batch]:
    """Runs an iterator in a thread, at most ``ahead`` items before its consumer; its errors are raised here."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=ahead)
    stop = threading.Event()

    def offer(item: Batch | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in batches:
                if not offer(item):
                    return
            offer(None)
        except BaseException as error:  # handed to the consumer, which raises it
            offer(error)

    thread = threading.Thread(target=work, daemon=True, name="read-ahead")
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
