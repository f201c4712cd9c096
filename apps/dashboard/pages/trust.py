r"""Trust: whether this window is like the simulations, and whether the model kept its promises where measured."""

from __future__ import annotations

import streamlit as st

from ....inference.answer import Refusal
from ....inference.answering import AnsweredWindow, domain_model
from ....inference.bundle import Bundle
from ....inference.domain_map import map_domain
from ...figures.evidence import coverage_curve, domain_picture, rank_tests
from ...figures.marks import Panel, Picture, Table, percent
from .. import look, session
from .layers import conformal_regions, rope_couplings

__all__ = ["trust"]

_SHOWN = ("CO", "SV", "SVR", "MAP", "PWV", "C")


def trust() -> None:
    r"""Show domain, coverage and rank tests, and what calibration there is.

    Example:
        >>> trust.__name__
        'trust'
    """
    look.heading("Trust", "Is this window like the simulations, and did the model keep its promises?")
    bundle = session.model()[0]
    case = None
    try:
        case = session.case()
        answered = session.answered(case) if case is not None else None
    except (ValueError, OSError) as error:
        look.failure(error)
        answered = None
    st.markdown("#### This window")
    if answered is None:
        st.info("No window is picked: open a recording to see where it lies among the simulations.")
    else:
        _domain(bundle, answered)
    st.markdown("#### The model")
    _measured(bundle)
    _refused(bundle)
    st.markdown("#### Calibration with patients")
    layers = session.calibrated()[0]
    conformal_regions(layers, answered)
    rope_couplings(layers, answered)


def _domain(bundle: Bundle, answered: AnsweredWindow) -> None:
    model = domain_model(bundle)
    if model is None:
        st.info("This model has no domain verdict.")
        return
    result = answered.result
    if isinstance(result, Refusal) and result.domain is None:
        st.info("The quality gate refused this window, so it was not compared with the simulations.")
        return
    verdict = result.domain.verdict if result.domain is not None else "not assessed"
    words = {
        "inside": "**Inside.** The wave looks like those the model was trained on.",
        "shifted": "**Shifted.** The wave is unlike most simulations: answered, but measured coverage does not hold.",
        "outside": "**Outside.** The wave is unlike any simulation: no number is given.",
    }
    p = "" if result.domain is None else f" p = {result.domain.p:.3f}"
    reason = f" {result.domain.reason}." if result.domain is not None and result.domain.reason else ""
    st.markdown(words.get(verdict, "Not assessed.") + p + "." * bool(p) + reason)
    about = ("domain", *session.case_key(), bundle.name, result.start_s)
    found = session.desk().keep(about, lambda: map_domain(model, answered.values))
    look.picture(domain_picture(found, verdict))


def _measured(bundle: Bundle) -> None:
    coverage, n = bundle.measured.get("coverage"), int(bundle.measured.get("n", 0))
    if not coverage:
        st.info("Nothing was measured on held-out simulations for this model: `pulsebayes validate` does it.")
        return
    known = list(next(iter(coverage.values())))
    names = st.pills(
        "Quantities", known, selection_mode="multi", default=[q for q in _SHOWN if q in known][:4], key="trust_names"
    )
    shown = [coverage_curve(coverage, names[:6], n=n)] if names else []
    if not names:
        st.info("Choose a quantity to see its coverage.")
    p = bundle.measured.get("sbc_holm") or bundle.measured.get("sbc")
    if p:
        shown.append(rank_tests(p, n=n))
    look.side_by_side(shown)
    st.caption(f"{n} simulations with another seed. It says nothing about patients: the simulator may be wrong.")


def _refused(bundle: Bundle) -> None:
    refused = bundle.measured.get("refused")
    if not refused:
        return
    rows = tuple(
        (name, str(r["n"]), *(percent(r[k]) for k in ("gate", "outside", "refused", "shifted")))
        for name, r in refused.items()
    )
    table = Table(("windows", "n", "refused by the gate", "outside", "refused in all", "shifted"), rows)
    shown = Picture(
        "refused", "What the gate and the domain verdict refuse", "Shares of windows refused.", table, (Panel(()),)
    )
    with st.expander("What the gate and the domain verdict refuse"):
        look.table(shown)
