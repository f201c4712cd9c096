"""The computed beat rate and the coordinate that measures heart rate from it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from pulsebayes.inference.beat_rate import RateCentring, beat_rate, rate_and_repetition, rate_coordinate, repetition
from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.npe import NPE, PRESETS, NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.sampling import invert_flow

FS = 125.0


def pulse(rate: float, seconds: float = 8.0, phase: float = 0.3) -> torch.Tensor:
    t = np.arange(round(seconds * FS)) / FS + phase
    at = (t * rate / 60) % 1
    wave = 80 + 40 * np.exp(-(((at - 0.2) / 0.1) ** 2)) + 12 * np.exp(-(((at - 0.5) / 0.06) ** 2))
    return torch.from_numpy(wave.astype(np.float32))[None]


@pytest.mark.parametrize("rate", [37.3, 52.0, 74.9, 100.0, 133.1, 158.7])
def test_rate_of_a_steady_pulse_is_read_to_a_tenth_of_a_per_cent(rate: float) -> None:
    noise = torch.randn(1, 1000, generator=torch.Generator().manual_seed(0))
    assert abs(float(beat_rate(pulse(rate) + noise, FS)) / rate - 1) < 1e-3


def test_rate_does_not_depend_on_unit_or_level() -> None:
    wave = pulse(81.0)
    np.testing.assert_allclose(beat_rate(0.01 * wave - 7, FS), beat_rate(wave, FS), rtol=1e-5)


def test_rate_and_repetition_are_found_at_once() -> None:
    waves = torch.cat((pulse(52.0), pulse(133.1) + torch.randn(1, 1000), torch.randn(2, 1000)))
    rate, likeness = rate_and_repetition(waves, FS)
    assert torch.equal(rate, beat_rate(waves, FS)) and torch.equal(likeness, repetition(waves, FS))


def test_rate_is_finite_whatever_comes() -> None:
    odd = torch.stack((torch.zeros(1000), torch.randn(1000), torch.arange(1000.0)))
    rates = beat_rate(odd, FS)
    assert bool(torch.isfinite(rates).all()) and bool(((rates > 20) & (rates < 240)).all())


def test_a_window_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="must last at least"):
        beat_rate(torch.zeros(1, 20), FS)


def test_centring_is_a_bijection_with_its_jacobian() -> None:
    centring = RateCentring(1, 20.0, 240.0)
    centring.fit(torch.tensor(-0.4), torch.tensor(0.7))
    context = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)).double()
    step, u = centring(context), torch.randn(5, 3, generator=torch.Generator().manual_seed(2)).double()
    u[0, 1] = step.centre[0] + 1e-4
    np.testing.assert_allclose(step.inv(step(u)), u, atol=1e-9)
    for i in range(5):
        jacobian = torch.autograd.functional.jacobian(lambda v, i=i: centring(context[i])(v), u[i])
        np.testing.assert_allclose(
            torch.linalg.slogdet(jacobian)[1], centring(context[i]).log_abs_det_jacobian(u[i], u[i]), rtol=1e-6
        )


@pytest.fixture(scope="module")
def npe() -> NPE:
    outputs = OutputSpace.from_names(("SV", "HR", "MAP"))
    small = PRESETS["small"]
    torch.manual_seed(0)
    made = NPE(outputs, dataclasses.replace(small, embedding=dataclasses.replace(small.embedding, rate=True)))
    theta = np.stack((np.linspace(40, 110, 64), np.linspace(45, 150, 64), np.linspace(60, 110, 64)), 1)
    made.fit_scales(torch.from_numpy(outputs.space.unconstrain(theta)).float(), pulse(70).repeat(8, 1))
    return made.eval()


def test_an_untrained_estimator_is_near_the_computed_rate(npe: NPE) -> None:
    draws = npe.sample(torch.cat((pulse(61.0), pulse(120.0))), 400, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(np.median(draws[:, :, 1], axis=1), [61.0, 120.0], rtol=0.01)


def test_fast_sampling_equals_the_flow_of_zuko(npe: NPE) -> None:
    noise = torch.randn(9, 3, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        context = npe.embedding(pulse(88.0))[0]
        np.testing.assert_allclose(
            invert_flow(npe.flow, context, noise), npe.flow(context).transform.inv(noise), atol=1e-4
        )
    assert math.isclose(float(context[-1]), float(rate_coordinate(pulse(88.0), FS)), rel_tol=1e-5)


def test_density_integrates_to_one_over_the_heart_rate() -> None:
    outputs = OutputSpace.from_names(("HR",))
    torch.manual_seed(0)
    made = NPE(outputs, NPEConfig(EmbeddingConfig(rate=True, stages=(16,), blocks=(1,)), transforms=2, hidden=(16,)))
    made.fit_scales(
        torch.from_numpy(outputs.space.unconstrain(np.linspace(40, 150, 64)[:, None])).float(), pulse(70).repeat(8, 1)
    )
    away = np.geomspace(1e-6, 0.9, 2000)
    grid = np.sort(70 * np.exp(np.concatenate((-away, [0.0], away))))
    log_q = made.log_prob(grid[:, None], pulse(70.0).expand(len(grid), -1))
    assert abs(np.trapezoid(np.exp(log_q), grid) - 1) < 0.02


def test_a_rate_is_refused_where_no_wave_is_read() -> None:
    with pytest.raises(ValueError, match="relative and rate"):
        EmbeddingConfig("dense", rate=True)
    with pytest.raises(ValueError, match="context"):
        EmbeddingConfig(rate=True, context=1)
