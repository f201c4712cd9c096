r"""A stream of random systems with their trajectories, in units in which they are of order one.

Systems are drawn from the `Prior` in batches, sorted by the functions they need (a batch of rational systems runs ten
times faster than one with every function), integrated, and kept if each trajectory passes the step-halving check and
stays within the bound, no state stands still, every term matters and no constant is extreme. What is kept is put into
units in which each state's largest magnitude is 1 and time runs from 0 to 10.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from .exclusions import Exclusions, odebench_exclusions
from .grammar import INNERS, OUTERS, System
from .integration import Solution, Stepping, integrate, term_values
from .packed import Packed, unpack
from .prior import Prior

__all__ = ["Generator", "RandomSystem", "draw_inputs"]

_Array = np.ndarray
_HORIZON = 10.0
_RATIONAL = (0, 1, 2, 3, 4)
_LOW = (0, 1, 2)
_FEWER = -1
# Sets of functions (outer, inner) that are compiled together. The compiler vectorises the small ones only: the last
# costs ten times the first, and in more than one dimension systems that need it are left out.
_BUCKETS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((0, 1), _RATIONAL),
    ((0, 1), (*_LOW, 5, 6)),
    ((0, 1), (*_LOW, 7)),
    ((0, 1), (*_LOW, 8)),
    ((0, 1), (*_LOW, 10)),
    (tuple(range(len(OUTERS))), tuple(range(len(INNERS)))),
)


@dataclass(frozen=True)
class RandomSystem:
    r"""One random system and its trajectories.

    Arguments:
        system: The system, in units in which states and inputs are at most 1 and time runs from 0 to 10.
        x: Trajectories from several initial values, at even times.
        u: Inputs at the same times.

    Example:
        >>> RandomSystem(System.from_sympy(["-x"], ["x"]), np.ones((1, 3, 1)), np.ones((1, 3, 0))).x.shape
        (1, 3, 1)
    """

    system: System
    x: Float[_Array, "R T D"]
    u: Float[_Array, "R T U"]


@dataclass(frozen=True)
class Generator:
    r"""Draws random systems of one dimension.

    Arguments:
        dimension: Number of states.
        n_inputs: Number of exogenous inputs.
        n_starts: Initial values a system.
        prior: Prior over systems.
        stepping: Step, bound and tolerance; its horizon is that of the drawn systems.
        batch_size: Systems integrated at a time.
        least_share: Least share a term must have in its equation's right-hand side.
        least_range: Least range of a state, as a share of its largest magnitude.
        largest: Largest magnitude of a constant, and one over the smallest.
        exclusions: Skeletons that are never kept.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> generator = Generator(dimension=1, n_starts=1, batch_size=32)
        >>> found = next(iter(generator.stream(np.random.default_rng(0))))
        >>> found.x.shape, bool(np.isclose(np.abs(found.x).max(), 1.0))
        ((1, 257, 1), True)
    """

    dimension: int = 1
    n_inputs: int = 0
    n_starts: int = 1
    prior: Prior = field(default_factory=Prior)
    stepping: Stepping = field(default_factory=Stepping)
    batch_size: int = 256
    least_share: float = 0.015
    least_range: float = 0.02
    largest: float = 1e3
    exclusions: Exclusions = field(default_factory=odebench_exclusions)

    def __post_init__(self) -> None:
        for name, least in (("dimension", 1), ("n_inputs", 0), ("n_starts", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def stream(self, rng: np.random.Generator, *, rounds: int | None = None) -> Iterator[RandomSystem]:
        r"""Yields systems without end, or from some rounds of four batches.

        Arguments:
            rng: Source of randomness.
            rounds: Rounds to draw; without end if None.
        """
        while rounds is None or rounds > 0:
            yield from self.draw(rng, 4 * self.batch_size)
            rounds = None if rounds is None else rounds - 1

    def draw(self, rng: np.random.Generator, n: int) -> list[RandomSystem]:
        r"""Draws some systems and keeps those that can be used.

        Arguments:
            rng: Source of randomness.
            n: Number of systems drawn, more than are kept.
        """
        d, k, r = self.dimension, self.n_inputs, self.n_starts
        packed = self.prior.draw(rng, n, dimension=d, n_inputs=k)
        x0 = self.prior.starts(rng, n, dimension=d, n_starts=r)
        u = draw_inputs(rng, (n, r, k), self.stepping)
        kept: list[RandomSystem] = []
        for rows, functions in self._batches(packed):
            batch, inputs = packed[rows], u[rows]
            solution = integrate(batch, x0[rows], self.stepping, u=inputs if k else None, functions=functions)
            at_times = inputs[:, :, ::4]
            good = self._usable(batch, solution, at_times, functions)
            good[len(np.unique(rows)) :] = False
            for i in np.flatnonzero(good):
                found = self._in_own_units(unpack(batch, int(i)), solution.x[i], at_times[i])
                kept += [found] if found is not None else []
        return kept

    def _batches(self, packed: Packed) -> Iterator[tuple[_Array, tuple[tuple[int, ...], tuple[int, ...]]]]:
        """Rows that share a compiled function, the last batch of each filled up with its first rows."""
        left = np.ones(len(packed), bool)
        for functions in _BUCKETS if self.dimension == 1 else _BUCKETS[: _FEWER if self.dimension < 4 else 1]:
            fits = np.isin(packed.outer, functions[0]) & np.isin(packed.inner, functions[1])
            rows = np.flatnonzero(left & fits.all((1, 2, 3)))
            left[rows] = False
            for start in range(0, len(rows), self.batch_size):
                chunk = rows[start : start + self.batch_size]
                yield np.resize(chunk, self.batch_size), functions

    def _usable(
        self, packed: Packed, solution: Solution, u: _Array, functions: tuple[tuple[int, ...], tuple[int, ...]]
    ) -> _Array:
        x = np.where(solution.ok[..., None, None], solution.x, 0.0)
        largest = np.abs(x).max((1, 2))
        moves = (np.ptp(x, axis=2) > self.least_range * largest[:, None]).all((1, 2))
        points = np.concatenate([x, u], axis=-1)[:, :, ::8]
        values = term_values(packed, points.reshape(len(x), -1, points.shape[-1]), functions=functions)
        with np.errstate(all="ignore"):
            size = np.sqrt((values**2).mean(-1))
            share = size / size.sum(2, keepdims=True)
        matters = ((share >= self.least_share) | (packed.coefficient == 0)).all((1, 2))
        return np.asarray(solution.ok.all(1) & moves & matters)

    def _in_own_units(self, system: System, x: _Array, u: _Array) -> RandomSystem | None:
        scale = np.concatenate([np.abs(x).max((0, 1)), np.maximum(np.abs(u).max((0, 1)), 1e-6)])
        scaled = system.rescaled(scale.tolist(), self.stepping.horizon / _HORIZON)
        if any(not terms for terms in scaled.equations) or not self._moderate(scaled) or scaled in self.exclusions:
            return None
        d = self.dimension
        return RandomSystem(scaled, (x / scale[:d]).astype(np.float32), (u / scale[d:]).astype(np.float32))

    def _moderate(self, system: System) -> bool:
        constants = [t.coefficient for terms in system.equations for t in terms]
        constants += [c for f in system.factors() for c in (f.s0, f.s1, f.o, f.a) if c]
        return all(1 / self.largest <= abs(c) <= self.largest for c in constants)


def draw_inputs(rng: np.random.Generator, shape: tuple[int, int, int], stepping: Stepping) -> Float[_Array, "B R S U"]:
    r"""Draws exogenous inputs: a level with waves, and for some a train of half-sine pulses, as the heart's outflow.

    Arguments:
        rng: Source of randomness.
        shape: Systems, initial values, inputs.
        stepping: Times.

    Returns:
        Inputs at `Stepping.input_times`, smooth or with corners.

    Example:
        >>> draw_inputs(np.random.default_rng(0), (2, 1, 1), Stepping(n_steps=8)).shape
        (2, 1, 33, 1)
    """
    if not shape[2]:
        return np.zeros((*shape[:2], len(stepping.input_times), 0))
    t = stepping.input_times / stepping.horizon
    size = (*shape, 3, 1)
    frequency = 10 ** rng.uniform(-0.3, 1.1, size)
    waves = rng.normal(0, 1, size) * np.sin(2 * np.pi * (frequency * t + rng.random(size)))
    level = rng.normal(0, 1, (*shape, 1))
    beat = np.mod(t * 10 ** rng.uniform(0.3, 1.1, (*shape, 1)) + rng.random((*shape, 1)), 1.0)
    width = rng.uniform(0.2, 0.6, (*shape, 1))
    pulses = np.where(beat < width, np.sin(np.pi * beat / width), 0.0)
    pulsed = rng.random((*shape, 1)) < 0.4
    u = np.where(pulsed, pulses, level + waves.sum(-2))
    return np.moveaxis(u, 2, 3)
