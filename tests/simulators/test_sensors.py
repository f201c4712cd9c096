r"""The sensor model: each part alone, and the chain as a whole."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from pulsebayes.simulators.line_artefacts import Flush
from pulsebayes.simulators.sensors import (
    CatheterLine,
    Gain,
    Offset,
    Quantisation,
    RandomStart,
    SensorModel,
    WhiteNoise,
)

FS = 125.0


def waves(n: int = 64, samples: int = 1250) -> np.ndarray:
    t = np.arange(samples) / FS
    rate = np.linspace(0.7, 2.5, n)[:, None]
    return (90 + 20 * np.cos(2 * np.pi * rate * t) + 5 * np.cos(4 * np.pi * rate * t)).astype(np.float32)


def only(**parts: object) -> SensorModel:
    r"""A sensor in which only the named parts do anything; the window starts as early as it can."""
    fields = {**vars(SensorModel.ideal()), "start": RandomStart(span_s=0.0), **parts}
    return SensorModel(**fields)  # type: ignore[arg-type]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_ideal_sensor_returns_a_stretch_of_the_wave() -> None:
    out = SensorModel.ideal().apply(waves(), rng(), fs=FS)
    for row, wave in zip(out, waves(), strict=True):
        assert any(np.array_equal(row, wave[s : s + 1000]) for s in range(251))


def test_starts_are_spread_over_the_room_there_is() -> None:
    ramp = np.repeat(np.arange(1250, dtype=np.float32)[None], 5000, axis=0)
    first = SensorModel.ideal().apply(ramp, rng(), fs=FS)[:, 0]
    assert (first.min(), first.max()) == (0, 250)
    assert np.histogram(first, 10, (0, 251))[0] == pytest.approx(np.full(10, 500), abs=90)  # four standard errors


def test_a_slow_line_starts_later_and_never_before_it_has_settled() -> None:
    ramp = np.repeat(np.arange(1250, dtype=np.float32)[None], 1000, axis=0)
    line = CatheterLine(8.0, 8.0, 0.15, 0.15, ideal_share=0.0)
    first = only(line=line, start=RandomStart()).apply(ramp, rng(), fs=FS)[:, 0]
    lag = 2 * 0.15 / (2 * np.pi * 8) * FS  # a second-order line delays a ramp by 2 zeta / omega
    assert first.min() >= np.log(1e3) / (2 * np.pi * 8 * 0.15) * FS - lag - 0.5
    assert first.max() <= 250


def test_gain_scales_and_offset_shifts_each_row_alike() -> None:
    scaled = only(gain=Gain(sd=0.01)).apply(waves(2000), rng(), fs=FS) / waves(2000)[:, :1000]
    assert np.ptp(scaled, axis=1).max() < 1e-5
    assert np.std(scaled[:, 0]) == pytest.approx(0.01, rel=0.07)  # four standard errors at 2,000 rows
    shifted = only(offset=Offset(sd=2.5)).apply(waves(2000), rng(), fs=FS) - waves(2000)[:, :1000]
    assert np.ptp(shifted, axis=1).max() < 1e-4
    assert np.std(shifted[:, 0]) == pytest.approx(2.5, rel=0.07)


def test_noise_is_white_with_the_drawn_spread() -> None:
    noise = only(noise=WhiteNoise(0.5, 0.5)).apply(waves(), rng(), fs=FS) - waves()[:, :1000]
    assert np.std(noise) == pytest.approx(0.5, rel=0.02)
    assert abs(np.mean(noise[:, 1:] * noise[:, :-1])) < 0.25 * 4 / np.sqrt(noise.size)  # four standard errors
    sd = WhiteNoise().draw(rng(), 20_000)
    assert np.log([sd.min(), sd.max()]) == pytest.approx(np.log([0.02, 1.0]), abs=2e-3)


def test_quantised_rows_hold_multiples_of_their_step_within_half_of_it() -> None:
    out = only(quantisation=Quantisation(0.8, 0.8, none_share=0.5)).apply(waves(), rng(), fs=FS)
    clean = waves()[:, :1000]
    coarse = np.abs(out - clean).max(1) > 0
    assert 0.2 < coarse.mean() < 0.8
    steps = out[coarse] / np.float32(0.8)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
    assert np.abs(out - clean).max() <= 0.4 + 1e-4


def test_mean_pressure_passes_every_line() -> None:
    out = only(line=CatheterLine(ideal_share=0.0)).apply(np.full((64, 1250), 93.0, np.float32), rng(), fs=FS)
    np.testing.assert_allclose(out, 93.0, atol=1e-3)


def test_same_generator_same_recording_and_inputs_stay_untouched() -> None:
    clean = waves()
    first, second = (SensorModel.radial_line().apply(clean, rng(5), fs=FS) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(clean, waves())
    assert not np.array_equal(first, SensorModel.radial_line().apply(clean, rng(6), fs=FS))
    assert first.dtype == np.float32
    assert np.isfinite(first).all()


def test_width_doubles_the_spread_and_zero_gives_the_centre() -> None:
    flat = np.full((4000, 1250), 90.0, np.float32)
    for sensor in (only(offset=Offset(sd=1.0)), only(gain=Gain(sd=0.01))):
        spread = [np.std(sensor.apply(flat, rng(), fs=FS, width=width)[:, 0]) for width in (0.0, 1.0, 2.0)]
        assert spread[0] == 0
        assert spread[2] / spread[1] == pytest.approx(2.0, rel=1e-3)
    for part, width in ((WhiteNoise(), 2.0), (Quantisation(none_share=0.0), 2.0)):
        narrow, wide = (np.ptp(np.log(part.draw(rng(), 20_000, width=w))) for w in (1.0, width))
        assert wide / narrow == pytest.approx(width, rel=1e-3)
    calm = dataclasses.replace(SensorModel.radial_line(), flush=Flush(share=0.0))
    wide = calm.apply(waves(512), rng(), fs=FS, width=2.0)
    assert np.isfinite(wide).all()
    assert 0 < wide.min() < wide.max() < 250


def test_about_a_quarter_of_recordings_keep_the_shape_of_the_wave() -> None:
    sensor = only(line=CatheterLine(), start=RandomStart(span_s=0.0))
    out = sensor.apply(waves(2000), rng(), fs=FS)
    same = np.abs(out - waves(2000)[:, :1000]).max(1) < 1e-3
    assert same.mean() == pytest.approx(0.25, abs=0.04)


def test_json_brings_back_the_same_sensor() -> None:
    sensor = SensorModel(line=CatheterLine(9.0, 30.0, ideal_share=0.1), noise=WhiteNoise(none_share=0.2))
    assert SensorModel.from_json(json.loads(json.dumps(sensor.to_json()))) == sensor
    with pytest.raises(TypeError, match="'cuff'"):
        SensorModel.from_json({"cuff": {}})
    with pytest.raises(TypeError, match="colour"):
        SensorModel.from_json({"gain": {"colour": 1.0}})


@pytest.mark.parametrize(
    ("shape", "options", "match"),
    [
        ((1250,), {}, r"waves must have shape \(N, T\), got \(1250,\)"),
        ((2, 1000), {}, "at least 1125 samples for windows of 1000, got 1000"),
        ((2, 1250), {"fs": 0.0}, "fs must be a positive rate in Hz, got 0.0"),
        ((2, 1250), {"width": -1.0}, "width must be finite and not negative"),
        ((2, 1250), {"out_samples": 0}, "at least"),
    ],
)
def test_misuse_says_what_was_expected(shape: tuple[int, ...], options: dict[str, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        SensorModel.radial_line().apply(np.zeros(shape, np.float32), rng(), **{"fs": FS, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "match"),
    [
        (lambda: Gain(sd=-1.0), "Gain sd must be finite and not negative"),
        (lambda: Offset(sd=np.nan), "Offset sd"),
        (lambda: WhiteNoise(sd_low=0.0), "WhiteNoise sd must have 0 < low <= high"),
        (lambda: Quantisation(none_share=2.0), "none_share must be a share"),
        (lambda: RandomStart(span_s=-1.0), "span_s"),
    ],
)
def test_priors_that_make_no_sense_are_refused(part: object, match: str) -> None:
    assert callable(part)
    with pytest.raises(ValueError, match=match):
        part()
