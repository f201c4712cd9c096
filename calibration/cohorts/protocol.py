r"""Pairs of estimates and references over the same time, and what else could have been said: the protocol.

Windows of a recording are gathered in bins of a minute; a bin's estimate is the mean of its windows' medians, its
reference the mean of their labels. One-point calibration multiplies a method's estimates of a recording by the factor
that makes them right in the first bin; that bin is not counted again. Methods beside the model: the cohort mean (of the
other subjects), and after calibration the pulse-pressure methods and the last calibrated value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ...waveforms.cohort_table import CohortTable
from ...waveforms.quantities import systemic_vascular_resistance
from .answers import Answers
from .rules import RULES

__all__ = ["LAST", "MEAN", "MODEL", "Pairing", "one_point", "pair_answers"]

MODEL, MEAN, LAST = "model", "cohort mean", "last calibrated value"
ASSUMED_CVP = 8.0
"""Venous pressure of the pulse-pressure methods' resistance [mmHg]: they have none of their own."""


@dataclass(frozen=True)
class Pairing:
    r"""Bins of a cohort for one quantity.

    Arguments:
        quantity: The quantity.
        subject: Number of each bin's subject.
        recording: Number of each bin's recording.
        time_s: Middle of each bin [s].
        reference: Reference of each bin.
        estimates: Estimates by method; NaN where there is none.
        spread: Predicted uncertainty of the model, mean over the bin's windows.
        share: Share of the prior's interval, likewise.
        calibrated: Whether estimates were calibrated by the first bin.

    Example:
        >>> empty = np.zeros(0)
        >>> Pairing("CO", empty.astype(int), empty.astype(int), empty, empty, {}, empty, empty).calibrated
        False
    """

    quantity: str
    subject: Int[np.ndarray, " n"]
    recording: Int[np.ndarray, " n"]
    time_s: Float[np.ndarray, " n"]
    reference: Float[np.ndarray, " n"]
    estimates: Mapping[str, Float[np.ndarray, " n"]]
    spread: Float[np.ndarray, " n"]
    share: Float[np.ndarray, " n"]
    calibrated: bool = False

    def __len__(self) -> int:
        return len(self.reference)


def pair_answers(table: CohortTable, answers: Answers, quantity: str, *, bin_s: float = 60.0) -> Pairing:
    r"""Pairs answers with references, in bins.

    Arguments:
        table: The cohort.
        answers: Answers to its rows.
        quantity: A quantity that is labelled and estimated.
        bin_s: Length of a bin [s].

    Returns:
        Bins with a reference and an estimate of the model.

    Raises:
        ValueError: If the quantity is not labelled or not estimated.

    Example:
        >>> pair_answers.__name__
        'pair_answers'
    """
    if quantity not in table.labels or quantity not in answers.numbers:
        raise ValueError(
            f"{quantity} must be labelled and estimated; labelled are {', '.join(table.labels) or 'none'}, estimated "
            f"{', '.join(answers.numbers) or 'none'}"
        )
    label = np.asarray(table.labels[quantity], np.float64)
    median = np.asarray(answers.column(quantity, "median"), np.float64)
    rows = np.flatnonzero(np.isfinite(label) & np.isfinite(median))
    subject = np.unique(table.subjects, return_inverse=True)[1]
    recording = np.unique([str(path) for path in table.recordings], return_inverse=True)[1]
    bins = np.floor(table.start_s / bin_s).astype(np.int64)
    keys, index = np.unique(np.stack([recording[rows], bins[rows]], axis=1), axis=0, return_inverse=True)
    index = index.reshape(-1)

    def mean(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " n"]:
        known = np.isfinite(values[rows])
        total = np.bincount(index[known], values[rows][known], minlength=len(keys))
        count = np.bincount(index[known], minlength=len(keys))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    owner = np.zeros(len(keys), np.int64)
    owner[index] = subject[rows]
    reference = mean(label)
    estimates = {MODEL: mean(median), MEAN: _others_mean(reference, owner)}
    for name in RULES:
        values = _rule(quantity, answers, name)
        if values is not None:
            estimates[name] = mean(values)
    return Pairing(
        quantity,
        owner,
        keys[:, 0],
        (keys[:, 1] + 0.5) * bin_s,
        reference,
        estimates,
        mean(answers.column(quantity, "spread")),
        mean(answers.column(quantity, "share")),
    )


def one_point(pairing: Pairing) -> Pairing:
    r"""Calibrates every method of every recording by its first bin.

    Arguments:
        pairing: Bins.

    Returns:
        The bins after the first of each recording in which every method has an estimate; with the last calibrated
        value, without the cohort mean.

    Example:
        >>> one, zero = np.ones(3), np.zeros(3, int)
        >>> raw = Pairing("CO", zero, zero, np.arange(3.0), np.array([4.0, 5.0, 6.0]), {"model": 2 * one}, one, one)
        >>> one_point(raw).estimates["model"].tolist(), one_point(raw).estimates["last calibrated value"].tolist()
        ([4.0, 4.0], [4.0, 4.0])
    """
    methods = {name: values for name, values in pairing.estimates.items() if name != MEAN}
    known = np.all([np.isfinite(values) & (values != 0) for values in methods.values()], axis=0)
    kept: list[int] = []
    factors = {name: np.ones(len(pairing)) for name in methods}
    last = np.zeros(len(pairing))
    for number in np.unique(pairing.recording):
        own = np.flatnonzero((pairing.recording == number) & known)
        if len(own) < 2:
            continue
        own = own[np.argsort(pairing.time_s[own])]
        for name, values in methods.items():
            factors[name][own] = pairing.reference[own[0]] / values[own[0]]
        last[own] = pairing.reference[own[0]]
        kept += own[1:].tolist()
    at = np.array(kept, dtype=np.int64)
    estimates = {name: (values * factors[name])[at] for name, values in methods.items()}
    return Pairing(
        pairing.quantity,
        pairing.subject[at],
        pairing.recording[at],
        pairing.time_s[at],
        pairing.reference[at],
        {**estimates, LAST: last[at]},
        pairing.spread[at],
        pairing.share[at],
        True,
    )


def _others_mean(reference: Float[np.ndarray, " n"], subject: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Mean over the other subjects of their mean reference; NaN where there is only one."""
    names, index = np.unique(subject, return_inverse=True)
    if len(names) < 2:
        return np.full(len(reference), np.nan)
    means = np.bincount(index, reference) / np.bincount(index)
    return np.asarray(((means.sum() - means) / (len(names) - 1))[index])


def _rule(quantity: str, answers: Answers, name: str) -> Float[np.ndarray, " N"] | None:
    """A pulse-pressure method's estimate up to a factor; None where it has none of this quantity."""
    output = answers.rules[name]
    if not np.isfinite(output).any():
        return None
    if quantity == "CO":
        return output
    if quantity == "SVR":
        safe = np.where(np.isfinite(output) & (output > 0), output, np.nan)
        return np.asarray(systemic_vascular_resistance(answers.mean, ASSUMED_CVP, safe))
    return None
