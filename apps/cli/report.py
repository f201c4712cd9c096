r"""`pulsebayes report`: what `infer --out` wrote, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import CommandError, ExitCode
from .options import Settings, with_settings

if TYPE_CHECKING:
    from ...inference.result import Result

__all__ = ["report"]

_RESULT = Annotated[Path, typer.Argument(metavar="RESULT", help="A netCDF file that infer --out wrote.")]
_HTML = Annotated[bool, typer.Option("--html", help="As one HTML file, the only form there is.")]
_NAME = Annotated[bool, typer.Option("--show-name", help="Head the report with the recording's name.")]


@with_settings
def report(result: _RESULT, html: _HTML = True, show_name: _NAME = False, *, settings: Settings) -> None:
    r"""Write a result as a self-contained page.

    The page needs no network and can be printed; it is written beside the result, or to the file given with --out,
    which gets .html where it has no suffix. The recording's name may identify a person, so it heads the page only with
    --show-name. Research use only. Not a medical device.

    Arguments:
        result: A netCDF file that `infer --out` wrote.
        html: The form.
        show_name: Whether the recording's name heads the page.
        settings: The shared options.

    Raises:
        CommandError: If the result cannot be read or the page exists already.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["report", "no-such-result.nc", "--html"])
        3
    """
    from ...inference.result import read_result

    try:
        found = read_result(result)
    except ValueError as error:
        hint = "pulsebayes infer FILE --out FOLDER, then pulsebayes report FOLDER/FILE.nc --html"
        raise CommandError(str(error), code="result", hint=hint, exit_code=ExitCode.UNREADABLE) from error
    if not found.windows:
        raise CommandError(f"{result.name} holds no window", code="result", hint="", exit_code=ExitCode.UNREADABLE)
    target = settings.out if settings.has_out else result.with_suffix(".html")
    target = target / f"{result.stem}.html" if target.is_dir() else target
    target = target if target.suffix else target.with_suffix(".html")
    if target.exists() and not settings.force:
        raise CommandError(f"{target.name} is there already", code="exists", hint="--force, or another --out")
    text = _page(found, show_name=show_name)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(target)
    if settings.json:
        import json

        typer.echo(json.dumps({"out": target.name, "bytes": len(text.encode()), "windows": len(found.windows)}))
    else:
        typer.echo(f"{target.name}: {len(found.windows)} windows, {len(text.encode()) / 1e6:.2f} MB")


def _page(found: Result, *, show_name: bool) -> str:
    import numpy as np

    from ...inference.bundle import Bundle, BundleError, find_bundle
    from ..report.page import report_page

    card = ""
    try:
        card = Bundle.load(find_bundle(found.model)).card
    except BundleError:  # made with a model that is not here: the report stands without its card
        card = ""
    answers = found.answers
    wave = None
    if answers:
        fs = 1.0 / float(found.times[1] - found.times[0])
        shown = found.waves[len(answers) // 2]
        wave = (shown, fs) if np.isfinite(shown).any() else None
    title = found.file if show_name and found.file else "Recording"
    return report_page(
        found.windows, title=title, model=found.model, card=card, wave=wave, role=found.role, unit=found.unit
    )
