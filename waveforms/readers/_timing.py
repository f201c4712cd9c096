r"""From time stamps to an even grid: what may be taken as evenly sampled, and what is refused.

With $\Delta$ the mean period and $k_i = \mathrm{round}(\Delta t_i / \tilde\Delta)$ the number of periods between rows
$i$ and $i + 1$, the jitter is $\max_i |\Delta t_i - k_i \Delta| / \Delta$. Up to 1 % the values are put on the even
grid, with NaN for rows that are missing ($k_i > 1$); stamps that are an even grid rounded to their last digit pass as
well, and repeat only where the rate is stated elsewhere. Everything else is refused with its worst gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from ..errors import RecordingError

__all__ = ["Grid", "even_grid", "round_rate", "stated_grid"]

MAX_JITTER: Final = 0.01
_FLOAT_NOISE: Final = 1.0e-3
_LONGEST_GAP_S: Final = 86400.0


@dataclass(frozen=True)
class Grid:
    """An even grid, which rows stay, where they lie on it [samples], and what was noticed."""

    fs: float
    n_samples: int
    keep: Bool[np.ndarray, " rows"]
    positions: Float[np.ndarray, " kept"]
    findings: tuple[str, ...]

    def place(self, values: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " time"]:
        """Values on the grid, float32: interpolated over the jitter, NaN where rows are missing."""
        kept = values[self.keep]
        index = np.rint(self.positions).astype(np.int64)
        if float(np.abs(self.positions - index).max(initial=0.0)) > MAX_JITTER:
            return _interpolated(self.positions, kept, self.n_samples).astype(np.float32)
        wave = np.full(self.n_samples, np.nan, dtype=np.float32)
        wave[index] = kept
        return wave


def even_grid(
    file: str, stamps_s: Float[np.ndarray, " rows"], identical: Bool[np.ndarray, " pairs"], first_line: int
) -> Grid:
    """The even grid that time stamps lie on.

    Arguments:
        file: Name of the file, for messages.
        stamps_s: Time stamps [s].
        identical: Whether each row after the first repeats all values of the one before it.
        first_line: Line of the first row, for messages.

    Raises:
        RecordingError: If stamps are missing, repeat, go back or are uneven by more than 1 % (`time-stamps`).
    """
    _check_finite(file, stamps_s, first_line)
    keep, findings = _without_repeats(file, stamps_s, identical, first_line)
    stamps = stamps_s[keep]
    if len(stamps) < 2:
        raise RecordingError("expected at least two rows with different times", code="no-data", file=file)
    steps = np.diff(stamps)
    period, counts = _period(steps)
    deviation = np.abs(steps - counts * period) / period
    worst = int(np.argmax(np.where(counts < 1, np.inf, deviation)))
    if (counts < 1).any() or deviation[worst] > MAX_JITTER:
        resolution = _resolution(stamps)
        if (counts < 1).any() or not _rounded_grid(stamps, counts, resolution):
            raise _uneven(file, stamps, steps, period, worst, first_line)
        findings.append(f"time stamps are rounded to {resolution:g} s; the even grid behind them was taken")
        period, _ = _fit(stamps, counts)
        positions = np.concatenate([[0.0], np.cumsum(counts)])
    else:
        if deviation[worst] > _FLOAT_NOISE:
            findings.append(f"time stamps are uneven by up to {deviation[worst]:.2%} of a sample; put on an even grid")
        positions = (stamps - stamps[0]) / period
    missing = int((counts - 1).sum())
    longest = int(counts.argmax())
    if counts[longest] * period > _LONGEST_GAP_S:
        raise RecordingError(
            f"a gap of {steps[longest] / 3600:.1f} h after line {first_line + longest}, at most 24 h are taken for one "
            "recording",
            code="time-stamps",
            file=file,
            at_s=float(stamps[longest] - stamps[0]),
            hint="split the file there",
        )
    n_samples = int(np.rint(positions[-1])) + 1
    if missing:
        at = stamps[longest] - stamps[0]
        findings.append(
            f"{missing} samples are missing between rows ({missing / n_samples:.1%}), "
            f"the longest gap {steps[longest]:.3f} s at {at:.3f} s"
        )
    fs = round_rate(1.0 / period, n_samples)
    return Grid(fs, n_samples, keep, positions, tuple(findings))


def stated_grid(file: str, stamps_s: Float[np.ndarray, " rows"], fs: float, first_line: int) -> Grid | None:
    """The grid of a rate stated elsewhere, if every time stamp is it, rounded to the digits printed; else `None`.

    Tables often print five digits: 99.992 s, then 100.00, 100.01, 100.02, 100.02 s. Such stamps repeat and jump, yet
    each lies within half its last digit of an even grid.
    """
    _check_finite(file, stamps_s, first_line)
    index = np.arange(len(stamps_s), dtype=np.float64)
    error = np.abs(stamps_s - stamps_s[0] - index / fs)
    decades = np.floor(np.log10(np.maximum(np.abs(stamps_s), 1.0)))
    coarsest = 0.0
    for decade in np.unique(decades):
        here = decades == decade
        resolution = _resolution(stamps_s[here])
        coarsest = max(coarsest, resolution)
        if resolution == 0.0 or resolution * fs > 2.0 or float(error[here].max()) > 0.51 * resolution + 1.0e-6:
            return None
    finding = f"time stamps are rounded, to {coarsest:g} s at worst; the rate of {fs:g} Hz stated elsewhere was taken"
    keep = np.ones(len(stamps_s), dtype=bool)
    notes = (finding,) if coarsest * fs > _FLOAT_NOISE else ()
    return Grid(fs, len(stamps_s), keep, index, notes)


def _check_finite(file: str, stamps: Float[np.ndarray, " rows"], first_line: int) -> None:
    bad = np.flatnonzero(~np.isfinite(stamps))
    if bad.size:
        raise RecordingError(
            f"{bad.size} rows have no time, the first in line {first_line + int(bad[0])}",
            code="time-stamps",
            file=file,
            hint="remove these rows; or remove the time column and give --fs, if the rows are evenly sampled",
        )


def _without_repeats(
    file: str, stamps: Float[np.ndarray, " rows"], identical: Bool[np.ndarray, " pairs"], first_line: int
) -> tuple[Bool[np.ndarray, " rows"], list[str]]:
    """Rows to keep: repeats of a whole row (time and values) go, up to 1 % of all; other repeats are refused."""
    keep = np.ones(len(stamps), dtype=bool)
    steps = np.diff(stamps)
    repeated = (steps == 0) & identical
    wrong = np.flatnonzero((steps <= 0) & ~repeated)
    if wrong.size or repeated.sum() > MAX_JITTER * len(stamps):
        row = int(wrong[0]) if wrong.size else int(np.flatnonzero(repeated)[0])
        way = "goes back" if steps[row] < 0 else "repeats"
        raise RecordingError(
            f"time must rise from row to row; in {int((steps <= 0).sum())} rows it does not: it {way} in line "
            f"{first_line + row + 1} ({stamps[row]:.6g} s, then {stamps[row + 1]:.6g} s)",
            code="time-stamps",
            file=file,
            at_s=float(stamps[row] - stamps[0]),
            hint="remove the time column and give --fs, if the rows are known to be evenly sampled",
        )
    keep[1:] = ~repeated
    return keep, [f"{int(repeated.sum())} repeated rows were dropped"] if repeated.any() else []


def _period(steps: Float[np.ndarray, " steps"]) -> tuple[float, Int[np.ndarray, " steps"]]:
    """Mean period [s], and the number of periods in each step."""
    typical = float(np.median(steps))
    counts = np.rint(steps / typical).astype(np.int64)
    period = float(steps.sum() / max(int(counts.sum()), 1))
    return period, counts


def _fit(stamps: Float[np.ndarray, " rows"], counts: Int[np.ndarray, " steps"]) -> tuple[float, float]:
    """Period and start offset [s] of the line through the stamps that leaves the least worst error (nearly)."""
    index = np.concatenate([[0], np.cumsum(counts)]).astype(np.float64)
    slope, intercept = np.polynomial.Polynomial.fit(index, stamps - stamps[0], 1).convert().coef[::-1]
    return float(slope), float(intercept)


def _resolution(stamps: Float[np.ndarray, " rows"]) -> float:
    """The power of ten that all stamps are multiples of; 0 where there is none down to a microsecond."""
    for digits in range(1, 7):
        scaled = stamps * 10.0**digits
        if float(np.abs(scaled - np.rint(scaled)).max()) < 1.0e-3:
            return float(10.0**-digits)
    return 0.0


def _rounded_grid(stamps: Float[np.ndarray, " rows"], counts: Int[np.ndarray, " steps"], resolution: float) -> bool:
    """Whether an even grid, rounded to the resolution, gives these stamps."""
    if resolution == 0.0:
        return False
    period, offset = _fit(stamps, counts)
    index = np.concatenate([[0], np.cumsum(counts)])
    error = np.abs(stamps - stamps[0] - offset - index * period)
    return bool(error.max() <= 0.75 * resolution and resolution < 0.5 * period)


def _uneven(
    file: str,
    stamps: Float[np.ndarray, " rows"],
    steps: Float[np.ndarray, " steps"],
    period: float,
    worst: int,
    first_line: int,
) -> RecordingError:
    deviation = np.abs(steps - np.maximum(np.rint(steps / period), 1) * period) / period
    return RecordingError(
        f"time stamps must be even to within {MAX_JITTER:.0%} of a sample; {int((deviation > MAX_JITTER).sum())} of "
        f"{len(steps)} steps are not. The worst is {steps[worst]:.6g} s after line {first_line + worst}, "
        f"where {period:.6g} s are usual",
        code="time-stamps",
        file=file,
        at_s=float(stamps[worst] - stamps[0]),
        hint="export the signal with even time stamps, or without a time column and with --fs",
    )


def round_rate(fs: float, n_samples: int) -> float:
    """The roundest rate within a fiftieth of a sample over the whole recording, and within 1e-4 in any case."""
    for digits in range(1, 12):
        candidate = float(f"{fs:.{digits}g}")
        if abs(candidate / fs - 1.0) < min(0.02 / n_samples, 1.0e-4):
            return candidate
    return fs


def _interpolated(
    positions: Float[np.ndarray, " kept"], values: Float[np.ndarray, " kept"], n_samples: int
) -> Float[np.ndarray, " time"]:
    """Values at every grid point, linearly between neighbouring rows; beside missing rows the nearest, or NaN."""
    grid = np.arange(n_samples, dtype=np.float64)
    right = np.clip(np.searchsorted(positions, grid), 1, len(positions) - 1)
    nearest = np.where(grid - positions[right - 1] < positions[right] - grid, right - 1, right)
    beside = np.where(np.abs(positions[nearest] - grid) <= 0.5, values[nearest], np.nan)
    torn = positions[right] - positions[right - 1] > 1.5
    return np.where(torn, beside, np.interp(grid, positions, values))
