r"""Hybrid training: every step sees simulations with all their parameters and real windows with a few readings.

$$
L = (1 - \lambda)\, \mathbb{E}_{\mathrm{sim}}\bigl[-\log q(\theta \mid x)\bigr]
  + \lambda\, \mathbb{E}_{\mathrm{real}}\bigl[-\log p(r \mid x)\bigr]
$$

with $\lambda$ the share of real windows in a batch and $p(r \mid x)$ the posterior's prediction of a reading (see
``readings``), differentiated through draws of the flow. Subjects are drawn evenly, and of each a window, so that nobody
counts twice for having been recorded longer. A part of the network may be frozen: the flow (the embedding learns what
the simulator's waves lack) or the embedding (the flow learns to be less sure, or to lean); with both frozen only a
shift of each output is left to learn, so few numbers that few subjects can tell them: simulations weigh a tenth there,
enough to hold still what they pin down, such as the heart rate.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...inference.npe import NPE
from ...inference.outputs import derive_columns
from ...inference.training import low_precision_pays
from .readings import PRESSURE, Readings

__all__ = ["PARTS", "HybridConfig", "Mix", "fit_hybrid", "reading_loss"]

Part = Literal["shift", "flow", "embedding", "all"]
PARTS: tuple[Part, ...] = ("shift", "flow", "embedding", "all")
"""What may be trained."""
_SHIFT_SHARE, _SHIFT_RATE = 0.9, 5e-3


@dataclass(frozen=True)
class HybridConfig:
    r"""How an estimator goes on learning.

    Arguments:
        share: Share of real windows in a batch, and weight of their loss.
        steps: Number of steps.
        batch: Windows in a batch.
        rate: Learning rate at the start; it falls to a hundredth by a cosine.
        draws: Posterior draws of each real window a step.
        averaging: Decay of the averaged weights.
        seed: Seed of order and draws.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> HybridConfig(share=0.5).real
        48
    """

    share: float = 0.25
    steps: int = 200
    batch: int = 96
    rate: float = 3e-4
    draws: int = 32
    averaging: float = 0.97
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.share < 1 and self.rate > 0 and 0 <= self.averaging < 1):
            raise ValueError(
                f"share must lie in (0, 1), rate be positive and averaging lie in [0, 1), got {self.share}, "
                f"{self.rate} and {self.averaging}"
            )
        if self.steps < 1 or self.batch < 4 or self.draws < 2:
            raise ValueError(
                f"steps must be 1 or more, batch 4 or more and draws 2 or more, got {self.steps}, {self.batch} and "
                f"{self.draws}"
            )

    @property
    def real(self) -> int:
        r"""Real windows in a batch."""
        return max(1, round(self.share * self.batch))


def reading_loss(
    npe: NPE,
    context: Float[Tensor, "N context"],
    readings: Readings,
    noise: Float[Tensor, "N S D"],
) -> Float[Tensor, ""]:
    r"""Mean negative log density of readings under the posterior's prediction of them [nats].

    Arguments:
        npe: The estimator.
        context: Embedded windows.
        readings: Their readings.
        noise: Standard normal numbers that become the draws.

    Example:
        >>> from pulsebayes.inference.npe import PRESETS
        >>> from pulsebayes.inference.outputs import OutputSpace
        >>> npe = NPE(OutputSpace.from_names(("HR", "SV")), PRESETS["small"])
        >>> one = Readings(("CO",), np.log([[5.0]]), np.full((1, 1), 0.1), {"CO": 0.2})
        >>> reading_loss(npe, torch.zeros(1, 48), one, torch.randn(1, 8, 2)).requires_grad
        True
    """
    n, draws, _ = noise.shape
    each = context.repeat_interleave(draws, 0)
    z = npe.flow(each).transform.inv(noise.flatten(0, 1)) * npe.z_sd + npe.z_mean
    found = _quantities(npe, z)
    total: Tensor = context.new_zeros(n)
    known = np.isfinite(readings.values)
    for q, name in enumerate(readings.names):
        floor = readings.floors[name]
        own = found[name].clamp_min(floor).log() if floor > 0 else found[name] / PRESSURE
        value = torch.from_numpy(np.where(known[:, q], readings.values[:, q], 0.0)).to(own.dtype)
        sd = torch.from_numpy(readings.error[:, q]).to(own.dtype)
        log = -0.5 * ((value[:, None] - own.view(n, draws)) / sd[:, None]).square()
        score = log.logsumexp(1) - math.log(draws) - sd.log() - 0.5 * math.log(2 * math.pi)
        total = total + torch.where(torch.from_numpy(known[:, q]), score, torch.zeros_like(score))
    return -(total / torch.from_numpy(known.sum(1)).to(total.dtype)).mean()


def _quantities(npe: NPE, z: Float[Tensor, "M D"]) -> dict[str, Tensor]:
    """Every quantity of unconstrained draws, with gradients: ``ParameterSpace.constrain`` in torch."""
    columns = {}
    for d, p in enumerate(npe.outputs.space.parameters):
        share = torch.sigmoid(z[:, d])
        if p.scale == "log":
            columns[p.name] = p.low * torch.exp(math.log(p.high / p.low) * share)
        else:
            columns[p.name] = p.low + (p.high - p.low) * share
    return derive_columns(columns)


@dataclass(frozen=True)
class Mix:
    r"""What a hybrid training sees.

    Arguments:
        x: Simulated windows.
        z: Their unconstrained outputs.
        windows: Real windows.
        readings: Their readings.
        subjects: Number of each real window's subject.

    Example:
        >>> Mix.__dataclass_fields__["z"].name
        'z'
    """

    x: Float[np.ndarray, "M T"]
    z: Float[np.ndarray, "M D"]
    windows: Float[np.ndarray, "N T"]
    readings: Readings
    subjects: Int[np.ndarray, " N"]


def fit_hybrid(
    npe: NPE,
    mix: Mix,
    part: Part,
    config: HybridConfig,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> NPE:
    r"""Trains a copy of an estimator on simulations and readings together.

    Arguments:
        npe: The estimator to go on from; it is not changed.
        mix: Simulations and real windows.
        part: What is trained; the rest is frozen.
        config: How long, how fast and with which share of real windows.
        progress: Called with the number of steps done.

    Returns:
        The copy with its averaged weights.

    Raises:
        ValueError: If the part is unknown or the training diverges.

    Example:
        >>> fit_hybrid.__kwdefaults__["progress"](1)
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    run = _Run(npe, mix, part, config)
    for step in range(config.steps):
        run.update(step)
        if step % 10 == 9:
            progress(step + 1)
    found = run.average
    if not all(bool(weights.isfinite().all()) for weights in found.state_dict().values()):
        raise ValueError("hybrid training diverged: take a smaller rate or share")
    for weights in found.parameters():
        weights.requires_grad_(True)
    return found.eval()


class _Run:
    """State of a hybrid training."""

    def __init__(self, npe: NPE, mix: Mix, part: Part, config: HybridConfig) -> None:
        self.npe, self.average = copy.deepcopy(npe).train(), copy.deepcopy(npe).eval()
        self.mix, self.config, self.part = mix, config, part
        for name, weights in self.npe.named_parameters():
            weights.requires_grad_(part == "all" or name.startswith(f"{part}."))
        self.npe.z_mean.requires_grad_(part == "shift")
        self.moving = [*self.npe.parameters(), self.npe.z_mean], [*self.average.parameters(), self.average.z_mean]
        self.trained = [w for w in self.moving[0] if w.requires_grad]
        self.share, self.rate = (_SHIFT_SHARE, _SHIFT_RATE) if part == "shift" else (config.share, config.rate)
        self.optimizer = torch.optim.AdamW(self.trained, lr=self.rate, weight_decay=0.0, betas=(0.9, 0.98))
        self.rng = np.random.default_rng([config.seed, 17])
        self.generator = torch.Generator().manual_seed(config.seed)
        self.rows = [np.flatnonzero(mix.subjects == s) for s in np.unique(mix.subjects)]
        self.order = np.zeros(0, dtype=np.int64)
        self.known = self._contexts() if part in ("shift", "flow") else ()
        self.low_precision = low_precision_pays()

    @torch.no_grad()
    def _contexts(self) -> tuple[Tensor, Tensor]:
        """Contexts of everything, where the embedding does not change."""

        def embedded(x: Float[np.ndarray, "N T"], embed: Callable[[Tensor], Tensor]) -> Tensor:
            rows = torch.split(torch.from_numpy(np.asarray(x, np.float32)), 256)
            return torch.cat([embed(part) for part in rows])

        return embedded(self.mix.x, self.npe.fast_context), embedded(self.mix.windows, self.npe.embedding)

    def _pick(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of a batch: simulations each once before any comes again, subjects evenly."""
        n = max(1, self.config.batch - self.config.real)
        while len(self.order) < n:
            self.order = np.concatenate([self.order, self.rng.permutation(len(self.mix.x))])
        simulated, self.order = self.order[:n], self.order[n:]
        subjects = self.rng.integers(len(self.rows), size=self.config.real)
        return simulated, np.array([self.rng.choice(self.rows[s]) for s in subjects.tolist()])

    def update(self, step: int) -> None:
        rate = self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / self.config.steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 10)
        loss = self._loss(step, *self._pick())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.trained, 5.0)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
        decay = min(self.config.averaging, (1 + step) / (10 + step))
        with torch.no_grad():
            for slow, fast in zip(self.moving[1], self.moving[0], strict=True):
                slow.lerp_(fast, 1 - decay)

    def _loss(self, step: int, simulated: np.ndarray, real: np.ndarray) -> Tensor:
        if self.known:
            context = torch.cat((self.known[0][simulated], self.known[1][real]))
        else:
            x, windows = (
                torch.from_numpy(part.astype(np.float32)) for part in (self.mix.x[simulated], self.mix.windows[real])
            )
            rough = self.low_precision and step < 0.75 * self.config.steps
            context = torch.cat((self.npe.fast_context(x, rough), self.npe.embedding(windows, rough)))
        n = len(simulated)
        z = torch.from_numpy(np.asarray(self.mix.z[simulated], np.float32))
        own: Tensor = -self.npe.flow(context[:n]).log_prob((z - self.npe.z_mean) / self.npe.z_sd).mean()
        noise = torch.randn(len(real), self.config.draws, z.shape[1], generator=self.generator)
        told = reading_loss(self.npe, context[n:], self.mix.readings.take(real), noise)
        return (1 - self.share) * own + self.share * told
