r"""`pulsebayes calibrate rope`: correct a model's posteriors with labelled windows of real patients."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import CommandError, ExitCode
from .options import Settings, with_settings

if TYPE_CHECKING:
    from ...waveforms.cohort_table import CohortTable

__all__ = ["rope"]

_MODEL = Annotated[str, typer.Argument(metavar="BUNDLE", help="Shipped model, or the folder of a bundle.")]
_PAIRS = Annotated[Path, typer.Option(help="Table of labelled windows: CSV or Parquet.")]
_UNLABELLED = Annotated[
    Path,
    typer.Option(help="Table of windows without labels, a sample of the population [the pairs].", show_default=False),
]
_GAMMA = Annotated[float, typer.Option(help="Regularisation in median costs [chosen on pairs].", show_default=False)]
_TAU = Annotated[float, typer.Option(help="Hardness of the simulations' share [chosen on pairs].", show_default=False)]
_N = Annotated[int, typer.Option("--simulations", min=200, help="Fresh simulations.")]
_STEPS = Annotated[int, typer.Option(min=1, help="Most steps of tuning the embedding.")]
_IDS = Annotated[bool, typer.Option("--show-ids", help="Name subjects in messages instead of hashes.")]


@with_settings
def rope(
    model: _MODEL,
    pairs: _PAIRS,
    unlabelled: _UNLABELLED = Path(),
    gamma: _GAMMA = 0.0,
    tau: _TAU = 0.0,
    simulations: _N = 4000,
    steps: _STEPS = 150,
    show_ids: _IDS = False,
    *,
    settings: Settings,
) -> None:
    r"""Calibrate posteriors with labelled windows, by tuning and transport.

    Writes a bundle to --out: the one given, with a layer by which `infer` answers each window as a mixture over fresh
    simulations. Splits are by patient; log probability, coverage and calibration are measured on patients the tuning
    did not see. Fewer than 20 patients are refused for a tau above .5.

    Arguments:
        model: Name of a shipped model, or the folder of a bundle.
        pairs: Table of labelled windows.
        unlabelled: Table of windows without labels.
        gamma: Regularisation, in units of the median cost; 0 chooses it.
        tau: Hardness of the simulations' marginal; 0 chooses it.
        simulations: Fresh simulations.
        steps: Most steps of tuning.
        show_ids: Whether messages name subjects.
        settings: The shared options.

    Raises:
        CommandError: If an option does not fit, `--out` is missing or holds files, or patients are mixed up.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["calibrate", "rope", "radial-abp", "--pairs", "none.csv", "--out", "mine", "--json"])
        {"error": {"code": "not-found", "message": "none.csv: no such table", "hint": "name a CSV or Parquet file"}}
        3
    """
    if not 0 <= gamma < float("inf") or not 0 <= tau <= 1:
        raise CommandError(f"--gamma must be positive and --tau in (0, 1], got {gamma:g}, {tau:g}", code="usage")
    if not settings.has_out:
        raise CommandError("calibrate writes a new bundle", code="usage", hint="--out FOLDER")
    if settings.out.exists() and (not settings.out.is_dir() or any(settings.out.iterdir())) and not settings.force:
        raise CommandError(f"{settings.out.name} already holds files", code="exists", hint="--force, or another --out")
    import torch

    from ...calibration.rope.bundles import calibrate_rope, simulate_bank
    from ...calibration.rope.encoder import TuneConfig
    from ...calibration.rope.layer import save_rope
    from ...inference.bundle import Bundle, find_bundle, of_one_channel

    torch.set_num_threads(settings.threads or 1)
    folder = find_bundle(model)
    if settings.out.resolve() == folder.resolve():
        raise CommandError("--out is the bundle itself", code="exists", hint="--out ANOTHER-FOLDER")
    bundle = of_one_channel(Bundle.load(folder), "calibrate rope")
    labelled, reference = _tables(pairs, unlabelled, bundle, settings, show_ids)
    config, grid = _choice(gamma, tau, labelled.n_subjects, reference.n_subjects)
    _enough(labelled, reference, config.tau if config else max(grid.tau))
    settings.talk(f"simulating {simulations} windows")
    bank = simulate_bank(bundle, simulations, seed=settings.seed)
    layer = calibrate_rope(
        bundle, labelled, bank, unlabelled=reference, config=config, grid=grid, seed=settings.seed,
        tuning=TuneConfig(steps, 3e-4, 32, seed=settings.seed),
    )  # fmt: skip
    _copy(folder, settings.out)
    save_rope(layer, settings.out)
    _tell(layer, settings)
    _record(
        settings, folder, pairs, unlabelled, {"gamma": gamma, "tau": tau, "simulations": simulations, "steps": steps}
    )


def _tables(pairs: Path, unlabelled: Path, bundle: Any, settings: Settings, show_ids: bool) -> tuple[Any, Any]:
    from ...calibration.pairs import read_pairs
    from ...calibration.rope.checks import labelled_pairs
    from ...waveforms.cohort_table import read_cohort_table

    paths = [pairs] + ([unlabelled] if unlabelled != Path() else [])
    check_subjects(*(read_cohort_table(path) for path in paths), show_ids=show_ids)
    labelled = read_pairs(pairs, bundle.contract)
    reference = read_pairs(unlabelled, bundle.contract) if unlabelled != Path() else labelled
    for name, found in (("labelled", labelled), ("without labels", reference)):
        refused = ", ".join(f"{reason} {n}" for reason, n in found.refused.items()) or "none"
        settings.talk(f"{len(found)} windows {name} of {found.n_subjects} patients passed the gate; refused: {refused}")
        if not len(found):
            raise CommandError(f"no window {name} passed the gate", code="no-windows", exit_code=ExitCode.REFUSED)
    try:
        chosen = labelled_pairs(labelled, bundle.outputs, bundle.prior)
    except ValueError as error:
        raise CommandError(f"{pairs.name}: {error}", code="labels", exit_code=ExitCode.UNREADABLE) from error
    if len(chosen) < len(labelled):
        settings.talk(f"{len(labelled) - len(chosen)} windows have no label that the model reports")
    return chosen, reference


def check_subjects(*tables: CohortTable, show_ids: bool) -> None:
    r"""Refuses a recording that stands under several subjects: a split by subject would have it on both sides.

    Arguments:
        tables: The tables, taken together.
        show_ids: Whether the message names subjects instead of their hashes.

    Raises:
        CommandError: If there is one; names the rows.

    Example:
        >>> check_subjects(table, show_ids=False)  # doctest: +SKIP
    """
    from ...calibration.pairs import hash_subject

    owners: dict[Path, dict[str, str]] = {}
    for table in tables:
        for i, (path, subject) in enumerate(zip(table.recordings, table.subjects, strict=True)):
            owners.setdefault(path.resolve(), {}).setdefault(subject, f"{table.name} row {i + 1}")
    for path, found in owners.items():
        if len(found) > 1:
            shown = [f"{row}: {name if show_ids else hash_subject(name)}" for name, row in found.items()]
            message = f"recording {path.name} stands under {len(found)} subjects ({', '.join(shown[:4])})"
            raise CommandError(message, code="subjects-mixed", hint="one subject a recording; --show-ids names them")


def _choice(gamma: float, tau: float, labelled: int, subjects: int) -> tuple[Any, Any]:
    """Settings, or the grid to choose them from where there are patients enough with labels."""
    from ...calibration.rope.fit import FEWEST_SUBJECTS, RoPEConfig
    from ...calibration.rope.selection import Grid

    fixed = RoPEConfig()
    grid = Grid(prior_share=(fixed.prior_share,))
    if (gamma and tau) or labelled < grid.fewest:
        return RoPEConfig(gamma or fixed.gamma, tau or fixed.tau, fixed.bandwidth, fixed.prior_share), None
    taus = (tau,) if tau else grid.tau if subjects >= FEWEST_SUBJECTS else tuple(t for t in grid.tau if t <= 0.5)
    gammas = (gamma,) if gamma else grid.gamma
    return None, Grid(gamma=gammas, tau=taus, prior_share=(fixed.prior_share,))


def _enough(labelled: Any, reference: Any, tau: float) -> None:
    from ...calibration.rope.checks import check_patients

    try:
        check_patients(labelled, reference, tau)
    except ValueError as error:
        hint = "a patient counts once, however many windows"
        raise CommandError(str(error), code="too-few-patients", hint=hint) from error


def _copy(source: Path, target: Path) -> None:
    r"""The files of a bundle without layers and records: a conformal layer is of the bundle it was calibrated on."""
    target.mkdir(parents=True, exist_ok=True)
    layers = {"conformal.json", "conformal.safetensors", "rope.json", "rope.safetensors", "run.json"}
    for name in layers:
        (target / name).unlink(missing_ok=True)
    for path in source.iterdir():
        if path.is_file() and path.name not in layers:
            shutil.copyfile(path, target / path.name)


def _tell(layer: Any, settings: Settings) -> None:
    found, config = layer.measured, layer.rope.config
    shown = {"gamma": config.gamma, "tau": config.tau, "bandwidth": config.bandwidth, "prior_share": config.prior_share}
    if settings.json:
        said = {"out": settings.out.name, "settings": shown, "converged": layer.rope.converged, "measured": found}
        typer.echo(json.dumps(said, allow_nan=False))
        return
    typer.echo(f"gamma {config.gamma:g}, tau {config.tau:g}, bandwidth {config.bandwidth:g}")
    typer.echo(f"held-out log probability {found['lpp']} nats a quantity (prior {found['lpp_prior']})")
    for name, area in found["acauc"].items():
        row = ", ".join(f"{100 * found['coverage'][k][name]:.0f} % at {100 * float(k):.0f}" for k in found["coverage"])
        typer.echo(f"{name}: coverage {row}; ACAUC {area:+.3f}")
    typer.echo(f"median effective simulations {found['effective_size']:.0f} of {found['simulations']}")


def _record(settings: Settings, folder: Path, pairs: Path, unlabelled: Path, options: dict[str, Any]) -> None:
    from .run_record import write_run_record

    tables = [pairs] + ([unlabelled] if unlabelled != Path() else [])
    config = {"model": folder.name, "pairs": pairs, "unlabelled": unlabelled, **options}
    write_run_record(
        settings.out, command="calibrate rope", config=config, inputs=[folder, *tables],
        outputs=["rope.json", "rope.safetensors"], seed=settings.seed,
    )  # fmt: skip
