"""What goes onto a card is measured on the quantities themselves."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.calibration.evaluate import CURVE, measure
from pulsebayes.inference.outputs import INDEPENDENT, OutputSpace

LOW = np.array([45, 40, 220, 5, 0.7, 65, 2, 15, 10], float)
HIGH = np.array([120, 110, 380, 14, 2.5, 110, 12, 60, 35], float)


class Oracle:
    """Draws around the truth that a window carries in its first samples, with a known relative spread."""

    outputs = OutputSpace.from_names(INDEPENDENT)

    def __init__(self, spread: float, promised: float) -> None:
        self.spread, self.promised = spread, promised

    def sample(self, x, n, generator):
        rng = np.random.default_rng(int(generator.initial_seed()) + round(float(x.sum())) % 1000)
        centre = x.numpy().astype(float)[:, None, :9]
        return (centre * np.exp(self.promised * rng.normal(size=(len(x), n, 9)))).astype(np.float32)


def run(spread=0.1, promised=0.1, n=800):
    rng = np.random.default_rng(0)
    theta = rng.uniform(LOW, HIGH, (n, 9))
    x = np.zeros((n, 20), np.float32)
    x[:, :9] = theta * np.exp(spread * rng.normal(size=theta.shape))
    return measure(Oracle(spread, promised), x, theta, rng.uniform(LOW, HIGH, (4000, 9)), n_draws=200)


def test_measures_hold_every_quantity_and_no_array():
    found = run()
    names = set(Oracle.outputs.reported)
    assert found["n"] == 800
    assert [float(level) for level in found["coverage"]] == list(CURVE)
    for key in ("sbc", "sbc_holm", "contraction", "median_error", "interval", "prior_range"):
        assert set(found[key]) == names
    assert set(found["median_error_mmHg"]) == {"MAP", "CVP", "SBP", "DBP", "PP"}
    assert all(type(value) is float for value in found["contraction"].values())


def test_known_spread_is_found():
    found = run()
    # the median of |N(0, .1)| is .0674; the prior is not flat in the logarithm, which moves it a little
    assert found["median_error"]["LVET"] == pytest.approx(0.0674, rel=0.15)
    assert found["coverage"]["0.9"]["HR"] == pytest.approx(0.9, abs=0.05)
    variance = np.log(np.random.default_rng(1).uniform(0.7, 2.5, 100_000)).var()
    assert found["contraction"]["C"] == pytest.approx(1 - 0.01 / variance, abs=0.01)
    assert found["prior_range"]["MAP"] == pytest.approx([67.25, 107.75], abs=0.8)


def test_promises_that_are_too_narrow_are_seen():
    found = run(promised=0.04)
    assert found["coverage"]["0.9"]["HR"] < 0.65
    assert found["sbc_holm"]["HR"] < 1e-6


def test_venous_pressure_above_mean_pressure_does_not_break_the_logarithm():
    rng = np.random.default_rng(0)
    theta = rng.uniform(LOW, HIGH, (120, 9))
    x = np.zeros((120, 20), np.float32)
    x[:, :9] = theta
    x[0, 5], x[0, 6] = 20.0, 44.0  # a draw with MAP below CVP
    found = measure(Oracle(0.1, 0.01), x, theta, theta, n_draws=50)
    assert np.isfinite(found["contraction"]["SVR"])
