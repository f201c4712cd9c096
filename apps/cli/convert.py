r"""`pulsebayes convert`: one file in another format; recordings are read back and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .convert_network import convert_network, is_network
from .errors import CommandError, ExitCode
from .options import Settings, with_settings
from .recording_options import CHANNEL, FS, UNIT, Labels
from .run_record import hash_input

if TYPE_CHECKING:
    from ...waveforms.recording import Recording
    from ...waveforms.writers import Comparison

__all__ = ["convert"]

_FILE = Annotated[Path, typer.Argument(metavar="FILE", help="The file to read.")]
_OUT = Annotated[
    Path, typer.Argument(metavar="OUT", help="The file to write: .csv, .hea (WFDB), .edf, .bdf, .nc or .toml.")
]
_STRAIGHT = Annotated[bool, typer.Option("--straight", help="openBF networks: leave out the taper.")]
_ROUNDED = "values are rounded to the steps of the format; names, units, roles, rates and gaps are the same"
_LOSSLESS = Annotated[bool, typer.Option("--lossless", help="Keep the result only if every value comes back.")]


@with_settings
def convert(
    file: _FILE,
    target: _OUT,
    channel: CHANNEL = None,
    unit: UNIT = None,
    fs: FS = 0.0,
    lossless: _LOSSLESS = False,
    straight: _STRAIGHT = False,
    *,
    settings: Settings,
) -> None:
    r"""Write a file in another format.

    The format of FILE is told by its content, that of OUT by its suffix. What was written is read back and compared:
    channels, units, roles, rates, gaps and every value. With --lossless a result that differs is not kept (exit
    code 8).

    An arterial network, openBF's YAML with its inlet file beside it, becomes the TOML that solve reads.

    Arguments:
        file: The file to read.
        target: The file to write.
        channel: Roles by channel name.
        unit: Units by channel name or role.
        fs: Sampling rate [Hz] where the file states none.
        lossless: Whether a result that differs is thrown away.
        straight: Whether the taper of an openBF network is left out.
        settings: The shared options.

    Raises:
        CommandError: If the target exists, cannot hold the recording, or differs under `--lossless`.

    Example:
        >>> from pathlib import Path
        >>> from pulsebayes.apps.cli.main import run
        >>> _ = Path("abp.csv").write_text("time [s],ABP [mmHg]\n0.00,80\n0.01,81\n0.02,82\n")
        >>> run(["convert", "abp.csv", "abp.edf"])
        abp.csv -> abp.edf: lossless
          ABP  ART  mmHg  100 Hz  largest difference 0
        0
    """
    if is_network(file):
        convert_network(file, target, straight=straight, settings=settings)
        return
    convert_recording(file, target, Labels.parse(channel, unit, fs), lossless=lossless, settings=settings)


def convert_recording(file: Path, target: Path, labels: Labels, *, lossless: bool, settings: Settings) -> None:
    r"""Convert a waveform file, compare, and print what came of it.

    Arguments:
        file: The file to read.
        target: The file to write.
        labels: Roles, units and rate that the command line states.
        lossless: Whether a result that differs is thrown away.
        settings: The shared options.

    Raises:
        CommandError: If the target exists, cannot hold the recording, or differs under `--lossless`.
    """
    from ...waveforms.writers import compare, write
    from ...waveforms.writers._write import SUFFIXES

    if target.suffix.lower() not in SUFFIXES:
        raise CommandError(
            f"OUT must end in {', '.join(SUFFIXES)}, got {target.name!r}", code="usage", hint="OUT.nc holds everything"
        )
    if target.resolve() == file.resolve() or (target.exists() and not settings.force):
        raise CommandError(f"{target.name} exists", code="exists", hint="--force writes over it")
    recording = labels.open_aloud(file)
    try:
        written = write(recording, target)
    except FileNotFoundError as error:
        raise CommandError(f"there is no folder {target.parent.name}", code="usage", hint="make it first") from error
    except ValueError as error:
        hint = getattr(error, "hint", None)
        if hint is not None or hasattr(error, "file"):
            raise
        raise CommandError(str(error), code="usage", hint="write .nc, which holds everything") from error
    from ...waveforms.readers import read

    found = compare(recording, [read(path) for path in written if path.suffix != ".dat"])
    if lossless and not found.lossless:
        for path in written:
            path.unlink(missing_ok=True)
        raise CommandError(
            f"{target.name} would differ: {_worst(found)}",
            code="not-lossless",
            hint="write .nc, .hea or .bdf, or leave --lossless out",
            exit_code=ExitCode.TARGET_MISSED,
        )
    report = _report(file, written, recording, found)
    typer.echo(json.dumps(report, allow_nan=False) if settings.json else _page(report))


def _worst(found: Comparison) -> str:
    if found.differences:
        return str(found.differences[0])
    name: str = max(found.errors, key=lambda key: found.errors[key] / (found.spans[key] or 1.0))
    return f"{name} by up to {found.errors[name]:.3g}"


def _report(file: Path, written: list[Path], recording: Recording, found: Comparison) -> dict[str, Any]:
    return {
        "file": file.name,
        "out": [path.name for path in written],
        "sha256": {name: digest for path in written for name, digest in hash_input(path).items()},
        "lossless": found.lossless,
        "differences": list(found.differences),
        "channels": [
            {"name": c.name, "role": c.role, "unit": c.unit, "fs": c.fs, "largest_difference": found.errors.get(c.name)}
            for c in recording.channels
        ],
    }


def _page(report: dict[str, Any]) -> str:
    verdict = "lossless" if report["lossless"] else "differs" if report["differences"] else _ROUNDED
    lines = [f"{report['file']} -> {', '.join(report['out'])}: {verdict}"]
    for c in report["channels"]:
        error = c["largest_difference"]
        text = "holds no samples; left out" if error is None else f"largest difference {error:.3g}"
        lines.append(f"  {c['name']}  {c['role'] or '-'}  {c['unit'] or '-'}  {c['fs']:.6g} Hz  {text}")
    return "\n".join([*lines, *(f"  differs: {text}" for text in report["differences"])])
