"""Diagnostics find what is planted, keep their false-alarm rate and refuse what is not a number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pulsebayes.calibration.c2st import c2st
from pulsebayes.calibration.diagnostics import contraction, coverage, holm, median_error, ranks, sbc


def gaussian(n=2000, s=500, shift=0.0, scale=1.0, seed=0):
    """Truth and draws of the exact posterior of a normal mean, or of one that is shifted or scaled."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(n, 2))
    x = theta + rng.normal(size=(n, 2))
    draws = 0.5 * x[:, None] + shift + scale * np.sqrt(0.5) * rng.normal(size=(n, s, 2))
    return draws, theta


def test_exact_posterior_covers_as_promised():
    cover = coverage(*gaussian(), (0.5, 0.9))
    # binomial standard errors .011 and .0067; four quantities within 4 of them: false alarm 3e-4
    np.testing.assert_allclose(cover, [[0.5] * 2, [0.9] * 2], atol=0.045)
    np.testing.assert_allclose(cover[1], 0.9, atol=0.027)


def test_narrow_posterior_covers_less():
    assert (coverage(*gaussian(scale=0.6), (0.9,)) < 0.75).all()


def test_exact_posterior_passes_sbc_and_others_fail():
    def passes(**wrong):
        return sbc(ranks(*gaussian(**wrong)), n_draws=500).passes(0.01)

    assert passes()
    assert not passes(shift=0.15)
    assert not passes(scale=0.8)
    assert not passes(scale=1.25)


def test_sbc_keeps_its_false_alarm_rate():
    rng = np.random.default_rng(0)
    few = [sbc(rng.integers(0, 21, (400, 6)) / 20, n_draws=20, bins=10).passes(0.05) for _ in range(200)]
    # at most 5 % of 200, with three binomial standard errors: 10 + 3 * 3.1
    assert few.count(False) <= 19


def test_holm_agrees_with_its_definition():
    p = np.array([0.004, 0.3, 0.02, 0.02])
    np.testing.assert_allclose(holm(p), [0.016, 0.3, 0.06, 0.06])
    assert (holm(np.array([0.9, 0.8])) == 1.0).all()


def test_contraction_of_the_exact_posterior_is_one_half():
    draws, theta = gaussian()
    np.testing.assert_allclose(contraction(draws, theta, np.array([False, False])), 0.5, atol=0.03)


def test_contraction_takes_logarithms_where_asked():
    draws, theta = gaussian()
    log = contraction(np.exp(draws), np.exp(theta), np.array([True, True]))
    np.testing.assert_allclose(log, contraction(draws, theta, np.array([False, False])), rtol=1e-9)


def test_median_error_of_a_known_shift():
    draws = np.tile(np.linspace(-1, 1, 11)[None, :, None] + 12.0, (4, 1, 1))
    np.testing.assert_allclose(median_error(draws, np.full((4, 1), 10.0)), [0.2])
    np.testing.assert_allclose(median_error(draws, np.full((4, 1), 10.0), relative=False), [2.0])
    with pytest.raises(ValueError, match="truth must not be zero"):
        median_error(draws, np.zeros((4, 1)))


def test_ties_rank_in_the_middle():
    assert ranks(np.full((1, 10, 1), 3.0), np.array([[3.0]])) == 0.5


@pytest.mark.parametrize("place", ["draws", "truth"])
def test_not_a_number_is_refused(place):
    draws, theta = gaussian(50, 20)
    (draws if place == "draws" else theta)[7] = np.nan
    for measure in (ranks, coverage, median_error):
        with pytest.raises(ValueError, match=f"{place} must be finite, got .* first in row 7"):
            measure(draws, theta)


def test_wrong_shapes_and_values_are_refused():
    draws, theta = gaussian(50, 20)
    with pytest.raises(ValueError, match=r"shape \(N, S, D\)"):
        ranks(draws, theta[:, :1])
    with pytest.raises(ValueError, match=r"levels must lie in \(0, 1\)"):
        coverage(draws, theta, (0.5, 1.0))
    with pytest.raises(ValueError, match="at least 100 simulations, got 50"):
        sbc(ranks(draws, theta), n_draws=20)
    with pytest.raises(ValueError, match=r"ranks in \[0, 1\]"):
        sbc(np.full((200, 1), np.nan), n_draws=20)
    with pytest.raises(ValueError, match="positive where the logarithm"):
        contraction(draws, theta, np.array([True, False]))
    with pytest.raises(ValueError, match="p-values"):
        holm(np.array([0.1, np.nan]))


def test_c2st_is_one_half_for_equal_and_one_for_disjoint_samples():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1500, 3))
    # accuracy on 3,000 held-out rows has a standard error of .009: four of them
    assert abs(c2st(a, b, epochs=20) - 0.5) < 0.037
    assert c2st(a, b + 6, epochs=20) > 0.99


def one_fold(x, y, held, seed, epochs, width):
    """Accuracy on the held rows of one network by itself."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        net, xt, yt = nn.Sequential(*layers), x[~held], y[~held]
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in range(epochs):
            for rows in torch.randperm(len(xt)).split(256):
                optimizer.zero_grad()
                nn.functional.binary_cross_entropy_with_logits(net(xt[rows])[:, 0], yt[rows]).backward()
                optimizer.step()
            schedule.step()
    return float(((net(x[held])[:, 0] > 0) == (y[held] > 0.5)).float().mean())


def test_c2st_trains_its_folds_side_by_side_as_each_by_itself():
    rng, n, epochs = np.random.default_rng(4), 203, 5  # 406 rows: folds of 81 and 82
    a, b = rng.normal(size=(n, 3)), 1.3 * rng.normal(size=(n, 3))
    order = np.random.default_rng(0).permutation(2 * n)
    x = torch.from_numpy(((np.concatenate((a, b)) - a.mean(0)) / a.std(0))[order].astype(np.float32))
    y = torch.from_numpy(np.repeat([0.0, 1.0], n)[order].astype(np.float32))
    folds = [one_fold(x, y, torch.arange(2 * n) % 5 == k, k, epochs, 32) for k in range(5)]
    assert abs(c2st(a, b, epochs=epochs) - np.mean(folds)) <= 1 / 400  # rounding may turn one row


def test_c2st_sees_correlation_that_margins_hide():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(1500, 2))
    b = rng.normal(size=(1500, 2)) @ np.linalg.cholesky(np.array([[1.0, 0.9], [0.9, 1.0]])).T
    assert c2st(a, b, epochs=40) > 0.65


def test_c2st_refuses_what_it_cannot_judge():
    a = np.zeros((60, 2))
    with pytest.raises(ValueError, match="same shape"):
        c2st(a, a[:50])
    with pytest.raises(ValueError, match="finite"):
        c2st(a, a + np.nan)
