r"""Build a cohort: recordings cut and gated, windows paired with references over the same time, one table.

A window is left out where the gate refuses it, before the catheter was zeroed, and where a finding says that the wave
is bent: a damped or ringing line, cut-off peaks, a balloon pump, two recordings in one window. A window that no reading
belongs to is left out where its recording has readings; of a recording without any, all windows stay, unlabelled.
Nothing is left out in silence: a report says for each recording what was used and what was not, and why.

Only one channel is read, so no time between channels, whose clocks may differ, enters anything.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from .cohort_files import FoundFile
from .cohort_references import References, read_references
from .cohort_table import CohortTable
from .crosscheck import unzeroed_until
from .recording import Recording, RecordingError, require_data, require_pressure_unit
from .roles import PRESSURE_ROLES
from .windows import cut_windows

__all__ = ["BuildPlan", "Built", "RecordingReport", "build_cohort"]

BENT: Final = ("damped", "ringing", "clipped", "balloon-pump", "splice")
"""Findings that leave a window out."""


@dataclass(frozen=True)
class BuildPlan:
    r"""How recordings become rows.

    Arguments:
        role: Role of the channel that is read.
        every_s: Time from one window to the next [s].
        length_s: Length of a window [s].
        devices: Reference devices, the one wanted most first; none for every known one.
        delay_s: How far references lag [s]; NaN for each device's own.
        kind: Kind of references in a table beside a recording.
        keep_bent: Whether windows with a bent wave stay.

    Raises:
        ValueError: If a time is not positive or the kind unknown.

    Example:
        >>> BuildPlan(every_s=60.0).role
        'ART'
    """

    role: str = "ART"
    every_s: float = 20.0
    length_s: float = 8.0
    devices: tuple[str, ...] = ()
    delay_s: float = math.nan
    kind: str = ""
    keep_bent: bool = False

    def __post_init__(self) -> None:
        """Check every field."""
        if not (self.every_s > 0 and self.length_s > 0):
            raise ValueError(f"every_s and length_s must be positive [s], got {self.every_s:g} and {self.length_s:g}")
        if self.kind not in ("", "independent", "derived"):
            raise ValueError(f"kind must be independent or derived, got {self.kind!r}")


@dataclass(frozen=True)
class RecordingReport:
    r"""What came of one recording.

    Arguments:
        file: Its path in the folder.
        subject: Whose it is.
        status: `used` or `refused`.
        reason: Why it was refused: the code of the error, `no-usable-window` or `no-reference`; empty where used.
        message: The reason in words, with what to try.
        duration_s: Length [s].
        windows: Windows looked at.
        rows: Windows that became rows.
        left_out: Windows left out, by reason.
        device: Reference device; empty for none.
        kind: Its kind.
        readings: Number of readings by quantity.
        dropped: Readings that no patient has.

    Example:
        >>> RecordingReport("a.csv", "a", "refused", "unit-missing", "no unit").rows
        0
    """

    file: str
    subject: str
    status: str
    reason: str = ""
    message: str = ""
    duration_s: float = 0.0
    windows: int = 0
    rows: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    device: str = ""
    kind: str = ""
    readings: Mapping[str, int] = field(default_factory=dict)
    dropped: int = 0

    def to_json(self) -> dict[str, Any]:
        r"""The report as a JSON-able dictionary."""
        return {**asdict(self), "left_out": dict(self.left_out), "readings": dict(self.readings)}


@dataclass(frozen=True)
class Built:
    r"""A cohort and what came of each recording.

    Arguments:
        table: The rows; without any where nothing could be used.
        reports: One report for each recording.

    Example:
        >>> empty = CohortTable("cohort", (), (), np.zeros(0), np.zeros(0), (), (), {})
        >>> len(Built(empty, ()).table)
        0
    """

    table: CohortTable
    reports: tuple[RecordingReport, ...]


def build_cohort(
    files: Sequence[FoundFile],
    plan: BuildPlan,
    *,
    opened: Callable[[Path], Recording],
    progress: Callable[[RecordingReport], None] | None = None,
) -> Built:
    r"""Builds a cohort.

    Arguments:
        files: Recordings and whose they are.
        plan: How recordings become rows.
        opened: Opens a file; called once for each.
        progress: Told each recording's report as it is done.

    Returns:
        The cohort; a recording that cannot be used is reported, not raised.

    Example:
        >>> from pulsebayes.waveforms import Recording
        >>> phase = (np.arange(7500) / 125) % 0.75
        >>> wave = 70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1)
        >>> made = Recording.from_arrays("a", {"ABP": wave}, fs=125, units={"ABP": "mmHg"})
        >>> built = build_cohort([FoundFile(Path("a"), "a", "s1")], BuildPlan(), opened=lambda path: made)
        >>> len(built.table), built.reports[0].status
        (3, 'used')
    """
    rows: list[_Row] = []
    reports = []
    for one in files:
        own: list[_Row] = []
        try:
            report = _build_one(one, plan, opened, own)
        except (RecordingError, OSError, ValueError) as error:
            code = str(getattr(error, "code", "") or "unreadable")
            report = RecordingReport(one.name, one.subject, "refused", code, str(error))
        rows += own if report.status == "used" else []
        reports.append(report)
        if progress is not None:
            progress(report)
    return Built(_as_table(rows), tuple(reports))


@dataclass(frozen=True)
class _Row:
    found: FoundFile
    start_s: float
    end_s: float
    device: str
    kind: str
    labels: Mapping[str, float]


def _build_one(
    one: FoundFile, plan: BuildPlan, opened: Callable[[Path], Recording], rows: list[_Row]
) -> RecordingReport:
    recording = opened(one.path)
    channel = recording.channel(plan.role)
    if plan.role in PRESSURE_ROLES:
        require_pressure_unit(recording, plan.role)
    require_data(recording, channel.name)
    references = read_references(one.path, devices=plan.devices, delay_s=plan.delay_s, kind=plan.kind)
    left_out: Counter[str] = Counter()
    windows = 0
    for start_s, reason in _windows(recording, plan):
        windows += 1
        labels = references.labels(start_s + 0.5 * plan.length_s)
        if not reason and references.series and not any(map(math.isfinite, labels.values())):
            reason = "no-reading"
        if reason:
            left_out[reason] += 1
            continue
        end_s = start_s + plan.length_s
        rows.append(_Row(one, start_s, end_s, references.device, references.kind, labels))
    return _report(one, recording, references, windows, rows, left_out)


def _windows(recording: Recording, plan: BuildPlan) -> Iterator[tuple[float, str]]:
    """Start of each window, and why it is left out."""
    zeroed_s = unzeroed_until(recording, plan.role) if plan.role in PRESSURE_ROLES else 0.0
    cut = cut_windows(recording, (plan.role,), length_s=plan.length_s, every_s=plan.every_s)
    for window in cut:
        verdict = window.verdict
        bent = [f.code for f in verdict.findings if f.code in BENT] if not plan.keep_bent else []
        reason = verdict.reason or "" if not verdict.usable else bent[0] if bent else ""
        if not reason and math.isfinite(zeroed_s) and window.start_s < zeroed_s - 1e-9:
            reason = "before-zeroing"
        yield window.start_s, reason


def _report(
    one: FoundFile,
    recording: Recording,
    references: References,
    windows: int,
    rows: Sequence[_Row],
    left_out: Counter[str],
) -> RecordingReport:
    reason = ""
    if not rows:
        only = set(left_out) == {"no-reading"}
        reason = "no-reference" if only else "no-usable-window"
    most = ", ".join(f"{name} {n}" for name, n in left_out.most_common(3))
    return RecordingReport(
        one.name,
        one.subject,
        "refused" if reason else "used",
        reason,
        f"{one.name}: none of {windows} windows can be used: {most}" if reason else "",
        round(recording.duration_s, 3),
        windows,
        len(rows),
        dict(left_out),
        references.device,
        references.kind,
        {name: len(series.times_s) for name, series in references.series.items()},
        references.dropped,
    )


def _as_table(rows: Sequence[_Row]) -> CohortTable:
    names = sorted({name for row in rows for name in row.labels})
    labels = {name: np.array([row.labels.get(name, math.nan) for row in rows]) for name in names}
    return CohortTable(
        "cohort",
        tuple(row.found.subject for row in rows),
        tuple(row.found.path for row in rows),
        np.array([row.start_s for row in rows]),
        np.array([row.end_s for row in rows]),
        tuple(row.device for row in rows),
        tuple(row.kind for row in rows),
        labels,
    )
