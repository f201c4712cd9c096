r"""`pulsebayes cohort build` and `cohort split`: recordings become a table, a table two without common subjects."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import CommandError, ExitCode
from .options import Settings, with_settings
from .recording_options import CHANNEL, FS, UNIT, Labels, parse_interval, parse_seconds
from .run_record import RECORD, write_run_record

if TYPE_CHECKING:
    from ...waveforms.cohort_build import Built, RecordingReport
    from ...waveforms.cohort_files import PassedOver

__all__ = ["COHORT", "TableFormat", "build_cohort_table", "new_folder", "split_cohort"]

COHORT = Annotated[Path, typer.Argument(metavar="COHORT", help="Table of a cohort, or the folder of `cohort build`.")]
_PLACES = Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders of recordings, or files.")]
_ROLE = Annotated[str, typer.Option(help="Role of the channel that is read.")]
_EVERY = Annotated[str, typer.Option(help="Time from one window to the next.")]
_REFERENCE = Annotated[
    str, typer.Option(metavar="A,B", help="Reference devices, most wanted first [any, independent ones first].")
]
_DELAY = Annotated[str, typer.Option(help="How far references lag [each device's own].", show_default=False)]
_KIND = Annotated[str, typer.Option(help="What NAME.reference.csv holds: independent or derived.")]
_BY_FOLDER = Annotated[bool, typer.Option("--by-folder", help="All recordings of a folder are one subject's.")]
_BENT = Annotated[bool, typer.Option("--keep-bent", help="Keep windows of damped or ringing lines and the like.")]
_SHARE = Annotated[float, typer.Option(help="Share of subjects in fit.csv.")]
_THIN = Annotated[str, typer.Option(help="At most one row in this time goes to fit.csv [all].", show_default=False)]
_THIN_TEST = Annotated[str, typer.Option(help="The same for test.csv [all].", show_default=False)]


class TableFormat(StrEnum):
    r"""How a cohort is written.

    Example:
        >>> TableFormat("csv").value
        'csv'
    """

    csv = "csv"
    parquet = "parquet"


_FORMAT = Annotated[TableFormat, typer.Option("--format", help="How the table is written.")]


@with_settings
def build_cohort_table(
    places: _PLACES,
    role: _ROLE = "ART",
    every: _EVERY = "20s",
    reference: _REFERENCE = "",
    delay: _DELAY = "",
    kind: _KIND = "",
    by_folder: _BY_FOLDER = False,
    keep_bent: _BENT = False,
    table_format: _FORMAT = TableFormat.csv,
    channel: CHANNEL = None,
    unit: UNIT = None,
    fs: FS = 0.0,
    *,
    settings: Settings,
) -> None:
    r"""Build a cohort from folders of recordings of any format.

    Every recording is cut into windows, gated, and paired with its references over the same time: monitor numbers of a
    .vital file, or NAME.reference.csv beside any other. Writes cohort.csv and build.json, which says of every file what
    was used and what was left out, and why, to --out. Subjects come from VitalDB's cases.csv, MIMIC's folders and
    records, else each file is one. Exit code 4 if no window can be used.

    Arguments:
        places: Folders of recordings, or files.
        role: Role of the channel that is read.
        every: Time from one window to the next.
        reference: Reference devices.
        delay: How far references lag.
        kind: Kind of references in tables beside recordings.
        by_folder: Whether all recordings of a folder are one subject's.
        keep_bent: Whether windows of a bent wave stay.
        table_format: How the table is written.
        channel: Roles by channel name.
        unit: Units by channel name or role.
        fs: Sampling rate [Hz] where the file states none.
        settings: The shared options.

    Raises:
        CommandError: If an option cannot be read, or `--out` is missing or holds a cohort.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["cohort", "build", "no-such-folder", "--out", "cohort"])
        3
    """
    from ...waveforms.cohort_build import BuildPlan, build_cohort
    from ...waveforms.cohort_files import find_recordings
    from ...waveforms.cohort_table import write_cohort_table

    labels, every_s = Labels.parse(channel, unit, fs), parse_interval("--every", every)
    devices = tuple(name.strip() for name in reference.split(",") if name.strip())
    delay_s = parse_seconds("--delay", delay) if delay else float("nan")
    plan = BuildPlan(role.upper(), every_s, devices=devices, delay_s=delay_s, kind=kind, keep_bent=keep_bent)
    files, passed = find_recordings(places, by_folder=by_folder)
    out = new_folder(settings, ("cohort.csv", "cohort.parquet", "build.json", RECORD))
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not settings.progress, transient=True) as bar:
        task = bar.add_task("recordings", total=len(files))
        built = build_cohort(files, plan, opened=labels.open_aloud, progress=lambda _: bar.advance(task))
    report = report_of(built, passed, plan)
    out.mkdir(parents=True, exist_ok=True)
    (out / "build.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    outputs = ["build.json"]
    if len(built.table):
        outputs.append(write_cohort_table(built.table, out / f"cohort.{table_format.value}").name)
    config = {"role": plan.role, "every_s": every_s, "reference": devices, "delay_s": delay or None, "kind": kind}
    config |= {"keep_bent": keep_bent, "by_folder": by_folder, "files": [one.name for one in files]}
    write_run_record(out, command="cohort build", config=config, outputs=outputs)
    _tell(report, built.reports, settings)
    if not len(built.table):
        raise typer.Exit(int(ExitCode.REFUSED))


def new_folder(settings: Settings, names: Sequence[str]) -> Path:
    r"""The folder of `--out`, which must not hold what is written unless `--force` is given.

    Arguments:
        settings: The shared options.
        names: What is written.

    Raises:
        CommandError: If `--out` is missing or holds one of these.

    Example:
        >>> new_folder(Settings(out=Path("new")), ["a"]).name
        'new'
    """
    if not settings.has_out:
        raise CommandError("this command writes a folder", code="usage", hint="--out FOLDER")
    there = [name for name in names if (settings.out / name).exists()]
    if there and not settings.force:
        raise CommandError(
            f"{settings.out.name} holds {', '.join(there[:3])} already", code="exists", hint="--force, or another --out"
        )
    for name in there:
        (settings.out / name).unlink()
    return settings.out


def report_of(built: Built, passed: Sequence[PassedOver], plan: Any) -> dict[str, Any]:
    """Everything that `build.json` says."""
    left: Counter[str] = Counter()
    for one in built.reports:
        left.update(one.left_out)
    used = [one for one in built.reports if one.status == "used"]
    return {
        "schema": 1,
        "role": plan.role,
        "every_s": plan.every_s,
        "length_s": plan.length_s,
        "rows": len(built.table),
        "subjects": built.table.n_subjects,
        "recordings": len(built.reports),
        "used": len(used),
        "refused": dict(Counter(one.reason for one in built.reports if one.status != "used")),
        "left_out": dict(left.most_common()),
        "hours": round(sum(one.duration_s for one in used) / 3600, 3),
        "labels": {name: int((values == values).sum()) for name, values in built.table.labels.items()},
        "devices": {
            device: {"kind": kind, "recordings": n}
            for (device, kind), n in sorted(Counter((one.device, one.kind) for one in used).items())
            if device
        },
        "passed_over": [{"file": p.name, "reason": p.reason, "detail": p.detail} for p in passed],
        "files": [one.to_json() for one in built.reports],
    }


def _tell(report: dict[str, Any], reports: Sequence[RecordingReport], settings: Settings) -> None:
    if settings.json:
        typer.echo(json.dumps(report, allow_nan=False))
        return
    for one in reports:
        if one.status == "used":
            label = f", {one.kind} reference {one.device}" if one.device else ", no reference"
            left = ", ".join(f"{name} {n}" for name, n in one.left_out.items())
            typer.echo(f"{one.file}: {one.rows} of {one.windows} windows{label}{f'; left out: {left}' if left else ''}")
        else:
            typer.echo(f"{one.file}: refused [{one.reason}] {one.message}")
    typer.echo(
        f"{report['rows']} windows of {report['subjects']} subjects in {report['used']} of {report['recordings']} "
        f"recordings, {report['hours']:.2f} h"
    )
    if settings.has_out:
        typer.echo(f"written to {settings.out}")


@with_settings
def split_cohort(
    cohort: COHORT,
    share: _SHARE = 0.5,
    thin: _THIN = "",
    thin_test: _THIN_TEST = "",
    *,
    settings: Settings,
) -> None:
    r"""Split a cohort by subject: fit.csv to calibrate with, test.csv to evaluate on.

    No subject is in both. --thin keeps at most one labelled row in so long of each recording in fit.csv: patients
    count there, not windows.

    Arguments:
        cohort: Table of a cohort.
        share: Share of subjects in fit.csv.
        thin: Least time between rows of a recording in fit.csv.
        thin_test: Least time between rows of a recording in test.csv.
        settings: The shared options.

    Raises:
        CommandError: If there are fewer than two subjects or the share leaves one side empty.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["cohort", "split", "none.csv", "--out", "halves"])
        3
    """
    import numpy as np

    from ...waveforms.cohort_table import find_cohort, read_cohort_table, write_cohort_table

    path = find_cohort(cohort)
    table = read_cohort_table(path)
    names = sorted(set(table.subjects))
    n = round(share * len(names))
    if not 0 < n < len(names):
        raise CommandError(
            f"--share {share:g} of {len(names)} subjects leaves one side empty", code="usage", hint="--share 0.5"
        )
    out = new_folder(settings, ("fit.csv", "test.csv", RECORD))
    chosen = set(np.random.default_rng(settings.seed).permutation(names)[:n].tolist())
    fit = [i for i, subject in enumerate(table.subjects) if subject in chosen]
    test = [i for i, subject in enumerate(table.subjects) if subject not in chosen]
    if thin:
        fit = _thinned(table, fit, parse_interval("--thin", thin))
    if thin_test:
        test = _thinned(table, test, parse_interval("--thin-test", thin_test))
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in (("fit.csv", fit), ("test.csv", test)):
        write_cohort_table(table.take(rows), out / name)
    config = {"cohort": path, "share": share, "thin": thin, "thin_test": thin_test}
    write_run_record(out, command="cohort split", config=config, inputs=[path], outputs=["fit.csv", "test.csv"],
                     seed=settings.seed)  # fmt: skip
    found = {"fit": {"rows": len(fit), "subjects": n}, "test": {"rows": len(test), "subjects": len(names) - n}}
    if settings.json:
        typer.echo(json.dumps(found))
        return
    for side, numbers in found.items():
        typer.echo(f"{side}.csv: {numbers['rows']} rows of {numbers['subjects']} subjects")


def _thinned(table: Any, rows: Sequence[int], apart_s: float) -> list[int]:
    """Rows of each recording at least so far apart."""
    kept: list[int] = []
    last: dict[Path, float] = {}
    for i in rows:
        start, file = float(table.start_s[i]), table.recordings[i]
        if start - last.get(file, -apart_s) >= apart_s - 1e-9:
            last[file] = start
            kept.append(i)
    return kept
