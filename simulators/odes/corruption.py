r"""What a measurement does to a trajectory: irregular times, points dropped, gaps, a part of the record only, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["Corruption", "Observed", "interpolate"]

_Array = np.ndarray


@dataclass(frozen=True)
class Observed:
    r"""Trajectories as they were measured.

    Arguments:
        t: Times, increasing.
        x: States.
        u: Inputs.

    Example:
        >>> Observed(np.zeros((1, 2)), np.zeros((1, 2, 1)), np.zeros((1, 2, 0))).x.shape
        (1, 2, 1)
    """

    t: Float[_Array, "B P"]
    x: Float[_Array, "B P D"]
    u: Float[_Array, "B P U"]


@dataclass(frozen=True)
class Corruption:
    r"""How trajectories are measured; every row of a batch gets the same number of points and its own everything else.

    Arguments:
        points: Least and greatest number of points, drawn evenly in the logarithm.
        noise: Greatest standard deviation of the noise, as a share of the value.
        clean: Probability of no noise.
        additive: Probability that the noise is a share of the state's largest magnitude instead.
        drop: Greatest share of the points that is dropped.
        irregular: Probability of times drawn at random.
        gap: Probability of a gap of up to a quarter of the record.
        crop: Probability that only the first part of the record is seen, two fifths at least.

    Raises:
        ValueError: If a probability or a share is not in [0, 1) or there are too few points.

    Example:
        >>> x = np.ones((3, 257, 2)); u = np.zeros((3, 257, 0))
        >>> Corruption(points=(40, 40)).observe(np.random.default_rng(0), x, u).x.shape
        (3, 40, 2)
    """

    points: tuple[int, int] = (32, 512)
    noise: float = 0.1
    clean: float = 0.35
    additive: float = 0.25
    drop: float = 0.5
    irregular: float = 0.2
    gap: float = 0.15
    crop: float = 0.3

    def __post_init__(self) -> None:
        if not 4 <= self.points[0] <= self.points[1]:
            raise ValueError(f"points must be two increasing numbers of at least 4, got {self.points}")
        for name in ("noise", "clean", "additive", "drop", "irregular", "gap", "crop"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")

    def observe(
        self,
        rng: np.random.Generator,
        x: Float[_Array, "B T D"],
        u: Float[_Array, "B T U"],
        *,
        horizon: float = 10.0,
    ) -> Observed:
        r"""Measures trajectories.

        Arguments:
            rng: Source of randomness.
            x: States at even times.
            u: Inputs at the same times.
            horizon: Last time.
        """
        low, high = np.log(self.points)
        p = round(float(np.exp(rng.uniform(low, high))))
        t = self.times(rng, len(x), p, horizon)
        seen = interpolate(x, t / horizon), interpolate(u, t / horizon)
        sigma = np.where(rng.random(len(x)) < self.clean, 0.0, rng.uniform(0, self.noise, len(x)))[:, None, None]
        added = (rng.random(len(x)) < self.additive)[:, None, None]
        noisy = []
        for part, share in zip(seen, (1.0, 0.5), strict=True):
            size = np.where(added, np.abs(part).max(1, keepdims=True, initial=0.0), np.abs(part))
            noisy.append(part + share * sigma * size * rng.standard_normal(part.shape))
        return Observed(t, *noisy)

    def times(self, rng: np.random.Generator, n: int, p: int, horizon: float) -> Float[_Array, "n p"]:
        r"""Draws increasing times of measurement.

        Arguments:
            rng: Source of randomness.
            n: Number of rows.
            p: Number of points.
            horizon: Last time.
        """
        dropped = rng.random(n) < 0.5
        full = np.where(dropped, np.ceil(p / (1 - rng.uniform(0, self.drop, n))), p).astype(int)
        rank = np.argsort(np.argsort(np.where(np.arange(full.max()) < full[:, None], rng.random((n, full.max())), 2.0)))
        index = np.sort(np.where(rank < p, np.arange(full.max()), full.max()), axis=1)[:, :p]
        t = index / np.maximum(full - 1, 1)[:, None]
        irregular = rng.random(n) < self.irregular
        t = np.where(irregular[:, None], np.sort(rng.random((n, p)), axis=1), t)
        length = np.where(rng.random(n) < self.gap, rng.uniform(0.05, 0.25, n), 0.0)[:, None]
        start = rng.random((n, 1)) * (1 - length)
        squeezed = t * (1 - length)
        t = np.where(squeezed > start, squeezed + length, squeezed)
        last = np.where(rng.random(n) < self.crop, rng.uniform(0.4, 1.0, n), 1.0)[:, None]
        return np.asarray(t * last * horizon)


def interpolate(x: Float[_Array, "B T C"], s: Float[_Array, "B P"]) -> Float[_Array, "B P C"]:
    r"""Values between even times, by cubics through four points.

    Arguments:
        x: Values at even times.
        s: Times as shares of the record, in [0, 1].

    Returns:
        Values, with an error of the fourth order.

    Example:
        >>> x = np.linspace(0, 1, 11)[None, :, None] ** 3
        >>> round(float(interpolate(x, np.array([[0.55]]))[0, 0, 0]), 6)
        0.166375
    """
    n = x.shape[1]
    place = np.clip(s, 0.0, 1.0) * (n - 1)
    first = np.clip(np.floor(place).astype(int) - 1, 0, n - 4)
    r = (place - first)[..., None]
    rows = np.arange(len(x))[:, None]
    y = [x[rows, first + k] for k in range(4)]
    weights = (
        -(r - 1) * (r - 2) * (r - 3) / 6,
        r * (r - 2) * (r - 3) / 2,
        -r * (r - 1) * (r - 3) / 2,
        r * (r - 1) * (r - 2) / 6,
    )
    return np.asarray(sum(w * v for w, v in zip(weights, y, strict=True)))
