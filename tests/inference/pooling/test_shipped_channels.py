"""The pooling layer of `abp-ppg` as it ships: what was measured of it, and real recordings of the line and the clip."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pulsebayes.apps.cli.main import run
from pulsebayes.inference.answer import Answer
from pulsebayes.inference.answering import Question, answer_recording
from pulsebayes.inference.bundle import Bundle, find_bundle
from pulsebayes.inference.coverage import missed_coverage
from pulsebayes.inference.pooling import PoolingLayer, answer_pooled, load_pooling
from pulsebayes.inference.pooling.coverage import measured_alike
from pulsebayes.waveforms.recording import Recording

QUESTION = Question(every_s=16.0, n_draws=200)

Shipped = tuple[Bundle, PoolingLayer]


@pytest.fixture(scope="module")
def shipped() -> Shipped:
    torch.set_num_threads(1)
    folder = find_bundle("abp-ppg")
    bundle = Bundle.load(folder)
    layer = load_pooling(folder, bundle)
    assert layer is not None
    return bundle, layer


def _recording(root: Path, number: int, seconds: int, flat: slice | None = None) -> Recording:
    """A real line and clip; the line is flat for a while where that is said [s]."""
    stored = np.load(root / f"uci_cuffless/rec_{number}.npz")
    fs = float(stored["fs"])
    waves = {name: stored[name][: round(seconds * fs)].astype(float) for name in ("ABP", "PPG")}
    if flat is not None:
        waves["ABP"][round(flat.start * fs) : round(flat.stop * fs)] = 80.0
    return Recording.from_arrays(f"rec_{number}", waves, fs=fs, units={"ABP": "mmHg"})


def test_a_pool_is_nowhere_worse_than_a_window_and_tells_trends_better(shipped: Shipped) -> None:
    alike = shipped[1].measured["alike"]
    assert set(alike) == {"ART", "PLETH", "ART+PLETH"}
    for given, rows in alike.items():
        for row in rows.values():
            for q in ("SV", "CO"):
                more, error = row[q]["difference"]
                assert more < 2 * error
                if "ART" in given:
                    assert row[q]["trend"]["recording"] < 0.5 * row[q]["trend"]["window"]


def test_intervals_of_pools_hold_what_they_say(shipped: Shipped) -> None:
    measured = shipped[1].measured
    for size, levels in measured["coverage_by_pool"].items():
        for name, share in levels["0.9"].items():
            assert abs(share - 0.9) < 0.03, (size, name)
    assert measured["changes"]["splices"]["share"] >= 0.95


def test_one_patient_is_hardly_ever_taken_for_two_and_two_are_told_apart(shipped: Shipped) -> None:
    quiet = shipped[1].measured["changes"]["quiet"]
    assert quiet["an_hour"] <= 0.02
    assert quiet["splices"]["share"] >= 0.95
    assert sum(row["of"] for row in quiet["splices_by_channels"].values()) == quiet["splices"]["of"]


def test_a_pool_of_one_window_is_the_window_model(shipped: Shipped, real_data: Path) -> None:
    recording = _recording(real_data, 1, 8)
    (alone,) = (w.result for w in answer_recording(shipped[0], recording, QUESTION))
    (pooled,) = (w.result for w in answer_pooled(*shipped, recording, QUESTION))
    assert isinstance(alone, Answer)
    assert isinstance(pooled, Answer)
    for name, draws in alone.draws.items():
        np.testing.assert_array_equal(pooled.draws[name], draws)


def test_a_pool_goes_on_where_the_line_is_lost(shipped: Shipped, real_data: Path) -> None:
    recording = _recording(real_data, 1, 160, slice(56, 100))
    found = {}
    for pool in ("recording", "causal"):
        windows = answer_pooled(*shipped, recording, QUESTION, pool=pool)  # type: ignore[arg-type]
        found[pool] = [w.result for w in windows if isinstance(w.result, Answer)]
    answers = found["recording"]
    given = [a.signal["given"] for a in answers]
    assert {"PLETH", "ART+PLETH"} <= set(given)
    assert {a.pool["windows"] for a in answers if a.pool} == {len(answers)}
    assert [a.pool["windows"] for a in found["causal"] if a.pool] == list(range(1, len(answers) + 1))
    clip = answers[given.index("PLETH")]
    assert clip.calibration is not None
    assert clip.calibration["n"] == shipped[1].measured["given"]["PLETH"]["n"]
    for name, draws in answers[-1].draws.items():  # the last of a causal pool knows the whole recording
        np.testing.assert_allclose(found["causal"][-1].draws[name], draws, rtol=1e-3, atol=1e-3)


def test_a_file_with_both_is_pooled_by_default_and_says_so(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = np.load(real_data / "uci_cuffless/rec_4.npz")
    rows = np.column_stack([stored[name][:5000].astype(float) for name in ("ABP", "PPG")])
    lines = [f"{i / 125.0:.3f},{a:.3f},{p:.4f}" for i, (a, p) in enumerate(rows)]
    path = tmp_path / "both.csv"
    path.write_text("time_s,ABP [mmHg],PLETH\n" + "\n".join(lines) + "\n")
    words = ["infer", str(path), "--model", "abp-ppg", "--draws", "100"]
    assert run([*words, "--json"]) == 0
    windows = json.loads(capsys.readouterr().out)["windows"]
    assert [w["pool"]["mode"] for w in windows] == ["recording"] * 5
    assert [w["pool"]["windows"] for w in windows] == [5] * 5
    assert run([*words, "--pool", "window", "--json"]) == 0
    assert all("pool" not in w for w in json.loads(capsys.readouterr().out)["windows"])
    assert run(words) == 0
    assert "Slow quantities from 5 windows" in capsys.readouterr().out


def test_coverage_is_cited_of_windows_with_the_same_channels(shipped: Shipped) -> None:
    told = measured_alike(shipped[1].measured, 12, "ART")
    own = shipped[1].measured["given"]["ART"]
    assert told is not None and (told["n"], told["coverage"]) == (own["n"], own["coverage"])
    assert told["recordings"] == sum(part["recordings"] for part in own["error"].values())
    assert "pool" not in told


def test_what_misses_with_the_channels_is_marked_with_a_reference_too(shipped: Shipped) -> None:
    """Before, a reference took the marks of a clip's pressures away; none was measured by channels."""
    measured = shipped[1].measured
    for given in measured["given"]:
        alone = missed_coverage(measured["given"][given]["coverage"])
        told = measured_alike(measured, 64, given, ["CO=5+-0.5@60s"])
        assert told is not None and alone and set(alone) <= set(told["not_calibrated"])
        assert told["n"] == measured["anchored"]["n"]


@pytest.mark.parametrize(("windows", "size"), [(1, "1"), (3, "1"), (4, "10"), (15, "10"), (40, "64"), (500, "200")])
def test_coverage_is_cited_of_pools_of_about_the_size(windows: int, size: str) -> None:
    from pulsebayes.inference._source_lines import calibration_line
    from pulsebayes.inference.answer import cited_coverage

    measured = json.loads((find_bundle("radial-abp") / "pooling.json").read_text(encoding="utf-8"))["measured"]
    told = measured_alike(measured, windows, "ART")
    assert told is not None and told["coverage"] == measured["coverage_by_pool"][size]
    cited = cited_coverage(told, 0.9, None)
    assert cited is not None and cited["n"] == cited["recordings"] == measured["recordings_by_pool"][size]
    assert f" of windows in pools of {size}, from {cited['n']} held-out" in calibration_line(cited, 0.9)
