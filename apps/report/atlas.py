r"""The gallery of an uncertainty atlas: every picture with its table, and the one table of all cells, as one page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from ..figures.atlas import (
    calibration_picture,
    information_picture,
    interval_picture,
    map_picture,
    regime_picture,
    sensitivity_picture,
    trend_picture,
)
from ..figures.marks import Picture
from .cohort import html_page, html_table
from .page import show_figure

__all__ = ["atlas_page", "atlas_pictures"]

_MAPPED = ("CO", "SV", "PWV", "C", "SVR", "LVET", "HR")
_MOST_MAPS = 5


def atlas_pictures(atlas: Mapping[str, Any]) -> list[Picture]:
    r"""The pictures of an atlas.

    Arguments:
        atlas: What ``analyse identifiability`` found.

    Returns:
        The pictures, in the order of the page.

    Example:
        >>> [p.key for p in atlas_pictures(atlas)]  # doctest: +SKIP
        ['intervals', 'information', 'calibration', 'regimes', 'map-CO', 'trends', 'sensitivity']
    """
    from ...calibration.identifiability.trends import PUBLISHED_WAVE_SPEED

    names = list(atlas["prior"])
    pictures = [picture(atlas, names) for picture in (interval_picture, information_picture, calibration_picture)]
    two = [row for row in atlas["regimes"] if row["two"]]
    one = [row for row in atlas["regimes"] if not row["two"]]
    pictures.append(regime_picture([*two[:4], *one[-2:]]))
    mapped = [name for name in _MAPPED if name in names] or names[:2]
    for name in mapped[:5]:
        own = [one for one in atlas["maps"] if one["quantity"] == name]
        known = {tuple(cell["given"]): cell["quantities"][name]["bits"] for cell in atlas["cells"] if not cell["noise"]}
        own.sort(key=lambda m: -known[tuple(atlas["channels"]) if "+" in m["given"] else (m["given"],)])
        pictures.append(map_picture(own[:_MOST_MAPS], name))
    if atlas["trends"]:
        pictures.append(trend_picture(atlas["trends"], PUBLISHED_WAVE_SPEED))
    if atlas["sensitivity"]:
        pictures.append(sensitivity_picture(atlas["sensitivity"]))
    return pictures


def atlas_page(atlas: Mapping[str, Any]) -> str:
    r"""Writes the page.

    Arguments:
        atlas: What ``analyse identifiability`` found.

    Returns:
        The page, one HTML file without script or network.

    Example:
        >>> "uncertainty atlas" in atlas_page(atlas)  # doctest: +SKIP
        True
    """
    from ...calibration.identifiability.atlas import TABLE, table_rows

    config = atlas["config"]
    pictures = {picture.key: show_figure(picture) for picture in atlas_pictures(atlas)}
    parts = [
        f"<p>{escape(atlas['model'])}: {len(atlas['channels'])} channels, {config['n']} simulated individuals of its "
        f"own population, {config['draws']} draws each, seed {config['seed']}. What follows is true of the simulator."
        "</p>",
        "<h2>Is it as it must be?</h2>",
        html_table(["check", "holds", "found"], [[r["name"], _yes(r["holds"]), r["found"]] for r in atlas["checks"]]),
        "<h2>What each channel tells</h2>", pictures["intervals"], pictures["information"], pictures["calibration"],
        "<h2>The best next measurement</h2>", _next(atlas),
        "<h2>Regimes</h2>", pictures["regimes"], _regimes(atlas), _modal(atlas),
        "<h2>Of whom</h2>", *(shown for key, shown in pictures.items() if key.startswith("map-")), _strongest(atlas),
        "<h2>What cannot be told apart</h2>", _trade_offs(atlas),
    ]  # fmt: skip
    if "trends" in pictures:
        parts += ["<h2>Age</h2>", pictures["trends"]]
    if atlas["sensitivity"]:
        parts += ["<h2>Beside a sensitivity analysis</h2>", pictures["sensitivity"], _sensitivity(atlas["sensitivity"])]
    parts += ["<h2>All cells</h2><details><summary>One table</summary>", html_table(TABLE, table_rows(dict(atlas))),
              "</details>"]  # fmt: skip
    return html_page(f"The uncertainty atlas of {atlas['model']}", parts)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _next(atlas: Mapping[str, Any]) -> str:
    rows = [
        [r["given"], r["quantity"], r["add"], f"{r['bits']:.3f} ± {r['error']:.3f}", f"{100 * r['narrowing']:.0f} %"]
        for r in atlas["next"]
        if r["bits"] > 3 * r["error"]
    ]
    if not rows:
        return "<p>No addition was measured, or none tells anything.</p>"
    return html_table(["have", "quantity", "add", "information [bit]", "interval narrower by"], rows)


def _regimes(atlas: Mapping[str, Any]) -> str:
    rows = [
        [r["given"], r["quantity"], "two" if r["two"] else "one", f"{r['dip']:.4f}", f"{r['p']:.2g}",
         f"{r['ratio']:.1f}", f"{r['p_modes']:.2g}", f"{r['holm']:.2g}",
         f"{r['below']:.3g} / {r['above']:.3g} {r['unit']}" if r["two"] else "–", f"{100 * r['share']:.0f} %",
         "; ".join(f"{s['name']} (AUC {s['auc']:.2f}, above {s['threshold']:.3g}, accuracy {s['accuracy']:.2f})"
                   for s in r["separators"][:2]) or "–"]
        for r in atlas["regimes"]
    ]  # fmt: skip
    head = (
        "<p>Dip test, and likelihood ratio of two modes to one, of the logarithm of interval widths over individuals; "
        "the lesser of both p-values, corrected over all (Holm).</p>"
    )
    columns = ["channels", "quantity", "regimes", "dip", "p", "ratio", "p", "p (Holm)", "interval", "share above",
               "separated by"]  # fmt: skip
    return head + f"<details open><summary>All tests</summary>{html_table(columns, rows)}</details>"


def _modal(atlas: Mapping[str, Any]) -> str:
    rows = [
        ["+".join(c["given"]), name, f"{100 * q['modal']:.1f} %", f"{q['modal_p']:.2g}"]
        for c in atlas["cells"]
        if not c["noise"]
        for name, q in c["quantities"].items()
        if q["modal_p"] < 0.01 / max(1, len(atlas["cells"]) * len(c["quantities"]))
    ]
    if not rows:
        return "<p>Nowhere are there more posteriors of several modes than by chance.</p>"
    head = "<p>Posteriors of several modes (dip test of the draws at 1 %, more of them than by chance):</p>"
    return head + html_table(["channels", "quantity", "share", "p"], rows)


def _strongest(atlas: Mapping[str, Any]) -> str:
    rows = [
        [m["given"], m["quantity"], "; ".join(f"{s['name']} {s['rho']:+.2f}" for s in m["strongest"][:3])]
        for m in atlas["maps"]
        if m["strongest"] and abs(m["strongest"][0]["rho"]) > 0.3
    ]
    columns = ["channels", "quantity", "interval grows (+) or shrinks (-) with"]
    return f"<details><summary>What widths go with most</summary>{html_table(columns, rows)}</details>"


def _trade_offs(atlas: Mapping[str, Any]) -> str:
    rows = [[r["given"], r["first"], r["second"], f"{r['posterior']:+.2f}", f"{r['prior']:+.2f}"]
            for r in atlas["trade_offs"]]  # fmt: skip
    if not rows:
        return "<p>No pair of quantities has a correlation of a half or more in the posterior.</p>"
    return html_table(["channels", "first", "second", "correlation in the posterior", "in the prior"], rows)


def _sensitivity(compared: Mapping[str, Any]) -> str:
    missed = compared["missed"]
    lines = [
        f"<p>It sees one number a parameter. It cannot see the {missed['regimes']} cases of two regimes and the "
        f"{missed['trade_offs']} pairs that trade off in single channels.</p>"
    ]
    for title, key in (("Known without influence", "known_without_influence"),
                       ("Of influence, hardly known", "influence_but_hardly_known")):  # fmt: skip
        rows = [[p["channel"], p["quantity"], f"{p['index']:.3f}", f"{p['bits']:.2f}"] for p in missed[key]]
        if rows:
            lines.append(f"<h3>{title}</h3>" + html_table(["channel", "quantity", "Sobol", "information [bit]"], rows))
    total = [[name, *(f"{value:.2f}" for value in row)]
             for name, row in zip(compared["parameters"], compared["total"], strict=True)]  # fmt: skip
    table = html_table(["parameter", *compared["channels"]], total)
    return "".join(lines) + f"<details><summary>Total indices of the parameters</summary>{table}</details>"
