r"""What a pooling layer is worth on held-out simulated recordings: coverage by size of pool, and trends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from ..bundle import Bundle
from ..contract import InputContract, joined
from ..sampling import invert_flow
from .anchors import Anchor, SlowLikelihood
from .features import EmbeddedRecordings
from .layer import PoolingLayer
from .network import SLOW, pool_contexts
from .segment_training import all_states

__all__ = ["measure_alike", "measure_pooling", "pooled_draws", "window_draws"]

SIZES = (1, 10, 64, 200)
"""Windows of the pools on which coverage is measured."""
_LEVELS = (0.5, 0.9)
_POOLS = {1: 2, 10: 1, 64: 1, 200: 1}  # of each recording that is so long
_ASKED = {1: 1, 10: 2, 64: 5, 200: 10}  # windows of each pool
_REFERENCES = 2  # of each recording, one at a time
_OVERSAMPLED = 2  # draws for each that is drawn otherwise, where a reference weights them
_FLOWS = ("SV", "CO")
_STILL = 0.03  # standard deviation of log SV below which a recording is called unvarying


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
    unit = npe.unit(bundle.npe, torch.from_numpy(np.asarray(context, np.float32)))
    times = np.asarray(time_s, float)
    states = all_states(layer.detector, npe.signature(unit)[None], times[None])[0][0]
    known = pool_contexts(npe, unit, times, causal=causal, states=states)
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


def measure_pooling(
    bundle: Bundle,
    layer: PoolingLayer,
    sets: Sequence[EmbeddedRecordings],
    *,
    calm: EmbeddedRecordings | None = None,
    draws: int = 400,
) -> dict[str, Any]:
    r"""Coverage with pools of 1, 10, 64 and 200 windows, the same with a reference, and trends against windows alone.

    Arguments:
        bundle: The window model.
        layer: The pooling layer.
        sets: Held-out recordings, each set with its own number of windows.
        calm: Recordings, some of which hardly move, that were not trained on.
        draws: Draws of each window.

    Returns:
        JSON-able: ``n`` windows, ``recordings``, ``coverage`` by level and quantity over all sizes, the same by size,
        with its standard error (of recordings, whose windows err together), ``anchored``, where one cardiac output of
        10 % error was known, ``trend``, the median over long recordings of the standard deviation of the log error, and
        ``still``, the median width of the 90 % interval over that of a window alone where stroke volume hardly moves.
        For a model of several channels also ``given``: by the channels of a window in a long pool, ``coverage`` and
        the ``error`` of its medians, alone and pooled, in pools that are ``alike`` and in those of ``others`` too.

    Example:
        >>> measure_pooling.__kwdefaults__["draws"]
        400
    """
    found = _Found({**{str(size): [] for size in SIZES}, "anchored": []}, {"window": [], "recording": []}, [])
    for number, data in enumerate(sets):
        for r in range(len(data.context)):
            found.add_recording(np.random.default_rng([number, r]), bundle, layer, data, r, draws)
    held, anchored = {k: v for k, v in found.held.items() if k != "anchored"}, found.held["anchored"]
    return {
        "n": sum(len(part["SV"]) for parts in held.values() for part in parts),
        "recordings": sum(len(data.context) for data in sets),
        "recordings_by_pool": {size: len(parts) // _POOLS[int(size)] for size, parts in held.items()},
        "coverage": _coverage([part for parts in held.values() for part in parts]),
        "coverage_by_pool": {size: _coverage(parts) for size, parts in held.items()},
        "standard_error": {size: _errors(parts, _POOLS[int(size)]) for size, parts in held.items()},
        "anchored": {
            "anchors": ["CO", "SV"],
            "n": sum(len(part["SV"]) for part in anchored) // _REFERENCES,
            "recordings": len(anchored) // _REFERENCES,
            "coverage": _coverage(anchored),
        },
        "trend": {name: dict(zip(("SV", "CO"), _median(v), strict=True)) for name, v in found.trend.items()},
        "still": {} if calm is None else _still(bundle, layer, calm, draws),
        **({"given": _by_given(bundle.contract, found.given)} if bundle.contract.several else {}),
    }


def measure_alike(bundle: Bundle, layer: PoolingLayer, data: EmbeddedRecordings, draws: int = 200) -> dict[str, Any]:
    r"""Errors of stroke volume and cardiac output, of windows alone and pooled, in pools of whole recordings.

    Arguments:
        bundle: The window model.
        layer: The pooling layer.
        data: Held-out recordings.
        draws: Draws of each window.

    Returns:
        JSON-able: ``recordings``; by quantity and way (``window``, ``recording``) the median over recordings of the
        mean absolute log error of the medians (``error``) and of its standard deviation (``trend``), and the mean over
        recordings of pooled minus alone (``difference``) with its standard error.

    Example:
        >>> measure_alike.__defaults__
        (200,)
    """
    rng, rows = np.random.default_rng(2), []
    for r in range(len(data.context)):
        pool = _Pool.draw(rng, data, bundle, r, data.context.shape[1])
        ways = pool.answered_alone(bundle, data, draws), pool.answered(bundle, layer, data, draws)[1]
        errors = [[_error(way[q], pool.truth[q]).mean() for way in ways] for q in _FLOWS]
        trends = [[_trend(way[q], pool.truth[q]) for way in ways] for q in _FLOWS]
        rows.append([errors, trends])
    told, found = np.array(rows), dict[str, Any]({"recordings": len(rows)})
    for i, q in enumerate(_FLOWS):
        apart = told[:, 0, i, 1] - told[:, 0, i, 0]
        error, trend = np.median(told[:, :, i], axis=0).round(4).tolist()
        found[q] = {
            "error": dict(zip(("window", "recording"), error, strict=True)),
            "trend": dict(zip(("window", "recording"), trend, strict=True)),
            "difference": [round(float(apart.mean()), 4), round(float(apart.std() / np.sqrt(len(apart))), 4)],
        }
    return found


def _still(bundle: Bundle, layer: PoolingLayer, data: EmbeddedRecordings, draws: int) -> dict[str, float]:
    """Width of pooled intervals over that of windows alone in recordings in which stroke volume hardly moves."""
    rng, ratios = np.random.default_rng(1), []
    for r in range(len(data.context)):
        pool = _Pool.draw(rng, data, bundle, r, 200)
        if np.std(np.log(pool.truth["SV"])) < _STILL:
            (_, made), alone = pool.answered(bundle, layer, data, draws), pool.answered_alone(bundle, data, draws)
            ratios.append((_width(made["SV"]) / _width(alone["SV"]), _width(made["CO"]) / _width(alone["CO"])))
    return {"recordings": len(ratios), **(dict(zip(("SV", "CO"), _median(ratios), strict=True)) if ratios else {})}


@dataclass(frozen=True)
class _Told:
    """Windows of a long pool: their channels, whether others of it have others, ranks, and errors of SV and CO."""

    given: Bool[np.ndarray, "K C"]
    mixed: bool
    ranks: Mapping[str, Float[np.ndarray, " K"]]
    alone: Float[np.ndarray, "2 K"]
    pooled: Float[np.ndarray, "2 K"]


def _by_given(contract: InputContract, told: Sequence[_Told]) -> dict[str, Any]:
    """What pooling is worth to windows of each set of channels."""
    found: dict[str, Any] = {}
    for row in np.unique(np.concatenate([one.given for one in told]), axis=0)[::-1]:
        parts = [(one, (one.given == row).all(1)) for one in told]
        parts = [(one, own) for one, own in parts if own.any()]
        ranks = [{n: one.ranks[n][own] for n in one.ranks if n not in SLOW} for one, own in parts]
        name = joined([n for n, there in zip(contract.names, row, strict=True) if there])
        found[name] = {"n": sum(len(part["SV"]) for part in ranks), "coverage": _coverage(ranks), "error": {}}
        for kind, mixed in (("alike", False), ("others", True)):
            some = [(one.alone[:, own], one.pooled[:, own]) for one, own in parts if one.mixed == mixed]
            if some:
                alone, pooled = (np.median(np.concatenate(v, axis=1), axis=1).tolist() for v in zip(*some, strict=True))
                rows = {"window": alone, "recording": pooled}
                error = {k: {q: round(x, 4) for q, x in zip(_FLOWS, v, strict=True)} for k, v in rows.items()}
                found[name]["error"][kind] = {"recordings": len(some), **error}
    return found


@dataclass(frozen=True)
class _Found:
    """Ranks by size of pool, and errors of trends."""

    held: dict[str, list[dict[str, np.ndarray]]]
    trend: dict[str, list[tuple[float, float]]]
    given: list[_Told]

    def add_recording(
        self,
        rng: np.random.Generator,
        bundle: Bundle,
        layer: PoolingLayer,
        data: EmbeddedRecordings,
        r: int,
        draws: int,
    ) -> None:
        for size in SIZES:
            for _ in range(_POOLS[size] if size <= data.context.shape[1] else 0):
                self.add(rng, bundle, layer, data, r, size, draws)

    def add(
        self,
        rng: np.random.Generator,
        bundle: Bundle,
        layer: PoolingLayer,
        data: EmbeddedRecordings,
        r: int,
        size: int,
        draws: int,
    ) -> None:
        pool = _Pool.draw(rng, data, bundle, r, size)
        whole = size > SIZES[1] and size == max(one for one in SIZES if one <= data.context.shape[1])
        alone = pool.answered_alone(bundle, data, draws) if whole or size == SIZES[0] else {}
        if size == SIZES[0]:
            self.held["1"].append({name: _ranks(alone[name], pool.truth[name]) for name in alone})
            return
        shared, made = pool.answered(bundle, layer, data, draws)
        self.held[str(size)].append(pool.ranks(layer, data, shared, made))
        if whole:
            self.held["anchored"] += [_anchored(rng, bundle, layer, data, pool, draws) for _ in range(_REFERENCES)]
            here, all_of = data.given[r, pool.rows[pool.at]], data.given[r, pool.rows]
            errors = [np.stack([_error(one[q], pool.truth[q]) for q in _FLOWS]) for one in (alone, made)]
            self.given.append(_Told(here, bool((all_of != all_of[0]).any()), self.held[str(size)][-1], *errors))
            for name, one in (("window", alone), ("recording", made)):
                self.trend[name].append((_trend(one["SV"], pool.truth["SV"]), _trend(one["CO"], pool.truth["CO"])))


@dataclass(frozen=True)
class _Pool:
    """A stretch of a recording, some of its windows and their truth."""

    recording: int
    rows: Int[np.ndarray, " W"]
    at: Int[np.ndarray, " K"]
    truth: Mapping[str, Float[np.ndarray, " K"]]

    @classmethod
    def draw(cls, rng: np.random.Generator, data: EmbeddedRecordings, bundle: Bundle, r: int, size: int) -> _Pool:
        ok = np.flatnonzero(data.usable[r])
        here = min(size, len(ok))
        start = int(rng.integers(len(ok) - here + 1))
        rows = ok[start : start + here]
        at = np.unique(np.linspace(0, here - 1, min(_ASKED.get(size, 5), here)).astype(int))
        return cls(r, rows, at, bundle.outputs.derive(data.theta[r, rows[at]].astype(np.float64)))

    def answered_alone(
        self, bundle: Bundle, data: EmbeddedRecordings, draws: int
    ) -> Mapping[str, Float[np.ndarray, "K n"]]:
        """Draws of the window model alone."""
        context = data.context[self.recording, self.rows[self.at]]
        seed = int(self.recording + 1000 * self.rows[0])
        return bundle.outputs.derive(window_draws(bundle, context, draws, seed=seed))

    def answered(
        self,
        bundle: Bundle,
        layer: PoolingLayer,
        data: EmbeddedRecordings,
        draws: int,
        asked: Int[np.ndarray, " N"] | slice = slice(None),
        growth: Float[np.ndarray, "N D"] | None = None,
    ) -> tuple[Float[np.ndarray, "n S"], Mapping[str, Float[np.ndarray, "N n"]]]:
        """Draws of what the pool shares, and of those of its windows that are asked for, own errors grown as told."""
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
    ) -> dict[str, np.ndarray]:
        """Ranks of the truth in the draws of the windows and of the patient."""
        slow = layer.npe.slow(torch.from_numpy(shared))
        patient = (np.log(data.compliance[self.recording, self.rows]).mean(), np.log(data.wave_speed[self.recording]))
        own = {name: _ranks(made[name], self.truth[name]) for name in made}
        return own | {name: _ranks(slow[None, :, i], np.array([patient[i]])) for i, name in enumerate(SLOW)}


def _anchored(
    rng: np.random.Generator,
    bundle: Bundle,
    layer: PoolingLayer,
    data: EmbeddedRecordings,
    pool: _Pool,
    draws: int,
) -> dict[str, np.ndarray]:
    """Ranks in the other windows where one cardiac output is known with an error of 10 %; draws weighted as answers."""
    r, aging, true = pool.recording, layer.aging, pool.truth["CO"]
    at = int(rng.integers(len(true)))
    told = float(true[at] * np.exp(0.1 * rng.standard_normal()))
    others = np.flatnonzero(np.arange(len(true)) != at)
    asked = np.r_[at, at, others]  # the reference's window twice, young and as from far away
    time_s = data.time_s[r, pool.rows[pool.at[asked]]]
    ages = np.array([aging.age(apart) for apart in time_s - time_s[0]])
    ages[1] = 1.0
    growth = np.stack([aging.growth(age) for age in ages])
    shared, made = pool.answered(bundle, layer, data, _OVERSAMPLED * draws, asked, growth)
    wide, anchor = shared.astype(np.float64), Anchor("CO", told, 0.0, 0.1 * told)
    known = SlowLikelihood.of([anchor], wide, {"CO": made["CO"][0]}, {"CO": made["CO"][1]} if aging.excess else None)
    weights = np.stack([known.aged(age).weights(wide) for age in ages[2:]])
    return {name: _ranks(made[name][2:], pool.truth[name][others], weights) for name in made}


def _ranks(
    draws: Float[np.ndarray, "K n"], truth: Float[np.ndarray, " K"], weights: Float[np.ndarray, "K n"] | None = None
) -> Float[np.ndarray, " K"]:
    return np.asarray(np.average(draws < truth[:, None], axis=1, weights=weights))


def _coverage(parts: list[dict[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    names = dict.fromkeys(name for part in parts for name in part)
    ranks = {name: np.concatenate([part[name] for part in parts if name in part]) for name in names}
    return {
        f"{level:g}": {n: round(float(np.mean(np.abs(u - 0.5) <= 0.5 * level)), 4) for n, u in ranks.items()}
        for level in _LEVELS
    }


def _errors(parts: list[dict[str, np.ndarray]], together: int) -> dict[str, dict[str, float]]:
    """Standard errors of coverage, where every so many parts are of one recording."""
    found: dict[str, dict[str, float]] = {}
    for level in _LEVELS:
        shares = {
            name: [
                np.mean(np.abs(np.concatenate([part[name] for part in parts[i : i + together]]) - 0.5) <= 0.5 * level)
                for i in range(0, len(parts), together)
            ]
            for name in parts[0]
        }
        found[f"{level:g}"] = {n: round(float(np.std(v) / np.sqrt(len(v))), 4) for n, v in shares.items()}
    return found


def _trend(draws: Float[np.ndarray, "K n"], truth: Float[np.ndarray, " K"]) -> float:
    return float(np.std(np.log(np.maximum(np.median(draws, axis=1), 1e-6) / truth)))


def _error(draws: Float[np.ndarray, "K n"], truth: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
    return np.asarray(np.abs(np.log(np.maximum(np.median(draws, axis=1), 1e-6) / truth)))


def _width(draws: Float[np.ndarray, "K n"]) -> float:
    """Median over windows of the ratio of the 95 % to the 5 % quantile."""
    low, high = np.quantile(draws, [0.05, 0.95], axis=1)
    return float(np.median(np.log(high / np.maximum(low, 1e-6))))


def _median(values: list[tuple[float, float]]) -> list[float]:
    return [round(float(v), 4) for v in np.median(np.array(values), axis=0)]
