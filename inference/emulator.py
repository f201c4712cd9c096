r"""A small network in the place of a simulator: what a window's features would be for given parameters, with slopes.

Three hidden layers, fitted once by least squares to training rows, then fixed. Slopes with respect to the parameters
are carried forward through the layers beside the values.

References:
    | Muon: an optimizer for hidden layers in neural networks (Jordan et al., 2024),
      https://kellerjordan.github.io/posts/muon/
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Emulator"]

_RATE, _HIDDEN_RATE, _MOMENTUM, _WARMUP, _BATCH = 4e-3, 0.02, 0.95, 200, 512


class Emulator(nn.Module):
    r"""Features of parameters.

    Arguments:
        inputs: Number of inputs; parameters after what is known of a window besides.
        features: Number of features.
        hidden: Width of the hidden layers.

    Example:
        >>> emulator = Emulator(2, 3, 16)
        >>> values, slopes = emulator(torch.zeros(5, 2), 1)
        >>> values.shape, slopes.shape
        (torch.Size([5, 3]), torch.Size([5, 3, 1]))
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, inputs: int, features: int, hidden: int = 192) -> None:
        super().__init__()
        sizes = (inputs, hidden, hidden, hidden, features)
        self.layers = len(sizes) - 1
        for i in range(self.layers):
            self.register_buffer(f"weight{i}", torch.zeros(sizes[i + 1], sizes[i]))
            self.register_buffer(f"bias{i}", torch.zeros(sizes[i + 1]))
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))

    def _layer(self, i: int) -> tuple[Tensor, Tensor]:
        return getattr(self, f"weight{i}").double(), getattr(self, f"bias{i}").double()

    def forward(
        self, x: Float[Tensor, "N inputs"], wanted: int
    ) -> tuple[Float[Tensor, "N features"], Float[Tensor, "N features wanted"]]:
        r"""Features, and their slopes with respect to the last inputs, in float64.

        Arguments:
            x: Inputs.
            wanted: Number of last inputs that slopes are wanted of; 0 for none.
        """
        h, slopes = x.double(), torch.zeros(0)
        for i in range(self.layers):
            weight, bias = self._layer(i)
            if wanted:
                slopes = weight[:, -wanted:].T.expand(len(x), -1, -1) if i == 0 else slopes @ weight.T
            h = h @ weight.T + bias
            if i < self.layers - 1:
                gate = torch.sigmoid(h)
                slopes = slopes * (gate * (1 + h * (1 - gate)))[:, None] if wanted else slopes
                h = h * gate
        spread = self.spread.double()
        return self.centre.double() + h * spread, (slopes * spread).transpose(-1, -2) if wanted else slopes

    def fit(
        self, x: Float[Tensor, "N inputs"], y: Float[Tensor, "N features"], unit: Float[Tensor, " features"],
        *, epochs: int, seed: int = 0,
    ) -> None:  # fmt: skip
        r"""Fits the network by least squares: Muon for the inner layers, AdamW for all else, a cosine schedule.

        Arguments:
            x: Inputs of rows.
            y: Their features, with noise.
            unit: What an error of each feature counts as one.
            epochs: Passes over the rows.
            seed: Seed of weights and order.
        """
        self.centre.copy_(y.mean(0))
        self.spread.copy_(y.std(0).clamp_min(1e-6))
        goal, pull = ((y - self.centre) / self.spread).float(), (self.spread / unit).float()
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            net = self._fresh()
            self._descend(net, x.float(), goal, pull, epochs)
        for i, layer in enumerate(_linear(net)):
            getattr(self, f"weight{i}").copy_(layer.weight.detach())
            getattr(self, f"bias{i}").copy_(layer.bias.detach())

    def _fresh(self) -> nn.Sequential:
        layers: list[nn.Module] = []
        for i in range(self.layers):
            to, of = getattr(self, f"weight{i}").shape
            layers += [nn.Linear(of, to), nn.SiLU()]
        return nn.Sequential(*layers[:-1])

    def _descend(self, net: nn.Sequential, x: Tensor, goal: Tensor, pull: Tensor, epochs: int) -> None:
        inner: list[Tensor] = [layer.weight for layer in _linear(net)[1:]]
        rest = [p for p in net.parameters() if all(p is not q for q in inner)]
        adam = torch.optim.AdamW(rest, lr=_RATE, weight_decay=0.0, betas=(0.9, 0.99))
        pace = [torch.zeros_like(weight) for weight in inner]
        batch = min(_BATCH, len(x))
        total, step = epochs * (len(x) // batch), 0
        for _ in range(epochs):
            for rows in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):  # type: ignore[no-untyped-call]
                share = min(1.0, (step + 1) / _WARMUP) * 0.5 * (1 + math.cos(math.pi * step / total))
                adam.param_groups[0]["lr"] = _RATE * share
                net.zero_grad()
                ((net(x[rows]) - goal[rows]) * pull).square().mean().backward()
                adam.step()
                _step_evenly(inner, pace, _HIDDEN_RATE * share)
                step += 1


def _linear(net: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in net if isinstance(layer, nn.Linear)]


@torch.no_grad()
def _step_evenly(weights: list[Tensor], pace: list[Tensor], rate: float) -> None:
    """Muon's step: momentum with all its singular values brought near one, so that none of the directions lags."""
    for weight, moving in zip(weights, pace, strict=True):
        slope = weight.grad if weight.grad is not None else torch.zeros_like(weight)
        moving.mul_(_MOMENTUM).add_(slope)
        step = slope.add(moving, alpha=_MOMENTUM)
        tall = step.shape[0] > step.shape[1]
        even = (step.T if tall else step) / (step.norm() + 1e-7)
        for _ in range(5):
            square = even @ even.T
            even = 3.4445 * even + (-4.7750 * square + 2.0315 * square @ square) @ even
        weight.add_(even.T if tall else even, alpha=-rate * max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5)
