r"""Gauges: how far a residual is out, one number for each; a region in residual space is where the gauge is small.

Residuals are first whitened by the mean and covariance of those the gauge was fitted on. A gauge is continuous in
radius and grows without bound: where a rank saturates, beyond the farthest residual it has seen, the whitened norm
goes on. So a finite limit always gives a bounded region.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .prediction import cholesky

__all__ = ["AbstractFittedGauge", "AbstractGauge", "BoxGauge", "FittedBox", "FittedNorm", "NormGauge", "Whitening"]


@dataclass(frozen=True)
class Whitening:
    r"""Affine map that gives residuals mean zero and covariance one.

    Arguments:
        centre: Mean of the residuals it was fitted on.
        factor: Lower Cholesky factor of their covariance.

    Example:
        >>> r = np.random.default_rng(0).normal(size=(500, 2)) @ np.array([[3.0, 0.0], [1.0, 0.1]])
        >>> bool(np.allclose(np.cov(Whitening.fit(r)(r).T), np.eye(2)))
        True
    """

    centre: Float[np.ndarray, " d"]
    factor: Float[np.ndarray, "d d"]

    @classmethod
    def fit(cls, r: Float[np.ndarray, "n d"]) -> Whitening:
        r"""Fits mean and covariance.

        Arguments:
            r: Residuals; with fewer than twice as many rows as columns only the variances are used.

        Raises:
            ValueError: If there are fewer than two residuals or one is not finite.
        """
        r = np.asarray(r, dtype=np.float64)
        if r.ndim != 2 or len(r) < 2 or not np.isfinite(r).all():
            raise ValueError(f"residuals must be finite with shape (n >= 2, d), got {r.shape}")
        covariance = np.atleast_2d(np.cov(r.T))
        if len(r) < 2 * r.shape[1]:
            covariance = np.diag(np.diag(covariance))
        return cls(r.mean(0), cholesky(covariance))

    def __call__(self, r: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        return np.asarray(np.linalg.solve(self.factor, (np.asarray(r, dtype=np.float64) - self.centre).T).T)

    def invert(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        r"""Residuals of whitened points.

        Arguments:
            z: Whitened points.
        """
        return np.asarray(z @ self.factor.T + self.centre)

    @property
    def volume(self) -> float:
        r"""Volume in residual space of a unit of whitened volume."""
        return float(np.prod(np.diag(self.factor)))


class AbstractFittedGauge(ABC):
    r"""A gauge ready to use.

    Example:
        >>> sorted(AbstractFittedGauge.__abstractmethods__)
        ['__call__', 'arrays', 'extent', 'whitening']
    """

    @property
    @abstractmethod
    def whitening(self) -> Whitening:
        r"""The whitening that comes first."""

    @abstractmethod
    def __call__(self, r: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        r"""How far out each residual is."""

    @abstractmethod
    def extent(self, limit: float) -> float:
        r"""Whitened radius outside which no residual is within the limit.

        Arguments:
            limit: The limit.
        """

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        r"""Everything that is needed to use the gauge again."""


class AbstractGauge(ABC):
    r"""How a gauge is fitted.

    Example:
        >>> sorted(AbstractGauge.__abstractmethods__)
        ['fit']
    """

    @abstractmethod
    def fit(self, r: Float[np.ndarray, "n d"], *, seed: int = 0) -> AbstractFittedGauge:
        r"""Fits the gauge on residuals.

        Arguments:
            r: Residuals.
            seed: Seed of whatever is random.
        """


@dataclass(frozen=True)
class FittedNorm(AbstractFittedGauge):
    r"""Whitened Euclidean norm: regions are ellipsoids.

    Arguments:
        whitening_: Centre and shape.

    Example:
        >>> gauge = FittedNorm(Whitening(np.zeros(2), np.eye(2)))
        >>> gauge(np.array([[3.0, 4.0]]))
        array([5.])
    """

    whitening_: Whitening

    @property
    def whitening(self) -> Whitening:
        r"""Centre and shape."""
        return self.whitening_

    def __call__(self, r: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        return np.asarray(np.linalg.norm(self.whitening_(r), axis=-1))

    def extent(self, limit: float) -> float:
        r"""The limit itself.

        Arguments:
            limit: The limit.
        """
        return limit

    def volume(self, limit: float) -> float:
        r"""Volume of the ellipsoid.

        Arguments:
            limit: The limit.
        """
        return (
            ball_volume(len(self.whitening_.centre))
            * max(limit, 0.0) ** len(self.whitening_.centre)
            * (self.whitening_.volume)
        )

    def arrays(self) -> dict[str, np.ndarray]:
        r"""Centre and factor."""
        return {"centre": self.whitening_.centre, "factor": self.whitening_.factor}


@dataclass(frozen=True)
class NormGauge(AbstractGauge):
    r"""Whitened Euclidean norm (Mahalanobis distance).

    Arguments:
        whiten: Whether centre and shape are those of the residuals; otherwise residuals are taken as they are, which is
            right for residuals that a posterior has whitened.

    Example:
        >>> r = np.random.default_rng(0).normal(size=(50, 3))
        >>> NormGauge().fit(r)(r).shape
        (50,)
    """

    whiten: bool = True

    def fit(self, r: Float[np.ndarray, "n d"], *, seed: int = 0) -> FittedNorm:
        r"""Fits centre and shape.

        Arguments:
            r: Residuals.
            seed: Not used.
        """
        d = np.shape(r)[1]
        return FittedNorm(Whitening.fit(r) if self.whiten else Whitening(np.zeros(d), np.eye(d)))


@dataclass(frozen=True)
class FittedBox(AbstractFittedGauge):
    r"""Largest of the standardised deviations from an interval: regions are boxes.

    Arguments:
        middle: Middle of each interval.
        half: Half width of each interval.

    Example:
        >>> FittedBox(np.zeros(2), np.array([1.0, 2.0]))(np.array([[0.5, 3.0]]))
        array([1.5])
    """

    middle: Float[np.ndarray, " d"]
    half: Float[np.ndarray, " d"]

    @property
    def whitening(self) -> Whitening:
        r"""Middle and half widths."""
        return Whitening(self.middle, np.diag(self.half))

    def __call__(self, r: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        return np.asarray(np.max(np.abs(np.asarray(r) - self.middle) / self.half, axis=-1))

    def extent(self, limit: float) -> float:
        r"""Radius of the ball around the box.

        Arguments:
            limit: The limit.
        """
        return limit * math.sqrt(len(self.middle))

    def volume(self, limit: float) -> float:
        r"""Volume of the box.

        Arguments:
            limit: The limit.
        """
        return float(np.prod(2 * max(limit, 0.0) * self.half))

    def arrays(self) -> dict[str, np.ndarray]:
        r"""Middle and half widths."""
        return {"middle": self.middle, "half": self.half}


@dataclass(frozen=True)
class BoxGauge(AbstractGauge):
    r"""Intervals between equal-tailed quantiles of each residual, scaled together.

    Arguments:
        level: Level of each interval before it is scaled.

    Raises:
        ValueError: If the level is not in (0, 1).

    Example:
        >>> r = np.random.default_rng(0).normal(size=(500, 2))
        >>> bool(np.all(np.abs(BoxGauge().fit(r).half - 1.96) < 0.3))
        True
    """

    level: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie in (0, 1), got {self.level:g}; try 0.95")

    def fit(self, r: Float[np.ndarray, "n d"], *, seed: int = 0) -> FittedBox:
        r"""Fits the intervals.

        Arguments:
            r: Residuals.
            seed: Not used.
        """
        tail = 0.5 * (1 - self.level)
        low, high = np.quantile(np.asarray(r, dtype=np.float64), [tail, 1 - tail], axis=0)
        half = 0.5 * (high - low)
        return FittedBox(0.5 * (high + low), np.maximum(half, 1e-12 * max(1.0, float(half.max()))))


def ball_volume(d: int) -> float:
    """Volume of the unit ball in d dimensions."""
    return float(math.pi ** (d / 2) / math.gamma(d / 2 + 1))
