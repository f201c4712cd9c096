r"""Pools of held-out recordings: their draws, alone and pooled, and where the truth lies in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from ..bundle import Bundle
from ..sampling import invert_flow
from ..weighting import normalised
from .anchors import Anchor, SlowLikelihood
from .features import EmbeddedRecordings
from .layer import PoolingLayer
from .network import SLOW, PoolContext, pool_contexts
from .segment_training import all_states

__all__ = [
    "HeldPool",
    "anchored_ranks",
    "coverage_of",
    "error_of_median",
    "pooled_draws",
    "ranks",
    "standard_errors",
    "window_draws",
]

_LEVELS = (0.5, 0.9)
_ASKED = {1: 1, 10: 2, 64: 5, 200: 10}  # windows of each pool
_OVERSAMPLED = 2  # draws for each that is drawn otherwise, where a reference weights them


@torch.no_grad()
def pooled_draws(
    bundle: Bundle,
    layer: PoolingLayer,
    context: Float[np.ndarray, "W inputs"],
    time_s: Float[np.ndarray, " W"],
    n: int,
    *,
    at: Int[np.ndarray, " K"] | None = None,
    growth: Float[np.ndarray, "K D"] | None = None,
    causal: bool = False,
    seed: int = 0,
) -> tuple[Float[np.ndarray, "K n S"], Float[np.ndarray, "K n D"]]:
    r"""Draws of what pools share, standardised, and of the quantities of their windows.

    Arguments:
        bundle: The window model.
        layer: The pooling layer.
        context: The window model's context vectors of the whole pool, in order of time.
        time_s: Start of every window [s].
        n: Draws of each window.
        at: Windows asked for; all where None.
        growth: Factors on the variances of the own errors of each; 1 where None.
        causal: Whether a window's pool ends with itself.
        seed: Seed of the draws.

    Example:
        >>> pooled_draws.__name__
        'pooled_draws'
    """
    npe = layer.npe
    rows = np.arange(len(context)) if at is None else np.asarray(at, int)
    known = _known(bundle, layer, context, time_s, causal=causal)
    generator = torch.Generator().manual_seed(seed)
    shared, fast = np.empty((len(rows), n, len(npe.shared_sd)), np.float32), []
    drawn = None
    for k, i in enumerate(rows):
        if drawn is None or causal:
            drawn = npe.sample_shared(known.row(i), n, torch.Generator().manual_seed(seed + 1))
        shared[k] = drawn.numpy()
        told = known.row(i) if growth is None else known.row(i).grown(growth[k])
        fast.append(npe.sample_window(bundle.outputs.space, told, drawn, generator))
    return shared, np.stack(fast)


def _known(
    bundle: Bundle,
    layer: PoolingLayer,
    context: Float[np.ndarray, "W inputs"],
    time_s: Float[np.ndarray, " W"],
    *,
    causal: bool = False,
) -> PoolContext:
    """What a pool says of its windows, whose states the detector tells."""
    npe, times = layer.npe, np.asarray(time_s, float)
    unit = npe.unit(bundle.npe, torch.from_numpy(np.asarray(context, np.float32)))
    states = all_states(layer.detector, npe.signature(unit)[None], times[None])[0][0]
    return pool_contexts(npe, unit, times, causal=causal, states=states)


@torch.no_grad()
def window_draws(
    bundle: Bundle, context: Float[np.ndarray, "W inputs"], n: int, *, seed: int = 0
) -> Float[np.ndarray, "W n D"]:
    r"""Draws of the window model from its context vectors.

    Arguments:
        bundle: The window model.
        context: Context vectors.
        n: Draws of each.
        seed: Seed of the draws.

    Example:
        >>> window_draws.__name__
        'window_draws'
    """
    npe, generator = bundle.npe, torch.Generator().manual_seed(seed)
    draws = np.empty((len(context), n, len(npe.z_mean)), np.float32)
    for i, c in enumerate(torch.from_numpy(np.asarray(context, np.float32))):
        z = invert_flow(npe.flow, c, torch.randn(n, len(npe.z_mean), generator=generator)) * npe.z_sd + npe.z_mean
        draws[i] = npe.outputs.space.constrain(z.double().numpy())
    return draws


@dataclass(frozen=True)
class HeldPool:
    r"""A stretch of a recording, some of its windows and their truth.

    Arguments:
        recording: Number of the recording.
        rows: Its windows that are in the pool.
        at: Which of those are asked for.
        truth: Quantities of these.

    Example:
        >>> HeldPool.__dataclass_fields__["recording"].type
        'int'
    """

    recording: int
    rows: Int[np.ndarray, " W"]
    at: Int[np.ndarray, " K"]
    truth: Mapping[str, Float[np.ndarray, " K"]]

    @classmethod
    def draw(cls, rng: np.random.Generator, data: EmbeddedRecordings, bundle: Bundle, *, r: int, size: int) -> HeldPool:
        r"""A stretch of a recording at random.

        Arguments:
            rng: Source of randomness.
            data: Held-out recordings.
            bundle: The window model.
            r: Number of the recording.
            size: Windows of the stretch.
        """
        ok = np.flatnonzero(data.usable[r])
        here = min(size, len(ok))
        start = int(rng.integers(len(ok) - here + 1))
        rows = ok[start : start + here]
        at = np.unique(np.linspace(0, here - 1, min(_ASKED.get(size, 5), here)).astype(int))
        return cls(r, rows, at, bundle.outputs.derive(data.theta[r, rows[at]].astype(np.float64)))

    def known(self, bundle: Bundle, layer: PoolingLayer, data: EmbeddedRecordings) -> PoolContext:
        r"""What the pool says of its first window.

        Arguments:
            bundle: The window model.
            layer: The pooling layer.
            data: Held-out recordings.
        """
        r, rows = self.recording, self.rows
        return _known(bundle, layer, data.context[r, rows], data.time_s[r, rows]).row(0)

    def answered_alone(
        self, bundle: Bundle, data: EmbeddedRecordings, draws: int
    ) -> Mapping[str, Float[np.ndarray, "K n"]]:
        r"""Draws of the window model alone.

        Arguments:
            bundle: The window model.
            data: Held-out recordings.
            draws: Draws of each window.
        """
        context = data.context[self.recording, self.rows[self.at]]
        seed = int(self.recording + 1000 * self.rows[0])
        return bundle.outputs.derive(window_draws(bundle, context, draws, seed=seed))

    def answered(
        self,
        bundle: Bundle,
        layer: PoolingLayer,
        data: EmbeddedRecordings,
        *,
        draws: int,
        asked: Int[np.ndarray, " N"] | slice = slice(None),
        growth: Float[np.ndarray, "N D"] | None = None,
    ) -> tuple[Float[np.ndarray, "n S"], Mapping[str, Float[np.ndarray, "N n"]]]:
        r"""Draws of what the pool shares, and of those of its windows that are asked for, own errors grown as told.

        Arguments:
            bundle: The window model.
            layer: The pooling layer.
            data: Held-out recordings.
            draws: Draws of each window.
            asked: Which of its windows.
            growth: Factors on the variances of the own errors of each; 1 where None.
        """
        r, rows, at = self.recording, self.rows, self.at[asked]
        shared, theta = pooled_draws(
            bundle, layer, data.context[r, rows], data.time_s[r, rows], draws, at=at, growth=growth, seed=r
        )
        return shared[0], bundle.outputs.derive(theta)

    def ranks(
        self,
        layer: PoolingLayer,
        data: EmbeddedRecordings,
        shared: Float[np.ndarray, "n S"],
        made: Mapping[str, Float[np.ndarray, "K n"]],
        weights: Float[np.ndarray, " n"] | None = None,
    ) -> dict[str, np.ndarray]:
        r"""Ranks of the truth in the draws of the windows and of the patient.

        Arguments:
            layer: The pooling layer.
            data: Held-out recordings.
            shared: Draws of what the pool shares.
            made: Draws of its windows.
            weights: Weights of the draws; even where None.
        """
        slow = layer.npe.slow(torch.from_numpy(shared))
        patient = (np.log(data.compliance[self.recording, self.rows]).mean(), np.log(data.wave_speed[self.recording]))
        own = {name: ranks(made[name], self.truth[name], _each(weights, made[name])) for name in made}
        return own | {
            name: ranks(slow[None, :, i], np.array([patient[i]]), _each(weights, slow[None, :, i]))
            for i, name in enumerate(SLOW)
        }


def anchored_ranks(
    bundle: Bundle,
    layer: PoolingLayer,
    data: EmbeddedRecordings,
    *,
    pool: HeldPool,
    rng: np.random.Generator,
    draws: int,
    told: Callable[[Float[np.ndarray, "n S"]], Sequence[Float[np.ndarray, " n"]]] = lambda shared: [
        np.zeros(len(shared))
    ],
) -> list[dict[str, np.ndarray]]:
    r"""Ranks in the other windows where one cardiac output is known with an error of 10 %; draws weighted as answers.

    Arguments:
        bundle: The window model.
        layer: The pooling layer.
        data: Held-out recordings.
        pool: The pool.
        rng: Source of randomness.
        draws: Draws of each window.
        told: Log weights of draws of what the pool shares by what else is known, one set after another.

    Returns:
        Ranks by quantity, for each set of weights.

    Example:
        >>> anchored_ranks.__annotations__["draws"]
        'int'
    """
    r, aging, true = pool.recording, layer.aging, pool.truth["CO"]
    at = int(rng.integers(len(true)))
    value = float(true[at] * np.exp(0.1 * rng.standard_normal()))
    others = np.flatnonzero(np.arange(len(true)) != at)
    asked = np.r_[at, at, others]  # the reference's window twice, young and as from far away
    time_s = data.time_s[r, pool.rows[pool.at[asked]]]
    ages = np.array([aging.age(apart) for apart in time_s - time_s[0]])
    ages[1] = 1.0
    growth = np.stack([aging.growth(age) for age in ages])
    shared, made = pool.answered(bundle, layer, data, draws=_OVERSAMPLED * draws, asked=asked, growth=growth)
    wide, anchor = shared.astype(np.float64), Anchor("CO", value, 0.0, 0.1 * value)
    known = SlowLikelihood.of([anchor], wide, {"CO": made["CO"][0]}, {"CO": made["CO"][1]} if aging.excess else None)
    logs = np.stack([known.aged(age).log(wide) for age in ages[2:]])
    weights = [normalised(logs + log) for log in told(shared)]
    return [{name: ranks(made[name][2:], pool.truth[name][others], own) for name in made} for own in weights]


def _each(weights: Float[np.ndarray, " n"] | None, draws: Float[np.ndarray, "K n"]) -> Float[np.ndarray, "K n"] | None:
    return None if weights is None else np.broadcast_to(weights, draws.shape)


def ranks(
    draws: Float[np.ndarray, "K n"], truth: Float[np.ndarray, " K"], weights: Float[np.ndarray, "K n"] | None = None
) -> Float[np.ndarray, " K"]:
    r"""Shares of draws, or of their weight, below the truth.

    Arguments:
        draws: Draws of some windows.
        truth: The truth in each.
        weights: Weights of the draws; even where None.

    Example:
        >>> ranks(np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([3.5])).tolist()
        [0.75]
    """
    return np.asarray(np.average(draws < truth[:, None], axis=1, weights=weights))


def coverage_of(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    r"""Shares of truths that central intervals hold, by level and quantity.

    Arguments:
        parts: Ranks by quantity, of several pools.

    Example:
        >>> coverage_of([{"SV": np.array([0.4, 0.96])}])
        {'0.5': {'SV': 0.5}, '0.9': {'SV': 0.5}}
    """
    names = dict.fromkeys(name for part in parts for name in part)
    ranks = {name: np.concatenate([part[name] for part in parts if name in part]) for name in names}
    return {
        f"{level:g}": {n: round(float(np.mean(np.abs(u - 0.5) <= 0.5 * level)), 4) for n, u in ranks.items()}
        for level in _LEVELS
    }


def standard_errors(parts: Sequence[Mapping[str, np.ndarray]], together: int) -> dict[str, dict[str, float]]:
    r"""Standard errors of coverage, where every so many parts are of one recording.

    Arguments:
        parts: Ranks by quantity, of several pools.
        together: How many of them are of one recording.

    Example:
        >>> standard_errors([{"SV": np.array([0.4])}, {"SV": np.array([0.96])}], 1)["0.9"]
        {'SV': 0.3536}
    """
    found: dict[str, dict[str, float]] = {}
    for level in _LEVELS:
        shares = {
            name: [
                np.mean(np.abs(np.concatenate([part[name] for part in parts[i : i + together]]) - 0.5) <= 0.5 * level)
                for i in range(0, len(parts), together)
            ]
            for name in (parts[0] if parts else ())
        }
        found[f"{level:g}"] = {n: round(float(np.std(v) / np.sqrt(len(v))), 4) for n, v in shares.items()}
    return found


def error_of_median(parts: Sequence[Float[np.ndarray, " n"]]) -> float:
    r"""Standard error of the median of all values, where those of one part err together.

    Half the distance of the quantiles one standard error of the share below the median beside it.

    Arguments:
        parts: Values of each part; parts of one value each where all are independent.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> 0.9 < error_of_median(rng.standard_normal((10000, 1))) / (1.2533 / 100) < 1.1
        True
    """
    values = np.concatenate(list(parts))
    median = np.median(values)
    aside = [float(np.sum(np.sign(median - part))) / 2 for part in parts]
    share = min(0.5, float(np.sqrt(np.sum(np.square(aside)))) / len(values))
    low, high = np.quantile(values, [0.5 - share, 0.5 + share])
    return float(f"{(high - low) / 2:.3g}")
