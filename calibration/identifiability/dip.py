r"""Hartigan's dip: how far a sample is from every unimodal distribution, with a p-value calibrated by simulation.

The dip is $D = \min_{F} \sup_x |F_n(x) - F(x)|$ over unimodal distribution functions $F$. Such an $F$ is convex, then
concave: within an interval that must hold the mode, the greatest convex minorant $g$ of the lower corners of $F_n$ and
the least concave majorant $l$ of its upper corners are compared. The interval shrinks to the knots beside the greatest
$l - g$, and $2D$ is the greatest distance of $F_n$ to the part of $g$ or $l$ that was left behind.

The p-value is the share of uniform samples of the same size with a greater dip: the uniform is the unimodal
distribution with the greatest dips, so that the test rarely sees two modes where there is one.

References:
    Hartigan J.A., Hartigan P.M. (1985), The dip test of unimodality, Ann Stat 13:70,
    https://doi.org/10.1214/aos/1176346577.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float
from numba import njit

__all__ = ["dip", "dip_p_value", "dips"]

NULL_DRAWS = 20_000
"""Uniform samples behind a p-value, which is never less than one over this number and one more."""

MOST_NULL = 2000
"""Values of a sample from which its dip is scaled instead of simulated."""


@njit(cache=True)
def _hull(x: np.ndarray, first: int, last: int, sign: float, knot: np.ndarray, height: np.ndarray) -> int:
    """Convex minorant (sign 1) or concave majorant (-1) of (x_i, i) on first..last: its knots and all its heights."""
    count = 0
    for i in range(first, last + 1):
        while count >= 2:
            a, b = knot[count - 2], knot[count - 1]
            # b stays a knot where the slope rises there (falls, for the majorant)
            if sign * ((i - b) * (x[b] - x[a]) - (b - a) * (x[i] - x[b])) > 0:
                break
            count -= 1
        knot[count] = i
        count += 1
    for k in range(count - 1):
        a, b = knot[k], knot[k + 1]
        span = x[b] - x[a]
        for i in range(a, b + 1):
            height[i] = a + (b - a) * (x[i] - x[a]) / span if span > 0 else float(i)
    height[knot[count - 1]] = float(knot[count - 1])
    return count


@njit(cache=True)
def _dip_of_sorted(x: np.ndarray) -> float:
    n = len(x)
    if n < 2 or x[0] == x[n - 1]:
        return 0.5 / n
    lower, upper = np.zeros(n, np.int64), np.zeros(n, np.int64)
    g, l = np.zeros(n), np.zeros(n)  # noqa: E741
    first, last, found = 0, n - 1, 1.0
    while True:
        n_lower, n_upper = _hull(x, first, last, 1.0, lower, g), _hull(x, first, last, -1.0, upper, l)
        gap, at, convex = 0.0, first, True
        for k in range(n_lower):
            i = lower[k]
            if l[i] - g[i] > gap:
                gap, at, convex = l[i] - g[i], i, True
        for k in range(n_upper):
            i = upper[k]
            if l[i] - g[i] > gap:
                gap, at, convex = l[i] - g[i], i, False
        if gap + 1 <= found:
            return found / (2 * n)
        left, right = at, at
        if convex:
            for k in range(n_upper):
                if upper[k] >= at:
                    right = upper[k]
                    break
        else:
            for k in range(n_lower):
                if lower[k] <= at:
                    left = lower[k]
        for i in range(first, left + 1):
            found = max(found, i - g[i] + 1)
        for i in range(right, last + 1):
            found = max(found, l[i] - i + 1)
        if left <= first and right >= last:
            return found / (2 * n)
        first, last = left, right


@njit(cache=True)
def _dips_of_rows(rows: np.ndarray) -> np.ndarray:
    found = np.empty(len(rows))
    for i in range(len(rows)):
        found[i] = _dip_of_sorted(np.sort(rows[i]))
    return found


def dip(values: Float[np.ndarray, " n"]) -> float:
    r"""The dip of a sample.

    Arguments:
        values: The sample, in any order.

    Returns:
        Between $1/(2n)$ and $1/4$.

    Raises:
        ValueError: If there are fewer than four values, or one is not finite.

    Example:
        >>> round(dip(np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])), 2)
        0.25
    """
    return float(dips(np.asarray(values)[None])[0])


def dips(values: Float[np.ndarray, "N n"]) -> Float[np.ndarray, " N"]:
    r"""The dips of several samples of one size.

    Arguments:
        values: A sample a row.

    Raises:
        ValueError: If a row has fewer than four values, or one is not finite.

    Example:
        >>> dips(np.random.default_rng(0).normal(size=(3, 50))).shape
        (3,)
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 4 or not np.isfinite(values).all():
        raise ValueError(f"values must be finite, with shape (N, n) and n of at least 4, got shape {values.shape}")
    return np.asarray(_dips_of_rows(np.ascontiguousarray(values)))


@cache
def _null(n: int) -> np.ndarray:
    rng = np.random.default_rng([n, 1985])
    return np.sort(np.concatenate([_dips_of_rows(rng.random((1000, n))) for _ in range(NULL_DRAWS // 1000)]))


def dip_p_value(found: Float[np.ndarray, "*batch"] | float, n: int) -> Float[np.ndarray, "*batch"]:
    r"""P-values of dips, from uniform samples of the same size; of more than 2,000 values by the law of $\sqrt{n} D$.

    Arguments:
        found: Dips of samples.
        n: Size of the samples.

    Returns:
        Share of uniform samples with a dip as great, the sample itself counted.

    Example:
        >>> bool(dip_p_value(0.25, 40) < 0.001)
        True
    """
    size = min(n, MOST_NULL)
    null = _null(size)
    greater = len(null) - np.searchsorted(null, np.sqrt(n / size) * np.asarray(found) - 1e-12)
    return np.asarray((greater + 1) / (len(null) + 1))
