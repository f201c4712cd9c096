r"""A channel at every zoom: least and greatest values of blocks of samples; no picture draws more than it can show.

The channel is read once, in stretches, into blocks of 64 samples of which the extremes are kept, and those into blocks
twice as long, and so on. A stretch of time is then drawn from the finest level that gives at most the number of
points asked for; a short stretch is read from the recording itself. Extremes, not means: a spike, a flush and the
systolic peak stay where they are.

Units: seconds and the unit of the channel.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from .recording import Recording

__all__ = ["Pyramid", "decimate"]

BLOCK = 64
r"""Samples of the finest level's blocks."""
GROWTH = 2
r"""Blocks that make one of the next level."""
_READ_S = 600.0


@dataclass(frozen=True)
class Pyramid:
    r"""Extremes of one channel at several levels.

    Arguments:
        recording: The recording, read again where a stretch is short.
        name: Name of the channel.
        levels: For each level the least and the greatest value of every block, with shape (2, blocks).

    Example:
        >>> recording = Recording.from_arrays("demo", {"ABP": np.sin(np.arange(450000) / 20)}, fs=125)
        >>> times, values = Pyramid.of(recording, "ABP").draw(0.0, 3600.0)
        >>> len(times) <= 2000, bool(values.max() > 0.999)
        (True, True)
    """

    recording: Recording = field(repr=False)
    name: str
    levels: tuple[Float[np.ndarray, "2 blocks"], ...] = field(repr=False)

    @classmethod
    def of(cls, recording: Recording, name: str) -> Pyramid:
        r"""Reads a channel once.

        Arguments:
            recording: The recording.
            name: Name of the channel.

        Returns:
            Its pyramid.
        """
        channel = recording.channel(name)
        step = max(BLOCK, round(_READ_S * channel.fs) // BLOCK * BLOCK)
        pieces = []
        for first in range(0, channel.n_samples, step):
            begin = channel.start_s + (first - 0.5) / channel.fs
            stop = min(first + step, channel.n_samples)
            values = recording.values(channel.name, begin, channel.start_s + (stop - 0.5) / channel.fs)
            pieces.append(_extremes(values[None], BLOCK))
        levels = [np.concatenate(pieces, axis=1) if pieces else np.zeros((2, 0), np.float32)]
        while levels[-1].shape[1] > 16:
            levels.append(_extremes(levels[-1], GROWTH))
        return cls(recording, channel.name, tuple(levels))

    def draw(
        self, start_s: float, end_s: float, *, points: int = 2000
    ) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
        r"""What to draw of a stretch.

        Arguments:
            start_s: Start [s].
            end_s: End [s].
            points: Most points that are wanted.

        Returns:
            Times [s] and values, NaN where samples are missing.

        Raises:
            ValueError: If the stretch is empty or fewer than four points are wanted.
        """
        if not (end_s > start_s and points >= 4):
            raise ValueError(
                f"a stretch with start_s < end_s and points >= 4 is needed, got {start_s}, {end_s}, {points}"
            )
        channel = self.recording.channel(self.name)
        start_s, end_s = max(start_s, channel.start_s), min(end_s, channel.start_s + channel.duration_s)
        if end_s <= start_s:
            return np.zeros(0), np.zeros(0, np.float32)
        samples = (end_s - start_s) * channel.fs
        if samples <= points // 2 * BLOCK:
            times = self.recording.times(self.name, start_s, end_s)
            return decimate(times, self.recording.values(self.name, start_s, end_s), points=points)
        level = min(max(0, math.ceil(math.log(2 * samples / (points - 4) / BLOCK, GROWTH))), len(self.levels) - 1)
        width = BLOCK * GROWTH**level / channel.fs
        first = max(0, math.floor((start_s - channel.start_s) / width))
        both = self.levels[level][:, first : math.ceil((end_s - channel.start_s) / width)]
        at = channel.start_s + (first + np.arange(both.shape[1])[:, None] + np.array([0.25, 0.75])) * width
        return at.ravel(), both.T.ravel()


def decimate(
    times: Float[np.ndarray, " T"], values: Float[np.ndarray, " T"], *, points: int = 2000
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    r"""Keeps the least and the greatest value of equal blocks, each at its own time.

    Arguments:
        times: Times [s].
        values: Values, NaN where missing.
        points: Most points that are wanted.

    Returns:
        Times and values, all of them where they are few enough.

    Example:
        >>> times, values = decimate(np.arange(10000.0), np.sin(np.arange(10000.0)), points=100)
        >>> len(times), bool(values.max() > 0.99)
        (100, True)
    """
    if len(values) <= points:
        return times, values
    block = math.ceil(2 * len(values) / points)
    rows = np.arange(0, len(values) - len(values) % block, block)
    cut = values[: len(rows) * block].reshape(-1, block)
    low = np.where(np.isnan(cut), np.inf, cut).argmin(1)
    high = np.where(np.isnan(cut), -np.inf, cut).argmax(1)
    kept = np.sort(np.stack([rows + low, rows + high], axis=1), axis=1).ravel()
    return times[kept], values[kept]


def _extremes(values: Float[np.ndarray, "rows T"], block: int) -> Float[np.ndarray, "2 blocks"]:
    r"""Least and greatest of each block, NaN where nothing is known; rows are (least, greatest), or one for both."""
    missing = -values.shape[1] % block
    padded = np.pad(values, ((0, 0), (0, missing)), constant_values=np.nan)
    cut = padded.reshape(len(values), -1, block)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a block without any sample is NaN, which is meant
        return np.stack([np.nanmin(cut[0], axis=1), np.nanmax(cut[-1], axis=1)]).astype(np.float32)
