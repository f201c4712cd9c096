"""Our simulators of the simulation-based inference benchmark against what its published files hold.

The first observation of each task and its true parameters stand below, as published (sbibm 1.1.0, MIT licence); all
ten and their reference posteriors are read where PULSEBAYES_SBIBM_WHEEL names the wheel.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pulsebayes.benchmarks.sbibm_tasks import TASKS, Case, cases

FIRST = {
    "gaussian_linear": (
        [0.27184236, 0.6762953, 0.17189318, -0.04218617, -0.82151634, 0.024290232, -0.24255924, -0.16438946,
         -0.13595216, 0.26958188],
        [1.0471346, 0.5566712, -0.23618454, 0.027879834, -1.0051446, -0.007930746, 0.06117077, -0.29286885,
         -0.38539964, 0.2449614],
    ),
    "gaussian_linear_uniform": (
        [-0.95270705, -0.14817107, 0.9824493, 0.41320384, 0.99042416, -0.74023414, 0.7862458, 0.043799043,
         -0.6261761, -0.76511395],
        [-0.53739023, -0.23864163, 0.81923723, 0.6407443, 0.41616207, -0.09746933, 1.1292295, -0.05842293,
         -0.97055256, -0.9423423],
    ),
    "gaussian_mixture": ([-9.527071, -1.4817104], [-9.472713, -1.4950509]),
    "two_moons": ([-0.8176656, -0.5756806], [-0.6396706, 0.16234657]),
    "slcp": (
        [-2.8581212, -0.44451332, 2.9473476, 1.2396116, 2.9712725],
        [2.3718784, 0.49947417, 9.931435, 1.7136912, -10.436423, -1.9067793, -1.2343777, -0.09735],
    ),
    "sir": ([0.61479264, 0.19172086], [0.0, 1.0, 352.0, 40.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    "lotka_volterra": (
        [0.6859157, 0.10761319, 0.88789904, 0.116794825],
        [31.783262, 1.1971166, 0.29703617, 0.71145046, 2.9415865, 11.482614, 36.09036, 0.46229604, 0.38081983,
         0.9173736, 0.8910395, 27.039942, 4.356176, 0.78444487, 0.17100818, 0.1325878, 8.727008, 16.97251,
         2.7902339, 0.47567415],
    ),
}  # fmt: skip


def published(name: str) -> list[Case]:
    """All ten cases of a task, from the wheel."""
    wheel = os.environ.get("PULSEBAYES_SBIBM_WHEEL")
    if not wheel:
        pytest.skip("no wheel: pip download --no-deps sbibm==1.1.0 and set PULSEBAYES_SBIBM_WHEEL to the file")
    return cases(Path(wheel), name)


def again(name: str, true, n=1000, seed=0) -> np.ndarray:
    """Observations simulated with one parameter vector."""
    return TASKS[name].simulate(np.repeat(np.atleast_2d(true), n, 0), np.random.default_rng(seed))


def ranks(simulated: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Rank of each observed number among the simulated ones, ties in half."""
    return 0.5 * ((simulated < observed).mean(0) + (simulated <= observed).mean(0))


@pytest.mark.parametrize("name", TASKS)
def test_published_observation_is_one_that_we_could_have_simulated(name):
    true, observed = FIRST[name]
    found = ranks(again(name, true), np.array(observed))
    assert found.shape == (len(observed),)
    # two-sided, Bonferroni over all 62 numbers, one false alarm in a hundred runs of fresh noise
    assert np.minimum(found, 1 - found).min() > 0.5 * 0.01 / 62


def test_lotka_volterra_runs_through_the_published_points():
    true, observed = FIRST["lotka_volterra"]
    simulated = np.log(again("lotka_volterra", true, 400))
    off = (np.log(observed) - simulated.mean(0)) / 0.1
    assert 0.6 < np.sqrt(np.mean(off**2)) < 1.4  # 20 standard normals leave this with probability .01
    np.testing.assert_allclose(simulated.std(0), 0.1, rtol=0.2)


def test_two_moons_lie_on_the_published_ring():
    true, observed = (np.array(v) for v in FIRST["two_moons"])
    centre = np.array([-abs(true.sum()), true[1] - true[0]]) / np.sqrt(2) + [0.25, 0]
    assert abs(np.linalg.norm(observed - centre) - 0.1) < 0.04
    radius = np.linalg.norm(again("two_moons", true) - centre, axis=1)
    assert abs(radius.mean() - 0.1) < 0.0013 and abs(radius.std() - 0.01) < 0.001  # four standard errors


def test_slcp_has_the_covariance_of_its_definition():
    true = np.array(FIRST["slcp"][0])
    points = again("slcp", true, 5000).reshape(-1, 2)
    first, second, rho = true[2] ** 2, true[3] ** 2, np.tanh(true[4])
    expected = [[first**2, rho * first * second], [rho * first * second, second**2]]
    np.testing.assert_allclose(np.cov(points.T), expected, rtol=0.04)  # four standard errors of 20,000 points
    np.testing.assert_allclose(points.mean(0), true[:2], atol=0.03 * first)


def test_priors_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    for name, law in {
        "gaussian_linear": stats.norm(0, np.sqrt(0.1)),
        "gaussian_linear_uniform": stats.uniform(-1, 2),
        "gaussian_mixture": stats.uniform(-10, 20),
        "two_moons": stats.uniform(-1, 2),
        "slcp": stats.uniform(-3, 6),
    }.items():
        draws = TASKS[name].space.sample(rng, 4000)
        assert min(stats.kstest(column, law.cdf).pvalue for column in draws.T) > 0.01 / 29
    for name, medians, sigmas in (
        ("sir", (0.4, 0.125), (0.5, 0.2)),
        ("lotka_volterra", np.exp((-0.125, -3.0, -0.125, -3.0)), (0.5,) * 4),
    ):
        draws = np.log(TASKS[name].space.sample(rng, 4000))
        unit = (draws - np.log(medians)) / sigmas
        assert min(stats.kstest(column, stats.norm.cdf).pvalue for column in unit.T) > 0.01 / 6


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_ten_published_observations_have_even_ranks(name):
    own = published(name)
    found = np.array([ranks(again(name, case.true, 500, seed=k), case.observed) for k, case in enumerate(own)])
    space = TASKS[name].space
    assert all(space.contains(case.reference).all() and space.contains(case.true[None]).all() for case in own)
    if name != "sir":  # most of its counts are the same in every simulation
        assert stats.kstest(found.ravel(), stats.uniform.cdf).pvalue > 0.001
    assert np.minimum(found, 1 - found).min() >= (0.001 if name == "sir" else 0.0)  # no count that ours never reach


@pytest.mark.slow
def test_reference_draws_follow_the_exact_gaussian_posteriors():
    for case in published("gaussian_linear"):
        np.testing.assert_allclose(case.reference.mean(0), case.observed / 2, atol=0.012)  # five standard errors
        np.testing.assert_allclose(case.reference.std(0), np.sqrt(0.05), rtol=0.04)
    for case in published("gaussian_linear_uniform"):
        sd = np.sqrt(0.1)
        for column, x in zip(case.reference.T, case.observed, strict=True):
            law = stats.truncnorm((-1 - x) / sd, (1 - x) / sd, x, sd)
            assert abs(column.mean() - law.mean()) < 5 * law.std() / 100


@pytest.mark.slow
def test_reference_draws_of_two_moons_simulate_the_observation():
    for case in published("two_moons"):
        theta, x = case.reference, case.observed
        centre = np.stack((-np.abs(theta.sum(1)), theta[:, 1] - theta[:, 0]), -1) / np.sqrt(2) + [0.25, 0]
        radius = np.linalg.norm(x - centre, axis=1)
        assert radius.min() > 0.05 and radius.max() < 0.15
        assert (x[0] > centre[:, 0]).mean() > 0.999  # on the half circle that faces right
