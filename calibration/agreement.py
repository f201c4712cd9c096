r"""Agreement of estimates with a reference device: limits of agreement, and trending.

With pairs of estimate $e_i$ and reference $r_i$, the bias is the mean of $d_i = e_i - r_i$, the limits of agreement
$\bar d \pm 1.96\, s_d$, the percentage error $1.96\, s_d / \bar r$. Trending looks at changes between neighbouring
pairs: in the four-quadrant plot the concordance is the share of changes with the same sign, those within a zone about
zero left out; in the polar plot a change becomes the angle between $(\Delta r, \Delta e)$ and the line of identity and
the radius $|\Delta e + \Delta r|/2$.

References:
    Bland & Altman (1986), Lancet 327, 307-310; Critchley & Critchley (1999), J Clin Monit Comput 15, 85-91 (percentage
    error); Critchley, Yang & Lee (2011), J Cardiothorac Vasc Anesth 25, 536-546 (polar plot); Saugel et al. (2015),
    Br J Anaesth 114, 562-575 (concordance, exclusion zones); Bland & Altman (2007), J Biopharm Stat 17, 571-582
    (several pairs of each subject whose true value varies).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["Agreement", "Trending", "agree", "agree_repeated", "pair_up", "track"]

Z = 1.96


@dataclass(frozen=True)
class Agreement:
    r"""Limits of agreement of paired values.

    Arguments:
        mean: Mean of estimate and reference of each pair.
        difference: Estimate minus reference of each pair.
        bias: Mean difference.
        low: Lower limit of agreement.
        high: Upper limit.
        percentage_error: Half width of the limits over the mean reference.

    Example:
        >>> agree(np.array([5.0, 6.0]), np.array([4.0, 6.0])).bias
        0.5
    """

    mean: Float[np.ndarray, " pair"]
    difference: Float[np.ndarray, " pair"]
    bias: float
    low: float
    high: float
    percentage_error: float


@dataclass(frozen=True)
class Trending:
    r"""Changes between neighbouring pairs.

    Arguments:
        reference: Change of the reference.
        estimate: Change of the estimate.
        angle: Angle from the line of identity [degrees], from -180 to 180.
        radius: Half the absolute sum of the two changes.
        concordance: Share of changes outside the zone that have the same sign; NaN without any.
        zone: Half width of the zone about zero.
        counted: Number of changes outside the zone.

    Example:
        >>> track(np.array([4.0, 5.0, 4.0]), np.array([4.0, 6.0, 5.0]), zone=0.5).concordance
        1.0
    """

    reference: Float[np.ndarray, " change"]
    estimate: Float[np.ndarray, " change"]
    angle: Float[np.ndarray, " change"]
    radius: Float[np.ndarray, " change"]
    concordance: float
    zone: float
    counted: int


def pair_up(
    starts_s: Sequence[float],
    ends_s: Sequence[float],
    estimates: Sequence[float],
    reference: Sequence[tuple[float, float]],
    *,
    within_s: float = 30.0,
) -> tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
    r"""Pairs each reference value with the mean of the windows about its time.

    Arguments:
        starts_s: Starts of the windows [s].
        ends_s: Their ends [s].
        estimates: Their estimates.
        reference: (time [s], value) of the reference.
        within_s: A window counts whose middle lies within this time of the reference [s].

    Returns:
        Times [s], estimates and reference values of the pairs.

    Raises:
        ValueError: If the windows do not have one estimate each.

    Example:
        >>> [v.tolist() for v in pair_up([0, 8], [8, 16], [5.0, 6.0], [(8.0, 5.2)])]
        [[8.0], [5.5], [5.2]]
    """
    if not len(starts_s) == len(ends_s) == len(estimates):
        raise ValueError(
            f"windows must have one estimate each, got {len(starts_s)}, {len(ends_s)} and {len(estimates)}"
        )
    middle = 0.5 * (np.asarray(starts_s, dtype=np.float64) + np.asarray(ends_s, dtype=np.float64))
    values = np.asarray(estimates, dtype=np.float64)
    rows = []
    for time, value in reference:
        near = values[(np.abs(middle - time) <= within_s) & np.isfinite(values)]
        if len(near):
            rows.append((time, float(near.mean()), value))
    columns = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return columns[0], columns[1], columns[2]


def agree(estimate: Float[np.ndarray, " pair"], reference: Float[np.ndarray, " pair"]) -> Agreement:
    r"""Limits of agreement.

    Arguments:
        estimate: Estimates.
        reference: Reference values.

    Returns:
        Bias, limits and percentage error.

    Raises:
        ValueError: If there are fewer than two pairs or a value is not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.normal(5.0, 1.0, 4000)
        >>> found = agree(truth + rng.normal(0.3, 0.5, 4000), truth)
        >>> round(found.bias, 1), round(found.high - found.bias, 1)
        (0.3, 1.0)
    """
    estimate, reference = _checked(estimate, reference, 2)
    difference = estimate - reference
    bias, spread = float(difference.mean()), Z * float(difference.std(ddof=1))
    mean = 0.5 * (estimate + reference)
    error = spread / float(reference.mean()) if reference.mean() else float("nan")
    return Agreement(mean, difference, bias, bias - spread, bias + spread, error)


def agree_repeated(
    estimate: Float[np.ndarray, " pair"], reference: Float[np.ndarray, " pair"], subjects: np.ndarray
) -> Agreement:
    r"""Limits of agreement from several pairs of each subject, the true value varying within subjects.

    The variance of a single difference of a new subject is that within subjects plus that between their means,

    $$
    s^2 = \mathrm{MS_w} + \max\!\left(0, \frac{\mathrm{MS_b} - \mathrm{MS_w}}{m_0}\right), \qquad
    m_0 = \frac{n - \sum_k n_k^2 / n}{K - 1},
    $$

    with mean squares within and between $K$ subjects of $n_k$ pairs. Pairs of one subject taken for independent ones
    would make the limits too narrow.

    Arguments:
        estimate: Estimates.
        reference: Reference values.
        subjects: Subject of each pair.

    Returns:
        Bias (the mean of all differences), limits and percentage error.

    Raises:
        ValueError: If there are fewer than two pairs, a value is not finite or subjects do not fit.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> own = np.repeat(rng.normal(0, 1, 50), 40)
        >>> found = agree_repeated(5 + own + rng.normal(0, 0.5, 2000), np.full(2000, 5.0), np.repeat(np.arange(50), 40))
        >>> round((found.high - found.low) / 2 / 1.96, 1)
        1.0
    """
    estimate, reference = _checked(estimate, reference, 2)
    subjects = np.asarray(subjects)
    if subjects.shape != estimate.shape:
        raise ValueError(f"subjects must have one name a pair, got {subjects.shape} for {estimate.shape}")
    difference = estimate - reference
    _, index, counts = np.unique(subjects, return_inverse=True, return_counts=True)
    n, k = len(difference), len(counts)
    if k < 2 or n == k:
        return agree(estimate, reference)
    means = np.bincount(index, difference) / counts
    within = float(np.square(difference - means[index]).sum() / (n - k))
    between = float((counts * np.square(means - difference.mean())).sum() / (k - 1))
    usual = (n - float(np.square(counts).sum()) / n) / (k - 1)
    bias, spread = float(difference.mean()), Z * float(np.sqrt(within + max(0.0, (between - within) / usual)))
    error = spread / float(reference.mean()) if reference.mean() else float("nan")
    return Agreement(0.5 * (estimate + reference), difference, bias, bias - spread, bias + spread, error)


def track(
    estimate: Float[np.ndarray, " pair"], reference: Float[np.ndarray, " pair"], *, zone: float = 0.5
) -> Trending:
    r"""Changes of estimate and reference from pair to pair.

    Arguments:
        estimate: Estimates in order of time.
        reference: Reference values in order of time.
        zone: Half width of the zone about zero in which changes do not count, in their unit.

    Returns:
        Changes, angles and concordance.

    Raises:
        ValueError: If there are fewer than two pairs, a value is not finite or the zone is negative.

    Example:
        >>> found = track(np.array([4.0, 5.0]), np.array([4.0, 5.0]))
        >>> found.angle.tolist(), found.radius.tolist()
        ([0.0], [1.0])
    """
    estimate, reference = _checked(estimate, reference, 2)
    if zone < 0:
        raise ValueError(f"zone must not be negative, got {zone}")
    de, dr = np.diff(estimate), np.diff(reference)
    turned = np.degrees(np.arctan2(de, dr)) - 45.0
    angle = (turned + 180.0) % 360.0 - 180.0
    # A fall of both is as concordant as a rise: the plot's left half is folded onto its right.
    angle = np.where(np.abs(angle) > 90.0, angle - np.sign(angle) * 180.0, angle)
    counted = np.maximum(np.abs(de), np.abs(dr)) > zone
    concordance = float(np.mean(np.sign(de[counted]) == np.sign(dr[counted]))) if counted.any() else float("nan")
    return Trending(dr, de, angle, np.abs(de + dr) / 2, concordance, zone, int(counted.sum()))


def _checked(estimate: np.ndarray, reference: np.ndarray, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    estimate, reference = np.asarray(estimate, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if estimate.shape != reference.shape or estimate.ndim != 1 or len(estimate) < fewest:
        raise ValueError(
            f"estimate and reference must be {fewest} or more pairs, got {estimate.shape} and {reference.shape}"
        )
    if not (np.isfinite(estimate).all() and np.isfinite(reference).all()):
        raise ValueError("estimate and reference must be finite: leave out what is missing")
    return estimate, reference
