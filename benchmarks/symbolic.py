r"""Recovered equations: ODEBench and a benchmark of our own, with noise and dropped points, in both directions.

Run as `python -m benchmarks.symbolic [--quick] [--json] [--out DIR] [--methods A,B] [--cells .05/.5]
[--seeds 0,1,2] [--starts 0,1] [--max-dim 3] [--set odebench|unseen|development]`; tables and figure of a folder:
`python -m benchmarks.symbolic_report DIR`.

Each (set, cell, seed, system, direction, method) is one line of DIR/symbolic.jsonl,
written when measured; a run goes on from there. ODEBench is read from `$PULSEBAYES_DATA/odebench`, else
`../shared/data/odebench`. Everything a method sees are the corrupted samples of one trajectory; the other trajectory is
used for the generalisation figure only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .rows import _table
from .symbolic_methods import METHODS, missing, read_truth
from .symbolic_table import summary

CELLS = ((0.0, 0.0), (0.05, 0.0), (0.0, 0.5), (0.05, 0.5))
QUICK = ("PySINDy tuned", "weak form")


@dataclass(frozen=True)
class Case:
    """A system with two clean trajectories."""

    name: str
    truth: tuple[str, ...]
    t: tuple[np.ndarray, np.ndarray]
    x: tuple[np.ndarray, np.ndarray]
    u: tuple[np.ndarray, np.ndarray]


def load(which: str) -> list[Case]:
    """The systems of a set."""
    if which == "odebench":
        return _odebench()
    from .symbolic_systems import DEVELOPMENT, UNSEEN, solve

    made = []
    for system in DEVELOPMENT if which == "development" else UNSEEN:
        (t0, x0, u0), (t1, x1, u1) = solve(system, 0), solve(system, 1)
        made.append(Case(system.name, system.equations, (t0, t1), (x0, x1), (u0, u1)))
    return made


def _odebench() -> list[Case]:
    root = Path(os.environ.get("PULSEBAYES_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    path = root / "odebench" / "strogatz_extended.json"
    if not path.is_file():
        raise SystemExit(f"ODEBench is not there: expected {path.name} in $PULSEBAYES_DATA/odebench")
    made = []
    for entry in json.loads(path.read_text()):
        pair = entry["solutions"][0]
        t = tuple(np.array(s["t"], dtype=float) for s in pair)
        x = tuple(np.array(s["y"], dtype=float).T for s in pair)
        u = tuple(np.zeros((len(s), 0)) for s in t)
        truth = tuple(re.sub(r"x_(\d)", r"x\1", text) for text in entry["substituted"][0])
        made.append(Case(str(entry["id"]), truth, t, x, u))  # type: ignore[arg-type]
    return made


def corrupt(case: Case, start: int, sigma: float, rho: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples with multiplicative noise, a share of the points dropped."""
    rng = np.random.default_rng([seed, start, *case.name.encode()])
    noisy = case.x[start] * (1.0 + sigma * rng.standard_normal(case.x[start].shape))
    kept = np.sort(rng.permutation(len(noisy))[: round(len(noisy) * (1.0 - rho))])
    return case.t[start][kept], noisy[kept], case.u[start][kept]


def r_squared(truth: np.ndarray, made: np.ndarray | None) -> float:
    """Variance-weighted R^2 on a clean trajectory."""
    if made is None or not np.isfinite(made).all():
        return -np.inf
    return 1.0 - float(((truth - made) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum())


def fingerprint(equations: Any) -> tuple[str, ...]:
    """What equations are but for their constants: monomials of numerator and denominator of every right-hand side."""
    import sympy

    made = []
    for expression in equations.to_sympy(digits=12):
        parts = []
        for part in sympy.fraction(sympy.together(sympy.expand(expression))):
            terms = sympy.Add.make_args(sympy.expand(part))
            parts.append(sorted({re.sub(r"\d+\.\d+(e-?\d+)?", "c", str(t.as_coeff_Mul()[1])) for t in terms}))
        made.append(str(parts))
    return tuple(made)


def measure(case: Case, start: int, cell: tuple[float, float], seed: int, method: str) -> dict[str, Any]:
    """One line: how a method does on one trajectory."""
    from pulsebayes.inference.symbolic.posterior import run

    t, x, u = corrupt(case, start, *cell, seed)
    begun = time.process_time()
    try:
        found = METHODS[method](t, x, u, case.truth)
    except (ValueError, np.linalg.LinAlgError) as error:
        found, problem = None, str(error)
    else:
        problem = ""
    seconds = time.process_time() - begun
    r2, other = [-np.inf, -np.inf], 1 - start
    if found is not None:
        for k, s in enumerate((start, other)):
            r2[k] = r_squared(case.x[s], run(found, case.x[s][0], case.t[s], case.u[s]))
    same = False
    if found is not None and found.structure.n_linear <= 40:
        same = fingerprint(found) == fingerprint(read_truth(case.truth, case.u[0].shape[1]))
    return {
        "reconstruction": r2[0] > 0.9,
        "generalisation": r2[1] > 0.9,
        "equivalent": same,
        "length": found.structure.length if found is not None else None,
        "seconds": round(seconds, 3),
        "problem": problem,
    }


def go_on(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure what is not there yet, and return every line of the cells, seeds and methods asked for."""
    kept: dict[tuple[Any, ...], dict[str, Any]] = {}
    store = options.out / "symbolic.jsonl" if options.out else None
    keys = ("set", "sigma", "rho", "seed", "system", "start", "method")
    if store is not None and store.is_file():
        for line in store.read_text().splitlines():
            row = json.loads(line)
            kept[tuple(row[k] for k in keys)] = row
    cases, rows = [case for case in load(options.set) if len(case.truth) <= options.max_dim], []
    begun = time.monotonic()
    for seed in options.seeds:
        for start in options.starts:
            for cell in options.cells:
                for i, case in enumerate(cases):
                    for method in [m for m in options.methods if not missing(m)]:
                        if options.quick and (i % 9 or start or time.monotonic() - begun > 40.0):
                            continue
                        key = (options.set, *cell, seed, case.name, start, method)
                        if key not in kept:
                            found = measure(case, start, cell, seed, method)
                            kept[key] = {**dict(zip(keys, key, strict=True)), "dim": len(case.truth), **found}
                            if store is not None:
                                store.parent.mkdir(parents=True, exist_ok=True)
                                with store.open("a") as stream:
                                    stream.write(json.dumps(kept[key]) + "\n")
                        rows.append(kept[key])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.symbolic")
    parser.add_argument("--quick", action="store_true", help="end within 50 s on two cores")
    parser.add_argument("--json", action="store_true", help="print a list of rows")
    parser.add_argument("--out", type=Path, help="folder where lines are kept; a run goes on from there")
    parser.add_argument("--set", default="odebench", choices=("odebench", "unseen", "development"))
    parser.add_argument("--methods", default="", help="comma-separated; all but pyoperon if empty")
    parser.add_argument("--cells", default="", help="such as 0/0,.05/.5; all four if empty")
    parser.add_argument("--seeds", default="0", help="such as 0,1,2")
    parser.add_argument(
        "--starts", default="0,1", help="which of the two trajectories is fitted; the other is kept out"
    )
    parser.add_argument("--max-dim", type=int, default=4, help="most states of a system")
    options = parser.parse_args()
    options.cells = (
        [tuple(map(float, c.split("/"))) for c in options.cells.split(",")] if options.cells else list(CELLS)
    )
    options.starts = [int(s) for s in options.starts.split(",")]
    options.seeds = [int(s) for s in options.seeds.split(",")]
    named = options.methods.split(",") if options.methods else [m for m in METHODS if m != "pyoperon"]
    options.methods = [m for m in named if m in METHODS] or list(METHODS)
    if options.quick:
        options.cells, options.methods = options.cells[-1:], list(QUICK)
    rows = summary(go_on(options), [m for m in options.methods if missing(m)])
    print(json.dumps(rows, indent=1) if options.json else _table(rows))


if __name__ == "__main__":
    main()
