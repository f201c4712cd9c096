r"""A shipped model with an adapter: what reads waves of the fast simulator reads them without it, all else with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pulsebayes.inference.bundle import Bundle, find_bundle
from pulsebayes.inference.pooling.card import render_pooling_card
from pulsebayes.inference.pooling.features import make_embedded
from pulsebayes.inference.recipe import find_recipe

FEW = {"recordings": 2, "windows": 2, "seed": 93, "part": 2}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    torch.set_num_threads(1)
    bundle = Bundle.load(find_bundle("radial-abp"))
    assert bundle.npe.config.embedding.adapter, "the shipped model has an adapter"
    return bundle


def _waves(n: int = 3) -> torch.Tensor:
    time = torch.arange(1000) / 125.0
    return 90 + 20 * torch.sin(2 * torch.pi * torch.linspace(1.0, 1.6, n)[:, None] * time)


def test_adapter_moves_contexts_and_the_fast_simulators_are_left(bundle: Bundle) -> None:
    plain, x = bundle.without_adapter(), _waves()
    with torch.no_grad():
        adapted, fast, own = bundle.npe.embedding(x), bundle.npe.fast_context(x), plain.npe.embedding(x)
    assert torch.equal(fast, own) and not torch.equal(adapted, own)
    assert torch.equal(adapted[:, -2:], own[:, -2:]), "rate and mean pressure are computed"
    assert plain.without_adapter() is plain and plain.prior is bundle.prior


def test_recordings_of_the_fast_simulator_are_read_without_it(bundle: Bundle, tmp_path: Path) -> None:
    made = make_embedded(bundle, tmp_path / "a", **FEW)
    again = make_embedded(bundle.without_adapter(), tmp_path / "b", **FEW)
    np.testing.assert_array_equal(made.context, again.context)
    names = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in "ab"]
    assert names[0] == names[1], "so what was embedded for one serves the other"


def test_recordings_of_the_better_simulator_are_read_with_it(bundle: Bundle, tmp_path: Path) -> None:
    adapted = make_embedded(bundle, tmp_path, model="network", **FEW)
    plain = make_embedded(bundle.without_adapter(), tmp_path, model="network", **FEW)
    fast = make_embedded(bundle, tmp_path / "fast", **FEW)
    assert len(list(tmp_path.glob("solved-*"))) == 1, "the waves are solved once"
    assert adapted.usable.all() and not np.array_equal(adapted.context, plain.context)
    np.testing.assert_array_equal(adapted.compliance, fast.compliance)
    np.testing.assert_array_equal(adapted.wave_speed, fast.wave_speed)
    np.testing.assert_allclose(adapted.theta[..., :3], fast.theta[..., :3], rtol=1e-4)
    apart = np.abs(plain.context - fast.context).mean() / np.abs(fast.context).mean()
    assert 1e-3 < apart < 0.3, "the same patients with walls that stiffen"
    with pytest.raises(ValueError, match="model must be 'linear-network' or 'network', got 'windkessel'"):
        make_embedded(bundle, tmp_path, model="windkessel", **FEW)


def test_rows_of_patients_the_atlas_and_scores_of_regions_are_read_without_it(bundle: Bundle) -> None:
    from pulsebayes.calibration.conformal.bundles import simulate_posteriors
    from pulsebayes.calibration.identifiability.study import BundleStudy
    from pulsebayes.inference.patient.recipe import _part

    plain, recipe = bundle.without_adapter(), find_recipe("radial-abp")
    one, two = (_part(own, recipe, "", 16, 5)["context"] for own in (bundle, plain))
    np.testing.assert_array_equal(one, two)
    assert BundleStudy(bundle).bundle.npe.config == plain.npe.config
    draws = [simulate_posteriors(own, 4, seed=3)[0] for own in (bundle, plain)]
    np.testing.assert_array_equal(draws[0][0]["SV"], draws[1][0]["SV"])


def test_simulations_of_hybrid_learning_are_read_without_it(bundle: Bundle) -> None:
    from types import SimpleNamespace

    from pulsebayes.calibration.hybrid import fit

    x = _waves(4).numpy()
    run = fit._Run.__new__(fit._Run)
    run.npe, run.mix = bundle.npe, SimpleNamespace(x=x[:2], windows=x[2:])  # type: ignore[assignment]
    simulated, real = run._contexts()
    with torch.no_grad():
        assert torch.equal(simulated, bundle.without_adapter().npe.embedding(torch.from_numpy(x[:2])))
        assert torch.equal(real, bundle.npe.embedding(torch.from_numpy(x[2:])))


def test_model_says_that_it_needs_this_version(bundle: Bundle) -> None:
    from pulsebayes.inference.bundle import SCHEMA

    assert bundle._info()["schema"] == SCHEMA > bundle.without_adapter()._info()["schema"]


def test_cards_say_of_which_simulator_they_are(bundle: Bundle) -> None:
    assert "what learned of it: an adapter of the context; embedding and flow stayed" in bundle.card
    coverage = {level: {"SV": float(level)} for level in ("0.5", "0.9")}
    pools = {"recordings_by_pool": {"10": 7}, "coverage_by_pool": {"10": coverage}, "standard_error": {"10": coverage}}
    card = render_pooling_card("tiny", {**pools, "finer": {**pools, "simulator": "network"}})
    told = card[card.index("## Coverage where walls stiffen") :]
    assert "of the non-linear network (recordings: 7 of 10). One standard error is up to 90.0 points." in told
    assert "walls stiffen" not in render_pooling_card("tiny", pools)


def test_start_of_a_model_of_several_channels_has_no_adapter(bundle: Bundle) -> None:
    from pulsebayes.inference.npe import NPE

    several = Bundle.load(find_bundle("abp-ppg"))
    shape = dataclasses.replace(several.npe.config.embedding, adapter=0)
    npe = NPE(several.outputs, dataclasses.replace(several.npe.config, embedding=shape)).eval()
    npe.take_over(bundle.npe.without_adapter())
    x = torch.stack((_waves(), torch.full((3, 1000), torch.nan)), 1)
    with torch.no_grad():
        told = npe.embedding(x)
        off, adapted = (told - bundle.npe.fast_context(_waves())).abs(), (told - bundle.npe.embedding(_waves())).abs()
    assert float(off.mean()) < 0.2 * float(adapted.mean()), "taken over to rounding of its convolutions"
