r"""Terms of the grammar as texts: the same values, one text for what is written in two ways; what is proposed."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.inference.symbolic._smooth import smooth_path
from pulsebayes.inference.symbolic._texts import plain_variants, term_text
from pulsebayes.inference.symbolic._transformer import transformer_equations
from pulsebayes.inference.symbolic.equations import Structure, count_inner
from pulsebayes.simulators.odes import Prior, System, simulate_named, unpack


@pytest.mark.parametrize(("dimension", "n_inputs"), [(1, 0), (3, 0), (2, 1)])
def test_texts_have_the_values_of_their_terms(dimension: int, n_inputs: int) -> None:
    rng = np.random.default_rng(0)
    packed = Prior().draw(rng, 150, dimension=dimension, n_inputs=n_inputs)
    z = rng.uniform(0.3, 2.0, (5, dimension + n_inputs))
    for row in range(150):
        for term in (t for terms in unpack(packed, row).equations for t in terms):
            text, inner, coefficient = term_text(term, dimension)
            assert count_inner(text) == len(inner)
            f = Structure(((text,), *((),) * (dimension - 1))).right_hand_side()
            made = f(z[:, :dimension].T, z[:, dimension:].T, np.array([coefficient, *inner])[:, None])[0]
            truth = term.coefficient * np.prod([f.evaluate(z) for f in term.factors], axis=0)
            np.testing.assert_allclose(made, truth * np.ones(5), rtol=1e-8, atol=1e-12, err_msg=text)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("3", "1"),
        ("x*y**2", "x*y*y"),
        ("y*x/(2 + x)", "x*y/(k0+x)"),
        ("x**2/(4 + x**2)", "x*x/(k0+x*x)"),
        ("sin(2*x - 3*y)", "sin(k0*x+k1*y)"),
        ("x*u", "u0*x"),
        ("1/(1 + exp(2*x - 3))", "1/(1+exp(k0*(x-k1)))"),
        ("x**1.7", "x**k0"),
    ],
)
def test_a_term_has_one_text(expression: str, expected: str) -> None:
    system = System.from_sympy([expression, "0"], ["x", "y"], inputs=["u"])
    text, _, _ = term_text(system.equations[0][0], 2)
    assert text == expected.replace("exp", "e?p").replace("x", "x0").replace("y", "x1").replace("e?p", "exp")


def test_scales_inside_a_function_may_be_one() -> None:
    terms = System.from_sympy(["x + 1.3*sin(0.9*x)"], ["x"]).equations[0]
    texts = [[term_text(t, 1)[0] for t in variant] for variant in plain_variants(terms)]
    assert texts == [["x0", "sin(k0*x0)"], ["x0", "sin(x0)"]]
    assert len(list(plain_variants(terms[:1]))) == 1


def test_what_is_proposed_has_the_constants_of_the_weak_form() -> None:
    t, x, u = simulate_named("michaelis-menten", n_points=200)
    found = transformer_equations([smooth_path(t, x, u)], n_samples=48)
    assert found and len({e.structure for e in found}) == len(found)
    slope = np.gradient(x[:, 0], t)
    error = [np.sqrt(np.mean((e.derivative(x.T, u.T)[0] - slope)[2:-2] ** 2)) for e in found[:5]]
    assert min(error) < 0.02 * np.abs(slope).max()


def test_systems_beyond_the_networks_vocabulary_get_no_proposal() -> None:
    t = np.linspace(0.0, 3.0, 60)
    assert transformer_equations([smooth_path(t, np.exp(-np.outer(t, np.arange(1, 6))), np.zeros((60, 0)))]) == []
