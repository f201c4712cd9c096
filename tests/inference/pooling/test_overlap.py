"""Windows that overlap are no new data: those that count are those that would be asked for end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsebayes import apps
from pulsebayes.inference.answer import Answer
from pulsebayes.inference.answering import Question, answer_recording
from pulsebayes.inference.bundle import Bundle
from pulsebayes.inference.pooling import PoolingLayer, answer_pooled, parse_anchor
from pulsebayes.inference.pooling.overlap import begins, that_count
from pulsebayes.waveforms import read
from pulsebayes.waveforms.recording import Recording

DEMO = Path(apps.__path__[0]) / "cli" / "demo_data" / "simulated_patient.hea"
APART = Question(every_s=8.0, end_s=64.0, n_draws=200)
OFTEN = replace(APART, every_s=2.0)
POOLS = ("recording", "causal")

Shipped = tuple[Bundle, PoolingLayer]


def _answers(shipped: Shipped, recording: Recording, question: Question, **options: Any) -> dict[float, Answer]:
    found = [w.result for w in answer_pooled(*shipped, recording, question, **options)]
    return {one.start_s: one for one in found if isinstance(one, Answer)}


def _pool(answer: Answer) -> dict[str, Any]:
    assert answer.pool is not None
    return dict(answer.pool)


def _spliced() -> Recording:
    """A patient for 40 s, then the same pulse one and a half times as fast, wider and by 40 mmHg higher."""
    wave = np.array(read(DEMO).values("ART"))
    faster = np.interp(np.arange(40 * 125) * 1.5, np.arange(len(wave)), wave)
    wave = np.concatenate((wave[: 40 * 125], 120 + 1.5 * (faster - faster.mean())))
    return Recording.from_arrays("spliced", {"ABP": wave}, fs=125, units={"ABP": "mmHg"})


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("anchors", [(), ("CO=5.5+-0.3@28s",)])
def test_asking_more_often_changes_no_answer(shipped: Shipped, pool: str, anchors: tuple[str, ...]) -> None:
    """Before, pools were four times as large with windows every 2 s, and what they share too narrow."""
    known = {"pool": pool, "anchors": [parse_anchor(text) for text in anchors]}
    apart, often = (_answers(shipped, read(DEMO), question, **known) for question in (APART, OFTEN))
    assert len(often) > 3 * len(apart)
    for start_s, one in apart.items():
        for key in ("windows", "start_s", "end_s", "sensor_start_s", "shifted"):
            assert _pool(often[start_s])[key] == _pool(one)[key]
        if start_s != 24 or not (anchors and pool == "causal"):
            assert _pool(often[start_s])["anchors"] == _pool(one)["anchors"]
        if not (anchors and pool == "causal"):  # there the reference belongs to the window from 28 s on, not from 24 s
            for name, draws in one.draws.items():
                np.testing.assert_allclose(often[start_s].draws[name], draws, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("pool", POOLS)
def test_windows_between_are_answered_given_those_that_count(shipped: Shipped, pool: str) -> None:
    often = _answers(shipped, read(DEMO), OFTEN, pool=pool)
    for start_s, one in often.items():
        between = start_s % 8 != 0
        assert _pool(one).get("counted", True) != between
        assert ("overlaps one that counts" in one.sources()["model"]) == between
        before = often[start_s - start_s % 8]
        if pool == "recording":
            assert _pool(one)["slow"] == _pool(before)["slow"]
            assert _pool(one)["windows"] == 8
        elif start_s >= 8:
            assert _pool(one)["windows"] == start_s // 8 + 1
            assert _pool(one)["end_s"] == start_s - start_s % 8 + 8
        if between and start_s > 8:
            assert not np.array_equal(one.draws["SV"], before.draws["SV"])


def test_a_causal_pool_of_one_window_answers_those_that_overlap_it_as_themselves(shipped: Shipped) -> None:
    question = replace(OFTEN, end_s=14.0)
    alone = [w.result for w in answer_recording(shipped[0], read(DEMO), question)]
    for pool in POOLS:
        pooled = _answers(shipped, read(DEMO), question, pool=pool)
        for one in alone:
            assert isinstance(one, Answer)
            own = _pool(pooled[one.start_s])
            assert (own["windows"], own["start_s"], own["end_s"]) == (1, one.start_s, one.end_s)
            for name, draws in one.draws.items():
                np.testing.assert_array_equal(pooled[one.start_s].draws[name], draws)


@pytest.mark.parametrize("pool", POOLS)
def test_windows_end_to_end_are_answered_as_if_nothing_could_overlap(
    shipped: Shipped, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _answers(shipped, read(DEMO), APART, pool=pool, anchors=[parse_anchor("CO=5.5@28s")])
    monkeypatch.setattr("pulsebayes.inference.pooling.overlap.overlaps", lambda *_: False)
    monkeypatch.setattr("pulsebayes.inference.pooling.running.overlaps", lambda *_: False)
    plain = _answers(shipped, read(DEMO), APART, pool=pool, anchors=[parse_anchor("CO=5.5@28s")])
    assert made.keys() == plain.keys()
    for start_s, one in plain.items():
        assert _pool(made[start_s]) == _pool(one)
        for name, draws in one.draws.items():
            np.testing.assert_array_equal(made[start_s].draws[name], draws)


@pytest.mark.parametrize("pool", POOLS)
def test_a_splice_is_found_where_it_is_found_end_to_end(shipped: Shipped, pool: str) -> None:
    apart, often = (
        _answers(shipped, _spliced(), replace(question, end_s=80.0), pool=pool) for question in (APART, OFTEN)
    )
    assert len({_pool(one)["start_s"] for one in apart.values()}) == 2
    for start_s, one in apart.items():
        assert _pool(often[start_s])["start_s"] == _pool(one)["start_s"]
        assert _pool(often[start_s])["windows"] == _pool(one)["windows"]
    starts = [_pool(one)["start_s"] for one in often.values() if _pool(one)["windows"] > 1]
    assert starts == sorted(starts)
    most = [max(_pool(one)["windows"] for one in found.values()) for found in (apart, often)]
    assert most[0] == most[1]


def test_windows_belong_to_the_nearest_that_counts() -> None:
    time_s = np.arange(0.0, 40.0)
    counted = that_count(time_s, 8.0)
    assert np.flatnonzero(counted).tolist() == [0, 8, 16, 24, 32]
    assert begins(time_s, counted).tolist() == [0, 5, 13, 21, 29]
    assert begins(time_s, np.ones(40, bool)).tolist() == list(range(40))
    np.testing.assert_array_equal(np.flatnonzero(that_count(time_s[5:], 8.0)), [0, 8, 16, 24, 32])


def test_windows_a_sample_short_of_their_length_apart_do_not_overlap() -> None:
    assert that_count(7.9999 * np.arange(5), 8.0).all()
    assert that_count(7.9 * np.arange(5), 8.0).tolist() == [True, False, True, False, True]
