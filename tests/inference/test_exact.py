"""NUTS and refined draws meet the exact posterior of a small reference model, tabulated on a grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import toy_beat as toy

from pulsebayes.calibration.c2st import c2st
from pulsebayes.inference.bundle import Bundle, InputContract
from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.importance import pareto_smooth, refine, resample
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.reference import Reference
from pulsebayes.simulators.reference import ReferenceWindkessel

TRUTH = np.array([72.0, 12.0])
REFERENCE = Reference(toy.ToyBeat(), ("height",), noise=4.0, gain_sd=0.0, offset_sd=0.0, fs=25.0, samples=100)


@pytest.fixture(scope="module")
def window() -> np.ndarray:
    rng = np.random.default_rng(0)
    return toy.wave(TRUTH, 0.31) + 4.0 * rng.standard_normal(100)


@pytest.fixture(scope="module")
def grid(window) -> np.ndarray:
    """Draws of height and rate from a three-dimensional table over height, rate and start."""
    return toy.grid_draws(window, noise=4.0, n=1000, rng=np.random.default_rng(1))


def bundle(centre: float, sd: float) -> Bundle:
    """An untrained estimator that answers about N(centre, sd) on the unconstrained scale."""
    torch.manual_seed(0)
    outputs = OutputSpace.from_names(("height",), extra=toy.ToyBeat().space)
    npe = NPE(outputs, NPEConfig(EmbeddingConfig("dense", samples=100, fs=25.0, hidden=4, context=2), transforms=1,
                                 hidden=(4,))).eval()  # fmt: skip
    with torch.no_grad():  # what the untrained flow does to its noise is undone, so that centre and sd are as asked
        made = npe.flow(npe.embedding(torch.full((1, 100), 90.0))).sample((4000,))
    npe.z_sd.fill_(sd / float(made.std()))
    npe.z_mean.fill_(centre - float(made.mean()) * sd / float(made.std()))
    return Bundle("toy", npe, np.array([[10.0], [12.0]], np.float32), InputContract(fs=25.0, samples=100))


def scaled(grid: np.ndarray) -> tuple[float, float]:
    z = toy.ToyBeat().space.subset(("height",)).unconstrain(grid[:, :1])
    return float(z.mean()), float(z.std())


def test_refined_draws_meet_the_grid(window, grid):
    centre, sd = scaled(grid)
    model = bundle(centre + 0.7 * sd, 1.6 * sd)
    found = refine(model, REFERENCE, window, 1000, proposals=4000)
    assert found.weights.warning() is None
    assert found.weights.k < 0.7 and found.weights.ess > 400
    before = model.npe.sample(torch.from_numpy(window.astype(np.float32))[None], 1000, torch.Generator().manual_seed(1))
    values = REFERENCE.unknowns(found.z, found.start)
    refined = np.stack([values["height"], values["HR"]], -1)
    # accuracy on 2,000 held-out rows has a standard error of .011: four of them above one half
    assert c2st(grid, refined, epochs=15) < 0.545
    assert c2st(grid[:, :1], before[0].astype(float), epochs=15) > 0.6


def test_more_are_drawn_where_few_count(window, grid):
    centre, sd = scaled(grid)
    poor = bundle(centre + 3.5 * sd, 1.2 * sd)
    once = refine(poor, REFERENCE, window, 500, proposals=2000)
    again = refine(poor, REFERENCE, window, 500)
    assert once.weights.ess < 250
    assert len(again.weights.log_w) in (4000, 6000, 8000, 10000)
    assert again.weights.ess > once.weights.ess
    found = REFERENCE.unknowns(again.z, again.start)["height"]
    assert abs(found.mean() - grid[:, 0].mean()) < 0.5 * grid[:, 0].std()


def test_normal_law_at_the_mode_resembles_the_posterior(window, grid):
    z, start = REFERENCE.begin(window, np.array([[70.0, 10.0]]))
    mode, factor = REFERENCE.laplace(window, z[0], start)
    draws = mode + np.random.default_rng(0).standard_normal((2000, 5)) @ factor.T
    values = REFERENCE.unknowns(draws, start)
    for name, column in (("height", 0), ("HR", 1)):  # the beat is nearly linear in both over the posterior's width
        assert abs(np.mean(values[name]) - grid[:, column].mean()) < 0.2 * grid[:, column].std()
        assert np.std(values[name]) / grid[:, column].std() == pytest.approx(1.0, abs=0.15)
    rest, _ = REFERENCE.laplace(np.full(100, np.nan), z[0], start)
    np.testing.assert_array_equal(rest, z[0])  # nothing better found: the point itself


def test_bad_proposals_are_warned_of(window, grid):
    centre, sd = scaled(grid)
    found = refine(bundle(centre + 5 * sd, 0.5 * sd), REFERENCE, window, 500, proposals=2000)
    assert "Pareto k" in str(found.weights.warning()) or "effective draws" in str(found.weights.warning())


def test_nuts_meets_the_grid(window, grid, tmp_path):
    pytest.importorskip("numpyro", reason="the extra `reference` is not installed")
    from pulsebayes.inference.mcmc import Sampler, save_chains

    theta = np.stack([np.full(200, 72.0), np.random.default_rng(0).normal(12.0, 1.0, 200)], -1)
    chains = Sampler(REFERENCE, draws=400, warmup=200, chains=3).sample(window, theta)
    assert chains.warning() is None
    drawn = np.stack([chains.values["height"], chains.values["HR"]], -1).reshape(-1, 2)[:1000]
    # effective draws are fewer than draws: .06 instead of .045
    assert c2st(grid, drawn, epochs=15) < 0.56
    az = pytest.importorskip("arviz")
    save_chains(chains, window, tmp_path / "nuts.nc", fs=25.0)
    read = az.from_netcdf(tmp_path / "nuts.nc")
    assert read.posterior.sizes["chain"] == 3 and "diverging" in read.sample_stats
    assert float(az.rhat(read.posterior)["height"]) == pytest.approx(chains.rhat, abs=0.02)
    assert float(az.ess(read.posterior)["height"]) > 0.7 * chains.ess


def test_smoothed_weights_are_arvizs():
    az = pytest.importorskip("arviz")
    rng = np.random.default_rng(0)
    for spread in (0.5, 1.0, 2.5):
        log_w = spread * rng.standard_normal(2000)
        expected, k = az.psislw(log_w)
        found = pareto_smooth(log_w)
        assert found.k == pytest.approx(float(k), abs=1e-6)
        np.testing.assert_allclose(found.log_w, np.asarray(expected), atol=1e-6)


def test_weights_are_judged():
    assert pareto_smooth(np.zeros(100)).ess == pytest.approx(100)
    assert pareto_smooth(np.zeros(100)).warning() is None
    heavy = pareto_smooth(4.0 * np.random.default_rng(0).standard_normal(2000))
    assert "Pareto k" in str(heavy.warning())
    with pytest.raises(ValueError, match="at least 20 log weights"):
        pareto_smooth(np.zeros(5))
    with pytest.raises(ValueError, match="minus infinity throughout"):
        pareto_smooth(np.full(50, -np.inf))
    rows = resample(pareto_smooth(np.log(np.r_[np.full(50, 3.0), np.full(50, 1.0)])), 4000, np.random.default_rng(0))
    assert (rows < 50).mean() == pytest.approx(0.75, abs=0.03)


def test_a_law_about_the_mode_helps_an_estimator_that_is_far_off(window, grid):
    centre, sd = scaled(grid)
    far, costly = bundle(centre + 5 * sd, 0.5 * sd), replace(REFERENCE, model=toy.CostlyBeat())
    assert refine(far, costly, window, 500, proposals=2000).weights.warning() is not None
    found = refine(far, costly, window, 1000)
    assert found.weights.warning() is None
    assert found.weights.ess > 500
    values = costly.unknowns(found.z, found.start)
    refined = np.stack([values["height"], values["HR"]], -1)
    np.testing.assert_allclose(found.theta[:, 0], values["height"])
    assert c2st(grid, refined, epochs=15) < 0.545  # as of proposals that hold the posterior, above


def test_only_a_reference_bundle_is_refined(window):
    shipped = Reference.of(Bundle("x", bundle(0.0, 1.0).npe, np.array([[10.0]], np.float32),
                                  InputContract(fs=25.0, samples=100)))  # fmt: skip
    assert not shipped.exact
    assert "the catheter line" in shipped.left_out and "digitisation" in shipped.left_out
    assert any("noise" in what for what in shipped.left_out)
    with pytest.raises(ValueError, match="the likelihood of toy is not known"):
        refine(bundle(0.0, 1.0), shipped, window, 100)


def test_reference_names_at_most_ten_unknowns():
    assert Reference(ReferenceWindkessel(), ("SV",)).dim == 9
    from pulsebayes.simulators.reference import ReferenceNetwork

    assert Reference(ReferenceNetwork(), ()).dim == 10
