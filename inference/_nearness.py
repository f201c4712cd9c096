r"""Distance of a window to the simulations in one view: nearest neighbours, and what the components leave over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .pulse_shape import TRAITS, PulseShape

__all__ = ["COMPONENTS", "PARTS", "Nearness", "reduce_view", "views_of"]

NEIGHBOURS = 5
COMPONENTS = {"pulse": 12, "upstroke": 10, "traits": len(TRAITS)}
"""Principal components of each view."""
PARTS = ("centre", "scale", "basis", "points", "far")
"""Arrays of each view."""
RATE_WEIGHT = 2.0
"""Weight of the log rate beside a shape: 1 % of rate counts as 2 % of the pulse in one of its samples."""
CLIP = 6.0
"""Features farther than this many scales from the centre count as this far."""

Rows = Float[np.ndarray, "N F"]


def views_of(shapes: list[PulseShape]) -> dict[str, Rows]:
    r"""Returns the three views of some windows, a row each."""
    traits = np.array([shape.traits for shape in shapes])
    rate = RATE_WEIGHT * traits[:, :1]
    return {
        "pulse": np.hstack([np.array([shape.pulse for shape in shapes]), rate]),
        "upstroke": np.hstack([np.array([shape.upstroke for shape in shapes]), rate]),
        "traits": traits,
    }


def reduce_view(name: str, values: Rows) -> dict[str, np.ndarray]:
    r"""Fits centre, scale and principal components of a view, and keeps the references among the components."""
    centre, scale = np.median(values, axis=0), np.ones(values.shape[1])
    if name == "traits":
        low, high = np.quantile(values, [0.16, 0.84], axis=0)
        scale = np.maximum((high - low) / 2, 1e-3)
    scaled = np.clip((values - centre) / scale, -CLIP, CLIP)
    basis = np.linalg.eigh(scaled.T @ scaled / len(scaled))[1][:, ::-1][:, : COMPONENTS[name]]
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
    points = (scaled @ basis).astype(np.float16)
    return {
        "centre": centre.astype(np.float32),
        "scale": scale.astype(np.float32),
        "basis": basis.astype(np.float32),
        "points": points,
        "far": np.ones(1),
    }


class Nearness(NamedTuple):
    r"""One view, ready to measure distances in."""

    centre: Float[np.ndarray, " F"]
    scale: Float[np.ndarray, " F"]
    basis: Float[np.ndarray, "F K"]
    points: Float[np.ndarray, "M K"]
    norms: Float[np.ndarray, " M"]
    far: float

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], name: str) -> Nearness:
        r"""Prepares a view from the arrays of a model."""
        centre, scale, basis, points, far = (arrays[f"{name}/{part}"].astype(np.float64) for part in PARTS)
        return cls(centre, scale, basis, points, (points**2).sum(axis=1), float(far[0]))

    def distances(self, values: Rows) -> Float[np.ndarray, " N"]:
        r"""Returns the distance of each row to the references."""
        scaled = np.clip((values - self.centre) / self.scale, -CLIP, CLIP)
        inner = scaled @ self.basis
        left = ((scaled - inner @ self.basis.T) ** 2).sum(axis=1)
        near = np.empty(len(values))
        for i, row in enumerate(inner):
            squared = self.norms - 2 * (self.points @ row) + row @ row
            nearest = np.partition(squared, NEIGHBOURS)[:NEIGHBOURS]
            near[i] = np.sqrt(np.maximum(nearest, 0)).mean()
        distances: Float[np.ndarray, " N"] = np.sqrt(near**2 + left) / self.far
        return distances
