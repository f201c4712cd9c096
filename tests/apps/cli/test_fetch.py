"""`pulsebayes fetch vitaldb`, in process, against the loopback server."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    place = Path(__file__).resolve().parents[2] / "waveforms" / "vitaldb" / "server.py"
    spec = importlib.util.spec_from_file_location("vitaldb_server", place)
    module = importlib.util.module_from_spec(spec)
    sys.modules["vitaldb_server"] = module
    spec.loader.exec_module(module)
    folder = tmp_path / "served"
    folder.mkdir()
    with module.serve(folder) as running:
        yield running


def words(server: tuple[str, Any], tmp_path: Path) -> list[object]:
    cache = tmp_path / "cache"
    return ["--base-url", server[0], "--cache", cache, "--wait", "0.01", "--attempts", "2", "--timeout", "0.3"]


def test_nothing_is_fetched_before_the_terms_are_accepted(
    run: Callable[..., Any], server: tuple[str, Any], tmp_path: Path
) -> None:
    ran = run("fetch", "vitaldb", "--cases", "1", *words(server, tmp_path))
    assert ran.code == 2
    assert "CC BY-NC-SA" in ran.err and "data use agreement" in ran.err and "--accept-terms" in ran.err
    assert not server[1].asked and not (tmp_path / "cache").exists()


def test_cases_with_the_tracks_are_fetched_and_found_again(
    run: Callable[..., Any], server: tuple[str, Any], tmp_path: Path
) -> None:
    options = words(server, tmp_path)
    ran = run("fetch", "vitaldb", "--accept-terms", "-n", "2", *options, "--json")
    found = json.loads(ran.out)
    assert ran.code == 0 and [row["case"] for row in found["cases"]] == [1, 2]
    assert {row["status"] for row in found["cases"]} == {"fetched"}
    assert {p.name for p in (tmp_path / "cache").iterdir() if p.is_file()} == {
        "1.vital", "2.vital", "cases.csv", "trks.csv", "index.json",
    }  # fmt: skip
    asked = dict(server[1].asked)
    ran = run("fetch", "vitaldb", "--offline", "-n", "2", *options, "--json")
    assert ran.code == 0 and {row["status"] for row in json.loads(ran.out)["cases"]} == {"cached"}
    assert dict(server[1].asked) == asked


def test_cases_can_be_listed_and_named(run: Callable[..., Any], server: tuple[str, Any], tmp_path: Path) -> None:
    options = words(server, tmp_path)
    ran = run("fetch", "vitaldb", "--accept-terms", "--list", *options, "--json")
    assert json.loads(ran.out) == {"cases": [1, 2, 5]}
    ran = run("fetch", "vitaldb", "--accept-terms", "--list", "--tracks", "SNUADC/ART,EV1000/CO", *options)
    assert ran.out == "1 cases: 2\n"
    ran = run("fetch", "vitaldb", "--accept-terms", "--cases", "3-4", "--labs", *options)
    assert ran.code == 0 and "2 of 2 cases" in ran.out
    assert (tmp_path / "cache" / "labs.csv").is_file()


def test_a_failure_is_told_with_its_code_and_exit_seven(
    run: Callable[..., Any], server: tuple[str, Any], tmp_path: Path
) -> None:
    server[1].faults["/1.0.1/2.vital"] = ["html"]
    ran = run("fetch", "vitaldb", "--accept-terms", "--cases", "1,2,77", *words(server, tmp_path), "--json")
    rows = {row["case"]: row for row in json.loads(ran.out)["cases"]}
    assert ran.code == 7
    assert (rows[1]["status"], rows[2]["error"]["code"], rows[77]["error"]["code"]) == ("fetched", "html", "not-found")
    assert not (tmp_path / "cache" / "2.vital").exists()


def test_named_cases_can_be_had_without_the_table_of_cases(
    run: Callable[..., Any], server: tuple[str, Any], tmp_path: Path
) -> None:
    server[1].faults["/cases"] = ["500"]
    ran = run("fetch", "vitaldb", "--accept-terms", "--cases", "1", *words(server, tmp_path))
    assert ran.code == 0 and "a subject of its own" in ran.err
    ran = run("fetch", "vitaldb", "--accept-terms", "-n", "1", *words(server, tmp_path))
    assert ran.code == 7 and "cases" in ran.err


@pytest.mark.parametrize("cases", ["0", "a", "5-3", "1;2"])
def test_numbers_that_are_none_are_refused(run: Callable[..., Any], tmp_path: Path, cases: str) -> None:
    ran = run("fetch", "vitaldb", "--accept-terms", "--cases", cases, "--cache", tmp_path / "c")
    assert ran.code == 2 and "--cases takes numbers" in ran.err


def test_no_server_is_exit_seven(run: Callable[..., Any], tmp_path: Path) -> None:
    options = ["--base-url", "http://127.0.0.1:9", "--cache", tmp_path / "c", "--attempts", "1"]
    ran = run("fetch", "vitaldb", "--accept-terms", "--cases", "1", *options)
    assert ran.code == 7 and "connection" in ran.err


def test_the_address_comes_from_the_environment(
    run: Callable[..., Any], server: tuple[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULSEBAYES_VITALDB_URL", server[0])
    monkeypatch.setenv("PULSEBAYES_VITALDB_CACHE", str(tmp_path / "own"))
    assert run("fetch", "vitaldb", "--accept-terms", "--cases", "1").code == 0
    assert (tmp_path / "own" / "1.vital").is_file()
