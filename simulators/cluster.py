r"""Training sets on a Dask cluster: the same bytes as on one machine, whoever made which shard.

Every shard is one Dask task. A worker that sees the set's folder (a shared file system) puts the files there itself;
from any other the bytes come back over the network and are written here, after their sums were compared. A shard whose
worker is lost is computed again elsewhere. See [`make_training_set`][pulsebayes.simulators.dataset.make_training_set].
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from ._cluster_task import Job, Place, greet, simulate_shard_here
from ._identity import SOFTWARE, attributes_of, differences
from ._shards import Layout, install, is_whole

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["ClusterError", "ClusterPool"]

ATTEMPTS = 4
"""How often a shard is tried whose simulating process is killed."""
PATIENCE_S = 10.0
"""Seconds without a worker after which the user is told [s]."""
_GOES_ON = "finished shards are kept: run the same command with --resume"


class ClusterError(RuntimeError):
    r"""A cluster cannot be reached, was lost, or would make other bytes.

    Arguments:
        message: What was expected and what was found.
        code: Short slug for programs: ``cluster-unreachable``, ``cluster-lost``, ``cluster-versions`` or
            ``cluster-worker``.
        hint: What to try.

    Example:
        >>> str(ClusterError("the scheduler is gone", code="cluster-lost", hint="run again with --resume"))
        'the scheduler is gone: run again with --resume'
    """

    def __init__(self, message: str, *, code: str, hint: str) -> None:
        super().__init__(f"{message}: {hint}")
        self.message = message
        self.code = code
        self.hint = hint


class _Slot:
    """A place in the cluster's queue: it is told of one shard, and passes it on."""

    def __init__(self, pool: ClusterPool) -> None:
        self.shard: int | None = None
        self.is_warm = False
        self._pool = pool

    def tell(self, message: Mapping[str, object]) -> None:
        self._pool.submit(self, int(str(message["shard"])))


class ClusterPool:
    r"""The workers of a Dask cluster, as `make_training_set` sees workers; a context manager that lets go of them.

    Arguments:
        address: Address of the scheduler, such as ``tcp://10.0.0.1:8786``, or its scheduler file.
        setup: First message to each simulating process.
        out: The set.
        device: Where the rows are simulated.
        environment: Environment variables of the simulating processes.

    Raises:
        ImportError: If the extra is not installed.
        ClusterError: If there is no scheduler at the address, or the cluster has other software.

    Example:
        >>> with ClusterPool("tcp://10.0.0.1:8786", setup, Path("set.zarr"), environment={}) as pool:  # doctest: +SKIP
        ...     messages = list(pool.hear(0.2))
    """

    def __init__(
        self, address: str, setup: Mapping[str, object], out: Path, *, device: str, environment: Mapping[str, str]
    ) -> None:
        self.address, self.job = address, Job({**setup, "pinned": False}, dict(environment), device)
        self._layout = Layout(**cast("dict[str, int]", setup["layout"]))
        self._name = f"pulsebayes-{secrets.token_hex(4)}"
        self._out, self._place = out, Place(str(out.resolve()), f"done/{self._name}.partial")
        self._attributes: dict[str, object] = {}
        self._slots: dict[str, _Slot] = {}
        self._futures: dict[str, Future] = {}
        self._tries: dict[int, int] = {}
        self._ended: SimpleQueue[str] = SimpleQueue()
        self._told, self._begun, self._is_stopping = False, time.monotonic(), False
        self._log = logging.getLogger("distributed.client")
        self._level = self._log.level
        self._client = _connect(address)
        try:
            _check_versions(self._client)
        except BaseException:
            self._client.close(timeout=2)
            raise
        self._log.setLevel(logging.CRITICAL)  # that a connection is lost is said by our own error
        self._watch(self._client.submit(greet, self.job, key=f"{self._name}-greeting", priority=1, pure=False))

    def hear(self, timeout_s: float) -> Iterator[tuple[_Slot, dict[str, object]]]:
        r"""Yields the messages that come within ``timeout_s``, each with the place in the queue it belongs to.

        Arguments:
            timeout_s: Longest wait [s].

        Raises:
            ClusterError: If the cluster is lost, or a shard's worker again and again.
        """
        if self._client.status != "running":
            raise self._lost()
        with suppress(Empty):
            key = self._ended.get(timeout=timeout_s)
            while True:
                yield from self._ended_with(key)
                key = self._ended.get_nowait()
        self._say_if_waiting()

    def submit(self, slot: _Slot, shard: int) -> None:
        r"""Queues a shard.

        Arguments:
            slot: Who asks.
            shard: Number of the shard.
        """
        token = self._out / self._place.token
        if not token.exists():
            token.touch()
        self._tries[shard] = self._tries.get(shard, 0) + 1
        key = f"{self._name}-{shard:06d}-{self._tries[shard]}"
        arguments = (self.job, shard, str(self._attributes["fingerprint"]), self._place)
        self._slots[key] = slot
        try:
            self._watch(self._client.submit(simulate_shard_here, *arguments, key=key, pure=False))
        except (OSError, RuntimeError) as error:
            raise self._lost() from error

    def withdraw(self) -> None:
        r"""Takes back the shards that no worker has begun."""
        if self._is_stopping:
            return
        self._is_stopping = True
        try:
            begun = {str(key) for keys in self._client.processing().values() for key in keys}
            self._client.cancel([future for key, future in self._futures.items() if key not in begun], force=True)
        except (OSError, RuntimeError) as error:
            raise self._lost() from error

    def __enter__(self) -> ClusterPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client.status == "running":
            with suppress(Exception):  # the scheduler may go at this moment, and there is nothing to lose any more
                self._client.cancel(list(self._futures.values()), force=True)
        self._client.close(timeout=2)
        self._log.setLevel(self._level)
        with suppress(OSError):
            (self._out / self._place.token).unlink(missing_ok=True)

    def _watch(self, future: Future) -> None:
        key = str(future.key)
        self._futures[key] = future
        future.add_done_callback(lambda _: self._ended.put(key))

    def _ended_with(self, key: str) -> Iterator[tuple[_Slot, dict[str, object]]]:
        future = self._futures.pop(key)
        slot = self._slots.pop(key, None) or _Slot(self)
        if future.status == "cancelled":
            if self._client.status != "running" or not self._is_stopping:
                raise self._lost()
            if slot.shard is not None:
                yield slot, {"kind": "withdrawn", "shard": slot.shard}
            return
        try:
            error = future.exception() if future.status == "error" else None
            message = cast("dict[str, object]", future.result() if error is None else {})
        except OSError as closed:  # the scheduler went while it was asked
            raise self._lost() from closed
        if error is not None:
            self._again(slot, error)
            return
        if message["kind"] == "differs":
            other = "; ".join(differences(cast("dict[str, object]", message["attributes"]), self._attributes))
            raise _other_software(f"a worker would make other bytes: {other or 'its fingerprint differs'}")
        if message["kind"] == "built":
            yield from self._greeted(message)
        elif message["kind"] == "failed":
            yield slot, message
        else:
            yield from self._done(slot, message)

    def _greeted(self, message: dict[str, object]) -> Iterator[tuple[_Slot, dict[str, object]]]:
        description = cast("dict[str, object]", message["description"])
        seed = int(str(self.job.setup["seed"]))
        self._attributes = attributes_of(description, self._layout, seed=seed, device=self.job.device)
        yield _Slot(self), message
        for _ in range(self._layout.n_shards):
            yield _Slot(self), {"kind": "warm", "wave_shape": message["wave_shape"]}

    def _done(self, slot: _Slot, message: dict[str, object]) -> Iterator[tuple[_Slot, dict[str, object]]]:
        files = cast("dict[str, bytes]", message.pop("files", {}))
        shard = int(str(message["shard"]))
        if files and not is_whole(shard, files):
            self.submit(slot, shard)
            return
        install(self._out, files)
        yield slot, {"kind": "rows", "rows": len(self._layout.rows(shard))}
        yield slot, message

    def _again(self, slot: _Slot, error: BaseException) -> None:
        """Computes a shard again whose process was killed; anything else ends the run."""
        is_lost = type(error).__name__ == "KilledWorker" or isinstance(error, ChildProcessError)
        if slot.shard is not None and isinstance(error, ChildProcessError) and self._tries[slot.shard] < ATTEMPTS:
            self.submit(slot, slot.shard)
            return
        what = "the first worker" if slot.shard is None else f"shard {slot.shard}"
        if is_lost:
            raise ClusterError(
                f"{what} was given up: again and again its process was killed ({error})",
                code="cluster-worker",
                hint=f"give workers more memory, or make shards and batches smaller; {_GOES_ON}",
            )
        if isinstance(error, ImportError):
            raise _other_software(f"a worker cannot run pulsebayes ({error})")
        raise ClusterError(
            f"{what} failed on the cluster: {type(error).__name__}: {error}",
            code="cluster-worker",
            hint=f"see the worker's log; {_GOES_ON}",
        ) from error

    def _lost(self) -> ClusterError:
        return ClusterError(f"the scheduler at {self.address} is gone", code="cluster-lost", hint=_GOES_ON)

    def _say_if_waiting(self) -> None:
        if self._told or self._attributes or time.monotonic() - self._begun < PATIENCE_S:
            return
        self._told = True
        try:
            has_workers = bool(self._client.nthreads())
        except (OSError, RuntimeError) as error:
            raise self._lost() from error
        if not has_workers:
            warnings.warn(f"the cluster at {self.address} has no workers yet: waiting for them", stacklevel=2)


def _connect(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("a cluster needs Dask, which is not installed: pip install 'pulsebayes[cluster]'") from error
    try:
        where = json.loads(Path(address).read_text())["address"] if Path(address).is_file() else address
        asyncio.run(_knock(where))
        with warnings.catch_warnings():  # on other versions, which are compared below
            warnings.simplefilter("ignore")
            return Client(where, set_as_default=False, name="pulsebayes")
    except (OSError, ValueError, TypeError, KeyError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(
            f"no Dask scheduler answers at {address} ({reason})",
            code="cluster-unreachable",
            hint="give the address that `dask scheduler` prints, such as tcp://10.0.0.1:8786",
        ) from error


async def _knock(address: str) -> None:
    """Connects and hangs up: a client that finds nobody leaves threads behind, and complains when they end."""
    from distributed.comm import connect
    from distributed.security import Security

    comm = await connect(address, **Security().get_connection_args("client"))
    await comm.close()


def _check_versions(client: Client) -> None:
    """Compares the software of the cluster with ours, before anything is sent that it may not understand."""
    try:
        found = cast("dict[str, Any]", client.get_versions(packages=[*SOFTWARE, "dask", "distributed"]))
    except (OSError, RuntimeError, ValueError) as error:
        raise _other_software(f"it does not tell its versions ({error})") from error
    ours = found["client"]["packages"]
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    told = []
    parts: list[tuple[str, Any, tuple[str, ...]]] = [
        ("the scheduler", found["scheduler"], ("pulsebayes", "dask", "distributed"))
    ]
    parts += [(f"worker {name}", part, (*SOFTWARE, "dask", "distributed")) for name, part in found["workers"].items()]
    for who, part, names in parts:
        theirs = part["packages"]
        told += [
            f"{who} has {name} {theirs.get(name) or 'absent'}, here {ours[name]}"
            for name in names
            if theirs.get(name) != ours[name]
        ]
        python = ".".join(str(theirs.get("python")).split(".")[:2])
        told += [f"{who} has Python {python}, here {own}"] if python != own else []
    if told:
        raise _other_software("; ".join(told[:4]) + ("; ..." if len(told) > 4 else ""))


def _other_software(what: str) -> ClusterError:
    return ClusterError(
        f"the cluster runs other software: {what}",
        code="cluster-versions",
        hint="run scheduler, workers and this command from one environment or image",
    )
