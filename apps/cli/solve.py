r"""`pulsebayes solve`: one arterial network to its periodic state."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import CommandError, ExitCode
from .options import Settings, with_settings
from .run_record import write_run_record

if TYPE_CHECKING:
    from ...simulators.network.model import NetworkModel
    from ...simulators.network.nonlinear.solution import NetworkSolution

__all__ = ["parse_length_mm", "solve"]

_LENGTH = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?\d+)?)\s*(mm|cm|m)?\s*")


@with_settings
def solve(
    network: Annotated[str, typer.Argument(help="Network file (TOML), or the name of a shipped network.")],
    dx: Annotated[str, typer.Option(help="Longest cell, with its unit.")] = "5mm",
    tolerance: Annotated[float, typer.Option(help="Largest error left by not being periodic yet, in mmHg.")] = 0.05,
    samples: Annotated[int, typer.Option(min=2, help="Samples of the period.")] = 500,
    cycles: Annotated[int, typer.Option(min=1, help="Most periods.")] = 30,
    precision: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    engine: Annotated[str, typer.Option(help="kernel (compiled, CPU) or jax; --device cuda: jax.")] = "kernel",
    *,
    settings: Settings,
) -> None:
    r"""Solve a network to its periodic state and write its waves as netCDF.

    The file, given with --out, has pressure P, flow Q, area A and velocity u of the last period in every vessel at its
    inlet, quarters and outlet. The error that is left by not being periodic yet is bounded and reported.

    Arguments:
        network: Network file or name of a shipped network.
        dx: Longest cell.
        tolerance: Largest error left [mmHg].
        samples: Samples of the period.
        cycles: Most periods.
        precision: Floating type.
        engine: Kernel.
        settings: The shared options.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["solve", "--help"])  # doctest: +ELLIPSIS
        Usage: ...
    """
    if not settings.has_out:
        raise CommandError("solve needs a file to write to", code="usage", hint="--out waves.nc")
    if settings.out.exists() and not settings.force:
        raise CommandError(f"{settings.out.name} exists", code="exists", hint="--force, or another name")
    dx_mm = parse_length_mm(dx)
    model = _network(network)
    if model.inflow.jump > 0.01:
        settings.talk(f"note: the inflow ends {model.inflow.jump:.0%} of its largest value away from where it begins")
    from ...simulators.network.nonlinear.solution import NetworkFailure, is_converged, solve_model, write_waves

    if settings.device.value == "cuda":
        engine = "jax"  # the compiled kernel runs on the CPU
        os.environ["JAX_PLATFORMS"] = "cuda"
    import jax

    try:
        with jax.enable_x64(precision == "float64"):
            solution = solve_model(
                model, dx_mm=dx_mm, tolerance_mmHg=tolerance, samples=samples, max_cycles=cycles, precision=precision,
                engine=engine,
            )  # fmt: skip
    except NetworkFailure as failure:
        hint = "a smaller --dx, or look at that vessel's radius, wall and outlet"
        raise CommandError(str(failure), code="diverged", hint=hint, exit_code=ExitCode.TARGET_MISSED) from None
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    write_waves(solution, settings.out, name=model.name, dx_mm=dx_mm)
    options = {"dx_mm": dx_mm, "tolerance_mmHg": tolerance, "samples": samples, "cycles": cycles}
    write_run_record(
        settings.out.parent, command="solve", config={"network": Path(network).name, "precision": precision, **options},
        inputs=(Path(network),) if Path(network).is_file() else (), outputs=(settings.out.name,), seed=settings.seed,
    )  # fmt: skip
    typer.echo(
        json.dumps(_as_json(model, solution, settings)) if settings.json else _as_text(model, solution, settings)
    )
    if not is_converged(solution):
        raise typer.Exit(int(ExitCode.TARGET_MISSED))


def parse_length_mm(text: str) -> float:
    r"""A length with its unit in millimetres.

    Arguments:
        text: A number, followed by mm (taken where there is none), cm or m.

    Returns:
        Length [mm].

    Raises:
        CommandError: It is no positive length.

    Example:
        >>> parse_length_mm("5mm"), parse_length_mm("0.2 cm")
        (5.0, 2.0)
    """
    match = _LENGTH.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        raise CommandError(f"--dx must be a positive length, got {text!r}", code="usage", hint="--dx 5mm")
    from ...waveforms.units import convert

    return convert(float(match[1]), match[2] or "mm", "mm")


def _network(name: str) -> NetworkModel:
    from ...simulators.network.files.lines import NetworkFileError
    from ...simulators.network.files.toml_format import load_network, read_network, shipped_networks

    if not Path(name).is_file():
        if name in shipped_networks():
            return load_network(name)
        raise CommandError(
            f"{Path(name).name}: no such file, and no shipped network", code="file",
            hint=f"shipped: {', '.join(shipped_networks())}", exit_code=ExitCode.UNREADABLE,
        )  # fmt: skip
    try:
        return read_network(name)
    except NetworkFileError as error:
        hint = error.hint
        if Path(name).suffix in (".yaml", ".yml"):
            hint = f"pulsebayes convert {Path(name).name} {Path(name).stem}.toml reads openBF's format; solve that"
        raise CommandError(str(error), code=error.code, hint=hint, exit_code=ExitCode.UNREADABLE) from None


def _as_json(model: NetworkModel, solution: NetworkSolution, settings: Settings) -> dict[str, object]:
    from ...simulators.status import STATUS

    pressure = {
        name: {"max": round(float(p.max()), 3), "min": round(float(p.min()), 3), "mean": round(float(p[:-1].mean()), 3)}
        for name, p in zip(solution.vessels, solution.pressure[:, 2], strict=True)
    }
    return {
        "network": model.name,
        "status": STATUS[solution.status],
        "vessels": len(solution.vessels),
        "cells": solution.cells,
        "steps": solution.steps,
        "cycles": solution.cycles,
        "remaining_error_bound_mmHg": solution.bound,
        "courant": round(solution.courant, 4),
        "mass_balance": solution.mass_balance,
        "period_s": float(solution.time[-1]),
        "seconds": round(solution.seconds, 3),
        "pressure_mmHg": pressure,
        "out": str(settings.out),
    }


def _as_text(model: NetworkModel, solution: NetworkSolution, settings: Settings) -> str:
    from ...simulators.status import STATUS

    root = solution.pressure[0, 0]
    return "\n".join(
        [
            f"{model.name}: {len(solution.vessels)} vessels, {solution.cells} cells, {solution.steps:,} steps a period",
            f"{STATUS[solution.status]} after {solution.cycles} periods of {solution.time[-1]:.3f} s: at most "
            f"{solution.bound:.3g} mmHg from periodic; volume in and out agree to {abs(solution.mass_balance):.2g}",
            f"{solution.vessels[0]}, inlet: {root.max():.1f}/{root.min():.1f} mmHg, mean {root[:-1].mean():.1f}",
            f"{solution.seconds:.2f} s; written to {settings.out}",
        ]
    )
