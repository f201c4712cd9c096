r"""A recording answered as one patient's: every window's posterior given all windows of its pool.

With ``pool="recording"`` the windows are first gated, judged and embedded, then each is answered given all others of
its segment; with ``"causal"`` each is answered at once, given those up to it. A segment of one window is answered by
the window model alone, which a pool of one is. A splice splits the pool (see ``segments``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...waveforms.recording import Recording, RecordingError
from ...waveforms.windows import Window
from ..answer import Answer, Prior, Refusal, VerdictLike, answer_window, cited_coverage, window_seed
from ..answering import (
    AnsweredWindow,
    Question,
    domain_model,
    gate_refusal,
    in_order,
    question_windows,
    signal_summary,
)
from ..bundle import Bundle
from .anchors import Anchor, SlowLikelihood
from .features import embed_windows
from .layer import PoolingLayer
from .network import SLOW
from .pools import SCALES_S, pool_averages
from .segments import BLOCK, score_block, split_pool

__all__ = ["Pool", "RunningPool", "answer_pooled"]

Pool = Literal["causal", "recording"]
_OVERSAMPLED = 4  # joint draws for each that is kept, where anchors weight them
_UNITS = {"C90": "mL/mmHg", "PWV90": "m/s"}


@dataclass(frozen=True)
class _Seen:
    """A window that is to be answered."""

    values: Float[np.ndarray, " T"]
    start_s: float
    end_s: float
    signal: dict[str, Any]
    place: VerdictLike | None
    h: Float[Tensor, " inputs"]
    unit: Float[Tensor, " inputs"]


@dataclass(frozen=True)
class _Asked:
    """A window with the context of its pool and what is said of it."""

    seen: _Seen
    context: Float[Tensor, " context"] | None
    pool: dict[str, Any]
    likelihoods: tuple[SlowLikelihood, ...] = ()
    anchors: tuple[Anchor, ...] = ()


def answer_pooled(
    bundle: Bundle,
    layer: PoolingLayer,
    recording: Recording,
    question: Question,
    *,
    pool: Pool = "recording",
    anchors: Sequence[Anchor] = (),
    prior: Prior | None = None,
    workers: int = 1,
) -> Iterator[AnsweredWindow]:
    r"""Answers a recording window by window, each given the windows of its pool, in order of time.

    Arguments:
        bundle: The window model.
        layer: Its pooling layer.
        recording: The recording; must hold the channel that the model reads.
        question: Which windows, how many draws, which level.
        pool: Whether a pool is the whole recording, or ends with the window that is answered.
        anchors: Reference values; in a causal pool each counts from its time on.
        prior: Prior of the bundle's quantities, where it is known already.
        workers: Threads.

    Returns:
        An iterator over windows with their answers or refusals.

    Raises:
        RecordingError: As `answer_recording`; or if an anchor names no quantity of the model or no answered window
            lies within a minute of it.

    Example:
        >>> answer_pooled.__kwdefaults__["pool"]
        'recording'
    """
    unknown = [a.name for a in anchors if a.name not in bundle.outputs.reported]
    if unknown:
        raise RecordingError(
            f"no quantity {unknown[0]!r} to anchor: the model gives {', '.join(bundle.outputs.reported)}",
            code="anchor-unknown",
            file=recording.name,
            hint="--anchor CO=4.2@600s",
        )
    desk = _Desk(bundle, layer, question, prior or Prior.of(bundle), pool)
    looked = (desk.look(window) for window in question_windows(bundle, recording, question))
    if pool == "causal":
        asked = desk.follow(looked, tuple(anchors), recording.name)
    else:
        asked = desk.gather(list(looked), tuple(anchors), recording.name)
    return in_order(asked, desk.answer, workers)


class RunningPool:
    r"""The pool of a monitor: what is kept of all windows so far, a few hundred numbers.

    Arguments:
        layer: The pooling layer.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> from pulsebayes.inference.pooling.layer import load_pooling
        >>> folder = find_bundle("radial-abp")
        >>> pool = RunningPool(load_pooling(folder, Bundle.load(folder)))
        >>> [pool.add(torch.zeros(64), 8.0 * i) is None for i in range(2)], pool.windows
        ([True, False], 2)
    """

    def __init__(self, layer: PoolingLayer) -> None:
        self._layer = layer
        self._late: deque[tuple[Tensor, float]] = deque()
        self._start([])

    def _start(self, windows: list[tuple[Tensor, float]]) -> None:
        """A new pool of some windows."""
        self._sums = torch.zeros(len(SCALES_S), self._layer.npe.config.features + 1, dtype=torch.float64)
        self._before = torch.zeros(self._layer.npe.config.inputs)
        self._near, self._weight, self._n_before, self._last_before = self._before.clone(), 0.0, 0, -math.inf
        self._time_s, self.windows, self.start_s = -math.inf, 0, math.nan
        for unit, time_s in windows:
            self._count(unit, time_s)

    @torch.no_grad()
    def add(self, unit: Float[Tensor, " inputs"], time_s: float) -> Float[Tensor, " context"] | None:
        r"""Takes a window in.

        Arguments:
            unit: Its standardised context vector.
            time_s: Its start [s], not before that of the last.

        Returns:
            Context of the flow, or None where the pool holds this window only.
        """
        self._late.append((unit, time_s))
        self._count(unit, time_s)
        if len(self._late) == BLOCK and self._spliced():
            self._start(list(self._late))
        if len(self._late) == BLOCK:
            self._forget()
        if self.windows == 1:
            return None
        counts = self._sums[:, -1:]
        pools = (self._sums[:, :-1] / counts).float()
        return self._layer.npe.context(unit[None], pools[None], counts[:, 0].float()[None])[0]

    def _count(self, unit: Tensor, time_s: float) -> None:
        features = self._layer.npe.features(unit[None])[0].double()
        row = torch.cat((features, torch.ones(1, dtype=torch.float64)))
        keep = [math.exp(-(time_s - self._time_s) / scale) if self.windows else 0.0 for scale in SCALES_S]
        self._sums = torch.tensor(keep, dtype=torch.float64)[:, None] * self._sums + row
        self.start_s = time_s if self.windows == 0 else self.start_s
        self._time_s, self.windows = time_s, self.windows + 1

    def _spliced(self) -> bool:
        """Whether the last three windows are of another patient than those before them."""
        if self._n_before < BLOCK:
            return False
        block = torch.stack([unit for unit, _ in self._late])
        gap = self._late[0][1] - self._last_before
        near = self._near / self._weight
        detector = self._layer.detector
        before = self._before / self._n_before
        return score_block(detector, before, near, block, self._n_before, gap) > float(detector.limit)

    def _forget(self) -> None:
        """The oldest of the last three joins those before them."""
        unit, time_s = self._late.popleft()
        keep = math.exp(-(time_s - self._last_before) / 60.0) if self._n_before else 0.0
        self._before = self._before + unit
        self._near, self._weight = keep * self._near + unit, keep * self._weight + 1.0
        self._n_before, self._last_before = self._n_before + 1, time_s


class _Desk:
    """Looks at windows, gathers their pools and answers them; may answer from several threads."""

    def __init__(self, bundle: Bundle, layer: PoolingLayer, question: Question, prior: Prior, pool: Pool) -> None:
        self.bundle, self.layer, self.question, self.prior, self.pool = bundle, layer, question, prior, pool
        self.domain = domain_model(bundle)

    def look(self, window: Window) -> _Seen | AnsweredWindow:
        """Gates, judges and embeds a window: a refusal, or what is kept to answer it."""
        values, signal = window.values[0], signal_summary(window.verdict)
        if not window.verdict.usable:
            return AnsweredWindow(values, gate_refusal(window, signal))
        place: VerdictLike | None = None if self.domain is None else self.domain.assess(values)
        h = torch.from_numpy(embed_windows(self.bundle, values[None]))[0]
        outside = place is not None and place.verdict == "outside"
        if outside or not bool(torch.isfinite(h).all()):
            hint = (place.reason if place else None) or "the window does not look like a simulated pressure"
            return AnsweredWindow(values, Refusal(window.start_s, window.end_s, "outside", hint, signal, place))
        return _Seen(values, window.start_s, window.end_s, signal, place, h, self.layer.npe.unit(h))

    def follow(
        self, looked: Iterator[_Seen | AnsweredWindow], anchors: tuple[Anchor, ...], file: str
    ) -> Iterator[_Asked | AnsweredWindow]:
        """Windows with the pool up to them, one at a time."""
        running = RunningPool(self.layer)
        waiting, known, since = list(anchors), list[tuple[Anchor, SlowLikelihood]](), math.nan
        for one in looked:
            if isinstance(one, AnsweredWindow):
                yield one
                continue
            context = running.add(one.unit, one.start_s)
            if running.start_s != since:
                known, since = [], running.start_s
            asked = _Asked(one, context, self._told(running.windows, since, one.end_s, ()))
            here = [a for a in waiting if one.start_s <= a.time_s < one.start_s + max(self.question.every_s, 8.0)]
            waiting = [a for a in waiting if a not in here]
            asked = self._with_anchors(asked, list(known), here)
            if context is not None:
                known += [(a, self._likelihood(a, asked)) for a in here]
            yield asked
        _refuse_unused(waiting, file)

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
            _refuse_unused(anchors, file)
            return []
        units = torch.stack([one.unit for one in seen])
        time_s = np.array([one.start_s for one in seen])
        features = self.layer.npe.features(units).numpy()
        bounds = [*split_pool(self.layer.detector, units, time_s), len(seen)]
        found = {a: a.nearest(time_s, self.bundle.contract.window_s) for a in anchors}
        _refuse_unused([a for a, at in found.items() if at is None], file)
        asked: list[_Asked] = []
        for first, last in pairwise(bounds):
            averages, counts = pool_averages(features[first:last], time_s[first:last], causal=False)
            contexts = self.layer.npe.context(units[first:last], torch.from_numpy(averages), torch.from_numpy(counts))
            told = self._told(last - first, seen[first].start_s, seen[last - 1].end_s, ())
            alone = last - first == 1
            part = [_Asked(seen[i], None if alone else contexts[i - first], told) for i in range(first, last)]
            inside = [(a, at - first) for a, at in found.items() if at is not None and first <= at < last]
            known = [] if alone else [(a, self._likelihood(a, part[at])) for a, at in inside]
            for i, one in enumerate(part):
                here = [a for a, at in inside if at == i]
                asked.append(self._with_anchors(one, [k for k in known if k[0] not in here], here))
        return asked

    def _told(self, windows: int, start_s: float, end_s: float, anchors: Sequence[Anchor]) -> dict[str, Any]:
        texts = [a.text for a in anchors]
        return {"mode": self.pool, "windows": windows, "start_s": start_s, "end_s": end_s, "anchors": texts}

    def _with_anchors(self, asked: _Asked, known: list[tuple[Anchor, SlowLikelihood]], here: list[Anchor]) -> _Asked:
        names = [a.text for a, _ in known] + [a.text for a in here]
        pool = {**asked.pool, "anchors": names}
        return replace(asked, pool=pool, likelihoods=tuple(one for _, one in known), anchors=tuple(here))

    def _likelihood(self, anchor: Anchor, asked: _Asked) -> SlowLikelihood:
        slow, theta = self._joint(asked, _OVERSAMPLED * 500)
        return SlowLikelihood.of(anchor, slow, self.bundle.outputs.derive(theta))

    def _joint(self, asked: _Asked, n: int) -> tuple[Float[np.ndarray, "n S"], Float[np.ndarray, "n D"]]:
        """Slow and fast quantities; of a window alone only the fast ones."""
        generator = torch.Generator().manual_seed(window_seed(self.question.seed, asked.seen.start_s))
        if asked.context is None:
            window = torch.from_numpy(np.asarray(asked.seen.values, np.float32))
            return np.zeros((n, 0), np.float32), self.bundle.npe.sample(window[None], n, generator)[0]
        slow, fast = self.layer.npe.sample(self.bundle.npe, asked.seen.h[None], asked.context[None], n, [generator])
        return slow[0], fast[0]

    def answer(self, asked: _Asked | AnsweredWindow) -> AnsweredWindow:
        """Draws, weights and summarises one window."""
        if isinstance(asked, AnsweredWindow):
            return asked
        seen, question = asked.seen, self.question
        if asked.context is None and not asked.anchors:
            return AnsweredWindow(seen.values, self._alone(asked))
        anchored = bool(asked.likelihoods or asked.anchors)
        n = question.n_draws * (_OVERSAMPLED if anchored else 1)
        slow, theta = self._joint(asked, n)
        pool = asked.pool
        if anchored:
            slow, theta, effective = self._weighted(asked, slow, theta)
            pool = {**pool, "effective_draws": round(effective)}
        draws = self.bundle.outputs.derive(theta)
        answer = Answer(
            seen.start_s,
            seen.end_s,
            draws,
            self.prior.estimates(draws, level=question.level, uninformative=self.bundle.uninformative),
            question.level,
            seen.signal,
            None if anchored else cited_coverage(self.layer.measured, question.level, seen.place),
            seen.place,
            pool={**pool, "slow": _summary(slow) if asked.context is not None else {}},
        )
        return AnsweredWindow(seen.values, answer)

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

    def _weighted(
        self, asked: _Asked, slow: Float[np.ndarray, "n S"], theta: Float[np.ndarray, "n D"]
    ) -> tuple[Float[np.ndarray, "m S"], Float[np.ndarray, "m D"], float]:
        """Draws resampled by what the anchors say, and their effective number."""
        log = np.zeros(len(theta))
        for one in asked.likelihoods:
            log += one.log(slow)
        draws = self.bundle.outputs.derive(theta) if asked.anchors else {}
        for anchor in asked.anchors:
            misfit, error = anchor.misfit(draws)
            log -= 0.5 * (misfit / error) ** 2
        weights = np.exp(log - log.max())
        weights /= weights.sum()
        positions = (np.arange(self.question.n_draws) + 0.5) / self.question.n_draws
        rows = np.minimum(np.searchsorted(np.cumsum(weights), positions), len(weights) - 1)
        np.random.default_rng([self.question.seed, round(abs(asked.seen.start_s) * 1000)]).shuffle(rows)
        return slow[rows], theta[rows], float(1.0 / np.square(weights).sum())


def _summary(slow: Float[np.ndarray, "draw S"]) -> dict[str, dict[str, Any]]:
    """What is known of the patient: compliance and wave speed at 90 mmHg."""
    found = {}
    for name, unit in _UNITS.items():
        q05, median, q95 = np.exp(np.quantile(slow[:, SLOW.index(name)], [0.05, 0.5, 0.95]))
        numbers = {"median": median, "q05": q05, "q95": q95}
        found[name] = {"unit": unit, **{k: float(f"{v:.4g}") for k, v in numbers.items()}}
    return found


def _refuse_unused(anchors: Sequence[Anchor], file: str) -> None:
    if anchors:
        raise RecordingError(
            f"no answered window lies within a minute of the reference {anchors[0].text}",
            code="anchor-alone",
            file=file,
            hint="give the time at which it was measured, counted from the start of the recording",
        )
