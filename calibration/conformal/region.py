r"""Regions as objects: membership, volume, ranges, slices, projections and contours.

A region is the set of targets whose score is at most the limit. Its *projection* on some targets is the shadow of the
whole set: a new case lies in all shadows at once with probability at least $1 - \alpha$. So the range of one target
in a joint region is not a marginal interval of that level; it is wider. A *slice* holds the other targets fixed and
promises nothing by itself. Where the limit is infinite the region is everything, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from .prediction import Prediction
from .score import AbstractFittedScore

__all__ = ["Coordinates", "Plane", "Range", "Region", "Regions", "Volume"]


@dataclass(frozen=True)
class Coordinates:
    r"""Names and units of the targets, and which are scored on the logarithm.

    Arguments:
        names: Name of each target.
        units: Unit of each target.
        log: Whether each is scored on the logarithm, so that no region holds a negative value of it.

    Raises:
        ValueError: If lengths differ or a name occurs twice.

    Example:
        >>> c = Coordinates(("CO", "SVR"), ("L/min", "dyn s cm^-5"), (True, True))
        >>> bool(np.allclose(c.restore(c.transform(np.array([5.0, 1200.0]))), [5.0, 1200.0]))
        True
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    log: tuple[bool, ...]

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.units) == len(self.log) or len(set(self.names)) < len(self.names):
            raise ValueError(f"names must differ and have a unit and a scale each, got {self.names}, {self.units}")

    @classmethod
    def plain(cls, d: int) -> Coordinates:
        r"""Targets y1, y2, ... without units.

        Arguments:
            d: Number of targets.
        """
        return cls(tuple(f"y{j + 1}" for j in range(d)), ("",) * d, (False,) * d)

    def transform(self, y: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
        r"""Targets as they are scored; a value that has no logarithm becomes minus infinity.

        Arguments:
            y: Targets in their units.

        Raises:
            ValueError: If there are more or fewer targets than these.
        """
        y = np.asarray(y, dtype=np.float64)
        if y.shape[-1:] != (len(self.names),):
            raise ValueError(f"expected the {len(self.names)} targets {', '.join(self.names)}, got shape {y.shape}")
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(y > 0, np.log(np.where(y > 0, y, 1.0)), -np.inf)
        return np.where(np.array(self.log), logs, y)

    def restore(self, z: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
        r"""Targets in their units.

        Arguments:
            z: Targets as they are scored.
        """
        z = np.asarray(z, dtype=np.float64)
        log = np.array(self.log)
        return np.where(log, np.exp(np.where(log, z, 0.0)), z)

    def stretch(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        r"""Volume in the units for a unit of volume as scored.

        Arguments:
            z: Targets as they are scored.
        """
        return np.asarray(np.prod(np.where(np.array(self.log), self.restore(z), 1.0), axis=-1))

    def places(self, names: Sequence[str]) -> list[int]:
        r"""Positions of some targets.

        Arguments:
            names: Their names.

        Raises:
            ValueError: If a name is unknown.
        """
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ValueError(f"targets must be among {list(self.names)}, got {unknown}")
        return [self.names.index(name) for name in names]


@dataclass(frozen=True)
class Range:
    r"""Extent of a region along one target.

    Arguments:
        name: Target.
        unit: Its unit.
        low: Least value in the region; minus infinity where it is unbounded.
        high: Greatest value in the region.

    Example:
        >>> Range("CO", "L/min", 4.0, 6.0).high
        6.0
    """

    name: str
    unit: str
    low: float
    high: float


@dataclass(frozen=True)
class Volume:
    r"""Volume of a region, in the product of the targets' units.

    Arguments:
        value: Volume.
        error: Standard error of the Monte Carlo; zero for a closed form.

    Example:
        >>> Volume(2.0, 0.0).value
        2.0
    """

    value: float
    error: float


@dataclass(frozen=True)
class Plane:
    r"""A region in two targets: a slice or a projection, on a grid.

    Arguments:
        names: The two targets.
        axes: Grid of each, in its unit.
        level: Score minus limit, least over the targets not shown; inside where it is not positive.
        kind: ``region``, ``slice`` or ``projection``.

    Example:
        >>> axis = np.linspace(-2, 2, 81)
        >>> plane = Plane(("a", "b"), (axis, axis), np.add.outer(axis**2, axis**2) - 1, "slice")
        >>> round(plane.area, 1), len(plane.contours())
        (3.1, 1)
    """

    names: tuple[str, str]
    axes: tuple[Float[np.ndarray, " a"], Float[np.ndarray, " b"]]
    level: Float[np.ndarray, "a b"]
    kind: str

    @property
    def inside(self) -> Bool[np.ndarray, "a b"]:
        r"""Whether each grid point is inside."""
        return self.level <= 0

    @property
    def area(self) -> float:
        r"""Area, in the product of the two units."""
        widths = [np.gradient(axis) for axis in self.axes]
        return float((self.inside * np.outer(*widths)).sum())

    def contours(self) -> list[Float[np.ndarray, "k 2"]]:
        r"""Closed lines around the inside, each a list of points."""
        from contourpy import contour_generator

        top = np.nanmax(np.where(np.isfinite(self.level), self.level, np.nan))
        level = np.where(np.isfinite(self.level), self.level, max(float(top), 1.0))
        lines = contour_generator(self.axes[0], self.axes[1], level.T).lines(0.0)
        return [np.asarray(line) for line in lines]


@dataclass(frozen=True)
class Region:
    r"""Conformal region of one case.

    Arguments:
        score: The score.
        prediction: What is predicted for the case.
        limit: Members score at most this.
        coordinates: Names, units and scales of the targets.
        alpha: Share of new cases that may be missed.

    Example:
        >>> from .gauge import NormGauge
        >>> from .residual import PlainResidual, ResidualScore
        >>> rng = np.random.default_rng(0)
        >>> fit_on = Prediction(np.zeros((9, 2)))
        >>> score = ResidualScore(PlainResidual(), NormGauge(whiten=False)).fit(fit_on, rng.normal(size=(9, 2)))
        >>> region = Region(score, Prediction(np.zeros((1, 2))), 2.0, Coordinates.plain(2), 0.1)
        >>> region.contains(np.array([[1.0, 1.0], [2.0, 2.0]])).tolist(), round(region.volume().value / np.pi, 1)
        ([True, False], 4.0)
    """

    score: AbstractFittedScore
    prediction: Prediction
    limit: float
    coordinates: Coordinates
    alpha: float

    @property
    def bounded(self) -> bool:
        r"""Whether the limit is finite: it is not where the calibration cases are too few for alpha."""
        return bool(np.isfinite(self.limit))

    def contains(self, y: Float[np.ndarray, "m d"]) -> Bool[np.ndarray, " m"]:
        r"""Whether targets are in the region.

        Arguments:
            y: Targets, each in its unit.
        """
        y = np.atleast_2d(np.asarray(y, dtype=np.float64))
        if self.limit == np.inf:
            return np.ones(len(y), dtype=bool)
        return self._level(self.coordinates.transform(y)) <= 0

    def volume(self, *, n: int = 20000, seed: int = 0) -> Volume:
        r"""Volume by Monte Carlo, in the product of the targets' units.

        Arguments:
            n: Number of points.
            seed: Seed of the points.
        """
        if self.limit == np.inf:
            return Volume(np.inf, 0.0)
        if self.limit == -np.inf:
            return Volume(0.0, 0.0)
        z, weights = self.score.propose(self.prediction, self.limit, n, np.random.default_rng(seed))
        parts = weights * self.coordinates.stretch(z) * (self._level(z) <= 0)
        return Volume(float(parts.mean()), float(parts.std(ddof=1) / np.sqrt(n)))

    def sample(self, n: int, *, seed: int = 0) -> Float[np.ndarray, "n d"]:
        r"""Members, evenly spread over the region as scored.

        Arguments:
            n: Number of members.
            seed: Seed.

        Raises:
            ValueError: If the region is unbounded or no member is found.
        """
        self._need_bounds("sample")
        rng = np.random.default_rng(seed)
        z, weights = self.score.propose(self.prediction, self.limit, 20 * n + 1000, rng)
        weights = weights * (self._level(z) <= 0)
        if not weights.sum() > 0:
            raise ValueError("the region is empty: no target scores within its limit")
        return self.coordinates.restore(z[rng.choice(len(z), size=n, p=weights / weights.sum())])

    def ranges(self, *, seed: int = 0) -> tuple[Range, ...]:
        r"""Extent of the region along each target: its projections, not marginal intervals.

        Arguments:
            seed: Seed of the search where there is no closed form.
        """
        d = self.prediction.dim
        if self.bounded:
            ends = self.coordinates.restore(self.score.ranges(self.prediction, self.limit, seed=seed).T).T
        else:
            ends = np.tile([-np.inf, np.inf], (d, 1))
        named = zip(self.coordinates.names, self.coordinates.units, ends, strict=True)
        return tuple(Range(name, unit, float(low), float(high)) for name, unit, (low, high) in named)

    def slice(self, names: tuple[str, str], *, at: Mapping[str, float] | None = None, grid: int = 101) -> Plane:
        r"""Cut through the region in the plane of two targets; with two targets in all, the region itself.

        Arguments:
            names: The two targets.
            at: Values of the other targets; the prediction's where not given.
            grid: Grid points a side.

        Raises:
            ValueError: If the region is unbounded or a name is unknown.
        """
        axes, points = self._grid(names, grid)
        z = np.broadcast_to(self.prediction.mean[0], (grid * grid, self.prediction.dim)).copy()
        given = dict(at or {})
        fixed = self.coordinates.places(list(given))
        z[:, fixed] = self.coordinates.transform(self._with(given))[fixed]
        z[:, self.coordinates.places(names)] = points
        kind = "region" if self.prediction.dim == 2 else "slice"
        return Plane(names, axes, self._level(z).reshape(grid, grid), kind)

    def projection(self, names: tuple[str, str], *, grid: int = 61, tries: int = 48, seed: int = 0) -> Plane:
        r"""Shadow of the region on the plane of two targets.

        A grid point is in the shadow if some value of the other targets makes it a member; values of the members
        nearest in the plane are tried.

        Arguments:
            names: The two targets.
            grid: Grid points a side.
            tries: Members tried at each grid point.
            seed: Seed of the members.

        Raises:
            ValueError: If the region is unbounded or a name is unknown.
        """
        if self.prediction.dim == 2:
            return self.slice(names, grid=grid)
        from scipy.spatial import cKDTree

        axes, points = self._grid(names, grid)
        places = self.coordinates.places(names)
        members = self.score.members(self.prediction, self.limit, n=20000, seed=seed)
        scale = np.maximum(members[:, places].std(axis=0), 1e-300)
        tries = min(tries, len(members))
        _, near = cKDTree(members[:, places] / scale).query(points / scale, k=tries)
        z = members[near.reshape(len(points), tries)]
        z[:, :, places] = points[:, None]
        level = self._level(z.reshape(-1, z.shape[-1])).reshape(len(points), tries).min(axis=1)
        return Plane(names, axes, level.reshape(grid, grid), "projection")

    def to_json(self) -> dict[str, Any]:
        r"""Alpha and ranges as a JSON-able dictionary; an unbounded end is null."""
        rows = {r.name: {"unit": r.unit, "low": _finite(r.low), "high": _finite(r.high)} for r in self.ranges()}
        return {"alpha": self.alpha, "bounded": self.bounded, "quantities": list(rows), "ranges": rows}

    def _level(self, z: Float[np.ndarray, "m d"]) -> Float[np.ndarray, " m"]:
        """Score minus limit; plus infinity where a value has no logarithm."""
        z = np.asarray(z, dtype=np.float64)
        real = np.isfinite(z).all(axis=1)
        level = np.full(len(z), np.inf)
        if real.any():
            level[real] = self.score.evaluate(self.prediction, z[real][None])[0] - self.limit
        return level

    def _grid(self, names: tuple[str, str], grid: int) -> tuple[Any, Float[np.ndarray, "n 2"]]:
        self._need_bounds("plane")
        places = self.coordinates.places(names)
        if len(set(places)) != 2:
            raise ValueError(f"a plane needs two different targets, got {names}")
        ends = self.score.ranges(self.prediction, self.limit)[places]
        pad = 0.08 * (ends[:, 1] - ends[:, 0])
        scored = [np.linspace(low - p, high + p, grid) for (low, high), p in zip(ends, pad, strict=True)]
        points = np.stack(np.meshgrid(*scored, indexing="ij"), axis=-1).reshape(-1, 2)
        axes = []
        for place, axis in zip(places, scored, strict=True):
            axes.append(np.exp(axis) if self.coordinates.log[place] else axis)
        return tuple(axes), points

    def _with(self, given: Mapping[str, float]) -> Float[np.ndarray, " d"]:
        values = self.coordinates.restore(self.prediction.mean[0])
        for name, value in given.items():
            values[self.coordinates.names.index(name)] = value
        return values

    def _need_bounds(self, what: str) -> None:
        if not self.bounded:
            raise ValueError(
                f"an unbounded region has no {what}: its calibration cases are too few for alpha = {self.alpha:g}; "
                f"give more or raise alpha"
            )


@dataclass(frozen=True)
class Regions:
    r"""Conformal regions of many cases.

    Arguments:
        score: The score.
        prediction: What is predicted for the cases.
        limits: Limit of each case.
        coordinates: Names, units and scales of the targets.
        alpha: Share of new cases that may be missed.

    Example:
        >>> from .draws import QuantileBox
        >>> prediction = Prediction.from_draws(np.random.default_rng(0).normal(size=(3, 99, 2)))
        >>> regions = Regions(QuantileBox(), prediction, np.zeros(3), Coordinates.plain(2), 0.1)
        >>> len(regions), regions[0].bounded, regions.volumes().shape
        (3, True, (3,))
    """

    score: AbstractFittedScore
    prediction: Prediction
    limits: Float[np.ndarray, " N"]
    coordinates: Coordinates
    alpha: float

    def __len__(self) -> int:
        return len(self.prediction)

    def __getitem__(self, i: int) -> Region:
        if not -len(self) <= i < len(self):
            raise IndexError(f"region {i} of {len(self)}")
        case = self.prediction[i % len(self)]
        return Region(self.score, case, float(self.limits[i]), self.coordinates, self.alpha)

    def __iter__(self) -> Iterator[Region]:
        return (self[i] for i in range(len(self)))

    def contains(self, y: Float[np.ndarray, "N d"]) -> Bool[np.ndarray, " N"]:
        r"""Whether the target of each case is in its region.

        Arguments:
            y: Target of each case.
        """
        z = self.coordinates.transform(np.asarray(y, dtype=np.float64))
        real = np.isfinite(z).all(axis=1)
        scores = self.score.score(self.prediction, np.where(real[:, None], z, self.prediction.mean))
        return np.asarray((np.isposinf(self.limits)) | (real & (scores <= self.limits)))

    def volumes(self, *, n: int = 8000, seed: int = 0) -> Float[np.ndarray, " N"]:
        r"""Volume of each region, in the product of the targets' units.

        Arguments:
            n: Monte Carlo points a case, where a closed form does not serve.
            seed: Seed of the points.
        """
        if any(self.coordinates.log):
            return np.array([region.volume(n=n, seed=seed).value for region in self])
        return np.asarray(self.score.volumes(self.prediction, self.limits, n=n, seed=seed))


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None
