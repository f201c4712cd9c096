r"""The part of `pulsebayes train` for recipes of pooling layers."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from .errors import CommandError
from .options import Settings
from .run_record import write_run_record

__all__ = ["train_pooling"]


def train_pooling(name: str, training_set: Path | None, resume: bool, settings: Settings) -> bool:
    r"""Trains a pooling layer if the recipe is one of those.

    Arguments:
        name: Name of the recipe.
        training_set: Must be None: these recipes simulate their own recordings.
        resume: Whether to go on with an interrupted run.
        settings: The shared options.

    Returns:
        Whether it was such a recipe.

    Raises:
        CommandError: If the output exists or a training set was given.

    Example:
        >>> train_pooling("radial-abp", None, False, Settings())
        False
    """
    from ...inference.pooling.recipe import find_pooling_recipe, produce_pooling

    recipe = find_pooling_recipe(name)
    if recipe is None:
        return False
    if training_set is not None:
        raise CommandError(f"{name} simulates its own recordings", code="set-unfit", hint="leave out the training set")
    work = settings.out.parent / f"{settings.out.name}.run"
    if not resume and not settings.force and (settings.out.exists() or work.exists()):
        there = settings.out.name if settings.out.exists() else work.name
        raise CommandError(f"{there} exists", code="exists", hint="--resume, --force, or another --out")
    measured = produce_pooling(recipe, settings.out, work, tell=settings.talk)
    write_run_record(
        settings.out,
        command="train",
        config={"recipe": name},
        inputs=[],
        outputs=["pooling.json", "pooling.safetensors"],
        seed=settings.seed,
    )
    if settings.json:
        typer.echo(json.dumps({"out": settings.out.name, "measured": measured}, allow_nan=False))
    else:
        trend = measured["trend"]
        typer.echo(f"trend error of SV, CO: windows alone {trend['window']}, pooled {trend['recording']}")
    return True
