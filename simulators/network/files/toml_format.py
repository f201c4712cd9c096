r"""The TOML format of a network: read with every fault named by its line, and written.

`docs/network-files.md` describes the format. Unknown keys, missing keys, vessels that hang loose and ends without an
outlet are refused; nothing is guessed.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..model import InflowWave, NetworkModel, Outlet, Vessel, find_faults
from .lines import LineMap, NetworkFileError

__all__ = ["FORMAT", "load_network", "network_to_toml", "parse_network", "read_network", "shipped_networks"]

FORMAT = "pulsebayes-network-1"
T = TypeVar("T")

_NUMBER = (int, float)
_TOP = {"format": str, "name": str, "source": str, "junction": str, "blood": dict, "inflow": dict, "vessel": list,
        "outlet": list}  # fmt: skip
_BLOOD = {"density_kg_m3": _NUMBER, "viscosity_Pa_s": _NUMBER}
_INFLOW = {"node": (str, int), "time_s": list, "flow_mL_s": list}
_VESSEL = {
    "name": str, "from": (str, int), "to": (str, int), "length_mm": _NUMBER, "radius_mm": (list, *_NUMBER),
    "young_kPa": _NUMBER, "thickness_mm": _NUMBER, "stiffness_kPa": list, "stiffness_rate_per_mm": _NUMBER,
    "profile": _NUMBER, "external_pressure_mmHg": _NUMBER, "wall_viscosity": list,
}  # fmt: skip
_OUTLET = {"node": (str, int), "r1": _NUMBER, "r2": _NUMBER, "compliance": _NUMBER, "pressure_mmHg": _NUMBER}

_WRITTEN = {
    "density": ("blood", "density_kg_m3"), "viscosity": ("blood", "viscosity_Pa_s"),
    "inlet_radius_mm": ("vessel", "radius_mm"), "outlet_radius_mm": ("vessel", "radius_mm"),
}  # fmt: skip  # where a field of ours stands in the file


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Takes tables apart, and names the line of whatever does not fit."""

    file: str
    lines: LineMap

    def fail(self, message: str, table: str = "", entry: int = 0, key: str = "", *, hint: str = "") -> NetworkFileError:
        return NetworkFileError(self.file, self.lines.find(table, entry, key), message, hint=hint)

    def check(
        self, given: object, table: str, entry: int, known: Mapping[str, object], needed: tuple[str, ...]
    ) -> dict[str, object]:
        if not isinstance(given, dict):
            raise self.fail(f"{table} must be a table", table, entry, table)
        where = f"[[{table}]]" if table in ("vessel", "outlet") else f"[{table}]" if table else "the file"
        for key, value in given.items():
            if key not in known:
                raise self.fail(f"unknown key {key!r} in {where}", table, entry, key, hint=f"known: {', '.join(known)}")
            if not isinstance(value, known[key]) or isinstance(value, bool):  # type: ignore[arg-type]
                raise self.fail(f"{key} must be {_kind(known[key])}, got {value!r}", table, entry, key)
        for key in needed:
            if key not in given:
                raise self.fail(f"{where} needs {key}", table, entry, hint=f"add {key} = ...")
        return given

    def numbers(self, given: object, table: str, entry: int, key: str) -> tuple[float, ...]:
        values = given if isinstance(given, list) else [given]
        for value in values:
            if not isinstance(value, _NUMBER) or isinstance(value, bool):
                raise self.fail(f"{key} must hold numbers, got {value!r}", table, entry, key)
        return tuple(float(str(value)) for value in values)

    def make(self, build: Callable[[], T], table: str, entry: int) -> T:
        try:
            return build()
        except ValueError as error:
            text = str(error)
            key = text.split(" ", 1)[0]
            table, key = _WRITTEN.get(key, (table, key))
            raise self.fail(text, table, entry, key) from None


def _kind(kinds: object) -> str:
    names = {str: "a text", dict: "a table", list: "a list", int: "a number", float: "a number"}
    found = kinds if isinstance(kinds, tuple) else (kinds,)
    return " or ".join(dict.fromkeys(names[kind] for kind in found))


def parse_network(text: str, *, name: str = "network.toml") -> NetworkModel:
    """A network from the text of a TOML file.

    Arguments:
        text: The text.
        name: Name of the file, for messages.

    Returns:
        The network.

    Raises:
        NetworkFileError: The text is no network; the message names the line.

    Example:
        >>> parse_network("format = 'pulsebayes-network-1'")
        Traceback (most recent call last):
        ...
        pulsebayes.simulators.network.files.lines.NetworkFileError: network.toml, line 1: the file needs name
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NetworkFileError(name, 0, f"not valid TOML: {error}") from None
    reader = _Reader(name, LineMap(text))
    if data.get("format") != FORMAT:
        hint = "pulsebayes convert reads other formats"
        raise reader.fail(f"format must be {FORMAT!r}, got {data.get('format')!r}", key="format", hint=hint)
    top = reader.check(data, "", 0, _TOP, ("name", "blood", "inflow", "vessel", "outlet"))
    blood = reader.check(top["blood"], "blood", 0, _BLOOD, tuple(_BLOOD))
    parts = _Parts(
        name=str(top["name"]),
        vessels=tuple(_vessel(reader, i, table) for i, table in enumerate(_tables(reader, top, "vessel"))),
        outlets=tuple(_outlet(reader, i, table) for i, table in enumerate(_tables(reader, top, "outlet"))),
        inflow=_inflow(reader, top["inflow"]),
        density=float(blood["density_kg_m3"]),  # type: ignore[arg-type]
        viscosity=float(blood["viscosity_Pa_s"]),  # type: ignore[arg-type]
        junction=str(top.get("junction", "total")),
        source=str(top.get("source", "")),
    )
    for table, entry, fault in find_faults(parts):  # type: ignore[arg-type]
        raise reader.fail(fault, table, entry)
    return reader.make(lambda: NetworkModel(**vars(parts)), "", 0)


@dataclasses.dataclass
class _Parts:
    """A network before it is known to fit together."""

    name: str
    vessels: tuple[Vessel, ...]
    outlets: tuple[Outlet, ...]
    inflow: InflowWave
    density: float
    viscosity: float
    junction: str
    source: str


def _tables(reader: _Reader, top: Mapping[str, object], key: str) -> Iterator[object]:
    found = top[key]
    if not isinstance(found, list) or not found:
        raise reader.fail(f"the file needs at least one [[{key}]]", key=key)
    yield from found


def _inflow(reader: _Reader, given: object) -> InflowWave:
    table = reader.check(given, "inflow", 0, _INFLOW, tuple(_INFLOW))
    time, flow = (np.array(reader.numbers(table[k], "inflow", 0, k)) for k in ("time_s", "flow_mL_s"))
    return reader.make(lambda: InflowWave(str(table["node"]), time, flow), "inflow", 0)


def _vessel(reader: _Reader, entry: int, given: object) -> Vessel:
    table = dict(reader.check(given, "vessel", entry, _VESSEL, ("name", "from", "to", "length_mm", "radius_mm")))
    radius = reader.numbers(table.pop("radius_mm"), "vessel", entry, "radius_mm")
    if len(radius) not in (1, 2):
        raise reader.fail("radius_mm must be one number, or inlet and outlet", "vessel", entry, "radius_mm")
    ends = {"inlet": str(table.pop("from")), "outlet": str(table.pop("to"))}
    sizes = {"inlet_radius_mm": radius[0], "outlet_radius_mm": radius[-1]}
    for key in ("stiffness_kPa", "wall_viscosity"):
        if key in table:
            table[key] = reader.numbers(table[key], "vessel", entry, key)
    values = {k: float(v) if isinstance(v, _NUMBER) else v for k, v in table.items()}
    return reader.make(lambda: Vessel(**ends, **sizes, **values), "vessel", entry)  # type: ignore[arg-type]


def _outlet(reader: _Reader, entry: int, given: object) -> Outlet:
    table = dict(reader.check(given, "outlet", entry, _OUTLET, ("node", "r1")))
    node = str(table.pop("node"))
    values = {k: float(v) for k, v in table.items()}  # type: ignore[arg-type]
    return reader.make(lambda: Outlet(node, **values), "outlet", entry)


def read_network(path: str | Path) -> NetworkModel:
    """A network from a TOML file.

    Arguments:
        path: The file.

    Returns:
        The network.

    Raises:
        NetworkFileError: The file is no network; the message names the line.
        OSError: The file cannot be read.

    Example:
        >>> read_network("adan56.toml").name  # doctest: +SKIP
        'adan56'
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise NetworkFileError(path.name, 0, "not a text file", hint="a network is a TOML file") from None
    return parse_network(text, name=path.name)


def shipped_networks() -> tuple[str, ...]:
    """Names of the networks that come with the package.

    Returns:
        Names, sorted.

    Example:
        >>> "adan56" in shipped_networks()
        True
    """
    return tuple(sorted(f.name[:-5] for f in (files(__package__) / "data").iterdir() if f.name.endswith(".toml")))


@cache
def load_network(name: str) -> NetworkModel:
    """A shipped network by name.

    Arguments:
        name: Its name.

    Returns:
        The network.

    Raises:
        ValueError: There is no such network.

    Example:
        >>> len(load_network("adan56").vessels)
        77
    """
    if name not in shipped_networks():
        raise ValueError(f"network must be one of {', '.join(shipped_networks())}, got {name!r}")
    text = (files(__package__) / "data" / f"{name}.toml").read_text(encoding="utf-8")
    return parse_network(text, name=f"{name}.toml")


def network_to_toml(model: NetworkModel) -> str:
    """The text of a network in the TOML format; reading it gives the same network.

    Arguments:
        model: The network.

    Returns:
        The text.

    Example:
        >>> model = load_network("common-carotid")
        >>> parse_network(network_to_toml(model)).vessels == model.vessels
        True
    """
    lines = [f"format = {_text(FORMAT)}", f"name = {_text(model.name)}"]
    lines += [f"source = {_text(model.source)}"] if model.source else []
    lines += [f"junction = {_text(model.junction)}", "", "[blood]", f"density_kg_m3 = {model.density!r}"]
    lines += [f"viscosity_Pa_s = {model.viscosity!r}", "", "[inflow]", f"node = {_text(model.inflow.node)}"]
    lines += [f"time_s = {_list(model.inflow.time_s)}", f"flow_mL_s = {_list(model.inflow.flow_mL_s)}"]
    for vessel in model.vessels:
        lines += ["", "[[vessel]]", *_vessel_lines(vessel)]
    for outlet in model.outlets:
        lines += ["", "[[outlet]]", f"node = {_text(outlet.node)}", f"r1 = {outlet.r1!r}"]
        for key in ("r2", "compliance", "pressure_mmHg"):
            lines += [f"{key} = {getattr(outlet, key)!r}"] if getattr(outlet, key) else []
    return "\n".join([*lines, ""])


def _vessel_lines(vessel: Vessel) -> Iterator[str]:
    yield f"name = {_text(vessel.name)}"
    yield f"from = {_text(vessel.inlet)}"
    yield f"to = {_text(vessel.outlet)}"
    yield f"length_mm = {vessel.length_mm!r}"
    same = vessel.inlet_radius_mm == vessel.outlet_radius_mm
    radii = [vessel.inlet_radius_mm, vessel.outlet_radius_mm]
    yield f"radius_mm = {vessel.inlet_radius_mm!r}" if same else f"radius_mm = {_list(radii)}"
    for field in dataclasses.fields(Vessel)[6:]:
        value = getattr(vessel, field.name)
        if value != field.default:
            yield f"{field.name} = {_list(value) if isinstance(value, tuple) else repr(value)}"


def _list(values: object) -> str:
    return "[" + ", ".join(repr(float(v)) for v in values) + "]"  # type: ignore[attr-defined]


def _text(value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{quoted}"'
