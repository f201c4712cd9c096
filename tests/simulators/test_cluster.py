r"""Training sets on a real Dask cluster: the bytes of a local run, whoever dies, and refusals that say why."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pulsebayes.simulators._cluster_task import Place
from pulsebayes.simulators.cluster import ClusterError
from pulsebayes.simulators.dataset import (
    Progress,
    TrainingSet,
    TrainingSetInterrupted,
    TrainingSetReport,
    make_training_set,
)

pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from dask_processes import Processes  # noqa: E402

TOY = "toy_simulator:DampedPulse"


@pytest.fixture(autouse=True)
def _toy_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "5s")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("dask"), workers=2) as found:
        yield found


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        return hashes(make(tmp_path_factory.mktemp("local") / "set.zarr", workers=1).out)


def make(out: Path, n: int = 300, pause_s: float = 0.0, /, **options: object) -> TrainingSetReport:
    given = {"seed": 5, "shard_size": 32, "batch_size": 16, **options}
    return make_training_set((TOY, {"pause_s": pause_s}), n, out, **given)  # type: ignore[arg-type]


def hashes(folder: Path) -> dict[str, str]:
    """Sums of the files; the pause that slows the toy down stands in the attributes only."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_workers_that_share_the_store_write_the_bytes_of_a_local_run(
    cluster: Processes, local: dict[str, str], tmp_path: Path
) -> None:
    seen: list[Progress] = []
    report = make(tmp_path / "set.zarr", scheduler=cluster.address, progress=seen.append)
    assert hashes(report.out) == local
    assert (report.made, seen[-1].rows) == (300, 300)
    assert make(report.out, scheduler=str(cluster.file), resume=True).made == 0, "found by the scheduler file too"
    assert make(report.out, resume=True, workers=1).made == 0, "a local run goes on with what a cluster made"


def test_workers_that_do_not_see_the_store_send_the_bytes(
    cluster: Processes, local: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, elsewhere = tmp_path / "set.zarr", tmp_path / "elsewhere"
    from pulsebayes.simulators import cluster as module

    monkeypatch.setattr(module, "Place", lambda _, token: Place(str(elsewhere), token))
    assert make(out, scheduler=cluster.address).made == 300
    assert hashes(out) == local
    assert not elsewhere.exists()


def test_a_jax_simulator_gives_the_same_bytes(cluster: Processes, tmp_path: Path) -> None:
    both = []
    for where in ({"workers": 1}, {"scheduler": cluster.address}):
        out = tmp_path / f"{len(both)}.zarr"
        make_training_set(("windkessel", {}), 96, out, seed=2, shard_size=32, batch_size=16, **where)  # type: ignore[arg-type]
        both.append(hashes(out))
    assert both[0] == both[1]


def test_a_worker_killed_in_mid_run_costs_nothing(local: dict[str, str], tmp_path: Path) -> None:
    with Processes(tmp_path, workers=2) as cluster:
        killed: list[int] = []

        def kill(progress: Progress) -> None:
            if progress.rows and not killed:
                killed.append(cluster.workers[0].pid)
                os.kill(killed[0], signal.SIGKILL)

        report = make(tmp_path / "set.zarr", 300, 0.2, scheduler=cluster.address, progress=kill)
        assert cluster.workers[0].wait() == -signal.SIGKILL
    assert report.made == 300
    assert hashes(report.out) == local
    assert not list(report.out.rglob("*.partial"))
    TrainingSet.open(report.out, verify=True)


def test_a_vanished_scheduler_leaves_a_set_that_another_cluster_goes_on_with(
    local: dict[str, str], cluster: Processes, tmp_path: Path
) -> None:
    out = tmp_path / "set.zarr"
    with Processes(tmp_path, workers=1) as doomed:

        def kill(progress: Progress) -> None:
            if progress.rows:
                doomed.scheduler.kill()

        with pytest.raises(ClusterError, match=r"the scheduler at tcp://127.* is gone: finished.*--resume") as caught:
            make(out, 300, 0.1, scheduler=doomed.address, progress=kill)
    assert caught.value.code == "cluster-lost"
    done = len(list((out / "done").glob("*.json")))
    assert 1 <= done < 10
    report = make(out, 300, 0.1, scheduler=cluster.address, resume=True)
    assert 0 < report.made <= 300 - 32
    assert hashes(out) == local


def test_ctrl_c_finishes_what_is_begun_and_resume_goes_on(
    local: dict[str, str], cluster: Processes, tmp_path: Path
) -> None:
    out = tmp_path / "set.zarr"
    seen: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        seen.append(progress)
        if progress.rows and not any(p.stopping for p in seen):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    with pytest.raises(TrainingSetInterrupted, match=r"set.zarr: \d+ of 300 rows are done") as caught:
        make(out, 300, 0.1, scheduler=cluster.address, progress=interrupt)
    assert "--resume" in caught.value.hint
    assert 1 <= len(list((out / "done").glob("*.json"))) < 10
    assert make(out, 300, 0.1, scheduler=cluster.address, resume=True).made > 0
    assert hashes(out) == local


def test_errors_of_the_simulator_arrive_as_what_they_are(cluster: Processes, tmp_path: Path) -> None:
    def broken(config: dict[str, object]) -> None:
        make_training_set(
            (TOY, config), 96, tmp_path / "set.zarr", shard_size=96, batch_size=16, scheduler=cluster.address
        )

    with pytest.raises(ValueError, match="fs must be positive, got -1"):
        broken({"fs": -1.0})
    with pytest.raises(RuntimeError, match="failed in shard 0: RuntimeError: the toy broke"):
        broken({"fault": "raise"})


def test_a_shard_whose_process_is_killed_every_time_is_given_up(cluster: Processes, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"shard 0 was given up: .*killed by signal 9.*more memory") as caught:
        make_training_set(
            (TOY, {"fault": "die"}), 96, tmp_path / "set.zarr", shard_size=96, batch_size=16, scheduler=cluster.address
        )
    assert caught.value.code == "cluster-worker"


def test_an_address_where_nobody_answers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}):
        for address in ("tcp://127.0.0.1:9", "no-such-thing://x"):
            with pytest.raises(ClusterError, match=f"no Dask scheduler answers at {address}") as caught:
                make(tmp_path / "set.zarr", scheduler=address)
            assert caught.value.code == "cluster-unreachable"
    assert not (tmp_path / "set.zarr").exists()


def test_other_versions_are_refused_before_anything_is_written(
    cluster: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import Client

    true = Client.get_versions

    def told(self: Client, **options: object) -> dict[str, dict[str, dict[str, object]]]:
        found = true(self, **options)
        found["client"]["packages"]["jax"] = "0.1"
        return found

    monkeypatch.setattr(Client, "get_versions", told)
    with pytest.raises(ClusterError, match=r"other software: worker tcp://\S+ has jax \S+, here 0.1") as caught:
        make(tmp_path / "set.zarr", scheduler=cluster.address)
    assert caught.value.code == "cluster-versions"
    assert not (tmp_path / "set.zarr").exists()


def test_a_worker_that_would_make_other_bytes_is_refused(
    cluster: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pulsebayes.simulators import cluster as module

    true = module.attributes_of
    monkeypatch.setattr(module, "attributes_of", lambda *a, **b: true(*a, **b) | {"fingerprint": "f" * 64, "seed": 8})
    with pytest.raises(ClusterError, match="a worker would make other bytes: seed is 5 there, 8 asked"):
        make(tmp_path / "set.zarr", scheduler=cluster.address)


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'pulsebayes\[cluster\]'"):
        make(tmp_path / "set.zarr", scheduler="tcp://127.0.0.1:8786")


def test_workers_and_a_scheduler_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give one of them"):
        make(tmp_path / "set.zarr", scheduler="tcp://127.0.0.1:8786", workers=2)


def test_a_cluster_without_workers_is_waited_for_and_said(
    tmp_path: Path, local: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pulsebayes.simulators import cluster as module

    monkeypatch.setattr(module, "PATIENCE_S", 0.5)
    with Processes(tmp_path, workers=0) as cluster:
        started: list[object] = []
        warn = module.warnings.warn

        def start_one(message: object, *rest: object, **options: object) -> None:
            warn(message, *rest, **options)  # type: ignore[call-overload]
            if "no workers yet" in str(message):
                started.append(cluster.start_worker())

        monkeypatch.setattr(module.warnings, "warn", start_one)
        with pytest.warns(UserWarning, match="has no workers yet: waiting for them"):
            report = make(tmp_path / "set.zarr", scheduler=cluster.address)
    assert len(started) == 1
    assert hashes(report.out) == local
