r"""Pairs and cohorts: one table, a row per labelled window.

Columns: ``subject``, ``recording`` (a path beside the table), ``start_s``, ``end_s``, where known ``device`` and
``kind`` (``independent`` or ``derived``); then one column for each quantity with its unit in the header
(``CO [L/min]``), empty where it was not measured. CSV or Parquet. The same table without labels is a cohort.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from .errors import RecordingError
from .quantities import QUANTITIES
from .units import convert

__all__ = ["CohortTable", "find_cohort", "read_cohort_table", "write_cohort_table"]

_NEEDED = ("subject", "recording", "start_s", "end_s")
_KNOWN = (*_NEEDED, "device", "kind")
_KINDS = ("independent", "derived", "")


@dataclass(frozen=True)
class CohortTable:
    r"""Labelled windows of recordings.

    Arguments:
        name: Name of the file, without its folder.
        subjects: Subject of each row.
        recordings: Path of each row's recording.
        start_s: Start of each window [s].
        end_s: End of each window [s].
        devices: Device of each row, empty where it is not known.
        kinds: ``independent``, ``derived`` or empty.
        labels: Values by quantity, each in the quantity's own unit; NaN where it was not measured.

    Example:
        >>> table = CohortTable("a.csv", ("s1",), (Path("a.hea"),), np.zeros(1), np.full(1, 8.0), ("",), ("",), {})
        >>> len(table), table.n_subjects
        (1, 1)
    """

    name: str
    subjects: tuple[str, ...]
    recordings: tuple[Path, ...]
    start_s: Float[np.ndarray, " N"]
    end_s: Float[np.ndarray, " N"]
    devices: tuple[str, ...]
    kinds: tuple[str, ...]
    labels: Mapping[str, Float[np.ndarray, " N"]]

    def __len__(self) -> int:
        return len(self.subjects)

    @property
    def n_subjects(self) -> int:
        r"""Number of different subjects."""
        return len(set(self.subjects))

    def take(self, rows: Sequence[int] | np.ndarray) -> CohortTable:
        r"""Some of the rows.

        Arguments:
            rows: Their numbers, from 0.
        """
        at = [int(row) for row in rows]
        return CohortTable(
            self.name,
            tuple(self.subjects[i] for i in at),
            tuple(self.recordings[i] for i in at),
            self.start_s[at],
            self.end_s[at],
            tuple(self.devices[i] for i in at),
            tuple(self.kinds[i] for i in at),
            {name: values[at] for name, values in self.labels.items()},
        )


def find_cohort(path: str | Path) -> Path:
    r"""The table of a cohort: the file itself, or the one that `cohort build` wrote into a folder.

    Arguments:
        path: A table or a folder.

    Raises:
        RecordingError: If there is none.

    Example:
        >>> find_cohort("a/cohort.csv").name
        'cohort.csv'
    """
    path = Path(path)
    if not path.is_dir():
        return path
    there = [path / name for name in ("cohort.csv", "cohort.parquet") if (path / name).is_file()]
    if not there:
        raise RecordingError(
            "the folder holds no cohort.csv",
            code="not-found",
            file=path.name,
            hint=f"pulsebayes cohort build {path.name} --out COHORT",
        )
    return there[0]


def write_cohort_table(table: CohortTable, path: str | Path) -> Path:
    r"""Writes a table, in one step; recordings are named relative to it.

    Arguments:
        table: The table.
        path: CSV or Parquet file.

    Raises:
        ImportError: If the file is Parquet and pyarrow is absent.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> labels = {"CO": np.array([5.1])}
        >>> table = CohortTable("a", ("s",), (folder / "a.hea",), np.zeros(1), np.full(1, 8.0), ("",), ("",), labels)
        >>> read_cohort_table(write_cohort_table(table, folder / "a.csv")).labels["CO"].tolist()
        [5.1]
    """
    path = Path(path)
    above = path.parent.resolve()
    columns: dict[str, list[object]] = {
        "subject": list(table.subjects),
        "recording": [Path(os.path.relpath(file.resolve(), above)).as_posix() for file in table.recordings],
        "start_s": [round(float(v), 3) for v in table.start_s],
        "end_s": [round(float(v), 3) for v in table.end_s],
        "device": list(table.devices),
        "kind": list(table.kinds),
    }
    for name, values in table.labels.items():
        columns[QUANTITIES[name].label] = [float(f"{v:.6g}") if math.isfinite(v) else None for v in values]
    draft = path.with_name(f".{path.name}.part")
    if path.suffix.lower() in (".parquet", ".pq"):
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise ImportError("Parquet tables need pyarrow: pip install 'pulsebayes[io]'", name="pyarrow") from error
        parquet.write_table(pyarrow.table(columns), draft)
    else:
        with draft.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(["" if v is None else v for v in row] for row in zip(*columns.values(), strict=True))
    os.replace(draft, path)
    return path


def read_cohort_table(path: str | Path) -> CohortTable:
    r"""Reads a table of pairs or of a cohort.

    Arguments:
        path: CSV or Parquet file; recordings are looked for beside it.

    Returns:
        The table, labels converted to the units of the quantities.

    Raises:
        RecordingError: If the file, a column or a row does not fit; the message names the row.
        ImportError: If the file is Parquet and pyarrow is absent.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "pairs.csv"
        >>> _ = path.write_text("subject,recording,start_s,end_s,CO [L/min]\ns1,a.hea,0,8,5.1\ns2,b.hea,0,8,\n")
        >>> table = read_cohort_table(path)
        >>> table.subjects, table.labels["CO"].tolist()
        (('s1', 's2'), [5.1, nan])
    """
    path = Path(path)
    if not path.is_file():
        raise RecordingError("no such table", code="not-found", file=path.name, hint="name a CSV or Parquet file")
    names, rows = _parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _csv(path)
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise _wrong(path, f"columns {', '.join(missing)} are missing; there are {', '.join(names) or 'none'}")
    if not rows:
        raise _wrong(path, "the table has no rows")
    labels = {}
    for column in names:
        if column not in _KNOWN:
            quantity, unit = _header(path, column)
            if quantity in labels or names.count(column) > 1:
                raise _wrong(path, f"{quantity} stands in two columns", hint="keep one of them")
            labels[quantity] = _converted(path, rows, column, unit, quantity)
    spans = [_span(path, i, row) for i, row in enumerate(rows)]
    texts = {name: tuple(str(row.get(name) or "").strip() for row in rows) for name in _KNOWN}
    for i, (subject, recording, kind) in enumerate(
        zip(texts["subject"], texts["recording"], texts["kind"], strict=True)
    ):
        if not subject or not recording:
            raise _wrong(path, f"row {i + 1} has no {'recording' if subject else 'subject'}")
        if kind not in _KINDS:
            raise _wrong(path, f"row {i + 1} has kind {kind!r}, expected independent, derived or nothing")
    files = tuple(path.parent / name for name in texts["recording"])
    start, end = np.array(spans).T
    return CohortTable(path.name, texts["subject"], files, start, end, texts["device"], texts["kind"], labels)


def _csv(path: Path) -> tuple[list[str], list[dict[str, object]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            rows: list[dict[str, object]] = [dict(row) for row in reader]
            return [str(name).strip() for name in reader.fieldnames or ()], [_stripped(row) for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise _wrong(path, f"cannot be read as CSV: {error}") from error


def _stripped(row: dict[str, object]) -> dict[str, object]:
    return {str(name).strip(): value for name, value in row.items()}


def _parquet(path: Path) -> tuple[list[str], list[dict[str, object]]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise ImportError("Parquet tables need pyarrow: pip install 'pulsebayes[io]'", name="pyarrow") from error
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise _wrong(path, f"cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    return list(table.column_names), table.to_pylist()


def _header(path: Path, column: str) -> tuple[str, str]:
    name, bracket, rest = column.partition("[")
    quantity, unit = name.strip(), rest.rstrip("] ").strip()
    if quantity not in QUANTITIES:
        raise _wrong(path, f"column {column!r} is no quantity; known are {', '.join(QUANTITIES)}")
    if not bracket or not unit:
        raise _wrong(path, f"column {column!r} names no unit", hint=f"write {QUANTITIES[quantity].label!r}")
    return quantity, unit


def _converted(
    path: Path, rows: list[dict[str, object]], column: str, unit: str, quantity: str
) -> Float[np.ndarray, " N"]:
    values = np.full(len(rows), np.nan)
    for i, row in enumerate(rows):
        cell = row.get(column)
        if cell is None or not str(cell).strip():
            continue
        values[i] = _number(path, i, column, cell)
    try:
        return np.asarray(convert(values, unit, QUANTITIES[quantity].unit))
    except ValueError as error:
        raise _wrong(path, f"column {column!r}: {error}") from error


def _span(path: Path, i: int, row: dict[str, object]) -> tuple[float, float]:
    start, end = (_number(path, i, name, row.get(name)) for name in ("start_s", "end_s"))
    if not (start >= 0 and end > start):
        raise _wrong(path, f"row {i + 1}: end_s must be after start_s, got {start:g} to {end:g} s")
    return start, end


def _number(path: Path, i: int, column: str, cell: object) -> float:
    try:
        value = float(str(cell))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _wrong(path, f"row {i + 1}, column {column!r}: expected a number, got {cell!r}")
    return value


def _wrong(path: Path, what: str, hint: str | None = None) -> RecordingError:
    return RecordingError(what, code="layout", file=path.name, hint=hint)
