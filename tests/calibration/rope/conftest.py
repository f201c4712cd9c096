from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsebayes.calibration.rope import Components, Whitening
from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.simulators.parameters import Parameter, ParameterSpace


@pytest.fixture(scope="session")
def space() -> ParameterSpace:
    return ParameterSpace((Parameter("a", "1", -1.0, 3.0), Parameter("b", "1", 0.5, 8.0, scale="log")))


@pytest.fixture(scope="session")
def npe(space: ParameterSpace) -> NPE:
    torch.manual_seed(0)
    shape = EmbeddingConfig("dense", samples=5, hidden=16, context=3)
    net = NPE(OutputSpace(space), NPEConfig(shape, transforms=2, hidden=(16,)))
    rng = np.random.default_rng(0)
    theta = space.sample(rng, 500)
    net.fit_scales(torch.from_numpy(space.unconstrain(theta)).float(), torch.randn(100, 5))
    return net.eval()


@pytest.fixture(scope="session")
def components(npe: NPE) -> Components:
    return Components.of(npe, np.random.default_rng(1).normal(size=(80, 3)) * [1.0, 4.0, 0.3], draws=40)


@pytest.fixture(scope="session")
def whitening(components: Components) -> Whitening:
    return Whitening.fit(np.asarray(components.contexts))
