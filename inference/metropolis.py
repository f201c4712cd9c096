r"""Posteriors of costly models without any gradient: Metropolis chains about the mode, on the chart.

On its [`chart`][pulsebayes.inference.chart] a posterior is so nearly normal about its mode that a mixture $q$ of a few
Student laws proposes it whole. Two kinds of step leave the exact posterior $p$ as it is: a draw $y'$ of $q$, accepted
with

$$\min\Big(1, \frac{p(y')\,q(y)}{p(y)\,q(y')}\Big),$$

and a random walk by $2.38/\sqrt{U}$ of the posterior's width in every direction, which reaches what $q$ proposes too
little. Before the chains begin, $q$ is fitted in rounds to its own draws, weighted to the posterior, from one Student
law about the mode on; from then on it stands. Nothing but solutions of the model is needed.

References:
    | Markov chains for exploring posterior distributions (Tierney, 1994), section 2.3,
      https://doi.org/10.1214/aos/1176325750
    | Adaptive importance sampling in general mixture classes (Cappe et al., 2008), the fit,
      https://doi.org/10.1007/s11222-008-9059-x
    | Weak convergence and optimal scaling of random walk Metropolis algorithms (Gelman, Gilks & Roberts, 1997), the
      2.38, https://doi.org/10.1214/aoap/1034625254
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from .chart import Chart
from .importance import pareto_smooth
from .solved import Solver

__all__ = ["metropolis"]

_FREEDOM = 6.0
"""Degrees of freedom of the Student laws."""
_ROUNDS, _PROPOSED, _ITERATIONS = 3, 1536, 8
_LAWS, _PRIOR = 4, 0.1
"""Student laws of the mixture, and the share of the whole posterior's covariance in that of each."""
_LEAST = 10
"""Effective draws for each unknown to which the mixture is fitted at the least."""
_FREE_STEPS, _WALKS = 12, 1
"""Steps of either kind for each draw."""
_BLOCK = 16


def metropolis(
    solver: Solver,
    x: Float[np.ndarray, " T"],
    mode: Float[np.ndarray, " U"],
    factor: Float[np.ndarray, "U U"],
    start: float,
    *,
    draws: int,
    warmup: int,
    chains: int,
    seed: int,
) -> Float[np.ndarray, "chains draws U"]:
    r"""Draws the posterior of a window.

    Arguments:
        solver: Solver of the reference model.
        x: Window [mmHg].
        mode: Posterior mode, in unknowns.
        factor: Triangular factor of the covariance there.
        start: Place that the start is counted from [s].
        draws: Draws of each chain that are kept.
        warmup: Draws before them.
        chains: Chains, each begun at a draw of the law.
        seed: Seed.

    Example:
        >>> metropolis(solver, window, *solver.laplace(window, z, 0.0), 0.0, seed=0, **sizes).shape  # doctest: +SKIP
        (3, 250, 10)
    """
    rng = np.random.default_rng([seed, 47])
    chart = Chart(solver, mode)
    target, law = _Target(chart, np.asarray(x, np.float64), start), _Mixture.single(*chart.law(mode, factor))
    for _ in range(_ROUNDS):
        law = _fitted(target, law, rng)
    steps = warmup + draws
    free = law.draw(chains * (steps * _FREE_STEPS + 1), rng)
    at = _Points.at(target, law, free).shaped(chains, -1)
    now, kept = at.pick(slice(None), 0), np.empty((chains, draws, len(mode)))
    for i in range(steps):
        for j in range(1 + i * _FREE_STEPS, 1 + (i + 1) * _FREE_STEPS):
            now = now.moved(at.pick(slice(None), j), rng, free=True)
        for _ in range(_WALKS):
            step = rng.standard_normal(now.y.shape) @ law.width.T
            ahead = now.y + 2.38 / np.sqrt(len(mode)) * step
            now = now.moved(_Points.at(target, law, ahead), rng, free=False)
        if i >= warmup:
            kept[:, i - warmup] = now.z
    return kept


@dataclass(frozen=True)
class _Target:
    """The posterior density of a window on the chart."""

    chart: Chart
    x: np.ndarray
    start: float

    def density(self, y: Float[np.ndarray, "N U"]) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, "N U"]]:
        """Log density of rows on the chart, and their unknowns; block by block, which compiles once."""
        n, z, log_p = len(y), [], []
        padded = np.concatenate([y, np.repeat(y[-1:], -n % _BLOCK, axis=0)])
        for block in np.split(padded, len(padded) // _BLOCK):
            at = self.chart.back(block)
            log_p.append(at.log_prior - 0.5 * self.chart.solver.misfits_of(at.beats, self.x, at.z, self.start))
            z.append(at.z)
        found = np.concatenate(log_p)[:n]
        return np.where(np.isfinite(found), found, -np.inf), np.concatenate(z)[:n]


@dataclass(frozen=True)
class _Mixture:
    """Student laws on the chart, and a factor of the covariance of all together."""

    log_shares: np.ndarray
    centres: np.ndarray
    factors: np.ndarray
    width: np.ndarray

    @classmethod
    def single(cls, centre: np.ndarray, factor: np.ndarray) -> _Mixture:
        """One law."""
        return cls(np.zeros(1), centre[None], factor[None], factor)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draws."""
        u = np.sqrt(_FREEDOM / rng.chisquare(_FREEDOM, (n, 1))) * rng.standard_normal((n, self.centres.shape[1]))
        which = rng.choice(len(self.log_shares), n, p=np.exp(self.log_shares))
        return np.asarray(self.centres[which] + np.einsum("nij,nj->ni", self.factors[which], u))

    def distances(self, y: np.ndarray) -> np.ndarray:
        """Squared distances of points from each law, by law and point."""
        away = [np.linalg.solve(f, (y - c).T) for c, f in zip(self.centres, self.factors, strict=True)]
        return np.stack([(part**2).sum(0) for part in away])

    def log_densities(self, y: np.ndarray) -> np.ndarray:
        """Log density of points in each law, times its share and up to a constant, by law and point."""
        volume = np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(1)
        tail = -0.5 * (_FREEDOM + y.shape[1]) * np.log1p(self.distances(y) / _FREEDOM)
        return np.asarray(tail + (self.log_shares - volume)[:, None])

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """Log density of points up to a constant."""
        return np.asarray(np.logaddexp.reduce(self.log_densities(y), axis=0))


@dataclass(frozen=True)
class _Points:
    """Points on the chart with their unknowns, log densities and log weights."""

    y: np.ndarray
    z: np.ndarray = field(repr=False)
    log_p: np.ndarray = field(repr=False)
    log_w: np.ndarray = field(repr=False)

    @classmethod
    def at(cls, target: _Target, law: _Mixture, y: np.ndarray) -> _Points:
        """Points with what is known of them."""
        log_p, z = target.density(y)
        return cls(y, z, log_p, log_p - law.log_density(y))

    def shaped(self, *shape: int) -> _Points:
        """The same points by chain and step."""
        wide = (self.y.reshape(*shape, self.y.shape[-1]), self.z.reshape(*shape, self.z.shape[-1]))
        return _Points(*wide, self.log_p.reshape(shape), self.log_w.reshape(shape))

    def pick(self, *place: int | slice) -> _Points:
        """Some of the points."""
        return _Points(self.y[place], self.z[place], self.log_p[place], self.log_w[place])

    def moved(self, to: _Points, rng: np.random.Generator, *, free: bool) -> _Points:
        """One Metropolis step of every chain: of a free draw of the law, or of a walk."""
        with np.errstate(invalid="ignore"):  # from nowhere to nowhere
            gain = to.log_w - self.log_w if free else to.log_p - self.log_p
        taken = np.log(rng.random(len(gain))) < gain
        wide = taken[:, None]
        return _Points(
            np.where(wide, to.y, self.y), np.where(wide, to.z, self.z),
            np.where(taken, to.log_p, self.log_p), np.where(taken, to.log_w, self.log_w),
        )  # fmt: skip


def _fitted(target: _Target, law: _Mixture, rng: np.random.Generator) -> _Mixture:
    """The mixture fitted to its own draws, weighted to the posterior; as it was where too few of them count."""
    points = _Points.at(target, law, law.draw(_PROPOSED, rng))
    weights, y = pareto_smooth(points.log_w), points.y
    if weights.ess < _LEAST * y.shape[1]:
        return law
    share = np.exp(weights.log_w)
    whole = _covariance(y, share)
    width = np.linalg.cholesky(whole)
    begun = y[rng.choice(len(y), _LAWS, p=share)]
    law = _Mixture(np.full(_LAWS, -np.log(_LAWS)), begun, np.repeat(width[None], _LAWS, axis=0), width)
    for _ in range(_ITERATIONS):
        each = law.log_densities(y)
        held = share * np.exp(each - np.logaddexp.reduce(each, axis=0))  # by law and point
        near = held * (_FREEDOM + y.shape[1]) / (_FREEDOM + law.distances(y))
        centres = (near @ y) / near.sum(1)[:, None]
        shares = np.maximum(held.sum(1), 1e-3)
        spread = np.einsum("kn,kni,knj->kij", near, *[y - centres[:, None]] * 2) / held.sum(1)[:, None, None]
        factors = np.linalg.cholesky((1 - _PRIOR) * spread + _PRIOR * whole)
        law = _Mixture(np.log(shares / shares.sum()), centres, factors, width)
    return law


def _covariance(y: np.ndarray, share: np.ndarray) -> np.ndarray:
    away = y - share @ y
    return np.asarray((away * share[:, None]).T @ away)
