r"""`finger-ppg` as it ships: on real recordings, on its measures, on nonsense, and beside the pressure model."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.apps.cli.main import run
from pulsebayes.inference import Bundle, Question, answer_recording, find_bundle
from pulsebayes.inference.answer import Answer
from pulsebayes.inference.domain import DomainModel
from pulsebayes.simulators.photoplethysmograph import PPGSensor
from pulsebayes.waveforms import read
from pulsebayes.waveforms.quality import assess
from pulsebayes.waveforms.recording import Recording

# Good ones, of patients; beside them a noisy one, one of large dicrotic waves and a monitor's demo, for the rate only.
GOOD = ("bidmc/bidmc_01_Signals.csv", "physionet_wfdb/041s.hea", "physionet_wfdb/mixedsignals.hea")
OTHERS = ("physionet_wfdb/a103l.hea", "vitalrecorder_demo/test_intelliue_demo2.vital")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(find_bundle("finger-ppg"))


@pytest.fixture(scope="module")
def real_data() -> Path:
    root = Path(os.environ.get("PULSEBAYES_DATA", Path(__file__).parents[3] / "shared" / "data")) / "real"
    if not root.is_dir():
        pytest.skip("no real recordings; set PULSEBAYES_DATA to the folder that holds real/")
    return root


def recordings(root: Path) -> list[tuple[Recording, bool]]:
    found = [(read(root / name), name in GOOD) for name in (*GOOD, *OTHERS)]
    for n in (1, 2, 4, 8):
        stored = np.load(root / f"uci_cuffless/rec_{n}.npz")
        channels = {"PPG": stored["PPG"].astype(float)}
        found.append((Recording.from_arrays(f"rec_{n}", channels, fs=float(stored["fs"]), units={}), True))
    return found


def test_heart_rate_of_real_photoplethysmograms_agrees_with_the_wave(bundle: Bundle, real_data: Path) -> None:
    good, near, marked, outside = 0, [], [], 0
    for recording, clean in recordings(real_data):
        for answered in answer_recording(bundle, recording, Question(n_draws=300)):
            if not isinstance(answered.result, Answer):
                outside += clean and answered.result.reason == "outside"
                continue
            good += clean
            findings = answered.result.signal.get("findings", ())
            odd = any("HR" in finding.get("marks", ()) for finding in findings)  # dropped beats, ectopy, splices
            seen = assess(answered.values, 125.0, role="PLETH", unit=None)
            (marked if odd else near).append(abs(np.median(answered.result.draws["HR"]) - seen.heart_rate) <= 2)
    assert good > 250
    assert len(near) > 250
    assert outside <= 2
    assert np.mean(near) >= 0.98
    assert np.mean(marked) >= 0.4


def test_the_unit_changes_no_answer(bundle: Bundle) -> None:
    window = _windows(1)[0]
    one, other = (
        Recording.from_arrays("made", {"PLETH": wave.astype(float)}, fs=125.0, units={})
        for wave in (window, 512 + 37.5 * window)
    )
    draws = []
    for recording in (one, other):
        (answered,) = answer_recording(bundle, recording, Question(n_draws=200))
        assert isinstance(answered.result, Answer)
        draws.append(answered.result.draws["CO"])
    np.testing.assert_allclose(draws[0], draws[1], rtol=0.01)


def test_measures_of_the_card_are_honest(bundle: Bundle) -> None:
    measured = bundle.measured
    assert measured["n"] >= 2000
    assert bundle.training["counts"]["kept"] >= 50_000
    assert measured["contraction"]["HR"] > 0.95
    assert measured["median_error"]["HR"] < 0.02
    assert measured["contraction"]["CVP"] < 0.3  # a finger clip cannot tell it, and the card says so
    for level in (0.5, 0.9):
        assert all(abs(share - level) <= 0.03 for share in measured["coverage"][str(level)].values())
    assert min(measured["sbc_holm"].values()) > 0.01
    assert measured["validation"]["n"] > 4000
    found = {test["name"]: test["holm"] for test in measured["validation"]["tests"] if test["holm"] <= 0.01}
    assert found.keys() <= {"width", "local_c2st"}, "pulse pressure, which is withheld, is a little too wide"
    assert min(found.values()) > 1e-5  # without the adapter 1e-84
    missed = measured["not_calibrated"]  # named in every answer: below 40 years, an age that no clip shows
    assert set(missed) <= {"MAP", "DBP"} and all("(" in why for why in missed.values())
    assert measured["refused"]["simulated, sensor twice as wide"]["outside"] <= 0.01


def test_what_a_finger_cannot_tell_is_withheld(bundle: Bundle) -> None:
    recording = Recording.from_arrays("made", {"PLETH": _windows(1)[0].astype(float)}, fs=125.0, units={})
    (answered,) = answer_recording(bundle, recording, Question(n_draws=500))
    assert isinstance(answered.result, Answer)
    estimates = answered.result.estimates
    assert not estimates["HR"].uninformative and not estimates["LVET"].uninformative
    for name in ("SV", "CO", "SVR", "MAP", "CVP"):
        assert estimates[name].uninformative
        assert estimates[name].to_json()["median"] is None


LEAST_REFUSED = {"noise": 0.95, "sine": 0.95, "square": 0.95, "inverted": 0.9, "reversed": 0.8}


@pytest.mark.parametrize("kind", LEAST_REFUSED)
def test_nonsense_is_refused(bundle: Bundle, kind: str) -> None:
    rng = np.random.default_rng(0)
    time = np.arange(1000) / 125
    phase = 2 * np.pi * rng.uniform(0.7, 2.5, (40, 1)) * time + rng.uniform(0, 6, (40, 1))
    made = {
        "noise": rng.standard_normal((40, 1000)),
        "sine": np.sin(phase),
        "square": np.sign(np.sin(phase)),
        "inverted": [-w for w in _windows(40)],
        "reversed": [w[::-1] for w in _windows(40)],
    }[kind]
    model = DomainModel.from_arrays(bundle.domain)
    refused = [
        not assess(w, 125.0, role="PLETH", unit=None).usable or model.assess(w).verdict == "outside" for w in made
    ]
    assert np.mean(refused) >= LEAST_REFUSED[kind]


def test_a_file_without_pressure_is_pointed_to_this_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clip.csv"
    rows = [f"{i / 125:.3f},{v:.6g}" for i, v in enumerate(_windows(1)[0])]
    path.write_text("\n".join(["time [s],PLETH", *rows]) + "\n", encoding="utf-8")
    assert run(["infer", str(path), "--json"]) == 6
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "channel-missing"
    assert "finger-ppg" in error["message"]
    assert error["hint"] == "--model finger-ppg"
    assert run(["infer", str(path), "--json", "--model", "finger-ppg"]) == 0
    (window,) = json.loads(capsys.readouterr().out)["windows"]
    assert window["status"] == "answered"
    assert abs(window["quantities"]["HR"]["median"] - window["signal"]["heart_rate"]) < 2


def _windows(n: int) -> np.ndarray:
    r"""Simulated fingers whose clip is a good one."""
    from pulsebayes.simulators.network import LinearNetwork

    simulator = LinearNetwork(sites=("Digital:ppg",))
    theta = simulator.space.sample_quantiles(np.full((40, simulator.space.dim), 0.5))
    spread = simulator.space.sample(np.random.default_rng(3), 40)
    for name in ("heart_rate", "mean_pressure", "stroke_volume_deviation", "age", "arm_compliance"):
        place = simulator.space.names.index(name)
        theta[:, place] = spread[:, place]
    waves = simulator.simulate(theta, seed=4).waves[:n, 0]
    return PPGSensor.ideal().apply(waves, np.random.default_rng(1), fs=125.0)
