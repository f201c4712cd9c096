r"""Tests of accuracy with random points: coverage of all quantities together, for any sampler.

Around a reference point drawn without a look at the data, the ball that reaches to the truth holds a share of the
posterior's draws; for the exact posterior that share is uniform on [0, 1]. The sbi package has the same curve; its
p-value compares the curve with a grid as if both were samples and hardly ever rejects, so ranks are tested here.

References:
    | Sampling-Based Accuracy Testing of Posterior Estimators for General Inference (Lemos et al., 2023),
      https://arxiv.org/abs/2302.03026
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._checks import Draws, Truth, checked

__all__ = ["TARP", "tarp"]


@dataclass(frozen=True)
class TARP:
    r"""Outcome of the test with random points.

    Arguments:
        u: Share of the draws nearer to the reference than the truth, spread over its cell: uniform if calibrated.
        p: Kolmogorov-Smirnov p-value.

    Example:
        >>> TARP(np.array([0.2, 0.7]), 0.9).p
        0.9
    """

    u: Float[np.ndarray, " N"]
    p: float


def tarp(draws: Draws, truth: Truth, *, references: Truth | None = None, seed: int = 0) -> TARP:
    r"""Tests all quantities together with random reference points.

    Arguments:
        draws: Posterior draws, on scales that can be compared: standardise them first.
        truth: Simulated values on the same scales.
        references: Reference points; uniform over the range of the truth where not given.
        seed: Seed of the references and of the spreading.

    Returns:
        Ranks and their p-value.

    Raises:
        ValueError: If the shapes do not fit, a value is not finite, or there are fewer than 100 simulations.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = tarp(rng.normal(size=(300, 200, 2)), rng.normal(size=(300, 2)))
        >>> found.p > 0.01
        True
    """
    from scipy import stats

    draws, truth = checked(draws, truth)
    if len(draws) < 100:
        raise ValueError(f"TARP needs at least 100 simulations, got {len(draws)}")
    rng = np.random.default_rng([seed, 78])
    if references is None:
        low, high = truth.min(0), truth.max(0)
        references = low + (high - low) * rng.random(truth.shape)
    if references.shape != truth.shape:
        raise ValueError(f"references must have shape {truth.shape}, got {references.shape}")
    reach = ((truth - references) ** 2).sum(-1)
    nearer = np.array([(((d - r) ** 2).sum(-1) < a).sum() for d, r, a in zip(draws, references, reach, strict=True)])
    u = (nearer + rng.random(len(nearer))) / (draws.shape[1] + 1)
    return TARP(u, float(stats.kstest(u, "uniform").pvalue))
