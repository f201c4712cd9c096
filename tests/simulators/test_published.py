r"""Public data sets: made from a recipe, with a card and sums that notice every damage; and the shipped sample."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.simulators.dataset import make_training_set
from pulsebayes.simulators.published import DataRecipe, find_data_recipe, publish, verify
from pulsebayes.simulators.registry import build
from pulsebayes.simulators.sample import load_sample, write_sample
from pulsebayes.simulators.status import count_status
from pulsebayes.simulators.training_set import TrainingSet

RECIPE = DataRecipe(
    "toy-v1", "Damped pulses", "CC BY 4.0", "toy_simulator:DampedPulse", {}, 96, 3, 32, 16, "Pulses.", "None.", "None."
)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingSet:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    sizes = {"shard_size": RECIPE.shard_size, "batch_size": RECIPE.batch_size}
    report = make_training_set(
        (RECIPE.model, {}), RECIPE.n, tmp_path / "toy.zarr", seed=RECIPE.seed, workers=1, **sizes
    )
    return publish(report.out, RECIPE)


def test_the_sums_cover_every_file_and_are_what_sha256sum_reads(published: TrainingSet) -> None:
    lines = (published.path / "SHA256SUMS").read_text().splitlines()
    files = {path.relative_to(published.path).as_posix() for path in published.path.rglob("*") if path.is_file()}
    assert {line.split("  ")[1] for line in lines} == files - {"SHA256SUMS"}
    checked = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=published.path, check=False)
    assert checked.returncode == 0
    assert verify(published.path).is_whole


@pytest.mark.parametrize("name", ["waves/c/1/0/0", "theta/c/0/0", "done/000002.json", "card.md", "waves/zarr.json"])
def test_damage_is_found_and_named(published: TrainingSet, name: str) -> None:
    file = published.path / name
    file.write_bytes(file.read_bytes()[:-2] + b" \n")
    found = verify(published.path)
    assert not found.is_whole
    assert name in found.damaged


def test_without_sums_the_marks_still_tell(published: TrainingSet) -> None:
    (published.path / "SHA256SUMS").unlink()
    (published.path / "status" / "c" / "1").unlink()
    found = verify(published.path)
    assert (found.shards, found.of, found.damaged) == (2, 3, ("done/000001.json",))


def test_the_card_says_who_what_how_and_under_which_licence(published: TrainingSet) -> None:
    card = (published.path / "card.md").read_text()
    for part in ("Population", "Physics", "Sensor", "Failures", "Made again", "Licence"):
        assert f"## {part}" in card
    assert "| frequency | Hz | 0.5 | 3 | LogUniform |" in card
    counts = count_status(published.status)
    assert f"| unphysiological | {counts['unphysiological']} | left out |" in card
    assert "CC BY 4.0" in card and published.fingerprint in card
    assert "-n 96 --out" in card


def test_a_folder_that_is_no_set_and_a_file_that_is_no_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a training set"):
        verify(tmp_path)
    with pytest.raises(ValueError, match=r"recipe must be one of \['clinical-v1'\] or a TOML file, got 'clinical-v9'"):
        find_data_recipe("clinical-v9")
    (tmp_path / "mine.toml").write_text('name = "mine"\ncolour = 1')
    with pytest.raises(ValueError, match=r"mine.toml must be the recipe of a data set: .*'colour'"):
        find_data_recipe(str(tmp_path / "mine.toml"))


def test_a_sample_keeps_waves_to_half_a_step_and_the_rest_exactly(published: TrainingSet, tmp_path: Path) -> None:
    write_sample(published, tmp_path / "sample.npz")
    sample = load_sample(tmp_path / "sample.npz")
    np.testing.assert_allclose(sample.waves, published.waves[:], rtol=0, atol=0.5 * 0.02 + 1e-5)  # float32 of 150 mmHg
    assert np.array_equal(sample.theta, published.theta)
    assert np.array_equal(sample.quantities, published.quantities)
    assert np.array_equal(sample.status, published.status)
    with pytest.raises(ValueError, match="site must be one of"):
        sample.wave("aorta")
    with pytest.raises(ValueError, match="name must be one of"):
        sample.column("SV")
    (tmp_path / "bad.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="must be a sample"):
        load_sample(tmp_path / "bad.npz")


def test_the_shipped_sample_is_small_and_of_the_recipe() -> None:
    sample, recipe = load_sample(), find_data_recipe("clinical-v1")
    file = Path(write_sample.__code__.co_filename).parent / "data" / "clinical-v1-sample.npz"
    assert file.stat().st_size < 5e6
    assert sample.waves.shape == (1000, 4, 1250)
    assert (sample.attributes["seed"], sample.attributes["simulator"]) == (recipe.seed, recipe.model)
    given = {key: sample.attributes["config"][key] for key in recipe.config}
    assert given == dict(recipe.config)
    assert re.fullmatch("[0-9a-f]{64}", sample.attributes["fingerprint"])
    simulator = build(recipe.model, **dict(recipe.config))
    assert sample.theta_names == simulator.space.names
    assert simulator.space.contains(sample.theta).all()


def test_shipped_subjects_are_what_the_simulator_makes_of_their_parameters() -> None:
    sample, recipe = load_sample(), find_data_recipe("clinical-v1")
    pressure, mean = sample.wave("AorticRoot"), sample.column("MAP")
    # MAP is a mean over whole beats, the wave is cut at ten seconds: they agree but for part of a beat.
    assert np.median(np.abs(pressure.mean(1) - mean)) < 1.0
    np.testing.assert_allclose(sample.column("CO"), sample.column("HR") * sample.column("SV") / 1000, rtol=1e-4)
    assert recipe.config["fs"] == sample.attributes["fs"]
