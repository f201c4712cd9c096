"""`inspect --plot --html`: a picture and a page that hold together by themselves."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.apps.cli.main import run


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    phase = (np.arange(5000) / 125) % 0.75
    wave = 70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1)
    wave[:1500] = 0.1
    path = Path("abp.csv")
    path.write_text("time [s],ABP [mmHg]\n" + "".join(f"{i / 125:.3f},{v:.2f}\n" for i, v in enumerate(wave)))
    return path


def test_picture_and_page_are_written_once(table: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(["inspect", str(table), "--plot", "--html", "--out", "drawn"]) == 0
    told = capsys.readouterr()
    assert "ABP: no pressure before 12 s: the catheter was not yet connected and zeroed" in told.out
    assert Path("drawn/abp.csv.png").read_bytes().startswith(b"\x89PNG")
    page = Path("drawn/abp.csv.html").read_text()
    assert "refused: flat" in page
    assert "Research use only. Not a medical device." in page
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", page)
    assert page.count('role="img"') >= 3
    with pytest.raises(AssertionError):
        assert run(["inspect", str(table), "--plot", "--out", "drawn"]) == 0
    assert run(["inspect", str(table), "--plot", "--out", "drawn", "--force"]) == 0
