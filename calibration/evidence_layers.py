r"""Whether the numbers on the cards of a bundle's layers come out again: what is known of patients, and pools.

As in [`evidence`][pulsebayes.calibration.evidence], two measurements of one number may differ by `LIMIT` standard
errors of their difference: binomial ones of windows, those over recordings of pools, whose windows err together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..inference.bundle import Bundle
from ..inference.patient.layer import load_patient
from ..inference.patient.recipe import find_patient_recipe, make_patient_rows, measure_patient
from ..inference.pooling.features import FAST, FINE, make_embedded
from ..inference.pooling.layer import load_pooling
from ..inference.pooling.measure import measure_pooling
from ..inference.pooling.recipe import find_pooling_recipe
from ..inference.recipe import find_recipe
from .evidence import LIMIT, Finding, share_again

__all__ = ["FEWEST_RECORDINGS", "patients_again", "pools_again"]

FEWEST_RECORDINGS = 16
"""Recordings of each set on which pools are measured again at least."""
_LEVELS = ("0.5", "0.9")


def patients_again(
    folder: Path, work: Path, *, n: int = 0, tell: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    r"""Measures again what knowing a patient is worth, on held-out simulations of the patient layer's recipe.

    Arguments:
        folder: Folder of the bundle.
        work: Folder of the simulations, kept.
        n: Windows; 0 for those of the recipe, which are then the card's own.
        tell: Told what goes on.

    Returns:
        What was found, a row for each number; none where the bundle has no such layer.

    Raises:
        ValueError: If the layer has no recipe.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> patients_again(find_bundle("multi-site"), Path("evidence"))
        []
    """
    bundle = Bundle.load(folder)
    layer = load_patient(folder, bundle)
    if layer is None:
        return []
    recipe = find_patient_recipe(f"{bundle.name}-patient")
    if recipe is None:
        raise ValueError(f"the patient layer of {bundle.name} has no recipe")
    settings = {k: v for k, v in recipe.test.items() if k != "draws"} | ({"n": n} if n else {})
    out = work / f"{bundle.name}-patient-{settings['n']}"
    rows = make_patient_rows(bundle, find_recipe(recipe.base), out, settings, tell)
    again = measure_patient(bundle, layer.heads, rows, draws=recipe.test.get("draws", 1000))
    return [one for known, card in layer.measured.items() for one in _patients(card, again[known], known)]


def pools_again(
    folder: Path, work: Path, *, share: float = 1.0, tell: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    r"""Measures again what intervals of pools hold, on held-out recordings of the pooling layer's recipe.

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
    found: list[Finding] = []
    for rows, card, model in ((recipe.test, layer.measured, FAST), (recipe.finer, layer.measured.get("finer"), FINE)):
        if not card or not rows:
            continue
        sets = []
        for row in rows:
            settings = {k: v for k, v in row.items() if k not in ("name", "held", "of")}
            fewer = max(FEWEST_RECORDINGS, round(share * row["recordings"]))
            settings |= {"model": model, "recordings": min(row["recordings"], fewer)}
            tell(f"{bundle.name}: {settings['recordings']} recordings of {row['name']}")
            sets.append(make_embedded(bundle, work / f"{bundle.name}-{row['name']}", **settings))
        again = measure_pooling(bundle, layer, sets, draws=recipe.draws)
        found += _pools(card, again, model)
    return found


def _patients(card: Mapping[str, Any], again: Mapping[str, Any], known: str) -> Iterator[Finding]:
    told, n_card, n = f"{known.replace('+', ', ') or 'nothing'} known", int(card["n"]), int(again["n"])
    for level in _LEVELS:
        for name, value in card["coverage"][level].items():
            number = f"cover {100 * float(level):g} % {name}, {told}"
            yield share_again(number, value, again["coverage"][level][name], n_card, n)
    yield share_again(f"refused, {told}", card["refused"], again["refused"], n_card, n)
    wider, errors = math.sqrt(1 + n / n_card), again["standard_error"]
    for name, value in card["spread"].items():
        yield _value(f"spread {name}, {told}", value, again["spread"][name], wider * errors["spread"][name])
    yield _value(f"effective, {told}", card["effective"], again["effective"], wider * errors["effective"])


def _value(number: str, card: float, again: float, spread: float) -> Finding:
    return Finding(number, card, again, spread, abs(again - card) <= LIMIT * spread + 1e-3)  # three decimals are kept


def _pools(card: Mapping[str, Any], again: Mapping[str, Any], model: str) -> Iterator[Finding]:
    physics = "" if model == FAST else f", {model}"
    for size, levels in card["coverage_by_pool"].items():
        counts = card["recordings_by_pool"][size], again["recordings_by_pool"].get(size, 0)
        if not counts[1]:
            continue  # no set is that long
        for level, row in levels.items():
            for name, value in row.items():
                own = card["standard_error"][size][level][name]
                new = max(again["standard_error"][size][level][name], own * math.sqrt(counts[0] / counts[1]))
                spread = math.hypot(own, new)
                now = again["coverage_by_pool"][size][level][name]
                number = f"cover {100 * float(level):g} % {name}, pools of {size}{physics}"
                yield Finding(number, value, now, spread, abs(now - value) <= LIMIT * spread + 1e-4)
