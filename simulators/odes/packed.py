r"""Systems of one dimension as arrays of one shape, whatever their expressions.

Every system has `M` terms of `F` factors in each of its `D` equations; a term that is not there has coefficient 0, a
factor that is not there is the constant 1. One right-hand side serves them all: a linear form, a choice among a few
elementwise functions, a product and a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int

from .grammar import INNERS, OUTERS, Factor, System, Term

__all__ = ["Packed", "pack", "unpack"]

_INNER_NAMES = tuple(INNERS)
_OUTER_NAMES = tuple(OUTERS)
_Array = np.ndarray


@dataclass(frozen=True)
class Packed:
    r"""A batch of systems.

    Arguments:
        coefficient: Coefficients, 0 where there is no term.
        outer: Index of the outer function in `OUTERS`.
        inner: Index of the inner function in `INNERS`.
        weight: Weights of the linear form inside, over states and then inputs.
        offset: Offset inside.
        a: Scale of the inner function.
        b: Offset outside it.

    Example:
        >>> pack([System.from_sympy(["-x"], ["x"])]).coefficient.shape
        (1, 1, 1)
    """

    coefficient: Float[_Array, "B D M"]
    outer: Int[_Array, "B D M F"]
    inner: Int[_Array, "B D M F"]
    weight: Float[_Array, "B D M F V"]
    offset: Float[_Array, "B D M F"]
    a: Float[_Array, "B D M F"]
    b: Float[_Array, "B D M F"]

    def __len__(self) -> int:
        return len(self.coefficient)

    def __getitem__(self, rows: slice | Int[_Array, " N"]) -> Packed:
        return Packed(*(getattr(self, f.name)[rows] for f in fields(self)))

    @property
    def dimension(self) -> int:
        r"""Number of states."""
        return int(self.coefficient.shape[1])

    @property
    def n_inputs(self) -> int:
        r"""Number of exogenous inputs."""
        return int(self.weight.shape[-1]) - self.dimension

    @property
    def functions(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        r"""The outer and the inner functions that occur; an integrator compiles those only."""
        return tuple(map(int, np.unique(self.outer))), tuple(map(int, np.unique(self.inner)))


def pack(systems: Sequence[System], *, n_terms: int = 0, n_factors: int = 0) -> Packed:
    r"""Puts systems of one dimension into arrays.

    Arguments:
        systems: Systems with the same number of states and inputs.
        n_terms: Terms an equation at least, so that batches share a shape.
        n_factors: Factors a term at least.

    Returns:
        The batch.

    Raises:
        ValueError: If there is no system or they differ in states or inputs.

    Example:
        >>> pack([System.from_sympy(["-x"], ["x"])], n_terms=4).outer.shape
        (1, 1, 4, 1)
    """
    kinds = {(s.dimension, s.n_inputs) for s in systems}
    if len(kinds) != 1:
        raise ValueError(f"systems must share one number of states and inputs, got {sorted(kinds)}")
    ((d, k),) = kinds
    terms = [(n, i, m, t) for n, s in enumerate(systems) for i, e in enumerate(s.equations) for m, t in enumerate(e)]
    m = max([n_terms, 1, *(m + 1 for _, _, m, _ in terms)])
    f = max([n_factors, 1, *(len(t.factors) for *_, t in terms)])
    shape = (len(systems), d, m, f)
    packed = Packed(
        np.zeros(shape[:3]),
        np.zeros(shape, np.int8),
        np.zeros(shape, np.int8),
        np.zeros((*shape, d + k)),
        np.ones(shape),
        np.ones(shape),
        np.zeros(shape),
    )
    for n, i, j, term in terms:
        packed.coefficient[n, i, j] = term.coefficient
        for q, factor in enumerate(term.factors):
            _put(packed, (n, i, j, q), factor)
    return packed


def _put(packed: Packed, at: tuple[int, ...], factor: Factor) -> None:
    packed.outer[at] = _OUTER_NAMES.index(factor.outer)
    packed.inner[at] = _INNER_NAMES.index(factor.inner)
    packed.weight[(*at, factor.v)] = factor.s0
    if factor.w >= 0:
        packed.weight[(*at, factor.w)] = factor.s1
    packed.offset[at], packed.a[at], packed.b[at] = factor.o, factor.a, factor.b


def unpack(packed: Packed, row: int) -> System:
    r"""Takes one system out of a batch.

    Arguments:
        packed: The batch.
        row: Its row.

    Returns:
        The system in canonical form.

    Example:
        >>> unpack(pack([System.from_sympy(["-2*x"], ["x"])]), 0).skeleton()
        '1: C*x0'
    """
    one = packed[row : row + 1]
    equations = []
    for i in range(packed.dimension):
        present = np.flatnonzero(one.coefficient[0, i])
        equations.append(tuple(Term(float(one.coefficient[0, i, m]), _factors(one, i, int(m))) for m in present))
    return System(tuple(equations), packed.n_inputs).canonical()


def _factors(one: Packed, i: int, m: int) -> tuple[Factor, ...]:
    found = []
    for q in range(one.outer.shape[3]):
        at = (0, i, m, q)
        variables = np.flatnonzero(one.weight[at])
        if not len(variables):
            continue
        v, w = (int(n) for n in [*variables, -1][:2])
        found.append(
            Factor(
                v,
                inner=_INNER_NAMES[one.inner[at]],
                outer=_OUTER_NAMES[one.outer[at]],
                s0=float(one.weight[(*at, v)]),
                w=w,
                s1=float(one.weight[(*at, w)]) if w >= 0 else 0.0,
                o=float(one.offset[at]),
                a=float(one.a[at]),
                b=float(one.b[at]),
            )
        )
    return tuple(found)
