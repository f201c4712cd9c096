r"""Whether posteriors keep their promises on simulations: coverage, rank statistics, contraction and error.

All take draws with shape (N simulations, S draws, D quantities) and the values that were simulated. With $u$ the rank
of the truth among the draws, scaled to $[0, 1]$, a calibrated posterior has uniform $u$; the central interval at level
$\alpha$ holds the truth where $|u - \tfrac12| \le \alpha / 2$. Values that are not numbers are refused, never ranked.

References:
    | Validating Bayesian Inference Algorithms with Simulation-Based Calibration (Talts et al., 2018),
      https://arxiv.org/abs/1804.06788
    | A simple sequentially rejective multiple test procedure (Holm, 1979), https://www.jstor.org/stable/4615733
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["SBC", "contraction", "coverage", "holm", "median_error", "ranks", "sbc"]

Draws = Float[np.ndarray, "N S D"]
Truth = Float[np.ndarray, "N D"]


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
    draws, truth = _checked(draws, truth)
    below = (draws < truth[:, None]).mean(1)
    ties = (draws == truth[:, None]).mean(1)
    return np.asarray(below + 0.5 * ties)


def coverage(draws: Draws, truth: Truth, levels: Sequence[float] = (0.5, 0.9)) -> Float[np.ndarray, "L D"]:
    r"""Share of simulations whose truth lies in the central interval of each level.

    Arguments:
        draws: Posterior draws.
        truth: Simulated values.
        levels: Levels in (0, 1).

    Returns:
        Expected coverage of each quantity at each level.

    Raises:
        ValueError: If a level is out of range, the shapes do not fit or a value is not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> cover = coverage(rng.normal(size=(500, 200, 1)), rng.normal(size=(500, 1)), (0.9,))
        >>> bool(abs(cover[0, 0] - 0.9) < 0.04)
        True
    """
    alpha = np.asarray(levels, dtype=np.float64)
    if not np.all((alpha > 0) & (alpha < 1)):
        raise ValueError(f"levels must lie in (0, 1), got {list(levels)}")
    distance = np.abs(ranks(draws, truth) - 0.5)
    return np.asarray((distance[None] <= alpha[:, None, None] / 2).mean(1))


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
    spread = (u * n_draws + np.random.default_rng(seed).random(u.shape)) / (n_draws + 1)
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


def contraction(
    draws: Draws, prior: Float[np.ndarray, "M D"], log_scaled: Bool[np.ndarray, " D"]
) -> Float[np.ndarray, " D"]:
    r"""Mean share of the prior's variance that the posterior removes.

    Arguments:
        draws: Posterior draws.
        prior: Prior draws.
        log_scaled: Quantities whose variance is taken of the logarithm.

    Returns:
        $1 - \operatorname{E} \operatorname{Var}[s(\theta) \mid x] / \operatorname{Var}[s(\theta)]$ of each quantity.

    Raises:
        ValueError: If a value is not finite, or not positive where the logarithm is taken.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> draws, prior = rng.normal(0, 0.3, (9, 999, 1)), rng.normal(0, 1, (9999, 1))
        >>> float(contraction(draws, prior, np.array([False])).round(1)[0])
        0.9
    """
    draws, prior = np.asarray(draws, dtype=np.float64), np.asarray(prior, dtype=np.float64)
    _finite(draws, "draws")
    _finite(prior, "prior")
    log_scaled = np.asarray(log_scaled, dtype=bool)
    if (draws[..., log_scaled] <= 0).any() or (prior[..., log_scaled] <= 0).any():
        raise ValueError("draws and prior must be positive where the logarithm is taken, got values at or below zero")
    before, after = _logs(prior, log_scaled).var(0), _logs(draws, log_scaled).var(1).mean(0)
    return np.asarray(1.0 - after / before)


def median_error(draws: Draws, truth: Truth, *, relative: bool = True) -> Float[np.ndarray, " D"]:
    r"""Median over simulations of the error of the posterior median.

    Arguments:
        draws: Posterior draws.
        truth: Simulated values.
        relative: Whether the error is taken relative to the truth.

    Returns:
        The error of each quantity, in its unit or as a share.

    Raises:
        ValueError: If the shapes do not fit, a value is not finite, or a truth is zero where the share is asked for.

    Example:
        >>> median_error(np.full((3, 4, 1), 11.0), np.full((3, 1), 10.0)).round(2).tolist()
        [0.1]
    """
    draws, truth = _checked(draws, truth)
    error = np.abs(np.median(draws, axis=1) - truth)
    if relative and (truth == 0).any():
        raise ValueError("truth must not be zero for a relative error: use relative=False")
    return np.asarray(np.median(error / np.abs(truth) if relative else error, axis=0))


def _logs(values: Float[np.ndarray, "*batch D"], log_scaled: Bool[np.ndarray, " D"]) -> Float[np.ndarray, "*batch D"]:
    return np.where(log_scaled, np.log(np.where(log_scaled, values, 1.0)), values)


def _checked(draws: Draws, truth: Truth) -> tuple[Draws, Truth]:
    draws, truth = np.asarray(draws), np.asarray(truth)
    if draws.ndim != 3 or truth.shape != (draws.shape[0], draws.shape[2]):
        raise ValueError(f"draws must have shape (N, S, D) and truth (N, D), got {draws.shape} and {truth.shape}")
    _finite(draws, "draws")
    _finite(truth, "truth")
    return draws, truth


def _finite(values: np.ndarray, name: str) -> None:
    wrong = ~np.isfinite(values)
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise ValueError(f"{name} must be finite, got {int(wrong.sum())} values that are not, first in row {row}")
