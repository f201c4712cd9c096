r"""Read EDF, EDF+ and BDF files: fixed records of integers under a header of text.

A digital value $d$ stands for $p_0 + (d - d_0) (p_1 - p_0)/(d_1 - d_0)$, with $d_0, d_1$ the digital and $p_0, p_1$ the
physical minimum and maximum. Values outside the digital range have no physical meaning and are missing. Records of a
discontinuous file (EDF+D) are placed by their time-keeping annotations, with NaN between them. Values are read when
they are asked for; the size of the file is checked against its header at once.

References:
    B. Kemp et al., 1992, *A simple format for exchange of digitized polygraphic recordings*, EEG Clin Neurophysiol 82
    B. Kemp, J. Olivan, 2003, *European data format 'plus' (EDF+)*, Clin Neurophysiol 114; https://www.edfplus.info
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from ..errors import RecordingError
from ..labelling import RawChannel, label_channels
from ..recording import Recording
from ..roles import ROLES
from ._sources import Sliced, decoding
from ._timing import round_rate

__all__ = ["read_edf"]

_FIXED: Final = 256
_FIELDS: Final = (("label", 16), ("transducer", 80), ("unit", 8), ("low", 8), ("high", 8), ("digital_low", 8),
                  ("digital_high", 8), ("filter", 80), ("samples", 8), ("reserved", 32))  # fmt: skip
_ANNOTATIONS: Final = ("EDF Annotations", "BDF Annotations")
_MOST_CHANNELS: Final = 4096
_LONGEST_GAP_S: Final = 86400.0
_ROLE: Final = re.compile(r"role=(\w*)(?: name=(.+))?")  # as `writers.write_edf` leaves it


@dataclass(frozen=True)
class _Signal:
    """One signal of the header: label, unit, physical and digital range, samples and first sample in a record."""

    label: str
    transducer: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[int, int]
    samples: int
    first: int

    @property
    def is_annotation(self) -> bool:
        return self.label in _ANNOTATIONS


@dataclass(frozen=True)
class _Layout:
    """How the records lie in the file."""

    path: Path
    offset: int
    width: int  # bytes of a sample
    n_records: int
    record_s: float
    per_record: int
    signals: tuple[_Signal, ...]
    discontinuous: bool

    @property
    def file(self) -> str:
        return self.path.name

    def records(self, first: int, stop: int) -> Int[np.ndarray, "records samples"]:
        """Digital values of records `first` to `stop`."""
        wanted = (stop - first) * self.per_record * self.width
        with self.path.open("rb") as stream:
            stream.seek(self.offset + first * self.per_record * self.width)
            raw = stream.read(wanted)
        if len(raw) != wanted:
            raise ValueError(f"{len(raw)} bytes of {wanted}")
        if self.width == 2:
            return np.frombuffer(raw, "<i2").reshape(-1, self.per_record)
        parts = np.frombuffer(raw, np.uint8).reshape(-1, 3).astype(np.int32)
        values = (parts[:, 0] | parts[:, 1] << 8 | parts[:, 2] << 16) << 8 >> 8
        return values.reshape(-1, self.per_record)


def read_edf(
    path: str | Path,
    *,
    fs: float | None = None,
    roles: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Recording:
    r"""Read an EDF, EDF+ or BDF file, a stretch at a time.

    Arguments:
        path: The file.
        fs: Not needed: the header states every rate. One that contradicts it is refused.
        roles: Roles by channel name, over those guessed.
        units: Units by channel name or role, over those in the header.

    Returns:
        The recording.

    Raises:
        RecordingError: If the header cannot be read (`header`), or the file is shorter than it says (`truncated`).

    Example:
        >>> import tempfile, numpy as np
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms import Recording
        >>> from pulsebayes.waveforms.readers import read_edf
        >>> from pulsebayes.waveforms.writers import write_edf
        >>> path = Path(tempfile.mkdtemp()) / "demo.edf"
        >>> wave = 90 + 30 * np.sin(np.arange(1000) / 20)
        >>> _ = write_edf(Recording.from_arrays("demo", {"ABP": wave}, fs=125, units={"ABP": "mmHg"}), path)
        >>> read_edf(path).channel("ART").unit
        'mmHg'
    """
    path = Path(path)
    with decoding(path.name, "an EDF header", code="header"):
        layout = _layout(path)
    starts, findings = _starts(layout)
    raw, readers = list[RawChannel](), list[_Reader]()
    for signal in layout.signals:
        if signal.is_annotation:
            continue
        rate = round_rate(signal.samples / layout.record_s, signal.samples * layout.n_records)
        if fs is not None and not math.isclose(fs, rate, rel_tol=1.0e-3):
            raise RecordingError(
                f"--fs says {fs:g} Hz, the file {rate:g} Hz", code="bad-rate", file=path.name, hint="leave --fs out"
            )
        places = None if starts is None else np.rint(starts * rate).astype(np.int64)
        length = signal.samples * layout.n_records if places is None else int(places[-1]) + signal.samples
        stated = _ROLE.match(signal.transducer)
        role = stated[1] if stated is not None and stated[1] in ROLES else None
        label = (stated[2] if stated is not None else None) or signal.label
        name, named = label or f"col {len(raw) + 1}", bool(label)
        raw.append(
            RawChannel(name, signal.unit or None, rate, length, named=named, role=role, role_known=stated is not None)
        )
        readers.append(_Reader(layout, signal, places))
    if not raw:
        raise RecordingError("expected at least one signal beside the annotations", code="no-data", file=path.name)
    channels = label_channels(path.name, raw, roles=roles, units=units)
    source = Sliced(path.name, tuple(c.name for c in channels), tuple(c.fs for c in channels), tuple(readers))
    return Recording(path.name, channels, source, findings)


@dataclass(frozen=True)
class _Reader:
    """Values of one signal between two samples."""

    layout: _Layout
    signal: _Signal
    places: Int[np.ndarray, " records"] | None

    def __call__(self, first: int, stop: int) -> Float[np.ndarray, " time"]:
        n = self.signal.samples
        if self.places is None:
            begin, end = first // n, -(-stop // n)
            return self._records(begin, end)[first - begin * n : stop - begin * n]
        wave = np.full(stop - first, np.nan)
        begin = max(int(np.searchsorted(self.places, first - n, side="right")), 0)
        end = int(np.searchsorted(self.places, stop, side="left"))
        for record in range(begin, end):
            at = int(self.places[record]) - first
            part = self._records(record, record + 1)
            low, high = max(at, 0), min(at + n, stop - first)
            if high > low:
                wave[low:high] = part[low - at : high - at]
        return wave

    def _records(self, begin: int, end: int) -> Float[np.ndarray, " time"]:
        signal = self.signal
        stored = self.layout.records(begin, end)[:, signal.first : signal.first + signal.samples].ravel()
        (low, high), (floor, ceiling) = signal.physical, signal.digital
        values = low + (stored - float(floor)) * ((high - low) / (ceiling - floor))
        values[(stored < floor) | (stored > ceiling)] = np.nan
        return values


def _layout(path: Path) -> _Layout:
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(_FIXED)
        if len(head) < _FIXED:
            raise _bad(path, f"expected {_FIXED} bytes of header, the file has {size}", code="truncated")
        text = head.decode("latin-1")
        width = 3 if head[0] == 0xFF else 2
        count = int(_number(path, text[252:256], "the number of signals"))
        if not 0 < count <= _MOST_CHANNELS:
            raise _bad(path, f"expected 1 to {_MOST_CHANNELS} signals, got {count}")
        block = stream.read(_FIXED * count)
    if len(block) < _FIXED * count:
        raise _bad(path, f"expected {_FIXED * (count + 1)} bytes of header, the file has {size}", code="truncated")
    signals = _signals(path, block.decode("latin-1"), count)
    per_record = sum(s.samples for s in signals)
    offset, record_s = _FIXED * (count + 1), _number(path, text[244:252], "the duration of a record")
    stated = int(_number(path, text[236:244], "the number of records"))
    if int(_number(path, text[184:192], "the length of the header")) != offset:
        raise _bad(path, f"the header says it is {text[184:192].strip()} bytes long, {count} signals take {offset}")
    if not 0.0 < record_s < 1.0e6:
        raise _bad(path, f"a record must last some time, the header says {record_s:g} s")
    held = (size - offset) // (per_record * width)
    if stated == -1:
        stated = held
    if stated < 1:
        raise _bad(path, f"expected records of data, the header says {stated}", code="no-data")
    if held < stated:
        raise RecordingError(
            f"expected {stated} records of {per_record * width} bytes, the file ends after {held}",
            code="truncated",
            file=path.name,
            at_s=held * record_s,
            hint="copy or export the file again",
        )
    kind = text[192:236].strip()
    return _Layout(path, offset, width, stated, record_s, per_record, signals, kind[:5] in ("EDF+D", "BDF+D"))


def _signals(path: Path, block: str, count: int) -> tuple[_Signal, ...]:
    columns: dict[str, list[str]] = {}
    at = 0
    for name, width in _FIELDS:
        columns[name] = [block[at + k * width : at + (k + 1) * width].strip() for k in range(count)]
        at += width * count
    signals, first = [], 0
    for k in range(count):
        label = columns["label"][k]
        numbers = {
            name: _number(path, columns[name][k], f"{name.replace('_', ' ')} of signal {k + 1} ({label})")
            for name in ("low", "high", "digital_low", "digital_high", "samples")
        }
        samples = int(numbers["samples"])
        digital = (int(numbers["digital_low"]), int(numbers["digital_high"]))
        if samples < 1 or samples > 10_000_000:
            raise _bad(path, f"signal {k + 1} ({label}) has {samples} samples a record")
        if label not in _ANNOTATIONS and (digital[0] >= digital[1] or numbers["low"] == numbers["high"]):
            raise _bad(path, f"signal {k + 1} ({label}) has no range, digital {digital}, physical {numbers['low']:g}")
        physical = (numbers["low"], numbers["high"])
        unit = columns["unit"][k]
        signals.append(_Signal(label, columns["transducer"][k], unit, physical, digital, samples, first))
        first += samples
    return tuple(signals)


def _number(path: Path, text: str, what: str) -> float:
    try:
        value = float(text.strip())
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _bad(path, f"expected {what} as a number, got {text.strip()!r}")
    return value


def _bad(path: Path, what: str, code: str = "header") -> RecordingError:
    return RecordingError(what, code=code, file=path.name, hint="copy or export the file again")


def _starts(layout: _Layout) -> tuple[Float[np.ndarray, " records"] | None, tuple[str, ...]]:
    """Start of every record [s] where records are not joined; `None` where they are."""
    signal = next((s for s in layout.signals if s.is_annotation), None)
    if not layout.discontinuous or signal is None:
        if layout.discontinuous:
            raise _bad(layout.path, "a discontinuous file without time-keeping annotations")
        return None, ()
    starts = np.empty(layout.n_records)
    with decoding(layout.file, "time-keeping annotations"):
        for record in range(layout.n_records):
            piece = layout.records(record, record + 1)[0, signal.first : signal.first + signal.samples]
            raw = piece.astype("<i2").tobytes() if layout.width == 2 else piece.astype("<i4").tobytes()
            starts[record] = float(raw.split(b"\x14", 1)[0].replace(b"\x00", b""))
    starts -= starts[0]
    steps = np.diff(starts)
    wrong = np.flatnonzero((steps < layout.record_s * 0.999) | (steps > _LONGEST_GAP_S) | ~np.isfinite(steps))
    if wrong.size:
        at = int(wrong[0])
        raise RecordingError(
            f"record {at + 2} starts {steps[at]:.3f} s after the one before, which lasts {layout.record_s:g} s",
            code="time-stamps",
            file=layout.file,
            at_s=float(starts[at]),
        )
    torn = int((steps > layout.record_s * 1.001).sum())
    return starts, (f"records are torn apart at {torn} places; what lies between is missing",) if torn else ()
