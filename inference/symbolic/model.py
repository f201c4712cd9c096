r"""A transformer from trajectories to equations.

The encoder reads the windows of one or several trajectories of a system (`points`); what it makes of them is pooled by
attention: every window of every trajectory is a place the decoder may look at. The decoder is told what regression says
of an equation (`hints`) and writes one equation at a time,

.. math:: p(f_i \mid x) = \prod_k p(\text{token}_k \mid \text{tokens}_{<k}, x, i)

Given the trajectories the equations are independent, so sequences stay short and candidates of one equation combine
with all of another.

A constant that stands between two points of its grid is read as the mean of their embeddings and predicted as a weight
on each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from .hints import N_HINTS
from .points import N_FEATURES
from .tokens import VOCABULARY

__all__ = ["EquationTransformer", "ModelConfig"]


@dataclass(frozen=True)
class ModelConfig:
    r"""Size of the network and how it treats constants.

    Arguments:
        width: Width.
        heads: Attention heads.
        encoder_layers: Layers of the encoder.
        decoder_layers: Layers of the decoder.
        n_windows: Windows a system that the encoder reads, shared by its trajectories.
        length: Tokens an equation at most.
        constants: "two-hot" or "one-hot".
        hints: Whether the decoder is told what regression says; then twice as many windows are fitted, of which the
            encoder reads every second.

    Raises:
        ValueError: If the heads do not divide the width or the treatment of constants is unknown.

    Example:
        >>> ModelConfig().width
        128
    """

    width: int = 128
    heads: int = 4
    encoder_layers: int = 3
    decoder_layers: int = 3
    n_windows: int = 32
    length: int = 32
    constants: str = "two-hot"
    hints: bool = True

    @property
    def stride(self) -> int:
        r"""How many windows are fitted for each that the encoder reads."""
        return 2 if self.hints else 1

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")
        if self.constants not in ("two-hot", "one-hot"):
            raise ValueError(f"constants must be 'two-hot' or 'one-hot', got {self.constants!r}")


class _Attention(nn.Module):
    """Multi-head attention; keys and values are made apart from queries, so that they can be kept."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)

    def remember(self, x: Float[Tensor, "B L W"]) -> tuple[Tensor, Tensor]:
        key, value = self.key_value(x).chunk(2, dim=-1)
        return self._split(key), self._split(value)

    def forward(
        self, x: Float[Tensor, "B L W"], memory: tuple[Tensor, Tensor], mask: Tensor | None = None, causal: bool = False
    ) -> Float[Tensor, "B L W"]:
        heads = _attend(self._split(self.query(x)), *memory, mask, causal)
        out: Tensor = self.out(heads.transpose(1, 2).flatten(2))
        return out


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """Attention; under half precision on a CPU written out, since the gradient of the fused one takes eight times as
    long there as all products of the network."""
    if query.device.type != "cpu" or query.dtype == torch.float32:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
    score = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if causal:
        later = torch.ones(score.shape[-2:], dtype=torch.bool).triu(1)
        score = score.masked_fill(later, -math.inf)
    if mask is not None:
        score = score.masked_fill(~mask, -math.inf)
    out: Tensor = score.softmax(-1).to(value.dtype) @ value
    return out


class _Feedforward(nn.Sequential):
    def __init__(self, width: int) -> None:
        super().__init__(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class _EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = _Attention(width, heads)
        self.feedforward = _Feedforward(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.norm(x)
        x = x + self.attention(y, self.attention.remember(y), mask)
        out: Tensor = x + self.feedforward(x)
        return out


class _DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.itself = _Attention(width, heads)
        self.cross = _Attention(width, heads)
        self.feedforward = _Feedforward(width)

    def forward(
        self, x: Tensor, past: tuple[Tensor, Tensor] | None, memory: tuple[Tensor, Tensor], mask: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y = self.norms[0](x)
        own = self.itself.remember(y)
        if past is not None:
            own = torch.cat([past[0], own[0]], dim=2), torch.cat([past[1], own[1]], dim=2)
        x = x + self.itself(y, own, causal=past is None)
        x = x + self.cross(self.norms[1](x), memory, mask)
        return x + self.feedforward(x), own


class EquationTransformer(nn.Module):
    r"""The network.

    Arguments:
        config: Size.

    Example:
        >>> net = EquationTransformer(ModelConfig(width=16, heads=2, encoder_layers=1, decoder_layers=1))
        >>> memory = net.encode(torch.zeros(2, 5, N_FEATURES))
        >>> hints = torch.zeros(2, N_HINTS)
        >>> logits = net(memory, hints, torch.arange(2), torch.full((2, 3), 2), torch.zeros(2, 3))
        >>> logits.shape == (2, 3, len(VOCABULARY))
        True
    """

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        width = config.width
        self.read = nn.Sequential(nn.Linear(N_FEATURES, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        if config.hints:
            self.advise = nn.Sequential(nn.Linear(N_HINTS, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.encoder = nn.ModuleList(_EncoderLayer(width, config.heads) for _ in range(config.encoder_layers))
        self.encoder_norm = nn.LayerNorm(width)
        self.embedding = nn.Embedding(len(VOCABULARY), width)
        self.position = nn.Parameter(0.02 * torch.randn(config.length + 1, width))
        self.decoder = nn.ModuleList(_DecoderLayer(width, config.heads) for _ in range(config.decoder_layers))
        self.decoder_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, len(VOCABULARY))
        nn.init.normal_(self.embedding.weight, std=0.02)

    def encode(self, points: Float[Tensor, "B W N"], present: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        r"""Reads trajectories.

        Arguments:
            points: Windows of all trajectories of each system.
            present: Which windows there are, all if None.

        Returns:
            Keys and values for each layer of the decoder.
        """
        mask = None if present is None else present[:, None, None, :]
        x = self.read(points)
        for layer in self.encoder:
            x = layer(x, mask)
        x = self.encoder_norm(x)
        return [layer.cross.remember(x) for layer in self.decoder]  # type: ignore[union-attr, operator]

    def advice(self, hints: Float[Tensor, "E H"]) -> Float[Tensor, "E W"]:
        r"""Reads hints; zeros if the network takes none.

        Arguments:
            hints: Hints for each equation.
        """
        if not self.config.hints:
            return hints.new_zeros(len(hints), self.config.width)
        read: Tensor = self.advise(hints)
        return read

    def embed(self, ids: Int[Tensor, "E L"], fraction: Float[Tensor, "E L"]) -> Float[Tensor, "E L W"]:
        r"""Embeds tokens; a constant with a fraction is between its point and the next.

        Arguments:
            ids: Tokens.
            fraction: Fractions, 0 for what is no constant.
        """
        following = (ids + 1).clamp(max=len(VOCABULARY) - 1)
        part = fraction[..., None]
        mixed: Tensor = (1 - part) * self.embedding(ids) + part * self.embedding(following)
        return mixed

    def forward(
        self,
        memory: list[tuple[Tensor, Tensor]],
        hints: Float[Tensor, "E H"],
        owner: Int[Tensor, " E"],
        ids: Int[Tensor, "E L"],
        fraction: Float[Tensor, "E L"],
        present: Tensor | None = None,
    ) -> Float[Tensor, "E L V"]:
        r"""Predicts every token from those before it.

        Arguments:
            memory: What `encode` made.
            hints: Hints for each equation.
            owner: The system each equation belongs to.
            ids: Tokens, from the start token on.
            fraction: Fractions of the constants.
            present: Which windows there are.

        Returns:
            Logits.
        """
        mask = None if present is None else present[owner][:, None, None, :]
        x = self.embed(ids, fraction) + self.position[: ids.shape[1]] + self.advice(hints)[:, None]
        for layer, (key, value) in zip(self.decoder, memory, strict=True):
            x, _ = layer(x, None, (key[owner], value[owner]), mask)
        logits: Tensor = self.out(self.decoder_norm(x))
        return logits

    def step(
        self,
        memory: list[tuple[Tensor, Tensor]],
        advice: Float[Tensor, "E W"],
        past: list[tuple[Tensor, Tensor]] | None,
        ids: Int[Tensor, " E"],
        fraction: Float[Tensor, " E"],
        position: int,
    ) -> tuple[Float[Tensor, "E V"], list[tuple[Tensor, Tensor]]]:
        r"""Predicts one more token, keeping what earlier ones left.

        Arguments:
            memory: What `encode` made, for each equation.
            advice: What `advice` made of each equation's hints.
            past: What the last step left, None at first.
            ids: Last tokens.
            fraction: Their fractions.
            position: How many tokens came before them.

        Returns:
            Logits of the next token and what to hand on.
        """
        x = self.embed(ids[:, None], fraction[:, None]) + self.position[position] + advice[:, None]
        kept: list[tuple[Tensor, Tensor]] = []
        for i, layer in enumerate(self.decoder):
            x, own = layer(x, None if past is None else past[i], memory[i], None)
            kept.append(own)
        return self.out(self.decoder_norm(x))[:, 0], kept
