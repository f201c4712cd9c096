r"""How even coverage is over the features: the worst slab.

A slab is the set of cases whose features, projected on a direction, lie between two values. Its coverage is the share
of hits in it; the worst over directions and slabs that hold at least a share $\delta$ of the cases shows where a
score that does not adapt falls short. The slab is found on a part of the cases and measured on the rest: measured
where it was found, it would be too bad for any score.

References:
    | Knowing what You Know: valid and validated confidence sets (Cauchois, Gupta & Duchi, 2021),
      https://arxiv.org/abs/2004.10181
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["worst_slab", "worst_slab_coverage"]


def worst_slab(
    x: Float[np.ndarray, "N p"], hit: Bool[np.ndarray, " N"], directions: Float[np.ndarray, "V p"], *, delta: float
) -> tuple[float, Float[np.ndarray, " p"], float, float]:
    r"""The slab of least coverage among all that hold at least a share delta of the cases.

    Arguments:
        x: Features.
        hit: Whether each case is in its region.
        directions: Directions that are searched.
        delta: Least share of the cases that a slab holds.

    Returns:
        Coverage in the slab, its direction, and its ends along the direction.

    Example:
        >>> x = np.linspace(0, 1, 100)[:, None]
        >>> worst_slab(x, x[:, 0] < 0.8, np.ones((1, 1)), delta=0.2)[0]
        0.0
    """
    x, hit = np.asarray(x, dtype=np.float64), np.asarray(hit, dtype=np.float64)
    n = len(x)
    least = max(1, math.ceil(delta * n))
    length = np.arange(n + 1)[None, :] - np.arange(n + 1)[:, None]
    allowed = length >= least
    found = (math.inf, np.asarray(directions[0]), -math.inf, math.inf)
    for direction in np.asarray(directions, dtype=np.float64):
        place = x @ direction
        order = np.argsort(place, kind="stable")
        total = np.concatenate([[0.0], np.cumsum(hit[order])])
        share = np.where(allowed, (total[None, :] - total[:, None]) / np.maximum(length, 1), np.inf)
        first, last = np.unravel_index(int(share.argmin()), share.shape)
        if share[first, last] < found[0]:
            ends = (float(place[order[first]]), float(place[order[last - 1]]))
            found = (float(share[first, last]), direction, *ends)
    return found


def worst_slab_coverage(
    x: Float[np.ndarray, "N p"],
    hit: Bool[np.ndarray, " N"],
    *,
    delta: float = 0.2,
    directions: int = 1000,
    share: float = 0.25,
    most: int = 500,
    seed: int = 0,
) -> float:
    r"""Coverage of the worst slab, found on a part of the cases and measured on the rest.

    Arguments:
        x: Features; they are standardised first.
        hit: Whether each case is in its region.
        delta: Least share of the cases that a slab holds.
        directions: Number of random directions; one is enough for one feature.
        share: Share of the cases on which the slab is found.
        most: Cases used at most to find it.
        seed: Seed of directions and split.

    Raises:
        ValueError: If shapes do not fit or a share is out of range.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.random((4000, 2))
        >>> uneven = rng.random(4000) < np.where(x[:, 0] > 0.8, 0.6, 0.95)
        >>> bool(abs(worst_slab_coverage(x, uneven) - 0.6) < 0.08)
        True
    """
    x, hit = np.asarray(x, dtype=np.float64), np.asarray(hit, dtype=bool)
    if x.ndim != 2 or hit.shape != (len(x),) or not (0 < delta < 1 and 0 < share < 1):
        raise ValueError(
            f"x and hit must have shapes (N, p) and (N,) and delta and share lie in (0, 1), got {x.shape}, "
            f"{hit.shape}, {delta} and {share}"
        )
    rng = np.random.default_rng(seed)
    scale = x.std(0)
    x = (x - x.mean(0)) / np.where(scale > 0, scale, 1.0)
    ways = rng.normal(size=(directions if x.shape[1] > 1 else 1, x.shape[1]))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    order = rng.permutation(len(x))
    cut = int(share * len(x))
    search, rest = order[: min(cut, most)], order[cut:]
    _, direction, low, high = worst_slab(x[search], hit[search], ways, delta=delta)
    inside = (x[rest] @ direction >= low) & (x[rest] @ direction <= high)
    return float(hit[rest][inside].mean()) if inside.any() else math.nan
