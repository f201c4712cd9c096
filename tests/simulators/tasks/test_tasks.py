r"""Benchmark tasks: shapes, exact bounds, mechanics against closed forms, and what reality changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pulsebayes.simulators.tasks import EpidemicTask, GaussianTask, HaemodynamicsTask, PendulumTask, Task, TumourTask

TASKS: list[Callable[[], Task]] = [GaussianTask, PendulumTask, EpidemicTask, TumourTask]


@pytest.mark.parametrize("make", TASKS)
def test_observations_are_finite_have_the_stated_length_and_follow_the_seed(make: Callable[[], Task]) -> None:
    task = make()
    theta = task.space.sample(np.random.default_rng(0), 20)
    for observe in (task.simulate, task.observe):
        x = observe(theta, np.random.default_rng(1))
        assert x.shape == (20, task.samples) and np.isfinite(x).all()
        assert np.array_equal(x, observe(theta, np.random.default_rng(1)))
    assert not np.allclose(
        task.simulate(theta, np.random.default_rng(1)), task.observe(theta, np.random.default_rng(1))
    )


@pytest.mark.parametrize(("make", "bound"), [(PendulumTask, -3.350), (EpidemicTask, 2.079), (TumourTask, -12.306)])
def test_log_density_of_the_prior_is_the_exact_bound(make: Callable[[], Task], bound: float) -> None:
    task = make()
    theta = task.space.sample(np.random.default_rng(0), 500)
    found = task.space.log_prior(theta) - task.log_volume(theta)
    assert np.allclose(found, bound, atol=5e-4)


def test_volume_factor_is_the_jacobian_of_the_natural_parameters() -> None:
    for task in (EpidemicTask(), GaussianTask()):
        theta = task.space.sample(np.random.default_rng(0), 1)[0]
        step = 1e-6 * np.eye(task.space.dim)
        jacobian = np.stack([(task.natural(theta + e) - task.natural(theta - e)) / 2e-6 for e in step], -1)
        assert np.isclose(np.linalg.slogdet(jacobian)[1], task.log_volume(theta), atol=1e-6)


def test_rates_are_uniform_on_the_triangle() -> None:
    task = EpidemicTask()
    beta, gamma = task.natural(task.space.sample(np.random.default_rng(0), 20_000)).T
    assert (gamma < beta).all() and (gamma > 0).all() and (beta < 0.5).all()
    assert np.isclose(beta.mean(), 1 / 3, atol=0.005) and np.isclose(gamma.mean(), 1 / 6, atol=0.005)


def test_an_epidemic_without_wandering_ends_at_the_final_size() -> None:
    task = EpidemicTask(steps=20)

    class Still(np.random.Generator):
        def standard_normal(self, *args, **kwargs):  # type: ignore[override]
            return np.zeros(args[0])

    counts = task.counts(np.array([[0.4, 0.4]]), Still(np.random.PCG64(0)))[0]
    recovered = 0.16 * counts.sum() / 1e5  # the integral of gamma i
    final = 0.893  # of s = .999 exp(-2.5 (1 - s)): Kermack-McKendrick at a reproduction number of 2.5
    assert np.isclose(recovered, final, atol=0.01)


def test_late_reports_keep_their_sum_and_move_from_weekends_to_mondays() -> None:
    from pulsebayes.simulators.tasks.epidemic import _summaries

    task = EpidemicTask()
    theta = np.array([[0.3, 0.3]])
    plain = task.simulate(theta, np.random.default_rng(0))
    late = task.observe(theta, np.random.default_rng(0))
    assert np.isclose(plain[0, 0], late[0, 0], atol=1e-3)  # the mean is that of the true counts
    assert late[0, 5] < plain[0, 5]  # the autocorrelation is not
    assert _summaries(np.ones((1, 365)))[0, 0] == 0.0


def test_a_pendulum_without_noise_or_damping_keeps_its_amplitude_and_frequency() -> None:
    x = PendulumTask(noise=1e-9).simulate(np.array([[2.0, 5.0]]), np.random.default_rng(0))[0]
    time = np.linspace(0, 10, 200)
    basis = np.stack((np.cos(2 * time), np.sin(2 * time)), -1)
    weight, residual, *_ = np.linalg.lstsq(basis, x, rcond=None)
    assert np.isclose(np.hypot(*weight), 5.0) and residual[0] < 1e-12


def test_a_real_pendulum_loses_amplitude() -> None:
    theta = np.tile([[2.0, 5.0]], (200, 1))
    real = PendulumTask().observe(theta, np.random.default_rng(0))
    assert np.abs(real[:, 150:]).max(1).mean() < 0.5 * np.abs(real[:, :50]).max(1).mean()


def test_gaussian_posteriors_are_calibrated() -> None:
    task, rng = GaussianTask(), np.random.default_rng(0)
    theta = task.space.sample(rng, 4000)
    for x, posterior in (
        (task.simulate(theta, rng), task.posterior_of_simulated),
        (task.observe(theta, rng), task.posterior_of_real),
    ):
        mean, root = posterior(x)
        unit = np.linalg.solve(root, (theta - mean).T).T
        assert np.allclose(np.cov(unit.T), np.eye(3), atol=0.1)  # 4.5 standard errors
        assert np.abs(unit.mean(0)).max() < 0.08


def test_cell_counts_have_their_means_and_hollow_clusters_lose_cancer_cells() -> None:
    task, rng = TumourTask(), np.random.default_rng(0)
    theta = np.tile([[800.0, 8.0, 15.0]], (300, 1))
    full, hollow = task.simulate(theta, rng), task.observe(theta, rng)
    assert abs(full[:, :2].sum(1).mean() - 800) < 5 * np.sqrt(800 / 300)
    assert hollow[:, 1].mean() < 0.65 * full[:, 1].mean()  # .75 of clusters lose .64 of their area
    assert abs(hollow[:, 0].mean() - full[:, 0].mean()) < 15
    assert (full[:, 3] >= full[:, 2]).all()


def test_one_parent_makes_as_many_cancer_cells_as_its_radius_says() -> None:
    task = TumourTask()
    rng = np.random.default_rng(1)
    x = task._batch(np.tile([[1000.0, 1e-9, 12.0]], (400, 1)), rng, 0.0)
    assert abs(x[:, 1].mean() - 14.0) < 1.0  # Poisson(12) + 2, one parent


@pytest.fixture(scope="module")
def blood() -> tuple[HaemodynamicsTask, dict[str, np.ndarray]]:
    task = HaemodynamicsTask(n_frequencies=32)
    simulated, real = task.draw(np.random.default_rng(0), 40), task.draw_real(np.random.default_rng(0), 40)
    return task, {"simulated": simulated.x, "theta": simulated.theta, "real": real.x, "parameters": real.parameters}


def test_pressure_is_normalised_and_labels_are_physiological(blood) -> None:
    task, found = blood
    for key in ("simulated", "real"):
        assert found[key].shape == (40, task.samples) and np.isfinite(found[key]).all()
        assert np.allclose(found[key].mean(1), 0, atol=1e-6) and np.allclose(found[key].std(1), 1, atol=1e-5)
    assert ((found["theta"][:, 0] > 10) & (found["theta"][:, 0] < 180)).all()
    assert ((found["theta"][:, 1] > 100) & (found["theta"][:, 1] < 450)).all()


def test_only_reality_has_arms_that_grow(blood) -> None:
    task, found = blood
    import jax.numpy as jnp

    theta = jnp.asarray(found["parameters"][:5])
    fixed, grown = task._simulator.subjects(theta)[0], task._reality.subjects(theta)[0]
    assert np.allclose(fixed.length_factor, 1.0)
    assert np.allclose(grown.length_factor, theta[:, 1] / 1.70, rtol=1e-5)
    assert np.allclose(fixed.stroke_volume, grown.stroke_volume)


def test_the_nonlinear_reality_has_the_same_hearts_and_other_pressure(blood) -> None:
    task, (linear, _) = HaemodynamicsTask(reality="nonlinear"), blood
    patients = task.draw_real(np.random.default_rng(0), 6)
    assert patients.x.shape == (6, task.samples) and np.isfinite(patients.x).all()
    same = linear._windows(patients.parameters, np.random.default_rng(0), real=True)[0]
    assert np.allclose(patients.theta[:, 0], same[:, 0], rtol=0.1)  # stroke volume is the heart's: beats differ by draw
    twins = linear.twins(patients.parameters, np.random.default_rng(1))
    assert np.isfinite(twins).all() and np.abs(patients.x - twins).mean() > 0.1


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="noise, damping and samples"):
        PendulumTask(noise=0.0)
    with pytest.raises(ValueError, match="steps must be positive"):
        EpidemicTask(steps=0)
    with pytest.raises(ValueError, match="hollow and core"):
        TumourTask(hollow=2.0)
    with pytest.raises(ValueError, match="noise, stiffness and viscosity"):
        HaemodynamicsTask(viscosity=0.0)
    with pytest.raises(ValueError, match="reality must be linear or nonlinear, got 'real'"):
        HaemodynamicsTask(reality="real")
