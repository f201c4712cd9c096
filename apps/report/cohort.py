r"""Pages of cohorts: who is in one and what was refused, and how far its recordings are from the simulations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from ...waveforms.cohort_table import CohortTable
from ..figures.estimates import quantity_of
from ..figures.marks import Bars, Panel, Picture, Points, Rule, Table
from .page import NOTICE, read_style, show_figure

__all__ = ["cohort_page", "gap_page", "html_page", "html_table"]


def html_page(title: str, parts: Sequence[str]) -> str:
    r"""A self-contained page: no script, nothing from elsewhere.

    Arguments:
        title: Its title.
        parts: Its body.

    Example:
        >>> "a &lt;b&gt;" in html_page("a <b>", ["<p>c</p>"])
        True
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><style>{read_style()}</style></head>'
        f'<body><main><h1>{escape(title)}</h1><p class="notice">{NOTICE}</p>{"".join(parts)}</main>'
        f'<footer><p class="notice">{NOTICE}</p></footer></body></html>\n'
    )


def html_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    r"""A table, escaped.

    Arguments:
        columns: Headings.
        rows: Cells.

    Example:
        >>> html_table(["a"], [["<"]])
        '<table><thead><tr><th scope="col">a</th></tr></thead><tbody><tr><td>&lt;</td></tr></tbody></table>'
    """
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def cohort_page(table: CohortTable, build: Mapping[str, Any]) -> str:
    r"""Who is in a cohort, how much, and what was refused and why.

    Arguments:
        table: The cohort.
        build: What `cohort build` reported; empty where it is not known.

    Example:
        >>> from pathlib import Path
        >>> rows = CohortTable("c", ("s",), (Path("a"),), np.zeros(1), np.full(1, 8.0), ("",), ("",), {})
        >>> "1 windows of 1 subjects" in cohort_page(rows, {})
        True
    """
    parts = [f"<p>{len(table)} windows of {table.n_subjects} subjects in {len(set(table.recordings))} recordings.</p>"]
    kinds = sorted({(d, k) for d, k in zip(table.devices, table.kinds, strict=True) if d or k})
    for device, kind in kinds:
        parts.append(f"<p>Reference <b>{escape(device or 'table')}</b>: {escape(kind or 'kind not stated')}.</p>")
    parts.append(show_figure(_subjects(table)))
    for name, values in table.labels.items():
        if np.isfinite(values).sum() > 1:
            parts.append(show_figure(_labels(name, values)))
    if build:
        left = [[reason, n] for reason, n in build["left_out"].items()]
        parts.append("<h2>Windows left out</h2>" + html_table(["reason", "windows"], left))
        refused = [[f["file"], f["reason"], f["message"]] for f in build["files"] if f["status"] != "used"]
        parts.append("<h2>Recordings refused</h2>" + html_table(["file", "reason", "what to try"], refused))
        passed = [[p["file"], p["reason"], p["detail"]] for p in build["passed_over"]]
        parts.append("<h2>Passed over</h2>" + html_table(["file", "reason", "of"], passed))
    return html_page(f"Cohort {table.name}", parts)


def gap_page(rows: Sequence[Mapping[str, Any]], model: str, tests: Mapping[str, Any]) -> str:
    r"""How far recordings are from the simulations of a model.

    Arguments:
        rows: One for each recording, as `cohort gap --json` prints them.
        model: Name of the model.
        tests: Tests over the cohort; empty where there were too few recordings.

    Example:
        >>> "no recording" in gap_page([], "m", {})
        True
    """
    used = [row for row in rows if "error" not in row and row["usable"]]
    parts = [f"<p>Against simulations of <b>{escape(model)}</b>; each recording by itself.</p>"]
    if not used:
        parts.append("<p>There is no recording with a usable window.</p>")
    else:
        parts.append(show_figure(_embedding(used)))
        head = ["recording", "usable", "HR - ECG [1/min]", "LVET - notch [ms]", "simulations nearer", "domain"]
        parts.append(html_table(head, [_gap_row(row) for row in used]))
    for name, test in tests.items():
        said = f"{escape(name)}: p = {test['p']:.3g} ({test['n']} subjects)"
        parts.append(f"<p>{said}</p>")
    failed = [[row["file"], row["error"]] for row in rows if "error" in row]
    if failed:
        parts.append("<h2>Refused</h2>" + html_table(["recording", "why"], failed))
    return html_page("Simulated against real", parts)


def _gap_row(row: Mapping[str, Any]) -> list[str]:
    rate, ejection = row["rate_against_ecg"], row["ejection_against_notch"]
    domain = ", ".join(f"{name} {n}" for name, n in row["domain"].items())
    near = row["embedding"]["share_of_simulations_nearer"]
    spread = "" if ejection["spread"] is None else f" ± {ejection['spread']}"
    return [row["file"], f"{row['usable']} of {row['windows']}", _or_dash(rate["beats"]),
            _or_dash(ejection["difference"]) + spread, _or_dash(near), domain]  # fmt: skip


def _or_dash(value: object) -> str:
    return "–" if value is None else str(value)


def _embedding(rows: Sequence[Mapping[str, Any]]) -> Picture:
    shares = [row["embedding"]["share_of_simulations_nearer"] for row in rows]
    names = tuple(str(row["file"])[-40:] for row in rows)
    marks = (Points("recordings", shares, list(range(len(rows))), "posterior", "circle", 8),
             Rule("a simulation's median", 0.5))  # fmt: skip
    far = sum(share > 0.95 for share in shares)
    alt = f"Share of simulations that lie nearer to their mean: {far} of {len(rows)} recordings lie beyond 95 %."
    table = Table(("recording", "share"), tuple((n, f"{s:.2f}") for n, s in zip(names, shares, strict=True)))
    panel = Panel(marks, x_label="share of simulations nearer", x_range=(0, 1.02), y_names=names,
                  y_range=(-0.7, len(rows) - 0.3))  # fmt: skip
    return Picture("embedding", "How far from the simulations?", alt, table, (panel,), height=24 * len(rows) + 110)


def _subjects(table: CohortTable) -> Picture:
    names = sorted(set(table.subjects))
    counts = [sum(s == name for s in table.subjects) for name in names]
    panel = Panel((Bars("windows", list(range(len(names))), counts, 0.8),), x_label="subject", y_label="windows")
    alt = f"Windows of {len(names)} subjects: {min(counts)} to {max(counts)}, median {np.median(counts):.0f}."
    rows = tuple((str(i + 1), str(n)) for i, n in enumerate(counts))
    return Picture("subjects", "How much of whom", alt, Table(("subject", "windows"), rows), (panel,), height=240)


def _labels(name: str, values: np.ndarray) -> Picture:
    q = quantity_of(name)
    known = values[np.isfinite(values)]
    counts, edges = np.histogram(known, bins=30)
    middles, width = 0.5 * (edges[1:] + edges[:-1]), float(edges[1] - edges[0])
    low, middle, high = np.quantile(known, [0.05, 0.5, 0.95])
    alt = f"{len(known)} labels of {q.name}: 5 % below {low:.3g}, half below {middle:.3g}, "
    alt += f"95 % below {high:.3g} {q.unit}."
    rows = tuple((f"{m:.4g}", str(int(n))) for m, n in zip(middles, counts, strict=True))
    panel = Panel((Bars("windows", middles, counts, width),), x_label=q.label, y_label="windows")
    title = f"Reference {q.name}"
    return Picture(f"labels-{name}", title, alt, Table((q.label, "windows"), rows), (panel,), height=240)
