"""Places of truncated normal parameters: the same law as normal scores, straight up to the ends."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.normal_scores import from_normal
from pulsebayes.simulators.parameters import Parameter, ParameterSpace
from pulsebayes.simulators.priors import LogUniform, TruncatedLogNormal, TruncatedNormal
from pulsebayes.simulators.soft_bounds import place_density, places_of, scores_of

SPACE = ParameterSpace(
    (
        Parameter("rate", "1/min", 40.0, 150.0, LogUniform(), "log"),
        Parameter("deviation", "1", -3.0, 3.0, TruncatedNormal(0.0, 1.0)),
        Parameter("pressure", "mmHg", 40.0, 140.0, TruncatedNormal(85.0, 20.0)),
        Parameter("factor", "1", 0.3, 3.0, TruncatedLogNormal(1.0, 0.4), "log"),
    )
)


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    jax.clear_caches()
    with jax.enable_x64(True):
        yield
    jax.clear_caches()


def test_places_and_scores_are_inverse():
    z = jnp.asarray(np.linspace(-5.0, 5.0, 41)[:, None].repeat(4, 1))
    v = jax.vmap(lambda row: places_of(SPACE, row))(z)
    np.testing.assert_allclose(jax.vmap(lambda row: scores_of(SPACE, row))(v), z, atol=1e-6)
    assert (np.diff(np.asarray(v), axis=0) > 0).all()
    np.testing.assert_array_equal(v[:, 0], z[:, 0])  # a prior that is not a truncated normal


def test_density_is_that_of_scores_times_the_slope():
    for v in (np.array([0.3, -1.0, 1.2, 0.1]), np.array([-2.0, 2.9, -2.2, 2.6]), np.array([1.0, -3.2, 2.8, -3.1])):
        slope = np.diag(jax.jacfwd(lambda at: scores_of(SPACE, at))(jnp.asarray(v)))
        z = np.asarray(scores_of(SPACE, jnp.asarray(v)))
        expected = (-0.5 * z**2 + np.log(slope)).sum()
        np.testing.assert_allclose(float(place_density(SPACE, jnp.asarray(v))), expected, rtol=1e-6)


def test_places_are_the_parameter_itself_up_to_its_ends():
    deviation = SPACE.subset(["deviation"])
    v = jnp.asarray([[-2.7], [-1.0], [2.0], [2.7]])
    theta = from_normal(deviation)(jax.vmap(lambda row: scores_of(deviation, row))(v))
    np.testing.assert_allclose(theta, v, atol=0.01)
    assert abs(float(scores_of(deviation, v[0])[0]) + 2.85) < 0.01  # whereas its score has moved on


def test_slopes_are_finite_far_beyond_the_ends():
    far = jnp.asarray([9.0, -9.0, 9.0, -9.0])
    assert np.isfinite(jax.grad(lambda v: scores_of(SPACE, v).sum())(far)).all()
    assert np.isfinite(jax.grad(lambda v: place_density(SPACE, v))(far)).all()
