r"""Whether the numbers of a bundle's patient layer come out again: what knowing a patient is worth.

As in [`evidence`][pulsebayes.calibration.evidence], two measurements of one number may differ by `LIMIT` standard
errors of their difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..inference.bundle import Bundle
from ..inference.patient.layer import load_patient
from ..inference.patient.recipe import find_patient_recipe, make_patient_rows, measure_patient
from ..inference.recipe import find_recipe
from .evidence import Finding, share_again, value_again

__all__ = ["patients_again"]

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
    return [one for known, card in layer.measured.items() for one in _each(card, again[known], known)]


def _each(card: Mapping[str, Any], again: Mapping[str, Any], known: str) -> Iterator[Finding]:
    """Of all windows, and of those with each set of channels that both have."""
    yield from _patients(card, again, known)
    for given, row in card.get("given", {}).items():
        if given in again.get("given", {}):
            for one in _patients(row, again["given"][given], known):
                yield one._replace(number=f"{one.number}, given {given}")


def _patients(card: Mapping[str, Any], again: Mapping[str, Any], known: str) -> Iterator[Finding]:
    told, n_card, n = f"{known.replace('+', ', ') or 'nothing'} known", int(card["n"]), int(again["n"])
    for level in _LEVELS:
        for name, value in card["coverage"][level].items():
            number = f"cover {100 * float(level):g} % {name}, {told}"
            yield share_again(number, value, again["coverage"][level][name], n_card, n)
    yield share_again(f"refused, {told}", card["refused"], again["refused"], n_card, n)
    wider, errors = math.sqrt(1 + n / n_card), again["standard_error"]
    for name, value in card["spread"].items():
        yield value_again(f"spread {name}, {told}", value, again["spread"][name], wider * errors["spread"][name])
    yield value_again(f"effective, {told}", card["effective"], again["effective"], wider * errors["effective"])
