r"""Training of the patient-level posterior on embedded recordings.

Each step takes recordings and of each a pool: a stretch of windows or windows at random, two to all of them, so that
one network answers any pool. First the course $\mu$ and its $\sigma$ learn how the windows of a pool differ,

$$
\sum_j \Big[\ln a_j + \frac{\overline{(E_j - \bar E_j)^2}}{2 a_j^2}\Big] + .2 \Big[\ln b_j +
\frac{\bar E_j^2}{2 b_j^2}\Big], \qquad E = \mu - z;
$$

$a$ one number for all windows, or, where windows of some channels tell much more than those of others, each window's
$\sigma$, so that what the best of them tell is learned too;
then, the course held, the flows learn the shared errors and what is left; the windows' own may learn on when the shared
ones are held too. AdamW with a cosine schedule for each stage; averaged weights; recordings held out say how far it
came, when it came furthest, and how draws must be stretched: patients are fewer than windows, so a network knows those
that it was trained on by heart (see ``stretching``). A course that few patients have taught moves the level of pools
about for nothing; it may be held at what the windows say of it alone (``own_level``).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..checkpoint import Checkpoint
from ..npe import NPE
from .batches import PoolBatch, draw_batch, window_noise
from .features import EmbeddedRecordings
from .network import PooledNPE, PoolingConfig
from .pools import pool_of
from .stretching import RecordingTensors, recording_tensors

__all__ = ["PoolTraining", "context_scales", "train_pooled"]

_SAVED_EVERY = 250  # steps
_MEAN_COUNTS = 0.2  # weight of a pool's mean error beside the course
_COURSE = ("course", "course_features", "course_size")
_WINDOWS = ("window_head", "window_flow")
_FLOWS = ("flow_features", "shared_head", "shared_flow", *_WINDOWS)
_STAGES = (("course", _COURSE, "validation"), ("flows", _FLOWS, "shared"), ("windows", _WINDOWS, "window"))
"""Stages: name, what learns, and the held-out loss that says how far it came."""


@dataclass(frozen=True)
class PoolTraining:
    r"""How long and how fast to train.

    Arguments:
        course_steps: Steps of the course.
        steps: Steps of the flows, after those.
        window_steps: Steps of the windows' flow alone, after those.
        window_stage: What is otherwise there, by name. A windows' flow that learns under noise is too wide without; it
            sees many windows of each patient and needs less of it.
        patience: Validations without a lower held-out loss after which a stage ends; it then leaves the averaged
            weights of the lowest. 0 for all steps, and the weights of the last.
        windows: Windows of all pools of a step together.
        rate: Highest learning rate.
        warmup: Steps of linear warm-up.
        weight_decay: Decoupled weight decay.
        averaging: Decay of the averaged weights.
        targets: Windows asked for in a pool.
        course_noise: Standard deviation of the noise on standardised context vectors that the course sees; a fifth of
            it on the window model's centres.
        noise: The same, for the flows.
        patient_noise: The same, one for all windows of a pool.
        dropout: Share of pooled features that the flows do not see.
        own_level: How strongly the mean of the course over a pool is held at that of what the window model answers,
            each window weighted by the inverse square of the error of windows of its channels, beside how strongly it
            is drawn to the truth.
        held: Recordings of each set that are not trained on, the first ones, where nothing else is said.
        seed: Seed of weights, order and pools.

    Raises:
        TypeError: If what is otherwise in the last stage is no setting.

    Example:
        >>> PoolTraining(window_stage={"noise": 0.02}).in_window_stage.noise
        0.02
    """

    course_steps: int = 2000
    steps: int = 3000
    window_steps: int = 0
    window_stage: Mapping[str, float] = field(default_factory=dict)
    patience: int = 0
    windows: int = 2000
    rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 1e-2
    averaging: float = 0.999
    targets: int = 2
    course_noise: float = 0.03
    noise: float = 0.1
    patient_noise: float = 0.07
    dropout: float = 0.15
    own_level: float = 0.0
    held: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        _ = self.in_window_stage

    @property
    def in_window_stage(self) -> PoolTraining:
        r"""The settings of the last stage."""
        return replace(self, **{"window_stage": {}, **self.window_stage}) if self.window_stage else self  # type: ignore[arg-type]


def train_pooled(
    sets: Sequence[EmbeddedRecordings],
    base: NPE,
    network: PoolingConfig,
    config: PoolTraining,
    *,
    held: Sequence[int] | None = None,
    states: Sequence[Int[np.ndarray, "R W"]] | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, float, float], None] = lambda *_: None,
) -> tuple[PooledNPE, list[dict[str, Any]]]:
    r"""Trains the patient-level estimator; goes on from the checkpoint if there is one.

    Arguments:
        sets: Recordings; each set has its own number of windows.
        base: The window model.
        network: Shape of the estimator.
        config: How long and how fast.
        held: Recordings of each set that are not trained on, the first ones; as ``config`` says where None.
        states: Number of the sensor's state in every window of the sets; one for all where None.
        checkpoint: Where to keep the run; None for nowhere.
        progress: Called with step, loss and held-out loss now and then.

    Returns:
        The estimator with averaged weights, whose draws are not stretched yet, and its history.

    Example:
        >>> train_pooled.__kwdefaults__["checkpoint"] is None
        True
    """
    run = _Run(sets, base, network, config, held or [config.held] * len(sets), states)
    if checkpoint is not None and checkpoint.exists:
        run.restore(checkpoint)
    while not run.over:
        run.update()
        if run.done % _SAVED_EVERY == 0 or run.done == run.length:
            run.validate()
            progress(run.step, run.history[-1]["train"], run.history[-1]["validation"])
            run.end_stage()
            if checkpoint is not None:
                run.save(checkpoint)
    return run.average.eval(), run.history


def context_scales(sets: Sequence[EmbeddedRecordings], held: int) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    r"""Mean and standard deviation of the context vectors that are trained on.

    Arguments:
        sets: Recordings.
        held: Recordings of each set that are not trained on, the first ones.

    Example:
        >>> context_scales.__annotations__["held"]
        'int'
    """
    h = np.concatenate([data.context[held:][data.usable[held:]] for data in sets])
    return torch.from_numpy(h.mean(0)), torch.from_numpy(h.std(0)).clamp_min(1e-3)


class _Run:
    """State of a training run."""

    def __init__(
        self,
        sets: Sequence[EmbeddedRecordings],
        base: NPE,
        network: PoolingConfig,
        config: PoolTraining,
        held: Sequence[int],
        states: Sequence[Int[np.ndarray, "R W"]] | None,
    ) -> None:
        self.whole, self.held, self.each = config, tuple(held), bool(base.config.embedding.channels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.npe = PooledNPE(base.outputs.space.dim, network)
        mean, sd = context_scales(sets, config.held)
        self.npe.h_mean.copy_(mean)
        self.npe.h_sd.copy_(sd)
        self.npe.z_mean.copy_(base.z_mean)
        self.npe.z_sd.copy_(base.z_sd)
        known = states or [np.zeros(data.usable.shape, np.int64) for data in sets]
        self.sets = [recording_tensors(self.npe, base, data, own) for data, own in zip(sets, known, strict=True)]
        self.weights = _weights(self.sets, sets, self.held)
        self.average = copy.deepcopy(self.npe)
        self.trained = list(self.npe.parameters())
        self.optimizer = torch.optim.AdamW(self.trained, lr=config.rate, weight_decay=config.weight_decay)
        self.best, self.step, self.begun, self.stage = copy.deepcopy(self.npe), 0, 0, 0
        self.history, self.losses = list[dict[str, Any]](), list[float]()
        self._skip_to(0)

    @property
    def config(self) -> PoolTraining:
        """How long and how fast this stage trains."""
        return self.whole.in_window_stage if self.stage == len(_STAGES) - 1 else self.whole

    @property
    def on_course(self) -> bool:
        """Whether the course is trained, not yet the flows."""
        return self.stage == 0

    @property
    def done(self) -> int:
        """Steps of this stage so far."""
        return self.step - self.begun

    @property
    def length(self) -> int:
        """Steps of this stage at most."""
        return (self.config.course_steps, self.config.steps, self.config.window_steps)[self.stage]

    @property
    def over(self) -> bool:
        """Whether all stages have ended."""
        return self.stage == len(_STAGES)

    def _begin_stage(self) -> None:
        """The parameters that are trained from here on."""
        learning = () if self.over else _STAGES[self.stage][1]
        for npe in (self.npe, self.average, self.best):
            for name, p in npe.named_parameters():
                p.requires_grad_(name.split(".")[0] in learning and npe is self.npe)

    def _skip_to(self, stage: int) -> None:
        """Begins a stage, or the next one that has steps."""
        self.stage, self.begun = stage, self.step
        while not self.over and not self.length:
            self.stage += 1
        self._begin_stage()

    def end_stage(self) -> None:
        """Goes on to the next stage that has steps, once this one is done or has come no further for long enough."""
        name, learned, figure = _STAGES[self.stage]
        told = [row[figure] for row in self.history if row["stage"] == name]
        patience, least = self.config.patience, int(np.nanargmin([*told, np.inf]))
        if patience and least == len(told) - 1:
            self.best.load_state_dict(self.average.state_dict())
        if self.done < self.length and not (patience and len(told) - 1 - least >= patience):
            return
        if patience:
            self.average.load_state_dict(self.best.state_dict())
        self._hold(learned)
        if self.on_course:
            self._set_scales()
        self._skip_to(self.stage + 1)

    @torch.no_grad()
    def _hold(self, learned: Sequence[str]) -> None:
        """Takes the averaged weights of what has been learned, and of the rest those as they are."""
        average = dict(self.average.named_parameters())
        for name, p in self.npe.named_parameters():
            own = name.split(".")[0] in learned
            p.copy_(average[name] if own else p)
            average[name].copy_(p)

    @torch.no_grad()
    def _set_scales(self) -> None:
        """Sets the size of the shared errors that the course leaves."""
        found = []
        for i in range(300):
            pools = self._draw(np.random.default_rng([self.config.seed, 1, i]), training=True)
            found.append(pools.shared(pools.courses(self.npe, pools.h)[0]))
        rows = torch.cat(found)
        for npe in (self.npe, self.average):
            npe.shared_mean.copy_(rows.mean(0))
            npe.shared_sd.copy_(rows.std(0).clamp_min(1e-4))

    def update(self) -> None:
        config, done, total = self.config, self.done, self.length
        rng = np.random.default_rng([config.seed, self.step])
        warm = min(1.0, (done + 1) / config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done / total)))
        loss = self._loss(self.npe, self._draw(rng, training=True), rng)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.trained, 5.0)
        self.step += 1
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
            self.losses.append(float(loss.detach()))
        decay = min(config.averaging, (1 + done) / (10 + done))
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.npe.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)

    def _loss(self, npe: PooledNPE, pools: PoolBatch, rng: np.random.Generator | None) -> Tensor:
        """Loss of a batch; with noise and dropout where there is a source of randomness."""
        if self.on_course:
            noise = self._noise(rng, pools.h, self.config.course_noise)
            centre, scale = pools.courses(npe, pools.h + noise)
            weight = self.weights[pools.source][pools.rows, pools.windows]
            return _course_loss(npe, pools, weight, centre, scale, each=self.each, own_level=self.config.own_level)
        return sum(self._flow_losses(npe, pools, rng), torch.zeros(()))

    def _flow_losses(self, npe: PooledNPE, pools: PoolBatch, rng: np.random.Generator | None) -> Iterator[Tensor]:
        """Negative log densities of what pools share and of some of their windows given that."""
        shared, left = self._targets(npe, pools)
        h = pools.h + self._noise(rng, pools.h, self.config.noise)
        h = h + self._noise(rng, pools.h[:, :1], self.config.patient_noise)
        windows, patients, at = self._contexts(npe, pools, h, rng)
        yield -npe.shared_flow(patients[:, 0]).log_prob(shared).mean()
        ok = pools.member[at]
        given = torch.cat((windows, shared[:, None].expand(-1, windows.shape[1], -1)), -1)[ok]
        yield -npe.window_flow(given).log_prob(left[at][ok]).mean()

    @torch.no_grad()
    def _targets(self, npe: PooledNPE, pools: PoolBatch) -> tuple[Tensor, Tensor]:
        """What the windows of pools share, standardised, and what is left of each."""
        centre, scale = pools.courses(npe, pools.h)
        raw = pools.shared(centre)
        return (raw - npe.shared_mean) / npe.shared_sd, (pools.z - centre - raw[:, None, : npe.outputs]) / scale

    def _contexts(
        self, npe: PooledNPE, pools: PoolBatch, h: Tensor, rng: np.random.Generator | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Contexts of both flows at some windows of every pool, and which those are."""
        order = np.random.default_rng(0) if rng is None else rng
        many = min(self.config.targets, h.shape[1])
        asked = torch.from_numpy(order.integers(h.shape[1], size=(len(h), many)))
        features = torch.cat((npe.averaged(npe.course_features(h)).detach(), npe.averaged(npe.flow_features(h))), -1)
        times = torch.gather(pools.time_s, 1, asked)
        states = pools.states, torch.gather(pools.states, 1, asked)
        averages, counts = pool_of(features, pools.time_s, pools.member, times, states)
        averages = npe.pooled(averages)
        if rng is not None and self.config.dropout:
            keep = torch.from_numpy(rng.random((len(h), 1, 1, averages.shape[-1])) >= self.config.dropout)
            averages = averages * keep / (1 - self.config.dropout)
        here = torch.arange(len(h))[:, None]
        windows, patients = npe.contexts(h[here, asked], averages, counts, pools.span_s[:, None].expand(-1, many))
        return windows, patients, (here, asked)

    def _noise(self, rng: np.random.Generator | None, like: Tensor, size: float) -> Tensor:
        """Noise on windows' vectors, where there is a source of it."""
        return torch.zeros(()) if rng is None or not size else window_noise(rng, like, size, self.npe.outputs)

    def _draw(self, rng: np.random.Generator, *, training: bool) -> PoolBatch:
        """A batch of pools of one size, from a set that holds pools so large."""
        keep = [slice(n, None) if training else slice(0, n) for n in self.held]
        return draw_batch(rng, self.sets, keep, self.config.windows)

    @torch.no_grad()
    def validate(self) -> None:
        course, held = self.on_course, []
        for i in range(60):
            pools = self._draw(np.random.default_rng([7, i]), training=False)
            average = self.average
            parts = [self._loss(average, pools, None)] if course else self._flow_losses(average, pools, None)
            held.append([float(p) for p in parts])
        row: dict[str, Any] = {"step": self.step, "stage": _STAGES[self.stage][0]}
        row |= {"train": float(np.mean(self.losses)) if self.losses else math.nan}
        parts_mean = np.mean(held, axis=0)
        row |= {"validation": float(parts_mean.sum()), "at": time.process_time()}
        row |= {} if course else {"shared": float(parts_mean[0]), "window": float(parts_mean[1])}
        self.history.append(row)
        self.losses = []

    def save(self, checkpoint: Checkpoint) -> None:
        state = {"step": self.step, "stage": self.stage, "begun": self.begun, "history": self.history}
        checkpoint.save(self._modules, self.optimizer, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.load(self._modules, self.optimizer)
        self.step, self.stage, self.begun, self.history = (state[k] for k in ("step", "stage", "begun", "history"))
        self._begin_stage()

    @property
    def _modules(self) -> dict[str, torch.nn.Module]:
        return {"npe": self.npe, "average": self.average, "best": self.best}


def _weights(
    sets: Sequence[RecordingTensors], data: Sequence[EmbeddedRecordings], held: Sequence[int]
) -> list[Float[Tensor, "R W D"]]:
    """Inverse squares of the window model's errors, of all windows of the same channels that are trained on."""
    outputs = sets[0].z.shape[-1]
    errors = [(one.h[..., -outputs:] - one.z).square() for one in sets]
    given = [torch.from_numpy(one.given) for one in data]
    known = [(g[n:][s.usable[n:]], e[n:][s.usable[n:]]) for g, e, s, n in zip(given, errors, sets, held, strict=True)]
    channels, error = (torch.cat(part) for part in zip(*known, strict=True))
    weights = [torch.zeros_like(e) for e in errors]
    for row in torch.unique(channels, dim=0):
        size = error[(channels == row).all(-1)].mean(0)
        for one, g in zip(weights, given, strict=True):
            one[(g == row).all(-1)] = 1 / size
    return weights


def _course_loss(
    npe: PooledNPE,
    pools: PoolBatch,
    known: Float[Tensor, "B n D"],
    centre: Tensor,
    scale: Tensor,
    *,
    each: bool,
    own_level: float,
) -> Tensor:
    """How far the course goes apart from the outputs within pools and, lightly, in their mean; and its own size.

    Errors count by the size of all, or by that of each. Where its level is held, the mean is weighted by window.
    """
    weight = pools.member[..., None].float()
    error = (centre - pools.z) * weight
    mean = pools.mean(error)
    within = (error - mean[:, None]) * weight
    own, shared = npe.course_size.clamp(-6.0, 2.0)
    own = scale.detach().log() if each else own
    shift = torch.zeros(())
    if own_level:
        told = known * weight
        moved = ((centre - pools.h[..., -npe.outputs :]) * told).sum(1) / told.sum(1).clamp_min(1e-9)
        shift = 0.5 * own_level * (moved * torch.exp(-shared.detach())).square().sum(-1).mean()
    n = weight.sum()
    course = (own * weight + 0.5 * (within * torch.exp(-own)).square()).sum() / n
    level = (shared + 0.5 * (mean * torch.exp(-shared)).square()).sum(-1).mean()
    size = (scale.log() * weight + 0.5 * (within.detach() / scale).square()).sum() / n
    loss: Tensor = course + _MEAN_COUNTS * (level + shift) + 0.3 * size
    return loss
