r"""`pulsebayes train` in two fidelities: many rows of a fast simulator, then few of a better one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.apps.cli.main import run

RECIPE = """
name = "toy"
title = "A windkessel, for tests"
site = "aortic-root"
outputs = ["R", "C"]
preset = "small"
[network]
transforms = 2
hidden = [16]
[network.embedding]
kind = "dense"
hidden = 32
context = 8
[simulate]
model = "windkessel"
n = 1536
seed = 1
[test]
n = 256
seed = 2
draws = 100
[train]
epochs = 10
batch = 64
rate = 0.003
warmup = 30
averaging = 0.9
"""
FINER = """
[finer.simulate]
model = "windkessel"
n = 512
seed = 3
[finer.simulate.config]
stroke_volume = 90.0
[finer.train]
epochs = 4
batch = 64
warmup = 8
averaging = 0.9
validation = 0.1
"""
"""The better simulator ejects 90 mL instead of 70: resistance is then 7/9 of what the fast one says."""
ADAPTED = FINER.replace("epochs = 4", "epochs = 12") + "rate = 0.003\n[finer]\nadapter = 16\n"
"""The same, embedding and flow left as they are."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    r"""A folder with the model made in two fidelities, either way, and with that of the fast simulator alone."""
    folder = tmp_path_factory.mktemp("finer")
    for name, text in (("both", RECIPE + FINER), ("adapted", RECIPE + ADAPTED), ("fast", RECIPE)):
        (folder / f"{name}.toml").write_text(text)
        assert run(["train", "--recipe", str(folder / f"{name}.toml"), "--out", str(folder / name), "--quiet"]) == 0
    return folder


def test_few_rows_of_the_better_simulator_take_the_bias_away(folder: Path) -> None:
    from pulsebayes.calibration.evaluate import draw_quantities
    from pulsebayes.calibration.produce import Held, held_out_windows
    from pulsebayes.calibration.validation import recipe_of
    from pulsebayes.inference.bundle import Bundle
    from pulsebayes.simulators.dataset import TrainingSet

    test = TrainingSet.open(folder / "both.run" / "test.zarr")
    assert test.attributes["config"]["stroke_volume"] == 90.0, "held-out simulations are of the better simulator"
    bias = {}
    for name in ("both", "adapted", "fast"):
        bundle = Bundle.load(folder / name)
        x, theta = held_out_windows(Held(test, 0, test.n), recipe_of(bundle), bundle.outputs, seed=2)
        draws = draw_quantities(bundle.npe, x, n_draws=100)["R"]
        bias[name] = float(np.median(np.median(draws, axis=1) / bundle.outputs.derive(theta)["R"] - 1))
    assert bias["fast"] == pytest.approx(90 / 70 - 1, abs=0.05)
    assert abs(bias["both"]) < 0.05
    assert abs(bias["adapted"]) < 0.05


def test_adapter_keeps_the_estimator_of_the_fast_simulator(folder: Path) -> None:
    from pulsebayes.inference.bundle import Bundle

    adapted, fast = (Bundle.load(folder / name) for name in ("adapted", "fast"))
    assert adapted.npe.config.embedding.adapter == 16
    within = adapted.without_adapter()
    assert within.npe.config == fast.npe.config
    state, other = within.npe.state_dict(), fast.npe.state_dict()
    assert state.keys() == other.keys()
    assert all(bool((state[name] == other[name]).all()) for name in state)
    assert fast.without_adapter() is fast


def test_recipe_in_which_more_than_the_adapter_learns_is_refused() -> None:
    from pulsebayes.inference.recipe import Recipe

    for name in ("settle", "whole", "joined"):
        with pytest.raises(ValueError, match=rf"finer.train.{name} must be 0 where an adapter learns alone"):
            Recipe.from_toml(RECIPE + ADAPTED.replace("warmup = 8", f"{name} = 1"))
    with pytest.raises(ValueError, match=r"network.embedding.adapter is what `adapter` under \[finer\] makes"):
        Recipe.from_toml(RECIPE.replace("context = 8", "context = 8\nadapter = 4"))
    with pytest.raises(ValueError, match=r"finer.adapter is for embeddings of other kinds than 'harmonic'"):
        Recipe.from_toml((RECIPE + ADAPTED).replace('kind = "dense"', 'kind = "harmonic"'))
    with pytest.raises(ValueError, match=r"finer.adapter must not be negative, got -1"):
        Recipe.from_toml(RECIPE + ADAPTED.replace("adapter = 16", "adapter = -1"))


def test_bundle_keeps_both_trainings(folder: Path) -> None:
    from pulsebayes.inference.bundle import Bundle

    both, fast = (Bundle.load(folder / name) for name in ("both", "fast"))
    assert "finer" not in fast.training and "finer" not in fast.training["recipe"]
    assert both.training["fingerprint"] == fast.training["fingerprint"]
    finer = both.training["finer"]
    assert finer["simulator_config"]["stroke_volume"] == 90.0
    assert (finer["counts"]["kept"], finer["epochs"]) == (512, 4)
    assert len({both.training["fingerprint"], finer["fingerprint"], finer["test_fingerprint"]}) == 3
    assert "then trained, and measured, on: windkessel" in both.card
    assert not list((folder / "both.run").glob("checkpoint*"))


def test_evidence_and_validation_are_of_the_better_simulator(folder: Path, tmp_path: Path) -> None:
    from pulsebayes.calibration.evidence import measure_again
    from pulsebayes.calibration.validation import read_held_out, simulate_held_out
    from pulsebayes.inference.bundle import Bundle
    from pulsebayes.simulators.dataset import TrainingSet

    bundle = Bundle.load(folder / "both")
    found = measure_again(bundle, tmp_path, workers=1)
    assert found and all(one.holds for one in found)
    assert TrainingSet.open(tmp_path / "toy-256.zarr").attributes["config"]["stroke_volume"] == 90.0
    assert set(simulate_held_out(bundle, 64, seed=5).columns["SV"]) == {90.0}
    for name in ("train", "finer"):
        with pytest.raises(ValueError, match="was trained on this set"):
            read_held_out(bundle, TrainingSet.open(folder / "both.run" / f"{name}.zarr"), n=100)


@pytest.mark.parametrize(("name", "epoch"), [("both", 3), ("both", 12), ("adapted", 12)])
def test_run_stopped_in_either_training_resumes_to_the_same_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, epoch: int
) -> None:
    from pulsebayes.inference import training

    words = ["train", "--recipe", str(folder / f"{name}.toml"), "--out", str(tmp_path / "again"), "--quiet"]
    (tmp_path / "again.run").mkdir()
    for made in ("train.zarr", "finer.zarr", "test.zarr"):
        (tmp_path / "again.run" / made).symlink_to(folder / f"{name}.run" / made)
    original, seen = training._Run.validate, []

    def interrupted(self: object, progress: object) -> None:
        seen.append(1)
        if len(seen) == epoch:
            os.kill(os.getpid(), signal.SIGINT)
        original(self, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(training._Run, "validate", interrupted)
    assert run(words) == 130
    assert not (tmp_path / "again").exists()
    monkeypatch.undo()
    assert run([*words, "--resume"]) == 0
    one, two = (path.joinpath("weights.safetensors").read_bytes() for path in (folder / name, tmp_path / "again"))
    assert one == two
