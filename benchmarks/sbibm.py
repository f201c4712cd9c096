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
from importlib import import_module
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
COUNTS = ("sir", "lotka_volterra")
EACH = "C2ST of each observation"
LARGE = ("two_moons", "slcp", "sir", "gaussian_linear_uniform")
Sampler = Callable[[np.ndarray], np.ndarray]


def ours(task: BenchmarkTask, theta: np.ndarray, x: np.ndarray) -> Sampler:
    """The package's estimator: a coupling spline flow around the linear guess, on unconstrained coordinates."""
    outputs, samples = OutputSpace(task.space), x.shape[1]
    embedding = EmbeddingConfig("dense", samples=samples, hidden=64, context=32 + samples, linear=True)
    columns = {name: theta[:, d] for d, name in enumerate(task.space.names)}
    data = TrainData(ArraySource(x.astype(np.float32)), columns, WholeWindow(), np.zeros(len(x), int))
    settings = TrainConfig(
        epochs=60 if len(x) <= 20_000 else 30, batch=256, rate=3e-3, weight_decay=1.0, averaging=0.995,
        validation=0.05, patience=12, warmup=100,
    )  # fmt: skip
    npe = train(data, outputs, NPEConfig(embedding, transforms=5, hidden=(64, 64)), settings).npe

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
    draws, reference = sample(view(case.observed[None])[0]), case.reference
    both = [np.log(d) if task.name in COUNTS else d for d in (draws, reference)]
    return c2st(both[1], both[0], epochs=40)


def part(name: str, n: int, wheel: Path, method: str) -> Callable[[bool], Iterator[Row]]:
    """One method on one task with one number of simulations, which are the same for every method."""

    def measure(quick: bool) -> Iterator[Row]:
        task, few = TASKS[name], 1000 if quick else n
        view = np.log1p if name in COUNTS else np.asarray
        rng = np.random.default_rng([few, list(TASKS).index(name)])
        theta = task.space.sample(rng, few)
        x = view(task.simulate(theta, rng))
        good = np.isfinite(x).all(-1)
        for library in ("zuko", "sbi.inference"):  # their import is not training
            import_module(library)
        begun = time.process_time()
        sampler = METHODS[method](task, theta[good], x[good])
        spent = time.process_time() - begun
        found = [score(task, sampler, case, view) for case in cases(wheel, name, DRAWS)[: 2 if quick else None]]
        setting, error = f"{few} simulations", float(np.std(found, ddof=1) / np.sqrt(len(found)))
        yield Row(name, method, setting, f"C2ST, mean of {len(found)} observations", float(np.mean(found)), error)
        yield Row(name, method, setting, EACH, " ".join(f"{value:.4f}" for value in found))
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
    methods = own.methods.split(",")
    if not set(methods) <= set(METHODS):
        parser.error(f"methods must be among {','.join(METHODS)}, got {own.methods}")
    torch.set_num_threads(1)
    jobs = [(name, 10_000, method) for name in TASKS for method in methods]
    if own.large:
        jobs += [(name, 100_000, method) for name in LARGE for method in methods if method != "sbi nsf"]
    parts = {f"{name}-{n}-{method.replace(' ', '_')}": part(name, n, own.wheel, method) for name, n, method in jobs}
    run("sbibm", parts, rest)


if __name__ == "__main__":
    main()
