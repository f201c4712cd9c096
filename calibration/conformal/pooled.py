r"""Labelled windows answered in pools, for regions of a model that answers recordings whole.

What all windows of a patient get wrong together a pool repeats with more confidence, so a limit taken from windows
answered one by one does not hold for pooled answers. Here each labelled window is answered as `infer --pool` answers
it, given the windows of its whole recording, and patients still count as one each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...inference.answer import Answer, Prior, Refusal
from ...inference.answering import Question
from ...inference.bundle import Bundle
from ...inference.pooling.answering import Pool
from ...inference.pooling.layer import PoolingLayer
from ...inference.workers import Workers
from ...waveforms.cohort_table import CohortTable
from ...waveforms.readers import read
from ...waveforms.recording import Recording
from ..pairs import Pairs
from ..pooled_rows import answer_rows
from .bundles import N_DRAWS, Answerer

__all__ = ["pooled_answerer"]


def pooled_answerer(
    bundle: Bundle,
    layer: PoolingLayer,
    table: CohortTable,
    *,
    pool: Pool = "recording",
    every_s: float = 8.0,
    seed: int = 0,
    workers: Workers = 1,
    opened: Callable[[Path], Recording] = read,
) -> Answerer:
    r"""Answers labelled windows of a table, each given the windows of its recording.

    Arguments:
        bundle: The window model.
        layer: Its pooling layer.
        table: The table that the windows are rows of.
        pool: Whether a pool is the whole recording, or ends with the window that is answered.
        every_s: Pace of the windows of a pool [s].
        seed: Seed of the draws.
        workers: Threads, or processes.
        opened: Opens a recording.

    Returns:
        What `calibrate_bundle` takes as ``answer``; pairs that do not say which rows they are get a ValueError.

    Example:
        >>> from pulsebayes.inference.pooling import load_pooling
        >>> layer = load_pooling(folder, bundle)  # doctest: +SKIP
        >>> calibrate_bundle(bundle, pairs, answer=pooled_answerer(bundle, layer, table))  # doctest: +SKIP
    """
    prior, question = Prior.of(bundle), Question(n_draws=N_DRAWS, seed=seed)

    def answer(pairs: Pairs) -> list[Answer | Refusal]:
        if len(pairs.rows) != len(pairs):
            raise ValueError(f"pairs must say which rows of the table they are, got {len(pairs.rows)} of {len(pairs)}")
        found: dict[int, Answer | Refusal] = {}
        recordings = [table.recordings[row] for row in pairs.rows]
        for path in dict.fromkeys(recordings):
            own = [i for i, other in enumerate(recordings) if other == path]
            own.sort(key=lambda i: float(pairs.start_s[i]))
            answers = answer_rows(
                bundle, layer, opened(path), pairs.start_s[own].tolist(), question,
                pool=pool, every_s=every_s, prior=prior, workers=workers,
            )  # fmt: skip
            found |= {i: one.result for i, one in zip(own, answers, strict=True)}
        return [found[i] for i in range(len(pairs))]

    return answer
