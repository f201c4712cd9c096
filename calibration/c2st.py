r"""Classifier two-sample test: how well a network tells draws of two distributions apart; one half where it cannot.

References:
    | Revisiting Classifier Two-Sample Tests (Lopez-Paz & Oquab, 2017), https://arxiv.org/abs/1610.06545
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

if TYPE_CHECKING:
    from torch import Generator, Tensor

__all__ = ["c2st"]


def c2st(
    a: Float[np.ndarray, "N D"],
    b: Float[np.ndarray, "N D"],
    *,
    seed: int = 0,
    folds: int = 5,
    epochs: int = 60,
    hidden: int = 0,
) -> float:
    r"""Cross-validated accuracy of a two-layer network that tells two samples apart.

    Both samples are standardised by the first one's mean and spread.

    Arguments:
        a: Draws of the first distribution.
        b: As many draws of the second.
        seed: Seed of the network and the folds.
        folds: Folds of the cross-validation.
        epochs: Passes over the training folds.
        hidden: Width of both layers; 0 takes ten times the dimension, at least 32.

    Returns:
        Accuracy, .5 for equal distributions and 1 for disjoint ones.

    Raises:
        ValueError: If the shapes differ, there are fewer than ten rows a fold, or a value is not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> c2st(rng.normal(size=(500, 2)), rng.normal(5.0, 1.0, size=(500, 2)), epochs=20) > 0.95
        True
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 2 or a.shape != b.shape or len(a) < 10 * folds:
        raise ValueError(
            f"a and b must have the same shape (N, D) with N at least {10 * folds}, got {a.shape} and {b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a and b must be finite, got values that are not: a failed draw would pass as a difference")
    x = (np.concatenate((a, b)) - a.mean(0)) / np.maximum(a.std(0), 1e-12)
    y = np.repeat([0.0, 1.0], len(a))
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = x[order].astype(np.float32), y[order].astype(np.float32)
    width = hidden or max(32, 10 * a.shape[1])
    held = np.arange(len(x)) % folds == np.arange(folds)[:, None]
    sizes = held.sum(1)
    scores = np.empty(folds)
    for size in np.unique(sizes):  # folds of one size, of which there are two at most, are trained side by side
        same = np.flatnonzero(sizes == size)
        scores[same] = _accuracies(x, y, held[same], seeds=[seed + int(k) for k in same], epochs=epochs, width=width)
    return float(scores.mean())


def _accuracies(
    x: Float[np.ndarray, "N D"],
    y: Float[np.ndarray, " N"],
    held: Bool[np.ndarray, "K N"],
    *,
    seeds: list[int],
    epochs: int,
    width: int,
) -> Float[np.ndarray, " K"]:
    """Accuracy on each set of held rows of a network trained on all other rows: one network a set, stacked."""
    import torch
    from torch.nn import functional as F

    starts = [_start(x.shape[1], width, seed) for seed in seeds]
    weights = [torch.stack(same).requires_grad_() for same in zip(*(start for start, _ in starts), strict=True)]
    xt, yt = (torch.from_numpy(np.stack([v[~h] for h in held])) for v in (x, y))
    optimizer = torch.optim.Adam(weights, lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    each = torch.arange(len(held))[:, None]
    for _ in range(epochs):
        order = torch.stack([torch.randperm(xt.shape[1], generator=generator) for _, generator in starts])
        for rows in order.split(256, 1):  # type: ignore[no-untyped-call]
            optimizer.zero_grad()
            guess = _logits(weights, xt[each, rows])
            loss = F.binary_cross_entropy_with_logits(guess, yt[each, rows], reduction="none").mean(1).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        right = _logits(weights, torch.from_numpy(np.stack([x[h] for h in held]))) > 0
    return np.asarray((right.numpy() == np.stack([y[h] for h in held]).astype(bool)).mean(1))


def _start(dim: int, width: int, seed: int) -> tuple[list[Tensor], Generator]:
    """Weights and biases of a fresh network, and the generator of the orders in which it sees its rows."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(dim, width), nn.Linear(width, width), nn.Linear(width, 1)]
        generator = torch.Generator()
        generator.set_state(torch.get_rng_state())
    return [part.detach() for layer in layers for part in (layer.weight, layer.bias)], generator


def _logits(weights: list[Tensor], x: Float[Tensor, "K B D"]) -> Float[Tensor, "K B"]:
    h = x
    for i in range(0, len(weights), 2):
        h = (h.relu() if i else h) @ weights[i].mT + weights[i + 1][:, None]
    return h[..., 0]
