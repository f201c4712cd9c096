r"""`calibrate conformal --pool` to the regions that `infer` and `evaluate` give of pooled recordings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pulsebayes import apps
from pulsebayes.calibration.conformal import Pools, load_layer
from pulsebayes.calibration.conformal.bundles import gather
from pulsebayes.calibration.conformal.patients import hierarchical_limit
from pulsebayes.calibration.conformal.pooled import pooled_answerer
from pulsebayes.calibration.load import load_calibrated
from pulsebayes.calibration.pairs import read_pairs
from pulsebayes.calibration.pooled_rows import answer_rows
from pulsebayes.inference.answer import Answer, Prior
from pulsebayes.inference.answering import Question, answer_recording
from pulsebayes.inference.bundle import BundleError, find_bundle, own_hash
from pulsebayes.inference.pooling import answer_pooled, answer_pooled_windows
from pulsebayes.inference.pooling.anchors import parse_anchor
from pulsebayes.waveforms import read, read_cohort_table

Run = Callable[..., Any]
DEMO = Path(apps.__path__[0]) / "cli" / "demo_data" / "simulated_patient.hea"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten recordings of 40 s as if of ten patients, two labelled windows each, one of them off the pace."""
    root = tmp_path_factory.mktemp("pooled")
    wave = read(DEMO).values("ART")
    rows = ["subject,recording,start_s,end_s,CO [L/min],SVR [dyn s cm^-5]\n"]
    for i in range(10):
        part = np.round(wave[500 * i : 500 * i + 5000] + 0.3 * i, 2)
        lines = "".join(f"{k / 125:.3f},{x:.2f}\n" for k, x in enumerate(part))
        (root / f"q{i}.csv").write_text("time [s],ABP [mmHg]\n" + lines)
        rows += [f"p{i},q{i}.csv,{s},{s + 8},{4.6 + 0.1 * i:.2f},{1290 - 20 * i}\n" for s in (16.0, 21.5)]
    (root / "pairs.csv").write_text("".join(rows))
    return root


def calibrate(run: Run, folder: Path, out: Path, *words: object) -> Any:
    given = ("--score", "mahalanobis", "--quantities", "CO", "--pool", *(words or ("recording",)))
    return run("calibrate", "conformal", "radial-abp", "--pairs", folder / "pairs.csv", *given, "--out", out)


@pytest.fixture(scope="module")
def mine(folder: Path) -> Path:
    from pulsebayes.apps.cli.main import run as call

    out = folder / "mine"
    words = ["calibrate", "conformal", "radial-abp", "--pairs", str(folder / "pairs.csv"), "--pool", "recording"]
    assert call([*words, "--score", "mahalanobis", "--quantities", "CO", "--out", str(out), "--quiet"]) == 0
    return out


def test_the_limit_is_of_the_answers_that_infer_gives(mine: Path, folder: Path) -> None:
    """Scores of the labelled windows as answered within their recordings, patients weighing as one each."""
    layers = load_calibrated(mine)
    layer, pooling = layers.conformal, layers.pooling
    assert layer is not None and pooling is not None and layer.pools is not None
    assert (layer.pools.pool, layer.pools.every_s, layers.offered_pools) == ("recording", 8.0, ("recording",))
    one = layer.sets[0]
    assert one.guarantee.endswith("windows answered given their whole recording, one every 8 s")
    draws, labels = [], []
    for i in range(10):
        recording = read(folder / f"q{i}.csv")
        every = list(answer_pooled(layers.bundle, pooling, recording, Question(n_draws=1000)))
        off = list(answer_rows(layers.bundle, pooling, recording, [21.5], Question(n_draws=1000), pool="recording",
                               every_s=8.0))  # fmt: skip
        assert every[2].result.start_s == 16.0 and off[0].result.pool["windows"] == 5  # type: ignore[union-attr]
        draws += [every[2].result.draws, off[0].result.draws]  # type: ignore[union-attr]
        labels += [[4.6 + 0.1 * i]] * 2
    scores = one.score.score(gather(draws, one.coordinates), one.coordinates.transform(np.array(labels)))
    assert one.limit == pytest.approx(hierarchical_limit(scores, np.repeat(np.arange(10), 2), 0.1))
    assert (one.n_patients, one.n_windows) == (10, 20)


def test_infer_gives_the_regions_of_its_pools_and_of_no_others(run: Run, mine: Path, folder: Path) -> None:
    file = folder / "q3.csv"
    told = json.loads(run("--json", "infer", file, "--model", mine).out.splitlines()[0])["windows"]
    assert [window["pool"]["mode"] for window in told] == ["recording"] * 5
    layer = load_layer(mine)
    assert layer is not None
    for window in told:
        region = window["region"]
        assert region["quantities"] == ["CO"] and region["guarantee"] == layer.sets[0].guarantee
        assert region["ranges"]["CO"]["low"] < window["quantities"]["CO"]["median"] < region["ranges"]["CO"]["high"]
    plain = json.loads(run("--json", "infer", file).out.splitlines()[0])["windows"]
    assert [w["quantities"] for w in plain] == [w["quantities"] for w in told]  # credible intervals stay
    for words in (("--every", "16s"), ("--end", "32s"), ("--start", "8s")):
        ran = run("--json", "infer", file, "--model", mine, *words)
        assert "no conformal regions: they are for whole recordings, a window every 8 s" in ran.err
        assert {str(w["region"]) for w in json.loads(ran.out.splitlines()[0])["windows"]} == {"None"}
    assert "they take 1000 draws" in run("infer", file, "--model", mine, "--draws", 500).err


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (("--pool", "window"), "mine cannot answer with --pool window: its regions were calibrated", "--pool rec"),
        (("--pool", "causal"), "with --pool causal: its regions were calibrated with --pool recording", "--pool rec"),
        (("--anchor", "CO=5@8s"), "mine cannot answer with references: its regions", "without --anchor"),
        (("--follow", "--idle", "1"), "its regions were calibrated with --pool recording", "--pool causal makes"),
        (("--patient", "age=60"), "its calibration was measured without", "leave --patient out"),
    ],
)  # fmt: skip
def test_other_pools_are_refused(
    run: Run, mine: Path, folder: Path, words: tuple[str, ...], said: str, hint: str
) -> None:
    ran = run("infer", folder / "q0.csv", "--model", mine, *words)
    assert ran.code != 0 and said in ran.err and hint in ran.err


def test_evaluate_counts_the_regions_in_the_same_pools(run: Run, mine: Path, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "test.csv"
    head, *rows = (folder / "pairs.csv").read_text().splitlines()
    others = [row.replace("p", "new", 1) for row in rows if row.startswith(("p2", "p5"))]
    table.write_text("\n".join([head, *others]) + "\n")
    for i in (2, 5):
        shutil.copy(folder / f"q{i}.csv", tmp_path)
    words = ("evaluate", table, "--model", mine, "--bootstrap", 0, "--out")
    refused = run(*words, tmp_path / "window")
    assert refused.code != 0 and "cannot answer with --pool window: its regions were calibrated" in refused.err
    assert "--pool recording" in refused.err
    ran = run("--json", *words, tmp_path / "result", "--pool", "recording")
    assert ran.code == 0, ran.err
    layers = load_calibrated(mine)
    assert layers.pooling is not None and layers.conformal is not None
    pairs = read_pairs(table, layers.bundle.contract)
    answers = pooled_answerer(layers.bundle, layers.pooling, read_cohort_table(table))(pairs)
    lines = [json.loads(line) for path in sorted((tmp_path / "result" / "answers").glob("*.jsonl"))
             for line in path.read_text().splitlines()]  # fmt: skip
    told = [[line["q"]["CO"][i] for i in (0, 2, 4)] for line in lines]
    wanted = [np.quantile(a.draws["CO"], [0.05, 0.5, 0.95]) for a in answers]  # type: ignore[union-attr]
    assert np.allclose(told, wanted, rtol=1e-5)
    region = layers.conformal.sets[0]
    inside = [
        bool(region.region(gather([a.draws], region.coordinates)).contains(np.array([[y]]))[0])  # type: ignore[union-attr]
        for a, y in zip(answers, pairs.labels["CO"], strict=True)
    ]
    assert json.loads(ran.out.splitlines()[0])["regions"]["CO"]["coverage"] == pytest.approx(np.mean(inside))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("all",), "--pool must be window, causal or recording, got 'all'"),
        (("recording", "--cross-fit", "5"), "--cross-fit fits RoPE, which answers windows one by one"),
        (("recording", "--every", "0s"), "--every"),
        (("window", "--every", "60s"), "--every is the pace of pools"),
    ],
)
def test_what_cannot_be_is_told(run: Run, folder: Path, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    ran = calibrate(run, folder, tmp_path / "x", *words)
    assert ran.code == 2 and said in ran.err and not (tmp_path / "x").exists()


def test_a_model_that_cannot_pool_is_told(run: Run, folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(find_bundle("radial-abp"), bare, ignore=shutil.ignore_patterns("pooling*", "patient*"))
    from pulsebayes.calibration.load import seal_layers

    seal_layers(bare)
    words = ("--pairs", folder / "pairs.csv", "--pool", "causal", "--out", tmp_path / "x")
    ran = run("calibrate", "conformal", bare, *words)
    assert ran.code != 0 and "cannot pool windows: it has no pooling layer" in ran.err


@pytest.fixture(scope="module")
def causal(folder: Path) -> Path:
    from pulsebayes.apps.cli.main import run as call

    out = folder / "causal"
    words = ["calibrate", "conformal", "radial-abp", "--pairs", str(folder / "pairs.csv"), "--pool", "causal"]
    assert (
        call([*words, "--score", "mahalanobis", "--quantities", "CO", "--every", "16s", "--out", str(out), "-q"]) == 0
    )
    return out


def test_a_causal_limit_knows_what_was_before_at_its_own_pace(causal: Path, folder: Path) -> None:
    layers = load_calibrated(causal)
    layer, pooling = layers.conformal, layers.pooling
    assert layer is not None and pooling is not None
    assert json.loads((causal / "conformal.json").read_text())["schema"] == 3
    record = json.loads((causal / "run.json").read_text())["config"]
    assert (record["pool"], record["every_s"]) == ("causal", 16.0)
    one, draws = layer.sets[0], []
    for i in range(10):
        recording, question = read(folder / f"q{i}.csv"), Question(n_draws=1000, every_s=16.0)
        every = list(answer_pooled(layers.bundle, pooling, recording, question, pool="causal"))
        off = answer_rows(layers.bundle, pooling, recording, [21.5], question, pool="causal", every_s=16.0)
        draws += [every[1].result.draws, next(off).result.draws]  # type: ignore[union-attr]
    labels = np.repeat([[4.6 + 0.1 * i] for i in range(10)], 2, 0)
    scores = one.score.score(gather(draws, one.coordinates), one.coordinates.transform(labels))
    assert one.limit == pytest.approx(hierarchical_limit(scores, np.repeat(np.arange(10), 2), 0.1))


def test_regions_stand_on_answers_of_their_own_pools_only(causal: Path, mine: Path, folder: Path) -> None:
    """As `infer --pool` asks for nothing else, by hand: a window alone, and pools of the other kind."""
    recording, prior = read(folder / "q4.csv"), None
    for model, own in ((causal, "causal"), (mine, "recording")):
        layers = load_calibrated(model)
        assert layers.pooling is not None
        prior = Prior.of(layers.bundle)
        for pool in ("causal", "recording"):
            for one in answer_pooled(layers.bundle, layers.pooling, recording, Question(n_draws=1000), pool=pool):
                assert bool(layers.finish(one, prior, seed=0).result.regions) == (pool == own)  # type: ignore[union-attr]
        for one in answer_recording(layers.bundle, recording, Question(n_draws=1000)):
            assert not layers.finish(one, prior, seed=0).result.regions  # type: ignore[union-attr]


@pytest.mark.parametrize("pool", ["recording", "causal"])
@pytest.mark.parametrize("every_s", [8.0, 8.8, 20.0])  # 3 x 8.8 is not 26.4 to the last bit
def test_rows_of_a_table_do_not_change_the_pools(folder: Path, tmp_path: Path, pool: Any, every_s: float) -> None:
    """Rows that lie between the windows of a pool, and beside one that the gate refuses, are guests in it."""
    wave = read(DEMO).values("ART").copy()
    wave[24 * 125 : 25 * 125] = np.nan
    path = tmp_path / "gap.csv"
    path.write_text("time [s],ABP [mmHg]\n" + "".join(f"{k / 125:.3f},{x:.2f}\n" for k, x in enumerate(wave)))
    layers, recording = load_calibrated(find_bundle("radial-abp")), read(path)
    assert layers.pooling is not None
    question = Question(n_draws=100, every_s=every_s)
    plain = list(answer_pooled(layers.bundle, layers.pooling, recording, question, pool=pool))
    starts = [round(one.result.start_s, 3) for one in plain]
    rows = sorted([*{*starts, 1.0, 25.5, 34.0, 61.0, 105.0}, 34.0])  # a row named twice is answered twice
    found = list(answer_rows(layers.bundle, layers.pooling, recording, rows, question, pool=pool, every_s=every_s))
    assert [round(one.result.start_s, 3) for one in found] == rows
    again = {round(one.result.start_s, 3): one.result for one in found}
    for one in plain:
        other = again[round(one.result.start_s, 3)]
        assert type(other) is type(one.result)
        if isinstance(one.result, Answer):
            assert isinstance(other, Answer) and other.pool == one.result.pool
            assert all(np.array_equal(other.draws[name], one.result.draws[name]) for name in other.draws)
    guests = [r for s, r in again.items() if s not in starts and isinstance(r, Answer)]
    assert len(guests) >= 4 and all(r.pool["counted"] is False for r in guests)  # type: ignore[index]
    later = list(answer_rows(layers.bundle, layers.pooling, recording, rows, question, pool=pool, every_s=every_s,
                             skip=3))  # fmt: skip
    assert [round(one.result.start_s, 3) for one in later] == rows[3:]


def test_a_recording_that_is_mostly_missing_serves_no_limit(folder: Path, tmp_path: Path) -> None:
    wave = read(folder / "q0.csv").values("ART").copy()
    wave[1900:] = np.nan
    path = tmp_path / "half.csv"
    path.write_text("time [s],ABP [mmHg]\n" + "".join(f"{k / 125:.3f},{x:.2f}\n" for k, x in enumerate(wave)))
    layers = load_calibrated(find_bundle("radial-abp"))
    assert layers.pooling is not None
    made = answer_rows(layers.bundle, layers.pooling, read(path), [0.0, 0.0], Question(), pool="recording", every_s=8.0)
    assert [one.result.reason for one in made] == ["too-much-missing"] * 2  # type: ignore[union-attr]


def test_what_no_pool_can_be_made_of_is_told(folder: Path) -> None:
    layers, recording = load_calibrated(find_bundle("radial-abp")), read(folder / "q0.csv")
    assert layers.pooling is not None
    with pytest.raises(ValueError, match="be finite and not fall"):
        answer_rows(layers.bundle, layers.pooling, recording, [8.0, 0.0], Question(), pool="recording")
    with pytest.raises(ValueError, match="be finite and not fall"):
        answer_rows(layers.bundle, layers.pooling, recording, [np.nan], Question(), pool="recording")
    with pytest.raises(ValueError, match="guests cannot have references"):
        answer_pooled_windows(layers.bundle, layers.pooling, [], Question(), file="q0", guests={1},
                              anchors=[parse_anchor("CO=5@8s")])  # fmt: skip
    with pytest.raises(ValueError, match="every_s must be positive"):
        answer_rows(layers.bundle, layers.pooling, recording, [8.0], Question(), pool="recording", every_s=-1.0)
    pairs = read_pairs(folder / "pairs.csv", layers.bundle.contract)
    with pytest.raises(ValueError, match="which rows of the table"):
        pooled_answerer(layers.bundle, layers.pooling, read_cohort_table(folder / "pairs.csv"))(
            replace(pairs, rows=np.zeros(0, int))
        )
    for pool, every_s in (("all", 8.0), ("causal", 0.0), ("recording", float("inf")), ("recording", float("nan"))):
        with pytest.raises(ValueError, match="pools are recording or causal at a positive pace"):
            Pools(pool, every_s)  # type: ignore[arg-type]


@pytest.mark.parametrize("harm", [{"pool": "all"}, {"every_s": 0.0}, {"pool": "window"}, None])
def test_a_layer_of_no_known_pools_is_damaged(mine: Path, tmp_path: Path, harm: dict[str, Any] | None) -> None:
    """Even where somebody made its hash anew."""
    shutil.copytree(mine, tmp_path / "mine")
    path = tmp_path / "mine" / "conformal.json"
    info = json.loads(path.read_text())
    if harm is None:
        del info["pools"]
    else:
        info["pools"] |= harm
    path.write_text(json.dumps(info | {"hash": own_hash(info)}))
    with pytest.raises(BundleError, match="conformal layer of bundle mine is damaged"):
        load_layer(tmp_path / "mine")


def test_a_bundle_with_a_rope_layer_does_not_pool(
    run: Run, mine: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulsebayes.calibration.rope.layer.load_rope", lambda *_: SimpleNamespace(patients=("a",)))
    ran = calibrate(run, folder, tmp_path / "x", "recording")
    assert ran.code != 0 and "radial-abp cannot pool windows: its RoPE layer answers windows one by one" in ran.err


def test_causal_pools_are_for_monitors(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "causal"
    assert calibrate(run, folder, out, "causal").code == 0
    part = run("--json", "infer", folder / "q1.csv", "--model", out, "--end", "24s")
    assert all(w["region"] for w in json.loads(part.out.splitlines()[0])["windows"])  # those up to each are the same
    late = run("infer", folder / "q1.csv", "--model", out, "--start", "8s")
    assert "no conformal regions: they are for recordings from their start, a window every 8 s" in late.err
    ran = run("--json", "infer", folder / "q1.csv", "--model", out, "--follow", "--idle", "0.2s")
    windows = json.loads(ran.out.splitlines()[0])["windows"]
    assert len(windows) == 5 and all(w["region"] and w["pool"]["mode"] == "causal" for w in windows)
    one = json.loads(run("--json", "infer", folder / "q1.csv", "--model", out).out.splitlines()[0])["windows"]
    assert [w["region"]["ranges"] for w in one] == [w["region"]["ranges"] for w in windows]
