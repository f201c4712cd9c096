"""A Gaussian model whose posterior is known exactly, and the ways to spoil it."""

from __future__ import annotations

import numpy as np

from pulsebayes.calibration.diagnostics.verdict import Samples

NAMES = ("a", "b", "c")
NOISE = np.array([0.6, 1.0, 0.8])  # of the observations; the prior is standard normal


def exact_samples(
    n: int = 2000,
    s: int = 200,
    *,
    scale: float = 1.0,
    shift: float = 0.0,
    swap: bool = False,
    prior_sd: float = 1.0,
    lost: int = 0,
    seed: int = 0,
    sites: bool = False,
) -> Samples:
    """Draws of the exact posterior; or too narrow, shifted, with two swapped, of another prior, or with NaN.

    With ``sites`` the width is wrong at windows of one kind only, and right on average.
    """
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, 3))
    x = truth + NOISE * rng.normal(size=(n, 3))
    gain = prior_sd**2 / (prior_sd**2 + NOISE**2)
    mean, sd = gain * x + shift, scale * np.sqrt(gain) * NOISE
    sd = sd * np.where(x[:, :1] > 0, 1.35, 0.68) if sites else np.broadcast_to(sd, mean.shape)
    z = mean[:, None] + sd[:, None] * rng.normal(size=(n, s, 3))
    if swap:
        z, mean, sd = z[..., [1, 0, 2]], mean[:, [1, 0, 2]], sd[:, [1, 0, 2]]
    z[:lost, 3, 1] = np.nan
    latent = (truth - mean) / sd
    log_draws = -0.5 * (((z[:, :100] - mean[:, None]) / sd[:, None]) ** 2).sum(-1)
    draws = {name: z[..., d] for d, name in enumerate(NAMES)}
    known = {name: truth[:, d] for d, name in enumerate(NAMES)}
    return Samples(NAMES, draws, known, NAMES, z, truth, log_draws, -0.5 * (latent**2).sum(-1), latent, x)
