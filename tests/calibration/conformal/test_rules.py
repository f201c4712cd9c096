r"""Groups, weights, cross-fitting and streams keep what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pulsebayes.calibration.conformal import (
    NormGauge,
    OnlineLimit,
    PlainResidual,
    Prediction,
    ResidualScore,
    conformal_limit,
    cross_conformal,
    cross_fit,
    cross_promise,
    group_limits,
    grouped_conformal,
    jackknife_conformal,
    make_folds,
    weighted_conformal,
    weighted_limits,
    worst_slab,
    worst_slab_coverage,
)

SCORE = ResidualScore(PlainResidual(), NormGauge())


def points(y: np.ndarray) -> Prediction:
    return Prediction(np.zeros(y.shape))


def test_each_group_keeps_its_own_promise() -> None:
    rng = np.random.default_rng(0)
    score = SCORE.fit(points(rng.normal(size=(200, 2))), rng.normal(size=(200, 2)))
    scale = {"young": 1.0, "old": 3.0}
    groups = np.array(["young"] * 60 + ["old"] * 30)
    hit: dict[str, list[float]] = {"young": [], "old": []}
    marginal = []
    for _ in range(300):
        y = rng.normal(size=(90, 2)) * np.array([scale[g] for g in groups])[:, None]
        rule = grouped_conformal(score, points(y), y, groups)
        limit = conformal_limit(score.score(points(y), y), 0.1)
        for group, s in scale.items():
            new = s * rng.normal(size=(100, 2))
            hit[group].append(float(rule.regions(points(new), [group] * 100).contains(new).mean()))
            if group == "old":
                marginal.append(float((score.score(points(new), new) <= limit).mean()))
    assert np.mean(hit["young"]) == pytest.approx(55 / 61, abs=0.01)  # k/(n + 1) of each; s.e. below .003
    assert np.mean(hit["old"]) == pytest.approx(28 / 31, abs=0.012)
    assert np.mean(marginal) < 0.85


def test_group_that_was_not_calibrated_is_unbounded() -> None:
    y = np.random.default_rng(0).normal(size=(40, 2))
    rule = grouped_conformal(SCORE.fit(points(y), y), points(y), y, ["a"] * 35 + ["b"] * 5)
    assert rule.regions(points(y[:3]), ["a", "b", "c"]).limits.tolist()[1:] == [math.inf, math.inf]
    assert "unbounded for b" in rule.guarantee
    with pytest.raises(ValueError, match="group of each of the 3 scores"):
        group_limits(np.ones(3), ["a"], 0.1)


def test_weights_restore_coverage_under_covariate_shift() -> None:
    rng = np.random.default_rng(1)
    score = SCORE.fit(points(rng.normal(size=(300, 1))), rng.normal(size=(300, 1)))
    weighted, plain = [], []
    for _ in range(300):
        x, new_x = rng.random(200), rng.beta(3, 1, size=100)  # density ratio 3 x^2
        y = (0.3 + 2 * x)[:, None] * rng.normal(size=(200, 1))
        new_y = (0.3 + 2 * new_x)[:, None] * rng.normal(size=(100, 1))
        rule = weighted_conformal(score, points(y), y, 3 * x**2)
        weighted.append(rule.regions(points(new_y), 3 * new_x**2).contains(new_y).mean())
        plain.append((score.score(points(new_y), new_y) <= conformal_limit(score.score(points(y), y), 0.1)).mean())
    assert np.mean(plain) < 0.83
    assert 0.895 < np.mean(weighted) < 0.925


def test_equal_weights_are_the_order_statistic() -> None:
    scores = np.random.default_rng(2).random(73)
    assert weighted_limits(scores, np.full(73, 0.3), np.full(2, 0.3), 0.1) == pytest.approx(
        conformal_limit(scores, 0.1)
    )
    with pytest.raises(ValueError, match="density ratios"):
        weighted_limits(scores, -np.ones(73), np.ones(1), 0.1)


@pytest.mark.parametrize("folds", [5, 40])
def test_cross_fitting_covers(folds: int) -> None:
    rng = np.random.default_rng(3)
    hit = []
    for seed in range(150):
        y, new = rng.standard_t(4, size=(40, 2)), rng.standard_t(4, size=(50, 2))
        cross = cross_conformal(SCORE, points(y), y, folds=folds, seed=seed)
        hit.append(cross.covers([points(new)] * folds, new).mean())
    assert np.mean(hit) > cross_promise(40, folds, 0.1)
    assert np.mean(hit) == pytest.approx(0.9, abs=0.03)  # what is seen, not what is promised


def test_jackknife_promises_one_minus_two_alpha() -> None:
    y = np.random.default_rng(4).normal(size=(25, 2))
    assert jackknife_conformal(SCORE, points(y), y, alpha=0.1).promise == pytest.approx(0.8)
    assert cross_promise(100, 10, 0.1) == pytest.approx(1 - 0.2 - min(2 * 0.9 / 11, 0.9 / 11))


def test_cross_volume_is_that_of_its_members() -> None:
    y = np.random.default_rng(5).normal(size=(200, 2))
    cross = cross_conformal(SCORE, points(y), y, folds=4)
    volume = cross.volumes([points(y[:1])] * 4, n=20000)[0]
    assert volume == pytest.approx(math.pi * -2 * math.log(0.1), rel=0.2)  # the disc that holds .9 of a Gaussian


def test_windows_of_a_patient_share_a_fold() -> None:
    patients = np.repeat(np.arange(12), 5)
    folds = make_folds(patients, 4)
    assert all(len(set(folds[patients == p])) == 1 for p in range(12))
    with pytest.raises(ValueError, match="between 2 and the number of patients 3"):
        make_folds(["a", "b", "c"], 4)


def stream(n: int) -> np.ndarray:
    r"""Scores whose scale trebles half way and drifts up and down."""
    rng = np.random.default_rng(6)
    t = np.arange(n)
    return np.abs(rng.normal(size=n)) * (1 + 2 * (t > n // 2)) * (1.3 + np.sin(t / 90))


def test_online_coverage_holds_under_drift_where_a_fixed_limit_fails() -> None:
    scores = stream(3000)
    state = OnlineLimit(alpha=0.1, level=0.1, gamma=0.02, memory=200, scores=tuple(scores[:50]))
    for value in scores[50:]:
        state = state.update(float(value))
    fixed = (scores[50:] > conformal_limit(scores[:50], 0.1)).mean()
    assert abs(state.missed / state.n - 0.1) <= state.bound
    assert abs(state.missed / state.n - 0.1) < 0.01
    assert fixed > 0.2


@pytest.mark.parametrize("kind", ["rising", "falling", "alternating"])
def test_online_bound_holds_for_any_sequence(kind: str) -> None:
    t = np.arange(600.0)
    scores = {"rising": t, "falling": -t, "alternating": np.where(t % 2, 1e6 * t, 0.0)}[kind]
    state = OnlineLimit(alpha=0.2, level=0.5, gamma=0.05, memory=30)
    for value in scores:
        state = state.update(float(value))
    assert abs(state.missed / state.n - 0.2) <= state.bound + 1e-12


def test_online_configuration_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="gamma and memory must be positive"):
        OnlineLimit(gamma=0.0)


def test_worst_slab_is_found_and_matches_another_program() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(300, 2))
    hit = rng.random(300) < np.where(x[:, 0] > 0.8, 0.5, 0.95)
    angles = np.linspace(0, np.pi, 60)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found, way, low, high = worst_slab(x, hit, directions, delta=0.2)
    inside = (x @ way >= low) & (x @ way <= high)
    assert inside.mean() >= 0.2 and hit[inside].mean() == pytest.approx(found)
    slabs = pytest.importorskip("covmetrics.slab_metrics", reason="covmetrics (extra bench) is not installed")
    theirs = slabs.wsc_all_numpy(x, hit.astype(float), 0.2, directions)[0]
    assert found == pytest.approx(theirs.min())


def test_worst_slab_coverage_is_not_measured_where_it_was_found() -> None:
    rng = np.random.default_rng(8)
    x, hit = rng.normal(size=(2000, 3)), rng.random(2000) < 0.9
    assert worst_slab_coverage(x, hit, directions=200) == pytest.approx(0.9, abs=0.05)
    assert worst_slab(x[:500], hit[:500], rng.normal(size=(200, 3)), delta=0.2)[0] < 0.87
    with pytest.raises(ValueError, match="x and hit must have shapes"):
        worst_slab_coverage(x, hit[:5])


def test_correction_and_limit_may_share_patients_by_cross_fitting() -> None:
    r"""Reusing the fit of the same few patients fails; cross-fitting keeps more than it promises."""
    rng = np.random.default_rng(9)
    n, p, crossed, reused = 30, 20, [], []
    for seed in range(60):
        x, new_x = rng.normal(size=(n, p)), rng.normal(size=(200, p))
        truth = rng.normal(size=(p, 1))
        y, new_y = (v @ truth + rng.normal(size=(len(v), 1)) for v in (x, new_x))

        def corrected(rows: np.ndarray, at: np.ndarray, x: np.ndarray = x, y: np.ndarray = y) -> Prediction:
            return Prediction(at @ np.linalg.lstsq(x[rows], y[rows], rcond=None)[0])

        def fit(rows: np.ndarray, x: np.ndarray = x, y: np.ndarray = y):  # type: ignore[no-untyped-def]
            score = ResidualScore(PlainResidual(), NormGauge(whiten=False)).fit(Prediction(y[rows]), y[rows])
            return score, lambda own: corrected(rows, x[own], x, y)

        folds = make_folds(np.arange(n), 6, seed=seed)
        cross = cross_fit(fit, y, folds, alpha=0.1)
        crossed.append(cross.covers([corrected(np.flatnonzero(folds != k), new_x) for k in range(6)], new_y).mean())
        score, predict = fit(np.arange(n))
        limit = conformal_limit(score.score(predict(np.arange(n)), y), 0.1)
        reused.append((score.score(corrected(np.arange(n), new_x), new_y) <= limit).mean())
    assert np.mean(crossed) > cross_promise(n, 6, 0.1) and np.mean(crossed) > 0.87
    assert np.mean(reused) < 0.6
