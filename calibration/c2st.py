r"""Classifier two-sample test: how well a network tells draws of two distributions apart; one half where it cannot.

References:
    | Revisiting Classifier Two-Sample Tests (Lopez-Paz & Oquab, 2017), https://arxiv.org/abs/1610.06545
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

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
    which = np.arange(len(x)) % folds
    scores = [_fold(x, y, which == k, seed=seed + k, epochs=epochs, width=width) for k in range(folds)]
    return float(np.mean(scores))


def _fold(
    x: Float[np.ndarray, "N D"], y: Float[np.ndarray, " N"], held: np.ndarray, *, seed: int, epochs: int, width: int
) -> float:
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )
        xt, yt = torch.from_numpy(x[~held]), torch.from_numpy(y[~held])
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in range(epochs):
            for rows in torch.randperm(len(xt)).split(256):  # type: ignore[no-untyped-call]
                optimizer.zero_grad()
                loss = nn.functional.binary_cross_entropy_with_logits(net(xt[rows])[:, 0], yt[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            schedule.step()
        with torch.no_grad():
            guess = net(torch.from_numpy(x[held]))[:, 0] > 0
    return float((guess.numpy() == (y[held] > 0.5)).mean())
