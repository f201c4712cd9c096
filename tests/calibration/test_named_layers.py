"""Layers that a bundle names: one that is lost or exchanged is told, whoever reads it; one that is laid is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pulsebayes.apps.cli.main import run
from pulsebayes.calibration.load import load_calibrated, seal_layers
from pulsebayes.calibration.validation import save_validated
from pulsebayes.inference.bundle import Bundle, BundleError, find_bundle, named_files, own_hash, sha256_of
from pulsebayes.inference.patient.layer import save_patient
from pulsebayes.inference.pooling.layer import load_pooling, save_pooling

LAYERS = {"pooling": {"pooling.json", "pooling.md", "pooling.safetensors"},
          "patient": {"patient.json", "patient.md", "patient.safetensors"}}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(find_bundle("radial-abp"), tmp_path / "mine"))


def _rewritten(folder: Path, change: Callable[[dict[str, Any]], object], *, sealed: bool = True) -> None:
    info = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    change(info)
    if sealed:
        info["hash"] = own_hash(info)
    (folder / "bundle.json").write_text(json.dumps(info), encoding="utf-8")


@pytest.mark.parametrize("name", ["radial-abp", "abp-ppg", "finger-ppg"])
def test_shipped_models_name_their_layers(name: str) -> None:
    folder = find_bundle(name)
    for layer, files in LAYERS.items():
        there = (folder / f"{layer}.json").is_file()
        assert set(named_files(folder, layer)) == (files if there else set())


@pytest.mark.parametrize(
    ("lost", "layer"),
    [
        (("pooling.json", "pooling.md"), "pooling"),
        (("pooling.json", "pooling.md", "pooling.safetensors"), "pooling"),
        (("patient.json", "patient.safetensors", "patient.md"), "patient"),
        (("patient.md",), "patient"),
    ],
)
def test_a_layer_that_was_removed_is_told(
    folder: Path, lost: tuple[str, ...], layer: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, a model without pooling.json and pooling.md answered window by window and was called whole."""
    for name in lost:
        (folder / name).unlink()
    said = f"the {layer} layer of bundle mine is not whole: bundle.json names {lost[0]}, which is not there"
    demo = Path(find_bundle.__code__.co_filename).parents[1] / "apps/cli/demo_data/simulated_patient.hea"
    monkeypatch.setattr("pulsebayes.inference.bundle.shipped_bundles", lambda: {"radial-abp": folder})
    for words in (["models", "verify", str(folder)], ["infer", str(demo), "--model", str(folder)], ["doctor"]):
        capsys.readouterr()
        assert run(words) == 6
        told = capsys.readouterr()
        assert said in " ".join((told.out + told.err).split())


@pytest.mark.parametrize("name", ["pooling.md", "patient.md"])
def test_a_card_that_was_edited_is_told(folder: Path, name: str) -> None:
    (folder / name).write_text("better than measured", encoding="utf-8")
    with pytest.raises(BundleError, match=f"layer of bundle mine was edited: {name} is not the one"):
        load_calibrated(folder)


def test_another_whole_layer_is_told(folder: Path) -> None:
    """A layer of the same weights, whole by itself, that is not the one that was laid."""
    named = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["layers"]
    found = load_calibrated(folder)
    assert found.patient is not None
    save_patient(type(found.patient)(found.patient.heads, {}, {}), folder)
    _rewritten(folder, lambda info: info.update(layers=named))
    with pytest.raises(BundleError, match=r"patient\.json is not the one that bundle.json names"):
        load_calibrated(folder)


def test_names_cannot_be_taken_out_by_hand(folder: Path) -> None:
    _rewritten(folder, lambda info: info.pop("layers"), sealed=False)
    with pytest.raises(BundleError, match=r"bundle\.json of bundle mine is missing or differs"):
        load_calibrated(folder)


@pytest.mark.parametrize("beside", [True, False])
def test_a_bundle_that_names_no_layers_is_read_as_before(folder: Path, beside: bool) -> None:
    _rewritten(folder, lambda info: info.pop("layers"))
    if not beside:
        for name in {name for files in LAYERS.values() for name in files}:
            (folder / name).unlink()
    found = load_calibrated(folder)
    assert (found.pooling is not None, found.patient is not None) == (beside, beside)


def test_a_layer_that_was_removed_on_purpose_is_named_no_longer(folder: Path, tmp_path: Path) -> None:
    kept = {name: (folder / name).read_bytes() for name in LAYERS["pooling"]}
    before = (folder / "bundle.json").read_bytes()
    for name in kept:
        (folder / name).unlink()
    assert seal_layers(folder) == ["patient"]
    assert load_calibrated(folder).pooling is None
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    assert seal_layers(folder) == ["pooling", "patient"]
    assert (folder / "bundle.json").read_bytes() == before
    (folder / "pooling.json").write_bytes(kept["pooling.json"].replace(b'"most": ', b'"most": 3'))
    with pytest.raises(BundleError, match="pooling layer of bundle mine was edited"):
        seal_layers(folder)
    assert (folder / "bundle.json").read_bytes() == before


@pytest.mark.parametrize("lost", ["pooling.json", "patient.json"])
def test_half_a_layer_is_not_sealed_away(folder: Path, lost: str) -> None:
    """Before, the rest of it stayed and was named no longer, without a word."""
    before = (folder / "bundle.json").read_bytes()
    (folder / lost).unlink()
    with pytest.raises(BundleError, match=f"is there without {lost}"):
        seal_layers(folder)
    assert (folder / "bundle.json").read_bytes() == before


def test_one_layer_that_cannot_be_used_leaves_the_names_of_the_other(folder: Path) -> None:
    for name in LAYERS["pooling"]:
        (folder / name).unlink()
    (folder / "patient.safetensors").write_bytes(b"short")
    before = (folder / "bundle.json").read_bytes()
    with pytest.raises(BundleError, match="patient layer of bundle mine was edited"):
        seal_layers(folder)
    assert (folder / "bundle.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": 2}, "has schema 2, this version needs 3"),
        ({"schema": "seven"}, "is damaged: invalid literal"),
        ({"aging": {"excess": [-1.0]}}, "is damaged: excess must be 0 or more"),
        ({"network": {"features": 0}}, "is damaged: sizes must be positive"),
    ],
)
def test_a_layer_that_cannot_be_built_is_not_sealed(folder: Path, change: dict[str, Any], told: str) -> None:
    """Before, the bundle named it; numbers that cannot be were no fault of the bundle."""
    info = json.loads((folder / "pooling.json").read_text(encoding="utf-8")) | change
    (folder / "pooling.json").write_text(json.dumps(info | {"hash": own_hash(info)}), encoding="utf-8")
    before = (folder / "bundle.json").read_bytes()
    with pytest.raises(BundleError, match=f"pooling layer of bundle mine {told}"):
        seal_layers(folder)
    assert (folder / "bundle.json").read_bytes() == before


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[]", b""])
def test_a_layer_that_is_no_text_is_damaged(folder: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """Before, bytes that are not UTF-8 ended with exit code 2 and no word of the layer."""
    (folder / "pooling.json").write_bytes(content)
    assert run(["models", "seal", str(folder)]) == 6
    assert "the pooling layer of bundle mine is damaged" in " ".join(capsys.readouterr().err.split())


def test_what_else_lies_in_the_folder_does_not_matter(folder: Path) -> None:
    (folder / "notes.json").write_bytes(b"\xff\xfe")
    (folder / "more.json").mkdir()
    (folder / "pooling.md").unlink()
    assert seal_layers(folder) == ["pooling", "patient"]
    assert set(named_files(folder, "pooling")) == LAYERS["pooling"] - {"pooling.md"}


def test_a_layer_that_is_laid_is_named(folder: Path) -> None:
    bundle = Bundle.load(folder)
    bundle.save(folder, half=True, force=True)
    assert named_files(folder, "pooling") == {}
    layer = load_pooling(find_bundle("radial-abp"), bundle)
    assert layer is not None
    save_pooling(layer, folder)
    assert named_files(folder, "pooling") == {name: sha256_of(folder / name) for name in LAYERS["pooling"]}


def test_a_validated_model_keeps_its_layers(tmp_path: Path) -> None:
    """Before, it lost its patient layer without a word."""
    source, out = find_bundle("radial-abp"), tmp_path / "validated"
    save_validated(Bundle.load(source), source, out)
    found = load_calibrated(out)
    assert found.pooling is not None and found.patient is not None
    assert {layer: set(named_files(out, layer)) for layer in LAYERS} == LAYERS


def test_no_layer_is_laid_beside_a_calibrated_model(folder: Path) -> None:
    (folder / "rope.json").write_text(json.dumps({"bundle": sha256_of(folder / "bundle.json")}), encoding="utf-8")
    layer = load_pooling(folder, Bundle.load(folder))
    assert layer is not None
    before = (folder / "pooling.json").read_bytes()
    with pytest.raises(BundleError, match=r"rope\.json was made for bundle mine as it is"):
        save_pooling(layer, folder)
    assert (folder / "pooling.json").read_bytes() == before
