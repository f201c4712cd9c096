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
import secrets
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .registry import Simulated, Simulator
from .status import count_status

if TYPE_CHECKING:
    import zarr

ARRAYS = ("theta", "waves", "quantities", "status")
_DIMENSIONS = {
    "theta": ("simulation", "parameter"),
    "waves": ("simulation", "site", "time"),
    "quantities": ("simulation", "quantity"),
    "status": ("simulation",),
}
_KEYS = {"theta": "c/{}/0", "waves": "c/{}/0/0", "quantities": "c/{}/0", "status": "c/{}"}
_PLACES = tuple(f"{name}/{_KEYS[name]}" for name in ARRAYS)
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
    _create_arrays(group, layout, site_shape, widths)
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
        out: The set, or an empty folder that takes only this shard's files, in the same places.
        layout: Rows and shards.
        shard: Number of the shard.
        theta: Parameters of its rows.
        rows: Its simulated rows.

    Returns:
        Number of rows of each status, by name.
    """
    files, span = _encode(layout, shard, theta, rows), layout.rows(shard)
    counts = count_status(rows.status)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    mark = {"shard": shard, "rows": [span.start, span.stop], "status": counts, "sha256": sums}
    files[mark_name(shard)] = (json.dumps(mark, sort_keys=True) + "\n").encode()
    install(out, files)
    return counts


def mark_name(shard: int) -> str:
    r"""Place of a shard's mark in its set."""
    return f"done/{shard:06d}.json"


def install(out: Path, files: Mapping[str, bytes]) -> None:
    r"""Puts files in their places, each whole or not at all, in the order given: the mark comes last.

    Whoever writes the same shard at the same time writes the same bytes, so that it does not matter who is last.

    Arguments:
        out: The set.
        files: Contents by place.
    """
    for name, data in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def is_whole(shard: int, files: Mapping[str, bytes]) -> bool:
    r"""Tells whether files that were sent are those that their mark names.

    Arguments:
        shard: Number of the shard.
        files: Contents by place, the mark among them.
    """
    try:
        sums = json.loads(files[mark_name(shard)])["sha256"]
        return set(sums) == {name.format(shard) for name in _PLACES} and all(
            hashlib.sha256(files[name]).hexdigest() == value for name, value in sums.items()
        )
    except (KeyError, ValueError, TypeError):
        return False


def _create_arrays(group: zarr.Group, layout: Layout, site_shape: tuple[int, ...], widths: tuple[int, ...]) -> None:
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


def _encode(layout: Layout, shard: int, theta: np.ndarray, rows: Simulated) -> dict[str, bytes]:
    """The files of a shard by their places, as Zarr writes them: in memory, so that none is ever half there."""
    import zarr
    from zarr.storage import MemoryStore

    held: dict[str, Any] = {}
    group = zarr.open_group(MemoryStore(held), mode="w")
    _create_arrays(group, layout, rows.waves.shape[1:], (theta.shape[1], rows.quantities.shape[1]))
    span = layout.rows(shard)
    values = {"theta": theta, "waves": rows.waves, "quantities": rows.quantities, "status": rows.status}
    for name, value in values.items():
        zarr.open_array(MemoryStore(held), path=name, mode="r+")[span.start : span.stop] = value
    return {place.format(shard): held[place.format(shard)].to_bytes() for place in _PLACES}


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


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
