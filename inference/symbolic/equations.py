r"""Candidate equations: a structure of terms, its constants, and fast right-hand sides over any batch.

$$\frac{dx_i}{dt} = \sum_m c_{im} \, \phi_{im}(x, u; k_{im})$$

A term $\phi$ is text in the states `x0, x1, ...`, the inputs `u0, u1, ...` and its own inner constants `k0, k1, ...`;
the outer coefficients $c$ stay linear. The text is compiled once a structure, and evaluated on arrays whose first axis
is the state and whose other axes are a batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import sympy

__all__ = ["Equations", "Structure", "equations_from_sympy"]

_INNER = re.compile(r"\bk(\d+)\b")
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "exp": np.exp, "log": np.log, "abs": np.abs, "sqrt": np.sqrt,
    "tanh": np.tanh,
}  # fmt: skip
RightHandSide = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Structure:
    r"""Terms of every equation, without their constants.

    The constants of a structure are one vector: the coefficients of all terms, equation by equation, and then the inner
    constants of all terms in the same order.

    Arguments:
        terms: For every equation the texts of its terms.

    Example:
        >>> decay = Structure((("x0", "x0/(k0+x0)"),))
        >>> decay.n_linear, decay.n_constants
        (2, 3)
        >>> decay.right_hand_side()(np.array([1.0]), np.zeros(0), np.array([-1.0, 4.0, 3.0]))
        array([0.])
    """

    terms: tuple[tuple[str, ...], ...]

    @property
    def dim(self) -> int:
        r"""Number of states."""
        return len(self.terms)

    @property
    def n_linear(self) -> int:
        r"""Number of outer coefficients."""
        return sum(len(equation) for equation in self.terms)

    @property
    def n_constants(self) -> int:
        r"""Number of constants, outer and inner."""
        return self.n_linear + sum(count_inner(term) for equation in self.terms for term in equation)

    @property
    def length(self) -> int:
        r"""Length of the equations: terms, factors and constants counted together."""
        return sum(term_length(term) for equation in self.terms for term in equation)

    def right_hand_side(self) -> RightHandSide:
        r"""The compiled right-hand side, a function of states, inputs and constants.

        Returns:
            A function of `x` with shape (D, *), `u` with shape (n_u, *) and `c` with shape (P, *), which gives the
            derivatives with the shape of `x`.
        """
        return _compiled(self.terms)


@dataclass(frozen=True)
class Equations:
    r"""A structure with its constants.

    Arguments:
        structure: The terms.
        constants: Coefficients, then inner constants.

    Example:
        >>> growth = Equations(Structure((("x0", "x0*x0"),)), (1.0, -0.5))
        >>> growth.to_sympy(["P"])
        (-0.5*P**2 + P,)
    """

    structure: Structure
    constants: tuple[float, ...]

    def derivative(self, x: np.ndarray, u: np.ndarray | None = None) -> np.ndarray:
        r"""Time derivative of states.

        Arguments:
            x: States, with shape (D, *).
            u: Inputs, with shape (n_u, *).

        Returns:
            Derivatives, with the shape of `x`.
        """
        constants = np.asarray(self.constants).reshape(-1, *[1] * (x.ndim - 1))
        with np.errstate(all="ignore"):
            return self.structure.right_hand_side()(x, np.zeros((0, *x.shape[1:])) if u is None else u, constants)

    def term_coefficients(self) -> tuple[tuple[float, ...], ...]:
        r"""Outer coefficients, equation by equation."""
        values, rest = [], list(self.constants)
        for equation in self.structure.terms:
            values.append(tuple(rest[: len(equation)]))
            rest = rest[len(equation) :]
        return tuple(values)

    def to_sympy(
        self, names: Sequence[str] = (), inputs: Sequence[str] = (), *, digits: int = 4
    ) -> tuple[sympy.Expr, ...]:
        r"""The right-hand sides as SymPy expressions.

        Arguments:
            names: Names of the states; x0, x1, ... where not given.
            inputs: Names of the inputs; u0, u1, ... where not given.
            digits: Significant digits of the constants.

        Returns:
            One expression for every state.
        """
        import sympy

        symbols = {f"x{i}": sympy.Symbol(n, real=True) for i, n in enumerate(names or self._default("x"))}
        symbols |= {f"u{i}": sympy.Symbol(n, real=True) for i, n in enumerate(inputs or [f"u{i}" for i in range(9)])}
        inner = list(self.constants[self.structure.n_linear :])
        made = []
        for terms, values in zip(self.structure.terms, self.term_coefficients(), strict=True):
            total = sympy.Integer(0)
            for term, value in zip(terms, values, strict=True):
                count = count_inner(term)
                own = {f"k{i}": sympy.Float(_rounded(k, digits), digits) for i, k in enumerate(inner[:count])}
                inner = inner[count:]
                expression = sympy.sympify(term, locals={**symbols, **own, "abs": sympy.Abs})
                total += sympy.Float(_rounded(value, digits), digits) * expression
            made.append(_tidy(total))
        return tuple(made)

    def _default(self, letter: str) -> list[str]:
        return [f"{letter}{i}" for i in range(self.structure.dim)]


def count_inner(term: str) -> int:
    r"""Number of inner constants of a term.

    Arguments:
        term: Text of the term.

    Returns:
        One more than the highest index of a `k`.
    """
    return 1 + max((int(i) for i in _INNER.findall(term)), default=-1)


@lru_cache(maxsize=4096)
def term_length(term: str) -> int:
    r"""Length of a term: its coefficient, and every state, input, constant, function and power in it.

    Arguments:
        term: Text of the term.

    Returns:
        The count.
    """
    return 1 + len(re.findall(r"[a-z]+\d*|(?<![\w.])\d+(?:\.\d+)?", term.replace("*x", "x")))


@lru_cache(maxsize=4096)
def term_price(term: str) -> float:
    r"""Price of a term's form [nats], beside what its constants cost: low degrees and few functions are cheap.

    Arguments:
        term: Text of the term.

    Returns:
        The price.
    """
    return 0.9 * (term_length(term) - 1) + 1.0 * len(re.findall(r"[a-z]+\(|/|\*\*", term))


def equations_from_sympy(expressions: Sequence[Any], names: Sequence[str], inputs: Sequence[str] = ()) -> Equations:
    r"""Read SymPy right-hand sides: expanded into terms, with numbers inside functions as inner constants.

    Arguments:
        expressions: One expression for every state.
        names: Names of the states in the expressions.
        inputs: Names of the inputs in the expressions.

    Returns:
        The equations.

    Raises:
        ValueError: If an expression uses a symbol or a function that is not known.

    Example:
        >>> import sympy
        >>> x = sympy.Symbol("x")
        >>> equations_from_sympy([2 * x * (1 - x / 4)], ["x"]).structure.terms
        (('x0', 'x0*x0'),)
    """
    import sympy

    renamed = {n: f"x{i}" for i, n in enumerate(names)} | {n: f"u{i}" for i, n in enumerate(inputs)}
    terms, coefficients, inner = [], [], []
    for expression in expressions:
        merged: dict[tuple[str, tuple[float, ...]], float] = {}
        for part in sympy.Add.make_args(sympy.expand(sympy.sympify(expression))):
            if part == 0:
                continue
            value, rest = part.as_coeff_Mul()
            text, found = _term_text(rest, renamed)
            key = (text, tuple(found))
            merged[key] = merged.get(key, 0.0) + float(value)
        terms.append(tuple(text for text, _ in merged))
        coefficients += list(merged.values())
        inner += [k for _, found in merged for k in found]
    return Equations(Structure(tuple(terms)), (*coefficients, *inner))


def _term_text(rest: Any, renamed: dict[str, str]) -> tuple[str, list[float]]:
    import sympy

    found: list[float] = []

    def text(node: Any) -> str:
        if node.is_Symbol:
            if str(node) not in renamed:
                raise ValueError(f"expected the symbols {sorted(renamed)}, got {node}")
            return renamed[str(node)]
        if node.is_Integer and abs(int(node)) <= 1:
            return str(int(node))
        if node.is_number:
            found.append(float(node))
            return f"k{len(found) - 1}"
        if node.is_Mul:
            return "*".join(f"({text(a)})" if a.is_Add else text(a) for a in node.args)
        if node.is_Add:
            return "+".join(text(a) for a in node.args)
        if node.is_Pow:
            return power(node)
        name = {"Abs": "abs"}.get(type(node).__name__, type(node).__name__)
        if name == "cot":
            return f"(1/tan({text(node.args[0])}))"
        if name not in _FUNCTIONS:
            raise ValueError(f"expected one of {sorted(_FUNCTIONS)}, got {name}")
        return f"{name}({text(node.args[0])})"

    def power(node: Any) -> str:
        if node.base == sympy.E:
            return f"exp({text(node.exp)})"
        base = text(node.base)
        base = base if node.base.is_Symbol else f"({base})"
        if node.exp.is_Integer and 1 < abs(int(node.exp)) <= 6:
            product = "*".join([base] * abs(int(node.exp)))
            return product if node.exp > 0 else f"(1/({product}))"
        if node.exp == -1:
            return f"(1/{base})"
        return f"sqrt({base})" if node.exp == sympy.Rational(1, 2) else f"{base}**({text(node.exp)})"

    return text(rest), found


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _tidy(expression: Any) -> Any:
    r"""Coefficients of one are not written."""
    import sympy

    ones = {f: sympy.Integer(int(f)) for f in expression.atoms(sympy.Float) if abs(float(f)) == 1.0}
    return expression.xreplace(ones) if ones else expression


@lru_cache(maxsize=4096)
def _compiled(terms: tuple[tuple[str, ...], ...]) -> RightHandSide:
    linear, inner = 0, sum(len(equation) for equation in terms)
    lines = ["def f(x, u, c):", " out = empty_like(x)"]
    names = sorted({m for e in terms for t in e for m in re.findall(r"\b[xu]\d+\b", t)})
    lines += [f" {name} = {name[0]}[{name[1:]}]" for name in names]
    for row, equation in enumerate(terms):
        parts = []
        for term in equation:
            count = count_inner(term)
            written = _INNER.sub(lambda m, base=inner: f"c[{base + int(m[1])}]", term)  # type: ignore[misc]
            inner += count
            parts.append(f"c[{linear}]" if term == "1" else f"c[{linear}]*{_guarded(written)}")
            linear += 1
        lines.append(f" out[{row}] = {'+'.join(parts) or '0.0'}")
    scope: dict[str, Any] = {"empty_like": np.empty_like, **_FUNCTIONS}
    exec(compile("\n".join([*lines, " return out"]), "<equations>", "exec"), scope)
    made: RightHandSide = scope["f"]
    return made


def _guarded(text: str) -> str:
    return f"({text})" if "+" in text or "-" in text else text
