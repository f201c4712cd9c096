r"""Embedding of several channels of which any may be missing.

Every channel that is given goes through one convolution, shared by all and told by a learnt code which channel it sees;
with summaries that are computed and not learned it becomes a token $h_c$. The tokens are joined coordinate by
coordinate by attention over the channels that are given,

$$ m_i = \sum_{c \in G} \frac{e^{s_i(h_c)}}{\sum_{c' \in G} e^{s_i(h_{c'})}} \, v_i(h_c) , $$

the mean over $G$ as it starts, so that each coordinate can listen to the channel that knows it. Independent Gaussian
measurements are joined so, $e^{s_i}$ being their precisions; these add up, and with ``amount`` the logarithm of the
sum, $\ln \sum_{c \in G} e^{s_i(h_c)}$, is passed on beside the mean, for the width of a posterior to follow. A code of
the set $G$ itself is added. A missing channel, a row that holds a NaN, is neither computed nor looked at. The cost
grows with the channels given, the number of weights hardly with the number of channels.

The beat rate that centres the heart rate (see `beat_rate`) is that of the channel which repeats itself most clearly,
or the mean of the counts which agree with it, where a channel without a unit must be clearer by `_DOUBT`: beats are
counted worse on a clip, and a clip that is now and then chosen before a pressure makes two channels tell less than one.
The mean that centres the mean pressure (see `level`) is the first channel's, and unknown where that is not given.

A channel without a unit is scaled by itself. How channels lie in time against each other is told by the correlation of
each one's slope with that of the mean channel, as far as their clocks agree. In that a second channel which is late
lies over what the first one's slope tells of itself (a clip at the ankle over a carotid's ejection time); with
``own_lags`` each slope's correlation with itself is told, and the other's difference from it, nothing where a channel
is alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from .beat_rate import coordinate_of, counted_rate, rate_and_repetition
from .embedding import EmbeddingConfig, WaveEmbedding, _Block, build_adapter, summaries
from .level import UNKNOWN, level_coordinate

__all__ = ["ChannelEmbedding"]

_REACH_S, _STEP_S = 0.25, 0.016
"""Lags at which slopes are correlated, either way, and the step between them [s]."""
_DOUBT = 0.2
"""By how much clearer a channel without a unit must repeat itself than one with, for its rate to be believed."""
_AGREED = 0.015
"""Difference of logarithms below which a channel's rate agrees with the one that is believed."""


@dataclass(frozen=True)
class _Own:
    """What waves tell, each by itself and without learning."""

    waves: Float[Tensor, "K T"]
    summaries: Float[Tensor, "K S"]
    lines: Tensor
    rate: Float[Tensor, " K"]
    clarity: Float[Tensor, " K"]

    def rows(self, at: Int[Tensor, " L"]) -> _Own:
        return _Own(*(getattr(self, field.name)[at] for field in fields(self)))


class ChannelEmbedding(nn.Module):
    r"""Embeds windows of several channels, as far as they are given.

    Arguments:
        config: Its shape; ``channels`` are the channels in their order.

    Example:
        >>> from pulsebayes.inference.embedding import ChannelScale
        >>> channels = (ChannelScale("ART"), ChannelScale("PLETH", relative=True))
        >>> embedding = ChannelEmbedding(EmbeddingConfig("channels", stages=(32,), blocks=(1,), channels=channels))
        >>> windows = 90 + 20 * torch.randn(3, 2, 1000)
        >>> windows[0, 1] = torch.nan
        >>> embedding(windows).shape
        torch.Size([3, 64])
    """

    shift: Tensor
    scale: Tensor
    centre: Tensor
    spread: Tensor
    relative: Tensor

    def __init__(self, config: EmbeddingConfig) -> None:
        super().__init__()
        self.config = config
        self._lay_scales(config)
        self._lay_trunk(config)
        n, width = len(config.channels), config.stages[-1]
        pooled = (config.heads + 1) * width
        self.score = nn.Linear(width, config.heads)
        self.norm = nn.LayerNorm(pooled, elementwise_affine=False)
        self.gains = nn.Parameter(torch.ones(n, pooled))
        self.head = nn.Linear(pooled, config.hidden)
        self.code = nn.Parameter(0.02 * torch.randn(n, config.hidden))
        self.known = nn.ModuleList(nn.Linear(self.shift.shape[-1], config.hidden) for _ in range(n))
        self.value = nn.Linear(config.hidden, config.hidden)
        self.weight = nn.Linear(config.hidden, config.hidden)
        self.given = nn.Linear(n, config.hidden)
        self.middle = nn.Sequential(nn.SiLU(), nn.Linear(config.hidden, config.hidden), nn.SiLU())
        self.change = nn.Linear(config.hidden, config.hidden)
        self.last = nn.Linear(config.hidden, config.context - config.computed)
        self.amount = nn.Linear(config.hidden, config.hidden, bias=False) if config.amount else None
        self.adapter = build_adapter(config)
        quiet = [self.weight, self.given, self.change, *([self.amount] if self.amount else [])]
        for layer in quiet:  # the mean of the channels, passed on, as it starts
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def _lay_scales(self, config: EmbeddingConfig) -> None:
        n = len(config.channels)
        for name, values in (
            ("centre", [0.0 if c.relative else c.centre for c in config.channels]),
            ("spread", [1.0 if c.relative else c.spread for c in config.channels]),
            ("relative", [float(c.relative) for c in config.channels]),
        ):
            self.register_buffer(name, torch.tensor(values), persistent=False)
        size = summaries(torch.zeros(1, config.samples), config.fs).shape[-1] + len(self._lags())
        size += len(self._late_lags()) if config.own_lags else 0
        self.register_buffer("shift", torch.zeros(n, size))
        self.register_buffer("scale", torch.ones(n, size))

    def _lay_trunk(self, config: EmbeddingConfig) -> None:
        """The convolution, and for each of its levels a code of every channel."""
        n, width = len(config.channels), config.stem
        levels: list[nn.Module] = [
            nn.Conv2d(2, config.stem, (1, config.kernel), stride=(1, config.stride), padding=(0, config.kernel // 2))
        ]
        widths = [config.stem, *config.stages]
        blocks: list[nn.Module] = [nn.Identity()]
        for channels, count in zip(config.stages, config.blocks, strict=True):
            levels.append(nn.Conv2d(width, channels, (1, 5), stride=(1, 2), padding=(0, 2)))
            blocks.append(nn.Sequential(*(_Block(channels) for _ in range(count))))
            width = channels
        layout = {"memory_format": torch.channels_last}
        self.levels = nn.ModuleList(levels).to(**layout)  # type: ignore[call-overload]
        self.blocks = nn.ModuleList(blocks).to(**layout)  # type: ignore[call-overload]
        self.codes = nn.ParameterList(torch.zeros(n, w) for w in widths)

    def fit(self, x: Float[Tensor, "N C T"]) -> None:
        r"""Sets the centre and spread of every channel's summaries from a first batch.

        Arguments:
            x: Windows; NaN where a channel is missing.
        """
        rows, which, waves = self._present(x)
        own = _Own(waves, summaries(waves, self.config.fs), *self._slopes_and_rates(waves, which))
        values = self._summaries(own, rows, len(x))
        for c in range(x.shape[1]):
            seen = values[which == c]
            if len(seen) > 1:
                self.shift[c] = seen.mean(0)
                self.scale[c] = seen.std(0).clamp_min(1e-3)

    def hold_waves(self) -> None:
        r"""Leaves what reads each channel's wave as it is: what joins the channels learns on."""
        for part in (self.levels, self.blocks, self.codes, self.score):
            part.requires_grad_(False)

    def forward(
        self,
        x: Float[Tensor, "N C T"],
        low_precision: bool = False,
        sets: Bool[Tensor, "S N C"] | None = None,
        *,
        adapted: bool = True,
    ) -> Float[Tensor, "N context"] | Float[Tensor, "S*N context"]:
        r"""Embeds windows.

        Arguments:
            x: Windows, each channel in its unit; NaN where one is missing.
            low_precision: Whether the convolutions run in bfloat16.
            sets: Sets of channels to embed each window with, set by set, as if no others had been given; what each
                channel tells by itself is computed once. None for those given alone.
            adapted: Whether an adapter is used; not for waves of the fast simulator.

        Raises:
            ValueError: If the windows have another shape, or one has no channel.
        """
        rows, which, waves = self._present(x)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=low_precision):
            pooled = self._pool(self._trunk(waves, which))
        heads = self.head(self.norm(pooled.float()) * self.gains[which]) + self.code[which]
        with torch.no_grad():
            own = _Own(waves, summaries(waves, self.config.fs), *self._slopes_and_rates(waves, which))
        n = len(x)
        if sets is not None:
            places = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
            places[rows, which] = torch.arange(len(waves), device=x.device)
            taken = (sets & x.isfinite().all(-1)).flatten(0, 1)
            which, rows = taken.t().nonzero(as_tuple=True)
            at = places[rows % n, which]
            heads, own, n = heads[at], own.rows(at), len(taken)
        joined = self._join(F.silu(heads + self._known(own, rows, which, n)), rows, which, n)
        joined = joined + self.change(self.middle(joined))
        context: Float[Tensor, "N context"] = self.last(F.silu(joined))
        if self.config.rate:
            context = torch.cat((context, self._computed(own, rows, which, n)), -1)
        return self.adapter(context) if self.adapter is not None and adapted else context

    def _known(self, own: _Own, rows: Int[Tensor, " K"], which: Int[Tensor, " K"], n: int) -> Float[Tensor, "K hidden"]:
        """What is computed and not learned, as each channel's layer reads it."""
        known = ((self._summaries(own, rows, n) - self.shift[which]) / self.scale[which]).clamp(-6.0, 6.0)
        at = torch.searchsorted(which, torch.arange(1, len(self.known), device=which.device)).tolist()
        parts = [layer(part) for layer, part in zip(self.known, known.tensor_split(at), strict=True)]
        return torch.cat(parts)

    def take_over(self, one: WaveEmbedding) -> None:
        r"""Takes over an embedding of one pressure, so that the first channel alone is embedded as there.

        The other channels begin with the same weights; their summaries keep their own scales. Call `fit` before.

        Arguments:
            one: An embedding of the same sizes, of one channel.

        Raises:
            ValueError: If the sizes differ.

        Example:
            >>> from pulsebayes.inference.embedding import ChannelScale
            >>> generator = torch.manual_seed(0)
            >>> shape = {"stages": (16,), "blocks": (1,), "hidden": 16, "context": 8}
            >>> channels = (ChannelScale("ART"), ChannelScale("PLETH", relative=True))
            >>> one = WaveEmbedding(EmbeddingConfig(**shape))
            >>> several = ChannelEmbedding(EmbeddingConfig("channels", **shape, channels=channels))
            >>> several.take_over(one)
            >>> windows = torch.stack((90 + 20 * torch.randn(3, 1000), torch.full((3, 1000), torch.nan)), 1)
            >>> torch.allclose(several(windows), one(windows[:, 0]), atol=1e-2)
            True
        """
        a, b = self.config, one.config
        scale = a.channels[0]
        sizes = (
            "samples", "fs", "stem", "kernel", "stride", "stages", "blocks", "heads", "hidden", "context", "rate",
            "level",
        )  # fmt: skip
        wrong = [name for name in sizes if getattr(a, name) != getattr(b, name)]
        if (a.rate, b.rate) == ("agreed", "counted"):  # of one channel the same
            wrong.remove("rate")
        if wrong or b.relative or scale.relative or (scale.centre, scale.spread) != (b.centre, b.spread):
            raise ValueError(
                f"one must embed the channel {scale.name} with the same sizes, got others: {wrong or 'its scale'}"
            )
        layers = list(one.body.children())
        convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
        blocks = [layer for layer in layers if isinstance(layer, _Block)]
        norm, head = cast(nn.LayerNorm, one.head[0]), cast(nn.Linear, one.head[1])
        pairs = [
            *zip(self.levels, convolutions, strict=True),
            *zip((block for group in self.blocks for block in group.children()), blocks, strict=True),
            (self.score, one.score), (self.head, head), (self.value, one.tail[1]), (self.last, one.tail[3]),
        ]  # fmt: skip
        for own, other in pairs:
            own.load_state_dict(other.state_dict())
        with torch.no_grad():
            self.gains.copy_(norm.weight.expand_as(self.gains))
            self.code.copy_((head.weight @ norm.bias).expand_as(self.code))
            for code in self.codes:
                code.zero_()
            self._take_over_summaries(one)

    def _take_over_summaries(self, one: WaveEmbedding) -> None:
        """Weights of the summaries, none for delays, and the first channel's scales in this embedding's units."""
        known = len(one.shift)
        for layer in (cast(nn.Linear, module) for module in self.known):
            layer.weight.zero_()
            layer.weight[:, :known] = one.summary.weight
            layer.bias.copy_(one.summary.bias)
        levels = torch.tensor([0, *range(2, 11)])  # mean and quantiles; 1 is the standard deviation
        self.shift[0, :known], self.scale[0, :known] = one.shift, one.scale
        self.shift[0, levels] -= one.config.centre
        self.shift[0, :11] /= one.config.spread
        self.scale[0, :11] /= one.config.spread

    def _present(self, x: Float[Tensor, "N C T"]) -> tuple[Int[Tensor, " K"], Int[Tensor, " K"], Float[Tensor, "K T"]]:
        """Row and channel of every wave that is given, channel by channel, and the waves as scaled."""
        wanted = (len(self.config.channels), self.config.samples)
        if x.ndim != 3 or tuple(x.shape[1:]) != wanted:
            raise ValueError(f"x must have shape (N, {wanted[0]}, {wanted[1]}), got {tuple(x.shape)}")
        given = x.isfinite().all(-1)
        if not bool(given.any(-1).all()):
            names = ", ".join(channel.name for channel in self.config.channels)
            raise ValueError(f"every window must hold one of the channels {names} without a gap, got one without any")
        which, rows = given.t().nonzero(as_tuple=True)
        waves = x[rows, which]
        sd, mean = torch.std_mean(waves, -1, keepdim=True)
        relative = self.relative[which, None] > 0
        centre = torch.where(relative, mean, self.centre[which, None])
        spread = torch.where(relative, sd.clamp_min(1e-12), self.spread[which, None])
        return rows, which, (waves - centre) / spread

    def _trunk(self, waves: Float[Tensor, "K T"], which: Int[Tensor, " K"]) -> Float[Tensor, "K time width"]:
        sd, mean = torch.std_mean(waves, -1, keepdim=True)
        planes = torch.stack((waves, (waves - mean) / (sd + 1e-3)), 1)[:, :, None]
        h = planes.contiguous(memory_format=torch.channels_last)
        for k, (level, block) in enumerate(zip(self.levels, self.blocks, strict=True)):
            h = level(F.relu(h) if k else h)
            h = block(h + self.codes[k][which].to(h.dtype)[:, :, None, None])
        return F.relu(h)[:, :, 0].transpose(1, 2)  # (K, time, width), contiguous in this order

    def _pool(self, h: Float[Tensor, "K time width"]) -> Float[Tensor, "K pooled"]:
        weights = self.score(h).float().softmax(1)
        weights = torch.cat((weights, torch.full_like(weights[..., :1], 1.0 / h.shape[1])), -1).to(h.dtype)
        return torch.bmm(weights.transpose(1, 2), h).flatten(1)

    def _slopes_and_rates(
        self, waves: Float[Tensor, "K T"], which: Int[Tensor, " K"]
    ) -> tuple[Tensor, Float[Tensor, " K"], Float[Tensor, " K"]]:
        """Lines of every wave's slope, its beat rate [1/min], and how clearly it repeats itself."""
        fs, agreed = self.config.fs, self.config.rate == "agreed"
        slope = waves.diff(dim=-1)
        slope = slope / slope.std(-1, keepdim=True).clamp_min(1e-6)
        lines = torch.fft.rfft(slope, n=2 * slope.shape[-1])
        if not self.config.rate:
            return lines, waves.new_zeros(len(waves)), waves.new_zeros(len(waves))
        rate, clarity = rate_and_repetition(waves, fs)
        if agreed:
            rate, clarity = counted_rate(waves, fs, rate), clarity - _DOUBT * self.relative[which]
        return lines, rate, clarity

    def _summaries(self, own: _Own, rows: Int[Tensor, " K"], n: int) -> Float[Tensor, "K S"]:
        """What is computed of each wave, and its delay against the mean channel of its window."""
        with torch.no_grad():
            length = own.waves.shape[-1] - 1
            mean = own.lines.new_zeros(n, own.lines.shape[-1]).index_add(0, rows, own.lines)
            count = torch.bincount(rows, minlength=n).clamp_min(1)
            cross = torch.fft.irfft(own.lines * (mean / count[:, None])[rows].conj(), n=2 * length) / length
            told = [own.summaries, cross[:, self._lags()]]
            if self.config.own_lags:
                itself = torch.fft.irfft(own.lines.abs().square(), n=2 * length) / length
                told[1:] = [told[1] - itself[:, self._lags()], itself[:, self._late_lags()]]
            return torch.cat(told, -1)

    def _computed(
        self, own: _Own, rows: Int[Tensor, " K"], which: Int[Tensor, " K"], n: int
    ) -> Float[Tensor, "N computed"]:
        """Mean pressure of the first channel, and the beat rate."""
        with torch.no_grad():
            found = self._beat_rate(own, rows, which, n)
            coordinates = [coordinate_of(found[:, None])]
            if self.config.level:
                level, first = own.waves.new_full((n, 1), UNKNOWN), which == 0
                pressure = self.centre[0] + self.spread[0] * own.waves[first]
                level[rows[first]] = level_coordinate(pressure, found[rows[first]], self.config.fs)
                coordinates.insert(0, level)
            return torch.cat(coordinates, -1)

    def _beat_rate(self, own: _Own, rows: Int[Tensor, " K"], which: Int[Tensor, " K"], n: int) -> Float[Tensor, " N"]:
        """Rate of the channel that repeats itself most clearly, or of all whose counts agree with it [1/min]."""
        laid = own.rate.new_full((n, len(self.config.channels)), -torch.inf)
        laid[rows, which] = own.clarity
        place = torch.zeros(laid.shape, dtype=torch.long, device=rows.device)
        place[rows, which] = torch.arange(len(rows), device=rows.device)
        clearest = place.gather(1, laid.argmax(1, keepdim=True))[:, 0]
        found = own.rate[clearest]
        if self.config.rate == "counted":
            found = counted_rate(own.waves[clearest], self.config.fs, found)
        if self.config.rate == "agreed":
            near = ((own.rate / found[rows]).log().abs() < _AGREED).to(own.rate.dtype)
            off = torch.zeros_like(found).index_add(0, rows, near * (own.rate / found[rows]).log())
            found = found * (off / torch.zeros_like(found).index_add(0, rows, near)).exp()
        return found

    def _lags(self) -> list[int]:
        step = max(1, round(_STEP_S * self.config.fs))
        reach = int(_REACH_S * self.config.fs) // step
        return [step * k for k in range(-reach, reach + 1)]

    def _late_lags(self) -> list[int]:
        return [lag for lag in self._lags() if lag >= 0]

    def _join(
        self, tokens: Float[Tensor, "K hidden"], rows: Int[Tensor, " K"], which: Int[Tensor, " K"], n: int
    ) -> Float[Tensor, "N hidden"]:
        values, scores = self.value(tokens), self.weight(tokens)
        shape = (n, len(self.config.channels), values.shape[-1])
        given: Bool[Tensor, "N C"] = torch.zeros(shape[:2], dtype=torch.bool, device=rows.device)
        given[rows, which] = True
        spread = scores.new_full(shape, -torch.inf).index_put((rows, which), scores)
        laid = values.new_zeros(shape).index_put((rows, which), values)
        joined: Float[Tensor, "N hidden"] = (spread.softmax(1) * laid).sum(1)
        if self.amount:
            joined = joined + self.amount(spread.logsumexp(1))
        return joined + self.given(given.to(joined.dtype))  # type: ignore[no-any-return]
