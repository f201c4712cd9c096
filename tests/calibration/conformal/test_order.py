r"""The order statistic, the law of its coverage, and the rules that count patients."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from pulsebayes.calibration.conformal import (
    BoxGauge,
    NormGauge,
    PlainResidual,
    PosteriorResidual,
    Prediction,
    QuantileBox,
    ResidualScore,
    conformal_limit,
    coverage_law,
    fewest,
    hierarchical_limit,
    hierarchical_p_values,
    one_window_limit,
    order_index,
    p_values,
    split_conformal,
)
from pulsebayes.calibration.conformal.score import AbstractFittedScore

REPEATS = 1000
NEW = 500
CELLS = [(n, 0.1) for n in (10, 20, 50, 100, 1000)] + [(n, 0.05) for n in (20, 50, 100, 1000)]


def fitted(score: ResidualScore) -> AbstractFittedScore:
    rng = np.random.default_rng(5)
    return score.fit(Prediction(np.zeros((400, 2)), np.tile(np.eye(2), (400, 1, 1))), draw(rng, 400))


def draw(rng: np.random.Generator, n: int) -> np.ndarray:
    r"""Skewed, correlated residuals."""
    e = rng.exponential(size=(n, 2))
    return np.stack([e[:, 0] - 1, 0.5 * e[:, 0] + rng.normal(size=n) * e[:, 1]], axis=1)


def hits(score: AbstractFittedScore, n: int, alpha: float, seed: int) -> np.ndarray:
    r"""Hits among NEW new cases for each of REPEATS calibration sets of n cases."""
    rng = np.random.default_rng(seed)
    found = np.empty(REPEATS, dtype=int)
    for i in range(REPEATS):
        y = draw(rng, n + NEW)
        values = score.score(Prediction(np.zeros(y.shape), np.broadcast_to(np.eye(2), (len(y), 2, 2))), y)
        found[i] = (values[n:] <= conformal_limit(values[:n], alpha)).sum()
    return found


def mean_within_three_errors(found: np.ndarray, n: int, alpha: float) -> None:
    law = coverage_law(n, alpha)
    p = law.mean
    error = math.sqrt((law.sd**2 * (1 - 1 / NEW) + p * (1 - p) / NEW) / len(found))
    assert abs(found.mean() / NEW - p) < 3 * error, (found.mean() / NEW, p, error)


@pytest.mark.parametrize(("n", "alpha"), CELLS)
@pytest.mark.parametrize(
    "score",
    [ResidualScore(PlainResidual(), BoxGauge()), ResidualScore(PosteriorResidual(), NormGauge())],
    ids=["box", "ellipsoid"],
)
def test_coverage_follows_the_beta_binomial_law(score: ResidualScore, n: int, alpha: float) -> None:
    # 18 cells: three standard errors 0.3 % each, KS 0.1 % each; false alarms in 1 of 14 changes of seed.
    assert coverage_law(n, alpha).k == math.ceil((n + 1) * (1 - Fraction(str(alpha))))
    found = hits(fitted(score), n, alpha, seed=n)
    mean_within_three_errors(found, n, alpha)
    assert coverage_law(n, alpha).ks(found, NEW) > 0.001


def test_plain_quantile_falls_short_where_the_order_statistic_does_not() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((4000, 10))
    plain = np.quantile(values, 0.9, axis=1).mean()  # coverage of a uniform score is its limit
    own = np.mean([conformal_limit(row, 0.1) for row in values])
    assert plain == pytest.approx(0.827, abs=0.006)  # four standard errors; 0.827 expected: (1 + 9 * 0.9) / 11
    assert own == pytest.approx(10 / 11, abs=0.006)


def test_ten_cases_at_five_per_cent_give_an_unbounded_region() -> None:
    prediction = Prediction(np.zeros((10, 2)))
    rule = split_conformal(fitted(ResidualScore(PlainResidual(), BoxGauge())), prediction, np.ones((10, 2)), alpha=0.05)
    region = rule.region(Prediction(np.zeros((1, 2))))
    assert not rule.bounded and not region.bounded
    assert "too few" in rule.guarantee and "it takes 19" in rule.guarantee
    assert region.contains(np.array([[1e9, -1e9]])).all()
    assert region.volume().value == math.inf
    assert [(r.low, r.high) for r in region.ranges()] == [(-math.inf, math.inf)] * 2
    assert region.to_json()["ranges"]["y1"] == {"unit": "", "low": None, "high": None}
    with pytest.raises(ValueError, match="unbounded region has no plane"):
        region.slice(("y1", "y2"))


def test_index_is_not_moved_by_rounding() -> None:
    assert [order_index(n, a) for n, a in ((9, 0.1), (19, 0.05), (99, 0.01), (19, 0.1), (999, 0.001))] == [
        9,
        19,
        99,
        18,
        999,
    ]
    for alpha in (0.01, 0.05, 0.1, 0.2, 1 / 3):
        n = fewest(alpha)
        assert order_index(n, alpha) <= n and order_index(n - 1, alpha) > n - 1


def test_p_value_above_alpha_is_membership() -> None:
    rng = np.random.default_rng(1)
    scores, new = rng.random(37), rng.random(500)
    for alpha in (0.05, 0.1, 0.3):
        assert np.array_equal(p_values(scores, new) > alpha + 1e-12, new <= conformal_limit(scores, alpha))


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 3.0])
def test_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must lie strictly between 0 and 1"):
        conformal_limit(np.ones(5), alpha)


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="1 NaN"):
        conformal_limit(np.array([1.0, np.nan]), 0.1)


PATIENTS, WINDOWS, ICC = 20, 100, 0.8


def scores_of_patients(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    r"""Scores of 20 patients x 100 windows, intraclass correlation .8, and those of one window of 300 new patients."""
    own = rng.normal(size=PATIENTS + 300)
    windows = math.sqrt(ICC) * own[:PATIENTS, None] + math.sqrt(1 - ICC) * rng.normal(size=(PATIENTS, WINDOWS))
    new = math.sqrt(ICC) * own[PATIENTS:] + math.sqrt(1 - ICC) * rng.normal(size=300)
    return windows.ravel(), new


def test_patients_keep_the_promise_that_windows_break() -> None:
    rng = np.random.default_rng(2)
    patients = np.repeat(np.arange(PATIENTS), WINDOWS)
    rules = {"windows": [], "one": [], "hierarchical": []}
    for _ in range(REPEATS):
        scores, new = scores_of_patients(rng)
        limits = {
            "windows": conformal_limit(scores, 0.1),
            "one": one_window_limit(scores, patients, 0.1, rng),
            "hierarchical": hierarchical_limit(scores, patients, 0.1),
        }
        for rule, limit in limits.items():
            rules[rule].append((new <= limit).mean())
    mean = {rule: float(np.mean(found)) for rule, found in rules.items()}
    low = {rule: float(np.quantile(found, 0.05)) for rule, found in rules.items()}
    error = np.std(rules["one"]) / math.sqrt(REPEATS)
    assert mean["one"] == pytest.approx(19 / 21, abs=3 * error)
    assert coverage_law(PATIENTS, 0.1).ks(np.round(np.array(rules["one"]) * 300), 300) > 0.001
    assert mean["hierarchical"] > 0.9 - 3 * np.std(rules["hierarchical"]) / math.sqrt(REPEATS)
    # Counting windows: below nominal by more than three standard errors, and far from what n = 2,000 promises.
    assert mean["windows"] < 0.9 - 3 * np.std(rules["windows"]) / math.sqrt(REPEATS)
    assert low["windows"] < coverage_law(PATIENTS * WINDOWS, 0.1).quantile(0.05) - 0.06


def test_hierarchical_p_value_is_the_average_over_all_draws() -> None:
    rng = np.random.default_rng(3)
    scores, patients = rng.random(9), np.array([0, 0, 1, 1, 1, 2, 2, 3, 3])
    rows = [np.flatnonzero(patients == p) for p in range(4)]
    every = np.stack([g.ravel() for g in np.meshgrid(*rows)], axis=1)
    new = rng.random(20)
    average = np.mean([p_values(scores[draw], new) for draw in every], axis=0)
    assert hierarchical_p_values(scores, patients, new) == pytest.approx(average)
    limit = hierarchical_limit(scores, patients, 0.45)
    assert np.array_equal(hierarchical_p_values(scores, patients, new) > 0.45 + 1e-12, new <= limit)


def test_one_window_a_patient_makes_the_hierarchical_rule_the_order_statistic() -> None:
    scores = np.random.default_rng(4).random(50)
    for alpha in (0.01, 0.05, 0.1, 0.5):
        assert hierarchical_limit(scores, np.arange(50), alpha) == conformal_limit(scores, alpha)


def test_too_few_patients_are_unbounded_however_many_windows() -> None:
    scores = np.arange(800.0)
    assert hierarchical_limit(scores, np.repeat(np.arange(8), 100), 0.1) == math.inf
    assert hierarchical_limit(scores, np.repeat(np.arange(10), 80), 0.1) < math.inf


def test_targets_that_are_not_numbers_are_refused() -> None:
    prediction = Prediction.from_draws(np.random.default_rng(0).normal(size=(3, 50, 1)))
    with pytest.raises(ValueError, match=r"rows \[1\] not"):
        split_conformal(QuantileBox(), prediction, np.array([[0.0], [np.nan], [1.0]]))
