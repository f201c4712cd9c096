r"""Read waveform files, one format a module, told apart by their content."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Sniffed": "._sniff",
    "read": "._read",
    "read_csv": ".csv",
    "read_edf": ".edf",
    "read_hdf5": ".hdf5",
    "read_labchart": ".labchart",
    "read_mat": ".mat",
    "read_netcdf": ".netcdf",
    "read_npz": ".npz",
    "read_numbers": ".vital",
    "read_parquet": ".parquet",
    "read_vital": ".vital",
    "read_wfdb": ".wfdb",
    "read_zarr": ".zarr",
    "sniff": "._sniff",
}

__all__ = [
    "Sniffed",
    "read",
    "read_csv",
    "read_edf",
    "read_hdf5",
    "read_labchart",
    "read_mat",
    "read_netcdf",
    "read_npz",
    "read_numbers",
    "read_parquet",
    "read_vital",
    "read_wfdb",
    "read_zarr",
    "sniff",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
