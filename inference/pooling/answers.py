r"""One window answered given its pool: draws, what references and the patient weigh them by, and the summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..answer import Answer, Prior, Refusal, VerdictLike, answer_window, cited_coverage, window_seed
from ..answering import AnsweredWindow, Question
from ..bundle import Bundle
from ..contract import joined
from ..patient.layer import LEAST_EFFECTIVE, PatientEvidence
from ..weighting import effective_share, resampled
from .anchors import Anchor, SlowLikelihood
from .coverage import measured_alike
from .layer import PoolingLayer
from .network import SLOW, PoolContext

__all__ = ["Asked", "PooledAnswers", "Seen", "SharedDraws"]

_ANCHORED, _INFORMED = (4, 2000), (1.5, 3000)
"""Draws for each that is kept, and fewest in all, where references weight them and where the patient does."""
_UNITS = {"C90": "mL/mmHg", "PWV90": "m/s"}


@dataclass(frozen=True)
class Seen:
    r"""A window that is to be answered, of several channels from those that were chosen.

    Arguments:
        values: Samples in the units and at the rate of the model's contract.
        start_s: Start of the window [s].
        end_s: End of the window [s].
        signal: What the gate found.
        place: Verdict on its distance to the simulations.
        unit: Its vector, from ``PooledNPE.unit``.
        is_guest: Whether it is answered given a pool that it is no part of.

    Example:
        >>> Seen.__dataclass_fields__["start_s"].type
        'float'
    """

    values: Float[np.ndarray, "*C T"]
    start_s: float
    end_s: float
    signal: Mapping[str, Any]
    place: VerdictLike | None
    unit: Float[Tensor, " inputs"]
    is_guest: bool = False

    @property
    def is_shifted(self) -> bool:
        r"""Whether it is answered though it lies at the rim of the simulations."""
        return self.place is not None and self.place.verdict == "shifted"


@dataclass(frozen=True)
class SharedDraws:
    r"""Draws of what the windows of a pool share.

    Arguments:
        draws: The draws, standardised.
        effective: Effective share of those that were weighted by what is known of the patient.
        weighted: How many these were; none where nothing is known.
        agrees: Whether enough of them bear it, by the whole likelihood.

    Example:
        >>> SharedDraws(torch.zeros(5, 11)).agrees
        True
    """

    draws: Float[Tensor, "n S"]
    effective: float = 1.0
    weighted: int = 0
    agrees: bool = True


@dataclass(frozen=True)
class Asked:
    r"""A window with the context of its pool and what is said of it.

    Arguments:
        seen: The window.
        context: What its pool says of it; None where it is alone.
        pool: The pool in words and numbers.
        informed: Whether it is of the patient that is told of.
        shared: Draws of what its pool shares, where these serve several windows.
        likelihoods: What references of other windows say of what the pool shares.
        anchors: References of this window.

    Example:
        >>> Asked.__dataclass_fields__["informed"].default
        False
    """

    seen: Seen
    context: PoolContext | None
    pool: dict[str, Any]
    informed: bool = False
    shared: SharedDraws | None = None
    likelihoods: tuple[SlowLikelihood, ...] = ()
    anchors: tuple[Anchor, ...] = ()


@dataclass(frozen=True)
class PooledAnswers:
    r"""Answers windows given their pools; may do so from several threads.

    Arguments:
        bundle: The window model.
        layer: Its pooling layer.
        question: How many draws, which level.
        prior: Prior of the bundle's quantities.
        evidence: What is known of the patient, with the layer that can use it for a window alone.

    Raises:
        ValueError: If the layer cannot use what is known of a patient.

    Example:
        >>> PooledAnswers.__dataclass_fields__["evidence"].default is None
        True
    """

    bundle: Bundle
    layer: PoolingLayer
    question: Question
    prior: Prior
    evidence: PatientEvidence | None = None

    def __post_init__(self) -> None:
        lacking = "" if self.evidence is None else self.layer.lacks(self.evidence.patient)
        if self.evidence is not None and lacking:
            what = f"the pooling layer of {self.bundle.name} cannot use {lacking}"
            raise ValueError(f"{what}, got {self.evidence.patient.text}: leave it out or answer windows one by one")

    def likelihood(self, anchors: Sequence[Anchor], asked: Asked) -> SlowLikelihood:
        r"""What references of a window say of what its pool shares.

        Arguments:
            anchors: The references.
            asked: The window.
        """
        shared, theta = self._joint(asked, _ANCHORED[1])
        far = None
        if asked.context is not None and self.layer.aging.excess:
            context = asked.context.grown(self.layer.aging.growth(1.0))
            far = self.bundle.outputs.derive(self._joint(replace(asked, context=context), len(theta))[1])
        return SlowLikelihood.of(anchors, shared.draws.double().numpy(), self.bundle.outputs.derive(theta), far)

    def drawn(self, *, anchored: bool) -> int:
        r"""Draws of a window before references weight them, where there are any.

        Arguments:
            anchored: Whether there are.
        """
        each, fewest = _ANCHORED
        return max(each * self.question.n_draws, fewest) if anchored else self.question.n_draws

    @torch.no_grad()
    def shared(self, context: PoolContext, start_s: float, n: int, *, informed: bool) -> SharedDraws:
        r"""Draws of what a pool shares: the same numbers for all its windows, and as a running pool grows.

        Arguments:
            context: What the pool says of one of its windows.
            start_s: Start of the pool [s].
            n: Draws.
            informed: Whether they are to know the patient: more are drawn then, weighted and resampled in their order.
        """
        generator = torch.Generator().manual_seed(window_seed(self.question.seed + 1, start_s))
        patients, (each, fewest) = self.layer.patients, _INFORMED
        if self.evidence is None or patients is None or not informed:
            return SharedDraws(self.layer.npe.sample_shared(context, n, generator))
        draws = self.layer.npe.sample_shared(context, max(n, round(each * self.question.n_draws), fewest), generator)
        (log,) = patients.log_likelihoods([self.evidence.patient], draws, context)
        rows = torch.from_numpy(resampled(patients.exponent * log, n))
        effective = effective_share(patients.exponent * log)
        return SharedDraws(draws[rows], effective, len(draws), effective_share(log) >= LEAST_EFFECTIVE)

    def _joint(self, asked: Asked, n: int) -> tuple[SharedDraws, Float[np.ndarray, "n D"]]:
        """Shared and own quantities, of a window alone only its own."""
        generator = torch.Generator().manual_seed(window_seed(self.question.seed, asked.seen.start_s))
        if asked.context is None:
            return self._alone_draws(asked, n, generator)
        shared = asked.shared
        if shared is None:
            shared = self.shared(asked.context, asked.pool["start_s"], n, informed=asked.informed)
        shared = replace(shared, draws=shared.draws[:n])
        return shared, self.layer.npe.sample_window(self.bundle.outputs.space, asked.context, shared.draws, generator)

    def _alone_draws(
        self, asked: Asked, n: int, generator: torch.Generator
    ) -> tuple[SharedDraws, Float[np.ndarray, "n D"]]:
        """Draws of a window alone, which shares nothing."""
        window, npe = torch.from_numpy(np.asarray(asked.seen.values, np.float32))[None], self.bundle.npe
        evidence, nothing = self._evidence(asked), torch.zeros(n, 0)
        if evidence is None:
            return SharedDraws(nothing), npe.sample(window, n, generator)[0]
        informed = evidence.draw(npe, window, n, generator)
        share = informed.effective / informed.weighted
        return SharedDraws(nothing, share, informed.weighted, informed.agrees), informed.theta

    def answer(self, asked: Asked | AnsweredWindow) -> AnsweredWindow:
        r"""Draws, weights and summarises one window.

        Arguments:
            asked: The window, or what it was refused for.
        """
        if isinstance(asked, AnsweredWindow):
            return asked
        seen, question = asked.seen, self.question
        if asked.context is None and not asked.anchors:
            return AnsweredWindow(seen.values, self._alone(asked))
        anchored = bool(asked.likelihoods or asked.anchors)
        n = self.drawn(anchored=anchored)
        shared, theta = self._joint(asked, n)
        told, own = self._anchors_logs(asked, shared.draws, theta)
        log = told + own.sum(0)
        least = min(effective_share(one) for one in (log, *(told + each for each in own)))
        refusal = self._contradicted(asked, shared, shared.effective * least)
        if refusal is not None:
            return AnsweredWindow(seen.values, refusal)
        pool, slow = asked.pool, shared.draws
        if anchored:
            pool = {**pool, "effective_draws": round(n * shared.effective * effective_share(log))}
            rows = resampled(log, question.n_draws)
            np.random.default_rng([question.seed, round(abs(seen.start_s) * 1000)]).shuffle(rows)
            slow, theta = slow[torch.from_numpy(rows)], theta[rows]
        draws = self.bundle.outputs.derive(theta)
        answer = Answer(
            seen.start_s,
            seen.end_s,
            draws,
            self.prior.estimates(draws, level=question.level, uninformative=self._uninformative(seen)),
            question.level,
            seen.signal,
            self._cited(asked),
            seen.place,
            pool={**pool, "slow": {} if asked.context is None else _summary(self.layer.npe.slow(slow))},
            patient=self._told_of_patient(asked, shared),
        )
        return AnsweredWindow(seen.values, answer)

    def _evidence(self, asked: Asked) -> PatientEvidence | None:
        """What is known of the patient of a window."""
        return self.evidence if asked.informed else None

    def _told_of_patient(self, asked: Asked, shared: SharedDraws) -> dict[str, Any] | None:
        """What is known of the patient, and how many draws of those that were weighted by it count."""
        evidence = self._evidence(asked)
        if evidence is None:
            return None
        return {"known": evidence.patient.text, "effective_draws": round(shared.effective * shared.weighted)}

    def _uninformative(self, seen: Seen) -> float:
        """Share of the prior's interval above which a quantity is withheld, by the window's own channels."""
        contract = self.bundle.contract
        return contract.uninformative(contract.given(seen.values), self.bundle.uninformative)

    def _alone(self, asked: Asked) -> Answer | Refusal:
        """The window model's own answer: a pool of one window."""
        seen, question = asked.seen, self.question
        answer = answer_window(
            self.bundle,
            seen.values,
            start_s=seen.start_s,
            end_s=seen.end_s,
            prior=self.prior,
            level=question.level,
            n_draws=question.n_draws,
            seed=question.seed,
            signal=seen.signal,
            domain=seen.place,
            evidence=self._evidence(asked),
        )
        return replace(answer, pool={**asked.pool, "slow": {}}) if isinstance(answer, Answer) else answer

    def _anchors_logs(
        self, asked: Asked, shared: Float[Tensor, "n S"], theta: Float[np.ndarray, "n D"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "K n"]]:
        """Log likelihood of the references of other windows, and of each of this one's, up to constants."""
        log = np.zeros(len(theta))
        for one in asked.likelihoods:
            log += one.log(shared.double().numpy())
        draws = self.bundle.outputs.derive(theta) if asked.anchors else {}
        found = [anchor.misfit(draws) for anchor in asked.anchors]
        own = [-0.5 * (misfit / error) ** 2 for misfit, error in found]
        return log, np.array(own).reshape(len(own), len(log))

    def _contradicted(self, asked: Asked, shared: SharedDraws, effective: float) -> Refusal | None:
        """Why a window has no answer that hardly a draw bears the patient or the references of; None if it has one."""
        seen, evidence = asked.seen, self._evidence(asked)
        who, reason, hint = "" if evidence is None else f"a patient with {evidence.patient.text}", "", ""
        if not shared.agrees:
            hint = f"the waves of this pool and {who} do not go together: check what --patient says"
            reason = "patient"
        elif effective < LEAST_EFFECTIVE or not all(one.agrees for one in asked.likelihoods):
            among, other = (f"waves, {who} and", ", or what --patient says") if who else ("waves and", "")
            hint = f"{among} reference {' and '.join(asked.pool['anchors'])} contradict each other: "
            reason, hint = "anchor", hint + f"check its value, unit and time{other}, or widen its error"
        return Refusal(seen.start_s, seen.end_s, reason, hint, seen.signal, seen.place) if reason else None

    def _cited(self, asked: Asked) -> dict[str, Any] | None:
        """Coverage measured for such an answer; none was where references contradict, or are a lone window's own."""
        if asked.pool.get("contradictions") or (asked.context is None and asked.anchors):
            return None
        given, evidence = joined(self.bundle.contract.given(asked.seen.values)), self._evidence(asked)
        known = "" if evidence is None else evidence.known
        told = measured_alike(self.layer.measured, asked.pool["windows"], given, asked.pool["anchors"], known)
        if told is None:
            return None
        missed = {name: why for name, why in told["not_calibrated"].items() if name in self.bundle.outputs.reported}
        cited = cited_coverage({**told, "not_calibrated": missed}, self.question.level, asked.seen.place)
        if cited is not None and known:
            cited = {**cited, "known": known}
        mostly = 2 * asked.pool["shifted"] > asked.pool["windows"]
        return {**cited, "method": "uncalibrated"} if cited is not None and mostly else cited


def _summary(slow: Float[np.ndarray, "draw S"]) -> dict[str, dict[str, Any]]:
    """What is known of the patient: compliance and wave speed at 90 mmHg."""
    found = {}
    for name, unit in _UNITS.items():
        q05, median, q95 = np.exp(np.quantile(slow[:, SLOW.index(name)], [0.05, 0.5, 0.95]))
        numbers = {"median": median, "q05": q05, "q95": q95}
        found[name] = {"unit": unit, **{k: float(f"{v:.4g}") for k, v in numbers.items()}}
    return found
