r"""What an estimator is asked for: independent outputs, and the quantities that follow from them draw by draw.

A density over functionally dependent outputs (HR, SV and CO together) is singular, so the estimated set is independent
and the rest follows from each draw:

$$
\mathrm{CO} = \mathrm{HR}\,\mathrm{SV}/1000, \qquad \mathrm{SVR} = 80\,(\mathrm{MAP} - \mathrm{CVP})/\mathrm{CO},
\qquad \mathrm{SBP} = \mathrm{MAP} + \delta_s, \qquad \mathrm{DBP} = \mathrm{MAP} - \delta_d,
$$

with the positive differences $\delta_s$ (``SBP-MAP``) and $\delta_d$ (``MAP-DBP``), so that systolic, mean and
diastolic pressure are in order in every draw. Where pulse pressure is known far better than either difference it is
estimated itself, with the form factor $f$ (``FF``): $\delta_d = f\,\mathrm{PP}$, $\delta_s = (1 - f)\,\mathrm{PP}$.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ..simulators.parameters import Parameter, ParameterSpace
from ..waveforms import quantities as q

__all__ = ["INDEPENDENT", "OUTPUTS", "OutputSpace", "check_independent"]

OUTPUTS: Mapping[str, Parameter] = {
    p.name: p
    for p in (
        Parameter("HR", "1/min", 20.0, 240.0, scale="log", description="Heart rate."),
        Parameter("SV", "mL", 4.0, 300.0, scale="log", description="Stroke volume."),
        Parameter("LVET", "ms", 80.0, 650.0, scale="log", description="Left-ventricular ejection time."),
        Parameter("PWV", "m/s", 1.5, 40.0, scale="log", description="Carotid-femoral pulse wave velocity."),
        Parameter("C", "mL/mmHg", 0.03, 12.0, scale="log", description="Total arterial compliance."),
        Parameter("MAP", "mmHg", 15.0, 220.0, description="Mean aortic pressure."),
        Parameter("CVP", "mmHg", -10.0, 45.0, description="Central venous pressure."),
        Parameter("SBP-MAP", "mmHg", 0.5, 180.0, scale="log", description="Aortic systolic minus mean pressure."),
        Parameter("MAP-DBP", "mmHg", 0.5, 120.0, scale="log", description="Aortic mean minus diastolic pressure."),
        Parameter("CO", "L/min", 0.2, 40.0, scale="log", description="Cardiac output."),
        Parameter("SVR", "dyn s cm^-5", 50.0, 20000.0, scale="log", description="Systemic vascular resistance."),
        Parameter("D_AorticRoot", "mm", 8.0, 80.0, scale="log", description="Diameter of the aortic root."),
        Parameter("D_Femoral", "mm", 1.5, 20.0, scale="log", description="Diameter of the femoral artery."),
        Parameter("PP", "mmHg", 1.0, 250.0, scale="log", description="Aortic pulse pressure."),
        Parameter("FF", "1", 0.02, 0.98, description="Form factor of the aortic pulse, (MAP - DBP) / PP."),
    )
}
"""Every quantity that can be estimated, with the interval it is confined to and the scale it is learned on."""

INDEPENDENT = ("HR", "SV", "LVET", "PWV", "C", "MAP", "CVP", "SBP-MAP", "MAP-DBP")
"""The independent set: every other quantity follows from it."""

_TYPICAL = (75.0, 70.0, 300.0, 8.0, 1.2, 90.0, 6.0, 30.0, 20.0)


@dataclass(frozen=True)
class OutputSpace:
    r"""The outputs of an estimator with their intervals, and the quantities each draw implies.

    Arguments:
        space: Name, unit, interval and scale of each independent output. A name ``A-B`` is the difference of two
            quantities. A name unknown to the catalogue is a parameter of the simulator.

    Raises:
        ValueError: If the outputs depend on each other.

    Example:
        >>> outputs = OutputSpace.from_names(("HR", "SV", "MAP", "CVP"))
        >>> draws = outputs.derive(np.array([[60.0, 80.0, 95.0, 5.0]]))
        >>> float(draws["CO"][0]), round(float(draws["SVR"][0]))
        (4.8, 1500)
    """

    space: ParameterSpace

    def __post_init__(self) -> None:
        check_independent(self.space.names)

    @classmethod
    def from_names(cls, names: Iterable[str] = INDEPENDENT, *, extra: ParameterSpace | None = None) -> OutputSpace:
        r"""Builds the space of some outputs of the catalogue.

        Arguments:
            names: Names of outputs, see ``OUTPUTS``.
            extra: Parameters of the simulator, for names that the catalogue does not hold.

        Raises:
            ValueError: If a name is unknown or the outputs depend on each other.
        """
        known = {**OUTPUTS, **{p.name: p for p in (extra.parameters if extra else ())}}
        names = tuple(names)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"outputs must be among {sorted(known)}, got {unknown}")
        return cls(ParameterSpace(known[name] for name in names))

    @property
    def names(self) -> tuple[str, ...]:
        r"""Names of the estimated outputs."""
        return self.space.names

    @cached_property
    def reported(self) -> dict[str, str]:
        r"""Name and unit of every quantity that a draw gives, in the order they are shown."""
        probe = self.derive(0.5 * (self.space.low + self.space.high)[None])
        units = {name: quantity.unit for name, quantity in q.QUANTITIES.items()}
        units |= dict(zip(self.space.names, self.space.units, strict=True))
        return {name: units[name] for name in probe}

    @cached_property
    def log_scaled(self) -> dict[str, bool]:
        r"""For every reported quantity, whether its spread is measured on the logarithm."""
        own = {p.name: p.scale == "log" for p in self.space.parameters}
        known = {name: p.scale == "log" for name, p in OUTPUTS.items()}
        return {name: own.get(name, known.get(name, False)) for name in self.reported}

    @cached_property
    def floors(self) -> dict[str, float]:
        r"""Least value of every log-scaled quantity where its logarithm is taken; minus infinity for the others.

        A draw whose venous pressure exceeds its mean pressure has a negative resistance: its logarithm is that of the
        least value of the catalogue.
        """
        lows = {**{n: p.low for n, p in OUTPUTS.items()}, **dict(zip(self.space.names, self.space.low, strict=True))}
        return {name: float(lows[name]) if log else -np.inf for name, log in self.log_scaled.items()}

    def encode(self, columns: Mapping[str, Float[np.ndarray, " N"]]) -> Float[np.ndarray, "N D"]:
        r"""Gathers the outputs of simulated rows.

        Arguments:
            columns: Quantities and parameters by name, each in its unit.

        Returns:
            The outputs, in the order of ``names``; rows may lie outside the intervals.

        Raises:
            ValueError: If a quantity is missing.
        """
        return np.stack([_column(name, columns) for name in self.names], axis=-1)

    def derive(self, theta: Float[np.ndarray, "*batch D"]) -> dict[str, Float[np.ndarray, "*batch"]]:
        r"""Computes every quantity of each draw.

        Arguments:
            theta: Draws of the outputs, each in its unit.

        Returns:
            Quantities by name; those of the catalogue first, in its order.
        """
        theta = np.asarray(theta)
        values = derive_columns({name: theta[..., d] for d, name in enumerate(self.names)})
        shown = {name: values[name] for name in q.QUANTITIES if name in values}
        rest = {name: v for name, v in values.items() if name not in shown and not _is_pulse_shape(name)}
        return {**shown, **rest}

    def involved(self, quantity: str) -> Bool[np.ndarray, " D"]:
        r"""Which outputs a quantity is computed from.

        Arguments:
            quantity: Its name, of ``reported``.

        Example:
            >>> OutputSpace.from_names(("HR", "SV", "MAP")).involved("CO").tolist()
            [True, True, False]
        """
        middle = 0.5 * (self.space.low + self.space.high)
        values = self.derive(middle * (1 + 0.01 * np.eye(len(middle) + 1, len(middle), -1)))[quantity]
        return np.asarray(values[1:] != values[0])

    def to_json(self) -> dict[str, object]:
        r"""Returns the space as a JSON-able dictionary."""
        return self.space.to_json()

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> OutputSpace:
        r"""Rebuilds the space from ``to_json``.

        Arguments:
            data: The dictionary.
        """
        return cls(ParameterSpace.from_json(data))


def _is_difference(name: str) -> bool:
    first, dash, second = name.partition("-")
    return bool(dash) and first in q.QUANTITIES and second in q.QUANTITIES


def _is_pulse_shape(name: str) -> bool:
    """Whether an output only says how pressures lie to each other, and is not shown."""
    return name == "FF" or _is_difference(name)


def _column(name: str, columns: Mapping[str, Float[np.ndarray, " N"]]) -> Float[np.ndarray, " N"]:
    if name in columns:
        return np.asarray(columns[name], dtype=np.float64)
    if _is_difference(name):
        first, _, second = name.partition("-")
        return np.asarray(_column(first, columns) - _column(second, columns))
    if name == "PP" and {"SBP", "DBP"} <= columns.keys():
        return _column("SBP-DBP", columns)
    if name == "FF" and {"SBP", "MAP", "DBP"} <= columns.keys():
        return np.asarray(_column("MAP-DBP", columns) / _column("SBP-DBP", columns))
    raise ValueError(f"output {name!r} must be among the simulated columns {sorted(columns)}: choose other outputs")


def derive_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Every quantity that follows from some outputs; arrays and tensors alike, so gradients pass."""
    have = dict(values)
    if {"PP", "FF"} <= have.keys():
        have["MAP-DBP"] = have["FF"] * have["PP"]
        have["SBP-MAP"] = have["PP"] - have["MAP-DBP"]
    if {"MAP", "SBP-MAP"} <= have.keys():
        have["SBP"] = have["MAP"] + have["SBP-MAP"]
    if {"MAP", "MAP-DBP"} <= have.keys():
        have["DBP"] = have["MAP"] - have["MAP-DBP"]
    if {"SBP-MAP", "MAP-DBP"} <= have.keys():
        have["PP"] = have["SBP-MAP"] + have["MAP-DBP"]
        have["FF"] = have["MAP-DBP"] / have["PP"]
    if "CO" not in have and {"HR", "SV"} <= have.keys():
        have["CO"] = q.cardiac_output(have["HR"], have["SV"])
    if "SVR" not in have and {"MAP", "CVP", "CO"} <= have.keys():
        have["SVR"] = q.systemic_vascular_resistance(have["MAP"], have["CVP"], have["CO"])
    return have


def check_independent(names: tuple[str, ...]) -> None:
    r"""Refuses outputs that depend on each other: the rank of their Jacobian tells, at a typical patient.

    Arguments:
        names: Names of outputs; those that do not follow from the independent set are taken as independent of it.

    Raises:
        ValueError: If the Jacobian with respect to the independent set has less than full rank.

    Example:
        >>> check_independent(("HR", "SV", "MAP"))
    """
    derived = derive_columns(dict(zip(INDEPENDENT, _TYPICAL, strict=True)))
    known = [name for name in names if name in derived]
    point = np.log(np.array(_TYPICAL))

    def values(log_point: Float[np.ndarray, " nine"]) -> Float[np.ndarray, " known"]:
        have = derive_columns(dict(zip(INDEPENDENT, np.exp(log_point), strict=True)))
        return np.asarray(np.log([float(have[name]) for name in known]))

    step = 1e-5
    jacobian = np.array(
        [(values(point + step * e) - values(point - step * e)) / (2 * step) for e in np.eye(len(point))]
    )
    if known and np.linalg.matrix_rank(jacobian, tol=1e-6) < len(known):
        raise ValueError(
            f"outputs must be functionally independent, got {list(names)}: a density over dependent outputs is "
            f"singular; estimate some of {list(INDEPENDENT)} and the rest follows draw by draw"
        )
