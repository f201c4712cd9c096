r"""The patient-level posterior: what all windows of a pool share, and each window given that.

With $h_j$ the window model's context of window $j$ of the pool $S$, $t_j$ its start and $\phi$ a network,

$$
g_k(i) = \sum_{j \in S} w_k(t_i - t_j)\,\phi(h_j) \Big/ \sum_{j \in S} w_k(t_i - t_j), \qquad
w_k(\Delta) = e^{-|\Delta|/\tau_k}, \quad \tau = \infty, \infty, 10\,\text{min}, 1\,\text{min},
$$

all but the first over the windows of one state of the sensor (where windows tell very different amounts, as those of
different channels do, $\phi$ is weighted besides by $e^{s(h_j)}$, learned too, and the mean weight is told), and
$n_k = \sum_j w_k$, the unconstrained outputs $z_i$ of a window are split into what a network tells of their course, an
error that all windows of the pool share, and the rest,

$$
z_i = \mu(h_i, g(i)) + \kappa + \sigma(h_i, g(i))\, \varepsilon_i, \qquad \kappa = \tfrac1n \textstyle\sum_{j \in S}
(z_j - \mu_j), \qquad q(s \mid g_\infty)\; q(\varepsilon_i \mid s, h_i, g(i)),
$$

$\mu$ the window model's centre $T^{-1}(0 \mid h_i)$ and a correction, trained on differences between the windows of a
pool, both densities flows, $s$ the patient: $\kappa$, and compliance and wave speed at 90 mmHg. One draw of $s$ serves
all windows of a pool, so what a patient's windows share cannot make the course jump. A density of each window's outputs
alone leaves such jumps in: they cost it next to nothing, as the shared error is several times larger. A pool may hold
any windows: those before $i$, or all. At the end draws of $s$ keep their ranks while their distances from the median
are stretched so that in recordings held out of the training half and nine tenths of the truths lie where they should
(``stretch``), by quantity and size of pool; those of every window follow.

References:
    Deep Sets (Zaheer et al., 2017), https://arxiv.org/abs/1703.06114; Hierarchical neural simulation-based inference
    (Heinrich et al., 2024), https://arxiv.org/abs/2306.12584; Neural Spline Flows (Durkan et al., 2019).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ...simulators.parameters import ParameterSpace
from ..embedding import EmbeddingConfig
from ..npe import NPE, NPEConfig, coupling_flow
from ..perceptron import perceptron
from ..sampling import invert_flow, invert_flows
from .pools import SCALES_S, pool_averages
from .spread import NODES, QUANTILES, stretch, stretch_evenly

__all__ = ["SLOW", "PoolContext", "PooledNPE", "PoolingConfig", "pool_contexts"]

SLOW = ("C90", "PWV90")
"""Slow quantities beside the shared errors, on their logarithm: compliance and wave speed at 90 mmHg."""
_LEAST, _MOST = -5.0, 1.0  # logarithm of sigma
_HEAVIEST = 8.0  # logarithm of a window's weight


@dataclass(frozen=True)
class PoolingConfig:
    r"""Shape of the patient-level estimator.

    Arguments:
        inputs: Length of a window's vector: the window model's context and centre.
        features: Length of what is averaged over the pool, for the course and again for the flows.
        hidden: Width of the layers before and after the averages.
        context: Length of the flows' context vectors.
        transforms: Number of coupling transforms of each flow.
        bins: Bins of each spline.
        flow_hidden: Widths of the network inside each transform.
        most: Pools of more windows are told apart from one of this many no longer.
        weighted: Whether each window weighs in the averages by what it knows: half of the features are then weights
            of the other half.

    Raises:
        ValueError: If a size is not positive, or features that are weighted cannot be halved.

    Example:
        >>> PoolingConfig(features=32).to_json()["features"]
        32
    """

    inputs: int = 73
    features: int = 64
    hidden: int = 128
    context: int = 48
    transforms: int = 4
    bins: int = 8
    flow_hidden: tuple[int, ...] = (96, 96)
    most: int = 64
    weighted: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "flow_hidden", tuple(self.flow_hidden))
        sizes = (self.inputs, self.features, self.hidden, self.context, self.transforms, self.most, *self.flow_hidden)
        if min(sizes) < 1 or self.bins < 2:
            raise ValueError(f"sizes must be positive and bins at least 2, got {self}")
        if self.weighted and self.features % 2:
            raise ValueError(f"features must be even where they are weighted, got {self.features}")

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


@dataclass(frozen=True)
class PoolContext:
    r"""What the pools say of some windows.

    Arguments:
        centre: Course of the standardised outputs.
        scale: Size of what is left of them.
        window: Contexts of the flow of the windows.
        shared: Contexts of the flow of what a pool shares.
        size: Logarithm of the number of windows.

    Example:
        >>> PoolContext(*torch.zeros(5, 1, 2)).row(0).centre.shape
        torch.Size([2])
    """

    centre: Float[Tensor, "*N D"]
    scale: Float[Tensor, "*N D"]
    window: Float[Tensor, "*N context"]
    shared: Float[Tensor, "*N context"]
    size: Float[Tensor, "*N"]

    def row(self, i: int) -> PoolContext:
        r"""One window's.

        Arguments:
            i: Which.
        """
        return PoolContext(self.centre[i], self.scale[i], self.window[i], self.shared[i], self.size[i])

    def grown(self, factor: Float[np.ndarray, "*N D"]) -> PoolContext:
        r"""The same with own errors larger.

        Arguments:
            factor: Factors on their variances, by output; none leave them as they are.
        """
        if not np.size(factor):
            return self
        return dataclasses.replace(self, scale=self.scale * torch.from_numpy(np.sqrt(factor)).to(self.scale.dtype))


class PooledNPE(nn.Module):
    r"""Posterior of what the windows of a pool share, and of each window given it.

    Arguments:
        outputs: Number of the window model's outputs.
        config: Shape of the network.

    Example:
        >>> npe = PooledNPE(3, PoolingConfig(inputs=8, features=4, hidden=8, transforms=2))
        >>> h = torch.randn(1, 8)  # five of context, three of centre
        >>> known = npe.context(h, npe.features(h)[:, None].expand(1, 4, 8), torch.ones(1, 4), torch.zeros(1))
        >>> npe.sample_shared(known.row(0), 7, torch.Generator()).shape
        torch.Size([7, 5])
    """

    h_mean: Tensor
    h_sd: Tensor
    z_mean: Tensor
    z_sd: Tensor
    shared_mean: Tensor
    shared_sd: Tensor
    shared_spread: Tensor
    window_spread: Tensor

    def __init__(self, outputs: int, config: PoolingConfig) -> None:
        super().__init__()
        self.config, self.outputs = config, outputs
        shared, scales, f = outputs + len(SLOW), len(SCALES_S), config.features
        for name, size in (("h", config.inputs - outputs), ("z", outputs), ("shared", shared)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_sd", torch.ones(size))
        self.register_buffer("shared_spread", torch.zeros(len(QUANTILES), len(NODES), shared))
        self.register_buffer("window_spread", torch.zeros(len(QUANTILES), len(NODES), outputs))
        self.course_features = perceptron(config.inputs, config.hidden, f)
        self.course = perceptron(config.inputs + scales * (f + 1) + 1, config.hidden, 2 * outputs)
        self.course_size = nn.Parameter(torch.zeros(2, outputs))
        self.flow_features = perceptron(config.inputs, config.hidden, f)
        self.window_head = perceptron(config.inputs + scales * (2 * f + 1) + 1, config.hidden, config.context)
        self.shared_head = perceptron(2 * f + 2, config.hidden, config.context)
        self.window_flow = self._flow(outputs, config.context + shared)
        self.shared_flow = self._flow(shared, config.context)

    def _flow(self, dim: int, context: int) -> nn.Module:
        config = self.config
        shape = EmbeddingConfig(context=context)
        own = NPEConfig(shape, transforms=config.transforms, bins=config.bins, hidden=config.flow_hidden)
        return coupling_flow(dim, own)

    @torch.no_grad()
    def unit(self, base: NPE, h: Float[Tensor, "N context"]) -> Float[Tensor, "N inputs"]:
        r"""Vectors of windows: the window model's context, standardised, and the centre of what it answers.

        Arguments:
            base: The window model.
            h: Its context vectors.
        """
        centres = [torch.zeros(0, self.outputs)]
        for part in torch.split(h, 2048):
            centres.append(invert_flows(base.flow, part, torch.zeros(len(part), 1, self.outputs))[:, 0])
        return torch.cat(((h - self.h_mean) / self.h_sd, torch.cat(centres)), -1)

    def features(self, unit: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch features"]:
        r"""What is averaged over a pool.

        Arguments:
            unit: Vectors.
        """
        return torch.cat((self.averaged(self.course_features(unit)), self.averaged(self.flow_features(unit))), -1)

    def averaged(self, told: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch features"]:
        r"""What is averaged of what a network tells of a window: $\phi$, or $e^s \phi$ and $e^s$.

        Arguments:
            told: What it tells.
        """
        if not self.config.weighted:
            return told
        value, score = told.chunk(2, -1)
        weight = score.clamp(-_HEAVIEST, _HEAVIEST).exp()
        return torch.cat((weight * value, weight), -1)

    def pooled(self, averages: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch F"]:
        r"""What averages say: themselves, or weighted means and the logarithms of the mean weights.

        Arguments:
            averages: Averages of features, of the course's, the flows' or of both.
        """
        if not self.config.weighted:
            return averages
        parts = averages.reshape(*averages.shape[:-1], -1, 2, self.config.features // 2)
        sums, weight = parts.unbind(-2)
        weight = weight.clamp_min(math.exp(-_HEAVIEST))
        return torch.stack((sums / weight, weight.log()), -2).flatten(-3)

    def signature(self, unit: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch context"]:
        r"""What the detector of splices sees of windows: the window model's context.

        Arguments:
            unit: Vectors of windows.
        """
        return unit[..., : -self.outputs]

    def courses(
        self,
        unit: Float[Tensor, "*N inputs"],
        pools: Float[Tensor, "*N scale course"],
        counts: Float[Tensor, "*N scale"],
        span_s: Float[Tensor, "*N"],
    ) -> tuple[Float[Tensor, "*N D"], Float[Tensor, "*N D"]]:
        r"""Course of the standardised outputs over a pool, and the size of what is left of them.

        Arguments:
            unit: Vectors.
            pools: What averages of the course's features say.
            counts: Effective number of windows behind each average.
            span_s: Time from the pool's first window to its last [s].
        """
        told = self.course(torch.cat((unit, pools.flatten(-2), *self._size(counts, span_s)), -1))
        correction, size = told.chunk(2, -1)
        return unit[..., -self.outputs :] + correction, size.clamp(_LEAST, _MOST).exp()

    def context(
        self,
        unit: Float[Tensor, "N inputs"],
        pools: Float[Tensor, "N scale features"],
        counts: Float[Tensor, "N scale"],
        span_s: Float[Tensor, " N"],
    ) -> PoolContext:
        r"""What the pools say of some windows.

        Arguments:
            unit: Vectors of the windows asked for.
            pools: Averages over their pools, one for each scale.
            counts: Effective number of windows behind each average.
            span_s: Time from a pool's first window to its last [s].
        """
        pools = self.pooled(pools)
        centre, scale = self.courses(unit, pools[..., : self.config.features], counts, span_s)
        return PoolContext(
            centre, scale, *self.contexts(unit, pools, counts, span_s), counts[..., 0].clamp_min(1.0).log()
        )

    def contexts(
        self, unit: Tensor, pools: Tensor, counts: Tensor, span_s: Tensor
    ) -> tuple[Float[Tensor, "N context"], Float[Tensor, "N context"]]:
        r"""Contexts of the flows of the windows and of what they share.

        Arguments:
            unit: Vectors.
            pools: What averages over their pools say.
            counts: Effective number of windows behind each average.
            span_s: Time from a pool's first window to its last [s].
        """
        size, span = self._size(counts, span_s)
        window = self.window_head(torch.cat((unit, pools.flatten(-2), size, span), -1))
        return window, self.shared_head(torch.cat((pools[..., 0, :], size[..., :1], span), -1))

    def _size(self, counts: Tensor, span_s: Tensor) -> tuple[Tensor, Tensor]:
        return counts.clamp(1.0, float(self.config.most)).log(), torch.log1p(span_s[..., None] / 60.0)

    @torch.no_grad()
    def sample_shared(self, known: PoolContext, n: int, generator: torch.Generator) -> Float[Tensor, "n S"]:
        r"""Draws what a pool shares, standardised: errors of the outputs, then the slow quantities.

        Arguments:
            known: Context of one window of the pool.
            n: Draws.
            generator: Source of randomness.
        """
        noise = torch.randn(n, len(self.shared_sd), generator=generator)
        return self.stretched(invert_flow(self.shared_flow, known.shared, noise), self.shared_spread, known.size)

    def slow(self, shared: Float[Tensor, "n S"]) -> Float[np.ndarray, "n slow"]:
        r"""Logarithms of the slow quantities in draws of what a pool shares.

        Arguments:
            shared: The draws.
        """
        return (shared * self.shared_sd + self.shared_mean)[..., self.outputs :].numpy()

    @torch.no_grad()
    def sample_window(
        self, space: ParameterSpace, known: PoolContext, shared: Float[Tensor, "n S"], generator: torch.Generator
    ) -> Float[np.ndarray, "n D"]:
        r"""Draws a window's outputs, each in its unit, strictly inside their intervals; one for each shared draw.

        Arguments:
            space: The window model's outputs.
            known: Context of the window.
            shared: Draws of what its pool shares.
            generator: Source of randomness.
        """
        z = self.standardised(known, shared, generator) * self.z_sd + self.z_mean
        return space.constrain(z.double().numpy()).astype(np.float32)

    @torch.no_grad()
    def standardised(
        self, known: PoolContext, shared: Float[Tensor, "n S"], generator: torch.Generator
    ) -> Float[Tensor, "n D"]:
        r"""Draws a window's standardised outputs, one for each shared draw; arguments as ``sample_window``.

        Arguments:
            known: Context of the window.
            shared: Draws of what its pool shares.
            generator: Source of randomness.
        """
        noise = torch.randn(len(shared), self.outputs, generator=generator)
        left = invert_flow(self.window_flow, known.window, noise, shared)
        errors = (shared * self.shared_sd + self.shared_mean)[:, : self.outputs]
        return self.stretched(known.centre + errors + known.scale * left, self.window_spread, known.size)

    def stretched(
        self, draws: Float[Tensor, "n K"], spread: Float[Tensor, "..."], size: Float[Tensor, ""]
    ) -> Float[Tensor, "n K"]:
        r"""Draws of a pool, moved as told.

        Arguments:
            draws: Draws of several quantities.
            spread: The factors, ``shared_spread`` or ``window_spread``.
            size: Logarithm of the number of windows of the pool.
        """
        if len(spread) == len(QUANTILES):
            return stretch(draws, spread, size)
        most = math.log(self.config.most)
        return stretch_evenly(draws, spread, (size / most).clamp(max=1.0))


@torch.no_grad()
def pool_contexts(
    npe: PooledNPE,
    unit: Float[Tensor, "W inputs"],
    time_s: Float[np.ndarray, " W"],
    *,
    causal: bool,
    states: Int[np.ndarray, " W"] | None = None,
    counted: Bool[np.ndarray, " W"] | None = None,
) -> PoolContext:
    r"""What a pool says of each of its windows; where it is causal, each is told by those up to it.

    Arguments:
        npe: The estimator.
        unit: Vectors of the pool's windows, in order of time.
        time_s: Start of every window [s].
        causal: Whether a window's pool ends with itself.
        states: Number of the sensor's state in every window; one for all where None.
        counted: Whether a window counts in the pool, the first among them; all do where None.

    Example:
        >>> npe = PooledNPE(3, PoolingConfig(inputs=8, features=4, hidden=8, transforms=2))
        >>> pool_contexts(npe, torch.randn(5, 8), 8.0 * np.arange(5), causal=True).centre.shape
        torch.Size([5, 3])
    """
    features = npe.features(unit).numpy()
    averages, counts = pool_averages(features, time_s, causal=causal, states=states, counted=counted)
    own = np.asarray(time_s) if counted is None else np.asarray(time_s)[counted]
    ends = own[np.searchsorted(own, time_s, side="right") - 1] if causal else np.full(len(time_s), own[-1])
    span_s = torch.from_numpy((ends - own[0]).astype(np.float32))
    return npe.context(unit, torch.from_numpy(averages), torch.from_numpy(counts), span_s)
