r"""Windows of a simulator joined to one wave of any length, at the feet of its beats.

A simulator's window repeats after its own whole number of beats, and the parameters of neighbouring windows differ a
little. Each window is cut at the foot of a beat, as near as there is one to where the next window is due, so that the
wave never runs ahead of its parameters by more than half a beat; the ends overlap by .16 s and are blended. Breathing
starts anew with each window.

Units: pressure in mmHg, photoplethysmograms scaled to 0..1, seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ..waveforms.beats import detect_beats
from .status import usable

__all__ = ["Continuous", "simulate_continuous"]

BLEND_S = 0.16
MARGIN_S = 3.0
"""A window is simulated this much longer than the time to the next, for its beats to be cut from [s]."""
_BLOCK = 64


@dataclass(frozen=True)
class Continuous:
    r"""Waves of one patient without a break.

    Arguments:
        waves: Wave of each site.
        quantities: Quantities of every window.
        usable: Whether a window was simulated without fault; where not, the window before goes on.
        beats_s: Feet of the beats in the first site's wave [s].
        fs: Sampling rate [Hz].

    Example:
        >>> Continuous({}, {}, np.ones(2, bool), np.zeros(0), 125.0).fs
        125.0
    """

    waves: Mapping[str, Float[np.ndarray, " time"]]
    quantities: Mapping[str, Float[np.ndarray, " W"]]
    usable: Bool[np.ndarray, " W"]
    beats_s: Float[np.ndarray, " beats"] = field(default_factory=lambda: np.zeros(0))
    fs: float = 125.0


def simulate_continuous(
    simulator: Any, theta: Float[np.ndarray, "W D"], *, every_s: float = 8.0, seed: int = 0
) -> Continuous:
    r"""Simulates a wave whose parameters change from window to window.

    Arguments:
        simulator: A simulator of windows; they must be longer than `every_s` by 3 s. Its first site's wave is cut at
            the feet of its beats, so that must be a pressure.
        theta: Parameters of each window.
        every_s: Time from one window to the next [s].
        seed: Seed of beats and phases.

    Raises:
        ValueError: If windows are too short, or not one could be simulated.

    Example:
        >>> from pulsebayes.simulators.network.linear import LinearNetwork
        >>> simulator = LinearNetwork(duration_s=11.0, n_frequencies=40, sites=("Radial",))
        >>> theta = np.repeat(simulator.space.sample(np.random.default_rng(0), 1), 3, axis=0)
        >>> made = simulate_continuous(simulator, theta)
        >>> len(made.waves["Radial"])
        3000
    """
    if simulator.duration_s < every_s + MARGIN_S - 1e-9:
        raise ValueError(
            f"windows must last {every_s + MARGIN_S:g} s or more to be joined every {every_s:g} s, got "
            f"{simulator.duration_s:g} s"
        )
    fs, sites = float(simulator.fs), tuple(simulator.sites)
    joiner = _Joiner(len(sites), round(len(theta) * every_s * fs), fs)
    quantities, good = [], []
    last: np.ndarray | None = None
    for first in range(0, len(theta), _BLOCK):
        rows = theta[first : first + _BLOCK]
        padded = np.concatenate([rows, np.repeat(rows[-1:], _BLOCK - len(rows), axis=0)])
        made = simulator.simulate(padded, seed + first)
        fine = np.asarray(usable(made.status), bool) & np.isfinite(made.waves).all((1, 2))
        for i in range(len(rows)):
            last = np.asarray(made.waves[i]) if fine[i] or last is None else last
            joiner.add(last, (first + i + 1) * every_s)
        quantities.append(np.asarray(made.quantities[: len(rows)], np.float64))
        good.append(fine[: len(rows)])
    flags = np.concatenate(good)
    if not flags.any():
        raise ValueError("no window of these parameters could be simulated: all failed")
    table = np.concatenate(quantities)
    columns = {name: table[:, k] for k, name in enumerate(simulator.quantity_names)}
    waves = dict(zip(sites, joiner.finish(), strict=True))
    return Continuous(waves, columns, flags, np.array(joiner.feet), fs)


class _Joiner:
    """Appends windows to a wave of a given length."""

    def __init__(self, n_sites: int, length: int, fs: float) -> None:
        self._half = round(0.5 * BLEND_S * fs)
        self._wave = np.zeros((n_sites, length + round(4 * fs)), np.float32)
        self._length, self._fs, self._at = length, fs, 0
        self.feet: list[float] = []

    def add(self, window: Float[np.ndarray, "site T"], until_s: float) -> None:
        """Takes whole beats of a window such that the wave ends near a time; what follows is kept for the blend."""
        half, fs = self._half, self._fs
        feet = np.round(detect_beats(window[0].astype(np.float64), fs).onsets_s * fs).astype(int)
        feet = feet[(feet >= half) & (feet < window.shape[1] - half)]
        first, stop = (half, window.shape[1] - half) if len(feet) < 2 else (int(feet[0]), int(feet[-1]))
        wanted = first + round(until_s * fs) - self._at
        inner = feet[feet > first]
        if len(inner):
            stop = int(inner[np.argmin(np.abs(inner - wanted))])
        begin = max(self._at - half, 0)
        piece = window[:, first - (self._at - begin) : stop + half]
        piece = piece[:, : self._wave.shape[1] - begin]
        if self._at:
            weight = np.linspace(0.0, 1.0, 2 * half, dtype=np.float32)
            old = self._wave[:, begin : begin + 2 * half]
            blended = old + weight * (piece[:, : 2 * half] - old)
            piece = np.concatenate([blended, piece[:, 2 * half :]], axis=1)
        self._wave[:, begin : begin + piece.shape[1]] = piece
        self.feet += [(self._at + int(foot) - first) / fs for foot in feet if first <= foot < stop]
        self._at += stop - first

    def finish(self) -> Sequence[Float[np.ndarray, " time"]]:
        """The waves, cut to their length; the last sample goes on where the last beat ends before it."""
        if self._at + self._half < self._length:
            self._wave[:, self._at + self._half : self._length] = self._wave[:, [self._at + self._half - 1]]
        return list(self._wave[:, : self._length])
