r"""A canonical grammar of ordinary differential equations: sums of products of simple factors.

.. math::
    \frac{dx_i}{dt} = \sum_m c_m \prod_f u_2\bigl(a\, u_1(s_0 x_v + s_1 x_w + o) + b\bigr)

with :math:`u_1` one of `INNERS` and :math:`u_2` one of `OUTERS`. A variable index below the dimension is a state, an
index from the dimension on an exogenous input. The canonical form folds every scale that the coefficient :math:`c_m`
can carry into it, merges powers of one variable, and sorts the terms, so that one system is written in one way, and
systems of any shape fit into one array (`Packed`). NumPy only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import sympy

__all__ = ["Factor", "INNERS", "OUTERS", "System", "Term"]

_Array = np.ndarray
_Function = Callable[[Any], Any]

INNERS: dict[str, _Function] = {
    "id": lambda z: z,
    "pow2": lambda z: z * z,
    "pow3": lambda z: z * z * z,
    "pow4": lambda z: (z * z) ** 2,
    "pow5": lambda z: z * (z * z) ** 2,
    "sin": np.sin,
    "cos": np.cos,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": np.abs,
}
OUTERS: dict[str, _Function] = {
    "id": lambda z: z,
    "inv": lambda z: 1.0 / z,
    "pow2": lambda z: z * z,
    "inv2": lambda z: 1.0 / (z * z),
    "exp": np.exp,
}
_DEGREES = {"id": 1, "pow2": 2, "pow3": 3, "pow4": 4, "pow5": 5}
_POWERS = {degree: name for name, degree in _DEGREES.items()}
_INNER_RANK = {name: rank for rank, name in enumerate(INNERS)}
_OUTER_RANK = {name: rank for rank, name in enumerate(OUTERS)}


@dataclass(frozen=True)
class Factor:
    r"""One factor :math:`u_2(a\, u_1(s_0 x_v + s_1 x_w + o) + b)`.

    Arguments:
        v: Index of the first variable.
        inner: Name of :math:`u_1`.
        outer: Name of :math:`u_2`.
        s0: Weight of the first variable.
        w: Index of the second variable, -1 for none.
        s1: Weight of the second variable.
        o: Offset inside.
        a: Scale of the inner function.
        b: Offset outside it.

    Raises:
        ValueError: If a function or a variable is unknown or a constant not finite.

    Example:
        >>> Factor(0, inner="pow2", outer="inv", a=0.5, b=1.0).evaluate([2.0])
        array(0.33333333)
    """

    v: int
    inner: str = "id"
    outer: str = "id"
    s0: float = 1.0
    w: int = -1
    s1: float = 0.0
    o: float = 0.0
    a: float = 1.0
    b: float = 0.0

    def __post_init__(self) -> None:
        if self.inner not in INNERS:
            raise ValueError(f"inner must be one of {list(INNERS)}, got {self.inner!r}")
        if self.outer not in OUTERS:
            raise ValueError(f"outer must be one of {list(OUTERS)}, got {self.outer!r}")
        if self.v < 0 or self.w < -1 or self.w == self.v:
            raise ValueError(f"v must be 0 or more and w another variable or -1, got v={self.v}, w={self.w}")
        if not all(map(math.isfinite, self.constants)):
            raise ValueError(f"the constants of a factor must be finite, got {self.constants}")

    @property
    def constants(self) -> tuple[float, float, float, float, float]:
        r"""The five constants, (s0, s1, o, a, b)."""
        return self.s0, self.s1, self.o, self.a, self.b

    @property
    def variables(self) -> tuple[int, ...]:
        r"""The one or two variables."""
        return (self.v,) if self.w < 0 else (self.v, self.w)

    @property
    def degree(self) -> int:
        r"""The power if the factor is a plain power of one variable, else 0."""
        if self.w >= 0 or self.o or self.b or self.outer not in ("id", "inv") or self.inner not in _DEGREES:
            return 0
        return _DEGREES[self.inner] * (1 if self.outer == "id" else -1)

    @property
    def key(self) -> tuple[int, ...]:
        r"""What the factor is apart from the values of its constants; sorts."""
        ranks = _OUTER_RANK[self.outer], _INNER_RANK[self.inner]
        return (*ranks, self.v, self.w, int(self.o != 0), int(self.b != 0))

    def evaluate(self, x: Float[ArrayLike, "*batch V"]) -> Float[_Array, "*batch"]:
        r"""Value at points.

        Arguments:
            x: States, then inputs.
        """
        x = np.asarray(x, dtype=np.float64)
        z = self.s0 * x[..., self.v] + self.o
        if self.w >= 0:
            z = z + self.s1 * x[..., self.w]
        with np.errstate(all="ignore"):
            return np.asarray(OUTERS[self.outer](self.a * INNERS[self.inner](z) + self.b))

    def canonical(self) -> tuple[float, Factor]:
        r"""Splits the factor into a scale and a factor in canonical form.

        Returns:
            Scale and factor, with their product equal to this factor.
        """
        factor = self if self.w >= 0 and self.s1 else replace(self, w=-1, s1=0.0)
        if factor.w >= 0 and factor.w < factor.v:
            factor = replace(factor, v=factor.w, w=factor.v, s0=factor.s1, s1=factor.s0)
        return _fold_outer(_fold_inner(factor))


def _rescaled(factor: Factor, by: float) -> Factor:
    """The factor with its inner argument divided by a number."""
    return replace(factor, s0=factor.s0 / by, s1=factor.s1 / by, o=factor.o / by)


def _fold_inner(f: Factor) -> Factor:
    """Moves what the inner function can carry out into the scale `a`."""
    if f.inner in _DEGREES and f.s0:
        return replace(_rescaled(f, f.s0), a=f.a * f.s0 ** _DEGREES[f.inner])
    if f.inner == "abs" and f.s0:
        return replace(_rescaled(f, f.s0), a=f.a * abs(f.s0))
    if f.inner == "sqrt" and (f.o or f.s0):
        by = abs(f.o or f.s0)
        return replace(_rescaled(f, by), a=f.a * math.sqrt(by))
    if f.inner in ("sin", "cos") and f.s0 < 0:
        return replace(_rescaled(f, -1.0), a=-f.a if f.inner == "sin" else f.a)
    if f.inner == "exp" and f.o:
        return replace(f, o=0.0, a=f.a * math.exp(f.o))
    if f.inner == "log" and f.outer == "exp":
        by = abs(f.o or f.s0)
        return replace(_rescaled(f, by), b=f.b + f.a * math.log(by))
    return f


def _fold_outer(f: Factor) -> tuple[float, Factor]:
    """Moves what the outer function can carry out into a scale."""
    if f.outer == "exp":
        return math.exp(f.b), replace(f, b=0.0)
    if f.outer == "id":
        return (1.0, f) if f.b else (f.a, replace(f, a=1.0))
    by = f.b or f.a
    if not by:
        raise ValueError(f"a factor must not be constant, got {f}")
    scale = {"inv": 1.0 / by, "pow2": by**2, "inv2": by**-2.0}[f.outer]
    folded = replace(f, a=f.a / by, b=1.0 if f.b else 0.0)
    if folded.outer in ("pow2", "inv2") and not folded.b and folded.inner in ("id", "pow2"):
        inner = _POWERS[2 * _DEGREES[folded.inner]]
        folded = replace(folded, outer="id" if folded.outer == "pow2" else "inv", inner=inner)
    return scale, folded


@dataclass(frozen=True)
class Term:
    r"""A coefficient times factors; without factors a constant.

    Arguments:
        coefficient: Coefficient.
        factors: Factors.

    Raises:
        ValueError: If the coefficient is not finite.

    Example:
        >>> Term(2.0, (Factor(0), Factor(0, inner="pow2"))).canonical()
        Term(coefficient=2.0, factors=(Factor(v=0, inner='pow3', ...),))
    """

    coefficient: float
    factors: tuple[Factor, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", tuple(self.factors))
        if not math.isfinite(self.coefficient):
            raise ValueError(f"a coefficient must be finite, got {self.coefficient}")

    @property
    def key(self) -> tuple[Any, ...]:
        r"""What the term is apart from the values of its constants; sorts, simple terms first."""
        degrees = sum(abs(f.degree) or 3 for f in self.factors)
        return (degrees, tuple(f.key for f in self.factors))

    def canonical(self) -> Term:
        r"""Returns the term with scales folded, powers merged and factors sorted."""
        coefficient, degrees, others = float(self.coefficient), dict[int, float](), []
        for factor in self.factors:
            scale, folded = factor.canonical()
            coefficient *= scale
            degree = folded.degree or _real_power(folded)
            if degree:
                degrees[folded.v] = degrees.get(folded.v, 0) + degree
            else:
                others.append(folded)
        plain = [power for v, degree in degrees.items() for power in _powers(v, degree)]
        return Term(coefficient, tuple(sorted([*plain, *_squared(others)], key=lambda f: (f.key, f.constants))))

    def __mul__(self, other: Term) -> Term:
        return Term(self.coefficient * other.coefficient, self.factors + other.factors).canonical()


def _real_power(f: Factor) -> float:
    """The exponent if the factor is a real power of one variable, written exp(p log x), else 0."""
    plain = f.outer == "exp" and f.inner == "log" and f.w < 0 and not f.o and f.s0 == 1.0
    return f.a if plain else 0.0


def _squared(factors: list[Factor]) -> list[Factor]:
    """Pairs of equal factors become squares."""
    counts = {f: factors.count(f) for f in factors}
    squares = {"id": "pow2", "inv": "inv2"}
    out: list[Factor] = []
    for f, n in counts.items():
        pairs = n // 2 if f.outer in squares else 0
        out += [replace(f, outer=squares[f.outer])] * pairs if pairs else []
        out += [f] * (n - 2 * pairs)
    return out


def _powers(v: int, degree: float) -> list[Factor]:
    """A power of any degree as factors."""
    if degree != round(degree):
        return [Factor(v, outer="exp", inner="log", a=degree)]
    degree = round(degree)
    outer = "id" if degree > 0 else "inv"
    whole, rest = divmod(abs(degree), max(_POWERS))
    names = [_POWERS[max(_POWERS)]] * whole + ([_POWERS[rest]] if rest else [])
    return [Factor(v, inner=name, outer=outer) for name in names]


@dataclass(frozen=True)
class System:
    r"""A system of ordinary differential equations in the grammar.

    Arguments:
        equations: The terms of each equation; an equation without terms is :math:`dx_i/dt = 0`.
        n_inputs: Number of exogenous inputs, whose indices follow those of the states.

    Raises:
        ValueError: If there is no equation or a factor names a variable that does not exist.

    Example:
        >>> logistic = System.from_sympy(["2*x*(1 - x/3)"], ["x"])
        >>> logistic.skeleton()
        '1: C*x0 + C*x0^2'
        >>> logistic.evaluate([[1.0], [3.0]])
        array([[1.33333333],
               [0.        ]])
    """

    equations: tuple[tuple[Term, ...], ...]
    n_inputs: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "equations", tuple(tuple(terms) for terms in self.equations))
        if not self.equations or self.n_inputs < 0:
            raise ValueError(f"a system needs one equation or more, got {len(self.equations)}")
        known = self.dimension + self.n_inputs
        for factor in self.factors():
            if max(factor.variables) >= known:
                raise ValueError(f"a factor names variable {max(factor.variables)}, but there are only {known}")

    @property
    def dimension(self) -> int:
        r"""Number of states."""
        return len(self.equations)

    @property
    def n_terms(self) -> int:
        r"""Number of terms of all equations."""
        return sum(map(len, self.equations))

    def factors(self) -> Iterable[Factor]:
        r"""Every factor, one after the other."""
        return (f for terms in self.equations for term in terms for f in term.factors)

    def canonical(self) -> System:
        r"""Returns the one way in which the system is written: terms folded, merged and sorted, zeros dropped."""
        return System(tuple(_merge(terms) for terms in self.equations), self.n_inputs)

    def evaluate(
        self, x: Float[ArrayLike, "*batch D"], u: Float[ArrayLike, "*batch U"] | None = None
    ) -> Float[_Array, "*batch D"]:
        r"""Right-hand side at points; NaN or infinite where a function is not defined.

        Arguments:
            x: States.
            u: Exogenous inputs, needed if there are any.

        Raises:
            ValueError: If the number of states or inputs is not that of the system.
        """
        z = np.asarray(x, dtype=np.float64)
        if z.shape[-1:] != (self.dimension,):
            raise ValueError(f"x must have shape (*, {self.dimension}), got {z.shape}")
        if self.n_inputs:
            inputs = np.empty(0) if u is None else np.asarray(u, dtype=np.float64)
            if inputs.shape[-1:] != (self.n_inputs,):
                raise ValueError(f"u must have shape (*, {self.n_inputs}), got {None if u is None else inputs.shape}")
            z = np.concatenate([z, np.broadcast_to(inputs, (*z.shape[:-1], self.n_inputs))], axis=-1)
        out = np.zeros((*z.shape[:-1], self.dimension))
        with np.errstate(all="ignore"):
            for i, terms in enumerate(self.equations):
                for term in terms:
                    out[..., i] += term.coefficient * math.prod(f.evaluate(z) for f in term.factors)
        return out

    def rescaled(self, scale: Sequence[float], time: float = 1.0) -> System:
        r"""The same system in other units: :math:`x = \mathrm{scale} \cdot y`, :math:`t = \mathrm{time} \cdot t'`.

        Arguments:
            scale: Scale of each state, then of each input.
            time: Scale of time.

        Raises:
            ValueError: If a scale is missing or not positive.
        """
        scale = [float(s) for s in scale]
        if len(scale) != self.dimension + self.n_inputs or not all(s > 0 for s in (*scale, time)):
            raise ValueError(f"scale must be {self.dimension + self.n_inputs} positive numbers, got {scale}")

        def units(f: Factor) -> Factor:
            return replace(f, s0=f.s0 * scale[f.v], s1=f.s1 * scale[f.w] if f.w >= 0 else 0.0)

        return System(
            tuple(
                tuple(Term(t.coefficient * time / scale[i], tuple(map(units, t.factors))) for t in terms)
                for i, terms in enumerate(self.equations)
            ),
            self.n_inputs,
        ).canonical()

    def permuted(self, order: Sequence[int]) -> System:
        r"""The same system with its states in another order.

        Arguments:
            order: New place of each state.
        """
        place = [*order, *range(self.dimension, self.dimension + self.n_inputs)]

        def moved(f: Factor) -> Factor:
            return replace(f, v=place[f.v], w=place[f.w] if f.w >= 0 else -1)

        equations: list[tuple[Term, ...]] = [()] * self.dimension
        for i, terms in enumerate(self.equations):
            equations[place[i]] = tuple(Term(t.coefficient, tuple(map(moved, t.factors))) for t in terms)
        return System(tuple(equations), self.n_inputs).canonical()

    def skeleton(self) -> str:
        r"""The system without its constants: equal for systems that differ in the values of constants only."""
        body = " | ".join(
            " + ".join(_term_skeleton(t, self.dimension) for t in terms) or "0" for terms in self.canonical().equations
        )
        return f"{self.dimension}{f'+{self.n_inputs}' if self.n_inputs else ''}: {body}"

    def orbit(self) -> str:
        r"""The least skeleton over all orders of the states: equal for systems that differ in their names only."""
        return min(self.permuted(order).skeleton() for order in itertools.permutations(range(self.dimension)))

    def to_sympy(self, names: Sequence[str] = ()) -> list[sympy.Expr]:
        r"""The right-hand sides as SymPy expressions.

        Arguments:
            names: Names of states, then inputs; x0, x1, ..., u0, ... if empty.
        """
        from .expressions import to_sympy

        return to_sympy(self, names)

    @classmethod
    def from_sympy(
        cls,
        expressions: Sequence[sympy.Expr | str],
        states: Sequence[str],
        *,
        inputs: Sequence[str] = (),
        constants: Mapping[str, float] | None = None,
    ) -> System:
        r"""Reads a system.

        Arguments:
            expressions: Right-hand sides, as expressions or text.
            states: Names of the states, in the order of the equations.
            inputs: Names of exogenous inputs.
            constants: Values of named constants.

        Raises:
            ValueError: If an expression is not in the grammar.
        """
        from .expressions import parse_system

        return parse_system(expressions, states, inputs, constants or {})


def _merge(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Canonical terms, those with the same factors added up, zeros dropped, sorted."""
    sums: dict[tuple[Factor, ...], float] = {}
    for term in terms:
        folded = term.canonical()
        sums[folded.factors] = sums.get(folded.factors, 0.0) + folded.coefficient
    merged = [Term(coefficient, factors) for factors, coefficient in sums.items() if coefficient]
    return tuple(sorted(merged, key=lambda t: (t.key, [f.constants for f in t.factors])))


def _term_skeleton(term: Term, dimension: int) -> str:
    return "*".join(["C", *(_factor_skeleton(f, dimension) for f in term.factors)])


def _factor_skeleton(factor: Factor, dimension: int) -> str:
    """A factor without its constants, such as inv(C*x0^2 + 1)."""
    names = [f"x{v}" if v < dimension else f"u{v - dimension}" for v in factor.variables]
    if factor.degree:
        n = factor.degree
        return names[0] if n == 1 else f"{names[0]}^{n}"
    free = factor.inner in ("sin", "cos", "exp", "log") and factor.outer != "exp"
    inside = " + ".join([("C*" if free else "") + names[0], *(f"C*{n}" for n in names[1:])])
    inside += " + C" if factor.o else ""
    n = _DEGREES.get(factor.inner, 0)
    body = (inside if n == 1 else f"({inside})^{n}") if n else f"{factor.inner}({inside})"
    if factor.outer == "id":
        return body if not factor.b else f"(C*{body} + C)"
    scaled = factor.outer == "exp" or factor.b != 0
    return f"{factor.outer}({'C*' if scaled else ''}{body}{' + 1' if factor.b else ''})"
