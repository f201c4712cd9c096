r"""Panels of lines as small plain images: what a slider moves must not wait for a chart library.

Thirteen Plotly panels take the browser a quarter of a second to draw again; thirteen of these a few milliseconds.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from .marks import Line, Panel, Picture
from .palette import palette

__all__ = ["draw_light"]

_WIDTH, _HEIGHT = 260, 168
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 6, 8, 32
_TEXT = 11.5


def draw_light(picture: Picture, *, dark: bool, single: bool = False) -> str:
    r"""Draws a picture whose panels hold lines, one image a panel, all on the same scale.

    Arguments:
        picture: The picture; marks other than lines are left out.
        dark: Whether the background is dark.
        single: Whether its panels stand below each other, each as wide as there is room.

    Returns:
        HTML: a legend, and a grid of images that takes as many columns as fit.

    Example:
        >>> from pulsebayes.apps.figures.marks import Table
        >>> panel = Panel((Line("scenario", [0.0, 1.0], [80.0, 120.0]),), title="aorta", x_label="time [s]")
        >>> html = draw_light(Picture("p", "One beat", "rises", Table(("site",), ()), (panel,)), dark=False)
        >>> html.count("<img"), "aorta" in html
        (1, True)
    """
    colours = palette(dark=dark)
    lines = [m for panel in picture.panels for m in panel.marks if isinstance(m, Line)]
    x_ends, y_ends = _ends([m.x for m in lines]), _ends([m.y for m in lines])
    figures = "".join(
        f"<figure><figcaption>{escape(p.title)}</figcaption>"
        f'<img alt="{escape(_said(p))}" src="{_image(p, x_ends, y_ends, colours)}"></figure>'
        for p in picture.panels
    )
    legend = "".join(_key(m, colours) for m in {m.name: m for m in lines}.values())
    wide = ' style="grid-template-columns:minmax(0,38rem)"' if single else ""
    return f'<div class="pb-legend" aria-hidden="true">{legend}</div><div class="pb-panels"{wide}>{figures}</div>'


def _ends(values: Sequence[Any]) -> tuple[float, float]:
    known = np.concatenate([np.asarray(v, dtype=float) for v in values] or [np.array([0.0, 1.0])])
    low, high = float(np.nanmin(known)), float(np.nanmax(known))
    pad = 0.04 * (high - low or 1.0)
    return low - pad, high + pad


def _said(panel: Panel) -> str:
    lines = [m for m in panel.marks if isinstance(m, Line)]
    if not lines:
        return f"{panel.title}: nothing drawn"
    y = np.asarray(lines[-1].y, dtype=float)
    return f"{panel.title}, {lines[-1].name}: {np.nanmin(y):.0f} to {np.nanmax(y):.0f} {panel.y_label}"


def _image(panel: Panel, x_ends: tuple[float, float], y_ends: tuple[float, float], colours: Mapping[str, str]) -> str:
    parts = [_frame(panel, x_ends, y_ends, colours)]
    for mark in panel.marks:
        if isinstance(mark, Line):
            x, y = _across(mark.x, x_ends), _up(mark.y, y_ends)
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True) if b == b)
            parts.append(f'<polyline points="{points}" fill="none" {_stroke(mark, colours)}/>')
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">'
    return "data:image/svg+xml;base64," + b64encode(f"{svg}{''.join(parts)}</svg>".encode()).decode()


def _across(x: Any, ends: tuple[float, float]) -> Any:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (np.asarray(x, dtype=float) - ends[0]) / (ends[1] - ends[0])


def _up(y: Any, ends: tuple[float, float]) -> Any:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (np.asarray(y, dtype=float) - ends[0]) / (ends[1] - ends[0])


def _frame(panel: Panel, x_ends: tuple[float, float], y_ends: tuple[float, float], colours: Mapping[str, str]) -> str:
    grid, ink = colours["grid"], colours["muted"]
    foot, parts = _HEIGHT - _BOTTOM, []
    for value in round_ticks(*y_ends, 4):
        y = float(_up(value, y_ends))
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{grid}"/>')
        parts.append(_text(_LEFT - 4, y + 4, f"{value:g}", "end", ink))
    for value in round_ticks(*x_ends, 4):
        x = float(_across(value, x_ends))
        parts.append(f'<path d="M{x:.1f} {_TOP}V{foot}" stroke="{grid}"/>')
        parts.append(_text(x, foot + 14, f"{value:g}", "middle", ink))
    unit = f"{panel.x_label}, pressure {panel.y_label}" if panel.y_label.startswith("[") else panel.x_label
    parts.append(_text(0.5 * (_LEFT + _WIDTH - _RIGHT), _HEIGHT - 4, escape(unit), "middle", ink))
    return "".join(parts)


def round_ticks(low: float, high: float, most: int) -> list[float]:
    r"""Round values between two ends.

    Arguments:
        low: Lower end.
        high: Upper end, above the lower.
        most: How many steps there may be.

    Returns:
        The values, in order.

    Example:
        >>> round_ticks(0.3, 10.2, 5)
        [2.0, 4.0, 6.0, 8.0, 10.0]
    """
    rough = (high - low) / most
    size = 10.0 ** np.floor(np.log10(rough))
    step = float(next(m * size for m in (1, 2, 5, 10) if m * size >= rough - 1e-12))
    first = int(np.ceil(low / step - 1e-9))
    return [round(i * step, 6) for i in range(first, int(np.floor(high / step + 1e-9)) + 1)]


def _text(x: float, y: float, text: str, anchor: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{_TEXT}" fill="{colour}">{text}</text>'


def _stroke(mark: Line, colours: Mapping[str, str]) -> str:
    dash = {"dash": ' stroke-dasharray="6 4"', "dot": ' stroke-dasharray="2 3"'}.get(mark.dash, "")
    colour = colours.get(mark.colour, colours["ink"])
    return f'stroke="{colour}" stroke-width="{mark.width}" stroke-opacity="{mark.opacity}"{dash}'


def _key(mark: Line, colours: Mapping[str, str]) -> str:
    style = {"dash": "dashed", "dot": "dotted"}.get(mark.dash, "solid")
    colour = colours.get(mark.colour, colours["ink"])
    return f'<span><i style="border-top:{max(mark.width, 2):g}px {style} {colour}"></i>{escape(mark.name)}</span>'
