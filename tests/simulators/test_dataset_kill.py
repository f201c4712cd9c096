r"""kill -9 at random moments: resumed, a training set is the one that was never interrupted."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from pulsebayes.simulators.dataset import TrainingSet

HERE = Path(__file__).parent
RUN = """
import sys
from pulsebayes.simulators.dataset import make_training_set
toy = ("toy_simulator:DampedPulse", {"pause_s": float(sys.argv[3])})
make_training_set(toy, 1440, sys.argv[1], seed=11, shard_size=48, batch_size=16, workers=int(sys.argv[2]), resume=True)
"""


def start(out: Path, workers: int, pause_s: float = 0.02) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", RUN, str(out), str(workers), str(pause_s)], env=environment)


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def processes_of(group_of: int) -> list[int]:
    r"""Children of a process that are still alive."""
    listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(group_of)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listing.stdout.split()]


def marks(out: Path) -> int:
    return len(list((out / "done").glob("*.json"))) if out.exists() else 0


def test_killed_again_and_again_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    assert start(tmp_path / "whole.zarr", 2).wait() == 0
    out, moments, done = tmp_path / "killed.zarr", np.random.default_rng(3), [0]
    for attempt in range(6):
        process = start(out, 1 + attempt % 3)
        while process.poll() is None and marks(out) < done[-1] + (attempt > 0):
            time.sleep(0.005)  # the first kill falls anywhere in the start, the others among the shards
        time.sleep(float(moments.uniform(0.0, 0.4)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        done.append(marks(out))
    assert done == sorted(done), "what was done stays done"
    assert done[-1] < 30, "the last kill came too late to cost anything"
    assert start(out, 2).wait() == 0
    assert hashes(out) == hashes(tmp_path / "whole.zarr")
    assert not list(tmp_path.rglob("*.partial"))
    theta = TrainingSet.open(out, verify=True).theta
    assert len(np.unique(theta[:, 0])) == 1440


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    process = start(tmp_path / "set.zarr", 2, pause_s=300.0)  # busy for minutes: they must not wait to be done
    deadline = time.monotonic() + 30
    while len(processes_of(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = processes_of(process.pid)
    assert len(workers) == 2
    time.sleep(2.0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
