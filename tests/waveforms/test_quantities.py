"""Quantities: one definition each, arithmetic on any array, ranges only with a citation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pulsebayes.waveforms import quantities as q
from pulsebayes.waveforms.quantities import QUANTITIES, Quantity
from pulsebayes.waveforms.units import parse_unit

EXPECTED = {
    "HR": "1/min",
    "SV": "mL",
    "CO": "L/min",
    "MAP": "mmHg",
    "CVP": "mmHg",
    "SVR": "dyn s cm^-5",
    "LVET": "ms",
    "PWV": "m/s",
    "C": "mL/mmHg",
    "SBP": "mmHg",
    "DBP": "mmHg",
    "PP": "mmHg",
}


def test_every_quantity_stands_under_its_symbol_with_its_unit() -> None:
    assert {symbol: QUANTITIES[symbol].unit for symbol in EXPECTED} == EXPECTED
    assert all(quantity.symbol == symbol for symbol, quantity in QUANTITIES.items())


@pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=QUANTITIES)
def test_units_are_known_and_ranges_are_cited(quantity: Quantity) -> None:
    if quantity.symbol != "CI":  # per body surface: a compound unit that nothing converts
        assert parse_unit(quantity.unit) == quantity.unit
    assert (quantity.usual_low is None) == (quantity.usual_source is None)
    if quantity.usual_low is not None and quantity.usual_high is not None:
        assert quantity.usual_low < quantity.usual_high


def test_a_range_without_a_citation_is_refused() -> None:
    with pytest.raises(ValueError, match="needs low, high and a citation"):
        replace(QUANTITIES["CO"], usual_source=None)


def test_usual_ranges_are_those_commonly_printed() -> None:
    printed = {"CO": (4, 8), "CI": (2.5, 4), "SV": (50, 100), "SVR": (800, 1200), "MAP": (70, 100)}
    assert {s: (QUANTITIES[s].usual_low, QUANTITIES[s].usual_high) for s in printed} == printed


@pytest.mark.parametrize("library", ["numpy", "jax.numpy", "torch"])
def test_definitions_work_on_arrays_of_any_library(library: str) -> None:
    xp = pytest.importorskip(library)
    make = xp.tensor if library == "torch" else xp.asarray
    rate, volume = q.heart_rate(make([0.75, 1.0])), make([70.0, 80.0])
    output = q.cardiac_output(rate, volume)
    resistance = q.systemic_vascular_resistance(make([90.0, 85.0]), make([5.0, 5.0]), output)
    assert type(resistance) is type(volume)
    np.testing.assert_allclose(np.asarray(output), [5.6, 4.8], rtol=1e-6)  # float32 of jax and torch
    np.testing.assert_allclose(np.asarray(resistance), [80 * 85 / 5.6, 80 * 80 / 4.8], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(q.pulse_pressure(make([120.0]), make([80.0]))), [40.0])
    np.testing.assert_allclose(np.asarray(q.cardiac_index(output, 2.0)), [2.8, 2.4], rtol=1e-6)


@pytest.mark.parametrize("library", ["numpy", "jax.numpy", "torch"])
def test_volume_and_ejection_time_of_a_half_sine_match_the_closed_form(library: str) -> None:
    xp = pytest.importorskip(library)
    make = xp.tensor if library == "torch" else xp.asarray
    fs, ejection, period, peak, beats = 4000, 0.3, 0.8, 400.0, 3
    t = np.arange(int(period * fs * beats)) / fs % period
    flow = np.where(t < ejection, peak * np.sin(np.pi * t / ejection), 0.0)
    batch = make(np.stack([flow, 0.5 * flow]))
    volume = q.stroke_volume(batch, period * beats, beats)
    # Riemann sum of a smooth half sine: error of order (1/(fs ejection))^2
    np.testing.assert_allclose(np.asarray(volume), 2 / np.pi * peak * ejection * np.array([1, 0.5]), rtol=1e-4)
    time = q.ejection_time(batch, period * beats, beats)
    np.testing.assert_allclose(np.asarray(time), [300.0, 300.0], atol=2 * 1000 / fs)
    np.testing.assert_allclose(np.asarray(q.mean_pressure(batch)), flow.mean() * np.array([1, 0.5]), rtol=1e-5)
