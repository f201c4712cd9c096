r"""`run.json`: what a command did, kept beside what it wrote.

It holds the command, its options, seeds, versions and the SHA-256 of every input; files are named without their
folders, so that a record can be passed on.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["ARGUMENTS", "RECORD", "add_output", "current_versions", "hash_input", "write_run_record"]

RECORD = "run.json"
_LIBRARIES = ("numpy", "scipy", "torch", "zuko", "jax", "xarray", "zarr")
_BLOCK = 1 << 20
ARGUMENTS: ContextVar[tuple[str, ...]] = ContextVar("ARGUMENTS", default=())
r"""The words of the command line that runs, set where it starts."""


def hash_input(path: Path) -> dict[str, str]:
    r"""Hash an input: a file, all files of a folder, or all files of a WFDB record.

    Arguments:
        path: File, folder, or WFDB record named with or without its suffix.

    Returns:
        SHA-256 by file name, sorted by name.

    Example:
        >>> from pathlib import Path
        >>> from pulsebayes.apps.cli.run_record import hash_input
        >>> _ = Path("a.csv").write_text("1")
        >>> hash_input(Path("a.csv"))["a.csv"][:8]
        '6b86b273'
    """
    if path.is_dir():
        files = [p for p in sorted(path.iterdir()) if p.is_file()]
    else:
        record = path if path.suffix not in {".hea", ".dat", ".mat"} else path.with_suffix("")
        files = sorted({*_record_files(record), *([path] if path.is_file() else [])})
    return {p.name: _sha256(p) for p in files if p.is_file()}


def write_run_record(
    folder: Path,
    *,
    command: str,
    config: Mapping[str, Any],
    inputs: Iterable[Path] = (),
    outputs: Iterable[str] = (),
    seed: int = 0,
) -> Path:
    r"""Write `run.json` into a folder of results.

    Arguments:
        folder: Folder of the results.
        command: The verb.
        config: Its options; paths are cut down to their names.
        inputs: Files that were read.
        outputs: Names of the files that were written.
        seed: Seed of everything random.

    Returns:
        The file written.

    Example:
        >>> from pathlib import Path
        >>> from pulsebayes.apps.cli.run_record import write_run_record
        >>> write_run_record(Path("."), command="infer", config={"level": 0.9}).name
        'run.json'
    """
    hashes: dict[str, str] = {}
    for path in inputs:
        hashes.update(hash_input(path))
    record = {
        "schema": 1,
        "command": command,
        "arguments": _named(ARGUMENTS.get()),
        "config": {name: _plain(value) for name, value in config.items()},
        "seed": seed,
        "versions": current_versions(),
        "inputs": hashes,
        "outputs": sorted(outputs),
    }
    target = folder / RECORD
    target.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return target


def add_output(folder: Path, name: str) -> None:
    r"""Name one more file in the `run.json` of a folder.

    Arguments:
        folder: Folder of the results.
        name: Name of the file that was written beside them.

    Example:
        >>> from pathlib import Path
        >>> from pulsebayes.apps.cli.run_record import add_output, write_run_record
        >>> path = write_run_record(Path("."), command="demo", config={}, outputs=["a.csv"])
        >>> add_output(Path("."), "a.png")
        >>> json.loads(path.read_text())["outputs"]
        ['a.csv', 'a.png']
    """
    target = folder / RECORD
    record = json.loads(target.read_text(encoding="utf-8"))
    record["outputs"] = sorted({*record["outputs"], name})
    target.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _record_files(path: Path) -> list[Path]:
    r"""Header, signals and segments of a WFDB record: every file its headers name, and theirs."""
    header = path.with_name(path.name + ".hea")
    if not header.is_file():
        return []
    lines = [line.split() for line in header.read_text("latin-1").splitlines() if not line.startswith("#")]
    found = {header}
    for words in filter(None, lines[1:]):
        beside = header.with_name(Path(words[0]).name)
        if beside.is_file():
            found.add(beside)
        elif beside.with_name(beside.name + ".hea") != header:
            found.update(_record_files(beside))
    return sorted(found)


def _named(words: Iterable[str]) -> list[str]:
    r"""Words with every path cut down to its name."""
    return [Path(word).name if "/" in word and (Path(word).exists() or word[0] in "./~") else word for word in words]


def current_versions() -> dict[str, str]:
    r"""Versions of Python, of this package and of the libraries that decide on numbers.

    Returns:
        Versions by name; what is not installed is left out.

    Example:
        >>> from pulsebayes.apps.cli.run_record import current_versions
        >>> "numpy" in current_versions()
        True
    """
    found = {"python": platform.python_version()}
    for name in ("pulsebayes", *_LIBRARIES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
