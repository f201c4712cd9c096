r"""Tests that name what is wrong with a posterior: its width, its place, its prior, two parameters swapped.

With $u$ the spread rank of the truth, exactly uniform for a calibrated posterior:

- ``width``: $\operatorname{E} 2|u - \tfrac12| = \tfrac12$; greater for posteriors that are too narrow.
- ``bias``: $\operatorname{E} u = \tfrac12$; greater for posteriors that lie too low.
- ``prior``: truth and one draw of its posterior are exchangeable, so neither the mean of their difference nor that of
  the difference of their squares differs from zero: together the draws have the prior's mean and variance.
- ``swap``: no function of the data is better correlated with a parameter than its own posterior mean, so the mean of
  another parameter must not be (Williams's test of two correlations with one variable in common, both ways round).

P-values are those of the normal (``width``, ``bias``, ``prior``) and of Student's law (``swap``); with 500 simulations
or more they keep their rate.

References:
    | Fast and Credible Likelihood-Free Cosmology with Truncated Marginal Neural Ratio Estimation (Cole et al., 2022),
      https://arxiv.org/abs/2111.08030 (coverage as a test of width)
    | The comparison of regression variables (Williams, 1959), J R Stat Soc B 21:396
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

__all__ = ["Swap", "bias_test", "prior_test", "swap_test", "width_test"]

Ranks = Float[np.ndarray, "N D"]


def width_test(u: Ranks) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    r"""Tests whether posteriors are too narrow or too wide.

    Arguments:
        u: Spread ranks.

    Returns:
        Area between the diagonal and the coverage curve (positive: too narrow), and two-sided p-values.

    Example:
        >>> area, p = width_test(np.random.default_rng(0).beta(0.8, 0.8, (2000, 1)))
        >>> bool(area[0] > 0.02), bool(p[0] < 0.001)
        (True, True)
    """
    area = np.mean(2 * np.abs(np.asarray(u) - 0.5), axis=0) - 0.5
    return area, _normal_p(area * np.sqrt(12 * len(u)))


def bias_test(u: Ranks) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    r"""Tests whether posteriors lie too low or too high.

    Arguments:
        u: Spread ranks.

    Returns:
        Mean rank less one half (positive: too low), and two-sided p-values.

    Example:
        >>> shift, p = bias_test(np.random.default_rng(0).beta(1.2, 1.0, (2000, 1)))
        >>> bool(shift[0] > 0.02), bool(p[0] < 0.001)
        (True, True)
    """
    shift = np.mean(u, axis=0) - 0.5
    return shift, _normal_p(shift * np.sqrt(12 * len(u)))


def prior_test(one: Ranks, truth: Ranks) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    r"""Tests whether posteriors together give back the prior that the truth was drawn from.

    Arguments:
        one: One posterior draw of each simulation, on an unbounded scale.
        truth: Simulated values on the same scale.

    Returns:
        The greater of the two t statistics, with its sign, and p-values for both together.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> t, p = prior_test(rng.normal(0.0, 0.8, (2000, 1)), rng.normal(size=(2000, 1)))
        >>> bool(p[0] < 0.001)
        True
    """
    one, truth = np.asarray(one, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    centre, spread = truth.mean(0), truth.std(0) + 1e-12
    a, b = (one - centre) / spread, (truth - centre) / spread
    found = []
    for gap in (a - b, a**2 - b**2):
        found.append(gap.mean(0) / np.maximum(gap.std(0, ddof=1) / np.sqrt(len(gap)), 1e-300))
    both = np.stack(found)
    worst = np.abs(both).argmax(0)
    t = np.take_along_axis(both, worst[None], 0)[0]
    return t, np.minimum(2 * _normal_p(t), 1.0)


class Swap(NamedTuple):
    r"""Outcome of the search for two parameters that were taken for each other.

    Arguments:
        pair: Columns of the likeliest pair.
        p: P-value, corrected for the number of pairs.

    Example:
        >>> Swap((0, 1), 0.2).pair
        (0, 1)
    """

    pair: tuple[int, int]
    p: float


def swap_test(mean: Ranks, truth: Ranks) -> Swap:
    r"""Looks for two parameters that were taken for each other.

    Arguments:
        mean: Posterior means, on an unbounded scale.
        truth: Simulated values on the same scale.

    Returns:
        The pair, and the greater p-value of both ways round times the number of pairs.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.normal(size=(300, 3))
        >>> swap_test(truth[:, [0, 2, 1]] + rng.normal(size=(300, 3)), truth).pair
        (1, 2)
    """
    d = truth.shape[1]
    if d < 2:
        return Swap((0, 0), 1.0)
    of_mean = np.nan_to_num(np.corrcoef(mean.T, truth.T))
    own = np.diag(of_mean[:d, d:])
    p = np.ones((d, d))
    for j in range(d):
        for k in range(d):
            if j != k:  # correlations with truth j: of mean k, which should be the lesser, and of mean j
                p[j, k] = _williams(of_mean[k, d + j], own[j], of_mean[j, k], len(truth))
    worst = np.maximum(p, p.T)
    worst[np.tril_indices(d)] = 2.0
    first, second = (int(i) for i in np.unravel_index(worst.argmin(), worst.shape))
    return Swap((first, second), float(min(worst[first, second] * (d * (d - 1) / 2), 1.0)))


def _williams(r12: float, r13: float, r23: float, n: int) -> float:
    """One-sided p-value that the correlation of 1 with 2 exceeds that of 1 with 3."""
    from scipy import stats

    determinant = max(1 - r12**2 - r13**2 - r23**2 + 2 * r12 * r13 * r23, 0.0)
    middle = 0.5 * (r12 + r13)
    below = 2 * determinant * (n - 1) / (n - 3) + middle**2 * (1 - r23) ** 3
    if below <= 1e-12 or r12 <= r13:
        return 1.0
    t = (r12 - r13) * np.sqrt((n - 1) * (1 + r23) / below)
    return float(stats.t.sf(t, n - 3))


def _normal_p(z: Float[np.ndarray, " D"]) -> Float[np.ndarray, " D"]:
    from scipy import stats

    return np.asarray(2 * stats.norm.sf(np.abs(z)))
