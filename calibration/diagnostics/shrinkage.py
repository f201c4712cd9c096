r"""What a posterior learns and how far off it is: contraction, error, z-scores, recovery.

With $m$ and $s$ the posterior's mean and standard deviation on a quantity's own scale (the logarithm where it is
positive), the z-score of a simulation is $(m - \theta)/s$. Contraction near one with z-scores of spread one is what is
wanted; high contraction with wide z-scores is over-confidence, low contraction with narrow ones a loss of information.

References:
    | Toward a principled Bayesian workflow in cognitive science (Schad et al., 2021), https://arxiv.org/abs/1904.12765
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ._checks import Draws, Truth, checked, finite, logs

__all__ = ["Recovery", "contraction", "median_error", "recovery", "z_scores"]


@dataclass(frozen=True)
class Recovery:
    r"""How posterior medians follow the truth, by quantity.

    Arguments:
        correlation: Pearson correlation of median and truth, on each quantity's scale.
        slope: Slope of the regression of the median on the truth: below one where the posterior leans on the prior.
        bias: Mean of median less truth, on each quantity's scale.

    Example:
        >>> truth = np.linspace(1, 2, 50)[:, None]
        >>> recovery(truth[:, None] + np.zeros((1, 5, 1)), truth, np.array([False])).slope.round(3).tolist()
        [1.0]
    """

    correlation: Float[np.ndarray, " D"]
    slope: Float[np.ndarray, " D"]
    bias: Float[np.ndarray, " D"]


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
    finite(draws, "draws")
    finite(prior, "prior")
    log_scaled = np.asarray(log_scaled, dtype=bool)
    if (draws[..., log_scaled] <= 0).any() or (prior[..., log_scaled] <= 0).any():
        raise ValueError("draws and prior must be positive where the logarithm is taken, got values at or below zero")
    before, after = logs(prior, log_scaled).var(0), logs(draws, log_scaled).var(1).mean(0)
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
    draws, truth = checked(draws, truth)
    error = np.abs(np.median(draws, axis=1) - truth)
    if relative and (truth == 0).any():
        raise ValueError("truth must not be zero for a relative error: use relative=False")
    return np.asarray(np.median(error / np.abs(truth) if relative else error, axis=0))


def z_scores(draws: Draws, truth: Truth, log_scaled: Bool[np.ndarray, " D"]) -> Truth:
    r"""Error of each posterior mean in units of the posterior's standard deviation.

    Arguments:
        draws: Posterior draws.
        truth: Simulated values.
        log_scaled: Quantities that are taken on the logarithm.

    Returns:
        $(m - \theta)/s$ of each simulation and quantity; of spread one for a calibrated posterior that is normal.

    Raises:
        ValueError: If the shapes do not fit, a value is not finite, or not positive where the logarithm is taken.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(900, 1, 1))
        >>> z = z_scores(x + rng.normal(size=(900, 99, 1)), x[:, 0] + rng.normal(size=(900, 1)), np.array([False]))
        >>> float(z.std().round(1))
        1.0
    """
    draws, truth = checked(draws, truth)
    scaled, true = _scaled(draws, log_scaled), _scaled(truth, log_scaled)
    return np.asarray((scaled.mean(1) - true) / np.maximum(scaled.std(1, ddof=1), 1e-12))


def recovery(draws: Draws, truth: Truth, log_scaled: Bool[np.ndarray, " D"]) -> Recovery:
    r"""Measures how posterior medians follow the truth.

    Arguments:
        draws: Posterior draws.
        truth: Simulated values.
        log_scaled: Quantities that are taken on the logarithm.

    Returns:
        Correlation, slope and bias; correlation and slope are zero where the truth or the median never varies.

    Raises:
        ValueError: If the shapes do not fit, a value is not finite, or not positive where the logarithm is taken.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(900, 1, 1))
        >>> found = recovery(0.5 * x + rng.normal(size=(900, 99, 1)), x[:, 0], np.array([False]))
        >>> float(found.slope[0].round(1))
        0.5
    """
    draws, truth = checked(draws, truth)
    median, true = _scaled(np.median(draws, axis=1), log_scaled), _scaled(truth, log_scaled)
    a, b = median - median.mean(0), true - true.mean(0)
    together, own, other = (a * b).mean(0), (a**2).mean(0), (b**2).mean(0)
    moves = (own > 0) & (other > 0)
    correlation = np.where(moves, together / np.sqrt(np.where(moves, own * other, 1.0)), 0.0)
    slope = np.where(other > 0, together / np.where(other > 0, other, 1.0), 0.0)
    return Recovery(correlation, slope, (median - true).mean(0))


def _scaled(values: Float[np.ndarray, "*batch D"], log_scaled: Bool[np.ndarray, " D"]) -> Float[np.ndarray, "*batch D"]:
    log_scaled, values = np.asarray(log_scaled, dtype=bool), np.asarray(values, dtype=np.float64)
    if (values[..., log_scaled] <= 0).any():
        raise ValueError("values must be positive where the logarithm is taken, got some at or below zero")
    return logs(values, log_scaled)
