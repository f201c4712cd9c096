r"""The loop drives the non-linear network directly: limits of closed form, order two, no blood lost, load and heart."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from pulsebayes.simulators.closed_loop.circuit import Circuit
from pulsebayes.simulators.closed_loop.driving import Beaten, arterial_volume, drive_network
from pulsebayes.simulators.closed_loop.nonlinear import Coupled, NonlinearHeartNetwork, make_ring
from pulsebayes.simulators.closed_loop.periodic import Settled, settle
from pulsebayes.simulators.closed_loop.simulator import UNITS
from pulsebayes.simulators.network.model import InflowWave, NetworkModel, Outlet, Vessel
from pulsebayes.simulators.network.nonlinear.grid import Grid, Physics, Probe, make_grid
from pulsebayes.simulators.network.nonlinear.heart import VOLUME, Ring
from pulsebayes.simulators.network.nonlinear.packing import heart_cycle
from pulsebayes.simulators.network.nonlinear.physics import model_physics
from pulsebayes.simulators.network.nonlinear.scheme import State, initial_state
from pulsebayes.simulators.registry import Simulated
from pulsebayes.simulators.status import NOT_PERIODIC, OK

sys.path.insert(0, str(Path(__file__).parent))
from rivals import N_ROWS, median, ring

from pulsebayes.simulators.closed_loop.parameters import make_circuit

MMHG = 133.322
Case = tuple[Grid, Physics, State, Ring]


def vessels(kind: str, circuit: Circuit) -> NetworkModel:
    r"""A short, nearly rigid pipe, or an elastic fork, with the circuit's own windkessels."""
    zc, r2, c = float(circuit.root[0, 0]), float(circuit.resistance[0, 1, 0]), 1 / float(circuit.passive[0, 1, 0])
    still = InflowWave("a", np.linspace(0, float(circuit.period[0]), 5), np.zeros(5))
    if kind == "rigid":
        pipe = Vessel("pipe", "a", "b", 20.0, 15.0, 15.0, stiffness_kPa=(0.0, 1400.0))
        return NetworkModel("pipe", (pipe,), (Outlet("b", zc, r2, c),), still, viscosity=0.0)
    parts = (
        Vessel("parent", "a", "b", 200.0, 12.0, 11.0, stiffness_kPa=(0.0, 60.0)),
        Vessel("left", "b", "c", 300.0, 8.0, 7.0, stiffness_kPa=(0.0, 90.0)),
        Vessel("right", "b", "d", 300.0, 8.0, 7.0, stiffness_kPa=(0.0, 90.0)),
    )
    outlets = tuple(Outlet(node, 2 * zc, 2 * r2, c / 4) for node in "cd")
    return NetworkModel("fork", parts, outlets, still, viscosity=0.004)


@pytest.fixture(scope="module")
def loop_beat() -> tuple[Circuit, Settled]:
    r"""The median adult, with the pipe's inertance at the aortic valve."""
    one = make_circuit(median())
    pipe = 1060.0 * 0.02 / (np.pi * 0.015**2) / (MMHG * 1e6)
    one = one._replace(inertance=one.inertance.at[1, 0].add(pipe))
    found = settle(
        jax.tree.map(lambda x: np.repeat(np.asarray(x), N_ROWS, axis=-1), one), n_steps=512, tolerance_mL=0.005,
        max_beats=40,
    )  # fmt: skip
    return one, jax.tree.map(lambda x: np.asarray(x)[..., :1], found)


def case(kind: str, circuit: Circuit, found: Settled, *, dx_mm: float) -> Case:
    r"""A network at rest at the pressure of the circuit's arteries."""
    model = vessels(kind, circuit)
    grid = make_grid(model, dx_mm=dx_mm)
    physics = model_physics(model, grid)
    physics = physics._replace(drain=0 * physics.drain - 1e5)  # the veins never close
    level = float(circuit.passive[0, 1, 0]) * ring(found.state.volume)[2] * MMHG
    state = initial_state(grid, physics, np.full(1, level), np.full((len(model.outlets), 1), level))
    state = State(*map(np.asarray, state))
    own = circuit if kind == "fork" else circuit._replace(inertance=make_circuit(median()).inertance)
    heart = make_ring(own, physics, found.state.volume, found.state.middle)
    heart.state[VOLUME, 2] = arterial_volume(grid, physics, state)
    return grid, physics, state, heart


def test_before_a_rigid_pipe_the_loop_is_the_loop(loop_beat: tuple[Circuit, Settled]) -> None:
    circuit, found = loop_beat
    grid, physics, state, heart = case("rigid", circuit, found, dx_mm=10.0)
    probes = grid.interpolation([Probe(0, 0.0)])
    after, waves, _, trace = heart_cycle(grid, physics, state, heart, probes, n_steps=8192, n_samples=512)
    assert after.cfl[0] < 0.95
    middle = 0.5 * (trace.volume[1:] + trace.volume[:-1])[..., 0] * 1e6
    apart = np.abs(middle - np.asarray(found.beat.volume)[..., 0])
    assert np.delete(apart, 2, axis=1).max() < 0.1  # [mL] in every compartment of the ring
    flow = 0.5 * (trace.flow[1:] + trace.flow[:-1])[:, 1, 0] * 1e6
    theirs = np.asarray(found.beat.flow)[:, 1, 0]
    assert flow.mean() == pytest.approx(theirs.mean(), rel=1e-3)
    root = 0.5 * (waves.pressure[1:] + waves.pressure[:-1])[:, 0, 0] / MMHG
    expected = np.asarray(found.beat.pressure)[:, 2, 0] + float(circuit.root[0, 0]) * theirs
    gentle = (np.abs(np.gradient(theirs)) < 4.0) & (theirs != 0)  # elsewhere the pipe's inertance has its share
    assert np.abs(root - expected)[gentle].max() < 1.0


def test_no_blood_is_lost_at_the_inlet(loop_beat: tuple[Circuit, Settled]) -> None:
    grid, physics, state, heart = case("fork", *loop_beat, dx_mm=50.0)
    before = arterial_volume(grid, physics, state)
    held = heart.state[VOLUME].sum(0)
    after, waves, moved, trace = heart_cycle(
        grid, physics, state, heart, grid.interpolation([Probe(0, 0.0)]), n_steps=2048, n_samples=512
    )
    gained = arterial_volume(grid, physics, after) - before
    assert float(trace.flow[:, 1].max()) > 3e-4  # the valve opened: what went in is far more than what may be missed
    assert float(np.abs(gained - (moved.state[VOLUME, 2] - heart.state[VOLUME, 2])).max()) < 1e-9 * float(held[0])
    assert moved.state[VOLUME].sum(0) == pytest.approx(held, rel=1e-12)
    # what the valve lets pass is what enters the root, at every sample
    np.testing.assert_allclose(waves.flow[:, 0, 0], trace.flow[:, 1, 0], atol=2e-6)


def test_the_order_is_two(loop_beat: tuple[Circuit, Settled]) -> None:
    def run(refined: int) -> tuple[np.ndarray, np.ndarray]:
        grid, physics, state, heart = case("fork", *loop_beat, dx_mm=50.0 / refined)
        probes = grid.interpolation([Probe(0, 0.0)])
        after, waves, moved, _ = heart_cycle(grid, physics, state, heart, probes, n_steps=384 * refined, n_samples=64)
        assert after.cfl[0] < 0.95
        return 1e6 * moved.state[VOLUME, :, 0], waves.pressure[:, 0, 0] / MMHG

    steps = (2, 4, 8)
    volume, pressure = run(32)
    errors = np.array([[np.abs(v - volume).max(), np.abs(p - pressure).mean()] for v, p in map(run, steps)])
    slopes = -np.polyfit(np.log2(steps), np.log2(errors), 1)[0]
    assert (slopes > 1.6).all(), slopes  # volumes gain even more: 3.4 here
    assert errors[-1, 0] < 0.001 and errors[-1, 1] < 0.02


def test_beats_end_where_nothing_changes(loop_beat: tuple[Circuit, Settled]) -> None:
    grid, physics, state, heart = case("fork", *loop_beat, dx_mm=100.0)
    options: Any = {"n_steps": 1024, "n_samples": 128, "tolerance_mmHg": 0.01, "max_beats": 40}
    probes = grid.interpolation([Probe(0, 0.0)])
    fast: Beaten = drive_network(grid, physics, state, heart, probes, tolerance_mL=0.01, **options)
    assert int(fast.beats[0]) <= 20 and not fast.failed[0] and abs(float(fast.lost[0])) < 1e-11  # [m3] of 1e-3
    plain = heart
    for _ in range(60):
        state, waves, plain, _ = heart_cycle(grid, physics, state, plain, probes, n_steps=fast.steps, n_samples=128)
    assert np.abs(plain.state - fast.ring.state)[VOLUME].max() < 0.1e-6  # [m3]
    assert np.abs(waves.pressure - fast.waves.pressure).max() < 0.1 * MMHG


@pytest.fixture(scope="module")
def simulator() -> NonlinearHeartNetwork:
    return NonlinearHeartNetwork(
        beat="periodic", sites=("AorticRoot", "Radial", "LV", "AorticRoot:flow"), dx_mm=60.0, precision="float32"
    )


@pytest.fixture(scope="module")
def theta(simulator: NonlinearHeartNetwork) -> np.ndarray:
    r"""The median; more resistance; stiffer arteries; a weak heart; draws of the prior."""
    q = np.random.default_rng(2).random((16, simulator.space.dim))
    q[:4] = 0.5
    rows = simulator.space.sample_quantiles(q)
    for row, name, value in ((1, "mean_pressure", 120.0), (2, "wave_speed_deviation", 2.5), (3, "lv_elastance", 1.0)):
        rows[row, simulator.space.index(name)] = value
    return np.asarray(rows)


@pytest.fixture(scope="module")
def simulated(simulator: NonlinearHeartNetwork, theta: np.ndarray) -> Simulated:
    return simulator.simulate(theta, 0)


def test_load_and_heart_hang_together(simulated: Simulated) -> None:
    assert (simulated.status == OK).mean() > 0.8
    adults = [dict(zip(UNITS, row, strict=False)) for row in simulated.quantities.tolist()]
    rest, loaded, stiff, weak = adults[:4]
    usual = {"SV": (60, 90), "MAP": (80, 105), "SBP": (100, 135), "DBP": (60, 85), "EF": (50, 65), "LVET": (250, 330)}
    assert {name: rest[name] for name, (low, high) in usual.items() if not low <= rest[name] <= high} == {}
    assert loaded["MAP"] > rest["MAP"] + 5 and loaded["SV"] < rest["SV"] - 2 and loaded["LVET"] < rest["LVET"]
    assert stiff["SBP"] - stiff["DBP"] > rest["SBP"] - rest["DBP"] + 15 and stiff["EDV"] > rest["EDV"]
    assert weak["SV"] < rest["SV"] - 8 and weak["ESV"] > rest["ESV"] + 15 and weak["EF"] < rest["EF"]
    root, radial, ventricle, flow = simulated.waves[0].astype(float)
    assert np.ptp(radial) > np.ptp(root) and radial.mean() < root.mean()
    assert flow.min() >= 0 and np.abs(ventricle - root)[flow > 50].mean() < 12.0


@pytest.mark.slow
def test_small_waves_are_those_of_the_linear_network(monkeypatch: pytest.MonkeyPatch, theta: np.ndarray) -> None:
    r"""A thousandth of all volumes, walls at rest without pressure, no Bernoulli: only valves are not linear."""
    from pulsebayes.simulators.closed_loop import network, nonlinear

    share = 1e-3

    def linear_circuit(values: Any, *, closing: Any) -> Circuit:
        return make_circuit(values)._replace(quadratic=0 * make_circuit(values).quadratic)

    def small_circuit(values: Any, *, closing: Any) -> Circuit:
        found = linear_circuit(values, closing=closing)
        return found._replace(rest=share * found.rest, total=share * found.total)

    def small_physics(*args: Any, **options: Any) -> Any:
        found, guess = true(*args, **options)
        return found._replace(external=0 * found.external, drain=0 * found.drain - 1e5), guess

    true = nonlinear.adult_physics
    monkeypatch.setattr(network, "make_circuit", linear_circuit)
    monkeypatch.setattr(nonlinear, "make_circuit", small_circuit)
    monkeypatch.setattr(nonlinear, "adult_physics", small_physics)
    sites = ("AorticRoot", "Radial")
    linear = network.HeartNetwork(sites=sites, n_harmonics=64).solve(theta[:3])
    small = NonlinearHeartNetwork(
        sites=sites, tolerance_mL=0.02 * share, tolerance_mmHg=0.02 * share, dx_mm=10.0
    ).solve(theta[:3])
    place = (np.arange(512) + 0.5) / 512 * 512
    for row in range(3):
        theirs = np.asarray(linear.found.beat.flow)[:, 1, row].mean()
        assert small.beat.flow[:, 1, row].mean() / share == pytest.approx(theirs, rel=0.01)
        for site in range(2):
            wave = np.interp(
                place, np.arange(513), np.append(small.pressure[:, site, row], small.pressure[0, site, row])
            )
            expected = np.asarray(linear.pressure())[:, site, row]
            apart = np.sqrt(np.mean((wave / share - expected) ** 2))
            assert apart < 0.03 * np.ptp(expected), (row, site, apart, np.ptp(expected))


@pytest.mark.slow
def test_adults_are_near_those_of_the_linear_network(simulated: Simulated, theta: np.ndarray) -> None:
    from pulsebayes.simulators.closed_loop.network import HeartNetwork

    linear = HeartNetwork(beat="periodic", sites=("AorticRoot", "Radial", "LV", "AorticRoot:flow")).simulate(theta, 0)
    both = (simulated.status == OK) & (linear.status == OK)
    apart = dict(zip(UNITS, np.abs(simulated.quantities - linear.quantities)[both].T, strict=False))
    assert np.median(apart["SV"]) < 1.5 and np.median(apart["MAP"]) < 2.0 and np.median(apart["LVET"]) < 8.0


def test_a_row_that_needs_more_beats_says_so(theta: np.ndarray) -> None:
    hurried = NonlinearHeartNetwork(
        beat="periodic", sites=("AorticRoot", "Radial", "LV", "AorticRoot:flow"), dx_mm=60.0, precision="float32",
        max_beats=1,
    )  # fmt: skip
    status = hurried.simulate(theta, 0).status  # a first beat may need smaller steps than it got
    assert (status != OK).all() and (status == NOT_PERIODIC).mean() > 0.9


def test_bad_input_is_told() -> None:
    with pytest.raises(ValueError, match=r"a site must be an artery .* got 'Wrist'"):
        NonlinearHeartNetwork(sites=("Wrist",))
    with pytest.raises(ValueError, match="n_samples_beat must be 64, 128, 256, 512 or 1024, got 100"):
        NonlinearHeartNetwork(n_samples_beat=100)
    with pytest.raises(ValueError, match="dx_mm must be positive, got 0"):
        NonlinearHeartNetwork(dx_mm=0.0)
    with pytest.raises(ValueError, match=r"theta must have shape \(N, 35\), got \(2, 3\)"):
        NonlinearHeartNetwork().simulate(np.ones((2, 3)), 0)
    assert Coupled._fields[0] == "circuit"
