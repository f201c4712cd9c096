r"""Windows of a recording answered at given times, each given its pool: how labelled rows of tables are answered.

A pool is what `infer` makes of the recording: windows at a regular pace. A given window that is one of them is answered
as there; another is a guest: answered given the pool, in a causal one what began before it, and no part of the pool.
Where no pace is given the given windows are the pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from jaxtyping import Float

from ..inference.answer import Prior, Refusal
from ..inference.answering import AnsweredWindow, Question
from ..inference.bundle import Bundle
from ..inference.pooling.answering import Pool, answer_pooled_windows
from ..inference.pooling.layer import PoolingLayer
from ..inference.pooling.overlap import SLACK_S
from ..inference.workers import Workers
from ..waveforms.recording import Recording, RecordingError, require_data
from ..waveforms.windows import Window, cut_windows_at, regular_starts

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
        starts_s: Starts of the windows [s], not falling; one may be named several times.
        question: How many draws, which level, which seed.
        pool: Whether a pool is all windows, or ends with the one that is answered.
        every_s: Pace of the other windows of the pools, from the start of the recording on [s]; 0 for pools of the
            given windows alone.
        prior: Prior of the bundle's quantities, where it is known already.
        workers: Threads, or processes.
        skip: Windows at the start that inform the others but are not answered, as they have been already.

    Returns:
        An iterator over the given windows with their answers or refusals; of a recording of which more than half is
        missing all are refused.

    Raises:
        ValueError: If the starts fall or are not finite, or the pace is neither 0 nor positive and finite.
        RecordingError: If the channel is missing or ambiguous, or its rate is no monitor's.

    Example:
        >>> answer_rows.__kwdefaults__["every_s"]
        0.0
    """
    contract, asked = bundle.contract, np.asarray(starts_s, dtype=np.float64)
    if not np.isfinite(asked).all() or (np.diff(asked) < 0).any():
        raise ValueError("starts_s must be finite and not fall: answer windows in order of time")
    cut = {"length_s": contract.window_s, "fs": contract.fs}
    regular = regular_starts(recording, contract.role, every_s=every_s, **cut) if every_s else asked
    asked = _snapped(asked, regular)
    starts = np.unique(np.concatenate((asked, regular)))
    places = np.searchsorted(starts, asked)[skip:].tolist()
    try:
        require_data(recording, contract.role, 0.0, recording.duration_s)
    except RecordingError as error:
        return _refused(cut_windows_at(recording, contract.role, asked[skip:].tolist(), **cut), error)
    windows = cut_windows_at(recording, contract.role, starts.tolist(), **cut)
    found = answer_pooled_windows(
        bundle, layer, windows, question, file=recording.name, pool=pool, prior=prior, workers=workers,
        wanted=frozenset(places), guests=frozenset(np.flatnonzero(~np.isin(starts, regular)).tolist()),
    )  # fmt: skip
    return _repeated(found, places)


def _snapped(asked: Float[np.ndarray, " n"], regular: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
    """Starts, those of regular windows as these are rounded: 3 x 8.8 is not 26.4 to the last bit."""
    if not len(regular):
        return asked
    after = np.searchsorted(regular, asked).clip(1, max(len(regular) - 1, 1))
    both = regular[np.stack((after - 1, np.minimum(after, len(regular) - 1)))]
    nearest = np.take_along_axis(both, np.abs(both - asked).argmin(0)[None], 0)[0]
    return np.where(np.abs(nearest - asked) < SLACK_S, nearest, asked)


def _repeated(found: Iterator[AnsweredWindow], places: Sequence[int]) -> Iterator[AnsweredWindow]:
    """Windows as they were named, those named several times as often."""
    for _, same in groupby(places):
        one = next(found)
        yield from (one for _ in same)


def _refused(windows: Iterator[Window], error: RecordingError) -> Iterator[AnsweredWindow]:
    """Windows of a recording that `infer` refuses whole."""
    for window in windows:
        yield AnsweredWindow(window.values[0], Refusal(window.start_s, window.end_s, error.code, str(error)))
