"""A virtual VitalDB: operations, waves without a break, faults, a monitor with its errors, files that are read back."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.simulators.clinical import CLINICAL
from pulsebayes.simulators.continuous import simulate_continuous
from pulsebayes.simulators.network.linear import LinearNetwork
from pulsebayes.simulators.operations import draw_operation, shift_physics
from pulsebayes.simulators.virtual_cohort import VirtualCohort, make_cohort
from pulsebayes.simulators.virtual_monitor import FAULTS, record_pressure, thermodilution
from pulsebayes.waveforms import cut_windows, detect_r_peaks
from pulsebayes.waveforms.vitaldb import Cache, Tracks, VitalDB, open_case

PLAN = VirtualCohort(2, 10.0, "shifted", "clean", 7)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("virtual")
    make_cohort(PLAN, folder)
    return folder


def test_output_varies_within_a_case_as_in_vitaldb() -> None:
    found = [draw_operation(np.random.default_rng(k), np.arange(450) * 8.0) for k in range(12)]
    assert all(0.12 < made.variation < 0.20 for made in found)
    assert all([name for _, name in made.events][:2] == ["induction", "vasopressor"] for made in found)
    for made in found:
        fixed = [CLINICAL.index(name) for name in ("age", "height", "wave_speed_deviation", "size_deviation")]
        assert np.ptp(made.theta[:, fixed], axis=0).max() == 0


def test_shifted_physics_keeps_the_heart_and_moves_the_walls() -> None:
    theta = draw_operation(np.random.default_rng(3), np.arange(100) * 8.0).theta
    shifted = shift_physics(theta)
    kept = [CLINICAL.index(name) for name in ("heart_rate", "stroke_volume_deviation", "mean_pressure")]
    np.testing.assert_allclose(shifted[:, kept], theta[:, kept])
    speed = CLINICAL.index("wave_speed_deviation")
    moved, pressure = shifted[:, speed] - theta[:, speed], theta[:, CLINICAL.index("mean_pressure")]
    assert np.corrcoef(moved, pressure)[0, 1] > 0.99


def test_joined_waves_have_no_break_and_follow_their_parameters() -> None:
    simulator = LinearNetwork(sites=("Radial",), duration_s=11.0, n_frequencies=64)
    theta = draw_operation(np.random.default_rng(5), np.arange(40) * 8.0).theta
    made = simulate_continuous(simulator, theta, seed=1)
    wave = made.waves["Radial"]
    assert len(wave) == 40 * 1000 and np.isfinite(wave).all()
    steps = np.abs(np.diff(wave))
    inside = np.sort(steps)[-40:]
    assert inside[-1] < 1.5 * np.median(inside)  # no step stands out of the upstrokes
    intervals = np.diff(made.beats_s)
    rate = np.array([60 / intervals[(made.beats_s[:-1] >= a) & (made.beats_s[:-1] < a + 16)].mean()
                     for a in range(0, 300, 16)])  # fmt: skip
    true = made.quantities["HR"][:38].reshape(-1, 2).mean(1)
    assert np.abs(rate / true - 1).max() < 0.12
    mean = wave.reshape(40, -1).mean(1)
    assert np.corrcoef(mean, made.quantities["MAP"])[0, 1] > 0.95


def test_windows_too_short_to_join_are_refused() -> None:
    with pytest.raises(ValueError, match="11 s or more"):
        simulate_continuous(LinearNetwork(sites=("Radial",)), np.zeros((1, 27)))


def test_the_monitor_is_late_and_wrong_by_what_is_said() -> None:
    time_s = np.arange(450) * 8.0
    step = np.where(time_s < 1800, 5.0, 6.0)
    late, errors = [], []
    for k in range(200):
        read = thermodilution(np.random.default_rng(k), time_s, step, 0 * step + 80, 0 * step + 8)
        late.append(read.values["CO"])
        errors.append(read.values["CO"][5] / 5.0 - 1)
    mean = np.mean(late, axis=0)
    half = np.interp(5.5, mean[25:34], read.times_s[25:34])
    assert half - 1800 == pytest.approx(120, abs=20)  # standard error of the mean .01 of a rise of 1 over 240 s
    assert np.std(errors) == pytest.approx(0.15, abs=0.025)  # 99.9 % of 200 draws lie within .025


def test_every_fault_is_where_it_is_said_to_be() -> None:
    t = np.arange(125 * 3600) / 125
    wave = 90 + 20 * np.sin(2 * np.pi * 1.1 * t)
    recorded, faults = record_pressure(np.random.default_rng(2), wave, 125.0, faulty=True)
    names = [name for *_, name in faults]
    assert set(FAULTS) - {"zero-lost"} <= set(names) <= set(FAULTS)
    for start, end, name in faults:
        piece = recorded[round(start * 125) + 5 : round(end * 125) - 5]
        assert {
            "not-zeroed": lambda p: p.std() < 1,
            "flush": lambda p: p.min() > 290,
            "damped": lambda p: np.ptp(p[500:]) < 35,
            "disconnected": lambda p: np.isnan(p).all(),
            "zero-lost": lambda p: abs(p.mean() - 90) > 5,
        }[name](piece), (name, start)
    clean, none = record_pressure(np.random.default_rng(2), wave, 125.0, faulty=False)
    assert not none and np.isfinite(clean).all()


def test_files_have_vitaldbs_tracks_and_pass_the_gate(cohort: Path) -> None:
    recording, numbers = open_case(cohort / "2.vital", ["SNUADC/ART", "SNUADC/PLETH", "SNUADC/ECG_II", "Vigilance/CO"])
    assert {c.role: c.fs for c in recording.channels} == {"ART": 125.0, "PLETH": 125.0, "ECG": 250.0}
    windows = list(cut_windows(recording))
    assert len(windows) == 75 and np.mean([w.verdict.usable for w in windows]) > 0.9
    truth, read = numbers["Truth/CO"], numbers["Vigilance/CO"]
    assert len(truth.values) == 75 and read.times_s.tolist() == pytest.approx([240.0 + 60 * k for k in range(7)])
    assert np.allclose(numbers["Truth/HR"].values * numbers["Truth/SV"].values / 1000, truth.values, rtol=1e-4)
    peaks = detect_r_peaks(recording.values("ECG"), 250.0)
    assert 60 / np.diff(peaks).mean() == pytest.approx(numbers["Truth/HR"].values.mean(), rel=0.03)


def test_a_folder_is_a_cache_of_vitaldb(cohort: Path) -> None:
    source = VitalDB(Cache(cohort), offline=True)
    assert source.choose(Tracks.usual()) == [1, 2]
    assert source.fetch(1).ok
    assert source.table("cases")[0]["subjectid"] == "1001"
    events = list(csv.DictReader((cohort / "events.csv").open()))
    assert {row["caseid"] for row in events} == {"1", "2"} and events[0]["event"] == "induction"


def test_the_same_seed_gives_the_same_bytes_and_a_stopped_run_goes_on(cohort: Path, tmp_path: Path) -> None:
    make_cohort(VirtualCohort(1, 10.0, "shifted", "clean", 7), tmp_path)
    stamp = (tmp_path / "1.vital").stat().st_mtime_ns
    make_cohort(PLAN, tmp_path)
    assert (tmp_path / "1.vital").stat().st_mtime_ns == stamp
    for name in ("1.vital", "2.vital", "cases.csv", "events.csv", "trks.csv"):
        assert (tmp_path / name).read_bytes() == (cohort / name).read_bytes()


def test_another_plan_does_not_go_over_a_cohort(cohort: Path) -> None:
    with pytest.raises(ValueError, match="another plan"):
        make_cohort(VirtualCohort(2, 10.0, "training", "clean", 7), cohort)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [({"cases": 0}, "a case or more"), ({"minutes": 1.0}, "5 to 1440"), ({"physics": "x"}, "physics"),
     ({"sensors": "x"}, "sensors")],
)  # fmt: skip
def test_plans_are_checked(wrong: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        VirtualCohort(**wrong)
