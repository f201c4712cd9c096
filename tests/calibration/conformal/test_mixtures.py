r"""RoPE mixtures as predictions: a density that integrates to one, draws that follow it, HPD levels that are right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pulsebayes.calibration.conformal import (
    HPD,
    Coordinates,
    LatentNorm,
    MixtureDensity,
    Region,
    mixture_prediction,
    split_conformal,
)
from pulsebayes.calibration.rope import Components, DrawnPrior, Mixture
from pulsebayes.inference.outputs import OutputSpace

N = 80
PAIR = Coordinates(("CO", "SVR"), ("L/min", "dyn s cm^-5"), (True, True))


@pytest.fixture(scope="module")
def outputs() -> OutputSpace:
    return OutputSpace.from_names(("HR", "SV", "MAP", "CVP"))


@pytest.fixture(scope="module")
def mixture(outputs: OutputSpace) -> Mixture:
    r"""Weights near one of two lumps of simulations for every case."""
    rng = np.random.default_rng(0)
    space = outputs.space
    z = space.unconstrain(space.constrain(0.5 * rng.normal(size=(60, 4))))
    parts = Components(space, z[:, None] + 0.1 * rng.normal(size=(60, 20, 4)), np.full(4, 0.6))
    prior = DrawnPrior(space, space.constrain(0.6 * rng.normal(size=(800, 4))))
    return Mixture(rng.dirichlet(np.full(60, 0.08), N), parts, prior, bandwidth=0.2, prior_share=0.05)


def test_density_integrates_to_one_and_draws_follow_it(mixture: Mixture, outputs: OutputSpace) -> None:
    density = MixtureDensity.of(mixture, outputs, PAIR)
    draws = density.sample(np.random.default_rng(1), 4000)[0]
    ends = draws.mean(0) + np.array([[-6], [6]]) * draws.std(0)
    axes = [np.linspace(*end, 160) for end in ends.T]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(1, -1, 2)
    mass = np.exp(density.log_prob(np.array([0]), grid))[0] * np.prod([a[1] - a[0] for a in axes])
    assert mass.sum() == pytest.approx(1.0, abs=0.02)
    for j in range(2):
        order = np.argsort(grid[0, :, j], kind="stable")
        found = np.interp(draws[:, j], grid[0, order, j], np.cumsum(mass[order]) / mass.sum())
        assert stats.kstest(found, "uniform").statistic < 0.05


def test_it_is_the_widened_mixture_where_the_targets_are_the_outputs(mixture: Mixture, outputs: OutputSpace) -> None:
    # Draws of the mixture itself, kernels on the outputs' own scale, agree with those of the density of MAP.
    alone = Coordinates(("HR",), ("1/min",), (outputs.log_scaled["HR"],))
    ours = MixtureDensity.of(mixture, outputs, alone).sample(np.random.default_rng(2), 6000)[3, :, 0]
    theirs = mixture.sample(np.random.default_rng(3), 6000)[3, :, outputs.names.index("HR")]
    theirs = alone.transform(theirs[:, None])[:, 0]
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.15 * theirs.std())
    assert ours.std() == pytest.approx(theirs.std(), rel=0.2)


def test_hpd_levels_are_uniform_if_the_mixture_is_true_and_regions_cover(
    mixture: Mixture, outputs: OutputSpace
) -> None:
    prediction = mixture_prediction(mixture, outputs, PAIR, n_draws=300, seed=0)
    truth = prediction.density[0].sample(np.random.default_rng(9), 1)[:, 0]  # type: ignore[attr-defined]
    score = HPD(most=300).fit(prediction, truth)
    levels = score.score(prediction, truth)
    assert stats.kstest(levels, "uniform").pvalue > 1e-3
    rule = split_conformal(score, prediction[:40], PAIR.restore(truth[:40]), coordinates=PAIR)
    hit = rule.regions(prediction[40:]).contains(PAIR.restore(truth[40:]))
    assert hit.mean() > 0.902 - 3 * 0.066  # Beta(37, 4): sd .046; 40 new cases: sd .047
    region = rule.region(prediction[50])
    assert isinstance(region, Region) and region.bounded and region.volume(n=2000).value > 0


def test_what_has_no_density_is_refused(mixture: Mixture, outputs: OutputSpace) -> None:
    with pytest.raises(ValueError, match="quantities must be among"):
        MixtureDensity.of(mixture, outputs, Coordinates(("PWV",), ("m/s",), (True,)))
    needles = Mixture(mixture.weights, mixture.components, mixture.prior)
    with pytest.raises(ValueError, match="bandwidth above 0"):
        MixtureDensity.of(needles, outputs, PAIR)
    prediction = mixture_prediction(mixture, outputs, PAIR, n_draws=20)
    with pytest.raises(ValueError, match="no latent space"):
        LatentNorm().fit(prediction, prediction.mean).score(prediction, prediction.mean)
