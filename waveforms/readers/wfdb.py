r"""Read WFDB records (PhysioNet): a text header `.hea` and the signal files it names, through the `wfdb` package.

Sample $d$ of a signal stands for $(d - \mathrm{baseline})/\mathrm{gain}$ in the header's unit. A frame holds one or
several samples of each signal, so signals of one record may differ in rate; each is given at its own. Records of
several segments, of fixed or variable layout, are put together in time, with NaN where a segment lacks the signal.
Nothing is read before it is asked for, except the headers and the sizes of the signal files: a file shorter than its
header promises is refused.

References:
    WFDB header files, https://physionet.org/physiotools/wag/header-5.htm
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from ..errors import RecordingError
from ..labelling import RawChannel, label_channels
from ..recording import Recording
from ..roles import guess_role

__all__ = ["find_header", "read_wfdb"]

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
_UNNAMED: Final = re.compile(r"(?:(?:col|column|ch|chan|channel|sig|signal)[ _.-]*)?\d+|", re.IGNORECASE)
_HEADER_ERRORS: Final = (
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
)  # what wfdb raises on a bad header
_SIGNAL_ERRORS: Final = (ValueError, OSError, RuntimeError, IndexError)  # RuntimeError: soundfile on a bad FLAC stream


@dataclass(frozen=True)
class _Stored:
    """One signal as one segment stores it."""

    file: str
    fmt: str
    samples_per_frame: int
    offset: int
    gain: float
    unit: str | None
    name: str


@dataclass(frozen=True)
class _Segment:
    """A stretch of frames, and where in it each channel of the record stands (`None`: not there)."""

    stem: str
    first: int
    n_frames: int
    places: tuple[int | None, ...]
    stored: tuple[_Stored, ...]


@dataclass(frozen=True)
class _Samples:
    """Source of the values: reads the frames asked for, segment by segment."""

    file: str
    frame_rate: float
    samples_per_frame: tuple[int, ...]
    segments: tuple[_Segment, ...]

    def __call__(self, index: int, first: int, stop: int) -> Float[np.ndarray, " time"]:
        width = self.samples_per_frame[index]
        first_frame, stop_frame = first // width, -(-stop // width)
        frames = np.full((stop_frame - first_frame) * width, np.nan, dtype=np.float32)
        for segment in self.segments:
            begin, end = max(first_frame, segment.first), min(stop_frame, segment.first + segment.n_frames)
            place = segment.places[index]
            if begin < end and place is not None:
                part = self._segment(segment, place, begin - segment.first, end - segment.first)
                frames[(begin - first_frame) * width : (end - first_frame) * width] = part
        return frames[first - first_frame * width : stop - first_frame * width]

    def _segment(self, segment: _Segment, place: int, first: int, stop: int) -> Float[np.ndarray, " time"]:
        import wfdb

        stored = segment.stored[place]
        begin = 0 if stored.fmt == "8" else first  # format 8 stores differences: only right when read from the start
        try:
            record: Any = wfdb.rdrecord(
                segment.stem, sampfrom=begin, sampto=stop, channels=[place], smooth_frames=False, return_res=32
            )
        except _SIGNAL_ERRORS as error:
            raise RecordingError(
                f"expected samples of format {stored.fmt} from {first / self.frame_rate:.3f} s "
                f"to {stop / self.frame_rate:.3f} s of the segment, the file is damaged there ({error})",
                code="corrupt",
                file=stored.file,
                channel=stored.name,
                at_s=(segment.first + first) / self.frame_rate,
                hint="fetch the record again",
            ) from error
        wave = np.asarray(record.e_p_signal[0], dtype=np.float32)
        wave = wave[(first - begin) * stored.samples_per_frame :]
        # Gain 0 means uncalibrated: wfdb divides by its default gain, this undoes it and leaves ADC counts.
        return wave * np.float32(stored.gain) if stored.unit == "adu" else wave


def read_wfdb(
    path: str | Path,
    *,
    fs: float | None = None,
    roles: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Recording:
    r"""Read a WFDB record: single or multi-segment, any number of samples a frame, FLAC included.

    Values are read when they are asked for. Signals without a name are called `col 1`, `col 2`, ...; a signal whose
    header gives no unit has none (WFDB would say mV, which is only believed of an ECG); one without a gain is in `adu`.

    Arguments:
        path: The record's path, with `.hea`, with the suffix of its signal file, or without any.
        fs: Frame rate [Hz], needed only where the header states none.
        roles: Roles by channel name, over those guessed.
        units: Units by channel name or role, over those in the header.

    Returns:
        The recording.

    Raises:
        RecordingError: If a file is missing, damaged or shorter than the header promises, with the file and the place.

    Example:
        >>> import tempfile, numpy as np, wfdb
        >>> from pulsebayes.waveforms.readers import read_wfdb
        >>> folder = tempfile.mkdtemp()
        >>> wave = 90 + 30 * np.sin(np.arange(1000) / 20)
        >>> wfdb.wrsamp("demo", 125, ["mmHg"], ["ABP"], wave[:, None], fmt=["16"], write_dir=folder)
        >>> recording = read_wfdb(f"{folder}/demo")
        >>> recording.channel("ART").unit, recording.values("ART", 0, 2).shape
        ('mmHg', (250,))
    """
    header = find_header(Path(path))
    if header is None:
        raise RecordingError(
            "expected a WFDB header beside it, there is none",
            code="not-found",
            file=Path(path).name,
            hint="give the path of the .hea file",
        )
    record, lines = _header(header, header.name)
    frame_rate = _frame_rate(header.name, lines[0], record, fs)
    segments, order = _segments(header, record, lines)
    for segment in segments:
        _check_sizes(header, segment, frame_rate)
    channels, widths = _channels(header.name, segments, order, frame_rate)
    samples = _Samples(header.name, frame_rate, tuple(widths), tuple(segments))
    return Recording(header.name, label_channels(header.name, channels, roles=roles, units=units), samples)


def find_header(path: Path) -> Path | None:
    r"""The WFDB header that belongs to a path, if there is one.

    Arguments:
        path: A header, a signal file, or a record's path without suffix.

    Returns:
        Path of the `.hea` file: the path itself, the path with `.hea` added or in place of its suffix, or the only
        header of the folder that names the file.

    Example:
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms.readers.wfdb import find_header
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


def _header(header: Path, file: str) -> tuple[Any, list[str]]:
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


def _frame_rate(file: str, first_line: str, record: Any, fs: float | None) -> float:
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


def _stored(record: Any, lines: list[str]) -> tuple[_Stored, ...]:
    """The signals of a single-segment header; what wfdb fills in where nothing stands is told apart here."""
    result = []
    for index, line in enumerate(lines[1:]):
        words = line.split()
        gain_word = words[2] if len(words) > 2 else ""
        unit = gain_word.split("/", 1)[1] if "/" in gain_word else None
        number = re.match(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?", gain_word)
        if number is None or float(number[0]) == 0.0:
            unit = "adu"
        result.append(
            _Stored(
                file=record.file_name[index],
                fmt=str(record.fmt[index]),
                samples_per_frame=int(record.samps_per_frame[index] or 1),
                offset=int(record.byte_offset[index] or 0),
                gain=float(record.adc_gain[index]),
                unit=unit,
                name=(record.sig_name[index] or "").strip(),
            )
        )
    return tuple(result)


def _segments(header: Path, record: Any, lines: list[str]) -> tuple[list[_Segment], list[tuple[str, int]]]:
    """Segments in time, and the record's channels as (name, samples a frame)."""
    if not getattr(record, "n_seg", None):
        if not record.n_sig:
            raise RecordingError("expected signals, the header lists none", code="no-data", file=header.name)
        stored = _stored(record, lines)
        length = record.sig_len if record.sig_len else _length(header, stored)
        places: tuple[int | None, ...] = tuple(range(len(stored)))
        segment = _Segment(str(header.with_suffix("")), 0, int(length), places, stored)
        return [segment], [(item.name, item.samples_per_frame) for item in stored]
    parts: list[_Segment] = []
    order: list[tuple[str, int]] = []
    first = 0
    for name, length in zip(record.seg_name, record.seg_len, strict=True):
        if name != "~":
            path = header.with_name(f"{name}.hea")
            part, part_lines = _header(path, header.name)
            stored = _stored(part, part_lines)
            order = order or [(item.name, item.samples_per_frame) for item in stored]
            if length:  # a first segment of length 0 only describes the layout
                places = _places(order, stored, fixed=record.layout == "fixed", file=path.name)
                parts.append(_Segment(str(path.with_suffix("")), first, int(length), places, stored))
        first += int(length)
    if not parts:
        raise RecordingError("expected segments with signals, all are empty", code="no-data", file=header.name)
    return parts, order


def _places(
    order: list[tuple[str, int]], stored: tuple[_Stored, ...], *, fixed: bool, file: str
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


def _channels(
    file: str, segments: list[_Segment], order: list[tuple[str, int]], frame_rate: float
) -> tuple[list[RawChannel], list[int]]:
    n_frames = max(segment.first + segment.n_frames for segment in segments)
    channels = []
    for index, (name, width) in enumerate(order):
        held = [(s, s.stored[p]) for s in segments if (p := s.places[index]) is not None]
        unit = held[0][1].unit if held else None
        other = next((item for _, item in held if item.unit != unit), None)
        if other is not None:
            raise RecordingError(
                f"expected one unit in all segments, got {unit!r} and {other.unit!r}",
                code="layout",
                file=file,
                channel=name,
            )
        findings = []
        if unit is None:
            unit = "mV" if guess_role(name) == "ECG" else None
            findings.append("the header states no unit" + (", taken as mV as WFDB does" if unit else ""))
        if unit == "adu":
            findings.append("the header states no gain: these are ADC counts")
        frames_held = sum(segment.n_frames for segment, _ in held)
        if frames_held < n_frames:
            findings.append(f"absent from {1 - frames_held / n_frames:.0%} of the record")
        named = _UNNAMED.fullmatch(name) is None
        label = name or f"col {index + 1}"
        rate = frame_rate * width
        channels.append(RawChannel(label, unit, rate, n_frames * width, findings=tuple(findings), named=named))
    return channels, [width for _, width in order]


def _groups(segment_stored: tuple[_Stored, ...]) -> dict[str, list[_Stored]]:
    groups: dict[str, list[_Stored]] = {}
    for item in segment_stored:
        groups.setdefault(item.file, []).append(item)
    return groups


def _size(folder: Path, name: str, header: str) -> int:
    try:
        return (folder / name).stat().st_size
    except OSError as error:
        raise RecordingError(
            f"expected the signal file {name} beside it, it is missing", code="not-found", file=header
        ) from error


def _bytes_per_frame(file: str, items: list[_Stored]) -> float:
    fmt = items[0].fmt
    if fmt not in _BYTES_PER_SAMPLE:
        known = ", ".join([*_BYTES_PER_SAMPLE, *sorted(_FLAC)])
        raise RecordingError(f"expected a WFDB format among {known}, got {fmt}", code="unsupported", file=file)
    return _BYTES_PER_SAMPLE[fmt] * sum(item.samples_per_frame for item in items)


def _length(header: Path, stored: tuple[_Stored, ...]) -> int:
    """Frames in the first signal file, where the header states no length."""
    file, items = next(iter(_groups(stored).items()))
    size = _size(header.parent, file, header.name)
    if items[0].fmt in _FLAC:
        raise RecordingError("expected a length in line 1 of the header", code="header", file=header.name)
    length = int((size - items[0].offset) / _bytes_per_frame(file, items))
    if length <= 0:
        raise RecordingError("expected samples, the signal file is empty", code="no-data", file=file)
    return length


def _check_sizes(header: Path, segment: _Segment, frame_rate: float) -> None:
    """Refuse a signal file shorter than its header promises: wfdb would read its beginning without a word."""
    for file, items in _groups(segment.stored).items():
        size = _size(header.parent, file, header.name)
        if items[0].fmt in _FLAC:
            _check_flac(segment, items[0], frame_rate)
            continue
        per_frame = _bytes_per_frame(file, items)
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


def _check_flac(segment: _Segment, item: _Stored, frame_rate: float) -> None:
    """Decode the last frame of a FLAC file; where that fails, find the last one that can be."""
    place = segment.stored.index(item)
    samples = _Samples(item.file, frame_rate, (item.samples_per_frame,), (segment,))

    def readable(frame: int) -> bool:
        try:
            return len(samples._segment(segment, place, frame, frame + 1)) == item.samples_per_frame
        except RecordingError:
            return False

    low, high = -1, segment.n_frames - 1
    if readable(high):
        return
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if readable(middle) else (low, middle)
    raise RecordingError(
        f"expected {segment.n_frames} frames of FLAC, the stream breaks off or is damaged after frame {high}",
        code="truncated",
        file=item.file,
        at_s=(segment.first + high) / frame_rate,
        hint="fetch the record again",
    )
