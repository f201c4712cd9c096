r"""What-if: sliders of physiology, one beat at every site over the patient's own, and the pressure-volume loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import streamlit as st

from ....inference.answer import Answer
from ....simulators.status import STATUS
from ....waveforms.beat_shapes import cut_beats, periodic_beat
from ...figures.estimates import quantity_of
from ...figures.loops import pressure_volume
from ...figures.marks import number
from ...figures.reasons import scenario
from .. import look, session, simulation

__all__ = ["what_if"]

_BASE = "typical adult"
_LOOP = ("SV", "EF", "EDV", "ESV", "MAP", "CO")
_RESULT = ("CO", "SVR", "SBP", "DBP", "MAP")


def what_if() -> None:
    r"""Let the visitor change the circulation and see the waves.

    Example:
        >>> what_if.__name__
        'what_if'
    """
    look.heading("What-if", "Change the circulation and see the pressure at every site.")
    case, answer, overlay = _patient()
    if not _ready():
        return
    start = _median(answer)
    for name, value in start.items():
        st.session_state.setdefault(f"what-{name}", value)
    _presets(start, patient=answer is not None)
    _board(case, start if answer is not None else None, overlay)
    st.subheader("Pressure-volume loop")
    heart = session.desk().task(("heart",), 1, _heart_compiled)
    if heart.running and not heart.wait(0.2):
        _waiting(heart)
    elif heart.error is not None:
        look.failure(heart.error)
    else:
        _loops()


def _heart_compiled() -> Iterator[bool]:
    simulation.warm_heart()
    yield True


@st.fragment
def _loops() -> None:
    r"""The left ventricle of the closed circulation: filling, load and contractility move its loop."""
    usual = simulation.usual_loads()
    for name, value in usual.items():
        st.session_state.setdefault(f"loop-{name}", value)
    left, right = st.columns([1, 3], gap="medium")
    with left:
        if st.button("Reset the loop", key="loop-reset"):
            st.session_state.update({f"loop-{name}": value for name, value in usual.items()})
        asked = {
            name: st.slider(
                label, float(low), float(high), step=float(step), format=f"%.{_places(step)}f", key=f"loop-{name}"
            )
            for name, (label, low, high, step) in simulation.LOADS.items()
        }
    base, found, line = session.desk().keep(("loops", *asked.values()), lambda: simulation.pressure_volume_loops(asked))
    with left:
        _loop_numbers(found, base, line)
    shown = pressure_volume({_BASE: base, "scenario": found}, line, key="what-if-loop", base=_BASE)
    panel = replace(shown.panels[0], title="left ventricle", x_label="volume [mL]", y_label="[mmHg]")
    with right:
        look.panels(replace(shown, panels=(panel,)), single=True)
    st.caption(
        "Solid: the scenario. Dashed grey: the typical adult. Dotted: the line through the scenario's ends of systole "
        "at more and less filling. The heart feels its load: stroke volume and pressures follow, none is set. This "
        "circulation is a typical adult's, not the open recording's."
    )


def _loop_numbers(found: Any, base: Any, line: Any) -> None:
    lines = []
    for name in _LOOP:
        q = quantity_of(name)
        value, usual = (number(x.quantities[name], q.decimals) for x in (found, base))
        lines.append(f"- {q.name}: **{value}** {q.unit} (typical {usual})")
    slope = f"- end-systolic line: **{line.elastance:.1f}** mmHg/mL, from {line.rest_volume:.0f} mL"
    st.markdown("**What follows**\n" + "\n".join([*lines, slope]))
    said = STATUS[found.status]
    if said != "ok":
        st.warning(f"The simulator calls this circulation {said}.")


def _patient() -> tuple[session.Case | None, Answer | None, Any]:
    r"""The open recording's posterior and beats, where there is one; the page works without."""
    try:
        case = session.case()
        answered = session.answered(case) if case is not None else None
    except (ValueError, OSError):
        return None, None, []
    if case is None or answered is None or not isinstance(answered.result, Answer):
        return case, None, []
    contract = session.model()[0].contract
    return case, answered.result, cut_beats(answered.values, contract.fs, role=contract.role)


def _ready() -> bool:
    def work() -> Iterator[bool]:
        simulation.warm()
        yield True

    task = session.desk().task(("simulator",), 1, work)
    if task.running and not task.wait(0.2):
        _waiting(task)
        return False
    if task.error is not None:
        look.failure(task.error)
        return False
    return True


@st.fragment(run_every=1.0)
def _waiting(task: Any) -> None:
    st.info("The simulator is being compiled, once; this takes some seconds.", icon=":material/hourglass_top:")
    if not task.running:
        st.rerun()


def _median(answer: Answer | None) -> dict[str, float]:
    r"""Where the sliders start: the posterior median, or a healthy adult."""
    values = dict(simulation.PRESETS["Healthy adult"])
    if answer is not None:
        values |= {n: e.median for n, e in answer.estimates.items() if n in values and not e.uninformative}
    return {name: _snapped(name, value) for name, value in values.items()}


def _snapped(name: str, value: float) -> float:
    low, high, step = simulation.LIMITS[name]
    return float(round(min(max(round(value / step) * step, low), high), 4))


def _presets(start: dict[str, float], *, patient: bool) -> None:
    sets = {"Reset to the posterior median" if patient else "Reset": start}
    sets |= {name: {k: _snapped(k, v) for k, v in values.items()} for name, values in simulation.PRESETS.items()}
    with st.container(horizontal=True):
        for name, values in sets.items():
            if st.button(name, key=f"preset-{name}"):
                st.session_state.update({f"what-{k}": v for k, v in values.items()})


@st.fragment
def _board(case: session.Case | None, start: dict[str, float] | None, overlay: Any) -> None:
    left, right = st.columns([1, 3], gap="medium")
    with left:
        asked = {}
        for name, (low, high, step) in simulation.LIMITS.items():
            q = quantity_of(name)
            asked[name] = st.slider(
                f"{q.name} [{q.unit}]",
                float(low),
                float(high),
                step=float(step),
                format=f"%.{_places(step)}f",
                key=f"what-{name}",
            )
    found = simulation.scenario_beat(asked)
    base = None
    if start is not None:
        median = start
        base = session.desk().keep(("base", *median.items()), lambda: simulation.scenario_beat(median))
    with left:
        _reached(found, asked)
    shown = _picture(found, base, overlay)
    with right:
        look.panels(shown)
    st.caption(
        "Solid: the scenario. Dashed grey: the posterior median of the picked window. Red: the measured beats, at the "
        "radial line. Everything that has no slider is that of a typical adult of the simulated population."
    )


def _places(step: float) -> int:
    r"""Decimals that a step needs."""
    return next(n for n in range(4) if abs(round(step, n) - step) < 1e-9)


def _reached(found: dict[str, Any], asked: dict[str, float]) -> None:
    reached = found["reached"]
    lines = [
        f"- {quantity_of(n).name}: **{number(reached[n], quantity_of(n).decimals)}** {quantity_of(n).unit}"
        for n in _RESULT
    ]
    st.markdown("**What follows**\n" + "\n".join(lines))
    off = [n for n, v in asked.items() if abs(reached[n] - v) > 0.03 * abs(v) + 0.02]
    if off:
        said = ", ".join(f"{quantity_of(n).name} {number(reached[n], quantity_of(n).decimals)}" for n in off)
        st.warning(f"This combination cannot be had exactly; the nearest adult has {said}.")
    if found["status"] not in ("ok", "terminal-mismatch"):
        st.warning(f"The simulator calls this circulation {found['status']}.")


def _picture(found: dict[str, Any], base: dict[str, Any] | None, overlay: Any) -> Any:
    sites = {}
    for site in simulation.SHOWN:
        times, wave = periodic_beat(found["waves"][site], found["period"])
        below = None if base is None else periodic_beat(base["waves"][site], base["period"])
        sites[simulation.SHOWN[site]] = (times, wave, below)
    return scenario(sites, overlay)
