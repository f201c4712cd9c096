r"""Conformal layers of bundles: kept whole, refused when edited, exact for patients."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.calibration import Pairs
from pulsebayes.calibration.conformal import bundles, calibrate_bundle, load_layer, save_layer
from pulsebayes.calibration.conformal.bundles import SCORES, conformal_sets
from pulsebayes.inference import Answer, Refusal
from pulsebayes.inference.bundle import Bundle, BundleError
from pulsebayes.inference.npe import NPE, PRESETS
from pulsebayes.inference.outputs import OutputSpace

N = 40


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    outputs = OutputSpace.from_names(("HR", "SV", "MAP", "CVP"))
    prior = outputs.space.sample(np.random.default_rng(0), 50).astype(np.float32)
    return Bundle("tiny", NPE(outputs, PRESETS["small"]), prior)


def posterior(seed: int, *, shift: float) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    r"""Draws that are too narrow, off by a factor, and the truth."""
    rng = np.random.default_rng(seed)
    centre = {"HR": 75 * np.exp(0.2 * rng.normal()), "SV": 70 * np.exp(0.2 * rng.normal()), "MAP": 90.0, "CVP": 5.0}
    truth = {k: v * np.exp(0.15 * rng.normal()) for k, v in centre.items()}
    draws = {k: shift * v * np.exp(0.05 * rng.normal(size=1000)) for k, v in centre.items()}
    for table in (draws, truth):
        table["CO"] = table["HR"] * table["SV"] / 1000
        table["SVR"] = 80 * (table["MAP"] - table["CVP"]) / table["CO"]
    return draws, truth


def patients(n: int, first: int) -> tuple[Pairs, list[dict[str, np.ndarray]]]:
    made = [posterior(first + i, shift=1.1) for i in range(n)]
    labels = {name: np.array([truth[name] for _, truth in made]) for name in ("CO", "SVR", "HR")}
    subjects = np.array([f"p{i}" for i in range(n)])
    return Pairs(np.zeros((n, 1000), np.float32), labels, subjects, np.arange(n) * 8.0), [d for d, _ in made]


def answers(draws: list[dict[str, np.ndarray]]):  # type: ignore[no-untyped-def]
    return lambda pairs: [Answer(s, s + 8, draws[round(s / 8)], {}, 0.9) for s in pairs.start_s]


@pytest.fixture(autouse=True)
def no_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""The score is fitted on made-up posteriors instead of a simulator's."""
    made = [posterior(5000 + i, shift=1.0) for i in range(120)]
    truth = {name: np.array([t[name] for _, t in made]) for name in made[0][1]}
    monkeypatch.setattr(bundles, "simulate_posteriors", lambda *_, **__: ([d for d, _ in made], truth))


@pytest.mark.parametrize("score", list(SCORES))
def test_layer_comes_back_the_same_and_covers_new_patients(bundle: Bundle, score: str, tmp_path: Path) -> None:
    pairs, draws = patients(N, 0)
    layer = calibrate_bundle(bundle, pairs, score=score, wanted=[("CO", "SVR")], answer=answers(draws))
    folder = tmp_path / "mine"
    bundle.save(folder)
    save_layer(layer, folder)
    again = load_layer(folder)
    assert again is not None
    new, new_draws = patients(120, 1000)
    hits, credible = [], []
    for i, own in enumerate(new_draws):
        shown = again.regions(own)
        assert shown == layer.regions(own)
        one = again.sets[0]
        region = one.region(bundles.gather([own], one.coordinates))
        truth = np.array([[new.labels["CO"][i], new.labels["SVR"][i]]])
        hits.append(bool(region.contains(truth)[0]))
        ends = shown[0]["ranges"]["CO"]
        if hits[-1]:
            width = ends["high"] - ends["low"]
            assert ends["low"] - 0.02 * width <= truth[0, 0] <= ends["high"] + 0.02 * width
        low, high = np.quantile(own["CO"], [0.05, 0.95])
        credible.append(low <= truth[0, 0] <= high)
    # Beta(37, 4) for 40 patients: mean .902, sd .046; 120 new: sd .027. Three standard deviations.
    assert np.mean(hits) > 0.902 - 3 * 0.054
    assert np.mean(credible) < 0.7
    assert "40 calibration patients" in shown[0]["guarantee"] and shown[0]["n_patients"] == 40


def test_fewer_draws_than_in_the_calibration_give_no_region(bundle: Bundle) -> None:
    pairs, draws = patients(12, 0)
    layer = calibrate_bundle(bundle, pairs, score="mahalanobis", wanted=[("CO",)], answer=answers(draws))
    assert layer.regions({"CO": np.ones(999)}) == []


def test_windows_of_one_patient_do_not_count_twice(bundle: Bundle) -> None:
    pairs, draws = patients(24, 0)
    few = Pairs(pairs.x, pairs.labels, np.repeat([f"p{i}" for i in range(6)], 4), pairs.start_s)
    with pytest.raises(ValueError, match=r"alpha 0.1 needs 9 patients .* got 6: give more, or --alpha 0.15"):
        calibrate_bundle(bundle, few, score="mahalanobis", wanted=[("CO",)], answer=answers(draws))
    layer = calibrate_bundle(bundle, few, alpha=0.15, score="mahalanobis", wanted=[("CO",)], answer=answers(draws))
    assert (layer.sets[0].n_patients, layer.sets[0].n_windows, len(layer.patients)) == (6, 24, 6)


def test_refused_windows_are_left_out(bundle: Bundle) -> None:
    pairs, draws = patients(20, 0)
    respond = answers(draws)

    def some(pairs: Pairs) -> list[Answer | Refusal]:
        return [Refusal(one.start_s, one.end_s, "outside") if one.start_s < 40 else one for one in respond(pairs)]

    layer = calibrate_bundle(bundle, pairs, score="mahalanobis", wanted=[("CO",)], answer=some)
    assert layer.sets[0].n_patients == 15


def test_sets_follow_the_labels(bundle: Bundle) -> None:
    pairs, draws = patients(12, 0)
    assert conformal_sets(pairs) == [("CO", "SVR")]
    only = Pairs(pairs.x, {"CO": pairs.labels["CO"]}, pairs.subjects, pairs.start_s)
    assert conformal_sets(only) == [("CO",)]
    with pytest.raises(ValueError, match="must be labelled in the pairs"):
        conformal_sets(only, [("CO", "SVR")])
    with pytest.raises(ValueError, match="score must be one of"):
        calibrate_bundle(bundle, pairs, score="best", answer=answers(draws))
    wrong = Pairs(pairs.x, {"PWV": pairs.labels["CO"]}, pairs.subjects, pairs.start_s)
    with pytest.raises(ValueError, match="among those of tiny"):
        calibrate_bundle(bundle, wrong, answer=answers(draws))


@pytest.mark.parametrize("harm", ["edit", "swap", "newer", "torn"])
def test_edited_layer_is_refused(bundle: Bundle, harm: str, tmp_path: Path) -> None:
    pairs, draws = patients(12, 0)
    layer = calibrate_bundle(bundle, pairs, score="mahalanobis", wanted=[("CO",)], answer=answers(draws))
    bundle.save(tmp_path / "mine")
    save_layer(layer, tmp_path / "mine")
    info = tmp_path / "mine" / "conformal.json"
    told = json.loads(info.read_text())
    if harm == "edit":
        info.write_text(info.read_text().replace('"alpha": 0.1', '"alpha": 0.01'))
    elif harm == "swap":
        (tmp_path / "mine" / "card.md").write_text("another bundle")
    elif harm == "newer":
        info.write_text(json.dumps({**told, "schema": 99}))
    else:
        (tmp_path / "mine" / "conformal.safetensors").write_bytes(b"nothing")
    with pytest.raises(BundleError, match="conformal layer of bundle mine"):
        load_layer(tmp_path / "mine")


def test_bundle_without_a_simulator_says_which_score_needs_none(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with pytest.raises(ValueError, match="--score mahalanobis"):
        bundles.simulate_posteriors(bundle, 8)
