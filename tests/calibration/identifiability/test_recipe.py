r"""The recipe of twelve arterial signals fits its simulator, its sensors and its network."""

from __future__ import annotations

import numpy as np

from pulsebayes.calibration.identifiability.noise import noise_reach, scale_noise
from pulsebayes.calibration.produce import contract_of, network_of, sensor_of
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.recipe import find_recipe
from pulsebayes.simulators.registry import build


def test_the_recipe_of_many_sites_fits_together() -> None:
    recipe = find_recipe("multi-site")
    simulator = build(recipe.simulate.model, **recipe.simulate.config)
    assert {channel.site for channel in recipe.channels} == set(simulator.sites)
    outputs = OutputSpace.from_names(recipe.outputs, extra=simulator.space)
    assert set(outputs.names) - {"PP", "FF"} <= set(simulator.quantity_names)
    assert {"CO", "SVR", "SBP", "D_Femoral", "PWV", "LVET", "C"} <= set(outputs.reported)
    contract, sensor = contract_of(recipe), sensor_of(recipe)
    assert len(contract.names) == 12 and contract.names == sensor.names
    assert {c.unit for c in contract.channels} == {"mmHg", "mL/s", "1"}
    assert network_of(recipe).embedding.fs == recipe.fs == 62.5
    waves = 50 + 10 * np.sin(np.arange(600) / 8) * np.ones((3, 12, 1), np.float32)
    for factor in (0.0, 0.25, 4.0):
        seen = scale_noise(sensor, factor).apply(waves, np.random.default_rng(0), fs=62.5, out_samples=500)
        assert seen.shape == (3, 12, 500) and np.isfinite(seen).all(-1).any(-1).all()
    assert 4 < noise_reach(sensor) < 6


def test_quantities_that_follow_from_nothing_are_independent_outputs() -> None:
    outputs = OutputSpace.from_names(("HR", "SV", "D_AorticRoot"))
    assert list(outputs.derive(np.array([[60.0, 70.0, 30.0]]))) == ["HR", "SV", "CO", "D_AorticRoot"]
    assert outputs.reported["D_AorticRoot"] == "mm"
