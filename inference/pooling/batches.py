r"""Batches of pools: of recordings, a stretch of windows or windows at random, two to all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .network import PooledNPE
from .pools import pool_of
from .stretching import RecordingTensors

__all__ = ["PoolBatch", "draw_batch", "window_noise"]


@dataclass(frozen=True)
class PoolBatch:
    r"""Pools of one size, of recordings of one set.

    Arguments:
        source: Number of the set.
        rows: Recordings of the set, one for each pool.
        windows: Windows of each pool.
        h: Windows' vectors.
        z: Standardised outputs.
        slow: Logarithms of the slow quantities.
        time_s: Start of every window [s].
        member: Whether a window may be used.
        states: Number of the sensor's state in every window.

    Example:
        >>> PoolBatch.__dataclass_fields__["source"].type
        'int'
    """

    source: int
    rows: Int[Tensor, "B 1"]
    windows: Int[Tensor, "B n"]
    h: Float[Tensor, "B n inputs"]
    z: Float[Tensor, "B n D"]
    slow: Float[Tensor, "B n slow"]
    time_s: Float[Tensor, "B n"]
    member: Bool[Tensor, "B n"]
    states: Int[Tensor, "B n"]

    @property
    def span_s(self) -> Float[Tensor, " B"]:
        r"""Time from a pool's first window to its last [s]."""
        return self.time_s[:, -1] - self.time_s[:, 0]

    def mean(self, values: Float[Tensor, "B n K"]) -> Float[Tensor, "B K"]:
        r"""Mean over the windows of each pool that may be used.

        Arguments:
            values: What is averaged.
        """
        weight = self.member[..., None].float()
        return (values * weight).sum(1) / weight.sum(1).clamp_min(1.0)

    def courses(
        self, npe: PooledNPE, h: Float[Tensor, "B n inputs"]
    ) -> tuple[Float[Tensor, "B n D"], Float[Tensor, "B n D"]]:
        r"""Courses over the pools, and the sizes of what is left.

        Arguments:
            npe: The estimator.
            h: The windows' vectors, with or without noise.
        """
        told = npe.averaged(npe.course_features(h))
        pools, counts = pool_of(told, self.time_s, self.member, self.time_s, (self.states, self.states))
        return npe.courses(h, npe.pooled(pools), counts, self.span_s[:, None].expand(-1, h.shape[1]))

    def shared(self, centre: Float[Tensor, "B n D"]) -> Float[Tensor, "B S"]:
        r"""What the windows of each pool share, not standardised.

        Arguments:
            centre: The course.
        """
        return torch.cat((self.mean(self.z - centre), self.mean(self.slow)), -1)


def draw_batch(
    rng: np.random.Generator, sets: Sequence[RecordingTensors], keep: Sequence[slice], windows: int
) -> PoolBatch:
    r"""Draws pools of one size, log-uniform, from a set that holds pools so large.

    Arguments:
        rng: Source of randomness.
        sets: Sets of recordings.
        keep: Which recordings of each set.
        windows: Windows of all pools together, about.

    Example:
        >>> draw_batch.__annotations__["return"]
        'PoolBatch'
    """
    longest = max(s.h.shape[1] for s in sets)
    n = min(int(math.exp(rng.uniform(math.log(2.0), math.log(longest + 1)))), longest)
    able = [i for i, s in enumerate(sets) if s.h.shape[1] >= n]
    i = able[int(rng.choice(len(able), p=_shares([sets[i] for i in able])))]
    data = sets[i].rows(keep[i])
    rows, asked = _draw_pools(rng, data, n, max(16, min(384, windows // n)))
    take = torch.from_numpy(rows)[:, None], torch.from_numpy(asked)
    taken: dict[str, Any] = {field.name: getattr(data, field.name)[take] for field in fields(data)}
    return PoolBatch(i, take[0] + (keep[i].start or 0), take[1], member=taken.pop("usable"), **taken)


def window_noise(
    rng: np.random.Generator, like: Float[Tensor, "B n inputs"], size: float, outputs: int
) -> Float[Tensor, "B n inputs"]:
    r"""Noise on windows' vectors; a fifth on the window model's centres, which tell some outputs to a hundredth.

    Arguments:
        rng: Source of randomness.
        like: Vectors of the shape that is wanted.
        size: Standard deviation.
        outputs: Number of the window model's outputs.

    Example:
        >>> window_noise(np.random.default_rng(0), torch.zeros(2, 3, 8), 0.1, 3).shape
        torch.Size([2, 3, 8])
    """
    scale = torch.full(like.shape[-1:], size)
    scale[-outputs:] *= 0.2
    return scale * torch.from_numpy(rng.standard_normal(like.shape, dtype=np.float32))


def _shares(sets: Sequence[RecordingTensors]) -> Float[np.ndarray, " S"]:
    size = np.array([len(s.h) for s in sets], dtype=float)
    return np.asarray(size / size.sum())


def _draw_pools(rng: np.random.Generator, data: RecordingTensors, n: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Recordings, and of each the windows of its pool: half of them a stretch, half at random, in order of time."""
    total, width = data.h.shape[:2]
    rows = rng.integers(total, size=batch)
    start = rng.integers(width - n + 1, size=(batch, 1))
    stretch = start + np.arange(n)
    random = np.sort(np.argsort(rng.random((batch, width)), axis=1)[:, :n], axis=1)
    return rows, np.where(rng.random((batch, 1)) < 0.5, stretch, random)
