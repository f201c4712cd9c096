r"""Whitening, targets from simulations or from a bank, and tuning that keeps subjects apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pulsebayes.calibration.rope import BankTargets, PoolTargets, TuneConfig, Whitening, aligned, embed, tune
from pulsebayes.calibration.rope.encoder import _split
from pulsebayes.inference.embedding import DenseEmbedding, EmbeddingConfig

PLANE = Whitening(np.zeros(2), np.eye(2))


def test_whitening_leaves_out_directions_without_variance() -> None:
    rng = np.random.default_rng(0)
    h = rng.normal(size=(2000, 2)) @ rng.normal(size=(2, 5)) + 1e-5 * rng.normal(size=(2000, 5))
    white = Whitening.fit(h)(h)
    assert white.shape == (2000, 2)
    assert np.allclose(np.cov(white.T), np.eye(2), atol=1e-6)


def test_tuning_undoes_a_linear_distortion_and_leaves_the_embedding_alone() -> None:
    torch.manual_seed(0)
    net = nn.Linear(2, 2)
    before = net.weight.detach().clone()
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(120, 2))
    x = clean @ np.array([[2.0, 0.5], [0.0, 0.7]]) + [3.0, -1.0]
    pool = np.repeat(clean[:, None], 4, axis=1) + 0.2 * rng.normal(size=(120, 4, 2))
    tuned = tune(net, PLANE, x, PoolTargets(pool, each=4), TuneConfig(steps=400, rate=0.05, patience=1000))
    assert np.linalg.norm(embed(tuned, x) - clean, axis=1).mean() < 0.2
    assert torch.equal(net.weight, before)


def test_tuning_that_helps_nothing_returns_the_embedding_as_it_was() -> None:
    net = nn.Linear(2, 2)
    x = np.random.default_rng(0).normal(size=(20, 2))
    tuned = tune(net, PLANE, x, PoolTargets(embed(net, x)[:, None]), TuneConfig(steps=30))
    assert np.allclose(embed(tuned, x), embed(net, x))


def test_the_validation_split_keeps_subjects_apart() -> None:
    groups = np.repeat(np.arange(10), 7)
    fit, held = _split(70, groups, TuneConfig())
    assert not set(groups[fit]) & set(groups[held])
    assert len(held) == 14 and len(fit) + len(held) == 70


def test_targets_of_several_simulations_are_their_mean_and_of_one_are_one_of_them() -> None:
    pool = np.random.default_rng(0).normal(size=(6, 10, 2))
    rng = np.random.default_rng(1)
    assert np.allclose(PoolTargets(pool, each=10).draw(rng), pool.mean(1))
    one = PoolTargets(pool).draw(rng)
    assert all((np.abs(pool[i] - one[i]).sum(1) < 1e-12).any() for i in range(6))


def test_partial_labels_find_the_bank_near_what_is_labelled() -> None:
    rng = np.random.default_rng(0)
    quantities = rng.uniform(-2, 2, size=(5000, 3))
    labels = np.array([[1.0, np.nan, np.nan], [np.nan, -1.0, 0.5]])
    targets = BankTargets(quantities, quantities, labels)
    drawn = np.mean([targets.draw(rng) for _ in range(50)], axis=0)
    assert np.abs(drawn[0, 0] - 1.0) < 0.02 and np.abs(drawn[0, 1:]).max() < 0.6  # unlabelled: the prior's mean
    assert np.abs(drawn[1, 1:] - [-1.0, 0.5]).max() < 0.1
    assert not np.allclose(targets.draw(rng), targets.draw(rng))


def test_label_noise_widens_what_is_looked_at() -> None:
    rng = np.random.default_rng(0)
    bank = rng.uniform(-2, 2, size=(5000, 1))
    spreads = []
    for noise in (0.0, 0.5):
        targets = BankTargets(bank, bank, np.zeros((1, 1)), label_noise=noise)
        spreads.append(np.std([targets.draw(rng)[0, 0] for _ in range(100)]))
    assert spreads[0] < 0.02 and 0.3 < spreads[1] < 0.7


def test_alignment_takes_the_standardisation_from_recordings() -> None:
    net = DenseEmbedding(EmbeddingConfig("dense", samples=4, hidden=8, context=3))
    x = np.random.default_rng(0).normal(size=(300, 4))
    net.fit(torch.from_numpy(x).float())
    moved = aligned(net, 7.0 * x - 40.0)
    assert np.allclose(embed(moved, 7.0 * x - 40.0), embed(net, x), atol=1e-4)
    with pytest.raises(TypeError, match="must have a method fit"):
        aligned(nn.Linear(2, 2), x)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="each pair must have at least one label, got none in rows"):
        BankTargets(np.zeros((100, 1)), np.zeros((100, 1)), np.array([[1.0], [np.nan]]))
    with pytest.raises(ValueError, match="bank must hold at least 64 simulations"):
        BankTargets(np.zeros((10, 1)), np.zeros((10, 1)), np.zeros((1, 1)))
    with pytest.raises(ValueError, match="pairs of at least 2 subjects, got 1"):
        tune(nn.Linear(2, 2), PLANE, np.zeros((5, 2)), PoolTargets(np.zeros((5, 1, 2))), groups=np.zeros(5))
    with pytest.raises(ValueError, match="same in every row"):
        Whitening.fit(np.ones((5, 2)))
    with pytest.raises(ValueError, match="each must lie between 1"):
        PoolTargets(np.zeros((1, 2, 1)), each=3)
