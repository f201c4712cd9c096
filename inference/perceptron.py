r"""The small network of two hidden layers that mixtures and pools are made of."""

from __future__ import annotations

from torch import nn

__all__ = ["perceptron"]


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    r"""Two hidden layers of one width with smooth steps between.

    Arguments:
        inputs: Length of what goes in.
        hidden: Width of the hidden layers.
        outputs: Length of what comes out.

    Example:
        >>> perceptron(3, 8, 2)[-1].out_features
        2
    """
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
    )
