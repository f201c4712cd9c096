r"""What it costs to move one point to another: a matrix, or two clouds of points whose distances are made as needed.

References:
    | Computational Optimal Transport (Peyré & Cuturi, 2019), chapter 4, https://arxiv.org/abs/1803.00567
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float

__all__ = ["Cost", "CostKind", "median_cost", "pairwise"]

CostKind = Literal["euclidean", "sqeuclidean"]


def pairwise(
    x: Float[np.ndarray, "m d"], y: Float[np.ndarray, "n d"], kind: CostKind = "euclidean"
) -> Float[np.ndarray, "m n"]:
    r"""Distances between two clouds of points, in float64.

    Arguments:
        x: First cloud.
        y: Second cloud.
        kind: Euclidean distance or its square.

    Returns:
        The distance of each point of ``x`` to each of ``y``.

    Raises:
        ValueError: If the clouds differ in dimension, a value is not finite, or the kind is unknown.

    Example:
        >>> pairwise(np.zeros((1, 2)), np.array([[3.0, 4.0]]))
        array([[5.]])
    """
    from scipy.spatial.distance import cdist

    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must have shapes (m, d) and (n, d), got {x.shape} and {y.shape}")
    if kind not in ("euclidean", "sqeuclidean"):
        raise ValueError(f"kind must be 'euclidean' or 'sqeuclidean', got {kind!r}")
    for name, points in (("x", x), ("y", y)):
        if not np.isfinite(points).all():
            raise ValueError(f"{name} must be finite, got {int((~np.isfinite(points)).sum())} values that are not")
    return np.asarray(cdist(x, y, kind))


@dataclass(frozen=True)
class Cost:
    r"""Cost between m source and n target points, whole or in blocks.

    Build it with ``Cost.of_matrix`` or ``Cost.of_points``; only the latter has rows for new points.

    Arguments:
        table: Cost matrix; empty for points.
        x: Source points; empty for a matrix.
        y: Target points; empty for a matrix.
        kind: Distance between points.

    Example:
        >>> cost = Cost.of_points(np.zeros((2, 1)), np.array([[1.0], [2.0], [3.0]]))
        >>> cost.shape, cost.columns(1, 3)[0].tolist()
        ((2, 3), [2.0, 3.0])
    """

    table: Float[np.ndarray, "m n"]
    x: Float[np.ndarray, "m d"]
    y: Float[np.ndarray, "n d"]
    kind: CostKind = "euclidean"

    @classmethod
    def of_matrix(cls, table: Float[np.ndarray, "m n"]) -> Cost:
        r"""Takes a matrix as it is.

        Arguments:
            table: Cost of each pair.

        Raises:
            ValueError: If it is no matrix or a value is not finite.
        """
        table = np.asarray(table, dtype=np.float64)
        if table.ndim != 2 or not table.size or not np.isfinite(table).all():
            raise ValueError(f"a cost must be a finite matrix, got shape {table.shape} or values that are not finite")
        return cls(table, np.empty((0, 0)), np.empty((0, 0)))

    @classmethod
    def of_points(cls, x: Float[np.ndarray, "m d"], y: Float[np.ndarray, "n d"], kind: CostKind = "euclidean") -> Cost:
        r"""Takes two clouds of points.

        Arguments:
            x: Source points.
            y: Target points.
            kind: Euclidean distance or its square.

        Raises:
            ValueError: If the clouds differ in dimension or a value is not finite.
        """
        x, y = np.atleast_2d(np.asarray(x, dtype=np.float64)), np.atleast_2d(np.asarray(y, dtype=np.float64))
        pairwise(x[:1], y[:1], kind)  # the checks of shape and kind
        for name, points in (("x", x), ("y", y)):
            if not len(points) or not np.isfinite(points).all():
                raise ValueError(f"{name} must hold finite points, got shape {points.shape} or values not finite")
        return cls(np.empty((0, 0)), x, y, kind)

    @property
    def shape(self) -> tuple[int, int]:
        r"""Numbers of source and target points."""
        return (self.table.shape[0], self.table.shape[1]) if self.is_matrix else (len(self.x), len(self.y))

    @property
    def is_matrix(self) -> bool:
        r"""Whether the cost is kept as a matrix."""
        return bool(self.table.size)

    def matrix(self) -> Float[np.ndarray, "m n"]:
        r"""The whole matrix."""
        return self.table if self.is_matrix else pairwise(self.x, self.y, self.kind)

    def columns(self, start: int, stop: int) -> Float[np.ndarray, "m block"]:
        r"""Costs of some target points, by one matrix product: the way through clouds larger than memory.

        Arguments:
            start: First target point.
            stop: Behind the last.
        """
        if self.is_matrix:
            return self.table[:, start:stop]
        y = self.y[start:stop] - self._centre
        table = self._centred @ (-2.0 * y.T)
        table += (self._centred**2).sum(1)[:, None]
        table += (y**2).sum(1)
        np.maximum(table, 0.0, out=table)
        return np.asarray(np.sqrt(table, out=table) if self.kind == "euclidean" else table)

    def rows(self, x: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "k n"]:
        r"""Costs of new source points.

        Arguments:
            x: New source points; for a matrix, their cost rows.

        Raises:
            ValueError: If the last axis does not fit.
        """
        if self.is_matrix:
            x = np.atleast_2d(np.asarray(x, dtype=np.float64))
            if x.shape[-1] != self.shape[1]:
                raise ValueError(f"new cost rows must have shape (k, {self.shape[1]}), got {x.shape}")
            return x
        return pairwise(np.atleast_2d(x), self.y, self.kind)

    def subset(self, rows: np.ndarray, columns: np.ndarray) -> Cost:
        r"""Cost between some of the points.

        Arguments:
            rows: Indices of source points.
            columns: Indices of target points.
        """
        if self.is_matrix:
            return Cost(self.table[np.ix_(rows, columns)], self.x, self.y, self.kind)
        return Cost(self.table, self.x[rows], self.y[columns], self.kind)

    @cached_property
    def _centre(self) -> Float[np.ndarray, " d"]:
        return np.asarray(self.y.mean(0))

    @cached_property
    def _centred(self) -> Float[np.ndarray, "m d"]:
        return np.asarray(self.x - self._centre)


def median_cost(cost: Cost, *, weight: Float[np.ndarray, " m"] | None = None, most: int = 1000, seed: int = 0) -> float:
    r"""Median cost over at most a million pairs: the unit in which a regularisation does not depend on the scale.

    Arguments:
        cost: The cost.
        weight: Weight of each source point: pairs count by it, so that repeated points do not move the median.
        most: Most points of each side that are looked at.
        seed: Seed of the choice of points.

    Example:
        >>> median_cost(Cost.of_matrix(np.array([[1.0, 2.0, 9.0]])))
        2.0
    """
    rng = np.random.default_rng(seed)
    m, n = cost.shape
    rows = np.arange(m) if m <= most else np.sort(rng.choice(m, most, replace=False, p=_shares(weight)))
    columns = np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))
    table = cost.subset(rows, columns).matrix()
    if weight is None or m > most:
        return float(np.median(table))
    order = np.argsort(table, axis=None)
    mass = np.cumsum(np.repeat(np.asarray(weight)[rows], table.shape[1])[order])
    return float(table.ravel()[order[np.searchsorted(mass, 0.5 * mass[-1])]])


def _shares(weight: Float[np.ndarray, " m"] | None) -> Float[np.ndarray, " m"] | None:
    return None if weight is None else np.asarray(weight) / np.sum(weight)
