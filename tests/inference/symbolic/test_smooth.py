r"""Smooth paths of samples with rare spikes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pulsebayes.inference.symbolic._smooth import smooth_path


def roessler(t: np.ndarray) -> np.ndarray:
    def slope(_: float, x: np.ndarray) -> list[float]:
        return [-5.0 * (x[1] + x[2]), 5.0 * x[0] + 0.5 * x[1], 5.0 * x[2] * (x[0] - 5.7) + 1.0]

    return solve_ivp(slope, (0.0, 10.0), [2.3, 1.1, 0.8], t_eval=t, method="LSODA", rtol=1e-9, atol=1e-11).y.T


@pytest.mark.parametrize(("sigma", "allowed"), [(0.0, 0.01), (0.05, 0.1)])
def test_spikes_are_not_smoothed_away(sigma: float, allowed: float) -> None:
    rng = np.random.default_rng(0)
    t = np.sort(np.linspace(0.0, 10.0, 512)[rng.permutation(512)[:256]])
    clean = roessler(t)
    path = smooth_path(t, clean * (1.0 + sigma * rng.standard_normal(clean.shape)), np.zeros((256, 0)))
    truth = roessler(path.grid)
    error = np.sqrt(((path.smooth - truth) ** 2).mean(0)) / truth.std(0)
    assert (error < allowed).all()


def test_a_state_of_both_signs_is_smoothed_no_more_than_its_noise() -> None:
    t = np.linspace(0.0, 10.0, 300)
    spikes = np.exp(-(((t % 2.5) - 1.2) ** 2) / 2e-2) * np.where(t % 5.0 < 2.5, 1.0, -1.0)
    x = (spikes + 0.002 * np.sin(t))[:, None]
    path = smooth_path(t, x * (1.0 + 0.05 * np.random.default_rng(1).standard_normal(x.shape)), np.zeros((300, 0)))
    assert np.sqrt(np.mean((path.at(path.smooth) - x) ** 2)) < 0.1 * x.std()
