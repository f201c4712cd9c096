r"""Entropic transport: marginals, agreement with POT and ott-jax, streams, rows and maps of new points."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pulsebayes.calibration.transport import (
    Cost,
    EntropicConfig,
    entropic,
    median_cost,
    soft_rows,
    subsample_potential,
)


def clouds(m: int = 60, n: int = 90, d: int = 3, seed: int = 0) -> Cost:
    rng = np.random.default_rng(seed)
    return Cost.of_points(rng.normal(size=(m, d)), 1.3 * rng.normal(size=(n, d)) + 0.5)


def pot_plan(cost: Cost, epsilon: float, tau_b: float) -> np.ndarray:
    import ot

    m, n = cost.shape
    a, b = np.full(m, 1 / m), np.full(n, 1 / n)
    if tau_b == 1.0:
        return np.asarray(
            ot.sinkhorn(a, b, cost.matrix(), epsilon, method="sinkhorn_log", stopThr=1e-14, numItermax=20_000)
        )
    rho = epsilon * tau_b / (1 - tau_b)
    return np.asarray(
        ot.unbalanced.sinkhorn_unbalanced(
            a, b, cost.matrix(), reg=epsilon, reg_m=(float("inf"), rho), method="sinkhorn_stabilized",
            stopThr=1e-14, numItermax=20_000,
        )
    )  # fmt: skip


@pytest.mark.parametrize("tau_b", [1.0, 0.9, 0.5])
@pytest.mark.parametrize("share", [1.0, 0.25, 0.1])
def test_plan_is_the_one_of_pot(tau_b: float, share: float) -> None:
    cost = clouds()
    epsilon = share * median_cost(cost)
    plan = entropic(cost, epsilon=epsilon, config=EntropicConfig(tau_b=tau_b, tolerance=1e-13)).matrix()
    assert np.abs(plan - pot_plan(cost, epsilon, tau_b)).max() * plan.size < 1e-8  # relative to a mean entry


@pytest.mark.parametrize("tau_b", [1.0, 0.9])
def test_plan_is_the_one_of_ott_and_pot_and_ott_agree(tau_b: float) -> None:
    ott = pytest.importorskip("ott", reason="ott-jax is not installed (extra bench)")
    import jax
    from ott.geometry import geometry
    from ott.solvers import linear

    cost = clouds()
    m, n = cost.shape
    epsilon = 0.25 * median_cost(cost)
    with jax.enable_x64(True):
        geom = geometry.Geometry(cost_matrix=jax.numpy.asarray(cost.matrix()), epsilon=epsilon)
        a, b = jax.numpy.full(m, 1 / m), jax.numpy.full(n, 1 / n)
        found = linear.solve(geom, a, b, tau_a=1.0, tau_b=tau_b, threshold=1e-14, max_iterations=20_000)
        other = np.asarray(found.matrix)
    plan = entropic(cost, epsilon=epsilon, config=EntropicConfig(tau_b=tau_b, tolerance=1e-13)).matrix()
    assert other.dtype == np.float64 and ott.__version__
    assert np.abs(plan - other).max() < 1e-8
    assert np.abs(pot_plan(cost, epsilon, tau_b) - other).max() < 1e-8


@pytest.mark.parametrize("share", [1.0, 0.1, 0.02])
def test_hard_marginals_hold(share: float) -> None:
    cost = clouds()
    rng = np.random.default_rng(1)
    a, b = rng.dirichlet(np.full(60, 3.0)), rng.dirichlet(np.full(90, 3.0))
    coupling = entropic(cost, epsilon=share * median_cost(cost), a=a, b=b, config=EntropicConfig(tolerance=1e-11))
    plan = coupling.matrix()
    assert coupling.converged
    assert np.allclose(plan.sum(1), a, rtol=0, atol=1e-14)  # the last step is the source's
    assert np.abs(plan.sum(0) - b).sum() < 1e-10


def test_both_marginals_soft_agrees_with_pot() -> None:
    import ot

    cost, epsilon = clouds(), 0.7
    config = EntropicConfig(tau_a=0.8, tau_b=0.9, tolerance=1e-13)
    plan = entropic(cost, epsilon=epsilon, config=config).matrix()
    m, n = cost.shape
    rho = tuple(epsilon * tau / (1 - tau) for tau in (0.8, 0.9))
    other = ot.unbalanced.sinkhorn_unbalanced(
        np.full(m, 1 / m), np.full(n, 1 / n), cost.matrix(), reg=epsilon, reg_m=rho, stopThr=1e-15, numItermax=20_000
    )
    assert np.abs(plan - other).max() * plan.size < 1e-8


@pytest.mark.parametrize("tau_b", [1.0, 0.9])
def test_streamed_blocks_give_the_same_potentials(tau_b: float) -> None:
    cost, epsilon = clouds(200, 300), 0.2
    whole = entropic(cost, epsilon=epsilon, config=EntropicConfig(tau_b=tau_b))
    parts = entropic(cost, epsilon=epsilon, config=EntropicConfig(tau_b=tau_b, block=7_000))
    assert parts.converged and np.abs(whole.g - parts.g).max() < 1e-9
    plan = np.concatenate([block for _, block in parts.blocks(64)], axis=1)
    assert np.allclose(plan, whole.matrix(), atol=1e-12)


def test_a_sharp_problem_does_not_underflow() -> None:
    cost = clouds()
    cost = Cost.of_points(cost.x * 1e3, cost.y * 1e3)
    for config in (EntropicConfig(iterations=300, anneal=1.0), EntropicConfig(iterations=300, anneal=1.0, block=100)):
        coupling = entropic(cost, epsilon=0.3, config=config)
        assert np.isfinite(coupling.f).all() and np.isfinite(coupling.g).all()
        assert np.allclose(coupling.matrix().sum(1), 1 / 60, rtol=0, atol=1e-12)


def test_failure_to_converge_is_returned() -> None:
    coupling = entropic(clouds(), epsilon=0.01, config=EntropicConfig(iterations=3))
    assert not coupling.converged and coupling.error > 1e-6


@pytest.mark.parametrize("tau_b", [1.0, 0.9])
def test_row_of_a_source_point_is_the_row_of_the_plan(tau_b: float) -> None:
    cost = clouds()
    coupling = entropic(cost, epsilon=0.3, config=EntropicConfig(tau_b=tau_b))
    rows = coupling.rows(cost.x[:7])
    assert np.abs(rows - 60 * coupling.matrix()[:7]).max() < 1e-12
    assert np.allclose(rows.sum(1), 1.0)


def test_map_of_a_shifted_cloud_moves_new_points_by_the_shift() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 2))
    shift = np.array([3.0, -1.0])
    coupling = entropic(
        Cost.of_points(x, x[::-1] + shift, "sqeuclidean"), epsilon=0.1, config=EntropicConfig(tolerance=1e-5)
    )
    new = rng.normal(size=(50, 2)) * 0.5
    moved = coupling.map(new, coupling.cost.y)
    assert np.abs(moved - new - shift).mean() < 0.1


def test_a_start_from_a_subsample_saves_iterations() -> None:
    cost = clouds(500, 600)
    config = EntropicConfig(anneal=1.0)
    cold = entropic(cost, epsilon=0.05, config=config)
    start = subsample_potential(cost, epsilon=0.05, config=config, size=250)
    warm = entropic(cost, epsilon=0.05, config=config, start=start)
    assert warm.converged and warm.iterations < cold.iterations
    assert np.allclose(warm.matrix(), cold.matrix(), atol=1e-10)


def test_infinite_regularisation_gives_the_product_of_the_marginals() -> None:
    plan = entropic(clouds(), epsilon=1e9).matrix()
    assert np.allclose(plan, 1 / (60 * 90), rtol=1e-6)


def test_two_thousand_points_take_less_than_ten_processor_seconds() -> None:
    cost = clouds(2000, 2000, 8)
    begun = time.process_time()
    for tau_b in (1.0, 0.9):
        assert entropic(cost, epsilon=0.25 * median_cost(cost), config=EntropicConfig(tau_b=tau_b)).converged
    assert time.process_time() - begun < 20.0  # two solves of ten processor seconds at most; .4 measured


def test_a_row_at_ten_thousand_simulations_takes_less_than_five_milliseconds_of_a_processor() -> None:
    rng = np.random.default_rng(0)
    cost = Cost.of_points(rng.normal(size=(200, 16)), rng.normal(size=(10_000, 16)))
    coupling = entropic(cost, epsilon=1.0, config=EntropicConfig(tolerance=1e-6))
    times = []
    for x in rng.normal(size=(30, 1, 16)):
        begun = time.process_time()
        coupling.rows(x)
        times.append(time.process_time() - begun)
    assert np.median(times) < 5e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 0.0}, "epsilon must be positive"),
        ({"epsilon": 1.0, "a": np.ones(3)}, "a must hold 60 positive weights"),
        ({"epsilon": 1.0, "b": np.full(90, 2.0)}, "two hard marginals must weigh the same"),
        ({"epsilon": 1.0, "start": np.zeros(4)}, r"start must have shape \(90,\)"),
    ],
)
def test_bad_arguments_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        entropic(clouds(), **change)


def test_bad_costs_and_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"tau_b must lie in \(0, 1\]"):
        EntropicConfig(tau_b=1.5)
    with pytest.raises(ValueError, match="finite matrix"):
        Cost.of_matrix(np.array([[np.nan]]))
    with pytest.raises(ValueError, match=r"shapes \(m, d\) and \(n, d\)"):
        Cost.of_points(np.zeros((2, 2)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="new cost rows must have shape"):
        entropic(Cost.of_matrix(np.ones((2, 3))), epsilon=1.0).rows(np.ones((1, 2)))


def test_soft_rows_ignore_points_without_weight() -> None:
    assert soft_rows(np.zeros((1, 2)), np.zeros(2), np.array([0.0, 1.0]), 1.0).tolist() == [[0.0, 1.0]]
