"""`rerun`: the same inputs give the same results, and everything else is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pulsebayes.apps.cli.main import run


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recorded run of `infer` on the demo recording."""
    import pulsebayes.apps.cli.demo as demo

    monkeypatch.chdir(tmp_path)
    source = Path(demo.__file__).parent / "demo_data" / "simulated_patient.csv"
    Path("patient.csv").write_bytes(source.read_bytes())
    words = ["infer", "patient.csv", "--out", "first", "--draws", "50", "--end", "8s", "--quiet"]
    assert run(words) == 0
    return Path("first/run.json")


def test_a_run_is_done_again_and_gives_the_same(recorded: Path, capsys: pytest.CaptureFixture) -> None:
    record = json.loads(recorded.read_text())
    assert record["arguments"][:2] == ["infer", "patient.csv"]
    capsys.readouterr()
    assert run(["rerun", str(recorded), "--out", "second"]) == 0
    told = capsys.readouterr().err
    assert "patient.nc: same" in told
    assert "patient.csv: same" in told
    assert Path("second/run.json").is_file()
    text = Path("patient.csv").read_text()
    Path("patient.csv").write_text(text.replace("\n", "\n# changed\n", 1))
    assert run(["rerun", str(recorded), "--out", "third"]) == 3
    assert "the input patient.csv has changed since" in capsys.readouterr().err
    Path("patient.csv").unlink()
    assert run(["rerun", str(recorded), "--out", "third"]) == 3
    assert "the input patient.csv is not there" in capsys.readouterr().err


def test_what_is_no_record_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert run(["rerun", str(tmp_path)]) == 3
    (tmp_path / "run.json").write_text("nonsense")
    assert run(["rerun", str(tmp_path / "run.json")]) == 3
    assert run(["rerun", str(tmp_path / "no.json")]) == 3
    assert "is no JSON" in capsys.readouterr().err
