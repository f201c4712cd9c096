r"""`infer --method nuts` and `--refine` say what they need and what they leave out."""

from __future__ import annotations

import json

import pytest


def test_refinement_needs_a_known_likelihood(run, pulse, write_csv, tmp_path):
    path = write_csv(tmp_path / "a.csv", pulse(8))
    ran = run("infer", path, "--fs", 125, "--refine", "--json")
    assert ran.code == 6
    error = json.loads(ran.out)["error"]
    assert error["code"] == "no-likelihood"
    for left in ("the catheter line", "digitisation", "the noise being unknown", "beats that differ"):
        assert left in error["message"]


def test_refine_and_nuts_exclude_each_other(run):
    ran = run("infer", "a.csv", "--method", "nuts", "--refine")
    assert ran.code == 2 and "does not go with --method nuts" in ran.err


def test_nuts_without_numpyro_says_which_extra(run, pulse, write_csv, tmp_path, monkeypatch: pytest.MonkeyPatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "numpyro" else found(name, *a))
    ran = run("infer", write_csv(tmp_path / "a.csv", pulse(8)), "--fs", 125, "--method", "nuts")
    assert ran.code == 2
    assert "pulsebayes[reference]" in ran.err


@pytest.mark.slow
def test_nuts_answers_a_window_and_says_what_it_leaves_out(run, pulse, write_csv, tmp_path):
    pytest.importorskip("numpyro", reason="the extra `reference` is not installed")
    az = pytest.importorskip("arviz")
    path, out = write_csv(tmp_path / "a.csv", pulse(8)), tmp_path / "out"
    ran = run("infer", path, "--fs", 125, "--method", "nuts", "--draws", 400, "--json", "--out", out)
    assert ran.code == 0
    assert "leaves out the catheter line" in ran.err
    window = json.loads(ran.out)["windows"][0]
    assert window["signal"]["method"] == "nuts"
    assert "digitisation" in window["signal"]["left_out"]
    assert window["calibration"] is None
    assert window["quantities"]["CO"]["median"] > 0
    chains = az.from_netcdf(out / "a-nuts-0s.nc")
    assert chains.posterior.sizes["chain"] == 4
