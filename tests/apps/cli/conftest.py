r"""A small untrained model, a pulse that the gate accepts, and the command line run in process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

FS = 125


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    r"""Run the command line in this process: exit code, stdout, stderr."""
    from pulsebayes.apps.cli.main import run as run_main

    def go(*words: object) -> Ran:
        capsys.readouterr()
        code = run_main([str(word) for word in words])
        return Ran(code, *capsys.readouterr())

    return go


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    r"""A bundle with an untrained network, as small as can be."""
    import torch

    from pulsebayes.inference.bundle import Bundle
    from pulsebayes.inference.npe import NPE, PRESETS
    from pulsebayes.inference.outputs import OutputSpace

    torch.manual_seed(0)
    outputs = OutputSpace.from_names()
    centre = np.array([75, 70, 300, 8, 1.2, 90, 6, 30, 20.0])
    prior = (centre * np.exp(0.8 * np.random.default_rng(0).standard_normal((500, 9)))).clip(
        outputs.space.low * 1.01, outputs.space.high * 0.99
    )
    npe = NPE(outputs, PRESETS["small"])
    z = torch.from_numpy(outputs.space.unconstrain(prior)).float()
    npe.fit_scales(0.1 * (z - z.mean(0)) + z.mean(0), 90 + 20 * torch.randn(64, 1000))
    folder = tmp_path_factory.mktemp("models") / "untrained"
    Bundle("untrained", npe, prior.astype(np.float32)).save(folder)
    return folder


@pytest.fixture
def pulse() -> Callable[[float], np.ndarray]:
    r"""Makes a pressure pulse that the gate accepts [mmHg], of so many seconds at 125 Hz."""

    def make(seconds: float) -> np.ndarray:
        phase = (np.arange(round(seconds * FS)) / FS * 1.2) % 1
        wave = 80 + 45 * np.exp(-phase / 0.45) * np.minimum(phase / 0.12, 1)
        wave += 4 * np.exp(-(((phase - 0.42) / 0.05) ** 2))
        return wave + np.random.default_rng(0).normal(0, 0.3, len(wave))

    return make


@pytest.fixture
def write_csv() -> Callable[..., Path]:
    r"""Writes one column to a CSV file; NaN becomes an empty cell."""

    def write(path: Path, wave: np.ndarray, header: str = "ABP [mmHg]") -> Path:
        path.write_text(header + "\n" + "\n".join("" if np.isnan(v) else f"{v:.3f}" for v in wave) + "\n")
        return path

    return write
