r"""A circulation of two sites without JAX: pulses of a rate and a size; training sets name it by import path."""

from __future__ import annotations

import numpy as np

from pulsebayes.simulators.parameters import LogUniform, Parameter, ParameterSpace, Uniform
from pulsebayes.simulators.registry import Simulated


class ToyCirculation:
    r"""`arm` is a pressure with a pulse of size PP at rate HR, `finger` the same pulse without a unit."""

    name = "toy_circulation:ToyCirculation"
    version = "1"
    sites = ("arm", "finger")
    quantity_names = ("HR", "PP", "MAP")
    units = ("1/min", "mmHg", "mmHg")

    def __init__(self, *, fs: float = 62.5, duration_s: float = 6.0) -> None:
        self.config = {"fs": fs, "duration_s": duration_s}
        self.space = ParameterSpace(
            (
                Parameter("age", "years", 20.0, 80.0, Uniform()),
                Parameter("rate", "1/min", 50.0, 110.0, LogUniform(), scale="log"),
                Parameter("size", "mmHg", 20.0, 80.0, LogUniform(), scale="log"),
                Parameter("level", "mmHg", 60.0, 120.0, Uniform()),
            )
        )
        self._t = np.arange(round(fs * duration_s)) / fs

    def simulate(self, theta: np.ndarray, seed: int) -> Simulated:
        rng = np.random.default_rng(seed)
        _, rate, size, level = theta.T
        phase = 2 * np.pi * (self._t * rate[:, None] / 60 + rng.random((len(theta), 1)))
        pulse = 0.5 * (np.cos(phase) + 0.4 * np.cos(2 * phase + 0.7))
        waves = np.stack([level[:, None] + size[:, None] * pulse, pulse], 1)
        columns = np.stack([rate, size, level], 1)
        return Simulated(waves.astype("f4"), columns.astype("f4"), np.zeros(len(theta), "u1"))
