r"""What a pooling layer is worth on held-out simulated recordings: coverage by size of pool, and trends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ..bundle import Bundle
from ..contract import InputContract, joined
from .features import EmbeddedRecordings
from .held_pools import HeldPool, anchored_ranks, coverage_of, error_of_median, ranks, standard_errors
from .layer import PoolingLayer
from .network import SLOW

__all__ = ["measure_alike", "measure_pooling"]

SIZES = (1, 10, 64, 200)
"""Windows of the pools on which coverage is measured."""
_POOLS = {1: 2, 10: 1, 64: 1, 200: 1}  # of each recording that is so long
_REFERENCES = 2  # of each recording, one at a time
_FLOWS = ("SV", "CO")
_STILL = 0.03  # standard deviation of log SV below which a recording is called unvarying


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
        JSON-able: ``n`` windows, ``recordings``, ``coverage`` by level and quantity over all sizes, the same by size
        that a recording has,
        with its standard error (of recordings, whose windows err together), ``anchored``, where one cardiac output of
        10 % error was known, ``trend``, the median over long recordings of the standard deviation of the log error, and
        ``still``, the median width of the 90 % interval over that of a window alone where stroke volume hardly moves.
        Each part has its ``standard_error``.
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
    held, anchored = {k: v for k, v in found.held.items() if k != "anchored" and v}, found.held["anchored"]
    return {
        "n": sum(len(part["SV"]) for parts in held.values() for part in parts),
        "recordings": sum(len(data.context) for data in sets),
        "recordings_by_pool": {size: len(parts) // _POOLS[int(size)] for size, parts in held.items()},
        "coverage": coverage_of([part for parts in held.values() for part in parts]),
        "coverage_by_pool": {size: coverage_of(parts) for size, parts in held.items()},
        "standard_error": {size: standard_errors(parts, _POOLS[int(size)]) for size, parts in held.items()},
        "anchored": {
            "anchors": ["CO", "SV"],
            "n": sum(len(part["SV"]) for part in anchored) // _REFERENCES,
            "recordings": len(anchored) // _REFERENCES,
            "coverage": coverage_of(anchored),
            "standard_error": standard_errors(anchored, _REFERENCES),
        },
        "trend": _trends(found.trend),
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
        mean absolute log error of the medians (``error``) and of its standard deviation (``trend``), with the
        ``standard_error`` of both, and the mean over recordings of pooled minus alone (``difference``) with its own.

    Example:
        >>> measure_alike.__defaults__
        (200,)
    """
    rng, rows = np.random.default_rng(2), []
    for r in range(len(data.context)):
        pool = HeldPool.draw(rng, data, bundle, r=r, size=data.context.shape[1])
        ways = pool.answered_alone(bundle, data, draws), pool.answered(bundle, layer, data, draws=draws)[1]
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
            "standard_error": {
                kind: {
                    way: error_of_median(list(told[:, k, i, w : w + 1]))
                    for w, way in enumerate(("window", "recording"))
                }
                for k, kind in enumerate(("error", "trend"))
            },
        }
    return found


def _still(bundle: Bundle, layer: PoolingLayer, data: EmbeddedRecordings, draws: int) -> dict[str, float]:
    """Width of pooled intervals over that of windows alone in recordings in which stroke volume hardly moves."""
    rng, ratios = np.random.default_rng(1), []
    for r in range(len(data.context)):
        pool = HeldPool.draw(rng, data, bundle, r=r, size=200)
        if np.std(np.log(pool.truth["SV"])) < _STILL:
            (_, made), alone = pool.answered(bundle, layer, data, draws=draws), pool.answered_alone(bundle, data, draws)
            ratios.append((_width(made["SV"]) / _width(alone["SV"]), _width(made["CO"]) / _width(alone["CO"])))
    return {"recordings": len(ratios), **(_flows(ratios) if ratios else {})}


def _flows(rows: list[tuple[float, float]]) -> dict[str, Any]:
    """Medians of stroke volume's and output's, with their standard errors."""
    errors = [error_of_median(column[:, None]) for column in np.array(rows).T]
    return {**dict(zip(_FLOWS, _median(rows), strict=True)), "standard_error": dict(zip(_FLOWS, errors, strict=True))}


def _trends(trend: Mapping[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """Median errors of trends, of windows alone and pooled, with their standard errors."""
    rows = {name: _flows(v) for name, v in trend.items() if v}
    errors = {name: row.pop("standard_error") for name, row in rows.items()}
    return {**rows, "standard_error": errors} if rows else {}


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
    for row in np.unique(np.concatenate([one.given for one in told]), axis=0)[::-1] if told else ():
        parts = [(one, (one.given == row).all(1)) for one in told]
        parts = [(one, own) for one, own in parts if own.any()]
        ranks = [{n: one.ranks[n][own] for n in one.ranks if n not in SLOW} for one, own in parts]
        name = joined([n for n, there in zip(contract.names, row, strict=True) if there])
        found[name] = {"n": sum(len(part["SV"]) for part in ranks), "coverage": coverage_of(ranks), "error": {}}
        found[name]["standard_error"] = {"coverage": standard_errors(ranks, 1), "error": {}}
        for kind, mixed in (("alike", False), ("others", True)):
            some = [(one.alone[:, own], one.pooled[:, own]) for one, own in parts if one.mixed == mixed]
            if some:
                alone, pooled = (np.median(np.concatenate(v, axis=1), axis=1).tolist() for v in zip(*some, strict=True))
                rows = {"window": alone, "recording": pooled}
                error = {k: {q: round(x, 4) for q, x in zip(_FLOWS, v, strict=True)} for k, v in rows.items()}
                found[name]["error"][kind] = {"recordings": len(some), **error}
                found[name]["standard_error"]["error"][kind] = {
                    way: {q: error_of_median([pair[w][i] for pair in some]) for i, q in enumerate(_FLOWS)}
                    for w, way in enumerate(("window", "recording"))
                }
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
        pool = HeldPool.draw(rng, data, bundle, r=r, size=size)
        whole = size > SIZES[1] and size == max(one for one in SIZES if one <= data.context.shape[1])
        alone = pool.answered_alone(bundle, data, draws) if whole or size == SIZES[0] else {}
        if size == SIZES[0]:
            self.held["1"].append({name: ranks(alone[name], pool.truth[name]) for name in alone})
            return
        shared, made = pool.answered(bundle, layer, data, draws=draws)
        self.held[str(size)].append(pool.ranks(layer, data, shared, made))
        if whole:
            for _ in range(_REFERENCES):
                self.held["anchored"] += anchored_ranks(bundle, layer, data, pool=pool, rng=rng, draws=draws)
            here, all_of = data.given[r, pool.rows[pool.at]], data.given[r, pool.rows]
            errors = [np.stack([_error(one[q], pool.truth[q]) for q in _FLOWS]) for one in (alone, made)]
            self.given.append(_Told(here, bool((all_of != all_of[0]).any()), self.held[str(size)][-1], *errors))
            for name, one in (("window", alone), ("recording", made)):
                self.trend[name].append((_trend(one["SV"], pool.truth["SV"]), _trend(one["CO"], pool.truth["CO"])))


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
