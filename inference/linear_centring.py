r"""Outputs measured from the best linear guess that a short observation allows.

Where an observation has few numbers and rows are few, most of what it tells is often linear, and a network that has to
learn that line also learns the noise of the rows. So the line is computed, by least squares, and the flow learns
what is left. With $u$ the standardised unconstrained outputs and $s(x)$ the standardised observation, the
flow's first step is

$$
w = L^{-1} (u - A\, s(x) - b),
$$

with $A, b$ the regression of $u$ on $s$ over the training rows and $L L^\top$ the covariance of its residuals. It is
never trained; an exact posterior that is Gaussian with a linear mean is reached by this step alone.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Transform, constraints

__all__ = ["LinearCentring", "clipped"]

_FARTHEST = 6.0  # standard deviations at which an observation's lever ends
_RIDGE = 1e-6  # of the variance: keeps duplicate or constant samples from dividing by zero


def clipped(unit: Float[Tensor, "N T"]) -> Float[Tensor, "N T"]:
    r"""Limits a standardised observation to where a line through it may still be followed.

    Arguments:
        unit: Observations, standardised sample by sample.

    Example:
        >>> clipped(torch.tensor([[0.5, 40.0]]))
        tensor([[0.5000, 6.0000]])
    """
    return unit.clamp(-_FARTHEST, _FARTHEST)


class LinearCentring(nn.Module):
    r"""First step of a flow: outputs measured from their linear guess, in units of its residuals.

    Arguments:
        dim: Number of outputs.
        samples: Length of an observation, which is the last part of the context.

    Example:
        >>> centring = LinearCentring(2, 3)
        >>> seen = torch.randn(200, 3)
        >>> centring.fit(seen[:, :2] + 0.1 * torch.randn(200, 2), seen)
        >>> step = centring(torch.cat((torch.zeros(200, 4), seen), -1))
        >>> round(float(step(seen[:, :2]).abs().mean()), 1) < 0.5
        True
    """

    slope: Tensor
    intercept: Tensor
    root: Tensor

    def __init__(self, dim: int, samples: int) -> None:
        super().__init__()
        self.register_buffer("slope", torch.zeros(samples, dim))
        self.register_buffer("intercept", torch.zeros(dim))
        self.register_buffer("root", torch.eye(dim))

    def fit(self, u: Float[Tensor, "N D"], seen: Float[Tensor, "N T"]) -> None:
        r"""Computes the line and the residuals' covariance.

        Arguments:
            u: Standardised unconstrained outputs.
            seen: Standardised observations of the same rows.

        Raises:
            ValueError: If there are not more rows than unknowns.
        """
        n, unknowns = len(u), seen.shape[-1] + 1
        if n <= unknowns + u.shape[-1]:
            raise ValueError(
                f"a linear guess of {u.shape[-1]} outputs from {unknowns - 1} samples needs more than "
                f"{unknowns + u.shape[-1]} rows, got {n}"
            )
        u, seen = u.double(), seen.double()
        mean_u, mean_s = u.mean(0), seen.mean(0)
        s = seen - mean_s
        ridge = _RIDGE * n * torch.eye(s.shape[-1], dtype=torch.float64)
        slope = torch.linalg.solve(s.T @ s + ridge, s.T @ (u - mean_u))
        left = u - mean_u - s @ slope
        covariance = left.T @ left / (n - unknowns) + _RIDGE * torch.eye(u.shape[-1], dtype=torch.float64)
        self.slope.copy_(slope)
        self.intercept.copy_(mean_u - mean_s @ slope)
        self.root.copy_(torch.linalg.cholesky(covariance))

    def forward(self, context: Float[Tensor, "*batch context"]) -> Transform:
        r"""Gives the step of a context.

        Arguments:
            context: Contexts; the last part is the standardised observation.
        """
        return _Whitened(context[..., -len(self.slope) :] @ self.slope + self.intercept, self.root)


class _Whitened(Transform):
    """The step of one batch of contexts."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, centre: Tensor, root: Tensor) -> None:
        super().__init__()
        self.centre, self.root = centre, root

    def _call(self, x: Tensor) -> Tensor:
        off = (x - self.centre)[..., None]
        unit: Tensor = torch.linalg.solve_triangular(self.root, off, upper=False)[..., 0]
        return unit

    def _inverse(self, y: Tensor) -> Tensor:
        return self.centre + y @ self.root.T

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -self.root.diagonal().log().sum().expand(x.shape[:-1])
