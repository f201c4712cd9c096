r"""Prior distributions of one parameter, each confined to the parameter's interval.

Every prior is a small frozen dataclass that holds its shape only. The interval $[l, h]$ belongs to the
[`Parameter`][pulsebayes.simulators.parameters.Parameter] and is handed to each method, so that one prior can be used,
truncated, on any interval. With $F$ the cumulative distribution of the untruncated law, the truncated one is

$$
F_{[l,h]}(x) = \frac{F(x) - F(l)}{F(h) - F(l)}, \qquad l \le x \le h,
$$

and draws are $F_{[l,h]}^{-1}(u)$ of uniform $u$: the same uniforms (random or quasi-random) always give the same draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from jaxtyping import Float

__all__ = [
    "PRIORS",
    "Beta",
    "LogUniform",
    "Prior",
    "TruncatedLogNormal",
    "TruncatedNormal",
    "Uniform",
]

Values = Float[np.ndarray, "*batch"]

_LEAST_MASS = 1e-9
"""Smallest share of an untruncated law that must lie in the interval: below it, quantiles lose their digits."""


class Prior(Protocol):
    r"""What every prior offers; ``low`` and ``high`` are the bounds of the parameter, in its unit.

    Example:
        >>> prior: Prior = Uniform()
        >>> float(prior.ppf(np.array(0.25), 0.0, 8.0))
        2.0
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def check(self, low: float, high: float) -> None:
        r"""Raises ValueError if the prior cannot live on the interval."""

    def sample(self, rng: np.random.Generator, n: int, low: float, high: float) -> Float[np.ndarray, " n"]:
        r"""Draws ``n`` values."""

    def ppf(self, u: Values, low: float, high: float) -> Values:
        r"""Quantiles of probabilities ``u``."""

    def cdf(self, x: Values, low: float, high: float) -> Values:
        r"""Probability of values up to ``x``."""

    def log_density(self, x: Values, low: float, high: float) -> Values:
        r"""Logarithm of the density with respect to ``x``; minus infinity outside the interval."""


def _inside(x: Values, value: Values, low: float, high: float) -> Values:
    return np.where((x >= low) & (x <= high), value, -np.inf)


@dataclass(frozen=True)
class Uniform:
    r"""Constant density on the interval, $p(x) = 1 / (h - l)$.

    Example:
        >>> float(Uniform().cdf(np.array(1.0), 0.0, 4.0))
        0.25
    """

    def check(self, low: float, high: float) -> None:
        r"""Accepts every interval."""

    def sample(self, rng: np.random.Generator, n: int, low: float, high: float) -> Float[np.ndarray, " n"]:
        r"""Draws ``n`` values."""
        return self.ppf(rng.random(n), low, high)

    def ppf(self, u: Values, low: float, high: float) -> Values:
        r"""Quantiles of probabilities ``u``."""
        return np.clip(low + (high - low) * np.asarray(u), low, high)

    def cdf(self, x: Values, low: float, high: float) -> Values:
        r"""Probability of values up to ``x``."""
        return np.asarray((np.clip(x, low, high) - low) / (high - low))

    def log_density(self, x: Values, low: float, high: float) -> Values:
        r"""Logarithm of the density; minus infinity outside the interval."""
        x = np.asarray(x)
        return _inside(x, np.full(x.shape, -math.log(high - low)), low, high)


@dataclass(frozen=True)
class LogUniform:
    r"""Constant density of the logarithm, $p(x) = 1 / (x \ln(h / l))$.

    Example:
        >>> round(float(LogUniform().ppf(np.array(0.5), 1.0, 100.0)), 6)
        10.0
    """

    def check(self, low: float, high: float) -> None:
        r"""Raises ValueError unless the interval is positive."""
        _check_positive("LogUniform", low)

    def sample(self, rng: np.random.Generator, n: int, low: float, high: float) -> Float[np.ndarray, " n"]:
        r"""Draws ``n`` values."""
        return self.ppf(rng.random(n), low, high)

    def ppf(self, u: Values, low: float, high: float) -> Values:
        r"""Quantiles of probabilities ``u``."""
        return np.clip(low * np.exp(np.asarray(u) * math.log(high / low)), low, high)

    def cdf(self, x: Values, low: float, high: float) -> Values:
        r"""Probability of values up to ``x``."""
        return np.asarray(np.log(np.clip(x, low, high) / low) / math.log(high / low))

    def log_density(self, x: Values, low: float, high: float) -> Values:
        r"""Logarithm of the density; minus infinity outside the interval."""
        x = np.asarray(x)
        return _inside(x, -np.log(np.clip(x, low, high)) - math.log(math.log(high / low)), low, high)


@dataclass(frozen=True)
class TruncatedNormal:
    r"""Normal law cut to the interval.

    Arguments:
        mean: Mean of the untruncated law, in the parameter's unit.
        sd: Standard deviation of the untruncated law, in the parameter's unit.

    Raises:
        ValueError: If ``sd`` is not positive and finite.

    Example:
        >>> round(float(TruncatedNormal(mean=75.0, sd=10.0).ppf(np.array(0.5), 50.0, 100.0)), 6)
        75.0
    """

    mean: float
    sd: float

    def __post_init__(self) -> None:
        _check_shape("TruncatedNormal", sd=self.sd)
        if not math.isfinite(self.mean):
            raise ValueError(f"TruncatedNormal mean must be finite, got {self.mean}")

    def check(self, low: float, high: float) -> None:
        r"""Raises ValueError unless the interval holds some of the law's mass."""
        _check_mass(self, _normal_mass(*self._ends(low, high)), low, high)

    def sample(self, rng: np.random.Generator, n: int, low: float, high: float) -> Float[np.ndarray, " n"]:
        r"""Draws ``n`` values."""
        return self.ppf(rng.random(n), low, high)

    def ppf(self, u: Values, low: float, high: float) -> Values:
        r"""Quantiles of probabilities ``u``."""
        return np.clip(self.mean + self.sd * _normal_ppf(u, *self._ends(low, high)), low, high)

    def cdf(self, x: Values, low: float, high: float) -> Values:
        r"""Probability of values up to ``x``."""
        return _normal_cdf((np.clip(x, low, high) - self.mean) / self.sd, *self._ends(low, high))

    def log_density(self, x: Values, low: float, high: float) -> Values:
        r"""Logarithm of the density; minus infinity outside the interval."""
        x = np.asarray(x)
        value = _normal_log_density((np.clip(x, low, high) - self.mean) / self.sd, *self._ends(low, high)) - math.log(
            self.sd
        )
        return _inside(x, value, low, high)

    def _ends(self, low: float, high: float) -> tuple[float, float]:
        return (low - self.mean) / self.sd, (high - self.mean) / self.sd


@dataclass(frozen=True)
class TruncatedLogNormal:
    r"""Log-normal law cut to the interval: $\ln x$ is normal around $\ln$ ``median``.

    Arguments:
        median: Median of the untruncated law, in the parameter's unit.
        sigma: Standard deviation of $\ln x$ [1].

    Raises:
        ValueError: If ``median`` or ``sigma`` is not positive and finite.

    Example:
        >>> round(float(TruncatedLogNormal(median=2.0, sigma=0.5).ppf(np.array(0.5), 1.0, 4.0)), 6)
        2.0
    """

    median: float
    sigma: float

    def __post_init__(self) -> None:
        _check_shape("TruncatedLogNormal", median=self.median, sigma=self.sigma)

    def check(self, low: float, high: float) -> None:
        r"""Raises ValueError unless the interval is positive and holds some of the law's mass."""
        _check_positive("TruncatedLogNormal", low)
        _check_mass(self, _normal_mass(*self._ends(low, high)), low, high)

    def sample(self, rng: np.random.Generator, n: int, low: float, high: float) -> Float[np.ndarray, " n"]:
        r"""Draws ``n`` values."""
        return self.ppf(rng.random(n), low, high)

    def ppf(self, u: Values, low: float, high: float) -> Values:
        r"""Quantiles of probabilities ``u``."""
        return np.clip(self.median * np.exp(self.sigma * _normal_ppf(u, *self._ends(low, high))), low, high)

    def cdf(self, x: Values, low: float, high: float) -> Values:
        r"""Probability of values up to ``x``."""
        return _normal_cdf(np.log(np.clip(x, low, high) / self.median) / self.sigma, *self._ends(low, high))

    def log_density(self, x: Values, low: float, high: float) -> Values:
        r"""Logarithm of the density with respect to ``x``; minus infinity outside the interval."""
        x = np.asarray(x)
        log_x = np.log(np.clip(x, low, high))
        t = (log_x - math.log(self.median)) / self.sigma
        value = _normal_log_density(t, *self._ends(low, high)) - math.log(self.sigma) - log_x
        return _inside(x, value, low, high)

    def _ends(self, low: float, high: float) -> tuple[float, float]:
        return math.log(low / self.median) / self.sigma, math.log(high / self.median) / self.sigma


@dataclass(frozen=True)
class Beta:
    r"""Beta law of $(x - l) / (h - l)$: never cut, smooth up to the bounds.

    Arguments:
        a: First shape, weight towards the upper bound [1].
        b: Second shape, weight towards the lower bound [1].

    Raises:
        ValueError: If a shape is not positive and finite.

    Example:
        >>> round(float(Beta(2.0, 2.0).ppf(np.array(0.5), 10.0, 20.0)), 6)
        15.0
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        _check_shape("Beta", a=self.a, b=self.b)

    def check(self, low: float, high: float) -> None:
        r"""Accepts every interval."""

    def sample(self, rng: np.random.Generator, n: int, low: float, high: float) -> Float[np.ndarray, " n"]:
        r"""Draws ``n`` values."""
        return self.ppf(rng.random(n), low, high)

    def ppf(self, u: Values, low: float, high: float) -> Values:
        r"""Quantiles of probabilities ``u``."""
        from scipy.special import betaincinv

        return np.clip(low + (high - low) * np.asarray(betaincinv(self.a, self.b, u)), low, high)

    def cdf(self, x: Values, low: float, high: float) -> Values:
        r"""Probability of values up to ``x``."""
        from scipy.special import betainc

        return np.asarray(betainc(self.a, self.b, (np.clip(x, low, high) - low) / (high - low)))

    def log_density(self, x: Values, low: float, high: float) -> Values:
        r"""Logarithm of the density; minus infinity outside the interval."""
        from scipy.special import betaln, xlog1py, xlogy

        x = np.asarray(x)
        v = (np.clip(x, low, high) - low) / (high - low)
        value = xlogy(self.a - 1, v) + xlog1py(self.b - 1, -v) - betaln(self.a, self.b) - math.log(high - low)
        return _inside(x, value, low, high)


PRIORS: dict[str, type[Uniform] | type[LogUniform] | type[TruncatedNormal] | type[TruncatedLogNormal] | type[Beta]] = {
    kind.__name__: kind for kind in (Uniform, LogUniform, TruncatedNormal, TruncatedLogNormal, Beta)
}
"""The priors by the name under which they are saved."""


def _check_shape(owner: str, **shape: float) -> None:
    for name, value in shape.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{owner} {name} must be positive and finite, got {value}")


def _check_positive(owner: str, low: float) -> None:
    if low <= 0:
        raise ValueError(f"{owner} needs a positive lower bound, got low={low}: raise it, or use another prior")


def _check_mass(prior: Prior, mass: float, low: float, high: float) -> None:
    if mass < _LEAST_MASS:
        raise ValueError(
            f"{prior} must have at least {_LEAST_MASS:g} of its mass in [{low}, {high}], got {mass:.2g}: "
            "move the interval or widen the prior"
        )


def _tails(a: float, b: float) -> tuple[float, float, float]:
    """Sign and the two tail masses, taken on the side where they keep their digits."""
    from scipy.special import ndtr

    sign = -1.0 if a > 0 else 1.0
    return sign, float(ndtr(sign * a)), float(ndtr(sign * b))


def _normal_mass(a: float, b: float) -> float:
    _, at_low, at_high = _tails(a, b)
    return abs(at_high - at_low)


def _normal_ppf(u: Values, a: float, b: float) -> Values:
    from scipy.special import ndtri

    sign, at_low, at_high = _tails(a, b)
    u = np.asarray(u)
    return np.clip(sign * np.asarray(ndtri(at_low * (1 - u) + at_high * u)), a, b)


def _normal_cdf(t: Values, a: float, b: float) -> Values:
    from scipy.special import ndtr

    sign, at_low, at_high = _tails(a, b)
    return np.clip((np.asarray(ndtr(sign * np.asarray(t))) - at_low) / (at_high - at_low), 0.0, 1.0)


def _normal_log_density(t: Values, a: float, b: float) -> Values:
    return np.asarray(-0.5 * np.square(t) - 0.5 * math.log(2 * math.pi) - math.log(_normal_mass(a, b)))
