r"""PySINDy as a proposer: as it comes, and tuned on the observed samples only."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ._smooth import Path
from .equations import Equations, Structure

_THRESHOLDS = (0.002, 0.02, 0.1, 0.3)
_WINDOWS = (3, 8, 16, 32)


def local_cubic(t: np.ndarray, x: np.ndarray, half_window: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Smoothed states and derivatives by a cubic through the samples around each: (T, D) twice."""
    n = len(t)
    width = min(2 * half_window + 1, n)
    first = np.clip(np.arange(n) - width // 2, 0, n - width)
    index = first[:, None] + np.arange(width)
    s = t[index] - t[:, None]
    scale = np.abs(s).max(1, keepdims=True)
    basis = (s / scale)[..., None] ** np.arange(4)
    normal = np.einsum("twi,twj->tij", basis, basis) + 1e-9 * np.eye(4)
    found = np.linalg.solve(normal, np.einsum("twi,twd->tid", basis, x[index]))
    return found[:, 0], found[:, 1] / scale


def default_sindy(path: Path, *, degree: int = 2) -> Equations | None:
    r"""PySINDy's defaults: second-degree polynomials, finite differences, threshold 0.1."""
    ps = _pysindy()
    model = ps.SINDy(feature_library=ps.PolynomialLibrary(degree))
    dim, n_inputs = path.x.shape[1], path.u.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(path.x, t=path.t, u=path.u if n_inputs else None)
    return _equations(model.coefficients(), _exponents(dim + n_inputs, degree), False)


def tuned_sindy(path: Path) -> Equations | None:
    r"""The model of the grid that reproduces the observed samples best."""
    ps = _pysindy()
    dim, n_inputs = path.x.shape[1], path.u.shape[1]
    libraries = [(2, False), (3, False), (2, True), *([(5, False)] if dim + n_inputs <= 2 else [])]
    slopes = [(path.x, np.gradient(path.x, path.t, axis=0)), (path.at(path.smooth), path.at(path.slope))]
    slopes += [local_cubic(path.t, path.x, w) for w in _WINDOWS if len(path.t) > 2 * w]
    best: tuple[float, Equations | None] = (-np.inf, None)
    for degree, waves in libraries:
        exponents = _exponents(dim + n_inputs, degree)
        found = []
        for x, slope in slopes:
            theta = _features(np.hstack([x, path.u]).T, exponents, dim if waves else 0).T
            for threshold in _THRESHOLDS:
                optimizer = ps.STLSQ(threshold=threshold)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    optimizer.fit(theta, slope)
                found.append(np.asarray(optimizer.coef_))
        models = np.unique(np.round(np.stack(found), 12), axis=0)
        quality = _quality(models, exponents, waves, path)
        top = int(np.argmax(quality))
        if quality[top] > best[0]:
            best = (float(quality[top]), _equations(models[top], exponents, waves))
    return best[1]


def _pysindy() -> Any:
    try:
        import pysindy
    except ImportError as error:
        raise ImportError("the proposer 'sindy' needs PySINDy: pip install 'pulsebayes[symbolic]'") from error
    return pysindy


def _exponents(n_variables: int, degree: int) -> list[tuple[int, ...]]:
    r"""Monomials of the states and, after them, the inputs."""
    from itertools import combinations_with_replacement

    return [c for d in range(degree + 1) for c in combinations_with_replacement(range(n_variables), d)]


def _features(variables: np.ndarray, exponents: list[tuple[int, ...]], n_waves: int) -> np.ndarray:
    r"""The library on states and inputs (D + n_u, *), with sine and cosine of the first `n_waves`: shape (F, *)."""
    columns = [np.prod(variables[list(e)], axis=0) if e else np.ones(variables.shape[1:]) for e in exponents]
    columns += [f(variables[i]) for i in range(n_waves) for f in (np.sin, np.cos)]
    return np.stack(columns)


def _equations(coefficients: np.ndarray, exponents: list[tuple[int, ...]], waves: bool) -> Equations:
    dim = len(coefficients)
    texts = ["*".join(f"x{i}" if i < dim else f"u{i - dim}" for i in e) or "1" for e in exponents]
    if waves:
        texts += [f"{f}(x{i})" for i in range(dim) for f in ("sin", "cos")]
    kept = [np.flatnonzero(row) for row in coefficients]
    terms = tuple(tuple(texts[m] for m in row) for row in kept)
    return Equations(
        Structure(terms), tuple(float(c) for row, k in zip(coefficients, kept, strict=True) for c in row[k])
    )


def _quality(
    models: np.ndarray, exponents: list[tuple[int, ...]], waves: bool, path: Path, *, n_steps: int = 512
) -> np.ndarray:
    r"""R^2 of every model (M, D, F) run from the first sample, on all samples; all models at once by Runge-Kutta."""
    n_waves = path.x.shape[1] if waves else 0
    h = (path.t[-1] - path.t[0]) / n_steps
    at = np.clip(((path.t - path.t[0]) / h).astype(int), 0, n_steps - 1)
    s = ((path.t - path.t[0]) / h - at)[:, None, None]

    halves = path.t[0] + 0.5 * h * np.arange(2 * n_steps + 3)
    drive = np.stack([np.interp(halves, path.t, column) for column in path.u.T], 1) if path.u.shape[1] else None

    def slope(x: np.ndarray, k: int) -> np.ndarray:
        if drive is not None:
            x = np.concatenate([x, np.repeat(drive[k][:, None], x.shape[1], 1)])
        made: np.ndarray = np.einsum("mdf,fm->dm", models, _features(x, exponents, n_waves))
        return made

    x = np.repeat(path.x[0][:, None], len(models), 1)
    states, slopes = [], []
    with np.errstate(all="ignore"):
        for k in range(0, 2 * n_steps + 1, 2):
            k1 = slope(x, k)
            states.append(x)
            slopes.append(k1)
            k2 = slope(x + 0.5 * h * k1, k + 1)
            k3 = slope(x + 0.5 * h * k2, k + 1)
            x = x + h / 6.0 * (k1 + 2.0 * (k2 + k3) + slope(x + h * k3, k + 2))
        z, v = np.stack(states), np.stack(slopes)
        made = (1 + 2 * s) * (1 - s) ** 2 * z[at] + s * (1 - s) ** 2 * h * v[at]
        made = made + s * s * (3 - 2 * s) * z[at + 1] + s * s * (s - 1) * h * v[at + 1]
        error = ((made - path.x[..., None]) ** 2).sum((0, 1))
    spread = float(((path.x - path.x.mean(0)) ** 2).sum()) + 1e-300
    return np.where(np.isfinite(error), 1.0 - error / spread, -np.inf)
