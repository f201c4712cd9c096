r"""The entropic rank with epsilon, radii, directions and reference size chosen by measured volume.

A map fitted on three quarters of the fit's residuals is given a limit on the last, in turn, and the volume of the
region decides. First epsilon, then the radii of the reference points, their directions and their number, each against
the best so far; measured volumes differ by chance, so what replaces it must be smaller by a per cent. The threshold of
the conformal rule sees none of these residuals, so its promise is untouched by the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from .gauge import AbstractFittedGauge, AbstractGauge
from .order import check_alpha, conformal_limit, fewest
from .ranks import EntropicRank, FittedEntropic
from .residual import residual_volumes

__all__ = ["TunedRank", "choose_rank", "tuning_volume"]

_FOLDS = 4

_START = 0.03
"""Epsilon that others must beat: the best on average for 750 residuals of three Gaussians, seeds 500 to 515."""

_CLEARLY = 0.99
"""Share of the best volume so far that another choice must come under."""


def tuning_volume(
    gauge: AbstractGauge, r: Float[np.ndarray, "n d"], *, alpha: float = 0.1, seed: int = 0, points: int = 6000
) -> float:
    r"""Volume of the regions of a gauge fitted on three quarters of the residuals with a limit from the rest.

    The geometric mean over the four quarters and over levels around alpha, so that the choice does not hang on one
    residual.

    Arguments:
        gauge: How the gauge is fitted.
        r: Residuals.
        alpha: Share of new cases that may be missed.
        seed: Seed of the quarters and the fits.
        points: Monte Carlo points of a volume.

    Returns:
        The volume; infinity where a quarter is too small for alpha.

    Example:
        >>> from .gauge import NormGauge
        >>> r = np.random.default_rng(0).normal(size=(2000, 2))
        >>> bool(abs(tuning_volume(NormGauge(), r) - 14.5) < 1)
        True
    """
    order = np.random.default_rng([seed, 5]).permutation(len(r))
    logs = []
    for quarter in range(_FOLDS):
        out = order[quarter::_FOLDS]
        fitted: AbstractFittedGauge = gauge.fit(np.delete(r, out, axis=0), seed=seed)
        scores = fitted(r[out])
        limits = np.array([conformal_limit(scores, share * alpha) for share in (1.3, 1.0, 0.8)])
        if np.isinf(limits).any():
            return float(np.inf)
        logs.append(np.log(residual_volumes(fitted, limits, points, seed)).mean())
    return float(np.exp(np.mean(logs)))


def choose_rank(
    r: Float[np.ndarray, "n d"],
    *,
    alpha: float = 0.1,
    epsilons: Sequence[float] = (0.1, 0.05, 0.03, 0.02, 0.01),
    largest: int = 4096,
    seed: int = 0,
) -> EntropicRank:
    r"""Chooses the settings of an entropic rank by measured volume.

    Arguments:
        r: Residuals that the threshold will not see.
        alpha: Share of new cases that may be missed.
        epsilons: Candidates.
        largest: Most reference points.
        seed: Seed of the quarters and the fits.

    Returns:
        The settings with the smallest volume; the first epsilon, few points and spherical radii where the
            residuals are too few to tell.

    Example:
        >>> choose_rank(np.random.default_rng(0).normal(size=(12, 2))).epsilon
        0.1
    """
    check_alpha(alpha)
    small = min(1024, largest)
    if len(r) < _FOLDS * max(fewest(0.8 * alpha), 10):
        return EntropicRank(epsilons[0], small)
    best = EntropicRank(_START if _START in epsilons else epsilons[0], small, radii="ball")
    volume = tuning_volume(best, r, alpha=alpha, seed=seed)
    tried = [replace(best, epsilon=epsilon) for epsilon in epsilons if epsilon != best.epsilon]
    best, volume = _better(best, volume, tried, r, alpha, seed)
    best, volume = _better(best, volume, [replace(best, radii="spherical")], r, alpha, seed)
    best, volume = _better(best, volume, [replace(best, sampling="shared")], r, alpha, seed)
    if largest > small:
        best, volume = _better(best, volume, [replace(best, n_reference=largest)], r, alpha, seed)
    return best


def _better(
    best: EntropicRank, volume: float, others: Sequence[EntropicRank], r: np.ndarray, alpha: float, seed: int
) -> tuple[EntropicRank, float]:
    """The best of some others if it is clearly smaller."""
    if not others:
        return best, volume
    volumes = [tuning_volume(other, r, alpha=alpha, seed=seed) for other in others]
    least = int(np.argmin(volumes))
    return (others[least], volumes[least]) if volumes[least] < _CLEARLY * volume else (best, volume)


@dataclass(frozen=True)
class TunedRank(AbstractGauge):
    r"""Entropic rank with settings chosen by measured volume on the residuals of the fit.

    Arguments:
        alpha: Share of new cases that may be missed.
        epsilons: Candidates.
        largest: Most reference points.

    Example:
        >>> TunedRank().largest
        4096
    """

    alpha: float = 0.1
    epsilons: tuple[float, ...] = (0.1, 0.05, 0.03, 0.02, 0.01)
    largest: int = 4096

    def fit(self, r: Float[np.ndarray, "n d"], *, seed: int = 0) -> FittedEntropic:
        r"""Chooses, then fits on all residuals.

        Arguments:
            r: Residuals.
            seed: Seed of quarters and fits.
        """
        r = np.asarray(r, dtype=np.float64)
        chosen = choose_rank(r, alpha=self.alpha, epsilons=self.epsilons, largest=self.largest, seed=seed)
        return chosen.fit(r, seed=seed)
