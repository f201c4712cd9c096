r"""Exact, sparse, low-rank, semidiscrete and progressive transport against closed forms and each other."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.calibration.transport import (
    Cost,
    EntropicConfig,
    entropic,
    exact_plan,
    low_rank_plan,
    progressive_map,
    semidiscrete_potential,
    soft_rows,
    sparse_plan,
)


def test_exact_plan_in_one_dimension_sorts() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 1)), rng.gamma(2.0, size=(50, 1))
    plan = exact_plan(Cost.of_points(x, y, "sqeuclidean"))
    assert plan.converged
    assert (plan.matrix.argmax(1)[x[:, 0].argsort()] == y[:, 0].argsort()).all()
    assert np.isclose(plan.value, ((np.sort(x[:, 0]) - np.sort(y[:, 0])) ** 2).mean())


def test_exact_plan_obeys_complementary_slackness_and_bounds_the_entropic_cost() -> None:
    rng = np.random.default_rng(1)
    cost = Cost.of_points(rng.normal(size=(40, 3)), rng.normal(size=(60, 3)))
    plan, table = exact_plan(cost), cost.matrix()
    slack = table - plan.f[:, None] - plan.g
    assert slack.min() > -1e-9 and np.abs(slack[plan.matrix > 0]).max() < 1e-9
    blurred = entropic(cost, epsilon=0.01).matrix()
    assert plan.value <= (blurred * table).sum() < plan.value + 0.05


def test_exact_plan_that_runs_out_of_pivots_says_so() -> None:
    rng = np.random.default_rng(2)
    cost = Cost.of_points(rng.normal(size=(80, 2)), rng.normal(size=(80, 2)))
    assert not exact_plan(cost, iterations=3).converged


def test_sparse_plan_has_its_marginals_and_few_entries() -> None:
    rng = np.random.default_rng(3)
    cost = Cost.of_points(rng.normal(size=(30, 2)), rng.normal(size=(40, 2)))
    plan = sparse_plan(cost, penalty=1.0)
    assert plan.converged
    assert np.abs(plan.matrix.sum(1) - 1 / 30).sum() < 1e-3 and np.abs(plan.matrix.sum(0) - 1 / 40).sum() < 1e-3
    assert (plan.matrix == 0).mean() > 0.8
    assert plan.value >= exact_plan(cost).value - 1e-6


def test_low_rank_plan_has_its_marginals_and_bounds_the_exact_cost() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(120, 2)), rng.normal(size=(150, 2)) + 2.0
    plan = low_rank_plan(x, y, rank=20)
    matrix = plan.matrix()
    assert np.abs(matrix.sum(1) - 1 / 120).sum() < 1e-2 and np.abs(matrix.sum(0) - 1 / 150).sum() < 1e-2
    table = Cost.of_points(x, y, "sqeuclidean").matrix()
    exact = exact_plan(Cost.of_matrix(table)).value
    assert exact * 0.98 < (matrix * table).sum() < table.mean()
    assert np.allclose(plan.rows(slice(0, 5)).sum(1), 1.0)


def test_soft_low_rank_plan_leaves_out_an_outlier() -> None:
    pytest.importorskip("ott", reason="ott-jax is not installed (extra bench)")
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(60, 2)), rng.normal(size=(61, 2))
    y[-1] = 50.0
    soft = low_rank_plan(x, y, rank=5, tau_b=0.5).matrix()
    assert np.isfinite(soft).all()
    assert soft.sum(0)[-1] < 0.5 / 61


def test_semidiscrete_potential_balances_its_cells() -> None:
    rng = np.random.default_rng(6)
    y = np.array([[-2.0, 0.0], [0.0, 0.0], [0.5, 1.0]])
    g = semidiscrete_potential(lambda n: rng.normal(size=(n, 2)), y, epsilon=0.05, iterations=4000)
    source = rng.normal(size=(20_000, 2))
    rows = soft_rows(Cost.of_points(source, y, "sqeuclidean").matrix(), g, np.full(3, 1 / 3), 0.05)
    assert np.abs(rows.mean(0) - 1 / 3).max() < 0.03


def test_progressive_map_recovers_the_map_between_gaussians_better_than_its_first_step() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(600, 2))
    root = np.array([[1.5, 0.4], [0.4, 0.7]])  # symmetric, so it is the optimal map
    y = rng.normal(size=(600, 2)) @ root + 1.0
    new = rng.normal(size=(300, 2))
    truth = new @ root + 1.0
    found = progressive_map(x, y, steps=4, coarse=0.3, fine=0.05)
    cost = Cost.of_points(x, y, "sqeuclidean")
    single = entropic(cost, epsilon=0.3 * cost.matrix().mean()).map(new, y)
    error = [np.mean((mapped - truth) ** 2) for mapped in (found(new), single)]
    assert found.converged and error[0] < 0.1 and error[0] < error[1]


def test_progressive_map_takes_the_steps_of_ott() -> None:
    pytest.importorskip("ott", reason="ott-jax is not installed (extra bench)")
    import jax
    from jax import numpy as jnp
    from ott.geometry import pointcloud
    from ott.problems.linear import linear_problem
    from ott.tools import progot

    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(40, 2)), rng.normal(size=(50, 2)) @ np.array([[1.5, 0.4], [0.4, 0.7]]) + 1.0
    new = rng.normal(size=(15, 2))
    # its solver mixes with the first points, not the last: two steps of which the second goes all the way agree
    found = progressive_map(x, y, steps=2, coarse=0.3, fine=0.1, config=EntropicConfig(tolerance=1e-13))
    alphas, levels = np.array([step[0] for step in found.steps]), np.array([step[2] for step in found.steps])
    with jax.enable_x64(True):
        problem = linear_problem.LinearProblem(pointcloud.PointCloud(jnp.asarray(x), jnp.asarray(y)))
        solver = progot.ProgOT(jnp.asarray(alphas), epsilons=jnp.asarray(levels))
        other = solver(problem, threshold=1e-13, max_iterations=20_000)
        points = np.asarray(other.transport(jnp.asarray(new))[0])
    assert np.asarray(other.converged).all()
    assert np.abs(found(new) - points).max() < 1e-8


def test_bad_arguments_are_named() -> None:
    points = np.zeros((3, 1))
    with pytest.raises(ValueError, match="rank must lie between 1 and 3"):
        low_rank_plan(points, points, rank=9)
    with pytest.raises(ValueError, match="penalty must be positive"):
        sparse_plan(Cost.of_points(points, points), penalty=0.0)
    with pytest.raises(ValueError, match="a and b must weigh the same"):
        exact_plan(Cost.of_points(points, points), a=np.ones(3))
    with pytest.raises(ValueError, match="steps, coarse and fine"):
        progressive_map(points, points, steps=0)
    with pytest.raises(ValueError, match="epsilon must not be negative"):
        semidiscrete_potential(lambda n: np.zeros((n, 1)), points, epsilon=-1.0)
