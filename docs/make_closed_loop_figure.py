r"""Draw docs/images/closed-loop.png: pressure-volume loops over filling, load and contractility."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pulsebayes.apps.figures import Picture, Table, draw_static, pressure_volume
from pulsebayes.simulators.closed_loop import ClosedLoop, end_systolic_line, solve_loops

FAMILIES = {
    "stressed_volume": ("filling: stressed volume [mL]", (800.0, 1000.0, 1200.0, 1400.0)),
    "systemic_resistance": ("load: systemic resistance [mmHg s/mL]", (0.6, 0.9, 1.3, 1.9)),
    "lv_elastance": ("contractility: elastance [mmHg/mL]", (1.2, 1.8, 2.4, 3.6)),
}
TARGET = Path(__file__).with_name("images") / "closed-loop.png"


def main() -> None:
    r"""Solves twelve loops and draws them."""
    changes = [{name: value} for name, (_, values) in FAMILIES.items() for value in values]
    loops = iter(solve_loops(ClosedLoop(), changes))
    panels = []
    for name, (title, values) in FAMILIES.items():
        found = {f"{value:g}": next(loops) for value in values}
        line = None if name == "lv_elastance" else end_systolic_line(list(found.values()))
        panel = pressure_volume(found, line).panels[0]
        panels.append(replace(panel, title=title, x_range=(0.0, 200.0), y_range=(0.0, 260.0)))
    alt = "Three panels of loops: more filling, more load and more contractility."
    picture = Picture(
        "closed-loop", "The left ventricle of the median adult", alt, Table((), ()), tuple(panels), columns=3
    )
    TARGET.write_bytes(draw_static(replace(picture, height=380), form="png"))


if __name__ == "__main__":
    main()
