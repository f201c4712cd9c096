r"""What regression says of one equation before the network reads it.

For each equation the slopes of the windows are regressed on a dictionary of their values: all monomials up to degree
three by ridge regression, and a matching pursuit through monomials and a few other functions. The network gets the
coefficients, what each fit leaves over, and which entries the pursuit took in which order; it has seen where such
regressions go wrong.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from jaxtyping import Float

from .tokens import MOST_STATES

__all__ = ["N_HINTS", "hints"]

_Array = np.ndarray
_CHANNELS = MOST_STATES + 1
_MONOMIALS = [c for degree in range(4) for c in combinations_with_replacement(range(_CHANNELS), degree)]
_DEGREE = np.array([len(c) for c in _MONOMIALS])
_OTHERS = 7  # functions of each channel beyond monomials of degree three
_STEPS = 5
_N_ATOMS = len(_MONOMIALS) + _OTHERS * _CHANNELS
_RIDGE = (1, 2, 3)
N_HINTS = sum(int((d >= _DEGREE).sum()) for d in _RIDGE) + len(_RIDGE) + 2 * _N_ATOMS + _STEPS + 1


def hints(value: Float[_Array, "B W C"], slope: Float[_Array, "B W C"], n_states: int) -> Float[_Array, "B D H"]:
    r"""Regresses the slopes of every state on the values of all channels.

    Arguments:
        value: Values of the windows, zero for channels that are not there.
        slope: Their slopes.
        n_states: Number of states.

    Returns:
        Hints for each equation.

    Example:
        >>> value = np.random.default_rng(0).normal(size=(1, 40, 5))
        >>> hints(value, -value, 2).shape == (1, 2, N_HINTS)
        True
    """
    b = len(value)
    monomials = np.stack([np.prod(value[..., list(c)], axis=-1) for c in _MONOMIALS], axis=-1)
    atoms = np.concatenate([monomials, _others(value)], axis=-1)
    target = np.moveaxis(slope[..., :n_states], -1, 1)
    size = np.sqrt((target**2).mean(-1, keepdims=True)) + 1e-6
    target = target / size
    parts = [np.log10(size)]
    for degree in _RIDGE:
        parts += _ridge(monomials[..., degree >= _DEGREE], target, size)
    parts += _pursuit(atoms, target)
    return np.concatenate(parts, axis=-1).astype(np.float32).reshape(b, n_states, N_HINTS)


def _others(value: _Array) -> _Array:
    near = np.abs(value) + 0.02
    present = np.abs(value).max(1, keepdims=True) > 0
    functions = (
        value**5,
        np.abs(value) * value,
        np.sin(3 * value),
        np.cos(3 * value),
        np.exp(-3 * value) / 10,
        np.sign(value) / near / 10,
        np.log(near),
    )
    return np.concatenate([np.where(present, f, 0.0) for f in functions], axis=-1)


def _ridge(atoms: _Array, target: _Array, size: _Array) -> list[_Array]:
    """Coefficients and the logarithm of the share of the variance that is left."""
    w = atoms.shape[1]
    gram = np.einsum("bwa,bwc->bac", atoms, atoms) / w + 1e-5 * np.eye(atoms.shape[-1])
    moment = np.einsum("bwa,bdw->bad", atoms, target) / w
    fit = np.moveaxis(np.linalg.solve(gram, moment), -1, 1)
    left = ((target - np.einsum("bwa,bda->bdw", atoms, fit)) ** 2).mean(-1, keepdims=True)
    return [np.arcsinh(fit * size), np.log10(left + 1e-6)]


def _pursuit(atoms: _Array, target: _Array) -> list[_Array]:
    """Orthogonal matching pursuit: order of the entries, their last coefficients, what each step leaves."""
    b, w, a = atoms.shape
    d = target.shape[1]
    norm = np.sqrt((atoms**2).mean(1))
    unit = atoms / np.where(norm > 1e-6, norm, np.inf)[:, None]
    order, weight = np.zeros((b, d, a)), np.zeros((b, d, a))
    residual, chosen, left = target, np.zeros((b, d, 0), int), []
    for step in range(_STEPS):
        score = np.abs(np.einsum("bwa,bdw->bda", unit, residual)) / w
        np.put_along_axis(score, chosen, -1.0, axis=-1)
        chosen = np.concatenate([chosen, score.argmax(-1)[..., None]], axis=-1)
        basis = np.take_along_axis(unit[:, None], chosen[:, :, None, :], axis=-1)
        gram = np.einsum("bdwi,bdwj->bdij", basis, basis) / w + 1e-6 * np.eye(step + 1)
        fit = np.linalg.solve(gram, np.einsum("bdwi,bdw->bdi", basis, target)[..., None] / w)[..., 0]
        residual = target - np.einsum("bdwi,bdi->bdw", basis, fit)
        left.append(np.log10((residual**2).mean(-1, keepdims=True) + 1e-6))
        np.put_along_axis(order, chosen[..., -1:], 1.0 - step / _STEPS, axis=-1)
    np.put_along_axis(weight, chosen, np.arcsinh(fit), axis=-1)
    return [order, weight, *left]
