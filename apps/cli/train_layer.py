r"""The part of `pulsebayes train` for recipes of layers that lie beside a window model: pooling and patient."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import typer

from .errors import CommandError
from .options import Settings
from .run_record import write_run_record

__all__ = ["train_layer"]


def train_layer(name: str, training_set: Path | None, model: str, resume: bool, settings: Settings) -> bool:
    r"""Trains a pooling or patient layer if the recipe is one of those.

    Arguments:
        name: Name of the recipe.
        training_set: Must be None: these recipes simulate what they learn from.
        model: The window model of a pooling layer, shipped or a folder; the recipe's where empty.
        resume: Whether to go on with an interrupted run.
        settings: The shared options.

    Returns:
        Whether it was such a recipe.

    Raises:
        CommandError: If another device was asked for, the output exists, a training set was given or a model where the
            recipe takes none.

    Example:
        >>> train_layer("radial-abp", None, "", False, Settings())
        False
    """
    produce, layer = _producer(name, model)
    if produce is None:
        return False
    settings.require_cpu(f"the recipe {name}")
    if model and layer != "pooling":
        raise CommandError(f"{name} makes a layer of its own model", code="usage", hint="leave out --model")
    if training_set is not None:
        raise CommandError(f"{name} simulates what it learns from", code="set-unfit", hint="leave out the training set")
    work = settings.out.parent / f"{settings.out.name}.run"
    if not resume and not settings.force and (settings.out.exists() or work.exists()):
        there = settings.out.name if settings.out.exists() else work.name
        raise CommandError(f"{there} exists", code="exists", hint="--resume, --force, or another --out")
    measured = produce(settings.out, work, tell=settings.talk)
    outputs = [f"{layer}.json", f"{layer}.safetensors", f"{layer}.md"]
    write_run_record(
        settings.out,
        command="train",
        config={"recipe": name, **({"model": Path(model).name} if model else {})},
        inputs=[],
        outputs=outputs,
        seed=settings.seed,
    )
    if settings.json:
        typer.echo(json.dumps({"out": settings.out.name, "measured": measured}, allow_nan=False))
    else:
        typer.echo(_told(layer, measured))
    return True


def _producer(name: str, model: str) -> tuple[Callable[..., dict[str, Any]] | None, str]:
    """What makes the layer of a recipe, and its name; None where the recipe is of no layer."""
    from ...inference.patient.recipe import find_patient_recipe, produce_patient
    from ...inference.pooling.recipe import find_pooling_recipe, produce_pooling

    if (pooling := find_pooling_recipe(name)) is not None:
        return partial(produce_pooling, replace(pooling, base=model or pooling.base)), "pooling"
    if (patient := find_patient_recipe(name)) is not None:
        return partial(produce_patient, patient), "patient"
    return None, ""


def _told(layer: str, measured: dict[str, Any]) -> str:
    if layer == "pooling":
        trend = measured["trend"]
        return f"trend error of SV, CO: windows alone {trend['window']}, pooled {trend['recording']}"
    both = measured["age+height"]["spread"]
    return f"spread where age and height are known, over that of the wave alone: CO {both['CO']}, PWV {both['PWV']}"
