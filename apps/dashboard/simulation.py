r"""The simulator behind Why and What-if: one shape, compiled once, kept warm.

Adults are simulated in the blocks of eight in which the network solves them anyway, so one compilation serves a slider,
the posterior median and the predicted beats.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ...simulators.closed_loop.loops import EndSystolicLine, Loop
    from ...simulators.closed_loop.simulator import ClosedLoop
    from ...simulators.network.linear import LinearNetwork

SHOWN = {
    "Radial": "radial artery, the line", "AorticRoot": "aortic root", "Carotid": "carotid artery",
    "Brachial": "brachial artery", "Digital": "finger", "ThoracicAorta": "thoracic aorta",
    "AbdominalAorta": "abdominal aorta", "IliacBifurcation": "aortic bifurcation", "CommonIliac": "iliac artery",
    "Femoral": "femoral artery", "AnteriorTibial": "lower leg", "SuperficialTemporal": "temple",
    "SupMiddleCerebral": "brain, middle cerebral artery",
}  # fmt: skip
PRESETS: Mapping[str, Mapping[str, float]] = {
    "Healthy adult": {"HR": 70, "SV": 70, "MAP": 88, "CVP": 5, "PWV": 7.5, "C": 1.4, "LVET": 290},
    "Hypovolaemia": {"HR": 115, "SV": 38, "MAP": 62, "CVP": 2, "PWV": 6.5, "C": 1.4, "LVET": 215},
    "Vasoplegia": {"HR": 105, "SV": 80, "MAP": 54, "CVP": 7, "PWV": 5.5, "C": 2.2, "LVET": 245},
    "Stiff arteries": {"HR": 70, "SV": 70, "MAP": 98, "CVP": 5, "PWV": 14.0, "C": 0.75, "LVET": 295},
    "Low output": {"HR": 100, "SV": 32, "MAP": 68, "CVP": 15, "PWV": 8.0, "C": 1.1, "LVET": 220},
}
LIMITS: Mapping[str, tuple[float, float, float]] = {
    "HR": (40, 150, 1), "SV": (18, 140, 1), "MAP": (45, 130, 1), "CVP": (0, 24, 1), "PWV": (4.0, 20.0, 0.1),
    "C": (0.4, 3.5, 0.05), "LVET": (160, 400, 5),
}  # fmt: skip
LOADS: Mapping[str, tuple[str, float, float, float]] = {
    "stressed_volume": ("Preload: stressed blood volume [mL]", 500, 2200, 25),
    "systemic_resistance": ("Afterload: resistance of the beds [mmHg s/mL]", 0.3, 3.0, 0.05),
    "lv_elastance": ("Contractility: end-systolic elastance [mmHg/mL]", 0.4, 8.0, 0.1),
}
"""What moves a pressure-volume loop: words, lowest, highest, step."""
_LINES, _PHASES = 40, 200
_FILLINGS = (0.85, 1.15)  # of the scenario's stressed volume: loops that draw its end-systolic line


@cache
def network() -> LinearNetwork:
    r"""One steady beat at every site."""
    from ...simulators.network.linear import LinearNetwork

    return LinearNetwork(beat="periodic", sites=tuple(SHOWN), n_frequencies=_LINES, n_phases=_PHASES)


def scenario_beat(quantities: Mapping[str, float]) -> dict[str, Any]:
    r"""One beat at every site of a typical adult with given quantities.

    Arguments:
        quantities: Values by quantity, each in its unit.

    Returns:
        `period` [s], `waves` by site [mmHg], `reached` by quantity, `status`.
    """
    from ...simulators.network.linear import QUANTITY_UNITS
    from ...simulators.patient import simulate_adults, typical_parameters
    from ...simulators.status import STATUS
    from ...waveforms.units import S_PER_MIN

    # Eight rows as everywhere, so that nothing is compiled for one.
    asked = {name: np.full(8, float(value)) for name, value in quantities.items()}
    found = simulate_adults(network(), asked, typical_parameters(8), seed=0)
    reached = dict(zip(QUANTITY_UNITS, (float(v) for v in found.quantities[0]), strict=True))
    waves = dict(zip(SHOWN, found.waves[0], strict=True))
    return {
        "period": S_PER_MIN / reached["HR"],
        "waves": waves,
        "reached": reached,
        "status": STATUS[int(found.status[0])],
    }


@cache
def heart() -> ClosedLoop:
    r"""The closed loop, for pressure-volume loops."""
    from ...simulators.closed_loop.simulator import ClosedLoop

    return ClosedLoop(beat="periodic")


def usual_loads() -> dict[str, float]:
    r"""Preload, afterload and contractility of the loop's median adult, on the sliders' steps."""
    space = heart().space
    middle = space.sample_quantiles(np.full(space.dim, 0.5))
    return {
        name: round(round(float(middle[space.index(name)]) / step) * step, 4) for name, (_, _, _, step) in LOADS.items()
    }


def pressure_volume_loops(loads: Mapping[str, float]) -> tuple[Loop, Loop, EndSystolicLine]:
    r"""Loops of the left ventricle in the closed circulation.

    Arguments:
        loads: Values of `LOADS`.

    Returns:
        The median adult's, that with the values asked for, and the end-systolic line of the latter.
    """
    from ...simulators.closed_loop.loops import end_systolic_line, solve_loops

    _, low, high, _ = LOADS["stressed_volume"]
    volumes = [float(np.clip(share * loads["stressed_volume"], low, high)) for share in _FILLINGS]
    changes = [usual_loads(), loads, *({**loads, "stressed_volume": v} for v in volumes)]
    base, found, *filled = solve_loops(heart(), changes)
    return base, found, end_systolic_line([found, *filled])


def warm_heart() -> None:
    r"""Compile the closed loop."""
    pressure_volume_loops(usual_loads())


def warm() -> None:
    r"""Compile the simulator, so that the first slider finds it ready."""
    scenario_beat(PRESETS["Healthy adult"])
