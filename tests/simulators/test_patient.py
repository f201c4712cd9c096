r"""Parameters found for asked quantities give those quantities back when simulated."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.clinical import CLINICAL
from pulsebayes.simulators.network.linear import QUANTITY_UNITS, LinearNetwork
from pulsebayes.simulators.patient import SETTABLE, _set, parameters_for, simulate_adults, typical_parameters

ASKED = {"HR": 72.0, "SV": 68.0, "LVET": 290.0, "PWV": 7.5, "C": 1.6, "MAP": 86.0, "CVP": 7.0}


def test_simulated_adult_has_what_was_asked_for() -> None:
    network = LinearNetwork(beat="periodic", sites=("Radial",), n_frequencies=16)
    base = CLINICAL.sample(np.random.default_rng(0), 8)
    base[0] = typical_parameters()[0]
    found = simulate_adults(network, {k: np.full(8, v) for k, v in ASKED.items()}, base, seed=0)
    columns = dict(zip(QUANTITY_UNITS, found.quantities.T, strict=True))
    for name, value in ASKED.items():
        # 20 halvings of a deviation and one correction of mean pressure: .5 %; compliance may end at a bound.
        assert columns[name][0] == pytest.approx(value, rel=0.005), name
        if name != "C":
            assert np.allclose(columns[name], value, rtol=0.01), name


def test_nothing_is_cast_without_a_word_in_double_precision() -> None:
    """NUTS asks so; before, JAX warned of a scatter of float64 into float32."""
    with warnings.catch_warnings(), jax.enable_x64(True):
        warnings.simplefilter("error")
        theta = jnp.zeros((2, CLINICAL.dim), jnp.float32)
        found = np.asarray(_set(theta, "mean_pressure", jnp.array([-1.0, 1e6], jnp.float32)))
    i = CLINICAL.index("mean_pressure")
    np.testing.assert_allclose(found[:, i], [CLINICAL.low[i], CLINICAL.high[i]], rtol=1e-6)


def test_parameters_stay_within_their_bounds_however_mad_the_wish() -> None:
    wish = {name: np.array([1e-6, 1e6]) for name in SETTABLE}
    assert CLINICAL.contains(parameters_for(wish, typical_parameters(2))).all()


def test_what_is_not_asked_for_stays_as_it_was() -> None:
    base = typical_parameters(1)
    theta = parameters_for({"HR": np.array([100.0])}, base)
    changed = np.flatnonzero(~np.isclose(theta[0], base[0]))
    assert [CLINICAL.names[i] for i in changed] == ["heart_rate"]


def test_wrong_wishes_are_refused() -> None:
    with pytest.raises(ValueError, match="quantities must be among"):
        parameters_for({"CO": np.array([5.0])}, typical_parameters())
    with pytest.raises(ValueError, match="base must have shape"):
        parameters_for({}, np.zeros((1, 3)))
    with pytest.raises(ValueError, match="finite values"):
        parameters_for({"HR": np.array([np.nan])}, typical_parameters())
    with pytest.raises(ValueError, match="clinical population"):
        simulate_adults(LinearNetwork(population="healthy"), {}, typical_parameters(), seed=0)
