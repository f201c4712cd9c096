r"""Textbook loops: filling, load and contractility each move the loop as they do in every textbook."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.simulators.closed_loop.loops import Loop, end_systolic_line, solve_loops
from pulsebayes.simulators.closed_loop.simulator import ClosedLoop
from pulsebayes.simulators.status import OK

sys.path.insert(0, str(Path(__file__).parent))
from rivals import N_ROWS

FILLING = (800.0, 950.0, 1100.0, 1250.0, 1400.0)
LOAD = (0.6, 0.9, 1.3, 1.8, 2.4)
CONTRACTILITY = (1.0, 1.7, 2.4, 3.4, 4.8)


@pytest.fixture(scope="module")
def families() -> dict[str, list[Loop]]:
    changes = [{"stressed_volume": v} for v in FILLING] + [{"systemic_resistance": v} for v in LOAD]
    changes += [{"lv_elastance": v} for v in CONTRACTILITY]
    changes += [{"stressed_volume": v, "lv_elastance": e} for e in (1.0, 4.0) for v in (900.0, 1100.0, 1300.0)]
    changes += [{}] * (N_ROWS - len(changes))
    loops = solve_loops(ClosedLoop(), changes)
    assert all(loop.status == OK for loop in loops)
    right = solve_loops(ClosedLoop(), changes, chamber="RV")
    return {
        "filling": loops[:5], "load": loops[5:10], "contractility": loops[10:15], "weak": loops[15:18],
        "strong": loops[18:21], "median": loops[-1:], "right": right[-1:],
    }  # fmt: skip


def values(loops: list[Loop], name: str) -> np.ndarray:
    return np.array([loop.quantities[name] for loop in loops])


def test_more_filling_means_more_stroke_volume_on_the_same_line(families: dict[str, list[Loop]]) -> None:
    loops = families["filling"]
    assert (np.diff(values(loops, "EDV")) > 0).all() and (np.diff(values(loops, "SV")) > 0).all()
    line = end_systolic_line(loops)
    assert line.elastance == pytest.approx(2.4, rel=0.02)  # what was put in
    assert line.rest_volume == pytest.approx(_rest(), abs=1.5)


def test_more_load_means_less_stroke_volume_on_the_same_line(families: dict[str, list[Loop]]) -> None:
    loops = families["load"]
    assert (np.diff(values(loops, "SV")) < 0).all() and (np.diff(values(loops, "ESV")) > 0).all()
    assert (np.diff(values(loops, "MAP")) > 0).all() and (np.diff(values(loops, "LVET")) < 0).all()
    assert end_systolic_line(loops).elastance == pytest.approx(2.4, rel=0.05)


def test_more_contractility_means_a_smaller_end(families: dict[str, list[Loop]]) -> None:
    loops = families["contractility"]
    assert (np.diff(values(loops, "ESV")) < 0).all() and (np.diff(values(loops, "SV")) > 0).all()
    assert (np.diff(values(loops, "EF")) > 0).all()


@pytest.mark.parametrize(("name", "elastance"), [("weak", 1.0), ("strong", 4.0)])
def test_the_slope_is_the_elastance(name: str, elastance: float, families: dict[str, list[Loop]]) -> None:
    assert end_systolic_line(families[name]).elastance == pytest.approx(elastance, rel=0.03)


def test_the_area_of_a_loop_is_its_stroke_work(families: dict[str, list[Loop]]) -> None:
    for loop in families["filling"]:
        assert loop.work_J == pytest.approx(loop.quantities["SW"], rel=2e-3)


def test_the_right_ventricle_works_less(families: dict[str, list[Loop]]) -> None:
    left, right = families["median"][0], families["right"][0]
    assert right.work_J < 0.35 * left.work_J
    assert np.ptp(right.volume) == pytest.approx(np.ptp(left.volume), rel=0.01)  # in series


def test_bad_input_is_told(families: dict[str, list[Loop]]) -> None:
    with pytest.raises(ValueError, match="chamber must be LV or RV, got 'LA'"):
        solve_loops(ClosedLoop(), [{}], chamber="LA")
    with pytest.raises(ValueError, match="name must be one of"):
        solve_loops(ClosedLoop(), [{"colour": 1.0}])
    with pytest.raises(ValueError, match=r"got lv_elastance = 99\.0 mmHg/mL outside"):
        solve_loops(ClosedLoop(), [{"lv_elastance": 99.0}])
    with pytest.raises(ValueError, match="two loops or more, got 1"):
        end_systolic_line(families["median"])


def _rest() -> float:
    space = ClosedLoop().space
    return float(space.sample_quantiles(np.full(space.dim, 0.5))[space.index("lv_rest_volume")])
