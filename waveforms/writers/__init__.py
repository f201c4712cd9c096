r"""Write recordings to waveform files, and check what was written against what was meant."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Comparison": "._compare",
    "VitalNumbers": ".vital",
    "VitalWave": ".vital",
    "compare": "._compare",
    "write": "._write",
    "write_csv": ".csv",
    "write_edf": ".edf",
    "write_netcdf": ".netcdf",
    "write_vital": ".vital",
    "write_wfdb": ".wfdb",
}

__all__ = [
    "Comparison",
    "VitalNumbers",
    "VitalWave",
    "compare",
    "write",
    "write_csv",
    "write_edf",
    "write_netcdf",
    "write_vital",
    "write_wfdb",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
