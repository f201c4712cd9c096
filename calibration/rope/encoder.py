r"""The statistic of a recording: an embedding, whitened on simulations and tuned on pairs.

With $h$ the embedding of a trained estimator and $W$ the whitening of $h$ over simulations, real recordings are
embedded by a copy $g$ of $h$ that is tuned on labelled pairs to land where simulations of the label do,

$$
\min_g \sum_i \bigl\lVert W g(x_i) - \mathbb{E}\, W h(S(\theta_i)) \bigr\rVert_2 ,
$$

a norm and not its square: one wild pair pulls no harder than any other. The expectation is over fresh simulations of
the label, or over simulations near it where the label is partial. The weights with the least validation loss are kept.

References:
    | Addressing misspecification in simulation-based inference through data-driven calibration (Wehenkel et al., 2025),
      https://arxiv.org/abs/2405.08719
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

__all__ = ["BankTargets", "PoolTargets", "Targets", "TuneConfig", "Whitening", "aligned", "embed", "tune"]


@torch.no_grad()
def embed(encoder: nn.Module, x: Float[np.ndarray, "N T"], *, batch: int = 512) -> Float[np.ndarray, "N d"]:
    r"""Embeds windows, a batch at a time.

    Arguments:
        encoder: The embedding.
        x: Windows.
        batch: Windows a batch.

    Example:
        >>> embed(nn.Linear(3, 2), np.zeros((5, 3))).shape
        (5, 2)
    """
    x = np.asarray(x, dtype=np.float32)
    parts = [encoder(torch.from_numpy(x[i : i + batch])).double().numpy() for i in range(0, len(x), batch)]
    return np.concatenate(parts) if parts else np.empty((0, 0))


def aligned(encoder: nn.Module, x: Float[np.ndarray, "N T"]) -> nn.Module:
    r"""Copy of an embedding whose standardisation of its input is taken from recordings, not from simulations.

    What is the same in every recording and in no simulation (a gain, a level, a spread) is gone before tuning begins.
    It assumes what the transport assumes: that the recordings are a sample of the simulated population.

    Arguments:
        encoder: Embedding with a method ``fit``.
        x: Recordings without labels.

    Example:
        >>> from pulsebayes.inference.embedding import DenseEmbedding, EmbeddingConfig
        >>> net = DenseEmbedding(EmbeddingConfig(kind="dense", samples=3))
        >>> aligned(net, np.full((4, 3), 7.0)).shift.tolist()
        [7.0, 7.0, 7.0]
    """
    net = copy.deepcopy(encoder)
    fit = getattr(net, "fit", None)
    if not callable(fit):
        raise TypeError(f"encoder must have a method fit to be aligned, got {type(encoder).__name__}")
    fit(torch.from_numpy(np.asarray(x, dtype=np.float32)))
    return net.eval()


@dataclass(frozen=True)
class Whitening:
    r"""Centres an embedding, scales its principal directions and keeps those that tell of the parameters.

    Directions that hold hardly any of the simulations' variance are left out: scaled up they would be noise. With the
    simulations' parameters given, only the canonical directions are kept, those whose correlation with some combination
    of the parameters is not small: a transport that has to match what is nuisance matches the parameters worse.

    Arguments:
        mean: Mean of the embedding over simulations.
        matrix: Map to whitened coordinates.

    Example:
        >>> h = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 5.0, 0.2]
        >>> bool(np.allclose(np.cov(Whitening.fit(h)(h).T), np.eye(3)))
        True
        >>> Whitening.fit(h, h[:, :1])(h).shape
        (500, 1)
    """

    mean: Float[np.ndarray, " d"]
    matrix: Float[np.ndarray, "d k"]

    @classmethod
    def fit(
        cls,
        h: Float[np.ndarray, "N d"],
        z: Float[np.ndarray, "N D"] | None = None,
        *,
        least: float = 1e-4,
        correlation: float = 0.2,
    ) -> Whitening:
        r"""Fits it to the embeddings of simulations.

        Arguments:
            h: Embeddings.
            z: Unconstrained parameters of the simulations; None keeps every direction.
            least: Share of the largest variance below which a direction is left out.
            correlation: Canonical correlation below which one is left out; the first is always kept.

        Raises:
            ValueError: If there are fewer than two rows or a value is not finite.
        """
        h = np.asarray(h, dtype=np.float64)
        if h.ndim != 2 or len(h) < 2 or not np.isfinite(h).all():
            raise ValueError(f"h must hold at least 2 finite rows, got shape {h.shape} or values that are not finite")
        matrix = _whitener(h, least)
        if z is not None:
            z = np.asarray(z, dtype=np.float64).reshape(len(h), -1)
            white, other = (h - h.mean(0)) @ matrix, (z - z.mean(0)) @ _whitener(z, 1e-9)
            left, strength, _ = np.linalg.svd(white.T @ other / (len(h) - 1), full_matrices=False)
            matrix = matrix @ left[:, strength >= min(correlation, strength[0])]
        return cls(h.mean(0), matrix)

    def __call__(self, h: Float[np.ndarray, "N d"]) -> Float[np.ndarray, "N k"]:
        r"""Whitens embeddings.

        Arguments:
            h: Embeddings.
        """
        return np.asarray((np.asarray(h, dtype=np.float64) - self.mean) @ self.matrix)


def _whitener(values: Float[np.ndarray, "N d"], least: float) -> Float[np.ndarray, "d k"]:
    variances, vectors = np.linalg.eigh(np.cov(values.T).reshape(values.shape[1], values.shape[1]))
    keep = variances > max(least * variances[-1], 0.0)
    if not keep.any():
        raise ValueError("values are the same in every row: an embedding that ignores its input cannot be whitened")
    return np.asarray(vectors[:, keep] / np.sqrt(variances[keep]))


class Targets(Protocol):
    r"""Where the embedding of each labelled recording should land.

    Example:
        >>> targets: Targets = PoolTargets(np.zeros((4, 8, 2)))
        >>> targets.draw(np.random.default_rng(0)).shape
        (4, 2)
    """

    def draw(self, rng: np.random.Generator) -> Float[np.ndarray, "N k"]:
        r"""Whitened target of every pair, drawn anew at each step."""

    def mean(self) -> Float[np.ndarray, "N k"]:
        r"""Expected target of every pair, for validation."""


@dataclass(frozen=True)
class PoolTargets:
    r"""Targets from simulations of each label: one or several of a pool a step, or all of it.

    Arguments:
        pool: Whitened embeddings of P simulations of each of the N labels.
        each: Simulations averaged a step; with one, the minimiser is the geometric median of the pool.

    Raises:
        ValueError: If more are to be averaged than there are.

    Example:
        >>> PoolTargets(np.ones((2, 5, 3)), each=5).mean().tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    pool: Float[np.ndarray, "N P k"]
    each: int = 1

    def __post_init__(self) -> None:
        if self.pool.ndim != 3 or not 1 <= self.each <= self.pool.shape[1]:
            raise ValueError(
                f"each must lie between 1 and the pool's size, got {self.each} and shape {self.pool.shape}"
            )

    def draw(self, rng: np.random.Generator) -> Float[np.ndarray, "N k"]:
        r"""Mean of some simulations of each label.

        Arguments:
            rng: Source of randomness.
        """
        n, size, _ = self.pool.shape
        if self.each == size:
            return self.mean()
        which = rng.integers(size, size=(n, self.each))
        return np.asarray(self.pool[np.arange(n)[:, None], which].mean(1))

    def mean(self) -> Float[np.ndarray, "N k"]:
        r"""Mean over the pool."""
        return np.asarray(self.pool.mean(1))


@dataclass(frozen=True)
class BankTargets:
    r"""Targets from the simulations of a bank that are nearest in what is labelled.

    Arguments:
        h: Whitened embeddings of the bank.
        quantities: Quantities of the bank, scaled by their prior spread.
        labels: Labels of the pairs on the same scale; NaN where a quantity is not labelled.
        neighbours: Simulations averaged; drawn from twice as many nearest at each step.
        label_noise: Standard deviation of each label's error on that scale; labels are jittered by it.

    Raises:
        ValueError: If a pair has no label, or the bank is too small.

    Example:
        >>> bank = np.arange(100.0)[:, None]
        >>> targets = BankTargets(bank, bank, np.array([[50.0]]), neighbours=4)
        >>> bool(abs(targets.mean() - 50.0) < 2)
        True
    """

    h: Float[np.ndarray, "M k"]
    quantities: Float[np.ndarray, "M Q"]
    labels: Float[np.ndarray, "N Q"]
    neighbours: int = 32
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        known = np.isfinite(self.labels)
        if not known.any(1).all():
            rows = np.flatnonzero(~known.any(1))[:5].tolist()
            raise ValueError(f"each pair must have at least one label, got none in rows {rows}")
        if len(self.h) != len(self.quantities) or 2 * self.neighbours > len(self.h):
            raise ValueError(f"the bank must hold at least {2 * self.neighbours} simulations, got {len(self.h)}")

    def draw(self, rng: np.random.Generator) -> Float[np.ndarray, "N k"]:
        r"""Mean embedding of simulations near each label.

        Arguments:
            rng: Source of randomness.
        """
        jitter = self.label_noise * rng.standard_normal(self.labels.shape)
        near = self._nearest(self.labels + jitter) if self.label_noise else self._fixed
        picks = np.argsort(rng.random(near.shape), axis=1)[:, : self.neighbours]
        return np.asarray(self.h[np.take_along_axis(near, picks, 1)].mean(1))

    def mean(self) -> Float[np.ndarray, "N k"]:
        r"""Mean embedding of the nearest simulations."""
        return np.asarray(self.h[self._fixed[:, : self.neighbours]].mean(1))

    @property
    def _fixed(self) -> np.ndarray:
        if "near" not in self.__dict__:
            object.__setattr__(self, "near", self._nearest(self.labels))
        return np.asarray(self.__dict__["near"])

    def _nearest(self, labels: Float[np.ndarray, "N Q"]) -> np.ndarray:
        found = np.empty((len(labels), 2 * self.neighbours), dtype=np.int64)
        for i, row in enumerate(labels):
            known = np.isfinite(row)
            distance = ((self.quantities[:, known] - row[known]) ** 2).sum(1)
            near = np.argpartition(distance, 2 * self.neighbours - 1)[: 2 * self.neighbours]
            found[i] = near[np.argsort(distance[near])]
        return found


@dataclass(frozen=True)
class TuneConfig:
    r"""How a copy of the embedding is tuned on pairs.

    Arguments:
        steps: Most steps.
        rate: Learning rate at the start; it falls to a hundredth by a cosine.
        batch: Pairs a step.
        validation: Share of the pairs (or of their groups) held out for the choice of weights.
        patience: Validations, one every ten steps, without a better one before stopping.
        seed: Seed of split, order and targets.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> TuneConfig(steps=100).validation
        0.2
    """

    steps: int = 600
    rate: float = 1e-3
    batch: int = 64
    validation: float = 0.2
    patience: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.steps >= 1 and self.rate > 0 and self.batch >= 1 and self.patience >= 1):
            raise ValueError(
                f"steps, rate, batch and patience must be positive, got {self.steps}, {self.rate}, {self.batch} and "
                f"{self.patience}"
            )
        if not 0 < self.validation < 1:
            raise ValueError(f"validation must lie in (0, 1), got {self.validation}")


def tune(
    encoder: nn.Module,
    whitening: Whitening,
    x: Float[np.ndarray, "N T"],
    targets: Targets,
    config: TuneConfig | None = None,
    *,
    groups: np.ndarray | None = None,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> nn.Module:
    r"""Tunes a copy of the embedding so that real recordings land where simulations of their labels do.

    Arguments:
        encoder: Embedding of the estimator; it is not changed.
        whitening: Whitening of the embedding over simulations.
        x: Labelled recordings.
        targets: Where each should land.
        config: Steps, rate and split.
        groups: Subject of each recording: the split is by subject; None takes each as its own.
        progress: Called after each validation with the step and the validation loss.

    Returns:
        The tuned copy, or an untouched one if no step made the validation loss less.

    Raises:
        ValueError: If there are fewer than two pairs or subjects.

    Example:
        >>> torch.manual_seed(0).initial_seed()
        0
        >>> x = np.random.default_rng(0).normal(size=(40, 2))
        >>> whitening = Whitening(np.zeros(2), np.eye(2))
        >>> net = tune(nn.Linear(2, 2), whitening, x, PoolTargets((3 * x)[:, None]), TuneConfig(rate=0.05, batch=32))
        >>> bool(np.abs(embed(net, x) - 3 * x).mean() < 0.2)
        True
    """
    config = config or TuneConfig()
    fit, held = _split(len(x), groups, config)
    net = copy.deepcopy(encoder).train()
    best, least, stale = copy.deepcopy(net.state_dict()), np.inf, 0
    optimizer = torch.optim.Adam(net.parameters(), lr=config.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps, config.rate / 100)
    rng = np.random.default_rng(config.seed)
    windows = torch.from_numpy(np.asarray(x, dtype=np.float32))
    centre, matrix = (torch.from_numpy(np.asarray(v, np.float32)) for v in (whitening.mean, whitening.matrix))
    goal = torch.from_numpy(np.asarray(targets.mean(), dtype=np.float32))
    for step in range(config.steps):
        if step % 10 == 0:
            with torch.no_grad():
                loss = float(_distance(net(windows[held]), centre, matrix, goal[held]))
            progress(step, loss)
            if loss < least:
                best, least, stale = copy.deepcopy(net.state_dict()), loss, -1
            stale += 1
            if stale > config.patience:
                break
        rows = rng.choice(fit, min(config.batch, len(fit)), replace=False)
        drawn = torch.from_numpy(np.asarray(targets.draw(rng)[rows], dtype=np.float32))
        optimizer.zero_grad(set_to_none=True)
        _distance(net(windows[rows]), centre, matrix, drawn).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    net.load_state_dict(best)
    return net.eval()


def _distance(h: torch.Tensor, centre: torch.Tensor, matrix: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
    gap = (h - centre) @ matrix - goal
    return (gap.square().sum(-1) + 1e-12).sqrt().mean()


def _split(n: int, groups: np.ndarray | None, config: TuneConfig) -> tuple[np.ndarray, np.ndarray]:
    names = np.arange(n) if groups is None else np.asarray(groups)
    if len(names) != n:
        raise ValueError(f"groups must name the subject of each of {n} pairs, got {len(names)}")
    distinct = np.unique(names)
    if len(distinct) < 2:
        raise ValueError(f"tuning needs pairs of at least 2 subjects, got {len(distinct)}")
    order = np.random.default_rng(config.seed).permutation(distinct)
    held = np.isin(names, order[: max(1, round(config.validation * len(distinct)))])
    return np.flatnonzero(~held), np.flatnonzero(held)
