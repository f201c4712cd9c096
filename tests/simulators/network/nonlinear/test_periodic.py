r"""The periodic state: the reported bound holds, failures are named, the Courant number is kept."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pulsebayes.simulators.network.files import load_network
from pulsebayes.simulators.network.model import InflowWave, Outlet, impedance
from pulsebayes.simulators.network.nonlinear import (
    PeriodicSettings,
    Probe,
    make_grid,
    model_physics,
    solve_periodic,
)
from pulsebayes.simulators.network.nonlinear import periodic as module
from pulsebayes.simulators.network.nonlinear.coarse import coarse_physics
from pulsebayes.simulators.network.nonlinear.physics import stack_physics
from pulsebayes.simulators.status import DIVERGED, NOT_PERIODIC, OK


def batch(name: str, size: int, dx_mm: float = 20.0):  # type: ignore[no-untyped-def]
    model = load_network(name)
    grid = make_grid(model, dx_mm=dx_mm)
    physics = stack_physics([model_physics(model, grid)] * size)
    rng = np.random.default_rng(3)
    physics = physics._replace(
        inflow=physics.inflow * rng.uniform(0.6, 1.3, size),
        compliance=physics.compliance * rng.uniform(0.5, 2.0, size),
        r2=physics.r2 * rng.uniform(0.7, 1.3, size),
        beta=physics.beta * (scale := rng.uniform(0.7, 2.0, size)),
        face_beta=physics.face_beta * scale,
    )
    probes = grid.interpolation([Probe(v, s) for v in range(len(model.vessels)) for s in (0.0, 0.5, 1.0)])
    return grid, physics, probes


@pytest.mark.parametrize("name", ["thoracic-aorta", "aortic-bifurcation", "adan56"])
def test_the_bound_holds_the_true_error(name: str) -> None:
    grid, physics, probes = batch(name, 16)
    exact = solve_periodic(grid, physics, probes, PeriodicSettings(1e-6, n_samples=50))
    for tolerance in (10.0, 1.0, 0.1, 0.01):
        found = solve_periodic(grid, physics, probes, PeriodicSettings(tolerance, n_samples=50))
        if not (found.steps == exact.steps).all():
            continue  # another grid in time has another periodic state
        error = np.abs(found.waves.pressure - exact.waves.pressure).max((0, 1)) / 133.322
        assert (found.status == OK).all()
        assert (error <= found.bound + 1e-6).all()
        assert (found.bound <= tolerance).all()


@pytest.mark.parametrize("share", [0.02, 0.05, 5.0])
def test_the_bound_holds_where_waves_ring_longer_than_windkessels(share: float) -> None:
    carotid = load_network("common-carotid")
    vessel = dataclasses.replace(carotid.vessels[0], length_mm=600.0)
    outlet = Outlet(vessel.outlet, share * impedance(carotid, vessel))  # nearly open, or nearly closed
    fast = InflowWave(carotid.inflow.node, carotid.inflow.time_s * 0.375 / 1.1, carotid.inflow.flow_mL_s)
    model = dataclasses.replace(carotid, vessels=(vessel,), outlets=(outlet,), inflow=fast)
    grid = make_grid(model, dx_mm=30.0)
    physics = model_physics(model, grid)
    probes = grid.interpolation([Probe(0, s) for s in (0.0, 0.5, 1.0)])
    exact = solve_periodic(grid, physics, probes, PeriodicSettings(1e-5, n_samples=50, courant=0.5))
    for tolerance in (10.0, 1.0, 0.1, 0.03):
        found = solve_periodic(grid, physics, probes, PeriodicSettings(tolerance, n_samples=50, courant=0.5))
        assert found.steps == exact.steps
        error = np.abs(found.waves.pressure - exact.waves.pressure).max() / 133.322
        assert error <= found.bound[0] <= tolerance


@pytest.mark.parametrize(("name", "seed"), [("thoracic-aorta", 0), ("common-carotid", 5)])
def test_the_bound_holds_for_any_ends_walls_and_periods(name: str, seed: int) -> None:
    model = load_network(name)
    grid = make_grid(model, dx_mm=30.0)
    rng, size = np.random.default_rng(seed), 32

    def between(low: float, high: float) -> np.ndarray:
        return np.exp(rng.uniform(np.log(low), np.log(high), size))

    physics, stiffer = stack_physics([model_physics(model, grid)] * size), between(0.6, 1.8)
    physics = physics._replace(
        beta=physics.beta * stiffer, face_beta=physics.face_beta * stiffer, inflow=physics.inflow * between(0.4, 1.3),
        period=physics.period * between(0.35, 1.5), r1=physics.r1 * between(0.002, 0.2),
        compliance=physics.compliance * between(0.2, 3.0), r2=physics.r2 * between(0.5, 1.5),
    )  # fmt: skip
    probes = grid.interpolation([Probe(0, s) for s in (0.0, 0.5, 1.0)])
    exact = solve_periodic(grid, physics, probes, PeriodicSettings(1e-7, max_cycles=150, n_samples=50, courant=0.45))
    for tolerance in (10.0, 1.0, 0.1):
        settings = PeriodicSettings(tolerance, max_cycles=60, n_samples=50, courant=0.45)
        found = solve_periodic(grid, physics, probes, settings)
        error = np.abs(found.waves.pressure - exact.waves.pressure).max((0, 1)) / 133.322
        same = (found.steps == exact.steps) & (exact.bound < 1e-3)
        assert same.sum() >= 8  # the others were solved in other steps of time
        assert (error <= found.bound + 1e-6)[same].all()


def test_few_periods_are_needed() -> None:
    grid, physics, probes = batch("adan56", 16)
    found = solve_periodic(grid, physics, probes, PeriodicSettings(0.1, n_samples=50))
    assert found.cycles.max() <= 5


def test_a_coarse_start_spares_fine_periods_and_ends_in_the_same_state(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, physics, probes = batch("adan56", 16, dx_mm=10.0)
    solved: list[int] = []
    true = PeriodicSettings().cycle

    def counted(grid, *args, **options):  # type: ignore[no-untyped-def]
        solved.append(grid.n_cells)
        return true(grid, *args, **options)

    monkeypatch.setattr(PeriodicSettings, "cycle", property(lambda self: counted))
    settings = PeriodicSettings(0.1, n_samples=50)
    found = solve_periodic(grid, physics, probes, settings)
    fine = solved.count(grid.n_cells)
    assert solved.count(grid.coarse.n_cells) + fine == len(solved) == found.cycles.max()
    solved.clear()
    monkeypatch.setattr(module, "_MOST_COARSE", 0)
    plain = solve_periodic(grid, physics, probes, settings)
    assert fine < len(solved) == plain.cycles.max()
    error = np.abs(found.waves.pressure - plain.waves.pressure).max((0, 1)) / 133.322
    assert (error <= found.bound + plain.bound).all()


def test_a_coarse_copy_keeps_walls_and_lengths_and_has_no_short_cell() -> None:
    grid, physics, _ = batch("adan56", 2, dx_mm=10.0)
    copy = coarse_physics(grid, physics, grid.coarse)
    length, true = (n.dx * g.cells[:, None] for n, g in ((copy, grid.coarse), (physics, grid)))
    assert copy.dx.min() >= 0.39 * copy.dx.max()
    assert length.sum() == pytest.approx(true.sum(), rel=0.005)
    assert (np.abs(length - true) > 1e-9).mean() < 0.25
    for coarse, fine in ((copy.face_area, physics.face_area), (copy.face_beta, physics.face_beta)):
        np.testing.assert_allclose(coarse[grid.coarse.first], fine[grid.first])
        np.testing.assert_allclose(coarse[grid.coarse.last], fine[grid.last])


def test_rows_do_not_depend_on_their_neighbours() -> None:
    grid, physics, probes = batch("aortic-bifurcation", 20)
    whole = solve_periodic(grid, physics, probes, PeriodicSettings(1e-5, n_samples=50, courant=0.4))
    order = np.arange(20)[::-1]
    turned = type(physics)(*(a[..., order] for a in physics))
    again = solve_periodic(grid, turned, probes, PeriodicSettings(1e-5, n_samples=50, courant=0.4))
    np.testing.assert_allclose(again.waves.pressure[..., order], whole.waves.pressure, rtol=2e-3)


def test_a_failed_row_is_named_and_the_others_are_solved() -> None:
    grid, physics, probes = batch("aortic-bifurcation", 3)
    external = np.array(physics.external)
    external[1, 1] = 1e6  # no wall stands this
    found = solve_periodic(grid, physics._replace(external=external), probes, PeriodicSettings(0.1, n_samples=50))
    assert found.status.tolist() == [OK, DIVERGED, OK]
    assert grid.names[found.failed_vessel[1]] == "d1"
    assert found.failed_time[1] == 0.0
    assert np.isnan(found.failed_time[[0, 2]]).all()
    assert found.bound[1] == np.inf


def test_too_few_periods_are_not_periodic() -> None:
    grid, physics, probes = batch("adan56", 2)
    found = solve_periodic(grid, physics, probes, PeriodicSettings(1e-3, max_cycles=2, n_samples=50))
    assert found.status.tolist() == [NOT_PERIODIC] * 2
    assert (found.bound > 1e-3).all()


def test_a_wrong_guess_of_the_steps_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, physics, probes = batch("aortic-bifurcation", 2)
    true = module.needed_steps
    monkeypatch.setattr(module, "needed_steps", lambda *args: 0.5 * true(*args))
    found = solve_periodic(grid, physics, probes, PeriodicSettings(0.1, n_samples=50))
    assert found.status.tolist() == [OK, OK]
    assert found.courant.max() <= 0.98


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"tolerance_mmHg": 0.0}, "tolerance_mmHg must be positive, got 0"),
        ({"courant": 1.2}, "courant must lie in"),
        ({"engine": "c"}, "engine must be 'kernel' or 'jax', got 'c'"),
        ({"n_samples": 1}, "n_samples at least 2"),
    ],
)
def test_settings_are_checked(option: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PeriodicSettings(**option)  # type: ignore[arg-type]
