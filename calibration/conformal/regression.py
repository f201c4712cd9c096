r"""Conformal regions around any regression: fit, then ask for a prediction or a region.

The rows are split three ways, at random: the predictor is fitted on the first part, the score on the second, the
limit on the third. The predictor is anything with ``fit(X, Y)`` and ``predict(X)``, such as scikit-learn's; nothing
of it is imported here.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from .gauge import NormGauge
from .learned import LearnedScale
from .prediction import Prediction
from .region import Coordinates, Regions
from .residual import PosteriorResidual, ResidualScore
from .score import AbstractScore
from .split import Conformal, split_conformal
from .tuned import TunedRank

__all__ = ["ConformalRegressor", "Regressor", "default_score", "split_rows"]

_MOST_OT = 4
"""Dimension above which a rank needs more residuals than there are: ellipsoids then."""


class Regressor(Protocol):
    r"""What a predictor offers.

    Example:
        >>> hasattr(Regressor, "predict")
        True
    """

    def fit(self, X: Any, Y: Any) -> Any:
        r"""Fits on features and targets.

        Arguments:
            X: Features.
            Y: Targets.
        """

    def predict(self, X: Any) -> Any:
        r"""Predicts targets.

        Arguments:
            X: Features.
        """


def default_score(d: int, *, posterior: bool, alpha: float = 0.1) -> AbstractScore:
    r"""The score to start with: the rank of the whitened residual for up to four targets, Mahalanobis above.

    Arguments:
        d: Number of targets.
        posterior: Whether cases have posterior covariances; otherwise factors are learned from features.
        alpha: Share of new cases that may be missed.

    Example:
        >>> [type(default_score(d, posterior=True).gauge).__name__ for d in (2, 9)]
        ['TunedRank', 'NormGauge']
    """
    residual = PosteriorResidual() if posterior else LearnedScale()
    return ResidualScore(residual, TunedRank(alpha) if d <= _MOST_OT else NormGauge())


def split_rows(n: int, shares: tuple[float, ...], *, seed: int = 0) -> tuple[np.ndarray, ...]:
    r"""Splits rows at random.

    Arguments:
        n: Number of rows.
        shares: Share of each part; they sum to one.
        seed: Seed.

    Raises:
        ValueError: If shares are not positive or do not sum to one, or a part is empty.

    Example:
        >>> [len(part) for part in split_rows(10, (0.5, 0.3, 0.2))]
        [5, 3, 2]
    """
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares must be positive and sum to one, got {shares}; try (0.5, 0.25, 0.25)")
    ends = np.round(np.cumsum(shares) * n).astype(int)
    parts = np.split(np.random.default_rng(seed).permutation(n), ends[:-1])
    if min(len(part) for part in parts) == 0:
        raise ValueError(f"{n} rows are too few for the shares {shares}: every part needs one")
    return tuple(parts)


@dataclass
class ConformalRegressor:
    r"""A predictor with conformal regions.

    Arguments:
        predictor: Anything with ``fit`` and ``predict``; a copy of it is fitted.
        score: How candidates are scored; ``default_score`` of the number of targets where an empty tuple is given.
        alpha: Share of new cases that may be missed.
        shares: Shares of the rows for predictor, score and limit.
        seed: Seed of the split and the fits.
        names: Names of the targets.

    Raises:
        ValueError: If shapes do not fit or a value is not finite.

    Example:
        >>> from .gauge import BoxGauge
        >>> from .residual import PlainResidual
        >>> class Line:
        ...     def fit(self, X, Y):
        ...         self.w = np.linalg.lstsq(X, Y, rcond=None)[0]
        ...     def predict(self, X):
        ...         return X @ self.w
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(600, 3))
        >>> Y = X @ rng.normal(size=(3, 2)) + rng.normal(size=(600, 2))
        >>> model = ConformalRegressor(Line(), score=ResidualScore(PlainResidual(), BoxGauge())).fit(X[:400], Y[:400])
        >>> bool(model.predict_region(X[400:]).contains(Y[400:]).mean() > 0.8)
        True
    """

    predictor: Regressor
    score: AbstractScore | tuple[()] = ()
    alpha: float = 0.1
    shares: tuple[float, float, float] = (0.5, 0.25, 0.25)
    seed: int = 0
    names: tuple[str, ...] = ()
    rule: Conformal = field(init=False, repr=False)
    fitted: Regressor = field(init=False, repr=False)

    def fit(self, X: Float[np.ndarray, "N p"], Y: Float[np.ndarray, "N d"]) -> ConformalRegressor:
        r"""Fits predictor, score and limit on three parts of the rows.

        Arguments:
            X: Features.
            Y: Targets.

        Raises:
            ValueError: If the rows do not match, are too few or not finite, or a target does not vary.
        """
        X, Y = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64)
        Y = Y[:, None] if Y.ndim == 1 else Y
        if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y) or not (np.isfinite(X).all() and np.isfinite(Y).all()):
            raise ValueError(f"X and Y must be finite with shapes (N, p) and (N, d), got {X.shape} and {Y.shape}")
        flat = [d for d in range(Y.shape[1]) if len(Y) > 1 and np.ptp(Y[:, d]) == 0]
        if flat:
            raise ValueError(f"target {flat[0]} is {Y[0, flat[0]]:g} in every row: leave it out")
        first, second, third = split_rows(len(X), self.shares, seed=self.seed)
        d = Y.shape[1]
        self.fitted = copy.deepcopy(self.predictor)
        self.fitted.fit(X[first], Y[first] if d > 1 else Y[first, 0])
        score = self.score or default_score(d, posterior=False, alpha=self.alpha)
        ready = score.fit(self._prediction(X[second], d), Y[second], seed=self.seed)
        coordinates = Coordinates(self.names, ("",) * d, (False,) * d) if self.names else Coordinates.plain(d)
        self.rule = split_conformal(
            ready, self._prediction(X[third], d), Y[third], alpha=self.alpha, coordinates=coordinates
        )
        return self

    def predict(self, X: Float[np.ndarray, "N p"]) -> Float[np.ndarray, "N d"]:
        r"""Point predictions.

        Arguments:
            X: Features.
        """
        return self._prediction(np.asarray(X, dtype=np.float64), self._targets()).mean

    def predict_region(self, X: Float[np.ndarray, "N p"]) -> Regions:
        r"""Regions.

        Arguments:
            X: Features.
        """
        X = np.asarray(X, dtype=np.float64)
        d = self._targets()
        return self.rule.regions(self._prediction(X, d))

    def _targets(self) -> int:
        """Number of targets; only a fitted regressor knows it."""
        if not hasattr(self, "rule"):
            raise ValueError("this regressor has seen no rows yet: call fit(X, Y) first")
        return len(self.rule.coordinates.names)

    def _prediction(self, X: Float[np.ndarray, "N p"], d: int) -> Prediction:
        return Prediction(np.asarray(self.fitted.predict(X), dtype=np.float64).reshape(len(X), d), x=X)
