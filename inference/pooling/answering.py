r"""A recording answered as one patient's: every window's posterior given all windows of its pool.

What a pool's windows share is drawn once for all of them (see ``network``). With ``pool="recording"`` the windows are
first gated, judged and embedded, then each is answered given all others of its segment; with ``"causal"`` each is
answered at once, given those up to it. A segment of one window is answered by the window model alone, which a pool of
one is. A new patient splits the pool, and a new state of the sensor ends what follows the sensor (see ``segments``).
Windows that overlap are no new data: one that begins before the last that counts has ended is answered given the pool,
as itself, and does not count in it (see ``overlap``).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...waveforms.recording import Recording
from ...waveforms.windows import Window
from ..answer import Prior, Refusal
from ..answering import AnsweredWindow, Question, domain_model, gate_refusal, question_windows, signal_summary
from ..bundle import Bundle
from ..channel_answering import ChannelDesk, Laid
from ..patient.layer import PatientEvidence
from ..workers import Workers, in_order
from .anchors import Anchor, SlowLikelihood, against_the_waves, contradictions, refuse_unused, require_known
from .answers import Asked, PooledAnswers, Seen
from .features import embed_windows
from .layer import PoolingLayer
from .network import pool_contexts
from .overlap import begins, that_count
from .running import Mark, RunningPool
from .segments import find_changes, sensor_states

__all__ = ["Pool", "answer_pooled", "answer_pooled_windows", "follow_pooled"]

Pool = Literal["causal", "recording"]
_Told = tuple[tuple[Anchor, ...], SlowLikelihood, float]  # references of a window, what they say, and when [s]


@dataclass(frozen=True)
class _Known:
    """References of one window that the windows after it are told of."""

    anchors: tuple[Anchor, ...]
    likelihood: SlowLikelihood
    seen: Seen
    mark: Mark

    def now(self, running: RunningPool) -> _Told:
        """The likelihood of what the pool that has grown since shares, and when they were taken."""
        return self.anchors, self.likelihood.shifted(running.moved(self.mark)), self.seen.start_s


def answer_pooled(
    bundle: Bundle,
    layer: PoolingLayer,
    recording: Recording,
    question: Question,
    *,
    pool: Pool = "recording",
    anchors: Sequence[Anchor] = (),
    prior: Prior | None = None,
    evidence: PatientEvidence | None = None,
    workers: Workers = 1,
) -> Iterator[AnsweredWindow]:
    r"""Answers a recording window by window, each given the windows of its pool, in order of time.

    Arguments:
        bundle: The window model.
        layer: Its pooling layer.
        recording: The recording; must hold the channel that the model reads, or one of several.
        question: Which windows, how many draws, which level.
        pool: Whether a pool is the whole recording, or ends with the window that is answered.
        anchors: Reference values; in a causal pool each counts from its time on.
        prior: Prior of the bundle's quantities, where it is known already.
        evidence: What is known of the patient whose recording it is, with the layer that can use it for a window alone.
        workers: Threads, or processes.

    Returns:
        An iterator over windows with their answers or refusals.

    Raises:
        RecordingError: As `answer_recording`; or if an anchor names no quantity of the model or no answered window
            lies within a minute of it.

    Example:
        >>> answer_pooled.__kwdefaults__["pool"]
        'recording'
    """
    windows = question_windows(bundle, recording, question)
    return answer_pooled_windows(
        bundle,
        layer,
        windows,
        question,
        file=recording.name,
        pool=pool,
        anchors=anchors,
        prior=prior,
        evidence=evidence,
        workers=workers,
    )


def answer_pooled_windows(
    bundle: Bundle,
    layer: PoolingLayer,
    windows: Iterable[Window],
    question: Question,
    *,
    file: str,
    pool: Pool = "recording",
    anchors: Sequence[Anchor] = (),
    prior: Prior | None = None,
    evidence: PatientEvidence | None = None,
    workers: Workers = 1,
    wanted: Container[int] | None = None,
    guests: Container[int] = (),
) -> Iterator[AnsweredWindow]:
    r"""Answers windows of one recording, each given those of its pool, in order of time.

    Arguments:
        bundle: The window model.
        layer: Its pooling layer.
        windows: Windows in order of time, as the model's contract wants them.
        question: How many draws, which level.
        file: Name of the recording, for errors.
        pool: Whether a pool is all windows, or ends with the one that is answered.
        anchors: Reference values; in a causal pool each counts from its time on.
        prior: Prior of the bundle's quantities, where it is known already.
        evidence: What is known of the patient whose recording it is, with the layer that can use it for a window alone.
        workers: Threads, or processes.
        wanted: Places of the windows that are answered, from 0; the others inform only. All where it is None.
        guests: Places of windows that are answered given the pools of the others and inform none; not with references.

    Returns:
        An iterator over windows with their answers or refusals.

    Raises:
        ValueError: If there are guests beside references.
        RecordingError: If an anchor names no quantity of the model or no answered window lies within a minute of it.

    Example:
        >>> answer_pooled_windows.__kwdefaults__["pool"]
        'recording'
    """
    require_known(anchors, bundle.outputs.reported, file)
    if guests and anchors:
        raise ValueError("guests cannot have references: leave anchors out, or let every window count")
    desk = _Desk(PooledAnswers(bundle, layer, question, prior or Prior.of(bundle), evidence), pool)
    looked = _with_guests(in_order(windows, desk.look, workers), guests)
    if pool == "causal":
        asked = desk.follow(looked, tuple(anchors), file)
    else:
        asked = desk.gather(list(looked), tuple(anchors), file)
    chosen = asked if wanted is None else (one for place, one in enumerate(asked) if place in wanted)
    return in_order(chosen, desk.answers.answer, workers)


def _with_guests(looked: Iterator[Seen | AnsweredWindow], guests: Container[int]) -> Iterator[Seen | AnsweredWindow]:
    for place, one in enumerate(looked):
        yield replace(one, is_guest=place in guests) if isinstance(one, Seen) else one


def follow_pooled(
    bundle: Bundle,
    layer: PoolingLayer,
    windows: Iterable[Window],
    question: Question,
    *,
    file: str,
    anchors: Sequence[Anchor] = (),
    prior: Prior | None = None,
    evidence: PatientEvidence | None = None,
) -> Iterator[AnsweredWindow]:
    r"""Answers windows as they come, each at once, given those up to it.

    Arguments:
        bundle: The window model.
        layer: Its pooling layer.
        windows: Windows in order of time, as the model's contract wants them.
        question: How many draws, which level.
        file: Name of what is followed, for errors.
        anchors: Reference values; each counts from its time on.
        prior: Prior of the bundle's quantities, where it is known already.
        evidence: What is known of the patient whose recording it is, with the layer that can use it for a window alone.

    Returns:
        An iterator over windows with their answers or refusals.

    Raises:
        RecordingError: If an anchor names no quantity of the model, or no answered window lay near it in the end.

    Example:
        >>> follow_pooled.__kwdefaults__["anchors"]
        ()
    """
    require_known(anchors, bundle.outputs.reported, file)
    desk = _Desk(PooledAnswers(bundle, layer, question, prior or Prior.of(bundle), evidence), "causal")
    return map(desk.answers.answer, desk.follow(map(desk.look, windows), tuple(anchors), file))


class _Desk:
    """Looks at windows and gathers their pools."""

    def __init__(self, answers: PooledAnswers, pool: Pool) -> None:
        bundle = answers.bundle
        self.answers, self.bundle, self.layer, self.question = answers, bundle, answers.layer, answers.question
        self.pool, self._warned = pool, False
        self.channels = ChannelDesk.of(bundle, self.question, answers.prior) if bundle.contract.several else None
        self.domain = None if self.channels is not None else domain_model(bundle)

    def look(self, window: Window) -> Seen | AnsweredWindow:
        """Gates, judges and embeds a window: a refusal, or what is kept to answer it."""
        laid = self._one_channel(window) if self.channels is None else self.channels.lay(window)
        if isinstance(laid, AnsweredWindow):
            return laid
        values, signal, place = laid.values, laid.signal, laid.verdict
        h = torch.from_numpy(embed_windows(self.bundle, values[None]))[0]
        outside = place is not None and place.verdict == "outside"
        if outside or not bool(torch.isfinite(h).all()):
            hint = (place.reason if place else None) or "the window does not look like a simulated pressure"
            return AnsweredWindow(values, Refusal(window.start_s, window.end_s, "outside", hint, signal, place))
        unit = self.layer.npe.unit(self.bundle.npe, h[None])[0]
        return Seen(values, window.start_s, window.end_s, signal, place, unit)

    def _one_channel(self, window: Window) -> Laid | AnsweredWindow:
        """The window of a model of one channel."""
        values, signal = window.values[0], signal_summary(window.verdict)
        if not window.verdict.usable:
            return AnsweredWindow(values, gate_refusal(window, signal))
        return Laid(values, signal, None if self.domain is None else self.domain.assess(values))

    def follow(
        self, looked: Iterator[Seen | AnsweredWindow], anchors: tuple[Anchor, ...], file: str
    ) -> Iterator[Asked | AnsweredWindow]:
        """Windows with the pool up to them, one at a time."""
        window_s = self.bundle.contract.window_s
        running, until_s = RunningPool(self.layer, window_s), min(self.question.every_s, window_s)
        waiting, since, end_s = list(dict.fromkeys(anchors)), math.nan, math.nan
        known, alone, strange = list[_Known](), list[tuple[tuple[Anchor, ...], Seen]](), list[float]()
        patients = 0
        for one in looked:
            if isinstance(one, AnsweredWindow):
                yield one
                continue
            context = running.add(one.unit, one.start_s, counts=not one.is_guest)
            if running.windows and running.start_s != since:  # a new patient's; references to its first windows stay
                taken, since = [(k.anchors, k.seen) for k in known] + alone, running.start_s
                patients += 1
                known, alone = [], [(own, seen) for own, seen in taken if seen.start_s >= since]
            if running.counted:
                strange, end_s = [at for at in strange if at >= since] + [one.start_s] * one.is_shifted, one.end_s
            size = running.windows, since, end_s, running.sensor_start_s, len(strange)
            informed = self._informed(patients, since, file)
            told = self._told(
                *(_size_alone(one) if context is None else size), counted=running.counted, informed=informed
            )
            if context is not None and alone:
                known = [self._known(own, Asked(seen, None, told, informed), running) for own, seen in alone]
                alone = []
            here = tuple(a for a in waiting if a.is_due(one.start_s, until_s))
            waiting = [a for a in waiting if a not in here]
            before = [k.now(running) for k in known]
            odds = against_the_waves(before, self.layer.aging.age)
            asked = self._with_anchors(Asked(one, context, told, informed), before, here, odds)
            if here and context is None:
                alone.append((here, one))
            elif here:
                known.append(self._known(here, asked, running))
            yield asked
        refuse_unused(waiting, file)

    def _known(self, anchors: tuple[Anchor, ...], asked: Asked, running: RunningPool) -> _Known:
        """References of a window as the windows after it are told of them."""
        context = running.told_of(asked.seen.unit) if asked.context is None else asked.context
        likelihood = self.answers.likelihood(anchors, replace(asked, context=context))
        return _Known(anchors, likelihood, asked.seen, running.mark(asked.seen.unit, context))

    def gather(
        self, looked: list[Seen | AnsweredWindow], anchors: tuple[Anchor, ...], file: str
    ) -> Iterator[Asked | AnsweredWindow]:
        """Windows with the pool of their whole segment."""
        seen = [one for one in looked if isinstance(one, Seen)]
        asked = iter(self._segments(seen, anchors, file))
        for one in looked:
            yield one if isinstance(one, AnsweredWindow) else next(asked)

    @torch.no_grad()
    def _segments(self, seen: list[Seen], anchors: tuple[Anchor, ...], file: str) -> list[Asked]:
        if not seen:
            refuse_unused(anchors, file)
            return []
        units = torch.stack([one.unit for one in seen])
        time_s = np.array([one.start_s for one in seen])
        counted = that_count(time_s, self.bundle.contract.window_s, np.array([one.is_guest for one in seen]))
        first = begins(time_s, counted)
        found = find_changes(self.layer.detector, self.layer.npe.signature(units[counted]), time_s[counted])
        changes = [replace(one, at=int(first[one.at])) for one in found]
        bounds = [0, *(one.at for one in changes if one.kind == "patient"), len(seen)]
        states = sensor_states(changes, len(seen))
        nearest = {a: a.nearest(time_s, self.bundle.contract.window_s) for a in anchors}
        refuse_unused([a for a, at in nearest.items() if at is None], file)
        asked: list[Asked] = []
        for number, own in enumerate(map(slice, bounds, bounds[1:]), 1):
            informed = self._informed(number, float(time_s[own.start]), file)
            inside = [(a, at - own.start) for a, at in nearest.items() if at is not None and own.start <= at < own.stop]
            asked += self._segment(seen[own], units[own], states[own], counted[own], inside, informed=informed)
        told = contradictions(anchors)
        for pair in dict.fromkeys(p for one in asked for p in one.pool.get("contradictions", ()) if p not in told):
            warnings.warn(f"{file}: the references {pair} contradict each other, as the waves tell", stacklevel=2)
        return asked

    def _segment(
        self,
        seen: list[Seen],
        units: Float[Tensor, "W inputs"],
        states: Int[np.ndarray, " W"],
        counted: Bool[np.ndarray, " W"],
        inside: list[tuple[Anchor, int]],
        *,
        informed: bool,
    ) -> list[Asked]:
        """The windows of one patient, with their pool and the references among them."""
        time_s, pool = np.array([one.start_s for one in seen]), [seen[i] for i in np.flatnonzero(counted)]
        contexts = shared = None
        if len(pool) > 1:
            contexts = pool_contexts(self.layer.npe, units, time_s, causal=False, states=states, counted=counted)
            draws, first = self.answers.drawn(anchored=bool(inside)), int(np.argmax(counted))
            shared = self.answers.shared(contexts.row(first), pool[0].start_s, draws, informed=informed)
        strange, part = sum(one.is_shifted for one in pool), list[Asked]()
        for i, one in enumerate(seen):
            size, context = _size_alone(one), None
            if contexts is not None:
                begun = time_s[np.argmax((states == states[i]) & counted)]
                size, context = (len(pool), pool[0].start_s, pool[-1].end_s, float(begun), strange), contexts.row(i)
            told = self._told(*size, counted=bool(counted[i]), informed=informed)
            part.append(Asked(one, context, told, informed, shared))
        own = {at: tuple(a for a, other in inside if other == at) for _, at in inside}
        known = {at: (a, self.answers.likelihood(a, part[at]), float(time_s[at])) for at, a in own.items() if shared}
        odds = against_the_waves(list(known.values()), self.layer.aging.age)
        return [
            self._with_anchors(made, [told for at, told in known.items() if at != i], own.get(i, ()), odds)
            for i, made in enumerate(part)
        ]

    def _informed(self, patients: int, start_s: float, file: str) -> bool:
        """Whether what is known of the patient is known of the one whose pool it is: the first of the recording."""
        if patients == 2 and self.answers.evidence is not None and not self._warned:
            self._warned = True
            known = self.answers.evidence.patient.text
            told = f"windows from about {start_s:g} s on are another patient's: {known} is not used any more"
            warnings.warn(f"{file}: {told}; --start {start_s:g}s tells of the other", stacklevel=2)
        return self.answers.evidence is not None and patients <= 1

    def _told(
        self,
        windows: int,
        start_s: float,
        end_s: float,
        sensor_start_s: float,
        shifted: int,
        *,
        counted: bool,
        informed: bool,
    ) -> dict[str, Any]:
        told: dict[str, Any] = {"mode": self.pool, "windows": windows, "shifted": shifted}
        told |= {"start_s": start_s, "end_s": end_s, "sensor_start_s": sensor_start_s, "anchors": []}
        told |= {} if counted else {"counted": False}
        return told | ({} if informed or self.answers.evidence is None else {"another_patient": True})

    def _with_anchors(self, asked: Asked, known: list[_Told], here: tuple[Anchor, ...], odds: list[str]) -> Asked:
        """The window told of references, older the farther they are; those of its own are young."""
        every = [*(a for own, *_ in known for a in own), *here]
        apart = list(dict.fromkeys([*contradictions(every), *odds]))
        pool = {**asked.pool, "anchors": [a.text for a in every], **({"contradictions": apart} if apart else {})}
        ages = [self.layer.aging.age(asked.seen.start_s - start_s) for *_, start_s in known]
        aged = tuple(one.aged(age) for (_, one, _), age in zip(known, ages, strict=True))
        context = asked.context
        if context is not None and known:
            told = [(a.name, age) for (own, *_), age in zip(known, ages, strict=True) for a in own]
            age = self._age_of_outputs([*told, *((a.name, 0.0) for a in here)])
            context = context.grown(self.layer.aging.growth(age))
        return replace(asked, context=context, pool=pool, likelihoods=aged, anchors=here)

    def _age_of_outputs(self, told: list[tuple[str, float]]) -> Float[np.ndarray, " D"]:
        """By output the age of the nearest reference that bears on it; of the nearest of all where none does."""
        ages = np.array([age for _, age in told])
        bears = np.stack([self.bundle.outputs.involved(name) for name, _ in told])
        return np.asarray(np.where(bears.any(0), np.where(bears, ages[:, None], np.inf).min(0), ages.min()))


def _size_alone(seen: Seen) -> tuple[int, float, float, float, int]:
    """What is told of a pool of one window: how many, from when to when, since when in its state, how many shifted."""
    return 1, seen.start_s, seen.end_s, seen.start_s, int(seen.is_shifted)
