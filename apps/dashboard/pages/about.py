r"""About: the model's card, its limits, licences and versions, and what is saved of this session."""

from __future__ import annotations

import platform
from importlib import metadata

import streamlit as st

from ....inference.bundle import reads_several, shipped_bundles
from .. import look, session

__all__ = ["about"]

_LIBRARIES = ("pulsebayes", "streamlit", "plotly", "numpy", "scipy", "torch", "zuko", "jax")


def about() -> None:
    r"""Show the model card, versions and licences.

    Example:
        >>> about.__name__
        'about'
    """
    look.heading("About", "The model, its limits, licences and versions.")
    _settings()
    _report()
    st.markdown("#### What this is not")
    st.warning(
        "Not a medical device. Do not use it to diagnose or treat. Its intervals hold on simulated patients; on real "
        "ones their coverage is not known unless the card says that it was measured.",
        icon=":material/gpp_maybe:",
    )
    bundle = session.model()[0]
    with st.expander(f"Model card of {bundle.name}", expanded=True):
        # The page has headings of its own above those of the card.
        card = "\n".join(f"###{line}" if line.startswith("#") else line for line in bundle.card.splitlines())
        st.markdown(card or "This model has no card.")
    with st.expander("Licences"):
        st.markdown(
            "pulsebayes: Apache-2.0. Model and its training data: Apache-2.0, simulated; no patient's data were used. "
            "The virtual population follows the Pulse Wave Database (MIT, King's College London). All third parties "
            "are named in `THIRD_PARTY.md`."
        )
    with st.expander("Versions"):
        rows = "\n".join(f"| {name} | {_version(name)} |" for name in _LIBRARIES)
        st.markdown(f"| software | version |\n|---|---|\n| python | {platform.python_version()} |\n{rows}")
    with st.expander("What is kept, and where"):
        st.markdown(
            "Everything stays on this computer. The app listens on 127.0.0.1 only and sends nothing. Uploads lie in a "
            "folder that only you can read until the app ends. File names are shown only on request; the address and "
            "the log hold none."
        )


def _settings() -> None:
    st.markdown("#### Settings")
    one, two = st.columns(2)
    known = [name for name, folder in shipped_bundles().items() if not reads_several(folder)]
    current = session.model_name()
    known = known if current in known else [current, *known]
    chosen = one.selectbox(
        "Model", known, index=known.index(current), format_func=lambda n: n.replace("\\", "/").split("/")[-1]
    )
    if chosen != current:
        st.session_state["model"] = chosen
        st.rerun()
    level = two.number_input("Level of the intervals", 0.5, 0.99, float(st.session_state.get("level", 0.9)), 0.05)
    if level != st.session_state.get("level", 0.9):
        st.session_state["level"] = level
        st.rerun()
    two.caption("The bars are always 50 % and 90 %; the level changes what the source lines cite.")


def _report() -> None:
    st.markdown("#### Report")
    try:
        case = session.case()
    except (ValueError, OSError) as error:
        look.failure(error)
        return
    if case is None or session.main_channel(case) is None:
        st.caption("Open a recording to save a report of it.")
        return
    look.report_button(case, "Save the report of the picked window (HTML)", key="report-about")
    st.caption(
        "`pulsebayes infer FILE --out FOLDER`, then `pulsebayes report FOLDER/FILE.nc --html` reports all windows."
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
