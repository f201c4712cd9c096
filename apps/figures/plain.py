r"""A whole picture as one plain image: what nobody drags or clicks does not wait for a chart library.

A Plotly chart costs the browser a tenth of a second and more each time its page comes back; an SVG image of the same
marks costs a few milliseconds, and cannot run anything. What is picked by drag or click stays with Plotly
(`interactive`); what a slider moves is drawn smaller still (`light`).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from .light import round_ticks
from .marks import Band, Bars, Line, Mark, Panel, Picture, Points, Rule, Span
from .palette import palette

__all__ = ["draw_plain"]

WIDTH = 860
_TEXT, _LETTER = 13, 6.9  # size of the text and width of a letter, as they are on average [px]
_DASHES = {"dash": ' stroke-dasharray="7 5"', "dot": ' stroke-dasharray="2 4"'}


@dataclass(frozen=True)
class _Box:
    r"""Where a panel lies in the image, and the ends of its axes."""

    left: float
    top: float
    right: float
    foot: float
    x: tuple[float, float]
    y: tuple[float, float]
    log: bool = False

    def across(self, values: Any) -> Any:
        v = np.asarray(values, dtype=float)
        v = np.log10(v) if self.log else v
        return self.left + (self.right - self.left) * (v - self.x[0]) / (self.x[1] - self.x[0])

    def up(self, values: Any) -> Any:
        v = np.asarray(values, dtype=float)
        return self.foot - (self.foot - self.top) * (v - self.y[0]) / (self.y[1] - self.y[0])


def draw_plain(picture: Picture, *, dark: bool, width: int = WIDTH) -> str:
    r"""Draws a picture as one image.

    Arguments:
        picture: The picture.
        dark: Whether the background is dark.
        width: Width of the drawing [px], which the page scales to its own.

    Returns:
        HTML: a figure with one image, whose alternative is that of the picture.

    Example:
        >>> from pulsebayes.apps.figures.marks import Table
        >>> panel = Panel((Line("ART", [0, 1], [80, 90], "ART"),), y_label="ART [mmHg]")
        >>> html = draw_plain(Picture("p", "Pressure", "It rises.", Table(("t",), ()), (panel,)), dark=False)
        >>> html.count("<img"), 'alt="It rises."' in html
        (1, True)
    """
    colours = palette(dark=dark or picture.strip)
    keys, top = _legend(picture, colours, width)
    parts = [keys]
    for i, panel in enumerate(picture.panels):
        if panel.marks:
            parts.append(_panel(panel, _place(picture, i, width, top), colours, f"c{i}"))
    size = f'viewBox="0 0 {width} {picture.height}" width="{width}" height="{picture.height}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="{_TEXT}">'
    source = b64encode(f"{svg}{''.join(parts)}</svg>".encode()).decode()
    return (
        f'<figure class="pb-plain" style="max-width:{1.15 * width:.0f}px"><figcaption>{escape(picture.title)}'
        f'</figcaption><img alt="{escape(picture.alt)}" src="data:image/svg+xml;base64,{source}"></figure>'
    )


def _place(picture: Picture, i: int, width: int, head: float) -> _Box:
    r"""Box of a panel: rows as high as their highest panel asks, columns of the same width."""
    row, column = divmod(i, picture.columns)
    rows = [picture.panels[r : r + picture.columns] for r in range(0, len(picture.panels), picture.columns)]
    heights = [max(p.height for p in panels) for panels in rows]
    room = (picture.height - head) / sum(heights)
    top, bottom = head + room * sum(heights[:row]), head + room * sum(heights[: row + 1])
    names = max((len(n) for p in picture.panels for n in p.y_names), default=0)
    left = 14 + _LETTER * names if names else (62.0 if any(p.ticks for p in picture.panels) else 14.0)
    panel, share = picture.panels[i], width / picture.columns
    top += 24 if any(p.title for p in rows[row]) else 8
    bottom -= 44 if any(p.x_label for p in rows[row]) else 24
    x, y = _ends(panel, "x"), _ends(panel, "y")
    return _Box(column * share + left, top, (column + 1) * share - 20, bottom, x, y, panel.x_log)


def _ends(panel: Panel, axis: str) -> tuple[float, float]:
    asked = panel.x_range if axis == "x" else panel.y_range
    log = panel.x_log and axis == "x"
    if asked and not log:
        return float(asked[0]), float(asked[1])
    values = [np.ravel(np.asarray(v, dtype=float)) for m in panel.marks for v in _along(m, axis)]
    known = np.concatenate([*values, np.empty(0)])
    known = known[np.isfinite(known) & (known > 0 if log else True)]
    known = np.log10(known) if log else known
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    pad = 0.04 * (high - low) or 0.5
    bars = axis == "y" and any(isinstance(m, Bars) for m in panel.marks)
    return (0.0 if bars and low >= 0 else low - pad), high + pad


def _along(mark: Mark, axis: str) -> list[Any]:
    if isinstance(mark, (Rule, Span)):
        ends = [mark.at] if isinstance(mark, Rule) else [mark.start, mark.end]
        return [ends] if mark.axis == axis else []
    if isinstance(mark, Bars):
        x = np.asarray(mark.x, dtype=float)
        return [x - 0.5 * mark.width, x + 0.5 * mark.width] if axis == "x" else [[0.0], mark.height]
    if isinstance(mark, Band):
        return [mark.x] if axis == "x" else [mark.low, mark.high]
    return [mark.x if axis == "x" else mark.y]


def _panel(panel: Panel, box: _Box, colours: Mapping[str, str], clip: str) -> str:
    size = f'x="{box.left:.1f}" y="{box.top:.1f}" width="{box.right - box.left:.1f}" height="{box.foot - box.top:.1f}"'
    known = [m for m in panel.marks if not isinstance(m, Rule) or np.isfinite(m.at)]
    inside = "".join(_mark(m, box, colours) for m in sorted(known, key=lambda m: not isinstance(m, Span)))
    parts = [f'<clipPath id="{clip}"><rect {size}/></clipPath>', _axes(panel, box, colours)]
    parts.append(f'<g clip-path="url(#{clip})">{inside}</g>')
    parts += [_word(m, box, colours) for m in known if isinstance(m, (Rule, Span)) and m.name]
    if panel.title:
        bold = ' font-weight="bold"'
        parts.append(_text(box.left, box.top - 8, panel.title, "start", colours["ink"], bold))
    return "".join(parts)


def _axes(panel: Panel, box: _Box, colours: Mapping[str, str]) -> str:
    grid, muted, ink = colours["grid"], colours["muted"], colours["ink"]
    lines, words = [], []
    wide = box.right - box.left
    for value in round_ticks(*box.x, max(2, min(10, int(wide / 70)))):
        x = box.left + wide * (value - box.x[0]) / (box.x[1] - box.x[0])
        lines.append(f"M{x:.1f} {box.top:.1f}V{box.foot:.1f}")
        words.append(_text(x, box.foot + 16, f"{10**value if box.log else value:g}", "middle", muted))
    ticks = [(float(i), name) for i, name in enumerate(panel.y_names)]
    if panel.ticks and not ticks:
        ticks = [(v, f"{v:g}") for v in round_ticks(*box.y, max(2, int((box.foot - box.top) / 45)))]
    for value, said in ticks:
        y = float(box.up(value))
        lines.append(f"M{box.left:.1f} {y:.1f}H{box.right:.1f}")
        words.append(_text(box.left - 6, y + 4.5, said, "end", ink if panel.y_names else muted))
    lines_drawn = f'<path d="{"".join(lines)}" stroke="{grid}" fill="none"/>'
    middle = 0.5 * (box.left + box.right)
    words.append(_text(middle, box.foot + 36, panel.x_label, "middle", ink))
    if panel.y_label:
        x, y = box.left - 46, 0.5 * (box.top + box.foot)
        x = max(x, 12.0)
        words.append(_text(x, y, panel.y_label, "middle", ink, f' transform="rotate(-90 {x:.1f} {y:.1f})"'))
    frame = f"M{box.left:.1f} {box.top:.1f}V{box.foot:.1f}H{box.right:.1f}"
    return lines_drawn + f'<path d="{frame}" stroke="{colours["edge"]}" fill="none"/>' + "".join(words)


def _mark(mark: Mark, box: _Box, colours: Mapping[str, str]) -> str:
    colour = colours.get(mark.colour, colours["ink"])
    if isinstance(mark, Line):
        stroke = f'stroke="{colour}" stroke-width="{mark.width:g}" stroke-opacity="{mark.opacity:g}"'
        path = _path(box.across(mark.x), box.up(mark.y))
        return f'<path d="{path}" fill="none" stroke-linejoin="round" {stroke}{_DASHES.get(mark.dash, "")}/>'
    if isinstance(mark, Points):
        return _points(mark, box, colour)
    if isinstance(mark, Band):
        x, low, high = box.across(mark.x), box.up(mark.low), box.up(mark.high)
        path = _path(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]]))
        return f'<path d="{path}Z" fill="{colour}" fill-opacity="{mark.opacity:g}"/>' if path else ""
    if isinstance(mark, Bars):
        x, y, half = np.asarray(mark.x, dtype=float), box.up(mark.height), 0.5 * mark.width
        foot = float(box.up(0.0))
        ends = zip(box.across(x - half), box.across(x + half), y, strict=True)
        path = "".join(f"M{a:.1f} {foot:.1f}V{c:.1f}H{b:.1f}V{foot:.1f}Z" for a, b, c in ends)
        return f'<path d="{path}" fill="{colour}"/>'
    return _across_the_panel(mark, box, colour)


def _across_the_panel(mark: Rule | Span, box: _Box, colour: str) -> str:
    place = box.across if mark.axis == "x" else box.up
    if isinstance(mark, Rule):
        at = float(place(mark.at))
        upright, level = f"M{at:.1f} {box.top:.1f}V{box.foot:.1f}", f"M{box.left:.1f} {at:.1f}H{box.right:.1f}"
        line = upright if mark.axis == "x" else level
        return f'<path d="{line}" stroke="{colour}" stroke-width="1.5" fill="none"{_DASHES.get(mark.dash, "")}/>'
    a, b = sorted((float(place(mark.start)), float(place(mark.end))))
    sides = (a, box.top, b, box.foot) if mark.axis == "x" else (box.left, a, box.right, b)
    left, top, right, foot = (f"{side:.1f}" for side in sides)
    fill = f'fill="{colour}" fill-opacity="{mark.opacity:g}" stroke="{colour}" stroke-width=".5"'
    return f'<path d="M{left} {top}H{right}V{foot}H{left}Z" {fill}/>'


def _word(mark: Rule | Span, box: _Box, colours: Mapping[str, str]) -> str:
    at = mark.at if isinstance(mark, Rule) else 0.5 * (mark.start + mark.end)
    if mark.axis == "y":
        return _text(box.right - 4, float(box.up(at)) - 4, mark.name, "end", colours["ink"])
    half = 0.5 * _LETTER * len(mark.name)
    x = min(max(float(box.across(at)), box.left + half), box.right - half)
    return _text(x, box.top + 13, mark.name, "middle", colours["ink"])


def _path(x: Any, y: Any) -> str:
    r"""Points joined, broken where one is missing."""
    parts, pen = [], "M"
    for a, b in zip(np.ravel(x).tolist(), np.ravel(y).tolist(), strict=True):
        if a != a or b != b:
            pen = "M"
            continue
        parts.append(f"{pen}{a:.1f} {b:.1f}")
        pen = "L"
    return "".join(parts)


def _points(mark: Points, box: _Box, colour: str) -> str:
    places = zip(np.ravel(box.across(mark.x)).tolist(), np.ravel(box.up(mark.y)).tolist(), strict=True)
    known = [(a, b) for a, b in places if a == a and b == b]
    drawn = "".join(_symbol(mark.symbol, a, b, 0.5 * mark.size) for a, b in known)
    hollow = mark.symbol in ("x", "circle-open")
    look = f'fill="none" stroke="{colour}" stroke-width="1.8"' if hollow else f'fill="{colour}"'
    return f'<g {look} fill-opacity="{mark.opacity:g}" stroke-opacity="{mark.opacity:g}">{drawn}</g>'


def _symbol(symbol: str, x: float, y: float, r: float) -> str:
    if symbol.startswith("circle"):
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:g}"/>'
    corners: Sequence[tuple[float, float]] = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "diamond": ((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
        "triangle-up": ((0, -1.1), (1.1, 0.9), (-1.1, 0.9)),
        "triangle-down": ((0, 1.1), (1.1, -0.9), (-1.1, -0.9)),
    }.get(symbol, ())
    if not corners:
        return f'<path d="M{x - r:.1f} {y - r:.1f}l{2 * r:g} {2 * r:g}m0 {-2 * r:g}l{-2 * r:g} {2 * r:g}"/>'
    return '<path d="M' + "L".join(f"{x + r * a:.1f} {y + r * b:.1f}" for a, b in corners) + 'Z"/>'


def _legend(picture: Picture, colours: Mapping[str, str], width: int) -> tuple[str, float]:
    r"""Names of the marks over the panels, in as many rows as they need, and the height that takes."""
    named: dict[str, list[Mark]] = {}
    for mark in (m for p in picture.panels for m in p.marks if not isinstance(m, (Rule, Span))):
        if mark.name and (isinstance(mark, (Band, Bars)) or mark.legend):
            named.setdefault(mark.name, []).append(mark)
    if len(named) < 2:
        return "", 4.0
    parts, x, y = [], 14.0, 12.0
    for name, marks in named.items():
        wide = 40 + _LETTER * len(name) + 18
        if x > 14 and x + wide > width:
            x, y = 14.0, y + 20
        parts.append(_key(marks[0], x, y, colours) + _text(x + 36, y + 4.5, name, "start", colours["ink"]))
        x += wide
    return "".join(parts), y + 16


def _key(mark: Mark, x: float, y: float, colours: Mapping[str, str]) -> str:
    colour = colours.get(mark.colour, colours["ink"])
    if isinstance(mark, Points):
        style = f'fill="{colour}" stroke="{colour}"'
        if mark.symbol in ("x", "circle-open"):
            style = f'fill="none" stroke="{colour}" stroke-width="1.8"'
        return f"<g {style}>{_symbol(mark.symbol, x + 16, y, min(max(0.5 * mark.size, 3.5), 6))}</g>"
    if isinstance(mark, Line):
        stroke = f'stroke="{colour}" stroke-width="{min(max(mark.width, 1.5), 8):g}"{_DASHES.get(mark.dash, "")}'
        return f'<path d="M{x} {y}h32" {stroke}/>'
    opacity = mark.opacity if isinstance(mark, Band) else 1.0
    return f'<rect x="{x}" y="{y - 6}" width="32" height="12" fill="{colour}" fill-opacity="{opacity:g}"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{more}>{escape(text)}</text>'
