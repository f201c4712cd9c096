r"""References of a recording: what a monitor measured, when, and how it is to be read.

In a `.vital` file the numbers of the devices in [`MONITORS`][pulsebayes.waveforms.vitaldb.tracks.MONITORS]; beside any
other file a table `NAME.reference.csv` with `time [s]` and columns such as `CO [L/min]`. One device labels a recording:
the first of those asked for that gave a cardiac output, independent ones before derived ones.

A window about time $t$ is labelled with the reading nearest to $t$ plus the device's delay, if one lies within three
quarters of the usual time between readings. Readings no patient has are dropped and counted.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

from .errors import RecordingError
from .quantities import QUANTITIES
from .units import convert
from .vitaldb.tracks import MONITORS

__all__ = ["References", "Series", "read_references"]

POSSIBLE: Final[Mapping[str, tuple[float, float]]] = {
    "CO": (0.5, 20.0), "SV": (5.0, 250.0), "SVR": (100.0, 8000.0), "CVP": (-5.0, 40.0), "MAP": (20.0, 200.0),
    "HR": (20.0, 250.0),
}  # fmt: skip
"""What is taken for a reading, in the quantity's unit; others pass as they are."""
_TIMES: Final = ("time [s]", "start_s", "time_s", "t [s]")


@dataclass(frozen=True)
class Series:
    r"""Readings of one quantity.

    Arguments:
        times_s: When each was given [s], rising.
        values: The readings, in the quantity's unit.

    Example:
        >>> Series(np.array([60.0, 120.0]), np.array([5.0, 5.2])).at(130.0)
        5.2
    """

    times_s: Float[np.ndarray, " readings"]
    values: Float[np.ndarray, " readings"]

    def at(self, time_s: float) -> float:
        r"""The reading of a time; NaN where none is near.

        Arguments:
            time_s: The time [s].
        """
        if not len(self.times_s):
            return math.nan
        k = int(np.argmin(np.abs(self.times_s - time_s)))
        usual = float(np.median(np.diff(self.times_s))) if len(self.times_s) > 1 else 60.0
        return float(self.values[k]) if abs(self.times_s[k] - time_s) <= max(0.75 * usual, 4.0) else math.nan


@dataclass(frozen=True)
class References:
    r"""What labels a recording.

    Arguments:
        device: Name of the device; empty where there is no reference.
        kind: `independent`, `derived` or empty.
        delay_s: How far readings lag [s].
        series: Readings by quantity.
        dropped: Number of readings that no patient has.

    Example:
        >>> References("", "", 0.0, {}).labels(10.0)
        {}
    """

    device: str
    kind: str
    delay_s: float
    series: Mapping[str, Series]
    dropped: int = 0

    def labels(self, time_s: float) -> dict[str, float]:
        r"""Readings that belong to a window.

        Arguments:
            time_s: Middle of the window [s].
        """
        return {name: one.at(time_s + self.delay_s) for name, one in self.series.items()}


def read_references(
    path: str | Path, *, devices: Sequence[str] = (), delay_s: float = math.nan, kind: str = ""
) -> References:
    r"""Reads the references of a recording.

    Arguments:
        path: The recording.
        devices: Devices, the one wanted most first; independent ones and then derived ones where empty.
        delay_s: How far readings lag [s]; the device's own where not given.
        kind: Kind of a table beside a recording.

    Returns:
        The references; without readings where there are none.

    Raises:
        RecordingError: If the file or the table beside it cannot be read.
        ValueError: If a device is unknown.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.reference.csv").write_text("time [s],CO [L/min]\n60,5.1\n120,99\n")
        >>> found = read_references(folder / "a.csv", kind="independent")
        >>> found.labels(60.0), found.dropped
        ({'CO': 5.1}, 1)
    """
    path = Path(path)
    unknown = [name for name in devices if name not in MONITORS]
    if unknown:
        raise ValueError(f"reference must be one of {', '.join(MONITORS)}, got {unknown[0]}")
    beside = path.with_name(f"{path.stem}.reference.csv")
    if beside.is_file():
        delay = delay_s if math.isfinite(delay_s) else 0.0
        series, dropped = _cleaned(_table(beside))
        return References("table", kind, delay, series, dropped)
    if path.suffix.lower() != ".vital":
        return References("", "", 0.0, {})
    from .readers.vital import read_numbers

    numbers = read_numbers(path)
    wanted = devices or [name for name in MONITORS if name != "Truth"]
    for device in wanted:
        monitor = MONITORS[device]
        raw = {
            name: (one.times_s, np.asarray(convert(one.values.astype(np.float64), unit, QUANTITIES[name].unit)))
            for track, (name, unit) in monitor.quantities.items()
            if (one := numbers.get(f"{device}/{track}")) is not None
        }
        if "CO" in raw:
            series, dropped = _cleaned(raw)
            delay = delay_s if math.isfinite(delay_s) else monitor.delay_s
            return References(device, monitor.kind, delay, series, dropped)
    return References("", "", 0.0, {})


def _cleaned(raw: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> tuple[dict[str, Series], int]:
    found, dropped = {}, 0
    for name, (times, values) in raw.items():
        low, high = POSSIBLE.get(name, (-math.inf, math.inf))
        fine = np.isfinite(values) & (values >= low) & (values <= high)
        dropped += int((np.isfinite(values) & ~fine).sum())
        order = np.argsort(times[fine], kind="stable")
        if fine.any():
            found[name] = Series(times[fine][order], values[fine][order])
    return found, dropped


def _table(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    columns = list(rows[0]) if rows else []
    at = next((name for name in columns if name.strip() in _TIMES), None)
    if at is None:
        raise _wrong(path, f"expected a column `time [s]`, got {', '.join(columns) or 'nothing'}")
    found = {}
    for column in columns:
        name, bracket, rest = column.partition("[")
        quantity = QUANTITIES.get(name.strip())
        if quantity is None or not bracket or column == at:
            continue
        try:
            pairs = [(float(row[at]), float(row[column])) for row in rows if (row[column] or "").strip()]
            values = np.asarray(convert(np.array([v for _, v in pairs]), rest.rstrip("] "), quantity.unit))
        except (TypeError, ValueError) as error:
            raise _wrong(path, f"column {column!r}: {error}") from error
        found[quantity.symbol] = (np.array([t for t, _ in pairs]), values)
    if not found:
        raise _wrong(path, f"expected a quantity such as `CO [L/min]`, got {', '.join(columns)}")
    return found


def _wrong(path: Path, what: str) -> RecordingError:
    return RecordingError(what, code="layout", file=path.name, hint="time [s],CO [L/min]")
