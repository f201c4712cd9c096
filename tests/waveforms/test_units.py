"""Units: one spelling each, conversions against printed factors, and no guesses."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsebayes.waveforms import units
from pulsebayes.waveforms.units import convert, is_pressure, parse_unit, unit

CANONICAL = [name for kind in units._TABLE.values() for name in kind]
SPELLINGS = [(alias, name) for kind in units._TABLE.values() for name, (_, more) in kind.items() for alias in more]

# (value, source, target, result): NIST SP 811 appendix B.8 and the definitions of the units
PRINTED = [
    (1.0, "mmHg", "Pa", 133.322),
    (1.0, "kPa", "mmHg", 7.50062),
    (1.0, "cmH2O", "Pa", 98.0665),
    (10.0, "cmH2O", "mmHg", 7.35561),
    (1.0, "bar", "hPa", 1000.0),
    (120.0, "hPa", "kPa", 12.0),
    (800.0, "0.1 mmHg", "mmHg", 80.0),
    (1000.0, "dyn/cm^2", "Pa", 100.0),
    (1.0, "V", "mV", 1000.0),
    (6.0, "L/min", "mL/s", 100.0),
    (72.0, "1/min", "Hz", 1.2),
    (1.0, "mmHg s/mL", "dyn s cm^-5", 1333.22),
    (1.0, "mmHg min/L", "dyn s cm^-5", 80.0),
    (1.0, "dyn s cm^-5", "Pa s/m^3", 1e5),
    (1.0, "mL/mmHg", "m^3/Pa", 7.50064e-9),
    (250.0, "ms", "s", 0.25),
    (50.0, "%", "1", 0.5),
]


@pytest.mark.parametrize(("value", "source", "target", "result"), PRINTED)
def test_conversions_match_the_printed_factors(value: float, source: str, target: str, result: float) -> None:
    assert convert(value, source, target) == pytest.approx(result, rel=1e-5)  # factors are printed to six digits


@pytest.mark.parametrize(("alias", "name"), SPELLINGS)
def test_every_spelling_means_its_unit(alias: str, name: str) -> None:
    assert parse_unit(alias) == name
    assert parse_unit(f" {alias} ") == name


@pytest.mark.parametrize("name", CANONICAL)
def test_canonical_names_stay_as_they_are_whatever_the_capitals(name: str) -> None:
    assert parse_unit(name) == name
    assert parse_unit(name.lower()) == name
    assert parse_unit(name.upper()) == name


@pytest.mark.parametrize(
    ("text", "name"), [("0.1mmHg", "0.1 mmHg"), ("1 kPa", "kPa"), ("0.01*V", "0.01 V"), (".5x mV", "0.5 mV")]
)
def test_a_number_before_a_unit_scales_it(text: str, name: str) -> None:
    assert parse_unit(text) == name
    assert parse_unit(parse_unit(text)) == name


@pytest.mark.parametrize("text", ["", "furlong", "mmhgg", "0 mmHg", "-1 mmHg", "1e999 mmHg", "2 adu", "0.1"])
def test_unknown_units_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"unit must be one of .*got"):
        parse_unit(text)


def test_a_unit_must_be_a_text() -> None:
    with pytest.raises(TypeError, match=r"must be a text|Type-check"):
        unit(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "target"), [("mmHg", "mV"), ("adu", "mmHg"), ("mmHg", "adu"), ("NU", "adu"), ("L", "L/min")]
)
def test_different_kinds_and_raw_counts_cannot_be_converted(source: str, target: str) -> None:
    with pytest.raises(ValueError, match="cannot convert"):
        convert(1.0, source, target)


@given(
    st.floats(-1e6, 1e6),
    st.sampled_from(list(units._TABLE["pressure"])),
    st.sampled_from(list(units._TABLE["pressure"])),
)
def test_converting_there_and_back_returns_the_value(value: float, source: str, target: str) -> None:
    assert convert(convert(value, source, target), target, source) == pytest.approx(value, rel=1e-12, abs=1e-12)


def test_arrays_keep_their_type() -> None:
    wave = np.array([12.0, 13.0], dtype=np.float32)
    assert convert(wave, "kPa", "mmHg").dtype == np.float32
    assert convert(wave, "kPa", "kPa") is wave
    jnp = pytest.importorskip("jax.numpy")
    converted = convert(jnp.asarray(wave), "kPa", "mmHg")
    assert type(converted) is type(jnp.asarray(wave))
    np.testing.assert_allclose(np.asarray(converted), wave * 7.50062, rtol=1e-5)


def test_constants_agree_with_the_table() -> None:
    assert convert(1.0, "kPa", "mmHg") == pytest.approx(units.MMHG_PER_KPA, rel=1e-15)
    assert convert(1.0, "cmH2O", "mmHg") == pytest.approx(units.MMHG_PER_CMH2O, rel=1e-15)
    assert convert(1.0, "mmHg s/mL", "dyn s cm^-5") == pytest.approx(units.DYN_S_CM5_PER_MMHG_S_PER_ML, rel=1e-15)
    # The rounded 80 stays within 1e-4 of the exact factor: 133.322e6 Pa s/m^3 in mmHg s/mL, 60/1000 for min/L
    exact = units.DYN_S_CM5_PER_MMHG_S_PER_ML * 60 / 1000
    assert exact == pytest.approx(units.DYN_S_CM5_PER_MMHG_MIN_PER_L, rel=1e-4)


def test_only_units_of_pressure_are_pressures() -> None:
    assert is_pressure("kPa")
    assert is_pressure("0.1 mmHg")
    assert not any(is_pressure(text) for text in (None, "mV", "adu", "furlong"))


def test_raw_counts_have_no_size_and_units_pickle() -> None:
    assert math.isnan(unit("adu").size)
    assert pickle.loads(pickle.dumps(unit("kPa"))) == unit("kPa")
