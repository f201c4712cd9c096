"""The loopback server as a fixture."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def load_server() -> Any:
    spec = importlib.util.spec_from_file_location("vitaldb_server", Path(__file__).with_name("server.py"))
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["vitaldb_server"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def vitaldb_server(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """Address and data of a running server."""
    folder = tmp_path / "served"
    folder.mkdir()
    with load_server().serve(folder) as running:
        yield running
