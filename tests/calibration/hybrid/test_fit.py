r"""Hybrid training: what readings say of a posterior, and what each part of the network may learn from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsebayes.calibration.evaluate import draw_quantities
from pulsebayes.calibration.hybrid import (
    PARTS,
    HybridConfig,
    Mix,
    Readings,
    fit_hybrid,
    reading_loss,
)
from pulsebayes.inference.npe import NPE

from .conftest import GAIN, OUTPUTS, World, labelled, world


def test_a_reading_scores_the_mean_of_its_density_over_draws() -> None:
    one = Readings(("CO",), np.array([[0.3]]), np.array([[0.2]]), {"CO": 0.2})
    draws = np.exp(np.array([[0.1, 0.5, 0.2]]))
    apart = (0.3 - np.log(draws[0])) / 0.2
    density = np.mean(np.exp(-0.5 * apart**2) / (0.2 * np.sqrt(2 * np.pi)))
    assert one.log_score({"CO": draws})[0, 0] == pytest.approx(np.log(density), rel=1e-12)


def test_the_loss_is_the_score_of_the_draws_that_the_noise_becomes(trained: World) -> None:
    npe, x, _ = trained
    reading = Readings.of(
        OUTPUTS,
        {"CO": np.array([5.0, np.nan]), "SVR": np.array([1200.0, 1500.0]), "MAP": np.array([np.nan, 85.0])},
        np.full(2, 0.1),
    )
    noise = torch.randn(2, 64, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        context = npe.embedding(torch.from_numpy(x[:2]))
        loss = float(reading_loss(npe, context, reading, noise))
        z = npe.flow(context.repeat_interleave(64, 0)).transform.inv(noise.flatten(0, 1)) * npe.z_sd + npe.z_mean
    theta = OUTPUTS.space.constrain(z.double().numpy()).reshape(2, 64, 4)
    score = np.nanmean(reading.log_score(OUTPUTS.derive(theta)), axis=1)
    assert loss == pytest.approx(-float(score.mean()), rel=1e-4)


def test_a_window_without_a_label_is_refused() -> None:
    with pytest.raises(ValueError, match="rows \\[1\\]"):
        Readings.of(OUTPUTS, {"CO": np.array([5.0, np.nan])}, np.full(2, 0.1))
    with pytest.raises(ValueError, match="labels must be of some of"):
        Readings.of(OUTPUTS, {"LVET": np.ones(2)}, np.full(2, 0.1))


@pytest.mark.parametrize("part", PARTS)
def test_a_part_learns_the_gain_from_output_alone_and_the_rest_stays(trained: World, part: str) -> None:
    npe, x, z = trained
    windows, readings, subjects = labelled(80, 5)
    mix = Mix(x, z, windows, readings, subjects)
    made = fit_hybrid(npe, mix, part, HybridConfig(share=0.6, steps=60, rate=6e-3, draws=16, batch=64))
    before, after = npe.state_dict(), made.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"shift": {"z_mean"}, "all": {"flow", "embedding"}}.get(part, {part})
    theta, fresh = world(400, 9, GAIN)
    truth = np.log(theta[:, 0] * theta[:, 1] / 1000)

    def bias(one: NPE) -> float:
        return float(np.mean(np.log(draw_quantities(one, fresh, n_draws=100)["CO"]).mean(1) - truth))

    assert bias(npe) > 0.2  # the posterior shrinks to its prior, so less than ln 1.35 = .30
    assert abs(bias(made)) < 0.8 * bias(npe)
    rate = draw_quantities(made, fresh, n_draws=100)["HR"].mean(1)
    assert np.median(np.abs(rate / theta[:, 0] - 1)) < 0.06  # what simulations pin down is not given up for it


def test_training_is_repeatable_and_leaves_the_base_alone(trained: World) -> None:
    npe, x, z = trained
    windows, readings, subjects = labelled(12, 5)
    mix = Mix(x[:200], z[:200], windows, readings, subjects)
    before = {name: value.clone() for name, value in npe.state_dict().items()}
    one, two = (fit_hybrid(npe, mix, "all", HybridConfig(steps=3, draws=4)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert all(torch.equal(value, npe.state_dict()[name]) for name, value in before.items())
    assert all(weights.requires_grad for weights in npe.parameters()) and not npe.z_mean.requires_grad


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.0}, {"rate": 0.0}, {"batch": 2}, {"draws": 1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        HybridConfig(**wrong)
