r"""Split, patient-wise, grouped and weighted conformal prediction: a fitted score, then a limit from other cases.

Each function takes a score that was fitted on other cases, scores the calibration cases, and returns the rule for new
cases together with a sentence that says what it promises, and for whom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from .order import conformal_limit, coverage_law, fewest
from .patients import hierarchical_limit, patient_codes
from .prediction import Prediction
from .region import Coordinates, Region, Regions
from .score import AbstractFittedScore
from .weighted import group_limits, limits_of_groups, weighted_limits

__all__ = [
    "Conformal",
    "GroupedConformal",
    "WeightedConformal",
    "grouped_conformal",
    "patient_conformal",
    "split_conformal",
    "weighted_conformal",
]


@dataclass(frozen=True)
class Conformal:
    r"""A score with its limit.

    Arguments:
        score: The fitted score.
        limit: Members of a region score at most this; infinity where the calibration cases are too few.
        alpha: Share of new cases that may be missed.
        n: Calibration cases, or patients where the rule counts patients.
        guarantee: What is promised, in a sentence.
        coordinates: Names, units and scales of the targets.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> from .draws import QuantileBox
        >>> prediction = Prediction.from_draws(rng.normal(size=(50, 99, 2)))
        >>> rule = split_conformal(QuantileBox(), prediction, rng.normal(size=(50, 2)))
        >>> rule.n, rule.bounded
        (50, True)
    """

    score: AbstractFittedScore
    limit: float
    alpha: float
    n: int
    guarantee: str
    coordinates: Coordinates

    @property
    def bounded(self) -> bool:
        r"""Whether regions are bounded."""
        return bool(np.isfinite(self.limit))

    def regions(self, prediction: Prediction) -> Regions:
        r"""Regions of new cases.

        Arguments:
            prediction: What is predicted for them.
        """
        return Regions(self.score, prediction, np.full(len(prediction), self.limit), self.coordinates, self.alpha)

    def region(self, prediction: Prediction) -> Region:
        r"""Region of one new case.

        Arguments:
            prediction: What is predicted for it.
        """
        return self.regions(prediction)[0]


def split_conformal(
    score: AbstractFittedScore,
    prediction: Prediction,
    y: Float[np.ndarray, "N d"],
    *,
    alpha: float = 0.1,
    coordinates: Coordinates | None = None,
) -> Conformal:
    r"""The order statistic over calibration cases.

    Arguments:
        score: A score that was fitted on other cases.
        prediction: Calibration cases.
        y: Their targets, each in its unit.
        alpha: Share of new cases that may be missed.
        coordinates: Names, units and scales of the targets.

    Raises:
        ValueError: If a target is not finite, or has no logarithm where one is taken.

    Example:
        >>> from .gauge import NormGauge
        >>> from .residual import PlainResidual, ResidualScore
        >>> rng = np.random.default_rng(0)
        >>> y = rng.normal(size=(300, 2))
        >>> score = ResidualScore(PlainResidual(), NormGauge()).fit(Prediction(np.zeros((100, 2))), y[:100])
        >>> rule = split_conformal(score, Prediction(np.zeros((100, 2))), y[100:200])
        >>> float(rule.regions(Prediction(np.zeros((100, 2)))).contains(y[200:]).mean()) > 0.8
        True
    """
    coordinates, scores = scored(score, prediction, y, coordinates)
    n = len(scores)
    law = coverage_law(n, alpha)
    text = f"a new case exchangeable with the {n} calibration cases is in its region with probability at least "
    text += f"{1 - alpha:g}" + ("" if law.k <= n else unbounded_note(alpha, n, "cases"))
    return Conformal(score, conformal_limit(scores, alpha), alpha, n, text, coordinates)


def patient_conformal(
    score: AbstractFittedScore,
    prediction: Prediction,
    y: Float[np.ndarray, "N d"],
    patients: Sequence[object] | np.ndarray,
    *,
    alpha: float = 0.1,
    coordinates: Coordinates | None = None,
) -> Conformal:
    r"""The limit for one window of a new patient, from several windows of each of n patients.

    Arguments:
        score: A score that was fitted on other patients.
        prediction: Calibration windows.
        y: Their targets, each in its unit.
        patients: Patient of each window.
        alpha: Share of new patients whose window may be missed.
        coordinates: Names, units and scales of the targets.

    Example:
        >>> from .draws import QuantileBox
        >>> rng = np.random.default_rng(0)
        >>> prediction, y = Prediction.from_draws(rng.normal(size=(60, 99, 1))), rng.normal(size=(60, 1))
        >>> patient_conformal(QuantileBox(), prediction, y, np.repeat(np.arange(20), 3)).n
        20
    """
    coordinates, scores = scored(score, prediction, y, coordinates)
    n = int(patient_codes(patients).max()) + 1 if len(scores) else 0
    limit = hierarchical_limit(scores, patients, alpha)
    text = (
        f"one window of a new patient exchangeable with the {n} calibration patients is in its region with probability "
    )
    text += f"at least {1 - alpha:g}" + ("" if np.isfinite(limit) else unbounded_note(alpha, n, "patients"))
    return Conformal(score, limit, alpha, n, text, coordinates)


@dataclass(frozen=True)
class GroupedConformal:
    r"""A score with a limit for each group.

    Arguments:
        score: The fitted score.
        limits: Limit by group.
        counts: Calibration cases by group.
        alpha: Share of new cases of each group that may be missed.
        guarantee: What is promised, in a sentence.
        coordinates: Names, units and scales of the targets.

    Example:
        >>> from .draws import QuantileBox
        >>> rng = np.random.default_rng(0)
        >>> prediction, y = Prediction.from_draws(rng.normal(size=(60, 99, 1))), rng.normal(size=(60, 1))
        >>> rule = grouped_conformal(QuantileBox(), prediction, y, ["young"] * 55 + ["old"] * 5)
        >>> rule.limits["old"], rule.counts
        (inf, {'young': 55, 'old': 5})
    """

    score: AbstractFittedScore
    limits: Mapping[object, float]
    counts: Mapping[object, int]
    alpha: float
    guarantee: str
    coordinates: Coordinates

    def regions(self, prediction: Prediction, groups: Sequence[object] | np.ndarray) -> Regions:
        r"""Regions of new cases; unbounded for a group that was not calibrated.

        Arguments:
            prediction: What is predicted for them.
            groups: Group of each.
        """
        limits = limits_of_groups(self.limits, groups)
        return Regions(self.score, prediction, limits, self.coordinates, self.alpha)


def grouped_conformal(
    score: AbstractFittedScore,
    prediction: Prediction,
    y: Float[np.ndarray, "N d"],
    groups: Sequence[object] | np.ndarray,
    *,
    alpha: float = 0.1,
    coordinates: Coordinates | None = None,
) -> GroupedConformal:
    r"""An order statistic for each group (Mondrian conformal prediction).

    Arguments:
        score: A score that was fitted on other cases.
        prediction: Calibration cases.
        y: Their targets, each in its unit.
        groups: Group of each case: age band, rhythm, device.
        alpha: Share of new cases of each group that may be missed.
        coordinates: Names, units and scales of the targets.

    Example:
        >>> from .draws import QuantileBox
        >>> rng = np.random.default_rng(0)
        >>> prediction, y = Prediction.from_draws(rng.normal(size=(60, 99, 1))), rng.normal(size=(60, 1))
        >>> sorted(grouped_conformal(QuantileBox(), prediction, y, ["a", "b"] * 30).limits)
        ['a', 'b']
    """
    coordinates, scores = scored(score, prediction, y, coordinates)
    labels = np.asarray(groups).tolist()
    limits = group_limits(scores, groups, alpha)
    counts = {label: labels.count(label) for label in limits}
    text = f"within each group a new case is in its region with probability at least {1 - alpha:g}"
    short = [str(label) for label, limit in limits.items() if not np.isfinite(limit)]
    if short:
        text += f"; unbounded for {', '.join(short)}: fewer than {fewest(alpha)} cases"
    return GroupedConformal(score, limits, counts, alpha, text, coordinates)


@dataclass(frozen=True)
class WeightedConformal:
    r"""A score with weighted calibration scores, for covariate shift.

    Arguments:
        score: The fitted score.
        scores: Scores of the calibration cases.
        weights: Density ratio at each of them.
        alpha: Share of new cases that may be missed.
        coordinates: Names, units and scales of the targets.

    Example:
        >>> from .draws import QuantileBox
        >>> rng = np.random.default_rng(0)
        >>> prediction, y = Prediction.from_draws(rng.normal(size=(60, 99, 1))), rng.normal(size=(60, 1))
        >>> rule = weighted_conformal(QuantileBox(), prediction, y, np.ones(60))
        >>> bool(np.isinf(rule.regions(prediction[:2], np.array([1.0, 100.0])).limits[1]))
        True
    """

    score: AbstractFittedScore
    scores: Float[np.ndarray, " n"]
    weights: Float[np.ndarray, " n"]
    alpha: float
    coordinates: Coordinates
    effective: float = field(default=0.0)

    def regions(self, prediction: Prediction, weights: Float[np.ndarray, " m"]) -> Regions:
        r"""Regions of new cases.

        Arguments:
            prediction: What is predicted for them.
            weights: Density ratio at each.
        """
        limits = weighted_limits(self.scores, self.weights, weights, self.alpha)
        return Regions(self.score, prediction, limits, self.coordinates, self.alpha)


def weighted_conformal(
    score: AbstractFittedScore,
    prediction: Prediction,
    y: Float[np.ndarray, "N d"],
    weights: Float[np.ndarray, " N"],
    *,
    alpha: float = 0.1,
    coordinates: Coordinates | None = None,
) -> WeightedConformal:
    r"""Weighted quantiles of the calibration scores, for new cases whose features are distributed otherwise.

    Arguments:
        score: A score that was fitted on other cases.
        prediction: Calibration cases.
        y: Their targets, each in its unit.
        weights: Density ratio of new to calibration cases at each of them, up to a factor.
        alpha: Share of new cases that may be missed.
        coordinates: Names, units and scales of the targets.

    Returns:
        The rule; ``effective`` is the effective number of calibration cases.

    Example:
        >>> from .draws import QuantileBox
        >>> rng = np.random.default_rng(0)
        >>> prediction, y = Prediction.from_draws(rng.normal(size=(60, 99, 1))), rng.normal(size=(60, 1))
        >>> weighted_conformal(QuantileBox(), prediction, y, np.ones(60)).effective
        60.0
    """
    coordinates, scores = scored(score, prediction, y, coordinates)
    weights = np.asarray(weights, dtype=np.float64)
    weighted_limits(scores, weights, weights[:1], alpha)  # refuses what it would refuse later
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    return WeightedConformal(score, scores, weights, alpha, coordinates, effective)


def scored(
    score: AbstractFittedScore,
    prediction: Prediction,
    y: Float[np.ndarray, "N d"],
    coordinates: Coordinates | None,
) -> tuple[Coordinates, Float[np.ndarray, " N"]]:
    """Coordinates and scores of calibration cases, after the targets were checked."""
    coordinates = coordinates or Coordinates.plain(prediction.dim)
    z = coordinates.transform(np.asarray(y, dtype=np.float64))
    if z.shape != prediction.mean.shape or not np.isfinite(z).all():
        rows = np.flatnonzero(~np.isfinite(z).all(axis=-1))[:5].tolist() if z.ndim == 2 else []
        raise ValueError(
            f"y must be finite (and positive where scored on the logarithm) with shape {prediction.mean.shape}, got "
            f"shape {z.shape}, rows {rows} not: leave out cases without a label"
        )
    return coordinates, score.score(prediction, z)


def unbounded_note(alpha: float, n: int, what: str) -> str:
    """Why a region is unbounded."""
    return f"; {n} {what} are too few for that with a bounded region: it takes {fewest(alpha)}"
