r"""Networks as files: a round trip, and every fault told with its line."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.simulators.network.files import (
    NetworkFileError,
    load_network,
    network_to_toml,
    read_network,
    read_openbf,
    shipped_networks,
)
from pulsebayes.simulators.network.files.toml_format import parse_network

ROOT = Path(__file__).resolve().parents[4]
TEXT = """\
format = "pulsebayes-network-1"
name = "fork"
[blood]
density_kg_m3 = 1060
viscosity_Pa_s = 4e-3
[inflow]
node = "a"
time_s = [0, 0.3, 1.0]
flow_mL_s = [0, 50, 0]
[[vessel]]
name = "parent"
from = "a"
to = "b"
length_mm = 80
radius_mm = [8, 7]
young_kPa = 400
[[vessel]]
name = "left"
from = "b"
to = "c"
length_mm = 60
radius_mm = 5
young_kPa = 400
thickness_mm = 0.7
[[vessel]]
name = "right"
from = "b"
to = "d"
length_mm = 60
radius_mm = 4
stiffness_kPa = [300, 60]
[[outlet]]
node = "c"
r1 = 0.5
r2 = 10.0
compliance = 0.5
[[outlet]]
node = "d"
r1 = 20
"""


@pytest.mark.parametrize("name", shipped_networks())
def test_shipped_networks_come_back_from_their_text(name: str) -> None:
    model = load_network(name)
    again = parse_network(network_to_toml(model))
    assert again.vessels == model.vessels
    assert again.outlets == model.outlets
    np.testing.assert_array_equal(again.inflow.flow_mL_s, model.inflow.flow_mL_s)
    assert (again.junction, again.density, again.viscosity) == (model.junction, model.density, model.viscosity)
    assert model.source


def test_the_promised_networks_are_shipped() -> None:
    sizes = {name: len(load_network(name).vessels) for name in shipped_networks()}
    assert sizes == {"adan56": 77, "adult116": 116, "aortic-bifurcation": 3, "common-carotid": 1, "thoracic-aorta": 1}


def test_kinds_of_outlets_are_told_apart() -> None:
    model = parse_network(TEXT)
    assert [outlet.kind for outlet in model.outlets] == ["R1-C-R2", "R1"]
    assert dataclasses.replace(model.outlets[1], compliance=0.1).kind == "R1-C"


def line_of(text: str, *words: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if all(w in line for w in words))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "length_mm = 60\nradius_mm = 5",
            "lenght_mm = 60\nradius_mm = 5",
            r"unknown key 'lenght_mm' in \[\[vessel\]\]",
        ),
        ("viscosity_Pa_s = 4e-3", "viscosity = 4e-3", r"unknown key 'viscosity' in \[blood\]"),
        ("radius_mm = 5", "radius_mm = -5", "inlet_radius_mm must be positive, got -5"),
        ("radius_mm = 5", 'radius_mm = "5"', "radius_mm must be a list or a number, got '5'"),
        ('to = "d"', 'to = "e"', "vessel 'right' ends at node e, which has no outlet"),
        ('from = "b"\nto = "d"', 'from = "x"\nto = "d"', "starts at node x, which nothing else touches"),
        ('node = "a"', 'node = "q"', "the inflow's node q must be the inlet of one vessel"),
        ("time_s = [0, 0.3, 1.0]", "time_s = [0, 1.3, 1.0]", "time_s must rise, but value 3 is 1 s"),
        ("flow_mL_s = [0, 50, 0]", "flow_mL_s = [0, 50]", "must hold the same number of values"),
        ('name = "right"', 'name = "left"', "two vessels are named 'left'"),
        ("r1 = 20", "r2 = 20", r"\[\[outlet\]\] needs r1"),
        ("compliance = 0.5\n", "", "r2 needs a compliance beside it"),
        ("young_kPa = 400\n[[vessel]]", "[[vessel]]", "the wall needs young_kPa or stiffness_kPa"),
        ('name = "fork"', 'name = "fork"\njunction = "none"', "junction must be 'total' or 'static'"),
        ("thickness_mm = 0.7", "thickness_mm = nan", "thickness_mm must be finite, got nan"),
        ("young_kPa = 400", "young_kPa = inf", "young_kPa must be finite, got inf"),
        ("thickness_mm = 0.7", "external_pressure_mmHg = nan", "external_pressure_mmHg must be finite"),
        ("thickness_mm = 0.7", "wall_viscosity = [nan, 1]", "wall_viscosity must be finite"),
        ("[300, 60]", "[-300, -60]", "stiffness_kPa must make the wall stiff everywhere"),
        ("r1 = 20", "r1 = inf", "r1 must be finite, got inf"),
        ("pulsebayes-network-1", "something", "format must be 'pulsebayes-network-1', got 'something'"),
    ],
)
def test_every_fault_is_told_with_its_line(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(NetworkFileError, match=message) as caught:
        parse_network(TEXT.replace(old, new, 1))
    assert caught.value.line > 0
    assert f"line {caught.value.line}" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [("density_kg_m3 = 1060", "density_kg_m3 = inf"), ("radius_mm = 4", "radius_mm = -4"),
     ("viscosity_Pa_s = 4e-3", "viscosity_Pa_s = nan")],
)  # fmt: skip
def test_a_wrong_value_is_told_with_the_line_it_stands_on(old: str, new: str) -> None:
    text = TEXT.replace(old, new)
    with pytest.raises(NetworkFileError) as caught:
        parse_network(text)
    assert caught.value.line == line_of(text, new)


def test_an_unknown_key_is_told_with_the_line_it_stands_on() -> None:
    text = TEXT.replace("thickness_mm", "thicknes_mm")
    with pytest.raises(NetworkFileError) as caught:
        parse_network(text)
    assert caught.value.line == line_of(text, "thicknes_mm")
    assert "thickness_mm" in caught.value.hint


def test_a_vessel_without_an_outlet_is_told_where_it_begins() -> None:
    text = TEXT[: TEXT.rindex("[[outlet]]")]
    with pytest.raises(NetworkFileError, match="add one") as caught:
        parse_network(text)
    assert caught.value.line == line_of(text, 'name = "right"') - 1


def test_a_part_that_hangs_loose_is_refused() -> None:
    loose = TEXT + '[[vessel]]\nname="x"\nfrom="p"\nto="q"\nlength_mm=9\nradius_mm=1\nyoung_kPa=400\n'
    loose += '[[vessel]]\nname="y"\nfrom="p"\nto="q"\nlength_mm=9\nradius_mm=1\nyoung_kPa=400\n'
    with pytest.raises(NetworkFileError, match="is not connected to the inflow's node a"):
        parse_network(loose)


def test_broken_toml_is_told_with_its_place() -> None:
    with pytest.raises(NetworkFileError, match=r"not valid TOML: .*line 2"):
        parse_network('format = "a"\nname = oops\n')


def test_a_binary_file_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NetworkFileError, match="not a text file"):
        read_network(tmp_path / "a.toml")


YAML = """\
project_name: toy
inlet_file: toy.dat
blood: {rho: 1060.0, mu: 4.0e-3}
solver: {Ccfl: 0.9}
network:
  - {label: a, sn: 1, tn: 2, L: 0.1, E: 4.0e5, Rp: 1.0e-2, Rd: 0.8e-2, Pext: 1.0e4}
  - {label: b, sn: 2, tn: 3, L: 0.1, E: 4.0e5, R0: 5.0e-3, h0: 5.0e-4, R1: 1.0e8, R2: 1.0e9, Cc: 1.0e-9}
  - {label: c, sn: 2, tn: 4, L: 0.1, E: 4.0e5, R0: 5.0e-3, "gamma profile": 9, R1: 1.0e9, Cc: 1.0e-9}
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "toy.yaml").write_text(YAML)
    (tmp_path / "toy.dat").write_text("0.0 0.0\n0.5 1e-4\n0.2 2e-4\n1.0 0.0\n")
    return tmp_path / "toy.yaml"


def test_openbf_is_read_in_our_units(toy: Path) -> None:
    model, notes = read_openbf(toy)
    a, b, c = model.vessels
    assert (a.length_mm, a.inlet_radius_mm, a.outlet_radius_mm, a.young_kPa) == (100.0, 10.0, 8.0, 400.0)
    assert a.external_pressure_mmHg == pytest.approx(75.006, abs=1e-3)
    assert (b.thickness_mm, b.profile, c.profile) == (0.5, 2.0, 9.0)
    assert [o.kind for o in model.outlets] == ["R1-C-R2", "R1-C"]
    assert model.outlets[0].r2 == pytest.approx(7.5006, abs=1e-4)
    assert model.inflow.time_s.tolist() == [0.0, 0.2, 0.5, 1.0]
    assert model.junction == "static"
    assert any("out of time order" in note for note in notes)
    assert any("nearly doubles" in note for note in notes)


def test_openbf_can_be_read_straight(toy: Path) -> None:
    model, notes = read_openbf(toy, straight=True)
    assert model.vessels[0].outlet_radius_mm == 10.0
    assert any("cylinder" in note for note in notes)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("L: 0.1, E: 4.0e5, Rp", "Len: 0.1, E: 4.0e5, Rp", "toy.yaml, line 6: a: unknown key 'Len'"),
        (", R1: 1.0e9, Cc: 1.0e-9", "", "toy.yaml, line 8: c ends at node 4 without an outlet"),
        ("E: 4.0e5, Rp", "E: stiff, Rp", "line 6: a: E must be a number, got 'stiff'"),
        ("blood: {rho: 1060.0, mu: 4.0e-3}", "blood: {rho: 1060.0}", "line 3: the file needs `blood` with rho and mu"),
        ("  - {label: a", "  - {label: a]", "line 6: not valid YAML"),
        ("rho: 1060.0", "rho: null", "line 3: blood: rho must be a number, got None"),
        ("label: c, sn: 2, tn: 4", "label: c, sn: 2", "line 8: vessel 3 of `network` needs label, sn and tn"),
        ("Pext: 1.0e4", "Pext: .inf", "line 6: a: external_pressure_mmHg must be finite"),
        ("Pext: 1.0e4", "gamma_profile: [2]", "a: gamma_profile must be a number"),
        ("R1: 1.0e9, Cc: 1.0e-9", "Rt: 0.5", "reflection|c ends at node 4 without an outlet"),
        ("solver:", "sovler:", "line 4: unknown key 'sovler'"),
        ("E: 4.0e5, Rp", "E: .nan, Rp", "line 6: a: E is not a number"),
        ("label: b", "label: a", "line 6: .*a"),
        ("sn: 2, tn: 4", "sn: 7, tn: 4", "line 8: one vessel must start where none ends, 2 do"),
    ],
)
def test_openbf_faults_are_told(toy: Path, old: str, new: str, message: str) -> None:
    assert old in YAML
    toy.write_text(YAML.replace(old, new, 1))
    with pytest.raises(NetworkFileError, match=message):
        read_openbf(toy)


def test_a_matched_outlet_keeps_its_total_resistance(toy: Path) -> None:
    toy.write_text(YAML.replace("R2: 1.0e9, Cc: 1.0e-9}", "R2: 1.0e9, Cc: 1.0e-9, inlet_impedance_matching: true}"))
    model, notes = read_openbf(toy)
    assert model.outlets[0].kind == "R1-C"
    assert model.outlets[0].r1 == pytest.approx(1.1e9 / 133.322e6, rel=1e-5)
    assert any("matched outlets" in note for note in notes)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "two or more, got 0"),
        ("0 1e-5\n", "two or more, got 1"),
        ("0 1 2\n1 2 3\n", "expected two columns"),
        ("a b\n", "expected two columns of numbers"),
        ("0 1e-5\n.5 nan\n1 1e-5\n", "must be finite"),
    ],
)
def test_faults_of_the_inlet_file_are_told(toy: Path, rows: str, message: str) -> None:
    toy.with_suffix(".dat").write_text(rows)
    with pytest.raises(NetworkFileError, match=message):
        read_openbf(toy)


def test_an_inlet_that_does_not_close_is_told(toy: Path) -> None:
    toy.with_suffix(".dat").write_text("0 0\n.5 2e-4\n1 1e-4\n")
    assert any("differs from the first by 50%" in note for note in read_openbf(toy)[1])


def test_published_networks_are_the_shipped_ones() -> None:
    folder = Path(os.environ.get("PULSEBAYES_DATA", ROOT.parent / "shared" / "data")) / "networks" / "boileau2015"
    if not folder.is_dir():
        pytest.skip("no reference data: set PULSEBAYES_DATA")
    pairs = {"cca": "common-carotid", "uta": "thoracic-aorta", "ibif": "aortic-bifurcation", "adan56": "adan56"}
    for theirs, ours in pairs.items():
        model, _ = read_openbf(folder / theirs / f"{theirs}.yaml")
        assert model.vessels == load_network(ours).vessels
        assert model.outlets == load_network(ours).outlets
