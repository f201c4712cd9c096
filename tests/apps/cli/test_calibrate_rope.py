r"""`calibrate rope` from a table of pairs to the posteriors that `infer` prints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pulsebayes.apps.cli.calibrate_rope import _choice
from pulsebayes.apps.cli.main import run
from pulsebayes.inference.bundle import Bundle
from pulsebayes.inference.npe import NPE, PRESETS
from pulsebayes.inference.outputs import OutputSpace

DEMO = Path(__file__).resolve().parents[3] / "apps" / "cli" / "demo_data"
HEAD = "subject,recording,start_s,end_s,CO [L/min],MAP [mmHg]\n"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    r"""A small untrained model of a simulator, and 24 windows of the demo recording as if of 24 patients."""
    folder = tmp_path_factory.mktemp("rope")
    for path in DEMO.iterdir():
        shutil.copy(path, folder / path.name)
    for i in range(24):
        text = (folder / "simulated_patient.hea").read_text()
        (folder / f"p{i}.hea").write_text(text.replace("simulated_patient", f"p{i}", 1))
    rows = [f"s{i},p{i}.hea,{8 * (i % 14)},{8 * (i % 14) + 8},{4.9 + 0.03 * i:.3f},\n" for i in range(24)]
    (folder / "pairs.csv").write_text(HEAD + "".join(rows))
    (folder / "few.csv").write_text(HEAD + "".join(rows[:12]))
    mixed = rows[0].replace("s0,p0", "s1,p1")
    (folder / "mixed.csv").write_text(HEAD + "".join(rows) + mixed.replace("s1,", "s9,"))
    torch.manual_seed(0)
    outputs = OutputSpace.from_names(("HR", "SV", "MAP", "CVP"))
    prior = outputs.space.constrain(np.random.default_rng(0).normal(0, 0.3, (500, 4))).astype(np.float32)
    config = {"population": "clinical", "sites": ["Radial"], "duration_s": 10.0, "n_frequencies": 32}
    training = {"simulator": "linear-network", "simulator_config": config, "recipe": {"site": "Radial"}}
    Bundle("tiny", NPE(outputs, PRESETS["small"]), prior, training=training).save(folder / "tiny")
    return folder


def command(work: Path, pairs: str, out: str, *more: str) -> list[str]:
    words = ["calibrate", "rope", str(work / "tiny"), "--pairs", str(work / pairs), "--out", str(work / out)]
    return [*words, "--simulations", "256", "--steps", "5", *more]


def test_infer_answers_by_the_mixture_and_cites_held_out_patients(work: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(command(work, "pairs.csv", "mine", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    found = told["measured"]
    assert told["settings"] == {"gamma": 0.25, "tau": 1.0, "bandwidth": 0.17, "prior_share": 0.05}
    assert found["patients"] == 24 and set(found["coverage"]["0.9"]) == {"CO"} == set(found["acauc"])
    assert found["lpp"] is not None and found["lpp_infinite"] == 0.0
    record = json.loads((work / "mine" / "run.json").read_text())
    assert record["command"] == "calibrate rope" and "pairs.csv" in record["inputs"]
    recording = str(work / "simulated_patient.hea")
    outputs = {}
    for model in ("tiny", "mine"):
        assert run(["infer", recording, "--model", str(work / model), "--end", "16s", "--json"]) == 0
        outputs[model] = json.loads(capsys.readouterr().out)["windows"]
    assert outputs["tiny"][0]["calibration"] is None
    cited = outputs["mine"][0]["calibration"]
    assert (cited["method"], cited["n"], cited["level"]) == ("rope", 24, 0.9)
    assert 1 <= cited["effective_size"] <= cited["simulations"]
    assert outputs["mine"][0]["quantities"]["CO"] != outputs["tiny"][0]["quantities"]["CO"]
    assert run(["infer", recording, "--model", str(work / "mine"), "--end", "16s"]) == 0
    said = capsys.readouterr().out
    assert "of 24 patients held out; weighed over" in said and "credible intervals" in said
    assert run(command(work, "pairs.csv", "mine")) == 2  # never writes over what is there


def test_an_edited_layer_or_one_of_another_bundle_is_refused(work: Path, capsys: pytest.CaptureFixture) -> None:
    if not (work / "mine").exists():
        assert run(command(work, "pairs.csv", "mine")) == 0
    bad = work / "edited"
    shutil.copytree(work / "mine", bad, dirs_exist_ok=True)
    (bad / "rope.json").write_text((bad / "rope.json").read_text().replace('"epsilon": ', '"epsilon": 1'))
    assert run(["infer", str(work / "simulated_patient.hea"), "--model", str(bad)]) == 6
    assert "was edited" in capsys.readouterr().err


def test_few_patients_are_refused_for_a_hard_marginal_and_taken_for_a_soft_one(
    work: Path, capsys: pytest.CaptureFixture
) -> None:
    for tau in ([], ["--tau", "0.9"]):
        assert run(command(work, "few.csv", "few", "--gamma", "0.25", *(tau or ["--tau", "1"]))) == 2
        assert "at least 20 patients, got 12" in capsys.readouterr().err
        assert not (work / "few").exists()
    assert run(command(work, "few.csv", "few", "--gamma", "0.25", "--tau", "0.5")) == 0


def test_a_given_gamma_is_taken_where_there_are_too_few_patients_to_choose() -> None:
    config, grid = _choice(0.4, 0.0, 12, 50)
    assert (config.gamma, config.tau, grid) == (0.4, 1.0, None)
    config, grid = _choice(0.4, 0.0, 40, 15)
    assert config is None and grid.gamma == (0.4,) and max(grid.tau) <= 0.5


def test_one_recording_in_both_tables_under_two_subjects_is_refused(work: Path, capsys: pytest.CaptureFixture) -> None:
    (work / "cohort.csv").write_text("subject,recording,start_s,end_s\nother,p3.hea,0,8\n")
    assert run(command(work, "pairs.csv", "mixed", "--unlabelled", str(work / "cohort.csv"))) == 2
    said = capsys.readouterr().err
    assert "p3.hea stands under 2 subjects" in said and "pairs.csv row 4" in said and "cohort.csv row 1" in said


def test_labels_in_a_wrong_unit_are_refused_before_anything_is_simulated(
    work: Path, capsys: pytest.CaptureFixture
) -> None:
    (work / "unit.csv").write_text((work / "pairs.csv").read_text().replace("CO [L/min]", "CO [mL/min]"))
    assert run(command(work, "unit.csv", "unit")) == 3
    said = capsys.readouterr().err
    assert "unit.csv: CO must lie between" in said and "check the unit in the header" in said
    assert "simulating" not in said and not (work / "unit").exists()


def test_a_recording_under_two_subjects_is_refused_with_rows_and_hashes(
    work: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(command(work, "mixed.csv", "mixed")) == 2
    said = capsys.readouterr().err
    assert "p1.hea stands under 2 subjects" in said and "row 2" in said and "row 25" in said and "s9" not in said
    assert run(command(work, "mixed.csv", "mixed", "--show-ids")) == 2
    assert "row 25: s9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [(["--tau", "2"], 2, "--tau in (0, 1]"), (["--gamma", "-1"], 2, "--gamma must be positive")],
)
def test_bad_options_are_told(work: Path, capsys: pytest.CaptureFixture, more: list[str], code: int, said: str) -> None:
    assert run(command(work, "pairs.csv", "none", *more)) == code
    assert said in capsys.readouterr().err
