r"""Trains of beats: steady, breathing, premature, irregular."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.network.rhythm import (
    N_BEATS,
    SHORTEST_INTERVAL,
    BeatTrain,
    Variability,
    draw_beats,
    steady_beat,
)
from pulsebayes.simulators.population import healthy_subject

N = 512


@pytest.fixture(scope="module")
def draw() -> Any:
    r"""Draw the beats of 512 hearts of one rate and one kind of variability."""

    @jax.jit
    def many(rate: Any, values: Any) -> Any:
        adult = healthy_subject(jnp.array([25.0, 0, 0, 0, 0, 0, 0]))._replace(heart_rate=rate)
        keys = jax.random.split(jax.random.key(1), N)
        return jax.vmap(lambda key: draw_beats(adult, Variability(*values), key, window_s=8.0))(keys)

    def beats(rate: float, **changes: float) -> BeatTrain:
        values = {"respiration_rate": 15.0} | dict.fromkeys(Variability._fields[1:], 0.0) | changes
        return jax.tree.map(np.asarray, many(jnp.asarray(rate), jnp.array([values[n] for n in Variability._fields])))

    return beats


def intervals(train: BeatTrain) -> np.ndarray:
    r"""Beat intervals, NaN beyond the last beat."""
    end = np.where(np.arange(N_BEATS) + 1 < train.n_beats[:, None], np.roll(train.onset, -1, axis=1), np.nan)
    last = np.arange(N_BEATS) == train.n_beats[:, None] - 1
    return np.where(last, train.period[:, None], end) - train.onset


def real(train: BeatTrain) -> np.ndarray:
    return np.arange(N_BEATS) < train.n_beats[:, None]


@pytest.mark.parametrize(("rate", "n_beats"), [(35.0, 5), (60.0, 8), (75.0, 10), (90.0, 12), (160.0, 22)])
def test_a_steady_heart_fills_eight_seconds_with_equal_beats(draw: Any, rate: float, n_beats: int) -> None:
    train = draw(rate)
    assert (train.n_beats == n_beats).all()
    np.testing.assert_allclose(train.period, n_beats * 60 / rate, rtol=1e-5)
    np.testing.assert_allclose(intervals(train)[real(train)], 60 / rate, rtol=1e-4)
    np.testing.assert_allclose(train.stroke_volume[real(train)], 66.33375, rtol=1e-5)
    ejection = min(0.2820, 0.8 * 60 / rate)
    np.testing.assert_allclose(train.ejection_time[real(train)], ejection, rtol=1e-3)


@pytest.mark.parametrize("rate", [35.0, 80.0, 160.0])
def test_beats_fill_at_least_the_window_and_no_beat_more(draw: Any, rate: float) -> None:
    train = draw(rate, rate_swing=0.2, irregularity=0.3, ectopy=0.4, stroke_swing=0.2)
    assert (train.period >= 8.0 * (1 - 1e-5)).all()
    last = train.n_beats.astype(int) - 1
    assert (train.onset[np.arange(N), last] < 8.0).all()
    assert (intervals(train)[real(train)] >= SHORTEST_INTERVAL * (1 - 1e-4)).all()
    assert (train.n_beats <= N_BEATS).all()
    assert (np.diff(train.onset, axis=1) > 0).all()
    assert (train.onset[:, 0] == 0).all()
    assert (train.onset[~real(train)] >= np.repeat(train.period, (~real(train)).sum(1)) * (1 - 1e-6)).all()


def test_ejection_never_takes_more_than_four_fifths_of_its_beat(draw: Any) -> None:
    train = draw(150.0, irregularity=0.3, ectopy=0.4)
    share = train.ejection_time / intervals(train)
    assert np.nanmax(np.where(real(train), share, np.nan)) <= 0.8 * (1 + 1e-4)


def test_a_premature_beat_is_followed_by_a_full_compensatory_pause(draw: Any) -> None:
    train = draw(60.0, ectopy=0.15)
    gaps = intervals(train)
    inner = np.arange(N_BEATS) < train.n_beats[:, None] - 1  # the last may be cut off from its pair
    early = np.argwhere((gaps < 0.9) & inner)
    assert len(early) > 300
    for row, beat in early:
        assert 0.55 - 1e-3 <= gaps[row, beat] <= 0.85 + 1e-3
        if not np.isnan(gaps[row, beat + 1]):
            assert gaps[row, beat] + gaps[row, beat + 1] == pytest.approx(2.0, abs=1e-3)
    late = np.argwhere((gaps > 1.1) & real(train))
    assert all(beat > 0 and gaps[row, beat - 1] < 0.9 for row, beat in late)


def test_premature_beats_come_at_their_share_and_never_twice_in_a_row(draw: Any) -> None:
    share = 0.15
    train = draw(60.0, ectopy=share)
    long = (intervals(train) > 1.1) & real(train)
    # Beat 0 is never premature; one after a candidate is dropped: expected share p (1 - p), four standard errors.
    tries = (real(train).sum(1) - 1).sum()
    expected = share * (1 - share)
    assert abs(long.sum() / tries - expected) < 4 * np.sqrt(expected / tries) + 0.02
    assert not (long[:, 1:] & long[:, :-1]).any()


def test_a_premature_beat_ejects_less_and_the_one_after_more(draw: Any) -> None:
    train = draw(60.0, ectopy=0.15)
    gaps, volume = intervals(train), train.stroke_volume / 66.33375
    pairs = (gaps[:, :-1] < 0.9) & (np.arange(N_BEATS - 1) + 1 < train.n_beats[:, None])
    np.testing.assert_allclose(volume[:, 1:][pairs], np.sqrt(gaps[:, :-1][pairs]), rtol=1e-3)
    after = (gaps[:, :-1] > 1.1) & (np.arange(N_BEATS - 1) + 1 < train.n_beats[:, None])
    np.testing.assert_allclose(volume[:, 1:][after], gaps[:, :-1][after] ** 0.25, rtol=1e-3)


def test_stroke_volume_swings_about_its_mean_with_breathing(draw: Any) -> None:
    train = draw(75.0, stroke_swing=0.2)
    volume = np.where(real(train), train.stroke_volume, np.nan) / 66.33375
    assert np.nanmean(volume) == pytest.approx(1.0, abs=0.01)
    assert np.nanmax(volume) == pytest.approx(1.2, abs=0.01)
    assert np.nanmin(volume) == pytest.approx(0.8, abs=0.01)
    np.testing.assert_allclose(np.nanmax(volume, 1) - np.nanmin(volume, 1), 0.4, atol=0.06)


def test_rate_swings_with_breathing_and_irregularity_sets_the_log_spread(draw: Any) -> None:
    swing = intervals(draw(75.0, rate_swing=0.1)) / 0.8
    assert np.nanmax(swing) == pytest.approx(1.1, abs=0.005)
    assert np.nanmin(swing) == pytest.approx(0.9, abs=0.005)
    spread = np.nanstd(np.log(intervals(draw(60.0, irregularity=0.1))))
    assert spread == pytest.approx(0.1, rel=0.06)  # noise is cut at 2.5 SD: 2 % less


def test_a_steady_beat_is_one_beat_of_its_own_period() -> None:
    adult = jax.jit(healthy_subject)(jnp.array([25.0, 0, 0, 0, 0, 0, 0]))
    train = steady_beat(adult)
    assert float(train.period) == pytest.approx(60 / 72.9158, rel=1e-5)
    assert float(train.stroke_volume[0]) == pytest.approx(66.33375, rel=1e-5)
    assert train.onset.tolist() == [0.0]
