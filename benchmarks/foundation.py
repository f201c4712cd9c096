r"""How fast is the foundation: the network simulator against a dense solve, and `infer` in parts beside sbi.

Run as `python -m benchmarks.foundation [--quick] [--json] [--out DIR]`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .rows import Row, run

CASES = {
    "periodic beat, healthy, 81 lines": {"population": "healthy", "beat": "periodic", "n_frequencies": 81},
    "8 s window, clinical, 256 lines": {"population": "clinical", "beat": "aperiodic", "n_frequencies": 256},
}


def _best(work: Callable[[], Any], repeats: int = 3) -> tuple[float, float, Any]:
    """Shortest time, spread of times [s] and last result."""
    times, result = [], None
    for _ in range(repeats):
        begun = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - begun)
    return min(times), max(times) - min(times), result


def simulate(quick: bool) -> Iterator[Row]:
    """Simulations per second through `make_training_set` with two workers, inflow and sampling included."""
    from pulsebayes.simulators.dataset import make_training_set

    for setting, config in CASES.items():
        n = 2048 if quick else 8192
        with tempfile.TemporaryDirectory() as folder:
            spec = ("linear-network", {**config, "sites": ["Radial"]})
            report = make_training_set(spec, n, Path(folder) / "set.zarr", workers=2, shard_size=512)
        yield Row("simulate", "pulsebayes, 2 workers", setting, "simulations [1/s]", report.rate)
        yield Row("simulate", "pulsebayes, 2 workers", setting, "compilation [s]", report.compile_seconds)


def dense(quick: bool) -> Iterator[Row]:
    """The same nodal systems by star-mesh elimination and by a dense solve a line; the rest of the work is shared."""
    for setting, config in CASES.items():
        yield from _dense_case(setting, config, 8 if quick else 32)


def _dense_case(setting: str, config: dict[str, Any], n: int) -> Iterator[Row]:
    import jax
    import jax.numpy as jnp

    from pulsebayes.simulators.network.elimination import solve_nodes

    plan, nodes, systems = _systems(config, n)
    star = jax.jit(lambda e, s, c: solve_nodes(plan, e, s, c, nodes))
    jax.block_until_ready(star(*systems))
    fast, spread, pressure = _best(lambda: jax.block_until_ready(star(*systems)))
    matrix, right = _matrices(plan, *(np.asarray(a, np.complex128) for a in systems))
    rivals = {
        f"numpy {np.__version__} dense complex128": lambda: np.linalg.solve(matrix, right[..., None]),
        f"jax {jax.__version__} dense complex64": _jax_dense(jnp, jax, matrix, right),
    }
    yield Row("nodal solve", "pulsebayes star-mesh complex64", setting, "solves [1/s]", n / fast, n * spread / fast**2)
    for method, work in rivals.items():
        seconds, more, answer = _best(work, 1)
        exact = np.moveaxis(np.asarray(answer)[..., 0], 1, 2)[:, list(nodes)]
        yield Row("nodal solve", method, setting, "solves [1/s]", n / seconds, more)
        yield Row("nodal solve", "pulsebayes", setting, f"times faster than {method}", seconds / fast)
        if "complex128" in method:
            error = np.abs(np.asarray(pressure) - exact) / np.abs(exact).max(-1, keepdims=True)
            yield Row("nodal solve", "pulsebayes star-mesh complex64", setting, "largest error", float(error.max()))


def _jax_dense(jnp: Any, jax: Any, matrix: np.ndarray, right: np.ndarray) -> Callable[[], Any]:
    a, b = jnp.asarray(matrix, jnp.complex64), jnp.asarray(right[..., None], jnp.complex64)
    solve = jax.jit(jnp.linalg.solve)
    jax.block_until_ready(solve(a[:1], b[:1]))
    return lambda: jax.block_until_ready(solve(a, b))


def _systems(config: dict[str, Any], n: int) -> tuple[Any, tuple[int, ...], tuple[Any, ...]]:
    """Branches, shunts and currents of random adults at the harmonics that the setting solves."""
    import jax
    import jax.numpy as jnp

    from pulsebayes.simulators.network import LinearNetwork, adult_network, make_outlets, make_tubes
    from pulsebayes.simulators.network.elimination import assemble, plan_elimination
    from pulsebayes.simulators.network.outlets import outlet_admittance
    from pulsebayes.simulators.network.transmission import chain_pieces, cut_segments, element_series

    simulator = LinearNetwork(**config, sites=("Radial",))
    theta = simulator.space.sample(np.random.default_rng(0), n)
    adults, _ = simulator.subjects(jnp.asarray(theta, jnp.float32))
    period = 60.0 / adults.heart_rate if config["beat"] == "periodic" else jnp.full(n, 8.5)
    omega = 2 * jnp.pi * jnp.arange(config["n_frequencies"]) / period[:, None]
    pieces = cut_segments(adult_network(), {})
    nodes = (0, int(adult_network().outlet[21]))
    plan = plan_elimination(pieces.inlet, pieces.outlet, nodes)
    tubes = make_tubes(adults)
    series = element_series(tubes, pieces, omega)
    edges, shunts = jax.lax.map(
        lambda e: assemble(plan, chain_pieces(e, pieces), pieces.inlet, pieces.outlet), series
    )
    admittance, _ = outlet_admittance(make_outlets(adults, tubes), omega, 0j * omega)
    ends = adult_network().outlet[adult_network().terminals]
    shunts = shunts.at[:, ends].add(jnp.moveaxis(admittance, 0, 1))
    currents = jnp.zeros_like(shunts).at[:, 0].set(1.0)
    return plan, nodes, (edges, shunts, currents)


def _matrices(plan: Any, edges: np.ndarray, shunts: np.ndarray, currents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodal admittance matrices (B, F, N, N) and right-hand sides (B, F, N) of the same systems."""
    from pulsebayes.simulators.network.geometry import adult_network

    network, n = adult_network(), plan.n_nodes
    pairs = {frozenset(p) for p in zip(network.inlet.tolist(), network.outlet.tolist(), strict=True)}
    of = {frozenset((int(i), int(j))): e for i, j, e in _edge_ends(plan)}
    matrix = np.zeros((len(edges), edges.shape[2], n, n), np.complex128)
    for pair in pairs:
        i, j = sorted(pair)
        y = edges[:, of[pair]]
        matrix[..., i, j] -= y
        matrix[..., j, i] -= y
        matrix[..., i, i] += y
        matrix[..., j, j] += y
    matrix[..., np.arange(n), np.arange(n)] += np.moveaxis(shunts[:, :n], 1, 2)
    return matrix, np.moveaxis(currents[:, :n], 1, 2)


def _edge_ends(plan: Any) -> Iterator[tuple[int, int, int]]:
    from pulsebayes.simulators.network.geometry import adult_network
    from pulsebayes.simulators.network.transmission import cut_segments

    pieces = cut_segments(adult_network(), {})
    yield from zip(pieces.inlet, pieces.outlet, plan.piece_edge, strict=True)


def infer(quick: bool) -> Iterator[Row]:
    """Ten minutes of pressure, a window every 8 s, 2,000 draws each: the parts, the whole, and sbi's draws."""
    import torch

    from pulsebayes.inference import Bundle, find_bundle
    from pulsebayes.waveforms import read
    from pulsebayes.waveforms.windows import cut_windows

    torch.set_num_threads(1)
    setting = "75 windows, 2,000 draws, one thread"
    for module in ("numpy", "torch", "zuko", "pulsebayes.inference.answering"):
        code = f"import time; t=time.perf_counter(); import {module}; print(time.perf_counter()-t)"
        seconds = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
        yield Row("infer", "pulsebayes", module, "import [s]", seconds)
    with tempfile.TemporaryDirectory() as folder:
        file = _ten_minutes(Path(folder))
        load, _, bundle = _best(lambda: Bundle.load(find_bundle("radial-abp")))
        reading, _, recording = _best(lambda: read(file, fs=125.0, units={"ART": "mmHg"}))
        gating, _, windows = _best(lambda: [w for w in cut_windows(recording) if w.verdict.usable])
        x = torch.from_numpy(np.stack([w.values[0] for w in windows]).astype(np.float32))
        yield Row("infer", "pulsebayes", setting, "load the bundle [s]", load)
        yield Row("infer", "pulsebayes", setting, "read the file [s]", reading)
        yield Row("infer", "pulsebayes", setting, "windows and gate [s]", gating)
        yield from _domain(bundle, windows, setting)
        yield from _draws(bundle.npe, x, setting)
        command = [str(Path(sys.executable).with_name("pulsebayes")), "infer", str(file), "--fs", "125", "--unit", "ART=mmHg"]
        whole, spread, done = _best(
            lambda: subprocess.run([*command, "--out", f"{folder}/answers", "--force"], capture_output=True), 1 if quick else 3
        )
        if done.returncode:
            raise RuntimeError(done.stderr.decode())
        yield Row("infer", "pulsebayes", "75 windows, all cores, start-up and writing included", "all [s]", whole, spread)


def _ten_minutes(folder: Path) -> Path:
    """The shipped simulated patient, repeated beat-true enough for timing, as CSV."""
    from pulsebayes.simulators.network import LinearNetwork

    simulator = LinearNetwork(sites=("Radial",), duration_s=600.0)
    theta = simulator.space.sample_quantiles(np.full((1, simulator.space.dim), 0.5))
    wave = simulator.simulate(theta, seed=1).waves[0, 0]
    wave = wave + np.random.default_rng(0).normal(0, 0.3, len(wave))
    file = folder / "ten.csv"
    file.write_text("ABP [mmHg]\n" + "\n".join(f"{v:.2f}" for v in wave) + "\n")
    return file


def _domain(bundle: Any, windows: list[Any], setting: str) -> Iterator[Row]:
    from pulsebayes.inference.domain import DomainModel

    model = DomainModel.from_arrays(bundle.domain)
    seconds, spread, _ = _best(lambda: model.assess_many(np.stack([w.values[0] for w in windows])))
    yield Row("infer", "pulsebayes", setting, "domain verdict [s]", seconds, spread)


def _draws(npe: Any, x: Any, setting: str) -> Iterator[Row]:
    """Embedding, our draws and sbi's draws from the same trained flow and embedding."""
    import torch

    with torch.no_grad():
        embed, _, _ = _best(lambda: npe.embedding(x))
    ours, spread, _ = _best(lambda: npe.sample(x, 2000, torch.Generator().manual_seed(0)))
    yield Row("infer", "pulsebayes", setting, "embed [s]", embed)
    yield Row("infer", "pulsebayes", setting, "embed and sample [s]", ours, spread)
    try:
        from sbi.neural_nets.estimators import ZukoFlow
    except ImportError:
        yield Row("infer", "sbi", setting, "embed and sample [s]", "not installed")
        return
    rival = ZukoFlow(npe.flow, npe.embedding, input_shape=npe.z_mean.shape, condition_shape=x.shape[1:])
    with torch.no_grad():
        theirs, more, _ = _best(lambda: [rival.sample((2000,), condition=row[None]) for row in x], 1)
    method = f"sbi {metadata.version('sbi')} ZukoFlow, same weights"
    yield Row("infer", method, setting, "embed and sample [s]", theirs, more)
    yield Row("infer", "pulsebayes", setting, f"times faster than {method}", theirs / ours)


if __name__ == "__main__":
    run("foundation", {"simulate": simulate, "dense": dense, "infer": infer})
