r"""Files that grow while they are read: windows as soon as they are whole, as `cut_windows` would cut them.

Of a text table only the rows that are still needed are held: its header and those rows are read as a table of their
own, placed in time after the rows before them. A WFDB record is opened anew when it has grown; it reads its samples on
demand. A file that no longer grows for a while has ended; one that shrinks or disappears, and a table that is
replaced, is an error.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from .errors import RecordingError
from .quality import LEAST_HZ
from .recording import Recording
from .windows import Window, cut_windows

__all__ = ["Patience", "follow_channels"]

_KNOWN = 512  # bytes read last, which must stand where they stood when the file has grown
_FEWEST_ROWS = 20  # before the layout of a table is looked at
_KEPT_S = 2.0  # [s] held before the next window, for the kernel that resamples
_HELD_S = 60.0  # [s] of rows held longer, so that they are seldom read again to be counted
_NEWS_S = 1.0  # [s] of rows before the held ones are read again
_MARGIN = 40  # samples after a window that the kernel sees where the rate is changed
_NOTHING_YET = ("no-data", "empty")  # codes of tables that hold nothing but times so far
Open = Callable[[Path], Recording]
Choose = Callable[[Recording], Mapping[str, str]]


@dataclass(frozen=True)
class Patience:
    r"""How a growing file is waited for.

    Arguments:
        idle_s: Time without growth after which it has ended [s].
        poll_s: Time between looks at it [s].
        sleep: Waits so many seconds.

    Raises:
        ValueError: If a time is not positive.

    Example:
        >>> Patience(idle_s=5.0).poll_s
        0.5
    """

    idle_s: float = 60.0
    poll_s: float = 0.5
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        if not (self.idle_s > 0 and self.poll_s > 0):
            raise ValueError(f"idle_s and poll_s [s] must be positive, got {self.idle_s:g} and {self.poll_s:g}")


class _Growing(Protocol):
    """A source that grows: what it holds now, None while that is too little to read."""

    def grown(self) -> bool: ...

    def recording(self, *, last: bool) -> Recording | None: ...

    def forget(self, before_s: float) -> None: ...


def follow_channels(
    path: Path,
    choose: Choose,
    open_recording: Open,
    *,
    length_s: float,
    every_s: float,
    fs: float,
    start_s: float = 0.0,
    end_s: float = math.inf,
    patience: Patience = Patience(),
) -> Iterator[Window]:
    r"""Windows of several channels of a growing text table or WFDB record, each as soon as it is whole.

    Arguments:
        path: The file.
        choose: Says what each channel of the windows is called in a recording; refuses one that does not fit.
        open_recording: Reads a file.
        length_s: Length of a window [s].
        every_s: Time from one start to the next [s].
        fs: Sampling rate wanted [Hz].
        start_s: Start of the first window [s].
        end_s: Where to stop [s].
        patience: How it is waited for.

    Returns:
        An iterator that ends when the next window would pass `end_s`, or the file no longer grows. Of a file that ended
        before one was whole a single window is given, as by `cut_windows`: refused as `too-short`.

    Raises:
        RecordingError: If the file cannot be read or followed, ends before `start_s` (`beyond-end`), shrinks (`shrunk`)
            or is a table that was replaced (`replaced`), or no window lies before `end_s` (`too-short`); or as
            `choose` does.

    Example:
        >>> import tempfile
        >>> from pulsebayes.waveforms.readers import read
        >>> path = Path(tempfile.mkdtemp()) / "two.csv"
        >>> rows = "".join(f"{i / 125:.3f},80,0.5\n" for i in range(1100))
        >>> _ = path.write_text("time [s],ABP [mmHg],PLETH\n" + rows)
        >>> soon, both = Patience(idle_s=0.1, poll_s=0.1), {"line": "ART", "clip": "PLETH"}
        >>> found = follow_channels(path, lambda _: both, read, length_s=8, every_s=8, fs=125, patience=soon)
        >>> [w.channels for w in found]
        [('line', 'clip')]
    """
    source = _source(path, open_recording)
    if start_s + length_s > end_s + 1e-9:
        raise RecordingError(
            f"no window of {length_s:g} s lies between {start_s:g} and {end_s:g} s",
            code="too-short",
            file=path.name,
            hint=f"--end {start_s + length_s:g}s, or later",
        )
    begin, waited = start_s, 0.0
    while begin + length_s <= end_s + 1e-9:
        if source.grown():
            waited = 0.0
        else:
            patience.sleep(patience.poll_s)
            waited += patience.poll_s
        ended = waited >= patience.idle_s - 1e-9
        recording = source.recording(last=ended)
        for window in _whole(recording, choose, begin, length_s, every_s, fs, end_s, last=ended):
            yield window
            begin += every_s
        if ended:
            if begin == start_s and recording is not None:
                yield _too_short(recording, choose, begin, length_s, fs, end_s)
            return
        source.forget(begin - _KEPT_S)


def _whole(
    recording: Recording | None,
    choose: Choose,
    begin: float,
    length_s: float,
    every_s: float,
    fs: float,
    end_s: float,
    *,
    last: bool,
) -> Iterator[Window]:
    """The whole windows that a recording holds now; none if not one is."""
    if recording is None:
        return
    chosen = choose(recording)
    rates = [recording.channel(key).fs for key in chosen.values()]
    changed = [min(rate, fs) for rate in rates if rate != fs]
    margin = _MARGIN / max(min(changed), LEAST_HZ) if changed and not last else 0.0
    stop_s = min(recording.duration_s - margin, end_s)
    if stop_s - begin >= length_s - 0.5 / min(fs, *rates):
        for window in cut_windows(
            recording, tuple(chosen.values()), length_s=length_s, every_s=every_s, fs=fs, start_s=begin, end_s=stop_s
        ):
            yield replace(window, channels=tuple(chosen))


def _too_short(recording: Recording, choose: Choose, begin: float, length_s: float, fs: float, end_s: float) -> Window:
    """What there is of the first window of a recording that ended before it was whole."""
    if begin >= recording.duration_s:
        raise RecordingError(
            f"the file ended at {recording.duration_s:g} s, the first window starts at {begin:g} s",
            code="beyond-end",
            file=recording.name,
            hint=f"--start below {recording.duration_s:g}s",
        )
    chosen = choose(recording)
    cut = cut_windows(recording, tuple(chosen.values()), length_s=length_s, fs=fs, start_s=begin, end_s=end_s)
    return replace(next(cut), channels=tuple(chosen))


def _source(path: Path, open_recording: Open) -> _Growing:
    """How a file is followed: as a record if a header stands beside it, else as text."""
    if not path.exists() and not path.with_name(path.name + ".hea").is_file():
        raise RecordingError("there is no such file", code="not-found", file=path.name)
    stem = path.with_name(path.name + ".hea") if path.suffix not in (".hea", ".dat") else path.with_suffix(".hea")
    if stem.is_file():
        return _Record(path, stem, open_recording)
    if path.is_dir() or b"\0" in path.open("rb").read(4096):
        raise RecordingError(
            "expected a text table or a WFDB record, which can be followed while they grow; this is neither",
            code="follow",
            file=path.name,
            hint="leave --follow out once the recording is over",
        )
    return _Table(path, open_recording)


def _size(path: Path, before: int) -> int:
    """Bytes of a file, which may only grow."""
    try:
        now = path.stat().st_size
    except FileNotFoundError:
        now = -1
    if now < before:
        what = "disappeared" if now < 0 else f"shrank from {before} to {now} bytes"
        raise RecordingError(
            f"the file {what} while it was followed: what was answered until then is kept",
            code="shrunk",
            file=path.name,
            hint="follow the new file from its start",
        )
    return now


class _Record:
    """A WFDB record; its header may state how long it is by now, or nothing."""

    def __init__(self, path: Path, header: Path, open_recording: Open) -> None:
        self._path, self._header, self._open = path, header, open_recording
        self._sizes: dict[Path, int] = {}
        self._recording: Recording | None = None
        self._stamp = 0.0

    def grown(self) -> bool:
        signals = {*self._sizes, *self._header.parent.glob(f"{self._header.stem}*.dat")}
        _size(self._header, 0)
        sizes, stamp = {p: _size(p, self._sizes.get(p, 0)) for p in signals}, self._header.stat().st_mtime
        changed = sizes != self._sizes or stamp != self._stamp
        self._sizes, self._stamp = sizes, stamp
        if changed:
            self._recording = None
        return changed

    def recording(self, *, last: bool) -> Recording | None:
        if self._recording is None and (last or any(size > 0 for size in self._sizes.values())):
            self._recording = self._open(self._path)
        return self._recording

    def forget(self, before_s: float) -> None:
        """Nothing is held."""


class _Table:
    """A text table; holds its header and the rows from a little before the next window on.

    A column that has held numbers and is empty in all rows that are held would be left out by the reader: its last
    number stands in for two of them, long before the next window, so that it stays a channel, of missing samples.
    """

    def __init__(self, path: Path, open_recording: Open) -> None:
        self._path, self._open = path, open_recording
        self._folder = tempfile.TemporaryDirectory(prefix="pulsebayes-")
        self._head: list[bytes] | None = None
        self._rows: list[bytes] = []
        self._read, self._known, self._tail, self._offset_s = 0, b"", b"", 0.0
        self._recording: Recording | None = None
        self._looked_at = 0
        self._delimiter: str | None = None
        self._seen: dict[int, str] = {}

    def grown(self) -> bool:
        size = _size(self._path, self._read)
        if size == self._read:
            return False
        with self._path.open("rb") as stream:
            stream.seek(self._read - len(self._known))
            known, text = stream.read(len(self._known)), stream.read(size - self._read)
        if known != self._known:
            raise RecordingError(
                "the file was replaced while it was followed: what was answered until then is kept",
                code="replaced",
                file=self._path.name,
                hint="follow the new file from its start",
            )
        self._read += len(text)
        self._known = (known + text)[-_KNOWN:]
        *lines, self._tail = (self._tail + text).split(b"\n")
        self._rows += lines
        return True

    def recording(self, *, last: bool) -> Recording | None:
        if self._head is None:
            if len(self._rows) < _FEWEST_ROWS:
                return self._open(self._path) if last else None
            self._split()
        new = len(self._rows) - self._looked_at
        if self._recording is None or new >= self._recording.channels[0].fs * (_NEWS_S if not last else 0.0):
            try:
                self._recording, self._looked_at = self._placed(len(self._rows)), len(self._rows)
            except RecordingError as error:
                if last or error.code not in _NOTHING_YET:
                    raise
        return self._recording

    def _split(self) -> None:
        """Tells the header from the rows."""
        from .readers._table_layout import layout_of

        texts = [row.decode("utf-8-sig" if i == 0 else "utf-8", "replace") for i, row in enumerate(self._rows[:400])]
        layout = layout_of(self._path, texts)
        first, self._delimiter = layout.first_line - 1, layout.delimiter
        self._head, self._rows = self._rows[:first], self._rows[first:]

    def _placed(self, rows: int) -> Recording:
        """The first of the held rows, read as a table and put where they stand in time."""
        part = Path(self._folder.name) / self._path.name
        part.write_bytes(b"\n".join([*(self._head or []), *self._with_every_column(rows), b""]))
        found = self._open(part)
        return replace(found, channels=tuple(replace(c, start_s=c.start_s + self._offset_s) for c in found.channels))

    def _with_every_column(self, rows: int) -> list[bytes]:
        """The first of the held rows, in which no column that has held numbers is empty."""
        held, empty = self._rows[:rows], set(self._seen)
        for row in held:
            if not empty:
                return held
            empty -= self._numbers(row).keys()
        for i in range(1, min(3, rows)):
            cells = self._cells(held[i])
            cells += [""] * (max(empty) + 1 - len(cells))
            filled = [self._seen[k] if k in empty else cell for k, cell in enumerate(cells)]
            held[i] = (self._delimiter or " ").join(filled).encode()
        return held

    def _cells(self, row: bytes) -> list[str]:
        from .readers._table_layout import cells_of

        return cells_of(row.decode("utf-8", "replace"), self._delimiter)

    def _numbers(self, row: bytes) -> dict[int, str]:
        """Cells of a row that hold numbers."""
        from .readers._table_layout import MISSING, is_number

        cells = enumerate(self._cells(row))
        return {k: cell for k, cell in cells if cell.casefold() not in MISSING and is_number(cell.replace(",", "."))}

    def forget(self, before_s: float) -> None:
        if self._recording is None or not self._recording.channels:
            return
        channel = self._recording.channels[0]
        many = min(math.floor((before_s - self._offset_s) * channel.fs), len(self._rows) - _FEWEST_ROWS)
        if many < _HELD_S * channel.fs:
            return
        first_s = self._offset_s
        while many > 1:
            end = max(c.start_s + c.duration_s for c in self._placed(many + 1).channels)
            first_s = end - 1.0 / channel.fs
            if first_s <= before_s + 1e-9:
                break
            many //= 2  # rows are missing before it
        else:
            return
        for row in self._rows[:many]:
            self._seen.update(self._numbers(row))
        self._rows, self._offset_s, self._recording = self._rows[many:], first_s, None
