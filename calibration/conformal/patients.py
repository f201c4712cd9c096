r"""Patients, not windows, are exchangeable: limits for one window of a new patient.

Windows of one patient resemble each other, so counting windows promises a coverage that few patients cannot give.
With $n$ patients and $N_i$ windows of patient $i$ (all windows of a patient exchangeable among themselves, patients
exchangeable), two rules keep $1 - \alpha$ for one window of a new patient:

- *one window*: one random window of each patient, then the order statistic. Coverage follows Beta(k, n + 1 - k)
  exactly.
- *hierarchical*: the p-value averaged over all such draws, in closed form,

$$
p(s) = \frac{1}{n + 1} \Bigl( 1 + \sum_i \frac{1}{N_i} \#\{j : s_{ij} \ge s\} \Bigr),
\qquad \text{inside where } p(s) > \alpha .
$$

  The average over *all* draws keeps $1 - \alpha$ (the windows of patient $i$ carry the mass $1/((n+1) N_i)$ each in a
  weighted quantile, with $1/(n+1)$ at infinity); an average over a few random draws is only certain to keep $1 -
  2\alpha$, so it is not offered.

References:
    | Distribution-free prediction sets for two-layer hierarchical models (Dunn, Wasserman & Ramdas, 2022),
      https://arxiv.org/abs/1809.07441
    | Distribution-free inference with hierarchical data (Lee, Barber & Willett, 2023), https://arxiv.org/abs/2306.06342
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from .order import check_alpha, conformal_limit

__all__ = ["hierarchical_limit", "hierarchical_p_values", "one_window_each", "one_window_limit", "patient_codes"]


def patient_codes(patients: Sequence[object] | np.ndarray) -> Int[np.ndarray, " N"]:
    r"""Numbers the patients 0, 1, ... in order of appearance.

    Arguments:
        patients: Patient of each window, any labels.

    Example:
        >>> patient_codes(["b", "a", "b"])
        array([0, 1, 0])
    """
    seen: dict[object, int] = {}
    return np.array([seen.setdefault(p, len(seen)) for p in np.asarray(patients).tolist()], dtype=np.int64)


def one_window_each(patients: Sequence[object] | np.ndarray, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    r"""Draws one window of each patient.

    Arguments:
        patients: Patient of each window.
        rng: Source of randomness.

    Returns:
        Row of the window drawn for each patient.

    Example:
        >>> sorted(int(np.array([0, 0, 1])[i]) for i in one_window_each([0, 0, 1], np.random.default_rng(0)))
        [0, 1]
    """
    codes = patient_codes(patients)
    order = rng.permutation(len(codes))
    _, first = np.unique(codes[order], return_index=True)
    return np.asarray(order[first])


def one_window_limit(
    scores: Float[np.ndarray, " N"],
    patients: Sequence[object] | np.ndarray,
    alpha: float,
    rng: np.random.Generator,
) -> float:
    r"""Limit from one random window of each patient.

    Arguments:
        scores: Scores of all windows.
        patients: Patient of each window.
        alpha: Share of new patients whose window may be missed.
        rng: Source of randomness.

    Example:
        >>> one_window_limit(np.ones(40), np.repeat(np.arange(20), 2), 0.1, np.random.default_rng(0))
        1.0
    """
    return conformal_limit(np.asarray(scores)[one_window_each(patients, rng)], alpha)


def hierarchical_limit(scores: Float[np.ndarray, " N"], patients: Sequence[object] | np.ndarray, alpha: float) -> float:
    r"""Limit of the p-value averaged over all draws of one window a patient.

    Arguments:
        scores: Scores of all windows.
        patients: Patient of each window.
        alpha: Share of new patients whose window may be missed.

    Returns:
        Largest score whose averaged p-value exceeds alpha; infinity where there are too few patients.

    Raises:
        ValueError: If lengths differ, a score is not a number, or alpha is out of range.

    Example:
        >>> hierarchical_limit(np.arange(40.0), np.repeat(np.arange(20), 2), 0.1)
        37.0
        >>> hierarchical_limit(np.arange(40.0), np.repeat(np.arange(4), 10), 0.1)
        inf
    """
    check_alpha(alpha)
    scores, mass = _masses(scores, patients)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(mass[order]) >= 1 - alpha - 1e-9
    return float(scores[order][int(np.argmax(reached))]) if reached.any() else math.inf


def hierarchical_p_values(
    scores: Float[np.ndarray, " N"], patients: Sequence[object] | np.ndarray, new: Float[np.ndarray, "*m"]
) -> Float[np.ndarray, "*m"]:
    r"""P-values averaged over all draws of one window a patient.

    Arguments:
        scores: Scores of all calibration windows.
        patients: Patient of each window.
        new: Scores of windows of new patients.

    Example:
        >>> hierarchical_p_values(np.array([1.0, 3.0, 2.0]), ["a", "a", "b"], np.array([2.5]))
        array([0.5])
    """
    scores, mass = _masses(scores, patients)
    order = np.argsort(scores, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(mass[order])])
    return np.asarray(1.0 - below[np.searchsorted(scores[order], new, side="left")])


def _masses(
    scores: Float[np.ndarray, " N"], patients: Sequence[object] | np.ndarray
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    scores = np.asarray(scores, dtype=np.float64)
    codes = patient_codes(patients)
    if scores.shape != codes.shape or np.isnan(scores).any():
        raise ValueError(
            f"scores and patients must be vectors of one length without NaN, got shapes {scores.shape} and "
            f"{codes.shape}, {int(np.isnan(scores).sum())} NaN"
        )
    counts = np.bincount(codes)
    return scores, 1.0 / ((len(counts) + 1.0) * counts[codes])
