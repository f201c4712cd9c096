r"""How a model takes faults of the sensor: what it still answers, and whether its intervals still hold the truth.

Each fault is put on held-out windows that were already seen through the sensor model, so it comes on top of it. A fault
that the quality gate or the domain verdict refuses does no harm; one that is answered with intervals that miss does.
For a wave without a unit, sizes are shares of its pulse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ..inference.answer import Prior
from ..inference.answering import Question, domain_model
from ..inference.bundle import Bundle
from ..inference.channel_answering import ChannelDesk
from ..simulators.catheter import CatheterLine
from ..waveforms.quality import assess
from ..waveforms.roles import PRESSURE_ROLES
from ..waveforms.windows import Window
from .diagnostics.intervals import coverage
from .predictive_checks import relative_windows

__all__ = ["FAULTS", "sensitivity"]

Windows = Float[np.ndarray, "N T"]
Fault = Callable[[Windows, np.random.Generator, float], Windows]


def _ringing(x: Windows, rng: np.random.Generator, fs: float) -> Windows:
    return _line(x, fs, frequency=12.0, damping=0.15)


def _damped(x: Windows, rng: np.random.Generator, fs: float) -> Windows:
    return _line(x, fs, frequency=6.0, damping=1.5)


def _line(x: Windows, fs: float, *, frequency: float, damping: float) -> Windows:
    """A catheter line of its own, the window continued backwards so that it has settled."""
    n = x.shape[1]
    wide = np.concatenate([x[:, ::-1], x], axis=1).astype(np.float32)
    one = np.ones(len(x), np.float32)
    return np.asarray(CatheterLine().transmit(wide, frequency * one, damping * one, fs=fs)[:, -n:])


def _clipped(x: Windows, rng: np.random.Generator, fs: float) -> Windows:
    return np.asarray(np.minimum(x, np.quantile(x, 0.97, axis=1, keepdims=True)))


def _dropout(x: Windows, rng: np.random.Generator, fs: float) -> Windows:
    out, length = x.copy(), round(0.4 * fs)
    for row, start in zip(out, rng.integers(0, x.shape[1] - length, len(x)), strict=True):
        row[start : start + length] = row[start]
    return out


def _breathing(x: Windows, rng: np.random.Generator, fs: float) -> Windows:
    time = np.arange(x.shape[1]) / fs
    return x + 5.0 * np.sin(2 * np.pi * (0.25 * time + rng.random((len(x), 1))))


def _fast(x: Windows, rng: np.random.Generator, fs: float) -> Windows:
    at = np.arange(x.shape[1]) / 1.02
    return np.stack([np.interp(at, np.arange(x.shape[1]), row) for row in x])


def _noise(sd: float) -> Fault:
    return lambda x, rng, fs: x + sd * rng.standard_normal(x.shape)


def _shift(gain: float, offset: float) -> Fault:
    return lambda x, rng, fs: gain * x + offset


FAULTS: Mapping[str, Fault] = {
    "none": lambda x, rng, fs: x,
    "noise of 1 mmHg": _noise(1.0),
    "noise of 3 mmHg": _noise(3.0),
    "offset of 5 mmHg": _shift(1.0, 5.0),
    "offset of -10 mmHg": _shift(1.0, -10.0),
    "gain of 1.05": _shift(1.05, 0.0),
    "gain of 0.9": _shift(0.9, 0.0),
    "ringing line (12 Hz, damping .15)": _ringing,
    "damped line (6 Hz, damping 1.5)": _damped,
    "steps of 2 mmHg": lambda x, rng, fs: 2.0 * np.rint(x / 2.0),
    "top 3 % clipped": _clipped,
    "0.4 s held": _dropout,
    "breathing of 5 mmHg": _breathing,
    "clock 2 % slow": _fast,
    "channel missing": lambda x, rng, fs: np.full_like(x, np.nan),
}
"""Faults by name, each a function of windows [mmHg], a generator and the rate [Hz]."""
PULSE_MMHG = 40.0
"""Height of the pulse, as three standard deviations, to which a wave without a unit is scaled before faults."""


def sensitivity(
    bundle: Bundle,
    x: Float[np.ndarray, "N *window"],
    truth: Mapping[str, Float[np.ndarray, " N"]],
    *,
    n: int = 100,
    n_draws: int = 300,
    seed: int = 0,
    faults: Mapping[str, Fault] = FAULTS,
    progress: Callable[[str], None] = lambda name: None,
) -> dict[str, dict[str, Any]]:
    r"""Measures what each fault does to a model's answers.

    Arguments:
        bundle: The model.
        x: Held-out windows [mmHg]; of several channels NaN where one is missing.
        truth: What was simulated, by quantity.
        n: Most windows; of several channels, for each the first that hold it.
        n_draws: Draws a window.
        seed: Seed of faults and draws.
        faults: Faults by name.
        progress: Called with the name of each fault.

    Returns:
        For each fault the share ``answered``, and over the answered windows ``coverage`` of the 90 % intervals and
        ``shift``, the median distance that the posterior median moved, in standard deviations of the posterior
        without the fault; no table where fewer than 20 windows are answered. Of several channels, each fault is put on
        one channel at a time, whose name stands before the fault's, and a window is answered from what passes.

    Example:
        >>> sensitivity(bundle, windows, truth)["noise of 1 mmHg"]["answered"]  # doctest: +SKIP
        1.0
    """
    found: dict[str, dict[str, Any]] = {}
    for c, channel in enumerate(bundle.contract.channels):
        rows = np.arange(len(x))[:n]
        if bundle.contract.several:
            rows = np.flatnonzero(np.isfinite(x[:, c]).all(-1))[:n]
        own = {name: values[rows] for name, values in truth.items()}
        before = f"{channel.name}: " if bundle.contract.several else ""
        named = {before + name: fault for name, fault in faults.items()}
        found |= _sensitivity(bundle, np.asarray(x)[rows], own, c, named, n_draws, seed, progress)
    return found


def _sensitivity(
    bundle: Bundle,
    x: Float[np.ndarray, "N *window"],
    truth: Mapping[str, Float[np.ndarray, " N"]],
    place: int,
    faults: Mapping[str, Fault],
    n_draws: int,
    seed: int,
    progress: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Faults of one channel."""
    fs, several = bundle.contract.fs, bool(bundle.contract.several)
    clean = np.asarray(x[:, place] if several else x, np.float64)
    if bundle.contract.channels[place].role not in PRESSURE_ROLES:
        clean, faults = PULSE_MMHG / 3 * relative_windows(clean), {_in_pulses(n): fault for n, fault in faults.items()}
    answerable = _answerable_channels if several else _answerable
    before: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    found: dict[str, dict[str, Any]] = {}
    none = f"{bundle.contract.channels[place].name}: none" if several else "none"
    for name, fault in {none: FAULTS["none"], **faults}.items():
        progress(name)
        seen = np.asarray(fault(clean, np.random.default_rng([seed, 5]), fs), np.float32)
        if several:
            rest = np.array(x, np.float32)
            rest[:, place] = seen
            seen = rest
        seen, kept = answerable(bundle, seen)
        row: dict[str, Any] = {"n": len(x), "answered": round(len(kept) / max(len(x), 1), 4)}
        if len(kept) >= 20:
            generator = torch.Generator().manual_seed(seed)
            draws = bundle.outputs.derive(bundle.npe.sample(torch.from_numpy(seen[kept]), n_draws, generator))
            if not before:
                before = {q: _middle(draws[q], len(x), kept) for q in draws}
            row |= _compared(draws, truth, before, np.array(kept))
        found[name] = row
    return found


def _answerable(bundle: Bundle, seen: Windows) -> tuple[Windows, list[int]]:
    """Windows that pass the gate and are not outside."""
    contract, model = bundle.contract, domain_model(bundle)
    kept = [i for i, w in enumerate(seen) if assess(w, contract.fs, role=contract.role, unit=contract.unit).usable]
    return seen, kept if model is None else [i for i in kept if model.assess(seen[i]).verdict != "outside"]


def _answerable_channels(
    bundle: Bundle, seen: Float[np.ndarray, "N C T"]
) -> tuple[Float[np.ndarray, "N C T"], list[int]]:
    """Windows with what passes the gate and is not outside, and those that have any of it."""
    desk = ChannelDesk.of(bundle, Question(), Prior.of(bundle))
    contract, left, kept = bundle.contract, np.full_like(seen, np.nan), []
    for i, window in enumerate(seen):
        verdicts = tuple(
            assess(wave, contract.fs, role=channel.role, unit=None if channel.unit == "1" else channel.unit)
            for wave, channel in zip(window, contract.channels, strict=True)
        )
        place = desk.choose(Window(0.0, contract.window_s, window, contract.fs, verdicts[0], contract.names, verdicts))
        if place.waves and (place.verdict is None or place.verdict.verdict != "outside"):
            left[i] = contract.arrange(place.waves)
            kept.append(i)
    return left, kept


def _in_pulses(name: str) -> str:
    """The name of a fault of a wave without a unit: pressures become shares of a pulse of three standard deviations."""
    return re.sub(r"(-?[\d.]+) mmHg", lambda found: f"{100 * float(found[1]) / PULSE_MMHG:g} % of the pulse", name)


def _middle(draws: Float[np.ndarray, "K S"], n: int, kept: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Posterior median and standard deviation of each window; NaN where it was not answered."""
    middle, spread = np.full((2, n), np.nan)
    middle[kept], spread[kept] = np.median(draws, axis=1), draws.std(1)
    return middle, spread


def _compared(
    draws: Mapping[str, Float[np.ndarray, "K S"]],
    truth: Mapping[str, Float[np.ndarray, " N"]],
    before: Mapping[str, tuple[np.ndarray, np.ndarray]],
    kept: np.ndarray,
) -> dict[str, dict[str, float]]:
    held, shift = {}, {}
    for name, values in draws.items():
        good = np.isfinite(values).all(1)
        held[name] = round(float(coverage(values[good][..., None], truth[name][kept][good][:, None], (0.9,))[0, 0]), 4)
        middle, spread = (part[kept] for part in before[name])
        moved = np.abs(np.median(values, axis=1) - middle) / np.maximum(spread, 1e-12)
        shift[name] = round(float(np.nanmedian(moved)), 4)
    return {"coverage": held, "shift": shift}
