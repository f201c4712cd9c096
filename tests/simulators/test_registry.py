r"""Simulators by name: each registered one keeps the contract, and wrong names say what there is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pulsebayes.simulators._worker import describe
from pulsebayes.simulators.registry import HOMES, build
from pulsebayes.simulators.status import STATUS

SMALL: dict[str, dict[str, object]] = {
    "closed-loop": {"beat": "periodic", "n_steps": 128},
    "heart-network": {"beat": "periodic", "n_steps": 128, "n_harmonics": 16},
    "linear-network": {"beat": "periodic", "n_frequencies": 16, "sites": ["Radial"]},
    "network": {"beat": "periodic", "population": "healthy", "sites": ["Radial"], "dx_mm": 40.0},
    "nonlinear-heart-network": {"beat": "periodic", "dx_mm": 40.0, "sites": ["Radial"], "max_beats": 3},
    "reference-network": {"duration_s": 2.0, "harmonics": 8},
    "reference-windkessel": {"duration_s": 2.0},
    "windkessel": {},
    "windkessel2": {"duration_s": 2.0},
    "windkessel3": {"duration_s": 2.0},
    "windkessel4": {"duration_s": 2.0},
}


@pytest.mark.parametrize("name", sorted(HOMES))
def test_registered_simulators_keep_the_contract(name: str) -> None:
    simulator = build(name, **SMALL[name])
    assert simulator.name == name
    assert simulator.version
    json.dumps(describe(simulator), allow_nan=False)
    again = build(name, **json.loads(json.dumps(dict(simulator.config))))
    assert dict(again.config) == dict(simulator.config)
    theta = simulator.space.sample(np.random.default_rng(0), 8)
    rows = simulator.simulate(theta, 3)
    assert np.asarray(rows.waves).shape[:2] == (8, len(simulator.sites))
    assert np.asarray(rows.quantities).shape == (8, len(simulator.quantity_names))
    assert set(np.asarray(rows.status).tolist()) <= set(STATUS)
    twice = simulator.simulate(theta, 3)
    assert np.array_equal(np.asarray(rows.waves), np.asarray(twice.waves), equal_nan=True)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one of \['closed-loop', .*got 'heart'"):
        build("heart")
    with pytest.raises(ImportError, match="no_such_module"):
        build("no_such_module:Heart")
    with pytest.raises(ImportError, match="json has no Heart"):
        build("json:Heart")


def test_unknown_settings_are_type_errors() -> None:
    for name in HOMES:
        with pytest.raises(TypeError, match="colour"):
            build(name, colour="red")
