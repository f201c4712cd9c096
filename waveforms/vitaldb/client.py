r"""VitalDB's web interface: tables of cases, tracks and laboratory values, and one `.vital` file a case.

    GET {base}/cases            clinical data, CSV (may come compressed)
    GET {base}/trks             which case has which track, CSV
    GET {base}/labs             laboratory values, CSV
    GET {base}/1.0.1/{case}.vital

Everything goes through the cache: what is whole there is never asked for again, and offline nothing is asked for.

References:
    H.-C. Lee et al. (2022), Sci Data 9:279; https://vitaldb.net/dataset
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from .cache import Cache
from .errors import SourceError
from .tracks import Tracks
from .transfer import Patience, download

__all__ = ["TERMS", "Outcome", "VitalDB"]

BASE_URL: Final = "https://api.vitaldb.net"
VERSION: Final = "1.0.1"
MOST_PARALLEL: Final = 4
TERMS: Final = (
    "VitalDB is licensed CC BY-NC-SA 4.0 (attribution, no commercial use, share alike), and its use is subject to the\n"
    "data use agreement of its authors: read both at https://vitaldb.net/dataset before you fetch anything.\n"
    "Cite: H.-C. Lee et al., VitalDB, a high-fidelity multi-parameter vital signs database in surgical patients,\n"
    "Sci Data 9:279 (2022). Files stay in your own cache; nothing of VitalDB is part of pulsebayes."
)
r"""What has to be accepted before anything is fetched."""

_COLUMNS: Final = {"cases": ("caseid", "subjectid"), "trks": ("caseid", "tname"), "labs": ("caseid", "name")}
_BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class Outcome:
    r"""What came of one case.

    Arguments:
        case: Number of the case.
        path: The file, where it is there.
        size: Its length [bytes].
        sha256: Its hash.
        fetched: Whether it was downloaded now.
        error: Why it is not there; None where it is.

    Example:
        >>> Outcome(1, None, 0, "", False, SourceError("no", code="not-found")).ok
        False
    """

    case: int
    path: Path | None
    size: int = 0
    sha256: str = ""
    fetched: bool = False
    error: SourceError | None = None

    @property
    def ok(self) -> bool:
        r"""Whether the file is there, whole."""
        return self.error is None


@dataclass(frozen=True)
class VitalDB:
    r"""The data set, through a cache.

    Arguments:
        cache: Where files go.
        base_url: Address of the web interface; `$PULSEBAYES_VITALDB_URL`, else VitalDB's own.
        offline: Whether only the cache may be asked.
        patience: How long to wait for the server.

    Example:
        >>> import tempfile
        >>> source = VitalDB(Cache(Path(tempfile.mkdtemp())), offline=True)
        >>> source.fetch(1).error.code
        'offline'
    """

    cache: Cache
    base_url: str = ""
    offline: bool = False
    patience: Patience = field(default_factory=Patience)
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def address(self) -> str:
        r"""The address that is asked, without a stroke at its end."""
        return (self.base_url or os.environ.get("PULSEBAYES_VITALDB_URL") or BASE_URL).rstrip("/")

    def table(self, name: str, *, renew: bool = False) -> list[dict[str, str]]:
        r"""Rows of a table.

        Arguments:
            name: `cases`, `trks` or `labs`.
            renew: Whether it is downloaded even if it is in the cache.

        Raises:
            SourceError: If it cannot be had.
        """
        if name not in _COLUMNS:
            raise SourceError(f"VitalDB has the tables {', '.join(_COLUMNS)}, got {name!r}", code="table")
        file = f"{name}.csv"
        if (renew and not self.offline) or self._needed(file):
            self._download(f"{self.address}/{name}", file, lambda path: _check_table(path, name), None, renew)
        return read_table(self.cache.path(file), name)

    def choose(self, tracks: Tracks) -> list[int]:
        r"""Numbers of the cases that have some tracks, in order.

        Arguments:
            tracks: The tracks.

        Raises:
            SourceError: If the table of tracks cannot be had.
        """
        names: dict[int, set[str]] = {}
        for row in self.table("trks"):
            names.setdefault(int(row["caseid"]), set()).add(row["tname"].strip())
        return sorted(case for case, there in names.items() if tracks.fits(there))

    def fetch(self, case: int, *, progress: Callable[[int, int], None] | None = None) -> Outcome:
        r"""Gets one case.

        Arguments:
            case: Number of the case.
            progress: Told bytes so far and in all (0: not known).

        Returns:
            Its file, or why there is none.
        """
        name = f"{case}.vital"
        try:
            if case < 1:
                raise SourceError(f"cases are numbered from 1, got {case}", code="no-case")
            fresh = self._needed(name)
            if fresh:
                fresh = self._download(f"{self.address}/{VERSION}/{name}", name, check_vital, progress)
            entry = self.cache.entries()[name]
            return Outcome(case, self.cache.path(name), entry.size, entry.sha256, fresh)
        except SourceError as error:
            return Outcome(case, None, error=error)
        except OSError as error:
            what = f"{name}: cannot be written ({error.strerror or error})"
            return Outcome(case, None, error=SourceError(what, code="cache", hint="another --cache"))

    def fetch_all(
        self,
        cases: Sequence[int],
        *,
        parallel: int = 2,
        done: Callable[[Outcome], None] | None = None,
        progress: Callable[[int, int, int], None] | None = None,
    ) -> list[Outcome]:
        r"""Gets several cases, a few at a time.

        Arguments:
            cases: Numbers of the cases.
            parallel: How many at a time, at most 4: the server is shared by all.
            done: Told each outcome as it comes.
            progress: Told case, bytes so far and in all.

        Returns:
            Outcomes in the order of `cases`.

        Raises:
            ValueError: If `parallel` is out of range.
        """
        if not 1 <= parallel <= MOST_PARALLEL:
            raise ValueError(f"parallel must lie in 1..{MOST_PARALLEL}, got {parallel}: the server is shared by all")
        self._stop.clear()

        def one(case: int) -> Outcome:
            if self._stop.is_set():
                return Outcome(case, None, error=SourceError(f"{case}.vital: not asked for", code="interrupted"))
            return self.fetch(case, progress=(lambda at, of: progress(case, at, of)) if progress else None)

        found: dict[int, Outcome] = {}
        pool = ThreadPoolExecutor(parallel)
        try:
            waiting: set[Future[Outcome]] = {pool.submit(one, case) for case in dict.fromkeys(cases)}
            while waiting:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ready:
                    outcome = future.result()
                    found[outcome.case] = outcome
                    if done is not None:
                        done(outcome)
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            self._stop.clear()
        return [found[case] for case in dict.fromkeys(cases)]

    def _needed(self, name: str) -> bool:
        """Whether a file has to be downloaded; offline that is an error."""
        wrong = self.cache.check(name)
        if wrong and self.offline:
            what = "not in the cache" if wrong == "absent" else f"damaged in the cache ({wrong})"
            raise SourceError(
                f"{name}: {what}, and nothing is fetched offline", code="offline", hint="without --offline"
            )
        return bool(wrong)

    def _download(
        self,
        url: str,
        name: str,
        check: Callable[[Path], None],
        progress: Callable[[int, int], None] | None,
        renew: bool = False,
    ) -> bool:
        """Downloads a file unless another process does so meanwhile; tells whether it was downloaded here."""
        with self.cache.claim(name):
            if not renew and not self.cache.check(name):
                return False
            self._fetch(url, name, check, progress)
            return True

    def _fetch(
        self, url: str, name: str, check: Callable[[Path], None], progress: Callable[[int, int], None] | None
    ) -> None:
        from ... import __version__

        def told(at: int, of: int) -> None:
            if self._stop.is_set():
                raise KeyboardInterrupt  # bytes so far stay in .partial; the next call goes on from them
            if progress is not None:
                progress(at, of)

        validator = download(
            url,
            self.cache.partial(name),
            check=check,
            patience=self.patience,
            agent=f"pulsebayes/{__version__} (research; a few files at a time)",
            progress=told,
            sleep=self._pause,
        )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.cache.admit(name, url=url, validator=validator, fetched=now)

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise KeyboardInterrupt


def check_vital(path: Path) -> None:
    r"""Tests that a file is a whole gzip of Vital Recorder's format: every byte is unpacked, none kept.

    Arguments:
        path: The file.

    Raises:
        SourceError: If it is not.
    """
    name = path.name
    try:
        with gzip.open(path) as stream:
            if stream.read(4) != b"VITA":
                raise SourceError(f"{name}: the gzip holds no Vital Recorder data", code="not-vital", retry=True)
            while stream.read(_BLOCK):
                pass
    except gzip.BadGzipFile as error:
        with path.open("rb") as raw:
            page = raw.read(512).lstrip().lower().startswith((b"<", b"<!doctype"))
        what, code = ("an HTML page", "html") if page else ("no gzip", "not-gzip")
        raise SourceError(f"{name}: expected a gzip file, got {what} ({error})", code=code, retry=True) from error
    except EOFError as error:
        raise SourceError(f"{name}: the gzip breaks off", code="truncated", retry=True) from error
    except zlib.error as error:
        raise SourceError(f"{name}: the gzip is damaged ({error})", code="damaged", retry=True) from error


def _check_table(path: Path, name: str) -> None:
    """A table arrives compressed or not, is text, and has the columns that are needed."""
    read_table(path, name)


def read_table(path: Path, name: str) -> list[dict[str, str]]:
    r"""Reads a table of VitalDB, compressed or not.

    Arguments:
        path: The file.
        name: `cases`, `trks` or `labs`.

    Raises:
        SourceError: If it is damaged or not that table.
    """
    raw = path.read_bytes()
    try:
        if raw.startswith(b"\x1f\x8b"):
            raw = gzip.decompress(raw)
        text = raw.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SourceError(f"{name}: the table cannot be unpacked ({error})", code="damaged", retry=True) from error
    if text.lstrip()[:1] == "<":
        raise SourceError(f"{name}: expected a table, got an HTML page", code="html", retry=True)
    reader = csv.DictReader(io.StringIO(text))
    missing = [column for column in _COLUMNS[name] if column not in (reader.fieldnames or ())]
    if missing:
        there = ", ".join(list(reader.fieldnames or ())[:8]) or "nothing"
        raise SourceError(f"{name}: expected the columns {', '.join(missing)}, got {there}", code="table", retry=True)
    rows = list(reader)
    wrong = next((i for i, row in enumerate(rows) if not str(row["caseid"] or "").strip().isdigit()), None)
    if wrong is not None:
        said = json.dumps(rows[wrong]["caseid"])
        raise SourceError(f"{name}: row {wrong + 1} has the case {said}, expected a number", code="table", retry=True)
    return rows
