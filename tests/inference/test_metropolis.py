"""Chains without gradients: the exact posterior, up to the end of an interval, and what makes a sampler take them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import toy_beat as toy

from pulsebayes.calibration.c2st import c2st
from pulsebayes.inference.chart import Chart
from pulsebayes.inference.mcmc import Chains, Sampler
from pulsebayes.inference.reference import Reference

pytestmark = pytest.mark.usefixtures("one_width")


def reference(noise: float = 4.0, offset_sd: float = 0.0) -> Reference:
    return Reference(toy.CostlyBeat(), ("height",), noise=noise, gain_sd=0.0, offset_sd=offset_sd, fs=25.0, samples=100)


def seen(height: float, noise: float) -> np.ndarray:
    return toy.wave(np.array([72.0, height]), 0.31) + noise * np.random.default_rng(0).standard_normal(100)


def first(height: float) -> np.ndarray:
    return np.stack([np.full(50, 72.0), np.random.default_rng(0).normal(height, 0.05 * height, 50)], -1)


def test_chains_meet_the_grid():
    pytest.importorskip("numpyro", reason="the extra `reference` is not installed")
    x = seen(12.0, 4.0)
    grid = toy.grid_draws(x, noise=4.0, n=750, rng=np.random.default_rng(1))
    chains = Sampler(reference(), draws=250, warmup=20, chains=3, method="metropolis").sample(x, first(12.0))
    assert chains.warning() is None and chains.method == "metropolis"
    drawn = np.stack([chains.values["height"], chains.values["HR"]], -1).reshape(-1, 2)
    assert c2st(grid, drawn, epochs=15) < 0.56  # as NUTS, see test_exact


def test_chains_meet_the_end_of_an_interval():
    pytest.importorskip("numpyro", reason="the extra `reference` is not installed")
    x = seen(2.0, 1.0)  # the end of the height's interval
    chains = Sampler(reference(1.0), draws=250, warmup=20, chains=3, method="metropolis").sample(x, first(2.2))
    heights, rates, starts = np.linspace(2.0, 3.2, 121), np.linspace(69, 75, 61), np.linspace(0.21, 0.41, 61)
    log_p = np.empty((len(heights), len(rates), len(starts)))
    time = np.arange(100) / 25.0 - starts[:, None]
    for j, rate in enumerate(rates):
        unit = sum((c * np.exp(2j * np.pi * (k + 1) * time * rate / 60.0)).real for k, c in enumerate(toy.SHAPE))
        log_p[:, j] = -0.5 * ((x - 90.0 - heights[:, None, None] * unit) ** 2).sum(-1)
        log_p[:, j] += -0.5 * ((rate - 75.0) / 10.0) ** 2 - 0.5 * ((heights[:, None] - 10.0) / 4.0) ** 2
    weight = np.exp(log_p - log_p.max()).sum((1, 2))
    share = np.cumsum(weight) / weight.sum()
    drawn = chains.values["height"].ravel()
    assert chains.warning() is None and share[5] > 0.02  # mass within .05 of the end
    for height in (2.05, 2.1, 2.2, 2.4):
        expected = np.interp(height, heights, share)
        # 4 standard errors of a share among the effective draws
        assert abs((drawn < height).mean() - expected) < 4 * np.sqrt(0.25 / chains.ess)


def test_prior_on_the_chart_is_that_of_the_unknowns_times_the_volume():
    chart = Chart(reference(offset_sd=2.5).solver, np.array([0.2, 0.1, 0.0, 0.3, 0.1]))
    y = chart.to(np.array([[-0.4, -2.6, 0.2, -0.3, 0.5]]))
    step = 1e-4 * np.eye(5)
    slope = (chart.back(y + step).z - chart.back(y - step).z) / 2e-4
    at = chart.back(y)
    expected = -0.5 * (at.z[0, :-1] ** 2).sum() + np.linalg.slogdet(slope)[1]
    np.testing.assert_allclose(at.log_prior[0], expected, atol=1e-5)
    assert abs(np.linalg.slogdet(slope)[1]) > 0.1


def test_a_sampler_says_where_other_chains_took_the_place_of_nuts(monkeypatch):
    pytest.importorskip("numpyro", reason="the extra `reference` is not installed")
    x, sampler = seen(12.0, 4.0), Sampler(reference(), draws=150, warmup=50, chains=3)
    good = Chains(np.zeros((3, 150, 5)), {}, np.zeros((3, 150), bool), 1.0, 400.0)
    monkeypatch.setattr(Sampler, "_guided", lambda *_: good)
    assert sampler.sample(x, first(12.0)) is good and good.method == "nuts" and not good.instead
    monkeypatch.setattr(Sampler, "_guided", lambda *_: replace(good, rhat=2.48))
    chains = sampler.sample(x, first(12.0))
    assert chains.method == "metropolis" and "R-hat is 2.480" in chains.instead and chains.rhat < 1.02


def test_an_unknown_method_and_one_for_other_models_are_refused():
    with pytest.raises(ValueError, match="method must be"):
        Sampler(reference(), method="gibbs")
    plain = Reference(toy.ToyBeat(), ("height",))
    with pytest.raises(ValueError, match="costly models"):
        Sampler(plain, method="metropolis")
