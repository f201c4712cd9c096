r"""Rows of a benchmark: what was measured, by what, how; printed as a table or as JSON, kept for a run that resumes."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measurement: task, method with version, setting, measure with unit, value and spread (None: one run)."""

    task: str
    method: str
    setting: str
    measure: str
    value: float | str
    spread: float | None = None


def best(work: Callable[[], Any], repeats: int = 3) -> tuple[float, float, Any]:
    """Shortest time and spread of times [s], and the last result."""
    times, result = [], None
    for _ in range(repeats):
        begun = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - begun)
    return min(times), max(times) - min(times), result


def rate(n: int, seconds: float, spread: float) -> tuple[float, float]:
    """Things per second, and their spread, from a shortest time and a spread of times [s]."""
    return n / seconds, n / seconds - n / (seconds + spread)


def run(name: str, parts: Mapping[str, Callable[[bool], Iterable[Row]]], words: Sequence[str] | None = None) -> None:
    """Runs the parts of a benchmark that `--out` does not hold yet and prints all rows; `words` are its arguments."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--quick", action="store_true", help="end within 50 s on two cores")
    parser.add_argument("--json", action="store_true", help="print a list of rows")
    parser.add_argument("--out", type=Path, help="folder where rows are kept; a run goes on from there")
    parser.add_argument("--only", choices=list(parts), nargs="+", default=list(parts), help="parts to run")
    options = parser.parse_args(words)
    rows: list[dict[str, Any]] = []
    for part in (name for name in parts if name in options.only):
        measure = parts[part]
        kept = options.out / f"{name}-{part}{'-quick' if options.quick else ''}.json" if options.out else None
        if kept is not None and kept.is_file():
            rows += json.loads(kept.read_text())
            continue
        made = [asdict(row) for row in measure(options.quick)]
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(made, indent=1))
        rows += made
    print(json.dumps(rows, indent=1) if options.json else _table(rows))


def _table(rows: list[dict[str, Any]]) -> str:
    names = list(Row.__dataclass_fields__)
    lines = [[_shown(row[name]) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in [names, *lines]) for i in range(len(names))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in [names, *lines])


def _shown(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
