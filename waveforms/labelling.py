r"""Give channels their roles and units: from the file, and from what the user says over it.

Precedence: what the user says (`--channel NAME=ROLE`, `--unit NAME_OR_ROLE=UNIT`), then what the file states, then, for
roles only, a guess from the name. A unit is never guessed. Whatever the user overrules is told as a finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from .errors import RecordingError
from .roles import PRESSURE_ROLES, ROLES, guess_role
from .units import is_pressure, parse_unit

__all__ = ["Channel", "RawChannel", "label_channels", "matching", "unnamed_hint"]


@dataclass(frozen=True)
class Channel:
    r"""One signal of a recording, at its native rate.

    Arguments:
        name: Name as in the file; `col 1`, `col 2`, ... where the file gives none.
        role: A key of `waveforms.roles.ROLES`, or `None`.
        unit: Unit of what `Recording.values` returns, mmHg for every blood pressure whose unit is known; `None` where
            neither the file nor the user states one.
        fs: Native sampling rate [Hz].
        start_s: Time of the first sample [s] from the start of the recording.
        n_samples: Number of samples, missing ones included.
        findings: What the reader noticed, one sentence each.
        source_unit: Unit in the file, where it differs from `unit`.
        named: Whether the file names the channel.
        unread_unit: Unit as the file spells it, where it was not taken: not known, or the user states another.

    Example:
        >>> from pulsebayes.waveforms import Channel
        >>> Channel("ABP", "ART", "mmHg", 125.0, 0.0, 1250).duration_s
        10.0
    """

    name: str
    role: str | None
    unit: str | None
    fs: float
    start_s: float
    n_samples: int
    findings: tuple[str, ...] = ()
    source_unit: str | None = None
    named: bool = True
    unread_unit: str | None = None

    @property
    def duration_s(self) -> float:
        r"""Length of the channel [s], missing samples included.

        Example:
            >>> from pulsebayes.waveforms import Channel
            >>> Channel("ABP", "ART", "mmHg", 125.0, 0.0, 1000).duration_s
            8.0
        """
        return self.n_samples / self.fs

    @property
    def contradiction(self) -> str:
        r"""What the user and the file say of the unit, where they disagree; else empty.

        Example:
            >>> from pulsebayes.waveforms import Channel
            >>> Channel("ABP", "ART", "mmHg", 125.0, 0.0, 9, source_unit="kPa", unread_unit="mmHg").contradiction
            'unit kPa as you say; the file says mmHg'
        """
        if self.unread_unit is None or self.unit is None:
            return ""
        return f"unit {self.source_unit or self.unit} as you say; the file says {self.unread_unit}"

    @property
    def label(self) -> str:
        r"""Name and unit as they stand over a column.

        Example:
            >>> from pulsebayes.waveforms import Channel
            >>> Channel("ABP", "ART", "mmHg", 125.0, 0.0, 1000).label
            'ABP [mmHg]'
        """
        return self.name if self.unit is None else f"{self.name} [{self.unit}]"


@dataclass(frozen=True)
class RawChannel:
    r"""A channel as a reader finds it: before roles and canonical units.

    Arguments:
        name: Name in the file, or `col k` where there is none.
        unit: Unit as the file spells it, or `None`.
        fs: Native sampling rate [Hz].
        n_samples: Number of samples.
        start_s: Time of the first sample [s].
        findings: What the reader noticed.
        named: Whether the file names the channel.
        role: Role the file itself states (Vital Recorder's monitor types), used where the name says nothing.
        role_known: Whether `role` is the last word, even `None`: the name is not asked.

    Example:
        >>> from pulsebayes.waveforms.labelling import RawChannel
        >>> RawChannel("ABP", "mm Hg", 125.0, 1000).unit
        'mm Hg'
    """

    name: str
    unit: str | None
    fs: float
    n_samples: int
    start_s: float = 0.0
    findings: tuple[str, ...] = ()
    named: bool = True
    role: str | None = None
    role_known: bool = False


def label_channels(
    file: str,
    raw: Sequence[RawChannel],
    *,
    roles: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> tuple[Channel, ...]:
    r"""Give each channel its role and unit.

    Arguments:
        file: Name of the file, for messages.
        raw: Channels as the reader found them.
        roles: Role of a channel, by its name: `{"col 3": "ART"}`. Other channels guessed to have it lose it.
        units: Unit of a channel, by its name or role: `{"ART": "kPa"}`.

    Returns:
        Labelled channels, in the order of the file, names made unique.

    Raises:
        RecordingError: If a name does not exist, a role or unit is unknown, or two channels are given one role.

    Example:
        >>> from pulsebayes.waveforms.labelling import RawChannel, label_channels
        >>> (art,) = label_channels("a.csv", [RawChannel("ABP", "kPa", 125.0, 1000)])
        >>> art.role, art.unit, art.source_unit
        ('ART', 'mmHg', 'kPa')
    """
    channels = [_from_file(item) for item in _unique(raw)]
    _apply_roles(file, channels, roles or {})
    _apply_units(file, channels, units or {})
    return tuple(_in_mmhg(channel) for channel in channels)


def matching(channels: Sequence[Channel], name_or_role: str) -> list[int]:
    r"""Indices of the channels that a name or role can mean.

    Holders of the role come first, then the exact name, then the name without regard to capitals, then the track of a
    `device/track` name.

    Arguments:
        channels: Channels to choose from.
        name_or_role: A role such as `ART`, or a channel's name.

    Returns:
        Indices into `channels`; more than one if the wish is ambiguous, none if nothing fits.

    Example:
        >>> from pulsebayes.waveforms import Channel
        >>> from pulsebayes.waveforms.labelling import matching
        >>> matching([Channel("ABP", "ART", "mmHg", 125.0, 0.0, 9)], "ART")
        [0]
    """
    wanted = name_or_role.strip()
    rules: tuple[Callable[[Channel], bool], ...] = (
        lambda channel: channel.role == wanted.upper(),
        lambda channel: channel.name == wanted,
        lambda channel: channel.name.casefold() == wanted.casefold(),
        lambda channel: channel.name.rsplit("/", 1)[-1].casefold() == wanted.casefold(),
    )
    for rule in rules:
        found = [index for index, channel in enumerate(channels) if rule(channel)]
        if found:
            return found
    return []


def unnamed_hint(channels: Sequence[Channel], role: str) -> str:
    r"""The options that name an unnamed channel, as they are typed.

    Arguments:
        channels: Channels of the file, all without names.
        role: Role wanted.

    Returns:
        For example `--channel "col 3=ART" --unit ART=mmHg`; the column is an example, nothing is guessed from values.

    Example:
        >>> from pulsebayes.waveforms import Channel
        >>> from pulsebayes.waveforms.labelling import unnamed_hint
        >>> unnamed_hint([Channel("col 1", None, None, 125.0, 0.0, 9)], "ART")
        '--channel "col 1=ART" --unit ART=mmHg'
    """
    example = channels[min(3, len(channels)) - 1].name
    unit = f" --unit {role}=mmHg" if role in PRESSURE_ROLES else ""
    return f'--channel "{example}={role}"{unit}'


def _unique(raw: Sequence[RawChannel]) -> list[RawChannel]:
    total = Counter(item.name for item in raw)
    seen: Counter[str] = Counter()
    result = []
    for item in raw:
        seen[item.name] += 1
        if total[item.name] > 1:
            note = f"the file has {total[item.name]} channels named {item.name!r}; this is number {seen[item.name]}"
            name = item.name if seen[item.name] == 1 else f"{item.name} ({seen[item.name]})"
            item = replace(item, name=name, findings=(*item.findings, note))
        result.append(item)
    return result


def _from_file(raw: RawChannel) -> Channel:
    findings, unit, unread = raw.findings, None, None
    if raw.unit is not None and raw.unit.strip():
        try:
            unit = parse_unit(raw.unit)
        except ValueError:
            unread = raw.unit.strip()
            findings = (*findings, f"the unit {raw.unit!r} in the file is not known and was left out")
    role = (guess_role(raw.name) or raw.role) if raw.named and not raw.role_known else raw.role
    return Channel(
        raw.name, role, unit, raw.fs, raw.start_s, raw.n_samples, findings, named=raw.named, unread_unit=unread
    )


def _names(channels: Sequence[Channel]) -> str:
    return ", ".join(f"{c.name!r} ({c.role})" if c.role else repr(c.name) for c in channels)


def _apply_roles(file: str, channels: list[Channel], roles: Mapping[str, str]) -> None:
    given: dict[int, str] = {}
    for name, wish in roles.items():
        role = wish.strip().upper()
        if role not in ROLES:
            raise RecordingError(
                f"a role must be one of {', '.join(ROLES)}, got {wish!r} for {name!r}",
                code="unknown-role",
                file=file,
                hint=f'--channel "{name}=ART"',
            )
        by_name = matching([replace(channel, role=None) for channel in channels], name)
        if len(by_name) != 1:
            why = "is not in the file" if not by_name else "fits several channels"
            raise RecordingError(
                f"channel {name!r} {why}; there are {_names(channels)}",
                code="channel-ambiguous" if by_name else "channel-missing",
                file=file,
                hint=f'--channel "{channels[0].name}={role}"' if channels else None,
            )
        if role in given.values() or by_name[0] in given:
            raise RecordingError(
                f"each channel takes one role and each role one channel, got {dict(roles)}",
                code="channel-ambiguous",
                file=file,
            )
        given[by_name[0]] = role
    for index, channel in enumerate(channels):
        if index in given:
            note = () if channel.role in (None, given[index]) else (f"the name suggests {channel.role}",)
            findings = (*channel.findings, f"role {given[index]} as you say", *note)
            channels[index] = replace(channel, role=given[index], findings=findings)
        elif channel.role in given.values():
            note = (f"the name suggests {channel.role}, which you gave to another channel",)
            channels[index] = replace(channel, role=None, findings=(*channel.findings, *note))


def _apply_units(file: str, channels: list[Channel], units: Mapping[str, str]) -> None:
    stated = [channel.unit or channel.unread_unit for channel in channels]
    for name, wish in units.items():
        try:
            unit = parse_unit(wish)
        except ValueError as error:
            raise RecordingError(str(error), code="unknown-unit", file=file, hint=f"--unit {name}=mmHg") from error
        found = matching(channels, name)
        if not found:
            raise RecordingError(
                f"a unit was given for {name!r}, which is not in the file; there are {_names(channels)}",
                code="unnamed-channels" if channels and not any(c.named for c in channels) else "channel-missing",
                file=file,
                hint=_unit_hint(channels, name, unit),
            )
        for index in found:
            unread = None if stated[index] in (None, unit) else stated[index]
            new = replace(channels[index], unit=unit, unread_unit=unread)
            note = new.contradiction or f"unit {unit} as you say"
            channels[index] = replace(new, findings=(*new.findings, note))


def _unit_hint(channels: Sequence[Channel], name: str, unit: str) -> str | None:
    """The option that would fit where a unit was given for what is not there; a role is never moved to another."""
    if not channels:
        return None
    unknown = [c for c in channels if c.role is None]
    if unknown and name.strip().upper() in ROLES:
        return f'--channel "{unknown[min(3, len(unknown)) - 1].name}={name}"'
    meant = next((c for c in channels if (c.role in PRESSURE_ROLES) == is_pressure(unit)), channels[0])
    return f'--unit "{meant.name}={unit}"'


def _in_mmhg(channel: Channel) -> Channel:
    if channel.role not in PRESSURE_ROLES or not is_pressure(channel.unit) or channel.unit == "mmHg":
        return channel
    note = f"converted from {channel.unit} to mmHg"
    return replace(channel, unit="mmHg", source_unit=channel.unit, findings=(*channel.findings, note))
