r"""What every score offers: fitted on data of its own, then a number for each candidate.

A score is any function of a case and a candidate target; the region holds the candidates whose score is at most the
limit. Whatever the score was fitted on, as long as it is not the calibration set, the promise of the limit is exact;
the fit decides only how large the regions are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Float

from .prediction import Prediction

__all__ = ["AbstractFittedScore", "AbstractScore"]


class AbstractFittedScore(ABC):
    r"""A score ready to use.

    Example:
        >>> sorted(AbstractFittedScore.__abstractmethods__)
        ['evaluate', 'propose']
    """

    @abstractmethod
    def evaluate(self, prediction: Prediction, y: Float[np.ndarray, "N m d"]) -> Float[np.ndarray, "N m"]:
        r"""Scores candidates.

        Arguments:
            prediction: Cases.
            y: Candidates for each case.
        """

    @abstractmethod
    def propose(
        self, prediction: Prediction, limit: float, n: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        r"""Points that cover the region of one case, with what each stands for.

        Arguments:
            prediction: One case.
            limit: The region is where the score is at most this; finite.
            n: Number of points.
            rng: Source of randomness.

        Returns:
            Points and weights, such that the mean of the weights of the members is an unbiased estimate of the volume.
        """

    def score(self, prediction: Prediction, y: Float[np.ndarray, "N d"]) -> Float[np.ndarray, " N"]:
        r"""Scores one target a case.

        Arguments:
            prediction: Cases.
            y: Target of each case.
        """
        y = np.asarray(y, dtype=np.float64)
        return self.evaluate(prediction, y[:, None])[:, 0]

    def volumes(
        self, prediction: Prediction, limits: Float[np.ndarray, " N"], *, n: int = 4000, seed: int = 0
    ) -> Float[np.ndarray, " N"]:
        r"""Volume of the region of each case, by Monte Carlo unless the score knows better.

        Arguments:
            prediction: Cases.
            limits: Limit of each case; infinite gives an infinite volume.
            n: Points a case.
            seed: Seed of the points.
        """
        found = np.full(len(prediction), np.inf)
        for i in np.flatnonzero(np.isfinite(limits)):
            case = prediction[int(i)]
            points, weights = self.propose(case, float(limits[i]), n, np.random.default_rng([seed, int(i)]))
            found[i] = float(np.mean(weights * (self.evaluate(case, points[None])[0] <= limits[i])))
        return found

    def members(
        self, prediction: Prediction, limit: float, *, n: int = 4000, seed: int = 0
    ) -> Float[np.ndarray, "k d"]:
        r"""Points of the region of one case, as proposed, not evenly spread.

        Arguments:
            prediction: One case.
            limit: The region is where the score is at most this; finite.
            n: Points proposed.
            seed: Seed of the points.
        """
        points, _ = self.propose(prediction, limit, n, np.random.default_rng(seed))
        return np.asarray(points[self.evaluate(prediction, points[None])[0] <= limit])

    def ranges(self, prediction: Prediction, limit: float, *, n: int = 4000, seed: int = 0) -> Float[np.ndarray, "d 2"]:
        r"""Least and greatest value of each target in the region of one case, found by search unless known better.

        Arguments:
            prediction: One case.
            limit: The region is where the score is at most this; finite.
            n: Points to start from.
            seed: Seed of the points.

        Returns:
            Ends of each range; not a number where no member is found.
        """
        return climb(self, prediction, limit, self.members(prediction, limit, n=n, seed=seed), seed=seed)


def climb(
    score: AbstractFittedScore,
    prediction: Prediction,
    limit: float,
    members: Float[np.ndarray, "k d"],
    *,
    seed: int = 0,
    rounds: int = 12,
    keep: int = 12,
    children: int = 8,
) -> Float[np.ndarray, "d 2"]:
    """Ends of a region along each target: the outermost members step further out, by steps that shrink."""
    d = prediction.dim
    if not len(members):
        return np.full((d, 2), np.nan)
    rng = np.random.default_rng([seed, 1])
    spread = np.maximum(members.std(axis=0), 1e-12)
    sides = [(j, sign) for j in range(d) for sign in (-1.0, 1.0)]
    best = [members[np.argsort(-sign * members[:, j])[:keep]] for j, sign in sides]
    for step in 0.5 * 0.7 ** np.arange(rounds):
        tried = [np.repeat(own, children, axis=0) for own in best]
        tried = [own + step * spread * rng.normal(size=own.shape) for own in tried]
        inside = score.evaluate(prediction, np.concatenate(tried)[None])[0] <= limit
        for i, (own, held) in enumerate(zip(tried, np.split(inside, np.cumsum([len(t) for t in tried])[:-1]))):
            j, sign = sides[i]
            every = np.concatenate([best[i], own[held]])
            best[i] = every[np.argsort(-sign * every[:, j])[:keep]]
    ends = [own[0, j] for own, (j, _) in zip(best, sides, strict=True)]
    return np.array(ends).reshape(d, 2)


class AbstractScore(ABC):
    r"""How a score is fitted.

    Example:
        >>> sorted(AbstractScore.__abstractmethods__)
        ['fit']
    """

    @abstractmethod
    def fit(self, prediction: Prediction, y: Float[np.ndarray, "N d"], *, seed: int = 0) -> AbstractFittedScore:
        r"""Fits the score on cases that the calibration set does not hold.

        Arguments:
            prediction: Cases.
            y: Their targets.
            seed: Seed of whatever is random in the fit.
        """
