"""The counted beat rate, the computed mean pressure and the coordinate that measures mean pressure from it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pulsebayes.inference.beat_rate import beat_rate, counted_rate
from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.level import LevelCentring, whole_beats_mean
from pulsebayes.inference.npe import NPE, PRESETS
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.sampling import invert_flow

FS = 125.0


def beats(onsets: np.ndarray, level: float = 90.0) -> torch.Tensor:
    """A pulse with a notch after each onset."""
    since = np.arange(1000)[:, None] / FS - onsets
    shape = np.exp(-(((since - 0.15) / 0.07) ** 2)) + 0.3 * np.exp(-(((since - 0.45) / 0.06) ** 2))
    return torch.from_numpy((level - 10 + 40 * shape.sum(1)).astype(np.float32))[None]


@pytest.mark.parametrize("rate", [38.0, 61.3, 95.0, 140.0])
def test_a_steady_pulse_is_counted_as_it_repeats(rate: float) -> None:
    wave = beats(np.arange(-1.0, 9.0, 60 / rate))
    np.testing.assert_allclose(counted_rate(wave, FS), beat_rate(wave, FS), rtol=0.004)
    assert abs(float(counted_rate(wave, FS)) / rate - 1) < 2e-3


@pytest.mark.parametrize("seed", range(6))
def test_irregular_beats_are_counted(seed: int) -> None:
    intervals = np.random.default_rng(seed).uniform(0.7, 1.05, 20)
    onsets = np.cumsum(intervals) - 1.0
    seen = onsets[(onsets > 0.05) & (onsets < 7.75)]
    mean = 60 * (len(seen) - 1) / (seen[-1] - seen[0])
    assert (
        abs(float(counted_rate(beats(onsets), FS)) / mean - 1) < 0.03
    )  # which beats are cut off at the ends is a matter of samples


def test_two_equal_samples_are_one_upstroke() -> None:
    wave = torch.round(beats(np.arange(0.2, 9.0, 0.81)))
    assert abs(float(counted_rate(wave, FS)) - 60 / 0.81) < 0.3


def test_the_counted_rate_is_finite_whatever_comes() -> None:
    odd = torch.stack((torch.zeros(1000), torch.randn(1000), torch.arange(1000.0)))
    rates = counted_rate(odd, FS)
    assert bool(torch.isfinite(rates).all()) and bool(((rates > 15) & (rates < 400)).all())


@pytest.mark.parametrize("phase", [0.0, 0.2, 0.5, 0.9])
def test_the_mean_is_that_of_whole_beats(phase: float) -> None:
    wave = beats(np.arange(-2.0 + phase, 9.0, 1.3))
    long = np.asarray(beats(np.arange(-13.0, 26.0, 1.3)))[0, :975]  # six beats, to the sample
    assert abs(float(whole_beats_mean(wave, torch.tensor([60 / 1.3]), FS)) - long.mean()) < 0.15


def test_centring_is_a_bijection_with_its_jacobian() -> None:
    centring = LevelCentring(1, 15.0, 220.0, -2)
    centring.fit(torch.tensor(-0.4), torch.tensor(0.7))
    context = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)).double()
    step, u = centring(context), torch.randn(5, 3, generator=torch.Generator().manual_seed(2)).double()
    np.testing.assert_allclose(step.inv(step(u)), u, atol=1e-12)
    jacobian = torch.autograd.functional.jacobian(lambda v: centring(context[0])(v), u[0])
    expected = float(step.log_abs_det_jacobian(u, step(u))[0])
    assert float(torch.linalg.slogdet(jacobian)[1]) == pytest.approx(expected)


@pytest.fixture(scope="module")
def npe() -> NPE:
    outputs = OutputSpace.from_names(("SV", "HR", "MAP"))
    small = PRESETS["small"]
    shape = dataclasses.replace(small.embedding, rate="counted", level=True)
    torch.manual_seed(0)
    made = NPE(outputs, dataclasses.replace(small, embedding=shape))
    theta = np.stack((np.linspace(40, 110, 64), np.linspace(45, 150, 64), np.linspace(60, 110, 64)), 1)
    made.fit_scales(torch.from_numpy(outputs.space.unconstrain(theta)).float(), beats(np.arange(0.0, 9.0)).repeat(8, 1))
    return made.eval()


def test_an_untrained_estimator_is_near_the_computed_mean(npe: NPE) -> None:
    onsets = np.arange(0.2, 9.0, 0.8)
    waves = torch.cat([beats(onsets, level) for level in (60.0, 130.0)])
    draws = npe.sample(waves, 400, torch.Generator().manual_seed(0))
    expected = whole_beats_mean(waves, counted_rate(waves, FS), FS)
    np.testing.assert_allclose(np.median(draws[:, :, 2], axis=1), expected, atol=2.0)
    np.testing.assert_allclose(np.median(draws[:, :, 1], axis=1), 75.0, rtol=0.01)


def test_fast_sampling_equals_the_flow_of_zuko(npe: NPE) -> None:
    noise = torch.randn(9, 3, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        context = npe.embedding(beats(np.arange(0.2, 9.0, 0.7)))[0]
        np.testing.assert_allclose(
            invert_flow(npe.flow, context, noise), npe.flow(context).transform.inv(noise), atol=1e-4
        )


def test_an_embedding_without_unit_has_no_level() -> None:
    for wrong in ({"relative": True, "rate": True}, {"rate": False}):
        with pytest.raises(ValueError, match="level is for waves"):
            EmbeddingConfig(level=True, **wrong)
    with pytest.raises(ValueError, match="'counted'"):
        EmbeddingConfig(rate="often")  # type: ignore[arg-type]
