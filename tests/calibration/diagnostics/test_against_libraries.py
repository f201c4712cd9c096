"""Ranks and TARP curves are those of the sbi package; the shortest interval is that of ArviZ."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.calibration.diagnostics import ecdf_band, shortest_coverage, spread_ranks, tarp
from pulsebayes.calibration.diagnostics.rank_tests import ranks


def gaussian(n=400, s=300, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, 2))
    x = truth + rng.normal(size=(n, 2))
    return 0.5 * x[:, None] + np.sqrt(0.5) * rng.normal(size=(n, s, 2)), truth


def test_tarp_is_the_sbi_packages():
    torch = pytest.importorskip("torch")
    pytest.importorskip("sbi")
    from sbi.diagnostics.tarp import _run_tarp

    draws, truth = gaussian()
    references = np.random.default_rng(1).uniform(-3, 3, truth.shape)
    samples = torch.from_numpy(draws).permute(1, 0, 2)
    curve, levels = _run_tarp(samples, torch.from_numpy(truth), torch.from_numpy(references), num_bins=40)
    u = tarp(draws, truth, references=references).u
    ours = (u[:, None] <= levels.numpy()[None]).mean(0)
    # spreading moves a rank by at most one draw of 300, and a level by at most as many simulations as lie there
    np.testing.assert_allclose(ours, curve.numpy(), atol=0.02)


def test_ranks_are_the_sbi_packages():
    torch = pytest.importorskip("torch")
    pytest.importorskip("sbi")
    from sbi.diagnostics.sbc import _run_sbc

    draws, truth = gaussian()
    samples = torch.from_numpy(draws).permute(1, 0, 2)
    found = _run_sbc(torch.from_numpy(truth), torch.zeros(len(truth), 1), samples, show_progress_bar=False)
    np.testing.assert_allclose(found.numpy() / draws.shape[1], ranks(draws, truth))


def test_shortest_interval_is_arvizs():
    az = pytest.importorskip("arviz")
    rng = np.random.default_rng(0)
    draws, truth = rng.exponential(size=(60, 500, 1)), rng.exponential(size=(60, 1))
    ends = np.array([az.hdi(row[:, 0], hdi_prob=0.8) for row in draws])
    held = ((truth[:, 0] >= ends[:, 0]) & (truth[:, 0] <= ends[:, 1])).mean()
    assert abs(shortest_coverage(draws, truth, (0.8,))[0, 0] - held) < 0.04


def test_ecdf_band_holds_uniform_ranks_as_often_as_it_says():
    rng = np.random.default_rng(0)
    left = 0
    for _ in range(300):
        band = ecdf_band(rng.random((500, 1)), level=0.9)
        left += bool(((band.values[:, 0] < band.low) | (band.values[:, 0] > band.high)).any())
        assert bool(band.p[0] < 0.1) == bool(((band.values[:, 0] < band.low) | (band.values[:, 0] > band.high)).any())
    # 30 expected, standard deviation 5.2: three of them
    assert left <= 46


def test_spread_ranks_are_uniform_where_ranks_are():
    u = spread_ranks(np.random.default_rng(0).integers(0, 11, (4000, 1)) / 10, n_draws=10)
    counts, _ = np.histogram(u, bins=11, range=(0, 1))
    assert counts.min() > 364 - 4 * 19 and counts.max() < 364 + 4 * 19
