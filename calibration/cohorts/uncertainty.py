r"""Whether a model knows what it does not know: coverage, width, error against predicted uncertainty, rejection.

The rejection curve keeps the share of pairs that the model is surest of and gives the median error of those kept. Where
it meets a stated error lies the threshold on the interval's share of the prior's that a bundle's `uninformative` rule
takes. All intervals are by subject: subjects are drawn again, and with them the whole curve, so a rise of the error as
less is kept has an interval of its own. It counts where its 5 % end lies above zero. The surest windows can be those of
one or two subjects, whose own factor they then show: the effective number of subjects among those kept says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["RejectionCurve", "coverage_by_subject", "rejection_curve", "subgroup_coverage"]

KEPT = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
LEVELS = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class RejectionCurve:
    r"""Error of what is kept.

    Arguments:
        kept: Shares kept.
        error: Median error of those kept.
        low: 5 % end of its interval.
        high: 95 % end.
        threshold: Uncertainty of the last pair kept.
        rank: Spearman correlation of error and predicted uncertainty.
        rise: 5 % end of the rise of the error over each share kept before, the largest, by drawing subjects.
        subjects: Effective number of subjects among those kept: one over the sum of their squared shares.

    Example:
        >>> one = np.linspace(0, 1, 200)
        >>> curve = rejection_curve(one, one, np.arange(200) % 10)
        >>> curve.monotone, round(curve.rank, 3)
        (True, 1.0)
    """

    kept: Float[np.ndarray, " k"]
    error: Float[np.ndarray, " k"]
    low: Float[np.ndarray, " k"]
    high: Float[np.ndarray, " k"]
    threshold: Float[np.ndarray, " k"]
    rank: float
    rise: Float[np.ndarray, " k"]
    subjects: Float[np.ndarray, " k"]

    @property
    def monotone(self) -> bool:
        r"""Whether no rise of the error, as less is kept, exceeds zero beyond its interval."""
        return bool((self.rise <= 1e-12).all())

    @property
    def below(self) -> bool:
        r"""Whether no point lies above the interval of any before it: stricter, for a point has an interval itself."""
        return all(self.error[k] <= self.high[:k].min() + 1e-12 for k in range(1, len(self.error)))

    def at_error(self, stated: float) -> tuple[float, float]:
        r"""Largest share kept whose median error is at most what is stated, and its threshold; NaN for neither.

        Arguments:
            stated: The stated error.
        """
        fine = np.flatnonzero(self.error <= stated)
        if not len(fine):
            return math.nan, math.nan
        return float(self.kept[fine[0]]), float(self.threshold[fine[0]])

    def to_json(self) -> dict[str, Any]:
        r"""The curve as a JSON-able dictionary."""
        columns = {"kept": self.kept, "error": self.error, "low": self.low, "high": self.high}
        columns |= {"rise": self.rise, "subjects": self.subjects}
        rows = {name: [float(f"{v:.4g}") for v in values] for name, values in columns.items()}
        told = {"spearman": float(f"{self.rank:.4g}"), "monotone_within_interval": self.monotone}
        return {**rows, **told, "no_point_above_an_interval": self.below}


def rejection_curve(
    error: Float[np.ndarray, " n"],
    uncertainty: Float[np.ndarray, " n"],
    subject: Int[np.ndarray, " n"],
    *,
    bootstrap: int = 200,
    seed: int = 0,
) -> RejectionCurve:
    r"""Keeps what the model is surest of, and less and less of it.

    Arguments:
        error: Absolute error of each pair.
        uncertainty: Predicted uncertainty of each pair.
        subject: Subject of each pair.
        bootstrap: Times that subjects are drawn.
        seed: Seed of these draws.

    Raises:
        ValueError: If there are fewer than 20 pairs.

    Example:
        >>> float(rejection_curve(np.ones(20), np.arange(20.0), np.arange(20)).error[0])
        1.0
    """
    known = np.isfinite(error) & np.isfinite(uncertainty)
    if known.sum() < 20:
        raise ValueError(f"a rejection curve needs 20 pairs or more, got {int(known.sum())}")
    error, uncertainty, subject = error[known], uncertainty[known], subject[known]
    rows = [np.flatnonzero(subject == name) for name in np.unique(subject)]
    rng = np.random.default_rng([seed, len(rows)])
    curve, threshold = _curve(error, uncertainty)
    drawn = []
    for _ in range(bootstrap):
        own = np.concatenate([rows[k] for k in rng.integers(len(rows), size=len(rows))])
        drawn.append(_curve(error[own], uncertainty[own])[0])
    curves = np.array(drawn or [curve])
    low, high = np.quantile(curves, [0.05, 0.95], axis=0)
    apart = np.quantile(curves[:, :, None] - curves[:, None, :], 0.05, axis=0)  # of less kept over more kept
    rise = np.array([apart[k, :k].max() for k in range(1, len(curve))])
    counts = _effective_subjects(uncertainty, subject)
    rank = _rank(error, uncertainty)
    return RejectionCurve(np.array(KEPT), curve, low, high, threshold, rank, np.append(0.0, rise), counts)


def _effective_subjects(
    uncertainty: Float[np.ndarray, " n"], subject: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " k"]:
    """One over the sum of squared shares of the subjects among those kept."""
    own = np.unique(subject, return_inverse=True)[1][np.argsort(uncertainty, kind="stable")]
    sizes = [max(1, round(share * len(own))) for share in KEPT]
    return np.array([n**2 / float(np.square(np.bincount(own[:n])).sum()) for n in sizes])


def _curve(
    error: Float[np.ndarray, " n"], uncertainty: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    order = np.argsort(uncertainty, kind="stable")
    sizes = [max(1, round(share * len(order))) for share in KEPT]
    return (
        np.array([float(np.median(error[order[:n]])) for n in sizes]),
        np.array([float(uncertainty[order[n - 1]]) for n in sizes]),
    )


def _rank(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    from scipy.stats import rankdata

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def coverage_by_subject(
    inside: Float[np.ndarray, " n"], subject: Int[np.ndarray, " n"], *, bootstrap: int = 400, seed: int = 0
) -> dict[str, float]:
    r"""Share of windows whose label is held, as a mean over subjects, with its interval.

    Arguments:
        inside: Whether each label is held; NaN where it cannot be told.
        subject: Subject of each window.
        bootstrap: Times that subjects are drawn.
        seed: Seed of these draws.

    Returns:
        `coverage` (mean over subjects), `low`, `high`, `windows`, `subjects`, and `pooled` over all windows.

    Example:
        >>> found = coverage_by_subject(np.array([1.0, 0.0, 1.0, 1.0]), np.array([0, 0, 1, 1]))
        >>> found["coverage"], found["subjects"]
        (0.75, 2)
    """
    known = np.isfinite(inside)
    names, index = np.unique(subject[known], return_inverse=True)
    if not len(names):
        return {
            "coverage": math.nan,
            "low": math.nan,
            "high": math.nan,
            "windows": 0,
            "subjects": 0,
            "pooled": math.nan,
        }
    means = np.bincount(index, inside[known]) / np.bincount(index)
    rng = np.random.default_rng([seed, len(names)])
    drawn = means[rng.integers(len(names), size=(bootstrap, len(names)))].mean(1)
    low, high = np.quantile(drawn, [0.05, 0.95])
    return {
        "coverage": float(means.mean()),
        "low": float(low),
        "high": float(high),
        "windows": int(known.sum()),
        "subjects": len(names),
        "pooled": float(inside[known].mean()),
    }


def subgroup_coverage(
    inside: Float[np.ndarray, " n"],
    subject: Int[np.ndarray, " n"],
    groups: Mapping[str, Sequence[tuple[str, Bool[np.ndarray, " n"]]]],
) -> dict[str, dict[str, dict[str, float]]]:
    r"""Coverage in subgroups.

    Arguments:
        inside: Whether each label is held.
        subject: Subject of each window.
        groups: By what is grouped the name and the windows of each group.

    Example:
        >>> flags = np.array([True, False])
        >>> found = subgroup_coverage(np.ones(2), np.arange(2), {"rate": [("low", flags), ("high", ~flags)]})
        >>> found["rate"]["low"]["windows"]
        1
    """
    return {
        by: {name: coverage_by_subject(inside[rows], subject[rows]) for name, rows in members if rows.any()}
        for by, members in groups.items()
    }
