"""Estimated outputs are independent, and everything else follows from each draw."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.inference.outputs import INDEPENDENT, OUTPUTS, OutputSpace
from pulsebayes.simulators.parameters import Parameter, ParameterSpace


@pytest.mark.parametrize(
    "names",
    [
        ("HR", "SV", "CO"),
        ("MAP", "CVP", "CO", "SVR"),
        ("HR", "SV", "MAP", "CVP", "SVR"),
        ("SBP-MAP", "MAP-DBP", "PP"),
        ("PP", "FF", "MAP-DBP"),
    ],
)
def test_dependent_outputs_are_refused(names):
    with pytest.raises(ValueError, match="functionally independent"):
        OutputSpace.from_names(names)


@pytest.mark.parametrize("names", [INDEPENDENT, ("HR", "CO"), ("CO", "MAP", "SVR"), ("SBP-MAP", "PP")])
def test_independent_outputs_are_accepted(names):
    assert OutputSpace.from_names(names).names == names


def test_unknown_output_is_named():
    with pytest.raises(ValueError, match=r"got \['EF'\]"):
        OutputSpace.from_names(("HR", "EF"))


def test_every_draw_obeys_the_identities():
    outputs = OutputSpace.from_names()
    theta = outputs.space.sample(np.random.default_rng(0), 1000)
    q = outputs.derive(theta)
    np.testing.assert_allclose(q["CO"], q["HR"] * q["SV"] / 1000, rtol=1e-12)
    np.testing.assert_allclose(q["SVR"] * q["CO"], 80 * (q["MAP"] - q["CVP"]), rtol=1e-3)  # 80 is 79.99
    np.testing.assert_allclose(q["PP"], q["SBP"] - q["DBP"], rtol=1e-9)
    assert ((q["DBP"] < q["MAP"]) & (q["MAP"] < q["SBP"])).all()
    assert not any("-" in name for name in q)


def test_encoding_and_deriving_are_inverse():
    outputs = OutputSpace.from_names()
    theta = outputs.space.sample(np.random.default_rng(0), 50)
    np.testing.assert_allclose(outputs.encode(outputs.derive(theta)), theta, rtol=1e-9)


def test_pulse_pressure_and_form_factor_tell_what_the_differences_tell():
    shape = OutputSpace.from_names(("HR", "MAP", "PP", "FF"))
    theta = shape.space.sample(np.random.default_rng(0), 50)
    told = shape.derive(theta)
    assert set(told) == {"HR", "MAP", "SBP", "DBP", "PP"}
    np.testing.assert_allclose(told["MAP"] - told["DBP"], theta[:, 3] * theta[:, 2], rtol=1e-9)
    np.testing.assert_allclose(told["SBP"] - told["DBP"], told["PP"], rtol=1e-9)
    simulated = {name: told[name] for name in ("HR", "MAP", "SBP", "DBP")}
    np.testing.assert_allclose(shape.encode(simulated), theta, rtol=1e-6)


def test_missing_column_is_named():
    with pytest.raises(ValueError, match="'PWV' must be among the simulated columns"):
        OutputSpace.from_names(("PWV",)).encode({"HR": np.ones(2)})


def test_parameters_of_the_simulator_can_be_outputs():
    extra = ParameterSpace((Parameter("R", "mmHg s/mL", 0.4, 2.5, scale="log"),))
    outputs = OutputSpace.from_names(("R", "HR"), extra=extra)
    assert outputs.reported == {"HR": "1/min", "R": "mmHg s/mL"}
    assert OutputSpace.from_json(outputs.to_json()) == outputs


def test_negative_resistance_has_a_floor_for_its_logarithm():
    outputs = OutputSpace.from_names()
    assert outputs.floors["SVR"] == OUTPUTS["SVR"].low
    assert outputs.floors["MAP"] == -np.inf
