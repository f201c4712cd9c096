r"""The circuit: no blood is lost, the order is two, limits are those of closed form, and others agree."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.closed_loop.activation import ATRIUM, VENTRICLE, contraction_time
from pulsebayes.simulators.closed_loop.circuit import Circuit, State, activations, pressures, run_beat
from pulsebayes.simulators.closed_loop.parameters import make_circuit, orifice
from pulsebayes.simulators.closed_loop.periodic import Settled, settle

sys.path.insert(0, str(Path(__file__).parent))
from rivals import N_ROWS, median, ring, scipy_beat, simple_circuit, svzerod_case


def test_activation_is_largest_when_the_literature_says() -> None:
    for period in (0.4, 0.8, 1.5):
        time = jnp.linspace(0.0, period, 4001)
        found = VENTRICLE.at(time, contraction_time(period))
        assert float(time[jnp.argmax(found)]) == pytest.approx(0.2 + 0.15 * period, abs=1e-3)
        assert float(found.max()) == pytest.approx(1.0, abs=1e-4)
        assert float(found[-1]) < 1e-3  # the next beat begins from rest
    assert ATRIUM.peak < VENTRICLE.peak


def test_an_orifice_costs_four_times_the_speed_squared() -> None:
    assert float(orifice(1.0)) * 100.0**2 == pytest.approx(4.0, rel=0.01)  # 1 m/s through 1 cm2


def test_no_blood_is_lost_in_single_precision(solved: tuple[Circuit, Settled], hundred: Settled) -> None:
    circuit, found = solved
    total = np.asarray(circuit.total, np.float64)
    assert found.beat.volume.dtype == jnp.float32
    for state in (found, hundred):  # after a hundred beats no more than after one
        held = np.asarray(state.beat.volume, np.float64).sum(1)
        assert np.abs(held / total - 1).max() < 5e-7  # rounding of eight volumes; one part in a million is asked
    assert int(hundred.beats.max()) == 101


_RUN = jax.jit(run_beat)


def _advanced(circuit: Circuit, state: State, n: int) -> State:
    r"""The state after a beat of n steps, 128 at a time: compiled once."""
    phi, piece = activations(circuit, n), circuit._replace(period=circuit.period * 128 / n)
    for k in range(n // 128):
        state, _ = _RUN(piece, state, phi[128 * k : 128 * (k + 1)], jnp.zeros((128, 1)))
    return state


def test_the_order_is_two(solved: tuple[Circuit, Settled]) -> None:
    with jax.enable_x64(True):
        circuit, start = jax.tree.map(
            lambda x: jnp.asarray(np.asarray(x, np.float64)[..., :1]), (solved[0], solved[1].state)
        )
        circuit = circuit._replace(total=start.volume.sum((0, 1)))
        ends = {}
        for n in (128, 256, 512, 1024, 8192):
            ends[n] = np.asarray(_advanced(circuit, start, n).volume)
        errors = [np.abs(ends[n] - ends[8192]).max() for n in (128, 256, 512, 1024)]
    slope = np.polyfit(np.log2([128, 256, 512, 1024]), np.log2(errors), 1)[0]
    assert -2.5 < slope < -1.6  # corners of the valves fall anywhere in a step, so single steps scatter about two
    assert errors[2] < 0.02


def test_constant_elastance_and_open_valves_are_a_linear_circuit() -> None:
    from scipy.linalg import expm

    with jax.enable_x64(True):
        circuit = make_circuit(median())
        none = 0 * circuit.rest
        circuit = circuit._replace(
            active=none, quadratic=none, leak=1 / circuit.resistance, leak_quadratic=none, inertance=none,
            resistance=circuit.resistance + 0.02,
        )  # fmt: skip
        circuit = circuit._replace(leak=1 / circuit.resistance)
        volume = circuit.rest + jnp.linspace(20, 200, 8).reshape(2, 4, 1)
        circuit = circuit._replace(total=volume.sum((0, 1)))
        end = _advanced(circuit, State(volume, none, none), 2048)
    e, r, rest = ring(circuit.passive), ring(circuit.resistance), ring(circuit.rest)
    flow = (np.diag(e) - np.roll(np.eye(8), 1, axis=1) * e) / r[:, None]
    matrix = np.roll(flow, 1, axis=0) - flow
    expected = rest + expm(matrix * float(circuit.period[0])) @ (ring(volume) - rest)
    np.testing.assert_allclose(ring(end.volume), expected, rtol=2e-5)


@pytest.fixture(scope="module")
def cases() -> dict[str, tuple[Circuit, Settled]]:
    r"""Circuits of their own, solved side by side."""
    plain = make_circuit(median())
    septum = plain._replace(septum=plain.septum + 1 / 40.0)
    circuits = {"median": plain, "septum": septum, "simple": simple_circuit()}
    all_rows = [*circuits.values()] * (N_ROWS // 3)  # as many as the other tests solve
    together = jax.tree.map(lambda *x: np.concatenate(x, axis=-1), *all_rows)
    found = jax.tree.map(np.asarray, settle(together, n_steps=512, tolerance_mL=0.005, max_beats=40))
    return {
        name: (circuit, jax.tree.map(lambda x, k=k: x[..., k : k + 1], found))
        for k, (name, circuit) in enumerate(circuits.items())
    }


@pytest.mark.parametrize("name", ["median", "septum"])
def test_a_beat_is_that_of_scipy(name: str, cases: dict[str, tuple[Circuit, Settled]]) -> None:
    circuit, found = cases[name]
    other = scipy_beat(circuit, ring(found.state.volume), ring(found.state.flow))
    assert other.success
    time = (np.arange(512) + 0.5) / 512 * float(circuit.period[0])
    assert np.abs(np.asarray(found.beat.volume)[..., 0] - other.sol(time)[:8].T).max() < 0.05  # [mL]


def test_the_same_circuit_is_that_of_svzerod(cases: dict[str, tuple[Circuit, Settled]]) -> None:
    svzerod = pytest.importorskip("svzerod", reason="svzerod is not installed: pip install 'pulsebayes[bench]'")
    circuit, found = cases["simple"]
    table = svzerod.simulate(svzerod_case(circuit, ring(found.state.volume), cycles=12, points=500))
    time = (np.arange(512) + 0.5) / 512 * float(circuit.period[0])

    def theirs(name: str) -> np.ndarray:
        rows = table[table["name"] == name]
        return np.interp(time, rows["time"] - rows["time"].iloc[0], rows["y"])

    for number, name in ((0, "LA"), (1, "LV"), (4, "RA"), (5, "RV")):
        assert np.abs(found.beat.volume[:, number, 0] - theirs(f"Vc:{name}")).max() < 0.1  # [mL]
    for number, name in ((1, "LV:aortic"), (2, "aortic:SA"), (3, "J2:SV"), (6, "pulmonic:PA"), (7, "J6:PV")):
        assert np.abs(found.beat.pressure[:, number, 0] - theirs(f"pressure:{name}")).max() < 0.1  # [mmHg]


def test_a_fuller_right_ventricle_presses_on_the_left(cases: dict[str, tuple[Circuit, Settled]]) -> None:
    circuit, found = cases["septum"]
    volume = jnp.asarray(found.state.volume)

    def pressed(septum: float) -> np.ndarray:
        own = circuit._replace(septum=0 * circuit.septum + septum)
        elastance = circuit.passive
        more = [pressures(own, elastance, volume.at[1, k].add(20.0)) for k in (0, 2)]
        rest = pressures(own, elastance, volume)
        return np.array([float((more[1] - rest)[1, 0, 0]), float((more[0] - rest)[1, 2, 0])])

    assert pressed(0.0).tolist() == [0.0, 0.0]
    on_left, on_right = pressed(1 / 10.0)
    assert on_left > 0.001 and on_left == pytest.approx(on_right, rel=0.05)  # no work is made by going round
    assert (pressed(1.0) > 5 * on_left).all()  # the softer the septum the more
