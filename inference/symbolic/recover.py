r"""From trajectories to a posterior over equations.

Samples -> smooth paths -> proposals of all proposers -> refit of the constants -> shorter variants of the best ->
score, plausibility and agreement -> weights. Only the observed samples are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._smooth import Path, smooth_path
from .check import Trajectory, checked
from .posterior import Candidate, EquationPosterior, agreement_of
from .proposers import PROPOSERS, Proposal, propose, too_long
from .refit import Fit, Ladder, refit_constants
from .selection import (
    Scored,
    agreement,
    crossed,
    effective_samples,
    elsewhere,
    fit_all,
    implausible,
    rescored,
    shorter,
)  # fmt: skip

__all__ = ["RecoverConfig", "SymbolicRegressor", "recover_equations"]

_NEAR = 24


@dataclass(frozen=True)
class RecoverConfig:
    r"""How equations are searched for.

    Arguments:
        proposers: Who proposes: `weak`, `sindy` (needs PySINDy), `transformer`, `operon` (needs pyoperon).
        n_candidates: Most candidates in the answer.
        n_proposals: Most proposals of the weak form.
        refit: Whether constants are refitted through the integrator.
        temperature: Divides the scores before they become weights.
        noise: Relative misfit beyond the estimated noise from which an explanation counts as approximate only.
        model: Name or folder of the transformer's weights, such as `symbolic-scalar`; the general ones if empty.

    Raises:
        ValueError: If a number is out of range or a proposer unknown.

    Example:
        >>> RecoverConfig(proposers=("weak",)).n_candidates
        10
    """

    proposers: tuple[str, ...] = ("weak",)
    n_candidates: int = 10
    n_proposals: int = 20
    refit: bool = True
    temperature: float = 1.5
    noise: float = 3.0
    model: str = ""

    def __post_init__(self) -> None:
        unknown = set(self.proposers) - set(PROPOSERS)
        if unknown or not self.proposers:
            raise ValueError(f"proposers must be some of {', '.join(PROPOSERS)}; got {self.proposers}")
        if self.n_candidates < 1 or self.n_proposals < 1 or not self.temperature > 0:
            raise ValueError("n_candidates, n_proposals and temperature must be positive")


def recover_equations(
    trajectories: Sequence[Trajectory],
    *,
    names: Sequence[str] = (),
    inputs: Sequence[str] = (),
    config: RecoverConfig | None = None,
    seed: int = 0,
) -> EquationPosterior:
    r"""Recover ordinary differential equations from trajectories of one system.

    Arguments:
        trajectories: One or several, each with times, states and inputs.
        names: Names of the states; x0, x1, ... where not given.
        inputs: Names of the inputs; u0, u1, ... where not given.
        config: How to search.
        seed: Seed of the other starts that plausibility is asked from.

    Returns:
        The posterior.

    Raises:
        ValueError: If the trajectories cannot be used; the message says why.

    Example:
        >>> t = np.linspace(0.0, 6.0, 120)
        >>> answer = recover_equations([Trajectory(t, 4.0 / (1.0 + 3.0 * np.exp(-t))[:, None])], names=["n"])
        >>> answer.expressions()
        (-0.25*n**2 + n,)
    """
    setting = config or RecoverConfig()
    clean, scale = checked(trajectories, names)
    dim, n_u = clean[0].x.shape[1], clean[0].u.shape[1]
    names = tuple(names) or tuple(f"x{i}" for i in range(dim))
    inputs = tuple(inputs) or tuple(f"u{i}" for i in range(n_u))
    paths = [smooth_path(c.t, c.x, c.u) for c in clean]
    scored, ladder = search(paths, setting)
    ranked, weights = rank(scored, paths, setting, seed)
    candidates = []
    for item, weight in list(zip(ranked, weights, strict=True))[: setting.n_candidates]:
        error = heldout_error(item.fit, paths, ladder)
        equations = scale.undo(item.fit.equations)
        start = tuple(float(v) for v in item.fit.starts[0] * scale.x)
        candidates.append(Candidate(equations, start, float(weight), error, item.score, item.source))
    total = sum(c.weight for c in candidates) or 1.0
    candidates = [replace(c, weight=c.weight / total) for c in candidates]
    verdict, reason = judge(ranked, candidates, paths, setting)
    agreed = agreement_of(candidates, names, inputs)
    return EquationPosterior(tuple(candidates), names, inputs, agreed, verdict, reason)


def search(paths: list[Path], setting: RecoverConfig) -> tuple[list[Scored], Ladder]:
    r"""Refitted and scored candidates, best first.

    Arguments:
        paths: Smooth paths.
        setting: How to search.

    Returns:
        The candidates, and the ladder of integrators they were fitted with.

    Example:
        >>> t = np.linspace(0.0, 3.0, 80)
        >>> path = smooth_path(t, np.exp(-t)[:, None], np.zeros((80, 0)))
        >>> search([path], RecoverConfig())[0][0].fit.equations.structure.terms
        (('x0',),)
    """
    given = propose(paths, setting.proposers, n_proposals=setting.n_proposals, model=setting.model)
    proposals, long = [p for p in given if not too_long(p)], [p for p in given if too_long(p)]
    ladder, n_iterations = Ladder(paths), 8 if setting.refit else 0
    found, worth = fit_all(proposals, ladder, n_iterations=n_iterations), 0.0
    if paths[0].u.shape[1]:
        worth = effective_samples(found)
        found = rescored(found, worth)
    if not setting.refit:
        return found or fit_all(long, ladder, n_iterations=0), ladder
    found = improve(found, ladder, worth)
    if found:
        seen = {s.fit.equations.structure for s in found}
        fresh = [p for p in crossed(found[0], proposals) if p.equations.structure not in seen]
        found += fit_all(fresh, ladder, n_iterations=6, n_effective=worth)
        found = improve(sorted(found, key=lambda s: s.score), ladder, worth)
    if long and (not found or misses(found[0], paths) > setting.noise):
        found += fit_all(long, ladder, n_iterations=n_iterations, n_effective=worth)
    return sorted(found, key=lambda s: s.score), ladder


def misses(item: Scored, paths: list[Path]) -> float:
    r"""By how many times the estimated noise a candidate misses the samples, for its worst state.

    Arguments:
        item: The candidate.
        paths: Smooth paths.

    Returns:
        Root mean square misfit over the noise.

    Example:
        >>> t = np.linspace(0.0, 3.0, 80)
        >>> path = smooth_path(t, np.exp(-t)[:, None], np.zeros((80, 0)))
        >>> misses(search([path], RecoverConfig())[0][0], [path]) < 1.0
        True
    """
    return float(np.sqrt((item.fit.misfit / sum(len(p.t) for p in paths)).max()))


def improve(found: list[Scored], ladder: Ladder, n_effective: float = 0.0) -> list[Scored]:
    r"""The candidates with shorter variants of the best, as long as that finds new ones.

    Arguments:
        found: Candidates, best first.
        ladder: The integrators.
        n_effective: Independent samples; 0 for as many as there are.

    Returns:
        Candidates, best first.

    Example:
        >>> improve([], Ladder([]))
        []
    """
    seen = {s.fit.equations.structure for s in found}
    for _ in range(6):
        fresh: list[Proposal] = []
        for item in found[:3]:
            fresh += [p for p in shorter(item) if p.equations.structure not in seen]
            seen |= {p.equations.structure for p in fresh}
        if not fresh:
            break
        found = sorted(found + fit_all(fresh, ladder, n_effective=n_effective), key=lambda s: s.score)
    return found


def rank(scored: list[Scored], paths: list[Path], setting: RecoverConfig, seed: int) -> tuple[list[Scored], np.ndarray]:
    r"""Order and weights: what is implausible pays, and what most of the posterior agrees with comes first.

    Arguments:
        scored: Candidates, best first.
        paths: Smooth paths.
        setting: How to search.
        seed: Seed of the other starts.

    Returns:
        Candidates, the one to use first and the others by weight, with their weights.

    Raises:
        ValueError: If there is no candidate.

    Example:
        >>> t = np.linspace(0.0, 3.0, 80)
        >>> path = smooth_path(t, np.exp(-t)[:, None], np.zeros((80, 0)))
        >>> float(rank(search([path], RecoverConfig())[0], [path], RecoverConfig(), 0)[1].sum().round(6))
        1.0
    """
    if not scored:
        raise ValueError("no candidate could be integrated along the samples; give more samples, or smoother ones")
    near = [s for s in scored if s.score < scored[0].score + 40.0][:_NEAR]
    other = elsewhere(paths, np.random.default_rng(seed))
    runs = [other.run(s.fit.equations) for s in near]
    priced = [
        replace(s, score=s.score + implausible(s.fit.equations, r, paths)) for s, r in zip(near, runs, strict=True)
    ]
    scores = np.array([s.score for s in priced])
    weights = np.exp(-(scores - scores.min()) / setting.temperature)
    weights /= weights.sum()
    useful = agreement(runs) @ weights
    order = np.argsort(-weights)
    first = int(np.argmax(useful + 0.15 * weights))
    order = np.concatenate([[first], order[order != first]])
    return [priced[i] for i in order], weights[order]


def heldout_error(fit: Fit, paths: list[Path], ladder: Ladder) -> float:
    r"""Error on every fifth sample when the constants are refitted to the others.

    Arguments:
        fit: The refitted equations.
        paths: Smooth paths.
        ladder: The integrators.

    Returns:
        Root mean square error over the states' standard deviations; NaN where the refit fails.

    Example:
        >>> t = np.linspace(0.0, 3.0, 80)
        >>> path = smooth_path(t, np.exp(-t)[:, None], np.zeros((80, 0)))
        >>> found, ladder = search([path], RecoverConfig())
        >>> heldout_error(found[0].fit, [path], ladder) < 1e-3
        True
    """
    structure, constants = fit.equations.structure, np.array(fit.equations.constants)
    shooting = ladder.choose(structure, constants)
    if shooting is None:
        return float("nan")
    out = np.arange(len(shooting.y)) % 5 == 2
    error = refit_constants(structure, constants, shooting, n_iterations=4, without=out)
    if error is None:
        return float("nan")
    spread = np.maximum(np.std(shooting.y, 0), 1e-12)
    return float(np.sqrt(np.mean((error.misses[out] / spread) ** 2)))


def judge(
    ranked: list[Scored], candidates: list[Candidate], paths: list[Path], setting: RecoverConfig
) -> tuple[str, str]:
    r"""The verdict, and why.

    Arguments:
        ranked: Candidates as ranked.
        candidates: The same with weights and held-out errors.
        paths: Smooth paths.
        setting: How to search.

    Returns:
        `one`, `several`, `approximate` or `none`, and a sentence.

    Example:
        >>> t = np.linspace(0.0, 3.0, 80)
        >>> recover_equations([Trajectory(t, np.exp(-t)[:, None])]).verdict
        'one'
    """
    best = candidates[0]
    if np.isnan(best.error_heldout):
        return "none", "no equation explains this: the best cannot be fitted without a fifth of the samples"
    if not best.error_heldout < 0.7:
        return "none", f"no equation explains this: the best misses held-out samples by {best.error_heldout:.2g} SD"
    excess = max(misses(ranked[0], paths), best.error_heldout / noise_share(paths))
    if excess > setting.noise and best.error_heldout > 0.05:
        return "approximate", (
            f"no equation explains this to the noise: the best misses by {excess:.1f} times the estimated noise"
        )
    if best.error_heldout > 0.5:
        return (
            "approximate",
            f"the best misses held-out samples by {best.error_heldout:.2g} SD, little better than a mean",
        )
    if best.weight >= 0.5:
        return "one", f"one structure holds {best.weight:.0%} of the posterior"
    several = sum(c.weight > 0.05 for c in candidates)
    return "several", f"{several} structures share the posterior; the first holds {best.weight:.0%}"


def noise_share(paths: list[Path]) -> float:
    r"""Estimated noise over the states' standard deviations, root mean square.

    Arguments:
        paths: Smooth paths.

    Returns:
        The share.

    Example:
        >>> t = np.linspace(0.0, 3.0, 80)
        >>> round(noise_share([smooth_path(t, np.exp(-t)[:, None], np.zeros((80, 0)))]), 4)
        0.0001
    """
    spread = np.maximum(np.std(np.concatenate([p.x for p in paths]), 0), 1e-300)
    return float(np.sqrt(np.mean((np.concatenate([p.sigma for p in paths]) / spread) ** 2)))


class SymbolicRegressor:
    r"""Equations of a system, in the manner of scikit-learn.

    Arguments:
        config: How to search.
        seed: Seed.

    Example:
        >>> t = np.linspace(0.0, 6.0, 120)
        >>> model = SymbolicRegressor().fit(t, np.exp(-0.5 * t)[:, None])
        >>> round(model.score(t, np.exp(-0.5 * t)[:, None]), 3)
        1.0
    """

    def __init__(self, config: RecoverConfig | None = None, *, seed: int = 0) -> None:
        self.config = config or RecoverConfig()
        self.seed = seed

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        r"""The arguments of the constructor.

        Arguments:
            deep: Not used.

        Returns:
            Arguments by name.
        """
        return {"config": self.config, "seed": self.seed}

    def set_params(self, **parameters: Any) -> SymbolicRegressor:
        r"""Change arguments of the constructor.

        Arguments:
            **parameters: `config` or `seed`.

        Returns:
            This regressor.

        Raises:
            ValueError: If a name is unknown.
        """
        for name, value in parameters.items():
            if name not in ("config", "seed"):
                raise ValueError(f"expected config or seed, got {name}")
            setattr(self, name, value)
        return self

    def fit(
        self, t: np.ndarray | Sequence[np.ndarray], x: np.ndarray | Sequence[np.ndarray], u: Any = None
    ) -> SymbolicRegressor:
        r"""Recover the equations.

        Arguments:
            t: Times, with shape (T,), or a list for several trajectories.
            x: States, with shape (T, D), or a list.
            u: Inputs, with shape (T, n_u), or a list.

        Returns:
            This regressor, with `posterior_`.
        """
        many = isinstance(x, (list, tuple))
        times, states = (list(t), list(x)) if many else ([t], [x])
        drives = [None] * len(states) if u is None else list(u) if many else [u]
        given = [Trajectory(a, b, c) for a, b, c in zip(times, states, drives, strict=True)]
        self.posterior_ = recover_equations(given, config=self.config, seed=self.seed)
        return self

    def predict(self, t: np.ndarray, start: np.ndarray | None = None, u: np.ndarray | None = None) -> np.ndarray:
        r"""Trajectory of the chosen equations.

        Arguments:
            t: Times, with shape (T,).
            start: State at the first time; the fitted one where not given.
            u: Inputs, with shape (T, n_u).

        Returns:
            States, with shape (T, D).

        Raises:
            ValueError: If nothing was fitted yet, or start or inputs have another shape than those fitted.
        """
        if not hasattr(self, "posterior_"):
            raise ValueError("expected a fitted regressor, got one that is not: call fit(t, x) first")
        return self.posterior_.predict(t, start, u)

    def score(self, t: np.ndarray, x: np.ndarray, u: np.ndarray | None = None) -> float:
        r"""Variance-weighted R^2 of the trajectory from the first state.

        Arguments:
            t: Times, with shape (T,).
            x: States, with shape (T, D).
            u: Inputs, with shape (T, n_u).

        Returns:
            R^2; minus infinity where the equations leave all bounds.
        """
        x = np.asarray(x, dtype=float)
        x = x[:, None] if x.ndim == 1 else x
        made = self.predict(t, x[0], u)
        if not np.isfinite(made).all():
            return -np.inf
        return 1.0 - float(((x - made) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())
