r"""Constants refitted to the samples: multiple shooting and Levenberg-Marquardt, all variants in one batch.

The observed time is cut into segments of equal length, each with its own initial state. What is minimised is the misfit
to the samples over their noise, plus the gaps between the end of a segment and the start of the next over a small
fraction of the noise. One Runge-Kutta integration of (segments x (1 + constants + states)) columns gives the residuals
and their Jacobian by finite differences; samples between two steps are read from the cubic Hermite polynomial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._smooth import Path
from .equations import Equations, Structure

__all__ = ["Fit", "Ladder", "Shooting", "refit_constants"]

_BAD = 1e150


@dataclass(frozen=True)
class Fit:
    r"""Refitted equations.

    Arguments:
        equations: Structure and constants.
        starts: Initial state of every trajectory, with shape (n, D).
        misfit: Sum of squares of the whitened residuals of every state, gaps included, with shape (D,).
        spread: Standard error of every constant, with shape (P,).
        misses: Predicted minus observed states, with shape (T, D).
        converged: Whether the last steps changed little.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.inference.symbolic.equations import Equations, Structure
        >>> one = np.ones((1, 1))
        >>> Fit(Equations(Structure((("x0",),)), (1.0,)), one, one[0], one[0], one, True).converged
        True
    """

    equations: Equations
    starts: np.ndarray
    misfit: np.ndarray
    spread: np.ndarray
    misses: np.ndarray
    converged: bool


class Ladder:
    r"""Segments at rising numbers of Runge-Kutta steps, each made when first asked for.

    Arguments:
        paths: The trajectories.
        n_segments: Segments of a trajectory.
        steps: Runge-Kutta steps of a trajectory, rising.
        tolerance: Error of the integration that passes, in noise of a sample.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.inference.symbolic._smooth import smooth_path
        >>> t = np.linspace(0.0, 2.0, 60)
        >>> path = smooth_path(t, np.exp(-t)[:, None], np.zeros((60, 0)))
        >>> Ladder([path]).choose(Structure((("x0",),)), np.array([-1.0])).n_inner
        12
    """

    def __init__(
        self,
        paths: list[Path],
        *,
        n_segments: int = 8,
        steps: tuple[int, ...] = (96, 192, 384, 768, 1536),
        tolerance: float = 0.2,
    ) -> None:
        self.paths, self.n_segments, self.steps, self.tolerance = paths, n_segments, steps, tolerance
        self._made: dict[int, Shooting] = {}

    def rung(self, n_steps: int) -> Shooting:
        r"""The segments with so many steps.

        Arguments:
            n_steps: Runge-Kutta steps of a trajectory.

        Returns:
            The segments.
        """
        if n_steps not in self._made:
            self._made[n_steps] = Shooting(self.paths, n_segments=self.n_segments, n_steps=n_steps)
        return self._made[n_steps]

    def choose(self, structure: Structure, constants: np.ndarray) -> Shooting | None:
        r"""The fewest steps at which halving them changes little.

        Arguments:
            structure: The terms.
            constants: The constants, with shape (P,).

        Returns:
            The segments, or None where the equations cannot be integrated from the smooth path.
        """
        before: np.ndarray | None = None
        with np.errstate(all="ignore"):
            for n in self.steps:
                shooting = self.rung(n)
                states, slopes = shooting.integrate(structure, constants[:, None, None], shooting.starts[:, :, None])
                now = shooting.predict(states, slopes)[..., 0]
                finite = bool(np.all(np.abs(now) < _BAD))
                if finite and before is not None:
                    error = float(np.sqrt(np.mean(((now - before) / shooting.sigma) ** 2)))
                    if error < 15.0 * self.tolerance:
                        # The error of the rung below is `error`; RK4 leaves a sixteenth of it here.
                        return self.rung(n // 2) if error < self.tolerance else shooting
                before = now if finite else None
        return shooting if before is not None else None


class Shooting:
    r"""The segments of some trajectories, ready for any structure.

    Arguments:
        paths: The trajectories.
        n_segments: Segments of a trajectory.
        n_steps: Runge-Kutta steps of a trajectory.
        gap: Gap between segments that counts as one, in noise of a sample.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.inference.symbolic._smooth import smooth_path
        >>> t = np.linspace(0.0, 2.0, 60)
        >>> path = smooth_path(t, np.exp(-t)[:, None], np.zeros((60, 0)))
        >>> fit = refit_constants(Structure((("x0",),)), np.array([-0.7]), Shooting([path], n_segments=2, n_steps=40))
        >>> round(fit.equations.constants[0], 3)
        -1.0
    """

    def __init__(self, paths: list[Path], *, n_segments: int = 8, n_steps: int = 160, gap: float = 0.1) -> None:
        self.paths, self.n_segments, self.gap = paths, n_segments, gap
        self.n_inner = max(2, -(-n_steps // n_segments))
        self.n_states = paths[0].x.shape[1]
        edges = [np.linspace(p.t[0], p.t[-1], n_segments + 1) for p in paths]
        self.step = np.concatenate([np.full(n_segments, (e[1] - e[0]) / self.n_inner) for e in edges])
        self.starts = np.concatenate([_read(p, e[:-1]) for p, e in zip(paths, edges, strict=True)]).T
        self.n_all = len(self.step)
        self._place(edges)
        self._read_inputs(edges)

    def _place(self, edges: list[np.ndarray]) -> None:
        r"""Where every sample lies: segment, step, and the weights of the Hermite polynomial."""
        segment, step, fraction = [], [], []
        for i, (path, edge) in enumerate(zip(self.paths, edges, strict=True)):
            own = np.clip(np.searchsorted(edge, path.t, side="right") - 1, 0, self.n_segments - 1)
            at = (path.t - edge[own]) / (edge[1] - edge[0]) * self.n_inner
            lower = np.clip(at.astype(int), 0, self.n_inner - 1)
            segment.append(own + i * self.n_segments)
            step.append(lower)
            fraction.append(at - lower)
        self.segment, self.at = np.concatenate(segment), np.concatenate(step)
        s = np.concatenate(fraction)
        self.hermite = np.stack([(1 + 2 * s) * (1 - s) ** 2, s * (1 - s) ** 2, s * s * (3 - 2 * s), s * s * (s - 1)])
        self.y = np.concatenate([p.x for p in self.paths])
        self.sigma = np.concatenate([p.sigma for p in self.paths])
        last = np.arange(self.n_all) % self.n_segments == self.n_segments - 1
        self.before = np.flatnonzero(~last)
        typical = np.sqrt(np.mean(self.sigma**2, 0))
        self.gap_scale = (self.gap * typical)[:, None]

    def _read_inputs(self, edges: list[np.ndarray]) -> None:
        n_inputs = self.paths[0].u.shape[1]
        half = np.linspace(0.0, 1.0, 2 * self.n_inner + 1)
        self.inputs = np.zeros((2 * self.n_inner + 1, n_inputs, self.n_all, 1))
        for i, (path, edge) in enumerate(zip(self.paths, edges, strict=True)):
            for s in range(self.n_segments):
                when = edge[s] + half * (edge[s + 1] - edge[s])
                for j in range(n_inputs):
                    self.inputs[:, j, i * self.n_segments + s, 0] = np.interp(when, path.t, path.u[:, j])

    def integrate(self, structure: Structure, c: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""States and derivatives at every step.

        Arguments:
            structure: The terms.
            c: Constants, with shape (P, S, V).
            starts: Initial states, with shape (D, S, V).

        Returns:
            States and derivatives, each with shape (n + 1, D, S, V).
        """
        f, h = structure.right_hand_side(), self.step[:, None]
        x = starts
        states = np.empty((self.n_inner + 1, *x.shape))
        slopes = np.empty_like(states)
        for n in range(self.n_inner):
            u0, u1, u2 = self.inputs[2 * n : 2 * n + 3]
            k1 = f(x, u0, c)
            states[n], slopes[n] = x, k1
            k2 = f(x + 0.5 * h * k1, u1, c)
            k3 = f(x + 0.5 * h * k2, u1, c)
            k4 = f(x + h * k3, u2, c)
            x = x + h / 6.0 * (k1 + 2.0 * (k2 + k3) + k4)
        states[-1], slopes[-1] = x, f(x, self.inputs[-1], c)
        return states, slopes

    def predict(self, states: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        r"""States at the samples, with shape (T, D, V)."""
        h = self.step[self.segment][:, None, None]
        a, b, c, d = self.hermite[:, :, None, None]
        i, s = self.at, self.segment
        made: np.ndarray = (
            a * states[i, :, s] + b * h * slopes[i, :, s] + c * states[i + 1, :, s] + d * h * slopes[i + 1, :, s]
        )
        return made

    def residuals(self, structure: Structure, c: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""Whitened misfits and gaps, without derivatives: shapes (T, D) and (D, S')."""
        states, slopes = self.integrate(structure, c[:, None, None], starts[:, :, None])
        misfit = (self.predict(states, slopes)[..., 0] - self.y) / self.sigma
        return misfit, (states[-1][:, self.before, 0] - starts[:, self.before + 1]) / self.gap_scale


def refit_constants(
    structure: Structure,
    constants: np.ndarray,
    shooting: Shooting,
    *,
    n_iterations: int = 15,
    tolerance: float = 1e-3,
    without: np.ndarray | None = None,
) -> Fit | None:
    r"""Fit the constants of a structure to the samples.

    Arguments:
        structure: The terms.
        constants: First guess, with shape (P,).
        shooting: The segments.
        n_iterations: Most steps of Levenberg-Marquardt.
        tolerance: Relative decrease of the misfit below which a step ends the search.
        without: Which samples to leave out of the misfit, with shape (T,).

    Returns:
        The fit, or None where the first guess cannot be integrated.

    Example:
        >>> from pulsebayes.inference.symbolic._smooth import smooth_path
        >>> t = np.linspace(0.0, 2.0, 60)
        >>> path = smooth_path(t, np.exp(-t)[:, None], np.zeros((60, 0)))
        >>> fit = refit_constants(Structure((("x0",),)), np.array([-0.7]), Ladder([path]).rung(96))
        >>> round(fit.equations.constants[0], 3)
        -1.0
    """
    c = np.asarray(constants, dtype=float)
    x0, keep = shooting.starts, np.ones(len(shooting.y)) if without is None else 1.0 - without
    with np.errstate(all="ignore"):
        linear = _linearise(structure, c, x0, shooting, keep)
        if linear is None:
            return None
        damping, converged, small = 1e-3, False, 0
        for _ in range(n_iterations):
            normal, gradient, cost = linear[:3]
            moved = _solve(normal, gradient, damping)
            new_c, new_x0 = c - moved[: len(c)], x0 - moved[len(c) :].reshape(x0.shape[1], -1).T
            missed, gaps = shooting.residuals(structure, new_c, new_x0)
            trial = float((missed**2 * keep[:, None]).sum() + (gaps**2).sum())
            if not np.isfinite(trial) or trial > cost * (1.0 + 1e-12):
                damping *= 8.0
                if damping > 1e9:
                    break
                continue
            c, x0, damping = new_c, new_x0, max(damping / 6.0, 1e-9)
            fresh = _linearise(structure, c, x0, shooting, keep)
            if fresh is None:
                break
            linear = fresh
            small = small + 1 if cost - trial < tolerance * trial + 1e-9 else 0
            if small:
                converged = True
                break
        return _fit(structure, c, x0, linear, shooting, converged)


def _linearise(
    structure: Structure, c: np.ndarray, x0: np.ndarray, shooting: Shooting, keep: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray, np.ndarray] | None:
    r"""Normal equations, their right side, the cost, and the misfit of every state."""
    n_c, (dim, n_s) = len(c), x0.shape
    scale = np.sqrt(np.mean(x0**2, 1)) + 1e-9
    steps = np.concatenate([1e-6 * (np.abs(c) + 1e-3), 1e-6 * scale])
    all_c = np.repeat(c[:, None, None], 1 + n_c + dim, 2)
    all_x = np.repeat(x0[:, :, None], 1 + n_c + dim, 2)
    all_c[np.arange(n_c), 0, 1 + np.arange(n_c)] += steps[:n_c]
    all_x[np.arange(dim), :, 1 + n_c + np.arange(dim)] += steps[n_c:, None]
    states, slopes = shooting.integrate(structure, all_c, all_x)
    if not np.all(np.abs(states[-1]) < _BAD):
        return None
    predicted = shooting.predict(states, slopes)
    misses = predicted[..., 0] - shooting.y
    r = misses / shooting.sigma * keep[:, None]
    jac = (predicted[..., 1:] - predicted[..., :1]) / steps / shooting.sigma[..., None] * keep[:, None, None]
    ends, nxt = states[-1][:, shooting.before], shooting.before + 1
    g = (ends[..., 0] - x0[:, nxt]) / shooting.gap_scale
    gap_jac = (ends[..., 1:] - ends[..., :1]) / steps / shooting.gap_scale[..., None]
    if not (np.isfinite(jac).all() and np.isfinite(gap_jac).all()):
        return None
    normal, gradient = _normal(jac, r, gap_jac, g, n_c, dim, n_s, shooting)
    misfit = (r**2).sum(0) + (g**2).sum(1)
    return normal, gradient, float(misfit.sum()), misfit, misses


def _normal(
    jac: np.ndarray, r: np.ndarray, gap_jac: np.ndarray, g: np.ndarray, n_c: int, dim: int, n_s: int, shooting: Shooting
) -> tuple[np.ndarray, np.ndarray]:
    n_t, n_gap = len(r), g.shape[1]
    full = np.zeros((n_t * dim + dim * n_gap, n_c + dim * n_s))
    data = full[: n_t * dim].reshape(n_t, dim, -1)
    data[..., :n_c] = jac[..., :n_c]
    columns = n_c + shooting.segment[:, None] * dim + np.arange(dim)
    np.put_along_axis(data, np.repeat(columns[:, None, :], dim, 1), jac[..., n_c:], 2)
    gaps = full[n_t * dim :].reshape(dim, n_gap, -1)
    gaps[..., :n_c] = gap_jac[..., :n_c]
    own = n_c + shooting.before[:, None] * dim + np.arange(dim)
    np.put_along_axis(gaps, np.repeat(own[None], dim, 0), gap_jac[..., n_c:], 2)
    for d in range(dim):
        gaps[d, np.arange(n_gap), n_c + (shooting.before + 1) * dim + d] = -1.0 / shooting.gap_scale[d, 0]
    flat = np.concatenate([r.ravel(), g.ravel()])
    return full.T @ full, full.T @ flat


def _solve(normal: np.ndarray, gradient: np.ndarray, damping: float) -> np.ndarray:
    size = np.sqrt(np.diag(normal)) + 1e-300
    scaled = normal / size / size[:, None]
    scaled[np.diag_indices_from(scaled)] += damping + 1e-12
    try:
        made: np.ndarray = np.linalg.solve(scaled, gradient / size) / size
    except np.linalg.LinAlgError:
        return np.full_like(gradient, np.nan)
    return made


def _fit(
    structure: Structure,
    c: np.ndarray,
    x0: np.ndarray,
    linear: tuple[np.ndarray, np.ndarray, float, np.ndarray, np.ndarray],
    shooting: Shooting,
    converged: bool,
) -> Fit:
    normal, _, _, misfit, misses = linear
    size = np.sqrt(np.diag(normal)) + 1e-300
    scaled = normal / size / size[:, None]
    scaled[np.diag_indices_from(scaled)] += 1e-12
    spread = np.sqrt(np.abs(np.diag(np.linalg.inv(scaled)))) / size
    firsts = x0.T[:: shooting.n_segments]
    return Fit(Equations(structure, tuple(c.tolist())), firsts, misfit, spread[: len(c)], misses, converged)


def _read(path: Path, when: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(when, path.grid, column) for column in path.smooth.T], 1)
