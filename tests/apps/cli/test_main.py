r"""The command line as a whole: shared options before and after the verb, one form of failure, no tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from pulsebayes.apps.cli.errors import describe
from pulsebayes.apps.cli.options import Settings, with_settings

Run = Callable[..., Any]
Write = Callable[..., Path]


def test_shared_options_stand_before_the_verb_or_after_it_and_after_wins() -> None:
    seen: list[Settings] = []
    app = typer.Typer()

    @app.callback()
    @with_settings
    def root(*, settings: Settings) -> None: ...

    @app.command()
    @with_settings
    def verb(*, settings: Settings) -> None:
        seen.append(settings)

    app(["--seed", "1", "--json", "verb", "--seed", "2", "--out", "x", "--threads", "3"], standalone_mode=False)
    app(["--quiet", "--force", "--device", "cpu", "verb"], standalone_mode=False)
    assert seen[0] == Settings(seed=2, json=True, out=Path("x"), threads=3)
    assert seen[1].quiet and seen[1].force and seen[1].device.value == "cpu"
    assert seen[1].seed == 0


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["validate", "radial-abp"], "validate"),
        (["models", "list"], "models"),
        (["analyse", "identifiability", "multi-site"], "analyse"),
        (["train", "--hybrid", "cohort", "--out", "x"], "train --hybrid"),
        (["train", "--recipe", "symbolic-ode", "--out", "x"], "the recipe symbolic-ode"),
        (["simulate", "--verify", "x.zarr"], "simulate --verify"),
    ],
)
def test_a_device_that_would_not_be_used_is_refused(run: Run, words: list[str], what: str) -> None:
    for line in (["--device", "cuda", *words], [*words, "--device", "cuda"]):
        ran = run(*line)
        assert ran.code == 2 and ran.err.startswith(f"error: {what}") and "runs on the processor only" in ran.err
        assert "simulate, solve, train take it" in ran.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such-verb"], "No such command"),
        (["doctor", "--nonsense"], "No such option"),
        (["infer"], "Missing argument"),
    ],
)
def test_a_wrong_command_line_exits_2_in_both_forms(run: Run, words: list[str], message: str) -> None:
    plain = run(*words)
    assert plain.code == 2 and message in plain.err and plain.err.startswith("error: ")
    machine = run("--json", *words)
    failure = json.loads(machine.out)["error"]
    assert machine.code == 2 and failure["code"] == "usage" and message in failure["message"]
    assert set(failure) == {"code", "message", "hint"}


def test_an_unexpected_fault_is_one_line_and_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from pulsebayes.apps.cli import doctor as _  # noqa: F401

    module = sys.modules["pulsebayes.apps.cli.doctor"]

    def broken() -> int:
        raise RuntimeError("the cores\nran away")

    monkeypatch.setattr(module, "_cores", broken)
    ran = run("doctor")
    assert ran.code == 1 and ran.err.startswith("error: RuntimeError: the cores ran away")
    assert "PULSEBAYES_TRACEBACK=1" in ran.err
    monkeypatch.setenv("PULSEBAYES_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="ran away"):
        run("doctor")


def test_ctrl_c_exits_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from pulsebayes.apps.cli import main as _  # noqa: F401

    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["pulsebayes.apps.cli.doctor"], "_cores", interrupted)
    assert run("doctor").code == 130


@pytest.mark.parametrize("words", [["doctor"], ["doctor", "--json"]])
def test_ctrl_c_while_loading_is_told_like_any_other(words: list[str]) -> None:
    code = (
        "import builtins, sys\n"
        "from pulsebayes.apps.cli import entry\n"
        "whole = builtins.__import__\n"
        "def stopped(name, *rest, **more):\n"
        "    if name == 'typer':\n"
        "        raise KeyboardInterrupt\n"
        "    return whole(name, *rest, **more)\n"
        "builtins.__import__ = stopped\n"
        "entry.main()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    told = json.dumps(describe(KeyboardInterrupt()).to_json()) + "\n"
    spoken = (told, "") if "--json" in words else ("", "error: interrupted\n")
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, *spoken)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermissionError(13, "Permission denied", "/some/where/a.csv"), 3),
        (ValueError("expected 1, got 2"), 2),
        (ModuleNotFoundError("No module named 'vitaldb'"), 2),
        (MemoryError(), 1),
        (ZeroDivisionError("division by zero"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_exception_has_an_exit_code_and_names_no_folder(error: BaseException, code: int) -> None:
    from pulsebayes.apps.cli.errors import describe

    failure = describe(error)
    assert failure.exit_code == code and failure.message and "/some" not in failure.message


def test_doctor_reports_the_machine(run: Run) -> None:
    report = json.loads(run("doctor", "--json").out)
    assert report["libraries"]["torch"] and report["cores"] >= 1
    assert set(report["models"].values()) <= {"whole"}
    assert {"symbolic-ode", "symbolic-scalar"} <= report["models"].keys()
    assert "torch" in run("doctor").out


def test_models_are_listed_shown_and_checked(run: Run, model: Path, tmp_path: Path) -> None:
    import shutil

    assert "symbolic-ode" in [row["name"] for row in json.loads(run("models", "list", "--json").out)]
    assert run("models", "verify", "symbolic-ode").out == "symbolic-ode: whole\n"
    shown = json.loads(run("models", "show", model, "--json").out)
    assert shown["input"]["role"] == "ART" and shown["quantities"]["CO"] == "L/min"
    assert run("models", "verify", model).out == "untrained: whole\n"
    edited = tmp_path / "edited"
    shutil.copytree(model, edited)
    (edited / "weights.safetensors").write_bytes(b"other")
    ran = run("models", "verify", edited, model)
    assert ran.code == 6 and "weights.safetensors" in ran.err and "untrained: whole" in ran.out


@pytest.mark.parametrize("layer", ["pooling.safetensors", "patient.json"])
def test_a_changed_layer_beside_a_model_is_found(run: Run, tmp_path: Path, layer: str) -> None:
    import shutil

    from pulsebayes.inference.bundle import find_bundle

    edited = tmp_path / "edited"
    shutil.copytree(find_bundle("radial-abp"), edited)
    held = bytearray((edited / layer).read_bytes())
    held[len(held) * 2 // 3] ^= 1
    (edited / layer).write_bytes(held)
    ran = run("models", "verify", edited)
    assert ran.code == 6 and f"the {layer.partition('.')[0]} layer of bundle edited" in ran.err


def test_a_folder_with_a_pickle_is_no_model(run: Run, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04.")
    ran = run("models", "show", tmp_path)
    assert ran.code == 6 and "not a bundle" in ran.err


def test_inspect_shows_channels_and_judges_windows(run: Run, tmp_path: Path, write_csv: Write, pulse: Any) -> None:
    path = write_csv(tmp_path / "abp.csv", np.concatenate([pulse(8), np.full(1000, 80.0)]))
    report = json.loads(run("inspect", path, "--fs", 125, "--json").out)
    assert {"file", "duration_s", "channels", "windows"} <= set(report)
    assert report["channels"][0] | {"findings": []} == {
        "name": "ABP", "role": "ART", "unit": "mmHg", "fs": 125.0, "start_s": 0.0, "duration_s": 16.0, "missing": 0.0,
        "findings": [],
    }  # fmt: skip
    assert [w["reason"] for w in report["windows"]] == [None, "flat"]
    assert report["windows"][0]["heart_rate"] == pytest.approx(72, abs=2)
    page = run("inspect", path, "--fs", 125).out
    assert "usable 1" in page and "refused, flat" in page


def test_inspect_judges_every_pressure_and_the_pulse(run: Run, tmp_path: Path, pulse: Any) -> None:
    art, t = pulse(24), np.arange(3000) / 125
    venous = 8 + 1.5 * np.sin(7.5 * t) + 1.5 * np.sin(1.6 * t)
    venous[1000:2000] = 0.0
    rows = "".join(f"{a:.4f},{b:.2f},{(b - 80) / 40:.4f},{c:.3f}\n" for a, b, c in zip(t, art, venous, strict=True))
    path = tmp_path / "three.csv"
    path.write_text("time [s],ABP [mmHg],PLETH,CVP [mmHg]\n" + rows)
    report = json.loads(run("inspect", path, "--json").out)
    assert report["judged"] == "ABP" and set(report["other_windows"]) == {"PLETH", "CVP"}
    assert [w["reason"] for w in report["other_windows"]["CVP"]] == [None, "flat", None]
    page = run("inspect", path).out
    assert "windows of PLETH: 3, usable 3" in page and "windows of CVP: 3, usable 2" in page


def test_inspect_tells_what_is_mostly_missing(run: Run, tmp_path: Path, pulse: Any) -> None:
    cells = [f"{v:.2f}" if k < 1000 or k >= 2900 else "" for k, v in enumerate(pulse(24))]
    path = tmp_path / "abp.csv"
    path.write_text("time [s],ABP [mmHg]\n" + "".join(f"{k / 125:.3f},{cell}\n" for k, cell in enumerate(cells)))
    report = json.loads(run("inspect", path, "--json").out)
    assert [check["code"] for check in report["checks"]] == ["too-much-missing"]


@pytest.mark.parametrize("fs", ["1e-9", "0.1", "3", "1e9"])
@pytest.mark.parametrize("verb", ["inspect", "infer"])
def test_rates_of_no_monitor_are_refused_at_once(
    run: Run, tmp_path: Path, write_csv: Write, pulse: Any, fs: str, verb: str
) -> None:
    ran = run(verb, write_csv(tmp_path / "abp.csv", pulse(16)), "--fs", fs, "--json")
    assert ran.code == 3 and json.loads(ran.out)["error"]["code"] == "bad-rate"


def test_infer_says_what_to_try_where_windows_are_refused(
    run: Run, model: Path, tmp_path: Path, write_csv: Write, pulse: Any
) -> None:
    path = write_csv(tmp_path / "abp.csv", 0.1333 * pulse(16))
    ran = run("infer", path, "--fs", 125, "--model", model, "--draws", 20)
    assert ran.code == 4 and "try, where refused as unit: --unit ART=kPa" in ran.out


def test_inspect_says_how_to_name_unnamed_channels(run: Run, real_data: Path) -> None:
    record = real_data / "mimic2_testicu" / "TestICU"
    assert '--channel "col 3=ART" --unit ART=mmHg' in run("inspect", record).out.replace("col 1", "col 3")
    named = run("inspect", record, "--channel", "col 3=ART", "--unit", "ART=mmHg", "--json")
    report = json.loads(named.out)
    assert report["judged"] == "col 3" and any(w["usable"] for w in report["windows"])


def test_inspect_goes_on_after_an_unreadable_file_and_exits_3(run: Run, tmp_path: Path, write_csv: Write) -> None:
    good = write_csv(tmp_path / "good.csv", np.full(1000, 80.0))
    ran = run("inspect", tmp_path / "none.csv", good, "--fs", 125)
    assert ran.code == 3 and "none.csv" in ran.err and "good.csv: 8.0 s" in ran.out


def test_times_and_pairs_are_read_or_refused() -> None:
    from pulsebayes.apps.cli.errors import CommandError
    from pulsebayes.apps.cli.recording_options import parse_pairs, parse_seconds

    times = {"8": 8.0, "8s": 8.0, "1.5 min": 90.0, "2h": 7200.0, "500ms": 0.5, "12:30": 750.0, "1:02:03": 3723.0}
    assert {text: parse_seconds("--every", text) for text in times} == times
    for text in ("", "soon", "-3", "1:2", "1:99", "8 weeks"):
        with pytest.raises(CommandError, match="--every takes a time"):
            parse_seconds("--every", text)
    with pytest.raises(CommandError, match="--unit takes NAME=VALUE"):
        parse_pairs("--unit", ["kPa"])
    with pytest.raises(CommandError, match="says ART=kPa and ART=mmHg"):
        parse_pairs("--unit", ["ART=kPa", "ART=mmHg"])


def test_run_record_hashes_every_file_of_a_wfdb_record() -> None:
    from pulsebayes.apps.cli import demo as _  # noqa: F401
    from pulsebayes.apps.cli.run_record import hash_input

    folder = Path(__file__).resolve().parents[3] / "apps" / "cli" / "demo_data"
    names = set(hash_input(folder / "simulated_patient.hea"))
    assert names == {"simulated_patient.hea", "simulated_patient.dat"} == set(hash_input(folder / "simulated_patient"))


def test_demo_writes_table_draws_and_plot(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from pulsebayes.apps.cli import main as _  # noqa: F401

    monkeypatch.setattr(sys.modules["pulsebayes.apps.cli.demo"], "DEFAULT_MODEL", str(model))
    monkeypatch.chdir(tmp_path)
    for _again in range(2):
        ran = run("demo")
        assert ran.code == 0 and "the truth is known" in ran.out
    names = {p.name for p in (tmp_path / "pulsebayes-demo").iterdir()}
    assert names == {"run.json", *(f"simulated_patient.{s}" for s in ("csv", "nc", "png"))}
    record = json.loads((tmp_path / "pulsebayes-demo" / "run.json").read_text())
    assert set(record["outputs"]) == names - {"run.json"}


def test_the_shipped_recording_says_that_it_is_simulated() -> None:
    folder = Path(__file__).resolve().parents[3] / "apps" / "cli" / "demo_data"
    assert "SIMULATED" in (folder / "simulated_patient.hea").read_text()
