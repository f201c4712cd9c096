r"""A second training on few rows of a better simulator, and what a bundle keeps of its trainings.

Many rows of a fast simulator teach what a wave says; few of a better one correct what the fast one gets wrong: all
weights learn on, or an [adapter][pulsebayes.inference.adapter] of the context alone, which keeps the estimator of the
fast simulator within that of the better one. Held-out simulations are of the better simulator, so that what a card says
holds for its physics. See docs/benchmarks/fidelities.md for what that is worth.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from ..inference.checkpoint import Checkpoint
from ..inference.npe import NPE
from ..inference.outputs import OutputSpace
from ..inference.training import TrainConfig, TrainData, TrainResult, train
from ..simulators.dataset import TrainingSet

__all__ = ["describe_training", "finer_checkpoint", "train_finer"]


def finer_checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    r"""Where the second training is kept: beside the first one.

    Arguments:
        checkpoint: Checkpoint of the first training.

    Example:
        >>> from pathlib import Path
        >>> finer_checkpoint(Checkpoint(Path("run/checkpoint"))).folder.name
        'checkpoint-finer'
    """
    return Checkpoint(checkpoint.folder.with_name(f"{checkpoint.folder.name}-finer"))


def train_finer(
    first: NPE,
    data: TrainData,
    outputs: OutputSpace,
    config: TrainConfig,
    *,
    checkpoint: Checkpoint | None = None,
    resume: bool = False,
    **going: Any,
) -> TrainResult:
    r"""Goes on from a training's weights with rows of a better simulator.

    Arguments:
        first: The estimator trained on the fast simulator, with an adapter if that alone is to learn.
        data: Rows of the better one.
        outputs: Estimated outputs.
        config: How long and how fast.
        checkpoint: Checkpoint of the first training; this one is kept beside it.
        resume: Whether to go on from where this training was stopped, if it had begun.
        going: What else [`train`][pulsebayes.inference.training.train] takes.

    Returns:
        The result of this training.

    Raises:
        ValueError: If too few rows can be used.

    Example:
        >>> train_finer(first, read_rows(held, recipe), outputs, TrainConfig(epochs=8)).history  # doctest: +SKIP
    """
    own = None if checkpoint is None else finer_checkpoint(checkpoint)
    resume = resume and own is not None and own.exists
    return train(data, outputs, first.config, config, start=first, checkpoint=own, resume=resume, **going)


def describe_training(
    found: TrainingSet, test: TrainingSet, config: TrainConfig, result: TrainResult
) -> dict[str, Any]:
    r"""What a bundle keeps of a training: strict JSON, no folders.

    Arguments:
        found: The set it was trained on.
        test: The set it was measured on.
        config: Settings.
        result: Its result.

    Returns:
        Simulator, fingerprints, seeds, settings, counts, losses and versions of libraries.

    Example:
        >>> describe_training(a, b, TrainConfig(), result)["epochs"]  # doctest: +SKIP
        40
    """
    settings = dataclasses.asdict(config)
    settings["max_time"] = config.max_time if math.isfinite(config.max_time) else None
    validation = [row["validation"] for row in result.history if math.isfinite(row["validation"])]
    libraries = ("pulsebayes", "torch", "zuko", "numpy")
    seeds = {"set": found.attributes.get("seed"), "test": test.attributes.get("seed"), "train": config.seed}
    return {
        **_simulator_of(found),
        "test_fingerprint": test.fingerprint,
        "seeds": seeds,
        "train": settings,
        "counts": result.counts,
        "epochs": len(result.history),
        "validation_loss": round(min(validation), 4) if validation else None,
        "seconds": round(sum(row["seconds"] for row in result.history), 1),
        "versions": {name: metadata.version(name) for name in libraries},
    }


def _simulator_of(found: TrainingSet) -> Mapping[str, Any]:
    attributes = found.attributes
    return {
        "simulator": attributes.get("simulator"),
        "simulator_version": attributes.get("version"),
        "simulator_config": attributes.get("config"),
        "fingerprint": found.fingerprint,
    }
