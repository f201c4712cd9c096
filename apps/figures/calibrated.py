r"""Calibration with patients: a conformal region cut in a plane, and the simulations that stand for a window."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ...calibration.conformal.region import Plane
from .estimates import quantity_of
from .marks import Line, Mark, Panel, Picture, Points, Table, number, percent

__all__ = ["couplings", "region_slice"]

_MOST_ROWS = 12
_GROUPS = (("half of the weight", 0.5, "posterior", "diamond", 8.0), ("up to nine tenths", 0.9, "PLETH", "square", 6.0))


def region_slice(plane: Plane, draws: Mapping[str, Float[np.ndarray, " draw"]], alpha: float) -> Picture:
    r"""A conformal region in the plane of two quantities, over the posterior's draws.

    Arguments:
        plane: The cut.
        draws: Draws of the posterior by quantity.
        alpha: Share of new patients whose window may be missed.

    Returns:
        The picture.

    Example:
        >>> axis = np.linspace(4.0, 6.0, 41)
        >>> plane = Plane(("CO", "HR"), (axis, axis), np.add.outer((axis - 5) ** 2, (axis - 5) ** 2) - 0.5, "region")
        >>> region_slice(plane, {"CO": np.array([5.0]), "HR": np.array([5.0])}, 0.1).key
        'region-CO-HR'
    """
    one, two = plane.names
    marks: list[Mark] = [
        Points("draws of the posterior", draws[one][:600], draws[two][:600], "simulated", "circle", 3, opacity=0.4)
    ]
    outline = plane.contours()
    for i, line in enumerate(outline):
        marks.append(
            Line(f"{percent(1 - alpha)} conformal region", line[:, 0], line[:, 1], "caution", 2.5, legend=i == 0)
        )
    rows: list[tuple[str, ...]] = []
    said: list[str] = []
    for j, name in enumerate(plane.names):
        inside = plane.axes[j][plane.inside.any(axis=1 - j)]
        q = quantity_of(name)
        low, high = (number(float(v), q.decimals) for v in (inside.min(), inside.max())) if len(inside) else ("–", "–")
        rows.append((q.name, low, high, q.unit))
        said.append(f"{q.name} {low} to {high} {q.unit}")
    what = "The region" if plane.kind == "region" else "A slice through the region, the rest at the estimate,"
    alt = f"{what} of {percent(1 - alpha)} coverage for new patients holds {', '.join(said)}."
    table = Table(("quantity", "from", "to", "unit"), tuple(rows))
    labels = [f"{quantity_of(n).name} [{quantity_of(n).unit}]" for n in plane.names]
    panel = Panel(tuple(marks), x_label=labels[0], y_label=labels[1])
    return Picture(f"region-{one}-{two}", f"Conformal region: {one} and {two}", alt, table, (panel,), height=400)


def couplings(weights: Float[np.ndarray, " N"], values: Mapping[str, Float[np.ndarray, " N"]]) -> Picture:
    r"""The simulations that stand for a window, by two quantities, with their weights.

    Arguments:
        weights: Weight of each simulation; they sum to one.
        values: Quantities of each simulation; the first two are the axes.

    Returns:
        The picture.

    Example:
        >>> shown = couplings(np.array([0.7, 0.3]), {"CO": np.array([4.0, 6.0]), "HR": np.array([60.0, 90.0])})
        >>> shown.table.rows[0]
        ('1', '70 %', '4.0', '60')
    """
    names = list(values)
    order = np.argsort(-weights)
    before = np.cumsum(weights[order]) - weights[order]
    x, y = values[names[0]], values[names[1]]
    marks: list[Mark] = []
    rest, start = order, 0
    for name, share, colour, symbol, size in _GROUPS:
        stop = int((before < share).sum())
        group, rest = order[start:stop], order[stop:]
        marks.append(Points(f"{name} ({len(group)})", x[group], y[group], colour, symbol, size, opacity=0.8))
        start = stop
    marks.insert(0, Points(f"the rest ({len(rest)})", x[rest], y[rest], "simulated", "circle", 3, opacity=0.4))
    rows = tuple(
        (str(i + 1), percent(float(weights[k])), *(number(float(values[n][k]), quantity_of(n).decimals) for n in names))
        for i, k in enumerate(order[:_MOST_ROWS])
    )
    effective = 1 / float((weights**2).sum())
    half = int((before < 0.5).sum())
    alt = (
        f"{len(weights)} simulated beats, by {quantity_of(names[0]).name} and {quantity_of(names[1]).name}: {half} of "
        f"them hold half of the weight, as if {effective:.0f} counted equally. Were it all of them, the window would "
        "say nothing."
    )
    labels = [f"{n} [{quantity_of(n).unit}]" for n in names]
    panel = Panel(tuple(marks), x_label=labels[0], y_label=labels[1])
    table = Table(("rank", "weight", *labels), rows)
    return Picture("couplings", "Which simulated beats stand for this one", alt, table, (panel,), height=420)
