r"""`pulsebayes calibrate conformal`: give a model regions that keep a stated promise for new patients."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import CommandError
from .options import Settings, with_settings
from .recording_options import parse_interval

if TYPE_CHECKING:
    from ...calibration.conformal.layer import Pools
    from ...calibration.pairs import Pairs
    from ...waveforms.cohort_table import CohortTable

__all__ = ["conformal"]

_MODEL = Annotated[str, typer.Argument(metavar="BUNDLE", help="Shipped model, or the folder of a bundle.")]
_PAIRS = Annotated[Path, typer.Option(help="Table of labelled windows: CSV or Parquet.")]
_ALPHA = Annotated[float, typer.Option(help="Share of new patients whose window may be missed.")]
_SCORE = Annotated[str, typer.Option(help="otcp, mahalanobis, box, quantiles or pcp.")]
_SETS = Annotated[
    list[str] | None, typer.Option("--quantities", metavar="A,B", help="A joint set; may be given several times.")
]

_FOLDS = Annotated[
    int,
    typer.Option(
        "--cross-fit", min=0, metavar="K", help="Fit RoPE on the same patients, without each of K folds in turn."
    ),
]
_POOL = Annotated[
    str, typer.Option(help="Windows that inform each: window (none), causal (those up to it) or recording.")
]
_EVERY = Annotated[
    str,
    typer.Option(
        help="Time from one window of a pool to the next, as `infer --every` will have [8s].", show_default=False
    ),
]
_N = Annotated[int, typer.Option("--simulations", min=200, help="Fresh simulations for RoPE, with --cross-fit.")]
_STEPS = Annotated[int, typer.Option(min=1, help="Most steps of tuning RoPE's embedding, with --cross-fit.")]


@with_settings
def conformal(
    model: _MODEL,
    pairs: _PAIRS,
    alpha: _ALPHA = 0.1,
    score: _SCORE = "otcp",
    quantities: _SETS = None,
    pool: _POOL = "window",
    every: _EVERY = "",
    cross_fit: _FOLDS = 0,
    simulations: _N = 4000,
    steps: _STEPS = 150,
    *,
    settings: Settings,
) -> None:
    r"""Calibrate conformal regions with labelled windows.

    Writes a bundle to --out: the one given, with regions that `infer` prints beside the credible intervals. The promise
    is for one window of a new patient like those in the table; patients count, windows of one patient do not. With
    --pool each labelled window is answered given its whole recording, as `infer` then answers. Of a bundle with a RoPE
    layer the regions are made from RoPE's posteriors; patients that served it are refused. With --cross-fit K the same
    patients serve RoPE and the limit: RoPE is fitted on all patients for the credible intervals and without each fold
    for the regions, whose promise is 1 - 2 alpha less a small term, said with the number.

    Arguments:
        model: Name of a shipped model, or the folder of a bundle.
        pairs: Table of labelled windows.
        alpha: Share of new patients whose window may be missed.
        score: How candidates are scored.
        quantities: Joint sets of quantities; CO,SVR and HR,CO,SVR,LVET where the table labels them.
        pool: Windows of its recording that inform each.
        every: Time from one window of a pool to the next.
        cross_fit: Folds of patients, 2 or more; 0 for none.
        simulations: Fresh simulations for RoPE.
        steps: Most steps of tuning RoPE's embedding.
        settings: The shared options.

    Raises:
        CommandError: If an option does not fit, or `--out` is missing or holds files.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["calibrate", "conformal", "radial-abp", "--pairs", "none.csv", "--out", "mine", "--json"])
        {"error": {"code": "not-found", "message": "none.csv: no such table", "hint": "name a CSV or Parquet file"}}
        3
    """
    _check(alpha, cross_fit, settings)
    pools = _pools(pool, every, cross_fit)
    from ...calibration.conformal.bundles import SCORES
    from ...calibration.conformal.layer import save_layer
    from ...calibration.pairs import read_pairs
    from ...calibration.rope.layer import save_rope
    from ...inference.bundle import Bundle, find_bundle, of_one_channel
    from ...waveforms.cohort_table import read_cohort_table
    from .calibrate_rope import check_subjects

    if score not in SCORES:
        raise CommandError(
            f"--score must be one of {', '.join(SCORES)}, got {score!r}", code="usage", hint="--score otcp"
        )
    folder = find_bundle(model)
    if settings.out.resolve() == folder.resolve():
        raise CommandError("--out is the bundle itself", code="exists", hint="--out ANOTHER-FOLDER")
    bundle = of_one_channel(Bundle.load(folder), "calibrate conformal")
    table = read_cohort_table(pairs)
    check_subjects(table, show_ids=False)
    read = read_pairs(pairs, bundle.contract)
    settings.talk(
        f"{len(read)} windows of {read.n_subjects} patients passed the gate; refused: {_refused(read.refused)}"
    )
    wanted = [tuple(name.strip() for name in text.split(",") if name.strip()) for text in quantities or ()]
    ask = _Ask(alpha, score, wanted, cross_fit, simulations, steps, pools)
    if cross_fit:
        rope, layer = _cross(bundle, read, ask, settings)
    else:
        rope, layer = None, _split(folder, bundle, table, read, ask, settings)
    _copy(folder, settings.out, force=settings.force, rope=rope is None)
    if rope is not None:
        save_rope(rope, settings.out)
    save_layer(layer, settings.out)
    _record(settings, folder, pairs, model, ask)
    _tell([_row(one) for one in layer.sets], settings)


@dataclass(frozen=True)
class _Ask:
    alpha: float
    score: str
    wanted: list[tuple[str, ...]]
    folds: int
    simulations: int
    steps: int
    pools: Pools | None


def _check(alpha: float, folds: int, settings: Settings) -> None:
    r"""Refuses what does not fit before anything is read."""
    if not 0 < alpha < 1:
        raise CommandError(f"--alpha must lie between 0 and 1, got {alpha:g}", code="usage", hint="--alpha 0.1")
    if not settings.has_out:
        raise CommandError("calibrate writes a new bundle", code="usage", hint="--out FOLDER")
    if settings.out.exists() and (not settings.out.is_dir() or any(settings.out.iterdir())) and not settings.force:
        raise CommandError(f"{settings.out.name} already holds files", code="exists", hint="--force, or another --out")
    if folds == 1:
        raise CommandError("--cross-fit takes 2 folds or more, got 1", code="usage", hint="--cross-fit 5")


def _pools(pool: str, every: str, folds: int) -> Pools | None:
    r"""The pools that windows are answered in; None where each is answered alone."""
    if pool == "window" and every:
        raise CommandError("--every is the pace of pools", code="usage", hint="--pool recording, or without --every")
    if pool == "window":
        return None
    if pool not in ("causal", "recording"):
        message = f"--pool must be window, causal or recording, got {pool!r}"
        raise CommandError(message, code="usage", hint="--pool recording")
    every_s = parse_interval("--every", every or "8s")
    if folds:
        message = "--cross-fit fits RoPE, which answers windows one by one"
        raise CommandError(message, code="usage", hint="--pool window, or without --cross-fit")
    from ...calibration.conformal.layer import Pools

    return Pools("causal" if pool == "causal" else "recording", every_s)


def _split(folder: Path, bundle: Any, table: CohortTable, read: Pairs, ask: _Ask, settings: Settings) -> Any:
    r"""Regions of a posterior that other patients, or none, were used for."""
    from ...calibration.conformal.bundles import answerer, calibrate_bundle

    rope = _rope(folder, bundle)
    if ask.pools is not None:
        answer = _in_pools(folder, bundle, table, ask.pools, settings, rope=rope is not None)
    else:
        answer = answerer(bundle, rope=rope, seed=settings.seed)
    return calibrate_bundle(
        bundle, read, alpha=ask.alpha, score=ask.score, wanted=ask.wanted, seed=settings.seed,
        answer=answer, used=() if rope is None else rope.patients, pools=ask.pools,
    )  # fmt: skip


def _in_pools(folder: Path, bundle: Any, table: CohortTable, pools: Pools, settings: Settings, *, rope: bool) -> Any:
    r"""Answers windows given those of their recordings."""
    import torch

    from ...calibration.conformal.pooled import pooled_answerer
    from ...inference.pooling.layer import load_pooling

    layer = load_pooling(folder, bundle)
    if rope or layer is None:
        why = "its RoPE layer answers windows one by one" if rope else "it has no pooling layer"
        raise CommandError(f"model {folder.name} cannot pool windows: {why}", code="pool", hint="--pool window")
    torch.set_num_threads(1)
    return pooled_answerer(
        bundle, layer, table, pool=pools.pool, every_s=pools.every_s, seed=settings.seed,
        workers=settings.threads or 1,
    )  # fmt: skip


def _cross(bundle: Any, read: Any, ask: _Ask, settings: Settings) -> tuple[Any, Any]:
    r"""RoPE and regions from the same patients."""
    import torch

    from ...calibration.conformal.cross_bundles import cross_bundle
    from ...calibration.rope.bundles import simulate_bank
    from ...calibration.rope.encoder import TuneConfig

    torch.set_num_threads(settings.threads or 1)

    def bank() -> Any:
        settings.talk(
            f"simulating {ask.simulations} windows; RoPE is fitted {ask.folds + 1} times, any layer is replaced"
        )
        return simulate_bank(bundle, ask.simulations, seed=settings.seed)

    return cross_bundle(
        bundle, read, bank, folds=ask.folds, alpha=ask.alpha, score=ask.score, wanted=ask.wanted,
        tuning=TuneConfig(ask.steps, 3e-4, 32, seed=settings.seed), seed=settings.seed,
    )  # fmt: skip


def _record(settings: Settings, folder: Path, pairs: Path, model: str, ask: _Ask) -> None:
    from .run_record import write_run_record

    config: dict[str, Any] = {"model": Path(model).name, "pairs": pairs, "alpha": ask.alpha, "score": ask.score}
    config |= {"quantities": [",".join(names) for names in ask.wanted] or None}
    outputs = ["conformal.json", "conformal.safetensors"]
    if ask.pools is not None:
        config |= {"pool": ask.pools.pool, "every_s": ask.pools.every_s}
    if ask.folds:
        config |= {"cross_fit": ask.folds, "simulations": ask.simulations, "steps": ask.steps}
        outputs += ["rope.json", "rope.safetensors"]
    write_run_record(
        settings.out, command="calibrate conformal", config=config, inputs=[folder, pairs], outputs=outputs,
        seed=settings.seed,
    )  # fmt: skip


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


def _copy(source: Path, target: Path, *, force: bool, rope: bool) -> None:
    r"""The files of a bundle, without the layers and record of an earlier calibration; RoPE's where it is kept."""
    target.mkdir(parents=True, exist_ok=True)
    layers = {"conformal.json", "conformal.safetensors", "rope.json", "rope.safetensors"}
    if force:
        for name in layers:
            (target / name).unlink(missing_ok=True)
    left = {"conformal.json", "conformal.safetensors", "run.json"} | (set() if rope else layers)
    for path in source.iterdir():
        if path.is_file() and path.name not in left:
            shutil.copyfile(path, target / path.name)
