r"""Training of a weighted detector on whole pools.

Every step draws recordings, and of each of them pools of all their windows up to some place: half are followed by the
three windows that come next, half by three of another recording. Features and heads learn together. A change of the
channels that are given looks like a new patient at first glance and is rare, so a share of the pools without a splice
ends at one, and counts as much less in the loss as it is drawn more often. The loss of a new patient's logit is

$$
\tfrac12 \sum_{\tau \in \{0, 4\}} \big\langle \ln(1 + e^{\tau - \ell}) \big\rangle_{\text{spliced}} +
e^{\tau} \big\langle \ln(1 + e^{\ell - \tau}) \big\rangle_{\text{whole}},
$$

whose minimum is the logarithm of the likelihood ratio for every $\tau$: with the second, near the limit at which
changes are called, what is likely under neither is weighed as what is likely under one. That of a new sensor's is the
cross-entropy over what is not spliced; both weigh alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from .features import EmbeddedRecordings
from .segments import BLOCK, NEAR_S, told

__all__ = ["WholePools", "train_weighted"]

_TOGETHER = 2560
"""Windows of the recordings of a step."""
_FOCUS = (0.0, 4.0)
"""Logits at which the loss looks closest."""
_MOVED, _CHANGED, _WHOLE = 0.3, 0.15, 0.4
"""Shares of pools that end at a change of channels, at one of the sensor, and that begin with the recording."""


@dataclass(frozen=True)
class _Asked:
    """Pools of ``size`` windows before ``at`` of recordings, and three windows each, of ``other`` from ``begin`` on."""

    recordings: Int[np.ndarray, " R"]
    at: Int[np.ndarray, "R K"]
    size: Int[np.ndarray, "R K"]
    other: Int[np.ndarray, "R K"]
    begin: Int[np.ndarray, "R K"]
    weight: Float[np.ndarray, "R H"]
    """What those without a splice, the first half, count."""


class WholePools:
    r"""Standardised signatures of recordings, from which whole pools are drawn.

    Arguments:
        h: Standardised signatures.
        data: The recordings.
        held: Recordings that are not drawn, the first ones.

    Example:
        >>> WholePools.ask.__annotations__["pairs"]
        'int'
    """

    def __init__(self, h: Float[Tensor, "R W inputs"], data: EmbeddedRecordings, held: int) -> None:
        self.h, self.time_s, windows = h[held:], data.time_s[held:], h.shape[1]
        self.share = math.sqrt(self.h.shape[0] * windows)
        self.least, self.most = min(BLOCK, windows - BLOCK), windows - BLOCK
        self.change_s = np.where(np.isfinite(data.change_s[held:]), data.change_s[held:], np.inf)
        places = np.zeros(windows)
        places[self.least : self.most + 1] = 1.0 / (self.most + 1 - self.least)
        self._places = np.broadcast_to(places, self.time_s.shape)
        moved = np.zeros(self.time_s.shape, bool)
        moved[:, 1:] = (np.diff(data.given[held:].astype(np.int8), axis=1) != 0).any(-1)
        later = self.time_s >= self.change_s[:, None]
        changed = later & ~np.concatenate((later[:, :1] | True, later[:, :-1]), 1)
        self._drawn = (1 - _MOVED - _CHANGED) * self._places
        self._drawn = self._drawn + _MOVED * self._among(moved) + _CHANGED * self._among(changed)

    def _among(self, wanted: Bool[np.ndarray, "R W"]) -> Float[np.ndarray, "R W"]:
        """Places evenly among those wanted, or among all where there are none."""
        here = wanted & (self._places > 0)
        n = here.sum(1, keepdims=True)
        return np.where(n > 0, here / np.maximum(n, 1), self._places)

    def ask(self, rng: np.random.Generator, pairs: int) -> _Asked:
        r"""Draws pools and what is compared with them.

        Arguments:
            rng: Source of randomness.
            pairs: About how many, half of them spliced.
        """
        n, windows = self.time_s.shape
        r = rng.choice(n, min(n, max(4, _TOGETHER // windows)), replace=False)
        shape = (len(r), max(1, pairs // (2 * len(r))))
        drawn = self._drawn[r].cumsum(1)
        here = (rng.random((*shape, 1)) * drawn[:, None, -1:] > drawn[:, None]).sum(-1).clip(self.least, self.most)
        own = np.broadcast_to(np.arange(len(r))[:, None], shape)
        weight = (self._places[r] / self._drawn[r].clip(1e-12))[own, here]
        at = np.concatenate((here, rng.integers(self.least, self.most + 1, shape)), 1)
        some = np.exp(rng.uniform(0, 1, at.shape) * np.log(at + 1)).astype(int)
        size = np.where(rng.random(at.shape) < _WHOLE, at, np.minimum(at, some)).clip(self.least)
        another = (own + rng.integers(1, len(r), shape)) % len(r)
        begin = np.concatenate((here, rng.integers(windows - BLOCK + 1, size=shape)), 1)
        return _Asked(r, at, size, np.concatenate((own, another), 1), begin, weight)

    def logits(self, member: nn.Module, asked: _Asked, rng: np.random.Generator, noise: float) -> Tensor:
        r"""Logits of what was asked, (R, K, 2).

        Arguments:
            member: Features and head.
            asked: The pools.
            rng: Source of the noise.
            noise: Its standard deviation on signatures.
        """
        h, time_s = self.h[asked.recordings], self.time_s[asked.recordings]
        f = member.features(h + noise * torch.from_numpy(rng.standard_normal(h.shape, dtype=np.float32)))  # type: ignore[operator]
        at, size, own = asked.at, asked.size, np.arange(len(h))[:, None]
        place = np.arange(h.shape[1])
        up_to = place < at[..., None]
        pool = up_to & (place >= (at - size)[..., None])
        since = (time_s[own, at - 1][..., None] - time_s[:, None]).astype(np.float32)
        near = pool * np.exp(-since.clip(0) / NEAR_S)
        last = up_to & (place >= (at - BLOCK)[..., None])
        weights = np.concatenate([w / w.sum(-1, keepdims=True) for w in (pool, near, last)], 1, dtype=np.float32)
        before = torch.bmm(torch.from_numpy(weights), f).chunk(3, 1)
        begin, flat = torch.from_numpy(asked.other * h.shape[1] + asked.begin).flatten(), f.flatten(0, 1)
        block = torch.stack([flat.index_select(0, begin + j) for j in range(BLOCK)]).mean(0).reshape(*at.shape, -1)
        gap_s, length_s = time_s[own, at] - time_s[own, at - 1], time_s[own, at - 1] - time_s[own, at - size]
        extra = told(size.ravel(), gap_s.ravel(), length_s.ravel()).reshape(*at.shape, 3)
        return member(*before, block, extra)  # type: ignore[no-any-return]

    def loss(self, logits: Float[Tensor, "R K 2"], asked: _Asked) -> Float[Tensor, ""]:
        r"""What is made small.

        Arguments:
            logits: From ``logits``.
            asked: What they are of.
        """
        half = asked.weight.shape[1]
        weight, same = torch.from_numpy(asked.weight.astype(np.float32)), logits[:, :half, 0]
        softplus = nn.functional.softplus
        patient = torch.stack([
            softplus(focus - logits[:, half:, 0]).mean() + math.exp(focus) * (weight * softplus(same - focus)).mean()
            for focus in _FOCUS
        ]).mean()  # fmt: skip
        new, mixed = self._sensor(asked, half)
        counted = torch.from_numpy((~mixed).astype(np.float32))
        truth = torch.from_numpy(new.astype(np.float32))
        each = nn.functional.binary_cross_entropy_with_logits(logits[:, :half, 1], truth, reduction="none")
        return (patient + (each * counted).sum() / counted.sum().clamp_min(1.0)) / 2

    def _sensor(self, asked: _Asked, half: int) -> tuple[Bool[np.ndarray, "R H"], Bool[np.ndarray, "R H"]]:
        """Where a new sensor begins, and where it does within the windows on either side."""
        time_s, change = self.time_s[asked.recordings], self.change_s[asked.recordings][:, None]
        own, at = np.arange(len(time_s))[:, None], asked.at[:, :half]
        new = (change > time_s[own, at - 1]) & (change <= time_s[own, at])
        lately = change > time_s[own, np.maximum(at - BLOCK, 0)]
        return new, ~new & lately & (change <= time_s[own, at + BLOCK - 1])


def train_weighted(
    member: nn.Module, sets: Sequence[WholePools], *, steps: int, pairs: int, noise: float, seed: int
) -> float:
    r"""Trains one network of a detector on whole pools; returns the loss at the end.

    Arguments:
        member: The network.
        sets: Recordings; a step takes those of one set, of larger ones more often (square root of their windows).
        steps: Number of steps.
        pairs: Pairs of a step, half of them spliced.
        noise: Standard deviation of the noise on signatures.
        seed: Seed of what is drawn.

    Example:
        >>> train_weighted.__annotations__["return"]
        'float'
    """
    optimizer = torch.optim.AdamW(member.parameters(), lr=2e-3, weight_decay=1e-2)
    share = np.array([pools.share for pools in sets])
    mean = 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 100) * (1.01 - step / steps)
        rng = np.random.default_rng([seed, 2, step])
        pools = sets[rng.choice(len(sets), p=share / share.sum())]
        asked = pools.ask(rng, pairs)
        loss = pools.loss(pools.logits(member, asked, rng, noise), asked)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(member.parameters(), 1.0)
        optimizer.step()
        mean += 0.02 * (float(loss.detach()) - mean)
    return mean
