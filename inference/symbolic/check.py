r"""What trajectories must be, said once: every refusal names what was expected, what came, and what to try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .equations import Equations

__all__ = ["Trajectory"]

_FEWEST = 8
# A state whose variation is this share of its size cannot be told from rounding in a library of powers.
_OFFSET = 1e-5
# A gap is longer than this many median spacings and than this share of the trajectory; a part has so many samples.
_GAP, _GAP_SHARE, _FEWEST_OF_PART = 12.0, 0.05, 16
# A sample this many times the spread of the others away from its neighbours is no noise.
_OUTLIER = 100.0


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


def checked(trajectories: Sequence[Trajectory], names: Sequence[str] = ()) -> tuple[list[Clean], Scale]:
    r"""Trajectories fit for use, and the units they were brought to.

    Samples with a missing value are left out; times are not sorted: an order that was lost may not be time's alone.

    Arguments:
        trajectories: The trajectories.
        names: Names of the states, for the messages; state 1, 2, ... where not given.

    Raises:
        ValueError: If there are too few samples, times do not rise, or a state never changes, hides its changes behind
            an offset or holds a sample that is no measurement.
    """
    if not trajectories:
        raise ValueError("expected at least one trajectory, got none")
    arrays = [_arrays(t, n, names) for n, t in enumerate(trajectories)]
    shapes = {(a.x.shape[1], a.u.shape[1]) for a in arrays}
    if len(shapes) > 1:
        raise ValueError(
            f"all trajectories must have the same states and inputs, got (states, inputs) {sorted(shapes)}"
        )
    x, u = np.concatenate([a.x for a in arrays]), np.concatenate([a.u for a in arrays])
    _refuse_unfit_states(arrays, names)
    if x.shape[1] > 6:
        raise ValueError(f"expected at most 6 states, got {x.shape[1]}; choose some with --dims")
    length = max(a.t[-1] - a.t[0] for a in arrays)
    units = Scale(_unit(length / 10.0), _units(x), _units(u))
    parts = [part for a in arrays for part in _between_gaps(a)]
    made = [Clean((a.t - a.t[0]) / units.t, a.x / units.x, a.u / units.u) for a in parts]
    return made, units


def _between_gaps(whole: Clean) -> list[Clean]:
    r"""The parts of a trajectory between long gaps, across which no path can be drawn; each as one of its own."""
    spacing = np.diff(whole.t)
    long = np.maximum(_GAP * np.median(spacing), _GAP_SHARE * (whole.t[-1] - whole.t[0]))
    edges = [0]
    for i in np.flatnonzero(spacing > long) + 1:
        if min(i - edges[-1], len(whole.t) - i) >= _FEWEST_OF_PART:
            edges.append(int(i))
    return [Clean(whole.t[a:b], whole.x[a:b], whole.u[a:b]) for a, b in zip(edges, [*edges[1:], None], strict=True)]


def _called(names: Sequence[str], i: int) -> str:
    return f"state {names[i]}" if i < len(names) else f"state {i + 1}"


def _arrays(given: Trajectory, n: int, names: Sequence[str]) -> Clean:
    where = f"trajectory {n + 1}"
    t, x = np.asarray(given.t, dtype=float), np.asarray(given.x, dtype=float)
    x = x[:, None] if x.ndim == 1 else x
    u = np.zeros((len(t), 0)) if given.u is None else np.asarray(given.u, dtype=float)
    u = u[:, None] if u.ndim == 1 else u
    if t.ndim != 1 or x.ndim != 2 or len(x) != len(t) or len(u) != len(t):
        raise ValueError(f"{where}: expected times (T,) and states (T, D), got {t.shape}, {x.shape} and {u.shape}")
    if not x.shape[1]:
        raise ValueError(f"{where}: expected at least one state, got none")
    good = np.isfinite(t) & np.isfinite(x).all(1) & np.isfinite(u).all(1)
    worst = int(np.argmin(np.isfinite(x).sum(0)))
    blame = f" ({_called(names, worst)} has {int(np.isfinite(x[:, worst]).sum())})" if not good.all() else ""
    if good.sum() < _FEWEST:
        raise ValueError(
            f"{where}: expected at least {_FEWEST} samples without missing values, "
            f"got {int(good.sum())} of {len(t)}{blame}"
        )
    if good.mean() < 0.5:
        raise ValueError(
            f"{where}: {1.0 - good.mean():.0%} of the samples have missing values, expected at most 50%{blame}"
        )
    t, x, u = t[good], x[good], u[good]
    wrong = np.flatnonzero(np.diff(t) <= 0)
    if len(wrong):
        raise ValueError(f"{where}: {_disorder(t, np.flatnonzero(good), int(wrong[0]))}")
    return Clean(t, x, u)


def _disorder(t: np.ndarray, rows: np.ndarray, i: int) -> str:
    r"""What is wrong with the times after sample i, by the samples' numbers in the file."""
    if t[i + 1] == t[i]:
        return (
            f"expected rising times, got {t[i]:.10g} twice, at samples {rows[i] + 1} and {rows[i + 1] + 1}; "
            "keep one of them, or tell several trajectories apart"
        )
    return (
        f"expected rising times, got {t[i + 1]:.10g} after {t[i]:.10g} at sample {rows[i + 1] + 1}; "
        "sort the rows by time, or tell several trajectories apart"
    )


def _refuse_unfit_states(arrays: Sequence[Clean], names: Sequence[str]) -> None:
    x = np.concatenate([a.x for a in arrays])
    with np.errstate(over="ignore"):
        spread, size = np.ptp(x, 0), np.maximum(np.abs(x).max(0), 1e-300)
    for i in range(x.shape[1]):
        if not np.isfinite(spread[i]) or size[i] > 1e280:
            raise ValueError(
                f"{_called(names, i)} reaches {size[i]:.3g}: too large to square; give it in a larger unit"
            )
        if spread[i] <= 1e-12 * size[i]:
            raise ValueError(
                f"expected states that change, but {_called(names, i)} is constant at {x[0, i]:g}; leave it out"
            )
        if spread[i] < _OFFSET * size[i]:
            raise ValueError(
                f"{_called(names, i)} changes by {spread[i]:.3g} only, around {x[0, i]:.6g}; "
                "subtract what is constant first"
            )
    for n, a in enumerate(arrays):
        far = _isolated(a.x)
        if len(far):
            k, i = (int(v) for v in far[0])
            raise ValueError(
                f"trajectory {n + 1}: {_called(names, i)} is {a.x[k, i]:.6g} at time {a.t[k]:.10g}, far beyond all "
                f"others (median {np.median(a.x[:, i]):.6g}); correct that sample or leave it empty"
            )


def _isolated(x: np.ndarray) -> np.ndarray:
    r"""Samples that no noise explains, as (sample, state): few, alone, and far beyond the range of all others."""
    low, high = np.percentile(x, 5.0, axis=0, method="higher"), np.percentile(x, 95.0, axis=0, method="lower")
    width = np.maximum(high - low, 1e-300)
    far = (np.abs(x - np.median(x, 0)) > _OUTLIER * width) & (high > low)
    beside = np.zeros_like(far)
    beside[1:] |= far[:-1]
    beside[:-1] |= far[1:]
    alone = far & ~beside
    alone[0] = False  # a fast approach to the rest
    return np.argwhere(alone) if 0 < far.sum() <= max(1, len(x) // 50) else np.zeros((0, 2), dtype=int)


def _unit(size: float) -> float:
    r"""One, or a power of ten where a size is not moderate."""
    return 1.0 if 0.2 <= size <= 20.0 else float(10.0 ** round(np.log10(size)))


def _units(values: np.ndarray) -> np.ndarray:
    size = np.abs(values).max(0) if values.size else np.zeros(values.shape[1])
    return np.array([1.0 if 0.02 <= s <= 500.0 or s == 0.0 else 10.0 ** round(np.log10(s)) for s in size])
