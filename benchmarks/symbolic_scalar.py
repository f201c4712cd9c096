r"""NSODE's setting: scalar autonomous equations from one trajectory, the scalar transformer beside tuned SINDy.

Run as `python -m benchmarks.symbolic_scalar [--quick] [--json] [--out DIR] [--methods A,B] [--set odebench,random]
[--model NAME=FOLDER ...]`.

Two sets: the 23 scalar systems of ODEBench in both directions, and 200 random scalar systems that no training has seen,
each with two trajectories of which one is observed. Each (set, cell, system, direction, method) is one line of
DIR/scalar.jsonl, written when measured; a run goes on from there. `--model` measures another model as a method.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pulsebayes.inference.symbolic import RecoverConfig, Trajectory, recover_equations
from pulsebayes.inference.symbolic.equations import Equations

from .rows import _table
from .symbolic import Case, load, measure
from .symbolic_methods import METHODS, missing
from .symbolic_table import summary

CELLS = ((0.0, 0.0), (0.05, 0.5))
SEED = 20260
KEYS = ("set", "sigma", "rho", "seed", "system", "start", "method")


def random_systems(n: int) -> list[Case]:
    """Random scalar systems from a seed that no recipe uses, and two trajectories of each."""
    from pulsebayes.simulators.odes import Generator

    generator = Generator(dimension=1, n_starts=2)
    t, made = generator.stepping.times, []
    for k, found in enumerate(generator.stream(np.random.default_rng(SEED))):
        if k == n:
            break
        truth = (str(found.system.to_sympy(["x0"])[0]),)
        x = found.x.astype(float)
        none = np.zeros((len(t), 0))
        made.append(Case(f"random-{k}", truth, (t, t), (x[0], x[1]), (none, none)))
    return made


def systems(which: str, quick: bool) -> list[tuple[Case, tuple[int, ...]]]:
    """Cases, and the trajectories each is observed on."""
    if which == "random":
        return [(case, (0,)) for case in random_systems(6 if quick else 200)]
    scalar = [case for case in load("odebench") if len(case.truth) == 1]
    return [(case, (0,) if quick else (0, 1)) for case in (scalar[::4] if quick else scalar)]


def with_model(model: str, t: np.ndarray, x: np.ndarray, u: np.ndarray, truth: tuple[str, ...]) -> Equations | None:
    """The transformer of a shipped name or a folder alone, refitted and selected."""
    config = RecoverConfig(proposers=("transformer",), model=model)
    return recover_equations([Trajectory(t, x, u)], config=config).candidates[0].equations


METHODS["scalar mode"] = partial(with_model, "symbolic-scalar")


def go_on(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure what is not there yet, and return every line asked for."""
    store = options.out / "scalar.jsonl" if options.out else None
    lines = store.read_text().splitlines() if store is not None and store.is_file() else []
    kept = {tuple(row[k] for k in KEYS): row for row in map(json.loads, lines)}
    rows = []
    for which in options.set.split(","):
        cases = systems(which, options.quick)
        for cell in CELLS[-1:] if which == "random" or options.quick else CELLS:
            for case, starts in cases:
                for start in starts:
                    for method in [m for m in options.methods if not missing(m)]:
                        key = (which, *cell, 0, case.name, start, method)
                        if key not in kept:
                            found = measure(case, start, cell, 0, method)
                            kept[key] = {**dict(zip(KEYS, key, strict=True)), "dim": 1, **found}
                            if store is not None:
                                store.parent.mkdir(parents=True, exist_ok=True)
                                with store.open("a") as stream:
                                    stream.write(json.dumps(kept[key]) + "\n")
                        rows.append(kept[key])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.symbolic_scalar")
    parser.add_argument("--quick", action="store_true", help="end within 50 s on two cores")
    parser.add_argument("--json", action="store_true", help="print a list of rows")
    parser.add_argument("--out", type=Path, help="folder where lines are kept; a run goes on from there")
    parser.add_argument("--set", default="odebench,random", help="odebench, random or both")
    parser.add_argument("--methods", default="PySINDy tuned,transformer + refit,scalar mode", help="comma-separated")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER", help="another model as a method")
    options = parser.parse_args()
    options.methods = [m for m in options.methods.split(",") if m]
    for text in options.model:
        name, _, folder = text.partition("=")
        METHODS[name] = partial(with_model, folder)
        options.methods.append(name)
    rows = summary(go_on(options), [m for m in options.methods if missing(m)])
    rows = [row for row in rows if "quoted" not in row["method"]]
    print(json.dumps(rows, indent=1) if options.json else _table(rows))


if __name__ == "__main__":
    main()
