r"""A picture as Matplotlib draws it: SVG with its text as text, or PNG; for exports and for the printable report."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from .marks import Band, Bars, Line, Mark, Panel, Picture, Points, Rule, Span
from .palette import palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_static"]

_SYMBOLS = {
    "circle": "o", "diamond": "D", "square": "s", "triangle-up": "^", "triangle-down": "v", "x": "x",
    "circle-open": "o",
}  # fmt: skip
_DASHES = {"solid": "-", "dash": "--", "dot": ":"}
_WIDTH, _DPI = 9.6, 100.0  # [in], pixels an inch


def draw_static(picture: Picture, *, form: str = "svg", dark: bool = False) -> bytes:
    r"""Draws a picture as a file.

    Arguments:
        picture: The picture.
        form: `svg` or `png`.
        dark: Whether the background is dark.

    Returns:
        The file's bytes; the SVG carries title and text alternative.

    Raises:
        ValueError: If the form is unknown.

    Example:
        >>> from pulsebayes.apps.figures.marks import Table
        >>> panel = Panel((Line("ART", [0, 1], [80, 90], "ART"),), y_label="ART [mmHg]")
        >>> svg = draw_static(Picture("p", "Pressure", "It rises.", Table(("t",), ()), (panel,)))
        >>> svg[:5], b"It rises." in svg
        (b'<?xml', True)
    """
    if form not in ("svg", "png"):
        raise ValueError(f"form must be svg or png, got {form!r}")
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    colours = palette(dark=dark or picture.strip)
    paper = colours["panel" if picture.strip else "paper"]
    n_rows = -(-len(picture.panels) // picture.columns)
    heights = [max(p.height for p in picture.panels[r * picture.columns :][: picture.columns]) for r in range(n_rows)]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": picture.key, "font.size": 9}):
        figure = Figure(figsize=(_WIDTH, picture.height / _DPI + 0.3), layout="constrained", facecolor=paper)
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(n_rows, picture.columns, height_ratios=heights)
        first: Axes | None = None
        for i, panel in enumerate(picture.panels):
            shared = first if picture.shared_x else None
            axes = figure.add_subplot(grid[divmod(i, picture.columns)], sharex=shared)
            first = first or axes
            _draw_panel(axes, panel, colours, paper)
            if picture.shared_x and i < len(picture.panels) - 1:
                axes.tick_params(labelbottom=False)
                axes.set_xlabel("")
        figure.suptitle(picture.title, fontsize=10, color=colours["ink"], x=0.01, ha="left")
        stream = io.BytesIO()
        about: dict[str, Any] = {"Title": picture.title, "Date": None} if form == "svg" else {"Title": picture.title}
        about["Description"] = picture.alt
        figure.savefig(stream, format=form, dpi=160, metadata=about)
    return stream.getvalue()


def _draw_panel(axes: Axes, panel: Panel, colours: dict[str, str], paper: str) -> None:
    axes.set_facecolor(paper)
    for mark in panel.marks:
        _draw_mark(axes, mark, colours)
    axes.set_title(panel.title, fontsize=9, loc="left", color=colours["ink"])
    axes.set_xlabel(panel.x_label, color=colours["ink"])
    axes.set_ylabel(panel.y_label, color=colours["ink"])
    axes.tick_params(colors=colours["ink"])
    axes.grid(color=colours["grid"], lw=0.5)
    axes.set_axisbelow(True)
    for edge in axes.spines.values():
        edge.set_color(colours["edge"])
    if panel.x_log:
        axes.set_xscale("log")
    elif panel.x_range:
        axes.set_xlim(*panel.x_range)
    if panel.y_range:
        axes.set_ylim(*panel.y_range)
    if panel.y_names:
        axes.set_yticks(range(len(panel.y_names)), panel.y_names)
    elif not panel.ticks:
        axes.set_yticks([])
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    if len(unique) > 1:
        legend = axes.legend(unique.values(), unique.keys(), fontsize=7, framealpha=0.8, facecolor=paper)
        for text in legend.get_texts():
            text.set_color(colours["ink"])


def _draw_mark(axes: Axes, mark: Mark, colours: dict[str, str]) -> None:
    colour = colours.get(mark.colour, colours["ink"])
    if isinstance(mark, Line):
        x, y = np.asarray(mark.x, float), np.asarray(mark.y, float)
        label = mark.name if mark.legend else None
        style = _DASHES[mark.dash]
        axes.plot(x, y, style, color=colour, lw=0.8 * mark.width, alpha=mark.opacity, label=label)
    elif isinstance(mark, Band):
        low, high = np.asarray(mark.low, float), np.asarray(mark.high, float)
        axes.fill_between(np.asarray(mark.x, float), low, high, color=colour, alpha=mark.opacity, lw=0, label=mark.name)
    elif isinstance(mark, Points):
        face = "none" if mark.symbol.endswith("open") else colour
        edge = {} if mark.symbol == "x" else {"edgecolors": colour}
        label = mark.name if mark.legend else None
        size = (0.75 * mark.size) ** 2
        look: dict[str, Any] = {
            "marker": _SYMBOLS[mark.symbol],
            "alpha": mark.opacity,
            "label": label,
            "zorder": 3,
            **edge,
        }
        axes.scatter(np.asarray(mark.x, float), np.asarray(mark.y, float), s=size, c=face, **look)
    elif isinstance(mark, Bars):
        axes.bar(np.asarray(mark.x, float), np.asarray(mark.height, float), mark.width, color=colour, label=mark.name)
    elif isinstance(mark, Rule):
        draw = axes.axvline if mark.axis == "x" else axes.axhline
        draw(mark.at, color=colour, lw=1.0, ls=_DASHES[mark.dash], label=mark.name or None)
    else:
        _draw_span(axes, mark, colour)


def _draw_span(axes: Axes, mark: Span, colour: str) -> None:
    shade = axes.axvspan if mark.axis == "x" else axes.axhspan
    shade(mark.start, mark.end, color=colour, alpha=mark.opacity, lw=0, label=mark.name or None, zorder=0)
