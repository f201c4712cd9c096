r"""Cohort tests: false alarms at their level, and power against cohorts that differ."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pulsebayes.calibration.misspecification import (
    classifier_test,
    cohort_tests,
    mmd_test,
    one_per_subject,
    predictive_discrepancy,
    predictive_test,
)

REPEATS, LEVEL = 300, 0.05
MOST = stats.binom.ppf(0.999, REPEATS, LEVEL) / REPEATS  # a sound test exceeds this once in a thousand runs


def null(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_t(3, size=(40, 3)), rng.standard_t(3, size=(120, 3))


def test_false_alarm_rates_are_at_most_their_level() -> None:
    alarms = {"mmd": 0, "classifier": 0, "predictive": 0, "any": 0}
    for seed in range(REPEATS):
        real, simulated = null(seed)
        single = (
            mmd_test(real, simulated, permutations=99, seed=seed),
            classifier_test(real, simulated, seed=seed),
            predictive_test(np.abs(real[:, 0]), np.abs(simulated[:, 0])),
        )
        for test in single:
            alarms[test.name] += test.rejects(LEVEL)
        together = min(1.0, 3 * min(test.p for test in single))
        alarms["any"] += together <= LEVEL
    rates = {name: count / REPEATS for name, count in alarms.items()}
    assert all(rate <= MOST for rate in rates.values()), rates
    assert rates["mmd"] > 0.01 and rates["predictive"] > 0.01  # not by never rejecting


@pytest.mark.parametrize("change", ["shift", "spread"])
def test_cohorts_that_differ_are_told(change: str) -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(80, 3))
    real = real + 0.8 if change == "shift" else 2.5 * real
    found = cohort_tests(real, rng.normal(size=(300, 3)))
    assert found["mmd"].rejects(0.05) and found["classifier"].rejects(0.05)


def test_a_wrong_simulator_is_seen_by_prediction() -> None:
    rng = np.random.default_rng(1)

    def inferred(x: np.ndarray) -> np.ndarray:
        r"""Replicates of x ~ N(theta, 1) in two coordinates that share theta, from its posterior."""
        theta = x.mean(1)[:, None] + rng.normal(size=(len(x), 200)) / np.sqrt(2)
        return theta[..., None] + rng.normal(size=(len(x), 200, 2))

    theta = rng.normal(size=(400, 1)) * 3
    simulated = theta + rng.normal(size=(400, 2))
    # a gap between the coordinates that no theta makes
    torn = theta[:80] + np.array([2.0, -2.0]) + rng.normal(size=(80, 2))
    scores = [predictive_discrepancy(x, inferred(x)) for x in (torn, simulated, simulated[:80])]
    assert predictive_test(scores[0], scores[1]).p < 1e-6
    assert predictive_test(scores[2], scores[1]).p > 0.01


def test_windows_of_one_subject_are_no_evidence() -> None:
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(100):
        patients = rng.normal(size=(10, 2))
        windows = np.repeat(patients, 30, axis=0) + 0.1 * rng.normal(size=(300, 2))
        simulated = rng.normal(size=(300, 2))
        rows = one_per_subject(np.repeat(np.arange(10), 30))
        assert len(rows) == 10 and len(set(rows // 30)) == 10
        alarms += mmd_test(windows[rows], simulated, permutations=99).rejects(0.05)
    assert alarms <= stats.binom.ppf(0.999, 100, 0.05)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="at least 8 rows of each"):
        mmd_test(np.zeros((3, 2)), np.zeros((50, 2)))
    with pytest.raises(ValueError, match="must be finite"):
        mmd_test(np.full((20, 2), np.nan), np.zeros((50, 2)))
    with pytest.raises(ValueError, match="at least as many rows"):
        classifier_test(np.zeros((60, 2)), np.zeros((50, 2)))
    with pytest.raises(ValueError, match="replicates"):
        predictive_discrepancy(np.zeros((3, 2)), np.zeros((3, 2)))
