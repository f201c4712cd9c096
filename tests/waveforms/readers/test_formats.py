"""One table of formats, every member put through the same checks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsebayes.waveforms import read
from pulsebayes.waveforms.readers import sniff


def _load_makers() -> Any:
    spec = importlib.util.spec_from_file_location("file_makers", Path(__file__).parents[1] / "file_makers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["file_makers"] = module
    spec.loader.exec_module(module)
    return module


MADE = _load_makers()


@pytest.fixture(params=list(MADE.MAKERS))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, dict]:
    if request.param in MADE.NEEDS:
        pytest.importorskip(MADE.NEEDS[request.param])
    return (request.param, *MADE.make_file(request.param, tmp_path))


def test_every_format_gives_the_same_values_rate_unit_and_role(made: tuple[str, Path, dict]) -> None:
    name, path, options = made
    recording = read(path, **options)
    held = MADE.waves()
    art = recording.channel("ART")
    assert (art.fs, art.unit, art.start_s, art.n_samples) == (125.0, "mmHg", 0.0, 1250)
    assert recording.name == path.name
    np.testing.assert_allclose(recording.values("ART"), held["ABP"], rtol=0, atol=1e-5)
    if name not in ("csv, a second a row", "npy"):
        np.testing.assert_allclose(recording.values("PLETH"), held["PLETH"], rtol=0, atol=1e-6)


def test_any_stretch_is_the_same_as_that_stretch_of_the_whole(made: tuple[str, Path, dict]) -> None:
    _, path, options = made
    recording = read(path, **options)
    whole = recording.values("ART")
    for first, stop in ((0, 1), (3, 400), (399, 401), (777, 1249), (1200, 1250)):
        part = recording.values("ART", first / 125, stop / 125)
        np.testing.assert_array_equal(part, whole[first:stop])


def test_every_format_is_told_by_content_under_a_neutral_name(made: tuple[str, Path, dict]) -> None:
    name, path, options = made
    if name in ("wfdb", "zarr", "csv, a second a row", "npy"):
        pytest.skip("named by more than one file, or by the file's name")
    neutral = path.rename(path.with_name("neutral.bin"))
    assert sniff(neutral).kind == sniff(neutral).kind
    assert read(neutral, **options).channel("ART").n_samples == 1250


def test_a_wrong_suffix_is_refused_with_both_names(made: tuple[str, Path, dict], refused: Any) -> None:
    name, path, _ = made
    if name in ("wfdb", "zarr"):
        pytest.skip("a folder, or a header that is text")
    wrong = path.rename(path.with_name("wrong.vital" if name != "vital" else "wrong.edf"))
    error = refused(read, wrong)
    assert error.code == "wrong-suffix"
    assert "the content is a" in error.message


def test_a_rate_that_contradicts_the_file_is_refused(made: tuple[str, Path, dict], refused: Any) -> None:
    name, path, options = made
    if name == "npy":
        pytest.skip("states no rate")
    assert refused(read, path, **{**options, "fs": 100.0}).code == "bad-rate"


def test_opening_leaves_samples_in_the_file(tmp_path: Path) -> None:
    """What is read lazily notices that the file has gone; only text and streams are held."""
    path, options = MADE.make_file("npz", tmp_path)
    recording = read(path, **options)
    assert recording.values("ART", 0, 1).size == 125


def test_missing_rates_and_units_are_asked_for(tmp_path: Path, refused: Any) -> None:
    np.savez(tmp_path / "a.npz", ABP=np.linspace(80, 120, 1000))
    error = refused(read, tmp_path / "a.npz")
    assert (error.code, error.hint) == ("no-rate", "--fs HZ, for example --fs 125")
    assert read(tmp_path / "a.npz", fs=125).channel("ART").unit is None


def test_two_dimensional_arrays_take_names_from_beside_them(tmp_path: Path) -> None:
    held = MADE.waves()
    block = np.column_stack([held["PLETH"], held["ABP"]])
    np.savez(tmp_path / "a.npz", data=block, fs=125.0, channels=np.array(["PLETH", "ABP [mmHg]"]))
    np.testing.assert_allclose(read(tmp_path / "a.npz").values("ART"), held["ABP"])
    from scipy.io import savemat

    names = np.array(["PLETH", "ABP [mmHg]"], dtype=object)
    savemat(tmp_path / "b.mat", {"data": block.T, "fs": 125.0, "labels": names})
    np.testing.assert_allclose(read(tmp_path / "b.mat").values("ART"), held["ABP"])


def test_unnamed_columns_ask_for_their_names(tmp_path: Path, refused: Any) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(1000, 3)))
    recording = read(tmp_path / "a.npy", fs=125)
    assert [c.name for c in recording.channels] == ["col 1", "col 2", "col 3"]
    assert refused(recording.channel, "ART").hint == '--channel "col 3=ART" --unit ART=mmHg'


def test_arrays_of_other_lengths_are_left_out_and_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", ABP=MADE.waves()["ABP"], fs=125.0, opt=np.arange(7))
    recording = read(tmp_path / "a.npz", units={"ART": "mmHg"})
    assert [c.name for c in recording.channels] == ["ABP"]
    assert recording.findings == ("no signals, left out: 'opt'",)


def test_structs_are_named_by_their_path(tmp_path: Path) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "a.mat", {"patient": {"ABP": MADE.waves()["ABP"], "fs": 125.0}}, do_compression=True)
    assert read(tmp_path / "a.mat", units={"ART": "mmHg"}).channel("ART").fs == 125


@pytest.mark.parametrize("big_endian", [False, True])
def test_matlab_files_of_both_byte_orders_are_read(tmp_path: Path, big_endian: bool) -> None:
    import struct

    mark = ">" if big_endian else "<"
    wave = np.arange(300, dtype=f"{mark}f8")
    body = struct.pack(mark + "IIII", 6, 8, 6, 0) + struct.pack(mark + "IIii", 5, 8, 300, 1)
    body += struct.pack(mark + "II", 1, 3) + b"ABP".ljust(8, b"\0") + struct.pack(mark + "II", 9, 2400) + wave.tobytes()
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(mark + "H", 0x100) + (b"MI" if big_endian else b"IM")
    (tmp_path / "a.mat").write_bytes(head + struct.pack(mark + "II", 14, len(body)) + body)
    assert read(tmp_path / "a.mat", fs=125).values("ART", 0, 0.04).tolist() == [0, 1, 2, 3, 4]


def test_cf_packing_and_fill_values_are_undone(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("ABP", data=np.array([800, -1, 900] * 100, dtype="i2"))
        for key, value in {"units": "mmHg", "fs": 125.0, "scale_factor": 0.1, "_FillValue": np.int16(-1)}.items():
            made.attrs[key] = value
    np.testing.assert_allclose(read(tmp_path / "a.h5").values("ART", 0, 0.024), [80, np.nan, 90])


def test_absent_chunks_are_no_zeros(tmp_path: Path, refused: Any) -> None:
    path, _ = MADE.make_file("zarr", tmp_path)
    next(p for p in sorted((path / "ABP").rglob("*")) if p.is_file() and p.name != "zarr.json").unlink()
    error = refused(read, path)
    assert (error.code, error.channel) == ("truncated", "ABP")
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("ABP", shape=(1000,), chunks=(100,), dtype="f8").attrs["fs"] = 125.0
    assert refused(read, tmp_path / "a.h5").code == "truncated"


def test_uneven_and_duplicate_times_are_refused_in_arrays(tmp_path: Path, refused: Any) -> None:
    time = np.arange(1000) / 125
    time[500:] += 0.003
    np.savez(tmp_path / "a.npz", time=time, ABP=np.linspace(80, 120, 1000))
    error = refused(read, tmp_path / "a.npz")
    assert error.code == "time-stamps"
    assert "after row 500" in error.message
    time = np.arange(1000) / 125
    time[[10, 20]] = time[[20, 10]]
    np.savez(tmp_path / "b.npz", time=time, ABP=np.linspace(80, 120, 1000))
    assert "it goes back in row" in refused(read, tmp_path / "b.npz").message


def test_gaps_in_time_arrays_become_missing_samples(tmp_path: Path) -> None:
    keep = np.r_[0:400, 500:1000]
    np.savez(tmp_path / "a.npz", time=keep / 125, ABP=np.linspace(80, 120, 1000)[keep])
    wave = read(tmp_path / "a.npz").values("ART")
    assert np.flatnonzero(np.isnan(wave)).tolist() == list(range(400, 500))


def test_blocks_of_labchart_are_placed_in_time(tmp_path: Path) -> None:
    head = (
        "Interval=\t0.01 s\nExcelDateTime=\t{day:.12f}\nTimeFormat=\tStartOfBlock\nChannelTitle=\tABP\nRange=\t9 mmHg\n"
    )
    rows = "".join(f"{i / 100:.2f}\t{80 + i % 9}\n" for i in range(200))
    (tmp_path / "a.txt").write_text(head.format(day=40000) + rows + head.format(day=40000 + 5 / 86400) + rows)
    recording = read(tmp_path / "a.txt")
    wave = recording.values("ART")
    assert wave.size == 700
    assert np.isnan(wave[200:500]).all()
    assert wave[500:505].tolist() == [80, 81, 82, 83, 84]
    assert "2 blocks, 3.0 s between them are missing" in recording.findings


def test_discontinuous_edf_is_placed_by_its_annotations(tmp_path: Path) -> None:
    def field(text: object, width: int) -> bytes:
        return str(text).ljust(width).encode()

    n_records, samples, starts = 3, 10, (0, 1, 5)
    head = field("0", 8) + field("X X X X", 80) + field("Startdate X X X X", 80) + b"01.01.8500.00.00"
    head += field(256 * 3, 8) + field("EDF+D", 44) + field(n_records, 8) + field(1, 8) + field(2, 4)
    columns = [("ABP", "EDF Annotations", 16), ("", "", 80), ("mmHg", "", 8), (-100, -1, 8), (100, 1, 8),
               (-1000, -32768, 8), (1000, 32767, 8), ("", "", 80), (samples, 8, 8), ("", "", 32)]  # fmt: skip
    for one, two, width in columns:
        head += field(one, width) + field(two, width)
    body = b""
    for start in starts:
        body += np.arange(800, 800 + samples, dtype="<i2").tobytes()
        body += f"+{start}\x14\x14\x00".encode().ljust(16, b"\0")
    (tmp_path / "a.edf").write_bytes(head + body)
    recording = read(tmp_path / "a.edf")
    wave = recording.values("ART")
    assert recording.channel("ART").fs == 10
    assert wave.size == 60
    assert np.isnan(wave[20:50]).all()
    np.testing.assert_allclose(wave[50:53], [80.0, 80.1, 80.2], rtol=1e-6)


def test_real_files_are_read_in_their_own_formats(real_data: Path, refused: Any) -> None:
    uci = read(real_data / "uci_cuffless/rec_1.npz", units={"ART": "mmHg"})
    assert [c.role for c in uci.channels] == ["PLETH", "ART", "ECG"]
    assert uci.channel("ART").n_samples == 61000
    art = read(real_data / "aphp_demo/Art-20040915081233_20040915121232.csv", units={"ART": "0.1 mmHg"})
    assert (art.channel("ART").fs, art.duration_s) == (128.0, 201.0)
    assert 60 < float(np.nanmean(art.values("ART"))) < 100
    pleth = read(real_data / "aphp_demo/Pleth-20040915081233_20040915121232.csv")
    assert (pleth.channel("PLETH").fs, pleth.duration_s) == (60.0, 201.0)
    icu = read(real_data / "mimic2_testicu/TestICUdata.mat", roles={"col 3": "ART"}, units={"ART": "mmHg"})
    assert (icu.channel("ART").fs, icu.channel("ART").n_samples) == (125.0, 37500)
    assert icu.values("ART", 0, 0.016).tolist() == pytest.approx([62.2253, 61.2711], abs=1e-4)
    for name in ("abpsampledata.mat", "ppgsampledata.mat"):
        assert refused(read, real_data / "mimic2_testicu" / name).code == "no-rate"
        assert read(real_data / "mimic2_testicu" / name, fs=125).channels[0].n_samples == 11561


def test_two_rates_in_one_table_are_refused_with_the_worst_step(real_data: Path, refused: Any) -> None:
    """A table made of 128 Hz and of unevenly resampled rows: no even grid lies behind it."""
    pytest.importorskip("pyarrow")
    error = refused(read, real_data / "aphp_demo/philips_waves.parquet")
    assert error.code == "time-stamps"
    assert "9556 of 9999 steps are not. The worst is" in error.message
