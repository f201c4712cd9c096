r"""Pressure-volume loops side by side, with the line through their ends of systole where they share one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...waveforms.quantities import QUANTITIES
from .marks import Line, Mark, Panel, Picture, Points, Table, listed, number

__all__ = ["pressure_volume"]

_COLOURS = ("LVP", "FLOW", "ART", "PLETH", "PAP", "ICP", "CVP", "ECG")
_DASHES = ("solid", "dash", "dot")
_SHOWN = ("SV", "EF", "EDV", "ESV", "SW", "MAP", "CVP", "CO")


def pressure_volume(
    loops: Mapping[str, Any],
    line: Any | None = None,
    *,
    chamber: str = "left ventricle",
    key: str = "loops",
    base: str = "",
) -> Picture:
    r"""A picture of pressure-volume loops.

    Arguments:
        loops: Loops by what they are called: anything with `volume` [mL], `pressure` [mmHg] and `quantities`.
        line: An end-systolic line (`elastance`, `rest_volume`, `volume`, `pressure`), or none.
        chamber: Whose loops they are.
        key: Short name of the picture.
        base: The loop that stands behind the others.

    Returns:
        The picture, with a table of the quantities of each loop.

    Raises:
        ValueError: If there is no loop.

    Example:
        >>> from pulsebayes.simulators.closed_loop.loops import Loop
        >>> square = Loop(np.array([50.0, 120.0, 120.0, 50.0]), np.array([5.0, 8.0, 110.0, 100.0]), {"SV": 70.0}, 0)
        >>> pressure_volume({"rest": square}).panels[0].x_label
        'volume of the left ventricle [mL]'
    """
    if not loops:
        raise ValueError("a picture of loops needs at least one loop")
    marks: list[Mark] = []
    shown = [name for name in loops if name != base]
    for name in [base, *shown] if base else shown:
        volume, pressure = (np.append(x, x[0]) for x in (loops[name].volume, loops[name].pressure))
        i = shown.index(name) if name != base else 0
        colour, dash = _COLOURS[i % len(_COLOURS)], _DASHES[i // len(_COLOURS) % 3]
        if name == base:
            colour, dash = "muted", "dash"
        marks.append(Line(name, volume, pressure, colour, dash=dash, width=2.0))
    if line is not None:
        reach = np.array([line.rest_volume, float(np.max(line.volume)) * 1.15])
        text = f"end-systolic line, {line.elastance:.2f} mmHg/mL"
        marks.append(
            Line(text, reach, line.elastance * (reach - line.rest_volume), "muted", dash="dot" if base else "dash")
        )
        marks.append(Points("end of systole", line.volume, line.pressure, "ink", "diamond", 6.0))
    table = _table(loops)
    panel = Panel(tuple(marks), "", f"volume of the {chamber} [mL]", "pressure [mmHg]")
    return Picture(key, f"Pressure-volume loops of the {chamber}", _said(loops), table, (panel,), height=460)


def _table(loops: Mapping[str, Any]) -> Table:
    names = [n for n in _SHOWN if all(n in loop.quantities for loop in loops.values())]
    columns = ("loop", *(QUANTITIES[n].label for n in names))
    rows = tuple(
        (name, *(number(loop.quantities[n], QUANTITIES[n].decimals) for n in names)) for name, loop in loops.items()
    )
    return Table(columns, rows)


def _said(loops: Mapping[str, Any]) -> str:
    def one(name: str, loop: Any) -> str:
        low, high = float(np.min(loop.volume)), float(np.max(loop.volume))
        return f"{name}: {low:.0f} to {high:.0f} mL, up to {float(np.max(loop.pressure)):.0f} mmHg"

    said: Sequence[str] = [one(name, loop) for name, loop in loops.items()]
    return f"Closed curves of pressure over volume. {listed(said)}."
