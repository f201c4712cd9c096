r"""Read text that LabChart exports: blocks of `Interval=`, `ChannelTitle=`, `Range=` lines, then one sample a row.

The interval between rows comes from the header, the unit of a channel from `UnitName=` or the unit of its `Range=`.
Blocks are placed by their `ExcelDateTime=`, with NaN between them. `#*` starts a comment at the end of a row.

References:
    ADInstruments, *LabChart help: exporting data as text*
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from jaxtyping import Float

from ..errors import RecordingError
from ..labelling import RawChannel, label_channels
from ..recording import Recording, Samples
from ..units import convert, unit
from ._labchart_rows import KEY, LongBlock, is_comma, long_blocks, no_header, ragged, row_of, without_comment
from ._sources import Placed, Sliced, finite
from ._table_layout import CUT, LONGEST_LINE, ends_with_line
from ._timing import round_rate

__all__ = ["read_labchart"]

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


_Blocks: TypeAlias = "Sequence[_Block | LongBlock]"


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
    long = long_blocks(path)
    blocks: _Blocks = _blocks(path) if long is None else long
    if not blocks:
        raise RecordingError("expected rows of numbers under the header, there are none", code="empty", file=path.name)
    rate = _rate(path.name, blocks, fs)
    titles = blocks[0].head.get("ChannelTitle", [])
    width = blocks[0].width - 1
    _check_all(path.name, blocks, rate)
    places, length = _places(path.name, blocks, rate)
    raw = []
    for index in range(width):
        title = titles[index].strip() if index < len(titles) else ""
        spelled = _unit(blocks[0], index)
        name = title or f"col {index + 2}"
        raw.append(RawChannel(name, spelled, rate, length, named=bool(title)))
    channels = label_channels(path.name, raw, roles=roles, units=units)
    findings = _gaps(blocks, length, rate) + ([] if ends_with_line(path) else [CUT])
    if long is None:
        held = [block for block in blocks if isinstance(block, _Block)]
        source: Samples = Placed(tuple(_joined(held, places, k, length) for k in range(width)))
    else:
        readers = tuple(partial(_values, long, places, k, rate) for k in range(width))
        source = Sliced(path.name, tuple(channel.name for channel in channels), (rate,) * width, readers)
    return Recording(path.name, channels, source, tuple(findings))


def _blocks(path: Path) -> list[_Block]:
    blocks: list[_Block] = []
    comma, width = False, 0
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), ""), 1):
            match = KEY.match(line)
            if match is not None:
                if match[1] == "Interval" or not blocks:
                    blocks.append(_Block())
                blocks[-1].head[match[1]] = [cell.strip() for cell in match[2].rstrip("\r\n").split("\t")]
            elif line.strip():
                if not blocks:
                    raise no_header(path.name)
                block = blocks[-1]
                block.first_line = block.first_line or number
                text = without_comment(line)
                comma = comma or is_comma(text)
                row = row_of(path.name, number, text.replace(",", ".") if comma else text)
                width = width or len(row)
                if len(row) != width:
                    raise ragged(path.name, number, width, len(row), stream.read(1) == "")
                block.width = width
                block.cells.extend(row)
    return [block for block in blocks if block.n_rows]


def _rate(file: str, blocks: _Blocks, fs: float | None) -> float:
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


def _unit(block: _Block | LongBlock, index: int) -> str | None:
    names = block.head.get("UnitName")
    if names is not None and index < len(names) and names[index].strip(" *"):
        return names[index].strip()
    ranges = block.head.get("Range")
    if ranges is None or index >= len(ranges):
        return None
    return re.sub(r"^[\s\d.,eE+-]+", "", ranges[index]).strip() or None


def _places(file: str, blocks: _Blocks, rate: float) -> tuple[list[int], int]:
    """The sample at which each block begins, and the number of samples in all."""
    starts = [_start(block) for block in blocks]
    place, places = 0, list[int]()
    for block, start in zip(blocks, starts, strict=True):
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
    return places, place


def _gaps(blocks: _Blocks, length: int, rate: float) -> list[str]:
    """What lies between the blocks."""
    missing = length - sum(block.n_rows for block in blocks)
    return [f"{len(blocks)} blocks, {missing / rate:.1f} s between them are missing"] if len(blocks) > 1 else []


def _joined(blocks: list[_Block], places: list[int], index: int, length: int) -> Float[np.ndarray, " time"]:
    """One channel over all blocks in memory, NaN between them."""
    wave = np.full(length, np.nan, dtype=np.float32)
    for block, at in zip(blocks, places, strict=True):
        wave[at : at + block.n_rows] = finite(block.table[:, index + 1])
    return wave


def _values(
    blocks: list[LongBlock], places: list[int], index: int, rate: float, first: int, stop: int
) -> Float[np.ndarray, " time"]:
    """Samples `first` to `stop` of one channel, from the blocks on disk that they touch."""
    wave = np.full(stop - first, np.nan)
    for block, at in zip(blocks, places, strict=True):
        begin, end = max(first, at), min(stop, at + block.n_rows)
        if begin < end:
            wave[begin - first : end - first] = block.rows(begin - at, end - at, rate)[:, index + 1]
    return wave


def _start(block: _Block | LongBlock) -> float | None:
    try:
        return float(block.head["ExcelDateTime"][0].replace(",", ".")) * _S_PER_DAY
    except (KeyError, IndexError, ValueError):
        return None


def _check_all(file: str, blocks: _Blocks, rate: float) -> None:
    for block in blocks:
        if isinstance(block, LongBlock):
            block.look(rate)
        else:
            _check_times(file, block, block.table[:, 0], rate)


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
