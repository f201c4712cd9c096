"""A recording answered as one patient's: pools, the shipped layer, splices and references."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pulsebayes import apps
from pulsebayes.inference.answer import Answer, Prior, Refusal
from pulsebayes.inference.answering import Question, answer_recording, question_windows
from pulsebayes.inference.bundle import Bundle, BundleError, find_bundle
from pulsebayes.inference.domain import DomainVerdict
from pulsebayes.inference.pooling import PoolingLayer, RunningPool, answer_pooled, load_pooling, parse_anchor
from pulsebayes.inference.pooling.answering import _Desk
from pulsebayes.inference.pooling.answers import PooledAnswers, Seen
from pulsebayes.inference.pooling.segments import Change, ChangeFinder, split_pool
from pulsebayes.waveforms import read
from pulsebayes.waveforms.recording import Recording, RecordingError

DEMO = Path(apps.__path__[0]) / "cli" / "demo_data" / "simulated_patient.hea"
QUESTION = Question(every_s=24.0, n_draws=300)

Shipped = tuple[Bundle, PoolingLayer]


def _answers(shipped: Shipped, **options: object) -> list[Answer]:
    windows = answer_pooled(*shipped, read(DEMO), QUESTION, **options)  # type: ignore[arg-type]
    return [w.result for w in windows if isinstance(w.result, Answer)]


def test_a_pool_of_one_window_is_the_window_model(shipped: Shipped) -> None:
    alone = [w.result for w in answer_recording(shipped[0], read(DEMO), QUESTION)]
    first = _answers(shipped, pool="causal")[0]
    assert isinstance(alone[0], Answer)
    assert first.pool is not None
    assert first.pool["windows"] == 1
    for name, draws in alone[0].draws.items():
        np.testing.assert_array_equal(first.draws[name], draws)


def test_a_whole_recording_agrees_on_what_its_windows_share(shipped: Shipped) -> None:
    answers = _answers(shipped, pool="recording")
    assert [a.pool["windows"] for a in answers if a.pool] == [len(answers)] * len(answers)
    medians = np.array([a.pool["slow"]["C90"]["median"] for a in answers if a.pool])
    assert np.ptp(np.log(medians)) < 0.1
    for answer in answers:
        np.testing.assert_allclose(answer.draws["CO"], answer.draws["HR"] * answer.draws["SV"] / 1000, rtol=1e-5)


def test_the_last_causal_pool_is_the_whole_recording(shipped: Shipped) -> None:
    whole, causal = (_answers(shipped, pool=pool)[-1] for pool in ("recording", "causal"))
    for name, draws in whole.draws.items():
        np.testing.assert_allclose(causal.draws[name], draws, rtol=1e-3, atol=1e-3)


def test_a_reference_narrows_every_window_and_is_named(shipped: Shipped) -> None:
    plain = _answers(shipped, pool="recording")
    anchored = _answers(shipped, pool="recording", anchors=[parse_anchor("CO=5.5+-0.2@50s")])
    for before, after in zip(plain, anchored, strict=True):
        width = [e.high - e.low for e in (before.estimates["CO"], after.estimates["CO"])]
        assert width[1] < width[0]
        assert after.estimates["CO"].median > before.estimates["CO"].median  # 5.0 without it
        assert after.pool is not None
        assert after.pool["anchors"] == ["CO=5.5+-0.2@50s"]
        assert "reference CO=5.5+-0.2@50s" in after.sources()["model"]


def test_a_reference_counts_only_from_its_time_on_in_a_causal_pool(shipped: Shipped) -> None:
    plain = _answers(shipped, pool="causal")
    anchored = _answers(shipped, pool="causal", anchors=[parse_anchor("CO=5.5+-0.2@76s")])
    for before, after in zip(plain, anchored, strict=True):
        same = np.array_equal(before.draws["CO"], after.draws["CO"])
        assert same == (after.start_s < 72.0)


def test_a_reference_between_windows_counts_from_the_next_one_on_in_a_causal_pool(shipped: Shipped) -> None:
    """Before, a window that had ended before it took it, however long before."""
    anchored = _answers(shipped, pool="causal", anchors=[parse_anchor("CO=5.5@64s")])
    told = [bool(a.pool["anchors"]) for a in anchored if a.pool]
    assert told == [a.start_s >= 64.0 for a in anchored]
    rare = replace(QUESTION, every_s=96.0)
    with pytest.raises(RecordingError, match=r"no answered window takes the reference CO=5\.5"):
        list(answer_pooled(*shipped, read(DEMO), rare, pool="causal", anchors=[parse_anchor("CO=5.5@30s")]))


@pytest.mark.parametrize("text", ["height=1.8@10s", "CO=5@4000s"])
def test_a_reference_that_fits_nothing_is_refused(shipped: Shipped, text: str) -> None:
    with pytest.raises(RecordingError, match=r"quantity|minute"):
        _answers(shipped, anchors=[parse_anchor(text)])


@pytest.mark.parametrize("pool", ["recording", "causal"])
def test_a_reference_that_the_waves_contradict_is_refused_wherever_it_counts(shipped: Shipped, pool: str) -> None:
    """The patient's output is 5.1 L/min; before, 15 L/min was answered by three draws, 8.8 to 9.2 at 90 %."""
    asked = {"pool": pool, "anchors": [parse_anchor("CO=15@50s")]}
    windows = list(answer_pooled(*shipped, read(DEMO), QUESTION, **asked))  # type: ignore[arg-type]
    counts = [pool == "recording" or w.result.start_s >= 48.0 for w in windows]
    assert any(counts)
    for one, refused in zip(windows, counts, strict=True):
        assert isinstance(one.result, Refusal if refused else Answer)
        if isinstance(one.result, Refusal):
            assert one.result.reason == "anchor"
            assert "CO=15+-1.5@50s contradict each other" in str(one.result.hint)


@pytest.mark.parametrize("pool", ["recording", "causal"])
def test_references_that_contradict_each_other_are_told_with_the_answer(shipped: Shipped, pool: str) -> None:
    """Before, 5 and 9 L/min at one time were answered as 6.4 without a word."""
    anchors = [parse_anchor("CO=4.5@50s"), parse_anchor("CO=7.5@50s")]
    with pytest.warns(UserWarning, match=r"references CO=4.5\+-0.45@50s and CO=7.5\+-0.75@50s contradict each other"):
        answers = _answers(shipped, pool=pool, anchors=anchors)
    told = [a for a in answers if a.pool is not None and "contradictions" in a.pool]
    assert len(told) == sum(bool(a.pool["anchors"]) for a in answers if a.pool) > 0
    assert "; the references CO=4.5+-0.45@50s and CO=7.5+-0.75@50s contradict" in told[-1].sources()["model"]


def test_a_reference_waits_for_the_next_answered_window_of_a_causal_pool(shipped: Shipped) -> None:
    """The window of its time is refused; before, it was dropped."""
    wave = np.array(read(DEMO).values("ART"))
    wave[20 * 125 : 36 * 125] = 80.0
    broken = Recording.from_arrays("broken", {"ABP": wave}, fs=125, units={"ABP": "mmHg"})
    anchors = [parse_anchor("CO=5.5@26s")]
    found = [w.result for w in answer_pooled(*shipped, broken, QUESTION, pool="causal", anchors=anchors)]
    assert [isinstance(r, Refusal) for r in found[:3]] == [False, True, False]
    pools = [r.pool["anchors"] for r in found if isinstance(r, Answer) and r.pool is not None]
    assert pools == [[]] + [["CO=5.5+-0.55@26s"]] * (len(pools) - 1)


def test_a_reference_at_the_first_window_reaches_the_later_ones_of_a_causal_pool(shipped: Shipped) -> None:
    """A pool of one window shares nothing yet; before, such a reference was forgotten with it."""
    plain, anchored = (
        _answers(shipped, pool="causal", anchors=anchors) for anchors in ([], [parse_anchor("CO=6.5+-0.2@4s")])
    )
    for before, after in zip(plain, anchored, strict=True):
        assert after.pool is not None and after.pool["anchors"] == ["CO=6.5+-0.2@4s"]
        assert after.estimates["CO"].median > before.estimates["CO"].median + 0.5
    whole = _answers(shipped, pool="recording", anchors=[parse_anchor("CO=6.5+-0.2@4s")])
    assert anchored[-1].estimates["CO"].median == pytest.approx(whole[-1].estimates["CO"].median, rel=0.03)


@pytest.mark.parametrize("pool", ["recording", "causal"])
def test_a_reference_that_is_said_twice_counts_once(shipped: Shipped, pool: str) -> None:
    """Before, a causal pool took it for two, a whole recording for one."""
    once, twice = (_answers(shipped, pool=pool, anchors=[parse_anchor("CO=5.5@50s")] * n) for n in (1, 2))
    for one, other in zip(once, twice, strict=True):
        assert one.pool == other.pool
        np.testing.assert_array_equal(one.draws["CO"], other.draws["CO"])


def test_a_reference_to_the_first_windows_of_a_new_patient_stays_when_the_causal_pool_is_split(
    shipped: Shipped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A split is known two windows late; before, it dropped what was measured on the new patient until then."""
    seen = iter(range(100))
    monkeypatch.setattr(ChangeFinder, "add", lambda *_: Change(3, "patient") if next(seen) == 5 else None)
    anchors = [parse_anchor(text) for text in ("CO=5.2@10s", "CO=5.5@34s")]
    often = replace(QUESTION, every_s=8.0, end_s=64.0)
    windows = answer_pooled(*shipped, read(DEMO), often, pool="causal", anchors=anchors)
    pools = [w.result.pool for w in windows if isinstance(w.result, Answer) and w.result.pool]
    assert [pool["windows"] for pool in pools] == [1, 2, 3, 4, 5, 3, 4, 5]
    old, new = (one.text for one in anchors)
    assert [pool["anchors"] for pool in pools] == [[], [old], [old], [old], [old, new], [new], [new], [new]]


def test_windows_at_the_rim_are_counted_and_most_of_them_take_calibration_away(shipped: Shipped) -> None:
    bundle, layer = shipped
    plain = _answers(shipped, pool="recording")[0]
    assert plain.pool is not None and plain.pool["shifted"] == 0
    desk = _Desk(PooledAnswers(bundle, layer, QUESTION, Prior.of(bundle)), "recording")
    seen = [one for one in map(desk.look, question_windows(bundle, read(DEMO), QUESTION)) if isinstance(one, Seen)]
    rim = [replace(one, place=DomainVerdict("shifted", 0.02, 9.0)) for one in seen[:-1]]
    for pool in ("recording", "causal"):
        desk.pool = pool  # type: ignore[assignment]
        looked = [*rim, seen[-1]]
        asked = desk.gather(list(looked), (), "x") if pool == "recording" else desk.follow(iter(looked), (), "x")
        last = [desk.answers.answer(one).result for one in asked][-1]
        assert isinstance(last, Answer) and last.pool is not None and last.calibration is not None
        assert last.pool["shifted"] == len(rim)
        assert last.calibration["method"] == "uncalibrated"
        assert f"{len(rim)} of them shifted" in last.sources()["model"]


def test_what_misses_with_references_is_marked(shipped: Shipped) -> None:
    measured = copy.deepcopy(dict(shipped[1].measured))
    held = measured["anchored"]["coverage"]
    held["0.9"]["SV"], held["0.5"]["C"] = 0.857, 0.461
    layer = replace(shipped[1], measured=measured)
    plain = _answers((shipped[0], layer), pool="recording")[0]
    anchored = _answers((shipped[0], layer), pool="recording", anchors=[parse_anchor("CO=5.5@50s")])[0]
    assert plain.not_calibrated == {}
    missed = {
        name for level in ("0.5", "0.9") for name, share in held[level].items() if abs(share - float(level)) > 0.03
    }
    assert missed >= {"SV", "C"}
    assert set(anchored.not_calibrated) == missed
    assert f"({anchored.pool['effective_draws']} effective draws)" in anchored.sources()["model"]  # type: ignore[index]


def _two_patients(shipped: Shipped) -> tuple[torch.Tensor, np.ndarray]:
    """Embeddings of the shipped patient, then of the same pulse at twice the rate and another pressure."""
    from pulsebayes.inference.pooling import embed_windows
    from pulsebayes.waveforms.windows import cut_windows

    windows = np.stack([w.values[0] for w in cut_windows(read(DEMO)) if w.verdict.usable][:12])
    other = 60 + 0.5 * (np.concatenate((windows[:, ::2], windows[:, ::2]), axis=1) - windows.mean())
    h = torch.from_numpy(embed_windows(shipped[0], np.concatenate((windows, other))))
    return shipped[1].npe.unit(shipped[0].npe, h), 8.0 * np.arange(len(h))


def test_a_spliced_recording_is_split_and_a_whole_one_is_not(shipped: Shipped) -> None:
    unit, time_s = _two_patients(shipped)
    signature = shipped[1].npe.signature(unit)
    assert split_pool(shipped[1].detector, signature[:12], time_s[:12]) == [0]
    starts = split_pool(shipped[1].detector, signature, time_s)
    assert len(starts) == 2
    assert abs(starts[1] - 12) <= 2


def test_the_running_pool_starts_anew_within_three_windows(shipped: Shipped) -> None:
    unit, time_s = _two_patients(shipped)
    pool = RunningPool(shipped[1], 8.0)
    sizes = []
    for one, at in zip(unit, time_s, strict=True):
        pool.add(one, float(at))
        sizes.append(pool.windows)
    assert sizes[:12] == list(range(1, 13))
    assert min(sizes[12:15]) <= 3


def test_an_edited_layer_is_refused(shipped: Shipped, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(find_bundle("radial-abp"), folder)
    text = (folder / "pooling.json").read_text()
    edits: list[Callable[[str], str]] = [lambda t: t.replace('"most": ', '"most": 3'), lambda t: t[:100]]
    for edit in edits:
        (folder / "pooling.json").write_text(edit(text))
        with pytest.raises(BundleError, match="pooling layer"):
            load_pooling(folder, shipped[0])
    (folder / "pooling.json").unlink()
    with pytest.raises(BundleError, match=r"bundle\.json names pooling\.json, which is not there"):
        load_pooling(folder, shipped[0])
