r"""What a visitor looks at: recording, stretch, window, model; kept between pages and in the address bar.

The address holds `rec` (an identity, never a name or path), `t` (start of the picked window), `view` (start and end of
the visible stretch), `level` and `q` (a quantity), so that it can be passed on to someone with the same recording.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st

from ...calibration.load import Calibrated, load_calibrated
from ...inference.answer import Answer, Prior, Refusal
from ...inference.answering import AnsweredWindow, Question, answer_recording
from ...inference.bundle import Bundle, find_bundle, shipped_bundles
from ...waveforms.pyramid import Pyramid
from ...waveforms.recording import Recording
from ...waveforms.roles import PRESSURE_ROLES
from .desk import Desk
from .library import Labels, Library, Source

OPENED = "PULSEBAYES_DASHBOARD_OPENED"
MODEL = "PULSEBAYES_DASHBOARD_MODEL"
USUAL_MODEL = "radial-abp"
FIRST_VIEW_S = 30.0
SEARCH_S = 1.0
"""Longest search for a window that can be answered, in the thread's own processor time [s]."""
_DEMO = Path(__file__).parents[1] / "cli" / "demo_data"


@dataclass(frozen=True)
class Case:
    r"""The recording that is open, with what is drawn and asked of it.

    Arguments:
        source: Where it comes from.
        labels: Roles, units and rate that the user states.
        recording: The recording.

    Example:
        >>> Case.__dataclass_fields__["source"].type
        'Source'
    """

    source: Source
    labels: Labels
    recording: Recording

    @property
    def key(self) -> tuple[str, Labels]:
        r"""What everything kept for it is known by."""
        return self.source.identity, self.labels

    def pyramid(self, name: str) -> Pyramid:
        r"""Extremes of a channel at every zoom, made once.

        Arguments:
            name: Name of the channel.
        """
        made: Pyramid = desk().keep(("pyramid", *self.key, name), lambda: Pyramid.of(self.recording, name))
        return made


@st.cache_resource(show_spinner=False)
def library() -> Library:
    r"""The recordings that this app may open."""
    opened = tuple(Path(p) for p in os.environ.get(OPENED, "").split(os.pathsep) if p)
    return Library(opened, {"Simulated patient, two minutes, radial line": _DEMO / "simulated_patient.hea"})


@st.cache_resource(show_spinner=False)
def desk() -> Desk:
    r"""Work in the background, and what was made once."""
    return Desk()


@st.cache_resource(show_spinner=False, max_entries=2)
def _bundle(folder: str, stamp: tuple[int, ...]) -> tuple[Calibrated, Prior]:
    import torch

    torch.set_num_threads(1)
    found = load_calibrated(Path(folder))
    return found, Prior.of(found.bundle)


def model_name() -> str:
    r"""The model in use: the one named at the start, or the shipped one that `infer` takes."""
    named = os.environ.get(MODEL, "")
    shipped = shipped_bundles()
    first = USUAL_MODEL if USUAL_MODEL in shipped else next(iter(shipped), "")
    return st.session_state.get("model") or named or first


def calibrated() -> tuple[Calibrated, Prior]:
    r"""The model in use with its calibration layers, and its prior, loaded once."""
    folder = find_bundle(model_name())
    files = (folder / name for name in ("bundle.json", "rope.json", "conformal.json"))
    return _bundle(str(folder), tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in files))


def model() -> tuple[Bundle, Prior]:
    r"""The model in use and its prior."""
    found, prior = calibrated()
    return found.bundle, prior


def settings() -> Question:
    r"""Level, draws and seed that the visitor asks for."""
    return Question(level=float(st.session_state.get("level", 0.9)), n_draws=2000, seed=0)


def start() -> None:
    r"""Take over what the address says, once a session; a file named at the start is open from the start."""
    if st.session_state.get("started"):
        return
    st.session_state["started"] = True
    st.session_state.setdefault("own", [])
    asked = st.query_params
    only = library().named()
    identity = asked.get("rec", only[0].identity if len(only) == 1 else "")
    if not identity:
        return
    if library().find(identity) is None:
        st.session_state["missing"] = True
        return
    st.session_state["rec"] = identity
    st.session_state["straight_on"] = "rec" not in asked
    if "t" in asked:
        st.session_state["start_s"] = _seconds(asked["t"], 0.0)
    first, _, last = asked.get("view", "").partition("-")
    low, high = _seconds(first, 0.0), _seconds(last, 0.0)
    if high > low:
        st.session_state["view"] = (low, high)
    level = _seconds(asked.get("level", ""), 0.9)
    st.session_state["level"] = level if 0.5 <= level <= 0.99 else 0.9
    if asked.get("q", "") in _names():
        st.session_state["quantity"] = asked["q"]


def look_at(identity: str, labels: Labels = Labels()) -> None:  # noqa: B008
    r"""Open another recording.

    Arguments:
        identity: Its identity.
        labels: What the user says over it.
    """
    same = st.session_state.get("rec") == identity
    st.session_state.update(rec=identity, labels=labels, missing=False)
    if not same:
        for name in ("start_s", "skipped_s", "view", "drag-monitor", "drag-overview", "channels"):
            st.session_state.pop(name, None)


def case() -> Case | None:
    r"""The recording that is open, or None.

    Raises:
        RecordingError: If it cannot be read.
    """
    identity = st.session_state.get("rec")
    source = library().find(identity, st.session_state.get("own", ())) if identity else None
    if source is None:
        return None
    labels = st.session_state.get("labels", Labels())
    made: Case = desk().keep(
        ("case", source.identity, labels), lambda: Case(source, labels, library().read(source, labels)), most=256
    )
    return made


def case_key() -> tuple[str, Labels]:
    r"""What the open recording is known by."""
    return str(st.session_state.get("rec")), st.session_state.get("labels", Labels())


def pick(start_s: float, case: Case) -> None:
    r"""Pick the window that starts at a second, and keep it visible.

    Arguments:
        start_s: Where it starts [s].
        case: The recording.
    """
    length = window_s()
    last = max(case.recording.duration_s - length, 0.0)
    start_s = min(max(start_s, 0.0), last)
    st.session_state["start_s"] = round(start_s, 2)
    low, high = view(case)
    if not (low <= start_s and start_s + length <= high + 1e-6):
        show(start_s + 0.5 * length - 0.5 * (high - low), start_s + 0.5 * length + 0.5 * (high - low), case)


def show(start_s: float, end_s: float, case: Case) -> None:
    r"""Show a stretch, at least one second and not beyond the recording.

    Arguments:
        start_s: Start [s].
        end_s: End [s].
        case: The recording.
    """
    whole = case.recording.duration_s
    width = min(max(end_s - start_s, 1.0), whole)
    low = min(max(start_s, 0.0), whole - width)
    st.session_state["view"] = (round(low, 2), round(low + width, 2))


def view(case: Case) -> tuple[float, float]:
    r"""The visible stretch [s]."""
    whole = case.recording.duration_s
    low, high = st.session_state.get("view", (0.0, min(FIRST_VIEW_S, whole)))
    high = min(high, whole)
    return (low, high) if high - low >= min(1.0, whole) - 1e-6 and low >= 0 else (0.0, min(FIRST_VIEW_S, whole))


def window_s() -> float:
    r"""Length of the window that the model reads [s]."""
    return model()[0].contract.window_s


def window(case: Case) -> tuple[float, float]:
    r"""The picked window [s]."""
    last = max(case.recording.duration_s - window_s(), 0.0)
    start_s = min(max(float(st.session_state.get("start_s", 0.0)), 0.0), last)
    return start_s, min(start_s + window_s(), case.recording.duration_s)


def answered(case: Case) -> AnsweredWindow:
    r"""What the picked window is answered, made once.

    Raises:
        RecordingError: If the recording has no channel that the model reads, or not its unit.
    """
    return answering(case, *window(case))()


def answering(case: Case, start_s: float, end_s: float) -> Callable[[], AnsweredWindow]:
    r"""What answers a window, once; it needs no visitor any more, so that a thread may call it.

    Arguments:
        case: The recording.
        start_s: Start of the window [s].
        end_s: Its end [s].
    """
    layers, prior = calibrated()
    question, kept = replace(settings(), start_s=start_s, end_s=end_s), desk()

    def make() -> AnsweredWindow:
        found = next(answer_recording(layers.bundle, case.recording, question, prior=prior))
        return layers.finish(found, prior, seed=question.seed)

    about = ("window", *case.key, bundle_key(), question)

    def answer() -> AnsweredWindow:
        made: AnsweredWindow = kept.keep(about, make)
        return made

    return answer


def find_usable(case: Case, from_s: float) -> float | None:
    r"""Start of the first window that is answered, looked for during a second at most.

    Arguments:
        case: The recording.
        from_s: Where to begin [s].

    Returns:
        Its start [s]: of one that the gate accepts where none is answered, None where there is neither.

    Raises:
        RecordingError: If the recording has no channel that the model reads.
    """
    length, start_s, end = window_s(), from_s, time.thread_time() + SEARCH_S
    passed: float | None = None
    while start_s + length <= case.recording.duration_s + 1e-6 and time.thread_time() < end:
        found = answering(case, start_s, start_s + length)().result
        if isinstance(found, Answer):
            return start_s
        if found.reason == "outside" and passed is None:
            passed = start_s
        start_s = round(start_s + length, 2)
    return passed


def begin_at_usable(case: Case) -> None:
    r"""Pick the first window that can be answered where the visitor has not picked one."""
    if "start_s" in st.session_state or main_channel(case) is None:
        return
    st.session_state["start_s"] = 0.0
    try:
        found = find_usable(case, 0.0)
    except (ValueError, OSError):
        return
    if found:
        pick(found, case)
        st.session_state["skipped_s"] = found


def result(case: Case) -> Answer | Refusal:
    r"""The answer or refusal of the picked window."""
    return answered(case).result


def bundle_key() -> str:
    r"""What the model in use is known by."""
    found = calibrated()[0]
    layers = f"{found.rope is not None:d}{found.conformal is not None:d}"
    return f"{model_name()}:{found.bundle.training.get('fingerprint', '')}:{layers}"


def main_channel(case: Case) -> str | None:
    r"""Name of the channel that the model reads, or None."""
    role = model()[0].contract.role
    fitting = [c.name for c in case.recording.channels if c.role == role]
    return fitting[0] if len(fitting) == 1 else None


def write_address() -> None:
    r"""Put what is looked at into the address bar, if it has changed."""
    wanted: dict[str, str] = {}
    found = st.session_state.get("rec")
    if found and found not in st.session_state.get("own", ()):
        wanted["rec"] = found
    if found:
        wanted["t"] = f"{float(st.session_state.get('start_s', 0.0)):g}"
        if "view" in st.session_state:
            wanted["view"] = "{:g}-{:g}".format(*st.session_state["view"])
        if st.session_state.get("level", 0.9) != 0.9:
            wanted["level"] = f"{st.session_state['level']:g}"
        if st.session_state.get("quantity"):
            wanted["q"] = st.session_state["quantity"]
    if dict(st.query_params) != wanted:
        st.query_params.from_dict(wanted)


def is_pressure(role: str | None) -> bool:
    r"""Whether a role is a blood pressure."""
    return role in PRESSURE_ROLES


def _names() -> list[str]:
    return list(model()[0].outputs.reported)


def _seconds(text: Any, default: float) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return default
    return value if math.isfinite(value) and value >= 0 else default
