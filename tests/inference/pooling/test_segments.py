"""Changes of patient and sensor: found where they are, told apart, the same as windows come and in whole recordings."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from pulsebayes.inference.pooling import EmbeddedRecordings, segment_training
from pulsebayes.inference.pooling.segment_training import (
    DetectorTraining,
    _logits,
    all_states,
    measure_detector,
    measure_quiet,
    set_limits,
    train_detector,
)
from pulsebayes.inference.pooling.segments import (
    BLOCK,
    Change,
    ChangeDetector,
    ChangeFinder,
    Judge,
    _Before,
    find_changes,
    sensor_states,
    split_pool,
)


def _recordings(n: int, windows: int = 16, seed: int = 0) -> EmbeddedRecordings:
    """Patients told by the first four numbers of a window, sensors by the last two."""
    rng = np.random.default_rng(seed)
    patient, states = 3 * rng.standard_normal((n, 1, 4)), 6 * rng.standard_normal((n, 2, 2))
    at = np.where(rng.random(n) < 0.5, rng.integers(4, max(windows - 4, 5), n), windows)
    later = (np.arange(windows) >= at[:, None]).astype(int)
    sensor = states[np.arange(n)[:, None], later]
    h = np.concatenate((np.repeat(patient, windows, 1), sensor), -1) + 0.2 * rng.standard_normal((n, windows, 6))
    ones = np.ones((n, windows))
    change_s = np.where(at < windows, 8.0 * at - 1.0, np.nan)
    times = 8.0 * np.tile(np.arange(windows), (n, 1))
    told = (h.astype(np.float32), ones[..., None], ones, ones[:, 0], ones.astype(bool), times, change_s)
    return EmbeddedRecordings(*told, 10.0 * (at < windows), np.zeros(n, bool))


@pytest.fixture(scope="module")
def detector() -> ChangeDetector:
    torch.set_num_threads(1)
    data = _recordings(300)
    config = DetectorTraining(members=1, first_steps=200, steps=200, pairs=128, held=20)
    sets = (data, _recordings(100, windows=5, seed=9))  # of a recording of five windows two stand before three
    trained = train_detector([(torch.from_numpy(one.context), one) for one in sets], config)
    held = _recordings(60, seed=1)
    set_limits(trained, torch.from_numpy(held.context), held, margin=0.5)
    return trained


def test_a_new_patient_and_a_new_sensor_are_told_apart(detector: ChangeDetector) -> None:
    data = _recordings(60, seed=2)
    found = measure_detector(detector, torch.from_numpy(data.context), data, splices=100)
    assert found["splices"]["share"] > 0.9
    assert found["sensor changes"]["share"] > 0.6
    assert found["of the zero by 10 to 40 mmHg"]["of"] == found["sensor changes"]["of"]
    assert found["sensor changes taken for patients"]["share"] < 0.1
    assert found["called elsewhere"]["share"] < 0.2


@pytest.mark.parametrize("weighted", [False, True])
def test_recordings_that_are_held_out_teach_nothing(weighted: bool) -> None:
    """Each set its own number of them, the first ones."""
    config = DetectorTraining(members=1, first_steps=0 if weighted else 5, steps=5, pairs=32, weighted=weighted)
    weights = []
    for harm in (0.0, 100.0):
        sets = [_recordings(24, seed=3), _recordings(40, seed=4)]
        told = [torch.from_numpy(one.context.copy()) for one in sets]
        for h, held in zip(told, (6, 20), strict=True):
            h[:held] += harm
        made = train_detector(list(zip(told, sets, strict=True)), config, held=(6, 20))
        weights.append(torch.cat([x.flatten() for x in made.state_dict().values()]))
    assert torch.equal(*weights)


@pytest.mark.parametrize("called", [0, 1, 3])
def test_a_limit_lets_as_many_new_patients_be_called_as_it_may(detector: ChangeDetector, called: int) -> None:
    data = _recordings(30, seed=6)
    h = torch.from_numpy(data.context)
    hours = 30 * 16 * 8.0 / 3600
    own = copy.deepcopy(detector)
    set_limits(own, h, data, margin=0.0, patient_an_hour=(called + 0.5) / hours)
    highest = _logits(own, h, data.time_s)[..., 0].max(1)
    assert int((highest > float(own.limits[0])).sum()) == called
    assert np.isclose(highest, float(own.limits[0])).sum() == 1


def test_false_splits_are_counted_with_their_interval(detector: ChangeDetector) -> None:
    data = _recordings(30, seed=5)
    h = torch.from_numpy(data.context)
    found = measure_quiet(detector, h, data, splices=50)
    hours = 30 * 16 * 8.0 / 3600
    assert found["hours"] == round(hours, 1)
    low, high = found["between"]
    assert low <= found["an_hour"] <= high
    assert found["splices"]["of"] == 50
    if not found["false_splits"]:
        assert low == 0 and high == pytest.approx(3.689 / hours, abs=1e-3)


def test_changes_are_the_same_as_windows_come_and_in_batches(detector: ChangeDetector) -> None:
    data = _recordings(12, seed=3)
    h = torch.from_numpy(data.context)
    states, batched = all_states(detector, h, data.time_s)
    for r in range(len(h)):
        if all(change.kind == "sensor" for change in batched[r]):
            found = find_changes(detector, h[r], data.time_s[r])
            assert [(c.at, c.kind) for c in found] == [(c.at, c.kind) for c in batched[r]]
            np.testing.assert_array_equal(states[r], sensor_states(found, h.shape[1]))


@pytest.mark.parametrize("rows", [5, 4096])
def test_logits_of_all_windows_together_are_those_of_each_as_it_comes(
    detector: ChangeDetector, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_training, "_ROWS", rows)
    data = _recordings(4, seed=6)
    h = torch.from_numpy(data.context)
    made = segment_training._logits(detector, h, data.time_s)
    assert np.isneginf(made[:, :BLOCK]).all() and np.isneginf(made[:, 17 - BLOCK :]).all()
    for r in range(4):
        before = _Before()
        for at in range(17 - BLOCK):
            features = list(detector.features(h[r]).detach())
            if at >= BLOCK:
                own = before.logits(detector, features[at : at + BLOCK], float(data.time_s[r, at]))
                np.testing.assert_allclose(made[r, at], own, rtol=1e-3, atol=1e-3)
            before.add(features[at], float(data.time_s[r, at]))


def test_two_splices_make_three_pools(detector: ChangeDetector) -> None:
    data = _recordings(40, seed=4)
    whole = [i for i in range(40) if not np.isfinite(data.change_s[i])][:3]
    joined = torch.cat([torch.from_numpy(data.context[i]) for i in whole])
    starts = split_pool(detector, joined, 8.0 * np.arange(len(joined)))
    assert len(starts) == 3
    assert abs(starts[1] - 16) <= 2 and abs(starts[2] - 32) <= 2


def test_a_change_may_be_moved_by_the_two_windows_after_it_only() -> None:
    judge = Judge()
    seen = [judge.see(i, -1.0, s) for i, s in enumerate((1.0, 3.0, 2.0, 4.0, 1.0, 2.0))]
    assert seen == [Change(0, "sensor"), Change(1, "sensor", moves=True), None, None, Change(4, "sensor"),
                    Change(5, "sensor", moves=True)]  # fmt: skip
    judge = Judge()
    assert [judge.see(0, -1.0, 9.0), judge.see(1, 0.5, 9.0)] == [Change(0, "sensor"), Change(1, "patient", moves=True)]


def test_no_change_is_called_before_three_windows_stand_on_both_sides() -> None:
    torch.manual_seed(0)
    detector = ChangeDetector(4, 8, 8)
    detector.limits.fill_(-1e9)
    finder = ChangeFinder(detector)
    found = [finder.add(torch.randn(4), 8.0 * i) for i in range(6)]
    assert found[:5] == [None] * 5
    assert found[5] is not None and found[5].at == 3
