r"""`pulsebayes simulate`: what it prints, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pulsebayes.apps.cli.main import run
from pulsebayes.simulators.dataset import TrainingSet

TOYS = Path(__file__).parents[2] / "simulators"
TOY = "toy_simulator:DampedPulse"


@pytest.fixture(autouse=True)
def _in_a_folder_with_toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOYS))
    monkeypatch.chdir(tmp_path)


def call(*words: str) -> int:
    return run(["simulate", TOY, "-n", "96", "--out", "set.zarr", "--workers", "1", "--shard-size", "64", *words])


def test_json_has_the_agreed_keys_and_true_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--json", "--seed", "4", "--fs", "40") == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) >= {"n", "seconds", "compile_seconds", "rate", "status", "out"}
    assert told["n"] == sum(told["status"].values()) == 96
    assert told["rate"] == pytest.approx(96 / told["seconds"], rel=0.05)  # seconds are rounded to a millisecond
    found = TrainingSet.open(told["out"])
    assert (found.attributes["seed"], found.attributes["fs"]) == (4, 40.0)


def test_people_are_told_speed_and_acceptance(capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 0
    captured = capsys.readouterr()
    assert "96 simulations in" in captured.out
    assert "per second" in captured.out
    assert "usable 8" in captured.out
    assert "unphysiological: Pressures or flows are not those of a living adult" in captured.out
    assert captured.err == "", "no progress bar without a terminal"


def test_run_record_stands_with_the_set() -> None:
    assert call("--seed", "3") == 0
    record = json.loads(Path("set.zarr/run.json").read_text())
    assert record["command"] == "simulate"
    assert record["config"]["model"] == TOY


def test_what_stands_there_is_kept_and_resume_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 0
    assert call("--json") == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["error"]["code"] == "exists"
    assert call("--resume", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rate"] is None
    assert call("--resume", "--seed", "9") == 2
    assert "seed is 0 there, 9 asked" in capsys.readouterr().err
    assert call("--force", "--seed", "9") == 0
    assert TrainingSet.open("set.zarr").attributes["seed"] == 9


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--beat", "periodic"], 2, "does not take that"),
        (["--set", "fs=-2"], 2, "fs must be positive, got -2"),
        (["--set", "fs"], 2, "--set must be KEY=VALUE, got 'fs'"),
        (["--set", "fault=full", "--batch-size", "16"], 3, "No space left on device"),
        (["--set", "fault=die", "--batch-size", "16"], 1, "was killed by signal 9"),
        (["--resume", "--force"], 2, "give one of them"),
    ],
)
def test_failures_are_told_in_one_line(
    words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words) == code
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err


def test_a_folder_to_write_to_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", TOY, "-n", "8"]) == 2
    assert "--out SET.zarr" in capsys.readouterr().err
    assert run(["simulate", "no-such-model", "-n", "8", "--out", "set.zarr"]) == 2
    told = capsys.readouterr().err
    assert "must be one of ['closed-loop', 'heart-network'" in told and "'windkessel'" in told


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["no-such-model"], "pulsebayes simulate linear-network -n 8 --out SET.zarr"),
        (["no_such_module:Class"], "PYTHONPATH=FOLDER pulsebayes simulate no_such_module:Class"),
        (["closed-loop", "--sites", "Wrist"], "--sites AorticRoot"),
        (["linear-network", "--sites", "Wrist"], "--sites AorticRoot"),
        (["heart-network", "--sites", "Wrist"], "--sites AorticRoot"),
        (["linear-network", "--set", "diameters=AorticRoot,Wrist"], "--set diameters=AorticRoot"),
        (["closed-loop", "--set", "septum=maybe"], "leave --set septum out"),
        (["windkessel", "--set", "heart_rate=-3"], "leave --set heart_rate out"),
        (["--recipe", "no-such"], "--recipe clinical-v1"),
    ],
)
def test_what_is_wrong_has_one_option_to_try(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", *words, "-n", "8", "--out", "set.zarr", "--workers", "1"]) == 2
    told = capsys.readouterr().err
    assert "PULSEBAYES_TRACEBACK" not in told and "Traceback" not in told
    assert f"try:   {hint}" in told
    assert not Path("set.zarr").exists()


def test_ctrl_c_ends_with_130_and_says_how_to_go_on() -> None:
    words = [TOY, "-n", "6400", "--out", "set.zarr", "--workers", "1", "--shard-size", "64", "--set", "pause_s=0.1"]
    command = [sys.executable, "-c", "from pulsebayes.apps.cli.main import main; main()", "simulate", *words]
    environment = {**os.environ, "PYTHONPATH": str(TOYS)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        deadline = time.monotonic() + 30
        while not Path("set.zarr/done/000001.json").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "finishing the shards in progress" in told
    assert "of 6400 rows are done" in told
    assert "run the same command with --resume to go on" in told
    assert len(list(Path("set.zarr/done").iterdir())) * 64 == int(told.split("set.zarr: ")[1].split(" of")[0])


def test_a_cluster_that_does_not_answer_ends_with_the_code_for_the_network(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dask = pytest.importorskip("dask", reason="the extra 'cluster' is not installed")
    words = ["simulate", TOY, "-n", "96", "--out", "set.zarr", "--scheduler", "tcp://127.0.0.1:9", "--json"]
    with dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}):
        assert run(words) == 7
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["code"] == "cluster-unreachable"
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in told["message"]
    assert run([*words, "--workers", "2"]) == 2
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run(words) == 2
    assert "pip install 'pulsebayes[cluster]'" in capsys.readouterr().out
    assert not Path("set.zarr").exists()


RECIPE = """
name = "toy-v1"
title = "Damped pulses"
licence = "CC BY 4.0"
model = "toy_simulator:DampedPulse"
n = 96
seed = 3
shard_size = 32
batch_size = 16
population = "Pulses."
physics = "None."
sensor = "None."
[config]
fs = 40.0
"""


def test_a_recipe_makes_a_data_set_that_can_be_verified(capsys: pytest.CaptureFixture[str]) -> None:
    Path("toy.toml").write_text(RECIPE)
    assert run(["simulate", "--recipe", "toy.toml", "--out", "toy.zarr", "--workers", "1"]) == 0
    found = TrainingSet.open("toy.zarr")
    assert (found.n, found.attributes["seed"], found.attributes["fs"]) == (96, 3, 40.0)
    assert "# toy-v1" in Path("toy.zarr/card.md").read_text()
    capsys.readouterr()
    assert run(["simulate", "--verify", "toy.zarr"]) == 0
    assert capsys.readouterr().out == "toy.zarr: 3 of 3 shards whole\n"
    Path("toy.zarr/waves/c/1/0/0").write_bytes(b"damaged")
    assert run(["simulate", "--verify", "toy.zarr", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["whole"], told["shards"], told["damaged"]) == (False, 2, ["waves/c/1/0/0", "done/000001.json"])
    words = ["simulate", "--recipe", "toy.toml", "--out", "toy.zarr", "--workers", "1"]
    assert run([*words, "--resume"]) == 0
    assert run(["simulate", "--verify", "toy.zarr"]) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--recipe", "toy.toml", TOY], "needs a MODEL or a --recipe, got both"),
        ([], "needs a MODEL or a --recipe, got neither"),
        ([TOY], "needs the number of simulations"),
        (["--recipe", "toy.toml", "--fs", "100"], "toy.toml says itself what it simulates: fs cannot differ"),
        (["--recipe", "no-such"], "recipe must be one of ['clinical-v1'] or a TOML file"),
    ],
)
def test_a_recipe_is_instead_of_a_model(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("toy.toml").write_text(RECIPE)
    assert run(["simulate", *words, "--out", "toy.zarr"]) == 2
    assert told in capsys.readouterr().err


def test_verify_of_what_is_no_set_ends_with_the_code_for_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "--verify", "nothing.zarr"]) == 3
    assert "nothing.zarr must be a training set" in capsys.readouterr().err
