r"""`infer` on recordings of two patients, and with references that do not go together: told, never averaged away."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pulsebayes import apps
from pulsebayes.apps.cli.infer_output import _Pools
from pulsebayes.inference.answer import Answer
from pulsebayes.waveforms import read

Run = Callable[..., Any]
DEMO = Path(apps.__path__[0]) / "cli" / "demo_data" / "simulated_patient.hea"


@pytest.fixture(scope="module")
def spliced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 s of the shipped patient, then the same pulse at 1.4 times the rate and another pressure."""
    wave = read(DEMO).values("ART")[:12000]
    faster = np.interp(np.arange(0, 12000, 1.4), np.arange(12000), wave)
    other = 70 + 0.5 * (np.tile(faster, 2)[:12000] - wave.mean())
    rows = np.round(np.concatenate((wave, other)), 2)
    path = tmp_path_factory.mktemp("spliced") / "two.csv"
    lines = (f"{i / 125:.3f},{x:.2f}\n" for i, x in enumerate(rows))
    path.write_text("time [s],ABP [mmHg]\n" + "".join(lines))
    return path


@pytest.mark.parametrize("pool", ["recording", "causal"])
def test_two_patients_are_summed_up_one_by_one(run: Run, spliced: Path, pool: str) -> None:
    words = ("infer", spliced, "--draws", 300, "--pool", pool)
    ran = run(*words)
    assert ran.code == 0
    told = json.loads(run("--json", *words).out.splitlines()[0])
    first, second = told["summary"]["patients_from_s"]
    assert first == 0 and abs(second - 96) <= 16
    assert f"-- another patient from {second:g} s on" in ran.out
    assert "patient 1, from 0 s on" in ran.out and f"patient 2, from {second:g} s on" in ran.out
    rates = [float(line.split()[2]) for line in ran.out.splitlines() if line.startswith("HR ")]
    assert len(rates) == 2 and rates[1] == pytest.approx(1.4 * rates[0], rel=0.05)


def test_one_patient_is_summed_up_as_one(run: Run) -> None:
    """Windows that overlap the first are pools of their own and no patients of their own."""
    for words in (("--every", "24s"), ("--every", "2s", "--end", "26s"), ("--every", "1s", "--end", "12s")):
        for pool in ("recording", "causal"):
            asked = ("infer", DEMO, "--draws", 100, "--pool", pool, *words)
            assert "patient 1" not in run(*asked).out
            assert "patients_from_s" not in json.loads(run("--json", *asked).out.splitlines()[0])["summary"]


def _of(start_s: float, sensor_start_s: float) -> Answer:
    made = Answer.__new__(Answer)
    object.__setattr__(made, "pool", {"start_s": start_s, "sensor_start_s": sensor_start_s})
    return made


def test_places_that_are_moved_are_no_further_patients() -> None:
    """As a causal pool tells: found at 112 s, moved to 120 s by the next window; a new state of the sensor later."""
    pools, found = _Pools(), []
    for start_s, sensor_s in [(0, 0)] * 4 + [(112, 112), (120, 120), (120, 120), (120, 120), (120, 200), (300, 300)]:
        found.append(pools.see(_of(start_s, sensor_s)))
    assert pools.patients == [0, 120, 300]
    assert [told for told in found if told] == [
        "another patient from 112 s on",
        "another patient from 120 s on",
        "another state of the sensor from 200 s on",
        "another patient from 300 s on",
    ]
    assert pools.see(SimpleNamespace(reason="flat")) == ""  # type: ignore[arg-type]


def test_a_second_reference_does_not_excuse_one_that_the_waves_contradict(run: Run) -> None:
    """Before, the window of both was answered: hardly a draw bears 9 L/min, some bear both."""
    words = ("--json", "infer", DEMO, "--draws", 500, "--every", "8s", "--end", "24s", "--anchor", "CO=5@10s")
    for pool in ("recording", "causal"):
        with pytest.warns(UserWarning, match="contradict each other"):
            ran = run(*words, "--anchor", "CO=11@12s", "--pool", pool)
        windows = [
            w for w in json.loads(ran.out.splitlines()[0])["windows"] if w["start_s"] >= 8 or pool == "recording"
        ]
        assert {w["reason"] for w in windows} == {"anchor"}


def test_references_that_the_waves_hold_apart_are_told_and_nothing_is_cited(run: Run) -> None:
    """67 s apart: nothing moves in between, so they cannot both be right."""
    words = ("infer", DEMO, "--draws", 500, "--anchor", "CO=4.2@40s")
    with pytest.warns(UserWarning, match="contradict each other, as the waves tell"):
        found = [run(*words, "--anchor", "CO=8@107s", "--pool", pool) for pool in ("recording", "causal")]
    for ran in found:
        assert ran.code == 0 and "Calibration: none measured." in ran.out
        assert "the references CO=4.2+-0.42@40s and CO=8+-0.8@107s contradict each other" in ran.out
    assert "contradict" not in (ran := run(*words, "--anchor", "CO=4.6@107s")).out and "none measured" not in ran.out


def test_a_lone_windows_own_reference_cites_no_coverage(run: Run) -> None:
    ran = run("infer", DEMO, "--draws", 300, "--end", "8s", "--anchor", "CO=5@3s")
    assert ran.code == 0 and "Calibration: none measured." in ran.out


@pytest.mark.parametrize("words", [("--anchor", "CO=4@40s"), ("--patient", "age=60")])
def test_what_is_told_of_one_file_is_not_used_for_others(run: Run, spliced: Path, words: tuple[str, ...]) -> None:
    ran = run("infer", DEMO, spliced, *words)
    assert ran.code == 2 and f"{words[0]} tells of one file, got 2" in ran.err


def test_an_age_is_no_reference(run: Run) -> None:
    ran = run("infer", DEMO, "--anchor", "age=58@40s")
    assert ran.code == 2 and "--patient age=58" in ran.err
