"""Pools of a model of several channels: each window from what it has, said as alone; recordings to learn that from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pulsebayes.inference.answer import Answer, Refusal
from pulsebayes.inference.answering import Question, answer_recording
from pulsebayes.inference.bundle import Bundle
from pulsebayes.inference.contract import ChannelContract, InputContract
from pulsebayes.inference.embedding import ChannelScale, EmbeddingConfig
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.pooling import (
    PooledNPE,
    PoolingConfig,
    PoolingLayer,
    answer_pooled,
    embed_windows,
    features,
    make_embedded,
    parse_anchor,
)
from pulsebayes.inference.pooling.measure import measure_alike, measure_pooling
from pulsebayes.inference.pooling.segments import ChangeDetector
from pulsebayes.inference.workers import Processes
from pulsebayes.simulators.channels import ChannelSensor, SensedChannel
from pulsebayes.simulators.photoplethysmograph import PPGSensor
from pulsebayes.simulators.recorded import SolvedRecordings
from pulsebayes.simulators.sensors import SensorModel
from pulsebayes.waveforms.recording import Recording

NAMES = ("HR", "SV", "MAP")
SENSOR = ChannelSensor((SensedChannel("ART", SensorModel.radial_line()), SensedChannel("PLETH", PPGSensor.finger())))
QUESTION = Question(n_draws=60)
SETS = ["ART+PLETH", "ART", "PLETH", None, "ART+PLETH"]

Toy = tuple[Bundle, PoolingLayer]


@pytest.fixture(scope="module")
def toy() -> Toy:
    """A model of a line and a clip that has learned nothing, and a layer that has not either."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    scales = (ChannelScale("ART"), ChannelScale("PLETH", relative=True))
    shape = EmbeddingConfig("channels", stem=8, stages=(16,), blocks=(0,), hidden=16, context=8, channels=scales)
    npe = NPE(OutputSpace.from_names(NAMES), NPEConfig(shape, transforms=2, hidden=(16,))).eval()
    config = {"population": "clinical", "duration_s": 11.5}
    training = {
        "sensor": SENSOR.to_json(),
        "simulator_config": config,
        "recipe": {"channels": [{"site": "Radial"}, {"site": "Digital:ppg"}]},
    }
    contract = InputContract(several=(ChannelContract(), ChannelContract("PLETH", "1", uninformative=0.1)))
    prior = np.array([[60.0, 70.0, 90.0], [80.0, 60.0, 80.0]], np.float32)
    bundle = Bundle("toy-two", npe, prior, contract, training, uninformative=1e9)
    pooled = PooledNPE(3, PoolingConfig(inputs=11, features=6, hidden=16, context=8, transforms=2)).eval()
    detector = ChangeDetector(8, 4, 8)
    detector.limits.fill_(np.inf)
    return bundle, PoolingLayer(
        pooled, detector, {"coverage": {"0.9": {"SV": 0.9}}, "n": 7, "given": {"PLETH": {"n": 3}}}
    )


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Five windows: both channels, a flat clip, a flat line, both flat, both again."""
    t = np.arange(5000) / 125.0
    pulse = np.exp(-(((t * 1.2) % 1.0 - 0.2) ** 2) / 0.01) + 0.2 * np.exp(-(((t * 1.2) % 1.0 - 0.5) ** 2) / 0.02)
    pulse = pulse + 0.004 * np.random.default_rng(0).standard_normal(len(t))
    art, pleth = 70 + 50 * pulse, 0.5 * pulse
    pleth[1000:2000] = pleth[3000:4000] = 0.7
    art[2000:4000] = 80.0
    return Recording.from_arrays("two", {"ABP": art, "PLETH": pleth}, fs=125, units={"ABP": "mmHg"})


def test_windows_are_pooled_whatever_channels_they_have(toy: Toy, recording: Recording) -> None:
    alone = [w.result for w in answer_recording(toy[0], recording, QUESTION)]
    for pool, sizes in (("recording", [4, 4, 4, 4]), ("causal", [1, 2, 3, 4])):
        found = list(answer_pooled(*toy, recording, QUESTION, pool=pool))  # type: ignore[arg-type]
        assert [w.result.signal.get("given") for w in found] == SETS
        assert [dict(w.result.signal) for w in found] == [dict(one.signal) for one in alone]
        answers = [w.result for w in found if isinstance(w.result, Answer)]
        assert [a.pool["windows"] for a in answers if a.pool] == sizes
        assert isinstance(found[3].result, Refusal)
        assert np.isfinite(found[1].values).all(1).tolist() == [True, False]
        assert [a.calibration["n"] for a in answers[1:] if a.calibration] == [7, 3, 7]
        assert any(e.uninformative for e in answers[2].estimates.values())
        assert not any(e.uninformative for e in answers[1].estimates.values())


@pytest.mark.parametrize("start_s", [0.0, 8.0, 16.0])
def test_a_pool_of_one_window_is_the_window_model(toy: Toy, recording: Recording, start_s: float) -> None:
    question = Question(n_draws=60, start_s=start_s, end_s=start_s + 8.0)
    (alone,) = (w.result for w in answer_recording(toy[0], recording, question))
    for pool in ("recording", "causal"):
        (pooled,) = (w.result for w in answer_pooled(*toy, recording, question, pool=pool))  # type: ignore[arg-type]
        assert isinstance(alone, Answer)
        assert isinstance(pooled, Answer)
        for name, draws in alone.draws.items():
            np.testing.assert_array_equal(pooled.draws[name], draws)


def test_threads_and_references_do_as_with_one_channel(toy: Toy, recording: Recording) -> None:
    anchors = [parse_anchor("SV=70+-5@3s")]
    one, two = (list(answer_pooled(*toy, recording, QUESTION, anchors=anchors, workers=n)) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert a.result.start_s == b.result.start_s
        if isinstance(a.result, Answer) and isinstance(b.result, Answer):
            assert a.result.pool is not None
            assert a.result.pool["anchors"] == ["SV=70+-5@3s"]
            np.testing.assert_array_equal(a.result.draws["SV"], b.result.draws["SV"])


def test_processes_answer_pools_as_one_thread_does(toy: Toy, recording: Recording) -> None:
    for pool in ("recording", "causal"):
        ways = (list(answer_pooled(*toy, recording, QUESTION, pool=pool, workers=w)) for w in (1, Processes(2)))  # type: ignore[arg-type]
        for one, two in zip(*ways, strict=True):
            assert dict(one.result.signal) == dict(two.result.signal)
            if isinstance(one.result, Answer) and isinstance(two.result, Answer):
                for name, draws in one.result.draws.items():
                    np.testing.assert_array_equal(two.result.draws[name], draws)


def _solved(recordings: int, windows: int, quantities: np.ndarray) -> SolvedRecordings:
    """Patients of 60 to 90 beats, the same wave at both sites."""
    rng = np.random.default_rng(1)
    t = np.arange(1438) / 125.0
    rate = rng.uniform(1.0, 1.5, (recordings, 1, 1))
    pulse = np.sin(np.pi * ((t * rate + rng.random((recordings, windows, 1))) % 1.0)) ** 3
    waves = np.stack((80 + 40 * pulse, pulse), 2).astype(np.float32)
    ones = np.ones((recordings, windows))
    rows = np.tile(quantities, (recordings, windows, 1))
    return SolvedRecordings(waves, rows, ones, ones[:, 0], ones.astype(np.uint8), 8.0 * ones.cumsum(1))


def test_recordings_of_both_sites_are_embedded_and_measured_by_what_is_given(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def solved(simulator: object, plan: object, number: int, n: int, path: Path, *, steps: np.ndarray) -> object:
        assert steps.tolist() == [[100.0], [10000.0]]
        assert simulator.sites == ("Radial", "Digital:ppg")  # type: ignore[attr-defined]
        known = {"HR": 70.0, "SV": 70.0, "MAP": 90.0}
        names = simulator.quantity_names  # type: ignore[attr-defined]
        return _solved(n, 200, np.array([known.get(name, 1.0) for name in names]))

    monkeypatch.setattr(features, "_solved", solved)
    data = make_embedded(toy[0], tmp_path, recordings=6, windows=200, seed=1, part=6)
    assert data.given.shape == (6, 200, 2)
    assert data.given.any(-1).all()
    again = make_embedded(toy[0], tmp_path, recordings=6, windows=200, seed=1, part=6)
    np.testing.assert_array_equal(again.given, data.given)
    assert again.rows(slice(0, 2)).given.shape == (2, 200, 2)
    found = measure_pooling(toy[0], toy[1], [data], draws=20)
    assert set(found["given"]) <= {"ART", "PLETH", "ART+PLETH"}
    assert sum(row["n"] for row in found["given"].values()) == 6 * 10
    assert {kind for row in found["given"].values() for kind in row["error"]} <= {"alike", "others"}


def test_pools_of_windows_that_are_alike_are_compared_with_windows_alone(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.linspace(60.0, 90.0, 40)[:, None] * np.ones(3)

    def solved(simulator: object, plan: object, number: int, n: int, path: Path, *, steps: np.ndarray) -> object:
        names = simulator.quantity_names  # type: ignore[attr-defined]
        made = _solved(n, 10, np.ones(len(names)))
        for name in NAMES:
            made.quantities[..., names.index(name)] = rows[: n * 10, 0].reshape(n, 10)
        return made

    monkeypatch.setattr(features, "_solved", solved)
    data = make_embedded(toy[0], tmp_path, recordings=4, windows=10, seed=1, part=4, given=("ART",))
    assert data.given.all((0, 1)).tolist() == [True, False]
    found = measure_alike(toy[0], toy[1], data, draws=20)
    assert found["recordings"] == 4
    for q in ("SV", "CO"):
        assert found[q]["error"].keys() == found[q]["trend"].keys() == {"window", "recording"}
        assert np.isfinite(found[q]["difference"]).all()


def test_windows_are_embedded_from_the_channels_they_have(toy: Toy) -> None:
    windows = np.random.default_rng(0).normal(90, 10, (3, 2, 1000)).astype(np.float32)
    windows[0, 1] = windows[1, 0] = np.nan
    h = embed_windows(toy[0], windows)
    assert np.isfinite(h).all()
    np.testing.assert_allclose(embed_windows(toy[0], windows[1:2]), h[1:2], rtol=1e-4, atol=1e-5)
