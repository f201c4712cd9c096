r"""What is measured of a method against references, within subjects and across, with intervals by subject.

Errors are shares of the reference. Limits of agreement and percentage error take several pairs of each subject into
account; with the reference's own error $p$ (a standard deviation as a share), the percentage error left to the method
is $\sqrt{\mathrm{PE}^2 - (1.96\,p)^2}$. Trending looks at changes over five minutes: in the four-quadrant plot changes
of both within 10 % of the subject's mean do not count; direction agreement asks of every reference change beyond that
zone whether the estimate moved the same way; in the polar plot a change counts as followed within 30 degrees.

Intervals: subjects are drawn with replacement, each with all its pairs; percentiles of 5 and 95 %.

References:
    Critchley & Critchley (1999), J Clin Monit Comput 15, 85-91; Saugel et al. (2015), Br J Anaesth 114, 562-575; Bland
    & Altman (2007), J Biopharm Stat 17, 571-582.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ..agreement import agree_repeated
from .protocol import Pairing

__all__ = ["MEASURES", "CaseChanges", "changes_of", "measure_pairs"]

LAG_S = 300.0
ZONE = 0.1
MEASURES = (
    "error",
    "rmse",
    "bias",
    "limit_low",
    "limit_high",
    "percentage_error",
    "percentage_error_own",
    "pearson",
    "spearman",
    "spearman_between",
    "spearman_within",
    "concordance",
    "polar",
    "direction",
)
r"""Names of the measures: median absolute error and root mean square error as shares of the reference, ..."""


@dataclass(frozen=True)
class CaseChanges:
    r"""Changes of one recording over five minutes, as shares of its mean.

    Arguments:
        reference: Changes of the reference.
        estimate: Changes of the estimate.

    Example:
        >>> CaseChanges(np.array([0.2]), np.array([0.1])).reference.tolist()
        [0.2]
    """

    reference: Float[np.ndarray, " change"]
    estimate: Float[np.ndarray, " change"]


def changes_of(
    time_s: Float[np.ndarray, " n"],
    reference: Float[np.ndarray, " n"],
    estimate: Float[np.ndarray, " n"],
    *,
    lag_s: float = LAG_S,
) -> CaseChanges:
    r"""Changes over a lag, each as a share of its own mean.

    Arguments:
        time_s: Times of the pairs [s], rising.
        reference: References.
        estimate: Estimates.
        lag_s: Time between the two pairs of a change [s].

    Example:
        >>> found = changes_of(np.array([0.0, 300.0]), np.array([4.0, 6.0]), np.array([1.0, 3.0]))
        >>> found.reference.tolist(), found.estimate.tolist()
        ([0.4], [1.0])
    """
    if len(time_s) < 2:
        return CaseChanges(np.zeros(0), np.zeros(0))
    step = float(np.median(np.diff(time_s)))
    j = np.searchsorted(time_s, time_s + lag_s - 0.5 * step)
    i = np.flatnonzero(j < len(time_s))
    j = j[i]
    near = np.abs(time_s[j] - time_s[i] - lag_s) <= 0.5 * step + 1e-6
    i, j = i[near], j[near]
    scale, own = float(reference.mean()), float(estimate.mean())
    return CaseChanges((reference[j] - reference[i]) / scale, (estimate[j] - estimate[i]) / own)


def measure_pairs(
    pairing: Pairing, method: str, *, precision: float = 0.0, bootstrap: int = 200, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    r"""Measures one method.

    Arguments:
        pairing: Bins.
        method: One of its methods.
        precision: The reference's own error, a standard deviation as a share.
        bootstrap: Times that subjects are drawn; 0 for no intervals.
        seed: Seed of these draws.

    Returns:
        Value and interval of each measure; NaN where it cannot be told.

    Raises:
        ValueError: If there are fewer than two pairs.

    Example:
        >>> n, time_s = np.zeros(20, int), np.arange(20) * 60.0
        >>> rises = np.linspace(4.0, 6.0, 20)
        >>> one = Pairing("CO", n, n, time_s, rises, {"model": rises + 0.1}, rises, rises)
        >>> found = measure_pairs(one, "model", bootstrap=0)
        >>> round(found["bias"][0], 3), round(found["spearman_within"][0], 3), found["direction"][0]
        (0.1, 1.0, 1.0)
    """
    estimate = pairing.estimates[method]
    known = np.isfinite(estimate)
    if known.sum() < 2:
        raise ValueError(f"{method} has {int(known.sum())} pairs of {pairing.quantity}, 2 or more are needed")
    cases = _cases(pairing, estimate, known)
    value = _measure(cases, precision)
    if not bootstrap:
        return {name: (number, math.nan, math.nan) for name, number in value.items()}
    by_subject: dict[int, list[_Case]] = {}
    for case in cases:
        by_subject.setdefault(case.subject, []).append(case)
    subjects = sorted(by_subject)
    rng = np.random.default_rng([seed, len(subjects)])
    drawn = []
    for _ in range(bootstrap):
        picked = rng.integers(len(subjects), size=len(subjects))
        again = [c.renamed(k) for k, p in enumerate(picked.tolist()) for c in by_subject[subjects[p]]]
        drawn.append(_measure(again, precision))
    ends = {name: np.array([one[name] for one in drawn]) for name in value}
    return {name: (value[name], *_percentiles(ends[name])) for name in value}


@dataclass(frozen=True)
class _Case:
    """Pairs of one recording, and what can be said of it alone."""

    subject: int
    reference: Float[np.ndarray, " n"]
    estimate: Float[np.ndarray, " n"]
    changes: CaseChanges
    spearman: float

    def renamed(self, subject: int) -> _Case:
        return _Case(subject, self.reference, self.estimate, self.changes, self.spearman)


def _cases(pairing: Pairing, estimate: Float[np.ndarray, " n"], known: np.ndarray) -> list[_Case]:
    found = []
    for number in np.unique(pairing.recording[known]):
        own = np.flatnonzero((pairing.recording == number) & known)
        own = own[np.argsort(pairing.time_s[own])]
        reference, mine = pairing.reference[own], estimate[own]
        changes = changes_of(pairing.time_s[own], reference, mine)
        found.append(_Case(int(pairing.subject[own[0]]), reference, mine, changes, _spearman(reference, mine, 8)))
    return found


def _measure(cases: Sequence[_Case], precision: float) -> dict[str, float]:
    reference = np.concatenate([case.reference for case in cases])
    estimate = np.concatenate([case.estimate for case in cases])
    subject = np.concatenate([np.full(len(case.reference), case.subject) for case in cases])
    share = estimate / reference - 1.0
    agreement = agree_repeated(estimate, reference, subject)
    own = agreement.percentage_error**2 - (1.96 * precision) ** 2
    within = np.array([case.spearman for case in cases])
    return {
        "error": float(np.median(np.abs(share))),
        "rmse": float(np.sqrt(np.mean(np.square(share)))),
        "bias": agreement.bias,
        "limit_low": agreement.low,
        "limit_high": agreement.high,
        "percentage_error": agreement.percentage_error,
        "percentage_error_own": math.sqrt(own) if own > 0 else 0.0,
        "pearson": _pearson(reference, estimate),
        "spearman": _spearman(reference, estimate, 3),
        "spearman_between": _between(reference, estimate, subject),
        "spearman_within": float(np.nanmedian(within)) if np.isfinite(within).any() else math.nan,
        **_trends([case.changes for case in cases]),
    }


def _trends(changes: Sequence[CaseChanges]) -> Mapping[str, float]:
    reference = np.concatenate([one.reference for one in changes])
    estimate = np.concatenate([one.estimate for one in changes])
    if not len(reference) or not estimate.any():  # a constant has no trend that could be right or wrong
        return {"concordance": math.nan, "polar": math.nan, "direction": math.nan}
    large = np.abs(reference) > ZONE
    direction = float(np.mean(np.sign(reference[large]) == np.sign(estimate[large]))) if large.any() else math.nan
    counted = np.maximum(np.abs(reference), np.abs(estimate)) > ZONE
    same = np.sign(reference[counted]) == np.sign(estimate[counted])
    angle = np.degrees(np.arctan2(estimate, reference)) - 45.0
    angle = (angle + 90.0) % 180.0 - 90.0  # a fall of both is as good as a rise
    far = np.abs(estimate + reference) / 2 > ZONE
    return {
        "concordance": float(np.mean(same)) if counted.any() else math.nan,
        "polar": float(np.mean(np.abs(angle[far]) <= 30.0)) if far.any() else math.nan,
        "direction": direction,
    }


def _between(
    reference: Float[np.ndarray, " n"], estimate: Float[np.ndarray, " n"], subject: Int[np.ndarray, " n"]
) -> float:
    index = np.unique(subject, return_inverse=True)[1]
    counts = np.bincount(index)
    return _spearman(np.bincount(index, reference) / counts, np.bincount(index, estimate) / counts, 3)


def _pearson(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0 else math.nan


def _spearman(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], fewest: int) -> float:
    from scipy.stats import rankdata

    return _pearson(rankdata(a), rankdata(b)) if len(a) >= fewest else math.nan


def _percentiles(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [0.05, 0.95])
    return float(low), float(high)
