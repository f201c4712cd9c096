r"""Choosing by cross-validation over subjects: a gain that the simulator lacks is learned, nothing is not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.calibration.hybrid import (
    HeldOut,
    HybridConfig,
    Learned,
    LearnPlan,
    Readings,
    Sitting,
    choose,
    compare,
    learn,
    reference_errors,
    save_learned,
    table_lines,
    thin_evenly,
)
from pulsebayes.calibration.load import load_calibrated
from pulsebayes.calibration.pairs import Pairs, hash_subject
from pulsebayes.calibration.rope import Bank
from pulsebayes.inference.bundle import Bundle, InputContract
from pulsebayes.waveforms.cohort_table import CohortTable

from .conftest import GAIN, OUTPUTS, World, world

CONFIG = HybridConfig(share=0.6, steps=30, rate=6e-3, draws=8, batch=48)
PLAN = LearnPlan(CONFIG, folds=3, candidates=("shift", "flow"))


def base(trained: World) -> Bundle:
    prior = OUTPUTS.space.constrain(trained.z[:500]).astype(np.float32)
    card = "# toy\n\n## Licence\n\nApache-2.0. The training data are simulated; no patient's data were used.\n"
    return Bundle("toy", trained.npe, prior, InputContract(samples=6), card=card)


def cohort(subjects: int, gain: float, seed: int = 3) -> tuple[Pairs, CohortTable]:
    r"""Three windows of each subject with readings of output that err by a tenth."""
    theta, x = world(3 * subjects, seed, gain)
    read = theta[:, 0] * theta[:, 1] / 1000 * np.exp(0.1 * np.random.default_rng(seed).standard_normal(len(x)))
    names = np.repeat([f"s{i}" for i in range(subjects)], 3)
    start = np.tile([0.0, 60.0, 120.0], subjects)
    files = tuple(Path(f"{name}.csv") for name in names)
    labels = {"CO": read}
    table = CohortTable("c.csv", tuple(names), files, start, start + 8, ("Vigilance",) * len(x), ("",) * len(x), labels)
    return Pairs(x, labels, names, start, np.arange(len(x))), table


def bank(n: int = 900) -> Bank:
    theta, x = world(n, 77)
    return Bank(x, dict(zip(OUTPUTS.names, theta.T, strict=True)))


@pytest.fixture(scope="module")
def gained(trained: World) -> Learned:
    return learn(base(trained), *cohort(24, GAIN), bank(), PLAN)


def test_a_gain_is_learned_and_the_table_says_by_how_much(gained: Learned, trained: World, tmp_path: Path) -> None:
    found = gained.found
    assert found["chosen"] in ("shift", "flow")
    rows = {row["candidate"]: row for row in found["table"]}
    assert list(rows) == ["base", "shift", "flow"] and rows["base"]["gain"] == 0.0
    best = rows[found["chosen"]]
    assert best["gain"] > 2 * best["gain_se"] > 0 and best["error"] < rows["base"]["error"]
    assert found["chosen"] in found["why"] and "standard error" in found["why"]
    base(trained).save(tmp_path / "base")
    save_learned(gained, tmp_path / "base", tmp_path / "out")
    made = load_calibrated(tmp_path / "out").bundle
    kept = json.loads((tmp_path / "out" / "bundle.json").read_text())["training"]["hybrid"]
    assert kept["table"] == found["table"] and kept["reference_error"] == 0.1
    assert kept["subjects"] == sorted(hash_subject(f"s{i}") for i in range(24))
    assert "## Learning from real labels" in made.card and f"| {found['chosen']} |" in made.card
    assert "learned from labelled windows of 24 subjects" in made.card and "no patient's data" not in made.card
    assert made.measured["n"] > 100  # measured anew: the weights are others
    assert (tmp_path / "out" / "weights.safetensors").read_bytes() != (
        tmp_path / "base" / "weights.safetensors"
    ).read_bytes()
    assert found["why"] in table_lines(found)


def test_where_nothing_is_to_be_learned_the_base_stays_to_the_byte(trained: World, tmp_path: Path) -> None:
    learned = learn(base(trained), *cohort(24, 1.0, seed=8), bank(), LearnPlan(CONFIG, 3, ("shift",), regions=False))
    assert learned.found["chosen"] == "base" and "the base model is kept" in learned.found["why"]
    assert learned.found["subjects"] == [] and learned.found["regions"] == "no regions: not asked for"
    base(trained).save(tmp_path / "base", half=True)
    save_learned(learned, tmp_path / "base", tmp_path / "out")
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("base", "out")]
    assert weights[0] == weights[1]
    card = (tmp_path / "out" / "card.md").read_text()
    assert "no patient's data were used" in card and "base model is kept" in card


def test_too_few_subjects_and_labels_that_are_not_there_are_refused(trained: World) -> None:
    with pytest.raises(ValueError, match="at least 6 subjects, got 5"):
        learn(base(trained), *cohort(5, 1.0), bank(200), PLAN)
    with pytest.raises(ValueError, match=r"quantities must be labelled and reported, got \['SVR'\]"):
        learn(base(trained), *cohort(8, 1.0), bank(200), LearnPlan(CONFIG, 3, quantities=("SVR",)))


def row(name: str, gain: float, se: float, coverage: float) -> dict[str, object]:
    return {"candidate": name, "gain": gain, "gain_se": se, "coverage": coverage, "coverage_se": 0.02}


def test_a_gain_within_its_error_or_bought_with_coverage_is_not_taken() -> None:
    kept = row("base", 0.0, 0.0, 0.88)
    assert choose([kept, row("flow", 0.05, 0.06, 0.9)])[0] == "base"
    name, why = choose([kept, row("flow", 0.05, 0.01, 0.7)])
    assert name == "base" and "hold 70 %" in why
    assert choose([kept, row("flow", 0.05, 0.01, 0.9), row("all", 0.04, 0.01, 0.9)])[0] == "flow"
    assert choose([kept])[0] == "base"


def sitting(subjects: int, truth: np.ndarray) -> Sitting:
    n = len(truth)
    each = n // subjects
    who = np.repeat(np.arange(subjects), each)
    readings = Readings(("CO",), truth[:, None], np.full((n, 1), 0.1), {"CO": 0.2})
    folds = tuple(np.flatnonzero(who % 3 == k) for k in range(3))
    return Sitting(readings, who, who, np.tile(np.arange(each) * 60.0, subjects), folds)


def test_one_reading_takes_away_what_a_subject_shares_and_conformal_what_intervals_lack() -> None:
    rng = np.random.default_rng(0)
    subjects, each = 30, 8
    offset = np.repeat(rng.normal(0, 0.3, subjects), each)
    truth = rng.normal(1.6, 0.2, subjects * each)
    middle = truth + offset + 0.03 * rng.standard_normal(len(truth))
    score = -0.5 * ((middle - truth) / 0.15) ** 2 - np.log(0.15) - 0.92
    held = HeldOut(*(v[:, None] for v in (score, np.abs(middle - truth), middle - 0.2, middle, middle + 0.2)))
    found = compare({"base": held}, sitting(subjects, truth))[0]
    assert found["one_reading"]["gain"] > 3 * found["one_reading"]["gain_se"]
    assert found["one_reading"]["error"] < 0.05 < 0.1 < found["error"]
    assert found["coverage"] < 0.7 < 0.83 < found["conformal"]["coverage"]
    assert found["conformal"]["gain"] > 0  # wide and right beats narrow and wrong
    few = compare({"base": held}, sitting(3, truth))[0]
    assert few["conformal"] is None  # two other subjects bound nothing


def test_rows_are_thinned_by_subject_and_devices_state_their_error() -> None:
    pairs, table = cohort(2, 1.0)
    few = thin_evenly(table, 2)
    assert few.subjects == ("s0", "s0", "s1", "s1") and few.start_s.tolist() == [0.0, 120.0, 0.0, 120.0]
    assert len(thin_evenly(table, 99)) == len(pairs)
    bare = dataclasses.replace(table, labels={"CO": np.where(np.array(table.subjects) == "s0", np.nan, 5.0)})
    assert set(thin_evenly(bare, 2).subjects) == {"s1"}  # a subject without labels has nothing to teach
    assert reference_errors(["Vigilance", "nobody"], 0.15).tolist() == [0.15, 0.15]
