r"""An arterial network solved a second time: nodal matrices in NumPy complex128, written without the library's solver.

Only the tables (segments, beds) and the fields of a subject are shared. Every segment becomes a product of two-ports,
the two-ports a full nodal admittance matrix, and `numpy.linalg.solve` its pressures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

RHO = 1060.0  # [kg/m3]
PA = 133.322  # [Pa/mmHg]
UNIT = PA * 1e6  # Pa s/m3 in one mmHg s/mL
SITES = {
    "AorticRoot": (1, 0.0),
    "Carotid": (15, 0.5),
    "Brachial": (21, 0.75),
    "Radial": (22, 1.0),
    "Femoral": (46, 0.5),
}


@pytest.fixture
def float64() -> Iterator[None]:
    r"""Double precision for one test; caches are cleared because JAX mixes the index types of both."""
    jax.clear_caches()
    with jax.enable_x64(True):
        yield
    jax.clear_caches()


def radii(subject: Any, row: int, network: Any) -> tuple[np.ndarray, np.ndarray]:
    r"""Radii [m] of one adult: large arteries widen, and the inlets of what leaves them."""
    d, r = float(subject.diameter_factor[row]), float(subject.radius_factor[row])
    inlet, outlet = network.inlet_radius.astype(float).copy(), network.outlet_radius.astype(float).copy()
    large = [s for s in range(116) if (inlet[s] + outlet[s]) / 2 >= 4.240]
    fed = {s for s in range(116) for t in large if network.inlet[s] == network.outlet[t]}
    for s in range(116):
        inlet[s] *= d if s in fed or s in large else 1.0
        outlet[s] *= d if s in large else 1.0
    return inlet * r * 1e-3, outlet * r * 1e-3


def line(omega: np.ndarray, radius: float, adult: dict[str, float], viscous: bool) -> tuple[np.ndarray, np.ndarray]:
    r"""Series impedance [Pa s/m4] and shunt admittance [m2/Pa/s] per metre of a tube of one radius."""
    area = np.pi * radius**2
    stiffness = 0.1 * (adult["k1"] * np.exp(-13.5 * 100 * radius) + adult["k3"])  # Eh/R [Pa]
    speed2 = 2.0 / 3.0 * stiffness / RHO
    compliance = area / (RHO * speed2)
    gamma = adult["viscous"] * (150.0 / (200.0 * radius) + 600.0) / 1000.0 if viscous else 0.0
    z = 8 * np.pi * adult["mu"] / area**2 + 1j * omega * RHO / area
    y = 1j * omega * compliance / (1 + 1j * omega * compliance * gamma / area**1.5)
    return z, y


def magnus(h: float, first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    r"""Two-port (F, 2, 2) of an element from its impedances at the two Gauss points, with exact cosh and sinh."""
    (z1, y1), (z2, y2) = first, second
    z, y = h * (z1 + z2) / 2, h * (y1 + y2) / 2
    e = np.sqrt(3) / 12 * h * h * (z1 * y2 - z2 * y1)
    s = np.sqrt(e * e + z * y + 0j)
    small = np.abs(s) < 1e-6
    ratio = np.where(small, 1 + s * s / 6, np.sinh(s) / np.where(small, 1.0, s))
    matrix = np.array([[e, z], [y, -e]]).transpose(2, 0, 1) * ratio[:, None, None]
    return matrix + np.cosh(s)[:, None, None] * np.eye(2)


def tube(
    omega: np.ndarray, length: float, ends: tuple[float, float], adult: dict[str, float], n: int, viscous: bool
) -> np.ndarray:
    r"""Two-port (F, 2, 2) of a tapering tube of `n` equal elements, SI units."""
    total = np.broadcast_to(np.eye(2, dtype=complex), (len(omega), 2, 2))
    h = length / n
    for k in range(n):
        places = ((k + 0.5 + sign * np.sqrt(3) / 6) / n for sign in (-1, 1))
        points = [line(omega, ends[0] * (1 - x) + ends[1] * x, adult, viscous) for x in places]
        total = total @ magnus(h, *points)
    return total


def one_adult(subject: Any, row: int) -> dict[str, float]:
    fields = {"k1": "k1", "k3": "k3", "mu": "blood_viscosity", "viscous": "wall_viscosity_factor"}
    return {name: float(getattr(subject, field)[row]) for name, field in fields.items()}


def windkessels(subject: Any, row: int, network: Any, beds: Any) -> list[tuple[int, float, float, float]]:
    r"""Node, R1, R2 [mmHg s/mL] and C [mL/mmHg] of each outlet, bed by bed as published."""
    adult, (_, distal) = one_adult(subject, row), radii(subject, row, network)
    value = {f: float(getattr(subject, f)[row]) for f in subject._fields}
    rows = []
    for s in range(116):
        name = network.bed[s]
        if not name:
            continue
        same = [t for t in range(116) if network.bed[t] == name]
        share = distal[s] ** 2 / sum(distal[t] ** 2 for t in same)
        arm = name.endswith("arm")
        z, y = line(np.array([1.0]), distal[s], adult | {"mu": 0.0}, False)
        z0 = float(np.sqrt((z / y).real[0])) / UNIT
        bed = beds[name].resistance * (value["arm_resistance_factor"] if arm else 1.0) / share
        c = beds[name].compliance * share * value["compliance_factor"] * (value["arm_compliance_factor"] if arm else 1)
        rows.append([int(network.outlet[s]), z0, z0 + bed, c])
    parallel = 1 / sum(1 / r[2] for r in rows)
    outlets = []
    for node, z0, total, c in rows:
        total = total * value["resistance"] / parallel
        healthy = value["terminal_impedance_factor"] == 1 and total >= z0
        r1 = z0 if healthy else min(value["terminal_impedance_factor"] * z0, total / 2)
        outlets.append((node, r1, total - r1, c))
    return outlets


def nodal_matrix(
    subject: Any, row: int, omega: np.ndarray, element_mm: float, sites: Sequence[str], refine: int = 1
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    r"""Nodal admittance matrices (F, N, N) [mL/s/mmHg], the current of unit outflow pressure (F, N), site nodes."""
    from pulsebayes.simulators.network.geometry import adult_network, vascular_beds

    network, adult = adult_network(), one_adult(subject, row)
    inlet, outlet = radii(subject, row, network)
    aortic = float(subject.aortic_length_factor[row])
    interior = {s: f for s, f in (SITES[name] for name in sites) if 0 < f < 1}
    node_of = {s: 109 + i for i, s in enumerate(interior)}
    matrix = np.zeros((len(omega), 109 + len(interior), 109 + len(interior)), complex)
    for s in range(116):
        length = 1e-3 * network.length[s] * float(subject.length_factor[row]) * (aortic if s < 2 else 1.0)
        cut = interior.get(s + 1, 1.0)
        spans = [(0.0, cut)] if cut == 1.0 else [(0.0, cut), (cut, 1.0)]
        taper = abs(network.inlet_radius[s] - network.outlet_radius[s]) / network.mean_radius[s]
        nodes = [network.inlet[s], *([node_of[s + 1]] if cut < 1 else []), network.outlet[s]]
        for (a, b), i, j in zip(spans, nodes, nodes[1:], strict=False):
            n = refine * max(
                int(np.ceil((b - a) * network.length[s] / element_mm)), int(np.ceil((b - a) * taper / 0.2))
            )
            ends = inlet[s] * (1 - a) + outlet[s] * a, inlet[s] * (1 - b) + outlet[s] * b
            port = tube(omega, length * (b - a), ends, adult, max(n, 1), network.length[s] > 11.0)
            away = 1 / (port[:, 0, 1] / UNIT)
            matrix[:, i, i] += port[:, 1, 1] * away
            matrix[:, j, j] += port[:, 0, 0] * away
            matrix[:, i, j] -= away * (port[:, 0, 0] * port[:, 1, 1] - port[:, 0, 1] * port[:, 1, 0])
            matrix[:, j, i] -= away
    drain = np.zeros(matrix.shape[:2], complex)
    for node, r1, r2, c in windkessels(subject, row, network, vascular_beds()):
        bed = r2 / (1 + 1j * omega * r2 * c)
        matrix[:, node, node] += 1 / (r1 + bed)
        drain[:, node] += bed / r2 / (r1 + bed)
    places = [SITES[name] for name in sites]
    found = [node_of[s] if 0 < f < 1 else int((network.inlet if f == 0 else network.outlet)[s - 1]) for s, f in places]
    return matrix, drain, found


def dense_solution(
    subject: Any,
    row: int,
    omega: np.ndarray,
    flow: np.ndarray,
    drain: np.ndarray,
    *,
    sites: Sequence[str] = tuple(SITES),
    element_mm: float = 50.0,
    refine: int = 1,
) -> np.ndarray:
    r"""Pressure coefficients (K, F) [mmHg] at sites for aortic flow [mL/s] and outflow pressure [mmHg] coefficients."""
    matrix, share, nodes = nodal_matrix(subject, row, omega, element_mm, sites, refine)
    current = share * drain[:, None]
    current[:, 0] += flow
    return np.linalg.solve(matrix, current[..., None])[:, nodes, 0].T


@pytest.fixture(scope="session")
def dense() -> SimpleNamespace:
    r"""The second solver, as functions."""
    return SimpleNamespace(solve=dense_solution, matrix=nodal_matrix, outlets=windkessels, line=line, tube=tube)
