"""The law without JAX is the simulator's; a guess by it inverts, and its straight coordinates take the kink away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsebayes.inference.clinical_law import LAW_OUTPUTS, SPEED, ClinicalLaw
from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.guess_centring import GuessCentring, guess_size
from pulsebayes.inference.harmonic_guess import HarmonicGuess
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.simulators.parameters import Parameter, ParameterSpace
from pulsebayes.simulators.reference import ReferenceNetwork


@pytest.fixture(scope="module")
def law():
    found = ClinicalLaw()
    found.fit()
    return found


def places(n, seed=0):
    """Rates and shares of the outputs' intervals, all of which are straight but the wave speed's."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform(40, 150, n)), torch.from_numpy(rng.uniform(0.05, 0.95, (n, 6)))


def test_law_is_the_simulators(law):
    import jax.numpy as jnp

    from pulsebayes.simulators.clinical import clinical_subject

    model = ReferenceNetwork()
    theta = model.space.sample(np.random.default_rng(0), 300)
    adult, _ = clinical_subject(jnp.asarray(model._whole(theta), jnp.float32))
    space = model.space.subset(LAW_OUTPUTS)
    share = torch.from_numpy(1 / (1 + np.exp(-space.unconstrain(theta[:, 1:].astype(float)))))
    straight = share.clone()
    straight[:, SPEED] += law.shift(share[:, 2])[0]
    found = law.inputs(torch.from_numpy(theta[:, 0].astype(float)), straight)[0].numpy()
    for column, name in ((0, "stroke_volume"), (1, "ejection_time"), (3, "pulse_wave_velocity")):
        np.testing.assert_allclose(found[:, column], np.log(getattr(adult, name)), atol=2e-4)


def test_slopes_are_those_of_the_values(law):
    rate, straight = places(50)
    _, slopes = law.inputs(rate, straight)
    for i in range(6):
        step = torch.zeros(6, dtype=torch.float64)
        step[i] = 1e-6
        ahead, behind = law.inputs(rate, straight + step)[0], law.inputs(rate, straight - step)[0]
        torch.testing.assert_close(slopes[:, :, i], (ahead - behind) / 2e-6, atol=1e-4, rtol=1e-4)
    pressure = straight[:, 2]
    rise = (law.shift(pressure + 1e-6)[0] - law.shift(pressure - 1e-6)[0]) / 2e-6
    torch.testing.assert_close(law.shift(pressure)[1], rise, atol=1e-4, rtol=1e-4)


def test_step_by_the_law_inverts_and_states_its_volume(law):
    torch.manual_seed(0)
    guess = HarmonicGuess(6, 4, law=True)
    step = GuessCentring(6, law=True)
    size = guess_size(6)
    step.fit(guess.place, guess.rotation, torch.zeros(size), torch.ones(size), law)
    u, values = torch.randn(8, 6), 0.1 * torch.randn(8, size)
    own = step(values)
    torch.testing.assert_close(own.inv(own(u)), u, atol=1e-4, rtol=1e-3)
    jacobian = torch.autograd.functional.jacobian(lambda v: step(values[:1])(v[None])[0], u[0].double())
    volume = step(values[:1]).log_abs_det_jacobian(u[:1], step(values[:1])(u[:1]))
    assert float(torch.linalg.slogdet(jacobian)[1]) == pytest.approx(float(volume[0]), abs=1e-4)


def test_straight_coordinates_invert_and_slopes_agree(law):
    guess = HarmonicGuess(6, 4, law=True)
    guess.law.load_state_dict(law.state_dict())
    v = torch.randn(30, 6, dtype=torch.float64).clamp(-1.5, 1.5)
    straight = guess._straight(v)
    torch.testing.assert_close(guess._back(straight)[0], v)
    for i in range(6):
        step = torch.zeros(6, dtype=torch.float64)
        step[i] = 1e-6
        moved = (guess._coordinates(straight + step) - guess._coordinates(straight - step)) / 2e-6
        torch.testing.assert_close(guess._coordinate_slopes(straight)[:, :, i], moved, atol=1e-3, rtol=1e-3)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="law must be 'clinical' or none and goes with a guess, got 'clinical'"):
        EmbeddingConfig("harmonic", law="clinical")
    outputs = OutputSpace(ParameterSpace(Parameter(name, "1", -3.0, 3.0) for name in "ab"))
    shape = EmbeddingConfig("harmonic", context=8 + guess_size(2), guess=2, law="clinical")
    with pytest.raises(ValueError, match="law 'clinical' is of the outputs"):
        NPE(outputs, NPEConfig(shape))
    assert "law" not in EmbeddingConfig("harmonic").to_json()
