r"""What the benchmark `symbolic` compares: from the observed samples of one trajectory to equations."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import sympy

from pulsebayes.inference.symbolic import RecoverConfig, Trajectory, recover_equations
from pulsebayes.inference.symbolic._sindy import default_sindy, tuned_sindy
from pulsebayes.inference.symbolic._smooth import smooth_path
from pulsebayes.inference.symbolic._texts import term_text
from pulsebayes.inference.symbolic.equations import Equations, Structure, equations_from_sympy
from pulsebayes.inference.symbolic.posterior import run
from pulsebayes.inference.symbolic.proposers import Proposal, propose_operon
from pulsebayes.inference.symbolic.refit import Ladder
from pulsebayes.inference.symbolic.selection import fit_all

if TYPE_CHECKING:
    from pulsebayes.inference.symbolic.decoding import DecodedEquation

Method = Callable[[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]], Equations | None]


def weak(t: np.ndarray, x: np.ndarray, u: np.ndarray, truth: tuple[str, ...]) -> Equations | None:
    """The weak-form proposer alone, refitted and selected."""
    return recover_equations([Trajectory(t, x, u)], config=RecoverConfig(proposers=("weak",))).candidates[0].equations


def pool(t: np.ndarray, x: np.ndarray, u: np.ndarray, truth: tuple[str, ...]) -> Equations | None:
    """Every proposer that is installed but pyoperon."""
    from pulsebayes.inference.symbolic.proposers import installed

    chosen = tuple(p for p in installed() if p != "operon")
    return recover_equations([Trajectory(t, x, u)], config=RecoverConfig(proposers=chosen)).candidates[0].equations


def transformer_alone(t: np.ndarray, x: np.ndarray, u: np.ndarray, truth: tuple[str, ...]) -> Equations | None:
    """What the network writes, with its own constants: of the sixteen most probable systems, the best on the samples.

    As ODEFormer's authors choose among their beams.
    """
    from pulsebayes.inference.symbolic._transformer import shipped
    from pulsebayes.inference.symbolic.decoding import decode, load_model

    found = decode(load_model(shipped()), [Trajectory(t, x, u)])
    best: list[tuple[float, tuple[DecodedEquation, ...]]] = [(0.0, ())]
    for equations in found:
        grown = [(cost - e.log_probability, (*chosen, e)) for cost, chosen in best for e in equations[:16]]
        best = heapq.nsmallest(16, grown, key=lambda item: item[0])
    written = [_written(chosen, x.shape[1]) for _, chosen in best if len(chosen) == x.shape[1]]
    return min(written, key=lambda e: _missed(e, t, x, u), default=None)


def _written(chosen: Sequence[DecodedEquation], n_states: int) -> Equations:
    """Decoded equations as they stand."""
    texts = [[term_text(term, n_states) for term in equation.terms] for equation in chosen]
    outer = [coefficient for equation in texts for _, _, coefficient in equation]
    inner = [k for equation in texts for _, own, _ in equation for k in own]
    return Equations(Structure(tuple(tuple(name for name, _, _ in equation) for equation in texts)), (*outer, *inner))


def _missed(equations: Equations, t: np.ndarray, x: np.ndarray, u: np.ndarray) -> float:
    """Squared distance of the samples to the run from the first of them."""
    made = run(equations, x[0], t, u, limit_s=0.3, rtol=1e-4)
    return float(((x - made) ** 2).sum()) if made is not None and np.isfinite(made).all() else np.inf


def transformer_refitted(t: np.ndarray, x: np.ndarray, u: np.ndarray, truth: tuple[str, ...]) -> Equations | None:
    """The transformer alone, refitted and selected."""
    return (
        recover_equations([Trajectory(t, x, u)], config=RecoverConfig(proposers=("transformer",)))
        .candidates[0]
        .equations
    )


def sindy_default(t: np.ndarray, x: np.ndarray, u: np.ndarray, truth: tuple[str, ...]) -> Equations | None:
    """PySINDy as it comes."""
    return default_sindy(smooth_path(t, x, u))


def sindy_cubic(t: np.ndarray, x: np.ndarray, u: np.ndarray, truth: tuple[str, ...]) -> Equations | None:
    """PySINDy as it comes but for polynomials of the third degree, as others report it."""
    return default_sindy(smooth_path(t, x, u), degree=3)


def sindy_tuned(t: np.ndarray, x: np.ndarray, u: np.ndarray, truth: tuple[str, ...]) -> Equations | None:
    """PySINDy's model of a grid that reproduces the observed samples best."""
    return tuned_sindy(smooth_path(t, x, u))


def operon(t: np.ndarray, x: np.ndarray, u: np.ndarray, truth: tuple[str, ...]) -> Equations | None:
    """Genetic programming on smoothed derivatives."""
    found = propose_operon([smooth_path(t, x, u)])
    return found[0].equations if found else None


def true_skeleton(t: np.ndarray, x: np.ndarray, u: np.ndarray, truth: tuple[str, ...]) -> Equations | None:
    """The true terms, started from the true constants and refitted: what any choice of terms could reach."""
    exact = read_truth(truth, u.shape[1])
    found = fit_all([Proposal(exact, "truth")], Ladder([smooth_path(t, x, u)]), n_iterations=15)
    return found[0].fit.equations if found else exact


def read_truth(truth: tuple[str, ...], n_inputs: int) -> Equations:
    """Equations from the texts of a benchmark."""
    names = [f"x{i}" for i in range(len(truth))]
    inputs = [f"u{i}" for i in range(n_inputs)]
    symbols = {n: sympy.Symbol(n, real=True) for n in [*names, *inputs]}
    return equations_from_sympy([sympy.sympify(e, locals=symbols) for e in truth], names, inputs)


METHODS: dict[str, Method] = {
    "PySINDy default": sindy_default,
    "PySINDy cubic": sindy_cubic,
    "PySINDy tuned": sindy_tuned,
    "true skeleton refitted": true_skeleton,
    "weak form": weak,
    "pool": pool,
    "transformer alone": transformer_alone,
    "transformer + refit": transformer_refitted,
    "pyoperon": operon,
}
NEEDS = {**{m: "pysindy" for m in METHODS if m.startswith("PySINDy")}, "pyoperon": "pyoperon"}


def missing(method: str) -> str:
    """The package a method needs and that is not installed, or an empty text."""
    need = NEEDS.get(method, "")
    return need if need and find_spec(need) is None else ""
