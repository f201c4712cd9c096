r"""Read text that LabChart exports: blocks of `Interval=`, `ChannelTitle=`, `Range=` lines, then one sample a row.

The interval between rows comes from the header, the unit of a channel from `UnitName=` or the unit of its `Range=`.
Blocks are placed by their `ExcelDateTime=`, with NaN between them. `#*` starts a comment at the end of a row.

References:
    ADInstruments, *LabChart help: exporting data as text*
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

from ..errors import RecordingError
from ..labelling import RawChannel, label_channels
from ..recording import Recording
from ..units import convert, unit
from ._sources import Placed, finite
from ._table_layout import CUT, LONGEST_LINE, ends_with_line
from ._timing import round_rate

__all__ = ["read_labchart"]

_KEY: Final = re.compile(r"(Interval|ExcelDateTime|TimeFormat|DateFormat|ChannelTitle|Range|UnitName|TopValue|"
                         r"BottomValue)=\s*(.*)")  # fmt: skip
_LONGEST_GAP_S: Final = 86400.0
_S_PER_DAY: Final = 86400.0


@dataclass
class _Block:
    """One block: its header by key, the line of its first row, and its rows, one after another."""

    head: dict[str, list[str]] = field(default_factory=dict)
    first_line: int = 0
    width: int = 0
    cells: array[float] = field(default_factory=lambda: array("d"))

    @property
    def n_rows(self) -> int:
        return len(self.cells) // self.width if self.width else 0

    @property
    def table(self) -> Float[np.ndarray, "rows columns"]:
        return np.frombuffer(self.cells).reshape(-1, self.width)


def read_labchart(
    path: str | Path,
    *,
    fs: float | None = None,
    roles: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Recording:
    r"""Read a LabChart text export.

    Arguments:
        path: The file.
        fs: Not needed: the header states the interval. One that contradicts it is refused.
        roles: Roles by channel title.
        units: Units by channel title or role.

    Returns:
        The recording.

    Raises:
        RecordingError: If the header states no interval, a row does not fit it, or blocks differ in their channels.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms.readers import read_labchart
        >>> path = Path(tempfile.mkdtemp()) / "demo.txt"
        >>> head = "Interval=\t0.01 s\nChannelTitle=\tABP\nRange=\t300 mmHg\n"
        >>> _ = path.write_text(head + "".join(f"{i / 100:.2f}\t{80 + i % 40}\n" for i in range(500)))
        >>> channel = read_labchart(path).channel("ART")
        >>> channel.fs, channel.unit
        (100.0, 'mmHg')
    """
    path = Path(path)
    blocks = _blocks(path)
    rate = _rate(path.name, blocks, fs)
    titles = blocks[0].head.get("ChannelTitle", [])
    width = blocks[0].width - 1
    waves, findings = _joined(path.name, blocks, rate, width)
    findings += [] if ends_with_line(path) else [CUT]
    raw = []
    for index in range(width):
        title = titles[index].strip() if index < len(titles) else ""
        spelled = _unit(blocks[0], index)
        name = title or f"col {index + 2}"
        raw.append(RawChannel(name, spelled, rate, len(waves[index]), named=bool(title)))
    channels = label_channels(path.name, raw, roles=roles, units=units)
    return Recording(path.name, channels, Placed(tuple(waves)), tuple(findings))


def _blocks(path: Path) -> list[_Block]:
    blocks: list[_Block] = []
    comma, width = False, 0
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), ""), 1):
            match = _KEY.match(line)
            if match is not None:
                if match[1] == "Interval" or not blocks:
                    blocks.append(_Block())
                blocks[-1].head[match[1]] = [cell.strip() for cell in match[2].rstrip("\r\n").split("\t")]
            elif line.strip():
                block = blocks[-1]
                block.first_line = block.first_line or number
                text = line.split("#*", 1)[0].rstrip()
                comma = comma or ("," in text and "." not in text)
                row = _row(path.name, number, text.replace(",", ".") if comma else text)
                width = width or len(row)
                if len(row) != width:
                    raise _ragged(path.name, number, width, len(row), stream.read(1) == "")
                block.width = width
                block.cells.extend(row)
    if not any(block.n_rows for block in blocks):
        raise RecordingError("expected rows of numbers under the header, there are none", code="empty", file=path.name)
    return [block for block in blocks if block.n_rows]


def _row(file: str, number: int, text: str) -> list[float]:
    try:
        values = [float("nan") if cell.strip() in ("", "NaN", "*") else float(cell) for cell in text.split("\t")]
    except ValueError as error:
        raise RecordingError(
            f"expected numbers in line {number}, got {text[:40]!r}", code="corrupt", file=file, hint="repair the line"
        ) from error
    if len(values) < 2:
        raise RecordingError(
            f"expected a time and values in line {number}, got {text[:40]!r}", code="layout", file=file
        )
    return values


def _ragged(file: str, number: int, wanted: int, got: int, last: bool) -> RecordingError:
    return RecordingError(
        f"expected {wanted} columns, line {number} has {got}",
        code="truncated" if last and got < wanted else "corrupt",
        file=file,
        hint="export the text again",
    )


def _rate(file: str, blocks: list[_Block], fs: float | None) -> float:
    rates = set()
    for block in blocks:
        text = " ".join(block.head.get("Interval", [])).strip()
        match = re.fullmatch(r"([\d.,eE+-]+)\s*(\S+)?", text)
        try:
            interval = float(match[1].replace(",", ".")) if match else 0.0
            seconds = convert(interval, unit((match[2] if match else None) or "s").name, "s")
        except ValueError:
            seconds = 0.0
        if not 1.0e-6 < seconds < 1.0e3:
            raise RecordingError(f"expected the interval between rows, got {text!r}", code="no-rate", file=file)
        rates.add(round_rate(1.0 / seconds, 1000))
    if len(rates) > 1:
        raise RecordingError(
            f"expected one interval in all blocks, got rates of {sorted(rates)} Hz",
            code="layout",
            file=file,
            hint="export the blocks one by one",
        )
    rate = rates.pop()
    if fs is not None and abs(fs / rate - 1.0) > 1.0e-3:
        raise RecordingError(
            f"--fs says {fs:g} Hz, the file {rate:g} Hz", code="bad-rate", file=file, hint="leave --fs out"
        )
    return float(rate)


def _unit(block: _Block, index: int) -> str | None:
    names = block.head.get("UnitName")
    if names is not None and index < len(names) and names[index].strip(" *"):
        return names[index].strip()
    ranges = block.head.get("Range")
    if ranges is None or index >= len(ranges):
        return None
    return re.sub(r"^[\s\d.,eE+-]+", "", ranges[index]).strip() or None


def _joined(file: str, blocks: list[_Block], rate: float, width: int) -> tuple[list[np.ndarray], list[str]]:
    """Channels over all blocks, and what was noticed."""
    starts = [_start(block) for block in blocks]
    place, places = 0, list[int]()
    for block, start in zip(blocks, starts, strict=True):
        times = block.table[:, 0]
        _check_times(file, block, times, rate)
        if start is not None and starts[0] is not None:
            at = round((start - starts[0]) * rate)
            if at < place - 1 or (at - place) / rate > _LONGEST_GAP_S:
                raise RecordingError(
                    f"the block at line {block.first_line} starts {(start - starts[0]):.3f} s after the first one, "
                    f"the block before it ends at {place / rate:.3f} s",
                    code="time-stamps",
                    file=file,
                )
            place = max(at, place)
        elif places:
            raise RecordingError(
                f"the block at line {block.first_line} does not say when it starts",
                code="time-stamps",
                file=file,
                hint="export with date and time, or block by block",
            )
        places.append(place)
        place += block.n_rows
    waves = [np.full(place, np.nan, dtype=np.float32) for _ in range(width)]
    for block, at in zip(blocks, places, strict=True):
        values = block.table[:, 1:]
        for index in range(width):
            waves[index][at : at + len(values)] = finite(values[:, index])
    gaps = place - sum(block.n_rows for block in blocks)
    notes = [f"{len(blocks)} blocks, {gaps / rate:.1f} s between them are missing"] if len(blocks) > 1 else []
    return waves, notes


def _start(block: _Block) -> float | None:
    try:
        return float(block.head["ExcelDateTime"][0].replace(",", ".")) * _S_PER_DAY
    except (KeyError, IndexError, ValueError):
        return None


def _check_times(file: str, block: _Block, times: np.ndarray, rate: float) -> None:
    """The rows must follow each other as the interval says, within what their digits can tell."""
    wrong = np.flatnonzero(~(np.abs(np.diff(times) * rate - 1.0) < 0.51))
    drift = abs((times[-1] - times[0]) * rate - (len(times) - 1))
    if wrong.size or not drift < 0.01 * len(times) + 1.0:
        row = int(wrong[0]) if wrong.size else len(times) - 2
        raise RecordingError(
            f"expected a row every {1 / rate:g} s, line {block.first_line + row + 1} is at {times[row + 1]:g} s "
            f"after {times[row]:g} s",
            code="time-stamps",
            file=file,
            at_s=float(times[row] - times[0]),
        )
