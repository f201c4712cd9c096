r"""`infer --patient`: what is known of the patient narrows, is named, and is refused where it cannot be used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pulsebayes import apps
from pulsebayes.inference.bundle import Bundle, find_bundle
from pulsebayes.inference.patient import PatientHeads, load_patient, save_patient
from pulsebayes.inference.pooling import load_pooling, save_pooling
from pulsebayes.inference.pooling.patients import PoolPatients
from pulsebayes.waveforms import read

Run = Callable[..., Any]
DEMO = Path(apps.__path__[0]) / "cli" / "demo_data" / "simulated_patient.hea"
BOTH = "physionet_wfdb/041s.hea"  # a line and a clip


@pytest.mark.parametrize("pool", [(), ("--pool", "causal"), ("--pool", "window")])
def test_age_and_height_narrow_and_are_named(run: Run, tmp_path: Path, pool: tuple[str, ...]) -> None:
    words = ("infer", DEMO, "--draws", 1000, "--end", "24s")
    plain = json.loads(run("--json", *words, *pool).out.splitlines()[0])
    out = tmp_path / "out"
    ran = run("--json", "--out", out, *words, "--patient", "age=55,height=172cm", *pool)
    assert ran.code == 0
    known = json.loads(ran.out.splitlines()[0])
    for before, after in zip(plain["windows"], known["windows"], strict=True):
        assert after["patient"]["known"] == "age 55 years, height 1.72 m"
        width = [w["quantities"]["PWV"]["high"] - w["quantities"]["PWV"]["low"] for w in (before, after)]
        assert width[1] < 0.95 * width[0]
    assert json.loads((out / "run.json").read_text())["config"]["patient"] == "age 55 years, height 1.72 m"


def test_what_cannot_be_used_ends_with_a_reason(run: Run, model: Path) -> None:
    ran = run("infer", DEMO, "--patient", "age=12")
    assert ran.code == 2 and "age must lie between 18 and 90 years, got 12" in ran.err
    ran = run("infer", DEMO, "--patient", "age=55", "--model", model)
    assert ran.code == 6 and "has no patient layer" in ran.err


@pytest.mark.parametrize("name", ["radial-abp", "abp-ppg"])
def test_it_informs_a_pool_and_a_reference_beside_it(run: Run, name: str) -> None:
    words = ("--json", "infer", DEMO, "--model", name, "--draws", 400, "--every", "24s", "--patient", "age=55")
    for other, mode in (((), "recording"), (("--pool", "causal"), "causal"), (("--anchor", "CO=5@10s"), "recording")):
        windows = json.loads(run(*words, *other).out.splitlines()[0])["windows"]
        assert [w["pool"]["mode"] for w in windows] == [mode] * len(windows)
        assert {w["patient"]["known"] for w in windows} == {"age 55 years"}
        assert bool(windows[-1]["pool"]["anchors"]) == ("--anchor" in other)


@pytest.mark.parametrize("name", ["radial-abp", "abp-ppg"])
@pytest.mark.parametrize("pool", ["window", "causal", "recording"])
def test_the_aortic_root_narrows_stroke_volume(run: Run, name: str, pool: str) -> None:
    words = ("--json", "infer", DEMO, "--model", name, "--draws", 1000, "--every", "24s", "--pool", pool)
    plain = json.loads(run(*words).out.splitlines()[0])["windows"]
    widths: dict[str, list[float]] = {"": [w["quantities"]["SV"]["high"] - w["quantities"]["SV"]["low"] for w in plain]}
    for error in ("+-4mm", "+-1mm"):
        windows = json.loads(run(*words, "--patient", f"aorta=34{error}").out.splitlines()[0])["windows"]
        assert {w["patient"]["known"] for w in windows} == {f"aortic root 34{error.removesuffix('mm')} mm"}
        widths[error] = [w["quantities"]["SV"]["high"] - w["quantities"]["SV"]["low"] for w in windows]
    for before, coarse, fine in zip(*widths.values(), strict=True):
        assert fine < coarse < before and fine < 0.85 * before


def test_a_followed_file_is_informed_as_a_finished_one(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "monitor.csv"
    rows = read(DEMO).values("ART")[: 50 * 125]
    table.write_text("ABP [mmHg]\n" + "\n".join(f"{v:.2f}" for v in rows) + "\n")
    words = ("--json", "infer", table, "--fs", 125, "--draws", 200, "--patient", "age=55")
    followed = run(*words, "--follow", "--idle", "1s")
    assert followed.out == run(*words, "--pool", "causal").out
    assert json.loads(followed.out.splitlines()[0])["windows"][-1]["patient"]["known"] == "age 55 years"


def test_a_pooling_layer_that_knows_no_patients_says_so(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "radial-abp"
    shutil.copytree(find_bundle("radial-abp"), folder)
    layer = load_pooling(folder, Bundle.load(folder))
    assert layer is not None
    save_pooling(replace(layer, patients=None), folder)
    ran = run("infer", DEMO, "--model", folder, "--patient", "age=55")
    assert ran.code == 6
    assert "the pooling layer of model radial-abp cannot use what is known of a patient" in ran.err
    assert "--pool window" in ran.err
    assert run("infer", DEMO, "--model", folder, "--patient", "age=55", "--pool", "window", "--draws", 100).code == 0


def test_layers_before_diameters_say_so(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "radial-abp"
    shutil.copytree(find_bundle("radial-abp"), folder)
    bundle = Bundle.load(folder)
    pooling, alone = load_pooling(folder, bundle), load_patient(folder, bundle)
    assert pooling is not None and pooling.patients is not None and alone is not None

    def without(heads: PatientHeads, dim: int, context: int) -> PatientHeads:
        state = {name: one for name, one in heads.state_dict().items() if not name.startswith("aorta.")}
        return PatientHeads.of_state(state, dim, context)

    told = {k: v for k, v in pooling.measured["patients"].items() if "aorta" not in k}
    measured, heads = {**pooling.measured, "patients": told}, without(pooling.patients.heads, 2, 48)
    save_pooling(replace(pooling, patients=PoolPatients(heads), measured=measured), folder)
    words = ("infer", DEMO, "--model", folder, "--draws", 100)
    ran = run(*words, "--patient", "age=55,aorta=33mm")
    assert ran.code == 6 and "--pool window" in ran.err
    assert "the pooling layer of model radial-abp cannot use the diameter of the aortic root" in ran.err
    assert run(*words, "--patient", "age=55,aorta=33mm", "--pool", "window").code == 0
    assert run(*words, "--patient", "age=55").code == 0
    save_patient(replace(alone, heads=without(alone.heads, 9, 64)), folder)
    ran = run(*words, "--patient", "aorta=33mm", "--pool", "window")
    assert ran.code == 6 and "leave it out of --patient" in ran.err
    assert "model radial-abp cannot use the diameter of the aortic root: its patient layer has not" in ran.err
    ran = run(*words, "--patient", "aorta=33mm")
    assert ran.code == 6 and "the pooling layer of model radial-abp" in ran.err
    assert "--pool window" not in ran.err and "leave it out of --patient" in ran.err


def test_parts_may_be_said_one_by_one(run: Run) -> None:
    words = ("--json", "infer", DEMO, "--draws", 100, "--end", "8s")
    at_once = run(*words, "--patient", "age=63,sex=f").out
    assert run(*words, "--patient", "age=63", "--patient", "sex=f").out == at_once
    assert json.loads(at_once.splitlines()[0])["windows"][0]["patient"]["known"] == "age 63 years, sex f"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("age=200",), "age must lie between 18 and 90 years, got 200"),
        (("age=63", "age=64"), "age is given twice"),
        (("age=63", "shoe=43"), "got 'shoe=43'"),
        (("",), "told by age, sex, height, weight and aorta"),
        (("aorta=3.3",), "aorta must lie between 15 and 60 mm, got 3.3"),
        (("aorta=33+-20mm",), "the error of aorta must lie between 1 and 10 mm, got 20"),
    ],
)
def test_contradictions_are_refused(run: Run, words: tuple[str, ...], told: str) -> None:
    ran = run("infer", DEMO, "--model", "finger-ppg", *(part for word in words for part in ("--patient", word)))
    assert ran.code == 2
    assert told in ran.err


@pytest.mark.parametrize("name", ["radial-abp", "finger-ppg", "abp-ppg"])
def test_without_a_word_the_layer_changes_nothing(run: Run, name: str, real_data: Path, tmp_path: Path) -> None:
    bare = tmp_path / name
    shutil.copytree(find_bundle(name), bare, ignore=shutil.ignore_patterns("patient.*"))
    assert run("models", "seal", bare).code == 0
    words = ("--json", "infer", real_data / BOTH, "--draws", 100, "--keep-uninformative")
    found = [json.loads(run(*words, "--model", one).out.splitlines()[0])["windows"] for one in (name, bare)]
    assert len(found[0]) == 2 and found[0] == found[1]


def test_arteries_of_the_old_are_stiffer_behind_a_clip(run: Run, real_data: Path) -> None:
    words = ("--json", "infer", real_data / BOTH, "--model", "finger-ppg", "--keep-uninformative")
    found = [run(*words, "--patient", f"age={age}", "--patient", "height=170cm") for age in (25, 45, 65)]
    windows = [json.loads(ran.out.splitlines()[0])["windows"] for ran in found]
    for young, middle, old in zip(*windows, strict=True):
        speeds = [window["quantities"]["PWV"] for window in (young, middle, old)]
        medians, ends = ([speed[name] for speed in speeds] for name in ("median", "high"))
        assert medians == sorted(medians) and medians[2] > 1.02 * medians[0]
        assert ends == sorted(ends) and ends[2] > 1.2 * ends[0], (
            "a slow wave is not likely in the old, a fast one may be"
        )
        assert "not_calibrated" in old["quantities"]["MAP"]  # below 40 years; a clip does not tell who is


def test_models_verify_checks_the_layer_too(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "edited"
    shutil.copytree(find_bundle("radial-abp"), folder)
    text = (folder / "patient.json").read_text(encoding="utf-8")
    (folder / "patient.json").write_text(text.replace('"epochs": 8', '"epochs": 9'), encoding="utf-8")
    ran = run("models", "verify", folder)
    assert ran.code == 6
    assert "patient layer of bundle edited was edited" in ran.err
    assert "nothing to check" not in ran.out


def test_models_show_prints_the_card_of_the_layer(run: Run) -> None:
    assert "# finger-ppg: what is known of the patient" in run("models", "show", "finger-ppg").out
