r"""Recovery of known systems, and what trajectories that cannot be used get."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pulsebayes.inference.symbolic import (
    EquationPosterior,
    RecoverConfig,
    SymbolicRegressor,
    Trajectory,
    recover_equations,
    windkessel_law,
)

T = np.linspace(0.0, 10.0, 200)


def path(f, start, t=T):
    return solve_ivp(f, (t[0], t[-1]), start, t_eval=t, rtol=1e-9, atol=1e-11).y.T


def lotka(t, x):
    return [1.1 * x[0] - 0.4 * x[0] * x[1], -0.9 * x[1] + 0.3 * x[0] * x[1]]


def saturating(t, x):
    return [-1.3 * x[0] / (0.8 + x[0])]


def terms(answer: EquationPosterior) -> tuple[set[str], ...]:
    return tuple(set(e) for e in answer.candidates[0].equations.structure.terms)


def noisy(x: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    return x * (1.0 + sigma * np.random.default_rng(seed).standard_normal(x.shape))


def test_two_species_are_recovered_from_noisy_irregular_samples() -> None:
    t = np.sort(np.random.default_rng(1).uniform(0.0, 10.0, 180))
    answer = recover_equations([Trajectory(t, noisy(path(lotka, [2.0, 1.0], t), 0.03))])
    assert terms(answer) == ({"x0", "x0*x1"}, {"x1", "x0*x1"})
    assert answer.verdict == "one"


def test_a_rational_term_is_recovered_with_its_inner_constant() -> None:
    answer = recover_equations([Trajectory(T, path(saturating, [6.0]))])
    assert terms(answer) == ({"x0/(k0+x0)"},)
    np.testing.assert_allclose(answer.candidates[0].equations.constants, (-1.3, 0.8), rtol=0.01)


def test_weights_and_agreement_are_shares() -> None:
    answer = recover_equations([Trajectory(T, noisy(path(lotka, [2.0, 1.0]), 0.05))])
    assert sum(c.weight for c in answer.candidates) == pytest.approx(1.0)
    assert all(0.0 <= share <= 1.0 + 1e-9 for shares in answer.agreement.values() for share in shares.values())
    assert len(answer.candidates) <= RecoverConfig().n_candidates


def test_several_trajectories_of_one_system_are_pooled() -> None:
    both = [Trajectory(T, noisy(path(lotka, start), 0.05)) for start in ([2.0, 1.0], [0.8, 2.5])]
    assert terms(recover_equations(both)) == ({"x0", "x0*x1"}, {"x1", "x0*x1"})


@pytest.mark.filterwarnings("error")
def test_noise_alone_has_no_equation() -> None:
    answer = recover_equations([Trajectory(T, np.random.default_rng(0).standard_normal((200, 1)))])
    assert answer.verdict == "none"
    assert "no equation explains this" in answer.reason


def test_samples_with_missing_values_are_left_out() -> None:
    x = path(lotka, [2.0, 1.0])
    x[::9, 0] = np.nan
    assert terms(recover_equations([Trajectory(T, x)])) == ({"x0", "x0*x1"}, {"x1", "x0*x1"})


def test_huge_scales_give_the_same_law_in_the_files_units() -> None:
    x = path(lambda t, y: [0.8 * y[0] * (1.0 - y[0] / 5.0)], [0.4]) * 1e12
    answer = recover_equations([Trajectory(T * 1e-6, x)])
    assert terms(answer) == ({"x0", "x0*x0"},)
    found = dict(zip(answer.candidates[0].equations.structure.terms[0], answer.candidates[0].equations.constants))
    assert found["x0"] == pytest.approx(0.8e6, rel=0.01)
    assert found["x0*x0"] == pytest.approx(-0.16e-6, rel=0.01)


@pytest.mark.parametrize(
    ("t", "x", "message"),
    [
        (T[:2], np.ones((2, 1)), "at least 8 samples"),
        (T[::-1], path(lotka, [2.0, 1.0]), "rising times"),
        (np.repeat(T, 2)[:200], path(lotka, [2.0, 1.0]), "rising times"),
        (T, np.full((200, 1), 3.0), "constant at 3"),
        (T, np.full((200, 1), np.nan), "missing values"),
        (T[:100], np.ones((200, 1)), "expected times"),
        (T, np.random.default_rng(0).standard_normal((200, 7)), "at most 6 states"),
    ],
)
def test_trajectories_that_cannot_be_used_are_refused(t: np.ndarray, x: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recover_equations([Trajectory(t, x)])


def test_a_long_gap_is_not_bridged() -> None:
    kept = np.r_[0:55, 140:200]
    answer = recover_equations([Trajectory(T[kept], path(lotka, [2.0, 1.0])[kept])])
    assert terms(answer) == ({"x0", "x0*x1"}, {"x1", "x0*x1"})


def test_messages_name_the_states() -> None:
    with pytest.raises(ValueError, match="state prey is constant at 3"):
        recover_equations([Trajectory(T, np.full((200, 1), 3.0))], names=["prey"])


@pytest.mark.filterwarnings("error")
def test_two_states_of_noise_alone_have_no_equation() -> None:
    answer = recover_equations([Trajectory(T[:150], np.random.default_rng(0).standard_normal((2, 150)).T)])
    assert answer.verdict == "none"


def test_a_burst_of_several_samples_is_no_outlier() -> None:
    x = 1e-3 * np.sin(T)[:, None]
    x[100:104] += 1.0
    assert recover_equations([Trajectory(T, x)]).candidates


def test_an_offset_of_a_thousand_spreads_is_no_hindrance() -> None:
    x = path(lotka, [2.0, 1.0])
    answer = recover_equations([Trajectory(T, x + np.array([1000.0, 0.0]))])
    assert terms(answer)[1] == {"x1", "x0*x1"}


def test_eight_samples_of_a_cycle_are_not_taken_for_a_law() -> None:
    answer = recover_equations([Trajectory(T[::27], path(lotka, [2.0, 1.0])[::27])])
    assert answer.verdict in ("approximate", "none")


def test_no_trajectory_and_unlike_trajectories_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one trajectory"):
        recover_equations([])
    with pytest.raises(ValueError, match="the same states"):
        recover_equations([Trajectory(T, path(lotka, [2.0, 1.0])), Trajectory(T, path(saturating, [6.0]))])


def test_unknown_proposers_are_refused() -> None:
    with pytest.raises(ValueError, match="proposers must be"):
        RecoverConfig(proposers=("oracle",))


def test_the_regressor_fits_predicts_and_scores() -> None:
    x = path(lotka, [2.0, 1.0])
    model = SymbolicRegressor().fit(T, x)
    other = path(lotka, [0.8, 2.5])
    assert model.score(T, other) > 0.999
    assert model.predict(T, other[0]).shape == other.shape
    assert SymbolicRegressor(**model.get_params()).seed == model.seed


def test_predictions_ask_for_what_was_fitted() -> None:
    with pytest.raises(ValueError, match="call fit"):
        SymbolicRegressor().predict(T)
    model = SymbolicRegressor().fit(T, np.exp(-0.5 * T))
    assert model.predict(T, 2.0).shape == (200, 1)
    with pytest.raises(ValueError, match=r"start must hold 1 states \(x0\), got \(2,\)"):
        model.predict(T, np.ones(2))
    with pytest.raises(ValueError, match=r"u must have shape \(200, 0\), got \(200, 1\)"):
        model.predict(T, 2.0, np.ones(200))
    with pytest.raises(ValueError, match="rising times"):
        model.predict(T[::-1], 2.0)


def test_the_same_seed_gives_the_same_answer() -> None:
    given = [Trajectory(T, noisy(path(lotka, [2.0, 1.0]), 0.05))]
    assert recover_equations(given).to_json() == recover_equations(given).to_json()


def test_windkessel_law_gives_resistance_and_compliance() -> None:
    from pulsebayes.simulators.windkessel import half_sine_inflow, windkessel_pressure

    t = np.arange(0.0, 4.0, 1.0 / 125.0)
    beat = {"stroke_volume": 70.0, "period": 0.8, "ejection": 0.3}
    p = np.asarray(windkessel_pressure(t, resistance=0.9, compliance=1.8, **beat), dtype=float)
    q = np.asarray(half_sine_inflow(t, **beat), dtype=float)
    law = windkessel_law(t, p + np.random.default_rng(0).standard_normal(len(t)), q)
    assert law.resistance == pytest.approx(0.9, rel=0.03)
    assert law.compliance == pytest.approx(1.8, rel=0.05)
    assert law.weight > 0.5


def test_three_elements_give_impedance_resistance_and_compliance() -> None:
    t = np.arange(0.0, 4.0, 1.0 / 125.0)
    flow = 420.0 * np.maximum(np.sin(2.0 * np.pi * t / 0.8), 0.0) ** 2 * (t % 0.8 < 0.4)
    fine = np.arange(0.0, 4.0, 1.0 / 4000.0)
    driven = np.interp(fine, t, flow)
    windkessel = np.empty_like(fine)
    windkessel[0] = 80.0
    for i in range(len(fine) - 1):
        windkessel[i + 1] = windkessel[i] + (driven[i] - (windkessel[i] - 6.0) / 1.1) / 1.6 / 4000.0
    pressure = np.interp(t, fine, windkessel) + 0.05 * flow
    law = windkessel_law(t, pressure, flow, elements=3, outflow=6.0)
    assert law.resistance == pytest.approx(1.1, rel=0.02)
    assert law.compliance == pytest.approx(1.6, rel=0.02)
    assert law.impedance == pytest.approx(0.05, rel=0.05)
    assert law.venous_pressure == 6.0
    assert law.misfit < 0.5
    assert law.weight > 0.5


def test_a_windkessel_has_two_or_three_elements_and_flow_that_fills_it() -> None:
    t = np.arange(0.0, 4.0, 1.0 / 125.0)
    with pytest.raises(ValueError, match="elements must be 2 or 3, got 4"):
        windkessel_law(t, t, t, elements=4)


def test_a_long_regression_is_taken_where_no_law_explains_the_samples() -> None:
    pytest.importorskip("pysindy")
    t = np.linspace(0.0, 10.0, 256)

    def rich(_: float, x: np.ndarray) -> list[float]:
        a, b = x
        return [
            b + 0.3 * a * b - 0.2 * a**3 + 0.4 * b**2 - 0.1 * a**2 * b + 0.2 * b**3 - 0.3 * a**2 + 0.1 * a * b**2 + 0.2,
            -a - 0.2 * b**3 + 0.2 * a**2 - 0.3 * a * b - 0.1 * a**3 + 0.2 * b**2 - 0.1 * a * b**2 - 0.1 * b - 0.1,
        ]

    x = path(rich, [1.0, 0.0], t)
    config = RecoverConfig(proposers=("weak", "sindy"))
    answer = recover_equations([Trajectory(t, x)], config=config)
    assert answer.candidates[0].error_heldout < 0.05


def test_pysindy_reads_the_input_of_a_driven_system() -> None:
    pytest.importorskip("pysindy")
    from pulsebayes.inference.symbolic._sindy import default_sindy, tuned_sindy
    from pulsebayes.inference.symbolic._smooth import smooth_path
    from pulsebayes.inference.symbolic.posterior import run

    t = np.linspace(0.0, 10.0, 512)
    u = np.sin(2.0 * t) + 0.5 * np.sin(5.3 * t) + 1.0
    x = solve_ivp(lambda s, x: 0.7 * np.interp(s, t, u) - 0.8 * x, (0.0, 10.0), [1.0], t_eval=t, rtol=1e-9).y.T
    path = smooth_path(t, x, u[:, None])
    plain, tuned = default_sindy(path), tuned_sindy(path)
    assert plain is not None and plain.structure.terms == (("x0", "u0"),)
    np.testing.assert_allclose(plain.constants, (-0.8, 0.7), rtol=0.02)
    made = run(tuned, x[0], t, u[:, None])
    assert made is not None and np.abs(made - x).max() < 0.01 * np.ptp(x)
