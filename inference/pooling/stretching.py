r"""How draws of pools must be stretched so that their intervals hold what they say, from recordings not trained on.

A network that has seen few patients knows them by heart, most of all in large pools, and a flow has not quite the shape
that the truth has. With $q_p$ the distance from the median within which a share $p$ of a quantity's draws lies and $t$
the distance of the truth, quantile regression (Koenker and Bassett 1978, Econometrica 46:33) of

$$
\ln (t / q_p) \sim a + b x + 4 c\, x (1 - x)
$$

on the size $x$ of the pool says by how much. First one curve serves several shares $p$ together (Zou and Yuan 2008, Ann
Stat 36:1108), which takes fewer patients than each alone for the same error: a line, and how far it bends between; then
$p = .5$ and $.9$ go their own ways from it, drawn back to it as far as the patients do not bear them out. First for
what pools share, then, that stretched, for their windows. Lines are told by their values at a pool of one and at the
largest that is told apart, each between a factor of $e^{-.9}$ and $e^{.9}$, and bend by $e^{\pm .2}$ at most: no size
of pool leads beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..npe import NPE
from .features import EmbeddedRecordings
from .network import POWERS, PoolContext, PooledNPE, pool_contexts, stretch

__all__ = ["RecordingTensors", "fit_stretching", "quantile_line", "recording_tensors"]

_LEVELS = (0.5, 0.9)
_TOGETHER = (0.25, 0.5, 0.7, 0.8, 0.9, 0.95)
_COMMON = np.arange(-0.5, 0.501, 0.025)  # logarithm of a factor at the smallest and at the largest pool
_OWN = np.arange(-0.2, 0.201, 0.025)
_AGAIN = np.arange(-0.1, 0.101, 0.025)
_BENDS = np.arange(-0.2, 0.201, 0.025)  # the same halfway between, beside the line
_LONG = 32  # windows of recordings of which pools of several sizes are drawn
_RIDGE, _BEND_RIDGE, _OWN_RIDGE = 0.005, 0.01, 0.1  # on squares of those: a priori .25, .18, .05, of 600 patients


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
def recording_tensors(
    npe: PooledNPE, base: NPE, data: EmbeddedRecordings, states: Int[np.ndarray, "R W"]
) -> RecordingTensors:
    r"""Recordings as an estimator sees them.

    Arguments:
        npe: The estimator, for its scales.
        base: The window model.
        data: The recordings.
        states: Number of the sensor's state in every window.

    Example:
        >>> recording_tensors.__annotations__["data"]
        'EmbeddedRecordings'
    """
    space = base.outputs.space
    theta = np.where(data.usable[..., None], data.theta.astype(np.float64), 0.5 * (space.low + space.high))
    z = (torch.from_numpy(space.unconstrain(theta)).float() - base.z_mean) / base.z_sd
    speed = np.broadcast_to(data.wave_speed[:, None], data.compliance.shape)
    slow = torch.from_numpy(np.log(np.stack([data.compliance, speed], -1)).astype(np.float32))
    time_s = torch.from_numpy(data.time_s.astype(np.float32))
    shape = data.context.shape[:2]
    h = npe.unit(base, torch.from_numpy(data.context).flatten(0, 1)).reshape(*shape, -1)
    return RecordingTensors(h, z, slow, time_s, torch.from_numpy(data.usable), torch.from_numpy(states))


@torch.no_grad()
def fit_stretching(
    npe: PooledNPE,
    sets: Sequence[RecordingTensors],
    *,
    draws: int = 200,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    r"""Sets how the draws of an estimator are stretched.

    Arguments:
        npe: The estimator; changed.
        sets: Recordings that it was not trained on.
        draws: Draws of each pool.
        seed: Seed of pools and draws.
        tell: Told now and then.

    Example:
        >>> fit_stretching.__annotations__["draws"]
        'int'
    """
    npe.shared_spread.zero_()
    npe.window_spread.zero_()
    pools = [_drawn(npe, *pool, draws) for pool in _pools(sets, seed)]
    tell(f"stretching: {len(pools)} pools")
    size = np.array([float(one.known.size[0]) for one in pools])
    npe.shared_spread.copy_(_curves(np.stack([_ratios(one.shared, one.shared_truth) for one in pools]), size))
    rows, sizes = [], []
    for i, one in enumerate(pools):
        shared = stretch(one.shared, npe.shared_spread, one.known.size[0])
        generator = torch.Generator().manual_seed(i)
        for k, z in enumerate(one.z):
            rows.append(_ratios(npe.standardised(one.known.row(k), shared, generator), z))
            sizes.append(size[i])
    npe.window_spread.copy_(_curves(np.stack(rows), np.array(sizes)))


@dataclass(frozen=True)
class _Drawn:
    """Contexts of some windows of a pool, draws of what it shares, and the truth of both."""

    known: PoolContext
    shared: Float[Tensor, "n S"]
    shared_truth: Float[Tensor, " S"]
    z: Float[Tensor, "K D"]


def _pools(
    sets: Sequence[RecordingTensors], seed: int
) -> Iterator[tuple[RecordingTensors, int, Int[np.ndarray, " W"], np.random.Generator]]:
    """Recordings and windows of their pools: of long recordings all, and some of any size."""
    for number, data in enumerate(sets):
        width = data.h.shape[1]
        several = 3 if width >= _LONG else 1
        for r in range(len(data.h)):
            rng = np.random.default_rng([seed, 41, number, r])
            for k in range(several):
                n = min(int(np.exp(rng.uniform(np.log(2.0), np.log(width + 1)))), width)
                n = width if several > 1 and k == 0 else n
                start = int(rng.integers(width - n + 1))
                random = rng.random() < 0.5
                rows = np.sort(rng.choice(width, n, replace=False)) if random else np.arange(start, start + n)
                rows = rows[data.usable[r, rows].numpy()]
                if len(rows) > 1:
                    yield data, r, rows, rng


def _drawn(
    npe: PooledNPE, data: RecordingTensors, r: int, rows: Int[np.ndarray, " W"], rng: np.random.Generator, draws: int
) -> _Drawn:
    """What a pool shares, and two of its windows."""
    h, z, time_s = data.h[r, rows], data.z[r, rows], data.time_s[r, rows].double().numpy()
    known = pool_contexts(npe, h, time_s, causal=False, states=data.states[r, rows].numpy())
    truth = torch.cat(((z - known.centre).mean(0), data.slow[r, rows].mean(0)))
    shared = npe.sample_shared(known.row(0), draws, torch.Generator().manual_seed(int(rng.integers(2**31))))
    at = torch.from_numpy(rng.choice(len(rows), 2, replace=False))
    few = PoolContext(*(getattr(known, field.name)[at] for field in fields(known)))
    return _Drawn(few, shared, (truth - npe.shared_mean) / npe.shared_sd, z[at])


def _ratios(draws: Float[Tensor, "n K"], truth: Float[Tensor, " K"]) -> Float[np.ndarray, "L K"]:
    """Logarithm of the truth's distance from the median over that of shares of the draws."""
    middle = draws.median(0).values
    reach = torch.quantile((draws - middle).abs(), torch.tensor(_TOGETHER), dim=0).clamp_min(1e-9)
    return ((truth - middle).abs().clamp_min(1e-9) / reach).log().numpy()


def _curves(ratios: Float[np.ndarray, "N L K"], size: Float[np.ndarray, " N"]) -> Float[Tensor, "2 powers K"]:
    """Coefficients of the powers of the size, at half and nine tenths."""
    found = np.empty((2, POWERS, ratios.shape[2]))
    for k in range(ratios.shape[2]):
        common, left, bend = np.zeros(2), ratios[:, :, k].copy(), 0.0
        for ends in (_COMMON, _AGAIN, _AGAIN):  # the line, how far it bends, and either again given the other
            line = quantile_line(left, size, _TOGETHER, ends, _RIDGE)
            left -= line[0] + line[1] * size[:, None]
            more = _bend(left, size, bend)
            left -= (4 * more * size * (1 - size))[:, None]
            common, bend = common + line, bend + more
        for i, level in enumerate(_LEVELS):
            at = _TOGETHER.index(level)
            first, slope = common + quantile_line(left[:, at, None], size, (level,), _OWN, _OWN_RIDGE)
            found[i, :, k] = first, slope + 4 * bend, -4 * bend
    return torch.from_numpy(found.astype(np.float32))


def _bend(left: Float[np.ndarray, "N L"], x: Float[np.ndarray, " N"], so_far: float) -> float:
    """How much further a curve below which shares of values lie bends halfway along a line."""
    hump, share = (4 * x * (1 - x))[:, None], np.asarray(_TOGETHER)
    costs = [_pinball(left - (bend - so_far) * hump, share) + _BEND_RIDGE * bend**2 for bend in _BENDS]
    return float(_BENDS[int(np.argmin(costs))]) - so_far


def _pinball(apart: Float[np.ndarray, "N L"], share: Float[np.ndarray, " L"]) -> float:
    return float(np.maximum(share * apart, (share - 1) * apart).mean())


def quantile_line(
    values: Float[np.ndarray, "N L"],
    x: Float[np.ndarray, " N"],
    levels: Sequence[float],
    ends: Float[np.ndarray, " G"],
    ridge: float,
) -> Float[np.ndarray, " 2"]:
    r"""Offset and slope of one line below which shares of values lie, of each column its own, drawn to 0.

    Arguments:
        values: Values, a column for each share.
        x: Where they were taken, from 0 to 1.
        levels: The shares.
        ends: What the line may be at 0 and at 1.
        ridge: Cost of the squares of both.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.random(4000)
        >>> values = (rng.random(4000) - 0.5 + 0.2 * x)[:, None]
        >>> round(float(quantile_line(values, x, (0.5,), np.arange(-0.5, 0.51, 0.05), 0.0)[1]), 1)
        0.2
    """
    best, found = np.inf, np.zeros(2)
    share = np.asarray(levels)
    for first in ends:
        for last in ends:
            apart = values - (first + (last - first) * x)[:, None]
            cost = _pinball(apart, share) + ridge * (first**2 + last**2)
            if cost < best:
                best, found = cost, np.array([first, last - first])
    return found
