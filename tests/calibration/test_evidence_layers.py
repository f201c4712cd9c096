r"""What cards of layers say comes out again on other simulations; a number that is not true does not."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pulsebayes.calibration import evidence_layers
from pulsebayes.calibration.evidence_layers import patients_again, pools_again
from pulsebayes.inference.bundle import Bundle, find_bundle
from pulsebayes.inference.patient.layer import PatientLayer, load_patient, save_patient
from pulsebayes.inference.patient.recipe import PatientRows, _part, measure_patient
from pulsebayes.inference.pooling.layer import PoolingLayer, load_pooling, save_pooling
from pulsebayes.inference.pooling.recipe import find_pooling_recipe
from pulsebayes.inference.recipe import find_recipe

SET = {"name": "few", "recordings": 40, "windows": 10, "seed": 95, "part": 40}


@pytest.fixture(scope="module")
def rows() -> PatientRows:
    r"""Some windows of patients."""
    torch.set_num_threads(1)
    bundle = Bundle.load(find_bundle("radial-abp"))
    return PatientRows(**_part(bundle, find_recipe("radial-abp"), "", 64, seed=97))


def _copy(tmp_path: Path) -> Path:
    folder = tmp_path / "radial-abp"
    shutil.copytree(find_bundle("radial-abp"), folder)
    return folder


def test_worth_of_a_patient_comes_out_again(rows: PatientRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _copy(tmp_path)
    bundle = Bundle.load(folder)
    layer = load_patient(folder, bundle)
    assert layer is not None
    card = {k: v for k, v in measure_patient(bundle, layer.heads, rows, draws=200).items() if k in ("", "age")}
    asked: list[object] = []
    monkeypatch.setattr(evidence_layers, "make_patient_rows", lambda *a: asked.append(a[3]) or rows)
    monkeypatch.setattr(evidence_layers, "measure_patient", lambda b, h, r, draws: measure_patient(b, h, r, draws=200))
    save_patient(PatientLayer(layer.heads, card), folder)
    found = patients_again(folder, tmp_path, n=64)
    assert asked == [{"model": "network", "n": 64, "seed": 37, "part": 1024}]
    assert all(one.holds and one.again == one.card for one in found)
    assert {"cover 90 % SV, age known", "spread PWV, age known", "effective, nothing known"} <= {
        one.number for one in found
    }
    wrong = json.loads(json.dumps(card))
    wrong["age"]["spread"]["PWV"] *= 1.5
    wrong["age"]["coverage"]["0.9"]["SV"] = 0.3
    save_patient(PatientLayer(layer.heads, wrong), folder)
    missed = {one.number for one in patients_again(folder, tmp_path, n=64) if not one.holds}
    assert missed == {"spread PWV, age known", "cover 90 % SV, age known"}


def test_coverage_of_pools_comes_out_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _copy(tmp_path)
    bundle = Bundle.load(folder)
    layer = load_pooling(folder, bundle)
    recipe = find_pooling_recipe("radial-abp-pooled")
    assert layer is not None and recipe is not None
    few = dataclasses.replace(recipe, test=[SET], finer=[], alike=[], draws=100)
    monkeypatch.setattr(evidence_layers, "find_pooling_recipe", lambda name: few)
    found = pools_again(folder, tmp_path, share=0.5)
    assert len(list((tmp_path / "radial-abp-few").glob("part-*-20-*.npz"))) == 1
    assert {one.number.split(", ")[1] for one in found} == {"pools of 1", "pools of 10"}
    assert all(one.holds for one in found) and all(np.isfinite(one.spread) and one.spread > 0 for one in found)
    wrong = json.loads(json.dumps(dict(layer.measured)))
    wrong["coverage_by_pool"]["10"]["0.9"]["HR"] = 0.4
    save_pooling(PoolingLayer(layer.npe, layer.detector, wrong, layer.training, layer.aging, layer.patients), folder)
    missed = {one.number for one in pools_again(folder, tmp_path, share=0.5) if not one.holds}
    assert missed == {"cover 90 % HR, pools of 10"}


def test_bundle_without_layers_has_nothing_to_measure(tmp_path: Path) -> None:
    assert patients_again(find_bundle("multi-site"), tmp_path) == []
    assert pools_again(find_bundle("multi-site"), tmp_path) == []
