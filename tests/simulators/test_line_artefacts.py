"""Rare things between the line and the file."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.simulators.line_artefacts import Clipping, Drift, Dropouts, Flush, Respiration
from pulsebayes.simulators.sensors import SensorModel
from pulsebayes.waveforms.quality import assess

FS = 125.0


def waves(n: int = 64, samples: int = 1250) -> np.ndarray:
    t = np.arange(samples) / FS
    at = (t[None] + np.linspace(0, 1, n)[:, None]) % 0.8
    return (70 + 60 * np.exp(-at / 0.3) * np.minimum(at / 0.1, 1)).astype(np.float32)


def test_drift_has_the_spectrum_one_over_f() -> None:
    noise = Drift(sd_low=1.0, sd_high=1.0).add(np.zeros((400, 1024), np.float32), np.random.default_rng(0))
    np.testing.assert_allclose(noise.std(axis=1), 1.0, rtol=1e-3)
    power = (np.abs(np.fft.rfft(noise)) ** 2).mean(0)
    slope = np.polyfit(np.log(np.arange(1, 500)), np.log(power[1:500]), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.02)


def test_respiration_is_a_slow_sine_of_the_stated_size() -> None:
    moved = Respiration(sd=1.0).add(np.zeros((4000, 1000), np.float32), np.random.default_rng(0), fs=FS)
    assert np.sqrt(2 * (moved**2).mean()) == pytest.approx(1.0, rel=0.05)
    assert np.abs(np.fft.rfft(moved))[:, 12:].max() < np.abs(np.fft.rfft(moved)).max() / 4


def test_dropouts_are_lines_between_true_samples() -> None:
    clean = waves(200)
    lossy = Dropouts(share=1.0, most=1).bridge(clean, np.random.default_rng(0), fs=FS)
    changed = (lossy != clean).sum(axis=1)
    assert 0 < changed.max() <= round(0.2 * FS) and (changed > 0).mean() > 0.9
    row = int(changed.argmax())
    inside = np.flatnonzero(lossy[row] != clean[row])
    bend = np.diff(lossy[row, inside[0] - 1 : inside[-1] + 2], 2)
    np.testing.assert_allclose(bend, 0, atol=1e-4)


def test_clipping_stays_within_what_the_gate_lets_pass() -> None:
    clean = waves()
    cut = Clipping(share=1.0, most=0.04).cut(clean, np.random.default_rng(0))
    assert bool((cut <= clean).all()) and float((cut == cut.max(axis=1, keepdims=True)).mean(axis=1).max()) < 0.06


def test_flush_reaches_the_bag_and_rings_through_the_line() -> None:
    sensor = SensorModel(flush=Flush(share=1.0))
    recorded = sensor.apply(waves(), np.random.default_rng(0), fs=FS)
    assert float(np.quantile(recorded.max(axis=1), 0.5)) > 195
    assert sum(assess(w, FS).reason == "flush" for w in recorded) > 40


def test_parts_that_are_off_change_nothing_and_draw_nothing() -> None:
    old = SensorModel.from_json({"line": {"ideal_share": 0.25}})
    assert old == SensorModel()
    first = old.apply(waves(), np.random.default_rng(3), fs=FS)
    np.testing.assert_array_equal(first, SensorModel().apply(waves(), np.random.default_rng(3), fs=FS))
    everything = SensorModel.radial_line()
    assert everything != SensorModel() and SensorModel.from_json(everything.to_json()) == everything


def test_most_recordings_pass_the_gate() -> None:
    recorded = SensorModel.radial_line().apply(waves(400), np.random.default_rng(1), fs=FS)
    assert np.mean([assess(w, FS).usable for w in recorded]) > 0.95


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Drift(sd_low=2.0, sd_high=1.0), "Drift sd"),
        (lambda: Respiration(sd=-1.0), "Respiration sd"),
        (lambda: Dropouts(share=2.0), "Dropouts share"),
        (lambda: Dropouts(most=0), "most must be at least 1"),
        (lambda: Clipping(most=1.5), "Clipping most"),
        (lambda: Flush(length_low=0.0), "Flush length"),
    ],
)
def test_bad_priors_are_refused(make: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()  # type: ignore[operator]
