r"""Whether two recordings say the same: channels, units, roles, rates, gaps, and every value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..recording import Recording
from ._frames import BLOCK_S, block, lead

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    r"""What differs between a recording and another that should hold the same.

    Arguments:
        differences: One sentence for each difference in names, units, roles, rates, starts and gaps.
        errors: Largest difference of values by channel [unit of the channel].
        spans: Range of the values by channel [unit of the channel].

    Example:
        >>> from pulsebayes.waveforms.writers import Comparison
        >>> Comparison((), {"ABP": 0.0}, {"ABP": 80.0}).lossless
        True
    """

    differences: tuple[str, ...]
    errors: dict[str, float]
    spans: dict[str, float]

    @property
    def lossless(self) -> bool:
        r"""Whether nothing differs but by the rounding of float32: 1.2e-7 of the channel's largest value.

        Example:
            >>> from pulsebayes.waveforms.writers import Comparison
            >>> Comparison((), {"ABP": 0.01}, {"ABP": 80.0}).lossless
            False
        """
        return not self.differences and all(e <= 2.5e-7 * self.spans[name] for name, e in self.errors.items())


def compare(recording: Recording, others: Sequence[Recording]) -> Comparison:
    r"""Compare a recording with what was written of it, a stretch at a time.

    Arguments:
        recording: What was meant.
        others: What was read back: one recording, or several that hold its channels between them.

    Returns:
        The comparison, over the channels of `recording`.

    Raises:
        RecordingError: If one of them cannot be read to its end.

    Example:
        >>> from pulsebayes.waveforms import Recording
        >>> from pulsebayes.waveforms.writers import compare
        >>> one = Recording.from_arrays("one", {"ABP": [80.0, 81.0]}, fs=125)
        >>> two = Recording.from_arrays("two", {"ABP": [80.0, 81.5]}, fs=125)
        >>> compare(one, [two]).errors
        {'ABP': 0.5}
    """
    differences: list[str] = []
    errors, spans = {}, {}
    places = [(other, k) for other in others for k in range(len(other.channels))]
    for index, channel in enumerate(recording.channels):
        if channel.n_samples == 0:
            continue
        place = next(((o, k) for o, k in places if o.channels[k].name == channel.name), None)
        if place is None:
            same = [(o, k) for o, k in places if o.channels[k].fs == channel.fs]
            rank = [c.fs for c in recording.channels[:index]].count(channel.fs)
            place = same[rank] if rank < len(same) else None
        if place is None:
            differences.append(f"{channel.name}: not there")
            continue
        differences += _labels(recording, index, *place)
        error, span, gaps = _values(recording, index, *place)
        errors[channel.name], spans[channel.name] = error, span
        if gaps:
            differences.append(f"{channel.name}: {gaps} samples are missing in one and not in the other")
    return Comparison(tuple(differences), errors, spans)


def _labels(recording: Recording, index: int, other: Recording, k: int) -> list[str]:
    one, two = recording.channels[index], other.channels[k]
    found = []
    if one.name != two.name:
        found.append(f"{one.name}: the name became {two.name!r}")
    if one.unit != two.unit:
        found.append(f"{one.name}: the unit {one.unit} became {two.unit}")
    if one.role != two.role:
        found.append(f"{one.name}: the role {one.role} became {two.role}")
    if abs(one.fs / two.fs - 1.0) * max(one.n_samples, 1) > 0.02:
        found.append(f"{one.name}: the rate of {one.fs:.10g} Hz became {two.fs:.10g} Hz")
    moved = (lead(one) - lead(two)) / one.fs if two.start_s else 0.0
    shift = abs(one.start_s - lead(one) / one.fs) if two.start_s != one.start_s else 0.0
    if max(abs(moved), shift) > 1.0e-6:
        found.append(f"{one.name}: the start moved by {max(abs(moved), shift) * 1000:.3g} ms")
    return found


def _values(recording: Recording, index: int, other: Recording, k: int) -> tuple[float, float, int]:
    """Largest difference and largest value, and in how many places only one has a sample."""
    channel = recording.channels[index]
    first, stop = lead(channel), lead(channel) + channel.n_samples
    size = max(1, round(BLOCK_S * channel.fs))
    worst, largest, gaps = 0.0, 0.0, 0
    for begin in range(first, stop, size):
        end = min(begin + size, stop)
        one, two = block(recording, index, begin, end), block(other, k, begin, end)
        gaps += int((np.isnan(one) != np.isnan(two)).sum())
        both = np.isfinite(one) & np.isfinite(two)
        if both.any():
            worst = max(worst, float(np.abs(one[both].astype(np.float64) - two[both]).max()))
            largest = max(largest, float(np.abs(one[both]).max()))
    return worst, largest, gaps
