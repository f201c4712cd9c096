r"""What RoPE fits without a fold of patients differ in, and what regions around RoPE posteriors are made from.

A mixture over simulations is no sharper than simulations are dense: what the estimator reads off a wave with certainty,
such as the heart rate, it spreads over the simulations it takes for the wave. Regions take the estimator's marginals of
such quantities and its dependence between all; the limit makes any choice good that did not see the patients it is
taken from.
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
    r"""What a region is made from: the estimator's dependence, RoPE's marginals but where the estimator's are better.

    Arguments:
        draws: RoPE's draws by quantity.
        own: The estimator's, as many.
        sharper: Quantities on which the estimator was the better; with none RoPE's draws are kept.

    Example:
        >>> rope = {"HR": np.array([90.0, 50.0]), "CO": np.array([4.0, 6.0])}
        >>> own = {"HR": np.array([70.0, 71.0]), "CO": np.array([8.0, 7.0])}
        >>> {name: values.tolist() for name, values in region_draws(rope, own, ("HR",)).items()}
        {'HR': [70.0, 71.0], 'CO': [6.0, 4.0]}
    """
    if not sharper:
        return {name: np.asarray(values) for name, values in draws.items()}
    return graft_marginals({name: own[name] for name in draws}, draws, [n for n in draws if n not in sharper])
