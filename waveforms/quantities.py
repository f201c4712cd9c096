r"""Every haemodynamic quantity, defined once: symbol, unit, definition, usual adult range.

$$ \mathrm{HR} = \frac{60}{\overline{RR}}, \qquad
   \mathrm{CO} = \frac{\mathrm{HR}\,\mathrm{SV}}{1000}, \qquad
   \mathrm{SVR} = 80\,\frac{\mathrm{MAP}-\mathrm{CVP}}{\mathrm{CO}} $$

The functions are arithmetic only: they take floats, NumPy, JAX or torch arrays and return the same. "Usual" ranges are
those commonly printed for resting adults; sources differ, each range carries the one it was taken from, and a quantity
without a citation has no range.

References:
    RnCeus, *Hemodynamic Measurement Terminology* (table of normal values), http://www.rnceus.com/hemo/term.htm
    American Heart Association, *All About Heart Rate (Pulse)*, https://www.heart.org
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from .units import DYN_S_CM5_PER_MMHG_MIN_PER_L, ML_PER_L, MS_PER_S, S_PER_MIN, convert

__all__ = [
    "QUANTITIES",
    "Quantity",
    "cardiac_index",
    "cardiac_output",
    "ejection_fraction",
    "ejection_time",
    "heart_rate",
    "mean_pressure",
    "pulse_pressure",
    "stroke_volume",
    "stroke_work",
    "systemic_vascular_resistance",
]


@dataclass(frozen=True)
class Quantity:
    r"""What a number means: its symbol, unit and definition.

    Arguments:
        symbol: Short name, the key in `QUANTITIES`.
        name: Name in words.
        unit: Unit of every number of this quantity.
        definition: One sentence: how it is computed.
        decimals: Digits after the point worth printing.
        usual_low: Lower end of the usual adult range, in `unit`; `None` where none is cited.
        usual_high: Upper end, in `unit`.
        usual_source: Where the range was taken from.

    Raises:
        ValueError: If a range comes without a citation, or a citation without a range.

    Example:
        >>> from pulsebayes.waveforms.quantities import QUANTITIES
        >>> co = QUANTITIES["CO"]
        >>> co.unit, co.usual_low, co.usual_high, co.label
        ('L/min', 4.0, 8.0, 'CO [L/min]')
    """

    symbol: str
    name: str
    unit: str
    definition: str
    decimals: int
    usual_low: float | None = None
    usual_high: float | None = None
    usual_source: str | None = None

    def __post_init__(self) -> None:
        given = [item is not None for item in (self.usual_low, self.usual_high, self.usual_source)]
        if any(given) and not all(given):
            raise ValueError(f"{self.symbol}: a usual range needs low, high and a citation, got {given} of the three")

    @property
    def label(self) -> str:
        r"""Symbol and unit as they stand over a column.

        Example:
            >>> from pulsebayes.waveforms.quantities import QUANTITIES
            >>> QUANTITIES["SV"].label
            'SV [mL]'
        """
        return f"{self.symbol} [{self.unit}]"


_TABLE_SOURCE: Final = "RnCeus, Hemodynamic Measurement Terminology, http://www.rnceus.com/hemo/term.htm"
_RATE_SOURCE: Final = "American Heart Association, All About Heart Rate (Pulse), https://www.heart.org"

_ALL: Final = (
    Quantity("HR", "heart rate", "1/min", "60 / mean beat interval of the window", 0, 60.0, 100.0, _RATE_SOURCE),
    Quantity(
        "SV", "stroke volume", "mL", "mean net volume through the aortic root per beat", 0, 50.0, 100.0, _TABLE_SOURCE
    ),
    Quantity("CO", "cardiac output", "L/min", "HR SV / 1000", 1, 4.0, 8.0, _TABLE_SOURCE),
    Quantity(
        "MAP", "mean arterial pressure", "mmHg", "time mean of aortic-root pressure", 0, 70.0, 100.0, _TABLE_SOURCE
    ),
    Quantity(
        "CVP",
        "central venous pressure",
        "mmHg",
        "right-atrial pressure, a parameter of its own, never the closing pressure of the outlets",
        0,
        2.0,
        6.0,
        _TABLE_SOURCE,
    ),
    Quantity(
        "SVR",
        "systemic vascular resistance",
        "dyn s cm^-5",
        "80 (MAP - CVP) / CO",
        0,
        800.0,
        1200.0,
        _TABLE_SOURCE,
    ),
    Quantity(
        "LVET", "left-ventricular ejection time", "ms", "time of positive aortic-root flow per beat, mean over beats", 0
    ),
    Quantity(
        "PWV",
        "carotid-femoral pulse wave velocity",
        "m/s",
        "(length aorta-femoral - length aorta-carotid) / (transit time aorta-femoral - transit time aorta-carotid), "
        "with the wave speed of each segment at its mean radius",
        1,
    ),
    Quantity(
        "C",
        "total arterial compliance",
        "mL/mmHg",
        "sum of the compliances of all arterial segments and of all windkessel outlets",
        2,
    ),
    Quantity("SBP", "aortic systolic pressure", "mmHg", "mean over beats of the largest aortic-root pressure", 0),
    Quantity("DBP", "aortic diastolic pressure", "mmHg", "mean over beats of the least aortic-root pressure", 0),
    Quantity("PP", "aortic pulse pressure", "mmHg", "SBP - DBP", 0),
    Quantity("D_AorticRoot", "diameter of the aortic root", "mm", "lumen diameter at diastolic pressure", 1),
    Quantity("D_Femoral", "diameter of the femoral artery", "mm", "lumen diameter at diastolic pressure", 1),
    Quantity("EDV", "end-diastolic volume", "mL", "largest volume of the left ventricle in a beat", 0),
    Quantity("ESV", "end-systolic volume", "mL", "least volume of the left ventricle in a beat", 0),
    Quantity("EF", "ejection fraction", "%", "100 (EDV - ESV) / EDV", 0),
    Quantity("SW", "stroke work", "J", "area of the left ventricle's pressure-volume loop", 2),
    Quantity("LAP", "left-atrial pressure", "mmHg", "time mean of left-atrial pressure", 0),
    Quantity("PAP", "pulmonary-artery pressure", "mmHg", "time mean of pressure at the pulmonary root", 0),
    Quantity("CI", "cardiac index", "L/min/m^2", "CO / body surface area", 1, 2.5, 4.0, _TABLE_SOURCE),
)

QUANTITIES: Final[dict[str, Quantity]] = {quantity.symbol: quantity for quantity in _ALL}
r"""Every quantity, by symbol."""


def heart_rate(mean_interval_s: Any) -> Any:
    r"""Heart rate from the mean beat interval, $\mathrm{HR} = 60/\overline{RR}$.

    Arguments:
        mean_interval_s: Mean interval between beats of the window [s].

    Returns:
        Heart rate [1/min].

    Example:
        >>> from pulsebayes.waveforms.quantities import heart_rate
        >>> heart_rate(0.75)
        80.0
    """
    return S_PER_MIN / mean_interval_s


def cardiac_output(heart_rate: Any, stroke_volume: Any) -> Any:
    r"""Cardiac output, $\mathrm{CO} = \mathrm{HR}\,\mathrm{SV}/1000$.

    Arguments:
        heart_rate: Heart rate [1/min].
        stroke_volume: Stroke volume [mL].

    Returns:
        Cardiac output [L/min].

    Example:
        >>> from pulsebayes.waveforms.quantities import cardiac_output
        >>> cardiac_output(70.0, 80.0)
        5.6
    """
    return heart_rate * stroke_volume / ML_PER_L


def cardiac_index(cardiac_output: Any, body_surface_area: Any) -> Any:
    r"""Cardiac index, cardiac output per body surface.

    Arguments:
        cardiac_output: Cardiac output [L/min].
        body_surface_area: Body surface area [m^2].

    Returns:
        Cardiac index [L/min/m^2].

    Example:
        >>> from pulsebayes.waveforms.quantities import cardiac_index
        >>> cardiac_index(5.4, 1.8)
        3.0
    """
    return cardiac_output / body_surface_area


def systemic_vascular_resistance(mean_pressure: Any, venous_pressure: Any, cardiac_output: Any) -> Any:
    r"""Systemic vascular resistance, $\mathrm{SVR} = 80\,(\mathrm{MAP} - \mathrm{CVP})/\mathrm{CO}$.

    Arguments:
        mean_pressure: Mean arterial pressure [mmHg].
        venous_pressure: Right-atrial pressure [mmHg], never the closing pressure of the outlets.
        cardiac_output: Cardiac output [L/min].

    Returns:
        Systemic vascular resistance [dyn s cm^-5].

    Example:
        >>> from pulsebayes.waveforms.quantities import systemic_vascular_resistance
        >>> systemic_vascular_resistance(90.0, 5.0, 5.0)
        1360.0
    """
    return DYN_S_CM5_PER_MMHG_MIN_PER_L * (mean_pressure - venous_pressure) / cardiac_output


def pulse_pressure(systolic: Any, diastolic: Any) -> Any:
    r"""Pulse pressure, $\mathrm{PP} = \mathrm{SBP} - \mathrm{DBP}$.

    Arguments:
        systolic: Systolic pressure [mmHg].
        diastolic: Diastolic pressure [mmHg].

    Returns:
        Pulse pressure [mmHg].

    Example:
        >>> from pulsebayes.waveforms.quantities import pulse_pressure
        >>> pulse_pressure(120.0, 80.0)
        40.0
    """
    return systolic - diastolic


def mean_pressure(pressure: Any) -> Any:
    r"""Mean pressure, the time mean of the wave over its last axis.

    Arguments:
        pressure: Pressure [mmHg], evenly sampled, with shape (*, T); over whole beats where a beat mean is meant.

    Returns:
        Mean pressure [mmHg], with shape (*).

    Example:
        >>> import numpy as np
        >>> from pulsebayes.waveforms.quantities import mean_pressure
        >>> float(mean_pressure(np.array([80.0, 120.0])))
        100.0
    """
    return pressure.mean(-1)


def stroke_volume(flow: Any, duration_s: Any, n_beats: Any) -> Any:
    r"""Stroke volume, the net volume through the aortic root per beat.

    $$ \mathrm{SV} = \frac{1}{n} \int_0^T Q \, dt $$

    Arguments:
        flow: Aortic-root flow [mL/s] over whole beats, without its repeated end point, with shape (*, T).
        duration_s: Duration of the beats together [s].
        n_beats: Number of beats.

    Returns:
        Stroke volume [mL], with shape (*).

    Example:
        >>> import numpy as np
        >>> from pulsebayes.waveforms.quantities import stroke_volume
        >>> float(stroke_volume(np.full(100, 80.0), 4.0, 4))
        80.0
    """
    return flow.mean(-1) * duration_s / n_beats


def ejection_time(flow: Any, duration_s: Any, n_beats: Any) -> Any:
    r"""Left-ventricular ejection time, the time of positive aortic-root flow, mean over beats.

    Arguments:
        flow: Aortic-root flow [mL/s] over whole beats, without its repeated end point, with shape (*, T).
        duration_s: Duration of the beats together [s].
        n_beats: Number of beats.

    Returns:
        Ejection time [ms], with shape (*); resolved to one sample.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.waveforms.quantities import ejection_time
        >>> float(ejection_time(np.array([0.0, 300.0, 200.0, 0.0]), 0.8, 1))
        400.0
    """
    return (flow > 0).sum(-1) / flow.shape[-1] * duration_s / n_beats * MS_PER_S


def ejection_fraction(largest: Any, least: Any) -> Any:
    r"""Ejection fraction, the share of its largest volume by which the left ventricle shrinks.

    Arguments:
        largest: End-diastolic volume [mL].
        least: End-systolic volume [mL].

    Returns:
        Ejection fraction [%].

    Example:
        >>> from pulsebayes.waveforms.quantities import ejection_fraction
        >>> ejection_fraction(120.0, 48.0)
        60.0
    """
    return 100 * (largest - least) / largest


def stroke_work(pressure: Any, flow_out: Any, duration_s: Any) -> Any:
    r"""Stroke work, the area of the pressure-volume loop, $\oint P\,dV = \int P\,(-\dot V)\,dt$.

    Arguments:
        pressure: Ventricular pressure [mmHg] over one beat, without its repeated end point, with shape (*, T).
        flow_out: Flow out of the ventricle less flow into it [mL/s], with shape (*, T).
        duration_s: Length of the beat [s].

    Returns:
        Work [J], with shape (*).

    Example:
        >>> import numpy as np
        >>> from pulsebayes.waveforms.quantities import stroke_work
        >>> loop = np.array([10.0, 10.0, 100.0, 100.0]), np.array([-100.0, -100.0, 100.0, 100.0])
        >>> round(float(stroke_work(*loop, 1.0)), 3)  # 50 mL in at 10 mmHg, out at 100
        0.6
    """
    return convert((pressure * flow_out).mean(-1) * duration_s, "mmHg mL", "J")
