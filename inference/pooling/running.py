r"""The pool of a monitor: what is kept of all windows so far, a few hundred numbers, brought up to date by each."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .layer import PoolingLayer
from .network import PoolContext
from .pools import SCALES_S
from .segments import BLOCK, score_block

__all__ = ["Mark", "RunningPool"]


@dataclass(frozen=True)
class Mark:
    r"""A window of a pool as it was when it came, to tell later what the grown pool says of it.

    Arguments:
        unit: Its vector, from ``PooledNPE.unit``.
        averages: Averages over the pool at its time.
        counts: Effective numbers of windows behind them.
        centre: Its standardised outputs by the pool at its time.

    Example:
        >>> Mark(*torch.zeros(4, 2)).centre.shape
        torch.Size([2])
    """

    unit: Float[Tensor, " inputs"]
    averages: Float[Tensor, "scale features"]
    counts: Float[Tensor, " scale"]
    centre: Float[Tensor, " D"]


class RunningPool:
    r"""The pool of a monitor, which starts anew where the patient changes.

    Arguments:
        layer: The pooling layer.

    Example:
        >>> from pulsebayes.inference.bundle import Bundle, find_bundle
        >>> from pulsebayes.inference.pooling.layer import load_pooling
        >>> folder = find_bundle("radial-abp")
        >>> pool = RunningPool(load_pooling(folder, Bundle.load(folder)))
        >>> [pool.add(torch.zeros(73), 8.0 * i) is None for i in range(2)], pool.windows
        ([True, False], 2)
    """

    def __init__(self, layer: PoolingLayer) -> None:
        self._layer = layer
        self._late: deque[tuple[Tensor, Tensor, float]] = deque()
        self._start([])

    def _start(self, windows: list[tuple[Tensor, float]]) -> None:
        """A new pool of some windows."""
        npe = self._layer.npe
        self._sums = torch.zeros(len(SCALES_S), 2 * npe.config.features + 1, dtype=torch.float64)
        self._before = torch.zeros(self._layer.detector.inputs)
        self._near, self._weight, self._n_before, self._last_before = self._before.clone(), 0.0, 0, -math.inf
        self._time_s, self.windows, self.start_s = -math.inf, 0, math.nan
        for unit, time_s in windows:
            self._count(unit, time_s)

    @torch.no_grad()
    def add(self, unit: Float[Tensor, " inputs"], time_s: float) -> PoolContext | None:
        r"""Takes a window in.

        Arguments:
            unit: Its vector, from ``PooledNPE.unit``.
            time_s: Its start [s], not before that of the last.

        Returns:
            What the pool says of it, or None where the pool holds this window only.
        """
        npe, detector = self._layer.npe, self._layer.detector
        self._late.append((unit, detector.standard(npe.signature(unit)), time_s))
        self._count(unit, time_s)
        if len(self._late) == BLOCK and self._spliced():
            self._start([(one, at) for one, _, at in self._late])
        if len(self._late) == BLOCK:
            self._forget()
        return None if self.windows == 1 else self._told(unit, *self._averages())

    def _averages(self) -> tuple[Tensor, Tensor]:
        counts = self._sums[:, -1]
        return (self._sums[:, :-1] / counts[:, None]).float(), counts.float()

    def _told(self, unit: Tensor, averages: Tensor, counts: Tensor) -> PoolContext:
        span_s = torch.tensor([self._time_s - self.start_s], dtype=torch.float32)
        return self._layer.npe.context(unit[None], averages[None], counts[None], span_s).row(0)

    def mark(self, unit: Float[Tensor, " inputs"], told: PoolContext) -> Mark:
        r"""Remembers the window that came last.

        Arguments:
            unit: Its vector, from ``PooledNPE.unit``.
            told: What ``add`` returned of it.
        """
        return Mark(unit, *self._averages(), told.centre)

    @torch.no_grad()
    def moved(self, mark: Mark) -> Float[np.ndarray, " D"]:
        r"""How much higher the grown pool puts a window's outputs than the pool of its time, in units of shared errors.

        Arguments:
            mark: The window.
        """
        averages, counts = self._averages()
        averages, counts = torch.cat((averages[:1], mark.averages[1:])), torch.cat((counts[:1], mark.counts[1:]))
        npe = self._layer.npe
        by = (self._told(mark.unit, averages, counts).centre - mark.centre) / npe.shared_sd[: npe.outputs]
        return np.asarray(by.double().numpy())

    def _count(self, unit: Tensor, time_s: float) -> None:
        features = self._layer.npe.features(unit[None])[0].double()
        row = torch.cat((features, torch.ones(1, dtype=torch.float64)))
        keep = [math.exp(-(time_s - self._time_s) / scale) if self.windows else 0.0 for scale in SCALES_S]
        self._sums = torch.tensor(keep, dtype=torch.float64)[:, None] * self._sums + row
        self.start_s = time_s if self.windows == 0 else self.start_s
        self._time_s, self.windows = time_s, self.windows + 1

    def _spliced(self) -> bool:
        """Whether the last three windows are of another patient than those before them."""
        if self._n_before < BLOCK:
            return False
        block = torch.stack([signature for _, signature, _ in self._late])
        gap = self._late[0][2] - self._last_before
        near = self._near / self._weight
        detector = self._layer.detector
        before = self._before / self._n_before
        return score_block(detector, before, near, block, self._n_before, gap) > float(detector.limit)

    def _forget(self) -> None:
        """The oldest of the last three joins those before them."""
        _, signature, time_s = self._late.popleft()
        keep = math.exp(-(time_s - self._last_before) / 60.0) if self._n_before else 0.0
        self._before = self._before + signature
        self._near, self._weight = keep * self._near + signature, keep * self._weight + 1.0
        self._n_before, self._last_before = self._n_before + 1, time_s
