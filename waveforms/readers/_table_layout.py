r"""The layout of a text table, seen from its first rows: delimiter, decimal mark, header, units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from ..errors import RecordingError
from ..units import parse_unit

__all__ = [
    "CLOCK",
    "CUT",
    "LONGEST_LINE",
    "MISSING",
    "PEEK",
    "Layout",
    "bounded_lines",
    "cells_of",
    "ends_with_line",
    "is_number",
    "layout_of",
    "skipped",
    "split_unit",
]

PEEK: Final = 200
LONGEST_LINE: Final = 1 << 20
_DELIMITERS: Final = ("\t", ";", ",", "|", None)  # None: any run of blanks
MISSING: Final = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "--", ".", "?", "nil", "#n/a"})
_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:inf|infinity|nan)", re.IGNORECASE)
CLOCK: Final = re.compile(
    r"\[?(?:(?P<date>\d{4}-\d\d-\d\d|\d{4}/\d\d/\d\d)[ T])?"
    r"(?:(?:(?P<h>\d+):)?(?P<m>\d+):)(?P<s>\d+(?:\.\d*)?)(?:Z|[-+]\d\d:?\d\d| .*)?\]?"
)
_UNIT_SUFFIX: Final = frozenset({"mmhg", "kpa", "cmh2o", "hpa", "mbar", "mv", "uv", "adu", "adc", "bpm", "lpm", "raw"})


@dataclass(frozen=True)
class Layout:
    """How to take a table apart, and where it lies."""

    path: Path
    delimiter: str | None
    decimal_comma: bool
    names: tuple[str, ...]
    units: tuple[str | None, ...]
    n_columns: int
    first_line: int  # of the data, from 1
    begin: int = 0  # bytes between which the rows lie, where it is not the whole file
    end: int = 0

    @property
    def file(self) -> str:
        return self.path.name

    def lines(self) -> Iterator[str]:
        """The lines from the first row of data on, read one by one: a table is never held as text."""
        if self.end:
            with self.path.open("rb") as stream:
                stream.seek(self.begin)
                yield from stream.read(self.end - self.begin).decode("utf-8").splitlines()
            return
        yield from islice(bounded_lines(self.path), self.first_line - 1, None)

    def rows(self) -> Iterator[tuple[int, str]]:
        """Line number and text of every row of data."""
        for number, line in enumerate(self.lines(), self.first_line):
            if not skipped(line):
                yield number, line


def bounded_lines(path: Path) -> Iterator[str]:
    """The lines of a text, none longer than `LONGEST_LINE` letters: a file without line ends is no table."""
    with path.open(encoding="utf-8-sig") as stream:
        number = 0
        while line := stream.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise RecordingError(
                    f"expected a table, line {number} has {LONGEST_LINE} letters or more", code="layout", file=path.name
                )
            yield line


CUT: Final = "the file does not end with the end of a line; it may have been cut, and its last number with it"


def ends_with_line(path: Path) -> bool:
    """Whether a text ends with the end of a line."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 1))
        return stream.read(1) in b"\r\n"


def split_unit(header: str) -> tuple[str, str | None]:
    r"""Name and unit of a column's header: `NAME [unit]`, `NAME (unit)` or `NAME_unit`.

    Example:
        >>> from pulsebayes.waveforms.readers._table_layout import split_unit
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


def skipped(line: str) -> bool:
    """An empty line or a comment. A line of tabs is a row of missing values."""
    return not line.strip(" \r\n") or line.lstrip().startswith("#")


def is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def cells_of(line: str, delimiter: str | None) -> list[str]:
    return [cell.strip().strip("\"'").strip() for cell in line.split(delimiter)]


def _data_like(cells: list[str]) -> bool:
    """A row of numbers, missing values and clocks, with at least one number."""
    known = [is_number(cell) or cell.casefold() in MISSING or CLOCK.fullmatch(cell) is not None for cell in cells]
    return all(known) and any(is_number(cell) for cell in cells)


def layout_of(path: Path, lines: list[str]) -> Layout:
    """The layout of a table from its first lines."""
    file = path.name
    rows = [(number, line) for number, line in enumerate(lines, 1) if not skipped(line)]
    if not rows:
        raise RecordingError("the file holds no table", code="empty", file=file)
    peek = rows[: PEEK + 2]
    delimiter, comma = _delimiter(file, [line for _, line in peek])

    def cells(line: str) -> list[str]:
        return [cell.replace(",", ".") if comma else cell for cell in cells_of(line, delimiter)]

    head, start = _heads([cells(line) for _, line in peek])
    if start >= len(rows):
        raise RecordingError("expected rows of numbers under the header, there are none", code="empty", file=file)
    width = len(cells(rows[start][1]))
    if not _data_like(cells(rows[start][1])) and not any(is_number(cell) for cell in cells(rows[start][1])):
        raise RecordingError(
            f"expected a table of numbers, line {rows[start][0]} is {rows[start][1][:60]!r}", code="layout", file=file
        )
    names: list[str] = [""] * width
    units: list[str | None] = [None] * width
    if head:
        titles = cells_of(rows[0][1], delimiter)
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
            for index, cell in enumerate(cells_of(rows[1][1], delimiter)[:width]):
                units[index] = cell or units[index]
    return Layout(path, delimiter, comma, tuple(names), tuple(units), width, rows[start][0])


def _heads(rows: list[list[str]]) -> tuple[bool, int]:
    """Whether there is a header, and how many rows come before the data (a second one may hold units)."""
    if any(is_number(cell) for cell in rows[0]) and not any(re.search(r"[A-Za-z]{2}", cell) for cell in rows[0]):
        return False, 0
    if _data_like(rows[0]):
        return False, 0
    second = rows[1] if len(rows) > 2 else []
    if second and not any(is_number(cell) for cell in second) and _data_like(rows[2]):
        return True, 2
    return True, 1


def _delimiter(file: str, lines: list[str]) -> tuple[str | None, bool]:
    """The delimiter that splits every line alike, and whether numbers carry a decimal comma."""
    body = lines[1:] if len(lines) > 1 else lines
    for delimiter in _DELIMITERS:
        counts = {len(line.split(delimiter)) for line in body[:-1] or body}
        if min(counts) < 2 or len(counts) > 2:
            continue
        cells = [cell for line in body for cell in cells_of(line, delimiter)]
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
