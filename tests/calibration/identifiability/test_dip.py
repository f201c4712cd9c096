r"""The dip test: values of another program, calibrated p-values, and power."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.calibration.identifiability.dip import dip, dip_p_value, dips
from pulsebayes.calibration.identifiability.regimes import find_regimes, modal_share, separators


@pytest.mark.parametrize(
    ("n", "seed", "gap", "expected"),
    [  # the package diptest 0.12.0 on normal samples, the second half moved by `gap`
        (20, 0, 0.0, 0.0558578107),
        (101, 1, 0.0, 0.0270827090),
        (64, 2, 2.5, 0.0430294284),
        (200, 3, 4.0, 0.0694776971),
        (37, 4, 1.0, 0.0382566439),
    ],
)
def test_dips_are_those_of_another_program(n: int, seed: int, gap: float, expected: float) -> None:
    x = np.random.default_rng(seed).normal(size=n)
    x[n // 2 :] += gap
    assert dip(x) == pytest.approx(expected, abs=1e-9)


def test_ties_and_two_points_have_their_dips() -> None:
    assert dip(np.repeat([0.0, 1.0], 10)) == pytest.approx(0.25)
    assert dip(np.ones(8)) == pytest.approx(1 / 16)
    assert dip(np.arange(10.0)) == pytest.approx(1 / 20)
    with pytest.raises(ValueError, match="at least 4"):
        dip(np.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        dips(np.full((2, 5), np.nan))


def test_p_values_of_uniform_samples_are_uniform_and_of_normal_ones_large() -> None:
    rng = np.random.default_rng(3)
    p = dip_p_value(dips(rng.random((2000, 150))), 150)
    for level in (0.01, 0.05, 0.2, 0.5):  # four standard errors: a false alarm in some thousand runs
        assert np.mean(p <= level) == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 2000))
    for sample in (rng.normal(size=(500, 150)), rng.exponential(size=(500, 150)), rng.standard_t(3, (500, 150))):
        assert np.mean(dip_p_value(dips(sample), 150) <= 0.05) < 0.02


def test_two_regimes_are_found_with_what_separates_them_and_one_is_not() -> None:
    rng = np.random.default_rng(4)
    age = rng.uniform(20, 80, 400)
    width = np.where(age > 55, 1.2, 0.0) + 0.25 * rng.normal(size=400)
    found = find_regimes(width)
    assert found.p < 1e-3
    assert found.share == pytest.approx(np.mean(age > 55), abs=0.03)
    assert found.levels == pytest.approx((0.0, 1.2), abs=0.1)
    best = separators(width > found.cut, {"luck": rng.normal(size=400), "age": age, "constant": np.ones(400)})
    assert [one.name for one in best] == ["age", "luck"]
    assert (best[0].threshold, best[0].accuracy) == pytest.approx((55, 0.99), abs=0.02 * 55)
    assert best[0].auc > 0.98 > 0.02 > best[0].p and best[1].p > 0.05
    assert find_regimes(0.5 * rng.normal(size=400) + 0.02 * age).p > 0.2  # wide, skewed, but one
    with pytest.raises(ValueError, match="at least 100 individuals"):
        find_regimes(np.zeros(20))
    assert separators(np.arange(200) < 3, {"age": rng.random(200)}) == []


def test_a_separator_may_point_either_way() -> None:
    rng = np.random.default_rng(5)
    rate = rng.uniform(50, 100, 300)
    one = separators(rate < 70, {"rate": rate})[0]
    assert one.auc < 0.01 and one.threshold == pytest.approx(70, abs=2) and one.accuracy > 0.97


def test_sharp_modes_are_cut_between_them() -> None:
    rng = np.random.default_rng(6)
    values = np.concatenate([rng.normal(0, 0.1, 300), rng.normal(1.0, 0.3, 100)])
    assert 0.2 < find_regimes(values).cut < 0.8
    assert find_regimes(np.zeros(150)).p_modes == 1.0


def test_posteriors_of_two_modes_are_counted() -> None:
    rng = np.random.default_rng(7)
    draws = rng.normal(size=(200, 300))
    share, p, _ = modal_share(draws)
    assert share < 0.02 and p > 0.3
    draws[:40] += np.where(rng.random((40, 300)) < 0.5, 3.0, -3.0)
    share, p, who = modal_share(draws)
    assert share == pytest.approx(0.2, abs=0.02) and p < 1e-6 and who[:40].all()
