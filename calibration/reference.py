r"""Numbers of a reference device beside a recording: a table of times, values and events.

A CSV file with a column `time [s]` (or `start_s`) counted from the start of the recording, columns of quantities with
their unit in the heading (`CO [L/min]`), and perhaps a column `event`. Empty cells are missing.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass

from ..waveforms.quantities import QUANTITIES

__all__ = ["Reference", "ReferenceTableError", "read_reference"]

_TIMES = ("time [s]", "start_s", "time_s", "t [s]")
_MOST_ROWS = 100_000


class ReferenceTableError(ValueError):
    r"""A table of reference values that cannot be used.

    Arguments:
        message: What was expected and what was found.
        hint: What to try.

    Example:
        >>> ReferenceTableError("no column of times", hint="time [s]").hint
        'time [s]'
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Reference:
    r"""Values and events of a reference table.

    Arguments:
        values: For each quantity (time [s], value in its unit), in order of time.
        events: (time [s], what happened), in order of time.

    Example:
        >>> Reference({"CO": ((4.0, 5.1),)}, ()).values["CO"][0][1]
        5.1
    """

    values: dict[str, tuple[tuple[float, float], ...]]
    events: tuple[tuple[float, str], ...]


def read_reference(text: str) -> Reference:
    r"""Reads a reference table.

    Arguments:
        text: The CSV file.

    Returns:
        Values by quantity, and events.

    Raises:
        ReferenceTableError: If there is no column of times, no known quantity, a wrong unit or no number.

    Example:
        >>> found = read_reference("time [s],CO [L/min],event\n4,5.1,\n12,,bolus\n")
        >>> found.values, found.events
        ({'CO': ((4.0, 5.1),)}, ((12.0, 'bolus'),))
    """
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or len(rows) > _MOST_ROWS:
        raise ReferenceTableError(
            f"a reference table has 1 to {_MOST_ROWS} rows, got {len(rows)}", hint="time [s],CO [L/min]"
        )
    heads = [head.strip() for head in rows[0]]
    at = next((heads.index(name) for name in _TIMES if name in heads), None)
    if at is None:
        raise ReferenceTableError(f"expected a column `time [s]`, got {', '.join(heads)}", hint="time [s],CO [L/min]")
    columns = {name: i for i, head in enumerate(heads) if (name := _quantity(head))}
    event = heads.index("event") if "event" in heads else None
    if not columns and event is None:
        raise ReferenceTableError(
            f"expected a quantity such as `CO [L/min]`, got {', '.join(heads)}", hint="time [s],CO [L/min]"
        )
    values: dict[str, list[tuple[float, float]]] = {name: [] for name in columns}
    events: list[tuple[float, str]] = []
    for line, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        time = _number(row[at] if at < len(row) else "", line, heads[at])
        if not math.isfinite(time):
            raise ReferenceTableError(
                f"line {line}: expected a time [s], got an empty cell", hint="a time for every row"
            )
        for name, i in columns.items():
            value = _number(row[i] if i < len(row) else "", line, heads[i])
            if math.isfinite(value):
                values[name].append((time, value))
        if event is not None and event < len(row) and row[event].strip():
            events.append((time, row[event].strip()[:40]))
    return Reference({name: tuple(sorted(v)) for name, v in values.items() if v}, tuple(sorted(events)))


def _quantity(head: str) -> str | None:
    r"""The quantity of a heading `NAME [unit]`; the unit must be that of the catalogue."""
    name, bracket, rest = head.partition("[")
    known = QUANTITIES.get(name.strip())
    if known is None:
        return None
    unit = rest.rstrip("] ").strip()
    if not bracket or unit != known.unit:
        raise ReferenceTableError(f"{head}: expected the unit {known.unit}", hint=known.label)
    return known.symbol


def _number(cell: str, line: int, head: str) -> float:
    if not cell.strip():
        return math.nan
    try:
        return float(cell)
    except ValueError:
        raise ReferenceTableError(
            f"line {line}, {head}: expected a number, got {cell!r}", hint="empty where missing"
        ) from None
