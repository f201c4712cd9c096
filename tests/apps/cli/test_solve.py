r"""`pulsebayes solve` and `convert` of networks: what they write, and what they say when they cannot."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import xarray

from pulsebayes.apps.cli.main import run
from pulsebayes.simulators.network.files import load_network, network_to_toml

YAML = """\
project_name: toy
inlet_file: toy.dat
blood: {rho: 1060.0, mu: 4.0e-3}
network:
  - {label: a, sn: 1, tn: 2, L: 0.1, E: 4.0e5, Rp: 1.0e-2, Rd: 0.8e-2, R1: 1.0e7, R2: 1.0e8, Cc: 1.0e-8}
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_solve_writes_the_agreed_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("fork.toml").write_text(network_to_toml(load_network("aortic-bifurcation")))
    assert run(["solve", "fork.toml", "--out", "waves.nc", "--dx", "1cm", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    with xarray.open_dataset("waves.nc") as waves:
        assert dict(waves.sizes) == {"vessel": 3, "position": 5, "time": 501}
        assert waves.vessel.values.tolist() == ["parent", "d1", "d2"]
        assert waves.position.values.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
        assert float(waves.time[-1] - waves.time[0]) == pytest.approx(1.1)
        units = {name: waves[name].attrs["units"] for name in ("P", "Q", "A", "u", "time")}
        assert units == {"P": "mmHg", "Q": "mL/s", "A": "cm2", "u": "cm/s", "time": "s"}
        for key in ("cells", "steps", "cycles", "remaining_error_bound_mmHg"):
            assert waves.attrs[key] == told[key]
        assert waves.attrs["remaining_error_bound_mmHg"] < 0.05
        np.testing.assert_allclose(waves.Q, waves.A * waves.u, rtol=1e-12)
        first, last = waves.P.isel(time=0), waves.P.isel(time=-1)
        assert float(abs(first - last).max()) < 0.05
    assert told["status"] == "ok"
    assert json.loads(Path("run.json").read_text())["command"] == "solve"


def test_solve_takes_shipped_networks_and_tells_what_came(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["solve", "common-carotid", "--out", "w.nc", "--dx", "20", "--samples", "50"]) == 0
    told = capsys.readouterr().out
    assert "ok after 2 periods of 1.100 s" in told
    assert run(["solve", "common-carotid", "--out", "w.nc"]) == 2
    assert "w.nc exists" in capsys.readouterr().err


def test_the_jax_engine_gives_the_same_waves() -> None:
    for engine in ("kernel", "jax"):
        words = [
            "solve",
            "common-carotid",
            "--out",
            f"{engine}.nc",
            "--dx",
            "20",
            "--samples",
            "50",
            "--engine",
            engine,
        ]
        assert run([*words, "--precision", "float32"]) == 0
    with xarray.open_dataset("kernel.nc") as one, xarray.open_dataset("jax.nc") as two:
        np.testing.assert_allclose(one.P, two.P, atol=0.01)


def test_too_few_periods_are_told_by_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["solve", "common-carotid", "--out", "w.nc", "--dx", "20", "--samples", "50", "--cycles", "1"]) == 8
    assert "not periodic after 1 periods" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["no-such.toml", "--out", "w.nc"], 3, "no such file, and no shipped network"),
        (["common-carotid"], 2, "solve needs a file to write to"),
        (["common-carotid", "--out", "w.nc", "--dx", "5 miles"], 2, "--dx must be a positive length, got '5 miles'"),
        (["common-carotid", "--out", "w.nc", "--dx", "0mm"], 2, "--dx must be a positive length"),
        (["common-carotid", "--out", "w.nc", "--dx", "1e-6mm"], 2, "dx must leave at most 1,000,000 cells"),
        (["common-carotid", "--out", "w.nc", "--dx", "0.001mm"], 2, "a period needs"),
        (["common-carotid", "--out", "w.nc", "--samples", "1000000"], 2, "n_samples must be at most 20,000"),
        (["common-carotid", "--out", "w.nc", "--precision", "half"], 2, "precision must be 'float32' or 'float64'"),
    ],
)
def test_what_cannot_be_solved_is_told(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["solve", *words]) == code
    assert message in capsys.readouterr().err
    assert not Path("w.nc").exists()


def test_a_network_without_flow_is_solved(capsys: pytest.CaptureFixture[str]) -> None:
    model = load_network("common-carotid")
    still = dataclasses.replace(model.inflow, flow_mL_s=0 * model.inflow.flow_mL_s)
    Path("still.toml").write_text(network_to_toml(dataclasses.replace(model, inflow=still)))
    assert run(["solve", "still.toml", "--out", "w.nc", "--dx", "20", "--samples", "50", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mass_balance"] == 0


def test_a_fault_in_the_file_is_told_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    text = network_to_toml(load_network("common-carotid")).replace("length_mm", "lenght_mm")
    Path("bad.toml").write_text(text)
    assert run(["solve", "bad.toml", "--out", "w.nc", "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "lenght_mm" in row)
    assert error["message"] == f"bad.toml, line {line}: unknown key 'lenght_mm' in [[vessel]]"
    assert "length_mm" in error["hint"]


def test_a_wall_that_collapses_names_vessel_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    model = load_network("common-carotid")
    squeezed = dataclasses.replace(model.vessels[0], external_pressure_mmHg=900.0)
    Path("soft.toml").write_text(network_to_toml(dataclasses.replace(model, vessels=(squeezed,))))
    assert run(["solve", "soft.toml", "--out", "w.nc", "--samples", "50"]) == 8
    assert "the waves in vessel 'common_carotid_artery' are not finite 0.000 s into" in capsys.readouterr().err
    assert not Path("w.nc").exists()


def test_convert_writes_a_network_that_solve_takes(capsys: pytest.CaptureFixture[str]) -> None:
    Path("toy.yaml").write_text(YAML)
    Path("toy.dat").write_text("0.0 1e-5\n0.2 3e-4\n0.4 1e-5\n1.0 1e-5\n")
    assert run(["convert", "toy.yaml", "toy.toml"]) == 0
    caught = capsys.readouterr()
    assert "openBF network of 1 vessels and 1 outlets" in caught.out
    assert "the taper is applied" in caught.err
    assert run(["solve", "toy.toml", "--out", "toy.nc", "--dx", "20mm", "--samples", "50"]) == 0


def test_convert_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    Path("toy.yaml").write_text(YAML)
    Path("toy.dat").write_text("0.0 1e-5\n1.0 1e-5\n")
    assert run(["convert", "toy.yaml", "toy.nc"]) == 2
    assert "a network is written as TOML" in capsys.readouterr().err
    Path("toy.toml").write_text("mine")
    assert run(["convert", "toy.yaml", "toy.toml"]) == 2
    assert Path("toy.toml").read_text() == "mine"
    Path("toy.dat").unlink()
    assert run(["convert", "toy.yaml", "c.toml"]) == 3
