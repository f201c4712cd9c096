r"""What trajectories must be, said once: every refusal names what was expected, what came, and what to try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .equations import Equations

__all__ = ["Trajectory"]

_FEWEST = 8


@dataclass(frozen=True)
class Trajectory:
    r"""One observed trajectory.

    Arguments:
        t: Times, with shape (T,).
        x: States, with shape (T, D); one state may have shape (T,).
        u: Inputs, with shape (T, n_u), or None.

    Example:
        >>> Trajectory([0.0, 1.0], [[1.0], [2.0]]).x
        [[1.0], [2.0]]
    """

    t: np.ndarray | Sequence[float]
    x: np.ndarray | Sequence[Sequence[float]]
    u: np.ndarray | None = None


@dataclass(frozen=True)
class Clean:
    r"""A trajectory that can be used: rising times from zero, finite states and inputs of moderate size."""

    t: np.ndarray
    x: np.ndarray
    u: np.ndarray


@dataclass(frozen=True)
class Scale:
    r"""Powers of ten that brought times, states and inputs to moderate size.

    Arguments:
        t: Unit of time.
        x: Units of the states, with shape (D,).
        u: Units of the inputs, with shape (n_u,).
    """

    t: float
    x: np.ndarray
    u: np.ndarray

    @property
    def is_one(self) -> bool:
        r"""Whether nothing was changed."""
        return self.t == 1.0 and bool((self.x == 1.0).all() and (self.u == 1.0).all())

    def undo(self, equations: Equations) -> Equations:
        r"""The equations in the units of the file.

        Arguments:
            equations: Equations in the units of the fit.

        Returns:
            The same law for the file's own numbers.
        """
        if self.is_one:
            return equations
        import sympy

        from .equations import equations_from_sympy

        dim = equations.structure.dim
        symbols = sympy.symbols([f"x{i}" for i in range(dim)] + [f"u{i}" for i in range(len(self.u))], real=True)
        units = [*self.x.tolist(), *self.u.tolist()]
        swaps = {s: s / sympy.Float(v, 17) for s, v in zip(symbols, units, strict=True)}
        made = []
        for i, expression in enumerate(equations.to_sympy(digits=15)):
            made.append(expression.xreplace(swaps) * sympy.Float(float(self.x[i]) / self.t, 17))
        names = [f"x{i}" for i in range(dim)]
        return equations_from_sympy(made, names, [f"u{i}" for i in range(len(self.u))])


def checked(trajectories: Sequence[Trajectory]) -> tuple[list[Clean], Scale]:
    r"""Trajectories fit for use, and the units they were brought to.

    Samples with a missing value are left out; times are sorted out only if they rise already.

    Raises:
        ValueError: If there are too few samples, times do not rise, or a state never changes.
    """
    if not trajectories:
        raise ValueError("expected at least one trajectory, got none")
    arrays = [_arrays(t, n) for n, t in enumerate(trajectories)]
    shapes = {(a.x.shape[1], a.u.shape[1]) for a in arrays}
    if len(shapes) > 1:
        raise ValueError(
            f"all trajectories must have the same states and inputs, got (states, inputs) {sorted(shapes)}"
        )
    x, u = np.concatenate([a.x for a in arrays]), np.concatenate([a.u for a in arrays])
    still = [i for i in range(x.shape[1]) if np.ptp(x[:, i]) <= 1e-12 * max(float(np.abs(x[:, i]).max()), 1e-300)]
    if still:
        raise ValueError(
            f"expected states that change, but state {still[0]} is constant at {x[0, still[0]]:g}; leave it out"
        )
    if x.shape[1] > 6:
        raise ValueError(f"expected at most 6 states, got {x.shape[1]}; choose some with --dims")
    length = max(a.t[-1] - a.t[0] for a in arrays)
    units = Scale(_unit(length / 10.0), _units(x), _units(u))
    made = [Clean((a.t - a.t[0]) / units.t, a.x / units.x, a.u / units.u) for a in arrays]
    return made, units


def _arrays(given: Trajectory, n: int) -> Clean:
    where = f"trajectory {n + 1}"
    t, x = np.asarray(given.t, dtype=float), np.asarray(given.x, dtype=float)
    x = x[:, None] if x.ndim == 1 else x
    u = np.zeros((len(t), 0)) if given.u is None else np.asarray(given.u, dtype=float)
    u = u[:, None] if u.ndim == 1 else u
    if t.ndim != 1 or x.ndim != 2 or len(x) != len(t) or len(u) != len(t):
        raise ValueError(f"{where}: expected times (T,) and states (T, D), got {t.shape}, {x.shape} and {u.shape}")
    good = np.isfinite(t) & np.isfinite(x).all(1) & np.isfinite(u).all(1)
    if good.sum() < _FEWEST:
        raise ValueError(
            f"{where}: expected at least {_FEWEST} samples without missing values, got {int(good.sum())} of {len(t)}"
        )
    if good.mean() < 0.5:
        raise ValueError(f"{where}: {1.0 - good.mean():.0%} of the samples have missing values, expected at most 50%")
    t, x, u = t[good], x[good], u[good]
    wrong = np.flatnonzero(np.diff(t) <= 0)
    if len(wrong):
        i = int(wrong[0])
        raise ValueError(
            f"{where}: expected rising times, got {t[i + 1]:g} after {t[i]:g} at sample {i + 2}; sort the rows by time"
        )
    return Clean(t, x, u)


def _unit(size: float) -> float:
    r"""One, or a power of ten where a size is not moderate."""
    return 1.0 if 0.2 <= size <= 20.0 else float(10.0 ** round(np.log10(size)))


def _units(values: np.ndarray) -> np.ndarray:
    size = np.abs(values).max(0) if values.size else np.zeros(values.shape[1])
    return np.array([1.0 if 0.02 <= s <= 500.0 or s == 0.0 else 10.0 ** round(np.log10(s)) for s in size])
