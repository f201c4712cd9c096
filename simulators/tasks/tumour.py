r"""Densities of cells and of cancer clusters from four summaries of an image; in reality clusters are hollow.

Poisson($\lambda_c$) cells lie uniformly in the unit square, and so do Poisson($\lambda_p$) + 1 parents. The radius of a
parent is the distance to its (Poisson($\lambda_d$) + 2)-th nearest cell; cells within any radius are cancer, the others
stroma. The summaries are the numbers of stromal and of cancer cells and, over the first fifty stromal cells, the mean
and the largest distance to the nearest cancer cell. In reality each parent has, with probability .75, no cells within
.8 of its radius. Priors: $\lambda_c \sim U(200, 1500)$, $\lambda_p \sim U(3, 20)$, $\lambda_d \sim U(10, 20)$ [1].

References:
    | Robust neural posterior estimation and statistical model criticism (Ward et al., 2022),
      https://arxiv.org/abs/2210.06564
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from ..parameters import Parameter, ParameterSpace

__all__ = ["TumourTask"]

_LOOKED_AT = 50
_FAR = float(np.sqrt(2.0))


@dataclass(frozen=True)
class TumourTask:
    r"""Cells and cancer clusters.

    Arguments:
        hollow: Probability that reality hollows a cluster.
        core: Share of the radius that is hollow.
        batch: Images held at a time.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> task, rng = TumourTask(), np.random.default_rng(0)
        >>> task.observe(task.space.sample(rng, 3), rng).shape
        (3, 4)
    """

    hollow: float = 0.75
    core: float = 0.8
    batch: int = 64

    def __post_init__(self) -> None:
        if not (0 <= self.hollow <= 1 and 0 <= self.core <= 1 and self.batch >= 1):
            raise ValueError(
                f"hollow and core must lie in [0, 1] and batch be positive, got {self.hollow}, {self.core} and "
                f"{self.batch}"
            )

    @property
    def name(self) -> str:
        r"""Short name."""
        return "cs"

    @property
    def samples(self) -> int:
        r"""Length of an observation."""
        return 4

    @cached_property
    def space(self) -> ParameterSpace:
        r"""Mean numbers of cells, parents and daughters."""
        return ParameterSpace(
            (
                Parameter("cells", "1", 200.0, 1500.0),
                Parameter("parents", "1", 3.0, 20.0),
                Parameter("daughters", "1", 10.0, 20.0),
            )
        )

    def simulate(self, theta: Float[np.ndarray, "N 3"], rng: np.random.Generator) -> Float[np.ndarray, "N 4"]:
        r"""Summaries of images with full clusters.

        Arguments:
            theta: Mean numbers.
            rng: Source of randomness.
        """
        return self._images(theta, rng, 0.0)

    def observe(self, theta: Float[np.ndarray, "N 3"], rng: np.random.Generator) -> Float[np.ndarray, "N 4"]:
        r"""Summaries of images with hollow clusters.

        Arguments:
            theta: Mean numbers.
            rng: Source of randomness.
        """
        return self._images(theta, rng, self.hollow)

    def natural(self, theta: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        r"""The coordinates themselves.

        Arguments:
            theta: Mean numbers.
        """
        return np.asarray(theta)

    def log_volume(self, theta: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch"]:
        r"""Zero.

        Arguments:
            theta: Mean numbers.
        """
        return np.zeros(np.shape(theta)[:-1])

    def _images(
        self, theta: Float[np.ndarray, "N 3"], rng: np.random.Generator, hollow: float
    ) -> Float[np.ndarray, "N 4"]:
        theta = np.asarray(theta, dtype=np.float64)
        order = np.argsort(theta[:, 0])  # images of like size together: less padding
        found = np.empty((len(theta), 4))
        for start in range(0, len(theta), self.batch):
            rows = order[start : start + self.batch]
            found[rows] = self._batch(theta[rows], rng, hollow)
        return found

    def _batch(
        self, theta: Float[np.ndarray, "N 3"], rng: np.random.Generator, hollow: float
    ) -> Float[np.ndarray, "N 4"]:
        n_cells = np.maximum(rng.poisson(theta[:, 0]), 2)
        n_parents = rng.poisson(theta[:, 1]) + 1
        cells = rng.random((len(theta), n_cells.max(), 2), dtype=np.float32)
        there = np.arange(cells.shape[1]) < n_cells[:, None]
        parents = rng.random((len(theta), n_parents.max(), 2), dtype=np.float32)
        rank = np.minimum(rng.poisson(theta[:, 2][:, None], parents.shape[:2]) + 2, n_cells[:, None]) - 1
        distance = _distances(parents, cells)
        distance[np.broadcast_to(~there[:, None], distance.shape)] = np.inf
        deepest = int(rank.max()) + 1
        near = np.sort(np.partition(distance, min(deepest, distance.shape[2] - 1), axis=2)[..., :deepest], axis=2)
        radius = np.take_along_axis(near, rank[..., None], 2)
        real = (np.arange(parents.shape[1]) < n_parents[:, None])[..., None]
        cancer = (real & (distance <= radius)).any(1)
        emptied = real & (rng.random(radius.shape) < hollow)
        dead = (emptied & (distance <= self.core * radius)).any(1)
        return _summaries(cells, np.asarray(there & ~cancer), np.asarray(cancer & ~dead))


def _distances(a: Float[np.ndarray, "N A 2"], b: Float[np.ndarray, "N B 2"]) -> Float[np.ndarray, "N A B"]:
    return np.asarray(np.hypot(a[:, :, None, 0] - b[:, None, :, 0], a[:, :, None, 1] - b[:, None, :, 1]))


def _summaries(
    cells: Float[np.ndarray, "N cell 2"], stroma: Bool[np.ndarray, "N cell"], cancer: Bool[np.ndarray, "N cell"]
) -> Float[np.ndarray, "N 4"]:
    first = np.argsort(~stroma, axis=1, kind="stable")[:, :_LOOKED_AT]
    seen = np.take_along_axis(stroma, first, 1)
    most = max(1, int(cancer.sum(1).max()))
    sick = np.argsort(~cancer, axis=1, kind="stable")[:, :most]
    is_sick = np.take_along_axis(cancer, sick, 1)
    points = np.take_along_axis(cells, first[..., None], 1), np.take_along_axis(cells, sick[..., None], 1)
    distance = np.where(is_sick[:, None], _distances(*points), np.float32(_FAR))
    nearest = np.where(seen, distance.min(2), 0.0)
    mean = nearest.sum(1) / np.maximum(seen.sum(1), 1)
    return np.stack((stroma.sum(1), cancer.sum(1), mean, nearest.max(1)), axis=-1)
