"""A bundle is validated on unseen simulations; the new bundle keeps weights, layers and card and cites the numbers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from pulsebayes.calibration.conformal.layer import ConformalLayer, save_layer
from pulsebayes.calibration.diagnostics import judge
from pulsebayes.calibration.load import load_calibrated
from pulsebayes.calibration.predictive_checks import predictive_check, window_features
from pulsebayes.calibration.validation import (
    HeldOut,
    _taught_by,
    draw_samples,
    read_held_out,
    recipe_of,
    save_validated,
    simulate_held_out,
    validate,
)
from pulsebayes.inference.bundle import Bundle, InputContract
from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.recipe import Recipe, Simulate
from pulsebayes.inference.recipe import Test as Held
from pulsebayes.simulators.dataset import make_training_set
from pulsebayes.simulators.sensors import SensorModel
from pulsebayes.simulators.training_set import TrainingSet
from pulsebayes.simulators.windkessel import Windkessel

SAMPLES = 250
CONFIG = {"duration_s": 3.0}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """An untrained estimator of a windkessel's resistance and compliance, half as wide as its prior."""
    torch.manual_seed(0)
    space = Windkessel(**CONFIG).space
    outputs = OutputSpace.from_names(("R", "C"), extra=space)
    shape = EmbeddingConfig("dense", samples=SAMPLES, hidden=8, context=4)
    npe = NPE(outputs, NPEConfig(shape, transforms=2, hidden=(8,))).eval()
    prior = space.sample(np.random.default_rng(0), 500).astype(np.float32)
    z = torch.from_numpy(outputs.space.unconstrain(prior)).float()
    npe.fit_scales(0.5 * (z - z.mean(0)) + z.mean(0), 90 + 20 * torch.randn(64, SAMPLES))
    recipe = Recipe("tiny", simulate=Simulate("windkessel", CONFIG, n=400), test=Held(200), site="aortic-root",
                    samples=SAMPLES, outputs=("R", "C"), sensor=SensorModel.ideal().to_json())  # fmt: skip
    training = {"simulator": "windkessel", "simulator_config": CONFIG, "fingerprint": "of the training set",
                "recipe": recipe.to_json(), "sensor": SensorModel.ideal().to_json()}  # fmt: skip
    return Bundle("tiny", npe, prior, InputContract(samples=SAMPLES), training, card="# tiny\n\n## Licence\n\nMine.\n")


@pytest.fixture(scope="module")
def held(bundle: Bundle) -> HeldOut:
    return simulate_held_out(bundle, 400, seed=3)


def test_samples_have_the_density_and_latents_of_the_estimator(bundle, held):
    some = HeldOut(held.x[:30], held.theta[:30], {}, "")
    samples, log_p = draw_samples(bundle, some, n_draws=200)
    np.testing.assert_allclose(log_p, bundle.npe.log_prob(some.theta, torch.from_numpy(some.x)), atol=1e-4)
    base = -0.5 * (samples.latent**2).sum(1) - np.log(2 * np.pi)
    jacobian = samples.log_truth - base  # of the flow at the truth: must be that of its own inverse
    with torch.no_grad():
        flow = bundle.npe.flow(torch.from_numpy(samples.context))
        _, expected = flow.transform.call_and_ladj(torch.from_numpy(samples.z_truth).float())
    np.testing.assert_allclose(jacobian, expected.numpy(), atol=1e-4)
    space, npe = bundle.outputs.space, bundle.npe
    again = space.unconstrain(np.stack([samples.draws[n][:, :128] for n in ("R", "C")], -1))
    np.testing.assert_allclose(samples.z, (again - npe.z_mean.numpy()) / npe.z_sd.numpy(), atol=1e-3)


def test_validated_bundle_keeps_weights_layers_and_card(bundle, held, tmp_path):
    source, out = tmp_path / "tiny", tmp_path / "validated"
    bundle.save(source)
    save_layer(ConformalLayer((), 100, ("a",)), source)
    better, judgement = validate(bundle, held, n_draws=100, n_faults=20, n_predictive=10)
    save_validated(better, source, out)
    found = load_calibrated(out)
    assert found.conformal == load_calibrated(source).conformal
    for before, after in zip(bundle.npe.state_dict().values(), found.bundle.npe.state_dict().values(), strict=True):
        assert torch.equal(before, after)
    measured = found.bundle.measured
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured
    assert set(measured["not_calibrated"]) == set(judgement.not_calibrated()) == {"R", "C"}
    assert measured["validation"]["passes"] is False
    assert {t["name"] for t in measured["validation"]["tests"]} >= {"sbc", "tarp", "ecdf", "local_c2st", "density"}
    assert measured["validation"]["faults"]["channel missing"]["answered"] == 0.0
    assert set(measured["validation"]["predictive"]["features"])
    assert found.bundle.card.startswith("# tiny\n\n## Licence\n\nMine.\n\n## Validated on 400")
    twice, _ = validate(better, held, n_draws=100, n_faults=0, n_predictive=0)
    assert twice.card.count("## Validated") == 1 and "Mine." in twice.card


def test_a_set_is_read_and_the_training_set_refused(bundle, tmp_path):
    made = tmp_path / "held.zarr"
    make_training_set(("windkessel", CONFIG), 60, made, seed=9, workers=1, shard_size=60, batch_size=60)
    found = TrainingSet.open(made)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held = read_held_out(bundle, found, n=50)
    assert held.n == 50 and held.x.shape == (50, SAMPLES) and held.source == found.fingerprint
    np.testing.assert_allclose(held.theta, found.theta[:50])
    import dataclasses

    trained = dataclasses.replace(bundle, training={**bundle.training, "fingerprint": found.fingerprint})
    with pytest.raises(ValueError, match="tiny was trained on this set"):
        read_held_out(trained, found, n=50)
    taught = dataclasses.replace(bundle, training={**bundle.training, "finer": {"simulator": "network"}})
    with pytest.warns(UserWarning, match="made by windkessel, .* learned last from network: .* holds for windkessel"):
        assert np.array_equal(read_held_out(taught, found, n=50).x, held.x, equal_nan=True)
    adapted = {**taught.training, "recipe": {**bundle.training["recipe"], "finer": {"adapter": 16}}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # its adapter taken away, the set is of the simulator that taught it
        assert _taught_by(dataclasses.replace(bundle, training=adapted)) == "windkessel"
    with pytest.raises(ValueError, match="does not say by which recipe"):
        recipe_of(dataclasses.replace(bundle, training={}))


def test_draws_that_are_not_numbers_fail_the_test_for_it(bundle, held):
    samples, _ = draw_samples(bundle, held, n_draws=60)
    samples.draws["R"][5, 2] = np.nan
    found = judge(samples)
    assert found.lost == 1
    assert "finite" in {f.name for f in found.tripped()}
    assert not found.passes()


def test_replicates_of_the_truth_look_like_the_window(bundle, held):
    right = {name: held.columns[name][:60, None] * np.ones((1, 40)) for name in ("R", "C")}
    wrong = {"R": right["R"] * 1.3, "C": right["C"]}
    good, bad = (predictive_check(bundle, held.x, draws, n=60, seed=1)["features"] for draws in (right, wrong))
    assert bad["mean [mmHg]"]["p"] < 1e-6
    # replicates differ from the window by their phase only: every feature but the mean's rounding is the same
    assert all(row["p"] > 1e-4 for row in good.values())


def test_features_do_not_depend_on_the_phase():
    time = np.arange(2000) / 125
    wave = 90 + 20 * np.sin(2 * np.pi * 1.25 * time) + 6 * np.sin(2 * np.pi * 3.75 * time + 1)
    a, b = window_features(np.stack([wave[:1000], wave[37:1037]]), fs=125.0)
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


def test_the_recipe_is_read_from_the_bundle(bundle):
    assert recipe_of(bundle).site == "aortic-root"
    assert isinstance(recipe_of(bundle).simulate, Simulate)
    assert Path(recipe_of(bundle).name).name == "tiny"
