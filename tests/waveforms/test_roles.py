"""Roles: guessed from names that monitors give, never from numbers a monitor derives."""

from __future__ import annotations

import pytest

from pulsebayes.waveforms.roles import PRESSURE_ROLES, ROLES, guess_role

NAMES = {
    "ART": [
        "ABP",
        "ART",
        "Art",
        "IBP1",
        "SNUADC/ART",
        "Intellivue/ABP",
        "ABP_radial",
        "ART [1]",
        "Arterial",
        "BP",
        "art",
    ],
    "PAP": ["PAP", "PULMONIC ART", "PA", "Pulmonary artery", "Intellivue/PAP"],
    "CVP": ["CVP", "SNUADC/CVP", "Central venous"],
    "FEM": ["SNUADC/FEM", "femoral ABP"],
    "AO": ["AoP", "AO", "Aortic"],
    "ICP": ["ICP"],
    "PLETH": ["PLETH", "Pleth", "PPG", "SNUADC/PLETH"],
    "ECG": ["II", "III", "V", "aVR", "MCL1", "ECG_II", "Intellivue/ECG_II", "MLII", "ECG"],
    "RESP": ["RESP", "Resp"],
    "CO2": ["CO2", "Primus/CO2"],
    "AWP": ["Primus/AWP", "Paw"],
}
NONE = [
    "col 3",
    "ABP_SYS",
    "ABP Mean",
    "PLETH_HR",
    "PLETH_SAT_O2",
    "NIBP_SYS",
    "HR",
    "marker",
    "",
    "IBP2",
    "vent_RR",
]


@pytest.mark.parametrize(("name", "role"), [(name, role) for role, names in NAMES.items() for name in names])
def test_monitors_names_tell_the_role(name: str, role: str) -> None:
    assert guess_role(name) == role


@pytest.mark.parametrize("name", NONE)
def test_derived_numbers_and_meaningless_names_have_no_role(name: str) -> None:
    assert guess_role(name) is None


def test_every_pressure_role_is_a_role() -> None:
    assert ROLES.keys() >= PRESSURE_ROLES
