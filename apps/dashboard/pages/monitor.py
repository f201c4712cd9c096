r"""Monitor: the channels as a monitor shows them, numerals beside them, the gate's lane, and the picked window."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np
import streamlit as st

from ....inference.answer import Refusal
from ....waveforms.numerals import Numerals, read_numerals
from ....waveforms.quality import PULSATILE_ROLES
from ....waveforms.windows import Window, cut_windows
from ...figures.marks import Picture, number
from ...figures.palette import DARK
from ...figures.waves import Lane, Trace, overview, strip
from .. import look, session
from ..desk import Task
from ..words import five_questions

__all__ = ["monitor"]

_MOST_SHOWN = 4
_BEATS_UP_TO_S = 60.0
_MOVES = {"◀ Back": -0.5, "Forward ▶": 0.5}
_ZOOMS = {"Zoom in": 0.5, "Zoom out": 2.0}


def monitor() -> None:
    r"""Show the channels and pick a window.

    Example:
        >>> monitor.__name__
        'monitor'
    """
    look.heading("Monitor", "Drag over the strip to pick the window that is estimated.")
    case = look.need_case()
    _questions(case)
    chosen = _channels(case)
    whole = _overview(case)
    _controls(case)
    low, high = session.view(case)
    traces = [_trace(case, name, low, high) for name in chosen]
    shown = strip(traces, _lanes_in_view(case, low, high), (low, high), session.window(case))
    left, right = st.columns([4, 1], gap="small")
    with left:
        picked = _dragged(shown.key, lambda box: session.pick(box[0], case))
        look.picture(shown, beside=False, on_select=picked)
    with right:
        _numerals(case, chosen)
    look.details(shown)
    look.details(whole)


def _questions(case: session.Case) -> None:
    if session.main_channel(case) is None:
        st.warning(
            "The model reads arterial pressure, and this recording has no single channel called so. "
            "Say on *Open* which one it is.",
            icon=":material/help:",
        )
        return
    try:
        result = session.result(case)
    except (ValueError, OSError) as error:
        look.failure(error)
        return
    look.cards(five_questions(result))
    if isinstance(result, Refusal):
        look.next_usable(case)
    elif "skipped_s" in st.session_state and st.session_state["skipped_s"] == session.window(case)[0]:
        skipped = st.session_state["skipped_s"]
        st.caption(f"The first {skipped:g} s cannot be answered, so the first window that can was picked.")


def _channels(case: session.Case) -> list[str]:
    r"""Names of the channels shown: the model's first, then pulses, then the rest."""
    order = sorted(
        case.recording.channels,
        key=lambda c: (c.name != session.main_channel(case), c.role not in PULSATILE_ROLES, c.role is None),
    )
    names = [c.name for c in order]
    if len(names) <= 2:
        return names
    picked = st.pills("Channels", names, selection_mode="multi", default=names[:3], key="channels")
    return [n for n in names if n in picked][:_MOST_SHOWN] or names[:1]


def _overview(case: session.Case) -> Picture:
    name = session.main_channel(case) or case.recording.channels[0].name
    task = gate_task(case)
    lanes = [] if task is None else list(task.results)
    whole = case.recording.duration_s
    view = session.view(case)
    channel = case.recording.channel(name)
    times, values = case.pyramid(name).draw(0.0, whole)
    shown = overview(Trace(name, channel.role, channel.unit, times, values), lanes, view, whole)
    viewed = _dragged(shown.key, lambda box: session.show(box[0], box[1], case))
    look.picture(shown, beside=False, on_select=viewed)
    with st.container():  # a place of its own, so that nothing below it moves when the bar goes
        if task is not None and task.running:
            st.progress(task.progress, text=f"The gate judges the recording: {len(lanes)} windows so far")
            _poll(task)
    return shown


@st.fragment(run_every=1.0)
def _poll(task: Task) -> None:
    r"""Draw the page again as soon as the gate is through."""
    if not task.running:
        st.rerun()


def gate_task(case: session.Case) -> Task | None:
    r"""The gate's judgement of the whole recording, in the background."""
    name = session.main_channel(case)
    if name is None:
        return None
    contract = session.model()[0].contract
    total = max(int(case.recording.duration_s // contract.window_s), 1)

    def work() -> Iterator[Lane]:
        windows = cut_windows(
            case.recording, (name,), length_s=contract.window_s, every_s=contract.window_s, fs=contract.fs
        )
        return map(_lane, windows)

    return session.desk().task(("gate", *case.key), total, work)


def _lane(window: Window) -> Lane:
    found = tuple(dict.fromkeys(f.message for f in window.verdict.findings))
    return Lane(window.start_s, window.end_s, window.verdict.reason or "", found)


def _lanes_in_view(case: session.Case, low: float, high: float) -> list[Lane]:
    task = gate_task(case)
    lanes = [] if task is None else list(task.results)
    return [lane for lane in lanes if lane.end_s > low and lane.start_s < high]


def _trace(case: session.Case, name: str, low: float, high: float) -> Trace:
    channel = case.recording.channel(name)
    times, values = case.pyramid(name).draw(low, high)
    beats: tuple[Any, Any] = ((), ())
    if high - low <= _BEATS_UP_TO_S and channel.role in PULSATILE_ROLES:
        found = _numbers(case, name, low, high).beats
        known = np.isfinite(found.peaks_s)
        start = max(low, channel.start_s)
        beats = (start + found.peaks_s[known], found.peaks[known])
    return Trace(name, channel.role, channel.unit, times, values, *beats)


def _numbers(case: session.Case, name: str, low: float, high: float) -> Numerals:
    channel = case.recording.channel(name)
    start = max(low, channel.start_s)

    def make() -> Numerals:
        return read_numerals(case.recording.values(name, start, max(high, start)), channel.fs, role=channel.role)

    made: Numerals = session.desk().keep(("numerals", *case.key, name, low, high), make)
    return made


def _controls(case: session.Case) -> None:
    r"""Buttons and fields that do what dragging does, for keyboards and for exact times.

    They act in callbacks, before the page is drawn, so that it is drawn once.
    """
    low, high = session.view(case)
    whole, width = case.recording.duration_s, high - low
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name, share in _MOVES.items():
            ends = (low + share * width, high + share * width, case)
            st.button(
                name, help="Move the view by half its length", key=f"move{share}", on_click=session.show, args=ends
            )
        for name, factor in _ZOOMS.items():
            middle = 0.5 * sum(session.window(case)) if factor < 1 else 0.5 * (low + high)
            ends = (middle - 0.5 * factor * width, middle + 0.5 * factor * width, case)
            st.button(name, key=f"zoom{factor}", on_click=session.show, args=ends)
        st.button("Whole", help="Show the whole recording", key="whole", on_click=session.show, args=(0.0, whole, case))
        _fields(case, low, high)


def _fields(case: session.Case, low: float, high: float) -> None:
    r"""The view and the window in seconds."""
    state, whole = st.session_state, case.recording.duration_s
    first = session.window(case)[0]
    last = max(whole - session.window_s(), 0.0)
    state.update(view_from=low, view_length=high - low, window_from=min(first, last))

    def view() -> None:
        session.show(state["view_from"], state["view_from"] + state["view_length"], case)

    def window() -> None:
        session.pick(state["window_from"], case)

    seconds: dict[str, Any] = {"step": 1.0, "format": "%.1f"}
    st.number_input("View from [s]", 0.0, max(whole - 1.0, 0.0), key="view_from", on_change=view, width=150, **seconds)
    st.number_input("View length [s]", min(1.0, whole), whole, key="view_length", on_change=view, width=150, **seconds)
    label = f"Window from [s] ({session.window_s():g} s long)"
    st.number_input(label, 0.0, last, key="window_from", on_change=window, width=210, **seconds)


def _numerals(case: session.Case, names: list[str]) -> None:
    r"""What a monitor prints: measured in the picked window, beside the strip."""
    low, high = session.window(case)
    parts = []
    for name in names:
        channel = case.recording.channel(name)
        if channel.role not in PULSATILE_ROLES and not session.is_pressure(channel.role):
            continue  # the mean of an ECG or of a chest band says nothing
        n = _numbers(case, name, low, high)
        colour = DARK.get(channel.role or "ink", DARK["ink"])
        parts.append(f'<div style="color:{colour}">{_numeral(escape(name), channel.role, channel.unit, n)}</div>')
    joined = "".join(parts)
    st.html(f'<div class="pb-monitor" role="group" aria-label="Measured in the picked window"><dl>{joined}</dl></div>')
    st.caption("Measured in the picked window, not estimated.")


def _numeral(name: str, role: str | None, unit: str | None, n: Numerals) -> str:
    unit = escape(unit or "")
    if role in PULSATILE_ROLES and session.is_pressure(role):
        pressures = f"{number(n.systolic, 0)}/{number(n.diastolic, 0)} ({number(n.mean, 0)})"
        rows: tuple[tuple[str, str, str], ...] = (
            (f"{name} sys/dia (mean)", pressures, unit),
            ("pulse rate", number(n.rate, 0), "/min"),
        )
    elif role in PULSATILE_ROLES:
        rows = ((f"{name} pulse rate", number(n.rate, 0), "/min"),)
    else:
        rows = ((f"{name} mean", number(n.mean, 1), unit),)
    return "".join(f'<dt>{a}</dt><dd>{b} <span class="pb-unit">{c}</span></dd>' for a, b, c in rows)


def _dragged(chart: str, act: Any) -> Any:
    r"""What acts on a new drag once: Streamlit gives the same selection again at every later run."""

    def take() -> None:
        event = st.session_state.get(f"chart-{chart}")
        boxes = (event or {}).get("selection", {}).get("box", [])
        box = tuple(round(float(v), 3) for v in sorted(boxes[0]["x"])) if boxes else ()
        if box and box != st.session_state.get(f"drag-{chart}"):
            st.session_state[f"drag-{chart}"] = box
            act(box)

    return take
