r"""A model's answers to every window of a cohort, streamed to disk: memory stays bounded, a kill loses nothing kept.

Each recording has a file of one line a window, appended in blocks and flushed to disk; a line that a kill cut is
dropped, and the same command goes on behind the last whole one. A window's draws depend on the seed and its start only,
so the lines do not depend on where a run was stopped, nor on the number of threads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from ...inference.answer import Answer, Prior, answer_window
from ...inference.answering import AnsweredWindow, Question, domain_model, gate_refusal, signal_summary
from ...inference.pooling.layer import PoolingLayer
from ...inference.workers import in_order
from ...waveforms.cohort_table import CohortTable
from ...waveforms.recording import Recording, require_pressure_unit
from ...waveforms.roles import PRESSURE_ROLES
from ...waveforms.windows import Window, cut_windows_at
from ..conformal.layer import predict
from ..load import Calibrated
from ..pooled_rows import answer_rows
from .rules import RULES, pulse_rules

__all__ = ["NUMBERS", "POOLS", "AnswerPlan", "Answers", "answer_cohort", "load_answers"]

NUMBERS: Final = ("q05", "q25", "median", "q75", "q95", "spread", "share", "rank")
"""Of each quantity: quantiles of the posterior, the standard deviation of its logarithm (of the value for pressures),
its interval's share of the prior's, and the share of draws below the label."""
POOLS: Final = ("window", "causal", "recording")
_BLOCK: Final = 64


@dataclass(frozen=True)
class AnswerPlan:
    r"""How windows are answered.

    Arguments:
        n_draws: Posterior draws a window.
        seed: Seed of the draws.
        workers: Threads.
        pool: Windows of its recording that inform each: ``window`` for none, ``causal`` or ``recording``.

    Raises:
        ValueError: If there are fewer than 50 draws or no thread, or the pool is unknown.

    Example:
        >>> AnswerPlan().n_draws
        400
    """

    n_draws: int = 400
    seed: int = 0
    workers: int = 1
    pool: str = "window"

    def __post_init__(self) -> None:
        """Check every field."""
        if self.pool not in POOLS:
            raise ValueError(f"pool must be one of {', '.join(POOLS)}, got {self.pool!r}")
        if self.n_draws < 50 or self.workers < 1:
            raise ValueError(f"n_draws must be 50 or more and workers 1 or more, got {self.n_draws}, {self.workers}")


@dataclass(frozen=True)
class Answers:
    r"""Answers to the rows of a cohort, in its order.

    Arguments:
        reasons: Why a window has no answer; empty where it has one.
        verdicts: Domain verdict; empty where there is none.
        numbers: By quantity the columns of `NUMBERS`; NaN where there is none.
        regions: By joint set whether the label lies in the conformal region; NaN where that cannot be told.
        rules: By pulse-pressure method its output, up to a factor of the patient; NaN where no beat was found.
        mean: Mean pressure of the window [mmHg].

    Example:
        >>> empty = Answers((), (), {}, {}, {}, np.zeros(0))
        >>> len(empty)
        0
    """

    reasons: tuple[str, ...]
    verdicts: tuple[str, ...]
    numbers: Mapping[str, Float[np.ndarray, "N 8"]]
    regions: Mapping[tuple[str, ...], Float[np.ndarray, " N"]]
    rules: Mapping[str, Float[np.ndarray, " N"]]
    mean: Float[np.ndarray, " N"]

    def __len__(self) -> int:
        return len(self.reasons)

    def column(self, quantity: str, name: str) -> Float[np.ndarray, " N"]:
        r"""One number of a quantity.

        Arguments:
            quantity: The quantity.
            name: One of `NUMBERS`.
        """
        return self.numbers[quantity][:, NUMBERS.index(name)]


def answer_cohort(
    calibrated: Calibrated,
    table: CohortTable,
    folder: Path,
    plan: AnswerPlan,
    *,
    opened: Callable[[Path], Recording],
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    r"""Answers every row of a cohort and keeps what is measured, recording by recording.

    Arguments:
        calibrated: The model with its layers.
        table: The cohort.
        folder: Where answers go; what is there is kept and gone on from.
        plan: How windows are answered.
        opened: Opens a recording.
        progress: Told the number of rows that have been answered.

    Raises:
        RecordingError: If a recording cannot be read or lacks the channel.
        ValueError: If another process is writing answers to the same folder, or the model cannot answer in that pool.

    Example:
        >>> answer_cohort.__name__
        'answer_cohort'
    """
    if why := calibrated.why_not(plan.pool):
        raise ValueError(f"{calibrated.bundle.name} cannot answer so (pool {plan.pool}): {why}")
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        _answer_all(_Desk(calibrated, plan, table), folder, opened, progress)


def _answer_all(
    desk: _Desk, folder: Path, opened: Callable[[Path], Recording], progress: Callable[[int], None]
) -> None:
    calibrated, table, done = desk.calibrated, desk.table, 0
    for path, rows in _by_recording(table).items():
        target = folder / _file_of(path, table)
        kept = _count_whole(target)
        done += kept
        progress(done)
        if kept >= len(rows):
            continue
        recording = opened(path)
        _check(recording, calibrated)
        lines = desk.answer(recording, rows, kept)
        with target.open("a", encoding="utf-8") as stream:
            while block := list(islice(lines, _BLOCK)):
                stream.write("".join(f"{line}\n" for line in block))
                stream.flush()
                os.fsync(stream.fileno())
                done += len(block)
                progress(done)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second process from appending to the same files."""
    try:
        import fcntl
    except ImportError:  # no flock on this system
        yield
        return
    with folder.joinpath(".lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"another process is writing answers to {folder.parent.name}: wait for it, or choose another --out"
            ) from None
        yield


def load_answers(table: CohortTable, folder: Path) -> Answers:
    r"""Reads the answers of a whole cohort.

    Arguments:
        table: The cohort.
        folder: Where they are.

    Raises:
        ValueError: If some rows are not answered yet.

    Example:
        >>> load_answers.__name__
        'load_answers'
    """
    columns = _Columns(len(table))
    for path, rows in _by_recording(table).items():
        lines = 0
        for row, line in zip(rows.tolist(), _lines(folder / _file_of(path, table)), strict=False):
            columns.take(row, json.loads(line))
            lines += 1
        if lines < len(rows):
            raise ValueError(f"{path.name}: {lines} of {len(rows)} windows are answered; run evaluate again")
    return columns.finish()


class _Columns:
    """Arrays that lines are read into one by one, so that no more than the numbers is held."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._reasons, self._verdicts = [""] * n, [""] * n
        self._numbers: dict[str, Float[np.ndarray, "N 8"]] = {}
        self._regions: dict[tuple[str, ...], Float[np.ndarray, " N"]] = {}
        self._rules = {name: np.full(n, np.nan) for name in RULES}
        self._mean = np.full(n, np.nan)

    def take(self, row: int, one: Mapping[str, Any]) -> None:
        self._reasons[row] = sys.intern(one.get("reason") or "")
        self._verdicts[row] = sys.intern(one.get("verdict") or "")
        self._mean[row] = _number(one.get("mean"))
        for name, value in one.get("rules", {}).items():
            self._rules[name][row] = _number(value)
        for name, values in one.get("q", {}).items():
            if name not in self._numbers:
                self._numbers[name] = np.full((self._n, len(NUMBERS)), np.nan, np.float32)
            self._numbers[name][row] = [_number(value) for value in values]
        for names, inside in zip(one.get("sets", []), one.get("in", []), strict=True):
            own = self._regions.setdefault(tuple(names), np.full(self._n, np.nan))
            own[row] = inside

    def finish(self) -> Answers:
        return Answers(
            tuple(self._reasons), tuple(self._verdicts), self._numbers, self._regions, self._rules, self._mean
        )


@dataclass(frozen=True)
class _Desk:
    """Answers windows of one recording after another."""

    calibrated: Calibrated
    plan: AnswerPlan
    table: CohortTable

    def answer(self, recording: Recording, rows: Int[np.ndarray, " n"], kept: int) -> Iterator[str]:
        """A line for each row from the one after those kept."""
        prior = Prior.of(self.calibrated.bundle)
        layer = self.calibrated.pooling
        if self.plan.pool == "window" or layer is None:
            found = self._alone(recording, rows[kept:], prior)
        else:
            found = self._pooled(layer, recording, rows, kept, prior)
        for row, answered in zip(rows[kept:].tolist(), found, strict=True):
            yield json.dumps(self._line(row, answered, prior), allow_nan=False, separators=(",", ":"))

    @property
    def _n_draws(self) -> int:
        """Draws of a window: enough for its regions."""
        layer = self.calibrated.conformal
        return self.plan.n_draws if layer is None else max(self.plan.n_draws, layer.n_draws)

    def _pooled(
        self, layer: PoolingLayer, recording: Recording, rows: Int[np.ndarray, " n"], kept: int, prior: Prior
    ) -> Iterator[AnsweredWindow]:
        """Each window given those of its pool: what a stop left behind is looked at again, not answered again."""
        plan, conformal = self.plan, self.calibrated.conformal
        pools = None if conformal is None else conformal.pools
        return answer_rows(
            self.calibrated.bundle, layer, recording, self.table.start_s[rows].tolist(),
            Question(n_draws=self._n_draws, seed=plan.seed), pool="causal" if plan.pool == "causal" else "recording",
            every_s=0.0 if pools is None else pools.every_s, prior=prior, workers=plan.workers, skip=kept,
        )  # fmt: skip

    def _alone(self, recording: Recording, rows: Int[np.ndarray, " n"], prior: Prior) -> Iterator[AnsweredWindow]:
        bundle = self.calibrated.bundle
        contract, domain = bundle.contract, domain_model(bundle)
        starts = self.table.start_s[rows].tolist()
        windows = cut_windows_at(recording, contract.role, starts, length_s=contract.window_s, fs=contract.fs)

        def one(window: Window) -> AnsweredWindow:
            values, signal = window.values[0], signal_summary(window.verdict)
            if not window.verdict.usable:
                return AnsweredWindow(values, gate_refusal(window, signal))
            result = answer_window(
                bundle,
                values,
                start_s=window.start_s,
                end_s=window.end_s,
                prior=prior,
                n_draws=self._n_draws,
                seed=self.plan.seed,
                signal=signal,
                domain=None if domain is None else domain.assess(values),
            )
            return self.calibrated.finish(AnsweredWindow(values, result), prior, seed=self.plan.seed)

        return in_order(windows, one, self.plan.workers)

    def _line(self, row: int, answered: AnsweredWindow, prior: Prior) -> dict[str, Any]:
        found: dict[str, Any] = {"row": row}
        result, values = answered.result, answered.values
        if result.domain is not None:
            found["verdict"] = result.domain.verdict
        if np.isfinite(values).all() and self.calibrated.bundle.contract.role in PRESSURE_ROLES:
            found["mean"] = _plain(float(values.mean()))
            rules = pulse_rules(values, self.calibrated.bundle.contract.fs)
            found["rules"] = {name: _plain(value) for name, value in rules.items()}
        if not isinstance(result, Answer):
            return found | {"reason": result.reason}
        labels = {name: float(column[row]) for name, column in self.table.labels.items()}
        found["q"] = {name: self._summary(name, result, labels, prior) for name in result.draws}
        sets = self._regions(answered, result, labels)
        return found | ({"sets": [names for names, _ in sets], "in": [inside for _, inside in sets]} if sets else {})

    def _summary(self, name: str, answer: Answer, labels: Mapping[str, float], prior: Prior) -> list[float | None]:
        draws = np.asarray(answer.draws[name], np.float64)
        floor = prior.floors[name]
        scaled = np.log(np.maximum(draws, floor)) if floor > 0 else draws
        estimate = answer.estimates[name]
        ends = np.array([estimate.q05, estimate.q95, estimate.prior_q05, estimate.prior_q95])
        ends = np.log(np.maximum(ends, floor)) if floor > 0 else ends
        share = float((ends[1] - ends[0]) / max(ends[3] - ends[2], 1e-12))
        label = labels.get(name, math.nan)
        rank = float((draws < label).mean()) if math.isfinite(label) else math.nan
        numbers = (estimate.q05, estimate.q25, estimate.median, estimate.q75, estimate.q95, float(scaled.std()), share)
        return [_plain(value) for value in (*numbers, rank)]

    def _regions(
        self, answered: AnsweredWindow, answer: Answer, labels: Mapping[str, float]
    ) -> list[tuple[tuple[str, ...], int]]:
        layer = self.calibrated.conformal
        found = []
        for one in layer.sets if layer is not None else ():
            names = one.coordinates.names
            y = np.array([[labels.get(name, math.nan) for name in names]])
            if np.isfinite(y).all() and layer is not None:
                region = one.region(predict(answered.scored or answer.draws, one.coordinates, layer.n_draws))
                found.append((names, int(region.contains(y)[0])))
        return found


def _by_recording(table: CohortTable) -> dict[Path, Int[np.ndarray, " n"]]:
    """Rows of each recording in order of time, recordings in the order of the table."""
    rows: dict[Path, list[int]] = {}
    for i, path in enumerate(table.recordings):
        rows.setdefault(path, []).append(i)
    return {path: np.array(sorted(own, key=lambda i: float(table.start_s[i]))) for path, own in rows.items()}


def _file_of(path: Path, table: CohortTable) -> str:
    number = list(dict.fromkeys(table.recordings)).index(path)
    return f"{number:05d}-{hashlib.sha256(path.name.encode()).hexdigest()[:8]}.jsonl"


def _count_whole(path: Path) -> int:
    """Number of whole lines of a file; what a kill cut is taken off the file."""
    if not path.is_file():
        return 0
    lines = end = 0
    with path.open("r+b") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                lines, end = lines + 1, end + len(line)
        stream.truncate(end)
    return lines


def _lines(path: Path) -> Iterator[str]:
    if path.is_file():
        with path.open(encoding="utf-8") as stream:
            yield from stream


def _check(recording: Recording, calibrated: Calibrated) -> None:
    role = calibrated.bundle.contract.role
    recording.channel(role)
    if role in PRESSURE_ROLES:
        require_pressure_unit(recording, role)


def _plain(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
