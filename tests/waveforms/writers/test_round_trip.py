"""What is written comes back: values within quantisation, units, roles, rates, names, gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulsebayes.waveforms import Channel, Recording, read
from pulsebayes.waveforms.writers import compare, write

SUFFIXES = (".csv", ".hea", ".edf", ".bdf", ".nc")
EXACT = (".csv", ".nc")
REAL = {
    "physionet_wfdb/041s.hea": {},
    "physionet_wfdb/mixedsignals.hea": {},
    "physionet_wfdb/3975656_0015.hea": {},
    "vitalrecorder_demo/test_data_demo.vital": {},
    "vitalrecorder_demo/test_intelliue_demo2.vital": {},
    "uci_cuffless/rec_8.npz": {"units": {"ART": "mmHg"}},
    "aphp_demo/Art-20040915081233_20040915121232.csv": {"units": {"ART": "0.1 mmHg"}},
    "mimic2_testicu/TestICUdata.mat": {"roles": {"col 3": "ART"}, "units": {"ART": "kPa"}},
}


def made() -> Recording:
    """Two rates, a late channel, gaps at both ends and inside, a role against its name, a name of 30 letters."""
    rng = np.random.default_rng(1)
    abp = 90 + 30 * rng.normal(size=5000)
    abp[[0, 1, 700, 701, 4999]] = np.nan
    waves = {
        "ABP": abp,
        "PULMONIC ART of a long name, really": np.rint(20 + 5 * rng.normal(size=5000)),
        "ECG": rng.normal(size=20000) * 1e-3,
        "late": np.linspace(-5, 5, 1000),
    }
    return Recording.from_arrays(
        "made", waves, fs={"ABP": 125, "PULMONIC ART of a long name, really": 125, "ECG": 500, "late": 125},
        start_s={"ABP": 0, "PULMONIC ART of a long name, really": 0, "ECG": 0, "late": 8.0},
        roles={"late": "CVP", "PULMONIC ART of a long name, really": "FEM"}, units={"ABP": "mmHg", "late": "mmHg"},
    )  # fmt: skip


def half_step(wave: np.ndarray, suffix: str) -> float:
    """Half of what the bits of a format can tell over the range of the wave, and float32's own rounding."""
    known = wave[np.isfinite(wave)].astype(np.float64)
    span, largest = float(np.ptp(known)) or 1.0, float(np.abs(known).max())
    steps = {".edf": 65534, ".bdf": 16777214, ".hea": 2**23}.get(suffix, 0)
    whole = span if suffix != ".hea" else largest
    # EDF spells the range in eight letters, so it is up to a millionth of it larger
    return (0.5 * whole / steps * 1.001 if steps else 0.0) + 1.2e-7 * largest


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_made_recording_comes_back(tmp_path: Path, suffix: str) -> None:
    recording = made()
    back = [read(path) for path in write(recording, tmp_path / f"out{suffix}") if path.suffix != ".dat"]
    found = compare(recording, back)
    renamed = ("PULMONIC ART of a long name, really: the name became 'PULMONIC ART of a long name_ really'",)
    assert found.differences == (renamed if suffix == ".csv" else ())
    for channel in recording.channels:
        assert found.errors[channel.name] <= half_step(recording.values(channel.name), suffix), channel.name


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", REAL)
def test_real_recordings_come_back(tmp_path: Path, real_data: Path, name: str, suffix: str) -> None:
    recording = read(real_data / name, **REAL[name])
    back = [read(path) for path in write(recording, tmp_path / f"out{suffix}") if path.suffix != ".dat"]
    found = compare(recording, back)
    assert found.differences == ()
    assert found.lossless or suffix == ".edf"
    for channel in recording.channels:
        assert found.errors[channel.name] <= half_step(recording.values(channel.name), suffix), channel.name
        if suffix in EXACT:
            assert found.errors[channel.name] == 0.0


def test_integers_come_back_exactly_from_16_bits(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).integers(-900, 900, 4000) * 0.0625
    recording = Recording.from_arrays("made", {"ABP": wave}, fs=125, units={"ABP": "mmHg"})
    for suffix in (".hea", ".edf"):
        paths = write(recording, tmp_path / f"out{suffix}")
        assert compare(recording, [read(paths[0])]).errors == {"ABP": 0.0}
    assert (tmp_path / "out.dat").stat().st_size == 8000


def test_other_programs_read_what_is_written(tmp_path: Path) -> None:
    wfdb, xr = pytest.importorskip("wfdb"), pytest.importorskip("xarray")
    pyedflib = pytest.importorskip("pyedflib")
    wave = np.random.default_rng(0).integers(300, 700, 4000) * 0.25
    recording = Recording.from_arrays("made", {"ABP": wave}, fs=125, units={"ABP": "mmHg"})
    for suffix in (".hea", ".edf", ".nc"):
        write(recording, tmp_path / f"out{suffix}")
    record = wfdb.rdrecord(str(tmp_path / "out"))
    np.testing.assert_array_equal(record.p_signal[:, 0], wave)
    calculated = wfdb.rdrecord(str(tmp_path / "out"), physical=False).calc_checksum()
    assert record.checksum[0] % 65536 == calculated[0]
    with pyedflib.EdfReader(str(tmp_path / "out.edf")) as reader:
        np.testing.assert_allclose(reader.readSignal(0)[:4000], wave, atol=1e-9)
        assert reader.getSampleFrequency(0) == 125
        assert reader.getPhysicalDimension(0) == "mmHg"
    tree = xr.open_datatree(tmp_path / "out.nc", engine="h5netcdf")
    np.testing.assert_array_equal(tree["125Hz/ABP"].values, wave)
    assert tree["125Hz/time"].values[1] == 0.008


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    recording = Recording.from_arrays("made", {"a": np.ones(90), "b": np.ones(90)}, fs={"a": 100, "b": 100.037})
    with pytest.raises(ValueError, match=r"have no common frame; write netCDF"):
        write(recording, tmp_path / "out.edf")
    with pytest.raises(ValueError, match=r"recordings are written as \.csv"):
        write(recording, tmp_path / "out.xls")
    with pytest.raises(ValueError, match="letters, digits"):
        write(recording, tmp_path / "a b.hea")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path) -> None:

    def broken(index: int, first: int, stop: int) -> np.ndarray:
        if first > 2000:
            raise OSError("gone")
        return np.zeros(stop - first, np.float32)

    damaged = Recording("made", (Channel("ABP", "ART", "mmHg", 125.0, 0.0, 200_000),), broken)
    for suffix in SUFFIXES:
        with pytest.raises(OSError, match="gone"):
            write(damaged, tmp_path / f"o{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_differences_are_named() -> None:
    one = made()
    other = Recording.from_arrays("other", {"ABP": one.values("ABP")[:4000]}, fs=125, units={"ABP": "kPa"})
    found = compare(one, [other])
    assert "ABP: 1000 samples are missing in one and not in the other" not in found.differences
    assert any("not there" in text for text in found.differences)
    assert not found.lossless
