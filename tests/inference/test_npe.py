"""Embedding and estimator: shapes, densities and draws agree."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from pulsebayes.inference.embedding import EmbeddingConfig, build_embedding, summaries
from pulsebayes.inference.npe import NPE, PRESETS, NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.sampling import invert_flow

TINY = EmbeddingConfig(stem=8, stages=(8, 8), blocks=(1, 0), heads=2, hidden=16, context=8)
CONFIGS = {"wave": TINY, "dense": EmbeddingConfig("dense", samples=1000, hidden=16, context=8)}


@pytest.mark.parametrize("kind", CONFIGS)
def test_embedding_has_its_context_and_a_gradient(kind):
    net = build_embedding(CONFIGS[kind])
    x = (90 + 20 * torch.randn(5, 1000)).requires_grad_()
    context = net(x)
    context.square().sum().backward()
    assert context.shape == (5, 8)
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", CONFIGS)
def test_embedding_treats_windows_one_by_one(kind):
    net, x = build_embedding(CONFIGS[kind]).eval(), 90 + 20 * torch.randn(4, 1000)
    torch.testing.assert_close(net(x)[2:3], net(x[2:3]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", CONFIGS)
def test_embedding_refuses_another_length(kind):
    with pytest.raises(ValueError, match=r"x must have shape \(N, 1000\)"):
        build_embedding(CONFIGS[kind])(torch.zeros(1, 999))


def test_low_precision_is_close_to_float32():
    torch.manual_seed(0)
    net, x = build_embedding(TINY).eval(), 90 + 20 * torch.randn(16, 1000)
    exact, rough = net(x), net(x, low_precision=True)
    assert rough.dtype == torch.float32
    assert (exact - rough).abs().max() < 0.03 * exact.abs().max()  # bfloat16 keeps 8 bits


def test_summaries_hold_mean_extremes_and_rate():
    t = torch.arange(1000) / 125
    x = (90 + 20 * torch.sin(2 * torch.pi * 1.25 * t))[None]
    s = summaries(x, 125.0)[0]
    assert abs(float(s[0]) - 90) < 0.1
    assert abs(float(s[2]) - 70) < 0.2
    lines = s[11 : 11 + 96]
    assert int(lines.argmax()) + 1 == 10  # 1.25 Hz is the tenth line of 8 s
    correlation = s[11 + 96 :]
    lags = torch.arange(31, 251, 4) / 125
    assert abs(float(lags[correlation.argmax()]) - 0.8) < 0.02


def test_flat_window_has_a_finite_embedding():
    assert torch.isfinite(build_embedding(TINY)(torch.full((2, 1000), 80.0))).all()


@pytest.mark.parametrize("wrong", [{"stages": (8,), "blocks": (1, 1)}, {"spread": 0.0}, {"kind": "lstm"}])
def test_embedding_refuses_a_wrong_shape(wrong):
    with pytest.raises(ValueError, match="must"):
        EmbeddingConfig(**wrong)


def test_unknown_setting_is_a_type_error():
    with pytest.raises(TypeError):
        NPEConfig.from_json({"layers": 3})


def test_config_survives_json():
    assert NPEConfig.from_json(PRESETS["large"].to_json()) == PRESETS["large"]


def test_fast_draws_equal_the_flows_own(bundle):
    npe = copy.deepcopy(bundle.npe)
    torch.manual_seed(1)
    for p in npe.flow.parameters():
        p.data += 0.1 * torch.randn_like(p)
    noise, context = 1.5 * torch.randn(500, 9), torch.randn(8)
    with torch.no_grad():
        own = npe.flow(context).transform.inv(noise)
        fast = invert_flow(npe.flow, context, noise)
    # float32 inversion of steep splines: most digits agree for all, five for nearly all
    assert (fast - own).abs().max() < 1e-2
    assert (fast - own).abs().median() < 1e-6


def test_a_single_output_can_be_estimated():
    npe = NPE(OutputSpace.from_names(("HR",)), NPEConfig(TINY, transforms=2, hidden=(8,)))
    x = 90 + 20 * torch.randn(2, 1000)
    assert npe.sample(x, 7, torch.Generator().manual_seed(0)).shape == (2, 7, 1)
    assert np.isfinite(npe.log_prob(np.full((2, 1), 70.0), x)).all()


def test_draws_are_inside_and_repeat_with_the_seed(bundle, window):
    x = torch.from_numpy(window)[None]
    one = bundle.npe.sample(x, 200, torch.Generator().manual_seed(3))
    two = bundle.npe.sample(x, 200, torch.Generator().manual_seed(3))
    other = bundle.npe.sample(x, 200, torch.Generator().manual_seed(4))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
    assert bundle.outputs.space.contains(one).all()


def test_draws_of_several_windows_at_a_time_are_those_of_each(bundle):
    x = 90 + 20 * torch.randn(5, 1000, generator=torch.Generator().manual_seed(1))
    each = bundle.npe.sample(x, 20, torch.Generator().manual_seed(3))
    together = bundle.npe.sample_together(x, 20, torch.Generator().manual_seed(3), at_once=2)
    np.testing.assert_allclose(together, each, rtol=2e-3)
    assert bundle.outputs.space.contains(together.astype(np.float64)).all()


def test_density_integrates_to_one_and_is_zero_outside():
    torch.manual_seed(0)
    outputs = OutputSpace.from_names(("HR", "CVP"))
    npe = NPE(outputs, NPEConfig(TINY, transforms=2, hidden=(8,)))
    edges = [np.linspace(lo, hi, 201) for lo, hi in zip(outputs.space.low, outputs.space.high, strict=True)]
    middle = [0.5 * (e[1:] + e[:-1]) for e in edges]
    grid = np.stack(np.meshgrid(*middle, indexing="ij"), -1).reshape(-1, 2)
    x = torch.full((1, 1000), 90.0).expand(len(grid), -1)
    with torch.no_grad():
        context = npe.embedding(x[:1]).expand(len(grid), -1)
    npe.embedding.forward = lambda *_: context  # the same window for every point: embedded once
    mass = np.exp(npe.log_prob(grid, x)).sum() * np.prod([e[1] - e[0] for e in edges])
    assert abs(mass - 1) < 0.02  # midpoint rule on 200 x 200 cells
    context = context[:1]
    assert npe.log_prob(np.array([[1000.0, 5.0]]), x[:1])[0] == -np.inf


def test_loss_is_the_negative_density_in_standard_coordinates(bundle):
    x = torch.from_numpy(np.random.default_rng(0).normal(90, 20, (4, 1000)).astype(np.float32))
    theta = bundle.prior[:4].astype(np.float64)
    space = bundle.outputs.space
    z = space.unconstrain(theta)
    with torch.no_grad():
        loss = float(bundle.npe.loss(torch.from_numpy(z).float(), x))
    constant = float(bundle.npe.z_sd.log().sum()) + space.log_abs_det_jacobian(z)
    np.testing.assert_allclose(-loss, (bundle.npe.log_prob(theta, x) + constant).mean(), rtol=1e-4)
