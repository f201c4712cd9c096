r"""`infer`: what is printed and written, and every exit code it promises."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., Any]
Pulse = Callable[[float], np.ndarray]
Write = Callable[..., Path]
KEYS = {"unit", "median", "q05", "q25", "q75", "q95", "low", "high", "prior_q05", "prior_q95", "contraction"}


@pytest.fixture
def recording(tmp_path: Path, pulse: Pulse, write_csv: Write) -> Path:
    r"""Three good windows and then a flat one."""
    return write_csv(tmp_path / "abp.csv", np.concatenate([pulse(24), np.full(1000, 80.0)]))


def test_table_shows_windows_summary_sources_and_notice(run: Run, recording: Path, model: Path) -> None:
    ran = run("infer", recording, "--fs", 125, "--model", model)
    assert ran.code == 0
    assert "answered 3, refused 1 (flat 1)" in ran.out
    assert "24.0  refused, flat" in ran.out
    assert all(word in ran.out for word in ("Signal:", "Model:", "Calibration:", "Domain:", "SVR", "dyn s cm^-5"))
    assert ran.out.endswith("Research use only. Not a medical device.\n")


def test_json_is_one_strict_object_a_file_with_the_promised_keys(run: Run, recording: Path, model: Path) -> None:
    ran = run("--json", "infer", recording, recording, "--fs", 125, "--model", model, "--level", 0.5)
    lines = ran.out.splitlines()
    assert len(lines) == 2
    data = json.loads(lines[0], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert {"schema", "file", "model", "level", "window_s", "windows", "summary"} == set(data)
    assert data["file"] == "abp.csv" and data["level"] == 0.5 and data["window_s"] == 8.0
    assert data["summary"] == {"answered": 3, "refused": 1, "by_reason": {"flat": 1}}
    answered, refused = data["windows"][0], data["windows"][3]
    assert set(answered["quantities"]["CO"]) >= KEYS
    assert answered["quantities"]["CO"]["low"] == answered["quantities"]["CO"]["q25"]
    assert refused["status"] == "refused" and refused["reason"] == "flat" and refused["hint"]
    assert lines[0] == lines[1]


def test_files_hold_every_window_and_arviz_reads_them(run: Run, recording: Path, model: Path, tmp_path: Path) -> None:
    arviz = pytest.importorskip("arviz")
    out = tmp_path / "results"
    ran = run("infer", recording, "--fs", 125, "--model", model, "--draws", 50, "--out", out, "--seed", 3)
    assert ran.code == 0
    assert sorted(p.name for p in out.iterdir()) == ["abp.csv", "abp.nc", "run.json"]
    draws = arviz.from_netcdf(out / "abp.nc").posterior
    assert draws["CO"].shape == (1, 50, 3)
    np.testing.assert_allclose(draws["CO"], draws["HR"] * draws["SV"] / 1000, rtol=1e-5)
    with (out / "abp.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["start_s"] for row in rows} == {"0.0", "8.0", "16.0", "24.0"}
    record = json.loads((out / "run.json").read_text())
    assert record["seed"] == 3 and record["config"]["model"] == "untrained" and record["config"]["n_draws"] == 50
    assert "abp.csv" in record["inputs"] and "bundle.json" in record["inputs"]
    assert str(tmp_path) not in (out / "run.json").read_text()


def test_results_are_not_written_over_without_force(run: Run, recording: Path, model: Path, tmp_path: Path) -> None:
    words = ("infer", recording, "--fs", 125, "--model", model, "--draws", 20, "--out", tmp_path / "results")
    assert run(*words).code == 0
    again = run(*words)
    assert again.code == 2 and "--force" in again.err
    assert run(*words, "--force").code == 0


def test_same_stems_get_names_of_their_own(
    run: Run, recording: Path, model: Path, tmp_path: Path, pulse: Pulse, write_csv: Write
) -> None:
    (tmp_path / "b").mkdir()
    other = write_csv(tmp_path / "b" / "abp.csv", pulse(8))
    run("infer", recording, other, "--fs", 125, "--model", model, "--draws", 20, "--out", tmp_path / "results")
    assert {"abp.nc", "abp-2.nc"} <= {p.name for p in (tmp_path / "results").iterdir()}


def test_answers_do_not_depend_on_threads_or_on_other_windows(run: Run, recording: Path, model: Path) -> None:
    words = ("--json", "infer", recording, "--fs", 125, "--model", model, "--draws", 100)
    one, two = (json.loads(run(*words, "--threads", n).out)["windows"] for n in (1, 3))
    assert one == two
    late = json.loads(run(*words, "--start", "8s").out)["windows"]
    assert late[0] == one[1]


def test_seed_changes_the_draws(run: Run, recording: Path, model: Path) -> None:
    words = ("infer", recording, "--fs", 125, "--model", model, "--draws", 100, "--json")
    assert run(*words).out == run(*words).out != run(*words, "--seed", 1).out


@pytest.mark.parametrize(
    ("wave", "code", "reason"), [(np.full(2000, 80.0), 4, "flat"), (np.arange(2000) * 0.05 + 40, 4, "ramp")]
)
def test_nothing_answered_by_the_gate_exits_4(
    run: Run, model: Path, tmp_path: Path, wave: np.ndarray, code: int, reason: str, write_csv: Write
) -> None:
    ran = run("infer", write_csv(tmp_path / "abp.csv", wave), "--fs", 125, "--model", model, "--json")
    assert ran.code == code
    assert set(json.loads(ran.out)["summary"]["by_reason"]) == {reason}


def test_all_outside_exits_5(run: Run, recording: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from pulsebayes.inference import answering

    outside = SimpleNamespace(verdict="outside", p=0.0, distance=9.0, reason="no beat of the simulations looks so")
    monkeypatch.setattr(answering, "domain_model", lambda bundle: SimpleNamespace(assess=lambda values: outside))
    ran = run("infer", recording, "--fs", 125, "--end", "24s", "--model", model, "--json")
    assert ran.code == 5
    windows = json.loads(ran.out)["windows"]
    assert {w["reason"] for w in windows} == {"outside"} and windows[0]["quantities"] == {}
    assert windows[0]["domain"] == {"verdict": "outside", "p": 0.0}


def test_unreadable_file_exits_3_and_the_others_go_on(run: Run, recording: Path, model: Path, tmp_path: Path) -> None:
    alone = run("infer", tmp_path / "none.csv", "--model", model)
    assert alone.code == 3 and "none.csv" in alone.err
    both = run("infer", tmp_path / "none.csv", recording, "--fs", 125, "--model", model, "--json")
    first, second = map(json.loads, both.out.splitlines())
    assert both.code == 0 and first["error"]["code"] == "not-found" and second["summary"]["answered"] == 3


def test_pressure_without_a_unit_is_refused_with_the_option_that_fits(
    run: Run, model: Path, tmp_path: Path, pulse: Pulse, write_csv: Write
) -> None:
    path = write_csv(tmp_path / "abp.csv", pulse(16), header="ABP")
    ran = run("infer", path, "--fs", 125, "--model", model)
    assert ran.code == 3 and "--unit ART=mmHg" in ran.err
    assert run("infer", path, "--fs", 125, "--unit", "ART=mmHg", "--model", model).code == 0


def test_a_unit_that_contradicts_the_file_is_warned_of_and_kept_in_the_answer(
    run: Run, recording: Path, model: Path
) -> None:
    words = ("infer", recording, "--fs", 125, "--model", model, "--draws", 50, "--json", "--quiet")
    ran = run(*words, "--unit", "ART=cmH2O")
    told = "unit cmH2O as you say; the file says mmHg"
    assert ran.err.splitlines()[0] == f"warning: {recording.name}, channel ABP: {told}"
    found = json.loads(ran.out)["windows"][0]["signal"]["findings"]
    assert [f["message"] for f in found if f["code"] == "unit"] == [f"ART: {told}"]
    assert "warning" not in run(*words, "--unit", "ART=mmHg").err


def test_no_rate_asks_for_fs(run: Run, recording: Path, model: Path) -> None:
    ran = run("infer", recording, "--model", model)
    assert ran.code == 3 and "--fs" in ran.err


def test_missing_channel_exits_6_and_says_what_the_model_reads(
    run: Run, model: Path, tmp_path: Path, pulse: Pulse, write_csv: Write
) -> None:
    path = write_csv(tmp_path / "ecg.csv", pulse(16), header="ECG [mV]")
    ran = run("infer", path, "--fs", 125, "--model", model)
    assert ran.code == 6
    assert "untrained reads ART [mmHg]" in ran.err and "ECG" in ran.err


def test_unknown_model_and_edited_model_exit_6(run: Run, recording: Path, model: Path, tmp_path: Path) -> None:
    import shutil

    assert run("infer", recording, "--fs", 125, "--model", "no-such-model").code == 6
    edited = tmp_path / "edited"
    shutil.copytree(model, edited)
    (edited / "card.md").write_text("better numbers")
    ran = run("infer", recording, "--fs", 125, "--model", edited)
    assert ran.code == 6 and "card.md" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("--level", "2"),
        ("--every", "soon"),
        ("--unit", "mmHg"),
        ("--draws", "1"),
        ("--device", "cuda"),
        ("--idle", "5s"),
        ("--patient", ""),
        ("--nonsense",),
    ],
)
def test_a_bad_option_exits_2_without_a_traceback(
    run: Run, recording: Path, model: Path, words: tuple[str, ...]
) -> None:
    ran = run("infer", recording, "--fs", 125, "--model", model, *words)
    assert ran.code == 2 and ran.err.startswith("error: ") and "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("words", "code", "told", "hint"),
    [
        (("--every", "0"), 2, "--every must be longer than 0 s", "--every 8s"),
        (("--start", "9s", "--end", "3s"), 2, "--end must come after --start, got 9 s to 3 s", "--end after 9s"),
        (("--start", "100s"), 3, "starts at 100 s, the recording ends at 32 s", "--start below 32s"),
        (("--level", "0.9999"), 2, "--level 0.9999 needs at least 20000 draws, got 2000", "--draws 20000"),
        (("--draws", "3"), 2, "greater than or equal to 20", "--help"),
        (("--seed", "-1"), 2, "greater than or equal to 0", "--help"),
        (("--unit", "ART=bananas"), 2, "got 'bananas'", "--unit ART=mmHg"),
        (("--channel", "ABP=heart"), 2, "got 'heart'", "--channel"),
        (("--fs", "0.001"), 3, "windows are cut from channels of 25 to 20000 Hz, got 0.001 Hz", "check --fs"),
        (("--fs", "1e9"), 3, "got 1e+09 Hz", "check --fs"),
        (("--fs", "5"), 3, "got 5 Hz", "check --fs"),
    ],
)
def test_an_option_that_does_not_fit_says_what_would(
    run: Run, recording: Path, model: Path, words: tuple[str, ...], code: int, told: str, hint: str
) -> None:
    ran = run("infer", recording, "--fs", 125, "--model", model, "--json", *words)
    error = json.loads(ran.out)["error"]
    assert ran.code == code and told in error["message"] and hint in error["hint"]


@pytest.mark.parametrize(
    ("anchor", "told"),
    [("XX=4@60s", "no quantity 'XX' to anchor: model radial-abp gives HR, SV, CO"), ("CO=-4@60s", "must be positive")],
)
def test_an_anchor_that_cannot_be_is_told_before_a_file_is_read(run: Run, anchor: str, told: str) -> None:
    ran = run("infer", "no-such-file.csv", "--anchor", anchor)
    assert ran.code == 2 and told in ran.err
    assert "--anchor CO=4.2@" in ran.err and "no such file" not in ran.err


@pytest.mark.parametrize("pool", [(), ("--pool", "window"), ("--pool", "causal")])
def test_a_reference_for_a_model_that_cannot_pool_is_told_so(run: Run, pool: tuple[str, ...]) -> None:
    """Before, the hint was a pool that such a model then refused."""
    ran = run("infer", "no-such-file.csv", "--model", "multi-site", "--anchor", "CO=5@10s", *pool)
    assert ran.code == 2
    assert "model multi-site cannot pool windows: it has no pooling layer" in ran.err
    assert "--pool window, without --anchor" in ran.err


def test_uninformative_quantities_are_withheld_unless_kept(run: Run, recording: Path, model: Path) -> None:
    words = ("infer", recording, "--fs", 125, "--model", model, "--json")
    hidden, kept = (json.loads(run(*words, *extra).out)["windows"][0] for extra in ((), ("--keep-uninformative",)))
    for name, numbers in hidden["quantities"].items():
        assert (numbers["median"] is None) == numbers["uninformative"]
        assert kept["quantities"][name]["median"] is not None


def test_damage_met_on_the_way_ends_the_json_with_an_error(
    run: Run, recording: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pulsebayes.inference import answering
    from pulsebayes.waveforms import RecordingError

    whole = answering.cut_windows

    def broken(*args: object, **options: object) -> object:
        windows = whole(*args, **options)  # type: ignore[arg-type]
        yield next(windows)
        raise RecordingError("the block is torn", code="truncated", file="abp.csv", at_s=8.0)

    monkeypatch.setattr(answering, "cut_windows", broken)
    ran = run("infer", recording, "--fs", 125, "--model", model, "--json")
    data = json.loads(ran.out)
    assert len(data["windows"]) == 1 and data["error"]["code"] == "truncated"


def test_ctrl_c_keeps_what_was_answered_and_exits_130(
    run: Run, recording: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pulsebayes.inference import answering

    whole = answering.cut_windows

    def interrupted(*args: object, **options: object) -> object:
        windows = whole(*args, **options)  # type: ignore[arg-type]
        yield next(windows)
        raise KeyboardInterrupt

    monkeypatch.setattr(answering, "cut_windows", interrupted)
    out = tmp_path / "results"
    ran = run("infer", recording, "--fs", 125, "--model", model, "--out", out, "--threads", 1)
    assert ran.code == 130 and "Traceback" not in ran.err and "--start 0s goes on" in ran.err
    assert {"abp.csv", "abp.nc", "run.json"} == {p.name for p in out.iterdir()}
    ran = run("infer", recording, "--fs", 125, "--model", model, "--json", "--threads", 1)
    data = json.loads(ran.out)
    assert ran.code == 130 and len(data["windows"]) == 1 and data["error"]["code"] == "interrupted"


def test_jax_is_not_loaded_to_infer(recording: Path, model: Path) -> None:
    code = (
        "import sys\nfrom pulsebayes.apps.cli.main import run\n"
        f"code = run(['infer', {str(recording)!r}, '--fs', '125', '--model', {str(model)!r}, '--draws', '20'])\n"
        "heavy = {'jax', 'sbi', 'pandas', 'xarray', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}, check=False
    )
    assert result.returncode == 0, result.stderr


def test_results_never_replace_their_input(run: Run, recording: Path, model: Path) -> None:
    before = recording.read_bytes()
    ran = run("infer", recording, "--fs", 125, "--model", model, "--out", recording.parent, "--force")
    assert ran.code == 2 and "would replace the input abp.csv" in ran.err
    assert recording.read_bytes() == before


def test_a_reference_that_no_answer_could_use_is_no_success(run: Run, tmp_path: Path) -> None:
    from pulsebayes import apps

    demo = Path(apps.__path__[0]) / "cli" / "demo_data" / "simulated_patient.hea"
    words = ["infer", str(demo), "--every", "40s", "--draws", "100", "--pool", "causal", "--anchor", "CO=5@400s"]
    ran = run(*words, "--out", str(tmp_path / "r"))
    assert ran.code == 3
    assert "no answered window takes the reference CO=5+-0.5@400s: none lies within a minute of it" in ran.err
    assert list(tmp_path.rglob("*.csv")), "what was answered is kept"
