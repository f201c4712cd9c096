r"""The page of an evaluation: every method beside the model, every figure with the kind of its reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ...calibration.agreement import agree_repeated, track
from ..figures.estimates import quantity_of
from ..figures.evidence import agreement, trending
from ..figures.marks import Band, Line, Panel, Picture, Points, Table, percent
from .cohort import html_page, html_table
from .page import show_figure

if TYPE_CHECKING:
    from ...calibration.cohorts.protocol import Pairing

__all__ = ["evaluation_page"]

_SHOWN = (
    ("error", "median error", True),
    ("rmse", "RMS error", True),
    ("bias", "bias", False),
    ("limit_low", "lower limit", False),
    ("limit_high", "upper limit", False),
    ("percentage_error", "percentage error", True),
    ("percentage_error_own", "less the reference's", True),
    ("pearson", "Pearson", False),
    ("spearman", "Spearman", False),
    ("spearman_between", "between subjects", False),
    ("spearman_within", "within, median", False),
    ("concordance", "4-quadrant", True),
    ("polar", "polar ± 30°", True),
    ("direction", "direction 5 min", True),
)
_MOST_POINTS = 3000
_POOLED = {
    "window": "",
    "causal": ", each told by the windows of its recording up to it",
    "recording": ", each told by all windows of its recording",
}


def evaluation_page(found: Mapping[str, Any], pairs: Mapping[str, Pairing]) -> str:
    r"""Writes the page.

    Arguments:
        found: What `evaluate_cohort` measured, with `model` and `cohort`.
        pairs: Bins of each quantity, before calibration.

    Example:
        >>> nothing = {"rows": 1, "subjects": 1, "recordings": 1, "answered": 0, "refused": {}, "verdicts": {}}
        >>> found = {"model": "m", "cohort": "c", "references": [], "windows": nothing, "quantities": {}, "regions": {}}
        >>> "0 of 1 windows" in evaluation_page(found, {})
        True
    """
    windows = found["windows"]
    kinds, pooled = _kinds(found["references"]), _POOLED[found.get("pool", "window")]
    parts = [
        f"<p>Model <b>{escape(found['model'])}</b> on <b>{escape(found['cohort'])}</b>: {windows['answered']} of "
        f"{windows['rows']} windows of {windows['subjects']} subjects answered{pooled}.</p>",
        f"<p><b>References:</b> {escape(kinds)}.</p>",
        "<p>Errors are shares of the reference; intervals of 5 to 95 % by drawing subjects. "
        "Limits of agreement allow for several pairs of each subject. Nothing was fitted on this cohort by this page; "
        "a model that was must have had other subjects.</p>",
    ]
    refused = [[reason, n] for reason, n in windows["refused"].items()]
    parts.append("<h2>Windows</h2>" + html_table(["refused for", "windows"], refused) if refused else "")
    for names, held in found["regions"].items():
        parts.append(f"<p>Conformal region of {escape(names)}: {_held(held)}.</p>")
    for name, row in found["quantities"].items():
        parts += _quantity(name, row, pairs.get(name), kinds)
    return html_page(f"Evaluation of {found['model']}", parts)


def _kinds(references: Sequence[Mapping[str, Any]]) -> str:
    said = [f"{one['device'] or 'table'} ({one['kind'] or 'kind not stated'})" for one in references]
    return ", ".join(said) or "none"


def _held(held: Mapping[str, Any]) -> str:
    if held["coverage"] is None:
        return "cannot be told"
    return (
        f"holds {percent(held['coverage'])} ({percent(held['low'])} to {percent(held['high'])}) of references, "
        f"{held['subjects']:.0f} subjects"
    )


def _quantity(name: str, row: Mapping[str, Any], pairing: Pairing | None, kinds: str) -> list[str]:
    q = quantity_of(name)
    parts = [f"<h2>{escape(q.name.capitalize())} ({escape(name)})</h2>"]
    for title, key in (("As estimated", "methods"), ("After calibration with one reference value", "one_point")):
        if row[key]:
            parts.append(f"<h3>{title}</h3>" + _methods(row[key], q.unit))
    apart = [[method, _cell(measure, True)] for method, measure in row.get("one_point_less_model", {}).items()]
    if apart:
        parts.append("<p>Mean error in the same minutes, less the model's (positive: the model is better):</p>")
        parts.append(html_table(["method", "less the model's"], apart))
    if pairing is not None and len(pairing) > 1:
        parts += [show_figure(_named(one, name, kinds)) for one in _figures(name, pairing)]
    if row.get("rejection"):
        parts.append(show_figure(_named(_rejection(name, row["rejection"]), name, kinds)))
        rule = row["uninformative_rule"]
        if rule["share_of_prior"] is not None:
            parts.append(
                f"<p>A median error of {percent(rule['stated_error'])} is met by the surest {percent(rule['kept'])}: "
                f"intervals up to {rule['share_of_prior']:.2f} of the prior's.</p>"
            )
    levels = [[percent(float(level)), _held(held)] for level, held in row["coverage"].items()]
    parts.append("<h3>Credible intervals</h3>" + html_table(["level", f"reference {kinds}"], levels))
    groups = [[by, group, _held(held)] for by, members in row["subgroups"].items() for group, held in members.items()]
    parts.append("<h3>90 % interval by subgroup</h3>" + html_table(["by", "group", "coverage"], groups))
    return parts


def _methods(methods: Mapping[str, Any], unit: str) -> str:
    head = ["method", *(title for _, title, _ in _SHOWN)]
    rows = [[name, *(_cell(own[key], share) for key, _, share in _SHOWN)] for name, own in methods.items()]
    return html_table(head, rows) + f"<p>Bias and limits in {escape(unit)}.</p>"


def _cell(measure: Mapping[str, Any], share: bool) -> str:
    value, low, high = (measure[key] for key in ("value", "low", "high"))
    if value is None:
        return "–"
    ends = "" if low is None or high is None else f" ({_shown(low, share)} to {_shown(high, share)})"
    return _shown(value, share) + ends


def _shown(value: float, share: bool) -> str:
    return f"{100 * value:.0f} %" if share else f"{value:.3g}"


def _figures(name: str, pairing: Pairing) -> list[Picture]:
    """Agreement and trending of the model, thinned to what can be seen."""
    from ...calibration.cohorts.measures import changes_of
    from ...calibration.cohorts.protocol import MODEL

    step = max(1, -(-len(pairing) // _MOST_POINTS))
    some = np.arange(0, len(pairing), step)
    estimate = pairing.estimates[MODEL]
    found = [agreement(agree_repeated(estimate[some], pairing.reference[some], pairing.subject[some]), name)]
    changes = []
    for number in np.unique(pairing.recording):
        own = np.flatnonzero(pairing.recording == number)
        own = own[np.argsort(pairing.time_s[own])]
        one = changes_of(pairing.time_s[own], pairing.reference[own], estimate[own])
        scale = float(pairing.reference[own].mean())
        changes += list(zip((one.estimate * scale).tolist(), (one.reference * scale).tolist(), strict=True))
    if len(changes) > 2:
        pairs = np.array(changes[:: max(1, -(-len(changes) // _MOST_POINTS))])
        zone = 0.1 * float(pairing.reference.mean())
        # Changes are given as pairs that start from nought, so that neighbours are not taken for changes.
        flat = np.zeros((2 * len(pairs), 2))
        flat[1::2] = pairs
        both = track(flat[:, 0], flat[:, 1], zone=zone)
        found.append(trending(_every_second(both), name))
    return [*found, _cases(name, pairing)]


def _every_second(both: Any) -> Any:
    rows = slice(0, None, 2)
    reference, estimate = both.reference[rows], both.estimate[rows]
    counted = np.maximum(np.abs(estimate), np.abs(reference)) > both.zone
    same = float(np.mean(np.sign(estimate[counted]) == np.sign(reference[counted]))) if counted.any() else float("nan")
    return dataclasses.replace(
        both,
        reference=reference,
        estimate=estimate,
        angle=both.angle[rows],
        radius=both.radius[rows],
        concordance=same,
        counted=int(counted.sum()),
    )


def _cases(name: str, pairing: Pairing) -> Picture:
    """Three recordings over time: the best followed, the median and the worst."""
    from ...calibration.cohorts.protocol import MODEL

    q = quantity_of(name)
    ranked = []
    for number in np.unique(pairing.recording):
        own = np.flatnonzero(pairing.recording == number)
        own = own[np.argsort(pairing.time_s[own])]
        error = float(np.median(np.abs(pairing.estimates[MODEL][own] / pairing.reference[own] - 1)))
        ranked.append((error, own))
    ranked.sort(key=lambda pair: pair[0])
    chosen = [ranked[k] for k in sorted({0, len(ranked) // 2, len(ranked) - 1})]
    panels, rows = [], []
    for error, own in chosen:
        minutes = pairing.time_s[own] / 60
        line, broken = pairing.estimates[MODEL][own], np.flatnonzero(np.diff(minutes) > 3.0) + 1
        marks = (Line("model", np.insert(minutes, broken, np.nan), np.insert(line, broken, np.nan), "posterior", 1.6),
                 Points("reference", minutes, pairing.reference[own], "ink", "diamond", 5))  # fmt: skip
        title = f"median error {percent(error)}"
        panels.append(Panel(marks, title=title, x_label="time [min]", y_label=q.label))
        rows.append((str(len(own)), f"{100 * error:.1f} %"))
    alt = f"{q.name.capitalize()} over time in the recordings of least, median and greatest error."
    table = Table(("bins", "median error"), tuple(rows))
    return Picture("cases", f"{q.name.capitalize()} over time", alt, table, tuple(panels), columns=1, height=560)


def _rejection(name: str, curve: Mapping[str, Any]) -> Picture:
    x = [100 * share for share in curve["kept"]]
    marks = (
        Band("5 to 95 %", x, [100 * v for v in curve["low"]], [100 * v for v in curve["high"]], "posterior", 0.25),
        Line("median error", x, [100 * v for v in curve["error"]], "posterior", 1.8),
    )
    rows = tuple((f"{a:.0f} %", f"{100 * b:.1f} %") for a, b in zip(x, curve["error"], strict=True))
    word = "falls" if curve["monotone_within_interval"] else "does not always fall"
    alt = f"Median error of the share that the model is surest of: it {word} as less is kept, from {rows[0][1]} of all "
    alt += f"to {rows[-1][1]} of the surest tenth; rank correlation of error and predicted uncertainty "
    alt += f"{curve['spearman']:.2f}. The surest tenth are windows of effectively {curve['subjects'][-1]:.0f} subjects."
    panel = Panel(marks, x_label="share kept, surest first [%]", y_label="median error [%]", x_range=(0, 102))
    title = f"Is the model less sure of {quantity_of(name).name} where it is wrong?"
    return Picture("rejection", title, alt, Table(("kept", "median error"), rows), (panel,), height=320)


def _named(picture: Picture, name: str, kinds: str) -> Picture:
    """A picture that says of which quantity it is and what its reference was."""
    return dataclasses.replace(
        picture,
        key=f"{picture.key}-{name}",
        title=f"{picture.title}{'' if picture.title.endswith('?') else '.'} Reference: {kinds}.",
        alt=f"{picture.alt} Reference: {kinds}.",
    )
