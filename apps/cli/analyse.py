r"""`pulsebayes analyse`: what models and their simulators can and cannot tell."""

from __future__ import annotations

import typer

from .analyse_identifiability import identifiability
from .options import Settings, help_of, with_settings

__all__ = ["analyse"]

analyse = typer.Typer(no_args_is_help=True, help="What a model's measurements can and cannot tell.")


@analyse.callback()
@with_settings
def analyse_group(*, settings: Settings) -> None:
    """What a model's measurements can and cannot tell."""


analyse.command("identifiability", help=help_of(identifiability))(identifiability)
