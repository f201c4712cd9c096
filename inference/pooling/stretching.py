r"""How draws of pools must be moved so that their intervals hold what they say, from recordings not trained on.

A network that has seen few patients knows them by heart, most of all in large pools, and a flow has not quite the shape
that the truth has: too narrow here, too wide there, one end too near and the other too far. With $m$ the median of a
quantity's draws, $r_p$ the distance from it to their quantile $p$ and $t$ how far the truth lies on that side of it,
quantile regression (Koenker and Bassett 1978, Econometrica 46:33) of

$$
\ln (t / r_p) \sim a_p(\ln n)
$$

on the number of windows $n$ says how much further that quantile must lie, and of $t / r$, with $r$ half the distance
between the quartiles, by how much the median is off (see ``spread``). Each $a$ is drawn to none, to those of
neighbouring sizes of pool, of the other quantile on its side and of its like on the other, as if the differences had
the standard deviations `_SD` a priori, and factors stay within three. First for what pools share, then, that moved,
for their windows.
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
from .network import PoolContext, PooledNPE, pool_contexts
from .spread import NODES, QUANTILES, node_shares, reach_of

__all__ = ["RecordingTensors", "fit_factors", "fit_stretching", "recording_tensors"]

_SD = {"none": 0.3, "size": 0.1, "tail": 0.1, "side": 0.2}
"""Standard deviations a priori of logarithms of factors, or of the median's move, and of their differences."""
_MOST = 1.1  # of a factor's logarithm
_WEIGHT = 0.3  # half the share of quantiles' variance over the density there: turns precision into pinball loss
_SMOOTH = 0.03  # width of the kink of the pinball loss
_LEAST = 1e-6
_ASKED = 3  # windows of a pool


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
    shape = len(QUANTILES), len(NODES)
    npe.shared_spread, npe.window_spread = torch.zeros(*shape, len(npe.shared_sd)), torch.zeros(*shape, npe.outputs)
    pools = [_drawn(npe, *pool, draws) for pool in _pools(sets, seed)]
    tell(f"stretching: {len(pools)} pools")
    size = torch.stack([one.known.size[0] for one in pools])
    ratios = np.stack([_ratios(one.shared, one.shared_truth) for one in pools])
    npe.shared_spread.copy_(fit_factors(ratios, size))
    rows, sizes, weights = [], [], []
    for i, one in enumerate(pools):
        shared = npe.stretched(one.shared, npe.shared_spread, size[i])
        generator = torch.Generator().manual_seed(i)
        for k, z in enumerate(one.z):
            rows.append(_ratios(npe.standardised(one.known.row(k), shared, generator), z))
            sizes.append(size[i])
            weights.append(1.0 / len(one.z))
    npe.window_spread.copy_(fit_factors(np.stack(rows), torch.stack(sizes), np.array(weights)))


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
    """Recordings and windows of their pools: all of them, as many as factors are told at, and any number."""
    for number, data in enumerate(sets):
        width = data.h.shape[1]
        told = [int(node) for node in NODES if 2 < node < width]
        for r in range(len(data.h)):
            rng = np.random.default_rng([seed, 41, number, r])
            drawn = min(int(np.exp(rng.uniform(np.log(2.0), np.log(width + 1)))), width)
            for n in (*told, width, drawn):
                start = int(rng.integers(width - n + 1))
                rows = np.arange(start, start + n)
                rows = rows[data.usable[r, rows].numpy()]
                if len(rows) > 1:
                    yield data, r, rows, rng


def _drawn(
    npe: PooledNPE, data: RecordingTensors, r: int, rows: Int[np.ndarray, " W"], rng: np.random.Generator, draws: int
) -> _Drawn:
    """What a pool shares, and some of its windows."""
    h, z, time_s = data.h[r, rows], data.z[r, rows], data.time_s[r, rows].double().numpy()
    known = pool_contexts(npe, h, time_s, causal=False, states=data.states[r, rows].numpy())
    truth = torch.cat(((z - known.centre).mean(0), data.slow[r, rows].mean(0)))
    shared = npe.sample_shared(known.row(0), draws, torch.Generator().manual_seed(int(rng.integers(2**31))))
    at = torch.from_numpy(rng.choice(len(rows), min(_ASKED, (len(rows) + 2) // 3), replace=False))
    few = PoolContext(*(getattr(known, field.name)[at] for field in fields(known)))
    return _Drawn(few, shared, (truth - npe.shared_mean) / npe.shared_sd, z[at])


def _ratios(draws: Float[Tensor, "n K"], truth: Float[Tensor, " K"]) -> Float[np.ndarray, "quantile K"]:
    """How far the truth lies from the median over the distance of a quantile, its logarithm but for the median."""
    middle, reach = reach_of(draws)
    apart = (truth - middle) / reach
    side = torch.tensor(QUANTILES).sub(0.5).sign()[:, None]
    far = torch.where(side == 0, apart, (side * apart).clamp_min(_LEAST).log())
    return far.double().numpy()


def fit_factors(
    ratios: Float[np.ndarray, "N quantile K"],
    size: Float[Tensor, " N"],
    weights: Float[np.ndarray, " N"] | None = None,
) -> Float[Tensor, "quantile node K"]:
    r"""How draws must be moved, by quantile, node and quantity, so that intervals hold what they say.

    Arguments:
        ratios: How far truths lie from the median over the distance of the draws, as a logarithm but for the median.
        size: Logarithm of the number of windows of each pool.
        weights: Weight of each row; 1 where None.

    Example:
        >>> t = 1.5 * np.random.default_rng(0).standard_normal((4000, 1))
        >>> reach = np.array([-1.6449, -0.6745, 0.6745, 0.6745, 1.6449])  # of standard normal draws
        >>> ratios = np.where(np.arange(5) == 2, t / reach, np.log(np.maximum(t / reach, 1e-6)))[..., None]
        >>> found = fit_factors(ratios, torch.full((4000,), 64.0).log())[:, 2, 0]
        >>> bool((found[[0, 1, 3, 4]].exp() - 1.5).abs().max() < 0.1), bool(found[2].abs() < 0.1)
        (True, True)
    """
    from scipy.optimize import minimize

    basis, pull = node_shares(size).double().numpy(), _pull()
    weights = np.ones(len(basis)) if weights is None else weights
    found = np.empty((len(QUANTILES), len(NODES), ratios.shape[2]))
    for k in range(ratios.shape[2]):
        given = (ratios[..., k], basis, weights, pull)
        best = minimize(_cost, np.zeros(len(pull)), given, jac=True, method="L-BFGS-B")
        found[..., k] = best.x.reshape(found.shape[:2])
    return torch.from_numpy(np.clip(found, -_MOST, _MOST).astype(np.float32))


def _cost(
    flat: Float[np.ndarray, " P"],
    ratios: Float[np.ndarray, "N quantile"],
    basis: Float[np.ndarray, "N node"],
    weights: Float[np.ndarray, " N"],
    pull: Float[np.ndarray, "P P"],
) -> tuple[float, Float[np.ndarray, " P"]]:
    """Smoothed pinball loss of all quantiles with what draws their moves together, and its slope."""
    from scipy.special import expit

    share = np.maximum(QUANTILES, 1 - np.array(QUANTILES))
    left = ratios - basis @ flat.reshape(len(QUANTILES), -1).T
    loss = share * left + _SMOOTH * np.logaddexp(0.0, -left / _SMOOTH)
    slope = (share - expit(-left / _SMOOTH)) * weights[:, None]
    cost = float((loss * weights[:, None]).sum() + flat @ pull @ flat)
    return cost, -(slope.T @ basis).ravel() + 2 * pull @ flat


def _pull() -> Float[np.ndarray, "P P"]:
    """Quadratic form that draws moves to none and to each other."""
    shape = len(QUANTILES), len(NODES)
    at = np.arange(shape[0] * shape[1]).reshape(shape)
    eye, last = np.eye(at.size), shape[0] - 1
    pairs = {
        "none": eye,
        "size": eye[at[:, 1:].ravel()] - eye[at[:, :-1].ravel()],
        "tail": eye[at[[0, last]].ravel()] - eye[at[[1, last - 1]].ravel()],
        "side": eye[at[[0, 1]].ravel()] - eye[at[[last, last - 1]].ravel()],
    }
    return np.asarray(sum(_WEIGHT / _SD[name] ** 2 * rows.T @ rows for name, rows in pairs.items()))
