r"""Which windows of a recording count in its pool: no two that overlap, as what they share is one piece of data.

In order of time a window counts if it does not begin before the last that counts has ended. The others are answered
given the pool of those that do, each from its own embedding, and belong to the patient and to the state of the sensor
of the window nearest to them that counts. What a pool shares, its size and its splits so depend on how long was
recorded, not on how often was asked.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["SLACK_S", "begins", "overlaps", "that_count"]

SLACK_S = 0.005
"""How exactly starts and ends are known [s]: they are rounded to samples."""


def overlaps(start_s: float, last_s: float, window_s: float) -> bool:
    r"""Whether a window begins before another has ended.

    Arguments:
        start_s: Its start [s].
        last_s: Start of the other, not after it [s].
        window_s: Length of windows [s].

    Example:
        >>> overlaps(9.0, 8.0, 8.0), overlaps(16.0, 8.0, 8.0)
        (True, False)
    """
    return start_s < last_s + window_s - SLACK_S


def that_count(
    time_s: Float[np.ndarray, " W"], window_s: float, guest: Bool[np.ndarray, " W"] | None = None
) -> Bool[np.ndarray, " W"]:
    r"""Whether windows count in a pool: those that do not overlap one before them that counts.

    Arguments:
        time_s: Start of every window [s], not falling.
        window_s: Length of windows [s].
        guest: Whether a window counts in no case; none where it is not given.

    Example:
        >>> that_count(np.array([0.0, 4.0, 8.0, 15.0, 17.0]), 8.0).tolist()
        [True, False, True, False, True]
    """
    counted, last_s = np.zeros(len(time_s), bool), -np.inf
    for i, start_s in enumerate(time_s):
        if not (guest is not None and guest[i]) and not overlaps(float(start_s), last_s, window_s):
            counted[i], last_s = True, float(start_s)
    return counted


def begins(time_s: Float[np.ndarray, " W"], counted: Bool[np.ndarray, " W"]) -> Int[np.ndarray, " N"]:
    r"""The first window that is nearer to each that counts than to the one before it that does.

    Arguments:
        time_s: Start of every window [s], not falling.
        counted: Whether it counts.

    Example:
        >>> begins(np.array([0.0, 3.0, 4.0, 5.0, 8.0]), np.array([True, False, False, False, True])).tolist()
        [0, 3]
    """
    own = time_s[counted]
    return np.concatenate(([0], np.searchsorted(time_s, 0.5 * (own[:-1] + own[1:]), side="right"))).astype(np.int64)
