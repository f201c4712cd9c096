r"""Skeletons that no training set may hold, as a list of hashes.

A skeleton is a system without its constants; two that differ in the names of their states only count as one. The
shipped list holds the skeletons of the 63 systems of ODEBench (d'Ascoli et al., ICLR 2024, arXiv 2310.05573), so that a
model trained on what passes here has seen none of them. Beside each hash stands that of a coarser signature, which
costs little to compute and rules nearly every random system out at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .grammar import Factor, System, Term

__all__ = ["Exclusions", "odebench_exclusions"]

_FILE = Path(__file__).parent / "data" / "odebench_skeletons.json"


@dataclass(frozen=True)
class Exclusions:
    r"""A set of skeletons.

    Arguments:
        skeletons: Hashes of skeletons.
        signatures: Hashes of their signatures.

    Example:
        >>> held_out = Exclusions.of([System.from_sympy(["y", "-x"], ["x", "y"])])
        >>> System.from_sympy(["-2*y", "3*x"], ["x", "y"]) in held_out
        True
        >>> System.from_sympy(["y", "-x - y"], ["x", "y"]) in held_out
        False
    """

    skeletons: frozenset[str]
    signatures: frozenset[str]

    def __contains__(self, system: System) -> bool:
        system = system.canonical()
        return _hash(_signature(system)) in self.signatures and _hash(system.orbit()) in self.skeletons

    def __or__(self, other: Exclusions) -> Exclusions:
        return Exclusions(self.skeletons | other.skeletons, self.signatures | other.signatures)

    @classmethod
    def of(cls, systems: Iterable[System]) -> Exclusions:
        r"""The skeletons of some systems.

        Arguments:
            systems: Systems.
        """
        canonical = [s.canonical() for s in systems]
        return cls(frozenset(_hash(s.orbit()) for s in canonical), frozenset(_hash(_signature(s)) for s in canonical))

    def to_json(self) -> str:
        r"""The lists as JSON."""
        return json.dumps({"skeletons": sorted(self.skeletons), "signatures": sorted(self.signatures)}, indent=1)


@cache
def odebench_exclusions() -> Exclusions:
    r"""The skeletons of ODEBench.

    Returns:
        The shipped list.

    Example:
        >>> System.from_sympy(["0.8*x*(1 - x/70)"], ["x"]) in odebench_exclusions()
        True
    """
    lists = json.loads(_FILE.read_text(encoding="utf-8"))
    return Exclusions(frozenset(lists["skeletons"]), frozenset(lists["signatures"]))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _signature(system: System) -> str:
    """What stays the same when states are renamed: the functions in each equation, without their variables."""
    equations = sorted(str(sorted(map(_shape, terms))) for terms in system.equations)
    return f"{system.n_inputs}:{equations}"


def _shape(term: Term) -> str:
    def kind(f: Factor) -> str:
        return f"{f.outer} {f.inner} {f.w >= 0} {bool(f.o)} {bool(f.b)}"

    return str(sorted(map(kind, term.factors)))
