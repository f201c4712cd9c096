r"""Pictures of the uncertainty atlas: what channels tell, how well they keep their word, of whom, and with age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .marks import Band, Bars, Line, Mark, Panel, Picture, Points, Rule, Span, Table

__all__ = [
    "calibration_picture",
    "information_picture",
    "interval_picture",
    "map_picture",
    "regime_picture",
    "sensitivity_picture",
    "trend_picture",
]

_SYMBOLS = ("circle", "triangle-up", "square", "diamond", "triangle-down")
_COLOURS = ("posterior", "good", "caution", "bad", "prior")
_TRENDS = {
    "PWV": "carotid-femoral wave speed [m/s]", "PP": "aortic pulse pressure [mmHg]", "C": "compliance [mL/mmHg]",
    "D_AorticRoot": "diameter of the aortic root [mm]", "amplification": "brachial over aortic pulse pressure",
}  # fmt: skip


def _cells(atlas: Mapping[str, Any], noise: float) -> dict[str, Mapping[str, Any]]:
    """Quantities of single channels and of all together, at one level of noise, by the channels."""
    every = len(atlas["channels"])
    found = {}
    for cell in atlas["cells"]:
        if cell["noise"] == noise and len(cell["given"]) in {1, every}:
            found["all" if len(cell["given"]) == every > 1 else cell["given"][0]] = cell["quantities"]
    return found


def interval_picture(atlas: Mapping[str, Any], names: Sequence[str]) -> Picture:
    r"""Size of the 90 % interval over that of the prior, by channel and level of noise, a panel for each quantity.

    Arguments:
        atlas: The atlas.
        names: Quantities.

    Example:
        >>> row = {"relative": 0.4}
        >>> cells = [{"given": ["ART"], "noise": 0.0, "quantities": {"CO": row}}]
        >>> atlas = {"channels": ["ART"], "cells": cells, "config": {"noise": []}}
        >>> interval_picture(atlas, ["CO"]).table.rows
        (('CO', 'ART', 'as trained', '0.40'),)
    """
    levels = [0.0, *sorted(atlas["config"]["noise"])]
    cells = {level: _cells(atlas, level) for level in levels}
    channels = list(cells[0.0])
    panels, rows = [], []
    for name in names:
        marks: list[Mark] = [Rule("", 1.0, colour="prior", dash="dot")]
        for i, level in enumerate(levels):
            label = f"noise x {level:g}" if level else "noise as trained"
            x = [cells[level][channel][name]["relative"] for channel in channels]
            rows += [(name, c, f"{level:g}" if level else "as trained", f"{v:.2f}")
                     for c, v in zip(channels, x, strict=True)]  # fmt: skip
            style = (_COLOURS[i % 5], _SYMBOLS[i % 5], 7.0 if level == 0 else 5.0)
            marks.append(Points(label, x, list(range(len(channels))), *style, legend=name == names[0]))
        panels.append(
            Panel(
                tuple(marks),
                title=name,
                x_range=(0, 1.25),
                y_names=tuple(channels),
                y_range=(-0.7, len(channels) - 0.3),
                x_label="interval / prior's",
            )
        )
    best = {name: min(channels, key=lambda c, n=name: cells[0.0][c][n]["relative"]) for name in names}  # type: ignore[misc]
    alt = "Median width of the 90 % interval over that of the prior. Smallest: "
    alt += "; ".join(f"{n} {cells[0.0][c][n]['relative']:.2f} ({c})" for n, c in best.items()) + "."
    table = Table(("quantity", "channels", "noise", "interval / prior's"), tuple(rows))
    height = max(260, (30 * len(channels) + 90) * -(-len(panels) // 2))
    return Picture("intervals", "How well is each quantity known?", alt, table, tuple(panels), 2, height=height)


def information_picture(atlas: Mapping[str, Any], names: Sequence[str]) -> Picture:
    r"""Information of each channel alone and of the best pair with it, a panel for each quantity.

    Arguments:
        atlas: The atlas.
        names: Quantities.

    Example:
        >>> cells = [{"given": ["ART"], "noise": 0.0, "quantities": {"CO": {"bits": 0.4, "bits_error": 0.01}}}]
        >>> information_picture({"channels": ["ART"], "cells": cells, "next": []}, ["CO"]).table.rows
        (('CO', 'ART', '0.40', '–', '–'),)
    """
    cells, every = _cells(atlas, 0.0), "all"
    channels = [name for name in cells if name != every]
    added = {(row["given"], row["quantity"]): row for row in atlas["next"]}
    panels, rows = [], []
    for name in names:
        alone = [float(cells[channel][name]["bits"]) for channel in channels]
        more = [added.get((channel, name)) for channel in channels]
        pair = [a + float(row["bits"]) if row else float("nan") for a, row in zip(alone, more, strict=True)]
        at = list(range(len(channels)))
        marks: list[Mark] = [Points("alone", alone, at, "posterior", "circle", 7.0, legend=name == names[0])]
        marks.append(Points("with the best second", pair, at, "good", "diamond", 6.0, legend=name == names[0]))
        if every in cells:
            marks.append(Rule("all" if name == names[0] else "", float(cells[every][name]["bits"]), colour="ink"))
        rows += [(name, c, f"{a:.2f}", row["add"] if row else "–", f"{p:.2f}" if row else "–")
                 for c, a, row, p in zip(channels, alone, more, pair, strict=True)]  # fmt: skip
        panels.append(
            Panel(
                tuple(marks),
                title=name,
                x_label="information [bit]",
                y_names=tuple(channels),
                y_range=(-0.7, len(channels) - 0.3),
            )
        )
    table = Table(("quantity", "channel", "alone [bit]", "best to add", "together [bit]"), tuple(rows))
    most = {name: max(channels, key=lambda c, n=name: cells[c][n]["bits"]) for name in names}  # type: ignore[misc]
    alt = "Information of each channel. Most: "
    alt += "; ".join(f"{n} {cells[c][n]['bits']:.2f} bit ({c})" for n, c in most.items()) + "."
    height = max(260, (30 * len(channels) + 90) * -(-len(panels) // 2))
    return Picture("information", "What does each channel tell, and with a second?", alt, table, tuple(panels), 2,
                   height=height)  # fmt: skip


def calibration_picture(atlas: Mapping[str, Any], names: Sequence[str]) -> Picture:
    r"""Coverage of the 90 % intervals by channel, a point for each quantity.

    Arguments:
        atlas: The atlas.
        names: Quantities.

    Example:
        >>> cells = [{"given": ["ART"], "noise": 0.0, "quantities": {"CO": {"coverage": {"0.9": 0.91, "0.5": 0.5}}}}]
        >>> calibration_picture({"channels": ["ART"], "cells": cells, "config": {"n": 600}}, ["CO"]).table.rows
        (('ART', 'CO', '50.0', '91.0'),)
    """
    cells = _cells(atlas, 0.0)
    channels, panels, rows = list(cells), [], []
    for level in ("0.5", "0.9"):
        wanted = 100 * float(level)
        marks: list[Mark] = [Span("3 points", wanted - 3, wanted + 3), Rule("", wanted, dash="dot")]
        values = {c: [100 * cells[c][name]["coverage"][level] for name in names] for c in channels}
        x = [v for c in channels for v in values[c]]
        y = [float(i) for i, c in enumerate(channels) for _ in values[c]]
        marks.append(Points("a quantity", x, y, "posterior", "circle-open", 5.0, opacity=0.8))
        panels.append(
            Panel(
                tuple(marks),
                title=f"intervals of {wanted:.0f} %",
                x_label="held the truth [%]",
                y_names=tuple(channels),
                y_range=(-0.7, len(channels) - 0.3),
            )
        )
    for c in channels:
        rows += [(c, name, *(f"{100 * cells[c][name]['coverage'][level]:.1f}" for level in ("0.5", "0.9")))
                 for name in names]  # fmt: skip
    least = min(rows, key=lambda row: float(row[3]))
    alt = f"Share of {atlas['config']['n']} individuals whose intervals held the truth; least at 90 %: {least[3]} %, "
    alt += f"{least[1]} of {least[0]}."
    table = Table(("channels", "quantity", "50 %", "90 %"), tuple(rows))
    height = max(260, 30 * len(channels) + 110)
    return Picture("calibration", "Do the intervals keep their word?", alt, table, tuple(panels), 2, height=height)


def map_picture(maps: Sequence[Mapping[str, Any]], quantity: str) -> Picture:
    r"""How the interval of a quantity depends on who is measured, a panel for each covariate, a line for each channel.

    Arguments:
        maps: Maps of the quantity, at most five.
        quantity: The quantity.

    Raises:
        ValueError: If there is no map.

    Example:
        >>> line = {"middles": [30, 60], "widths": [1, 2], "low": [1, 1], "high": [2, 3], "rho": 0.5, "p": 0.01}
        >>> map_picture([{"given": "ART", "unit": "L/min", "covariates": {"age": line}}], "CO").table.rows[0]
        ('ART', 'age', '30', '1')
    """
    if not maps:
        raise ValueError(f"{quantity} must have a map, got none")
    panels: list[Panel] = []
    rows, said = [], []
    for covariate in maps[0]["covariates"]:
        marks: list[Mark] = []
        for i, one in enumerate(maps):
            curve = one["covariates"][covariate]
            if i == 0:
                marks.append(Band("quartiles", curve["middles"], curve["low"], curve["high"], _COLOURS[i]))
            dash = ("solid", "dash", "dot")[i % 3]
            marks.append(Line(one["given"], curve["middles"], curve["widths"], _COLOURS[i], 2.0, dash,
                              legend=not panels))  # fmt: skip
            rows += [(one["given"], covariate, f"{m:.4g}", f"{w:.4g}")
                     for m, w in zip(curve["middles"], curve["widths"], strict=True)]  # fmt: skip
            said.append(f"{one['given']} over {covariate}: rho {curve['rho']:+.2f}, p {curve['p']:.2g}")
        panels.append(Panel(tuple(marks), x_label=covariate, y_label=f"90 % interval [{maps[0]['unit']}]"))
    alt = f"Median width of the 90 % interval of {quantity} in five groups of equal size; " + "; ".join(said) + "."
    table = Table(("channels", "covariate", "middle", "interval"), tuple(rows))
    height = 270 * -(-len(panels) // 2)
    return Picture(f"map-{quantity}", f"Of whom is {quantity} known?", alt, table, tuple(panels), 2, height=height)


def regime_picture(rows: Sequence[Mapping[str, Any]]) -> Picture:
    r"""Interval widths over individuals, with the cut between two regimes where the test found two.

    Arguments:
        rows: Rows of the atlas's regimes.

    Example:
        >>> row = {"given": "ART", "quantity": "HR", "unit": "1/min", "two": False, "holm": 1.0, "cut": 0.0}
        >>> row |= {"histogram": {"edges": [1, 2, 4], "counts": [3, 5]}, "separators": [], "below": 1, "above": 2}
        >>> regime_picture([row]).table.rows[0][:4]
        ('ART', 'HR', 'one', '1')
    """
    panels, cells = [], []
    for row in rows:
        edges = np.log10(row["histogram"]["edges"])
        middles, width = 0.5 * (edges[1:] + edges[:-1]), float(edges[1] - edges[0])
        marks: list[Mark] = [Bars("individuals", middles, row["histogram"]["counts"], width)]
        by = row["separators"][0]["name"] if row["separators"] else ""
        if row["two"]:
            marks.append(Rule(f"by {by}" if by else "", float(np.log10(np.e) * row["cut"]), colour="bad"))
        title = f"{row['quantity']} from {row['given']}: {'two' if row['two'] else 'one'}, p = {row['holm']:.2g}"
        label = f"log10 of the 90 % interval [{row['unit']}]"
        panels.append(Panel(tuple(marks), title=title, x_label=label, y_label="individuals"))
        cells.append((row["given"], row["quantity"], "two" if row["two"] else "one", f"{row['holm']:.3g}",
                      f"{row['below']:.4g}", f"{row['above']:.4g}", by))  # fmt: skip
    alt = "Interval widths over individuals: " + "; ".join(
        f"{quantity} from {given} {count}, p = {p}" + (f", {low} and {high} by {by}" if count == "two" and by else "")
        for given, quantity, count, p, low, high, by in cells
    )
    columns = ("channels", "quantity", "regimes", "p (Holm)", "below the cut", "above", "separated by")
    height = max(260, 250 * -(-len(panels) // 2))
    return Picture("regimes", "One regime or two?", alt + ".", Table(columns, tuple(cells)), tuple(panels), 2,
                   height=height)  # fmt: skip


def trend_picture(trends: Mapping[str, Any], published: Sequence[float]) -> Picture:
    r"""What changes with age: healthy adults of the simulator, the atlas's individuals, and what is published.

    Arguments:
        trends: Trends of the atlas.
        published: Published wave speeds at the ages of the healthy adults [m/s].

    Example:
        >>> healthy = {"age": [25, 35], "PWV": [6.0, 6.5], "C": [1, 1], "PP_aorta": [25, 27], "D_AorticRoot": [28, 29],
        ...            "amplification": [1.5, 1.4]}
        >>> trend_picture({"healthy": healthy, "people": {"age": []}}, [5.95, 6.54]).columns
        2
    """
    healthy, people = trends["healthy"], trends["people"]
    panels, rows = [], []
    for name, label in _TRENDS.items():
        line = healthy["PP_aorta" if name == "PP" else name]
        marks: list[Mark] = []
        if name in people:
            own = people[name]
            marks.append(Band("individuals, quartiles", people["age"], own["low"], own["high"], "posterior"))
            marks.append(Line("individuals, median", people["age"], own["middle"], "posterior", 1.5, "dash"))
            rows += [
                ("individuals", name, f"{a:g}", f"{v:.3g}") for a, v in zip(people["age"], own["middle"], strict=True)
            ]
        marks.append(Line("healthy, simulated", healthy["age"], line, "good", 2.0))
        rows += [("healthy", name, f"{a:g}", f"{v:.3g}") for a, v in zip(healthy["age"], line, strict=True)]
        if name == "PWV":
            marks.append(Points("healthy, published", healthy["age"], list(published), "ink", "diamond", 6.0))
            rows += [("published", name, f"{a:g}", f"{v:.3g}") for a, v in zip(healthy["age"], published, strict=True)]
        panels.append(Panel(tuple(marks), x_label="age [years]", y_label=label))
    pressure, ratio = healthy["PP_aorta"], healthy["amplification"]
    alt = f"From {healthy['age'][0]:g} to {healthy['age'][-1]:g} years: aortic pulse pressure {pressure[0]:.1f} to "
    alt += f"{pressure[-1]:.1f} mmHg, brachial over aortic {ratio[0]:.2f} to {ratio[-1]:.2f}, wave speed "
    alt += f"{healthy['PWV'][0]:.2f} to {healthy['PWV'][-1]:.2f} m/s "
    alt += f"(published {published[0]:.2f} to {published[-1]:.2f})."
    table = Table(("whose", "quantity", "age", "median"), tuple(rows))
    return Picture("trends", "What age does", alt, table, tuple(panels), 2, height=780)


def sensitivity_picture(compared: Mapping[str, Any]) -> Picture:
    r"""Sobol's first-order index of each quantity against the information of the channel, a point for each of both.

    Arguments:
        compared: The atlas's comparison.

    Example:
        >>> pair = {"channel": "ART", "quantity": "CO", "index": 0.1, "bits": 0.5}
        >>> sensitivity_picture({"pairs": [pair], "rho": 0.4}).table.rows
        (('ART', 'CO', '0.100', '0.50'),)
    """
    pairs = compared["pairs"]
    names = list(dict.fromkeys(p["quantity"] for p in pairs))
    marks: list[Mark] = []
    for i, name in enumerate(names):
        own = [p for p in pairs if p["quantity"] == name]
        marks.append(Points(name, [p["index"] for p in own], [p["bits"] for p in own], _COLOURS[i % 5],
                            _SYMBOLS[(i // 5 + i) % 5], 6.0))  # fmt: skip
    panel = Panel(tuple(marks), x_label="share of the signal's variance (Sobol, first order)",
                  y_label="information [bit]")  # fmt: skip
    rows = tuple((p["channel"], p["quantity"], f"{p['index']:.3f}", f"{p['bits']:.2f}") for p in pairs)
    said = "unknown" if compared["rho"] is None else f"{compared['rho']:.2f}"
    alt = "Sobol's first-order index of a quantity in a channel against what the channel tells of it: rank correlation "
    alt += f"{said}."
    table = Table(("channel", "quantity", "Sobol", "information [bit]"), rows)
    return Picture("sensitivity", "Influence is not knowledge", alt, table, (panel,), height=420)
