r"""What the first steps of a flow share: one output is measured from what is computed from the window."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Transform, constraints

__all__ = ["Centring", "ColumnStep"]


class Centring(nn.Module):
    r"""A step that measures one output from a coordinate of the context; says how that output is standardised.

    Arguments:
        index: Position of the output among the outputs.
        low: Its least value.
        high: Its greatest value.

    Example:
        >>> centring = Centring(0, 20.0, 240.0)
        >>> centring.fit(torch.tensor(0.5), torch.tensor(2.0))
        >>> float(centring.standardised(torch.tensor(4.5)))
        2.0
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, index: int, low: float, high: float) -> None:
        super().__init__()
        self.index, self.low, self.high = index, low, high
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("sd", torch.ones(()))

    def fit(self, mean: Float[Tensor, ""], sd: Float[Tensor, ""]) -> None:
        r"""Takes over how the output's unconstrained coordinate is standardised.

        Arguments:
            mean: Its mean.
            sd: Its standard deviation.
        """
        self.mean.copy_(mean)
        self.sd.copy_(sd)

    def standardised(self, z: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        r"""Standardises an unconstrained coordinate.

        Arguments:
            z: The coordinate.
        """
        return (z - self.mean) / self.sd


class ColumnStep(Transform):
    r"""A bijection of one coordinate about a centre; all others stay as they are.

    Arguments:
        centre: Centre in each row.
        index: Position of the coordinate.

    Example:
        >>> ColumnStep(torch.zeros(1), 1).replaced(torch.zeros(1, 3), torch.ones(1)).tolist()
        [[0.0, 1.0, 0.0]]
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, centre: Tensor, index: int) -> None:
        super().__init__()
        self.centre, self.index = centre, index

    def replaced(self, values: Tensor, column: Tensor) -> Tensor:
        r"""Puts another column in place of the coordinate.

        Arguments:
            values: All coordinates.
            column: The column.
        """
        at = torch.arange(values.shape[-1], device=values.device) == self.index
        return torch.where(at, column[..., None], values)
