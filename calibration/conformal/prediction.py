r"""What is known of the targets before they are measured: a point, a spread, draws, a density; one row a case.

Scores read from a [`Prediction`][pulsebayes.calibration.conformal.prediction.Prediction] what they need: the mean alone
(any regression), mean and Cholesky factor (a posterior's, or one learned on residuals), draws (any posterior), or a
density with the latent coordinates of a flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from jaxtyping import Float

__all__ = ["DensityLike", "Prediction"]


class DensityLike(Protocol):
    r"""Density of the targets given each case.

    Example:
        >>> hasattr(DensityLike, "log_prob")
        True
    """

    def log_prob(self, rows: np.ndarray, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m"]:
        r"""Log density of candidates.

        Arguments:
            rows: Which cases.
            y: Candidates for each of them.
        """

    def latent(self, rows: np.ndarray, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m d"]:
        r"""Latent coordinates of candidates, standard normal if the density is right.

        Arguments:
            rows: Which cases.
            y: Candidates for each of them.
        """


@dataclass(frozen=True)
class Prediction:
    r"""What a predictor says of the targets of N cases.

    Arguments:
        mean: Point prediction.
        factor: Lower Cholesky factor of the covariance of each case; no rows where there is none.
        draws: Draws from the posterior of each case; no draws where there are none.
        x: Features, for scores that look at neighbours; no columns where there are none.
        rows: Number of each case in the density's own count.
        density: Densities, in a tuple of at most one.

    Raises:
        ValueError: If shapes do not fit or a value is not finite.

    Example:
        >>> prediction = Prediction.from_draws(np.random.default_rng(0).normal(size=(5, 400, 2)))
        >>> prediction.mean.shape, prediction.factor.shape, len(prediction[:2])
        ((5, 2), (5, 2, 2), 2)
    """

    mean: Float[np.ndarray, "N d"]
    factor: Float[np.ndarray, "F d d"] = field(default_factory=lambda: np.zeros((0, 0, 0)))
    draws: Float[np.ndarray, "N S d"] = field(default_factory=lambda: np.zeros((0, 0, 0)))
    x: Float[np.ndarray, "N p"] = field(default_factory=lambda: np.zeros((0, 0)))
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    density: tuple[DensityLike, ...] = ()

    def __post_init__(self) -> None:
        mean = np.asarray(self.mean, dtype=np.float64)
        if mean.ndim != 2 or not np.isfinite(mean).all():
            raise ValueError(f"mean must be finite with shape (N, d), got {mean.shape}; for one target use [:, None]")
        n, d = mean.shape
        shapes = {"factor": (n, d, d), "draws": (n, None, d), "x": (n, None), "rows": (n,)}
        for name, shape in shapes.items():
            value = np.asarray(getattr(self, name))
            fits = value.ndim == len(shape) and all(w in (None, g) for w, g in zip(shape, value.shape, strict=True))
            if value.size and not fits:
                raise ValueError(f"{name} must have shape {shape} to go with mean {mean.shape}, got {value.shape}")
            object.__setattr__(self, name, value)
        object.__setattr__(self, "mean", mean)
        if not self.rows.size:
            object.__setattr__(self, "rows", np.arange(n))

    @classmethod
    def from_draws(
        cls,
        draws: Float[np.ndarray, "N S d"],
        *,
        x: Float[np.ndarray, "N p"] | Sequence[object] = (),
        density: DensityLike | Sequence[DensityLike] = (),
    ) -> Prediction:
        r"""Mean and Cholesky factor of posterior draws.

        Arguments:
            draws: Draws from the posterior of each case.
            x: Features.
            density: Density of the targets.

        Raises:
            ValueError: If the draws are not finite or fewer than the targets plus two.
        """
        draws = np.asarray(draws, dtype=np.float64)
        if draws.ndim != 3 or not np.isfinite(draws).all():
            raise ValueError(f"draws must be finite with shape (N, S, d), got {draws.shape}")
        n, count, d = draws.shape
        if count < d + 2:
            raise ValueError(f"draws must be at least {d + 2} a case for a covariance of {d} targets, got {count}")
        mean = draws.mean(1)
        centred = draws - mean[:, None]
        covariance = np.einsum("nsi,nsj->nij", centred, centred) / (count - 1)
        densities = tuple(density) if isinstance(density, Sequence) else (density,)
        features = np.asarray(x, dtype=np.float64) if len(x) else np.zeros((n, 0))
        return cls(mean, cholesky(covariance), draws, features, np.arange(n), densities)

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows: slice | int | np.ndarray) -> Prediction:
        own: slice | np.ndarray = slice(rows, rows + 1) if isinstance(rows, int) else rows
        names = ("factor", "draws", "x", "rows")
        factor, draws, x, rows_ = (v[own] if (v := getattr(self, name)).size else v for name in names)
        return Prediction(self.mean[own], factor, draws, x, rows_, self.density)

    @property
    def dim(self) -> int:
        r"""Number of targets."""
        return int(self.mean.shape[1])

    def candidates(self, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m d"]:
        r"""Candidates as floats, checked against the cases.

        Arguments:
            y: Candidates for each case.

        Raises:
            ValueError: If the shape does not fit.
        """
        y = np.asarray(y, dtype=np.float64)
        if y.ndim != 3 or y.shape[0] != len(self) or y.shape[2] != self.dim:
            raise ValueError(f"y must have shape ({len(self)}, m, {self.dim}), got {y.shape}")
        return y

    def need(self, name: str, score: str) -> None:
        r"""Refuses a score that needs what this prediction lacks.

        Arguments:
            name: Field: ``factor``, ``draws``, ``x`` or ``density``.
            score: Name of the score, for the message.

        Raises:
            ValueError: If the field is empty.
        """
        value = getattr(self, name)
        if (value.size if isinstance(value, np.ndarray) else len(value)) == 0:
            wanted = {
                "factor": "a covariance for each case: Prediction.from_draws, or a learned one (LearnedScale)",
                "draws": "posterior draws: Prediction.from_draws",
                "x": "features: give x=",
                "density": "a density: give density=",
            }
            raise ValueError(f"{score} needs {wanted[name]}")


def cholesky(covariance: Float[np.ndarray, "*N d d"]) -> Float[np.ndarray, "*N d d"]:
    """Lower Cholesky factors, with a diagonal of a billionth of the variances where a matrix is not definite."""
    covariance = np.asarray(covariance, dtype=np.float64)
    variance = np.einsum("...ii->...i", covariance)
    floor = np.maximum(variance, np.finfo(float).tiny ** 0.5)
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        ridge = 1e-9 * floor[..., None] * np.eye(covariance.shape[-1])
        return np.linalg.cholesky(covariance + ridge + 1e-12 * np.eye(covariance.shape[-1]))
