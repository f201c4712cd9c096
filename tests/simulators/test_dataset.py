r"""Training sets: the same bytes however they are made, nothing lost or doubled, and refusals that say why."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.simulators.dataset import (
    Progress,
    TrainingSet,
    TrainingSetError,
    TrainingSetInterrupted,
    TrainingSetReport,
    default_workers,
    make_training_set,
)
from pulsebayes.simulators.registry import build

HERE = Path(__file__).parent
TOY = "toy_simulator:DampedPulse"


@pytest.fixture(autouse=True)
def _toy_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


def make(out: Path, n: int = 300, /, config: dict[str, object] | None = None, **options: object) -> TrainingSetReport:
    given = {"seed": 5, "shard_size": 64, "batch_size": 24, "workers": 1, **options}
    return make_training_set((TOY, config or {}), n, out, **given)  # type: ignore[arg-type]


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path) -> None:
    sets = [make(tmp_path / f"{workers}.zarr", workers=workers).out for workers in (1, 2, 3)]
    assert len(hashes(sets[0])) == 5 * (4 + 1) + 5  # five shards in four arrays, their marks, and the metadata
    assert hashes(sets[0]) == hashes(sets[1]) == hashes(sets[2])


def test_a_jax_simulator_gives_the_same_bytes_too(tmp_path: Path) -> None:
    sets = []
    for workers in (1, 2):
        out = tmp_path / f"{workers}.zarr"
        make_training_set(("windkessel", {}), 96, out, seed=2, shard_size=32, batch_size=16, workers=workers)
        sets.append(hashes(out))
    assert sets[0] == sets[1]


def test_another_seed_gives_other_rows(tmp_path: Path) -> None:
    first, second = (TrainingSet.open(make(tmp_path / f"{seed}.zarr", seed=seed).out) for seed in (5, 6))
    assert not np.isin(first.theta, second.theta).any()
    assert len(np.unique(first.theta[:, 0])) == 300, "no row is drawn twice, in the same or in another shard"


def test_rows_are_what_the_simulator_makes_and_failed_ones_stay(tmp_path: Path) -> None:
    report = make(tmp_path / "set.zarr")
    found = TrainingSet.open(report.out, verify=True)
    assert found.n == 300
    assert found.waves.shape == (300, 2, 100)
    assert found.space == build(TOY).space
    assert found.space.contains(found.theta).all()
    np.testing.assert_allclose(found.quantities[:, 0], found.theta[:, 0], rtol=1e-6)
    np.testing.assert_allclose(found.waves[:].max((1, 2)), found.quantities[:, 1], rtol=1e-6)
    failed = int((found.status == 3).sum())
    assert 10 < failed < 80
    assert report.status == {"ok": 300 - failed, "unphysiological": failed}
    assert report.acceptance == pytest.approx(1 - failed / 300)
    assert len(found.usable_rows) == 300 - failed


def test_shards_in_which_every_row_failed_are_kept_and_done(tmp_path: Path) -> None:
    report = make(tmp_path / "set.zarr", config={"fault": "nan"})
    assert report.status == {"ok": 0, "diverged": 300}
    found = TrainingSet.open(report.out, verify=True)
    assert np.isnan(found.waves[:]).all()
    assert len(found.usable_rows) == 0
    assert make(report.out, config={"fault": "nan"}, resume=True).made == 0


def test_attributes_say_how_the_set_was_made(tmp_path: Path) -> None:
    attributes = TrainingSet.open(make(tmp_path / "set.zarr", config={"fs": 40.0}).out).attributes
    expected = {"simulator": "damped-pulse", "version": "1", "seed": 5, "n": 300, "shard_size": 64, "batch_size": 24}
    assert {key: attributes[key] for key in expected} == expected
    assert attributes["config"] == {"fs": 40.0, "duration_s": 2.0, "pause_s": 0.0, "fault": ""}
    assert attributes["fs"] == 40.0
    assert attributes["quantity_units"] == ["Hz", "mmHg"]
    assert attributes["theta_units"] == ["Hz", "1/s"]
    assert set(attributes["software"]) >= {"numpy", "jax", "zarr", "pulsebayes"}  # type: ignore[call-overload]
    assert len(str(attributes["fingerprint"])) == 64


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 6}, "seed is 5 there, 6 asked"),
        ({"config": {"fs": 40.0}}, "config.fs is 50.0 there, 40.0 asked"),
        ({"batch_size": 32}, "batch_size is 24 there, 32 asked"),
        ({"shard_size": 72}, "shard_size is 64 there, 72 asked"),
    ],
)
def test_resume_refuses_another_set_and_names_what_differs(
    tmp_path: Path, change: dict[str, object], named: str
) -> None:
    out = make(tmp_path / "set.zarr", 80).out
    before = hashes(out)
    with pytest.raises(TrainingSetError, match=named) as caught:
        make(out, 80, resume=True, **change)  # type: ignore[arg-type]
    assert caught.value.code == "differs"
    assert hashes(out) == before


def test_what_stands_there_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    out = make(tmp_path / "set.zarr", 80).out
    with pytest.raises(TrainingSetError, match=r"set.zarr exists: add --resume .* or --force"):
        make(out, 80)
    assert make(out, 90, force=True).n == 90
    assert TrainingSet.open(out).n == 90
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("years of work")
    for options in ({}, {"force": True}, {"resume": True}):
        with pytest.raises(TrainingSetError, match="thesis exists and is not a training set"):
            make(foreign, 80, **options)
    assert (foreign / "chapter.txt").read_text() == "years of work"


def test_resume_starts_anew_where_nothing_stands(tmp_path: Path) -> None:
    (tmp_path / "empty.zarr").mkdir()
    assert make(tmp_path / "new.zarr", 80, resume=True).made == 80
    assert make(tmp_path / "empty.zarr", 80, resume=True).made == 80


def test_resume_does_only_what_is_missing_or_damaged(tmp_path: Path) -> None:
    out = make(tmp_path / "set.zarr").out
    whole = hashes(out)
    assert make(out, resume=True).made == 0
    first = out / "done" / "000000.json"
    first.write_text(first.read_text().replace('"ok": ', '"ok": 1'))
    (out / "done" / "000001.json").unlink()
    (out / "done" / "000002.json").write_text('{"shard": 2')
    damaged = out / "waves" / "c" / "3" / "0" / "0"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    (out / "status" / "c" / "4").unlink()
    (out / "waves" / "c" / "1" / "0" / "0.0123.partial").write_bytes(b"left by a killed run")
    with pytest.raises(ValueError, match="5 of its 5 shards are missing or damaged"):
        TrainingSet.open(out, verify=True)
    report = make(out, resume=True)
    assert report.made == 300
    assert hashes(out) == whole


def test_a_set_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "set.zarr"
    lock = f"fcntl.flock(os.open({str(out)!r}, os.O_RDONLY), fcntl.LOCK_EX)"
    code = f"import fcntl, os, time; {lock}; print(1, flush=True); time.sleep(60)"
    make(out, 80)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        for options in ({"resume": True}, {"force": True}):
            with pytest.raises(TrainingSetError, match="being written by another run"):
                make(out, 80, **options)
        holder.kill()
    assert make(out, 80, resume=True).made == 0


def test_progress_counts_every_row_once(tmp_path: Path) -> None:
    seen: list[Progress] = []
    make(tmp_path / "set.zarr", workers=2, progress=seen.append)
    assert [p.rows for p in seen] == sorted(p.rows for p in seen)
    assert (seen[0].rows, seen[-1].rows) == (0, 300)
    assert not any(p.stopping for p in seen)


def test_ctrl_c_finishes_the_shards_in_progress(tmp_path: Path) -> None:
    out = tmp_path / "set.zarr"
    seen: list[Progress] = []
    before = signal.getsignal(signal.SIGINT)  # a shell's & ignores it

    def interrupt(progress: Progress) -> None:
        seen.append(progress)
        if progress.rows and not any(p.stopping for p in seen):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    with pytest.raises(TrainingSetInterrupted, match=r"set.zarr: \d+ of 640 rows are done") as caught:
        make(out, 640, config={"pause_s": 0.1}, batch_size=32, progress=interrupt)
    assert "--resume" in caught.value.hint
    assert seen[-1].stopping or any(p.stopping for p in seen)
    n_done = len(os.listdir(out / "done"))
    assert 1 <= n_done < 10
    assert f"{64 * n_done} of 640" in str(caught.value)
    assert signal.getsignal(signal.SIGINT) is before
    make(out, 640, config={"pause_s": 0.1}, batch_size=32, resume=True, workers=2)
    assert hashes(out) == hashes(make(tmp_path / "b.zarr", 640, config={"pause_s": 0.1}, batch_size=32, workers=2).out)


def test_a_worker_that_is_killed_is_named_and_its_shard_done_later(tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError, match=r"worker 0 was killed by signal 9 in shard 0.*run again with resume"):
        make(tmp_path / "set.zarr", config={"fault": "die"})


def test_a_full_disk_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left on device \(in shard 0; finished shards are kept"):
        make(tmp_path / "set.zarr", config={"fault": "full"})


def test_a_file_too_large_for_the_disk_stops_the_run_and_resume_goes_on(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))"  # bytes: waves do not fit
    code = f"{limit}; from test_dataset import make, Path; make(Path({str(tmp_path / 'set.zarr')!r}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "File too large (in shard 0; finished shards are kept" in result.stderr
    assert make(tmp_path / "set.zarr", resume=True).made == 300
    assert hashes(tmp_path / "set.zarr") == hashes(make(tmp_path / "b.zarr").out)


@pytest.mark.parametrize(
    ("where", "match"),
    [
        (lambda folder: folder / "file" / "set.zarr", "a folder is expected where a file stands"),
        (lambda _: Path("/proc/set.zarr"), "cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, where: Callable[[Path], Path], match: str
) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("no /proc")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=match):
        make(where(tmp_path))


def test_errors_of_the_simulator_arrive_as_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fs must be positive, got -1"):
        make(tmp_path / "a.zarr", config={"fs": -1.0})
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        make(tmp_path / "a.zarr", config={"colour": 1})
    with pytest.raises(RuntimeError, match=r"failed in shard 0: RuntimeError: the toy broke"):
        make(tmp_path / "b.zarr", config={"fault": "raise"})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"seed": -1}, "seed must not be negative"),
        ({"workers": -1}, "workers must not be negative"),
        ({"shard_size": 0}, "shard_size must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"device": "tpu"}, "device must be 'cpu' or 'cuda', got 'tpu'"),
        ({"resume": True, "force": True}, "give one of them"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, options: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make(tmp_path / "set.zarr", **options)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        make(tmp_path / "set.zarr", 0)


def test_default_is_one_worker_for_each_core() -> None:
    assert default_workers() == len(os.sched_getaffinity(0))
