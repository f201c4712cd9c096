r"""One posterior's dependence with another's marginals, quantity by quantity.

A mixture over simulations is no sharper than the simulations are dense, so it can lose what an estimator reads off a
wave with certainty, such as the heart rate, while it corrects what the simulator gets wrong. Patients with known truth,
who must not serve the limit, tell which posterior to believe on which quantity: the one with the smaller continuous
ranked probability score. Draws of the other are put in the order of the draws they replace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float

__all__ = ["graft_marginals", "ranked_score", "sharper_marginals"]

Draws = Mapping[str, Float[np.ndarray, "*N S"]]

_TIED = ("SV", "CO", "SVR")
"""Tied by a pressure and a rate that the wave tells: their product is sharp in each posterior, not across two."""


def ranked_score(draws: Float[np.ndarray, "N S"], truth: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    r"""Continuous ranked probability score of draws: the mean distance to the truth less half that between draws.

    Arguments:
        draws: Draws for each case.
        truth: True values.

    Example:
        >>> ranked_score(np.array([[0.0, 2.0]]), np.array([1.0])).tolist()
        [0.5]
    """
    ordered = np.sort(np.asarray(draws, dtype=np.float64), axis=1)
    s = ordered.shape[1]
    gaps = 2.0 * np.arange(1, s + 1) - s - 1
    between = 2.0 * (ordered @ gaps) / s**2
    return np.asarray(np.abs(ordered - np.asarray(truth)[:, None]).mean(1) - 0.5 * between)


def sharper_marginals(draws: Draws, other: Draws, truth: Mapping[str, Float[np.ndarray, " N"]]) -> tuple[str, ...]:
    r"""Quantities on which the other posterior has the smaller mean ranked score.

    Stroke volume, cardiac output and resistance are judged together, by the mean logarithm of the ratio, and go
    together: with one from each posterior their product would be wrong where each posterior has it right.

    Arguments:
        draws: Draws of one posterior.
        other: Draws of the other for the same patients.
        truth: True values; NaN where there is none. These patients must not serve the limit.

    Example:
        >>> wide, narrow = np.array([[50.0, 90.0]]), np.array([[69.0, 71.0]])
        >>> sharper_marginals({"HR": wide}, {"HR": narrow}, {"HR": np.array([70.0])})
        ('HR',)
    """
    gains: dict[str, float] = {}
    for name, values in truth.items():
        known = np.isfinite(values)
        if name not in draws or name not in other or not known.any():
            continue
        own, theirs = (float(ranked_score(np.asarray(d[name])[known], values[known]).mean()) for d in (draws, other))
        gains[name] = float(np.log(max(own, 1e-300) / max(theirs, 1e-300)))
    judged = [gains.pop(name) for name in _TIED if name in gains]
    found = [name for name, gain in gains.items() if gain > 0]
    if judged and np.mean(judged) > 0:
        found += [name for name in _TIED if name in draws and name in other]
    return tuple(found)


def graft_marginals(draws: Draws, other: Draws, names: Iterable[str]) -> dict[str, Float[np.ndarray, "*N S"]]:
    r"""Draws with some marginals from another posterior; ranks, so the dependence, stay.

    Arguments:
        draws: Draws of one posterior.
        other: Draws of the other, as many for the same cases.
        names: Quantities whose marginals are replaced.

    Raises:
        ValueError: If a quantity is missing or shapes differ.

    Example:
        >>> graft_marginals({"HR": np.array([[3.0, 1.0]])}, {"HR": np.array([[60.0, 70.0]])}, ["HR"])["HR"].tolist()
        [[70.0, 60.0]]
    """
    made = {name: np.asarray(values) for name, values in draws.items()}
    for name in names:
        if name not in made or name not in other or np.shape(other[name]) != made[name].shape:
            raise ValueError(
                f"{name} must have draws of one shape in both posteriors, got {sorted(made)}, {sorted(other)}"
            )
        order = made[name].argsort(axis=-1, kind="stable").argsort(axis=-1, kind="stable")
        made[name] = np.take_along_axis(np.sort(np.asarray(other[name]), axis=-1), order, axis=-1)
    return made
