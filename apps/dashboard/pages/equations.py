r"""Equations: ordinary differential equations recovered from a trajectory, ranked by held-out error and length."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from ...cli._trajectories import Table, read_trajectories
from ...cli.errors import CommandError
from ...figures.marks import Line as Curve
from ...figures.marks import Panel, Picture, Points, percent
from ...figures.marks import Table as Numbers
from .. import look, session

if TYPE_CHECKING:
    from ....inference.symbolic.posterior import EquationPosterior

__all__ = ["equations"]

_VERDICTS = {
    "one": "One equation explains the samples.",
    "several": "Several equations explain the samples about equally well.",
    "approximate": "The best equation only approximates the samples.",
    "none": "No equation explains the samples.",
}
_MOST_DRAWN = 600


def equations() -> None:
    r"""Recover equations from a table of trajectories, and show those behind the estimates.

    Example:
        >>> equations.__name__
        'equations'
    """
    look.heading("Equations", "Which differential equation would make a wave like this?")
    st.markdown("#### Recover an equation")
    st.write(
        "From a table with a time column and a column for every state. Pressure alone does not tell the law of a "
        "circulation: give the flow that drives it as an input, for example `time [s]`, `P [mmHg]` and `Q [mL/s]`."
    )
    _own_beats()
    table = _chosen()
    if table is not None:
        _recovered(*table)
    _given()


def _own_beats() -> None:
    r"""Say why no law is recovered from the recording that is open."""
    try:
        open_now = session.case() is not None
    except (ValueError, OSError):
        open_now = False
    if open_now:
        st.info(
            "**Why not from this recording?** A windkessel ties the pressure at the aortic root to the flow through "
            "it. Here only a line in the arm was measured, and no flow. The posterior has both, but simulated: a law "
            "recovered from them would be the simulator's own, passed off as this patient's. With a measured flow, "
            "export pressure and flow of the same beats as a table and drop it here.",
            icon=":material/info:",
        )


def _chosen() -> tuple[str, Table] | None:
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    dropped = left.file_uploader("Table of trajectories (CSV)", type=["csv"], key="trajectories", max_upload_size=5)
    inputs = right.text_input("Columns that drive the system (inputs)", placeholder="Q", key="recover_inputs")
    if right.button("Try a simulated windkessel", key="windkessel"):
        st.session_state["windkessel_shown"] = True
    if dropped is None and not st.session_state.get("windkessel_shown"):
        return None
    content = windkessel().encode() if dropped is None else dropped.getvalue()
    driven = "Q" if dropped is None else inputs
    digest = hashlib.sha256(content + b"|" + driven.encode()).hexdigest()
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "upload.csv"
            path.write_bytes(content)
            return digest, read_trajectories(path, dims="", time="", inputs=driven, group="")
    except CommandError as error:
        look.failure(error, say=False)
        return None


def windkessel() -> str:
    r"""A table of pressure and flow of two-element windkessel, R = 1 mmHg s/mL, C = 1.5 mL/mmHg, with some noise."""
    t = np.arange(500) * 0.008
    fine = np.arange(500 * 20) * 0.0004  # the flow moves within a sample, so the pressure is summed in finer steps
    flow = np.where(fine % 0.8 < 0.32, 330.0 * np.sin(np.pi * (fine % 0.8) / 0.32), 0.0)
    pressure, now = np.empty_like(t), 80.0
    for i, q in enumerate(flow):
        if i % 20 == 0:
            pressure[i // 20] = now
        now += 0.0004 * (q - now / 1.0) / 1.5
    pressure += np.random.default_rng(0).normal(0, 0.3, len(t))
    flow = flow[::20]
    rows = "\n".join(f"{a:.3f},{b:.3f},{c:.3f}" for a, b, c in zip(t, pressure, flow, strict=True))
    return f"time [s],P [mmHg],Q [mL/s]\n{rows}\n"


def _recovered(digest: str, table: Table) -> None:
    def work() -> Iterator[EquationPosterior]:
        from ....inference.symbolic.recover import RecoverConfig, recover_equations

        config = RecoverConfig(proposers=("weak",), n_candidates=5)
        yield recover_equations(table.trajectories, names=table.names, inputs=table.inputs, config=config)

    task = session.desk().task(("recover", digest), 1, work)
    if task.running:
        st.info("Equations are being searched for; this may take a minute.", icon=":material/hourglass_top:")
        _poll(digest)
    elif task.error is not None:
        look.failure(task.error, say=False)
    elif task.results:
        _found(task.results[0], table)


@st.fragment(run_every=1.0)
def _poll(digest: str) -> None:
    r"""Draw the page again when the search is over."""
    task = session.desk().known(("recover", digest))
    if task is None or not task.running:
        st.rerun()


def _found(found: EquationPosterior, table: Table) -> None:
    st.markdown(f"**{_VERDICTS.get(found.verdict, found.verdict)}** {found.reason[:1].upper()}{found.reason[1:]}.")
    for rank, candidate in enumerate(found.candidates):
        st.markdown(
            f"{rank + 1}. weight **{percent(candidate.weight)}**, error on held-out samples "
            f"**{candidate.error_heldout:.3g} SD**, length {candidate.length}"
        )
        for text in found.latex(rank):
            st.latex(text)
    if found.candidates:
        look.picture(_fit(found, table))


def _fit(found: EquationPosterior, table: Table) -> Picture:
    one = table.trajectories[0]
    order = np.argsort(one.t)
    t, x = np.asarray(one.t)[order], np.asarray(one.x)[order]
    u = None if one.u is None else np.asarray(one.u)[order]
    made = found.predict(t, u=u)
    step = max(1, len(t) // _MOST_DRAWN)
    panels = tuple(
        Panel(
            (
                Points("samples", t[::step], x[::step, i], "simulated", "circle", 4, opacity=0.6),
                Curve("first equation", t[::step], made[::step, i], "posterior", 2.0),
            ),
            x_label="time",
            y_label=name,
        )
        for i, name in enumerate(found.names)
    )
    rows = tuple(
        (
            str(r + 1),
            f"{c.weight:.3f}",
            f"{c.error_heldout:.3g}",
            str(c.length),
            "; ".join(map(str, found.expressions(r))),
        )
        for r, c in enumerate(found.candidates)
    )
    miss = np.nanstd(made - x, axis=0) / np.maximum(np.nanstd(x, axis=0), 1e-12)
    alt = "Samples and the first equation: " + ", ".join(
        f"{n} is missed by {m:.2g} standard deviations" for n, m in zip(found.names, miss, strict=True)
    )
    head = ("rank", "weight", "held-out error [SD]", "length", "right-hand sides")
    return Picture("recovered", "Samples and recovered equation", alt + ".", Numbers(head, rows), panels, height=360)


def _given() -> None:
    st.markdown("#### The equations behind the estimates")
    st.markdown("Every estimate on the other pages comes from simulations of these. They are given, not recovered.")
    st.latex(
        r"\mathrm{CO} = \mathrm{HR}\,\mathrm{SV}/1000, \quad "
        r"\mathrm{SVR} = 80\,(\mathrm{MAP}-\mathrm{CVP})/\mathrm{CO}\ [\mathrm{dyn{\cdot}s{\cdot}cm^{-5}}]"
    )
    st.markdown("Each artery is a tube in which pressure and flow travel; each small vessel bed is a windkessel:")
    st.latex(
        r"\frac{\partial p}{\partial t} + \frac{1}{C'}\frac{\partial q}{\partial x} = 0, \qquad "
        r"\frac{\partial q}{\partial t} + \frac{1}{L'}\frac{\partial p}{\partial x} = -\frac{R'}{L'} q"
    )
    st.latex(r"C\,\frac{\mathrm{d}p_c}{\mathrm{d}t} = q - \frac{p_c - P_\mathrm{out}}{R}, \qquad p = p_c + Z\,q")
