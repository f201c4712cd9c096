"""The domain verdict: calibrated on simulations, blind to nothing that a pulse shows, kept in a bundle."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pulsebayes.inference.domain import TOO_FEW, DomainModel, DomainVerdict, fit_domain
from pulsebayes.inference.pulse_shape import TRAITS, pulse_shape

FS = 125.0
T = np.arange(1250) / FS


def arteries(rng: np.random.Generator, n: int, *, rate: tuple[float, float] = (50, 120)) -> np.ndarray:
    """Pressures of windkessel arteries: half-sine ejections into a compliance, rates and levels of adults."""
    interval = 60 / rng.uniform(*rate, (n, 1))
    phase = (T + rng.uniform(0, 1, (n, 1)) * interval) % interval
    ejection = 0.32 * np.sqrt(interval)
    decay = rng.uniform(0.5, 1.2, (n, 1))
    flow = np.where(phase < ejection, np.sin(np.pi * phase / ejection), 0)
    wave = np.zeros_like(flow)
    level = flow.mean(axis=1) * decay[:, 0] * FS
    for i in range(2500):
        level = level * (1 - 1 / FS / decay[:, 0]) + flow[:, i % 1250]
        wave[:, i % 1250] = level
    wave = (wave - wave.mean(axis=1, keepdims=True)) / np.ptp(wave, axis=1, keepdims=True)
    return rng.uniform(65, 115, (n, 1)) + rng.uniform(30, 70, (n, 1)) * wave


class Line:
    """A sensor of offset and noise only."""

    def apply(self, waves, rng, *, fs, out_samples=1000, width=1.0):
        offset = 2.5 * width * rng.standard_normal((len(waves), 1))
        noise = 0.3 * width * rng.standard_normal(waves.shape)
        return (waves + offset + noise)[:, -out_samples:].astype(np.float32)


@pytest.fixture(scope="module")
def model() -> DomainModel:
    return fit_domain(arteries(np.random.default_rng(0), 3000), Line(), fs=FS, seed=0)


@pytest.fixture(scope="module")
def fresh() -> np.ndarray:
    return Line().apply(arteries(np.random.default_rng(1), 600), np.random.default_rng(2), fs=FS)


def test_p_values_of_new_simulations_are_uniform(model, fresh):
    p = np.array([verdict.p for verdict in model.assess_many(fresh)])
    # 600 against about 750 calibration windows: a quantile errs by 2.7 % at one standard deviation at most.
    for level in (0.05, 0.2, 0.5, 0.8):
        assert np.mean(p <= level) == pytest.approx(level, abs=0.08)


def test_few_new_simulations_are_outside_even_with_a_wide_sensor(model):
    wide = Line().apply(arteries(np.random.default_rng(3), 600), np.random.default_rng(4), fs=FS, width=2.0)
    # One of 100 allowed, .6 expected: 13 or more of 600 have a chance below 1 in 10,000.
    assert sum(v.verdict == "outside" for v in model.assess_many(wide)) < 13


def test_verdicts_follow_from_p_and_distance(model, fresh):
    for verdict in model.assess_many(fresh):
        outside = verdict.distance > model.threshold
        expected = "outside" if outside else "shifted" if verdict.p < 0.05 else "inside"
        assert verdict.verdict == expected
        assert (verdict.reason is None) == (expected == "inside")


def square(n: int = 1000) -> np.ndarray:
    return 90 + 25 * np.sign(np.sin(2 * np.pi * 1.2 * T[:n]))


NONSENSE = {
    "sine": lambda w: 90 + 25 * np.sin(2 * np.pi * 1.2 * T[:1000]),
    "square": lambda w: square(),
    "reversed in time": lambda w: w[::-1],
    "inverted": lambda w: 180 - w,
    "narrow spikes": lambda w: 80 + 40 * np.exp(-(((T[:1000] % 0.8 - 0.3) / 0.03) ** 2)),
    "white noise": lambda w: 90 + 15 * np.random.default_rng(0).standard_normal(1000),
    "mean of 200 mmHg": lambda w: w + 200 - w.mean(),
    "venous level": lambda w: 12 + (w - w.mean()) / 10,
    "rate of 230 /min": lambda w: np.interp(np.arange(1000) * 3.0 % 1000, np.arange(1000), w),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_outside_and_the_reason_says_why(case, model):
    pressure = Line().apply(arteries(np.random.default_rng(5), 8, rate=(70, 80)), np.random.default_rng(6), fs=FS)
    for window in pressure:
        verdict = model.assess(NONSENSE[case](window.astype(float)))
        assert verdict.verdict == "outside", case
        assert verdict.p < 0.01
        assert verdict.reason


def test_a_reversed_wave_is_told_to_fall_faster_than_it_rises(model, fresh):
    reasons = [model.assess(window[::-1]).reason for window in fresh[:20]]
    # Feet and peaks of a reversed wave are displaced too; the asymmetry is what most are told.
    assert reasons.count("the beat falls faster than it rises") >= 5


@pytest.mark.parametrize("window", [np.full(1000, 90.0), 90 + T[:1000]], ids=["flat", "ramp"])
def test_a_window_without_beats_is_outside(window, model):
    verdict = model.assess(window)
    assert verdict == DomainVerdict("outside", verdict.p, float("inf"), TOO_FEW)
    assert 0 < verdict.p < 0.01


def test_a_model_survives_its_arrays(model, fresh):
    arrays = model.to_arrays()
    assert sum(array.nbytes for array in arrays.values()) < 1_000_000
    assert all(array.ndim >= 1 for array in arrays.values()), "files keep no scalars"
    again = DomainModel.from_arrays({name: array.copy() for name, array in arrays.items()})
    assert again.assess_many(fresh[:20]) == model.assess_many(fresh[:20])


def test_a_bundle_keeps_the_model(model, fresh, bundle, tmp_path):
    import dataclasses

    from pulsebayes.inference.bundle import Bundle

    dataclasses.replace(bundle, domain=model.to_arrays()).save(tmp_path / "b")
    again = DomainModel.from_arrays(Bundle.load(tmp_path / "b").domain)
    assert again.assess_many(fresh[:20]) == model.assess_many(fresh[:20])


def test_the_same_seed_gives_the_same_model():
    waves = arteries(np.random.default_rng(0), 500)
    first, second = (fit_domain(waves, Line(), fs=FS, seed=3).to_arrays() for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_gain_and_offset_leave_the_shape_alone(fresh):
    plain, changed = pulse_shape(fresh[0], FS), pulse_shape(1.3 * fresh[0] + 7, FS)
    np.testing.assert_allclose(plain.pulse, changed.pulse, atol=1e-3)
    np.testing.assert_allclose(plain.upstroke, changed.upstroke, atol=1e-3)


def test_traits_know_rate_and_mean(fresh):
    shape = pulse_shape(arteries(np.random.default_rng(8), 1, rate=(75, 75))[0, :1000], FS)
    traits = dict(zip(TRAITS, shape.traits, strict=True))
    assert np.exp(traits["rate"]) == pytest.approx(75, rel=0.02)
    assert traits["asymmetry"] > 0


def test_too_few_windows_are_refused():
    with pytest.raises(ValueError, match="needs 100 usable windows, got"):
        DomainModel.fit(np.full((200, 1000), 90.0), fs=FS, seed=0)


def test_missing_arrays_are_named(model):
    arrays = model.to_arrays()
    del arrays["threshold"]
    with pytest.raises(ValueError, match="none named \\['threshold'\\]"):
        DomainModel.from_arrays(arrays)


def test_a_recording_of_ten_minutes_is_judged_in_less_than_half_a_second(model, fresh):
    model.assess(fresh[0])
    begun = time.process_time()
    model.assess_many(fresh[:75])
    assert time.process_time() - begun < 0.5
