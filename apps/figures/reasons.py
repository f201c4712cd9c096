r"""Why the estimates are what they are: simulated beats over the data, what the signal tells, what goes with what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ...inference.answer import Answer
from .estimates import quantity_of
from .marks import Bars, Line, Mark, Panel, Picture, Points, Table, number, percent

__all__ = ["pairs", "predicted_beats", "scenario", "told"]

Beats = Sequence[tuple[Float[np.ndarray, " beat"], Float[np.ndarray, " beat"]]]
_MOST_POINTS = 250


def predicted_beats(data: Beats, times: Beats, *, role: str = "ART", unit: str = "mmHg") -> Picture:
    r"""Beats of the data over beats that the simulator makes of posterior draws.

    Arguments:
        data: Times from the onset [s] and values of every beat of the window.
        times: The same of simulated beats.
        role: Role of the channel.
        unit: Its unit.

    Returns:
        The picture.

    Example:
        >>> beat = (np.array([0.0, 0.4]), np.array([80.0, 120.0]))
        >>> predicted_beats([beat], [beat]).key
        'predicted'
    """
    marks: list[Mark] = [Line("simulated from the posterior", t, v, "simulated", 1.0, opacity=0.35) for t, v in times]
    marks += [Line("this window's beats", t, v, role, 1.6, dash="solid") for t, v in data]
    inside, apart = _compare(data, times)
    alt = (
        f"{len(data)} beats of the window over {len(times)} beats simulated from posterior draws. {percent(inside)} of "
        f"the mean beat lies within the simulated beats; it stands at most {apart:.0f} {unit} outside them."
    )
    table = Table(
        (
            "beats of the window",
            "simulated beats",
            "share of the mean beat within the simulated ones",
            "farthest outside",
        ),
        ((str(len(data)), str(len(times)), percent(inside), f"{apart:.1f} {unit}"),),
    )
    panel = Panel(tuple(marks), x_label="time from the onset of the beat [s]", y_label=f"{role} [{unit}]")
    return Picture("predicted", "This patient's beats and simulated ones", alt, table, (panel,), height=380)


def _compare(data: Beats, simulated: Beats) -> tuple[float, float]:
    r"""Share of the mean beat within the range of the simulated beats, and how far it stands outside at most."""
    if not (data and simulated):
        return float("nan"), float("nan")
    grid = np.linspace(0, min(min(t[-1] for t, _ in data), min(t[-1] for t, _ in simulated)), 100)
    mean = np.mean([np.interp(grid, t, v) for t, v in data], axis=0)
    stack = np.array([np.interp(grid, t, v) for t, v in simulated])
    outside = np.maximum(np.maximum(stack.min(0) - mean, mean - stack.max(0)), 0.0)
    return float(np.mean(outside == 0)), float(outside.max())


def told(answer: Answer) -> Picture:
    r"""How much of the prior's doubt the window removes, a bar a quantity, the most first.

    Arguments:
        answer: The answer.

    Returns:
        The picture.

    Example:
        >>> told(Answer(0.0, 8.0, {}, {}, 0.9)).key
        'told'
    """
    ranked = sorted(answer.estimates.items(), key=lambda item: item[1].contraction)
    names = tuple(f"{quantity_of(n).name} ({n})" for n, _ in ranked)
    marks: list[Mark] = []
    for i, (_, e) in enumerate(ranked):
        share = 100 * max(e.contraction, 0.0)
        kind = "withheld" if e.uninformative else "told"
        marks.append(Line(kind, [0, share], [i, i], "muted" if e.uninformative else "posterior", 10))
    rows = tuple(
        (n, percent(max(e.contraction, 0.0)), "withheld" if e.uninformative else "shown") for n, e in ranked[::-1]
    )
    blind = [quantity_of(n).name for n, e in ranked if e.uninformative]
    alt = "Share of the prior's variance that this window removes: "
    alt += "; ".join(f"{name} {share}" for name, share, _ in rows) + "."
    alt += f" This signal cannot tell {', '.join(blind)}." if blind else ""
    panel = Panel(
        tuple(marks), x_label="doubt removed [%]", x_range=(0, 100), y_names=names, y_range=(-0.7, len(names) - 0.3)
    )
    table = Table(("quantity", "doubt removed", "number"), rows)
    return Picture("told", "What this signal tells", alt, table, (panel,), height=30 * len(names) + 100)


def pairs(draws: Mapping[str, Float[np.ndarray, " draw"]], names: Sequence[str]) -> Picture:
    r"""Posterior draws of some quantities, each against each, and their distributions on the diagonal.

    Arguments:
        draws: Posterior draws by quantity.
        names: Quantities, in order.

    Returns:
        The picture.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> len(pairs({"CO": rng.normal(5, 1, 99), "C": rng.normal(1, 0.1, 99)}, ["CO", "C"]).panels)
        4
    """
    panels = []
    for i, row in enumerate(names):
        for j, column in enumerate(names):
            labels: dict[str, Any] = {
                "x_label": quantity_of(column).label if i == len(names) - 1 else "",
                "y_label": quantity_of(row).label if j == 0 and i else "",
            }
            if i == j:
                panels.append(Panel((_histogram(draws[row]),), title=row, ticks=False, **labels))
            elif i > j:
                x, y = draws[column][:_MOST_POINTS], draws[row][:_MOST_POINTS]
                cloud = Points("draws", x, y, "posterior", "circle", 3.5, opacity=0.5, legend=False)
                panels.append(Panel((cloud,), **labels))
            else:
                panels.append(Panel((), ticks=False))
    r = np.corrcoef([draws[n] for n in names])
    table = Table(
        ("correlation", *names),
        tuple((n, *(f"{r[i, j]:+.2f}" for j in range(len(names)))) for i, n in enumerate(names)),
    )
    pairs_said = [
        (abs(r[i, j]), f"{names[i]} and {names[j]} {r[i, j]:+.2f}") for i in range(len(names)) for j in range(i)
    ]
    alt = "Posterior draws against each other; correlations, the strongest first: "
    alt += ", ".join(text for _, text in sorted(pairs_said, reverse=True)) + "."
    return Picture(
        "pairs", "What goes with what", alt, table, tuple(panels), columns=len(names), height=160 * len(names) + 60
    )


def _histogram(values: Float[np.ndarray, " draw"]) -> Bars:
    counts, edges = np.histogram(values, bins=24)
    width = float(edges[1] - edges[0])
    return Bars("draws", 0.5 * (edges[1:] + edges[:-1]), counts, width)


def scenario(sites: Mapping[str, Any], overlay: Beats, *, unit: str = "mmHg") -> Picture:
    r"""One beat at every site: the scenario, and the patient's posterior median under it.

    Arguments:
        sites: For each site (times [s], scenario, patient), the last None where there is no patient.
        overlay: Beats of the data at the site that was measured, the first of `sites`.
        unit: Unit of pressure.

    Returns:
        The picture.

    Example:
        >>> wave = np.array([80.0, 120.0])
        >>> scenario({"aortic root": (np.array([0.0, 0.4]), wave, None)}, []).table.rows[0]
        ('aortic root', '120', '80', '100')
    """
    panels = []
    rows = []
    for i, (name, (times, wave, base)) in enumerate(sites.items()):
        marks: list[Mark] = []
        if i == 0:
            marks += [Line("measured beats", t, v, "ART", 1.0, opacity=0.5) for t, v in overlay]
        if base is not None:
            marks.append(Line("posterior median", base[0], base[1], "muted", 1.6, dash="dash"))
        marks.append(Line("scenario", times, wave, "simulated", 2.2))
        panels.append(Panel(tuple(marks), title=name, x_label="time [s]", y_label=f"[{unit}]"))
        rows.append(
            (name, number(float(np.max(wave)), 0), number(float(np.min(wave)), 0), number(float(np.mean(wave)), 0))
        )
    table = Table(("site", f"systolic [{unit}]", f"diastolic [{unit}]", f"mean [{unit}]"), tuple(rows))
    alt = (
        "Pressure of one beat at every site: " + "; ".join(f"{n} {s}/{d} mean {m} {unit}" for n, s, d, m in rows) + "."
    )
    columns = 3
    height = 190 * -(-len(panels) // columns) + 70
    return Picture("scenario", "One beat at every site", alt, table, tuple(panels), columns=columns, height=height)
