r"""`train --hybrid`: what is refused before anything is simulated, and once from a cohort to a bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pulsebayes.inference.bundle import Bundle
from pulsebayes.inference.npe import NPE, PRESETS
from pulsebayes.inference.outputs import OutputSpace

DEMO = Path(__file__).resolve().parents[3] / "apps" / "cli" / "demo_data"
HEAD = "subject,recording,start_s,end_s,device,CO [L/min]\n"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    r"""An untrained model of a small simulator, and windows of the demo recording as if of eight patients."""
    folder = tmp_path_factory.mktemp("hybrid")
    for path in DEMO.iterdir():
        shutil.copy(path, folder / path.name)
    rows = []
    for i in range(8):
        text = (folder / "simulated_patient.hea").read_text()
        (folder / f"p{i}.hea").write_text(text.replace("simulated_patient", f"p{i}", 1))
        rows += [f"s{i},p{i}.hea,{8 * k},{8 * k + 8},Vigilance,{4.9 + 0.1 * i + 0.01 * k:.3f}\n" for k in range(2)]
    (folder / "cohort.csv").write_text(HEAD + "".join(rows))
    (folder / "few.csv").write_text(HEAD + "".join(rows[:10]))
    (folder / "mixed.csv").write_text(HEAD + "".join(rows) + rows[0].replace("s0,", "s1,"))
    (folder / "bare.csv").write_text("subject,recording,start_s,end_s\ns0,p0.hea,0,8\n")
    (folder / "unit.csv").write_text((HEAD + "".join(rows)).replace("CO [L/min]", "CO [mL/min]"))
    torch.manual_seed(0)
    outputs = OutputSpace.from_names(("HR", "SV", "MAP", "CVP"))
    prior = outputs.space.constrain(np.random.default_rng(0).normal(0, 0.3, (500, 4))).astype(np.float32)
    config = {"population": "clinical", "sites": ["Radial"], "duration_s": 10.0, "n_frequencies": 32}
    training = {"simulator": "linear-network", "simulator_config": config, "recipe": {"site": "Radial", "name": "tiny"}}
    Bundle("tiny", NPE(outputs, PRESETS["small"]), prior, training=training).save(folder / "tiny")
    return folder


def words(work: Path, cohort: str, out: str, *more: object) -> list[object]:
    return ["train", "--hybrid", work / cohort, "--model", work / "tiny", "--out", work / out, *more]


@pytest.mark.parametrize(
    ("cohort", "more", "code", "said"),
    [
        ("few.csv", (), 2, "at least 6 subjects, got 5"),
        ("mixed.csv", (), 2, "p0.hea stands under 2 subjects"),
        ("bare.csv", (), 2, "labels nothing that tiny reports: it has no labels"),
        ("unit.csv", (), 3, "in rows 1, 2, 3, 4, 5, ...: check the unit in the header"),
        ("none.csv", (), 3, "no such table"),
        ("cohort.csv", ("--candidates", "flow,magic"), 2, "--candidates must be among shift, flow"),
        ("cohort.csv", ("--share", "1"), 2, "share must lie in (0, 1)"),
        ("cohort.csv", ("--preset", "small"), 2, "--preset does not go with --hybrid"),
        ("cohort.csv", ("--resume",), 2, "--resume does not go with --hybrid"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(
    run: Callable[..., Any], work: Path, cohort: str, more: tuple[str, ...], code: int, said: str
) -> None:
    ran = run(*words(work, cohort, "refused", *more))
    assert ran.code == code and said in ran.err, ran.err
    assert not (work / "refused").exists() and "simulating" not in ran.err


def test_a_model_with_layers_or_one_that_is_there_is_refused(run: Callable[..., Any], work: Path) -> None:
    from pulsebayes.calibration.conformal.layer import ConformalLayer, save_layer

    shutil.copytree(work / "tiny", work / "layered")
    save_layer(ConformalLayer((), 100, ()), work / "layered")
    ran = run("train", "--hybrid", work / "cohort.csv", "--model", work / "layered", "--out", work / "x")
    assert ran.code == 2 and "has calibration layers" in ran.err
    ran = run("train", "--hybrid", work / "cohort.csv", "--model", work / "tiny", "--out", work / "tiny")
    assert ran.code == 2 and "--out is the model itself" in ran.err
    ran = run("train", "--hybrid", work / "cohort.csv", "--model", work / "tiny", "--out", work / "layered")
    assert ran.code == 2 and "already holds files" in ran.err
    ran = run("train", "--model", work / "tiny", "--out", work / "x")
    assert ran.code == 2 and "--model goes with --hybrid" in ran.err


def test_a_cohort_becomes_a_bundle_that_says_what_won(run: Callable[..., Any], work: Path) -> None:
    more = ("--candidates", "shift,rope", "--steps", "4", "--folds", "2", "--simulations", "800", "--json")
    ran = run(*words(work, "cohort.csv", "mine", *more))
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert [row["candidate"] for row in found["table"]] == ["base", "shift", "rope"]
    assert found["subjects_n"] == 8 and found["windows"] == 16 and found["quantities"] == ["CO"]
    bundle = Bundle.load(work / "mine")
    assert bundle.training["hybrid"]["chosen"] == found["chosen"]
    assert "## Learning from real labels" in bundle.card and "standard error" in bundle.card
    record = json.loads((work / "mine" / "run.json").read_text())
    assert record["command"] == "train" and record["config"]["share"] == 0.25 and "cohort.csv" in record["inputs"]
    recording = work / "simulated_patient.hea"
    assert run("infer", recording, "--model", work / "mine", "--end", "8s", "--json").code == 0
    ran = run("evaluate", work / "cohort.csv", "--model", work / "mine", "--draws", "60", "--out", work / "seen")
    if found["chosen"] != "base":
        assert ran.code == 2 and "also served" in ran.err
