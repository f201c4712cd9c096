r"""Neural posterior estimation: an unconstrained coupling spline flow given an embedding of the window.

With $z$ the unconstrained coordinates of the outputs (see
[`ParameterSpace`][pulsebayes.simulators.parameters.ParameterSpace]), standardised on the training set, and $h(x)$ the
embedding of a window, the estimator is

$$
q(\theta \mid x) = q_z\!\left(\tfrac{z(\theta) - \mu}{\sigma} \,\middle|\, h(x)\right)
\prod_d \frac{1}{\sigma_d} \left|\frac{dz_d}{d\theta_d}\right|,
$$

trained by minimising $-\mathbb{E} \log q$ over simulations. No draw can leave the outputs' intervals. Windows are
(N, T) for an embedding of one channel and (N, C, T) for one of several, a missing channel being a row of NaN.

References:
    | Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    | The frontier of simulation-based inference (Cranmer et al., 2020), https://arxiv.org/abs/1911.01429
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .adapter import ContextAdapter
from .beat_rate import RateCentring
from .centring import Centring
from .clinical_law import LAW_OUTPUTS
from .embedding import EmbeddingConfig, WaveEmbedding, build_embedding
from .guess_centring import GuessCentring, guess_size
from .harmonics import HarmonicEmbedding
from .level import LevelCentring
from .linear_centring import LinearCentring
from .outputs import OutputSpace
from .sampling import invert_flow, invert_flows

__all__ = ["NPE", "PRESETS", "NPEConfig"]


@dataclass(frozen=True)
class NPEConfig:
    r"""Shape of an estimator.

    Arguments:
        embedding: Shape of the embedding.
        transforms: Number of coupling transforms.
        bins: Bins of each spline.
        hidden: Widths of the network inside each transform.
        mask_seed: Seed of the random split of each pair of transforms.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> NPEConfig(transforms=4).to_json()["transforms"]
        4
    """

    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    transforms: int = 6
    bins: int = 8
    hidden: tuple[int, ...] = (128, 128)
    mask_seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if self.transforms < 1 or self.bins < 2 or not self.hidden or min(self.hidden) < 1:
            raise ValueError(
                f"transforms must be at least 1, bins 2 and hidden widths positive, got {self.transforms}, "
                f"{self.bins}, {self.hidden}"
            )

    def to_json(self) -> dict[str, object]:
        r"""Returns the configuration as a JSON-able dictionary."""
        return {**dataclasses.asdict(self), "embedding": self.embedding.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> NPEConfig:
        r"""Rebuilds the configuration; an unknown key is a TypeError.

        Arguments:
            data: The dictionary.
        """
        fields = dict(data)
        embedding = fields.pop("embedding", {})
        if not isinstance(embedding, Mapping):
            raise TypeError(f"embedding must be a mapping, got {type(embedding).__name__}")
        return cls(embedding=EmbeddingConfig(**embedding), **fields)  # type: ignore[arg-type]


PRESETS: Mapping[str, NPEConfig] = {
    "small": NPEConfig(EmbeddingConfig(stages=(96, 96), hidden=128, context=48), transforms=4, hidden=(64, 64)),
    "base": NPEConfig(),
    "large": NPEConfig(EmbeddingConfig(stages=(160, 256), blocks=(2, 2), hidden=384, context=96), transforms=8),
}
"""Sizes that ``pulsebayes train --preset`` offers."""


class NPE(nn.Module):
    r"""Posterior estimator of the outputs given a window.

    Arguments:
        outputs: Outputs with their intervals.
        config: Shape of the network.

    Example:
        >>> outputs = OutputSpace.from_names(("HR", "SV"))
        >>> npe = NPE(outputs, PRESETS["small"])
        >>> draws = npe.sample(90 + 20 * torch.randn(2, 1000), 5, torch.Generator().manual_seed(0))
        >>> draws.shape, bool(outputs.space.contains(draws).all())
        ((2, 5, 2), True)
    """

    z_mean: Tensor
    z_sd: Tensor

    def __init__(self, outputs: OutputSpace, config: NPEConfig) -> None:
        super().__init__()
        self.outputs = outputs
        self.config = config
        dim = outputs.space.dim
        self.register_buffer("z_mean", torch.zeros(dim))
        self.register_buffer("z_sd", torch.ones(dim))
        self.embedding = build_embedding(config.embedding)
        self.flow = coupling_flow(dim, config, self._centrings())
        if config.embedding.linear or config.embedding.guess:
            _start_at_identity(self.flow)

    def fit_scales(
        self, z: Float[Tensor, "N D"], x: Float[Tensor, "M *window"], z_of_x: Float[Tensor, "M D"] | None = None,
        clean: Iterable[tuple[np.ndarray, np.ndarray]] = (),
    ) -> None:  # fmt: skip
        r"""Standardises the unconstrained outputs and the embedding's inputs on the training set.

        Arguments:
            z: Unconstrained outputs of training rows.
            x: Some training windows.
            z_of_x: Unconstrained outputs of those windows, which a linear embedding and a guess need.
            clean: Blocks of windows without a sensor and their unconstrained outputs, of other rows: what a guess by
                a law fits its emulator to.

        Raises:
            ValueError: If the embedding is linear or guesses and ``z_of_x`` is not given.
        """
        self.z_mean.copy_(z.mean(0))
        self.z_sd.copy_(z.std(0).clamp_min(1e-6))
        self._fit_embedding(x, z_of_x, clean)
        for step in self.flow.transform.transforms:  # type: ignore[union-attr]
            if isinstance(step, Centring):
                step.fit(self.z_mean[step.index], self.z_sd[step.index])
            elif isinstance(step, LinearCentring):
                if z_of_x is None:
                    raise ValueError("a linear embedding is fitted to pairs: give the outputs z_of_x of the windows x")
                with torch.no_grad():
                    seen = self.embedding(x)[:, -self.config.embedding.samples :]
                step.fit((z_of_x - self.z_mean) / self.z_sd, seen)

    def pairs(self, rows: int) -> int:
        r"""Windows with their outputs that `fit_scales` wants of so many training rows.

        Arguments:
            rows: Rows that there are.

        Example:
            >>> NPE(OutputSpace.from_names(("HR", "SV")), PRESETS["small"]).pairs(10000)
            4096
        """
        shape = self.config.embedding
        if shape.law:  # the others are read without a sensor
            return min(8192, rows // 2)
        return min(65536, rows) if shape.linear or shape.guess else 4096

    def _fit_embedding(self, x: Tensor, z_of_x: Tensor | None, clean: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        embedding = self.embedding
        if not isinstance(embedding, HarmonicEmbedding) or not embedding.config.guess:
            embedding.fit(x)
            return
        if z_of_x is None:
            raise ValueError("a guess is fitted to pairs: give the outputs z_of_x of the windows x")
        mean, sd = self.z_mean, self.z_sd
        blocks = (((torch.from_numpy(z) - mean) / sd, torch.from_numpy(own)) for own, z in clean)
        embedding.fit_guess(x, (z_of_x - mean) / sd, mean, sd, blocks)
        where = slice(-1 - guess_size(embedding.config.guess), -1)
        for step in self.flow.transform.transforms:  # type: ignore[union-attr]
            if isinstance(step, GuessCentring):
                guess = embedding.guess
                step.fit(guess.place, guess.rotation, embedding.shift[where], embedding.scale[where], guess.law)

    def take_over(self, one: NPE) -> None:
        r"""Takes over an estimator of one pressure, so that the first of several channels alone is answered as there.

        Arguments:
            one: An estimator of the same outputs and sizes, of one channel.

        Raises:
            ValueError: If outputs or sizes differ, or this is no estimator of several channels.

        Example:
            >>> outputs = OutputSpace.from_names(("HR", "SV"))
            >>> NPE(outputs, PRESETS["small"]).take_over(NPE(outputs, PRESETS["small"]))
            Traceback (most recent call last):
            ...
            ValueError: only an estimator of several channels takes over one of a single channel
        """
        from .channels import ChannelEmbedding

        if not isinstance(self.embedding, ChannelEmbedding) or not isinstance(one.embedding, WaveEmbedding):
            raise ValueError("only an estimator of several channels takes over one of a single channel")
        same = [dataclasses.replace(npe.config, embedding=EmbeddingConfig()) for npe in (self, one)]
        if self.outputs != one.outputs or same[0] != same[1]:
            raise ValueError(
                "one must have the same outputs and the same flow, got others: take its preset and outputs"
            )
        self.embedding.take_over(one.embedding)
        self.flow.load_state_dict(one.flow.state_dict())
        self.z_mean.copy_(one.z_mean)
        self.z_sd.copy_(one.z_sd)

    def with_adapter(self, hidden: int, x: Float[Tensor, "M *window"]) -> NPE:
        r"""The same estimator with a fresh adapter, which changes nothing yet.

        Arguments:
            hidden: Width of the adapter's hidden layers.
            x: Some windows of the simulator that it is for, which set its scales.

        Example:
            >>> npe = NPE(OutputSpace.from_names(("HR", "SV")), PRESETS["small"])
            >>> npe.with_adapter(16, 90 + 20 * torch.randn(8, 1000)).config.embedding.adapter
            16
        """
        plain = self.without_adapter()
        npe = plain._shaped(hidden)
        adapter = cast(ContextAdapter, npe.embedding.adapter)
        own = {name: value for name, value in npe.state_dict().items() if name.startswith(_ADAPTER)}
        npe.load_state_dict({**plain.state_dict(), **own})
        with torch.no_grad():
            adapter.fit(torch.cat([plain.embedding(x[i : i + 512]) for i in range(0, len(x), 512)]))
        return npe

    def without_adapter(self) -> NPE:
        r"""The estimator of the fast simulator: itself where it has no adapter.

        Example:
            >>> npe = NPE(OutputSpace.from_names(("HR", "SV")), PRESETS["small"])
            >>> npe.without_adapter() is npe
            True
        """
        if not self.config.embedding.adapter:
            return self
        npe = self._shaped(0)
        npe.load_state_dict({k: v for k, v in self.state_dict().items() if not k.startswith(_ADAPTER)})
        return npe

    def fast_context(self, x: Float[Tensor, "N *window"], low_precision: bool = False) -> Float[Tensor, "N context"]:
        r"""Contexts of windows of the fast simulator, which an adapter is not for.

        Arguments:
            x: Windows.
            low_precision: Whether the convolutions run in bfloat16.

        Example:
            >>> npe, x = NPE(OutputSpace.from_names(("HR", "SV")), PRESETS["small"]), 90 + 20 * torch.randn(2, 1000)
            >>> torch.equal(npe.fast_context(x), npe.embedding(x))
            True
        """
        if not self.config.embedding.adapter:
            return self.embedding(x, low_precision)  # type: ignore[no-any-return]
        return self.embedding(x, low_precision, adapted=False)  # type: ignore[no-any-return]

    def _shaped(self, adapter: int) -> NPE:
        """A fresh estimator that differs in the width of its adapter."""
        shape = dataclasses.replace(self.config.embedding, adapter=adapter)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            npe = NPE(self.outputs, dataclasses.replace(self.config, embedding=shape))
        return npe.to(self.z_mean.device).train(self.training)

    def _centrings(self) -> list[nn.Module]:
        """First steps of the flow, that measure outputs from what is computed from the window."""
        names, space, shape = self.outputs.names, self.outputs.space, self.config.embedding
        if shape.linear:
            return [LinearCentring(space.dim, shape.samples)]
        if shape.guess and shape.guess != space.dim:
            raise ValueError(f"guess must be the number of outputs, {space.dim}, got {shape.guess}")
        if shape.guess:
            if shape.law and names != LAW_OUTPUTS:
                raise ValueError(f"law 'clinical' is of the outputs {LAW_OUTPUTS}, got {names}")
            return [GuessCentring(space.dim, bool(shape.law))]
        steps: list[nn.Module] = []
        if shape.rate and "HR" in names:
            i = names.index("HR")
            steps.append(RateCentring(i, float(space.low[i]), float(space.high[i])))
        if shape.level and "MAP" in names:
            i = names.index("MAP")
            steps.append(LevelCentring(i, float(space.low[i]), float(space.high[i]), shape.context - 2))
        return steps

    def loss(
        self,
        z: Float[Tensor, "N D"],
        x: Float[Tensor, "N *window"],
        *,
        low_precision: bool = False,
        sets: Bool[Tensor, "S N C"] | None = None,
    ) -> Float[Tensor, ""]:
        r"""Mean negative log density of standardised unconstrained outputs, in nats a window.

        Arguments:
            z: Unconstrained outputs.
            x: Windows.
            low_precision: Whether the convolutions run in bfloat16.
            sets: Sets of channels with each of which every window is looked at; of several channels only, None for
                those given alone.
        """
        if sets is None:
            context = self.embedding(x, low_precision)
        else:
            context, z = self.embedding(x, low_precision, sets), z.repeat(len(sets), 1)
        return -self.flow(context).log_prob((z - self.z_mean) / self.z_sd).mean()  # type: ignore[no-any-return]

    @torch.no_grad()
    def log_prob(self, theta: Float[np.ndarray, "N D"], x: Float[Tensor, "M *window"]) -> Float[np.ndarray, " N"]:
        r"""Log density of outputs given windows.

        Arguments:
            theta: Outputs, each in its unit.
            x: Windows, or one that all outputs belong to.

        Returns:
            Log density with respect to ``theta``; minus infinity outside the intervals.
        """
        theta = np.asarray(theta, dtype=np.float64)
        space = self.outputs.space
        inside = space.contains(theta)
        z = space.unconstrain(np.where(inside[:, None], theta, 0.5 * (space.low + space.high)))
        unit = (torch.from_numpy(z).float() - self.z_mean.cpu()) / self.z_sd.cpu()
        context = self.embedding(x).expand(len(theta), -1)
        log_q = self.flow(context).log_prob(unit.to(x.device)).double().cpu().numpy()
        log_q = log_q - float(self.z_sd.double().log().sum()) - space.log_abs_det_jacobian(z)
        return np.where(inside, log_q, -np.inf)

    @torch.no_grad()
    def sample(self, x: Float[Tensor, "W *window"], n: int, generator: torch.Generator) -> Float[np.ndarray, "W n D"]:
        r"""Draws outputs given windows, one window at a time.

        Arguments:
            x: Windows.
            n: Number of draws a window.
            generator: Source of randomness.

        Returns:
            Draws, each column in its unit, strictly inside the intervals.
        """
        context = self.embedding(x)
        space = self.outputs.space
        draws = np.empty((len(x), n, space.dim), dtype=np.float32)
        for w, c in enumerate(context):
            noise = torch.randn(n, space.dim, generator=generator, device=generator.device).to(x.device)
            z = invert_flow(self.flow, c, noise) * self.z_sd + self.z_mean
            draws[w] = space.constrain(z.double().cpu().numpy())
        return draws

    @torch.no_grad()
    def sample_together(
        self, x: Float[Tensor, "W *window"], n: int, generator: torch.Generator, *, at_once: int = 16
    ) -> Float[np.ndarray, "W n D"]:
        r"""Draws what `sample` draws, to rounding, of several windows at a time: three times faster for few draws.

        Arguments:
            x: Windows.
            n: Number of draws a window.
            generator: Source of randomness.
            at_once: Windows at a time.
        """
        context, dim = self.embedding(x), self.outputs.space.dim
        parts = []
        for own in context.split(at_once):
            noise = [torch.randn(n, dim, generator=generator, device=generator.device).to(x.device) for _ in own]
            parts.append(invert_flows(self.flow, own, torch.stack(noise)) * self.z_sd + self.z_mean)
        return self.outputs.space.constrain(torch.cat(parts).double().cpu().numpy()).astype(np.float32)


_ADAPTER = "embedding.adapter."


def _start_at_identity(flow: nn.Module) -> None:
    """Zeroes the last layer of each transform's network: the first guess is the linear one alone."""
    for transform in flow.transform.transforms:  # type: ignore[union-attr]
        if hasattr(transform, "hyper"):
            last = [layer for layer in transform.hyper if hasattr(layer, "weight")][-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)


def coupling_flow(dim: int, config: NPEConfig, first: Sequence[nn.Module] = ()) -> nn.Module:
    """Coupling spline flow whose pairs of transforms use a random half and its complement, after first steps."""
    import zuko
    from zuko.flows.coupling import GeneralCouplingTransform
    from zuko.transforms import MonotonicRQSTransform

    generator = torch.Generator().manual_seed(config.mask_seed)
    shapes = [(config.bins,), (config.bins,), (config.bins - 1,)]
    transforms: list[nn.Module] = [*first]
    mask = torch.zeros(dim, dtype=torch.bool)
    for i in range(config.transforms):
        if i % 2 == 0:
            mask = torch.zeros(dim, dtype=torch.bool)
            mask[torch.randperm(dim, generator=generator)[: dim // 2]] = True
        else:
            mask = ~mask
        transforms.append(
            GeneralCouplingTransform(
                dim,
                config.embedding.context,
                mask=mask,
                univariate=MonotonicRQSTransform,
                shapes=shapes,
                hidden_features=config.hidden,
            )
        )
    base = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(dim), torch.ones(dim), buffer=True
    )
    return zuko.lazy.Flow(transforms, base)  # type: ignore[no-any-return]
