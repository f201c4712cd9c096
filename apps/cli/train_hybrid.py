r"""The part of `pulsebayes train` that lets a model learn from the labels of a real cohort."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .errors import CommandError, ExitCode
from .options import Settings
from .run_record import write_run_record

if TYPE_CHECKING:
    from ...calibration.hybrid.learning import Learned, LearnPlan
    from ...calibration.pairs import Pairs
    from ...calibration.rope.bundles import Bank
    from ...inference.bundle import Bundle
    from ...waveforms.cohort_table import CohortTable

__all__ = ["HybridAsk", "train_hybrid"]


@dataclass(frozen=True)
class HybridAsk:
    r"""What the options ask for.

    Arguments:
        cohort: Table of the cohort, or its folder.
        model: The model to go on from.
        simulated: A training set to mix in, or None to simulate.
        share: Share of real windows in a batch.
        folds: Folds of subjects.
        steps: Steps of training.
        simulations: Simulated windows.
        reference_error: Error of the references as a share; negative for what is known of each device.
        per_subject: Most windows of a subject.
        candidates: What is tried; empty for everything.

    Example:
        >>> HybridAsk(Path("cohort"), "radial-abp").share
        0.25
    """

    cohort: Path
    model: str
    simulated: Path | None = None
    share: float = 0.25
    folds: int = 5
    steps: int = 200
    simulations: int = 3000
    reference_error: float = -1.0
    per_subject: int = 12
    candidates: str = ""


def train_hybrid(ask: HybridAsk, settings: Settings) -> None:
    r"""Chooses by cross-validation over subjects how to learn from a cohort, learns it and writes the model.

    Arguments:
        ask: What the options ask for.
        settings: The shared options.

    Raises:
        CommandError: If an option does not fit, `--out` holds files, the model has calibration layers, or the cohort
            has no labels, too few subjects or a recording of two subjects.

    Example:
        >>> train_hybrid(HybridAsk(Path("none.csv"), "no-such-model"), Settings())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        pulsebayes.inference.bundle.BundleError: no model 'no-such-model': neither a shipped one nor a folder
    """
    import torch

    from ...calibration.hybrid.learning import learn, save_learned
    from ...inference.bundle import find_bundle

    torch.set_num_threads(settings.threads or 1)
    folder = find_bundle(ask.model)
    if settings.out.resolve() == folder.resolve():
        raise CommandError("--out is the model itself", code="exists", hint="--out ANOTHER-FOLDER")
    if settings.out.exists() and (not settings.out.is_dir() or any(settings.out.iterdir())) and not settings.force:
        raise CommandError(f"{settings.out.name} already holds files", code="exists", hint="--force, or another --out")
    bundle, path = _base(folder), _find(ask.cohort)
    plan = _plan(ask, settings.seed)
    table, pairs = _labelled(ask, bundle, path, settings)
    try:
        learned = learn(
            bundle, pairs, table, _bank(ask, bundle, settings), plan, reference_error=ask.reference_error,
            progress=settings.talk,
        )  # fmt: skip
    except ValueError as error:
        raise CommandError(f"{table.name}: {error}", code="hybrid", hint="pulsebayes train --help") from error
    save_learned(learned, folder, settings.out, force=settings.force)
    _tell(learned, settings)
    config = {"model": folder.name, "hybrid": path, "set": ask.simulated, **_numbers(ask)}
    inputs = [path, folder, *([ask.simulated / "zarr.json"] if ask.simulated is not None else [])]
    write_run_record(settings.out, command="train", config=config, inputs=inputs, outputs=[settings.out.name],
                     seed=settings.seed)  # fmt: skip


def _base(folder: Path) -> Bundle:
    """The base model; one with calibration layers is refused, for they are tied to what they were made with."""
    from ...calibration.load import load_calibrated
    from ...inference.bundle import of_one_channel

    found = load_calibrated(folder)
    if found.layered:
        raise CommandError(
            f"{folder.name} has calibration layers, which are tied to its weights",
            code="layers",
            hint="--model BASE: the layers are chosen anew",
        )
    return of_one_channel(found.bundle, "train --hybrid")


def _find(cohort: Path) -> Path:
    from ...waveforms.cohort_table import find_cohort

    return find_cohort(cohort)


def _plan(ask: HybridAsk, seed: int) -> LearnPlan:
    from ...calibration.hybrid.crossval import CANDIDATES
    from ...calibration.hybrid.fit import HybridConfig
    from ...calibration.hybrid.learning import LearnPlan

    names = tuple(name.strip() for name in ask.candidates.split(",") if name.strip() and name.strip() != "base")
    unknown = [name for name in names if name not in CANDIDATES]
    if unknown:
        raise CommandError(
            f"--candidates must be among {', '.join(CANDIDATES)}, got {unknown[0]!r}", code="usage", hint="leave it out"
        )
    try:
        return LearnPlan(HybridConfig(share=ask.share, steps=ask.steps), ask.folds, names or CANDIDATES, seed=seed)
    except ValueError as error:
        raise CommandError(str(error), code="usage", hint="pulsebayes train --help") from error


def _labelled(ask: HybridAsk, bundle: Bundle, path: Path, settings: Settings) -> tuple[CohortTable, Pairs]:
    """The labelled rows that are learned from, and their windows."""
    from ...calibration.hybrid.learning import FEWEST, thin_evenly
    from ...calibration.pairs import cut_pairs
    from ...waveforms.cohort_table import read_cohort_table
    from .calibrate_rope import check_subjects

    table = read_cohort_table(path)
    check_subjects(table, show_ids=False)
    if not any(name in bundle.outputs.reported for name in table.labels):
        there = ", ".join(table.labels) or "no labels"
        message = f"{path.name} labels nothing that {bundle.name} reports: it has {there}"
        raise CommandError(message, code="no-labels", hint="cohort build finds references")
    _check_labels(table, bundle)
    table = thin_evenly(table, ask.per_subject)
    if table.n_subjects < FEWEST:
        raise CommandError(
            f"learning needs labelled windows of at least {FEWEST} subjects, got {table.n_subjects}",
            code="too-few-subjects",
            hint="a subject counts once, however many windows",
        )
    pairs = cut_pairs(table, bundle.contract)
    refused = ", ".join(f"{reason} {n}" for reason, n in pairs.refused.items()) or "none"
    settings.talk(f"{len(pairs)} labelled windows of {pairs.n_subjects} subjects passed the gate; refused: {refused}")
    if not len(pairs):
        raise CommandError("no labelled window passed the gate", code="no-windows", exit_code=ExitCode.REFUSED)
    return table, pairs


def _check_labels(table: CohortTable, bundle: Bundle) -> None:
    """Refuses labels that no patient has, by their rows in the table."""
    import numpy as np

    from ...calibration.pairs import Pairs
    from ...calibration.rope.checks import labelled_pairs

    bare = Pairs(np.zeros((len(table), 1), np.float32), table.labels, np.array(table.subjects))
    try:
        labelled_pairs(bare, bundle.outputs, bundle.prior)
    except ValueError as error:
        raise CommandError(f"{table.name}: {error}", code="labels", exit_code=ExitCode.UNREADABLE) from error


def _bank(ask: HybridAsk, bundle: Bundle, settings: Settings) -> Bank:
    """Simulated windows: of the set that was given, else fresh ones as the model was trained on."""
    from ...calibration.rope.bundles import Bank, simulate_bank
    from ...calibration.validation import read_held_out
    from ...simulators.dataset import TrainingSet

    if ask.simulated is None:
        settings.talk(f"simulating {ask.simulations} windows")
        return simulate_bank(bundle, ask.simulations, seed=settings.seed + 1)
    try:
        found = read_held_out(
            bundle.without_adapter(), TrainingSet.open(ask.simulated), n=ask.simulations, seed=settings.seed
        )
    except ValueError as error:
        raise CommandError(
            str(error), code="bad-set", hint="pulsebayes simulate", exit_code=ExitCode.UNREADABLE
        ) from error
    return Bank(found.x, found.columns)


def _numbers(ask: HybridAsk) -> dict[str, Any]:
    return {
        "share": ask.share,
        "folds": ask.folds,
        "steps": ask.steps,
        "simulations": ask.simulations,
        "reference_error": None if ask.reference_error < 0 else ask.reference_error,
        "per_subject": ask.per_subject,
        "candidates": ask.candidates,
    }


def _tell(learned: Learned, settings: Settings) -> None:
    from ...calibration.hybrid.telling import table_lines

    if settings.json:
        typer.echo(json.dumps({"out": settings.out.name, **learned.found}, allow_nan=False))
        return
    for line in table_lines(learned.found):
        typer.echo(line)
