r"""Training of the equation transformer: streams shards, checkpoints, resumes, stops when its time is up.

The loss is the mean over tokens of :math:`-(1 - w)\log p_k - w \log p_{k+1}`, with :math:`w` the fraction of a constant
between two points of its grid and 0 for what is no constant.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...simulators.odes.corruption import Corruption
from ...simulators.odes.shards import shard_paths
from ..checkpoint import Checkpoint
from .examples import Batch, Examples, load_examples, make_batch
from .model import EquationTransformer, ModelConfig
from .tokens import CONSTANT_AT, PAD

__all__ = ["SymbolicTraining", "TrainingReport", "merge_examples", "train_symbolic"]

_AT_FIRST = 8  # shards read before the first step; the others follow, one a check


@dataclass(frozen=True)
class SymbolicTraining:
    r"""How the transformer is trained.

    Arguments:
        batch_size: Systems a step.
        steps: Steps, on which the learning rate's schedule is set, unless `minutes` is.
        minutes: If positive, the time training takes, over all resumed runs, and its schedule's measure [min].
        rate: Greatest learning rate.
        warmup: Steps until it is reached.
        decay: Weight decay.
        clip: Greatest norm of the gradient.
        constants: Weight of the tokens that are constants, beside 1 for the others: constants are refitted later.
        bfloat16: Whether products are in half precision.
        corruption: How trajectories are measured.
        split: Probability that a trajectory is cut in two.
        check_every: Steps between checks on held-out systems, each followed by a checkpoint.
        seed: Seed of weights and batches.

    Raises:
        ValueError: If a number is not positive.

    Example:
        >>> SymbolicTraining(steps=10).batch_size
        128
    """

    batch_size: int = 128
    steps: int = 4000
    minutes: float = 0.0
    rate: float = 1e-3
    warmup: int = 200
    decay: float = 0.01
    clip: float = 1.0
    constants: float = 0.3
    bfloat16: bool = False
    corruption: Corruption = field(default_factory=Corruption)
    split: float = 0.25
    check_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "steps", "rate", "warmup", "clip", "check_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def share(self, step: int, seconds: float) -> float:
        r"""How much of the training is over.

        Arguments:
            step: Steps done.
            seconds: Time they took [s].
        """
        return min(1.0, seconds / (60 * self.minutes) if self.minutes else step / self.steps)

    def rate_at(self, step: int, share: float) -> float:
        r"""Learning rate: half a cosine down to a fiftieth, after a linear rise.

        Arguments:
            step: Step.
            share: How much of the training is over.
        """
        rise = min(1.0, (step + 1) / self.warmup)
        return self.rate * rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


@dataclass(frozen=True)
class TrainingReport:
    r"""What a training did.

    Arguments:
        steps: Steps done.
        seconds: Time they took, over all resumed runs [s].
        history: A row for each check: step, seconds, training loss, held-out losses.
        finished: Whether all steps were done.

    Example:
        >>> TrainingReport(0, 0.0, (), False).finished
        False
    """

    steps: int
    seconds: float
    history: tuple[dict[str, float], ...]
    finished: bool


def merge_examples(parts: Sequence[Examples]) -> list[Examples]:
    r"""Joins examples of the same kind.

    Arguments:
        parts: Examples of any kinds.

    Example:
        >>> merge_examples([])
        []
    """
    kinds: dict[tuple[int, int], list[Examples]] = {}
    for e in parts:
        kinds.setdefault((e.x.shape[-1], e.u.shape[-1]), []).append(e)
    out = []
    for same in kinds.values():
        offsets = np.cumsum([0, *(e.n for e in same)])[:-1]
        owner = np.concatenate([e.owner + o for e, o in zip(same, offsets, strict=True)])
        names = ("equation", "ids", "log", "exponents")
        rest = [np.concatenate([getattr(e, name) for e in same]) for name in names]
        out.append(Examples(np.concatenate([e.x for e in same]), np.concatenate([e.u for e in same]), owner, *rest))
    return out


def train_symbolic(
    net: EquationTransformer,
    shards: Path,
    config: SymbolicTraining,
    *,
    checkpoint: Checkpoint | None = None,
    resume: bool = False,
    max_time: float = math.inf,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[dict[str, float]], None] = lambda row: None,
) -> TrainingReport:
    r"""Trains a network in place on a folder of shards, of which the last is held out.

    It starts on the first few and reads another at each check, also those that are made while it runs.

    Arguments:
        net: The network.
        shards: Folder of shards.
        config: How.
        checkpoint: Where the run is kept.
        resume: Whether to go on from the checkpoint.
        max_time: Most time of this call [s]; the schedule does not depend on it.
        should_stop: Asked after every step.
        progress: Called with each row of the history.

    Returns:
        What was done.

    Raises:
        ValueError: If there are fewer than two shards.

    Example:
        >>> train_symbolic(EquationTransformer(), Path("shards"), SymbolicTraining(steps=1))  # doctest: +SKIP
        TrainingReport(steps=1, ...)
    """
    run = _Run(net, config, _Data(shards, net.config))
    if resume and checkpoint is not None:
        run.restore(checkpoint)
    began, before = time.monotonic(), run.seconds
    while run.share < 1.0 and time.monotonic() - began < max_time and not should_stop():
        run.advance()
        run.seconds = before + time.monotonic() - began
        if run.step % config.check_every == 0 or run.share >= 1.0:
            progress(run.check())
            if checkpoint is not None:
                run.keep(checkpoint)
    if checkpoint is not None:
        run.keep(checkpoint)
    return TrainingReport(run.step, run.seconds, tuple(run.history), run.share >= 1.0)


class _Data:
    """Shards read so far; new ones are looked for when asked."""

    def __init__(self, folder: Path, config: ModelConfig) -> None:
        self.folder, self.length = folder, config.length
        paths = shard_paths(folder)
        if len(paths) < 2:
            raise ValueError(f"training needs two shards or more, one of them held out, got {len(paths)}")
        self.held_out = load_examples(paths[0], length=self.length)
        self.read: set[Path] = {paths[0]}
        self.examples: list[Examples] = []
        self.refresh(_AT_FIRST)

    def refresh(self, most: int = 1) -> None:
        """Reads some shards more: writing equations as tokens takes longer than training on them once."""
        new = [p for p in shard_paths(self.folder) if p not in self.read][:most]
        self.read.update(new)
        if new:
            self.examples = merge_examples([*self.examples, *(e for p in new for e in load_examples(p))])


class _Run:
    """A training in progress."""

    def __init__(self, net: EquationTransformer, config: SymbolicTraining, data: _Data) -> None:
        self.net, self.config, self.data = net, config, data
        plain = [p for p in net.parameters() if p.ndim < 2]
        decayed = [p for p in net.parameters() if p.ndim >= 2]
        groups = [{"params": decayed, "weight_decay": config.decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.98))
        self.step, self.seconds, self.loss = 0, 0.0, math.nan
        self.history: list[dict[str, float]] = []

    @property
    def share(self) -> float:
        return self.config.share(self.step, self.seconds)

    def batch(self, rng: np.random.Generator, examples: Sequence[Examples]) -> Batch:
        net = self.net.config
        return make_batch(
            rng,
            examples,
            self.config.batch_size,
            self.config.corruption,
            n_windows=net.n_windows,
            stride=net.stride,
            two_hot=net.constants == "two-hot",
            split=self.config.split,
        )

    def advance(self) -> None:
        rng = np.random.default_rng([self.config.seed, 1, self.step])
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate_at(self.step, self.share)
        loss = _losses(self.net, self.batch(rng, self.data.examples), self.config)["loss"]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip)
        self.optimizer.step()
        value = float(loss.detach())
        self.loss = value if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * value
        self.step += 1

    def check(self) -> dict[str, float]:
        """Losses on held-out systems, always the same; then looks for new shards."""
        rows = []
        with torch.no_grad():
            for k in range(4):
                batch = self.batch(np.random.default_rng([self.config.seed, 2, k]), self.data.held_out)
                rows.append({n: float(v) for n, v in _losses(self.net, batch, self.config).items()})
        row = {"step": float(self.step), "seconds": self.seconds, "train": self.loss}
        row |= {name: float(np.mean([r[name] for r in rows])) for name in rows[0]}
        self.history.append(row)
        self.data.refresh()
        return row

    def keep(self, checkpoint: Checkpoint) -> None:
        state = {"step": self.step, "seconds": self.seconds, "loss": self.loss, "history": self.history}
        checkpoint.save({"net": self.net}, self.optimizer, {**state, "config": asdict(self.config)})

    def restore(self, checkpoint: Checkpoint) -> None:
        state: dict[str, Any] = checkpoint.load({"net": self.net}, self.optimizer)
        self.step, self.seconds, self.loss = state["step"], state["seconds"], state["loss"]
        self.history = list(state["history"])


def _losses(net: EquationTransformer, batch: Batch, config: SymbolicTraining) -> dict[str, Tensor]:
    """The loss (a weighted mean over tokens), that of structure, that of constants, and the share guessed right."""
    found = []
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bfloat16):
        memory = net.encode(batch.points)
        for part in batch.parts():
            logits = net(memory, part.hints, part.owner, part.ids, part.fraction)
            shown = part.targets != PAD
            found.append((logits[shown], part.targets[shown], part.weight[shown]))
    logs = F.log_softmax(torch.cat([f[0] for f in found]).float(), dim=-1)
    target, weight = (torch.cat([f[k] for f in found]) for k in (1, 2))
    first = logs.gather(1, target[:, None])[:, 0]
    second = logs.gather(1, (target + 1).clamp(max=logs.shape[1] - 1)[:, None])[:, 0]
    each = -((1 - weight) * first + weight * second)
    constant = target >= CONSTANT_AT
    share = torch.where(constant, config.constants, 1.0)
    right = (logs.argmax(-1) == target)[~constant].float().mean()
    return {
        "loss": (share * each).sum() / share.sum(),
        "structure": each[~constant].mean(),
        "constants": each[constant].mean(),
        "right": right,
    }
