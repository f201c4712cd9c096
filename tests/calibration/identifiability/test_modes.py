r"""The likelihood ratio of two modes: by hand, its size where there is one mode, its power where there are two."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pulsebayes.calibration.identifiability import modes
from pulsebayes.calibration.identifiability.covariates import wave_covariates
from pulsebayes.calibration.identifiability.modes import two_modes


def test_the_ratio_is_that_of_the_best_histograms() -> None:
    counts = np.array([1.0, 5.0, 2.0, 6.0, 1.0])
    two = (counts * np.log(counts)).sum()
    pooled = 1 * np.log(1) + 7 * np.log(3.5) + 6 * np.log(6) + 1 * np.log(1)  # 5 and 2 make one step of 3.5
    ratio, at, _ = modes._ratio(counts)
    assert ratio == pytest.approx(2 * (two - pooled))
    assert modes._valley(counts, at) == 2.5  # in the middle of the bin that holds 2
    assert modes._ratio(np.array([1.0, 2.0, 5.0, 4.0, 4.0, 1.0]))[0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("sides", [3, 5, 8])
def test_the_ratio_is_found_by_trying_all_places(sides: int) -> None:
    counts = np.random.default_rng(sides).integers(0, 9, 2 * sides).astype(float)

    def falling(part: np.ndarray) -> float:
        blocks: list[list[float]] = []
        for value in part:
            blocks.append([value, 1.0])
            while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] <= blocks[-1][0] / blocks[-1][1]:
                s, w = blocks.pop()
                blocks[-1] = [blocks[-1][0] + s, blocks[-1][1] + w]
        return sum(s * np.log(s / w) for s, w in blocks if s > 0)

    def one(part: np.ndarray) -> float:
        return max(falling(part[:m][::-1]) + falling(part[m:]) for m in range(len(part) + 1))

    best = max(one(counts[:v]) + one(counts[v:]) for v in range(len(counts) + 1))
    assert modes._ratio(counts)[0] == pytest.approx(2 * (best - one(counts)))


ONE = {
    "normal": lambda rng, n: rng.normal(size=n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "uniform": lambda rng, n: rng.random(n),
    "triangular": lambda rng, n: rng.triangular(0, 0.2, 1, n),
    "t": lambda rng, n: rng.standard_t(3, n),
}


@pytest.mark.parametrize("name", ONE)
def test_one_mode_is_rarely_called_two_however_skewed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "NULL_DRAWS", 200)
    rng = np.random.default_rng(1)
    p = np.array([two_modes(ONE[name](rng, 300)).p for _ in range(60)])
    assert np.mean(p <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)  # three standard errors
    assert np.mean(p <= 0.005) <= 2 / 60


@pytest.mark.parametrize(
    ("two", "place", "beyond"),
    [
        (lambda rng, n: np.where(rng.random(n) < 0.06, rng.normal(4.2, 0.5, n), rng.normal(size=n)), 2.7, 1e-3),
        (lambda rng, n: np.where(rng.random(n) < 0.5, rng.normal(3.2, 1, n), rng.normal(size=n)), 1.6, 1e-3),
    ],
)
def test_two_modes_are_found_with_the_valley_between_them(two: Callable, place: float, beyond: float) -> None:
    found = two_modes(two(np.random.default_rng(2), 3000))
    assert found.p < beyond
    assert found.cut == pytest.approx(place, abs=0.5)


def test_a_constant_has_one_mode_and_few_values_are_refused() -> None:
    assert two_modes(np.ones(200)).p == 1.0
    with pytest.raises(ValueError, match="at least 100 values"):
        two_modes(np.zeros(99))
    with pytest.raises(ValueError, match="all finite"):
        two_modes(np.full(200, np.nan))


def test_waves_tell_rhythm_notch_and_clipping() -> None:
    onsets = np.array([0.2, 1.0, 2.1, 2.8, 4.0, 4.7, 5.9, 6.8])
    t = np.arange(800) / 100
    steady, irregular = (
        sum(np.where(t >= at, np.exp(-(t - at) / 0.2) * np.minimum((t - at) / 0.05, 1), 0) for at in begins)
        for begins in (np.arange(0.2, 7.5, 0.8), onsets)
    )
    second = steady + sum(0.2 * np.exp(-(((t - at - 0.4) / 0.03) ** 2)) for at in np.arange(0.2, 7.5, 0.8))
    waves = np.stack([steady, irregular, second])
    found = wave_covariates(waves, np.minimum(waves, np.array([[9.0], [9.0], [0.7]])))
    assert found["beat_variation"][0] < 0.02 < 0.15 < found["beat_variation"][1]
    assert found["secondary_rise"][0] < 0.05 < 0.1 < found["secondary_rise"][2]
    assert found["clipped"][2] > 0.05 > found["clipped"][0]
    assert wave_covariates(np.zeros((2, 1)), np.zeros((2, 1))) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "apart", "spread", "least"),
    [(0.05, 4.0, 0.6, 0.4), (0.1, 3.5, 0.6, 0.5), (0.5, 3.0, 1.0, 0.9)],  # of 4,000 individuals at 5 in 10,000
)
def test_power_where_two_groups_part(share: float, apart: float, spread: float, least: float) -> None:
    rng, found, n = np.random.default_rng(3), [], 4000
    for _ in range(20):
        second = rng.random(n) < share
        found.append(two_modes(np.where(second, rng.normal(apart, spread, n), rng.normal(size=n))).p <= 5e-4)
    print(f"{share:g} of {n} at {apart:g} +- {spread:g}: found in {np.mean(found):.2f}")
    assert np.mean(found) >= least


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE)
def test_false_alarms_at_every_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "NULL_DRAWS", 400)
    rng = np.random.default_rng(4)
    for n, times in ((400, 300), (4000, 100)):
        rate = np.mean([two_modes(ONE[name](rng, n)).p <= 0.05 for _ in range(times)])
        print(f"{name}, {n}: {100 * rate:.1f} % at 5 %")
        assert rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / times)
