r"""Waves without a unit: neither the estimator nor the domain verdict nor the checks of a model look at their scale."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pulsebayes.calibration.faults import FAULTS, sensitivity
from pulsebayes.calibration.produce import network_of, sensor_of
from pulsebayes.inference.bundle import Bundle, InputContract
from pulsebayes.inference.domain import DomainModel
from pulsebayes.inference.embedding import EmbeddingConfig, build_embedding
from pulsebayes.inference.npe import NPE, PRESETS
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.recipe import Recipe, find_recipe
from pulsebayes.simulators.photoplethysmograph import PPGSensor


def pulses(n: int, rng: np.random.Generator) -> np.ndarray:
    phase = (np.arange(1000) / 125 + rng.uniform(0, 1, (n, 1))) % rng.uniform(0.6, 1.0, (n, 1))
    wave = np.exp(-phase / 0.3) * np.minimum(phase / 0.12, 1)
    size, zero = 10 ** rng.uniform(-2, 3, (n, 1)), rng.normal(0, 50, (n, 1))
    return size * (wave + 0.003 * rng.normal(size=(n, 1000))) + zero


@pytest.fixture(scope="module")
def domain() -> DomainModel:
    return DomainModel.fit(pulses(300, np.random.default_rng(0)), fs=125.0, seed=0, role="PLETH")


def test_the_estimator_does_not_see_scale_and_zero() -> None:
    config = EmbeddingConfig(stages=(32,), blocks=(1,), hidden=32, context=8, relative=True)
    torch.manual_seed(0)
    embedding = build_embedding(config).eval()
    x = torch.randn(4, 1000)
    embedding.fit(x)
    with torch.no_grad():
        torch.testing.assert_close(embedding(x), embedding(300 + 40 * x), rtol=1e-3, atol=1e-4)
        absolute = build_embedding(dataclasses.replace(config, relative=False)).eval()
        assert not torch.allclose(absolute(x), absolute(300 + 40 * x), rtol=1e-2)


def test_only_windows_of_a_wave_are_relative() -> None:
    with pytest.raises(ValueError, match="relative is for kind 'wave'"):
        EmbeddingConfig("dense", relative=True)


def test_the_verdict_does_not_see_scale_and_zero(domain: DomainModel) -> None:
    window = pulses(1, np.random.default_rng(5))[0]
    first, second = domain.assess(window), domain.assess(-1000 + 0.01 * window)
    assert first.verdict == second.verdict == "inside"
    assert first.distance == pytest.approx(second.distance, rel=1e-3)
    again = DomainModel.from_arrays(domain.to_arrays())
    assert (again.role, again.assess(window)) == ("PLETH", first)
    assert domain.assess(np.sin(np.arange(1000) / 17)).verdict == "outside"


def test_a_recipe_of_a_photoplethysmogram_brings_its_sensor_and_no_unit() -> None:
    recipe = find_recipe("finger-ppg")
    assert sensor_of(recipe) == PPGSensor.finger()
    assert network_of(recipe).embedding.relative
    assert not network_of(Recipe("mine")).embedding.relative
    changed = dataclasses.replace(recipe, sensor={"motion": {"share": 0.0}})
    assert sensor_of(changed) == PPGSensor.from_json({"motion": {"share": 0.0}})


def test_faults_of_a_wave_without_a_unit_are_shares_of_its_pulse() -> None:
    outputs = OutputSpace.from_names(("HR", "SV"))
    network = dataclasses.replace(
        PRESETS["small"], embedding=dataclasses.replace(PRESETS["small"].embedding, relative=True)
    )
    prior = np.array([[60.0, 70.0], [80.0, 60.0]], np.float32)
    bundle = Bundle("tiny", NPE(outputs, network).eval(), prior, InputContract(role="PLETH", unit="1"))
    x = pulses(30, np.random.default_rng(1)).astype(np.float32)
    truth = {name: np.full(30, 70.0) for name in ("HR", "SV", "CO")}
    few = {name: FAULTS[name] for name in ("offset of 5 mmHg", "noise of 3 mmHg")}
    found = sensitivity(bundle, x, truth, n_draws=20, faults=few)
    assert set(found) == {"none", "offset of 12.5 % of the pulse", "noise of 7.5 % of the pulse"}
    assert found["none"]["answered"] > 0.9
    assert max(found["offset of 12.5 % of the pulse"]["shift"].values()) < 1e-2  # no unit, no zero
