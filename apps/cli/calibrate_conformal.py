r"""`pulsebayes calibrate conformal`: give a model regions that keep a stated promise for new patients."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import CommandError
from .options import Settings, with_settings

__all__ = ["conformal"]

_MODEL = Annotated[str, typer.Argument(metavar="BUNDLE", help="Shipped model, or the folder of a bundle.")]
_PAIRS = Annotated[Path, typer.Option(help="Table of labelled windows: CSV or Parquet.")]
_ALPHA = Annotated[float, typer.Option(help="Share of new patients whose window may be missed.")]
_SCORE = Annotated[str, typer.Option(help="otcp, mahalanobis, box, quantiles or pcp.")]
_SETS = Annotated[
    list[str] | None, typer.Option("--quantities", metavar="A,B", help="A joint set; may be given several times.")
]


@with_settings
def conformal(
    model: _MODEL,
    pairs: _PAIRS,
    alpha: _ALPHA = 0.1,
    score: _SCORE = "otcp",
    quantities: _SETS = None,
    *,
    settings: Settings,
) -> None:
    r"""Calibrate conformal regions with labelled windows.

    Writes a bundle to --out: the one given, with regions that `infer` prints beside the credible intervals. The promise
    is for one window of a new patient like those in the table; patients count, windows of one patient do not. Of a
    bundle with a RoPE layer the regions are made from RoPE's posteriors; patients that served it are refused.

    Arguments:
        model: Name of a shipped model, or the folder of a bundle.
        pairs: Table of labelled windows.
        alpha: Share of new patients whose window may be missed.
        score: How candidates are scored.
        quantities: Joint sets of quantities; CO,SVR and HR,CO,SVR,LVET where the table labels them.
        settings: The shared options.

    Raises:
        CommandError: If an option does not fit, or `--out` is missing or holds files.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["calibrate", "conformal", "radial-abp", "--pairs", "none.csv", "--out", "mine", "--json"])
        {"error": {"code": "not-found", "message": "none.csv: no such table", "hint": "name a CSV or Parquet file"}}
        3
    """
    if not 0 < alpha < 1:
        raise CommandError(f"--alpha must lie between 0 and 1, got {alpha:g}", code="usage", hint="--alpha 0.1")
    if not settings.has_out:
        raise CommandError("calibrate writes a new bundle", code="usage", hint="--out FOLDER")
    if settings.out.exists() and (not settings.out.is_dir() or any(settings.out.iterdir())) and not settings.force:
        raise CommandError(f"{settings.out.name} already holds files", code="exists", hint="--force, or another --out")
    from ...calibration.conformal.bundles import SCORES, answerer, calibrate_bundle
    from ...calibration.conformal.layer import save_layer
    from ...calibration.pairs import read_pairs
    from ...inference.bundle import Bundle, find_bundle
    from .run_record import write_run_record

    if score not in SCORES:
        raise CommandError(
            f"--score must be one of {', '.join(SCORES)}, got {score!r}", code="usage", hint="--score otcp"
        )
    folder = find_bundle(model)
    if settings.out.resolve() == folder.resolve():
        raise CommandError("--out is the bundle itself", code="exists", hint="--out ANOTHER-FOLDER")
    bundle = Bundle.load(folder)
    rope = _rope(folder, bundle)
    read = read_pairs(pairs, bundle.contract)
    settings.talk(
        f"{len(read)} windows of {read.n_subjects} patients passed the gate; refused: {_refused(read.refused)}"
    )
    wanted = [tuple(name.strip() for name in text.split(",") if name.strip()) for text in quantities or ()]
    layer = calibrate_bundle(
        bundle, read, alpha=alpha, score=score, wanted=wanted, seed=settings.seed,
        answer=answerer(bundle, rope=rope, seed=settings.seed), used=() if rope is None else rope.patients,
    )  # fmt: skip
    _copy(folder, settings.out, force=settings.force)
    save_layer(layer, settings.out)
    config = {"model": Path(model).name, "pairs": pairs, "alpha": alpha, "score": score, "quantities": quantities}
    outputs = ["conformal.json", "conformal.safetensors"]
    inputs = [folder, pairs]
    write_run_record(
        settings.out, command="calibrate conformal", config=config, inputs=inputs, outputs=outputs, seed=settings.seed
    )
    _tell([_row(one) for one in layer.sets], settings)


def _rope(folder: Path, bundle: Any) -> Any:
    r"""The bundle's RoPE layer, which must say whom it was fitted on; None where there is none."""
    from ...calibration.rope.layer import load_rope

    rope = load_rope(folder, bundle)
    if rope is not None and not rope.patients:
        message = f"the RoPE layer of {folder.name} does not say which patients it was fitted on"
        raise CommandError(message, code="bundle-old", hint="calibrate it again: pulsebayes calibrate rope")
    return rope


def _tell(rows: list[dict[str, Any]], settings: Settings) -> None:
    if settings.json:
        typer.echo(json.dumps({"out": settings.out.name, "sets": rows}, allow_nan=False))
        return
    for row in rows:
        names = ", ".join(row["quantities"])
        typer.echo(f"{names}: {row['guarantee']} ({row['n_windows']} windows, score {row['method']})")


def _row(one: Any) -> dict[str, Any]:
    return {
        "method": one.score_name,
        "alpha": one.alpha,
        "quantities": list(one.coordinates.names),
        "n_patients": one.n_patients,
        "n_windows": one.n_windows,
        "limit": one.limit,
        "guarantee": one.guarantee,
    }


def _refused(reasons: Any) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in reasons.items()) or "none"


def _copy(source: Path, target: Path, *, force: bool) -> None:
    r"""The files of a bundle, without the layer and record of an earlier calibration."""
    target.mkdir(parents=True, exist_ok=True)
    if force:
        for name in ("conformal.json", "conformal.safetensors"):
            (target / name).unlink(missing_ok=True)
    for path in source.iterdir():
        if path.is_file() and path.name not in ("conformal.json", "conformal.safetensors", "run.json"):
            shutil.copyfile(path, target / path.name)
