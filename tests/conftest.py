r"""What all tests share: where the real recordings are, and quiet numerical libraries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# One worker a core: more threads in each only make them wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session")
def real_data() -> Path:
    r"""The folder of real recordings: $PULSEBAYES_DATA, else ../shared/data beside the repository."""
    folder = Path(os.environ.get("PULSEBAYES_DATA") or ROOT.parent / "shared" / "data") / "real"
    if not folder.is_dir():
        pytest.skip("no real recordings: set PULSEBAYES_DATA to the folder that holds real/")
    return folder
