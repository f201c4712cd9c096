r"""The card of a pooling layer: what was measured of pooled answers, beside the card of the window model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..card import markdown_table
from ..patient.card import worth_of

__all__ = ["render_pooling_card"]

_KNOWN = ("", "age", "sex", "height", "age+sex", "age+height", "aorta", "age+height+aorta")
_SENSOR = {
    "called elsewhere": "Changes found where there was none, by recording",
    "sensor changes": "Sensor changes found",
    "sensor changes taken for patients": "Sensor changes taken for a new patient",
}


def render_pooling_card(name: str, measured: Mapping[str, Any]) -> str:
    r"""Writes the card as Markdown.

    Arguments:
        name: Name of the bundle.
        measured: What the layer keeps as measured.

    Returns:
        The card; parts that were not measured are left out.

    Example:
        >>> render_pooling_card("tiny", {}).splitlines()[0]
        '# tiny: one patient, many windows'
    """
    parts = [
        f"# {name}: one patient, many windows\n\n"
        "`infer` pools the windows of a recording: what a patient's windows share is inferred from all of them.\n"
        "Measured on held-out simulated recordings of other seeds, through the same sensor model, no patients; of the\n"
        "linear network but where another is said."
    ]
    if measured.get("coverage_by_pool"):
        parts.append(_by_pool(measured))
    if measured.get("finer"):
        parts.append(_by_pool(measured["finer"], "Coverage where walls stiffen"))
    if measured.get("given"):
        parts.append(_by_channel(measured["given"]))
    if measured.get("patients"):
        parts += _by_patient(measured["patients"])
    if measured.get("trend") or measured.get("changes"):
        parts.append(_others(measured))
    return "\n\n".join(parts) + "\n"


def _by_pool(measured: Mapping[str, Any], title: str = "Coverage") -> str:
    """Coverage by windows of a pool, and with references."""
    columns = {f"{size} windows": part for size, part in measured["coverage_by_pool"].items()}
    anchored = measured.get("anchored") or {}
    if anchored.get("coverage"):
        columns["one CO of 10 % error known"] = anchored["coverage"]
    heads = ["quantity", *(f"{column}: {level} %" for column in columns for level in (50, 90))]
    names = dict.fromkeys(name for part in columns.values() for name in part["0.9"])
    rows = [
        [name, *(_percent(part[level].get(name)) for part in columns.values() for level in ("0.5", "0.9"))]
        for name in names
    ]
    recordings = measured.get("recordings_by_pool", {})
    told = ", ".join(f"{n} of {size}" for size, n in recordings.items())
    head = f"## {title}\n\nShares of truths held by 50 and 90 % intervals, in per cent, by windows of the pool"
    head += ", of the non-linear network" if "simulator" in measured else ""
    errors = [
        max(v for row in levels.values() for v in row.values())
        for levels in measured.get("standard_error", {}).values()
    ]
    head += f" (recordings: {told})." if told else "."
    if errors:
        head += " One standard error is up to " + ", ".join(f"{100 * error:.1f}" for error in errors) + " points."
    return f"{head}\n\n{markdown_table(heads, rows)}"


def _by_channel(given: Mapping[str, Mapping[str, Any]]) -> str:
    """Error of stroke volume and output by the channels given."""
    heads = ["given", "in pools", "recordings", "SV alone", "SV pooled", "CO alone", "CO pooled"]
    rows = [
        [channels, kind, str(error["recordings"]), *_errors(error)]
        for channels, found in given.items()
        for kind, error in found["error"].items()
    ]
    head = "## By channels\n\nMedian error of the logarithm of the posterior median, of windows with these channels,\n"
    head += "alone and pooled: in pools alike, and in pools that hold windows with other channels.\n\n"
    return head + markdown_table(heads, rows)


def _by_patient(informed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What knowing the patient is worth, by windows of the pool."""
    told = [
        "## What is known of the patient\n\n"
        "With `--patient`: spread of the posterior over that of the pool's waves alone, effective share of draws,\n"
        "pools refused, and the least and most that intervals hold of any quantity. `pooling.json` holds every part."
    ]
    for size, n in informed[""]["recordings_by_pool"].items():
        rows = {
            known: {
                "n": n,
                "coverage": informed[known]["coverage_by_pool"][size],
                **{key: informed[known][key][size] for key in ("spread", "effective", "refused")},
            }
            for known in _KNOWN
            if known in informed  # layers before diameters know nothing of the root
        }
        told.append(worth_of(f"Pools of {size} windows", rows, what="pools"))
    return told


def _errors(error: Mapping[str, Any]) -> list[str]:
    return [f"{error[kind][name]:.3f}" for name in ("SV", "CO") for kind in ("window", "recording")]


def _others(measured: Mapping[str, Any]) -> str:
    lines = ["## Trend and changes\n"]
    trend = measured.get("trend") or {}
    for name in trend.get("window", {}):
        alone, pooled = trend["window"][name], trend["recording"][name]
        lines.append(f"- Trend of {name} within a recording, error of the logarithm: {alone:.4f}, pooled {pooled:.4f}.")
    changes = measured.get("changes") or {}
    if changes.get("splices"):
        share, of = changes["splices"]["share"], changes["splices"]["of"]
        lines.append(f"- Two patients spliced: {100 * share:.1f} % of {of} found within three windows.")
    if quiet := changes.get("quiet"):
        low, high = quiet["between"]
        lines.append(
            f"- False splits: {quiet['false_splits']} in {quiet['hours']:.0f} h apart from those that the limits were "
            f"set in, {100 * quiet['an_hour']:.1f} % an hour (95 %: {100 * low:.1f} to {100 * high:.1f}); "
            f"there {100 * quiet['splices']['share']:.1f} % of {quiet['splices']['of']} splices found."
        )
    if changes.get("sensors"):
        lines.append("- In recordings held out from the detector, whose sensors all change, some after they slipped:")
    for what, found in (changes.get("sensors") or {}).items():
        lines.append(
            f"  - {_SENSOR.get(what, f'Sensor changes {what} found')}: {100 * found['share']:.1f} % of {found['of']}."
        )
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
