"""Tables of the benchmark `inference`: every way and setting has its line, and what is missing stays empty."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import inference_report


def _row(task: str, method: str, measure: str, value: float, **more: object) -> dict[str, object]:
    return {"task": task, "method": method, "setting": "2 recordings", "measure": measure, "value": value, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trend, rank = inference_report._TREND, inference_report._RANK
    ways = [_row("in-distribution", "window", trend, 0.0667), _row("in-distribution", "window", rank, 0.9)]
    ways += [
        _row("in-distribution", "recording", trend, 0.0284),
        _row("in-distribution", "Liljestrand-Zander", rank, 0.8),
    ]
    (tmp_path / "inference-in-distribution.json").write_text(json.dumps(ways))
    (tmp_path / "inference-shifted.json").write_text(json.dumps(ways))
    sizes = [_row("pool size", "recording", f"coverage at {level} %, SV [%]", level + 1.5) for level in (50, 90)]
    (tmp_path / "inference-pool-sizes.json").write_text(json.dumps(sizes))
    anchors = [
        _row("anchors", "window", "CO error", 0.12, spread=None),
        _row("anchors", "window", "held", 88.2, spread=2.5),
    ]
    (tmp_path / "inference-anchors.json").write_text(json.dumps(anchors))
    return tmp_path


def test_ways_and_rules_have_a_line_each(folder: Path) -> None:
    text = inference_report.tables(folder)
    assert "| window | 0.0667 |  | 0.9 |" in text
    assert "| recording | 0.0284 |" in text
    assert "| Liljestrand-Zander |  |  | 0.8 |" in text
    assert "product over the prior" not in text
    assert "## Pool size, 50 % intervals\n\n| setting | method | SV [%] |" in text
    assert "| 2 recordings | recording | 91.5 |" in text
    assert "| 2 recordings | window | 0.12 | 88.2 (2.5) |" in text
    assert "plices" not in text


def test_a_page_keeps_what_stands_outside_the_marks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, picture = folder / "page.md", folder / "picture.png"
    page.write_text(f"before\n{inference_report.BEGIN}\nold\n{inference_report.END}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["x", str(folder), "--page", str(page), "--figure", str(picture)])
    inference_report.main()
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and "0.0284" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
