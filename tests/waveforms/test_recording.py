"""Recordings: native rates, places in time, units of pressure, and refusals that name what to do."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsebayes.waveforms import (
    Recording,
    RecordingError,
    cut_windows,
    missing_share,
    require_data,
    require_pressure_unit,
)
from pulsebayes.waveforms.labelling import RawChannel, label_channels


def ramp(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.float32)


def two_rates() -> Recording:
    waves = {"ABP": ramp(1250), "ECG": ramp(5000), "PLETH": ramp(600)}
    rates = {"ABP": 125.0, "ECG": 500.0, "PLETH": 62.5}
    return Recording.from_arrays("demo", waves, fs=rates, start_s={"ABP": 0.0, "ECG": 0.0, "PLETH": 0.4})


def refused(call: object, *arguments: object, **named: object) -> RecordingError:
    with pytest.raises(RecordingError) as caught:
        call(*arguments, **named)  # type: ignore[operator]
    return caught.value


def test_channels_keep_their_native_rates() -> None:
    recording = two_rates()
    assert [(c.name, c.role, c.fs) for c in recording.channels] == [
        ("ABP", "ART", 125.0),
        ("ECG", "ECG", 500.0),
        ("PLETH", "PLETH", 62.5),
    ]
    assert recording.duration_s == 10.0
    assert recording.values("ECG").dtype == np.float32
    np.testing.assert_array_equal(recording.values("ART"), ramp(1250))


def test_values_are_cut_where_their_times_say() -> None:
    recording = two_rates()
    np.testing.assert_array_equal(recording.values("ART", 2.0, 4.0), ramp(1250)[250:500])
    np.testing.assert_allclose(recording.times("ART", 2.0, 4.0), np.arange(250, 500) / 125)
    np.testing.assert_array_equal(recording.values("PLETH", 0.4, 1.2), ramp(600)[:50])


def test_time_without_samples_is_missing_not_moved() -> None:
    recording = two_rates()
    early = recording.values("PLETH", 0.0, 0.8)
    assert len(early) == 50
    assert np.isnan(early[:25]).all()
    np.testing.assert_array_equal(early[25:], ramp(25))
    late = recording.values("ART", 9.6, 10.4)
    assert len(late) == 100
    assert np.isnan(late[50:]).all()
    assert np.isnan(recording.values("ART", -1.0, 0.0)).all()
    assert recording.values("ART", 3.0, 3.0).shape == (0,)


@given(st.floats(0, 9), st.floats(0.05, 5), st.sampled_from([62.4725, 100.0, 124.945, 125.0, 250.0]), st.floats(0, 1))
def test_adjacent_stretches_join_without_loss(start: float, length: float, fs: float, offset: float) -> None:
    recording = Recording.from_arrays("demo", {"ABP": ramp(int(10 * fs))}, fs=fs, start_s=offset)
    middle, end = start + length / 3, start + length
    parts = [recording.values("ART", start, middle), recording.values("ART", middle, end)]
    np.testing.assert_array_equal(np.concatenate(parts), recording.values("ART", start, end))
    times = recording.times("ART", start, end)
    assert len(times) == len(recording.values("ART", start, end))
    assert ((times >= start - 2e-3 / fs) & (times < end)).all()  # a thousandth of a sample counts as on time


@pytest.mark.parametrize(("start", "end"), [(5.0, 4.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_a_stretch_must_be_finite_and_in_order(start: float, end: float) -> None:
    with pytest.raises(ValueError, match="finite and in order"):
        two_rates().values("ART", start, end)


@pytest.mark.parametrize(("unit", "factor"), [("mmHg", 1), ("kPa", 7.50062), ("0.1 mmHg", 0.1), ("Pa", 0.00750062)])
def test_pressures_come_in_mmhg_once_the_unit_is_known(unit: str, factor: float) -> None:
    recording = Recording.from_arrays("demo", {"ABP": ramp(9)}, fs=125, units={"ART": unit})
    channel = require_pressure_unit(recording, "ART")
    assert channel.unit == "mmHg"
    assert channel.source_unit == (None if unit == "mmHg" else unit)
    np.testing.assert_allclose(recording.values("ART"), ramp(9) * factor, rtol=1e-5)


def test_airway_pressure_keeps_its_unit() -> None:
    recording = Recording.from_arrays("demo", {"AWP": ramp(9)}, fs=125, units={"AWP": "cmH2O"})
    assert recording.channel("AWP").unit == "cmH2O"
    np.testing.assert_array_equal(recording.values("AWP"), ramp(9))


def test_a_pressure_without_unit_is_refused_with_the_option() -> None:
    recording = Recording.from_arrays("a.csv", {"ABP": ramp(9)}, fs=125)
    error = refused(require_pressure_unit, recording, "ART")
    assert (error.code, error.hint) == ("unit-missing", "--unit ART=mmHg")
    assert "a.csv, channel ABP" in str(error)


@pytest.mark.parametrize("unit", ["adu", "mV", "NU", "L/min"])
def test_counts_and_other_units_are_no_pressure(unit: str) -> None:
    recording = Recording.from_arrays("demo", {"ABP": ramp(9)}, fs=125, units={"ABP": unit})
    error = refused(require_pressure_unit, recording, "ART")
    assert (error.code, error.hint) == ("unit-wrong", "--unit ART=mmHg")
    np.testing.assert_array_equal(recording.values("ART"), ramp(9))


def test_unnamed_channels_are_refused_with_the_options_to_give() -> None:
    raw = Recording.from_arrays("demo", {f"col {k}": ramp(9) for k in range(1, 7)}, fs=125)
    assert refused(raw.channel, "ART").code == "channel-missing"  # named so by the caller: names all the same
    labelled = Recording.from_arrays(
        "demo", {f"col {k}": ramp(9) for k in range(1, 7)}, fs=125, roles={"col 3": "ART"}, units={"ART": "mmHg"}
    )
    assert require_pressure_unit(labelled, "ART").name == "col 3"


def test_a_channel_given_another_role_loses_that_of_its_name() -> None:
    waves = {"ART": np.full(500, 8.0)}
    recording = Recording.from_arrays("x.csv", waves, fs=125, roles={"ART": "CVP"}, units={"ART": "mmHg"})
    assert recording.channel("CVP").name == "ART" and recording.channel("CVP").unit == "mmHg"
    with pytest.raises(RecordingError, match=r"expected a channel ART, found ART \(CVP, 125 Hz\)") as caught:
        recording.in_role("ART")
    assert caught.value.code == "channel-missing"
    assert recording.in_role("CVP").name == "ART"


def test_a_missing_channel_names_what_is_there() -> None:
    error = refused(two_rates().channel, "CVP")
    assert error.code == "channel-missing"
    assert "ABP (ART, 125 Hz)" in error.message


def test_two_candidates_are_never_chosen_between_in_silence() -> None:
    waves = {"ABP": ramp(9), "ART": ramp(9) + 1}
    both = Recording.from_arrays("demo", waves, fs=125, units={"ART": "mmHg"})
    error = refused(both.channel, "ART")
    assert (error.code, error.hint) == ("channel-ambiguous", '--channel "ABP=ART"')
    chosen = Recording.from_arrays("demo", waves, fs=125, roles={"ABP": "ART"}, units={"ART": "mmHg"})
    assert chosen.channel("ART").name == "ABP"
    assert [c.role for c in chosen.channels] == ["ART", None]
    assert "you gave to another channel" in " ".join(chosen.channels[1].findings)


@pytest.mark.parametrize(
    ("roles", "units", "code"),
    [
        ({"ABP": "ARTERY"}, {}, "unknown-role"),
        ({"CVP": "ART"}, {}, "channel-missing"),
        ({"ABP": "ART", "PLETH": "ART"}, {}, "channel-ambiguous"),
        ({}, {"ABP": "furlong"}, "unknown-unit"),
        ({}, {"CVP": "mmHg"}, "channel-missing"),
    ],
)
def test_labels_that_do_not_fit_are_refused(roles: dict[str, str], units: dict[str, str], code: str) -> None:
    waves = {"ABP": ramp(9), "PLETH": ramp(9)}
    error = refused(Recording.from_arrays, "demo", waves, fs=125, roles=roles, units=units)
    assert error.code == code


@pytest.mark.parametrize(
    ("names", "unit", "hint"),
    [
        (["ABP"], "PLETH", '--unit "ABP=mmHg"'),
        (["PLETH", "ABP"], "CVP", '--unit "ABP=mmHg"'),
        (["ABP", "x"], "CVP", '--channel "x=CVP"'),
        (["ABP", "x"], "y", '--unit "ABP=mmHg"'),
    ],
)
def test_a_unit_for_what_is_not_there_is_answered_with_one_that_fits(names: list[str], unit: str, hint: str) -> None:
    error = refused(Recording.from_arrays, "demo", {n: ramp(9) for n in names}, fs=125, units={unit: "mmHg"})
    assert error.hint == hint


def test_the_user_overrules_the_name_and_is_told_so() -> None:
    recording = Recording.from_arrays(
        "demo", {"PLETH": ramp(9)}, fs=125, roles={"PLETH": "art"}, units={"PLETH": "kPa"}
    )
    (channel,) = recording.channels
    assert (channel.role, channel.unit) == ("ART", "mmHg")
    assert "the name suggests PLETH" in channel.findings


@pytest.mark.parametrize("share", [0.0, 0.49, 0.5])
def test_up_to_half_may_be_missing(share: float) -> None:
    wave = ramp(1000)
    wave[: int(share * 1000)] = np.nan
    recording = Recording.from_arrays("demo", {"ABP": wave}, fs=1)
    assert require_data(recording, "ART") == pytest.approx(share)


def test_more_than_half_missing_refuses_the_channel() -> None:
    wave = ramp(1000)
    wave[::3] = wave[1::3] = np.nan
    recording = Recording.from_arrays("demo", {"ABP": wave, "PLETH": ramp(1000)}, fs=1)
    error = refused(require_data, recording, "ART")
    assert error.code == "too-much-missing"
    assert "66.7%" in error.message
    assert require_data(recording, "PLETH") == 0.0
    assert missing_share(recording, "ART", 0, 9) == pytest.approx(6 / 9)


def test_a_channel_that_starts_late_is_not_called_missing() -> None:
    recording = Recording.from_arrays(
        "demo", {"ABP": ramp(10), "ECG": ramp(100)}, fs=1, start_s={"ABP": 80.0, "ECG": 0.0}
    )
    assert missing_share(recording, "ART") == 0.0


@pytest.mark.parametrize(
    ("wave", "fs", "match"),
    [(np.ones((2, 3)), 125, r"must have shape \(time,\), got \(2, 3\)"), (np.ones(3), 0, "must be positive")],
)
def test_arrays_are_checked_at_the_door(wave: np.ndarray, fs: float, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Recording.from_arrays("demo", {"ABP": wave}, fs=fs)


def test_the_tree_has_one_node_per_rate() -> None:
    pytest.importorskip("xarray")
    tree = two_rates().to_datatree()
    assert sorted(tree.children) == ["125Hz", "500Hz", "62.5Hz"]
    abp = tree["125Hz"]["ABP"]
    assert abp.attrs["role"] == "ART"
    assert tree["125Hz"]["time"].attrs["units"] == "s"
    np.testing.assert_array_equal(abp.values, ramp(1250))
    np.testing.assert_allclose(tree["62.5Hz"]["time"].values, 0.4 + np.arange(600) / 62.5)


def test_channels_off_one_grid_get_nodes_of_their_own() -> None:
    waves = {"ABP": ramp(10), "CVP": ramp(8), "PLETH": ramp(9)}
    starts = {"ABP": 0.0, "CVP": 2.0, "PLETH": 0.5}
    tree = Recording.from_arrays("demo", waves, fs=1, start_s=starts).to_datatree()
    assert sorted(tree.children) == ["1Hz", "1Hz_2"]
    assert np.isnan(tree["1Hz"]["CVP"].values[:2]).all()
    np.testing.assert_array_equal(tree["1Hz"]["CVP"].values[2:], ramp(8))


def test_recordings_and_errors_travel_between_processes() -> None:
    recording = pickle.loads(pickle.dumps(two_rates()))
    np.testing.assert_array_equal(recording.values("ART"), ramp(1250))
    error = refused(recording.channel, "CVP")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.code, again.hint, again.file) == (str(error), error.code, error.hint, error.file)


def test_recordings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        two_rates().name = "other"  # type: ignore[misc]


def test_a_stated_unit_that_contradicts_the_files_is_kept_and_found_in_every_window() -> None:
    raw = RawChannel("ABP", "mmHg", 125.0, 1000)
    (channel,) = label_channels("a.hea", [raw], units={"ART": "cmH2O"})
    assert (channel.unit, channel.source_unit, channel.unread_unit) == ("mmHg", "cmH2O", "mmHg")
    assert channel.contradiction == "unit cmH2O as you say; the file says mmHg"
    assert channel.contradiction in channel.findings
    recording = Recording("a.hea", (channel,), lambda index, first, stop: ramp(1000)[first:stop])
    (window,) = cut_windows(recording)
    assert [f.message for f in window.verdict.findings if f.code == "unit"] == [f"ART: {channel.contradiction}"]
    for said in ("mmHg", "mm Hg"):
        (channel,) = label_channels("a.hea", [raw], units={"ART": said})
        assert channel.contradiction == "" and channel.findings == ("unit mmHg as you say",)


def test_a_unit_that_is_not_known_is_named() -> None:
    raw = RawChannel("ABP", "furlong", 125.0, 1000)
    (channel,) = label_channels("a.csv", [raw])
    error = refused(require_pressure_unit, Recording("a.csv", (channel,), lambda *_: ramp(9)), "ART")
    assert (error.code, error.hint) == ("unit-wrong", "--unit ART=mmHg")
    assert "'furlong' is not known" in error.what
    (channel,) = label_channels("a.csv", [raw], units={"ABP": "kPa"})
    assert channel.contradiction == "unit kPa as you say; the file says furlong"
