r"""What a candidate said of subjects it had not seen, and whether it said it better than the model it came from.

Scores are means over a subject's windows and then over subjects; a gain is the mean over subjects of the difference to
the base model on the same windows, with its standard error over subjects. Two more ways to use references need no
training and are judged beside every candidate on the same windows:

- *one reading* of the subject, its first: the posterior median is moved to it, and what later readings scatter around
  the moved medians is learned from the other subjects;
- *conformal* intervals: each prediction is widened by what the other subjects' readings ask for, patients counting, and
  judged by the interval score $(u - l) + \tfrac2\alpha \max(l - r, r - u, 0)$.

References:
    Gneiting & Raftery (2007), J Am Stat Assoc 102, 359-378 (proper scores, the interval score).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ..conformal.patients import hierarchical_limit
from .readings import LEAST, Readings

__all__ = ["BASE", "HeldOut", "Sitting", "choose", "compare"]

BASE = "base"
ALPHA = 0.1


@dataclass(frozen=True)
class HeldOut:
    r"""What one candidate predicted for the readings of windows whose subjects it had not seen.

    Arguments:
        log_score: Log density of each reading.
        ranked: Continuous ranked probability score of each.
        low: 5 % quantile of the predicted reading.
        middle: Median of the posterior.
        high: 95 % quantile of the predicted reading.

    Example:
        >>> HeldOut.empty(2, 1).low.shape
        (2, 1)
    """

    log_score: Float[np.ndarray, "N Q"]
    ranked: Float[np.ndarray, "N Q"]
    low: Float[np.ndarray, "N Q"]
    middle: Float[np.ndarray, "N Q"]
    high: Float[np.ndarray, "N Q"]

    @classmethod
    def empty(cls, n: int, q: int) -> HeldOut:
        r"""Room for windows and quantities.

        Arguments:
            n: Number of windows.
            q: Number of quantities.
        """
        return cls(*(np.full((n, q), np.nan) for _ in range(5)))

    def put(
        self,
        rows: np.ndarray,
        readings: Readings,
        draws: Mapping[str, Float[np.ndarray, "k S"]],
        rng: np.random.Generator,
    ) -> None:
        r"""Judges the draws of some windows.

        Arguments:
            rows: Which windows they are.
            readings: Readings of all windows.
            draws: Posterior draws of these, by quantity.
            rng: Source of the readings' errors.
        """
        own = readings.take(rows)
        predicted = own.predicted(draws, rng)
        self.log_score[rows] = own.log_score(draws)
        self.ranked[rows] = own.ranked(predicted)
        self.low[rows], self.high[rows] = np.quantile(predicted, [0.5 * ALPHA, 1 - 0.5 * ALPHA], axis=1)
        self.middle[rows] = np.median(own.scaled(draws), axis=1)


@dataclass(frozen=True)
class Sitting:
    r"""Whose windows are judged, and when they were.

    Arguments:
        readings: Readings of the windows.
        subjects: Number of each window's subject.
        recordings: Number of each window's recording.
        start_s: Start of each window [s].
        folds: Rows of each fold.

    Example:
        >>> Sitting.__dataclass_fields__["start_s"].name
        'start_s'
    """

    readings: Readings
    subjects: Int[np.ndarray, " N"]
    recordings: Int[np.ndarray, " N"]
    start_s: Float[np.ndarray, " N"]
    folds: tuple[np.ndarray, ...]

    def by_subject(self, values: Float[np.ndarray, "N Q"]) -> Float[np.ndarray, " S"]:
        r"""Mean of each subject over its windows and their labelled quantities; NaN for one without any.

        Arguments:
            values: Numbers of every window and quantity, NaN where there is none.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a window or subject without any
            window = np.nanmean(values, axis=1)
        known = np.isfinite(window)
        count = np.bincount(self.subjects[known], minlength=int(self.subjects.max()) + 1)
        total = np.bincount(self.subjects[known], window[known], minlength=len(count))
        return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))

    def first(self) -> Int[np.ndarray, " R"]:
        r"""First window of each recording."""
        order = np.lexsort((self.start_s, self.recordings))
        return np.asarray(order[np.unique(self.recordings[order], return_index=True)[1]])


def compare(held: Mapping[str, HeldOut], sitting: Sitting) -> list[dict[str, Any]]:
    r"""Judges candidates beside the base model.

    Arguments:
        held: What each candidate predicted; ``base`` among them.
        sitting: Whose windows they were.

    Returns:
        A row for each candidate, JSON-able: ``log_score`` with its ``gain`` over the base and that gain's standard
        error, ``crps``, ``coverage`` of 90 % intervals and ``error`` of the medians; after ``one_reading``; and with
        ``conformal`` intervals.

    Raises:
        ValueError: If the base is not among them.

    Example:
        >>> reading = Readings(("CO",), np.zeros((2, 1)), np.full((2, 1), 0.1), {"CO": 0.2})
        >>> one = HeldOut(np.zeros((2, 1)), np.zeros((2, 1)), -np.ones((2, 1)), np.zeros((2, 1)), np.ones((2, 1)))
        >>> two = np.arange(2)
        >>> row = compare({"base": one}, Sitting(reading, two, two, np.zeros(2), (two[:1], two[1:])))[0]
        >>> row["candidate"], row["coverage"]
        ('base', 1.0)
    """
    if BASE not in held:
        raise ValueError(f"candidates must hold {BASE!r}, got {sorted(held)}")
    before = _after_one(held[BASE], sitting)[0]
    return [_row(name, one, held[BASE], before, sitting) for name, one in held.items()]


def _row(name: str, one: HeldOut, base: HeldOut, before: np.ndarray, sitting: Sitting) -> dict[str, Any]:
    values = sitting.readings.values
    score = sitting.by_subject(one.log_score)
    inside = np.where(np.isfinite(values), ((one.low <= values) & (values <= one.high)).astype(float), np.nan)
    covered = sitting.by_subject(inside)
    row: dict[str, Any] = {"candidate": name, "log_score": _mean(score)}
    row |= _gain(score - sitting.by_subject(base.log_score))
    row |= {"crps": _mean(sitting.by_subject(one.ranked)), "coverage": _mean(covered), "coverage_se": _se(covered)}
    row["error"] = _median_error(one.middle - values)
    after, error = _after_one(one, sitting)
    own = sitting.by_subject(np.where(np.isfinite(after), one.log_score, np.nan))
    row["one_reading"] = {"log_score": _mean(sitting.by_subject(after)), **_gain(sitting.by_subject(after) - own)}
    row["one_reading"] |= {"gain_on_base": _mean(sitting.by_subject(after - before)), "error": error}
    return row | {"conformal": _conformal(one, sitting)}


def choose(rows: list[dict[str, Any]]) -> tuple[str, str]:
    r"""The candidate to keep, and why.

    Arguments:
        rows: Rows of ``compare``.

    Returns:
        The name, ``base`` where nothing is better beyond doubt, and a sentence.

    Example:
        >>> rows = [{"candidate": "base", "gain": 0.0, "gain_se": 0.0, "coverage": 0.8, "coverage_se": 0.02},
        ...         {"candidate": "flow", "gain": 0.1, "gain_se": 0.02, "coverage": 0.9, "coverage_se": 0.02}]
        >>> choose(rows)[0]
        'flow'
    """
    base = next(row for row in rows if row["candidate"] == BASE)
    rivals = [row for row in rows if row["candidate"] != BASE]
    better = [row for row in rivals if row["gain"] > max(row["gain_se"], 0.0)]
    fair = [row for row in better if _covers(row, base)]
    if fair:
        best = max(fair, key=lambda row: float(row["gain"]))
        return best["candidate"], (
            f"{best['candidate']} predicts readings of unseen subjects better than the base model by "
            f"{best['gain']:.3f} nats (standard error {best['gain_se']:.3f}); its 90 % intervals hold "
            f"{100 * best['coverage']:.0f} % of them, the base model's {100 * base['coverage']:.0f} %"
        )
    if better:
        best = max(better, key=lambda row: float(row["gain"]))
        return BASE, (
            f"the base model is kept: {best['candidate']} scores better, but its 90 % intervals hold "
            f"{100 * best['coverage']:.0f} % of readings of unseen subjects (base {100 * base['coverage']:.0f} %)"
        )
    best = max(rivals, key=lambda row: float(row["gain"]), default=base)
    return BASE, (
        f"the base model is kept: nothing beats it by more than its standard error (best {best['candidate']}, "
        f"{best['gain']:+.3f} nats, standard error {best['gain_se']:.3f})"
    )


def _covers(row: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Whether intervals miss their level no worse than the base's, or by no more than chance."""
    own, theirs = (abs(one["coverage"] - (1 - ALPHA)) for one in (row, base))
    return bool(own <= max(theirs, 2 * row["coverage_se"]))


def _after_one(one: HeldOut, sitting: Sitting) -> tuple[Float[np.ndarray, "N Q"], float | None]:
    """Log score of every reading after the first of its recording, and the median error."""
    values = sitting.readings.values
    first = np.full(int(sitting.recordings.max()) + 1, -1)
    opening = sitting.first()
    first[sitting.recordings[opening]] = opening
    at = first[sitting.recordings]
    apart = values - (values[at] + one.middle - one.middle[at])
    apart[opening] = np.nan
    score = np.full_like(apart, np.nan)
    for fold in sitting.folds:
        others = np.setdiff1d(np.arange(len(values)), fold)
        for q in range(values.shape[1]):
            seen = apart[others, q][np.isfinite(apart[others, q])]
            if len(seen) > 1:
                sd = max(float(np.sqrt(np.mean(seen**2))), LEAST)
                score[fold, q] = -0.5 * (apart[fold, q] / sd) ** 2 - math.log(sd) - 0.5 * math.log(2 * math.pi)
    return score, _median_error(apart)


def _conformal(one: HeldOut, sitting: Sitting) -> dict[str, Any] | None:
    """Intervals widened by the other folds' subjects; None where those are too few for a bounded limit."""
    values = sitting.readings.values
    wide = np.maximum(one.high - one.low, 1e-9)
    beyond = np.maximum(one.low - values, values - one.high) / wide
    low, high = np.full_like(wide, np.nan), np.full_like(wide, np.nan)
    for fold in sitting.folds:
        others = np.setdiff1d(np.arange(len(values)), fold)
        for q in range(values.shape[1]):
            known = others[np.isfinite(beyond[others, q])]
            limit = hierarchical_limit(beyond[known, q], sitting.subjects[known], ALPHA) if len(known) else math.inf
            if not math.isfinite(limit):
                return None
            low[fold, q] = one.low[fold, q] - limit * wide[fold, q]
            high[fold, q] = one.high[fold, q] + limit * wide[fold, q]
    covered = sitting.by_subject(_inside(values, low, high))
    plain = sitting.by_subject(_interval_score(values, one.low, one.high))
    own = sitting.by_subject(_interval_score(values, low, high))
    return {
        "coverage": _mean(covered),
        "coverage_se": _se(covered),
        "interval_score": _mean(own),
        "credible_interval_score": _mean(plain),
        **_gain(plain - own),
    }


def _inside(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> Float[np.ndarray, "N Q"]:
    return np.where(np.isfinite(values), ((low <= values) & (values <= high)).astype(float), np.nan)


def _interval_score(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> Float[np.ndarray, "N Q"]:
    missed = np.maximum(np.maximum(low - values, values - high), 0.0)
    return np.where(np.isfinite(values), (high - low) + 2.0 / ALPHA * missed, np.nan)


def _median_error(apart: np.ndarray) -> float | None:
    """Median size of the error on the scale of the readings: about a share, where that is a logarithm."""
    known = np.abs(apart[np.isfinite(apart)])
    return _digits(float(np.median(known))) if len(known) else None


def _gain(by_subject: np.ndarray) -> dict[str, float]:
    return {"gain": _mean(by_subject), "gain_se": _se(by_subject)}


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return _digits(float(known.mean())) if len(known) else 0.0


def _se(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return _digits(float(known.std(ddof=1) / math.sqrt(len(known)))) if len(known) > 1 else 0.0


def _digits(value: float) -> float:
    return float(f"{value:.5g}")
