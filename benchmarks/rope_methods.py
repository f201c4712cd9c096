r"""Methods of the RoPE benchmark, all from one problem and the first n pairs."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pulsebayes.calibration.rope import (
    FitConfig,
    FlowPosterior,
    Grid,
    Mixture,
    PriorPosterior,
    RoPEConfig,
    aligned,
    fit_flow,
    fit_gaussian,
    fit_rope,
    gaussian_of,
    select,
    tune,
)

from .rope_problems import Problem

GRID = Grid(gamma=(0.02, 0.07, 0.25), tau=(1.0, 0.5), bandwidth=(0.08, 0.17, 0.3), prior_share=(0.05,), folds=3)


@dataclass(frozen=True)
class Found:
    """What a method gives: posteriors of the test recordings, and their log density at the truth."""

    method: str
    posterior: Any
    log_p: np.ndarray
    config: RoPEConfig | None = None


class Tables:
    """Log densities of all components at the true test values, made once for each bandwidth."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.kept: dict[float, np.ndarray] = {}

    def __call__(self, bandwidth: float) -> np.ndarray:
        if bandwidth not in self.kept:
            self.kept[bandwidth] = self.problem.components.table(self.problem.theta, bandwidth=bandwidth)
        return self.kept[bandwidth]


def shared(problem: Problem, tables: Tables) -> Iterator[Found]:
    """Methods that see no pair."""
    p = problem
    for name, posterior in (
        ("prior", PriorPosterior(p.prior, len(p.x))),
        ("NPE", FlowPosterior(p.npe, p.x)),
        ("NPE on simulations of the test labels", FlowPosterior(p.npe, p.twins)),
    ):
        yield Found(name, posterior, posterior.log_prob(p.theta))
    config = RoPEConfig.plain()
    rope = fit_rope(p.npe.embedding, p.whitening, p.components, p.x, p.prior, config)
    yield _mixture("OT only", p, rope.posterior(p.x), tables, config)


def paired(problem: Problem, n: int, draw: int, tables: Tables) -> Iterator[Found]:
    """Methods that see n pairs."""
    p, rows = problem, np.arange(n)
    x, theta = (values[:n] for values in p.pairs)
    settings = p.tuning(draw)
    tuned = tune(p.npe.embedding, p.whitening, x, p.targets(rows), settings)
    for name, config in (("RoPE", RoPEConfig.plain()), ("RoPE*", RoPEConfig.plain(tau=0.9))):
        rope = fit_rope(tuned, p.whitening, p.components, p.x, p.prior, config)
        yield _mixture(name, p, rope.posterior(p.x), tables, config)
    alone = copy.deepcopy(p.npe)
    alone.embedding = tuned
    yield _flow("tuning only", p, alone)
    start = aligned(p.npe.embedding, p.x)

    def encoder(which: np.ndarray) -> Any:
        return tune(start, p.whitening, x[which], p.targets(which), settings)

    grid = GRID if n >= GRID.fewest else Grid(fewest=10**9)
    chosen = select(encoder, p.whitening, p.components, x, theta, p.x, p.prior, grid, seed=draw).config
    rope = fit_rope(encoder(rows), p.whitening, p.components, p.x, p.prior, chosen)
    weights = rope.weights(p.x)
    yield _mixture("RoPE smoothed", p, rope.mixture(weights), tables, chosen)
    plain = RoPEConfig.plain(gamma=chosen.gamma, tau=chosen.tau)
    narrow = Mixture(weights, p.components, p.prior)
    yield _mixture("RoPE aligned, not smoothed", p, narrow, tables, plain)
    fit = FitConfig(steps=p.size.fit_steps, seed=draw)
    yield _flow("NPE on pairs", p, fit_flow(p.fresh, x, theta, fit))
    yield _flow("joint NPE", p, fit_flow(p.npe, x, theta, fit, simulated=p.simulated))
    gaussian = gaussian_of(fit_gaussian(p.fresh, x, theta, fit), p.fresh, p.x)
    yield Found("Gaussian MLP", gaussian, gaussian.log_prob(p.theta))


def _flow(name: str, p: Problem, npe: Any) -> Found:
    posterior = FlowPosterior(npe, p.x)
    return Found(name, posterior, posterior.log_prob(p.theta))


def _mixture(name: str, p: Problem, mixture: Mixture, tables: Tables, config: RoPEConfig) -> Found:
    return Found(name, mixture, mixture.log_prob(p.theta, table=tables(mixture.bandwidth)), config)
