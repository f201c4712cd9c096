"""Batches are streamed and fresh, training learns, and a run that is resumed equals one that never stopped."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsebayes.inference import training
from pulsebayes.inference.checkpoint import Checkpoint, CheckpointError
from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.npe import NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.streaming import ArraySource, Batches, PartSource, WholeWindow
from pulsebayes.inference.training import TrainConfig, TrainData, train

OUTPUTS = OutputSpace.from_names(("HR", "MAP"))
SHAPE = NPEConfig(EmbeddingConfig("dense", samples=8, hidden=32, context=8), transforms=2, hidden=(16,))
CONFIG = TrainConfig(epochs=3, batch=64, rate=3e-3, warmup=5, averaging=0.9, validation=0.1)


class Noise:
    """Crops eight samples and adds white noise."""

    def apply(self, waves, rng, *, fs, out_samples=1000, width=1.0):
        return waves[:, :out_samples] + rng.normal(0, 2 * width, (len(waves), out_samples)).astype(np.float32)


def make_data(n=640, seed=0) -> TrainData:
    rng = np.random.default_rng(seed)
    hr, mean = rng.uniform(50, 120, n), rng.uniform(60, 110, n)
    waves = np.concatenate((hr[:, None].repeat(5, 1), mean[:, None].repeat(5, 1)), 1).astype(np.float32)
    return TrainData(ArraySource(waves[:, 1:9]), {"HR": hr, "MAP": mean}, Noise(), np.zeros(n, int))


def batches(n=100, keep=None, **options) -> Batches:
    rows = np.arange(n, dtype=np.float32)
    keep = np.ones(n, bool) if keep is None else keep
    source = ArraySource(rows[:, None].repeat(4, 1))
    return Batches(source, rows[:, None], keep, WholeWindow(), samples=4, **options)


def test_each_kept_row_comes_once_with_its_target():
    keep = np.arange(100) % 3 > 0
    seen = list(batches(keep=keep, batch=11, block=16, buffer=2).epoch(0))
    x, z = (np.concatenate(part) for part in zip(*seen, strict=True))
    np.testing.assert_array_equal(x[:, 0], z[:, 0])
    assert len(np.unique(z)) == len(z) == 66
    assert set(z[:, 0].astype(int)) <= set(np.flatnonzero(keep))


def test_epochs_differ_and_repeat():
    stream = batches(batch=20, block=8, buffer=3)
    first, again, second = (np.concatenate([z for _, z in stream.epoch(e)])[:, 0] for e in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    assert set(first) == set(second)


def test_reading_ahead_changes_nothing():
    stream = batches(batch=20, block=8, buffer=3)
    for (x, z), (x2, z2) in zip(stream.epoch(2), stream.epoch(2, ahead=0), strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(z, z2)


def test_memory_holds_a_buffer_not_the_set():
    class Counting(ArraySource):
        most = 0

        def rows(self, start, stop):
            Counting.most = max(Counting.most, stop - start)
            return super().rows(start, stop)

    rows = np.zeros((1000, 4), np.float32)
    stream = Batches(Counting(rows), rows[:, :1], np.ones(1000, bool), WholeWindow(), samples=4, batch=8, block=32)
    list(stream.epoch(0, ahead=0))
    assert Counting.most == 32


def test_sensors_are_fresh_each_epoch_but_not_for_validation():
    data = make_data()
    stream = Batches(data.source, np.zeros((640, 1)), np.ones(640, bool), Noise(), samples=8, batch=640)
    one, two = (next(iter(stream.epoch(e)))[0] for e in (0, 1))
    assert not np.allclose(np.sort(one[:, 0]), np.sort(two[:, 0]))
    fixed = [stream.fixed(slice(600, 640), seed=0)[0] for _ in range(2)]
    np.testing.assert_array_equal(*fixed)


def test_a_row_meets_another_sensor_each_epoch():
    rows = np.zeros((64, 8), np.float32)
    stream = Batches(ArraySource(rows), rows[:, :1], np.ones(64, bool), Noise(), samples=8, batch=32)
    noise = [np.concatenate([x for x, _ in stream.epoch(e)]) for e in (0, 1, 0)]
    assert not set(noise[0][:, 0]) & set(noise[1][:, 0])
    np.testing.assert_array_equal(noise[0], noise[2])


def test_errors_of_the_reader_reach_the_trainer():
    class Broken(ArraySource):
        def rows(self, start, stop):
            raise OSError("disk gone")

    rows = np.zeros((32, 4), np.float32)
    stream = Batches(Broken(rows), rows[:, :1], np.ones(32, bool), WholeWindow(), samples=4, batch=8)
    with pytest.raises(OSError, match="disk gone"):
        list(stream.epoch(0))


def test_a_reader_that_is_left_early_ends_its_thread():
    import threading

    before = threading.active_count()
    stream = batches(batch=5).epoch(0, ahead=1)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_part_of_a_source_stays_in_its_range():
    part = PartSource(ArraySource(np.arange(10.0)[:, None]), 4, 8)
    assert part.rows(2, 99).ravel().tolist() == [6.0, 7.0]
    with pytest.raises(ValueError, match="within 10 rows"):
        PartSource(ArraySource(np.zeros((10, 1))), 4, 11)


def test_unusable_rows_are_counted_by_reason():
    data = make_data(10)
    data.columns["HR"][0] = np.nan
    data.columns["HR"][1] = 999.0
    status = np.zeros(10, int)
    status[2:5] = [1, 3, 4]  # diverged, unphysiological, terminal-mismatch: the last may be trained on
    keep, counts = replace(data, status=status).usable(OUTPUTS)
    assert keep.tolist() == [False, False, False, False] + [True] * 6
    assert counts == {"rows": 10, "kept": 6, "unusable status": 2, "not finite": 1, "outside bounds": 1}


def test_validation_rows_are_never_trained_on():
    run = training._Run(make_data(), OUTPUTS, SHAPE, CONFIG)
    assert run.counts["validation"] == 64
    assert not run.batches.keep[-64:].any()
    assert run.batches.keep[:-64].all()


def test_training_learns_what_the_window_tells():
    data = make_data(4000)
    result = train(data, OUTPUTS, SHAPE, replace(CONFIG, epochs=12))
    losses = [row["validation"] for row in result.history]
    assert losses[-1] < losses[0] - 2
    x = torch.from_numpy(Noise().apply(data.source.rows(0, 200), np.random.default_rng(9), fs=1.0, out_samples=8))
    draws = result.npe.sample(x, 200, torch.Generator().manual_seed(0))
    error = np.abs(np.median(draws, 1) - np.stack([data.columns["HR"], data.columns["MAP"]], 1)[:200])
    assert (np.median(error, 0) < 2.0).all()  # four readings with noise of 2 each have an error of about 0.7
    assert not result.npe.training


def test_resumed_run_equals_one_that_never_stopped(tmp_path):
    data = make_data()
    whole = train(data, OUTPUTS, SHAPE, CONFIG)
    place = Checkpoint(tmp_path / "run")
    part = train(data, OUTPUTS, SHAPE, CONFIG, checkpoint=place, should_stop=lambda: True)
    assert part.interrupted
    assert len(part.history) == 1
    rest = train(data, OUTPUTS, SHAPE, CONFIG, checkpoint=place, resume=True)
    assert not rest.interrupted
    for name, value in whole.npe.state_dict().items():
        assert torch.equal(value, rest.npe.state_dict()[name]), name
    place.remove()
    assert not place.exists


def test_the_flow_settles_alone_and_resumes_there_too(tmp_path):
    data, settling = make_data(), replace(CONFIG, settle=2)
    before, whole = train(data, OUTPUTS, SHAPE, CONFIG), train(data, OUTPUTS, SHAPE, settling)
    assert len(whole.history) == len(before.history) + 2
    old, new = before.npe.state_dict(), whole.npe.state_dict()
    assert all(torch.equal(value, new[name]) for name, value in old.items() if name.startswith("embedding"))
    assert any(not torch.equal(value, new[name]) for name, value in old.items() if name.startswith("flow"))
    place = Checkpoint(tmp_path / "run")
    rest = train(data, OUTPUTS, SHAPE, settling, checkpoint=place, should_stop=lambda: True)
    while rest.interrupted:  # after each epoch, of both kinds
        rest = train(data, OUTPUTS, SHAPE, settling, checkpoint=place, resume=True, should_stop=lambda: True)
    assert all(torch.equal(value, rest.npe.state_dict()[name]) for name, value in new.items())


def test_rate_falls_in_cycles_each_half_as_high(tmp_path):
    config = replace(CONFIG, epochs=4, cycles=2, warmup=2)
    run = training._Run(make_data(), OUTPUTS, SHAPE, config)
    steps, rates = 4 * run.batches.per_epoch, []
    for run.step in range(steps):
        rates.append(run._rate() / config.rate)
    first, second = rates[: steps // 2], rates[steps // 2 :]
    assert max(first) > 0.9 and max(second) == pytest.approx(0.5 * max(first))
    np.testing.assert_allclose(second, 0.5 * np.array(first))
    assert first[-1] < 0.05
    folder = Checkpoint(tmp_path)
    train(make_data(), OUTPUTS, SHAPE, config, checkpoint=folder, should_stop=lambda: True)
    with pytest.raises(CheckpointError, match="other settings"):
        train(make_data(), OUTPUTS, SHAPE, replace(config, cycles=1), checkpoint=folder, resume=True)


def test_same_seed_gives_the_same_weights():
    one, two = (train(make_data(), OUTPUTS, SHAPE, replace(CONFIG, epochs=1)).npe.state_dict() for _ in range(2))
    assert all(torch.equal(v, two[k]) for k, v in one.items())


def test_resuming_refuses_another_run(tmp_path):
    place = Checkpoint(tmp_path / "run")
    with pytest.raises(CheckpointError, match="no checkpoint to resume in run"):
        train(make_data(), OUTPUTS, SHAPE, CONFIG, checkpoint=place, resume=True)
    train(make_data(), OUTPUTS, SHAPE, replace(CONFIG, epochs=1), checkpoint=place)
    with pytest.raises(CheckpointError, match="other settings or data"):
        train(make_data(), OUTPUTS, SHAPE, replace(CONFIG, rate=1e-4), checkpoint=place, resume=True)
    with pytest.raises(CheckpointError, match="another network"):
        train(make_data(), OUTPUTS, replace(SHAPE, transforms=3), CONFIG, checkpoint=place, resume=True)


def test_time_limit_ends_the_run_and_anneals():
    seen = []
    config = replace(CONFIG, epochs=10_000, max_time=1.5)
    result = train(make_data(), OUTPUTS, SHAPE, config, progress=lambda p: seen.append(p))
    assert sum(row["seconds"] for row in result.history) < 5
    assert seen[-1].share == pytest.approx(1.0)
    assert seen[-1].epoch_done


def test_stops_early_when_nothing_improves():
    rng = np.random.default_rng(0)
    n = 300
    columns = {"HR": rng.uniform(50, 120, n), "MAP": rng.uniform(60, 110, n)}
    noise = ArraySource(rng.normal(size=(n, 8)).astype(np.float32))  # windows that tell nothing
    data = TrainData(noise, columns, WholeWindow(), np.zeros(n, int))
    result = train(data, OUTPUTS, SHAPE, replace(CONFIG, epochs=500, rate=2e-2, patience=4))
    assert len(result.history) < 200


def test_too_few_rows_are_refused():
    data = replace(make_data(4), status=np.ones(4, int))
    with pytest.raises(ValueError, match="at least 2 usable rows, got 0 of 4"):
        train(data, OUTPUTS, SHAPE, CONFIG)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"max_time": -1.0},
        {"validation": 1.0},
        {"averaging": 1.0},
        {"precision": "float64"},
        {"settle": -1},
        {"joined": -1},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainConfig(**wrong)


def test_defaults_have_no_limit():
    assert math.isinf(TrainConfig().max_time)


def test_going_on_from_an_estimator_keeps_its_weights_and_scales():
    first = train(make_data(), OUTPUTS, SHAPE, CONFIG)
    still = replace(CONFIG, epochs=1, rate=1e-12, weight_decay=0.0, averaging=0.0)
    same = train(make_data(), OUTPUTS, SHAPE, still, start=first.npe).npe.state_dict()
    for name, value in first.npe.state_dict().items():
        assert torch.allclose(value, same[name], atol=1e-6), name


def test_an_estimator_of_another_shape_is_no_start():
    other = train(make_data(), OUTPUTS, replace(SHAPE, transforms=3), replace(CONFIG, epochs=1)).npe
    with pytest.raises(ValueError, match="start must have the outputs and the network"):
        train(make_data(), OUTPUTS, SHAPE, CONFIG, start=other)
