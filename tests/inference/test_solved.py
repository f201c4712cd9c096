"""Reference models without derivatives of their own: the same modes, exact weights, forces that are slopes enough."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_beat as toy

from pulsebayes.calibration.c2st import c2st
from pulsebayes.inference.fitted import fit_coefficients, guided_density
from pulsebayes.inference.reference import Reference
from pulsebayes.inference.straight import straighten, straightened_law
from pulsebayes.simulators.reference import ReferenceNetwork, periodic_wave

pytestmark = pytest.mark.usefixtures("one_width")


def reference(model, outputs=("height",)) -> Reference:
    return Reference(model, outputs, noise=4.0, gain_sd=0.0, offset_sd=0.0, fs=25.0, samples=100)


@pytest.fixture(scope="module")
def window() -> np.ndarray:
    return toy.wave(np.array([72.0, 12.0]), 0.31) + 4.0 * np.random.default_rng(0).standard_normal(100)


def test_mode_and_curvature_are_those_of_derivatives(window):
    plain, costly = reference(toy.ToyBeat()), reference(toy.CostlyBeat())
    z, start = costly.begin(window, np.array([[70.0, 10.0]]))
    expected, found = (r.laplace(window, z[0], start) for r in (plain, costly))
    np.testing.assert_allclose(found[0], expected[0], atol=1e-3)
    np.testing.assert_allclose(found[1] @ found[1].T, expected[1] @ expected[1].T, atol=1e-3)


@pytest.mark.parametrize("outputs", [("height",), ()])
def test_proposals_carry_the_density_of_the_model(window, outputs):
    costly = reference(toy.CostlyBeat(), outputs)
    theta = np.stack([np.full(20, 72.0), np.linspace(10, 14, 20)], -1)
    proposal, start = costly.propose(window, theta, seed=1)
    with jax.enable_x64(True):
        density = np.asarray(
            jax.jit(jax.vmap(lambda z: costly.log_density(z, jnp.asarray(window), start)))(jnp.asarray(proposal.z))
        )
    own = 0.5 * proposal.z[:, 1] ** 2 if outputs else 0.0  # the prior of what the estimator gives is left to it
    np.testing.assert_allclose(proposal.log_p, density + own, rtol=1e-9)
    if outputs:  # the same density where it is asked for points that were not drawn by it
        middle = costly.solver.middle(window, costly.begin(window, theta)[0], start)
        again = costly.solver.completion_density(window, proposal.z, start, middle)
        np.testing.assert_allclose(again, proposal.log_q, rtol=1e-9)


PLAIN = (-0.3, 0.4, -0.5, 0.2, 0.6, -0.2, 0.3, 0.0, 0.0, 0.0)
KNEE = (0.1, 0.0, -0.4, -1.44, 1.6, 0.0, 0.2, 0.0, 0.0, 0.0)  # 57 mmHg, below which mean wave speed is level


def guided(truth):
    """The network's solver, a window, and the polynomial on the chart about the window's posterior mode."""
    costly, truth = Reference(ReferenceNetwork(harmonics=6), ()), np.array(truth)
    solver = costly.solver
    with jax.enable_x64(True):
        theta = np.asarray(costly._constrain(jnp.asarray(truth)))
        wave = periodic_wave(jnp.asarray(solver.beats(truth[None, :7])[0]), np.arange(1000) / 125 * theta[0] / 60)
    x = np.asarray(wave) + 2.0 * np.random.default_rng(0).standard_normal(1000)
    mode, factor = costly.laplace(x, truth, 0.0)
    level = float(solver.beats(mode[None, :7])[0, 0].real)
    centre, lower = straightened_law(solver, mode, factor, level)
    return solver, x, fit_coefficients(solver, centre, lower, level, seed=0), centre, lower


def exact_density(solver, x, y, level):
    z = straighten(solver, y, level, back=True)
    with jax.enable_x64(True):
        beats = jnp.asarray(solver.beats(z[:, :7]))
        misfit = np.asarray(solver._misfits(beats, jnp.asarray(z), jnp.asarray(x), jnp.asarray(0.0)))
    return -0.5 * misfit - 0.5 * (z[:, :-1] ** 2).sum(1)


def test_network_density_is_exact_and_its_slope_that_of_finite_differences():
    solver, x, guide, centre, lower = guided(PLAIN)
    with jax.enable_x64(True):
        density = jax.jit(jax.value_and_grad(guided_density(solver.reference)))
    off, step = [], 1e-3 * lower.T
    for u in np.random.default_rng(1).standard_normal((8, 10)):
        y = centre + lower @ u
        with jax.enable_x64(True):
            value, slope = density(jnp.asarray(y), jnp.asarray(x), jnp.asarray(0.0), guide)
        there = exact_density(solver, x, np.concatenate([y + step, y - step, y[None]]), float(guide.level))
        np.testing.assert_allclose(float(value), there[-1], rtol=1e-9)
        expected = (there[:10] - there[10:20]) / 2e-3  # one unit along each whitened direction
        off.append(lower.T @ np.asarray(slope) - expected)
    # On the whitened chart the posterior is nearly normal and a slope minus the place, of size one. A polynomial of
    # third degree does not follow the outlets, which jump where a terminal's resistance falls below its impedance.
    assert np.sqrt(np.square(off).mean()) < 0.2
    assert np.abs(expected).max() > 1.0
    np.testing.assert_allclose(expected, -u, atol=1.0)


def test_polynomial_holds_over_the_posterior_beside_a_knee():
    solver, _, guide, centre, lower = guided(KNEE)
    y = (centre + np.random.default_rng(2).standard_normal((200, 10)) @ lower.T)[:, :7]
    with jax.enable_x64(True):
        found = np.asarray(jax.vmap(guide.coefficients)(jnp.asarray(y)))
    off = found - solver.beats(y - solver.middles(y))
    power = np.abs(off[:, 0]) ** 2 + 2 * (np.abs(off[:, 1:]) ** 2).sum(1)
    # error of the beat over the window in standard deviations; above one a sampler's steps are refused
    assert np.quantile(np.sqrt(1000 * power) / 2.0, 0.95) < 0.5


@pytest.mark.slow
def test_guided_chains_meet_the_grid(window):
    pytest.importorskip("numpyro", reason="the extra `reference` is not installed")
    from pulsebayes.inference.mcmc import Sampler

    grid = toy.grid_draws(window, noise=4.0, n=1000, rng=np.random.default_rng(1))
    theta = np.stack([np.full(50, 72.0), np.random.default_rng(0).normal(12.0, 1.0, 50)], -1)
    chains = Sampler(reference(toy.CostlyBeat()), draws=400, warmup=200, chains=3).sample(window, theta)
    assert chains.warning() is None
    drawn = np.stack([chains.values["height"], chains.values["HR"]], -1).reshape(-1, 2)[:1000]
    assert c2st(grid, drawn, epochs=15) < 0.56  # as without a polynomial, see test_exact
