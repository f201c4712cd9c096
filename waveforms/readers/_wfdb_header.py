r"""Headers of WFDB records: segments in time, signals in files, and whether the files are as long as promised."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import RecordingError

__all__ = [
    "Segment",
    "Stored",
    "check_sizes",
    "compressed",
    "find_header",
    "frame_rate_of",
    "read_header",
    "segments_of",
]

_BYTES_PER_SAMPLE: Final[dict[str, float]] = {
    "8": 1.0,
    "16": 2.0,
    "24": 3.0,
    "32": 4.0,
    "61": 2.0,
    "80": 1.0,
    "160": 2.0,
    "212": 1.5,
    "310": 4.0 / 3.0,
    "311": 4.0 / 3.0,
}
_FLAC: Final = frozenset({"508", "516", "524"})
_GAIN: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_LEAST_GAIN: Final = 1.0e-12
_HEADER_ERRORS: Final = (
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
)  # what wfdb raises on a bad header


@dataclass(frozen=True)
class Stored:
    """One signal as one segment stores it."""

    file: str
    fmt: str
    samples_per_frame: int
    offset: int
    scale: float  # 1, or what undoes the gain that wfdb takes for granted where the header states none
    unit: str | None
    name: str


@dataclass(frozen=True)
class Segment:
    """A stretch of frames, and where in it each channel of the record stands (`None`: not there)."""

    stem: str
    first: int
    n_frames: int
    places: tuple[int | None, ...]
    stored: tuple[Stored, ...]
    unbounded: bool = False  # no length stated: wfdb reads such a file whole or not at all


def find_header(path: Path) -> Path | None:
    r"""The WFDB header that belongs to a path, if there is one.

    Arguments:
        path: A header, a signal file, or a record's path without suffix.

    Returns:
        Path of the `.hea` file: the path itself, the path with `.hea` added or in place of its suffix, or the only
        header of the folder that names the file.

    Example:
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms.readers._wfdb_header import find_header
        >>> find_header(Path("no/such/record")) is None
        True
    """
    if path.suffix.lower() == ".hea":
        return path if path.is_file() else None
    added = path.with_name(path.name + ".hea") if path.name else path
    if added.is_file():
        return added
    if not path.is_file():
        return None
    replaced = path.with_suffix(".hea")
    if replaced.is_file() and path.name in replaced.read_text("ascii", "ignore"):
        return replaced
    if path.suffix.lower() not in {".dat", ".mat"}:
        return None
    naming = [
        header for header in path.parent.glob("*.hea") if path.name in header.read_text("ascii", "ignore").split()
    ]
    return naming[0] if len(naming) == 1 else None


def read_header(header: Path, file: str) -> tuple[Any, list[str]]:
    """What wfdb makes of a header, and its lines without comments."""
    import wfdb

    try:
        text = header.read_text("ascii", "ignore")
    except OSError as error:
        raise RecordingError(
            f"expected a readable header {header.name}, got {error.strerror or error}", code="not-found", file=file
        ) from error
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    if not lines:
        raise RecordingError("expected a WFDB header, the file holds no line", code="header", file=header.name)
    try:
        record = wfdb.rdheader(str(header.with_suffix("")))
    except _HEADER_ERRORS as error:
        raise RecordingError(
            f"expected a WFDB header, got {lines[0][:60]!r} ({type(error).__name__}: {error})",
            code="header",
            file=header.name,
        ) from error
    promised = record.n_seg if hasattr(record, "n_seg") and record.n_seg else record.n_sig
    if promised != len(lines) - 1:
        raise RecordingError(
            f"line 1 of the header promises {promised} lines, there are {len(lines) - 1}",
            code="truncated",
            file=header.name,
        )
    return record, lines


def frame_rate_of(file: str, first_line: str, record: Any, fs: float | None) -> float:
    stated = len(first_line.split()) > 2
    if not stated:
        if fs is None:
            raise RecordingError(
                "the header states no sampling rate", code="no-rate", file=file, hint="--fs HZ, for example --fs 125"
            )
        return float(fs)
    rate = float(record.fs)
    if not 0.0 < rate < math.inf:
        raise RecordingError(f"the sampling rate must be positive, the header says {rate}", code="header", file=file)
    if fs is not None and not math.isclose(fs, rate, rel_tol=1e-6):
        raise RecordingError(
            f"--fs says {fs:g} Hz, the header {rate:g} Hz", code="bad-rate", file=file, hint="leave --fs out"
        )
    return rate


def segments_of(header: Path, record: Any, lines: list[str]) -> tuple[list[Segment], list[tuple[str, int]]]:
    """Segments in time, and the record's channels as (name, samples a frame)."""
    if not getattr(record, "n_seg", None):
        if not record.n_sig:
            raise RecordingError("expected signals, the header lists none", code="no-data", file=header.name)
        stored = _stored(header.name, record, lines)
        length = record.sig_len or _length(header, stored)
        places: tuple[int | None, ...] = tuple(range(len(stored)))
        segment = Segment(str(header.with_suffix("")), 0, int(length), places, stored, not record.sig_len)
        return [segment], [(item.name, item.samples_per_frame) for item in stored]
    parts: list[Segment] = []
    order: list[tuple[str, int]] = []
    first = 0
    for name, length in zip(record.seg_name, record.seg_len, strict=True):
        if name != "~":
            path = header.with_name(f"{name}.hea")
            part, part_lines = read_header(path, header.name)
            if getattr(part, "n_seg", None):
                raise RecordingError("expected a segment, got a record of segments", code="layout", file=path.name)
            stored = _stored(path.name, part, part_lines, layout=not length)
            order = order or [(item.name, item.samples_per_frame) for item in stored]
            if length:  # a first segment of length 0 only describes the layout
                places = _places(order, stored, fixed=record.layout == "fixed", file=path.name)
                segment = Segment(str(path.with_suffix("")), first, int(length), places, stored, not part.sig_len)
                parts.append(segment)
        first += int(length)
    if not parts:
        raise RecordingError("expected segments with signals, all are empty", code="no-data", file=header.name)
    return parts, order


def _stored(header: str, record: Any, lines: list[str], *, layout: bool = False) -> tuple[Stored, ...]:
    """The signals of a single-segment header; what wfdb fills in where nothing stands is told apart here.

    A header that only gives the layout names no files and no formats, which are then not checked.
    """
    result: list[Stored] = []
    for index, line in enumerate(lines[1:]):
        words = line.split()
        gain_word = words[2] if len(words) > 2 else ""
        unit = gain_word.split("/", 1)[1] if "/" in gain_word else None
        number = _GAIN.match(gain_word)
        calibrated = number is not None and float(number[0]) != 0.0
        gain = float(record.adc_gain[index])
        item = Stored(
            file=record.file_name[index],
            fmt=str(record.fmt[index]),
            samples_per_frame=int(record.samps_per_frame[index] or 1),
            offset=int(record.byte_offset[index] or 0),
            scale=1.0 if calibrated else gain,
            unit=unit if calibrated else "adu",
            name=(record.sig_name[index] or "").strip(),
        )
        # wfdb cannot shift FLAC signals against each other.
        known = item.fmt in _BYTES_PER_SAMPLE or (item.fmt in _FLAC and not record.skew[index])
        same = [place for place, other in enumerate(result) if other.file == item.file]
        mixed = bool(same) and (result[same[0]].fmt != item.fmt or same[-1] != index - 1)
        if layout:
            result.append(item)
            continue
        mixed = mixed or record.samps_per_frame[index] == 0
        if not known or mixed or not _LEAST_GAIN < abs(gain) < 1 / _LEAST_GAIN:
            formats = ", ".join([*_BYTES_PER_SAMPLE, *sorted(_FLAC)])
            raise RecordingError(
                f"expected a format among {formats}, one for all signals of a file, these side by side, at least "
                f"one sample a frame and a finite gain, got {' '.join(words[:3])!r}",
                code="header" if known else "unsupported",
                file=header,
                channel=item.name or f"col {index + 1}",
            )
        result.append(item)
    return tuple(result)


def _places(
    order: list[tuple[str, int]], stored: tuple[Stored, ...], *, fixed: bool, file: str
) -> tuple[int | None, ...]:
    """For each channel of the record its place in a segment; equal names are matched in their order."""
    if fixed:
        if [item.samples_per_frame for item in stored] != [width for _, width in order]:
            raise RecordingError("expected the signals of the first segment", code="layout", file=file)
        return tuple(range(len(order)))
    free = list(range(len(stored)))
    places: list[int | None] = []
    for name, width in order:
        place = next((i for i in free if stored[i].name == name), None)
        if place is not None:
            free.remove(place)
            if stored[place].samples_per_frame != width:
                raise RecordingError(
                    f"expected {width} samples a frame, got {stored[place].samples_per_frame}",
                    code="layout",
                    file=file,
                    channel=name,
                )
        places.append(place)
    return tuple(places)


def _groups(segment_stored: tuple[Stored, ...]) -> dict[str, list[Stored]]:
    groups: dict[str, list[Stored]] = {}
    for item in segment_stored:
        groups.setdefault(item.file, []).append(item)
    return groups


def compressed(segment: Segment) -> list[Stored]:
    """One signal of each FLAC file of a segment."""
    return [items[0] for items in _groups(segment.stored).values() if items[0].fmt in _FLAC]


def _size(folder: Path, name: str, header: str) -> int:
    try:
        return (folder / name).stat().st_size
    except OSError as error:
        raise RecordingError(
            f"expected the signal file {name} beside it, it is missing", code="not-found", file=header
        ) from error


def _bytes_per_frame(items: list[Stored]) -> float:
    return _BYTES_PER_SAMPLE[items[0].fmt] * sum(item.samples_per_frame for item in items)


def _length(header: Path, stored: tuple[Stored, ...]) -> int:
    """Frames in the first signal file, where the header states no length."""
    file, items = next(iter(_groups(stored).items()))
    size = _size(header.parent, file, header.name)
    if items[0].fmt in _FLAC:
        raise RecordingError("expected a length in line 1 of the header", code="header", file=header.name)
    length = int((size - items[0].offset) / _bytes_per_frame(items))
    if length <= 0:
        raise RecordingError("expected samples, the signal file is empty", code="no-data", file=file)
    return length


def check_sizes(header: Path, segment: Segment, frame_rate: float) -> None:
    """Refuse a signal file shorter than its header promises: wfdb would read its beginning without a word."""
    for file, items in _groups(segment.stored).items():
        size = _size(header.parent, file, header.name)
        if items[0].fmt in _FLAC:
            continue
        per_frame = _bytes_per_frame(items)
        wanted = items[0].offset + math.ceil(segment.n_frames * per_frame - 1e-6)
        if size < wanted:
            frames = max(0, int((size - items[0].offset) / per_frame))
            raise RecordingError(
                f"expected {wanted} bytes for {segment.n_frames} frames, got {size}: signals stop after frame {frames}",
                code="truncated",
                file=file,
                at_s=(segment.first + frames) / frame_rate,
                hint="fetch the record again",
            )
