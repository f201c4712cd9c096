r"""A text table as columns of numbers, with missing values where cells are empty.

Numbers are parsed by `numpy.loadtxt`; only what it cannot take (missing values, quotes, decimal commas) goes line by
line through Python first. Whatever remains unreadable is refused with its line and column.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

from ..errors import RecordingError
from ..roles import ROLES
from ._table_layout import (
    CLOCK,
    CUT,
    MISSING,
    PEEK,
    Layout,
    bounded_lines,
    cells_of,
    ends_with_line,
    is_number,
    layout_of,
)

__all__ = ["Column", "Table", "read_table", "stated_rate"]

_COMMENT_RATE: Final = re.compile(
    r"#.*?\b(?:fs|sampling[ _-]*(?:rate|frequency))\b\s*[=:]?\s*(\d+(?:\.\d*)?)", re.IGNORECASE
)
_COMMENT_ROLE: Final = re.compile(r"#\s*role (.+?) = (\w+)\s*")


@dataclass(frozen=True, eq=False)
class Column:
    """One column of numbers: its place in the file (from 1), its name (empty: none), its unit as the file spells it."""

    number: int
    name: str
    unit: str | None
    values: Float[np.ndarray, " rows"]
    clock: bool = False

    @property
    def label(self) -> str:
        return self.name or f"col {self.number}"


@dataclass(frozen=True)
class Table:
    """All numeric columns of a file, what its comments state, what was noticed, and the first empty line inside."""

    columns: tuple[Column, ...]
    stated_fs: float | None
    findings: tuple[str, ...]
    first_line: int
    empty_line: int | None
    roles: dict[str, str | None]


def read_table(path: Path) -> Table:
    """Parse a text table.

    Raises:
        RecordingError: `encoding`, `empty`, `layout`, `corrupt` or `truncated`, with line and column.
    """
    try:
        head = [line.rstrip("\r\n") for line in islice(bounded_lines(path), 2 * PEEK)]
        stated = stated_rate(head)
        layout = layout_of(path, head)
        columns, findings = _columns(layout)
        findings += _cut_short(layout)
        return Table(columns, stated, findings, layout.first_line, _empty_line(layout), _roles(head))
    except UnicodeDecodeError as error:
        raise _encoding(path) from error
    except OSError as error:
        raise RecordingError(
            f"cannot be opened ({error.strerror or error})", code="unreadable", file=path.name
        ) from error


def stated_rate(head: list[str]) -> float | None:
    """The rate that a comment states (`# fs = 125 Hz`) [Hz]."""
    return next((float(m[1]) for line in head if (m := _COMMENT_RATE.match(line.strip()))), None)


def _roles(head: list[str]) -> dict[str, str | None]:
    """Roles that comments state (`# role ABP = ART`, `none` for no role), by column name."""
    found = (match for line in head if (match := _COMMENT_ROLE.fullmatch(line.strip())))
    return {m[1]: m[2] if m[2] in ROLES else None for m in found if m[2] in ROLES or m[2] == "none"}


def _columns(layout: Layout) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    peek = [cells_of(line, layout.delimiter) for _, line in islice(layout.rows(), PEEK)]
    kinds = [_kind(layout, peek, index) for index in range(layout.n_columns)]
    numeric = [index for index, kind in enumerate(kinds) if kind == "number"]
    numbers = _numbers(layout, numeric)
    findings, columns = [], []
    for index, kind in enumerate(kinds):
        name, unit = layout.names[index], layout.units[index]
        if kind == "number":
            columns.append(Column(index + 1, name, unit, numbers[:, numeric.index(index)]))
        elif kind == "clock":
            columns.append(Column(index + 1, name, "s", _clock(layout, index), clock=True))
        elif kind == "once":
            columns.append(Column(index + 1, name, unit, _first(layout, index)))
        elif name or kind == "text":
            findings.append(f"column {name or index + 1!r} holds {'text' if kind == 'text' else 'nothing'}; left out")
    return tuple(columns), tuple(findings)


def _cut_short(layout: Layout) -> tuple[str, ...]:
    """Refuse a last line whose last number lacks digits that all others have; say where it may."""
    if ends_with_line(layout.path):
        return ()
    last = ""
    lengths = Counter[int]()
    for _, line in layout.rows():
        if last:
            lengths[_decimals(layout, last)] += 1
        last = line
    usual, count = lengths.most_common(1)[0] if lengths else (0, 0)
    if count > 8 and count == lengths.total() and usual > 0 and _decimals(layout, last) < usual:
        raise RecordingError(
            f"the file ends within a number: the last line is {last[-40:]!r}, where numbers have {usual} decimals",
            code="truncated",
            file=layout.file,
            hint="copy or export the file again",
        )
    return (CUT,)


def _decimals(layout: Layout, line: str) -> int:
    """Decimals of the last number of a line; -1 where it is missing."""
    cell = cells_of(line, layout.delimiter)[-1]
    return -1 if cell.casefold() in MISSING else len(cell.replace(",", ".").partition(".")[2])


def _encoding(path: Path) -> RecordingError:
    """Where a file stops being UTF-8."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return RecordingError(
                    f"expected UTF-8 text, got byte 0x{line[error.start]:02x} in line {number}",
                    code="encoding",
                    file=path.name,
                    hint="save the table as UTF-8",
                )
    return RecordingError("expected UTF-8 text", code="encoding", file=path.name, hint="save the table as UTF-8")


def _empty_line(layout: Layout) -> int | None:
    """The first empty line between rows; those at the end say nothing."""
    empty = None
    for number, line in enumerate(layout.lines(), layout.first_line):
        if not line.strip(" \r\n"):
            empty = empty or number
        elif empty is not None:
            return empty
    return None


def _kind(layout: Layout, peek: list[list[str]], index: int) -> str:
    """What a column holds, from its first rows: number, clock, once (one number, then nothing), nothing, text."""
    cells = [row[index] for row in peek if index < len(row)]
    if layout.decimal_comma:
        cells = [cell.replace(",", ".") for cell in cells]
    filled = [cell for cell in cells if cell.casefold() not in MISSING]
    if not filled:
        return "number" if _filled_later(layout, index) else "nothing"
    numbers = sum(is_number(cell) for cell in filled)
    alone = numbers == len(filled) == 1 and len(cells) > 2 and cells[0] == filled[0]
    if alone and not _filled_later(layout, index):
        return "once"
    if numbers * 2 > len(filled):
        return "number"
    return "clock" if sum(CLOCK.fullmatch(cell) is not None for cell in filled) * 2 > len(filled) else "text"


def _filled_later(layout: Layout, index: int) -> bool:
    """Whether a column that begins empty holds anything further down."""
    rest = (cells_of(line, layout.delimiter) for _, line in islice(layout.rows(), PEEK, None))
    return any(index < len(row) and row[index].casefold() not in MISSING for row in rest)


def _normal(layout: Layout, line: str) -> str:
    """A line that numpy can take: missing values as nan, no quotes, decimal points."""
    cells = cells_of(line, layout.delimiter)
    if layout.decimal_comma:
        cells = [cell.replace(",", ".") for cell in cells]
    return "\t".join("nan" if cell.casefold() in MISSING else cell for cell in cells)


def _numbers(layout: Layout, columns: list[int]) -> Float[np.ndarray, "rows columns"]:
    if not columns:
        return np.empty((0, 0))
    if not layout.decimal_comma and len(columns) == layout.n_columns:
        try:
            return np.loadtxt(layout.lines(), delimiter=layout.delimiter, ndmin=2, comments="#")
        except UnicodeDecodeError:
            raise
        except ValueError:
            pass  # missing values or quotes: the slower way below takes them, or says what is wrong
    try:
        return np.loadtxt(_checked(layout), delimiter="\t", ndmin=2, usecols=columns, comments=None)
    except (RecordingError, UnicodeDecodeError):
        raise
    except ValueError as error:
        raise _misfit(layout, columns, error) from error


def _checked(layout: Layout) -> Iterator[str]:
    """Rows that numpy can take; a row with too few or too many cells is refused."""
    misfit: tuple[int, int] | None = None
    for number, line in layout.rows():
        if misfit is not None:
            break
        normal = _normal(layout, line)
        width = normal.count("\t") + 1
        if width == layout.n_columns:
            yield normal
        else:
            misfit = number, width
    else:
        if misfit is None:
            return
        if misfit[1] < layout.n_columns:
            raise _ragged(layout, *misfit, code="truncated")
    raise _ragged(layout, *misfit, code="corrupt")


def _ragged(layout: Layout, number: int, width: int, *, code: str) -> RecordingError:
    return RecordingError(
        f"expected {layout.n_columns} columns, line {number} has {width}",
        code=code,
        file=layout.file,
        hint="remove or repair the line",
    )


def _misfit(layout: Layout, columns: list[int], error: ValueError) -> RecordingError:
    """Name the first cell that is no number."""
    for number, line in layout.rows():
        cells = _normal(layout, line).split("\t")
        for index in columns:
            if index >= len(cells) or not is_number(cells[index]):
                got = cells[index] if index < len(cells) else "nothing"
                return RecordingError(
                    f"expected a number in line {number}, column {index + 1}, got {got[:40]!r}",
                    code="corrupt",
                    file=layout.file,
                    channel=layout.names[index] or f"col {index + 1}",
                    hint="leave the cell empty where a value is missing",
                )
    return RecordingError(f"the table cannot be read ({error})", code="corrupt", file=layout.file)


def _first(layout: Layout, index: int) -> Float[np.ndarray, " rows"]:
    _, line = next(layout.rows())
    cell = cells_of(line, layout.delimiter)[index]
    return np.array([float(cell.replace(",", ".") if layout.decimal_comma else cell)])


def _clock(layout: Layout, index: int) -> Float[np.ndarray, " rows"]:
    """Dates and times of day in seconds, from an arbitrary day; a step back by more than 12 h is midnight."""
    seconds: list[float] = []
    for number, line in layout.rows():
        cells = cells_of(line, layout.delimiter)
        match = CLOCK.fullmatch(cells[index]) if index < len(cells) else None
        try:
            day = np.datetime64(match["date"].replace("/", "-")).astype(int) if match and match["date"] else 0
        except ValueError:
            match = None
        if match is None:
            got = cells[index] if index < len(cells) else "nothing"
            raise RecordingError(
                f"expected a time of day in line {number}, column {index + 1}, got {got[:40]!r}",
                code="time-stamps",
                file=layout.file,
            )
        second = 86400.0 * day + 3600.0 * int(match["h"] or 0) + 60.0 * int(match["m"]) + float(match["s"])
        if not match["date"] and seconds and second < seconds[-1] - 43200.0:
            second += 86400.0 * np.ceil((seconds[-1] - 43200.0 - second) / 86400.0)
        seconds.append(second)
    return np.asarray(seconds)
