r"""A recording answered window by window: cut, gated, asked whether it is in the simulations' world, and sampled.

Windows stream: a few are in flight at a time, spread over threads or processes, and come out in the order of time, so
neither the length of the recording nor the number of workers changes an answer or the memory it takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ..waveforms.following import Patience, follow_channels
from ..waveforms.quality import Verdict
from ..waveforms.recording import Recording, RecordingError, require_data, require_pressure_unit
from ..waveforms.roles import PRESSURE_ROLES
from ..waveforms.windows import Window, cut_windows
from .answer import Answer, Prior, Refusal, VerdictLike, answer_window
from .bundle import Bundle, BundleError
from .workers import Workers, in_order

if TYPE_CHECKING:
    from .domain import DomainModel
    from .patient.layer import PatientEvidence

__all__ = ["AnsweredWindow", "Question", "answer_recording", "answer_windows", "least_draws", "signal_summary"]


def least_draws(level: float) -> int:
    r"""Fewest draws that can show an interval: one beyond each end, and beyond the 5 and 95 % quantiles.

    Arguments:
        level: Level of the interval.

    Example:
        >>> least_draws(0.5), least_draws(0.99)
        (20, 200)
    """
    return max(20, math.ceil((1.0 - 1e-9) * 2.0 / (1.0 - level)))


@dataclass(frozen=True)
class Question:
    r"""What is asked of a recording.

    Arguments:
        every_s: Time from one window's start to the next [s].
        start_s: Start of the first window [s].
        end_s: Where to stop [s]; infinity for the end of the recording.
        level: Level of the intervals.
        n_draws: Posterior draws a window.
        seed: Seed of the draws.

    Raises:
        ValueError: If a time or the level is out of range, or so few draws are asked for that none lies beyond either
            end of the interval.

    Example:
        >>> Question(every_s=60.0).level
        0.9
    """

    every_s: float = 8.0
    start_s: float = 0.0
    end_s: float = math.inf
    level: float = 0.9
    n_draws: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.every_s > 0 and self.start_s >= 0 and self.end_s > self.start_s):
            raise ValueError(
                f"every_s must be positive and start_s before end_s [s], got {self.every_s:g}, {self.start_s:g} and "
                f"{self.end_s:g}"
            )
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {self.level:g}; try 0.9")
        least = least_draws(self.level)
        if self.n_draws < least:
            raise ValueError(
                f"n_draws must be at least {least} for intervals of level {self.level:g}, got {self.n_draws}; try 2000"
            )


@dataclass(frozen=True)
class AnsweredWindow:
    r"""A window and what it was answered.

    Arguments:
        values: Samples in the units and at the rate of the model's contract; of several channels (C, T), NaN where one
            was not answered from.
        result: The answer or refusal.
        scored: Draws that conformal regions are made from; empty where they are the answer's or there are none.

    Example:
        >>> AnsweredWindow(np.zeros(1000, np.float32), Refusal(0.0, 8.0, "flat")).result.reason
        'flat'
    """

    values: Float[np.ndarray, "*C T"]
    result: Answer | Refusal
    scored: Mapping[str, Float[np.ndarray, "*fold draw"]] = field(default_factory=dict)


def answer_recording(
    bundle: Bundle,
    recording: Recording,
    question: Question,
    *,
    prior: Prior | None = None,
    workers: Workers = 1,
    evidence: PatientEvidence | None = None,
) -> Iterator[AnsweredWindow]:
    r"""Answer a recording window by window, in order of time.

    Arguments:
        bundle: The model.
        recording: The recording; must hold the channel that the model reads, or one of several.
        question: Which windows, how many draws, which level.
        prior: Prior of the bundle's quantities, where it is known already.
        workers: Threads, each of which wants torch to use one thread of its own, or processes.
        evidence: What is known of the patient, with the layer that can use it.

    Returns:
        An iterator over windows with their answers or refusals.

    Raises:
        RecordingError: If the channel is missing, ambiguous or without a unit, more than half of it is missing, or
            the question starts beyond its end.
        ValueError: If `workers` is not positive.

    Example:
        >>> from pulsebayes.inference.npe import NPE, PRESETS
        >>> from pulsebayes.inference.outputs import OutputSpace
        >>> outputs = OutputSpace.from_names(("HR", "SV"))
        >>> prior_draws = np.array([[60.0, 70.0], [80.0, 60.0]], np.float32)
        >>> bundle = Bundle("tiny", NPE(outputs, PRESETS["small"]), prior_draws)
        >>> recording = Recording.from_arrays("demo", {"ABP": np.full(2000, 80.0)}, fs=125, units={"ABP": "mmHg"})
        >>> [w.result.reason for w in answer_recording(bundle, recording, Question())]
        ['flat', 'flat']
    """
    windows = question_windows(bundle, recording, question)
    return answer_windows(bundle, windows, question, prior=prior, evidence=evidence, workers=workers)


def answer_windows(
    bundle: Bundle,
    windows: Iterable[Window],
    question: Question,
    *,
    prior: Prior | None = None,
    evidence: PatientEvidence | None = None,
    workers: Workers = 1,
) -> Iterator[AnsweredWindow]:
    r"""Answer windows one by one, in their order.

    Arguments:
        bundle: The model.
        windows: Windows as the model's contract wants them.
        question: How many draws, which level.
        prior: Prior of the bundle's quantities, where it is known already.
        evidence: What is known of the patient besides.
        workers: Threads, or processes; one thread answers each window before it asks for the next.

    Raises:
        ValueError: If `workers` is not positive.

    Example:
        >>> answer_windows.__kwdefaults__["workers"]
        1
    """
    prior = prior or Prior.of(bundle)
    if bundle.contract.several:
        from .channel_answering import ChannelDesk

        return in_order(windows, ChannelDesk.of(bundle, question, prior, evidence), workers)
    return in_order(windows, _Desk(bundle, question, prior, domain_model(bundle), evidence), workers)


def question_windows(bundle: Bundle, recording: Recording, question: Question) -> Iterator[Window]:
    r"""The windows of a recording that a question asks for, cut and judged by the gate.

    Arguments:
        bundle: The model.
        recording: The recording; must hold the channel that the model reads.
        question: Which windows.

    Raises:
        RecordingError: As `answer_recording`.

    Example:
        >>> question_windows.__annotations__["return"]
        'Iterator[Window]'
    """
    contract = bundle.contract
    if contract.several:
        from .channel_answering import channel_windows

        return channel_windows(bundle, recording, question)
    recording.in_role(contract.role)
    if contract.role in PRESSURE_ROLES:
        require_pressure_unit(recording, contract.role)
    end_s = question_end(recording, question)
    require_data(recording, contract.role, question.start_s, end_s)
    return cut_windows(
        recording,
        (contract.role,),
        length_s=contract.window_s,
        every_s=question.every_s,
        fs=contract.fs,
        start_s=question.start_s,
        end_s=end_s,
    )


def followed_windows(
    bundle: Bundle, path: Path, open_recording: Callable[[Path], Recording], question: Question, patience: Patience
) -> Iterator[Window]:
    r"""The windows of a growing file that a question asks for, each as soon as it is whole, judged by the gate.

    Arguments:
        bundle: The model.
        path: The file.
        open_recording: Reads it, or a part of it.
        question: Which windows.
        patience: How growth is waited for.

    Raises:
        RecordingError: As `follow_channels`; if the channel, or every one of several, is missing, one could be several
            or a pressure has no unit.

    Example:
        >>> followed_windows.__annotations__["return"]
        'Iterator[Window]'
    """
    contract = bundle.contract

    def choose(recording: Recording) -> dict[str, str]:
        if contract.several:
            from .channel_answering import readable_channels

            return readable_channels(contract, recording)
        recording.in_role(contract.role)
        if contract.role in PRESSURE_ROLES:
            require_pressure_unit(recording, contract.role)
        return {contract.role: contract.role}

    return follow_channels(
        path,
        choose,
        open_recording,
        length_s=contract.window_s,
        every_s=question.every_s,
        fs=contract.fs,
        start_s=question.start_s,
        end_s=question.end_s,
        patience=patience,
    )


def question_end(recording: Recording, question: Question) -> float:
    r"""Where a question about a recording ends [s].

    Arguments:
        recording: The recording.
        question: Which windows.

    Raises:
        RecordingError: If the question starts beyond the recording's end.

    Example:
        >>> recording = Recording.from_arrays("demo", {"ABP": np.full(2000, 80.0)}, fs=125, units={"ABP": "mmHg"})
        >>> question_end(recording, Question())
        16.0
    """
    if question.start_s < recording.duration_s:
        return min(question.end_s, recording.duration_s)
    raise RecordingError(
        f"the question starts at {question.start_s:g} s, the recording ends at {recording.duration_s:g} s",
        code="beyond-end",
        file=recording.name,
        hint=f"--start below {recording.duration_s:g}s",
    )


def domain_model(bundle: Bundle) -> DomainModel | None:
    r"""The domain model of a bundle, or None where it has none.

    Arguments:
        bundle: The bundle.

    Raises:
        BundleError: If the bundle's arrays are not those of a domain model.
    """
    if not bundle.domain:
        return None
    from .domain import DomainModel

    try:
        return DomainModel.from_arrays(bundle.domain)
    except ValueError as error:
        raise BundleError(
            f"the domain model of {bundle.name} cannot be used: {error}",
            code="bundle-damaged",
            hint="fetch or train the bundle again",
        ) from error


def signal_summary(verdict: Verdict) -> dict[str, Any]:
    r"""What the gate found, as the JSON-able `signal` of an answer or refusal.

    Arguments:
        verdict: The gate's verdict on a window.

    Returns:
        Beats, their rate [1/min], mean pressure [mmHg], samples interpolated and findings; for a refusal also the
        message and the second it happened.

    Example:
        >>> signal_summary(Verdict(True, None, None, None, (), heart_rate=61.04, mean=88.0, n_beats=8))["heart_rate"]
        61.0
    """
    found: dict[str, Any] = {"beats": verdict.n_beats}
    if math.isfinite(verdict.heart_rate):
        found["heart_rate"] = round(verdict.heart_rate, 1)
    if math.isfinite(verdict.mean):
        found["mean"] = round(verdict.mean, 1)
    if verdict.n_interpolated:
        found["interpolated"] = verdict.n_interpolated
    if not verdict.usable:
        found |= {"message": verdict.message, "at_s": verdict.at_s}
    found["findings"] = [
        {"code": f.code, "message": f.message, "start_s": f.start_s, "end_s": f.end_s, "marks": list(f.marks)}
        for f in verdict.findings
    ]
    return found


@dataclass(frozen=True)
class _Desk:
    r"""Answers one window at a time; may be used from several threads."""

    bundle: Bundle
    question: Question
    prior: Prior
    domain: DomainModel | None
    evidence: PatientEvidence | None = None

    def __call__(self, window: Window) -> AnsweredWindow:
        values, signal = window.values[0], signal_summary(window.verdict)
        if not window.verdict.usable:
            return AnsweredWindow(values, gate_refusal(window, signal))
        place: VerdictLike | None = None if self.domain is None else self.domain.assess(values)
        result = answer_window(
            self.bundle,
            values,
            start_s=window.start_s,
            end_s=window.end_s,
            prior=self.prior,
            level=self.question.level,
            n_draws=self.question.n_draws,
            seed=self.question.seed,
            signal=signal,
            domain=place,
            evidence=self.evidence,
        )
        return AnsweredWindow(values, result)


def gate_refusal(window: Window, signal: Mapping[str, Any]) -> Refusal:
    r"""The refusal of a window that did not pass the gate.

    Arguments:
        window: The window.
        signal: What the gate found.

    Example:
        >>> gate_refusal.__annotations__["return"]
        'Refusal'
    """
    verdict = window.verdict
    return Refusal(window.start_s, window.end_s, verdict.reason or "unusable", verdict.hint, signal)
