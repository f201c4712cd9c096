r"""What the dashboard's tests share: the app in Streamlit's own harness, and files to open."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("streamlit", reason="the dashboard needs the extra `app`")
pytest.importorskip("plotly", reason="the dashboard needs the extra `app`")

SAMPLE = "sample-simulated-patient"
PAGES = (
    "open", "monitor", "estimates", "trend", "why", "trust", "compare", "what-if", "equations", "about",
)  # fmt: skip


_SITES = {"Radial": "radial artery, the line", "AorticRoot": "aortic root"}


@cache
def small_network() -> Any:
    r"""Two sites and few lines compile in a few seconds, once for all tests."""
    from pulsebayes.simulators.network.linear import LinearNetwork

    return LinearNetwork(beat="periodic", sites=tuple(_SITES), n_frequencies=16, n_phases=200)


def pulse(seconds: float, fs: float = 125.0, rate: float = 72.0) -> np.ndarray:
    r"""A plain arterial pulse [mmHg]."""
    phase = (np.arange(round(seconds * fs)) / fs + 0.3) % (60.0 / rate)
    return 70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1)


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    r"""A folder with a good recording, one with a flat stretch, one without a unit, and one that is no recording."""
    folder = tmp_path / "opened"
    folder.mkdir()
    good = pulse(40)
    for name, head, wave in (
        ("good", "ABP [mmHg]", good),
        ("flat", "ABP [mmHg]", np.concatenate([np.full(2000, 80.0), good])),
        ("unitless", "ABP", good),
        ("unnamed", "thing [mmHg]", good),
    ):
        rows = "".join(f"{i / 125:.3f},{v:.2f}\n" for i, v in enumerate(wave))
        (folder / f"{name}.csv").write_text(f"time [s],{head}\n{rows}")
    (folder / "broken.csv").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "secret.csv").write_text("time [s],ABP [mmHg]\n0,80\n")
    return folder


@pytest.fixture
def app(opened: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    r"""Run the app at a page, with a recording open or an address followed."""
    from streamlit.testing.v1 import AppTest
    from streamlit.util import calc_hash

    from pulsebayes.apps.dashboard import session, simulation
    from pulsebayes.apps.dashboard.entry import app as entry

    monkeypatch.setenv("PULSEBAYES_DASHBOARD_OPENED", os.fspath(opened))
    monkeypatch.delenv("PULSEBAYES_DASHBOARD_MODEL", raising=False)
    session.library.clear()  # the model stays: it is the same for all
    session.desk.clear()
    monkeypatch.setattr(simulation, "SHOWN", _SITES)
    monkeypatch.setattr(simulation, "network", small_network)

    def at(page: str, *, file: str = "", sample: bool = False, **address: str) -> Any:
        test = AppTest.from_file(entry.__file__, default_timeout=300)
        for key, value in address.items():
            test.query_params[key] = value
        if file:
            test.query_params["rec"] = session.library().open_path(file).identity
        if sample:
            test.query_params["rec"] = SAMPLE
        test.run()
        test._page_hash = calc_hash("" if page == "open" else page)
        return test.run()

    yield at
    session.library.clear()
    session.desk.clear()


def said(test: Any) -> str:
    r"""Everything a page says, in one string."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "info", "warning", "error", "success", "html")
    return "\n".join(str(getattr(e, "value", "") or getattr(e, "body", "")) for kind in kinds for e in test.get(kind))
