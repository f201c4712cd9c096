r"""Where a recording is no longer one patient's: the pool is split there.

A small network $D$ scores three windows against all and against the last minute of the pool before them,

$$
\ell_i = D\big(\bar h_{S},\, \bar h_{60\,\mathrm{s}},\, \tfrac13 (h_i + h_{i+1} + h_{i+2}),\, \ln n_S,\, \ln \Delta
t\big),
$$

trained on spliced recordings against unspliced ones, which hold drift, clinical events and changes of the sensor. A
splice is called where $\ell$ passes a limit set on unspliced recordings that were not trained on, and the pool starts
anew at the first of the three windows. What comes late is not called: at least three windows must stand before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .features import EmbeddedRecordings

__all__ = ["BLOCK", "ChangeDetector", "score_block", "set_limit", "split_pool", "train_detector"]

BLOCK = 3
"""Windows that are judged together, and fewest windows before them."""
_NEAR_S = 60.0


class ChangeDetector(nn.Module):
    r"""Logit that three windows are of another patient than the pool before them.

    Arguments:
        inputs: Length of a window's signature (``PooledNPE.signature``).
        hidden: Width of the network.

    Example:
        >>> detector = ChangeDetector(4, 8)
        >>> detector(torch.randn(2, 4), torch.randn(2, 4), torch.randn(2, 4), torch.zeros(2, 2)).shape
        torch.Size([2])
    """

    limit: Tensor
    mean: Tensor
    sd: Tensor

    def __init__(self, inputs: int, hidden: int = 96) -> None:
        super().__init__()
        self.inputs, self.hidden = inputs, hidden
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("sd", torch.ones(inputs))
        self.register_buffer("limit", torch.tensor(0.0))
        self.net = nn.Sequential(
            nn.Linear(5 * inputs + 2, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1)
        )

    def standard(self, h: Float[Tensor, "*N inputs"]) -> Float[Tensor, "*N inputs"]:
        r"""Standardised signatures.

        Arguments:
            h: Signatures.
        """
        return (h - self.mean) / self.sd

    def forward(
        self,
        before: Float[Tensor, "N inputs"],
        near: Float[Tensor, "N inputs"],
        block: Float[Tensor, "N inputs"],
        extra: Float[Tensor, "N 2"],
    ) -> Float[Tensor, " N"]:
        r"""Logits.

        Arguments:
            before: Mean of the standardised signatures of the pool.
            near: Mean of those of its last minute.
            block: Mean of the three windows.
            extra: Logarithms of the pool's size and of the time since its last window [s].
        """
        joined = torch.cat((before, block, (block - before).abs(), (block - near).abs(), block - near, extra), -1)
        return self.net(joined)[:, 0]  # type: ignore[no-any-return]


@torch.no_grad()
def split_pool(detector: ChangeDetector, h: Float[Tensor, "W inputs"], time_s: Float[np.ndarray, " W"]) -> list[int]:
    r"""First windows of the segments of a recording, the first of them 0.

    Arguments:
        detector: The detector.
        h: Signatures in order of time.
        time_s: Start of every window [s].

    Example:
        >>> split_pool(ChangeDetector(4, 8), torch.zeros(2, 4), np.array([0.0, 8.0]))
        [0]
    """
    starts, h = [0], detector.standard(h)
    while (found := _first_splice(detector, h, time_s, starts[-1])) is not None:
        starts.append(found)
    return starts


def _first_splice(
    detector: ChangeDetector, h: Float[Tensor, "W inputs"], time_s: Float[np.ndarray, " W"], start: int
) -> int | None:
    """First window after a splice in the pool that starts at a window: the best of the first three that pass."""
    total, near, weight = torch.zeros_like(h[0]), torch.zeros_like(h[0]), 0.0
    best: tuple[float, int] | None = None
    for i in range(start, len(h) - BLOCK + 1):
        n = i - start
        if n >= BLOCK:
            gap_s = float(time_s[i] - time_s[i - 1])
            score = score_block(detector, total / n, near / weight, h[i : i + BLOCK], n, gap_s)
            if score > float(detector.limit):
                best = max(best or (score, i), (score, i))
        if best is not None and i >= best[1] + BLOCK - 1:
            return best[1]
        keep = float(np.exp(-(time_s[i] - time_s[i - 1]) / _NEAR_S)) if n else 0.0
        total, near, weight = total + h[i], keep * near + h[i], keep * weight + 1.0
    return None if best is None else best[1]


@torch.no_grad()
def score_block(
    detector: ChangeDetector,
    before: Float[Tensor, " inputs"],
    near: Float[Tensor, " inputs"],
    block: Float[Tensor, "3 inputs"],
    n: int,
    gap_s: float,
) -> float:
    r"""Logit that three windows are of another patient.

    Arguments:
        detector: The detector.
        before: Mean of the standardised signatures of the pool before them.
        near: Mean of those of its last minute.
        block: Those of the three windows.
        n: Windows of the pool before them.
        gap_s: Time from the start of its last window to that of the first of the three [s].

    Example:
        >>> zero = torch.zeros(4)
        >>> isinstance(score_block(ChangeDetector(4, 8), zero, zero, torch.zeros(3, 4), 5, 8.0), float)
        True
    """
    extra = torch.tensor([[np.log(min(n, 200)), np.log(max(gap_s, 1.0))]], dtype=torch.float32)
    return float(detector(before[None], near[None], block.mean(0)[None], extra)[0])


def train_detector(
    sets: Sequence[tuple[Float[Tensor, "R W inputs"], EmbeddedRecordings]],
    *,
    steps: int = 2000,
    batch: int = 512,
    noise: float = 0.3,
    held: int = 64,
    seed: int = 0,
) -> ChangeDetector:
    r"""Trains a detector on spliced and unspliced recordings; its limit is set apart, by ``set_limit``.

    Arguments:
        sets: Signatures and the recordings they are of; the steps take them in turn.
        steps: Number of steps.
        batch: Pairs of a step, half of them spliced.
        noise: Standard deviation of the noise on the means.
        held: Recordings left out of each set, the first ones.
        seed: Seed of weights and pairs.

    Example:
        >>> train_detector.__kwdefaults__["batch"]
        512
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = ChangeDetector(sets[0][0].shape[-1])
    rows = torch.cat([h[held:][torch.from_numpy(data.usable[held:])] for h, data in sets])
    detector.mean.copy_(rows.mean(0))
    detector.sd.copy_(rows.std(0).clamp_min(1e-3))
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3, weight_decay=1e-2)
    pairs = [_Pairs(detector.standard(h[held:]), data.time_s[held:]) for h, data in sets]
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1.01 - step / steps)
        rng = np.random.default_rng([seed, step])
        (*means, extra), spliced = pairs[step % len(pairs)].draw(rng, batch)
        means = [m + noise * torch.from_numpy(rng.standard_normal(m.shape).astype(np.float32)) for m in means]
        loss = nn.functional.binary_cross_entropy_with_logits(detector(*means, extra), spliced)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return detector.eval()


@torch.no_grad()
def set_limit(
    detector: ChangeDetector, h: Float[Tensor, "R W inputs"], data: EmbeddedRecordings, *, false_an_hour: float
) -> float:
    r"""Sets the limit above which so few splits an hour are called where nothing was spliced.

    Arguments:
        detector: The detector.
        h: Signatures of unspliced recordings that it was not trained on.
        data: The recordings.
        false_an_hour: Splits an hour; less than one in all the hours there are takes the highest score and a margin.

    Returns:
        The limit.

    Example:
        >>> set_limit.__kwdefaults__ is None
        True
    """
    scores, hours = [], 0.0
    rows = zip(detector.standard(h), data.time_s, data.usable, data.change_s, strict=True)
    for units, time_s, usable, change_s in rows:
        times = time_s[usable]
        apart = times[BLOCK : len(times) - BLOCK + 1] - change_s  # a changed sensor may well be called
        own = np.array(_scores(detector, units[torch.from_numpy(usable)], times))
        scores += own[~(np.abs(apart) < _NEAR_S)].tolist()
        hours += float(time_s[-1] - time_s[0] + 8.0) / 3600.0
    ranked = np.sort(scores)[::-1]
    allowed = int(false_an_hour * hours)
    margin = 0.0 if allowed else 0.5  # logits: what the hours at hand cannot show
    limit = float(ranked[min(allowed, len(ranked) - 1)]) + margin
    detector.limit.fill_(limit)
    return limit


def _scores(detector: ChangeDetector, h: Tensor, time_s: Float[np.ndarray, " W"]) -> list[float]:
    """Score at every window of a recording as one pool."""
    near, total, found = _near_means(h[None], time_s[None])[0], h.cumsum(0), []
    for i in range(BLOCK, len(h) - BLOCK + 1):
        gap_s = float(time_s[i] - time_s[i - 1])
        found.append(score_block(detector, total[i - 1] / i, near[i - 1], h[i : i + BLOCK], i, gap_s))
    return found


class _Pairs:
    """Pools with three windows after them, of the same recording or of another."""

    def __init__(self, h: Tensor, time_s: Float[np.ndarray, "R W"]) -> None:
        self.h, self.time_s = h, time_s
        self.sums = torch.cat((torch.zeros_like(h[:, :1]), h.cumsum(1)), 1)
        self.blocks = (self.sums[:, BLOCK:] - self.sums[:, :-BLOCK]) / BLOCK
        self.near = _near_means(h, time_s)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
        recordings, windows = self.h.shape[:2]
        r = rng.integers(recordings, size=n)
        at = rng.integers(BLOCK, windows - BLOCK + 1, size=n)
        size = np.maximum(BLOCK, np.minimum(at, np.exp(rng.uniform(0, np.log(at + 1))).astype(int)))
        spliced = np.arange(n) < n // 2
        other = np.where(spliced, (r + 1 + rng.integers(recordings - 1, size=n)) % recordings, r)
        block_at = np.where(spliced, rng.integers(windows - BLOCK + 1, size=n), at)
        before = (self.sums[r, at] - self.sums[r, at - size]) / torch.from_numpy(size)[:, None].float()
        gap = np.maximum(self.time_s[r, at] - self.time_s[r, at - 1], 1.0)
        extra = torch.from_numpy(np.stack([np.log(np.minimum(size, 200)), np.log(gap)], -1).astype(np.float32))
        return (before, self.near[r, at - 1], self.blocks[other, block_at], extra), torch.from_numpy(spliced).float()


def _near_means(h: Tensor, time_s: Float[np.ndarray, "R W"]) -> Tensor:
    """Mean of the last minute up to each window, decaying."""
    keep = torch.from_numpy(np.exp(-np.diff(time_s, axis=1) / _NEAR_S).astype(np.float32))
    sums, weights = [h[:, 0]], [torch.ones(len(h))]
    for i in range(1, h.shape[1]):
        sums.append(keep[:, i - 1, None] * sums[-1] + h[:, i])
        weights.append(keep[:, i - 1] * weights[-1] + 1.0)
    return torch.stack(sums, 1) / torch.stack(weights, 1)[..., None]
