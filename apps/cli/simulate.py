r"""`pulsebayes simulate`: make a training set, or go on with one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from .errors import CommandError, ExitCode
from .options import Settings, with_settings
from .run_record import write_run_record

if TYPE_CHECKING:
    from ...simulators.dataset import Progress, TrainingSetReport
    from ...simulators.published import DataRecipe

__all__ = ["simulate"]


@with_settings
def simulate(
    model: Annotated[
        str,
        typer.Argument(
            help="linear-network, network, closed-loop, heart-network, nonlinear-heart-network, windkessel[2-4], or "
            "module:Class."
        ),
    ] = "",
    n: Annotated[int, typer.Option("-n", "--number", min=0, help="Simulations to make; 0: the recipe's.")] = 0,
    recipe: Annotated[str, typer.Option(help="Data set to make from nothing: clinical-v1, or a TOML file.")] = "",
    verify: Annotated[
        Path, typer.Option(metavar="SET.zarr", help="Only compare a set's files with their sums.", show_default=False)
    ] = Path(),
    population: Annotated[str, typer.Option(help="Population: clinical or healthy [the model's].")] = "",
    beat: Annotated[str, typer.Option(help="Beats: aperiodic, periodic or repeated [the model's].")] = "",
    sites: Annotated[str, typer.Option(help="Sites, with commas between them [the model's].")] = "",
    duration: Annotated[float, typer.Option(min=0.0, help="Length of a simulation in seconds; 0: the model's.")] = 0.0,
    fs: Annotated[float, typer.Option(min=0.0, help="Sampling rate in Hz; 0: the model's.")] = 0.0,
    assign: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other setting of the model.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the set that stands at --out.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: --threads, else one a core.")] = 0,
    scheduler: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Dask scheduler, or its file, whose workers simulate.")
    ] = "",
    shard_size: Annotated[
        int, typer.Option(min=0, help="Simulations per shard; 0: 1024 or the batch, or the recipe's.")
    ] = 0,
    batch_size: Annotated[
        int, typer.Option(min=0, help="Simulations at a time; 0: 256, the recipe's, or what a GPU holds.")
    ] = 0,
    *,
    settings: Settings,
) -> None:
    r"""Make a training set: parameters, waveforms, quantities and a status for every simulation.

    The set is a Zarr folder, given with --out. The same seed gives the same bytes with any number of workers. Stopped
    or killed, the same command with --resume goes on; simulations that failed are kept and counted. With --scheduler
    the workers of a Dask cluster simulate, and write the same bytes. With --recipe instead of MODEL it makes a public
    data set, with its card and sums; --verify compares a set with them, exit code 3 where a file is missing or differs.

    Arguments:
        model: Name of the simulator.
        n: Simulations to make.
        recipe: Recipe of a data set, instead of a model.
        verify: A set to compare with its sums, instead of making one.
        population: Population to draw from.
        beat: Kind of beats.
        sites: Sites, with commas between them.
        duration: Length of a simulation [s].
        fs: Sampling rate [Hz].
        assign: Other settings of the model, as KEY=VALUE.
        resume: Go on with the set that stands at `--out`.
        workers: Number of processes.
        scheduler: Address of a Dask scheduler, or its scheduler file.
        shard_size: Simulations per shard.
        batch_size: Simulations at a time.
        settings: The shared options.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["simulate", "--help"])  # doctest: +ELLIPSIS
        Usage: ...
    """
    if verify != Path():
        settings.require_cpu("simulate --verify")
        _verify(verify, settings)
        return
    if not settings.has_out:
        raise CommandError("simulate needs a folder to write to", code="usage", hint="--out SET.zarr")
    given = {"population": population, "beat": beat, "sites": _split(sites), "duration_s": duration, "fs": fs}
    config = {key: value for key, value in given.items() if value} | dict(_assignment(text) for text in assign or [])
    order = _order(model, n, recipe, config, (shard_size, batch_size), settings)
    with _shown(settings, order.n) as progress:
        report = _make(
            order, settings,
            resume=resume, workers=workers or (0 if scheduler else settings.threads), scheduler=scheduler,
            progress=progress,
        )  # fmt: skip
    if order.recipe is not None:
        from ...simulators.published import publish

        publish(settings.out, order.recipe)
    sizes = {"shard_size": order.shard_size, "batch_size": order.batch_size}
    write_run_record(
        settings.out,
        command="simulate",
        config={"model": order.model, "n": order.n, **({"recipe": recipe} if recipe else {}), **sizes, **order.config},
        outputs=(settings.out.name,),
        seed=order.seed,
    )
    typer.echo(json.dumps(_as_json(report, settings)) if settings.json else _as_text(recipe or order.model, report))


class _Order(NamedTuple):
    """What is to be made: by a model and its options, or by a recipe."""

    model: str
    config: Mapping[str, object]
    n: int
    seed: int
    shard_size: int
    batch_size: int
    recipe: DataRecipe | None = None


def _order(
    model: str, n: int, recipe: str, config: dict[str, object], sizes: tuple[int, int], settings: Settings
) -> _Order:
    if bool(model) == bool(recipe):
        got = "both" if model else "neither"
        hint = "simulate linear-network -n 1000, or simulate --recipe clinical-v1"
        raise CommandError(f"simulate needs a MODEL or a --recipe, got {got}", code="usage", hint=hint)
    if not recipe:
        if not n:
            raise CommandError("simulate MODEL needs the number of simulations", code="usage", hint="-n 1000")
        batch = sizes[1] or _batch(model, config, settings)
        return _Order(model, config, n, settings.seed, sizes[0] or max(1024, batch), batch)
    if config or any(sizes) or settings.seed:
        what = ", ".join(
            [*config, *(["shard or batch size"] if any(sizes) else []), *(["seed"] if settings.seed else [])]
        )
        hint = "leave them out, or write a recipe of your own"
        raise CommandError(f"{recipe} says itself what it simulates: {what} cannot differ", code="usage", hint=hint)
    from ...simulators.published import find_data_recipe

    try:
        found = find_data_recipe(recipe)
    except ValueError as error:
        raise CommandError(str(error), code="recipe", hint="--recipe clinical-v1") from error
    return _Order(found.model, found.config, n or found.n, found.seed, found.shard_size, found.batch_size, found)


def _batch(model: str, config: Mapping[str, object], settings: Settings) -> int:
    """What a CUDA device's memory holds, where the simulator says what a row takes; else 256."""
    if settings.device.value != "cuda":
        return 256
    from ...simulators.batch_size import batch_for_memory, cuda_memory
    from ...simulators.registry import build

    memory = cuda_memory()
    row_bytes = getattr(build(model, **config), "row_bytes", 0)
    return batch_for_memory(memory, int(row_bytes)) if row_bytes else 256


def _verify(path: Path, settings: Settings) -> None:
    from ...simulators.published import verify

    try:
        found = verify(path)
    except ValueError as error:
        hint = "name the folder that pulsebayes simulate wrote"
        raise CommandError(str(error), code="bad-set", hint=hint, exit_code=ExitCode.UNREADABLE) from error
    if settings.json:
        typer.echo(json.dumps({"set": path.name, "whole": found.is_whole, **found._asdict()}))
    else:
        typer.echo(f"{path.name}: {found.shards} of {found.of} shards whole" + ("" if found.is_whole else ", damaged:"))
        for name in found.damaged:
            typer.echo(f"  {name}")
    if not found.is_whole:
        raise typer.Exit(int(ExitCode.UNREADABLE))


def _make(
    order: _Order,
    settings: Settings,
    *,
    resume: bool,
    workers: int,
    scheduler: str,
    progress: Callable[[Progress], None],
) -> TrainingSetReport:
    from ...simulators.dataset import TrainingSetInterrupted, make_training_set

    try:
        return make_training_set(
            (order.model, order.config), order.n, settings.out,
            seed=order.seed, shard_size=order.shard_size, batch_size=order.batch_size, workers=workers,
            resume=resume, force=settings.force, device=settings.device.value, scheduler=scheduler,
            progress=progress,
        )  # fmt: skip
    except TrainingSetInterrupted as stop:
        raise CommandError(str(stop), code="interrupted", hint=stop.hint, exit_code=ExitCode.INTERRUPTED) from None
    except ImportError as error:
        top = order.model.partition(":")[0].partition(".")[0]
        if f"'{top}'" not in str(error) and f"'{order.model}'" not in str(error):
            raise
        hint = f"PYTHONPATH=FOLDER pulsebayes simulate {order.model}, with the folder that holds it"
        raise CommandError(f"simulator {order.model!r}: {error}", code="config", hint=hint) from error
    except ValueError as error:
        if getattr(error, "hint", ""):
            raise
        raise CommandError(str(error), code="config", hint=_hint(order, str(error))) from error
    except ChildProcessError as error:
        hint = "--workers 1, a smaller --batch-size, then --resume"
        raise CommandError(str(error), code="worker", hint=hint, exit_code=ExitCode.INTERNAL) from error
    except TypeError as error:
        text = re.sub(r"^\S*__init__\(\) ", "", str(error))
        hint = "leave the option out" if "unexpected" in text else "give the setting a value of its own kind"
        raise CommandError(f"{order.model} does not take that: {text}", code="config", hint=hint) from error


def _hint(order: _Order, told: str) -> str:
    """The option that a simulator, or the lack of one, complains of."""
    if told.startswith("simulator must"):
        return f"pulsebayes simulate linear-network -n {order.n} --out SET.zarr"
    if re.match(r"(a )?site must", told) and {"sites", "diameters"} & order.config.keys():
        return "--set diameters=AorticRoot" if "sites" not in order.config else "--sites AorticRoot"
    key = next((key for key in order.config if re.match(rf"{key}\b", told)), "")
    option = {"duration_s": "--duration", "population": "--population", "beat": "--beat", "fs": "--fs"}.get(key, "")
    named = option or (f"--set {key}" if key else "the option")
    return f"leave {named} out: the model has a value of its own"


@contextmanager
def _shown(settings: Settings, n: int) -> Iterator[Callable[[Progress], None]]:
    """Draws the progress bar where a person watches; says once that a run is stopping."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    told: list[bool] = []
    with Bar(*columns, console=Console(stderr=True), disable=not settings.progress, transient=True) as bar:
        task = bar.add_task("starting", total=n)

        def show(progress: Progress) -> None:
            if progress.stopping and not told:
                told.append(True)
                settings.talk("finishing the shards in progress; Ctrl-C again ends at once")
            bar.update(task, completed=progress.rows, description="stopping" if told else "simulating")

        yield show


def _as_json(report: TrainingSetReport, settings: Settings) -> dict[str, object]:
    return {
        "n": report.n,
        "seconds": round(report.seconds, 3),
        "compile_seconds": round(report.compile_seconds, 3),
        "rate": round(report.rate, 2) if report.made else None,
        "made": report.made,
        "acceptance": round(report.acceptance, 4),
        "status": report.status,
        "fingerprint": report.fingerprint,
        "out": str(settings.out),
    }


def _as_text(model: str, report: TrainingSetReport) -> str:
    from ...simulators.status import ADVICE, STATUS, usable_names

    counts = ", ".join(f"{name} {count:,}" for name, count in report.status.items())
    lines = [
        f"{model}: {report.made:,} simulations in {report.seconds:.1f} s, {report.rate:,.0f} per second "
        f"(start-up and compilation {report.compile_seconds:.1f} s)"
        if report.made
        else f"{model}: nothing left to do, every shard is whole",
        f"usable {report.acceptance:.1%} of {report.n:,}: {counts}",
    ]
    lines += [
        f"  {STATUS[c]}: {ADVICE[c]}" for c in STATUS if STATUS[c] in report.status and STATUS[c] not in usable_names()
    ]
    return "\n".join([*lines, f"written to {report.out}"])


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _assignment(text: str) -> tuple[str, object]:
    """A setting and its value: JSON, a list with commas in it, or else a word."""
    key, separator, value = text.partition("=")
    if not (key and separator):
        raise CommandError(f"--set must be KEY=VALUE, got {text!r}", code="usage", hint="--set n_frequencies=256")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, _split(value) if "," in value else value
