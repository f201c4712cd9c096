r"""What `infer` says and writes: a table, one JSON object a file, or netCDF and CSV; each one window at a time."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import typer

from ...inference.answer import Answer, Prior, Refusal, report
from ...inference.netcdf import NetCDFWriter
from ...inference.table import CSVWriter

if TYPE_CHECKING:
    from ...inference.answering import AnsweredWindow, Question
    from ...inference.bundle import Bundle
    from .errors import Failure

__all__ = ["NOTICE", "JSONPage", "Page", "ResultFiles", "TablePage"]

NOTICE = "Research use only. Not a medical device."
_COLUMNS = ("HR", "MAP", "SV", "CO", "SVR")
_SETTLED = 3  # windows of a new patient within which it may still be said better where they begin


class Page(Protocol):
    r"""Where answers go, one window after another.

    Example:
        >>> from pulsebayes.apps.cli.infer_output import Page
        >>> hasattr(Page, "write")
        True
    """

    def write(self, answered: AnsweredWindow) -> None:
        r"""Take one window."""

    def close(self, failure: Failure | None) -> None:
        r"""End the page; `failure` says why before its time."""


class _Pools:
    r"""Where patients and states of the sensor begin, as pools tell window by window."""

    def __init__(self) -> None:
        self.patients: list[float] = []
        self._sensor_s, self._windows = 0.0, 0

    def see(self, result: Answer | Refusal) -> str:
        r"""What begins with a window, in words; empty where nothing does.

        Arguments:
            result: Its answer or refusal.
        """
        pool = result.pool if isinstance(result, Answer) else None
        if pool is None or not pool.get("counted", True):  # one that overlaps another begins nothing
            return ""
        start_s, sensor_s = pool["start_s"], pool.get("sensor_start_s", pool["start_s"])
        told = ""
        if not self.patients or start_s > self.patients[-1]:
            moved = bool(self.patients) and self._windows < _SETTLED and len(self.patients) > 1
            told = f"another patient from {start_s:g} s on" if self.patients else ""
            self.patients = [*(self.patients[:-1] if moved else self.patients), start_s]
            self._windows = 0
        elif sensor_s > self._sensor_s:
            told = f"another state of the sensor from {sensor_s:g} s on"
        self._sensor_s, self._windows = sensor_s, self._windows + 1
        return told


class _Patient:
    r"""What a patient's windows come to."""

    def __init__(self) -> None:
        self.answered = 0
        self.rows: defaultdict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
        self.blind: Counter[str] = Counter()
        self.marked: Counter[str] = Counter()
        self.ends: defaultdict[tuple[tuple[str, ...], str], list[tuple[float, float]]] = defaultdict(list)
        self.last: Answer

    def add(self, result: Answer) -> None:
        r"""Takes a window's answer in.

        Arguments:
            result: The answer.
        """
        self.last, self.answered = result, self.answered + 1
        for region in result.regions:
            for name, ends in region["ranges"].items():
                self.ends[tuple(region["quantities"]), name].append((_end(ends["low"], -1), _end(ends["high"], 1)))
        self.marked.update({mark for found in result.signal.get("findings", ()) for mark in found["marks"]})
        for name, e in result.estimates.items():
            self.rows[name].append((e.median, e.low, e.high, e.contraction))
            self.blind[name] += e.uninformative


class JSONPage:
    r"""One strict JSON object on one line, written window by window.

    Arguments:
        file: Name of the recording.
        bundle: The model.
        question: What was asked.
        keep_uninformative: Whether numbers of uninformative quantities are shown.

    Example:
        >>> from pulsebayes.apps.cli.infer_output import JSONPage
        >>> JSONPage.__name__
        'JSONPage'
    """

    def __init__(self, file: str, bundle: Bundle, question: Question, *, keep_uninformative: bool) -> None:
        empty = json.dumps(report(file, bundle, [], {}, level=question.level), allow_nan=False)
        head, _, _ = empty.partition('"windows": [')
        typer.echo(head + '"windows": [', nl=False)
        self._keep = keep_uninformative
        self._reasons: Counter[str | None] = Counter()
        self._pools = _Pools()

    def write(self, answered: AnsweredWindow) -> None:
        r"""Write one window.

        Arguments:
            answered: The window and its answer.
        """
        self._pools.see(answered.result)
        row = answered.result.to_json(keep_uninformative=self._keep)
        typer.echo((", " if self._reasons else "") + json.dumps(row, allow_nan=False), nl=False)
        self._reasons[row["reason"]] += 1

    def close(self, failure: Failure | None) -> None:
        r"""Write the summary and end the line.

        Arguments:
            failure: Why the page ends before its time, or None.
        """
        answered = self._reasons.pop(None, 0)
        summary = {"answered": answered, "refused": self._reasons.total(), "by_reason": dict(self._reasons)}
        summary |= {"patients_from_s": self._pools.patients} if len(self._pools.patients) > 1 else {}
        error = {} if failure is None else failure.to_json()
        typer.echo("], " + json.dumps({"summary": summary, **error})[1:])


class TablePage:
    r"""A table for people: a line a window, then every quantity over the recording, then where the numbers come from.

    Arguments:
        file: Name of the recording.
        bundle: The model.
        question: What was asked.
        keep_uninformative: Whether numbers of uninformative quantities are shown.

    Example:
        >>> from pulsebayes.apps.cli.infer_output import TablePage
        >>> TablePage.__name__
        'TablePage'
    """

    def __init__(self, file: str, bundle: Bundle, question: Question, *, keep_uninformative: bool) -> None:
        self._level, self._keep = question.level, keep_uninformative
        self._columns = [n for n in _COLUMNS if n in bundle.outputs.reported]
        self._names = list(bundle.outputs.reported)
        self._decimals = {n: _decimals(n) for n in self._names}
        self._reasons: Counter[str] = Counter()
        self._hints: dict[str, str] = {}
        self._pools, self._patients = _Pools(), list[_Patient]()
        typer.echo(f"{file}: {bundle.name}, median and {100 * self._level:g} % interval of each window")
        units = bundle.outputs.reported
        last = "  domain   from" if bundle.contract.several else "  domain"
        typer.echo("start [s]  " + "  ".join(f"{f'{n} [{units[n]}]':>20}" for n in self._columns) + last)

    def write(self, answered: AnsweredWindow) -> None:
        r"""Print one window.

        Arguments:
            answered: The window and its answer.
        """
        result = answered.result
        if isinstance(result, Refusal):
            self._reasons[result.reason] += 1
            said = result.signal.get("message") or result.hint or ""
            if result.hint and said != result.hint:
                self._hints.setdefault(result.reason, result.hint)
            typer.echo(f"{_start(result.start_s)}  refused, {result.reason}: {said}")
            return
        changed = self._pools.see(result)
        if changed:
            typer.echo(f"{'':9}  -- {changed}")
        if len(self._patients) < max(1, len(self._pools.patients)):
            self._patients.append(_Patient())
        self._patients[-1].add(result)
        cells = [f"{self._cell(result, name):>20}" for name in self._columns]
        domain = "-" if result.domain is None else result.domain.verdict
        last = f"{domain:7}  {_source(result.signal)}" if "given" in result.signal else domain
        typer.echo(f"{_start(result.start_s)}  " + "  ".join(cells) + f"  {last}")

    def close(self, failure: Failure | None) -> None:
        r"""Print the recording's summary and the four source lines of its last answer.

        Arguments:
            failure: Why the page ends before its time, or None.
        """
        answered = sum(one.answered for one in self._patients)
        reasons = ", ".join(f"{reason} {n}" for reason, n in self._reasons.most_common())
        typer.echo(f"answered {answered}, refused {self._reasons.total()}" + (f" ({reasons})" if reasons else ""))
        for reason, hint in self._hints.items():
            typer.echo(f"try, where refused as {reason}: {hint}")
        for i, one in enumerate(self._patients):
            if len(self._patients) > 1:
                typer.echo(f"\npatient {i + 1}, from {self._pools.patients[i]:g} s on: {one.answered} windows")
            self._summarise(one)
        typer.echo(NOTICE)

    def _summarise(self, one: _Patient) -> None:
        r"""The summary of a patient's windows, and where the numbers come from."""
        typer.echo(
            f"\n{'quantity':10}{'unit':>13}{'median':>10}{'low':>10}{'high':>10}   {'prior 90 %':>16}  contraction"
        )
        for name in self._names:
            typer.echo(self._summary(name, one))
        typer.echo(
            "  (credible intervals; medians over the answered windows of each window's median, low, high, contraction)"
        )
        for line in self._regions(one):
            typer.echo(line)
        typer.echo("")
        for line in one.last.sources().values():
            typer.echo(line)

    def _regions(self, one: _Patient) -> list[str]:
        r"""Conformal regions, named apart from the credible intervals: the median over windows of each end."""
        lines = []
        for region in one.last.regions:
            names = tuple(region["quantities"])
            lines.append(
                f"\nconformal region, {_promised(region)}, score {region['method']}, "
                f"{region['n_patients']} patients: {', '.join(names)} jointly"
            )
            for name in names:
                low, high = np.median(np.array(one.ends[names, name]), axis=0)
                d = self._decimals[name]
                lines.append(f"{name:10}{region['ranges'][name]['unit']:>13}{'':10}{low:10.{d}f}{high:10.{d}f}")
        if lines:
            lines.append("  (its extent along each quantity: wider than an interval of that quantity alone)")
        return lines

    def _cell(self, answer: Answer, name: str) -> str:
        e, d = answer.estimates[name], self._decimals[name]
        if e.uninformative and not self._keep:
            return "uninformative"
        return f"{e.median:.{d}f} ({e.low:.{d}f}-{e.high:.{d}f})"

    def _summary(self, name: str, one: _Patient) -> str:
        e, d = one.last.estimates[name], self._decimals[name]
        median, low, high, contraction = np.median(np.array(one.rows[name]), axis=0)
        numbers = "".join(f"{value:10.{d}f}" for value in (median, low, high))
        note = ""
        if 2 * one.blind[name] > one.answered:
            note = "  uninformative"
            numbers = numbers if self._keep else f"{'-':>10}" * 3
        if name in one.last.not_calibrated:
            note += "  not calibrated"
        if one.marked[name]:
            note += f"  less certain in {one.marked[name]} windows"
        prior = f"{e.prior_q05:.{d}f}-{e.prior_q95:.{d}f}"
        return f"{name:10}{e.unit:>13}{numbers}   {prior:>16}  {contraction:11.2f}{note}"


class ResultFiles:
    r"""The netCDF and CSV files of one recording, complete or absent.

    Written under a temporary name and renamed when closed, so that a file that is there is whole.

    Arguments:
        stem: Path of the files without their suffix.
        bundle: The model.
        question: What was asked.
        prior: Prior of the bundle's quantities.
        attributes: What the netCDF file keeps besides.
        keep_uninformative: Whether the table holds the numbers of uninformative quantities.

    Example:
        >>> from pulsebayes.apps.cli.infer_output import ResultFiles
        >>> ResultFiles.SUFFIXES
        ('.nc', '.csv')
    """

    SUFFIXES = (".nc", ".csv")

    def __init__(
        self,
        stem: Path,
        bundle: Bundle,
        question: Question,
        *,
        prior: Prior,
        attributes: dict[str, Any],
        keep_uninformative: bool,
    ) -> None:
        self._targets = [stem.with_name(stem.name + suffix) for suffix in self.SUFFIXES]
        self._parts = [target.with_name(target.name + ".part") for target in self._targets]
        self._netcdf = NetCDFWriter(self._parts[0], bundle, prior, n_draws=question.n_draws, attributes=attributes)
        self._stream = self._parts[1].open("w", encoding="utf-8", newline="")
        several = bool(bundle.contract.several)
        self._csv = CSVWriter(self._stream, keep_uninformative=keep_uninformative, given=several)

    def write(self, answered: AnsweredWindow) -> None:
        r"""Append one window to both files.

        Arguments:
            answered: The window and its answer.
        """
        self._netcdf.write(answered.result, answered.values)
        self._csv.write(answered.result)

    def close(self, failure: Failure | None) -> None:
        r"""Finish both files and give them their names.

        Arguments:
            failure: Why the files end before their time, or None; what was answered until then is kept.
        """
        self._netcdf.close()
        self._stream.close()
        for part, target in zip(self._parts, self._targets, strict=True):
            part.replace(target)


def _start(start_s: float) -> str:
    r"""When a window starts [s], with a second decimal where there is one."""
    return f"{start_s:9.2f}" if abs(start_s - round(start_s, 1)) > 1e-3 else f"{start_s:9.1f}"


def _source(signal: Mapping[str, Any]) -> str:
    r"""Which channels a window was answered from, and which were left out why."""
    left = f", without {signal['left_out']}" if "left_out" in signal else ""
    return f"{signal['given']}{left}"


def _end(value: float | None, sign: int) -> float:
    return sign * np.inf if value is None else value


def _decimals(name: str) -> int:
    from ...waveforms.quantities import QUANTITIES

    known = QUANTITIES.get(name)
    return known.decimals if known is not None else 2


def _promised(region: Mapping[str, Any]) -> str:
    r"""Level of a region; where a cross-fitted one promises less than its nominal level, both."""
    nominal = f"{100 * (1 - region['alpha']):g} %"
    return f"{nominal} nominal, at least {100 * region['promise']:g} %" if "promise" in region else nominal
