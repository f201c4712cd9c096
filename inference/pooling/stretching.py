r"""How draws of pools must be stretched so that their intervals hold what they say, from recordings not trained on.

A network that has seen few patients knows them by heart, most of all in large pools, and a flow has not quite the shape
that the truth has. With $q_p$ the distance from the median within which a share $p$ of a quantity's draws lies and $t$
the distance of the truth, $p$-quantile regression (Koenker and Bassett 1978, Econometrica 46:33) of

$$
\ln (t / q_p) \sim a_p + b_p x, \qquad p = .5, .9,
$$

on the size $x$ of the pool says by how much: first for what pools share, then, that stretched, for their windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .network import PoolContext, PooledNPE, pool_contexts, stretch

__all__ = ["RecordingTensors", "fit_stretching", "quantile_lines"]

_LEVELS = (0.5, 0.9)
_GRID = np.arange(-0.5, 0.501, 0.025)
_RIDGE = 0.001


@dataclass(frozen=True)
class RecordingTensors:
    r"""Recordings as tensors.

    Arguments:
        h: Windows' vectors.
        z: Standardised outputs.
        slow: Logarithms of the slow quantities.
        time_s: Start of every window [s].
        usable: Whether a window may be used.
        states: Number of the sensor's state in every window.

    Example:
        >>> RecordingTensors.__dataclass_fields__["z"].type
        "Float[Tensor, 'R W D']"
    """

    h: Float[Tensor, "R W inputs"]
    z: Float[Tensor, "R W D"]
    slow: Float[Tensor, "R W slow"]
    time_s: Float[Tensor, "R W"]
    usable: Bool[Tensor, "R W"]
    states: Int[Tensor, "R W"]

    def rows(self, keep: slice) -> RecordingTensors:
        r"""Some of the recordings.

        Arguments:
            keep: Which.
        """
        return RecordingTensors(*(getattr(self, field.name)[keep] for field in fields(self)))


@torch.no_grad()
def fit_stretching(
    npe: PooledNPE, sets: Sequence[RecordingTensors], *, pools: int = 1200, draws: int = 256, seed: int = 0
) -> None:
    r"""Sets how the draws of an estimator are stretched.

    Arguments:
        npe: The estimator; changed.
        sets: Recordings that it was not trained on.
        pools: Pools that are drawn of them.
        draws: Draws of each.
        seed: Seed of pools and draws.

    Example:
        >>> fit_stretching.__annotations__["pools"]
        'int'
    """
    npe.shared_spread.zero_()
    npe.window_spread.zero_()
    drawn = [_drawn(npe, sets, np.random.default_rng([seed, 41, i]), draws) for i in range(pools)]
    size = np.array([float(one.known.size[0]) for one in drawn])
    ratios = np.stack([_ratios(one.shared, one.shared_truth) for one in drawn])
    npe.shared_spread.copy_(_lines(ratios, size))
    rows = []
    for i, one in enumerate(drawn):
        shared = stretch(one.shared, npe.shared_spread, one.known.size[0])
        generator = torch.Generator().manual_seed(i)
        for k, row in enumerate(one.at):
            made = npe.standardised(one.known.row(int(row)), shared, generator)
            rows.append(_ratios(made, one.z[k]))
    per_window = np.repeat(size, [len(one.at) for one in drawn])
    npe.window_spread.copy_(_lines(np.stack(rows), per_window))


@dataclass(frozen=True)
class _Drawn:
    known: PoolContext
    shared: Float[Tensor, "n S"]
    shared_truth: Float[Tensor, " S"]
    at: Int[np.ndarray, " K"]
    z: Float[Tensor, "K D"]


def _drawn(npe: PooledNPE, sets: Sequence[RecordingTensors], rng: np.random.Generator, draws: int) -> _Drawn:
    """A pool of two to all windows of a recording, what it shares, and two of its windows."""
    share = np.array([float(len(data.h)) for data in sets])
    longest = max(data.h.shape[1] for data in sets)
    n = min(int(np.exp(rng.uniform(np.log(2.0), np.log(longest + 1)))), longest)
    able = [i for i, data in enumerate(sets) if data.h.shape[1] >= n]
    data = sets[able[int(rng.choice(len(able), p=share[able] / share[able].sum()))]]
    r, width = int(rng.integers(len(data.h))), data.h.shape[1]
    start = int(rng.integers(width - n + 1))
    rows = np.arange(start, start + n) if rng.random() < 0.5 else np.sort(rng.choice(width, n, replace=False))
    rows = rows[data.usable[r, rows].numpy()]
    rows = rows if len(rows) > 1 else np.arange(2)
    h, z, time_s = data.h[r, rows], data.z[r, rows], data.time_s[r, rows].double().numpy()
    known = pool_contexts(npe, h, time_s, causal=False, states=data.states[r, rows].numpy())
    truth = torch.cat(((z - known.centre).mean(0), data.slow[r, rows].mean(0)))
    shared = npe.sample_shared(known.row(0), draws, torch.Generator().manual_seed(int(rng.integers(2**31))))
    at = rng.choice(len(rows), min(2, len(rows)), replace=False)
    return _Drawn(known, shared, (truth - npe.shared_mean) / npe.shared_sd, at, z[at])


def _ratios(draws: Float[Tensor, "n K"], truth: Float[Tensor, " K"]) -> Float[np.ndarray, "2 K"]:
    """Logarithm of the truth's distance from the median over that of half and of nine tenths of the draws."""
    middle = draws.median(0).values
    reach = torch.quantile((draws - middle).abs(), torch.tensor(_LEVELS), dim=0).clamp_min(1e-9)
    return ((truth - middle).abs().clamp_min(1e-9) / reach).log().numpy()


def _lines(ratios: Float[np.ndarray, "N 2 K"], size: Float[np.ndarray, " N"]) -> Float[Tensor, "2 2 K"]:
    lines = [quantile_lines(ratios[:, i], size, level) for i, level in enumerate(_LEVELS)]
    return torch.from_numpy(np.stack(lines).astype(np.float32))


def quantile_lines(
    values: Float[np.ndarray, "N K"], x: Float[np.ndarray, " N"], level: float
) -> Float[np.ndarray, "2 K"]:
    r"""Offset and slope of the line below which a share of values lies, lightly drawn to 0, on a grid.

    Arguments:
        values: Values of several quantities.
        x: Where they were taken.
        level: The share.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.random(4000)
        >>> round(float(quantile_lines((rng.random(4000) - 0.5 + 0.2 * x)[:, None], x, 0.5)[1, 0]), 1)
        0.2
    """
    offset, slope = (part.ravel() for part in np.meshgrid(_GRID, _GRID, indexing="ij"))
    ridge = _RIDGE * (offset**2 + slope**2)
    best = np.empty((2, values.shape[1]))
    for k in range(values.shape[1]):
        cost = np.empty(len(offset))
        for first in range(0, len(offset), 41):
            part = slice(first, first + 41)
            apart = values[:, k, None] - offset[part] - slope[part] * x[:, None]
            cost[part] = np.maximum(level * apart, (level - 1) * apart).mean(0)
        i = int(np.argmin(cost + ridge))
        best[:, k] = offset[i], slope[i]
    return best
