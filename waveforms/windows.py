r"""Windows: a recording cut into equal pieces at the rate a model asks for, each with the verdict of the gate.

Windows are cut one after another from blocks of two minutes, so memory does not grow with the recording.  Each channel
is judged at its native rate and then resampled by a Kaiser-windowed sinc,

$$ y(t) = \frac{\sum_j x_j\, h(\rho (t f_s - j))}{\sum_j h(\rho (t f_s - j))}, \qquad
   h(u) = \operatorname{sinc}(u)\, \frac{I_0\!\big(\beta \sqrt{1 - (u/L)^2}\big)}{I_0(\beta)}, \quad |u| < L, $$

with $\rho = 1$ when the target rate is not below the native rate $f_s$, else $0.92$ of their ratio, which keeps what
the target rate cannot hold from folding back.  Any two rates will do, 124.945 Hz and 125 Hz too, and the time axis is
that of the recording: sample $i$ of a window stands at `start_s + i / fs` for every channel.  Where native samples
already stand there, they are copied.

References:
    Kaiser (1974), Nonrecursive digital filter design using the I0-sinh window function, IEEE ISCAS, 20-23.

Units: seconds, Hz; pressures in mmHg as the recording gives them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from .quality import LEAST_HZ, LONGEST_BRIDGED_GAP_S, Finding, Verdict, assess
from .recording import Channel, Recording, RecordingError

__all__ = ["Window", "cut_windows", "cut_windows_at", "regular_starts", "resample"]

LOBES = 16
r"""Half width of the kernel in its own zero crossings."""
KAISER_BETA = 8.0
r"""Stop band 80 dB down."""
PASS_SHARE = 0.92
r"""Cut-off as a share of the lower Nyquist rate when reducing the rate."""
MOST_HZ = 20_000.0
r"""Highest native rate that is cut into windows [Hz]: above it
stands no monitor, but a wrong `--fs`."""
BLOCK_S = 120.0
r"""Length of the stretch held in memory per channel [s]."""


@dataclass(frozen=True)
class Window:
    r"""One window of one or several channels.

    Arguments:
        start_s: Time of the first sample, counted from the start of the recording [s].
        end_s: End of the window [s].
        values: Samples with shape (C, T): pressures in mmHg, NaN only where a gap refused the window.
        fs: Sampling rate of `values` [Hz].
        verdict: The gate's verdict on all channels: the first refusal, or usable with every finding.
        channels: Names or roles, in the order of `values`.
        verdicts: The verdict on each channel.

    Example:
        >>> import numpy as np
        >>> ok = Verdict(True, None, None, None, ())
        >>> Window(8.0, 16.0, np.zeros((1, 1000), np.float32), 125.0, ok, ("ART",), (ok,)).n_samples
        1000
    """

    start_s: float
    end_s: float
    values: Float[np.ndarray, "channels time"]
    fs: float
    verdict: Verdict
    channels: tuple[str, ...] = ("ART",)
    verdicts: tuple[Verdict, ...] = ()

    @property
    def n_samples(self) -> int:
        r"""Samples per channel.

        Example:
            >>> from pulsebayes.waveforms.recording import Recording
            >>> recording = Recording.from_arrays("demo", {"ABP": np.ones(2000)}, fs=250, units={"ABP": "mmHg"})
            >>> next(cut_windows(recording)).n_samples
            1000
        """
        return int(self.values.shape[-1])


def cut_windows(
    recording: Recording,
    channels: Sequence[str] = ("ART",),
    *,
    length_s: float = 8.0,
    every_s: float = 8.0,
    fs: float = 125.0,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> Iterator[Window]:
    r"""Cut a recording into windows, in order of time, without loading it whole.

    Only whole windows between `start_s` and `end_s` are cut. If not even one fits, a single one is given, padded with
    NaN and refused as `too-short`, so that nothing is dropped in silence.

    Arguments:
        recording: The recording.
        channels: Names or roles, in the order wanted.
        length_s: Length of a window [s].
        every_s: Time from one start to the next [s]; less than `length_s` makes windows overlap.
        fs: Sampling rate wanted [Hz].
        start_s: Start of the first window [s].
        end_s: Where to stop [s]; the end of the recording if `None`.

    Returns:
        An iterator of windows.

    Raises:
        ValueError: If a length, interval or rate is not positive, no channel is named, or `end_s` is not after
            `start_s`.
        RecordingError: If a channel is missing or ambiguous, or its rate is no monitor's (`bad-rate`).

    Example:
        >>> import numpy as np
        >>> from pulsebayes.waveforms.recording import Recording
        >>> phase = (np.arange(24000) / 1000) % 0.75
        >>> pulse = 70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1)
        >>> recording = Recording.from_arrays("demo", {"ABP": pulse}, fs=1000, units={"ABP": "mmHg"})
        >>> [(w.start_s, w.values.shape, w.verdict.usable) for w in cut_windows(recording)]
        [(0.0, (1, 1000), True), (8.0, (1, 1000), True), (16.0, (1, 1000), True)]
    """
    _check_pace(length_s, every_s, fs)
    if not channels:
        raise ValueError("channels must name at least one channel or role, got none; try ('ART',)")
    stop_s = recording.duration_s if end_s is None else min(end_s, recording.duration_s)
    if not stop_s > start_s:
        raise ValueError(
            f"end_s must be after start_s, got {start_s:g} to {stop_s:g} s of a recording of {recording.duration_s:g} s"
        )
    streams = [_Stream(recording, name, recording.channel(name)) for name in channels]
    for stream in streams:
        _check_rate(recording, stream.channel)
    return _windows(streams, tuple(channels), length_s, every_s, fs, start_s, stop_s)


def cut_windows_at(
    recording: Recording,
    channel: str,
    starts_s: Sequence[float],
    *,
    length_s: float = 8.0,
    fs: float = 125.0,
) -> Iterator[Window]:
    r"""Cut windows of one channel at given times, without loading the recording whole.

    Arguments:
        recording: The recording.
        channel: Name or role.
        starts_s: Starts of the windows [s], best in order of time.
        length_s: Length of a window [s].
        fs: Sampling rate wanted [Hz].

    Returns:
        An iterator of windows; one that reaches beyond the end is padded and refused as `too-short`.

    Raises:
        RecordingError: If the channel is missing or ambiguous, or its rate is no monitor's.

    Example:
        >>> recording = Recording.from_arrays("demo", {"ABP": np.ones(5000)}, fs=125, units={"ABP": "mmHg"})
        >>> [(w.start_s, w.verdict.reason) for w in cut_windows_at(recording, "ART", [0.0, 20.0, 36.0])]
        [(0.0, 'flat'), (20.0, 'flat'), (36.0, 'flat')]
    """
    stream = _Stream(recording, channel, recording.channel(channel))
    _check_rate(recording, stream.channel)
    slack = 0.5 / min(fs, stream.channel.fs)
    for start in starts_s:
        end = (
            min(start + length_s, recording.duration_s)
            if start + length_s > recording.duration_s + slack
            else (start + length_s)
        )
        values, verdict = _piece(stream, start, end, length_s, fs)
        yield Window(start, end, values[None], fs, verdict, (channel,), (verdict,))


def regular_starts(
    recording: Recording, channel: str, *, length_s: float = 8.0, every_s: float = 8.0, fs: float = 125.0
) -> Float[np.ndarray, " n"]:
    r"""Starts [s] of the whole windows of a recording that `cut_windows` cuts.

    Arguments:
        recording: The recording.
        channel: Name or role.
        length_s: Length of a window [s].
        every_s: Time from one start to the next [s].
        fs: Sampling rate wanted [Hz].

    Raises:
        ValueError: If a length, interval or rate is not positive and finite.
        RecordingError: If the channel is missing or ambiguous.

    Example:
        >>> recording = Recording.from_arrays("demo", {"ABP": np.ones(5000)}, fs=125, units={"ABP": "mmHg"})
        >>> regular_starts(recording, "ART", every_s=16.0).tolist()
        [0.0, 16.0, 32.0]
    """
    _check_pace(length_s, every_s, fs)
    slack = 0.5 / min(fs, recording.channel(channel).fs)
    return every_s * np.arange(_count_whole(recording.duration_s, length_s, every_s, slack))


def _check_pace(length_s: float, every_s: float, fs: float) -> None:
    for name, value, unit in (("length_s", length_s, "s"), ("every_s", every_s, "s"), ("fs", fs, "Hz")):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be positive [{unit}], got {value}; try 8 s windows at 125 Hz")


def _count_whole(time_s: float, length_s: float, every_s: float, slack: float) -> int:
    """How many whole windows fit: half a sample of the slowest channel may be missing at the end."""
    return max(0, math.floor((time_s - length_s + slack) / every_s + 1e-9) + 1)


def _check_rate(recording: Recording, channel: Channel) -> None:
    if LEAST_HZ <= channel.fs <= MOST_HZ:
        return
    raise RecordingError(
        f"windows are cut from channels of {LEAST_HZ:g} to {MOST_HZ:g} Hz, got {channel.fs:g} Hz",
        code="bad-rate",
        file=recording.name,
        channel=channel.name,
        hint="check --fs, or choose a channel with the waveform itself",
    )


def _windows(
    streams: list[_Stream],
    names: tuple[str, ...],
    length_s: float,
    every_s: float,
    fs: float,
    start_s: float,
    stop_s: float,
) -> Iterator[Window]:
    # Of 230.5 s at 124.945 Hz the last sample is never quite whole.
    slack = 0.5 / min(fs, *(stream.channel.fs for stream in streams))
    count = _count_whole(stop_s - start_s, length_s, every_s, slack)
    for k in range(max(count, 1)):
        begin = start_s + k * every_s
        end = begin + length_s if count else stop_s
        pieces = [_piece(stream, begin, end, length_s, fs) for stream in streams]
        verdicts = tuple(verdict for _, verdict in pieces)
        values = np.stack([values for values, _ in pieces])
        yield Window(begin, end, values, fs, _joint(verdicts), names, verdicts)


def _joint(verdicts: tuple[Verdict, ...]) -> Verdict:
    r"""The first refusal, or the first channel's verdict with the findings of all."""
    first = next((v for v in verdicts if not v.usable), verdicts[0])
    return replace(first, findings=tuple(f for v in verdicts for f in v.findings))


class _Stream:
    r"""A channel read block by block; holds one block."""

    def __init__(self, recording: Recording, name: str, channel: Channel) -> None:
        self.channel = channel
        self._recording, self._name = recording, name
        self._first, self._block = 0, np.zeros(0, dtype=np.float32)

    def samples(self, first: int, stop: int) -> Float[np.ndarray, " time"]:
        r"""Samples `first` to `stop` (exclusive), counted from the channel's start; NaN outside the recording."""
        if first < self._first or stop > self._first + len(self._block):
            length = max(stop - first, round(BLOCK_S * self.channel.fs))
            self._first, self._block = first, self._read(first, first + length)
        return self._block[first - self._first : stop - self._first]

    def _read(self, first: int, stop: int) -> Float[np.ndarray, " time"]:
        fs, start_s = self.channel.fs, self.channel.start_s
        block = np.full(stop - first, np.nan, dtype=np.float32)
        low, high = max(first, 0), min(stop, self.channel.n_samples)
        if high > low:
            # Ask for times half a sample early, so that rounding decides nothing.
            values = self._recording.values(self._name, start_s + (low - 0.5) / fs, start_s + (high - 0.5) / fs)
            block[low - first : low - first + len(values)] = values
        return block


def _piece(
    stream: _Stream, begin: float, end: float, length_s: float, fs: float
) -> tuple[Float[np.ndarray, " time"], Verdict]:
    r"""One channel of one window: resampled values and the verdict on the native samples."""
    channel = stream.channel
    n_out = round(length_s * fs)
    position = (begin - channel.start_s) * channel.fs
    first = math.ceil(position - 1e-3)
    stop = math.ceil((end - channel.start_s) * channel.fs - 1e-3)
    around = stream.samples(first - _margin(channel), stop + _margin(channel))
    native = around[_margin(channel) : len(around) - _margin(channel)]
    if stop == channel.n_samples + 1:  # the last sample may lie a fraction beyond the end of the recording
        native = native[:-1]
    verdict = assess(native, channel.fs, role=channel.role or "UNKNOWN", unit=channel.unit, start_s=begin)
    if channel.contradiction:
        told = Finding("unit", f"{channel.role or channel.name}: {channel.contradiction}", begin, end)
        verdict = replace(verdict, findings=(*verdict.findings, told))
    if verdict.usable:
        verdict = _without_edge_gap(verdict, channel, around, first - _margin(channel))
    if end - begin < length_s - 0.5 / channel.fs and verdict.usable:
        verdict = _too_short(verdict, end - begin, length_s, begin)
    values = _resampled(stream, position, n_out, channel.fs / fs)
    held = round((end - begin) * fs)
    values[held:] = np.nan
    return values, verdict


def _margin(channel: Channel) -> int:
    r"""Samples on either side of a window that tell how long a gap across its edge is."""
    return math.ceil(LONGEST_BRIDGED_GAP_S * channel.fs) + 2


def _without_edge_gap(verdict: Verdict, channel: Channel, around: Float[np.ndarray, " time"], first: int) -> Verdict:
    r"""The verdict, refused where a gap across an edge of the window is too long as a whole, though not inside it.

    `around` holds the window's samples and a margin on either side, counted from sample `first` of the channel.
    """
    margin = _margin(channel)
    index = np.arange(first, first + len(around))
    missing = ~np.isfinite(around) & (index >= 0) & (index < channel.n_samples)
    for start, stop in _runs(missing):
        seconds = (stop - start) / channel.fs
        touches = start <= len(around) - margin and stop >= margin
        if touches and seconds > LONGEST_BRIDGED_GAP_S + 1e-9:
            at_s = channel.start_s + (first + start) / channel.fs
            message = (
                f"{channel.role or channel.name} at {at_s:.2f} s: {seconds:.2f} s or more of samples are missing "
                f"across the edge of the window; up to {LONGEST_BRIDGED_GAP_S:g} s are interpolated"
            )
            hint = "use --start and --end to choose a stretch without gaps"
            return replace(verdict, usable=False, reason="gap", hint=hint, at_s=at_s, message=message)
    return verdict


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    r"""First sample of each run of true flags, and the first after it."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _too_short(verdict: Verdict, seconds: float, length_s: float, begin: float) -> Verdict:
    message = f"at {begin:.2f} s: only {seconds:.2f} s are left, and a window needs {length_s:g} s"
    hint = "pass a longer stretch, or move --start and --end"
    return replace(verdict, usable=False, reason="too-short", hint=hint, at_s=begin, message=message)


def _resampled(stream: _Stream, position: float, n_out: int, step: float) -> Float[np.ndarray, " time"]:
    r"""`n_out` values, the first at native sample `position`, `step` native samples apart; long gaps stay NaN."""
    nearest = round(position)
    if abs(step - 1.0) < 1e-9 and abs(position - nearest) < 1e-3:
        values, lost = _bridged(stream, nearest, nearest + n_out)
        return np.where(lost, np.nan, values).astype(np.float32)
    reach = _reach(step)
    first = math.floor(position) - reach
    stop = math.floor(position + (n_out - 1) * step) + reach + 2
    block, lost = _bridged(stream, first, stop)
    weights, index = _weights(round(position - first, 6), round(step, 12), n_out)
    values = np.einsum("tk,tk->t", weights, block[index])
    if lost.any():
        nearest_native = np.clip(np.round(position - first + step * np.arange(n_out)).astype(int), 0, len(block) - 1)
        values[lost[nearest_native]] = np.nan
    resampled: Float[np.ndarray, " time"] = values.astype(np.float32)
    return resampled


def _bridged(stream: _Stream, first: int, stop: int) -> tuple[Float[np.ndarray, " time"], np.ndarray]:
    r"""Samples `first` to `stop` with gaps bridged and ends continued by reflection, and where a gap was too long.

    Short gaps become straight lines. In long ones the line only feeds the kernel; those samples are marked lost.
    Samples before the start and beyond the end of the recording belong to no gap.
    """
    block = stream.samples(first, stop)
    missing = ~np.isfinite(block)
    lost = np.zeros_like(missing)
    if not missing.any():
        return block, lost
    known = np.flatnonzero(~missing)
    if len(known) == 0:
        return np.full_like(block, np.nan), ~lost
    filled = np.interp(np.arange(len(block)), known, block[known])
    filled[: known[0]] = _reflected(filled[known[0] :], int(known[0]))[::-1]
    filled[known[-1] + 1 :] = _reflected(filled[known[-1] :: -1], len(block) - 1 - int(known[-1]))
    recorded = np.arange(first, stop)
    for low, high in _runs(missing & (recorded >= 0) & (recorded < stream.channel.n_samples)):
        if (high - low) / stream.channel.fs > LONGEST_BRIDGED_GAP_S + 1e-9:
            lost[low:high] = True
    return filled, lost


def _reflected(inward: Float[np.ndarray, " time"], n: int) -> Float[np.ndarray, " time"]:
    r"""`n` samples beyond the end at `inward[0]`, by odd reflection $2 x_0 - x_k$, level where too few are known."""
    mirror = 2 * inward[0] - inward[1 : n + 1]
    return np.concatenate([mirror, np.full(n - len(mirror), mirror[-1] if len(mirror) else inward[0])])


def _scale(step: float) -> float:
    r"""Cut-off over the native Nyquist rate."""
    return 1.0 if step <= 1.0 + 1e-2 else PASS_SHARE / step


def _reach(step: float) -> int:
    return math.ceil(LOBES / _scale(step)) + 1


@lru_cache(maxsize=8)
def _weights(offset: float, step: float, n_out: int) -> tuple[Float[np.ndarray, "time taps"], np.ndarray]:
    r"""Kernel values and native samples for each output, the first at native sample `offset`."""
    position = offset + step * np.arange(n_out)
    reach = _reach(step) - 1
    index = np.floor(position).astype(int)[:, None] + np.arange(-reach + 1, reach + 1)
    argument = (position[:, None] - index) * _scale(step)
    inside = np.maximum(1.0 - (argument / LOBES) ** 2, 0.0)
    weights = np.sinc(argument) * np.i0(KAISER_BETA * np.sqrt(inside)) * (inside > 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float64), index


def resample(wave: Float[np.ndarray, " time"], fs: float, target_fs: float) -> Float[np.ndarray, " target_time"]:
    r"""Resample a whole wave from one rate to another, as windows are.

    Arguments:
        wave: Samples, the first at time 0, without missing values.
        fs: Their rate [Hz].
        target_fs: Rate wanted [Hz].

    Returns:
        `round(len(wave) / fs * target_fs)` samples, the first at time 0.

    Raises:
        ValueError: If `wave` is not one-dimensional or a rate is not positive.

    Example:
        >>> import numpy as np
        >>> wave = np.sin(2 * np.pi * 5 * np.arange(2000) / 1000)
        >>> out = resample(wave, 1000.0, 125.0)
        >>> bool(np.allclose(out[20:-20], np.sin(2 * np.pi * 5 * np.arange(250) / 125)[20:-20], atol=1e-4))
        True
    """
    wave = np.asarray(wave, dtype=np.float64)
    if wave.ndim != 1:
        raise ValueError(f"wave must have shape (time,), got {wave.shape}; pass one channel at a time")
    if not (fs > 0 and target_fs > 0):
        raise ValueError(f"fs and target_fs must be positive [Hz], got {fs} and {target_fs}; try 125.0")
    channel = Channel("wave", None, None, float(fs), 0.0, len(wave), ())
    recording = Recording("wave", (channel,), lambda index, first, stop: wave[first:stop].astype(np.float32))
    return _resampled(_Stream(recording, "wave", channel), 0.0, round(len(wave) / fs * target_fs), fs / target_fs)
