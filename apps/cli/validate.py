r"""`pulsebayes validate`: whether a model keeps its promises on simulations that it has not seen."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import CommandError, ExitCode
from .options import Settings, with_settings

if TYPE_CHECKING:
    from ...calibration.diagnostics.verdict import Judgement
    from ...calibration.validation import HeldOut
    from ...inference.bundle import Bundle

__all__ = ["PAGE", "validate"]

PAGE = "validation.html"
"""Name of the page beside the validated bundle."""

_MODEL = Annotated[str, typer.Argument(metavar="BUNDLE", help="Shipped model, or the folder of a bundle.")]
_SET = Annotated[
    Path, typer.Option("--set", metavar="SET.zarr", help="Held-out simulations [fresh ones].", show_default=False)
]
_N = Annotated[int, typer.Option("-n", min=200, help="Windows.")]
_DRAWS = Annotated[int, typer.Option(min=50, help="Posterior draws a window.")]
_FAULTS = Annotated[int, typer.Option(min=0, help="Windows that each sensor fault is tried on.")]
_CHECK = Annotated[bool, typer.Option("--check", help="Exit with 8 if a target is missed.")]


@with_settings
def validate(
    model: _MODEL,
    training_set: _SET = Path(),
    n: _N = 2000,
    draws: _DRAWS = 1000,
    faults: _FAULTS = 100,
    check: _CHECK = False,
    *,
    settings: Settings,
) -> None:
    r"""Measure a model on simulations that it has not seen.

    Coverage (central, shortest, joint), SBC with ECDF bands, TARP, local C2ST, contraction, z-scores, recovery,
    posterior-predictive checks, ACAUC, LPP, faults of the sensor, all by subgroup where it can be; p-values corrected
    together (Holm, 1 %). With --out it writes a new bundle that holds the numbers, cites them in every answer and
    marks what misses as not calibrated, and a page, validation.html. --check exits with 8 where a target is missed.

    Arguments:
        model: Name of a shipped model, or the folder of a bundle.
        training_set: Held-out simulations; fresh ones are made where none are given.
        n: Windows.
        draws: Posterior draws a window.
        faults: Windows that each sensor fault is tried on.
        check: Whether a missed target ends with exit code 8.
        settings: The shared options.

    Raises:
        CommandError: If an option does not fit, `--out` holds files, or the set cannot be used.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["validate", "no-such-model", "--json"])  # doctest: +ELLIPSIS
        {"error": {"code": "model-unknown", ...}}
        6
    """
    import torch

    from ...calibration.validation import save_validated
    from ...calibration.validation import validate as run_validation
    from ...inference.bundle import Bundle, find_bundle
    from .run_record import write_run_record

    folder = find_bundle(model)
    _check_out(folder, settings)
    torch.set_num_threads(settings.threads or 1)
    bundle = Bundle.load(folder)
    held = _held_out(bundle, training_set, n, settings)
    settings.talk(f"{held.n} windows, {draws} draws each")
    better, judgement = run_validation(
        bundle, held, n_draws=draws, seed=settings.seed, n_faults=faults, progress=_narrate(settings)
    )
    if settings.has_out:
        from ..report.validation import validation_page

        save_validated(better, folder, settings.out, force=settings.force)
        (settings.out / PAGE).write_text(validation_page(better), encoding="utf-8")
        config = {"model": Path(model).name, "set": training_set, "n": n, "draws": draws, "faults": faults}
        inputs = [folder, *([training_set / "zarr.json"] if training_set != Path() else [])]
        write_run_record(
            settings.out, command="validate", config=config, inputs=inputs, outputs=[settings.out.name, PAGE],
            seed=settings.seed,
        )  # fmt: skip
    _tell(better, judgement, settings)
    if check and not judgement.passes():
        raise typer.Exit(int(ExitCode.TARGET_MISSED))


def _check_out(folder: Path, settings: Settings) -> None:
    if not settings.has_out:
        return
    if settings.out.resolve() == folder.resolve():
        raise CommandError("--out is the bundle itself", code="exists", hint="--out ANOTHER-FOLDER")
    if settings.out.exists() and (not settings.out.is_dir() or any(settings.out.iterdir())) and not settings.force:
        raise CommandError(f"{settings.out.name} already holds files", code="exists", hint="--force, or another --out")


def _held_out(bundle: Bundle, path: Path, n: int, settings: Settings) -> HeldOut:
    from ...calibration.validation import read_held_out, simulate_held_out
    from ...simulators.training_set import TrainingSet

    if path == Path():
        settings.talk(f"simulating {n} windows")
        return simulate_held_out(bundle, n, seed=settings.seed)
    try:
        held = read_held_out(bundle, TrainingSet.open(path), n=n, seed=settings.seed)
    except ValueError as error:
        raise CommandError(
            str(error), code="bad-set", hint="pulsebayes simulate with another --seed", exit_code=ExitCode.UNREADABLE
        ) from error
    if held.n < 200:
        raise CommandError(
            f"{path.name} must have at least 200 usable rows, got {held.n}",
            code="set-small",
            hint="pulsebayes simulate with a greater -n",
            exit_code=ExitCode.UNREADABLE,
        )
    return held


def _narrate(settings: Settings) -> Any:
    def say(text: str) -> None:
        if settings.progress:
            typer.echo(f"\r{text:60}", err=True, nl=False)

    return say


def _tell(bundle: Bundle, judgement: Judgement, settings: Settings) -> None:
    if settings.json:
        summary = {
            "model": bundle.name,
            "out": settings.out.name or None,
            "passes": judgement.passes(),
            "not_calibrated": judgement.not_calibrated(),
            "measured": dict(bundle.measured),
        }
        typer.echo(json.dumps(summary, allow_nan=False))
        return
    if settings.progress:
        typer.echo("", err=True)
    for line in _lines(bundle, judgement):
        typer.echo(line)


def _lines(bundle: Bundle, judgement: Judgement) -> list[str]:
    measured, found = bundle.measured, bundle.measured["validation"]
    lines = [f"{bundle.name}: {judgement.n} held-out simulations, {found['draws']} draws each"]
    lines.append(
        f"{'quantity':10}{'50 %':>8}{'90 %':>8}{'shortest 90 %':>15}{'contraction':>13}{'ACAUC':>9}{'z sd':>7}"
    )
    for name, c in measured["contraction"].items():
        held = [100 * measured["coverage"][level][name] for level in ("0.5", "0.9")]
        lines.append(
            f"{name:10}{held[0]:8.1f}{held[1]:8.1f}{100 * found['shortest']['0.9'][name]:15.1f}{c:13.2f}"
            f"{found['acauc'][name]:9.3f}{found['z_score'][name]['sd']:7.2f}"
            + ("  not calibrated" if name in measured["not_calibrated"] else "")
        )
    least: dict[str, tuple[float, str]] = {}
    for test in judgement.findings:
        least[test.name] = min(least.get(test.name, (math.inf, "")), (test.holm, test.of))
    lines.append("tests, least p-value after Holm's correction for all of them:")
    lines += [
        f"  {name:10} {p:8.3g}  {of}" + ("  FOUND" if p < found["alpha"] else "") for name, (p, of) in least.items()
    ]
    lines += [f"misses: {miss.quantity}, {miss}" for miss in judgement.misses]
    lines.append(f"{len(judgement.misses)} misses; a calibrated posterior has {judgement.chance:.2f} by chance")
    if judgement.lost:
        lines.append(f"{judgement.lost} windows were left out: their draws are not numbers")
    lines.append("passes" if judgement.passes() else "does not pass")
    return lines
