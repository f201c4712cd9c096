r"""Integration against closed forms and SciPy; what diverges or is too coarse is marked; the library runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pulsebayes.simulators.odes import System, pack
from pulsebayes.simulators.odes.integration import Stepping, integrate
from pulsebayes.simulators.odes.library import LIBRARY, simulate_named


def test_a_batch_of_different_systems_agrees_with_closed_forms() -> None:
    systems = [System.from_sympy([text], ["x"]) for text in ("-x", "x*(1 - x)", "cos(x)**0 * 2", "1/x")]
    x0 = np.full((4, 2, 1), 0.5)
    x0[:, 1] = 0.8
    stepping = Stepping(horizon=2.0, n_steps=64)
    solution = integrate(pack(systems), x0, stepping)
    t, a = stepping.times, x0[0, :, 0][:, None]
    truth = [a * np.exp(-t), 1 / (1 + (1 / a - 1) * np.exp(-t)), a + 2 * t, np.sqrt(a**2 + 2 * t)]
    assert solution.ok.all()
    np.testing.assert_allclose(solution.x[..., 0], truth, rtol=2e-5)  # single precision, 64 steps of order four


def test_sines_of_large_arguments_agree_with_numpy() -> None:
    system = System.from_sympy(["cos(150*t)", "1"], ["x", "t"])
    stepping = Stepping(horizon=1.0, n_steps=1024)
    solution = integrate(pack([system]), np.zeros((1, 1, 2)), stepping)
    np.testing.assert_allclose(solution.x[0, 0, :, 0], np.sin(150 * stepping.times) / 150, atol=2e-6)


@pytest.mark.parametrize(
    ("text", "start"), [("x**2", 1.0), ("-300*x", 1.0), ("log(x)", -1.0), ("1/x", 0.0), ("x", 90.0)]
)
def test_what_cannot_be_trusted_is_marked(text: str, start: float) -> None:
    system = System.from_sympy([text], ["x"])
    assert not integrate(pack([system]), np.full((1, 1, 1), start)).ok.any()


def test_one_bad_row_leaves_the_others_alone() -> None:
    systems = pack([System.from_sympy([text], ["x"]) for text in ("x**2", "-x")])
    solution = integrate(systems, np.ones((2, 1, 1)))
    assert solution.ok[:, 0].tolist() == [False, True]


def test_a_driven_system_follows_its_input() -> None:
    system = System.from_sympy(["u - x"], ["x"], inputs=["u"])
    stepping = Stepping(horizon=6.0, n_steps=128)
    u = np.sin(stepping.input_times)[None, None, :, None]
    x = integrate(pack([system]), np.zeros((1, 1, 1)), stepping, u=u).x[0, 0, :, 0]
    t = stepping.times
    np.testing.assert_allclose(x, (np.sin(t) - np.cos(t) + np.exp(-t)) / 2, atol=1e-5)
    with pytest.raises(ValueError, match="u must have shape"):
        integrate(pack([system]), np.zeros((1, 1, 1)), stepping)


@pytest.mark.parametrize("name", ["lorenz", "windkessel-inertance", "toggle-switch"])
def test_named_systems_agree_with_scipy(name: str) -> None:
    row = LIBRARY[name]
    t, x, _ = simulate_named(name, n_points=65)
    end = 17 if name == "lorenz" else 65  # chaos doubles an error of 1e-7 every second

    def slope(s: float, y: np.ndarray) -> np.ndarray:
        return row.system.evaluate(y, row.input_at(np.array(s)))

    truth = solve_ivp(slope, (0, t[-1]), row.start, t_eval=t, rtol=1e-9, atol=1e-9, max_step=row.horizon / 500)
    size = np.abs(truth.y).max(1)
    assert (np.abs(x[:end].T - truth.y[:, :end]).max(1) < 2e-3 * size).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARY)
def test_every_named_system_runs_from_both_starts(name: str) -> None:
    for other in (False, True):
        _, x, _ = simulate_named(name, n_points=64, other=other)
        assert np.isfinite(x).all()
