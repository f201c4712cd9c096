r"""A described network solved to its periodic state, with waves along every vessel."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ....waveforms.units import PA_PER_MMHG, convert
from ...status import ADVICE, OK, STATUS
from ..model import NetworkModel
from .grid import Grid, Physics, Probe, make_grid
from .periodic import PeriodicSettings, PeriodicSolution, solve_periodic
from .physics import model_physics

__all__ = ["POSITIONS", "NetworkFailure", "NetworkSolution", "solve_model", "write_waves"]

POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)


class NetworkFailure(ValueError):
    """A network whose simulation failed; the message names the vessel and the time.

    Example:
        >>> NetworkFailure("vessel 'radial' at 0.31 s").code
        'diverged'
    """

    code = "diverged"


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkSolution:
    r"""Waves of the last period along every vessel, and how they came about.

    Arguments:
        vessels: Names of the vessels.
        time: Times from the start of the period; the last is one period after the first [s].
        pressure: Pressure at `POSITIONS` [mmHg].
        flow: Flow [mL/s].
        area: Lumen area [cm2].
        velocity: Mean velocity [cm/s].
        cells: Cells of the network.
        steps: Steps of a period.
        cycles: Periods solved.
        bound: Bound of the error that is left by not being periodic yet [mmHg].
        courant: Largest Courant number.
        mass_balance: Mean outflow of all outlets over mean inflow, less 1.
        status: Status code.
        seconds: Wall-clock time, compilation included [s].

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> solution = solve_model(load_network("common-carotid"), dx_mm=20.0, samples=50)
        >>> solution.pressure.shape, bool(solution.bound < 0.05)
        ((1, 5, 51), True)
    """

    vessels: tuple[str, ...]
    time: Float[np.ndarray, " T"]
    pressure: Float[np.ndarray, "V 5 T"]
    flow: Float[np.ndarray, "V 5 T"]
    area: Float[np.ndarray, "V 5 T"]
    velocity: Float[np.ndarray, "V 5 T"]
    cells: int
    steps: int
    cycles: int
    bound: float
    courant: float
    mass_balance: float
    status: int
    seconds: float


def solve_model(
    model: NetworkModel,
    *,
    dx_mm: float = 5.0,
    tolerance_mmHg: float = 0.05,
    samples: int = 500,
    max_cycles: int = 30,
    precision: str = "float64",
    engine: str = "kernel",
) -> NetworkSolution:
    """Solve one network to its periodic state.

    Arguments:
        model: The network.
        dx_mm: Longest cell [mm].
        tolerance_mmHg: Bound of the remaining error at which to stop [mmHg].
        samples: Samples of the period.
        max_cycles: Most periods.
        precision: `float64` or `float32`.
        engine: `kernel` (compiled) or `jax`.

    Returns:
        Waves of the last period.

    Raises:
        ValueError: An option is out of range.
        NetworkFailure: The simulation failed; the message names vessel and time.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> solve_model(load_network("common-carotid"), dx_mm=20.0, samples=50).cycles
        2
    """
    if precision not in ("float32", "float64"):
        raise ValueError(f"precision must be 'float32' or 'float64', got {precision!r}")
    begun = time.perf_counter()
    grid = make_grid(model, dx_mm=dx_mm)
    physics = Physics(*(a.astype(precision) for a in model_physics(model, grid)))
    probes = [Probe(v, share) for v in range(len(model.vessels)) for share in POSITIONS]
    settings = PeriodicSettings(tolerance_mmHg, max_cycles=max_cycles, n_samples=samples, engine=engine)
    found = solve_periodic(grid, physics, grid.interpolation(probes), settings)
    if found.failed_vessel[0] >= 0:
        name, moment = grid.names[found.failed_vessel[0]], float(found.failed_time[0])
        raise NetworkFailure(
            f"{model.name}: the waves in vessel {name!r} are not finite {moment:.3f} s into the period. "
            f"{ADVICE[int(found.status[0])]}"
        )
    return _as_solution(model, grid, found, begun)


def _as_solution(model: NetworkModel, grid: Grid, found: PeriodicSolution, begun: float) -> NetworkSolution:
    shape = (len(model.vessels), len(POSITIONS), -1)
    elastic, flow, viscous = (
        np.moveaxis(np.asarray(w[:, :, 0], np.float64), 0, -1).reshape(shape)
        for w in (found.waves.pressure, found.waves.flow, found.waves.viscous)
    )
    places = np.array(POSITIONS)
    rest = np.stack([np.pi * convert(v.radius_mm(places), "mm", "m") ** 2 for v in model.vessels])[..., None]
    beta = np.stack([convert(v.beta_kPa(places), "kPa", "Pa") for v in model.vessels])[..., None]
    external = convert(np.array([v.external_pressure_mmHg for v in model.vessels]), "mmHg", "Pa")
    area = rest * (1 + (elastic - external[:, None, None]) / beta) ** 2
    out = flow[grid.drains // 2, -1].sum(0)
    feed = flow[grid.root // 2, 0]
    return NetworkSolution(
        vessels=grid.names,
        time=np.linspace(0.0, model.inflow.period_s, flow.shape[-1]),
        pressure=(elastic + viscous) / PA_PER_MMHG,
        flow=convert(flow, "m^3/s", "mL/s"),
        area=convert(convert(area, "m", "cm"), "m", "cm"),
        velocity=convert(flow / area, "m/s", "cm/s"),
        cells=grid.n_cells,
        steps=int(found.steps[0]),
        cycles=int(found.cycles[0]),
        bound=float(found.bound[0]),
        courant=float(found.courant[0]),
        mass_balance=_balance(out, feed),
        status=int(found.status[0]),
        seconds=time.perf_counter() - begun,
    )


def _balance(out: Float[np.ndarray, " T"], feed: Float[np.ndarray, " T"]) -> float:
    """Mean outflow over mean inflow, less 1; over the mean size of the flow where little or nothing flows in."""
    scale = max(abs(float(np.trapezoid(feed))), 1e-3 * float(np.trapezoid(np.abs(feed))))
    missing = float(np.trapezoid(out) - np.trapezoid(feed))
    return missing / scale if scale > 0 else 0.0


def write_waves(solution: NetworkSolution, path: str | Path, *, name: str, dx_mm: float) -> None:
    """Write the waves as netCDF: dims vessel, position and time; P, Q, A and u with their units.

    Arguments:
        solution: The waves.
        path: The file; it is written whole or not at all.
        name: Name of the network.
        dx_mm: Longest cell [mm].

    Raises:
        OSError: The file cannot be written.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> solution = solve_model(load_network("common-carotid"), dx_mm=20.0, samples=50)
        >>> write_waves(solution, "waves.nc", name="cca", dx_mm=20.0)
        >>> import xarray
        >>> with xarray.open_dataset("waves.nc") as waves:
        ...     dict(waves.sizes), waves.P.units
        ({'vessel': 1, 'position': 5, 'time': 51}, 'mmHg')
    """
    import xarray

    dims = ("vessel", "position", "time")
    variables = {
        "P": (dims, solution.pressure, {"units": "mmHg", "long_name": "pressure"}),
        "Q": (dims, solution.flow, {"units": "mL/s", "long_name": "flow, positive from inlet to outlet"}),
        "A": (dims, solution.area, {"units": "cm2", "long_name": "lumen area"}),
        "u": (dims, solution.velocity, {"units": "cm/s", "long_name": "mean velocity"}),
    }
    coordinates = {
        "vessel": ("vessel", np.array(solution.vessels, dtype=object)),
        "position": ("position", np.array(POSITIONS), {"units": "1", "long_name": "share of the vessel's length"}),
        "time": ("time", solution.time, {"units": "s", "long_name": "time from the start of the last period"}),
    }
    attributes = {
        "title": f"{name}: one period of the non-linear one-dimensional equations", "network": name,
        "dx_mm": dx_mm, "cells": solution.cells, "steps": solution.steps, "cycles": solution.cycles,
        "remaining_error_bound_mmHg": solution.bound, "courant": solution.courant,
        "mass_balance": solution.mass_balance, "status": STATUS[solution.status],
    }  # fmt: skip
    data = xarray.Dataset(variables, coordinates, attributes)
    data["time"].encoding = {"dtype": "float64"}
    path = Path(path)
    partial = path.with_name(f".{path.name}.part")
    try:
        data.to_netcdf(partial, engine="h5netcdf")
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, "the waves cannot be written here", str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def is_converged(solution: NetworkSolution) -> bool:
    """Whether the bound of the remaining error met the tolerance.

    Arguments:
        solution: The waves.

    Returns:
        True if it did.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> is_converged(solve_model(load_network("common-carotid"), dx_mm=20.0, samples=50))
        True
    """
    return solution.status == OK
