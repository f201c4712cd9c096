r"""Settings of the mixture chosen on held-out pairs.

The pairs are split into folds by subject. For each fold the embedding is tuned on the others and the held-out pairs get
inductive rows for every regularisation and hardness, and from them the mean log posterior probability of their labels
for every bandwidth and share of the prior. The setting with the greatest mean wins. With fewer than ``fewest`` pairs
there is nothing to choose with and the fixed settings stand: tau 1, gamma a quarter of the median cost, bandwidth .17
of the prior's spread (.1 of a uniform prior's half width), five per cent of the prior.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import nn

from ..transport import EntropicConfig
from .components import Components, PriorLaw
from .encoder import Whitening, embed
from .fit import RoPEConfig, couple, subject_weights
from .mixture import Mixture

__all__ = ["Grid", "Selection", "folds_by_group", "select"]


@dataclass(frozen=True)
class Grid:
    r"""Settings that are tried.

    Arguments:
        gamma: Regularisations, in units of the median cost.
        tau: Hardnesses of the simulations' marginal.
        bandwidth: Widths of the kernels, in units of the prior's spread.
        prior_share: Shares of the prior.
        folds: Folds of the pairs.
        fewest: Pairs below which the fixed settings are taken.
        most: Most held-out pairs a fold that are scored.

    Raises:
        ValueError: If a list is empty or there are fewer than two folds.

    Example:
        >>> len(Grid(gamma=(0.25,), tau=(1.0,)).settings)
        9
    """

    gamma: tuple[float, ...] = (0.03, 0.1, 0.25)
    tau: tuple[float, ...] = (1.0, 0.9, 0.5)
    bandwidth: tuple[float, ...] = (0.08, 0.17, 0.3)
    prior_share: tuple[float, ...] = (0.02, 0.05, 0.1)
    folds: int = 4
    fewest: int = 30
    most: int = 100

    def __post_init__(self) -> None:
        if not (self.gamma and self.tau and self.bandwidth and self.prior_share) or self.folds < 2:
            raise ValueError(f"every list of a grid must hold a value and folds be at least 2, got {self}")

    @property
    def settings(self) -> tuple[RoPEConfig, ...]:
        r"""Every setting."""
        return tuple(
            RoPEConfig(g, t, h, p)
            for g in self.gamma
            for t in self.tau
            for h in self.bandwidth
            for p in self.prior_share
        )


@dataclass(frozen=True)
class Selection:
    r"""The chosen setting and what each scored.

    Arguments:
        config: The setting with the greatest score, or the fixed one.
        scores: Mean log posterior probability on held-out pairs by setting; empty where nothing was tried.
        n: Held-out pairs that were scored.

    Example:
        >>> Selection(RoPEConfig(), {}, 0).config.gamma
        0.25
    """

    config: RoPEConfig
    scores: dict[RoPEConfig, float]
    n: int


def folds_by_group(groups: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    r"""Held-out rows of each fold, such that no group is in two.

    Arguments:
        groups: Group of each row.
        folds: Number of folds.
        seed: Seed of the split.

    Example:
        >>> sorted(np.concatenate(folds_by_group(np.array([1, 1, 2, 3]), 3, 0)).tolist())
        [0, 1, 2, 3]
    """
    distinct = np.random.default_rng(seed).permutation(np.unique(groups))
    parts = np.array_split(distinct, min(folds, len(distinct)))
    return [np.flatnonzero(np.isin(groups, part)) for part in parts if len(part)]


def select(
    fit_encoder: Callable[[np.ndarray], nn.Module],
    whitening: Whitening,
    components: Components,
    x: Float[np.ndarray, "N T"],
    theta: Float[np.ndarray, "N D"],
    unlabelled: Float[np.ndarray, "m T"],
    prior: PriorLaw,
    grid: Grid | None = None,
    *,
    groups: np.ndarray | None = None,
    subjects: np.ndarray | None = None,
    seed: int = 0,
    score: Callable[[Mixture, np.ndarray], Float[np.ndarray, " N"]] | None = None,
) -> Selection:
    r"""Chooses the settings by cross-validation over the pairs.

    Arguments:
        fit_encoder: Tunes the embedding on the given rows of the pairs.
        whitening: Whitening of embeddings over simulations.
        components: Posteriors given fresh simulations.
        x: Recordings of the pairs.
        theta: Labels; rows with a NaN are left out of the score unless ``score`` is given.
        unlabelled: Reference set.
        prior: The prior.
        grid: What is tried.
        groups: Subject of each pair; None takes each as its own.
        subjects: Subject of each recording without labels.
        seed: Seed of the folds.
        score: Log probability of the labels of some rows under their mixtures; None takes ``Mixture.log_prob``.

    Returns:
        The chosen setting with all scores. A log probability of minus infinity counts as -50.

    Example:
        >>> from pulsebayes.simulators.parameters import Parameter, ParameterSpace
        >>> space = ParameterSpace((Parameter("a", "1", 0.0, 1.0),))
        >>> parts = Components(space, np.zeros((60, 5, 1)), np.ones(1), None, np.zeros((60, 1)))
        >>> white, x = Whitening(np.zeros(1), np.eye(1)), np.zeros((10, 1))
        >>> select(lambda rows: nn.Identity(), white, parts, x, x + 0.5, x, space).n
        0
    """
    grid = grid or Grid()
    names = np.arange(len(x)) if groups is None else np.asarray(groups)
    usable = np.isfinite(theta).all(1) if score is None else np.ones(len(x), dtype=bool)
    if len(np.unique(names[usable])) < grid.fewest:
        return Selection(RoPEConfig(), {}, 0)
    total: dict[RoPEConfig, float] = dict.fromkeys(grid.settings, 0.0)
    counted = 0
    weight = None if subjects is None else subject_weights(subjects)
    h = whitening(np.asarray(components.contexts))
    for held in folds_by_group(names, grid.folds, seed):
        encoder = fit_encoder(np.setdiff1d(np.arange(len(x)), held))
        rows = held[usable[held]][: grid.most]
        real, new = (whitening(embed(encoder, values)) for values in (unlabelled, x[rows]))
        found = _scores(components, prior, h, real, new, rows, theta[rows], weight, grid, score)
        for config, value in found.items():
            total[config] += value
        counted += len(rows)
    means = {config: value / counted for config, value in total.items()}
    return Selection(max(means, key=means.__getitem__), means, counted)


def _scores(
    components: Components,
    prior: PriorLaw,
    h: Float[np.ndarray, "n k"],
    real: Float[np.ndarray, "m k"],
    new: Float[np.ndarray, "N k"],
    rows: np.ndarray,
    theta: Float[np.ndarray, "N D"],
    weight: Float[np.ndarray, " m"] | None,
    grid: Grid,
    score: Callable[[Mixture, np.ndarray], Float[np.ndarray, " N"]] | None,
) -> dict[RoPEConfig, float]:
    """Sum over the held-out pairs of one fold, by setting."""
    tables = {} if score else {b: components.table(theta, bandwidth=b) for b in grid.bandwidth}
    sums = {}
    for gamma, tau in _product(grid.gamma, grid.tau):
        solver = EntropicConfig(tolerance=1e-6, iterations=1000)
        coupling = couple(real, h, RoPEConfig(gamma, tau), weight=weight, solver=solver)
        weights = coupling.rows(new)
        for bandwidth, share in _product(grid.bandwidth, grid.prior_share):
            mixture = Mixture(weights, components, prior, bandwidth, share)
            log_p = score(mixture, rows) if score else mixture.log_prob(theta, table=tables[bandwidth])
            sums[RoPEConfig(gamma, tau, bandwidth, share)] = float(np.maximum(log_p, -50.0).sum())
    return sums


def _product(first: Sequence[float], second: Sequence[float]) -> list[tuple[float, float]]:
    return [(a, b) for a in first for b in second]
