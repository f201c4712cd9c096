r"""Our neural posterior estimator beside that of sbi on seven tasks of the simulation-based inference benchmark.

`python -m benchmarks.sbibm --wheel FILE.whl` (the file: `pip download --no-deps sbibm==1.1.0`) trains both on the same
simulations in the same run and measures the C2ST between their draws and the reference draws of ten
observations: .5 is perfect. Counts (SIR, Lotka-Volterra) enter both as log(1 + x). Ours is the estimator of this
package, at one setting for all tasks; theirs is `sbi.inference.NPE` at its defaults (`maf`) and with `nsf`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pulsebayes.calibration.c2st import c2st
from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.npe import NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.streaming import ArraySource, WholeWindow
from pulsebayes.inference.training import TrainConfig, TrainData, train

from .rows import Row, run
from .sbibm_tasks import TASKS, WHEEL, BenchmarkTask, Case, cases

DRAWS = 2000
LARGE = ("two_moons", "slcp", "sir", "gaussian_linear_uniform")
Sampler = Callable[[np.ndarray], np.ndarray]


def ours(task: BenchmarkTask, theta: np.ndarray, x: np.ndarray) -> Sampler:
    """The package's estimator: a dense embedding and a coupling spline flow on unconstrained coordinates."""
    outputs = OutputSpace(task.space)
    shape = NPEConfig(
        EmbeddingConfig("dense", samples=x.shape[1], hidden=128, context=32), transforms=8, hidden=(96, 96)
    )
    columns = {name: theta[:, d] for d, name in enumerate(task.space.names)}
    data = TrainData(ArraySource(x.astype(np.float32)), columns, WholeWindow(), np.zeros(len(x), int))
    epochs = 100 if len(x) <= 20_000 else 30
    settings = TrainConfig(
        epochs=epochs, batch=256, rate=1.5e-3, averaging=0.995, validation=0.05, patience=epochs, warmup=100
    )
    npe = train(data, outputs, shape, settings).npe

    def sample(observed: np.ndarray) -> np.ndarray:
        row = torch.from_numpy(observed.astype(np.float32))[None]
        return np.asarray(npe.sample(row, DRAWS, torch.Generator().manual_seed(0))[0], dtype=float)

    return sample


def theirs(kind: str) -> Callable[[BenchmarkTask, np.ndarray, np.ndarray], Sampler]:
    """sbi's estimator with one of its densities and its own defaults."""

    def fit(task: BenchmarkTask, theta: np.ndarray, x: np.ndarray) -> Sampler:
        from sbi.inference import NPE

        torch.manual_seed(0)
        method = NPE(prior=_prior(task), density_estimator=kind, show_progress_bars=False)
        method.append_simulations(torch.from_numpy(theta).float(), torch.from_numpy(x).float())
        method.train()
        posterior = method.build_posterior()

        def sample(observed: np.ndarray) -> np.ndarray:
            draws = posterior.sample((DRAWS,), x=torch.from_numpy(observed).float(), show_progress_bars=False)
            return np.asarray(draws, dtype=float)

        return sample

    return fit


def _prior(task: BenchmarkTask) -> Any:
    """The task's prior as sbi takes it."""
    from torch import distributions as td

    from pulsebayes.simulators.priors import TruncatedLogNormal, TruncatedNormal

    priors = [p.prior for p in task.space.parameters]
    if all(isinstance(p, TruncatedNormal) for p in priors):
        sd = torch.tensor([p.sd for p in priors], dtype=torch.float32)  # type: ignore[union-attr]
        return td.MultivariateNormal(torch.zeros(len(sd)), torch.diag(sd**2))
    if all(isinstance(p, TruncatedLogNormal) for p in priors):
        median = torch.tensor([p.median for p in priors], dtype=torch.float32)  # type: ignore[union-attr]
        sigma = torch.tensor([p.sigma for p in priors], dtype=torch.float32)  # type: ignore[union-attr]
        return td.Independent(td.LogNormal(median.log(), sigma), 1)
    from sbi.utils import BoxUniform

    return BoxUniform(torch.from_numpy(task.space.low).float(), torch.from_numpy(task.space.high).float())


METHODS = {"pulsebayes": ours, "sbi maf": theirs("maf"), "sbi nsf": theirs("nsf")}


def score(task: BenchmarkTask, sample: Sampler, case: Case, view: Callable[[np.ndarray], np.ndarray]) -> float:
    """C2ST of an estimator on an observation, in coordinates in which no parameter has a long tail."""
    draws, reference = sample(view(case.observed[None])[0]), case.reference[:DRAWS]
    both = [np.log(d) if task.name in ("sir", "lotka_volterra") else d for d in (draws, reference)]
    return c2st(both[1], both[0], epochs=40)


def part(name: str, n: int, wheel: Path, methods: tuple[str, ...]) -> Callable[[bool], Iterator[Row]]:
    """All methods on one task with one number of simulations."""

    def measure(quick: bool) -> Iterator[Row]:
        task, few = TASKS[name], 1000 if quick else n
        view = np.log1p if name in ("sir", "lotka_volterra") else np.asarray
        rng = np.random.default_rng([few, list(TASKS).index(name)])
        theta = task.space.sample(rng, few)
        x = view(task.simulate(theta, rng))
        good = np.isfinite(x).all(-1)
        for method in methods[: 1 if quick else None]:
            begun = time.process_time()
            sampler = METHODS[method](task, theta[good], x[good])
            spent = time.process_time() - begun
            found = [score(task, sampler, case, view) for case in cases(wheel, name)[: 1 if quick else None]]
            setting = f"{few} simulations"
            yield Row(
                name, method, setting, "C2ST, mean of ten observations", float(np.mean(found)), float(np.std(found))
            )
            yield Row(name, method, setting, "training [CPU s]", spent)

    return measure


def main() -> None:
    """Reads the options that are this benchmark's own, then runs what is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sbibm", add_help=False)
    parser.add_argument("--wheel", type=Path, default=Path(WHEEL))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--large", action="store_true", help="100,000 simulations of four tasks as well")
    own, rest = parser.parse_known_args()
    if not own.wheel.is_file():
        parser.error(f"no file {own.wheel}: pip download --no-deps sbibm==1.1.0, then --wheel FILE")
    torch.set_num_threads(1)
    methods = tuple(own.methods.split(","))
    parts = {f"{name}-10000": part(name, 10_000, own.wheel, methods) for name in TASKS}
    if own.large:
        parts |= {f"{name}-100000": part(name, 100_000, own.wheel, methods[:2]) for name in LARGE}
    run("sbibm", parts, rest)


if __name__ == "__main__":
    main()
