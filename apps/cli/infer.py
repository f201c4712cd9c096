r"""`pulsebayes infer`: a posterior for every window of a recording, or the reason why there is none."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import CommandError
from .options import Settings, with_settings
from .recording_options import CHANNEL, FILES, FS, UNIT, Labels, parse_interval, parse_span

if TYPE_CHECKING:
    from .answer_files import Known

__all__ = ["DEFAULT_MODEL", "Method", "infer"]

DEFAULT_MODEL = "radial-abp"


class Method(StrEnum):
    r"""Where posterior draws come from.

    Example:
        >>> Method("nuts").value
        'nuts'
    """

    npe = "npe"
    nuts = "nuts"


_MODEL = Annotated[str, typer.Option(help="Shipped model, or the folder of a bundle.")]
_LEVEL = Annotated[float, typer.Option(help="Level of the intervals low to high.")]
_EVERY = Annotated[str, typer.Option(help="Time from one window to the next.")]
_START = Annotated[str, typer.Option(help="Where to start: 90s, 1:30.")]
_END = Annotated[str, typer.Option(help="Where to stop [the end].", show_default=False)]
_DRAWS = Annotated[int, typer.Option(min=20, help="Posterior draws a window.")]
_POOL = Annotated[
    str,
    typer.Option(
        help="Windows that inform each: window, causal or recording [recording; causal with --follow; where a model "
        "has regions, theirs].",
        show_default=False,
    ),
]
_ANCHOR = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE@TIME", help="Reference value: CO=4.2@600s, CO=4.2+-0.5@10:00.")
]
_PATIENT = Annotated[
    list[str] | None, typer.Option(metavar="WORDS", help="Known of the patient: age=63,height=162cm,aorta=33mm.")
]
_FOLLOW = Annotated[bool, typer.Option("--follow", help="Go on while the file grows; Ctrl-C ends.")]
_IDLE = Annotated[
    str,
    typer.Option(help="With --follow: time without growth after which the file has ended [60s].", show_default=False),
]
_METHOD = Annotated[Method, typer.Option(help="The model's network, or NUTS on its reference model.")]
_REFINE = Annotated[bool, typer.Option("--refine", help="Weight the draws to the exact posterior (reference models).")]
_KEEP = Annotated[bool, typer.Option("--keep-uninformative", help="Show quantities that the signal hardly tells.")]


@with_settings
def infer(
    files: FILES,
    model: _MODEL = DEFAULT_MODEL,
    level: _LEVEL = 0.9,
    every: _EVERY = "8s",
    start: _START = "0s",
    end: _END = "",
    draws: _DRAWS = 2000,
    pool: _POOL = "",
    anchor: _ANCHOR = None,
    patient: _PATIENT = None,
    follow: _FOLLOW = False,
    idle: _IDLE = "",
    channel: CHANNEL = None,
    unit: UNIT = None,
    fs: FS = 0.0,
    keep_uninformative: _KEEP = False,
    method: _METHOD = Method.npe,
    refine: _REFINE = False,
    *,
    settings: Settings,
) -> None:
    r"""Estimate cardiovascular quantities from a recording.

    Prints a table; with --json one object a file and line. With --out FOLDER it also writes FILE.nc (draws, for ArviZ),
    FILE.csv and run.json. Every window is told by all of its recording where the model can (--pool). --follow answers a
    text table or WFDB record while it grows, each window as soon as it is whole. --method nuts samples a reference
    model with a known likelihood, started from the network, and says what it leaves out of the sensor; --refine weights
    the network's draws where the likelihood is known. --anchor and --patient tell of one file. Exit code 0 when a
    window was answered, 3 file unreadable, 4 refused by the gate, 5 outside the simulations, 6 model wrong for these
    channels. Research use only. Not a medical device.

    Arguments:
        files: Waveform files.
        model: Name of a shipped model, or the folder of a bundle.
        level: Level of the intervals.
        every: Time from one window to the next.
        start: Where to start.
        end: Where to stop.
        draws: Posterior draws a window.
        pool: Which windows inform a window's slow quantities.
        anchor: Reference values at given times.
        patient: Age, sex, height, weight and aortic root, as far as they are known.
        follow: Whether the file is followed while it grows.
        idle: Time without growth after which a followed file has ended.
        channel: Roles by channel name.
        unit: Units by channel name or role.
        fs: Sampling rate [Hz] where the file states none.
        keep_uninformative: Whether numbers of uninformative quantities are shown.
        method: Where draws come from.
        refine: Whether the draws are weighted to the exact posterior.
        settings: The shared options.

    Raises:
        CommandError: If an option cannot be read or does not fit.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["infer", "none.csv", "--level", "2"])
        2
    """
    if not 0 < level < 1:
        raise CommandError(f"--level must lie between 0 and 1, got {level:g}", code="usage", hint="--level 0.9")
    if refine and method is Method.nuts:
        raise CommandError("--refine weights draws of the network: it does not go with --method nuts", code="usage")
    labels = Labels.parse(channel, unit, fs)
    every_s, (start_s, end_s) = parse_interval("--every", every), parse_span(start, end)
    from ...inference.answering import Question, least_draws
    from ...waveforms.following import Patience
    from .answer_files import answer_files

    if draws < least_draws(level):
        raise CommandError(
            f"--level {level:g} needs at least {least_draws(level)} draws, got {draws}",
            code="usage",
            hint=f"--draws {max(2000, least_draws(level))}",
        )
    if follow and len(files) > 1:
        raise CommandError(f"--follow takes one file, got {len(files)}", code="usage", hint="run it once for each")
    if len(files) > 1 and (anchor or patient):
        what = "--anchor" if anchor else "--patient"
        raise CommandError(f"{what} tells of one file, got {len(files)}", code="usage", hint="run it once for each")
    if idle and not follow:
        raise CommandError("--idle goes with --follow", code="usage", hint="--follow, or leave --idle out")
    patience = Patience(parse_interval("--idle", idle or "60s")) if follow else None
    question = Question(every_s, start_s, end_s, level, draws, settings.seed)
    code = answer_files(
        files,
        model,
        question,
        labels=labels,
        settings=settings,
        keep_uninformative=keep_uninformative,
        known=replace(_known(pool, anchor or [], patient or []), follow=patience),
        exact="refine" if refine else "" if method is Method.npe else method.value,
    )
    raise typer.Exit(code)


def _known(pool: str, anchors: list[str], patient: list[str]) -> Known:
    """What the options say is known beside the window that is answered."""
    from ...inference.patient.info import PatientError, parse_patient
    from ...inference.pooling.anchors import parse_anchor
    from .answer_files import Known

    if pool not in ("", "window", "causal", "recording"):
        raise CommandError(
            f"--pool must be window, causal or recording, got {pool!r}", code="usage", hint="--pool recording"
        )
    try:
        found = tuple(parse_anchor(text) for text in anchors)
        return Known(pool, found, parse_patient(",".join(patient)) if patient else None)
    except PatientError as error:
        raise CommandError(str(error), code=error.code, hint=error.hint) from error
    except ValueError as error:
        raise CommandError(str(error), code="usage", hint="--anchor CO=4.2@600s") from error
