r"""`pulsebayes train`: from a recipe or a set to a measured bundle, stopped and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pulsebayes.apps.cli.main import run
from pulsebayes.apps.cli.train import parse_duration

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
stem = 8
stages = [16]
blocks = [0]
hidden = 16
[simulate]
model = "windkessel"
n = 512
seed = 1
shard_size = 256
[test]
n = 120
seed = 2
draws = 100
[train]
epochs = 2
batch = 64
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    r"""A folder with the recipe and what it made once."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "toy.toml").write_text(RECIPE)
    assert run(["train", "--recipe", str(folder / "toy.toml"), "--out", str(folder / "toy"), "--quiet"]) == 0
    return folder


def test_recipe_makes_a_measured_bundle_from_nothing(folder: Path) -> None:
    from pulsebayes.inference.bundle import Bundle

    bundle = Bundle.load(folder / "toy")
    assert bundle.outputs.names == ("R", "C")
    assert bundle.measured["n"] == 120
    assert set(bundle.measured["coverage"]["0.9"]) == {"C", "R"}
    assert bundle.training["counts"]["kept"] == 512
    assert bundle.training["fingerprint"] != bundle.training["test_fingerprint"]
    assert "held-out simulations" in bundle.card
    record = json.loads((folder / "toy" / "run.json").read_text())
    assert record["command"] == "train"
    assert str(folder) not in (folder / "toy" / "run.json").read_text() + (folder / "toy" / "bundle.json").read_text()


def test_set_is_trained_on_with_its_last_rows_held_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", str(folder / "toy.run" / "train.zarr"), "--recipe", str(folder / "toy.toml")]
    assert run([*words, "--out", str(folder / "b"), "--outputs", "R", "--json", "--max-time", "20s"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"out", "epochs", "validation_loss", "seconds", "counts", "measured"}
    info = json.loads((folder / "b" / "bundle.json").read_text())
    assert info["name"] == "b", "a model of one's own never bears the recipe's name"
    card = (folder / "b" / "card.md").read_text()
    assert card.startswith("# b\n") and "--recipe" not in card
    assert told["counts"]["rows"] == 512 - 120
    assert list(told["measured"]["contraction"]) == ["R"]


def test_interrupted_run_resumes_to_the_same_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    from pulsebayes.inference import training

    words = ["train", "--recipe", str(folder / "toy.toml"), "--out", str(folder / "c"), "--quiet"]
    (folder / "c.run").mkdir()
    for name in ("train.zarr", "test.zarr"):
        (folder / "c.run" / name).symlink_to(folder / "toy.run" / name)
    original = training._Run.validate

    def interrupted(self: object, progress: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        original(self, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(training._Run, "validate", interrupted)
    assert run(words) == 130
    assert not (folder / "c").exists()
    monkeypatch.undo()
    assert run([*words, "--resume"]) == 0
    one, two = ((folder / name / "weights.safetensors").read_bytes() for name in ("toy", "c"))
    assert one == two
    assert not (folder / "c.run" / "checkpoint").exists()


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        ([], 2, "train needs the folder of the bundle"),
        (["--out", "x", "--outputs", "HR,SV,CO"], 2, "functionally independent"),
        (["--out", "x", "--preset", "huge"], 2, "preset must be one of"),
        (["--out", "x", "--recipe", "none"], 2, "recipe must be one of"),
        (["--out", "x", "--max-time", "soon"], 2, "--max-time must be a duration"),
        (["nothing.zarr", "--out", "x"], 3, "nothing.zarr must be a training set"),
    ],
)
def test_what_is_wrong_is_said(
    words: list[str], exit_code: int, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import os

    os.chdir(tmp_path)
    assert run(["train", *words]) == exit_code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_bundle_that_stands_there_is_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "toy" / "bundle.json").read_bytes()
    assert run(["train", "--recipe", str(folder / "toy.toml"), "--out", str(folder / "toy")]) == 2
    assert "toy exists" in capsys.readouterr().err
    assert (folder / "toy" / "bundle.json").read_bytes() == before


@pytest.mark.parametrize(("text", "seconds"), [("2h", 7200), ("40m", 2400), ("90s", 90), ("90", 90), ("1h1m1s", 3661)])
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_processes_of_torchrun_make_one_bundle(folder: Path) -> None:
    import os
    import subprocess
    import sys

    words = ["train", "--recipe", str(folder / "toy.toml"), "--out", str(folder / "together"), "--quiet"]
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "pulsebayes.apps.cli.main"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-m", *launcher, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("# toy") == 1, "the card is printed once"
    alone, together = (json.loads((folder / name / "bundle.json").read_text()) for name in ("toy", "together"))
    assert together["training"]["fingerprint"] == alone["training"]["fingerprint"]
    assert together["training"]["validation_loss"] == pytest.approx(alone["training"]["validation_loss"], abs=1e-3)
