r"""Training of the patient-level posterior on embedded recordings.

Each step takes recordings and of each a pool: a stretch of windows or windows at random, one to all of them, and some
of the pool's windows as those asked for, so that one network answers any pool. AdamW with a cosine schedule; averaged
weights; the recordings held out choose among them.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..checkpoint import Checkpoint
from ..npe import NPE
from .features import EmbeddedRecordings
from .network import SLOW, PooledNPE, PoolingConfig
from .pools import pool_of

__all__ = ["PoolTraining", "slow_coordinates", "train_pooled"]

_VALIDATED = 64  # recordings of each set that are held out


@dataclass(frozen=True)
class PoolTraining:
    r"""How long and how fast to train.

    Arguments:
        steps: Number of steps.
        windows: Windows of all pools of a step together.
        rate: Highest learning rate.
        warmup: Steps of linear warm-up.
        weight_decay: Decoupled weight decay.
        averaging: Decay of the averaged weights.
        targets: Windows asked for in a pool.
        noise: Standard deviation of the noise on standardised context vectors.
        dropout: Share of pooled features left out in training.
        seed: Seed of weights, order and pools.

    Example:
        >>> PoolTraining(steps=10).rate
        0.001
    """

    steps: int = 12000
    windows: int = 3000
    rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 1e-2
    averaging: float = 0.999
    targets: int = 3
    noise: float = 0.05
    dropout: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class _Set:
    """Recordings as tensors: standardised contexts, coordinates, times and usable windows."""

    h: Float[Tensor, "R W inputs"]
    z: Float[Tensor, "R W D"]
    time_s: Float[Tensor, "R W"]
    usable: Tensor

    def rows(self, keep: slice) -> _Set:
        return _Set(self.h[keep], self.z[keep], self.time_s[keep], self.usable[keep])


def slow_coordinates(data: EmbeddedRecordings, residual: Float[np.ndarray, "R W"]) -> Float[np.ndarray, "R W 3"]:
    r"""Logarithms of the slow quantities of every window.

    Arguments:
        data: Recordings.
        residual: Log stroke volume less the fixed regression, of every window.

    Example:
        >>> slow_coordinates.__annotations__["return"]
        "Float[np.ndarray, 'R W 3']"
    """
    weight = data.usable / np.maximum(data.usable.sum(1, keepdims=True), 1)
    kappa = np.broadcast_to((residual * weight).sum(1, keepdims=True), residual.shape)
    speed = np.broadcast_to(np.log(data.wave_speed)[:, None], residual.shape)
    return np.stack([np.log(data.compliance), speed, kappa], axis=-1)


def train_pooled(
    sets: Sequence[EmbeddedRecordings],
    base: NPE,
    network: PoolingConfig,
    config: PoolTraining,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, float, float], None] = lambda *_: None,
) -> tuple[PooledNPE, list[dict[str, float]]]:
    r"""Trains the patient-level estimator; goes on from the checkpoint if there is one.

    Arguments:
        sets: Recordings; each set has its own number of windows.
        base: The window model.
        network: Shape of the estimator.
        config: How long and how fast.
        checkpoint: Where to keep the run; None for nowhere.
        progress: Called with step, loss and held-out loss now and then.

    Returns:
        The estimator with averaged weights, and its history.

    Example:
        >>> train_pooled.__kwdefaults__["checkpoint"] is None
        True
    """
    run = _Run(sets, base, network, config)
    if checkpoint is not None and checkpoint.exists:
        run.restore(checkpoint)
    while run.step < config.steps:
        run.update()
        if run.step % 500 == 0 or run.step == config.steps:
            run.validate()
            progress(run.step, run.history[-1]["train"], run.history[-1]["validation"])
            if checkpoint is not None:
                run.save(checkpoint)
    return run.average.eval(), run.history


class _Run:
    """State of a training run."""

    def __init__(
        self, sets: Sequence[EmbeddedRecordings], base: NPE, network: PoolingConfig, config: PoolTraining
    ) -> None:
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.npe = PooledNPE(base.outputs.space.dim, network)
        self.base = base
        self._fit_reference(sets)
        self.sets = [self._tensors(data) for data in sets]
        rows = torch.cat([s.z[_VALIDATED:][s.usable[_VALIDATED:]] for s in self.sets])
        k = len(SLOW)
        self.npe.slow_mean.copy_(rows[:, :k].mean(0))
        self.npe.slow_sd.copy_(rows[:, :k].std(0).clamp_min(1e-6))
        for one in self.sets:
            one.z[..., :k] = (one.z[..., :k] - self.npe.slow_mean) / self.npe.slow_sd
        self.average = copy.deepcopy(self.npe)
        self.trained = [p for name, p in self.npe.named_parameters() if not name.startswith("reference")]
        self.optimizer = torch.optim.AdamW(self.trained, lr=config.rate, weight_decay=config.weight_decay)
        self.step, self.history, self.losses = 0, list[dict[str, float]](), list[float]()

    def _fit_reference(self, sets: Sequence[EmbeddedRecordings]) -> None:
        """The fixed regression of log stroke volume on a window, by least squares; one epoch is enough."""
        usable = [d.usable[_VALIDATED:] for d in sets]
        h = torch.from_numpy(np.concatenate([d.context[_VALIDATED:][u] for d, u in zip(sets, usable, strict=True)]))
        volume = self.base.outputs.space.index("SV")
        y = np.concatenate([np.log(d.theta[_VALIDATED:][u][:, volume]) for d, u in zip(sets, usable, strict=True)])
        self.npe.h_mean.copy_(h.mean(0))
        self.npe.h_sd.copy_(h.std(0).clamp_min(1e-3))
        unit, target = self.npe.unit(h), torch.from_numpy(y.astype(np.float32))
        order = torch.Generator().manual_seed(self.config.seed)
        optimizer = torch.optim.Adam(self.npe.reference.parameters(), lr=2e-3)
        steps = 2 * len(unit) // 1024 + 1
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * (1 - step / steps)
            rows = torch.randint(len(unit), (1024,), generator=order)
            loss = (self.npe.reference(unit[rows])[:, 0] - target[rows]).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        self.npe.reference.requires_grad_(False)

    @torch.no_grad()
    def _tensors(self, data: EmbeddedRecordings) -> _Set:
        raw = torch.from_numpy(data.context)
        h, base, space = self.npe.unit(raw), self.base, self.base.outputs.space
        theta = np.where(data.usable[..., None], data.theta.astype(np.float64), 0.5 * (space.low + space.high))
        residual = np.log(theta[..., space.index("SV")]) - self.npe.reference(h)[..., 0].double().numpy()
        slow = torch.from_numpy(slow_coordinates(data, residual).astype(np.float32))
        unit = (torch.from_numpy(space.unconstrain(theta)).float() - base.z_mean) / base.z_sd
        parts = [base.flow(c).transform(z) for c, z in zip(torch.split(raw, 16), torch.split(unit, 16), strict=True)]
        time_s = torch.from_numpy(data.time_s.astype(np.float32))
        return _Set(h, torch.cat((slow, torch.cat(parts)), -1), time_s, torch.from_numpy(data.usable))

    def update(self) -> None:
        rng = np.random.default_rng([self.config.seed, self.step])
        share = self.step / self.config.steps
        warm = min(1.0, (self.step + 1) / self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
        loss = self._loss(self.npe, rng, training=True)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.trained, 5.0)
        self.step += 1
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
            self.losses.append(float(loss.detach()))
        decay = min(self.config.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.npe.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)

    def _loss(self, npe: PooledNPE, rng: np.random.Generator, *, training: bool) -> Tensor:
        """Loss of one batch of pools of one size, from the set that holds pools so large."""
        longest = max(s.h.shape[1] for s in self.sets)
        n = min(int(math.exp(rng.uniform(0.0, math.log(longest + 1)))), longest)
        able = [s for s in self.sets if s.h.shape[1] >= n]
        chosen = able[int(rng.choice(len(able), p=_shares(able)))]
        data = chosen.rows(slice(_VALIDATED, None) if training else slice(0, _VALIDATED))
        rows, windows = _draw_pools(rng, data, n, max(16, min(512, self.config.windows // n)))
        take = torch.from_numpy(rows)[:, None], torch.from_numpy(windows)
        h, z, time_s, member = data.h[take], data.z[take], data.time_s[take], data.usable[take]
        if training:
            h = h + self.config.noise * torch.from_numpy(rng.standard_normal(h.shape).astype(np.float32))
        asked = torch.from_numpy(rng.integers(n, size=(len(rows), min(self.config.targets, n))))
        at = torch.gather(time_s, 1, asked)
        pools, counts = pool_of(npe.features(h), time_s, member, at)
        if training and self.config.dropout:
            keep = torch.from_numpy(rng.random((len(rows), 1, 1, pools.shape[-1])) >= self.config.dropout)
            pools = pools * keep / (1 - self.config.dropout)
        here = torch.arange(len(rows))[:, None]
        ok = member[here, asked]
        context = npe.context(h[here, asked][ok], pools[ok], counts[ok])
        return npe.loss(z[here, asked][ok], context)

    @torch.no_grad()
    def validate(self) -> None:
        held = [float(self._loss(self.average, np.random.default_rng([7, i]), training=False)) for i in range(60)]
        self.history.append(
            {
                "step": self.step,
                "train": float(np.mean(self.losses)) if self.losses else math.nan,
                "validation": float(np.mean(held)),
                "at": time.process_time(),
            }
        )
        self.losses = []

    def save(self, checkpoint: Checkpoint) -> None:
        state: dict[str, Any] = {"step": self.step, "history": self.history}
        checkpoint.save({"npe": self.npe, "average": self.average}, self.optimizer, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.load({"npe": self.npe, "average": self.average}, self.optimizer)
        self.step, self.history = state["step"], state["history"]


def _shares(sets: Sequence[_Set]) -> Float[np.ndarray, " S"]:
    size = np.array([len(s.h) for s in sets], dtype=float)
    return np.asarray(size / size.sum())


def _draw_pools(rng: np.random.Generator, data: _Set, n: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Recordings, and of each the windows of its pool: half of them a stretch, half at random, in order of time."""
    total, width = data.h.shape[:2]
    rows = rng.integers(total, size=batch)
    start = rng.integers(width - n + 1, size=(batch, 1))
    stretch = start + np.arange(n)
    random = np.sort(np.argsort(rng.random((batch, width)), axis=1)[:, :n], axis=1)
    return rows, np.where(rng.random((batch, 1)) < 0.5, stretch, random)
