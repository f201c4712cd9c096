r"""RoPE and its rivals on five tasks whose simulator is wrong: density at the truth, calibration, effective size.

A part is one task, draw and number of pairs; `--out` keeps each, and the estimators, so that a run goes on from there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from .rope_methods import Found, Tables, paired, shared
from .rope_problems import FEW, FULL, NONLINEAR, QUICK, TASKS, Problem, problem
from .rows import Row, run

SIZES, DRAWS = (10, 50, 200, 1000), (0, 1, 2)
QUOTED = {"cs": {"NPE": 1.049, "NNPE": 0.709, "RNPE": 0.695}, "sir": {"NPE": 0.852, "NNPE": 0.155, "RNPE": 0.124}}
"""Mean squared residuals of the standardised posterior mean as RNPE's repository publishes them."""


def main() -> None:
    """Runs all parts: draw by draw, so that an interrupted run has whole draws."""
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--out", type=Path)
    out = parser.parse_known_args()[0].out
    parts: dict[str, Callable[[bool], Iterator[Row]]] = {}
    for draw in DRAWS:
        for task in TASKS:
            parts[f"{task}-{draw}-0"] = partial(_part, task, draw, 0, out)
            for n in SIZES:
                parts[f"{task}-{draw}-{n}"] = partial(_part, task, draw, n, out)
    for n in (0, 50, 200):
        parts[f"nonlinear-{n}"] = partial(_part, NONLINEAR, 0, n, out)
    parts["quoted"] = _quoted
    run("rope", parts)


def _part(task: str, draw: int, n: int, out: Path | None, quick: bool) -> Iterator[Row]:
    if (quick and (task, draw) not in {("gaussian", 0), ("pendulum", 0)}) or (quick and n not in (0, 50)):
        return
    begun = time.process_time()
    p, tables = _prepared(task, draw, out, quick)
    rng = np.random.default_rng([draw, n, 5])
    for found in paired(p, n, draw, tables) if n else shared(p, tables):
        yield from _rows(p, found, n, draw, rng)
    yield Row(task, "all", f"pairs {n}, draw {draw}", "time [CPU s]", round(time.process_time() - begun, 1))


@cache
def _prepared(task: str, draw: int, out: Path | None, quick: bool) -> tuple[Problem, Tables]:
    size = QUICK if quick else FEW if task == NONLINEAR else FULL
    found = problem(task, draw, size, None if quick else out)
    return found, Tables(found)


def _rows(p: Problem, found: Found, n: int, draw: int, rng: np.random.Generator) -> Iterator[Row]:
    from pulsebayes.calibration.scores import acauc, lpp

    setting = f"pairs {n}, draw {draw}"
    score = lpp(found.log_p - p.log_volume(p.theta))
    yield Row(p.name, found.method, setting, "LPP [nats]", score.mean)
    yield Row(p.name, found.method, setting, "share of -inf", score.infinite)
    draws = found.posterior.sample(rng, 60)
    yield Row(p.name, found.method, setting, "ACAUC", float(acauc(draws, p.theta).mean()))
    natural, truth = p.natural(draws), p.natural(p.theta)
    residual = (natural.mean(1) - truth) / p.natural(p.simulated[1]).std(0)
    yield Row(p.name, found.method, setting, "squared residual", float((residual**2).mean()))
    if hasattr(found.posterior, "effective"):
        yield Row(p.name, found.method, setting, "effective size", float(np.median(found.posterior.effective)))
    if found.config is not None:
        shown = found.config
        text = f"gamma {shown.gamma:g} tau {shown.tau:g} bandwidth {shown.bandwidth:g} prior {shown.prior_share:g}"
        yield Row(p.name, found.method, setting, "settings", text)
    if p.exact is not None and n in (0, 200):
        yield Row(p.name, found.method, setting, "C2ST", _c2st(p, found.posterior, rng))


def _c2st(p: Problem, posterior: Any, rng: np.random.Generator, count: int = 4, n: int = 500) -> float:
    """Mean accuracy of telling draws from those of the exact posterior, over some test recordings."""
    from dataclasses import replace

    from pulsebayes.calibration.c2st import c2st

    few: dict[str, Any] = {}
    for name in ("x", "weights", "mean", "root"):
        if hasattr(posterior, name):
            few[name] = getattr(posterior, name)[:count]
    draws = replace(posterior, **(few or {"n": count})).sample(rng, n)
    assert p.exact is not None
    mean, root = p.exact
    scores = [c2st(d, m + rng.standard_normal((n, len(m))) @ root.T, epochs=25) for d, m in zip(draws, mean[:count])]
    return float(np.mean(scores))


def _quoted(quick: bool) -> Iterator[Row]:
    for task, methods in QUOTED.items():
        for method, value in methods.items():
            yield Row(task, f"{method} (quoted, RNPE repository)", "1,000 observations", "squared residual", value)


if __name__ == "__main__":
    main()
