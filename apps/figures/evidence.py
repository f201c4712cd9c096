r"""Whether to trust it: the map of the simulations, coverage, rank tests; and agreement with a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from ...calibration.agreement import Agreement, Trending
from ...inference.domain_map import DomainMap
from .estimates import quantity_of
from .marks import Band, Line, Mark, Panel, Picture, Points, Rule, Span, Table, percent

__all__ = ["agreement", "coverage_curve", "domain_picture", "rank_tests", "trending"]

_MOST_POINTS = 1200
_DASHES = ("solid", "dash", "dot")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "x")
_COLOURS = ("posterior", "ART", "PLETH", "CVP", "ICP", "ECG")


def domain_picture(found: DomainMap, verdict: str) -> Picture:
    r"""The simulations on their map, with this window.

    Arguments:
        found: The map.
        verdict: The domain verdict of the window.

    Returns:
        The picture.

    Example:
        >>> domain_picture(DomainMap(np.zeros((3, 2)), np.zeros(2), {}, 1.0, (0.3, 0.6)), "inside").key
        'domain'
    """
    points = found.points[:: max(1, len(found.points) // _MOST_POINTS)]
    marks: list[Mark] = [
        Points("simulated windows", points[:, 0], points[:, 1], "simulated", "circle", 3, opacity=0.35)
    ]
    if np.isfinite(found.at).all():
        marks.append(Points("this window", found.at[:1], found.at[1:], "ART", "diamond", 14))
    rows = tuple((name, f"{distance:.2f}", f"{found.threshold:.2f}") for name, distance in found.distances.items())
    farthest = max(found.distances.values(), default=float("nan"))
    alt = (
        f"The window among {len(found.points)} simulated ones, by two components of the pulse's shape: {verdict}. "
        f"Its distance is {farthest:.2f}; half of the simulations are within {found.usual[0]:.2f}, 95 % within "
        f"{found.usual[1]:.2f}, and beyond {found.threshold:.2f} a window is refused."
    )
    table = Table(("view", "distance of this window", "refused beyond"), rows)
    panel = Panel(tuple(marks), x_label="first component of the pulse's shape", y_label="second component")
    return Picture("domain", "Does this window look like a simulated one?", alt, table, (panel,), height=420)


def coverage_curve(
    coverage: Mapping[str, Mapping[str, float]], names: Sequence[str], *, n: int, key: str = "coverage"
) -> Picture:
    r"""How often intervals held the truth, against their level.

    Arguments:
        coverage: For each level the coverage of each quantity.
        names: Quantities to draw.
        n: Number of held-out simulations.
        key: Name of the picture in its page.

    Returns:
        The picture.

    Example:
        >>> coverage_curve({"0.5": {"CO": 0.49}, "0.9": {"CO": 0.9}}, ["CO"], n=100).table.rows[0]
        ('50 %', '49.0 %')
    """
    levels = sorted(coverage, key=float)
    x = [100 * float(level) for level in levels]
    # Two standard errors of a share of n.
    error = np.array([200 * np.sqrt(float(v) * (1 - float(v)) / max(n, 1)) for v in levels])
    marks: list[Mark] = [Band("chance alone (2 SE)", x, -error, error, "prior", 0.3)]
    marks.append(Line("exact", [0, 100], [0, 0], "muted", 1.2, dash="dash"))
    for i, name in enumerate(names):
        y = [100 * (coverage[level][name] - float(level)) for level in levels]
        marks.append(Line(name, x, y, _COLOURS[i % 6], 1.4, dash=_DASHES[i % 3], legend=False))
        marks.append(Points(name, x, y, _COLOURS[i % 6], _SYMBOLS[i % 6], 8))
    rows = tuple(
        (percent(float(level)), *(f"{100 * coverage[level][name]:.1f} %" for name in names)) for level in levels
    )
    worst = max((abs(coverage[level][name] - float(level)), name, level) for level in levels for name in names)
    alt = (
        f"Share of {n} held-out simulations whose truth lay in the interval, less the interval's level. The largest "
        f"departure is {100 * worst[0]:.1f} points, for {quantity_of(worst[1]).name} at {percent(float(worst[2]))}."
    )
    reach = max(3.0, 120 * worst[0])
    panel = Panel(
        tuple(marks),
        x_label="level of the interval [%]",
        y_label="held the truth, less the level [points]",
        x_range=(0, 100),
        y_range=(-reach, reach),
    )
    table = Table(("level", *names), rows)
    return Picture(key, "Do the intervals keep their promise on simulations?", alt, table, (panel,), height=420)


def rank_tests(p: Mapping[str, float], *, n: int) -> Picture:
    r"""P-values of simulation-based calibration, corrected for the number of quantities.

    Arguments:
        p: Corrected p-value of each quantity.
        n: Number of held-out simulations.

    Returns:
        The picture.

    Example:
        >>> rank_tests({"CO": 0.65}, n=100).table.rows[0][2]
        'no departure seen'
    """
    names = list(p)[::-1]
    labels = tuple(f"{quantity_of(name).name} ({name})" for name in names)
    marks: tuple[Mark, ...] = (
        *(Line("p", [0, p[name]], [i, i], "posterior", 8) for i, name in enumerate(names)),
        Rule("rejected below .01", 0.01, colour="bad"),
    )
    said = {name: "no departure seen" if value >= 0.01 else "departs" for name, value in p.items()}
    departs = [name for name, word in said.items() if word == "departs"]
    alt = f"Simulation-based calibration on {n} held-out simulations, Kolmogorov-Smirnov test with Holm's correction: "
    alt += f"{', '.join(departs)} depart." if departs else "no quantity departs from a calibrated posterior."
    table = Table(("quantity", "corrected p", "verdict"), tuple((k, f"{v:.3f}", said[k]) for k, v in p.items()))
    panel = Panel(marks, x_label="corrected p-value", x_range=(0, 1.02), y_names=labels, y_range=(-0.7, len(p) - 0.3))
    return Picture("sbc", "Are ranks of the truth uniform?", alt, table, (panel,), height=28 * len(p) + 100)


def agreement(found: Agreement, name: str) -> Picture:
    r"""Bland-Altman: difference against mean, with bias and limits.

    Arguments:
        found: The agreement.
        name: Symbol of the quantity.

    Returns:
        The picture.

    Example:
        >>> from pulsebayes.calibration.agreement import agree
        >>> agreement(agree(np.array([5.0, 6.0]), np.array([4.0, 6.0])), "CO").key
        'agreement'
    """
    q = quantity_of(name)
    marks: tuple[Mark, ...] = (
        Points("pairs", found.mean, found.difference, "posterior", "circle", 7),
        Rule(f"bias {found.bias:+.2f}", found.bias, axis="y", dash="solid"),
        Rule(f"{found.low:+.2f}", found.low, axis="y"),
        Rule(f"{found.high:+.2f}", found.high, axis="y"),
    )
    rows = (
        ("pairs", str(len(found.mean))),
        (f"bias [{q.unit}]", f"{found.bias:+.2f}"),
        (f"limits of agreement [{q.unit}]", f"{found.low:+.2f} to {found.high:+.2f}"),
        ("percentage error", percent(found.percentage_error)),
    )
    alt = "Bland-Altman: " + "; ".join(f"{a} {b}" for a, b in rows) + "."
    panel = Panel(
        marks, x_label=f"mean of estimate and reference [{q.unit}]", y_label=f"estimate - reference [{q.unit}]"
    )
    return Picture("agreement", f"Agreement of {q.name}", alt, Table(("measure", "value"), rows), (panel,), height=380)


def trending(found: Trending, name: str) -> Picture:
    r"""Four-quadrant plot and polar plot of changes.

    Arguments:
        found: The changes.
        name: Symbol of the quantity.

    Returns:
        The picture.

    Example:
        >>> from pulsebayes.calibration.agreement import track
        >>> len(trending(track(np.array([4.0, 5.0, 4.0]), np.array([4.0, 6.0, 5.0])), "CO").panels)
        2
    """
    q = quantity_of(name)
    reach = 1.1 * float(max([*np.abs(found.reference), *np.abs(found.estimate), 2 * found.zone]))
    far = found.radius > found.zone
    bounds = (-reach, reach)
    left: dict[str, Any] = {
        "x_label": f"change of the reference [{q.unit}]",
        "y_label": f"change of the estimate [{q.unit}]",
    }
    right: dict[str, Any] = {"x_label": f"mean change [{q.unit}], along the line of identity", "y_label": "across it"}
    panels = (
        Panel(_quadrants(found, reach), title="Four quadrants", x_range=bounds, y_range=bounds, **left),
        Panel(_polar(found, far), title="Polar", **right),
    )
    within = float(np.mean(np.abs(found.angle[far]) <= 30)) if far.any() else float("nan")
    rows: tuple[tuple[str, Any], ...] = (
        ("changes counted", str(found.counted)),
        ("concordance", percent(found.concordance) if found.counted else "–"),
        ("within ± 30°", percent(within) if far.any() else "–"),
        (f"zone left out [{q.unit}]", f"± {found.zone:.2f}"),
    )
    alt = "Changes from one pair to the next: " + "; ".join(f"{a} {b}" for a, b in rows) + "."
    return Picture(
        "trending",
        f"Does {q.name} follow the reference?",
        alt,
        Table(("measure", "value"), rows),
        panels,
        columns=2,
        height=420,
    )


def _quadrants(found: Trending, reach: float) -> tuple[Mark, ...]:
    return (
        Span("", -found.zone, found.zone, colour="muted", opacity=0.15),
        Span("", -found.zone, found.zone, axis="y", colour="muted", opacity=0.15),
        Line("identity", [-reach, reach], [-reach, reach], "muted", 1.2, dash="dash"),
        Points("changes", found.reference, found.estimate, "posterior", "circle", 7),
        Rule("", 0.0, dash="solid"),
        Rule("", 0.0, axis="y", dash="solid"),
    )


def _polar(found: Trending, far: Bool[np.ndarray, " change"]) -> tuple[Mark, ...]:
    turn, radius = np.radians(found.angle), found.radius
    fan = np.linspace(0, 1.1 * float(max([*radius, found.zone])), 2)
    rays = [np.radians(angle) for angle in (-30, 30)]
    x, y = radius * np.cos(turn), radius * np.sin(turn)
    return (
        *(Line("± 30°", np.cos(ray) * fan, np.sin(ray) * fan, "muted", 1.2, dash="dash") for ray in rays),
        Points("changes", x[far], y[far], "posterior", "circle", 7),
        Points("too small to count", x[~far], y[~far], "muted", "circle-open", 7),
    )
