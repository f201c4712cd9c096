r"""`pulsebayes cohort gap`: how far recordings are from a model's simulations, without any reference."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cohort_build import new_folder
from .errors import ExitCode, describe
from .options import Settings, with_settings
from .recording_options import CHANNEL, FS, UNIT, Labels, parse_interval

if TYPE_CHECKING:
    from ...waveforms.cohort_files import FoundFile

__all__ = ["gap_of_cohort"]

_PLACES = Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders of recordings, or files.")]
_MODEL = Annotated[str, typer.Option(help="Shipped model, or the folder of a bundle.")]
_EVERY = Annotated[str, typer.Option(help="Time from one window to the next.")]
_SIMULATIONS = Annotated[int, typer.Option(min=40, help="Fresh simulations to compare with.")]


@with_settings
def gap_of_cohort(
    places: _PLACES,
    model: _MODEL = "radial-abp",
    every: _EVERY = "30s",
    simulations: _SIMULATIONS = 512,
    channel: CHANNEL = None,
    unit: UNIT = None,
    fs: FS = 0.0,
    *,
    settings: Settings,
) -> None:
    r"""Compare recordings with a model's simulations: heart rate, ejection time, embedding.

    For each recording: heart rate against the electrocardiogram, the model's ejection time against the dicrotic notch,
    how many fresh simulations lie nearer in the model's embedding, and the domain verdict; over eight subjects or more
    also tests whether the cohort could have been simulated. With --out FOLDER it also writes gap.json and gap.html.

    Arguments:
        places: Folders of recordings, or files.
        model: Name of a shipped model, or the folder of a bundle.
        every: Time from one window to the next.
        simulations: Fresh simulations to compare with.
        channel: Roles by channel name.
        unit: Units by channel name or role.
        fs: Sampling rate [Hz] where the file states none.
        settings: The shared options.

    Raises:
        CommandError: If an option cannot be read, or `--out` holds a gap.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["cohort", "gap", "no-such-folder"])
        3
    """
    labels, every_s = Labels.parse(channel, unit, fs), parse_interval("--every", every)
    if settings.has_out:
        new_folder(settings, ("gap.json", "gap.html"))
    import numpy as np
    import torch

    from ...calibration.cohort_gap import GapModel
    from ...calibration.rope.bundles import simulate_bank
    from ...inference.answering import Question
    from ...inference.bundle import Bundle, find_bundle, of_one_channel
    from ...inference.pooling.features import embed_windows
    from ...waveforms.cohort_files import find_recordings

    files, _ = find_recordings(places)
    bundle = of_one_channel(Bundle.load(find_bundle(model)), "cohort gap")
    torch.set_num_threads(settings.threads or 1)
    settings.talk(f"simulating {simulations} windows as {bundle.name} was trained on")
    bank = simulate_bank(bundle, simulations, seed=settings.seed)
    simulated = embed_windows(bundle.without_adapter(), bank.x)
    fitted = GapModel.fit(simulated)
    question = Question(every_s, n_draws=200, seed=settings.seed)
    rows, contexts = _rows(files, bundle, fitted, question, labels, settings)
    tests = _tests(contexts, np.asarray(simulated), settings.seed)
    found = {"model": bundle.name, "simulations": simulations, "recordings": rows, "tests": tests}
    if settings.has_out:
        from ..report.cohort import gap_page

        settings.out.mkdir(parents=True, exist_ok=True)
        (settings.out / "gap.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (settings.out / "gap.html").write_text(gap_page(rows, bundle.name, tests), encoding="utf-8")
    typer.echo(json.dumps(found, allow_nan=False) if settings.json else _page(found))
    if not any(row.get("usable") for row in rows):
        raise typer.Exit(int(ExitCode.REFUSED))


def _rows(
    files: Sequence[FoundFile], bundle: Any, fitted: Any, question: Any, labels: Labels, settings: Settings
) -> tuple[list[dict[str, Any]], dict[str, list[tuple[float, ...]]]]:
    """One row for each recording, and mean context vectors by subject."""
    from rich.console import Console
    from rich.progress import Progress

    from ...calibration.cohort_gap import recording_gap

    rows: list[dict[str, Any]] = []
    contexts: dict[str, list[tuple[float, ...]]] = {}
    with Progress(console=Console(stderr=True), disable=not settings.progress, transient=True) as bar:
        task = bar.add_task("recordings", total=len(files))
        for one in files:
            try:
                gap = recording_gap(bundle, fitted, labels.open_aloud(one.path), question)
                rows.append({"file": one.name, "subject": one.subject, **gap.to_json()})
                if gap.context:
                    contexts.setdefault(one.subject, []).append(gap.context)
            except (ValueError, OSError) as error:
                failure = describe(error)
                said = f"{failure.message}; try {failure.hint}" if failure.hint else failure.message
                rows.append({"file": one.name, "subject": one.subject, "error": said, "code": failure.code})
            bar.advance(task)
    return rows, contexts


def _tests(contexts: dict[str, list[tuple[float, ...]]], simulated: Any, seed: int) -> dict[str, Any]:
    """Tests over subjects; none where there are fewer than eight."""
    import numpy as np

    from ...calibration.misspecification import cohort_tests

    if len(contexts) < 8:
        return {}
    real = np.array([own[0] for own in contexts.values()])
    scale, centre = simulated.std(0) + 1e-6, simulated.mean(0)
    found = cohort_tests((real - centre) / scale, (simulated - centre) / scale, seed=seed)
    return {
        name: {"p": float(f"{t.p:.4g}"), "statistic": float(f"{t.statistic:.4g}"), "n": t.n}
        for name, t in found.items()
    }


def _page(found: dict[str, Any]) -> str:
    lines = [f"against {found['simulations']} simulations of {found['model']}"]
    for row in found["recordings"]:
        if "error" in row:
            lines.append(f"{row['file']}: refused: {row['error']}")
            continue
        if not row["usable"]:
            lines.append(f"{row['file']}: none of {row['windows']} windows is usable")
            continue
        rate, ejection = row["rate_against_ecg"], row["ejection_against_notch"]
        parts = [f"{row['usable']} of {row['windows']} windows"]
        if rate["beats"] is not None:
            parts.append(f"HR - ECG {rate['beats']:+.1f}, model's {rate['model']:+.1f} /min")
        if ejection["difference"] is not None:
            parts.append(f"LVET - notch {ejection['difference']:+.0f} ms (spread {ejection['spread'] or 0:.0f})")
        parts.append(f"{100 * row['embedding']['share_of_simulations_nearer']:.0f} % of simulations nearer")
        parts.append(", ".join(f"{name} {n}" for name, n in row["domain"].items()))
        lines.append(f"{row['file']}: {'; '.join(parts)}")
    for name, test in found["tests"].items():
        lines.append(f"could the cohort have been simulated? {name}: p = {test['p']:.3g} ({test['n']} subjects)")
    return "\n".join(lines)
