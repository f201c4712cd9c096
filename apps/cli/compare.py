r"""`pulsebayes compare`: what `infer` said of one recording against what a reference device said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import CommandError, ExitCode
from .options import Settings, with_settings
from .recording_options import parse_interval, parse_seconds

if TYPE_CHECKING:
    from ...inference.result import Result

__all__ = ["compare"]

_RESULT = Annotated[Path, typer.Argument(metavar="RESULT", help="A netCDF file that infer --out wrote.")]
_REFERENCE = Annotated[
    Path, typer.Argument(metavar="REFERENCE", help="Table of times and values (CSV), or a .vital file with a monitor.")
]
_WITHIN = Annotated[str, typer.Option(help="A reading is compared with the windows within this time of it.")]
_DELAY = Annotated[str, typer.Option(help="How far readings lag [0 s; a monitor's own].", show_default=False)]
_ZONE = Annotated[float, typer.Option(min=0.0, max=1.0, help="Changes below this share of the mean do not count.")]
_KIND = Annotated[str, typer.Option(help="What a table holds: independent or derived.")]
_FEWEST = 3


@with_settings
def compare(
    result: _RESULT,
    reference: _REFERENCE,
    within: _WITHIN = "30s",
    delay: _DELAY = "",
    zone: _ZONE = 0.1,
    kind: _KIND = "",
    *,
    settings: Settings,
) -> None:
    r"""Compare a result with the readings of a reference device.

    Each reading is paired with the mean of the window medians about its time; bias, limits of agreement, percentage
    error, correlation and trending are of this one recording, not of patients in general: `pulsebayes evaluate` is for
    those. With --out FILE.html it also writes figures. Exit code 4 if fewer than three readings can be paired.

    Arguments:
        result: A netCDF file that `infer --out` wrote.
        reference: Readings.
        within: Time about a reading.
        delay: How far readings lag.
        zone: Share of the mean below which changes do not count.
        kind: What a table holds.
        settings: The shared options.

    Raises:
        CommandError: If a file cannot be used or the page exists already.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["compare", "none.nc", "none.csv"])
        3
    """
    if kind not in ("", "independent", "derived"):
        raise CommandError(f"--kind must be independent or derived, got {kind!r}", code="usage", hint="--kind derived")
    if settings.has_out and settings.out.exists() and not settings.force:
        raise CommandError(f"{settings.out.name} is there already", code="exists", hint="--force, or another --out")
    within_s, delay_s = parse_interval("--within", within), parse_seconds("--delay", delay) if delay else float("nan")
    from ...inference.result import read_result

    try:
        found = read_result(result)
    except ValueError as error:
        hint = "pulsebayes infer FILE --out FOLDER"
        raise CommandError(str(error), code="result", hint=hint, exit_code=ExitCode.UNREADABLE) from error
    device, kind, readings = _readings(reference, delay_s, kind)
    rows, figures = _rows(found, readings, within_s, zone)
    if settings.has_out:
        _write(settings.out, f"{device} ({kind or 'kind not stated'})", figures)
    shown = {"model": found.model, "reference": {"device": device, "kind": kind or None}, "quantities": rows}
    typer.echo(json.dumps(shown, allow_nan=False) if settings.json else _page(shown))
    if not any("bias" in row for row in rows.values()):
        raise typer.Exit(int(ExitCode.REFUSED))


def _readings(path: Path, delay_s: float, kind: str) -> tuple[str, str, Mapping[str, Sequence[tuple[float, float]]]]:
    """Device, kind, and readings by quantity at the times they stand for."""
    import math

    if path.suffix.lower() == ".vital":
        from ...waveforms.cohort_references import read_references

        found = read_references(path, delay_s=delay_s)
        pairs = {
            name: [(t - found.delay_s, v) for t, v in zip(one.times_s.tolist(), one.values.tolist(), strict=True)]
            for name, one in found.series.items()
        }
        return found.device or "none", found.kind, pairs
    from ...calibration.reference import ReferenceTableError, read_reference

    try:
        values = read_reference(path.read_text(encoding="utf-8-sig", errors="replace")).values
    except ReferenceTableError as error:
        raise CommandError(
            f"{path.name}: {error}", code="reference", hint=error.hint, exit_code=ExitCode.UNREADABLE
        ) from error
    lag = delay_s if math.isfinite(delay_s) else 0.0
    return "table", kind, {name: [(t - lag, v) for t, v in pairs] for name, pairs in values.items()}


def _rows(
    found: Result, readings: Mapping[str, Sequence[tuple[float, float]]], within_s: float, zone: float
) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[Any, Any]]]:
    import numpy as np

    from ...calibration.agreement import agree, pair_up, track

    answers = found.answers
    starts, ends = [w.start_s for w in answers], [w.end_s for w in answers]
    rows: dict[str, dict[str, Any]] = {}
    figures: dict[str, tuple[Any, Any]] = {}
    for name, pairs in readings.items():
        if not answers or name not in answers[0].estimates:
            continue
        medians = [w.estimates[name].median for w in answers]
        _, estimate, reference = pair_up(starts, ends, medians, pairs, within_s=within_s)
        row: dict[str, Any] = {"unit": answers[0].estimates[name].unit, "pairs": len(estimate)}
        rows[name] = row
        if len(estimate) < _FEWEST:
            continue
        limits = agree(estimate, reference)
        trend = track(estimate, reference, zone=zone * float(np.abs(reference).mean()))
        steady = np.ptp(estimate) == 0 or np.ptp(reference) == 0
        correlation = float("nan") if steady else float(np.corrcoef(estimate, reference)[0, 1])
        numbers = {"bias": limits.bias, "limit_low": limits.low, "limit_high": limits.high,
                   "percentage_error": limits.percentage_error, "pearson": correlation,
                   "concordance": trend.concordance}  # fmt: skip
        row |= {key: float(f"{v:.5g}") if np.isfinite(v) else None for key, v in numbers.items()}
        row["changes_counted"] = trend.counted
        figures[name] = (limits, trend)
    return rows, figures


def _write(target: Path, reference: str, figures: Mapping[str, tuple[Any, Any]]) -> None:
    import dataclasses
    from html import escape

    from ..figures.evidence import agreement, trending
    from ..report.cohort import html_page
    from ..report.page import show_figure

    parts = [f"<p>Reference: <b>{escape(reference)}</b>. Limits and trends are of this recording only.</p>"]
    for name, (limits, trend) in figures.items():
        for picture in (agreement(limits, name), trending(trend, name)):
            said = f" Reference: {reference}."
            own = dataclasses.replace(
                picture, key=f"{picture.key}-{name}", title=picture.title + said, alt=picture.alt + said
            )
            parts.append(show_figure(own))
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.part")
    draft.write_text(html_page("Against a reference", parts), encoding="utf-8")
    draft.replace(target)


def _page(shown: Mapping[str, Any]) -> str:
    reference = shown["reference"]
    lines = [f"{shown['model']} against {reference['device']} ({reference['kind'] or 'kind not stated'})"]
    for name, row in shown["quantities"].items():
        if "bias" not in row:
            lines.append(f"{name}: {row['pairs']} pairs, at least {_FEWEST} are needed")
            continue
        same = "–" if row["concordance"] is None else f"{100 * row['concordance']:.0f} %"
        lines.append(
            f"{name} [{row['unit']}]: {row['pairs']} pairs, bias {row['bias']:+.2f}, limits {row['limit_low']:+.2f} to "
            f"{row['limit_high']:+.2f}, percentage error {100 * row['percentage_error']:.0f} %, concordance {same} of "
            f"{row['changes_counted']} changes"
        )
    if not shown["quantities"]:
        lines.append("no quantity is in both")
    return "\n".join(lines)
