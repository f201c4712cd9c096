r"""`pulsebayes calibrate`: correct a model with labelled windows of real patients."""

from __future__ import annotations

import typer

from .calibrate_conformal import conformal
from .calibrate_rope import rope
from .options import Settings, help_of, with_settings

__all__ = ["calibrate"]

calibrate = typer.Typer(no_args_is_help=True, help="Correct a model with labelled windows of real patients.")


@calibrate.callback()
@with_settings
def calibrate_group(*, settings: Settings) -> None:
    """Correct a model with labelled windows of real patients."""


for _name, _verb in (("conformal", conformal), ("rope", rope)):
    calibrate.command(_name, help=help_of(_verb))(_verb)
