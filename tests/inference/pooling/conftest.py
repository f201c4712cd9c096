r"""What tests of pools share: the shipped model of radial pressure with its layer."""

from __future__ import annotations

import pytest
import torch

from pulsebayes.inference.bundle import Bundle, find_bundle
from pulsebayes.inference.pooling import PoolingLayer, load_pooling


@pytest.fixture(scope="module")
def shipped() -> tuple[Bundle, PoolingLayer]:
    torch.set_num_threads(1)
    folder = find_bundle("radial-abp")
    bundle = Bundle.load(folder)
    layer = load_pooling(folder, bundle)
    assert layer is not None
    return bundle, layer
