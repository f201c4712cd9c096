r"""What RoPE fits without a fold of patients differ in, and what regions around RoPE posteriors are made from.

A mixture over simulations is no sharper than simulations are dense: what the estimator reads off a wave with certainty,
such as the heart rate, it spreads over the simulations it takes for the wave. Regions take the estimator's marginals of
such quantities; the limit makes any choice good that did not see the patients it is taken from.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..conformal.marginals import graft_marginals
from .fit import RoPE

__all__ = ["FoldFit", "region_draws"]


@dataclass(frozen=True)
class FoldFit:
    r"""What differs between a fold's fit and the fit on all patients.

    Arguments:
        encoder: Parameters and buffers of the tuned embedding.
        potential: Potential of the simulations.
        weight: Weight of each simulation.
        epsilon: Regularisation, in the unit of the cost.
        sharper: Quantities whose marginals are the estimator's in what a region is made from.

    Example:
        >>> FoldFit({}, np.zeros(2), np.full(2, 0.5), 0.1, ("HR",)).sharper
        ('HR',)
    """

    encoder: Mapping[str, np.ndarray]
    potential: Float[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]
    epsilon: float
    sharper: tuple[str, ...] = ()

    @classmethod
    def of(cls, rope: RoPE, sharper: tuple[str, ...]) -> FoldFit:
        r"""Keeps what differs.

        Arguments:
            rope: The fold's fit.
            sharper: Quantities whose marginals are the estimator's.
        """
        state = {name: value.detach().cpu().numpy() for name, value in rope.encoder.state_dict().items()}
        return cls(state, rope.potential, rope.weight, rope.epsilon, sharper)

    def rope(self, full: RoPE) -> RoPE:
        r"""The fold's fit.

        Arguments:
            full: The fit on all patients.
        """
        import torch

        encoder = copy.deepcopy(full.encoder)
        encoder.load_state_dict({name: torch.from_numpy(np.array(v)) for name, v in self.encoder.items()})
        return dataclasses.replace(
            full, encoder=encoder.eval(), potential=self.potential, weight=self.weight, epsilon=self.epsilon
        )


def region_draws(
    draws: Mapping[str, np.ndarray], own: Mapping[str, np.ndarray], sharper: tuple[str, ...]
) -> dict[str, np.ndarray]:
    r"""What a region is made from: RoPE's draws with the estimator's marginals where those were the better.

    Arguments:
        draws: RoPE's draws by quantity.
        own: The estimator's, as many.
        sharper: Quantities on which the estimator was the better.

    Example:
        >>> rope, own = {"HR": np.array([3.0, 1.0])}, {"HR": np.array([60.0, 70.0])}
        >>> region_draws(rope, own, ("HR",))["HR"].tolist()
        [70.0, 60.0]
    """
    return graft_marginals(draws, own, [name for name in sharper if name in draws and name in own])
