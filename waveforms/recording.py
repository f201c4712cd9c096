r"""A recording: what a file holds, channel by channel, each at its native rate and placed in time.

Nothing is resampled on reading. Sample $i$ of a channel stands at $t_i = t_\mathrm{start} + i/f_s$ seconds from the
start of the recording; missing samples are NaN. Blood pressures come in mmHg as soon as their unit is known, and not
before: a pressure without a unit is refused when it is asked for as a pressure (`require_pressure_unit`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from .errors import RecordingError
from .labelling import Channel, RawChannel, label_channels, matching, unnamed_hint
from .roles import PRESSURE_ROLES, ROLES
from .units import convert, is_pressure

if TYPE_CHECKING:
    from xarray import DataTree

__all__ = [
    "Channel",
    "Recording",
    "RecordingError",
    "Samples",
    "missing_share",
    "require_data",
    "require_pressure_unit",
]

MAX_MISSING: Final = 0.5
"""Share of missing samples above which a channel is refused."""
_BLOCK_S: Final = 600.0
_GRID: Final = (
    1.0e-3  # a sample whose time is this part of a sample period before the start still counts as at the start
)


@runtime_checkable
class Samples(Protocol):
    r"""Where a recording's samples come from: an array in memory, or a file read piece by piece.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.waveforms.recording import Samples
        >>> source: Samples = lambda index, first, stop: np.zeros(stop - first, np.float32)
        >>> source(0, 2, 5).shape
        (3,)
    """

    def __call__(self, index: int, first: int, stop: int) -> Float[np.ndarray, " time"]:
        r"""Samples `first` to `stop` (exclusive) of channel `index`, in the unit of the file, NaN where missing."""
        ...


@dataclass(frozen=True)
class _Arrays:
    waves: tuple[Float[np.ndarray, " _"], ...]  # of any lengths

    def __call__(self, index: int, first: int, stop: int) -> Float[np.ndarray, " time"]:
        return self.waves[index][first:stop]


@dataclass(frozen=True)
class Recording:
    r"""The channels of one file, and their values on demand.

    Arguments:
        name: File name without its folder.
        channels: Channels in the order of the file.
        samples: Source of the values.
        findings: What the reader noticed about the file as a whole.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.waveforms import Recording
        >>> wave = 90 + 30 * np.sin(np.arange(1250) / 20)
        >>> recording = Recording.from_arrays("demo", {"ABP": wave}, fs=125, units={"ABP": "mmHg"})
        >>> recording.channel("ART").name, recording.values("ART", 2.0, 4.0).shape
        ('ABP', (250,))
    """

    name: str
    channels: tuple[Channel, ...]
    samples: Samples = field(repr=False, compare=False)
    findings: tuple[str, ...] = ()

    @classmethod
    def from_arrays(
        cls,
        name: str,
        waves: Mapping[str, object],
        *,
        fs: float | Mapping[str, float],
        start_s: float | Mapping[str, float] = 0.0,
        roles: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> Recording:
        r"""Make a recording of arrays in memory.

        Arguments:
            name: Name of the recording.
            waves: Values by channel name, each with shape (T,); NaN where missing.
            fs: Sampling rate [Hz], one for all or by channel name.
            start_s: Time of the first sample [s], one for all or by channel name.
            roles: Roles by channel name, over those guessed from the names.
            units: Units by channel name or role.

        Returns:
            The recording.

        Raises:
            ValueError: If an array is not one-dimensional or a rate is not positive.
            RecordingError: If a role, a unit or a name is unknown.

        Example:
            >>> import numpy as np
            >>> from pulsebayes.waveforms import Recording
            >>> Recording.from_arrays("demo", {"PLETH": np.ones(600)}, fs=60).duration_s
            10.0
        """
        arrays, raw = [], []
        for key, wave in waves.items():
            array = np.asarray(wave, dtype=np.float32)
            rate = float(fs[key] if isinstance(fs, Mapping) else fs)
            start = float(start_s[key] if isinstance(start_s, Mapping) else start_s)
            if array.ndim != 1:
                raise ValueError(f"waves[{key!r}] must have shape (time,), got {array.shape}")
            if not (0.0 < rate < math.inf and math.isfinite(start)):
                raise ValueError(f"fs [Hz] must be positive and start_s [s] finite, got {rate} and {start} for {key!r}")
            arrays.append(array)
            raw.append(RawChannel(key, None, rate, len(array), start))
        return cls(name, label_channels(name, raw, roles=roles, units=units), _Arrays(tuple(arrays)))

    @property
    def duration_s(self) -> float:
        r"""Time from the start of the recording to the end of its longest channel [s].

        Example:
            >>> import numpy as np
            >>> from pulsebayes.waveforms import Recording
            >>> Recording.from_arrays("demo", {"ABP": np.ones(500)}, fs=125).duration_s
            4.0
        """
        return max((channel.start_s + channel.duration_s for channel in self.channels), default=0.0)

    def channel(self, name_or_role: str) -> Channel:
        r"""The channel of a role or name.

        Arguments:
            name_or_role: A role such as `ART`, or a channel's name.

        Returns:
            The one channel that fits.

        Raises:
            RecordingError: If none fits (`channel-missing`, `unnamed-channels`) or several do (`channel-ambiguous`):
                no channel is ever chosen among several in silence.

        Example:
            >>> import numpy as np
            >>> from pulsebayes.waveforms import Recording
            >>> Recording.from_arrays("demo", {"IBP1": np.ones(9)}, fs=125).channel("ART").name
            'IBP1'
        """
        return self.channels[self._index(name_or_role)]

    def in_role(self, role: str) -> Channel:
        r"""The channel of a role, or of its name where nobody gave it another role.

        Arguments:
            role: A role such as `ART`.

        Raises:
            RecordingError: As `channel`; if the channel of that name was given another role (`channel-missing`).

        Example:
            >>> import numpy as np
            >>> from pulsebayes.waveforms import Recording
            >>> venous = Recording.from_arrays("demo", {"ART": np.ones(9)}, fs=125, roles={"ART": "CVP"})
            >>> venous.in_role("ART")
            Traceback (most recent call last):
            pulsebayes.waveforms.errors.RecordingError: demo: expected a channel ART, found ART (CVP, 125 Hz)
        """
        channel = self.channel(role)
        if channel.role not in (None, role):
            raise self._missing(role, role)
        return channel

    def values(self, name_or_role: str, start_s: float = 0.0, end_s: float | None = None) -> Float[np.ndarray, " time"]:
        r"""Values of one channel at its native rate over a stretch of time.

        Every sample time $t_i$ with `start_s` $\le t_i <$ `end_s` is there; where the channel has not begun, has ended
        or lacks samples, the value is NaN, so the length depends on the stretch alone.

        Arguments:
            name_or_role: A role such as `ART`, or a channel's name.
            start_s: Start [s] from the start of the recording.
            end_s: End [s], exclusive; the end of the recording where `None`.

        Returns:
            Values in `channel(name_or_role).unit`, float32, with shape (T,).

        Raises:
            RecordingError: If there is no such channel, or the file is damaged there.
            ValueError: If `end_s` is before `start_s`.

        Example:
            >>> import numpy as np
            >>> from pulsebayes.waveforms import Recording
            >>> wave = np.array([1.0, 2.0, 3.0, 4.0])
            >>> recording = Recording.from_arrays("demo", {"ABP": wave}, fs=2, units={"ABP": "kPa"})
            >>> [round(float(value), 2) for value in recording.values("ART", 1.0)]
            [22.5, 30.0]
        """
        return self._read(self._index(name_or_role), start_s, end_s)

    def times(self, name_or_role: str, start_s: float = 0.0, end_s: float | None = None) -> Float[np.ndarray, " time"]:
        r"""Times of the samples that `values` returns for the same arguments.

        Arguments:
            name_or_role: A role such as `ART`, or a channel's name.
            start_s: Start [s] from the start of the recording.
            end_s: End [s], exclusive; the end of the recording where `None`.

        Returns:
            Times [s] from the start of the recording, float64, with shape (T,).

        Raises:
            RecordingError: If there is no such channel.
            ValueError: If `end_s` is before `start_s`.

        Example:
            >>> import numpy as np
            >>> from pulsebayes.waveforms import Recording
            >>> recording = Recording.from_arrays("demo", {"ABP": np.ones(8)}, fs=4)
            >>> recording.times("ART", 1.0).tolist()
            [1.0, 1.25, 1.5, 1.75]
        """
        channel = self.channel(name_or_role)
        first, stop = self._stretch(channel, start_s, end_s)
        return channel.start_s + np.arange(first, stop) / channel.fs

    def to_datatree(self) -> DataTree:
        r"""The whole recording as an xarray `DataTree`, one node per sampling rate.

        Nodes are named by their rate (`125Hz`); channels of one rate whose samples do not fall on one grid get a node
        each (`125Hz_2`). Every node has the coordinate `time` [s]; every variable the attributes `units`, `role`, `fs`.
        Loads everything into memory.

        Returns:
            The tree.

        Example:
            >>> import numpy as np
            >>> from pulsebayes.waveforms import Recording
            >>> waves = {"ABP": np.ones(1250), "ECG": np.ones(5000)}
            >>> tree = Recording.from_arrays("demo", waves, fs={"ABP": 125, "ECG": 500}).to_datatree()
            >>> sorted(tree.children)
            ['125Hz', '500Hz']
        """
        from ._datatree import datatree

        return datatree(self)

    def _read(self, index: int, start_s: float, end_s: float | None) -> Float[np.ndarray, " time"]:
        channel = self.channels[index]
        first, stop = self._stretch(channel, start_s, end_s)
        result = np.full(stop - first, np.nan, dtype=np.float32)
        inner_first, inner_stop = max(first, 0), min(stop, channel.n_samples)
        if inner_stop > inner_first:
            part = np.asarray(self.samples(index, inner_first, inner_stop), dtype=np.float32)
            if channel.source_unit is not None and channel.unit is not None:
                part = convert(part, channel.source_unit, channel.unit)
            result[inner_first - first : inner_stop - first] = part
        return result

    def _index(self, name_or_role: str) -> int:
        found = matching(self.channels, name_or_role)
        if len(found) == 1:
            return found[0]
        wanted = name_or_role.strip()
        role = wanted.upper() if wanted.upper() in ROLES else "ART"
        if found:
            names = ", ".join(repr(self.channels[index].name) for index in found)
            raise RecordingError(
                f"{wanted} could be any of {names}; which one is meant is not guessed",
                code="channel-ambiguous",
                file=self.name,
                hint=f'--channel "{self.channels[found[0]].name}={role}"',
            )
        if self.channels and not any(channel.named for channel in self.channels):
            raise RecordingError(
                f"expected a channel {wanted}, but the file does not name its {len(self.channels)} channels",
                code="unnamed-channels",
                file=self.name,
                hint=unnamed_hint(self.channels, role),
            )
        raise self._missing(wanted, role)

    def _missing(self, wanted: str, role: str) -> RecordingError:
        there = ", ".join(f"{c.name} ({c.role or 'role unknown'}, {c.fs:g} Hz)" for c in self.channels) or "none"
        spare = next((c for c in self.channels if c.role is None), None)
        return RecordingError(
            f"expected a channel {wanted}, found {there}",
            code="channel-missing",
            file=self.name,
            hint=f'--channel "{spare.name}={role}", if that is what it is' if spare is not None else None,
        )

    def _stretch(self, channel: Channel, start_s: float, end_s: float | None) -> tuple[int, int]:
        end = self.duration_s if end_s is None else end_s
        if not (math.isfinite(start_s) and math.isfinite(end) and end >= start_s):
            raise ValueError(f"start_s and end_s [s] must be finite and in order, got {start_s} and {end}")
        first = math.ceil((start_s - channel.start_s) * channel.fs - _GRID)
        stop = math.ceil((end - channel.start_s) * channel.fs - _GRID)
        return first, max(first, stop)


def require_pressure_unit(recording: Recording, channel: str) -> Channel:
    r"""The channel, if its values are a pressure in mmHg; else the refusal with the option that would fit.

    Arguments:
        recording: Recording to look in.
        channel: A role such as `ART`, or a channel's name.

    Returns:
        The channel; `recording.values(channel)` is in mmHg.

    Raises:
        RecordingError: If the unit is missing (`unit-missing`) or no unit of pressure (`unit-wrong`; ADC counts, mV,
            a unit that is not known).
            Units are never guessed from values.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.waveforms import Recording, require_pressure_unit
        >>> recording = Recording.from_arrays("demo", {"ABP": np.ones(9)}, fs=125)
        >>> require_pressure_unit(recording, "ART")
        Traceback (most recent call last):
        ...
        pulsebayes.waveforms.errors.RecordingError: demo, channel ABP: expected a pressure with its unit, the file states none. Try: --unit ART=mmHg
    """  # noqa: E501
    found = recording.channel(channel)
    if found.unit == "mmHg":
        return found
    role = found.role if found.role in PRESSURE_ROLES else (channel if channel in PRESSURE_ROLES else found.name)
    hint = f"--unit {role}=mmHg" if " " not in role else f'--unit "{role}=mmHg"'
    if found.unit is None and found.unread_unit is not None:
        what, code = f"expected a unit of pressure, the file's {found.unread_unit!r} is not known", "unit-wrong"
    elif found.unit is None:
        what, code = "expected a pressure with its unit, the file states none", "unit-missing"
    elif is_pressure(found.unit):  # a known pressure unit on a channel whose role is no blood pressure
        what, code = f"expected a blood pressure, the channel's role is {found.role}", "unit-wrong"
        hint = f'--channel "{found.name}=ART"'
    else:
        what, code = f"expected a unit of pressure, got {found.unit!r}", "unit-wrong"
    raise RecordingError(what, code=code, file=recording.name, channel=found.name, hint=hint)


def missing_share(
    recording: Recording, channel: str, start_s: float | None = None, end_s: float | None = None
) -> float:
    r"""Share of a channel's samples that are missing, read block by block.

    Arguments:
        recording: Recording to look in.
        channel: A role or name.
        start_s: Start [s]; the channel's own start where `None`.
        end_s: End [s]; the channel's own end where `None`.

    Returns:
        A share in [0, 1]; 1 where there are no samples at all.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.waveforms import Recording
        >>> from pulsebayes.waveforms.recording import missing_share
        >>> missing_share(Recording.from_arrays("demo", {"ABP": [1.0, np.nan]}, fs=1), "ART")
        0.5
    """
    found = recording.channel(channel)
    start = found.start_s if start_s is None else start_s
    end = found.start_s + found.duration_s if end_s is None else end_s
    missing = total = 0
    while start < end:
        stop = min(start + _BLOCK_S, end)
        block = recording.values(channel, start, stop)
        missing += int(np.isnan(block).sum())
        total += block.size
        start = stop
    return missing / total if total else 1.0


def require_data(recording: Recording, channel: str, start_s: float | None = None, end_s: float | None = None) -> float:
    r"""Refuse a channel of which more than half is missing.

    Arguments:
        recording: Recording to look in.
        channel: A role or name.
        start_s: Start [s]; the channel's own start where `None`.
        end_s: End [s]; the channel's own end where `None`.

    Returns:
        The share missing, at most 0.5.

    Raises:
        RecordingError: If more than 50 % of the samples are missing (`too-much-missing`).

    Example:
        >>> import numpy as np
        >>> from pulsebayes.waveforms import Recording
        >>> from pulsebayes.waveforms.recording import require_data
        >>> require_data(Recording.from_arrays("demo", {"ABP": [1.0, 2.0]}, fs=1), "ART")
        0.0
    """
    share = missing_share(recording, channel, start_s, end_s)
    if share <= MAX_MISSING:
        return share
    raise RecordingError(
        f"at most {MAX_MISSING:.0%} of the samples may be missing, {share:.1%} are",
        code="too-much-missing",
        file=recording.name,
        channel=recording.channel(channel).name,
        hint="--start and --end around the stretch that was recorded",
    )
