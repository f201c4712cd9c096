r"""How often the transformer names the true skeleton of held-out random systems."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...simulators.odes.corruption import Corruption
from ...simulators.odes.grammar import System, Term
from ...simulators.odes.packed import unpack
from ...simulators.odes.shards import Systems, read_shard
from .check import Trajectory
from .decoding import decode
from .model import EquationTransformer

__all__ = ["Recall", "measure"]

_SETTINGS = {
    "clean": Corruption(points=(512, 512), noise=0.0, clean=0.0, drop=0.0, irregular=0.0, gap=0.0, crop=0.0),
    "noise up to 5 %, half the points": Corruption(
        points=(256, 256), noise=0.05, clean=0.0, additive=0.0, drop=0.0, irregular=0.99, gap=0.0, crop=0.0
    ),
}


@dataclass(frozen=True)
class Recall:
    r"""Shares of equations whose skeleton was found.

    Arguments:
        n: Number of equations.
        greedy: Share found by the most probable sequence.
        sampled: Share found among the samples.
        seconds: CPU time of decoding one system [s].

    Example:
        >>> Recall(10, 0.2, 0.5, 0.1).sampled
        0.5
    """

    n: int
    greedy: float
    sampled: float
    seconds: float


def measure(
    net: EquationTransformer, shard: Path, *, n: int = 40, n_samples: int = 64, seed: int = 0
) -> dict[str, Recall]:
    r"""Decodes systems of a shard, clean and with noise that is uniform up to 5 %.

    Arguments:
        net: The network.
        shard: A shard it was not trained on.
        n: Systems of each kind.
        n_samples: Samples an equation.
        seed: Seed of measurement and samples.

    Returns:
        Recall for each way of measuring.

    Example:
        >>> measure(net, Path("00000.npz"))  # doctest: +SKIP
        {'clean': Recall(...), ...}
    """
    kinds = list(read_shard(shard))
    return {name: _recall(net, kinds, corruption, n, n_samples, seed) for name, corruption in _SETTINGS.items()}


def _recall(
    net: EquationTransformer, kinds: list[Systems], corruption: Corruption, n: int, n_samples: int, seed: int
) -> Recall:
    rng = np.random.default_rng([seed, 3])
    greedy: list[bool] = []
    sampled: list[bool] = []
    systems, began = 0, time.process_time()
    for kind in kinds:
        rows = np.arange(min(n, len(kind.packed)))
        seen = corruption.observe(rng, kind.x[rows], kind.u[rows])
        for row in rows:
            system = unpack(kind.packed, int(row))
            observed = [Trajectory(seen.t[row], seen.x[row], seen.u[row])]
            first = decode(net, observed, n_samples=1, seed=seed)
            found = decode(net, observed, n_samples=n_samples, seed=seed)
            for i, terms in enumerate(system.equations):
                truth = _skeleton(terms, i, system)
                greedy.append(truth in {_skeleton(c.terms, i, system) for c in first[i]})
                sampled.append(truth in {_skeleton(c.terms, i, system) for c in found[i]})
            systems += 1
    seconds = (time.process_time() - began) / max(systems, 1)
    return Recall(len(greedy), float(np.mean(greedy)), float(np.mean(sampled)), seconds)


def _skeleton(terms: tuple[Term, ...], i: int, system: System) -> str:
    alone = tuple(terms if j == i else () for j in range(system.dimension))
    return System(alone, system.n_inputs).skeleton()
