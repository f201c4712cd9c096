r"""Answers from a likelihood: the estimator's draws refined by importance weights, or replaced by those of NUTS.

A bundle that was trained on a reference model can be refined: its likelihood is known. For any other bundle of arterial
pressure NUTS samples the reference network in its place, and the answer says what that leaves out.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from jaxtyping import Float

from .answer import Answer, Prior
from .answering import AnsweredWindow
from .bundle import Bundle
from .importance import refine
from .reference import Reference

__all__ = ["ExactAnswers"]

_START_DRAWS = 128


@dataclass(frozen=True)
class ExactAnswers:
    r"""Answers windows from the likelihood of a reference model.

    Arguments:
        bundle: The bundle.
        method: ``"nuts"`` or ``"refine"``.
        n_draws: Draws a window.
        seed: Seed.

    Raises:
        ValueError: If the method is unknown, or the bundle cannot be refined because its likelihood is not known.
        ImportError: If NUTS is asked for and NumPyro is not installed.

    Example:
        >>> ExactAnswers(bundle, "nuts").left_out  # doctest: +SKIP
        ('the catheter line', 'digitisation', ...)
    """

    bundle: Bundle
    method: str
    n_draws: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in ("nuts", "refine"):
            raise ValueError(f"method must be 'nuts' or 'refine', got {self.method!r}")
        if self.method == "refine" and not self.reference.exact:
            raise ValueError(
                f"{self.bundle.name} cannot be refined: the likelihood of its simulator and sensor is not known; "
                f"train a reference model, or try --method nuts, which leaves out {', '.join(self.left_out)}"
            )
        if self.method == "nuts":
            from .mcmc import require_numpyro

            require_numpyro()

    @cached_property
    def reference(self) -> Reference:
        r"""The reference model."""
        return Reference.of(self.bundle)

    @property
    def left_out(self) -> tuple[str, ...]:
        r"""What the reference model leaves out of the bundle's simulator and sensor."""
        return self.reference.left_out

    def describe(self) -> str:
        r"""Says in one sentence which model is sampled and what it leaves out."""
        left = ", ".join(self.left_out)
        tail = f"leaves out {left}" if left else "leaves nothing out: the model was trained on it"
        return f"{self.method}: {self.reference.model.name}, {self.reference.dim} unknowns, white noise of " + (
            f"{self.reference.noise:.2g} mmHg; {tail}"
        )

    def finish(self, answered: AnsweredWindow, prior: Prior, *, stem: Path | None = None) -> AnsweredWindow:
        r"""Replaces the draws of an answer; a refusal stays as it is.

        Arguments:
            answered: The window and the estimator's answer.
            prior: Prior of the bundle's quantities.
            stem: Where the chains of NUTS are written, ``STEM-nuts-STARTs.nc``; None for nowhere.
        """
        answer = answered.result
        if not isinstance(answer, Answer):
            return answered
        seed = int(np.random.SeedSequence([self.seed, round(abs(answer.start_s) * 1000)]).generate_state(1)[0]) >> 1
        if self.method == "refine":
            draws, signal = self._refined(answered.values, seed)
        else:
            path = None if stem is None else stem.with_name(f"{stem.name}-nuts-{answer.start_s:g}s.nc")
            draws, signal = self._sampled(answered.values, seed, path)
        estimates = prior.estimates(draws, level=answer.level, uninformative=self.bundle.uninformative)
        signal = {**answer.signal, "method": self.method, **signal, "left_out": ", ".join(self.left_out) or "nothing"}
        found = dataclasses.replace(
            answer, draws=draws, estimates=estimates, calibration=None, regions=(), signal=signal
        )
        return dataclasses.replace(answered, result=found)

    def _refined(self, x: Float[np.ndarray, " T"], seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        found = refine(self.bundle, self.reference, x, self.n_draws, seed=seed)
        weights = found.weights
        signal: dict[str, Any] = {"effective_draws": round(weights.ess), "pareto_k": round(weights.k, 2)}
        if weights.warning():
            signal["warning"] = weights.warning()
        return self.bundle.outputs.derive(found.theta.astype(np.float32)), signal

    @cached_property
    def _sampler(self) -> Any:
        from .mcmc import Sampler

        return Sampler(self.reference, draws=-(-self.n_draws // 4))

    def _sampled(
        self, x: Float[np.ndarray, " T"], seed: int, path: Path | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        from .mcmc import model_parameters, save_chains

        generator = torch.Generator().manual_seed(seed)
        window = torch.from_numpy(np.asarray(x, np.float32))[None]
        theta = self.bundle.npe.sample(window, _START_DRAWS, generator)[0]
        chains = self._sampler.sample(x, model_parameters(self.bundle, self.reference, theta), seed=seed)
        if path is not None:
            about = {"model": self.bundle.name, "left_out": ", ".join(self.left_out)}
            save_chains(chains, x, path, fs=self.reference.fs, attributes=about)
        signal: dict[str, Any] = {
            "rhat": round(chains.rhat, 3),
            "effective_draws": round(chains.ess),
            "divergences": int(chains.diverging.sum()),
        }
        if chains.instead:
            signal["sampler"] = f"{chains.method}, since of NUTS {chains.instead}"
        if chains.warning():
            signal["warning"] = chains.warning()
        values = {name: v.reshape(-1)[: self.n_draws] for name, v in chains.values.items()}
        return self._quantities(values), signal

    def _quantities(self, values: dict[str, np.ndarray]) -> dict[str, Any]:
        """The bundle's quantities from parameters of the reference model."""
        if self.reference.outputs:
            theta = np.stack([values[name] for name in self.bundle.outputs.names], axis=-1)
            return self.bundle.outputs.derive(theta.astype(np.float32))
        from ..simulators.network.linear import QUANTITY_UNITS

        theta = np.stack([values[name] for name in self.reference.model.space.names], axis=-1)
        with jax.enable_x64(True):
            found = self.reference.model.quantities(theta)
        columns = dict(zip(QUANTITY_UNITS, found.T, strict=True))
        missing = [name for name in self.bundle.outputs.reported if name not in columns]
        if missing:
            raise ValueError(f"the reference network gives {list(columns)}, {self.bundle.name} reports {missing} too")
        return {name: columns[name].astype(np.float32) for name in self.bundle.outputs.reported}
