"""A tempo refuses what was played at another speed and has an ejection of nobody, and keeps what was not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsebayes.calibration import tempo as tempos
from pulsebayes.calibration import tempo_network
from pulsebayes.calibration.tempo import add_tempo, fit_tempo, of_no_patient, played
from pulsebayes.inference.domain import DomainModel
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.pulse_shape import pulse_shape
from pulsebayes.inference.recipe import ChannelRecipe, Recipe
from pulsebayes.inference.streaming import ArraySource
from pulsebayes.inference.tempo import ASK, SECOND, Tempo, arranged, tempo_features
from pulsebayes.inference.training import TrainData
from pulsebayes.simulators.channels import ChannelSensor, SensedChannel
from pulsebayes.simulators.photoplethysmograph import PPGSensor
from pulsebayes.simulators.sensors import SensorModel

FS = 125.0
T = np.arange(2250) / FS


def arteries(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pressures of windkessel arteries, their rates [1/min] and ejection times [ms]."""
    interval = 60 / rng.uniform(55, 110, (n, 1))
    ejection = 0.32 * np.sqrt(interval) * np.exp(0.05 * rng.standard_normal((n, 1)))
    beat = np.array([np.interp(T, *_beats(rng, float(one))) for one in interval[:, 0]])
    phase = (beat % 1.0) * interval
    flow = np.where(phase < ejection, np.sin(np.pi * phase / ejection), 0)
    decay = rng.uniform(0.5, 1.2, n)
    wave = np.zeros_like(flow)
    level = flow.mean(axis=1) * decay * FS
    for i in range(2 * len(T)):
        level = level * (1 - 1 / FS / decay) + flow[:, i % len(T)]
        wave[:, i % len(T)] = level
    wave = (wave - wave.mean(axis=1, keepdims=True)) / np.ptp(wave, axis=1, keepdims=True)
    wave = rng.uniform(65, 115, (n, 1)) + rng.uniform(30, 70, (n, 1)) * wave
    return wave[:, :1250], 60 / interval[:, 0], 1e3 * ejection[:, 0]


def _beats(rng: np.random.Generator, interval: float) -> tuple[np.ndarray, np.ndarray]:
    """Onsets of beats that vary by 3 %, and their numbers."""
    onsets = np.cumsum(interval * (1 + 0.03 * rng.standard_normal(int(T[-1] / interval) + 9))) - 2 * interval
    return onsets, np.arange(len(onsets), dtype=float)


class Line:
    """A sensor of offset and noise only."""

    def apply(self, waves, rng, *, fs, out_samples=1000, width=1.0):
        offset = 2.5 * width * rng.standard_normal((len(waves), 1))
        noise = 0.3 * width * rng.standard_normal(waves.shape)
        return (waves + offset + noise)[:, -out_samples:].astype(np.float32)


@pytest.fixture(scope="module")
def known() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return arteries(np.random.default_rng(0), 1200)


@pytest.fixture(scope="module", params=[False, True], ids=["dense", "convolved"])
def tempo(known, request) -> Tempo:
    return fit_tempo(*known, Line(), fs=FS, seed=0, convolved=request.param)


@pytest.fixture(scope="module")
def fresh() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    waves, rates, ejections = arteries(np.random.default_rng(1), 150)
    return Line().apply(waves, np.random.default_rng(2), fs=FS), rates, ejections


def _refused(tempo: Tempo, windows: np.ndarray) -> list[str | None]:
    shapes = [pulse_shape(window, FS) for window in windows]
    found = [None if shape is None else tempo.impossible(shape) for shape in shapes]
    return [None if one is None else one[1] for one in found]


def test_hardly_any_window_at_its_own_speed_is_impossible(tempo, fresh):
    # .2 % expected of windows with the sensor twice as wide: 6 or more of 150 have a chance below 1 in 1,000.
    assert sum(one is not None for one in _refused(tempo, fresh[0])) < 6


@pytest.mark.parametrize("slower", [2.0, 0.5])
def test_windows_of_no_patient_are_impossible_and_the_reason_says_why(slower, tempo, fresh, known):
    windows, rates, ejections = fresh
    nobody = of_no_patient(rates / slower, ejections * slower, known[1], known[2])
    reasons = _refused(tempo, [played(window, slower) for window in windows[nobody]])
    assert nobody.mean() > 0.9
    assert np.mean([reason is not None for reason in reasons]) > 0.9
    assert all(ASK in reason and "/min" in reason for reason in reasons if reason)


def test_the_ejection_time_is_read_at_any_speed(tempo, fresh):
    windows, _, ejections = fresh
    for slower in (1.0, 1.7, 2.0):
        shapes = [pulse_shape(played(window, slower), FS) for window in windows]
        read = tempo.read(np.array([tempo_features(shape) for shape in shapes])).ejection
        assert np.median(np.abs(np.log(read / (slower * ejections)))) < 0.1


def test_a_domain_model_refuses_what_its_tempo_finds_impossible(tempo, fresh, known):
    windows = Line().apply(known[0][:260], np.random.default_rng(3), fs=FS)
    plain = DomainModel.fit(windows, fs=FS, seed=0)
    model = plain.with_tempo(tempo)
    again = DomainModel.from_arrays(model.to_arrays())
    slow = played(fresh[0][0], 2.0)
    assert again.assess(slow).verdict == "outside"
    assert again.assess_many(fresh[0][:20]) == model.assess_many(fresh[0][:20])
    assert model.with_tempo(None).assess_many(fresh[0][:20]) == plain.assess_many(fresh[0][:20])
    impossible = tempo.impossible(pulse_shape(slow, FS))
    near = DomainModel({**model.arrays, "threshold": np.array([np.inf])})
    assert impossible is not None
    assert near.assess(slow).reason == impossible[1]
    assert plain.tempo is None


def test_a_tempo_reads_what_its_networks_tell(monkeypatch):
    monkeypatch.setattr(tempo_network, "LEAST_STEPS", 3)
    rng = np.random.default_rng(0)
    features, truth = rng.standard_normal((300, 248)), rng.integers(0, 2, (300, 3))
    members = tempo_network.train_networks(features, truth, seed=0)
    scales = {"centre": np.zeros(248), "scale": np.ones(248)}
    arrays = scales | {name: np.stack([member[name] for member in members]) for name in members[0]}
    certain = {f"w{i}": np.zeros((1, a, b)) for i, (a, b) in enumerate(((248, 4), (4, 4), (4, 2)))}
    certain |= {"b0": np.zeros((1, 4)), "b1": np.zeros((1, 4)), "b2": np.full((1, 2), 0.02)}
    rest = {"limit": np.zeros(1), "calibration": np.zeros(2), "edges": np.zeros((3, 2))}
    tempo = Tempo({**scales, **certain, **rest, **{SECOND + name: array for name, array in arrays.items()}})
    told = []
    for member in members:
        network = tempo_network.TempoNetwork(252)
        for part, layers in (("first", network.first), ("second", network.second)):
            for i, layer in enumerate(layers):
                _set(layer, member[f"{part}{i}w"], member[f"{part}{i}b"])
        for i, layer in enumerate(network.dense):
            _set(layer, member[f"w{i}"].T, member[f"b{i}"])
        told.append(network(torch.from_numpy(np.float32(arranged(np.clip(features, -5, 5))))).detach().numpy())
    read = tempo.read(features)
    odds = np.mean(told, axis=0)[:, 0]
    assert odds.min() < 0.02 < odds.max()
    np.testing.assert_allclose(read.odds, np.minimum(odds, 0.02), atol=1e-5)
    np.testing.assert_allclose(np.log(read.ejection), 0.02)


def _set(layer: torch.nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))


@pytest.mark.parametrize("convolved", [False, True])
def test_the_same_seed_gives_the_same_tempo(known, convolved, monkeypatch):
    monkeypatch.setattr(tempo_network, "LEAST_STEPS", 3)
    few = [part[:340] for part in known]
    first, second = (fit_tempo(*few, Line(), fs=FS, seed=3, convolved=convolved).arrays for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_missing_arrays_are_named(tempo):
    arrays = {name: array for name, array in tempo.arrays.items() if name != "limit"}
    with pytest.raises(ValueError, match="none named \\['limit'\\]"):
        Tempo(arrays)


def test_too_few_windows_are_refused():
    with pytest.raises(ValueError, match="needs 100 windows with beats"):
        fit_tempo(*(part[:200] for part in arteries(np.random.default_rng(0), 200)), Line(), fs=FS)


def test_nobody_has_a_rate_or_an_ejection_beyond_the_simulated():
    rng = np.random.default_rng(0)
    rates = rng.uniform(40, 120, 5000)
    ejections = 420 - 2 * rates + 20 * rng.standard_normal(5000)
    found = of_no_patient(np.array([60.0, 60, 60, 20, 240]), np.array([300.0, 500, 150, 380, 200]), rates, ejections)
    assert found.tolist() == [False, True, True, True, True]


def test_each_channel_gets_its_own_tempo(known, monkeypatch):
    monkeypatch.setattr(tempos, "LEAST_ROWS", 100)
    monkeypatch.setattr(tempos, "EPOCHS", 1)
    waves, rates, ejections = (part[:360] for part in known)
    several = ChannelSensor((SensedChannel("ART", SensorModel.ideal()), SensedChannel("PLETH", PPGSensor.ideal())))
    columns = {"HR": rates, "LVET": ejections}
    data = TrainData(ArraySource(np.stack([waves, waves], 1)), columns, several, np.zeros(len(waves), int))
    recipe = Recipe("two", channels=(ChannelRecipe("Radial"), ChannelRecipe("Digital:ppg", "PLETH", "1")))
    domain = {}
    for channel in several.channels:
        seen = channel.sensor.apply(waves[:140], np.random.default_rng(3), fs=FS)
        own = DomainModel.fit(seen, fs=FS, seed=0, role=channel.name).to_arrays()
        domain |= {f"{channel.name}:{name}": array for name, array in own.items()}
    found = add_tempo(domain, data, recipe, OutputSpace.from_names(("HR", "LVET")))
    assert all(found[name] is domain[name] or np.array_equal(found[name], domain[name]) for name in domain)
    for channel in several.channels:
        prefix = f"{channel.name}:"
        model = DomainModel.from_arrays({k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)})
        assert model.role == channel.name
        assert model.tempo is not None
        scaled = [pulse_shape(10 * window, FS, role=channel.name) for window in waves[:3, :1000]]
        assert all(shape is not None and np.isfinite(model.tempo.read(tempo_features(shape)[None]).odds).all()
                   for shape in scaled)  # fmt: skip
    assert not np.array_equal(found["ART:tempo/w0"], found["PLETH:tempo/w0"])
