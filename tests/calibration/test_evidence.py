r"""A card's numbers come out again on its own and on other held-out simulations; a number that is not true does not."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pulsebayes.calibration.evidence import (
    LIMIT,
    compare_measures,
    measure_again,
    share_again,
    standard_errors,
    validation_again,
)
from pulsebayes.calibration.produce import Held, remeasure
from pulsebayes.calibration.validation import read_held_out, recipe_of, validate
from pulsebayes.inference.bundle import Bundle, InputContract
from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.recipe import Recipe, Simulate
from pulsebayes.inference.recipe import Test as HeldOut
from pulsebayes.simulators.dataset import TrainingSet, make_training_set
from pulsebayes.simulators.sensors import SensorModel
from pulsebayes.simulators.windkessel import Windkessel

SAMPLES = 250
CONFIG = {"duration_s": 3.0}
ROWS = 300


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture(scope="module")
def bundle(work: Path) -> Bundle:
    """An untrained estimator of a windkessel, measured on held-out simulations as every bundle is."""
    torch.manual_seed(0)
    space = Windkessel(**CONFIG).space
    outputs = OutputSpace.from_names(("R", "C"), extra=space)
    shape = EmbeddingConfig("dense", samples=SAMPLES, hidden=8, context=4)
    npe = NPE(outputs, NPEConfig(shape, transforms=2, hidden=(8,))).eval()
    prior = space.sample(np.random.default_rng(0), 500).astype(np.float32)
    z = torch.from_numpy(outputs.space.unconstrain(prior)).float()
    npe.fit_scales(0.5 * (z - z.mean(0)) + z.mean(0), 90 + 20 * torch.randn(64, SAMPLES))
    sensor = SensorModel.ideal().to_json()
    recipe = Recipe("tiny", simulate=Simulate("windkessel", CONFIG, n=400), test=HeldOut(ROWS, 2, 100),
                    site="aortic-root", samples=SAMPLES, outputs=("R", "C"), sensor=sensor)  # fmt: skip
    training = {"simulator": "windkessel", "recipe": recipe.to_json(), "sensor": sensor}
    plain = Bundle("tiny", npe, prior, InputContract(samples=SAMPLES), training)
    spec = recipe.simulate
    sizes = {"shard_size": spec.shard_size, "batch_size": spec.batch_size}
    out = make_training_set((spec.model, spec.config), ROWS, work / f"tiny-{ROWS}.zarr", seed=2, workers=1, **sizes).out
    return remeasure(plain, recipe_of(plain), Held(TrainingSet.open(out), 0, ROWS))


def test_on_its_own_windows_every_number_is_the_same(bundle: Bundle, work: Path) -> None:
    found = measure_again(bundle, work, workers=1)
    assert {one.number.split()[0] for one in found} == {"cover", "contraction", "median", "interval", "prior", "SBC"}
    assert all(one.holds for one in found)
    assert max(abs(one.again - one.card) for one in found) < 1e-5


def test_on_other_windows_they_agree_within_their_spread(bundle: Bundle, work: Path) -> None:
    found = measure_again(bundle, work, n=200, workers=1)
    assert all(one.holds for one in found)
    assert sum(one.again != one.card for one in found) > 5
    assert len(measure_again(bundle, work, n=200, workers=1)) == len(found), "a set that stands is gone on with"


def test_a_number_that_is_not_true_is_a_miss(bundle: Bundle, work: Path) -> None:
    card = {key: dict(value) if isinstance(value, dict) else value for key, value in bundle.measured.items()}
    card["coverage"] = {level: dict(row) for level, row in card["coverage"].items()}
    card["coverage"]["0.9"]["R"] -= 0.2
    card["contraction"]["C"] += 0.2
    card["interval"]["R"] *= 1.5
    card["prior_range"]["C"] = [0.0, 1.0]
    found = measure_again(dataclasses.replace(bundle, measured=card), work, workers=1)
    missed = {one.number for one in found if not one.holds}
    assert missed == {"cover 90 % R", "contraction C", "interval R", "prior 5 % C", "prior 95 % C"}


def test_validation_comes_out_again_but_for_numbers_that_are_not_true(bundle: Bundle, work: Path) -> None:
    held = read_held_out(bundle, TrainingSet.open(work / f"tiny-{ROWS}.zarr"), n=ROWS)
    better, _ = validate(bundle, held, n_draws=100, n_faults=0, n_predictive=0)
    found = validation_again(better, work, workers=1)
    assert all(one.holds and (one.card == one.again or math.isnan(one.spread)) for one in found)
    numbers = {one.number for one in found}
    assert {"cover 90 % R, validated", "cover 50 % jointly, tarp", "sbc p (Holm) C, validated"} <= numbers
    assert len(numbers) == len(found)
    assert all(one.holds for one in validation_again(better, work, n=200, workers=1))
    card = copy.deepcopy(better.measured["validation"])
    card["groups"][0]["coverage"]["0.9"]["R"] = 0.0
    card["joint"]["tarp"]["0.5"] = 1.0
    wrong = dataclasses.replace(better, measured={**better.measured, "validation": card})
    missed = {one.number for one in validation_again(wrong, work, workers=1) if not one.holds}
    assert missed == {"cover 90 % R, validated", "cover 50 % jointly, tarp"}
    assert validation_again(bundle, work) == []


def test_even_ranks_must_stay_even_and_refusals_are_compared() -> None:
    shares = {"simulated": {"n": 2000, "gate": 0.02, "outside": 0.0, "refused": 0.02, "shifted": 0.05}}
    card = {"n": 2000, "sbc_holm": {"HR": 0.5, "SV": 0.004}, "refused": {**shares, "white noise": shares["simulated"]}}
    worse = {"simulated": {**shares["simulated"], "n": 1000, "gate": 0.06}}
    found = compare_measures(card, {"n": 1000, "sbc_holm": {"HR": 0.0004, "SV": 0.0}, "refused": worse}, {})
    assert {one.number for one in found if not one.holds} == {"SBC p (Holm) HR", "gate, simulated"}
    assert len(found) == 2 + 4, "what was measured elsewhere is left out"
    assert math.isnan(found[0].spread)


def test_standard_errors_are_those_of_repeated_measurements() -> None:
    outputs, rng = OutputSpace.from_names(("MAP",)), np.random.default_rng(1)
    n, repeats = 400, 200
    values: dict[str, list[float]] = {"median_error_mmHg": [], "interval": []}
    for _ in range(repeats):
        width = rng.uniform(1, 3, (n, 1))
        theta = rng.uniform(70, 110, (n, 1))
        draws = theta + width * (rng.normal(size=(n, 1)) + rng.normal(size=(n, 60)))
        low, median, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=1)
        values["median_error_mmHg"].append(float(np.median(np.abs(median - theta[:, 0]))))
        values["interval"].append(float(np.median(high - low)))
    errors = standard_errors(outputs, {"MAP": draws}, theta, theta)
    for key, seen in values.items():
        assert errors[key]["MAP"] == pytest.approx(np.std(seen), rel=0.4), key  # a density at one point: rough


def test_true_shares_are_hardly_ever_missed() -> None:
    rng = np.random.default_rng(2)
    pairs = rng.binomial([8000, 1000], 0.9, (4000, 2)) / [8000, 1000]
    assert LIMIT == 4.5
    assert all(share_again("", a, b, 8000, 1000).holds for a, b in pairs)
    assert share_again("", 0.0, 0.0, 2000, 2000).holds
    assert not share_again("", 0.9, 0.84, 8000, 1000).holds
