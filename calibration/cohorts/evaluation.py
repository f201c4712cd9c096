r"""A whole evaluation: every measure of every method for every quantity, as one JSON-able dictionary."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ...waveforms.cohort_table import CohortTable
from ...waveforms.quantities import QUANTITIES
from ...waveforms.vitaldb.tracks import MONITORS
from .answers import Answers
from .measures import measure_pairs
from .protocol import MEAN, MODEL, Pairing, one_point, pair_answers
from .uncertainty import LEVELS, coverage_by_subject, rejection_curve, subgroup_coverage

__all__ = ["evaluate_cohort"]

_FEWEST = 20


def evaluate_cohort(
    table: CohortTable,
    answers: Answers,
    *,
    quantities: Sequence[str] = (),
    bin_s: float = 60.0,
    bootstrap: int = 200,
    stated_error: float = 0.2,
    seed: int = 0,
) -> tuple[dict[str, Any], dict[str, Pairing]]:
    r"""Measures a model on a cohort.

    Arguments:
        table: The cohort.
        answers: Answers to its rows.
        quantities: Quantities; all that are labelled and estimated where empty.
        bin_s: Length of a bin [s].
        bootstrap: Times that subjects are drawn for intervals.
        stated_error: Error at which the rejection curve sets the `uninformative` rule.
        seed: Seed of these draws.

    Returns:
        The numbers, and the bins of each quantity before calibration.

    Raises:
        ValueError: If nothing is labelled and estimated.

    Example:
        >>> evaluate_cohort.__name__
        'evaluate_cohort'
    """
    both = [name for name in table.labels if name in answers.numbers and np.isfinite(table.labels[name]).any()]
    wanted = [name for name in (quantities or both) if name in both]
    if not wanted:
        raise ValueError(
            f"nothing is both labelled ({', '.join(table.labels) or 'no labels'}) and estimated "
            f"({', '.join(answers.numbers) or 'no window was answered'})"
        )
    subject = np.unique(table.subjects, return_inverse=True)[1]
    precision = _precision(table)
    found: dict[str, Any] = {
        "references": _references(table),
        "windows": _windows(table, answers),
        "bin_s": bin_s,
        "quantities": {},
        "regions": _regions(answers, subject),
    }
    pairs = {}
    for name in wanted:
        pairing = pair_answers(table, answers, name, bin_s=bin_s)
        if len(pairing) < 2:
            continue
        pairs[name] = pairing
        calibrated = one_point(pairing)
        row: dict[str, Any] = {"unit": QUANTITIES[name].unit, "bins": len(pairing), "methods": {}, "one_point": {}}
        for method in (MODEL, MEAN):
            if np.isfinite(pairing.estimates[method]).sum() > 1:
                own = measure_pairs(pairing, method, precision=precision, bootstrap=bootstrap, seed=seed)
                row["methods"][method] = _shown(own)
        for method in calibrated.estimates if len(calibrated) > 1 else ():
            own = measure_pairs(calibrated, method, precision=precision, bootstrap=bootstrap, seed=seed)
            row["one_point"][method] = _shown(own)
        row["one_point_less_model"] = _against_model(calibrated, bootstrap, seed)
        row |= _uncertainty(pairing, bootstrap, stated_error, seed)
        row |= _coverage(table, answers, name, subject)
        found["quantities"][name] = row
    return found, pairs


def _regions(answers: Answers, subject: np.ndarray) -> dict[str, dict[str, float | None]]:
    """Coverage of each joint conformal region."""
    return {
        ",".join(names): {key: _plain(value) for key, value in coverage_by_subject(inside, subject).items()}
        for names, inside in answers.regions.items()
    }


def _shown(measures: Mapping[str, tuple[float, float, float]]) -> dict[str, dict[str, float | None]]:
    return {
        name: {"value": _plain(value), "low": _plain(low), "high": _plain(high)}
        for name, (value, low, high) in measures.items()
    }


def _against_model(pairing: Pairing, bootstrap: int, seed: int) -> dict[str, dict[str, float | None]]:
    """Error of each method less the model's in the same bins: mean over subjects of their mean errors, by subject."""
    names, index = np.unique(pairing.subject, return_inverse=True)
    if len(names) < 2:
        return {}
    count = np.bincount(index)
    errors = {
        method: np.bincount(index, np.abs(values / pairing.reference - 1.0)) / count
        for method, values in pairing.estimates.items()
    }
    rng = np.random.default_rng([seed, 7])
    drawn = rng.integers(len(names), size=(max(bootstrap, 1), len(names)))
    found = {}
    for method, own in errors.items():
        if method != MODEL:
            apart = own - errors[MODEL]
            low, high = np.quantile(apart[drawn].mean(1), [0.05, 0.95]) if bootstrap else (math.nan, math.nan)
            found[method] = {"value": _plain(float(apart.mean())), "low": _plain(low), "high": _plain(high)}
    return found


def _uncertainty(pairing: Pairing, bootstrap: int, stated: float, seed: int) -> dict[str, Any]:
    if len(pairing) < _FEWEST:
        return {}
    error = np.abs(np.log(np.maximum(pairing.estimates[MODEL], 1e-9) / np.maximum(pairing.reference, 1e-9)))
    curve = rejection_curve(error, pairing.share, pairing.subject, bootstrap=bootstrap, seed=seed)
    kept, threshold = curve.at_error(stated)
    rule = {"stated_error": stated, "kept": _plain(kept), "share_of_prior": _plain(threshold)}
    return {"rejection": curve.to_json(), "uninformative_rule": rule}


def _coverage(table: CohortTable, answers: Answers, name: str, subject: np.ndarray) -> dict[str, Any]:
    rank = answers.column(name, "rank")
    levels = {}
    for level in LEVELS:
        inside = np.where(np.isfinite(rank), (np.abs(rank - 0.5) <= 0.5 * level).astype(float), np.nan)
        levels[f"{level:g}"] = {k: _plain(v) for k, v in coverage_by_subject(inside, subject).items()}
    width = (answers.column(name, "q95") - answers.column(name, "q05")) / answers.column(name, "median")
    at90 = np.where(np.isfinite(rank), (np.abs(rank - 0.5) <= 0.45).astype(float), np.nan)
    groups = subgroup_coverage(at90, subject, _groups(table, answers, np.isfinite(rank)))
    return {
        "coverage": levels,
        "width": _plain(float(np.nanmedian(width))) if np.isfinite(width).any() else None,
        "subgroups": {
            by: {group: {k: _plain(v) for k, v in row.items()} for group, row in members.items()}
            for by, members in groups.items()
        },
    }


def _groups(table: CohortTable, answers: Answers, known: np.ndarray) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Subgroups by domain verdict, kind of reference, and thirds of pressure and rate."""
    verdicts, kinds = np.array(answers.verdicts), np.array(table.kinds)
    found = {
        "domain": [(str(name), (verdicts == name) & known) for name in np.unique(verdicts[known]) if name],
        "kind": [(str(name), (kinds == name) & known) for name in np.unique(kinds[known]) if name],
        "mean pressure": _thirds(answers.mean, known),
    }
    if "HR" in answers.numbers:
        found["heart rate"] = _thirds(answers.column("HR", "median"), known)
    return found


def _thirds(values: Float[np.ndarray, " N"], known: np.ndarray) -> list[tuple[str, np.ndarray]]:
    known = known & np.isfinite(values)
    if known.sum() < 3:
        return []
    low, high = np.quantile(values[known], [1 / 3, 2 / 3])
    return [
        (f"below {low:.0f}", known & (values < low)),
        (f"{low:.0f} to {high:.0f}", known & (values >= low) & (values < high)),
        (f"above {high:.0f}", known & (values >= high)),
    ]


def _references(table: CohortTable) -> list[dict[str, Any]]:
    rows = Counter(zip(table.devices, table.kinds, strict=True))
    return [
        {"device": device, "kind": kind, "windows": n, "method": MONITORS[device].method if device in MONITORS else ""}
        for (device, kind), n in sorted(rows.items())
    ]


def _precision(table: CohortTable) -> float:
    """The references' own error, the mean over windows of what is known of their devices."""
    known = [MONITORS[device].precision for device in table.devices if device in MONITORS]
    return float(np.mean(known)) if known else 0.0


def _windows(table: CohortTable, answers: Answers) -> dict[str, Any]:
    reasons = Counter(reason for reason in answers.reasons if reason)
    return {
        "rows": len(table),
        "subjects": table.n_subjects,
        "recordings": len(set(table.recordings)),
        "answered": sum(not reason for reason in answers.reasons),
        "refused": dict(reasons.most_common()),
        "verdicts": dict(Counter(verdict for verdict in answers.verdicts if verdict).most_common()),
    }


def _plain(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
