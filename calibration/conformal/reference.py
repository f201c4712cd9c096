r"""The spherical uniform distribution that residuals are transported to, by points.

Radius uniform on [0, 1] times a uniform direction (not the Lebesgue measure of the ball): the norm of a rank is then
the share of residuals nearer to the centre. Points stand on spheres of radius $1/n_R, \dots, 1$; directions are
Gaussian-transformed scrambled Sobol points, either new on every sphere or the same on all. For regions the uniform
measure of the ball itself, radii $(k / n_R)^{1/d}$, may serve better: it has no peak at the centre, and the power of
the norm is that share.

References:
    | Multivariate Conformal Prediction using Optimal Transport (Klein et al., 2025), https://arxiv.org/abs/2502.03609
    | Optimal Transport-based Conformal Prediction (Thurin et al., 2025), https://arxiv.org/abs/2501.18991
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Float

__all__ = ["Radii", "Sampling", "shells", "spherical_points"]

Sampling = Literal["fresh", "shared"]
"""Directions: new on every sphere, or the same on all."""

Radii = Literal["spherical", "ball"]
"""Radii: uniform on [0, 1], or those of the uniform measure of the ball."""


def spherical_points(
    n: int, d: int, *, sampling: Sampling = "fresh", radii: Radii = "spherical", seed: int = 0
) -> tuple[Float[np.ndarray, "m d"], Float[np.ndarray, " m"]]:
    r"""Reference points on spheres, with weights.

    Arguments:
        n: Number of points; what does not fill a sphere is the weight of one point at the centre.
        d: Dimension.
        sampling: Directions new on every sphere, or the same on all.
        radii: Radii uniform on [0, 1], or those of the uniform measure of the ball.
        seed: Seed of the scrambling.

    Returns:
        Points and their weights, which sum to one.

    Raises:
        ValueError: If fewer than four points are asked for, or the sampling or radii are unknown.

    Example:
        >>> points, weights = spherical_points(1000, 2)
        >>> radius = np.linalg.norm(points, axis=1)
        >>> float(weights.sum().round(9)), bool(abs(weights @ radius - 0.5) < 0.02)
        (1.0, True)
    """
    if n < 4:
        raise ValueError(f"reference points must be at least 4, got {n}; try 1024")
    if sampling not in ("fresh", "shared"):
        raise ValueError(f"sampling must be 'fresh' or 'shared', got {sampling!r}")
    if radii not in ("spherical", "ball"):
        raise ValueError(f"radii must be 'spherical' or 'ball', got {radii!r}")
    n_radii = math.isqrt(n)
    n_directions, n_centre = divmod(n, n_radii)
    lengths = (np.arange(1, n_radii + 1) / n_radii) ** (1 / d if radii == "ball" else 1.0)
    if sampling == "shared":
        directions = np.tile(_directions(n_directions, d, seed), (n_radii, 1, 1))
    else:
        # Consecutive Sobol points are even on every sphere; every k-th of them are not, for k a power of two.
        directions = _directions(n_directions * n_radii, d, seed).reshape(n_radii, n_directions, d)
    points = (directions * lengths[:, None, None]).reshape(-1, d)
    weights = np.full(len(points), 1.0 / n)
    if n_centre:
        points, weights = np.concatenate([points, np.zeros((1, d))]), np.append(weights, n_centre / n)
    return points, weights


def shells(n: int, d: int, *, seed: int = 0) -> Float[np.ndarray, "n d"]:
    r"""As many reference points as residuals, each on a sphere of its own: radii $1/n, \dots, 1$.

    Arguments:
        n: Number of points.
        d: Dimension.
        seed: Seed of the directions and of which radius goes with which.

    Example:
        >>> np.linalg.norm(shells(4, 3), axis=1).round(2).tolist()
        [0.25, 0.5, 0.75, 1.0]
    """
    return _directions(n, d, seed) * (np.arange(1, n + 1) / n)[:, None]


def _directions(n: int, d: int, seed: int) -> Float[np.ndarray, "n d"]:
    from scipy.special import ndtri
    from scipy.stats import qmc

    if d == 1:
        return np.where(np.arange(n) % 2, 1.0, -1.0)[:, None]
    cube = qmc.Sobol(d, scramble=True, rng=np.random.default_rng(seed)).random_base2(max(1, math.ceil(math.log2(n))))
    points = ndtri(np.clip(cube[:n], 1e-12, 1 - 1e-12))
    return np.asarray(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-300))
