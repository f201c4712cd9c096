r"""What a channel is: roles, and how they are guessed from the names monitors give.

A role says which physical signal a channel carries (`ART`: systemic arterial pressure, `PLETH`: photoplethysmogram,
...). Names are read in parts (`SNUADC/ART` is device and track, `PULMONIC ART` two words), more specific roles first:
`PULMONIC ART` is pulmonary. Numbers a monitor derives (`ABP_SYS`, `PLETH_HR`) get no role. A guess is only ever made
from the name, never from the values, and `--channel NAME=ROLE` overrides it.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["PRESSURE_ROLES", "ROLES", "guess_role"]

ROLES: Final[dict[str, str]] = {
    "ART": "systemic arterial pressure (radial, brachial, or site not stated)",
    "AO": "aortic pressure",
    "FEM": "femoral arterial pressure",
    "PAP": "pulmonary arterial pressure",
    "CVP": "central venous pressure",
    "LVP": "left-ventricular pressure",
    "ICP": "intracranial pressure",
    "PLETH": "photoplethysmogram",
    "ECG": "electrocardiogram",
    "RESP": "respiration",
    "AWP": "airway pressure",
    "AWF": "airway flow",
    "CO2": "capnogram",
    "FLOW": "blood flow or velocity",
    "EEG": "electroencephalogram",
}
r"""Every role, with what it means."""

PRESSURE_ROLES: Final[frozenset[str]] = frozenset({"ART", "AO", "FEM", "PAP", "CVP", "LVP", "ICP"})
r"""Roles that are blood (or brain) pressures: their values are given in mmHg once the unit is known."""

_DERIVED: Final = frozenset({
    "SYS", "DIA", "MEAN", "SBP", "DBP", "MBP", "MAP", "HR", "PR", "RR", "SPO2", "SAT", "O2", "PERF", "REL", "RATE",
    "SYST", "DIAST", "NIBP", "NBP", "TEMP", "FREQ", "MINUTE", "TV", "MAC",
})  # fmt: skip

# The first rule that fits wins. Words: any word of the name; whole: the whole name (device prefix taken off).
_RULES: Final[tuple[tuple[str, frozenset[str], frozenset[str]], ...]] = (
    ("AWF", frozenset(), frozenset({"AWF", "AWAY FLOW", "AIRWAY FLOW", "AWF WAV", "FLOW WAV"})),
    ("AWP", frozenset({"AWP", "PAW", "AIRWAY"}), frozenset({"PRES WAV"})),
    ("PAP", frozenset({"PAP", "PULMONIC", "PULMONARY"}), frozenset({"PA"})),
    ("ICP", frozenset({"ICP"}), frozenset()),
    ("CVP", frozenset({"CVP", "RAP", "VENOUS"}), frozenset()),
    ("LVP", frozenset({"LVP", "LVPRES"}), frozenset()),
    ("FEM", frozenset({"FEM", "FEMORAL", "FAP"}), frozenset()),
    ("AO", frozenset({"AOP", "AOBP", "AORTIC", "AORTA"}), frozenset({"AO"})),
    (
        "ART",
        frozenset({"ART", "ART1", "ART2", "ABP", "ABP1", "ABP2", "IABP", "IBP", "IBP1", "RADIAL", "ARTERIAL", "UAP"}),
        frozenset({"BP", "AP", "RAD"}),
    ),
    ("PLETH", frozenset({"PLETH", "PPG", "PLETHYSMOGRAM", "PLETHYSMOGRAPH", "PLETHYSMOGRAPHY", "PULSOX"}), frozenset()),
    ("CO2", frozenset({"CO2", "ETCO2", "CAPNO", "CAPNOGRAM"}), frozenset()),
    ("EEG", frozenset({"EEG", "EEG1", "EEG2"}), frozenset()),
    (
        "ECG",
        frozenset({"ECG", "EKG", "ECG1", "ECG2", "ECG3", "MCL", "MCL1", "MLI", "MLII", "MLIII", "AVR", "AVL", "AVF"}),
        frozenset({"I", "II", "III", "V", "V1", "V2", "V3", "V4", "V5", "V6", "LEAD I", "LEAD II", "LEAD III"}),
    ),
    ("RESP", frozenset({"RESP", "RESPIRATION", "IMPEDANCE", "IMP"}), frozenset()),
    ("FLOW", frozenset({"FLOW", "QAO", "TCD"}), frozenset()),
)


def guess_role(name: str) -> str | None:
    r"""Guess the role of a channel from its name.

    Arguments:
        name: Name as the file has it, with or without a device before a `/`.

    Returns:
        A key of `ROLES`, or `None` where the name says nothing or names a derived number.

    Example:
        >>> from pulsebayes.waveforms.roles import guess_role
        >>> [guess_role(name) for name in ("SNUADC/ART", "PULMONIC ART", "ABP_SYS", "col 3")]
        ['ART', 'PAP', None, None]
    """
    track = name.rsplit("/", 1)[-1]
    words = [word for word in re.split(r"[^0-9A-Za-z]+", track.upper()) if word]
    if _DERIVED & set(words):
        return None
    whole = " ".join(words)
    for role, any_of, all_of in _RULES:
        if whole in all_of or any_of & set(words):
            return role
    return None
