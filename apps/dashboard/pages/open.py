r"""Open: drop a file, pick one that was named at the start, or a sample; see what it holds and say what it is."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ....waveforms.errors import RecordingError
from ....waveforms.roles import ROLES
from ....waveforms.units import parse_unit
from .. import look, session
from ..library import LARGEST_UPLOAD_MB, SUFFIXES, Labels

__all__ = ["open_page"]

_KINDS = [s.lstrip(".") for s in SUFFIXES]


def open_page() -> None:
    r"""Choose a recording and see what it holds.

    Example:
        >>> open_page.__name__
        'open_page'
    """
    if st.session_state.pop("straight_on", False):
        st.switch_page(st.session_state["pages"]["monitor"])
    look.heading("Open", "Choose a recording of arterial pressure; nothing leaves this computer.")
    look.fetch_ahead()
    left, right = st.columns([1, 1], gap="large")
    with left:
        _upload()
    with right:
        _listed()
    try:
        case = session.case()
    except (ValueError, OSError) as error:
        look.failure(error)
        _say_labels(None)
        return
    if case is None:
        if st.session_state.get("missing"):
            st.warning(
                "The address names a recording that is not open here. Drop the same file: addresses carry no data."
            )
        return
    st.divider()
    _contents(case)
    _say_labels(case)


def _upload() -> None:
    st.subheader("Drop a file", anchor=False)
    count = st.session_state.setdefault("upload_count", 0)
    dropped = st.file_uploader(
        "CSV, WFDB (.hea and .dat together), Vital Recorder, EDF, HDF5, MATLAB, NumPy, Parquet or netCDF",
        type=_KINDS,
        accept_multiple_files=True,
        key=f"upload-{count}",
        max_upload_size=LARGEST_UPLOAD_MB,
    )
    if not dropped:
        st.caption(
            f"Up to {LARGEST_UPLOAD_MB} MB. Names of files are not shown or kept. Larger: `pulsebayes dashboard FILE`."
        )
        return
    try:
        source = session.library().keep_upload([(f.name, f.getvalue()) for f in dropped])
    except RecordingError as error:
        look.failure(error)
        return
    st.session_state["own"] = [*st.session_state.get("own", []), source.identity]
    st.session_state["upload_count"] = count + 1
    _go(source.identity)


def _listed() -> None:
    library = session.library()
    st.subheader("Or open", anchor=False)
    for source in library.sources():
        kind = "sample" if source.kind == "sample" else "named at the start"
        if st.button(f"{source.label} ({kind})", key=f"open-{source.identity}", width="stretch"):
            _go(source.identity)
    if not library.opened:
        st.caption("To open files of any size by path, start with `pulsebayes dashboard FOLDER`.")
        return
    files = {library.shown(p): p for p in library.files()}
    with st.form("path-form", border=False):
        chosen = (
            st.selectbox("Files in the folder that was named at the start", list(files), index=None) if files else None
        )
        typed = st.text_input("Or a path inside it", placeholder="record.hea")
        wanted = st.form_submit_button("Open this file")
    if wanted and (chosen or typed.strip()):
        try:
            source = library.open_path(typed if typed.strip() else str(files[chosen]) if chosen else "")
        except (RecordingError, OSError) as error:
            look.failure(error)
            return
        _go(source.identity)


def _go(identity: str) -> None:
    r"""Open a recording; show the monitor if it can be read, else stay and tell why."""
    session.look_at(identity)
    try:
        case = session.case()
    except (ValueError, OSError):
        st.rerun()
    if case is not None and session.main_channel(case) is not None:
        st.switch_page(st.session_state["pages"]["monitor"])
    st.rerun()


def _contents(case: session.Case) -> None:
    recording = case.recording
    st.subheader("What it holds", anchor=False)
    role = session.model()[0].contract.role
    main = session.main_channel(case)
    if main is None:
        st.warning(
            f"The model reads {ROLES.get(role, role)} ({role}), and no single channel here is called so. "
            "Say below which one it is.",
            icon=":material/help:",
        )
    else:
        st.success(f"**{main}** is read as {ROLES.get(role, role)}.", icon=":material/check:")
        st.page_link(
            st.session_state["pages"]["monitor"], label="Show it on the monitor", icon=":material/monitor_heart:"
        )
    rows = [_channel_row(c) for c in recording.channels]
    st.table(rows)
    notes = [*recording.findings, *(f"{c.name}: {text}" for c in recording.channels for text in c.findings)]
    if notes:
        st.markdown("**What was noticed**\n" + "\n".join(f"- {note}" for note in notes))
    st.checkbox("Show file names (they may identify a person)", key="show_names")


def _channel_row(channel: Any) -> dict[str, str]:
    what = ROLES.get(channel.role or "", "not known")
    return {
        "channel": channel.name,
        "role": f"{channel.role or '–'} ({what})",
        "unit": channel.unit or "not stated",
        "rate [Hz]": f"{channel.fs:g}",
        "start [s]": f"{channel.start_s:.1f}",
        "length": look.clock(channel.duration_s),
    }


def _say_labels(case: session.Case | None) -> None:
    r"""Fields in which the user says what a channel is, in which unit, at which rate."""
    labels = st.session_state.get("labels", Labels())
    need = case is None or session.main_channel(case) is None
    with st.expander("What the channels are", expanded=need), st.form("labels-form", border=False):
        st.caption(
            "Only where the file does not say so, or says it wrongly. Units and rates are never guessed from values."
        )
        names = [c.name for c in case.recording.channels] if case else []
        one, two, three, four = st.columns(4)
        name = one.selectbox("Channel", names, index=None) if names else one.text_input("Channel", placeholder="col 3")
        role = two.selectbox("is", list(ROLES), index=None, format_func=lambda r: f"{r}: {ROLES[r]}")
        unit = three.text_input("Unit", placeholder="mmHg")
        fs = four.number_input("Rate [Hz] (0: as in the file)", 0.0, 100_000.0, labels.fs)
        if not st.form_submit_button("Read it again"):
            return
    try:
        if unit.strip():
            parse_unit(unit)
    except ValueError as error:
        look.failure(error)
        return
    roles, units = dict(labels.roles), dict(labels.units)
    if name and role:
        roles[name] = role
    if unit.strip() and (name or role):
        units[name or role or ""] = unit.strip()
    session.look_at(st.session_state["rec"], Labels(tuple(roles.items()), tuple(units.items()), float(fs)))
    st.rerun()
