r"""What holds exactly of RoPE: its limits, its marginals, its inductive rows, and what it must refuse."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from torch import nn

from pulsebayes.calibration.rope import (
    Components,
    Mixture,
    RoPEConfig,
    Whitening,
    couple,
    effective_size,
    fit_rope,
    subject_weights,
)
from pulsebayes.simulators.parameters import Parameter, ParameterSpace

IDENTITY = nn.Identity()


def recordings(n: int = 50, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3)) * [1.5, 4.0, 0.3] + [0.5, 0.0, 0.1]


def fitted(components: Components, whitening: Whitening, space: ParameterSpace, **change: float):
    return fit_rope(IDENTITY, whitening, components, recordings(), space, RoPEConfig.plain(**change))


def test_hard_marginals_give_every_simulation_the_same_mean_weight(components, whitening, space) -> None:
    rope = fitted(components, whitening, space, gamma=0.1)
    weights = rope.weights(recordings())
    assert rope.converged
    assert np.abs(weights.mean(0) - 1 / 80).max() < 1e-9
    theta = np.tile([[0.3, 2.0]], (50, 1))
    table = components.table(theta)
    average = np.exp(rope.mixture(weights).log_prob(theta, table=table)).mean()
    assert np.isclose(average, np.exp(table[0]).mean(), rtol=1e-7)  # the mean of the simulations' posteriors


def test_a_soft_marginal_lets_simulations_differ(components, whitening, space) -> None:
    weights = fitted(components, whitening, space, gamma=0.1, tau=0.9).weights(recordings())
    assert np.allclose(weights.sum(1), 1.0)
    assert np.abs(weights.mean(0) - 1 / 80).max() > 1e-3


@pytest.mark.parametrize("tau", [1.0, 0.9])
def test_infinite_regularisation_gives_every_row_the_same_mean(components, whitening, space, tau: float) -> None:
    weights = fitted(components, whitening, space, gamma=1e7, tau=tau).weights(recordings())
    assert np.abs(weights - 1 / 80).max() < 1e-6


def test_vanishing_regularisation_gives_sparse_mixtures(components, whitening, space) -> None:
    sizes = [effective_size(fitted(components, whitening, space, gamma=g).weights(recordings())) for g in (1.0, 1e-3)]
    assert np.median(sizes[1]) < 4 < 40 < np.median(sizes[0])


@pytest.mark.parametrize("tau", [1.0, 0.9, 0.5])
def test_inductive_rows_are_the_transductive_ones(components, whitening, space, tau: float) -> None:
    config = RoPEConfig.plain(gamma=0.1, tau=tau)
    plan = couple(whitening(recordings()), whitening(components.contexts), config).matrix()
    rope = fitted(components, whitening, space, gamma=0.1, tau=tau)
    for i, x in enumerate(recordings()):
        assert np.abs(rope.weights(x[None])[0] - 50 * plan[i]).max() < 1e-6


def test_gamma_does_not_depend_on_the_scale_of_the_embedding(components, whitening, space) -> None:
    larger = dataclasses.replace(whitening, matrix=10.0 * whitening.matrix)
    first, second = (fitted(components, w, space).weights(recordings()) for w in (whitening, larger))
    assert np.abs(first - second).max() < 1e-8


def test_windows_of_one_subject_share_its_mass(components, whitening, space) -> None:
    x = recordings()
    subjects = np.arange(50)
    many = np.concatenate([x, np.repeat(x[:1], 200, axis=0)])
    whose = np.concatenate([subjects, np.zeros(200, int)])
    one = fit_rope(IDENTITY, whitening, components, x, space, RoPEConfig.plain(), subjects=subjects)
    other = fit_rope(IDENTITY, whitening, components, many, space, RoPEConfig.plain(), subjects=whose)
    assert np.abs(one.weights(x) - other.weights(x)).max() < 1e-3  # the median cost, to one pair
    assert np.isclose(subject_weights(whose)[subjects].sum(), 1 / 50 / 201 + 49 / 50)


def shock() -> tuple[ParameterSpace, Components, np.ndarray, np.ndarray, np.ndarray]:
    r"""Thirty patients, one in steady shock: a hundred windows of it at the third per cent of the prior."""
    space = ParameterSpace((Parameter("CO", "L/min", 1.0, 9.0),))
    rng = np.random.default_rng(3)
    simulated = space.sample(rng, 600)
    z = space.unconstrain(simulated)[:, None] + 0.05 * rng.normal(size=(600, 20, 1))
    parts = Components(space, z, np.full(1, 1.8), None, simulated)
    truth = np.concatenate([np.linspace(2.0, 8.9, 29), np.full(100, 1.25)])
    windows = (truth + 0.1 * rng.normal(size=129))[:, None]
    return space, parts, truth, windows, np.concatenate([np.arange(29), np.full(100, 29)])


@pytest.mark.parametrize("gamma", [0.05, 0.25])
def test_a_patient_in_steady_shock_is_not_pulled_to_the_prior(gamma: float) -> None:
    space, parts, _, windows, subjects = shock()
    whitening, config = Whitening.fit(np.asarray(parts.contexts)), RoPEConfig(gamma=gamma)
    rope = fit_rope(IDENTITY, whitening, parts, windows, space, config, subjects=subjects)
    draws = rope.posterior(windows[29:]).sample(np.random.default_rng(0), 200)[..., 0]
    assert np.abs(np.median(draws, axis=1) - 1.25).max() < 0.5  # the prior's median is 5
    counted = fit_rope(IDENTITY, whitening, parts, windows, space, config)
    spread = counted.posterior(windows[29:]).sample(np.random.default_rng(0), 200)[..., 0]
    assert np.median(spread) > 2.5  # counted window by window, the same patient is spread over the prior


def test_few_subjects_are_refused_for_a_hard_marginal(components, whitening, space) -> None:
    windows, subjects = recordings(100), np.arange(100) % 19
    for tau in (1.0, 0.6):
        with pytest.raises(ValueError, match="at least 20 subjects, got 19"):
            fit_rope(IDENTITY, whitening, components, windows, space, RoPEConfig.plain(tau=tau), subjects=subjects)
    assert fit_rope(
        IDENTITY, whitening, components, windows, space, RoPEConfig.plain(tau=0.5), subjects=subjects
    ).converged


def test_bad_settings_are_named(components, whitening, space) -> None:
    with pytest.raises(ValueError, match="gamma must be positive"):
        RoPEConfig(gamma=0.0)
    bare = Components(space, components.z, components.scale)
    with pytest.raises(ValueError, match="must keep the embeddings"):
        fit_rope(IDENTITY, whitening, bare, recordings(), space)
    with pytest.raises(ValueError, match=r"weights must have shape \(N, 80\)"):
        Mixture(np.ones((1, 3)), components, space)
