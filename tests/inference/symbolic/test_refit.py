r"""Equations as text, and the refit against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from pulsebayes.inference.symbolic import Equations, Ladder, Structure, equations_from_sympy, refit_constants
from pulsebayes.inference.symbolic._library import dictionary
from pulsebayes.inference.symbolic._smooth import noise_of, smooth_path
from pulsebayes.inference.symbolic._weak import Subset, polish, search_subsets, weak_system


def test_sympy_round_trip_keeps_the_function() -> None:
    x, y = sympy.symbols("x y", real=True)
    texts = [2.5 * x * (1 - x / 7) - x * y / (1.5 + x), sympy.sin(2.0 * x) - 0.3 * y**3 + sympy.exp(-0.4 * y)]
    made = equations_from_sympy(texts, ["x", "y"])
    states = np.random.default_rng(0).uniform(0.5, 2.0, (2, 50))
    direct = np.stack([sympy.lambdify((x, y), t)(*states) for t in texts])
    np.testing.assert_allclose(made.derivative(states), direct, rtol=1e-10)
    again = equations_from_sympy(made.to_sympy(["x", "y"], digits=15), ["x", "y"])
    np.testing.assert_allclose(again.derivative(states), direct, rtol=1e-10)


def test_an_unknown_symbol_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the symbols"):
        equations_from_sympy([sympy.Symbol("z")], ["x"])


def test_right_hand_side_takes_any_batch() -> None:
    f = Structure((("x0", "u0"), ("x0*x1",))).right_hand_side()
    made = f(np.ones((2, 3, 4)), np.full((1, 3, 1), 2.0), np.ones((3, 3, 4)))
    assert made.shape == (2, 3, 4)
    np.testing.assert_allclose(made[0], 3.0)


def test_noise_is_estimated_within_a_tenth() -> None:
    # Standard error of the estimate is about 3 % for 1000 samples.
    t = np.linspace(0.0, 10.0, 1000)
    rng = np.random.default_rng(0)
    steady = noise_of(t, (np.sin(t) + 0.1 * rng.standard_normal(1000))[:, None])
    assert np.median(steady) == pytest.approx(0.1, rel=0.1)
    size = 1.0 + 4.0 * np.exp(-t)
    growing = noise_of(t, (size * (1.0 + 0.05 * rng.standard_normal(1000)))[:, None])[:, 0]
    assert np.median(growing / size) == pytest.approx(0.05, rel=0.15)


def test_refit_reaches_the_closed_form_from_far() -> None:
    t = np.linspace(0.0, 5.0, 150)
    path = smooth_path(t, 3.0 * np.exp(-0.7 * t)[:, None], np.zeros((150, 0)))
    fit = refit_constants(Structure((("x0",),)), np.array([-2.0]), Ladder([path]).rung(96))
    assert fit is not None
    assert fit.equations.constants[0] == pytest.approx(-0.7, rel=1e-4)
    assert fit.starts[0, 0] == pytest.approx(3.0, rel=1e-3)


def test_standard_errors_cover_the_truth() -> None:
    # |z| > 3.3 in one of 40 happens once in 26 runs of this test; three are needed to fail.
    t = np.linspace(0.0, 5.0, 120)
    outside = 0
    for seed in range(40):
        noise = 0.05 * np.random.default_rng(seed).standard_normal(120)
        path = smooth_path(t, (3.0 * np.exp(-0.7 * t) + noise)[:, None], np.zeros((120, 0)))
        fit = refit_constants(Structure((("x0",),)), np.array([-0.6]), Ladder([path]).rung(96))
        assert fit is not None
        outside += abs(fit.equations.constants[0] + 0.7) > 3.3 * fit.spread[0]
    assert outside < 3


def test_steps_rise_until_halving_them_changes_little() -> None:
    t = np.linspace(0.0, 10.0, 400)
    path = smooth_path(t, np.exp(-0.1 * t)[:, None], np.zeros((400, 0)))
    ladder = Ladder([path])
    slow = ladder.choose(Structure((("x0",),)), np.array([-0.1]))
    fast = ladder.choose(Structure((("1", "x0"),)), np.array([30.0, -60.0]))
    assert slow is not None
    assert fast is not None
    assert fast.n_inner > slow.n_inner


def test_the_beam_and_the_polish_find_a_hill_term() -> None:
    from scipy.integrate import solve_ivp

    t = np.linspace(0.0, 10.0, 300)
    x = solve_ivp(lambda s, y: [1.0 - 2.0 * y[0] ** 2 / (0.7 + y[0] ** 2)], (0, 10), [4.0], t_eval=t, rtol=1e-9).y.T
    path = smooth_path(t, x, np.zeros((300, 0)))
    system = weak_system([path], dictionary(np.abs(x).max(0), positive=np.array([True])))
    start = Subset(("1", "x0*x0/(k0+x0*x0)"), (0.0, 0.0), (0.4,), np.inf)
    assert polish(system, 0, start).inner[0] == pytest.approx(0.7, rel=0.02)
    found = search_subsets(system, 0, dictionary(np.abs(x).max(0), positive=np.array([True])))
    assert min(s.misfit for s in found) < 0.01 * float(system.target[0] @ system.target[0])


def test_coefficients_and_inner_constants_stay_with_their_terms() -> None:
    made = Equations(Structure((("x0/(k0+x0)", "x0"), ("sin(k0*x1)",))), (1.0, 2.0, 3.0, 4.0, 5.0))
    a, b = made.to_sympy()
    x0, x1 = sympy.symbols("x0 x1", real=True)
    assert float((a - (x0 / (x0 + 4.0) + 2.0 * x0)).subs(x0, 1.7)) == pytest.approx(0.0, abs=1e-6)
    assert float((b - 3.0 * sympy.sin(5.0 * x1)).subs(x1, 0.3)) == pytest.approx(0.0, abs=1e-6)
