r"""Pictures: drawn by both, described in words, tabled; colours that can be read."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from pulsebayes.apps.figures.estimates import dotplot, interval_rows, intervals
from pulsebayes.apps.figures.interactive import draw_interactive
from pulsebayes.apps.figures.marks import Band, Bars, Line, Panel, Picture, Points, Rule, Table
from pulsebayes.apps.figures.palette import DARK, LIGHT, contrast
from pulsebayes.apps.figures.plain import draw_plain
from pulsebayes.apps.figures.static import draw_static
from pulsebayes.apps.figures.trends import trend
from pulsebayes.apps.figures.waves import Lane, Trace, merge_lanes, overview, strip
from pulsebayes.inference.answer import Answer, Estimate, Refusal

ESTIMATE = Estimate("L/min", 4.9, 3.8, 4.4, 5.4, 6.4, 3.8, 6.4, 2.0, 10.0, 0.8)
BLIND = Estimate("mmHg", 6.0, 1.0, 4.0, 9.0, 14.0, 1.0, 14.0, 1.5, 16.0, 0.0, uninformative=True)
DRAWS = {"CO": np.random.default_rng(0).lognormal(1.6, 0.15, 2000), "CVP": np.zeros(2000)}


def answer(start: float) -> Answer:
    return Answer(start, start + 8, DRAWS, {"CO": ESTIMATE, "CVP": BLIND}, 0.9)


def pictures() -> list[Picture]:
    times = np.arange(0, 8, 0.008)
    trace = Trace("ABP", "ART", "mmHg", times, 90 + 30 * np.sin(times), (1.0, 2.0), (110.0, 111.0))
    lanes = [Lane(0.0, 8.0), Lane(8.0, 16.0, "flat"), Lane(16.0, 24.0, "", ("coarse",))]
    return [
        strip([trace, trace], lanes, (0.0, 24.0), (0.0, 8.0)),
        overview(trace, lanes, (0.0, 8.0), 24.0),
        intervals(answer(0.0)),
        dotplot("CO", DRAWS["CO"], 4.0, unit="L/min"),
        trend(
            [answer(0.0), Refusal(8.0, 16.0, "flat"), answer(16.0)],
            ["CO", "CVP"],
            duration_s=24.0,
            references={"CO": [(4.0, 5.1)]},
            events=[(12.0, "flush")],
            picked=(0.0, 8.0),
        ),
    ]


def plain(shown: Picture, *, dark: bool = False) -> str:
    r"""The SVG of a plain image, which is well-formed."""
    html = draw_plain(shown, dark=dark)
    svg = base64.b64decode(re.findall(r"base64,([^\"]+)", html)[0]).decode()
    ET.fromstring(svg)
    return svg


@pytest.mark.parametrize("shown", pictures(), ids=lambda p: p.key)
def test_picture_is_drawn_by_all_in_both_themes(shown: Picture) -> None:
    for dark in (False, True):
        figure = draw_interactive(shown, dark=dark)
        assert "NaN" not in json.dumps(figure, allow_nan=False)
        assert draw_static(shown, form="svg", dark=dark).startswith(b"<?xml")
        assert "nan" not in plain(shown, dark=dark)
    png = draw_static(shown, form="png")
    assert png.startswith(b"\x89PNG") and len(png) < 2e6
    assert len(shown.alt) > 20 and shown.table.columns and shown.table.to_csv()


def test_drawing_twice_gives_the_same_bytes() -> None:
    assert draw_static(pictures()[2]) == draw_static(pictures()[2])


def test_picture_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="text alternative"):
        Picture("a", "A", " ", Table((), ()), (Panel(()),))


def test_colours_of_lines_and_words_can_be_read() -> None:
    backgrounds = {"paper", "panel", "grid", "edge", "usual"}  # WCAG 2.2, 1.4.3: 4.5 to 1
    for colours in (DARK, LIGHT):
        for role in set(colours) - backgrounds:
            assert contrast(colours[role], colours["paper"]) >= 4.5, role
    for role in ("ART", "PLETH", "CVP"):
        assert contrast(DARK[role], DARK["panel"]) >= 4.5


def test_withheld_quantity_shows_no_number() -> None:
    row = intervals(answer(0.0), ["CVP"]).table.rows[0]
    assert set(row[1:6]) == {"not told"}
    html = interval_rows(answer(0.0), ["CVP"], dark=False)
    assert "withheld" in html and "6 mmHg" not in html


def test_conformal_region_is_another_mark_than_the_interval() -> None:
    regions = [{"ranges": {"CO": {"low": 2.5, "high": None}}}, {"ranges": {"CO": {"low": 1, "high": 9}, "HR": {}}}]
    promised = Answer(0.0, 8.0, DRAWS, {"CO": ESTIMATE, "CVP": BLIND}, 0.9, regions=regions)
    shown = intervals(promised)
    assert "conformal region" in {getattr(mark, "name", "") for mark in shown.panels[0].marks}
    assert [row[-1] for row in shown.table.rows] == ["2.5 to without end", "none"]
    assert "region 2.5 to without end" in interval_rows(promised, ["CO"], dark=False)
    assert "region" not in interval_rows(answer(0.0), ["CO"], dark=False)
    plain(shown)


def test_dots_below_the_threshold_stand_left_of_it() -> None:
    shown = dotplot("CO", DRAWS["CO"], 4.6, unit="L/min")
    below, above = shown.panels[0].marks[:2]
    assert max(below.x) < 4.6 < min(above.x)  # type: ignore[union-attr]
    assert len(below.x) + len(above.x) == 50  # type: ignore[union-attr]


def test_trend_leaves_a_gap_where_a_window_was_refused() -> None:
    line = next(m for m in pictures()[4].panels[0].marks if getattr(m, "name", "") == "median")
    assert np.isnan(line.y[1]) and line.y[0] == 4.9  # type: ignore[union-attr]
    assert pictures()[4].table.rows[1][1] == "refused: flat"


def test_neighbouring_verdicts_are_merged() -> None:
    merged = merge_lanes([Lane(8.0, 16.0, "flat"), Lane(0.0, 8.0), Lane(16.0, 24.0, "flat")])
    assert [(m.start_s, m.end_s) for m in merged] == [(0.0, 8.0), (8.0, 24.0)]


def test_plain_image_scales_marks_to_the_ends_of_their_axes() -> None:
    panel = Panel((Line("a", [0, 10], [0, 1]), Rule("limit", 5.0)), x_range=(0, 10), y_range=(0, 1))
    svg = plain(Picture("p", "P", "It rises.", Table((), ()), (panel,), height=200))
    x0, y0, x1, y1 = map(float, re.findall(r"M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)", svg)[0])
    at = float(re.findall(r'd="M([\d.]+) [\d.]+V[\d.]+" stroke="[^"]+" stroke-width="1.5"', svg)[0])
    assert x0 < x1 and y0 > y1 and at == pytest.approx(0.5 * (x0 + x1), abs=0.1)
    assert ">limit</text>" in svg


def test_plain_image_breaks_lines_at_missing_values_and_holds_empty_marks() -> None:
    nan = float("nan")
    marks = (
        Line("gap", [0, 1, 2, 3], [1, nan, 2, 3]),
        Points("dots", [0, nan], [1, 2], symbol="x"),
        Band("none", [], [], []),
        Bars("bars", [], [], 1.0),
        Rule("<b>", nan),
    )
    svg = plain(Picture("p", "P", "It rises.", Table((), ()), (Panel(marks), Panel(())), height=300))
    assert "nan" not in svg and "<b>" not in svg and svg.count("L") >= 1


def test_plain_image_escapes_what_files_say() -> None:
    panel = Panel((Line("x", [0, 1], [0, 1]),), y_label="<script>", title='"&')
    picture = Picture("p", "<i>", '"><script>', Table((), ()), (panel,))
    assert "<script>" not in plain(picture) and "<script>" not in draw_plain(picture, dark=False)
