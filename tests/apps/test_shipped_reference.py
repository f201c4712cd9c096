r"""The reference bundles as they ship: honest on held-out simulations, and near enough to the exact posterior."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.inference import Bundle, find_bundle
from pulsebayes.inference.importance import refine
from pulsebayes.inference.reference import Reference
from pulsebayes.simulators.reference import ReferenceNetwork, ReferenceWindkessel


def test_its_draws_carry_nearly_even_weights() -> None:
    bundle = Bundle.load(find_bundle("radial-abp-reference"))
    reference = Reference.of(bundle)
    assert reference.exact
    model = ReferenceWindkessel()
    theta = model.space.sample_quantiles(np.full((1, model.space.dim), 0.5))
    wave = model.simulate(theta, seed=0).waves[0, 0, :1000]
    window = (wave + 2.0 * np.random.default_rng(0).standard_normal(1000)).astype(np.float32)
    found = refine(bundle, reference, window, 300, proposals=1200)
    assert found.weights.warning() is None
    assert found.weights.share > 0.5  # .85 and .92 on the first two windows of benchmarks.posteriors
    rate = reference.unknowns(found.z, found.start)["HR"]
    assert abs(np.median(rate) - theta[0, 0]) < 0.5


@pytest.mark.slow
def test_refinement_of_the_network_is_possible() -> None:
    bundle = Bundle.load(find_bundle("radial-abp-reference-network"))
    reference = Reference.of(bundle)
    assert reference.exact and reference.dim == 10
    model = ReferenceNetwork()
    theta = model.space.sample_quantiles(np.full((1, model.space.dim), 0.5))
    wave = model.simulate(theta, seed=0).waves[0, 0, :1000]
    window = (wave + 2.0 * np.random.default_rng(0).standard_normal(1000)).astype(np.float32)
    found = refine(bundle, reference, window, 300, proposals=1200)
    assert found.weights.warning() is None
    rate = reference.unknowns(found.z, found.start)["heart_rate"]
    assert abs(np.median(rate) - theta[0, 0]) < 0.5


@pytest.mark.parametrize("name", ["radial-abp-reference", "radial-abp-reference-network"])
def test_measures_of_the_card_are_honest(name: str) -> None:
    measured = Bundle.load(find_bundle(name)).measured
    assert measured["n"] >= 2000
    assert min(measured["sbc_holm"].values()) > 0.01
    for level in (0.5, 0.9):
        assert all(abs(share - level) <= 0.03 for share in measured["coverage"][str(level)].values())
    if "SV" in measured["contraction"]:
        assert measured["contraction"]["SV"] < 0.05  # pressure alone does not tell stroke volume
