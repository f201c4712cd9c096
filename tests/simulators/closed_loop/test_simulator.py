r"""The closed loop as a simulator: periodic by a shorter way, quantities that hang together, rows that fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pulsebayes.simulators.closed_loop.circuit import Circuit
from pulsebayes.simulators.closed_loop.periodic import Settled, settle
from pulsebayes.simulators.closed_loop.simulator import UNITS, ClosedLoop
from pulsebayes.simulators.registry import Simulated
from pulsebayes.simulators.status import NOT_PERIODIC, OK, UNPHYSIOLOGICAL


@pytest.fixture(scope="module")
def simulated(loop: ClosedLoop, rows: np.ndarray) -> Simulated:
    return loop.simulate(rows, 0)


def column(found: Simulated, name: str) -> np.ndarray:
    return found.quantities[:, list(UNITS).index(name)].astype(float)


def test_the_median_adult_is_a_resting_adult(simulated: Simulated) -> None:
    adult = dict(zip(UNITS, simulated.quantities[0].tolist(), strict=True))
    usual = {
        "SV": (60, 90), "CO": (4, 8), "MAP": (80, 105), "SBP": (105, 135), "DBP": (60, 85), "CVP": (2, 6),
        "EF": (50, 70), "EDV": (100, 150), "LAP": (5, 12), "PAP": (10, 20), "LVET": (250, 330), "SW": (0.7, 1.3),
    }  # fmt: skip
    assert {name: adult[name] for name, (low, high) in usual.items() if not low <= adult[name] <= high} == {}


def test_quantities_hang_together(simulated: Simulated) -> None:
    assert (simulated.status == OK).mean() > 0.9
    np.testing.assert_allclose(column(simulated, "CO"), column(simulated, "HR") * column(simulated, "SV") / 1e3, 1e-5)
    pressure = column(simulated, "MAP") - column(simulated, "CVP")
    np.testing.assert_allclose(column(simulated, "SVR"), 80 * pressure / column(simulated, "CO"), rtol=1e-5)
    stroke = column(simulated, "EDV") - column(simulated, "ESV")
    np.testing.assert_allclose(column(simulated, "SV"), stroke, rtol=2e-3)  # sound valves: what leaves is net
    np.testing.assert_allclose(column(simulated, "EF"), 100 * stroke / column(simulated, "EDV"), rtol=1e-4)


def test_accelerated_beats_end_where_plain_beats_end(solved: tuple[Circuit, Settled], loop: ClosedLoop) -> None:
    circuit, fast = solved
    plain = settle(circuit, n_steps=loop.n_steps, tolerance_mL=0.02, max_beats=200, accelerate=False)
    assert float(fast.volume_change.max()) <= 0.03
    assert np.abs(np.asarray(fast.beat.volume - plain.beat.volume)).max() < 0.5  # plain stops .02/(1 - r) early
    assert float(fast.beats.mean()) < 0.6 * float(plain.beats.mean())
    assert int(fast.beats.max()) <= 20


def test_a_hundred_plain_beats_end_there_too(solved: tuple[Circuit, Settled], hundred: Settled) -> None:
    circuit, found = solved
    apart = np.abs(np.asarray(hundred.state.volume - found.state.volume))
    assert apart.max() < 0.15  # [mL]
    assert (np.asarray(circuit.passive) * apart).max() < 0.1  # [mmHg]


def test_sites_are_what_they_say(rows: np.ndarray) -> None:
    sites = ("AorticRoot", "AorticRoot:flow", "LV", "LV:volume", "LV:flow")
    waves = ClosedLoop(beat="periodic", sites=sites, n_phases=512).simulate(rows, 0).waves[0]
    root, ejected, pressure, volume, filled = waves.astype(float)
    period = 60.0 / rows[0, 0]
    assert ejected.min() == 0 and filled.min() == 0
    rate = np.gradient(volume, period / 512)
    assert np.abs(rate - (filled - ejected))[5:-5].mean() < 8.0  # [mL/s] of up to 500
    systole = ejected > 50
    assert np.abs(pressure - root)[systole].mean() < 12.0  # what the valve costs and blood's inertia


def test_a_window_repeats_its_beat_from_a_random_start(rows: np.ndarray) -> None:
    loop = ClosedLoop(sites=("AorticRoot",), duration_s=3.0, fs=200.0)
    one, same, other = (loop.simulate(rows, seed).waves[:, 0] for seed in (1, 1, 2))
    assert one.shape == (len(rows), 600) and np.array_equal(one, same) and not np.array_equal(one, other)
    beat = 60.0 / rows[0, 0] * 200.0
    shifted = np.interp(np.arange(400) + beat, np.arange(600), one[0])
    assert np.abs(shifted - one[0][:400]).max() < 2.0  # linear between samples


def test_a_row_that_needs_more_beats_says_so(rows: np.ndarray) -> None:
    hurried = ClosedLoop(beat="periodic", max_beats=1).simulate(rows, 0)
    assert (hurried.status == NOT_PERIODIC).all()


def test_a_bled_row_is_unphysiological(loop: ClosedLoop, rows: np.ndarray) -> None:
    bled = rows.copy()
    bled[0, loop.space.index("stressed_volume")] = 220.0
    status = loop.simulate(bled, 0).status
    assert status[0] == UNPHYSIOLOGICAL and (status[1:] == OK).mean() > 0.9


def test_leaks_and_narrow_valves_do_what_they_do(rows: np.ndarray) -> None:
    loop = ClosedLoop(valves="diseased", beat="periodic", sites=("LV", "AorticRoot", "AorticRoot:flow"))
    row = loop.space.sample_quantiles(np.full(loop.space.dim, 0.5))
    sick = np.stack([row] * len(rows))
    for number, (name, value) in enumerate((("aortic_area", 0.7), ("aortic_leak", 0.3), ("mitral_leak", 0.4))):
        sick[number + 1, loop.space.index(name)] = value
    found = loop.simulate(sick, 0)
    sound, _, back, mitral = (dict(zip(UNITS, q.tolist(), strict=True)) for q in found.quantities[:4])
    gradient = (found.waves[:, 0] - found.waves[:, 1])[:, :].max(-1)
    assert gradient[1] > gradient[0] + 40.0  # severe stenosis [mmHg]
    assert found.waves[2, 2].min() < -50.0 and back["DBP"] < sound["DBP"] - 8.0  # [mL/s], [mmHg]
    assert mitral["EDV"] - mitral["ESV"] > 1.2 * mitral["SV"] and mitral["LAP"] > sound["LAP"]


def test_bad_input_is_told() -> None:
    with pytest.raises(ValueError, match=r"a site must be one of LA, LV, .* got 'Wrist'"):
        ClosedLoop(sites=("Wrist",))
    with pytest.raises(ValueError, match="valves must be one of sound, diseased, got 'bad'"):
        ClosedLoop(valves="bad")
    for septum in ("maybe", "true", 1, None):
        with pytest.raises(ValueError, match=f"septum must be true or false, got {septum!r}"):
            ClosedLoop(septum=septum)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tolerance_mL must be positive"):
        ClosedLoop(tolerance_mL=0.0)
    with pytest.raises(ValueError, match="n_steps must lie in 32"):
        ClosedLoop(n_steps=4)
    with pytest.raises(ValueError, match=r"theta must have shape \(N, 24\), got \(2, 3\)"):
        ClosedLoop().simulate(np.ones((2, 3)), 0)
    with pytest.raises(ValueError, match="at least one row"):
        ClosedLoop().simulate(np.ones((0, 24)), 0)
    assert replace(ClosedLoop(), septum=True).space.dim == 25
