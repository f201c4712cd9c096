r"""Systems of the grammar from SymPy expressions and back.

Reading distributes products over sums, so that every expression becomes a sum of products of factors, and completes
the square of a quadratic denominator or exponent: :math:`K + x + x^2/k = a (x + o)^2 + b`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .grammar import Factor, System, Term

if TYPE_CHECKING:
    import sympy

__all__ = ["parse_system", "to_sympy"]

_Sum = list[Term]
_MOST_TERMS = 200


def to_sympy(system: System, names: Sequence[str] = ()) -> list[sympy.Expr]:
    r"""The right-hand sides as SymPy expressions.

    Arguments:
        system: System.
        names: Names of states, then inputs; x0, x1, ..., u0, ... if empty.

    Raises:
        ValueError: If there are not as many names as variables.

    Example:
        >>> to_sympy(System.from_sympy(["a*(1 - a)"], ["a"]), ["y"])
        [-y**2 + y]
    """
    import sympy

    d = system.dimension
    names = list(names) or [f"x{i}" for i in range(d)] + [f"u{i}" for i in range(system.n_inputs)]
    if len(names) != d + system.n_inputs:
        raise ValueError(f"names must be {d + system.n_inputs} names, got {names}")
    symbols = [sympy.Symbol(name, real=True) for name in names]
    return [
        sympy.Add(*(_number(t.coefficient) * sympy.Mul(*(_factor(f, symbols) for f in t.factors)) for t in terms))
        for terms in system.equations
    ]


def _number(value: float) -> sympy.Expr:
    import sympy

    return sympy.Integer(int(value)) if value == int(value) and abs(value) < 1e6 else sympy.Float(value)


def _factor(f: Factor, symbols: Sequence[sympy.Symbol]) -> sympy.Expr:
    import sympy

    z = _number(f.s0) * symbols[f.v] + _number(f.o)
    if f.w >= 0:
        z += _number(f.s1) * symbols[f.w]
    inners = {"sin": sympy.sin, "cos": sympy.cos, "exp": sympy.exp, "log": sympy.log, "sqrt": sympy.sqrt}
    inner = z ** {"pow2": 2, "pow3": 3, "pow4": 4, "pow5": 5}.get(f.inner, 1)
    if f.inner == "abs":
        inner = sympy.Abs(z)
    elif f.inner in inners:
        inner = inners[f.inner](z)
    y = _number(f.a) * inner + _number(f.b)
    return sympy.exp(y) if f.outer == "exp" else y ** {"id": 1, "inv": -1, "pow2": 2, "inv2": -2}[f.outer]


def parse_system(
    expressions: Sequence[sympy.Expr | str],
    states: Sequence[str],
    inputs: Sequence[str] = (),
    constants: Mapping[str, float] | None = None,
) -> System:
    r"""Reads a system.

    Arguments:
        expressions: Right-hand sides, as expressions or text.
        states: Names of the states, in the order of the equations.
        inputs: Names of exogenous inputs.
        constants: Values of named constants.

    Returns:
        The system in canonical form.

    Raises:
        ValueError: If an expression is not in the grammar.

    Example:
        >>> parse_system(["q/C - p/(R*C)"], ["p"], ["q"], {"R": 1.0, "C": 2.0}).skeleton()
        '1+1: C*x0 + C*u0'
    """
    import sympy

    if len(expressions) != len(states):
        raise ValueError(f"expressions must be one for each of {len(states)} states, got {len(expressions)}")
    known = {name: sympy.Symbol(name, real=True) for name in [*states, *inputs]}
    values = {name: sympy.Float(value) for name, value in (constants or {}).items()}
    index = {symbol: i for i, symbol in enumerate(known.values())}
    equations = []
    for text in expressions:
        if isinstance(text, str):
            expression = sympy.sympify(text.replace("^", "**"), locals={**known, **values})
        else:
            replaced = {s: known[s.name] if s.name in known else values.get(s.name, s) for s in text.free_symbols}
            expression = text.subs(replaced)
        equations.append(tuple(_parse(sympy.sympify(expression), index)))
    return System(tuple(equations), len(inputs)).canonical()


def _parse(e: Any, index: Mapping[Any, int]) -> _Sum:
    """An expression as a sum of terms."""
    import sympy

    if e.is_number:
        value = complex(e)
        if value.imag or not math.isfinite(value.real):
            raise ValueError(f"a constant must be real and finite, got {e}")
        return [Term(value.real)] if value.real else []
    if e.is_Symbol:
        if e not in index:
            raise ValueError(f"{e} is neither a state, nor an input, nor a constant with a value")
        return [Term(1.0, (Factor(index[e]),))]
    if e.is_Add:
        return _collected([t for arg in e.args for t in _parse(arg, index)])
    if e.is_Mul:
        total = [Term(1.0)]
        for arg in e.args:
            total = _product(total, _parse(arg, index))
        return total
    if isinstance(e, sympy.exp):
        return _outer("exp", e.args[0], index)
    if e.is_Pow:
        return _power(e.base, e.exp, index)
    return _function(e, index)


def _collected(terms: _Sum) -> _Sum:
    if len(terms) > _MOST_TERMS:
        raise ValueError(f"the equation has more than {_MOST_TERMS} terms")
    return list(System((tuple(terms),), 99).canonical().equations[0])


def _product(one: _Sum, two: _Sum) -> _Sum:
    return _collected([a * b for a in one for b in two])


def _power(base: Any, exponent: Any, index: Mapping[Any, int]) -> _Sum:
    import sympy

    if exponent.has(*index) or not exponent.is_number:
        if base == sympy.E:
            return _outer("exp", exponent, index)
        raise ValueError(f"an exponent must be a number, got {base}**({exponent})")
    p = float(exponent)
    if base.is_Mul and (p == int(p) or all(a.is_number or a.is_Symbol for a in base.args)):
        total = [Term(1.0)]
        for arg in base.args:
            total = _product(total, _parse(arg**exponent, index))
        return total
    n = round(abs(p))
    if p == n and n <= 8:
        total, one = [Term(1.0)], _parse(base, index)
        for _ in range(n):
            total = _product(total, one)
        return total
    if p == -n and n <= 8:
        total = [Term(1.0)]
        for outer in ["inv2"] * (n // 2) + ["inv"] * (n % 2):
            total = _product(total, _outer(outer, base, index))
        return total
    linear = _inner("sqrt" if p == 0.5 else "log", base, index)
    return [Term(1.0, (linear,) if p == 0.5 else (Factor(**{**vars(linear), "outer": "exp", "a": p}),))]


def _function(e: Any, index: Mapping[Any, int]) -> _Sum:
    import sympy

    z = e.args[0]
    rewritten: dict[Any, Callable[[], Any]] = {
        sympy.tan: lambda: sympy.sin(z) / sympy.cos(z),
        sympy.cot: lambda: sympy.cos(z) / sympy.sin(z),
        sympy.tanh: lambda: 1 - 2 / (sympy.exp(2 * z) + 1),
        sympy.sinh: lambda: (sympy.exp(z) - sympy.exp(-z)) / 2,
        sympy.cosh: lambda: (sympy.exp(z) + sympy.exp(-z)) / 2,
    }
    for kind, other in rewritten.items():
        if isinstance(e, kind):
            return _parse(other(), index)
    for kind, name in ((sympy.sin, "sin"), (sympy.cos, "cos"), (sympy.log, "log"), (sympy.Abs, "abs")):
        if isinstance(e, kind):
            return [Term(1.0, (_inner(name, z, index),))]
    raise ValueError(f"{e.func.__name__} is not in the grammar")


def _inner(name: str, argument: Any, index: Mapping[Any, int]) -> Factor:
    """A function of a linear form of one or two variables."""
    linear = _linear(_parse(argument, index))
    if linear is None:
        raise ValueError(f"the argument of {name} must be linear in one or two variables, got {argument}")
    weights, offset = linear
    (v, s0), (w, s1) = [*weights.items(), (-1, 0.0)][:2]
    return Factor(v, inner=name, s0=s0, w=w, s1=s1, o=offset)


def _linear(terms: _Sum) -> tuple[dict[int, float], float] | None:
    weights: dict[int, float] = {}
    offset = 0.0
    for term in terms:
        if not term.factors:
            offset = term.coefficient
        elif len(term.factors) == 1 and term.factors[0].degree == 1:
            weights[term.factors[0].v] = term.coefficient
        else:
            return None
    return (weights, offset) if 1 <= len(weights) <= 2 else None


def _outer(name: str, argument: Any, index: Mapping[Any, int]) -> _Sum:
    """An outer function of a scaled and shifted inner function."""
    terms = _parse(argument, index)
    linear = _linear(terms)
    if linear is not None:
        weights, offset = linear
        (v, s0), (w, s1) = [*weights.items(), (-1, 0.0)][:2]
        if name == "exp":
            return [Term(math.exp(offset), (Factor(v, inner="exp", s0=s0, w=w, s1=s1),))]
        return [Term(1.0, (Factor(v, outer=name, s0=s0, w=w, s1=s1, b=offset),)).canonical()]
    offset = sum(t.coefficient for t in terms if not t.factors)
    rest = [t for t in terms if t.factors]
    if len(rest) == 2:
        rest, offset = _completed_square(rest, offset)
    if len(rest) != 1 or len(rest[0].factors) != 1 or rest[0].factors[0].outer != "id":
        raise ValueError(f"{name} of {argument} is not in the grammar")
    factor = Factor(**{**vars(rest[0].factors[0]), "outer": name, "a": rest[0].coefficient, "b": offset})
    return [Term(1.0, (factor,)).canonical()]


def _completed_square(rest: _Sum, offset: float) -> tuple[_Sum, float]:
    """A quadratic of one variable as one square and a constant."""
    by_degree = {t.factors[0].degree: t for t in rest if len(t.factors) == 1}
    if set(by_degree) != {1, 2} or by_degree[1].factors[0].v != by_degree[2].factors[0].v:
        return rest, offset
    a, half = by_degree[2].coefficient, by_degree[1].coefficient / (2 * by_degree[2].coefficient)
    return [Term(a, (Factor(by_degree[1].factors[0].v, inner="pow2", o=half),))], offset - a * half**2
