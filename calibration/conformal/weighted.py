r"""Limits under covariate shift, and limits by group.

If new cases differ from the calibration cases only in how often each $x$ occurs, with the density ratio
$w(x) = dP_{\text{new}}/dP_{\text{calibration}}$ known, the weighted quantile

$$
q(x) = \inf\Bigl\{ t : \frac{\sum_i w(x_i)\, 1\{s_i \le t\}}{\sum_i w(x_i) + w(x)} \ge 1 - \alpha \Bigr\}
$$

covers with probability at least $1 - \alpha$; it is infinite where a new case weighs too much. With groups (Mondrian
conformal prediction: by age band, by rhythm, by device) each group has its own order statistic, and the promise holds
within each group.

References:
    | Conformal Prediction Under Covariate Shift (Tibshirani, Barber, Candes & Ramdas, 2019),
      https://arxiv.org/abs/1904.06019
    | Mondrian confidence machine (Vovk, Lindsay, Nouretdinov & Gammerman, 2003)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from .order import check_alpha, conformal_limit

__all__ = ["group_limits", "limits_of_groups", "weighted_limits"]


def weighted_limits(
    scores: Float[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"],
    new_weights: Float[np.ndarray, " m"],
    alpha: float,
) -> Float[np.ndarray, " m"]:
    r"""Limit of each new case under covariate shift.

    Arguments:
        scores: Scores of the calibration cases.
        weights: Density ratio at each calibration case, up to a common factor.
        new_weights: Density ratio at each new case, up to the same factor.
        alpha: Share of new cases that may be missed.

    Returns:
        One limit for each new case, infinity where it weighs too much.

    Raises:
        ValueError: If shapes differ, or a weight is negative or not finite.

    Example:
        >>> weighted_limits(np.arange(1.0, 20.0), np.ones(19), np.array([1.0, 5.0]), 0.1)
        array([18., inf])
    """
    check_alpha(alpha)
    scores, weights, new = (np.asarray(v, dtype=np.float64) for v in (scores, weights, new_weights))
    if scores.shape != weights.shape or np.isnan(scores).any():
        raise ValueError(f"scores and weights must have one shape and no NaN, got {scores.shape} and {weights.shape}")
    every = np.concatenate([weights, new])
    if not np.isfinite(every).all() or (every < 0).any():
        raise ValueError("weights must be finite and not negative: they are density ratios dP_new/dP_calibration")
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order])
    wanted = (1 - alpha) * (weights.sum() + new)
    place = np.searchsorted(reached, wanted - 1e-9 * weights.sum(), side="left")
    return np.asarray(np.append(scores[order], math.inf)[place])


def group_limits(
    scores: Float[np.ndarray, " n"], groups: Sequence[object] | np.ndarray, alpha: float
) -> dict[object, float]:
    r"""Limit of each group.

    Arguments:
        scores: Scores of the calibration cases.
        groups: Group of each case, any labels.
        alpha: Share of new cases of each group that may be missed.

    Returns:
        Limit by group; infinity where a group has too few cases.

    Example:
        >>> group_limits(np.arange(24.0), ["young"] * 12 + ["old"] * 9 + ["new device"] * 3, 0.1)
        {'young': 11.0, 'old': 20.0, 'new device': inf}
    """
    labels = np.asarray(groups).tolist()
    scores = np.asarray(scores, dtype=np.float64)
    if len(labels) != len(scores):
        raise ValueError(f"groups must name the group of each of the {len(scores)} scores, got {len(labels)}")
    rows: dict[object, list[int]] = {}
    for i, label in enumerate(labels):
        rows.setdefault(label, []).append(i)
    return {label: conformal_limit(scores[own], alpha) for label, own in rows.items()}


def limits_of_groups(limits: Mapping[object, float], groups: Sequence[object] | np.ndarray) -> Float[np.ndarray, " m"]:
    r"""Limit of each new case by its group; infinity for a group that was not in the calibration set.

    Arguments:
        limits: Limit by group, from ``group_limits``.
        groups: Group of each new case.

    Example:
        >>> limits_of_groups({"young": 2.0}, ["young", "neonate"])
        array([ 2., inf])
    """
    return np.array([limits.get(label, math.inf) for label in np.asarray(groups).tolist()])
