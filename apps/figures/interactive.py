r"""A picture as Plotly draws it: a plain dictionary of traces and layout, in the colours of the theme."""

from __future__ import annotations

from typing import Any

from .marks import Band, Bars, Mark, Panel, Picture, Points, Rule, Span, as_list
from .palette import palette

__all__ = ["draw_interactive"]

_GAP_X, _GAP_Y = 0.09, 68.0  # share of the width, pixels of the height
_BOTTOM = 46


def draw_interactive(picture: Picture, *, dark: bool) -> dict[str, Any]:
    r"""Draws a picture for the browser.

    Arguments:
        picture: The picture.
        dark: Whether the background is dark.

    Returns:
        A Plotly figure as a dictionary.

    Example:
        >>> from pulsebayes.apps.figures.marks import Line, Table
        >>> panel = Panel((Line("ART", [0, 1], [80, 90], "ART"),), y_label="ART [mmHg]")
        >>> figure = draw_interactive(Picture("p", "Pressure", "rises", Table(("t",), ()), (panel,)), dark=True)
        >>> figure["data"][0]["name"], figure["layout"]["yaxis"]["title"]["text"]
        ('ART', 'ART [mmHg]')
    """
    colours = palette(dark=dark or picture.strip)
    layout = _layout(picture, colours)
    data: list[dict[str, Any]] = []
    named: set[str] = set()
    for i, panel in enumerate(picture.panels):
        suffix = "" if i == 0 else str(i + 1)
        axes = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        layout |= _axes(picture, i, panel, colours)
        for mark in panel.marks:
            if isinstance(mark, (Rule, Span)):
                layout["shapes"].append(_shape(mark, axes, colours))
                if mark.name:
                    layout["annotations"].append(_label(mark, axes, colours))
                continue
            traces = _traces(mark, colours)
            for trace in traces:
                trace["showlegend"] = trace["showlegend"] and trace["name"] not in named
                named |= {trace["name"]} if trace["showlegend"] else set()
                data.append({**trace, **axes})
        if panel.title:
            layout["annotations"].append(_title(panel.title, suffix, colours))
    layout["showlegend"] = len(named) > 1
    return {"data": data, "layout": layout}


def _layout(picture: Picture, colours: dict[str, str]) -> dict[str, Any]:
    background = colours["panel"] if picture.strip else "rgba(0,0,0,0)"
    layout: dict[str, Any] = {
        "height": picture.height,
        "paper_bgcolor": background,
        "plot_bgcolor": background,
        "font": {"color": colours["ink"], "size": 13},
        "margin": {"l": 64, "r": 16, "t": _top(picture), "b": _BOTTOM},
        "legend": {
            "orientation": "h",
            "y": 1.0 + 20.0 / _inner(picture),
            "yanchor": "bottom",
            "x": 1.0,
            "xanchor": "right",
        },
        "hovermode": "x unified" if picture.shared_x else "closest",
        "shapes": [],
        "annotations": [],
        "barmode": "overlay",
        "dragmode": {"box": "select", "points": "zoom"}.get(picture.pick, "zoom"),
        "uirevision": picture.key,
        "hoverlabel": {"bgcolor": colours["paper"], "font": {"color": colours["ink"]}},
    }
    if picture.pick == "box":
        layout |= {
            "selectdirection": "h",
            "newselection": {"line": {"color": colours["pick"], "width": 2}},
            "activeselection": {"fillcolor": colours["pick"], "opacity": 0.15},
        }
    return layout


def _top(picture: Picture) -> int:
    r"""Room above the panels [px]: for titles and a legend, or in a strip for a legend alone."""
    return 30 if picture.strip else 46


def _inner(picture: Picture) -> int:
    return max(picture.height - _top(picture) - _BOTTOM, 1)


def _axes(picture: Picture, i: int, panel: Panel, colours: dict[str, str]) -> dict[str, Any]:
    n_rows = -(-len(picture.panels) // picture.columns)
    row, column = divmod(i, picture.columns)
    heights = [
        max(p.height for p in picture.panels[r * picture.columns : (r + 1) * picture.columns]) for r in range(n_rows)
    ]
    inner = _inner(picture)
    titled = any(p.title for p in picture.panels)
    gap = ((30.0 if titled else 14.0) if picture.shared_x else _GAP_Y) / inner
    free = 1 - gap * (n_rows - 1)
    top = 1 - sum(heights[:row]) / sum(heights) * free - gap * row
    bottom = max(top - heights[row] / sum(heights) * free, 0.0)
    width = (1 - _GAP_X * (picture.columns - 1)) / picture.columns
    left = column * (width + _GAP_X)
    suffix = "" if i == 0 else str(i + 1)
    last = row == n_rows - 1 or not picture.shared_x
    common = {"gridcolor": colours["grid"], "zeroline": False, "linecolor": colours["edge"], "automargin": False}
    x = {**common, "domain": [left, min(left + width, 1.0)], "anchor": f"y{suffix}", "showticklabels": last}
    x["title"] = {"text": panel.x_label if last else "", "standoff": 6}
    y = {**common, "domain": [bottom, top], "anchor": f"x{suffix}", "showticklabels": panel.ticks}
    y |= {"title": {"text": panel.y_label, "standoff": 6}, "fixedrange": picture.pick == "box", "showgrid": panel.ticks}
    if panel.x_range:
        x["range"] = list(panel.x_range)
    if panel.y_range:
        y["range"] = list(panel.y_range)
    if panel.y_names:
        y |= {"tickvals": list(range(len(panel.y_names))), "ticktext": list(panel.y_names), "automargin": True}
    if panel.x_log:
        x["type"] = "log"
        x.pop("range", None)
    if picture.shared_x and i:
        x["matches"] = "x"
    return {f"xaxis{suffix}": x, f"yaxis{suffix}": y}


def _traces(mark: Mark, colours: dict[str, str]) -> list[dict[str, Any]]:
    if isinstance(mark, (Rule, Span)):
        return []
    colour = colours.get(mark.colour, colours["ink"])
    if isinstance(mark, Band):
        edge = {"type": "scatter", "mode": "lines", "x": as_list(mark.x), "line": {"width": 0, "color": colour}}
        low = {**edge, "y": as_list(mark.low), "name": mark.name, "hoverinfo": "skip", "showlegend": False}
        fill = {"fill": "tonexty", "fillcolor": _faded(colour, mark.opacity), "hoverinfo": "skip"}
        return [low, {**edge, "y": as_list(mark.high), "name": mark.name, "showlegend": True, **fill}]
    if isinstance(mark, Bars):
        bars = {"type": "bar", "x": as_list(mark.x), "y": as_list(mark.height), "width": mark.width}
        return [{**bars, "name": mark.name, "marker": {"color": colour}, "showlegend": True}]
    base = {"type": "scatter", "x": as_list(mark.x), "y": as_list(mark.y), "name": mark.name, "opacity": mark.opacity}
    base["showlegend"] = mark.legend
    if isinstance(mark, Points):
        base |= {"mode": "markers", "marker": {"color": colour, "symbol": mark.symbol, "size": mark.size}}
        if len(mark.keys):
            base["customdata"] = as_list(mark.keys)
        return [base]
    line = {"color": colour, "width": mark.width, "dash": mark.dash}
    return [{**base, "mode": "lines", "line": line, "connectgaps": False}]


def _shape(mark: Rule | Span, axes: dict[str, str], colours: dict[str, str]) -> dict[str, Any]:
    along = mark.axis
    other = "y" if along == "x" else "x"
    place: dict[str, Any] = {f"{along}ref": axes[f"{along}axis"], f"{other}ref": f"{axes[f'{other}axis']} domain"}
    ends = (mark.at, mark.at) if isinstance(mark, Rule) else (mark.start, mark.end)
    place |= {f"{along}0": ends[0], f"{along}1": ends[1], f"{other}0": 0, f"{other}1": 1}
    colour = colours.get(mark.colour, colours["ink"])
    if isinstance(mark, Rule):
        return {**place, "type": "line", "line": {"color": colour, "width": 1.5, "dash": mark.dash}}
    fill = {"fillcolor": _faded(colour, mark.opacity), "line": {"width": 0.5, "color": colour}}
    return {**place, "type": "rect", "layer": "below", **fill}


def _label(mark: Rule | Span, axes: dict[str, str], colours: dict[str, str]) -> dict[str, Any]:
    along = mark.axis
    other = "y" if along == "x" else "x"
    at = mark.at if isinstance(mark, Rule) else 0.5 * (mark.start + mark.end)
    place = {
        f"{along}ref": axes[f"{along}axis"],
        f"{other}ref": f"{axes[f'{other}axis']} domain",
        along: at,
        other: 1.0,
    }
    anchors = {"xanchor": "center" if along == "x" else "right", "yanchor": "top" if along == "x" else "bottom"}
    return {**place, **anchors, "text": mark.name, "showarrow": False, "font": {"size": 11, "color": colours["ink"]}}


def _title(text: str, suffix: str, colours: dict[str, str]) -> dict[str, Any]:
    place = {"xref": f"x{suffix} domain", "yref": f"y{suffix} domain", "x": 0, "y": 1, "xanchor": "left"}
    font = {"size": 13, "color": colours["ink"]}
    return {**place, "yanchor": "bottom", "text": f"<b>{text}</b>", "showarrow": False, "font": font}


def _faded(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
