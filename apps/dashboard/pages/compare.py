r"""Compare: estimates against a reference device, as agreement and as trending."""

from __future__ import annotations

import streamlit as st

from ....calibration.agreement import agree, pair_up, track
from ....calibration.reference import Reference, ReferenceTableError, read_reference
from ....inference.answer import Answer
from ...figures.estimates import quantity_of
from ...figures.evidence import agreement, trending
from .. import look
from . import trend as trend_of

__all__ = ["compare"]

_FEWEST = 3
_ZONES = {"CO": 0.5, "SV": 5.0, "HR": 3.0, "MAP": 3.0, "SVR": 100.0}


def compare() -> None:
    r"""Show agreement with a reference.

    Example:
        >>> compare.__name__
        'compare'
    """
    look.heading("Compare", "Do the estimates agree with a reference device, and do they follow it?")
    case = look.need_case()
    key = case.source.identity
    values = st.session_state.get(f"reference-{key}", {})
    if not values:
        _ask(key)
        return
    task, _ = trend_of.trend_task(case)
    if task is None or not task.results:
        st.info("The recording is being estimated: *Trend* shows how far it is.", icon=":material/hourglass_top:")
        st.page_link(st.session_state["pages"]["trend"], label="See the trend", icon=":material/show_chart:")
        return
    if task.running:
        st.info(f"{len(task.results)} of {task.total} windows are estimated so far; the comparison uses these.")
    _compare([w for w in task.results if isinstance(w, Answer)], values)
    if st.button("Forget this reference"):
        st.session_state.pop(f"reference-{key}", None)
        st.session_state.pop(f"events-{key}", None)
        st.rerun()


def _ask(key: str) -> None:
    st.info(
        "No reference is laid over this recording yet. Drop a CSV file with a column `time [s]`, counted from the "
        "start of the recording, and columns such as `CO [L/min]`.",
        icon=":material/compare_arrows:",
    )
    dropped = st.file_uploader("Reference", type=["csv"], key="reference-compare", max_upload_size=5)
    st.caption("Cohorts of many patients are compared on the command line; this page compares one recording.")
    if dropped is None:
        return
    try:
        found: Reference = read_reference(dropped.getvalue().decode("utf-8-sig", errors="replace"))
    except ReferenceTableError as error:
        look.failure(error)
        return
    st.session_state[f"reference-{key}"], st.session_state[f"events-{key}"] = found.values, found.events
    st.rerun()


def _compare(answered: list[Answer], values: dict[str, tuple[tuple[float, float], ...]]) -> None:
    known = [n for n in values if answered and n in answered[0].estimates]
    if not known:
        st.warning(
            f"The reference has {', '.join(values)}, of which the model estimates none, or no window was answered."
        )
        return
    one, two = st.columns([1, 1])
    name = one.selectbox("Quantity", known, format_func=lambda n: f"{quantity_of(n).name} ({n})")
    unit = quantity_of(name).unit
    zone = two.number_input(f"Changes below this do not count [{unit}]", 0.0, value=_ZONES.get(name, 0.0))
    starts, ends = [w.start_s for w in answered], [w.end_s for w in answered]
    medians = [w.estimates[name].median for w in answered]
    _, estimate, reference = pair_up(starts, ends, medians, values[name])
    if len(estimate) < _FEWEST:
        st.warning(
            f"Only {len(estimate)} reference values have an estimate within 30 s; at least {_FEWEST} are needed."
        )
        return
    look.picture(agreement(agree(estimate, reference), name))
    look.picture(trending(track(estimate, reference, zone=zone), name))
    st.caption(
        "Pairs of one recording are not independent: the limits describe this recording, not patients in general. Each "
        "reference value is paired with the mean of the window medians within 30 s."
    )
