r"""Scale-out: simulations per second on Dask workers of this machine, by their number, beside the local run.

Each cluster is real: a scheduler and workers of one thread, each a process. A first set warms the simulating processes
up (imports, tables, compilation), the second, of the same rows, is timed. Every set must have the same bytes. Where
other work takes the cores the clock measures it too: processor seconds, of the simulating processes and of everything
else (scheduler, Dask's workers, this process), tell what Dask itself costs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .rows import Row, run

CONFIG = {"population": "clinical", "sites": ["Radial"], "duration_s": 10.0}


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[int]]]:
    """A Dask scheduler with workers of one thread; yields its address and the processes."""
    file = folder / f"scheduler-{workers}.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started: list[int] = []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    with ExitStack() as stack:

        def start(*words: str) -> None:
            process = subprocess.Popen([*words], env=environment, **quiet)
            started.append(process.pid)
            stack.callback(process.wait)
            stack.callback(process.kill)

        start(*command, "--no-dashboard", "--no-jupyter", "--scheduler-file", str(file))
        while not file.is_file():
            time.sleep(0.05)
        address = str(json.loads(file.read_text())["address"])
        for _ in range(workers):
            options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(folder))
            start(sys.executable, "-m", "distributed.cli.dask_worker", address, *options)
        yield address, started


def throughput(quick: bool) -> Iterator[Row]:
    """Simulations per second of one worker and of as many as there are cores, on a cluster and locally."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n, repeats = (1024, 1) if quick else (8192, 2)
    methods = ("Dask",) if quick else ("Dask", "local")
    rates: dict[tuple[str, int], float] = {}
    sums = set()
    for workers in (1, cores):
        setting = f"{workers} workers of one thread, {n} rows of the clinical population"
        with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), workers) as (address, pids):
            for method in methods:
                where: dict[str, Any] = {"scheduler": address} if method == "Dask" else {"workers": workers}
                before = _processor_seconds(pids)
                found, compile_s = _rates(Path(folder) / "set.zarr", n, repeats, where)
                sums.add(_sum(Path(folder) / "set.zarr"))
                rates[method, workers] = max(found)
                spread = max(found) - min(found) if repeats > 1 else None
                yield Row("simulate", f"pulsebayes, {method}", setting, "simulations [1/s]", max(found), spread)
                yield Row("simulate", f"pulsebayes, {method}", setting, "start-up [s]", compile_s)
                if method == "Dask":
                    after = _processor_seconds(pids)
                    for what in after:
                        spent = (after[what] - before[what]) / (n * (1 + repeats))
                        yield Row("simulate", "pulsebayes, Dask", setting, f"{what} [processor ms a row]", 1e3 * spent)
    for method in methods:
        gain = rates[method, cores] / rates[method, 1]
        yield Row("simulate", f"pulsebayes, {method}", f"{cores} workers beside one", "speed-up", gain)
    yield Row("simulate", "pulsebayes", "all sets of the run", "different contents", float(len(sums)))


def _rates(out: Path, n: int, repeats: int, where: Mapping[str, Any]) -> tuple[list[float], float]:
    from pulsebayes.simulators.dataset import make_training_set

    found = []
    for _ in range(1 + repeats):  # the first warms up
        spec = ("linear-network", CONFIG)
        found.append(make_training_set(spec, n, out, shard_size=256 if n < 4096 else 1024, force=True, **where))
    return [report.rate for report in found[1:]], found[0].compile_seconds


def _processor_seconds(pids: list[int]) -> dict[str, float]:
    """Processor seconds of a cluster: of the processes that simulate, and of all else, this one included."""
    import psutil

    spent = {"simulating, start-up included": 0.0, "all else": sum(psutil.Process().cpu_times()[:2])}
    for process in map(psutil.Process, pids):
        spent["all else"] += sum(process.cpu_times()[:2])
        spent["simulating, start-up included"] += sum(sum(child.cpu_times()[:2]) for child in process.children())
    return spent


def _sum(out: Path) -> str:
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


if __name__ == "__main__":
    run("scale", {"throughput": throughput})
