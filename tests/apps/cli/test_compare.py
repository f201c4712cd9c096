"""`pulsebayes compare`: one result against one reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsebayes.waveforms.writers import VitalNumbers, VitalWave, write_vital


@pytest.fixture
def result(
    run: Callable[..., Any], model: Path, tmp_path: Path, pulse: Callable[[float], np.ndarray]
) -> tuple[Path, Path]:
    times = np.arange(10.0, 121, 10.0)
    numbers = [VitalNumbers("EV1000/CO", times, 4 + times / 100, "L/min")]
    case = write_vital(tmp_path / "1.vital", [VitalWave("SNUADC/ART", pulse(120), 125.0, "mmHg")], numbers)
    assert run("infer", case, "--model", model, "--draws", "60", "--out", tmp_path / "r", "-q").code == 0
    return tmp_path / "r" / "1.nc", case


def test_a_monitors_numbers_are_compared_at_the_time_they_stand_for(
    run: Callable[..., Any], result: tuple[Path, Path], tmp_path: Path
) -> None:
    ran = run("compare", *result, "--out", tmp_path / "page.html", "--json")
    found = json.loads(ran.out)
    row = found["quantities"]["CO"]
    assert ran.code == 0 and found["reference"] == {"device": "EV1000", "kind": "derived"}
    assert row["pairs"] == 12 and row["limit_low"] < row["bias"] < row["limit_high"]
    page = (tmp_path / "page.html").read_text()
    assert page.count("Reference: EV1000 (derived).") >= 2 and "<script" not in page
    assert run("compare", *result, "--out", tmp_path / "page.html").code == 2


def test_a_table_is_compared_too(run: Callable[..., Any], result: tuple[Path, Path], tmp_path: Path) -> None:
    table = tmp_path / "cco.csv"
    table.write_text("time [s],CO [L/min],event\n20,5,\n60,6,\n100,5,bolus\n")
    ran = run("compare", result[0], table, "--kind", "independent")
    assert ran.code == 0 and "against table (independent)" in ran.out and "3 pairs" in ran.out
    table.write_text("time [s],CO [L/min]\n20,5\n900,6\n")
    ran = run("compare", result[0], table)
    assert ran.code == 4 and "at least 3 are needed" in ran.out


@pytest.mark.parametrize(
    ("text", "said"),
    [("when,CO [L/min]\n1,2\n", "time [s]"), ("time [s],CO [mL]\n1,2\n", "expected the unit L/min")],
)
def test_bad_references_are_told(
    run: Callable[..., Any], result: tuple[Path, Path], tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "bad.csv").write_text(text)
    ran = run("compare", result[0], tmp_path / "bad.csv")
    assert ran.code == 3 and said in ran.err
    assert run("compare", tmp_path / "bad.csv", tmp_path / "bad.csv").code == 3
    assert run("compare", result[0], tmp_path / "none.csv").code == 3
    assert run("compare", *result, "--kind", "x").code == 2
