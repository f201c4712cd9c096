r"""`pulsebayes cohort inspect`: who is in a cohort, how much, and what was refused and why."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import typer

from .cohort_build import COHORT, new_folder
from .options import Settings, with_settings

__all__ = ["inspect_cohort"]


@with_settings
def inspect_cohort(cohort: COHORT, *, settings: Settings) -> None:
    r"""Show a cohort: subjects, recordings, references and labels, and what was left out, and why.

    With --out FOLDER it also writes cohort.html with figures.

    Arguments:
        cohort: Table of a cohort.
        settings: The shared options.

    Raises:
        CommandError: If `--out` holds a page.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["cohort", "inspect", "none.csv"])
        3
    """
    from ...waveforms.cohort_table import find_cohort, read_cohort_table

    path = find_cohort(cohort)
    table = read_cohort_table(path)
    build = _build(path)
    if settings.has_out:
        from ..report.cohort import cohort_page

        out = new_folder(settings, ("cohort.html",))
        out.mkdir(parents=True, exist_ok=True)
        (out / "cohort.html").write_text(cohort_page(table, build), encoding="utf-8")
        settings.talk(f"wrote {out.name}/cohort.html")
    found = _summary(table, build)
    typer.echo(json.dumps(found, allow_nan=False) if settings.json else _page(found))


def _build(path: Path) -> dict[str, Any]:
    """What `cohort build` reported beside the table; empty where there is none."""
    beside = path.with_name("build.json")
    if not beside.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
        return found if {"files", "left_out", "passed_over", "refused"} <= set(found) else {}
    except ValueError:
        return {}


def _summary(table: Any, build: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    from ...waveforms.quantities import QUANTITIES

    labels = {}
    for name, values in table.labels.items():
        known = values[np.isfinite(values)]
        if len(known):
            q05, q50, q95 = (float(f"{v:.5g}") for v in np.quantile(known, [0.05, 0.5, 0.95]))
            labels[name] = {"unit": QUANTITIES[name].unit, "windows": len(known), "q05": q05, "median": q50, "q95": q95}
    references = Counter(zip(table.devices, table.kinds, strict=True))
    return {
        "name": table.name,
        "windows": len(table),
        "subjects": table.n_subjects,
        "recordings": len(set(table.recordings)),
        "hours": round(float((table.end_s - table.start_s).sum()) / 3600, 3),
        "labels": labels,
        "references": [
            {"device": device or None, "kind": kind or None, "windows": n}
            for (device, kind), n in sorted(references.items())
        ],
        "left_out": build.get("left_out", {}),
        "refused": build.get("refused", {}),
        "refused_files": [
            {"file": one["file"], "reason": one["reason"], "message": one["message"]}
            for one in build.get("files", [])
            if one["status"] != "used"
        ],
    }


def _page(found: dict[str, Any]) -> str:
    lines = [
        f"{found['name']}: {found['windows']} windows ({found['hours']:.2f} h) of {found['subjects']} subjects in "
        f"{found['recordings']} recordings"
    ]
    for one in found["references"]:
        kind = one["kind"] or "no kind stated"
        lines.append(f"  reference {one['device'] or 'none'} ({kind}): {one['windows']} windows")
    for name, row in found["labels"].items():
        lines.append(
            f"  {name} [{row['unit']}]: {row['windows']} labels, median {row['median']:g}, 90 % between {row['q05']:g} "
            f"and {row['q95']:g}"
        )
    if found["left_out"]:
        lines.append("  left out: " + ", ".join(f"{reason} {n}" for reason, n in found["left_out"].items()))
    lines += [f"  refused {one['file']} [{one['reason']}]: {one['message']}" for one in found["refused_files"]]
    return "\n".join(lines)
