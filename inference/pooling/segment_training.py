r"""Training of the detector of changes, its limits, and what it finds and invents.

First features and heads learn together on a dozen windows of each pool; then, the features held, the heads on means
over whole pools. Those of a weighted detector learn together on whole pools (``segment_pools``). A pair is a pool and
three windows after it: of another recording, across a change of the sensor, or the next three of the same. Limits are
set on hours that were not trained on: the highest logit where nothing changed, and a margin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..contract import joined
from .features import EmbeddedRecordings
from .segment_pools import WholePools, train_weighted
from .segments import BLOCK, NEAR_S, Change, ChangeDetector, Judge, sensor_states, told

__all__ = [
    "DetectorTraining",
    "all_states",
    "measure_detector",
    "measure_quiet",
    "set_limits",
    "train_detector",
]

_SHOWN = 12  # windows of a pool in the first steps
_TOGETHER, _MOST = 25, 200  # splices after as many windows, and the most of those
_ROWS = 4096  # windows whose logits are computed at once
_VALUES = 2**24  # features that are held at once


@dataclass(frozen=True)
class DetectorTraining:
    r"""How long to train the detector, and how careful it is.

    Arguments:
        members: Networks whose logits are averaged.
        hidden: Width of the networks.
        weighted: Whether windows weigh in averages by what they know; features and heads then learn together.
        first_steps: Steps of features and heads together; none where they are weighted.
        steps: Steps of the heads, or of both where they are weighted.
        pairs: Pairs of a step.
        noise: Standard deviation of the noise on features.
        margin: Logits by which a new patient's limit lies above the highest that may not be called.
        patient_an_hour: New patients that may be called in an hour without any.
        sensor_an_hour: New sensors that may be called in an hour without any.
        held: Recordings of each set that are not trained on, the first ones.
        seed: Seed of weights and pairs.

    Raises:
        ValueError: If a weighted detector is to learn in two stages.

    Example:
        >>> DetectorTraining(steps=10).members
        2
    """

    members: int = 2
    hidden: int = 96
    weighted: bool = False
    first_steps: int = 2500
    steps: int = 5000
    pairs: int = 512
    noise: float = 0.1
    margin: float = 0.5
    patient_an_hour: float = 0.0
    sensor_an_hour: float = 0.05
    held: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.weighted and self.first_steps:
            raise ValueError(f"a weighted detector has no first steps, got {self.first_steps}: set first_steps = 0")

    def shape(self) -> dict[str, Any]:
        r"""Arguments of the detector, but for the length of signatures."""
        return {"hidden": self.hidden, "members": self.members, "weighted": self.weighted}


def train_detector(
    sets: Sequence[tuple[Float[Tensor, "R W inputs"], EmbeddedRecordings]],
    config: DetectorTraining,
    *,
    held: Sequence[int] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> ChangeDetector:
    r"""Trains a detector on spliced and unspliced recordings; its limits are set apart, by ``set_limits``.

    Arguments:
        sets: Signatures and the recordings they are of; the steps take them in turn.
        config: How long.
        held: Recordings of each set that are not trained on, where these are not ``config.held`` of all.
        progress: Told now and then.

    Example:
        >>> train_detector.__annotations__["config"]
        'DetectorTraining'
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        detector = ChangeDetector(sets[0][0].shape[-1], **config.shape())
    own = [(h, data, n) for (h, data), n in zip(sets, held or [config.held] * len(sets), strict=True)]
    rows = torch.cat([h[n:][torch.from_numpy(data.usable[n:])] for h, data, n in own])
    detector.mean.copy_(rows.mean(0))
    detector.sd.copy_(rows.std(0).clamp_min(1e-3))
    if config.weighted:
        pools = [WholePools((h - detector.mean) / detector.sd, data, n) for h, data, n in own]
        for number, member in enumerate(detector.members):
            seed = config.seed + number
            loss = train_weighted(member, pools, steps=config.steps, pairs=config.pairs, noise=config.noise, seed=seed)
            progress(f"detector {number + 1}: loss {loss:.3f}")
        return detector.eval()
    made = [_Pairs((h[n:] - detector.mean) / detector.sd, data, n) for h, data, n in own]
    for number, member in enumerate(detector.members):
        for stage, steps in enumerate((config.first_steps, config.steps)):
            loss = _train_member(member, made, config, stage, steps, config.seed + number)
            progress(f"detector {number + 1}, stage {stage + 1}: loss {loss:.3f}")
    return detector.eval()


def _train_member(
    member: nn.Module, sets: Sequence[_Pairs], config: DetectorTraining, stage: int, steps: int, seed: int
) -> float:
    trained = list(member.parameters() if stage == 0 else member.head.parameters())  # type: ignore[union-attr]
    optimizer = torch.optim.AdamW(trained, lr=2e-3, weight_decay=1e-2)
    averages = [pairs.averages(member) for pairs in sets] if stage else []
    mean = 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 100) * (1.01 - step / steps)
        rng = np.random.default_rng([seed, stage, step])
        pairs = sets[step % len(sets)]
        drawn = pairs.draw(rng, config.pairs // 2 if stage == 0 else config.pairs)
        if stage:
            logits = _of_means(member, averages[step % len(sets)], drawn, rng, config.noise)
        else:
            logits = pairs.of_some(member, drawn, rng, config.noise)
        loss = drawn.loss(logits)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        mean += 0.01 * (float(loss.detach()) - mean)
    return mean


@dataclass(frozen=True)
class _Drawn:
    """Pairs: a pool of ``size`` windows before ``at`` of a recording, and three windows of one from ``begin`` on."""

    recording: Int[np.ndarray, " N"]
    at: Int[np.ndarray, " N"]
    size: Int[np.ndarray, " N"]
    other: Int[np.ndarray, " N"]
    begin: Int[np.ndarray, " N"]
    gap_s: Float[np.ndarray, " N"]
    length_s: Float[np.ndarray, " N"]
    spliced: Bool[np.ndarray, " N"]
    sensor: Bool[np.ndarray, " N"]
    mixed: Bool[np.ndarray, " N"]
    """Whether the sensor changes within the three windows or the three before, so that neither answer is right."""

    def loss(self, logits: Float[Tensor, "N 2"]) -> Float[Tensor, ""]:
        spliced, sensor = (torch.from_numpy(x.astype(np.float32)) for x in (self.spliced, self.sensor))
        counted = torch.from_numpy((~self.spliced & ~self.mixed).astype(np.float32))
        patient = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], spliced)
        each = nn.functional.binary_cross_entropy_with_logits(logits[:, 1], sensor, reduction="none")
        return patient + (each * counted).sum() / counted.sum().clamp_min(1.0)


class _Pairs:
    """Standardised signatures of recordings, from which pairs are drawn."""

    def __init__(self, h: Tensor, data: EmbeddedRecordings, held: int) -> None:
        self.h, self.time_s = h, data.time_s[held:]
        self.change_s = np.where(np.isfinite(data.change_s[held:]), data.change_s[held:], np.inf)
        later = self.time_s >= self.change_s[:, None]
        at = np.where(later.any(1), later.argmax(1), 0)
        self.change_at, self.least = at, min(BLOCK, h.shape[1] - BLOCK)
        self.changing = np.flatnonzero((at >= self.least) & (at <= h.shape[1] - BLOCK))

    def draw(self, rng: np.random.Generator, n: int) -> _Drawn:
        recordings, windows = self.h.shape[:2]
        which = rng.random(n)
        spliced, changed = which < 0.5, (which > 0.85) & (len(self.changing) > 0)
        r, at = rng.integers(recordings, size=n), rng.integers(self.least, windows - BLOCK + 1, size=n)
        if len(self.changing):
            r = np.where(changed, rng.choice(self.changing, size=n), r)
        at = np.where(changed, self.change_at[r], at)
        size = np.maximum(self.least, np.minimum(at, np.exp(rng.uniform(0, np.log(at + 1))).astype(int)))
        other = np.where(spliced, (r + 1 + rng.integers(recordings - 1, size=n)) % recordings, r)
        begin = np.where(spliced, rng.integers(windows - BLOCK + 1, size=n), at)
        first, last = self.time_s[r, at - size], self.time_s[r, at - 1]
        lately = self.time_s[r, np.maximum(at - BLOCK, 0)]
        change, end = self.change_s[r], self.time_s[r, at + BLOCK - 1]
        sensor = ~spliced & (change > last) & (change <= self.time_s[r, at])
        mixed = ~spliced & ~sensor & (change > lately) & (change <= end)
        gap_s = np.maximum(self.time_s[r, at] - last, 1.0)
        return _Drawn(r, at, size, other, begin, gap_s, last - first, spliced, sensor, mixed)

    def of_some(self, member: nn.Module, drawn: _Drawn, rng: np.random.Generator, noise: float) -> Tensor:
        """Logits from some windows of each pool, its last three and the three after it."""
        r, at = drawn.recording[:, None], drawn.at[:, None]
        some = at - 1 - (rng.random((len(at), _SHOWN)) * drawn.size[:, None]).astype(int)
        pool = np.concatenate((some, np.maximum(at - 1 - np.arange(BLOCK), 0)), 1)
        h = torch.cat((self.h[r, pool], self.h[drawn.other[:, None], drawn.begin[:, None] + np.arange(BLOCK)]), 1)
        h = h + noise * torch.from_numpy(rng.standard_normal(h.shape, dtype=np.float32))
        f = member.features(h)  # type: ignore[operator]
        since = self.time_s[r, at - 1] - self.time_s[r, pool]
        weight = torch.from_numpy(np.exp(-since / NEAR_S).astype(np.float32))[..., None]
        near = (f[:, : _SHOWN + BLOCK] * weight).sum(1) / weight.sum(1)
        means = (f[:, :_SHOWN].mean(1), near, f[:, _SHOWN : _SHOWN + BLOCK].mean(1), f[:, -BLOCK:].mean(1))
        extra = told(np.minimum(drawn.size, _SHOWN), drawn.gap_s, drawn.length_s)
        return member(*means, extra)  # type: ignore[no-any-return]

    @torch.no_grad()
    def averages(self, member: nn.Module) -> _Averages:
        return _Averages.of(member.features(self.h), self.time_s)  # type: ignore[operator]


@dataclass(frozen=True)
class _Averages:
    """Running sums of features, and means of the last minute up to each window."""

    sums: Float[Tensor, "R V F"]
    near: Float[Tensor, "R W F"]
    spread: Float[Tensor, " F"]

    @classmethod
    def of(cls, f: Float[Tensor, "R W F"], time_s: Float[np.ndarray, "R W"], *, exact: bool = False) -> _Averages:
        keep = torch.from_numpy(np.exp(-np.diff(time_s, axis=1) / NEAR_S).astype(np.float32))
        sums, weights = [f[:, 0]], [torch.ones(len(f))]
        for i in range(1, f.shape[1]):
            sums.append(keep[:, i - 1, None] * sums[-1] + f[:, i])
            weights.append(keep[:, i - 1] * weights[-1] + 1.0)
        near = torch.stack(sums, 1) / torch.stack(weights, 1)[..., None]
        running = f.double() if exact else f  # weights of windows differ by millions
        total = torch.cat((torch.zeros_like(running[:, :1]), running.cumsum(1)), 1)
        return cls(total, near, f.flatten(0, 1).std(0))

    def means(self, drawn: _Drawn) -> list[Tensor]:
        r, at, size, begin = drawn.recording, drawn.at, drawn.size, drawn.begin
        before = (self.sums[r, at] - self.sums[r, at - size]) / torch.from_numpy(size)[:, None].float()
        few = np.minimum(BLOCK, at)
        last = (self.sums[r, at] - self.sums[r, at - few]) / torch.from_numpy(few)[:, None].float()
        block = (self.sums[drawn.other, begin + BLOCK] - self.sums[drawn.other, begin]) / BLOCK
        return [before.float(), self.near[r, at - 1], last.float(), block.float()]


def _of_means(
    member: nn.Module, averages: _Averages, drawn: _Drawn, rng: np.random.Generator, noise: float
) -> Float[Tensor, "N 2"]:
    scale = noise * averages.spread
    means = [
        m + scale * torch.from_numpy(rng.standard_normal(m.shape, dtype=np.float32)) for m in averages.means(drawn)
    ]
    return member(*means, told(drawn.size, drawn.gap_s, drawn.length_s))  # type: ignore[no-any-return]


@torch.no_grad()
def _logits(detector: ChangeDetector, h: Float[Tensor, "R W inputs"], time_s: Float[np.ndarray, "R W"]) -> np.ndarray:
    """Logits at every window of recordings, each as one pool, (R, W, 2); minus infinity where there are none."""
    r, w = h.shape[:2]
    found = np.full((r, w, 2), -np.inf)
    if w < 2 * BLOCK:
        return found
    most = max(1, _VALUES // (w * detector.features(h[:1, 0]).shape[-1])) if detector.weighted else r
    if r > most:
        parts = [slice(i, i + most) for i in range(0, r, most)]
        return np.concatenate([_logits(detector, h[part], time_s[part]) for part in parts])
    averages = _Averages.of(detector.features(h), time_s, exact=detector.weighted)
    places = np.arange(BLOCK, w - BLOCK + 1)
    for at in np.array_split(places, min(math.ceil(r * len(places) / _ROWS), len(places))):
        own, here = np.repeat(np.arange(r), len(at)), np.tile(at, r)
        gap_s, length_s = time_s[own, here] - time_s[own, here - 1], time_s[own, here - 1] - time_s[own, 0]
        none = np.zeros(len(own), bool)
        drawn = _Drawn(own, here, here, own, here, gap_s, length_s, none, none, none)
        found[own, here] = detector(*averages.means(drawn), told(here, gap_s, length_s)).numpy()
    return found


def set_limits(
    detector: ChangeDetector,
    h: Float[Tensor, "R W inputs"],
    data: EmbeddedRecordings,
    *,
    margin: float = 0.5,
    patient_an_hour: float = 0.0,
    sensor_an_hour: float = 0.05,
) -> dict[str, float]:
    r"""Sets the limits where nothing is spliced, each to few calls an hour, a new patient's with a margin.

    Arguments:
        detector: The detector.
        h: Signatures of recordings that it was not trained on.
        data: The recordings.
        margin: Logits above the highest that is not called.
        patient_an_hour: New patients that may be called in an hour without any.
        sensor_an_hour: New sensors that may be called in an hour without any.

    Returns:
        The limits and the hours.

    Example:
        >>> set_limits.__kwdefaults__["margin"]
        0.5
    """
    logits = _logits(detector, h, data.time_s)
    near = np.abs(data.time_s - np.where(np.isfinite(data.change_s), data.change_s, -np.inf)[:, None])
    sensor = np.where(near > 5 * np.median(np.diff(data.time_s)), logits[..., 1], -np.inf)
    hours = float((data.time_s[:, -1] - data.time_s[:, 0] + 8.0).sum()) / 3600.0
    highest = [
        float(np.sort(one.max(1))[::-1][min(int(an_hour * hours), len(one) - 1)])
        for one, an_hour in ((logits[..., 0], patient_an_hour), (sensor, sensor_an_hour))
    ]
    limits = torch.tensor([highest[0] + margin, highest[1]])
    detector.limits.copy_(limits)
    return {"patient": round(float(limits[0]), 3), "sensor": round(float(limits[1]), 3), "hours": round(hours, 1)}


def all_states(
    detector: ChangeDetector, h: Float[Tensor, "R W inputs"], time_s: Float[np.ndarray, "R W"]
) -> tuple[Int[np.ndarray, "R W"], list[list[Change]]]:
    r"""Number of the sensor's state in every window of recordings of one patient each, and the changes found.

    Arguments:
        detector: The detector.
        h: Signatures.
        time_s: Start of every window [s].

    Example:
        >>> states, changes = all_states(ChangeDetector(4, 8, 8), torch.zeros(2, 5, 4), np.arange(10.0).reshape(2, 5))
        >>> states.shape, changes
        ((2, 5), [[], []])
    """
    passed = _logits(detector, h, time_s) - detector.limits.numpy()
    found = []
    for row in passed:
        judge, changes = Judge(), list[Change]()
        for at in np.flatnonzero(row.max(1) > 0):
            change = judge.see(int(at), float(row[at, 0]), float(row[at, 1]))
            if change is not None:
                changes = [*changes[: len(changes) - change.moves], change]
        found.append(changes)
    return np.stack([sensor_states(changes, h.shape[1]) for changes in found]), found


def measure_detector(
    detector: ChangeDetector, h: Float[Tensor, "R W inputs"], data: EmbeddedRecordings, *, splices: int = 1000
) -> dict[str, Any]:
    r"""Splices found, changes of the sensor found by kind, and what was called where nothing changed.

    Arguments:
        detector: The detector.
        h: Signatures of recordings that it was not trained on.
        data: The recordings.
        splices: Number of splices.

    Returns:
        JSON-able: shares, with the number that each is of.

    Example:
        >>> measure_detector.__kwdefaults__["splices"]
        1000
    """
    _, found = all_states(detector, h, data.time_s)
    windows = h.shape[1]
    counted: dict[str, list[float]] = {}
    for r, changes in enumerate(found):
        at = int((data.time_s[r] < data.change_s[r]).sum()) if np.isfinite(data.change_s[r]) else -windows
        here = [c for c in changes if abs(c.at - at) < BLOCK]
        counted.setdefault("called elsewhere", []).append(float(len(changes) - len(here)))
        if BLOCK <= at <= windows - BLOCK:
            names = ["sensor changes", "of the line" if data.relined[r] else "", *_sizes(float(data.step_mmhg[r]))]
            for name in filter(None, names):
                counted.setdefault(name, []).append(float(any(c.kind == "sensor" for c in here)))
            counted.setdefault("sensor changes taken for patients", []).append(
                float(any(c.kind == "patient" for c in here))
            )
    counted["splices"] = [float(found) for found, *_ in _splices(detector, h, data.time_s, splices)]
    return _shares(counted)


def _shares(counted: dict[str, list[float]]) -> dict[str, Any]:
    return {name: {"share": round(float(np.mean(v)), 4), "of": len(v)} for name, v in counted.items() if v}


def measure_quiet(
    detector: ChangeDetector,
    h: Float[Tensor, "R W inputs"],
    data: EmbeddedRecordings,
    *,
    splices: int = 1000,
    names: Sequence[str] = (),
) -> dict[str, Any]:
    r"""False splits an hour in recordings of one patient each, and the share of splices of two of them that is found.

    Arguments:
        detector: The detector.
        h: Signatures of recordings on which neither detector nor limits were made.
        data: The recordings.
        splices: Number of splices.
        names: Names of the channels, where there are several.

    Returns:
        JSON-able: ``hours``, ``false_splits``, ``an_hour`` with its 95 % Poisson interval ``between``, ``splices`` as
            ``measure_detector`` tells them and, of several channels, ``splices_by_channels``: by those given in any
            window before and in any of the three after.

    Example:
        >>> measure_quiet.__kwdefaults__["splices"]
        1000
    """
    from scipy.stats import chi2

    _, found = all_states(detector, h, data.time_s)
    false = sum(change.kind == "patient" for changes in found for change in changes)
    hours = float((data.time_s[:, -1] - data.time_s[:, 0] + 8.0).sum()) / 3600.0
    between = chi2.ppf(0.025, 2 * false) / 2 if false else 0.0, chi2.ppf(0.975, 2 * false + 2) / 2
    return {
        "hours": round(hours, 1),
        "false_splits": false,
        "an_hour": round(false / hours, 4),
        "between": [round(float(x) / hours, 4) for x in between],
        **_by_channels(_splices(detector, h, data.time_s, splices), data.given, names),
    }


def _by_channels(
    found: list[tuple[bool, int, int, int, int]], given: Bool[np.ndarray, "R W C"], names: Sequence[str]
) -> dict[str, Any]:
    """Shares of splices found, of all and by channels before and after."""
    shares = _shares({"splices": [float(hit) for hit, *_ in found]})
    if len(names) < 2:
        return shares
    counted: dict[str, list[float]] = {}
    for hit, a, n, b, m in found:
        before, after = _named(given[a, :n], names), _named(given[b, m : m + BLOCK], names)
        counted.setdefault(f"{before}, then {after}", []).append(float(hit))
    return shares | {"splices_by_channels": _shares(dict(sorted(counted.items())))}


def _named(given: Bool[np.ndarray, "W C"], names: Sequence[str]) -> str:
    return joined([name for c, name in enumerate(names) if given[:, c].any()])


def _sizes(step_mmhg: float) -> list[str]:
    size = abs(step_mmhg)
    return [f"of the zero by {low} to {high} mmHg" for low, high in ((1, 5), (5, 10), (10, 40)) if low <= size < high]


def _splices(
    detector: ChangeDetector, h: Tensor, time_s: Float[np.ndarray, "R W"], splices: int
) -> list[tuple[bool, int, int, int, int]]:
    """Whether splices are called as new patients within three windows, and of which n windows of a and which of b."""
    found = list[tuple[bool, int, int, int, int]]()
    while len(found) < splices:
        rng = np.random.default_rng([31, len(found) // _TOGETHER])
        a = rng.integers(len(h), size=_TOGETHER)
        b = (a + 1 + rng.integers(len(h) - 1, size=_TOGETHER)) % len(h)
        n, m = (int(x) for x in rng.integers(BLOCK + 1, min(h.shape[1], _MOST) - BLOCK, 2))
        joined_h = torch.cat((h[a, :n], h[b, m : m + BLOCK + 1]), 1)
        _, changes = all_states(detector, joined_h, time_s[a, : joined_h.shape[1]])
        hits = [any(c.kind == "patient" and n <= c.at < n + BLOCK for c in row) for row in changes]
        found += [(hit, int(i), n, int(j), m) for hit, i, j in zip(hits, a, b, strict=True)]
    return found[:splices]
