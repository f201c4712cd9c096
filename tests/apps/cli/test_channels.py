r"""A model of two channels from its recipe to its answers: trained, validated, asked, and refused elsewhere."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsebayes.inference.bundle import Bundle
from pulsebayes.inference.result import read_result

Run = Callable[..., Any]
Pulse = Callable[[float], np.ndarray]

RECIPE = """
name = "toy-two"
title = "A windkessel seen by a line and a clip, for tests"
samples = 625
outputs = ["R", "C"]
preset = "small"
uninformative = 5.0
[[channels]]
site = "aortic-root"
[[channels]]
site = "aortic-root"
role = "PLETH"
unit = "1"
uninformative = 4.0
clock = { near_s = 0.1, loose_share = 0.0 }
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
[simulate.config]
duration_s = 7.0
[test]
n = 200
seed = 2
draws = 100
[train]
epochs = 2
batch = 64
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pulsebayes.apps.cli.main import run as run_main

    folder = tmp_path_factory.mktemp("channels")
    (folder / "toy.toml").write_text(RECIPE)
    assert run_main(["train", "--recipe", str(folder / "toy.toml"), "--out", str(folder / "toy-two"), "--quiet"]) == 0
    return folder / "toy-two"


@pytest.fixture
def recording(tmp_path: Path, pulse: Pulse) -> Path:
    r"""Four windows: both channels, a flat clip, a flat line, both flat."""
    art, pleth = pulse(20), 0.01 * pulse(20)
    pleth[625:1250] = pleth[1875:] = 0.7
    art[1250:] = 80.0
    path = tmp_path / "two.csv"
    rows = [f"{i / 125:.3f},{p:.5f},{a:.3f}" for i, (p, a) in enumerate(zip(pleth, art, strict=True))]
    path.write_text("\n".join(["time [s],PLETH,ABP [mmHg]", *rows]) + "\n", encoding="utf-8")
    return path


def test_a_recipe_of_channels_makes_a_bundle_measured_for_each_set(model: Path) -> None:
    bundle = Bundle.load(model)
    assert bundle.contract.names == ("ART", "PLETH")
    assert list(bundle.measured["given"]) == ["ART", "PLETH", "ART+PLETH"]
    assert ["", " quantity ", " ART: contraction ", " 50 % ", " 90 % ", " PLETH: contraction ", ""][1] in bundle.card
    assert "Reads 5 s of any of ART [mmHg], PLETH [1] at 125 Hz" in bundle.card
    assert bundle.training["sensor"]["channels"][1]["clock"]["near_s"] == 0.1


def test_its_numbers_come_out_again_for_each_set(model: Path, tmp_path: Path) -> None:
    from pulsebayes.calibration.evidence import measure_again

    found = measure_again(Bundle.load(model), tmp_path, workers=1)
    assert all(one.holds for one in found)
    assert max(abs(one.again - one.card) for one in found) < 1e-4, "the card's own windows"
    assert {one.number.split(", given ")[1] for one in found if "given" in one.number} == {"ART", "PLETH", "ART+PLETH"}


def test_every_window_says_what_it_was_answered_from(run: Run, recording: Path, model: Path) -> None:
    ran = run("infer", recording, "--model", model, "--every", "5s", "--draws", 50, "--json")
    assert ran.code == 0
    windows = json.loads(ran.out)["windows"]
    assert [w["status"] for w in windows] == ["answered", "answered", "answered", "refused"]
    assert [w["signal"].get("given") for w in windows] == ["ART+PLETH", "ART", "PLETH", None]
    assert [w["signal"].get("left_out") for w in windows] == [None, "PLETH (flat)", "ART (flat)", None]
    assert windows[3]["reason"] == "flat"
    assert windows[1]["signal"]["channels"]["PLETH"]["message"]
    table = run("infer", recording, "--model", model, "--every", "5s", "--draws", 50)
    assert "ART, without PLETH (flat)" in table.out
    assert "answered 3, refused 1 (flat 1)" in table.out


def test_files_hold_each_channel_and_what_was_given(run: Run, recording: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    words = ["infer", recording, "--model", model, "--every", "5s", "--draws", 50, "--out", out]
    assert run(*words).code == 0
    with (out / "two.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {(r["start_s"], r["given"]) for r in rows} >= {("0.0", "ART+PLETH"), ("5.0", "ART"), ("10.0", "PLETH")}
    found = read_result(out / "two.nc")
    assert [w.signal.get("given") for w in found.windows] == ["ART+PLETH", "ART", "PLETH", None]
    assert found.role == "ART"
    assert np.isfinite(found.waves).all(1).tolist() == [True, True, False]
    assert run("report", out / "two.nc", "--html", "--out", tmp_path / "page.html").code == 0


def test_a_followed_file_is_answered_from_what_each_window_has(run: Run, recording: Path, model: Path) -> None:
    words = ("infer", recording, "--model", model, "--every", "5s", "--draws", 50, "--json")
    whole, followed = run(*words), run(*words, "--follow", "--idle", "1s")
    assert followed.code == 0
    assert json.loads(followed.out) == json.loads(whole.out)
    assert "two.csv has ended" in followed.err


@pytest.mark.parametrize(
    ("header", "code", "said"),
    [
        ("time [s],ECG,RESP", 6, "expected a channel ART or PLETH, found ECG"),
        ("time [s],PLETH,ABP", 3, "unit"),
        ("time [s],PLETH,PPG", 3, "PLETH could be any of"),
    ],
)
def test_a_followed_file_that_does_not_fit_is_refused_as_a_whole_one(
    run: Run, recording: Path, model: Path, header: str, code: int, said: str
) -> None:
    rows = recording.read_text(encoding="utf-8").splitlines()[1:]
    recording.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    for more in ((), ("--follow", "--idle", "1s")):
        ran = run("infer", recording, "--model", model, *more)
        assert ran.code == code, ran.err
        assert said in ran.err


def test_validation_groups_by_what_is_given(run: Run, model: Path, tmp_path: Path) -> None:
    ran = run("validate", model, "-n", 200, "--draws", 50, "--faults", 0, "--out", tmp_path / "validated", "--json")
    assert ran.code == 0
    found = json.loads(ran.out)["measured"]["validation"]
    assert {name[:4] for name in found["predictive"].get("features", {"ART:": 0})} <= {"ART:", "PLET"}
    assert {g["label"] for g in found["groups"] if g["by"] == "given"} == {"ART", "PLETH", "ART+PLETH"}
    assert Bundle.load(tmp_path / "validated").contract.several


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("infer", "{file}", "--model", "{model}", "--patient", "age=60"), 6, "cannot use what is known of a patient"),
        pytest.param(
            ("infer", "{file}", "--model", "{model}", "--method", "nuts"),
            6,
            "toy-two reads any of ART",
            marks=pytest.mark.skipif(find_spec("numpyro") is None, reason="NumPyro is not installed"),
        ),
        (("calibrate", "rope", "{model}", "--pairs", "p.csv", "--out", "{out}"), 6, "takes a model of one channel"),
        (("dashboard", "--model", "{model}"), 6, "takes models of one channel"),
        (("cohort", "gap", "{file}", "--model", "{model}"), 6, "cohort gap takes a model of one channel"),
    ],
)
def test_what_needs_one_channel_says_so(
    run: Run, recording: Path, model: Path, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    filled = [word.format(file=recording, model=model, out=tmp_path / "out") for word in words]
    ran = run(*filled)
    assert ran.code == code, ran.err
    assert said in ran.err


def test_a_file_without_any_of_the_channels_is_told(run: Run, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "ecg.csv"
    path.write_text("time [s],ECG\n" + "\n".join(f"{i / 125:.3f},{i % 9}" for i in range(1500)) + "\n")
    ran = run("infer", path, "--model", model)
    assert ran.code == 6
    assert "expected a channel ART or PLETH, found ECG" in ran.err
