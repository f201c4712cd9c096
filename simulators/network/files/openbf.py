r"""openBF's YAML networks with their inlet files, as networks of ours.

What openBF documents is read as documented, not as its version 2.8 happens to run it: the taper of the file is applied
(2.8 keeps the proximal radius along the vessel), an outlet with R1 and Cc only has the total resistance R1 (2.8 nearly
doubles it) and `gamma profile`, spelled with a space, is taken for `gamma_profile` (2.8 ignores it). Forks hold
static pressure continuous, joints of two vessels total pressure, as openBF's do; windkessels drain to zero pressure.

References:
    Melis A. (2017), PhD thesis, University of Sheffield; https://github.com/INSIGNEO/openBF (Apache-2.0), version 2.8.
    Units in the file: SI.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ....waveforms.units import convert
from ..model import InflowWave, NetworkModel, Outlet, Vessel
from .lines import NetworkFileError

__all__ = ["is_openbf", "read_openbf"]

_VESSEL = ("label", "sn", "tn", "L", "E", "R0", "Rp", "Rd", "h0", "gamma_profile", "gamma profile", "Pext", "outlet",
           "Rt", "R1", "R2", "Cc", "inlet_impedance_matching", "visco-elastic")  # fmt: skip
_RUNTIME = ("M", "to_save", "initial_pressure", "initial_flow")
_TOP = ("project_name", "inlet_file", "blood", "network")
_TOP_RUNTIME = ("write_results", "solver", "output_directory")
_WALL_VISCOSITY = (600.0, 150.0)  # [g/s], [g cm/s]: openBF's constants for visco-elastic vessels


def is_openbf(text: str) -> bool:
    """Whether a text looks like a network of openBF.

    Arguments:
        text: The beginning of a file.

    Returns:
        True for a YAML mapping with openBF's keys.

    Example:
        >>> is_openbf("project_name: cca\\nnetwork:\\n- label: a\\n  sn: 1\\n"), is_openbf("time,ART\\n0,80\\n")
        (True, False)
    """
    return "network:" in text and any(f"{key}:" in text for key in ("sn", "inlet_file", "project_name"))


def read_openbf(path: str | Path, *, straight: bool = False) -> tuple[NetworkModel, list[str]]:
    """A network from openBF's YAML and the inlet file beside it.

    Arguments:
        path: The YAML file.
        straight: Leave out the taper and keep every vessel at its proximal radius, as openBF 2.8 runs.

    Returns:
        The network, and what a reader of the file should know.

    Raises:
        NetworkFileError: The file is no such network, or has a key that is not known.
        OSError: A file cannot be read.

    Example:
        >>> read_openbf("adan56.yaml")[0].name  # doctest: +SKIP
        'adan56'
    """
    path = Path(path)
    data = _load(path)
    for key in data:
        if key not in (*_TOP, *_TOP_RUNTIME):
            raise NetworkFileError(
                path.name, _line(data, key), f"unknown key {key!r}", hint=f"known: {', '.join(_TOP)}"
            )
    notes: list[str] = []
    name = str(data.get("project_name", path.stem))
    given = data.get("network")
    if not isinstance(given, list) or not given:
        raise NetworkFileError(path.name, 0, "the file needs a list `network` of vessels")
    for number, table in enumerate(given, 1):
        if not isinstance(table, dict) or not {"label", "sn", "tn"} <= set(table):
            raise NetworkFileError(path.name, _line(table), f"vessel {number} of `network` needs label, sn and tn")
    blood = data.get("blood")
    if not isinstance(blood, dict) or not {"rho", "mu"} <= set(blood):
        raise NetworkFileError(path.name, _line(data, "blood"), "the file needs `blood` with rho and mu")
    density, viscosity = (_number(path.name, blood, key) for key in ("rho", "mu"))
    vessels = tuple(_vessel(path.name, table, straight=straight) for table in given)
    ends = {str(t["tn"]) for t in given} - {str(t["sn"]) for t in given}
    outlets = tuple(_outlet(path.name, t) for t in given if str(t["tn"]) in ends or "R1" in t or "Rt" in t)
    roots = [v.inlet for v in vessels if v.inlet not in {w.outlet for w in vessels}]
    if len(roots) != 1:
        extra = [t for t, v in zip(given, vessels, strict=True) if v.inlet in roots[1:]]
        line = _line(extra[0]) if extra else _line(data, "network")
        raise NetworkFileError(path.name, line, f"one vessel must start where none ends, {len(roots)} do")
    inflow = _inflow(path, data, name, roots[0], notes)
    notes += _remarks(given, vessels, straight=straight)
    try:
        model = NetworkModel(
            name, vessels, outlets, inflow, density=density, viscosity=viscosity,
            junction="static", source=f"openBF network {path.name}",
        )  # fmt: skip
    except ValueError as error:
        named = [t for t in given if repr(str(t["label"])) in str(error)]
        raise NetworkFileError(path.name, _line(named[0]) if named else 0, str(error)) from None
    return model, notes


def _remarks(given: list[Mapping[str, object]], vessels: tuple[Vessel, ...], *, straight: bool) -> list[str]:
    """What a reader should know of how the vessels were read."""
    notes: list[str] = []
    if any("gamma profile" in table for table in given):
        notes.append("`gamma profile` is taken for gamma_profile; openBF 2.8 ignores that spelling")
    if any("R1" in t and not t.get("R2") and t.get("Cc") for t in given):
        notes.append("outlets with R1 and Cc have the total resistance R1; openBF 2.8 nearly doubles it")
    if any(t.get("inlet_impedance_matching") for t in given):
        notes.append("matched outlets keep their total resistance behind the impedance at external pressure")
    if straight:
        notes.append("every vessel is a cylinder of its proximal radius")
    elif any(v.inlet_radius_mm != v.outlet_radius_mm for v in vessels):
        notes.append("the taper is applied; openBF 2.8 runs the proximal radius along each vessel (--straight)")
    return notes


class _Table(dict[str, object]):
    """A mapping of the file that knows on which lines it and its keys stand."""

    line: int = 0
    lines: Mapping[str, int] = {}


def _line(table: object, key: str = "") -> int:
    """Line of a key, of its table where the key is not there, 0 where no line is known."""
    return table.lines.get(key, table.line) if isinstance(table, _Table) else 0


def _parse(text: str) -> object:
    import yaml

    class Loader(yaml.SafeLoader):
        """Plain YAML whose mappings keep their lines."""

    def table(loader: Loader, node: yaml.MappingNode) -> _Table:
        found = _Table(loader.construct_mapping(node, deep=True))
        found.line = node.start_mark.line + 1
        found.lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value}
        return found

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, table)
    return yaml.load(text, Loader)


def _load(path: Path) -> Mapping[str, object]:
    import yaml

    try:
        data = _parse(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise NetworkFileError(path.name, 0, "not a text file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        text = " ".join(str(getattr(error, "problem", error)).split())
        raise NetworkFileError(path.name, mark.line + 1 if mark else 0, f"not valid YAML: {text}") from None
    if not isinstance(data, dict):
        raise NetworkFileError(path.name, 0, "expected a YAML mapping with the keys `blood` and `network`")
    return data


def _number(file: str, table: Mapping[str, object], key: str, default: float = float("nan")) -> float:
    value = table.get(key, default)
    line, label = _line(table, key), table.get("label", "blood")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise NetworkFileError(file, line, f"{label}: {key} must be a number, got {value!r}") from None
    if np.isnan(number):
        raise NetworkFileError(file, line, f"{label}: {key} is {'not a number' if key in table else 'missing'}")
    return number


def _vessel(file: str, table: Mapping[str, object], *, straight: bool) -> Vessel:
    label = str(table.get("label"))
    for key in table:
        if key not in (*_VESSEL, *_RUNTIME):
            hint = f"known: {', '.join(_VESSEL)}"
            raise NetworkFileError(file, _line(table, key), f"{label}: unknown key {key!r}", hint=hint)
    radius = _number(file, table, "Rp") if "Rp" in table else _number(file, table, "R0")
    distal = radius if straight else _number(file, table, "Rd", radius)
    profile = _number(file, table, "gamma profile" if "gamma profile" in table else "gamma_profile", 2.0)
    try:
        return Vessel(
            label,
            str(table.get("sn")),
            str(table.get("tn")),
            length_mm=convert(_number(file, table, "L"), "m", "mm"),
            inlet_radius_mm=convert(radius, "m", "mm"),
            outlet_radius_mm=convert(distal, "m", "mm"),
            young_kPa=convert(_number(file, table, "E"), "Pa", "kPa"),
            thickness_mm=convert(_number(file, table, "h0", 0.0), "m", "mm"),
            profile=profile,
            external_pressure_mmHg=convert(_number(file, table, "Pext", 0.0), "Pa", "mmHg"),
            wall_viscosity=_WALL_VISCOSITY if table.get("visco-elastic") else (0.0, 0.0),
        )
    except ValueError as error:
        raise NetworkFileError(file, _line(table), f"{label}: {error}") from None


def _outlet(file: str, table: Mapping[str, object]) -> Outlet:
    label = str(table.get("label"))
    if "R1" not in table:
        hint = "give the vessel R1, or R1, R2 and Cc; reflection coefficients (Rt) are not read"
        fault = f"{label} ends at node {table.get('tn')} without an outlet"
        raise NetworkFileError(file, _line(table), fault, hint=hint)
    resistances = (_number(file, table, key, 0.0) for key in ("R1", "R2"))
    r1, r2 = (convert(value, "Pa s/m^3", "mmHg s/mL") for value in resistances)
    try:
        compliance = convert(_number(file, table, "Cc", 0.0), "m^3/Pa", "mL/mmHg")
        if table.get("inlet_impedance_matching") and compliance > 0:
            r1, r2 = r1 + r2, 0.0
        return Outlet(str(table.get("tn")), r1, r2, compliance)
    except ValueError as error:
        raise NetworkFileError(file, _line(table), f"{label}: {error}") from None


def _inflow(path: Path, data: Mapping[str, object], name: str, node: str, notes: list[str]) -> InflowWave:
    inlet = path.parent / str(data.get("inlet_file", f"{name}_inlet.dat"))
    try:
        with warnings.catch_warnings(action="ignore"):  # an empty file is told below
            table = np.loadtxt(inlet, ndmin=2)
    except ValueError as error:
        raise NetworkFileError(inlet.name, 0, f"expected two columns of numbers, time and flow: {error}") from None
    if table.size and table.shape[1] != 2:
        raise NetworkFileError(inlet.name, 0, f"expected two columns, time [s] and flow [m3/s], got {table.shape[1]}")
    table = table.reshape(-1, 2)
    order = np.argsort(table[:, 0], kind="stable")
    if (np.diff(order) < 0).any():
        notes.append(f"{inlet.name}: {int((np.diff(table[:, 0]) < 0).sum())} rows stand out of time order, sorted")
    time, keep = np.unique(table[order, 0], return_index=True)
    if len(keep) < len(order):
        notes.append(f"{inlet.name}: {len(order) - len(keep)} times stand twice, the first is kept")
    try:
        wave = InflowWave(node, time, convert(table[order][keep, 1], "m^3/s", "mL/s"))
    except ValueError as error:
        raise NetworkFileError(inlet.name, 0, str(error)) from None
    if wave.jump > 0.01:
        notes.append(f"{inlet.name}: the last flow differs from the first by {wave.jump:.0%} of the largest: a jump")
    return wave
