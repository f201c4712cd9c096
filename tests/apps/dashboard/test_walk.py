r"""The walk a clinician takes, in a real browser: two widths, two themes, keyboard, drag, console, network, axe.

Needs Playwright, axe-playwright-python and a Chromium of the system; skips saying so where one is missing. Screenshots
go to the folder in $PULSEBAYES_SCREENSHOTS, else to pytest's temporary folder.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="the walk needs playwright (extra `test`)")
CHROMIUM = next(filter(None, (shutil.which(n) for n in ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the walk needs Chromium: apt-get install chromium")

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--disable-default-apps", "--disable-extensions", "--mute-audio",
)  # fmt: skip
SLOWEST_MS = 300_000  # a busy machine is slow, not wrong
WALK = ("Monitor", "Estimates", "Trend", "Why", "What-if")
REST = ("Trust", "Compare", "Equations", "About", "Open")
STRIP = ".st-key-chart-monitor .js-plotly-plot"
SAMPLE = "Simulated patient, two minutes, radial line (sample)"
# Half a second in which nothing runs: a click is told to the server a moment after it was made.
SETTLED = """() => {
    const charts = [...document.querySelectorAll("[data-testid=stPlotlyChart]")];
    const quiet = document.querySelector("[data-testid=stApp]")?.dataset.testScriptState === "notRunning"
        && !document.querySelector("[data-stale=true], [data-testid=stSkeleton]")
        && charts.every(chart => chart.querySelector(".main-svg"));
    window.quietSince = quiet ? (window.quietSince ?? performance.now()) : null;
    return quiet && performance.now() - window.quietSince > 500;
}"""
# Where our own content stands; everything else on the page is Streamlit's or Plotly's.
OURS = "[data-testid=stHtml], [data-testid=stMarkdown], [data-testid=stAlert], [data-testid=stTable]"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    r"""The app on a free port of 127.0.0.1, with the real recordings named at its start where there are any."""
    from pulsebayes.apps.cli.dashboard import streamlit_command

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = Path(__file__).resolve().parents[3]
    data = Path(os.environ.get("PULSEBAYES_DATA") or root.parent / "shared" / "data") / "real"
    environment = {
        **os.environ,
        "PULSEBAYES_DASHBOARD_OPENED": str(data) if data.is_dir() else "",
        "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("xla"))),
    }
    environment.pop("PULSEBAYES_DASHBOARD_MODEL", None)
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("wb") as stream:
        server = subprocess.Popen(streamlit_command(port), env=environment, stdout=stream, stderr=stream)
        try:
            _wait_for(port, server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)
    text = log.read_text(errors="replace")
    assert "Traceback" not in text
    assert "3975656" not in text, "names of recordings must not be logged"


def _wait_for(port: int, server: Any) -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            time.sleep(0.1)
            continue
        return
    pytest.fail("the server did not start")


class Visit:
    r"""One page in the browser, with all it said and asked for."""

    def __init__(self, page: Any, folder: Path) -> None:
        self.page, self.folder = page, folder
        self.said: list[str] = []
        self.asked: set[str] = set()
        page.on("console", lambda m: self.said.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.said.append(str(e)))
        page.on("request", lambda r: self.asked.add(r.url))

    def settle(self) -> None:
        r"""Wait until the page has run through, nothing of the page before is left, and charts are drawn."""
        self.page.evaluate("() => { window.quietSince = null }")
        self.page.wait_for_function(SETTLED, polling=50, timeout=SLOWEST_MS)

    def go(self, name: str) -> None:
        r"""Follow the link of a page, and wait until it stands there without an error."""
        self.page.get_by_role("link", name=name, exact=True).first.click()
        self.page.get_by_role("heading", name=name, level=1).wait_for(timeout=SLOWEST_MS)
        self.settle()
        assert self.page.locator("[data-testid=stException]").count() == 0
        assert self.page.get_by_text("Research use only. Not a medical device.").first.is_visible()

    def open_sample(self) -> None:
        r"""Open the shipped simulated patient."""
        self.page.get_by_role("button", name=SAMPLE).click()
        self.page.get_by_role("heading", name="Monitor", level=1).wait_for(timeout=SLOWEST_MS)
        self.page.locator(STRIP).wait_for(timeout=SLOWEST_MS)
        self.settle()

    def wait_for_what_is_shown(self, name: str) -> None:
        r"""Wait for what a page says when it is whole: the simulator may still be compiling."""
        ready = {"Estimates": "L/min", "Why": "draws of the posterior, simulated", "What-if": "Solid: the scenario."}
        if name in ready:
            self.page.get_by_text(ready[name]).first.wait_for(timeout=SLOWEST_MS)
            self.settle()

    def shoot(self, name: str) -> None:
        r"""Keep a screenshot of the whole page."""
        size = self.page.viewport_size
        height = self.page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollHeight")
        self.page.set_viewport_size({"width": size["width"], "height": min(int(height) + 20, 4000)})
        self.page.wait_for_timeout(400)
        self.page.screenshot(path=self.folder / f"{name}.png")
        self.page.set_viewport_size(size)

    def end(self) -> None:
        r"""Nothing may have been asked of anyone else, and no error said."""
        outside = {
            url for url in self.asked if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))
        }
        self.page.context.close()
        assert not outside
        assert not self.said


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as run:
        opened = run.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    kept = Path(os.environ.get("PULSEBAYES_SCREENSHOTS") or tmp_path)
    kept.mkdir(parents=True, exist_ok=True)
    return kept


def visit(browser: Any, address: str, folder: Path, *, width: int = 1280, scheme: str = "light") -> Visit:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True)
    context.set_default_timeout(SLOWEST_MS)
    found = Visit(context.new_page(), folder)
    found.page.goto(address)
    found.page.get_by_role("heading", name="Open", level=1).wait_for(timeout=SLOWEST_MS)
    found.settle()
    return found


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "light"),
        pytest.param(800, "dark", marks=pytest.mark.slow),
        pytest.param(1280, "dark", marks=pytest.mark.slow),
        pytest.param(800, "light", marks=pytest.mark.slow),
    ],
)
def test_walk_on_the_shipped_recording(browser: Any, address: str, folder: Path, width: int, scheme: str) -> None:
    found = visit(browser, address, folder, width=width, scheme=scheme)
    found.shoot(f"open-{width}-{scheme}")
    found.open_sample()
    for name in WALK:
        found.go(name)
        found.wait_for_what_is_shown(name)
        if name == "Estimates":
            assert re.search(r"about \d+\.\d L/min", found.page.locator(".pb-cards").inner_text())
        wide = found.page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 1, f"{name} is wider than the window"
        found.shoot(f"{name.lower()}-{width}-{scheme}")
    found.end()


@pytest.mark.slow
def test_walk_on_a_real_recording_answers_five_questions(
    browser: Any, address: str, folder: Path, real_data: Path
) -> None:
    found = visit(browser, address, folder)
    field = found.page.get_by_label("Or a path inside it")
    field.fill("physionet_wfdb/3975656_0015.hea")
    begun = time.monotonic()
    found.page.get_by_role("button", name="Open this file").click()
    found.page.get_by_role("heading", name="Monitor", level=1).wait_for(timeout=SLOWEST_MS)
    for question in (
        "Is the signal good?",
        "What is the cardiac output?",
        "How sure?",
        "Why so unsure?",
        "Can I trust the model here?",
    ):
        found.page.get_by_role("heading", name=question).first.wait_for(timeout=SLOWEST_MS)
    assert time.monotonic() - begun < 60
    assert found.page.get_by_text("L/min").first.is_visible()
    for name in WALK:
        found.go(name)
        found.wait_for_what_is_shown(name)
        found.shoot(f"real-{name.lower()}")
    assert "3975656" not in found.page.content() and "3975656" not in found.page.url
    found.end()


@pytest.mark.slow
def test_drag_over_the_strip_picks_the_window(browser: Any, address: str, folder: Path) -> None:
    found = visit(browser, address, folder)
    found.open_sample()
    strip = found.page.locator(STRIP)
    strip.scroll_into_view_if_needed()
    layer = strip.locator(".nsewdrag").first.bounding_box()
    y = layer["y"] + layer["height"] / 2
    found.page.mouse.move(layer["x"] + 0.5 * layer["width"], y)
    found.page.mouse.down()
    found.page.mouse.move(layer["x"] + 0.7 * layer["width"], y, steps=8)
    found.page.mouse.up()
    found.settle()
    start = float(found.page.get_by_label("Window from [s] (8 s long)").input_value())
    assert 14.0 < start < 16.0
    found.end()


@pytest.mark.slow
def test_keyboard_alone_opens_the_sample_and_moves_the_window(browser: Any, address: str, folder: Path) -> None:
    found = visit(browser, address, folder)
    page = found.page

    def tab_to(name: str, most: int = 60) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            said = page.evaluate(
                "() => (document.activeElement.ariaLabel || document.activeElement.innerText || '').trim()"
            )
            if said.startswith(name):
                return
        pytest.fail(f"the keyboard does not reach {name!r}")

    tab_to("Simulated patient")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Monitor", level=1).wait_for(timeout=SLOWEST_MS)
    found.settle()
    tab_to("Forward")
    page.keyboard.press("Enter")
    found.settle()
    assert float(page.get_by_label("View from [s]").input_value()) == 15.0
    tab_to("Window from")
    page.keyboard.press("Control+A")
    page.keyboard.type("40")
    page.keyboard.press("Enter")
    page.get_by_text("40.0 to 48.0 s").first.wait_for(timeout=SLOWEST_MS)
    found.end()


@pytest.mark.slow
def test_figures_tables_and_files_are_there(browser: Any, address: str, folder: Path) -> None:
    found = visit(browser, address, folder)
    found.open_sample()
    found.go("Estimates")
    found.page.get_by_text("Estimates of the window 0 to 8 s: in words").click()
    for kind, head in (("SVG", b"<?xml"), ("PNG", b"\x89PNG"), ("CSV", b"quantity")):
        button = found.page.get_by_role("button", name=f"Save {kind}").first
        button.scroll_into_view_if_needed()
        with found.page.expect_download(timeout=SLOWEST_MS) as caught:
            button.click()
        assert Path(caught.value.path()).read_bytes().startswith(head)
    found.go("About")
    with found.page.expect_download(timeout=SLOWEST_MS) as caught:
        found.page.get_by_role("button", name="Save the report").click()
    assert b"Research use only" in Path(caught.value.path()).read_bytes()
    found.end()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_our_own_content(browser: Any, address: str, folder: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe needs axe-playwright-python")
    found = visit(browser, address, folder, scheme=scheme)
    found.open_sample()
    ours, frameworks = [], []
    for name in (*WALK, *REST):
        found.go(name)
        found.wait_for_what_is_shown(name)
        found.shoot(f"all-{name.lower()}-{scheme}")
        for violation in axe.Axe().run(found.page).response["violations"]:
            if violation["impact"] not in ("serious", "critical"):
                continue
            for node in violation["nodes"]:
                line = f"{name}: {violation['id']} {node['html'][:120]}"
                target = node["target"][0] if isinstance(node["target"][0], str) else "html"
                inside = found.page.evaluate("([t, o]) => !!document.querySelector(t)?.closest(o)", [target, OURS])
                (ours if inside else frameworks).append(line)
    (folder / f"axe-framework-{scheme}.txt").write_text(
        "\n".join(sorted(set(frameworks))) or "none\n", encoding="utf-8"
    )
    assert not ours
    # Every picture says in words what it shows, drawn by Plotly or as an image.
    for name in ("Monitor", "Estimates", "Trend", "Why", "Trust"):
        found.go(name)
        words = found.page.evaluate(
            """() => [...document.querySelectorAll("[data-testid=stPlotlyChart], .pb-plain img")].map(
                c => c.alt || c.ariaLabel || c.querySelector("[aria-label]")?.ariaLabel || "")"""
        )
        assert words and all(len(word) > 20 for word in words), name
