r"""Importance weights: draws of an estimator reweighted or resampled to the exact posterior of a reference model.

Weights are $w_i = p(x \mid \theta_i)\,p(\theta_i) / q(\theta_i \mid x)$. Their effective size is $(\sum w)^2 / \sum
w^2$; the shape $\hat k$ of the generalised Pareto law of the largest says whether that can be believed: above .7 the
draws miss a part of the posterior. The tail is replaced by that law's quantiles (Pareto smoothing), which costs a
little bias and saves much variance.

References:
    | Pareto smoothed importance sampling (Vehtari et al., 2024), https://jmlr.org/papers/v25/19-556.html
    | A new and efficient estimation method for the generalized Pareto distribution (Zhang & Stephens, 2009),
      https://doi.org/10.1198/tech.2009.08017
    | Neural importance sampling for rapid and reliable gravitational-wave inference (Dax et al., 2023),
      https://arxiv.org/abs/2210.05686
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from .bundle import Bundle
from .reference import START_S, Reference

if TYPE_CHECKING:
    import torch

__all__ = ["WARNING_K", "Refined", "Weights", "pareto_smooth", "refine", "resample"]

WARNING_K = 0.7
"""Pareto shape above which weights are not to be believed."""
_ROUNDS = 5
_APART = 100_003  # between the seeds of the rounds


@dataclass(frozen=True)
class Weights:
    r"""Smoothed weights.

    Arguments:
        log_w: Log weights, normalised.
        ess: Effective number of draws.
        k: Pareto shape of the largest weights.

    Example:
        >>> round(Weights(np.log(np.full(4, 0.25)), 4.0, -0.1).share, 2)
        1.0
    """

    log_w: Float[np.ndarray, " N"]
    ess: float
    k: float

    @property
    def share(self) -> float:
        r"""Effective draws over draws."""
        return self.ess / len(self.log_w)

    def warning(self) -> str | None:
        r"""What is wrong with the weights, or None."""
        if self.k > WARNING_K:
            return f"Pareto k is {self.k:.2f}, above {WARNING_K:g}: the estimator misses a part of the exact posterior"
        if self.ess < 50:
            return f"only {self.ess:.0f} effective draws: ask for more"
        return None


@dataclass(frozen=True)
class Refined:
    r"""Draws of the exact posterior of one window.

    Arguments:
        z: All unknowns.
        theta: Outputs of the estimator, each in its unit.
        weights: The weights they were resampled by.
        start: Place that the start is counted from [s].

    Example:
        >>> Refined(np.zeros((2, 9)), np.zeros((2, 5)), Weights(np.zeros(2), 2.0, 0.0), 0.1).theta.shape
        (2, 5)
    """

    z: Float[np.ndarray, "n U"]
    theta: Float[np.ndarray, "n D"]
    weights: Weights
    start: float


def pareto_smooth(log_w: Float[np.ndarray, " N"]) -> Weights:
    r"""Normalises weights, replaces the largest by quantiles of a Pareto law fitted to them, and judges them.

    Arguments:
        log_w: Log weights up to a constant; minus infinity for draws without weight.

    Returns:
        The weights; k is infinite where fewer than five differ.

    Raises:
        ValueError: If there are fewer than 20, one is NaN or plus infinity, or none has weight.

    Example:
        >>> found = pareto_smooth(np.random.default_rng(0).normal(0.0, 0.3, 1000))
        >>> found.k < 0.5, found.share > 0.8
        (True, True)
    """
    log_w = np.asarray(log_w, dtype=np.float64).copy()
    if log_w.ndim != 1 or len(log_w) < 20 or np.isnan(log_w).any() or np.isposinf(log_w).any():
        raise ValueError(f"log_w must hold at least 20 log weights, none NaN or plus infinity, got {log_w.shape}")
    if not np.isfinite(log_w).any():
        raise ValueError("log_w must give weight to some draw, got minus infinity throughout")
    n = len(log_w)
    log_w -= log_w.max()
    tail = int(np.ceil(min(0.2 * n, 3 * np.sqrt(n))))
    order = np.argsort(log_w)
    largest, cut = order[-tail:], log_w[order[-tail - 1]]
    excess = np.exp(log_w[largest]) - np.exp(cut)
    k = np.inf
    if tail >= 5 and len(np.unique(excess)) >= 5 and excess[0] > 0:
        k, sigma = _pareto(excess)
        place = (np.arange(tail) + 0.5) / tail
        quantile = sigma * np.expm1(-k * np.log1p(-place)) / k if abs(k) > 1e-10 else -sigma * np.log1p(-place)
        log_w[largest] = np.minimum(np.log(quantile + np.exp(cut)), 0.0)
    elif np.ptp(excess) < 1e-12:
        k = -np.inf  # equal weights
    log_w -= np.logaddexp.reduce(log_w)
    return Weights(log_w, float(np.exp(-np.logaddexp.reduce(2 * log_w))), float(k))


def resample(weights: Weights, n: int, rng: np.random.Generator) -> np.ndarray:
    r"""Rows drawn by their weights: without a row twice where weights allow it, otherwise with even spacing.

    Arguments:
        weights: The weights.
        n: How many.
        rng: Source of randomness.

    Example:
        >>> sorted(resample(Weights(np.log(np.full(4, 0.25)), 4.0, 0.0), 4, np.random.default_rng(0)).tolist())
        [0, 1, 2, 3]
    """
    place = (np.arange(n) + rng.random()) / n
    rows = np.searchsorted(np.cumsum(np.exp(weights.log_w)), place).clip(max=len(weights.log_w) - 1)
    return np.asarray(rng.permutation(rows))


def refine(
    bundle: Bundle, reference: Reference, x: Float[np.ndarray, " T"], n: int, *, proposals: int = 0, seed: int = 0
) -> Refined:
    r"""Draws the exact posterior of a window by weighting draws of the estimator.

    Arguments:
        bundle: A bundle that was trained on a reference model.
        reference: That model, from ``Reference.of``.
        x: Window [mmHg].
        n: Draws wanted.
        proposals: Draws of the estimator; 0 takes four times as many as wanted, and as many again, up to five times,
            while fewer than half as many as wanted count; of a costly model half as many once, about the mode.
        seed: Seed.

    Raises:
        ValueError: If the likelihood of the bundle's simulator and sensor is not known.

    Example:
        >>> refine(bundle, Reference.of(bundle), window, 1000).weights.k  # doctest: +SKIP
        0.2
    """
    import torch

    if not reference.exact:
        left = ", ".join(reference.left_out)
        raise ValueError(f"the likelihood of {bundle.name} is not known; a reference model would leave out {left}")
    generator = torch.Generator().manual_seed(seed)
    found = [_drawn(bundle, reference, x, proposals or 4 * n, generator, seed=seed)]
    weights = pareto_smooth(found[0].log_w)
    completed = reference.solver is not None and reference.solver.held
    for i in range(1, 1 if proposals else _ROUNDS):
        if weights.ess >= 0.5 * n or (completed and i > 1):
            break
        if completed:
            found = [_with_mode(bundle, reference, x, found[0], 2 * n, seed=seed)]
        else:
            found.append(_drawn(bundle, reference, x, 4 * n, generator, seed=seed + _APART * i))
        weights = pareto_smooth(np.concatenate([part.log_w for part in found]))
    start = found[0].start
    for part in found[1:]:
        part.z[:, -1] += (part.start - start) / START_S
    rows = resample(weights, n, np.random.default_rng([seed, 12]))
    z, outputs = (np.concatenate(parts)[rows] for parts in zip(*((p.z, p.outputs) for p in found), strict=True))
    return Refined(z, outputs, weights, start)


class _Drawn(NamedTuple):
    """Draws of all unknowns with their outputs and log weights, where the start is counted from, and what made them."""

    z: np.ndarray
    outputs: np.ndarray
    log_w: np.ndarray
    start: float
    theta: np.ndarray


def _drawn(
    bundle: Bundle, reference: Reference, x: Float[np.ndarray, " T"], n: int, generator: torch.Generator, *, seed: int
) -> _Drawn:
    """Draws of the estimator, completed and weighted."""
    import torch

    window = torch.from_numpy(np.asarray(x, np.float32))[None]
    outputs = bundle.npe.sample(window, n, generator)[0].astype(np.float64)
    outputs = outputs[np.isfinite(outputs).all(1)]
    log_q = bundle.npe.log_prob(outputs, window)
    space = reference.model.space
    theta = np.repeat(space.sample_quantiles(np.full((1, space.dim), 0.5)), len(outputs), axis=0)
    theta[:, [space.index(name) for name in reference.outputs]] = outputs
    proposal, start = reference.propose(x, theta, seed=seed)
    log_w = proposal.log_p + space.subset(reference.outputs).log_prior(outputs) - log_q - proposal.log_q
    return _Drawn(proposal.z, outputs, np.where(np.isfinite(log_w), log_w, -np.inf), start, theta)


def _with_mode(
    bundle: Bundle, reference: Reference, x: Float[np.ndarray, " T"], first: _Drawn, n: int, *, seed: int
) -> _Drawn:
    """Draws of the estimator together with those of a law about the posterior's mode, weighted as one mixture."""
    import torch

    from .mixture import balanced, mode_law

    solver, space, constant = reference.solver, reference.model.space, 0.5 * len(reference.outputs) * np.log(2 * np.pi)
    if solver is None:
        raise ValueError("a law about the mode needs a costly model, got one that is not")
    column = [space.index(name) for name in reference.outputs]
    middle = solver.middle(x, reference.begin(x, first.theta)[0], first.start)
    window = torch.from_numpy(np.asarray(x, np.float32))[None]

    def log_p(z: np.ndarray) -> np.ndarray:
        return np.asarray(-0.5 * solver.misfits(x, z, first.start) - 0.5 * (z[:, :-1] ** 2).sum(1))

    def estimator(z: np.ndarray) -> np.ndarray:
        outputs = reference.unknowns(z, first.start)
        theta = np.stack([outputs[name] for name in reference.outputs], axis=-1)
        own = bundle.npe.log_prob(theta, window) - space.subset(reference.outputs).log_prior(theta)
        known = own - 0.5 * (z[:, column] ** 2).sum(1) - constant
        return np.asarray(known + solver.completion_density(x, z, first.start, middle))

    density = log_p(first.z)
    law = mode_law(solver, x, first.z[np.argmax(density)], first.start)
    z, log_q = balanced(law, estimator, first.z, density - first.log_w - constant, n, seed=seed)
    log_w = np.concatenate([density, log_p(z[len(density) :])]) - log_q
    values = reference.unknowns(z, first.start)
    outputs = np.stack([values[name] for name in reference.outputs], axis=-1)
    return _Drawn(z, outputs, np.where(np.isfinite(log_w), log_w, -np.inf), first.start, first.theta)


def _pareto(excess: Float[np.ndarray, " M"]) -> tuple[float, float]:
    """Shape and scale of the generalised Pareto law of sorted excesses, with the weak prior of the PSIS paper."""
    n = len(excess)
    m = 30 + int(np.sqrt(n))
    b = 1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))
    b = b / (3 * excess[int(n / 4 + 0.5) - 1]) + 1 / excess[-1]
    k = np.log1p(-b[:, None] * excess).mean(1)
    likelihood = n * (np.log(-b / k) - k - 1)
    weight = 1 / np.exp(likelihood - likelihood[:, None]).sum(1)
    kept = weight >= 10 * np.finfo(float).eps
    b, weight = b[kept], weight[kept] / weight[kept].sum()
    centre = float((b * weight).sum())
    shape = float(np.log1p(-centre * excess).mean())
    scale = -shape / centre
    return (n * shape + 10 * 0.5) / (n + 10), scale
