r"""A text table as columns of numbers: delimiter, decimal mark, header, units and missing values.

Numbers are parsed by `numpy.loadtxt`; only what it cannot take (missing values, quotes, decimal commas) goes line by
line through Python first. Whatever remains unreadable is refused with its line and column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

from ..errors import RecordingError
from ..units import parse_unit

__all__ = ["Column", "Table", "read_table", "split_unit"]

_DELIMITERS: Final = ("\t", ";", ",", "|", None)  # None: any run of blanks
_MISSING: Final = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "--", ".", "?", "nil", "#n/a"})
_PEEK: Final = 200
_COMMENT_RATE: Final = re.compile(r"#.*?\b(?:fs|sampling[ _-]*(?:rate|frequency))\b\s*[=:]?\s*([\d.]+)", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:inf|infinity|nan)", re.IGNORECASE)
_CLOCK: Final = re.compile(
    r"\[?(?:(?P<date>\d{4}-\d\d-\d\d|\d{4}/\d\d/\d\d)[ T])?"
    r"(?:(?:(?P<h>\d+):)?(?P<m>\d+):)(?P<s>\d+(?:\.\d*)?)(?:Z| .*)?\]?"
)
_UNIT_SUFFIX: Final = frozenset({"mmhg", "kpa", "cmh2o", "hpa", "mbar", "mv", "uv", "adu", "adc", "bpm", "lpm", "raw"})


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
    """All numeric columns of a file, the rate its comments state, and what was noticed."""

    columns: tuple[Column, ...]
    stated_fs: float | None
    findings: tuple[str, ...]
    first_line: int
    empty_line: int | None


@dataclass(frozen=True)
class _Layout:
    file: str
    delimiter: str | None
    decimal_comma: bool
    names: tuple[str, ...]
    units: tuple[str | None, ...]
    n_columns: int
    first_line: int  # of the data, from 1


def split_unit(header: str) -> tuple[str, str | None]:
    r"""Name and unit of a column's header: `NAME [unit]`, `NAME (unit)` or `NAME_unit`.

    Example:
        >>> from pulsebayes.waveforms.readers._table import split_unit
        >>> [split_unit(text) for text in ("ABP [mmHg]", "ABP_mmHg", "ART (kPa)", "ECG_II", "ABP (radial)")]
        [('ABP', 'mmHg'), ('ABP', 'mmHg'), ('ART', 'kPa'), ('ECG_II', None), ('ABP (radial)', None)]
    """
    text = header.strip().strip("\"'").strip()
    if match := re.fullmatch(r"(.*?)\s*\[([^\]]*)\]", text):
        return match[1], match[2].strip() or None
    if match := re.fullmatch(r"(.*?)\s*\(([^)]*)\)", text):
        try:
            return match[1], parse_unit(match[2])
        except ValueError:
            return text, None
    if (match := re.fullmatch(r"(.+)_((?:\d*\.?\d+)?)(\w+)", text)) and match[3].casefold() in _UNIT_SUFFIX:
        return match[1], match[2] + match[3]
    if match := re.fullmatch(r"(.+)_(Pa|s|ms|us)", text):
        return match[1], match[2]
    return text, None


def read_table(path: Path) -> Table:
    """Parse a text table.

    Raises:
        RecordingError: `encoding`, `empty`, `layout`, `corrupt` or `truncated`, with line and column.
    """
    text = _text(path)
    lines = text.splitlines()
    comments = [line for line in lines[:_PEEK] if line.lstrip().startswith("#")]
    stated = next((float(m[1]) for line in comments if (m := _COMMENT_RATE.match(line.strip()))), None)
    layout = _layout(path.name, lines)
    body = lines[layout.first_line - 1 :]
    kinds = [_kind(layout, body, index) for index in range(layout.n_columns)]
    numeric = [index for index, kind in enumerate(kinds) if kind == "number"]
    numbers = _numbers(layout, body, numeric)
    findings, columns = [], []
    for index, kind in enumerate(kinds):
        name, unit = layout.names[index], layout.units[index]
        if kind == "number":
            columns.append(Column(index + 1, name, unit, numbers[:, numeric.index(index)]))
        elif kind == "clock":
            columns.append(Column(index + 1, name, "s", _clock(layout, body, index), clock=True))
        elif kind == "once":
            columns.append(Column(index + 1, name, unit, _first(layout, body, index)))
        elif name or kind == "text":
            findings.append(f"column {name or index + 1!r} holds {'text' if kind == 'text' else 'nothing'}; left out")
    empty = next((layout.first_line + k for k, line in enumerate(body) if not line.strip(" ")), None)
    if empty is not None and not any(line.strip(" ") for line in body[empty - layout.first_line :]):
        empty = None  # empty lines at the end say nothing
    return Table(tuple(columns), stated, tuple(findings), layout.first_line, empty)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordingError(
            f"cannot be opened ({error.strerror or error})", code="unreadable", file=path.name
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise RecordingError(
            f"expected UTF-8 text, got byte 0x{data[error.start]:02x} in line {line}",
            code="encoding",
            file=path.name,
            hint="save the table as UTF-8",
        ) from error


def _skipped(line: str) -> bool:
    """An empty line or a comment. A line of tabs is a row of missing values."""
    return not line.strip(" \r\n") or line.lstrip().startswith("#")


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _cells(line: str, delimiter: str | None) -> list[str]:
    return [cell.strip().strip("\"'").strip() for cell in line.split(delimiter)]


def _data_like(cells: list[str]) -> bool:
    """A row of numbers, missing values and clocks, with at least one number."""
    known = [_is_number(cell) or cell.casefold() in _MISSING or _CLOCK.fullmatch(cell) is not None for cell in cells]
    return all(known) and any(_is_number(cell) for cell in cells)


def _layout(file: str, lines: list[str]) -> _Layout:
    rows = [(number, line) for number, line in enumerate(lines, 1) if not _skipped(line)]
    if not rows:
        raise RecordingError("the file holds no table", code="empty", file=file)
    peek = rows[: _PEEK + 2]
    delimiter, comma = _delimiter(file, [line for _, line in peek])

    def cells(line: str) -> list[str]:
        return [cell.replace(",", ".") if comma else cell for cell in _cells(line, delimiter)]

    head, start = _heads([cells(line) for _, line in peek])
    if start >= len(rows):
        raise RecordingError("expected rows of numbers under the header, there are none", code="empty", file=file)
    width = len(cells(rows[start][1]))
    if not _data_like(cells(rows[start][1])) and not any(_is_number(cell) for cell in cells(rows[start][1])):
        raise RecordingError(
            f"expected a table of numbers, line {rows[start][0]} is {rows[start][1][:60]!r}", code="layout", file=file
        )
    names: list[str] = [""] * width
    units: list[str | None] = [None] * width
    if head:
        titles = _cells(rows[0][1], delimiter)
        if len(titles) > width and not any(titles[width:]):
            titles = titles[:width]
        if len(titles) != width:
            raise RecordingError(
                f"the header in line {rows[0][0]} names {len(titles)} columns, line {rows[start][0]} has {width}",
                code="layout",
                file=file,
                hint="check the delimiter and the decimal mark",
            )
        for index, title in enumerate(titles):
            names[index], units[index] = split_unit(title)
        if start == 2:
            for index, cell in enumerate(_cells(rows[1][1], delimiter)[:width]):
                units[index] = cell or units[index]
    return _Layout(file, delimiter, comma, tuple(names), tuple(units), width, rows[start][0])


def _heads(rows: list[list[str]]) -> tuple[bool, int]:
    """Whether there is a header, and how many rows come before the data (a second one may hold units)."""
    if any(_is_number(cell) for cell in rows[0]) and not any(re.search(r"[A-Za-z]{2}", cell) for cell in rows[0]):
        return False, 0
    if _data_like(rows[0]):
        return False, 0
    second = rows[1] if len(rows) > 2 else []
    if second and not any(_is_number(cell) for cell in second) and _data_like(rows[2]):
        return True, 2
    return True, 1


def _delimiter(file: str, lines: list[str]) -> tuple[str | None, bool]:
    """The delimiter that splits every line alike, and whether numbers carry a decimal comma."""
    body = lines[1:] if len(lines) > 1 else lines
    for delimiter in _DELIMITERS:
        counts = {len(line.split(delimiter)) for line in body[:-1] or body}
        if min(counts) < 2 or len(counts) > 2:
            continue
        cells = [cell for line in body for cell in _cells(line, delimiter)]
        comma = delimiter != "," and any(re.fullmatch(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?", cell) for cell in cells)
        if delimiter == "," and len(lines) > 1 and counts == {2} and len(lines[0].split(",")) == 1:
            raise RecordingError(
                f"{lines[1][:40]!r} under one column {lines[0].strip()[:40]!r}: two columns, or a decimal comma",
                code="layout",
                file=file,
                hint="write decimal points, or separate columns by semicolons",
            )
        return delimiter, comma
    return ",", False


def _kind(layout: _Layout, body: list[str], index: int) -> str:
    """What a column holds, from its first rows: number, clock, once (one number, then nothing), nothing, text."""
    cells = []
    for line in body[:_PEEK]:
        row = _cells(line, layout.delimiter)
        if index < len(row):
            cells.append(row[index].replace(",", ".") if layout.decimal_comma else row[index])
    filled = [cell for cell in cells if cell.casefold() not in _MISSING]
    if not filled:
        return "number" if _filled_later(layout, body, index) else "nothing"
    numbers = sum(_is_number(cell) for cell in filled)
    alone = numbers == len(filled) == 1 and len(cells) > 2 and cells[0] == filled[0]
    if alone and not _filled_later(layout, body, index):
        return "once"
    if numbers * 2 > len(filled):
        return "number"
    return "clock" if sum(_CLOCK.fullmatch(cell) is not None for cell in filled) * 2 > len(filled) else "text"


def _filled_later(layout: _Layout, body: list[str], index: int) -> bool:
    """Whether a column that begins empty holds anything further down."""
    rest = (_cells(line, layout.delimiter) for line in body[_PEEK:])
    return any(index < len(row) and row[index].casefold() not in _MISSING for row in rest)


def _normal(layout: _Layout, line: str) -> str:
    """A line that numpy can take: missing values as nan, no quotes, decimal points."""
    cells = _cells(line, layout.delimiter)
    if layout.decimal_comma:
        cells = [cell.replace(",", ".") for cell in cells]
    return "\t".join("nan" if cell.casefold() in _MISSING else cell for cell in cells)


def _numbers(layout: _Layout, body: list[str], columns: list[int]) -> Float[np.ndarray, "rows columns"]:
    if not columns:
        return np.empty((0, 0))
    count = len(columns) == layout.n_columns
    try:
        if not layout.decimal_comma and count:
            return np.loadtxt(body, delimiter=layout.delimiter, ndmin=2, comments="#")
    except ValueError:
        pass  # missing values or quotes: the slower way below takes them, or says what is wrong
    try:
        return np.loadtxt(_checked(layout, body), delimiter="\t", ndmin=2, usecols=columns, comments=None)
    except RecordingError:
        raise
    except ValueError as error:
        raise _misfit(layout, body, columns, error) from error


def _checked(layout: _Layout, body: list[str]) -> Iterator[str]:
    last = len(body) - 1
    for offset, line in enumerate(body):
        if _skipped(line):
            continue
        normal = _normal(layout, line)
        width = normal.count("\t") + 1
        if width != layout.n_columns:
            raise RecordingError(
                f"expected {layout.n_columns} columns, line {layout.first_line + offset} has {width}",
                code="truncated" if offset == last and width < layout.n_columns else "corrupt",
                file=layout.file,
                hint="remove or repair the line",
            )
        yield normal


def _misfit(layout: _Layout, body: list[str], columns: list[int], error: ValueError) -> RecordingError:
    """Name the first cell that is no number."""
    for offset, line in enumerate(body):
        if not _skipped(line):
            cells = _normal(layout, line).split("\t")
            for index in columns:
                if index >= len(cells) or not _is_number(cells[index]):
                    got = cells[index] if index < len(cells) else "nothing"
                    return RecordingError(
                        f"expected a number in line {layout.first_line + offset}, column {index + 1}, got {got[:40]!r}",
                        code="corrupt",
                        file=layout.file,
                        channel=layout.names[index] or f"col {index + 1}",
                        hint="leave the cell empty where a value is missing",
                    )
    return RecordingError(f"the table cannot be read ({error})", code="corrupt", file=layout.file)


def _first(layout: _Layout, body: list[str], index: int) -> Float[np.ndarray, " rows"]:
    cell = _cells(body[0], layout.delimiter)[index]
    return np.array([float(cell.replace(",", ".") if layout.decimal_comma else cell)])


def _clock(layout: _Layout, body: list[str], index: int) -> Float[np.ndarray, " rows"]:
    """Dates and times of day as seconds from midnight of the first date; a step back by hours is midnight."""
    seconds: list[float] = []
    for offset, line in enumerate(body):
        if _skipped(line):
            continue
        cells = _cells(line, layout.delimiter)
        match = _CLOCK.fullmatch(cells[index]) if index < len(cells) else None
        if match is None:
            raise RecordingError(
                f"expected a time of day in line {layout.first_line + offset}, column {index + 1}",
                code="time-stamps",
                file=layout.file,
            )
        day = np.datetime64(match["date"].replace("/", "-")).astype(int) * 86400.0 if match["date"] else 0.0
        second = day + 3600.0 * int(match["h"] or 0) + 60.0 * int(match["m"]) + float(match["s"])
        if not match["date"] and seconds and second < seconds[-1] - 43200.0:
            second += 86400.0 * np.ceil((seconds[-1] - 43200.0 - second) / 86400.0)
        seconds.append(second)
    return np.asarray(seconds)
