r"""`calibrate conformal` from a table of pairs to the regions that `infer` prints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pulsebayes.apps.cli.main import run

DEMO = Path(__file__).resolve().parents[3] / "apps" / "cli" / "demo_data"
HEAD = "subject,recording,start_s,end_s,CO [L/min],SVR [dyn s cm^-5]\n"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    r"""Twelve windows of the shipped simulated patient as if of twelve patients."""
    for path in DEMO.iterdir():
        shutil.copy(path, tmp_path / path.name)
    rows = [
        f"p{i},simulated_patient.hea,{8 * i},{8 * i + 8},{4.925 + 0.05 * i:.3f},{1283 - 10 * i}\n" for i in range(12)
    ]
    (tmp_path / "pairs.csv").write_text(HEAD + "".join(rows))
    return tmp_path / "pairs.csv"


def test_region_stands_beside_the_credible_interval(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = pairs.parent / "mine"
    words = ["calibrate", "conformal", "radial-abp", "--pairs", str(pairs), "--score", "mahalanobis", "--out", str(out)]
    assert run([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sets"][0] | {"limit": 0} == {
        "method": "mahalanobis",
        "alpha": 0.1,
        "quantities": ["CO", "SVR"],
        "n_patients": 12,
        "n_windows": 12,
        "limit": 0,
        "guarantee": told["sets"][0]["guarantee"],
    }
    assert run([*words, "--json"]) == 2  # never writes over what is there
    capsys.readouterr()
    recording = str(pairs.with_name("simulated_patient.hea"))
    infer = ["infer", recording, "--model", str(out), "--end", "16s"]
    assert run([*infer, "--json"]) == 0
    window = json.loads(capsys.readouterr().out)["windows"][0]
    region = window["region"]
    assert (region["method"], region["alpha"], region["n_patients"]) == ("mahalanobis", 0.1, 12)
    assert region["quantities"] == ["CO", "SVR"] and window["regions"] == [region]
    low, high = region["ranges"]["CO"]["low"], region["ranges"]["CO"]["high"]
    assert low < window["quantities"]["CO"]["median"] < high
    assert region["ranges"]["SVR"]["unit"] == "dyn s cm^-5"
    assert run(infer) == 0
    text = capsys.readouterr().out
    assert "credible intervals" in text and "conformal region, 90 %, score mahalanobis, 12 patients" in text
    assert "one window of a new patient" in text
    assert run([*infer, "--draws", "500", "--json"]) == 0
    few = capsys.readouterr()
    assert json.loads(few.out)["windows"][0]["region"] is None and "they take 1000 draws" in few.err
    assert run(["infer", recording, "--end", "16s", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)["windows"][0]
    assert plain["region"] is None and plain["regions"] == []
    assert plain["quantities"] == window["quantities"]  # a layer changes no credible interval


def test_too_few_patients_are_told_how_many_it_takes(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(pairs.parent / "mine")
    words = ["calibrate", "conformal", "radial-abp", "--pairs", str(pairs), "--score", "mahalanobis", "--out", out]
    assert run([*words, "--alpha", "0.05"]) == 2
    assert "needs 19 patients" in capsys.readouterr().err
    assert not Path(out).exists()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--alpha", "2"], 2, "--alpha must lie between 0 and 1"),
        (["--score", "best"], 2, "--score must be one of otcp"),
        (["--quantities", "PWV"], 2, "labelled in the pairs"),
        (["--pairs", "none.csv"], 3, "no such table"),
    ],
)
def test_bad_options_are_told(
    pairs: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, said: str
) -> None:
    words = ["calibrate", "conformal", "radial-abp", "--out", str(pairs.parent / "mine"), "--pairs", str(pairs)]
    assert run([*words, *options]) == code
    assert said in capsys.readouterr().err


def test_without_out_nothing_is_written(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrate", "conformal", "radial-abp", "--pairs", str(pairs)]) == 2
    assert "--out FOLDER" in capsys.readouterr().err
