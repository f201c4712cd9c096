r"""`infer` on real files: read and answered, or refused with the reason and the option that fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
ICU = ("--channel", "col 3=ART", "--unit", "ART=mmHg")
DEMO = "vitalrecorder_demo/test_data_demo.vital"


@pytest.mark.parametrize(
    ("name", "options", "at_least"),
    [
        ("physionet_wfdb/mixedsignals.hea", (), 25),
        ("physionet_wfdb/3975656_0015", (), 30),
        ("mimic2_testicu/TestICU.hea", ICU, 30),
        (DEMO, (), 2),
        ("abp_short/cardiovascularmodels_abp_30s_125Hz.csv", ("--unit", "ART=mmHg"), 3),
        ("abp_short/waveformtools_abp_40s_125Hz.csv", ("--fs", "125", "--unit", "ART=mmHg"), 4),
    ],
)
def test_real_pressure_is_read_and_answered(
    run: Run, model: Path, real_data: Path, name: str, options: tuple[str, ...], at_least: int
) -> None:
    ran = run("infer", real_data / name, *options, "--model", model, "--draws", 20, "--json")
    data = json.loads(ran.out)
    assert ran.code == 0 and data["summary"]["answered"] >= at_least


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("mimic2_testicu/TestICU.hea", 3, '--channel "col 3=ART" --unit ART=mmHg'),
        ("abp_short/cardiovascularmodels_abp_30s_125Hz.csv", 3, "--unit ART=mmHg"),
        ("abp_short/waveformtools_abp_40s_125Hz.csv", 3, "--fs 125"),
        ("bidmc/bidmc_01_Signals.csv", 6, "reads ART [mmHg]"),
        ("physionet_wfdb/a103l.hea", 6, "reads ART [mmHg]"),
        ("uci_cuffless/rec_1.npz", 3, "--unit ART=mmHg"),
    ],
)
def test_real_files_that_do_not_fit_are_refused_with_the_way_out(
    run: Run, model: Path, real_data: Path, name: str, code: int, said: str
) -> None:
    ran = run("infer", real_data / name, "--model", model)
    assert ran.code == code and said in ran.err and str(real_data) not in ran.err


@pytest.mark.parametrize("name", ["03700181", "3234460_0018"])
def test_recordings_without_a_usable_pressure_exit_4(run: Run, model: Path, real_data: Path, name: str) -> None:
    ran = run("infer", real_data / "physionet_wfdb" / name, "--model", model, "--json")
    data = json.loads(ran.out)
    assert ran.code == 4 and data["summary"]["answered"] == 0
    assert all(w["reason"] and w["hint"] and w["signal"]["message"] for w in data["windows"])


@pytest.mark.parametrize("channel", ["II=ART", "PLETH=ART"])
def test_another_signal_passed_as_pressure_is_refused_whole(
    run: Run, model: Path, real_data: Path, channel: str
) -> None:
    path = real_data / "bidmc" / "bidmc_01_Signals.csv"
    ran = run("infer", path, "--channel", channel, "--unit", "ART=mmHg", "--model", model, "--json")
    assert ran.code == 4 and json.loads(ran.out)["summary"]["answered"] == 0
