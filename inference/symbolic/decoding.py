r"""DecodedEquation equations from the transformer: the most probable sequence and samples, duplicates merged.

Each equation is decoded on its own and all samples of all equations at once. The grammar says which tokens may follow,
so that every sequence is an equation. A constant is the mean of the grid's points around the one that was drawn,
weighted by their probabilities. The probability of a candidate is that of its structure: of every structural token, and
of *some* constant where one stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...simulators.odes.grammar import System, Term
from .check import Trajectory
from .hints import hints
from .model import EquationTransformer
from .points import Windows, channels, windows
from .tokens import CONSTANT_AT, PAD, START, VOCABULARY, Grammar, from_grid, in_variables
from .weights import find_symbolic_model, load_symbolic_model

__all__ = ["DecodedEquation", "decode", "load_model"]

_Array = np.ndarray
_GRID = (len(VOCABULARY) - CONSTANT_AT) // 2
_NEIGHBOURS = 2
_LEAST_WINDOWS = 12


@dataclass(frozen=True)
class DecodedEquation:
    r"""A candidate of one equation.

    Arguments:
        terms: Its terms, in the trajectories' own units; input variables follow the states.
        log_probability: Logarithm of the probability of its structure.
        count: How many of the samples had its skeleton.

    Example:
        >>> DecodedEquation((), -1.0, 2).count
        2
    """

    terms: tuple[Term, ...]
    log_probability: float
    count: int


def decode(
    net: EquationTransformer,
    trajectories: Sequence[Trajectory],
    *,
    n_samples: int = 64,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[list[DecodedEquation]]:
    r"""Proposes equations for trajectories of one system.

    Arguments:
        net: The network.
        trajectories: One or more.
        n_samples: Sequences an equation, the first of them the most probable token by token.
        temperature: Temperature of the sampling; below 1 narrower than the network believes.
        seed: Seed of the samples.

    Returns:
        DecodedEquations of each equation, most probable first, no two with the same skeleton.

    Raises:
        ValueError: If there is no trajectory, they differ in their states, one is not finite, not in order or shorter
            than four points, or a number is not positive.

    Example:
        >>> from pulsebayes.inference.symbolic import Trajectory
        >>> t = np.linspace(0, 5, 60)
        >>> found = decode(load_model(), [Trajectory(t, np.exp(-t)[:, None])], n_samples=8)
        >>> len(found), all(c.count >= 1 for c in found[0])
        (1, True)
    """
    if not trajectories or n_samples < 1 or temperature <= 0:
        raise ValueError("decode needs a trajectory, at least one sample and a temperature above 0")
    observed = [_arrays(r) for r in trajectories]
    shapes = {(x.shape[1], u.shape[1]) for _, x, u in observed}
    if len(shapes) != 1:
        raise ValueError(f"trajectories must share their states and inputs, got {sorted(shapes)}")
    ((d, k),) = shapes
    seen, scale, unit = _points(observed, net.config.stride * net.config.n_windows)
    regressed = torch.from_numpy(hints(seen.value, seen.slope, d)[0])
    with torch.inference_mode():
        encoded = net.encode(torch.from_numpy(seen.features[:, :: net.config.stride]))
        rows = d * n_samples
        memory = [(key.expand(rows, -1, -1, -1), value.expand(rows, -1, -1, -1)) for key, value in encoded]
        advice = net.advice(regressed).repeat_interleave(n_samples, 0)
        grammars, score = _sample(net, memory, advice, (d, k), n_samples, temperature, seed)
    found: list[list[DecodedEquation]] = []
    for i in range(d):
        own = slice(i * n_samples, (i + 1) * n_samples)
        found.append(_merge(grammars[own], score[own], i, d, k, scale, unit))
    return found


@lru_cache(maxsize=4)
def load_model(name: str = "symbolic-ode") -> EquationTransformer:
    r"""Loads a network.

    Arguments:
        name: Name of a shipped model, or its folder.

    Raises:
        ValueError: If there is no such model.

    Example:
        >>> load_model().config.constants
        'two-hot'
    """
    return load_symbolic_model(find_symbolic_model(Path(name)))


def _arrays(trajectory: Trajectory) -> tuple[_Array, _Array, _Array]:
    t, x = np.asarray(trajectory.t, dtype=float), np.asarray(trajectory.x, dtype=float)
    x = x[:, None] if x.ndim == 1 else x
    u = np.zeros((len(t), 0)) if trajectory.u is None else np.asarray(trajectory.u, dtype=float)
    if t.ndim != 1 or x.ndim != 2 or u.ndim != 2 or not len(t) == len(x) == len(u):
        raise ValueError(f"t, x and u must be (T,), (T, D) and (T, U), got {t.shape}, {x.shape} and {u.shape}")
    if len(t) < 4:
        raise ValueError(f"a trajectory needs at least 4 points, got {len(t)}")
    if not all(np.isfinite(a).all() for a in (t, x, u)):
        raise ValueError("a trajectory must be finite: leave out the rows that are not")
    if not (np.diff(t) >= 0).all() or t[-1] == t[0]:
        raise ValueError("times must increase: sort the rows by time")
    return t, x, u


def _points(observed: Sequence[tuple[_Array, _Array, _Array]], n_windows: int) -> tuple[Windows, list[float], float]:
    """Windows of all trajectories, the scale of each channel and the unit of time."""
    both = [(t, *channels(x, u)) for t, x, u in observed]
    scale = np.maximum(np.max([np.abs(y).max(0) for _, y, _ in both], axis=0), 1e-12)
    unit = max(float(np.ptp(t)) for t, _, _ in both) / 10
    total = sum(len(t) for t, _, _ in both)
    parts = []
    for t, y, present in both:
        n = max(min(_LEAST_WINDOWS, n_windows), round(n_windows * len(t) / total))
        parts.append(windows(((t - t[0]) / unit)[None], (y / scale)[None], present, n_windows=n))
    return Windows.joined(parts), scale.tolist(), unit


def _sample(
    net: EquationTransformer,
    memory: list[tuple[Tensor, Tensor]],
    advice: Tensor,
    kind: tuple[int, int],
    n_samples: int,
    temperature: float,
    seed: int,
) -> tuple[list[Grammar], _Array]:
    """Decodes all rows together; the first of each equation greedily."""
    rng = np.random.default_rng(seed)
    rows = len(advice)
    grammars = [Grammar(*kind) for _ in range(rows)]
    greedy = np.arange(rows) % n_samples == 0
    ids = torch.from_numpy(START + np.arange(rows) // n_samples)
    fraction, score, past = torch.zeros(rows), np.zeros(rows), None
    for position in range(net.config.length):
        logits, past = net.step(memory, advice, past, ids, fraction, position)
        allowed = np.stack([g.allowed() for g in grammars])
        logs = _log_softmax(np.where(allowed, logits.float().numpy(), -np.inf))
        drawn = _draw(rng, logs, greedy, temperature)
        place = _places(logs, drawn, net.config.constants == "two-hot")
        done = np.array([g.done for g in grammars])
        score += np.where(done, 0.0, _structural(logs, drawn))
        for row in np.flatnonzero(~done):
            grammars[row].push(int(drawn[row]), _value(drawn[row], place[row]))
        if all(g.done for g in grammars):
            break
        constant = drawn >= CONSTANT_AT
        whole = np.minimum(np.floor(place), _GRID - 2)
        negative = (drawn - CONSTANT_AT) // _GRID
        ids = torch.from_numpy(np.where(constant, CONSTANT_AT + negative * _GRID + whole.astype(int), drawn))
        fraction = torch.from_numpy(np.where(constant, place - whole, 0.0).astype(np.float32))
    return grammars, score


def _log_softmax(logits: _Array) -> _Array:
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def _draw(rng: np.random.Generator, logs: _Array, greedy: _Array, temperature: float) -> _Array:
    """One token a row: a structural one against all constants together, then which constant."""
    together = np.logaddexp.reduce(logs[:, CONSTANT_AT:], axis=1)
    choice = np.concatenate([logs[:, :CONSTANT_AT], together[:, None]], axis=1)
    warmed = choice / temperature + rng.gumbel(size=choice.shape)
    structural = np.where(greedy[:, None], choice, warmed).argmax(1)
    constants = logs[:, CONSTANT_AT:]
    constant = np.where(greedy[:, None], constants, constants / temperature + rng.gumbel(size=constants.shape))
    return np.asarray(np.where(structural < CONSTANT_AT, structural, CONSTANT_AT + constant.argmax(1)))


def _structural(logs: _Array, drawn: _Array) -> _Array:
    """Log-probability of the token drawn, or of any constant if it was one."""
    together = np.logaddexp.reduce(logs[:, CONSTANT_AT:], axis=1)
    own = np.take_along_axis(logs, drawn[:, None], axis=1)[:, 0]
    return np.where(drawn >= CONSTANT_AT, together, own)


def _places(logs: _Array, drawn: _Array, two_hot: bool) -> _Array:
    """Places on the grid of the constants drawn: means over a few points on either side."""
    point = (drawn - CONSTANT_AT) % _GRID
    if not two_hot:
        return np.asarray(point, dtype=float)
    first = CONSTANT_AT + (drawn - CONSTANT_AT) // _GRID * _GRID
    near = np.clip(point[:, None] + np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1), 0, _GRID - 1)
    at = np.where(drawn[:, None] >= CONSTANT_AT, first[:, None] + near, PAD)
    weight = np.exp(np.take_along_axis(logs, at, axis=1))
    total = weight.sum(1)
    return np.where(drawn >= CONSTANT_AT, (weight * near).sum(1) / np.where(total > 0, total, 1.0), 0.0)


def _value(token: int, place: float) -> float:
    if token < CONSTANT_AT:
        return 0.0
    sign = -1.0 if (token - CONSTANT_AT) // _GRID else 1.0
    return float(sign * from_grid(np.asarray(place)))


def _merge(
    grammars: Sequence[Grammar], score: _Array, i: int, d: int, k: int, scale: list[float], unit: float
) -> list[DecodedEquation]:
    """DecodedEquations in their own units, those with one skeleton merged."""
    best: dict[str, DecodedEquation] = {}
    for grammar, log_probability in zip(grammars, score, strict=True):
        if not grammar.done or not grammar.terms:
            continue
        terms = in_variables(grammar.terms, d)
        try:
            alone = System(tuple(terms if j == i else () for j in range(d)), k)
            own = alone.rescaled([1 / s for s in scale], 1 / unit)
        except (ValueError, OverflowError):  # a constant beyond what numbers hold
            continue
        skeleton = own.skeleton()
        before = best.get(skeleton)
        count = before.count + 1 if before else 1
        if before is None or log_probability > before.log_probability:
            best[skeleton] = DecodedEquation(own.equations[i], float(log_probability), count)
        else:
            best[skeleton] = DecodedEquation(before.terms, before.log_probability, count)
    return sorted(best.values(), key=lambda c: (-c.log_probability, -c.count))
