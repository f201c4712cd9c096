r"""Sub-populations with uncertainty of their own, and what separates them.

The widths of the posterior intervals of many individuals, on the logarithm, are put to two tests of whether their
density has one mode: the dip test and a likelihood ratio ([`two_modes`][pulsebayes.calibration.identifiability.modes]).
They are cut in the valley of the best density of two modes. Where a corrected p-value is below the level, each
parameter and quantity of the individuals is asked whether it separates the two parts, by the area under its ROC curve
with Mann and Whitney's test, corrected for their number, and by the threshold that a stump learns on one half and keeps
on the other.

A posterior with several modes is found in the same way from its draws. Since a unimodal posterior rarely has a small
p-value, more individuals with $p < 0.01$ than one in a hundred tell of several modes (binomial test).

References:
    Hartigan J.A., Hartigan P.M. (1985), Ann Stat 13:70 (dip test); Mann H.B., Whitney D.R. (1947), Ann Math Stat 18:50.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ..diagnostics.rank_tests import holm
from .dip import dip, dip_p_value, dips
from .modes import two_modes

__all__ = ["Regimes", "Separator", "find_regimes", "modal_share", "separators"]

LEAST_INDIVIDUALS = 100
"""Individuals below which no regime is looked for."""
MODAL_P = 0.01
"""P-value below which a posterior counts as one of several modes."""


@dataclass(frozen=True)
class Separator:
    r"""How well one covariate separates two groups.

    Arguments:
        name: Name of the covariate.
        auc: Area under its ROC curve: chance that one of the second group has a greater value than one of the first.
        p: P-value of Mann and Whitney's test, corrected for the number of covariates (Holm).
        threshold: Threshold of the stump, in the covariate's unit.
        accuracy: Balanced accuracy of the threshold on individuals that it was not learned on.

    Example:
        >>> Separator("age", 0.9, 1e-9, 52.0, 0.85).name
        'age'
    """

    name: str
    auc: float
    p: float
    threshold: float
    accuracy: float

    def to_json(self) -> dict[str, Any]:
        r"""Returns the separator as a JSON-able dictionary."""
        return {
            "name": self.name, "auc": round(self.auc, 4), "p": float(f"{self.p:.3g}"),
            "threshold": float(f"{self.threshold:.5g}"), "accuracy": round(self.accuracy, 4),
        }  # fmt: skip


@dataclass(frozen=True)
class Regimes:
    r"""What the dip test says of the spread of one uncertainty over individuals.

    Arguments:
        dip: The dip.
        p: Its p-value.
        ratio: Twice the log likelihood ratio of two modes to one.
        p_modes: Its p-value.
        n: Individuals.
        cut: Where the modes part, on the scale that was tested.
        share: Share of individuals above the cut.
        levels: Medians below and above the cut.

    Example:
        >>> values = np.concatenate([np.random.default_rng(0).normal(size=200), 9 + np.zeros(200)])
        >>> find_regimes(values).p < 0.001
        True
    """

    dip: float
    p: float
    ratio: float
    p_modes: float
    n: int
    cut: float
    share: float
    levels: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        r"""Returns the regimes as a JSON-able dictionary."""
        return {
            "dip": float(f"{self.dip:.4g}"), "p": float(f"{self.p:.3g}"), "ratio": float(f"{self.ratio:.4g}"),
            "p_modes": float(f"{self.p_modes:.3g}"), "n": self.n,
            "cut": float(f"{self.cut:.5g}"), "share": round(self.share, 4),
            "levels": [float(f"{level:.5g}") for level in self.levels],
        }  # fmt: skip


def find_regimes(values: Float[np.ndarray, " N"]) -> Regimes:
    r"""Puts the uncertainty of individuals to the tests of one mode and parts it at its antimode.

    Arguments:
        values: An uncertainty of each individual, best on the logarithm.

    Raises:
        ValueError: If there are fewer than a hundred individuals, or a value is not finite.

    Example:
        >>> find_regimes(np.random.default_rng(0).normal(size=400)).p > 0.05
        True
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < LEAST_INDIVIDUALS:
        raise ValueError(f"regimes need at least {LEAST_INDIVIDUALS} individuals, got {len(values)}: give a greater -n")
    found, modes = dip(values), two_modes(values)
    cut = modes.cut
    above = values > cut
    parts = [values[~above], values[above]]
    levels = tuple(float(np.median(part)) if len(part) else cut for part in parts)
    p = float(dip_p_value(found, len(values)))
    share = float(above.mean())
    return Regimes(found, p, modes.ratio, modes.p, len(values), cut, share, (levels[0], levels[1]))


def separators(
    groups: Bool[np.ndarray, " N"], covariates: Mapping[str, Float[np.ndarray, " N"]], *, seed: int = 0
) -> list[Separator]:
    r"""Ranks covariates by how well they separate two groups.

    Arguments:
        groups: Whether each individual is of the second group.
        covariates: Values by name; one that never varies is left out.
        seed: Seed of the halves.

    Returns:
        The covariates, that which separates best first; none where a group has fewer than ten individuals.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> age = rng.uniform(20, 80, 300)
        >>> best = separators(age > 60, {"age": age, "luck": rng.normal(size=300)})[0]
        >>> best.name, bool(abs(best.threshold - 60) < 2)
        ('age', True)
    """
    from scipy.stats import mannwhitneyu

    groups = np.asarray(groups, dtype=bool)
    if min(groups.sum(), (~groups).sum()) < 10:
        return []
    half = np.random.default_rng([seed, 7]).random(len(groups)) < 0.5
    names, areas, p, stumps = [], [], [], []
    for name, values in covariates.items():
        values = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values).all() or np.ptp(values) == 0:
            continue
        tested = mannwhitneyu(values[groups], values[~groups])
        names.append(name)
        areas.append(float(tested.statistic) / (groups.sum() * (~groups).sum()))
        p.append(float(tested.pvalue))
        stumps.append(_stump(values, groups, half))
    if not names:
        return []
    rows = zip(names, areas, holm(np.array(p)), stumps, strict=True)
    found = [Separator(name, area, float(corrected), *stump) for name, area, corrected, stump in rows]
    return sorted(found, key=lambda one: -one.accuracy)


def _stump(values: np.ndarray, groups: np.ndarray, half: np.ndarray) -> tuple[float, float]:
    """Threshold that parts one half best, and its balanced accuracy on the other."""
    order = np.argsort(values[half], kind="stable")
    learned, truth = values[half][order], groups[half][order]
    above = truth[::-1].cumsum()[::-1] / max(truth.sum(), 1)
    below = np.concatenate([[0.0], (~truth).cumsum()[:-1]]) / max((~truth).sum(), 1)
    balanced = 0.5 * (above + below)  # for "second group from here on"
    side = 1.0 if balanced.max() >= 1 - balanced.min() else -1.0
    at = int(balanced.argmax() if side > 0 else balanced.argmin())
    threshold = float(learned[at] if at == 0 else 0.5 * (learned[at] + learned[at - 1]))
    guess, other = (values[~half] > threshold) == (side > 0), groups[~half]
    rates = [guess[other].mean() if other.any() else 0.5, (~guess[~other]).mean() if (~other).any() else 0.5]
    return threshold, float(np.mean(rates))


def modal_share(draws: Float[np.ndarray, "N S"]) -> tuple[float, float, Bool[np.ndarray, " N"]]:
    r"""Share of individuals whose posterior has several modes, and whether that is more than chance.

    Arguments:
        draws: Independent draws of the posterior of each individual.

    Returns:
        Share with a dip test below one in a hundred, the p-value of the binomial test, and who they are.

    Example:
        >>> share, p, _ = modal_share(np.random.default_rng(0).normal(size=(50, 200)))
        >>> share, p > 0.5
        (0.0, True)
    """
    from scipy.stats import binom

    modal = dip_p_value(dips(draws), draws.shape[1]) < MODAL_P
    return float(modal.mean()), float(binom.sf(modal.sum() - 1, len(modal), MODAL_P)), np.asarray(modal)
