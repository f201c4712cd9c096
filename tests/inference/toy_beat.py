"""A reference model small enough for a table: a rate and the height of a cosine with one overtone."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from pulsebayes.simulators.parameters import Parameter, ParameterSpace
from pulsebayes.simulators.priors import TruncatedNormal

SHAPE = np.array([1.0, 0.5 - 0.3j])


class ToyBeat:
    name = "toy-beat"
    rate_name = "HR"
    costly = False
    space = ParameterSpace(
        (
            Parameter("HR", "1/min", 50.0, 100.0, TruncatedNormal(75.0, 10.0)),
            Parameter("height", "mmHg", 2.0, 30.0, TruncatedNormal(10.0, 4.0)),
        )
    )

    def coefficients(self, theta):
        return 60.0 / theta[0], jnp.concatenate([jnp.array([90.0 + 0j]), theta[1] * jnp.asarray(SHAPE) / 2])

    def middles(self, theta):
        return jnp.zeros_like(theta)


class CostlyBeat(ToyBeat):
    costly = True


def wave(theta, start, *, fs=25.0, samples=100):
    phase = (np.arange(samples) / fs - start) * theta[0] / 60.0
    return 90.0 + theta[1] * sum((c * np.exp(2j * np.pi * (k + 1) * phase)).real for k, c in enumerate(SHAPE))


def grid_draws(x, *, noise, n, rng, cells=(61, 61, 61)):
    """Height and rate from the table of the posterior over height, rate and start of the beat."""
    heights = np.linspace(8.0, 16.0, cells[0])
    rates = np.linspace(70.0, 74.0, cells[1])
    starts = np.linspace(0.31 - 0.08, 0.31 + 0.08, cells[2])
    space, time = ToyBeat.space, np.arange(len(x)) / 25.0
    log_p = np.empty(cells)
    for j, rate in enumerate(rates):
        phase = (time - starts[:, None]) * rate / 60.0
        unit = sum((c * np.exp(2j * np.pi * (k + 1) * phase)).real for k, c in enumerate(SHAPE))
        residual = x - 90.0 - heights[:, None, None] * unit
        log_p[:, j] = -0.5 * (residual**2).sum(-1) / noise**2
    prior = [p.prior.log_density(values, p.low, p.high) for p, values in zip(space.parameters, (rates, heights))]
    log_p += prior[0][None, :, None] + prior[1][:, None, None]
    weight = np.exp(log_p - log_p.max()).ravel()
    cell = np.stack(np.unravel_index(rng.choice(len(weight), n, p=weight / weight.sum()), cells), -1)
    step = np.array([heights[1] - heights[0], rates[1] - rates[0]])
    return np.stack([heights[cell[:, 0]], rates[cell[:, 1]]], -1) + step * (rng.random((n, 2)) - 0.5)
