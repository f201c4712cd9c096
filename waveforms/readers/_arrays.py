r"""Arrays by name, as MATLAB, HDF5, NumPy, netCDF, Zarr and Parquet files hold them, as a recording.

Which arrays are signals is told by names and attributes, never by values: an array named like a time gives the times
of the arrays as long as it; a single number named like a rate gives the rate; attributes `units`, `fs`, `role`,
`start_s`, `channels` mean what they say. Of a two-dimensional array the longer axis is time. What is neither is left
out and named in a finding.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from ..errors import RecordingError
from ..labelling import RawChannel, label_channels
from ..recording import Recording
from ..roles import ROLES
from ..units import unit
from ._clock import Clock, clock_of, evenly
from ._sources import Array, Sliced, column, finite
from ._table_layout import split_unit

__all__ = ["Content", "Entry", "recording_of"]

TIME: Final = re.compile(
    r"(?:elapsed |relative |abs(?:olute)? |sample |date[ _]?)?(?:time|times|time[ _]?stamps?|datetime)(?:[ _]\w+)?|"
    r"t|ts|seconds?|secs?|m(?:illi)?s(?:ec(?:onds?)?)?",
    re.IGNORECASE,
)
RATE: Final = re.compile(r"fs|sr|s?freq|srate|sampl\w*[ _]*(?:freq\w*|rate)(?:[ _]*hz)?|frequency|rate", re.IGNORECASE)
_NAMES: Final = re.compile(r"(?:channel|signal|sig|column|lead)?_?(?:names?|labels?|channels|columns)", re.IGNORECASE)
_SHORT: Final = 0.1
_MOST_CHANNELS: Final = 512


@dataclass(frozen=True, eq=False)
class Entry:
    """An array in a file: path with `/` between groups, the array, its attributes."""

    path: str
    data: Array
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def group(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def length(self) -> int:
        return max(self.data.shape)


@dataclass(frozen=True)
class Content:
    """What a file holds: arrays, single numbers and texts by path, attributes by group, and what was noticed."""

    entries: list[Entry] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)
    attrs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Signal:
    """One channel: its array and column, what it is called, and its rate or time."""

    entry: Entry
    index: int | None
    name: str
    named: bool
    unit: str | None
    role: str | None
    stated: bool
    fs: float | None
    start_s: float
    time: Entry | None


def recording_of(
    file: str,
    content: Content,
    *,
    fs: float | None,
    roles: Mapping[str, str] | None,
    units: Mapping[str, str] | None,
) -> Recording:
    """The recording that arrays by name make.

    Raises:
        RecordingError: `no-data`, `no-rate`, `bad-rate`, `time-stamps`, `layout`, or what labels do not fit.
    """
    given = dict(roles or {})
    wished = {name for name, role in given.items() if role.strip().upper() == "TIME"}
    times = {e.path: e for e in content.entries if e.path in wished or e.name in wished or _is_time(e)}
    rest = [e for e in content.entries if e.path not in times]
    signals, findings = _signals(file, content, rest, times)
    if not signals:
        raise RecordingError(
            "expected at least one array of numbers with samples, there is none", code="no-data", file=file
        )
    if len(signals) > _MOST_CHANNELS:
        raise RecordingError(
            f"expected at most {_MOST_CHANNELS} channels, got {len(signals)}", code="layout", file=file
        )
    clocks = {path: clock_of(file, e.data, e.name, _unit_of(e)) for path, e in times.items() if _used(path, signals)}
    zero = min((c.start_s for c in clocks.values()), default=0.0)
    raw, placed = [], []
    for signal in signals:
        channel, reader = _placed(file, signal, clocks, zero, fs)
        raw.append(channel)
        placed.append(reader)
    wishes = {name: role for name, role in given.items() if name not in wished}
    channels = label_channels(file, raw, roles=wishes, units=units)
    source = Sliced(file, tuple(c.name for c in channels), tuple(c.fs for c in channels), tuple(placed))
    return Recording(file, channels, source, (*content.findings, *findings))


def _used(path: str, signals: Sequence[_Signal]) -> bool:
    return any(s.time is not None and s.time.path == path and s.fs is None for s in signals)


def _is_time(entry: Entry) -> bool:
    if len([n for n in entry.data.shape if n > 1]) != 1 or entry.data.dtype.kind not in "fiuM":
        return False
    name, _ = split_unit(entry.name)
    stated = _text(entry.attrs.get("units"))
    marked = _text(entry.attrs.get("standard_name")) == "time" or _text(entry.attrs.get("axis")) == "T"
    since = stated is not None and " since " in stated
    return entry.data.dtype.kind == "M" or TIME.fullmatch(name) is not None or marked or since


def _signals(
    file: str, content: Content, entries: list[Entry], times: Mapping[str, Entry]
) -> tuple[list[_Signal], list[str]]:
    """Every channel, and what was left out."""
    usable = [e for e in entries if e.data.dtype.kind in "fiub" and len(e.data.shape) in (1, 2) and e.length > 1]
    left = [e.path for e in entries if e not in usable]
    signals: list[_Signal] = []
    longest = {group: max(e.length for e in usable if e.group == group) for group in {e.group for e in usable}}
    for entry in usable:
        rate, time = _rate_of(content, entry), _time_of(entry, times)
        own = _number(entry.attrs, RATE) is not None or time is not None
        if (entry.length < max(longest.values()) * _SHORT and not own) or (
            entry.length != longest[entry.group] and not own
        ):
            left.append(entry.path)
        else:
            signals += _columns(file, content, entry, rate, time)
    if len(signals) > 1 and len({s.entry.path for s in signals}) == 1 and not signals[0].named:
        signals = [replace(s, name=f"col {k}") for k, s in enumerate(signals, 1)]
    shown = ", ".join(repr(path) for path in left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
    return signals, [f"no signals, left out: {shown}"] if left else []


def _columns(file: str, content: Content, entry: Entry, rate: float | None, time: Entry | None) -> list[_Signal]:
    shape = entry.data.shape
    wide = len(shape) == 2 and min(shape) > 1
    if wide and shape[0] == shape[1]:
        raise RecordingError(
            f"an array of {shape[0]} x {shape[1]} does not tell time from channels",
            code="layout",
            file=file,
            channel=entry.name,
        )
    role, stated = _role_of(entry)
    start = float(_number(entry.attrs, re.compile("start_s")) or 0.0)
    name, own_unit = split_unit(entry.name)
    if not wide:
        label = _text(entry.attrs.get("name")) or (name if not stated else entry.name)
        unit_text = _text(entry.attrs.get("units")) or _text(entry.attrs.get("unit")) or own_unit
        return [_Signal(entry, None, label, True, unit_text, role, stated, rate, start, time)]
    width = min(shape)
    names = _names_of(content, entry, width)
    found = []
    for index in range(width):
        title, title_unit = split_unit(names[index]) if names else (f"{name} col {index + 1}", None)
        unit_text = _unit_at(entry, index, width) or title_unit or own_unit
        found.append(_Signal(entry, index, title, names is not None, unit_text, None, False, rate, start, time))
    return found


def _names_of(content: Content, entry: Entry, width: int) -> list[str] | None:
    """Names of the columns of an array: its own attribute, or a list of texts in its group."""
    for key in ("channels", "columns", "names", "labels", "channel_names", "sig_name"):
        names = _texts(entry.attrs.get(key))
        if names is not None and len(names) == width:
            return names
    for path, texts in content.texts.items():
        group, _, name = path.rpartition("/")
        if group in (entry.group, "") and len(texts) == width and _NAMES.fullmatch(name):
            return texts
    return None


def _unit_at(entry: Entry, index: int, width: int) -> str | None:
    texts = _texts(entry.attrs.get("units")) or _texts(entry.attrs.get("unit"))
    if texts is None:
        return None
    return texts[index] if len(texts) == width else texts[0] if len(texts) == 1 else None


def _role_of(entry: Entry) -> tuple[str | None, bool]:
    """Role the file states, and whether it states one; an empty one says that there is none."""
    text = _text(entry.attrs.get("role"))
    if text is None:
        return None, False
    role = text.strip().upper()
    return (role, True) if role in ROLES else (None, role == "")


def _rate_of(content: Content, entry: Entry) -> float | None:
    """Rate stated for an array: its attribute, a number beside it (`ABP_fs`, `fs`), an attribute of its groups."""
    stated = _number(entry.attrs, RATE)
    if stated is not None:
        return stated
    group = entry.group
    own = {f"{entry.name}_fs", f"fs_{entry.name}"}
    for path, number in content.numbers.items():
        if path.rpartition("/")[0] == group and path.rpartition("/")[2] in own:
            return number
    while True:
        for path, number in content.numbers.items():
            if path.rpartition("/")[0] == group and RATE.fullmatch(path.rpartition("/")[2]):
                return number
        found = _number(content.attrs.get(group, {}), RATE)
        if found is not None or not group:
            return found
        group = group.rpartition("/")[0]


def _time_of(entry: Entry, times: Mapping[str, Entry]) -> Entry | None:
    """The time array of the same length, in the array's group or one above it."""
    group = entry.group
    while True:
        for time in times.values():
            if time.group == group and time.length == entry.length:
                return time
        if not group:
            return None
        group = group.rpartition("/")[0]


def _placed(
    file: str, signal: _Signal, clocks: Mapping[str, Clock], zero: float, fs: float | None
) -> tuple[RawChannel, Any]:
    shape = signal.entry.data.shape
    axis = int(np.argmax(shape))
    read = column(signal.entry.data, axis, signal.index)
    clock = clocks.get(signal.time.path) if signal.time is not None else None
    rate, n_samples, start, notes = signal.fs, shape[axis], signal.start_s, list[str]()
    if rate is not None and not 0.0 < rate < 1.0e6:
        raise RecordingError(
            f"a sampling rate must be positive, the file says {rate}", code="bad-rate", file=file, channel=signal.name
        )
    if rate is not None:
        _agree(file, signal.name, "--fs", fs, rate)
    elif clock is not None:
        read, rate, n_samples, start, notes = evenly(file, clock, read, shape[axis], zero, fs)
        _agree(file, signal.name, "--fs", fs, rate)
    elif fs is not None:
        rate = float(fs)
    else:
        raise RecordingError(
            "the file has no time array and states no sampling rate",
            code="no-rate",
            file=file,
            channel=signal.name,
            hint="--fs HZ, for example --fs 125",
        )
    if not (math.isfinite(start) and start >= 0.0):
        raise RecordingError(f"a start of {start} s", code="header", file=file, channel=signal.name)
    return (
        RawChannel(
            signal.name, signal.unit, rate, n_samples, start, tuple(notes), signal.named, signal.role, signal.stated
        ),
        _scaled(signal.entry, read),
    )


def _agree(file: str, name: str, who: str, claim: float | None, rate: float) -> None:
    if claim is not None and not math.isclose(claim, rate, rel_tol=1.0e-2):
        raise RecordingError(
            f"{who} says {claim:g} Hz, the file {rate:g} Hz",
            code="bad-rate",
            file=file,
            channel=name,
            hint="leave --fs out",
        )


def _scaled(entry: Entry, read: Any) -> Any:
    """CF packing: missing where `_FillValue` or `missing_value` stands, then `scale_factor` and `add_offset`."""
    fill = [_plain_number(entry.attrs.get(key)) for key in ("_FillValue", "missing_value")]
    marks = [value for value in fill if value is not None and math.isfinite(value)]
    scale = _plain_number(entry.attrs.get("scale_factor"))
    offset = _plain_number(entry.attrs.get("add_offset"))
    if not marks and scale is None and offset is None:
        return read

    def values(first: int, stop: int) -> Any:
        stored = np.asarray(read(first, stop))
        wave = finite(stored.astype(np.float64) * (1.0 if scale is None else scale) + (offset or 0.0))
        for mark in marks:
            wave[stored == mark] = np.nan
        return wave

    return values


def _unit_of(entry: Entry) -> str | None:
    """Unit of a time array: `s since ...` is seconds; datetimes count as they say."""
    name, own = split_unit(entry.name)
    text = _text(entry.attrs.get("units")) or own
    if text is None:
        return "ms" if re.match(r"m(illi)?s", name, re.IGNORECASE) else None
    text = text.split(" since ")[0].strip()
    try:
        return text if unit(text).kind == "time" else None
    except ValueError:
        return None


def _number(attrs: Mapping[str, Any], pattern: re.Pattern[str]) -> float | None:
    for key, value in attrs.items():
        if pattern.fullmatch(str(key)):
            found = _plain_number(value)
            if found is not None:
                return found
    return None


def _plain_number(value: Any) -> float | None:
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        array = np.asarray(value)
        return float(array.ravel()[0]) if array.size == 1 and array.dtype.kind in "fiu" else None
    except (TypeError, ValueError):
        return None


def _text(value: Any) -> str | None:
    texts = _texts(value)
    return texts[0] if texts is not None and len(texts) == 1 else None


def _texts(value: Any) -> list[str] | None:
    """A text or a list of texts."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return [value]
    if isinstance(value, (list, tuple, np.ndarray)) and len(np.shape(value)) == 1 and len(value):
        texts = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in value]
        return [str(text) for text in texts] if all(isinstance(text, str) for text in texts) else None
    return None
