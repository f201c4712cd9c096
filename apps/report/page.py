r"""A report as one HTML file: no script, no network, pictures as SVG in the page, every one with its table.

What is read from files (names, reasons, cards) is escaped before it enters the page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ...inference.answer import Answer, Refusal
from ..dashboard.words import five_questions
from ..figures.estimates import dotplot, interval_rows, quantity_of
from ..figures.marks import Line, Panel, Picture, Table
from ..figures.static import draw_static
from ..figures.trends import shared, trend

__all__ = ["LARGEST_BYTES", "NOTICE", "read_style", "report_page", "show_figure"]

LARGEST_BYTES = 5_000_000
r"""A report stays below this size."""
NOTICE = "Research use only. Not a medical device."
_FIRST = ("CO", "SV", "SVR", "MAP", "HR")
_TREND = ("CO", "SVR", "MAP", "HR")
_MOST_WINDOWS = 1500
_STYLE = Path(__file__).with_name("report.css")


def report_page(
    windows: Sequence[Answer | Refusal],
    *,
    title: str,
    model: str,
    card: str = "",
    wave: tuple[Float[np.ndarray, " T"], float] | None = None,
    role: str = "ART",
    unit: str = "mmHg",
) -> str:
    r"""Writes a report.

    Arguments:
        windows: Answers and refusals, in order of time.
        title: What the recording is called.
        model: Name of the model.
        card: Its card, in Markdown.
        wave: Samples and rate [Hz] of the window that is shown; None for none.
        role: Role of the channel.
        unit: Its unit.

    Returns:
        The page.

    Raises:
        ValueError: If there is no window.

    Example:
        >>> page = report_page([Refusal(0.0, 8.0, "flat")], title="a <b>", model="radial-abp")
        >>> "a &lt;b&gt;" in page, "https://" in page
        (True, False)
    """
    if not windows:
        raise ValueError("a report needs at least one window, got none")
    windows = _thinned(windows)
    shown = _typical(windows)
    parts = [_head(title, model, windows)]
    parts.append(f"<h2>Window {shown.start_s:g} to {shown.end_s:g} s: five questions</h2>{_five(shown)}")
    if wave is not None:
        parts.append(show_figure(_wave(wave, shown, role, unit)))
    if isinstance(shown, Answer):
        parts.append(_estimates(shown))
    if len(windows) > 1:
        names = [n for n in _TREND if _known(windows, n)]
        parts.append("<h2>Over the recording</h2>")
        if names:
            parts.append(f"<p>{escape(shared(windows))}</p>")
            parts.append(show_figure(trend(windows, names, duration_s=max(w.end_s for w in windows))))
    parts.append(_refusals(windows))
    if card:
        parts.append(
            f"<h2>The model</h2><details><summary>Card of {escape(model)}</summary><pre>{escape(card)}</pre></details>"
        )
    body = "\n".join(parts)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}: pulsebayes report</title>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><style>{read_style()}</style></head>'
        f'<body><main>{body}</main><footer><p class="notice">{NOTICE}</p></footer></body></html>\n'
    )


def _thinned(windows: Sequence[Answer | Refusal]) -> list[Answer | Refusal]:
    r"""At most so many windows that page and tables stay small, evenly chosen."""
    step = max(1, -(-len(windows) // _MOST_WINDOWS))
    return list(windows[::step])


def _typical(windows: Sequence[Answer | Refusal]) -> Answer | Refusal:
    r"""The answered window in the middle; the first refusal where none was answered."""
    answered = [w for w in windows if isinstance(w, Answer)]
    return answered[len(answered) // 2] if answered else windows[0]


def _known(windows: Sequence[Answer | Refusal], name: str) -> bool:
    return any(isinstance(w, Answer) and name in w.estimates for w in windows)


def _head(title: str, model: str, windows: Sequence[Answer | Refusal]) -> str:
    refused = sum(isinstance(w, Refusal) for w in windows)
    return (
        f'<h1>{escape(title)}</h1><p class="notice">{NOTICE}</p><p>Model <b>{escape(model)}</b>; '
        f"{len(windows) - refused} windows answered, {refused} refused; "
        f"{windows[0].start_s:g} to {max(w.end_s for w in windows):g} s.</p>"
    )


def _five(result: Answer | Refusal) -> str:
    name = "CO" if isinstance(result, Refusal) or "CO" in result.estimates else next(iter(result.estimates))
    rows = "".join(
        f"<dt>{escape(s.question)}</dt><dd><b>{s.mark} {escape(s.answer)}</b><br>{escape(s.detail)}</dd>"
        for s in five_questions(result, name=name)
    )
    return f'<dl class="five">{rows}</dl>'


def _estimates(answer: Answer) -> str:
    names = [*(n for n in _FIRST if n in answer.estimates), *(n for n in answer.estimates if n not in _FIRST)]
    parts = ["<h2>Estimates</h2>", interval_rows(answer, names, dark=False)]
    sources = sorted({str(quantity_of(n).usual_source) for n in names if quantity_of(n).usual_source})
    plain = [re.sub(r",?\s*https?://\S+", "", source) for source in sources]
    parts.append(
        "<p>◆ median; thick bar 50 %, thin bar 90 %; grey line: 90 % before the signal was seen; pale band: usual "
        f"range of resting adults. Sources differ; these are from {escape('; '.join(plain))}.</p>"
    )
    low = quantity_of("CO").usual_low
    if "CO" in answer.draws and not answer.estimates["CO"].uninformative and low is not None:
        parts.append(show_figure(dotplot("CO", answer.draws["CO"], low, unit=answer.estimates["CO"].unit)))
    lines = "".join(f"<li>{escape(line)}</li>" for line in answer.sources().values())
    return "".join([*parts, f"<h2>Where these numbers come from</h2><ul>{lines}</ul>"])


def _wave(wave: tuple[Float[np.ndarray, " T"], float], shown: Answer | Refusal, role: str, unit: str) -> Picture:
    values, fs = wave
    times = shown.start_s + np.arange(len(values)) / fs
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (float("nan"), float("nan"))
    alt = f"{role} from {times[0]:.1f} to {times[-1]:.1f} s, between {low:.0f} and {high:.0f} {unit}."
    table = Table(("channel", "least", "greatest", "unit"), ((role, f"{low:.1f}", f"{high:.1f}", unit),))
    panel = Panel((Line(role, times, values, role, 1.3),), x_label="time [s]", y_label=f"{role} [{unit}]")
    return Picture("window", "The window", alt, table, (panel,), height=240)


def read_style() -> str:
    r"""The style sheet of every page.

    Example:
        >>> "font" in read_style()
        True
    """
    return _STYLE.read_text(encoding="utf-8")


def show_figure(shown: Picture) -> str:
    r"""A picture as SVG in the page, with its text alternative and its table.

    Arguments:
        shown: The picture.

    Example:
        >>> panel = Panel((Line("ART", [0, 1], [80, 90], "ART"),), y_label="ART [mmHg]")
        >>> show_figure(Picture("p", "Pressure", "It rises.", Table(("t",), ()), (panel,)))[:8]
        '<figure>'
    """
    svg = draw_static(shown).decode("utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(shown.alt, quote=True)}"', 1)
    # Names inside one picture must not meet those of another in the same page.
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{shown.key}-", svg)
    return f"<figure>{svg}<figcaption>{escape(shown.alt)}</figcaption>{_table(shown)}</figure>"


def _table(shown: Picture) -> str:
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in shown.table.columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in shown.table.rows)
    return (
        f"<details><summary>{escape(shown.title)} as a table</summary><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></details>"
    )


def _refusals(windows: Sequence[Answer | Refusal]) -> str:
    refused = [w for w in windows if isinstance(w, Refusal)]
    if not refused:
        return ""
    by_reason: dict[str, list[Refusal]] = {}
    for w in refused:
        by_reason.setdefault(w.reason, []).append(w)
    rows = "".join(
        f"<tr><td>{escape(reason)}</td><td>{len(rows)}</td><td>{rows[0].start_s:g} s</td></tr>"
        for reason, rows in sorted(by_reason.items())
    )
    head = '<tr><th scope="col">reason</th><th scope="col">windows</th><th scope="col">first at</th></tr>'
    return f"<h2>Refused</h2><table><thead>{head}</thead><tbody>{rows}</tbody></table>"
