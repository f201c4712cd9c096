r"""The part of `pulsebayes train` for recipes of equation transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .errors import CommandError, ExitCode
from .options import Settings
from .run_record import write_run_record

if TYPE_CHECKING:
    from ...inference.symbolic.measure import Recall
    from ...inference.symbolic.training import TrainingReport

__all__ = ["train_equations"]


def train_equations(
    name: str,
    training_set: Path | None,
    limit: float,
    resume: bool,
    settings: Settings,
    interrupts: Callable[[], AbstractContextManager[list[int]]],
) -> bool:
    r"""Trains an equation transformer if the recipe is one of those.

    Arguments:
        name: Name or file of the recipe.
        training_set: Must be None: these recipes draw their own systems.
        limit: Most time of training [s].
        resume: Whether to go on with an interrupted run.
        settings: The shared options.
        interrupts: Collects Ctrl-C.

    Returns:
        Whether it was such a recipe.

    Raises:
        CommandError: If the recipe is bad, another device was asked for, the output exists or a training set was given.
        typer.Exit: If the run was interrupted.

    Example:
        >>> train_equations("radial-abp", None, 1.0, False, Settings(), list)
        False
    """
    from ...inference.symbolic.recipe import find_symbolic_recipe, produce_symbolic

    try:
        recipe = find_symbolic_recipe(name)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error), code="bad-recipe", hint="see inference/recipes/symbolic") from error
    if recipe is None:
        return False
    settings.require_cpu(f"the recipe {recipe.name}")
    if training_set is not None:
        raise CommandError(f"{recipe.name} draws its own systems", code="set-unfit", hint="leave out the training set")
    if settings.out.exists() and not settings.force and not resume:
        raise CommandError(f"{settings.out.name} exists", code="exists", hint="--force, or another --out")
    import torch

    torch.set_num_threads(settings.threads or 1)
    work = settings.out.parent / f"{settings.out.name}.run"
    with interrupts() as stop:
        report, recall = produce_symbolic(
            recipe,
            settings.out,
            work,
            resume=resume,
            max_time=limit,
            should_stop=lambda: bool(stop),
            tell=settings.talk,
        )
    if stop:
        settings.talk(f"stopped after step {report.steps}; go on with the same command and --resume")
        raise typer.Exit(int(ExitCode.INTERRUPTED))
    _tell(report, recall, settings)
    write_run_record(
        settings.out,
        command="train",
        config={"recipe": name, "max_time_s": limit if limit < float("inf") else None},
        inputs=[],
        outputs=[settings.out.name],
        seed=settings.seed,
    )
    return True


def _tell(report: TrainingReport, recall: dict[str, Recall], settings: Settings) -> None:
    measured = {key: {"n": r.n, "greedy": r.greedy, "sampled": r.sampled} for key, r in recall.items()}
    if settings.json:
        row = {"out": settings.out.name, "steps": report.steps, "seconds": report.seconds, "measured": measured}
        typer.echo(json.dumps(row, allow_nan=False))
    else:
        typer.echo((settings.out / "card.md").read_text(encoding="utf-8"))
