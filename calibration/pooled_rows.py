r"""Windows of a recording answered at given times, each given its pool: how labelled rows of tables are answered.

A pool is what `infer` makes of the recording, windows at a regular pace, with the given ones among them; those that
overlap it are answered given the pool and are no part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..inference.answer import Prior
from ..inference.answering import AnsweredWindow, Question
from ..inference.bundle import Bundle
from ..inference.pooling.answering import Pool, answer_pooled_windows
from ..inference.pooling.layer import PoolingLayer
from ..inference.workers import Workers
from ..waveforms.recording import Recording
from ..waveforms.windows import cut_windows_at, regular_starts

__all__ = ["answer_rows"]


def answer_rows(
    bundle: Bundle,
    layer: PoolingLayer,
    recording: Recording,
    starts_s: Sequence[float],
    question: Question,
    *,
    pool: Pool,
    every_s: float = 0.0,
    prior: Prior | None = None,
    workers: Workers = 1,
    skip: int = 0,
) -> Iterator[AnsweredWindow]:
    r"""Answers windows of a recording at given times, each given its pool.

    Arguments:
        bundle: The window model; reads one channel.
        layer: Its pooling layer.
        recording: The recording; must hold the channel that the model reads.
        starts_s: Starts of the windows [s], in order of time; one may be named several times.
        question: How many draws, which level, which seed.
        pool: Whether a pool is all windows, or ends with the one that is answered.
        every_s: Pace of the other windows of the pools, from the start of the recording on [s]; 0 for pools of the
            given windows alone.
        prior: Prior of the bundle's quantities, where it is known already.
        workers: Threads, or processes.
        skip: Windows at the start that inform the others but are not answered, as they have been already.

    Returns:
        An iterator over the given windows with their answers or refusals.

    Raises:
        RecordingError: If the channel is missing or ambiguous, or its rate is no monitor's.

    Example:
        >>> answer_rows.__kwdefaults__["every_s"]
        0.0
    """
    contract = bundle.contract
    cut = {"length_s": contract.window_s, "fs": contract.fs}
    regular = regular_starts(recording, contract.role, every_s=every_s, **cut) if every_s > 0 else np.zeros(0)
    starts = np.unique(np.concatenate((np.asarray(starts_s, dtype=np.float64), regular)))
    places = np.searchsorted(starts, starts_s)[skip:].tolist()
    windows = cut_windows_at(recording, contract.role, starts.tolist(), **cut)
    found = answer_pooled_windows(
        bundle, layer, windows, question, file=recording.name, pool=pool, prior=prior, workers=workers,
        wanted=frozenset(places),
    )  # fmt: skip
    at = -1
    for place in places:
        if place != at:
            at, one = place, next(found)
        yield one
