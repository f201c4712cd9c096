r"""Write WFDB records: a header `.hea` and one signal file `.dat`, several samples a frame where rates differ.

Values on a grid that 16 bits can count are kept exactly in format 16, all others with 24 bits in format 32, which is
what float32 can tell. Missing samples are the most negative number of the format, as WFDB says.

References:
    WFDB header and signal files, https://physionet.org/physiotools/wag/header-5.htm and signal-5.htm
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np

from ..recording import Channel, Recording
from ._frames import Span, block, check_target, frame_counts, lead, scan, whole_file

__all__ = ["write_wfdb"]

_LARGEST_24: Final = (1 << 23) - 1
_FRAMES: Final = 1 << 15


def write_wfdb(recording: Recording, path: str | Path) -> list[Path]:
    r"""Write a recording as a WFDB record.

    Arguments:
        recording: The recording; read a stretch at a time.
        path: The header to write, ending in `.hea`; its name may hold letters, digits, `_` and `-`.

    Returns:
        Header and signal file.

    Raises:
        ValueError: If the name is none WFDB takes, or the rates of the channels have no common frame.
        RecordingError: If the recording cannot be read to its end.

    Example:
        >>> import tempfile, numpy as np
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms import Recording
        >>> from pulsebayes.waveforms.writers import write_wfdb
        >>> recording = Recording.from_arrays("demo", {"ABP": [80.5, np.nan, 81]}, fs=125, units={"ABP": "mmHg"})
        >>> [file.name for file in write_wfdb(recording, Path(tempfile.mkdtemp()) / "demo.hea")]
        ['demo.hea', 'demo.dat']
    """
    path = Path(path)
    check_target(recording, path, (".hea",))
    if re.fullmatch(r"[-\w]+", path.stem, re.ASCII) is None:
        raise ValueError(f"a WFDB record's name holds letters, digits, _ and -, got {path.stem!r}")
    channels = recording.channels
    frame_rate, widths = frame_counts([channel.fs for channel in channels])
    spans = [scan(recording, index) for index in range(len(channels))]
    wide = any(span.step == 0.0 and span.largest > 0.0 for span in spans)
    gains = [_gain(span, wide) for span in spans]
    n_frames = max(-(-(lead(c) + c.n_samples) // w) for c, w in zip(channels, widths, strict=True))
    signals = path.with_suffix(".dat")
    firsts = [0] * len(channels)
    sums = [0] * len(channels)
    with whole_file(signals) as stream:
        for frame in range(0, n_frames, _FRAMES):
            stop = min(frame + _FRAMES, n_frames)
            stored = _stored(recording, widths, gains, frame, stop, wide)
            for index, values in enumerate(stored):
                firsts[index] = int(values[0, 0]) if frame == 0 else firsts[index]
                sums[index] = (sums[index] + int(values.sum(dtype=np.int64))) & 0xFFFF
            stream.write(np.concatenate(stored, axis=1).tobytes())
    lines = [f"{path.stem} {len(channels)} {_text(frame_rate)} {n_frames}"]
    for index, (channel, width) in enumerate(zip(channels, widths, strict=True)):
        lines.append(_line(signals.name, channel, width, gains[index], firsts[index], sums[index], wide))
    lines.append("# roles: " + " ".join(channel.role or "-" for channel in channels))
    lines.append("# units: " + " ".join((channel.unit or "-").replace(" ", "") for channel in channels))
    with whole_file(path) as stream:
        stream.write(("\n".join(lines) + "\n").encode("utf-8"))
    return [path, signals]


def _gain(span: Span, wide: bool) -> float:
    """Integers per unit of the channel."""
    if span.step:
        return 1.0 / span.step
    return _LARGEST_24 / span.largest * (1 - 1e-6) if span.largest and wide else 1.0


def _stored(
    recording: Recording, widths: list[int], gains: list[float], frame: int, stop: int, wide: bool
) -> list[np.ndarray]:
    """Integers of every channel, a row a frame."""
    dtype = np.dtype("<i4" if wide else "<i2")
    parts = []
    for index, (width, gain) in enumerate(zip(widths, gains, strict=True)):
        wave = block(recording, index, frame * width, stop * width).astype(np.float64)
        missing = ~np.isfinite(wave)
        wave[missing] = 0.0
        values = np.rint(wave * gain).astype(dtype)
        values[missing] = np.iinfo(dtype).min
        parts.append(values.reshape(-1, width))
    return parts


def _line(file: str, channel: Channel, width: int, gain: float, first: int, checksum: int, wide: bool) -> str:
    per_frame = f"x{width}" if width > 1 else ""
    unit = f"/{channel.unit.replace(' ', '')}" if channel.unit else ""
    signed = checksum - 0x10000 if checksum >= 0x8000 else checksum
    name = " ".join(channel.name.split())
    bits = 32 if wide else 16
    return f"{file} {bits}{per_frame} {_text(gain)}(0){unit} {24 if wide else 16} 0 {first} {signed} 0 {name}"


def _text(value: float) -> str:
    """A number without exponent, as WFDB wants it, to the last digit."""
    text = f"{value:.17g}" if float(f"{value:.12g}") != value else f"{value:.12g}"
    return np.format_float_positional(value, trim="-") if "e" in text else text
