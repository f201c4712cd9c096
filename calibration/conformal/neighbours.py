r"""Ranks among the residuals of the nearest cases (OT-CP+): adaptive in shape, one exact plan a case.

For each new case the residuals of its k nearest fitted cases are transported to k reference points, and the rank of a
candidate is its cell's. The limit is one number for all cases.

References:
    | Optimal Transport-based Conformal Prediction (Thurin et al., 2025), section 4, https://arxiv.org/abs/2501.18991
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from .prediction import Prediction
from .ranks import ExactRank, FittedCells
from .residual import propose_residuals
from .score import AbstractFittedScore, AbstractScore

__all__ = ["FittedNeighbours", "NeighbourRank"]


@dataclass(frozen=True)
class FittedNeighbours(AbstractFittedScore):
    r"""Cases and residuals among which neighbours are found.

    Arguments:
        x: Standardised features.
        r: Residuals.
        shift: Mean of each feature.
        scale: Standard deviation of each feature.
        k: Number of neighbours.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.random((200, 1))
        >>> y = (0.1 + x) * rng.normal(size=(200, 2))
        >>> prediction = Prediction(0 * y, x=x)
        >>> score = NeighbourRank(k=40).fit(prediction, y)
        >>> score.score(prediction[:3], y[:3]).shape
        (3,)
    """

    x: Float[np.ndarray, "n p"]
    r: Float[np.ndarray, "n d"]
    shift: Float[np.ndarray, " p"]
    scale: Float[np.ndarray, " p"]
    k: int

    def evaluate(self, prediction: Prediction, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m"]:
        r"""Scores candidates.

        Arguments:
            prediction: Cases, which must have features.
            y: Candidates for each case.
        """
        gap = prediction.candidates(y) - prediction.mean[:, None]
        near = self._near(prediction)
        return np.stack([self._cells(rows)(own) for rows, own in zip(near, gap, strict=True)])

    def propose(
        self, prediction: Prediction, limit: float, n: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        r"""Directions at random around the case's own neighbours, radii even.

        Arguments:
            prediction: One case.
            limit: The region is where the score is at most this.
            n: Number of points.
            rng: Source of randomness.
        """
        r, weights = propose_residuals(self._cells(self._near(prediction)[0]), limit, n, rng)
        return r + prediction.mean[0], weights

    def volumes(
        self, prediction: Prediction, limits: Float[np.ndarray, " N"], *, n: int = 4000, seed: int = 0
    ) -> Float[np.ndarray, " N"]:
        r"""Volumes by Monte Carlo, one plan a case.

        Arguments:
            prediction: Cases.
            limits: Limit of each case.
            n: Points a case.
            seed: Seed of the points.
        """
        found = np.full(len(prediction), np.inf)
        for i, rows in enumerate(self._near(prediction)):
            if np.isfinite(limits[i]):
                cells = self._cells(rows)
                r, weights = propose_residuals(cells, float(limits[i]), n, np.random.default_rng([seed, i]))
                found[i] = float(np.mean(weights * (cells(r) <= limits[i])))
        return found

    def _near(self, prediction: Prediction) -> Int[np.ndarray, "N k"]:
        from scipy.spatial import cKDTree

        prediction.need("x", "NeighbourRank")
        _, near = cKDTree(self.x).query((prediction.x - self.shift) / self.scale, k=self.k)
        return np.asarray(near).reshape(len(prediction), self.k)

    def _cells(self, rows: Int[np.ndarray, " k"]) -> FittedCells:
        return ExactRank().fit(self.r[rows], seed=0)


@dataclass(frozen=True)
class NeighbourRank(AbstractScore):
    r"""Exact ranks among the residuals of the nearest cases (OT-CP+).

    Arguments:
        k: Number of neighbours.

    Raises:
        ValueError: If there are fewer than four neighbours.

    Example:
        >>> NeighbourRank(k=50).k
        50
    """

    k: int = 100

    def __post_init__(self) -> None:
        if self.k < 4:
            raise ValueError(f"k must be at least 4, got {self.k}; try 100")

    def fit(self, prediction: Prediction, y: Float[np.ndarray, "N d"], *, seed: int = 0) -> FittedNeighbours:
        r"""Keeps cases and residuals.

        Arguments:
            prediction: Cases with features.
            y: Their targets.
            seed: Not used.
        """
        prediction.need("x", "NeighbourRank")
        shift, scale = prediction.x.mean(0), prediction.x.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        r = np.asarray(y, dtype=np.float64) - prediction.mean
        return FittedNeighbours((prediction.x - shift) / scale, r, shift, scale, min(self.k, len(r)))
