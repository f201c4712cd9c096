r"""A world of four outputs in which reality has a gain that the simulator lacks, and an estimator of the simulator."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch

from pulsebayes.calibration.hybrid import Readings
from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import OutputSpace

OUTPUTS = OutputSpace.from_names(("HR", "SV", "MAP", "CVP"))
SHAPE = NPEConfig(EmbeddingConfig("dense", samples=6, hidden=16, context=6), transforms=2, bins=4, hidden=(16,))
GAIN = 1.35


class World(NamedTuple):
    r"""An estimator, the windows it was trained on and their unconstrained outputs."""

    npe: NPE
    x: np.ndarray
    z: np.ndarray


def world(n: int, seed: int, gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    r"""Outputs, and windows that tell of them: stroke volume with noise and, in reality, as seen by another gain."""
    rng = np.random.default_rng(seed)
    log_sv = np.log(70) + 0.3 * rng.standard_normal(n)
    theta = np.stack(
        [
            70 * np.exp(0.2 * rng.standard_normal(n)),
            np.exp(log_sv),
            80 + 10 * rng.standard_normal(n),
            rng.uniform(2, 10, n),
        ],
        -1,
    )
    tell = log_sv + np.log(gain) + 0.15 * rng.standard_normal(n)
    x = np.stack([theta[:, 0] / 70, tell - np.log(70), theta[:, 2] / 80, *rng.standard_normal((3, n))], -1)
    return theta, x.astype(np.float32)


@pytest.fixture(scope="session")
def trained() -> World:
    r"""An estimator of the world without a gain, its windows and unconstrained outputs."""
    torch.manual_seed(0)
    theta, x = world(4000, 1)
    z = OUTPUTS.space.unconstrain(theta)
    npe = NPE(OUTPUTS, SHAPE)
    rows, target = torch.from_numpy(x), torch.from_numpy(z).float()
    npe.fit_scales(target, rows)
    optimizer = torch.optim.Adam(npe.parameters(), lr=1e-2)
    rng = np.random.default_rng(0)
    for _ in range(250):
        pick = rng.integers(len(x), size=128)
        loss = npe.loss(target[pick], rows[pick])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return World(npe.eval(), x, z)


def labelled(n: int, seed: int, error: float = 0.15) -> tuple[np.ndarray, Readings, np.ndarray]:
    r"""Windows of a reality with a gain, with readings of output only that err by so much, two of each subject."""
    theta, x = world(n, seed, GAIN)
    output = theta[:, 0] * theta[:, 1] / 1000
    read = output * np.exp(error * np.random.default_rng(seed).standard_normal(n))
    return x, Readings.of(OUTPUTS, {"CO": read}, np.full(n, error)), np.arange(n) // 2
