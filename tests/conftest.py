r"""What all tests share: where the real recordings are, and quiet numerical libraries."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What one test, worker or child has compiled the others take: most of the time of many tests is compilation.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="pulsebayes-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

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
