r"""Text tables with one row a second: a time stamp, then all samples of that second, of one channel.

Every row must hold the same number of samples; a row that holds another number cannot be placed within its second, so
its whole second is missing. The name of the channel, if any, is the first word of the file's name.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

from ..errors import RecordingError
from ..labelling import RawChannel, label_channels
from ..recording import Recording
from ..roles import guess_role
from ._sources import Placed, finite
from ._table_layout import CLOCK, CUT, MISSING, bounded_lines, cells_of, ends_with_line

__all__ = ["holds_seconds", "read_seconds"]

_WIDE: Final = 16
_MOST_MISFITS: Final = 0.1
_LONGEST_GAP: Final = 86400
_TOGETHER: Final = 64  # rows parsed at once


def holds_seconds(path: Path) -> str | None:
    """The delimiter of a table whose rows are a clock and more than 16 numbers; `None` for any other table."""
    try:
        lines = [line for line in islice(bounded_lines(path), 12) if line.strip()]
    except (OSError, UnicodeDecodeError, RecordingError):
        return None
    rows = lines[1:] if len(lines) > 1 else lines  # the first may be a header
    for delimiter in (",", ";", "\t"):
        cells = [cells_of(line, delimiter) for line in rows]
        if cells and all(len(row) > _WIDE and CLOCK.fullmatch(row[0]) for row in cells) and not _titled(lines, cells):
            return delimiter
    return None


def _titled(lines: list[str], cells: list[list[str]]) -> bool:
    """Whether a header names as many columns as a row has: then it is a wide table, one sample a row."""
    first = lines[0].strip()
    head = next((first.split(d) for d in (",", ";", "\t") if d in first), [first])
    return len(head) == len(cells[0]) and sum(bool(re.search(r"[A-Za-z]", title)) for title in head) > _WIDE


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
    stamps, rows = _rows(path, delimiter)
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
    word = re.split(r"[^A-Za-z]", path.stem)[0]
    named = guess_role(word) is not None
    if named:
        notes.append("the channel is named after the file")
    raw = [RawChannel(word if named else "col 2", None, rate, len(wave), findings=tuple(notes), named=named)]
    return Recording(path.name, label_channels(path.name, raw, roles=roles, units=units), Placed((wave,)))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(bounded_lines(path), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


def _rows(path: Path, delimiter: str) -> tuple[list[float], list[Float[np.ndarray, " samples"]]]:
    stamps: list[float] = []
    rows: list[Float[np.ndarray, " samples"]] = []
    waiting: list[tuple[int, str]] = []
    try:
        for number, line in _lines(path):
            clock, _, samples = line.partition(delimiter)
            stamp = _seconds(cells_of(clock, delimiter)[0])
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


def _seconds(cell: str) -> float | None:
    match = CLOCK.fullmatch(cell)
    if match is None:
        return None
    try:
        day = int(np.datetime64(match["date"].replace("/", "-")).astype(int)) if match["date"] else 0
    except ValueError:
        return None
    return 86400.0 * day + 3600.0 * int(match["h"] or 0) + 60.0 * int(match["m"]) + float(match["s"])


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
