"""The door: formats are told by content, and what is not read says so."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsebayes.waveforms import read
from pulsebayes.waveforms.readers import sniff

TABLE = b"time [s],ABP [mmHg]\n" + b"".join(b"%.3f,80\n" % (i / 125) for i in range(50))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a", "a.asc", "A.CSV"])
def test_a_table_is_a_table_whatever_neutral_name_it_has(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(TABLE)
    assert sniff(tmp_path / name).kind == "csv"
    assert read(tmp_path / name).channel("ART").fs == 125


def test_genuine_files_are_told_apart(real_data: Path) -> None:
    assert sniff(real_data / "vitalrecorder_demo" / "test_data_demo.vital").kind == "vital"
    assert sniff(real_data / "physionet_wfdb" / "041s").kind == "wfdb"
    assert sniff(real_data / "bidmc" / "bidmc_01_Signals.csv").kind == "csv"


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a"])
def test_a_vital_file_is_known_without_its_suffix(write_vital: Any, vital_track: Any, refused: Any, name: str) -> None:
    path = write_vital([vital_track("ABP", [(1.5e9, np.arange(9))])], name)
    if name == "a.csv":
        error = refused(read, path)
        assert error.code == "wrong-suffix"
        assert "the content is a Vital Recorder file, the suffix .csv says text table" in error.message
    else:
        assert read(path).channel("ART").n_samples == 9


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("a.csv", b"", "empty", "the file is empty"),
        ("a.vital", b"", "empty", "the file is empty"),
        ("a.csv", bytes(range(256)) * 20, "wrong-suffix", "expected a text table (CSV/TSV), got binary data"),
        ("a.vital", bytes(range(256)) * 20, "wrong-suffix", "expected a Vital Recorder file, got binary data"),
        ("a.dat", bytes(range(256)) * 20, "unsupported", "binary data of an unknown kind"),
        ("a.csv", bytes(range(1, 32)) * 20, "wrong-suffix", "expected a text table (CSV/TSV), got binary data"),
        ("a.vital", TABLE, "wrong-suffix", "the content is a text table"),
        ("a.edf", TABLE, "wrong-suffix", "the suffix .edf says EDF"),
        ("a.edf", b"0       " + b"X" * 248, "header", "expected the number of signals as a number, got 'XXXX'"),
        ("a.mat", b"MATLAB 5.0 MAT-file, Platform", "truncated", "expected 128 bytes of header, the file has 29"),
        ("a.parquet", b"PAR1....", "corrupt", "expected a Parquet file, the file is damaged there"),
        ("a.npy", b"\x93NUMPY\x01\x00", "corrupt", "expected a NumPy file, the file is damaged there"),
        ("a.xlsx", b"PK\x03\x04" + b"[Content_Types].xml", "unsupported", "Excel files are not read"),
        ("a.nc", b"\x89HDF\r\n\x1a\n", "corrupt", "expected an HDF5 file, the file is damaged"),
        ("a.csv", b"\x89PNG\r\n", "unsupported", "image files are not read"),
        ("a.csv.gz", gzip.compress(TABLE), "unsupported", "a gzip file that is no Vital Recorder file"),
        ("a.csv", gzip.compress(TABLE), "wrong-suffix", "a gzip file that is no Vital Recorder file"),
        ("a.vital", b"\x1f\x8b\x08", "corrupt", "it breaks at its beginning"),
        ("a.csv", "ABP\n80\n".encode("utf-16"), "encoding", "expected UTF-8 text, got UTF-16"),
        ("a.pkl", pickle.dumps([1, 2]), "unsupported", "pickle files are not read"),
        ("a.hea", b"0       A B C", "wrong-suffix", "expected a WFDB header, the content is an EDF or BDF file"),
        ("a.hea", b"Dear colleague,", "wrong-suffix", "the first line is 'Dear colleague,'"),
    ],
)
def test_what_is_not_read_says_what_it_is(
    tmp_path: Path, refused: Any, name: str, content: bytes, code: str, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    error = refused(read, tmp_path / name)
    assert error.code == code
    assert message in error.message
    assert error.message.startswith(f"{name}: ")


def test_folders_and_absent_files_are_named(tmp_path: Path, refused: Any) -> None:
    assert refused(read, tmp_path).code == "directory"
    error = refused(read, tmp_path / "nothing.csv")
    assert (error.code, error.file) == ("not-found", "nothing.csv")


def test_a_name_no_file_can_have_is_refused(tmp_path: Path, refused: Any) -> None:
    assert refused(read, tmp_path / ("a" * 300)).code == "unreadable"


def test_brackets_and_stars_in_a_path_are_only_letters(tmp_path: Path, real_data: Path) -> None:
    folder = tmp_path / "a[1] *b"
    folder.mkdir()
    for name in ("mixedsignals.hea", "mixedsignals_p.dat", "mixedsignals_e.dat", "mixedsignals_r.dat"):
        (folder / name).write_bytes((real_data / "physionet_wfdb" / name).read_bytes())
    assert read(folder / "mixedsignals").values("ART", 10, 11).size in (124, 125)


def test_a_signal_file_without_header_asks_for_it(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "a.dat").write_bytes(np.arange(1000, dtype="<i2").tobytes())
    assert refused(read, tmp_path / "a.dat").hint == "give the path of the .hea file"


def test_a_file_that_must_not_be_read_is_not_called_damaged(refused: Any) -> None:
    from pulsebayes.waveforms.readers._sources import decoding

    def read_it() -> None:
        with decoding("a.dat", "samples", channel="ABP", at_s=2.0):
            raise PermissionError(13, "Permission denied", "folder/of/somebody/a.dat")

    error = refused(read_it)
    assert error.code == "unreadable"
    assert error.message == "a.dat, channel ABP, at 2.000 s: cannot be read (Permission denied)"
