r"""Long text tables, read by blocks of rows: an index of line ends in place of all numbers.

Only plain tables qualify: numbers in every column, no empty lines or comments between rows. The time column is looked
at in one row of each block when the table is opened, and in every row when its block is read; a row that is not where
the others say is refused there, with its line.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from ..errors import RecordingError
from ._table import Column, Table, _kind, _numbers, _roles, stated_rate
from ._table_layout import CUT, PEEK, Layout, bounded_lines, cells_of, ends_with_line, layout_of

__all__ = ["LONG", "LongTable", "long_table"]

LONG: Final = 1 << 24
"""Tables of more bytes than this are read by blocks."""
ROWS: Final = 4096
_CHUNK: Final = 1 << 24
_NEWLINE, _RETURN, _HASH = 10, 13, 35


@dataclass(eq=False)
class LongTable:
    """A table on disk: its first rows, how many there are, and the byte at which every block of rows begins."""

    layout: Layout
    head: Table
    n_rows: int
    begins: Int[np.ndarray, " blocks"]
    _held: tuple[int, int, Float[np.ndarray, "rows columns"]] = field(default=(0, 0, np.zeros((0, 0))), repr=False)

    def rows(self, first: int, stop: int) -> Float[np.ndarray, "rows columns"]:
        """Numbers of rows `first` to `stop`, all columns."""
        low, high = first // ROWS, -(-stop // ROWS)
        if not (self._held[0] <= low and high <= self._held[1]):
            begin, end = int(self.begins[low]), int(self.begins[high])
            part = replace(self.layout, first_line=self.layout.first_line + low * ROWS, begin=begin, end=end)
            numbers = _numbers(part, [column.number - 1 for column in self.head.columns])
            wanted = min(high * ROWS, self.n_rows) - low * ROWS
            if len(numbers) != wanted:
                raise RecordingError(
                    f"expected {wanted} rows from line {part.first_line} on, got {len(numbers)}",
                    code="corrupt",
                    file=self.layout.file,
                )
            self._held = (low, high, numbers)
        offset = self._held[0] * ROWS
        return self._held[2][first - offset : stop - offset]

    def stamps(self, column: int) -> tuple[Int[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
        """The first row of every block and the last row of all, and the times that stand there."""
        rows = [*range(0, self.n_rows, ROWS), self.n_rows - 1]
        values = []
        with self.layout.path.open("rb") as stream:
            for begin in self.begins[:-1].tolist():
                stream.seek(begin)
                values.append(self._cell(stream.readline(), column))
        values.append(float(self.rows(self.n_rows - 1, self.n_rows)[0, self._place(column)]))
        return np.array(rows), np.array(values)

    def _place(self, column: int) -> int:
        return [c.number - 1 for c in self.head.columns].index(column)

    def _cell(self, line: bytes, column: int) -> float:
        cells = cells_of(line.decode("utf-8"), self.layout.delimiter)
        try:
            return float(cells[column].replace(",", ".") if self.layout.decimal_comma else cells[column])
        except (IndexError, ValueError):
            return float("nan")


def long_table(path: Path) -> LongTable | None:
    """The index of a long plain table; `None` where the table is short or needs the whole look."""
    if path.stat().st_size <= LONG:
        return None
    lines = [line.rstrip("\r\n") for line in islice(bounded_lines(path), 2 * PEEK)]
    layout = layout_of(path, lines)
    peek = [cells_of(line, layout.delimiter) for _, line in islice(layout.rows(), PEEK)]
    simple = all(len(row) == layout.n_columns for row in peek) and all(
        _kind(layout, peek, k) == "number" and _begins(peek, k) for k in range(layout.n_columns)
    )
    found = _line_ends(path, layout) if simple else None
    if found is None:
        return None
    begins, n_rows = found
    first = replace(layout, begin=int(begins[0]), end=int(begins[1]))
    numbers = _numbers(first, list(range(layout.n_columns)))[:PEEK]
    columns = tuple(Column(k + 1, layout.names[k], layout.units[k], numbers[:, k]) for k in range(layout.n_columns))
    notes = () if ends_with_line(path) else (CUT,)
    head = Table(columns, stated_rate(lines), notes, layout.first_line, None, _roles(lines))
    return LongTable(layout, head, n_rows, begins)


def _begins(peek: list[list[str]], index: int) -> bool:
    """Whether a column has a value among the first rows."""
    return any(row[index] for row in peek)


def _line_ends(path: Path, layout: Layout) -> tuple[Int[np.ndarray, " blocks"], int] | None:
    """Bytes at which blocks of rows begin, and the number of rows; `None` where lines are empty or comments."""
    with path.open("rb") as stream:
        for _ in range(layout.first_line - 1):
            stream.readline()
        start = stream.tell()
        begins, rows, at, before = [start], 0, start, _NEWLINE
        while chunk := stream.read(_CHUNK):
            data = np.frombuffer(chunk, np.uint8)
            ends = np.flatnonzero(data == _NEWLINE)
            follows = data[np.minimum(ends + 1, len(data) - 1)]
            inner = ends < len(data) - 1
            if np.isin(follows[inner], (_NEWLINE, _RETURN, _HASH)).any():
                return None
            if before == _NEWLINE and data[0] in (_NEWLINE, _RETURN, _HASH):
                return None
            wanted = np.arange(len(begins) * ROWS - rows, len(ends) + 1, ROWS)
            begins += (at + ends[wanted - 1] + 1).tolist()
            rows, at, before = rows + len(ends), at + len(chunk), int(data[-1])
        if before != _NEWLINE:
            rows += 1
    if begins[-1] != at:
        begins.append(at)
    return np.array(begins), rows
