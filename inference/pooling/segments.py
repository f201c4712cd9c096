r"""Where a recording is no longer one patient's, or no longer one sensor's.

Features $f$ of a window's signature, learned for this, are averaged over three windows, $b_i$, and over those before
them: all of the pool ($a_i$), the last minute ($m_i$), the last three ($l_i$). Small networks (several, their logits
averaged) tell from

$$
\ell_i = D\big(a_i,\, b_i,\, |b_i - a_i|,\, |b_i - m_i|,\, b_i - m_i,\, |b_i - l_i|,\, \ln n,\, \ln \Delta t\big)
$$

whether another patient begins at window $i$, and whether another state of the same patient's sensor does: a new zero, a
flushed or kinked line. Where windows tell very different amounts, as those of different channels do, each feature is
weighted by $e^{s}$, learned too, in all averages, and $D$ is told the logarithms of the mean weights: so a clip is
compared with the clip before it, and not with the line. Trained on spliced recordings, on recordings whose sensor
changes, and on neither, all of which hold drift and clinical events. A change is called where its logit passes a limit
set on hours that were not trained on. A new patient starts a new pool; a new sensor ends the averages that follow the
sensor (see ``pools``). Either is known when the third window of the new has come, and may be moved to a better place by
the two windows after it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["BLOCK", "Change", "ChangeDetector", "ChangeFinder", "Judge", "find_changes", "sensor_states", "split_pool"]

BLOCK = 3
"""Windows that are judged together, and fewest windows before them."""
NEAR_S = 60.0
_MOST = 200
_HEAVIEST = 8.0  # logarithm of a feature's weight
Kind = Literal["patient", "sensor"]


@dataclass(frozen=True)
class Change:
    r"""A place where the patient or the sensor is another.

    Arguments:
        at: First window of the new.
        kind: What is new.
        moves: Whether this says better where the change before it was.

    Example:
        >>> Change(12, "sensor").moves
        False
    """

    at: int
    kind: Kind
    moves: bool = False


class _Member(nn.Module):
    """One network: features of a window and the head that compares their averages."""

    def __init__(self, inputs: int, features: int, hidden: int, weighted: bool) -> None:
        super().__init__()
        self.weighted = weighted
        told, compared = (2 * features, 10 * features + 3) if weighted else (features, 6 * features + 3)
        self.linear = nn.Linear(inputs, told, bias=False)
        self.curved = nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, told))
        self.head = nn.Sequential(
            nn.Linear(compared, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 2)
        )

    def features(self, h: Tensor) -> Tensor:
        told: Tensor = self.linear(h) + self.curved(h)
        if not self.weighted:
            return told
        value, score = told.chunk(2, -1)
        weight = score.clamp(-_HEAVIEST, _HEAVIEST).exp()
        return torch.cat((weight * value, weight), -1)

    def forward(self, before: Tensor, near: Tensor, last: Tensor, block: Tensor, extra: Tensor) -> Tensor:
        amounts: tuple[Tensor, ...] = ()
        if self.weighted:
            parts = [mean.chunk(2, -1) for mean in (before, near, last, block)]
            amounts = tuple(weight.clamp_min(math.exp(-_HEAVIEST)) for _, weight in parts)
            before, near, last, block = (total / w for (total, _), w in zip(parts, amounts, strict=True))
        apart = ((block - before).abs(), (block - near).abs(), block - near, (block - last).abs())
        told = (before, block, *apart, *(weight.log() for weight in amounts), extra)
        return self.head(torch.cat(told, -1))  # type: ignore[no-any-return]


class ChangeDetector(nn.Module):
    r"""Logits that three windows are of another patient, and of another state of the sensor, than those before them.

    Arguments:
        inputs: Length of a window's signature (``PooledNPE.signature``).
        features: Features of a window in each member.
        hidden: Width of the networks.
        members: Networks whose logits are averaged.
        weighted: Whether features weigh in averages by what their window knows.

    Example:
        >>> detector = ChangeDetector(4, 8, 8)
        >>> f = detector.features(torch.randn(2, 4))
        >>> detector(f, f, f, f, torch.zeros(2, 3)).shape
        torch.Size([2, 2])
    """

    limits: Tensor
    mean: Tensor
    sd: Tensor

    def __init__(
        self, inputs: int, features: int = 64, hidden: int = 96, members: int = 2, weighted: bool = False
    ) -> None:
        super().__init__()
        self.inputs, self.width, self.hidden, self.weighted = inputs, features, hidden, weighted
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("sd", torch.ones(inputs))
        self.register_buffer("limits", torch.zeros(2))
        self.members = nn.ModuleList(_Member(inputs, features, hidden, weighted) for _ in range(members))

    def shape(self) -> dict[str, Any]:
        r"""Arguments that make such a detector."""
        return {
            "inputs": self.inputs,
            "features": self.width,
            "hidden": self.hidden,
            "members": len(self.members),
            "weighted": self.weighted,
        }

    def features(self, h: Float[Tensor, "*N inputs"]) -> Float[Tensor, "*N F"]:
        r"""Features of windows, of all members side by side.

        Arguments:
            h: Signatures.
        """
        standard = (h - self.mean) / self.sd
        return torch.cat([member.features(standard) for member in self.members], -1)  # type: ignore[operator]

    def forward(
        self,
        before: Float[Tensor, "N F"],
        near: Float[Tensor, "N F"],
        last: Float[Tensor, "N F"],
        block: Float[Tensor, "N F"],
        extra: Float[Tensor, "N 3"],
    ) -> Float[Tensor, "N 2"]:
        r"""Logits of a new patient and of a new sensor.

        Arguments:
            before: Mean features of the pool.
            near: Mean of those of its last minute.
            last: Mean of its last three.
            block: Mean of the three windows.
            extra: From ``told``.
        """
        width = self.width * (1 + self.weighted)
        split = [torch.split(part, width, -1) for part in (before, near, last, block)]
        logits = [member(*parts, extra) for member, *parts in zip(self.members, *split, strict=True)]
        return torch.stack(logits).mean(0)


def told(
    n: Int[np.ndarray, " N"], gap_s: Float[np.ndarray, " N"], length_s: Float[np.ndarray, " N"]
) -> Float[Tensor, "N 3"]:
    r"""What a detector is told beside features, from the pool's size, the time since its last window and its length.

    Arguments:
        n: Windows of the pools.
        gap_s: Time from the start of a pool's last window to that of the first of the three [s].
        length_s: Time from the start of a pool's first window to that of its last [s].

    Example:
        >>> told(np.array([3]), np.array([8.0]), np.array([16.0])).shape
        torch.Size([1, 3])
    """
    columns = (np.log(np.minimum(n, _MOST)), np.log(np.maximum(gap_s, 1.0)), np.log(np.maximum(length_s, 8.0)) / 3)
    return torch.from_numpy(np.stack(columns, -1).astype(np.float32))


class Judge:
    r"""Turns how far logits pass their limits, window by window, into changes.

    A change is where a logit passes most within the first three windows that pass; a patient goes before a sensor. What
    is mixed of old and new is not judged again.

    Example:
        >>> judge = Judge()
        >>> [judge.see(i, -1.0, sensor) for i, sensor in enumerate((-1.0, 2.0, 3.0))]
        [None, Change(at=1, kind='sensor', moves=False), Change(at=2, kind='sensor', moves=True)]
    """

    def __init__(self) -> None:
        self._first, self._best = -BLOCK, (False, -np.inf, -BLOCK)

    def see(self, at: int, patient: float, sensor: float) -> Change | None:
        r"""Takes in how far the logits at a window pass.

        Arguments:
            at: The window.
            patient: How far that of a new patient passes its limit.
            sensor: The same for a new sensor.
        """
        if max(patient, sensor) <= 0:
            return None
        own = (patient > 0, patient if patient > 0 else sensor, at)
        waiting = at < self._first + BLOCK
        if waiting and own > self._best:
            self._best = own
        elif at >= self._best[2] + BLOCK:
            self._first, self._best, waiting = at, own, False
        else:
            return None
        return Change(at, "patient" if own[0] else "sensor", waiting)


class _Before:
    """Averages of the features of a pool as it grows."""

    def __init__(self) -> None:
        self.n, self.start_s, self.last_s, self._weight = 0, 0.0, 0.0, 0.0
        self._sum, self._near, self._last = torch.zeros(()), torch.zeros(()), deque[Tensor](maxlen=BLOCK)

    def add(self, f: Float[Tensor, " F"], time_s: float) -> None:
        keep = float(np.exp(-(time_s - self.last_s) / NEAR_S)) if self.n else 0.0
        self._sum, self._near, self._weight = self._sum + f, keep * self._near + f, keep * self._weight + 1.0
        self._last.append(f)
        self.start_s = time_s if self.n == 0 else self.start_s
        self.n, self.last_s = self.n + 1, time_s

    def logits(self, detector: ChangeDetector, block: list[Tensor], time_s: float) -> tuple[float, float]:
        last = torch.stack(list(self._last)).mean(0)
        means = (self._sum / self.n, self._near / self._weight, last, torch.stack(block).mean(0))
        length_s = np.array([self.last_s - self.start_s])
        extra = told(np.array([self.n]), np.array([time_s - self.last_s]), length_s)
        patient, sensor = detector(*(m[None] for m in means), extra)[0].tolist()
        return patient, sensor


class ChangeFinder:
    r"""Finds changes as windows come.

    Arguments:
        detector: The detector.

    Example:
        >>> finder = ChangeFinder(ChangeDetector(4, 8, 8))
        >>> finder.add(torch.zeros(4), 0.0) is None
        True
    """

    def __init__(self, detector: ChangeDetector) -> None:
        self._detector, self._judge = detector, Judge()
        self._late: deque[tuple[Tensor, float]] = deque()
        self._before: _Before = _Before()
        self._fresh: _Before | None = None
        self._seen, self._since = 0, 0

    @torch.no_grad()
    def add(self, signature: Float[Tensor, " inputs"], time_s: float) -> Change | None:
        r"""Takes a window in; says where a change was, if its three windows have just come.

        Arguments:
            signature: Its signature.
            time_s: Its start [s].
        """
        self._late.append((self._detector.features(signature[None])[0], time_s))
        self._seen += 1
        if len(self._late) < BLOCK:
            return None
        at, found = self._seen - BLOCK, None
        if self._before.n >= BLOCK:
            logits = self._before.logits(self._detector, [f for f, _ in self._late], self._late[0][1])
            limits = self._detector.limits.tolist()
            found = self._judge.see(at, logits[0] - limits[0], logits[1] - limits[1])
        if found is not None and found.kind == "patient":
            self._fresh, self._since = _Before(), at
        for pool in (self._before, self._fresh):
            if pool is not None:
                pool.add(*self._late[0])
        if self._fresh is not None and at >= self._since + BLOCK - 1:
            self._before, self._fresh = self._fresh, None
        self._late.popleft()
        return found


def find_changes(
    detector: ChangeDetector, h: Float[Tensor, "W inputs"], time_s: Float[np.ndarray, " W"]
) -> list[Change]:
    r"""Changes of a whole recording, in order.

    Arguments:
        detector: The detector.
        h: Signatures in order of time.
        time_s: Start of every window [s].

    Example:
        >>> find_changes(ChangeDetector(4, 8, 8), torch.zeros(2, 4), np.array([0.0, 8.0]))
        []
    """
    finder, changes = ChangeFinder(detector), list[Change]()
    for signature, start_s in zip(h, time_s, strict=True):
        found = finder.add(signature, float(start_s))
        if found is None:
            continue
        if found.moves:
            changes.pop()
        changes.append(found)
    return changes


def split_pool(detector: ChangeDetector, h: Float[Tensor, "W inputs"], time_s: Float[np.ndarray, " W"]) -> list[int]:
    r"""First windows of the patients of a recording, the first of them 0.

    Arguments:
        detector: The detector.
        h: Signatures in order of time.
        time_s: Start of every window [s].

    Example:
        >>> split_pool(ChangeDetector(4, 8, 8), torch.zeros(2, 4), np.array([0.0, 8.0]))
        [0]
    """
    return [0, *(change.at for change in find_changes(detector, h, time_s) if change.kind == "patient")]


def sensor_states(changes: list[Change], windows: int) -> Int[np.ndarray, " W"]:
    r"""Number of the sensor's state in every window, counted from 0; a new patient has a new sensor.

    Arguments:
        changes: The changes of a recording.
        windows: Number of its windows.

    Example:
        >>> sensor_states([Change(2, "sensor")], 4).tolist()
        [0, 0, 1, 1]
    """
    states = np.zeros(windows, np.int64)
    for change in changes:
        states[change.at :] += 1
    return states
