r"""The network simulator: rate through `make_training_set`, beside dense solves of the same systems, and its accuracy.

Rivals solve the same nodal systems with a dense matrix a line, batched: NumPy in complex128, JAX in complex64. `whole`
puts them into the simulator itself, so that inflow, transmission lines and sampling are the same work; `nodal` times
the solve alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from .rows import Row, best, rate

PERIODIC = "periodic beat, healthy, 81 lines"
WINDOW = "8 s window, clinical, 256 lines"
CASES: dict[str, dict[str, Any]] = {
    WINDOW: {"population": "clinical", "beat": "aperiodic", "n_frequencies": 256},
    PERIODIC: {"population": "healthy", "beat": "periodic", "n_frequencies": 81},
}


def _cases(quick: bool) -> dict[str, dict[str, Any]]:
    return {name: CASES[name] for name in (CASES if not quick else (WINDOW,))}


def simulate(quick: bool) -> Iterator[Row]:
    """Simulations per second through `make_training_set` with two workers, inflow, sampling and writing included."""
    from pulsebayes.simulators.dataset import make_training_set

    n, repeats = (1024, 1) if quick else (8192, 3)
    for setting, config in _cases(quick).items():
        rates, compilations = [], []
        for seed in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                spec = ("linear-network", {**config, "sites": ["Radial"]})
                out = Path(folder) / "set.zarr"
                report = make_training_set(spec, n, out, seed=seed, workers=2, shard_size=256)
            rates.append(report.rate)
            compilations.append(report.compile_seconds)
        method = "pulsebayes, 2 workers"
        for measure, values in (("simulations [1/s]", rates), ("start-up and compilation [s]", compilations)):
            spread = float(np.ptp(values)) if repeats > 1 else None
            yield Row("simulate", method, setting, measure, float(np.median(values)), spread)


def whole(quick: bool) -> Iterator[Row]:
    """The whole simulator in one process, and with a dense solve for its elimination; the quick run skips it."""
    if quick:
        return
    for setting, config in CASES.items():
        ours = _simulator_rate(config, 256)
        yield Row("simulate in one process", "pulsebayes star-mesh complex64", setting, "simulations [1/s]", *ours)
        for method, solve in _rivals().items():
            theirs = _simulator_rate(config, 8, solve)
            yield Row("simulate in one process", method, setting, "simulations [1/s]", *theirs)
            yield Row(
                "simulate in one process", "pulsebayes", setting, f"times as fast as {method}", ours[0] / theirs[0]
            )


def _simulator_rate(config: dict[str, Any], n: int, solve: Callable[..., Any] | None = None) -> tuple[float, float]:
    """Simulations per second once compiled, and their spread; `solve` stands in for the elimination."""
    from pulsebayes.simulators.network import LinearNetwork, linear

    simulator = LinearNetwork(**config, sites=("Radial",))
    theta = simulator.space.sample(np.random.default_rng(0), n)
    with patch.object(linear, "solve_nodes", solve or linear.solve_nodes):
        simulator.simulate(theta, seed=0)
        seconds, spread, _ = best(lambda: simulator.simulate(theta, seed=0))
    return rate(n, seconds, spread)


def _rivals() -> dict[str, Callable[..., Any]]:
    import jax
    import jax.numpy as jnp

    def in_jax(matrix: Any, right: Any) -> Any:
        return jnp.linalg.solve(matrix, right[..., None])[..., 0]

    def in_numpy(matrix: Any, right: Any) -> Any:
        def call(a: Any, b: Any) -> Any:
            exact = np.linalg.solve(np.asarray(a, np.complex128), np.asarray(b, np.complex128)[..., None])
            return exact[..., 0].astype(np.complex64)

        return jax.pure_callback(call, jax.ShapeDtypeStruct(right.shape, right.dtype), matrix, right)

    return {
        f"numpy {np.__version__} dense complex128": partial(_dense_nodes, in_numpy),
        f"jax {jax.__version__} dense complex64": partial(_dense_nodes, in_jax),
    }


def _dense_nodes(
    solve: Callable[..., Any], plan: Any, edges: Any, shunts: Any, currents: Any, nodes: tuple[int, ...]
) -> Any:
    """What `solve_nodes` does, with a dense nodal matrix for every line."""
    import jax.numpy as jnp

    matrix, right = nodal_matrix(plan, edges, shunts, currents)
    return jnp.moveaxis(solve(matrix, right)[..., np.array(nodes)], 1, 2)


def nodal_matrix(plan: Any, edges: Any, shunts: Any, currents: Any) -> tuple[Any, Any]:
    """Nodal admittance matrices (B, F, N, N) and right-hand sides (B, F, N) of the systems that `solve_nodes` takes."""
    import jax.numpy as jnp

    from pulsebayes.simulators.network import adult_network

    network, n = adult_network(), plan.n_nodes
    if len(plan.piece_edge) != len(network.names):
        raise ValueError("the benchmark's sites must lie at nodes of the network")
    first = np.unique(plan.piece_edge, return_index=True)[1]  # one piece of every branch: parallel ones share it
    by_edge = {int(plan.piece_edge[p]): (p_in, p_out) for p, p_in, p_out in _pieces(plan) if p in first}
    i, j = np.array([by_edge[e] for e in range(plan.n_edges)]).T
    y = jnp.moveaxis(edges[:, : plan.n_edges], 1, 2)
    diagonal = np.arange(n)
    matrix = jnp.zeros((*y.shape[:2], n, n), y.dtype).at[..., i, j].add(-y).at[..., j, i].add(-y)
    matrix = matrix.at[..., i, i].add(y).at[..., j, j].add(y)
    matrix = matrix.at[..., diagonal, diagonal].add(jnp.moveaxis(shunts[:, :n], 1, 2))
    return matrix, jnp.moveaxis(currents[:, :n], 1, 2)


def _pieces(plan: Any) -> Iterator[tuple[int, int, int]]:
    """Number and ends of every piece; without interior sites a piece is a segment."""
    from pulsebayes.simulators.network import adult_network
    from pulsebayes.simulators.network.transmission import cut_segments

    pieces = cut_segments(adult_network(), {})
    yield from zip(range(len(plan.piece_edge)), pieces.inlet, pieces.outlet, strict=True)


def systems(config: dict[str, Any], n: int, dtype: str) -> tuple[Any, tuple[int, ...], tuple[Any, ...]]:
    """Branches, shunts and currents of random adults at the lines that the setting solves, unit flow at the root."""
    import jax
    import jax.numpy as jnp

    from pulsebayes.simulators.network import LinearNetwork, adult_network, make_outlets, make_tubes
    from pulsebayes.simulators.network.elimination import assemble, plan_elimination
    from pulsebayes.simulators.network.outlets import outlet_admittance
    from pulsebayes.simulators.network.transmission import chain_pieces, cut_segments, element_series

    simulator = LinearNetwork(**config, sites=("Radial",))
    theta = simulator.space.sample(np.random.default_rng(0), n)
    pieces = cut_segments(adult_network(), {})
    nodes = (0, int(adult_network().outlet[21]))
    plan = plan_elimination(pieces.inlet, pieces.outlet, nodes)

    @jax.jit
    def make(theta: Any) -> tuple[Any, ...]:
        adults, _ = simulator.subjects(theta)
        period = 60.0 / adults.heart_rate if config["beat"] == "periodic" else 8.5 * jnp.ones_like(adults.heart_rate)
        omega = 2 * jnp.pi * jnp.arange(config["n_frequencies"]) / period[:, None]
        tubes = make_tubes(adults)
        edges, shunts = jax.lax.map(
            lambda e: assemble(plan, chain_pieces(e, pieces), pieces.inlet, pieces.outlet),
            element_series(tubes, pieces, omega),
        )
        admittance, _ = outlet_admittance(make_outlets(adults, tubes), omega, 0j * omega)
        ends = adult_network().outlet[adult_network().terminals]
        shunts = shunts.at[:, ends].add(jnp.moveaxis(admittance, 0, 1))
        return edges, shunts, jnp.zeros_like(shunts).at[:, 0].set(1.0)

    return plan, nodes, make(jnp.asarray(theta, dtype))


def nodal(quick: bool) -> Iterator[Row]:
    """The solve alone: star-mesh elimination, and a dense solve of the same systems; matrices are built beforehand."""
    import jax
    import jax.numpy as jnp

    from pulsebayes.simulators.network.elimination import solve_nodes

    n = 8
    for setting, config in _cases(quick).items():
        plan, nodes, arrays = systems(config, n, "float32")
        star = jax.jit(partial(_star, solve_nodes, plan, nodes))
        jax.block_until_ready(star(*arrays))
        fast, spread, _ = best(lambda s=star, a=arrays: jax.block_until_ready(s(*a)))
        ours = rate(n, fast, spread)
        yield Row("nodal solve", "pulsebayes star-mesh complex64", setting, "adults [1/s]", *ours)
        matrix, right = jax.jit(partial(nodal_matrix, plan))(*arrays)
        inverse = jax.jit(jnp.linalg.solve)
        jax.block_until_ready(inverse(matrix, right[..., None]))
        exact = np.asarray(matrix, np.complex128), np.asarray(right[..., None], np.complex128)
        rivals: dict[str, Callable[[], Any]] = {
            f"numpy {np.__version__} dense complex128": lambda e=exact: np.linalg.solve(*e),
            f"jax {jax.__version__} dense complex64": lambda m=matrix, r=right, f=inverse: jax.block_until_ready(
                f(m, r[..., None])
            ),
        }
        for method, work in rivals.items():
            seconds, spread, _ = best(work, 1 if quick else 3)
            yield Row("nodal solve", method, setting, "adults [1/s]", *rate(n, seconds, spread))
            yield Row("nodal solve", "pulsebayes", setting, f"times as fast as {method}", seconds / fast)


def _star(solve: Callable[..., Any], plan: Any, nodes: tuple[int, ...], *arrays: Any) -> Any:
    return solve(plan, *arrays, nodes)


def accuracy(quick: bool) -> Iterator[Row]:
    """Single precision from parameters to pressure against double precision and a dense solve; skipped when quick."""
    if quick:
        return
    import jax

    from pulsebayes.simulators.network.elimination import solve_nodes

    for setting, config in CASES.items():
        plan, nodes, arrays = systems(config, 8, "float32")
        found = {
            "pulsebayes star-mesh complex64": np.asarray(jax.jit(partial(_star, solve_nodes, plan, nodes))(*arrays))
        }
        matrix, right = nodal_matrix(plan, *arrays)
        solved = np.asarray(jax.numpy.linalg.solve(matrix, right[..., None]))[..., list(nodes), 0]
        found[f"jax {jax.__version__} dense complex64"] = np.moveaxis(solved, 1, 2)
        jax.clear_caches()  # JAX mixes the index types of both precisions otherwise
        with jax.enable_x64(True):
            plan, nodes, arrays = systems(config, 8, "float64")
            matrix, right = (np.asarray(a) for a in nodal_matrix(plan, *arrays))
        jax.clear_caches()
        exact = np.moveaxis(np.linalg.solve(matrix, right[..., None])[..., list(nodes), 0], 1, 2)
        for method, pressure in found.items():
            scale = np.abs(exact).max(-1, keepdims=True)
            error = np.abs(pressure - exact) / scale
            measure = f"largest error against numpy {np.__version__} complex128, of the largest line"
            yield Row("accuracy", method, setting, measure, float(error.max()))
            line0 = (np.abs(pressure - exact) / np.abs(exact))[..., 0].max()
            yield Row("accuracy", method, setting, "relative error of the mean pressure", float(line0))
