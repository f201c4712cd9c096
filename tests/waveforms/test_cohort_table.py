r"""Tables of pairs: read with units, refused with the row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulsebayes.waveforms import RecordingError, read_cohort_table

HEAD = "subject,recording,start_s,end_s,device,kind,CO [mL/s],SVR [dyn s cm^-5]\n"


def table(folder: Path, text: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_come_in_the_units_of_the_quantities(tmp_path: Path) -> None:
    path = table(tmp_path, HEAD + "s1,a.hea,0,8,PiCCO,independent,100,\ns2,b.hea,8,16,,,,1200\n")
    found = read_cohort_table(path)
    assert found.labels["CO"][0] == pytest.approx(6.0) and np.isnan(found.labels["CO"][1])
    assert found.recordings[0] == tmp_path / "a.hea" and found.n_subjects == 2 and len(found) == 2
    assert found.devices == ("PiCCO", "") and found.end_s.tolist() == [8.0, 16.0]


def test_parquet_says_the_same(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow (extra io) is not installed")
    pa = pytest.importorskip("pyarrow")
    columns = {"subject": ["s1"], "recording": ["a.hea"], "start_s": [0.0], "end_s": [8.0], "CO [L/min]": [5.0]}
    parquet.write_table(pa.table(columns), tmp_path / "pairs.parquet")
    assert read_cohort_table(tmp_path / "pairs.parquet").labels["CO"].tolist() == [5.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject,recording\ns1,a\n", "columns start_s, end_s are missing"),
        (HEAD, "no rows"),
        ("subject,recording,start_s,end_s,CO\ns1,a,0,8,5\n", "'CO' names no unit"),
        ("subject,recording,start_s,end_s,XX [L/min]\ns1,a,0,8,5\n", "'XX \\[L/min\\]' is no quantity"),
        ("subject,recording,start_s,end_s,CO [mmHg]\ns1,a,0,8,5\n", "cannot convert"),
        (HEAD + "s1,a.hea,0,8,,,five,\n", "row 1, column 'CO \\[mL/s\\]': expected a number"),
        (HEAD + "s1,a.hea,8,8,,,5,\n", "row 1: end_s must be after start_s"),
        (HEAD + ",a.hea,0,8,,,5,\n", "row 1 has no subject"),
        (HEAD + "s1,a.hea,0,8,,guess,5,\n", "row 1 has kind 'guess'"),
        ("subject,recording,start_s,end_s,CO [L/min],CO [mL/s]\ns1,a,0,8,5,\n", "CO stands in two columns"),
        ("subject,recording,start_s,end_s,CO [L/min],CO [L/min]\ns1,a,0,8,5,4\n", "CO stands in two columns"),
    ],
)
def test_wrong_tables_are_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read_cohort_table(table(tmp_path, text))
