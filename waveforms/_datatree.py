"""A recording as an xarray tree; apart, so that reading a file does not import xarray."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from .labelling import Channel

if TYPE_CHECKING:
    from .recording import Recording

_GRID = 1.0e-3  # part of a sample period by which two grids may differ and still be one


def datatree(recording: Recording) -> xr.DataTree:
    """One node per sampling grid; see `Recording.to_datatree`."""
    tree = xr.DataTree(name=recording.name)
    tree.attrs = {"file": recording.name, "duration_s": recording.duration_s, "findings": list(recording.findings)}
    for channels in _grids(recording.channels):
        base = f"{channels[0].fs:.10g}Hz"
        taken = sum(key.split("_")[0] == base for key in tree.children)
        tree[base if not taken else f"{base}_{taken + 1}"] = xr.DataTree(_dataset(recording, channels))
    return tree


def _grids(channels: tuple[Channel, ...]) -> list[list[Channel]]:
    """Channels that share rate and phase."""
    grids: list[list[Channel]] = []
    for channel in channels:
        for grid in grids:
            lag = (channel.start_s - grid[0].start_s) * grid[0].fs
            if channel.fs == grid[0].fs and abs(lag - round(lag)) < _GRID:
                grid.append(channel)
                break
        else:
            grids.append([channel])
    return grids


def _dataset(recording: Recording, channels: list[Channel]) -> xr.Dataset:
    first = min(channels, key=lambda channel: channel.start_s)
    end = max(channel.start_s + channel.duration_s for channel in channels)
    time = first.start_s + np.arange(round((end - first.start_s) * first.fs)) / first.fs
    variables = {}
    for channel in channels:
        wave = np.full(len(time), np.nan, dtype=np.float32)
        lag = round((channel.start_s - first.start_s) * channel.fs)
        index = recording.channels.index(channel)
        part = recording._read(index, channel.start_s, channel.start_s + channel.duration_s)
        wave[lag : lag + len(part)] = part[: len(wave) - lag]
        attributes = {
            "units": channel.unit or "",
            "role": channel.role or "",
            "fs": channel.fs,
            "findings": list(channel.findings),
        }
        variables[channel.name.replace("/", "|")] = ("time", wave, attributes)
    coordinates = {"time": ("time", time, {"units": "s", "long_name": "time from the start of the recording"})}
    return xr.Dataset(variables, coordinates)
