r"""A small network in the place of a simulator: what a window's features would be for given parameters, with slopes.

Three hidden layers, fitted once by least squares to training rows, then fixed. Slopes with respect to the parameters
are carried forward through the layers beside the values.

References:
    | SOAP: improving and stabilizing Shampoo using Adam (Vyas et al., 2024), https://arxiv.org/abs/2409.11321
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Emulator"]

_RATE, _DECAY, _WARMUP, _BATCH, _BATCHES = 0.02, 0.95, 200, 1024, 8
_TURNED = 10  # steps between turns of an optimizer's axes


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

    def _layer(self, i: int, kind: torch.dtype) -> tuple[Tensor, Tensor]:
        return getattr(self, f"weight{i}").to(kind), getattr(self, f"bias{i}").to(kind)

    def forward(
        self, x: Float[Tensor, "N inputs"], wanted: int
    ) -> tuple[Float[Tensor, "N features"], Float[Tensor, "N features wanted"]]:
        r"""Features, and their slopes with respect to the last inputs, in float64.

        Arguments:
            x: Inputs; it is computed in their precision.
            wanted: Number of last inputs that slopes are wanted of; 0 for none.
        """
        h, slopes = x, torch.zeros(0)
        for i in range(self.layers):
            weight, bias = self._layer(i, x.dtype)
            if wanted:
                slopes = weight[:, -wanted:].T.expand(len(x), -1, -1) if i == 0 else slopes @ weight.T
            h = h @ weight.T + bias
            if i < self.layers - 1:
                gate = torch.sigmoid(h)
                slopes = slopes * (gate * (1 + h * (1 - gate)))[:, None] if wanted else slopes
                h = h * gate
        spread = self.spread.double()
        slopes = (slopes.double() * spread).transpose(-1, -2) if wanted else slopes
        return self.centre.double() + h.double() * spread, slopes

    def fit(
        self, x: Float[Tensor, "N inputs"], y: Float[Tensor, "N features"], unit: Float[Tensor, " features"],
        *, epochs: int, seed: int = 0,
    ) -> None:  # fmt: skip
        r"""Fits the network by least squares: SOAP with a cosine schedule.

        Arguments:
            x: Inputs of rows.
            y: Their features.
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
        batch = max(1, min(_BATCH, len(x) // _BATCHES))
        total, step = epochs * (len(x) // batch), 0
        scale = pull.square().mean()
        states = [_State(p) for p in net.parameters()]
        for _ in range(epochs):
            for rows in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):  # type: ignore[no-untyped-call]
                share = min(1.0, (step + 1) / _WARMUP) * 0.5 * (1 + math.cos(math.pi * step / total))
                net.zero_grad()
                (((net(x[rows]) - goal[rows]) * pull).square().mean() / scale).backward()
                for state in states:
                    state.step(_RATE * share)
                step += 1


def _linear(net: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in net if isinstance(layer, nn.Linear)]


class _State:
    """SOAP of one parameter: Adam on the principal axes of its gradients, which are turned every few steps."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter, self.steps = parameter, 0
        shape = parameter.shape if parameter.ndim == 2 else (1, len(parameter))
        self.pace, self.square = torch.zeros(shape), torch.zeros(shape)
        sides = shape if parameter.ndim == 2 else ()  # a vector keeps its own axes
        self.spread = [torch.zeros(size, size) for size in sides]
        self.axes = [torch.eye(size) for size in sides]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step against the gradient."""
        grad = self.parameter.grad
        slope = torch.zeros_like(self.pace) if grad is None else grad.view(self.pace.shape)
        for spread, product in zip(self.spread, (slope @ slope.T, slope.T @ slope)):
            spread.lerp_(product, 1 - _DECAY)
        if self.steps % _TURNED == 0:
            self._turn()
        self.steps += 1
        self.pace.lerp_(slope, 1 - _DECAY)
        self.square.lerp_(self._turned(slope).square(), 1 - _DECAY)
        size = (self.square / (1 - _DECAY**self.steps)).sqrt() + 1e-8
        move = self._turned(self._turned(self.pace) / size, back=True) / (1 - _DECAY**self.steps)
        self.parameter.add_(move.view_as(self.parameter), alpha=-rate)

    def _turned(self, slope: Tensor, *, back: bool = False) -> Tensor:
        if not self.axes:
            return slope
        left, right = self.axes
        return left @ slope @ right.T if back else left.T @ slope @ right

    def _turn(self) -> None:
        """Axes closer to those of the mean square gradient by a step of subspace iteration; sizes go with them."""
        for side, (spread, axes) in enumerate(zip(self.spread, self.axes)):
            if not self.steps:
                axes.copy_(torch.linalg.eigh(spread)[1].flip(1))
                continue
            order = ((axes.T @ spread) * axes.T).sum(1).argsort(descending=True)
            axes.copy_(torch.linalg.qr(spread @ axes[:, order])[0])
            self.square = self.square.index_select(side, order)
