r"""RoPE mixtures as predictions: their density of any reported quantities, in closed form, for the HPD score.

A mixture has weights $\alpha_{ij}$ over simulations, each known by $S$ draws. The targets $y$ (the logarithm where a
quantity is so scored) of draw $s$ of simulation $j$ are $y_{js}$, so the density of the targets is

$$
p(y \mid x_i) = (1 - \pi) \sum_j \alpha_{ij} \frac1S \sum_s \mathcal{N}\!\left(y;\, y_{js},\, \beta^2
\operatorname{diag} \sigma^2\right) + \pi\, p(y)
$$

with the prior's spread $\sigma$ of each target and kernels of Silverman's width around draws of the prior for $p(y)$.
No estimate from the posterior's own draws enters it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ...inference.outputs import OutputSpace
from ..rope.components import log_kernels
from ..rope.mixture import Mixture
from .prediction import Prediction
from .region import Coordinates

__all__ = ["MixtureDensity", "mixture_prediction"]

_LEAST = 1e-6
"""Weight, relative to the largest, below which a simulation is left out of a case's density."""


@dataclass(frozen=True)
class MixtureDensity:
    r"""Density of some quantities under the mixtures of N cases.

    Arguments:
        weights: Weights of the simulations for each case; rows sum to one.
        centres: Draws of each simulation, as the targets are scored.
        width: Width of the kernels around them.
        prior: Draws of the prior, as the targets are scored.
        prior_width: Width of the kernels around those.
        prior_share: Share of the prior.

    Example:
        >>> one, zero = np.ones(1), np.zeros((1, 1, 1))
        >>> density = MixtureDensity(np.ones((1, 1)), zero, one, zero[0], one, 0.0)
        >>> round(float(np.exp(density.log_prob(np.array([0]), np.zeros((1, 1, 1)))[0, 0])), 3)
        0.399
    """

    weights: Float[np.ndarray, "N n"]
    centres: Float[np.ndarray, "n S d"]
    width: Float[np.ndarray, " d"]
    prior: Float[np.ndarray, "M d"]
    prior_width: Float[np.ndarray, " d"]
    prior_share: float

    @classmethod
    def of(cls, mixture: Mixture, outputs: OutputSpace, coordinates: Coordinates, *, seed: int = 0) -> MixtureDensity:
        r"""The density of some reported quantities.

        Arguments:
            mixture: Posteriors of N recordings.
            outputs: Outputs of the estimator and what follows from them.
            coordinates: Quantities, and which are scored on the logarithm.
            seed: Seed of the draws of the prior.

        Raises:
            ValueError: If a quantity is not reported, or the mixture has components without width.
        """
        unknown = sorted(set(coordinates.names) - set(outputs.reported))
        if unknown:
            raise ValueError(f"quantities must be among {list(outputs.reported)}, got {unknown}")
        if mixture.bandwidth <= 0:
            raise ValueError("the mixture must have a bandwidth above 0 for a density of derived quantities, got 0")
        drawn = mixture.prior.sample(np.random.default_rng([seed, 8]), 2000)
        prior = _targets(drawn, outputs, coordinates)
        centres = _targets(
            mixture.components.space.constrain(mixture.components.z.astype(np.float64)), outputs, coordinates
        )
        d, spread = prior.shape[1], prior.std(0) + 1e-12
        silverman = (4.0 / (len(prior) * (d + 2))) ** (1.0 / (d + 4))
        return cls(mixture.weights, centres, mixture.bandwidth * spread, prior, silverman * spread, mixture.prior_share)

    def log_prob(self, rows: np.ndarray, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m"]:
        r"""Log density of candidates.

        Arguments:
            rows: Which cases.
            y: Candidates for each of them, as they are scored.
        """
        y = np.asarray(y, dtype=np.float64)
        found = np.empty(y.shape[:2])
        for i, row in enumerate(np.asarray(rows)):
            weights = self.weights[row]
            kept = np.flatnonzero(weights > _LEAST * weights.max())
            table = log_kernels(y[i], self.centres[kept], self.width) + np.log(weights[kept] / weights[kept].sum())
            top = table.max(1)
            found[i] = np.log(np.exp(table - top[:, None]).sum(1)) + top
            if self.prior_share:
                before = log_kernels(y[i], self.prior[None], self.prior_width)[:, 0]
                own = np.log1p(-self.prior_share) + found[i]
                found[i] = np.logaddexp(own, np.log(self.prior_share) + before)
        return found

    def latent(self, rows: np.ndarray, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m d"]:
        r"""Refused: a mixture has no latent space.

        Arguments:
            rows: Not used.
            y: Not used.

        Raises:
            ValueError: Always.
        """
        raise ValueError("a mixture has no latent space: use HPD, or the latent norm of a flow")

    def sample(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "N n d"]:
        r"""Draws from the density of each case.

        Arguments:
            rng: Source of randomness.
            n: Draws a case.
        """
        m, s, d = self.centres.shape
        draws = np.empty((len(self.weights), n, d))
        for i, weights in enumerate(self.weights):
            which = rng.choice(m, size=n, p=weights / weights.sum())
            draws[i] = self.centres[which, rng.integers(s, size=n)] + self.width * rng.normal(size=(n, d))
            wide = np.flatnonzero(rng.random(n) < self.prior_share)
            around = self.prior[rng.integers(len(self.prior), size=len(wide))]
            draws[i, wide] = around + self.prior_width * rng.normal(size=(len(wide), d))
        return draws


def mixture_prediction(
    mixture: Mixture, outputs: OutputSpace, coordinates: Coordinates, *, n_draws: int = 500, seed: int = 0
) -> Prediction:
    r"""RoPE posteriors as a prediction with draws and a closed density: ready for ``HPD`` and every other score.

    Arguments:
        mixture: Posteriors of N recordings, from ``RoPE.posterior``.
        outputs: Outputs of the estimator, ``bundle.outputs``.
        coordinates: Quantities, and which are scored on the logarithm.
        n_draws: Draws of each case.
        seed: Seed of the draws.

    Example:
        >>> prediction = mixture_prediction(rope.posterior(x), bundle.outputs, coordinates)  # doctest: +SKIP
        >>> HPD().score(prediction, coordinates.transform(labels))  # doctest: +SKIP
    """
    density = MixtureDensity.of(mixture, outputs, coordinates, seed=seed)
    return Prediction.from_draws(density.sample(np.random.default_rng([seed, 12]), n_draws), density=density)


def _targets(theta: np.ndarray, outputs: OutputSpace, coordinates: Coordinates) -> np.ndarray:
    """Reported quantities of draws, as scored; without a logarithm, that of the catalogue's least value."""
    derived = outputs.derive(theta)
    scales = zip(coordinates.names, coordinates.log, strict=True)
    floors = np.array([max(outputs.floors[name], 1e-6) if log else -np.inf for name, log in scales])
    return coordinates.transform(np.stack([derived[n] for n in coordinates.names], axis=-1).clip(min=floors))
