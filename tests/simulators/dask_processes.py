r"""A real Dask cluster for tests: a scheduler and workers, each a process of its own that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


class Processes:
    r"""A scheduler with workers of one thread; a context manager that kills them."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.folder, self.running = folder, []
        self.file = folder / "scheduler.json"
        command = ["dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-jupyter"]
        self.scheduler = self._start(*command, "--scheduler-file", str(self.file))
        deadline = time.monotonic() + 120
        while not self.file.exists():
            assert self.scheduler.poll() is None, "the scheduler ended"
            assert time.monotonic() < deadline, "the scheduler does not start"
            time.sleep(0.1)
        self.address = str(json.loads(self.file.read_text())["address"])
        self.workers = [self.start_worker() for _ in range(workers)]

    def start_worker(self) -> subprocess.Popen[bytes]:
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self.folder)]
        return self._start("dask_worker", self.address, *options)

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
        log = (self.folder / f"dask-{len(self.running)}.log").open("wb")
        self.running.append(
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{command[0]}", *command[1:]],
                env=environment, stdout=log, stderr=log, cwd=self.folder,
            )
        )  # fmt: skip
        log.close()
        return self.running[-1]

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.running):
            process.kill()
            process.wait()
