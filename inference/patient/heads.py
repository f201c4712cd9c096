r"""Likelihood of a patient's age and height given a posterior draw and the window: two small mixture networks.

Bayes' rule turns a draw of the window's posterior into one that knows the patient,

$$
p(\theta \mid x, a, h, \dots) \propto p(\theta \mid x)\; p(a \mid \theta, x)\; p(h \mid \theta, x, a)\; \dots,
$$

so the draws are weighted by the last factors and nothing else changes: without a word on the patient all weights are
one. Both factors are mixtures of truncated normals whose parameters a network gives from the draw's standardised
coordinates and the window's context; what is said of sex and weight is averaged over heights.

References:
    Mixture density networks (Bishop, 1994), https://publications.aston.ac.uk/id/eprint/373/
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .info import AGE, HEIGHT, Patient

__all__ = ["PatientHeads", "TruncatedMixture"]

_AGE_SCALE, _HEIGHT_SCALE = 20.0, 0.1
_HEIGHTS = np.linspace(*HEIGHT, 66)
_WIDEST, _NARROWEST = 2.0, -5.0
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class TruncatedMixture(nn.Module):
    r"""Density of one number in an interval: a mixture of normals, each truncated to it.

    Arguments:
        inputs: Length of what it depends on.
        interval: The interval.
        scale: What the number is divided by, after its middle is taken off.
        parts: Parts of the mixture.
        hidden: Width of the two hidden layers.

    Example:
        >>> one = TruncatedMixture(3, (0.0, 2.0), 1.0)
        >>> grid = torch.linspace(0.0, 2.0, 2001)
        >>> with torch.no_grad():
        ...     total = one.log_prob(grid, torch.zeros(2001, 3)).exp().mean() * 2.0
        >>> round(float(total), 2)
        1.0
    """

    def __init__(
        self, inputs: int, interval: tuple[float, float], scale: float, *, parts: int = 4, hidden: int = 128
    ) -> None:
        super().__init__()
        self.parts, self.middle, self.scale = parts, 0.5 * sum(interval), scale
        self.low, self.high = ((end - self.middle) / scale for end in interval)
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 3 * parts)
        )

    def unit(self, value: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        r"""The number on the network's scale.

        Arguments:
            value: In its unit.
        """
        return (value - self.middle) / self.scale

    def log_prob(self, value: Float[Tensor, "*N"], given: Float[Tensor, "M inputs"]) -> Float[Tensor, "*N"]:
        r"""Log density per unit.

        Arguments:
            value: Numbers: one for each row of `given`, with shape (M,), or several, with shape (H, M).
            given: What they depend on.
        """
        logits, mean, log_sd = self.net(given).chunk(3, dim=-1)
        log_sd = log_sd.clamp(_NARROWEST, _WIDEST)
        sd = log_sd.exp()
        inside = (torch.special.ndtr((self.high - mean) / sd) - torch.special.ndtr((self.low - mean) / sd)).clamp_min(
            1e-6
        )
        z = (self.unit(value)[..., None] - mean) / sd
        parts = logits.log_softmax(-1) - 0.5 * z**2 - log_sd - _HALF_LOG_2PI - inside.log()
        return torch.logsumexp(parts, -1) - math.log(self.scale)


class PatientHeads(nn.Module):
    r"""Both likelihoods.

    Arguments:
        dim: Number of the window model's outputs.
        context: Length of its context vector.

    Example:
        >>> heads = PatientHeads(9, 64)
        >>> heads.log_weights(Patient(age=50.0), torch.zeros(5, 9), torch.zeros(64)).shape
        (5,)
    """

    def __init__(self, dim: int, context: int) -> None:
        super().__init__()
        self.age = TruncatedMixture(dim + context, AGE, _AGE_SCALE)
        self.height = TruncatedMixture(dim + context + 2, HEIGHT, _HEIGHT_SCALE)

    def with_age(self, given: Float[Tensor, "N c"], age: Float[Tensor, " N"] | None) -> Float[Tensor, "N c+2"]:
        r"""What the height depends on: also on the age, where that is known.

        Arguments:
            given: Draws and context.
            age: Ages [years], or None.
        """
        two = given.new_zeros(len(given), 2)
        if age is not None:
            two[:, 0], two[:, 1] = self.age.unit(age), 1.0
        return torch.cat((given, two), dim=-1)

    def loss(
        self, given: Float[Tensor, "N c"], age: Float[Tensor, " N"], height: Float[Tensor, " N"]
    ) -> Float[Tensor, ""]:
        r"""Negative log density of ages, and of heights with the age known and unknown alike [nats].

        Arguments:
            given: Draws and context.
            age: Ages [years].
            height: Heights [m].
        """
        known, unknown = (self.height.log_prob(height, self.with_age(given, told)) for told in (age, None))
        return -(self.age.log_prob(age, given) + 0.5 * (known + unknown)).mean()

    def log_weights(
        self, patient: Patient, z: Float[Tensor, "N D"], context: Float[Tensor, " context"]
    ) -> Float[np.ndarray, " N"]:
        r"""Log likelihood of what is known of a patient, for each draw of a window's posterior.

        Arguments:
            patient: What is known.
            z: Standardised unconstrained outputs of the draws.
            context: Context vector of the window.
        """
        return self.log_weights_each([patient], z, context)[0]

    @torch.no_grad()
    def log_weights_each(
        self, patients: Sequence[Patient], z: Float[Tensor, "N D"], context: Float[Tensor, " context"]
    ) -> list[Float[np.ndarray, " N"]]:
        r"""The same of several patients; densities that they share are computed once.

        Arguments:
            patients: What is known, of each.
            z: Standardised unconstrained outputs of the draws.
            context: Context vector of the window.
        """
        given = torch.cat((z, context.expand(len(z), -1)), dim=-1)
        grid = torch.from_numpy(_HEIGHTS).float()[:, None].expand(-1, len(z))

        def full(value: float) -> Tensor:
            return torch.full((len(z),), float(value))

        @cache
        def of_age(age: float) -> Tensor:
            return self.age.log_prob(full(age), given)

        @cache
        def of_height(height: float | None, age: float | None) -> Tensor:
            heights = grid if height is None else full(height)
            return self.height.log_prob(heights, self.with_age(given, None if age is None else full(age)))

        logs = []
        for one in patients:
            log = torch.zeros(len(z)) if one.age is None else of_age(one.age)
            if one.height is not None:
                log = log + of_height(one.height, one.age)  # sex and weight tell nothing that the height does not
            elif one.sex is not None or one.weight is not None:
                known = torch.from_numpy(one.log_given_height(_HEIGHTS)).float()[:, None]
                log = log + torch.logsumexp(of_height(None, one.age) + known, dim=0)
            logs.append(log.double().numpy())
        return logs
