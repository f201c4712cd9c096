r"""Equations: ordinary differential equations recovered from the recording, ranked by held-out error and length."""

from __future__ import annotations

import importlib

import streamlit as st

from .. import look

__all__ = ["equations"]


def equations() -> None:
    r"""Explain what recovered equations are and how they come about.

    Example:
        >>> equations.__name__
        'equations'
    """
    look.heading("Equations", "Which differential equation would make a wave like this?")
    try:
        importlib.import_module("....inference.symbolic", __package__)
        known = True
    except ImportError:
        known = False
    how = (
        "`pulsebayes recover FILE` prints the candidates; this page will draw them once a result can be opened."
        if known
        else "This version cannot recover equations yet; the page fills as soon as it can."
    )
    look.absent(
        "Recovered equations",
        "Candidates ranked by their error on held-out beats and by their length, with the flow each predicts.",
        how,
    )
    st.markdown("#### The equations behind the estimates")
    st.markdown("Every estimate on the other pages comes from simulations of these. They are given, not recovered.")
    st.latex(
        r"\mathrm{CO} = \mathrm{HR}\,\mathrm{SV}/1000, \quad \mathrm{SVR} = 80\,(\mathrm{MAP}-\mathrm{CVP})/\mathrm{CO}"
    )
    st.markdown("Each artery is a tube in which pressure and flow travel; each small vessel bed is a windkessel:")
    st.latex(
        r"\frac{\partial p}{\partial t} + \frac{1}{C'}\frac{\partial q}{\partial x} = 0, \qquad "
        r"\frac{\partial q}{\partial t} + \frac{1}{L'}\frac{\partial p}{\partial x} = -\frac{R'}{L'} q"
    )
    st.latex(r"C\,\frac{\mathrm{d}p_c}{\mathrm{d}t} = q - \frac{p_c - P_\mathrm{out}}{R}, \qquad p = p_c + Z\,q")
