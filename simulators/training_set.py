r"""Reading a training set: small variables in memory, waveforms from disk as they are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from jaxtyping import Float, Float32, Integer, UInt8

from ._shards import Layout, read_marks
from .parameters import ParameterSpace
from .status import usable

if TYPE_CHECKING:
    import zarr

__all__ = ["Batch", "TrainingSet"]


class Batch(NamedTuple):
    r"""Some rows of a training set.

    Arguments:
        rows: Their numbers.
        theta: Parameters.
        waves: Waveforms at the sites asked for.
        quantities: Quantities.

    Example:
        >>> Batch(np.arange(2), np.zeros((2, 3)), np.zeros((2, 1, 8), "f4"), np.zeros((2, 4), "f4")).rows.tolist()
        [0, 1]
    """

    rows: Integer[np.ndarray, " B"]
    theta: Float[np.ndarray, "B D"]
    waves: Float32[np.ndarray, "B site T"]
    quantities: Float32[np.ndarray, "B Q"]


@dataclass(frozen=True)
class TrainingSet:
    r"""A finished training set on disk; see [`dataset`][pulsebayes.simulators.dataset] for what makes one.

    Arguments:
        path: Its folder.
        attributes: Simulator, version, config, seed, names, units, fingerprint and software versions.

    Example:
        >>> training_set = TrainingSet.open("set.zarr")  # doctest: +SKIP
        >>> for batch in training_set.batches(training_set.usable_rows, batch_size=256):  # doctest: +SKIP
        ...     fit(batch.waves, batch.quantities)
    """

    path: Path
    attributes: Mapping[str, object]

    @classmethod
    def open(cls, path: str | PathLike[str], *, verify: bool = False) -> TrainingSet:
        r"""Opens a finished set.

        Arguments:
            path: Its folder.
            verify: Read every file and compare it with its checksum.

        Raises:
            ValueError: If there is no training set, or shards of it are missing or (with ``verify``) damaged.
        """
        folder = Path(path)
        if not cls.stands_at(folder):
            raise ValueError(
                f"{folder.name} must be a training set as `pulsebayes simulate` writes it, found none there"
            )
        found = cls(folder, cls.read_attributes(folder))
        missing = sorted(set(range(found.layout.n_shards)) - set(read_marks(folder, found.layout, verify=verify)))
        if missing:
            raise ValueError(
                f"{folder.name} must be complete, but {len(missing)} of its {found.layout.n_shards} shards are missing "
                f"or damaged (the first is {missing[0]}): run the command that made it with --resume"
            )
        return found

    @staticmethod
    def stands_at(path: Path) -> bool:
        r"""Tells whether a training set, finished or not, stands at ``path``."""
        try:
            return "fingerprint" in TrainingSet.read_attributes(path)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    @staticmethod
    def read_attributes(path: Path) -> dict[str, object]:
        r"""Reads the attributes of the set at ``path``."""
        metadata = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        return cast("dict[str, object]", metadata["attributes"])

    @cached_property
    def layout(self) -> Layout:
        r"""Rows and shards."""
        return Layout(**{key: int(str(self.attributes[key])) for key in ("n", "shard_size", "batch_size")})

    @property
    def n(self) -> int:
        r"""Number of rows N."""
        return self.layout.n

    @property
    def sites(self) -> tuple[str, ...]:
        r"""Names of the sites."""
        return tuple(cast("list[str]", self.attributes["sites"]))

    @property
    def quantity_names(self) -> tuple[str, ...]:
        r"""Symbols of the quantities."""
        return tuple(cast("list[str]", self.attributes["quantity_names"]))

    @property
    def fingerprint(self) -> str:
        r"""Hash of all that determines the bytes."""
        return str(self.attributes["fingerprint"])

    @cached_property
    def space(self) -> ParameterSpace:
        r"""Parameters of the simulator."""
        return ParameterSpace.from_json(cast("Mapping[str, object]", self.attributes["parameter_space"]))

    @cached_property
    def theta(self) -> Float[np.ndarray, "N D"]:
        r"""Parameters of every row."""
        return self._all("theta")

    @cached_property
    def quantities(self) -> Float32[np.ndarray, "N Q"]:
        r"""Quantities of every row."""
        return self._all("quantities")

    @cached_property
    def status(self) -> UInt8[np.ndarray, " N"]:
        r"""Status code of every row."""
        return self._all("status")

    @cached_property
    def usable_rows(self) -> Integer[np.ndarray, " K"]:
        r"""Numbers of the rows that may be trained on."""
        return np.flatnonzero(usable(self.status))

    @cached_property
    def waves(self) -> zarr.Array:
        r"""Waveforms (N, site, T), read from disk when sliced."""
        import zarr

        return zarr.open_array(self.path / "waves", mode="r")

    def read_waves(self, rows: Integer[np.ndarray, " B"], *, site: str = "") -> Float32[np.ndarray, "B site T"]:
        r"""Reads waveforms of some rows, each file once.

        Arguments:
            rows: Numbers of the rows, in any order.
            site: Name of a site; empty for all.

        Returns:
            The waveforms, in the order of ``rows``.

        Raises:
            ValueError: If the site or a row is not in the set.
        """
        rows = np.asarray(rows)
        if rows.size and not (rows.min() >= 0 and rows.max() < self.n):
            raise ValueError(f"rows must lie in [0, {self.n}), got {rows.min()} to {rows.max()}")
        chosen = slice(None) if not site else slice(self._site(site), self._site(site) + 1)
        size = self.layout.chunk_rows
        out = np.empty((len(rows), *self.waves.shape[1:]), np.float32)[:, chosen]
        for chunk in np.unique(rows // size):
            here = np.flatnonzero(rows // size == chunk)
            block = np.asarray(self.waves[int(chunk) * size : (int(chunk) + 1) * size, chosen])
            out[here] = block[rows[here] - chunk * size]
        return out

    def batches(
        self,
        indices: Integer[np.ndarray, " K"],
        *,
        batch_size: int,
        site: str = "",
        rng: np.random.Generator | None = None,
        shards_in_memory: int = 8,
        drop_last: bool = False,
    ) -> Iterator[Batch]:
        r"""Yields batches of some rows, streamed from disk.

        Without ``rng`` the rows come in the order given. With it they are shuffled: shards in random order, the rows of
        ``shards_in_memory`` of them mixed at a time, so that each file is read once and memory stays bounded.

        Arguments:
            indices: Numbers of the rows.
            batch_size: Rows per batch.
            site: Name of a site; empty for all.
            rng: Source of randomness of the shuffle.
            shards_in_memory: Shards whose rows are mixed.
            drop_last: Leave out a last batch that is not full.

        Yields:
            Batches.

        Raises:
            ValueError: If ``batch_size`` or ``shards_in_memory`` is not positive.
        """
        if batch_size < 1 or shards_in_memory < 1:
            raise ValueError(f"batch_size and shards_in_memory must be positive, got {batch_size}, {shards_in_memory}")
        held: list[Batch] = []
        for rows in self._groups(np.asarray(indices), rng, shards_in_memory):
            held.append(Batch(rows, self.theta[rows], self.read_waves(rows, site=site), self.quantities[rows]))
            joined = Batch(*(np.concatenate(column) for column in zip(*held)))
            whole = len(joined.rows) // batch_size * batch_size
            for start in range(0, whole, batch_size):
                yield Batch(*(column[start : start + batch_size] for column in joined))
            held = [Batch(*(column[whole:] for column in joined))]
        if held and len(held[0].rows) and not drop_last:
            yield held[0]

    def _groups(
        self, rows: Integer[np.ndarray, " K"], rng: np.random.Generator | None, n_shards: int
    ) -> Iterator[Integer[np.ndarray, " G"]]:
        if rng is None:
            size = n_shards * self.layout.shard_size
            yield from (rows[start : start + size] for start in range(0, len(rows), size))
            return
        shard_of = rows // self.layout.shard_size
        shards = rng.permutation(np.unique(shard_of))
        for start in range(0, len(shards), n_shards):
            yield rng.permutation(rows[np.isin(shard_of, shards[start : start + n_shards])])

    def _site(self, name: str) -> int:
        if name not in self.sites:
            raise ValueError(f"site must be one of {list(self.sites)}, got {name!r}")
        return self.sites.index(name)

    def _all(self, name: str) -> np.ndarray:
        import zarr

        return np.asarray(zarr.open_array(self.path / name, mode="r")[...])
