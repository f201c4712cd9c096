r"""How draws of pools must be stretched so that their intervals hold what they say, from recordings not trained on.

A network that has seen few patients knows them by heart, most of all in large pools: intervals are too narrow. With
$m$ the median of a quantity's draws, $t$ how far the truth lies from it and $r_p$ how far on that side the interval of
level $p$ reaches, quantile regression (Koenker and Bassett 1978, Econometrica 46:33) of

$$
\ln (t / r_p) \sim a(\ln n), \qquad p = .5, .9,
$$

on the number of windows $n$ says how many times wider intervals must be: one factor for both sides and levels, each
level weighted by the inverse of the variance $p (1 - p)$ of what it holds. Factors of neighbouring sizes of pool, and
all of them to one, are drawn together as if their logarithms had the standard deviations `_SD` a priori, and stay
within three. Sides and levels told apart, medians that move, and windows stretched once more when what their pool
shares is, hold recordings left out of the fit no better and are not fitted.
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
from .network import PooledNPE, pool_contexts
from .spread import NODES, QUANTILES, node_shares, reach_of

__all__ = ["RecordingTensors", "fit_factors", "fit_stretching", "recording_tensors"]

_LEVELS = (0.5, 0.9)
"""Intervals that are made to hold what they say."""
_SD = {"none": 0.2, "size": 0.1}
"""Standard deviations a priori of logarithms of factors, and of their differences from node to node."""
_MOST = 1.1  # of a factor's logarithm
_WEIGHT = 1.8  # turns half a precision into the weighted pinball loss
_SMOOTH = 0.03  # width of the kink of the pinball loss
_BELOW, _ABOVE = [QUANTILES.index(p) for p in (0.25, 0.05)], [QUANTILES.index(p) for p in (0.75, 0.95)]  # by level
_ENDS = [*_BELOW, *_ABOVE]
_LEAST = 1e-6


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
    r"""Sets how an estimator's draws of what pools share are stretched; those of windows are not.

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
    found = [_drawn(npe, *pool, draws) for pool in _pools(sets, seed)]
    tell(f"stretching: {len(found)} pools")
    npe.shared_spread[_ENDS] = fit_factors(np.stack([row for row, _ in found]), torch.stack([n for _, n in found]))


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
) -> tuple[Float[np.ndarray, "level K"], Float[Tensor, ""]]:
    """How far the truth of what a pool shares lies out, and the logarithm of the number of its windows."""
    z, time_s = data.z[r, rows], data.time_s[r, rows].double().numpy()
    known = pool_contexts(npe, data.h[r, rows], time_s, causal=False, states=data.states[r, rows].numpy())
    truth = torch.cat(((z - known.centre).mean(0), data.slow[r, rows].mean(0)))
    shared = npe.sample_shared(known.row(0), draws, torch.Generator().manual_seed(int(rng.integers(2**31))))
    return _ratios(shared, (truth - npe.shared_mean) / npe.shared_sd), known.size[0]


def _ratios(draws: Float[Tensor, "n K"], truth: Float[Tensor, " K"]) -> Float[np.ndarray, "level K"]:
    """How far the truth lies from the median over how far an interval reaches on its side, as a logarithm."""
    middle, reach = reach_of(draws)
    above = torch.where(truth > middle, reach[_ABOVE], reach[_BELOW])
    return ((truth - middle).abs() / above).clamp_min(_LEAST).log().double().numpy()


def fit_factors(ratios: Float[np.ndarray, "N level K"], size: Float[Tensor, " N"]) -> Float[Tensor, "node K"]:
    r"""Logarithms of how many times wider intervals must be, by node and quantity, to hold what they say.

    Arguments:
        ratios: How far truths lie from the median over how far intervals of 50 and 90 % reach, as a logarithm.
        size: Logarithm of the number of windows of each pool.

    Example:
        >>> t = 1.5 * np.abs(np.random.default_rng(0).standard_normal((4000, 1)))
        >>> ratios = np.log(t / np.array([0.6745, 1.6449]))[..., None]  # of standard normal draws
        >>> found = fit_factors(ratios, torch.full((4000,), 64.0).log())[2, 0]
        >>> bool((found.exp() - 1.5).abs() < 0.1)
        True
    """
    from scipy.optimize import minimize

    basis, pull = node_shares(size).double().numpy(), _pull()
    given = [(ratios[..., k], basis, pull) for k in range(ratios.shape[2])]
    found = [minimize(_cost, np.zeros(len(pull)), one, jac=True, method="L-BFGS-B").x for one in given]
    return torch.from_numpy(np.clip(np.stack(found, 1), -_MOST, _MOST).astype(np.float32))


def _cost(
    factors: Float[np.ndarray, " node"],
    ratios: Float[np.ndarray, "N level"],
    basis: Float[np.ndarray, "N node"],
    pull: Float[np.ndarray, "node node"],
) -> tuple[float, Float[np.ndarray, " node"]]:
    """Smoothed pinball loss of both levels with what draws factors together, and its slope."""
    from scipy.special import expit

    level = np.array(_LEVELS)
    each = 1 / (level * (1 - level))
    left = ratios - (basis @ factors)[:, None]
    loss = level * left + _SMOOTH * np.logaddexp(0.0, -left / _SMOOTH)
    slope = ((level - expit(-left / _SMOOTH)) * each).sum(1)
    return float((loss * each).sum() + factors @ pull @ factors), -slope @ basis + 2 * pull @ factors


def _pull() -> Float[np.ndarray, "node node"]:
    """Quadratic form that draws factors to one and to each other."""
    eye = np.eye(len(NODES))
    apart = np.diff(eye, axis=0)
    return _WEIGHT * (eye / _SD["none"] ** 2 + apart.T @ apart / _SD["size"] ** 2)
