r"""Equations as tokens: there and back, units by exponents, and a grammar that lets only equations through."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.inference.symbolic.tokens import (
    CONSTANT_AT,
    END,
    VOCABULARY,
    Grammar,
    decode_equation,
    encode_equation,
    from_grid,
    to_grid,
)
from pulsebayes.simulators.odes import Prior, System, unpack
from pulsebayes.simulators.odes.library import LIBRARY

ODD = (
    "q/2 - p/3 + sqrt(p + 2)*q + (1 + 3*p)**1.3 + exp(-p**2)*p"
    " + log(p + 3*q + 1)/(1 + exp(p - q))**2 + 1/(3 + (p - 2)**2)"
)
SYSTEMS = {name: row.system for name, row in LIBRARY.items()} | {
    "odd": System.from_sympy([ODD], ["p"], inputs=["q"]),
    "powers": System.from_sympy(["x**1.7*sin(y) + x*abs(y)", "y**-2 + cos(x)**2/x"], ["x", "y"]),
}


def values_of(ids: np.ndarray, log: np.ndarray) -> np.ndarray:
    sign = np.where((ids - CONSTANT_AT) // 48 == 1, -1.0, 1.0)
    return np.where(ids >= CONSTANT_AT, sign * 10**log, 0.0)


@pytest.mark.parametrize("name", SYSTEMS)
def test_equations_survive_being_written_and_read(name: str) -> None:
    system = SYSTEMS[name]
    rng = np.random.default_rng(0)
    x, u = rng.uniform(0.2, 0.9, (8, system.dimension)), rng.uniform(0.2, 0.9, (8, system.n_inputs))
    equations = []
    for i in range(system.dimension):
        tokens = encode_equation(system, i)
        read = values_of(tokens.ids, tokens.log)
        equations.append(decode_equation(tokens.ids, read, dimension=system.dimension, n_inputs=system.n_inputs))
    again = System(tuple(equations), system.n_inputs)
    np.testing.assert_allclose(again.evaluate(x, u), system.evaluate(x, u), rtol=1e-9)


@pytest.mark.parametrize("name", SYSTEMS)
def test_exponents_say_how_constants_follow_the_units(name: str) -> None:
    system = SYSTEMS[name]
    d = system.dimension
    rng = np.random.default_rng(1)
    scale, time = rng.uniform(0.3, 3.0, d + system.n_inputs), 1.7
    units = np.zeros(6)
    units[:d], units[4 : 4 + system.n_inputs], units[5] = np.log10(scale[:d]), np.log10(scale[d:]), np.log10(time)
    other = system.rescaled(scale.tolist(), time)
    for i in range(d):
        one, two = encode_equation(system, i), encode_equation(other, i)
        np.testing.assert_array_equal(one.ids, two.ids)
        np.testing.assert_allclose(one.log + one.exponents @ units, two.log, atol=1e-9)


def test_the_grid_is_exact_between_its_points() -> None:
    logs = np.linspace(-3, 3, 101)
    np.testing.assert_allclose(np.log10(from_grid(to_grid(logs))), logs, atol=1e-12)


def test_whatever_the_grammar_allows_is_an_equation_that_can_be_written() -> None:
    rng = np.random.default_rng(2)
    read = 0
    for _ in range(300):
        grammar = Grammar(2, 1)
        for _ in range(40):
            allowed = np.flatnonzero(grammar.allowed())
            token = int(END if END in allowed and rng.random() < 0.3 else rng.choice(allowed))
            grammar.push(token, float(rng.normal() + 3.0) if token >= CONSTANT_AT else 0.0)
            if grammar.done:
                break
        if grammar.done and grammar.terms:
            assert all(np.isfinite(t.coefficient) for t in grammar.terms)
            read += 1
    assert read > 100


def test_a_token_out_of_place_is_refused() -> None:
    with pytest.raises(ValueError, match="may not follow"):
        decode_equation([END + 1, END], [0.0, 0.0], dimension=1)
    with pytest.raises(ValueError, match="at most 4 states"):
        encode_equation(System(((),) * 5), 0)


def test_random_systems_have_short_sequences_and_no_state_that_is_not_there() -> None:
    packed = Prior().draw(np.random.default_rng(3), 300, dimension=1)
    found = [encode_equation(unpack(packed, i), 0) for i in range(300)]
    lengths = [len(tokens.ids) for tokens in found]
    assert max(lengths) <= 48 and np.mean(np.array(lengths) <= 32) > 0.97
    others = {i for i, name in enumerate(VOCABULARY) if name.endswith((":x1", ":x2", ":x3", ":u0"))}
    assert not {int(t) for f in found for t in f.ids} & others
