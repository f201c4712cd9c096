r"""`pulsebayes validate` measures a model, writes a new bundle with a page, and exits 8 where a target is missed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

CONFIG = {"duration_s": 10.0}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    r"""An untrained model of a windkessel that answers half as widely as its prior."""
    import torch

    from pulsebayes.inference.bundle import Bundle, InputContract
    from pulsebayes.inference.embedding import EmbeddingConfig
    from pulsebayes.inference.npe import NPE, NPEConfig
    from pulsebayes.inference.outputs import OutputSpace
    from pulsebayes.simulators.sensors import SensorModel
    from pulsebayes.simulators.windkessel import Windkessel

    torch.manual_seed(0)
    space = Windkessel(**CONFIG).space
    outputs = OutputSpace.from_names(("R", "C"), extra=space)
    npe = NPE(outputs, NPEConfig(EmbeddingConfig("dense", hidden=8, context=4), transforms=2, hidden=(8,))).eval()
    prior = space.sample(np.random.default_rng(0), 500).astype(np.float32)
    z = torch.from_numpy(outputs.space.unconstrain(prior)).float()
    npe.fit_scales(0.5 * (z - z.mean(0)) + z.mean(0), 90 + 20 * torch.randn(64, 1000))
    simulate = {"model": "windkessel", "config": CONFIG}
    recipe = {"name": "narrow", "simulate": simulate, "test": {}, "site": "aortic-root", "outputs": ["R", "C"],
              "sensor": SensorModel.ideal().to_json()}  # fmt: skip
    training = {"simulator": "windkessel", "simulator_config": CONFIG, "recipe": recipe, "sensor": recipe["sensor"]}
    folder = tmp_path_factory.mktemp("models") / "narrow"
    Bundle("narrow", npe, prior, InputContract(), training).save(folder)
    return folder


def digest(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_new_bundle_holds_the_numbers_and_every_answer_cites_them(run, narrow, pulse, write_csv, tmp_path):
    before, out = digest(narrow), tmp_path / "validated"
    ran = run("validate", narrow, "-n", 250, "--draws", 60, "--faults", 20, "--out", out, "--check", "--json")
    assert ran.code == 8
    said = json.loads(ran.out)
    assert said["passes"] is False
    assert set(said["not_calibrated"]) == {"R", "C"}
    assert digest(narrow) == before
    page = (out / "validation.html").read_text()
    for words in ("does not pass", "not calibrated", "local_c2st", "Subgroups", "Faults of the sensor", "<svg"):
        assert words in page
    assert "<script" not in page and "http-equiv" not in page
    assert json.loads((out / "run.json").read_text())["command"] == "validate"
    answered = run(
        "infer", write_csv(tmp_path / "a.csv", pulse(8)), "--model", out, "--draws", 40, "--fs", 125, "--json"
    )
    assert answered.code == 0, answered
    rows = json.loads(answered.out)["windows"][0]["quantities"]
    assert "intervals held" in rows["R"]["not_calibrated"]
    shown = run("infer", tmp_path / "a.csv", "--model", out, "--draws", 40, "--fs", 125).out
    assert "not calibrated" in shown and "Not calibrated: " in shown


def test_without_check_a_missed_target_is_told_and_exits_zero(run, narrow):
    ran = run("validate", narrow, "-n", 200, "--draws", 50, "--faults", 0)
    assert ran.code == 0
    assert "does not pass" in ran.out and "FOUND" in ran.out


def test_what_does_not_fit_is_refused(run, narrow, model, tmp_path):
    assert run("validate", narrow, "--out", narrow).code == 2
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert run("validate", narrow, "--out", tmp_path / "full").code == 2
    assert run("validate", narrow, "--set", tmp_path / "none.zarr").code == 3
    assert run("validate", narrow, "-n", 10).code == 2
    assert run("validate", tmp_path / "none").code == 6
    lacking = run("validate", model, "-n", 200)
    assert lacking.code == 2 and "does not say which simulator" in lacking.err
