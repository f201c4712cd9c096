r"""Weighted draws: their weights, how many they are worth, and even ones in their place."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

__all__ = ["effective_share", "normalised", "resampled"]


def normalised(log: Float[np.ndarray, "*K n"]) -> Float[np.ndarray, "*K n"]:
    r"""Weights whose sum is 1.

    Arguments:
        log: Their logarithms, up to a constant.

    Example:
        >>> normalised(np.log([[3.0, 1.0]])).round(9).tolist()
        [[0.75, 0.25]]
    """
    weights = np.exp(log - log.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def effective_share(log: Float[np.ndarray, " n"]) -> float:
    r"""Effective number of weighted draws, $(\sum w)^2 / \sum w^2$, as a share of them.

    Arguments:
        log: Logarithms of their weights, up to a constant.

    Example:
        >>> effective_share(np.array([0.0, 0.0, -99.0, -99.0]))
        0.5
    """
    return float(1.0 / np.square(normalised(log)).sum() / len(log))


def resampled(log: Float[np.ndarray, " n"], m: int, *, offset: float = 0.5) -> Int[np.ndarray, " m"]:
    r"""Rows of weighted draws, resampled systematically, in their order.

    Arguments:
        log: Logarithms of the weights, up to a constant.
        m: Rows.
        offset: Where in each $m$-th of the weight a row is taken, from 0 to 1.

    Example:
        >>> resampled(np.log([0.5, 0.25, 0.25]), 4).tolist()
        [0, 0, 1, 2]
    """
    reached = np.searchsorted(np.cumsum(normalised(log)), (np.arange(m) + offset) / m)
    return np.asarray(np.minimum(reached, len(log) - 1))
