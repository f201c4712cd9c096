r"""From a described network to the numbers on its grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....waveforms.units import convert
from ..model import NetworkModel, impedance
from .grid import Grid, Physics

__all__ = ["model_physics", "stack_physics"]

INFLOW_SAMPLES = 4096


def model_physics(model: NetworkModel, grid: Grid) -> Physics:
    """Numbers of one described network, a batch of one.

    Arguments:
        model: The network.
        grid: Its grid.

    Returns:
        The numbers, float64 NumPy arrays.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> from pulsebayes.simulators.network.nonlinear.grid import make_grid
        >>> model = load_network("common-carotid")
        >>> model_physics(model, make_grid(model, dx_mm=10.0)).area.shape
        (14, 1)
    """
    size = (grid.n_rows, 1)
    area, beta, face_area, face_beta, viscous = (np.zeros(size) for _ in range(5))
    for v, vessel in enumerate(model.vessels):
        rows = slice(grid.first[v], grid.last[v] + 1)
        n = int(grid.cells[v])
        for share, a, b in (
            (grid.share_of_row[rows], area, beta),
            (np.arange(n + 1) / n, face_area, face_beta),
        ):
            a[rows, 0] = np.pi * convert(vessel.radius_mm(share), "mm", "m") ** 2
            b[rows, 0] = convert(vessel.beta_kPa(share), "kPa", "Pa")
        viscous[rows, 0] = _wall_viscosity(vessel.wall_viscosity, face_area[rows, 0])
    vessels, outlets = model.vessels, model.outlets
    dx = convert(np.array([v.length_mm for v in vessels]), "mm", "m") / grid.cells
    external = convert(np.array([v.external_pressure_mmHg for v in vessels]), "mmHg", "Pa")
    friction = 2 * np.pi * (2 + np.array([v.profile for v in vessels])) * model.viscosity / model.density
    r1, r2 = (convert(np.array(r), "mmHg s/mL", "Pa s/m^3") for r in _resistances(model))
    phases = model.inflow.time_s[0] + model.inflow.period_s * np.arange(INFLOW_SAMPLES) / INFLOW_SAMPLES
    inflow = convert(model.inflow.at(phases), "mL/s", "m^3/s")
    return Physics(
        area, beta, face_area, face_beta, viscous, dx[:, None], external[:, None], friction[:, None],
        r1[:, None], r2[:, None],
        convert(np.array([o.compliance for o in outlets]), "mL/mmHg", "m^3/Pa")[:, None],
        convert(np.array([o.pressure_mmHg for o in outlets]), "mmHg", "Pa")[:, None],
        np.array([model.inflow.period_s]), inflow[:, None], 0 * inflow[:, None],
    )  # fmt: skip


def _wall_viscosity(constants: tuple[float, float], area: np.ndarray) -> np.ndarray:
    """Wall viscosity over area to the power 3/2 [Pa s/m2]; constants in g/s and g cm/s."""
    radius = np.sqrt(area / np.pi)
    gamma = 1e-3 * constants[0] + 1e-5 * constants[1] / (2 * radius)
    return np.asarray(gamma / area**1.5)


def _resistances(model: NetworkModel) -> tuple[list[float], list[float]]:
    """R1 and R2 of every outlet; an R1-C outlet puts the vessel's characteristic impedance before its compliance."""
    vessel_at = {v.outlet: v for v in model.vessels}
    series, behind = [], []
    for outlet in model.outlets:
        r1, r2 = outlet.r1, outlet.r2
        if outlet.kind == "R1-C":
            total = r1
            r1 = min(impedance(model, vessel_at[outlet.node]), 0.5 * total)
            r2 = total - r1
        series.append(r1)
        behind.append(r2)
    return series, behind


def stack_physics(physics: Sequence[Physics]) -> Physics:
    """Batches of the same grid as one.

    Arguments:
        physics: The batches.

    Returns:
        One batch.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> from pulsebayes.simulators.network.nonlinear.grid import make_grid
        >>> model = load_network("common-carotid")
        >>> one = model_physics(model, make_grid(model, dx_mm=10.0))
        >>> stack_physics([one, one]).period.shape
        (2,)
    """
    return Physics(*(np.concatenate(parts, axis=-1) for parts in zip(*physics, strict=True)))
