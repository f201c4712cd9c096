"""Averages over pools against their definition, as arrays, as tensors and window by window."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsebayes.inference.pooling.pools import SCALES_S, pool_averages, pool_of


def _by_definition(
    features: np.ndarray, time_s: np.ndarray, *, causal: bool, states: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    averages = np.empty((len(features), len(SCALES_S), features.shape[1]))
    counts = np.empty((len(features), len(SCALES_S)))
    for i in range(len(features)):
        for k, scale in enumerate(SCALES_S):
            weights = np.exp(-np.abs(time_s - time_s[i]) / scale)
            if causal:
                weights[i + 1 :] = 0
            if states is not None and k:
                weights[states != states[i]] = 0
            counts[i, k] = weights.sum()
            averages[i, k] = weights @ features / weights.sum()
    return averages, counts


@pytest.mark.parametrize("causal", [True, False])
def test_the_recursion_is_the_weighted_mean(causal: bool) -> None:
    rng = np.random.default_rng(0)
    features, time_s = rng.standard_normal((50, 3)), np.cumsum(rng.exponential(60.0, 50))
    made, expected = (f(features, time_s, causal=causal) for f in (pool_averages, _by_definition))
    for ours, theirs in zip(made, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_all_but_the_first_average_end_where_the_sensor_changes(causal: bool) -> None:
    rng = np.random.default_rng(3)
    features, time_s = rng.standard_normal((30, 2)), np.cumsum(rng.exponential(60.0, 30))
    states = np.repeat([0, 1, 2], 10)
    made, expected = (f(features, time_s, causal=causal, states=states) for f in (pool_averages, _by_definition))
    for ours, theirs in zip(made, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    apart, known = torch.from_numpy(time_s)[None].float(), torch.from_numpy(states)[None]
    whole = torch.ones(1, 30, dtype=torch.bool)
    trained = pool_of(torch.from_numpy(features)[None].float(), apart, whole, apart, (known, known))
    if not causal:
        np.testing.assert_allclose(trained[0][0].numpy(), made[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_averages_are_told_where_they_do_not_count(causal: bool) -> None:
    rng = np.random.default_rng(4)
    features, time_s = rng.standard_normal((30, 2)), np.cumsum(rng.exponential(8.0, 30))
    counted, states = rng.random(30) < 0.4, np.repeat([0, 1, 2], 10)
    counted[::10] = True
    made = pool_averages(features, time_s, causal=causal, states=states, counted=counted)
    for i in range(30):
        rows = np.append(np.flatnonzero(counted), i)
        alone = np.where(np.arange(len(rows)) < len(rows) - 1, 1.0, 0.0)
        for k, scale in enumerate(SCALES_S):
            weights = alone * np.exp(-np.abs(time_s[rows] - time_s[i]) / scale) * ((rows <= i) | (not causal))
            weights *= (states[rows] == states[i]) | (k == 0)
            assert made[1][i, k] == pytest.approx(weights.sum(), rel=1e-5)
            np.testing.assert_allclose(made[0][i, k], weights @ features[rows] / weights.sum(), atol=1e-5)


def test_what_is_trained_is_what_is_asked() -> None:
    rng = np.random.default_rng(1)
    features, time_s = rng.standard_normal((20, 4)).astype(np.float32), np.sort(rng.uniform(0, 900, 20))
    expected = pool_averages(features, time_s, causal=False)
    times = torch.from_numpy(time_s.astype(np.float32))[None]
    made = pool_of(torch.from_numpy(features)[None], times, torch.ones(1, 20, dtype=torch.bool), times)
    for ours, theirs in zip(made, expected, strict=True):
        np.testing.assert_allclose(ours[0].numpy(), theirs, rtol=1e-4, atol=1e-5)


def test_windows_outside_the_pool_do_not_count() -> None:
    member = torch.tensor([[True, False, True]])
    features, times = torch.tensor([[[1.0], [100.0], [3.0]]]), torch.tensor([[0.0, 8.0, 16.0]])
    averages, counts = pool_of(features, times, member, times[:, :1])
    assert float(averages[0, 0, 0, 0]) == pytest.approx(2.0)
    assert float(counts[0, 0, 0]) == pytest.approx(2.0)


def test_times_that_fall_are_refused() -> None:
    with pytest.raises(ValueError, match="must not fall"):
        pool_averages(np.zeros((2, 1)), np.array([8.0, 0.0]), causal=True)
