r"""Local classifier two-sample test: whether, and at which windows, a posterior can be told from the true one.

The flow takes the truth of each simulation to a latent $z$ that is standard normal, whatever the window, if and only if
the posterior is right. A classifier is taught to tell those latents from fresh normal ones, given the window's context
$c$; its mean squared excess over chance at a window says how far the posterior is off there. The same with normal
latents in place of the true ones gives the law of the statistic under a correct posterior, for every window at once.

The classifier is linear in Hermite polynomials of $z$ up to the second degree, alone and times the leading components
of $c$. Under a correct posterior these are orthonormal, so the discriminant's weights are their means over the
simulations: a fit is one matrix product, and two hundred null fits cost a second. (The sbi package trains a network for
each of them.)

References:
    | L-C2ST: Local Diagnostics for Posterior Approximations in Simulation-Based Inference (Linhart et al., 2023),
      https://arxiv.org/abs/2306.03580
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._checks import finite

__all__ = ["LocalC2ST", "local_c2st"]

_COMPONENTS = 6
_NULLS = 200


@dataclass(frozen=True)
class LocalC2ST:
    r"""Outcome of the local classifier test.

    Arguments:
        statistic: Mean squared excess at each window.
        local_p: P-value of each window, on its own.
        p: P-value of all windows together.

    Example:
        >>> LocalC2ST(np.array([0.1]), np.array([0.4]), 0.3).p
        0.3
    """

    statistic: Float[np.ndarray, " N"]
    local_p: Float[np.ndarray, " N"]
    p: float


def local_c2st(
    latent: Float[np.ndarray, "N D"], context: Float[np.ndarray, "N C"], *, nulls: int = _NULLS, seed: int = 0
) -> LocalC2ST:
    r"""Tests latents of the truth for being standard normal whatever the window.

    Arguments:
        latent: Latent of each simulation's truth.
        context: Context of its window: an embedding, or anything that was observed.
        nulls: Fits under a correct posterior; p-values are those of the gamma law with their mean and variance.
        seed: Seed of the normal latents.

    Returns:
        Statistic and p-value of each window, and a p-value of all.

    Raises:
        ValueError: If the shapes do not fit, a value is not finite, or there are fewer than 200 simulations.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> c = rng.normal(size=(600, 1))
        >>> local_c2st(rng.normal(size=(600, 2)) * np.exp(0.3 * c), c).p < 0.001
        True
    """
    latent, context = np.asarray(latent, dtype=np.float64), np.asarray(context, dtype=np.float64)
    if latent.ndim != 2 or context.ndim != 2 or len(latent) != len(context) or len(latent) < 200:
        raise ValueError(
            f"latent and context must have shapes (N, D) and (N, C) with N at least 200, got {latent.shape} and "
            f"{context.shape}"
        )
    finite(latent, "latent")
    finite(context, "context")
    rng = np.random.default_rng([seed, 77])
    near = _leading(context)
    found = _excess(latent, near)
    null = np.stack([_excess(rng.standard_normal(latent.shape), near) for _ in range(nulls)])
    return LocalC2ST(found, _gamma_p(found, null), float(_gamma_p(found.mean()[None], null.mean(1, keepdims=True))[0]))


def _excess(latent: Float[np.ndarray, "N D"], near: Float[np.ndarray, "N G"]) -> np.ndarray:
    """Mean squared excess over chance of a classifier fitted on latents against normal ones, at each window."""
    weight = near.T @ _hermite(latent) / len(latent)
    return np.asarray(((near @ weight) ** 2).sum(1))


def _hermite(z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N F"]:
    """Orthonormal polynomials of the first and second degree under the standard normal law."""
    z = np.clip(z, -6.0, 6.0)
    i, j = np.triu_indices(z.shape[1], 1)
    return np.concatenate([z, (z**2 - 1) / np.sqrt(2), z[:, i] * z[:, j]], axis=1)


def _leading(context: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N G"]:
    """One and the leading standardised principal components."""
    centred = context - context.mean(0)
    kept = centred[:, centred.std(0) > 1e-9]
    if not kept.shape[1]:
        return np.ones((len(context), 1))
    u, s, _ = np.linalg.svd(kept / kept.std(0), full_matrices=False)
    k = min(_COMPONENTS, int((s > 1e-6 * s[0]).sum()))
    return np.concatenate([np.ones((len(context), 1)), np.clip(u[:, :k] * np.sqrt(len(u)), -3.0, 3.0)], axis=1)


def _gamma_p(found: Float[np.ndarray, " N"], null: Float[np.ndarray, "B N"]) -> Float[np.ndarray, " N"]:
    from scipy import stats

    mean, var = null.mean(0), np.maximum(null.var(0, ddof=1), 1e-300)
    return np.asarray(stats.gamma.sf(found, mean**2 / var, scale=var / mean))
