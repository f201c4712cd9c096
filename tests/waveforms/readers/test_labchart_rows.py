"""Long LabChart exports are read by blocks of rows, and say what the whole look says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsebayes.waveforms import read
from pulsebayes.waveforms.readers import _labchart_rows

N = 10_000  # rows of the first block: two full index blocks of 4096, and a part
HEAD = "Interval=\t0.01 s\nExcelDateTime=\t{day}\nChannelTitle=\tABP\tPLETH\nRange=\t300 mmHg\t10 NU\n"


def rows(n: int, first: int = 0) -> list[str]:
    return [f"{i / 100:.2f}\t{80 + (first + i) % 60}.5\t{(first + i) % 97}.25" for i in range(n)]


def text(lines: list[str], day: float = 40000.0) -> str:
    return HEAD.format(day=repr(day)) + "\n".join(lines) + "\n"


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_labchart_rows, "LONG", 1000)
    monkeypatch.setattr(_labchart_rows, "_CHUNK", 5000)


def commented() -> str:
    lines = rows(N)
    lines[4000] += "\t#*1 a comment\twith tabs"
    lines[4096] += "\t#* Interval"
    lines[8191] = "81.91\tNaN\t*"
    lines[5000] = "50.00\t\t3.0"
    lines.insert(6000, "")
    return text(lines)


EXPORTS = {
    "plain": text(rows(N)),
    "one block exactly": text(rows(4096)),
    "comments, missing values, an empty line": commented(),
    "two blocks": text(rows(N)) + text(rows(5000, 7), 40000.0 + 150.0 / 86400),
    "decimal comma": text(rows(N)).replace(".", ",").replace("0,01", "0.01").replace("40000,0", "40000.0"),
    "ends of lines with a return": text(rows(N)).replace("\n", "\r\n"),
    "a tab at every end": text([row + "\t" for row in rows(N)]),
    "no last line end": text(rows(N))[:-1],
    "byte order mark": "\ufeff" + text(rows(N)),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_a_long_export_reads_as_a_short_one(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "a.txt"
    path.write_text(EXPORTS[name], encoding="utf-8", newline="")
    whole = read(path)
    request.getfixturevalue("long")
    assert _labchart_rows.long_blocks(path)
    by_rows = read(path)
    assert by_rows.channels == whole.channels
    assert by_rows.findings == whole.findings
    for channel in whole.channels:
        np.testing.assert_array_equal(by_rows.values(channel.name), whole.values(channel.name))
        np.testing.assert_array_equal(by_rows.values(channel.name, 40.5, 99.0), whole.values(channel.name, 40.5, 99.0))


@pytest.mark.usefixtures("long")
def test_damage_far_inside_is_told_with_its_line(tmp_path: Path, refused: Any) -> None:
    def told(lines: list[str], cut: int | None = None) -> Any:
        path = tmp_path / "a.txt"
        path.write_text(text(lines)[:cut])
        return refused(lambda: read(path).values("ART"))

    short, word, late, lost = rows(N), rows(N), rows(N), rows(N)
    short[7000] = "70.00\t80.5"
    assert (told(short).code, "line 7005 has 2" in told(short).message) == ("corrupt", True)
    word[7000] = "70.00\t8x.5\t1.0"
    assert (told(word).code, "line 7005" in told(word).message) == ("corrupt", True)
    late[7000] = "70.03\t80.5\t1.0"
    assert (told(late).code, "after line 7004 is at 70.03 s" in told(late).message) == ("time-stamps", True)
    del lost[3000:3002]
    assert (told(lost).code, "after line 3004 is at 30.02 s" in told(lost).message) == ("time-stamps", True)
    del lost[3000:3100]
    assert told(lost).code == "time-stamps"
    assert told(rows(N), -9).code == "truncated"


@pytest.mark.usefixtures("long")
def test_the_seam_between_two_blocks_of_rows_is_checked(tmp_path: Path, refused: Any) -> None:
    path = tmp_path / "a.txt"
    lines = rows(N)
    del lines[4096]
    path.write_text(text(lines))
    error = refused(lambda: read(path).values("ART", 0.0, 20.0))
    assert error.code == "time-stamps"
    assert "after line 4100" in error.message


@pytest.mark.parametrize("rows_first", [True, False])
def test_rows_without_a_header_are_refused(rows_first: bool, tmp_path: Path, refused: Any, long: None) -> None:
    from pulsebayes.waveforms.readers import read_labchart

    path = tmp_path / "a.txt"
    path.write_text("\n".join(rows(500 if rows_first else 10)))
    assert refused(read_labchart, path).code == "layout"
