r"""The non-linear network: converged simulations per core, beside one-at-a-time JAX, plain periods and svzerod.

Times are processor seconds of one thread, so that a busy machine does not matter; every rival runs in the same process.
A simulation of `adan56` is converged when the bound of its remaining error is under .1 mmHg. Figures of openBF and
jaxFlowSim are quoted: measured on one core of a 2.6 GHz server, not here.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from .rows import Row, run

OURS = "pulsebayes kernel float32"
FLOPS = 120.0  # arithmetic of one cell in one step, counted from the scheme
QUOTED = "quoted: one core, 2.6 GHz server"


def _seconds(work: Callable[[], Any], repeats: int = 3) -> tuple[float, float, Any]:
    """Shortest processor time and spread [s], and the last result."""
    times, found = [], None
    for _ in range(repeats):
        begun = time.process_time()
        found = work()
        times.append(time.process_time() - begun)
    return min(times), max(times) - min(times), found


def _batch(name: str, size: int, *, dx_mm: float = 10.0, dtype: str = "float32") -> tuple[Any, Any, Any]:
    """A network with varied inflow and stiffness: grid, numbers, probes at the root."""
    import dataclasses

    from pulsebayes.simulators.network.files import load_network
    from pulsebayes.simulators.network.nonlinear import Physics, Probe, make_grid, model_physics
    from pulsebayes.simulators.network.nonlinear.physics import stack_physics

    model = load_network(name)
    elastic = tuple(dataclasses.replace(v, wall_viscosity=(0.0, 0.0)) for v in model.vessels)
    model = dataclasses.replace(model, vessels=elastic)
    grid = make_grid(model, dx_mm=dx_mm)
    physics = stack_physics([model_physics(model, grid)] * size)
    rng = np.random.default_rng(0)
    stiffer = rng.uniform(0.85, 1.15, size)
    physics = physics._replace(
        inflow=physics.inflow * rng.uniform(0.8, 1.2, size), beta=physics.beta * stiffer,
        face_beta=physics.face_beta * stiffer,
    )  # fmt: skip
    return grid, Physics(*(a.astype(dtype) for a in physics)), grid.interpolation([Probe(0, 0.0)])


def _solve(parts: tuple[Any, Any, Any], **settings: Any) -> Any:
    from pulsebayes.simulators.network.nonlinear import PeriodicSettings, solve_periodic

    return solve_periodic(*parts, PeriodicSettings(0.1, **{"n_samples": 50, **settings}))


def converged(quick: bool) -> Iterator[Row]:
    """Time of one converged simulation by batch size, and what it is made of."""
    for size in (16, 64) if quick else (1, 16, 64, 256):
        parts = _batch("adan56", size)
        _solve(_batch("adan56", 1))
        seconds, spread, found = _seconds(lambda parts=parts: _solve(parts), 2 if quick else 3)  # type: ignore[misc]
        setting = f"adan56, 10 mm, batch {size}"
        yield Row("converged", OURS, setting, "time per simulation [ms]", 1e3 * seconds / size, 1e3 * spread / size)
        yield Row("converged", OURS, setting, "simulations [1/s per core]", size / seconds)
        yield Row("converged", OURS, setting, "periods, mean, coarse ones among them", float(found.cycles.mean()))
        updates = _updates(parts)
        yield Row("converged", OURS, setting, "cell updates [1/us per core]", 1e-6 * updates / seconds)
        yield Row("converged", OURS, setting, "share of the arithmetic floor", updates * FLOPS / _peak() / seconds)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield Row("converged", OURS, "whole process", "memory [MB]", float(memory))
    yield Row("converged", "openBF 2.8", f"adan56, 1 mm; {QUOTED}", "time per simulation [ms]", 20600.0)
    yield Row("converged", "jaxFlowSim", f"adan56; {QUOTED}", "time per simulation [ms]", 46000.0)


def _updates(parts: tuple[Any, Any, Any]) -> float:
    """Cell updates of a solve, those of coarse periods among them, those of idle lanes not."""
    from unittest.mock import patch

    from pulsebayes.simulators.network.nonlinear import packing

    total = 0.0

    def counted(grid: Any, physics: Any, *args: Any, **options: Any) -> Any:
        nonlocal total
        total += grid.n_cells * options["n_steps"] * physics.period.shape[-1]
        return true(grid, physics, *args, **options)

    true = packing.kernel_cycle
    with patch.object(packing, "kernel_cycle", counted):
        _solve(parts)
    return total


def _peak() -> float:
    """Single-precision multiply-adds of one core, twice, per second: eight independent chains of vectors."""
    import numba

    @numba.njit(fastmath=True)  # type: ignore[untyped-decorator]
    def chains(x: Any, n: int) -> Any:
        a, b = np.float32(0.999), np.float32(0.001)
        for _ in range(n):
            for i in range(128):
                x[i] = x[i] * a + b
        return x

    x = np.ones(128, np.float32)
    chains(x, 10)
    begun = time.process_time()
    chains(x, 400_000)
    return 2 * 128 * 400_000 / (time.process_time() - begun)


def networks(quick: bool) -> Iterator[Row]:
    """How time grows with the network and with the grid."""
    for name in (
        ("aortic-bifurcation", "adan56") if quick else ("common-carotid", "aortic-bifurcation", "adan56", "adult116")
    ):
        parts = _batch(name, 16)
        _solve(parts)
        seconds, spread, _ = _seconds(lambda parts=parts: _solve(parts), 2)  # type: ignore[misc]
        setting = f"{name}, {parts[0].n_cells} cells, batch 16"
        yield Row("networks", OURS, setting, "time per simulation [ms]", 1e3 * seconds / 16, 1e3 * spread / 16)
    for dx in () if quick else (20.0, 5.0):
        parts = _batch("adan56", 16, dx_mm=dx)
        seconds, spread, _ = _seconds(lambda parts=parts: _solve(parts), 2)  # type: ignore[misc]
        yield Row("networks", OURS, f"adan56, {dx:g} mm, batch 16", "time per simulation [ms]", 1e3 * seconds / 16)


def rivals(quick: bool) -> Iterator[Row]:
    """The same scheme in plain JAX, one at a time and batched, and periods without correction."""
    from unittest.mock import patch

    from pulsebayes.simulators.network.nonlinear import periodic
    from pulsebayes.simulators.network.nonlinear.compartments import Compartments

    for size in (1,) if quick else (1, 16, 64):
        parts = _batch("adan56", size)
        work = lambda parts=parts, size=size: _solve(parts, engine="jax", block=size)  # noqa: E731
        work()
        seconds, spread, _ = _seconds(work, 1 if quick else 2)
        method = "same scheme, JAX, one at a time" if size == 1 else "same scheme, JAX"
        setting = f"adan56, 10 mm, batch {size}"
        yield Row("rivals", method, setting, "time per simulation [ms]", 1e3 * seconds / size, 1e3 * spread / size)
    parts = _batch("adan56", 16)
    for method, correct in (("no coarse start", Compartments.correct), ("plain periods", lambda self, x: 0 * x)):
        with patch.object(periodic, "_MOST_COARSE", 0), patch.object(Compartments, "correct", correct):
            seconds, _, found = _seconds(lambda: _solve(parts), 2)
        setting = "adan56, 10 mm, batch 16"
        yield Row("rivals", f"kernel, {method}", setting, "time per simulation [ms]", 1e3 * seconds / 16)
        yield Row("rivals", f"kernel, {method}", setting, "periods, mean", float(found.cycles.mean()))


def population(quick: bool) -> Iterator[Row]:
    """Simulations an hour on two cores and the share that reaches a periodic state, clinical population."""
    from pulsebayes.simulators.network.nonlinear import NonlinearNetwork
    from pulsebayes.simulators.status import count_status, usable

    for beat, n in (("periodic", 64), ("aperiodic", 16)) if quick else (("periodic", 1024), ("aperiodic", 128)):
        simulator = NonlinearNetwork(beat=beat, sites=("Radial",))
        theta = simulator.space.sample(np.random.default_rng(1), n)
        simulator.simulate(theta[: n // 4], 0)
        seconds, _, found = _seconds(lambda s=simulator, t=theta: s.simulate(t, 1), 1)  # type: ignore[misc]
        setting = f"116 segments, viscous, clinical, {beat}, {n} rows"
        yield Row("population", OURS, setting, "simulations in an hour on two cores", 7200.0 * n / seconds)
        yield Row("population", OURS, setting, "periodic and usable [%]", 100 * float(usable(found.status).mean()))
        yield Row("population", OURS, setting, "status", str(count_status(found.status)))


def windkessels(quick: bool) -> Iterator[Row]:
    """Three elements to a periodic state, against svzerod."""
    from pulsebayes.simulators.windkessels import ElementWindkessel

    n = 1024 if quick else 8192
    simulator = ElementWindkessel(3, duration_s=0.8)
    theta = simulator.space.sample(np.random.default_rng(0), n)
    simulator.simulate(theta, 0)
    seconds, _, _ = _seconds(lambda: simulator.simulate(theta, 0))
    yield Row("windkessel3", "pulsebayes, Diffrax", f"batch {n}", "simulations [1/s per core]", n / seconds)
    try:
        import svzerod
    except ImportError:
        yield Row("windkessel3", "svzerod", "one at a time", "simulations [1/s per core]", "not installed")
        return
    time_s = np.linspace(0.0, 0.8, 101)
    flow = np.where(time_s < 0.3, np.sin(np.pi * time_s / 0.3), 0.0) * 70 * np.pi / 0.6
    model = _rcr(theta[0], time_s, flow)
    count = 10 if quick else 50
    seconds, _, _ = _seconds(lambda: [svzerod.simulate(model) for _ in range(count)])
    try:
        name = f"svzerod {version('svzerod')}"
    except PackageNotFoundError:
        name = "svzerod"
    setting = "one at a time, 10 cycles of 100 points"
    yield Row("windkessel3", name, setting, "simulations [1/s per core]", count / seconds)


def _rcr(theta: np.ndarray, time_s: np.ndarray, flow: np.ndarray) -> dict[str, Any]:
    return {
        "simulation_parameters": {
            "number_of_cardiac_cycles": 10, "number_of_time_pts_per_cardiac_cycle": len(time_s),
            "output_all_cycles": False, "steady_initial": False,
        },
        "boundary_conditions": [
            {"bc_name": "IN", "bc_type": "FLOW", "bc_values": {"Q": flow.tolist(), "t": time_s.tolist()}},
            {"bc_name": "OUT", "bc_type": "RCR", "bc_values": {
                "Rp": float(theta[2]), "C": float(theta[1]), "Rd": float(theta[0]), "Pd": 5.0}},
        ],
        "junctions": [],
        "vessels": [{
            "boundary_conditions": {"inlet": "IN", "outlet": "OUT"}, "vessel_id": 0, "vessel_length": 1.0,
            "vessel_name": "branch0_seg0", "zero_d_element_type": "BloodVessel",
            "zero_d_element_values": {"R_poiseuille": 0.0},
        }],
    }  # fmt: skip


if __name__ == "__main__":
    run(
        "haemodynamics",
        {
            "converged": converged, "networks": networks, "rivals": rivals, "population": population,
            "windkessels": windkessels,
        },
    )  # fmt: skip
