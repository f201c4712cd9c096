r"""`abp-ppg` as it ships: real recordings with both channels and with each, its measures, beside `radial-abp`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulsebayes.inference import Bundle, Question, answer_recording, find_bundle
from pulsebayes.inference.answer import Answer, Refusal
from pulsebayes.waveforms import read
from pulsebayes.waveforms.recording import Recording

FILES = ("physionet_wfdb/041s.hea", "physionet_wfdb/mixedsignals.hea")
SETS = ("ART", "PLETH", "ART+PLETH")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(find_bundle("abp-ppg"))


def recordings(root: Path) -> list[Recording]:
    found = [read(root / name) for name in FILES]
    for n in (1, 4):
        stored = np.load(root / f"uci_cuffless/rec_{n}.npz")
        part = slice(0, round(160 * float(stored["fs"])))
        channels = {name: stored[name][part].astype(float) for name in ("PPG", "ABP")}
        found.append(Recording.from_arrays(f"rec_{n}", channels, fs=float(stored["fs"]), units={"ABP": "mmHg"}))
    return found


def answers(bundle: Bundle, recording: Recording) -> list[Answer | Refusal]:
    return [found.result for found in answer_recording(bundle, recording, Question(n_draws=200))]


def test_real_recordings_are_answered_from_both_channels(bundle: Bundle, real_data: Path) -> None:
    found = [result for recording in recordings(real_data) for result in answers(bundle, recording)]
    answered = [result for result in found if isinstance(result, Answer)]
    assert len(found) >= 65
    assert len(answered) >= 0.95 * len(found)
    assert np.mean([result.signal["given"] == "ART+PLETH" for result in answered]) > 0.9
    near = [abs(r.estimates["HR"].median - r.signal["heart_rate"]) <= 2 for r in answered]  # in any rhythm
    assert len(near) > 50
    assert np.mean(near) >= 0.9


def test_a_real_recording_is_answered_with_either_channel_alone(bundle: Bundle, real_data: Path) -> None:
    stored = np.load(real_data / "uci_cuffless/rec_1.npz")
    waves = {name: stored[name][:4000].astype(float) for name in ("PPG", "ABP")}
    found = {}
    for names in (("ABP",), ("PPG",), ("ABP", "PPG")):
        units = {"ABP": "mmHg"} if "ABP" in names else {}
        recording = Recording.from_arrays("cut", {n: waves[n] for n in names}, fs=125.0, units=units)
        found[names] = answers(bundle, recording)
        assert all(isinstance(result, Answer) for result in found[names])
    assert found[("PPG",)][0].estimates["CO"].uninformative  # a clip has no scale, with a line beside it or not
    assert not found[("ABP", "PPG")][0].estimates["MAP"].uninformative


def test_channels_of_different_native_rates_are_answered_together(bundle: Bundle, real_data: Path) -> None:
    stored = np.load(real_data / "uci_cuffless/rec_1.npz")
    pleth = stored["PPG"][:4000].astype(float)
    slow = np.interp(np.arange(1920) / 60, np.arange(4000) / 125, pleth)
    waves, rates = {"PPG": slow, "ABP": stored["ABP"][:4000].astype(float)}, {"PPG": 60.0, "ABP": 125.0}
    recording = Recording.from_arrays("rates", waves, fs=rates, units={"ABP": "mmHg"})
    assert {result.signal["given"] for result in answers(bundle, recording)} == {"ART+PLETH"}


def test_a_clock_that_is_off_hardly_moves_an_answer(bundle: Bundle, real_data: Path) -> None:
    stored = np.load(real_data / "uci_cuffless/rec_1.npz")
    waves = {name: stored[name][:4000].astype(float) for name in ("PPG", "ABP")}
    found = []
    for late_s in (0.0, 0.12, 0.8):
        recording = Recording.from_arrays(
            "late", waves, fs=125.0, start_s={"ABP": 0.0, "PPG": late_s}, units={"ABP": "mmHg"}
        )
        found.append(answers(bundle, recording)[1])
    first = found[0].estimates
    for other in found[1:]:
        for name in ("HR", "SV", "MAP", "PWV"):
            width = first[name].q95 - first[name].q05
            assert abs(other.estimates[name].median - first[name].median) < 0.5 * width


def test_measures_of_the_card_are_honest(bundle: Bundle) -> None:
    measured = bundle.measured
    assert bundle.training["counts"]["kept"] >= 50_000
    assert list(measured["given"]) == list(SETS)
    assert measured["validation"]["n"] > 4000
    assert all(test["holm"] > 0.01 for test in measured["validation"]["tests"])
    assert set(measured["not_calibrated"]) <= {"SV", "SBP", "DBP"}  # in one subgroup each; over all they hold too
    for name in SETS:
        own = measured["given"][name]
        assert own["n"] >= 4000
        for level in (0.5, 0.9):
            shares = own["coverage"][str(level)].items()
            assert all(abs(share - level) <= 0.03 for _, share in shares)
    for level in (0.5, 0.9):
        shares = measured["coverage"][str(level)].items()
        assert all(abs(share - level) <= 0.03 for _, share in shares)


def test_another_channel_never_tells_less(bundle: Bundle) -> None:
    tells = {name: bundle.measured["given"][name]["contraction"] for name in SETS}
    for quantity, both in tells["ART+PLETH"].items():
        assert both >= max(tells["ART"][quantity], tells["PLETH"][quantity]) - 0.01  # what 4,096 windows tell apart


def test_the_line_alone_comes_close_to_its_own_model(bundle: Bundle) -> None:
    own = Bundle.load(find_bundle("radial-abp")).measured["contraction"]
    alone = bundle.measured["given"]["ART"]["contraction"]
    assert all(alone[quantity] >= own[quantity] - 0.01 for quantity in own)
