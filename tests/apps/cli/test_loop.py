r"""`pulsebayes loop`: loops as numbers and as a picture, and what it says when it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pulsebayes.apps.cli.main import run


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_loops_over_filling_share_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["loop", "--vary", "stressed_volume=900,1100,1300", "--set", "lv_elastance=2", "--json", "--out", "l.svg"]
    assert run(words) == 0
    told = json.loads(capsys.readouterr().out)
    volumes = [one["SV"] for one in told["loops"].values()]
    assert volumes == sorted(volumes) and {one["status"] for one in told["loops"].values()} == {"ok"}
    assert told["end_systolic_line"]["elastance_mmHg_per_mL"] == pytest.approx(2.0, rel=0.03)
    drawn = Path("l.svg").read_text()
    assert "end of systole" in drawn and "stressed_volume 900: " in drawn
    assert json.loads(Path("run.json").read_text())["command"] == "loop"
    assert run(["loop", "--out", "l.svg"]) == 2


def test_people_get_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["loop", "--vary", "lv_elastance=1.5,3"]) == 0
    told = capsys.readouterr().out
    assert "SV [mL]" in told and "lv_elastance 1.5" in told
    assert "end-systolic line" not in told  # each loop has its own


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--vary", "lv_elastance"], "--vary must be NAME=A,B,..., got 'lv_elastance'"),
        (["--set", "lv_elastance=1,2"], "--set must be NAME=VALUE"),
        (["--set", "colour=1"], "the closed loop has no parameter 'colour'"),
        (["--set", "lv_elastance=99"], "lv_elastance must lie between 0.4 and 8 mmHg/mL, got 99"),
        (["--set", "heart_rate=999"], "try:   --set heart_rate=150\n"),
        (["--vary", "stressed_volume=800,9999"], "try:   --vary stressed_volume=800,2200\n"),
        (["--chamber", "LA"], "chamber must be LV or RV, got 'LA'"),
        (["--out", "loops.pdf"], "loops.pdf must end in .svg or .png"),
    ],
)
def test_bad_input_is_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["loop", *words]) == 2
    assert told in capsys.readouterr().err
