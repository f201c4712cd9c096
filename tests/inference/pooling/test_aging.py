"""References grow old: own errors of windows differ more the farther windows are apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pulsebayes import apps
from pulsebayes.inference.answer import Answer
from pulsebayes.inference.answering import Question
from pulsebayes.inference.bundle import Bundle, find_bundle
from pulsebayes.inference.pooling import PoolingLayer, answer_pooled, load_pooling, parse_anchor
from pulsebayes.inference.pooling.aging import Aging
from pulsebayes.inference.pooling.aging_training import fit_variograms
from pulsebayes.inference.pooling.anchors import Anchor, SlowLikelihood
from pulsebayes.inference.pooling.layer import POOLING
from pulsebayes.inference.pooling.recipe import find_pooling_recipe
from pulsebayes.inference.weighting import normalised
from pulsebayes.waveforms import read

Shipped = tuple[Bundle, PoolingLayer]

DEMO = Path(apps.__path__[0]) / "cli" / "demo_data" / "simulated_patient.hea"
QUESTION = Question(every_s=24.0, n_draws=400)
FAST = Aging((8.0,) * 9, 20.0)  # a reference is old within the demo


def _answers(shipped: Shipped, aging: Aging, *anchors: str, pool: str = "recording") -> list[Answer]:
    layer = replace(shipped[1], aging=aging)
    asked = {"pool": pool, "anchors": [parse_anchor(one) for one in anchors]}
    found = answer_pooled(shipped[0], layer, read(DEMO), QUESTION, **asked)  # type: ignore[arg-type]
    return [w.result for w in found if isinstance(w.result, Answer)]


def _width(answer: Answer) -> float:
    one = answer.estimates["CO"]
    return float(np.log(one.high / one.low))


@pytest.mark.parametrize(("excess", "time_s"), [(-0.1, 600.0), (np.inf, 600.0), (0.5, 0.0), (0.5, np.nan)])
def test_numbers_that_cannot_be_are_refused(excess: float, time_s: float) -> None:
    with pytest.raises(ValueError, match="excess must be 0 or more and time_s positive"):
        Aging((0.5, excess), time_s)


def test_age_rises_from_zero_to_one_on_both_sides() -> None:
    one = Aging((0.6, 0.0), 600.0)
    found = [one.age(apart) for apart in (0.0, 60.0, -60.0, 600.0, 86400.0)]
    assert found[0] == 0.0
    assert found[1] == found[2] < found[3] < found[4] == pytest.approx(1.0)
    np.testing.assert_allclose(one.growth(0.5), [1.3, 1.0])


def test_intervals_hold_where_own_errors_wander() -> None:
    """Own errors of .05 in draws and .08 in truth: aged 90 % intervals hold 90 % (one standard error: .5 points)."""
    rng, n, spread, own, true_own, error = np.random.default_rng(0), 4000, 0.15, 0.05, 0.08, 0.04
    shared = spread * rng.standard_normal((2000, 1))
    left = rng.standard_normal((2, 2000))
    near, far = ({"CO": np.exp(shared[:, 0] + sd * left[0])} for sd in (own, true_own))
    told = SlowLikelihood.of([Anchor("CO", 1.0, 0.0, error)], shared, near, far)
    assert told.excess[0, 0] == pytest.approx(true_own**2 - own**2, rel=0.1)
    held = {0.0: 0, 1.0: 0}
    for _ in range(n):
        true = spread * rng.standard_normal() + true_own * rng.standard_normal(2)
        known = replace(told, offset=told.offset - true[0] - error * rng.standard_normal())
        for age, sd in ((0.0, own), (1.0, true_own)):
            below = shared[:, 0] + sd * left[1] < true[1]
            held[age] += 0.05 <= float(normalised(known.aged(age).log(shared))[below].sum()) <= 0.95
    assert held[0.0] / n < 0.83
    assert held[1.0] / n == pytest.approx(0.9, abs=0.02)


def test_a_reference_weighs_less_the_older_and_the_nearest_rules() -> None:
    """Two references of 1 %, that differ: between them the answer goes over from the one to the other."""
    rng = np.random.default_rng(1)
    shared = 0.2 * rng.standard_normal((20000, 1))
    left = rng.standard_normal(20000)
    near, far = ({"CO": 5 * np.exp(shared[:, 0] + sd * left)} for sd in (0.03, 0.067))
    anchors = {0.0: Anchor("CO", 4.8, 0.0, 0.05), 7200.0: Anchor("CO", 5.2, 7200.0, 0.05)}
    told = {at: SlowLikelihood.of([one], shared, near, far) for at, one in anchors.items()}
    means = []
    for t in (0.0, 1800.0, 3600.0, 5400.0, 7200.0):
        log = sum(one.aged(Aging((4.0,), 1800.0).age(t - at)).log(shared) for at, one in told.items())
        weights = np.exp(log - np.max(log))
        means.append(float(weights @ shared[:, 0] / weights.sum()))
    assert np.all(np.diff(means) > 0)
    assert means[2] == pytest.approx(np.log(np.sqrt(4.8 * 5.2) / 5), abs=0.005)
    assert means[0] < -0.4 * 0.04
    assert means[4] > 0.4 * 0.04


@pytest.mark.parametrize("pool", ["recording", "causal"])
def test_intervals_widen_with_the_time_to_a_reference(shipped: Shipped, pool: str) -> None:
    young, old = (_answers(shipped, aging, "CO=5.5+-0.1@4s", pool=pool) for aging in (Aging(), FAST))
    np.testing.assert_array_equal(young[0].draws["CO"], old[0].draws["CO"])
    ratios = [_width(b) / _width(a) for a, b in zip(young, old, strict=True)]
    assert ratios[0] == 1.0
    assert min(ratios[1:]) > 1.05
    assert ratios[-1] > ratios[1]


def test_a_reference_of_another_quantity_does_not_make_windows_young(shipped: Shipped) -> None:
    """A rate counted beside the last window says nothing of how old the output at the first has grown there."""
    one, two, near = (
        _answers(shipped, FAST, "CO=5.5+-0.1@4s", *more) for more in ((), ("HR=75@100s",), ("SV=72+-1.4@100s",))
    )
    for at in (-1, -2):
        assert _width(two[at]) > 0.9 * _width(one[at])
        assert _width(near[at]) < 0.9 * _width(one[at])


def test_a_second_reference_makes_the_windows_beside_it_young(shipped: Shipped) -> None:
    one = _answers(shipped, FAST, "CO=5.5+-0.1@4s")
    two = _answers(shipped, FAST, "CO=5.5+-0.1@4s", "CO=5.5+-0.1@100s")
    assert _width(two[-1]) < 0.9 * _width(one[-1])
    assert _width(two[-2]) < _width(two[-3])


def test_pools_without_references_do_not_age(shipped: Shipped) -> None:
    for young, old in zip(_answers(shipped, Aging()), _answers(shipped, FAST), strict=True):
        np.testing.assert_array_equal(young.draws["CO"], old.draws["CO"])


def test_layers_before_schema_7_do_not_age(shipped: Shipped, tmp_path: Path) -> None:
    import shutil

    from pulsebayes.inference.bundle import own_hash

    folder = tmp_path / "copy"
    shutil.copytree(find_bundle("radial-abp"), folder)
    info = json.loads((folder / "pooling.json").read_text())
    info.pop("aging")
    info |= {"schema": 6}
    info["hash"] = own_hash(info)
    (folder / "pooling.json").write_text(json.dumps(info))
    POOLING.seal(folder)
    layer = load_pooling(folder, shipped[0])
    assert layer is not None
    assert layer.aging == Aging()


@pytest.mark.parametrize("name", ["radial-abp", "abp-ppg"])
def test_what_ships_ages_as_its_recipe_says(name: str) -> None:
    folder, recipe = find_bundle(name), find_pooling_recipe(f"{name}-pooled")
    bundle = Bundle.load(folder)
    layer = load_pooling(folder, bundle)
    assert layer is not None
    assert recipe is not None
    assert recipe.age in {row["name"] for row in recipe.fit}
    by_name = dict(zip(bundle.outputs.names, layer.aging.excess, strict=True))
    assert 0.2 < by_name["SV"] < 2.0
    assert by_name["HR"] < by_name["SV"]
    assert 60.0 < layer.aging.time_s < 7200.0


def test_variograms_are_found_from_noisy_pairs() -> None:
    """Squares of 40,000 pairs of normal errors: c within 10 % but for what the limit at three cuts, tau within 30 %."""
    rng = np.random.default_rng(2)
    apart = np.exp(rng.uniform(np.log(8.0), np.log(86400.0), 40000))
    aging = Aging((0.65, 0.0), 600.0)
    growth = np.stack([aging.growth(aging.age(one)) for one in apart])
    found = fit_variograms(apart, growth * rng.standard_normal(growth.shape) ** 2, np.ones(len(apart)))
    assert found.excess[0] == pytest.approx(0.62, rel=0.1)
    assert found.excess[1] < 0.02
    assert found.time_s == pytest.approx(600.0, rel=0.3)
