r"""`radial-abp` as it ships: on real recordings, on held-out simulations' measures, and on nonsense."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.inference import Bundle, Question, answer_recording, find_bundle
from pulsebayes.inference.answer import Answer
from pulsebayes.inference.domain import DomainModel
from pulsebayes.waveforms import read
from pulsebayes.waveforms.quality import assess
from pulsebayes.waveforms.recording import Recording

MMHG = {"units": {"ART": "mmHg"}}
RECORDINGS = {
    "physionet_wfdb/mixedsignals.hea": {},
    "physionet_wfdb/3975656_0015.hea": {},
    "physionet_wfdb/041s.hea": {},
    "mimic2_testicu/TestICU.hea": {"roles": {"col 3": "ART"}, **MMHG},
    "vitalrecorder_demo/test_intellivue_demo1.vital": {},
    "vitalrecorder_demo/test_intelliue_demo2.vital": {},
    "vitalrecorder_demo/test_data_demo.vital": {},
    "abp_short/cardiovascularmodels_abp_30s_125Hz.csv": {"fs": 125.0, **MMHG},
    "abp_short/waveformtools_abp_40s_125Hz.csv": {"fs": 125.0, **MMHG},
}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(find_bundle("radial-abp"))


@pytest.fixture(scope="module")
def real_data() -> Path:
    root = Path(os.environ.get("PULSEBAYES_DATA", Path(__file__).parents[3] / "shared" / "data")) / "real"
    if not root.is_dir():
        pytest.skip("no real recordings; set PULSEBAYES_DATA to the folder that holds real/")
    return root


def recordings(root: Path) -> list[Recording]:
    found = [read(root / name, **options) for name, options in RECORDINGS.items()]  # type: ignore[arg-type]
    for n in (1, 2, 4, 8):
        stored = np.load(root / f"uci_cuffless/rec_{n}.npz")
        fs, units = float(stored["fs"]), {"ABP": "mmHg"}
        found.append(Recording.from_arrays(f"rec_{n}", {"ABP": stored["ABP"].astype(float)}, fs=fs, units=units))
    return found


def test_rate_and_mean_pressure_of_real_recordings_agree_with_the_wave(bundle: Bundle, real_data: Path) -> None:
    rate, holds, outside = [], [], []
    fall: dict[str, list[float]] = {}
    for recording in recordings(real_data):
        for answered in answer_recording(bundle, recording, Question(n_draws=500)):
            if not isinstance(answered.result, Answer):
                outside += [(recording.name, answered.result.start_s)] * (answered.result.reason == "outside")
                continue
            seen = assess(answered.values, 125.0)
            rate.append(abs(np.median(answered.result.draws["HR"]) - seen.heart_rate) <= 2)
            low, middle, high = np.quantile(answered.result.draws["MAP"], (0.05, 0.5, 0.95))
            fall.setdefault(recording.name, []).append(middle - seen.mean)
            holds.append(low < seen.mean < high)
    assert len(rate) > 300
    assert not outside
    assert np.mean(rate) >= 0.975
    assert np.mean(holds) >= 0.98
    # The aortic mean is above the wrist's, and at low pressure and high flow alone by more than 3 mmHg.
    low = {"041s.hea", "TestICU.hea"}
    usual = np.concatenate([values for name, values in fall.items() if name not in low])
    assert np.mean(np.abs(usual) <= 3) >= 0.95
    assert all(np.median(fall[name]) < 4.2 for name in low)


def test_measures_of_the_card_meet_what_is_asked_of_them(bundle: Bundle) -> None:
    measured = bundle.measured
    least = {"SV": 0.5, "CO": 0.6, "SVR": 0.65, "PWV": 0.7, "C": 0.6}
    assert all(measured["contraction"][name] >= value for name, value in least.items())
    most = {"SV": 0.17, "CO": 0.17, "LVET": 0.04}
    assert all(measured["median_error"][name] <= value for name, value in most.items())
    assert measured["not_calibrated"] == {}
    assert measured["validation"]
    for level in (0.5, 0.9):
        assert all(abs(share - level) <= 0.03 for share in measured["coverage"][str(level)].values())
    assert min(measured["sbc_holm"].values()) > 0.01
    assert measured["refused"]["simulated, sensor twice as wide"]["outside"] <= 0.01
    assert measured["refused"]["simulated, half speed"]["refused"] >= 0.7  # the others are possible patients


LEAST_REFUSED = {"noise": 0.95, "sine": 0.95, "square": 0.95, "kPa": 0.95, "inverted": 0.95, "reversed": 0.8}


@pytest.mark.parametrize("kind", LEAST_REFUSED)
def test_nonsense_is_refused(bundle: Bundle, kind: str) -> None:
    rng = np.random.default_rng(0)
    time = np.arange(1000) / 125
    demo = _demo_windows()
    phase = 2 * np.pi * rng.uniform(0.7, 2.5, (40, 1)) * time + rng.uniform(0, 6, (40, 1))
    made = {
        "noise": 90 + 20 * rng.standard_normal((40, 1000)),
        "sine": 90 + 25 * np.sin(phase),
        "square": 90 + 25 * np.sign(np.sin(phase)),
        "kPa": [w / 7.50062 for w in demo],
        "inverted": [2 * w.mean() - w for w in demo],
        "reversed": [w[::-1] for w in demo],
    }[kind]
    model = DomainModel.from_arrays(bundle.domain)
    refused = [not assess(w, 125.0).usable or model.assess(w).verdict == "outside" for w in made]
    assert np.mean(refused) >= LEAST_REFUSED[kind]


def _demo_windows() -> list[np.ndarray]:
    from pulsebayes.simulators.network import LinearNetwork

    simulator = LinearNetwork(sites=("Radial",))
    theta = simulator.space.sample(np.random.default_rng(3), 40)
    return list(simulator.simulate(theta, seed=4).waves[:, 0])
