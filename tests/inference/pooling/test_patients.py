"""What is known of a patient in pools: answers, splits, references and what ships."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pulsebayes import apps
from pulsebayes.inference.answer import Answer, Refusal
from pulsebayes.inference.answering import Question, answer_recording
from pulsebayes.inference.bundle import Bundle, find_bundle
from pulsebayes.inference.patient import Patient, PatientEvidence, load_patient
from pulsebayes.inference.patient.heads import PatientHeads
from pulsebayes.inference.pooling import (
    PoolingLayer,
    answer_pooled,
    load_pooling,
    parse_anchor,
    save_pooling,
)
from pulsebayes.inference.pooling.coverage import measured_alike
from pulsebayes.inference.pooling.patients import PoolPatients, pool_heads
from pulsebayes.inference.pooling.segments import Change
from pulsebayes.waveforms import read

DEMO = Path(apps.__path__[0]) / "cli" / "demo_data" / "simulated_patient.hea"
QUESTION = Question(every_s=24.0, n_draws=400)
KNOWN = Patient(age=45.0, height=1.75)

Shipped = tuple[Bundle, PoolingLayer]


def _evidence(shipped: Shipped, patient: Patient = KNOWN) -> PatientEvidence:
    alone = load_patient(find_bundle(shipped[0].name), shipped[0])
    assert alone is not None
    return PatientEvidence(alone, patient)


def _answers(shipped: Shipped, patient: Patient | None = KNOWN, **options: object) -> list[Answer]:
    evidence = None if patient is None else _evidence(shipped, patient)
    found = answer_pooled(*shipped, read(DEMO), QUESTION, evidence=evidence, **options)  # type: ignore[arg-type]
    return [w.result for w in found if isinstance(w.result, Answer)]


def _slow(answers: Sequence[Answer]) -> list[float]:
    """Widths of the 90 % interval of wave speed at 90 mmHg, of logarithms."""
    rows = [a.pool["slow"]["PWV90"] for a in answers if a.pool and a.pool["slow"]]
    return [float(np.log(row["q95"] / row["q05"])) for row in rows]


@pytest.mark.parametrize("pool", ["recording", "causal"])
def test_every_window_is_told_of_the_patient_by_what_the_pool_shares(shipped: Shipped, pool: str) -> None:
    plain, known = _answers(shipped, None, pool=pool), _answers(shipped, pool=pool)
    assert all(after < 0.95 * before for before, after in zip(_slow(plain), _slow(known), strict=True))
    for answer in known:
        assert answer.patient is not None and answer.pool is not None
        assert answer.patient["known"] == "age 45 years, height 1.75 m"
        assert 200 < answer.patient["effective_draws"] <= 8000
        assert "another_patient" not in answer.pool
        assert "Known of the patient: age 45 years, height 1.75 m" in answer.sources()["model"]
        np.testing.assert_allclose(answer.draws["CO"], answer.draws["HR"] * answer.draws["SV"] / 1000, rtol=1e-5)
    assert known[-1].calibration is not None and known[-1].calibration["pool"] == 10
    assert known[-1].calibration["coverage"] != plain[-1].calibration["coverage"]  # type: ignore[index]


def test_the_last_causal_pool_is_the_whole_recording(shipped: Shipped) -> None:
    whole, causal = (_answers(shipped, pool=pool)[-1] for pool in ("recording", "causal"))
    for name, draws in whole.draws.items():
        np.testing.assert_allclose(np.median(causal.draws[name]), np.median(draws), rtol=5e-3)


def test_a_pool_of_one_window_is_informed_as_the_window_is(shipped: Shipped) -> None:
    alone = next(answer_recording(shipped[0], read(DEMO), QUESTION, evidence=_evidence(shipped))).result
    first = _answers(shipped, pool="causal")[0]
    assert isinstance(alone, Answer) and first.pool is not None and first.pool["windows"] == 1
    assert first.patient == alone.patient and first.calibration == alone.calibration
    for name, draws in alone.draws.items():
        np.testing.assert_array_equal(first.draws[name], draws)


def test_draws_are_weighted_by_the_likelihood_to_its_power(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    """A normal likelihood of wave speed: the weighted draws have the mean and spread of the product."""
    npe = shipped[1].npe
    at, sd, power = 0.5, 0.4, 0.5

    def likelihoods(self: PoolPatients, patients: object, shared: torch.Tensor, known: object) -> list[np.ndarray]:
        return [-0.5 * ((shared[:, -1].double().numpy() - at) / sd) ** 2]

    monkeypatch.setattr(PoolPatients, "log_likelihoods", likelihoods)
    layer = replace(shipped[1], patients=PoolPatients(pool_heads(npe), power))
    many = replace(QUESTION, n_draws=4000)
    found = []
    for evidence in (None, _evidence(shipped)):
        window = next(answer_pooled(shipped[0], layer, read(DEMO), many, evidence=evidence)).result
        assert isinstance(window, Answer) and window.pool is not None
        found.append({k: np.log(v) for k, v in window.pool["slow"]["PWV90"].items() if k != "unit"})
    before, after = found
    mean, scale = (float(t[-1]) for t in (npe.shared_mean, npe.shared_sd))
    width = (before["q95"] - before["q05"]) / 3.29
    precision = 1 / width**2 + power / (sd * scale) ** 2
    middle = (before["median"] / width**2 + power * (mean + at * scale) / (sd * scale) ** 2) / precision
    assert after["median"] == pytest.approx(middle, abs=0.15 * width)
    assert (after["q95"] - after["q05"]) / 3.29 == pytest.approx(precision**-0.5, rel=0.1)


@pytest.mark.parametrize("n_draws", [20, 400])
@pytest.mark.parametrize("pool", ["recording", "causal"])
def test_a_patient_that_the_waves_do_not_go_with_is_refused(shipped: Shipped, pool: str, n_draws: int) -> None:
    """The demo's is 58 years old and 1.74 m tall; judged by the whole likelihood, not by its power."""
    strange = _evidence(shipped, Patient(age=18.0, height=1.4))
    few = replace(QUESTION, n_draws=n_draws)
    found = answer_pooled(*shipped, read(DEMO), few, evidence=strange, pool=pool)  # type: ignore[arg-type]
    results = [w.result for w in found]
    assert len(results) > 3
    for result in results:
        assert isinstance(result, Refusal) and result.reason == "patient"
    assert "a patient with age 18 years, height 1.4 m do not go together" in str(results[-1].hint)


def test_a_reference_that_hardly_a_draw_bears_is_refused_with_few_draws_too(shipped: Shipped) -> None:
    """Before, 80 draws were weighted, of which one always counts more than an eightieth."""
    few = replace(QUESTION, n_draws=20)
    found = list(answer_pooled(*shipped, read(DEMO), few, anchors=[parse_anchor("CO=15@50s")]))
    assert {w.result.reason for w in found if isinstance(w.result, Refusal)} == {"anchor"}
    assert all(isinstance(w.result, Refusal) for w in found)


def test_a_window_alone_with_a_reference_knows_the_patient_too(shipped: Shipped) -> None:
    one = replace(QUESTION, end_s=8.0)
    widths = []
    for evidence in (None, _evidence(shipped)):
        asked = {"evidence": evidence, "anchors": [parse_anchor("CO=5@2s")]}
        (window,) = answer_pooled(*shipped, read(DEMO), one, **asked)  # type: ignore[arg-type]
        assert isinstance(window.result, Answer)
        assert (window.result.patient is not None) == (evidence is not None)
        widths.append(float(np.std(np.log(window.result.draws["PWV"]))))
    assert widths[1] < 0.95 * widths[0]


def test_a_reference_counts_beside_the_patient(shipped: Shipped) -> None:
    anchors = [parse_anchor("CO=5.5+-0.2@50s")]
    for pool in ("recording", "causal"):
        known, both = _answers(shipped, pool=pool)[-1], _answers(shipped, pool=pool, anchors=anchors)[-1]
        assert both.patient is not None and both.pool is not None
        assert (
            both.estimates["CO"].high - both.estimates["CO"].low
            < known.estimates["CO"].high - known.estimates["CO"].low
        )
        assert both.pool["effective_draws"] < both.patient["effective_draws"]
        assert both.calibration is not None and "pool" not in both.calibration


def test_effective_draws_are_of_those_that_were_weighted(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    """8,000 beside a reference and of a window alone, 3,000 else; before, of as many always."""
    flat = lambda self, patients, shared, known: [np.zeros(len(shared))]  # noqa: E731
    monkeypatch.setattr(PoolPatients, "log_likelihoods", flat)
    many, anchors = replace(QUESTION, n_draws=2000), [parse_anchor("CO=5@50s")]
    for told, drawn in (((), 3000), (anchors, 8000)):
        asked = {"evidence": _evidence(shipped), "anchors": told}
        for window in answer_pooled(*shipped, read(DEMO), many, **asked):  # type: ignore[arg-type]
            assert isinstance(window.result, Answer) and window.result.patient is not None
            assert window.result.patient["effective_draws"] == drawn


def test_a_reference_that_contradicts_names_the_patient_too(shipped: Shipped) -> None:
    anchors = [parse_anchor("CO=15@50s")]
    found = answer_pooled(*shipped, read(DEMO), QUESTION, evidence=_evidence(shipped), anchors=anchors)
    last = list(found)[-1].result
    assert isinstance(last, Refusal) and last.reason == "anchor"
    assert "waves, a patient with age 45 years, height 1.75 m and reference CO=15+-1.5@50s" in str(last.hint)


@pytest.mark.parametrize("pool", ["recording", "causal"])
def test_another_patient_is_not_taken_for_the_one_that_is_told_of(
    shipped: Shipped, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pulsebayes.inference.pooling import answering
    from pulsebayes.inference.pooling.segments import ChangeFinder

    seen = iter(range(99))
    monkeypatch.setattr(ChangeFinder, "add", lambda *_: Change(3, "patient") if next(seen) == 5 else None)
    monkeypatch.setattr(answering, "find_changes", lambda *_: [Change(3, "patient")])
    often = replace(QUESTION, every_s=8.0, end_s=64.0)
    with pytest.warns(UserWarning, match="about 24 s on are another patient's: age 45 years, height 1.75"):
        found = list(answer_pooled(*shipped, read(DEMO), often, evidence=_evidence(shipped), pool=pool))  # type: ignore[arg-type]
    answers = [w.result for w in found if isinstance(w.result, Answer)]
    first = 3 if pool == "recording" else 5
    assert [a.patient is not None for a in answers] == [True] * first + [False] * (8 - first)
    assert [bool(a.pool and a.pool.get("another_patient")) for a in answers] == [False] * first + [True] * (8 - first)
    assert "another patient than --patient tells of" in answers[-1].sources()["model"]


def test_a_layer_before_diameters_is_read_and_says_what_it_cannot_use(shipped: Shipped, tmp_path: Path) -> None:
    assert shipped[1].patients is not None
    state = shipped[1].patients.heads.state_dict()
    heads = PatientHeads.of_state({k: v for k, v in state.items() if not k.startswith("aorta.")}, 2, 48)
    folder = tmp_path / "radial-abp"
    shutil.copytree(find_bundle("radial-abp"), folder)
    told = {k: v for k, v in shipped[1].measured["patients"].items() if "aorta" not in k}
    measured = {**shipped[1].measured, "patients": told}
    save_pooling(replace(shipped[1], patients=PoolPatients(heads, 0.7), measured=measured), folder)
    assert (
        "| age, height |" in (folder / "pooling.md").read_text() and "aorta" not in (folder / "pooling.md").read_text()
    )
    before = load_pooling(folder, shipped[0])
    assert before is not None and before.lacks(KNOWN) == ""
    assert _slow(_answers((shipped[0], before))) == _slow(_answers(shipped))
    with pytest.raises(ValueError, match="radial-abp cannot use the diameter of the aortic root, got aortic root 33"):
        _answers((shipped[0], before), Patient(aorta=33.0))


def test_a_root_tells_of_stroke_volume(shipped: Shipped) -> None:
    """Wider roots take more blood for the same wave."""
    asked = [_answers(shipped, Patient(aorta=d, aorta_error=1.0)) for d in (30.0, 34.0, 38.0)]
    medians = [np.median([a.estimates["SV"].median for a in answers]) for answers in asked]
    assert medians == sorted(medians) and medians[2] > 1.1 * medians[0]
    plain, known = _answers(shipped, None), _answers(shipped, Patient(aorta=34.0))
    widths = [[a.estimates["SV"].high - a.estimates["SV"].low for a in found] for found in (plain, known)]
    assert np.median(widths[1]) < 0.9 * np.median(widths[0])


def test_a_layer_that_learned_no_patients_is_refused(shipped: Shipped) -> None:
    layer = replace(shipped[1], patients=None)
    with pytest.raises(ValueError, match="pooling layer of radial-abp cannot use what is known of a patient"):
        list(answer_pooled(shipped[0], layer, read(DEMO), QUESTION, evidence=_evidence(shipped)))


@pytest.mark.parametrize("name", ["radial-abp", "abp-ppg"])
def test_what_ships_holds_what_it_says_where_the_patient_is_known(name: str) -> None:
    folder = find_bundle(name)
    layer = load_pooling(folder, Bundle.load(folder))
    assert layer is not None and layer.patients is not None and layer.patients.exponent in (0.7, 0.8)
    measured = layer.measured["patients"]
    for size, n in measured[""]["recordings_by_pool"].items():
        assert n > 900 and set(measured["age+height"]["spread"][size]) >= {"SV", "PWV", "C90", "PWV90"}
        assert measured["age+height"]["spread"][size]["PWV90"] < 0.85
        assert measured["age+height"]["refused"][size] < 0.01
        assert measured["aorta"]["spread"][size]["SV"] < {"radial-abp": 0.85, "abp-ppg": 0.95}[name]
        for known in ("age", "height", "age+height", "aorta", "age+height+aorta"):
            held = measured[known]["coverage_by_pool"][size]["0.9"]
            assert np.mean(list(held.values())) > 0.885
    told = measured_alike(layer.measured, 12, "ART", (), "age+height")
    assert told is not None and told["pool"] == 10
    assert told["coverage"] == measured["age+height"]["coverage_by_pool"]["10"]
    assert measured_alike(layer.measured, 12, "ART", (), "age+sex+height+weight") == told
    assert measured_alike(layer.measured, 2, "ART", (), "age+height")["pool"] == 2  # type: ignore[index]
    assert measured_alike(layer.measured, 12, "ART", (), "shoe") is None


def test_what_misses_where_the_same_is_known_is_marked() -> None:
    held = {"0.5": {"HR": 0.5, "SV": 0.5}, "0.9": {"HR": 0.9, "SV": 0.9}}
    low = {"0.5": {"HR": 0.5, "SV": 0.45}, "0.9": {"HR": 0.9, "SV": 0.9}}
    informed = {"coverage_by_pool": {"10": low}, "recordings_by_pool": {"10": 7}}
    informed["anchored"] = {"coverage": {"0.5": held["0.5"], "0.9": {"HR": 0.85, "SV": 0.9}}, "n": 9, "recordings": 7}
    measured = {"coverage": held, "coverage_by_pool": {"10": held}, "recordings_by_pool": {"10": 7}, "n": 7}
    measured |= {"patients": {"age": informed}, "anchored": {"anchors": ["CO"], "coverage": held, "n": 9}}
    alone, known = (measured_alike(measured, 10, "ART", (), one) for one in ("", "age"))
    both = measured_alike(measured, 10, "ART", ("CO=5@2s",), "age")
    assert alone is not None and known is not None and both is not None
    assert alone["not_calibrated"] == {}
    assert known["not_calibrated"] == {"SV": "50 % intervals of pools of 10 where the same is known hold 45.0 %"}
    assert both["not_calibrated"] == {"HR": "90 % intervals with such a reference and patient hold 85.0 %"}
