r"""Named systems of the grammar: populations, epidemics, chemistry, oscillators, chaos, and the circulation.

The equations are textbook material, written by us from the authors named with each; constants are ordinary choices in
the units of the equations. Windkessels and the closed loop have mmHg, mL, s; their input is a flow from the heart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from .grammar import System
from .integration import Stepping, integrate
from .packed import pack

__all__ = ["LIBRARY", "NamedSystem", "simulate_named"]

_Array = np.ndarray


@dataclass(frozen=True)
class NamedSystem:
    r"""A system with constants, initial values and a horizon.

    Arguments:
        name: Name.
        family: population, epidemic, chemistry, oscillator, chaos or circulation.
        states: Names of the states.
        equations: Their right-hand sides.
        constants: Values of the constants.
        start: Initial values.
        other: Initial values of a second trajectory.
        horizon: Time the trajectories take, in the units of the equations.
        source: Who wrote it first, and when.
        inputs: Names of inputs.
        drive: How the input runs: sine, steps or heart.

    Example:
        >>> LIBRARY["windkessel"].system.skeleton()
        '1+1: C*x0 + C*u0'
    """

    name: str
    family: str
    states: tuple[str, ...]
    equations: tuple[str, ...]
    constants: Mapping[str, float]
    start: tuple[float, ...]
    other: tuple[float, ...]
    horizon: float
    source: str
    inputs: tuple[str, ...] = ()
    drive: str = ""

    @cached_property
    def system(self) -> System:
        r"""The system in the grammar."""
        return System.from_sympy(self.equations, self.states, inputs=self.inputs, constants=self.constants)

    def input_at(self, t: Float[_Array, "*n"]) -> Float[_Array, "*n U"]:
        r"""The input at times.

        Arguments:
            t: Times.
        """
        if not self.inputs:
            return np.zeros((*np.shape(t), 0))
        s = np.asarray(t) / self.horizon
        if self.drive == "heart":
            phase = np.mod(np.asarray(t), 0.85)
            return np.where(phase < 0.3, 360.0 * np.sin(np.pi * phase / 0.3), 0.0)[..., None]
        if self.drive == "steps":
            return (1.0 + 0.8 * np.tanh(30 * np.sin(6 * np.pi * s)))[..., None]
        return (1.0 + 0.6 * np.sin(8 * np.pi * s) + 0.3 * np.sin(22 * np.pi * s))[..., None]


def _rows() -> tuple[NamedSystem, ...]:
    n = NamedSystem
    xy, xyz = ("x", "y"), ("x", "y", "z")
    driven = {"inputs": ("u",), "drive": "sine"}
    heart = {"inputs": ("q",), "drive": "heart"}
    population = (
        n(
            "logistic",
            "population",
            ("n",),
            ("r*n*(1 - n/K)",),
            {"r": 0.9, "K": 8.0},
            (0.4,),
            (12.0,),
            10.0,
            "Verhulst 1838",
        ),
        n(
            "theta-logistic",
            "population",
            ("n",),
            ("r*n - c*n**2.5",),
            {"r": 0.8, "c": 0.1},
            (0.3,),
            (5.0,),
            10.0,
            "Gilpin and Ayala 1973",
        ),
        n(
            "allee",
            "population",
            ("n",),
            ("r*n*(n/A - 1)*(1 - n/K)",),
            {"r": 0.4, "A": 1.0, "K": 6.0},
            (1.3,),
            (9.0,),
            10.0,
            "Allee 1931",
        ),
        n(
            "harvest",
            "population",
            ("n",),
            ("r*n*(1 - n/K) - h*n/(1 + n/s)",),
            {"r": 1.1, "K": 9.0, "h": 0.7, "s": 2.0},
            (0.5,),
            (11.0,),
            10.0,
            "Holling 1959, type II",
        ),
        n(
            "gompertz",
            "population",
            ("n",),
            ("-r*n*log(n/K)",),
            {"r": 0.5, "K": 7.0},
            (0.3,),
            (10.0,),
            10.0,
            "Gompertz 1825",
        ),
        n(
            "lotka-volterra",
            "population",
            ("h", "p"),
            ("a*h - b*h*p", "d*h*p - m*p"),
            {"a": 1.1, "b": 0.5, "d": 0.3, "m": 0.8},
            (4.0, 2.0),
            (1.0, 1.0),
            12.0,
            "Lotka 1925, Volterra 1926",
        ),
        n(
            "rosenzweig-macarthur",
            "population",
            ("h", "p"),
            ("r*h*(1 - h/K) - a*h*p/(1 + b*h)", "e*a*h*p/(1 + b*h) - m*p"),
            {"r": 1.2, "K": 6.0, "a": 1.0, "b": 0.4, "e": 0.6, "m": 0.5},
            (2.0, 1.0),
            (5.0, 0.4),
            20.0,
            "Rosenzweig and MacArthur 1963",
        ),
        n(
            "food-chain",
            "population",
            xyz,
            ("x*(1 - x) - a*x*y/(1 + b*x)", "a*x*y/(1 + b*x) - c*y*z/(1 + d*y) - m*y", "c*y*z/(1 + d*y) - k*z"),
            {"a": 5.0, "b": 3.0, "c": 0.1, "d": 2.0, "m": 0.4, "k": 0.01},
            (0.7, 0.2, 8.0),
            (0.9, 0.1, 9.0),
            40.0,
            "Hastings and Powell 1991",
        ),
    )
    epidemic = (
        n(
            "sir",
            "epidemic",
            ("s", "i", "r"),
            ("-b*s*i", "b*s*i - g*i", "g*i"),
            {"b": 1.4, "g": 0.4},
            (0.95, 0.05, 0.0),
            (0.7, 0.2, 0.1),
            15.0,
            "Kermack and McKendrick 1927",
        ),
        n(
            "seir",
            "epidemic",
            ("s", "e", "i", "r"),
            ("-b*s*i", "b*s*i - k*e", "k*e - g*i", "g*i"),
            {"b": 1.8, "k": 0.7, "g": 0.35},
            (0.93, 0.05, 0.02, 0.0),
            (0.7, 0.1, 0.15, 0.05),
            20.0,
            "Anderson and May 1991",
        ),
        n(
            "sirs",
            "epidemic",
            ("s", "i"),
            ("w*(1 - s - i) - b*s*i", "b*s*i - g*i"),
            {"b": 2.0, "g": 0.5, "w": 0.15},
            (0.9, 0.1),
            (0.3, 0.4),
            25.0,
            "Hethcote 1976",
        ),
        n(
            "saturated-incidence",
            "epidemic",
            ("s", "i"),
            ("m - m*s - b*s*i/(1 + a*i)", "b*s*i/(1 + a*i) - g*i"),
            {"m": 0.1, "b": 2.5, "a": 3.0, "g": 0.5},
            (0.9, 0.1),
            (0.4, 0.5),
            20.0,
            "Capasso and Serio 1978",
        ),
    )
    chemistry = (
        n(
            "michaelis-menten",
            "chemistry",
            ("s",),
            ("-v*s/(k + s)",),
            {"v": 1.2, "k": 0.8},
            (4.0,),
            (7.0,),
            10.0,
            "Michaelis and Menten 1913",
        ),
        n(
            "substrate-inhibition",
            "chemistry",
            ("s",),
            ("f - v*s/(k + s + s**2/i)",),
            {"f": 0.3, "v": 1.5, "k": 0.6, "i": 2.0},
            (3.0,),
            (0.1,),
            12.0,
            "Haldane 1930",
        ),
        n(
            "gene-switch",
            "chemistry",
            ("g",),
            ("a + b*g**2/(1 + g**2) - d*g",),
            {"a": 0.05, "b": 1.6, "d": 0.7},
            (0.2,),
            (2.5,),
            14.0,
            "Griffith 1968",
        ),
        n(
            "toggle-switch",
            "chemistry",
            xy,
            ("a/(1 + y**2) - x", "b/(1 + x**3) - y"),
            {"a": 3.0, "b": 2.5},
            (1.2, 1.0),
            (0.1, 2.5),
            10.0,
            "Gardner et al. 2000",
        ),
        n(
            "goodwin",
            "chemistry",
            xyz,
            ("a/(1 + z**4) - x", "x - b*y", "y - c*z"),
            {"a": 6.0, "b": 0.6, "c": 0.5},
            (0.2, 0.5, 1.0),
            (2.0, 1.0, 0.2),
            20.0,
            "Goodwin 1965",
        ),
        n(
            "oregonator-2",
            "chemistry",
            xy,
            ("a*(x - x**2 - f*y*(x - q)/(x + q))", "x - y"),
            {"a": 4.0, "f": 0.8, "q": 0.05},
            (0.4, 0.2),
            (0.1, 0.5),
            15.0,
            "Tyson and Fife 1980",
        ),
        n(
            "chemostat",
            "chemistry",
            ("b", "s"),
            ("v*b*s/(k + s) - d*b", "d*(f - s) - v*b*s/(k + s)"),
            {"v": 1.3, "k": 0.7, "d": 0.4, "f": 3.0},
            (0.1, 3.0),
            (2.0, 0.5),
            15.0,
            "Monod 1950",
        ),
    )
    oscillator = (
        n(
            "damped-duffing",
            "oscillator",
            ("x", "v"),
            ("v", "-d*v - a*x - b*x**3"),
            {"d": 0.2, "a": -1.0, "b": 1.0},
            (0.3, 0.0),
            (1.8, 0.5),
            15.0,
            "Duffing 1918",
        ),
        n(
            "van-der-pol",
            "oscillator",
            ("x", "v"),
            ("v", "m*(1 - x**2)*v - x"),
            {"m": 1.3},
            (0.4, 0.0),
            (2.5, -1.0),
            15.0,
            "van der Pol 1926",
        ),
        n(
            "pendulum-drag",
            "oscillator",
            ("a", "w"),
            ("w", "-k*sin(a) - d*w*abs(w)"),
            {"k": 1.5, "d": 0.2},
            (1.5, 0.0),
            (0.3, 2.0),
            15.0,
            "Newton 1687, quadratic drag",
        ),
        n(
            "fitzhugh-nagumo",
            "oscillator",
            ("v", "w"),
            ("v - v**3/3 - w + i", "e*(v + a - b*w)"),
            {"i": 0.5, "e": 0.2, "a": 0.7, "b": 0.8},
            (-1.0, 0.5),
            (1.5, 1.0),
            40.0,
            "FitzHugh 1961",
        ),
        n(
            "stuart-landau",
            "oscillator",
            xy,
            ("m*x - w*y - x*(x**2 + y**2)", "w*x + m*y - y*(x**2 + y**2)"),
            {"m": 0.6, "w": 1.8},
            (0.1, 0.0),
            (1.5, 1.0),
            12.0,
            "Stuart 1960",
        ),
        n(
            "morris-lecar-2",
            "oscillator",
            ("v", "w"),
            ("i - g*v - 2*w*(v + 0.7) + 2/(1 + exp(-4*v))", "0.4/(1 + exp(-3*v)) - 0.4*w"),
            {"i": 0.1, "g": 0.6},
            (0.1, 0.1),
            (0.8, 0.5),
            25.0,
            "after Morris and Lecar 1981",
        ),
        n(
            "driven-duffing",
            "oscillator",
            ("x", "v"),
            ("v", "u - d*v - x - b*x**3"),
            {"d": 0.3, "b": 0.6},
            (0.5, 0.0),
            (-1.0, 0.5),
            15.0,
            "Duffing 1918",
            **driven,
        ),
        n(
            "driven-relaxation",
            "oscillator",
            ("x",),
            ("u - x/(1 + x)",),
            {},
            (0.5,),
            (3.0,),
            12.0,
            "a leaky store with saturating outflow",
            **driven,
        ),
    )
    chaos = (
        n(
            "lorenz",
            "chaos",
            xyz,
            ("s*(y - x)", "x*(r - z) - y", "x*y - b*z"),
            {"s": 10.0, "r": 28.0, "b": 8 / 3},
            (1.0, 1.0, 20.0),
            (-5.0, -6.0, 22.0),
            4.0,
            "Lorenz 1963",
        ),
        n(
            "roessler",
            "chaos",
            xyz,
            ("-y - z", "x + a*y", "b + z*(x - c)"),
            {"a": 0.2, "b": 0.2, "c": 5.7},
            (4.0, 1.0, 0.1),
            (-3.0, 4.0, 0.1),
            25.0,
            "Roessler 1976",
        ),
        n(
            "sprott-b",
            "chaos",
            xyz,
            ("y*z", "x - y", "1 - x*y"),
            {},
            (0.5, 0.4, 0.2),
            (1.2, -0.5, 1.0),
            20.0,
            "Sprott 1994",
        ),
        n(
            "halvorsen",
            "chaos",
            xyz,
            ("-a*x - 4*y - 4*z - y**2", "-a*y - 4*z - 4*x - z**2", "-a*z - 4*x - 4*y - x**2"),
            {"a": 1.4},
            (-1.5, -2.0, 0.5),
            (-3.0, 0.5, -1.0),
            6.0,
            "Sprott 2003",
        ),
        n(
            "thomas",
            "chaos",
            xyz,
            ("sin(y) - b*x", "sin(z) - b*y", "sin(x) - b*z"),
            {"b": 0.2},
            (1.0, 0.2, 2.0),
            (-1.0, 2.0, 0.5),
            40.0,
            "Thomas 1999",
        ),
    )
    circulation = (
        n(
            "windkessel",
            "circulation",
            ("p",),
            ("q/C - p/(R*C)",),
            {"R": 1.0, "C": 1.3},
            (80.0,),
            (110.0,),
            5.1,
            "Frank 1899",
            **heart,
        ),
        n(
            "windkessel-venous",
            "circulation",
            ("p",),
            ("q/C - (p - v)/(R*C)",),
            {"R": 1.1, "C": 1.2, "v": 8.0},
            (80.0,),
            (120.0,),
            5.1,
            "Frank 1899, with venous pressure",
            **heart,
        ),
        n(
            "windkessel-pressure-compliance",
            "circulation",
            ("p",),
            ("(1 + p/k)*(q/C - p/(R*C))",),
            {"R": 1.0, "C": 2.0, "k": 90.0},
            (80.0,),
            (110.0,),
            5.1,
            "a compliance that falls with pressure",
            **heart,
        ),
        n(
            "windkessel-inertance",
            "circulation",
            ("p", "f"),
            ("(q - f)/C", "(p - R*f)/L"),
            {"R": 1.0, "C": 1.0, "L": 0.05},
            (80.0, 80.0),
            (110.0, 60.0),
            3.4,
            "Landes 1943",
            **heart,
        ),
        n(
            "closed-loop",
            "circulation",
            ("a", "v"),
            ("q/C - (a - v)/(R*C)", "(a - v)/(R*K) - q/K"),
            {"R": 1.0, "C": 1.5, "K": 30.0},
            (80.0, 6.0),
            (100.0, 8.0),
            5.1,
            "two compartments in a closed loop",
            **heart,
        ),
        n(
            "baroreflex",
            "circulation",
            ("a", "h"),
            ("70*h/C - a/(R*C)", "k/(1 + exp(0.08*a - 7)) - d*h"),
            {"R": 1.0, "C": 1.5, "k": 1.0, "d": 0.4},
            (70.0, 1.0),
            (130.0, 1.4),
            15.0,
            "a windkessel whose heart rate falls with pressure",
        ),
    )
    return (*population, *epidemic, *chemistry, *oscillator, *chaos, *circulation)


LIBRARY: dict[str, NamedSystem] = {row.name: row for row in _rows()}


def simulate_named(name: str, *, n_points: int = 256, other: bool = False) -> tuple[_Array, _Array, _Array]:
    r"""Integrates a named system.

    Arguments:
        name: Its name in `LIBRARY`.
        n_points: Points of the trajectory, at even times.
        other: Whether to start at the second initial values.

    Returns:
        Times (n_points,), states (n_points, D) and inputs (n_points, U).

    Raises:
        ValueError: If there is no such system, or the integration fails its own check.

    Example:
        >>> t, x, u = simulate_named("windkessel", n_points=64)
        >>> x.shape, u.shape, bool(40 < x.min() < x.max() < 200)
        ((64, 1), (64, 1), True)
    """
    if name not in LIBRARY:
        raise ValueError(f"name must be one of {sorted(LIBRARY)}, got {name!r}")
    row = LIBRARY[name]
    step = -(-1024 // (n_points - 1))
    stepping = Stepping(row.horizon, step * (n_points - 1), bound=1e6, tolerance=1e-3)
    start = np.array(row.other if other else row.start)[None, None]
    u = row.input_at(stepping.input_times)[None, None]
    solution = integrate(pack([row.system]), start, stepping, u=u if row.inputs else None)
    if not solution.ok.all():
        raise ValueError(f"{name} fails its step-halving check: difference {solution.difference.max():.1e}")
    t = stepping.times[::step]
    return t, np.asarray(solution.x[0, 0, ::step], dtype=np.float64), row.input_at(t)
