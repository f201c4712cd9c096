"""What is learned from sets of a window's channels is what each set alone would teach."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pulsebayes.inference.channel_sets import drawn_sets
from pulsebayes.inference.channels import ChannelEmbedding, _Own
from pulsebayes.inference.checkpoint import Checkpoint
from pulsebayes.inference.embedding import ChannelScale, EmbeddingConfig, build_embedding, summaries
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.streaming import ArraySource
from pulsebayes.inference.training import TrainConfig, TrainData, train
from pulsebayes.simulators.channels import ChannelSensor, SensedChannel
from pulsebayes.simulators.photoplethysmograph import PPGSensor
from pulsebayes.simulators.sensors import SensorModel

CHANNELS = (ChannelScale("ART"), ChannelScale("PLETH", relative=True), ChannelScale("FEM"))
SHAPE = EmbeddingConfig(
    "channels", samples=250, fs=31.25, stem=8, stages=(8, 12), blocks=(1, 1), heads=2, hidden=16, context=8,
    rate="agreed", amount=True, channels=CHANNELS,
)  # fmt: skip


def windows(n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(250) / 31.25
    phase = 6.3 * torch.rand(n, 3, 1, generator=generator)
    return 90 + 20 * torch.sin(7.5 * t + phase) + torch.randn(n, 3, 250, generator=generator)


def test_sets_have_the_sizes_that_are_asked_for_and_nothing_that_is_missing() -> None:
    given = np.zeros((6000, 5), bool)
    given[:, [0, 2, 3]] = True
    given[:2000, 3] = False
    sets = drawn_sets(given, 4, np.random.default_rng(0), sizes=(3, 2, 1, 5, 9))
    assert sets.shape == (5, 6000, 5) and (sets[0] == given).all() and not (sets & ~given).any()
    size = sets[1:].sum(-1)
    shares = [np.bincount(part.ravel(), minlength=4)[1:4] / part.size for part in (size[:, :2000], size[:, 2000:])]
    np.testing.assert_allclose(shares, [[3 / 5, 2 / 5, 0], [3 / 6, 2 / 6, 1 / 6]], atol=0.015)
    pairs = sets[1:][size == 2][:, [0, 2, 3]].mean(0)
    assert pairs[2] < pairs[0] == pytest.approx(pairs[1], abs=0.02)


@pytest.mark.parametrize(
    ("given", "sizes", "told"),
    [
        (np.ones(4, bool), (), "several"),
        (np.zeros((2, 3), bool), (), "without"),
        (np.ones((2, 3), bool), (0, 1, 1), "first"),
    ],
)
def test_sets_that_cannot_be_drawn_are_told(given: np.ndarray, sizes: tuple[float, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        drawn_sets(given, 2, np.random.default_rng(0), sizes=sizes)


@pytest.mark.parametrize("rate", [False, True, "counted", "agreed"])
def test_a_set_is_embedded_as_if_no_other_channel_had_been_given(rate: bool | str) -> None:
    torch.manual_seed(0)
    embedding = build_embedding(dataclasses.replace(SHAPE, rate=rate, level=bool(rate)))
    for parameter in embedding.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = windows(12)
    x[3, 1] = torch.nan
    embedding.fit(x)
    sets = torch.from_numpy(drawn_sets(x.isfinite().all(-1).numpy(), 5, np.random.default_rng(1)))
    with torch.no_grad():
        together = embedding(x, False, sets).reshape(6, 12, -1)
        for own, keep in zip(together, sets, strict=True):
            alone = x.clone()
            alone[~keep] = torch.nan
            torch.testing.assert_close(own, embedding(alone), rtol=1e-4, atol=1e-5)


def test_how_much_channels_weigh_together_is_passed_on() -> None:
    torch.manual_seed(0)
    embedding = build_embedding(SHAPE)
    x = windows(4)
    embedding.fit(x)
    assert not embedding.amount.weight.any()
    with torch.no_grad():
        torch.nn.init.eye_(embedding.amount.weight)
        alone = x.clone()
        alone[:, 1:] = torch.nan
        own = embedding._present(alone)[:2]
        tokens = torch.randn(4, SHAPE.hidden)
        joined = embedding._join(tokens, *own, 4)
        torch.testing.assert_close(joined, embedding.value(tokens))  # one channel of weight one: nothing to add
        rows, which, _ = embedding._present(x)
        tokens = torch.zeros(12, SHAPE.hidden)
        more = embedding._join(tokens, rows, which, 4) - embedding.value(tokens[:4])
        torch.testing.assert_close(more, torch.full_like(more, float(np.log(3))))
    with pytest.raises(ValueError, match="amount is for kind 'channels'"):
        EmbeddingConfig(amount=True)
    assert "amount" not in dataclasses.replace(SHAPE, amount=False).to_json()


def test_the_loss_of_sets_is_the_mean_of_theirs() -> None:
    torch.manual_seed(0)
    npe = NPE(OutputSpace.from_names(("HR", "SV")), NPEConfig(SHAPE, transforms=2, hidden=(16,)))
    x, z = windows(6), torch.randn(6, 2)
    sets = torch.from_numpy(drawn_sets(np.ones((6, 3), bool), 2, np.random.default_rng(0)))
    with torch.no_grad():
        parts = [npe.loss(z, torch.where(keep[..., None], x, torch.nan)) for keep in sets]
        assert float(npe.loss(z, x, sets=sets)) == pytest.approx(float(torch.stack(parts).mean()), abs=1e-4)


def data_of_three(n: int = 256) -> TrainData:
    rng = np.random.default_rng(0)
    rate = rng.uniform(50, 110, n)
    waves = 90 + 20 * np.sin(2 * np.pi * rate[:, None] / 60 * np.arange(350) / 31.25)[:, None].repeat(3, 1)
    sensed = [SensedChannel("ART", SensorModel.radial_line()), SensedChannel("PLETH", PPGSensor.finger())]
    sensor = ChannelSensor((*sensed, SensedChannel("FEM", SensorModel.radial_line())), (0.1, 9.0, 0.1))
    source, columns = ArraySource(waves.astype(np.float32)), {"HR": rate, "SV": rng.uniform(50, 90, n)}
    all_given = dataclasses.replace(sensor, sizes=(1e-9, 1e-9, 1.0))
    return TrainData(source, columns, sensor, np.zeros(n, int), fs=31.25, whole=all_given)


def test_training_on_sets_is_the_same_when_it_goes_on_where_it_was_stopped(tmp_path, monkeypatch) -> None:
    counts: list[float] = []
    loss = NPE.loss

    def counting(self, z, x, **more):
        if self.training and torch.is_grad_enabled():
            counts.append(float(x.isfinite().all(-1).sum(-1).float().mean()))
            assert more["sets"].shape[0] == 3
        return loss(self, z, x, **more)

    monkeypatch.setattr(NPE, "loss", counting)
    outputs, shape = OutputSpace.from_names(("HR", "SV")), NPEConfig(SHAPE, transforms=1, hidden=(8,))
    config = TrainConfig(
        epochs=2, batch=64, precision="float32", settle=1, whole=1, sets=2, sizes=(3.0, 2.0, 1.0), validation=0.1
    )
    data = data_of_three()
    straight = train(data, outputs, shape, config)
    assert len(straight.history) == 4
    assert max(counts[: 3 * len(counts) // 4]) < 2.3 and counts[3 * len(counts) // 4 :] == [3.0] * (len(counts) // 4)
    checkpoint = Checkpoint(tmp_path)
    for go_on in (False, True, True):
        stopped = train(data, outputs, shape, config, checkpoint=checkpoint, resume=go_on, should_stop=lambda: True)
        assert stopped.interrupted
    again = train(data, outputs, shape, config, checkpoint=checkpoint, resume=True)
    for a, b in zip(straight.npe.parameters(), again.npe.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_last_epochs_move_the_flow_alone() -> None:
    outputs, shape = OutputSpace.from_names(("HR", "SV")), NPEConfig(SHAPE, transforms=1, hidden=(8,))
    config = TrainConfig(epochs=1, batch=64, precision="float32", sets=1, validation=0.1)
    before, after = (
        train(data_of_three(), outputs, shape, dataclasses.replace(config, whole=whole)).npe for whole in (0, 1)
    )
    same = [torch.equal(a, b) for a, b in zip(before.embedding.parameters(), after.embedding.parameters(), strict=True)]
    assert all(same)
    assert any(not torch.equal(a, b) for a, b in zip(before.flow.parameters(), after.flow.parameters(), strict=True))
    with pytest.raises(ValueError, match="whole must not be negative"):
        TrainConfig(whole=-1)


def test_a_channel_keeps_its_own_lags_beside_a_late_one() -> None:
    shape = dataclasses.replace(SHAPE, own_lags=True)
    embedding, both = ChannelEmbedding(shape), windows(3)
    late = len(embedding._late_lags())
    found = []
    for channels in (slice(0, 1), slice(0, 3)):
        rows, which, waves = embedding._present(without(both, channels))
        own = _Own(waves, summaries(waves, shape.fs), *embedding._slopes_and_rates(waves, which))
        found.append(embedding._summaries(own, rows, 3)[which == 0])
    apart = slice(-late - len(embedding._lags()), -late)
    torch.testing.assert_close(found[0][:, -late:], found[1][:, -late:])
    assert found[0][:, apart].abs().max() < 1e-5 < found[1][:, apart].abs().max()


def test_joined_epochs_leave_the_convolutions_as_they_are() -> None:
    outputs, shape = OutputSpace.from_names(("HR", "SV")), NPEConfig(SHAPE, transforms=1, hidden=(8,))
    config = TrainConfig(epochs=1, batch=64, precision="float32", joined=1, sets=1, validation=0.1)
    torch.manual_seed(config.seed)
    before, after = NPE(outputs, shape), train(data_of_three(), outputs, shape, config).npe
    held = ("levels", "blocks", "codes", "score")
    for (name, a), b in zip(before.embedding.named_parameters(), after.embedding.parameters(), strict=True):
        assert torch.equal(a, b) == name.startswith(held), name
    single = NPEConfig(EmbeddingConfig(stages=(8,), blocks=(1,), samples=250, fs=31.25))
    with pytest.raises(ValueError, match="joined must be 0 for a single channel, got 1"):
        train(data_of_three(), outputs, single, config)


def without(x: torch.Tensor, kept: slice) -> torch.Tensor:
    found = torch.full_like(x, torch.nan)
    found[:, kept] = x[:, kept]
    return found
