r"""Classical sensitivity of the same simulator: Sobol's indices of every channel, to set beside what posteriors say.

For parameters $i$ and every sample $y_t$ of a channel's steady beat, by the estimators of Jansen over matrices $A$, $B$
and $A_B^{(i)}$, that is $A$ with column $i$ of $B$,

$$ V_t S_{i,t} = V_t - \tfrac{1}{2} \operatorname{E}\big(f_t(B) - f_t(A_B^{(i)})\big)^2, \qquad
   V_t T_{i,t} = \tfrac{1}{2} \operatorname{E}\big(f_t(A) - f_t(A_B^{(i)})\big)^2 , $$

joined over the samples of a channel, $S_i = \sum_t V_t S_{i,t}/\sum_t V_t$. A quantity that is not a parameter has a
first-order index too, $\sum_t \operatorname{Var} \operatorname{E}(y_t \mid q)/\sum_t V_t$, by groups of equal size
along the quantity, what groups of that size have by chance taken off.

References:
    Jansen M.J.W. (1999), Comput Phys Commun 117:35; Saltelli A. et al. (2010), Comput Phys Commun 181:259 (the design);
    Gamboa F. et al. (2014), Electron J Stat 8:575 (indices of outputs with many entries); Plischke E. et al. (2013),
    Eur J Oper Res 226:536 (from given data).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ...simulators.registry import build
from ...simulators.status import usable
from .study import BundleStudy

__all__ = ["Sensitivity", "given_data_index", "sobol_indices", "sobol_of_study"]

PHASES = 64
"""Samples of a steady beat, and its Fourier lines."""

Simulate = Callable[[Float[np.ndarray, "N D"]], Float[np.ndarray, "N C F"]]


@dataclass(frozen=True)
class Sensitivity:
    r"""Sobol's indices of channels.

    Arguments:
        parameters: Parameters, the rows.
        channels: Channels, the columns.
        first: First-order indices.
        total: Total indices.
        error: Standard errors of the total indices, by the bootstrap.
        quantities: First-order indices of quantities, by name, one for each channel.
        n: Base rows that were usable.

    Example:
        >>> Sensitivity(("a",), ("y",), np.ones((1, 1)), np.ones((1, 1)), np.zeros((1, 1)), {}, 64).n
        64
    """

    parameters: tuple[str, ...]
    channels: tuple[str, ...]
    first: Float[np.ndarray, "D C"]
    total: Float[np.ndarray, "D C"]
    error: Float[np.ndarray, "D C"]
    quantities: Mapping[str, Float[np.ndarray, " C"]]
    n: int

    def to_json(self) -> dict[str, Any]:
        r"""Returns the indices as a JSON-able dictionary."""
        tables = {"first": self.first, "total": self.total, "error": self.error}
        return {
            "n": self.n, "parameters": list(self.parameters), "channels": list(self.channels),
            **{name: np.round(values, 4).tolist() for name, values in tables.items()},
            "quantities": {name: np.round(values, 4).tolist() for name, values in self.quantities.items()},
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sensitivity:
        r"""Rebuilds the indices.

        Arguments:
            data: What ``to_json`` gave.
        """
        first, total, error = (np.array(data[name]) for name in ("first", "total", "error"))
        quantities = {name: np.array(values) for name, values in data["quantities"].items()}
        names = tuple(data["parameters"]), tuple(data["channels"])
        return cls(*names, first, total, error, quantities, data["n"])


def sobol_indices(
    simulate: Simulate, quantiles: Callable[[Float[np.ndarray, "N D"]], Float[np.ndarray, "N D"]], dim: int,
    n: int = 128, *, seed: int = 0,
) -> tuple[Float[np.ndarray, "D C"], Float[np.ndarray, "D C"], Float[np.ndarray, "D C"], int]:  # fmt: skip
    r"""First-order and total indices of a simulator.

    Arguments:
        simulate: From parameters to waves; rows that failed hold NaN.
        quantiles: From uniform numbers to parameters.
        dim: Number of parameters.
        n: Base rows, a power of two; ``n (dim + 2)`` rows are simulated.
        seed: Seed of the design and the bootstrap.

    Returns:
        First-order indices, total indices, standard errors of these, and the base rows whose simulations all succeeded.

    Raises:
        ValueError: If ``n`` is no power of two, or hardly any base row succeeded.

    Example:
        >>> first, total, _, _ = sobol_indices(lambda u: (u @ np.array([2.0, 1.0]))[:, None, None], lambda u: u, 2)
        >>> bool(np.abs(first[:, 0] - [0.8, 0.2]).max() < 0.15)
        True
    """
    from scipy.stats import qmc

    if n < 2 or n & (n - 1):
        raise ValueError(f"n must be a power of two, got {n}")
    design = qmc.Sobol(2 * dim, scramble=True, rng=np.random.default_rng([seed, 17])).random(n)
    a, b = design[:, :dim], design[:, dim:]
    f_a, f_b = simulate(quantiles(a)), simulate(quantiles(b))
    mixed = np.empty((dim, *f_a.shape))
    for i in range(dim):
        u = a.copy()
        u[:, i] = b[:, i]
        mixed[i] = simulate(quantiles(u))
    good = np.isfinite(f_a).all((1, 2)) & np.isfinite(f_b).all((1, 2)) & np.isfinite(mixed).all((0, 2, 3))
    if good.sum() < 16:
        raise ValueError(f"at least 16 base rows must succeed, got {int(good.sum())} of {n}: give a greater n")
    f_a, f_b, mixed = f_a[good], f_b[good], mixed[:, good]
    rng = np.random.default_rng([seed, 18])
    rows = np.arange(len(f_a))
    first, total = _jansen(f_a, f_b, mixed, rows)
    again = [_jansen(f_a, f_b, mixed, rng.choice(rows, len(rows)))[1] for _ in range(50)]
    return first, total, np.std(again, axis=0), len(rows)


def _jansen(f_a: np.ndarray, f_b: np.ndarray, mixed: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    variance = np.concatenate([f_a[rows], f_b[rows]]).var(0).sum(-1)
    own = 0.5 * ((f_b[rows] - mixed[:, rows]) ** 2).mean(1).sum(-1)
    other = 0.5 * ((f_a[rows] - mixed[:, rows]) ** 2).mean(1).sum(-1)
    variance = np.maximum(variance, 1e-300)
    return 1 - own / variance, other / variance


def given_data_index(
    quantity: Float[np.ndarray, " N"], waves: Float[np.ndarray, "N C F"], *, groups: int = 16
) -> Float[np.ndarray, " C"]:
    r"""First-order index of a quantity from simulations that are there already.

    Arguments:
        quantity: The quantity of each simulation.
        waves: Its waves.
        groups: Groups of equal size along the quantity.

    Returns:
        The index of each channel, about zero where the quantity says nothing.

    Example:
        >>> q = np.linspace(0, 1, 640)
        >>> bool(given_data_index(q, q[:, None, None])[0] > 0.95)
        True
    """
    parts = np.array_split(waves[np.argsort(quantity, kind="stable")], groups)
    n, mean = len(waves), waves.mean(0)
    between = sum(len(part) * (part.mean(0) - mean) ** 2 for part in parts)
    within = sum(((part - part.mean(0)) ** 2).sum(0) for part in parts) / (n - groups)
    total = waves.var(0, ddof=1)
    share = (between / n - (groups - 1) / n * within).sum(-1) / np.maximum(total.sum(-1), 1e-300)
    return np.asarray(np.clip(share, 0.0, 1.0))


def sobol_of_study(
    study: BundleStudy, n: int = 128, *, seed: int = 0, progress: Callable[[str], None] = lambda _: None
) -> Sensitivity:
    r"""Sobol's indices of the channels of a model, on its own simulator, of one steady beat and without sensors.

    Arguments:
        study: The model.
        n: Base rows, a power of two.
        seed: Seed.
        progress: Called with what is being done.

    Returns:
        The indices.

    Raises:
        ValueError: If too few simulations succeed.

    Example:
        >>> sobol_of_study(study).channels  # doctest: +SKIP
        ('ART',)
    """
    own = study.simulator
    config = dict(own.config)
    if "beat" in config:
        config |= {"beat": "periodic", "n_phases": PHASES, "n_frequencies": min(PHASES, int(config["n_frequencies"]))}
    simulator: Any = build(str(study.bundle.training["simulator"]), **config)
    places = [simulator.sites.index(site) for site in study.sites]
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    count = [0]

    def simulate(theta: np.ndarray) -> np.ndarray:
        progress(f"sensitivity: {count[0]} of {simulator.space.dim + 2} blocks")
        count[0] += 1
        rows = simulator.simulate(theta, seed)
        waves = np.asarray(rows.waves[:, places], np.float64)
        waves[~usable(rows.status)] = np.nan
        if len(kept) < 2:  # the matrices A and B are samples of the prior
            kept.append((theta, waves, np.asarray(rows.quantities, np.float64)))
        return waves

    space = simulator.space
    first, total, error, good = sobol_indices(simulate, space.sample_quantiles, space.dim, n, seed=seed)
    theta, waves, found = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    ok = np.isfinite(waves).all((1, 2))
    columns = dict(zip((*space.names, *simulator.quantity_names), np.concatenate([theta, found], 1)[ok].T, strict=True))
    truth = study.bundle.outputs.derive(study.bundle.outputs.encode(columns))
    indices = {name: given_data_index(values, waves[ok]) for name, values in truth.items()}
    return Sensitivity(space.names, study.channels, first, total, error, indices, good)
