r"""Subgroups of held-out simulations: age, heart rate, pressure, rhythm and noise.

Groups by what a window shows (rate, pressure, noise, rhythm) must be covered as all are. A group by what it does not
show (age) need not be, even by the exact posterior: an old patient whose window looks young is rightly taken for
younger. Coverage is measured in both, and the tolerance of five points leaves room for it. Rhythm is therefore told
from the beats that a window holds and not from the parameter that made them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ...waveforms.beats import detect_beats

__all__ = ["Subgroup", "interval_variation", "noise_level", "subgroups"]


class Subgroup(NamedTuple):
    r"""Some of the simulations.

    Arguments:
        by: What the groups are told apart by.
        label: Which of them this is.
        rows: Its simulations.

    Example:
        >>> Subgroup("age", "65 years and older", np.array([True, False])).rows.sum()
        np.int64(1)
    """

    by: str
    label: str
    rows: Bool[np.ndarray, " N"]


_CUTS = (
    ("age", ("age",), (40.0, 65.0), "years"),
    ("heart rate", ("HR", "heart_rate"), (60.0, 100.0), "/min"),
    ("pressure", ("MAP", "mean_pressure"), (65.0, 100.0), "mmHg"),
)
_NOISE_CUTS = (0.1, 0.4)  # [mmHg]
_IRREGULAR = 0.1


def subgroups(
    columns: Mapping[str, Float[np.ndarray, " N"]],
    x: Float[np.ndarray, "N T"],
    *,
    fs: float = 125.0,
    role: str = "ART",
) -> tuple[Subgroup, ...]:
    r"""Finds the subgroups that simulations can be told apart by.

    Arguments:
        columns: Parameters and quantities that were simulated, by name; what is missing makes no group.
        x: Windows [mmHg], for the noise and the beats that each really has.
        fs: Their sampling rate [Hz].
        role: Role of their channel.

    Returns:
        The groups, in order; those without a row are left out.

    Raises:
        ValueError: If a column has another length than the windows.

    Example:
        >>> found = subgroups({"HR": np.array([50.0, 80.0, 120.0])}, np.zeros((3, 100)))
        >>> [g.label for g in found if g.by == "heart rate"]
        ['below 60 /min', '60 to 100 /min', '100 /min and above']
    """
    wrong = [name for name, column in columns.items() if len(column) != len(x)]
    if wrong:
        raise ValueError(f"columns must have {len(x)} rows as the windows have, got another number for {wrong}")
    found = []
    for by, names, cuts, unit in _CUTS:
        name = next((name for name in names if name in columns), None)
        if name is not None:
            found += _cut(by, np.asarray(columns[name]), cuts, unit)
    variation = interval_variation(x, fs, role=role)
    found += [
        Subgroup("rhythm", f"intervals vary by less than {_IRREGULAR:.0%}", variation < _IRREGULAR),
        Subgroup("rhythm", f"intervals vary by {_IRREGULAR:.0%} or more", variation >= _IRREGULAR),
    ]
    found += _cut("noise", noise_level(x), _NOISE_CUTS, "mmHg")
    return tuple(group for group in found if group.rows.any())


def noise_level(x: Float[np.ndarray, "N T"]) -> Float[np.ndarray, " N"]:
    r"""Standard deviation of the noise in each window, from fourth differences, which a smooth pulse hardly has.

    Arguments:
        x: Windows [mmHg].

    Returns:
        Noise [mmHg], digitisation included.

    Example:
        >>> float(noise_level(np.random.default_rng(0).normal(0, 0.5, (1, 5000))).round(1)[0])
        0.5
    """
    fourth = np.diff(np.asarray(x, dtype=np.float64), n=4, axis=-1)
    return np.asarray(np.quantile(np.abs(fourth), 0.5, axis=-1) / (0.6745 * np.sqrt(70.0)))


def interval_variation(x: Float[np.ndarray, "N T"], fs: float, *, role: str = "ART") -> Float[np.ndarray, " N"]:
    r"""Standard deviation of the intervals between the beats of each window, divided by their mean.

    Arguments:
        x: Windows.
        fs: Sampling rate [Hz].
        role: Role of the channel; beats of all but photoplethysmograms are found as those of a pressure.

    Returns:
        Variation [1]; NaN where a window has fewer than three intervals.

    Example:
        >>> beat = 80 + 40 * np.exp(-(((np.arange(100) - 20) / 10.0) ** 2))
        >>> interval_variation(np.tile(beat, 10)[None], 125.0).round(2).tolist()
        [0.0]
    """
    found = np.full(len(x), np.nan)
    for row, wave in enumerate(np.asarray(x, dtype=np.float64)):
        intervals = np.asarray(detect_beats(wave, fs, role="PLETH" if role == "PLETH" else "ART").intervals_s)
        if len(intervals) >= 3:
            found[row] = intervals.std(ddof=1) / intervals.mean()
    return found


def _cut(by: str, values: Float[np.ndarray, " N"], cuts: tuple[float, ...], unit: str) -> list[Subgroup]:
    edges = (-np.inf, *cuts, np.inf)
    labels = [f"below {cuts[0]:g} {unit}"]
    labels += [f"{low:g} to {high:g} {unit}" for low, high in pairwise(cuts)]
    labels += [f"{cuts[-1]:g} {unit} and above"]
    return [
        Subgroup(by, label, (values >= low) & (values < high))
        for label, low, high in zip(labels, edges[:-1], edges[1:], strict=True)
    ]
