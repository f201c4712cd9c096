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

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from ..errors import RecordingError
from ..labelling import RawChannel, label_channels
from ..recording import Recording
from ..roles import ROLES, guess_role
from ._sources import refuse_absent
from ._wfdb_header import Segment, Stored, check_sizes, compressed, find_header, frame_rate_of, read_header, segments_of

__all__ = ["read_wfdb"]

_UNNAMED: Final = re.compile(r"(?:(?:col|column|ch|chan|channel|sig|signal)[ _.-]*)?\d+|", re.IGNORECASE)
_SIGNAL_ERRORS: Final = (ValueError, OSError, RuntimeError, IndexError)  # RuntimeError: soundfile on a bad FLAC stream


@dataclass(frozen=True)
class _Samples:
    """Source of the values: reads the frames asked for, segment by segment."""

    file: str
    frame_rate: float
    samples_per_frame: tuple[int, ...]
    segments: tuple[Segment, ...]

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

    def _segment(self, segment: Segment, place: int, first: int, stop: int) -> Float[np.ndarray, " time"]:
        import wfdb

        stored = segment.stored[place]
        # Format 8 stores differences, right only from the start; without a stated length wfdb reads all or fails.
        begin = 0 if stored.fmt == "8" or segment.unbounded else first
        until = None if segment.unbounded else stop
        try:
            record: Any = wfdb.rdrecord(
                segment.stem, sampfrom=begin, sampto=until, channels=[place], smooth_frames=False, return_res=32
            )
        except _SIGNAL_ERRORS as error:
            at_s = (segment.first + first) / self.frame_rate
            refuse_absent(error, stored.file, channel=stored.name, at_s=at_s)
            raise RecordingError(
                f"expected samples of format {stored.fmt} from {first / self.frame_rate:.3f} s "
                f"to {stop / self.frame_rate:.3f} s of the segment, the file is damaged there ({error})",
                code="corrupt",
                file=stored.file,
                channel=stored.name,
                at_s=at_s,
                hint="fetch the record again",
            ) from error
        wave = np.asarray(record.e_p_signal[0], dtype=np.float32)
        wave = wave[(first - begin) * stored.samples_per_frame : (stop - begin) * stored.samples_per_frame]
        if len(wave) != (stop - first) * stored.samples_per_frame:
            raise RecordingError(
                f"expected {(stop - first) * stored.samples_per_frame} samples, got {len(wave)}",
                code="corrupt",
                file=stored.file,
                channel=stored.name,
                at_s=(segment.first + first) / self.frame_rate,
            )
        return wave if stored.scale == 1.0 else np.rint(wave * np.float32(stored.scale))


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
    record, lines = read_header(header, header.name)
    frame_rate = frame_rate_of(header.name, lines[0], record, fs)
    segments, order = segments_of(header, record, lines)
    for segment in segments:
        check_sizes(header, segment, frame_rate)
        for item in compressed(segment):
            _check_flac(segment, item, frame_rate)
    channels, widths = _channels(header.name, segments, order, frame_rate)
    channels = _with_roles(channels, record)
    samples = _Samples(header.name, frame_rate, tuple(widths), tuple(segments))
    return Recording(header.name, label_channels(header.name, channels, roles=roles, units=units), samples)


def _channels(
    file: str, segments: list[Segment], order: list[tuple[str, int]], frame_rate: float
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


def _with_roles(channels: list[RawChannel], record: Any) -> list[RawChannel]:
    """Roles, and that there is no unit, where comments state it as `writers.write_wfdb` leaves them."""
    stated = {key: words for key in ("roles", "units") if (words := _comment(record, key, len(channels))) is not None}
    found = []
    for index, channel in enumerate(channels):
        role = stated.get("roles", [""] * len(channels))[index]
        if role in ROLES or role == "-":
            channel = replace(channel, role=None if role == "-" else role, role_known=True)
        if stated.get("units", [""] * len(channels))[index] == "-":
            channel = replace(channel, unit=None, findings=())
        found.append(channel)
    return found


def _comment(record: Any, key: str, count: int) -> list[str] | None:
    """Words of the comment `key: word word ...`, one a signal."""
    for comment in getattr(record, "comments", None) or []:
        words = comment.removeprefix(f"{key}:").split()
        if comment.startswith(f"{key}:") and len(words) == count:
            return list(words)
    return None


def _check_flac(segment: Segment, item: Stored, frame_rate: float) -> None:
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
