r"""How good posteriors of labelled recordings are: density at the truth, width, bias.

With $u$ the rank of the truth among the draws, scaled to $[0, 1]$, the smallest central interval that holds the truth
has level $2 |u - \tfrac12|$, so the area between the diagonal and the coverage curve is

$$
\mathrm{ACAUC} = \int_0^1 (\alpha - \mathrm{coverage}(\alpha))\,d\alpha = \operatorname{E} 2 |u - \tfrac12| - \tfrac12 ,
$$

positive for over-confident posteriors, zero for calibrated ones, at least $-\tfrac12$. The mean rank less one half is
another thing: it measures bias, not width.

References:
    | A crisis in simulation-based inference? (Hermans et al., 2022), https://arxiv.org/abs/2110.06581
    | Addressing misspecification in simulation-based inference through data-driven calibration (Wehenkel et al., 2025),
      https://arxiv.org/abs/2405.08719
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .diagnostics.rank_tests import ranks

__all__ = ["LPP", "acauc", "acauc_density", "lpp", "rank_bias", "wasserstein"]


@dataclass(frozen=True)
class LPP:
    r"""Mean log posterior probability of the truth.

    Arguments:
        mean: Mean over all recordings: minus infinity if one of them has no density at the truth.
        finite: Mean over the recordings that have one.
        infinite: Share of the recordings that have none.

    Example:
        >>> lpp(np.array([-1.0, -3.0])).mean
        -2.0
    """

    mean: float
    finite: float
    infinite: float


def lpp(log_p: Float[np.ndarray, " N"]) -> LPP:
    r"""Summarises log densities at the truth; minus infinity is counted, never dropped.

    Arguments:
        log_p: Log density of each truth under its posterior, with respect to the parameters in their units.

    Raises:
        ValueError: If there is none, or one is NaN or plus infinity.

    Example:
        >>> lpp(np.array([-1.0, -np.inf]))
        LPP(mean=-inf, finite=-1.0, infinite=0.5)
    """
    log_p = np.asarray(log_p, dtype=np.float64)
    if log_p.ndim != 1 or not len(log_p) or np.isnan(log_p).any() or np.isposinf(log_p).any():
        raise ValueError(f"log_p must hold log densities, none NaN or plus infinity, got shape {log_p.shape}")
    good = np.isfinite(log_p)
    finite = float(log_p[good].mean()) if good.any() else float("-inf")
    return LPP(float(log_p.mean()), finite, float(1.0 - good.mean()))


def acauc(draws: Float[np.ndarray, "N S D"], truth: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " D"]:
    r"""Area between the diagonal and the coverage curve of central intervals, by dimension.

    Arguments:
        draws: Posterior draws.
        truth: True values.

    Returns:
        Positive for over-confident posteriors.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> narrow = acauc(0.5 * rng.normal(size=(500, 200, 1)), rng.normal(size=(500, 1)))
        >>> bool(0.1 < narrow[0] < 0.25)
        True
    """
    return np.asarray(np.mean(2.0 * np.abs(ranks(draws, truth) - 0.5), axis=0) - 0.5)


def acauc_density(log_p_draws: Float[np.ndarray, "N S"], log_p_truth: Float[np.ndarray, " N"]) -> float:
    r"""Area between the diagonal and the coverage curve of regions of highest density, all dimensions together.

    Arguments:
        log_p_draws: Log density of each posterior at its own draws.
        log_p_truth: Log density of each posterior at the truth.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> draws, truth = rng.normal(size=(500, 200)), rng.normal(size=500)
        >>> bool(abs(acauc_density(-(draws**2), -(truth**2))) < 0.05)
        True
    """
    level = (np.asarray(log_p_draws) > np.asarray(log_p_truth)[:, None]).mean(1)
    return float(level.mean() - 0.5)


def rank_bias(draws: Float[np.ndarray, "N S D"], truth: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " D"]:
    r"""Mean rank of the truth less one half: positive where posteriors lie too low; says nothing of their width.

    Arguments:
        draws: Posterior draws.
        truth: True values.

    Example:
        >>> rank_bias(np.zeros((3, 10, 1)), np.ones((3, 1))).tolist()
        [0.5]
    """
    return np.asarray(ranks(draws, truth).mean(0) - 0.5)


def wasserstein(a: Float[np.ndarray, "N D"], b: Float[np.ndarray, "M D"]) -> float:
    r"""2-Wasserstein distance between two samples, by exact transport.

    Arguments:
        a: First sample.
        b: Second sample.

    Example:
        >>> a = np.random.default_rng(0).normal(size=(50, 2))
        >>> round(wasserstein(a, a + [3.0, 4.0]), 6)
        5.0
    """
    from .transport import Cost, exact_plan

    return float(np.sqrt(max(exact_plan(Cost.of_points(a, b, "sqeuclidean")).value, 0.0)))
