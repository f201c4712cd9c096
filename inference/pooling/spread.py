r"""Draws of pools moved so that their intervals hold what they say; ranks stay as they are.

Of a quantity's draws the quantiles 5, 25, 75 and 95 % come $e^a$ times as far from the median as they were, and the
median moves by $a$ times half the distance between the quartiles; draws between go along linearly, those beyond as the
outermost. Every $a$, by quantity, is linear in the logarithm of the number of windows between those of `NODES`, where
it is told; smaller and larger pools take that of the nearest.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["NODES", "QUANTILES", "node_shares", "reach_of", "stretch", "stretch_evenly"]

NODES = (2.0, 10.0, 64.0, 200.0)
"""Windows of the pools at which it is told how draws are moved."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles that are told how to move."""
_MIDDLE = QUANTILES.index(0.5)
_LEAST = 1e-9
_CLOSEST = 0.1  # a median stays as far from a quartile, of the distance between the quartiles


def node_shares(size: Float[Tensor, "*N"]) -> Float[Tensor, "*N node"]:
    r"""How much of each node's factor a pool takes.

    Arguments:
        size: Logarithm of the number of windows.

    Example:
        >>> node_shares(torch.tensor([10.0, 1e4]).log()).tolist()
        [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """
    knots = torch.tensor([math.log(node) for node in NODES])
    x = size.to(knots.dtype).clamp(knots[0], knots[-1])
    last = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    share = (x - knots[last - 1]) / (knots[last] - knots[last - 1])
    eye = torch.eye(len(knots))
    return (1 - share)[..., None] * eye[last - 1] + share[..., None] * eye[last]


def reach_of(draws: Float[Tensor, "n K"]) -> tuple[Float[Tensor, " K"], Float[Tensor, "quantile K"]]:
    r"""Median of draws, and how far from it each quantile is that moves, half the quartiles' distance for itself.

    Arguments:
        draws: Draws of several quantities.

    Example:
        >>> middle, reach = reach_of(torch.arange(101.0)[:, None])
        >>> float(middle), reach[..., 0].tolist()
        (50.0, [45.0, 25.0, 25.0, 25.0, 45.0])
    """
    q = torch.quantile(draws, torch.tensor(QUANTILES), dim=0)
    reach = (q - q[_MIDDLE]).abs()
    reach[_MIDDLE] = 0.5 * (q[_MIDDLE + 1] - q[_MIDDLE - 1])
    return q[_MIDDLE], reach.clamp_min(_LEAST)


def stretch(
    draws: Float[Tensor, "n K"], spread: Float[Tensor, "quantile node K"], size: Float[Tensor, ""]
) -> Float[Tensor, "n K"]:
    r"""Moves draws so that five of their quantiles come where they are told to.

    Arguments:
        draws: Draws of several quantities.
        spread: How to, by quantile, node and quantity.
        size: Logarithm of the number of windows of the pool.

    Example:
        >>> spread = torch.zeros(5, 4, 1)
        >>> spread[3:] = math.log(2.0)
        >>> made = stretch(torch.linspace(-1, 1, 101)[:, None], spread, torch.tensor(0.0))
        >>> round(float(made.min()), 3), round(float(made.max()), 3)
        (-1.0, 2.0)
    """
    if not bool(spread.any()):
        return draws
    middle, reach = reach_of(draws)
    told = torch.einsum("qnk,n->qk", spread, node_shares(size))
    side = torch.tensor(QUANTILES).sub(0.5).sign()[:, None]
    first, factors = middle + side * reach, told.exp()
    moved = middle + side * reach * factors
    low, high = moved[_MIDDLE - 1], moved[_MIDDLE + 1]
    room = _CLOSEST * (high - low)
    moved[_MIDDLE] = torch.clamp(middle + told[_MIDDLE] * reach[_MIDDLE], low + room, high - room)
    moved[0], moved[-1] = torch.minimum(moved[0], low), torch.maximum(moved[-1], high)
    between = moved.diff(dim=0) / first.diff(dim=0).clamp_min(_LEAST)
    slopes = torch.cat((factors[:1], between, factors[-1:]))
    part = (draws[:, None] >= first).sum(1)
    at = (part - 1).clamp_min(0)
    return moved.gather(0, at) + slopes.gather(0, part) * (draws - first.gather(0, at))


def stretch_evenly(
    draws: Float[Tensor, "n K"], spread: Float[Tensor, "2 powers K"], size: Float[Tensor, ""]
) -> Float[Tensor, "n K"]:
    r"""Stretches both sides alike, as layers up to schema 4 are: by distance from the median, along powers of the size.

    Arguments:
        draws: Draws of several quantities.
        spread: Coefficients of the logarithms of the factors, by level, power of the size and quantity.
        size: Logarithm of the number of windows of the pool over that of the most that are told apart, 1 at most.

    Example:
        >>> draws = torch.linspace(-1, 1, 101)[:, None]
        >>> wider = stretch_evenly(draws, torch.full((2, 2, 1), math.log(2.0)), torch.tensor(0.0))
        >>> round(float(wider.max()), 3)
        2.0
    """
    if not bool(spread.any()):
        return draws
    middle = draws.median(0).values
    apart = draws - middle
    half, most = torch.quantile(apart.abs(), torch.tensor([0.5, 0.9]), dim=0).clamp_min(_LEAST)
    most = torch.maximum(most, half * (1 + 1e-6))
    powers = size ** torch.arange(spread.shape[1])
    inner, outer = torch.exp((spread * powers[:, None]).sum(1))
    return middle + apart.sign() * _moved(apart.abs(), half, most, inner, outer)


def _moved(distance: Tensor, half: Tensor, most: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
    """Distances from the median where two of them become so many times what they were."""
    outer = torch.maximum(outer, inner * half / most)
    slope = (outer * most - inner * half) / (most - half)
    between = inner * half + slope * (distance - half)
    beyond = outer * most + outer * (distance - most)
    return torch.where(distance <= half, inner * distance, torch.where(distance <= most, between, beyond))
