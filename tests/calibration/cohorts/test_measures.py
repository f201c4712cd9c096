"""What is measured of methods against references: against closed forms, planted faults and by subject."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.calibration.agreement import agree, agree_repeated
from pulsebayes.calibration.cohorts.measures import changes_of, measure_pairs
from pulsebayes.calibration.cohorts.protocol import LAST, MEAN, MODEL, Pairing, one_point
from pulsebayes.calibration.cohorts.rules import RULES, pulse_rules
from pulsebayes.calibration.cohorts.uncertainty import coverage_by_subject, rejection_curve, subgroup_coverage


def cohort(n: int = 20, bins: int = 40, *, noise: float = 0.05, factor: float = 0.1, seed: int = 0) -> Pairing:
    """Recordings that drift; the estimate is off by a factor of the patient and by noise."""
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(n), bins)
    time_s = np.tile(30.0 + 60.0 * np.arange(bins), n)
    level = rng.uniform(3, 7, n)[subject]
    wave = 1 + 0.25 * np.sin(2 * np.pi * time_s / 1800 + rng.uniform(0, 6, n)[subject])
    reference = level * wave
    own = np.exp(factor * rng.standard_normal(n))[subject]
    estimate = reference * own * np.exp(noise * rng.standard_normal(len(subject)))
    means = np.bincount(subject, reference) / bins
    others = ((means.sum() - means) / (n - 1))[subject]
    spread = np.full(len(subject), 0.1)
    return Pairing("CO", subject, subject, time_s, reference, {MODEL: estimate, MEAN: others}, spread, spread)


def test_limits_allow_for_pairs_of_one_subject() -> None:
    """The limits of a new subject's single pair are those of between and within variance together."""
    rng = np.random.default_rng(1)
    subject = np.repeat(np.arange(400), 30)
    between, within = 0.5, 0.2
    difference = between * rng.standard_normal(400)[subject] + within * rng.standard_normal(len(subject))
    reference = np.full(len(subject), 5.0)
    found = agree_repeated(reference + difference, reference, subject)
    half = 0.5 * (found.high - found.low) / 1.96
    assert half == pytest.approx(np.hypot(between, within), rel=0.08)  # two standard errors of 400 subjects: 7 %
    one = agree_repeated(reference[:400] + difference[:400], reference[:400], np.arange(400))
    assert one.high == agree(reference[:400] + difference[:400], reference[:400]).high
    with pytest.raises(ValueError, match="one name a pair"):
        agree_repeated(reference, reference, np.zeros(3))


def test_a_factor_of_the_patient_is_taken_off_by_one_reference_value() -> None:
    raw = cohort(noise=0.0, factor=0.3)
    fixed = one_point(raw)
    before, after = (measure_pairs(p, MODEL, bootstrap=0) for p in (raw, fixed))
    assert before["error"][0] > 0.1 and after["error"][0] < 1e-9
    assert before["spearman_within"][0] == after["spearman_within"][0] == pytest.approx(1.0)
    assert before["direction"][0] == after["direction"][0] == 1.0
    assert len(fixed) == len(raw) - 20 and MEAN not in fixed.estimates
    last = measure_pairs(fixed, LAST, bootstrap=0)
    assert last["error"][0] > 0.1 and np.isnan(last["direction"][0])


def test_intervals_are_by_subject() -> None:
    """A factor of each patient: the interval of the bias is that of 20 patients, not of 800 pairs."""
    raw = cohort(noise=0.0, factor=0.2)
    found = measure_pairs(raw, MODEL, bootstrap=300)
    low, high = found["bias"][1:]
    difference = raw.estimates[MODEL] - raw.reference
    means = np.bincount(raw.subject, difference) / 40
    assert high - low == pytest.approx(2 * 1.645 * means.std(ddof=1) / np.sqrt(20), rel=0.3)
    naive = 2 * 1.645 * difference.std() / np.sqrt(len(difference))
    assert high - low > 3 * naive


def test_the_references_own_error_is_taken_off() -> None:
    raw = cohort(n=100, noise=0.15, factor=0.0)
    plain, own = (measure_pairs(raw, MODEL, precision=p, bootstrap=0) for p in (0.0, 0.1))
    assert plain["percentage_error_own"][0] == pytest.approx(plain["percentage_error"][0])
    expected = np.sqrt(plain["percentage_error"][0] ** 2 - 0.196**2)
    assert own["percentage_error_own"][0] == pytest.approx(expected)


def test_changes_are_over_five_minutes_whatever_is_missing() -> None:
    time_s = np.array([0.0, 60, 120, 180, 240, 300, 420, 480, 540, 600])  # 360 is missing
    found = changes_of(time_s, np.arange(10.0) + 1, np.arange(10.0) + 1)
    assert len(found.reference) == 5  # 0-300, 120-420, 180-480, 240-540, 300-600; 60-360 is missing
    assert len(changes_of(time_s[:1], np.ones(1), np.ones(1)).reference) == 0


def test_opposite_trends_are_seen_as_such() -> None:
    raw = cohort(noise=0.0)
    mirrored = Pairing("CO", raw.subject, raw.recording, raw.time_s, raw.reference, {MODEL: 10 - raw.reference},
                       raw.spread, raw.share)  # fmt: skip
    found = measure_pairs(mirrored, MODEL, bootstrap=0)
    assert found["spearman_within"][0] == pytest.approx(-1.0)
    assert found["direction"][0] < 0.02 and found["concordance"][0] < 0.02 and found["polar"][0] < 0.02


def test_a_model_that_knows_its_error_has_a_falling_curve_and_one_that_does_not_has_none() -> None:
    rng = np.random.default_rng(3)
    subject = np.repeat(np.arange(50), 40)
    spread = np.exp(rng.normal(-2, 0.6, len(subject)))
    error = np.abs(spread * rng.standard_normal(len(subject)))
    knows = rejection_curve(error, spread, subject)
    assert knows.monotone and knows.rank > 0.3 and knows.error[-1] < 0.5 * knows.error[0]
    kept, threshold = knows.at_error(float(knows.error[4]))
    assert kept == pytest.approx(0.6) and np.mean(spread <= threshold) == pytest.approx(0.6, abs=0.01)
    assert np.isnan(knows.at_error(0.0)).all()
    wrong = rejection_curve(error, -spread, subject)
    assert not wrong.monotone and not wrong.below and wrong.rank < -0.3
    with pytest.raises(ValueError, match="20 pairs"):
        rejection_curve(error[:5], spread[:5], subject[:5])


def test_a_rise_that_one_subject_makes_is_within_its_interval_and_is_told() -> None:
    rng = np.random.default_rng(4)
    subject = np.repeat(np.arange(15), 40)
    spread = rng.uniform(0.3, 0.5, len(subject)) * np.where(subject == 0, 0.5, 1.0)  # one is always the surest
    own = np.where(np.arange(15) == 0, 0.4, 0.15 + 0.05 * rng.standard_normal(15))
    error = np.abs(own[subject] + 0.02 * rng.standard_normal(len(subject)))
    curve = rejection_curve(error, spread, subject)
    assert curve.error[-1] > 2 * curve.error[0] and curve.subjects[-1] < 3 < 14 < curve.subjects[0]
    assert curve.monotone and not curve.below
    several = subject < 4  # a draw of subjects has none of them in 1 of 100
    many = rejection_curve(np.where(several, 0.4, 0.15), spread * np.where(several, 0.5, 1.0), subject)
    assert not many.monotone
    assert {"rise", "subjects", "no_point_above_an_interval"} <= set(many.to_json())


def test_coverage_is_of_patients_not_of_windows() -> None:
    subject = np.concatenate([np.zeros(900, int), 1 + np.arange(100)])
    inside = np.concatenate([np.zeros(900), np.ones(100)])
    found = coverage_by_subject(inside, subject)
    assert found["coverage"] == pytest.approx(100 / 101) and found["pooled"] == 0.1
    inside[5] = np.nan
    assert coverage_by_subject(inside, subject)["windows"] == 999
    assert coverage_by_subject(np.full(3, np.nan), np.arange(3))["subjects"] == 0
    halves = {"half": [("first", subject == 0), ("rest", subject > 0)]}
    assert subgroup_coverage(np.ones(1000), subject, halves)["half"]["first"]["windows"] == 900


def test_pulse_rules_rise_with_the_pulse() -> None:
    phase = (np.arange(1000) / 125) % 0.75
    shape = np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1)
    small, large = (pulse_rules(70 + height * shape, 125.0) for height in (40, 70))
    assert all(large[name] > small[name] for name in RULES)
    assert pulse_rules(np.full(1000, 80.0), 125.0) == {}
