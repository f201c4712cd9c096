r"""Training the networks of a tempo: convolutions along the course and the upstroke, then dense layers.

In steps of equal ratio a wave played slower is shifted along the course, so a convolution knows a notch wherever it
lies. Noise on the features and several networks, each of another seed, keep them from learning windows by heart.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from ..inference.tempo import KERNEL, VIEWS, arranged

__all__ = ["TempoNetwork", "train_networks"]

CHANNELS = 8
HIDDEN = (64, 32)
MEMBERS = 3
EPOCHS, BATCH, RATE, DECAY = 10, 256, 3e-3, 1e-3
LEAST_STEPS = 200
NOISE = 0.3
"""Standard deviation of what is added to the features, in their scales."""
EJECTION_WEIGHT = 0.3
"""Weight of the ejection time beside the odds."""


class TempoNetwork(nn.Module):
    r"""One network: from features to the log odds that nobody has them, and to the ejection time.

    Arguments:
        features: How many features there are, arranged.

    Example:
        >>> TempoNetwork(252)(torch.zeros(3, 252)).shape
        torch.Size([3, 2])
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first, self.second = nn.ModuleList(), nn.ModuleList()
        size = features
        for channels, length in VIEWS:
            self.first.append(nn.Conv1d(channels, CHANNELS, KERNEL, padding=KERNEL // 2))
            self.second.append(nn.Conv1d(CHANNELS, CHANNELS, KERNEL, padding=KERNEL // 2, stride=2))
            size += CHANNELS * ((length + 1) // 2) - channels * length
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise((size, *HIDDEN, 2)))

    def forward(self, x: Float[torch.Tensor, "N F"]) -> Float[torch.Tensor, "N 2"]:
        r"""Reads scaled and arranged features.

        Arguments:
            x: Features.
        """
        parts, start = [], 0
        for (channels, length), first, second in zip(VIEWS, self.first, self.second, strict=True):
            values = x[:, start : start + channels * length].reshape(-1, channels, length)
            parts.append(nn.functional.silu(second(nn.functional.silu(first(values)))).flatten(1))
            start += channels * length
        values = torch.cat([*parts, x[:, start:]], 1)
        for i, layer in enumerate(self.dense):
            values = layer(nn.functional.silu(values) if i else values)
        return values

    def arrays(self) -> dict[str, np.ndarray]:
        r"""Weights and biases, named and laid out as a tempo has them.

        Example:
            >>> sorted(TempoNetwork(252).arrays())[:4]
            ['b0', 'b1', 'b2', 'first0b']
        """
        found: dict[str, np.ndarray] = {}
        for part, layers in (("first", self.first), ("second", self.second)):
            for i, layer in enumerate(layers):
                weight, bias = (one.detach().numpy() for one in layer.parameters())
                found |= {f"{part}{i}w": weight, f"{part}{i}b": bias}
        for i, layer in enumerate(self.dense):
            weight, bias = (one.detach().numpy() for one in layer.parameters())
            found |= {f"w{i}": weight.T, f"b{i}": bias}
        return found


def train_networks(
    features: Float[np.ndarray, "N F"], truth: Float[np.ndarray, "N 3"], seed: int
) -> list[dict[str, np.ndarray]]:
    r"""Trains the networks.

    Arguments:
        features: Scaled features.
        truth: Whether nobody has rate and ejection, whether the odds are asked for, and the standardised ejection time.
        seed: Seed of the first; those of the others follow it.

    Returns:
        Arrays of each network.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> len(train_networks(rng.normal(size=(300, 248)), rng.uniform(size=(300, 3)).round(), 0))  # doctest: +SKIP
        3
    """
    x, y = (torch.from_numpy(np.float32(part)) for part in (arranged(features), truth))
    networks = []
    with torch.random.fork_rng():
        for member in range(MEMBERS):
            torch.manual_seed(seed + member)
            networks.append(_trained(x, y).arrays())
    return networks


def _trained(x: Float[torch.Tensor, "N F"], truth: Float[torch.Tensor, "N 3"]) -> TempoNetwork:
    network = TempoNetwork(x.shape[1])
    batches = max(len(x) // BATCH, 1)
    epochs = max(EPOCHS, -(-LEAST_STEPS // batches))
    adam = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    pace = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=epochs * batches)
    odds_loss = nn.functional.binary_cross_entropy_with_logits
    for _ in range(epochs):
        for batch in torch.randperm(len(x))[: batches * BATCH].chunk(batches):
            told = network(x[batch] + NOISE * torch.randn(len(batch), x.shape[1]))
            nobody, asked, ejection = truth[batch].unbind(1)
            loss = (asked * odds_loss(told[:, 0], nobody, reduction="none")).mean()
            loss = loss + EJECTION_WEIGHT * nn.functional.smooth_l1_loss(told[:, 1], ejection)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            pace.step()
    return network
