r"""Averages over the windows of a pool, weighted by how near in time they are.

For each scale $\tau$ and window $i$, $g(i) = \sum_j e^{-|t_i - t_j|/\tau} \phi_j / \sum_j e^{-|t_i - t_j|/\tau}$, over
all windows of the pool or, in a causal pool, over those up to $i$. The first average is over the patient; the others
end where the sensor changes. In order of time the sums follow a recursion, so a day of windows costs no more per window
than a minute, and the running average of a monitor needs only its last state.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["SCALES_S", "pool_averages", "pool_of"]

SCALES_S = (math.inf, math.inf, 600.0, 60.0)
"""Time scales of the averages [s]: one over the patient, the others over the windows of one state of the sensor."""


def pool_averages(
    features: Float[np.ndarray, "W F"],
    time_s: Float[np.ndarray, " W"],
    *,
    causal: bool,
    states: Int[np.ndarray, " W"] | None = None,
    counted: Bool[np.ndarray, " W"] | None = None,
) -> tuple[Float[np.ndarray, "W scale F"], Float[np.ndarray, "W scale"]]:
    r"""Averages at every window over its pool.

    Arguments:
        features: What is averaged, in order of time.
        time_s: Start of every window [s], not falling.
        causal: Whether a window's pool ends with itself.
        states: Number of the sensor's state in every window; one for all where None.
        counted: Whether a window counts in the averages, which are told at all; every one does where None. In every
            state one must, in a causal pool the first.

    Returns:
        Averages and effective numbers of windows, for each scale.

    Raises:
        ValueError: If times fall.

    Example:
        >>> averages, counts = pool_averages(np.array([[1.0], [3.0]]), np.array([0.0, 8.0]), causal=True)
        >>> averages[:, 0, 0].tolist(), counts[:, 0].tolist()
        ([1.0, 2.0], [1.0, 2.0])
    """
    features, time_s = np.asarray(features, np.float64), np.asarray(time_s, np.float64)
    if bool(np.any(np.diff(time_s) < 0)):
        raise ValueError("time_s must not fall: sort the windows by their start")
    averages = np.empty((len(features), len(SCALES_S), features.shape[1]), np.float32)
    counts = np.empty((len(features), len(SCALES_S)), np.float32)
    rows = np.concatenate((features, np.ones((len(features), 1))), axis=1)
    rows = rows if counted is None else rows * counted[:, None]
    same = np.ones(max(len(rows) - 1, 0)) if states is None else (np.diff(states) == 0).astype(float)
    for k, scale in enumerate(SCALES_S):
        keep = np.exp(-np.diff(time_s) / scale) * (same if k else 1.0)
        sums = _decaying_sum(rows, keep)
        if not causal:
            back = _decaying_sum(rows[::-1], keep[::-1])[::-1]
            sums = sums + back - rows
        counts[:, k] = sums[:, -1]
        averages[:, k] = sums[:, :-1] / sums[:, -1:]
    return averages, counts


def _decaying_sum(rows: Float[np.ndarray, "W F"], keep: Float[np.ndarray, " V"]) -> Float[np.ndarray, "W F"]:
    """Sum over the past of each row, of which a share is kept from each to the next."""
    sums = np.array(rows, copy=True)
    for i in range(1, len(rows)):
        sums[i] += keep[i - 1] * sums[i - 1]
    return sums


def pool_of(
    features: Float[Tensor, "B n F"],
    time_s: Float[Tensor, "B n"],
    member: Bool[Tensor, "B n"],
    at: Float[Tensor, "B K"],
    states: tuple[Int[Tensor, "B n"], Int[Tensor, "B K"]] | None = None,
) -> tuple[Float[Tensor, "B K scale F"], Float[Tensor, "B K scale"]]:
    r"""Averages over whole pools at some times: the form that is trained.

    Arguments:
        features: What is averaged.
        time_s: Start of every window [s].
        member: Whether a window is in its pool.
        at: Times at which the averages are taken [s].
        states: Number of the sensor's state in every window, and at those times; one for all where None.

    Example:
        >>> member = torch.ones(1, 2, dtype=torch.bool)
        >>> g, n = pool_of(torch.ones(1, 2, 1), torch.zeros(1, 2), member, torch.zeros(1, 1))
        >>> g.flatten().tolist(), n.flatten().tolist()
        ([1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0])
    """
    apart = (at[:, :, None] - time_s[:, None, :]).abs()
    weights = torch.stack([torch.exp(-apart / scale) for scale in SCALES_S], dim=2) * member[:, None, None, :]
    if states is not None:
        same = (states[1][:, :, None] == states[0][:, None, :])[:, :, None]
        weights = torch.cat((weights[:, :, :1], weights[:, :, 1:] * same), dim=2)
    counts = weights.sum(-1).clamp_min(1e-6)
    averages = torch.einsum("bksn,bnf->bksf", weights, features) / counts[..., None]
    return averages, counts
