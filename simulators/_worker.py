r"""The process that simulates shards: one thread, one core, told what to do by lines of JSON.

Started as ``python -m pulsebayes.simulators._worker`` by [`_pool`][pulsebayes.simulators._pool], with the environment
that keeps XLA and BLAS to one thread before anything is imported. The first line it reads is its setup, each further
line a shard; it answers with lines of JSON on what was its standard output. When its parent is gone it ends at once.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TextIO

from ._identity import software
from ._shards import Layout, simulate_shard, write_shard
from .registry import Simulator, build

__all__ = ["describe"]

_CORES: set[int] = set()
"""Cores that this process may run on, before it is pinned to one."""


def describe(simulator: Simulator) -> dict[str, object]:
    r"""Returns what a training set keeps about its simulator, JSON-able.

    Arguments:
        simulator: The simulator.

    Raises:
        ValueError: If there is not one unit for each quantity.
    """
    names, units = tuple(simulator.quantity_names), simulator.units
    in_order = [str(units.get(name, "")) for name in names] if isinstance(units, Mapping) else list(units)
    if len(in_order) != len(names) or not all(in_order):
        raise ValueError(f"{simulator.name} must give a unit for each of {list(names)}, got {units}")
    return {
        "simulator": simulator.name,
        "version": simulator.version,
        "config": json.loads(json.dumps(dict(simulator.config))),
        "parameter_space": simulator.space.to_json(),
        "theta_names": list(simulator.space.names),
        "theta_units": list(simulator.space.units),
        "sites": list(simulator.sites),
        "quantity_names": list(names),
        "quantity_units": in_order,
        "software": software(),
    }


def _serve(tasks: SimpleQueue[dict[str, object]], answers: TextIO) -> None:
    def say(**message: object) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    setup = tasks.get()
    layout = Layout(**{key: int(str(value)) for key, value in _mapping(setup["layout"]).items()})
    simulator = build(str(setup["name"]), **_mapping(setup["config"]))
    say(kind="built", description=describe(simulator))
    begun = time.perf_counter()
    trial = Layout(layout.batch_size, layout.batch_size, layout.batch_size)
    _, rows = simulate_shard(simulator, trial, seed=0, shard=0)
    if not setup.get("pinned", True):
        _unpin()
    say(kind="warm", seconds=time.perf_counter() - begun, wave_shape=rows.waves.shape[1:])
    while True:
        task = tasks.get()
        shard = int(str(task["shard"]))
        theta, rows = simulate_shard(
            simulator, layout, seed=int(str(setup["seed"])), shard=shard, report=lambda n: say(kind="rows", rows=n)
        )
        say(kind="done", shard=shard, status=write_shard(Path(str(task["out"])), layout, shard, theta, rows))


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"expected a JSON object, got {value!r}")
    return value


def _listen(tasks: SimpleQueue[dict[str, object]]) -> None:
    for line in sys.stdin:
        tasks.put(json.loads(line))
    os._exit(0)  # the parent has hung up, or was killed: shards are whole or unmarked, so nothing needs saving


def _pin() -> None:
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        _CORES.update(cores)
        os.sched_setaffinity(0, {cores[int(os.environ.get("PULSEBAYES_WORKER", "0")) % len(cores)]})


def _unpin() -> None:
    """Lets the threads go to any core again: XLA has counted its cores by now, and stays with one thread."""
    if hasattr(os, "sched_setaffinity"):
        for thread in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), _CORES)


def main() -> None:
    r"""Runs one worker until its parent hangs up."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a simulator prints must not mix with the answers
    _pin()
    tasks: SimpleQueue[dict[str, object]] = SimpleQueue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    try:
        _serve(tasks, answers)
    except Exception as error:
        failure: dict[str, object] = {
            "kind": "failed",
            "type": type(error).__name__,
            "message": str(error),
            "errno": None,
        }
        if isinstance(error, OSError):
            failure |= {
                "message": error.strerror or str(error),
                "errno": error.errno,
                "file": str(error.filename or ""),
            }
        answers.write(json.dumps(failure) + "\n")
        answers.flush()
        os._exit(1)


if __name__ == "__main__":
    main()
