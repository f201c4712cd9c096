r"""A cache of downloaded files: whole or absent, outside the repository, each with its SHA-256 in an index.

A file enters by one rename, after its length and content were checked, and then the index, which is itself replaced by
one rename under a lock. What is being downloaded stands in `.partial`, where nothing is ever read as data; a killed
process leaves it there, and the next one goes on from it if the server still has the same file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from .errors import SourceError

__all__ = ["Cache", "Entry", "default_cache"]

INDEX: Final = "index.json"
PARTIAL: Final = ".partial"
_ROOT: Final = Path(__file__).resolve().parents[2]
_BLOCK: Final = 1 << 20


def default_cache() -> Path:
    r"""Where VitalDB's files go: `$PULSEBAYES_VITALDB_CACHE`, else `pulsebayes/vitaldb` in the user's cache.

    Example:
        >>> default_cache().name != ""
        True
    """
    given = os.environ.get("PULSEBAYES_VITALDB_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pulsebayes" / "vitaldb"


@dataclass(frozen=True)
class Entry:
    r"""What the index says of a file.

    Arguments:
        sha256: Hash of the file.
        size: Its length [bytes].
        url: Where it came from.
        validator: The server's ETag or date of change; empty where it gave none.
        fetched: When it came (UTC, ISO 8601).

    Example:
        >>> Entry("00", 2, "http://localhost/1.vital").size
        2
    """

    sha256: str
    size: int
    url: str
    validator: str = ""
    fetched: str = ""


@dataclass(frozen=True)
class Cache:
    r"""A folder of whole files and their index.

    Arguments:
        folder: The folder; made where it is absent.

    Raises:
        SourceError: If the folder lies in the source tree of this package, or is a file.

    Example:
        >>> import tempfile
        >>> cache = Cache(Path(tempfile.mkdtemp()))
        >>> _ = (cache.partial("a.csv")).write_text("caseid\n1\n")
        >>> cache.admit("a.csv", url="http://localhost/a").size, cache.check("a.csv")
        (9, '')
    """

    folder: Path

    def __post_init__(self) -> None:
        """Check and make the folder."""
        place = self.folder.expanduser().resolve()
        object.__setattr__(self, "folder", place)
        if place == _ROOT or _ROOT in place.parents:
            raise SourceError(
                f"the cache must lie outside the source tree of pulsebayes, got {place.relative_to(_ROOT.parent)}",
                code="cache",
                hint="--cache FOLDER elsewhere: data of VitalDB never enters the repository",
            )
        try:
            (place / PARTIAL).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(
                f"the cache {place.name} cannot be made: {error.strerror or error}",
                code="cache",
                hint="another --cache",
            ) from error

    def path(self, name: str) -> Path:
        r"""Where a file stands, or would.

        Arguments:
            name: Name of the file.
        """
        return self.folder / name

    def partial(self, name: str) -> Path:
        r"""Where a file stands while it is downloaded.

        Arguments:
            name: Name of the file.
        """
        return self.folder / PARTIAL / name

    def entries(self) -> dict[str, Entry]:
        r"""The index; a damaged one is as good as none, and files are hashed anew when they are asked for."""
        try:
            found: Mapping[str, Any] = json.loads((self.folder / INDEX).read_text(encoding="utf-8"))["files"]
            return {name: Entry(**row) for name, row in found.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def check(self, name: str) -> str:
        r"""What is wrong with a file: empty where it is whole, `absent` where it is not there.

        Arguments:
            name: Name of the file.
        """
        path, entry = self.path(name), self.entries().get(name)
        if not path.is_file():
            return "absent"
        if entry is None:
            return "not in the index"
        if path.stat().st_size != entry.size:
            return f"{path.stat().st_size} bytes long, was {entry.size}"
        return "" if _sha256(path) == entry.sha256 else "changed since it was fetched"

    def admit(self, name: str, *, url: str, validator: str = "", fetched: str = "") -> Entry:
        r"""Takes a checked file from `.partial` into the cache, in one step.

        Arguments:
            name: Name of the file.
            url: Where it came from.
            validator: The server's ETag or date of change.
            fetched: When it came.
        """
        part = self.partial(name)
        entry = Entry(_sha256(part), part.stat().st_size, url, validator, fetched)
        _sync(part)
        with self._locked():
            os.replace(part, self.path(name))
            self._write({**self.entries(), name: entry})
        return entry

    def drop(self, name: str) -> None:
        r"""Takes a file out of the cache.

        Arguments:
            name: Name of the file.
        """
        with self._locked():
            self.path(name).unlink(missing_ok=True)
            self._write({key: row for key, row in self.entries().items() if key != name})

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[None]:
        r"""Lets one thread of one process at a time download a file; others wait for it and then find it there.

        Arguments:
            name: Name of the file.
        """
        try:
            import fcntl
        except ImportError:  # no flock on this system: two downloads of one file must not be started at once
            yield
            return
        path = self.partial(f"{name}.lock")
        while True:
            with path.open("a") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                if not _same(path, stream.fileno()):  # whoever had it has taken the lock's file away
                    continue
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return

    def _write(self, entries: Mapping[str, Entry]) -> None:
        target = self.folder / INDEX
        draft = self.folder / PARTIAL / f"{INDEX}.{os.getpid()}"
        rows = {name: asdict(entries[name]) for name in sorted(entries)}
        draft.write_text(json.dumps({"schema": 1, "source": "VitalDB", "files": rows}, indent=1) + "\n", "utf-8")
        _sync(draft)
        os.replace(draft, target)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer of the index at a time, over threads and processes."""
        with (self.folder / PARTIAL / "lock").open("a") as stream:
            try:
                import fcntl
            except ImportError:  # no flock on this system: renames still leave the index whole
                yield
                return
            fcntl.flock(stream, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(stream, fcntl.LOCK_UN)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _same(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
