r"""Embeddings: from a window of samples to a short context vector for the flow.

[`WaveEmbedding`][pulsebayes.inference.embedding.WaveEmbedding] is a residual strided convolution over the pressure
window, pooled over time by attention and by the mean, joined with summaries that are computed and not
learned (moments, quantiles, the low part of the spectrum, the autocorrelation at heart-beat lags): mean pressure and
heart rate then need no capacity. Convolutions may run in bfloat16; the summaries and everything after the pooling run
in float32. [`DenseEmbedding`][pulsebayes.inference.embedding.DenseEmbedding] is for short observations.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from .adapter import ContextAdapter
from .beat_rate import beat_rate, coordinate_of, counted_rate
from .guess_centring import guess_size
from .harmonics import HarmonicEmbedding
from .level import level_coordinate
from .linear_centring import clipped

if TYPE_CHECKING:
    from .channels import ChannelEmbedding

__all__ = [
    "ChannelScale",
    "DenseEmbedding",
    "EmbeddingConfig",
    "WaveEmbedding",
    "build_adapter",
    "build_embedding",
    "summaries",
]


@dataclass(frozen=True)
class ChannelScale:
    r"""How one of several channels is scaled before it is embedded.

    Arguments:
        name: Name of the channel.
        relative: Whether it has no unit: every window is scaled by itself to mean 0 and standard deviation 1.
        centre: Value that is mapped to zero otherwise, in the channel's unit.
        spread: Difference that is mapped to one.

    Raises:
        ValueError: If the name is empty or the spread is not positive.

    Example:
        >>> ChannelScale("PLETH", relative=True).centre
        90.0
    """

    name: str
    relative: bool = False
    centre: float = 90.0
    spread: float = 25.0

    def __post_init__(self) -> None:
        if not self.name or not self.spread > 0:
            raise ValueError(f"a channel needs a name and a positive spread, got {self.name!r} and {self.spread}")


@dataclass(frozen=True)
class EmbeddingConfig:
    r"""Shape of an embedding.

    Arguments:
        kind: ``"wave"`` for pressure windows, ``"channels"`` for several channels of which any may be missing,
            ``"harmonic"`` for steady beats, ``"dense"`` for short observations.
        samples: Length T of a window.
        centre: Pressure that is mapped to zero [mmHg].
        spread: Pressure difference that is mapped to one [mmHg].
        fs: Sampling rate [Hz], for the lags of the autocorrelation.
        stem: Channels after the first convolution.
        kernel: Length of the first convolution [samples].
        stride: Stride of the first convolution [samples].
        stages: Channels of each following stage; each halves the time axis.
        blocks: Residual blocks of each stage.
        heads: Heads of the attention pooling, beside the mean over time.
        hidden: Width of the layers after the pooling.
        context: Length of the context vector.
        relative: Whether the wave has no unit: every window is scaled by itself to mean ``centre`` and standard
            deviation ``spread``; ``"wave"`` only.
        rate: Whether the last coordinate of the context is the beat rate computed from the window, and whether it is
            that of the repetition (True, see [`beat_rate`][pulsebayes.inference.beat_rate.beat_rate]) or of the beats
            (``"counted"``); of several channels it is that of the one that repeats itself most clearly, or, with
            ``"agreed"``, the mean of the counts that agree with the clearest, a channel with a unit before one without;
            not with ``"harmonic"`` and ``"dense"``.
        level: Whether the coordinate before it is the window's mean pressure, of several channels that of the first;
            with a rate only.
        channels: The channels in their order, at least two; ``"channels"`` only.
        amount: Whether the channels' joined vector also tells how much they weigh together, as precisions of
            independent measurements add up; ``"channels"`` only.
        own_lags: Whether each channel's summaries hold its slope's correlation with itself, and that with the mean
            channel, over which a second channel that is late lies, as a difference from it; ``"channels"`` only.
        linear: Whether the last part of the context is the observation itself, standardised, and outputs are measured
            from their linear guess, see [`LinearCentring`][pulsebayes.inference.linear_centring.LinearCentring];
            ``"dense"`` only.
        harmonics: Harmonics that are read, below the number of samples; ``"harmonic"`` only.
        guess: Number of outputs, all of which are measured from a computed guess that the context ends in, see
            [`HarmonicGuess`][pulsebayes.inference.harmonic_guess.HarmonicGuess]; ``"harmonic"`` only; 0 for none.
        law: ``"clinical"``: the guess reads what deviations of the clinical population stand for, see
            [`ClinicalLaw`][pulsebayes.inference.clinical_law.ClinicalLaw], and its emulator is fitted to windows
            without a sensor; empty for neither.
        adapter: Hidden width of what corrects contexts for a better simulator, see
            [`ContextAdapter`][pulsebayes.inference.adapter.ContextAdapter]; 0 for none; not with
            ``"harmonic"`` and ``linear``.

    Raises:
        ValueError: If a size is not positive or stages and blocks differ in length.

    Example:
        >>> EmbeddingConfig(stages=(96, 128), blocks=(1, 1)).context
        64
    """

    kind: Literal["wave", "channels", "harmonic", "dense"] = "wave"
    samples: int = 1000
    centre: float = 90.0
    spread: float = 25.0
    fs: float = 125.0
    stem: int = 64
    kernel: int = 16
    stride: int = 8
    stages: tuple[int, ...] = (128, 192)
    blocks: tuple[int, ...] = (1, 1)
    heads: int = 6
    hidden: int = 256
    context: int = 64
    relative: bool = False
    rate: bool | Literal["counted", "agreed"] = False
    level: bool = False
    channels: tuple[ChannelScale, ...] = ()
    amount: bool = False
    own_lags: bool = False
    linear: bool = False
    harmonics: int = 12
    guess: int = 0
    law: Literal["", "clinical"] = ""
    adapter: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        scales = tuple(c if isinstance(c, ChannelScale) else ChannelScale(**c) for c in self.channels)
        object.__setattr__(self, "channels", scales)
        self._check_channels()
        sizes = dataclasses.asdict(self)
        for name in ("samples", "spread", "fs", "stem", "kernel", "stride", "heads", "hidden", "context"):
            if not sizes[name] > 0:
                raise ValueError(f"{name} must be positive, got {sizes[name]}")
        if self.kind not in ("wave", "channels", "harmonic", "dense"):
            raise ValueError(f"kind must be 'wave', 'channels', 'harmonic' or 'dense', got {self.kind!r}")
        if not 2 <= self.harmonics < self.samples // 2 and self.kind == "harmonic":
            raise ValueError(f"harmonics must be at least 2 and below half the samples, got {self.harmonics}")
        if self.relative and self.kind != "wave":
            raise ValueError(f"relative is for kind 'wave', got {self.kind!r}")
        self._check_computed()
        if self.linear and (self.kind != "dense" or self.context <= self.samples):
            raise ValueError(
                f"linear is for kind 'dense' and needs a context longer than the {self.samples} samples, got "
                f"{self.kind!r} and {self.context}"
            )
        self._check_guess()
        if not self.stages or len(self.stages) != len(self.blocks):
            raise ValueError(f"stages and blocks must have the same length, got {self.stages} and {self.blocks}")

    def _check_guess(self) -> None:
        if self.law not in ("", "clinical") or (self.law and not self.guess):
            raise ValueError(f"law must be 'clinical' or none and goes with a guess, got {self.law!r}")
        if not self.guess:
            return
        least = guess_size(self.guess) + 1 if self.guess >= 2 else 0
        if self.kind != "harmonic" or self.guess < 2 or self.context < least:
            raise ValueError(
                f"guess is for kind 'harmonic', at least 2 outputs and a context of at least {least}, got "
                f"{self.kind!r}, {self.guess} and {self.context}"
            )

    @property
    def computed(self) -> int:
        r"""Coordinates of the context that are computed from the window."""
        return int(bool(self.rate)) + int(self.level)

    def _check_computed(self) -> None:
        if self.rate not in (False, True, "counted", "agreed") or (self.rate == "agreed" and self.kind != "channels"):
            raise ValueError(f"rate must be true, false, 'counted' or, of channels, 'agreed', got {self.rate!r}")
        if self.rate and self.kind not in ("wave", "channels"):
            raise ValueError(f"relative and rate are for waves, rate of kinds 'wave' and 'channels', got {self.kind!r}")
        relative = self.channels[0].relative if self.channels else self.relative
        if self.level and (relative or not self.rate):
            raise ValueError("level is for waves that have a unit and goes with a rate: set rate, unset relative")
        if self.adapter < 0 or (self.adapter and (self.kind == "harmonic" or self.linear)):
            raise ValueError(
                f"adapter is a width, not of kind 'harmonic' or a linear one, got {self.adapter} for {self.kind!r}"
            )
        if self.context <= self.computed:
            raise ValueError(f"context must exceed its {self.computed} computed coordinates, got {self.context}")

    def _check_channels(self) -> None:
        names = [channel.name for channel in self.channels]
        if (len(names) >= 2) != (self.kind == "channels") or len(set(names)) < len(names):
            raise ValueError(
                f"kind 'channels' takes two channels or more, each name once, and other kinds none, got {names} for "
                f"{self.kind!r}"
            )
        for name in ("amount", "own_lags"):
            if getattr(self, name) and self.kind != "channels":
                raise ValueError(f"{name} is for kind 'channels', got {self.kind!r}")

    def to_json(self) -> dict[str, Any]:
        r"""Returns the configuration as a JSON-able dictionary; what only some embeddings use, where used."""
        fields = dataclasses.asdict(self)
        for name in ("channels", "amount", "own_lags", "linear", "guess", "law", "adapter"):
            if not fields[name]:
                del fields[name]
        if self.harmonics == EmbeddingConfig.harmonics:
            del fields["harmonics"]
        return fields


def summaries(x: Float[Tensor, "N T"], fs: float) -> Float[Tensor, "N S"]:
    r"""Computes what needs no learning: moments, quantiles, low spectrum and autocorrelation.

    Arguments:
        x: Windows [mmHg].
        fs: Sampling rate [Hz].

    Returns:
        Mean, standard deviation and nine quantiles [mmHg], the log power of the lines to 12 Hz, and the
        autocorrelation at lags from .25 to 2 s in steps of about 30 ms.

    Example:
        >>> summaries(torch.randn(2, 1000), 125.0).shape[0]
        2
    """
    length = x.shape[-1]
    mean = x.mean(-1, keepdim=True)
    centred = x - mean
    sd = centred.square().mean(-1, keepdim=True).sqrt()
    ranked = x[:, ::4].sort(-1).values
    at = torch.tensor([0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0], device=x.device) * (ranked.shape[-1] - 1)
    quantiles = ranked[:, at.round().long()]
    unit = centred / (sd + 1e-3)
    taper = torch.hann_window(length, periodic=True, device=x.device)
    lines = torch.fft.rfft(unit * taper)[:, 1 : 1 + int(12.0 * length / fs)].abs()
    power = torch.fft.rfft(unit, n=2 * length).abs().square()
    first, last, step = int(0.25 * fs), min(int(2.0 * fs), length - 1), max(1, round(0.03 * fs))
    correlation = torch.fft.irfft(power)[:, first : last + 1 : step] / length
    return torch.cat((mean, sd, quantiles, torch.log1p(lines), correlation), -1)


def build_adapter(config: EmbeddingConfig) -> ContextAdapter | None:
    r"""What corrects contexts of that shape; None for none.

    Arguments:
        config: Shape of the embedding.

    Example:
        >>> build_adapter(EmbeddingConfig()) is None
        True
    """
    return ContextAdapter(config.context, config.adapter, config.computed) if config.adapter else None


class _Block(nn.Module):
    """Residual pair of convolutions that starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.second = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor) -> Tensor:
        step: Tensor = self.second(F.relu(self.first(F.relu(h))))
        return h + step


class WaveEmbedding(nn.Module):
    r"""Residual convolution with attention pooling over a pressure window, joined with computed summaries.

    Arguments:
        config: Its shape.

    Example:
        >>> embedding = WaveEmbedding(EmbeddingConfig(stages=(32,), blocks=(1,)))
        >>> embedding(90 + 20 * torch.randn(3, 1000)).shape
        torch.Size([3, 64])
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, config: EmbeddingConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [
            nn.Conv2d(2, config.stem, (1, config.kernel), stride=(1, config.stride), padding=(0, config.kernel // 2))
        ]
        width = config.stem
        for channels, blocks in zip(config.stages, config.blocks, strict=True):
            layers += [nn.ReLU(), nn.Conv2d(width, channels, (1, 5), stride=(1, 2), padding=(0, 2))]
            layers += [_Block(channels) for _ in range(blocks)]
            width = channels
        self.body = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.score = nn.Linear(width, config.heads)
        n_summaries = summaries(torch.zeros(1, config.samples), config.fs).shape[-1]
        self.register_buffer("shift", torch.zeros(n_summaries))
        self.register_buffer("scale", torch.ones(n_summaries))
        self.head = nn.Sequential(
            nn.LayerNorm((config.heads + 1) * width),
            nn.Linear((config.heads + 1) * width, config.hidden),
        )
        self.summary = nn.Linear(n_summaries, config.hidden)
        self.tail = nn.Sequential(
            nn.SiLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, config.context - config.computed),
        )
        self.adapter = build_adapter(config)

    def fit(self, x: Float[Tensor, "N T"]) -> None:
        r"""Sets the centre and spread of the summaries from a first batch.

        Arguments:
            x: Windows [mmHg].
        """
        values = summaries(self._scaled(x), self.config.fs)
        self.shift.copy_(values.mean(0))
        self.scale.copy_(values.std(0).clamp_min(1e-3))

    def forward(
        self, x: Float[Tensor, "N T"], low_precision: bool = False, *, adapted: bool = True
    ) -> Float[Tensor, "N context"]:
        r"""Embeds windows.

        Arguments:
            x: Windows [mmHg], T samples each.
            low_precision: Whether the convolutions run in bfloat16.
            adapted: Whether an adapter is used; not for waves of the fast simulator.

        Raises:
            ValueError: If the windows have another length.
        """
        if x.ndim != 2 or x.shape[-1] != self.config.samples:
            raise ValueError(f"x must have shape (N, {self.config.samples}), got {tuple(x.shape)}")
        x = self._scaled(x)
        absolute = (x - self.config.centre) / self.config.spread
        mean, sd = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        planes = torch.stack((absolute, (x - mean) / (sd + 1e-3)), 1)[:, :, None]
        with torch.autocast(x.device.type, torch.bfloat16, enabled=low_precision):
            h = F.relu(self.body(planes.contiguous(memory_format=torch.channels_last)))
            pooled = self._pool(h[:, :, 0].transpose(1, 2))  # (N, time, channel), contiguous in this order
        known = ((summaries(x, self.config.fs) - self.shift) / self.scale).clamp(-6.0, 6.0)
        context = self.tail(self.head(pooled.float()) + self.summary(known))
        context = torch.cat((context, *self._computed(x)), -1)
        return self.adapter(context) if self.adapter is not None and adapted else context

    def _computed(self, x: Float[Tensor, "N T"]) -> list[Float[Tensor, "N 1"]]:
        """The last coordinates of the context: mean pressure, beat rate."""
        if not self.config.rate:
            return []
        rate = (counted_rate if self.config.rate == "counted" else beat_rate)(x, self.config.fs)
        level = [level_coordinate(x, rate, self.config.fs)] if self.config.level else []
        return [*level, coordinate_of(rate[:, None])]

    def _scaled(self, x: Float[Tensor, "N T"]) -> Float[Tensor, "N T"]:
        if not self.config.relative:
            return x
        sd, mean = torch.std_mean(x, -1, keepdim=True)
        return self.config.centre + self.config.spread * (x - mean) / sd.clamp_min(1e-12)

    def _pool(self, h: Float[Tensor, "N time channel"]) -> Float[Tensor, "N pooled"]:
        weights = self.score(h).float().softmax(1)
        weights = torch.cat((weights, torch.full_like(weights[..., :1], 1.0 / h.shape[1])), -1).to(h.dtype)
        return torch.bmm(weights.transpose(1, 2), h).flatten(1)


class DenseEmbedding(nn.Module):
    r"""Dense network over a short, standardised observation.

    Arguments:
        config: Its shape; ``samples``, ``hidden``, ``context`` and ``linear`` are used.

    Example:
        >>> DenseEmbedding(EmbeddingConfig(kind="dense", samples=20))(torch.randn(3, 20)).shape
        torch.Size([3, 64])
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, config: EmbeddingConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("shift", torch.zeros(config.samples))
        self.register_buffer("scale", torch.ones(config.samples))
        self.net = nn.Sequential(
            nn.Linear(config.samples, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, config.context - config.linear * config.samples),
        )
        self.adapter = build_adapter(config)

    def fit(self, x: Float[Tensor, "N T"]) -> None:
        r"""Sets centre and spread of the samples from a first batch.

        Arguments:
            x: Observations.
        """
        self.shift.copy_(x.mean(0))
        self.scale.copy_(x.std(0).clamp_min(1e-6))

    def forward(
        self, x: Float[Tensor, "N T"], low_precision: bool = False, *, adapted: bool = True
    ) -> Float[Tensor, "N context"]:
        r"""Embeds observations.

        Arguments:
            x: Observations, T samples each.
            low_precision: Not used: a dense embedding is always float32.
            adapted: Whether an adapter is used; not for observations of the fast simulator.

        Raises:
            ValueError: If the observations have another length.
        """
        if x.ndim != 2 or x.shape[-1] != self.config.samples:
            raise ValueError(f"x must have shape (N, {self.config.samples}), got {tuple(x.shape)}")
        unit = (x - self.shift) / self.scale
        learned: Float[Tensor, "N context"] = self.net(unit)
        if self.config.linear:
            return torch.cat((learned, clipped(unit)), -1)
        if self.adapter is not None and adapted:
            learned = self.adapter(learned)
        return learned


def build_embedding(
    config: EmbeddingConfig,
) -> WaveEmbedding | ChannelEmbedding | HarmonicEmbedding | DenseEmbedding:
    r"""Builds the embedding that a configuration names.

    Arguments:
        config: Its shape.

    Example:
        >>> type(build_embedding(EmbeddingConfig(kind="dense", samples=10))).__name__
        'DenseEmbedding'
    """
    if config.kind == "channels":
        from .channels import ChannelEmbedding

        return ChannelEmbedding(config)
    if config.kind == "harmonic":
        return HarmonicEmbedding(config)
    return WaveEmbedding(config) if config.kind == "wave" else DenseEmbedding(config)
