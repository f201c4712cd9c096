r"""Trend: each quantity over the recording, with bands, gaps where windows were refused, references and events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import streamlit as st

from ....calibration.load import Calibrated
from ....calibration.reference import ReferenceTableError, read_reference
from ....inference.answer import Answer, Prior, Refusal
from ....inference.answering import AnsweredWindow, Question, answer_recording
from ....inference.pooling.answering import Pool, answer_pooled
from ...figures.estimates import quantity_of
from ...figures.trends import shared, trend
from .. import look, session
from ..desk import Task

__all__ = ["trend_page"]

_EVERY = {"every window": 8.0, "every 16 s": 16.0, "every 30 s": 30.0, "every minute": 60.0, "every 5 minutes": 300.0}
_POOLS = {
    "pooled: the whole recording": "recording",
    "pooled: up to each window": "causal",
    "each window alone": "window",
}
_MOST = 240
_SHOWN = ("CO", "SVR", "MAP", "HR")


def trend_page() -> None:
    r"""Answer the recording in the background and draw what is there.

    Example:
        >>> trend_page.__name__
        'trend_page'
    """
    look.heading("Trend", "Each quantity over the recording; click a point to pick its window.")
    case = look.need_case()
    if session.main_channel(case) is None:
        st.warning("The model reads arterial pressure: say on *Open* which channel that is.")
        return
    task, about = trend_task(case)
    if task is None:
        return
    _progress(task, about)
    windows: list[Answer | Refusal] = list(task.results)
    if task.error is not None:
        look.failure(task.error)
    if not windows:
        st.info("The first windows are being estimated.", icon=":material/hourglass_top:")
        return
    _draw(case, windows)


def trend_task(case: session.Case) -> tuple[Task | None, Any]:
    r"""The estimates of the whole recording, in the background, and what they are known by."""
    length = case.recording.duration_s
    usual = next((k for k, v in _EVERY.items() if length / v <= _MOST), "every 5 minutes")
    one, other, two = st.columns([1, 1, 2], vertical_alignment="bottom")
    chosen = one.selectbox("Estimate", list(_EVERY), index=list(_EVERY).index(usual), key="every")
    every = _EVERY[chosen]
    layers, prior = session.calibrated()
    pool: str = layers.offered_pools[0]
    offered = [words for words, kind in _POOLS.items() if kind in layers.offered_pools]
    if len(offered) > 1:
        pool = _POOLS[
            other.selectbox(
                "Windows are told by",
                offered,
                key="pool",
                help="Compliance and wave speed hardly change in a patient. Pooled, all windows tell them together.",
            )
        ]
    bundle = layers.bundle
    question = replace(session.settings(), every_s=max(every, bundle.contract.window_s), n_draws=1000)
    about = ("trend", *case.key, session.bundle_key(), question, pool)
    if session.desk().known(about) is None and length / question.every_s > 4 * _MOST:
        two.warning(f"This is {length / question.every_s:.0f} windows: it may take some minutes.")
        if not two.button("Estimate them"):
            return None, about

    def work() -> Iterator[Answer | Refusal]:
        found = _answered(layers, case, question, prior, pool)
        own = layers.for_question(question)
        return (_slim(own.finish(window, prior, seed=question.seed)) for window in found)

    return session.desk().task(about, _count(case, question), work), about


def _answered(
    layers: Calibrated, case: session.Case, question: Question, prior: Prior, pool: str
) -> Iterator[AnsweredWindow]:
    if pool == "window" or layers.pooling is None:
        return answer_recording(layers.bundle, case.recording, question, prior=prior)
    kind: Pool = "causal" if pool == "causal" else "recording"
    return answer_pooled(layers.bundle, layers.pooling, case.recording, question, pool=kind, prior=prior)


def _slim(window: AnsweredWindow) -> Answer | Refusal:
    r"""The answer without its draws: an hour of them would fill the memory."""
    return replace(window.result, draws={}) if isinstance(window.result, Answer) else window.result


def _count(case: session.Case, question: Question) -> int:
    spare = case.recording.duration_s - session.window_s()
    return max(int(spare // question.every_s) + 1, 1)


def _progress(task: Task, about: Any) -> None:
    slot = st.container()
    if task.running:
        with slot:
            _poll(task)
            if st.button("Stop here", key="stop"):
                task.cancel()
                st.rerun()
    elif task.state == "cancelled":
        with slot:
            st.warning(f"Stopped after {len(task.results)} of {task.total} windows.")
            if st.button("Go on from the start", key="again"):
                session.desk().forget(about)
                st.rerun()


@st.fragment(run_every=1.0)
def _poll(task: Task) -> None:
    r"""Tell the progress once a second, and draw the page again every five windows or at the end."""
    st.progress(task.progress, text=f"{len(task.results)} of {task.total} windows estimated")
    seen = st.session_state.setdefault("trend_seen", 0)
    if not task.running or len(task.results) >= max(2 * seen, 6):
        st.session_state["trend_seen"] = len(task.results) if task.running else 0
        st.rerun()


def _draw(case: session.Case, windows: list[Answer | Refusal]) -> None:
    answered = [w for w in windows if isinstance(w, Answer)]
    known = list(answered[0].estimates) if answered else list(_SHOWN)
    names = st.pills(
        "Quantities", known, selection_mode="multi", default=[n for n in _SHOWN if n in known], key="trend_names",
        format_func=lambda n: f"{quantity_of(n).name} ({n})",
    )  # fmt: skip
    if not names:
        st.info("Choose a quantity.")
        return
    shown = trend(
        windows,
        names,
        duration_s=case.recording.duration_s,
        references=st.session_state.get(f"reference-{case.source.identity}", {}),
        events=st.session_state.get(f"events-{case.source.identity}", ()),
        picked=session.window(case),
    )
    st.caption(
        "Line: median; dark band: 50 %; pale band: 90 %; violet stretches: refused windows; dotted level lines: usual "
        f"range; ◆ reference device. {shared(windows)}"
    )
    event = look.picture(shown)
    _jump(case, event)
    _laid_over(case)


def _jump(case: session.Case, event: Any) -> None:
    st.markdown("**Go to a window.** Click a point above, or:")
    one, two = st.columns([1, 4], vertical_alignment="bottom")
    last = max(case.recording.duration_s - session.window_s(), 0.0)
    at = one.number_input("Window from [s]", 0.0, last, min(session.window(case)[0], last), step=8.0, key="trend_at")
    if two.button("Show it on the monitor", key="trend_go"):
        session.pick(at, case)
        st.switch_page(st.session_state["pages"]["monitor"])
    points = (event or {}).get("selection", {}).get("points", []) if event is not None else []
    starts = [p.get("customdata") for p in points if p.get("customdata") is not None]
    start = starts[0][0] if starts and isinstance(starts[0], (list, tuple)) else (starts[0] if starts else None)
    if start is not None and start != st.session_state.get("trend_click"):
        st.session_state["trend_click"] = start
        session.pick(float(start), case)
        st.switch_page(st.session_state["pages"]["monitor"])


def _laid_over(case: session.Case) -> None:
    r"""Fields for a reference device's numbers and for events."""
    with st.expander("Lay a reference device or events over it"):
        st.caption(
            "A CSV file with a column `time [s]` and columns such as `CO [L/min]`; a column `event` for what happened. "
            "It stays in this session."
        )
        dropped = st.file_uploader("Reference or events", type=["csv"], key="reference-file", max_upload_size=5)
        if dropped is None:
            return
        try:
            found = read_reference(dropped.getvalue().decode("utf-8-sig", errors="replace"))
        except ReferenceTableError as error:
            look.failure(error)
            return
        key = case.source.identity
        new = (found.values, found.events)
        if (st.session_state.get(f"reference-{key}"), st.session_state.get(f"events-{key}")) != new:
            st.session_state[f"reference-{key}"], st.session_state[f"events-{key}"] = new
            st.rerun()
        st.success(f"{sum(map(len, found.values.values()))} values and {len(found.events)} events are laid over it.")
