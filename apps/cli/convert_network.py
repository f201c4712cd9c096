r"""Network files for `pulsebayes convert`: openBF's YAML to the TOML that `solve` reads."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from .errors import CommandError, ExitCode
from .options import Settings
from .run_record import write_run_record

__all__ = ["convert_network", "is_network"]

_HEAD = 65536


def is_network(file: Path) -> bool:
    r"""Whether a file is an arterial network, told by its content.

    Arguments:
        file: The file.

    Returns:
        True for openBF's YAML.

    Raises:
        OSError: The file cannot be read.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("a.csv").write_text("time,ART\n0,80\n")
        >>> is_network(Path("a.csv"))
        False
    """
    if not file.is_file():
        return False
    from ...simulators.network.files.openbf import is_openbf

    with file.open("rb") as stream:
        return is_openbf(stream.read(_HEAD).decode("utf-8", errors="replace"))


def convert_network(file: Path, out: Path, *, straight: bool, settings: Settings) -> None:
    r"""Convert a network file, and say what a reader should know of it.

    Arguments:
        file: openBF's YAML, with its inlet file beside it.
        out: The TOML file to write.
        straight: Leave out the taper, as openBF 2.8 runs.
        settings: The shared options.

    Raises:
        CommandError: If the file is no network, or the target exists or is no TOML file.

    Example:
        >>> convert_network.__name__
        'convert_network'
    """
    from ...simulators.network.files.lines import NetworkFileError
    from ...simulators.network.files.openbf import read_openbf
    from ...simulators.network.files.toml_format import network_to_toml

    if out.suffix != ".toml":
        raise CommandError(f"a network is written as TOML, got {out.name}", code="usage", hint="OUT.toml")
    if out.exists() and not settings.force:
        raise CommandError(f"{out.name} exists", code="exists", hint="--force writes over it")
    try:
        model, notes = read_openbf(file, straight=straight)
    except NetworkFileError as error:
        raise CommandError(str(error), code=error.code, hint=error.hint, exit_code=ExitCode.UNREADABLE) from None
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(network_to_toml(model), encoding="utf-8")
    config = {"kind": "openBF network", "straight": straight}
    write_run_record(out.parent, command="convert", config=config, inputs=(file,), outputs=(out.name,))
    for note in notes:
        settings.talk(f"note: {note}")
    counts = {"vessels": len(model.vessels), "outlets": len(model.outlets)}
    if settings.json:
        typer.echo(json.dumps({"file": file.name, "kind": config["kind"], **counts, "out": str(out), "notes": notes}))
    else:
        typer.echo(f"{file.name}: openBF network of {counts['vessels']} vessels and {counts['outlets']} outlets")
        typer.echo(f"written to {out}")
