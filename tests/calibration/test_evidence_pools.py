r"""What the card of a pooling layer says comes out again on other recordings; a number that is not true does not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsebayes.calibration import evidence_pools
from pulsebayes.calibration.evidence_pools import compare_pools, pools_again
from pulsebayes.inference.bundle import Bundle, find_bundle
from pulsebayes.inference.pooling import recipe as pooling_recipe
from pulsebayes.inference.pooling.held_pools import error_of_median
from pulsebayes.inference.pooling.layer import load_pooling
from pulsebayes.inference.pooling.recipe import find_pooling_recipe, measure_layer

FEW: dict[str, Any] = {  # parts of 320 windows all, which the simulator is compiled for once
    "recordings": [
        {"name": "calm", "recordings": 32, "windows": 10, "seed": 96, "part": 32, "still_share": 1.0, "held": 5}
    ],
    "changes": [{"of": "calm", "share": 1.0, "slip": 4.0, "held": 5}],
    "hours": {"recordings": 8, "windows": 40, "seed": 93, "longest_s": 312.0, "part": 8},
    "quiet": {"recordings": 8, "windows": 40, "seed": 94, "longest_s": 312.0, "part": 8},
    "test": [
        {"name": "few", "recordings": 8, "windows": 40, "seed": 95, "part": 8},
        {"name": "few-64", "recordings": 5, "windows": 64, "seed": 97, "part": 5},
    ],
    "finer": [], "alike": [], "limits": {}, "draws": 40,
}  # fmt: skip


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    r"""What `radial-abp`'s layer comes to on a few recordings."""
    folder, recipe = find_bundle("radial-abp"), find_pooling_recipe("radial-abp-pooled")
    bundle = Bundle.load(folder)
    layer = load_pooling(folder, bundle)
    assert layer is not None and recipe is not None
    few = dataclasses.replace(recipe, fit=[], age="", also=[], **FEW)
    return measure_layer(few, bundle, layer, tmp_path_factory.mktemp("pools"))


def test_layer_is_measured_in_every_part_with_errors(measured: dict[str, Any]) -> None:
    assert measured["recordings_by_pool"] == {"1": 13, "10": 13, "64": 5}
    assert measured["changes"].keys() == {"splices", "sensors", "quiet"}
    assert measured["still"]["recordings"] == 4  # one of five varies
    assert measured["patients"]["age"]["standard_error"]["spread"]["10"]["PWV"] > 0
    assert measured["patients"][""]["standard_error"]["spread"]["10"]["PWV"] == 0
    assert measured["patients"]["age"]["standard_error"]["spread"]["64"]["PWV"] is None  # of five recordings
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured


def test_on_its_own_recordings_every_number_is_the_same(measured: dict[str, Any]) -> None:
    found = compare_pools(measured, measured)
    assert all(one.holds and one.card == one.again for one in found)
    kinds = {one.number.split(",")[0].split()[0] for one in found}
    assert {"cover", "SV", "CO", "effective", "refused", "splices", "false"} <= kinds
    assert len({one.number for one in found}) == len(found)


@pytest.mark.parametrize(
    ("at", "wrong", "number"),
    [
        (("coverage_by_pool", "10", "0.9", "HR"), 0.0, "cover 90 % HR, pools of 10"),
        (("trend", "recording", "SV"), 1.0, "SV trend, recording"),
        (("still", "CO"), 9.0, "CO still"),
        (("patients", "age", "spread", "10", "PWV"), 9.0, "PWV spread, pools of 10, age known"),
        (("patients", "aorta", "effective", "10"), 0.0, "effective, pools of 10, aorta known"),
        (("patients", "sex", "refused", "10"), 1.0, "refused, pools of 10, sex known"),
        (("changes", "splices", "share"), 0.1, "splices"),
        (("changes", "quiet", "an_hour"), 99.0, "false splits an hour"),
    ],
)
def test_number_that_is_not_true_is_a_miss(
    measured: dict[str, Any], at: tuple[str, ...], wrong: float, number: str
) -> None:
    card = json.loads(json.dumps(measured))
    row = card
    for key in at[:-1]:
        row = row[key]
    row[at[-1]] = wrong
    assert [one.number for one in compare_pools(card, measured) if not one.holds] == [number]


def test_fewer_recordings_of_the_layer_of_a_bundle_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = find_pooling_recipe("radial-abp-pooled")
    assert recipe is not None
    asked: list[Any] = []

    def made(bundle: Bundle, work: Path, row: Any, tell: object) -> Any:
        asked.append((work.name, row["name"], row["recordings"]))
        raise KeyboardInterrupt

    monkeypatch.setattr(pooling_recipe, "_embedded", made)
    with pytest.raises(KeyboardInterrupt):
        pools_again(find_bundle("radial-abp"), tmp_path, share=0.01)
    assert asked == [("radial-abp-pools", "calm", 64)]
    few = [pooling_recipe._fewer(row, 0.01)[0]["recordings"] for row in recipe.test]
    assert few == [32] * 6
    assert pooling_recipe._fewer(recipe.recordings[-1], 1.0, 128)[1] == 128
    monkeypatch.setattr(evidence_pools, "find_pooling_recipe", lambda name: None)
    with pytest.raises(ValueError, match="has no recipe"):
        pools_again(find_bundle("radial-abp"), tmp_path)


def test_bundle_without_pools_has_nothing_to_measure(tmp_path: Path) -> None:
    assert pools_again(find_bundle("multi-site"), tmp_path) == []


def test_errors_of_medians_are_those_of_repeated_measurements() -> None:
    rng = np.random.default_rng(3)

    def parts(kind: float) -> np.ndarray:
        return rng.normal(size=(200, 1)) * kind + rng.normal(size=(200, 5))

    for kind in (0.0, 1.0):  # values of one part that are independent, and that err together
        seen = np.std([np.median(parts(kind)) for _ in range(300)])
        told = np.mean([error_of_median(parts(kind)) for _ in range(50)])
        assert told == pytest.approx(seen, rel=0.2)
