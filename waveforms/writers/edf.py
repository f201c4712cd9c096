r"""Write EDF and BDF files: records of 16 or 24 bit integers.

The digital range is one short of what the bits hold, and the value outside it marks missing samples. The role of a
channel stands in its transducer field. Values on a grid that the bits can count come back exactly; others within half
a step, the range of the channel over 65,534 (EDF) or 16,777,214 (BDF).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ..recording import Channel, Recording
from ._frames import BLOCK_S, Span, block, check_target, frame_counts, lead, scan, whole_file

__all__ = ["write_edf"]

_RECORD_BYTES: Final = 61440


@dataclass(frozen=True)
class _Scale:
    """Physical minimum and maximum as the header spells them, and the digital maximum."""

    low: str
    high: str
    top: int

    @property
    def step(self) -> float:
        return (float(self.high) - float(self.low)) / (2 * self.top)


def write_edf(recording: Recording, path: str | Path) -> list[Path]:
    r"""Write a recording as EDF (`.edf`, 16 bits) or BDF (`.bdf`, 24 bits).

    Arguments:
        recording: The recording; read a stretch at a time.
        path: The file to write.

    Returns:
        The file written.

    Raises:
        ValueError: If the rates of the channels have no common record, or a value does not fit the header's 8 letters.
        RecordingError: If the recording cannot be read to its end.

    Example:
        >>> import tempfile, numpy as np
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms import Recording
        >>> from pulsebayes.waveforms.readers import read_edf
        >>> from pulsebayes.waveforms.writers import write_edf
        >>> recording = Recording.from_arrays("demo", {"ABP": [80.5, np.nan, 81]}, fs=125, units={"ABP": "mmHg"})
        >>> (file,) = write_edf(recording, Path(tempfile.mkdtemp()) / "demo.edf")
        >>> read_edf(file).values("ART", 0, 0.024).tolist()
        [80.5, nan, 81.0]
    """
    path = Path(path)
    check_target(recording, path, (".edf", ".bdf"))
    width = 3 if path.suffix.lower() == ".bdf" else 2
    channels = recording.channels
    record_s, counts = _record([channel.fs for channel in channels], width, recording.duration_s)
    top = (1 << (8 * width - 1)) - 1
    scales = [_scale(scan(recording, index), top) for index in range(len(channels))]
    n_records = max(-(-(lead(c) + c.n_samples) // n) for c, n in zip(channels, counts, strict=True))
    with whole_file(path) as stream:
        stream.write(_header(recording, width, n_records, record_s, counts, scales))
        at_once = max(1, round(BLOCK_S / float(record_s)))
        for first in range(0, n_records, at_once):
            stop = min(first + at_once, n_records)
            parts = [
                _digital(block(recording, k, first * n, stop * n), scales[k], width).reshape(stop - first, -1)
                for k, n in enumerate(counts)
            ]
            stream.write(np.concatenate(parts, axis=1).tobytes())
    return [path]


def _record(rates: list[float], width: int, duration_s: float) -> tuple[str, list[int]]:
    """Duration of a record as the header spells it, and the samples of each channel in it."""
    frame_rate, counts = frame_counts(rates)
    most = max(1, int(min(_RECORD_BYTES / (width * sum(counts)), max(duration_s, 1.0) * frame_rate)))
    best, found = math.inf, ("", 0)
    for frames in range(1, min(most, 20 * max(1, math.ceil(frame_rate))) + 1):
        text = _spelled(frames / frame_rate, 0)
        error = abs(float(text) * frame_rate / frames - 1.0)
        if error < best * 0.5:
            best, found = error, (text, frames)
        if best < 1.0e-12 and frames / frame_rate >= 1.0:
            break
    if best > 1.0e-6:
        raise ValueError(f"rates of {sorted(set(rates))} Hz cannot be written to 8 digits; write WFDB or netCDF")
    return found[0], [count * found[1] for count in counts]


def _spelled(value: float, direction: int) -> str:
    """A number in at most 8 letters, rounded down (-1), up (1) or to the nearest (0)."""
    for digits in range(8, -1, -1):
        scaled = value * 10.0**digits
        rounded = (
            math.floor(scaled + 1e-9) if direction < 0 else math.ceil(scaled - 1e-9) if direction else round(scaled)
        )
        text = f"{rounded / 10.0**digits:.{digits}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        if len(text) <= 8 and (digits == 0 or abs(rounded) > 0 or value == 0):
            return text
    raise ValueError(f"{value:g} does not fit the 8 letters of an EDF header; convert the channel's unit")


def _scale(span: Span, top: int) -> _Scale:
    if span.step and top < 1 << 16:
        for digital in range(top, max(math.ceil(span.largest / span.step), top - 8000, 1) - 1, -1):
            text = np.format_float_positional(float(f"{digital * span.step:.12g}"), trim="-")
            if len(text) <= 7 and abs(float(text) / (digital * span.step) - 1.0) < 1.0e-9:
                return _Scale(f"-{text}", text, digital)
    low, high = (span.low, span.high) if span.high > span.low else (span.low - 0.5, span.high + 0.5)
    return _Scale(_spelled(low, -1), _spelled(high, 1), top)


def _digital(wave: np.ndarray, scale: _Scale, width: int) -> np.ndarray:
    low = float(scale.low)
    missing = ~np.isfinite(wave)
    values = np.rint((np.where(missing, low, wave.astype(np.float64)) - low) / scale.step).astype(np.int64) - scale.top
    values[missing] = -scale.top - 1
    if width == 2:
        return values.astype("<i2")
    return values.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].copy().view("V3").ravel()


def _header(
    recording: Recording, width: int, n_records: int, record_s: str, counts: list[int], scales: list[_Scale]
) -> bytes:
    channels, n = recording.channels, len(recording.channels)
    version = b"\xffBIOSEMI" if width == 3 else b"0       "
    kind = "24BIT" if width == 3 else ""
    fixed = f"{'X X X X':80}{'Startdate X X X X':80}01.01.8500.00.00{256 * (n + 1):<8}{kind:44}"
    fixed += f"{n_records:<8}{record_s:8}{n:<4}"
    columns = (
        [f"{_plain(c.name, 16):16}" for c in channels],
        [f"{_transducer(c):80}" for c in channels],
        [f"{_plain(_unit(c), 8):8}" for c in channels],
        [f"{scale.low:8}" for scale in scales],
        [f"{scale.high:8}" for scale in scales],
        [f"{-scale.top:<8}" for scale in scales],
        [f"{scale.top:<8}" for scale in scales],
        [f"{'':80}"] * n,
        [f"{count:<8}" for count in counts],
        [f"{'':32}"] * n,
    )
    return version + (fixed + "".join("".join(column) for column in columns)).encode("ascii")


def _plain(text: str, width: int) -> str:
    return text.encode("ascii", "replace").decode()[:width]


def _transducer(channel: Channel) -> str:
    """The role, and the name where 16 letters do not hold it."""
    name = f" name={channel.name}" if _plain(channel.name, 16) != channel.name else ""
    return _plain(f"role={channel.role or ''}{name}", 80)


def _unit(channel: Channel) -> str:
    unit = channel.unit or ""
    return unit if len(unit) <= 8 else unit.replace(" ", "")
