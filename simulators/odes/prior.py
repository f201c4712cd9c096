r"""A prior over systems: random equations that look like those of textbooks, drawn for a whole batch at once.

Each term is a template - a power, a saturating rate, a sigmoid, a product of two variables - whose variables and
constants are drawn; each system has a structure: free, Kolmogorov (every term of an equation holds its own variable,
as in populations), exchange (what leaves one equation enters the next, as in epidemics and chemistry) or second order
(the first state is the integral of the second, as in mechanics). Templates and weights are our own choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from jaxtyping import Float, Int

from .grammar import INNERS, OUTERS, Factor
from .packed import Packed

__all__ = ["Prior", "TEMPLATES", "Template"]

_Array = np.ndarray
_A, _B, _C = 0, 1, 2  # places of a template, filled with variables


@dataclass(frozen=True)
class Template:
    r"""A kind of term.

    Arguments:
        name: How it reads, with places A, B and C.
        factors: Its factors, over places instead of variables.
        free: For each factor the constants that are drawn.
        weight: How often it is drawn, beside the others.
        positive: Probability that its coefficient is positive, when A is the equation's own variable.

    Example:
        >>> TEMPLATES[1].name
        'A'
    """

    name: str
    factors: tuple[Factor, ...]
    free: tuple[str, ...]
    weight: float
    positive: float = 0.5

    @property
    def n_places(self) -> int:
        r"""Number of different variables."""
        return 1 + max((v for f in self.factors for v in f.variables), default=-1)


def _plain(v: int, degree: int) -> Factor:
    return Factor(v, inner=("id", "pow2", "pow3", "pow4", "pow5")[degree - 1])


def _hill(v: int, degree: int, outer: str = "inv") -> Factor:
    return Factor(v, inner=_plain(v, degree).inner, outer=outer, b=1.0)


def _template(name: str, weight: float, *factors: tuple[Factor, str], positive: float = 0.5) -> Template:
    return Template(name, tuple(f for f, _ in factors), tuple(free for _, free in factors), weight, positive)


_A_, _B_, _C_ = (_plain(_A, 1), ""), (_plain(_B, 1), ""), (_plain(_C, 1), "")
_A2_, _B2_ = (_plain(_A, 2), ""), (_plain(_B, 2), "")
_SIN_A_, _COS_A_ = (Factor(_A, inner="sin"), "s"), (Factor(_A, inner="cos"), "s")
_SIN_B_, _COS_B_ = (Factor(_B, inner="sin"), "s"), (Factor(_B, inner="cos"), "s")
_EXP_A_, _EXP_B_ = (Factor(_A, inner="exp"), "e"), (Factor(_B, inner="exp"), "e")
_LOG_A_ = (Factor(_A, inner="log"), "s")
_two = partial(Factor, _A, w=_B, s1=1.0)
_SIGMOID_A_ = (Factor(_A, inner="exp", outer="inv", b=1.0), "ea")
_SIGMOID_B_ = (Factor(_B, inner="exp", outer="inv", b=1.0), "ea")
_ONE = [
    _template("1", 7.0),
    _template("A", 16.0, _A_, positive=0.4),
    _template("A^2", 6.0, _A2_, positive=0.35),
    _template("A^3", 4.0, (_plain(_A, 3), ""), positive=0.2),
    _template("A^4", 0.8, (_plain(_A, 4), ""), positive=0.4),
    _template("A^5", 1.0, (_plain(_A, 5), ""), positive=0.2),
    _template("sin A", 2.2, _SIN_A_),
    _template("cos A", 1.4, _COS_A_),
    _template("exp A", 1.2, _EXP_A_, positive=0.4),
    _template("log A", 0.6, _LOG_A_, positive=0.4),
    _template("sqrt A", 0.8, (Factor(_A, inner="sqrt"), ""), positive=0.4),
    _template("abs A", 0.3, (Factor(_A, inner="abs"), "")),
    _template("A abs A", 0.6, _A_, (Factor(_A, inner="abs"), ""), positive=0.2),
    _template("A^p", 0.7, (Factor(_A, inner="log", outer="exp"), "p"), positive=0.4),
    _template("1/A", 0.6, (Factor(_A, outer="inv"), "")),
    _template("1/A^2", 0.3, (Factor(_A, inner="pow2", outer="inv"), "")),
    _template("A log A", 0.7, _A_, _LOG_A_, positive=0.25),
    _template("A exp A", 0.7, _A_, _EXP_A_),
    _template("A^2 exp A", 0.2, _A2_, _EXP_A_),
    _template("exp -A^2", 0.4, (Factor(_A, inner="pow2", outer="exp"), "g")),
    _template("sin A cos A", 0.7, (_SIN_A_[0], "s"), (_COS_A_[0], "s")),
    _template("A sin A", 0.3, _A_, _SIN_A_),
    _template("A cos A", 0.4, _A_, _COS_A_),
    _template("sin^2 A", 0.3, (Factor(_A, inner="sin", outer="pow2"), "s")),
    _template("sigmoid A", 1.4, _SIGMOID_A_),
    _template("A sigmoid A", 0.3, _A_, _SIGMOID_A_),
    _template("1/(1+sin A)", 0.15, (Factor(_A, inner="sin", outer="inv", b=1.0), "sl")),
    _template("1/(1+A)^2", 0.3, (_hill(_A, 1, "inv2"), "h")),
    _template("A/(1+A)^2", 0.3, _A_, (_hill(_A, 1, "inv2"), "h")),
    _template("A/(1+(A+o)^2)", 0.4, _A_, (_hill(_A, 2), "ho")),
]
_RATES = [(0, 1, 1.0), (0, 2, 0.8), (0, 3, 0.3), (0, 4, 0.3), (0, 5, 0.1), (1, 1, 2.6), (1, 2, 1.0), (2, 1, 0.3)]
_RATES += [(2, 2, 2.0), (3, 3, 0.6), (4, 4, 0.5), (5, 5, 0.3), (1, 3, 0.2), (1, 4, 0.2), (3, 2, 0.2), (2, 3, 0.15)]


def _rate(n: int, m: int, weight: float) -> Template:
    own = ((_plain(_A, n), ""),) if n else ()
    return _template(f"A^{n}/(1+A^{m})", weight, *own, (_hill(_A, m), "h"))


_PAIRS = [
    _template("A B", 16.0, _A_, _B_),
    _template("A^2 B", 5.0, _A2_, _B_),
    _template("A B^2", 3.0, _A_, _B2_),
    _template("A^3 B", 0.5, (_plain(_A, 3), ""), _B_),
    _template("A B/(1+A)", 1.2, _A_, _B_, (_hill(_A, 1), "h")),
    _template("A B/(1+B)", 1.2, _A_, _B_, (_hill(_B, 1), "h")),
    _template("A B/(1+A^2)", 0.8, _A_, _B_, (_hill(_A, 2), "h")),
    _template("A^2 B/(1+A^2)", 0.8, _A2_, _B_, (_hill(_A, 2), "h")),
    _template("A B^2/(1+B^2)", 0.8, _A_, _B2_, (_hill(_B, 2), "h")),
    _template("A/(1+B)", 0.8, _A_, (_hill(_B, 1), "h")),
    _template("A/(1+B^2)", 0.6, _A_, (_hill(_B, 2), "h")),
    _template("A B/(A+B)", 0.5, _A_, _B_, (_two(outer="inv"), "t")),
    _template("A B/(1+A+B)", 0.3, _A_, _B_, (_two(outer="inv", b=1.0), "ht")),
    _template("sin(A+B)", 1.4, (_two(inner="sin"), "sd")),
    _template("cos(A+B)", 0.4, (_two(inner="cos"), "sd")),
    _template("sin A cos B", 0.8, _SIN_A_, _COS_B_),
    _template("sin A sin B", 0.5, _SIN_A_, _SIN_B_),
    _template("cos A cos B", 0.3, _COS_A_, _COS_B_),
    _template("A sin B", 0.8, _A_, _SIN_B_),
    _template("A cos B", 1.0, _A_, _COS_B_),
    _template("sin A cos^2 B", 0.2, _SIN_A_, (Factor(_B, inner="cos", outer="pow2"), "s")),
    _template("sigmoid(A+B)", 0.8, (_two(inner="exp", outer="inv", b=1.0), "eda")),
    _template("A sigmoid B", 0.5, _A_, _SIGMOID_B_),
    _template("A exp B", 0.5, _A_, _EXP_B_),
    _template("A abs B", 0.3, _A_, (Factor(_B, inner="abs"), "")),
    _template("A/B", 0.5, _A_, (Factor(_B, outer="inv"), "")),
    _template("A log B", 0.2, _A_, (Factor(_B, inner="log"), "s")),
    _template("cos A/B", 0.2, _COS_A_, (Factor(_B, outer="inv"), "")),
]
_TRIPLES = [_template("A B C", 1.0, _A_, _B_, _C_), _template("A B/(1+C)", 0.4, _A_, _B_, (_hill(_C, 1), "h"))]

TEMPLATES = (*_ONE, *(_rate(*rate) for rate in _RATES), *_PAIRS, *_TRIPLES)
_MOST_FACTORS = max(len(t.factors) for t in TEMPLATES)


@dataclass(frozen=True)
class Prior:
    r"""How random systems are drawn.

    Arguments:
        n_terms: Probabilities of one, two, ... terms an equation, for each dimension from 1; the last for all above.
        own: Probability that a term's first variable is the equation's own.
        positive: Probability that all initial values are positive.
        structures: Probabilities of free, Kolmogorov, exchange and second-order systems, where they make sense.
        rate: Standard deviation of the decimal logarithm of coefficients.

    Raises:
        ValueError: If probabilities do not add up to 1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> Prior().draw(rng, 5, dimension=2).coefficient.shape
        (5, 2, 5)
    """

    n_terms: tuple[tuple[float, ...], ...] = (
        (0.08, 0.30, 0.34, 0.20, 0.08),
        (0.20, 0.35, 0.27, 0.13, 0.05),
        (0.25, 0.40, 0.25, 0.10),
    )
    own: float = 0.6
    positive: float = 0.55
    structures: tuple[float, float, float, float] = (0.42, 0.16, 0.22, 0.20)
    rate: float = 0.42

    def __post_init__(self) -> None:
        for weights in (*self.n_terms, self.structures):
            if abs(sum(weights) - 1.0) > 1e-9 or min(weights) < 0:
                raise ValueError(f"probabilities must add up to 1, got {weights}")

    def draw(self, rng: np.random.Generator, n: int, *, dimension: int, n_inputs: int = 0) -> Packed:
        r"""Draws systems; of what they do nothing is known yet.

        Arguments:
            rng: Source of randomness.
            n: Number of systems.
            dimension: Number of states.
            n_inputs: Number of inputs, each put into some term; second-order and exchange systems overwrite terms, so
                that about one in eight systems of two states ignores its input.
        """
        weights = self.n_terms[min(dimension, len(self.n_terms)) - 1]
        shape = (n, dimension, max(map(len, self.n_terms)))
        count = rng.choice(len(weights), size=shape[:2], p=np.asarray(weights)) + 1
        present = np.arange(shape[2]) < count[..., None]
        structure = rng.choice(4, size=n, p=np.asarray(self.structures)) if dimension > 1 else np.zeros(n, int)
        kind = _draw_kinds(rng, shape, structure == 1, dimension)
        places = self._draw_places(rng, shape, structure == 1, dimension)
        kind, places = _drive(rng, kind, places, dimension, n_inputs)
        packed = _fill(rng, kind, places, dimension + n_inputs)
        sign = self._signs(rng, kind, places)
        packed.coefficient[:] = np.where(present, sign * 10 ** rng.normal(0.0, self.rate, shape), 0.0)
        if dimension > 1:
            _exchange(rng, packed, structure == 2)
            _second_order(rng, packed, structure == 3)
            _shuffle_states(rng, packed)
        return packed

    def starts(
        self, rng: np.random.Generator, n: int, *, dimension: int, n_starts: int
    ) -> Float[_Array, "n n_starts dimension"]:
        r"""Draws initial values: of order one, positive for a share of the systems.

        Arguments:
            rng: Source of randomness.
            n: Number of systems.
            dimension: Number of states.
            n_starts: Initial values a system.
        """
        size = (n, n_starts, dimension)
        magnitude = 10 ** rng.uniform(-0.9, 0.5, size)
        positive = rng.random((n, 1, 1)) < self.positive
        return magnitude * np.where(positive, 1.0, rng.choice([-1.0, 1.0], size))

    def _draw_places(
        self, rng: np.random.Generator, shape: tuple[int, ...], own: _Array, dimension: int
    ) -> Int[_Array, "B D M 3"]:
        """Three different variables a term, the first often the equation's own."""
        order = rng.random((*shape, dimension))
        mine = (rng.random(shape) < self.own) | own[:, None, None]
        equation = np.broadcast_to(np.arange(dimension)[None, :, None], shape)
        bonus = np.zeros((*shape, dimension))
        np.put_along_axis(bonus, equation[..., None], np.where(mine, 1.0, 0.0)[..., None], axis=-1)
        places = np.argsort(-(order + bonus), axis=-1)[..., :3]
        return np.concatenate([places, np.zeros((*shape, 3 - places.shape[-1]), int)], axis=-1)

    def _signs(self, rng: np.random.Generator, kind: _Array, places: _Array) -> _Array:
        positive = np.array([t.positive for t in TEMPLATES])[kind]
        own = places[..., 0] == np.arange(kind.shape[1])[None, :, None]
        return np.where(rng.random(kind.shape) < np.where(own, positive, 0.5), 1.0, -1.0)


@cache
def _weights(dimension: int, kolmogorov: bool) -> _Array:
    def weight(t: Template) -> float:
        holds = any(f.degree > 0 and f.v == _A for f in t.factors)
        fits = t.n_places <= dimension and (holds or not kolmogorov)
        return t.weight * (0.55 if dimension > 1 and t.n_places < 2 else 1.0) if fits else 0.0

    weights = np.array([weight(t) for t in TEMPLATES])
    return np.asarray(weights / weights.sum())


def _draw_kinds(
    rng: np.random.Generator, shape: tuple[int, ...], kolmogorov: _Array, dimension: int
) -> Int[_Array, "B D M"]:
    free = rng.choice(len(TEMPLATES), size=shape, p=_weights(dimension, False))
    held = rng.choice(len(TEMPLATES), size=shape, p=_weights(dimension, True))
    return np.where(kolmogorov[:, None, None], held, free)


def _drive(
    rng: np.random.Generator, kind: _Array, places: _Array, dimension: int, n_inputs: int
) -> tuple[_Array, _Array]:
    """Puts each input into the first term of some equation: mostly plain, else as what multiplies a state."""
    names = [t.name for t in TEMPLATES]
    alone, with_state = names.index("A"), names.index("A B")
    rows = np.arange(len(kind))
    for k in range(n_inputs):
        i = rng.integers(dimension, size=len(kind))
        plain = rng.random(len(kind)) < 0.75
        kind[rows, i, k] = np.where(plain, alone, with_state)
        places[rows, i, k, 0] = np.where(plain, dimension + k, i)
        places[rows, i, k, 1] = dimension + k
    return kind, places


@cache
def _tables() -> dict[str, _Array]:
    """The templates as arrays over (template, factor)."""
    inner, outer = list(INNERS), list(OUTERS)
    shape = (len(TEMPLATES), _MOST_FACTORS)
    out: dict[str, _Array] = {name: np.full(shape, -1) for name in ("v", "w")}
    out |= {name: np.zeros(shape, np.int8) for name in ("inner", "outer")}
    out |= {"b": np.zeros(shape), **{letter: np.zeros(shape, bool) for letter in "seaphogltd"}}
    for i, t in enumerate(TEMPLATES):
        for j, (f, free) in enumerate(zip(t.factors, t.free, strict=True)):
            out["v"][i, j], out["w"][i, j], out["b"][i, j] = f.v, f.w, f.b
            out["inner"][i, j], out["outer"][i, j] = inner.index(f.inner), outer.index(f.outer)
            for letter in free:
                out[letter][i, j] = True
    return out


def _fill(rng: np.random.Generator, kind: _Array, places: _Array, n_variables: int) -> Packed:
    """Constants and variables of every factor."""
    table = {name: values[kind] for name, values in _tables().items()}
    shape = table["v"].shape

    def size(mean: float, spread: float) -> _Array:
        return np.asarray(10 ** rng.normal(mean, spread, shape))

    def sign(positive: float) -> _Array:
        return np.where(rng.random(shape) < positive, 1.0, -1.0)

    s0 = np.where(table["s"], np.where(rng.random(shape) < 0.4, 1.0, size(0.0, 0.25)), 1.0)
    s0 = np.where(table["e"], sign(0.35) * size(0.0, 0.3), s0)
    s1 = np.where(table["d"], np.where(rng.random(shape) < 0.5, -s0, sign(0.5) * size(0.0, 0.3)), size(0.0, 0.3))
    a = np.where(table["h"], size(0.0, 0.5), 1.0)
    a = np.where(table["a"], size(0.0, 0.6), a)
    a = np.where(table["l"], rng.uniform(0.2, 0.9, shape) * sign(0.5), a)
    a = np.where(table["g"], -size(0.0, 0.4), a)
    a = np.where(table["p"], rng.uniform(-0.8, 2.8, shape), a)
    offset = np.where(table["o"], sign(0.4) * size(0.0, 0.3), 0.0)
    weight = np.zeros((*shape, n_variables))
    for place, value in (("v", s0), ("w", s1)):
        filled = table[place] >= 0
        variable = np.take_along_axis(places, np.maximum(table[place], 0).reshape(*kind.shape, -1), axis=-1)
        at = np.arange(n_variables) == variable[..., None]
        weight += np.where(at & filled[..., None], value[..., None], 0.0)
    empty = table["v"] < 0
    return Packed(
        np.zeros(kind.shape),
        table["outer"].astype(np.int8),
        table["inner"].astype(np.int8),
        weight,
        np.where(empty, 1.0, offset),
        np.where(empty, 1.0, a),
        np.where(empty, 0.0, table["b"]),
    )


def _factor_arrays(packed: Packed) -> Sequence[_Array]:
    return packed.outer, packed.inner, packed.weight, packed.offset, packed.a, packed.b


def _exchange(rng: np.random.Generator, packed: Packed, chosen: _Array) -> None:
    """One or two terms of an equation appear in the next one too, mostly with the opposite sign."""
    b, d, m = packed.coefficient.shape
    for i in range(d):
        j = (i + 1) % d
        for _ in range(2):
            source: _Array = rng.integers(0, 2, (b,))
            target: _Array = rng.integers(0, m - 1, (b,))
            rows = np.flatnonzero(chosen & (rng.random(b) < 0.5))
            if d == 2 and i:
                continue
            s, t = source[rows], target[rows]
            there = packed.coefficient[rows, i, s] != 0
            rows, s, t = rows[there], s[there], t[there]
            share = np.where(rng.random(len(rows)) < 0.5, 1.0, 10 ** rng.normal(0, 0.3, len(rows)))
            flip = np.where(rng.random(len(rows)) < 0.85, -1.0, 1.0)
            packed.coefficient[rows, j, t] = flip * share * packed.coefficient[rows, i, s]
            for array in _factor_arrays(packed):
                array[rows, j, t] = array[rows, i, s]


def _second_order(rng: np.random.Generator, packed: Packed, chosen: _Array) -> None:
    """In every pair of states the first one's equation is the second one itself."""
    d = packed.dimension
    for i in range(0, d - 1, 2):
        rows = np.flatnonzero(chosen)
        packed.coefficient[rows, i] = 0.0
        packed.coefficient[rows, i, 0] = np.where(rng.random(len(rows)) < 0.7, 1.0, 10 ** rng.normal(0, 0.3, len(rows)))
        for array, value in zip(_factor_arrays(packed), (0, 0, 0.0, 1.0, 1.0, 0.0), strict=True):
            array[rows, i] = value
        packed.weight[rows, i, 0, 0, i + 1] = 1.0
        packed.offset[rows, i, 0, 0] = 0.0


def _shuffle_states(rng: np.random.Generator, packed: Packed) -> None:
    """Renames the states of every system at random, so that no structure has its fixed place."""
    b, d = packed.coefficient.shape[:2]
    order = rng.permuted(np.tile(np.arange(d), (b, 1)), axis=1)
    rows = np.arange(b)[:, None]
    for array in (packed.coefficient, *_factor_arrays(packed)):
        array[:] = array[rows, order]
    packed.weight[..., :d] = np.take_along_axis(packed.weight[..., :d], order[:, None, None, None, :], axis=-1)
