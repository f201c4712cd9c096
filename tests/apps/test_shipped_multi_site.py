r"""`multi-site` as it ships: quantities, measures with each channel and with all, real waves named by their sites."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from pulsebayes.inference import Bundle, Question, answer_recording, find_bundle
from pulsebayes.inference.answer import Answer
from pulsebayes.waveforms.recording import Recording

CHANNELS = (
    "aorta", "carotid", "brachial", "radial", "digital", "femoral", "tibial", "finger-ppg", "ear-ppg", "ankle-ppg",
    "carotid-flow", "femoral-flow",
)  # fmt: skip
ASKED = ("HR", "SV", "CO", "SVR", "LVET", "PWV", "C", "SBP", "DBP", "PP", "MAP", "D_AorticRoot", "D_Femoral")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(find_bundle("multi-site"))


def test_twelve_signals_give_the_quantities_of_the_atlas(bundle: Bundle) -> None:
    assert bundle.contract.names == CHANNELS
    assert set(ASKED) <= set(bundle.outputs.reported)
    assert bundle.training["simulator_config"]["population"] == "clinical-wide"
    assert sum(path.stat().st_size for path in find_bundle("multi-site").iterdir()) < 5e6


def test_each_channel_alone_and_all_together_are_calibrated(bundle: Bundle) -> None:
    measured, missed = bundle.measured, set(bundle.measured.get("not_calibrated", {}))
    assert set(measured["given"]) == {*CHANNELS, "+".join(CHANNELS)}
    for own in measured["given"].values():
        assert own["n"] >= 1500
        assert abs(own["coverage"]["0.9"]["HR"] - 0.9) <= 0.03 + 2 * np.sqrt(0.09 / own["n"])
        for level in (0.5, 0.9):
            allowed = 0.03 + 2 * np.sqrt(level * (1 - level) / own["n"])
            shares = own["coverage"][str(level)].items()
            assert all(abs(share - level) <= allowed for quantity, share in shares if quantity not in missed)
    for level in (0.5, 0.9):  # with the sets drawn as in training
        shares = measured["coverage"][str(level)].items()
        assert all(abs(share - level) <= 0.03 + np.sqrt(level * (1 - level) / measured["n"]) for _, share in shares)


def test_all_together_tell_at_least_what_each_does(bundle: Bundle) -> None:
    tells = {name: own["contraction"] for name, own in bundle.measured["given"].items()}
    for quantity, together in tells["+".join(CHANNELS)].items():
        slack = 0.04 if quantity == "CVP" else 0.01  # of venous pressure no signal tells more than a twentieth
        assert together >= max(tells[name][quantity] for name in CHANNELS) - slack


def test_every_pair_of_channels_is_answered_with_the_others_masked(bundle: Bundle) -> None:
    t = np.arange(500) / 62.5
    beat = np.exp(-((t % 0.8) / 0.3)) * np.minimum((t % 0.8) / 0.08, 1)
    wave = {"mmHg": 75 + 60 * beat, "1": beat, "mL/s": 3 + 15 * beat}
    pairs = list(combinations(range(len(CHANNELS)), 2))
    x = np.full((len(pairs), len(CHANNELS), len(t)), np.nan, np.float32)
    for row, pair in enumerate(pairs):
        for c in pair:
            x[row, c] = wave[bundle.contract.channels[c].unit]
    draws = bundle.npe.sample_together(torch.from_numpy(x), 50, torch.Generator().manual_seed(0))
    assert np.isfinite(draws).all()
    rate = np.median(draws[..., bundle.outputs.names.index("HR")], 1)
    np.testing.assert_allclose(rate, 75.0, rtol=0.02)


def test_real_waves_are_answered_under_the_names_of_their_sites(bundle: Bundle, real_data: Path) -> None:
    stored = np.load(real_data / "uci_cuffless/rec_1.npz")
    waves = {"radial": stored["ABP"][:3000].astype(float), "finger-ppg": stored["PPG"][:3000].astype(float)}
    recording = Recording.from_arrays("cut", waves, fs=125.0, units={"radial": "mmHg"})
    found = [one.result for one in answer_recording(bundle, recording, Question(n_draws=100))]
    assert found and all(isinstance(result, Answer) for result in found)
    assert {result.signal["given"] for result in found} == {"radial+finger-ppg"}
    for result in found:
        assert abs(result.estimates["HR"].median - result.signal["heart_rate"]) < 3
        assert abs(result.estimates["MAP"].median - np.nanmean(waves["radial"])) < 12
