r"""Random systems on disk: a folder of shards, each from a seed of its own, that a killed run resumes.

A shard holds systems of every kind (states, inputs) in fixed shares, packed, with one trajectory each. Its contents
depend on the folder's seed and its own number only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from .generator import Generator
from .packed import Packed, pack

__all__ = ["ShardConfig", "Systems", "make_shards", "read_shard", "shard_paths"]

_KINDS: Mapping[str, int] = {"1+0": 1600, "2+0": 1500, "3+0": 450, "4+0": 80, "1+1": 300, "2+1": 166}


@dataclass(frozen=True)
class ShardConfig:
    r"""What a shard holds.

    Arguments:
        kinds: Systems of each kind, written states+inputs.
        seed: Seed of all shards.
        batch_size: Systems integrated at a time; part of what a seed means.

    Raises:
        ValueError: If a kind cannot be read or its number is not positive.

    Example:
        >>> ShardConfig(kinds={"1+0": 10}).size
        10
    """

    kinds: Mapping[str, int] = field(default_factory=lambda: dict(_KINDS))
    seed: int = 1
    batch_size: int = 256

    def __post_init__(self) -> None:
        for kind, n in self.kinds.items():
            states, _, inputs = kind.partition("+")
            if not (states.isdigit() and inputs.isdigit() and int(states) > 0 and n > 0):
                raise ValueError(f"kinds must map states+inputs to a number, such as '2+0' to 100, got {kind!r}: {n}")

    @property
    def size(self) -> int:
        r"""Systems a shard."""
        return sum(self.kinds.values())


@dataclass(frozen=True)
class Systems:
    r"""Systems of one kind and a trajectory of each.

    Arguments:
        packed: Systems, in units in which states are at most 1 and time runs from 0 to 10.
        x: States at even times.
        u: Inputs at the same times.

    Example:
        >>> from pulsebayes.simulators.odes import System
        >>> Systems(pack([System.from_sympy(["-x"], ["x"])]), np.ones((1, 9, 1)), np.ones((1, 9, 0))).x.shape
        (1, 9, 1)
    """

    packed: Packed
    x: Float[np.ndarray, "N T D"]
    u: Float[np.ndarray, "N T U"]


def make_shards(
    folder: Path, n: int, config: ShardConfig | None = None, *, progress: Callable[[int], None] | None = None
) -> int:
    r"""Makes the shards that are not there yet.

    Arguments:
        folder: Folder of the shards.
        n: Number of shards in all.
        config: What each holds.
        progress: Called with the number of each shard that was made.

    Returns:
        Number of shards that were made.

    Example:
        >>> import tempfile
        >>> make_shards(Path(tempfile.mkdtemp()), 1, ShardConfig(kinds={"1+0": 5}, batch_size=32))
        1
    """
    config = config or ShardConfig()
    folder.mkdir(parents=True, exist_ok=True)
    made = 0
    for number in range(n):
        path = folder / f"{number:05d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([config.seed, number])
        arrays: dict[str, np.ndarray] = {}
        for kind, count in config.kinds.items():
            arrays |= {f"{kind}/{name}": array for name, array in _draw(rng, kind, count, config.batch_size).items()}
        partial_path = folder / f"{number:05d}.partial.npz"
        np.savez(partial_path, **arrays)  # type: ignore[arg-type]
        os.replace(partial_path, path)
        made += 1
        if progress is not None:
            progress(number)
    return made


def shard_paths(folder: Path) -> list[Path]:
    r"""The shards of a folder in order.

    Arguments:
        folder: Folder of the shards.

    Example:
        >>> shard_paths(Path("none"))
        []
    """
    return sorted(p for p in folder.glob("*.npz") if p.stem.isdigit())


def read_shard(path: Path) -> Iterator[Systems]:
    r"""Reads a shard, kind by kind.

    Arguments:
        path: The shard.

    Example:
        >>> list(read_shard(Path("00000.npz")))  # doctest: +SKIP
        [Systems(...), ...]
    """
    with np.load(path, allow_pickle=False) as file:
        kinds = sorted({name.partition("/")[0] for name in file.files})
        for kind in kinds:
            get = partial(_member, file, kind)
            yield Systems(Packed(*(get(f.name) for f in fields(Packed))), get("x"), get("u"))


def _member(file: Mapping[str, np.ndarray], kind: str, name: str) -> np.ndarray:
    return np.asarray(file[f"{kind}/{name}"])


def _draw(rng: np.random.Generator, kind: str, n: int, batch_size: int) -> dict[str, np.ndarray]:
    states, _, inputs = kind.partition("+")
    generator = Generator(dimension=int(states), n_inputs=int(inputs), batch_size=batch_size)
    found = []
    for system in generator.stream(rng):
        found.append(system)
        if len(found) == n:
            break
    packed = pack([f.system for f in found], n_factors=3)
    arrays = {f.name: getattr(packed, f.name) for f in fields(packed)}
    floats = {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in arrays.items()}
    return {**floats, "x": np.stack([f.x[0] for f in found]), "u": np.stack([f.u[0] for f in found])}
