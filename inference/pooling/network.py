r"""The patient-level posterior: slow and fast quantities of a window given all windows of its pool.

With $h_j$ the window model's context of window $j$ of the pool $S$, $t_j$ its start and $\phi$ a network,

$$
g_k(i) = \sum_{j \in S} w_k(t_i - t_j)\,\phi(h_j) \Big/ \sum_{j \in S} w_k(t_i - t_j), \qquad
w_k(\Delta) = e^{-|\Delta|/\tau_k}, \quad \tau = \infty, 10\,\text{min}, 1\,\text{min},
$$

and $n_k = \sum_j w_k$, the estimator is one flow over the slow quantities $s$ and the base coordinates $u_i$ of the
window model,

$$
q(s, u_i \mid x_S) = q\big(s, u_i \mid c(h_i, g_1, g_2, g_3, \ln n_1, \ln n_2, \ln n_3)\big), \qquad
f_i = T^{-1}(u_i \mid h_i),
$$

with $T(\cdot \mid h)$ the window model's own flow, which takes the fast quantities $f_i$ to a standard normal where the
window stands alone. So the pool only has to say how $u_i$ differs from that, and what it says of the slow quantities
narrows the fast ones draw by draw. The slow ones are compliance and wave
speed at 90 mmHg and $\kappa$, the mean over the whole recording of $\ln SV - m(h)$ with $m$ a fixed regression: the
error that all windows of a patient share. A pool may hold any windows: those before $i$ for monitoring, or all.

References:
    Deep Sets (Zaheer et al., 2017), https://arxiv.org/abs/1703.06114; Hierarchical neural simulation-based inference
    (Heinrich et al., 2024), https://arxiv.org/abs/2306.12584; Neural Spline Flows (Durkan et al., 2019).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..embedding import EmbeddingConfig
from ..npe import NPE, NPEConfig, coupling_flow
from ..sampling import invert_flow
from .pools import SCALES_S

__all__ = ["SLOW", "PooledNPE", "PoolingConfig"]

SLOW = ("C90", "PWV90", "kappa")
"""Slow quantities, on their logarithm: compliance and wave speed at 90 mmHg, and the shared error of stroke volume."""


@dataclass(frozen=True)
class PoolingConfig:
    r"""Shape of the patient-level estimator.

    Arguments:
        inputs: Length of the window model's context vector.
        features: Length of what is averaged over the pool.
        hidden: Width of the layers before and after the averages.
        context: Length of the flow's context vector.
        transforms: Number of coupling transforms.
        bins: Bins of each spline.
        flow_hidden: Widths of the network inside each transform.
        most: Pools of more windows are told apart from one of this many no longer.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> PoolingConfig(features=32).to_json()["features"]
        32
    """

    inputs: int = 64
    features: int = 96
    hidden: int = 192
    context: int = 64
    transforms: int = 6
    bins: int = 8
    flow_hidden: tuple[int, ...] = (96, 96)
    most: int = 200

    def __post_init__(self) -> None:
        object.__setattr__(self, "flow_hidden", tuple(self.flow_hidden))
        sizes = (self.inputs, self.features, self.hidden, self.context, self.transforms, self.most, *self.flow_hidden)
        if min(sizes) < 1 or self.bins < 2:
            raise ValueError(f"sizes must be positive and bins at least 2, got {self}")

    def to_json(self) -> dict[str, object]:
        r"""Returns the configuration as a JSON-able dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> PoolingConfig:
        r"""Rebuilds the configuration; an unknown key is a TypeError.

        Arguments:
            data: The dictionary.
        """
        return cls(**data)  # type: ignore[arg-type]


class PooledNPE(nn.Module):
    r"""Posterior of the slow and fast quantities of windows given their pools.

    Arguments:
        outputs: Number of the window model's outputs: the fast quantities.
        config: Shape of the network.

    Example:
        >>> npe = PooledNPE(2, PoolingConfig(inputs=8, features=4, hidden=8, transforms=2))
        >>> h, pools = torch.randn(1, 8), torch.randn(1, 3, 4)
        >>> c = npe.context(h, pools, torch.ones(1, 3))
        >>> npe.loss(torch.zeros(1, 5), c).shape
        torch.Size([])
    """

    h_mean: Tensor
    h_sd: Tensor
    slow_mean: Tensor
    slow_sd: Tensor

    def __init__(self, outputs: int, config: PoolingConfig) -> None:
        super().__init__()
        self.config = config
        dim = len(SLOW) + outputs
        scales = len(SCALES_S)
        for name, size in (("h", config.inputs), ("slow", len(SLOW))):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_sd", torch.ones(size))
        self.reference = _perceptron(config.inputs, config.hidden, 1)
        self.features = _perceptron(config.inputs, config.hidden, config.features)
        self.tail = _perceptron(config.inputs + scales * (config.features + 1), config.hidden, config.context)
        self.flow = coupling_flow(
            dim,
            NPEConfig(
                EmbeddingConfig(context=config.context),
                transforms=config.transforms,
                bins=config.bins,
                hidden=config.flow_hidden,
            ),
        )

    def unit(self, h: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch inputs"]:
        r"""Context vectors of the window model, standardised.

        Arguments:
            h: Context vectors.
        """
        return (h - self.h_mean) / self.h_sd

    def context(
        self,
        h: Float[Tensor, "N inputs"],
        pools: Float[Tensor, "N scale features"],
        counts: Float[Tensor, "N scale"],
    ) -> Float[Tensor, "N context"]:
        r"""Context of the flow.

        Arguments:
            h: Standardised context vectors of the windows asked for.
            pools: Averages over their pools, one for each scale.
            counts: Effective number of windows behind each average.
        """
        size = counts.clamp(1.0, float(self.config.most)).log()
        return self.tail(torch.cat((h, pools.flatten(-2), size), -1))  # type: ignore[no-any-return]

    def loss(self, z: Float[Tensor, "N D"], context: Float[Tensor, "N context"]) -> Float[Tensor, ""]:
        r"""Mean negative log density, in nats a window.

        Arguments:
            z: Standardised logarithms of the slow quantities, then base coordinates of the window model.
            context: Contexts of the flow.
        """
        return -self.flow(context).log_prob(z).mean()  # type: ignore[no-any-return]

    @torch.no_grad()
    def sample(
        self,
        base: NPE,
        h: Float[Tensor, "N inputs"],
        context: Float[Tensor, "N context"],
        n: int,
        generators: list[torch.Generator],
    ) -> tuple[Float[np.ndarray, "N n slow"], Float[np.ndarray, "N n D"]]:
        r"""Draws slow and fast quantities.

        Arguments:
            base: The window model.
            h: Its context vectors of the windows asked for, not standardised.
            context: Contexts of the flow.
            n: Draws of each.
            generators: Source of randomness of each.

        Returns:
            Logarithms of the slow quantities, and the outputs, each in its unit, strictly inside their intervals.
        """
        space, k = base.outputs.space, len(SLOW)
        slow = np.empty((len(context), n, k), np.float32)
        fast = np.empty((len(context), n, space.dim), np.float32)
        for i, (own, c, generator) in enumerate(zip(h, context, generators, strict=True)):
            z = invert_flow(self.flow, c, torch.randn(n, k + space.dim, generator=generator))
            slow[i] = (z[:, :k] * self.slow_sd + self.slow_mean).numpy()
            theta = invert_flow(base.flow, own, z[:, k:].contiguous()) * base.z_sd + base.z_mean
            fast[i] = space.constrain(theta.double().numpy())
        return slow, fast


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
    )
