r"""Whether regions hold the truth as often as they promise: central, shortest, and of highest density.

All take draws with shape (N simulations, S draws, D quantities). Central intervals and regions of highest density are
judged by ranks and have no error of their own; the shortest interval is chosen on the draws it is judged by and covers
a little less than its level, by about half a point at 1,000 draws.

References:
    | Validating Bayesian Inference Algorithms with Simulation-Based Calibration (Talts et al., 2018),
      https://arxiv.org/abs/1804.06788
    | A crisis in simulation-based inference? (Hermans et al., 2022), https://arxiv.org/abs/2110.06581
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ._checks import Draws, Truth, checked
from .rank_tests import ranks

__all__ = ["coverage", "density_levels", "level_coverage", "shortest_coverage"]


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
    _check_levels(levels)
    alpha = np.asarray(levels, dtype=np.float64)
    distance = np.abs(ranks(draws, truth) - 0.5)
    return np.asarray((distance[None] <= alpha[:, None, None] / 2).mean(1))


def shortest_coverage(draws: Draws, truth: Truth, levels: Sequence[float] = (0.5, 0.9)) -> Float[np.ndarray, "L D"]:
    r"""Share of simulations whose truth lies in the shortest interval that holds a share of the draws.

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
        >>> cover = shortest_coverage(rng.exponential(size=(500, 500, 1)), rng.exponential(size=(500, 1)), (0.9,))
        >>> bool(abs(cover[0, 0] - 0.9) < 0.05)
        True
    """
    draws, truth = checked(draws, truth)
    _check_levels(levels)
    ordered = np.sort(draws, axis=1)
    held = []
    for level in levels:
        within = min(int(np.ceil(level * (draws.shape[1] + 1))), draws.shape[1] - 1)
        start = (ordered[:, within:] - ordered[:, :-within]).argmin(1)[:, None]
        low = np.take_along_axis(ordered, start, 1)[:, 0]
        high = np.take_along_axis(ordered, start + within, 1)[:, 0]
        held.append(((truth >= low) & (truth <= high)).mean(0))
    return np.asarray(held)


def density_levels(log_draws: Float[np.ndarray, "N S"], log_truth: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    r"""Level of the smallest region of highest density that holds each truth, all quantities together.

    Any density may be ranked: in which coordinates it is taken decides the region, not whether its level is right.

    Arguments:
        log_draws: Log density of each posterior at its own draws.
        log_truth: Log density of each posterior at the truth; minus infinity where it has none.

    Returns:
        Levels, uniform on [0, 1] for a calibrated posterior.

    Raises:
        ValueError: If the shapes do not fit or a value is NaN or plus infinity.

    Example:
        >>> density_levels(np.array([[-1.0, -2.0, -3.0, -4.0]]), np.array([-2.5])).tolist()
        [0.5]
    """
    log_draws, log_truth = np.asarray(log_draws), np.asarray(log_truth)
    if log_draws.ndim != 2 or log_truth.shape != log_draws.shape[:1]:
        raise ValueError(
            f"log_draws must have shape (N, S) and log_truth (N,), got {log_draws.shape} and {log_truth.shape}"
        )
    for name, values in (("log_draws", log_draws), ("log_truth", log_truth)):
        if np.isnan(values).any() or np.isposinf(values).any():
            raise ValueError(f"{name} must hold log densities, got NaN or plus infinity")
    return np.asarray((log_draws > log_truth[:, None]).mean(1) + 0.5 * (log_draws == log_truth[:, None]).mean(1))


def level_coverage(u: Float[np.ndarray, " N"], levels: Sequence[float]) -> Float[np.ndarray, " L"]:
    r"""Coverage of regions at some levels, from the level of the smallest region that holds each truth.

    Arguments:
        u: Levels of the smallest regions, from ``density_levels`` or a ``TARP``.
        levels: Levels wanted.

    Example:
        >>> level_coverage(np.array([0.2, 0.4, 0.95]), (0.5, 0.9)).round(2).tolist()
        [0.67, 0.67]
    """
    return np.asarray((np.asarray(u)[None] <= np.asarray(levels)[:, None]).mean(1))


def _check_levels(levels: Sequence[float]) -> None:
    alpha = np.asarray(levels, dtype=np.float64)
    if not np.all((alpha > 0) & (alpha < 1)):
        raise ValueError(f"levels must lie in (0, 1), got {list(levels)}")
