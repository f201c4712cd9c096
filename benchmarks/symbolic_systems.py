# ruff: noqa: E501
r"""Systems of our own for the benchmark `symbolic`: one list to develop on, one that nothing was tuned on.

Every system has a name, right-hand sides in x0, x1, ... (and the input u0), and two starts, written for this project. The inputs are functions of time, observed without noise, and different for the two starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

END = 10.0
N_POINTS = 512


@dataclass(frozen=True)
class Named:
    """A system: name, right-hand sides, two starts, and the kind of its input (empty: none)."""

    name: str
    equations: tuple[str, ...]
    starts: tuple[tuple[float, ...], tuple[float, ...]]
    drive: str = ""


DEVELOPMENT = (
    Named("newton cooling", ("0.45*(21 - x0)",), ((80.0,), (5.0,))),
    Named("von bertalanffy", ("1.2*x0**(2/3) - 0.3*x0",), ((1.0,), (20.0,))),
    Named("theta logistic", ("0.9*x0*(1 - (x0/6)**2)",), ((0.4,), (9.0,))),
    Named("michaelis-menten decay", ("-1.3*x0/(0.8 + x0)",), ((6.0,), (2.5,))),
    Named("strong allee", ("0.6*x0*(x0 - 1)*(1 - x0/5)",), ((1.4,), (7.0,))),
    Named("schlogl", ("-x0**3 + 2.5*x0**2 - 1.6*x0 + 0.25",), ((0.1,), (2.4,))),
    Named("hill switch", ("0.1 + 2*x0**2/(1.5 + x0**2) - x0",), ((0.05,), (3.0,))),
    Named("overdamped pendulum", ("0.7 - 1.1*sin(x0)",), ((-1.0,), (2.0,))),
    Named("radiative cooling", ("1.5 - 0.02*x0**4",), ((4.0,), (0.5,))),
    Named("rosenzweig-macarthur", ("1.4*x0*(1 - x0/6) - 1.6*x0*x1/(1.2 + x0)", "0.9*x0*x1/(1.2 + x0) - 0.4*x1"),
          ((2.0, 1.0), (4.5, 0.4))),
    Named("predator-prey logistic", ("1.1*x0 - 0.12*x0**2 - 0.8*x0*x1", "-0.9*x1 + 0.5*x0*x1"), ((3.0, 1.0), (1.0, 2.5))),
    Named("fitzhugh-nagumo", ("x0 - x0**3/3 - x1 + 0.5", "0.3*(x0 + 0.7 - 0.8*x1)"), ((-1.0, 0.5), (1.5, -0.4))),
    Named("hard duffing", ("x1", "-0.2*x1 - x0 - 0.6*x0**3"), ((1.5, 0.0), (0.3, 1.8))),
    Named("rayleigh", ("x1", "-x0 + 0.8*x1 - 0.3*x1**3"), ((0.3, 0.1), (2.5, -1.0))),
    Named("pendulum with torque", ("x1", "0.4 - 0.3*x1 - 2.2*sin(x0)"), ((0.2, 0.0), (-1.6, 1.0))),
    Named("chemostat", ("0.5*(4 - x0) - 1.5*x0*x1/(0.7 + x0)", "1.1*x0*x1/(0.7 + x0) - 0.5*x1"), ((3.5, 0.3), (1.0, 2.0))),
    Named("sir with births", ("0.3 - 0.9*x0*x1 - 0.1*x0", "0.9*x0*x1 - 0.6*x1"), ((2.5, 0.1), (1.0, 1.0))),
    Named("toggle", ("3/(1 + x1**2) - x0", "2.5/(1 + x0**2) - x1"), ((0.5, 1.5), (2.0, 0.3))),
    Named("rotor", ("x0*(1 - x0**2 - x1**2) - 2*x1", "2*x0 + x1*(1 - x0**2 - x1**2)"), ((0.2, 0.1), (-1.6, 0.9))),
    Named("kinetic chain", ("-0.8*x0", "0.8*x0 - 0.5*x1", "0.5*x1 - 0.2*x2"), ((5.0, 0.0, 0.0), (1.0, 3.0, 2.0))),
    Named("three species", ("x0*(1.2 - 0.4*x0 - 0.7*x1)", "x1*(0.5*x0 - 0.3 - 0.6*x2)", "x2*(0.4*x1 - 0.2)"),
          ((2.0, 1.0, 0.5), (0.8, 0.6, 1.2))),
    Named("euler rigid body", ("-0.9*x1*x2", "1.3*x0*x2", "-0.5*x0*x1"), ((1.0, 0.4, 1.2), (0.3, 1.5, -0.8))),
    Named("lorenz 84", ("-x1**2 - x2**2 - 0.25*x0 + 2", "x0*x1 - 4*x0*x2 - x1 + 1", "4*x0*x1 + x0*x2 - x2"),
          ((0.8, 0.3, -0.2), (1.4, -0.5, 0.6))),
    Named("thomas", ("sin(x1) - 0.2*x0", "sin(x2) - 0.2*x1", "sin(x0) - 0.2*x2"), ((1.0, 0.2, -0.5), (-1.2, 2.0, 0.4))),
    Named("coupled springs", ("x1", "-2*x0 + 0.7*x2", "x3", "0.7*x0 - 1.5*x2 - 0.1*x3"),
          ((1.0, 0.0, -0.4, 0.2), (0.0, 1.2, 0.8, 0.0))),
    Named("driven leak", ("-0.6*x0 + 1.4*u0",), ((1.0,), (4.0,)), "sines"),
)  # fmt: skip

UNSEEN = (
    Named("monod death", ("1.8*x0/(1.5 + x0) - 0.2*x0**2",), ((0.2,), (5.0,))),
    Named("weak allee", ("0.7*x0**2*(1 - x0/4)",), ((0.5,), (6.0,))),
    Named("quadratic harvest", ("1.5*x0*(1 - x0/9) - 2*x0**2/(3 + x0**2)",), ((0.6,), (11.0,))),
    Named("two-element windkessel", ("0.7*u0 - 0.8*x0",), ((1.5,), (3.0,)), "pulse"),
    Named("driven saturation", ("1.2*u0 - 1.5*x0/(1 + x0)",), ((0.3,), (2.0,)), "sines"),
    Named("driven cubic", ("u0 - 0.4*x0**3",), ((0.5,), (-1.5,)), "sines"),
    Named("holling ii with mortality", ("0.9*x0*(1 - x0/8) - 1.2*x0*x1/(2 + x0)", "0.8*x0*x1/(2 + x0) - 0.15*x1**2"),
          ((5.0, 0.5), (1.0, 2.0))),
    Named("holling iii", ("1.3*x0*(1 - x0/5) - 1.5*x0**2*x1/(1 + x0**2)", "0.7*x0**2*x1/(1 + x0**2) - 0.35*x1"),
          ((1.0, 1.0), (3.5, 0.3))),
    Named("ratio dependence", ("x0*(1 - x0/3) - 0.8*x0*x1/(x0 + x1)", "0.6*x0*x1/(x0 + x1) - 0.25*x1"),
          ((2.0, 0.5), (0.7, 1.5))),
    Named("substrate inhibition", ("0.4*(5 - x0) - 2*x0*x1/(1 + x0 + 0.5*x0**2)",
          "1.6*x0*x1/(1 + x0 + 0.5*x0**2) - 0.4*x1"), ((1.0, 0.8), (4.0, 0.2))),
    Named("activator-inhibitor", ("0.2 + x0**2/(0.5 + x1) - x0", "x0**2 - 0.8*x1"), ((0.6, 0.4), (1.5, 2.0))),
    Named("negative feedback", ("2.4/(1 + x1**2) - 0.6*x0", "0.9*x0 - 0.5*x1"), ((0.2, 0.1), (3.0, 2.5))),
    Named("three-element windkessel", ("1.1*u0 - 0.5*x0 + 0.2*x1", "0.4*x0 - 0.9*x1"), ((1.0, 0.5), (2.5, 1.5)), "pulse"),
    Named("driven oscillator", ("x1", "-1.8*x0 - 0.3*x1 + 0.9*u0"), ((1.0, 0.0), (-0.5, 1.2)), "sines"),
    Named("driven duffing", ("x1", "x0 - x0**3 - 0.25*x1 + 0.4*u0"), ((0.5, 0.0), (1.5, -0.5)), "sines"),
    Named("driven pendulum", ("x1", "-1.5*sin(x0) - 0.4*x1 + 0.7*u0"), ((0.4, 0.0), (-1.8, 0.5)), "sines"),
    Named("driven epidemic", ("0.5*u0 - 0.8*x0*x1", "0.8*x0*x1 - 0.7*x1"), ((1.5, 0.2), (0.5, 1.0)), "pulse"),
    Named("food chain", ("x0*(1 - x0/4) - 0.9*x0*x1/(1 + x0)", "0.9*x0*x1/(1 + x0) - 0.3*x1*x2/(1 + x1) - 0.3*x1",
          "0.3*x1*x2/(1 + x1) - 0.08*x2"), ((2.0, 1.0, 0.5), (3.5, 0.4, 1.2))),
    Named("closed loop", ("0.9*u0 - 0.6*x0 + 0.6*x1", "0.6*x0 - 1.0*x1 + 0.4*x2", "0.4*x1 - 0.4*x2 - 0.3*u0*x2"),
          ((2.0, 1.0, 0.5), (0.8, 0.8, 1.4)), "pulse"),
    Named("goodwin", ("1.5/(1 + x2**2) - 0.4*x0", "0.7*x0 - 0.5*x1", "0.6*x1 - 0.5*x2"),
          ((0.2, 0.1, 0.1), (2.0, 1.0, 1.6))),
)  # fmt: skip


def drive(kind: str, start: int) -> Callable[[np.ndarray], np.ndarray]:
    """The input of a system from its first or second start."""
    if kind == "pulse":
        period = (1.25, 1.6)[start]
        return lambda t: (
            np.where(np.mod(t, period) < 0.4 * period, np.sin(np.pi * np.mod(t, period) / 0.4 / period), 0.0)
            * (3.0, 2.2)[start]
        )
    a, b = ((1.3, 2.9), (0.8, 2.1))[start]
    return lambda t: 1.0 + 0.8 * np.sin(a * t) + 0.5 * np.cos(b * t)


@lru_cache(maxsize=256)
def solve(system: Named, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times (T,), clean states (T, D) and inputs (T, n_u) of a system from one of its starts."""
    import sympy
    from scipy.integrate import solve_ivp

    names = sympy.symbols([f"x{i}" for i in range(len(system.equations))] + ["u0"])
    f = sympy.lambdify([names], [sympy.sympify(e, locals={str(n): n for n in names}) for e in system.equations])
    u = drive(system.drive, start) if system.drive else np.zeros_like
    t = np.linspace(0.0, END, N_POINTS)

    def slope(s: float, x: np.ndarray) -> Any:
        return f([*x, float(u(np.asarray(s)))])

    found = solve_ivp(slope, (0.0, END), system.starts[start], t_eval=t, rtol=1e-8, atol=1e-10, max_step=0.02)
    return t, found.y.T, u(t)[:, None] if system.drive else np.zeros((len(t), 0))
