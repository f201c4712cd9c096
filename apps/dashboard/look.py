r"""How pages look: style, headings, cards, refusals, and pictures with their words, table and files beside them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import streamlit as st

from ..figures.interactive import draw_interactive
from ..figures.light import draw_light
from ..figures.marks import Picture
from ..figures.palette import palette
from ..figures.plain import draw_plain
from ..figures.static import draw_static
from . import session
from .words import Said

NOTICE = "Research use only. Not a medical device."
_SHEET = Path(__file__).with_name("style.css")
_HALF = 540  # width of an image that stands beside another [px]
_STATES = {"good": "good", "caution": "caution", "bad": "bad", "none": "muted"}


def is_dark() -> bool:
    r"""Whether the theme in use is dark."""
    return getattr(st.context.theme, "type", None) == "dark"


def icon() -> Any:
    r"""A pulse on a dark square: an icon of our own, as one by name would be fetched from the network."""
    square = np.full((32, 32, 3), (10, 13, 18), np.uint8)
    heights = np.interp(np.arange(32), [0, 8, 12, 15, 18, 22, 31], [20, 20, 5, 26, 14, 20, 20]).astype(int)
    for x, y in enumerate(heights):
        low, high = sorted((y, int(heights[max(x - 1, 0)])))
        square[low : high + 3, x] = (255, 107, 107)
    from PIL import Image

    return Image.fromarray(square)


def style() -> None:
    r"""Put the pages' own style on the page, in the colours of the theme."""
    sheet = Template(_SHEET.read_text(encoding="utf-8")).substitute(palette(dark=is_dark()))
    st.html(f"<style>{sheet}</style>")


def heading(title: str, about: str) -> None:
    r"""Title of a page, one sentence on what it is for, and what is open.

    Arguments:
        title: Title.
        about: One sentence.
    """
    try:
        case = session.case()
    except ValueError:
        case = None
    if case is not None:
        session.begin_at_usable(case)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(title, anchor=False, width="content")
        st.html(f'<span class="pb-notice">{NOTICE}</span>', width="content")
        if case is not None and session.main_channel(case) is not None:
            report_button(case, "Save report")
    parts = [f"<span>{escape(about)}</span>"]
    if case is not None:
        shown = case.source.name if st.session_state.get("show_names") else case.source.label
        parts.append(f"<span><b>{escape(shown)}</b>, {clock(case.recording.duration_s)}</span>")
        parts.append("<span>window <b>{:.1f} to {:.1f} s</b></span>".format(*session.window(case)))
        parts.append(f"<span>model <b>{escape(session.model()[0].name)}</b></span>")
    st.html(f'<div class="pb-bar">{"".join(parts)}</div>')


def fetch_ahead() -> None:
    r"""Let the browser fetch and read what draws charts and fields, unseen, before the first recording is opened."""
    with st.container(key="fetch-ahead"):
        st.plotly_chart({"data": [{"x": [0], "y": [0]}], "layout": {"height": 10}}, key="chart-ahead", alt="nothing")
        st.number_input("nothing", key="field-ahead", disabled=True)


def report_button(case: session.Case, label: str, *, key: str = "report") -> None:
    r"""A button that saves the picked window as one HTML file, made when it is pressed.

    Arguments:
        case: The recording.
        label: What stands on the button.
        key: What it is known by.
    """
    bundle = session.model()[0]
    contract, answer = bundle.contract, session.answering(case, *session.window(case))

    def make() -> bytes:
        from ..report.page import report_page

        made = answer()
        html = report_page(
            [made.result],
            title=case.source.label,
            model=bundle.name,
            card=bundle.card,
            wave=(made.values, contract.fs),
            role=contract.role,
            unit=contract.unit,
        )
        return html.encode()

    st.download_button(
        label,
        make,
        "pulsebayes-report.html",
        "text/html",
        key=key,
        on_click="ignore",
        icon=":material/description:",
        help="The picked window as one HTML file that can be printed and read without a network",
    )


def clock(seconds: float) -> str:
    r"""A length of time as it is said: `52 s`, `2 min 00 s`, `1 h 03 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def cards(said: Sequence[Said]) -> None:
    r"""Questions and their answers, side by side.

    Arguments:
        said: The answers.
    """
    body = "".join(
        f'<section class="pb-card pb-{_STATES[s.state]}"><h3>{escape(s.question)}</h3>'
        f'<div class="pb-big"><span class="pb-mark" aria-hidden="true">{s.mark}</span> {escape(s.answer)}</div>'
        f"<p>{escape(s.detail)}</p></section>"
        for s in said
    )
    st.html(f'<div class="pb-cards">{body}</div>')


def picture(shown: Picture, *, key: str = "", beside: bool = True, on_select: Any = "rerun") -> Any:
    r"""A picture, with its text alternative, its table and its files below.

    A chart library draws it where a drag or a click on it picks something; else it is a plain image.

    Arguments:
        shown: The picture.
        key: Key of the chart where the picture's own would come twice on a page.
        beside: Whether words, table and files stand below it; where not, `details` puts them elsewhere.
        on_select: What is called when something is picked; the page is drawn again after it.

    Returns:
        What Streamlit gives back for a chart: the selection, where the picture asks for one.
    """
    key = key or shown.key
    if not shown.pick:
        st.html(draw_plain(shown, dark=is_dark()))
        if beside:
            details(shown, key=key)
        return None
    figure = draw_interactive(shown, dark=is_dark())
    # A strip is zoomed by the page, which has the samples; Plotly would only enlarge the points that were drawn.
    zooms = ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"] if shown.pick == "box" else []
    config: dict[str, Any] = {"displaylogo": False, "scrollZoom": False, "doubleClick": False if zooms else "reset"}
    config["modeBarButtonsToRemove"] = ["lasso2d", "autoScale2d", *zooms]
    config["toImageButtonOptions"] = {"filename": shown.key, "format": "png", "scale": 2}
    more: dict[str, Any] = {"on_select": on_select, "selection_mode": ("box", "points")}
    event = st.plotly_chart(figure, theme=None, key=f"chart-{key}", config=config, alt=shown.alt, **more)
    if beside:
        details(shown, key=key)
    return event


def side_by_side(pictures: Sequence[Picture]) -> None:
    r"""Plain images beside each other where there is room, with their words, tables and files below.

    Arguments:
        pictures: The pictures.
    """
    drawn = "".join(draw_plain(shown, dark=is_dark(), width=_HALF) for shown in pictures)
    st.html(f'<div class="pb-beside">{drawn}</div>')
    for shown in pictures:
        details(shown)


def panels(shown: Picture, *, single: bool = False) -> None:
    r"""A picture of lines that follows a slider: drawn as plain images, with its words, table and files below.

    Arguments:
        shown: The picture.
        single: Whether each image is as wide as there is room.
    """
    st.html(draw_light(shown, dark=is_dark(), single=single))
    details(shown)


def details(shown: Picture, *, key: str = "") -> None:
    r"""The words, the table and the files of a picture, folded.

    Arguments:
        shown: The picture.
        key: What its buttons are known by, where the picture's own key would come twice on a page.
    """
    with st.expander(f"{shown.title.removesuffix('?')}: in words, as a table, as a file"):
        table(shown, words=shown.alt)
        files(shown, key or shown.key)


def table(shown: Picture, *, words: str = "") -> None:
    r"""The numbers of a picture as an HTML table.

    Arguments:
        shown: The picture.
        words: What is said over the table.
    """
    rows = shown.table.rows[:400]
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in shown.table.columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    caption = f'<caption class="pb-hide">{escape(shown.title)}</caption>'
    said = f'<p class="pb-words">{escape(words)}</p>' if words else ""
    st.html(f'{said}<table class="pb-rows">{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')
    if len(shown.table.rows) > len(rows):
        st.caption(f"The first {len(rows)} of {len(shown.table.rows)} rows; the CSV file has all.")


def files(shown: Picture, key: str) -> None:
    r"""Buttons that save a picture and its table; the files are drawn when they are asked for.

    Arguments:
        shown: The picture.
        key: What the buttons are known by.
    """
    kinds = (("SVG", "svg", "image/svg+xml"), ("PNG", "png", "image/png"), ("CSV", "csv", "text/csv"))
    with st.container(horizontal=True):
        for name, form, mime in kinds:

            def make(form: str = form) -> bytes:
                return shown.table.to_csv().encode() if form == "csv" else draw_static(shown, form=form)

            file_name = f"pulsebayes-{shown.key}.{form}"
            st.download_button(f"Save {name}", make, file_name, mime, key=f"{form}-{key}", on_click="ignore")


def failure(error: Exception, *, say: bool = True) -> None:
    r"""Something that went wrong: what was expected, what was found, what to try.

    Arguments:
        error: The error.
        say: Whether it can be mended by saying on *Open* what the channels are.
    """
    message = str(getattr(error, "message", "") or error)
    st.error(message, icon=":material/error:")
    hint = getattr(error, "hint", None)
    if hint:
        st.write(f"**Try:** `{hint}`" + (", or say it under *Open* → *What the channels are*." if say else "."))


def next_usable(case: session.Case) -> None:
    r"""A button that goes on to the next window that is answered.

    Arguments:
        case: The recording.
    """
    if not st.button("Go to the next usable window", icon=":material/skip_next:", key="next-usable", type="primary"):
        return
    after = session.window(case)[1]
    found = session.find_usable(case, after)
    if found is None:
        st.warning(
            f"No window looked at after {after:.0f} s can be answered. The red parts of the lane on *Monitor* "
            "are refused: pick a green one."
        )
        return
    session.pick(found, case)
    st.rerun()


def absent(title: str, what: str, how: str) -> None:
    r"""A part that is not there yet: what it will show, and how it comes about.

    Arguments:
        title: Its title.
        what: What it shows.
        how: What makes it appear.
    """
    st.markdown(f"##### {title}")
    st.info(f"{what} {how}", icon=":material/hourglass_empty:")


def need_case() -> session.Case:
    r"""The recording that is open; where there is none the page says so and ends.

    Returns:
        The recording.
    """
    try:
        case = session.case()
    except (ValueError, OSError) as error:
        failure(error)
        st.page_link(st.session_state["pages"]["open"], label="Open another recording", icon=":material/folder_open:")
        st.stop()
    if case is None:
        if st.session_state.get("missing"):
            st.warning(
                "The address names a recording that is not open here. Drop the same file on *Open*: addresses carry "
                "no data."
            )
        st.info("No recording is open yet.", icon=":material/folder_open:")
        st.page_link(st.session_state["pages"]["open"], label="Open a recording", icon=":material/folder_open:")
        st.stop()
    return case
