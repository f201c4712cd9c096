"""The estimator of pools: what is shared is shared, a running pool is a causal one, and a killed training goes on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pulsebayes.inference.checkpoint import Checkpoint
from pulsebayes.inference.npe import NPE, PRESETS
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.pooling import EmbeddedRecordings, PooledNPE, PoolingConfig, PoolTraining, RunningPool
from pulsebayes.inference.pooling.layer import PoolingLayer
from pulsebayes.inference.pooling.network import pool_contexts
from pulsebayes.inference.pooling.overlap import that_count
from pulsebayes.inference.pooling.segments import ChangeDetector
from pulsebayes.inference.pooling.training import train_pooled
from pulsebayes.inference.sampling import invert_flow

NAMES = ("HR", "SV", "MAP")


@pytest.fixture(scope="module")
def base() -> NPE:
    torch.manual_seed(0)
    return NPE(OutputSpace.from_names(NAMES), PRESETS["small"]).eval()


SHAPE = PoolingConfig(inputs=11, features=6, hidden=16, context=8, transforms=2)


@pytest.fixture(scope="module", params=[False, True], ids=["even", "weighted"])
def npe(request: pytest.FixtureRequest) -> PooledNPE:
    torch.manual_seed(1)
    return PooledNPE(3, dataclasses.replace(SHAPE, weighted=request.param)).eval()


def test_a_window_that_knows_more_weighs_more() -> None:
    npe = PooledNPE(3, dataclasses.replace(SHAPE, weighted=True))
    value, score = torch.randn(4, 5, 3, dtype=torch.float64), torch.randn(4, 5, 3, dtype=torch.float64)
    averages = npe.averaged(torch.cat((value, score), -1)).mean(1)
    said = npe.pooled(torch.cat((averages, averages), -1))
    weight = score.softmax(1)
    torch.testing.assert_close(said[:, :3], (weight * value).sum(1))
    torch.testing.assert_close(said[:, 3:6], score.exp().mean(1).log())
    torch.testing.assert_close(said[:, 6:], said[:, :6])


def test_features_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(ValueError, match="even where they are weighted, got 5"):
        PoolingConfig(features=5, weighted=True)


def test_draws_conditioned_on_draws_are_those_of_the_flow(npe: PooledNPE) -> None:
    noise, given, context = torch.randn(40, 3), torch.randn(40, 5), torch.randn(8)
    with torch.no_grad():
        fast = invert_flow(npe.window_flow, context, noise, given)
        slow = npe.window_flow(torch.cat((context.expand(40, -1), given), -1)).transform.inv(noise)
    torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("apart_s", [(8.0, 90.0), (0.5, 12.0)])
def test_a_running_pool_says_what_a_causal_one_does(npe: PooledNPE, apart_s: tuple[float, float]) -> None:
    detector = ChangeDetector(8, 4, 8)
    detector.limits.fill_(np.inf)
    running = RunningPool(PoolingLayer(npe, detector), 8.0)
    unit, time_s = torch.randn(9, 11), np.cumsum(np.random.default_rng(0).uniform(*apart_s, 9))
    counted = that_count(time_s, 8.0)
    assert counted.all() == (apart_s[0] >= 8.0)
    causal = pool_contexts(npe, unit, time_s, causal=True, counted=counted)
    for i in range(9):
        told = running.add(unit[i], float(time_s[i]))
        assert running.counted == counted[i]
        assert running.windows == counted[: i + 1].sum()
        assert (told is None) == (running.windows == 1)
        if told is not None:
            for name in ("centre", "scale", "window", "shared", "size"):
                torch.testing.assert_close(getattr(told, name), getattr(causal.row(i), name), atol=1e-4, rtol=1e-4)


def test_all_windows_of_a_pool_share_their_draws(npe: PooledNPE) -> None:
    known = pool_contexts(npe, torch.randn(5, 11), 8.0 * np.arange(5), causal=False)
    torch.testing.assert_close(known.shared, known.shared[:1].expand(5, -1))
    space = OutputSpace.from_names(NAMES).space
    shared = npe.sample_shared(known.row(0), 30, torch.Generator().manual_seed(0))
    draws = npe.sample_window(space, known.row(2), shared, torch.Generator().manual_seed(1))
    assert draws.shape == (30, 3)
    assert bool(space.contains(draws).all())
    assert npe.slow(shared).shape == (30, 2)


def _recordings(base: NPE, recordings: int = 80, windows: int = 6, seed: int = 0) -> EmbeddedRecordings:
    """Windows that tell their outputs with an error that all windows of a patient share."""
    rng, space = np.random.default_rng(seed), base.outputs.space
    z = 0.3 * rng.standard_normal((recordings, 1, 3)) + 0.1 * rng.standard_normal((recordings, windows, 3))
    shared = 0.4 * rng.standard_normal((recordings, 1, 3))
    mixing = np.random.default_rng(9).standard_normal((3, base.config.embedding.context))
    theta = space.constrain(z * np.asarray(base.z_sd) + np.asarray(base.z_mean))
    return EmbeddedRecordings(
        context=((z + shared) @ mixing).astype(np.float32),
        theta=theta.astype(np.float32),
        compliance=np.exp(shared[..., 0] + 0 * z[..., 0]).astype(np.float32),
        wave_speed=np.exp(shared[:, 0, 1]).astype(np.float32),
        usable=rng.random((recordings, windows)) > 0.05,
        time_s=np.tile(8.0 * np.arange(windows), (recordings, 1)),
        change_s=np.full(recordings, np.nan),
        step_mmhg=np.zeros(recordings, np.float32),
        relined=np.zeros(recordings, bool),
    )


def _train(
    base: NPE, folder: Path | None, course: int, steps: int, **more: Any
) -> tuple[PooledNPE, list[dict[str, Any]]]:
    shape = PoolingConfig(
        inputs=base.config.embedding.context + 3, features=8, hidden=24, context=8, transforms=2, flow_hidden=(16,)
    )
    config = PoolTraining(course_steps=course, steps=steps, windows=120, **{"warmup": 5, **more})
    return train_pooled(
        [_recordings(base)], base, shape, config, checkpoint=None if folder is None else Checkpoint(folder)
    )


@pytest.mark.parametrize("more", [{}, {"window_steps": 6, "patience": 1}])
def test_a_killed_training_goes_on_where_it_was(
    base: NPE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, int]
) -> None:
    from pulsebayes.inference.pooling import training

    monkeypatch.setattr(training, "_SAVED_EVERY", 20)
    whole, history = _train(base, None, 8, 12, **more)
    assert {"shared", "window"} <= set(history[-1])
    saved = training._Run.save

    def stop(run: training._Run, checkpoint: Checkpoint) -> None:
        saved(run, checkpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr(training._Run, "save", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            _train(base, tmp_path, 8, 12, **more)
    monkeypatch.setattr(training._Run, "save", saved)
    again, _ = _train(base, tmp_path, 8, 12, **more)
    for name, one in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], one, msg=name)


def test_the_windows_stage_has_its_own_settings(base: NPE, monkeypatch: pytest.MonkeyPatch) -> None:
    from pulsebayes.inference.pooling import training

    seen: list[tuple[int, float, float]] = []
    update = training._Run.update

    def watched(run: training._Run) -> None:
        stage = run.stage
        update(run)
        seen.append((stage, run.config.noise, run.optimizer.param_groups[0]["lr"]))

    monkeypatch.setattr(training._Run, "update", watched)
    own = {"noise": 0.02, "rate": 5e-4, "warmup": 1}
    _train(base, None, 3, 3, window_steps=3, window_stage=own, noise=0.1, rate=1e-3)
    assert [(stage, noise) for stage, noise, _ in seen] == [*[(0, 0.1)] * 3, *[(1, 0.1)] * 3, *[(2, 0.02)] * 3]
    assert seen[6][2] == pytest.approx(5e-4)  # its first step, warmed up at once
    with pytest.raises(TypeError, match="nois"):
        PoolTraining(window_stage={"nois": 0.02})


def test_a_stage_that_comes_no_further_ends_with_the_weights_of_its_best(
    base: NPE, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pulsebayes.inference.pooling import training

    seen: list[tuple[str, dict[str, torch.Tensor]]] = []
    figures = {"course": [3.0, 2.0, 2.5, 2.6, 2.7], "flows": [1.0, 1.5, 1.6], "windows": [4.0, 3.0]}

    def validate(run: training._Run) -> None:
        stage, _, figure = training._STAGES[run.stage]
        seen.append((stage, {k: v.clone() for k, v in run.average.state_dict().items()}))
        at = sum(name == stage for name, _ in seen) - 1
        run.history.append({"step": run.step, "stage": stage, "train": 0.0, "validation": 0.0})
        run.history[-1][figure] = figures[stage][at]

    monkeypatch.setattr(training, "_SAVED_EVERY", 4)
    monkeypatch.setattr(training._Run, "validate", validate)
    made, history = _train(base, None, 100, 100, window_steps=8, patience=2)
    assert [row["step"] for row in history] == [4, 8, 12, 16, 20, 24, 28, 32, 36]
    assert [row["stage"] for row in history] == [*["course"] * 4, *["flows"] * 3, *["windows"] * 2]
    for name, one in made.state_dict().items():
        part = name.split(".")[0]
        if part in training._COURSE:
            torch.testing.assert_close(one, seen[1][1][name], msg=name)
        elif part in training._WINDOWS:
            torch.testing.assert_close(one, seen[-1][1][name], msg=name)
        elif part in training._FLOWS:
            torch.testing.assert_close(one, seen[4][1][name], msg=name)


def test_a_level_that_is_held_stays_what_the_windows_say_alone(base: NPE) -> None:
    from pulsebayes.inference.pooling.stretching import recording_tensors

    data = _recordings(base)
    moved = []
    for own_level in (0.0, 1000.0):
        made, _ = _train(base, None, 60, 0, own_level=own_level)
        sets = recording_tensors(made, base, data, np.zeros(data.usable.shape, np.int64))
        known = [pool_contexts(made, h, data.time_s[i], causal=False) for i, h in enumerate(sets.h)]
        centre = torch.stack([one.centre for one in known]) - sets.h[..., -3:]
        moved.append(float(centre.mean(1).abs().mean()))
    assert moved[1] < 0.3 * moved[0]


def test_windows_count_by_the_errors_of_their_channels(base: NPE) -> None:
    from dataclasses import replace

    from pulsebayes.inference.pooling.stretching import recording_tensors
    from pulsebayes.inference.pooling.training import _weights

    data = _recordings(base)
    npe = PooledNPE(3, PoolingConfig(inputs=base.config.embedding.context + 3))
    own = recording_tensors(npe, base, data, np.zeros(data.usable.shape, np.int64))
    given = np.zeros((*data.usable.shape, 2), bool)
    given[..., 0], given[:, ::2, 1] = True, True
    worse = torch.where(torch.from_numpy(given[..., 1:]), 1.0, 3.0) * (own.z - own.h[..., -3:]) + own.h[..., -3:]
    (weights,) = _weights([replace(own, z=worse)], [replace(data, given=given)], [4])
    ratio = weights[:, 0] / weights[:, 1]
    assert float(ratio.min()) > 6.0
    assert float(ratio.max()) < 13.0
