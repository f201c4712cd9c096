r"""The files of a training set: its arrays, its shards and the marks of those that are done.

A set is a Zarr v3 group with the arrays ``theta``, ``waves``, ``quantities`` and ``status``, all cut into the same
shards of rows. Shard ``i`` is one file in each array, written by one worker; it counts once ``done/i.json`` stands,
which holds the SHA-256 of those files and is written last, to a temporary name, synchronised and renamed. What has no
valid mark is simulated again, so a kill at any moment costs the shards in progress and nothing is ever doubled.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .registry import Simulated, Simulator
from .status import count_status

ARRAYS = ("theta", "waves", "quantities", "status")
_DIMENSIONS = {
    "theta": ("simulation", "parameter"),
    "waves": ("simulation", "site", "time"),
    "quantities": ("simulation", "quantity"),
    "status": ("simulation",),
}
_KEYS = {"theta": "c/{}/0", "waves": "c/{}/0/0", "quantities": "c/{}/0", "status": "c/{}"}
_NEVER_FLOAT = float(np.finfo(np.float32).min)
"""Fill value: Zarr writes no file for a shard of fill values, so it must be what no simulator gives; NaN they do."""


@dataclass(frozen=True)
class Layout:
    r"""How many rows a set has and how they are cut.

    Arguments:
        n: Number of rows N.
        shard_size: Rows per shard.
        batch_size: Rows simulated at a time.

    Raises:
        ValueError: If a number is not positive.
    """

    n: int
    shard_size: int
    batch_size: int

    def __post_init__(self) -> None:
        for name in ("n", "shard_size", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def n_shards(self) -> int:
        r"""Number of shards."""
        return math.ceil(self.n / self.shard_size)

    @property
    def chunk_rows(self) -> int:
        r"""Rows that are read at a time: the largest divisor of the shard up to 128, or all of it."""
        fitting = [k for k in range(16, min(self.shard_size, 128) + 1) if self.shard_size % k == 0]
        return max(fitting, default=self.shard_size)

    def rows(self, shard: int) -> range:
        r"""Rows of a shard."""
        return range(shard * self.shard_size, min(self.n, (shard + 1) * self.shard_size))


def create(
    out: Path, layout: Layout, attributes: Mapping[str, Any], *, site_shape: tuple[int, int], widths: tuple[int, int]
) -> None:
    r"""Creates an empty set, whole or not at all.

    Arguments:
        out: Where it shall stand; nothing stands there yet.
        layout: Rows and shards.
        attributes: Attributes of the group.
        site_shape: Number of sites and of samples.
        widths: Number of parameters and of quantities.
    """
    import zarr

    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    group = zarr.open_group(partial, mode="w", attributes=dict(attributes))
    rows, chunk = layout.shard_size, layout.chunk_rows
    shapes: dict[str, tuple[int, ...]] = {
        "theta": (widths[0],), "waves": site_shape, "quantities": (widths[1],), "status": ()
    }  # fmt: skip
    for name, rest in shapes.items():
        group.create_array(
            name,
            shape=(layout.n, *rest),
            chunks=(chunk, 1, rest[1]) if name == "waves" else (rows, *rest),
            shards=(rows, *rest),
            dtype={"theta": "float64", "status": "uint8"}.get(name, "float32"),
            fill_value=255 if name == "status" else _NEVER_FLOAT,
            dimension_names=_DIMENSIONS[name],
        )
    with warnings.catch_warnings():  # that Zarr v3 has no word yet on consolidated metadata: readers may ignore it
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(partial)
    (partial / "done").mkdir()
    os.replace(partial, out)
    _sync_folder(out.parent)


def simulate_shard(
    simulator: Simulator, layout: Layout, *, seed: int, shard: int, report: object = None
) -> tuple[np.ndarray, Simulated]:
    r"""Simulates the rows of one shard: the same bytes whoever does it, and whenever.

    Arguments:
        simulator: The simulator.
        layout: Rows and shards.
        seed: Seed of the set.
        shard: Number of the shard.
        report: Called with the number of rows after each batch.

    Returns:
        The parameters (float64) and the simulated rows.
    """
    n_rows, size = len(layout.rows(shard)), layout.batch_size
    n_batches = math.ceil(n_rows / size)
    draws, *batches = np.random.SeedSequence([seed, shard]).spawn(1 + n_batches)
    theta = simulator.space.sample(np.random.default_rng(draws), n_rows)
    parts = []
    for i, stream in enumerate(batches):
        batch = theta[i * size : (i + 1) * size]
        padded = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])  # one shape, compiled once
        part = simulator.simulate(padded, int(stream.generate_state(1)[0] >> 1))
        parts.append([np.asarray(a)[: len(batch)] for a in (part.waves, part.quantities, part.status)])
        if callable(report):
            report(len(batch))
    waves, quantities, status = (np.concatenate(column) for column in zip(*parts))
    return theta, Simulated(waves.astype(np.float32), quantities.astype(np.float32), status.astype(np.uint8))


def write_shard(out: Path, layout: Layout, shard: int, theta: np.ndarray, rows: Simulated) -> dict[str, int]:
    r"""Writes the files of a shard, and then its mark.

    Arguments:
        out: The set.
        layout: Rows and shards.
        shard: Number of the shard.
        theta: Parameters of its rows.
        rows: Its simulated rows.

    Returns:
        Number of rows of each status, by name.
    """
    import zarr

    span = layout.rows(shard)
    values = {"theta": theta, "waves": rows.waves, "quantities": rows.quantities, "status": rows.status}
    sums = {}
    for name, value in values.items():
        path = out / name / _KEYS[name].format(shard)
        path.unlink(missing_ok=True)  # the last shard is not full: Zarr would read what a killed run left
        array = zarr.open_array(out / name, mode="r+")
        array[span.start : span.stop] = value
        _sync_file(path)
        _sync_folder(path.parent)
        sums[f"{name}/{_KEYS[name].format(shard)}"] = _sha256(path)
    counts = count_status(rows.status)
    mark = {"shard": shard, "rows": [span.start, span.stop], "status": counts, "sha256": sums}
    _write_whole(out / "done" / f"{shard:06d}.json", json.dumps(mark, sort_keys=True) + "\n")
    return counts


def read_marks(out: Path, layout: Layout, *, verify: bool) -> dict[int, dict[str, int]]:
    r"""Reads which shards are done.

    Arguments:
        out: The set.
        layout: Rows and shards.
        verify: Whether the files are read and compared with their sums; a shard that differs is not done.

    Returns:
        Number of rows of each status for every shard that is done.
    """
    done = {}
    for shard in range(layout.n_shards):
        try:
            mark = json.loads((out / "done" / f"{shard:06d}.json").read_text())
            status = {str(name): int(count) for name, count in mark["status"].items()}
            sums = mark["sha256"]
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if sum(status.values()) == len(layout.rows(shard)) and (not verify or _sums_hold(out, sums)):
            done[shard] = status
    return done


def sweep(out: Path) -> None:
    r"""Removes the temporary files that a killed run left.

    Arguments:
        out: The set; nobody else may be writing to it.
    """
    for folder in (*ARRAYS, "done"):
        for path in sorted((out / folder).rglob("*.partial")):
            path.unlink(missing_ok=True)


def _sums_hold(out: Path, sums: Mapping[str, str]) -> bool:
    try:
        return len(sums) == len(ARRAYS) and all(_sha256(out / name) == value for name, value in sums.items())
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    _sync_folder(path.parent)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
