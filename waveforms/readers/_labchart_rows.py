r"""Rows of LabChart text: one line as numbers, and blocks that stay in the file, read by an index of their rows.

A long export is gone through once as bytes: the lines that are no plain row (headers, comments, another number of
columns) are looked at one by one, all others are only counted. Numbers are parsed when their rows are asked for; the
time of one row in 4096 is looked at on opening, that of every row when it is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from ..errors import RecordingError
from ._table_layout import LONGEST_LINE, PEEK

__all__ = ["KEY", "LongBlock", "is_comma", "long_blocks", "no_header", "ragged", "row_of", "without_comment"]

KEY: Final = re.compile(r"(Interval|ExcelDateTime|TimeFormat|DateFormat|ChannelTitle|Range|UnitName|TopValue|"
                        r"BottomValue)=\s*(.*)")  # fmt: skip
LONG: Final = 1 << 24
"""Exports of more bytes than this are read by blocks of rows."""
ROWS: Final = 4096
_CHUNK: Final = 1 << 22
_TAB, _NEWLINE, _HASH = 9, 10, 35
_DIGITAL: Final = np.isin(np.arange(256), np.frombuffer(b"0123456789+-.", np.uint8))


def without_comment(line: str) -> str:
    """A row without the comment and the blanks at its end."""
    return line.split("#*", 1)[0].rstrip()


def is_comma(text: str) -> bool:
    """Whether a row shows that numbers are written with a decimal comma."""
    return "," in text and "." not in text


def row_of(file: str, number: int, text: str) -> list[float]:
    """The numbers of a row; `number` is its line, for messages."""
    try:
        values = [float("nan") if cell.strip() in ("", "NaN", "*") else float(cell) for cell in text.split("\t")]
    except ValueError as error:
        raise RecordingError(
            f"expected numbers in line {number}, got {text[:40]!r}", code="corrupt", file=file, hint="repair the line"
        ) from error
    if len(values) < 2:
        raise RecordingError(
            f"expected a time and values in line {number}, got {text[:40]!r}",
            code="layout",
            file=file,
            hint="export the text again, with the time",
        )
    return values


def ragged(file: str, number: int, wanted: int, got: int, last: bool) -> RecordingError:
    """The refusal of a row with too few or too many columns."""
    return RecordingError(
        f"expected {wanted} columns, line {number} has {got}",
        code="truncated" if last and got < wanted else "corrupt",
        file=file,
        hint="export the text again",
    )


def no_header(file: str) -> RecordingError:
    """The refusal of rows that no header announces."""
    return RecordingError(
        "expected a header (`Interval=`) before the rows",
        code="layout",
        file=file,
        hint="export the text with its header",
    )


@dataclass(eq=False)
class LongBlock:
    """A block on disk: its header, how many rows it has, and byte and line at which every 4096th of them begins."""

    path: Path
    head: dict[str, list[str]] = field(default_factory=dict)
    first_line: int = 0
    width: int = 0
    n_rows: int = 0
    begins: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    end: int = 0
    comma: bool = False
    anchors: Float[np.ndarray, " begins"] = field(default_factory=lambda: np.zeros(0), repr=False)
    _held: tuple[int, int, Float[np.ndarray, "rows columns"]] = field(default=(0, 0, np.zeros((0, 0))), repr=False)

    def add(self, starts: Int[np.ndarray, " rows"], end: int, line: int) -> None:
        """Count rows that begin at these bytes, one a line."""
        self.first_line = self.first_line or line
        wanted = np.arange(-self.n_rows % ROWS, len(starts), ROWS)
        self.begins += starts[wanted].tolist()
        self.lines += (line + wanted).tolist()
        self.n_rows += len(starts)
        self.end = end

    def rows(self, first: int, stop: int, rate: float) -> Float[np.ndarray, "rows columns"]:
        """Numbers of rows `first` to `stop`, time included, after a look at the time of each."""
        low, high = first // ROWS, -(-stop // ROWS)
        if not (self._held[0] <= low and high <= self._held[1]):
            numbers = self._parsed(low, high)
            follows = self.anchors[high : high + 1]  # the row after them
            self._check_steps(np.concatenate([numbers[:, 0], follows]), low, rate)
            self._held = (low, high, numbers)
        offset = self._held[0] * ROWS
        return self._held[2][first - offset : stop - offset]

    def look(self, rate: float) -> None:
        """Read the time of one row in 4096 and of the last; refuse those that are not where they should be."""
        with self.path.open("rb") as stream:
            times = []
            for begin, line in zip(self.begins, self.lines, strict=True):
                stream.seek(begin)
                times.append(self._time(stream.readline(LONGEST_LINE), line))
        self.anchors = np.array(times)
        last = float(self._parsed(len(self.begins) - 1, len(self.begins))[-1, 0])
        stamps = np.append(self.anchors, last)
        rows = np.append(np.arange(len(self.begins)) * ROWS, self.n_rows - 1)
        counts = np.diff(rows)
        wrong = np.flatnonzero(~(np.abs(np.diff(stamps) * rate - counts) < 0.01 * counts + 1.0))
        drift = abs((last - stamps[0]) * rate - rows[-1])
        if wrong.size or not drift < 0.01 * self.n_rows + 1.0:
            at = int(wrong[0]) if wrong.size else len(counts) - 1
            raise RecordingError(
                f"expected a row every {1 / rate:g} s, the row {counts[at]} rows after line {self.lines[at]} "
                f"({stamps[at]:g} s) is at {stamps[at + 1]:g} s",
                code="time-stamps",
                file=self.path.name,
                at_s=float(stamps[at] - stamps[0]),
                hint="export the text again",
            )

    def _time(self, line: bytes, number: int) -> float:
        text = without_comment(line.decode("utf-8", "replace"))
        return row_of(self.path.name, number, text.replace(",", ".") if self.comma else text)[0]

    def _parsed(self, low: int, high: int) -> Float[np.ndarray, "rows columns"]:
        begin, end = self.begins[low], self.begins[high] if high < len(self.begins) else self.end
        with self.path.open("rb") as stream:
            stream.seek(begin)
            text = stream.read(end - begin).decode("utf-8", "replace")
        wanted = min(high * ROWS, self.n_rows) - low * ROWS
        try:
            plain = text.replace(",", ".") if self.comma else text
            numbers = np.loadtxt(plain.split("\n"), delimiter="\t", comments=None, ndmin=2)
            if numbers.shape == (wanted, self.width):
                return numbers
        except ValueError:
            pass  # missing values, comments, headers: the slower way below takes them, or says what is wrong
        return self._slowly(text, self.lines[low], wanted)

    def _slowly(self, text: str, line: int, wanted: int) -> Float[np.ndarray, "rows columns"]:
        rows: list[list[float]] = []
        comma = self.comma
        for number, read in enumerate(text.split("\n"), line):
            if not read.strip() or KEY.match(read):
                continue
            plain = without_comment(read)
            comma = comma or is_comma(plain)
            row = row_of(self.path.name, number, plain.replace(",", ".") if comma else plain)
            if len(row) != self.width:
                raise ragged(self.path.name, number, self.width, len(row), False)
            rows.append(row)
        if len(rows) != wanted:
            raise RecordingError(
                f"expected {wanted} rows from line {line} on, got {len(rows)}",
                code="corrupt",
                file=self.path.name,
                hint="was the file changed while it was read? export the text again",
            )
        return np.array(rows)

    def _check_steps(self, times: Float[np.ndarray, " rows"], low: int, rate: float) -> None:
        wrong = np.flatnonzero(~(np.abs(np.diff(times) * rate - 1.0) < 0.51))
        if wrong.size:
            row = int(wrong[0])
            place = low + row // ROWS
            raise RecordingError(
                f"expected a row every {1 / rate:g} s, the row after line {self.lines[place] + row % ROWS} is at "
                f"{times[row + 1]:g} s after {times[row]:g} s",
                code="time-stamps",
                file=self.path.name,
                at_s=float(times[row] - self.anchors[0]),
                hint="export the text again",
            )


def long_blocks(path: Path) -> list[LongBlock] | None:
    """The blocks of a long export, its rows left in the file; `None` where it is short or has other line ends.

    Raises:
        RecordingError: If a row has another number of columns, or a line is neither row nor header.
    """
    if path.stat().st_size <= LONG:
        return None
    index = _Index(path)
    if not index.peek():
        return None
    at, rest = 0, b""
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            data = rest + chunk
            stop = data.rfind(b"\n") + 1
            index.take(data[:stop], at)
            at, rest = at + stop, data[stop:]
            if len(rest) > LONGEST_LINE:
                raise RecordingError(
                    f"expected rows of numbers, line {index.line} has {LONGEST_LINE} letters or more",
                    code="layout",
                    file=path.name,
                    hint="export the text again",
                )
    if rest:
        index.take(rest + b"\n", at)
    return [block for block in index.blocks if block.n_rows]


class _Index:
    """Goes through the bytes of an export and collects its blocks."""

    def __init__(self, path: Path) -> None:
        self.path, self.size, self.line = path, path.stat().st_size, 1
        self.blocks: list[LongBlock] = []
        self.width, self.tabs, self.comma = 0, 0, False

    def peek(self) -> bool:
        """Columns and decimal mark from the first rows; false where lines do not end as they should."""
        seen = 0
        with self.path.open("rb") as stream:
            for number in range(1, 2 * PEEK):
                line = stream.readline(LONGEST_LINE)
                if not line.endswith(b"\n") or b"\r" in line.rstrip(b"\r\n"):
                    return False
                read = line.decode("utf-8-sig", "replace")
                if not read.strip() or KEY.match(read):
                    continue
                text = without_comment(read)
                self.comma = self.comma or is_comma(text)
                if not seen:
                    self.width = len(row_of(self.path.name, number, text.replace(",", ".") if self.comma else text))
                    self.tabs = read.split("#*", 1)[0].count("\t")
                seen += 1
        return seen > 0

    def take(self, data: bytes, at: int) -> None:
        """Whole lines that begin at byte `at`."""
        raw = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(raw == _NEWLINE)
        if not ends.size:
            return
        starts = np.concatenate([[0], ends[:-1] + 1])
        odd = np.diff(np.searchsorted(np.flatnonzero(raw == _TAB), ends), prepend=0) != self.tabs
        odd |= ~_DIGITAL[raw[starts]]
        if b"#" in data:
            odd[np.searchsorted(ends, np.flatnonzero(raw == _HASH))] = True
        done = 0
        for k in [*np.flatnonzero(odd).tolist(), len(ends)]:
            if k > done:
                self._block().add(starts[done:k] + at, at + int(ends[k - 1]) + 1, self.line + done)
            if k < len(ends):
                self._look(data[starts[k] : ends[k]], self.line + k, at + int(starts[k]), at + int(ends[k]) + 1)
            done = k + 1
        self.line += len(ends)

    def _look(self, line: bytes, number: int, begin: int, end: int) -> None:
        """A line that may be a header, empty, a row with a comment, or damaged."""
        read = line.decode("utf-8-sig" if begin == 0 else "utf-8", "replace")
        match = KEY.match(read)
        if match is not None:
            if match[1] == "Interval" or not self.blocks:
                self.blocks.append(LongBlock(self.path, width=self.width, comma=self.comma))
            self.blocks[-1].head[match[1]] = [cell.strip() for cell in match[2].rstrip("\r").split("\t")]
        elif read.strip():
            text = without_comment(read)
            comma = self.comma or is_comma(text)
            row = row_of(self.path.name, number, text.replace(",", ".") if comma else text)
            if len(row) != self.width:
                raise ragged(self.path.name, number, self.width, len(row), end >= self.size)
            self._block().add(np.array([begin]), end, number)

    def _block(self) -> LongBlock:
        if not self.blocks:
            raise no_header(self.path.name)
        return self.blocks[-1]
