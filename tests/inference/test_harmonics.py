"""Rate and harmonics of steady beats are found under noise, and do not depend on where the window starts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsebayes.inference.embedding import EmbeddingConfig, build_embedding
from pulsebayes.inference.harmonics import fundamental, harmonic_fit
from pulsebayes.simulators.reference import ReferenceWindkessel


def windows(n=200, noise=2.0):
    model, rng = ReferenceWindkessel(), np.random.default_rng(0)
    theta = model.space.sample(rng, n)
    waves = model.simulate(theta, 1).waves[:, 0, :1000]
    return theta, torch.from_numpy(waves + noise * rng.standard_normal(waves.shape).astype(np.float32))


def test_rate_is_found():
    theta, x = windows()
    error = np.abs(60 * fundamental(x, 125.0).numpy() - theta[:, 0])
    assert np.median(error) < 0.05 and error.max() < 2.0  # [1/min]


def test_coefficients_are_the_models():
    theta, x = windows(3, noise=0.0)
    import jax.numpy as jnp

    mean, c = harmonic_fit(x, torch.from_numpy(theta[:, 0] / 60).float(), 125.0)
    for i in range(3):
        expected = np.abs(ReferenceWindkessel().coefficients(jnp.asarray(theta[i]))[1][:6])
        found = np.abs(np.r_[mean[i].item(), c[i, :5].numpy()])
        np.testing.assert_allclose(found, expected, atol=0.05)


def test_embedding_is_blind_to_the_start():
    time = torch.arange(1200) / 125
    wave = 90 + 20 * torch.cos(7.5 * time) + 8 * torch.cos(15.0 * time + 1) + 3 * torch.sin(22.5 * time)
    net = build_embedding(EmbeddingConfig("harmonic", hidden=8, context=4))
    a, b = net.features(torch.stack([wave[:1000], wave[93:1093]]))
    torch.testing.assert_close(a, b, atol=0.05, rtol=1e-3)


def test_kept_features_train_as_windows_do():
    from pulsebayes.inference.npe import NPEConfig
    from pulsebayes.inference.outputs import OutputSpace
    from pulsebayes.inference.streaming import ArraySource, WholeWindow
    from pulsebayes.inference.training import TrainConfig, TrainData, train

    theta, x = windows(320)
    space = ReferenceWindkessel().space
    columns = {name: theta[:, d] for d, name in enumerate(space.names)}
    data = TrainData(ArraySource(x.numpy()), columns, WholeWindow(), np.zeros(len(x), int))
    outputs = OutputSpace.from_names(("MAP", "tau"), extra=space)
    shape = NPEConfig(EmbeddingConfig("harmonic", hidden=8, context=4, harmonics=8), transforms=1, hidden=(8,))
    fresh, kept = (
        train(data, outputs, shape, TrainConfig(epochs=3, batch=32, fresh=n, warmup=5)).history for n in (0, 1)
    )
    assert kept[-1]["validation"] < kept[0]["validation"]
    assert abs(kept[-1]["validation"] - fresh[-1]["validation"]) < 0.3  # the same windows in another order
    dense = NPEConfig(EmbeddingConfig("dense", hidden=8, context=4), transforms=1, hidden=(8,))
    with pytest.raises(ValueError, match="fresh must be 0 but for embeddings of kind 'harmonic'"):
        train(data, outputs, dense, TrainConfig(epochs=1, fresh=1))


def test_harmonics_stand_in_the_configuration_where_they_differ():
    assert "harmonics" not in EmbeddingConfig("harmonic").to_json()
    assert EmbeddingConfig(**EmbeddingConfig("harmonic", harmonics=16).to_json()).harmonics == 16
    with pytest.raises(ValueError, match="harmonics must be at least 2"):
        EmbeddingConfig("harmonic", harmonics=1)
