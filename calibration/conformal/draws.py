r"""Scores of posterior draws and densities: box of quantiles, level of highest density, latent norm, nearest draw.

- *quantile box* (conformalised quantile regression, the largest over the targets): the smallest common factor by
  which the intervals between posterior quantiles must grow.
- *HPD level*: the posterior mass of candidates denser than this one. It goes on beyond the least dense draw.
- *latent norm*: distance from the origin in the latent space of one flow.
- *PCP* (probabilistic conformal prediction): distance to the nearest posterior draw; regions are unions of balls.

References:
    | Conformalized Quantile Regression (Romano, Patterson & Candes, 2019), https://arxiv.org/abs/1905.03222
    | Probabilistic Conformal Prediction Using Conditional Random Samples (Wang et al., 2023),
      https://arxiv.org/abs/2206.06584
    | CD-split and HPD-split (Izbicki, Shimizu & Stern, 2022), https://arxiv.org/abs/2007.12778
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .gauge import ball_volume
from .prediction import DensityLike, Prediction
from .score import AbstractFittedScore, AbstractScore

__all__ = ["HPD", "PCP", "FittedPCP", "KernelDensity", "LatentNorm", "QuantileBox"]

_CHUNK = 4_000_000
"""Distances held at a time."""


@dataclass(frozen=True)
class KernelDensity:
    r"""Gaussian kernels on the draws of each case, shaped like their covariance.

    Arguments:
        draws: Draws from the posterior of each case.
        factor: Lower Cholesky factor of each case's covariance.
        bandwidth: Width of a kernel in standard deviations of the draws.

    Example:
        >>> prediction = Prediction.from_draws(np.random.default_rng(0).normal(size=(1, 2000, 1)))
        >>> kde = KernelDensity.of(prediction)
        >>> round(float(np.exp(kde.log_prob(np.array([0]), np.zeros((1, 1, 1)))[0, 0])), 1)
        0.4
    """

    draws: Float[np.ndarray, "N S d"]
    factor: Float[np.ndarray, "N d d"]
    bandwidth: float

    @classmethod
    def of(cls, prediction: Prediction, *, widen: float = 1.0, most: int = 500) -> KernelDensity:
        r"""Silverman's bandwidth for the draws of a prediction.

        Arguments:
            prediction: Cases with draws.
            widen: Factor on the bandwidth.
            most: Draws used at most.
        """
        prediction.need("draws", "KernelDensity")
        draws = prediction.draws[:, :most]
        n, d = draws.shape[1:]
        width = (4 / (d + 2)) ** (1 / (d + 4)) * n ** (-1 / (d + 4))
        return cls(draws, prediction.factor, widen * width)

    def log_prob(self, rows: np.ndarray, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m"]:
        r"""Log density of candidates.

        Arguments:
            rows: Which cases.
            y: Candidates for each of them.
        """
        n_draws, d = self.draws.shape[1:]
        found = np.empty(y.shape[:2])
        for i, row in enumerate(rows):
            centres = np.linalg.solve(self.factor[row], self.draws[row].T).T / self.bandwidth
            points = np.linalg.solve(self.factor[row], y[i].T).T / self.bandwidth
            norm = -0.5 * d * math.log(2 * math.pi) - math.log(n_draws) - d * math.log(self.bandwidth)
            norm -= float(np.log(np.diag(self.factor[row])).sum())
            for part in _parts(len(points), n_draws):
                found[i, part] = norm + _log_sum_exp(-0.5 * _squared(points[part], centres))
        return found

    def latent(self, rows: np.ndarray, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m d"]:
        r"""Refused: kernels have no latent space.

        Arguments:
            rows: Not used.
            y: Not used.

        Raises:
            ValueError: Always.
        """
        raise ValueError("a kernel density has no latent space: give the density of a flow")

    def sample(self, row: int, n: int, rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
        r"""Draws from the kernels of one case.

        Arguments:
            row: Which case.
            n: Number of draws.
            rng: Source of randomness.
        """
        centres = self.draws[row][rng.integers(self.draws.shape[1], size=n)]
        return np.asarray(centres + self.bandwidth * rng.normal(size=centres.shape) @ self.factor[row].T)


@dataclass(frozen=True)
class QuantileBox(AbstractScore, AbstractFittedScore):
    r"""Factor by which the box of posterior quantiles must grow to hold a candidate.

    Arguments:
        level: Level of each central interval before it grows.

    Example:
        >>> draws = np.random.default_rng(0).normal(size=(1, 4000, 2))
        >>> score = QuantileBox().score(Prediction.from_draws(draws), np.zeros((1, 2)))
        >>> -1.1 < float(score[0]) < -0.9
        True
    """

    level: float = 0.95

    def fit(self, prediction: Prediction, y: Float[np.ndarray, "N d"], *, seed: int = 0) -> QuantileBox:
        r"""Nothing to fit.

        Arguments:
            prediction: Cases, which must have draws.
            y: Not used.
            seed: Not used.
        """
        prediction.need("draws", "QuantileBox")
        return self

    def evaluate(self, prediction: Prediction, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m"]:
        r"""Scores candidates.

        Arguments:
            prediction: Cases.
            y: Candidates for each case.
        """
        middle, half = self._box(prediction)
        gap = np.abs(prediction.candidates(y) - middle[:, None])
        return np.asarray(np.max(gap / half[:, None], axis=-1) - 1.0)

    def propose(
        self, prediction: Prediction, limit: float, n: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        r"""Uniform points in the box, which is the region.

        Arguments:
            prediction: One case.
            limit: The region is where the score is at most this.
            n: Number of points.
            rng: Source of randomness.
        """
        middle, half = self._box(prediction)
        grown = half[0] * max(1.0 + limit, 0.0)
        points = middle[0] + grown * rng.uniform(-1, 1, size=(n, prediction.dim))
        return points, np.full(n, float(np.prod(2 * grown)))

    def volumes(
        self, prediction: Prediction, limits: Float[np.ndarray, " N"], *, n: int = 0, seed: int = 0
    ) -> Float[np.ndarray, " N"]:
        r"""Volumes of the boxes.

        Arguments:
            prediction: Cases.
            limits: Limit of each case.
            n: Not used.
            seed: Not used.
        """
        _, half = self._box(prediction)
        return np.asarray(np.prod(2 * half * np.maximum(1.0 + np.asarray(limits), 0.0)[:, None], axis=1))

    def ranges(self, prediction: Prediction, limit: float, *, n: int = 0, seed: int = 0) -> Float[np.ndarray, "d 2"]:
        r"""Ends of the box of one case.

        Arguments:
            prediction: One case.
            limit: The region is where the score is at most this.
            n: Not used.
            seed: Not used.
        """
        middle, half = self._box(prediction)
        grown = half[0] * max(1.0 + limit, 0.0)
        return np.stack([middle[0] - grown, middle[0] + grown], axis=1)

    def _box(self, prediction: Prediction) -> tuple[Float[np.ndarray, "N d"], Float[np.ndarray, "N d"]]:
        prediction.need("draws", "QuantileBox")
        tail = 0.5 * (1 - self.level)
        low, high = np.quantile(prediction.draws, [tail, 1 - tail], axis=1)
        return 0.5 * (low + high), np.maximum(0.5 * (high - low), 1e-300)


@dataclass(frozen=True)
class HPD(AbstractScore, AbstractFittedScore):
    r"""Posterior mass of candidates denser than this one.

    The density is that of the prediction (closed form for a flow or a mixture), else Gaussian kernels on the draws.
    Between the draws' densities the level is interpolated in log density; below the least dense draw it is one plus
    the fall in log density in units of the draws' own spread.

    Arguments:
        most: Draws used at most.

    Example:
        >>> prediction = Prediction.from_draws(np.random.default_rng(0).normal(size=(1, 500, 2)))
        >>> near, far = HPD().evaluate(prediction, np.array([[[0.0, 0.0], [9.0, 9.0]]]))[0]
        >>> bool(near < 0.2 and far > 1)
        True
    """

    most: int = 500

    def fit(self, prediction: Prediction, y: Float[np.ndarray, "N d"], *, seed: int = 0) -> HPD:
        r"""Nothing to fit.

        Arguments:
            prediction: Cases, which must have draws.
            y: Not used.
            seed: Not used.
        """
        prediction.need("draws", "HPD")
        return self

    def evaluate(self, prediction: Prediction, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m"]:
        r"""Scores candidates.

        Arguments:
            prediction: Cases.
            y: Candidates for each case.
        """
        prediction.need("draws", "HPD")
        draws = prediction.draws[:, : self.most]
        kernels = KernelDensity.of(prediction, most=self.most)
        density: DensityLike = prediction.density[0] if prediction.density else kernels
        rows = prediction.rows if prediction.density else np.arange(len(prediction))
        own = np.sort(density.log_prob(rows, draws), axis=1)
        new = density.log_prob(rows, prediction.candidates(y))
        masses = np.linspace(1, 0, own.shape[1] + 2)[1:-1]
        found = np.empty(new.shape)
        for i in range(len(prediction)):
            spread = max(float(own[i, -1] - own[i, 0]), 1e-12)
            level = np.interp(new[i], own[i], masses)
            beyond = np.minimum(np.maximum(own[i, 0] - new[i], 0) / spread, 1e12)
            above = np.maximum(new[i] - own[i, -1], 0)
            found[i] = level + beyond - masses[-1] * (1 - np.exp(-above))
        return found

    def propose(
        self, prediction: Prediction, limit: float, n: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        r"""Draws of wide kernels on the posterior's draws, weighted by their density.

        Arguments:
            prediction: One case.
            limit: Not used.
            n: Number of points.
            rng: Source of randomness.
        """
        return propose_from_draws(prediction, n, rng)


@dataclass(frozen=True)
class LatentNorm(AbstractScore, AbstractFittedScore):
    r"""Distance from the origin in the latent space of a flow.

    Example:
        >>> LatentNorm().fit(Prediction(np.zeros((1, 1))), np.zeros((1, 1)))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: LatentNorm needs a density: give density=
    """

    def fit(self, prediction: Prediction, y: Float[np.ndarray, "N d"], *, seed: int = 0) -> LatentNorm:
        r"""Nothing to fit.

        Arguments:
            prediction: Cases, which must have a density with a latent space.
            y: Not used.
            seed: Not used.
        """
        prediction.need("density", "LatentNorm")
        return self

    def evaluate(self, prediction: Prediction, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m"]:
        r"""Scores candidates.

        Arguments:
            prediction: Cases.
            y: Candidates for each case.
        """
        prediction.need("density", "LatentNorm")
        latent = prediction.density[0].latent(prediction.rows, prediction.candidates(y))
        return np.asarray(np.linalg.norm(latent, axis=-1))

    def propose(
        self, prediction: Prediction, limit: float, n: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        r"""Draws of wide kernels on the posterior's draws, weighted by their density.

        Arguments:
            prediction: One case.
            limit: Not used.
            n: Number of points.
            rng: Source of randomness.
        """
        return propose_from_draws(prediction, n, rng)


@dataclass(frozen=True)
class FittedPCP(AbstractFittedScore):
    r"""Scaled distance to the nearest posterior draw.

    Arguments:
        scale: Scale of each target.
        most: Draws used at most.

    Example:
        >>> prediction = Prediction.from_draws(np.zeros((1, 5, 1)) + np.arange(5.0)[None, :, None])
        >>> FittedPCP(np.ones(1), 5).score(prediction, np.array([[6.0]]))
        array([2.])
    """

    scale: Float[np.ndarray, " d"]
    most: int

    def evaluate(self, prediction: Prediction, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m"]:
        r"""Scores candidates.

        Arguments:
            prediction: Cases.
            y: Candidates for each case.
        """
        prediction.need("draws", "PCP")
        y = prediction.candidates(y) / self.scale
        draws = prediction.draws[:, : self.most] / self.scale
        found = np.empty(y.shape[:2])
        for i in range(len(y)):
            for part in _parts(y.shape[1], draws.shape[1]):
                found[i, part] = np.sqrt(np.maximum(_squared(y[i, part], draws[i]).min(axis=1), 0.0))
        return found

    def propose(
        self, prediction: Prediction, limit: float, n: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        r"""Points of a random ball each, weighted by how many balls hold them.

        Arguments:
            prediction: One case.
            limit: Radius of the balls.
            n: Number of points.
            rng: Source of randomness.
        """
        draws = prediction.draws[0, : self.most] / self.scale
        d = draws.shape[1]
        step = rng.normal(size=(n, d))
        step *= (max(limit, 0.0) * rng.random(n) ** (1 / d) / np.linalg.norm(step, axis=1))[:, None]
        points = draws[rng.integers(len(draws), size=n)] + step
        held = np.zeros(n)
        for part in _parts(n, len(draws)):
            held[part] = (_squared(points[part], draws) <= limit**2 * (1 + 1e-9)).sum(axis=1)
        whole = len(draws) * ball_volume(d) * max(limit, 0.0) ** d * float(np.prod(self.scale))
        return points * self.scale, whole / np.maximum(held, 1)


@dataclass(frozen=True)
class PCP(AbstractScore):
    r"""Scaled distance to the nearest posterior draw.

    Arguments:
        most: Draws used at most.

    Example:
        >>> prediction = Prediction.from_draws(np.random.default_rng(0).normal(size=(3, 50, 2)))
        >>> PCP().fit(prediction, np.zeros((3, 2))).scale.shape
        (2,)
    """

    most: int = 200

    def fit(self, prediction: Prediction, y: Float[np.ndarray, "N d"], *, seed: int = 0) -> FittedPCP:
        r"""Scales each target by its mean posterior standard deviation.

        Arguments:
            prediction: Cases, which must have draws.
            y: Not used.
            seed: Not used.
        """
        prediction.need("draws", "PCP")
        return FittedPCP(np.maximum(prediction.draws.std(1).mean(0), 1e-300), self.most)


def propose_from_draws(
    prediction: Prediction, n: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """Points of wide kernels on the draws of one case, and one over their density."""
    wide = KernelDensity.of(prediction, widen=2.5, most=200)
    points = wide.sample(0, n, rng)
    return points, np.exp(-wide.log_prob(np.array([0]), points[None])[0])


def _parts(n: int, width: int) -> list[slice]:
    step = max(1, _CHUNK // max(width, 1))
    return [slice(i, i + step) for i in range(0, n, step)]


def _squared(a: Float[np.ndarray, "m d"], b: Float[np.ndarray, "s d"]) -> Float[np.ndarray, "m s"]:
    return np.asarray((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T)


def _log_sum_exp(v: Float[np.ndarray, "m s"]) -> Float[np.ndarray, " m"]:
    top = v.max(axis=1)
    return np.asarray(top + np.log(np.exp(v - top[:, None]).sum(axis=1)))
