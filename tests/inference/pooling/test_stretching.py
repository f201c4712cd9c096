"""Stretched draws: ranks stay, distances become what they should, and a fit brings coverage home."""

from __future__ import annotations

import math

import numpy as np
import torch

from pulsebayes.inference.pooling.network import PooledNPE, PoolingConfig, stretch
from pulsebayes.inference.pooling.stretching import RecordingTensors, _curves, fit_stretching, quantile_line


def test_half_and_nine_tenths_move_and_ranks_stay() -> None:
    draws = torch.randn(4001, 2, generator=torch.Generator().manual_seed(0))
    spread = torch.zeros(2, 2, 2)
    spread[0, 0, 0], spread[1, 1, 0] = math.log(1.2), math.log(1.6)
    made = stretch(draws, spread, torch.tensor(0.5))
    before, after = ((x - x.median(0).values).abs() for x in (draws, made))
    ratio = torch.quantile(after, torch.tensor([0.5, 0.9]), dim=0) / torch.quantile(
        before, torch.tensor([0.5, 0.9]), dim=0
    )
    torch.testing.assert_close(ratio[:, 0], torch.tensor([1.2, 1.6**0.5]), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(made[:, 1], draws[:, 1])
    assert bool((draws[:, 0].argsort() == made[:, 0].argsort()).all())


def test_a_line_of_quantiles_is_found() -> None:
    rng = np.random.default_rng(0)
    x, normal = rng.random(6000), np.abs(rng.standard_normal(6000))
    reach = np.array([0.3186, 0.6745, 1.6449])  # of a quarter, half and nine tenths of normal draws
    values = np.log(normal)[:, None] - np.log(reach) + (0.3 - 0.2 * x)[:, None]
    offset, slope = quantile_line(values, x, (0.25, 0.5, 0.9), np.arange(-0.5, 0.51, 0.05), 0.005)
    assert abs(offset - 0.3) < 0.1
    assert abs(offset + 0.5 * slope - 0.2) < 0.05


def test_what_is_too_narrow_is_widened() -> None:
    """An untrained estimator's draws, against truths that lie twice as far from their medians."""
    torch.manual_seed(0)
    npe = PooledNPE(2, PoolingConfig(inputs=6, features=4, hidden=8, context=4, transforms=2, flow_hidden=(8,))).eval()
    n, windows = 150, 6
    rng = np.random.default_rng(0)
    z = torch.from_numpy(2.5 * rng.standard_normal((n, 1, 2)) + 0 * rng.standard_normal((n, windows, 2))).float()
    slow = torch.from_numpy(2.5 * rng.standard_normal((n, 1, 2))).float().expand(-1, windows, -1)
    time_s = (8.0 * torch.arange(windows)).expand(n, -1)
    data = RecordingTensors(
        torch.zeros(n, windows, 6),
        z,
        slow,
        time_s,
        torch.ones(n, windows, dtype=torch.bool),
        torch.zeros(n, windows).long(),
    )
    fit_stretching(npe, [data], draws=100)
    sizes = torch.linspace(0, 1, 11)[:, None] ** torch.arange(npe.shared_spread.shape[1])
    factors = torch.einsum("xp,lpk->xlk", sizes, npe.shared_spread)
    assert bool((factors[5] > 0.2).all())
    assert float(factors.abs().max()) <= 1.1 + 1e-6  # bounded at any size of pool


def test_a_bend_between_small_and_large_pools_is_found() -> None:
    """Right for the smallest and the largest pools, too narrow by a fifth halfway."""
    rng = np.random.default_rng(0)
    x, normal = rng.uniform(0.16, 1.0, 4000), np.abs(rng.standard_normal(4000))
    reach = np.array([0.3186, 0.6745, 1.0364, 1.2816, 1.6449, 1.96])  # of shares of normal draws
    ratios = (np.log(normal)[:, None] - np.log(reach) + (0.8 * x * (1 - x))[:, None])[..., None]
    powers = np.array([0.2, 0.5, 1.0])[:, None] ** np.arange(3)
    curve = powers @ _curves(ratios, x)[:, :, 0].numpy().T
    np.testing.assert_allclose(curve[1], 0.2, atol=0.05)
    assert bool((curve[1] - curve[2] > 0.08).all())  # a line alone holds both at .13 or so
