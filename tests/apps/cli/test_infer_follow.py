"""`infer --follow`: a growing file answered while it grows, the default pools, and what does not go together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., Any]
Pulse = Callable[[float], np.ndarray]
Write = Callable[..., Path]


@pytest.fixture
def recording(tmp_path: Path, pulse: Pulse, write_csv: Write) -> Path:
    r"""Three good windows."""
    return write_csv(tmp_path / "abp.csv", pulse(24))


def test_a_file_that_does_not_grow_is_answered_and_has_ended(run: Run, recording: Path, model: Path) -> None:
    words = ("infer", recording, "--fs", 125, "--model", model, "--draws", 50, "--json")
    whole, followed = run(*words), run(*words, "--follow", "--idle", "1s")
    assert followed.code == 0
    assert json.loads(followed.out) == json.loads(whole.out)
    assert "abp.csv has ended" in followed.err


def test_the_usual_pool_is_the_recording_and_causal_where_it_grows(run: Run, recording: Path) -> None:
    words = ("infer", recording, "--fs", 125, "--draws", 50, "--json")
    for more, mode in (((), "recording"), (("--follow", "--idle", "1s"), "causal")):
        ran = run(*words, *more)
        assert ran.code == 0
        assert [w["pool"]["mode"] for w in json.loads(ran.out)["windows"]] == [mode] * 3
    alone = run(*words, "--pool", "window")
    assert all("pool" not in w for w in json.loads(alone.out)["windows"])


@pytest.mark.parametrize("every", ["8s", "4s"])
def test_line_and_clip_are_followed_as_the_finished_file_is_pooled(
    run: Run, tmp_path: Path, pulse: Pulse, every: str
) -> None:
    """Both, a flat clip, a clip that is not there, a line that is not, neither, both again."""
    art, pleth = pulse(48), 0.01 * pulse(48)
    pleth[1000:2000], pleth[2050:2950], art[3050:4950], pleth[4050:4950] = 0.7, np.nan, np.nan, np.nan
    path = tmp_path / "two.csv"
    cells = [["" if np.isnan(v) else f"{v:.4f}" for v in wave] for wave in (art, pleth)]
    rows = [f"{i / 125:.3f},{a},{p}\n" for i, (a, p) in enumerate(zip(*cells, strict=True))]
    path.write_text("time [s],ABP [mmHg],PLETH\n" + "".join(rows))
    words = ("infer", path, "--model", "abp-ppg", "--every", every, "--draws", 50, "--json")
    whole, followed = run(*words, "--pool", "causal"), run(*words, "--follow", "--idle", "1s")
    assert whole.code == followed.code == 0
    found = json.loads(followed.out)
    assert found == json.loads(whole.out)
    given = [w["signal"].get("given") for w in found["windows"] if w["start_s"] % 8 == 0]
    assert given == ["ART+PLETH", "ART", "ART", "PLETH", None, "ART+PLETH"]
    assert found["windows"][-1]["pool"]["windows"] == 5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--follow", "--pool", "recording"), "before the recording is over"),
        (("abp2.csv", "--follow"), "takes one file"),
        (("--follow", "--idle", "0s"), "--idle"),
    ],
)
def test_what_does_not_go_with_follow_is_refused(
    run: Run, recording: Path, more: tuple[str, ...], message: str
) -> None:
    ran = run("infer", recording, *more)
    assert ran.code == 2
    assert message in ran.err


def test_a_followed_file_that_does_not_exist_is_told(run: Run, tmp_path: Path) -> None:
    ran = run("infer", tmp_path / "none.csv", "--follow")
    assert ran.code == 3
    assert "no such file" in ran.err


@pytest.mark.parametrize("text", ["", "time [s],PLETH\n" + "".join(f"{i / 125:.3f},{i % 90}\n" for i in range(1500))])
def test_a_followed_file_that_does_not_fit_is_told_as_a_finished_one(run: Run, tmp_path: Path, text: str) -> None:
    """Nothing in it; another channel, with the models that fit."""
    path = tmp_path / "other.csv"
    path.write_text(text)
    finished, followed = run("infer", path), run("infer", path, "--follow", "--idle", "1s")
    assert followed.code == finished.code != 0
    assert finished.err.splitlines()[0] in followed.err.splitlines()


def _started(recording: Path, model: Path) -> subprocess.Popen[str]:
    words = [
        "infer",
        str(recording),
        "--fs",
        "125",
        "--model",
        str(model),
        "--draws",
        "50",
        "--follow",
        "--idle",
        "5min",
    ]
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "  # a shell's & ignores it
        "from pulsebayes.apps.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _read_until(process: subprocess.Popen[str], word: str) -> str:
    """Lines up to the first that holds a word; the test's own time limit is the suite's."""
    assert process.stdout is not None
    found = ""
    for line in process.stdout:
        found += line
        if word in line:
            return found
    raise AssertionError(f"ended without {word!r}: {found}")


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_windows_come_while_the_file_grows_and_ctrl_c_keeps_them(recording: Path, model: Path, pulse: Pulse) -> None:
    process = _started(recording, model)
    try:
        assert "     16.0  " in _read_until(process, "     16.0  ")
        with recording.open("a", encoding="utf-8") as stream:
            stream.writelines(f"{v:.3f}\n" for v in pulse(32)[3000:])
        _read_until(process, "     24.0  ")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "answered 4, refused 0" in out
    assert "interrupted" in err and "--start 24s" in err


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be cut")
def test_a_file_that_is_cut_short_ends_with_what_was_answered(recording: Path, model: Path) -> None:
    process = _started(recording, model)
    try:
        _read_until(process, "     16.0  ")
        recording.write_text("ABP [mmHg]\n80\n")
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0  # windows were answered
    assert "answered 3" in out
    assert "shrank" in err
