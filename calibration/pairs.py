r"""Labelled windows for calibration: a table of pairs, its recordings cut and gated.

A row of the table is a window of a recording with labels. Used is the first whole window of the model's length in the
row's span. Rows whose window the gate refuses are left out and told.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from ..inference.bundle import InputContract
from ..waveforms.cohort_table import CohortTable, read_cohort_table
from ..waveforms.readers import read
from ..waveforms.recording import Recording, require_pressure_unit
from ..waveforms.roles import PRESSURE_ROLES
from ..waveforms.windows import cut_windows

__all__ = ["Pairs", "cut_pairs", "hash_subject", "read_pairs"]


@dataclass(frozen=True)
class Pairs:
    r"""Windows with labels.

    Arguments:
        x: Windows, in the unit and at the rate of the contract.
        labels: Values by quantity, each in its unit; NaN where it was not measured.
        subjects: Subject of each window.
        start_s: Start of each window in its recording [s].
        rows: Row of each window in the table, from 0.
        refused: Number of rows left out by reason.

    Example:
        >>> pairs = Pairs(np.zeros((2, 1000)), {"CO": np.array([5.0, 6.0])}, np.array(["a", "b"]))
        >>> len(pairs), pairs.n_subjects
        (2, 2)
    """

    x: Float[np.ndarray, "N T"]
    labels: Mapping[str, Float[np.ndarray, " N"]]
    subjects: np.ndarray
    start_s: Float[np.ndarray, " N"] = field(default_factory=lambda: np.zeros(0))
    rows: Int[np.ndarray, " N"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    refused: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def n_subjects(self) -> int:
        r"""Number of different subjects."""
        return len(set(self.subjects.tolist()))

    def take(self, rows: np.ndarray) -> Pairs:
        r"""Some of the windows.

        Arguments:
            rows: Which, as indices or flags.
        """
        start = self.start_s[rows] if len(self.start_s) else self.start_s
        own = self.rows[rows] if len(self.rows) else self.rows
        labels = {name: values[rows] for name, values in self.labels.items()}
        return Pairs(self.x[rows], labels, self.subjects[rows], start, own, self.refused)


def read_pairs(path: str | Path, contract: InputContract) -> Pairs:
    r"""Reads a table of pairs and cuts its windows.

    Arguments:
        path: CSV or Parquet table.
        contract: What the model reads.

    Returns:
        Windows that passed the gate, with their labels.

    Raises:
        RecordingError: If the table or a recording cannot be read or lacks the channel.

    Example:
        >>> read_pairs("pairs.csv", InputContract())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        pulsebayes.waveforms.errors.RecordingError: pairs.csv: no such table. Try: name a CSV or Parquet file
    """
    return cut_pairs(read_cohort_table(path), contract)


def cut_pairs(table: CohortTable, contract: InputContract, *, opened: Callable[[Path], Recording] = read) -> Pairs:
    r"""Cuts the windows of a table of pairs.

    Arguments:
        table: The table.
        contract: What the model reads.
        opened: Opens a recording.

    Returns:
        Windows that passed the gate, with their labels.

    Raises:
        RecordingError: If a recording cannot be read or lacks the channel.

    Example:
        >>> empty = CohortTable("a", (), (), np.zeros(0), np.zeros(0), (), (), {})
        >>> len(cut_pairs(empty, InputContract()))
        0
    """
    refused: Counter[str] = Counter()
    windows, kept = [], []
    held: tuple[Path, Recording] | None = None
    for i, file in enumerate(table.recordings):
        if held is None or held[0] != file:
            recording = opened(file)
            if contract.role in PRESSURE_ROLES:
                require_pressure_unit(recording, contract.role)
            held = (file, recording)
        reason, window = _window(held[1], contract, float(table.start_s[i]), float(table.end_s[i]))
        if window is None:
            refused[reason] += 1
            continue
        windows.append(window)
        kept.append(i)
    rows = np.array(kept, dtype=np.int64)
    x = np.array(windows, dtype=np.float32).reshape(len(kept), contract.samples)
    labels = {name: values[rows] for name, values in table.labels.items()}
    return Pairs(x, labels, np.array(table.subjects)[rows], table.start_s[rows], rows, dict(refused))


def hash_subject(subject: str) -> str:
    r"""A short hash that stands for a subject where names must not appear.

    Arguments:
        subject: The subject.

    Example:
        >>> hash_subject("s1") == hash_subject("s1"), len(hash_subject("s1"))
        (True, 12)
    """
    return hashlib.sha256(subject.encode()).hexdigest()[:12]


def _window(
    recording: Recording, contract: InputContract, start_s: float, end_s: float
) -> tuple[str, Float[np.ndarray, " T"] | None]:
    if start_s >= recording.duration_s:
        return "too-short", None
    cut = cut_windows(
        recording,
        (contract.role,),
        length_s=contract.window_s,
        every_s=contract.window_s,
        fs=contract.fs,
        start_s=start_s,
        end_s=min(end_s, recording.duration_s),
    )
    window = next(cut)
    if not window.verdict.usable:
        return window.verdict.reason or "unusable", None
    return "", window.values[0]
