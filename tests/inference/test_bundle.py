"""Bundles come back as they were and are refused when they were touched."""

from __future__ import annotations

import hashlib
import json
import pickle

import numpy as np
import pytest
import torch

from pulsebayes.inference.bundle import Bundle, BundleError, find_bundle, shipped_bundles


@pytest.fixture
def folder(bundle, tmp_path):
    bundle.save(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_saved_bundle_answers_the_same(bundle, folder, window):
    again, x = Bundle.load(folder), torch.from_numpy(window)[None]
    one, two = (b.npe.sample(x, 50, torch.Generator().manual_seed(0)) for b in (bundle, again))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(again.prior, bundle.prior)
    assert (again.name, again.card, again.measured) == (bundle.name, bundle.card, bundle.measured)
    assert again.contract == bundle.contract


def test_half_precision_changes_little(bundle, tmp_path, window):
    bundle.save(tmp_path / "half", half=True)
    half, x = Bundle.load(tmp_path / "half"), torch.from_numpy(window)[None]
    one, two = (b.npe.sample(x, 500, torch.Generator().manual_seed(0)) for b in (bundle, half))
    spread = bundle.prior.std(0)
    assert (np.abs(one - two).max((0, 1)) < 0.05 * spread).all()
    size = {name: (tmp_path / name / "weights.safetensors").stat().st_size for name in ("half",)}
    bundle.save(tmp_path / "full")
    assert size["half"] < (tmp_path / "full" / "weights.safetensors").stat().st_size


def test_domain_arrays_travel(bundle, tmp_path):
    from dataclasses import replace

    replace(bundle, domain={"mean": np.arange(3.0), "count": np.array([4])}).save(tmp_path / "b")
    again = Bundle.load(tmp_path / "b")
    np.testing.assert_array_equal(again.domain["mean"], np.arange(3.0))
    replace(bundle, domain={}).save(tmp_path / "b", force=True)
    assert not Bundle.load(tmp_path / "b").domain
    assert not (tmp_path / "b" / "domain.safetensors").exists()


def refuses(folder, code):
    with pytest.raises(BundleError) as caught:
        Bundle.load(folder)
    assert caught.value.code == code
    assert caught.value.hint
    assert str(folder.parent) not in str(caught.value)  # names, never folders


def test_edited_json_is_refused(folder):
    text = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(text.replace('"HR": 0.91', '"HR": 0.90'))
    refuses(folder, "bundle-edited")


@pytest.mark.parametrize("name", ["weights.safetensors", "card.md"])
def test_changed_files_are_refused(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    refuses(folder, "bundle-edited")


def test_missing_weights_are_refused(folder):
    (folder / "weights.safetensors").unlink()
    refuses(folder, "bundle-edited")


def test_newer_schema_is_refused(folder):
    info = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**info, "schema": 99}))
    refuses(folder, "bundle-newer")


def test_pickles_and_other_files_are_refused(tmp_path):
    (tmp_path / "model.pt").write_bytes(pickle.dumps({"a": 1}))
    refuses(tmp_path / "model.pt", "not-a-bundle")
    refuses(tmp_path, "not-a-bundle")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": "1"}', "null"])
def test_damaged_json_is_refused(folder, text):
    (folder / "bundle.json").write_text(text)
    with pytest.raises(BundleError):
        Bundle.load(folder)


def test_a_path_in_the_file_list_is_refused(folder):
    from pulsebayes.inference.bundle import own_hash

    info = json.loads((folder / "bundle.json").read_text())
    (folder.parent / "outside").write_bytes(b"")
    info["files"]["../outside"] = hashlib.sha256(b"").hexdigest()
    info["hash"] = own_hash(info)
    (folder / "bundle.json").write_text(json.dumps(info))
    refuses(folder, "bundle-edited")


def test_a_consistent_bundle_of_another_network_is_refused(folder):
    from pulsebayes.inference.bundle import own_hash

    info = json.loads((folder / "bundle.json").read_text())
    info["network"]["transforms"] = 5
    info["hash"] = own_hash(info)
    (folder / "bundle.json").write_text(json.dumps(info))
    refuses(folder, "bundle-damaged")


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("input", {"fs": 0}),
        ("input", {"fs": 250.0}),
        ("input", {"samples": 500}),
        ("input", {"unit": "kPa"}),
        ("input", {"role": "NOSE"}),
        ("uninformative", "x"),
        ("uninformative", -1.0),
        ("measured", []),
        ("schema", "1"),
    ],
)
def test_a_consistent_bundle_that_promises_what_its_network_cannot_is_refused(folder, part, change):
    from pulsebayes.inference.bundle import own_hash

    info = json.loads((folder / "bundle.json").read_text())
    info[part] = info[part] | change if isinstance(change, dict) else change
    info["hash"] = own_hash(info)
    (folder / "bundle.json").write_text(json.dumps(info))
    refuses(folder, "bundle-damaged")


def test_a_network_that_diverged_makes_no_bundle(bundle):
    from copy import deepcopy
    from dataclasses import replace

    broken = deepcopy(bundle.npe)
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="must be finite: the training diverged"):
        replace(bundle, npe=broken)
    with pytest.raises(ValueError, match="prior must be finite"):
        replace(bundle, prior=np.full_like(bundle.prior, np.nan))


def test_damaged_domain_arrays_are_refused_as_the_bundles(bundle):
    from dataclasses import replace

    from pulsebayes.inference.answering import domain_model

    shipped = Bundle.load(find_bundle("radial-abp"))
    lost = {name: a * np.nan if a.dtype.kind == "f" else a for name, a in shipped.domain.items()}
    for arrays in ({"mean": np.arange(3.0)}, lost):
        with pytest.raises(BundleError, match=r"the domain model of .* cannot be used"):
            domain_model(replace(bundle, domain=arrays))


def test_full_folder_is_not_written_over(bundle, folder):
    with pytest.raises(FileExistsError, match="--force"):
        bundle.save(folder)
    bundle.save(folder, force=True)


def test_models_are_found_by_name_or_folder(folder):
    assert find_bundle(folder) == folder
    with pytest.raises(BundleError, match="neither a shipped one nor a folder"):
        find_bundle("no-such-model")
    for name, path in shipped_bundles().items():
        assert find_bundle(name) == path
        assert Bundle.load(path).name == name


def test_prior_must_fit_the_outputs(bundle):
    from dataclasses import replace

    with pytest.raises(ValueError, match=r"prior must have shape \(M, 9\)"):
        replace(bundle, prior=np.zeros((4, 3), np.float32))
