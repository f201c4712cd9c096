"""A guess of the posterior from harmonics: a bijection for the flow, near the exact posterior of a bent model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.emulator import Emulator
from pulsebayes.inference.guess_centring import GuessCentring, bend_places, bounded, guess_size, solved, unbounded
from pulsebayes.inference.harmonic_guess import HarmonicGuess
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.sampling import invert_flow
from pulsebayes.simulators.parameters import Parameter, ParameterSpace

OUTPUTS = OutputSpace(ParameterSpace(Parameter(name, "1", -3.0, 3.0) for name in "ab"))
SHAPE = NPEConfig(
    EmbeddingConfig("harmonic", harmonics=3, hidden=16, context=8 + guess_size(2), guess=2), transforms=2, hidden=(8,)
)
MEAN, SD = torch.zeros(2), torch.full((2,), 0.7)


def beats(n, seed=0):
    """Standardised outputs and features of three harmonics: one of the outputs sharp, the other wide and bending."""
    rng = np.random.default_rng(seed)
    theta = np.clip(rng.standard_normal((n, 2)), -2.9, 2.9)
    a, b = theta.T
    ridge = a + 0.15 * b**2
    clean = np.stack((90 + a, 10 + 0.5 * ridge, 4 + 0.03 * b, 2 + 0.5 * ridge, 0.1 * ridge, 1 + 0.2 * ridge), 1)
    noise = rng.standard_normal(clean.shape) * np.array([2.5, *[0.02] * 5])
    known = np.concatenate((rng.standard_normal((n, 1)) * 0.1, clean + noise), 1)
    z = OUTPUTS.space.unconstrain(theta)
    return torch.from_numpy(z / 0.7).float(), torch.from_numpy(known).float()


@pytest.fixture(scope="module")
def guess():
    found = HarmonicGuess(2, 3)
    with torch.no_grad():
        found.fit(*beats(3000), MEAN, SD)
    return found


def step_of(guess, known, *, bent=True):
    values = guess.read(known)[:, :-1]
    if not bent:
        values[:, -len(bend_places(2)[0]) :] = 0.0
    centring = GuessCentring(2)
    centring.fit(guess.place, guess.rotation, values.mean(0), values.std(0).clamp_min(1e-6))
    return centring((values - centring.shift) / centring.scale)


def lost(step, u):
    t = step(u)
    return 0.5 * t.square().sum(1) + math.log(2 * math.pi) - step.log_abs_det_jacobian(u, t)


def test_emulator_gives_slopes_of_its_values():
    emulator = Emulator(2, 3, 8)
    x = torch.randn(400, 2)
    emulator.fit(x, torch.stack((x[:, 0], x[:, 1] ** 2, x.prod(1)), 1), torch.full((3,), 0.1), epochs=30)
    values, slopes = emulator(x[:5], 1)
    step = torch.tensor([0.0, 1e-4], dtype=torch.float64)
    difference = (emulator(x[:5].double() + step, 0)[0] - emulator(x[:5].double() - step, 0)[0]) / 2e-4
    assert values.shape == (5, 3)
    torch.testing.assert_close(slopes[:, :, 0], difference, atol=1e-5, rtol=1e-4)


def test_guess_places_outputs_and_bends_with_the_sheet(guess):
    u, known = beats(2000, seed=1)
    step = step_of(guess, known)
    spread = step(u).square().median(0).values  # .455 of a normal law
    assert (spread > 0.3).all() and (spread < 0.7).all()
    straight = step_of(guess, known, bent=False)
    assert lost(step, u).mean() < lost(straight, u).mean() - 0.02
    assert lost(step, u).mean() < 2.84 - 1.5  # 2.84 is the prior's; one of the outputs is ten times sharper


def test_step_inverts_and_states_its_volume(guess):
    u, known = beats(6, seed=2)
    step = step_of(guess, known)
    torch.testing.assert_close(step.inv(step(u)), u, atol=1e-5, rtol=1e-4)
    values = guess.read(known)[:, :-1]
    centring = GuessCentring(2)
    centring.fit(guess.place, guess.rotation, torch.zeros(guess_size(2)), torch.ones(guess_size(2)))
    jacobian = torch.autograd.functional.jacobian(lambda v: centring(values[:1])(v[None])[0], u[0].double())
    own = centring(values[:1])
    volume = own.log_abs_det_jacobian(u[:1], own(u[:1]))
    assert float(torch.linalg.slogdet(jacobian)[1]) == pytest.approx(float(volume[0]), abs=1e-4)


def test_coordinates_of_the_guess_reach_both_ends():
    place = torch.tensor([[0.0, 2.0, 0.5, 0.2]], dtype=torch.float64)
    u = torch.linspace(-9.0, 9.0, 7, dtype=torch.float64)[:, None]
    n = bounded(u, place) + 0.02 * u
    torch.testing.assert_close(solved(n, place), u, atol=1e-6, rtol=1e-6)
    near = bounded(u[2:5], place)
    torch.testing.assert_close(unbounded(near, place)[0], n[2:5])


def test_draws_are_those_of_the_flow_and_one_window_serves_many_outputs():
    rng = np.random.default_rng(0)
    time = np.arange(1000) / 125
    theta = rng.uniform(-2.0, 2.0, (600, 2))
    phase = 2 * np.pi * 1.25 * time
    wave = 90 + (10 + theta[:, :1]) * np.cos(phase) + (4 + theta[:, 1:]) * np.cos(2 * phase) + np.sin(3 * phase)
    x = torch.from_numpy((wave + 0.1 * rng.standard_normal(wave.shape)).astype(np.float32))
    z = torch.from_numpy(OUTPUTS.space.unconstrain(theta)).float()
    npe = NPE(OUTPUTS, SHAPE)
    npe.fit_scales(z, x, z)
    with torch.no_grad():
        context, noise = npe.embedding(x[:1])[0], torch.randn(50, 2)
        expected = npe.flow(context).transform.inv(noise)
        torch.testing.assert_close(invert_flow(npe.flow, context, noise), expected, atol=1e-4, rtol=1e-4)
    draws = npe.sample(x[:1], 5, torch.Generator().manual_seed(0))[0]
    known = npe.embedding.features(x[:1])  # of one window and of five rates differ by float32's rounding
    np.testing.assert_allclose(npe.log_prob(draws, known), npe.log_prob(draws, known.expand(5, -1)), rtol=1e-5)
    loaded = NPE(OUTPUTS, NPEConfig.from_json(SHAPE.to_json()))
    loaded.load_state_dict(npe.state_dict())
    np.testing.assert_array_equal(loaded.log_prob(draws, x[:1]), npe.log_prob(draws, x[:1]))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="guess is for kind 'harmonic'"):
        EmbeddingConfig("dense", guess=2)
    with pytest.raises(ValueError, match="a context of at least 8, got 'harmonic', 2 and 7"):
        EmbeddingConfig("harmonic", context=7, guess=2)
    with pytest.raises(ValueError, match="guess must be the number of outputs, 2, got 3"):
        NPE(OUTPUTS, NPEConfig(EmbeddingConfig("harmonic", guess=3)))
    with pytest.raises(ValueError, match="a guess is fitted to pairs"):
        NPE(OUTPUTS, SHAPE).fit_scales(torch.zeros(9, 2), torch.randn(9, 1000))
    assert "guess" not in EmbeddingConfig("harmonic").to_json()
