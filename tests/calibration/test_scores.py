r"""Scores of posteriors against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.calibration.scores import acauc, acauc_density, lpp, rank_bias, wasserstein


def test_minus_infinity_is_counted_and_never_dropped() -> None:
    score = lpp(np.array([-1.0, -2.0, -np.inf, -3.0]))
    assert score.mean == -np.inf and score.infinite == 0.25 and score.finite == -2.0
    with pytest.raises(ValueError, match="none NaN"):
        lpp(np.array([np.nan]))


def test_acauc_is_the_area_under_the_coverage_curve() -> None:
    rng = np.random.default_rng(0)
    draws, truth = 0.6 * rng.normal(size=(800, 300, 1)), rng.normal(size=(800, 1))
    levels = (np.arange(200) + 0.5) / 200
    u = (draws < truth[:, None]).mean(1)[:, 0]
    curve = [np.mean(np.abs(u - 0.5) <= level / 2) for level in levels]
    assert acauc(draws, truth)[0] == pytest.approx(np.mean(levels - curve), abs=2e-3)


@pytest.mark.parametrize(("width", "low", "high"), [(1.0, -0.03, 0.03), (0.5, 0.1, 0.25), (2.0, -0.25, -0.1)])
def test_acauc_is_positive_for_over_confident_posteriors(width: float, low: float, high: float) -> None:
    rng = np.random.default_rng(1)
    draws, truth = width * rng.normal(size=(1500, 200, 1)), rng.normal(size=(1500, 1))
    density = acauc_density(-(draws[..., 0] ** 2), -(truth[:, 0] ** 2))
    assert low < acauc(draws, truth)[0] < high and low < density < high


def test_rank_bias_sees_a_shift_and_not_a_width() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(1500, 1))
    assert abs(rank_bias(0.3 * rng.normal(size=(1500, 100, 1)), truth)[0]) < 0.03
    assert rank_bias(rng.normal(size=(1500, 100, 1)) - 1.0, truth)[0] > 0.15


def test_wasserstein_of_a_shift_is_its_length() -> None:
    a = np.random.default_rng(3).normal(size=(100, 3))
    assert wasserstein(a, a[::-1] + np.array([1.0, 2.0, 2.0])) == pytest.approx(3.0)
