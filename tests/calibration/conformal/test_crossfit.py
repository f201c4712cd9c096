r"""The same patients serve a correction and the limit: coverage over simulated cohorts, membership and volume."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pulsebayes.calibration.conformal import (
    Coordinates,
    CrossScore,
    HeldOut,
    NormGauge,
    PlainResidual,
    Prediction,
    Region,
    ResidualScore,
    cross_conformal,
    cross_promise,
    equal_folds,
    wanted_mass,
)
from pulsebayes.calibration.conformal.score import AbstractFittedScore

P = 12
"""Features of the toy: as many as make reuse of the fit fail with two dozen patients."""


def part(d: int = 1) -> AbstractFittedScore:
    zero = Prediction(np.zeros((2, d)))
    return ResidualScore(PlainResidual(), NormGauge(whiten=False)).fit(zero, np.zeros((2, d)))


def cohort(rng: np.random.Generator, truth: np.ndarray, n: int, most: int) -> tuple[np.ndarray, ...]:
    r"""Windows of n patients, one to ``most`` each, that share most of their error."""
    count = rng.integers(1, most + 1, size=n)
    patients = np.repeat(np.arange(n), count)
    x = rng.normal(size=(n, P))[patients] + 0.3 * rng.normal(size=(len(patients), P))
    error = rng.normal(size=n)[patients] + 0.4 * rng.normal(size=len(patients))
    return x, x @ truth + error, patients


def line(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    return new @ np.linalg.lstsq(x, y, rcond=None)[0]


def test_cross_fitted_regions_of_few_patients_cover_a_window_of_a_new_one() -> None:
    r"""160 cohorts of 26 patients: 25 in folds, one that serves every fit; 20 new patients each.

    The mean of 3,200 hits has a standard error of about .008 (limits vary by .06 between cohorts): it lies below the
    promise of .727 by chance with probability under 1e-9; and reuse of one fit has .5.
    """
    truth, hits, reused = np.random.default_rng(0).normal(size=P), [], []
    for seed in range(160):
        rng = np.random.default_rng([1, seed])
        x, y, patients = cohort(rng, truth, 26, 4)
        folds = equal_folds(patients, 5, seed=seed)
        new_x, new_y, _ = cohort(rng, truth, 20, 1)
        scores, rows = np.empty(len(y)), folds >= 0
        told = np.empty((5, 20))
        for k in range(5):
            own, used = folds == k, folds != k
            scores[own] = np.abs(y[own] - line(x[used], y[used], x[own]))
            told[k] = line(x[used], y[used], new_x)
        held = HeldOut.of(scores[rows], patients[rows], folds[rows])
        score, limit = CrossScore((part(),) * 5, held), wanted_mass(held.n, 0.1)
        assert held.n == 25
        for j in range(20):
            region = Region(score, Prediction(told[:, j, None]), limit, Coordinates.plain(1), 0.1)
            hits.append(bool(region.contains(new_y[[j]][:, None])[0]))
        residuals = np.abs(y - line(x, y, x))
        reused.append((np.abs(new_y - line(x, y, new_x)) <= np.quantile(residuals, 0.9)).mean())
    promise = cross_promise(25, 5, 0.1)
    assert promise == pytest.approx(1 - 0.2 - 0.8 / 6)
    assert np.mean(hits) > promise
    print(f"cross-fitted {np.mean(hits):.3f}, one fit reused {np.mean(reused):.3f}")
    assert np.mean(hits) == pytest.approx(0.92, abs=0.03)  # what is seen, not what is promised
    assert np.mean(reused) < 0.75


@pytest.mark.parametrize(("n", "k", "strong", "below"), [(39, 39, 7, 0.826), (80, 20, 13, 0.88)])
def test_no_more_than_the_promise_can_be_kept(n: int, k: int, strong: int, below: float) -> None:
    r"""Cohorts and fits made to be missed: coverage lies below nominal, so nothing near .9 may be promised.

    A population of n + 1 kinds of patients, drawn without replacement: a fit without a fold knows which kinds it has
    not seen. Some kinds are strong: each beats all weak ones and half of the strong it meets, and one of them is the
    new patient with probability strong / (n + 1). With one patient a fold coverage is 33 / 40 exactly, promised .8.
    """

    def scores(kinds: np.ndarray) -> np.ndarray:
        ahead = (kinds[None] - kinds[:, None]) % strong
        both = (kinds[:, None] < strong) & (kinds[None] < strong)
        return np.where(kinds < strong, 1.0 + (both & (ahead > 0) & (ahead <= strong // 2)).sum(1), 0.0)

    hits = []
    for seed in range(12):
        rng = np.random.default_rng([3, seed])
        for new in range(n + 1):
            kinds = rng.permutation(np.delete(np.arange(n + 1), new))
            patients = np.repeat(np.arange(n), rng.integers(1, 4, size=n))
            folds = equal_folds(np.arange(n), k, seed=seed)
            own, theirs = np.empty(n), []
            for fold in range(k):
                unseen = scores(np.append(kinds[folds == fold], new))
                own[folds == fold] = unseen[:-1]
                theirs.append(unseen[-1])
            held = HeldOut.of(own[patients], patients, folds[patients])
            hits.append(sum(float(held.beaten(j, s)) for j, s in enumerate(theirs)) <= wanted_mass(n, 0.1))
    print(f"{k} folds: {np.mean(hits):.3f}, promised {cross_promise(n, k, 0.1):.3f}")
    assert cross_promise(n, k, 0.1) <= np.mean(hits) < below


def test_one_window_each_makes_it_the_cross_conformal_region() -> None:
    rng = np.random.default_rng(2)
    y, new = rng.normal(size=(40, 2)), rng.normal(size=(60, 2))
    maker = ResidualScore(PlainResidual(), NormGauge())
    cross = cross_conformal(maker, Prediction(0 * y), y, folds=4)
    score = CrossScore(cross.parts, HeldOut.of(cross.scores, range(40), cross.folds))
    region = Region(score, Prediction(np.zeros((4, 2))), wanted_mass(40, 0.1), Coordinates.plain(2), 0.1)
    theirs = cross.covers([Prediction(0 * new)] * 4, new)
    assert region.contains(new).tolist() == theirs.tolist()
    assert region.volume(n=40000).value == pytest.approx(
        cross.volumes([Prediction(np.zeros((1, 2)))] * 4, n=40000)[0], rel=0.05
    )


def test_volume_of_regions_that_lie_apart_counts_each_once() -> None:
    r"""Two folds whose posteriors are far apart: discs of radius one, apart, then one on the other."""
    scores = np.ones(40)
    score = CrossScore((part(2),) * 2, HeldOut.of(scores, range(40), np.arange(40) % 2))
    for gap, discs in ((0.0, 1.0), (9.0, 2.0)):
        rows = Prediction(np.array([[0.0, 0.0], [gap, 0.0]]))
        all_of = Region(score, rows, wanted_mass(40, 0.1), Coordinates.plain(2), 0.1)
        assert all_of.volume(n=40000).value == pytest.approx(math.pi * discs, rel=0.03)
    low, high = all_of.ranges()[0].low, all_of.ranges()[0].high
    assert (low, high) == (pytest.approx(-1, abs=0.05), pytest.approx(10, abs=0.05))
    # A disc alone leaves the other fold's 20 patients beaten; at alpha .6 a member may beat fewer than 16.4.
    neither = Region(score, rows, wanted_mass(40, 0.6), Coordinates.plain(2), 0.6)
    assert neither.volume(n=4000).value == 0


def test_folds_are_of_one_size_and_keep_patients_whole() -> None:
    patients = np.repeat(np.arange(13), 3)
    folds = equal_folds(patients, 4)
    assert np.bincount(folds + 1).tolist() == [3, 9, 9, 9, 9]
    assert all(len(set(folds[patients == p])) == 1 for p in range(13))
    with pytest.raises(ValueError, match="between 2 and the number of patients 3"):
        equal_folds(["a", "b", "c"], 4)


def test_too_few_patients_are_unbounded() -> None:
    assert wanted_mass(8, 0.1) == math.inf
    assert wanted_mass(9, 0.1) == pytest.approx(9)


def test_promise_of_unequal_folds_leaves_out_the_term_for_equal_ones() -> None:
    assert cross_promise(100, 50, 0.1) == pytest.approx(0.8 - 0.5 / 51)
    assert cross_promise(101, 50, 0.1) == pytest.approx(0.8 - 2 * 0.98 / (101 / 50 + 1))


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="vectors of one length"):
        HeldOut.of(np.ones(3), ["a"], np.zeros(3, dtype=int))
    score = CrossScore((part(),) * 2, HeldOut.of(np.ones(4), range(4), np.arange(4) % 2))
    with pytest.raises(ValueError, match="2 rows, one of each fold, got 1"):
        score.evaluate(Prediction(np.zeros((1, 1))), np.zeros((1, 3, 1)))
