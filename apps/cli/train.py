r"""`pulsebayes train`: a training set, or a recipe from nothing, becomes a measured bundle."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import CommandError, ExitCode
from .options import Settings, with_settings
from .run_record import write_run_record
from .train_equations import train_equations
from .train_hybrid import HybridAsk, train_hybrid
from .train_layer import train_layer

if TYPE_CHECKING:
    from ...calibration.produce import Held
    from ...inference.bundle import Bundle
    from ...inference.ranks import Ranks
    from ...inference.recipe import Recipe
    from ...inference.training import TrainResult

__all__ = ["parse_duration", "train"]

_LEAST_HELD = 120  # a tenth is held out, but no fewer: rank tests need 100

_SET = Annotated[Path | None, typer.Argument(metavar="[SET.zarr]", help="A training set; none with a full --recipe.")]
_RECIPE = Annotated[str, typer.Option(help="Name or TOML file of a recipe.")]
_PRESET = Annotated[str, typer.Option(help="Size of the network: small, base or large [the recipe's].")]
_OUTPUTS = Annotated[str, typer.Option(help="Independent outputs, separated by commas [the recipe's].")]
_RESUME = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
_MAX_TIME = Annotated[str, typer.Option("--max-time", help="Most time of training: 2h, 40m, 90s.")]
_HYBRID = Annotated[
    Path | None,
    typer.Option(metavar="COHORT", help="Learn from a cohort's labels too, as cross-validation over subjects finds."),
]
_MODEL = Annotated[
    str,
    typer.Option(help="With --hybrid or a pooling recipe: the model to go on from [radial-abp].", show_default=False),
]
_SHARE = Annotated[float, typer.Option(help="With --hybrid: share of real windows in each batch.")]
_FOLDS = Annotated[int, typer.Option(min=2, help="With --hybrid: folds of subjects.")]
_STEPS = Annotated[int, typer.Option(min=1, help="With --hybrid: steps of training.")]
_N = Annotated[int, typer.Option("--simulations", min=500, help="With --hybrid: simulated windows mixed in.")]
_ERROR = Annotated[
    float,
    typer.Option("--reference-error", help="With --hybrid: error of the references, as a share [the devices'].",
                 show_default=False),
]  # fmt: skip
_MOST = Annotated[int, typer.Option("--per-subject", min=1, help="With --hybrid: most windows of a subject.")]
_TRIED = Annotated[
    str, typer.Option("--candidates", metavar="A,B", help="With --hybrid: flow, embedding, all, rope [all of them].",
                      show_default=False),
]  # fmt: skip


@with_settings
def train(
    training_set: _SET = None,
    recipe: _RECIPE = "radial-abp",
    preset: _PRESET = "",
    outputs: _OUTPUTS = "",
    resume: _RESUME = False,
    max_time: _MAX_TIME = "",
    hybrid: _HYBRID = None,
    model: _MODEL = "",
    share: _SHARE = 0.25,
    folds: _FOLDS = 5,
    steps: _STEPS = 200,
    simulations: _N = 3000,
    reference_error: _ERROR = -1.0,
    per_subject: _MOST = 12,
    candidates: _TRIED = "",
    *,
    settings: Settings,
) -> None:
    r"""Train a posterior estimator and measure it on held-out simulations.

    With SET.zarr it trains on that set, the last rows held out; without, the recipe simulates its own sets first.
    The bundle is a folder with weights, bundle.json and card.md. A recipe such as symbolic-ode draws random equations
    instead and makes the model that `recover` asks for candidates. Started by torchrun, its processes share each batch.

    With --hybrid COHORT a trained model goes on learning: from simulations and the cohort's labelled windows in each
    batch, the flow, the embedding or both; or a RoPE layer is laid over it. Cross-validation over subjects says which
    of them predicts readings of unseen subjects better, and the base model is kept where none does.

    Arguments:
        training_set: A training set.
        recipe: Name or TOML file of a recipe.
        preset: Size of the network.
        outputs: Independent outputs, separated by commas.
        resume: Go on with an interrupted run.
        max_time: Most time of training.
        hybrid: Cohort to learn from.
        model: Model to go on from.
        share: Share of real windows in each batch.
        folds: Folds of subjects.
        steps: Steps of training.
        simulations: Simulated windows mixed in.
        reference_error: Error of the references, as a share.
        per_subject: Most windows of a subject.
        candidates: What is tried.
        settings: The shared options.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["train", "--help"])  # doctest: +ELLIPSIS
        Usage: ...
    """
    if not settings.has_out:
        raise CommandError("train needs the folder of the bundle", code="no-out", hint="--out BUNDLE")
    limit = parse_duration(max_time)
    _check_launcher(recipe)
    if hybrid is not None:
        settings.require_cpu("train --hybrid")
        _refuse_with_hybrid(preset, outputs, resume, max_time)
        ask = HybridAsk(
            hybrid, model or "radial-abp", training_set, share, folds, steps, simulations, reference_error,
            per_subject, candidates,
        )  # fmt: skip
        train_hybrid(ask, settings)
        return
    if train_layer(recipe, training_set, model, resume, settings):
        return
    if model:
        raise CommandError("--model goes with --hybrid COHORT", code="usage", hint="--recipe makes a model anew")
    if train_equations(recipe, training_set, limit, resume, settings, _interrupts):
        return
    chosen = _recipe(recipe, preset, outputs, settings)
    if training_set is not None:  # a set of one's own makes a model of one's own, whatever recipe it follows
        chosen = dataclasses.replace(chosen, name=settings.out.name, finer=None)
    work = settings.out.parent / f"{settings.out.name}.run"
    if not settings.force and not resume and settings.out.exists():
        raise CommandError(f"{settings.out.name} exists", code="exists", hint="--force, or another --out")
    from ...inference.ranks import join_ranks

    with join_ranks(settings.device.value) as ranks:
        settings = settings if ranks.is_first else dataclasses.replace(settings, quiet=True)
        threads = _set_threads(settings, chosen.preset)
        sets = _sets(training_set, chosen, work, ranks, settings)
        together = f" in each of {ranks.size} processes" if ranks.size > 1 else ""
        rows = sets["train"].stop - sets["train"].start
        settings.talk(f"{rows} rows to train on, {threads} threads{together}")
        _train(chosen, sets, work, limit, resume, ranks, settings)


def _refuse_with_hybrid(preset: str, outputs: str, resume: bool, max_time: str) -> None:
    given = {"--preset": preset, "--outputs": outputs, "--resume": resume, "--max-time": max_time}
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise CommandError(
            f"{wrong[0]} does not go with --hybrid", code="usage", hint="the network is --model's; see --steps"
        )


def parse_duration(text: str) -> float:
    r"""Reads a duration.

    Arguments:
        text: Such as `2h`, `1h30m`, `40m`, `90s`; empty for no limit.

    Returns:
        Seconds [s].

    Raises:
        CommandError: If the text is no duration.

    Example:
        >>> parse_duration("1h30m")
        5400.0
    """
    if not text:
        return float("inf")
    parts = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    seconds = sum(float(v or 0) * s for v, s in zip(parts.groups(), (3600, 60, 1), strict=True)) if parts else 0.0
    if seconds <= 0:
        raise CommandError(
            f"--max-time must be a duration, got {text!r}", code="bad-duration", hint="such as 2h, 40m or 90s"
        )
    return float(seconds)


def _recipe(name: str, preset: str, outputs: str, settings: Settings) -> Recipe:
    from ...calibration.produce import network_of
    from ...inference.outputs import check_independent
    from ...inference.recipe import find_recipe

    try:
        found = find_recipe(name)
        changes: dict[str, Any] = {"preset": preset} if preset else {}
        if outputs:
            changes["outputs"] = tuple(part.strip() for part in outputs.split(","))
            check_independent(changes["outputs"])
        if settings.seed:
            changes["train"] = {**found.train, "seed": settings.seed}
        found = dataclasses.replace(found, **changes)
        network_of(found)
    except (ValueError, TypeError) as error:
        raise CommandError(str(error), code="bad-recipe", hint="pulsebayes train --help") from error
    return found


def _check_launcher(recipe: str) -> None:
    """Only bundles train in several processes: a layer or an equation model would be written by each of them."""
    from ...inference.recipe import shipped_recipes

    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and recipe not in shipped_recipes() and not Path(recipe).is_file():
        raise CommandError(f"{recipe} trains in one process", code="launcher", hint="pulsebayes train without torchrun")


def _set_threads(settings: Settings, preset: str) -> int:
    """Small networks lose by a second thread, larger ones win half again as much."""
    import torch

    from ...simulators.dataset import default_workers

    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    threads = settings.threads or (1 if preset == "small" else max(1, default_workers() // here))
    torch.set_num_threads(threads)
    return threads


def _sets(path: Path | None, recipe: Recipe, work: Path, ranks: Ranks, settings: Settings) -> dict[str, Held]:
    """The sets by name: `train`, `test` and, for a recipe in two fidelities, `finer`."""
    from ...calibration.produce import Held
    from ...simulators.dataset import TrainingSet, make_training_set

    if path is not None:
        try:
            found = TrainingSet.open(path)
        except ValueError as error:
            raise CommandError(
                str(error), code="bad-set", hint="pulsebayes simulate", exit_code=ExitCode.UNREADABLE
            ) from error
        held = min(recipe.test.n, max(_LEAST_HELD, found.n // 10))
        if found.n < 4 * held:
            raise CommandError(
                f"{path.name} must have at least {4 * _LEAST_HELD} rows, got {found.n}",
                code="set-small",
                hint="pulsebayes simulate with a greater -n",
            )
        return {"train": Held(found, 0, found.n - held), "test": Held(found, found.n - held, found.n)}
    finest = recipe.finest
    wanted = [("train", recipe.simulate, recipe.simulate.n, recipe.simulate.seed)]
    wanted += [("finer", finest, finest.n, finest.seed)] if recipe.finer else []
    wanted.append(("test", finest, recipe.test.n, recipe.test.seed))
    for name, spec, n, seed in wanted:
        if not ranks.is_first:
            break
        settings.talk(f"simulating {n} rows ({name})")
        make_training_set(
            (spec.model, spec.config),
            n,
            work / f"{name}.zarr",
            seed=seed,
            workers=settings.threads,
            resume=True,
            shard_size=spec.shard_size,
            batch_size=spec.batch_size,
        )
    ranks.wait()
    made = {name: TrainingSet.open(work / f"{name}.zarr") for name, *_ in wanted}
    return {name: Held(found, 0, found.n) for name, found in made.items()}


def _train(
    recipe: Recipe, sets: dict[str, Held], work: Path, limit: float, resume: bool, ranks: Ranks, settings: Settings
) -> None:
    from ...calibration.produce import produce
    from ...calibration.two_fidelities import finer_checkpoint
    from ...inference.checkpoint import Checkpoint

    for name in sets.keys() - {"test"}:
        _check_fit(recipe, sets[name])
    checkpoint = Checkpoint(work / "checkpoint")
    with _interrupts() as stop:
        bundle, result = produce(
            recipe,
            sets["train"],
            sets["test"],
            settings.out,
            finer=sets.get("finer"),
            max_time=limit,
            resume=resume and checkpoint.exists,
            force=settings.force or resume,
            checkpoint=checkpoint,
            ranks=ranks,
            progress=_narrate(settings),
            should_stop=lambda: bool(stop),
        )
    if bundle is None and not result.interrupted:
        return  # another process measures and writes
    if bundle is None:
        epochs = len(result.history)
        settings.talk(f"stopped after epoch {epochs}; go on with the same command and --resume")
        raise typer.Exit(int(ExitCode.INTERRUPTED))
    for kept in (checkpoint, finer_checkpoint(checkpoint)):
        kept.remove()
    _tell(bundle, result, settings)
    write_run_record(
        settings.out,
        command="train",
        config={"recipe": recipe.to_json(), "max_time_s": limit if limit < float("inf") else None},
        inputs=[held.training_set.path / "zarr.json" for held in sets.values()],
        outputs=[settings.out.name],
        seed=settings.seed,
    )


def _tell(bundle: Bundle, result: TrainResult, settings: Settings) -> None:
    """Prints the card, or under --json what was measured."""
    summary = {
        "out": settings.out.name,
        "epochs": len(result.history),
        "validation_loss": bundle.training["validation_loss"],
        "seconds": bundle.training["seconds"],
        "counts": result.counts,
        "measured": dict(bundle.measured),
    }
    if settings.json:
        typer.echo(json.dumps(summary, allow_nan=False))
    else:
        typer.echo(bundle.card)


def _check_fit(recipe: Recipe, training: Held) -> None:
    """Tells at once when the set has no such site, rate or outputs."""
    from ...calibration.produce import read_rows
    from ...inference.outputs import OutputSpace

    try:
        outputs = OutputSpace.from_names(recipe.outputs, extra=training.training_set.space)
        outputs.encode(read_rows(training, recipe).columns)
    except ValueError as error:
        raise CommandError(str(error), code="set-unfit", hint="another --recipe, --outputs or set") from error


def _narrate(settings: Settings) -> Any:
    """One line an epoch; on a terminal also one that moves."""

    def tell(now: Any) -> None:
        line = f"epoch {now.epoch}  {100 * now.share:5.1f} %  loss {now.train_loss:.3f}"
        line += f"  validation {now.validation_loss:.3f}  {now.rate:.0f} windows/s  {now.elapsed:.0f} s"
        if now.epoch_done:
            settings.talk(("\r" if settings.progress else "") + line)
        elif settings.progress:
            typer.echo(f"\r{line}", err=True, nl=False)

    return tell


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collects Ctrl-C; the second one ends at once."""
    seen: list[int] = []

    def note(number: int, _: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)
