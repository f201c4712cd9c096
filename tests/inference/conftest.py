"""A small estimator of heart rate and pressures on short windows, made once."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
import torch

from pulsebayes.inference.bundle import Bundle, InputContract
from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import INDEPENDENT, OutputSpace

_spec = importlib.util.spec_from_file_location("toy_beat", Path(__file__).with_name("toy_beat.py"))
assert _spec is not None and _spec.loader is not None
sys.modules["toy_beat"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["toy_beat"])

LOW = np.array([45, 40, 220, 5, 0.7, 65, 2, 15, 10], float)
HIGH = np.array([120, 110, 380, 14, 2.5, 110, 12, 60, 35], float)


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    outputs = OutputSpace.from_names(INDEPENDENT)
    torch.manual_seed(0)
    shape = EmbeddingConfig(stem=8, stages=(8,), blocks=(1,), heads=2, hidden=16, context=8)
    npe = NPE(outputs, NPEConfig(shape, transforms=2, hidden=(16,))).eval()
    rng = np.random.default_rng(0)
    prior = rng.uniform(LOW, HIGH, (500, 9)).astype(np.float32)
    z = torch.from_numpy(outputs.space.unconstrain(prior)).float()
    npe.fit_scales(z, torch.from_numpy(rng.normal(90, 20, (64, 1000)).astype(np.float32)))
    measured = {"n": 2000, "coverage": {"0.5": {"HR": 0.49}, "0.9": {"HR": 0.91, "CO": 0.89}}}
    return Bundle("tiny", npe, prior, InputContract(), {"fingerprint": "ab"}, measured, card="# tiny\n")


@pytest.fixture
def one_width() -> Iterator[None]:
    """JAX mixes what it traced in single precision with what a test traces in double."""
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.fixture
def window() -> np.ndarray:
    return (90 + 25 * np.sin(np.arange(1000) / 16)).astype(np.float32)
