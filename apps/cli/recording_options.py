r"""The options that say what is in a waveform file, and how times are written on the command line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...waveforms.times import read_time
from .errors import CommandError

if TYPE_CHECKING:
    from ...waveforms.recording import Recording

__all__ = ["CHANNEL", "FILES", "FS", "UNIT", "Labels", "parse_interval", "parse_pairs", "parse_seconds", "parse_span"]

FILES = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Waveform files of any format that is read.")]
CHANNEL = Annotated[
    list[str] | None, typer.Option("--channel", metavar="NAME=ROLE", help='What a channel is: "col 3=ART".')
]
UNIT = Annotated[
    list[str] | None, typer.Option("--unit", metavar="NAME=UNIT", help="Unit of a channel or role: ART=kPa.")
]
FS = Annotated[float, typer.Option("--fs", min=0.0, help="Sampling rate in Hz, where the file states none.")]


def parse_pairs(option: str, pairs: Iterable[str] | None) -> dict[str, str]:
    r"""Read the values of a repeatable `NAME=VALUE` option.

    Arguments:
        option: Name of the option, for the message.
        pairs: What was given.

    Returns:
        Values by name.

    Raises:
        CommandError: If a value has no `=`, or nothing on one side of it, or a name comes twice.

    Example:
        >>> from pulsebayes.apps.cli.recording_options import parse_pairs
        >>> parse_pairs("--channel", ["col 3=ART"])
        {'col 3': 'ART'}
    """
    found: dict[str, str] = {}
    for pair in pairs or ():
        name, separator, value = (part.strip() for part in pair.rpartition("="))
        if not (separator and name and value):
            example = "--channel 'col 3=ART'" if option == "--channel" else f"{option} ART=mmHg"
            raise CommandError(f"{option} takes NAME=VALUE, got {pair!r}", code="usage", hint=example)
        if name in found and found[name] != value:
            raise CommandError(
                f"{option} says {name}={found[name]} and {name}={value}", code="usage", hint="say it once"
            )
        found[name] = value
    return found


def parse_seconds(option: str, text: str) -> float:
    r"""Read a time: `8`, `8s`, `2min`, `1.5h`, `12:30` (minutes and seconds) or `1:02:03`.

    Arguments:
        option: Name of the option, for the message.
        text: What was given.

    Returns:
        The time [s].

    Raises:
        CommandError: If the text is no time.

    Example:
        >>> from pulsebayes.apps.cli.recording_options import parse_seconds
        >>> parse_seconds("--every", "8s"), parse_seconds("--start", "1:02:03")
        (8.0, 3723.0)
    """
    seconds = read_time(text)
    if seconds is not None:
        return seconds
    raise CommandError(f"{option} takes a time, got {text!r}", code="usage", hint=f"{option} 90s, 2min or 1:30")


def parse_span(start: str, end: str) -> tuple[float, float]:
    r"""Read `--start` and `--end`.

    Arguments:
        start: Value of `--start`.
        end: Value of `--end`; empty for the end of the recording.

    Returns:
        Both times [s], infinity for the end of the recording.

    Raises:
        CommandError: If one is no time, or the end is not after the start.

    Example:
        >>> from pulsebayes.apps.cli.recording_options import parse_span
        >>> parse_span("1:30", "")
        (90.0, inf)
    """
    start_s = parse_seconds("--start", start)
    end_s = parse_seconds("--end", end) if end else math.inf
    if end_s <= start_s:
        raise CommandError(
            f"--end must come after --start, got {start_s:g} s to {end_s:g} s",
            code="usage",
            hint=f"--end after {start}",
        )
    return start_s, end_s


def parse_interval(option: str, text: str) -> float:
    r"""Read a time that must be longer than nothing.

    Arguments:
        option: Name of the option, for the message.
        text: What was given.

    Returns:
        The time [s].

    Raises:
        CommandError: If the text is no time, or zero.

    Example:
        >>> from pulsebayes.apps.cli.recording_options import parse_interval
        >>> parse_interval("--every", "1min")
        60.0
    """
    seconds = parse_seconds(option, text)
    if not 0 < seconds < math.inf:
        raise CommandError(f"{option} must be longer than 0 s, got {text!r}", code="usage", hint=f"{option} 8s")
    return seconds


@dataclass(frozen=True)
class Labels:
    r"""What the command line says about the channels of a file.

    Arguments:
        roles: Roles by channel name.
        units: Units by channel name or role.
        fs: Sampling rate [Hz], 0 where it was not given.

    Example:
        >>> from pulsebayes.apps.cli.recording_options import Labels
        >>> Labels.parse(["col 3=ART"], None, 125.0).roles
        {'col 3': 'ART'}
    """

    roles: Mapping[str, str]
    units: Mapping[str, str]
    fs: float = 0.0

    @classmethod
    def parse(cls, channel: Iterable[str] | None, unit: Iterable[str] | None, fs: float) -> Labels:
        r"""Read the values of `--channel`, `--unit` and `--fs`.

        Arguments:
            channel: Values of `--channel`.
            unit: Values of `--unit`.
            fs: Value of `--fs` [Hz].

        Returns:
            The labels.

        Raises:
            CommandError: If an option cannot be read.
        """
        return cls(parse_pairs("--channel", channel), parse_pairs("--unit", unit), fs)

    def open(self, path: Path) -> Recording:
        r"""Read a waveform file with these labels.

        Arguments:
            path: The file.

        Returns:
            The recording.

        Raises:
            RecordingError: If the file cannot be read.
        """
        from ...waveforms.readers import read

        recording: Recording = read(path, fs=self.fs or None, roles=self.roles or None, units=self.units or None)
        return recording

    def open_aloud(self, path: Path) -> Recording:
        r"""Read a waveform file, and say on stderr where a unit that was given contradicts the file's own.

        Arguments:
            path: The file.

        Returns:
            The recording.

        Raises:
            RecordingError: If the file cannot be read.
        """
        recording = self.open(path)
        for channel in recording.channels:
            if channel.contradiction:
                typer.echo(f"warning: {recording.name}, channel {channel.name}: {channel.contradiction}", err=True)
        return recording
