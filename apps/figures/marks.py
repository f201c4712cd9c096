r"""What a picture holds, said once: marks in panels, with a text for who cannot see it and a table of its numbers.

A picture knows nothing of Plotly or Matplotlib. Colours are named by role (`ART`, `PLETH`, `prior`, ...) and looked up
in the palette of the theme, so the same picture is drawn dark or light. No mark is told by its colour alone: each has a
name, and those that share a panel differ in dash or symbol too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Band", "Bars", "Line", "Mark", "Panel", "Picture", "Points", "Rule", "Span", "Table"]

Values = Any  # a sequence of numbers


@dataclass(frozen=True)
class Line:
    r"""A line through points; NaN breaks it.

    Arguments:
        name: What it is.
        x: Abscissae.
        y: Ordinates.
        colour: Role of its colour.
        width: Width [px].
        dash: `solid`, `dash` or `dot`.
        legend: Whether the legend names it.
        opacity: Share of its colour that is seen.

    Example:
        >>> Line("ART", [0, 1], [80, 90], "ART").dash
        'solid'
    """

    name: str
    x: Values
    y: Values
    colour: str = "ink"
    width: float = 1.5
    dash: str = "solid"
    legend: bool = True
    opacity: float = 1.0


@dataclass(frozen=True)
class Band:
    r"""The area between two lines.

    Arguments:
        name: What it is.
        x: Abscissae.
        low: Lower ordinates.
        high: Upper ordinates.
        colour: Role of its colour.
        opacity: Share of its colour that is seen.

    Example:
        >>> Band("90 %", [0, 1], [3, 3], [6, 6]).opacity
        0.2
    """

    name: str
    x: Values
    low: Values
    high: Values
    colour: str = "posterior"
    opacity: float = 0.2


@dataclass(frozen=True)
class Points:
    r"""Separate points.

    Arguments:
        name: What they are.
        x: Abscissae.
        y: Ordinates.
        colour: Role of their colour.
        symbol: `circle`, `diamond`, `square`, `triangle-up`, `triangle-down`, `x` or `circle-open`.
        size: Size [px].
        keys: A value for each point, given back when it is clicked.
        opacity: Share of their colour that is seen.
        legend: Whether the legend names them.

    Example:
        >>> Points("beats", [0.4], [120.0]).symbol
        'circle'
    """

    name: str
    x: Values
    y: Values
    colour: str = "ink"
    symbol: str = "circle"
    size: float = 6.0
    keys: Values = ()
    opacity: float = 1.0
    legend: bool = True


@dataclass(frozen=True)
class Bars:
    r"""Bars that stand on zero.

    Arguments:
        name: What they are.
        x: Their places.
        height: Their heights.
        width: Width of each, in the unit of `x`.
        colour: Role of their colour.

    Example:
        >>> Bars("draws", [1.0], [4.0], 0.5).width
        0.5
    """

    name: str
    x: Values
    height: Values
    width: float
    colour: str = "posterior"


@dataclass(frozen=True)
class Rule:
    r"""A line across the whole panel.

    Arguments:
        name: What it stands for; written beside it where it is not empty.
        at: Where.
        axis: `x` for a vertical line, `y` for a level one.
        colour: Role of its colour.
        dash: `solid`, `dash` or `dot`.

    Example:
        >>> Rule("threshold", 4.0).axis
        'x'
    """

    name: str
    at: float
    axis: str = "x"
    colour: str = "ink"
    dash: str = "dash"


@dataclass(frozen=True)
class Span:
    r"""A stretch of an axis, shaded over the whole panel.

    Arguments:
        name: What it stands for; written in it where it is not empty.
        start: Start.
        end: End.
        axis: `x` or `y`.
        colour: Role of its colour.
        opacity: Share of its colour that is seen.

    Example:
        >>> Span("usual", 4.0, 8.0).end
        8.0
    """

    name: str
    start: float
    end: float
    axis: str = "x"
    colour: str = "usual"
    opacity: float = 0.25


Mark = Line | Band | Points | Bars | Rule | Span


@dataclass(frozen=True)
class Panel:
    r"""Marks that share two axes.

    Arguments:
        marks: Drawn one over the other.
        title: Short title.
        x_label: Quantity and unit of the abscissa.
        y_label: Quantity and unit of the ordinate.
        x_range: Ends of the abscissa; empty to fit the marks.
        y_range: Ends of the ordinate; empty to fit the marks.
        x_log: Whether the abscissa is logarithmic.
        height: Height against that of the other rows.
        ticks: Whether the ordinate has ticks.
        y_names: Words at 0, 1, 2, ... on the ordinate instead of numbers.

    Example:
        >>> Panel((Rule("", 4.0),), x_label="CO [L/min]").ticks
        True
    """

    marks: tuple[Mark, ...]
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    x_range: tuple[float, ...] = ()
    y_range: tuple[float, ...] = ()
    x_log: bool = False
    height: float = 1.0
    ticks: bool = True
    y_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    r"""Numbers of a picture, as they are printed.

    Arguments:
        columns: Headings, with units.
        rows: Cells, already in words and digits.

    Raises:
        ValueError: If a row has another length than the headings.

    Example:
        >>> Table(("CO [L/min]",), (("4.9",),)).to_csv()
        'CO [L/min]\r\n4.9\r\n'
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"rows must have {len(self.columns)} cells, got {wrong[0]}")

    def to_csv(self) -> str:
        r"""Returns the table as CSV."""
        import csv
        import io

        stream = io.StringIO()
        csv.writer(stream).writerows([self.columns, *self.rows])
        return stream.getvalue()


@dataclass(frozen=True)
class Picture:
    r"""A figure: panels, with its title, its text alternative and its table.

    Arguments:
        key: Short name, unique on a page, also that of exported files.
        title: What it shows.
        alt: The same in words, with the numbers that matter.
        table: Its numbers.
        panels: Panels, row by row.
        columns: Panels in a row.
        shared_x: Whether the panels share their abscissa.
        height: Height on screen [px].
        strip: Whether it is a monitor's strip: dark in every theme.
        pick: What a drag or a click picks: `""` nothing, `box` a stretch of the abscissa, `points` a point.

    Raises:
        ValueError: If the text alternative is missing.

    Example:
        >>> Picture("co", "Cardiac output", "4.9 L/min", Table(("CO",), ()), (Panel(()),)).columns
        1
    """

    key: str
    title: str
    alt: str
    table: Table
    panels: tuple[Panel, ...]
    columns: int = 1
    shared_x: bool = False
    height: int = 320
    strip: bool = False
    pick: str = ""
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise ValueError(f"picture {self.key!r} needs a text alternative")


def as_list(values: Values) -> list[float | None]:
    r"""Numbers as a list, None where there is none: what JSON can hold."""
    array = np.asarray(values, dtype=np.float64)
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in array]


def number(value: float, decimals: int) -> str:
    r"""A number as it is printed, a dash where there is none."""
    return f"{value:.{decimals}f}" if np.isfinite(value) else "–"


def listed(words: Sequence[str]) -> str:
    r"""Words as a sentence lists them."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def typeset(unit: str) -> str:
    r"""A unit as it is printed: with dots and raised digits.

    Example:
        >>> typeset("dyn s cm^-5")
        'dyn·s·cm⁻⁵'
    """
    return unit.replace("dyn s cm^-5", "dyn·s·cm⁻⁵")


def percent(share: float) -> str:
    r"""A share in whole per cent, as it is printed."""
    return f"{100 * share:.0f} %"
