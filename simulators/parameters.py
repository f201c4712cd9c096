r"""Parameters of a simulator: name, unit, bounds and prior of each, and the maps between them and the real line.

A [`ParameterSpace`][pulsebayes.simulators.parameters.ParameterSpace] is the one place from which prior draws,
unconstrained transforms, axis labels and reports come. With $s$ the identity (``scale="linear"``) or the logarithm
(``scale="log"``), the unconstrained coordinate of a parameter on $[l, h]$ is

$$
z = \operatorname{logit} v, \qquad v = \frac{s(\theta) - s(l)}{s(h) - s(l)}.
$$

Joint constraints are written as an ordered parametrisation by whoever builds the space (a fraction of the beat, a share
of the room between two pressures), so that each parameter is free in its own interval. NumPy only: torch and JAX
adaptors live with their users.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

import numpy as np
from jaxtyping import Bool, Float

from .priors import PRIORS, Beta, LogUniform, Prior, TruncatedLogNormal, TruncatedNormal, Uniform

__all__ = [
    "Beta",
    "LogUniform",
    "Parameter",
    "ParameterSpace",
    "Prior",
    "TruncatedLogNormal",
    "TruncatedNormal",
    "Uniform",
]

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Parameter:
    r"""One parameter: what it is called, where it may lie, and how likely each value is beforehand.

    Arguments:
        name: Short name, unique in its space.
        unit: Unit as printed, ``"1"`` for a pure number.
        low: Lower bound, in ``unit``.
        high: Upper bound, in ``unit``.
        prior: Prior law on ``[low, high]``.
        scale: Whether the unconstrained coordinate is taken of the value or of its logarithm.
        description: One sentence on what the parameter is.
        source: Where bounds and prior come from.

    Raises:
        ValueError: If the bounds are not finite and in order, too close for float32, not positive on a log scale, or
            do not suit the prior.

    Example:
        >>> Parameter("HR", "1/min", 35.0, 160.0, Uniform(), scale="log").label
        'HR [1/min]'
    """

    name: str
    unit: str
    low: float
    high: float
    prior: Prior = dataclasses.field(default_factory=Uniform)
    scale: Scale = "linear"
    description: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("Parameter name must not be empty")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"{self.name} must have finite bounds low < high, got [{self.low}, {self.high}]")
        if self.scale not in ("linear", "log"):
            raise ValueError(f"{self.name} scale must be 'linear' or 'log', got {self.scale!r}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"{self.name} needs a positive lower bound on a log scale, got low={self.low} {self.unit}")
        least, most = self.inner
        if not least < most:
            raise ValueError(f"{self.name} needs bounds that float32 can tell apart, got [{self.low}, {self.high}]")
        self.prior.check(self.low, self.high)

    @property
    def label(self) -> str:
        r"""Name with its unit, as axes and tables print it."""
        return f"{self.name} [{self.unit}]"

    @property
    def inner(self) -> tuple[float, float]:
        r"""Least and greatest float32 strictly inside the bounds: what is clipped to them stays inside when cast."""
        return _above(self.low), -_above(-self.high)

    def to_json(self) -> dict[str, object]:
        r"""Returns the parameter as a JSON-able dictionary."""
        fields: dict[str, object] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        shape = dataclasses.asdict(self.prior)
        return {**fields, "prior": {"kind": type(self.prior).__name__, **shape}}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Parameter:
        r"""Rebuilds a parameter from [`to_json`][pulsebayes.simulators.parameters.Parameter.to_json].

        Arguments:
            data: The dictionary.

        Raises:
            TypeError: If a key is unknown or missing.
            ValueError: If the kind of prior is unknown.
        """
        fields = dict(data)
        shape = dict(cast("Mapping[str, float]", fields.pop("prior", {"kind": "Uniform"})))
        kind = str(shape.pop("kind", "Uniform"))
        if kind not in PRIORS:
            raise ValueError(f"prior kind must be one of {sorted(PRIORS)}, got {kind!r}")
        return cls(prior=PRIORS[kind](**shape), **fields)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ParameterSpace:
    r"""An ordered set of independent parameters.

    Arguments:
        parameters: The parameters, in the order of the columns of ``theta``.

    Raises:
        ValueError: If there is none, or two share a name.

    Example:
        >>> space = ParameterSpace((Parameter("HR", "1/min", 35.0, 160.0), Parameter("SV", "mL", 15.0, 150.0)))
        >>> theta = space.sample(np.random.default_rng(0), 3)
        >>> theta.shape, bool(space.contains(theta).all())
        ((3, 2), True)
        >>> bool(np.allclose(space.constrain(space.unconstrain(theta)), theta))
        True
    """

    parameters: tuple[Parameter, ...]

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        object.__setattr__(self, "parameters", tuple(parameters))
        if not self.parameters:
            raise ValueError("ParameterSpace needs at least one parameter, got none")
        if len(set(self.names)) < self.dim:
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise ValueError(f"ParameterSpace needs distinct names, got {twice} more than once")

    @cached_property
    def names(self) -> tuple[str, ...]:
        r"""Names, in order."""
        return tuple(p.name for p in self.parameters)

    @cached_property
    def units(self) -> tuple[str, ...]:
        r"""Units, in order."""
        return tuple(p.unit for p in self.parameters)

    @cached_property
    def low(self) -> Float[np.ndarray, " D"]:
        r"""Lower bounds, each in its unit."""
        return _frozen([p.low for p in self.parameters])

    @cached_property
    def high(self) -> Float[np.ndarray, " D"]:
        r"""Upper bounds, each in its unit."""
        return _frozen([p.high for p in self.parameters])

    @property
    def dim(self) -> int:
        r"""Number of parameters D."""
        return len(self.parameters)

    def index(self, name: str) -> int:
        r"""Returns the column of a parameter.

        Arguments:
            name: Its name.

        Raises:
            ValueError: If there is no such parameter.
        """
        if name not in self.names:
            raise ValueError(f"name must be one of {list(self.names)}, got {name!r}")
        return self.names.index(name)

    def subset(self, names: Iterable[str]) -> ParameterSpace:
        r"""Returns the space of some parameters, in the order asked for.

        Arguments:
            names: Their names.

        Raises:
            ValueError: If a name is unknown or given twice.
        """
        return ParameterSpace(self.parameters[self.index(name)] for name in names)

    def sample(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "n D"]:
        r"""Draws from the prior.

        Arguments:
            rng: Source of randomness.
            n: Number of draws N.

        Returns:
            Draws, each column in its unit; they stay inside the bounds when cast to float32.
        """
        return self.sample_quantiles(rng.random((n, self.dim)))

    def sample_quantiles(self, u: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch D"]:
        r"""Maps uniforms, random or quasi-random, to draws from the prior.

        Arguments:
            u: Probabilities in [0, 1].

        Returns:
            The prior's quantiles.

        Raises:
            ValueError: If the last axis is not D long or a value is outside [0, 1].
        """
        u = self._rows(u, "u")
        if not bool(np.all((u >= 0) & (u <= 1))):
            raise ValueError(f"u must lie in [0, 1], got values from {np.min(u)} to {np.max(u)}")
        columns = [p.prior.ppf(u[..., d], p.low, p.high) for d, p in enumerate(self.parameters)]
        return self._clip(np.stack(columns, axis=-1))

    def quantiles(self, theta: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch D"]:
        r"""Maps values to their probabilities under the prior: the inverse of ``sample_quantiles``.

        Arguments:
            theta: Values, each column in its unit.

        Returns:
            Probabilities in [0, 1].
        """
        theta = self._rows(theta, "theta")
        columns = [p.prior.cdf(theta[..., d], p.low, p.high) for d, p in enumerate(self.parameters)]
        return np.stack(columns, axis=-1)

    def log_prior(self, theta: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch"]:
        r"""Log density of the prior with respect to ``theta``.

        Arguments:
            theta: Values, each column in its unit.

        Returns:
            The log density, minus infinity outside the bounds.
        """
        theta = self._rows(theta, "theta")
        columns = [p.prior.log_density(theta[..., d], p.low, p.high) for d, p in enumerate(self.parameters)]
        return np.asarray(np.sum(np.stack(columns, axis=-1), axis=-1))

    def contains(self, theta: Float[np.ndarray, "*batch D"]) -> Bool[np.ndarray, "*batch"]:
        r"""Tells which rows lie within the bounds, bounds included; NaN does not.

        Arguments:
            theta: Values, each column in its unit.
        """
        theta = self._rows(theta, "theta")
        return np.asarray(np.all((theta >= self.low) & (theta <= self.high), axis=-1))

    def unconstrain(self, theta: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch D"]:
        r"""Maps the box to the real line, coordinate by coordinate.

        Arguments:
            theta: Values within the bounds; one on a bound is taken as the nearest float32 inside it.

        Returns:
            Unconstrained coordinates, always finite.

        Raises:
            ValueError: If a value lies outside the bounds or is not a number; the message names the parameter.
        """
        theta = self._rows(theta, "theta")
        self._check_inside(theta)
        theta = self._clip(theta)
        positive = np.where(self._is_log, theta, 1.0)  # what is not on a log scale must not enter a logarithm
        low, high = np.where(self._is_log, self.low, 1.0), np.where(self._is_log, self.high, 1.0)
        below = np.where(self._is_log, np.log1p((positive - low) / low), theta - self.low)
        above = np.where(self._is_log, -np.log1p((positive - high) / high), self.high - theta)
        return np.asarray(np.log(below) - np.log(above))

    def constrain(self, z: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch D"]:
        r"""Maps the real line into the box: the inverse of ``unconstrain``.

        Arguments:
            z: Unconstrained coordinates, of any size, infinite ones included.

        Returns:
            Values strictly inside the bounds, also after a cast to float32; NaN stays NaN.
        """
        z = self._rows(z, "z")
        # Distance to the nearer bound, as a share of the width: keeps its digits at both ends.
        near = 1.0 / (1.0 + np.exp(np.minimum(np.abs(z), 700.0)))
        start, sign = np.where(z <= 0, self.low, self.high), np.where(z <= 0, 1.0, -1.0)
        growth = np.exp(sign * np.where(self._is_log, self._width, 0.0) * near)
        theta = np.where(self._is_log, start * growth, start + sign * self._width * near)
        return self._clip(theta)

    def log_abs_det_jacobian(self, z: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch"]:
        r"""Log of the volume factor of ``constrain``.

        $$
        \ln \left| \frac{d\theta}{dz} \right| = \sum_d \ln w_d + \ln \sigma(z_d) + \ln \sigma(-z_d)
        + [\text{log scale}] \ln \theta_d
        $$

        with $w_d = s(h_d) - s(l_d)$.

        Arguments:
            z: Unconstrained coordinates.

        Returns:
            The logarithm, summed over the parameters.
        """
        z = self._rows(z, "z")
        both = -np.logaddexp(0.0, z) - np.logaddexp(0.0, -z)
        scale = np.where(self._is_log, np.log(np.where(self._is_log, self.constrain(z), 1.0)), 0.0)
        return np.asarray(np.sum(np.log(self._width) + both + scale, axis=-1))

    def to_json(self) -> dict[str, object]:
        r"""Returns the space as a JSON-able dictionary, as bundles and training sets keep it."""
        return {"parameters": [p.to_json() for p in self.parameters]}

    @classmethod
    def from_json(cls, data: Mapping[str, object] | str) -> ParameterSpace:
        r"""Rebuilds a space from [`to_json`][pulsebayes.simulators.parameters.ParameterSpace.to_json].

        Arguments:
            data: The dictionary, or its JSON text.

        Raises:
            TypeError: If a key is unknown or missing.

        Example:
            >>> space = ParameterSpace((Parameter("C", "mL/mmHg", 0.2, 4.0, LogUniform(), scale="log"),))
            >>> ParameterSpace.from_json(space.to_json()) == space
            True
        """
        fields = dict(json.loads(data) if isinstance(data, str) else data)
        if set(fields) != {"parameters"}:
            raise TypeError(f"a parameter space has the key 'parameters' only, got {sorted(fields)}")
        return cls(Parameter.from_json(p) for p in cast("list[Mapping[str, object]]", fields["parameters"]))

    @cached_property
    def _is_log(self) -> Bool[np.ndarray, " D"]:
        return np.array([p.scale == "log" for p in self.parameters])

    @cached_property
    def _width(self) -> Float[np.ndarray, " D"]:
        return np.array([math.log(p.high / p.low) if p.scale == "log" else p.high - p.low for p in self.parameters])

    def _rows(self, values: Float[np.ndarray, "*batch D"], name: str) -> Float[np.ndarray, "*batch D"]:
        values = np.asarray(values, dtype=np.float64)
        if values.ndim == 0 or values.shape[-1] != self.dim:
            raise ValueError(f"{name} must have shape (*, {self.dim}) for {list(self.names)}, got {values.shape}")
        return values

    def _clip(self, theta: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch D"]:
        inner = np.array([p.inner for p in self.parameters])
        return np.asarray(np.clip(theta, inner[:, 0], inner[:, 1]))

    def _check_inside(self, theta: Float[np.ndarray, "*batch D"]) -> None:
        wrong = ~((theta >= self.low) & (theta <= self.high))
        if wrong.any():
            where = np.argwhere(wrong)[0]
            p = self.parameters[int(where[-1])]
            raise ValueError(
                f"theta must lie within the bounds, got {p.name} = {theta[tuple(where)]} {p.unit} "
                f"outside [{p.low}, {p.high}] in row {tuple(where[:-1].tolist())}: keep rows where contains() is true"
            )


def _above(low: float) -> float:
    """Least float32, not subnormal, strictly above ``low``."""
    value = np.float32(low)
    if float(value) <= low:
        value = np.nextafter(value, np.float32(np.inf))
    tiny = float(np.finfo(np.float32).tiny)
    if -tiny < float(value) < tiny:
        return tiny if low >= 0 else 0.0
    return float(value)


def _frozen(values: list[float]) -> Float[np.ndarray, " D"]:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array
