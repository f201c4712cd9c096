r"""Age trends: those that are published of healthy adults, as the simulator has them, and those of the atlas's people.

Published for the baseline adult of each age (Charlton 2019): carotid-femoral wave speed from 5.95 to 10.30 m/s, aortic
pulse pressure growing, its amplification towards the arm falling, arteries widening by 18 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from ...simulators.network.linear import LinearNetwork
from .study import People

__all__ = ["PUBLISHED", "PUBLISHED_WAVE_SPEED", "age_trends", "people_by_age"]

PUBLISHED_WAVE_SPEED = (5.95, 6.54, 7.40, 8.28, 9.24, 10.30)
"""Carotid-femoral wave speed at 25, 35, ... 75 years [m/s], Charlton 2019."""

PUBLISHED: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "PWV": ("wave speed [m/s]", PUBLISHED_WAVE_SPEED),
    "HR": ("heart rate [1/min]", (72.916, 76.803, 77.740, 77.301, 76.514, 74.435)),
    "SV": ("stroke volume [mL]", (66.33, 63.81, 61.29, 58.76, 56.24, 53.71)),
    "MAP": ("mean pressure, here of the root [mmHg]", (88.93, 91.85, 94.99, 95.00, 94.05, 93.05)),
    "D_AorticRoot": ("aortic root [mm]", ()),
    "C": ("compliance [mL/mmHg]", ()),
    "PP_aorta": ("aortic pulse pressure [mmHg]", ()),
    "PP_radial": ("radial pulse pressure [mmHg]", ()),
    "amplification": ("brachial over aortic", ()),
}
"""Trends of the baseline adult, with what is published at 25, 35, ... 75 years where it is, Charlton 2019."""

_AGES = (25.0, 35.0, 45.0, 55.0, 65.0, 75.0)


def age_trends() -> dict[str, Any]:
    r"""Simulates the healthy baseline adult of each age.

    Returns:
        Lists by name, one entry an age: ``age``, ``PWV``, ``C``, ``SV``, ``HR``, ``MAP``, aortic and radial pulse
        pressure ``PP_aorta`` and ``PP_radial``, ``amplification`` (brachial over aortic) and ``D_AorticRoot``.

    Example:
        >>> age_trends()["age"]  # doctest: +SKIP
        [25.0, 35.0, 45.0, 55.0, 65.0, 75.0]
    """
    simulator = LinearNetwork(
        population="healthy", beat="periodic", sites=("AorticRoot", "Brachial", "Radial"), n_frequencies=80,
        diameters=("AorticRoot",),
    )  # fmt: skip
    theta = np.zeros((len(_AGES), simulator.space.dim))
    theta[:, 0] = _AGES
    rows = simulator.simulate(theta, seed=0)
    columns = dict(zip(simulator.quantity_names, np.asarray(rows.quantities, np.float64).T, strict=True))
    central, brachial, radial = np.ptp(np.asarray(rows.waves, np.float64), axis=-1).T
    found = {name: columns[name] for name in ("PWV", "C", "SV", "HR", "MAP", "D_AorticRoot")}
    found |= {"age": np.array(_AGES), "PP_aorta": central, "PP_radial": radial, "amplification": brachial / central}
    return {name: [float(f"{v:.5g}") for v in values] for name, values in found.items()}


def people_by_age(people: People, *, edges: tuple[float, ...] = (20, 30, 40, 50, 60, 70, 80)) -> dict[str, Any]:
    r"""Medians and quartiles of individuals' quantities by decade of age.

    Arguments:
        people: The individuals.
        edges: Edges of the groups of age [years].

    Returns:
        ``age``, the middles, and for each of PWV, C, PP, SV, HR, MAP and D_AorticRoot that is known lists of ``low``,
        ``middle`` and ``high``; empty where ages are not known.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> columns = {"age": rng.uniform(20, 80, 99), "PWV": rng.normal(8, 1, 99)}
        >>> len(people_by_age(People(columns, np.zeros((99, 1)), np.zeros((99, 1, 1))))["PWV"]["middle"])
        6
    """
    columns = dict(people.columns)
    if "age" not in columns:
        return {}
    if {"SBP", "DBP"} <= columns.keys():
        columns["PP"] = columns["SBP"] - columns["DBP"]
    groups = [np.flatnonzero((columns["age"] >= low) & (columns["age"] < high)) for low, high in pairwise(edges)]
    middles = [0.5 * (low + high) for low, high in pairwise(edges)]
    used = [i for i, rows in enumerate(groups) if len(rows) >= 5]
    found: dict[str, Any] = {"age": [middles[i] for i in used], "n": [len(groups[i]) for i in used]}
    for name in ("PWV", "C", "PP", "SV", "HR", "MAP", "D_AorticRoot"):
        if name in columns:
            quartiles = np.array([np.quantile(columns[name][groups[i]], [0.25, 0.5, 0.75]) for i in used])
            parts = zip(("low", "middle", "high"), quartiles.T, strict=True)
            found[name] = {key: [float(f"{v:.5g}") for v in values] for key, values in parts}
    return found
