r"""Forward-mode gradients of the JAX scheme through a whole period, against finite differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from pulsebayes.simulators.network.files import load_network
from pulsebayes.simulators.network.nonlinear import Probe, make_grid, model_physics
from pulsebayes.simulators.network.nonlinear.cycle import jax_cycle
from pulsebayes.simulators.network.nonlinear.scheme import State, initial_state


def test_forward_gradients_match_finite_differences() -> None:
    model = load_network("aortic-bifurcation")
    grid = make_grid(model, dx_mm=20.0)
    probes = grid.interpolation([Probe(0, 0.0), Probe(1, 0.5)])
    with jax.enable_x64(True):
        physics = model_physics(model, grid)
        state = State(*map(jnp.asarray, initial_state(grid, physics, np.full(1, 1.2e4), np.full((2, 1), 1.1e4))))

        def waves(scale):  # type: ignore[no-untyped-def]
            p = physics._replace(
                beta=physics.beta * scale,
                face_beta=physics.face_beta * scale,
                compliance=physics.compliance * scale**2,
                inflow=physics.inflow * scale**0.5,
            )
            return jax_cycle(grid, p, state, probes, n_steps=800, n_samples=20)[1].pressure

        one = jnp.asarray(1.0)
        _, slope = jax.jvp(waves, (one,), (one,))
        h = 1e-5
        expected = (waves(one + h) - waves(one - h)) / (2 * h)
    np.testing.assert_allclose(slope, expected, atol=1e-5 * float(jnp.abs(expected).max()))
