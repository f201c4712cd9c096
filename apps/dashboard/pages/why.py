r"""Why: simulated beats over this patient's, what the signal tells and cannot tell, what goes with what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import streamlit as st

from ....inference.answer import Answer, Refusal
from ....inference.explain import companions
from ....waveforms.beat_shapes import cut_beats
from ...figures.estimates import quantity_of
from ...figures.marks import percent
from ...figures.reasons import pairs, predicted_beats, told
from .. import look, session, simulation

__all__ = ["why"]

_FIRST = ("CO", "C", "PWV", "MAP")


def why() -> None:
    r"""Show where the estimates come from.

    Example:
        >>> why.__name__
        'why'
    """
    look.heading("Why", "Why the estimates are what they are, and what this signal cannot tell.")
    case = look.need_case()
    try:
        answered = session.answered(case)
    except (ValueError, OSError) as error:
        look.failure(error)
        return
    if isinstance(answered.result, Refusal):
        st.info("This window was refused, so there is nothing to explain: *Estimates* says why.")
        return
    answer = answered.result
    st.markdown("#### If the estimates are right, would the wave look like this?")
    _predicted(case, answer, answered.values)
    st.markdown("#### What this signal tells")
    _told(answer)
    st.markdown("#### What goes with what")
    _pairs(case, answer)


@st.fragment(run_every=None)
def _predicted(case: session.Case, answer: Answer, values: Any) -> None:
    about = ("predicted", *case.key, session.bundle_key(), answer.start_s)
    contract = session.model()[0].contract

    def work() -> Iterator[Any]:
        from ....inference.predictive import predict_beats

        yield predict_beats(answer.draws, simulation.network())

    task = session.desk().task(about, 1, work)
    if not task.wait(0.3) or task.running:
        _waiting(task)
        return
    if task.error is not None or not task.results:
        st.warning(f"The simulator could not make these beats: {task.error}")
        return
    found = task.results[0]
    data = cut_beats(values, contract.fs, role=contract.role)
    look.picture(predicted_beats(data, list(zip(found.times, found.values, strict=True)), role=contract.role))
    st.caption(
        f"{found.n} draws of the posterior, simulated. What the model does not estimate (the arm's own vessels, "
        "viscosity, the shape of ejection) is drawn from the prior, and the line's own errors are left out: simulated "
        "beats may differ among themselves more than the data do. Where the data stand outside all of them, the "
        "simulator cannot make this patient's wave, and the estimates are to be trusted less."
    )


@st.fragment(run_every=1.0)
def _waiting(task: Any) -> None:
    st.info("The simulator makes beats of the posterior; the first time it is compiled, which takes some seconds.")
    if not task.running:
        st.rerun()


def _told(answer: Answer) -> None:
    blind = [quantity_of(n).name for n, e in answer.estimates.items() if e.uninformative]
    if blind:
        st.markdown(f"This signal **cannot tell** {', '.join(blind)}: the estimate is hardly narrower than a guess.")
    look.picture(told(answer))


def _pairs(case: session.Case, answer: Answer) -> None:
    known = [n for n, e in answer.estimates.items()]
    names = st.pills(
        "Quantities", known, selection_mode="multi", default=[n for n in _FIRST if n in known], key="pair_names"
    )
    asked = st.session_state.get("quantity") or "CO"
    asked = asked if asked in answer.estimates else known[0]
    first = list(companions(answer.draws, asked).items())[:3]
    st.markdown(
        f"The doubt about **{quantity_of(asked).name}** goes along with "
        + ", ".join(f"{quantity_of(n).name} ({percent(share)})" for n, share in first)
        + ". Knowing one of these would remove that share of it."
    )
    if len(names) < 2:
        st.info("Choose two or more quantities.")
        return
    look.picture(pairs(answer.draws, names[:6]))
