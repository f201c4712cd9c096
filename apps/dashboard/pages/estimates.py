r"""Estimates: what the picked window says about each quantity, how sure, and where that comes from."""

from __future__ import annotations

from html import escape

import streamlit as st

from ....inference.answer import Answer, Refusal
from ....inference.explain import chance_below
from ...figures.estimates import dotplot, interval_rows, intervals, quantity_of
from ...figures.marks import number, percent, typeset
from .. import look, session
from ..words import five_questions, on_screen

__all__ = ["estimates"]

_BEDSIDE = ("CO", "SV", "SVR", "MAP", "HR")
_NAMES = {"signal": "Signal", "model": "Model", "calibration": "Calibration", "domain": "Domain"}


def estimates() -> None:
    r"""Show the posterior of the picked window.

    Example:
        >>> estimates.__name__
        'estimates'
    """
    look.heading("Estimates", "What the picked window says, and how sure.")
    case = look.need_case()
    with st.spinner("Estimating this window"):
        try:
            result = session.result(case)
        except (ValueError, OSError) as error:
            look.failure(error)
            return
    st.markdown("#### Five questions")
    look.cards(five_questions(result, name=_asked(result)))
    if isinstance(result, Refusal):
        _refused(result)
        look.next_usable(case)
        return
    keep = st.toggle("Show quantities that this signal cannot tell, greyed", key="keep_uninformative")
    _rows(result, keep=keep)
    _threshold(result)
    _sources(result)


def _asked(result: Answer | Refusal) -> str:
    name = str(st.session_state.get("quantity") or "CO")
    return name if isinstance(result, Refusal) or name in result.estimates else "CO"


def _refused(result: Refusal) -> None:
    st.markdown("#### This window is not answered")
    message = result.signal.get("message") or result.hint or result.reason
    st.error(f"Refused ({result.reason}): {message}", icon=":material/block:")
    if result.hint and result.reason != "outside":
        st.write(f"**Try:** {on_screen(result.hint)}")
    st.page_link(
        st.session_state["pages"]["monitor"],
        label="Pick another window on the monitor",
        icon=":material/monitor_heart:",
    )


def _rows(answer: Answer, *, keep: bool) -> None:
    first = [n for n in _BEDSIDE if n in answer.estimates]
    rest = [n for n in answer.estimates if n not in first]
    st.markdown("#### Estimates")
    st.html(interval_rows(answer, [*first, *rest], dark=look.is_dark(), keep_uninformative=keep))
    st.caption(
        "◆ median; thick bar: 50 % interval; thin bar: 90 % interval; grey line below: 90 % of what was thought "
        "possible before the signal was seen (doubt removed: in variance); pale band between dashed lines: usual range "
        "of resting adults. Sources differ; these are from "
        + "; ".join(sorted({str(quantity_of(n).usual_source) for n in answer.estimates if quantity_of(n).usual_source}))
        + "."
    )
    shown = intervals(answer, [*first, *rest], keep_uninformative=keep)
    look.details(shown)


def _threshold(answer: Answer) -> None:
    st.markdown("#### How likely is it to be below …?")
    told = [n for n, e in answer.estimates.items() if not e.uninformative]
    if not told:
        st.info("This window tells no quantity well enough.")
        return
    start = _asked(answer)
    one, two, three = st.columns([1, 1, 2], vertical_alignment="bottom")
    name = one.selectbox(
        "Quantity",
        told,
        index=told.index(start) if start in told else 0,
        format_func=lambda n: f"{quantity_of(n).name} ({n})",
        key="asked",
        on_change=_ask,
    )
    q, e = quantity_of(name, answer.estimates[name].unit), answer.estimates[name]
    default = q.usual_low if q.usual_low is not None else e.median
    step = 10.0**-q.decimals
    threshold = two.number_input(
        f"Threshold [{typeset(e.unit)}]",
        value=float(round(default, q.decimals)),
        step=step,
        format=f"%.{q.decimals}f",
        key=f"at-{name}",
    )
    draws = answer.draws[name]
    share = chance_below(draws, threshold)
    at = f"{number(threshold, q.decimals)} {typeset(e.unit)}"
    three.markdown(
        f"The chance that **{q.name}** is below **{at}** is **{percent(share)}** ({round(50 * share)} of 50 dots)."
    )
    look.picture(dotplot(name, draws, threshold, unit=e.unit))


def _ask() -> None:
    r"""Take over the quantity before the page is drawn, so that it is drawn once."""
    st.session_state["quantity"] = st.session_state["asked"]


def _sources(answer: Answer) -> None:
    st.markdown("#### Where these numbers come from")
    lines = "".join(
        f"<li><b>{_NAMES[key]}.</b> {escape(text.partition(': ')[2] or text)}</li>"
        for key, text in answer.sources().items()
    )
    st.html(f'<ul class="pb-sources">{lines}</ul>')
    st.caption(
        "These are credible intervals of the model."
        + (
            " Open box: the conformal region, what the calibration with patients promises; it holds several quantities "
            "together, and each box shows what it leaves of one."
            if answer.regions
            else ""
        )
    )
