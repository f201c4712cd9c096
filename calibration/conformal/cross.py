r"""Cross-conformal and jackknife+ regions: every case serves the fit and the calibration, at a weaker promise.

With folds $I_1, \dots, I_K$ and a fit without each, the region of a new case is

$$
\Bigl\{ y : \#\{ i : S_{-k(i)}(x, y) > S_{-k(i)}(x_i, y_i) \} < (1 - \alpha)(n + 1) \Bigr\},
$$

which holds the target with probability at least

$$
1 - 2\alpha - \min\Bigl\{ \frac{2 (1 - 1/K)}{n/K + 1}, \frac{1 - K/n}{K + 1} \Bigr\},
$$

for $K = n$ (jackknife+) at least $1 - 2\alpha$. In practice it is near $1 - \alpha$. Whatever is fitted without a
fold counts as the fit: the score, the predictor, a correction of the posterior (RoPE) tuned on the same small set. A
limit taken from out-of-fold scores and used with *one* fit on all cases has no such promise, and is not offered.

References:
    | Predictive inference with the jackknife+ (Barber, Candes, Ramdas & Tibshirani, 2021), theorems 1 and 4,
      https://arxiv.org/abs/1905.02928
    | Cross-conformal predictors (Vovk, 2015), https://arxiv.org/abs/1208.0806
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from .order import check_alpha
from .patients import patient_codes
from .prediction import Prediction
from .score import AbstractFittedScore, AbstractScore

__all__ = ["CrossConformal", "cross_conformal", "cross_fit", "cross_promise", "jackknife_conformal", "make_folds"]

Fit = Callable[[np.ndarray], tuple[AbstractFittedScore, Callable[[np.ndarray], Prediction]]]
"""From the rows of a fold's complement to a fitted score and the predictions for any rows."""


def cross_promise(n: int, k: int, alpha: float) -> float:
    r"""Coverage that cross-conformal regions are certain to have.

    The second of the two terms is for folds of one size; where k does not divide n the first stands alone.

    Arguments:
        n: Number of cases.
        k: Number of folds; ``n`` for the jackknife+.
        alpha: Nominal share of misses.

    Example:
        >>> cross_promise(50, 50, 0.1), round(cross_promise(50, 5, 0.1), 3)
        (0.8, 0.655)
    """
    check_alpha(alpha)
    lost = 2 * (1 - 1 / k) / (n / k + 1)
    return max(0.0, 1 - 2 * alpha - (lost if n % k else min(lost, (1 - k / n) / (k + 1))))


def make_folds(patients: Sequence[object] | np.ndarray, k: int, *, seed: int = 0) -> Int[np.ndarray, " N"]:
    r"""Fold of each window; the windows of a patient share a fold.

    Arguments:
        patients: Patient of each window.
        k: Number of folds.
        seed: Seed of the assignment.

    Raises:
        ValueError: If there are fewer patients than folds, or fewer than two folds.

    Example:
        >>> folds = make_folds(["a", "a", "b", "c"], 3)
        >>> bool(folds[0] == folds[1]), sorted(set(folds.tolist()))
        (True, [0, 1, 2])
    """
    codes = patient_codes(patients)
    n = int(codes.max()) + 1 if len(codes) else 0
    if not 2 <= k <= n:
        raise ValueError(f"folds must be between 2 and the number of patients {n}, got {k}")
    place = np.random.default_rng(seed).permutation(n) % k
    return np.asarray(place[codes])


@dataclass(frozen=True)
class CrossConformal:
    r"""Fits without each fold, and the scores of the cases that each did not see.

    Arguments:
        parts: Score fitted without each fold.
        scores: Score of each case under the fit that did not see it.
        folds: Fold of each case.
        alpha: Nominal share of misses.
        promise: Coverage that is certain.

    Example:
        >>> from .gauge import NormGauge
        >>> from .residual import PlainResidual, ResidualScore
        >>> rng = np.random.default_rng(0)
        >>> prediction, y = Prediction(np.zeros((60, 2))), rng.normal(size=(60, 2))
        >>> cross = cross_conformal(ResidualScore(PlainResidual(), NormGauge()), prediction, y, folds=5)
        >>> bool(cross.covers([prediction] * 5, y).mean() > 0.8), round(cross.promise, 2)
        (True, 0.68)
    """

    parts: tuple[AbstractFittedScore, ...]
    scores: Float[np.ndarray, " n"]
    folds: Int[np.ndarray, " n"]
    alpha: float
    promise: float

    def counts(self, predictions: Sequence[Prediction], y: Float[np.ndarray, "N m d"]) -> Int[np.ndarray, "N m"]:
        r"""How many calibration cases score below each candidate.

        Arguments:
            predictions: What each fold's predictor says of the new cases.
            y: Candidates for each of them, as they are scored.
        """
        if len(predictions) != len(self.parts):
            raise ValueError(f"predictions must be {len(self.parts)}, one of each fold, got {len(predictions)}")
        total = np.zeros(np.shape(y)[:2], dtype=np.int64)
        for k, (part, prediction) in enumerate(zip(self.parts, predictions, strict=True)):
            own = np.sort(self.scores[self.folds == k])
            total += np.searchsorted(own, part.evaluate(prediction, y), side="left")
        return total

    def contains(self, predictions: Sequence[Prediction], y: Float[np.ndarray, "N m d"]) -> Bool[np.ndarray, "N m"]:
        r"""Whether candidates are in the regions of new cases.

        Arguments:
            predictions: What each fold's predictor says of the new cases.
            y: Candidates for each of them, as they are scored.
        """
        wanted = (1 - self.alpha) * (len(self.scores) + 1) - 1e-9
        return np.asarray(self.counts(predictions, y) < wanted)

    def covers(self, predictions: Sequence[Prediction], y: Float[np.ndarray, "N d"]) -> Bool[np.ndarray, " N"]:
        r"""Whether the target of each new case is in its region.

        Arguments:
            predictions: What each fold's predictor says of the new cases.
            y: Target of each, as it is scored.
        """
        return self.contains(predictions, np.asarray(y, dtype=np.float64)[:, None])[:, 0]

    def volumes(self, predictions: Sequence[Prediction], *, n: int = 4000, seed: int = 0) -> Float[np.ndarray, " N"]:
        r"""Volume of each region, by Monte Carlo over the union of the folds' own regions at the pooled limit.

        Arguments:
            predictions: What each fold's predictor says of the new cases.
            n: Points a case.
            seed: Seed of the points.
        """
        found = np.full(len(predictions[0]), np.inf)
        place = int(np.ceil((1 - self.alpha) * (len(self.scores) + 1) - 1e-9))
        if place <= len(self.scores):
            pooled = float(np.sort(self.scores)[place - 1])
            for i in range(len(found)):
                own = [p[i] for p in predictions]
                points, weights = propose_union(self.parts, own, pooled, n, np.random.default_rng([seed, i]))
                found[i] = float(np.mean(weights * self.contains(own, points[None])[0]))
        return found


def cross_conformal(
    score: AbstractScore,
    prediction: Prediction,
    y: Float[np.ndarray, "N d"],
    *,
    folds: int = 10,
    alpha: float = 0.1,
    seed: int = 0,
) -> CrossConformal:
    r"""Cross-conformal regions for a predictor that is fixed: only the score is fitted anew without each fold.

    Arguments:
        score: How the score is fitted.
        prediction: Cases.
        y: Their targets, as they are scored.
        folds: Number of folds.
        alpha: Nominal share of misses.
        seed: Seed of folds and fits.

    Example:
        >>> from .gauge import BoxGauge
        >>> from .residual import PlainResidual, ResidualScore
        >>> y = np.random.default_rng(0).normal(size=(40, 2))
        >>> len(cross_conformal(ResidualScore(PlainResidual(), BoxGauge()), Prediction(0 * y), y, folds=4).parts)
        4
    """
    place = make_folds(np.arange(len(y)), folds, seed=seed)

    def fit(rows: np.ndarray) -> tuple[AbstractFittedScore, Callable[[np.ndarray], Prediction]]:
        return score.fit(prediction[rows], np.asarray(y)[rows], seed=seed), lambda own: prediction[own]

    return cross_fit(fit, np.asarray(y, dtype=np.float64), place, alpha=alpha)


def jackknife_conformal(
    score: AbstractScore, prediction: Prediction, y: Float[np.ndarray, "N d"], *, alpha: float = 0.1, seed: int = 0
) -> CrossConformal:
    r"""Jackknife+ regions: as many folds as cases.

    Arguments:
        score: How the score is fitted.
        prediction: Cases.
        y: Their targets, as they are scored.
        alpha: Nominal share of misses.
        seed: Seed of the fits.

    Example:
        >>> from .gauge import NormGauge
        >>> from .residual import PlainResidual, ResidualScore
        >>> y = np.random.default_rng(0).normal(size=(20, 2))
        >>> round(jackknife_conformal(ResidualScore(PlainResidual(), NormGauge()), Prediction(0 * y), y).promise, 2)
        0.8
    """
    return cross_conformal(score, prediction, y, folds=len(y), alpha=alpha, seed=seed)


def cross_fit(fit: Fit, y: Float[np.ndarray, "N d"], folds: Int[np.ndarray, " N"], *, alpha: float) -> CrossConformal:
    r"""Cross-conformal regions where predictor and score are both fitted without each fold.

    Arguments:
        fit: From rows to a fitted score and a predictor for rows.
        y: Targets, as they are scored.
        folds: Fold of each case.
        alpha: Nominal share of misses.

    Example:
        >>> from .gauge import NormGauge
        >>> from .residual import PlainResidual, ResidualScore
        >>> y = np.random.default_rng(0).normal(size=(60, 2))
        >>> def fit(rows):
        ...     mean = y[rows].mean(0)
        ...     predict = lambda own: Prediction(np.tile(mean, (len(own), 1)))
        ...     return ResidualScore(PlainResidual(), NormGauge()).fit(predict(rows), y[rows]), predict
        >>> len(cross_fit(fit, y, make_folds(range(60), 6), alpha=0.1).parts)
        6
    """
    scores, parts = np.empty(len(y)), []
    for k in range(int(folds.max()) + 1):
        own = np.flatnonzero(folds == k)
        part, predict = fit(np.flatnonzero(folds != k))
        scores[own] = part.score(predict(own), y[own])
        parts.append(part)
    return CrossConformal(tuple(parts), scores, folds, alpha, cross_promise(len(y), len(parts), alpha))


def propose_union(
    parts: Sequence[AbstractFittedScore], rows: Sequence[Prediction], limit: float, n: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "m d"], Float[np.ndarray, " m"]]:
    """Points over the union of several scores' regions of one case; a point counts once however many hold it."""
    each = max(1, n // len(parts))
    proposed = [part.propose(row, limit, each, rng) for part, row in zip(parts, rows, strict=True)]
    points = np.concatenate([p for p, _ in proposed])
    inside = np.stack(
        [part.evaluate(row, points[None])[0] <= limit for part, row in zip(parts, rows, strict=True)], axis=0
    )
    owner = np.repeat(np.arange(len(parts)), [len(p) for p, _ in proposed])
    weights = len(parts) * np.concatenate([w for _, w in proposed])
    return points, weights * inside[owner, np.arange(len(points))] / np.maximum(inside.sum(0), 1)
