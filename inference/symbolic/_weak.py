r"""Which terms explain one derivative: the weak form over sine test functions, and a beam over subsets of terms.

Multiplying $\dot x_i = \sum_m c_m \phi_m$ by $\psi_j(t) = \sin(j\pi(t - t_0)/T)$ and integrating by parts moves the
derivative from the noisy state to the test function. Errors of different $j$ are independent for white noise with
variance in proportion to $j^2$; what noise of other shapes adds is whitened away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ._library import Entry
from ._smooth import Path
from .equations import Structure, count_inner, term_price

_RIDGE = 1e-14
_LEFT = 1e-12


@dataclass(frozen=True)
class Subset:
    r"""Terms for one equation.

    Arguments:
        terms: Texts of the terms.
        coefficients: Their coefficients.
        inner: Their inner constants, in the order of the terms.
        misfit: Sum of squared whitened residuals.
        price: Price of the terms and their constants [nats].
        score: Misfit and price together [nats]; smaller is better.
    """

    terms: tuple[str, ...]
    coefficients: tuple[float, ...]
    inner: tuple[float, ...]
    misfit: float
    price: float = 0.0
    score: float = 0.0


@dataclass(frozen=True)
class WeakSystem:
    r"""Whitened regression of every equation.

    Arguments:
        design: For every equation the dictionary against the test functions, each with shape (K, M).
        target: For every equation the derivatives against them, each with shape (K,).
        projections: For every equation and trajectory the whitened test functions, each with shape (K, G).
        paths: The trajectories.
    """

    design: tuple[np.ndarray, ...]
    target: tuple[np.ndarray, ...]
    projections: tuple[tuple[np.ndarray, ...], ...]
    paths: tuple[Path, ...]

    def columns(self, equation: int, term: str, inner: np.ndarray) -> np.ndarray:
        r"""One term for several values of its inner constants, (k, V), against the test functions: (K, V)."""
        one = Structure(((term,),) + ((),) * (self.paths[0].x.shape[1] - 1)).right_hand_side()
        constants = np.concatenate([np.ones((1, inner.shape[1])), inner])[:, None, :]
        parts = []
        for path, projection in zip(self.paths, self.projections[equation], strict=True):
            x, u = path.smooth.T[:, :, None], path.u_grid.T[:, :, None]
            with np.errstate(all="ignore"):
                values = one(np.repeat(x, inner.shape[1], 2), u, constants)[0]
                parts.append(projection @ values)
        return np.concatenate(parts)


def columns_of(entries: list[Entry], x: np.ndarray, u: np.ndarray) -> np.ndarray:
    r"""The dictionary on states: (G, D) and (G, n_u) give (G, M)."""
    made = np.empty((len(x), len(entries)))
    for m, entry in enumerate(entries):
        one = Structure(((entry.term,),) + ((),) * (x.shape[1] - 1))
        constants = np.array([1.0, *entry.inner])[:, None]
        with np.errstate(all="ignore"):
            made[:, m] = one.right_hand_side()(x.T, u.T, constants)[0]
    return made


def weak_system(paths: list[Path], entries: list[Entry], *, highest: int = 96) -> WeakSystem:
    r"""Weak form of all trajectories, whitened, with the rows of all of them under one another."""
    dim = paths[0].x.shape[1]
    designs: list[list[np.ndarray]] = [[] for _ in range(dim)]
    targets: list[list[np.ndarray]] = [[] for _ in range(dim)]
    projections: list[list[np.ndarray]] = [[] for _ in range(dim)]
    for path in paths:
        length = path.grid[-1] - path.grid[0]
        modes = np.arange(1, max(8, min(highest, len(path.t) // 3)) + 1)[:, None]
        phase = np.pi * (path.grid - path.grid[0]) / length
        weight = _simpson(path.grid)
        phi = columns_of(entries, path.smooth, path.u_grid)
        tests = np.sin(modes * phase) * weight
        slopes = np.cos(modes * phase) * (modes * np.pi / length) * weight
        spacing = np.gradient(path.t)
        raw = np.cos(modes * np.pi * (path.t - path.t[0]) / length) * (modes * np.pi / length) * spacing
        for d in range(dim):
            covariance = (raw * path.sigma[:, d] ** 2) @ raw.T
            covariance[np.diag_indices_from(covariance)] *= 1.0 + 1e-6
            factor = np.linalg.cholesky(covariance)
            both = np.linalg.solve(factor, np.column_stack([tests, -slopes @ path.smooth[:, d]]))
            projections[d].append(both[:, :-1])
            designs[d].append(both[:, :-1] @ phi)
            targets[d].append(both[:, -1])
    return WeakSystem(
        tuple(np.concatenate(d) for d in designs),
        tuple(np.concatenate(t) for t in targets),
        tuple(tuple(p) for p in projections),
        tuple(paths),
    )


def search_subsets(
    system: WeakSystem,
    equation: int,
    entries: list[Entry],
    *,
    largest: int = 7,
    beam: int = 32,
    keep: int = 10,
    price: float = 2.5,
    allowed: np.ndarray | None = None,
) -> list[Subset]:
    r"""Best subsets of every size for one equation, by a beam over sizes.

    Arguments:
        system: The weak form.
        equation: Which equation.
        entries: The dictionary.
        largest: Terms of the largest subset.
        beam: Subsets kept from one size to the next.
        keep: Subsets returned of every size.
        price: Price of one constant [nats].
        allowed: Which entries may be used; all where not given.

    Returns:
        The best subsets of every size.
    """
    design, target = system.design[equation], system.target[equation]
    size = np.sqrt((design**2).sum(0))
    usable = np.isfinite(size) & (size > 0) & (True if allowed is None else allowed)
    scaled = np.where(usable, design / np.where(usable, size, 1.0), 0.0)
    gram = scaled.T @ scaled + _RIDGE * np.eye(len(entries))
    moment, total = scaled.T @ target, float(target @ target)
    prices = np.array([term_price(e.term) + price * (1 + len(e.inner)) for e in entries])
    found: list[tuple[tuple[int, ...], float]] = [((), total)]
    level, made = _pairs(gram, moment, total, usable, prices, entries, beam, keep)
    found += made
    for _ in range(min(largest, len(target) - 1) - 2):
        inflate = max(1.0, min(m / max(len(target) - len(c), 1) for c, m in found))
        level, made = _grow(level, gram, moment, total, usable, prices, entries, beam, inflate)
        found += made[:keep]
        if not level:
            break
    subsets = []
    for columns, _ in found:
        inside = np.array(columns, dtype=int)
        values = np.linalg.lstsq(scaled[:, inside], target, rcond=None)[0]
        misfit = float(((target - scaled[:, inside] @ values) ** 2).sum())
        values = values / size[inside]
        chosen = [entries[m] for m in columns]
        inner = tuple(k for e in chosen for k in e.inner)
        cost = float(prices[inside].sum())
        subsets.append(Subset(tuple(e.term for e in chosen), tuple(values.tolist()), inner, misfit, cost))
    polished = [polish(system, equation, s) for s in subsets if s.inner and 2 <= len(s.terms) <= 4][:12]
    return list({s.terms: s for s in [*subsets, *polished]}.values())


def search_atoms(
    system: WeakSystem, equation: int, entries: list[Entry], *, partners: int = 3, keep: int = 8, price: float = 2.5
) -> list[Subset]:
    r"""Subsets of one term with inner constants and a few plain ones, with the constants polished.

    A beam over a coarse grid of inner constants prefers many terms that are nearly right to few that would be right a
    little further on; here nothing else competes.

    Arguments:
        system: The weak form.
        equation: Which equation.
        entries: The dictionary.
        partners: Most plain terms beside it.
        keep: Subsets polished for every number of plain terms.
        price: Price of one constant [nats].

    Returns:
        The best subsets.
    """
    design, target = system.design[equation], system.target[equation]
    size = np.sqrt((design**2).sum(0))
    atoms = np.array([m for m, e in enumerate(entries) if e.inner and np.isfinite(size[m]) and size[m] > 0], dtype=int)
    plain = [m for m, e in enumerate(entries) if not e.inner and e.kind <= 2 and size[m] > 0]
    if not len(atoms):
        return []
    chosen = np.concatenate([plain, atoms]).astype(int)
    scaled = design[:, chosen] / size[chosen]
    gram, moment, total = scaled.T @ scaled, scaled.T @ target, float(target @ target)
    first = len(plain)
    made: list[Subset] = []
    for count in range(partners + 1):
        best: dict[tuple[tuple[int, ...], str], tuple[float, int]] = {}
        for inside in combinations(range(first), count):
            misfit = _with_each(gram, moment, total, np.array(inside, dtype=int), first)
            for a in np.argsort(misfit)[:12]:
                key = (inside, entries[atoms[a]].term)
                if misfit[a] < best.get(key, (np.inf, 0))[0]:
                    best[key] = (float(misfit[a]), int(atoms[a]))
        for (inside, term), (misfit_a, a) in sorted(best.items(), key=lambda item: item[1][0])[:keep]:
            terms = (*(entries[plain[p]].term for p in inside), term)
            cost = sum(term_price(t) + price * (1 + count_inner(t)) for t in terms)
            start = Subset(terms, (0.0,) * len(terms), entries[a].inner, misfit_a * (1.0 + 1e-9) + 1e-9, cost)
            made.append(polish(system, equation, start))
    return [s for s in made if any(s.coefficients)]


def _with_each(gram: np.ndarray, moment: np.ndarray, total: float, inside: np.ndarray, first: int) -> np.ndarray:
    r"""Misfit of a subset joined by each of the columns from `first` on."""
    rest, left, misfit = moment[first:], np.ones(len(moment) - first), total
    if len(inside):
        block = gram[np.ix_(inside, inside)] + 1e-12 * np.eye(len(inside))
        solved = np.linalg.solve(block, np.column_stack([moment[inside], gram[inside, first:]]))
        misfit = total - float(moment[inside] @ solved[:, 0])
        rest = moment[first:] - gram[first:][:, inside] @ solved[:, 0]
        left = 1.0 - np.einsum("ms,sm->m", gram[first:][:, inside], solved[:, 1:])
    gained: np.ndarray = misfit - np.where(left > _LEFT, rest**2 / np.maximum(left, _LEFT), 0.0)
    positive: np.ndarray = np.maximum(gained, 0.0)
    return positive


def polish(system: WeakSystem, equation: int, subset: Subset, *, n_steps: int = 6) -> Subset:
    r"""Move the inner constants of a subset to the least misfit of the weak form, coefficients eliminated.

    Arguments:
        system: The weak form.
        equation: Which equation.
        subset: The terms with a first guess.
        n_steps: Most Levenberg-Marquardt steps.

    Returns:
        The subset with its new constants and misfit.
    """
    owner = np.repeat(np.arange(len(subset.terms)), [count_inner(t) for t in subset.terms])
    found = _Variable(system, equation, subset.terms, np.array(subset.inner))
    damping = 1e-2
    for _ in range(n_steps):
        if not np.isfinite(found.misfit):
            return subset
        jacobian = np.concatenate([found.design, found.slopes * found.outer[owner]], 1)
        size = np.sqrt((jacobian**2).sum(0)) + 1e-300
        normal = (jacobian / size).T @ (jacobian / size)
        normal[np.diag_indices_from(normal)] += damping * (np.arange(len(size)) >= len(found.outer)) + 1e-12
        move = (np.linalg.solve(normal, (jacobian / size).T @ found.residual) / size)[len(found.outer) :]
        k = found.inner + np.clip(move, -0.7 * np.abs(found.inner), 2.0 * np.abs(found.inner))
        trial = _Variable(system, equation, subset.terms, k)
        small = abs(trial.misfit - found.misfit) < 1e-3 * found.misfit
        if trial.misfit < found.misfit:
            found, damping = trial, damping / 5.0
        else:
            damping *= 20.0
        if small:
            break
    if not found.misfit < subset.misfit:
        return subset
    return replace(
        subset, coefficients=tuple(found.outer.tolist()), inner=tuple(found.inner.tolist()), misfit=found.misfit
    )


class _Variable:
    r"""The weak form of some terms at some inner constants: design, its slopes, coefficients and residual."""

    def __init__(self, system: WeakSystem, equation: int, terms: tuple[str, ...], inner: np.ndarray) -> None:
        columns, slopes, at = [], [], 0
        for term in terms:
            n = count_inner(term)
            own = inner[at : at + n]
            step = 1e-6 * (np.abs(own) + 1e-6)
            variants = np.repeat(own[:, None], 1 + n, 1)
            variants[np.arange(n), 1 + np.arange(n)] += step
            values = system.columns(equation, term, variants)
            columns.append(values[:, 0])
            with np.errstate(all="ignore"):  # what is not finite is looked for below
                slopes += [(values[:, 1 + j] - values[:, 0]) / step[j] for j in range(n)]
            at += n
        self.inner, self.design, self.slopes = inner, np.stack(columns, 1), np.stack(slopes, 1)
        self.outer, self.residual, self.misfit = np.zeros(len(terms)), system.target[equation], np.inf
        if np.isfinite(self.design).all() and np.isfinite(self.slopes).all():
            size = np.sqrt((self.design**2).sum(0)) + 1e-300
            self.outer = np.linalg.lstsq(self.design / size, system.target[equation], rcond=1e-12)[0] / size
            self.residual = system.target[equation] - self.design @ self.outer
            self.misfit = float(self.residual @ self.residual)


def _pairs(
    gram: np.ndarray,
    moment: np.ndarray,
    total: float,
    usable: np.ndarray,
    prices: np.ndarray,
    entries: list[Entry],
    beam: int,
    keep: int,
) -> tuple[list[tuple[int, ...]], list[tuple[tuple[int, ...], float]]]:
    r"""All single terms and all pairs: the best pairs to grow from, and the best of both."""
    ones = np.flatnonzero(usable)
    single = total - moment[ones] ** 2 / np.diag(gram)[ones]
    a, b = (ones[k] for k in np.triu_indices(len(ones), 1))
    g, left = gram[a, b], 1.0 - gram[a, b] ** 2
    gain = (moment[a] ** 2 + moment[b] ** 2 - 2.0 * g * moment[a] * moment[b]) / np.maximum(left, _LEFT)
    misfit = np.where(left > _LEFT, np.maximum(total - gain, 0.0), total)
    inflate = max(1.0, float(min(misfit.min(initial=total), single.min(initial=total))) / len(ones))
    price = prices[a] + prices[b]
    seen: dict[tuple[int, ...], float] = {(int(m),): float(v) for m, v in zip(ones, single, strict=True)}
    for p in np.argsort(0.5 * misfit / inflate + price)[: 6 * beam]:
        seen[(int(a[p]), int(b[p]))] = float(misfit[p])
    _, shown = _best(seen, prices, entries, beam, inflate)
    kept, _ = _best({c: m for c, m in seen.items() if len(c) == 2}, prices, entries, beam, inflate)
    singles = [item for item in shown if len(item[0]) == 1][:4]
    return kept, [*singles, *[item for item in shown if len(item[0]) == 2][:keep]]


def _grow(
    level: list[tuple[int, ...]],
    gram: np.ndarray,
    moment: np.ndarray,
    total: float,
    usable: np.ndarray,
    prices: np.ndarray,
    entries: list[Entry],
    beam: int,
    inflate: float,
) -> tuple[list[tuple[int, ...]], list[tuple[tuple[int, ...], float]]]:
    r"""The subsets one term larger: the best for every combination of term texts, and those to grow from."""
    seen: dict[tuple[int, ...], float] = {}
    for columns in level:
        inside = np.array(columns, dtype=int)
        if len(inside):
            solved = np.linalg.solve(gram[np.ix_(inside, inside)], np.column_stack([moment[inside], gram[inside]]))
            misfit = total - float(moment[inside] @ solved[:, 0])
            rest = moment - gram[:, inside] @ solved[:, 0]
            left = np.diag(gram) - np.einsum("ms,sm->m", gram[:, inside], solved[:, 1:])
        else:
            misfit, rest, left = total, moment, np.diag(gram)
        gain = np.where(usable & (left > _LEFT), rest**2 / np.maximum(left, _LEFT), -1.0)
        gain[inside] = -1.0
        for m in np.argsort(-(0.5 * gain / inflate - prices))[: beam + 6]:
            if gain[m] > 0.0:
                key = tuple(sorted((*columns, int(m))))
                seen[key] = max(misfit - float(gain[m]), 0.0)
    return _best(seen, prices, entries, beam, inflate)


def _best(
    seen: dict[tuple[int, ...], float], prices: np.ndarray, entries: list[Entry], beam: int, inflate: float
) -> tuple[list[tuple[int, ...]], list[tuple[tuple[int, ...], float]]]:
    r"""Subsets to grow from, at most two of the same term texts, and the best of every combination of texts."""
    ranked = sorted(seen.items(), key=lambda item: 0.5 * item[1] / inflate + float(prices[list(item[0])].sum()))
    texts: dict[tuple[str, ...], int] = {}
    kept: list[tuple[int, ...]] = []
    shown: list[tuple[tuple[int, ...], float]] = []
    for columns, misfit in ranked:
        text = tuple(sorted(entries[m].term for m in columns))
        texts[text] = texts.get(text, 0) + 1
        if texts[text] == 1:
            shown.append((columns, misfit))
        if texts[text] <= 2 and len(kept) < beam:
            kept.append(columns)
    return kept, shown


def _simpson(grid: np.ndarray) -> np.ndarray:
    weight = np.full(len(grid), 2.0)
    weight[1::2] = 4.0
    weight[0] = weight[-1] = 1.0
    made: np.ndarray = weight * (grid[1] - grid[0]) / 3.0
    return made
