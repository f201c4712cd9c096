r"""The transformer as a proposer: what it decodes, weighed one equation at a time and joined over the equations.

A decoded equation knows structure better than constants. Its coefficients are those of the weak form, its inner
constants are moved to the least misfit of the weak form, terms that do not pay for themselves are dropped; the best of
each equation are combined.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ._smooth import Path as SmoothPath
from ._weak import Subset, WeakSystem, polish, weak_system
from .check import Trajectory as Observed
from .equations import Equations, Structure, count_inner, term_price
from .tokens import MOST_STATES

if TYPE_CHECKING:
    from .decoding import DecodedEquation

_MODELS = Path(__file__).parents[1] / "models"
_PRICE = 2.5  # of a constant, as in the weak form's own search [nats]
_POLISHED = 16
_KEPT = 10
_TRUST = 0.3  # share of a structure's log probability that counts beside the misfit


def shipped() -> str:
    r"""Name of the shipped transformer that is asked unless told otherwise, or an empty text.

    A model whose recipe draws scalar autonomous systems only is a mode of its own, to be asked for by name.
    """
    folders = sorted(info.parent for info in _MODELS.glob("*/symbolic.json")) if _MODELS.is_dir() else []
    return next((folder.name for folder in folders if not _scalar_only(folder)), "")


def _scalar_only(folder: Path) -> bool:
    try:
        recipe = json.loads((folder / "symbolic.json").read_text(encoding="utf-8")).get("recipe", {})
    except ValueError:  # is told where the model is read
        return False
    return list(recipe.get("shards", {}).get("kinds", {})) == ["1+0"]


def transformer_equations(
    paths: list[SmoothPath], *, n_samples: int = 64, n_best: int = 16, model: str = "", temperature: float = 1.0
) -> list[Equations]:
    r"""Equations that the transformer proposes, best first.

    Arguments:
        paths: Smooth paths of the trajectories.
        n_samples: Sequences drawn for each equation.
        n_best: Most systems.
        model: Name or folder of the model; the shipped one if empty.
        temperature: Temperature of the draws.

    Raises:
        ValueError: If no transformer is shipped, there is no such model, or it knows scalar equations only and these
            are none.
    """
    from . import decoding
    from .weights import find_symbolic_model

    n_states, n_inputs = paths[0].x.shape[1], paths[0].u.shape[1]
    name = model or shipped()
    if not name:
        raise ValueError("the proposer 'transformer' needs trained weights, and none are shipped; use weak or sindy")
    if (n_states, n_inputs) != (1, 0) and _scalar_only(find_symbolic_model(Path(name))):
        raise ValueError(
            f"the model {Path(name).name} knows one state and no input, got {n_states} and {n_inputs}; use {shipped()}"
        )
    if n_states > MOST_STATES or n_inputs > 1:
        return []
    given = [Observed(p.t, p.x, p.u) for p in paths]
    found = decoding.decode(decoding.load_model(name), given, n_samples=n_samples, temperature=temperature)
    system = weak_system(paths, [])
    choices = [_weighed(system, i, equations) for i, equations in enumerate(found)]
    best: list[tuple[float, tuple[Subset, ...]]] = [(0.0, ())]
    for subsets in choices:
        grown = [(score + s.score, (*chosen, s)) for score, chosen in best for s in subsets]
        best = heapq.nsmallest(n_best, grown, key=lambda item: item[0])
    return [_joined(chosen) for _, chosen in best if len(chosen) == n_states and any(s.terms for s in chosen)]


def _weighed(system: WeakSystem, i: int, decoded: Iterable[DecodedEquation]) -> list[Subset]:
    """The best candidates of one equation, with the constants of the weak form."""
    from ._texts import plain_variants, term_text

    n_states = system.paths[0].x.shape[1]
    made: dict[tuple[str, ...], tuple[Subset, float]] = {}
    for equation in decoded:
        for terms in plain_variants(equation.terms):
            texts = {text: inner for text, inner, _ in (term_text(t, n_states) for t in terms)}
            ordered = tuple(sorted(texts))
            if ordered not in made:
                inner = tuple(k for text in ordered for k in texts[text])
                trust = -_TRUST * equation.log_probability
                made[ordered] = _solved(system, i, Subset(ordered, (), inner, np.inf)), trust
    found = sorted((s for s, _ in made.values()), key=lambda s: s.misfit)
    noise = _noise(found, len(system.target[i]))
    ranked = sorted(made.values(), key=lambda pair: 0.5 * pair[0].misfit / noise + pair[0].price + pair[1])
    moved = [(polish(system, i, s) if s.inner else s, trust) for s, trust in ranked[:_POLISHED]]
    noise = min(noise, _noise([s for s, _ in moved], len(system.target[i])))
    kept: dict[tuple[str, ...], Subset] = {}
    for subset, trust in [*moved, *ranked[_POLISHED:]]:
        for s in _shortened(system, i, subset, noise):
            scored = replace(s, score=0.5 * s.misfit / noise + s.price + trust)
            if scored.score < kept.get(s.terms, replace(s, score=np.inf)).score:
                kept[s.terms] = scored
    return heapq.nsmallest(_KEPT, kept.values(), key=lambda s: s.score)


def _noise(subsets: Iterable[Subset], n: int) -> float:
    return max(1.0, min((s.misfit / max(n - len(s.terms), 1) for s in subsets), default=1.0))


def _solved(system: WeakSystem, i: int, subset: Subset) -> Subset:
    """The subset with coefficients, misfit and price at its inner constants; infinite misfit if it has no value."""
    design, at = [], 0
    for term in subset.terms:
        n = count_inner(term)
        design.append(system.columns(i, term, np.array(subset.inner[at : at + n])[:, None])[:, 0])
        at += n
    target = system.target[i]
    price = sum(term_price(t) + _PRICE * (1 + count_inner(t)) for t in subset.terms)
    columns = np.stack(design, 1) if design else np.zeros((len(target), 0))
    if not np.isfinite(columns).all():
        return replace(subset, coefficients=(0.0,) * len(subset.terms), misfit=np.inf, price=price)
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.sqrt((columns**2).sum(0)) + 1e-300
        outer = np.linalg.lstsq(columns / size, target, rcond=1e-12)[0] / size
        misfit = float(((target - columns @ outer) ** 2).sum())
    return replace(subset, coefficients=tuple(outer.tolist()), misfit=misfit, price=price)


def _shortened(system: WeakSystem, i: int, subset: Subset, noise: float) -> list[Subset]:
    """The subset, and shorter ones as long as dropping a term costs less than its price."""
    made = [subset] if np.isfinite(subset.misfit) else []
    while made and len(made[-1].terms) > 1:
        variants = [_solved(system, i, _without(made[-1], j)) for j in range(len(made[-1].terms))]
        best = min(variants, key=lambda s: 0.5 * s.misfit / noise + s.price)
        if not 0.5 * best.misfit / noise + best.price < 0.5 * made[-1].misfit / noise + made[-1].price:
            break
        made.append(best)
    return made


def _without(subset: Subset, j: int) -> Subset:
    counts = [count_inner(t) for t in subset.terms]
    first = sum(counts[:j])
    inner = (*subset.inner[:first], *subset.inner[first + counts[j] :])
    return replace(subset, terms=(*subset.terms[:j], *subset.terms[j + 1 :]), inner=inner)


def _joined(chosen: tuple[Subset, ...]) -> Equations:
    outer = [c for s in chosen for c in s.coefficients]
    inner = [k for s in chosen for k in s.inner]
    return Equations(Structure(tuple(s.terms for s in chosen)), (*outer, *inner))
