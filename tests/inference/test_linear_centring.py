"""A linear embedding measures outputs from their least-squares guess: exact where the posterior is linear-Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.linear_centring import LinearCentring
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.sampling import invert_flow
from pulsebayes.inference.streaming import ArraySource, WholeWindow
from pulsebayes.inference.training import TrainConfig, TrainData, train
from pulsebayes.simulators.parameters import Parameter, ParameterSpace

OUTPUTS = OutputSpace(ParameterSpace(Parameter(name, "1", -50.0, 50.0) for name in "ab"))
SHAPE = NPEConfig(EmbeddingConfig("dense", samples=3, hidden=8, context=7, linear=True), transforms=2, hidden=(8,))
MIX = np.array([[1.0, 0.5, 0.0], [0.0, -1.0, 2.0]])


def pairs(n, seed=0):
    """Standard normal outputs seen through a matrix with noise of .5, and the exact posterior's covariance."""
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal((n, 2))
    x = theta @ MIX + 0.5 * rng.standard_normal((n, 3))
    return theta, x.astype(np.float32), np.linalg.inv(np.eye(2) + MIX @ MIX.T / 0.25)


def fitted(n=5000):
    theta, x, covariance = pairs(n)
    centring = LinearCentring(2, 3)
    centring.fit(torch.from_numpy(theta), torch.from_numpy(x))
    return centring, theta, torch.from_numpy(x), covariance


def test_guess_and_residuals_are_the_exact_posterior_of_a_linear_gaussian_model():
    centring, _, _, covariance = fitted()
    exact = (covariance @ MIX / 0.25).T
    np.testing.assert_allclose(centring.slope, exact, atol=0.03)  # about five standard errors
    np.testing.assert_allclose(centring.root @ centring.root.T, covariance, atol=0.02)


def test_step_inverts_and_states_its_volume():
    centring, theta, x, _ = fitted()
    step, u = centring(torch.cat((torch.zeros(4, 5), x[:4]), -1)), torch.from_numpy(theta[:4]).float()
    torch.testing.assert_close(step.inv(step(u)), u)
    jacobian = torch.autograd.functional.jacobian(lambda v: centring(x[:1])(v[None])[0], u[0])
    torch.testing.assert_close(step.log_abs_det_jacobian(u, step(u))[0], torch.linalg.slogdet(jacobian)[1])


def test_draws_are_those_of_the_flow():
    theta, x, _ = pairs(500)
    npe = NPE(OUTPUTS, SHAPE)
    z = torch.from_numpy(OUTPUTS.space.unconstrain(theta)).float()
    npe.fit_scales(z, torch.from_numpy(x), z)
    with torch.no_grad():
        context, noise = npe.embedding(torch.from_numpy(x[:1]))[0], torch.randn(50, 2)
        expected = npe.flow(context).transform.inv(noise)
        torch.testing.assert_close(invert_flow(npe.flow, context, noise), expected, atol=1e-4, rtol=1e-4)


def test_few_rows_and_one_epoch_give_the_exact_posterior():
    theta, x, covariance = pairs(2000)
    columns = {name: theta[:, d] for d, name in enumerate("ab")}
    data = TrainData(ArraySource(x), columns, WholeWindow(), np.zeros(len(x), int))
    npe = train(data, OUTPUTS, SHAPE, TrainConfig(epochs=1, batch=256)).npe
    theta, x, _ = pairs(4000, seed=1)
    off = theta - x @ (covariance @ MIX / 0.25).T
    exact = -0.5 * np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off)
    exact -= 0.5 * np.log(np.linalg.det(2 * np.pi * covariance))
    lost = exact - npe.log_prob(theta, torch.from_numpy(x))
    assert lost.mean() < 0.03  # nats; without the line half a nat is missing after this epoch


def test_estimator_survives_its_configuration_and_old_ones_do_not_change():
    assert NPEConfig.from_json(SHAPE.to_json()) == SHAPE
    assert "linear" not in EmbeddingConfig("dense", samples=3).to_json()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="needs a context longer than the 3 samples"):
        EmbeddingConfig("dense", samples=3, context=3, linear=True)
    with pytest.raises(ValueError, match="linear is for kind 'dense'"):
        EmbeddingConfig("wave", samples=3, context=9, linear=True)
    with pytest.raises(ValueError, match="give the outputs z_of_x"):
        NPE(OUTPUTS, SHAPE).fit_scales(torch.zeros(9, 2), torch.randn(9, 3))
    with pytest.raises(ValueError, match="needs more than 6 rows, got 6"):
        LinearCentring(2, 3).fit(torch.zeros(6, 2), torch.zeros(6, 3))
