r"""Problems of the RoPE benchmark: a trained estimator, fresh simulations, pairs and test recordings for each draw."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pulsebayes.calibration.rope import (
    BankTargets,
    Components,
    DrawnPrior,
    PoolTargets,
    TuneConfig,
    Whitening,
    embed,
)
from pulsebayes.inference.embedding import EmbeddingConfig
from pulsebayes.inference.npe import NPE, NPEConfig
from pulsebayes.inference.outputs import OutputSpace
from pulsebayes.inference.pulse_shape import pulse_shape
from pulsebayes.inference.streaming import ArraySource, WholeWindow
from pulsebayes.inference.training import TrainConfig, TrainData, train
from pulsebayes.simulators.tasks import EpidemicTask, GaussianTask, HaemodynamicsTask, PendulumTask, TumourTask

TASKS = ("gaussian", "pendulum", "sir", "cs", "haemodynamics")
CONTEXT = {"gaussian": 6, "pendulum": 4, "sir": 4, "cs": 6, "haemodynamics": 8}


@dataclass(frozen=True)
class Size:
    """How much is simulated and how long an estimator is trained."""

    train: int = 12000
    epochs: int = 6
    components: int = 500
    draws: int = 32
    test: int = 500
    pairs: int = 1000
    pool: int = 16
    tune_steps: int = 300
    fit_steps: int = 240


EPOCHS = {"gaussian": 16}
"""Epochs where they are not those of the size: the exact posterior asks for a better estimator than the others."""

TUNING = {"gaussian": (1200, 3e-3, 60)}
"""Steps, rate and patience of tuning where they are not the defaults: found on Gaussian matrices of seeds 2 and 3."""

NONLINEAR = "haemodynamics, non-linear reality"
"""The haemodynamics of the first draw, its reality solved by the non-linear network."""

FULL, QUICK = Size(), Size(4000, 3, 200, 16, 60, 60, 8, 120, 60)
FEW = Size(test=300, pairs=200)


@dataclass(frozen=True)
class Problem:
    """Everything the methods share."""

    name: str
    size: Size
    npe: NPE
    fresh: NPE
    whitening: Whitening
    components: Components
    prior: Any
    simulated: tuple[np.ndarray, np.ndarray]
    theta: np.ndarray
    x: np.ndarray
    twins: np.ndarray
    pairs: tuple[np.ndarray, np.ndarray]
    targets: Callable[[np.ndarray], Any]
    log_volume: Callable[[np.ndarray], np.ndarray]
    natural: Callable[[np.ndarray], np.ndarray]
    exact: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def space(self) -> Any:
        return self.npe.outputs.space

    def tuning(self, draw: int) -> TuneConfig:
        """How all methods tune the embedding on pairs."""
        if self.size != QUICK and self.name in TUNING:
            steps, rate, patience = TUNING[self.name]
            return TuneConfig(steps=steps, rate=rate, patience=patience, seed=draw)
        return TuneConfig(steps=self.size.tune_steps, seed=draw)


def problem(name: str, draw: int, size: Size, out: Path | None) -> Problem:
    """The problem of a task and draw; its estimator is kept in `out`."""
    blood = name in ("haemodynamics", NONLINEAR)
    rng = np.random.default_rng([draw, TASKS.index("haemodynamics" if blood else name)])
    return _haemodynamics(name, draw, size, out, rng) if blood else _callable(name, draw, size, out, rng)


def _callable(name: str, draw: int, size: Size, out: Path | None, rng: np.random.Generator) -> Problem:
    task: Any = {"gaussian": GaussianTask, "pendulum": PendulumTask, "sir": EpidemicTask, "cs": TumourTask}[name]()
    theta = task.space.sample(rng, size.train)
    x = task.simulate(theta, rng)
    outputs = OutputSpace(task.space)
    npe, fresh = _estimator(name, draw, size, outputs, theta, x, out)
    whitening = Whitening.fit(embed(npe.embedding, x[:4000]), task.space.unconstrain(theta[:4000]))
    fresh_theta = task.space.sample(rng, size.components)
    contexts = embed(npe.embedding, task.simulate(fresh_theta, rng))
    test = task.space.sample(rng, size.test)
    observed, twins = task.observe(test, rng), task.simulate(test, rng)
    labels = task.space.sample(rng, size.pairs)
    pairs = (task.observe(labels, rng), labels)
    again = np.repeat(labels, size.pool, axis=0)
    pool = whitening(embed(npe.embedding, task.simulate(again, rng))).reshape(size.pairs, size.pool, -1)
    return Problem(
        name, size, npe, fresh, whitening, Components.of(npe, contexts, draws=size.draws, seed=draw), task.space,
        (x, theta), test, observed, twins, pairs, lambda rows: PoolTargets(pool[rows], size.pool // 2),
        task.log_volume, task.natural, task.posterior_of_real(observed) if name == "gaussian" else None,
    )  # fmt: skip


def _haemodynamics(name: str, draw: int, size: Size, out: Path | None, rng: np.random.Generator) -> Problem:
    bank = _bank(FULL if name == NONLINEAR else size, out)
    if name == NONLINEAR:
        bank = {**bank, **_nonlinear(size, out)}
    order = rng.permutation(len(bank["x"]))
    few, rest = order[: size.components], order[size.components :]
    x, theta = bank["x"][rest], bank["theta"][rest]
    outputs = OutputSpace.from_names(("SV", "LVET"))
    npe, fresh = _estimator("haemodynamics", draw, size, outputs, theta, x, out)
    h = embed(npe.embedding, x)
    whitening = Whitening.fit(h, outputs.space.unconstrain(theta))
    contexts = embed(npe.embedding, bank["x"][few])
    real_x, real_theta, twins = (bank[f"{key}-{draw}"] for key in ("real", "labels", "twins"))
    test, pairs = slice(0, size.test), slice(size.test, None)
    spread = theta.std(0)

    def targets(rows: np.ndarray) -> BankTargets:
        return BankTargets(whitening(h), theta / spread, real_theta[pairs][rows] / spread)

    return Problem(
        name, size, npe, fresh, whitening, Components.of(npe, contexts, draws=size.draws, seed=draw),
        DrawnPrior(outputs.space, theta[:4000]), (x, theta), real_theta[test], real_x[test], twins[test],
        (real_x[pairs], real_theta[pairs]), targets, lambda t: np.zeros(len(t)), lambda t: t,
    )  # fmt: skip


@cache
def _bank(size: Size, out: Path | None) -> dict[str, np.ndarray]:
    """Windows of simulator and reality, described by their pulses; made once and kept."""
    kept = out / f"rope-bank-{size.train}.npz" if out else None
    if kept is not None and kept.is_file():
        with np.load(kept) as arrays:
            return dict(arrays)
    task, rng = HaemodynamicsTask(), np.random.default_rng(17)
    simulated = task.draw(rng, min(size.train, 7000) + size.components)
    found, good = _pulses(simulated.x)
    arrays = {"x": found[good], "theta": simulated.theta[good]}
    for draw in range(3 if size == FULL else 1):
        arrays |= _reality(task, draw, size, rng)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **arrays)
    return arrays


@cache
def _nonlinear(size: Size, out: Path | None) -> dict[str, np.ndarray]:
    """Windows of the non-linear reality, made once and kept: some .4 s of a core each."""
    kept = out / "rope-nonlinear.npz" if out else None
    if kept is not None and kept.is_file():
        with np.load(kept) as arrays:
            return dict(arrays)
    found = _reality(HaemodynamicsTask(reality="nonlinear"), 0, size, np.random.default_rng(18), spare=12)
    if kept is not None:
        np.savez(kept, **found)
    return found


def _reality(
    task: HaemodynamicsTask, draw: int, size: Size, rng: np.random.Generator, spare: int = 100
) -> dict[str, np.ndarray]:
    """Patients of reality and what the simulator makes of them."""
    real = task.draw_real(rng, size.test + size.pairs + spare)
    found, good = _pulses(real.x)
    again, also = _pulses(task.twins(real.parameters, rng))
    both = np.flatnonzero(good & also)[: size.test + size.pairs]
    return {f"real-{draw}": found[both], f"labels-{draw}": real.theta[both], f"twins-{draw}": again[both]}


def _pulses(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median pulse, upstroke and traits of each window, and where there are any."""
    shapes = [pulse_shape(row, 125.0) if np.isfinite(row).all() else None for row in x]
    good = np.array([shape is not None for shape in shapes])
    width = len(np.concatenate(next(s for s in shapes if s is not None)))
    rows = np.zeros((len(x), width))
    for row, shape in zip(rows, shapes, strict=True):
        if shape is not None:
            row[:] = np.concatenate(shape)
    return rows, good & np.isfinite(rows).all(1)


def _estimator(
    name: str, draw: int, size: Size, outputs: OutputSpace, theta: np.ndarray, x: np.ndarray, out: Path | None
) -> tuple[NPE, NPE]:
    """The trained estimator, and one of its shape with fresh weights and the same scales."""
    shape = EmbeddingConfig("dense", samples=x.shape[1], hidden=96, context=CONTEXT[name])
    network = NPEConfig(shape, transforms=4, hidden=(64, 64))
    torch.manual_seed(draw)
    fresh = NPE(outputs, network)
    z = outputs.space.unconstrain(theta)
    fresh.fit_scales(torch.from_numpy(z).float(), torch.from_numpy(x[:4096]).float())
    kept = out / f"rope-{name}-{draw}.npz" if out else None
    if kept is not None and kept.is_file():
        npe = NPE(outputs, network)
        with np.load(kept) as arrays:
            npe.load_state_dict({key: torch.from_numpy(arrays[key]) for key in arrays.files})
        return npe.eval(), fresh
    columns = {key: theta[:, i] for i, key in enumerate(outputs.names)}
    data = TrainData(ArraySource(x.astype(np.float32)), columns, WholeWindow(), np.zeros(len(x), np.uint8))
    epochs = EPOCHS.get(name, size.epochs) if size == FULL else size.epochs
    config = TrainConfig(
        epochs=epochs, batch=128, warmup=50, averaging=0.99, seed=draw, precision="float32",
        validation=0.1, validation_rows=1000,
    )  # fmt: skip
    npe = train(data, outputs, network, config).npe
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **{key: value.numpy() for key, value in npe.state_dict().items()})
        kept.with_suffix(".json").write_text(json.dumps(asdict(size)))
    return npe, fresh
