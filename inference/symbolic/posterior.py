r"""The answer: a posterior over equations, with weights, predictions, agreement on every term and a verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .equations import Equations

__all__ = ["Candidate", "EquationPosterior", "run"]


@dataclass(frozen=True)
class Candidate:
    r"""One candidate of the posterior.

    Arguments:
        equations: Structure and refitted constants.
        start: Fitted state at the first sample of the first trajectory, with shape (D,).
        weight: Its share of the posterior.
        error_heldout: Root mean square error on samples kept out of its refit, over the states' standard deviations.
        score: Negative log posterior up to a constant [nats].
        source: Who proposed it.

    Example:
        >>> from pulsebayes.inference.symbolic.equations import Structure
        >>> Candidate(Equations(Structure((("x0",),)), (1.0,)), (1.0,), 1.0, 0.01, 3.0, "weak").length
        2
    """

    equations: Equations
    start: tuple[float, ...]
    weight: float
    error_heldout: float
    score: float
    source: str

    @property
    def length(self) -> int:
        r"""Length of the equations."""
        return self.equations.structure.length


@dataclass(frozen=True)
class EquationPosterior:
    r"""Weighted candidates, best first.

    Arguments:
        candidates: The candidates; the first is the one to use.
        names: Names of the states.
        inputs: Names of the inputs.
        agreement: For every state the share of the posterior that has a term, by the term's text in the file's names.
        verdict: `one`, `several`, `approximate` or `none`.
        reason: The verdict in words.

    Example:
        >>> from pulsebayes.inference.symbolic.equations import Structure
        >>> one = Candidate(Equations(Structure((("x0",),)), (-1.0,)), (1.0,), 1.0, 0.01, 3.0, "weak")
        >>> post = EquationPosterior((one,), ("P",), (), {"P": {"P": 1.0}}, "one", "one equation holds the posterior")
        >>> post.expressions(0)
        (-P,)
        >>> post.predict(np.array([0.0, 1.0]), np.array([1.0])).round(3)[:, 0]
        array([1.   , 0.368])
    """

    candidates: tuple[Candidate, ...]
    names: tuple[str, ...]
    inputs: tuple[str, ...]
    agreement: dict[str, dict[str, float]]
    verdict: str
    reason: str

    def expressions(self, rank: int = 0, *, digits: int = 4) -> tuple[Any, ...]:
        r"""SymPy right-hand sides of a candidate in the names of the file.

        Arguments:
            rank: Which candidate.
            digits: Significant digits.

        Returns:
            One expression for every state.
        """
        return self.candidates[rank].equations.to_sympy(self.names, self.inputs, digits=digits)

    def latex(self, rank: int = 0, *, digits: int = 4) -> tuple[str, ...]:
        r"""LaTeX of a candidate's equations.

        Arguments:
            rank: Which candidate.
            digits: Significant digits.

        Returns:
            One equation for every state.
        """
        import sympy

        return tuple(
            rf"\frac{{d {sympy.latex(sympy.Symbol(name))}}}{{dt}} = {sympy.latex(expression)}"
            for name, expression in zip(self.names, self.expressions(rank, digits=digits), strict=True)
        )

    def predict(
        self, t: np.ndarray, start: np.ndarray | None = None, u: np.ndarray | None = None, *, rank: int = 0
    ) -> np.ndarray:
        r"""Trajectory of a candidate.

        Arguments:
            t: Rising times, with shape (T,).
            start: State at the first time, with shape (D,); the fitted one where not given.
            u: Inputs at the times, with shape (T, n_u).
            rank: Which candidate.

        Returns:
            States, with shape (T, D); NaN throughout where the candidate leaves all bounds.

        Raises:
            ValueError: If times do not rise, or start or inputs have another shape than those fitted.
        """
        candidate = self.candidates[rank]
        when = np.asarray(t, dtype=float)
        first = np.atleast_1d(np.asarray(candidate.start if start is None else start, dtype=float))
        drive = np.zeros((len(when), 0)) if u is None else np.asarray(u, dtype=float)
        drive = drive[:, None] if drive.ndim == 1 else drive
        if when.ndim != 1 or len(when) < 2 or not (np.diff(when) > 0).all():
            raise ValueError(f"t must hold at least two rising times, got shape {when.shape}")
        if first.shape != (len(self.names),):
            raise ValueError(f"start must hold {len(self.names)} states ({', '.join(self.names)}), got {first.shape}")
        if drive.shape != (len(when), len(self.inputs)):
            raise ValueError(f"u must have shape {(len(when), len(self.inputs))}, got {drive.shape}")
        made = run(candidate.equations, first, when, drive)
        return np.full((len(when), len(first)), np.nan) if made is None else made

    def draws(self, t: np.ndarray, start: np.ndarray, u: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        r"""Trajectories of all candidates, and their weights: (n, T, D) and (n,).

        Arguments:
            t: Rising times, with shape (T,).
            start: State at the first time, with shape (D,).
            u: Inputs at the times, with shape (T, n_u).

        Returns:
            Trajectories and weights.
        """
        paths = [self.predict(t, start, u, rank=i) for i in range(len(self.candidates))]
        return np.stack(paths), np.array([c.weight for c in self.candidates])

    def to_json(self) -> dict[str, Any]:
        r"""The posterior as `recover --json` prints it.

        Returns:
            Candidates, agreement and verdict.
        """
        return {
            "candidates": [
                {
                    "equations": [f"d{n}/dt = {e}" for n, e in zip(self.names, self.expressions(i), strict=True)],
                    "latex": list(self.latex(i)),
                    "weight": round(c.weight, 6),
                    "error_heldout": float(f"{c.error_heldout:.4g}") if np.isfinite(c.error_heldout) else None,
                    "length": c.length,
                }
                for i, c in enumerate(self.candidates)
            ],
            "agreement": {n: {t: round(v, 4) for t, v in shares.items()} for n, shares in self.agreement.items()},
            "verdict": self.verdict,
        }


def run(
    equations: Equations,
    start: np.ndarray,
    t: np.ndarray,
    u: np.ndarray | None = None,
    *,
    limit_s: float = 5.0,
    rtol: float = 1e-6,
) -> np.ndarray | None:
    r"""Integrate equations from a state.

    Arguments:
        equations: The equations.
        start: State at the first time, with shape (D,).
        t: Rising times, with shape (T,).
        u: Inputs at the times, with shape (T, n_u); read linearly between them.
        limit_s: Longest time to spend [s].
        rtol: Relative tolerance.

    Returns:
        States, with shape (T, D), or None where they leave all bounds or time is up.

    Example:
        >>> from pulsebayes.inference.symbolic.equations import Structure
        >>> run(Equations(Structure((("x0*x0",),)), (1.0,)), np.ones(1), np.linspace(0, 2, 9)) is None
        True
    """
    from scipy.integrate import solve_ivp

    f, c = equations.structure.right_hand_side(), np.asarray(equations.constants)
    driven = u is not None and u.shape[1] > 0
    end, bound = time.process_time() + limit_s, 1e6 * (1.0 + float(np.abs(start).max()))

    def slope(s: float, x: np.ndarray) -> np.ndarray:
        if time.process_time() > end or not np.all(np.abs(x) < bound):
            raise OverflowError
        return f(x, np.array([np.interp(s, t, column) for column in u.T]) if driven else np.zeros(0), c)  # type: ignore[union-attr]

    step = float(np.median(np.diff(t))) * 2.0 if driven else np.inf
    try:
        with np.errstate(all="ignore"):
            made = solve_ivp(
                slope, (t[0], t[-1]), start, t_eval=t, method="LSODA", rtol=rtol, atol=rtol * 1e-2, max_step=step
            )
    except (OverflowError, ValueError):
        return None
    return made.y.T if made.success and made.y.shape[1] == len(t) and np.isfinite(made.y).all() else None


def agreement_of(
    candidates: Sequence[Candidate], names: Sequence[str], inputs: Sequence[str]
) -> dict[str, dict[str, float]]:
    r"""For every state the share of the posterior that has a term, by its text in the file's names.

    Arguments:
        candidates: Candidates with weights.
        names: Names of the states.
        inputs: Names of the inputs.

    Returns:
        Shares, largest first.

    Example:
        >>> agreement_of([], ["P"], [])
        {'P': {}}
    """
    made: dict[str, dict[str, float]] = {}
    for i, name in enumerate(names):
        shares: dict[str, float] = {}
        for candidate in candidates:
            for term in dict.fromkeys(candidate.equations.structure.terms[i]):
                text = spelled(term, names, inputs)
                shares[text] = shares.get(text, 0.0) + candidate.weight
        made[name] = dict(sorted(shares.items(), key=lambda item: -round(item[1], 9)))
    return made


def spelled(term: str, names: Sequence[str], inputs: Sequence[str]) -> str:
    r"""A term in the file's names, inner constants as k0, k1.

    Arguments:
        term: Text of the term.
        names: Names of the states.
        inputs: Names of the inputs.

    Returns:
        The text.

    Example:
        >>> spelled("x0*x0/(k0+x0*x0)", ["P"], [])
        'P**2/(P**2 + k0)'
    """
    import sympy

    symbols = {f"x{i}": sympy.Symbol(n, real=True) for i, n in enumerate(names)}
    symbols |= {f"u{i}": sympy.Symbol(n, real=True) for i, n in enumerate(inputs)}
    return str(sympy.sympify(term, locals={**symbols, "abs": sympy.Abs}))
