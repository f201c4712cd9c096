r"""The estimates of one window: a line a quantity, and dots to count against a threshold."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

import numpy as np
from jaxtyping import Float

from ...inference.answer import Answer, Estimate
from ...inference.explain import chance_below, quantile_dots
from ...waveforms.quantities import QUANTITIES, Quantity
from .marks import Line, Panel, Picture, Points, Rule, Span, Table, number, percent, typeset
from .palette import palette

__all__ = ["dotplot", "interval_rows", "intervals", "quantity_of", "region_of"]

_DOTS = 50
_WIDTH = 400


def quantity_of(name: str, unit: str = "") -> Quantity:
    r"""What a quantity is called and how it is printed; a plain entry for one that the catalogue does not hold.

    Arguments:
        name: Its symbol.
        unit: Its unit, for one that is not known.

    Returns:
        The entry of the catalogue, its unit typeset.

    Example:
        >>> quantity_of("CO").name
        'cardiac output'
    """
    found = QUANTITIES.get(name) or Quantity(name, name.replace("_", " "), unit, "", 2)
    return replace(found, unit=typeset(found.unit))


def intervals(answer: Answer, names: Sequence[str] = (), *, keep_uninformative: bool = False) -> Picture:
    r"""One line a quantity: median, 50 % and 90 % bars, the prior as a thin line, the usual range as a band.

    Arguments:
        answer: The answer of a window.
        names: Quantities, in order; all of the answer's where empty.
        keep_uninformative: Whether the bars of uninformative quantities are drawn.

    Returns:
        The picture.

    Example:
        >>> e = Estimate("L/min", 4.9, 3.8, 4.4, 5.4, 6.4, 3.8, 6.4, 2.0, 10.0, 0.8)
        >>> intervals(Answer(0.0, 8.0, {}, {"CO": e}, 0.9)).table.rows[0][1]
        '4.9'
    """
    names = [n for n in names or answer.estimates if n in answer.estimates]
    panels, rows = [], []
    for name in names:
        e, q = answer.estimates[name], quantity_of(name, answer.estimates[name].unit)
        hidden = e.uninformative and not keep_uninformative
        region = region_of(answer, name)
        panels.append(_interval_panel(e, q, region, hidden=hidden))
        cells = ["not told"] * 5 if hidden else [number(v, q.decimals) for v in (e.median, e.q25, e.q75, e.q05, e.q95)]
        prior = [number(v, q.decimals) for v in (e.prior_q05, e.prior_q95)]
        promised = (_region_text(region, q),) if answer.regions else ()
        rows.append((f"{q.name} ({name}) [{typeset(e.unit)}]", *cells, *prior, _usual_text(q), *promised))
    columns = ("quantity", "median", "25 %", "75 %", "5 %", "95 %", "prior 5 %", "prior 95 %", "usual adult range")
    columns += ("conformal region",) if answer.regions else ()  # type: ignore[assignment]
    said = "; ".join(f"{r[0]} {r[1]}, 90 % {r[4]} to {r[5]}" for r in rows)
    title = f"Estimates of the window {answer.start_s:g} to {answer.end_s:g} s"
    alt = f"Median and intervals of each quantity against its prior and usual range: {said}."
    return Picture("estimates", title, alt, Table(columns, tuple(rows)), tuple(panels), height=62 * len(panels) + 60)


def region_of(answer: Answer, name: str) -> tuple[float, float] | None:
    r"""What the conformal regions of an answer leave of a quantity: by the region of the fewest quantities.

    Arguments:
        answer: The answer.
        name: The quantity.

    Returns:
        Its ends, infinite where the region has none; None where no region holds the quantity.

    Example:
        >>> region = {"ranges": {"CO": {"low": 3.0, "high": None}}}
        >>> region_of(Answer(0.0, 8.0, {}, {}, 0.9, regions=[region]), "CO")
        (3.0, inf)
    """
    held = [region["ranges"] for region in answer.regions if name in region["ranges"]]
    if not held:
        return None
    ends = min(held, key=len)[name]
    low, high = ends["low"], ends["high"]
    return (-np.inf if low is None else float(low), np.inf if high is None else float(high))


def _region_text(region: tuple[float, float] | None, q: Quantity) -> str:
    if region is None:
        return "none"
    low, high = (number(v, q.decimals) if np.isfinite(v) else "without end" for v in region)
    return f"{low} to {high}"


def _interval_panel(e: Estimate, q: Quantity, region: tuple[float, float] | None, *, hidden: bool) -> Panel:
    marks: list[Line | Points | Span] = []
    if q.usual_low is not None and q.usual_high is not None:
        marks.append(Span("", q.usual_low, q.usual_high, colour="usual"))
    marks.append(Line("prior 90 %", [e.prior_q05, e.prior_q95], [-0.5, -0.5], "prior", 1.5))
    if not hidden:
        marks.append(Line("90 %", [e.q05, e.q95], [0, 0], "posterior", 3))
        marks.append(Line("50 %", [e.q25, e.q75], [0, 0], "posterior", 8))
        marks.append(Points("median", [e.median], [0], "ink", "diamond", 9))
    if region is not None:
        low, high = np.clip(region, *_range(e, q, region))
        marks.append(Line("conformal region", [low, high, high, low, low], [-0.3, -0.3, 0.3, 0.3, -0.3], "caution", 2))
    title = f"{q.name} {q.symbol} [{typeset(e.unit)}]" + (": not told by this signal" if hidden else "")
    return Panel(tuple(marks), title=title, x_range=_range(e, q, region), y_range=(-1, 1), ticks=False)


def _range(e: Estimate, q: Quantity, region: tuple[float, float] | None) -> tuple[float, float]:
    ends = [v for v in region or () if np.isfinite(v)]
    ends += [e.prior_q05, e.prior_q95, e.q05, e.q95]
    ends += [v for v in (q.usual_low, q.usual_high) if v is not None]
    low, high = min(ends), max(ends)
    pad = 0.04 * (high - low)
    return low - pad, high + pad


def _usual_text(q: Quantity) -> str:
    if q.usual_low is None or q.usual_high is None:
        return "none cited"
    return f"{q.usual_low:g} to {q.usual_high:g}"


def dotplot(name: str, draws: Float[np.ndarray, " draw"], threshold: float, *, unit: str) -> Picture:
    r"""Fifty equally likely values of a quantity, and a threshold to count them against.

    Arguments:
        name: Symbol of the quantity.
        draws: Posterior draws.
        threshold: The threshold, in their unit.
        unit: Their unit.

    Returns:
        The picture.

    Example:
        >>> dotplot("CO", np.linspace(3, 7, 1000), 4.0, unit="L/min").table.rows[0][1]
        '25 %'
    """
    q = quantity_of(name, unit)
    x, y = quantile_dots(draws, _DOTS, edge=threshold)
    values = np.quantile(draws, (np.arange(_DOTS) + 0.5) / _DOTS)
    below = values < threshold
    share = chance_below(draws, threshold)
    at = f"{threshold:.{q.decimals}f} {typeset(unit)}"
    dots = (
        Points(f"below {at}", x[below], y[below], "caution", "square", 11),
        Points(f"at or above {at}", x[~below], y[~below], "posterior", "circle", 11),
        Rule("", threshold, colour="ink"),
    )
    ends = (min(values[0], threshold), max(values[-1], threshold))
    pad = 0.06 * (ends[1] - ends[0] or 1.0)
    panel = Panel(
        dots, x_label=q.label, x_range=(ends[0] - pad, ends[1] + pad), y_range=(0, float(y.max()) + 1), ticks=False
    )
    alt = (
        f"Each of the {_DOTS} dots is an equally likely value of {q.name}; {int(below.sum())} lie below {at}: "
        f"the chance of being below is {percent(share)}."
    )
    table = Table(("threshold", "chance below", "chance at or above"), ((at, percent(share), percent(1 - share)),))
    title = f"{q.name.capitalize()}: 1 dot = 1 chance in {_DOTS}"
    return Picture(f"dots-{name}", title, alt, table, (panel,), height=260)


def interval_rows(answer: Answer, names: Sequence[str], *, dark: bool, keep_uninformative: bool = False) -> str:
    r"""The same lines as an HTML table: one row a quantity, readable without the picture.

    Arguments:
        answer: The answer of a window.
        names: Quantities, in order.
        dark: Whether the background is dark.
        keep_uninformative: Whether the numbers of uninformative quantities are shown, greyed.

    Returns:
        HTML.

    Example:
        >>> e = Estimate("L/min", 4.9, 3.8, 4.4, 5.4, 6.4, 3.8, 6.4, 2.0, 10.0, 0.8)
        >>> "cardiac output" in interval_rows(Answer(0.0, 8.0, {}, {"CO": e}, 0.9), ["CO"], dark=False)
        True
    """
    colours = palette(dark=dark)
    heads = (
        "quantity",
        "estimate",
        "90 % sure between",
        "the estimate, what was known before, the usual range",
        "this signal",
    )
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    body = "".join(
        _row(name, answer.estimates[name], region_of(answer, name), colours, keep_uninformative)
        for name in names
        if name in answer.estimates
    )
    caption = f"Estimates of the window {answer.start_s:g} to {answer.end_s:g} s"
    top = f'<caption class="pb-hide">{caption}</caption><thead><tr>{head}</tr></thead>'
    return f'<table class="pb-rows">{top}<tbody>{body}</tbody></table>'


def _row(name: str, e: Estimate, region: tuple[float, float] | None, colours: Mapping[str, str], keep: bool) -> str:
    q = quantity_of(name, e.unit)
    hidden = e.uninformative and not keep
    median, low, high = (number(v, q.decimals) for v in (e.median, e.q05, e.q95))
    unit = escape(typeset(e.unit))
    first = f'<th scope="row">{escape(q.name)}<span class="pb-sub">{escape(name)} [{unit}]</span></th>'
    promised = "" if region is None else f'<span class="pb-sub">region {_region_text(region, q)}</span>'
    faded = ' class="pb-faded"' if e.uninformative else ""
    if hidden:
        numbers = f'<td class="pb-num pb-faded">withheld</td><td class="pb-faded">–{promised}</td>'
    else:
        numbers = f'<td class="pb-num"><span{faded}>{median}</span></td><td{faded}>{low} to {high}{promised}</td>'
    told = _told(e)
    return f"<tr>{first}{numbers}<td>{_interval_image(e, q, region, colours, hidden=hidden)}</td><td>{told}</td></tr>"


def _told(e: Estimate) -> str:
    share = f'<span class="pb-sub">{percent(max(e.contraction, 0.0))} of the prior doubt removed</span>'
    if e.uninformative:
        return f"cannot tell it{share}"
    if e.contraction > 0.95:
        return f"tells it well{share}"
    return f"tells it roughly{share}" if e.contraction > 0.6 else f"hardly tells it{share}"


def _interval_image(
    e: Estimate, q: Quantity, region: tuple[float, float] | None, colours: Mapping[str, str], *, hidden: bool
) -> str:
    low, high = _range(e, q, region)

    def at(value: float) -> float:
        return round((value - low) / (high - low) * _WIDTH, 1)

    parts = []
    if q.usual_low is not None and q.usual_high is not None:
        left, right = at(q.usual_low), at(q.usual_high)
        parts.append(
            f'<rect x="{left}" y="2" width="{right - left}" height="28" fill="{colours["usual"]}" fill-opacity=".3"/>'
            f'<path d="M{left} 2V30M{right} 2V30" stroke="{colours["muted"]}" stroke-dasharray="2 2"/>'
        )
    parts.append(_bar(at(e.prior_q05), at(e.prior_q95), 26, 1.5, colours["prior"]))
    if not hidden:
        own = colours["muted"] if e.uninformative else colours["posterior"]
        parts.append(_bar(at(e.q05), at(e.q95), 14, 3, own))
        parts.append(_bar(at(e.q25), at(e.q75), 14, 9, own))
        x = at(e.median)
        parts.append(
            f'<path d="M{x} 6L{x + 5} 14L{x} 22L{x - 5} 14Z" fill="{colours["ink"]}" stroke="{colours["paper"]}"/>'
        )
    if region is not None:
        left, right = (at(float(v)) for v in np.clip(region, low, high))
        parts.append(
            f'<path d="M{left} 4H{right}V23H{left}Z" fill="none" stroke="{colours["caution"]}" stroke-width="2"/>'
        )
    grey = colours["muted"]
    for value, anchor in ((e.prior_q05, "start"), (e.prior_q95, "end")):
        text = number(value, q.decimals)
        parts.append(f'<text x="{at(value)}" y="43" text-anchor="{anchor}" font-size="13" fill="{grey}">{text}</text>')
    said = f"{q.name}: " + ("withheld" if hidden else f"median {number(e.median, q.decimals)} {typeset(e.unit)}")
    said += f", prior 90 % from {number(e.prior_q05, q.decimals)} to {number(e.prior_q95, q.decimals)}"
    said += f", usual range {_usual_text(q)}"
    said += "" if region is None else f", conformal region {_region_text(region, q)}"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-6 0 {_WIDTH + 12} 46" font-family="sans-serif">'
    picture = b64encode(f"{svg}{''.join(parts)}</svg>".encode()).decode()
    return f'<img class="pb-line" alt="{escape(said)}" src="data:image/svg+xml;base64,{picture}">'


def _bar(start: float, end: float, y: float, width: float, colour: str) -> str:
    return f'<path d="M{start} {y}H{end}" stroke="{colour}" stroke-width="{width}" stroke-linecap="butt"/>'
