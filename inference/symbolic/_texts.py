r"""Terms of the simulators' grammar as the texts that candidates are made of."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace

from ...simulators.odes.grammar import Factor, Term

_POWERS = {"id": 1, "pow2": 2, "pow3": 3, "pow4": 4, "pow5": 5}


class _Text:
    """Collects inner constants; what stands above and what below the line."""

    def __init__(self, n_states: int) -> None:
        self.n_states = n_states
        self.coefficient = 1.0
        self.inner: list[float] = []
        self.above: list[str] = []
        self.below: list[str] = []

    def constant(self, value: float) -> str:
        self.inner.append(value)
        return f"k{len(self.inner) - 1}"

    def name(self, v: int) -> str:
        return f"x{v}" if v < self.n_states else f"u{v - self.n_states}"

    def argument(self, f: Factor) -> str:
        """What stands inside the inner function."""
        own = self.name(f.v)
        out = own if f.s0 == 1.0 else f"{self.constant(f.s0)}*{own}"
        if f.w >= 0:
            other = self.name(f.w)
            out += f"-{other}" if f.s1 == -1.0 else f"+{other}" if f.s1 == 1.0 else f"+{self.constant(f.s1)}*{other}"
        return f"{out}+{self.constant(f.o)}" if f.o else out

    def value(self, f: Factor) -> str:
        """The inner function."""
        z = self.argument(f)
        if f.inner in _POWERS:
            return "*".join([f"({z})" if f.w >= 0 or f.o or "*" in z else z] * _POWERS[f.inner])
        return f"{f.inner}({z})"

    def sigmoid(self, f: Factor) -> str:
        """One and an exponential, written as a slope and a place."""
        slope = self.constant(f.s0)
        return f"1+exp({slope}*({self.name(f.v)}-{self.constant(-math.log(f.a) / f.s0)}))"

    def denominator(self, f: Factor) -> str:
        """What an inverse or a square with an offset is of; powers keep their coefficient outside."""
        if not f.b:
            return self.value(f)
        if f.inner in _POWERS:
            self.coefficient *= f.a ** {"inv": -1, "inv2": -2, "pow2": 2}[f.outer]
            return f"{self.constant(1.0 / f.a)}+{self.value(f)}"
        if f.inner == "exp" and f.w < 0 and f.a > 0 and f.s0:
            return self.sigmoid(f)
        return f"1+{self.constant(f.a)}*{self.value(f)}"

    def add(self, f: Factor) -> None:
        if f.outer == "id" and f.degree:
            self.above += [self.name(f.v)] * f.degree
        elif f.outer == "id":
            self.above.append(self.value(f))
        elif f.outer == "exp" and f.inner == "log":
            base = self.argument(f)
            self.above.append(f"{f'({base})' if not base.isalnum() else base}**{self.constant(f.a)}")
        elif f.outer == "exp":
            self.above.append(f"exp({self.constant(f.a)}*{self.value(f)})")
        else:
            text = self.denominator(f)
            text = text if text.isalnum() or re.fullmatch(r"\w*\([^()]*\)", text) else f"({text})"
            place = self.above if f.outer == "pow2" else self.below
            place += [text] * (1 if f.outer == "inv" else 2)


def term_text(term: Term, n_states: int) -> tuple[str, tuple[float, ...], float]:
    r"""Text of a canonical term, its inner constants and its coefficient.

    Arguments:
        term: The term.
        n_states: Number of states; further variables are inputs.

    Returns:
        Text, inner constants, coefficient.
    """
    made = _Text(n_states)
    for factor in term.factors:
        made.add(factor)
    above = "*".join(sorted(made.above, key=lambda part: (not part.isalnum(), part if part.isalnum() else ""))) or "1"
    below = made.below[0] if len(made.below) == 1 else f"({'*'.join(made.below)})"
    text = f"{above}/{below}" if made.below else above
    return text, tuple(made.inner), term.coefficient * made.coefficient


def plain_variants(terms: tuple[Term, ...]) -> Iterator[tuple[Term, ...]]:
    r"""The terms as they are, and with every scale inside a function set to one where that changes anything.

    In units of one's own a phase or an exponent is often the state itself, which a network that sees scaled states
    cannot know.
    """
    yield terms
    plain = tuple(replace(t, factors=tuple(map(_plain, t.factors))) for t in terms)
    if plain != terms:
        yield plain


def _plain(f: Factor) -> Factor:
    if f.inner not in ("sin", "cos", "exp", "log") or f.outer == "exp":
        return f
    return replace(f, s0=math.copysign(1.0, f.s0), s1=math.copysign(1.0, f.s1) if f.w >= 0 else 0.0)
