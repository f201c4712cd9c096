r"""`pulsebayes doctor`: what this machine has, and whether the shipped models are whole."""

from __future__ import annotations

import json
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from .errors import ExitCode
from .options import Settings, with_settings

__all__ = ["doctor"]

_LIBRARIES = ("numpy", "scipy", "xarray", "zarr", "h5netcdf", "jax", "torch", "zuko", "safetensors", "wfdb")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@with_settings
def doctor(settings: Settings) -> None:
    r"""Say what this machine has and holds.

    Versions, cores, shipped models (each checked against its hashes), the folder of test data and Chromium. Exit code
    6 when a model is damaged or a library is missing.

    Arguments:
        settings: The shared options.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["doctor", "--help"])  # doctest: +ELLIPSIS
        Usage: ...
    """
    models = _models()
    report: dict[str, Any] = {
        "pulsebayes": _version("pulsebayes"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": _cores(),
        "cuda": _cuda(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "models": models,
        "data": _data(),
        "chromium": any(shutil.which(name) for name in _BROWSERS),
    }
    if settings.json:
        typer.echo(json.dumps(report))
    else:
        typer.echo(_page(report))
    whole = all(state == "whole" for state in models.values()) and all(report["libraries"].values())
    raise typer.Exit(0 if whole else int(ExitCode.BUNDLE))


def _page(report: dict[str, Any]) -> str:
    words = {True: "found", False: "not found"}
    lines = []
    for name, value in report.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {entry or 'missing'}" for key, entry in value.items()) or "none"
        lines.append(f"{name:11} {words[value] if isinstance(value, bool) else value}")
    return "\n".join(lines)


def _models() -> dict[str, str]:
    r"""Every shipped model: whole, or what is wrong with it."""
    from ...calibration.load import load_calibrated
    from ...inference.bundle import shipped_bundles
    from ...inference.symbolic.weights import load_symbolic_model, shipped_symbolic_models

    bundles, equations = shipped_bundles(), shipped_symbolic_models()
    found = {}
    for name, folder in {**bundles, **equations}.items():
        try:
            load_symbolic_model(folder) if name in equations else load_calibrated(folder)
            found[name] = "whole"
        except ValueError as error:
            found[name] = str(error)
    return found


def _cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _data() -> bool:
    r"""Whether the recordings that the tests use are where the tests look."""
    root = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("PULSEBAYES_DATA") or root.parent / "shared" / "data")
    return (folder / "real").is_dir()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
