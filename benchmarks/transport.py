r"""What transport costs: a solve, a row of a new recording, a million simulations streamed, in time and memory.

Eight dimensions, a quarter of the median cost. Processor seconds, so that a busy machine does not count; the memory is
the peak of a process of its own.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from pulsebayes.calibration.transport import Cost, EntropicConfig, entropic, median_cost

from .rows import Row, run

METHOD = f"pulsebayes {version('pulsebayes')}"
DIM, SHARE = 8, 0.25


def main() -> None:
    """Runs all parts."""
    run("transport", {"solve": _solve, "row": _row, "stream": _stream})


def _clouds(m: int, n: int) -> Cost:
    rng = np.random.default_rng(0)
    return Cost.of_points(rng.normal(size=(m, DIM)), rng.normal(size=(n, DIM)) + 0.3)


def _solve(quick: bool) -> Iterator[Row]:
    cost = _clouds(2000, 2000)
    epsilon = SHARE * median_cost(cost)
    for tau in (1.0, 0.9, 0.5):
        config = EntropicConfig(tau_b=tau)
        seconds, found = _timed(partial(entropic, cost, epsilon=epsilon, config=config))
        setting = f"2,000 x 2,000, tau {tau:g}"
        yield Row("solve", METHOD, setting, "time [CPU s]", seconds)
        yield Row(
            "solve", METHOD, setting, "error of the marginals", found.error if found.converged else "not converged"
        )


def _row(quick: bool) -> Iterator[Row]:
    cost = _clouds(500, 10_000)
    coupling = entropic(cost, epsilon=SHARE * median_cost(cost), config=EntropicConfig(tolerance=1e-6))
    new = np.random.default_rng(1).normal(size=(200, 1, DIM))
    seconds, _ = _timed(lambda: [coupling.rows(x) for x in new])
    yield Row("row", METHOD, "10,000 simulations", "time [CPU ms]", 1000 * seconds / len(new))


def _stream(quick: bool) -> Iterator[Row]:
    m, n = (100, 50_000) if quick else (1000, 1_000_000)
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_streamed, args=(there, m, n))
    process.start()
    seconds, gigabytes, iterations, converged = here.recv()
    process.join()
    setting = f"{m:,} recordings x {n:,} simulations, error 1e-3"
    yield Row("stream", METHOD, setting, "time [CPU s]", seconds)
    yield Row("stream", METHOD, setting, "peak memory [GB]", gigabytes)
    yield Row("stream", METHOD, setting, "iterations", iterations if converged else "not converged")


def _streamed(answer: Connection, m: int, n: int) -> None:
    cost = _clouds(m, n)
    config = EntropicConfig(tolerance=1e-3)
    seconds, found = _timed(lambda: entropic(cost, epsilon=SHARE * median_cost(cost), config=config))
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    answer.send((seconds, 1024 * kilobytes / 1e9, found.iterations, found.converged))


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.process_time()
    found = work()
    return time.process_time() - begun, found


if __name__ == "__main__":
    main()
