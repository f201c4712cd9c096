r"""The picture and the page of an inspected recording: channels over time, lanes of findings, example windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ...waveforms.pyramid import decimate
from ...waveforms.recording import Recording
from ..figures.marks import Line, Mark, Panel, Picture, Span, Table
from ..figures.static import draw_static
from ..report.page import NOTICE, read_style
from ..report.page import show_figure as figure

__all__ = ["inspect_page", "recording_picture", "window_pictures"]

_POINTS = 2000
_MOST_CHANNELS = 8
_MOST_ROWS = 500
_BLOCK_S = 600.0


def recording_picture(recording: Recording, report: Mapping[str, Any]) -> Picture:
    r"""Every channel over the whole recording, above a lane for each thing the gate saw.

    Arguments:
        recording: The recording; read a stretch at a time.
        report: What `inspect_recording` says of it.

    Returns:
        The picture.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.apps.cli.inspect_picture import recording_picture
        >>> from pulsebayes.waveforms import Recording
        >>> made = Recording.from_arrays("made", {"ABP": np.ones(1250)}, fs=125, units={"ABP": "mmHg"})
        >>> recording_picture(made, {"windows": [], "judged": None, "duration_s": 10.0}).key
        'recording'
    """
    whole = (0.0, max(recording.duration_s, 1e-3))
    panels, rows = [], []
    for channel in recording.channels[:_MOST_CHANNELS]:
        times, values = _envelope(recording, channel.name)
        label = f"{channel.name[:18]} [{channel.unit or 'no unit'}]"
        marks: tuple[Mark, ...] = (Line(channel.name, times, values, channel.role or "ink", 0.8, legend=False),)
        panels.append(Panel(marks, y_label=label, x_range=whole))
        known = values[np.isfinite(values)]
        low, high = (f"{known.min():.4g}", f"{known.max():.4g}") if known.size else ("-", "-")
        rows.append((channel.name, channel.role or "-", channel.unit or "-", f"{channel.fs:g}", low, high))
    lanes = _lanes(report["windows"])
    for other, windows in report.get("other_windows", {}).items():
        lanes |= {f"{name} ({other})": found for name, found in _lanes(windows).items()}
    for name, stretches in lanes.items():
        colour = "refused" if name.startswith("refused") else "pick"
        spans = tuple(Span("", start, end, colour=colour, opacity=0.7) for start, end in stretches)
        panels.append(Panel(spans, y_label=name.removeprefix("refused: "), x_range=whole, y_range=(0, 1), height=0.35))
    refused = sum(not w["usable"] for w in report["windows"])
    alt = f"{len(recording.channels)} channels over {recording.duration_s:.0f} s; "
    kept = len(report["windows"]) - refused
    alt += f"{kept} of {len(report['windows'])} windows of {report['judged'] or 'none'} usable."
    table = Table(("channel", "role", "unit", "rate [Hz]", "least", "greatest"), tuple(rows))
    height = 110 * min(len(recording.channels), _MOST_CHANNELS) + 45 * len(lanes) + 80
    return Picture("recording", "Whole recording", alt, table, tuple(panels), shared_x=True, height=height)


def _envelope(recording: Recording, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest values of so many equal stretches, in order of time."""
    channel = recording.channel(name)
    times, values = [], []
    share = max(2, round(_POINTS * min(1.0, _BLOCK_S / max(channel.duration_s, 1e-9))))
    start, end = channel.start_s, channel.start_s + channel.duration_s
    while start < end - 1e-9:
        stop = min(start + _BLOCK_S, end)
        t, v = decimate(recording.times(name, start, stop), recording.values(name, start, stop), points=share)
        times.append(t)
        values.append(v)
        start = stop
    return (np.concatenate(times), np.concatenate(values)) if times else (np.zeros(0), np.zeros(0))


def _lanes(windows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Stretches by what was seen in them: refusals by reason, then findings by code; neighbours joined."""
    found: dict[str, list[tuple[float, float]]] = {}
    for window in windows:
        seen = [] if window["usable"] else [(f"refused: {window['reason']}", window["start_s"], window["end_s"])]
        seen += [(f["code"], f["start_s"], f["end_s"]) for f in window["findings"]] if window["usable"] else []
        for name, start, end in seen:
            stretches = found.setdefault(name, [])
            if stretches and start <= stretches[-1][1] + 0.1:
                stretches[-1] = (stretches[-1][0], max(end, stretches[-1][1]))
            else:
                stretches.append((start, end))
    return dict(sorted(found.items(), key=lambda item: (not item[0].startswith("refused"), item[0])))


def window_pictures(recording: Recording, report: Mapping[str, Any]) -> list[Picture]:
    r"""Example windows of the judged channel: the first usable one, one for each reason, one for each finding.

    Arguments:
        recording: The recording.
        report: What `inspect_recording` says of it.

    Returns:
        At most eight pictures.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.apps.cli.inspect_picture import window_pictures
        >>> from pulsebayes.waveforms import Recording
        >>> made = Recording.from_arrays("made", {"ABP": np.ones(1250)}, fs=125, units={"ABP": "mmHg"})
        >>> window_pictures(made, {"windows": [], "judged": "ABP"})
        []
    """
    chosen: dict[str, Mapping[str, Any]] = {}
    for window in report["windows"]:
        names = [f["code"] for f in window["findings"]] or ["usable"]
        for name in [f"refused: {window['reason']}"] if not window["usable"] else names:
            chosen.setdefault(name, window)
    order = sorted(chosen, key=lambda name: (name != "usable", not name.startswith("refused"), name))[:8]
    return [_window(recording, report["judged"], name, chosen[name], k) for k, name in enumerate(order)]


def _window(recording: Recording, channel: str, name: str, window: Mapping[str, Any], k: int) -> Picture:
    found = recording.channel(channel)
    start, end = window["start_s"], window["end_s"]
    times, values = decimate(
        recording.times(channel, start, end), recording.values(channel, start, end), points=_POINTS
    )
    marks: list[Mark] = [Line(channel, times, values, found.role or "ink", 1.2, legend=False)]
    places = [(f["start_s"], f["end_s"]) for f in window["findings"] if f["code"] == name]
    marks += [Span("", *place, colour="pick", opacity=0.2) for place in places]
    told = window["message"] or "; ".join(f["message"] for f in window["findings"]) or "nothing to remark"
    title = f"{name}, {start:.1f} to {end:.1f} s"
    panel = Panel(tuple(marks), x_label="time [s]", y_label=f"{channel[:18]} [{found.unit or 'no unit'}]")
    table = Table(("from [s]", "to [s]", "seen", "hint"), ((f"{start:.1f}", f"{end:.1f}", told, window["hint"] or ""),))
    return Picture(f"window{k}", title, f"{title}: {told}", table, (panel,), height=210)


def inspect_page(recording: Recording, report: Mapping[str, Any]) -> str:
    r"""A self-contained page of a recording: what it holds, where the gate objects, and examples.

    Arguments:
        recording: The recording.
        report: What `inspect_recording` says of it.

    Returns:
        The page; nothing in it is fetched from elsewhere.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.apps.cli.inspect_picture import inspect_page
        >>> from pulsebayes.waveforms import Recording
        >>> made = Recording.from_arrays("a<b", {"ABP": np.ones(1250)}, fs=125, units={"ABP": "mmHg"})
        >>> report = {"file": "a<b", "duration_s": 10.0, "findings": [], "windows": [], "judged": None}
        >>> page = inspect_page(made, {**report, "channels": [], "checks": []})
        >>> "a&lt;b" in page, "https://" in page
        (True, False)
    """
    usable = sum(w["usable"] for w in report["windows"])
    parts = [f'<h1>{escape(report["file"])}</h1><p class="notice">{NOTICE}</p>']
    parts.append(
        f"<p>{report['duration_s']:.1f} s, {len(report['channels'])} channels; {usable} of {len(report['windows'])} "
        f"windows of {escape(report['judged'] or 'no channel')} usable.</p>"
    )
    notes = [*report["findings"], *(c["message"] for c in report["checks"])]
    notes += [f"{c['name']}: {text}" for c in report["channels"] for text in c["findings"]]
    if notes:
        parts.append("<h2>Noticed</h2><ul>" + "".join(f"<li>{escape(text)}</li>" for text in notes) + "</ul>")
    parts.append(figure(recording_picture(recording, report)))
    examples = window_pictures(recording, report)
    parts += ["<h2>Example windows</h2>", *map(figure, examples)] if examples else []
    parts.append(_verdicts("Windows", report["windows"]))
    parts += [_verdicts(f"Windows of {name}", windows) for name, windows in report.get("other_windows", {}).items()]
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(report['file'])}: pulsebayes inspect</title>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><style>{read_style()}</style></head>'
        f'<body><main>{"".join(parts)}</main><footer><p class="notice">{NOTICE}</p></footer></body></html>\n'
    )


def _verdicts(title: str, windows: Sequence[Mapping[str, Any]]) -> str:
    """A table of the windows that are refused or have findings."""
    told = [w for w in windows if not w["usable"] or w["findings"]]
    if not told:
        return ""
    rows = []
    for w in told[:_MOST_ROWS]:
        text = w["message"] or "; ".join(f["message"] for f in w["findings"])
        verdict = "usable" if w["usable"] else f"refused: {w['reason']}"
        cells = (f"{w['start_s']:.1f}", f"{w['end_s']:.1f}", verdict, text, w["hint"] or "")
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    more = f"<p>and {len(told) - _MOST_ROWS} more</p>" if len(told) > _MOST_ROWS else ""
    head = "".join(f'<th scope="col">{t}</th>' for t in ("from [s]", "to [s]", "verdict", "seen", "hint"))
    return f"<h2>{escape(title)}</h2><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{more}"


def write_pictures(recording: Recording, report: Mapping[str, Any], plot: Path | None, page: Path | None) -> list[Path]:
    """Write the picture (PNG) and the page of a recording, those that are asked for."""
    if plot is not None:
        plot.write_bytes(draw_static(recording_picture(recording, report), form="png"))
    if page is not None:
        page.write_text(inspect_page(recording, report), encoding="utf-8")
    return [target for target in (plot, page) if target is not None]
