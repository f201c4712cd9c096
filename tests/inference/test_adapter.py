r"""What corrects contexts for a better simulator: nothing at first, then it alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsebayes.inference.adapter import ContextAdapter
from pulsebayes.inference.embedding import ChannelScale, EmbeddingConfig
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.streaming import ArraySource, WholeWindow
from pulsebayes.inference.training import TrainConfig, TrainData, train

OUTPUTS = OutputSpace.from_names(("HR", "SV"))
SMALL = {"stem": 8, "stages": (8,), "blocks": (1,), "heads": 2, "hidden": 16, "context": 8}
CHANNELS = (ChannelScale("ART"), ChannelScale("PLETH", relative=True))
SHAPES = {
    "wave": EmbeddingConfig(rate="counted", level=True, **SMALL),
    "channels": EmbeddingConfig("channels", rate="agreed", level=True, channels=CHANNELS, **SMALL),
    "dense": EmbeddingConfig("dense", samples=1000, hidden=16, context=8),
}


def _windows(kind: str, n: int) -> torch.Tensor:
    time = torch.arange(1000) / 125.0
    rate = torch.linspace(1.0, 2.0, n)[:, None]
    waves = 90 + 20 * torch.sin(2 * torch.pi * rate * time)
    return waves[:, None].repeat(1, 2, 1) if kind == "channels" else waves


@pytest.fixture(params=SHAPES)
def pair(request: pytest.FixtureRequest) -> tuple[str, NPE, NPE]:
    r"""An estimator and the same with a fresh adapter."""
    torch.manual_seed(1)
    npe = NPE(OUTPUTS, NPEConfig(SHAPES[request.param], transforms=2, hidden=(16,))).eval()
    return request.param, npe, npe.with_adapter(16, _windows(request.param, 40))


def test_fresh_adapter_changes_nothing(pair: tuple[str, NPE, NPE]) -> None:
    kind, npe, adapted = pair
    x = _windows(kind, 5)
    one, two = (n.sample(x, 7, torch.Generator().manual_seed(0)) for n in (npe, adapted))
    assert np.array_equal(one, two)
    with torch.no_grad():
        seen = npe.embedding(_windows(kind, 40))
    assert torch.allclose(adapted.embedding.adapter.shift, seen.mean(0), atol=1e-5), "its scales are of the windows"
    assert torch.allclose(adapted.embedding.adapter.scale, seen.std(0).clamp_min(1e-6), rtol=1e-3)
    assert not adapted.training and npe.config.embedding.adapter == 0


def test_adapter_corrects_all_but_what_is_computed(pair: tuple[str, NPE, NPE]) -> None:
    kind, npe, adapted = pair
    torch.nn.init.ones_(adapted.embedding.adapter.net[-1].bias)
    x = _windows(kind, 5)
    with torch.no_grad():
        change = adapted.embedding(x) - npe.embedding(x)
    computed = npe.config.embedding.computed
    assert computed == (0 if kind == "dense" else 2)
    scale = adapted.embedding.adapter.scale[: 8 - computed]
    assert torch.allclose(change[:, : 8 - computed], scale.expand(5, -1), rtol=1e-2, atol=1e-4), "by one deviation"
    assert not change[:, 8 - computed :].any()
    plain = adapted.without_adapter()
    assert torch.equal(plain.embedding(x), npe.embedding(x)) and plain.config == npe.config
    fresh = adapted.with_adapter(4, x)
    assert fresh.config.embedding.adapter == 4 and torch.equal(fresh.embedding(x), npe.embedding(x))


def test_correction_of_what_is_far_outside_is_bounded() -> None:
    torch.manual_seed(0)
    adapter = ContextAdapter(4, 8, 1)
    torch.nn.init.normal_(adapter.net[-1].weight)
    adapter.fit(torch.randn(100, 4))
    far = torch.full((1, 4), 1e3)
    with torch.no_grad():
        near, farther = adapter(far) - far, adapter(10 * far) - 10 * far
    assert float(near.abs().max()) > 0.1
    assert float((near - farther).abs().max()) < 1e-2, "it grows no more; the rest is rounding"


def test_adapter_of_channels_learns_alone_from_sets_of_them() -> None:
    rng = np.random.default_rng(0)
    torch.manual_seed(3)
    npe = NPE(OUTPUTS, NPEConfig(SHAPES["channels"], transforms=2, hidden=(16,)))
    waves = _windows("channels", 96).numpy()
    start = npe.with_adapter(8, torch.from_numpy(waves))
    columns = {"HR": rng.uniform(60, 120, 96), "SV": rng.uniform(40, 100, 96)}
    data = TrainData(ArraySource(waves), columns, WholeWindow(), np.zeros(96, int))
    config = TrainConfig(epochs=2, batch=32, warmup=1, averaging=0.5, sets=2)
    learned = train(data, OUTPUTS, start.config, config, start=start).npe
    before, after = start.state_dict(), learned.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith("embedding.adapter.net") for name in moved)


def test_adapter_learns_alone_and_takes_a_bias_away() -> None:
    torch.manual_seed(2)
    rng = np.random.default_rng(0)
    hr = rng.uniform(50, 120, 1500)
    shape = NPEConfig(EmbeddingConfig("dense", samples=4, hidden=16, context=8), transforms=2, hidden=(16,))
    outputs = OutputSpace.from_names(("HR",))

    def data(factor: float) -> TrainData:
        seen = (factor * hr + rng.normal(0, 1, len(hr)))[:, None].repeat(4, 1)
        return TrainData(ArraySource(seen), {"HR": hr}, WholeWindow(), np.zeros(len(hr), int))

    config = TrainConfig(epochs=20, batch=64, rate=3e-3, warmup=10, averaging=0.9)
    first = train(data(1.0), outputs, shape, config).npe
    some = torch.from_numpy(np.float32(1.1 * hr[:200])[:, None].repeat(4, 1))
    start = first.with_adapter(16, some)
    learned = train(data(1.1), outputs, start.config, config, start=start).npe
    before, after = start.state_dict(), learned.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith("embedding.adapter.net") for name in moved)
    x = torch.from_numpy(np.float32(1.1 * np.array([60.0, 80.0, 100.0]))[:, None].repeat(4, 1))
    for npe, bias in ((first, 1.1), (learned, 1.0), (learned.without_adapter(), 1.1)):
        told = np.median(npe.sample(x, 400, torch.Generator().manual_seed(0)), axis=1)[:, 0]
        assert told == pytest.approx(bias * np.array([60.0, 80.0, 100.0]), rel=0.02)


def test_adapter_of_harmonics_is_refused() -> None:
    with pytest.raises(ValueError, match="adapter is a width, not of kind 'harmonic'"):
        EmbeddingConfig("harmonic", adapter=8)
    with pytest.raises(ValueError, match="got -1 for 'wave'"):
        EmbeddingConfig(adapter=-1)
