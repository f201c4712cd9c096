r"""`pulsebayes cohort simulate`: a virtual VitalDB, for tests, benchmarks and the tutorial."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from .errors import CommandError, ExitCode
from .options import Settings, with_settings
from .run_record import write_run_record

__all__ = ["Physics", "Sensors", "simulate_cohort"]


class Physics(StrEnum):
    r"""Whose physics virtual patients have.

    Example:
        >>> Physics("shifted").value
        'shifted'
    """

    training = "training"
    shifted = "shifted"
    nonlinear = "nonlinear"


class Sensors(StrEnum):
    r"""What their pressure is recorded with.

    Example:
        >>> Sensors("faulty").value
        'faulty'
    """

    clean = "clean"
    faulty = "faulty"


@with_settings
def simulate_cohort(
    cases: Annotated[int, typer.Option("--cases", "-n", min=1, help="Number of operations.")] = 60,
    minutes: Annotated[float, typer.Option(min=5.0, max=1440.0, help="Length of each in minutes.")] = 60.0,
    physics: Annotated[Physics, typer.Option(help="The training simulator's, other constants, non-linear walls.")] = (
        Physics.shifted
    ),
    sensors: Annotated[Sensors, typer.Option(help="Clean lines, or any line with faults.")] = Sensors.clean,
    *,
    settings: Settings,
) -> None:
    r"""Make a virtual VitalDB: operations as .vital files with VitalDB's track names.

    The folder --out looks like a cache of `fetch vitaldb` and can be built into a cohort like one. Patients drift and
    meet induction, vasopressor, bleeding and fluid; the reference Vigilance/CO is two minutes late, wrong by 15 % and
    drifts; Truth/... holds what the simulator knows. The same seed gives the same bytes; a stopped run goes on.

    Arguments:
        cases: Number of operations.
        minutes: Length of each [min].
        physics: Whose physics they have.
        sensors: What pressure is recorded with.
        settings: The shared options.

    Raises:
        CommandError: If `--out` is missing or holds another plan.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["cohort", "simulate", "-n", "1"])
        2
    """
    if not settings.has_out:
        raise CommandError("cohort simulate needs a folder to write to", code="usage", hint="--out FOLDER")
    from rich.console import Console
    from rich.progress import Progress

    from ...simulators.virtual_cohort import VirtualCohort, make_cohort

    plan = VirtualCohort(cases, minutes, physics.value, sensors.value, settings.seed)
    with Progress(console=Console(stderr=True), disable=not settings.progress, transient=True) as bar:
        task = bar.add_task("operations", total=cases)
        try:
            made = make_cohort(plan, settings.out, progress=lambda at: bar.update(task, completed=at))
        except KeyboardInterrupt:
            raise CommandError(
                "interrupted; whole cases are kept",
                code="interrupted",
                hint="the same command goes on",
                exit_code=ExitCode.INTERRUPTED,
            ) from None
    config = {"cases": cases, "minutes": minutes, "physics": physics.value, "sensors": sensors.value}
    outputs = [*(f"{one.case}.vital" for one in made), "cases.csv", "trks.csv", "events.csv"]
    write_run_record(settings.out, command="cohort simulate", config=config, outputs=outputs, seed=settings.seed)
    varied = sorted(one.variation for one in made)
    if settings.json:
        found = {"cases": len(made), "minutes": minutes, "variation": [round(v, 4) for v in varied]}
        typer.echo(json.dumps({**found, "out": str(settings.out)}))
        return
    typer.echo(f"{len(made)} operations of {minutes:g} min, {physics.value} physics, {sensors.value} lines")
    typer.echo(f"cardiac output varies within a case by {100 * varied[0]:.0f} to {100 * varied[-1]:.0f} %")
    typer.echo(f"written to {settings.out}")
