r"""Every unit and every conversion of the package, once and by name.

A unit is a multiple of the SI unit of its kind: a value $v$ in unit $a$ is $v f_a / f_b$ in unit $b$, where $f$ is the
size of the unit in SI. One conventional millimetre of mercury is taken as 133.322 Pa, one centimetre of water as
98.0665 Pa (NIST SP 811, 2008, appendix B.8). ADC counts (`adu`) and normalised units (`NU`) are units without a size:
they cannot be converted, and nothing here ever guesses a unit from values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeVar, cast

__all__ = [
    "CM_PER_M",
    "DYN_S_CM5_PER_MMHG_MIN_PER_L",
    "DYN_S_CM5_PER_MMHG_S_PER_ML",
    "MMHG_PER_CMH2O",
    "MMHG_PER_KPA",
    "MM_PER_M",
    "MS_PER_S",
    "ML_PER_L",
    "ML_PER_M3",
    "M3_PER_ML",
    "PA_PER_CMH2O",
    "PA_PER_MMHG",
    "PA_S_M3_PER_DYN_S_CM5",
    "S_PER_MIN",
    "Unit",
    "convert",
    "is_pressure",
    "parse_unit",
    "unit",
]

T = TypeVar("T")

PA_PER_MMHG: Final = 133.322
"""Pascal in one conventional millimetre of mercury [Pa/mmHg]."""
PA_PER_CMH2O: Final = 98.0665
"""Pascal in one conventional centimetre of water [Pa/cmH2O]."""
MMHG_PER_KPA: Final = 1000.0 / PA_PER_MMHG
"""Millimetres of mercury in one kilopascal [mmHg/kPa]."""
MMHG_PER_CMH2O: Final = PA_PER_CMH2O / PA_PER_MMHG
"""Millimetres of mercury in one centimetre of water [mmHg/cmH2O]."""
S_PER_MIN: Final = 60.0
"""Seconds in a minute [s/min]."""
MS_PER_S: Final = 1000.0
"""Milliseconds in a second [ms/s]."""
CM_PER_M: Final = 100.0
"""Centimetres in a metre [cm/m]."""
MM_PER_M: Final = 1000.0
"""Millimetres in a metre [mm/m]."""
ML_PER_L: Final = 1000.0
"""Millilitres in a litre [mL/L]."""
ML_PER_M3: Final = 1.0e6
"""Millilitres in a cubic metre [mL/m^3]."""
M3_PER_ML: Final = 1.0e-6
"""Cubic metres in a millilitre [m^3/mL]."""
PA_S_M3_PER_DYN_S_CM5: Final = 1.0e5
"""Pa s/m^3 in one dyn s cm^-5."""
DYN_S_CM5_PER_MMHG_S_PER_ML: Final = PA_PER_MMHG * ML_PER_M3 / PA_S_M3_PER_DYN_S_CM5
"""Resistance: dyn s cm^-5 in one mmHg s/mL (1333.22)."""
DYN_S_CM5_PER_MMHG_MIN_PER_L: Final = 80.0
"""Resistance: dyn s cm^-5 in one mmHg min/L, rounded from 79.993 as every textbook and monitor does."""


@dataclass(frozen=True)
class Unit:
    r"""A unit: what it measures and how large it is.

    Arguments:
        name: Canonical name, such as `mmHg` or `0.1 mmHg`.
        kind: What it measures: `pressure`, `voltage`, `flow`, `raw`, ...
        size: One of this unit in the SI unit of its kind; NaN for `raw`, which has no size.

    Example:
        >>> from pulsebayes.waveforms.units import unit
        >>> unit("kPa")
        Unit(name='kPa', kind='pressure', size=1000.0)
    """

    name: str
    kind: str
    size: float


_NAN: Final = float("nan")

# kind, {canonical name: (size in SI, other spellings)}
_TABLE: Final[dict[str, dict[str, tuple[float, tuple[str, ...]]]]] = {
    "pressure": {
        "mmHg": (PA_PER_MMHG, ("mm Hg", "mm(Hg)", "torr", "mmHg.", "millimeter of mercury", "mm[Hg]")),
        "kPa": (1000.0, ("kilopascal",)),
        "hPa": (100.0, ("mbar", "hectopascal", "millibar")),
        "Pa": (1.0, ("pascal", "N/m2", "N/m^2")),
        "cmH2O": (PA_PER_CMH2O, ("cm H2O", "cmH₂O", "cm(H2O)", "cm[H2O]", "cm water")),
        "bar": (1.0e5, ()),
        "dyn/cm^2": (0.1, ("dyn/cm2", "dyne/cm2", "dyne/cm^2", "barye")),
    },
    "voltage": {
        "V": (1.0, ("volt", "volts")),
        "mV": (1.0e-3, ("millivolt", "millivolts")),
        "uV": (1.0e-6, ("µV", "μV", "microvolt")),
    },
    "flow": {
        "mL/s": (M3_PER_ML, ("cm3/s", "cm^3/s", "cc/s")),
        "L/min": (1.0e-3 / S_PER_MIN, ("lpm", "l/m", "liter/min", "litre/min")),
        "mL/min": (M3_PER_ML / S_PER_MIN, ("cc/min",)),
        "m^3/s": (1.0, ("m3/s",)),
        "L/s": (1.0e-3, ()),
    },
    "velocity": {"m/s": (1.0, ()), "cm/s": (1.0e-2, ()), "mm/s": (1.0e-3, ())},
    "rate": {
        "1/min": (1.0 / S_PER_MIN, ("/min", "bpm", "beats/min", "min-1", "min^-1", "breaths/min", "brpm")),
        "Hz": (1.0, ("1/s", "hertz", "s^-1", "s-1")),
    },
    "time": {
        "s": (1.0, ("sec", "secs", "second", "seconds")),
        "ms": (1.0e-3, ("msec", "millisecond", "milliseconds")),
        "us": (1.0e-6, ("µs", "microsecond", "microseconds")),
        "min": (S_PER_MIN, ("minute", "minutes", "mins")),
        "h": (3600.0, ("hour", "hours", "hr")),
    },
    "volume": {"mL": (M3_PER_ML, ("cc", "cm^3", "cm3")), "L": (1.0e-3, ("litre", "liter")), "m^3": (1.0, ("m3",))},
    "length": {"m": (1.0, ()), "cm": (1.0e-2, ()), "mm": (1.0e-3, ())},
    "resistance": {
        "dyn s cm^-5": (
            PA_S_M3_PER_DYN_S_CM5,
            ("dyn s/cm5", "dyn s/cm^5", "dyn.s.cm-5", "dyn s cm-5", "dynes.sec/cm5", "dyn*s/cm^5", "dynes s cm-5"),
        ),
        "mmHg s/mL": (PA_PER_MMHG / M3_PER_ML, ("mmHg*s/mL", "mmHg.s/mL", "PRU")),
        "mmHg min/L": (
            DYN_S_CM5_PER_MMHG_MIN_PER_L * PA_S_M3_PER_DYN_S_CM5,
            ("WU", "mmHg*min/L", "mmHg.min/L", "wood", "wood units"),
        ),
        "Pa s/m^3": (1.0, ("Pa s/m3", "Pa*s/m^3", "Pa*s/m3", "Pa.s/m3")),
    },
    "compliance": {
        "mL/mmHg": (M3_PER_ML / PA_PER_MMHG, ()),
        "m^3/Pa": (1.0, ("m3/Pa",)),
    },
    "impedance": {"ohm": (1.0, ("Ω", "ohms", "Ohm"))},
    "energy": {"J": (1.0, ("joule", "Nm")), "mmHg mL": (PA_PER_MMHG * M3_PER_ML, ("mmHg*mL", "mmHg.mL"))},
    "temperature": {"degC": (1.0, ("°C", "celsius", "deg C"))},
    "fraction": {"%": (1.0e-2, ("percent", "pct")), "1": (1.0, ("fraction",))},
    "raw": {
        "adu": (_NAN, ("adc", "adc counts", "counts", "count", "adc units", "raw", "adunits", "lsb", "digits")),
        "NU": (_NAN, ("n.u.", "nd", "au", "a.u.", "arb", "arb.", "normalized", "normalised", "unitless")),
    },
}


def _spelling(text: str) -> str:
    """A spelling without blanks, so that `mm Hg`, `mmhg` and `MMHG` meet."""
    return re.sub(r"\s+", "", text)


def _index() -> tuple[dict[str, Unit], dict[str, Unit]]:
    exact: dict[str, Unit] = {}
    folded: dict[str, Unit] = {}
    for kind, units in _TABLE.items():
        for name, (size, aliases) in units.items():
            for alias in (name, *aliases):
                exact[_spelling(alias)] = Unit(name, kind, size)
                folded.setdefault(_spelling(alias).casefold(), Unit(name, kind, size))
    return exact, folded


_EXACT, _FOLDED = _index()
_SCALED: Final = re.compile(
    r"\s*(?P<scale>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)\s*[x*·]?\s*(?P<of>\D.*)"
)


def _plain(text: str) -> Unit | None:
    spelled = _spelling(text)
    return _EXACT.get(spelled) or _FOLDED.get(spelled.casefold())


def unit(text: str) -> Unit:
    r"""Look up a unit by any of its spellings, with an optional number before it.

    `0.1 mmHg`, `0.1mmHg` and `0.1*mmHg` all mean that the value 800 stands for 80 mmHg. Capital letters do not matter
    unless two units differ by them.

    Arguments:
        text: The unit as a file or a person spells it.

    Returns:
        The unit.

    Raises:
        ValueError: If no such unit is known.

    Example:
        >>> from pulsebayes.waveforms.units import unit
        >>> unit("mm Hg").name, unit("0.1mmHg").name, unit("bpm").name
        ('mmHg', '0.1 mmHg', '1/min')
    """
    if not isinstance(text, str):
        raise TypeError(f"a unit must be a text such as 'mmHg', got {text!r}")
    known = _plain(text)
    if known is not None:
        return known
    match = _SCALED.fullmatch(text)
    of = _plain(match["of"]) if match else None
    if match is None or of is None or of.kind == "raw" or not 0.0 < float(match["scale"]) < float("inf"):
        raise ValueError(f"unit must be one of {', '.join(_TABLE['pressure'])}, mV, L/min, adu, ..., got {text!r}")
    scale = float(match["scale"])
    return of if scale == 1.0 else Unit(f"{scale:.12g} {of.name}", of.kind, scale * of.size)


def parse_unit(text: str) -> str:
    r"""Name a unit canonically, whatever its spelling.

    Arguments:
        text: The unit as a file or a person spells it.

    Returns:
        Its canonical name, such as `mmHg`.

    Raises:
        ValueError: If no such unit is known.

    Example:
        >>> from pulsebayes.waveforms.units import parse_unit
        >>> parse_unit("MMHG"), parse_unit("kpa"), parse_unit("cm H2O"), parse_unit("ADC")
        ('mmHg', 'kPa', 'cmH2O', 'adu')
    """
    return unit(text).name


def is_pressure(text: str | None) -> bool:
    r"""Whether a unit is known and measures pressure.

    Arguments:
        text: A unit, or `None` where the file states none.

    Returns:
        `True` for mmHg, kPa, 0.1 mmHg, ...; `False` for other units, for unknown ones and for `None`.

    Example:
        >>> from pulsebayes.waveforms.units import is_pressure
        >>> is_pressure("kPa"), is_pressure("mV"), is_pressure(None)
        (True, False, False)
    """
    if text is None:
        return False
    try:
        return unit(text).kind == "pressure"
    except ValueError:
        return False


def convert(values: T, source: str, target: str) -> T:
    r"""Convert values from one unit to another of the same kind.

    $$ v_\mathrm{target} = v_\mathrm{source} \, f_\mathrm{source} / f_\mathrm{target} $$

    Works on floats and on any array with multiplication (NumPy, JAX, torch); a float32 array stays float32.

    Arguments:
        values: Numbers in the unit `source`.
        source: Unit of `values`.
        target: Unit wanted.

    Returns:
        The same quantity in `target`. The values themselves when the units are the same.

    Raises:
        ValueError: If a unit is unknown, if the two measure different things, or if one of them is ADC counts.

    Example:
        >>> from pulsebayes.waveforms.units import convert
        >>> round(convert(13.3322, "kPa", "mmHg"), 6), round(convert(800.0, "0.1 mmHg", "mmHg"), 6)
        (100.0, 80.0)
    """
    old, new = unit(source), unit(target)
    if old == new or old.name == new.name:
        return values
    if old.kind != new.kind or old.kind == "raw":
        raise ValueError(
            f"cannot convert {source!r} ({old.kind}) to {target!r} ({new.kind}): they need one kind and size"
        )
    return cast(T, values * (old.size / new.size))  # type: ignore[operator]
