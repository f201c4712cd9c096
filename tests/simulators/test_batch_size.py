r"""Batches are as large as the device's memory allows, and a network solved at once is the one solved in blocks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from pulsebayes.simulators.batch_size import batch_for_memory, cuda_memory
from pulsebayes.simulators.network import LinearNetwork

GIB = 2**30


@pytest.mark.parametrize(
    ("memory_gib", "batch"), [(8, 1024), (16, 2048), (24, 2048), (40, 4096), (80, 8192), (131, 16384), (10_000, 65_536)]
)
def test_batches_follow_the_memory(memory_gib: int, batch: int) -> None:
    row_bytes = LinearNetwork(duration_s=10.0).row_bytes
    assert batch_for_memory(memory_gib * GIB, row_bytes) == batch
    assert batch * row_bytes <= 0.6 * memory_gib * GIB


def test_a_row_that_does_not_fit_and_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a row takes 4.0 MB, more than 60% of 4.0 MB"):
        batch_for_memory(4_000_000, 4_000_000)
    for wrong in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="must be positive"):
            batch_for_memory(*wrong)
    with pytest.raises(ValueError, match=r"share lie in \(0, 1\]"):
        batch_for_memory(GIB, 1, share=1.5)


def test_rows_in_double_precision_take_twice_the_memory() -> None:
    single, double = (LinearNetwork(precision=name).row_bytes for name in ("float32", "float64"))
    assert double == 2 * single
    assert LinearNetwork(sites=("Radial", "Femoral")).row_bytes > LinearNetwork(sites=("Radial",)).row_bytes


def test_the_smallest_device_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '81559\\n24564\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert cuda_memory() == 24564 * 2**20


def test_without_a_device_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(subprocess, "run", absent)
    with pytest.raises(ValueError, match="device 'cuda' needs a CUDA device, found none"):
        cuda_memory()


def test_a_batch_solved_at_once_is_the_one_solved_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    network = LinearNetwork(beat="periodic", n_frequencies=16, duration_s=2.0)
    theta = network.space.sample(np.random.default_rng(0), 12)
    blocks = network.simulate(theta, 3)
    monkeypatch.setattr(jax, "default_backend", lambda: "cuda")
    whole = network.simulate(theta, 3)
    np.testing.assert_allclose(whole.waves, blocks.waves, rtol=2e-4, atol=2e-3)  # float32 in another order
    np.testing.assert_allclose(whole.quantities, blocks.quantities, rtol=2e-4)
    assert np.array_equal(whole.status, blocks.status)
