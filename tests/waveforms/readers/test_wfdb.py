"""WFDB records: against wfdb itself, lazily, segment by segment; and damage with its file and second."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wfdb

from pulsebayes.waveforms import RecordingError, missing_share, read, require_pressure_unit

Refused = Callable[..., RecordingError]


@pytest.fixture
def records(real_data: Path) -> Path:
    return real_data / "physionet_wfdb"


@pytest.fixture
def copied(records: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copy a record's files to a folder where they may be damaged."""

    def copy(stem: str) -> Path:
        for path in records.glob(f"{stem}*"):
            shutil.copyfile(path, tmp_path / path.name)
        return tmp_path / stem

    return copy


def wave(n: int = 1000) -> np.ndarray:
    return 90 + 30 * np.sin(np.arange(n) / 20)


def write(folder: Path, name: str, signals: np.ndarray, **named: Any) -> Path:
    fields = {"fs": 125, "units": ["mmHg"], "sig_name": ["ABP"], "fmt": ["16"]} | named
    wfdb.wrsamp(name, p_signal=signals, write_dir=str(folder), **fields)
    return folder / name


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# Against wfdb


@pytest.mark.parametrize("stem", ["041s", "041s01", "mixedsignals", "3975656_0015", "03700181", "v102s", "a103l"])
def test_every_channel_agrees_with_wfdb_at_its_own_rate(records: Path, stem: str) -> None:
    theirs = wfdb.rdrecord(str(records / stem), smooth_frames=False)
    ours = read(records / stem)
    assert [c.name for c in ours.channels] == theirs.sig_name
    for index, channel in enumerate(ours.channels):
        assert channel.fs == pytest.approx(theirs.fs * theirs.samps_per_frame[index])
        np.testing.assert_allclose(ours.values(channel.name), theirs.e_p_signal[index], rtol=1e-6, atol=1e-6)


def test_rates_and_missing_samples_of_a_flac_record(records: Path) -> None:
    recording = read(records / "mixedsignals")
    rates = {c.name: c.fs for c in recording.channels}
    assert rates["ABP"] == pytest.approx(124.945, rel=1e-6)
    assert rates["II"] == pytest.approx(249.89, rel=1e-6)
    assert 0 < missing_share(recording, "ART") < 0.01


def test_a_stretch_is_read_alone_and_across_segments(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = read(records / "041s")
    whole = recording.values("ART")
    calls: list[tuple[str, int, int]] = []
    original = wfdb.rdrecord

    def spy(stem: str, sampfrom: int, sampto: int, **named: Any) -> Any:
        calls.append((Path(stem).name, sampfrom, sampto))
        return original(stem, sampfrom=sampfrom, sampto=sampto, **named)

    monkeypatch.setattr(wfdb, "rdrecord", spy)
    np.testing.assert_array_equal(recording.values("ART", 7.0, 10.0), whole[875:1250])
    assert calls == [("041s01", 875, 1000), ("041s02", 0, 250)]
    np.testing.assert_array_equal(recording.values("III", 7.999, 8.001), recording.values("III")[4000:4001])


def test_frames_of_several_samples_are_cut_inside(records: Path) -> None:
    recording = read(records / "041s")
    whole = recording.values("III")
    np.testing.assert_array_equal(recording.values("III", 7.99, 8.012), whole[3995:4006])


# Doors


@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
def test_the_path_may_have_any_of_its_suffixes(records: Path, suffix: str) -> None:
    assert read(records / f"3975656_0015{suffix}").channel("ART").n_samples == 37500


def test_a_signal_file_leads_to_the_header_that_names_it(records: Path) -> None:
    assert read(records / "mixedsignals_p.dat").name == "mixedsignals.hea"
    assert read(records / "a103l.mat").channel("PLETH").fs == 250


def test_unnamed_signals_are_refused_with_exactly_the_options(real_data: Path, refused: Refused) -> None:
    path = real_data / "mimic2_testicu" / "TestICU"
    error = refused(read(path).channel, "ART")
    assert (error.code, error.hint) == ("unnamed-channels", '--channel "col 3=ART" --unit ART=mmHg')
    recording = read(path, roles={"col 3": "ART"}, units={"ART": "mmHg"})
    assert require_pressure_unit(recording, "ART").name == "col 3"
    assert 60 < recording.values("ART").mean() < 120
    assert refused(require_pressure_unit, read(path, roles={"col 3": "ART"}), "ART").hint == "--unit ART=mmHg"


def test_signals_without_any_name_are_numbered(tmp_path: Path) -> None:
    path = write(tmp_path, "bare", np.c_[wave(), wave()], units=["mmHg"] * 2, sig_name=["x", "y"], fmt=["16"] * 2)
    header = path.with_suffix(".hea")
    header.write_text("\n".join(line.removesuffix(" x").removesuffix(" y") for line in header.read_text().splitlines()))
    assert [(c.name, c.named) for c in read(path).channels] == [("col 1", False), ("col 2", False)]


# Units and gains


def test_a_unit_that_the_header_leaves_out_is_not_taken_for_mv(records: Path) -> None:
    recording = read(records / "041s")
    assert [c.unit for c in recording.channels] == ["mV", "mV", "mV", "mmHg", "mmHg", None, None]
    assert "the header states no unit" in recording.channel("PLETH").findings


@pytest.mark.parametrize("gain", ["0", "0(500)/mmHg", ""])
def test_without_a_gain_the_values_are_counts_and_no_pressure(tmp_path: Path, refused: Refused, gain: str) -> None:
    counts = np.arange(500, 1500)
    wfdb.wrsamp("raw", 125, ["mmHg"], ["ABP"], d_signal=counts[:, None], fmt=["16"], adc_gain=[1.0], baseline=[0],
                write_dir=str(tmp_path))  # fmt: skip
    rest = " 16 0 500 0 0 ABP" if gain else ""
    (tmp_path / "raw.hea").write_text(f"raw 1 125 1000\nraw.dat 16 {gain}{rest}\n")
    recording = read(tmp_path / "raw", roles=None if gain else {"col 1": "ART"})
    error = refused(require_pressure_unit, recording, "ART")
    assert (error.code, error.hint) == ("unit-wrong", "--unit ART=mmHg")
    assert recording.channel("ART").unit == "adu"
    baseline = 500 if "(500)" in gain else 0
    np.testing.assert_array_equal(recording.values("ART"), counts - baseline)


def test_the_unit_of_the_header_is_converted(tmp_path: Path) -> None:
    path = write(tmp_path, "kpa", wave()[:, None] / 7.50062, units=["kPa"])
    recording = read(path)
    assert recording.channel("ART").source_unit == "kPa"
    np.testing.assert_allclose(recording.values("ART"), wave(), atol=0.01)  # 16 bits over 60 mmHg


# Layouts


def variable(folder: Path) -> Path:
    """A record of variable layout: PLETH and ABP, then a hole, then ABP alone with another gain."""
    both = np.c_[wave(250) / 100, wave(250)]
    write(folder, "v1", both, units=["NU", "mmHg"], sig_name=["PLETH", "ABP"], fmt=["16", "16"])
    write(folder, "v2", 2 * wave(500)[:, None])
    (folder / "v_layout.hea").write_text("v_layout 2 125 0\n~ 0 1/NU 0 0 0 0 0 PLETH\n~ 0 1/mmHg 0 0 0 0 0 ABP\n")
    (folder / "v.hea").write_text("v/4 2 125 1000\nv_layout 0\nv1 250\n~ 250\nv2 500\n")
    return folder / "v"


def test_variable_layouts_are_put_together_in_time(tmp_path: Path) -> None:
    recording = read(variable(tmp_path))
    pressure, pleth = recording.values("ART"), recording.values("PLETH")
    assert len(pressure) == len(pleth) == 1000
    np.testing.assert_allclose(pressure[:250], wave(250), atol=0.01)
    assert np.isnan(pressure[250:500]).all()
    np.testing.assert_allclose(pressure[500:], 2 * wave(500), atol=0.01)
    assert np.isnan(pleth[250:]).all()
    assert "absent from 75% of the record" in recording.channel("PLETH").findings


def test_variable_layouts_agree_with_wfdb(tmp_path: Path) -> None:
    path = variable(tmp_path)
    theirs = wfdb.rdrecord(str(path))
    for index, name in enumerate(theirs.sig_name):
        np.testing.assert_allclose(read(path).values(name), theirs.p_signal[:, index], atol=1e-4)


@pytest.mark.parametrize("fmt", ["80", "212", "16", "24", "32", "61", "160", "310", "311", "8"])
def test_every_plain_format_is_read_in_stretches(tmp_path: Path, fmt: str) -> None:
    digital = np.round(40 * np.sin(np.arange(999) / 20)).astype(int)
    if fmt in ("310", "311", "61", "8", "160"):
        raw = {
            "61": lambda d: d.astype(">i2").tobytes(),
            "8": lambda d: np.diff(d, prepend=0).astype("i1").tobytes(),
            "160": lambda d: (d + 32768).astype("<u2").tobytes(),
        }
        (tmp_path / "f.dat").write_bytes(raw.get(fmt, lambda d: pack(d, fmt))(digital))
        (tmp_path / "f.hea").write_text(f"f 1 125 999\nf.dat {fmt} 2(0)/mmHg 10 0 0 0 0 ABP\n")
    else:
        wfdb.wrsamp("f", 125, ["mmHg"], ["ABP"], d_signal=digital[:, None], fmt=[fmt], adc_gain=[2.0], baseline=[0],
                    write_dir=str(tmp_path))  # fmt: skip
    recording = read(tmp_path / "f")
    np.testing.assert_array_equal(recording.values("ART"), digital / 2)
    np.testing.assert_array_equal(recording.values("ART", 1.0, 3.0), digital[125:375] / 2)


def pack(digital: np.ndarray, fmt: str) -> bytes:
    """Three 10-bit samples in four bytes, as the WFDB manual lays out formats 310 and 311."""
    a, b, c = (np.asarray(digital[k::3]) & 0x3FF for k in range(3))
    if fmt == "311":
        return (a | b << 10 | c << 20).astype("<u4").tobytes()
    first = (a << 1) & 0x7FF | (c & 0x1F) << 11
    second = (b << 1) & 0x7FF | (c >> 5 & 0x1F) << 11
    return np.stack([first, second], axis=1).astype("<u2").tobytes()


def test_a_record_without_a_length_is_measured(tmp_path: Path) -> None:
    path = write(tmp_path, "long", wave()[:, None])
    edit(path.with_suffix(".hea"), "long 1 125 1000", "long 1 125")
    assert read(path).duration_s == 8.0
    np.testing.assert_allclose(read(path).values("ART", 2, 4), wave()[250:500], atol=0.01)


# Damage


@pytest.mark.parametrize(
    ("stem", "file", "second"),
    [
        ("3975656_0015", "3975656_0015.dat", 180.0),
        ("03700181", "03700181.dat", 360.0),
        ("041s", "041s02.dat", 8.0 + 4.8),
        ("a103l", "a103l.mat", 198.0),
    ],
)
def test_a_signal_file_cut_short_is_refused_with_its_second(
    copied: Callable[[str], Path], refused: Refused, stem: str, file: str, second: float
) -> None:
    path = copied(stem)
    data = (path.parent / file).read_bytes()
    (path.parent / file).write_bytes(data[: int(0.6 * len(data))])
    error = refused(read, path)
    assert (error.code, error.file) == ("truncated", file)
    assert error.at_s == pytest.approx(second, abs=0.02)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.995])
def test_a_flac_file_cut_short_is_refused(copied: Callable[[str], Path], refused: Refused, share: float) -> None:
    path = copied("mixedsignals")
    file = path.parent / "mixedsignals_p.dat"
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    error = refused(read, path)
    assert (error.code, error.file) == ("truncated", "mixedsignals_p.dat")
    assert error.at_s == pytest.approx(share * 230.5, abs=35)  # FLAC blocks are 32.8 s long, of unequal size


def test_damage_inside_flac_is_refused_where_it_is_read(copied: Callable[[str], Path], refused: Refused) -> None:
    path = copied("mixedsignals")
    file = path.parent / "mixedsignals_p.dat"
    data = bytearray(file.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 300] = bytes(300)
    file.write_bytes(bytes(data))
    error = refused(lambda: read(path).values("ART"))
    assert error.code in {"corrupt", "truncated"}
    assert error.file == "mixedsignals_p.dat"


def test_missing_files_are_named(copied: Callable[[str], Path], refused: Refused) -> None:
    path = copied("041s")
    (path.parent / "041s02.dat").unlink()
    assert "the signal file 041s02.dat" in refused(read, path).message
    (path.parent / "041s02.hea").unlink()
    assert "a readable header 041s02.hea" in refused(read, path).message


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("long 1 125 1000", "long 1", "no-rate", "the header states no sampling rate"),
        ("long 1 125 1000", "long 1 0 1000", "header", "must be positive"),
        ("long 1 125 1000", "long 2 125 1000", "truncated", "promises 2 lines, there are 1"),
        ("long 1 125 1000", "what is this", "wrong-suffix", "expected a WFDB header"),
        ("long.dat 16", "long.dat 17", "unsupported", "expected a format among"),
        ("long.dat 16", "gone.dat 16", "not-found", "the signal file gone.dat"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(
    tmp_path: Path, refused: Refused, old: str, new: str, code: str, message: str
) -> None:
    path = write(tmp_path, "long", wave()[:, None])
    edit(path.with_suffix(".hea"), old, new)
    error = refused(read, path)
    assert error.code == code
    assert message in error.message


def test_a_rate_only_counts_where_the_header_has_none(tmp_path: Path, refused: Refused) -> None:
    path = write(tmp_path, "long", wave()[:, None])
    assert refused(read, path, fs=250).code == "bad-rate"
    edit(path.with_suffix(".hea"), "long 1 125 1000", "long 1")
    assert read(path, fs=250).duration_s == 4.0


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02" * 100, b"PK\x03\x04 zip", b"a,b\n1,2\n"])
def test_a_header_in_name_only_is_refused(tmp_path: Path, refused: Refused, content: bytes) -> None:
    path = tmp_path / "a.hea"
    path.write_bytes(content)
    assert refused(read, path).code in {"empty", "wrong-suffix"}


def test_a_segment_of_segments_is_refused(tmp_path: Path, refused: Refused) -> None:
    variable(tmp_path)
    (tmp_path / "w.hea").write_text("w/1 2 125 1000\nv 1000\n")
    assert refused(read, tmp_path / "w").code == "layout"


def test_recordings_can_be_sent_to_other_processes(records: Path) -> None:
    import pickle

    recording = read(records / "3975656_0015")
    again = pickle.loads(pickle.dumps(recording))
    np.testing.assert_array_equal(again.values("ART", 0, 8), recording.values("ART", 0, 8))
