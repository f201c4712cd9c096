r"""`pulsebayes inspect`: what a file holds, and what the quality gate says about each window."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import CommandError, describe, tell
from .options import Settings, with_settings
from .recording_options import CHANNEL, FILES, FS, UNIT, Labels, parse_interval

if TYPE_CHECKING:
    from ...waveforms.quality import Finding
    from ...waveforms.recording import Recording
    from ...waveforms.windows import Window

__all__ = ["inspect"]

_JUDGED = ("ART", "AO", "FEM", "PLETH", "CVP")


@with_settings
def inspect(
    files: FILES,
    channel: CHANNEL = None,
    unit: UNIT = None,
    fs: FS = 0.0,
    every: Annotated[str, typer.Option(help="Time from one window to the next.")] = "8s",
    plot: Annotated[bool, typer.Option("--plot", help="Write a picture, FILE.png, to --out [here].")] = False,
    html: Annotated[bool, typer.Option("--html", help="Write a page, FILE.html, to --out [here].")] = False,
    *,
    settings: Settings,
) -> None:
    r"""Show channels, roles, units, rates, gaps and faults.

    One window after another is judged by the quality gate, on one channel each of ART, AO, FEM, PLETH and CVP. Heart
    rates of several channels are compared. --plot and --html draw channels, lanes of findings and examples.

    Arguments:
        files: Waveform files.
        channel: Roles by channel name.
        unit: Units by channel name or role.
        fs: Sampling rate [Hz] where the file states none.
        every: Time from one window to the next.
        plot: Whether a picture is written.
        html: Whether a page is written.
        settings: The shared options.

    Raises:
        CommandError: If an option cannot be read, or a picture is there already.

    Example:
        >>> from pathlib import Path
        >>> from pulsebayes.apps.cli.main import run
        >>> _ = Path("abp.csv").write_text("ABP [mmHg]\n" + "80\n" * 1000)
        >>> run(["inspect", "abp.csv", "--fs", "125"])  # doctest: +ELLIPSIS
        abp.csv: 8.0 s
        ...
        0
    """
    step = parse_interval("--every", every)
    labels = Labels.parse(channel, unit, fs)
    exit_code = 0
    for path in files:
        try:
            recording = labels.open(path)
            report = inspect_recording(recording, every_s=step, numbers=_numbers(path))
            written = _draw(recording, report, plot, html, settings)
        except (ValueError, OSError) as error:
            failure = describe(error)
            exit_code = exit_code or tell(failure, as_json=settings.json)
            continue
        for target in written:
            settings.talk(f"wrote {target.name}")
        typer.echo(json.dumps(report, allow_nan=False) if settings.json else _page(report))
    raise typer.Exit(exit_code)


def _draw(recording: Recording, report: dict[str, Any], plot: bool, html: bool, settings: Settings) -> list[Path]:
    if not (plot or html):
        return []
    from .inspect_picture import write_pictures

    settings.out.mkdir(parents=True, exist_ok=True)
    wanted = [settings.out / f"{recording.name}{suffix}" for suffix in (".png", ".html")]
    targets = [target if asked else None for target, asked in zip(wanted, (plot, html), strict=True)]
    taken = next((target for target in targets if target is not None and target.exists()), None)
    if taken is not None and not settings.force:
        raise CommandError(f"{taken.name} exists", code="exists", hint="--force writes over it")
    return write_pictures(recording, report, *targets)


def _numbers(path: Path) -> dict[str, Any]:
    r"""What a monitor wrote beside the waves, for files that hold it."""
    from ...waveforms.readers import read_numbers, sniff

    return dict(read_numbers(path)) if sniff(path).kind == "vital" else {}


def inspect_recording(recording: Recording, *, every_s: float, numbers: dict[str, Any] | None = None) -> dict[str, Any]:
    r"""What a recording holds, as the object that `inspect --json` prints.

    Arguments:
        recording: The recording.
        every_s: Time from one window to the next [s].
        numbers: Numbers of the monitor, by track.

    Returns:
        File, duration, findings, channels, checks and windows; None where something is not known. The windows are
        those of the channel `judged`, `other_windows` those of the first channel of every other role, by name.
    """
    from ...waveforms.recording import missing_share

    channels = [
        {
            "name": c.name,
            "role": c.role,
            "unit": c.unit,
            "fs": c.fs,
            "start_s": c.start_s,
            "duration_s": c.duration_s,
            "missing": missing_share(recording, c.name),
            "findings": list(c.findings),
        }
        for c in recording.channels
    ]
    every = _judged(recording)
    judged = every[0] if every else None
    return {
        "file": recording.name,
        "duration_s": recording.duration_s,
        "findings": list(recording.findings),
        "channels": channels,
        "checks": _checks(recording, every, numbers),
        "judged": judged,
        "windows": _windows(recording, judged, every_s) if judged else [],
        "other_windows": {name: _windows(recording, name, every_s) for name in every[1:]},
        "hint": None if judged else _hint(recording),
    }


def _checks(recording: Recording, judged: list[str], numbers: dict[str, Any] | None) -> list[dict[str, Any]]:
    r"""What channels say of each other, what is mostly missing, and stretches before a catheter was zeroed."""
    from ...waveforms.crosscheck import cross_check, unzeroed_until
    from ...waveforms.recording import MAX_MISSING, missing_share
    from ...waveforms.roles import PRESSURE_ROLES

    found = [_told(f) for f in cross_check(recording, numbers=numbers)]
    for name in judged:
        channel = recording.channel(name)
        begin, end = channel.start_s, channel.start_s + channel.duration_s
        missing = missing_share(recording, name)
        if missing > MAX_MISSING:
            text = f"{name}: {missing:.0%} of the samples are missing, and infer takes at most {MAX_MISSING:.0%}"
            found.append({"code": "too-much-missing", "message": text, "start_s": begin, "end_s": end, "marks": []})
        pressure = channel.role in PRESSURE_ROLES and channel.unit == "mmHg"
        zeroed = unzeroed_until(recording, name) if pressure else begin
        if zeroed > begin and math.isfinite(zeroed):
            text = f"{name}: no pressure before {zeroed:.0f} s: the catheter was not yet connected and zeroed"
            found.append({"code": "not-zeroed", "message": text, "start_s": begin, "end_s": zeroed, "marks": []})
    return found


def _told(f: Finding) -> dict[str, Any]:
    return {"code": f.code, "message": f.message, "start_s": f.start_s, "end_s": f.end_s, "marks": list(f.marks)}


def _hint(recording: Recording) -> str | None:
    r"""What the recording itself suggests where it has no channel with pulses."""
    try:
        recording.channel("ART")
    except ValueError as error:
        return getattr(error, "hint", None)
    return None


def _judged(recording: Recording) -> list[str]:
    r"""Names of the channels whose windows are judged: the first of each role that is fast enough to draw a pulse."""
    from ...waveforms.quality import LEAST_HZ
    from ...waveforms.windows import MOST_HZ

    found = []
    for role in _JUDGED:
        of_role = [c for c in recording.channels if c.role == role]
        fast = [c for c in of_role if LEAST_HZ <= c.fs <= MOST_HZ]
        found += [c.name for c in fast[:1]]
    return found or [c.name for c in recording.channels if c.role in _JUDGED][:1]


def _windows(recording: Recording, judged: str, every_s: float) -> list[dict[str, Any]]:
    from ...waveforms.windows import cut_windows

    return [_window(w) for w in cut_windows(recording, (judged,), every_s=every_s)]


def _window(window: Window) -> dict[str, Any]:
    verdict = window.verdict
    return {
        "start_s": window.start_s,
        "end_s": window.end_s,
        "usable": verdict.usable,
        "reason": verdict.reason,
        "hint": verdict.hint,
        "at_s": verdict.at_s,
        "message": verdict.message or None,
        "heart_rate": _finite(verdict.heart_rate),
        "mean": _finite(verdict.mean),
        "findings": [_told(f) for f in verdict.findings],
    }


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _page(report: dict[str, Any]) -> str:
    lines = [f"{report['file']}: {report['duration_s']:.1f} s"]
    lines += [f"  note: {text}" for text in report["findings"]]
    lines += [f"  check: {check['message']}" for check in report["checks"]]
    width = max((len(c["name"]) for c in report["channels"]), default=7)
    lines.append(f"  {'channel':{max(width, 7)}}  role   unit     rate [Hz]  length [s]  missing")
    for c in report["channels"]:
        lines.append(
            f"  {c['name']:{max(width, 7)}}  {c['role'] or '-':5}  {c['unit'] or '-':7}  {c['fs']:9.3f}"
            f"  {c['duration_s']:10.1f}  {c['missing']:7.1%}"
        )
        lines += [f"    note: {text}" for text in c["findings"]]
    if report["judged"] is None:
        return "\n".join([*lines, f"  no channel with pulses; try: {report['hint'] or '--channel NAME=ART'}"])
    for name, windows in {report["judged"]: report["windows"], **report["other_windows"]}.items():
        usable = sum(w["usable"] for w in windows)
        lines.append(f"  windows of {name}: {len(windows)}, usable {usable}")
        lines += [f"    {w['start_s']:7.1f} s  {_window_text(w)}" for w in windows]
    return "\n".join(lines)


def _window_text(window: dict[str, Any]) -> str:
    if not window["usable"]:
        return f"refused, {window['reason']}: {window['message']}" + (f" | {window['hint']}" if window["hint"] else "")
    rate = "-" if window["heart_rate"] is None else f"{window['heart_rate']:.0f} /min"
    mean = "-" if window["mean"] is None else f"{window['mean']:.1f}"
    notes = "; ".join(f["message"] for f in window["findings"])
    return f"usable, rate {rate}, mean {mean}" + (f" | {notes}" if notes else "")
