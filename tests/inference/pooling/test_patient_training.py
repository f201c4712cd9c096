"""Likelihoods of what is known of patients in pools: learned against closed forms, chosen, measured and kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pulsebayes.inference.bundle import Bundle, find_bundle
from pulsebayes.inference.patient import Patient, measured_root
from pulsebayes.inference.pooling import (
    EmbeddedRecordings,
    PooledNPE,
    PoolingConfig,
    PoolingLayer,
    features,
    load_pooling,
    make_embedded,
    patient_measure,
    recipe,
    save_pooling,
)
from pulsebayes.inference.pooling.held_pools import HeldPool, anchored_ranks
from pulsebayes.inference.pooling.network import pool_contexts
from pulsebayes.inference.pooling.patients import PoolPatients, PoolPatientTraining, pool_heads, train_pool_heads
from pulsebayes.inference.pooling.recipe import PoolingRecipe
from pulsebayes.inference.pooling.stretching import RecordingTensors

KNOWN = Patient(age=45.0, height=1.75)
SUBJECTS = [np.array([[40.0, 1.8, 33.0], [70.0, 1.6, 36.0]])]

Shipped = tuple[Bundle, PoolingLayer]


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
    alone = {
        column: torch.zeros(2, 5).index_put((torch.tensor([1]), torch.tensor([column])), torch.tensor(1.0))
        for column in (0, 1)
    }
    for patient, follows in (
        (Patient(aorta=33.0), 1),
        (Patient(age=60.0), None),
    ):  # only roots see shared errors, of one output
        for column, draws in alone.items():
            (log,) = PoolPatients(heads, 1.0, (1,)).log_likelihoods([patient], draws, known)
            assert (log[0] != log[1]) == (column == follows)
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
    names = list(features._fast_world(shipped[0])[0].space.names)
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
    made = PoolingRecipe("toy", "radial-abp", [row], [{"of": "toy"}], {}, [row], [], patients={"steps": 4}, draws=20)
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


def test_likelihoods_must_be_of_the_outputs_that_are_named() -> None:
    npe = _toy()[0]
    with pytest.raises(ValueError, match="beside must name 1 outputs, as the likelihoods do, got \\(\\)"):
        PoolPatients(pool_heads(npe, (1,)))
