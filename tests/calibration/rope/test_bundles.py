r"""What is measured of a bundle's layer comes from patients of whom nothing else was seen; what pairs are refused."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pulsebayes.calibration.pairs import Pairs
from pulsebayes.calibration.rope import Bank, Grid, RoPEConfig, TuneConfig, bundles, calibrate_rope
from pulsebayes.calibration.rope.bundles import RoPESetting
from pulsebayes.calibration.rope.checks import check_patients, labelled_pairs
from pulsebayes.calibration.rope.selection import folds_by_group
from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import OutputSpace

GRID = Grid(gamma=(0.1, 0.3), tau=(1.0,), bandwidth=(0.08, 0.6), prior_share=(0.05,), fewest=0)
QUICK = TuneConfig(10, 1e-3, 32)


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    r"""A model of two quantities, a bank, and 40 patients of two windows each."""
    torch.manual_seed(0)
    outputs = OutputSpace.from_names(("HR", "SV"))
    npe = NPE(outputs, NPEConfig(EmbeddingConfig("dense", samples=8, hidden=16, context=4), 2, hidden=(16,))).eval()
    rng = np.random.default_rng(0)
    theta = outputs.space.constrain(rng.normal(0, 0.4, (700, 2)))
    mix = rng.normal(size=(2, 8))

    def windows(values: np.ndarray) -> np.ndarray:
        return np.tanh(outputs.space.unconstrain(values) @ mix) + 0.1 * rng.normal(size=(len(values), 8))

    bundle = SimpleNamespace(outputs=outputs, npe=npe, prior=theta[:300])
    real = outputs.space.constrain(rng.normal(0, 0.4, (80, 2)))
    labels = {"CO": outputs.derive(real)["CO"], "HR": np.where(np.arange(80) % 3, np.nan, real[:, 0])}
    pairs = Pairs(1.2 * windows(real), labels, np.repeat(np.arange(40), 2), rows=np.arange(80))
    bank = Bank(windows(theta[300:]), {"HR": theta[300:, 0], "SV": theta[300:, 1]})
    return {"bundle": bundle, "pairs": pairs, "bank": bank, "outputs": outputs}


def setting(world: dict[str, Any], pairs: Pairs) -> RoPESetting:
    return RoPESetting(world["bundle"], pairs, world["bank"], pairs, QUICK, 100, 0)


def test_neither_labels_nor_recordings_of_held_out_patients_change_their_posteriors(world: dict[str, Any]) -> None:
    pairs: Pairs = world["pairs"]
    held = folds_by_group(pairs.subjects, 4, 0)[0]
    other = {name: values.copy() for name, values in pairs.labels.items()}
    other["CO"][held] *= np.where(np.arange(len(held)) % 2, 2.5, 0.4)
    x = pairs.x.copy()
    x[held[1:]] += 3.0
    first = setting(world, pairs)
    mixture = first.held_out(GRID, held)
    for changed in (dataclasses.replace(pairs, labels=other), dataclasses.replace(pairs, x=x)):
        second = setting(world, changed)
        found = second.held_out(GRID, held)
        assert np.array_equal(found.weights[0], mixture.weights[0])
        assert (found.bandwidth, found.prior_share) == (mixture.bandwidth, mixture.prior_share)
    everyone = np.arange(len(pairs))
    relabelled = setting(world, dataclasses.replace(pairs, labels=other))
    assert relabelled.choose(GRID, everyone) != first.choose(GRID, everyone)  # those labels do speak, where they may


def test_settings_are_chosen_again_within_every_fold(world: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen, own = [], bundles.select

    def watched(*args: Any, **options: Any) -> Any:
        seen.append((set(options["groups"].tolist()), set(options["subjects"].tolist())))
        return own(*args, **options)

    monkeypatch.setattr(bundles, "select", watched)
    layer = calibrate_rope(
        world["bundle"], world["pairs"], world["bank"], tuning=QUICK, n_components=100,
        grid=dataclasses.replace(GRID, fewest=30),
    )  # fmt: skip
    assert layer.measured["settings"] == "chosen in each fold"
    assert seen[0] == (set(range(40)), set(range(40)))
    held = [set(range(40)) - labelled for labelled, _ in seen[1:]]
    assert len(held) == 4 and set.union(*held) == set(range(40)) and sum(map(len, held)) == 40
    assert all(not patients & recorded for patients, (_, recorded) in zip(held, seen[1:], strict=True))


def test_few_patients_get_the_fixed_settings_and_given_ones_are_kept(world: dict[str, Any]) -> None:
    few = world["pairs"].take(world["pairs"].subjects < 25)
    given = RoPEConfig(0.4, 0.5, 0.2, 0.05)
    for config, expected in ((None, RoPEConfig()), (given, given)):
        layer = calibrate_rope(world["bundle"], few, world["bank"], config=config, tuning=QUICK, n_components=100)
        assert layer.rope.config == expected and layer.measured["settings"] == "fixed"
        assert layer.measured["patients"] == 25 and np.isfinite(layer.measured["lpp"])


def test_windows_without_a_reported_label_are_left_out_of_pairs_and_serve_as_recordings(world: dict[str, Any]) -> None:
    pairs: Pairs = world["pairs"]
    labels = {"CO": np.where(np.arange(80) < 50, pairs.labels["CO"], np.nan), "PPV": np.ones(80)}
    layer = calibrate_rope(
        world["bundle"], dataclasses.replace(pairs, labels=labels), world["bank"], config=RoPEConfig(), tuning=QUICK,
        n_components=100,
    )  # fmt: skip
    assert (layer.measured["windows"], layer.measured["patients"]) == (50, 25)
    assert layer.measured["reference_patients"] == 40 and len(layer.patients) == 40


@pytest.mark.parametrize("factor", [1e-3, 1e3, -1.0])
def test_labels_in_another_unit_are_refused_with_their_rows(world: dict[str, Any], factor: float) -> None:
    pairs: Pairs = world["pairs"]
    labels = {"CO": pairs.labels["CO"] * np.where(np.arange(80) == 6, factor, 1.0)}
    with pytest.raises(ValueError, match=r"CO must lie between .* in row 7: check the unit in the header"):
        labelled_pairs(dataclasses.replace(pairs, labels=labels), world["outputs"], world["bundle"].prior)


def test_pairs_without_any_reported_label_or_of_few_patients_are_refused(world: dict[str, Any]) -> None:
    pairs: Pairs = world["pairs"]
    for labels, found in (({}, "no label"), ({"SVR": np.ones(80)}, "SVR"), ({"CO": np.full(80, np.nan)}, "no label")):
        with pytest.raises(ValueError, match=f"pairs must label some of .*HR.*got .*{found}"):
            labelled_pairs(dataclasses.replace(pairs, labels=labels), world["outputs"], world["bundle"].prior)
    few = pairs.take(pairs.subjects < 3)
    with pytest.raises(ValueError, match="at least 5 patients, got 3"):
        check_patients(few, pairs, 1.0)
    with pytest.raises(ValueError, match=r"at least 20 patients, got 3: give more by --unlabelled, or --tau \.5"):
        check_patients(pairs, few, 0.9)
    with pytest.raises(ValueError, match="all recordings without labels are of patients of one fold"):
        calibrate_rope(
            world["bundle"], pairs, world["bank"], unlabelled=pairs.take(pairs.subjects == 0),
            config=RoPEConfig(0.25, 0.5), tuning=QUICK, n_components=100,
        )  # fmt: skip
