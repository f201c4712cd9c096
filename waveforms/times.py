r"""Times as they are written on a command line: `90s`, `2min`, `12:30`."""

from __future__ import annotations

import re

__all__ = ["read_time"]

_UNITS_S = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "ms": 1e-3}
_PLAIN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)")
_CLOCK = re.compile(r"(?:(\d+):(?=[0-5]?\d:))?(\d+):([0-5]\d(?:\.\d*)?)")


def read_time(text: str) -> float | None:
    r"""Reads a time: `8`, `8s`, `2min`, `1.5h`, `12:30` (minutes and seconds) or `1:02:03`.

    Arguments:
        text: What was written.

    Returns:
        The time [s], or None where the text is none.

    Example:
        >>> [read_time(text) for text in ("8s", "2min", "1:02:03", "10:-5", "1:99")]
        [8.0, 120.0, 3723.0, None, None]
    """
    plain = _PLAIN.fullmatch(text.strip().lower())
    if plain and plain[2] in _UNITS_S:
        return float(plain[1]) * _UNITS_S[plain[2]]
    clock = _CLOCK.fullmatch(text.strip())
    if clock:
        return 3600.0 * float(clock[1] or 0) + 60.0 * float(clock[2]) + float(clock[3])
    return None
