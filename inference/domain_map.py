r"""Where a window lies among the simulations, on a map of two coordinates, and how far in each view.

The coordinates are the first two principal components of a view of the domain model; the verdict itself is taken among
all of them, so a window may look near on the map and yet be far, never the other way round in all views at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._nearness import COMPONENTS, Nearness, views_of
from .domain import DomainModel
from .pulse_shape import pulse_shape

__all__ = ["DomainMap", "map_domain"]

CLIP = 6.0


@dataclass(frozen=True)
class DomainMap:
    r"""A map of the simulations with one window on it.

    Arguments:
        points: Simulations on the map, with shape (M, 2).
        at: Place of the window; NaN where no beats were found.
        distances: Distance in each view, over the one that only some of every 200 simulations exceed.
        threshold: Distance beyond which a window is outside.
        usual: Median and 95 % quantile of the distances of held-out simulations.

    Example:
        >>> DomainMap(np.zeros((3, 2)), np.zeros(2), {"pulse": 0.4}, 1.1, (0.3, 0.6)).distances["pulse"]
        0.4
    """

    points: Float[np.ndarray, "M 2"]
    at: Float[np.ndarray, " 2"]
    distances: dict[str, float]
    threshold: float
    usual: tuple[float, float]


def map_domain(model: DomainModel, window: Float[np.ndarray, " T"], *, view: str = "pulse") -> DomainMap:
    r"""Places a window on the map of the simulations.

    Arguments:
        model: The domain model.
        window: Pressure at the model's rate [mmHg].
        view: The view whose components are the coordinates: `pulse`, `upstroke` or `traits`.

    Returns:
        The map.

    Raises:
        ValueError: If there is no such view.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> def pulses(n):
        ...     phase = (np.arange(1000) / 125 + rng.uniform(0, 1, (n, 1))) % rng.uniform(0.6, 1.0, (n, 1))
        ...     return 70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1) + 0.2 * rng.normal(size=(n, 1000))
        >>> found = map_domain(DomainModel.fit(pulses(300), fs=125.0, seed=0), pulses(1)[0])
        >>> found.points.shape[1], max(found.distances.values()) < found.threshold
        (2, True)
    """
    if view not in COMPONENTS:
        raise ValueError(f"view must be one of {', '.join(COMPONENTS)}, got {view!r}")
    near = {name: Nearness.of(model.arrays, name) for name in COMPONENTS}
    calibration = model.arrays["calibration"]
    usual = (float(np.median(calibration)), float(np.quantile(calibration, 0.95)))
    shape = pulse_shape(window, float(model.arrays["fs"][0]), role=model.role)
    points = near[view].points[:, :2]
    if shape is None:
        return DomainMap(points, np.full(2, np.nan), {}, model.threshold, usual)
    views = views_of([shape])
    distances = {name: float(part.distances(views[name])[0]) for name, part in near.items()}
    own = near[view]
    scaled = np.clip((views[view] - own.centre) / own.scale, -CLIP, CLIP)
    return DomainMap(points, (scaled @ own.basis)[0, :2], distances, model.threshold, usual)
