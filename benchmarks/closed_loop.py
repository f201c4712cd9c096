r"""The closed loop: periodic circulations a second and core, beside plain beats, Diffrax, SciPy and svzerod.

Times are processor seconds of one thread; every rival runs in the same process. A circulation of ours is one draw of
the prior, periodic to .02 mL of every volume. Diffrax, svzerod and SciPy are timed on one beat of the same ring, whose
valves are resistances one way; the circuit as they take it stands with the tests.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from .rows import Row, run

OURS = "pulsebayes, midpoint rule, float32"


def _seconds(work: Callable[[], Any], repeats: int = 3) -> tuple[float, float]:
    """Shortest processor time and spread [s]."""
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return min(times), max(times) - min(times)


def periodic(quick: bool) -> Iterator[Row]:
    """Periodic circulations a second, and what acceleration saves."""
    from pulsebayes.simulators.closed_loop import ClosedLoop, HeartNetwork, NonlinearHeartNetwork
    from pulsebayes.simulators.status import count_status

    n = 256 if quick else 2048
    for steps in (512,) if quick else (256, 512, 1024):
        simulator = ClosedLoop(beat="periodic", n_steps=steps)
        theta = simulator.space.sample(np.random.default_rng(0), n)
        found = simulator.simulate(theta, 0)
        seconds, spread = _seconds(lambda s=simulator, t=theta: s.simulate(t, 0))  # type: ignore[misc]
        setting = f"prior, {steps} steps a beat, {n} rows"
        rate = n / seconds
        yield Row("periodic", OURS, setting, "circulations [1/s per core]", rate, rate - n / (seconds + spread))
        yield Row("periodic", OURS, setting, "status", str(count_status(found.status)))
    if quick:
        return
    network = HeartNetwork(beat="periodic")
    theta = network.space.sample(np.random.default_rng(0), 256)
    found = network.simulate(theta, 0)
    seconds, spread = _seconds(lambda: network.simulate(theta, 0))
    setting = "heart-network: the loop drives 116 segments, 256 rows"
    yield Row("periodic", OURS, setting, "circulations [1/s per core]", 256 / seconds)
    yield Row("periodic", OURS, setting, "status", str(count_status(found.status)))
    for precision in ("float64", "float32"):
        whole = NonlinearHeartNetwork(beat="periodic", precision=precision)
        theta = whole.space.sample(np.random.default_rng(0), 64)
        found = whole.simulate(theta, 0)
        seconds, spread = _seconds(lambda s=whole, t=theta: s.simulate(t, 0), 2)  # type: ignore[misc]
        setting = f"nonlinear-heart-network: 116 segments, cells of 20 mm, 64 rows, {precision}"
        yield Row("periodic", "pulsebayes, compiled kernel", setting, "circulations [1/s per core]", 64 / seconds)
        yield Row("periodic", "pulsebayes, compiled kernel", setting, "status", str(count_status(found.status)))


def beats(quick: bool) -> Iterator[Row]:
    """Beats until periodic, accelerated and plain."""
    import jax.numpy as jnp

    from pulsebayes.simulators.closed_loop import ADULT, heart_circuit, settle

    theta = jnp.asarray(ADULT.sample(np.random.default_rng(1), 256), jnp.float32)
    circuit = heart_circuit(theta, ADULT.names)
    for method, fast in (("accelerated", True), ("plain", False)):
        found = np.asarray(settle(circuit, n_steps=256, tolerance_mL=0.02, max_beats=200, accelerate=fast).beats)
        yield Row("beats", method, "256 draws of the prior", "beats, mean", float(found.mean()))
        yield Row("beats", method, "256 draws of the prior", "beats, most", float(found.max()))


def one_beat(quick: bool) -> Iterator[Row]:
    """Time of one beat of the same ring by each program."""
    import jax
    import jax.numpy as jnp

    from pulsebayes.simulators.closed_loop.circuit import activations, run_beat
    from pulsebayes.simulators.closed_loop.periodic import settle

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "simulators" / "closed_loop"))
    from rivals import ring, scipy_beat, simple_circuit, svzerod_case  # type: ignore[import-not-found]

    circuit = simple_circuit()
    found = settle(circuit, n_steps=512, tolerance_mL=0.01, max_beats=40)
    many = jax.tree.map(lambda x: jnp.repeat(x, 64, axis=-1), (circuit, found.state))
    phi = activations(many[0], 512)
    step = jax.jit(run_beat)
    work = lambda: jax.block_until_ready(step(*many, phi, 0 * phi[:, 0]))  # noqa: E731
    work()
    seconds, spread = _seconds(work, 5)
    ours = 1e3 * seconds / 64
    yield Row("one beat", OURS, "batch 64, 512 steps", "time per beat [ms]", ours, 1e3 * spread / 64)
    volume, flow = ring(found.state.volume), ring(found.state.flow)
    true = scipy_beat(circuit, volume, flow).y[:8, -1]
    error = float(np.abs(ring(step(*many, phi, 0 * phi[:, 0])[0].volume) - true).max())
    yield Row("one beat", OURS, "batch 64, 512 steps", "error of volumes at its end [mL]", error)
    yield from _diffrax(many, true, ours, error)
    seconds, _ = _seconds(lambda: scipy_beat(circuit, volume, flow), 1 if quick else 3)
    yield Row("one beat", f"SciPy {version('scipy')}, RK45", "one at a time", "time per beat [ms]", 1e3 * seconds)
    try:
        import svzerod
    except ImportError:
        yield Row("one beat", "svzerod", "one at a time, 512 points", "time per beat [ms]", "not installed")
        return
    cycles = 5 if quick else 20
    seconds, _ = _seconds(lambda: svzerod.simulate(svzerod_case(circuit, volume, cycles=cycles, points=513)), 3)
    theirs, name = 1e3 * seconds / cycles, f"svzerod {version('svzerod')}"
    yield Row("one beat", name, "one at a time, 512 steps", "time per beat [ms]", theirs)
    yield Row("one beat", f"{name} over ours", "512 steps", "ratio of times", theirs / ours)


def _slopes(t: Any, y: Any, c: Any) -> Any:
    """Slopes of volumes and flows of a circuit."""
    import jax.numpy as jnp

    from pulsebayes.simulators.closed_loop.activation import ATRIUM, VENTRICLE

    volume, flow = y[:8], y[8:]
    passive, active, rest, resistance, leak, inertance = (
        x.T.reshape(8) for x in (c.passive, c.active, c.rest, c.resistance, c.leak, c.inertance)
    )
    phi = jnp.array([ATRIUM.at(jnp.mod(t + c.lead, c.period), c.duration), VENTRICLE.at(t, c.duration), 0, 0] * 2)
    p = (passive + active * phi) * (volume - rest)
    drive = p - jnp.roll(p, -1)
    light = inertance == 0
    now = jnp.where(light, drive * jnp.where(drive > 0, 1 / resistance, leak), flow)
    rate = jnp.where(light, 0, (drive - resistance * flow) / jnp.where(light, 1, inertance))
    return jnp.concatenate([jnp.roll(now, 1) - now, rate])


def _diffrax(many: Any, true: Any, ours: float, error: float) -> Iterator[Row]:
    """The same beats by Diffrax, as loose as it may be where it errs no more than ours."""
    import jax
    import jax.numpy as jnp

    try:
        import diffrax
    except ImportError:
        yield Row("one beat", "Diffrax", "batch 64", "time per beat [ms]", "not installed")
        return

    flat = jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), many)  # each row a circuit
    name = f"Diffrax {version('diffrax')}, Tsit5, float32"

    def beat(tolerance: float) -> Any:
        def one(circuit: Any, state: Any) -> Any:
            start = jnp.concatenate([state.volume.T.reshape(8), state.flow.T.reshape(8)])
            return diffrax.diffeqsolve(
                diffrax.ODETerm(_slopes), diffrax.Tsit5(), 0.0, circuit.period, None, start, circuit, max_steps=20_000,
                stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=10 * tolerance, dtmax=0.02),
            )  # fmt: skip

        return jax.jit(jax.vmap(one))

    for tolerance in (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6):
        solve = beat(tolerance)
        found = jax.block_until_ready(solve(*flat))
        missed = float(np.abs(np.asarray(found.ys)[0, -1, :8] - true).max())
        if missed > error and tolerance > 3e-6:
            continue
        seconds, spread = _seconds(lambda s=solve: jax.block_until_ready(s(*flat)), 3)  # type: ignore[misc]
        setting = f"batch 64, rtol {tolerance:g}, {int(found.stats['num_steps'][0])} steps"
        theirs = 1e3 * seconds / 64
        yield Row("one beat", name, setting, "time per beat [ms]", theirs, 1e3 * spread / 64)
        yield Row("one beat", name, setting, "error of volumes at its end [mL]", missed)
        yield Row("one beat", f"{name} over ours", "no larger error", "ratio of times", theirs / ours)
        return


if __name__ == "__main__":
    run("closed_loop", {"periodic": periodic, "beats": beats, "one_beat": one_beat})
