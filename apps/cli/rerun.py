r"""`pulsebayes rerun`: do again what a `run.json` records, on the same inputs, and compare what comes out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import CommandError, ExitCode
from .options import Settings, with_settings
from .run_record import RECORD, current_versions, hash_input

__all__ = ["rerun"]

_FILE = Annotated[Path, typer.Argument(metavar="RUN.JSON", help="The record, or the folder that holds it.")]
_INPUTS = Annotated[
    Path, typer.Option("--inputs", help="Folder of the inputs [beside the record, else here].", show_default=False)
]


@with_settings
def rerun(file: _FILE, inputs: _INPUTS = Path(), *, settings: Settings) -> None:
    r"""Do a recorded run again and compare.

    Inputs are found by name and must have the same SHA-256; versions that changed are told. Results go to --out
    [RUN-again beside the record's folder] and are compared with those beside the record: exit code 8 if they differ.

    Arguments:
        file: The record, or the folder that holds it.
        inputs: Folder of the inputs.
        settings: The shared options.

    Raises:
        CommandError: If the record cannot be used, an input is missing or changed, or the results differ.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["rerun", "nothing.json"])
        3
    """
    path = file / RECORD if file.is_dir() else file
    record = _record(path)
    for name, version in current_versions().items():
        was = record.get("versions", {}).get(name)
        if was is not None and was != version:
            settings.talk(f"{name} was {was}, is {version}")
    folders = [inputs, path.parent, path.parent.parent, Path()] if inputs != Path() else _around(path)
    shipped = sorted((Path(__file__).parents[2] / "inference" / "models").iterdir())
    results = {path.parent / name for name in record["outputs"]}
    found = _inputs(record["inputs"], [*folders, *shipped], results)
    out = settings.out if settings.has_out else path.parent.with_name(f"{path.parent.resolve().name}-again")
    if out.exists() and out.resolve() == path.parent.resolve():
        raise CommandError("the results would go over those recorded", code="exists", hint="--out ANOTHER")
    from .main import run

    code = run(_arguments(record["arguments"], found, folders, out, force=settings.force))
    if code not in (ExitCode.DONE, ExitCode.REFUSED, ExitCode.OUTSIDE):
        raise typer.Exit(code)
    _compare(record, path.parent, out, settings)
    raise typer.Exit(code)


def _around(path: Path) -> list[Path]:
    return [path.parent, path.parent.parent, Path()]


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CommandError(
            f"{path.name} is no JSON ({error})",
            code="record",
            hint=f"give the {RECORD} of a run",
            exit_code=_UNREADABLE,
        ) from error
    wanted = {"command": str, "arguments": list, "inputs": dict, "outputs": list}
    wrong = [k for k, kind in wanted.items() if not isinstance(record, dict) or not isinstance(record.get(k), kind)]
    if wrong or record.get("schema") != 1:
        raise CommandError(
            f"{path.name} does not record a run that can be done again: {', '.join(wrong) or 'schema'} is missing",
            code="record",
            hint="runs record their arguments since version 0.1.0",
            exit_code=_UNREADABLE,
        )
    return dict(record)


_UNREADABLE = ExitCode.UNREADABLE


def _inputs(wanted: dict[str, str], folders: Iterable[Path], results: set[Path]) -> dict[str, Path]:
    """Inputs by name, where the recorded bytes are; a result of the run is none of its inputs."""
    found = {}
    for name, digest in wanted.items():
        there = [f / name for f in folders if (f / name).is_file() and f / name not in results]
        same = next((path for path in there if hash_input(path).get(name) == digest), None)
        if same is None and not name.endswith(".json"):
            what = "has changed since" if there else "is not there"
            raise CommandError(
                f"the input {name} {what}",
                code="input-changed" if there else "input-missing",
                hint="--inputs FOLDER",
                exit_code=_UNREADABLE,
            )
        if same is not None:
            found[name] = same
    return found


def _arguments(
    words: list[str], found: dict[str, Path], folders: Iterable[Path], out: Path, *, force: bool
) -> list[str]:
    """The recorded words, with inputs where they are now and results where they go."""
    made: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in ("--out", "-o"):
            skip = True
        elif word.startswith("--out="):
            continue
        elif word in found:
            made.append(str(found[word]))
        else:
            there = next((f / word for f in folders if not word.startswith("-") and (f / word).exists()), None)
            made.append(word if there is None or Path(word).exists() else str(there))
    return [*made, "--out", str(out), *(["--force"] if force and "--force" not in made else [])]


def _compare(record: dict[str, Any], old: Path, new: Path, settings: Settings) -> None:
    verdicts = {}
    for name in record["outputs"]:
        before = next((p for p in (old / name, old) if p.name == name and p.exists()), None)
        after = next((p for p in (new / name, new) if p.exists()), None)
        if before is None or after is None:
            verdicts[name] = "not there to compare"
        else:
            verdicts[name] = "same" if _same(before, after) else "differs"
    if settings.json:
        typer.echo(json.dumps({"rerun": record["command"], "outputs": verdicts}))
    else:
        for name, verdict in verdicts.items():
            settings.talk(f"{name}: {verdict}")
    if "differs" in verdicts.values():
        raise CommandError(
            "results differ from those recorded",
            code="differs",
            hint="compare the versions above",
            exit_code=ExitCode.TARGET_MISSED,
        )


def _same(one: Path, two: Path) -> bool:
    """Whether two results hold the same: bytes, or, for netCDF, every number."""
    if one.is_dir() or two.is_dir():
        return _digests(one) == _digests(two)
    if one.read_bytes() == two.read_bytes():
        return True
    return one.suffix == ".nc" and _numbers(one) == _numbers(two)


def _digests(folder: Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != RECORD)
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _numbers(path: Path) -> dict[str, str]:
    """A digest of every dataset of a netCDF file."""
    import h5py

    found: dict[str, str] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = hashlib.sha256(repr((item.shape, str(item.dtype))).encode() + _raw(item)).hexdigest()

    with h5py.File(path, "r") as file:
        file.visititems(keep)
    return found


def _raw(item: Any) -> bytes:
    values = item[()]
    return values.tobytes() if item.dtype.kind in "fiub" else repr(values).encode()
