r"""The command `pulsebayes`: its verbs, and the one place where failures become exit codes.

To add a verb: write `apps/cli/VERB.py` with a function `VERB(..., settings: Settings) -> None` decorated with
`@with_settings` (its docstring's first line is the help), import it below and add it to `_VERBS`. Heavy imports go
inside the function: `--help` loads no numerical library. A foreseen failure is a `CommandError`; a command that ends
with another code than 0 raises `typer.Exit(code)`. Data goes to stdout, talk to `settings.talk`.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from .analyse import analyse
from .calibrate import calibrate
from .cohort import cohort
from .compare import compare
from .convert import convert
from .dashboard import dashboard
from .demo import demo
from .doctor import doctor
from .errors import TRACEBACK_VARIABLE, describe, tell
from .evaluate import evaluate
from .fetch import fetch
from .infer import infer
from .inspect import inspect
from .loop import loop
from .models import models
from .options import Settings, help_of, with_settings
from .recover import recover
from .report import report
from .rerun import rerun
from .run_record import ARGUMENTS
from .simulate import simulate
from .solve import solve
from .train import train
from .validate import validate

__all__ = ["app", "main", "run"]

_VERBS = (
    compare,
    convert,
    dashboard,
    demo,
    doctor,
    evaluate,
    infer,
    inspect,
    loop,
    recover,
    report,
    rerun,
    simulate,
    solve,
    train,
    validate,
)

app = typer.Typer(name="pulsebayes", add_completion=False, rich_markup_mode=None, no_args_is_help=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        from ... import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
@with_settings
def pulsebayes(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version.")
    ] = False,
    *,
    settings: Settings,
) -> None:
    """Cardiovascular waveform in, calibrated posterior out. Research use only. Not a medical device."""


for _verb in _VERBS:
    app.command(help=help_of(_verb))(_verb)
app.add_typer(analyse, name="analyse")
app.add_typer(calibrate, name="calibrate")
app.add_typer(cohort, name="cohort")
app.add_typer(fetch, name="fetch")
app.add_typer(models, name="models")


def run(arguments: list[str]) -> int:
    r"""Run one command line and return its exit code, with every failure told and none raised.

    Arguments:
        arguments: The words after `pulsebayes`.

    Returns:
        The exit code.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["--version"])
        0.1.0
        0
    """
    previous = warnings.formatwarning
    token = ARGUMENTS.set(tuple(arguments))
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        result = app(args=arguments, prog_name="pulsebayes", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(getattr(error, "ctx").get_help())  # noqa: B009
            return 2
        return tell(describe(error), as_json="--json" in arguments)
    finally:
        ARGUMENTS.reset(token)
        warnings.formatwarning = previous


def main() -> None:
    r"""Run the command line of this process and exit.

    Example:
        >>> from pulsebayes.apps.cli.main import main
        >>> callable(main)
        True
    """
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
