r"""Simulation-based calibration: ranks of the truth among the draws, tests of their uniformity, bands of their ECDF.

All take draws with shape (N simulations, S draws, D quantities) and the values that were simulated. With $u$ the rank
of the truth among the draws, scaled to $[0, 1]$, a calibrated posterior has uniform $u$; the central interval at level
$\alpha$ holds the truth where $|u - \tfrac12| \le \alpha / 2$. Values that are not numbers are refused, never ranked.

References:
    | Validating Bayesian Inference Algorithms with Simulation-Based Calibration (Talts et al., 2018),
      https://arxiv.org/abs/1804.06788
    | Graphical test for discrete uniformity and its applications in goodness-of-fit evaluation and multiple sample
      comparison (Säilynoja, Bürkner & Vehtari, 2022), https://doi.org/10.1007/s11222-022-10090-6
    | A simple sequentially rejective multiple test procedure (Holm, 1979), https://www.jstor.org/stable/4615733
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from ._checks import Draws, Truth, checked

__all__ = ["SBC", "ECDFBand", "ecdf_band", "holm", "ranks", "sbc", "spread_ranks"]

BAND_DRAWS = 20_000
"""Simulations of uniform ranks behind an ECDF band: its least p-value is one over one more than that."""


@dataclass(frozen=True)
class SBC:
    r"""Outcome of simulation-based calibration.

    Arguments:
        ks: Kolmogorov-Smirnov p-value of each quantity.
        chi2: Chi-square p-value of each quantity, over equal bins.
        holm: The Kolmogorov-Smirnov p-values after Holm's correction.

    Example:
        >>> SBC(np.array([0.02]), np.array([0.3]), np.array([0.02])).passes(0.01)
        True
    """

    ks: Float[np.ndarray, " D"]
    chi2: Float[np.ndarray, " D"]
    holm: Float[np.ndarray, " D"]

    def passes(self, alpha: float = 0.01) -> bool:
        r"""Tells whether no quantity is rejected after Holm's correction.

        Arguments:
            alpha: Family-wise false-alarm rate.
        """
        return bool(np.all(self.holm >= alpha))


def ranks(draws: Draws, truth: Truth) -> Truth:
    r"""Rank of each truth among its draws, scaled to [0, 1]; ties count half.

    Arguments:
        draws: Posterior draws.
        truth: Simulated values.

    Returns:
        Share of draws below the truth.

    Raises:
        ValueError: If the shapes do not fit or a value is not finite.

    Example:
        >>> ranks(np.array([[[1.0], [2.0], [3.0], [4.0]]]), np.array([[2.5]]))
        array([[0.5]])
    """
    draws, truth = checked(draws, truth)
    below = (draws < truth[:, None]).mean(1)
    ties = (draws == truth[:, None]).mean(1)
    return np.asarray(below + 0.5 * ties)


def sbc(u: Truth, *, n_draws: int, bins: int = 20, seed: int = 0) -> SBC:
    r"""Tests ranks for uniformity.

    Ranks among S draws take S + 1 values; each is spread over its own cell of [0, 1], so that uniform ranks give an
    exactly uniform variable.

    Arguments:
        u: Scaled ranks, from ``ranks``.
        n_draws: Number of draws S behind each rank.
        bins: Bins of the chi-square test.
        seed: Seed of the spreading.

    Returns:
        P-values of each quantity.

    Raises:
        ValueError: If a rank is outside [0, 1] or there are fewer than five a bin.

    Example:
        >>> sbc(np.random.default_rng(0).random((400, 2)), n_draws=1000).passes()
        True
    """
    from scipy import stats

    u = np.asarray(u, dtype=np.float64)
    if u.ndim != 2 or not np.all((u >= 0) & (u <= 1)):
        raise ValueError(f"u must hold ranks in [0, 1] with shape (N, D), got shape {u.shape}")
    if len(u) < 5 * bins:
        raise ValueError(f"SBC with {bins} bins needs at least {5 * bins} simulations, got {len(u)}")
    spread = spread_ranks(u, n_draws=n_draws, seed=seed)
    ks = np.array([stats.kstest(column, "uniform").pvalue for column in spread.T])
    counts = [np.histogram(column, bins=bins, range=(0.0, 1.0))[0] for column in spread.T]
    chi2 = np.array([stats.chisquare(row).pvalue for row in counts])
    return SBC(ks, chi2, holm(ks))


def holm(p: Float[np.ndarray, " D"]) -> Float[np.ndarray, " D"]:
    r"""P-values after Holm's step-down correction for several tests.

    Arguments:
        p: P-values.

    Returns:
        Corrected p-values, at most one: those below alpha are rejected at family-wise rate alpha.

    Raises:
        ValueError: If a value is not in [0, 1].

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"p must hold p-values in [0, 1], got {p}")
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def spread_ranks(u: Truth, *, n_draws: int, seed: int = 0) -> Truth:
    r"""Spreads ranks over their own cell of [0, 1], so that uniform ranks give an exactly uniform variable.

    Arguments:
        u: Scaled ranks, from ``ranks``.
        n_draws: Number of draws S behind each rank.
        seed: Seed of the spreading.

    Example:
        >>> bool((spread_ranks(np.array([[0.0], [1.0]]), n_draws=4) < [[0.2], [1.0]]).all())
        True
    """
    u = np.asarray(u, dtype=np.float64)
    return np.asarray((u * n_draws + np.random.default_rng([seed, 79]).random(u.shape)) / (n_draws + 1))


@dataclass(frozen=True)
class ECDFBand:
    r"""The empirical distribution of ranks with a band that holds all of it at once.

    Arguments:
        grid: Points in (0, 1).
        values: Empirical distribution of each quantity there.
        low: Lower edge of the band.
        high: Upper edge of the band.
        p: P-value of each quantity: how rarely uniform ranks leave as narrow a band.

    Example:
        >>> band = ecdf_band(np.random.default_rng(0).random((500, 2)))
        >>> bool((band.values >= band.low[:, None]).all()), bool((band.p > 0.01).all())
        (True, True)
    """

    grid: Float[np.ndarray, " K"]
    values: Float[np.ndarray, "K D"]
    low: Float[np.ndarray, " K"]
    high: Float[np.ndarray, " K"]
    p: Float[np.ndarray, " D"]


def ecdf_band(u: Truth, *, level: float = 0.99, points: int = 50) -> ECDFBand:
    r"""Compares the distribution of spread ranks with uniformity, by a simultaneous band.

    The statistic is the least two-sided binomial p-value over the grid; its own distribution is simulated.

    Arguments:
        u: Ranks on [0, 1], continuous: from ``spread_ranks``, ``density_levels`` or ``tarp``.
        level: Level of the band.
        points: Cells of the grid.

    Returns:
        The band, the empirical distributions and their p-values.

    Raises:
        ValueError: If a rank is outside [0, 1].

    Example:
        >>> bool(ecdf_band(np.random.default_rng(0).beta(1.3, 1.3, (2000, 1))).p[0] < 0.001)
        True
    """
    u = np.asarray(u, dtype=np.float64)
    if u.ndim != 2 or not np.all((u >= 0) & (u <= 1)):
        raise ValueError(f"u must hold ranks in [0, 1] with shape (N, D), got shape {u.shape}")
    n = len(u)
    table, null = _band_table(n, points)
    grid = np.arange(1, points) / points
    counts = (u[:, None] <= grid[None, :, None]).sum(0)
    least = np.take_along_axis(table, counts, 1).min(0)
    p = (1 + np.searchsorted(null, least * (1 + 1e-12), side="right")) / (len(null) + 1)
    inside = table > null[int((1 - level) * len(null))]
    low, high = inside.argmax(1) / n, (n - inside[:, ::-1].argmax(1)) / n
    return ECDFBand(grid, counts / n, low, high, np.minimum(p, 1.0))


@lru_cache(maxsize=4)
def _band_table(n: int, points: int) -> tuple[Float[np.ndarray, "K n1"], Float[np.ndarray, " B"]]:
    """Two-sided binomial p-values of every count at every grid point; sorted null distribution of the least of them."""
    from scipy import stats

    grid, counts = np.arange(1, points) / points, np.arange(n + 1)
    below = stats.binom.cdf(counts[None], n, grid[:, None])
    above = stats.binom.sf(counts[None] - 1, n, grid[:, None])
    table = np.minimum(2 * np.minimum(below, above), 1.0)
    drawn = np.random.default_rng(0).multinomial(n, np.full(points, 1 / points), BAND_DRAWS)
    least = np.ones(BAND_DRAWS)
    cumulative = np.zeros(BAND_DRAWS, dtype=np.int64)
    for k in range(points - 1):
        cumulative += drawn[:, k]
        least = np.minimum(least, table[k, cumulative])
    return table, np.sort(least)
