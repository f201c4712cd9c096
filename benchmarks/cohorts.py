"""Cohorts: the whole way on a virtual VitalDB, training physics beside shifted ones; and a long stream.

Simulate, build, split, calibrate, evaluate, each by its command. Run `python -m benchmarks.cohorts --out DIR`; it goes
on where it was stopped.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    for reference in ("Truth", "Vigilance"):
        built, halves = place / f"cohort-{reference}", place / f"halves-{reference}"
        _step(place, f"build-{reference}", "cohort", "build", place / "cases", "--reference", reference, "--every",
              "30s" if quick else "20s", "--out", built, "--force")  # fmt: skip
        _step(place, f"split-{reference}", "cohort", "split", built, "--thin", "5min", "--out", halves, "--force")
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


if __name__ == "__main__":
    run("cohorts", {"shifted": shifted, "training": training, "faulty": faulty})
