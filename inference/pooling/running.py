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
from .overlap import overlaps
from .pools import SCALES_S
from .segments import BLOCK, ChangeFinder

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
        window_s: Length of windows [s]; one that begins before the last that counts has ended does not count.

    Example:
        >>> from pulsebayes.inference.bundle import Bundle, find_bundle
        >>> from pulsebayes.inference.pooling.layer import load_pooling
        >>> folder = find_bundle("radial-abp")
        >>> pool = RunningPool(load_pooling(folder, Bundle.load(folder)), 8.0)
        >>> [pool.add(torch.zeros(73), 8.0 * i) is None for i in range(2)], pool.windows
        ([True, False], 2)
    """

    def __init__(self, layer: PoolingLayer, window_s: float) -> None:
        self._layer, self._finder, self._window_s = layer, ChangeFinder(layer.detector), window_s
        self._now_s, self.counted = -math.inf, True
        self._late: deque[tuple[Tensor, float]] = deque(maxlen=BLOCK)
        self._start([])

    def _start(self, windows: list[tuple[Tensor, float]]) -> None:
        """A new pool of some windows."""
        npe = self._layer.npe
        self._sums = torch.zeros(len(SCALES_S), 2 * npe.config.features + 1, dtype=torch.float64)
        self._time_s, self.windows, self.start_s, self.sensor_start_s = -math.inf, 0, math.nan, math.nan
        for unit, time_s in windows:
            self._count(unit, time_s)

    @torch.no_grad()
    def add(self, unit: Float[Tensor, " inputs"], time_s: float, *, counts: bool = True) -> PoolContext | None:
        r"""Takes a window in.

        Arguments:
            unit: Its vector, from ``PooledNPE.unit``.
            time_s: Its start [s], not before that of the last.
            counts: Whether it may count; one that may not is told of the pool and no part of it.

        Returns:
            What the pool says of it, or None where the pool holds no two windows.
            Whether it counts is said by ``counted``.
        """
        self._now_s, self.counted = time_s, counts and not overlaps(time_s, self._time_s, self._window_s)
        if self.counted:
            self._take(unit, time_s)
        return None if self.windows < 2 else self._told(unit, *self._averages())

    def _take(self, unit: Tensor, time_s: float) -> None:
        self._late.append((unit, time_s))
        self._count(unit, time_s)
        found = self._finder.add(self._layer.npe.signature(unit), time_s)
        if found is not None:
            self._start(list(self._late)) if found.kind == "patient" else self._renew()

    def _averages(self) -> tuple[Tensor, Tensor]:
        """Averages, and effective numbers of windows as they are at the window that came last."""
        counts = self._sums[:, -1]
        keep = [math.exp(-(self._now_s - self._time_s) / scale) for scale in SCALES_S]
        since = torch.tensor(keep, dtype=torch.float64)
        return (self._sums[:, :-1] / counts[:, None]).float(), (since * counts).float()

    def _told(self, unit: Tensor, averages: Tensor, counts: Tensor) -> PoolContext:
        span_s = torch.tensor([self._time_s - self.start_s], dtype=torch.float32)
        return self._layer.npe.context(unit[None], averages[None], counts[None], span_s).row(0)

    def told_of(self, unit: Float[Tensor, " inputs"]) -> PoolContext:
        r"""What the pool as it is now says of one of its windows.

        Arguments:
            unit: The window's vector, from ``PooledNPE.unit``.
        """
        return self._told(unit, *self._averages())

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
        if self.windows == 0:
            self.start_s = self.sensor_start_s = time_s
        self._time_s, self.windows = time_s, self.windows + 1

    def _renew(self) -> None:
        """What follows the sensor starts anew with the last three windows."""
        patient, windows, start_s = self._sums[0], self.windows, self.start_s
        self._start(list(self._late))
        self._sums[0], self.windows, self.start_s = patient, windows, start_s
