r"""Scores of residuals: a residual map, then a gauge.

The residual of a case is $r = y - \mu(x)$ (*plain*), $r = L(x)^{-1} (y - \mu(x))$ with the Cholesky factor of the
posterior covariance (*posterior-whitened*), or the same with a factor learned on residuals (*learned scale*). The
gauge, fitted on residuals, gives the score; one region in residual space serves every case, moved by $\mu$ and
stretched by $L$, so volumes and ranges cost one computation for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from .gauge import AbstractFittedGauge, AbstractGauge, FittedBox, FittedNorm, ball_volume
from .prediction import Prediction
from .score import AbstractFittedScore, AbstractScore, climb

__all__ = [
    "AbstractFittedResidual",
    "AbstractResidual",
    "FittedResidualScore",
    "PlainResidual",
    "PosteriorResidual",
    "ResidualScore",
]


class AbstractFittedResidual(ABC):
    r"""A residual map ready to use.

    Example:
        >>> sorted(AbstractFittedResidual.__abstractmethods__)
        ['factors']
    """

    @abstractmethod
    def factors(self, prediction: Prediction) -> Float[np.ndarray, "N d d"]:
        r"""Lower triangular factor of each case.

        Arguments:
            prediction: Cases.
        """

    def residuals(self, prediction: Prediction, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m d"]:
        r"""Residuals of candidates.

        Arguments:
            prediction: Cases.
            y: Candidates for each case.
        """
        gap = prediction.candidates(y) - prediction.mean[:, None]
        return np.asarray(np.linalg.solve(self.factors(prediction), gap.transpose(0, 2, 1)).transpose(0, 2, 1))

    def restore(self, prediction: Prediction, r: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "N m d"]:
        r"""Candidates of each case that have the given residuals.

        Arguments:
            prediction: Cases.
            r: Residuals.
        """
        return np.asarray(np.einsum("nij,mj->nmi", self.factors(prediction), r) + prediction.mean[:, None])

    def volume(self, prediction: Prediction) -> Float[np.ndarray, " N"]:
        r"""Volume in target space of a unit of residual volume.

        Arguments:
            prediction: Cases.
        """
        return np.asarray(np.prod(np.einsum("nii->ni", self.factors(prediction)), axis=1))


class AbstractResidual(ABC):
    r"""How a residual map is fitted.

    Example:
        >>> sorted(AbstractResidual.__abstractmethods__)
        ['fit']
    """

    @abstractmethod
    def fit(self, prediction: Prediction, y: Float[np.ndarray, "N d"], *, seed: int = 0) -> AbstractFittedResidual:
        r"""Fits the map.

        Arguments:
            prediction: Cases.
            y: Their targets.
            seed: Seed of whatever is random.
        """


@dataclass(frozen=True)
class PlainResidual(AbstractResidual, AbstractFittedResidual):
    r"""Residual $y - \mu(x)$.

    Example:
        >>> PlainResidual().residuals(Prediction(np.ones((1, 2))), np.zeros((1, 1, 2)))
        array([[[-1., -1.]]])
    """

    def fit(self, prediction: Prediction, y: Float[np.ndarray, "N d"], *, seed: int = 0) -> PlainResidual:
        r"""Nothing to fit.

        Arguments:
            prediction: Not used.
            y: Not used.
            seed: Not used.
        """
        return self

    def factors(self, prediction: Prediction) -> Float[np.ndarray, "N d d"]:
        r"""Identities.

        Arguments:
            prediction: Cases.
        """
        return np.broadcast_to(np.eye(prediction.dim), (len(prediction), prediction.dim, prediction.dim))

    def residuals(self, prediction: Prediction, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m d"]:
        r"""Differences.

        Arguments:
            prediction: Cases.
            y: Candidates for each case.
        """
        return np.asarray(prediction.candidates(y) - prediction.mean[:, None])


@dataclass(frozen=True)
class PosteriorResidual(AbstractResidual, AbstractFittedResidual):
    r"""Residual $L(x)^{-1} (y - \mu(x))$ with the Cholesky factor of the posterior covariance.

    Example:
        >>> prediction = Prediction(np.zeros((1, 1)), np.full((1, 1, 1), 2.0))
        >>> PosteriorResidual().residuals(prediction, np.array([[[3.0]]]))
        array([[[1.5]]])
    """

    def fit(self, prediction: Prediction, y: Float[np.ndarray, "N d"], *, seed: int = 0) -> PosteriorResidual:
        r"""Nothing to fit.

        Arguments:
            prediction: Cases, which must have factors.
            y: Not used.
            seed: Not used.
        """
        prediction.need("factor", "PosteriorResidual")
        return self

    def factors(self, prediction: Prediction) -> Float[np.ndarray, "N d d"]:
        r"""The posterior's factors.

        Arguments:
            prediction: Cases, which must have factors.
        """
        prediction.need("factor", "PosteriorResidual")
        return prediction.factor


@dataclass(frozen=True)
class FittedResidualScore(AbstractFittedScore):
    r"""Gauge of the residual.

    Arguments:
        residual: Residual map.
        gauge: Gauge of residuals.

    Example:
        >>> from .gauge import NormGauge
        >>> rng = np.random.default_rng(0)
        >>> prediction, y = Prediction(np.zeros((200, 2))), rng.normal(size=(200, 2))
        >>> score = ResidualScore(PlainResidual(), NormGauge()).fit(prediction, y)
        >>> score.score(prediction, y).shape
        (200,)
    """

    residual: AbstractFittedResidual
    gauge: AbstractFittedGauge

    def evaluate(self, prediction: Prediction, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m"]:
        r"""Scores candidates.

        Arguments:
            prediction: Cases.
            y: Candidates for each case.
        """
        r = self.residual.residuals(prediction, y)
        return np.asarray(self.gauge(r.reshape(-1, r.shape[-1]))).reshape(r.shape[:-1])

    def propose(
        self, prediction: Prediction, limit: float, n: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        r"""Directions at random, radii even over the gauge's extent.

        Arguments:
            prediction: One case.
            limit: The region is where the score is at most this.
            n: Number of points.
            rng: Source of randomness.
        """
        r, weights = propose_residuals(self.gauge, limit, n, rng)
        return self.residual.restore(prediction, r)[0], weights * self.residual.volume(prediction)[0]

    def volumes(
        self, prediction: Prediction, limits: Float[np.ndarray, " N"], *, n: int = 20000, seed: int = 0
    ) -> Float[np.ndarray, " N"]:
        r"""One residual volume for each distinct limit, times the determinant of each case's factor.

        Arguments:
            prediction: Cases.
            limits: Limit of each case.
            n: Points for each distinct limit.
            seed: Seed of the points.
        """
        distinct, place = np.unique(np.asarray(limits, dtype=np.float64), return_inverse=True)
        own = np.array([residual_volume(self.gauge, float(limit), n, seed) for limit in distinct])
        return np.asarray(own[place.reshape(-1)] * self.residual.volume(prediction))

    def ranges(self, prediction: Prediction, limit: float, *, n: int = 4000, seed: int = 0) -> Float[np.ndarray, "d 2"]:
        r"""Ends of the region: closed form for ellipsoids and for boxes of plain residuals, else by search.

        Arguments:
            prediction: One case.
            limit: The region is where the score is at most this; finite.
            n: Points to start from.
            seed: Seed of the points.
        """
        factor = self.residual.factors(prediction)[0]
        whitening = self.gauge.whitening
        middle = prediction.mean[0] + factor @ whitening.centre
        if isinstance(self.gauge, FittedNorm):
            half = limit * np.linalg.norm(factor @ whitening.factor, axis=1)
        elif isinstance(self.gauge, FittedBox):
            half = limit * np.abs(factor @ whitening.factor).sum(axis=1)
        else:
            start = self.residual.restore(prediction, residual_members(self.gauge, limit, n, seed))[0]
            return climb(self, prediction, limit, start, seed=seed)
        return np.stack([middle - half, middle + half], axis=1)


@dataclass(frozen=True)
class ResidualScore(AbstractScore):
    r"""A residual map and a gauge, fitted one after the other.

    Arguments:
        residual: Residual map.
        gauge: Gauge of residuals.

    Example:
        >>> from .gauge import BoxGauge
        >>> type(ResidualScore(PlainResidual(), BoxGauge())).__name__
        'ResidualScore'
    """

    residual: AbstractResidual
    gauge: AbstractGauge

    def fit(self, prediction: Prediction, y: Float[np.ndarray, "N d"], *, seed: int = 0) -> FittedResidualScore:
        r"""Fits the map, then the gauge on its residuals.

        Arguments:
            prediction: Cases.
            y: Their targets.
            seed: Seed of whatever is random.
        """
        residual = self.residual.fit(prediction, y, seed=seed)
        r = residual.residuals(prediction, np.asarray(y, dtype=np.float64)[:, None])[:, 0]
        return FittedResidualScore(residual, self.gauge.fit(r, seed=seed))


def propose_residuals(
    gauge: AbstractFittedGauge, limit: float, n: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """Residuals around the centre, radii stratified, and weights whose mean over members is the volume."""
    d = len(gauge.whitening.centre)
    directions = rng.normal(size=(n, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    reach = gauge.extent(limit)
    radii = reach * (np.arange(n) + rng.random(n)) / n
    weights = d * ball_volume(d) * radii ** (d - 1) * reach * gauge.whitening.volume
    return gauge.whitening.invert(directions * radii[:, None]), weights


def residual_volume(gauge: AbstractFittedGauge, limit: float, n: int, seed: int) -> float:
    """Volume in residual space: closed form for ellipsoids and boxes, Monte Carlo otherwise."""
    return float(residual_volumes(gauge, np.array([limit]), n, seed)[0])


def residual_volumes(
    gauge: AbstractFittedGauge, limits: Float[np.ndarray, " L"], n: int, seed: int
) -> Float[np.ndarray, " L"]:
    """Volumes in residual space for several limits, by one set of points."""
    found = np.where(limits > 0, np.inf, 0.0)
    finite = np.flatnonzero(np.isfinite(limits))
    if isinstance(gauge, FittedNorm | FittedBox):
        found[finite] = [gauge.volume(float(limit)) for limit in limits[finite]]
    elif len(finite):
        r, weights = propose_residuals(gauge, float(limits[finite].max()), n, np.random.default_rng(seed))
        scores = gauge(r)
        found[finite] = [float(np.mean(weights * (scores <= limit))) for limit in limits[finite]]
    return found


@lru_cache(maxsize=64)
def _members(gauge: _ByIdentity, limit: float, n: int, seed: int) -> Float[np.ndarray, "k d"]:
    r, _ = propose_residuals(gauge.gauge, limit, n, np.random.default_rng(seed))
    return np.asarray(r[gauge.gauge(r) <= limit])


class _ByIdentity:
    """A gauge as a key: equal only to itself."""

    def __init__(self, gauge: AbstractFittedGauge) -> None:
        self.gauge = gauge

    def __hash__(self) -> int:
        return id(self.gauge)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and other.gauge is self.gauge


def residual_members(gauge: AbstractFittedGauge, limit: float, n: int, seed: int) -> Float[np.ndarray, "k d"]:
    """Residuals within a limit, computed once for all cases."""
    return _members(_ByIdentity(gauge), limit, n, seed)


def outline_of(gauge: AbstractFittedGauge, limit: float, *, directions: int = 4096, seed: int = 0) -> np.ndarray:
    """Outermost residuals within a limit in many directions, those on their convex hull: ranges come from them."""
    d = len(gauge.whitening.centre)
    ways = np.random.default_rng([seed, 6]).normal(size=(directions, d))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    radii = np.linspace(0, gauge.extent(limit), 33)
    inside = np.zeros((len(radii), len(ways)), dtype=bool)
    for i, radius in enumerate(radii):
        inside[i] = gauge(gauge.whitening.invert(radius * ways)) <= limit
    last = len(radii) - 1 - inside[::-1].argmax(axis=0)
    held = inside.any(axis=0)
    low, high = radii[last], radii[np.minimum(last + 1, len(radii) - 1)]
    for _ in range(10):
        middle = 0.5 * (low + high)
        within = gauge(gauge.whitening.invert(middle[:, None] * ways)) <= limit
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    border = gauge.whitening.invert((low[:, None] * ways)[held])
    if d == 1:
        return np.asarray(border[[border[:, 0].argmin(), border[:, 0].argmax()]])
    from scipy.spatial import ConvexHull

    return np.asarray(border[ConvexHull(border).vertices]) if len(border) > 2 * d + 2 else border
