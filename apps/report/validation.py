r"""The page of a validated bundle: what it promises, and what held-out simulations say to it, as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ...inference.bundle import Bundle
from ..figures.evidence import coverage_curve
from ..figures.marks import Band, Line, Panel, Picture, Table, percent
from .page import NOTICE, read_style, show_figure

__all__ = ["ecdf_picture", "validation_page"]

_ABOUT = {
    "finite": "every draw is a number",
    "sbc": "ranks are uniform (Kolmogorov-Smirnov)",
    "ecdf": "ranks stay in a simultaneous band",
    "width": "neither too narrow nor too wide; the statistic is ACAUC, positive: too narrow",
    "bias": "neither too low nor too high",
    "prior": "posteriors average to the prior",
    "swap": "no two outputs are taken for each other",
    "tarp": "all outputs together, random points",
    "density": "all outputs together, regions of highest density",
    "local_c2st": "latents are normal at every window",
}


def validation_page(bundle: Bundle) -> str:
    r"""Writes the page.

    Arguments:
        bundle: A validated bundle.

    Returns:
        The page.

    Raises:
        ValueError: If the bundle was not validated.

    Example:
        >>> from pulsebayes.inference.bundle import Bundle, find_bundle
        >>> page = validation_page(Bundle.load(Path("validated")))  # doctest: +SKIP
    """
    found = bundle.measured.get("validation")
    if not found:
        raise ValueError(f"{bundle.name} was not validated: pulsebayes validate {bundle.name} --out BUNDLE")
    measured = bundle.measured
    names = list(measured["contraction"])
    figures = [show_figure(coverage_curve(measured["coverage"], names[i : i + 6], n=found["n"], key=f"coverage{i}"))
               for i in range(0, len(names), 6)]  # fmt: skip
    parts = [
        f"<h1>{escape(bundle.name)}: validation</h1>",
        f'<p class="notice">{NOTICE}</p>',
        _verdict(measured, found),
        "<h2>By quantity</h2>",
        _by_quantity(measured, found, names, bundle.outputs.reported),
        *figures,
        "<h2>Ranks</h2>",
        show_figure(ecdf_picture(found["ecdf"], names, n=found["n"])),
        "<h2>Tests</h2>",
        _tests(found),
        "<h2>Subgroups</h2>",
        _groups(found["groups"], names),
        _predictive(found.get("predictive") or {}),
        _faults(found.get("faults") or {}),
        f"<h2>Card</h2><pre>{escape(bundle.card)}</pre>",
    ]
    head = f"<title>{escape(bundle.name)}: validation</title><style>{read_style()}</style>"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{head}</head><body>{"".join(parts)}</body></html>'
    )


def ecdf_picture(ecdf: Mapping[str, Any], names: Sequence[str], *, n: int) -> Picture:
    r"""Distribution of ranks less the uniform one, in its simultaneous band.

    Arguments:
        ecdf: Grid, band and values by quantity, as a bundle keeps them.
        names: Quantities.
        n: Simulations.

    Returns:
        The picture.

    Example:
        >>> ecdf = {"grid": [0.5], "low": [0.4], "high": [0.6], "values": {"HR": [0.7]}}
        >>> ecdf_picture(ecdf, ["HR"], n=100).table.rows
        (('HR', '20.0', 'at 50 %', 'yes'),)
    """
    grid = ecdf["grid"]
    x = [100 * g for g in grid]
    edges = [[100 * (v - g) for v, g in zip(ecdf[side], grid, strict=True)] for side in ("low", "high")]
    marks: list[Any] = [Band("band of 99 %", x, edges[0], edges[1], "prior", 0.3)]
    rows = []
    for name in names:
        gap = [100 * (v - g) for v, g in zip(ecdf["values"][name], grid, strict=True)]
        out = any(not low <= v <= high for v, low, high in zip(gap, *edges, strict=True))
        marks.append(Line(name, x, gap, "ART" if out else "muted", 1.4 if out else 0.8, legend=out))
        worst = max(range(len(gap)), key=lambda i, gap=gap: abs(gap[i]))  # type: ignore[misc]
        rows.append((name, f"{gap[worst]:.1f}", f"at {percent(grid[worst])}", "yes" if out else "no"))
    left = [row[0] for row in rows if row[3] == "yes"]
    alt = f"Distribution of the truth's rank among the draws in {n} simulations, less the uniform one, with the band "
    alt += "that holds all of it with 99 %. " + (f"Outside: {', '.join(left)}." if left else "None leaves it.")
    panel = Panel(tuple(marks), x_label="rank [%]", y_label="share below, less the rank [points]", x_range=(0, 100))
    table = Table(("quantity", "greatest departure [points]", "where", "leaves the band"), tuple(rows))
    return Picture("ecdf", "Is every rank equally frequent?", alt, table, (panel,), height=380)


def _verdict(measured: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    missed = measured.get("not_calibrated") or {}
    said = "passes" if found["passes"] else "does not pass"
    rows = "".join(f"<li>{escape(name)}: not calibrated, {escape(why)}</li>" for name, why in missed.items())
    lost = f" {found['lost']} windows were left out, their draws are not numbers." if found["lost"] else ""
    source = escape(str(found["source"]))
    return (
        f"<p><b>It {said}</b> on {found['n']} held-out simulations with {found['draws']} draws each ({source}).{lost} "
        "Targets: SBC and TARP pass at 1 % after Holm's correction for all tests below; intervals of 50 and 90 % hold "
        "the truth within 3 points of their level over all, within 5 points in every subgroup of at least 200. "
        f"{len(found['misses'])} coverages miss; a calibrated posterior would have {found['misses_by_chance']:.2f} "
        f"by chance.</p><ul>{rows}</ul><p>Coverage on simulations says nothing about patients: the simulator may be "
        "wrong. A group by what a window does not show (age) need not be covered even by an exact posterior.</p>"
    )


def _by_quantity(
    measured: Mapping[str, Any], found: Mapping[str, Any], names: Sequence[str], units: Mapping[str, str]
) -> str:
    columns = ["quantity", "50 %", "90 %", "shortest 50 %", "shortest 90 %", "contraction", "median error", "ACAUC",
               "z-score mean", "z-score sd", "recovery r", "slope", "calibrated"]  # fmt: skip
    rows = []
    for name in names:
        z, recovered = found["z_score"][name], found["recovery"][name]
        shares = [measured["coverage"]["0.5"], measured["coverage"]["0.9"], *found["shortest"].values()]
        rows.append([
            f"{name} [{units.get(name, '')}]", *(f"{100 * share[name]:.1f}" for share in shares),
            f"{measured['contraction'][name]:.2f}", f"{100 * measured['median_error'][name]:.1f} %",
            f"{found['acauc'][name]:+.3f}", f"{z['mean']:+.2f}", f"{z['sd']:.2f}",
            f"{recovered['correlation']:.2f}", f"{recovered['slope']:.2f}",
            "no" if name in measured["not_calibrated"] else "yes",
        ])  # fmt: skip
    joint = "; ".join(
        f"{'random points' if key == 'tarp' else 'highest density'} "
        f"50 %: {100 * row['0.5']:.1f}, 90 %: {100 * row['0.9']:.1f}"
        for key, row in found["joint"].items()
    )
    density, share = found["lpp"], found["lpp"]["infinite"]
    mean = "minus infinity" if density["mean"] is None else f"{density['mean']:.3f}"
    return _rows(columns, rows) + (
        f"<p>All outputs together, regions held the truth in {joint} %. Log probability of the truth: {mean} nats on "
        f"average, {100 * (share or 0):.1f} % without density.</p>"
    )


def _tests(found: Mapping[str, Any]) -> str:
    rows = [
        [t["name"], _ABOUT.get(t["name"], ""), t["of"], f"{t['statistic']:.3g}", f"{t['p']:.3g}", f"{t['holm']:.3g}",
         "found" if t["holm"] < found["alpha"] else ""]
        for t in found["tests"]
    ]  # fmt: skip
    share = found.get("local_share")
    local = "" if share is None else f"<p>Local test on its own at 5 %: rejects at {100 * share:.1f} % of windows.</p>"
    return _rows(["test", "asks whether", "of", "statistic", "p", "p (Holm)", "fault"], rows) + local


def _groups(groups: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    rows = []
    for group in groups:
        label = f"{group['by']} {group['label']}".strip() or "all"
        for level, shares in group["coverage"].items():
            limit = 0.05 if group["by"] else 0.03
            cells = [
                f"{100 * shares[name]:.1f}"
                + (" !" if group["binding"] and abs(shares[name] - float(level)) > limit else "")
                for name in names
            ]
            rows.append([label, str(group["n"]), percent(float(level)), *cells])
    note = "<p>! misses its tolerance; groups of fewer than 200 do not bind.</p>"
    return _rows(["group", "n", "level", *names], rows) + note


def _predictive(found: Mapping[str, Any]) -> str:
    if not found:
        return ""
    rows = [[name, f"{100 * row['inside']:.0f} %", f"{row['p']:.3g}"] for name, row in found["features"].items()]
    head = (
        f"<h2>Posterior-predictive check</h2><p>{found['n']} windows, {found['replicates']} simulations of the "
        f"posterior of each, seen through the sensor model. Median standardised distance {found['discrepancy']:.2f}; "
        f"an exact posterior holds {100 * found['inside_expected']:.0f} % inside the range of the replicates, or more "
        "where much is drawn from the prior.</p>"
    )
    return head + _rows(["feature of the window", "inside the replicates", "p of the mean difference"], rows)


def _faults(found: Mapping[str, Any]) -> str:
    if not found:
        return ""
    rows = []
    for name, row in found.items():
        if "coverage" not in row:
            rows.append([name, percent(row["answered"]), "–", "–", "–"])
            continue
        low = min(row["coverage"], key=row["coverage"].get)
        far = max(row["shift"], key=row["shift"].get)
        mean = sum(row["coverage"].values()) / len(row["coverage"])
        rows.append([
            name, percent(row["answered"]), percent(mean), f"{percent(row['coverage'][low])} ({low})",
            f"{row['shift'][far]:.1f} sd ({far})",
        ])  # fmt: skip
    first = next(iter(found.values()))
    head = f"<h2>Faults of the sensor</h2><p>Each put on {first['n']} held-out windows; "
    head += "what is not answered was refused.</p>"
    columns = ["fault", "answered", "90 % intervals held, mean", "least", "greatest median shift"]
    return head + _rows(columns, rows)


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
