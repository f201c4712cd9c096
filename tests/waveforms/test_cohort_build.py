"""Cohorts from folders: which files count, whose they are, which windows stay, and what they are labelled with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulsebayes.waveforms import RecordingError, read, read_cohort_table
from pulsebayes.waveforms.cohort_build import BuildPlan, build_cohort
from pulsebayes.waveforms.cohort_files import find_recordings
from pulsebayes.waveforms.cohort_references import read_references
from pulsebayes.waveforms.cohort_table import find_cohort, write_cohort_table
from pulsebayes.waveforms.writers import VitalNumbers, VitalWave, write_vital


def pulse(seconds: float, rate: float = 75.0) -> np.ndarray:
    phase = (np.arange(round(seconds * 125)) / 125 * rate / 60) % 1
    wave = 80 + 45 * np.exp(-phase / 0.45) * np.minimum(phase / 0.12, 1) + 4 * np.exp(-(((phase - 0.42) / 0.05) ** 2))
    return wave + np.random.default_rng(0).normal(0, 0.3, len(wave))


def case(path: Path, seconds: float = 600.0, *, device: str = "Vigilance", output: np.ndarray | None = None) -> Path:
    times = np.arange(60.0, seconds + 1, 60.0)
    values = 4 + times / 600 if output is None else output
    numbers = [VitalNumbers(f"{device}/CO", times, values, "L/min")] if device else []
    return write_vital(path, [VitalWave("SNUADC/ART", pulse(seconds), 125.0, "mmHg")], numbers)


def build(folder: Path, **plan: object):
    files, passed = find_recordings([folder])
    return build_cohort(files, BuildPlan(**plan), opened=read), passed


def test_windows_are_labelled_with_what_was_true_of_their_time(tmp_path: Path) -> None:
    """Thermodilution is two minutes late: the reading at 240 s belongs to the window at 120 s."""
    case(tmp_path / "1.vital")
    built, _ = build(tmp_path, every_s=60.0)
    table = built.table
    at = dict(zip(table.start_s.tolist(), table.labels["CO"].tolist(), strict=True))
    assert at[120.0] == pytest.approx(4 + 240 / 600, abs=1e-5)
    assert set(table.devices) == {"Vigilance"} and set(table.kinds) == {"independent"}
    assert max(at) == 480.0 and built.reports[0].left_out == {"no-reading": 1}
    case(tmp_path / "1.vital", device="EV1000")
    derived, _ = build(tmp_path, every_s=60.0)
    at = dict(zip(derived.table.start_s.tolist(), derived.table.labels["CO"].tolist(), strict=True))
    assert at[120.0] == pytest.approx(4 + 120 / 600, abs=1e-5) and set(derived.table.kinds) == {"derived"}
    own, _ = build(tmp_path, every_s=60.0, delay_s=60.0)
    at = dict(zip(own.table.start_s.tolist(), own.table.labels["CO"].tolist(), strict=True))
    assert at[120.0] == pytest.approx(4 + 180 / 600, abs=1e-5)


def test_truth_is_read_only_when_it_is_asked_for(tmp_path: Path) -> None:
    times = np.arange(4.0, 600, 8.0)
    numbers = [VitalNumbers("Truth/CO", times, np.full(len(times), 5.0), "L/min")]
    write_vital(tmp_path / "1.vital", [VitalWave("SNUADC/ART", pulse(600), 125.0, "mmHg")], numbers)
    assert build(tmp_path)[0].table.labels == {}
    assert build(tmp_path, devices=("Truth",))[0].table.labels["CO"].tolist() == [5.0] * 30
    with pytest.raises(ValueError, match="reference must be one of"):
        read_references(tmp_path / "1.vital", devices=["Nobody"])


def test_readings_that_no_patient_has_are_dropped_and_counted(tmp_path: Path) -> None:
    output = np.full(10, 5.0)
    output[3] = 0.0
    case(tmp_path / "1.vital", output=output)
    built, _ = build(tmp_path)
    assert built.reports[0].dropped == 1 and 0.0 not in built.table.labels["CO"]


def test_artefacts_are_left_out_with_their_reason(tmp_path: Path) -> None:
    wave = pulse(600)
    wave[: 125 * 60] = 0.0  # not yet connected
    wave[125 * 100 : 125 * 103] = 295.0  # flushed
    wave[125 * 200 : 125 * 260] = np.nan  # taken off
    write_vital(tmp_path / "1.vital", [VitalWave("SNUADC/ART", wave, 125.0, "mmHg")])
    built, _ = build(tmp_path)
    report = built.reports[0]
    starts = built.table.start_s
    assert not ((starts < 60) | ((starts > 92) & (starts < 103)) | ((starts > 192) & (starts < 260))).any()
    assert {"flat", "gap"} <= set(report.left_out) and 100.0 not in starts
    assert report.rows + sum(report.left_out.values()) == report.windows == 30


def test_damped_lines_are_left_out_unless_kept(tmp_path: Path) -> None:
    from pulsebayes.simulators.catheter import CatheterLine

    slow = CatheterLine.transmit(pulse(300)[None].astype(np.float32), np.array([2.0]), np.array([1.6]), fs=125.0)[0]
    write_vital(tmp_path / "1.vital", [VitalWave("SNUADC/ART", slow, 125.0, "mmHg")])
    left = build(tmp_path)[0].reports[0].left_out.get("damped", 0)
    assert left > 10
    assert build(tmp_path, keep_bent=True)[0].reports[0].rows >= left


def test_subjects_are_those_of_vitaldb(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("caseid,subjectid,age\n1,77,50\n2,77,51\n10,78,60\n")
    for number in (1, 2, 10):
        case(tmp_path / f"{number}.vital", 120.0 + number)
    files, passed = find_recordings([tmp_path])
    assert [(f.name, f.subject) for f in files] == [("1.vital", "77"), ("2.vital", "77"), ("10.vital", "78")]
    assert [(p.name, p.reason) for p in passed] == [("cases.csv", "table")]


def test_a_mimic_folder_is_one_patient_and_segments_are_parts(tmp_path: Path) -> None:
    import wfdb

    folder = tmp_path / "p00" / "p000123"
    folder.mkdir(parents=True)
    for k in range(2):
        wfdb.wrsamp(f"3544749_000{k + 1}", 125, ["mmHg"], ["ABP"], p_signal=pulse(60)[:, None], fmt=["16"],
                    write_dir=str(folder))  # fmt: skip
    (folder / "3544749.hea").write_text("3544749/2 1 125 15000\n3544749_0001 7500\n3544749_0002 7500\n")
    files, passed = find_recordings([tmp_path])
    assert [(f.path.name, f.subject) for f in files] == [("3544749.hea", "p000123")]
    assert {p.reason for p in passed} == {"part-of-record"} and len(passed) == 4
    for name in ("p000123", "p00"):
        assert find_recordings([tmp_path / "p00" if name == "p00" else folder])[0][0].subject == "p000123"
    built, _ = build(tmp_path)
    assert built.reports[0].status == "used" and built.table.n_subjects == 1


def test_references_of_any_file_stand_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ABP [mmHg]\n" + "\n".join(f"{v:.2f}" for v in pulse(200)) + "\n")
    (tmp_path / "a.reference.csv").write_text("time [s],CO [mL/min],note\n50,5000,x\n100,5500,\n150,,\n")
    files, passed = find_recordings([tmp_path])
    assert [f.name for f in files] == ["a.csv"] and passed[0].reason == "reference"
    built = build_cohort(files, BuildPlan(kind="derived"), opened=lambda p: read(p, fs=125.0))
    assert set(built.table.labels["CO"].tolist()) == {5.0, 5.5} and set(built.table.kinds) == {"derived"}
    (tmp_path / "a.reference.csv").write_text("when,CO [L/min]\n50,5\n")
    refused = build_cohort(files, BuildPlan(), opened=lambda p: read(p, fs=125.0)).reports[0]
    assert refused.status == "refused" and "time [s]" in refused.message


def test_the_same_bytes_count_once_and_folders_can_be_subjects(tmp_path: Path) -> None:
    for ward in ("a", "b"):
        (tmp_path / ward).mkdir()
    case(tmp_path / "a" / "1.vital", 120.0)
    (tmp_path / "b" / "1.vital").write_bytes((tmp_path / "a" / "1.vital").read_bytes())
    case(tmp_path / "a" / "2.vital", 140.0)
    files, passed = find_recordings([tmp_path], by_folder=True)
    assert len(files) == 2 and len({f.subject for f in files}) == 1
    assert passed[0].reason == "same-bytes" and passed[0].detail == "a/1.vital"


def test_a_damaged_file_is_reported_and_the_others_are_built(tmp_path: Path) -> None:
    case(tmp_path / "1.vital")
    (tmp_path / "2.vital").write_bytes((tmp_path / "1.vital").read_bytes()[:5000])
    built, _ = build(tmp_path)
    assert [(r.status, r.reason) for r in built.reports] == [("used", ""), ("refused", "truncated")]


def test_real_recordings_build_without_an_exception(real_data: Path) -> None:
    files, passed = find_recordings([real_data])
    built = build_cohort(files, BuildPlan(), opened=read)
    assert len(built.reports) == len(files) == 25
    used = {r.file: r.rows for r in built.reports if r.status == "used"}
    assert len(used) == 7 and used["physionet_wfdb/mixedsignals.hea"] == 11
    for refused in (r for r in built.reports if r.status != "used"):
        assert refused.reason and refused.message, refused.file
    rejects = {r.file.rsplit("/", 1)[1]: r.reason for r in built.reports}
    assert rejects["03700181.hea"] == rejects["3234460_0018.hea"] == "no-usable-window"
    assert {p.name for p in passed if p.reason == "part-of-record"} >= {
        "physionet_wfdb/041s01.hea", "physionet_wfdb/041s02.hea", "physionet_wfdb/a103l.mat",
    }  # fmt: skip


def test_tables_survive_writing_and_reading(tmp_path: Path) -> None:
    case(tmp_path / "1.vital")
    table = build(tmp_path)[0].table
    (tmp_path / "out").mkdir()
    for name in ("cohort.csv", "cohort.parquet"):
        if name.endswith("parquet"):
            pytest.importorskip("pyarrow")
        again = read_cohort_table(write_cohort_table(table, tmp_path / "out" / name))
        np.testing.assert_allclose(again.labels["CO"], table.labels["CO"], rtol=1e-5)
        assert again.subjects == table.subjects and again.recordings[0].resolve() == table.recordings[0].resolve()
    assert find_cohort(tmp_path / "out").name == "cohort.csv"
    with pytest.raises(RecordingError, match=r"no cohort\.csv"):
        find_cohort(tmp_path)


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="there is no file"):
        find_recordings([tmp_path])
    with pytest.raises(RecordingError, match="no such file"):
        find_recordings([tmp_path / "none"])
    with pytest.raises(ValueError, match="positive"):
        BuildPlan(every_s=0)
    with pytest.raises(ValueError, match="kind"):
        BuildPlan(kind="guess")
