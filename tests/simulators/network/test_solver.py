r"""The whole solver against nodal matrices in complex128, and what a linear network must obey."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.clinical import CLINICAL, clinical_subject
from pulsebayes.simulators.network.elimination import assemble, plan_elimination, solve_nodes
from pulsebayes.simulators.network.geometry import adult_network
from pulsebayes.simulators.network.inflow import flow_coefficients
from pulsebayes.simulators.network.linear import make_tubes, solve_network, total_compliance
from pulsebayes.simulators.network.outlets import make_outlets, outlet_admittance
from pulsebayes.simulators.network.rhythm import steady_beat
from pulsebayes.simulators.network.sites import place_sites
from pulsebayes.simulators.network.transmission import chain_pieces, cut_segments, element_series

NAMES = ("AorticRoot", "Carotid", "Brachial", "Radial", "Femoral")
HEART_RATES = (35.0, 90.0, 160.0, 160.0)
N_LINES = 81


def adults() -> np.ndarray:
    r"""Four clinical adults, two of them at 160 /min."""
    theta = CLINICAL.sample(np.random.default_rng(0), len(HEART_RATES))
    theta[:, CLINICAL.index("heart_rate")] = HEART_RATES
    return theta


def solver(element_mm: float) -> Any:
    nodes, splits = place_sites(adult_network(), NAMES)
    pieces = cut_segments(adult_network(), splits, element_mm=element_mm)
    plan = plan_elimination(pieces.inlet, pieces.outlet, (0, *nodes))

    def solve(theta: Any, omega: Any, shift: Any) -> Any:
        subject, _ = clinical_subject(theta)
        train = jax.vmap(steady_beat)(subject)
        coefficients = partial(flow_coefficients, n_frequencies=N_LINES, n_samples=4096)
        flow = jax.vmap(coefficients)(subject, train)
        drain = jnp.where(jnp.arange(N_LINES) == 0, subject.outflow_pressure[:, None] + shift, 0.0) + 0j
        tubes = make_tubes(subject)
        outlets = make_outlets(subject, tubes)
        pressure = solve_network(plan, pieces, tubes, outlets, omega, flow, drain, nodes)
        return subject, flow, drain, pressure, total_compliance(tubes, outlets)

    return jax.jit(solve)


def periodic(theta: np.ndarray, share: float = 1.0) -> np.ndarray:
    r"""Angular frequencies of 80 harmonics, or of a share of them, with the mean."""
    return 2 * np.pi * share * theta[:, CLINICAL.index("heart_rate"), None] / 60 * np.arange(N_LINES)


@pytest.fixture(scope="module")
def single() -> Any:
    r"""Single precision, elements of 20 mm."""
    return solver(20.0)


def run(solve: Any, theta: np.ndarray, omega: np.ndarray, dtype: str, shift: float = 0.0) -> Any:
    out = solve(jnp.asarray(theta, dtype), jnp.asarray(omega, dtype), jnp.asarray(shift, dtype))
    return jax.tree.map(np.asarray, out)


def waves(coefficients: np.ndarray) -> np.ndarray:
    return np.fft.irfft(coefficients, 1024, axis=-1) * 1024


def test_single_precision_is_within_1e_5_of_dense_at_any_heart_rate(single: Any, dense: SimpleNamespace) -> None:
    theta = adults()
    omega = periodic(theta)
    subject, flow, drain, pressure, _ = run(single, theta, omega, "float32")
    for row in range(len(theta)):
        exact = dense.solve(subject, row, omega[row], flow[row], drain[row], sites=NAMES, element_mm=20.0)
        assert np.abs(pressure[row] - exact).max() < 1e-5 * np.abs(exact).max()
        wave = waves(exact)
        assert np.abs(waves(pressure[row]) - wave).max() < 1e-5 * wave.max()
        # Line by line up to 32 Hz, the band of a window; beyond, lines are a millionth of the mean and less.
        band = omega[row] <= 2 * np.pi * 32
        assert (np.abs(pressure[row] - exact) / np.abs(exact))[:, band].max() < 2e-5


def test_long_elements_cost_less_than_a_hundredth_of_the_pulse(dense: SimpleNamespace) -> None:
    theta = adults()[2:]
    subject, _ = clinical_subject(jnp.asarray(theta))
    omega = periodic(theta)
    rate = 1 / (1 + np.arange(N_LINES)) ** 2
    for row in range(len(theta)):
        args = (subject, row, omega[row], 80 * rate, 20.0 * (omega[row] == 0))
        coarse, fine = dense.solve(*args, sites=NAMES), dense.solve(*args, sites=NAMES, refine=3)
        assert np.abs(waves(coarse) - waves(fine)).max() < 0.01 * np.ptp(waves(fine), axis=-1).min()


def test_raising_the_outflow_pressure_raises_every_mean_pressure_by_as_much(single: Any) -> None:
    theta = adults()
    before = run(single, theta, periodic(theta), "float32")[3]
    after = run(single, theta, periodic(theta), "float32", shift=7.0)[3]
    np.testing.assert_allclose((after - before)[..., 0].real, 7.0, atol=1e-3)
    np.testing.assert_allclose(after[..., 1:], before[..., 1:], atol=1e-4)


def test_mean_pressure_is_the_resistive_solution(single: Any) -> None:
    theta = adults()
    subject, _, _, pressure, _ = run(single, theta, periodic(theta), "float32")
    mean = pressure[..., 0].real
    assert np.abs(pressure[..., 0].imag).max() == 0
    # Outlets alone would give the parameter; the arteries in front of them add a little, and pressure falls outwards.
    assert (mean[:, 0] > subject.mean_pressure).all()
    assert (mean[:, 0] < 1.4 * subject.mean_pressure).all()
    assert (mean[:, :1] >= mean).all()


def test_no_line_overflows_far_above_harmonic_forty(single: Any) -> None:
    for seed in range(4):
        theta = CLINICAL.sample(np.random.default_rng(seed), len(HEART_RATES))
        theta[:, CLINICAL.index("heart_rate")] = 160.0
        pressure = run(single, theta, periodic(theta), "float32")[3]
        assert np.isfinite(pressure).all()
        assert (np.abs(pressure[..., 40:]) > 0).all()


class Injected(NamedTuple):
    r"""Pressures at the root and every outlet of one adult for a unit flow injected at any node."""

    nodes: tuple[int, ...]
    resistance: np.ndarray
    pressure: Callable[[int], np.ndarray]


@pytest.fixture(scope="module")
def injected() -> Injected:
    network = adult_network()
    nodes = (0, *network.outlet[network.terminals].tolist())
    pieces = cut_segments(network, {})
    plan = plan_elimination(pieces.inlet, pieces.outlet, nodes)
    omega = jnp.asarray(2 * np.pi * np.array([[0.0, *np.geomspace(0.1, 30, 11)]]), "float32")
    subject, _ = clinical_subject(jnp.asarray(adults()[1:2], "float32"))

    @jax.jit
    def solve(currents: Any) -> Any:
        tubes = make_tubes(subject)
        outlets = make_outlets(subject, tubes)
        chain = chain_pieces(tuple(part[0] for part in element_series(tubes, pieces, omega)), pieces)
        edges, shunts = assemble(plan, chain, pieces.inlet, pieces.outlet)
        admittance, _ = outlet_admittance(outlets, omega, 0j * omega)
        shunts = shunts.at[network.outlet[network.terminals]].add(admittance[:, 0])
        return solve_nodes(plan, edges[None], shunts[None], currents[None], nodes)[0], outlets.r1 + outlets.r2

    def currents(node: int) -> Any:
        return jnp.zeros((network.n_nodes + 1, omega.shape[1]), "complex64").at[node].set(1.0)

    resistance = np.asarray(solve(currents(0))[1])[:, 0]
    return Injected(nodes, resistance, lambda node: np.asarray(solve(currents(node))[0]))


def test_transfer_impedances_are_reciprocal(injected: Injected) -> None:
    some = [0, 3, 17, 30, 45]
    impedance = np.stack([injected.pressure(injected.nodes[i])[some] for i in some])  # (from, to, F)
    error = np.abs(impedance - impedance.transpose(1, 0, 2)) / np.abs(impedance).max((0, 1))
    assert error.max() < 1e-5


@pytest.mark.parametrize("outlet", [0, 20])
def test_mean_flow_that_enters_leaves_through_the_outlets(injected: Injected, outlet: int) -> None:
    leaving = injected.pressure(injected.nodes[outlet])[1:, 0] / injected.resistance
    assert abs(leaving.sum() - 1) < 2e-5
    assert (leaving.real > 0).all()
    assert np.abs(leaving.imag).max() == 0


@pytest.mark.usefixtures("float64")
def test_double_precision_is_within_1e_10_of_dense(dense: SimpleNamespace) -> None:
    theta = adults()
    omega = periodic(theta, share=0.15)  # to 32 Hz at 160 /min: there the ten terms of the series are exact
    subject, flow, drain, pressure, compliance = run(solver(50.0), theta, omega, "float64")
    assert pressure.dtype == np.complex128
    for row in range(len(theta)):
        exact = dense.solve(subject, row, omega[row], flow[row], drain[row], sites=NAMES)
        assert (np.abs(pressure[row] - exact) / np.abs(exact)).max() < 1e-10
    assert ((compliance > 0.05) & (compliance < 10)).all()
