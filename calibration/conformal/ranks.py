r"""Optimal-transport ranks of residuals: entropic (OTCP), exact and semidiscrete (OT-CP).

A map $T$ from residuals to the spherical uniform distribution gives each residual a vector rank; the gauge is
$\|T(r)\|$, the share of residuals nearer to the centre, whatever the shape of their distribution. The entropic map is

$$
T(z) = \sum_j p_j(z)\, u_j, \qquad p_j(z) \propto w_j \exp\{(g_j - \|z - u_j\|^2)/\varepsilon\},
$$

with $g$ the potential of the reference points $u_j$; without regularisation the rank is the reference point whose
Laguerre cell holds $z$. Residuals are whitened first and divided by $2.5 \sqrt d$, about the largest norm of a
Gaussian sample: that is the unit of epsilon. A rank saturates at one, so beyond the farthest residual seen in the fit
the whitened norm goes on; cells make ties, which are broken by the norm.

References:
    | Multivariate Conformal Prediction using Optimal Transport (Klein et al., 2025), https://arxiv.org/abs/2502.03609
    | Optimal Transport-based Conformal Prediction (Thurin et al., 2025), https://arxiv.org/abs/2501.18991
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..transport import Cost, EntropicConfig, entropic, exact_plan, semidiscrete_potential
from .gauge import AbstractFittedGauge, AbstractGauge, Whitening
from .reference import Radii, Sampling, shells, spherical_points

__all__ = ["EntropicRank", "ExactRank", "FittedCells", "FittedEntropic", "SemidiscreteRank"]

_BLOCK = 1 << 18
"""Entries of the kernel between candidates and reference points held at a time: a megabyte stays in the cache."""

_STEEP = 5.0
"""Growth of the gauge beyond the farthest residual, in units of that residual's norm."""

_FAR = 1e6
"""Residuals beyond this many units take the rank of their direction there: single precision would overflow."""

_COARSE = 1024
"""Reference points of the first, coarse solution."""


@dataclass(frozen=True)
class FittedEntropic(AbstractFittedGauge):
    r"""Norm of the entropic rank, to the power that makes it the share of residuals nearer to the centre.

    Arguments:
        whitening_: Centre and shape of the residuals of the fit.
        points: Reference points.
        offset: Potential over epsilon, less what belongs to the points, plus log weight.
        epsilon: Regularisation.
        reach: Largest whitened norm of the fit.
        error: What is missing from the target marginal, in L1.
        power: Power of the norm that is uniform on [0, 1] under the reference.

    Example:
        >>> r = np.random.default_rng(0).normal(size=(200, 2))
        >>> rank = EntropicRank(n_reference=256).fit(r)
        >>> bool(abs(rank(r).mean() - 0.5) < 0.05), bool(rank(np.array([[99.0, 0.0]]))[0] > 1)
        (True, True)
    """

    whitening_: Whitening
    points: Float[np.ndarray, "m d"]
    offset: Float[np.ndarray, " m"]
    epsilon: float
    reach: float
    error: float = 0.0
    power: float = 1.0

    @property
    def whitening(self) -> Whitening:
        r"""Centre and shape of the residuals of the fit."""
        return self.whitening_

    def __call__(self, r: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        z = self.whitening_(r)
        beyond = np.maximum(np.linalg.norm(z, axis=1) / self.reach - 1.0, 0.0)
        return np.asarray(np.linalg.norm(self.ranks(z), axis=1) ** self.power + _STEEP * beyond)

    def ranks(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        r"""Vector ranks of whitened residuals.

        Arguments:
            z: Whitened residuals.
        """
        d = z.shape[1]
        slopes = (2 / self.epsilon * self.points.T).astype(np.float32)
        offset = self.offset.astype(np.float32)
        values = np.concatenate([self.points, np.ones((len(self.points), 1))], axis=1).astype(np.float32)
        away = np.linalg.norm(z, axis=1, keepdims=True) / unit(d)
        scaled = (z / unit(d) / np.maximum(away / _FAR, 1.0)).astype(np.float32)
        found = np.empty((len(z), d + 1))
        for part in parts(len(z), len(self.points)):
            kernel = scaled[part] @ slopes
            kernel += offset
            kernel -= kernel.max(axis=1, keepdims=True)
            np.exp(kernel, out=kernel)
            found[part] = kernel @ values
        return np.asarray(found[:, :d] / found[:, d:])

    def extent(self, limit: float) -> float:
        r"""Whitened radius outside which no residual is within the limit.

        Arguments:
            limit: The limit.
        """
        return self.reach * (1.0 + max(limit, 0.0) / _STEEP)

    def arrays(self) -> dict[str, np.ndarray]:
        r"""Everything that is needed to use the gauge again."""
        numbers = np.array([self.epsilon, self.reach, self.error, self.power])
        shape = {"centre": self.whitening_.centre, "factor": self.whitening_.factor}
        return {**shape, "points": self.points, "offset": self.offset, "numbers": numbers}


@dataclass(frozen=True)
class EntropicRank(AbstractGauge):
    r"""Entropic map to the spherical uniform distribution (OTCP).

    Arguments:
        epsilon: Regularisation, in units of squared whitened residuals over $6.25 d$.
        n_reference: Number of reference points.
        sampling: Directions of the reference points.
        tolerance: L1 error of the target marginal at which the solver stops.
        iterations: Most iterations on the full reference.
        radii: Radii of the reference points: of the spherical uniform distribution, or uniform in the ball, whose
            regions are often a little smaller.

    Raises:
        ValueError: If a number is not positive.

    Example:
        >>> EntropicRank(epsilon=0.01).n_reference
        1024
    """

    epsilon: float = 0.03
    n_reference: int = 1024
    sampling: Sampling = "fresh"
    tolerance: float = 1e-2
    iterations: int = 100
    radii: Radii = "spherical"

    def __post_init__(self) -> None:
        if not (self.epsilon > 0 and self.n_reference >= 4 and self.tolerance > 0 and self.iterations >= 1):
            raise ValueError(
                f"epsilon, tolerance and iterations must be positive and n_reference at least 4, got {self.epsilon}, "
                f"{self.tolerance}, {self.iterations} and {self.n_reference}"
            )

    def fit(self, r: Float[np.ndarray, "n d"], *, seed: int = 0) -> FittedEntropic:
        r"""Whitens the residuals and solves for the potential of the reference points.

        Arguments:
            r: Residuals.
            seed: Seed of the reference points.
        """
        whitening = Whitening.fit(r)
        z = whitening(r)
        d = z.shape[1]
        points, weights = spherical_points(self.n_reference, d, sampling=self.sampling, radii=self.radii, seed=seed)
        source = z / unit(d)
        start = self._coarse(source, points, weights, seed)
        config = EntropicConfig(tolerance=self.tolerance, iterations=self.iterations)
        cost = Cost.of_points(source, points, "sqeuclidean")
        solved = entropic(cost, epsilon=self.epsilon, b=weights, config=config, start=start)
        offset = (solved.g - (points**2).sum(1)) / self.epsilon + np.log(weights)
        reach = float(np.linalg.norm(z, axis=1).max())
        power = float(d) if self.radii == "ball" else 1.0
        return FittedEntropic(whitening, points, offset - offset.max(), self.epsilon, reach, solved.error, power)

    def _coarse(
        self, source: np.ndarray, points: np.ndarray, weights: np.ndarray, seed: int
    ) -> Float[np.ndarray, " m"] | None:
        """The potential of all reference points, extended from a solution on some of them."""
        if len(points) <= 2 * _COARSE:
            return None
        some = np.sort(np.random.default_rng([seed, 2]).choice(len(points), _COARSE, replace=False))
        config = EntropicConfig(tolerance=1e-2, iterations=100)
        own = weights[some] / weights[some].sum()
        small = entropic(
            Cost.of_points(source, points[some], "sqeuclidean"), epsilon=self.epsilon, b=own, config=config
        )
        found = np.empty(len(points))
        height = (small.f / self.epsilon - (source**2).sum(1) / self.epsilon).astype(np.float32)
        for part in parts(len(points), len(source)):
            logits = (points[part] * (2 / self.epsilon)).astype(np.float32) @ source.T.astype(np.float32)
            logits += height
            top = logits.max(axis=1, keepdims=True)
            logits -= top
            total = np.exp(logits, out=logits).mean(axis=1)
            found[part] = -self.epsilon * (np.log(total) + top[:, 0]) + (points[part] ** 2).sum(1)
        return found


@dataclass(frozen=True)
class FittedCells(AbstractFittedGauge):
    r"""Norm of the reference point whose Laguerre cell holds the residual; the norm of the residual breaks ties.

    Arguments:
        whitening_: Centre and shape of the residuals of the fit.
        points: Reference points.
        offset: Potential less squared norm of each.
        reach: Largest whitened norm of the fit.

    Example:
        >>> r = np.random.default_rng(0).normal(size=(100, 2))
        >>> cells = ExactRank().fit(r)
        >>> bool(np.corrcoef(np.sort(cells(r)), np.arange(100))[0, 1] > 0.95)
        True
    """

    whitening_: Whitening
    points: Float[np.ndarray, "m d"]
    offset: Float[np.ndarray, " m"]
    reach: float

    @property
    def whitening(self) -> Whitening:
        r"""Centre and shape of the residuals of the fit."""
        return self.whitening_

    def __call__(self, r: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        z = self.whitening_(r)
        scaled = z / unit(z.shape[1])
        cell = np.empty(len(z), dtype=np.int64)
        for part in parts(len(z), 2 * len(self.points)):
            cell[part] = (scaled[part] @ (2 * self.points.T) + self.offset).argmax(axis=1)
        far = np.linalg.norm(z, axis=1) / self.reach
        radius = np.linalg.norm(self.points, axis=1)[cell]
        gap = 1.0 / len(np.unique(radius.round(12))) if len(radius) else 1.0
        return np.asarray(radius + 1e-3 * min(gap, 1e-3) * far / (1 + far) + _STEEP * np.maximum(far - 1.0, 0.0))

    def extent(self, limit: float) -> float:
        r"""Whitened radius outside which no residual is within the limit.

        Arguments:
            limit: The limit.
        """
        return self.reach * (1.0 + max(limit, 0.0) / _STEEP)

    def arrays(self) -> dict[str, np.ndarray]:
        r"""Everything that is needed to use the gauge again."""
        shape = {"centre": self.whitening_.centre, "factor": self.whitening_.factor}
        return {**shape, "points": self.points, "offset": self.offset, "numbers": np.array([self.reach])}


@dataclass(frozen=True)
class ExactRank(AbstractGauge):
    r"""Exact discrete transport to as many reference points as residuals (OT-CP).

    Arguments:
        most: Residuals used at most; the plan costs the cube of their number.

    Example:
        >>> ExactRank(most=500).most
        500
    """

    most: int = 2000

    def fit(self, r: Float[np.ndarray, "n d"], *, seed: int = 0) -> FittedCells:
        r"""Whitens the residuals and solves the assignment.

        Arguments:
            r: Residuals.
            seed: Seed of the reference points, and of which residuals are used if there are too many.
        """
        whitening = Whitening.fit(r)
        z = whitening(r)
        rng = np.random.default_rng([seed, 3])
        used = z if len(z) <= self.most else z[rng.choice(len(z), self.most, replace=False)]
        points = shells(len(used), z.shape[1], seed=seed)
        plan = exact_plan(Cost.of_points(used / unit(z.shape[1]), points, "sqeuclidean"))
        return FittedCells(whitening, points, plan.g - (points**2).sum(1), float(np.linalg.norm(z, axis=1).max()))


@dataclass(frozen=True)
class SemidiscreteRank(AbstractGauge):
    r"""Semidiscrete transport: from residuals smoothed by Gaussian kernels, which have a density, to reference points.

    Arguments:
        n_reference: Number of reference points.
        bandwidth: Width of a kernel in units of Silverman's rule.
        iterations: Batches of the stochastic solver.
        batch: Residuals drawn for a batch.

    Raises:
        ValueError: If a number is not positive.

    Example:
        >>> SemidiscreteRank(n_reference=64).iterations
        1500
    """

    n_reference: int = 256
    bandwidth: float = 0.5
    iterations: int = 1500
    batch: int = 128

    def __post_init__(self) -> None:
        if not (self.n_reference >= 4 and self.bandwidth >= 0 and self.iterations >= 1 and self.batch >= 1):
            raise ValueError("n_reference must be at least 4, bandwidth not negative, iterations and batch positive")

    def fit(self, r: Float[np.ndarray, "n d"], *, seed: int = 0) -> FittedCells:
        r"""Whitens the residuals and solves for the potential of the reference points.

        Arguments:
            r: Residuals.
            seed: Seed of the reference points and of the solver's draws.
        """
        whitening = Whitening.fit(r)
        z = whitening(r)
        n, d = z.shape
        width = self.bandwidth * (4 / (d + 2)) ** (1 / (d + 4)) * n ** (-1 / (d + 4))
        points, weights = spherical_points(self.n_reference, d, seed=seed)
        rng = np.random.default_rng([seed, 4])

        def sampler(k: int) -> Float[np.ndarray, "k d"]:
            return np.asarray((z[rng.integers(n, size=k)] + width * rng.normal(size=(k, d))) / unit(d))

        g = semidiscrete_potential(
            sampler, points, epsilon=0.0, b=weights, iterations=self.iterations, batch=self.batch
        )
        return FittedCells(whitening, points, g - (points**2).sum(1), float(np.linalg.norm(z, axis=1).max()))


def unit(d: int) -> float:
    """What whitened residuals are divided by: about the largest norm of a Gaussian sample."""
    return 2.5 * float(np.sqrt(d))


def parts(n: int, width: int) -> list[slice]:
    """Blocks of rows."""
    step = max(1, _BLOCK // width)
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]
