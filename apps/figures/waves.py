r"""The channels of a recording as a monitor shows them, with the gate's lane and the window that is picked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .marks import Line, Mark, Panel, Picture, Points, Span, Table, listed, number

__all__ = ["Lane", "Trace", "overview", "strip"]


@dataclass(frozen=True)
class Trace:
    r"""One channel of a stretch, ready to be drawn.

    Arguments:
        name: Name of the channel.
        role: Its role.
        unit: Its unit.
        times: Times [s].
        values: Values, NaN where missing.
        beats_s: Times of systolic peaks [s].
        peaks: Level at them.

    Example:
        >>> Trace("ABP", "ART", "mmHg", np.zeros(2), np.zeros(2)).label
        'ABP [mmHg]'
    """

    name: str
    role: str | None
    unit: str | None
    times: Float[np.ndarray, " points"]
    values: Float[np.ndarray, " points"]
    beats_s: Float[np.ndarray, " beats"] | tuple[float, ...] = ()
    peaks: Float[np.ndarray, " beats"] | tuple[float, ...] = ()

    @property
    def label(self) -> str:
        r"""Name and unit."""
        return f"{self.name} [{self.unit or 'no unit'}]"


@dataclass(frozen=True)
class Lane:
    r"""What the quality gate says about one stretch.

    Arguments:
        start_s: Start [s].
        end_s: End [s].
        reason: Why it is refused; empty where it is usable.
        findings: What was seen besides.

    Example:
        >>> Lane(0.0, 8.0, "flat").verdict
        'refused: flat'
    """

    start_s: float
    end_s: float
    reason: str = ""
    findings: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        r"""The verdict in words."""
        if self.reason:
            return f"refused: {self.reason}"
        return "usable, with findings" if self.findings else "usable"


def strip(
    traces: Sequence[Trace],
    lanes: Sequence[Lane],
    view: tuple[float, float],
    window: tuple[float, float],
    *,
    height: int = 0,
) -> Picture:
    r"""The visible stretch: a panel a channel, the gate's lane below, the picked window marked.

    Arguments:
        traces: Channels.
        lanes: Verdicts of the gate.
        view: Start and end of the visible stretch [s].
        window: Start and end of the picked window [s].
        height: Height [px]; 0 for a fit.

    Returns:
        The picture.

    Example:
        >>> trace = Trace("ABP", "ART", "mmHg", np.arange(3.0), np.array([80.0, 120.0, 80.0]))
        >>> strip([trace], [Lane(0.0, 8.0)], (0.0, 8.0), (0.0, 8.0)).pick
        'box'
    """
    panels = []
    for trace in traces:
        marks: list[Mark] = [Span("", *window, colour="pick", opacity=0.16)]
        colour = trace.role or "ink"
        marks.append(Line(trace.name, trace.times, trace.values, colour, 1.4, legend=False))
        if len(trace.beats_s):
            marks.append(Points("beats", trace.beats_s, trace.peaks, colour, "triangle-down", 7, legend=False))
        panels.append(Panel(tuple(marks), y_label=trace.label, x_range=view))
    panels.append(_lane_panel(lanes, view, window, "gate"))
    table = Table(
        ("channel", "role", "least", "greatest", "unit", "beats marked"),
        tuple(_trace_row(trace) for trace in traces),
    )
    refused = [lane for lane in lanes if lane.reason]
    said = (
        listed([f"{t.name} from {_least(t)} to {_greatest(t)} {t.unit or ''}".strip() for t in traces]) or "no channel"
    )
    judged = f"{len(lanes) - len(refused)} of {len(lanes)} windows usable" if lanes else "quality not judged"
    alt = f"Waveforms from {view[0]:.1f} to {view[1]:.1f} s: {said}; {judged}; "
    alt += f"the picked window is {window[0]:.1f} to {window[1]:.1f} s."
    shown = height or 150 * len(traces) + 120
    return Picture(
        "monitor", "Waveforms", alt, table, tuple(panels), shared_x=True, height=shown, strip=True, pick="box"
    )


def overview(trace: Trace, lanes: Sequence[Lane], view: tuple[float, float], duration_s: float) -> Picture:
    r"""The whole recording in one line, with the visible stretch marked.

    Arguments:
        trace: The channel that the model reads, or the first.
        lanes: Verdicts of the gate so far.
        view: Start and end of the visible stretch [s].
        duration_s: Length of the recording [s].

    Returns:
        The picture.

    Example:
        >>> trace = Trace("ABP", "ART", "mmHg", np.arange(3.0), np.array([80.0, 120.0, 80.0]))
        >>> overview(trace, [], (0.0, 8.0), 60.0).key
        'overview'
    """
    marks: tuple[Mark, ...] = (
        Span("", *view, colour="pick", opacity=0.22),
        Line(trace.name, trace.times, trace.values, trace.role or "ink", 1.0, legend=False),
    )
    whole = (0.0, duration_s)
    panels = (Panel(marks, y_label=trace.name, x_range=whole, height=2.0), _lane_panel(lanes, whole, view))
    merged = merge_lanes(lanes)
    rows = tuple((f"{m.start_s:.1f}", f"{m.end_s:.1f}", m.verdict) for m in merged)
    lost = sum(lane.end_s - lane.start_s for lane in merged if lane.reason)
    alt = f"The whole recording of {duration_s:.0f} s; visible is {view[0]:.1f} to {view[1]:.1f} s; "
    alt += f"{lost:.0f} s are refused."
    table = Table(("from [s]", "to [s]", "verdict of the gate"), rows)
    return Picture("overview", "Whole recording", alt, table, panels, shared_x=True, height=170, strip=True, pick="box")


def merge_lanes(lanes: Sequence[Lane]) -> list[Lane]:
    r"""Neighbouring stretches with the same verdict as one."""
    merged: list[Lane] = []
    for lane in sorted(lanes, key=lambda lane: lane.start_s):
        last = merged[-1] if merged else None
        if last is not None and last.verdict == lane.verdict and lane.start_s <= last.end_s + 1e-6:
            seen = tuple(dict.fromkeys((*last.findings, *lane.findings)))
            merged[-1] = Lane(last.start_s, max(last.end_s, lane.end_s), last.reason, seen)
        else:
            merged.append(lane)
    return merged


_KINDS: Mapping[str, tuple[str, float, str]] = {
    "usable": ("good", 1.0, "usable"),
    "usable, with findings": ("caution", 2.0, "findings"),
    "refused": ("bad", 3.0, "refused"),
}


def _lane_panel(
    lanes: Sequence[Lane], view: tuple[float, float], window: tuple[float, float], label: str = ""
) -> Panel:
    r"""Usable low and green, findings in the middle, refused high and red: told by height, colour and word."""
    marks: list[Mark] = [Span("", *window, colour="pick", opacity=0.16)]
    by_kind: dict[str, tuple[list[float], list[float]]] = {}
    for lane in merge_lanes(lanes):
        kind = "refused" if lane.reason else lane.verdict
        colour, level, _ = _KINDS[kind]
        x, y = by_kind.setdefault(kind, ([], []))
        x += [lane.start_s, lane.end_s, float("nan")]
        y += [level, level, float("nan")]
    for kind, (colour, _, name) in _KINDS.items():
        x, y = by_kind.get(kind, ([], []))
        if x:
            dash = "dot" if kind == "refused" else "solid"
            marks.append(Line(name, x, y, colour, 7, dash=dash))
    return Panel(
        tuple(marks), y_label=label, x_label="time [s]", x_range=view, y_range=(0, 4), height=0.35, ticks=False
    )


def _trace_row(trace: Trace) -> tuple[str, ...]:
    beats = str(len(trace.beats_s)) if len(trace.beats_s) else "–"
    return trace.name, trace.role or "unknown", _least(trace), _greatest(trace), trace.unit or "none", beats


def _least(trace: Trace) -> str:
    return number(float(np.nanmin(trace.values)) if np.isfinite(trace.values).any() else float("nan"), 1)


def _greatest(trace: Trace) -> str:
    return number(float(np.nanmax(trace.values)) if np.isfinite(trace.values).any() else float("nan"), 1)
