r"""What runs inside a Dask worker: it hands shards to processes of its own, started as local runs start theirs.

A Dask worker has threads, libraries and an environment of its own choosing; the bytes of a set must not depend on them.
So every thread of it that is given a shard keeps a child process with one thread, told what to do by lines of JSON. A
child stays warm between shards, ends after a minute without work, and ends at once with its Dask worker.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

from ._identity import attributes_of
from ._pool import Worker
from ._shards import Layout

IDLE_S = 60.0
"""Seconds after which a child without work ends [s]."""


class Job(NamedTuple):
    r"""What every child of a run is started with.

    Arguments:
        setup: First message to a child.
        environment: Its environment variables beside those of the Dask worker.
        device: Where it simulates.
    """

    setup: Mapping[str, object]
    environment: Mapping[str, str]
    device: str


class Place(NamedTuple):
    r"""Where the set stands.

    Arguments:
        out: Its folder, as the machine that asked for it names it.
        token: A file in it that only this run wrote: who finds it there shares the store.
    """

    out: str
    token: str

    @property
    def is_seen(self) -> bool:
        r"""Whether this machine sees the set."""
        return (Path(self.out) / self.token).is_file()


@dataclass(eq=False)
class _Child:
    """A process that simulates, and what it said of itself."""

    key: str
    worker: Worker
    greeting: dict[str, object] = field(default_factory=dict)
    timer: threading.Timer | None = None

    def ask(self, last: str) -> dict[str, object]:
        """Waits for the message of a kind, or for a failure."""
        while True:
            for message in self.worker.hear():
                if message["kind"] == "built":
                    self.greeting |= message
                if message["kind"] in (last, "failed"):
                    return message


class _Refused(Exception):
    """A child reported an error, which is told to the machine that asked."""

    def __init__(self, message: dict[str, object]) -> None:
        super().__init__(str(message["message"]))
        self.failure = message


_IDLE: list[_Child] = []
_LOCK = threading.Lock()


def greet(job: Job) -> dict[str, object]:
    r"""Starts a child and returns what it says of itself, or its failure.

    Arguments:
        job: What the child is started with.
    """
    try:
        child = _take(job)
    except _Refused as refusal:
        return refusal.failure
    _give_back(child)
    return child.greeting


def simulate_shard_here(job: Job, shard: int, fingerprint: str, place: Place) -> dict[str, object]:
    r"""Simulates a shard.

    Arguments:
        job: What the child is started with.
        shard: Number of the shard.
        fingerprint: Fingerprint of the set.
        place: Where the set stands.

    Returns:
        The child's last message. Where the set is not seen from here, it has ``files``, contents by place; where the
        software of this machine would make other bytes, it has ``attributes`` and nothing was simulated.

    Raises:
        ChildProcessError: If the child was killed.
    """
    try:
        child = _take(job)
    except _Refused as refusal:
        return refusal.failure
    attributes = _attributes(job, child)
    if attributes["fingerprint"] != fingerprint:
        _give_back(child)
        return {"kind": "differs", "attributes": attributes}
    with tempfile.TemporaryDirectory(prefix="pulsebayes-", dir=_scratch()) as folder:
        out = place.out if place.is_seen else folder
        child.worker.shard = shard
        child.worker.tell({"shard": shard, "out": out})
        try:
            message = child.ask("done")
        except BaseException:
            child.worker.end(at_once=True)
            raise
        if message["kind"] != "done":
            child.worker.end(at_once=True)
            return message
        _give_back(child)
        if out == folder:
            message["files"] = _read(Path(folder))
        return message


def _attributes(job: Job, child: _Child) -> dict[str, object]:
    layout = Layout(**cast("dict[str, int]", job.setup["layout"]))
    description = cast("dict[str, object]", child.greeting["description"])
    return attributes_of(description, layout, seed=int(str(job.setup["seed"])), device=job.device)


def _read(folder: Path) -> dict[str, bytes]:
    """Files of a folder by place, the mark last."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    found.sort(key=lambda path: path.parent.name == "done")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _scratch() -> str | None:
    """Folder that Dask removes with its worker."""
    from distributed import get_worker

    try:
        return str(get_worker().local_directory)
    except ValueError:
        return None


def _take(job: Job) -> _Child:
    key = json.dumps([job.setup, job.environment], sort_keys=True)
    with _LOCK:
        idle = [child for child in _IDLE if child.key == key]
        if idle:
            _IDLE.remove(idle[0])
            if idle[0].timer is not None:
                idle[0].timer.cancel()
            return idle[0]
    child = _Child(key, Worker(0, environment=job.environment))
    child.worker.tell(job.setup)
    message = child.ask("warm")
    if message["kind"] == "failed":
        child.worker.end(at_once=True)
        raise _Refused(message)
    child.greeting["wave_shape"] = message["wave_shape"]
    return child


def _give_back(child: _Child) -> None:
    with _LOCK:
        child.worker.shard = None
        child.timer = threading.Timer(IDLE_S, _end, [child])
        child.timer.daemon = True
        child.timer.start()
        _IDLE.append(child)


def _end(child: _Child) -> None:
    with _LOCK:
        if child not in _IDLE:
            return
        _IDLE.remove(child)
    child.worker.end(at_once=False)
