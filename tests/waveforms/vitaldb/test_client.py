"""The VitalDB client against a real server on the loopback, with faults: whole files, or none and a reason."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsebayes.waveforms import RecordingError
from pulsebayes.waveforms.vitaldb import Cache, Patience, SourceError, Tracks, VitalDB, open_case

QUICK = Patience(attempts=2, wait_s=0.01, timeout_s=0.3, least_rate=1000.0)
FAULTS = {
    "404": "not-found",
    "500": "server",
    "429": "server",
    "html": "html",
    "html, called binary": "html",
    "not gzip": "not-gzip",
    "gzip of nothing": "not-vital",
    "gzip cut, length right": "truncated",
    "gzip with a wrong bit": "damaged",
    "silent": "timeout",
    "reset": "connection",
    "truncated": "truncated",
    "too short a length": "truncated",
    "too long a length": "truncated",
    "slow": "slow",
}


def client(address: str, folder: Path, patience: Patience = QUICK, **named: Any) -> VitalDB:
    return VitalDB(Cache(folder), address, patience=patience, **named)


def data_files(folder: Path) -> set[str]:
    """Everything in the cache but its lock."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != "lock"}


def test_a_case_arrives_whole_with_its_hash_and_is_not_asked_for_again(
    vitaldb_server: tuple[str, Any], tmp_path: Path
) -> None:
    address, data = vitaldb_server
    source = client(address, tmp_path / "cache")
    first, again = source.fetch(1), source.fetch(1)
    assert first.ok and first.fetched and again.ok and not again.fetched
    assert first.path.read_bytes() == data.files["/1.0.1/1.vital"]
    assert first.sha256 == hashlib.sha256(data.files["/1.0.1/1.vital"]).hexdigest()
    index = json.loads((tmp_path / "cache" / "index.json").read_text())
    assert index["files"]["1.vital"]["sha256"] == first.sha256
    assert data.asked["/1.0.1/1.vital"] == 1
    assert all(agent.startswith("pulsebayes/") for agent in data.agents)


@pytest.mark.parametrize("packed", [1, 2])
def test_what_was_fetched_is_read_at_its_native_rate(
    vitaldb_server: tuple[str, Any], tmp_path: Path, packed: int
) -> None:
    address, _ = vitaldb_server
    path = client(address, tmp_path / "cache").fetch(packed).path
    recording, numbers = open_case(path, ["SNUADC/ART"])
    assert (recording.channel("ART").fs, recording.channel("ART").unit) == (125.0, "mmHg")
    assert recording.duration_s == pytest.approx(20.0)
    assert all(len(track.values) == 9 for track in numbers.values())
    with pytest.raises(RecordingError, match=r"expected the tracks BIS/BIS, found .*SNUADC/ART"):
        open_case(path, ["SNUADC/ART", "BIS/BIS"])


@pytest.mark.parametrize(("fault", "code"), FAULTS.items())
def test_every_fault_ends_in_a_reason_and_an_intact_cache(
    vitaldb_server: tuple[str, Any], tmp_path: Path, fault: str, code: str
) -> None:
    address, data = vitaldb_server
    source = client(address, tmp_path / "cache")
    assert source.fetch(2).ok
    before = data_files(tmp_path / "cache")
    data.faults["/1.0.1/1.vital"] = [fault]
    found = source.fetch(1)
    assert not found.ok
    assert found.error.code in (code, "length", "connection") if fault == "silent" else found.error.code == code
    assert "1.vital" in found.error.message
    assert data_files(tmp_path / "cache") == before
    assert source.cache.check("2.vital") == ""
    data.faults.clear()
    assert source.fetch(1).ok  # and the same call succeeds once the fault is gone


@pytest.mark.parametrize("fault", ["500", "429", "html", "silent", "reset", "truncated", "gzip with a wrong bit"])
def test_a_passing_fault_is_tried_again(vitaldb_server: tuple[str, Any], tmp_path: Path, fault: str) -> None:
    address, data = vitaldb_server
    data.faults["/1.0.1/1.vital"] = [fault, "none"]
    found = client(address, tmp_path / "cache").fetch(1)
    assert found.ok, found.error
    assert found.path.read_bytes() == data.files["/1.0.1/1.vital"]
    assert data.asked["/1.0.1/1.vital"] == 2


def test_what_is_missing_is_not_asked_for_twice(vitaldb_server: tuple[str, Any], tmp_path: Path) -> None:
    address, data = vitaldb_server
    found = client(address, tmp_path / "cache").fetch(99)
    assert found.error.code == "not-found"
    assert data.asked["/1.0.1/99.vital"] == 1


def test_the_next_attempt_goes_on_from_the_bytes_that_came(vitaldb_server: tuple[str, Any], tmp_path: Path) -> None:
    address, data = vitaldb_server
    data.faults["/1.0.1/1.vital"] = ["truncated", "none"]
    found = client(address, tmp_path / "cache").fetch(1)
    half = len(data.files["/1.0.1/1.vital"]) // 2
    assert found.ok and data.ranges == [f"bytes={half}-"]
    assert found.path.read_bytes() == data.files["/1.0.1/1.vital"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(vitaldb_server: tuple[str, Any], tmp_path: Path) -> None:
    address, data = vitaldb_server
    cache = Cache(tmp_path / "cache")
    cache.partial("1.vital").write_bytes(b"old bytes")
    note = {"url": f"{address}/1.0.1/1.vital", "validator": '"old"'}
    cache.partial("1.vital.json").write_text(json.dumps(note))
    found = client(address, tmp_path / "cache").fetch(1)
    assert found.ok and data.ranges == ["bytes=9-"]
    assert found.path.read_bytes() == data.files["/1.0.1/1.vital"]


def test_without_a_version_of_the_file_nothing_is_gone_on_from(vitaldb_server: tuple[str, Any], tmp_path: Path) -> None:
    address, data = vitaldb_server
    data.validators = False
    data.faults["/1.0.1/1.vital"] = ["truncated", "none"]
    found = client(address, tmp_path / "cache").fetch(1)
    assert found.ok and data.ranges == []


def test_a_killed_process_leaves_nothing_that_is_read_and_the_next_goes_on(
    vitaldb_server: tuple[str, Any], tmp_path: Path
) -> None:
    address, data = vitaldb_server
    data.files["/1.0.1/1.vital"] = data.files["/1.0.1/1.vital"]
    data.faults["/1.0.1/1.vital"] = ["slow"]
    code = f"""
        from pathlib import Path
        from pulsebayes.waveforms.vitaldb import Cache, Patience, VitalDB
        source = VitalDB(Cache(Path({str(tmp_path / "cache")!r})), {address!r}, patience=Patience(timeout_s=20))
        source.fetch(1)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env={**os.environ})
    part = tmp_path / "cache" / ".partial" / "1.vital"
    for _ in range(600):
        if part.is_file() or child.poll() is not None:
            break
        time.sleep(0.05)
    assert part.is_file()
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "cache" / "1.vital").exists()
    data.faults.clear()
    found = client(address, tmp_path / "cache").fetch(1)
    assert found.ok and found.path.read_bytes() == data.files["/1.0.1/1.vital"]
    assert data_files(tmp_path / "cache") == {"1.vital", "index.json"}


def test_damage_in_the_cache_is_seen_and_mended(vitaldb_server: tuple[str, Any], tmp_path: Path) -> None:
    address, data = vitaldb_server
    source = client(address, tmp_path / "cache")
    path = source.fetch(1).path
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    offline = client(address, tmp_path / "cache", offline=True)
    assert offline.fetch(1).error.code == "offline"
    assert "changed since it was fetched" in offline.fetch(1).error.message
    assert source.fetch(1).fetched
    assert path.read_bytes() == data.files["/1.0.1/1.vital"]
    assert offline.fetch(1).ok


def test_offline_asks_nobody(tmp_path: Path) -> None:
    source = client("http://127.0.0.1:9", tmp_path / "cache", offline=True)
    assert source.fetch(1).error.code == "offline"
    with pytest.raises(SourceError, match="not in the cache"):
        source.table("cases")


def test_cases_are_chosen_by_their_tracks(vitaldb_server: tuple[str, Any], tmp_path: Path) -> None:
    source = client(vitaldb_server[0], tmp_path / "cache")
    assert source.choose(Tracks.usual()) == [1, 2, 5]
    assert source.choose(Tracks.parse("SNUADC/ART,Vigilance/CO|CardioQ/CO")) == [1, 5]
    assert source.table("cases")[0]["subjectid"] == "101"  # came compressed, with a byte order mark
    assert vitaldb_server[1].asked["/trks"] == 1


@pytest.mark.parametrize("fault", ["500", "html", "html, called binary", "not gzip", "truncated"])
def test_a_bad_table_is_refused(vitaldb_server: tuple[str, Any], tmp_path: Path, fault: str) -> None:
    address, data = vitaldb_server
    data.faults["/trks"] = [fault]
    source = client(address, tmp_path / "cache")
    with pytest.raises(SourceError, match="trks"):
        source.choose(Tracks.usual())
    assert data_files(tmp_path / "cache") == set()


def test_few_files_at_a_time_and_one_failure_does_not_stop_the_others(
    vitaldb_server: tuple[str, Any], tmp_path: Path
) -> None:
    address, data = vitaldb_server
    for case in (1, 2, 3, 5):
        data.faults[f"/1.0.1/{case}.vital"] = ["patient"]
    data.faults["/1.0.1/4.vital"] = ["500"]
    told: list[int] = []
    found = client(address, tmp_path / "cache").fetch_all(
        [1, 2, 3, 4, 5], parallel=2, done=lambda outcome: told.append(outcome.case)
    )
    assert [o.ok for o in found] == [True, True, True, False, True]
    assert sorted(told) == [1, 2, 3, 4, 5]
    assert data.busiest <= 2
    with pytest.raises(ValueError, match=r"1\.\.4"):
        client(address, tmp_path / "cache").fetch_all([1], parallel=9)


def test_waits_grow_and_the_servers_wish_is_kept(vitaldb_server: tuple[str, Any], tmp_path: Path) -> None:
    from pulsebayes.waveforms.vitaldb import download

    address, data = vitaldb_server
    waited: list[float] = []
    data.faults["/1.0.1/1.vital"] = ["500"]
    with pytest.raises(SourceError, match=r"500 .*\(4 attempts\)"):
        download(
            f"{address}/1.0.1/1.vital",
            tmp_path / "x",
            check=lambda _: None,
            patience=Patience(attempts=4, wait_s=1.0),
            sleep=waited.append,
        )
    assert all(0.5 * 2**k <= wait <= 2**k for k, wait in enumerate(waited)) and len(waited) == 3
    data.faults["/1.0.1/1.vital"] = ["429"]
    waited.clear()
    with pytest.raises(SourceError):
        download(
            f"{address}/1.0.1/1.vital",
            tmp_path / "x",
            check=lambda _: None,
            patience=Patience(attempts=2, wait_s=0.0),
            sleep=waited.append,
        )
    assert waited == [0.05]


def test_the_cache_never_lies_in_the_source_tree() -> None:
    import pulsebayes

    inside = Path(pulsebayes.__file__).parent / "data"
    with pytest.raises(SourceError, match="outside the source tree"):
        Cache(inside)
    assert not inside.exists()


def test_two_writers_keep_each_others_entries(tmp_path: Path) -> None:
    one, two = Cache(tmp_path), Cache(tmp_path)
    for cache, name in ((one, "1.vital"), (two, "2.vital"), (one, "3.vital")):
        cache.partial(name).write_bytes(name.encode())
        cache.admit(name, url="http://localhost")
    assert set(one.entries()) == {"1.vital", "2.vital", "3.vital"}


def test_two_who_want_the_same_file_do_not_write_into_one_another(
    vitaldb_server: tuple[str, Any], tmp_path: Path
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    address, data = vitaldb_server
    data.faults["/1.0.1/1.vital"] = ["patient"]
    clients = [client(address, tmp_path / "cache", Patience(timeout_s=10)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda source: source.fetch(1), clients))
    assert all(o.ok for o in found) and sorted(o.fetched for o in found) == [False, False, False, True]
    assert data.asked["/1.0.1/1.vital"] == 1
    assert data_files(tmp_path / "cache") == {"1.vital", "index.json"}


def test_a_broken_index_loses_no_file(vitaldb_server: tuple[str, Any], tmp_path: Path) -> None:
    source = client(vitaldb_server[0], tmp_path / "cache")
    source.fetch(1)
    (tmp_path / "cache" / "index.json").write_text("{")
    again = source.fetch(1)
    assert again.ok and again.fetched  # what nobody vouches for is fetched again


def test_numbers_survive_writing_and_reading(tmp_path: Path) -> None:
    from pulsebayes.waveforms.writers import VitalNumbers, VitalWave, write_vital

    values = np.sin(np.arange(1000) / 30.0) * 40 + 90
    values[300:420] = np.nan
    for packed in (False, True):
        path = write_vital(
            tmp_path / "a.vital",
            [VitalWave("SNUADC/ART", values, 125.0, "mmHg")],
            [VitalNumbers("Vigilance/CO", np.array([3.0, 5.0]), np.array([4.5, np.nan]), "L/min")],
            packed=packed,
        )
        recording, numbers = open_case(path)
        read = recording.values("ART")
        assert np.flatnonzero(np.isnan(read)).tolist() == list(range(300, 420))
        np.testing.assert_allclose(read, values, atol=1e-3, equal_nan=True)
        assert numbers["Vigilance/CO"].times_s.tolist() == pytest.approx([3.0, 5.0])
