"""Moved draws: ranks stay, quantiles come where they are told, and a fit widens what is too narrow."""

from __future__ import annotations

import math

import numpy as np
import torch

from pulsebayes.inference.pooling.network import PooledNPE, PoolingConfig
from pulsebayes.inference.pooling.spread import NODES, QUANTILES, node_shares, reach_of, stretch, stretch_evenly
from pulsebayes.inference.pooling.stretching import RecordingTensors, fit_factors, fit_stretching

SIZE = torch.tensor(64.0).log()


def test_quantiles_come_where_they_are_told_and_ranks_stay() -> None:
    draws = torch.randn(4001, 2, generator=torch.Generator().manual_seed(0))
    spread = torch.zeros(len(QUANTILES), len(NODES), 2)
    told = torch.tensor([0.5, 0.2, 0.1, -0.1, 0.3])
    spread[:, 2, 0] = told
    made = stretch(draws, spread, SIZE)
    middle, reach = reach_of(draws)
    side = torch.tensor([-1.0, -1.0, 0.0, 1.0, 1.0])
    expected = middle[0] + side * reach[:, 0] * told.exp()
    expected[2] = middle[0] + 0.1 * reach[2, 0]
    torch.testing.assert_close(torch.quantile(made[:, 0], torch.tensor(QUANTILES)), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(made[:, 1], draws[:, 1])
    assert bool((draws[:, 0].argsort() == made[:, 0].argsort()).all())


def test_ranks_stay_however_wild_the_moves() -> None:
    draws = torch.randn(500, 40, generator=torch.Generator().manual_seed(1))
    spread = 2 * torch.rand(len(QUANTILES), len(NODES), 40, generator=torch.Generator().manual_seed(2)) - 1
    made = stretch(draws, spread, SIZE)
    rising = made.gather(0, draws.argsort(0)).diff(dim=0)
    assert float(rising.min()) >= -1e-5


def test_pools_beyond_the_nodes_take_the_nearest() -> None:
    shares = node_shares(torch.tensor([1.0, 2.0, math.sqrt(20.0), 200.0, 1e4]).log())
    torch.testing.assert_close(shares.sum(-1), torch.ones(5))
    assert shares[0].tolist() == shares[1].tolist() == [1.0, 0.0, 0.0, 0.0]
    torch.testing.assert_close(shares[2], torch.tensor([0.5, 0.5, 0.0, 0.0]))
    torch.testing.assert_close(shares[3], shares[4])


def test_layers_up_to_schema_4_stretch_as_they_did() -> None:
    draws = torch.randn(4001, 2, generator=torch.Generator().manual_seed(0))
    spread = torch.zeros(2, 3, 2)
    spread[0, 0, 0], spread[1, 1, 0] = math.log(1.2), math.log(1.6)
    made = stretch_evenly(draws, spread, torch.tensor(0.5))
    before, after = ((x - x.median(0).values).abs() for x in (draws, made))
    levels = torch.tensor([0.5, 0.9])
    ratio = torch.quantile(after, levels, dim=0) / torch.quantile(before, levels, dim=0)
    torch.testing.assert_close(ratio[:, 0], torch.tensor([1.2, 1.6**0.5]), rtol=1e-3, atol=1e-3)
    npe = PooledNPE(2, PoolingConfig(inputs=6, features=4, hidden=8))
    torch.testing.assert_close(npe.stretched(draws, spread, 0.5 * SIZE), made)
    assert npe.stretched(draws, spread, torch.tensor(1e4).log()).equal(stretch_evenly(draws, spread, torch.tensor(1.0)))


def _told(factor: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Factors found from truths that lie so many times as far out as normal draws do."""
    truth = factor.numpy() * np.abs(np.random.default_rng(0).standard_normal(len(size)))
    return fit_factors(np.log(truth[:, None] / np.array([0.6745, 1.6449]))[..., None], size)[:, 0]


def test_factors_go_along_with_the_size_of_the_pool() -> None:
    """Errors of a factor from 2,000 pools of a size: 2 % (one standard error)."""
    told = torch.tensor([1.0, 1.1, 1.3, 1.4])
    size = torch.tensor(NODES).log()
    found = _told(told.repeat(2000), size.repeat(2000)).exp()
    np.testing.assert_allclose(found, told, rtol=0.06)


def test_few_pools_prove_next_to_nothing() -> None:
    found = _told(torch.full((4,), 2.0), SIZE.expand(4))
    assert bool((found < 0.1).all())
    assert float(_told(torch.full((2000,), 2.0), SIZE.expand(2000))[2]) > 0.6


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
    ends = npe.shared_spread[[0, 1, 3, 4]]
    assert bool((ends[:, :2] > 0.2).all()) and bool((ends == ends[:1]).all())
    assert not bool(npe.shared_spread[2].any()) and not bool(npe.window_spread.any())
    assert float(npe.shared_spread.abs().max()) <= 1.1 + 1e-6
