r"""Whether the numbers of a bundle's pooling layer come out again.

As in [`evidence`][pulsebayes.calibration.evidence], two measurements of one number may differ by `LIMIT` standard
errors of their difference; here they are errors over recordings, whose windows err together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..inference.bundle import Bundle
from ..inference.pooling.layer import load_pooling
from ..inference.pooling.recipe import find_pooling_recipe, measure_layer
from .evidence import Finding, share_again, value_again

__all__ = ["compare_pools", "pools_again"]

_Measured = Mapping[str, Any]


def pools_again(
    folder: Path, work: Path, *, share: float = 1.0, tell: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    r"""Measures again what a pooling layer keeps as measured, on held-out recordings of its recipe.

    Arguments:
        folder: Folder of the bundle.
        work: Folder of the recordings, kept.
        share: Share of each set's recordings; with 1 they are the card's own.
        tell: Told what goes on.

    Returns:
        What was found, a row for each number; none where the bundle has no such layer.

    Raises:
        ValueError: If the layer has no recipe.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> pools_again(find_bundle("multi-site"), Path("evidence"))
        []
    """
    bundle = Bundle.load(folder)
    layer = load_pooling(folder, bundle)
    if layer is None:
        return []
    recipe = find_pooling_recipe(f"{bundle.name}-pooled")
    if recipe is None:
        raise ValueError(f"the pooling layer of {bundle.name} has no recipe")
    tell(f"{bundle.name}: pools of {100 * share:.3g} % of the recordings")
    return compare_pools(
        layer.measured, measure_layer(recipe, bundle, layer, work / f"{bundle.name}-pools", share=share, tell=tell)
    )


def compare_pools(card: _Measured, again: _Measured) -> list[Finding]:
    r"""Compares what a pooling layer keeps as measured with what was measured again.

    Arguments:
        card: What it keeps.
        again: The same, as `measure_layer` gives it, with standard errors.

    Returns:
        A row for each number of both, but for the sizes of pools that no set was long enough for, and spreads that too
        few recordings carry to tell their error.

    Example:
        >>> compare_pools({}, {})
        []
    """
    found = [
        *_by_pool(card, again, ""),
        *_by_pool(card.get("finer", {}), again.get("finer", {}), ", walls that stiffen"),
    ]
    for name, row in card.get("given", {}).items():
        if name in again.get("given", {}):
            found += _given(row, again["given"][name], f", {name}")
    for known, row in card.get("patients", {}).items():
        found += _patients(row, again["patients"][known], f", {known.replace('+', ', ') or 'nothing'} known")
    for name, rows in card.get("alike", {}).items():
        for size, row in rows.items():
            found += _alike(row, again["alike"][name][size], f", pools of {size} with {name}")
    return [*found, *_changes(card.get("changes", {}), again.get("changes", {}))]


def _by_pool(card: _Measured, again: _Measured, what: str) -> Iterator[Finding]:
    """Coverage by size of pool and with a reference, trends, and pools that hardly move."""
    yield from _sizes(card, again, again.get("standard_error", {}), what)
    if card.get("anchored") and again.get("anchored", {}).get("recordings"):
        known, new = card["anchored"], again["anchored"]
        yield from _coverage(known, new, new["standard_error"], _recordings(known, new), f", one CO known{what}")
    for key in ("trend", "still"):
        if card.get(key) and again.get(key):
            rows = (card[key], again[key], again[key]["standard_error"])
            counts = _longest(card, again) if key == "trend" else _recordings(card[key], again[key])
            yield from _values(*rows, counts, f"{key}{what}")


def _sizes(card: _Measured, again: _Measured, errors: _Measured, what: str) -> Iterator[Finding]:
    for size in card.get("coverage_by_pool", {}):
        counts = card["recordings_by_pool"][size], again["recordings_by_pool"].get(size, 0)
        if counts[1]:
            old, new = ({"coverage": one["coverage_by_pool"][size]} for one in (card, again))
            yield from _coverage(old, new, errors[size], counts, f", pools of {size}{what}")


def _given(card: _Measured, again: _Measured, what: str) -> Iterator[Finding]:
    """Coverage and errors of windows with these channels."""
    errors = again["standard_error"]
    counts = tuple(sum(kind["recordings"] for kind in one["error"].values()) for one in (card, again))
    yield from _coverage(card, again, errors["coverage"], counts, what)
    for kind, row in card["error"].items():
        if kind in again["error"]:
            new = again["error"][kind]
            yield from _values(row, new, errors["error"][kind], _recordings(row, new), f"error in pools, {kind}{what}")


def _patients(card: _Measured, again: _Measured, what: str) -> Iterator[Finding]:
    errors = again["standard_error"]
    yield from _sizes(card, again, errors["coverage_by_pool"], what)
    for size, n in card["recordings_by_pool"].items():
        now = again["recordings_by_pool"].get(size, 0)
        if not now:
            continue
        told, counts = f", pools of {size}{what}", (n, now)
        yield from _values(card["spread"][size], again["spread"][size], errors["spread"][size], counts, f"spread{told}")
        pair = card["effective"][size], again["effective"][size]
        yield value_again(f"effective{told}", *pair, _apart(counts) * errors["effective"][size])
        yield share_again(f"refused{told}", card["refused"][size], again["refused"][size], *counts)
    known, new = card["anchored"], again["anchored"]
    if new["recordings"]:
        yield from _coverage(known, new, errors["anchored"], _recordings(known, new), f", one CO known{what}")


def _alike(card: _Measured, again: _Measured, what: str) -> Iterator[Finding]:
    counts = _recordings(card, again)
    for q in (q for q in card if q != "recordings"):
        for kind, errors in again[q]["standard_error"].items():
            yield from _values(card[q][kind], again[q][kind], errors, counts, f"{kind} {q}{what}")
        (value, _), (now, error) = card[q]["difference"], again[q]["difference"]
        yield value_again(f"difference {q}{what}", value, now, _apart(counts) * error)


def _changes(card: _Measured, again: _Measured) -> Iterator[Finding]:
    """What the detector finds and invents."""
    if not card:
        return
    yield from _found({"splices": card["splices"]}, {"splices": again["splices"]}, "")
    yield from _found(card["sensors"], again["sensors"], ", sensors that change")
    if quiet := card.get("quiet"):
        new = again["quiet"]
        yield from _found({"splices": quiet["splices"]}, {"splices": new["splices"]}, ", quiet")
        yield from _found(quiet.get("splices_by_channels", {}), new.get("splices_by_channels", {}), ", quiet")
        rate = (quiet["false_splits"] + new["false_splits"] + 1) / (quiet["hours"] + new["hours"])
        spread = math.sqrt(rate * (1 / quiet["hours"] + 1 / new["hours"]))
        yield value_again("false splits an hour", quiet["an_hour"], new["an_hour"], spread)


def _found(card: _Measured, again: _Measured, what: str) -> Iterator[Finding]:
    for name, row in card.items():
        if name in again:
            new = again[name]
            yield share_again(f"{name}{what}", row["share"], new["share"], row["of"], new["of"])


def _coverage(
    card: _Measured, again: _Measured, errors: _Measured, counts: tuple[int, ...], what: str
) -> Iterator[Finding]:
    """Shares held by intervals; where all recordings held the same the error is binomial."""
    for level, row in card["coverage"].items():
        for name in (name for name in row if name in again["coverage"][level]):
            number, pair = f"cover {100 * float(level):g} % {name}{what}", (row[name], again["coverage"][level][name])
            if errors[level][name]:
                yield value_again(number, *pair, _apart(counts) * errors[level][name])
            else:
                yield share_again(number, *pair, *counts)


def _values(
    card: _Measured, again: _Measured, errors: _Measured, counts: tuple[int, ...], what: str
) -> Iterator[Finding]:
    """Values of every quantity, or of windows alone and pooled each."""
    for name, error in errors.items():
        if isinstance(error, Mapping):
            yield from _values(card[name], again[name], error, counts, f"{what}, {name}")
        elif error is not None:  # too few recordings carry it
            yield value_again(f"{name} {what}", card[name], again[name], _apart(counts) * error)


def _recordings(card: _Measured, again: _Measured) -> tuple[int, ...]:
    return card["recordings"], again["recordings"]


def _longest(card: _Measured, again: _Measured) -> tuple[int, ...]:
    """Recordings with which trends are measured: of more than ten windows."""
    both = (one["recordings_by_pool"] for one in (card, again))
    return tuple(max([n for size, n in rows.items() if int(size) > 10], default=1) for rows in both)


def _apart(counts: tuple[int, ...]) -> float:
    """Standard error of a difference over that of the new one."""
    n_card, n_again = counts
    return math.sqrt(1 + n_again / n_card)
