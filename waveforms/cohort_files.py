r"""Which files of a folder are recordings, and whose: the same rules for every folder.

1. What is hidden, or no data by its suffix, is passed over. A Zarr store is one file.
2. A WFDB record is its header. Signal files and segments that a header names are part of it.
3. Tables of cohorts and of VitalDB, references beside a recording (`NAME.reference.csv`) and indexes are no recordings.
4. Of files with the same bytes the first counts.

Whose: in a VitalDB folder the `subjectid` of `cases.csv`; below a folder `p` and five to eight digits (MIMIC) that
folder; of a MIMIC segment (`3975656_0015`) the record; else each file is a subject of its own, or each folder if asked.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import RecordingError

__all__ = ["FoundFile", "PassedOver", "find_recordings"]

_NO_DATA: Final = frozenset({".md", ".json", ".html", ".png", ".jpg", ".pdf", ".toml", ".log", ".py", ".css", ".atr",
                             ".part", ".nb", ".yml", ".yaml", ".lock", ".qrs"})  # fmt: skip
_TABLES: Final = (frozenset({"subject", "recording", "start_s"}), frozenset({"caseid"}))
_PATIENT: Final = re.compile(r"p\d{5,8}")
_SEGMENT: Final = re.compile(r"(\d{7})_\d{4}")
_BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class FoundFile:
    r"""A file that is taken for a recording.

    Arguments:
        path: The file.
        name: Its path in the folder that was searched.
        subject: Whose it is.

    Example:
        >>> FoundFile(Path("a/1.vital"), "1.vital", "1001").subject
        '1001'
    """

    path: Path
    name: str
    subject: str


@dataclass(frozen=True)
class PassedOver:
    r"""A file that is none.

    Arguments:
        name: Its path in the folder that was searched.
        reason: `no-data`, `part-of-record`, `table`, `reference` or `same-bytes`.
        detail: Of which record it is a part, or which file it repeats.

    Example:
        >>> PassedOver("a.dat", "part-of-record", "a.hea").reason
        'part-of-record'
    """

    name: str
    reason: str
    detail: str = ""


def find_recordings(
    places: Sequence[str | Path], *, by_folder: bool = False
) -> tuple[list[FoundFile], list[PassedOver]]:
    r"""Finds recordings in folders, or takes the files named.

    Arguments:
        places: Folders and files.
        by_folder: Whether all recordings of a folder are one subject's, where no rule says whose they are.

    Returns:
        Recordings and what was passed over, each in the order of their names.

    Raises:
        RecordingError: If a place does not exist, or nothing is there.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.csv").write_text("ABP [mmHg]\n80\n"), (folder / "notes.md").write_text("x")
        >>> found, passed = find_recordings([folder])
        >>> [f.name for f in found], [(p.name, p.reason) for p in passed]
        (['a.csv'], [('notes.md', 'no-data')])
    """
    found: list[FoundFile] = []
    passed: list[PassedOver] = []
    for place in map(Path, places):
        if not place.exists() and not place.with_name(place.name + ".hea").is_file():
            raise RecordingError("no such file or folder", code="not-found", file=place.name, hint="check the path")
        if not place.is_dir() or place.suffix == ".zarr":
            found.append(FoundFile(place, place.name, place.stem))
            continue
        subjects = _vitaldb_subjects(place)
        named = _files(place)
        parts = _parts([path for path, _ in named])
        for path, name in named:
            reason = _passed(path, name, parts)
            if reason is not None:
                passed.append(reason)
            else:
                found.append(FoundFile(path, name, _subject(path, place, name, subjects, by_folder)))
    found, repeated = _without_repeats(found)
    if not found:
        what = f"none of the {len(passed)} files there is a recording" if passed else "there is no file"
        raise RecordingError(
            what, code="no-data", file=str(Path(places[0]).name) if places else "", hint="another folder"
        )
    return found, [*passed, *repeated]


def _files(folder: Path) -> list[tuple[Path, str]]:
    """Files below a folder by name, hidden ones left out, a Zarr store as one."""
    found = []
    stack = [folder]
    while stack:
        for path in sorted(stack.pop().iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_dir() and path.suffix != ".zarr":
                stack.append(path)
            else:
                found.append((path, path.relative_to(folder).as_posix()))
    return sorted(found, key=lambda pair: _natural(pair[1]))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts 2.vital before 10.vital."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", name) if word]


def _parts(paths: Sequence[Path]) -> dict[Path, str]:
    """Files that a WFDB header names, with that header."""
    parts: dict[Path, str] = {}
    for header in paths:
        if header.suffix != ".hea":
            continue
        try:
            lines = header.read_text("latin-1").splitlines()
        except OSError:
            continue
        words = [line.split() for line in lines if line.strip() and not line.startswith("#")]
        for named in {w[0] for w in words[1:] if w and w[0] != "~"}:
            for part in (header.with_name(named), header.with_name(f"{named}.hea")):
                if part != header:
                    parts[part] = header.name
    return parts


def _passed(path: Path, name: str, parts: dict[Path, str]) -> PassedOver | None:
    if path in parts:
        return PassedOver(name, "part-of-record", parts[path])
    if path.suffix.lower() in _NO_DATA:
        return PassedOver(name, "no-data")
    if name.lower().endswith(".reference.csv"):
        return PassedOver(name, "reference")
    if path.suffix.lower() in (".csv", ".parquet", ".pq") and _is_table(path):
        return PassedOver(name, "table")
    return None


def _is_table(path: Path) -> bool:
    """Whether a table is one of a cohort or of VitalDB, by its columns."""
    if path.suffix.lower() != ".csv":
        return path.name.startswith("cohort.")
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
            head = stream.readline(4096)
    except OSError:
        return False
    columns = {word.strip().strip('"') for word in next(csv.reader([head]), [])}
    return any(table <= columns for table in _TABLES)


def _vitaldb_subjects(folder: Path) -> dict[str, str]:
    """Subject by case, where the folder has VitalDB's table of cases."""
    from .vitaldb.client import read_table
    from .vitaldb.errors import SourceError

    path = folder / "cases.csv"
    if not path.is_file():
        return {}
    try:
        return {row["caseid"].strip(): row["subjectid"].strip() for row in read_table(path, "cases")}
    except SourceError:
        return {}


def _subject(path: Path, root: Path, name: str, subjects: dict[str, str], by_folder: bool) -> str:
    known = subjects.get(path.stem)
    if known and path.suffix == ".vital":
        return known
    above = [part for part in path.relative_to(root.parent).parts[:-1] if _PATIENT.fullmatch(part)]
    if above:
        return max(above, key=len)
    segment = _SEGMENT.fullmatch(path.stem)
    if segment:
        return segment[1]
    if by_folder:
        return path.parent.relative_to(root.parent).as_posix()
    return name[: -len(path.suffix)] if path.suffix else name


def _without_repeats(found: Sequence[FoundFile]) -> tuple[list[FoundFile], list[PassedOver]]:
    """Files of one length and hash count once."""
    kept: list[FoundFile] = []
    repeated: list[PassedOver] = []
    sizes: dict[tuple[str, int], list[FoundFile]] = {}
    for one in found:
        if not one.path.is_file() or one.path.suffix == ".hea":
            kept.append(one)
            continue
        same = sizes.setdefault((one.path.suffix.lower(), one.path.stat().st_size), [])
        twin = next((other for other in same if _digest(other.path) == _digest(one.path)), None)
        if twin is not None:
            repeated.append(PassedOver(one.name, "same-bytes", twin.name))
            continue
        same.append(one)
        kept.append(one)
    return kept, repeated


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
