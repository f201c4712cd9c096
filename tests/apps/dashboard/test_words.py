r"""The five questions: every sentence follows from the answer, and none says what was not found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pulsebayes.apps.dashboard.words import five_questions, on_screen
from pulsebayes.inference.answer import Answer, Estimate
from pulsebayes.inference.domain import DomainVerdict

RNG = np.random.default_rng(0)
HR = RNG.lognormal(4.2, 0.3, 2000)
DRAWS = {"CO": HR / 14, "HR": HR}
CO = Estimate("L/min", 4.9, 3.0, 4.0, 6.0, 8.0, 3.0, 8.0, 2.0, 10.0, 0.3)
RATE = Estimate("1/min", 70, 40, 60, 80, 110, 40, 110, 36, 140, 0.3)
SIMULATED = {"method": "simulations", "n": 8000, "level": 0.9, "coverage": {"CO": 0.9, "HR": 0.9}}
ROPE = {**SIMULATED, "method": "rope", "n": 24, "effective_size": 140.0, "simulations": 512}


def answer(**changes: Any) -> Answer:
    signal = {"beats": 9, "heart_rate": 70.0, "findings": []}
    plain = Answer(0.0, 8.0, DRAWS, {"CO": CO, "HR": RATE}, 0.9, signal, SIMULATED, DomainVerdict("inside", 0.5, 0.2))
    return replace(plain, **changes)


def test_rhythm_is_called_irregular_only_where_the_gate_found_it() -> None:
    assert "irregular" not in five_questions(answer())[3].detail
    found = {"code": "irregular", "message": "irregular rhythm", "marks": []}
    assert "irregular" in five_questions(answer(signal={"beats": 9, "findings": [found]}))[3].detail


def test_sentences_read_as_sentences_and_name_no_option() -> None:
    found = {"code": "paced", "message": "beat intervals hardly vary", "marks": []}
    said = five_questions(answer(signal={"beats": 9, "heart_rate": 70.0, "findings": [found]}))
    assert said[0].detail.startswith("9 beats at 70 /min. Beat intervals")
    assert "between 3.0 and 8.0 L/min" in said[2].detail
    assert "--" not in on_screen("check the zero and the unit (--unit ART=UNIT)")


def test_quantity_that_nothing_tells_has_no_other_to_blame() -> None:
    blind = answer(estimates={"CO": replace(CO, uninformative=True), "HR": RATE}, calibration=ROPE)
    said = five_questions(blind)[3]
    assert said.answer == "Nothing here tells it"
    assert "140 of 512 simulated beats" in said.detail


def test_a_model_checked_on_patients_is_not_called_unchecked() -> None:
    simulated, held = five_questions(answer())[4].detail, five_questions(answer(calibration=ROPE))[4].detail
    assert "has not been checked against measurements" in simulated and "in 90 % of 8000 simulated" in simulated
    assert "24 patients whose measurements were held out" in held and "has not been checked" not in held
    regions = [{"ranges": {"CO": {"low": 2.0, "high": 9.0}}, "n_patients": 15}]
    assert (
        "regions were calibrated with measurements, of 15 patients" in five_questions(answer(regions=regions))[4].detail
    )
