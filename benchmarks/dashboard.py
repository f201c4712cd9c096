"""How fast the dashboard answers on a long recording, and how much memory it takes.

`python -m benchmarks.dashboard [--quick] [--json] [--out DIR]`: a recording of one hour, two channels, 500 Hz (ten
minutes with `--quick`) is written and opened in a real browser; what is timed is what a person waits for, from the
click to the picture. Without Chromium the rows of the browser say so.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Row, best, run

FS = 500.0
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-extensions",
)
RANGE = (
    "() => document.querySelector('.st-key-chart-monitor .js-plotly-plot')"
    "?.layout?.xaxis?.range?.map(v => +v.toFixed(2)).join()"
)


def write_recording(folder: Path, seconds: float) -> Path:
    """Writes a WFDB record of arterial pressure and oximetry with a rate and level that wander."""
    import wfdb

    t = np.arange(round(seconds * FS)) / FS
    beats = np.cumsum((72 + 12 * np.sin(t / 97)) / 60) / FS
    phase = (beats % 1) * 0.83
    pulse = np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1)
    level = 70 + 8 * np.sin(t / 211)
    noise = np.random.default_rng(0).normal(0, 0.3, (2, len(t)))
    waves = np.stack([level + 60 * pulse + noise[0], 40 * pulse + noise[1]], axis=1)
    wfdb.wrsamp(
        "long", fs=FS, units=["mmHg", "NU"], sig_name=["ABP", "PLETH"], p_signal=waves, fmt=["16", "16"],
        write_dir=str(folder),
    )  # fmt: skip
    return folder / "long.hea"


def setting(quick: bool) -> tuple[float, str]:
    """Length of the recording [s], and how a row calls it."""
    return (600.0, "10 min, 2 channels, 500 Hz") if quick else (3600.0, "1 h, 2 channels, 500 Hz")


def functions(quick: bool) -> Iterator[Row]:
    """What the pages call, without a browser."""
    import torch

    from pulsebayes.inference.answer import Prior
    from pulsebayes.inference.answering import Question, answer_recording
    from pulsebayes.inference.bundle import Bundle, shipped_bundles
    from pulsebayes.waveforms import Pyramid, read

    torch.set_num_threads(1)
    seconds, name = setting(quick)
    with tempfile.TemporaryDirectory() as folder:
        path = write_recording(Path(folder), seconds)
        took, spread, recording = best(lambda: read(path))
        yield Row("open", "read", name, "time [s]", took, spread)
        took, spread, pyramid = best(lambda: Pyramid.of(recording, "ABP"))
        yield Row("open", "Pyramid.of, one channel", name, "time [s]", took, spread)
        for length in (8.0, 60.0, seconds):
            took, spread, drawn = best(lambda length=length: pyramid.draw(0.0, length), 9)
            yield Row("zoom", "Pyramid.draw", f"{length:g} s, {len(drawn[0])} points", "time [s]", took, spread)
        bundle = Bundle.load(shipped_bundles()["radial-abp"])
        prior = Prior.of(bundle)

        def answer(start: float) -> Any:
            return next(answer_recording(bundle, recording, Question(start_s=start, end_s=start + 8), prior=prior))

        answer(0.0)
        times = [best(lambda start=start: answer(start), 1)[0] for start in np.linspace(8.0, seconds - 16, 9)]
        yield Row(
            "posterior",
            "answer_recording, 2000 draws",
            "one window",
            "time [s]",
            statistics.median(times),
            max(times) - min(times),
        )
    yield from _what_if()


def _what_if() -> Iterator[Row]:
    from pulsebayes.apps.dashboard import simulation

    begun = time.perf_counter()
    simulation.warm()
    yield Row("what-if", "scenario_beat", "first call, with compiling", "time [s]", time.perf_counter() - begun)
    healthy = dict(simulation.PRESETS["Healthy adult"])
    took, spread, _ = best(lambda: simulation.scenario_beat(healthy | {"HR": 81.0}), 9)
    yield Row("what-if", "scenario_beat, 13 sites", "one slider", "time [s]", took, spread)


def server(quick: bool) -> Iterator[Row]:
    """What the server computes for a page: processor time, which a busy machine does not change."""
    from streamlit.testing.v1 import AppTest
    from streamlit.util import calc_hash

    from pulsebayes.apps.dashboard import session
    from pulsebayes.apps.dashboard.entry import app

    seconds, name = setting(quick)
    with tempfile.TemporaryDirectory() as folder:
        path = write_recording(Path(folder), seconds)
        os.environ[session.OPENED] = folder
        test = AppTest.from_file(app.__file__, default_timeout=120)
        test.query_params["rec"] = session.library().open_path(path.name).identity

        def draw() -> float:
            begun = time.process_time()
            test.run()
            return time.process_time() - begun

        draw()
        for page in ("monitor", "estimates", "trust"):
            test._page_hash = calc_hash(page)
            yield Row("page", f"server, {page}", f"{name}, first time", "processor time [s]", draw())
            for task in list(session.desk()._tasks.values()):
                task.wait(120)
            times = [draw() for _ in range(5)]
            yield Row("page", f"server, {page}", "again", "processor time [s]", min(times), max(times) - min(times))
        test._page_hash = calc_hash("monitor")
        draw()
        for label in ("Zoom in", "Forward ▶", "Whole"):
            next(b for b in test.button if b.label == label).click()
            yield Row("zoom", "server", label, "processor time [s]", draw())


def browser(quick: bool) -> Iterator[Row]:
    """What a person waits for, from the click to the picture, in Chromium; and the server's memory."""
    chromium = next(filter(None, (shutil.which(n) for n in ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    seconds, name = setting(quick)
    if chromium is None:
        yield Row("browser", "Chromium and Playwright", name, "not installed", "not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = write_recording(Path(folder), seconds)
        with _server(path.parent) as (url, pid), sync_playwright() as play:
            opened = play.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
            page = opened.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(180_000)
            page.goto(url)
            page.get_by_role("heading", name="Open", level=1).wait_for(timeout=180_000)
            page.wait_for_timeout(1000 if quick else 30_000)  # libraries and compiler are through
            start = _memory(pid)
            page.goto(url)  # as someone who comes now
            page.get_by_label("Or a path inside it").wait_for()
            page.wait_for_timeout(3000)  # who chooses a file looks at the page for a while
            yield Row("memory", "server", "before opening", "resident [MiB]", start)
            yield from _walk(page, name, quick)
            grown = _memory(pid) - start
            yield Row("memory", "server", f"{name}, after all pages, above start", "resident [MiB]", grown)
            opened.close()


def _walk(page: Any, name: str, quick: bool) -> Iterator[Row]:
    page.get_by_label("Or a path inside it").fill("long.hea")

    spent: list[float] = []

    def until_drawn(act: Callable[[], None], ready: str) -> float:
        begun, used = time.perf_counter(), _processor_s()
        act()
        page.wait_for_function(ready, polling=20, timeout=180_000)
        took = time.perf_counter() - begun
        spent.append(_processor_s() - used)
        return took

    def of_it() -> str:
        """Processor seconds of server and browser, which a busy machine does not change; then forgotten."""
        said = f"; processors {statistics.median(spent):.2f} s, at most {max(spent):.2f}"
        spent.clear()
        return said

    first = until_drawn(
        lambda: page.get_by_role("button", name="Open this file").click(),
        "() => document.querySelector('h1')?.innerText === 'Monitor'"
        " && document.querySelector('.st-key-chart-monitor .js-plotly-plot .main-svg')",
    )
    yield Row("first picture", "click to strip drawn", name + of_it(), "time [s]", first)
    page.wait_for_timeout(3000 if quick else 15_000)  # the gate's lane is through
    for part in (_zooms, _pages, _slider)[: 2 if quick else 3]:
        for row in part(page, until_drawn):
            yield replace(row, setting=row.setting + of_it())


def _zooms(page: Any, until_drawn: Callable[[Callable[[], None], str], float]) -> Iterator[Row]:
    times = []
    for button in ("Zoom in", "Forward ▶", "Zoom out", "Zoom out", "Zoom out", "Whole", "Zoom in"):
        before = page.evaluate(RANGE)
        changed = f"() => {{ const now = ({RANGE})(); return now && now !== '{before}' }}"
        times.append(
            until_drawn(page.locator("[data-testid=stBaseButton-secondary]", has_text=button).first.click, changed)
        )
        page.wait_for_timeout(600)
    yield Row(
        "zoom",
        "click to strip drawn",
        f"{len(times)} zooms, median; spread: longest",
        "time [s]",
        statistics.median(times),
        max(times),
    )


def _pages(page: Any, until_drawn: Callable[[Callable[[], None], str], float]) -> Iterator[Row]:
    # Run through on the server, nothing left of the page before, and every chart drawn.
    done = """() => document.querySelector('h1')?.innerText === '{name}'
        && document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'
        && !document.querySelector('[data-stale=true]')
        && [...document.querySelectorAll('[data-testid=stPlotlyChart]')].every(c => c.querySelector('.main-svg'))"""
    for name in ("Estimates", "Trust", "Monitor", "Estimates", "Open"):
        link = page.get_by_role("link", name=name, exact=True).first
        took = until_drawn(link.click, done.format(name=name))
        yield Row("page", f"click to {name}", "window picked before", "time [s]", took)
        page.wait_for_timeout(500)


def _slider(page: Any, until_drawn: Callable[[Callable[[], None], str], float]) -> Iterator[Row]:
    page.get_by_role("link", name="What-if", exact=True).first.click()
    page.locator(".pb-panels img").first.wait_for(timeout=180_000)
    page.wait_for_timeout(2000)
    page.get_by_role("slider").first.focus()
    drawn = "() => [...document.querySelectorAll('.pb-panels img')].map(i => i.src.slice(-900)).join()"
    times = []
    for _ in range(8):
        page.evaluate(f"() => {{ window.drawnBefore = ({drawn})() }}")
        changed = f"() => {{ const now = ({drawn})(); return now && now !== window.drawnBefore }}"
        times.append(until_drawn(lambda: page.keyboard.press("ArrowRight"), changed))
        page.wait_for_timeout(500)
    yield Row(
        "what-if",
        "key to waves drawn",
        "one slider, median; spread: longest",
        "time [s]",
        statistics.median(times),
        max(times),
    )


@contextmanager
def _server(folder: Path) -> Iterator[tuple[str, int]]:
    from pulsebayes.apps.cli.dashboard import streamlit_command

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PULSEBAYES_DASHBOARD_OPENED": str(folder)}
    server = subprocess.Popen(
        streamlit_command(port), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 0.5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", server.pid
    finally:
        server.terminate()
        server.wait(20)


def _processor_s() -> float:
    """Processor time of server and browser so far, all that descends from this process [s]; Linux only."""
    todo, ticks = [os.getpid()], 0
    while todo:
        pid = todo.pop()
        try:
            todo += map(int, " ".join(f.read_text() for f in Path(f"/proc/{pid}/task").glob("*/children")).split())
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # ended in between
            continue
        ticks += 0 if pid == os.getpid() else int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> float:
    """Resident memory of a process [MiB]; Linux only."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    run("dashboard", {"functions": functions, "server": server, "browser": browser})
