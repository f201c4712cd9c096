r"""`radial-abp-reference` as it ships: honest on held-out simulations, and near enough to the exact posterior."""

from __future__ import annotations

import numpy as np

from pulsebayes.inference import Bundle, find_bundle
from pulsebayes.inference.importance import refine
from pulsebayes.inference.reference import Reference
from pulsebayes.simulators.reference import ReferenceWindkessel


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


def test_measures_of_the_card_are_honest() -> None:
    measured = Bundle.load(find_bundle("radial-abp-reference")).measured
    assert measured["n"] >= 2000
    assert min(measured["sbc_holm"].values()) > 0.01
    for level in (0.5, 0.9):
        assert all(abs(share - level) <= 0.03 for share in measured["coverage"][str(level)].values())
    assert measured["contraction"]["SV"] < 0.05  # pressure alone does not tell stroke volume
