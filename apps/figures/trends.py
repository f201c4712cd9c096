r"""Quantities over time: median, 50 and 90 % bands, gaps where windows were refused, references and events over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...inference.answer import Answer, Refusal
from .estimates import quantity_of
from .marks import Band, Line, Mark, Panel, Picture, Points, Rule, Span, Table, number

__all__ = ["shared", "trend"]

_NAN = float("nan")


def trend(
    windows: Sequence[Answer | Refusal],
    names: Sequence[str],
    *,
    duration_s: float,
    references: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    events: Sequence[tuple[float, str]] = (),
    picked: tuple[float, float] = (),  # type: ignore[assignment]
) -> Picture:
    r"""Draws quantities over a recording.

    Arguments:
        windows: Answers and refusals, in order of time.
        names: Quantities, one panel each.
        duration_s: Length of the recording [s].
        references: For a quantity (time [s], value) pairs of a reference device.
        events: (time [s], what happened).
        picked: Start and end of the picked window [s]; empty for none.

    Returns:
        The picture; a click on a point gives the start of its window.

    Example:
        >>> trend([Refusal(0.0, 8.0, "flat")], ["CO"], duration_s=8.0).table.rows[0][1]
        'refused: flat'
    """
    refused = [w for w in windows if isinstance(w, Refusal)]
    panels = [
        _panel(name, windows, refused, (references or {}).get(name, ()), events, picked, duration_s) for name in names
    ]
    answered = [w for w in windows if isinstance(w, Answer)]
    columns = ("window [s]", "verdict", *(f"{n} [{quantity_of(n).unit}]: median (90 %)" for n in names))
    rows = tuple(_row(w, names) for w in windows)
    said = "; ".join(filter(None, (_course(name, answered) for name in names)))
    alt = f"{len(answered)} windows answered, {len(refused)} refused over {duration_s:.0f} s. "
    alt += f"{said or 'Nothing answered'}. {shared(answered)}"
    title = "Trend: median with 50 % and 90 % bands"
    height = 190 * len(panels) + 70
    return Picture(
        "trend", title, alt, Table(columns, rows), tuple(panels), shared_x=True, height=height, pick="points"
    )


def shared(windows: Sequence[Answer | Refusal]) -> str:
    r"""Says whether the windows were estimated one by one, or which of them informed each other.

    Arguments:
        windows: Answers and refusals.

    Returns:
        One or two sentences; nothing where nothing was answered.

    Example:
        >>> shared([Answer(0.0, 8.0, {}, {}, 0.9)])
        'Windows are estimated one by one: what they share is guessed anew in each.'
    """
    answered = [w for w in windows if isinstance(w, Answer)]
    pools = [w.pool for w in answered if w.pool is not None]
    if not answered:
        return ""
    if not pools:
        return "Windows are estimated one by one: what they share is guessed anew in each."
    most = max(pools, key=lambda pool: int(pool["windows"]))
    text = "Pooled: what stays the same in a patient (compliance, pulse wave speed) is told by up to "
    causal = most.get("mode") == "causal"
    text += f"{most['windows']} windows together" + (", each by those up to it" if causal else "")
    text += f", {most['start_s']:g} to {most['end_s']:g} s"
    anchors = list(dict.fromkeys(str(anchor) for pool in pools for anchor in pool["anchors"]))
    text += f", and by the reference {', '.join(anchors)}" if anchors else ""
    parts = len({pool["start_s"] for pool in pools if pool.get("counted", True)})
    return f"{text}. The recording splits into {parts} pools." if parts > 1 else f"{text}."


def _panel(
    name: str,
    windows: Sequence[Answer | Refusal],
    refused: Sequence[Refusal],
    reference: Sequence[tuple[float, float]],
    events: Sequence[tuple[float, str]],
    picked: tuple[float, float],
    duration_s: float,
) -> Panel:
    q = quantity_of(name)
    marks: list[Mark] = []
    if picked:
        marks.append(Span("", *picked, colour="pick", opacity=0.25))
    marks += [Span("", a, b, colour="refused", opacity=0.18) for a, b in _stretches(refused)]
    x, lines = _lines(name, windows)
    for label, low, high, opacity in (("90 %", "q05", "q95", 0.2), ("50 %", "q25", "q75", 0.38)):
        for piece in _pieces(lines["median"]):
            marks.append(Band(label, x[piece], lines[low][piece], lines[high][piece], opacity=opacity))
    keys = [w.start_s if isinstance(w, Answer) else _NAN for w in windows]
    marks.append(Line("median", x, lines["median"], "posterior", 1.8))
    marks.append(Points("window", x, lines["median"], "posterior", "circle", 5, keys=keys, legend=False))
    if reference:
        xs, ys = zip(*reference, strict=True)
        marks.append(Points("reference", xs, ys, "reference", "diamond", 9))
    marks += [Rule(text, at, colour="muted", dash="dot") for at, text in events]
    if q.usual_low is not None and q.usual_high is not None:
        marks += [Rule("", v, axis="y", colour="usual", dash="dot") for v in (q.usual_low, q.usual_high)]
    return Panel(tuple(marks), title=q.name, y_label=q.label, x_label="time [s]", x_range=(0.0, duration_s))


def _lines(name: str, windows: Sequence[Answer | Refusal]) -> tuple[list[float], dict[str, list[float]]]:
    x = [0.5 * (w.start_s + w.end_s) for w in windows]
    lines: dict[str, list[float]] = {k: [] for k in ("median", "q05", "q25", "q75", "q95")}
    for w in windows:
        e = w.estimates.get(name) if isinstance(w, Answer) else None
        for key, values in lines.items():
            values.append(_NAN if e is None or e.uninformative else float(getattr(e, key)))
    return x, lines


def _pieces(values: Sequence[float]) -> list[slice]:
    r"""Runs without gaps: bands are broken where windows were refused."""
    runs, start = [], None
    for i, value in enumerate([*values, _NAN]):
        if value == value and start is None:
            start = i
        elif value != value and start is not None:
            runs.append(slice(start, i))
            start = None
    return runs


def _stretches(refused: Sequence[Refusal]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for w in refused:
        if merged and w.start_s <= merged[-1][1] + 1e-6:
            merged[-1] = (merged[-1][0], max(w.end_s, merged[-1][1]))
        else:
            merged.append((w.start_s, w.end_s))
    return merged


def _row(window: Answer | Refusal, names: Sequence[str]) -> tuple[str, ...]:
    when = f"{window.start_s:.1f} to {window.end_s:.1f}"
    if isinstance(window, Refusal):
        return (when, f"refused: {window.reason}", *("–" for _ in names))
    domain = "not assessed" if window.domain is None else window.domain.verdict
    cells = []
    for name in names:
        e, digits = window.estimates.get(name), quantity_of(name).decimals
        if e is None or e.uninformative:
            cells.append("not told")
        else:
            cells.append(f"{number(e.median, digits)} ({number(e.q05, digits)} to {number(e.q95, digits)})")
    return (when, f"answered, {domain}", *cells)


def _course(name: str, answered: Sequence[Answer]) -> str:
    values = [w.estimates[name].median for w in answered if name in w.estimates and not w.estimates[name].uninformative]
    if not values:
        return ""
    q = quantity_of(name)
    return (
        f"{q.name} from {number(values[0], q.decimals)} at the start to {number(values[-1], q.decimals)} {q.unit} "
        f"at the end, medians between {number(min(values), q.decimals)} and {number(max(values), q.decimals)}"
    )
