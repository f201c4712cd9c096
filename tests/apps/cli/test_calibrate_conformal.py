r"""`calibrate conformal` from a table of pairs to the regions that `infer` prints."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pulsebayes.apps.cli.main import run
from pulsebayes.calibration.conformal import load_layer
from pulsebayes.calibration.conformal.bundles import answerer, gather
from pulsebayes.calibration.conformal.layer import predict
from pulsebayes.calibration.load import load_calibrated
from pulsebayes.calibration.pairs import read_pairs
from pulsebayes.calibration.rope.layer import load_rope, save_rope
from pulsebayes.inference.answer import Answer, Prior
from pulsebayes.inference.answering import AnsweredWindow
from pulsebayes.inference.bundle import Bundle
from pulsebayes.inference.npe import NPE, PRESETS
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.result import read_result

DEMO = Path(__file__).resolve().parents[3] / "apps" / "cli" / "demo_data"
HEAD = "subject,recording,start_s,end_s,CO [L/min],SVR [dyn s cm^-5]\n"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    r"""Twelve windows of the shipped simulated patient as if of twelve patients."""
    for path in DEMO.iterdir():
        shutil.copy(path, tmp_path / path.name)
    text = (tmp_path / "simulated_patient.hea").read_text()
    for i in range(12):
        (tmp_path / f"q{i}.hea").write_text(text.replace("simulated_patient", f"q{i}", 1))
    rows = [f"p{i},q{i}.hea,{8 * i},{8 * i + 8},{4.925 + 0.05 * i:.3f},{1283 - 10 * i}\n" for i in range(12)]
    (tmp_path / "pairs.csv").write_text(HEAD + "".join(rows))
    return tmp_path / "pairs.csv"


def test_region_stands_beside_the_credible_interval(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = pairs.parent / "mine"
    words = ["calibrate", "conformal", "radial-abp", "--pairs", str(pairs), "--score", "mahalanobis", "--out", str(out)]
    assert run([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sets"][0] | {"limit": 0} == {
        "method": "mahalanobis",
        "alpha": 0.1,
        "quantities": ["CO", "SVR"],
        "n_patients": 12,
        "n_windows": 12,
        "limit": 0,
        "guarantee": told["sets"][0]["guarantee"],
    }
    assert run([*words, "--json"]) == 2  # never writes over what is there
    capsys.readouterr()
    recording = str(pairs.with_name("simulated_patient.hea"))
    infer = ["infer", recording, "--model", str(out), "--end", "16s"]
    assert run([*infer, "--json"]) == 0
    window = json.loads(capsys.readouterr().out)["windows"][0]
    region = window["region"]
    assert (region["method"], region["alpha"], region["n_patients"]) == ("mahalanobis", 0.1, 12)
    assert region["quantities"] == ["CO", "SVR"] and window["regions"] == [region]
    low, high = region["ranges"]["CO"]["low"], region["ranges"]["CO"]["high"]
    assert low < window["quantities"]["CO"]["median"] < high
    assert region["ranges"]["SVR"]["unit"] == "dyn s cm^-5"
    assert run(infer) == 0
    text = capsys.readouterr().out
    assert "credible intervals" in text and "conformal region, 90 %, score mahalanobis, 12 patients" in text
    assert "one window of a new patient" in text
    assert run([*infer, "--draws", "500", "--json"]) == 0
    few = capsys.readouterr()
    assert json.loads(few.out)["windows"][0]["region"] is None and "they take 1000 draws" in few.err
    assert run(["infer", recording, "--end", "16s", "--pool", "window", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)["windows"][0]
    assert plain["region"] is None and plain["regions"] == []
    assert plain["quantities"] == window["quantities"]  # a layer changes no credible interval


def test_too_few_patients_are_told_how_many_it_takes(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(pairs.parent / "mine")
    words = ["calibrate", "conformal", "radial-abp", "--pairs", str(pairs), "--score", "mahalanobis", "--out", out]
    assert run([*words, "--alpha", "0.05"]) == 2
    assert "needs 19 patients" in capsys.readouterr().err
    assert not Path(out).exists()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--alpha", "2"], 2, "--alpha must lie between 0 and 1"),
        (["--score", "best"], 2, "--score must be one of otcp"),
        (["--quantities", "PWV"], 2, "labelled in the pairs"),
        (["--pairs", "none.csv"], 3, "no such table"),
    ],
)
def test_bad_options_are_told(
    pairs: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, said: str
) -> None:
    words = ["calibrate", "conformal", "radial-abp", "--out", str(pairs.parent / "mine"), "--pairs", str(pairs)]
    assert run([*words, *options]) == code
    assert said in capsys.readouterr().err


def test_without_out_nothing_is_written(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrate", "conformal", "radial-abp", "--pairs", str(pairs)]) == 2
    assert "--out FOLDER" in capsys.readouterr().err


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    r"""A small untrained model, windows of the demo recording as if of 24 patients for RoPE and 12 for the limit."""
    folder = tmp_path_factory.mktemp("both")
    for path in DEMO.iterdir():
        shutil.copy(path, folder / path.name)
    rows = []
    for i in range(36):
        text = (folder / "simulated_patient.hea").read_text()
        (folder / f"p{i}.hea").write_text(text.replace("simulated_patient", f"p{i}", 1))
        rows.append(f"s{i},p{i}.hea,{8 * (i % 14)},{8 * (i % 14) + 8},{4.9 + 0.03 * i:.3f},{1283 - 10 * i}\n")
    (folder / "tuned.csv").write_text(HEAD + "".join(rows[:24]))
    (folder / "others.csv").write_text(HEAD + "".join(rows[24:]))
    (folder / "mixed.csv").write_text(HEAD + "".join(rows[22:]))
    torch.manual_seed(0)
    outputs = OutputSpace.from_names(("HR", "SV", "MAP", "CVP"))
    prior = outputs.space.constrain(np.random.default_rng(0).normal(0, 0.3, (500, 4))).astype(np.float32)
    config = {"population": "clinical", "sites": ["Radial"], "duration_s": 10.0, "n_frequencies": 32}
    training = {"simulator": "linear-network", "simulator_config": config, "recipe": {"site": "Radial"}}
    Bundle("tiny", NPE(outputs, PRESETS["small"]), prior, training=training).save(folder / "tiny")
    words = ["calibrate", "rope", str(folder / "tiny"), "--pairs", str(folder / "tuned.csv"), "--out"]
    assert run([*words, str(folder / "roped"), "--simulations", "256", "--steps", "5", "--gamma", "0.25"]) == 0
    return folder


def conformalise(cohort: Path, pairs: str, out: str) -> int:
    words = ["calibrate", "conformal", str(cohort / "roped"), "--pairs", str(cohort / pairs), "--score", "mahalanobis"]
    return run([*words, "--out", str(cohort / out), "--json"])


def test_rope_posterior_is_conformalised_with_both_layers_kept(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert conformalise(cohort, "others.csv", "both") == 0
    assert json.loads(capsys.readouterr().out)["sets"][0]["n_patients"] == 12
    infer = ["infer", str(cohort / "p30.hea"), "--end", "16s", "--model"]
    found = {}
    for model in ("tiny", "roped", "both"):
        assert run([*infer, str(cohort / model), "--json"]) == 0
        found[model] = json.loads(capsys.readouterr().out)["windows"][0]
    # The credible intervals are RoPE's, unchanged by the region; the region is around RoPE's posterior.
    assert found["both"]["quantities"] == found["roped"]["quantities"] != found["tiny"]["quantities"]
    assert found["both"]["calibration"]["method"] == "rope" and found["roped"]["region"] is None
    bundle = Bundle.load(cohort / "both")
    layer, rope = load_layer(cohort / "both"), load_rope(cohort / "both", bundle)
    assert layer is not None and rope is not None and not set(layer.patients) & set(rope.patients)
    pairs = read_pairs(cohort / "others.csv", bundle.contract)
    answer = answerer(bundle, rope=rope)(pairs)[0]
    one = layer.sets[0]
    shown = one.to_json(predict(answer.draws, one.coordinates, layer.n_draws))["ranges"]["CO"]
    theirs = found["both"]["region"]["ranges"]["CO"]
    assert shown["high"] - shown["low"] == pytest.approx(theirs["high"] - theirs["low"], rel=0.35)  # other draws
    own = answerer(bundle, rope=rope)(pairs)
    labels = np.stack([pairs.labels["CO"], pairs.labels["SVR"]], axis=1)
    scored = one.score.score(gather([a.draws for a in own], one.coordinates), one.coordinates.transform(labels))
    assert one.limit == pytest.approx(np.sort(scored)[11])  # k = ceil(13 x .9) of RoPE's own scores
    assert run([*infer, str(cohort / "both")]) == 0
    text = capsys.readouterr().out
    assert "credible intervals" in text and "conformal region, 90 %, score mahalanobis, 12 patients" in text
    assert "of 24 patients held out" in text


def test_patients_that_served_rope_are_refused(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert conformalise(cohort, "mixed.csv", "never") == 2
    told = json.loads(capsys.readouterr().out)["error"]["message"]
    assert "2 of 14 patients also served the bundle's RoPE layer (rows 1, 2)" in told and "--cross-fit" in told
    assert not (cohort / "never").exists()


def test_rope_layer_that_names_no_patients_is_refused(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = Bundle.load(cohort / "roped")
    layer = load_rope(cohort / "roped", bundle)
    assert layer is not None
    shutil.copytree(cohort / "roped", cohort / "old")
    save_rope(replace(layer, patients=()), cohort / "old")
    words = ["calibrate", "conformal", str(cohort / "old"), "--pairs", str(cohort / "others.csv")]
    assert run([*words, "--out", str(cohort / "never")]) == 2
    assert "does not say which patients" in capsys.readouterr().err


def test_files_carry_the_regions(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = pairs.parent / "mine"
    words = ["calibrate", "conformal", "radial-abp", "--pairs", str(pairs), "--score", "mahalanobis", "--out", str(out)]
    sets = ["--quantities", "CO,SVR", "--quantities", "CO"]
    assert run([*words, *sets]) == 0
    recording, results = str(pairs.with_name("simulated_patient.hea")), pairs.parent / "results"
    capsys.readouterr()
    assert run(["infer", recording, "--model", str(out), "--end", "24s", "--out", str(results), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["windows"]
    read = read_result(results / "simulated_patient.nc")
    assert len(read.answers) == len(told) == 3
    for answer, window in zip(read.answers, told, strict=True):
        assert list(answer.regions) == window["regions"] and len(answer.regions) == 2
    with (results / "simulated_patient.csv").open(newline="") as stream:
        rows = {row["quantity"]: row for row in csv.DictReader(stream) if float(row["start_s"]) == told[0]["start_s"]}
    ends = told[0]["region"]["ranges"]["SVR"]
    assert [float(rows["SVR"][f"region_{end}"]) for end in ("low", "high")] == [ends["low"], ends["high"]]
    assert (rows["SVR"]["region_set"], rows["SVR"]["region_alpha"]) == ("CO SVR", "0.1")
    assert rows["HR"]["region_low"] == rows["HR"]["region_set"] == ""


def crossfit(cohort: Path, pairs: str, out: str, *more: str) -> int:
    words = ["calibrate", "conformal", str(cohort / "tiny"), "--pairs", str(cohort / pairs), "--out", str(cohort / out)]
    return run([*words, "--cross-fit", "3", "--simulations", "256", "--steps", "5", "--score", "mahalanobis", *more])


def test_same_patients_serve_rope_and_limit_by_cross_fitting(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crossfit(cohort, "tuned.csv", "crossed", "--json", "--force") == 0
    told = json.loads(capsys.readouterr().out)["sets"][0]
    # 24 patients in 3 folds: 1 - 2 alpha - 2 (1 - 1/3) / (24/3 + 1) = .6518
    assert told["n_patients"] == 24 and "at least 0.651 (cross-fitted in 3 folds with RoPE" in told["guarantee"]
    bundle = Bundle.load(cohort / "crossed")
    layer, rope = load_layer(cohort / "crossed"), load_rope(cohort / "crossed", bundle)
    assert layer is not None and rope is not None and len(layer.folds) == 3 and rope.measured["folds"] == 3
    infer = ["infer", str(cohort / "p30.hea"), "--end", "16s", "--model", str(cohort / "crossed")]
    assert run([*infer, "--json"]) == 0
    window = json.loads(capsys.readouterr().out)["windows"][0]
    ends = window["region"]["ranges"]["CO"]
    assert 0 < ends["low"] < 5 < ends["high"] < 10 and window["region"]["promise"] == 0.651
    assert window["calibration"]["method"] == "rope" and window["region"]["guarantee"] == told["guarantee"]
    assert run(infer) == 0
    text = capsys.readouterr().out
    assert "credible intervals" in text and "conformal region, 90 % nominal, at least 65.1 %" in text


def test_cross_fitted_limit_has_what_infer_would_answer_for_a_held_out_window(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    r"""A window of a calibration patient is scored by the fit without it: a later infer gives that fold's row."""
    if not (cohort / "crossed").exists():
        assert crossfit(cohort, "tuned.csv", "crossed") == 0
    layers = load_calibrated(cohort / "crossed")
    assert layers.conformal is not None
    one, held = layers.conformal.sets[0], layers.conformal.sets[0].held[0]
    pairs = read_pairs(cohort / "tuned.csv", layers.bundle.contract)
    answer = answerer(layers.bundle)(pairs)[0]
    assert isinstance(answer, Answer)
    found = layers.finish(AnsweredWindow(pairs.x[0], answer), Prior.of(layers.bundle), seed=0)
    prediction = predict(found.scored, one.coordinates, layers.conformal.n_draws)
    assert len(prediction) == 3
    y = one.coordinates.transform(np.array([[[pairs.labels["CO"][0], pairs.labels["SVR"][0]]]]))
    fold = int(held.folds[0])
    assert one.score.evaluate(prediction[fold], y)[0, 0] == pytest.approx(held.scores[0], rel=1e-3)


def test_cross_fit_of_too_few_is_refused_before_simulating(
    cohort: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("simulated")

    monkeypatch.setattr("pulsebayes.calibration.rope.bundles.simulate_bank", never)
    rows = (cohort / "tuned.csv").read_text().splitlines(keepends=True)
    (cohort / "few.csv").write_text("".join(rows[:9]))
    assert crossfit(cohort, "few.csv", "never") == 2
    assert "alpha 0.1 needs 9 patients in 3 folds of one size" in capsys.readouterr().err
    (cohort / "few.csv").write_text("".join(rows[:5]))
    assert crossfit(cohort, "few.csv", "never", "--alpha", "0.5") == 2
    assert "every fold must leave recordings of at least 5 patients, got 3" in capsys.readouterr().err
    words = ["calibrate", "conformal", str(cohort / "tiny"), "--pairs", str(cohort / "tuned.csv"), "--cross-fit", "1"]
    assert run([*words, "--out", str(cohort / "never")]) == 2
    assert "2 folds or more" in capsys.readouterr().err and not (cohort / "never").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("CO [L/min]", "CO [mL/min]", "CO"),
        ("CO [L/min]", "CO [furlong]", "furlong"),
        ("4.900", "", None),
        ("s1,p1.hea", "s1,p0.hea", "stands under 2 subjects"),
    ],
)
def test_tables_with_faults_are_told(
    cohort: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str | None
) -> None:
    text = (cohort / "tuned.csv").read_text()
    (cohort / "faulty.csv").write_text(text.replace(old, new, 1))
    words = ["calibrate", "conformal", str(cohort / "tiny"), "--pairs", str(cohort / "faulty.csv"), "--score"]
    code = run([*words, "mahalanobis", "--force", "--json", "--out", str(cohort / "faulted")])
    out = capsys.readouterr().out
    if said is None:
        assert code == 0 and json.loads(out)["sets"][0]["n_patients"] == 23  # a label that is missing is left out
    else:
        assert code != 0 and said in json.loads(out)["error"]["message"]
