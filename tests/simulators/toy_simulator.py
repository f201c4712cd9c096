r"""A damped-pulse generator: fast, without JAX, wicked on request. Training sets name it by import path."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from pulsebayes.simulators.parameters import LogUniform, Parameter, ParameterSpace, Uniform
from pulsebayes.simulators.registry import Simulated


class DampedPulse:
    r"""Decaying oscillation with noise; one row in eight is marked unphysiological."""

    name = "damped-pulse"
    version = "1"
    sites = ("radial", "femoral")
    quantity_names = ("f", "peak")
    units = ("Hz", "mmHg")

    def __init__(self, *, fs: float = 50.0, duration_s: float = 2.0, pause_s: float = 0.0, fault: str = "") -> None:
        if fs <= 0:
            raise ValueError(f"fs must be positive, got {fs}")
        self.config = {"fs": fs, "duration_s": duration_s, "pause_s": pause_s, "fault": fault}
        self.space = ParameterSpace(
            (
                Parameter("frequency", "Hz", 0.5, 3.0, LogUniform(), scale="log"),
                Parameter("damping", "1/s", 0.1, 2.0, Uniform()),
            )
        )
        self._t = np.arange(round(fs * duration_s)) / fs
        self._pause_s, self._fault, self._n_calls = pause_s, fault, 0

    def simulate(self, theta: np.ndarray, seed: int) -> Simulated:
        self._n_calls += 1
        if self._n_calls > 2:
            self._break()
        time.sleep(self._pause_s)
        rng = np.random.default_rng(seed)
        wave = 90 + 30 * np.exp(-theta[:, 1:] * self._t) * np.cos(2 * np.pi * theta[:, :1] * self._t)
        waves = np.stack([wave, wave + 1], axis=1) + rng.normal(0, 0.1, (len(theta), 2, len(self._t)))
        status = np.where(rng.random(len(theta)) < 1 / 8, 3, 0).astype(np.uint8)
        if self._fault == "nan":
            return Simulated(waves.astype("f4") * np.nan, np.full((len(theta), 2), np.nan, "f4"), status * 0 + 1)
        return Simulated(waves.astype("f4"), np.stack([theta[:, 0], waves.max((1, 2))], 1).astype("f4"), status)

    def _break(self) -> None:
        if self._fault == "raise":
            raise RuntimeError("the toy broke")
        if self._fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault == "full":
            raise OSError(28, "No space left on device", "waves")
