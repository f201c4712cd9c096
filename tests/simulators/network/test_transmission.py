r"""Tubes as two-ports: closed forms, order of convergence, series."""

from __future__ import annotations

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.network.elimination import assemble, plan_elimination, solve_nodes
from pulsebayes.simulators.network.geometry import Network, adult_network
from pulsebayes.simulators.network.transmission import (
    Chain,
    Pieces,
    Tubes,
    chain_pieces,
    compose,
    cut_segments,
    element_series,
)

UNIT = 133.322e6  # Pa s/m3 in one mmHg s/mL
ADULT = {"k1": 3.0e6, "k3": 5.4e5, "mu": 2.5e-3, "viscous": 1.0}
OMEGA = 2 * np.pi * np.linspace(0.0, 32.0, 33)


def network_of(lengths: list[float], ends: list[tuple[float, float]], nodes: list[tuple[int, int]]) -> Network:
    r"""A network of a few tubes, lengths and radii in mm."""
    inlet, outlet = np.array(nodes).T
    a, b = np.array(ends).T
    names = tuple(str(i) for i in range(len(lengths)))
    return Network(names, inlet, outlet, np.array(lengths), a, b, ("",) * len(names))


def tubes_of(network: Network, dtype: str) -> Tubes:
    one = np.ones((len(network.names), 1))
    fields = (
        1e-3 * network.length[:, None], 1e-3 * network.inlet_radius[:, None], 1e-3 * network.outlet_radius[:, None],
        0.1 * ADULT["k1"] * one, 0.1 * ADULT["k3"] * one, ADULT["mu"] * one, 0.6 * one, 1.5e-3 * one,
    )  # fmt: skip
    return Tubes(*(jnp.asarray(field, dtype) for field in fields))


def solved(network: Network, shunts: dict[int, np.ndarray], pieces: Pieces, dtype: str = "float32") -> np.ndarray:
    r"""Pressure of every node for a unit flow into node 0, with shunt admittances at some."""
    nodes = tuple(range(network.n_nodes))
    plan = plan_elimination(pieces.inlet, pieces.outlet, nodes)
    elements = element_series(tubes_of(network, dtype), pieces, jnp.asarray(OMEGA[None], dtype))
    chain = chain_pieces(tuple(part[0] for part in elements), pieces)
    edges, ground = assemble(plan, chain, pieces.inlet, pieces.outlet)
    for node, admittance in shunts.items():
        ground = ground.at[node].add(jnp.asarray(admittance).astype(ground.dtype))
    current = jnp.zeros_like(ground).at[0].set(1.0)
    return np.asarray(solve_nodes(plan, edges[None], ground[None], current[None], nodes))[0]


def windkessel(r1: float, r2: float, c: float) -> np.ndarray:
    return 1 / (r1 + r2 / (1 + 1j * OMEGA * r2 * c))


def input_impedance(z0: np.ndarray, gl: np.ndarray, load: np.ndarray) -> np.ndarray:
    r"""Textbook input impedance of a line of characteristic impedance z0, propagation gl and load impedance."""
    reflection = (load - z0) / (load + z0)
    return z0 * (1 + reflection * np.exp(-2 * gl)) / (1 - reflection * np.exp(-2 * gl))


def test_one_uniform_tube_with_a_windkessel_has_its_textbook_input_impedance(dense: SimpleNamespace) -> None:
    network = network_of([400.0], [(5.0, 5.0)], [(0, 1)])
    load = windkessel(0.3, 2.0, 0.5)
    pressure = solved(network, {1: load}, cut_segments(network, {}))
    z, y = dense.line(OMEGA[1:], 5e-3, ADULT, True)
    exact = input_impedance(np.sqrt(z / y) / UNIT, np.sqrt(z * y) * 0.4, 1 / load[1:])
    np.testing.assert_allclose(pressure[0, 1:], exact, rtol=2e-5)
    friction = 0.4 * 8 * np.pi * ADULT["mu"] / (np.pi * 5e-3**2) ** 2 / UNIT
    np.testing.assert_allclose(pressure[0, 0], 2.3 + friction, rtol=1e-6)


def test_a_bifurcation_reflects_as_its_reflection_coefficient_says(dense: SimpleNamespace) -> None:
    network = network_of([200.0, 150.0, 150.0], [(6.0, 6.0), (4.0, 4.0), (3.0, 3.0)], [(0, 1), (1, 2), (1, 3)])
    z, y = (np.array(part) for part in zip(*(dense.line(OMEGA[1:], r, ADULT, True) for r in (6e-3, 4e-3, 3e-3))))
    z0, gamma = np.sqrt(z / y) / UNIT, np.sqrt(z * y)
    ends = {i: np.concatenate([[1.0], 1 / z0[i - 1]]) for i in (2, 3)}  # matched: nothing returns from the branches
    pressure = solved(network, ends, cut_segments(network, {}))[:, 1:]
    reflection = (1 / z0[0] - 1 / z0[1] - 1 / z0[2]) / (1 / z0[0] + 1 / z0[1] + 1 / z0[2])
    there = np.exp(-gamma[0] * 0.2)
    root = z0[0] * (1 + reflection * there**2) / (1 - reflection * there**2)
    np.testing.assert_allclose(pressure[0], root, rtol=3e-5)
    junction = z0[0] * (1 + reflection) * there / (1 - reflection * there**2)
    np.testing.assert_allclose(pressure[1], junction, rtol=3e-5)
    np.testing.assert_allclose(pressure[2], junction * np.exp(-gamma[1] * 0.15), rtol=3e-5)


def test_two_equal_tubes_side_by_side_are_one_of_half_the_impedance() -> None:
    one = network_of([300.0], [(4.0, 3.0)], [(0, 1)])
    two = network_of([300.0, 300.0], [(4.0, 3.0)] * 2, [(0, 1), (0, 1)])
    load = windkessel(0.5, 3.0, 0.2)
    single, double = solved(one, {1: load}, cut_segments(one, {})), solved(two, {1: 2 * load}, cut_segments(two, {}))
    np.testing.assert_allclose(2 * double, single, rtol=1e-5)


@pytest.mark.usefixtures("float64")
def test_error_falls_with_the_fourth_power_of_the_element_length(dense: SimpleNamespace) -> None:
    network = network_of([120.0], [(9.0, 6.0)], [(0, 1)])
    load = windkessel(0.3, 2.0, 0.5)
    fine = dense.tube(OMEGA, 0.12, (9e-3, 6e-3), ADULT, 400, True)
    exact = (fine[:, 0, 0] + fine[:, 0, 1] * load / UNIT) / (fine[:, 1, 0] * UNIT + fine[:, 1, 1] * load)
    errors = []
    for n in (3, 6, 12, 24):
        pieces = Pieces(*(np.array([v]) for v in (0, 0.0, 1.0, 0, 1, n)))
        errors.append(np.abs(solved(network, {1: load}, pieces, "float64")[0] - exact).max())
    order = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    print("order of convergence in element length:", order.round(3), "errors", errors)
    assert (np.abs(order - 4) < 0.2).all()


def test_elements_are_exact_for_a_uniform_tube() -> None:
    network = network_of([300.0], [(4.0, 4.0)], [(0, 1)])
    load = {1: windkessel(0.5, 3.0, 0.2)}
    few, many = (solved(network, load, cut_segments(network, {}, element_mm=mm)) for mm in (75.0, 10.0))
    np.testing.assert_allclose(few, many, rtol=2e-5)


def test_composing_chains_is_the_matrix_product() -> None:
    rng = np.random.default_rng(0)
    ports = rng.normal(size=(2, 2, 2)) + 1j * rng.normal(size=(2, 2, 2))
    first, second = (Chain(*(jnp.asarray(v) for v in (p[0, 0] - 1, p[0, 1], p[1, 0], p[1, 1] - 1))) for p in ports)
    product = compose(first, second)
    expected = ports[0] @ ports[1]
    found = np.array([[1 + product.a, product.b], [product.c, 1 + product.d]])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_pieces_cover_every_segment_once_and_meet_at_sites() -> None:
    network = adult_network()
    pieces = cut_segments(network, {14: [(0.5, 109)], 20: [(0.75, 110), (0.25, 111)]}, element_mm=20.0)
    length = np.bincount(pieces.segment, pieces.end - pieces.start)
    np.testing.assert_allclose(length, 1.0)
    assert (np.diff(pieces.n_elements) <= 0).all()
    longest = (pieces.end - pieces.start) * network.length[pieces.segment] / pieces.n_elements
    assert longest.max() <= 20.0 + 1e-9
    of_brachial = pieces.segment == 20
    order = np.argsort(pieces.start[of_brachial])
    ends = zip(pieces.inlet[of_brachial][order].tolist(), pieces.outlet[of_brachial][order].tolist(), strict=True)
    assert list(ends) == [(network.inlet[20], 111), (111, 110), (110, network.outlet[20])]
