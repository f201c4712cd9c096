"""`pulsebayes cohort`, in process: build, inspect, split and gap on small cohorts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsebayes.waveforms import read_cohort_table
from pulsebayes.waveforms.writers import VitalNumbers, VitalWave, write_vital


@pytest.fixture
def folder(tmp_path: Path, pulse: Callable[[float], np.ndarray]) -> Path:
    """Four cases of four minutes with a reference, one without pressure, one damaged."""
    place = tmp_path / "cases"
    place.mkdir()
    for k in range(4):
        wave = VitalWave("SNUADC/ART", pulse(240) + k, 125.0, "mmHg")
        numbers = VitalNumbers("EV1000/CO", np.arange(20.0, 241, 20.0), np.linspace(4 + k, 5 + k, 12), "L/min")
        write_vital(place / f"{k + 1}.vital", [wave], [numbers])
    write_vital(place / "5.vital", [VitalWave("SNUADC/PLETH", pulse(60), 125.0)])
    (place / "6.vital").write_bytes((place / "1.vital").read_bytes()[:-2000])
    return place


def test_build_inspect_and_split(run: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    ran = run("cohort", "build", folder, "--out", tmp_path / "c", "--json")
    report = json.loads(ran.out)
    assert ran.code == 0 and (report["subjects"], report["used"], report["recordings"]) == (4, 4, 6)
    assert report["refused"] == {"channel-missing": 1, "truncated": 1}
    assert report["devices"] == {"EV1000": {"kind": "derived", "recordings": 4}}
    assert {p.name for p in (tmp_path / "c").iterdir()} == {"cohort.csv", "build.json", "run.json"}

    ran = run("cohort", "inspect", tmp_path / "c", "--out", tmp_path / "page")
    assert ran.code == 0 and "derived" in ran.out and "refused 6.vital [truncated]" in ran.out
    page = (tmp_path / "page" / "cohort.html").read_text()
    assert "derived" in page and "<svg" in page and "http-equiv" in page and "<script" not in page
    found = json.loads(run("cohort", "inspect", tmp_path / "c", "--json").out)
    assert found["labels"]["CO"]["windows"] == report["rows"]

    ran = run("cohort", "split", tmp_path / "c", "--out", tmp_path / "s", "--thin", "1min", "--json")
    assert json.loads(ran.out)["fit"] == {"rows": 8, "subjects": 2}
    fit, test = (read_cohort_table(tmp_path / "s" / name) for name in ("fit.csv", "test.csv"))
    assert len(test) > 8
    ran = run("cohort", "split", tmp_path / "c", "--out", tmp_path / "t", "--thin-test", "1min", "--json")
    assert json.loads(ran.out)["test"] == {"rows": 8, "subjects": 2}
    assert not set(fit.subjects) & set(test.subjects) and len(set(fit.subjects) | set(test.subjects)) == 4
    assert all(path.is_file() for path in test.recordings)


def test_a_second_build_needs_force(run: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    assert run("cohort", "build", folder, "--out", tmp_path / "c", "--quiet").code == 0
    ran = run("cohort", "build", folder, "--out", tmp_path / "c")
    assert ran.code == 2 and "--force" in ran.err
    assert run("cohort", "build", folder, "--out", tmp_path / "c", "--force", "--every", "1min").code == 0


def test_nothing_usable_is_exit_four(run: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    ran = run("cohort", "build", folder / "5.vital", "--out", tmp_path / "c")
    assert ran.code == 4 and "channel-missing" in ran.out
    assert not (tmp_path / "c" / "cohort.csv").exists() and (tmp_path / "c" / "build.json").is_file()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["build", "none", "--out", "c"], 3, "no such file or folder"),
        (["inspect", "none.csv"], 3, "no such table"),
        (["split", "none.csv", "--out", "c"], 3, "no such table"),
        (["build", ".", "--out", "c", "--every", "0s"], 2, "longer than 0 s"),
        (["simulate", "-n", "1"], 2, "--out FOLDER"),
    ],
)
def test_failures_are_told(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("cohort", *words)
    assert ran.code == code and said in ran.err


def test_a_share_that_leaves_nobody_is_refused(run: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    run("cohort", "build", folder, "--out", tmp_path / "c")
    ran = run("cohort", "split", tmp_path / "c", "--share", "0.05", "--out", tmp_path / "s")
    assert ran.code == 2 and "leaves one side empty" in ran.err


def test_gap_looks_at_every_recording_by_itself(run: Callable[..., Any], real_data: Path, tmp_path: Path) -> None:
    ran = run("cohort", "gap", real_data / "physionet_wfdb", "--simulations", "64", "--out", tmp_path / "g", "--json")
    found = {row["file"]: row for row in json.loads(ran.out)["recordings"]}
    assert ran.code == 0
    clean = found["3975656_0015.hea"]
    assert abs(clean["rate_against_ecg"]["beats"]) < 1 and abs(clean["rate_against_ecg"]["model"]) < 3
    assert -60 < clean["ejection_against_notch"]["difference"] < 60
    assert 0 <= clean["embedding"]["share_of_simulations_nearer"] <= 1 and clean["domain"]["inside"] > 5
    assert found["03700181.hea"]["usable"] == 0
    assert found["a103l.hea"]["code"] == "channel-missing"
    assert "<svg" in (tmp_path / "g" / "gap.html").read_text()
