r"""What cards of layers say comes out again on other simulations; a number that is not true does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from pulsebayes.calibration import evidence_layers
from pulsebayes.calibration.evidence_layers import patients_again
from pulsebayes.inference.bundle import Bundle, find_bundle
from pulsebayes.inference.patient.layer import PatientLayer, load_patient, save_patient
from pulsebayes.inference.patient.recipe import PatientRows, _part, measure_patient
from pulsebayes.inference.recipe import find_recipe


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


def test_worth_by_channels_is_compared_too() -> None:
    row = json.loads((find_bundle("abp-ppg") / "patient.json").read_text())["measured"]["age"]
    found = list(evidence_layers._each(row, row, "age"))
    assert (
        len({one.number for one in found})
        == len(found)
        == (1 + len(row["given"])) * len(list(evidence_layers._patients(row, row, "age")))
    )
    again = json.loads(json.dumps(row))
    again["given"]["PLETH"]["spread"]["PWV"] += 0.5
    missed = [one.number for one in evidence_layers._each(row, again, "age") if not one.holds]
    assert missed == ["spread PWV, age known, given PLETH"]


def test_bundle_without_layers_has_nothing_to_measure(tmp_path: Path) -> None:
    assert patients_again(find_bundle("multi-site"), tmp_path) == []
