r"""The atlas of a trained model of two channels, from its bundle, in Python and on the command line."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pulsebayes.apps.cli.main import run as run_main
from pulsebayes.calibration.identifiability.cells import CellKey, summary_of
from pulsebayes.calibration.identifiability.plan import AtlasConfig, run_cells
from pulsebayes.calibration.identifiability.sobol import sobol_of_study
from pulsebayes.calibration.identifiability.study import BundleStudy, without
from pulsebayes.inference.bundle import Bundle
from pulsebayes.inference.contract import ChannelContract, InputContract
from pulsebayes.inference.embedding import ChannelScale, EmbeddingConfig
from pulsebayes.inference.npe import NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.streaming import ArraySource
from pulsebayes.inference.training import TrainConfig, TrainData, train
from pulsebayes.simulators.channels import ChannelSensor, ClockOffset, SensedChannel
from pulsebayes.simulators.photoplethysmograph import PPGSensor
from pulsebayes.simulators.registry import build
from pulsebayes.simulators.sensors import CatheterLine, Gain, Quantisation, SensorModel

HERE = str(Path(__file__).parent)
TOY = "toy_circulation:ToyCirculation"
NEAR = ClockOffset(near_s=0.01, loose_share=0.0)
LINE = SensorModel(line=CatheterLine(ideal_share=1.0), gain=Gain(0.0), quantisation=Quantisation(none_share=1.0))
SENSOR = ChannelSensor((SensedChannel("ART", LINE, NEAR), SensedChannel("PLETH", PPGSensor.finger(), NEAR)))
SHAPE = EmbeddingConfig(
    "channels", samples=250, fs=62.5, stem=8, stages=(12, 16), blocks=(1, 1), heads=2, hidden=32, context=12, rate=True,
    channels=(ChannelScale("ART"), ChannelScale("PLETH", relative=True)),
)  # fmt: skip
CONTRACT = InputContract(fs=62.5, samples=250, several=(ChannelContract(), ChannelContract("PLETH", "1")))


@pytest.fixture(scope="module", autouse=True)
def toy_path():
    sys.path.insert(0, HERE)
    yield
    sys.path.remove(HERE)


@pytest.fixture(scope="module")
def folder(toy_path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    r"""Some seconds of training: enough that an arm tells its pressure, and a finger does not."""
    torch.set_num_threads(1)
    simulator = build(TOY)
    theta = simulator.space.sample(np.random.default_rng(0), 1500)
    rows = simulator.simulate(theta, 1)
    columns = dict(zip(simulator.quantity_names, rows.quantities.T.astype(float), strict=True))
    data = TrainData(ArraySource(rows.waves), columns, SENSOR, rows.status, 62.5)
    outputs = OutputSpace.from_names(("HR", "MAP", "PP"))
    config = TrainConfig(epochs=8, batch=64, rate=4e-3, warmup=20, precision="float32", averaging=0.95)
    npe = train(data, outputs, NPEConfig(SHAPE, transforms=2, hidden=(24,)), config).npe
    channels = [{"name": "ART", "site": "arm"}, {"name": "PLETH", "site": "finger"}]
    training = {
        "simulator": TOY, "simulator_config": {}, "fingerprint": "toy", "sensor": SENSOR.to_json(),
        "recipe": {"name": "toy", "channels": channels},
    }  # fmt: skip
    prior = outputs.encode(columns)[:1000].astype(np.float32)
    made = tmp_path_factory.mktemp("models") / "toy"
    Bundle("toy", npe.eval(), prior, CONTRACT, training).save(made)
    return made


@pytest.fixture(scope="module")
def study(folder: Path) -> BundleStudy:
    return BundleStudy(Bundle.load(folder))


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run_main([str(word) for word in words])
    return code, *capsys.readouterr()


def test_individuals_are_new_and_windows_differ_by_noise_only(study: BundleStudy) -> None:
    people = study.people(120, 3)
    assert people.n == 120 and people.waves.shape[:2] == (120, 2)
    assert set(people.columns) == {"age", "rate", "size", "level", "HR", "PP", "MAP"}
    same, other = study.people(120, 3), study.people(120, 4)
    np.testing.assert_array_equal(people.theta, same.theta)
    assert not np.isin(people.theta[:, 0], other.theta[:, 0]).any()
    quiet, loud = (study.observe(people, factor, 3) for factor in (0.25, 4.0))
    clean = study.observe(people, 1.0, 3)
    assert np.std(loud[:, 0] - clean[:, 0]) > 3 * np.std(clean[:, 0] - quiet[:, 0]) > 0
    part = without(clean, study.channels, ("PLETH",))
    assert np.isnan(part[:, 0]).all() and np.isfinite(part[:, 1]).all() and np.isfinite(clean).all()


def test_an_arm_tells_pressure_a_finger_does_not_and_both_tell_the_rate(study: BundleStudy) -> None:
    measured = run_cells(study, AtlasConfig(n=200, draws=120, noise=()))
    rows = {key.set_name: summary_of(study, measured.people, cell, n_draws=120) for key, cell in measured.cells.items()}
    for name in ("ART", "PLETH", "ART+PLETH"):
        assert rows[name]["HR"]["bits"] > 1.5
    for quantity in ("PP", "MAP"):
        assert rows["ART"][quantity]["bits"] > 0.4
        assert abs(rows["PLETH"][quantity]["bits"]) < 0.2
    both, alone = (measured.cells[CellKey(k)] for k in (("ART", "PLETH"), ("PLETH",)))
    assert both.log_prob.mean() > alone.log_prob.mean() + 1


def test_indices_of_the_simulator_are_found_without_its_sensors(study: BundleStudy) -> None:
    found = sobol_of_study(study, 32)
    level, age = (found.parameters.index(name) for name in ("level", "age"))
    assert found.total[level, 0] > 0.3 and found.total[level, 1] < 1e-6
    np.testing.assert_allclose(found.total[age], 0.0, atol=1e-9)
    assert found.quantities["MAP"][0] > found.quantities["MAP"][1] + 0.15


def test_the_command_writes_a_gallery(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "atlas"
    words = (
        "analyse",
        "identifiability",
        folder,
        "-n",
        120,
        "--draws",
        60,
        "--noise",
        "1",
        "--sobol",
        16,
        "--out",
        out,
    )
    code, said, _ = run(capsys, *words, "--json")
    assert code == 0
    atlas = json.loads(said)
    assert atlas["channels"] == ["ART", "PLETH"] and len(atlas["checks"]) == 5
    assert atlas["sensitivity"]["parameters"] == ["age", "rate", "size", "level"]
    page = (out / "atlas.html").read_text()
    for words_of_page in ("The uncertainty atlas of toy", "Regimes", "The best next measurement", "All cells", "<svg"):
        assert words_of_page in page
    assert "<script" not in page and "<img" not in page
    rows = list(csv.DictReader((out / "atlas.csv").open()))
    assert len(rows) == 6 * 3 and {row["noise"] for row in rows} == {"as trained", "1"}
    assert {p.name for p in out.glob("*.png")} >= {"intervals.png", "information.png", "calibration.png", "regimes.png"}
    assert json.loads((out / "run.json").read_text())["command"] == "analyse identifiability"
    assert (out / "cells/cell-PLETH-1.npz").is_file()


def test_the_command_says_in_words_what_it_found_and_exits_by_its_checks(folder: Path, capsys) -> None:
    words = ("analyse", "identifiability", folder, "-n", 100, "--draws", 50, "--noise", "", "--sobol", 0, "--check")
    code, text, _ = run(capsys, *words)
    assert "best alone" in text and "HR's 90 % interval covers in every channel" in text
    assert code == (8 if "FAILS" in text else 0)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--noise", "99"), 2, "what the sensors of toy were trained with, got 99"),
        (("--noise", "loud"), 2, "--noise must be numbers with commas"),
        (("--given", "ART+TOE"), 2, "channels must be among ART, PLETH, got TOE"),
        (("--sets", "some"), 2, "sets must be 'all' or 'singles'"),
        (("--sobol", "100"), 2, "--sobol must be a power of two"),
    ],
)
def test_options_that_do_not_fit_are_refused(words, code, text, folder: Path, capsys) -> None:
    found, said, _ = run(capsys, "analyse", "identifiability", folder, "-n", 100, *words, "--json")
    assert found == code
    assert text in json.loads(said)["error"]["message"]


def test_bundles_and_folders_that_do_not_fit_are_refused(folder: Path, tmp_path: Path, capsys) -> None:
    bare = Bundle.load(folder)
    Bundle("bare", bare.npe, bare.prior, bare.contract).save(tmp_path / "bare")
    code, said, _ = run(capsys, "analyse", "identifiability", tmp_path / "bare", "--json")
    assert code == 6 and "lacks simulator" in json.loads(said)["error"]["message"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("keep")
    code, said, _ = run(capsys, "analyse", "identifiability", folder, "--out", tmp_path / "mine", "--json")
    assert code == 2 and "already holds files" in json.loads(said)["error"]["message"]
    assert (tmp_path / "mine/letter.txt").read_text() == "keep"
