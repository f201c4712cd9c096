r"""Text tables with one row a second: a time stamp, then all samples of that second, of one channel.

Every row must hold the same number of samples; a row that holds another number cannot be placed within its second, so
its whole second is missing. A header of two titles, `time,ABP [mmHg]`, names the channel and its unit; without one its
name, if any, is the first word of the file's name. The stamp is a time of day, or under a header that states its unit
(`time [s]`) a number.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

from ..errors import RecordingError
from ..labelling import RawChannel, label_channels
from ..recording import Recording
from ..roles import guess_role
from ..units import convert, unit
from ._sources import Placed, finite
from ._table_layout import CLOCK, CUT, MISSING, bounded_lines, cells_of, ends_with_line, is_number, split_unit

__all__ = ["holds_seconds", "read_seconds"]

_WIDE: Final = 16
_OTHER_CLOCK: Final = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}[ T].*\d:\d\d.*")
_MOST_MISFITS: Final = 0.1
_LONGEST_GAP: Final = 86400
_TOGETHER: Final = 64  # rows parsed at once


@dataclass(frozen=True)
class Head:
    """What the two titles of a header say: name and unit of the channel, seconds in a unit of time (0: not said)."""

    name: str = ""
    unit: str | None = None
    second: float = 0.0


def holds_seconds(path: Path) -> str | None:
    """The delimiter of a table whose rows are a time and more than 16 numbers; `None` for any other table.

    Raises:
        RecordingError: If the rows are such, but what their first cell says is not certain.
    """
    try:
        lines = [line for line in islice(bounded_lines(path), 12) if line.strip()]
    except (OSError, UnicodeDecodeError, RecordingError):
        return None
    rows = lines[1:] if len(lines) > 1 else lines  # the first may be a header
    for delimiter in (",", ";", "\t"):
        cells = [cells_of(line, delimiter) for line in rows]
        if not cells or not all(len(row) > _WIDE for row in cells) or _titled(lines, cells):
            continue
        if all(CLOCK.fullmatch(row[0]) or (is_number(row[0]) and _head(lines[0], delimiter).second) for row in cells):
            return delimiter
        if all(_OTHER_CLOCK.fullmatch(row[0]) for row in cells):
            raise RecordingError(
                f"each row is a time and {len(cells[0]) - 1} numbers, and {cells[0][0][:40]!r} may be read in two ways",
                code="time-stamps",
                file=path.name,
                hint="write the time as 2004-09-15 08:12:33, or as 08:12:33",
            )
    return None


def _titled(lines: list[str], cells: list[list[str]]) -> bool:
    """Whether a header names as many columns as a row has: then it is a wide table, one sample a row."""
    first = lines[0].strip()
    head = next((first.split(d) for d in (",", ";", "\t") if d in first), [first])
    return len(head) == len(cells[0]) and sum(bool(re.search(r"[A-Za-z]", title)) for title in head) > _WIDE


def _head(line: str, delimiter: str) -> Head:
    titles = cells_of(line, delimiter)
    if len(titles) != 2 or any(is_number(title) or CLOCK.fullmatch(title) for title in titles):
        return Head()
    (_, spelled), (name, stated) = (split_unit(title) for title in titles)
    try:
        second = convert(1.0, unit(spelled).name, "s") if spelled else 0.0
    except ValueError:
        second = 0.0
    return Head(name, stated, second)


def read_seconds(
    path: Path,
    delimiter: str,
    *,
    fs: float | None,
    roles: Mapping[str, str] | None,
    units: Mapping[str, str] | None,
) -> Recording:
    """Read a table with one row a second (or any other constant time).

    Raises:
        RecordingError: If time goes back or stands still, rows differ too often, or a cell is no number.
    """
    head = _head(next(line for _, line in _lines(path)), delimiter)
    stamps, rows = _rows(path, delimiter, head.second)
    width, misfits = _width(path, rows)
    step = _step(path, stamps)
    rate = width / step
    if fs is not None and not math.isclose(fs, rate, rel_tol=1.0e-2):
        raise RecordingError(
            f"--fs says {fs:g} Hz, the rows {rate:g} Hz", code="bad-rate", file=path.name, hint="leave --fs out"
        )
    places = np.rint((np.array(stamps) - stamps[0]) / step).astype(np.int64)
    if int(np.diff(places, prepend=0).max()) * step > _LONGEST_GAP:
        raise RecordingError("a gap of more than 24 h between rows", code="time-stamps", file=path.name)
    wave = np.full((int(places[-1]) + 1) * width, np.nan, dtype=np.float32)
    for place, row in zip(places.tolist(), rows, strict=True):
        if len(row) == width:
            wave[place * width : (place + 1) * width] = row
    missing = float(np.isnan(wave).mean())
    notes = [f"each row holds {width} samples of {step:g} s: {rate:g} Hz"]
    notes += [f"{missing:.1%} of the samples are missing"] if missing else []
    if misfits:
        notes.append(f"{misfits} rows hold another number of samples and count as missing")
    if not ends_with_line(path):
        wave[-1] = np.nan
        notes.append(CUT)
    raw = _named(path, head, rate, len(wave), notes)
    return Recording(path.name, label_channels(path.name, [raw], roles=roles, units=units), Placed((wave,)))


def _named(path: Path, head: Head, rate: float, n_samples: int, notes: list[str]) -> RawChannel:
    if head.name:
        return RawChannel(head.name, head.unit, rate, n_samples, findings=tuple(notes), named=True)
    word = re.split(r"[^A-Za-z]", path.stem)[0]
    named = guess_role(word) is not None
    if named:
        notes.append("the channel is named after the file")
    return RawChannel(word if named else "col 2", None, rate, n_samples, findings=tuple(notes), named=named)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(bounded_lines(path), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


def _rows(path: Path, delimiter: str, second: float) -> tuple[list[float], list[Float[np.ndarray, " samples"]]]:
    stamps: list[float] = []
    rows: list[Float[np.ndarray, " samples"]] = []
    waiting: list[tuple[int, str]] = []
    try:
        for number, line in _lines(path):
            clock, _, samples = line.partition(delimiter)
            stamp = _seconds(cells_of(clock, delimiter)[0], second, stamps[-1] if stamps else 0.0)
            if stamp is None and not stamps and number == 1:
                continue  # a header
            if stamp is None:
                raise RecordingError(
                    f"expected a time of day in line {number}, got {clock.strip()[:40]!r}",
                    code="time-stamps",
                    file=path.name,
                )
            stamps.append(stamp)
            waiting.append((number, samples))
            if len(waiting) == _TOGETHER:
                rows += _parsed(path, waiting, delimiter)
                waiting.clear()
        rows += _parsed(path, waiting, delimiter)
    except UnicodeDecodeError as error:
        raise RecordingError(
            f"expected UTF-8 text, it breaks off after {len(stamps)} rows ({error.reason})",
            code="encoding",
            file=path.name,
            hint="save the table as UTF-8",
        ) from error
    return stamps, rows


def _parsed(path: Path, lines: list[tuple[int, str]], delimiter: str) -> list[Float[np.ndarray, " samples"]]:
    """Samples of rows: all at once where they are plain numbers, else row by row, which says what is wrong."""
    texts = [text.strip() for _, text in lines]
    if all(texts) and texts:
        try:
            return list(finite(np.loadtxt(texts, delimiter=delimiter, comments=None, ndmin=2)))
        except ValueError:
            pass  # missing values, or rows of several lengths
    return [_values(path, number, cells_of(text, delimiter)) for number, text in lines]


def _seconds(cell: str, second: float, before: float) -> float | None:
    """A time in seconds: a number in a unit of time, or a clock, whose step back by more than 12 h is midnight."""
    if second and is_number(cell):
        return float(cell) * second
    match = CLOCK.fullmatch(cell)
    if match is None:
        return None
    try:
        day = int(np.datetime64(match["date"].replace("/", "-")).astype(int)) if match["date"] else 0
    except ValueError:
        return None
    found = 86400.0 * day + 3600.0 * int(match["h"] or 0) + 60.0 * int(match["m"]) + float(match["s"])
    if not match["date"]:
        found += 86400.0 * max(math.ceil((before - 43200.0 - found) / 86400.0), 0)
    return found


def _values(path: Path, number: int, cells: list[str]) -> Float[np.ndarray, " samples"]:
    try:
        return finite([float("nan") if cell.casefold() in MISSING else float(cell) for cell in cells])
    except ValueError as error:
        raise RecordingError(
            f"expected numbers in line {number} ({error})", code="corrupt", file=path.name, hint="repair the line"
        ) from error


def _width(path: Path, rows: list[Float[np.ndarray, " samples"]]) -> tuple[int, int]:
    counts = Counter(len(row) for row in rows)
    width, usual = counts.most_common(1)[0]
    misfits = len(rows) - usual
    if misfits and (len(rows[-1]) < width) and misfits == 1:
        raise RecordingError(
            f"expected {width} samples in every row, the last has {len(rows[-1])}", code="truncated", file=path.name
        )
    if misfits > _MOST_MISFITS * len(rows) or width == 0:
        raise RecordingError(
            f"expected the same number of samples in every row, got {min(counts)} to {max(counts)}",
            code="layout",
            file=path.name,
            hint="write one sample a row, with a header such as `time [s],ABP [mmHg]`",
        )
    return width, misfits


def _step(path: Path, stamps: list[float]) -> float:
    steps = np.diff(stamps)
    if not steps.size:
        raise RecordingError("one row does not tell its rate", code="no-rate", file=path.name, hint="a longer file")
    step = float(np.median(steps))
    share = steps / step if step > 0 else np.zeros(1)
    wrong = np.flatnonzero((share < 0.5) | (np.abs(share - np.rint(share)) > 0.01))
    if wrong.size:
        at = int(wrong[0])
        raise RecordingError(
            f"time must rise by {step:g} s from row to row; after row {at + 1} it rises by {steps[at]:g} s",
            code="time-stamps",
            file=path.name,
            at_s=stamps[at] - stamps[0],
        )
    return step
