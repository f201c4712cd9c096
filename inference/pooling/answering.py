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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...waveforms.recording import Recording
from ...waveforms.windows import Window
from ..answer import Answer, Prior, Refusal, VerdictLike, answer_window, cited_coverage, window_seed
from ..answering import (
    AnsweredWindow,
    Question,
    domain_model,
    gate_refusal,
    question_windows,
    signal_summary,
)
from ..bundle import Bundle
from ..channel_answering import ChannelDesk, Laid
from ..contract import joined
from ..patient.layer import LEAST_EFFECTIVE
from ..workers import Workers, in_order
from .anchors import Anchor, SlowLikelihood, contradictions, effective_share, refuse_unused, require_known
from .coverage import measured_alike
from .features import embed_windows
from .layer import PoolingLayer
from .network import SLOW, PoolContext, pool_contexts
from .overlap import begins, that_count
from .running import Mark, RunningPool
from .segments import find_changes, sensor_states

__all__ = ["Pool", "answer_pooled", "answer_pooled_windows", "follow_pooled"]

Pool = Literal["causal", "recording"]
_Told = tuple[tuple[Anchor, ...], SlowLikelihood, float]  # references of a window, what they say, and when [s]
_OVERSAMPLED = 4  # joint draws for each that is kept, where anchors weight them
_UNITS = {"C90": "mL/mmHg", "PWV90": "m/s"}


@dataclass(frozen=True)
class _Seen:
    """A window that is to be answered, of several channels from those that were chosen."""

    values: Float[np.ndarray, "*C T"]
    start_s: float
    end_s: float
    signal: Mapping[str, Any]
    place: VerdictLike | None
    unit: Float[Tensor, " inputs"]


@dataclass(frozen=True)
class _Asked:
    """A window with the context of its pool and what is said of it."""

    seen: _Seen
    context: PoolContext | None
    pool: dict[str, Any]
    shared: Float[Tensor, "draw S"] | None = None
    likelihoods: tuple[SlowLikelihood, ...] = ()
    anchors: tuple[Anchor, ...] = ()


@dataclass(frozen=True)
class _Known:
    """References of one window that the windows after it are told of."""

    anchors: tuple[Anchor, ...]
    likelihood: SlowLikelihood
    seen: _Seen
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
        bundle, layer, windows, question, file=recording.name, pool=pool, anchors=anchors, prior=prior, workers=workers
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
    workers: Workers = 1,
    skip: int = 0,
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
        workers: Threads, or processes.
        skip: Windows at the start that inform the others but are not answered, as they have been already.

    Returns:
        An iterator over windows with their answers or refusals.

    Raises:
        RecordingError: If an anchor names no quantity of the model or no answered window lies within a minute of it.

    Example:
        >>> answer_pooled_windows.__kwdefaults__["skip"]
        0
    """
    require_known(anchors, bundle.outputs.reported, file)
    desk = _Desk(bundle, layer, question, prior or Prior.of(bundle), pool)
    looked = in_order(windows, desk.look, workers)
    if pool == "causal":
        asked = desk.follow(looked, tuple(anchors), file)
    else:
        asked = desk.gather(list(looked), tuple(anchors), file)
    return in_order(islice(asked, skip, None), desk.answer, workers)


def follow_pooled(
    bundle: Bundle,
    layer: PoolingLayer,
    windows: Iterable[Window],
    question: Question,
    *,
    file: str,
    anchors: Sequence[Anchor] = (),
    prior: Prior | None = None,
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

    Returns:
        An iterator over windows with their answers or refusals.

    Raises:
        RecordingError: If an anchor names no quantity of the model, or no answered window lay near it in the end.

    Example:
        >>> follow_pooled.__kwdefaults__["anchors"]
        ()
    """
    require_known(anchors, bundle.outputs.reported, file)
    desk = _Desk(bundle, layer, question, prior or Prior.of(bundle), "causal")
    return map(desk.answer, desk.follow(map(desk.look, windows), tuple(anchors), file))


class _Desk:
    """Looks at windows, gathers their pools and answers them; may answer from several threads."""

    def __init__(self, bundle: Bundle, layer: PoolingLayer, question: Question, prior: Prior, pool: Pool) -> None:
        self.bundle, self.layer, self.question, self.prior, self.pool = bundle, layer, question, prior, pool
        self.channels = ChannelDesk.of(bundle, question, prior) if bundle.contract.several else None
        self.domain = None if self.channels is not None else domain_model(bundle)

    def look(self, window: Window) -> _Seen | AnsweredWindow:
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
        return _Seen(values, window.start_s, window.end_s, signal, place, unit)

    def _one_channel(self, window: Window) -> Laid | AnsweredWindow:
        """The window of a model of one channel."""
        values, signal = window.values[0], signal_summary(window.verdict)
        if not window.verdict.usable:
            return AnsweredWindow(values, gate_refusal(window, signal))
        return Laid(values, signal, None if self.domain is None else self.domain.assess(values))

    def follow(
        self, looked: Iterator[_Seen | AnsweredWindow], anchors: tuple[Anchor, ...], file: str
    ) -> Iterator[_Asked | AnsweredWindow]:
        """Windows with the pool up to them, one at a time."""
        window_s = self.bundle.contract.window_s
        running, until_s = RunningPool(self.layer, window_s), min(self.question.every_s, window_s)
        waiting, since, end_s = list(dict.fromkeys(anchors)), math.nan, math.nan
        known, alone, strange = list[_Known](), list[tuple[tuple[Anchor, ...], _Seen]](), list[float]()
        for one in looked:
            if isinstance(one, AnsweredWindow):
                yield one
                continue
            context = running.add(one.unit, one.start_s)
            if running.start_s != since:  # a new patient's; references to its first windows stay
                taken, since = [(k.anchors, k.seen) for k in known] + alone, running.start_s
                known, alone = [], [(own, seen) for own, seen in taken if seen.start_s >= since]
            if running.counted:
                strange, end_s = [at for at in strange if at >= since] + [one.start_s] * _is_shifted(one), one.end_s
            size = running.windows, since, end_s, running.sensor_start_s, len(strange)
            told = self._told(*(_size_alone(one) if context is None else size), counted=running.counted)
            if context is not None and alone:
                known = [self._known(own, _Asked(seen, None, told), running) for own, seen in alone]
                alone = []
            here = tuple(a for a in waiting if a.is_due(one.start_s, until_s))
            waiting = [a for a in waiting if a not in here]
            asked = self._with_anchors(_Asked(one, context, told), [k.now(running) for k in known], here)
            if here and context is None:
                alone.append((here, one))
            elif here:
                known.append(self._known(here, asked, running))
            yield asked
        refuse_unused(waiting, file)

    def _known(self, anchors: tuple[Anchor, ...], asked: _Asked, running: RunningPool) -> _Known:
        """References of a window as the windows after it are told of them."""
        context = running.told_of(asked.seen.unit) if asked.context is None else asked.context
        asked = replace(asked, context=context)
        return _Known(anchors, self._likelihood(anchors, asked), asked.seen, running.mark(asked.seen.unit, context))

    def gather(
        self, looked: list[_Seen | AnsweredWindow], anchors: tuple[Anchor, ...], file: str
    ) -> Iterator[_Asked | AnsweredWindow]:
        """Windows with the pool of their whole segment."""
        seen = [one for one in looked if isinstance(one, _Seen)]
        asked = iter(self._segments(seen, anchors, file))
        for one in looked:
            yield one if isinstance(one, AnsweredWindow) else next(asked)

    @torch.no_grad()
    def _segments(self, seen: list[_Seen], anchors: tuple[Anchor, ...], file: str) -> list[_Asked]:
        if not seen:
            refuse_unused(anchors, file)
            return []
        units = torch.stack([one.unit for one in seen])
        time_s = np.array([one.start_s for one in seen])
        counted = that_count(time_s, self.bundle.contract.window_s)
        first = begins(time_s, counted)
        found = find_changes(self.layer.detector, self.layer.npe.signature(units[counted]), time_s[counted])
        changes = [replace(one, at=int(first[one.at])) for one in found]
        bounds = [0, *(one.at for one in changes if one.kind == "patient"), len(seen)]
        states = sensor_states(changes, len(seen))
        nearest = {a: a.nearest(time_s, self.bundle.contract.window_s) for a in anchors}
        refuse_unused([a for a, at in nearest.items() if at is None], file)
        asked: list[_Asked] = []
        for own in map(slice, bounds, bounds[1:]):
            inside = [(a, at - own.start) for a, at in nearest.items() if at is not None and own.start <= at < own.stop]
            asked += self._segment(seen[own], units[own], states[own], counted[own], inside)
        return asked

    def _segment(
        self,
        seen: list[_Seen],
        units: Float[Tensor, "W inputs"],
        states: Int[np.ndarray, " W"],
        counted: Bool[np.ndarray, " W"],
        inside: list[tuple[Anchor, int]],
    ) -> list[_Asked]:
        """The windows of one patient, with their pool and the references among them."""
        time_s, pool = np.array([one.start_s for one in seen]), [seen[i] for i in np.flatnonzero(counted)]
        contexts = pool_contexts(self.layer.npe, units, time_s, causal=False, states=states, counted=counted)
        alone, draws = len(pool) == 1, self.question.n_draws * (_OVERSAMPLED if inside else 1)
        shared = None if alone else self._shared(contexts.row(0), pool[0].start_s, draws)
        strange, part = sum(map(_is_shifted, pool)), list[_Asked]()
        for i, one in enumerate(seen):
            begun = time_s[np.argmax((states == states[i]) & counted)]
            size = len(pool), pool[0].start_s, pool[-1].end_s, float(begun), strange
            told = self._told(*(_size_alone(one) if alone else size), counted=bool(counted[i]))
            part.append(_Asked(one, None if alone else contexts.row(i), told, shared))
        own = {at: tuple(a for a, other in inside if other == at) for _, at in inside}
        known = {at: (a, self._likelihood(a, part[at]), float(time_s[at])) for at, a in own.items() if not alone}
        return [
            self._with_anchors(made, [told for at, told in known.items() if at != i], own.get(i, ()))
            for i, made in enumerate(part)
        ]

    def _told(
        self, windows: int, start_s: float, end_s: float, sensor_start_s: float, shifted: int, *, counted: bool
    ) -> dict[str, Any]:
        size = {"mode": self.pool, "windows": windows, "shifted": shifted, "start_s": start_s, "end_s": end_s}
        return {**size, "sensor_start_s": sensor_start_s, "anchors": [], **({} if counted else {"counted": False})}

    def _with_anchors(self, asked: _Asked, known: list[_Told], here: tuple[Anchor, ...]) -> _Asked:
        """The window told of references, older the farther they are; those of its own are young."""
        every = [*(a for own, *_ in known for a in own), *here]
        apart = contradictions(every)
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

    def _likelihood(self, anchors: tuple[Anchor, ...], asked: _Asked) -> SlowLikelihood:
        shared, theta = self._joint(asked, _OVERSAMPLED * 500)
        far = None
        if asked.context is not None and self.layer.aging.excess:
            context = asked.context.grown(self.layer.aging.growth(1.0))
            far = self.bundle.outputs.derive(self._joint(replace(asked, context=context), len(theta))[1])
        return SlowLikelihood.of(anchors, shared.double().numpy(), self.bundle.outputs.derive(theta), far)

    def _shared(self, context: PoolContext, start_s: float, n: int) -> Float[Tensor, "n S"]:
        """Draws of what a pool shares: the same numbers for all its windows, and as a running pool grows."""
        generator = torch.Generator().manual_seed(window_seed(self.question.seed + 1, start_s))
        return self.layer.npe.sample_shared(context, n, generator)

    def _joint(self, asked: _Asked, n: int) -> tuple[Float[Tensor, "n S"], Float[np.ndarray, "n D"]]:
        """Shared and own quantities; of a window alone only its own."""
        generator = torch.Generator().manual_seed(window_seed(self.question.seed, asked.seen.start_s))
        if asked.context is None:
            window = torch.from_numpy(np.asarray(asked.seen.values, np.float32))
            return torch.zeros(n, 0), self.bundle.npe.sample(window[None], n, generator)[0]
        shared = self._shared(asked.context, asked.pool["start_s"], n) if asked.shared is None else asked.shared[:n]
        theta = self.layer.npe.sample_window(self.bundle.outputs.space, asked.context, shared, generator)
        return shared, theta

    def answer(self, asked: _Asked | AnsweredWindow) -> AnsweredWindow:
        """Draws, weights and summarises one window."""
        if isinstance(asked, AnsweredWindow):
            return asked
        seen, question = asked.seen, self.question
        if asked.context is None and not asked.anchors:
            return AnsweredWindow(seen.values, self._alone(asked))
        anchored = bool(asked.likelihoods or asked.anchors)
        n = question.n_draws * (_OVERSAMPLED if anchored else 1)
        shared, theta = self._joint(asked, n)
        pool = asked.pool
        if anchored:
            shared, theta, effective = self._weighted(asked, shared, theta)
            if effective < LEAST_EFFECTIVE * n or not all(one.agrees for one in asked.likelihoods):
                return AnsweredWindow(seen.values, self._contradicted(asked))
            pool = {**pool, "effective_draws": round(effective)}
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
            pool={**pool, "slow": {} if asked.context is None else _summary(self.layer.npe.slow(shared))},
        )
        return AnsweredWindow(seen.values, answer)

    def _uninformative(self, seen: _Seen) -> float:
        """Share of the prior's interval above which a quantity is withheld, by the window's own channels."""
        contract = self.bundle.contract
        return contract.uninformative(contract.given(seen.values), self.bundle.uninformative)

    def _alone(self, asked: _Asked) -> Answer | Refusal:
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
        )
        return replace(answer, pool={**asked.pool, "slow": {}}) if isinstance(answer, Answer) else answer

    def _contradicted(self, asked: _Asked) -> Refusal:
        """Why a window has no answer that hardly a draw bears the references of."""
        seen, told = asked.seen, " and ".join(asked.pool["anchors"])
        hint = f"waves and reference {told} contradict each other: check its value, unit and time, or widen its error"
        return Refusal(seen.start_s, seen.end_s, "anchor", hint, seen.signal, seen.place)

    def _cited(self, asked: _Asked) -> dict[str, Any] | None:
        """Coverage measured for such an answer."""
        given = joined(self.bundle.contract.given(asked.seen.values))
        told = measured_alike(self.layer.measured, asked.pool["windows"], given, asked.pool["anchors"])
        if told is None:
            return None
        missed = {name: why for name, why in told["not_calibrated"].items() if name in self.bundle.outputs.reported}
        cited = cited_coverage({**told, "not_calibrated": missed}, self.question.level, asked.seen.place)
        mostly = 2 * asked.pool["shifted"] > asked.pool["windows"]
        return {**cited, "method": "uncalibrated"} if cited is not None and mostly else cited

    def _weighted(
        self, asked: _Asked, shared: Float[Tensor, "n S"], theta: Float[np.ndarray, "n D"]
    ) -> tuple[Float[Tensor, "m S"], Float[np.ndarray, "m D"], float]:
        """Draws resampled by what the anchors say, and their effective number."""
        log = np.zeros(len(theta))
        for one in asked.likelihoods:
            log += one.log(shared.double().numpy())
        draws = self.bundle.outputs.derive(theta) if asked.anchors else {}
        for anchor in asked.anchors:
            misfit, error = anchor.misfit(draws)
            log -= 0.5 * (misfit / error) ** 2
        weights = np.exp(log - log.max())
        weights /= weights.sum()
        effective = effective_share(log) * len(log)
        positions = (np.arange(self.question.n_draws) + 0.5) / self.question.n_draws
        rows = np.minimum(np.searchsorted(np.cumsum(weights), positions), len(weights) - 1)
        np.random.default_rng([self.question.seed, round(abs(asked.seen.start_s) * 1000)]).shuffle(rows)
        return shared[torch.from_numpy(rows)], theta[rows], effective


def _is_shifted(seen: _Seen) -> bool:
    """Whether a window is answered though it lies at the rim of the simulations."""
    return seen.place is not None and seen.place.verdict == "shifted"


def _size_alone(seen: _Seen) -> tuple[int, float, float, float, int]:
    """What is told of a pool of one window: how many, from when to when, since when in its state, how many shifted."""
    return 1, seen.start_s, seen.end_s, seen.start_s, int(_is_shifted(seen))


def _summary(slow: Float[np.ndarray, "draw S"]) -> dict[str, dict[str, Any]]:
    """What is known of the patient: compliance and wave speed at 90 mmHg."""
    found = {}
    for name, unit in _UNITS.items():
        q05, median, q95 = np.exp(np.quantile(slow[:, SLOW.index(name)], [0.05, 0.5, 0.95]))
        numbers = {"median": median, "q05": q05, "q95": q95}
        found[name] = {"unit": unit, **{k: float(f"{v:.4g}") for k, v in numbers.items()}}
    return found
