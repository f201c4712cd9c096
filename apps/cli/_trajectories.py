r"""A table of trajectories: which column is time, which are states and inputs, and where one trajectory ends."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CommandError, ExitCode

if TYPE_CHECKING:
    from ...inference.symbolic.check import Trajectory

_TIMES = ("time", "t", "time_s", "time [s]", "t [s]", "seconds")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_EMPTY = {"", "na", "nan", "null", "none", "-"}


@dataclass(frozen=True)
class Table:
    r"""Trajectories with the names of their states and inputs."""

    trajectories: list[Trajectory]
    names: tuple[str, ...]
    inputs: tuple[str, ...]


def read_trajectories(path: Path, *, dims: str, time: str, inputs: str, group: str) -> Table:
    r"""Read a table with a header.

    Raises:
        CommandError: If a column is missing, a value is no number, or the table is empty.
    """
    import numpy as np

    from ...inference.symbolic.check import Trajectory

    header, rows = _rows(path)
    clock = _column(path, header, time) if time else _clock(header)
    driven = [_column(path, header, n.strip()) for n in inputs.split(",") if n.strip()]
    grouped = [_column(path, header, group)] if group else []
    free = [i for i in range(len(header)) if i not in {clock, *driven, *grouped}]
    states = _states(path, header, free, dims)
    names = _names(path, header, clock, states, driven, grouped)
    values = np.array([[_number(path, header, row, i, line) for i in (clock, *states, *driven)] for line, row in rows])
    labels = np.array([row[grouped[0]].strip() if grouped else "" for _, row in rows])
    found = []
    for label in dict.fromkeys(labels.tolist()):
        part = values[labels == label]
        u = part[:, 1 + len(states) :] if driven else None
        found.append(Trajectory(part[:, 0], part[:, 1 : 1 + len(states)], u))
    return Table(found, names[: len(states)], names[len(states) :])


def left_out(table: Table) -> str:
    r"""Words on rows that cannot be used because a value in them is missing or infinite; empty where there are none."""
    import numpy as np

    parts = [np.column_stack([t.t, t.x, *([] if t.u is None else [t.u])]) for t in table.trajectories]
    finite = np.concatenate([np.isfinite(part).all(1) for part in parts])
    missing = int((~finite).sum())
    return f"; {missing} of {len(finite)} rows left out: a value is missing or infinite" if missing else ""


def _names(
    path: Path, header: list[str], clock: int, states: list[int], driven: list[int], grouped: list[int]
) -> tuple[str, ...]:
    r"""Symbols of states and inputs, each column in one role only and each symbol once."""
    used = [*states, *driven]
    for i in used:
        if used.count(i) > 1:
            raise _unfit(f"{path.name}: column {header[i]!r} is asked for twice as a state or input", "")
        if i == clock or i in grouped:
            role = "time" if i == clock else "group"
            raise _unfit(f"{path.name}: column {header[i]!r} is the {role} column and cannot be a state or input", "")
    names = [_symbol(header[i]) for i in used]
    if len(set(names)) < len(names):  # units tell apart what names do not
        names = [_symbol(re.sub(r"[\[\]]", " ", header[i])) for i in used]
    twice = next((header[i] for i, n in zip(used, names, strict=True) if names.count(n) > 1), None)
    if twice is not None:
        raise _unfit(f"{path.name}: more than one column is called {twice!r}", "give every column its own name")
    return tuple(names)


def _rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unfit(f"{path.name}: expected a text table, got bytes that are not UTF-8", "save it as CSV") from error
    lines = [(n + 1, line) for n, line in enumerate(text.splitlines()) if line.strip() and not line.startswith("#")]
    if len(lines) < 2:
        raise _unfit(f"{path.name}: expected a header and rows of numbers, got {len(lines)} line(s)", "")
    delimiter = max(",;\t", key=lines[0][1].count)
    if not lines[0][1].count(delimiter):
        raise _unfit(f"{path.name}: expected columns separated by commas, semicolons or tabs, got one column", "")
    split = [(n, next(csv.reader([line], delimiter=delimiter))) for n, line in lines]
    header = [cell.strip() for cell in split[0][1]]
    if all(_is_number(cell) for cell in header):
        raise _unfit(f"{path.name}: expected names of columns in the first line, got numbers", "add `time,x0,x1`")
    short = next((n for n, row in split[1:] if len(row) != len(header)), None)
    if short is not None:
        raise _unfit(f"{path.name}: expected {len(header)} cells, line {short} has another number", "")
    return header, split[1:]


def _clock(header: list[str]) -> int:
    lowered = [name.casefold() for name in header]
    return next((lowered.index(name) for name in _TIMES if name in lowered), 0)


def _states(path: Path, header: list[str], free: list[int], dims: str) -> list[int]:
    if dims.strip().isdigit():
        wanted = int(dims)
        if not 1 <= wanted <= len(free):
            raise _unfit(f"{path.name}: --dims asks for {wanted} states, the table has {len(free)}", "")
        return free[:wanted]
    named = [_column(path, header, n.strip()) for n in dims.split(",") if n.strip()]
    if not (named or free):
        raise _unfit(f"{path.name}: expected at least one state beside the time", "")
    return named or free


def _column(path: Path, header: list[str], name: str) -> int:
    if header.count(name) > 1:
        raise _unfit(f"{path.name}: more than one column is called {name!r}", "give every column its own name")
    if name in header:
        return header.index(name)
    plain = [_symbol(h) for h in header]
    if name in plain:
        return plain.index(name)
    raise _unfit(f"{path.name}: no column {name!r}; it has {', '.join(header)}", "")


def _symbol(name: str) -> str:
    r"""A column's name without its unit, as a symbol."""
    made = re.sub(r"\W+", "_", re.sub(r"\s*\[.*\]\s*", "", name)).strip("_")
    return made if made and not made[0].isdigit() else f"x_{made}"


def _number(path: Path, header: list[str], row: list[str], i: int, line: int) -> float:
    cell = row[i].strip()
    if cell.casefold() in _EMPTY:
        return math.nan
    if _DECIMAL_COMMA.fullmatch(cell):
        cell = cell.replace(",", ".")
    try:
        return float(cell)
    except ValueError as error:
        raise _unfit(f"{path.name}, line {line}, column {header[i]!r}: expected a number, got {cell!r}", "") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _unfit(message: str, hint: str) -> CommandError:
    return CommandError(
        message, code="table", hint=hint or "--dims NAME,NAME --time NAME", exit_code=ExitCode.UNREADABLE
    )
