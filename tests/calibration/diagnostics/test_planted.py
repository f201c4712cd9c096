"""Planted errors trip the test that is named for them; the exact posterior trips none more often than stated."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.calibration.diagnostics import chance_of_miss, interval_variation, judge, noise_level, subgroups

_spec = importlib.util.spec_from_file_location("exact", Path(__file__).with_name("exact.py"))
assert _spec is not None and _spec.loader is not None
_exact = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_exact)
exact_samples = _exact.exact_samples
ALPHA = 0.01  # family-wise, after Holm's correction


def tripped(**wrong) -> set[str]:
    return {found.name for found in judge(exact_samples(**wrong)).tripped(ALPHA)}


def test_exact_posterior_trips_nothing_and_is_calibrated():
    found = judge(exact_samples())
    assert found.tripped(ALPHA) == ()
    assert found.passes(ALPHA)
    assert found.not_calibrated() == {}


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"scale": 0.8}, "width"),
        ({"scale": 1.25}, "width"),
        ({"shift": 0.15}, "bias"),
        ({"swap": True}, "swap"),
        ({"prior_sd": 0.6}, "prior"),
        ({"prior_sd": 2.0}, "prior"),
        ({"lost": 1}, "finite"),
        ({"sites": True}, "local_c2st"),
        ({"scale": 0.8}, "sbc"),
        ({"scale": 0.8}, "ecdf"),
        ({"scale": 0.8}, "tarp"),
        ({"scale": 0.8}, "density"),
    ],
)
def test_planted_error_trips_the_test_named_for_it(wrong, name):
    assert name in tripped(**wrong)


@pytest.mark.parametrize("wrong", [{"scale": 0.8}, {"shift": 0.15}, {"swap": True}, {"prior_sd": 0.6}, {"lost": 1}])
def test_planted_error_fails_the_check(wrong):
    assert not judge(exact_samples(**wrong)).passes(ALPHA)


def test_swap_names_the_pair():
    found = next(f for f in judge(exact_samples(swap=True)).findings if f.name == "swap")
    assert found.of == "a and b"


def test_width_says_which_way():
    sign = {
        s: next(f.statistic for f in judge(exact_samples(scale=s)).findings if f.name == "width") for s in (0.8, 1.25)
    }
    assert sign[0.8] > 0.03 and sign[1.25] < -0.03


def test_rows_that_are_not_numbers_are_counted_and_left_out():
    found = judge(exact_samples(lost=7))
    assert (found.lost, found.n) == (7, 1993)
    assert [f.name for f in found.tripped(ALPHA)] == ["finite"]


def test_too_few_numbers_are_refused():
    with pytest.raises(ValueError, match="at least 200 simulations must hold numbers throughout, got 100 of 300"):
        judge(exact_samples(n=300, lost=200))


def test_every_test_keeps_its_false_alarm_rate():
    runs = [judge(exact_samples(n=500, s=100, seed=seed)) for seed in range(100, 160)]
    by_name: dict[str, list[float]] = {}
    for run in runs:
        for found in run.findings:
            by_name.setdefault(found.name, []).append(found.p)
    assert set(by_name) == {
        "finite", "sbc", "ecdf", "width", "bias", "prior", "swap", "tarp", "density", "local_c2st",
    }  # fmt: skip
    for name, p in by_name.items():
        n = len(p)
        # at the 5 % level: expected .05 n; three binomial standard deviations more (the tests of one run are dependent
        # across names, not within one): false alarm about 1 in 700 for each of nine names
        assert sum(v < 0.05 for v in p) <= 0.05 * n + 3 * np.sqrt(0.05 * 0.95 * n), name
    # family-wise at 10 %: at most 6 of 60 expected, three standard deviations are 7
    assert sum(bool(run.tripped(0.1)) for run in runs) <= 13


def test_effect_sizes_bind_overall_and_in_groups():
    samples = exact_samples(n=4000, sites=True)
    right = samples.context[:, 0] > 0
    from pulsebayes.calibration.diagnostics import Subgroup

    alone = judge(samples)
    found = judge(samples, [Subgroup("side", "right", right), Subgroup("side", "few", np.arange(4000) < 150)])
    assert {m.group for m in found.misses} - {m.group for m in alone.misses} == {"side right"}
    assert set(found.not_calibrated()) == {"a", "b", "c"}
    assert "intervals held" in found.not_calibrated()["a"]


def test_chance_of_a_miss_is_the_binomial_one():
    hits = np.random.default_rng(0).binomial(2000, 0.5, 200_000) / 2000
    far = float((np.abs(hits - 0.5) > 0.03 + 1e-12).mean())
    # .0069 with a standard error of .0002: four of them
    assert abs(chance_of_miss(2000, 0.5, 0.03) - far) < 0.0008
    assert chance_of_miss(2000, 0.9, 0.03) < 1e-5
    assert 0.1 < chance_of_miss(200, 0.5, 0.05) < 0.2


def test_subgroups_part_the_simulations():
    rng = np.random.default_rng(0)
    columns = {
        "age": rng.uniform(18, 90, 500), "HR": rng.uniform(40, 140, 500), "MAP": rng.uniform(50, 120, 500),
    }  # fmt: skip
    found = subgroups(columns, rng.normal(0, rng.uniform(0.02, 1, (500, 1)), (500, 400)))
    for by in ("age", "heart rate", "pressure", "noise"):
        rows = np.array([g.rows for g in found if g.by == by])
        assert len(rows) == 3 and (rows.sum(0) == 1).all()
    with pytest.raises(ValueError, match="columns must have 500 rows"):
        subgroups({"age": np.zeros(3)}, np.zeros((500, 10)))


def test_rhythm_is_told_from_the_beats_that_a_window_shows():
    rng = np.random.default_rng(0)
    spread = np.array([0.0, 0.03, 0.2, 0.25])
    onsets = [0.4 + np.cumsum(0.8 * (1 + s * rng.choice([-1, 1], 12))) for s in spread]
    time = np.arange(1000) / 125.0
    x = np.stack([80 + 40 * sum(np.exp(-(((time - t) / 0.08) ** 2)) for t in train) for train in onsets])
    assert np.allclose(interval_variation(x, 125.0), spread, atol=0.03)
    rows = {g.label: g.rows.tolist() for g in subgroups({}, x) if g.by == "rhythm"}
    assert rows == {
        "intervals vary by less than 10%": [True, True, False, False],
        "intervals vary by 10% or more": [False, False, True, True],
    }


def test_noise_level_sees_noise_and_not_the_pulse():
    time = np.arange(1000) / 125
    pulse = 90 + 25 * np.sin(2 * np.pi * 1.2 * time) + 8 * np.sin(2 * np.pi * 4.8 * time)
    noisy = pulse + np.random.default_rng(0).normal(0, 0.5, 1000)
    found = noise_level(np.stack([pulse, noisy]))
    assert found[0] < 0.15
    assert abs(found[1] - 0.5) < 0.08
