r"""The grammar: one way to write a system, values that agree with SymPy, units, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy

from pulsebayes.simulators.odes import Factor, System, Term, odebench_exclusions, pack, unpack
from pulsebayes.simulators.odes.exclusions import Exclusions
from pulsebayes.simulators.odes.integration import term_values
from pulsebayes.simulators.odes.library import LIBRARY


@pytest.fixture(scope="module")
def odebench() -> list[dict[str, Any]]:
    root = Path(os.environ.get("PULSEBAYES_DATA", Path(__file__).parents[4] / "shared" / "data"))
    path = root / "odebench" / "strogatz_extended.json"
    if not path.is_file():
        pytest.skip("ODEBench is not here: set PULSEBAYES_DATA")
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def names_of(row: dict[str, Any]) -> list[str]:
    return [f"x_{i}" for i in range(row["dim"])]


def test_every_odebench_system_is_in_the_grammar_with_the_right_values(odebench: list[dict[str, Any]]) -> None:
    rng = np.random.default_rng(0)
    for row in odebench:
        names, equations = names_of(row), row["substituted"][0]
        system = System.from_sympy(equations, names)
        x = rng.uniform(0.1, 0.9, (20, row["dim"]))
        truth = sympy.lambdify(names, [sympy.sympify(e) for e in equations], "numpy")(*x.T)
        expected = np.stack([np.broadcast_to(v, 20) for v in truth], -1)
        np.testing.assert_allclose(system.evaluate(x), expected, rtol=1e-9, atol=1e-9)


def test_the_shipped_list_holds_every_odebench_skeleton_and_no_other(odebench: list[dict[str, Any]]) -> None:
    systems = [System.from_sympy(row["substituted"][0], names_of(row)) for row in odebench]
    assert Exclusions.of(systems) == odebench_exclusions()
    assert len(odebench_exclusions().skeletons) == 53  # 63 systems, of which some share their skeleton


@pytest.mark.parametrize("name", LIBRARY)
def test_named_systems_survive_sympy_packing_and_other_units(name: str) -> None:
    system = LIBRARY[name].system
    n = system.dimension + system.n_inputs
    rng = np.random.default_rng(1)
    x, u = rng.uniform(0.2, 1.2, (9, system.dimension)), rng.uniform(0.2, 1.2, (9, system.n_inputs))
    value = system.evaluate(x, u)
    states = [f"x{i}" for i in range(system.dimension)]
    again = System.from_sympy(system.to_sympy(), states, inputs=[f"u{i}" for i in range(system.n_inputs)])
    assert again.skeleton() == system.skeleton()
    np.testing.assert_allclose(again.evaluate(x, u), value, rtol=1e-8, atol=1e-9)
    packed = pack([system])
    assert unpack(packed, 0).skeleton() == system.skeleton()
    points = np.concatenate([x, u], axis=-1)[None]
    np.testing.assert_allclose(term_values(packed, points)[0].sum(1).T, value, rtol=2e-4, atol=2e-4)
    scale = rng.uniform(0.5, 2.0, n)
    scaled = system.rescaled(scale.tolist(), 3.0)
    assert scaled.skeleton() == system.skeleton()
    d = system.dimension
    np.testing.assert_allclose(
        scaled.evaluate(x / scale[:d], u / scale[d:]), 3.0 * value / scale[:d], rtol=1e-8, atol=1e-9
    )


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("x*(1 - x/3)", "x - x*x/3"),
        ("x/(2 + x)", "1 - 2/(2 + x)*1 + 0*x - 1 + x/(2 + x) + 2/(2 + x)"),
        ("sin(-2*x)", "-sin(2*x)"),
        ("x*x**1.5", "x**2.5"),
        ("x/(1 + x + x**2)", "x/((x + 0.5)**2 + 0.75)"),
        ("tanh(x)", "1 - 2/(exp(2*x) + 1)"),
        ("sin(x)*sin(x)", "sin(x)**2"),
    ],
)
def test_equal_expressions_are_written_in_one_way(one: str, two: str) -> None:
    first, second = (System.from_sympy([text], ["x"]) for text in (one, two))
    x = np.linspace(0.1, 2.0, 7)[:, None]
    np.testing.assert_allclose(first.evaluate(x), second.evaluate(x), rtol=1e-9)
    assert first.skeleton() == second.skeleton()


def test_the_names_of_states_do_not_matter_to_the_orbit() -> None:
    one = System.from_sympy(["x*y - x", "y**2 + z", "x"], ["x", "y", "z"])
    assert one.permuted([2, 0, 1]).orbit() == one.orbit()
    assert one.permuted([2, 0, 1]).skeleton() != one.skeleton()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sin(x*y)", "linear in one or two"),
        ("x**y", "exponent must be a number"),
        ("a*x", "neither a state"),
        ("gamma(x)", "not in the grammar"),
        ("1/(x**2 + y**2)", "not in the grammar"),
    ],
)
def test_what_the_grammar_cannot_say_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        System.from_sympy([text, "x"], ["x", "y"])


def test_wrong_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="inner must be one of"):
        Factor(0, inner="gamma")
    with pytest.raises(ValueError, match="finite"):
        Term(float("nan"))
    with pytest.raises(ValueError, match="names variable 3"):
        System(((Term(1.0, (Factor(3),)),),))
    with pytest.raises(ValueError, match="share one number"):
        pack([System.from_sympy(["x"], ["x"]), System.from_sympy(["y", "x"], ["x", "y"])])
    with pytest.raises(ValueError, match=r"shape \(\*, 1\)"):
        System.from_sympy(["x"], ["x"]).evaluate([[1.0, 2.0]])
