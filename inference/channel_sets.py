r"""Sets of channels that an estimator of several channels learns from.

A simulated window of four channels tells what each of them, each pair and all four tell: every set is a window of its
own, while the costly part of the embedding, what a channel tells by itself, is computed once. So pairs are seen several
times as often for the same work, and beside the single channels they are made of, on the same noise: that a second
channel takes nothing away is learned from differences that noise does not blur.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

__all__ = ["drawn_sets"]


def drawn_sets(
    given: Bool[np.ndarray, "N C"], n: int, rng: np.random.Generator, *, sizes: Sequence[float] = ()
) -> Bool[np.ndarray, "S N C"]:
    r"""Draws sets of the channels that windows have; the first is all of them.

    Arguments:
        given: Channels that each window has, at least one.
        n: Sets to draw beside the first.
        rng: Source of randomness.
        sizes: Weights of sets of one, two, ... channels, those of more channels than a window has being left out; empty
            for any size alike.

    Returns:
        ``n + 1`` sets of each window; of a size every set alike.

    Raises:
        ValueError: If windows have no channels, or one has none, there are not as many weights as channels, one is
            negative, or that of single channels, which every window has, is not positive.

    Example:
        >>> given = np.array([[True, True, False]])
        >>> drawn_sets(given, 2, np.random.default_rng(0)).sum(-1)[:, 0].tolist()
        [2, 2, 1]
    """
    if given.ndim != 2:
        raise ValueError("sets are of several channels, got windows of one: set sets = 0")
    count = given.sum(-1)
    if not count.all():
        raise ValueError("every window must have a channel, got one without any")
    weights = np.asarray(sizes if len(sizes) else np.ones(given.shape[-1]), dtype=float)
    if len(weights) != given.shape[-1] or not (weights >= 0).all() or not weights[0] > 0:
        raise ValueError(f"sizes must be {given.shape[-1]} weights, none negative and the first positive, got {sizes}")
    reach = weights.cumsum()
    size = 1 + np.searchsorted(reach, rng.random((n, len(given))) * reach[count - 1], side="right")
    order = np.where(given, rng.random((n, *given.shape)), np.inf).argsort(-1).argsort(-1)
    return np.concatenate((given[None], (order < size[..., None]) & given))
