r"""Equations as short sequences of tokens, with constants as real numbers beside them.

The right-hand side of one equation is its terms in canonical order and an end; a term is its factors and then its
coefficient. A factor is its outer function (if any), one token for inner function and variable, and then only those
constants that its canonical form leaves free. A constant is a sign and a magnitude on a grid of 48 points, even in the
logarithm from 1e-3 to 1e3; a magnitude between two points is a weight on each (two-hot, as in NSODE, arXiv
2307.12617) or the nearer of them (one-hot).

In other units every constant is multiplied by powers of the units alone. The sequence keeps those exponents, so that
one stored sequence serves every choice of units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from ...simulators.odes.grammar import INNERS, Factor, System, Term

__all__ = [
    "EquationTokens",
    "Grammar",
    "MOST_STATES",
    "VOCABULARY",
    "decode_equation",
    "encode_equation",
    "from_grid",
    "in_variables",
    "to_grid",
]

MOST_STATES = 4
_CHANNELS = MOST_STATES + 1  # the last is the input
_OUTERS = (("inv", 0), ("inv", 1), ("pow2", 0), ("pow2", 1), ("inv2", 0), ("inv2", 1), ("exp", 1))
_FREE_SCALE = ("sin", "cos", "exp", "log")
_DEGREES = {"id": 1.0, "pow2": 2.0, "pow3": 3.0, "pow4": 4.0, "pow5": 5.0, "abs": 1.0, "sqrt": 0.5}
_GRID = 48
_LOW, _HIGH = -3.0, 3.0
_MOST_FACTORS = 3
_MOST_TERMS = 8

_CHANNEL_NAMES = [*(f"x{i}" for i in range(MOST_STATES)), "u0"]
VOCABULARY: tuple[str, ...] = (
    "pad",
    "end",
    *(f"start{i}" for i in range(MOST_STATES)),
    "one",
    *(f"{outer}{'+1' if b else ''}" for outer, b in _OUTERS),
    *(f"{inner}:{name}" for inner in INNERS for name in _CHANNEL_NAMES),
    *(f"+{name}" for name in _CHANNEL_NAMES),
    "offset+",
    "offset-",
    *(f"{sign}{i}" for sign in "+-" for i in range(_GRID)),
)
PAD, END, START, ONE = 0, 1, 2, 2 + MOST_STATES
_OUTER_AT = ONE + 1
_INNER_AT = _OUTER_AT + len(_OUTERS)
_SECOND_AT = _INNER_AT + len(INNERS) * _CHANNELS
_OFFSET_AT = _SECOND_AT + _CHANNELS
CONSTANT_AT = _OFFSET_AT + 2
_INNER_NAMES = tuple(INNERS)


@dataclass(frozen=True)
class EquationTokens:
    r"""One equation as a sequence.

    Arguments:
        ids: Tokens; a constant stands as the first point of its sign's grid.
        log: Decimal logarithm of the magnitude of each constant, 0 elsewhere.
        exponents: Exponents with which each constant follows the units of states, input and time.

    Example:
        >>> logistic = System.from_sympy(["x - x**2"], ["x"])
        >>> [VOCABULARY[i] for i in encode_equation(logistic, 0).ids]
        ['id:x0', '+0', 'pow2:x0', '-0', 'end']
    """

    ids: Int[np.ndarray, " L"]
    log: Float[np.ndarray, " L"]
    exponents: Float[np.ndarray, "L 6"]


class _Writer:
    """Collects tokens; constants with their exponents."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.log: list[float] = []
        self.exponents: list[np.ndarray] = []

    def token(self, token: int) -> None:
        self.ids.append(token)
        self.log.append(0.0)
        self.exponents.append(np.zeros(_CHANNELS + 1))

    def constant(self, value: float, exponents: np.ndarray) -> None:
        self.ids.append(CONSTANT_AT + (_GRID if value < 0 else 0))
        self.log.append(float(np.log10(abs(value))))
        self.exponents.append(exponents)


def _channel(v: int, dimension: int) -> int:
    return v if v < dimension else MOST_STATES + v - dimension


def _unit(channel: int, power: float = 1.0) -> np.ndarray:
    out = np.zeros(_CHANNELS + 1)
    out[channel] = power
    return out


def encode_equation(system: System, i: int) -> EquationTokens:
    r"""Writes one equation of a canonical system as tokens.

    Arguments:
        system: System in canonical form.
        i: Which of its equations.

    Returns:
        The sequence.

    Raises:
        ValueError: If the system has more than 4 states or an input too many, or a factor has no token.

    Example:
        >>> len(encode_equation(System.from_sympy(["-x/(1 + x)"], ["x"]), 0).ids)
        6
    """
    if system.dimension > MOST_STATES or system.n_inputs > 1:
        raise ValueError(f"at most {MOST_STATES} states and one input have tokens, got {system.dimension} states")
    out = _Writer()
    for term in system.equations[i]:
        exponents = _unit(i, -1.0) + _unit(_CHANNELS, 1.0)
        for factor in term.factors:
            exponents = exponents + _write_factor(out, factor, system.dimension)
        if not term.factors:
            out.token(ONE)
        out.constant(term.coefficient, exponents)
    out.token(END)
    return EquationTokens(np.array(out.ids), np.array(out.log), np.array(out.exponents))


def _anchored(f: Factor) -> bool:
    """Whether the offset inside is plus or minus one and the scale free: roots and real powers."""
    return bool(f.o) and (f.inner == "sqrt" or (f.inner == "log" and f.outer == "exp"))


def _write_factor(out: _Writer, f: Factor, dimension: int) -> np.ndarray:
    """Writes a factor and returns the exponents it hands on to the coefficient."""
    kind = (f.outer, int(f.b != 0 or f.outer == "exp"))
    if (f.outer == "id" and f.b) or (f.s0 != 1.0 and f.inner not in _FREE_SCALE and not _anchored(f)):
        raise ValueError(f"{f} has no tokens")
    v = _channel(f.v, dimension)
    if f.outer != "id":
        out.token(_OUTER_AT + _OUTERS.index(kind))
    out.token(_INNER_AT + _INNER_NAMES.index(f.inner) * _CHANNELS + v)
    relative = f.inner in _DEGREES and not _anchored(f)
    power = f.inner == "log" and f.outer == "exp"
    if f.inner in _FREE_SCALE and not power:
        out.constant(f.s0, _unit(v))
    if f.w >= 0:
        w = _channel(f.w, dimension)
        out.token(_SECOND_AT + w)
        out.constant(f.s1, _unit(w) - (_unit(v) if relative else 0.0))
    if f.o:
        out.token(_OFFSET_AT + int(_anchored(f) and f.o < 0))
        out.constant(f.s0 if _anchored(f) else f.o, _unit(v) if _anchored(f) else _unit(v, -1.0 if relative else 0.0))
    degree = _unit(v, _DEGREES[f.inner]) if relative else np.zeros(_CHANNELS + 1)
    if f.outer == "id":
        return degree
    if kind[1]:
        out.constant(f.a, degree)
        return _unit(v, f.a) if power and not f.o else np.zeros(_CHANNELS + 1)
    return degree * {"inv": -1.0, "pow2": 2.0, "inv2": -2.0}[f.outer]


def to_grid(log: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    r"""Places of magnitudes on the grid, from 0 to 47, fractions between its points.

    Arguments:
        log: Decimal logarithms of magnitudes.

    Example:
        >>> to_grid(np.array([-3.0, 0.0, 9.0])).tolist()
        [0.0, 23.5, 47.0]
    """
    return np.asarray(np.clip((log - _LOW) / (_HIGH - _LOW), 0.0, 1.0) * (_GRID - 1))


def from_grid(place: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    r"""Magnitudes at places of the grid.

    Arguments:
        place: Places, fractions between the points.

    Example:
        >>> round(float(from_grid(np.array(23.5))), 6)
        1.0
    """
    return np.asarray(10 ** (_LOW + (_HIGH - _LOW) * np.asarray(place) / (_GRID - 1)))


class Grammar:
    r"""Which tokens may follow: reads a sequence token by token.

    Arguments:
        dimension: Number of states.
        n_inputs: Number of inputs, 0 or 1.

    Example:
        >>> grammar = Grammar(1)
        >>> VOCABULARY[int(np.flatnonzero(grammar.allowed())[0])]
        'end'
        >>> grammar.push(ONE); bool(grammar.allowed()[END])
        False
    """

    def __init__(self, dimension: int, n_inputs: int = 0) -> None:
        self.channels = [*range(dimension), *(MOST_STATES + k for k in range(n_inputs))]
        inners = np.arange(len(INNERS))[:, None] * _CHANNELS + np.array(self.channels)
        self._inner_tokens = (_INNER_AT + inners).ravel()
        self.terms: list[Term] = []
        self.done = False
        self._factors: list[Factor] = []
        self._outer = ""
        self._open: Factor | None = None
        self._wants: list[str] = []
        self._wants_a = False
        self._constant_term = False

    def allowed(self) -> Bool[np.ndarray, " V"]:
        r"""The tokens that may come next."""
        out = np.zeros(len(VOCABULARY), bool)
        if self.done:
            out[PAD] = True
        elif self._wants or self._constant_term:
            out[CONSTANT_AT:] = True
        elif self._outer and self._open is None:
            self._allow_inner(out)
        elif self._open is None and not self._factors:
            out[END] = True
            if len(self.terms) < _MOST_TERMS:
                out[ONE] = True
                out[_OUTER_AT:_INNER_AT] = True
                self._allow_inner(out)
        else:
            self._allow_after_factor(out)
        return out

    def _allow_inner(self, out: np.ndarray) -> None:
        out[self._inner_tokens] = True

    def _allow_after_factor(self, out: np.ndarray) -> None:
        out[CONSTANT_AT:] = True
        f = self._open
        bare = f is not None and not f.o
        linear = f is not None and (f.outer != "id" or f.inner not in ("id", "pow2", "pow3", "pow4", "pow5"))
        if f is not None and bare and linear and f.inner != "exp":
            out[_OFFSET_AT] = True
            out[_OFFSET_AT + 1] = f.inner == "sqrt" or (f.inner == "log" and f.outer == "exp")
        if f is not None and bare and linear and f.w < 0:
            for channel in self.channels:
                out[_SECOND_AT + channel] = channel != f.v
        if not self._wants_a and len(self._factors) + (f is not None) < _MOST_FACTORS:
            out[_OUTER_AT:_INNER_AT] = True
            self._allow_inner(out)

    def push(self, token: int, value: float = 0.0) -> None:
        r"""Takes the next token.

        Arguments:
            token: Token.
            value: Its value if it is a constant.
        """
        if token >= CONSTANT_AT:
            self._push_constant(value)
        elif token == END:
            self.done = True
        elif token == ONE:
            self._constant_term = True
        elif token >= _OFFSET_AT:
            self._wants = ["offset+" if token == _OFFSET_AT else "offset-"]
        elif token >= _SECOND_AT and self._open is not None:
            self._open = replace(self._open, w=token - _SECOND_AT, s1=1.0)
            self._wants = ["s1"]
        elif token >= _INNER_AT:
            self._push_inner(*divmod(token - _INNER_AT, _CHANNELS))
        else:
            self._close()
            self._outer = VOCABULARY[token]

    def _push_inner(self, inner: int, channel: int) -> None:
        outer, _, b = self._outer.partition("+")
        self._close()
        outer = outer or "id"
        name = _INNER_NAMES[inner]
        self._open = Factor(channel, inner=name, outer=outer, b=1.0 if b and outer != "exp" else 0.0)
        self._wants_a = bool(b) or outer == "exp"
        self._wants = ["s0"] if name in _FREE_SCALE and not (name == "log" and outer == "exp") else []

    def _push_constant(self, value: float) -> None:
        f = self._open
        if self._wants and f is not None:
            name = self._wants.pop()
            if name.startswith("offset"):
                anchored = f.inner == "sqrt" or (f.inner == "log" and f.outer == "exp")
                sign = 1.0 if name == "offset+" else -1.0
                self._open = replace(f, s0=value, o=sign) if anchored else replace(f, o=value)
            else:
                self._open = replace(f, s1=value) if name == "s1" else replace(f, s0=value)
        elif self._wants_a and f is not None:
            self._open = replace(f, a=value)
            self._wants_a = False
            self._close()
        else:
            self._close()
            self.terms.append(Term(value, tuple(self._factors)))
            self._factors, self._constant_term = [], False

    def _close(self) -> None:
        if self._open is not None:
            self._factors.append(self._open)
        self._open, self._outer = None, ""


def decode_equation(
    ids: Sequence[int], values: Sequence[float], *, dimension: int, n_inputs: int = 0
) -> tuple[Term, ...]:
    r"""Reads an equation from its tokens.

    Arguments:
        ids: Tokens.
        values: Values of the constants, anything elsewhere.
        dimension: Number of states.
        n_inputs: Number of inputs.

    Returns:
        Its terms, variables from the dimension on being inputs.

    Raises:
        ValueError: If a token may not stand where it does.

    Example:
        >>> tokens = encode_equation(System.from_sympy(["-2*x"], ["x"]), 0)
        >>> decode_equation(tokens.ids, [0, -2.0, 0], dimension=1)[0].coefficient
        -2.0
    """
    grammar = Grammar(dimension, n_inputs)
    for token, value in zip(ids, values, strict=True):
        if not grammar.allowed()[token]:
            raise ValueError(f"{VOCABULARY[token]} may not follow here")
        grammar.push(int(token), float(value))
    return in_variables(grammar.terms, dimension)


def in_variables(terms: Sequence[Term], dimension: int) -> tuple[Term, ...]:
    r"""Terms over channels, as a `Grammar` collects them, as terms over states and inputs.

    Arguments:
        terms: Terms over channels.
        dimension: Number of states.

    Example:
        >>> in_variables([Term(1.0, (Factor(MOST_STATES),))], 2)[0].factors[0].v
        2
    """

    def moved(f: Factor) -> Factor:
        v, w = (n if n < MOST_STATES else dimension + n - MOST_STATES for n in (f.v, f.w))
        return replace(f, v=v, w=w)

    return tuple(Term(t.coefficient, tuple(map(moved, t.factors))) for t in terms)
