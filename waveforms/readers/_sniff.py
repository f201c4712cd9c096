r"""Tell the format of a file by its content; the suffix may only agree or say nothing."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import RecordingError
from ._wfdb_header import find_header

__all__ = ["Sniffed", "sniff"]

_HEAD: Final = 65536
_SUFFIXES: Final[dict[str, tuple[str, ...]]] = {
    ".csv": ("csv",),
    ".tsv": ("csv",),
    ".vital": ("vital",),
    ".hea": ("wfdb",),
    ".edf": ("edf",),
    ".bdf": ("edf",),
    ".mat": ("mat", "hdf5"),
    ".npz": ("numpy",),
    ".npy": ("numpy",),
    ".parquet": ("parquet",),
    ".nc": ("netcdf", "hdf5"),
    ".h5": ("hdf5", "mat"),
    ".hdf5": ("hdf5", "mat"),
    ".zarr": ("zarr",),
    ".xlsx": ("Excel",),
}
_NAMES: Final = {
    "csv": "text table (CSV/TSV)",
    "vital": "Vital Recorder file",
    "wfdb": "WFDB record",
    "edf": "EDF or BDF file",
    "mat": "MATLAB file",
    "hdf5": "HDF5 file",
    "netcdf": "netCDF file",
    "numpy": "NumPy file",
    "parquet": "Parquet file",
    "zarr": "Zarr store",
    "labchart": "LabChart text",
}
_OWN_CONTENT: Final = frozenset(_SUFFIXES) - {".hea", ".mat"}  # never the signal file of a WFDB header beside it
_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"0       ", "edf"),
    (b"\xffBIOSEMI", "edf"),
    (b"MATLAB 5.0 MAT-file", "mat"),
    (b"MATLAB 7.3 MAT-file", "mat"),
    (b"PAR1", "parquet"),
    (b"\x93NUMPY", "numpy"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"CDF\x01", "netcdf"),
    (b"CDF\x02", "netcdf"),
    (b"CDF\x05", "netcdf"),
    (b"Interval=", "labchart"),
    (b"\xef\xbb\xbfInterval=", "labchart"),
    (b"\x89PNG", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"%PDF", "PDF"),
    (b"fLaC", "FLAC"),
    (b"RIFF", "RIFF"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
_ZARR_MARKS: Final = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
_USER_BLOCKS: Final = (512, 1024, 2048, 4096)
_WFDB_LINE: Final = re.compile(
    rb"[-\w.]+(?:/\d+)?[ \t]+\d+(?:[ \t]+[\d.]+(?:/[\d.()-]+)?)?(?:[ \t]+\d+)?(?:[ \t]+[\d:.]+)?.*"
)


@dataclass(frozen=True)
class Sniffed:
    r"""What a file is.

    Arguments:
        kind: `csv`, `wfdb`, `vital`, `edf`, `mat`, `hdf5`, `netcdf`, `numpy`, `parquet`, `zarr` or `labchart`.
        path: The file to read; for WFDB the header.

    Example:
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms.readers import Sniffed
        >>> Sniffed("csv", Path("a.csv")).kind
        'csv'
    """

    kind: str
    path: Path


def sniff(path: str | Path) -> Sniffed:
    r"""Tell the format of a file by its content.

    Arguments:
        path: A file, or a WFDB record's path without suffix.

    Returns:
        The format and the file to read.

    Raises:
        RecordingError: If there is no such file, it is a folder, empty, of a format that is not read, unknown binary,
            or its suffix contradicts its content.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms.readers import sniff
        >>> path = Path(tempfile.mkdtemp()) / "abp.txt"
        >>> _ = path.write_text("ABP [mmHg]\n80\n81\n")
        >>> sniff(path).kind
        'csv'
    """
    path = Path(path)
    try:
        return _sniffed(path)
    except OSError as error:
        raise RecordingError(
            f"cannot be opened ({error.strerror or error})", code="unreadable", file=path.name
        ) from error


def _sniffed(path: Path) -> Sniffed:
    if path.is_dir() and any((path / mark).is_file() for mark in _ZARR_MARKS):
        return Sniffed("zarr", path)
    if path.is_dir():
        raise RecordingError(
            "expected a file, got a folder", code="directory", file=path.name or str(path), hint="name a file in it"
        )
    header = find_header(path)
    if not path.is_file() and header is None:
        raise RecordingError(
            "there is no such file", code="not-found", file=path.name or str(path), hint="check the name and the folder"
        )
    if header is not None and path.suffix.lower() not in _OWN_CONTENT:
        return Sniffed("wfdb", _checked_header(header))
    head = _head(path)
    kind = _kind(path, head)
    expected = _SUFFIXES.get(path.suffix.lower(), ())
    if kind in _NAMES:
        if expected and kind not in expected:
            raise RecordingError(
                f"the content is {_called(kind)}, the suffix {path.suffix} says {_NAMES.get(expected[0], expected[0])}",
                code="wrong-suffix",
                file=path.name,
                hint="give the file the suffix of what it is, or check that it is the file you mean",
            )
        return Sniffed(kind, path)
    raise _refusal(path, kind, expected[0] if expected else None)


def _called(kind: str) -> str:
    """The name of a format with its article; of one that is not read, what it holds."""
    if kind not in _NAMES:
        return f"{kind} data"
    return f"{'an' if _NAMES[kind].startswith(('E', 'H')) else 'a'} {_NAMES[kind]}"


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if not head:
        raise RecordingError("the file is empty", code="empty", file=path.name, hint="copy or export the file again")
    return head


def _checked_header(header: Path) -> Path:
    head = _head(header)
    first = next((line for line in head.splitlines() if line.strip() and not line.lstrip().startswith(b"#")), b"")
    if b"\x00" in head or _WFDB_LINE.fullmatch(first.strip()) is None:
        kind = _kind(header, head)
        line = f"first line is {first[:24].decode(errors='replace')!r}"
        raise RecordingError(
            f"expected a WFDB header, the {line if kind == 'csv' else f'content is {_called(kind)}'}",
            code="wrong-suffix",
            file=header.name,
            hint="give the file the suffix of what it is, or fetch the record again",
        )
    return header


def _kind(path: Path, head: bytes) -> str:
    if head.startswith(b"\x1f\x8b"):
        return _gzip_kind(path)
    if head.startswith(b"PK\x03\x04"):
        return "numpy" if b".npy" in head[:200] else "Excel" if b"xl/" in head or b"[Content_Types]" in head else "zip"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if any(head[at : at + 8] == b"\x89HDF\r\n\x1a\n" for at in _USER_BLOCKS):
        return "hdf5"
    if head.startswith(b"\x80") and len(head) > 1 and head[1] in (2, 3, 4, 5):
        return "pickle"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    printable = sum(byte >= 32 or byte in (9, 10, 12, 13) for byte in head) / len(head)
    if b"\x00" in head or printable < 0.98:
        return "binary"
    return "csv"


def _gzip_kind(path: Path) -> str:
    try:
        with gzip.open(path) as stream:
            inner = stream.read(4)
    except (OSError, EOFError, zlib.error) as error:
        raise RecordingError(
            f"expected a gzip stream, it breaks at its beginning ({error})", code="corrupt", file=path.name
        ) from error
    return "vital" if inner == b"VITA" else "gzip"


def _refusal(path: Path, kind: str, suffix: str | None) -> RecordingError:
    readable = "CSV/TSV, WFDB, Vital Recorder, EDF/BDF, MATLAB, HDF5, netCDF, NumPy, Parquet, Zarr, LabChart are read"
    if kind == "UTF-16":
        return RecordingError(
            "expected UTF-8 text, got UTF-16", code="encoding", file=path.name, hint="save the table as UTF-8"
        )
    if kind == "gzip":
        return RecordingError(
            f"a gzip file that is no Vital Recorder file; {readable}",
            code="wrong-suffix" if suffix else "unsupported",
            file=path.name,
            hint="gunzip it first",
        )
    if kind == "binary":
        what = _called(suffix) if suffix is not None and suffix in _NAMES else "a known waveform file"
        return RecordingError(
            f"expected {what}, got binary data of an unknown kind; {readable}",
            code="wrong-suffix" if suffix in _NAMES else "unsupported",
            file=path.name,
            hint="give the path of the .hea file"
            if path.suffix.lower() == ".dat"
            else "check that it is the file you mean",
        )
    return RecordingError(
        f"{kind} files are not read; {readable}",
        code="unsupported",
        file=path.name,
        hint="write the signals as CSV with a time column, or as WFDB with wfdb.wrsamp",
    )
