"""The windkessel solves its equation, conserves volume and fits the contract of simulators."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.registry import build
from pulsebayes.simulators.tasks import WindkesselTask
from pulsebayes.simulators.windkessel import Windkessel, half_sine_inflow, windkessel_pressure

BEAT = {"stroke_volume": 70.0, "period": 0.8, "ejection": 0.3}


def test_closed_form_agrees_with_integration():
    r, c, venous, step = 1.1, 1.4, 4.0, 1e-4
    t = np.arange(0, 0.8, step)
    flow = np.asarray(half_sine_inflow(jnp.asarray(np.arange(0, 0.8 + step, step / 2)), **BEAT), float)

    def slope(p, q):
        return q / c - (p - venous) / (r * c)

    p, trace = 80.0, np.empty(len(t))
    for _ in range(12):  # twelve beats are eight time constants: exp(-6.2) of the start is left
        for i in range(len(t)):
            trace[i] = p
            a, b, d = flow[2 * i], flow[2 * i + 1], flow[2 * i + 2]
            k1 = slope(p, a)
            k2 = slope(p + step / 2 * k1, b)
            k3 = slope(p + step / 2 * k2, b)
            p += step / 6 * (k1 + 2 * k2 + 2 * k3 + slope(p + step * k3, d))
    closed = windkessel_pressure(jnp.asarray(t), resistance=r, compliance=c, venous_pressure=venous, **BEAT)
    np.testing.assert_allclose(closed, trace, atol=0.05)  # mmHg; what is left of the start, and float32


def test_pressure_decays_with_the_time_constant():
    t = jnp.array([0.4, 0.7])
    p = windkessel_pressure(t, resistance=1.2, compliance=1.5, **BEAT)
    assert float(p[1] / p[0]) == pytest.approx(np.exp(-0.3 / 1.8), rel=1e-5)


def test_mean_pressure_is_resistance_times_mean_flow():
    t = jnp.linspace(0, 0.8, 4001)[:-1]
    p = windkessel_pressure(t, resistance=0.9, compliance=jnp.array([0.5, 1.0, 3.0]), venous_pressure=6.0, **BEAT)
    np.testing.assert_allclose(p.mean(-1), 6.0 + 0.9 * 70 / 0.8, rtol=1e-4)


def test_pressure_has_a_gradient_in_its_parameters():
    t = jnp.linspace(0, 0.8, 50)

    def last(theta):
        return windkessel_pressure(t, resistance=theta[0], compliance=theta[1], **BEAT)[30]

    theta = jnp.array([1.0, 1.5])
    step = 1e-2
    numeric = [(last(theta.at[i].add(step)) - last(theta.at[i].add(-step))) / (2 * step) for i in range(2)]
    np.testing.assert_allclose(jax.grad(last)(theta), numeric, rtol=5e-3)  # central differences in float32


def test_pressure_broadcasts_over_any_batch():
    p = windkessel_pressure(jnp.arange(5.0) / 10, resistance=jnp.ones((2, 3)), compliance=jnp.ones(3), **BEAT)
    assert p.shape == (2, 3, 5)


def test_simulator_gives_rows_with_consistent_quantities():
    model = build("windkessel", duration_s=2.0)
    theta = model.space.sample(np.random.default_rng(0), 20)
    rows = model.simulate(theta, 0)
    q = dict(zip(model.quantity_names, rows.quantities.T, strict=True))
    assert rows.waves.shape == (20, 1, 250)
    assert rows.waves.dtype == rows.quantities.dtype == np.float32
    assert (rows.status == 0).all()
    np.testing.assert_allclose(q["SVR"], theta[:, 0] * 1333.22, rtol=2e-3)  # mmHg s/mL to dyn s cm^-5
    np.testing.assert_allclose(q["C"], theta[:, 1], rtol=1e-6)
    assert ((q["DBP"] < q["MAP"]) & (q["MAP"] < q["SBP"])).all()


def test_failed_row_is_marked_not_raised():
    model = Windkessel(duration_s=1.0)
    status = model.simulate(np.array([[1.0, 1.0], [np.nan, 1.0]]), 0).status
    assert status.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"ejection": 0.9}, "ejection must be shorter"), ({"fs": 0.0}, "fs must be positive, got 0.0")],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Windkessel(**wrong)


def test_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"theta must have shape \(N, 2\), got \(3,\)"):
        Windkessel().simulate(np.ones(3), 0)


def test_grid_posterior_agrees_with_importance_sampling():
    task, rng = WindkesselTask(), np.random.default_rng(0)
    truth = np.array([[1.0, 1.5]])
    x = task.observe(truth, rng)[0]
    draws = task.reference(x, 20_000, rng)
    theta = task.space.sample(rng, 400_000)
    weight = -0.5 * ((task.pressure(theta) - x) ** 2).sum(-1) / task.noise**2
    weight = np.exp(weight - weight.max())
    mean = weight @ np.log(theta) / weight.sum()
    spread = np.sqrt(weight @ (np.log(theta) - mean) ** 2 / weight.sum())
    effective = weight.sum() ** 2 / (weight**2).sum()
    assert effective > 500
    error = np.abs(np.log(draws).mean(0) - mean) / spread
    assert (error < 4 / np.sqrt(effective)).all()
    np.testing.assert_allclose(np.log(draws).std(0), spread, rtol=0.15)
    assert task.space.contains(draws).all()


def test_reference_refuses_another_length():
    with pytest.raises(ValueError, match=r"x must have shape \(40,\)"):
        WindkesselTask().reference(np.zeros(3), 10, np.random.default_rng(0))
