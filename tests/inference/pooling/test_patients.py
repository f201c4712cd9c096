"""What is known of a patient in pools: likelihoods against a closed form, the shipped layers, splits and references."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pulsebayes import apps
from pulsebayes.inference.answer import Answer, Refusal
from pulsebayes.inference.answering import Question, answer_recording
from pulsebayes.inference.bundle import Bundle, find_bundle
from pulsebayes.inference.patient import Patient, PatientEvidence, load_patient, measured_root
from pulsebayes.inference.patient.heads import PatientHeads
from pulsebayes.inference.pooling import (
    EmbeddedRecordings,
    PooledNPE,
    PoolingConfig,
    PoolingLayer,
    answer_pooled,
    features,
    load_pooling,
    make_embedded,
    parse_anchor,
    patient_measure,
    recipe,
    save_pooling,
)
from pulsebayes.inference.pooling.coverage import measured_alike
from pulsebayes.inference.pooling.held_pools import HeldPool, anchored_ranks
from pulsebayes.inference.pooling.network import pool_contexts
from pulsebayes.inference.pooling.patients import PoolPatients, PoolPatientTraining, pool_heads, train_pool_heads
from pulsebayes.inference.pooling.recipe import PoolingRecipe
from pulsebayes.inference.pooling.segments import Change
from pulsebayes.inference.pooling.stretching import RecordingTensors
from pulsebayes.waveforms import read

DEMO = Path(apps.__path__[0]) / "cli" / "demo_data" / "simulated_patient.hea"
QUESTION = Question(every_s=24.0, n_draws=400)
KNOWN = Patient(age=45.0, height=1.75)
SUBJECTS = [np.array([[40.0, 1.8, 33.0], [70.0, 1.6, 36.0]])]

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
    """8,000 beside a reference and of a window alone, 4,000 else; before, of 4,000 always."""
    flat = lambda self, patients, shared, known: [np.zeros(len(shared))]  # noqa: E731
    monkeypatch.setattr(PoolPatients, "log_likelihoods", flat)
    many, anchors = replace(QUESTION, n_draws=2000), [parse_anchor("CO=5@50s")]
    for told, drawn in (((), 4000), (anchors, 8000)):
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


def test_likelihoods_must_be_of_the_outputs_that_are_named() -> None:
    npe = _toy()[0]
    with pytest.raises(ValueError, match="beside must name 1 outputs, as the likelihoods do, got \\(\\)"):
        PoolPatients(pool_heads(npe, (1,)))


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
        assert measured["aorta"]["spread"][size]["SV"] < 0.9
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


def _toy() -> tuple[PooledNPE, list[RecordingTensors], list[np.ndarray]]:
    """Recordings whose patients' ages are 50 + 10 of the standardised wave speed, with an error of 4 years.

    And whose roots are 34 + 2 of the standardised compliance, with an error of 1.5 mm.
    """
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    npe = PooledNPE(3, PoolingConfig(inputs=8, features=4, hidden=8, context=4, transforms=2)).eval()
    n, windows = 2000, 4
    speed = rng.standard_normal(n)
    age = np.clip(50 + 10 * speed + 4 * rng.standard_normal(n), 18.5, 89.5)
    slow = np.stack([rng.standard_normal(n), speed], -1)[:, None].repeat(windows, 1)
    data = RecordingTensors(
        torch.randn(n, windows, 8, generator=torch.Generator().manual_seed(0)),
        torch.zeros(n, windows, 3),
        torch.from_numpy(slow).float(),
        torch.arange(windows).float().expand(n, -1) * 8.0,
        torch.ones(n, windows, dtype=torch.bool),
        torch.zeros(n, windows, dtype=torch.long),
    )
    told = np.stack([age, np.full(n, 1.7), 34.0 + 2.0 * slow[:, 0, 0] + 1.5 * rng.standard_normal(n)], -1)
    return npe, [data.rows(slice(0, 700)), data.rows(slice(700, None))], [told[:700], told[700:]]


def test_likelihoods_learn_what_pools_tell_of_ages() -> None:
    """Speeds are normal and an age tells ten times one with an error of 4 years: the posterior is known."""
    npe, sets, subjects = _toy()
    config = PoolPatientTraining(steps=1000, windows=600, rate=5e-3, noise=0.0, patient_noise=0.0)
    heads, history = train_pool_heads(npe, sets, subjects, held=[100, 100], config=config)
    assert history[-1] < history[0]
    speed = torch.linspace(-3.0, 3.0, 601)
    shared = torch.zeros(601, 5)
    shared[:, -1] = speed
    known = pool_contexts(npe, sets[0].h[0], 8.0 * np.arange(4), causal=False).row(0)
    for power, precision in ((1.0, 1 + (10 / 4) ** 2), (0.5, 1 + 0.5 * (10 / 4) ** 2)):
        for age in (45.0, 50.0, 60.0):
            (log,) = PoolPatients(heads, power).log_likelihoods([Patient(age=age)], shared, known)
            weights = np.exp(power * (log - log.max()) - 0.5 * speed.numpy() ** 2)
            weights /= weights.sum()
            mean = float(weights @ speed.numpy())
            sd = float(np.sqrt(weights @ (speed.numpy() - mean) ** 2))
            assert mean == pytest.approx(power * 10 * (age - 50) / 16 / precision, abs=0.12)
            assert sd == pytest.approx(precision**-0.5, rel=0.15)


def test_likelihoods_learn_what_pools_tell_of_aortic_roots() -> None:
    """A root tells twice one with the errors of patient and measurement together; shared errors tell nothing here."""
    npe, sets, subjects = _toy()
    config = PoolPatientTraining(steps=1000, windows=600, rate=5e-3, noise=0.0, patient_noise=0.0)
    heads, _ = train_pool_heads(npe, sets, subjects, held=[100, 100], config=config, beside=(1,))
    known, nodes = pool_contexts(npe, sets[0].h[0], 8.0 * np.arange(4), causal=False).row(0), np.linspace(-3, 3, 601)
    shared = torch.zeros(601, 5)

    def posterior(column: int, patients: tuple[Patient, Patient]) -> tuple[float, float]:
        """Mean and spread of a slow quantity that one patient is told of, and another is not."""
        one = shared.clone()
        one[:, column] = torch.from_numpy(nodes).float()
        logs = PoolPatients(heads, 1.0, (1,)).log_likelihoods(patients, one, known)
        weights = np.exp(logs[0] - logs[1] - 0.5 * nodes**2)
        weights /= weights.sum()
        mean = float(weights @ nodes)
        return mean, float(np.sqrt(weights @ (nodes - mean) ** 2))

    for error in (1.0, 3.0):
        precision = 1 + 4 / (1.5**2 + error**2)
        for sex, wider in (("m", 1.235), ("f", -1.235)):
            for root in (32.0, 37.0):
                bare = Patient(sex=sex, height=1.7, aorta_error=error)
                mean, sd = posterior(-2, (replace(bare, aorta=root + wider), bare))
                assert mean == pytest.approx((precision - 1) / precision * (root - 34) / 2, abs=0.15)
                assert sd == pytest.approx(precision**-0.5, rel=0.15)
    mean, sd = posterior(-1, (Patient(age=60.0), Patient()))  # ages do not see what comes before the slow quantities
    assert mean == pytest.approx(100 / 16 / (1 + 100 / 16), abs=0.12)
    assert sd == pytest.approx((1 + 100 / 16) ** -0.5, rel=0.15)


@pytest.mark.parametrize("setting", [{"steps": 0}, {"rate": -1.0}, {"noise": -0.1}])
def test_settings_that_cannot_be_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be positive and no setting negative"):
        PoolPatientTraining(**setting)  # type: ignore[arg-type]


@pytest.mark.parametrize("exponent", [0.0, -1.0, 5.0, np.nan, None, "x"])
def test_an_exponent_that_cannot_be_is_refused(exponent: float) -> None:
    npe = _toy()[0]
    with pytest.raises(ValueError, match="exponent must lie above 0 and be at most 1"):
        PoolPatients(pool_heads(npe), exponent)


@pytest.mark.parametrize("held", [[0, 0], [700, 0]])
def test_recordings_must_be_held_out_and_learned_from(held: list[int]) -> None:
    npe, sets, subjects = _toy()
    with pytest.raises(ValueError, match="held must leave recordings to learn from and some out"):
        train_pool_heads(npe, sets, subjects, held=held, config=PoolPatientTraining(steps=1))


def test_likelihoods_learn_from_noisy_windows_that_are_not_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from pulsebayes.inference.pooling import patients

    npe, sets, subjects = _toy()
    drawn: list[tuple[bool, list[slice]]] = []
    own, batch = patients._rows, patients.draw_batch

    def rows(npe: PooledNPE, pools: object, told: object, rng: object, *how: object) -> object:
        quiet = own(npe, pools, told, None, *how)  # type: ignore[arg-type]
        noisy = own(npe, pools, told, rng, *how)  # type: ignore[arg-type]
        drawn[-1] = (not torch.equal(quiet[0], noisy[0]), drawn[-1][1])
        return noisy

    def batches(rng: object, sets: object, keep: list[slice], windows: int) -> object:
        drawn.append((False, keep))
        return batch(rng, sets, keep, windows)  # type: ignore[arg-type]

    monkeypatch.setattr(patients, "_rows", rows)
    monkeypatch.setattr(patients, "draw_batch", batches)
    monkeypatch.setattr(patients, "_CHECKS", 2)
    train_pool_heads(npe, sets, subjects, held=[100, 200], config=PoolPatientTraining(steps=3, windows=60))
    assert drawn == [(False, [slice(0, 100), slice(0, 200)])] * 2 + [(True, [slice(100, None), slice(200, None)])] * 3


def test_what_the_pool_says_counts_beside_its_slow_quantities(shipped: Shipped) -> None:
    layer = shipped[1]
    assert layer.patients is not None
    unit = torch.randn(2, 4, 73, generator=torch.Generator().manual_seed(1))
    known = [pool_contexts(layer.npe, one, 8.0 * np.arange(4), causal=False).row(0) for one in unit]
    logs = [layer.patients.log_likelihoods([KNOWN], torch.zeros(3, 11), one)[0] for one in known]
    assert np.abs(logs[0] - logs[1]).min() > 0.05


def test_subjects_are_those_of_the_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: Shipped
) -> None:
    """They are drawn once more, not kept: ages, heights and roots must be those whose waves were solved."""
    from pulsebayes.simulators import recordings
    from pulsebayes.simulators.network.linear import LinearNetwork

    drawn = []
    monkeypatch.setattr(recordings, "solve_courses", lambda simulator, course, **_: drawn.append(course) or 1 / 0)
    plan = {"recordings": 5, "windows": 3, "seed": 4, "part": 5, "still_share": 0.5}
    with pytest.raises(ZeroDivisionError):
        make_embedded(shipped[0], tmp_path, **plan)  # type: ignore[arg-type]
    names = list(features._world(shipped[0])[0].space.names)
    found = features.draw_subjects(shipped[0], **plan)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found[:, 0], drawn[0].theta[:, 0, names.index("age")])
    np.testing.assert_array_equal(found[:, 1], drawn[0].theta[:, -1, names.index("height")])
    simulator = LinearNetwork(population="clinical-wide", sites=("Radial",), diameters=("AorticRoot",))
    made = simulator.simulate(drawn[0].theta[:, -1], seed=0)  # solved: the root is one of its quantities
    root = np.asarray(made.quantities)[:, simulator.quantity_names.index("D_AorticRoot")]
    np.testing.assert_allclose(found[:, 2], measured_root(root), rtol=1e-5)


@pytest.mark.parametrize(("held", "chosen"), [((0.91, 0.90), 0.8), ((0.893, 0.886), 0.7), ((0.88, 0.87), 0.5)])
def test_the_exponent_is_the_largest_with_which_intervals_hold(
    held: tuple[float, float], chosen: float, monkeypatch: pytest.MonkeyPatch, shipped: Shipped
) -> None:
    """Coverage falls in a line from no weight to full weight; the largest that holds 89 % is taken."""
    start, end = held
    told = {e: start + (end - start) * (e - 0.5) / 0.5 for e in patient_measure._EXPONENTS}
    levels = iter([told[e] for e in patient_measure._EXPONENTS for _ in patient_measure._FITTED])
    ways: list[tuple[str, float]] = []
    monkeypatch.setattr(patient_measure, "_asked", lambda *args, **_: ways.extend(args[4]) or iter(()))
    monkeypatch.setattr(patient_measure._Found, "least", property(lambda self: next(levels)))
    assert patient_measure.fit_exponent(*shipped, [], []) == chosen
    assert set(ways) == {(known, e) for known in ("age", "height", "age+height") for e in patient_measure._EXPONENTS}


def test_a_layer_keeps_its_patients_on_disk(tmp_path: Path, shipped: Shipped) -> None:
    folder = tmp_path / "radial-abp"
    shutil.copytree(find_bundle("radial-abp"), folder)
    assert shipped[1].patients is not None
    layer = replace(shipped[1], patients=replace(shipped[1].patients, exponent=0.7))
    save_pooling(layer, folder)
    again = load_pooling(folder, Bundle.load(folder))
    assert again is not None and again.patients is not None and again.patients.exponent == 0.7
    for name, one in layer.patients.heads.state_dict().items():  # type: ignore[union-attr]
        torch.testing.assert_close(again.patients.heads.state_dict()[name], one, rtol=2e-3, atol=1e-4)
    assert again.patients.beside == layer.patients.beside == (1, 4)  # type: ignore[union-attr]
    save_pooling(replace(layer, patients=None), folder)
    assert "patients" not in json.loads((folder / "pooling.json").read_text())
    bare = load_pooling(folder, Bundle.load(folder))
    assert bare is not None and bare.patients is None


def _recordings(shipped: Shipped, n: int, windows: int) -> EmbeddedRecordings:
    """Recordings of no meaning."""
    rng, (bundle, layer) = np.random.default_rng(0), shipped
    return EmbeddedRecordings(
        context=(
            layer.npe.h_mean + layer.npe.h_sd * torch.randn(n, windows, 64, generator=torch.Generator().manual_seed(0))
        ).numpy(),
        theta=np.broadcast_to(bundle.outputs.space.sample(rng, n)[:, None], (n, windows, 9)).astype(np.float32),
        compliance=np.ones((n, windows), np.float32),
        wave_speed=np.full(n, 7.0, np.float32),
        usable=np.ones((n, windows), bool),
        time_s=np.tile(8.0 * np.arange(windows), (n, 1)),
        change_s=np.full(n, np.nan),
        step_mmhg=np.zeros(n, np.float32),
        relined=np.zeros(n, bool),
    )


def test_the_recipe_learns_and_weighs_what_is_known(
    shipped: Shipped, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = {"name": "toy", "recordings": 6, "windows": 12, "seed": 3, "held": 2}
    made = PoolingRecipe("toy", "radial-abp", [row], {"of": "toy"}, {}, [row], [], patients={"steps": 4}, draws=20)
    data = _recordings(shipped, 6, 12)
    monkeypatch.setattr(recipe, "_embedded", lambda *_: data)
    simulated = SimpleNamespace(sets=[data], states=lambda detector, own: np.zeros(own.usable.shape, np.int64))
    layer = replace(shipped[1], patients=None)
    told: list[str] = []
    found, training = recipe._patients(made, shipped[0], simulated, layer, tmp_path, told.append)  # type: ignore[arg-type]
    assert found is not None and found.exponent in patient_measure._EXPONENTS
    assert training["patients"]["steps"] == 4 and len(training["patients"]["history"]) == 1
    assert "90 % intervals hold" in told[-1]
    bare = replace(made, patients={})
    assert recipe._patients(bare, shipped[0], simulated, layer, tmp_path, told.append) == (None, {})  # type: ignore[arg-type]


def test_pools_are_measured_with_every_part_of_what_is_known(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    (bundle, layer), n = shipped, 2
    data = _recordings(shipped, n, 64)
    patients, part_of = list[Patient](), patient_measure.part_of
    monkeypatch.setattr(patient_measure, "part_of", lambda *args: patients.append(part_of(*args)) or patients[-1])
    found = patient_measure.measure_informed(bundle, layer, [data], SUBJECTS, draws=40)
    own = ["height", "age+height", *(f"{k}height+aorta" for k in ("", "age+", "sex+", "age+sex+"))]
    assert set(found) == {"", *(k for k in patient_measure.KNOWN if "height" not in k), *own}
    assert len(patients) == n * len(found)
    for patient in patients:
        assert 1.0 <= patient.aorta_error <= 4.0
        if patient.aorta is not None:
            apart = min(abs(patient.aorta - root + gap) for root in (33.0, 36.0) for gap in (-1.235, 1.235))
            assert 0.0 < apart < 4 * patient.aorta_error
    for known, row in found.items():
        assert row["recordings_by_pool"] == {"2": n, "10": n, "64": n}
        assert row["anchored"]["recordings"] == n
        assert {"SV", "C90"} <= set(row["coverage_by_pool"]["64"]["0.9"])
        if not known:
            assert set(row["spread"]["10"].values()) == {1.0} and row["effective"]["10"] == 1.0
    assert found["age+height"]["spread"]["64"]["PWV90"] < 1.0
    assert found["aorta"]["spread"]["64"]["SV"] < 1.0
    assert found["age+height"]["effective"]["64"] < found["age"]["effective"]["64"] < 1.0
    assert layer.patients is not None
    whole = replace(layer, patients=replace(layer.patients, exponent=1.0))
    more = patient_measure.measure_informed(bundle, whole, [data], SUBJECTS, draws=40)
    assert more["age"]["effective"]["64"] < found["age"]["effective"]["64"]
    assert more["age"]["refused"] == found["age"]["refused"]
    pool = HeldPool.draw(np.random.default_rng(0), data, bundle, r=0, size=10)
    asked = {"pool": pool, "draws": 200, "told": lambda shared: [np.zeros(len(shared)), 1e3 * shared[:, -1]]}
    even, one = anchored_ranks(bundle, layer, data, rng=np.random.default_rng(1), **asked)  # type: ignore[arg-type]
    assert 0 < even["SV"][0] < 1 and min(one["SV"][0], 1 - one["SV"][0]) < 1e-6  # weights beyond the heaviest
