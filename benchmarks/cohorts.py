"""Cohorts: the whole way on a virtual VitalDB, training physics beside shifted ones; and a long stream.

Simulate, build, split, calibrate, evaluate, each by its command. Run `python -m benchmarks.cohorts --out DIR`; it goes
on where it was stopped.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .rows import Row, run

SEED = 11
MODEL = "radial-abp"
_MEASURES = {
    "error": "median error [%]",
    "percentage_error": "percentage error [%]",
    "spearman_within": "Spearman within cases, median",
    "direction": "direction over 5 min [%]",
    "concordance": "four-quadrant concordance [%]",
    "polar": "polar, within 30 degrees [%]",
}
_SHARES = ("error", "percentage_error", "direction", "concordance", "polar")


def _do(*words: object) -> dict[str, Any]:
    """One command, with its JSON."""
    from pulsebayes.apps.cli.main import run as command

    page = io.StringIO()
    with contextlib.redirect_stdout(page):
        code = command([str(word) for word in (*words, "--json", "--quiet")])
    if code:
        raise RuntimeError(f"{' '.join(map(str, words))} ended with {code}: {page.getvalue()[:500]}")
    found: dict[str, Any] = json.loads(page.getvalue())
    return found


def _step(folder: Path, mark: str, *words: object) -> dict[str, Any]:
    """A command whose folder is there already is not run again."""
    target = folder / f"{mark}.json"
    if not target.is_file():
        found = _do(*words)
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(found), encoding="utf-8")
    loaded: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return loaded


def cohort(folder: Path, quick: bool, physics: str, sensors: str = "clean") -> Iterator[Row]:
    """One virtual cohort from simulation to report, against the truth and against the monitor."""
    place = folder / f"{physics}-{sensors}"
    cases, minutes = (6, 10) if quick else (60, 60)
    words = ("cohort", "simulate", "-n", cases, "--minutes", minutes, "--physics", physics, "--sensors", sensors)
    _step(place, "simulate", *words, "--out", place / "cases", "--seed", SEED, "--force")
    setting = f"{physics} physics, {sensors} lines, {cases} x {minutes} min"
    for reference in ("Truth",) if quick else ("Truth", "Vigilance"):
        built, halves = place / f"cohort-{reference}", place / f"halves-{reference}"
        _step(place, f"build-{reference}", "cohort", "build", place / "cases", "--reference", reference, "--every",
              "30s" if quick else "20s", "--out", built, "--force")  # fmt: skip
        _step(place, f"split-{reference}", "cohort", "split", built, "--thin", "5min", "--thin-test",
              "30s" if quick else "4min", "--out", halves, "--seed", SEED, "--force")  # fmt: skip
        alpha = 0.4 if quick else 0.1
        calibrated = place / f"model-{reference}"
        score = "mahalanobis" if quick else "otcp"
        _step(place, f"calibrate-{reference}", "calibrate", "conformal", MODEL, "--pairs", halves / "fit.csv",
              "--alpha", alpha, "--quantities", "CO,SVR", "--score", score, "--out", calibrated, "--force")  # fmt: skip
        wanted = ("--quantities", "CO,SVR", "--out")
        measured = halves / "test.csv" if quick else built
        found = _step(place, f"evaluate-{reference}", "evaluate", measured, "--model", MODEL, *wanted,
                      place / f"result-{reference}")  # fmt: skip
        held = _step(place, f"regions-{reference}", "evaluate", halves / "test.csv", "--model", calibrated,
                     "--draws", 1000, "--bootstrap", 0, *wanted, place / f"held-{reference}")  # fmt: skip
        yield from _rows(f"against {reference}", setting, found)
        region = held["regions"]["CO,SVR"]
        spread = 50 * (region["high"] - region["low"])
        yield Row(f"against {reference}", "conformal region of CO, SVR", setting,
                  f"coverage at {100 * (1 - alpha):.0f} % [%]", 100 * region["coverage"], spread)  # fmt: skip


def _rows(task: str, setting: str, found: dict[str, Any]) -> Iterator[Row]:
    for name, row in found["quantities"].items():
        for when, key in (("as estimated", "methods"), ("one reference value", "one_point")):
            for method, measures in row[key].items():
                for measure, title in _MEASURES.items():
                    number = measures[measure]
                    if number["value"] is not None:
                        scale = 100.0 if measure in _SHARES else 1.0
                        half = 0.5 * scale * ((number["high"] or 0.0) - (number["low"] or 0.0))
                        yield Row(task, f"{method}, {when}", setting, f"{name} {title}", scale * number["value"], half)
        held, curve = row["coverage"]["0.9"], row.get("rejection")
        spread = 50 * (held["high"] - held["low"])
        yield Row(task, "model", setting, f"{name} coverage at 90 % [%]", 100 * held["coverage"], spread)
        if curve:
            monotone = float(curve["monotone_within_interval"])
            yield Row(task, "model", setting, f"{name} rejection curve monotone within its interval", monotone)
            strict = float(curve["no_point_above_an_interval"])
            yield Row(task, "model", setting, f"{name} rejection curve, no point above an interval before it", strict)
            yield Row(task, "model", setting, f"{name} subjects behind the surest tenth", curve["subjects"][-1])
            yield Row(task, "model", setting, f"{name} error of the surest half [%]", 100 * curve["error"][5])
            yield Row(task, "model", setting, f"{name} error of all [%]", 100 * curve["error"][0])


_HELD: list[Path] = []


def _place(name: str) -> Path:
    """Where the steps of a cohort are kept: beside the rows, else in a folder for the time being."""
    if not _HELD:
        words = sys.argv
        out = Path(words[words.index("--out") + 1]) if "--out" in words[:-1] else Path(tempfile.mkdtemp())
        _HELD.append(out)
    return _HELD[0] / f"steps-{name}"


def shifted(quick: bool) -> Iterator[Row]:
    """Another reality than the training's, clean lines."""
    yield from cohort(_place("quick" if quick else "full"), quick, "shifted")


def training(quick: bool) -> Iterator[Row]:
    """The training simulator's own physics."""
    if not quick:
        yield from cohort(_place("full"), quick, "training")


def faulty(quick: bool) -> Iterator[Row]:
    """Another reality, any line, with faults."""
    if not quick:
        yield from cohort(_place("full"), quick, "shifted", "faulty")


def learned(quick: bool) -> Iterator[Row]:
    """What thirty patients with a monitor teach the model, and what thirty others say of it."""
    if quick:
        return
    place = _place("full") / "shifted-clean"
    if not (place / "halves-Vigilance" / "fit.csv").is_file():
        list(shifted(quick))
    words = ("train", "--hybrid", place / "halves-Vigilance" / "fit.csv", "--model", MODEL, "--reference-error", 0.15)
    found = _step(place, "hybrid", *words, "--out", place / "learned", "--seed", SEED, "--force")
    setting = f"{found['subjects_n']} patients, {found['windows']} windows, {found['folds']} folds"
    for row in found["table"]:
        task, name = (
            "learn from Vigilance",
            f"{row['candidate']}{' (kept)' if row['candidate'] == found['chosen'] else ''}",
        )
        yield Row(task, name, setting, "gain in log score of a reading [nats]", row["gain"], row["gain_se"])
        yield Row(task, name, setting, "CRPS of a reading", row["crps"])
        yield Row(
            task, name, setting, "coverage of readings at 90 % [%]", 100 * row["coverage"], 100 * row["coverage_se"]
        )
        yield Row(task, f"{name}, one reading", setting, "gain [nats]", row["one_reading"]["gain"],
                  row["one_reading"]["gain_se"])  # fmt: skip
    for name, model in {found["chosen"]: place / "learned", "base": MODEL}.items():
        held = _step(place, f"others-{name}", "evaluate", place / "halves-Truth" / "test.csv", "--model", model,
                     "--quantities", "CO,SVR", "--out", place / f"others-{name}")  # fmt: skip
        yield from (row for row in _rows(f"others, {name}", setting, held) if row.method.startswith("model"))


def stream(quick: bool) -> Iterator[Row]:
    """Twenty hours of one patient through `evaluate`: speed, and memory while it runs."""
    if quick:
        return
    hours, place = 20, _place("stream")
    words = ("cohort", "simulate", "-n", 1, "--minutes", 60 * hours, "--physics", "training")
    _step(place, "simulate", *words, "--out", place / "cases", "--seed", SEED, "--force")
    _step(place, "build", "cohort", "build", place / "cases", "--reference", "Truth", "--every", "8s", "--out",
          place / "cohort", "--force")  # fmt: skip
    words = ("evaluate", place / "cohort", "--model", MODEL, "--quantities", "CO,SVR", "--bootstrap", 0, "--threads",
             2, "--out", place / "result", "--quiet")  # fmt: skip
    watched = _watched([*words], place / "result" / "answers")
    seconds, cpu, peak, resident, answered = watched
    setting = f"{hours} h, {answered} windows, two threads"
    yield Row("stream", "evaluate", setting, "times real time, wall", 3600 * hours / seconds)
    yield Row("stream", "evaluate", setting, "times real time on two cores by processor time", 7200 * hours / cpu)
    yield Row("stream", "evaluate", setting, "processor time a window [ms]", 1000 * cpu / max(answered, 1))
    yield Row("stream", "evaluate", setting, "peak memory [MB]", peak)
    if len(resident) > 4:
        later = np.array(resident)[len(resident) // 4 :]
        slope = float(np.polyfit(later[:, 0], later[:, 1], 1)[0]) / (8.0 / 3600.0)
        yield Row("stream", "evaluate", setting, "memory by hours streamed [MB/h]", slope)


def _watched(words: list[object], answers: Path) -> tuple[float, float, float, list[tuple[int, float]], int]:
    """Runs a command as a process of its own: seconds, processor seconds, peak and (windows, resident) [MB]."""
    code = "import sys; from pulsebayes.apps.cli.main import main; main()"
    begun, before = time.perf_counter(), os.times()
    child = subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stdout=subprocess.DEVNULL)
    resident: list[tuple[int, float]] = []
    peak = 0.0
    while child.poll() is None:
        try:
            lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
        except OSError:
            break
        memory = {name: float(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in lines)
                  if name in ("VmRSS", "VmHWM")}  # fmt: skip
        n = sum(path.read_bytes().count(b"\n") for path in answers.glob("*.jsonl")) if answers.is_dir() else 0
        if n and memory:
            resident.append((n, memory["VmRSS"]))
        peak = max(peak, memory.get("VmHWM", 0.0))
        time.sleep(1.0)
    if child.wait():
        raise RuntimeError(f"evaluate ended with {child.returncode}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - begun, cpu, peak, resident, resident[-1][0] if resident else 0


if __name__ == "__main__":
    run("cohorts", {"shifted": shifted, "training": training, "faulty": faulty, "learned": learned, "stream": stream})
