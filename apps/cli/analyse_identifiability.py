r"""`pulsebayes analyse identifiability`: what each channel, noise and set of channels tells of every quantity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import CommandError, ExitCode
from .options import Settings, with_settings

if TYPE_CHECKING:
    from ...calibration.identifiability.plan import AtlasConfig
    from ...calibration.identifiability.sobol import Sensitivity
    from ...calibration.identifiability.study import BundleStudy

__all__ = ["identifiability"]

CELLS = "cells"
"""Folder, within that of the results, of the cells that a later run need not measure again."""

_MODEL = Annotated[str, typer.Argument(metavar="BUNDLE", help="Shipped model, or the folder of a bundle.")]
_N = Annotated[int, typer.Option("-n", min=100, help="Simulated individuals.")]
_DRAWS = Annotated[int, typer.Option(min=50, help="Posterior draws an individual.")]
_MANY = Annotated[int, typer.Option(min=0, help="Individuals of each channel alone and of all, for the tests [-n].")]
_NOISE = Annotated[str, typer.Option(help="Factors on the sensors' noise, beside that of training; '' for none.")]
_SETS = Annotated[str, typer.Option(help="all: channels, pairs and all together; singles: without the pairs.")]
_GIVEN = Annotated[
    list[str] | None, typer.Option("--given", metavar="A+B", help="A set of channels to add to.", show_default=False)
]
_SOBOL = Annotated[int, typer.Option(min=0, help="Base rows of Sobol's indices, a power of two; 0 for none.")]
_CHECK = Annotated[bool, typer.Option("--check", help="Exit with 8 if the atlas is not as it must be.")]


@with_settings
def identifiability(
    model: _MODEL,
    n: _N = 600,
    draws: _DRAWS = 400,
    many: _MANY = 0,
    noise: _NOISE = "0.25,1,4",
    sets: _SETS = "all",
    given: _GIVEN = None,
    sobol: _SOBOL = 128,
    check: _CHECK = False,
    *,
    settings: Settings,
) -> None:
    r"""Tell what each channel, alone and together, lets a model know: the uncertainty atlas.

    For every quantity, set of channels and level of noise: interval, error, coverage, information; the best channel to
    add; on whom the uncertainty depends; sub-populations with an uncertainty of their own (dip test and likelihood
    ratio of two modes, Holm) and posteriors of several modes, with what separates them; pairs that trade off; Sobol's
    indices beside it. Individuals are simulated by the recipe of the bundle. With --out FOLDER it writes atlas.html,
    pictures, atlas.csv and atlas.json, and the same command goes on where it was stopped. --check exits with 8 where a
    check fails.

    Arguments:
        model: Name of a shipped model, or the folder of a bundle.
        n: Simulated individuals.
        draws: Posterior draws an individual.
        many: Individuals of each channel alone and of all together.
        noise: Factors on the noise, with commas between them.
        sets: Which sets of channels.
        given: Sets of channels to add to.
        sobol: Base rows of Sobol's indices.
        check: Whether a failed check ends with exit code 8.
        settings: The shared options.

    Raises:
        CommandError: If an option does not fit, the bundle does not say what it was trained on, or `--out` holds
            something else.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["analyse", "identifiability", "no-such-model", "--json"])  # doctest: +ELLIPSIS
        {"error": {"code": "model-unknown", ...}}
        6
    """
    from ...inference.bundle import find_bundle

    folder = find_bundle(model)
    _check_out(folder, settings)
    import torch

    from ...calibration.identifiability.atlas import atlas_of
    from ...calibration.identifiability.plan import AtlasConfig, run_cells

    if sobol and (sobol < 16 or sobol & (sobol - 1)):
        raise CommandError(f"--sobol must be a power of two of at least 16, or 0, got {sobol}", code="usage")
    torch.set_num_threads(settings.threads or 1)
    study = _study(folder)
    try:
        config = AtlasConfig(n, draws, many, _factors(noise), sets, _sets(given), settings.seed)  # type: ignore[arg-type]
        cells = settings.out / CELLS if settings.has_out else None
        measured = run_cells(study, config, cells, progress=settings.talk)
    except ValueError as error:
        raise CommandError(str(error), code="value", hint="pulsebayes analyse identifiability --help") from error
    atlas = atlas_of(measured, _sensitivity(study, sobol, config, settings))
    if settings.has_out:
        _write(atlas, folder, settings)
    typer.echo(json.dumps(atlas, allow_nan=False) if settings.json else "\n".join(_lines(atlas)))
    if check and not all(row["holds"] for row in atlas["checks"]):
        raise typer.Exit(int(ExitCode.TARGET_MISSED))


def _check_out(folder: Path, settings: Settings) -> None:
    if not settings.has_out:
        return
    out = settings.out
    if out.resolve() == folder.resolve():
        raise CommandError("--out is the bundle itself", code="exists", hint="--out ANOTHER-FOLDER")
    if out.exists() and not out.is_dir():
        raise CommandError(f"{out.name} is a file", code="exists", hint="--out ANOTHER-FOLDER")
    cells = out / CELLS
    if settings.force and (cells / "individuals.json").is_file():
        for path in (*cells.glob("*.npz"), *cells.glob("*.json")):
            path.unlink()
    elif out.exists() and any(out.iterdir()) and not (cells / "individuals.json").is_file() and not settings.force:
        raise CommandError(f"{out.name} already holds files", code="exists", hint="--force, or another --out")


def _study(folder: Path) -> BundleStudy:
    from ...calibration.identifiability.study import BundleStudy
    from ...inference.bundle import Bundle

    try:
        return BundleStudy(Bundle.load(folder))
    except (ValueError, KeyError) as error:
        raise CommandError(
            str(error), code="bundle-unfit", hint="a bundle of `pulsebayes train` is needed", exit_code=ExitCode.BUNDLE
        ) from error


def _factors(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise CommandError(f"--noise must be numbers with commas, got {text!r}", code="usage") from error


def _sets(given: list[str] | None) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(name.strip() for name in one.split("+")) for one in given or ())


def _sensitivity(study: BundleStudy, n: int, config: AtlasConfig, settings: Settings) -> Sensitivity | None:
    from ...calibration.identifiability.sobol import Sensitivity, sobol_of_study

    if not n:
        return None
    kept = settings.out / CELLS / f"sobol-{n}.json"
    if settings.has_out and kept.is_file():
        return Sensitivity.from_json(json.loads(kept.read_text(encoding="utf-8")))
    found = sobol_of_study(study, n, seed=config.seed, progress=settings.talk)
    if settings.has_out:
        kept.write_text(json.dumps(found.to_json()) + "\n", encoding="utf-8")
    return found


def _write(atlas: dict[str, Any], folder: Path, settings: Settings) -> None:
    from ...calibration.identifiability.atlas import TABLE, table_rows
    from ..figures.marks import Table
    from ..figures.static import draw_static
    from ..report.atlas import atlas_page, atlas_pictures
    from .run_record import write_run_record

    out = settings.out
    written = ["atlas.json", "atlas.csv", "atlas.html"]
    (out / "atlas.json").write_text(json.dumps(atlas, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with (out / "atlas.csv").open("w", encoding="utf-8", newline="") as stream:
        stream.write(Table(TABLE, tuple(table_rows(atlas))).to_csv())
    (out / "atlas.html").write_text(atlas_page(atlas), encoding="utf-8")
    for picture in atlas_pictures(atlas):
        (out / f"{picture.key}.png").write_bytes(draw_static(picture, form="png"))
        written.append(f"{picture.key}.png")
    write_run_record(
        out, command="analyse identifiability", config=dict(atlas["config"]), inputs=[folder], outputs=written,
        seed=settings.seed,
    )  # fmt: skip


def _lines(atlas: dict[str, Any]) -> list[str]:
    every = {tuple(cell["given"]): cell["quantities"] for cell in atlas["cells"] if not cell["noise"]}
    channels = tuple(atlas["channels"])
    lines = [f"{atlas['model']}: {atlas['config']['n']} simulated individuals, {len(channels)} channels"]
    lines.append(
        f"{'quantity':14}{'best alone':>18}{'bits':>7}{'interval':>12}{'/ prior':>9}{'all: bits':>11}{'/ prior':>9}"
    )
    for name, prior in atlas["prior"].items():
        best = max(channels, key=lambda c, q=name: every[c,][q]["bits"])  # type: ignore[misc]
        one, together = every[best,][name], every[channels][name]
        lines.append(
            f"{name:14}{best:>18}{one['bits']:7.2f}{one['interval']:12.4g}{one['relative']:9.2f}{together['bits']:11.2f}"
            f"{together['relative']:9.2f}  [{prior['unit']}]"
        )
    lines += _found(atlas, channels)
    lines += [f"{'holds' if row['holds'] else 'FAILS'}: {row['name']} ({row['found']})" for row in atlas["checks"]]
    return lines


def _found(atlas: dict[str, Any], channels: tuple[str, ...]) -> list[str]:
    lines = []
    for row in [r for r in atlas["regimes"] if r["two"]][:5]:
        by = f", separated by {row['separators'][0]['name']}" if row["separators"] else ""
        lines.append(
            f"two regimes: {row['quantity']} from {row['given']}, intervals of {row['below']:.3g} and "
            f"{row['above']:.3g} {row['unit']}, p = {row['holm']:.2g}{by}"
        )
    for row in atlas["trade_offs"][:3]:
        lines.append(f"trade off: {row['first']} and {row['second']} from {row['given']}, r = {row['posterior']:+.2f}")
    told = [r for r in atlas["next"] if r["given"] in channels and r["bits"] > 3 * r["error"]]
    for row in sorted(told, key=lambda r: -r["bits"])[:3]:
        lines.append(f"best to add: {row['add']} to {row['given']}, for {row['quantity']}: {row['bits']:.2f} bit")
    if atlas["sensitivity"] and atlas["sensitivity"]["rho"] is not None:
        lines.append(f"rank correlation of Sobol's indices with information: {atlas['sensitivity']['rho']:.2f}")
    return lines
