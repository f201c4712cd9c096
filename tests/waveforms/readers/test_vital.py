"""The `.vital` reader: against vitaldb on genuine files, against a writer of our own, and against damage."""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulsebayes.waveforms import RecordingError, read
from pulsebayes.waveforms.readers import read_numbers, read_vital

GENUINE = {
    "test_data_demo.vital": (35.84, ["ABP", "ECG_II", "PLETH", "RESP"]),
    "test_intelliue_demo2.vital": (218.112, ["ECG_II", "PLETH", "RESP", "ABP"]),
    "test_intellivue_demo1.vital": (25.6, ["ECG_II", "PLETH", "ABP"]),
}
EPOCH = 1562838865.0  # a time stamp as in the genuine files: their float64 resolves .2 microseconds


@pytest.fixture
def genuine(real_data: Path) -> Path:
    return real_data / "vitalrecorder_demo"


def counts(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, n)


def reference(path: Path, name: str, fs: float) -> tuple[np.ndarray, float]:
    """What vitaldb makes of a track, and the time of its first sample."""
    vitaldb = pytest.importorskip("vitaldb")
    file = vitaldb.VitalFile(str(path))
    return file.get_track_samples(name, 1 / fs), file.dtstart


@pytest.mark.parametrize("name", GENUINE)
def test_genuine_files_agree_with_vitaldb(genuine: Path, name: str) -> None:
    vitaldb = pytest.importorskip("vitaldb")
    duration, tracks = GENUINE[name]
    recording = read(genuine / name)
    assert recording.duration_s == pytest.approx(duration, abs=1e-6)
    assert [c.name for c in recording.channels] == [f"Intellivue/{track}" for track in tracks]
    file = vitaldb.VitalFile(str(genuine / name))
    zero = min(rec["dt"] for t in file.trks.values() if t.type == 1 for rec in t.recs)
    for channel in recording.channels:
        track = file.trks[channel.name]
        stored = np.concatenate([rec["val"] for rec in track.recs])
        ours = recording.values(channel.name, channel.start_s, channel.start_s + channel.duration_s)
        np.testing.assert_allclose(ours, stored * track.gain + track.offset, atol=1e-6)
        # vitaldb's own grid rounds each record up by itself: float noise of the stamps tears holes of one sample and
        # puts samples over one another. Where it has a value it must be ours of that time or of the sample before.
        theirs = file.get_track_samples(channel.name, 1 / channel.fs)
        shift = (file.dtstart - zero - channel.start_s) * channel.fs
        there = np.flatnonzero(~np.isnan(theirs))
        at = np.round(there + shift).astype(int)
        assert ((at >= 0) & (at <= len(ours))).all()
        near = np.stack([ours[np.clip(at - lag, 0, len(ours) - 1)] for lag in (0, 1)])
        assert np.abs(near - theirs[there]).min(0).max() < 1e-4  # vitaldb scales in float32
        assert len(there) > 0.98 * len(ours)


def test_genuine_files_have_their_roles_units_and_rates(genuine: Path) -> None:
    recording = read(genuine / "test_data_demo.vital")
    assert [(c.role, c.unit, c.fs, c.start_s) for c in recording.channels] == [
        ("ART", "mmHg", 125.0, 0.0),
        ("ECG", "mV", 500.0, 0.768),
        ("PLETH", None, 125.0, 0.768),
        ("RESP", "ohm", 62.5, 0.768),
    ]


@pytest.mark.parametrize("name", GENUINE)
def test_numbers_agree_with_vitaldb(genuine: Path, name: str) -> None:
    vitaldb = pytest.importorskip("vitaldb")
    ours = read_numbers(genuine / name)
    file = vitaldb.VitalFile(str(genuine / name))
    theirs = {key: track for key, track in file.trks.items() if track.type == 2 and track.recs}
    assert ours.keys() == theirs.keys()
    for key, track in theirs.items():
        values = np.array([rec["val"] for rec in track.recs], dtype=np.float32)
        np.testing.assert_allclose(ours[key].values, np.where(values > 4e9, np.nan, values))
        np.testing.assert_allclose(np.diff(ours[key].times_s), np.diff([rec["dt"] for rec in track.recs]), atol=1e-6)
    assert ours["Intellivue/ABP_MEAN"].unit == "mmHg"


def test_a_monitors_mean_pressure_agrees_with_the_wave(genuine: Path) -> None:
    recording = read(genuine / "test_intelliue_demo2.vital")
    mean = np.nanmedian(read_numbers(genuine / "test_intelliue_demo2.vital")["Intellivue/ABP_MEAN"].values)
    assert abs(np.nanmean(recording.values("ART")) - mean) < 3  # the monitor's mean is of beats, rounded to 1 mmHg


@pytest.mark.parametrize("fmt", [1, 2, 3, 4, 5, 6, 7, 8])
def test_every_sample_format_is_read(write_vital: Any, vital_track: Any, fmt: int) -> None:
    stored = np.arange(100) % 100
    track = vital_track("ABP", [(EPOCH, stored)], fmt=fmt, gain=0.5, offset=-3.0)
    wave = read(write_vital([track])).values("ART")
    np.testing.assert_allclose(wave, stored if fmt <= 2 else stored * 0.5 - 3.0)


def test_gaps_become_missing_at_their_place(write_vital: Any, vital_track: Any) -> None:
    stored = counts(500)
    track = vital_track("ABP", [(EPOCH, stored[:250]), (EPOCH + 3.0, stored[250:])])
    recording = read(write_vital([track]))
    wave = recording.values("ART")
    assert len(wave) == 625
    assert np.flatnonzero(np.isnan(wave)).tolist() == list(range(250, 375))
    np.testing.assert_allclose(wave[375:], stored[250:] * 0.0625 - 50)
    assert "125 samples (20.0%) lie in gaps" in recording.channel("ART").findings[0]


def test_records_out_of_order_are_sorted_and_told(write_vital: Any, vital_track: Any) -> None:
    stored = counts(375)
    records = [(EPOCH + k, stored[k * 125 : k * 125 + 125]) for k in range(3)]
    recording = read(write_vital([vital_track("ABP", [records[i] for i in (1, 0, 2)])]))
    np.testing.assert_allclose(recording.values("ART"), stored * 0.0625 - 50)
    assert recording.channel("ART").findings == ("records were out of order and were sorted by time",)


def test_the_later_of_overlapping_records_is_kept_and_told(write_vital: Any, vital_track: Any) -> None:
    first, second = np.full(125, 1600), np.full(125, 3200)
    recording = read(write_vital([vital_track("ABP", [(EPOCH, first), (EPOCH + 0.6, second)])]))
    np.testing.assert_allclose(recording.values("ART"), np.r_[np.full(75, 50.0), np.full(125, 150.0)])
    assert "overlap by 50 samples" in recording.channel("ART").findings[0]


def test_jitter_below_a_sample_tears_no_hole(write_vital: Any, vital_track: Any) -> None:
    rng = np.random.default_rng(1)
    stored = counts(125 * 60)
    # up to 2.8 ms of clock jitter at 8 ms a sample: up to .7 samples between two records, which rounding would tear
    jitter = np.r_[-0.0028, rng.uniform(-0.0028, 0.0028, 59)]
    records = [(EPOCH + k + jitter[k], stored[k * 125 : k * 125 + 125]) for k in range(60)]
    recording = read(write_vital([vital_track("ABP", records)]))
    np.testing.assert_allclose(recording.values("ART"), stored * 0.0625 - 50)
    assert recording.channel("ART").findings == ()


def test_a_drifting_clock_never_moves_samples_by_more_than_one(write_vital: Any, vital_track: Any) -> None:
    drift, n = 1.002, 200  # the device's second lasts 1.002 s: 25 samples in 200 s
    records = [(EPOCH + k * drift, np.full(125, k)) for k in range(n)]
    recording = read(write_vital([vital_track("ABP", records, fmt=5, gain=1.0, offset=0.0)]))
    wave, times = recording.values("ART"), recording.times("ART")
    for k in range(n):
        assert abs(times[np.flatnonzero(wave == k)[0]] - k * drift) <= 1 / 125 + 1e-6


def test_records_over_a_megabyte_are_read(write_vital: Any, vital_track: Any) -> None:
    stored = counts(700_000)
    recording = read(write_vital([vital_track("ABP", [(EPOCH, stored)], fs=500.0)]))
    np.testing.assert_allclose(recording.values("ART"), stored * 0.0625 - 50)


def test_packed_files_mark_missing_samples_by_the_extreme(write_vital: Any, vital_track: Any) -> None:
    stored = counts(100)
    stored[40:50] = 65535
    wave = read(write_vital([vital_track("ABP", [(EPOCH, stored)])], packed=True)).values("ART")
    assert np.flatnonzero(np.isnan(wave)).tolist() == list(range(40, 50))
    assert not np.isnan(read(write_vital([vital_track("ABP", [(EPOCH, stored)])])).values("ART")).any()


@pytest.mark.parametrize("packed", [False, True])
def test_files_that_vitaldb_writes_are_read_alike(tmp_path: Path, packed: bool) -> None:
    vitaldb = pytest.importorskip("vitaldb")
    file = vitaldb.VitalFile()
    rng = np.random.default_rng(2)
    wave = (90 + 30 * np.sin(np.arange(2500) / 20) + rng.normal(0, 1, 2500)).astype(np.float32)
    records = [{"dt": EPOCH + k, "val": wave[k * 250 : k * 250 + 250]} for k in (0, 1, 2, 5, 6, 7, 8, 9)]
    file.add_track("SNUADC/ART", records, srate=250.0, unit="mmHg")
    path = tmp_path / "theirs.vital"
    assert file.to_vital(str(path), packed=packed)
    ours = read(path)
    assert ours.channel("ART").name == "SNUADC/ART"
    values = ours.values("ART")
    theirs, _ = reference(path, "SNUADC/ART", 250.0)
    np.testing.assert_array_equal(np.isnan(values), np.isnan(theirs))
    np.testing.assert_allclose(values, theirs, rtol=1e-6)
    assert np.isnan(values).sum() == 500


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_written_is_read(write_vital: Any, vital_track: Any, data: st.DataObject) -> None:
    fs = data.draw(st.sampled_from([62.5, 100.0, 125.0, 500.0]))
    fmt = data.draw(st.sampled_from([3, 4, 5, 6, 7, 8]))
    limits = np.iinfo({3: "i1", 4: "u1", 5: "i2", 6: "u2", 7: "i4", 8: "u4"}[fmt])
    gain = data.draw(st.sampled_from([1.0, 0.0625, 2.0**-10]))
    lengths = data.draw(st.lists(st.integers(1, 200), min_size=1, max_size=8))
    gaps = data.draw(st.lists(st.integers(0, 50), min_size=len(lengths), max_size=len(lengths)))
    values = st.integers(max(limits.min, -(2**20)), min(limits.max, 2**20))
    records, expected, at = [], [], 0
    for length, gap in zip(lengths, gaps, strict=True):
        stored = np.array(data.draw(st.lists(values, min_size=length, max_size=length)))
        records.append((EPOCH + at / fs, stored))
        expected += [*(stored * gain), *([np.nan] * gap)]
        at += length + gap
    order = data.draw(st.permutations(range(len(records))))
    track = vital_track("ART", [records[i] for i in order], fs=fs, fmt=fmt, gain=gain, offset=0.0)
    wave = read(write_vital([track])).values("ART")
    np.testing.assert_allclose(wave, expected[: len(expected) - gaps[-1]], rtol=1e-6)


def test_a_role_may_come_from_the_monitor_type(write_vital: Any, vital_track: Any) -> None:
    tracks = [
        vital_track("P9", [(EPOCH, counts(9))], monitor_type=4),
        vital_track("PAP", [(EPOCH, counts(9))], monitor_type=4),
    ]
    assert [c.role for c in read(write_vital(tracks)).channels] == ["ART", "PAP"]


def test_tracks_without_samples_are_told(write_vital: Any, vital_track: Any) -> None:
    recording = read(write_vital([vital_track("ABP", [(EPOCH, counts(9))]), vital_track("CVP", [])]))
    assert recording.findings == ("no samples in Monitor/CVP",)


def test_a_missing_track_is_refused(genuine: Path, refused: Callable[..., RecordingError]) -> None:
    error = refused(read(genuine / "test_data_demo.vital").channel, "SNUADC/ART")
    assert error.code == "channel-missing"
    assert "Intellivue/ABP (ART, 125 Hz)" in error.message


def test_a_file_cut_anywhere_is_refused_with_the_byte(
    genuine: Path, tmp_path: Path, refused: Callable[..., RecordingError]
) -> None:
    whole = (genuine / "test_intellivue_demo1.vital").read_bytes()
    path = tmp_path / "cut.vital"
    for length in [*range(30, len(whole), 613), len(whole) - 1]:
        path.write_bytes(whole[:length])
        error = refused(read, path)
        assert error.code in {"truncated", "corrupt"}
        assert "cut.vital" in error.message
    assert "byte" in error.message


def test_a_flipped_bit_is_refused(genuine: Path, tmp_path: Path, refused: Callable[..., RecordingError]) -> None:
    whole = (genuine / "test_intellivue_demo1.vital").read_bytes()
    chance = random.Random(3)
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[chance.randrange(100, len(whole) - 8)] ^= 1 << chance.randrange(8)
        path = tmp_path / "flipped.vital"
        path.write_bytes(bytes(damaged))
        assert refused(read, path).code in {"truncated", "corrupt"}


def test_a_short_packet_is_refused_with_its_second(
    write_vital: Any, vital_track: Any, vital_bytes: Any, refused: Callable[..., RecordingError]
) -> None:
    raw = vital_bytes([vital_track("ABP", [(EPOCH + k, counts(125)) for k in range(4)])])
    error = refused(read, write_vital(raw[:-300]))
    assert (error.code, error.at_s) == ("truncated", 2.0)
    assert "expected 266 bytes of a packet of type 1, the file ends after" in error.message


def test_a_record_longer_than_its_packet_is_refused(
    write_vital: Any, vital_track: Any, vital_bytes: Any, refused: Callable[..., RecordingError]
) -> None:
    raw = bytearray(vital_bytes([vital_track("ABP", [(EPOCH, counts(125))])]))
    at = bytes(raw).rindex(struct.pack("<I", 125) + counts(125).astype("<u2").tobytes())
    raw[at : at + 4] = struct.pack("<I", 126)
    error = refused(read, write_vital(bytes(raw)))
    assert error.code == "corrupt"
    assert "126 samples of 2 bytes of Monitor/ABP do not fit" in error.message


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"version": 9}, "unsupported", "expected version 3 or older, got 9"),
        ({"packet": (77, b"abc")}, "corrupt", "got type 77 with 3 bytes"),
        ({"packet": (1, struct.pack("<HdHI", 10, EPOCH, 5, 0))}, "corrupt", "a record of track 5, which no packet"),
        ({"packet": (1, b"\x0a")}, "corrupt", "the packet of a record is too short"),
        ({"packet": (9, b"\x01\x00\x00\x00\xff\xff\x00\x00")}, "corrupt", "the packet of a device is too short"),
        ({}, "no-data", "expected at least one wave track"),
    ],
)
def test_whatever_does_not_fit_stops_the_reading(
    write_vital: Any,
    vital_writer: Any,
    refused: Callable[..., RecordingError],
    change: dict[str, Any],
    code: str,
    message: str,
) -> None:
    writer = vital_writer(version=change.get("version", 3))
    if "packet" in change:
        writer.packet(*change["packet"])
    error = refused(read_vital, write_vital(writer.bytes()))
    assert error.code == code
    assert message in error.message


@pytest.mark.parametrize("stamp", [float("nan"), -1.0, float("inf")])
def test_an_impossible_time_stamp_is_refused(
    write_vital: Any, vital_track: Any, refused: Callable[..., RecordingError], stamp: float
) -> None:
    error = refused(read, write_vital([vital_track("ABP", [(stamp, counts(9))])]))
    assert error.code == "corrupt"
    assert "with the time stamp" in error.message


def test_a_gap_of_days_is_no_recording(
    write_vital: Any, vital_track: Any, refused: Callable[..., RecordingError]
) -> None:
    error = refused(read, write_vital([vital_track("ABP", [(EPOCH, counts(9)), (EPOCH + 1e6, counts(9))])]))
    assert error.code == "time-stamps"
    assert "a gap of 277.8 h" in error.message


def test_tracks_that_start_days_apart_are_no_recording(
    write_vital: Any, vital_track: Any, refused: Callable[..., RecordingError]
) -> None:
    tracks = [vital_track("ABP", [(EPOCH, counts(9))]), vital_track("CVP", [(EPOCH + 1e6, counts(9))])]
    error = refused(read, write_vital(tracks))
    assert (error.code, error.channel) == ("time-stamps", "Monitor/CVP")


def test_a_rate_that_no_track_has_is_refused(
    write_vital: Any, vital_track: Any, refused: Callable[..., RecordingError]
) -> None:
    path = write_vital([vital_track("ABP", [(EPOCH, counts(125))])])
    assert refused(read, path, fs=250).code == "bad-rate"
    assert read(path, fs=125).duration_s == 1.0


def test_a_wave_without_rate_needs_the_option(
    write_vital: Any, vital_track: Any, refused: Callable[..., RecordingError]
) -> None:
    path = write_vital([vital_track("ABP", [(EPOCH, counts(50))], fs=0.0)])
    assert refused(read, path).hint == "--fs HZ"
    assert read(path, fs=50).duration_s == 1.0


def test_what_is_no_gzip_is_refused(tmp_path: Path, refused: Callable[..., RecordingError]) -> None:
    path = tmp_path / "a.vital"
    path.write_bytes(bytes(range(256)))
    assert refused(read, path).code == "wrong-suffix"
    assert refused(read_vital, path).code == "corrupt"
    path.write_bytes(gzip.compress(b"hello"))
    assert refused(read, path).code == "wrong-suffix"
