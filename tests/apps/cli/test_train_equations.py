r"""`pulsebayes train` of an equation transformer: from nothing to a measured model, stopped and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pulsebayes.apps.cli.main import run
from pulsebayes.inference.symbolic.decoding import load_model

TINY = """
name = "tiny"
title = "A network that knows next to nothing"
test = 2
[shards]
n = 2
seed = 7
[shards.kinds]
"1+0" = 12
[network]
width = 16
heads = 2
encoder_layers = 1
decoder_layers = 1
n_windows = 12
hints = false
[train]
batch_size = 8
steps = 6
warmup = 2
check_every = 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("equations")
    (home / "tiny.toml").write_text(TINY, encoding="utf-8")
    return home


def test_a_recipe_makes_a_measured_model_from_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--recipe", str(folder / "tiny.toml"), "--out", str(folder / "tiny")]
    assert run([*words, "--max-time", "1ms", "--json"]) == 2  # no such unit
    assert run([*words, "--quiet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert told["steps"] == 6 and set(told["measured"]) == {"clean", "noise up to 5 %, half the points"}
    info = json.loads((folder / "tiny" / "symbolic.json").read_text(encoding="utf-8"))
    assert info["finished"] and [row["step"] for row in info["history"]] == [3, 6]
    assert info["recipe"]["name"] == "tiny" and info["config"]["width"] == 16
    assert load_model(str(folder / "tiny")).config.n_windows == 12
    card = (folder / "tiny" / "card.md").read_text(encoding="utf-8")
    assert "Research use only" in card and "among samples" in card
    assert (folder / "tiny" / "run.json").is_file()


def test_a_finished_run_is_not_overwritten_and_resumes_to_the_same_weights(folder: Path) -> None:
    words = ["train", "--recipe", str(folder / "tiny.toml"), "--out", str(folder / "tiny"), "--quiet"]
    if not (folder / "tiny").exists():
        assert run(words) == 0
    before = (folder / "tiny" / "weights.safetensors").read_bytes()
    assert run(words) == 2
    assert run([*words, "--resume"]) == 0
    assert (folder / "tiny" / "weights.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "change", ['[train]\nbatch_size = "many"', "[shards]\nn = 1", '[network]\nconstants = "warm"', "not toml ["]
)
def test_recipes_that_cannot_be_followed_are_refused(tmp_path: Path, change: str) -> None:
    (tmp_path / "bad.toml").write_text(
        f'name = "bad"\n{change}\n' + ("" if "[shards]" in change else "[shards]\nn = 2\n")
    )
    assert run(["train", "--recipe", str(tmp_path / "bad.toml"), "--out", str(tmp_path / "bad")]) == 2
    assert not (tmp_path / "bad").exists()
