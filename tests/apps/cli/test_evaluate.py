"""`pulsebayes evaluate`: streamed, resumed, refused; and the whole way from simulated cases to a page."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsebayes.waveforms.writers import VitalNumbers, VitalWave, write_vital


@pytest.fixture
def cohort(run: Callable[..., Any], tmp_path: Path, pulse: Callable[[float], np.ndarray]) -> Path:
    """Three subjects of ten minutes with two references."""
    place = tmp_path / "cases"
    place.mkdir()
    for k in range(3):
        times = np.arange(20.0, 601, 20.0)
        wave = VitalWave("SNUADC/ART", pulse(600) + 2 * np.sin(np.arange(75000) / 9000) + k, 125.0, "mmHg")
        output = VitalNumbers("EV1000/CO", times, 4 + k + 0.8 * np.sin(times / 80), "L/min")
        resistance = VitalNumbers("EV1000/SVR", times, 1200 + 100 * np.cos(times / 80), "dyn s cm^-5")
        write_vital(place / f"{k + 1}.vital", [wave], [output, resistance])
    assert run("cohort", "build", place, "--every", "10s", "--out", tmp_path / "cohort", "--quiet").code == 0
    return tmp_path / "cohort"


def test_every_measure_of_every_method_is_there(
    run: Callable[..., Any], cohort: Path, model: Path, tmp_path: Path
) -> None:
    ran = run(
        "evaluate", cohort, "--model", model, "--draws", "60", "--bootstrap", "10", "--out", tmp_path / "e", "--json"
    )
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["references"] == [
        {"device": "EV1000", "kind": "derived", "windows": found["windows"]["rows"],
         "method": "pulse contour of the arterial wave"}
    ]  # fmt: skip
    output = found["quantities"]["CO"]
    assert set(output["methods"]) == {"model", "cohort mean"}
    assert set(output["one_point"]) == {
        "model", "last calibrated value", "Liljestrand-Zander", "systolic area with impedance",
        "windkessel time constant",
    }  # fmt: skip
    for measures in (*output["methods"].values(), *output["one_point"].values()):
        assert {"error", "bias", "limit_low", "percentage_error_own", "spearman_within", "polar", "direction"} <= set(
            measures
        )
    assert set(output["one_point_less_model"]) == set(output["one_point"]) - {"model"}
    assert set(output["coverage"]) == {"0.5", "0.8", "0.9", "0.95"} and output["coverage"]["0.9"]["subjects"] == 3
    assert len(output["rejection"]["kept"]) == 10 and set(output["subgroups"]) >= {"kind", "mean pressure"}
    page = (tmp_path / "e" / "evaluation.html").read_text()
    figures = page.count("<figure>")
    assert figures >= 8 and page.count("Reference: EV1000 (derived).") >= figures  # said on every figure
    assert "<script" not in page and len(page) < 5_000_000
    assert {"evaluation.json", "evaluation.html", "run.json", "plan.json", "answers"} == {
        p.name for p in (tmp_path / "e").iterdir()
    }


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(
    run: Callable[..., Any], cohort: Path, model: Path, tmp_path: Path
) -> None:
    words = ["evaluate", cohort, "--model", model, "--draws", "60", "--bootstrap", "0", "--json"]
    whole = run(*words, "--out", tmp_path / "a", "--threads", "1")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    lines = sorted((tmp_path / "b" / "answers").iterdir())
    lines[-1].unlink()  # the last recording had not begun, and a line was being written when the power went
    raw = lines[1].read_bytes()
    lines[1].write_bytes(raw[: len(raw) // 2])
    (tmp_path / "b" / "evaluation.json").unlink()
    again = run(*words, "--out", tmp_path / "b", "--threads", "2")
    assert again.out == whole.out
    for path in (tmp_path / "a" / "answers").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / "answers" / path.name).read_bytes()


def test_a_killed_process_loses_nothing(cohort: Path, model: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    words = ["evaluate", str(cohort), "--model", str(model), "--draws", "60", "--bootstrap", "0", "--json", "--quiet"]
    told = [*words, "--out", str(tmp_path / "k")]
    code = f"import sys; from pulsebayes.apps.cli.main import main; sys.argv = ['pb', *{told!r}]; main()"
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONUNBUFFERED": "1"})
    answers = tmp_path / "k" / "answers"
    for _ in range(1200):
        if child.poll() is not None or (answers.is_dir() and any(p.stat().st_size for p in answers.iterdir())):
            break
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = {p.name: p.read_bytes() for p in answers.iterdir()}
    assert any(kept.values())
    ran = run(*words, "--out", tmp_path / "k")
    assert ran.code == 0
    for name, raw in kept.items():
        whole = raw[: raw.rfind(b"\n") + 1]
        assert (answers / name).read_bytes().startswith(whole)
    assert json.loads(ran.out) == json.loads(run(*words, "--out", tmp_path / "whole").out)


def test_another_evaluation_is_not_mixed_in(run: Callable[..., Any], cohort: Path, model: Path, tmp_path: Path) -> None:
    words = ["evaluate", cohort, "--model", model, "--bootstrap", "0", "--out", tmp_path / "e", "--quiet"]
    assert run(*words, "--draws", "60").code == 0
    ran = run(*words, "--draws", "70")
    assert ran.code == 2 and "another cohort, model, seed" in ran.err
    assert run(*words, "--draws", "70", "--force").code == 0


def test_two_at_once_do_not_write_into_one_another(
    run: Callable[..., Any], cohort: Path, model: Path, tmp_path: Path
) -> None:
    fcntl = pytest.importorskip("fcntl")
    answers = tmp_path / "e" / "answers"
    answers.mkdir(parents=True)
    words = ["evaluate", cohort, "--model", model, "--draws", "60", "--bootstrap", "0", "--out", tmp_path / "e"]
    with (answers / ".lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        ran = run(*words)
    assert ran.code == 2 and "another process is writing" in ran.err
    assert run(*words).code == 0


def test_the_rule_found_becomes_the_models(run: Callable[..., Any], cohort: Path, model: Path, tmp_path: Path) -> None:
    from pulsebayes.inference.bundle import Bundle

    words = ["evaluate", cohort, "--model", model, "--draws", "60", "--bootstrap", "0", "--out", tmp_path / "e"]
    ran = run(*words, "--stated-error", "5", "--rule-out", tmp_path / "ruled", "--json")
    assert ran.code == 0, ran.err
    rule = json.loads(ran.out)["quantities"]["CO"]["uninformative_rule"]
    assert Bundle.load(tmp_path / "ruled").uninformative == rule["share_of_prior"]
    ran = run(*words, "--stated-error", "0", "--rule-out", tmp_path / "none")
    assert ran.code == 2 and "--stated-error" in ran.err


def test_failures_are_told(run: Callable[..., Any], cohort: Path, model: Path, tmp_path: Path) -> None:
    assert run("evaluate", cohort, "--model", model).code == 2
    table = tmp_path / "bare.csv"
    table.write_text("subject,recording,start_s,end_s\ns,cases/1.vital,0,8\n")
    ran = run("evaluate", table, "--model", model, "--out", tmp_path / "x")
    assert ran.code == 2 and "no labels" in ran.err
    ran = run("evaluate", cohort, "--model", model, "--pool", "causal", "--out", tmp_path / "x")
    assert ran.code == 2 and "cannot pool windows: it has no pooling layer" in ran.err
    ran = run("evaluate", cohort, "--model", model, "--pool", "all", "--out", tmp_path / "x")
    assert ran.code == 2 and "pool must be one of window, causal, recording" in ran.err
    ran = run("evaluate", cohort, "--model", "no-such", "--out", tmp_path / "x")
    assert ran.code == 6
    (cohort / "lost.csv").write_text((cohort / "cohort.csv").read_text().replace("3.vital", "9.vital"))
    ran = run("evaluate", cohort / "lost.csv", "--model", model, "--draws", "60", "--out", tmp_path / "y")
    assert ran.code == 3 and "9.vital" in ran.err


@contextmanager
def served(cases: Path, folder: Path) -> Iterator[str]:
    """VitalDB's web interface on the loopback, with the files of a virtual cohort."""
    place = Path(__file__).resolve().parents[2] / "waveforms" / "vitaldb" / "server.py"
    spec = importlib.util.spec_from_file_location("vitaldb_server", place)
    module = importlib.util.module_from_spec(spec)
    sys.modules["vitaldb_server"] = module
    spec.loader.exec_module(module)
    folder.mkdir()
    with module.serve(folder) as (address, data):
        data.files = {f"/1.0.1/{path.name}": path.read_bytes() for path in cases.glob("*.vital")}
        data.files |= {f"/{name}": (cases / f"{name}.csv").read_bytes() for name in ("cases", "trks")}
        yield address


def test_six_virtual_cases_go_the_whole_way(run: Callable[..., Any], tmp_path: Path) -> None:
    """Simulate, fetch, build, split, calibrate, evaluate, infer, report: one command each."""
    cases, cache, built = tmp_path / "virtual", tmp_path / "cache", tmp_path / "cohort"
    assert run("cohort", "simulate", "-n", "6", "--minutes", "10", "--out", cases, "--seed", "3", "-q").code == 0
    with served(cases, tmp_path / "served") as address:
        ran = run("fetch", "vitaldb", "--accept-terms", "--base-url", address, "--cache", cache, "-n", "6", "--json")
    assert ran.code == 0 and [row["status"] for row in json.loads(ran.out)["cases"]] == ["fetched"] * 6
    assert (cache / "6.vital").read_bytes() == (cases / "6.vital").read_bytes()
    assert run("cohort", "build", cache, "--reference", "Truth", "--every", "30s", "--out", built, "-q").code == 0
    assert run("cohort", "split", built, "--out", tmp_path / "halves", "--thin", "1min", "-q").code == 0
    fit, test = (tmp_path / "halves" / name for name in ("fit.csv", "test.csv"))
    ran = run("calibrate", "conformal", "radial-abp", "--pairs", fit, "--alpha", "0.4", "--score", "mahalanobis",
              "--quantities", "CO,SVR", "--out", tmp_path / "model", "-q")  # fmt: skip
    assert ran.code == 0, ran.err
    ran = run("evaluate", test, "--model", tmp_path / "model", "--bootstrap", "20", "--out", tmp_path / "e", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    output = found["quantities"]["CO"]
    assert output["methods"]["model"]["spearman_within"]["value"] > 0.6
    assert output["one_point"]["model"]["direction"]["value"] > 0.75
    assert found["regions"]["CO,SVR"]["subjects"] == 3
    ran = run("evaluate", fit, "--model", tmp_path / "model", "--out", tmp_path / "seen")
    assert ran.code == 2 and "3 of 3 subjects also served the model's regions" in ran.err
    for pool in ("causal", "recording"):
        words = ["evaluate", test, "--model", "radial-abp", "--pool", pool, "--bootstrap", "0", "--draws", "100"]
        pooled = run(*words, "--out", tmp_path / pool, "--json")
        assert pooled.code == 0, pooled.err
        assert json.loads(pooled.out)["quantities"]["CO"]["methods"]["model"]["spearman_within"]["value"] > 0.6
    answers = sorted((tmp_path / "recording" / "answers").glob("*.jsonl"))
    whole = [path.read_bytes() for path in answers]
    answers[0].write_bytes(whole[0][: len(whole[0]) // 2])  # killed in the middle: the pool is the same again
    assert run(*words, "--out", tmp_path / pool, "--json", "--threads", "1").out == pooled.out
    assert [path.read_bytes() for path in answers] == whole
    assert whole[0] != (tmp_path / "causal" / "answers" / answers[0].name).read_bytes()
    words = ["infer", cache / "2.vital", "--model", tmp_path / "model", "--end", "16s", "--out", tmp_path / "r"]
    ran = run(*words, "--json")
    assert ran.code == 0 and json.loads(ran.out)["windows"][0]["region"]["quantities"] == ["CO", "SVR"]
    assert run("report", tmp_path / "r" / "2.nc", "--html").code == 0 and (tmp_path / "r" / "2.html").is_file()
