r"""Lines of the benchmark `symbolic` summed up: shares with Wilson intervals, paired differences, quoted figures."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import asdict
from typing import Any

import numpy as np

from .rows import Row

RIVAL = "PySINDy tuned"
CELLS = ((0.0, 0.0), (0.05, 0.0), (0.0, 0.5), (0.05, 0.5))
QUOTED = (
    (
        "ODEFormer (re-run by FIM-ODE's authors, dimension <= 3)", "reconstruction",
        dict(zip(CELLS, (63.1, 61.5, 63.9, 61.5), strict=True)),
    ),
    ("FIM-ODE (dimension <= 3)", "reconstruction", dict(zip(CELLS, (84.4, 75.4, 82.8, 72.1), strict=True))),
    ("PySR (a third party's, 63 systems)", "reconstruction", dict(zip(CELLS, (85.7, 57.1, 84.1, 61.9), strict=True))),
    ("ODEFormer (re-run by FIM-ODE's authors, dimension <= 3)", "generalisation", {(0.03, 0.0): 27.9}),
    ("FIM-ODE (dimension <= 3)", "generalisation", {(0.03, 0.0): 32.8}),
)  # fmt: skip


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share."""
    z, p = 1.96, hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def paired(rows: list[dict[str, Any]], rival: list[dict[str, Any]], column: str) -> tuple[float, float, float]:
    """Mean difference and its 95 % interval over systems; directions and seeds of a system are averaged first."""
    key = ("system", "start", "seed")
    known = {tuple(r[k] for k in key): r[column] for r in rival}
    by_system: dict[str, list[float]] = defaultdict(list)
    for r in rows:
        at = tuple(r[k] for k in key)
        if at in known:
            by_system[r["system"]].append(float(r[column]) - float(known[at]))
    means = np.array([np.mean(v) for v in by_system.values()])
    if len(means) < 2:
        return float("nan"), float("nan"), float("nan")
    half = 1.96 * float(means.std(ddof=1)) / math.sqrt(len(means))
    return float(means.mean()), float(means.mean()) - half, float(means.mean()) + half


def summary(lines: list[dict[str, Any]], absent: list[str]) -> list[dict[str, Any]]:
    """Rows of the printed table."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        groups[(line["set"], line["sigma"], line["rho"], line["method"])].append(line)
    made: list[Row] = []
    for (which, sigma, rho, method), rows in groups.items():
        setting = f"sigma {sigma:g}, rho {rho:g}, n {len(rows)}"
        for column in ("reconstruction", "generalisation", "equivalent"):
            hits = sum(bool(r[column]) for r in rows)
            low, high = wilson(hits, len(rows))
            share = 100.0 * hits / len(rows)
            made.append(Row(which, method, setting, f"{column} [%] ({100 * low:.0f}-{100 * high:.0f})", share))
        rival = groups.get((which, sigma, rho, RIVAL), [])
        if method != RIVAL and rival:
            for column in ("reconstruction", "generalisation"):
                mean, low, high = paired(rows, rival, column)
                word = "beats" if low > 0 else "below" if high < 0 else "not told apart"
                text = f"{column} - {RIVAL} [points] ({100 * low:.0f} to {100 * high:.0f}): {word}"
                made.append(Row(which, method, setting, text, 100.0 * mean))
        lengths = [r["length"] for r in rows if r["length"] is not None]
        made.append(Row(which, method, setting, "length, median", float(np.median(lengths)) if lengths else "none"))
        seconds = [r["seconds"] for r in rows]
        spread = float(np.percentile(seconds, 90))
        made.append(Row(which, method, setting, "CPU-seconds a system (spread: 90 %)", float(np.mean(seconds)), spread))
    made += [Row("all", method, "", "not installed", "not installed") for method in absent]
    if any(line["set"] == "odebench" for line in lines):
        for name, column, values in QUOTED:
            made += [
                Row("odebench", f"{name} (quoted)", f"sigma {s:g}, rho {r:g}", f"{column} [%]", v)
                for (s, r), v in values.items()
            ]
    return [asdict(row) for row in made]
