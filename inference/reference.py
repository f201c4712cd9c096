r"""The exact posterior density of a reference model, and proposals for what an estimator does not estimate.

Unknowns are the parameters of a [`PeriodicModel`][pulsebayes.simulators.reference.PeriodicModel] on the scale on which
their prior is standard normal, gain and offset in units of their prior's standard deviation, and the start of the beat
in steps of 20 ms from a place found in the window; its prior is flat, since any start is as likely. With white noise of
known $\sigma$,

$$
\log p(z \mid x) = -\tfrac{1}{2\sigma^2} \sum_i \big(x_i - g\,p_{\theta(z)}(t_i - s) - o\big)^2 - \tfrac12 |z|^2 + c .
$$

Given the outputs of an estimator, the remaining unknowns (rate, gain, offset, start) are sharp and nearly normal: a few
Gauss-Newton steps give their conditional mode and covariance, from which they are proposed with the heavier tails of a
Student law, so that importance weights in the full space stay exact. Where a model's derivatives cost far more than the
model (``costly``: the network), [`Solver`][pulsebayes.inference.solved.Solver] does this without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ..simulators.normal_scores import from_normal, to_normal
from ..simulators.reference import ReferenceNetwork, periodic_wave
from ..simulators.registry import build
from .bundle import Bundle

if TYPE_CHECKING:
    from .solved import Solver

__all__ = ["Proposal", "Reference", "gauss_newton", "student_about", "student_density"]

START_S = 0.02
"""Step in which the start of the beat is counted [s]."""
_STEPS = 4
_BLOCK = 16
_FREEDOM = 30.0
"""Degrees of freedom of the Student law of the proposals."""
_MODELS = {"reference-windkessel", "reference-network"}


@dataclass(frozen=True)
class Proposal:
    r"""Points in the full space of unknowns, with the density they were proposed with.

    Arguments:
        z: Unknowns.
        log_q: Log density of what was proposed beside the outputs, in their coordinates.
        log_p: Log posterior density of the unknowns but the outputs' own prior: likelihood times the prior of the rest.

    Example:
        >>> Proposal(np.zeros((2, 9)), np.zeros(2), np.zeros(2)).z.shape
        (2, 9)
    """

    z: Float[np.ndarray, "N U"]
    log_q: Float[np.ndarray, " N"]
    log_p: Float[np.ndarray, " N"]


@dataclass(frozen=True)
class Reference:
    r"""A reference model with its sensor, and what of a bundle's world it leaves out.

    Arguments:
        model: The periodic model.
        outputs: Parameters that the bundle's estimator gives; empty if it gives none of them.
        noise: Standard deviation of the white noise [mmHg].
        gain_sd: Standard deviation of the gain.
        offset_sd: Standard deviation of the offset [mmHg].
        fs: Sampling rate [Hz].
        samples: Samples of a window.
        left_out: What the reference model leaves out of the bundle's simulator and sensor.

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> reference = Reference(ReferenceWindkessel(), ("SV", "LVET", "MAP", "tau", "Pout"))
        >>> reference.names[-3:], reference.exact
        (('gain', 'offset', 'start'), True)
    """

    model: Any
    outputs: tuple[str, ...]
    noise: float = 2.0
    gain_sd: float = 0.01
    offset_sd: float = 2.5
    fs: float = 125.0
    samples: int = 1000
    left_out: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, bundle: Bundle) -> Reference:
        r"""The reference model of a bundle: its own where it was trained on one, the network otherwise.

        Arguments:
            bundle: The bundle.

        Raises:
            ValueError: If the bundle reads no arterial pressure.
        """
        training = bundle.training
        sensor = dict(training.get("sensor") or {})
        noise = dict(sensor.get("noise") or {"sd_low": 0.02, "sd_high": 1.0})
        contract, level = bundle.contract, float(np.sqrt(noise["sd_low"] * noise["sd_high"]))
        if contract.role != "ART" or contract.several:
            raise ValueError(f"reference models are of arterial pressure, {bundle.name} reads {contract.reads}")
        gain, offset = (float(dict(sensor.get(k) or {"sd": d})["sd"]) for k, d in (("gain", 0.01), ("offset", 2.5)))
        shared: dict[str, Any] = {"gain_sd": gain, "offset_sd": offset, "fs": contract.fs, "samples": contract.samples}
        left = _left_out(sensor, noise, level)
        if training.get("simulator") in _MODELS:
            model = build(str(training["simulator"]), **dict(training.get("simulator_config") or {}))
            return cls(model, bundle.outputs.names, level, left_out=tuple(left), **shared)
        left += ["beats that differ from one another", "20 of the 27 parameters, held at the prior's median"]
        return cls(ReferenceNetwork(), (), max(level, 0.5), left_out=tuple(left), **shared)

    @property
    def names(self) -> tuple[str, ...]:
        r"""Unknowns, in order."""
        return (*self.model.space.names, "gain", "offset", "start")

    @property
    def dim(self) -> int:
        r"""Number of unknowns U."""
        return len(self.names)

    @property
    def exact(self) -> bool:
        r"""Whether nothing is left out, so that the likelihood is that of the bundle's own simulator and sensor."""
        return bool(self.outputs) and not self.left_out

    @cached_property
    def free(self) -> np.ndarray:
        r"""Places of the unknowns that the estimator does not give."""
        return np.array([i for i, name in enumerate(self.names) if name not in self.outputs])

    def residuals(
        self, theta: Float[Array, " D"], rest: Float[Array, " 3"], x: Float[Array, " T"], start: Array
    ) -> Float[Array, " T"]:
        r"""Standardised difference of a window from the model.

        Arguments:
            theta: Parameters of the model, each in its unit.
            rest: Gain, offset and start as they stand among the unknowns.
            x: Window [mmHg].
            start: Place that the start is counted from [s].
        """
        period, c = self.model.coefficients(theta)
        return self.difference(period, c, rest, x, start)

    def difference(
        self, period: Array, c: Complex[Array, " K1"], rest: Float[Array, " 3"], x: Float[Array, " T"], start: Array
    ) -> Float[Array, " T"]:
        r"""Standardised difference of a window from a beat.

        Arguments:
            period: Period [s].
            c: Fourier coefficients of the beat [mmHg].
            rest: Gain, offset and start as they stand among the unknowns.
            x: Window [mmHg].
            start: Place that the start is counted from [s].
        """
        time = jnp.arange(self.samples) / self.fs - start - START_S * rest[2]
        wave = (1 + self.gain_sd * rest[0]) * periodic_wave(c, time / period) + self.offset_sd * rest[1]
        return (x - wave) / self.noise

    def log_density(self, z: Float[Array, " U"], x: Float[Array, " T"], start: Array) -> Float[Array, ""]:
        r"""Log posterior density of the unknowns up to a constant.

        Arguments:
            z: Unknowns.
            x: Window [mmHg].
            start: Place that the start is counted from [s].
        """
        theta = from_normal(self.model.space)(z[:-3])
        return -0.5 * (self.residuals(theta, z[-3:], x, start) ** 2).sum() - 0.5 * (z[:-1] ** 2).sum()

    def period(self, theta: Float[Array, " D"]) -> Array:
        r"""Period of the beat [s].

        Arguments:
            theta: Parameters of the model, each in its unit.
        """
        return 60.0 / theta[self.model.space.index(self.model.rate_name)]

    def unknowns(self, z: Float[np.ndarray, "*batch U"], start: float) -> dict[str, Float[np.ndarray, "*batch"]]:
        r"""Values of the unknowns, each in its unit; the start in seconds.

        Arguments:
            z: Unknowns.
            start: Place that the start is counted from [s].
        """
        d = self.dim - 3
        with jax.enable_x64(True):
            theta = np.asarray(from_normal(self.model.space)(jnp.asarray(z[..., :d])))
        values = {name: theta[..., i] for i, name in enumerate(self.model.space.names)}
        values |= {"gain": 1 + self.gain_sd * z[..., d], "offset": self.offset_sd * z[..., d + 1]}
        return {**values, "start": start + START_S * z[..., -1]}

    def begin(self, x: Float[np.ndarray, " T"], theta: Float[np.ndarray, "N D"]) -> tuple[np.ndarray, float]:
        r"""Puts the beat in place: rate from the window's harmonics, start from the phase of the first.

        Arguments:
            x: Window [mmHg].
            theta: Parameters of the model from an estimator; the column of the rate is not used.

        Returns:
            Unknowns of each row, and the place that the start is counted from [s].
        """
        import torch

        from .harmonics import fundamental, harmonic_fit

        window = torch.from_numpy(np.asarray(x, np.float32))[None]
        rate = fundamental(window, self.fs)
        seen = complex(harmonic_fit(window, rate, self.fs)[1][0, 0])
        f, column = float(rate[0]), self.model.space.index(self.model.rate_name)
        theta = np.array(theta, dtype=np.float64)
        theta[:, column] = np.clip(60.0 * f, self.model.space.low[column], self.model.space.high[column])
        middle = np.median(theta, axis=0)
        with jax.enable_x64(True):
            first = complex(
                self.solver.beats(to_normal(self.model.space, middle[None]))[0, 1]
                if self.solver
                else self._first(jnp.asarray(middle))
            )
        start = (np.angle(first) - np.angle(seen)) / (2 * np.pi * f)
        return np.concatenate([to_normal(self.model.space, theta), np.zeros((len(theta), 3))], axis=1), float(start)

    def propose(
        self, x: Float[np.ndarray, " T"], theta: Float[np.ndarray, "N D"], *, seed: int = 0
    ) -> tuple[Proposal, float]:
        r"""Completes draws of the outputs by proposals for all other unknowns.

        Arguments:
            x: Window [mmHg].
            theta: Parameters of the model; the columns of ``outputs`` stay, the others are where to begin.
            seed: Seed.

        Returns:
            The points with their densities, and the place that the start is counted from [s].
        """
        z, start = self.begin(x, theta)
        if self.solver and self.solver.serves:
            return self.solver.propose(x, z, start, seed=seed), start
        n = len(z)
        with jax.enable_x64(True):
            window, at = jnp.asarray(np.asarray(x, np.float64)), jnp.asarray(start)
            middle = np.median(z, axis=0)
            centre = self._mode(self._constrain(jnp.asarray(middle)), jnp.asarray(middle[self.free]), window, at)
            full = np.concatenate([z, np.repeat(z[-1:], -n % _BLOCK, axis=0)])  # whole blocks compile once
            known = self._constrain(jnp.asarray(full))
            rest, log_q, log_p = self._completed(known, centre, window, at, jax.random.key(seed))
        z[:, self.free] = np.asarray(rest)[:n]
        return Proposal(z, np.asarray(log_q)[:n], np.asarray(log_p)[:n]), start

    def laplace(
        self, x: Float[np.ndarray, " T"], z: Float[np.ndarray, " U"], start: float
    ) -> tuple[Float[np.ndarray, " U"], Float[np.ndarray, "U U"]]:
        r"""Posterior mode near a point, and the normal law that the posterior resembles there.

        Arguments:
            x: Window [mmHg].
            z: Unknowns to begin from.
            start: Place that the start is counted from [s].

        Returns:
            The mode, or the point itself if no better one is found; and a lower triangular factor of the covariance.
        """
        if self.solver:
            return self.solver.laplace(x, z, start)
        with jax.enable_x64(True):
            mode, precision = self._peak(jnp.asarray(z), jnp.asarray(np.asarray(x, np.float64)), jnp.asarray(start))
        inverse = np.linalg.inv(np.asarray(precision))
        return np.asarray(mode), np.linalg.cholesky(0.5 * (inverse + inverse.T))

    @cached_property
    def solver(self) -> Solver | None:
        r"""What does without derivatives of a costly model; None for others."""
        from .solved import Solver

        return Solver(self) if self.model.costly else None

    @cached_property
    def _peak(self) -> Any:
        constrain, weight = from_normal(self.model.space), np.append(np.ones(self.dim - 1), 0.0)

        def peak(z: Array, x: Array, start: Array) -> tuple[Array, Array]:
            def misfit(at: Array) -> Array:
                return self.residuals(constrain(at[:-3]), at[-3:], x, start)

            mode, _ = gauss_newton(misfit, jnp.asarray(weight), z, 8 * _STEPS)
            better = self.log_density(mode, x, start) > self.log_density(z, x, start)
            return gauss_newton(misfit, jnp.asarray(weight), jnp.where(better, mode, z), 0)

        return jax.jit(peak)

    @cached_property
    def _first(self) -> Any:
        return jax.jit(lambda theta: self.model.coefficients(theta)[1][1])

    @cached_property
    def _constrain(self) -> Any:
        return jax.jit(lambda z: from_normal(self.model.space)(z[..., :-3]))

    @cached_property
    def _mode(self) -> Any:
        return jax.jit(lambda theta, rest, x, start: _newton(self, theta, rest, x, start, 3 * _STEPS)[0])

    @cached_property
    def _completed(self) -> Any:
        prior = np.where(self.free == self.dim - 1, 0.0, 1.0)

        def one(theta: Array, key: Array, centre: Array, x: Array, start: Array) -> tuple[Array, Array, Array]:
            mode, factor = _newton(self, theta, centre, x, start, _STEPS)
            rest, log_q = student_about(mode, factor, key)
            misfit = _misfit(self, theta, x, start, rest)
            return rest, log_q, -0.5 * (misfit**2).sum() - 0.5 * (prior * rest**2).sum()

        def all_of(theta: Array, centre: Array, x: Array, start: Array, key: Array) -> Any:
            keys = jax.random.split(key, len(theta))
            many: Any = jax.vmap(one, (0, 0, None, None, None))
            blocks = theta.reshape(-1, _BLOCK, theta.shape[-1]), keys.reshape(-1, _BLOCK)
            found = jax.lax.map(lambda block: many(*block, centre, x, start), blocks)
            return jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:]), found)

        return jax.jit(all_of)


def _newton(reference: Reference, theta: Array, rest: Array, x: Array, start: Array, steps: int) -> tuple[Array, Array]:
    """Conditional mode of the free unknowns, and the Cholesky factor of their precision."""
    weight = jnp.asarray(np.where(reference.free == reference.dim - 1, 0.0, 1.0))
    mode, precision = gauss_newton(partial(_misfit, reference, theta, x, start), weight, rest, steps)
    return mode, jnp.linalg.cholesky(precision)


def gauss_newton(misfit: Callable[[Array], Array], weight: Array, at: Array, steps: int) -> tuple[Array, Array]:
    """Least squares with a standard normal prior on what has weight: the mode and the precision there.

    Arguments:
        misfit: Standardised residuals of unknowns.
        weight: 1 where an unknown has a standard normal prior, 0 where it has none.
        at: Where to begin.
        steps: How many steps.

    Example:
        >>> mode, precision = gauss_newton(lambda z: 3 * (z - 1), jnp.ones(1), jnp.zeros(1), 4)
        >>> round(float(mode[0]), 3), float(precision[0, 0])
        (0.9, 10.0)
    """

    def system(at: Array) -> tuple[Array, Array]:
        value, push = jax.linearize(misfit, at)
        jacobian = jax.vmap(push)(jnp.eye(len(at)))
        return jacobian @ jacobian.T + jnp.diag(weight), jacobian @ value + weight * at

    def step(carry: Array, _: None) -> tuple[Array, None]:
        precision, slope = system(carry)
        return carry - jnp.clip(jnp.linalg.solve(precision, slope), -0.5, 0.5), None

    at, _ = jax.lax.scan(step, at, None, length=steps)
    return at, system(at)[0]


def _misfit(reference: Reference, theta: Array, x: Array, start: Array, rest: Array) -> Array:
    """Residuals with the free unknowns put in place; only their own priors are unfolded here."""
    d, space = reference.dim - 3, reference.model.space
    free = [int(i) for i in reference.free if i < d]
    if free:
        own = from_normal(space.subset([space.names[i] for i in free]))(rest[: len(free)])
        theta = theta.at[np.array(free)].set(own)
    return reference.residuals(theta, rest[len(free) :], x, start)


def student_about(mode: Float[Array, " n"], factor: Float[Array, "n n"], key: Array) -> tuple[Array, Array]:
    """Draws from a Student law about a mode, and its log density there.

    Arguments:
        mode: The mode.
        factor: Lower triangular factor of the precision.
        key: JAX random key.

    Example:
        >>> student_about(jnp.zeros(2), jnp.eye(2), jax.random.key(0))[0].shape
        (2,)
    """
    normal_key, scale_key = jax.random.split(key)
    scale = jnp.sqrt(_FREEDOM / (2 * jax.random.gamma(scale_key, 0.5 * _FREEDOM)))
    step = jax.random.normal(normal_key, (len(mode),)) * scale
    drawn = mode + jax.scipy.linalg.solve_triangular(factor.T, step, lower=False)
    return drawn, jnp.log(jnp.diag(factor)).sum() + student_density(step)


def student_density(step: Float[Array, " n"]) -> Array:
    """Log density of a Student law with unit scale.

    Arguments:
        step: The place.

    Example:
        >>> round(float(student_density(jnp.zeros(1))), 2)
        -0.93
    """
    from jax.scipy.special import gammaln

    n = len(step)
    constant = gammaln(0.5 * (_FREEDOM + n)) - gammaln(0.5 * _FREEDOM) - 0.5 * n * jnp.log(_FREEDOM * jnp.pi)
    return constant - 0.5 * (_FREEDOM + n) * jnp.log1p((step**2).sum() / _FREEDOM)


def _left_out(sensor: dict[str, Any], noise: dict[str, Any], level: float) -> list[str]:
    left = []
    if dict(sensor.get("line") or {"ideal_share": 0.25})["ideal_share"] < 1:
        left.append("the catheter line")
    if dict(sensor.get("quantisation") or {"none_share": 0.3})["none_share"] < 1:
        left.append("digitisation")
    if noise["sd_low"] != noise["sd_high"] or noise.get("none_share", 0.0) > 0:
        left.append(f"the noise being unknown (taken as {max(level, 0.5):.2g} mmHg)")
    return left
