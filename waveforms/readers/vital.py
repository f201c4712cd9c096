r"""Read Vital Recorder files (`.vital`), strictly: nothing is lost, moved or invented in silence.

Every wave track becomes a channel named `device/track` at its native rate. A record's samples are placed by its time
stamp: record $r$ starts at sample $\mathrm{round}((t_r - t_0) f_s)$, except that a record less than .75 samples away
from the end of the one before continues it, so that rounding tears no holes. Samples that no record holds are NaN.
Integer samples $v$ stand for $v \cdot \mathrm{gain} + \mathrm{offset}$.

References:
    H.-C. Lee, C.-W. Jung, 2018, *Vital Recorder*, Sci Rep 8:1527; https://vitaldb.net/docs (file format)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Int, Shaped

from ..errors import RecordingError
from ..labelling import RawChannel, label_channels
from ..recording import Recording
from ._sources import Sliced
from ._vital_packets import NUMBER, WAVE, Track, VitalFile, read_packets

__all__ = ["Numbers", "read_numbers", "read_vital"]

_MONITOR_ROLES: Final = {1: "ECG", 4: "ART", 8: "PLETH"}
_LONGEST_GAP_S: Final = 86400.0
_CONTINUES: Final = 0.75  # samples
_LARGEST: Final = 4.0e9  # Vital Recorder writes numbers beyond this for "no value"


@dataclass(frozen=True)
class Numbers:
    r"""A track of single numbers, such as a monitor's cardiac output.

    Arguments:
        times_s: Time of each number [s] from the start of the recording; may be negative, need not be even.
        values: The numbers, in `unit`.
        unit: Unit as the file spells it, or `None`.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.waveforms.readers.vital import Numbers
        >>> Numbers(np.array([0.0, 2.0]), np.array([5.1, 5.2]), "L/min").values.size
        2
    """

    times_s: Float[np.ndarray, " numbers"]
    values: Float[np.ndarray, " numbers"]
    unit: str | None


def read_vital(
    path: str | Path,
    *,
    fs: float | None = None,
    roles: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Recording:
    r"""Read the waves of a Vital Recorder file.

    The recording starts with the earliest record of any wave.

    Arguments:
        path: The file.
        fs: Sampling rate [Hz] of wave tracks for which the file states none.
        roles: Roles by channel name, over those guessed.
        units: Units by channel name or role, over those in the file.

    Returns:
        The recording.

    Raises:
        RecordingError: If the file is no gzip, damaged, cut short, or holds no wave; with the byte.

    Example:
        >>> import pathlib, tempfile
        >>> from pulsebayes.waveforms import RecordingError
        >>> from pulsebayes.waveforms.readers import read_vital
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.vital"
        >>> _ = path.write_bytes(b"no gzip")
        >>> try:
        ...     read_vital(path)
        ... except RecordingError as error:
        ...     error.code
        'corrupt'
    """
    path = Path(path)
    content = read_packets(path)
    waves = [track for track in content.tracks.values() if track.kind == WAVE and _sample_count(track)]
    empty = [track.name for track in content.tracks.values() if track.kind == WAVE and not _sample_count(track)]
    if not waves:
        raise RecordingError(
            "expected at least one wave track with samples, there is none", code="no-data", file=path.name
        )
    zero = min(min(track.stamps) for track in waves)
    _check_starts(path.name, waves, zero)
    _check_rate(path.name, waves, fs)
    raw, readers = list[RawChannel](), list[_Wave]()
    for track in waves:
        rate = _rate(path.name, track, fs)
        wave, start, findings = _place(path.name, track, rate, zero, content)
        readers.append(wave)
        role = _MONITOR_ROLES.get(track.monitor_type)
        raw.append(
            RawChannel(
                track.name, track.unit or None, rate, wave.n_samples, round(start - zero, 6), tuple(findings), role=role
            )
        )
    notes = (f"no samples in {', '.join(empty)}",) if empty else ()
    channels = label_channels(path.name, raw, roles=roles, units=units)
    source = Sliced(path.name, tuple(c.name for c in channels), tuple(c.fs for c in channels), tuple(readers))
    return Recording(path.name, channels, source, notes)


def read_numbers(path: str | Path) -> dict[str, Numbers]:
    r"""Read the numbers a monitor wrote beside the waves of a Vital Recorder file.

    Arguments:
        path: The file.

    Returns:
        Numbers by `device/track`, each at the times the monitor gave it; times count from the start of the recording
        that `read_vital` returns.

    Raises:
        RecordingError: If the file is no gzip, damaged or cut short; with the byte.

    Example:
        >>> from pulsebayes.waveforms import RecordingError
        >>> from pulsebayes.waveforms.readers import read_numbers
        >>> try:
        ...     read_numbers("no/such/file.vital")
        ... except RecordingError as error:
        ...     error.code
        'unreadable'
    """
    content = read_packets(Path(path))
    filled = [track for track in content.tracks.values() if track.stamps]
    waves = [track for track in filled if track.kind == WAVE]
    zero = min((min(track.stamps) for track in waves or filled), default=0.0)
    result = {}
    for track in filled:
        if track.kind == NUMBER:
            order = np.argsort(track.stamps, kind="stable")
            stored = np.concatenate([content.stored(track, k) for k in range(len(track.stamps))])
            values = _scaled(track, stored, packed=False)
            result[track.name] = Numbers(np.asarray(track.stamps)[order] - zero, values[order], track.unit or None)
    return result


def _check_starts(file: str, waves: list[Track], zero: float) -> None:
    """Tracks a day apart mean a clock that was set, not one recording."""
    for track in waves:
        late = min(track.stamps) - zero
        if late > _LONGEST_GAP_S:
            raise RecordingError(
                f"the track starts {late / 3600:.1f} h after the first one, at most 24 h are taken for one recording",
                code="time-stamps",
                file=file,
                channel=track.name,
            )


def _check_rate(file: str, waves: list[Track], fs: float | None) -> None:
    """An option that no track needs or agrees with is a mistake, not a wish to pass over."""
    stated = [float(track.fs) for track in waves]
    if fs is not None and all(rate > 0 and not np.isclose(rate, fs, rtol=1.0e-3) for rate in stated):
        raise RecordingError(
            f"--fs says {fs:g} Hz, the file {', '.join(f'{rate:g}' for rate in sorted(set(stated)))} Hz",
            code="bad-rate",
            file=file,
            hint="leave --fs out",
        )


def _sample_count(track: Track) -> int:
    return sum(track.counts)


def _rate(file: str, track: Track, fs: float | None) -> float:
    stated = float(track.fs)
    if not 0.0 < stated < 1.0e6:
        if fs is None:
            raise RecordingError(
                "the file states no sampling rate", code="no-rate", file=file, channel=track.name, hint="--fs HZ"
            )
        return float(fs)
    # The file stores float32: 62.4725 Hz must not become 62.47249984741211.
    return float(f"{stated:.7g}")


def _scaled(track: Track, stored: Shaped[np.ndarray, " time"], *, packed: bool) -> Float[np.ndarray, " time"]:
    """Values in the track's unit, NaN where the file marks them as missing."""
    values = stored.astype(np.float64)
    if stored.dtype.kind in "iu":
        if track.kind == WAVE:
            with np.errstate(over="ignore", invalid="ignore"):
                values = values * track.gain + track.offset
        if packed:  # gaps in packed files are filled with the extreme of the format
            limits = np.iinfo(stored.dtype)
            values[stored == (limits.min if stored.dtype.kind == "i" else limits.max)] = np.nan
    values[~(np.abs(values) <= _LARGEST)] = np.nan
    return values.astype(np.float32)


def _place(file: str, track: Track, rate: float, zero: float, content: VitalFile) -> tuple[_Wave, float, list[str]]:
    """Where the track's records lie on one grid, its start, and what was noticed."""
    stamps = np.asarray(track.stamps)
    order = np.argsort(stamps, kind="stable")
    findings = [] if bool((np.diff(stamps) >= 0).all()) else ["records were out of order and were sorted by time"]
    start = float(stamps[order[0]])
    firsts: list[int] = []
    end = overlap = torn = 0
    for index in order:
        lag = (float(stamps[index]) - start) * rate
        first = end if firsts and abs(lag - end) < _CONTINUES else round(lag)
        if first - end > _LONGEST_GAP_S * rate:
            hours = (first - end) / rate / 3600
            raise RecordingError(
                f"a gap of {hours:.1f} h between records, at most 24 h are taken for one recording",
                code="time-stamps",
                file=file,
                channel=track.name,
                at_s=start - zero + end / rate,
            )
        overlap += max(0, min(end, first + track.counts[index]) - first)
        torn += max(0, first - end)
        firsts.append(first)
        end = max(end, first + track.counts[index])
    if overlap:
        findings.append(f"records overlap by {overlap} samples in all; of each pair the later record was kept")
    if torn:
        findings.append(f"{torn} samples ({torn / end:.1%}) lie in gaps between records and are missing")
    return _Wave(content, track, order, np.asarray(firsts), np.asarray(track.counts)[order]), start, findings


@dataclass(frozen=True, eq=False)
class _Wave:
    """Samples of a track between two places, from the records that lie there; the later record wins."""

    content: VitalFile
    track: Track
    order: Int[np.ndarray, " records"]
    firsts: Int[np.ndarray, " records"]
    counts: Int[np.ndarray, " records"]

    @property
    def n_samples(self) -> int:
        return int((self.firsts + self.counts).max())

    @cached_property
    def _bounds(self) -> tuple[Int[np.ndarray, " records"], Int[np.ndarray, " records"]]:
        """The lowest first sample of each record and all later ones; the highest end of each and all earlier ones."""
        return np.minimum.accumulate(self.firsts[::-1])[::-1], np.maximum.accumulate(self.firsts + self.counts)

    def __call__(self, first: int, stop: int) -> Float[np.ndarray, " time"]:
        wave = np.full(stop - first, np.nan, dtype=np.float32)
        lowest, highest = self._bounds
        begin, end = np.searchsorted(highest, first, side="right"), np.searchsorted(lowest, stop, side="left")
        for k in range(int(begin), int(end)):
            at = int(self.firsts[k]) - first
            low, high = max(at, 0), min(at + int(self.counts[k]), stop - first)
            if high > low:
                stored = self.content.stored(self.track, int(self.order[k]))[low - at : high - at]
                wave[low:high] = _scaled(self.track, stored, packed=self.content.packed)
        return wave
