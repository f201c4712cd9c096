r"""Proposers: where candidate equations come from.

`propose_weak` is our own: subsets of a dictionary that explain the weak form, found by a beam for each equation and
joined over the equations. PySINDy and pyoperon, both optional, propose from their own libraries. Every proposer sees
the observed samples only and answers with equations whose constants are a first guess; the refit makes them comparable.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np

from ._library import Entry, dictionary
from ._smooth import Path
from ._weak import Subset, WeakSystem, search_atoms, search_subsets, weak_system
from .equations import Equations, Structure

__all__ = ["PROPOSERS", "Proposal", "installed", "propose", "propose_operon", "propose_sindy", "propose_weak"]

PROPOSERS = ("weak", "sindy", "transformer", "operon")
r"""Names of all proposers."""
_LONGEST = 10
# Parts of the dictionary that are searched by themselves; ATOMS: one term with inner constants beside plain ones.
_PARTS = {
    "quadratic": (1, 2),
    "cubic": (1, 2, 3),
    "trigonometric": (1, 2, 3, 5),
    "rational": (1, 2, 6),
    "everything": (1, 2, 3, 4, 5, 6),
}
# What is joined over the equations: each part with the simpler ones.
_LEVELS = (
    ("quadratic",),
    ("cubic",),
    ("trigonometric",),
    ("atoms", "cubic"),
    ("quadratic", "cubic", "trigonometric", "atoms", "rational", "everything"),
)


@dataclass(frozen=True)
class Proposal:
    r"""Proposed equations.

    Arguments:
        equations: Structure and a first guess of the constants.
        source: Who proposes them.

    Example:
        >>> Proposal(Equations(Structure((("x0",),)), (1.0,)), "weak").source
        'weak'
    """

    equations: Equations
    source: str


def propose(paths: list[Path], proposers: Sequence[str], *, n_proposals: int = 20, model: str = "") -> list[Proposal]:
    r"""Proposals of several proposers, each structure once.

    Arguments:
        paths: Smooth paths of the trajectories.
        proposers: Names of the proposers.
        n_proposals: Most proposals of the weak form.
        model: Name or folder of the transformer's weights; the shipped ones if empty.

    Returns:
        Proposals.

    Raises:
        ImportError: If a proposer's package is not installed.
        ValueError: If there is no such model or it does not fit.

    Example:
        >>> from pulsebayes.inference.symbolic._smooth import smooth_path
        >>> t = np.linspace(0.0, 3.0, 80)
        >>> path = smooth_path(t, np.exp(-t)[:, None], np.zeros((80, 0)))
        >>> propose([path], ["weak"])[0].source
        'weak'
    """
    makers = {
        "weak": lambda: propose_weak(paths, n_all=n_proposals),
        "sindy": lambda: propose_sindy(paths),
        "operon": lambda: propose_operon(paths),
        "transformer": lambda: _propose_transformer(paths, model),
    }
    found: dict[Structure, Proposal] = {}
    for name in proposers:
        for proposal in makers[name]():
            found.setdefault(proposal.equations.structure, proposal)
    return list(found.values())


def propose_sindy(paths: list[Path]) -> list[Proposal]:
    r"""The PySINDy model of a grid that reproduces the first trajectory best; none where there are inputs.

    Arguments:
        paths: Smooth paths of the trajectories.

    Returns:
        At most one proposal. With more than ten terms in an equation (`too_long`) it is a fit and no law.

    Raises:
        ImportError: If PySINDy is not installed.

    Example:
        >>> from pulsebayes.inference.symbolic._smooth import smooth_path
        >>> t = np.linspace(0.0, 3.0, 80)
        >>> propose_sindy([smooth_path(t, np.exp(-t)[:, None], np.ones((80, 1)))])
        []
    """
    if paths[0].u.shape[1]:
        return []
    from ._sindy import tuned_sindy

    found = tuned_sindy(paths[0])
    return [Proposal(found, "sindy")] if found is not None else []


def too_long(proposal: Proposal) -> bool:
    r"""Whether an equation has so many terms that it is a fit and no law.

    Arguments:
        proposal: Proposed equations.

    Returns:
        Whether to use them only where nothing shorter explains the samples.

    Example:
        >>> too_long(Proposal(Equations(Structure((("x0",),)), (1.0,)), "sindy"))
        False
    """
    return max(len(e) for e in proposal.equations.structure.terms) > _LONGEST


def propose_operon(paths: list[Path], *, seed: int = 0) -> list[Proposal]:
    r"""Genetic programming on the smooth derivatives, one equation at a time.

    Arguments:
        paths: Smooth paths of the trajectories.
        seed: Seed of the search.

    Returns:
        At most one proposal.

    Raises:
        ImportError: If pyoperon is not installed.

    Example:
        >>> propose_operon.__name__
        'propose_operon'
    """
    from ._operon import operon_equations

    found = operon_equations(paths, seed)
    return [Proposal(found, "operon")] if found is not None else []


def _propose_transformer(paths: list[Path], model: str) -> list[Proposal]:
    from ._transformer import transformer_equations

    return [Proposal(equations, "transformer") for equations in transformer_equations(paths, model=model)]


def installed() -> tuple[str, ...]:
    r"""The proposers that can be used here.

    Returns:
        Names, `weak` first.

    Example:
        >>> installed()[0]
        'weak'
    """
    from ._transformer import shipped

    found = ["weak", *(["transformer"] if shipped() else [])]
    found += [name for name, package in (("sindy", "pysindy"), ("operon", "pyoperon")) if find_spec(package)]
    return tuple(found)


def propose_weak(paths: list[Path], *, n_level: int = 4, n_all: int = 20, largest: int = 7) -> list[Proposal]:
    r"""Proposals from the weak form.

    Arguments:
        paths: Smooth paths of the trajectories.
        n_level: Proposals of each part of the dictionary.
        n_all: Most proposals.
        largest: Most terms of an equation.

    Returns:
        Proposals, best first.

    Example:
        >>> from pulsebayes.inference.symbolic._smooth import smooth_path
        >>> t = np.linspace(0.0, 3.0, 80)
        >>> path = smooth_path(t, np.exp(-t)[:, None], np.zeros((80, 0)))
        >>> propose_weak([path])[0].equations.structure.terms
        (('x0',),)
    """
    x = np.concatenate([p.x for p in paths])
    smooth = np.concatenate([p.smooth for p in paths])
    entries = dictionary(np.abs(x).max(0), positive=np.asarray((smooth > 0).all(0)), n_inputs=paths[0].u.shape[1])
    system = weak_system(paths, entries)
    tables = [_search(system, equation, entries, largest) for equation in range(len(system.target))]
    found: dict[Structure, Proposal] = {}
    lists = [_cheapest([_merged(table, level) for table in tables], 2 * n_level) for level in _LEVELS]
    for rank in range(2 * n_level):
        for combinations in lists:
            if rank < len(combinations):
                equations = _join(combinations[rank][1])
                found.setdefault(equations.structure, Proposal(equations, "weak"))
    return list(found.values())[:n_all]


def _search(system: WeakSystem, equation: int, entries: list[Entry], largest: int) -> dict[str, list[Subset]]:
    r"""Subsets of every part for one equation, with the scores of all on one scale."""
    table = {}
    for part, kinds in _PARTS.items():
        allowed = np.array([e.kind in kinds for e in entries])
        table[part] = search_subsets(system, equation, entries, largest=largest, allowed=allowed)
    table["atoms"] = search_atoms(system, equation, entries, keep=16 if len(system.target) <= 2 else 8)
    n = len(system.target[equation])
    noise = max(1.0, min(s.misfit / max(n - len(s.terms), 1) for part in table.values() for s in part))
    return {part: [replace(s, score=0.5 * s.misfit / noise + s.price) for s in found] for part, found in table.items()}


def _merged(table: dict[str, list[Subset]], level: tuple[str, ...]) -> list[Subset]:
    found = {s.terms: s for part in level for s in table[part]}
    return heapq.nsmallest(10, found.values(), key=lambda s: s.score)


def _cheapest(choices: list[list[Subset]], n: int) -> list[tuple[float, tuple[Subset, ...]]]:
    r"""The n combinations of one subset for every equation with the smallest sum of scores."""
    best: list[tuple[float, tuple[Subset, ...]]] = [(0.0, ())]
    for subsets in choices:
        grown = [(score + s.score, (*combination, s)) for score, combination in best for s in subsets]
        best = heapq.nsmallest(n, grown, key=lambda item: item[0])
    return best


def _join(combination: tuple[Subset, ...]) -> Equations:
    outer = [c for s in combination for c in s.coefficients]
    inner = [k for s in combination for k in s.inner]
    return Equations(Structure(tuple(s.terms for s in combination)), (*outer, *inner))
