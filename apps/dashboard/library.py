r"""Which recordings the app may open, and nothing else: shipped samples, what was named at the start, own uploads.

A recording is known by an identity that says nothing of its name: `sample-...`, or the first letters of the SHA-256 of
its content. Uploads are written under names of our own into a folder that only this user can read and that goes when
the app ends. A path is accepted only inside the files and folders that were named when the app was started, links
resolved; a header that points elsewhere is refused.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...waveforms.errors import RecordingError
from ...waveforms.readers import read
from ...waveforms.recording import Recording

__all__ = ["LARGEST_UPLOAD_MB", "Labels", "Library", "Source"]

LARGEST_UPLOAD_MB = 50
r"""Greatest size of an upload [MB]; larger files are opened where they lie."""
SUFFIXES = (
    ".csv", ".tsv", ".txt", ".hea", ".dat", ".vital", ".edf", ".bdf", ".mat", ".npz", ".parquet", ".nc", ".h5", ".hdf5",
)  # fmt: skip
_MOST_FILES = 12
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Labels:
    r"""What the user says over a file: roles, units, rate.

    Arguments:
        roles: Role by channel name.
        units: Unit by channel name or role.
        fs: Sampling rate [Hz]; 0 where not said.

    Example:
        >>> Labels().fs
        0.0
    """

    roles: tuple[tuple[str, str], ...] = ()
    units: tuple[tuple[str, str], ...] = ()
    fs: float = 0.0


@dataclass(frozen=True)
class Source:
    r"""A recording that may be opened.

    Arguments:
        identity: What the address bar shows; says nothing of the file's name.
        label: What the page shows by default; neither.
        name: The file's name, shown on request only.
        path: Where it lies.
        kind: `sample`, `opened` or `upload`.

    Example:
        >>> Source("sample-simulated", "Simulated patient", "a.hea", Path("a.hea"), "sample").kind
        'sample'
    """

    identity: str
    label: str
    name: str
    path: Path
    kind: str


@dataclass
class Library:
    r"""The recordings of one running app.

    Arguments:
        opened: Files and folders named at the start.
        samples: Shipped files by title.

    Example:
        >>> Library((), {}).sources()
        []
    """

    opened: tuple[Path, ...]
    samples: Mapping[str, Path]
    _folder: Path = field(init=False, repr=False)
    _known: dict[str, Source] = field(init=False, repr=False, default_factory=dict)
    _named: list[str] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        self.opened = tuple(_whole_path(path) for path in self.opened)
        self._folder = Path(tempfile.mkdtemp(prefix="pulsebayes-"))
        self._end = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        for title, path in self.samples.items():
            identity = "sample-" + re.sub(r"[^a-z0-9]+", "-", path.stem.lower())
            self._known[identity] = Source(identity, title, path.name, path, "sample")
        for path in self.opened:
            if not path.is_dir():
                self._named.append(self._add(path, "opened").identity)

    def sources(self) -> list[Source]:
        r"""Samples and the files that were named at the start."""
        return [*(s for s in self._known.values() if s.kind == "sample"), *self.named()]

    def named(self) -> list[Source]:
        r"""The files that were named at the start; not those that a visitor found in a folder."""
        return [self._known[identity] for identity in dict.fromkeys(self._named)]

    def find(self, identity: str, own: Iterable[str] = ()) -> Source | None:
        r"""The recording of an identity, if this visitor may see it.

        Arguments:
            identity: The identity.
            own: Identities of the visitor's own uploads.
        """
        source = self._known.get(identity)
        return None if source is None or (source.kind == "upload" and identity not in set(own)) else source

    def files(self) -> list[Path]:
        r"""Waveform files in the folders that were named at the start, at most 500."""
        found: list[Path] = []
        for folder in (p for p in self.opened if p.is_dir()):
            found += [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES and p.suffix != ".dat"]
        return [p for p in found[:500] if self._allowed(p)]

    def shown(self, path: Path) -> str:
        r"""A file as the list shows it: its place in the folder that was named, never the folder's own place."""
        for root in self.opened:
            if root.is_dir() and path.is_relative_to(root):
                return path.relative_to(root).as_posix()
        return path.name

    def open_path(self, text: str) -> Source:
        r"""Accept a path typed by the user.

        Arguments:
            text: The path, absolute or inside a folder that was named at the start.

        Returns:
            The recording.

        Raises:
            RecordingError: If it does not exist or lies outside what was named at the start; the two are told alike,
                so that the app cannot be asked which files there are.
        """
        typed = Path(text.strip())
        bases = [p if p.is_dir() else p.parent for p in self.opened]
        tries = [typed] if typed.is_absolute() else [base / typed for base in bases]
        for path in tries:
            for suffix in ("", ".hea"):
                candidate = Path(f"{path}{suffix}")
                if self._allowed(candidate) and candidate.is_file():
                    return self._add(candidate.resolve(), "opened")
        raise RecordingError(
            "no such file inside what was opened when the dashboard was started",
            code="not-found",
            file=typed.name or "the path",
            hint="pulsebayes dashboard FOLDER, then name a file inside that folder",
        )

    def keep_upload(self, files: Sequence[tuple[str, bytes]]) -> Source:
        r"""Write an upload under names of our own.

        Arguments:
            files: Name, which is not trusted, and content of each file; several for a WFDB record.

        Returns:
            The recording.

        Raises:
            RecordingError: If there is nothing, too much, or a record whose header names other files.
        """
        if not files:
            raise RecordingError("expected a file, got none", code="not-found", file="the upload")
        total = sum(len(content) for _, content in files)
        if total > LARGEST_UPLOAD_MB * 2**20 or len(files) > _MOST_FILES:
            raise RecordingError(
                f"expected at most {LARGEST_UPLOAD_MB} MB in {_MOST_FILES} files, "
                f"got {total / 2**20:.0f} MB in {len(files)}",
                code="unsupported",
                file="the upload",
                hint="pulsebayes dashboard FILE opens a file of any size where it lies",
            )
        digest = hashlib.sha256()
        for _, content in sorted(files):
            digest.update(hashlib.sha256(content).digest())
        folder = self._folder / digest.hexdigest()[:32]
        folder.mkdir(mode=0o700, exist_ok=True)
        paths = self._write(folder, files)
        name = max((name for name, _ in files), key=lambda name: name.lower().endswith(".hea"))
        return self._remember(digest.hexdigest(), paths[0], _plain_name(name), "upload")

    def _write(self, folder: Path, files: Sequence[tuple[str, bytes]]) -> list[Path]:
        headers = [(n, c) for n, c in files if n.lower().endswith(".hea")]
        if not headers:
            if len(files) > 1:
                raise RecordingError(
                    f"expected one file, or a WFDB record with its header (.hea), got {len(files)} files without one",
                    code="layout",
                    file="the upload",
                )
            suffix = Path(files[0][0]).suffix.lower()
            target = folder / f"upload{suffix if suffix in SUFFIXES else '.bin'}"
            target.write_bytes(files[0][1])
            return [target]
        there = {Path(name).name for name, _ in files}
        for name, content in files:
            if not _SAFE.fullmatch(name) or ".." in name:
                raise _unsafe("a file name of the record has letters that are not expected")
            if name.lower().endswith(".hea") and not _signals_of(content) <= there:
                raise _unsafe("the header names files that were not uploaded with it")
        for name, content in files:
            (folder / name).write_bytes(content)
        # The header that names other headers, if there is one, is that of the whole record.
        top = max(headers, key=lambda h: sum(f"{n[:-4]}".encode() in h[1] for n, _ in headers))
        return [folder / top[0]]

    def _add(self, path: Path, kind: str) -> Source:
        files = [path] if path.suffix != ".hea" else [path, *_beside(path, self._allowed)]
        try:
            digest = _digest_of(files)
        except OSError as error:  # whose words hold the whole path
            raise RecordingError(f"cannot be read: {error.strerror}", code="not-found", file=path.name) from error
        return self._remember(digest, path, path.name, kind)

    def _remember(self, digest: str, path: Path, name: str, kind: str) -> Source:
        identity = digest[:16]
        source = Source(identity, f"Recording {digest[:6]}", name, path, kind)
        if identity not in self._known or self._known[identity].kind == kind:
            self._known[identity] = source
        return self._known[identity]

    def read(self, source: Source, labels: Labels) -> Recording:
        r"""Read a recording, if it is still what was opened: a link may have taken the place of its files.

        Arguments:
            source: The recording.
            labels: What the user says over it.

        Returns:
            The recording.

        Raises:
            RecordingError: If it cannot be read, or leads out of what was opened by now.
        """
        if source.kind == "opened":
            if not self._allowed(source.path):
                raise _unsafe("the file now leads outside what was opened")
            if source.path.suffix == ".hea":
                _beside(source.path, self._allowed)
        return open_recording(source, labels)

    def _allowed(self, path: Path) -> bool:
        r"""Whether a path, links resolved, is a file that was named at the start or lies in such a folder."""
        try:
            path.stat()
            real = path.resolve()
        except (OSError, ValueError):  # a name too long or with a NUL in it names no file
            return False
        for root in self.opened:
            if root.is_dir() and real.is_relative_to(root):
                return True
            if real == root or (root.suffix == ".hea" and real.parent == root.parent and real.name in _family(root)):
                return True
        return False


def open_recording(source: Source, labels: Labels) -> Recording:
    r"""Read a recording; what goes wrong is told with its label instead of the file's name."""
    fs, roles, units = labels.fs or None, dict(labels.roles) or None, dict(labels.units) or None
    try:
        recording: Recording = read(source.path, fs=fs, roles=roles, units=units)
    except RecordingError as error:
        told: dict[str, Any] = {"code": error.code, "channel": error.channel, "at_s": error.at_s, "hint": error.hint}
        raise RecordingError(error.what, file=source.label, **told) from error
    return recording


def _digest_of(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _whole_path(path: Path) -> Path:
    r"""The file itself: for a WFDB record named without its suffix, its header."""
    header = path.with_name(path.name + ".hea")
    if not path.exists() and header.is_file():
        return header.resolve()
    if path.suffix == ".dat" and path.with_suffix(".hea").is_file():
        return path.with_suffix(".hea").resolve()
    return path.resolve()


def _family(header: Path) -> set[str]:
    r"""Names of a record's files: its header, those of its segments, and the signal files that any of them names."""
    names, todo = {header.name}, [header]
    while todo:
        for name in sorted(_signals_of(todo.pop().read_bytes()) - names):
            names.add(name)
            file = header.parent / name
            if file.suffix == ".hea" and file.is_file():
                todo.append(file)
    return names


def _beside(header: Path, allowed: Any) -> list[Path]:
    r"""Files that a header and those of its segments name; one outside what was opened is an error, not a file."""
    files = [header.parent / name for name in sorted(_family(header) - {header.name})]
    if any(file.exists() and not allowed(file) for file in files):
        raise _unsafe("the header names a file outside what was opened")
    return [file for file in files if file.is_file()]


def _signals_of(content: bytes) -> set[str]:
    r"""Files that a WFDB header names: signal files, or the headers of its segments."""
    lines = [line.split() for line in content.decode("latin-1").splitlines()]
    lines = [words for words in lines if words and not words[0].startswith("#")]
    if not lines:
        return set()
    segmented = "/" in lines[0][0]
    names = {words[0] for words in lines[1:] if words[0] != "~"}
    if any("/" in name or "\\" in name or name.startswith(".") for name in names):
        raise _unsafe("the header names a file in another folder")
    return {f"{name}.hea" for name in names} if segmented else names


def _unsafe(what: str) -> RecordingError:
    return RecordingError(what, code="header", file="the recording", hint="upload a record's .hea and .dat together")


def _plain_name(name: str) -> str:
    return re.sub(r"[^\w .()-]", "_", Path(name.replace("\\", "/")).name)[:80]
