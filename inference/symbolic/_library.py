r"""The dictionary of the weak-form search: texts of terms, the values their inner constants may start from, their cost.

Inner constants that are scales (the K of x/(K + x)) start from a few fractions of the range of their state; the refit
then moves them freely.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

_FINE = tuple(np.geomspace(0.03, 3.0, 15).tolist())
_COARSE = (0.03, 0.08, 0.2, 0.4, 0.8, 2.0)


@dataclass(frozen=True)
class Entry:
    r"""A column of the dictionary.

    Arguments:
        term: Text of the term.
        inner: Values of its inner constants.
        kind: 1 linear, 2 quadratic, 3 cubic, 4 higher powers, 5 trigonometric, 6 everything else.
    """

    term: str
    inner: tuple[float, ...]
    kind: int


def dictionary(
    scale: np.ndarray, *, positive: np.ndarray, n_inputs: int = 0, wraps: np.ndarray | None = None, rich: bool = True
) -> list[Entry]:
    r"""Entries for states of a given size.

    Arguments:
        scale: Largest absolute value of every state, with shape (D,).
        positive: Whether a state is positive throughout, with shape (D,).
        n_inputs: Number of inputs.
        wraps: Whether sines of a state are worth a try; all where not given.
        rich: Whether rational terms, exponentials and sigmoids belong to it.

    Returns:
        The entries, the constant first.
    """
    dim = len(scale)
    states = [f"x{i}" for i in range(dim)]
    made = list(_polynomials(states))
    for j in range(n_inputs):
        made += [Entry(f"u{j}", (), 1), *(Entry(f"u{j}*{s}", (), 2) for s in states)]
    if rich:
        for i in range(dim):
            if wraps is None or wraps[i]:
                made += _trigonometric(i, states)
            made += _rational(i, states, float(scale[i]), bool(positive[i]))
        made += _pairs(states) if dim > 1 else []
    return made


def _polynomials(states: list[str]) -> Iterator[Entry]:
    yield Entry("1", (), 1)
    highest = {1: 5, 2: 3, 3: 3}.get(len(states), 2)
    for degree in range(1, highest + 1):
        for factors in combinations_with_replacement(states, degree):
            yield Entry("*".join(factors), (), min(degree, 4))


def _trigonometric(i: int, states: list[str]) -> list[Entry]:
    x = states[i]
    made = [Entry(f"sin({x})", (), 5), Entry(f"cos({x})", (), 5), Entry(f"sin({x})*cos({x})", (), 5)]
    made += [Entry(f"sin(k0*{x})", (2.0,), 5), Entry(f"cos(k0*{x})", (2.0,), 5)]
    for j, y in enumerate(states):
        if j != i:
            made += [Entry(f"{y}*sin({x})", (), 5), Entry(f"{y}*cos({x})", (), 5)]
            made += [Entry(f"sin({y})*cos({x})", (), 5)] if len(states) == 2 else []
    return made


def _pairs(states: list[str]) -> list[Entry]:
    made = []
    for i, x in enumerate(states):
        made.append(Entry(f"{x}*abs({x})", (), 6))
        for y in states[i + 1 :]:
            made.append(Entry(f"sin({x}-{y})", (), 5))
    return made


def _rational(i: int, states: list[str], scale: float, positive: bool) -> list[Entry]:
    x = states[i]
    others = [y for y in states if y != x]
    made = []
    for k in _FINE if len(states) <= 2 else _COARSE:
        square = (k * scale) ** 2
        if positive:
            made += [Entry(f"1/(k0+{x})", (k * scale,), 6), Entry(f"{x}/(k0+{x})", (k * scale,), 6)]
            made += [Entry(f"{x}*{y}/(k0+{x})", (k * scale,), 6) for y in others]
        made += [Entry(f"1/(k0+{x}*{x})", (square,), 6), Entry(f"{x}*{x}/(k0+{x}*{x})", (square,), 6)]
        made += [Entry(f"{x}/(k0+{x}*{x})", (square,), 6)]
        made += [Entry(f"{x}*{y}/(k0+{x}*{x})", (square,), 6) for y in others]
        if len(states) <= 2:
            made += [Entry(f"exp(-{x}/k0)", (k * scale,), 6)]
    if len(states) == 1 and positive:
        made += [Entry(f"{x}*log({x})", (), 6)]
        made += [Entry(f"{x}**k0", (p,), 6) for p in (0.5, 1.5)]
        made += [Entry(f"{x}**4/((k0*k0)**2+{x}**4)", (k * scale,), 6) for k in _COARSE[1:]]
    for s in states if len(states) <= 4 else ():
        made += [
            Entry(f"1/(1+exp(k0*({s}-k1)))", (sign * 4.0 / scale, at * scale), 6)
            for sign in (1.0,)
            for at in (0.2, 0.5)
            if s == x
        ]
    if positive:
        made += [Entry(f"{y}/{x}", (), 6) for y in ["1", *others]]
    return made
