r"""Which candidates to believe: a score in nats from the samples and the length, and what the candidates agree on."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from ._smooth import Path
from .equations import Equations, Structure, count_inner, term_price
from .proposers import Proposal
from .refit import Fit, Ladder, refit_constants

__all__ = ["Scored"]


_KINDS = {"sine": r"sin|cos|tan", "rational": r"/\(k|/x", "exponential": r"exp", "power": r"\*\*|log|abs|sqrt"}
_FAMILY = 2.0


@dataclass(frozen=True)
class Scored:
    r"""A refitted candidate with its score.

    Arguments:
        fit: The refitted equations.
        score: Negative log posterior up to a constant [nats]; smaller is better.
        source: Who proposed it.

    Example:
        >>> list(Scored.__dataclass_fields__)
        ['fit', 'score', 'source']
    """

    fit: Fit
    score: float
    source: str


def structure_price(structure: Structure) -> float:
    r"""Price of a structure [nats]: its terms, the kinds of functions it uses, less what equations share.

    A term that stands in two equations, as in a flow from one state to another, is paid for once and a half; the first
    use of a kind of function (trigonometric, rational, exponential, another power) costs more than the next.

    Arguments:
        structure: The terms.

    Returns:
        The price.
    """
    texts = [t for e in structure.terms for t in e]
    price = sum(term_price(t) for t in texts)
    price -= 0.5 * sum(term_price(t) for t in texts) - 0.5 * sum(term_price(t) for t in set(texts))
    kinds = {kind for kind, mark in _KINDS.items() for t in texts if re.search(mark, t)}
    return price + _FAMILY * len(kinds)


def score_of(fit: Fit, n_samples: int, n_effective: float = 0.0) -> float:
    r"""Negative log posterior of a structure up to a constant, by the Bayesian information criterion and a prior.

    Arguments:
        fit: The refitted equations.
        n_samples: Samples of a state.
        n_effective: Independent samples they are worth; 0 for as many.

    Returns:
        The score [nats].
    """
    n = n_effective or float(n_samples)
    likelihood = 0.5 * n * float(np.log(fit.misfit / n_samples + 0.1).sum())
    structure = fit.equations.structure
    return likelihood + structure_price(structure) + 0.5 * structure.n_constants * float(np.log(n))


@dataclass(frozen=True)
class Elsewhere:
    r"""Other starts, and what a candidate does from them.

    Arguments:
        starts: Initial states, with shape (D, M).
        paths: What was observed.
        n_steps: Runge-Kutta steps.
    """

    starts: np.ndarray
    paths: list[Path]
    n_steps: int

    def run(self, equations: Equations) -> np.ndarray:
        r"""States of a candidate from all starts, with shape (n, D, M); NaN where it leaves all bounds."""
        path = self.paths[0]
        h = (path.t[-1] - path.t[0]) / self.n_steps
        f, c = equations.structure.right_hand_side(), np.array(equations.constants)[:, None]
        half = np.linspace(path.t[0], path.t[-1], 2 * self.n_steps + 1)
        u = np.stack([np.interp(half, path.t, column) for column in path.u.T] or [np.zeros(0)])
        u = u[:, :, None] if path.u.shape[1] else np.zeros((0, len(half), 1))
        bound = 50.0 * np.max([np.abs(p.x).max(0) for p in self.paths], 0)[:, None] + 1e-9
        x, states = self.starts, [self.starts]
        with np.errstate(all="ignore"):
            for n in range(self.n_steps):
                u0, u1, u2 = u[:, 2 * n], u[:, 2 * n + 1], u[:, 2 * n + 2]
                k1 = f(x, u0, c)
                k2 = f(x + 0.5 * h * k1, u1, c)
                k3 = f(x + 0.5 * h * k2, u1, c)
                x = x + h / 6.0 * (k1 + 2.0 * (k2 + k3) + f(x + h * k3, u2, c))
                x = np.where(np.abs(x) < bound, x, np.nan)
                states.append(x)
        return np.stack(states[:: max(1, self.n_steps // 100)])


def elsewhere(paths: list[Path], rng: np.random.Generator, *, n_starts: int = 16, n_steps: int = 300) -> Elsewhere:
    r"""Plausible other starts: points of the observed paths, moved by the size of their range or scale."""
    states = np.concatenate([p.smooth for p in paths])
    low, high = states.min(0), states.max(0)
    chosen = states[rng.integers(0, len(states), n_starts)]
    if (low > 0).all():
        starts = chosen * np.exp(0.8 * rng.standard_normal(chosen.shape))
    else:
        starts = chosen + 0.7 * (high - low) * rng.standard_normal(chosen.shape)
    return Elsewhere(starts.T, paths, n_steps)


def implausible(equations: Equations, runs: np.ndarray, paths: list[Path]) -> float:
    r"""Price of what is implausible [nats]: escape from other starts, positive states driven below zero."""
    lost = float(np.mean(~np.isfinite(runs[-1]).all(0)))
    price = 4.0 * lost
    states = np.concatenate([p.smooth[::20] for p in paths]).T
    inputs = np.concatenate([p.u_grid[::20] for p in paths]).T
    if (np.concatenate([p.smooth for p in paths]) > 0).all():
        for i in range(len(states)):
            at_zero = states.copy()
            at_zero[i] = 1e-9
            slope = equations.derivative(at_zero, inputs)[i]
            typical = np.abs(np.concatenate([p.slope[:, i] for p in paths])).mean()
            price += 4.0 * float(np.mean(~(slope > -0.05 * typical)))
    return price


def agreement(runs: list[np.ndarray]) -> np.ndarray:
    r"""How far candidate i tells what happens if candidate j is true: share of starts with R^2 above 0.9, softly."""
    n = len(runs)
    made = np.zeros((n, n))
    for j, truth in enumerate(runs):
        spread = ((truth - truth.mean(0)) ** 2).sum((0, 1))
        for i, guess in enumerate(runs):
            r2 = 1.0 - ((guess - truth) ** 2).sum((0, 1)) / (spread + 1e-300)
            soft = 1.0 / (1.0 + np.exp(-np.clip((r2 - 0.9) / 0.03, -50, 50)))
            usable = np.isfinite(spread)
            made[i, j] = np.where(np.isfinite(soft), soft, 0.0)[usable].mean() if usable.any() else float(i == j)
    return made


def fit_all(
    proposals: list[Proposal], ladder: Ladder, *, n_iterations: int = 8, n_effective: float = 0.0
) -> list[Scored]:
    r"""Refit and score proposals, best first; those that cannot be integrated are left out."""
    made = []
    for proposal in proposals:
        structure, constants = proposal.equations.structure, np.array(proposal.equations.constants)
        shooting = ladder.choose(structure, constants)
        fit = refit_constants(structure, constants, shooting, n_iterations=n_iterations) if shooting else None
        if fit is not None:
            made.append(Scored(fit, score_of(fit, len(shooting.y), n_effective), proposal.source))  # type: ignore[union-attr]
    return sorted(made, key=lambda s: s.score)


def effective_samples(found: list[Scored]) -> float:
    r"""Independent samples that the residuals of the closest fits are worth, by their correlation from one to the next.

    Inputs are known at samples only, and what happens between them leaves residuals that follow one another.
    """
    closest = sorted(found, key=lambda s: float(s.fit.misfit.sum()))[:5]
    worth = []
    for item in closest:
        misses = item.fit.misses - item.fit.misses.mean(0)
        rho = (misses[1:] * misses[:-1]).sum(0) / ((misses**2).sum(0) + 1e-300)
        worth.append(len(misses) * float(np.mean((1.0 - rho) / (1.0 + rho))))
    n = len(closest[0].fit.misses) if closest else 0
    return float(np.clip(np.median(worth), min(12, n), n)) if worth else 0.0


def rescored(found: list[Scored], n_effective: float) -> list[Scored]:
    r"""The candidates with scores for so many independent samples, best first."""
    made = [replace(s, score=score_of(s.fit, len(s.fit.misses), n_effective)) for s in found]
    return sorted(made, key=lambda s: s.score)


def shorter(scored: Scored) -> list[Proposal]:
    r"""The candidate without its least certain terms, one at a time."""
    eq = scored.fit.equations
    terms, coef = eq.structure.terms, np.array(eq.constants)
    t = np.abs(coef) / np.maximum(scored.fit.spread, 1e-300)
    made = []
    flat = [(i, j) for i, e in enumerate(terms) for j in range(len(e))]
    order = np.argsort(t[: len(flat)])
    for pos in order[:2]:
        made.append(Proposal(without(eq, flat[pos]), scored.source))
    return made


def crossed(best: Scored, proposals: list[Proposal]) -> list[Proposal]:
    r"""The best candidate with one equation taken from another proposal, every such equation once."""
    made: dict[Structure, Proposal] = {}
    own = split(best.fit.equations)
    for proposal in proposals if len(own) > 1 else []:
        for i, part in enumerate(split(proposal.equations)):
            mixed = joined([*own[:i], part, *own[i + 1 :]])
            made.setdefault(mixed.structure, Proposal(mixed, proposal.source))
    return list(made.values())


Part = tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...]]


def split(equations: Equations) -> list[Part]:
    r"""Terms, coefficients and inner constants, equation by equation."""
    made, at = [], equations.structure.n_linear
    for terms, outer in zip(equations.structure.terms, equations.term_coefficients(), strict=True):
        n = sum(count_inner(t) for t in terms)
        made.append((terms, outer, equations.constants[at : at + n]))
        at += n
    return made


def joined(parts: list[Part]) -> Equations:
    r"""The equations of some parts."""
    outer = [c for _, coefficients, _ in parts for c in coefficients]
    inner = [k for _, _, constants in parts for k in constants]
    return Equations(Structure(tuple(terms for terms, _, _ in parts)), (*outer, *inner))


def without(eq: Equations, place: tuple[int, int]) -> Equations:
    terms = tuple(tuple(t for j, t in enumerate(e) if (i, j) != place) for i, e in enumerate(eq.structure.terms))
    flat = [(i, j, t) for i, e in enumerate(eq.structure.terms) for j, t in enumerate(e)]
    outer = [c for c, (i, j, _) in zip(eq.constants, flat, strict=False) if (i, j) != place]
    inner: list[float] = []
    at = eq.structure.n_linear
    for i, j, t in flat:
        k = count_inner(t)
        if (i, j) != place:
            inner += eq.constants[at : at + k]
        at += k
    return Equations(Structure(terms), (*outer, *inner))
