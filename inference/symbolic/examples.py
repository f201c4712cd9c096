r"""Training examples: shards of random systems as token sequences, measured anew every time they are seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...simulators.odes.corruption import Corruption
from ...simulators.odes.packed import unpack
from ...simulators.odes.shards import Systems, read_shard
from .hints import hints
from .points import Windows, channels, windows
from .tokens import CONSTANT_AT, MOST_STATES, PAD, START, encode_equation, to_grid

__all__ = ["Batch", "Examples", "load_examples", "make_batch"]

_UNITS = MOST_STATES + 2  # four states, the input, time
_PARTS = (0.5, 0.85, 1.0)
_Array = np.ndarray


@dataclass(frozen=True)
class Examples:
    r"""Systems of one kind, ready to train on.

    Arguments:
        x: States at even times.
        u: Inputs at the same times.
        owner: The system each equation belongs to.
        equation: Which of its equations it is.
        ids: Tokens of each equation.
        log: Decimal logarithms of constants.
        exponents: Exponents of the units.

    Example:
        >>> Examples(*(np.zeros(0),) * 7).n
        0
    """

    x: Float[_Array, "N T D"]
    u: Float[_Array, "N T U"]
    owner: Int[_Array, " E"]
    equation: Int[_Array, " E"]
    ids: Int[_Array, "E L"]
    log: Float[_Array, "E L"]
    exponents: Float[_Array, "E L 6"]

    @property
    def n(self) -> int:
        r"""Number of systems."""
        return len(self.x)


@dataclass(frozen=True)
class Batch:
    r"""What one step of the training reads, short equations first.

    Arguments:
        points: Windows.
        hints: Hints for each equation.
        owner: The system each equation belongs to.
        ids: Tokens, from the start token on.
        fraction: Fractions of the constants.
        targets: Tokens to predict.
        weight: Fractions of the targets.

    Example:
        >>> Batch(*(torch.zeros(1),) * 7).points
        tensor([0.])
    """

    points: Float[Tensor, "B W N"]
    hints: Float[Tensor, "E H"]
    owner: Int[Tensor, " E"]
    ids: Int[Tensor, "E L"]
    fraction: Float[Tensor, "E L"]
    targets: Int[Tensor, "E L"]
    weight: Float[Tensor, "E L"]

    def parts(self) -> Iterator[Batch]:
        r"""Cuts the batch by the length of equations, so that few tokens are padding.

        The number of equations in each part depends on the batch's size only and lengths are multiples of four: each
        different shape costs the matrix library a compilation.
        """
        n = len(self.owner)
        ends = sorted({round(share * n) for share in _PARTS})
        for first, last in zip([0, *ends], ends, strict=False):
            rows = slice(first, last)
            longest = 4 * -(-int((self.targets[rows] != PAD).sum(1).max()) // 4)
            cut = (a[rows, :longest] for a in (self.ids, self.fraction, self.targets, self.weight))
            yield Batch(self.points, self.hints[rows], self.owner[rows], *cut)


@dataclass(frozen=True)
class _Rows:
    owner: list[int] = field(default_factory=list)
    equation: list[int] = field(default_factory=list)
    ids: list[_Array] = field(default_factory=list)
    log: list[_Array] = field(default_factory=list)
    exponents: list[_Array] = field(default_factory=list)


def load_examples(path: Path, *, length: int = 32) -> list[Examples]:
    r"""Reads a shard and writes its equations as tokens.

    Arguments:
        path: The shard.
        length: Longest sequence; systems with a longer one, or one without tokens, are left out.

    Returns:
        Examples of each kind.

    Example:
        >>> load_examples(Path("00000.npz"))  # doctest: +SKIP
        [Examples(...), ...]
    """
    return [_tokenised(systems, length) for systems in read_shard(path)]


def _tokenised(systems: Systems, length: int) -> Examples:
    rows, kept = _Rows(), list[int]()
    for n in range(len(systems.packed)):
        system = unpack(systems.packed, n)
        try:
            found = [encode_equation(system, i) for i in range(system.dimension)]
        except ValueError:  # a factor without tokens, such as the root of -x
            continue
        if max(len(tokens.ids) for tokens in found) > length:
            continue
        for i, tokens in enumerate(found):
            rows.owner.append(len(kept))
            rows.equation.append(i)
            empty = length - len(tokens.ids)
            rows.ids.append(np.pad(tokens.ids, (0, empty), constant_values=PAD))
            rows.log.append(np.pad(tokens.log, (0, empty)))
            rows.exponents.append(np.pad(tokens.exponents, ((0, empty), (0, 0))))
        kept.append(n)
    return Examples(
        systems.x[kept],
        systems.u[kept],
        np.array(rows.owner, np.int32),
        np.array(rows.equation, np.int8),
        np.array(rows.ids, np.int16).reshape(-1, length),
        np.array(rows.log, np.float32).reshape(-1, length),
        np.array(rows.exponents, np.float32).reshape(-1, length, _UNITS),
    )


def make_batch(
    rng: np.random.Generator,
    examples: Sequence[Examples],
    size: int,
    corruption: Corruption,
    *,
    n_windows: int = 32,
    stride: int = 2,
    two_hot: bool = True,
    split: float = 0.25,
) -> Batch:
    r"""Draws systems of every kind, measures them and writes their equations in the units of what was measured.

    Arguments:
        rng: Source of randomness.
        examples: Examples of each kind.
        size: Number of systems, shared in proportion.
        corruption: How they are measured.
        n_windows: Windows a system that the encoder reads.
        stride: How many are fitted for each of those.
        two_hot: Whether constants keep their fractions.
        split: Probability that the trajectory is cut in two, which an autonomous system cannot tell from two
            trajectories.

    Returns:
        The batch.

    Example:
        >>> make_batch(np.random.default_rng(0), [], 0, Corruption())  # doctest: +SKIP
        Batch(...)
    """
    total = sum(e.n for e in examples)
    parts, offset = [], 0
    for e in examples:
        n = max(1, round(size * e.n / total))
        rows = rng.choice(e.n, size=min(n, e.n), replace=False)
        seen, units = _measure(rng, e, rows, corruption, stride * n_windows, split)
        owner, equation, ids, grid = _sequences(e, rows, units)
        advised = (
            hints(seen.value, seen.slope, e.x.shape[-1]) if stride > 1 else np.zeros((len(rows), 4, 0), np.float32)
        )
        regressed = advised[owner, equation]
        parts.append((seen.features[:, ::stride], regressed, owner + offset, ids, grid))
        offset += len(rows)
    return _assemble(parts, two_hot)


def _measure(
    rng: np.random.Generator, e: Examples, rows: _Array, corruption: Corruption, n_windows: int, split: float
) -> tuple[Windows, _Array]:
    """Windows, and decimal logarithms of the units of measurement."""
    seen = corruption.observe(rng, e.x[rows], e.u[rows])
    y, present = channels(seen.x, seen.u)
    scale = np.maximum(np.abs(y).max(1), 1e-6)
    y = y / scale[:, None]
    horizon = np.ptp(seen.t, axis=1) / 10
    t = (seen.t - seen.t[:, :1]) / horizon[:, None]
    points = y.shape[1]
    cut = round(points * rng.uniform(0.3, 0.7)) if rng.random() < split and points >= 24 else points
    pieces = [slice(0, cut), slice(cut, points)] if cut < points else [slice(0, points)]
    share = [n_windows * (p.stop - p.start) // points for p in pieces]
    share[-1] = n_windows - sum(share[:-1])
    found = [
        windows(t[:, p] - t[:, p][:, :1], y[:, p], present, n_windows=w) for p, w in zip(pieces, share, strict=True)
    ]
    units = np.zeros((len(rows), _UNITS))
    units[:, present] = np.log10(scale)
    units[:, -1] = np.log10(horizon)
    return Windows.joined(found), units


def _sequences(e: Examples, rows: _Array, units: _Array) -> tuple[_Array, _Array, _Array, _Array]:
    """Owner, equation, tokens from the start token on, and places of the constants on the grid."""
    place = np.full(e.n, -1)
    place[rows] = np.arange(len(rows))
    chosen = np.flatnonzero(place[e.owner] >= 0)
    owner = place[e.owner[chosen]]
    log = e.log[chosen] + np.einsum("elu,eu->el", e.exponents[chosen], units[owner])
    ids = e.ids[chosen].astype(np.int64)
    start = START + e.equation[chosen].astype(np.int64)
    grid = np.where(ids >= CONSTANT_AT, to_grid(log), 0.0)
    full = np.concatenate([start[:, None], ids], axis=1)
    return owner, e.equation[chosen].astype(int), full, np.pad(grid, ((0, 0), (1, 0)))


def _assemble(parts: Sequence[tuple[_Array, ...]], two_hot: bool) -> Batch:
    points = np.concatenate([p[0] for p in parts])
    regressed, owner, ids, grid = (np.concatenate([p[k] for p in parts]) for k in (1, 2, 3, 4))
    length = (ids != PAD).sum(1)
    order = np.argsort(length, kind="stable")
    regressed, owner, ids, grid = (a[order, ...] for a in (regressed, owner, ids, grid))
    whole = np.minimum(np.floor(grid), 46) if two_hot else np.round(grid)
    fraction = torch.from_numpy((grid - whole if two_hot else np.zeros_like(grid)).astype(np.float32))
    full = torch.from_numpy(ids + whole.astype(np.int64))
    return Batch(
        torch.from_numpy(points),
        torch.from_numpy(regressed),
        torch.from_numpy(owner),
        full[:, :-1],
        fraction[:, :-1],
        full[:, 1:],
        fraction[:, 1:],
    )
