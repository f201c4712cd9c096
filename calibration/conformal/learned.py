r"""A factor for each case learned on residuals, for predictors that give a point only.

A small network maps the features to a lower triangular factor $L(x)$, trained by the Gaussian likelihood of the
residuals,

$$
\ell = \sum_i \tfrac12 \| L(x_i)^{-1} r_i \|^2 + \log\det L(x_i),
$$

with a fifth of the residuals held out to stop it. With `NormGauge` the regions are ellipsoids that follow $x$; with a
rank the shape is free as well. The likelihood only chooses $L$: nothing is promised by it, and no residual need be
Gaussian.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from .gauge import Whitening
from .prediction import Prediction
from .residual import AbstractFittedResidual, AbstractResidual

if TYPE_CHECKING:
    import torch

__all__ = ["FittedScale", "LearnedScale"]


@dataclass(frozen=True)
class FittedScale(AbstractFittedResidual):
    r"""Residuals whitened by a learned factor.

    Arguments:
        network: From standardised features to the entries of the factor.
        shift: Mean of each feature.
        scale: Standard deviation of each feature.
        whitening: Covariance of all residuals; the network gives what differs from it.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.random((300, 1))
        >>> y = (0.1 + x) * rng.normal(size=(300, 2))
        >>> prediction = Prediction(0 * y, x=x)
        >>> factors = LearnedScale(epochs=60).fit(prediction, y).factors(prediction)
        >>> bool(np.corrcoef(factors[:, 0, 0], x[:, 0])[0, 1] > 0.8)
        True
    """

    network: Any
    shift: Float[np.ndarray, " p"]
    scale: Float[np.ndarray, " p"]
    whitening: Whitening

    def factors(self, prediction: Prediction) -> Float[np.ndarray, "N d d"]:
        r"""Factor of each case.

        Arguments:
            prediction: Cases, which must have features.
        """
        import torch

        prediction.need("x", "LearnedScale")
        x = torch.from_numpy((prediction.x - self.shift) / self.scale).float()
        with torch.no_grad():
            own = _triangles(self.network(x), prediction.dim).double().numpy()
        return np.asarray(self.whitening.factor @ own)


@dataclass(frozen=True)
class LearnedScale(AbstractResidual):
    r"""Learns the factor of each case from its features.

    Arguments:
        hidden: Width of the two hidden layers.
        epochs: Most passes over the residuals.
        patience: Passes without gain on the held-out fifth after which training ends.
        rate: Learning rate.
        decay: Weight decay.

    Raises:
        ValueError: If a number is not positive.

    Example:
        >>> LearnedScale(hidden=32).hidden
        32
    """

    hidden: int = 64
    epochs: int = 400
    patience: int = 40
    rate: float = 3e-3
    decay: float = 1e-4

    def __post_init__(self) -> None:
        if min(self.hidden, self.epochs, self.patience) < 1 or self.rate <= 0 or self.decay < 0:
            raise ValueError("hidden, epochs, patience and rate must be positive and decay not negative")

    def fit(self, prediction: Prediction, y: Float[np.ndarray, "N d"], *, seed: int = 0) -> FittedScale:
        r"""Trains the network.

        Arguments:
            prediction: Cases with features.
            y: Their targets.
            seed: Seed of the weights, batches and held-out fifth.
        """
        import torch

        prediction.need("x", "LearnedScale")
        r = np.asarray(y, dtype=np.float64) - prediction.mean
        whitening = Whitening.fit(r)
        z = np.linalg.solve(whitening.factor, r.T).T
        shift, scale = prediction.x.mean(0), prediction.x.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        x = (prediction.x - shift) / scale
        d = z.shape[1]
        generator = torch.Generator().manual_seed(seed)
        network = _network(x.shape[1], self.hidden, d * (d + 1) // 2, generator)
        rows = torch.randperm(len(x), generator=generator)
        held, used = rows[: max(1, len(x) // 5)], rows[max(1, len(x) // 5) :]
        data = (torch.from_numpy(x).float(), torch.from_numpy(z).float())
        _train(network, data, used, held, self, generator)
        return FittedScale(network, shift, scale, whitening)


def _network(p: int, hidden: int, out: int, generator: torch.Generator) -> Any:
    import torch
    from torch import nn

    layers = [nn.Linear(p, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, out)]
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, nn.Linear):
                bound = (3 / layer.in_features) ** 0.5 if layer is not layers[-1] else 1e-3
                layer.weight.copy_(bound * (2 * torch.rand(layer.weight.shape, generator=generator) - 1))
                layer.bias.zero_()
    return nn.Sequential(*layers)


def _triangles(entries: torch.Tensor, d: int) -> torch.Tensor:
    """Lower triangular matrices with a positive diagonal; zero entries give the identity."""
    import torch

    found = torch.zeros(*entries.shape[:-1], d, d, dtype=entries.dtype)
    rows, columns = np.tril_indices(d, -1)
    diagonal = torch.arange(d)
    found[..., diagonal, diagonal] = torch.exp(entries[..., :d].clamp(-6, 6))
    found[..., rows, columns] = entries[..., d:]
    return found


def _loss(network: Any, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    import torch

    d = z.shape[1]
    factor = _triangles(network(x), d)
    white = torch.linalg.solve_triangular(factor, z[..., None], upper=False)[..., 0]
    loss: torch.Tensor = 0.5 * (white**2).sum(1).mean() + torch.log(factor.diagonal(dim1=-2, dim2=-1)).sum(1).mean()
    return loss


def _train(
    network: Any,
    data: tuple[torch.Tensor, torch.Tensor],
    used: torch.Tensor,
    held: torch.Tensor,
    config: LearnedScale,
    generator: torch.Generator,
) -> None:
    """Adam with early stopping; the network ends with its best weights."""
    import torch

    x, z = data
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=config.decay)
    best, kept, since = float("inf"), copy.deepcopy(network.state_dict()), 0
    for _ in range(config.epochs):
        order = used[torch.randperm(len(used), generator=generator)]
        for batch in torch.split(order, 256):
            optimiser.zero_grad()
            loss = _loss(network, x[batch], z[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
        with torch.no_grad():
            own = float(_loss(network, x[held], z[held]))
        if own < best - 1e-4:
            best, kept, since = own, copy.deepcopy(network.state_dict()), 0
        else:
            since += 1
            if since >= config.patience:
                break
    network.load_state_dict(kept)
