r"""Read Parquet files: one channel a column, row group by row group."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..errors import RecordingError
from ..recording import Recording
from ._arrays import Content, Entry, recording_of
from ._sources import decoding

__all__ = ["read_parquet"]

_MOST_COLUMNS: Final = 1024
_LARGEST_GROUP: Final = 1 << 28


def read_parquet(
    path: str | Path,
    *,
    fs: float | None = None,
    roles: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Recording:
    r"""Read a Parquet file. Needs the extra `io` (pyarrow).

    The rate comes from a time column (numbers with a unit, or time stamps), from a metadata entry `fs`, or `--fs`.

    Arguments:
        path: The file.
        fs: Sampling rate [Hz] where the file has no time.
        roles: Roles by column name; `TIME` names the time.
        units: Units by column name or role.

    Returns:
        The recording.

    Raises:
        RecordingError: If the file is damaged or cut short, or its time stamps are uneven.
        ImportError: If pyarrow is not installed.

    Example:
        >>> import tempfile, pytest
        >>> from pathlib import Path
        >>> _ = pytest.importorskip("pyarrow")
        >>> import pyarrow, pyarrow.parquet
        >>> from pulsebayes.waveforms.readers import read_parquet
        >>> path = Path(tempfile.mkdtemp()) / "demo.parquet"
        >>> pyarrow.parquet.write_table(pyarrow.table({"ABP [mmHg]": [80.0, 90.0, 85.0]}), path)
        >>> read_parquet(path, fs=125).channel("ART").unit
        'mmHg'
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ImportError("Parquet files need pyarrow: pip install 'pulsebayes[io]'") from error
    path = Path(path)
    content = Content()
    with decoding(path.name, "a Parquet file"):
        file = parquet.ParquetFile(path, page_checksum_verification=True)
        if file.metadata.num_columns > _MOST_COLUMNS:
            raise RecordingError(f"more than {_MOST_COLUMNS} columns", code="layout", file=path.name)
        _check_groups(path.name, file)
        content.attrs[""] = _metadata(file)
        starts = np.concatenate([[0], np.cumsum([_rows(file, k) for k in range(file.num_row_groups)])])
        for index in range(file.metadata.num_columns):
            _column(file, index, starts, content)
    return recording_of(path.name, content, fs=fs, roles=roles, units=units)


def _rows(file: Any, group: int) -> int:
    return int(file.metadata.row_group(group).num_rows)


def _check_groups(name: str, file: Any) -> None:
    """Refuse row groups that would not fit into memory."""
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group)
        for index in range(rows.num_columns):
            held = rows.column(index)
            if max(held.total_uncompressed_size, 8 * rows.num_rows) > _LARGEST_GROUP:
                raise RecordingError(
                    f"row group {group} announces {rows.num_rows} rows and {held.total_uncompressed_size} bytes a "
                    f"column; at most {_LARGEST_GROUP} bytes are unpacked at once",
                    code="too-large",
                    file=name,
                    hint="write the table with smaller row groups",
                )


def _metadata(file: Any) -> dict[str, Any]:
    """Entries of the schema's metadata, numbers as numbers."""
    found: dict[str, Any] = {}
    for key, value in (file.schema_arrow.metadata or {}).items():
        text = value.decode("utf-8", "replace")
        try:
            found[key.decode("utf-8", "replace")] = float(text)
        except ValueError:
            found[key.decode("utf-8", "replace")] = text
    return found


def _column(file: Any, index: int, starts: np.ndarray, content: Content) -> None:
    field = file.schema_arrow.field(index)
    name = field.name
    if name.startswith("__index_level_") or int(starts[-1]) == 0:
        return
    import pyarrow.types as types

    known = types.is_floating(field.type) or types.is_integer(field.type) or types.is_timestamp(field.type)
    if not known and not types.is_duration(field.type):
        content.findings.append(f"column {name!r} holds {field.type}; left out")
        return
    if sum(file.metadata.row_group(k).column(index).statistics.null_count if _counted(file, k, index) else 0
           for k in range(file.num_row_groups)) == int(starts[-1]):  # fmt: skip
        content.findings.append(f"column {name!r} holds nothing; left out")
        return
    attributes = {k.decode(): v.decode("utf-8", "replace") for k, v in (field.metadata or {}).items()}
    for key in ("fs", "start_s"):
        if key in attributes:
            attributes[key] = json.loads(attributes[key])
    content.entries.append(Entry(name, _Column(file, name, starts, field.type), attributes))


def _counted(file: Any, group: int, index: int) -> bool:
    held = file.metadata.row_group(group).column(index)
    return bool(held.is_stats_set and held.statistics.has_null_count)


class _Column:
    """A column read by row groups; holds the last one."""

    def __init__(self, file: Any, name: str, starts: np.ndarray, kind: Any) -> None:
        import pyarrow.types as types

        self._file, self._name, self._starts = file, name, starts
        stamp = types.is_timestamp(kind) or types.is_duration(kind)
        self.shape = (int(starts[-1]),)
        self.dtype = np.dtype("M8[ns]" if stamp else "f8")
        self._group, self._values = -1, np.zeros(0)

    def __getitem__(self, key: Any) -> np.ndarray:
        (piece,) = key if isinstance(key, tuple) else (key,)
        first, stop, _ = piece.indices(self.shape[0])
        groups = range(
            int(np.searchsorted(self._starts, first, side="right")) - 1,
            int(np.searchsorted(self._starts, stop, side="left")),
        )
        parts = []
        for group in groups:
            begin = int(self._starts[group])
            values = self._read(group)
            parts.append(values[max(first - begin, 0) : stop - begin])
        return np.concatenate(parts) if parts else np.zeros(0)

    def _read(self, group: int) -> np.ndarray:
        if group != self._group:
            table = self._file.read_row_group(group, columns=[self._name], use_threads=False)
            values = table.column(0).to_numpy()
            if self.dtype.kind == "M":
                if values.dtype.kind == "m":
                    values = values.astype("m8[ns]").astype(np.int64).view("M8[ns]")
                self._values = values.astype("M8[ns]")
            else:
                self._values = values.astype(np.float64)
            if len(self._values) != int(self._starts[group + 1] - self._starts[group]):
                raise ValueError(f"{len(self._values)} rows in row group {group}")
            self._group = group
        return self._values
