r"""Whether a model card's numbers come out again: measured anew, compared within their sampling error.

A number on a card was measured on $n_0$ held-out simulations, again it is measured on $n$. With $s$ the standard error
of the new one, the two may differ by $4.5\,s\sqrt{1 + n/n_0}$: for a model whose numbers are true, one in 150,000 would
be called a miss. Shares have binomial errors, means theirs, medians that of their order statistics. A p-value has no
spread; what must come out again is its verdict: a quantity whose ranks were even on the card (Holm's p at least 1 %)
must not be found uneven now (0.1 %).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..inference.bundle import Bundle
from ..inference.outputs import OutputSpace
from ..inference.pooling.held_pools import error_of_median
from ..inference.recipe import Recipe
from ..simulators.channels import ChannelSensor
from ..simulators.dataset import TrainingSet, make_training_set
from .channel_measures import given_windows
from .evaluate import draw_quantities, measure_draws
from .produce import Held, held_out_waves, held_out_windows, refused_of, sensor_of
from .validation import read_held_out, recipe_of, validate

__all__ = [
    "Finding",
    "LIMIT",
    "compare_measures",
    "measure_again",
    "share_again",
    "standard_errors",
    "validation_again",
    "value_again",
]

LIMIT = 4.5
"""Standard errors by which two measurements of one number may differ."""
_LEVELS = ("0.5", "0.9")
"""Levels of coverage that a card prints."""
_EVEN, _UNEVEN = 0.01, 0.001
"""Holm's p-value from which ranks were called even, and below which they are now called uneven."""


class Finding(NamedTuple):
    r"""A number of a card, and what it came to again.

    Arguments:
        number: Which number, of which quantity.
        card: As the card has it.
        again: As measured now.
        spread: Standard error of their difference; NaN for a verdict.
        holds: Whether they agree.

    Example:
        >>> Finding("cover 90 % CO", 0.9, 0.89, 0.01, True).holds
        True
    """

    number: str
    card: float
    again: float
    spread: float
    holds: bool


def measure_again(
    bundle: Bundle,
    work: Path,
    *,
    n: int = 0,
    workers: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Finding]:
    r"""Simulates a bundle's held-out set again, measures the bundle on it and compares with its card.

    Arguments:
        bundle: The bundle.
        work: Folder of the set, kept; a call that was stopped goes on.
        n: Rows to simulate; 0 for those of the recipe, which are then the card's own windows.
        workers: Processes that simulate; 0 takes one for each core.
        progress: Called with the number of windows done.

    Returns:
        What was found, a row for each number.

    Raises:
        ValueError: If the bundle does not say by which recipe it was trained.

    Example:
        >>> found = measure_again(bundle, Path("evidence"), n=1000)  # doctest: +SKIP
        >>> all(one.holds for one in found)  # doctest: +SKIP
        True
    """
    recipe = recipe_of(bundle)
    if not recipe.channels:  # those of several channels stand in the recipe
        recipe = dataclasses.replace(recipe, sensor=bundle.training.get("sensor") or recipe.sensor)
    return _measure(bundle, recipe, _held_out(bundle, recipe, work, n, workers), progress)


def validation_again(
    bundle: Bundle,
    work: Path,
    *,
    n: int = 0,
    workers: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Finding]:
    r"""Validates a bundle again on its held-out set and compares coverage by group, joint coverage and verdicts.

    What faults and replicates came to is not measured again.

    Arguments:
        bundle: The bundle.
        work: Folder of the set, kept, as `measure_again` leaves it.
        n: Rows to simulate; 0 for those of the recipe.
        workers: Processes that simulate; 0 takes one for each core.
        progress: Called with what is being done.

    Returns:
        What was found, a row for each number; none where the bundle was not validated.

    Raises:
        ValueError: If the bundle does not say by which recipe it was trained.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> validation_again(Bundle.load(find_bundle("radial-abp-reference")), Path("evidence"))
        []
    """
    card = bundle.measured.get("validation")
    if not card:
        return []
    held = _held_out(bundle, recipe_of(bundle), work, n, workers)
    windows = read_held_out(bundle, held.training_set, n=held.stop, seed=card["seed"])
    asked: dict[str, Any] = {"n_draws": card["draws"], "seed": card["seed"], "n_faults": 0, "n_predictive": 0}
    better, _ = validate(bundle, windows, progress=progress, **asked)
    return list(_validated(card, better.measured["validation"]))


def _held_out(bundle: Bundle, recipe: Recipe, work: Path, n: int, workers: int) -> Held:
    """The set, from its folder as far as it is there."""
    spec, rows = recipe.finest, n or recipe.test.n
    out = work / f"{bundle.name}-{rows}.zarr"
    make_training_set(
        (spec.model, spec.config), rows, out,
        seed=recipe.test.seed, shard_size=spec.shard_size, batch_size=spec.batch_size, workers=workers, resume=True,
    )  # fmt: skip
    return Held(TrainingSet.open(out), 0, rows)


def _validated(card: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[Finding]:
    """Coverage of every group that both have, joint coverage, and the verdicts of all tests."""
    groups = {(row["by"], row["label"]): row for row in again["groups"]}
    for row in card["groups"]:
        if new := groups.get((row["by"], row["label"])):
            for one in _shares(row, new):
                yield one._replace(
                    number=f"{one.number}, validated{row['by'] and ', '}{row['by']} {row['label']}".rstrip()
                )
    for kind, levels in card["joint"].items():
        for level in _LEVELS:
            number = f"cover {100 * float(level):g} % jointly, {kind}"
            yield share_again(number, levels[level], again["joint"][kind][level], int(card["n"]), int(again["n"]))
    tests = {(row["name"], row["of"]): row["holm"] for row in again["tests"]}
    for row in card["tests"]:
        if (key := (row["name"], row["of"])) in tests:
            yield _verdict(f"{row['name']} p (Holm) {row['of']}, validated", row["holm"], tests[key])


def _measure(bundle: Bundle, recipe: Recipe, held: Held, progress: Callable[[int], None]) -> list[Finding]:
    card, seed, sensor = bundle.measured, recipe.test.seed, sensor_of(recipe)
    x, theta = held_out_windows(held, recipe, bundle.outputs, seed=seed)
    found = _compare(bundle, card, x, theta, seed, progress)
    if "refused" in card:
        found += _refusals(card, refused_of(bundle, recipe, held))
    if "given" in card and isinstance(sensor, ChannelSensor):
        waves, theta = held_out_waves(held, recipe, bundle.outputs)
        for name, part in given_windows(bundle.contract, sensor, waves, seed=seed):
            given = _compare(bundle, card["given"][name], part, theta, seed, progress)
            found += [one._replace(number=f"{one.number}, given {name}") for one in given]
    return found


def _compare(
    bundle: Bundle,
    card: Mapping[str, Any],
    x: Float[np.ndarray, "N *window"],
    theta: Float[np.ndarray, "N D"],
    seed: int,
    progress: Callable[[int], None],
) -> list[Finding]:
    by_name = draw_quantities(bundle.npe, x, n_draws=int(card["draws"]), seed=seed, progress=progress)
    again = measure_draws(bundle.outputs, by_name, theta, bundle.prior, keep=True)
    plain = {key: value for key, value in card.items() if key != "refused"}
    return compare_measures(plain, again, standard_errors(bundle.outputs, by_name, theta, bundle.prior))


def compare_measures(
    card: Mapping[str, Any], again: Mapping[str, Any], errors: Mapping[str, Mapping[str, float]]
) -> list[Finding]:
    r"""Compares every number that a card prints with what was measured again.

    Arguments:
        card: What the bundle keeps as measured.
        again: The same, measured again.
        errors: Standard errors of ``again``, by measure and quantity, as `standard_errors` gives them.

    Returns:
        What was found, a row for each number.

    Example:
        >>> measured = {"n": 100, "coverage": {"0.5": {"HR": 0.5}, "0.9": {"HR": 0.9}}}
        >>> [one.number for one in compare_measures(measured, measured, {})]
        ['cover 50 % HR', 'cover 90 % HR']
    """
    return [*_shares(card, again), *_values(card, again, errors), *_verdicts(card, again), *_refusals(card, again)]


def standard_errors(
    outputs: OutputSpace,
    by_name: Mapping[str, Float[np.ndarray, "N S"]],
    theta: Float[np.ndarray, "N D"],
    prior: Float[np.ndarray, "M D"],
) -> dict[str, dict[str, float]]:
    r"""Standard errors, over windows, of what `measure_draws` measures.

    Arguments:
        outputs: The estimator's outputs.
        by_name: Posterior draws of every quantity.
        theta: Outputs that were simulated.
        prior: Prior draws of the outputs.

    Returns:
        For ``contraction``, ``median_error``, ``median_error_mmHg`` and ``interval`` one number a quantity.

    Example:
        >>> outputs = OutputSpace.from_names(("HR",))
        >>> rng = np.random.default_rng(0)
        >>> theta = rng.uniform(50, 90, (400, 1))
        >>> errors = standard_errors(outputs, {"HR": theta + rng.normal(0, 1, (400, 50))}, theta, theta)
        >>> bool(0 < errors["contraction"]["HR"] < 1e-3)
        True
    """
    truth, before = outputs.derive(theta), outputs.derive(prior)
    found: dict[str, dict[str, float]] = {
        key: {} for key in ("contraction", "median_error", "median_error_mmHg", "interval")
    }
    for name in outputs.reported:
        draws, floor = by_name[name], outputs.floors[name]
        scale = np.log if outputs.log_scaled[name] else np.asarray
        after = scale(np.maximum(draws, floor).astype(np.float64)).var(1)
        spread = float(scale(np.maximum(before[name], floor).astype(np.float64)).var())
        low, median, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=1)
        error = np.abs(median - truth[name])
        found["contraction"][name] = float(after.std() / spread / math.sqrt(len(after)))
        found["median_error_mmHg"][name] = error_of_median(error[:, None])
        found["median_error"][name] = error_of_median((error / np.maximum(np.abs(truth[name]), 1e-9))[:, None])
        found["interval"][name] = error_of_median((high - low)[:, None])
    return found


def value_again(number: str, card: float, again: float, spread: float) -> Finding:
    r"""Compares two means or medians that are kept with three or four decimals.

    Arguments:
        number: What it is.
        card: Value as the card has it.
        again: Value as measured now.
        spread: Standard error of the difference.

    Example:
        >>> value_again("spread CO", 0.91, 0.88, 0.02).holds
        True
    """
    return Finding(number, card, again, spread, abs(again - card) <= LIMIT * spread + 1e-3)


def share_again(number: str, card: float, again: float, n_card: int, n_again: int) -> Finding:
    r"""Compares two shares of windows.

    Arguments:
        number: What it is the share of.
        card: Share as the card has it.
        again: Share as measured now.
        n_card: Windows behind the card's.
        n_again: Windows now.

    Example:
        >>> share_again("cover 90 % CO", 0.90, 0.85, 8000, 1000).holds
        False
    """
    pooled = (card * n_card + again * n_again + 1) / (n_card + n_again + 2)  # never nought: a share of nought has error
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n_card + 1 / n_again))
    return Finding(number, card, again, spread, abs(again - card) <= LIMIT * spread)


def _shares(card: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[Finding]:
    for level in _LEVELS:
        for name, value in card.get("coverage", {}).get(level, {}).items():
            number = f"cover {100 * float(level):g} % {name}"
            yield share_again(number, value, again["coverage"][level][name], int(card["n"]), int(again["n"]))


def _values(
    card: Mapping[str, Any], again: Mapping[str, Any], errors: Mapping[str, Mapping[str, float]]
) -> Iterator[Finding]:
    wider = math.sqrt(1 + again["n"] / card["n"])
    for key, error in errors.items():
        for name, value in card.get(key, {}).items():
            new, spread = float(again[key][name]), wider * error[name]
            holds = abs(new - value) <= LIMIT * spread + 1e-6  # both are rounded to six digits
            yield Finding(f"{key.replace('_', ' ')} {name}", value, new, spread, holds)
    for name, ends in card.get("prior_range", {}).items():
        for side, old, new in zip(("5 %", "95 %"), ends, again["prior_range"][name], strict=True):
            yield Finding(f"prior {side} {name}", old, new, 0.0, math.isclose(old, new, rel_tol=1e-4))


def _verdicts(card: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[Finding]:
    for name, p in card.get("sbc_holm", {}).items():
        yield _verdict(f"SBC p (Holm) {name}", p, again["sbc_holm"][name])


def _verdict(number: str, card: float, again: float) -> Finding:
    return Finding(number, card, again, math.nan, card < _EVEN or again >= _UNEVEN)


def _refusals(card: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[Finding]:
    for what, shares in card.get("refused", {}).items():
        if what in again.get("refused", {}):  # what real recordings and nonsense came to is measured elsewhere
            new = again["refused"][what]
            for key in ("gate", "outside", "refused", "shifted"):
                yield share_again(f"{key}, {what}", shares[key], new[key], int(shares["n"]), int(new["n"]))
