r"""Seven tasks of the simulation-based inference benchmark: its priors and simulators, its observations and references.

Observations and reference posteriors are read from the files of the published wheel, which is not installed; priors and
simulators are our own statement of the paper's. Parameters live on bounded intervals wide enough to hold all but 1e-9
of an unbounded prior.

References:
    | Benchmarking Simulation-Based Inference (Lueckmann et al., 2021), https://arxiv.org/abs/2101.04653
"""

from __future__ import annotations

import bz2
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from pulsebayes.simulators.parameters import Parameter, ParameterSpace
from pulsebayes.simulators.priors import TruncatedLogNormal, TruncatedNormal

Draw = Callable[[np.ndarray, np.random.Generator], np.ndarray]
WHEEL = "sbibm-1.1.0-py2.py3-none-any.whl"


@dataclass(frozen=True)
class BenchmarkTask:
    """A prior and a simulator under the benchmark's name."""

    name: str
    space: ParameterSpace
    simulate: Draw


@dataclass(frozen=True)
class Case:
    """One observation of the benchmark, the parameters it was made with and draws of its posterior."""

    observed: np.ndarray
    true: np.ndarray
    reference: np.ndarray


def cases(wheel: Path, name: str, draws: int = 10_000) -> list[Case]:
    """The ten observations of a task with the first of its reference draws, read from the wheel."""
    with zipfile.ZipFile(wheel) as archive:

        def table(k: int, file: str) -> np.ndarray:
            data = archive.read(f"sbibm/tasks/{name}/files/num_observation_{k}/{file}")
            data = bz2.decompress(data) if file.endswith(".bz2") else data
            return np.loadtxt(TextIOWrapper(BytesIO(data), "utf-8"), delimiter=",", skiprows=1, ndmin=2, max_rows=draws)

        return [
            Case(table(k, "observation.csv")[0], table(k, "true_parameters.csv")[0],
                 table(k, "reference_posterior_samples.csv.bz2"))
            for k in range(1, 11)
        ]  # fmt: skip


def _uniform(dim: int, bound: float) -> ParameterSpace:
    return ParameterSpace(Parameter(f"theta{d + 1}", "1", -bound, bound) for d in range(dim))


def _normal(dim: int, sd: float) -> ParameterSpace:
    return ParameterSpace(
        Parameter(f"theta{d + 1}", "1", -6.1 * sd, 6.1 * sd, TruncatedNormal(0.0, sd)) for d in range(dim)
    )


def _log_normal(**median_and_sigma: tuple[float, float]) -> ParameterSpace:
    return ParameterSpace(
        Parameter(name, "1", median * np.exp(-6.1 * sigma), median * np.exp(6.1 * sigma),
                  TruncatedLogNormal(median, sigma), "log")
        for name, (median, sigma) in median_and_sigma.items()
    )  # fmt: skip


def _gaussian_linear(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return theta + np.sqrt(0.1) * rng.standard_normal(theta.shape)


def _gaussian_mixture(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sd = np.where(rng.random((len(theta), 1)) < 0.5, 1.0, 0.1)
    return np.asarray(theta + sd * rng.standard_normal(theta.shape))


def _two_moons(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle, radius = rng.uniform(-np.pi / 2, np.pi / 2, len(theta)), rng.normal(0.1, 0.01, len(theta))
    moon = np.stack((radius * np.cos(angle) + 0.25, radius * np.sin(angle)), -1)
    sums = np.stack((-np.abs(theta[:, 0] + theta[:, 1]), theta[:, 1] - theta[:, 0]), -1)
    return np.asarray(moon + sums / np.sqrt(2.0))


def _slcp(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    first, second, rho = theta[:, 2] ** 2, theta[:, 3] ** 2, np.tanh(theta[:, 4])
    noise = rng.standard_normal((len(theta), 4, 2))
    x = theta[:, None, 0] + first[:, None] * noise[..., 0]
    mixed = rho[:, None] * noise[..., 0] + np.sqrt(1 - rho**2)[:, None] * noise[..., 1]
    y = theta[:, None, 1] + second[:, None] * mixed
    return np.stack((x, y), -1).reshape(len(theta), 8)


def _sir(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    people = 1e6

    def rates(state: jax.Array, p: jax.Array) -> jax.Array:
        new = p[:, 0] * state[0] * state[1] / people
        return jnp.stack((-new, new - p[:, 1] * state[1]))

    infected = _solve(rates, (people - 1.0, 1.0), theta, every=17.0, points=10, steps=170)[1]
    return rng.binomial(1000, np.clip(infected / people, 0.0, 1.0)).astype(float)


def _lotka_volterra(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    def rates(state: jax.Array, p: jax.Array) -> jax.Array:
        u, v = state
        return jnp.stack((p[:, 0] - p[:, 1] * jnp.exp(v), -p[:, 2] + p[:, 3] * jnp.exp(u)))

    logs = _solve(rates, (np.log(30.0), 0.0), theta, every=2.1, points=10, steps=1050)
    logs = np.concatenate((logs[0], logs[1]), -1)
    return np.asarray(np.exp(np.clip(logs, -80.0, 80.0) + 0.1 * rng.standard_normal(logs.shape)))


def _solve(
    rates: Callable[[jax.Array, jax.Array], jax.Array],
    start: tuple[float, float],
    theta: np.ndarray,
    *,
    every: float,
    points: int,
    steps: int,
) -> np.ndarray:
    """States (2, N, points) at times 0, every, 2 every, ...: classical Runge-Kutta with `steps` steps in between."""
    with jax.enable_x64(True):
        p = jnp.asarray(theta)
        first = jnp.asarray(start)[:, None] * jnp.ones(len(theta))
        h = every / steps

        def step(state: jax.Array, _: None) -> tuple[jax.Array, None]:
            a = rates(state, p)
            b = rates(state + h / 2 * a, p)
            c = rates(state + h / 2 * b, p)
            d = rates(state + h * c, p)
            return state + h / 6 * (a + 2 * b + 2 * c + d), None

        def leg(state: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            return jax.lax.scan(step, state, None, length=steps)[0], state

        found = jax.jit(lambda s: jax.lax.scan(leg, s, None, length=points)[1])(first)
        return np.moveaxis(np.asarray(found), 0, -1)


TASKS = {
    task.name: task
    for task in (
        BenchmarkTask("gaussian_linear", _normal(10, np.sqrt(0.1)), _gaussian_linear),
        BenchmarkTask("gaussian_linear_uniform", _uniform(10, 1.0), _gaussian_linear),
        BenchmarkTask("gaussian_mixture", _uniform(2, 10.0), _gaussian_mixture),
        BenchmarkTask("two_moons", _uniform(2, 1.0), _two_moons),
        BenchmarkTask("slcp", _uniform(5, 3.0), _slcp),
        BenchmarkTask("sir", _log_normal(beta=(0.4, 0.5), gamma=(0.125, 0.2)), _sir),
        BenchmarkTask(
            "lotka_volterra",
            _log_normal(
                alpha=(np.exp(-0.125), 0.5), beta=(np.exp(-3.0), 0.5), gamma=(np.exp(-0.125), 0.5),
                delta=(np.exp(-3.0), 0.5),
            ),
            _lotka_volterra,
        ),
    )
}  # fmt: skip
