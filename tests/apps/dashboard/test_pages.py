r"""Every page in every state: nothing open, open, refused, unreadable; the notice stands on all of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsebayes.apps.dashboard import simulation
from pulsebayes.apps.figures.loops import pressure_volume
from pulsebayes.calibration.conformal.gauge import FittedNorm, Whitening
from pulsebayes.calibration.conformal.layer import ConformalLayer, ConformalSet, Pools, save_layer
from pulsebayes.calibration.conformal.region import Coordinates
from pulsebayes.calibration.conformal.residual import FittedResidualScore, PosteriorResidual
from pulsebayes.inference.bundle import find_bundle

from .conftest import PAGES, SAMPLE, said

App = Callable[..., Any]
NOTICE = "Research use only. Not a medical device."


@pytest.mark.parametrize("page", PAGES)
def test_page_without_a_recording_explains_itself(app: App, page: str) -> None:
    test = app(page)
    assert not test.exception
    assert NOTICE in said(test)


@pytest.mark.parametrize("page", PAGES)
def test_page_with_the_sample_says_what_it_is_about(app: App, page: str) -> None:
    test = app(page, sample=True)
    assert not test.exception and not test.error
    text = said(test)
    assert NOTICE in text and "Simulated patient" in text


def test_five_questions_are_answered_on_the_monitor(app: App) -> None:
    text = said(app("monitor", sample=True))
    for question in ("signal good", "cardiac output", "How sure", "Why so unsure", "trust the model"):
        assert question in text
    assert "L/min" in text and "9 in 10" in text


def test_refused_window_has_no_number_and_says_why(app: App) -> None:
    test = app("estimates", file="flat.csv", t="0")
    text = said(test)
    assert not test.exception
    assert "Refused (flat)" in text and "Not answered" in text and "9 in 10" not in text


def test_missing_unit_is_told_with_the_option_that_fits(app: App) -> None:
    test = app("estimates", file="unitless.csv")
    assert not test.exception
    assert "unit" in test.error[0].value and "--unit ART=mmHg" in said(test)


def test_unnamed_channel_can_be_named_on_the_page(app: App) -> None:
    test = app("open", file="unnamed.csv")
    assert "no single channel here is called so" in said(test)
    selects = {s.label: s for s in test.selectbox}
    selects["Channel"].set_value("thing")
    selects["is"].set_value("ART")
    next(b for b in test.button if b.label == "Read it again").click()
    test.run()
    assert not test.exception and "**thing** is read as" in said(test)


def test_unreadable_file_is_told_without_a_traceback_or_its_name(app: App) -> None:
    test = app("monitor", file="broken.csv")
    assert not test.exception
    assert test.error and "broken" not in test.error[0].value


def test_file_names_are_shown_only_on_request(app: App) -> None:
    test = app("open", file="good.csv")
    assert "good.csv" not in said(test)
    test.checkbox(key="show_names").check().run()
    assert "good.csv" in said(test)


def test_address_restores_window_and_view(app: App) -> None:
    test = app("monitor", sample=True, t="24", view="20-50", q="SVR")
    assert "24.0 to 32.0 s" in said(test)
    assert test.session_state["view"] == (20.0, 50.0)


def test_address_never_holds_a_name_or_a_path(app: App) -> None:
    test = app("monitor", file="good.csv")
    assert "good" not in str(dict(test.query_params)) and "/" not in str(dict(test.query_params))


def test_address_of_an_unknown_recording_asks_for_the_file(app: App) -> None:
    assert "addresses carry no data" in said(app("monitor", rec="0123456789abcdef"))


@pytest.mark.parametrize(
    "address", [{"t": "nan"}, {"t": "-5"}, {"view": "9-1"}, {"view": "a-b"}, {"level": "7"}, {"q": "<b>"}]
)
def test_nonsense_in_the_address_is_left_out(app: App, address: dict[str, str]) -> None:
    test = app("estimates", rec=SAMPLE, **address)
    assert not test.exception and "0.0 to 8.0 s" in said(test)


def test_fields_pick_the_window_as_a_drag_does(app: App) -> None:
    test = app("monitor", sample=True)
    next(n for n in test.number_input if n.label.startswith("Window from")).set_value(16.0).run()
    assert test.session_state["start_s"] == 16.0 and "16.0 to 24.0 s" in said(test)


def test_buttons_move_and_zoom_the_view(app: App) -> None:
    test = app("monitor", sample=True)
    next(b for b in test.button if b.label == "Forward ▶").click().run()
    assert test.session_state["view"] == (15.0, 45.0)
    next(b for b in test.button if b.label == "Whole").click().run()
    assert test.session_state["view"] == (0.0, 120.0)


def test_threshold_counts_dots_and_says_the_chance(app: App) -> None:
    test = app("estimates", sample=True)
    next(n for n in test.number_input if n.label.startswith("Threshold")).set_value(100.0).run()
    assert "**100 %** (50 of 50 dots)" in said(test)


def test_uninformative_quantities_are_withheld_until_asked_for(app: App) -> None:
    test = app("estimates", sample=True)
    assert "withheld" in said(test)
    test.toggle(key="keep_uninformative").set_value(True).run()
    assert "withheld" not in said(test)


@pytest.mark.parametrize("rec", ["../secret.csv", "/etc/passwd", "good.csv", "upload", "<script>", "a\0b"])
def test_address_that_names_a_file_opens_none(app: App, rec: str) -> None:
    test = app("monitor", rec=rec)
    assert not test.exception and "addresses carry no data" in said(test)
    assert "rec" not in test.session_state and "passwd" not in said(test)


def test_path_outside_what_was_opened_is_refused_as_if_it_were_not_there(app: App) -> None:
    test = app("open")
    field = next(t for t in test.text_input if "path" in t.label)
    told = []
    for path in ("../secret.csv", "/etc/passwd", "../no-such-file.csv"):
        field.set_value(path)
        next(b for b in test.button if b.label == "Open this file").click()
        test.run()
        told.append(test.error[0].value.partition(": ")[2])
        assert "rec" not in test.session_state
    assert len(set(told)) == 1


def finished(test: Any, *about: str) -> Any:
    r"""Wait for the work in the background, then draw the page again."""
    from pulsebayes.apps.dashboard import session

    for task in list(session.desk()._tasks.values()):
        assert task.wait(120), about
    return test.run()


def test_trend_tables_every_window_and_leaves_gaps(app: App) -> None:
    test = finished(app("trend", file="flat.csv"))
    text = said(test)
    assert not test.exception
    assert "refused: flat" in text and "answered" in text


def test_trend_names_which_windows_inform_each_other(app: App) -> None:
    test = finished(app("trend", sample=True))
    text = said(test)
    assert "told by up to" in text and "windows together, 0 to 120 s" in text and "estimated one by one" not in text
    test.selectbox(key="pool").set_value("each window alone").run()
    assert "one by one" in said(finished(test))
    assert not test.exception


def test_trend_can_be_stopped_and_taken_up_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from pulsebayes.apps.dashboard.pages import trend

    gate = threading.Event()
    slim = trend._slim
    monkeypatch.setattr(trend, "_slim", lambda window: (gate.wait(30), slim(window))[1])
    test = app("trend", sample=True)
    test.button(key="stop").click()
    test.run()
    gate.set()
    test = finished(test)
    assert "Stopped after" in said(test)
    test.button(key="again").click().run()
    test = finished(test)
    assert not test.exception and "Stopped after" not in said(test)


def test_why_says_what_the_signal_cannot_tell(app: App) -> None:
    test = finished(app("why", sample=True))
    text = said(test)
    assert not test.exception
    assert "**cannot tell** central venous pressure" in text and "beats simulated from posterior draws" in text


def test_regions_of_pools_are_not_shown_of_a_window_alone(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle with a made-up limit; the trend is answered in its pools and nothing else is offered."""
    bundle, folder = find_bundle("radial-abp"), tmp_path / "pooled"
    shutil.copytree(bundle, folder)
    score = FittedNorm(Whitening(np.zeros(1), np.eye(1)))
    coordinates = Coordinates(("CO",), ("L/min",), (True,))
    made = ConformalSet("mahalanobis", FittedResidualScore(PosteriorResidual(), score), coordinates, 2.0, 0.1, 40, 80,
                        "a promise", np.zeros((0, 1)))  # fmt: skip
    save_layer(ConformalLayer((made,), 1000, (), pools=Pools("recording")), folder)
    monkeypatch.setenv("PULSEBAYES_DASHBOARD_MODEL", str(folder))
    text = said(app("trust", sample=True))
    assert "a promise" in text and "This window was answered alone" in text
    assert "windows answered given their whole recording, one every 8 s" in text
    trend = app("trend", sample=True)
    assert not trend.exception and "Windows are told by" not in [box.label for box in trend.selectbox]


def test_trust_says_inside_and_what_is_missing(app: App) -> None:
    text = said(app("trust", sample=True))
    assert "**Inside.**" in text and "4095" in text
    assert "Conformal region" in text and "Couplings" in text


def test_what_if_starts_at_the_posterior_median_and_takes_presets(app: App) -> None:
    test = finished(app("what-if", sample=True))
    assert not test.exception
    assert test.slider(key="what-HR").value == 72.0
    test.button(key="preset-Vasoplegia").click().run()
    assert test.slider(key="what-MAP").value == 54.0 and "mean arterial pressure: **54** mmHg" in said(test)
    next(b for b in test.button if b.label.startswith("Reset")).click().run()
    assert test.slider(key="what-HR").value == 72.0


def test_what_if_works_without_a_recording(app: App) -> None:
    test = finished(app("what-if"))
    assert not test.exception and "cardiac output" in said(test)


def test_what_if_moves_the_pressure_volume_loop(app: App) -> None:
    test = finished(finished(app("what-if")))
    assert not test.exception
    text = said(test)
    assert "Pressure-volume loop" in text and "(typical" in text and "ejection fraction" in text
    base, filled, _ = simulation.pressure_volume_loops({**simulation.usual_loads(), "stressed_volume": 1500.0})
    assert filled.quantities["SV"] > base.quantities["SV"] + 10
    test.slider(key="loop-stressed_volume").set_value(1500.0).run()
    assert not test.exception and f"stroke volume: **{filled.quantities['SV']:.0f}** mL" in said(test)
    test.slider(key="loop-lv_elastance").set_value(0.8).run()
    assert "end-systolic line: **0.8** mmHg/mL" in said(test)
    test.button(key="loop-reset").click().run()
    assert test.slider(key="loop-lv_elastance").value == simulation.usual_loads()["lv_elastance"]


def test_the_base_loop_stands_behind_the_scenario() -> None:
    base, found, line = simulation.pressure_volume_loops({**simulation.usual_loads(), "systemic_resistance": 1.5})
    panel = pressure_volume({"usual": base, "scenario": found}, line, base="usual").panels[0]
    assert [mark.name for mark in panel.marks[:2]] == ["usual", "scenario"]
    assert panel.marks[0].colour == "muted" and panel.marks[1].colour != "muted"
    assert found.quantities["SV"] < base.quantities["SV"] and found.quantities["MAP"] > base.quantities["MAP"]


def test_compare_pairs_a_reference_with_the_windows(app: App) -> None:
    test = finished(app("trend", sample=True))
    values = tuple((float(t), 5.0 + 0.01 * t) for t in range(8, 110, 16))
    test.session_state["reference-sample-simulated-patient"] = {"CO": values}
    from streamlit.util import calc_hash

    test._page_hash = calc_hash("compare")
    text = said(test.run())
    assert not test.exception
    assert "Bland-Altman" in text and "percentage error" in text and "concordance" in text


def test_about_shows_the_card_and_offers_the_report(app: App) -> None:
    test = app("about", sample=True)
    assert "Intended use" in said(test)
    assert any("report" in b.label for b in test.get("download_button"))


def test_a_recording_that_begins_badly_opens_at_the_first_window_that_is_answered(app: App) -> None:
    test = app("monitor", file="flat.csv")
    assert not test.exception
    assert test.session_state["start_s"] == 16.0
    assert "The first 16 s cannot be answered" in said(test)


def test_a_refused_window_offers_the_next_usable_one(app: App) -> None:
    test = app("monitor", file="flat.csv", t="0")
    assert "No number is given" in said(test) and "--start" not in said(test)
    next(b for b in test.button if b.label == "Go to the next usable window").click()
    test.run()
    assert test.session_state["start_s"] >= 16.0 and not test.exception


def test_the_report_is_on_every_page(app: App) -> None:
    for page in ("monitor", "estimates", "trust", "compare", "equations", "about"):
        assert any(b.label == "Save report" for b in app(page, sample=True).get("download_button")), page


def test_simulated_windkessel_gives_its_law_back(tmp_path: Path) -> None:
    from pulsebayes.apps.cli._trajectories import read_trajectories
    from pulsebayes.apps.dashboard.pages.equations import windkessel
    from pulsebayes.inference.symbolic.recover import RecoverConfig, recover_equations

    (tmp_path / "made.csv").write_text(windkessel())
    table = read_trajectories(tmp_path / "made.csv", dims="", time="", inputs="Q", group="")
    config = RecoverConfig(proposers=("weak",), n_candidates=5)
    found = recover_equations(table.trajectories, names=table.names, inputs=table.inputs, config=config)
    first = found.candidates[0].equations
    assert first.structure.terms == (("x0", "u0"),)  # dP/dt = (Q - P/R)/C with R = 1, C = 1.5
    assert first.constants == pytest.approx((-1 / 1.5, 1 / 1.5), rel=0.02)


@pytest.mark.slow
def test_equations_recovers_the_law_of_a_windkessel(app: App) -> None:
    from pulsebayes.apps.dashboard import session

    test = app("equations")
    next(b for b in test.button if b.label == "Try a simulated windkessel").click()
    test.run()
    for task in list(session.desk()._tasks.values()):
        assert task.wait(240)
    test.run()
    assert not test.exception and not test.error
    assert r"\frac{d P}{dt}" in test.latex[0].value
