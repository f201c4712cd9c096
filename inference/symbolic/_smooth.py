r"""What the samples say before any equation: noise, a smooth path and its place on a fine grid.

The noise is estimated from each sample's distance to the polynomial through its neighbours (Gasser, Sroka and
Jennen-Steinmetz 1986, with four neighbours), and is either of one size or in proportion to the state, whichever is more
likely. The path is a cubic smoothing spline with generalised cross-validation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# Samples are taken to be exact to this share of their spread at best; with inputs, which are known at samples only, to
# the larger one.
_FLOOR, _FLOOR_DRIVEN = 1.0e-4, 5.0e-3
# Mean square of what a smooth path leaves, in noise, from which it is too smooth.
_OVERSMOOTHED = 2.0
# Largest over smallest value from which a positive state may be smoother in its logarithm.
_SPIKY = 20.0


@dataclass(frozen=True)
class Path:
    r"""One observed trajectory with its smooth path.

    Arguments:
        t: Times, with shape (T,).
        x: Observed states, with shape (T, D).
        u: Inputs at the same times, with shape (T, n_u).
        sigma: Standard deviation of every sample's noise, with shape (T, D).
        grid: Even fine times, with shape (G,).
        smooth: Smooth states on the grid, with shape (G, D).
        slope: Their derivatives, with shape (G, D).
        u_grid: Inputs on the grid, with shape (G, n_u).
    """

    t: np.ndarray
    x: np.ndarray
    u: np.ndarray
    sigma: np.ndarray
    grid: np.ndarray
    smooth: np.ndarray
    slope: np.ndarray
    u_grid: np.ndarray

    def at(self, values: np.ndarray) -> np.ndarray:
        r"""Values on the grid, read at the samples."""
        return np.stack([np.interp(self.t, self.grid, column) for column in values.T], 1)


def neighbour_residuals(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    r"""Distance of every inner sample to the polynomial through its neighbours, scaled to the noise of one sample."""
    reach = 2 if len(t) >= 8 else 1
    offsets = [k for k in range(-reach, reach + 1) if k]
    centre = np.arange(reach, len(t) - reach)
    weights = np.ones((len(offsets), len(centre)))
    for a, i in enumerate(offsets):
        for j in offsets:
            if i != j:
                weights[a] *= (t[centre] - t[centre + j]) / (t[centre + i] - t[centre + j])
    guess = sum(w[:, None] * x[centre + k] for w, k in zip(weights, offsets, strict=True))
    made: np.ndarray = (x[centre] - guess) / np.sqrt(1.0 + (weights**2).sum(0))[:, None]
    return made


def noise_of(t: np.ndarray, x: np.ndarray, floor: float = _FLOOR) -> np.ndarray:
    r"""Standard deviation of the noise of every sample, with the shape of `x`."""
    reach = (len(t) - len(residual)) // 2 if len(residual := neighbour_residuals(t, x)) else 0
    sigma = np.empty_like(x)
    size = np.abs(x)
    kernel = np.ones(5) / 5
    for d in range(x.shape[1]):
        r = residual[:, d]
        typical = max(float(np.sqrt(np.mean(r**2))), 1.4826 * float(np.median(np.abs(r))), 1e-300)
        level = np.sqrt(np.convolve(np.pad(size[:, d], 2, "edge") ** 2, kernel, "valid"))
        level = np.hypot(level, 0.02 * np.sqrt(np.mean(size[:, d] ** 2)) + 1e-300)
        inner = level[reach : len(t) - reach]
        ratio = float(np.sqrt(np.mean((r / inner) ** 2)))
        additive = -len(r) * np.log(typical)
        relative = -len(r) * np.log(max(ratio, 1e-300)) - float(np.log(inner).sum())
        spread = float(np.std(x[:, d])) + 1e-12 * float(size[:, d].max()) + 1e-300
        chosen = ratio * level if relative > additive + 2.0 else np.full(len(t), typical)
        sigma[:, d] = np.maximum(chosen, floor * spread)
    return sigma


def smooth_path(t: np.ndarray, x: np.ndarray, u: np.ndarray, *, n_grid: int = 0) -> Path:
    r"""Noise and smooth path of one trajectory.

    Arguments:
        t: Rising times, with shape (T,).
        x: States, with shape (T, D).
        u: Inputs, with shape (T, n_u).
        n_grid: Points of the fine grid, odd; 0 for about two a sample.

    Returns:
        The path.
    """
    from scipy.interpolate import CubicSpline

    sigma = noise_of(t, x, _FLOOR_DRIVEN if u.shape[1] else _FLOOR)
    n = n_grid or 2 * min(max(len(t), 200), 600) + 1
    grid = np.linspace(t[0], t[-1], n)
    smooth, slope = np.empty((n, x.shape[1])), np.empty((n, x.shape[1]))
    unit = (t - t[0]) / (t[-1] - t[0]) * len(t)
    fine = (grid - t[0]) / (t[-1] - t[0]) * len(t)
    for d in range(x.shape[1]):
        scale = float(np.std(x[:, d])) or 1.0
        in_logarithm = _better_in_logarithm(unit, x[:, d] / scale, sigma[:, d] / scale)
        if in_logarithm:
            relative = noise_of(t, np.log(x[:, d : d + 1]))[:, 0]
            sigma[:, d] = np.maximum(relative * x[:, d], _FLOOR * scale)
        quiet = float(np.median(sigma[:, d])) < 1.01 * (_FLOOR_DRIVEN if u.shape[1] else 3e-4) * scale or len(t) < 8
        y, noise = x[:, d] / scale, sigma[:, d] / scale
        if quiet:
            spline = CubicSpline(unit, np.log(y) if in_logarithm else y)
        else:
            spline, in_logarithm = _smoothed(unit, y, noise, in_logarithm)
        value, rise = spline(fine), spline.derivative()(fine)
        value, rise = (np.exp(value), np.exp(value) * rise) if in_logarithm else (value, rise)
        smooth[:, d] = value * scale
        slope[:, d] = rise * scale * len(t) / (t[-1] - t[0])
    u_grid = np.stack([np.interp(grid, t, column) for column in u.T], 1) if u.shape[1] else np.zeros((n, 0))
    return Path(t, x, u, sigma, grid, smooth, slope, u_grid)


def _better_in_logarithm(unit: np.ndarray, y: np.ndarray, noise: np.ndarray) -> bool:
    r"""Whether a positive state has spikes between which too few samples lie, and its logarithm is smoother.

    The inner samples are read from a cubic through every other one, once the odd and once the even.
    """
    from scipy.interpolate import CubicSpline

    if len(y) < 16 or not (y > 0).all() or y.max() < _SPIKY * y.min():
        return False
    errors = []
    for values, back in ((y, lambda v: v), (np.log(y), np.exp)):
        missed = []
        for first in (1, 2):
            out = np.zeros(len(y), dtype=bool)
            out[first:-1:2] = True
            missed.append(back(CubicSpline(unit[~out], values[~out])(unit[out])) - y[out])
        errors.append(float(np.sqrt(np.mean(np.concatenate(missed) ** 2))))
    return errors[0] > 3.0 * float(np.median(noise)) and errors[1] < 0.5 * errors[0]


def _smoothed(unit: np.ndarray, y: np.ndarray, noise: np.ndarray, in_logarithm: bool) -> tuple[Any, bool]:
    r"""The smoothing spline of samples, and whether it is that of their logarithm.

    Cross-validation with weights in proportion to the signal goes by the many small samples, and can take rare spikes
    for noise. Where what is left exceeds the noise, positive samples are smoothed in their logarithm, in which such
    noise is of one size, and others with the largest penalty that leaves no more than the noise.
    """
    from scipy.interpolate import make_smoothing_spline

    def excess(made: np.ndarray) -> float:
        return float(np.mean(((made - y) / noise) ** 2))

    w = 1.0 / noise**2
    plain = make_smoothing_spline(unit, y, w=w / w.mean())
    if not in_logarithm and excess(plain(unit)) < _OVERSMOOTHED:
        return plain, False
    if (y > 0).all():
        w = (y / noise) ** 2
        spline = make_smoothing_spline(unit, np.log(y), w=w / w.mean())
        if in_logarithm or excess(np.exp(spline(unit))) < _OVERSMOOTHED:
            return spline, True
    w = 1.0 / noise**2
    for penalty in np.geomspace(1e3, 1e-7, 21):
        plain = make_smoothing_spline(unit, y, w=w / w.mean(), lam=float(penalty))
        if excess(plain(unit)) < _OVERSMOOTHED:
            break
    return plain, False
