r"""A small correction of the context, by which an estimator of a fast simulator reads the waves of a better one.

With $h$ the context that the embedding gives, of which the last coordinates are computed and stay, the flow sees

$$ h' = h + s\, f\big((h - m) / s\big), $$

$f$ a network of two hidden layers that begins at nothing, $m$ and $s$ mean and standard deviation of contexts of the
better simulator; coordinates beyond ten of them are taken there, so that the correction of a wave unlike any is no
larger than that of those it learned from. It learns alone, by the density of the truth in few rows of that simulator:
embedding and flow stay those of the many rows of the fast one, whose posterior is the same estimator without its
adapter ([`without_adapter`][pulsebayes.inference.npe.NPE.without_adapter]). What is learned on contexts of the fast
simulator reads adapted ones as they are. It does nearly what learning on with all weights does;
see docs/benchmarks/fidelities.md.

References:
    Parameter-Efficient Transfer Learning for NLP (Houlsby et al., 2019), https://arxiv.org/abs/1902.00751
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .perceptron import perceptron

__all__ = ["ContextAdapter"]

_FARTHEST = 10.0  # standard deviations; beyond all windows that it learned from


class ContextAdapter(nn.Module):
    r"""Corrects contexts, all but their computed coordinates; begins at the identity.

    Arguments:
        context: Length of the context.
        hidden: Width of its hidden layers.
        computed: Last coordinates that are left as they are.

    Example:
        >>> h = torch.randn(3, 8)
        >>> torch.equal(ContextAdapter(8, 16, 2)(h), h)
        True
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, context: int, hidden: int, computed: int) -> None:
        super().__init__()
        self.learned = context - computed
        self.register_buffer("shift", torch.zeros(context))
        self.register_buffer("scale", torch.ones(context))
        self.net = perceptron(context, hidden, self.learned)
        for value in self.net[-1].parameters():
            nn.init.zeros_(value)

    def fit(self, context: Float[Tensor, "N context"]) -> None:
        r"""Sets mean and standard deviation from some contexts.

        Arguments:
            context: The contexts, before they are corrected.
        """
        self.shift.copy_(context.mean(0))
        self.scale.copy_(context.std(0).clamp_min(1e-6))

    def forward(self, context: Float[Tensor, "N context"]) -> Float[Tensor, "N context"]:
        r"""Corrected contexts.

        Arguments:
            context: Contexts as the embedding gives them.
        """
        unit = ((context - self.shift) / self.scale).clamp(-_FARTHEST, _FARTHEST)  # as of what is far outside
        change = self.net(unit) * self.scale[: self.learned]
        return torch.cat((context[..., : self.learned] + change, context[..., self.learned :]), -1)
