"""Weighted detectors: what they learn from is drawn without bias, and windows weigh by what they know."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsebayes.inference.pooling import ChangeDetector, EmbeddedRecordings, segment_pools
from pulsebayes.inference.pooling.segment_pools import WholePools, _Asked, train_weighted
from pulsebayes.inference.pooling.segment_training import DetectorTraining, _logits, measure_quiet, set_limits
from pulsebayes.inference.pooling.segments import BLOCK, _Before, split_pool

WINDOWS = 16


def _recordings(n: int, seed: int = 0) -> EmbeddedRecordings:
    """Patients told by three numbers of a line and three of a clip; the line goes and comes again.

    A window has the numbers of what is given and noise in place of the others, and two that say what is given.
    """
    rng = np.random.default_rng(seed)
    patient = np.repeat(3 * rng.standard_normal((n, 1, 6)), WINDOWS, 1)
    line = (np.arange(WINDOWS) + rng.integers(12, size=(n, 1))) % 12 < 6
    given = np.stack((line, ~line), -1)
    there = given[..., [0, 0, 0, 1, 1, 1]]
    told = np.where(there, patient, 0.0) + 0.2 * rng.standard_normal(patient.shape)
    h = np.concatenate((told, 2.0 * given), -1).astype(np.float32)
    ones = np.ones((n, WINDOWS))
    times = 8.0 * np.tile(np.arange(WINDOWS), (n, 1))
    truth = (ones[..., None], ones, ones[:, 0], ones.astype(bool), times, np.full(n, np.nan))
    return EmbeddedRecordings(h, *truth, np.zeros(n), np.zeros(n, bool), given)


def test_places_drawn_more_often_count_less() -> None:
    data = _recordings(200)
    pools = WholePools(torch.from_numpy(data.context), data, 0)
    moved = np.diff(data.given[..., 0], axis=1)[:, BLOCK - 1 : WINDOWS - BLOCK]
    rng = np.random.default_rng(1)
    weight, at_moved = [], []
    for _ in range(30):
        asked = pools.ask(rng, 512)
        half = asked.weight.shape[1]
        change = data.given[asked.recordings]
        here = asked.at[:, :half]
        own = np.arange(len(change))[:, None]
        weight.append(asked.weight.ravel())
        at_moved.append((change[own, here, 0] != change[own, here - 1, 0]).ravel())
        np.testing.assert_array_equal(asked.begin[:, :half], here)
        assert (asked.size <= asked.at).all() and (asked.size >= BLOCK).all()
        assert (asked.other[:, :half] == own).all() and (asked.other[:, half:] != own).all()
    weights, changes = np.concatenate(weight), np.concatenate(at_moved)
    assert changes.mean() > 2 * moved.mean()
    assert np.average(changes, weights=weights) == pytest.approx(moved.mean(), rel=0.1)  # of 7,680 about 1,800 are such
    assert weights.mean() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("ratio", [-2.0, 0.0, 3.0])
def test_the_loss_is_least_at_the_logarithm_of_the_likelihood_ratio(ratio: float) -> None:
    data = _recordings(4)
    pools = WholePools(torch.from_numpy(data.context), data, 0)
    half = np.full((4, 2), 5)
    both = np.concatenate((half, half), 1)
    asked = _Asked(np.arange(4), both, both, both % 4, both, np.full((4, 2), np.exp(-ratio)))
    logits = torch.full((4, 4, 2), ratio, requires_grad=True)
    (slope,) = torch.autograd.grad(pools.loss(logits, asked), logits)
    assert float(slope[..., 0].sum()) == pytest.approx(0.0, abs=1e-6)


def test_a_clip_is_told_from_the_clip_before_it_although_the_line_came_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(segment_pools, "_TOGETHER", 800)
    data = _recordings(1000)
    torch.manual_seed(0)
    detector = ChangeDetector(8, 16, 32, 1, weighted=True)
    pools = WholePools(torch.from_numpy(data.context), data, 40)
    train_weighted(detector.members[0], [pools], steps=400, pairs=256, noise=0.1, seed=0)
    held = _recordings(80, seed=5)
    h = torch.from_numpy(held.context)
    set_limits(detector.eval(), h[:40], held.rows(slice(0, 40)))
    found = measure_quiet(detector, h[40:], held.rows(slice(40, 80)), splices=200, names=("line", "clip"))
    kinds = found["splices_by_channels"]
    assert sum(row["of"] for row in kinds.values()) == found["splices"]["of"] == 200
    assert kinds["line+clip, then clip"]["share"] > 0.7
    assert found["false_splits"] <= 1
    assert "splices_by_channels" not in measure_quiet(detector, h[40:], held.rows(slice(40, 80)), splices=25)
    joined = [torch.cat((h[k], h[k + 1])) for k in range(40, 60)]
    starts = [split_pool(detector, one, 8.0 * np.arange(2.0 * WINDOWS)) for one in joined]
    assert sum(len(at) == 2 and abs(at[1] - WINDOWS) <= 2 for at in starts) >= 14


def test_weights_that_differ_by_millions_leave_logits_as_they_are() -> None:
    torch.manual_seed(1)
    detector = ChangeDetector(4, 8, 8, 1, weighted=True)
    with torch.no_grad():
        detector.members[0].linear.weight.mul_(40.0)  # type: ignore[union-attr] # most are the heaviest or the lightest
    h, time_s = torch.randn(1, 300, 4), 8.0 * np.arange(300.0)[None]
    made = _logits(detector, h, time_s)[0]
    before = _Before()
    for at, f in enumerate(detector.features(h[0]).detach()):
        if BLOCK <= at <= 300 - BLOCK:
            block = list(detector.features(h[0, at : at + BLOCK]).detach())
            own = before.logits(detector, block, float(time_s[0, at]))
            np.testing.assert_allclose(made[at], own, rtol=1e-3, atol=1e-3)  # what single precision leaves of sums
        before.add(f, float(time_s[0, at]))


def test_a_weighted_detector_is_made_again_from_its_shape() -> None:
    detector = ChangeDetector(4, 8, 8, 1, weighted=True)
    again = ChangeDetector(**detector.shape())
    again.load_state_dict(detector.state_dict())
    assert again.weighted
    assert not ChangeDetector(**{k: v for k, v in ChangeDetector(4).shape().items() if k != "weighted"}).weighted


def test_a_weighted_detector_with_first_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="set first_steps = 0"):
        DetectorTraining(weighted=True)
