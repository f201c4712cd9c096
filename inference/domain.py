r"""The domain verdict: could this window have come from the simulator and its sensor at all?

A window is described by three views of its own ([`pulse_shape`][pulsebayes.inference.pulse_shape]): the median pulse,
the upstroke, each with the logarithm of the rate beside it, because a shape that is possible at 60 /min may be
impossible at 120, and named traits. In view $v$ the distance to the simulations is

$$ d_v^2(x) = \Big( \frac1k \sum_{j \in N_k(x)} \lVert W_v^\top (x_v - x_{v,j}) \rVert \Big)^2
   + \lVert (I - W_v W_v^\top) (x_v - \mu_v) \rVert^2 , $$

the mean distance to the $k$ nearest simulations among the principal components $W_v$ and what those leave over. Each
is divided by its own far quantile $q_v$, and the distance of the window is $d = \max_v d_v / q_v$. Against $n$ other
simulations, observed by the sensor, the conformal p-value is

$$ p = \frac{1 + \#\{ i : d_i \ge d \}}{n + 1} . $$

``shifted`` is $p < 0.05$. ``outside`` is $d$ above a threshold that 0.6 % of simulations exceed when every prior of the
sensor is twice as wide, so that an unusual line is no reason for refusal. Windows that the quality gate refuses are
never asked and do not count. NumPy and SciPy only.

A pulse of an ejection time that nobody has at its rate may lie near the simulations in all views. Where the model has a
[`tempo`][pulsebayes.inference.tempo], ``outside`` is also what that finds impossible, .2 % of the same simulations.

References:
    Angelopoulos & Bates (2023), Conformal prediction: a gentle introduction, Foundations and Trends in Machine
    Learning 16, 494-591 (the p-value: section 5.1, outlier detection).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from ..waveforms.quality import assess as assess_quality
from ._nearness import COMPONENTS, PARTS, Nearness, reduce_view, views_of
from .pulse_shape import RELATIVE_TRAITS, TRAITS, PulseShape, pulse_shape
from .tempo import Tempo

__all__ = ["DomainModel", "DomainVerdict", "fit_domain"]

SHIFTED_BELOW = 0.05
OUTSIDE_SHARE = 0.006
"""Share of simulations with the sensor at twice its width beyond the threshold, below 1 % with a margin."""
FAR_SHARE = 0.005
"""Tail probability at which distances of the three views are made equal."""
REFERENCES = 7000
TAILS = (0.01, 0.99)
"""A trait beyond these quantiles of the simulations is named as the reason."""
TOO_FEW = "fewer than two whole beats were found"


class Sensor(Protocol):
    r"""What observes simulated waveforms, with priors of any width.

    Example:
        >>> from pulsebayes.simulators.sensors import SensorModel
        >>> sensor: Sensor = SensorModel.radial_line()
    """

    def apply(
        self, waves: Any, rng: np.random.Generator, *, fs: float, out_samples: int = 1000, width: float = 1.0
    ) -> Float[np.ndarray, "N samples"]:
        r"""Observes waveforms with parameters drawn for each row."""


@dataclass(frozen=True)
class DomainVerdict:
    r"""Where a window lies against the simulations.

    Arguments:
        verdict: ``inside``, ``shifted`` (answered, marked uncalibrated) or ``outside`` (refused).
        p: Conformal p-value against held-out simulations.
        distance: Distance to the simulations; above 1 only some of every 200 simulations lie.
        reason: What does not fit, in words; None inside.

    Example:
        >>> DomainVerdict("inside", 0.4, 0.3).reason is None
        True
    """

    verdict: str
    p: float
    distance: float
    reason: str | None = None


@dataclass(frozen=True)
class DomainModel:
    r"""Simulations to which windows are compared.

    Arguments:
        arrays: All that was fitted, by name: for each view ``centre``, ``scale``, ``basis``, ``points`` and ``far``;
            sorted distances of the calibration windows; quantiles of every trait; threshold and sampling rate;
            ``relative`` where windows have no unit; and, if there is one, those of the tempo.

    Raises:
        ValueError: If an array is missing.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> def pulses(n):
        ...     phase = (np.arange(1000) / 125 + rng.uniform(0, 1, (n, 1))) % rng.uniform(0.6, 1.0, (n, 1))
        ...     return 70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1) + 0.2 * rng.normal(size=(n, 1000))
        >>> model = DomainModel.fit(pulses(300), fs=125.0, seed=0)
        >>> verdict = model.assess(90 + 30 * np.sin(np.arange(1000) / 17))
        >>> verdict.verdict
        'outside'
        >>> DomainModel.from_arrays(model.to_arrays()).assess(90 + 30 * np.sin(np.arange(1000) / 17)) == verdict
        True
    """

    arrays: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        missing = sorted(set(_NAMES) - set(self.arrays))
        if missing:
            raise ValueError(
                f"a domain model needs the arrays {sorted(_NAMES)}, got none named {missing}: fit it again"
            )
        lost = sorted(name for name in _NAMES if np.isnan(self.arrays[name]).any())
        if lost:
            raise ValueError(
                f"the arrays of a domain model must be numbers, {lost} hold values that are not: fit it again"
            )
        _ = self.tempo

    @classmethod
    def fit(
        cls,
        windows: Float[np.ndarray, "N T"],
        *,
        fs: float,
        seed: int,
        wide: Float[np.ndarray, "M T"] | None = None,
        role: str = "ART",
    ) -> DomainModel:
        r"""Fits the model; windows that the gate refuses are left out.

        Arguments:
            windows: Simulations observed by the sensor [mmHg].
            fs: Sampling rate [Hz].
            seed: Seed of the split into references and calibration windows.
            wide: Other simulations observed by the sensor at twice its width; None to take ``windows`` for them.
            role: ``"ART"``, or ``"PLETH"`` for windows without a unit.

        Returns:
            The model.

        Raises:
            ValueError: If fewer than 100 windows can be used.
        """
        rng = np.random.default_rng([seed, 7])
        usual = _described(windows, fs, role)
        broad = usual if wide is None else _described(wide, fs, role)
        if min(len(usual), len(broad)) < 100:
            raise ValueError(
                f"a domain model needs 100 usable windows, got {len(usual)} and {len(broad)}: simulate more"
            )
        usual_reference, usual_held = _split(usual, rng)
        broad_reference, broad_held = _split(broad, rng)
        reference = usual_reference + (broad_reference if wide is not None else [])
        arrays = {"fs": np.array([fs], np.float64)} | ({"relative": np.ones(1)} if role == "PLETH" else {})
        for name, values in views_of(reference).items():
            arrays |= {f"{name}/{key}": array for key, array in reduce_view(name, values).items()}
        arrays["quantiles"] = np.quantile([shape.traits for shape in reference], TAILS, axis=0)
        unscaled = _scaled({name: Nearness.of(arrays, name) for name in COMPONENTS}, broad_held)
        for name, distances in unscaled.items():
            arrays[f"{name}/far"] = np.quantile(distances, [1 - FAR_SHARE])
        views = {name: Nearness.of(arrays, name) for name in COMPONENTS}
        arrays["threshold"] = np.array([_order_statistic(_joint(views, broad_held), OUTSIDE_SHARE)])
        arrays["calibration"] = np.sort(_joint(views, usual_held)).astype(np.float32)
        return cls(arrays)

    @property
    def threshold(self) -> float:
        r"""Distance beyond which a window is outside."""
        return float(self.arrays["threshold"][0])

    @property
    def role(self) -> str:
        r"""Role of the windows: ``PLETH`` where they have no unit, else ``ART``."""
        return "PLETH" if "relative" in self.arrays else "ART"

    @cached_property
    def tempo(self) -> Tempo | None:
        r"""What knows which ejection times a rate allows; None where it was not fitted."""
        arrays = {name.removeprefix(_TEMPO): self.arrays[name] for name in self.arrays if name.startswith(_TEMPO)}
        return Tempo(arrays) if arrays else None

    def with_tempo(self, tempo: Tempo | None) -> DomainModel:
        r"""The same model with another tempo.

        Arguments:
            tempo: The tempo; None for a model without one.
        """
        arrays = {name: array for name, array in self.arrays.items() if not name.startswith(_TEMPO)}
        own = {} if tempo is None else tempo.arrays
        return DomainModel(arrays | {f"{_TEMPO}{name}": array for name, array in own.items()})

    @cached_property
    def _views(self) -> dict[str, Nearness]:
        return {name: Nearness.of(self.arrays, name) for name in COMPONENTS}

    def assess(self, window: Float[np.ndarray, " T"]) -> DomainVerdict:
        r"""Judges one window.

        Arguments:
            window: Pressure at the model's rate, without missing samples [mmHg].

        Returns:
            The verdict.
        """
        calibration = self.arrays["calibration"]
        shape = pulse_shape(window, float(self.arrays["fs"][0]), role=self.role)
        if shape is None:
            return DomainVerdict("outside", 1 / (len(calibration) + 1), float("inf"), TOO_FEW)
        by_view = {name: float(far[0]) for name, far in _scaled(self._views, [shape]).items()}
        distance = max(by_view.values())
        beyond = len(calibration) - int(np.searchsorted(calibration, distance, side="left"))
        p = (1 + beyond) / (len(calibration) + 1)
        if distance > self.threshold:
            return DomainVerdict("outside", p, distance, self._reason(shape, by_view))
        if self.tempo is not None:
            found = self.tempo.impossible(shape)
            if found is not None:
                return DomainVerdict("outside", min(p, found[0]), distance, found[1])
        if p < SHIFTED_BELOW:
            return DomainVerdict("shifted", p, distance, self._reason(shape, by_view))
        return DomainVerdict("inside", p, distance)

    def assess_many(self, windows: Float[np.ndarray, "N T"]) -> list[DomainVerdict]:
        r"""Judges windows one after another.

        Arguments:
            windows: Pressures, as for ``assess`` [mmHg].
        """
        return [self.assess(window) for window in windows]

    def to_arrays(self) -> dict[str, np.ndarray]:
        r"""Returns the arrays, as a bundle keeps them."""
        kept = [name for name in self.arrays if name in (*_NAMES, "relative") or name.startswith(_TEMPO)]
        return {name: np.ascontiguousarray(self.arrays[name]) for name in kept}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> DomainModel:
        r"""Rebuilds a model from [`to_arrays`][pulsebayes.inference.domain.DomainModel.to_arrays].

        Arguments:
            arrays: The arrays.
        """
        return cls(dict(arrays))

    def _reason(self, shape: PulseShape, by_view: Mapping[str, float]) -> str:
        r"""The trait farthest in a tail, or else the view that is farthest."""
        quantiles = self.arrays["quantiles"]
        low, high = quantiles
        width = np.maximum(high - low, 1e-6)
        below, above = (low - shape.traits) / width, (shape.traits - high) / width
        trait = int(np.maximum(below, above).argmax())
        if max(below[trait], above[trait]) > 0:
            words = TRAITS if self.role == "ART" else RELATIVE_TRAITS
            return list(words.values())[trait][int(above[trait] > below[trait])]
        return _BY_VIEW[max(by_view, key=lambda name: by_view[name])]


_BY_VIEW = {
    "pulse": "the shape of the pulse is unlike any simulated one at this rate",
    "upstroke": "the upstroke is unlike any simulated one at this rate",
    "traits": "rate, steepness, levels and variability do not go together as in the simulations",
}
_TEMPO = "tempo/"
_NAMES = ("fs", "quantiles", "threshold", "calibration", *(f"{v}/{part}" for v in COMPONENTS for part in PARTS))


def fit_domain(
    waves: Float[np.ndarray, "N T"],
    sensor: Sensor,
    *,
    fs: float,
    samples: int = 1000,
    seed: int = 0,
    role: str = "ART",
) -> DomainModel:
    r"""Fits a domain model to simulated waveforms and the sensor that will observe such.

    The first half is observed through the sensor as it is, the second at twice its width.

    Arguments:
        waves: Simulated pressure of usable rows, longer than a window [mmHg].
        sensor: The sensor model.
        fs: Sampling rate [Hz].
        samples: Samples of a window.
        seed: Seed of sensors and splits.
        role: ``"ART"``, or ``"PLETH"`` for windows without a unit.

    Returns:
        The model.

    Raises:
        ValueError: If fewer than 100 windows of either half can be used.

    Example:
        >>> from pulsebayes.simulators.sensors import SensorModel
        >>> rng = np.random.default_rng(0)
        >>> phase = (np.arange(1250) / 125 + rng.uniform(0, 1, (400, 1))) % rng.uniform(0.6, 1.0, (400, 1))
        >>> waves = 70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1)
        >>> fit_domain(waves, SensorModel.radial_line(), fs=125.0).assess(np.full(1000, 90.0)).verdict
        'outside'
    """
    half = len(waves) // 2
    rng = np.random.default_rng([seed, 3])
    usual = sensor.apply(waves[:half], rng, fs=fs, out_samples=samples, width=1.0)
    wide = sensor.apply(waves[half:], rng, fs=fs, out_samples=samples, width=2.0)
    return DomainModel.fit(usual, fs=fs, seed=seed, wide=wide, role=role)


def _described(windows: Float[np.ndarray, "N T"], fs: float, role: str) -> list[PulseShape]:
    unit = None if role == "PLETH" else "mmHg"
    usable = (window for window in windows if assess_quality(window, fs, role=role, unit=unit).usable)
    shapes = (pulse_shape(window, fs, role=role) for window in usable)
    return [shape for shape in shapes if shape is not None]


def _split(shapes: list[PulseShape], rng: np.random.Generator) -> tuple[list[PulseShape], list[PulseShape]]:
    order = rng.permutation(len(shapes))
    n = min(REFERENCES // 2, len(shapes) // 2)
    return [shapes[i] for i in order[:n]], [shapes[i] for i in order[n:]]


def _scaled(views: Mapping[str, Nearness], shapes: list[PulseShape]) -> dict[str, Float[np.ndarray, " N"]]:
    values = views_of(shapes)
    return {name: view.distances(values[name]) for name, view in views.items()}


def _joint(views: Mapping[str, Nearness], shapes: list[PulseShape]) -> Float[np.ndarray, " N"]:
    joint: Float[np.ndarray, " N"] = np.max(list(_scaled(views, shapes).values()), axis=0)
    return joint


def _order_statistic(distances: Float[np.ndarray, " N"], share: float) -> float:
    r"""The distance that a new simulation exceeds with at most this probability."""
    rank = min(int(np.ceil((len(distances) + 1) * (1 - share))), len(distances))
    return float(np.sort(distances)[rank - 1])
