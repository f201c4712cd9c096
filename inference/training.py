r"""Training of an estimator: streamed batches, AdamW with a cosine schedule, averaged weights, checkpoints.

The learning rate warms up linearly and then follows $\tfrac12 (1 + \cos \pi f)$, with $f$ the share of the budget that
is spent: of the epochs, or of the time limit where that is further on; with several cycles in each of them, from half
the height of the one before. Validation rows, the last of the set, are observed once with a fixed draw of the sensors;
the averaged weights with the least validation loss are kept.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..simulators.status import count_status, usable
from .channel_sets import drawn_sets
from .channels import ChannelEmbedding
from .checkpoint import Checkpoint, CheckpointError
from .harmonics import HarmonicEmbedding
from .npe import NPE, NPEConfig
from .outputs import OutputSpace
from .ranks import Ranks
from .streaming import Batches, ReadBatches, Sensor, Source
from .training_config import TrainConfig

_ALONE = Ranks()

__all__ = ["Progress", "TrainConfig", "TrainData", "TrainResult", "low_precision_pays", "train"]


@dataclass(frozen=True)
class TrainData:
    r"""Simulated rows and how they are observed.

    Arguments:
        source: Waveforms.
        columns: Quantities and parameters of every row, by name.
        sensor: Sensor model.
        status: Status code of every row.
        fs: Sampling rate of the waveforms [Hz].
        whole: Sensor model of the last epochs (``TrainConfig.whole``); None for the same.

    Example:
        >>> from pulsebayes.inference.streaming import ArraySource, WholeWindow
        >>> data = TrainData(ArraySource(np.zeros((4, 10))), {"HR": np.full(4, 60.0)}, WholeWindow(), np.zeros(4, int))
        >>> data.usable(OutputSpace.from_names(("HR",)))[1]
        {'rows': 4, 'kept': 4, 'unusable status': 0, 'not finite': 0, 'outside bounds': 0}
    """

    source: Source
    columns: Mapping[str, Float[np.ndarray, " N"]]
    sensor: Sensor
    status: np.ndarray
    fs: float = 125.0
    whole: Sensor | None = None

    def usable(self, outputs: OutputSpace) -> tuple[Bool[np.ndarray, " N"], dict[str, Any]]:
        r"""Finds the rows to train on.

        Arguments:
            outputs: Outputs with their intervals.

        Returns:
            Rows to keep, and how many were left out for which reason.
        """
        theta = outputs.encode(self.columns)
        good = usable(np.asarray(self.status))
        finite = np.isfinite(theta).all(-1)
        inside = outputs.space.contains(theta)
        keep = good & finite & inside
        counts: dict[str, Any] = {
            "rows": len(keep),
            "kept": int(keep.sum()),
            "unusable status": int((~good).sum()),
            "not finite": int((good & ~finite).sum()),
            "outside bounds": int((good & finite & ~inside).sum()),
        }
        return keep, counts


@dataclass(frozen=True)
class Progress:
    r"""Where a training run stands.

    Arguments:
        epoch: Epochs begun.
        share: Share of the budget spent, from 0 to 1.
        train_loss: Mean loss of the epoch so far [nats].
        validation_loss: Last validation loss [nats], NaN before the first.
        rate: Windows trained on per second.
        elapsed: Time spent [s].
        epoch_done: Whether an epoch has just ended.

    Example:
        >>> Progress(1, 0.5, 3.0, math.nan, 2000.0, 60.0).epoch_done
        False
    """

    epoch: int
    share: float
    train_loss: float
    validation_loss: float
    rate: float
    elapsed: float
    epoch_done: bool = False


@dataclass(frozen=True)
class TrainResult:
    r"""A trained estimator and how it came about.

    Arguments:
        npe: The estimator with the best averaged weights.
        history: One row an epoch: losses, seconds, windows per second.
        counts: Rows used and left out.
        interrupted: Whether the run was asked to stop before its end.

    Example:
        >>> TrainResult.__dataclass_fields__["interrupted"].default
        False
    """

    npe: NPE
    history: list[dict[str, float]]
    counts: dict[str, Any] = field(default_factory=dict)
    interrupted: bool = False


def low_precision_pays(device: str = "cpu") -> bool:
    r"""Tells whether this processor, or CUDA device, has fast bfloat16 convolutions.

    Arguments:
        device: ``"cpu"``, or ``"cuda"`` with or without a number.

    Example:
        >>> isinstance(low_precision_pays(), bool)
        True
    """
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    supported = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("amx_tile", "avx512_bf16")]
    return any(bool(check()) for check in supported if check is not None)


def train(
    data: TrainData,
    outputs: OutputSpace,
    network: NPEConfig,
    config: TrainConfig,
    *,
    start: NPE | None = None,
    checkpoint: Checkpoint | None = None,
    resume: bool = False,
    ranks: Ranks = _ALONE,
    progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    r"""Trains an estimator.

    Arguments:
        data: Simulated rows and how they are observed.
        outputs: Outputs with their intervals.
        network: Shape of the estimator.
        config: How long and how fast.
        start: Estimator whose weights and scales to go on from; None for fresh ones.
        checkpoint: Where to keep the run after each epoch; None for nowhere.
        resume: Whether to go on from the checkpoint.
        ranks: Processes that train together, each called with the same arguments; the first keeps the checkpoint.
        progress: Called every few batches and after each epoch.
        should_stop: Asked after each epoch; true ends the run there.

    Returns:
        The estimator with the best averaged weights.

    Raises:
        ValueError: If fewer than two rows can be used, or fewer in a batch than there are ranks; if ``start`` has
            another shape or other outputs.
        CheckpointError: If the checkpoint is missing or of another run.

    Example:
        >>> from pulsebayes.inference.embedding import EmbeddingConfig
        >>> from pulsebayes.inference.streaming import ArraySource, WholeWindow
        >>> hr = np.linspace(40, 120, 200)
        >>> data = TrainData(ArraySource(hr[:, None].repeat(4, 1)), {"HR": hr}, WholeWindow(), np.zeros(200, int))
        >>> shape = NPEConfig(EmbeddingConfig("dense", samples=4, hidden=8, context=4), transforms=1, hidden=(8,))
        >>> result = train(data, OutputSpace.from_names(("HR",)), shape, TrainConfig(epochs=1, batch=32))
        >>> result.counts["kept"]
        200
    """
    run = _Run(data, outputs, network, config, ranks)
    if start is not None:
        run.start_from(start)
    if resume:
        if checkpoint is None:
            raise CheckpointError("resume needs a checkpoint, got none: name the folder of the run")
        run.restore(checkpoint)
    ranks.spread((run.npe, run.average, run.best))
    interrupted = False
    while not run.finished:
        run.epoch_of_training(progress)
        run.validate(progress)
        if checkpoint is not None and ranks.is_first:
            run.save(checkpoint)
        if ranks.any(should_stop()) and not run.finished:
            interrupted = True
            break
    return TrainResult(run.best.cpu().eval(), run.history, run.counts, interrupted)


class _Run:
    """State of a training run."""

    def __init__(
        self, data: TrainData, outputs: OutputSpace, network: NPEConfig, config: TrainConfig, ranks: Ranks = _ALONE
    ) -> None:
        self.config, self.ranks = config, ranks
        keep, self.counts = data.usable(outputs)
        self.counts["status"] = count_status(np.asarray(data.status))
        if keep.sum() < 2:
            raise ValueError(f"training needs at least 2 usable rows, got {int(keep.sum())} of {len(keep)}")
        theta = np.where(keep[:, None], outputs.encode(data.columns), 0.5 * (outputs.space.low + outputs.space.high))
        z = outputs.space.unconstrain(theta).astype(np.float32)
        held = max(1, min(config.validation_rows, int(config.validation * len(keep))))
        self.counts["validation"] = int(keep[len(keep) - held :].sum())
        training = keep & (np.arange(len(keep)) < len(keep) - held)
        whole = _whole(data, z, keep, network, config)
        self.batches: Batches | ReadBatches = dataclasses.replace(whole, keep=training)
        self.whole: Batches | ReadBatches = dataclasses.replace(whole, keep=training, sensor=data.whole or data.sensor)
        if min(config.batch, int(training.sum())) < ranks.size:
            raise ValueError(f"a batch must have a row for each of {ranks.size} processes, got {config.batch}")
        fixed = whole.fixed(slice(len(keep) - held, None), seed=config.seed)
        self.held_out: tuple[Tensor, ...] = tuple(torch.from_numpy(part).to(ranks.device) for part in fixed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.npe = NPE(outputs, network)
        some = self.npe.pairs(len(keep) - held)
        first, z_first = whole.fixed(slice(0, some), seed=config.seed)
        self.npe.fit_scales(
            torch.from_numpy(z[training]), torch.from_numpy(first), torch.from_numpy(z_first),
            whole.clean(some, len(keep) - held),
        )  # fmt: skip
        self.npe.to(ranks.device)
        if config.fresh:
            self._read_once()
        self.average, self.best = copy.deepcopy(self.npe), copy.deepcopy(self.npe)
        self.fast, self.slow = list(self.npe.parameters()), list(self.average.parameters())
        self.optimizer = torch.optim.AdamW(
            self.fast, lr=config.rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        )
        pays = bool(ranks.agree(float(low_precision_pays(ranks.device))))
        self.low_precision = config.precision == "bfloat16" or (config.precision == "auto" and pays)
        self.epoch, self.step, self.elapsed, self.stale, self.skipped = 0, 0, 0.0, 0, 0
        self.best_loss, self.last_loss = math.inf, math.nan
        self.settled_from, self.whole_from = -1, -1  # steps at which the flow began to settle, and with all channels
        self.history: list[dict[str, float]] = []

    def _read_once(self) -> None:
        """Puts features in the place of windows, for training and validation."""
        embedding = self.npe.embedding
        if not isinstance(embedding, HarmonicEmbedding) or not isinstance(self.batches, Batches):
            raise ValueError(
                f"fresh must be 0 but for embeddings of kind 'harmonic', got {self.config.fresh} for "
                f"{self.npe.config.embedding.kind!r}"
            )

        def read(x: np.ndarray) -> np.ndarray:
            return embedding.features(torch.from_numpy(x).to(self.ranks.device)).cpu().numpy()

        x, z = self.held_out
        self.held_out = (torch.cat([embedding.features(part) for part in x.split(512)]), z)  # type: ignore[no-untyped-call]
        self.whole = self.batches = ReadBatches(self.batches, read, self.config.fresh)

    def start_from(self, npe: NPE) -> None:
        if (npe.config, npe.outputs) != (self.npe.config, self.npe.outputs):
            raise ValueError(
                "start must have the outputs and the network that are asked for, got others: take those of start"
            )
        for module in (self.npe, self.average, self.best):
            module.load_state_dict(npe.state_dict())
        if npe.config.embedding.adapter:  # it learns alone
            self.npe.requires_grad_(False)
            cast(torch.nn.Module, self.npe.embedding.adapter).requires_grad_(True)

    @property
    def share(self) -> float:
        """Share of the budget that is spent."""
        steps = self.config.epochs * self.batches.per_epoch
        return min(1.0, max(self.step / steps, self.elapsed / self.config.max_time))

    @property
    def settling(self) -> bool:
        """Whether the budget is spent, after which only the flow learns."""
        spent = self.share >= 1.0 or self.epoch >= self.config.epochs or self.stale >= self.config.patience
        return self.settled_from >= 0 or spent

    def _done(self, begun: int, epochs: int) -> float:
        """Share of some last epochs that is done."""
        steps = epochs * self.batches.per_epoch
        return 1.0 if not steps else min(1.0, (self.step - begun) / steps) if begun >= 0 else 0.0

    @property
    def settled(self) -> float:
        """Share of the settling that is done."""
        return self._done(self.settled_from, self.config.settle) if self.settling else 0.0

    @property
    def finished(self) -> bool:
        return self.settled >= 1.0 and self._done(self.whole_from, self.config.whole) >= 1.0

    def _settle(self) -> None:
        """Leaves the embedding as it is, and begins at the best weights: to settle, and again with all channels."""
        self.npe.embedding.requires_grad_(False)
        self.optimizer.zero_grad(set_to_none=True)
        begins = self.settled_from < 0 or (self.settled >= 1.0 and self.whole_from < 0)
        if self.settled_from < 0:
            self.settled_from = self.step
        if self.settled >= 1.0 and self.whole_from < 0:
            self.whole_from, self.best_loss = self.step, math.inf  # what is held out has few windows of all
        if begins:
            for module in (self.npe, self.average):
                module.load_state_dict(self.best.state_dict())

    def epoch_of_training(self, progress: Callable[[Progress], None]) -> None:
        total, rows, begun, before = 0.0, 0, time.monotonic(), self.elapsed
        if settling := self.settling:
            self._settle()
        elif self.epoch >= self.config.epochs - self.config.joined:
            cast(ChannelEmbedding, self.npe.embedding).hold_waves()
        batches = self.whole if self.whole_from >= 0 else self.batches
        for i, (x, z) in enumerate(batches.epoch(self.epoch)):
            total += self._update(torch.from_numpy(x), torch.from_numpy(z)) * len(x)
            rows += len(x)
            self.elapsed = self.ranks.agree(before + time.monotonic() - begun)
            if i % 10 == 0 or self.share >= 1.0:
                progress(self._where(total / rows, rows / max(self.elapsed - before, 1e-9)))
            if self.share >= 1.0 and not settling:
                break
        self.epoch += 1
        seconds = time.monotonic() - begun
        self.history.append(
            {"epoch": self.epoch, "train": total / max(rows, 1), "seconds": seconds, "rate": rows / max(seconds, 1e-9)}
        )

    def validate(self, progress: Callable[[Progress], None]) -> None:
        begun = time.monotonic()
        x, z = self.held_out
        with torch.no_grad():
            parts = [
                float(self._loss(self.average, z[i : i + 512], x[i : i + 512], -1 - i)) * len(x[i : i + 512])
                for i in range(512 * self.ranks.rank, len(x), 512 * self.ranks.size)
            ]
        total = torch.tensor([sum(parts)], dtype=torch.float64, device=self.ranks.device)
        self.ranks.add([total])
        self.last_loss = float(total) / max(len(x), 1)
        self.stale += 1
        if self.last_loss < self.best_loss:
            self.best_loss, self.stale = self.last_loss, 0
            self.best.load_state_dict(self.average.state_dict())
        self.elapsed = self.ranks.agree(self.elapsed + time.monotonic() - begun)
        self.history[-1] |= {"validation": self.last_loss}
        progress(self._where(self.history[-1]["train"], self.history[-1]["rate"], done=True))

    def save(self, checkpoint: Checkpoint) -> None:
        modules = {"npe": self.npe, "average": self.average, "best": self.best}
        numbers = {name: getattr(self, name) for name in _SAVED}
        checkpoint.save(modules, self.optimizer, {**numbers, "run": self._identity()})

    def restore(self, checkpoint: Checkpoint) -> None:
        modules = {"npe": self.npe, "average": self.average, "best": self.best}
        state = checkpoint.load(modules, self.optimizer)
        if state.pop("run") != self._identity():
            raise CheckpointError(
                f"the checkpoint in {checkpoint.folder.name} is of a run with other settings or data: use the same"
            )
        for name in _SAVED:
            setattr(self, name, state.get(name, getattr(self, name)))

    def _identity(self) -> dict[str, Any]:
        """What must agree for a run to go on; budget and patience may change."""
        settings = {name: getattr(self.config, name) for name in _FIXED}
        if self.config.fresh:
            settings["fresh"] = self.config.fresh
        if self.config.cycles > 1:
            settings["cycles"] = self.config.cycles
        if self.config.joined:
            settings["joined"] = self.config.joined
        if self.config.sets:
            settings |= {"sets": self.config.sets, "sizes": list(self.config.sizes)}
        return {**settings, "rows": self.counts["rows"], "kept": self.counts["kept"]}

    def _update(self, x: Tensor, z: Tensor) -> float:
        n = len(x)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.optimizer.zero_grad(set_to_none=True)
        rough = self.low_precision and self.share < 1 - self.config.exact / self.config.epochs
        part = self.ranks.part(len(x))
        x, z = x[part].to(self.ranks.device), z[part].to(self.ranks.device)
        loss = self._loss(self.npe, z, x, self.step, low_precision=rough) * (len(x) / n)
        loss.backward()  # type: ignore[no-untyped-call]
        value = loss.detach()
        self.ranks.add([value, *(p.grad for p in self.fast if p.grad is not None)])
        norm = torch.nn.utils.clip_grad_norm_(self.fast, self.config.clip)
        self.step += 1
        if not bool(torch.isfinite(norm)):
            self.skipped += 1
            return 0.0
        self.optimizer.step()
        steps = self.step - max(self.settled_from, self.whole_from, 0)
        decay = min(self.config.averaging, (1 + steps) / (10 + steps))
        with torch.no_grad():
            for slow, fast in zip(self.slow, self.fast, strict=True):
                slow.lerp_(fast, 1 - decay)
        return float(value)

    def _loss(self, npe: NPE, z: Tensor, x: Tensor, step: int, *, low_precision: bool = False) -> Tensor:
        """Loss of windows, and of sets of their channels, other ones every step."""
        if not self.config.sets:
            return npe.loss(z, x, low_precision=low_precision)
        seed, given = (self.config.seed, step % 2**32, self.ranks.rank), x.isfinite().all(-1).cpu().numpy()
        sets = drawn_sets(given, self.config.sets, np.random.default_rng(seed), sizes=self.config.sizes)
        return npe.loss(z, x, low_precision=low_precision, sets=torch.from_numpy(sets).to(x.device))

    def _rate(self) -> float:
        """Learning rate of the next step."""
        cycles = self.config.cycles
        cycle = min(int(self.share * cycles), cycles - 1)
        first = cycle * self.config.epochs * self.batches.per_epoch // cycles
        warm = min(1.0, (self.step - first + 1) / self.config.warmup) if self.config.warmup else 1.0
        most, spent = 0.5**cycle * warm, self.share * cycles - cycle
        if self.settled_from >= 0:
            most, spent = 0.1, self.settled
        if self.whole_from >= 0:
            spent = self._done(self.whole_from, self.config.whole)
        return self.config.rate * most * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * spent)))

    def _where(self, loss: float, rate: float, *, done: bool = False) -> Progress:
        return Progress(self.epoch + (not done), self.share, loss, self.last_loss, rate, self.elapsed, done)


def _whole(data: TrainData, z: np.ndarray, keep: np.ndarray, network: NPEConfig, config: TrainConfig) -> Batches:
    """All rows; of many channels fewer blocks in memory."""
    shape = network.embedding
    if config.joined and not shape.channels:
        raise ValueError(f"joined must be 0 for a single channel, got {config.joined}")
    buffer = max(2, 16 // max(1, len(shape.channels) // 2))
    return Batches(
        data.source, z, keep, data.sensor, data.fs, shape.samples, config.batch, buffer=buffer, seed=config.seed
    )


_FIXED = ("batch", "rate", "warmup", "weight_decay", "clip", "averaging", "validation", "validation_rows", "seed")
_SAVED = (
    "epoch",
    "step",
    "elapsed",
    "stale",
    "skipped",
    "best_loss",
    "last_loss",
    "settled_from",
    "whole_from",
    "history",
)
