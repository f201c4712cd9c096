r"""The sensor model of a photoplethysmogram: each part does what its equation says, and the whole stays a pulse."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pulsebayes.simulators.photoplethysmograph import Coupling, PPGSensor, VenousPulse, sensor_from_json
from pulsebayes.simulators.ppg_artefacts import Breathing, Motion, OpticalNoise, Recorder
from pulsebayes.simulators.sensors import RandomStart, SensorModel
from pulsebayes.waveforms.quality import assess

FS = 125.0


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pulses(n: int, *, seconds: float = 10.0, rate: float = 75.0) -> np.ndarray:
    phase = np.arange(round(seconds * FS)) / FS % (60 / rate)
    pulse = np.exp(-phase / 0.3) * np.minimum(phase / 0.12, 1)
    return np.repeat(pulse[None].astype(np.float32), n, axis=0)


def only(**parts: object) -> PPGSensor:
    r"""An ideal sensor with some parts of its own, that always takes the earliest window."""
    fields = {**vars(PPGSensor.ideal()), "start": RandomStart(span_s=0.0), **parts}
    return PPGSensor(**fields)  # type: ignore[arg-type]


def test_an_ideal_sensor_changes_the_unit_only() -> None:
    seen = PPGSensor.ideal().apply(pulses(3), rng(), fs=FS)
    assert seen.shape == (3, 1000)
    height = seen.std(axis=1)
    np.testing.assert_allclose(height, height[0], rtol=0.02)
    clean = only().apply(pulses(1), rng(), fs=FS)[0]
    np.testing.assert_allclose(np.corrcoef(clean, pulses(1)[0, :1000])[0, 1], 1.0, atol=1e-5)


def test_the_coupling_is_that_of_its_poles() -> None:
    coupling = Coupling(0.5, 0.5, 8.0, 8.0, open_share=0.0)
    tone = np.sin(2 * np.pi * 2.0 * np.arange(2500) / FS).astype(np.float32)[None]
    seen = only(coupling=coupling).apply(tone, rng(), fs=FS, out_samples=1000)[0]
    expected = abs((2j / 0.5) / (1 + 2j / 0.5) / (1 + 2j / 8.0) ** 2)
    filtered = only(coupling=coupling)._filtered(tone, rng(), FS, 1.0)[0, 500:2000]
    assert filtered.max() == pytest.approx(expected, rel=0.01)
    assert abs(seen.mean()) < 0.02 * seen.std()


def test_veins_add_a_late_copy() -> None:
    veins = VenousPulse(size_sd=1.0, delay_low=0.2, delay_high=0.2, corner_low=1e3, corner_high=1e3)
    lag = veins.response(np.array([0.0, 2.5]), rng(3), 4) - 1
    np.testing.assert_allclose(lag[:, 1] / lag[:, 0], -1.0, atol=0.01)  # 2.5 Hz for .2 s is half a turn
    assert (np.sign(lag[:, 0].real) != np.sign(lag[0, 0].real)).any()


def test_breathing_moves_the_baseline_at_its_rate() -> None:
    part = Breathing(15.0, 15.0, 0.5, 0.5, height_sd=0.0)
    seen = part.disturb(np.zeros((1, 1000), np.float32), rng(), np.ones(1, np.float32), fs=FS)[0]
    lines = np.abs(np.fft.rfft(seen))
    assert lines.argmax() == 2  # .25 Hz in 8 s
    assert np.ptp(seen) == pytest.approx(0.5, rel=0.01)


def test_motion_is_a_burst() -> None:
    part = Motion(share=1.0, length_low=1.0, length_high=1.0, size_low=1.0, size_high=1.0)
    moved = part.disturb(np.zeros((50, 1000), np.float32), rng(), np.ones(50, np.float32), fs=FS)
    lasting = (np.abs(moved) > 1e-6).mean(axis=1)
    assert lasting.max() <= 0.13
    assert Motion(share=0.0).disturb(moved, rng(), np.ones(50, np.float32), fs=FS) is not moved


def test_drift_falls_with_frequency_and_noise_does_not() -> None:
    flat, height = np.zeros((200, 1000), np.float32), np.ones(200, np.float32)

    def ratio(part: OpticalNoise) -> float:
        power = np.square(np.abs(np.fft.rfft(part.disturb(flat, rng(), height, fs=FS)))).mean(axis=0)
        return float(power[8:16].mean() / power[200:400].mean())

    assert ratio(OpticalNoise(0.1, 0.1, 1e-9, 1e-9)) == pytest.approx(1.0, rel=0.1)
    assert ratio(OpticalNoise(1e-9, 1e-9, 0.1, 0.1)) == pytest.approx(300 / 11.5, rel=0.2)  # mean 1/f of both bands


def test_the_recorder_clips_steps_and_turns_upside_down() -> None:
    waves = pulses(40)[:, :1000]
    plain = {"scale_low": 1.0, "scale_high": 1.0, "inverted_share": 0.0, "rescaled_share": 0.0, "clipped_share": 0.0,
             "analogue_share": 1.0, "lost_share": 0.0}  # fmt: skip

    def record(**changes: float) -> np.ndarray:
        return Recorder(**{**plain, **changes}).record(waves.copy(), rng(), fs=FS)

    np.testing.assert_array_equal(record(), waves)
    np.testing.assert_array_equal(record(inverted_share=1.0), -waves)
    assert len(np.unique(record(analogue_share=0.0, steps_low=20.0, steps_high=20.0)[0])) < 45
    clipped = record(clipped_share=1.0)
    assert (clipped.max(axis=1) < waves.max(axis=1)).any()
    at_top = (clipped == clipped.max(axis=1, keepdims=True)).mean(axis=1)
    assert at_top.max() <= 0.04
    bridged = record(lost_share=1.0)
    assert ((bridged != waves).sum(axis=1) <= 25).all()
    assert (bridged != waves).any()
    sizes = np.ptp(record(scale_low=0.1, scale_high=10.0), axis=1)
    assert sizes.max() / sizes.min() > 10


def test_the_same_generator_gives_the_same_recording() -> None:
    first, second = (PPGSensor.finger().apply(pulses(8), rng(5), fs=FS) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, PPGSensor.finger().apply(pulses(8), rng(6), fs=FS))


def test_most_recordings_pass_the_quality_gate() -> None:
    waves = np.concatenate([pulses(60, rate=rate) for rate in (55.0, 75.0, 110.0)])
    for width, least in ((1.0, 0.8), (2.0, 0.6)):
        seen = PPGSensor.finger().apply(waves, rng(1), fs=FS, width=width)
        assert np.isfinite(seen).all()
        usable = [assess(window, FS, role="PLETH", unit=None).usable for window in seen]
        assert np.mean(usable) >= least


def test_it_survives_json_and_is_told_from_a_pressure_line() -> None:
    sensor = PPGSensor(motion=Motion(share=0.5))
    data = json.loads(json.dumps(sensor.to_json()))
    assert PPGSensor.from_json(data) == sensor == sensor_from_json(data)
    assert isinstance(sensor_from_json({"motion": {}}), PPGSensor)
    assert isinstance(sensor_from_json({"gain": {}}), SensorModel)
    with pytest.raises(TypeError, match="has the parts"):
        PPGSensor.from_json({"line": {}})


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1250,), {}, "shape"),
        ((2, 900), {}, "at least 1000 samples"),
        ((2, 1250), {"fs": 0.0}, "positive rate"),
        ((2, 1250), {"width": -1.0}, "not negative"),
    ],
)
def test_bad_input_is_refused(shape: tuple[int, ...], options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPGSensor.finger().apply(np.zeros(shape, np.float32), rng(), **{"fs": FS, **options})


@pytest.mark.parametrize(
    "make",
    [
        lambda: Motion(share=1.5),
        lambda: Coupling(high_pass_low=2.0),
        lambda: Recorder(clipped_most=0.6),
        lambda: OpticalNoise(white_low=0.0),
        lambda: Breathing(height_sd=-1.0),
        lambda: VenousPulse(size_sd=float("nan")),
    ],
)
def test_priors_out_of_range_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match="must"):
        make()  # type: ignore[operator]
