r"""Mixtures: densities that integrate to one, draws that follow them, bounds that hold, and what has no density."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pulsebayes.calibration.rope import Components, DrawnPrior, Mixture
from pulsebayes.calibration.scores import lpp
from pulsebayes.simulators.parameters import Parameter, ParameterSpace


def grid(space: ParameterSpace, cells: int = 100) -> tuple[np.ndarray, np.ndarray]:
    r"""Midpoints and volumes of cells that are equal in probability scale of the bounds."""
    z = np.linspace(-9, 9, cells + 1)
    edges = [space.constrain(np.tile(z[:, None], (1, space.dim)))[:, d] for d in range(space.dim)]
    middle = [0.5 * (e[1:] + e[:-1]) for e in edges]
    volume = np.outer(np.diff(edges[0]), np.diff(edges[1])).ravel()
    return np.stack([m.ravel() for m in np.meshgrid(*middle, indexing="ij")], -1), volume


@pytest.mark.parametrize(("bandwidth", "share"), [(0.0, 0.0), (0.17, 0.05), (0.3, 1.0)])
def test_density_integrates_to_one(components: Components, space, bandwidth: float, share: float) -> None:
    theta, volume = grid(space)
    weights = np.random.default_rng(0).dirichlet(np.full(80, 0.1))[None]
    mixture = Mixture(np.repeat(weights, len(theta), 0), components, space, bandwidth, share)
    assert np.isclose(np.exp(mixture.log_prob(theta)) @ volume, 1.0, atol=0.02)  # midpoints of 100 by 100 cells


@pytest.mark.parametrize(("bandwidth", "share"), [(0.0, 0.0), (0.17, 0.05)])
def test_draws_follow_the_density(components: Components, space, bandwidth: float, share: float) -> None:
    weights = np.random.default_rng(0).dirichlet(np.full(80, 0.5))[None]
    mixture = Mixture(weights, components, space, bandwidth, share)
    draws = mixture.sample(np.random.default_rng(1), 4000)[0]
    assert space.contains(draws).all()
    theta, volume = grid(space)
    many = Mixture(np.repeat(weights, len(theta), 0), components, space, bandwidth, share)
    mass = np.exp(many.log_prob(theta)) * volume
    for d in range(2):
        order = np.argsort(theta[:, d], kind="stable")
        cdf = np.cumsum(mass[order]) / mass.sum()
        found = np.interp(draws[:, d], theta[order, d], cdf)
        assert stats.kstest(found, "uniform").statistic < 0.05  # false alarm below 1e-8 at 4,000 draws


def test_a_value_outside_the_bounds_is_minus_infinity_and_counted(components: Components, space) -> None:
    weights = np.full((2, 80), 1 / 80)
    for bandwidth, share in ((0.0, 0.0), (0.2, 0.05)):
        found = Mixture(weights, components, space, bandwidth, share).log_prob(np.array([[0.3, 2.0], [9.0, 2.0]]))
        score = lpp(found)
        assert score.mean == -np.inf and score.infinite == 0.5 and np.isfinite(score.finite)


def test_smoothing_fills_the_holes_between_needles(space) -> None:
    needles = Components(space, np.random.default_rng(0).normal(size=(50, 1, 2)), np.ones(2))
    theta = space.constrain(np.random.default_rng(1).normal(size=(200, 2)))
    weights = np.full((200, 50), 1 / 50)
    narrow, wide = (Mixture(weights, needles, space, h).log_prob(theta).mean() for h in (0.01, 0.3))
    assert wide > narrow + 10


def test_a_table_serves_every_set_of_weights(components: Components, space) -> None:
    theta = space.sample(np.random.default_rng(0), 9)
    weights = np.random.default_rng(1).dirichlet(np.ones(80), 9)
    mixture = Mixture(weights, components, space, 0.2, 0.05)
    assert np.allclose(mixture.log_prob(theta, table=components.table(theta, bandwidth=0.2)), mixture.log_prob(theta))


def test_a_prior_known_by_draws_integrates_to_one() -> None:
    space = ParameterSpace((Parameter("a", "1", 0.0, 1.0),))
    prior = DrawnPrior(space, np.random.default_rng(0).beta(2, 5, size=(3000, 1)))
    at = np.linspace(0.001, 0.999, 999)[:, None]
    density = np.exp(prior.log_prior(at))
    assert np.isclose(density.mean(), 1.0, atol=0.01)
    assert np.abs(density - stats.beta(2, 5).pdf(at[:, 0])).mean() < 0.08
    assert prior.log_prior(np.array([[2.0]]))[0] == -np.inf
    assert space.contains(prior.sample(np.random.default_rng(0), 100)).all()


def test_bad_arguments_are_named(components: Components, space) -> None:
    with pytest.raises(ValueError, match="theta must have shape"):
        Mixture(np.full((1, 80), 1 / 80), components, space).log_prob(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="bandwidth must be positive without an estimator"):
        Components(space, components.z, components.scale).table(np.zeros((1, 2)) + 1)
    with pytest.raises(ValueError, match=r"prior_share must lie in \[0, 1\]"):
        Mixture(np.full((1, 80), 1 / 80), components, space, 0.1, 2.0)
