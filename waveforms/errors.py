r"""The error for a recording that cannot be read or does not fit.

Every message names the file and, where they apply, the channel and the second; says what was expected and what was
found; and carries the option to try as `hint`.
"""

from __future__ import annotations

__all__ = ["RecordingError"]


class RecordingError(ValueError):
    r"""A recording that cannot be read, or a channel that does not fit what is asked of it.

    Codes: `not-found`, `directory`, `empty`, `unreadable`, `unsupported`, `wrong-suffix`, `encoding`, `truncated`,
    `too-large`, `corrupt`, `header`, `no-data`, `no-rate`, `time-stamps`, `bad-rate`, `layout`, `unknown-role`,
    `unknown-unit`, `unnamed-channels`, `channel-missing`, `channel-ambiguous`, `unit-missing`, `unit-wrong`,
    `too-much-missing`.

    Arguments:
        what: What was expected and what was found, without the file's name.
        code: Short slug, one of the above.
        file: Name of the file, without its folder.
        channel: Name of the channel, where one is meant.
        at_s: Second of the recording at which it happened [s], where there is one.
        hint: What to try, where possible the option to give.

    Example:
        >>> from pulsebayes.waveforms import RecordingError
        >>> error = RecordingError("no unit", code="unit-missing", file="a.csv", channel="ABP", hint="--unit ART=mmHg")
        >>> print(error)
        a.csv, channel ABP: no unit. Try: --unit ART=mmHg
    """

    def __init__(
        self,
        what: str,
        *,
        code: str,
        file: str,
        channel: str | None = None,
        at_s: float | None = None,
        hint: str | None = None,
    ) -> None:
        place = file
        if channel is not None:
            place += f", channel {channel}"
        if at_s is not None:
            place += f", at {at_s:.3f} s"
        self.message = f"{place}: {what}"
        self.what = what
        self.code = code
        self.file = file
        self.channel = channel
        self.at_s = at_s
        self.hint = hint
        super().__init__(self.message if hint is None else f"{self.message}. Try: {hint}")

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.what, self.code, self.file, self.channel, self.at_s, self.hint))


def _rebuild(
    what: str, code: str, file: str, channel: str | None, at_s: float | None, hint: str | None
) -> RecordingError:
    return RecordingError(what, code=code, file=file, channel=channel, at_s=at_s, hint=hint)
