r"""A network of elastic vessels as data: vessels between named nodes, one inflow, a windkessel at every open end.

Wall: $P = P_{ext} + \beta(\sqrt{A/A_0} - 1)$ with $\beta = Eh/(R(1-\nu^2))$; the radius tapers linearly along a vessel,
and thickness, where none is given, follows $h = R(.2802\,e^{-505.3R} + .1324\,e^{-11.14R})$, $R$ in metres. Friction is
that of the velocity profile $u(r) \propto 1 - (r/R)^\zeta$. An outlet with $R_1$, $R_2$ and $C$ is a three-element
windkessel; with $R_1$ alone a resistance; with $R_1$ and $C$ a windkessel of total resistance $R_1$ behind the vessel's
characteristic impedance.

References:
    Boileau E. et al. (2015), Int J Numer Method Biomed Eng 31:e02732, https://doi.org/10.1002/cnm.2732 (equations,
    wall thickness); Alastruey J. et al. (2007), J Biomech 40:1794 (R-C outlets behind the characteristic impedance).
    Units: mm, kPa, mmHg, mL, s, as the field names say.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from ...waveforms.units import convert

__all__ = ["InflowWave", "NetworkModel", "Outlet", "Vessel", "find_faults", "impedance", "wall_thickness"]

POISSON_RATIO = 0.5
_THICKNESS = (0.2802, -0.5053, 0.1324, -0.01114)  # rates per mm (Boileau 2015, ADAN56)


def wall_thickness(radius_mm: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Wall thickness of an artery of a radius, where it was not measured.

    Arguments:
        radius_mm: Lumen radius [mm].

    Returns:
        Thickness [mm].

    Example:
        >>> round(float(wall_thickness(np.array(10.0))), 3)
        1.202
    """
    a, b, c, d = _THICKNESS
    thickness: Float[np.ndarray, "*shape"] = radius_mm * (a * np.exp(b * radius_mm) + c * np.exp(d * radius_mm))
    return thickness


def _check_finite(part: Vessel | Outlet) -> None:
    for field, value in vars(part).items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(number, str) or math.isfinite(number) for number in numbers):
            raise ValueError(f"{field} must be finite, got {value}")


@dataclasses.dataclass(frozen=True)
class Vessel:
    r"""A vessel from one node to another.

    Arguments:
        name: Its name, unique in the network.
        inlet: Node at its inlet.
        outlet: Node at its outlet.
        length_mm: Length [mm].
        inlet_radius_mm: Radius at the inlet at external pressure [mm].
        outlet_radius_mm: Radius at the outlet [mm]; it tapers linearly.
        young_kPa: Young's modulus [kPa]; 0 where the wall is given by `stiffness_kPa`.
        thickness_mm: Wall thickness [mm]; 0: `wall_thickness` of the local radius.
        stiffness_kPa: $k_1$ and $k_3$ of $Eh/R = k_1 e^{k_2 R} + k_3$ [kPa]; empty: from modulus and thickness.
        stiffness_rate_per_mm: $k_2$ [1/mm].
        profile: Exponent $\zeta$ of the velocity profile, 2 for Poiseuille flow.
        external_pressure_mmHg: Pressure outside, at which the vessel has its radii [mmHg].
        wall_viscosity: $b_0$ [g/s] and $b_1$ [g cm/s] of $\Gamma = b_0 + b_1/D$; zeros: an elastic wall.

    Raises:
        ValueError: If a size is not positive or a number not finite.

    Example:
        >>> Vessel("carotid", "1", "2", 126.0, 2.6485, 2.6485, young_kPa=700.0, thickness_mm=0.24).profile
        2.0
    """

    name: str
    inlet: str
    outlet: str
    length_mm: float
    inlet_radius_mm: float
    outlet_radius_mm: float
    young_kPa: float = 0.0
    thickness_mm: float = 0.0
    stiffness_kPa: tuple[float, ...] = ()
    stiffness_rate_per_mm: float = -1.35
    profile: float = 2.0
    external_pressure_mmHg: float = 0.0
    wall_viscosity: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for field in ("length_mm", "inlet_radius_mm", "outlet_radius_mm"):
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} must be positive, got {getattr(self, field)}")
        _check_finite(self)
        if (self.young_kPa > 0) == bool(self.stiffness_kPa):
            raise ValueError("the wall needs young_kPa or stiffness_kPa, one of the two and positive")
        if self.stiffness_kPa and len(self.stiffness_kPa) != 2:
            raise ValueError(f"stiffness_kPa must hold k1 and k3, got {len(self.stiffness_kPa)} numbers")
        if self.thickness_mm < 0:
            raise ValueError(f"thickness_mm must be positive, got {self.thickness_mm}")
        if self.profile < 1:
            raise ValueError(f"profile must be at least 1, got {self.profile}")
        if len(self.wall_viscosity) != 2 or min(self.wall_viscosity) < 0:
            raise ValueError(f"wall_viscosity must hold b0 and b1, not negative, got {list(self.wall_viscosity)}")
        if not self.beta_kPa(np.array([0.0, 1.0])).min() > 0:
            raise ValueError(f"stiffness_kPa must make the wall stiff everywhere, got {list(self.stiffness_kPa)}")

    def radius_mm(self, share: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Radius at shares of the length [mm].

        Arguments:
            share: Place along the vessel, 0 at the inlet, 1 at the outlet.

        Returns:
            Radius [mm].
        """
        return self.inlet_radius_mm + share * (self.outlet_radius_mm - self.inlet_radius_mm)

    def beta_kPa(self, share: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        r"""Stiffness $\beta = Eh/(R(1-\nu^2))$ at shares of the length [kPa].

        Arguments:
            share: Place along the vessel, 0 at the inlet, 1 at the outlet.

        Returns:
            Stiffness [kPa].
        """
        radius = self.radius_mm(share)
        if self.stiffness_kPa:
            modulus = self.stiffness_kPa[0] * np.exp(self.stiffness_rate_per_mm * radius) + self.stiffness_kPa[1]
        else:
            thickness = self.thickness_mm if self.thickness_mm > 0 else wall_thickness(radius)
            modulus = self.young_kPa * thickness / radius
        beta: Float[np.ndarray, " n"] = modulus / (1 - POISSON_RATIO**2)
        return beta


@dataclasses.dataclass(frozen=True)
class Outlet:
    r"""A windkessel at an open end.

    Arguments:
        node: The node, at the outlet of one vessel.
        r1: $R_1$ [mmHg s/mL].
        r2: $R_2$ [mmHg s/mL]; 0 where there is none.
        compliance: $C$ [mL/mmHg]; 0 where there is none.
        pressure_mmHg: Pressure it drains to [mmHg].

    Raises:
        ValueError: If the elements make no outlet.

    Example:
        >>> Outlet("2", r1=1.9, r2=14.0, compliance=0.023).kind
        'R1-C-R2'
    """

    node: str
    r1: float
    r2: float = 0.0
    compliance: float = 0.0
    pressure_mmHg: float = 0.0

    def __post_init__(self) -> None:
        _check_finite(self)
        if not (self.r1 >= 0 and self.r2 >= 0 and self.compliance >= 0 and self.r1 + self.r2 > 0):
            raise ValueError("r1, r2 and compliance must not be negative, and one resistance must be positive")
        if self.r2 > 0 and self.compliance == 0:
            raise ValueError("r2 needs a compliance beside it; two resistances in a row are one: give their sum as r1")

    @property
    def kind(self) -> str:
        """`R1-C-R2`, `R1-C` or `R1`."""
        return "R1-C-R2" if self.r2 > 0 else "R1-C" if self.compliance > 0 else "R1"


@dataclasses.dataclass(frozen=True, eq=False)
class InflowWave:
    """A periodic flow into a node, linear between its knots.

    Arguments:
        node: The node, at the inlet of one vessel.
        time_s: Times, rising; the last one less the first one is the period [s].
        flow_mL_s: Flow at each time [mL/s].

    Raises:
        ValueError: If times do not rise or the counts differ.

    Example:
        >>> wave = InflowWave("1", np.array([0.0, 0.5, 1.0]), np.array([0.0, 2.0, 0.0]))
        >>> wave.at(np.array([0.25, 1.25])).tolist(), wave.period_s
        ([1.0, 1.0], 1.0)
    """

    node: str
    time_s: Float[np.ndarray, " n"]
    flow_mL_s: Float[np.ndarray, " n"]

    def __post_init__(self) -> None:
        if self.time_s.ndim != 1 or self.time_s.shape != self.flow_mL_s.shape or len(self.time_s) < 2:
            raise ValueError(
                f"time_s and flow_mL_s must hold the same number of values, two or more, got {self.time_s.size} and "
                f"{self.flow_mL_s.size}"
            )
        if not (np.isfinite(self.time_s).all() and np.isfinite(self.flow_mL_s).all()):
            raise ValueError("time_s and flow_mL_s must be finite")
        late = np.flatnonzero(np.diff(self.time_s) <= 0)
        if len(late):
            raise ValueError(f"time_s must rise, but value {late[0] + 2} is {self.time_s[late[0] + 1]:g} s")

    @property
    def period_s(self) -> float:
        """Length of a cycle [s]."""
        return float(self.time_s[-1] - self.time_s[0])

    @property
    def jump(self) -> float:
        """How far the last value is from the first, as a share of the largest."""
        largest = float(np.abs(self.flow_mL_s).max())
        return float(abs(self.flow_mL_s[-1] - self.flow_mL_s[0])) / largest if largest > 0 else 0.0

    @property
    def mean_mL_s(self) -> float:
        """Mean flow over a cycle [mL/s]."""
        return float(np.trapezoid(self.flow_mL_s, self.time_s) / self.period_s)

    def at(self, time_s: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        """Flow at any times.

        Arguments:
            time_s: Times [s].

        Returns:
            Flow [mL/s].
        """
        phase = np.mod(time_s - self.time_s[0], self.period_s) + self.time_s[0]
        flow: Float[np.ndarray, " T"] = np.interp(phase, self.time_s, self.flow_mL_s)
        return flow


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkModel:
    r"""A network that can be solved.

    Arguments:
        name: Its name.
        vessels: The vessels.
        outlets: A windkessel for every open end.
        inflow: The flow into the root.
        density: Blood density [kg/m3].
        viscosity: Blood viscosity [Pa s].
        junction: What is continuous at forks: `total` pressure $P + \rho u^2/2$ or `static` pressure $P$. Where just
            two vessels meet it is total pressure.
        source: Where the numbers come from.

    Raises:
        ValueError: If names or nodes do not fit together: an end without an outlet, a part that is not connected.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> model = load_network("common-carotid")
        >>> len(model.vessels), model.outlets[0].kind
        (1, 'R1-C-R2')
    """

    name: str
    vessels: tuple[Vessel, ...]
    outlets: tuple[Outlet, ...]
    inflow: InflowWave
    density: float = 1060.0
    viscosity: float = 0.004
    junction: str = "total"
    source: str = ""

    def __post_init__(self) -> None:
        if self.junction not in ("total", "static"):
            raise ValueError(f"junction must be 'total' or 'static', got {self.junction!r}")
        if not 0 < self.density < math.inf:
            raise ValueError(f"density must be positive, got {self.density}")
        if not 0 <= self.viscosity < math.inf:
            raise ValueError(f"viscosity must not be negative, got {self.viscosity}")
        problem = next(iter(find_faults(self)), None)
        if problem is not None:
            raise ValueError(problem[2])

    @property
    def mean_pressure_mmHg(self) -> float:
        """Mean pressure of the network if vessels had no resistance: where a simulation may start [mmHg]."""
        conductance = np.array([1 / (o.r1 + o.r2) for o in self.outlets])
        drain = np.array([o.pressure_mmHg for o in self.outlets])
        return float((self.inflow.mean_mL_s + (conductance * drain).sum()) / conductance.sum())


def find_faults(model: NetworkModel) -> list[tuple[str, int, str]]:
    """Everything in a network that does not fit together.

    Arguments:
        model: The network.

    Returns:
        Table (`vessel`, `outlet` or `inflow`), number of the entry in it, and a sentence; empty if all is well.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> find_faults(load_network("common-carotid"))
        []
    """
    found: list[tuple[str, int, str]] = []
    starts: dict[str, list[int]] = {}
    ends: dict[str, list[int]] = {}
    seen: set[str] = set()
    for i, vessel in enumerate(model.vessels):
        starts.setdefault(vessel.inlet, []).append(i)
        ends.setdefault(vessel.outlet, []).append(i)
        if vessel.name in seen:
            found.append(("vessel", i, f"two vessels are named {vessel.name!r}: give each its own name"))
        if vessel.inlet == vessel.outlet:
            found.append(("vessel", i, f"vessel {vessel.name!r} starts and ends at node {vessel.inlet}"))
        seen.add(vessel.name)
    return found + _end_faults(model, starts, ends) + _reach_faults(model, starts, ends)


def _end_faults(
    model: NetworkModel, starts: dict[str, list[int]], ends: dict[str, list[int]]
) -> list[tuple[str, int, str]]:
    found: list[tuple[str, int, str]] = []
    root, drained = model.inflow.node, [outlet.node for outlet in model.outlets]
    if len(starts.get(root, [])) != 1 or root in ends:
        found.append(("inflow", 0, f"the inflow's node {root} must be the inlet of one vessel and the end of none"))
    for node, vessels in ends.items():
        if node not in starts and node not in drained and len(vessels) == 1:
            name = model.vessels[vessels[0]].name
            found.append(("vessel", vessels[0], f"vessel {name!r} ends at node {node}, which has no outlet: add one"))
    for node, vessels in starts.items():
        if node not in ends and node != root and len(vessels) == 1:
            name = model.vessels[vessels[0]].name
            text = f"vessel {name!r} starts at node {node}, which nothing else touches: it is not connected"
            found.append(("vessel", vessels[0], text))
    for i, node in enumerate(drained):
        if len(ends.get(node, [])) != 1 or node in starts:
            found.append(("outlet", i, f"the outlet's node {node} must be the end of one vessel and the inlet of none"))
        if node in drained[:i]:
            found.append(("outlet", i, f"node {node} has two outlets"))
    return found


def _reach_faults(
    model: NetworkModel, starts: dict[str, list[int]], ends: dict[str, list[int]]
) -> list[tuple[str, int, str]]:
    reached, waiting = {model.inflow.node}, [model.inflow.node]
    while waiting:
        node = waiting.pop()
        near = [model.vessels[i].outlet for i in starts.get(node, [])]
        near += [model.vessels[i].inlet for i in ends.get(node, [])]
        waiting += [n for n in near if n not in reached]
        reached.update(near)
    lost = [i for i, vessel in enumerate(model.vessels) if vessel.inlet not in reached]
    text = "vessel {!r} is not connected to the inflow's node {}"
    return [("vessel", i, text.format(model.vessels[i].name, model.inflow.node)) for i in lost]


def impedance(model: NetworkModel, vessel: Vessel) -> float:
    r"""Characteristic impedance $\rho c/A$ at the outlet of a vessel at external pressure.

    Arguments:
        model: The network, for the density.
        vessel: The vessel.

    Returns:
        Impedance [mmHg s/mL].

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> model = load_network("common-carotid")
        >>> 1.5 < impedance(model, model.vessels[0]) < 2.5
        True
    """
    end = np.ones(1)
    beta = 1e3 * float(vessel.beta_kPa(end)[0])
    area = math.pi * (1e-3 * vessel.outlet_radius_mm) ** 2
    return convert(math.sqrt(0.5 * model.density * beta) / area, "Pa s/m^3", "mmHg s/mL")
