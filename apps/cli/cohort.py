r"""`pulsebayes cohort`: many recordings with references, as one table: made, built, looked at and split."""

from __future__ import annotations

import typer

from .cohort_build import build_cohort_table, split_cohort
from .cohort_gap import gap_of_cohort
from .cohort_inspect import inspect_cohort
from .cohort_simulate import simulate_cohort
from .options import Settings, help_of, with_settings

__all__ = ["cohort"]

cohort = typer.Typer(no_args_is_help=True, help="Many recordings and their references as one table.")


@cohort.callback()
@with_settings
def cohort_group(*, settings: Settings) -> None:
    """Many recordings and their references as one table."""


for _name, _verb in (
    ("build", build_cohort_table),
    ("gap", gap_of_cohort),
    ("inspect", inspect_cohort),
    ("simulate", simulate_cohort),
    ("split", split_cohort),
):
    cohort.command(_name, help=help_of(_verb))(_verb)
