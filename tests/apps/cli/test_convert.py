"""`convert`: formats by suffix, read back and compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.apps.cli.main import run


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    wave = 90 + 30 * np.sin(np.arange(500) / 20) + np.random.default_rng(0).normal(size=500)
    rows = "".join(f"{i / 125:.3f},{v:.7g}\n" for i, v in enumerate(wave))
    path = tmp_path / "abp.csv"
    path.write_text("time [s],ABP [mmHg]\n" + rows)
    return path


@pytest.mark.parametrize("suffix", ["csv", "hea", "nc", "bdf"])
def test_what_float32_holds_comes_back(table: Path, capsys: pytest.CaptureFixture, suffix: str) -> None:
    assert run(["convert", str(table), f"out.{suffix}", "--lossless"]) == 0
    assert capsys.readouterr().out.startswith(f"abp.csv -> out.{suffix}")


def test_sixteen_bits_say_by_how_much_they_differ(table: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(["convert", str(table), "out.edf", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert not report["lossless"]
    assert 0 < report["channels"][0]["largest_difference"] < 1e-3
    assert report["differences"] == []
    assert list(report["sha256"]) == ["out.edf"]


def test_a_lossy_result_is_not_kept_under_lossless(table: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(["convert", str(table), "out.edf", "--lossless"]) == 8
    assert not Path("out.edf").exists()
    assert "out.edf would differ: ABP by up to" in capsys.readouterr().err


def test_nothing_is_written_over_unasked(table: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(["convert", str(table), "out.nc"]) == 0
    assert run(["convert", str(table), "out.nc"]) == 2
    assert run(["convert", str(table), "out.nc", "--force"]) == 0
    assert run(["convert", str(table), str(table), "--force"]) == 2
    assert "abp.csv exists" in capsys.readouterr().err


def test_targets_of_other_formats_and_damaged_files_end_in_their_codes(table: Path) -> None:
    assert run(["convert", str(table), "out.xls"]) == 2
    assert run(["convert", str(table), "no/such/out.nc"]) == 2
    table.write_text("time [s],ABP [mmHg]\n0,80\n0,81\n")
    assert run(["convert", str(table), "out.nc"]) == 3
    assert not Path("out.nc").exists()
