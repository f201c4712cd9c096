r"""Colours by role, for dark and light backgrounds.

Arterial pressure red, oximetry cyan or teal, venous pressure orange, as monitors have them. Every colour that carries
a line or a word has a contrast of at least 4.5 against its background; bands and spans are read with their edges and
names.

References:
    Web Content Accessibility Guidelines 2.2, success criteria 1.4.3 and 1.4.11 (contrast), 1.4.1 (use of colour).
"""

from __future__ import annotations

from typing import Final

__all__ = ["DARK", "LIGHT", "colour_of", "contrast", "palette"]

DARK: Final[dict[str, str]] = {
    "paper": "#0e1117", "panel": "#0a0d12", "ink": "#e8eaed", "muted": "#a9b0ba", "grid": "#2a313c", "edge": "#4a5361",
    "ART": "#ff6b6b", "AO": "#ff8f8f", "FEM": "#ff9e80", "PLETH": "#4dd0e1", "CVP": "#ffb74d", "PAP": "#ffee58",
    "LVP": "#f48fb1", "ICP": "#ce93d8", "ECG": "#7ee787", "RESP": "#e6e6a0", "CO2": "#c5c9d0", "FLOW": "#80b4ff",
    "posterior": "#7cb7ff", "prior": "#a9b0ba", "usual": "#3f8f5f", "pick": "#ffd54f", "refused": "#c77dff",
    "good": "#7ee787", "caution": "#ffb74d", "bad": "#ff6b6b", "reference": "#ffd54f", "simulated": "#80b4ff",
}  # fmt: skip
r"""Colours on a dark background."""

LIGHT: Final[dict[str, str]] = {
    "paper": "#ffffff", "panel": "#ffffff", "ink": "#1a1f27", "muted": "#566070", "grid": "#e3e6ea", "edge": "#8a93a0",
    "ART": "#c62828", "AO": "#a31515", "FEM": "#b23b00", "PLETH": "#006d77", "CVP": "#9a4c00", "PAP": "#7a5c00",
    "LVP": "#ad1457", "ICP": "#6a1b9a", "ECG": "#1b6e2c", "RESP": "#5c5f00", "CO2": "#4b5563", "FLOW": "#1f4e9e",
    "posterior": "#1f4e9e", "prior": "#566070", "usual": "#8fc9a5", "pick": "#7a5c00", "refused": "#6a1b9a",
    "good": "#1b6e2c", "caution": "#9a4c00", "bad": "#c62828", "reference": "#7a5c00", "simulated": "#1f4e9e",
}  # fmt: skip
r"""Colours on a light background."""


def palette(*, dark: bool) -> dict[str, str]:
    r"""The colours of a theme.

    Arguments:
        dark: Whether the background is dark.

    Returns:
        Colours by role.

    Example:
        >>> palette(dark=False)["ART"]
        '#c62828'
    """
    return DARK if dark else LIGHT


def colour_of(role: str | None, *, dark: bool) -> str:
    r"""The colour of a role; that of ink where the role has none.

    Arguments:
        role: A role of a channel or of a mark.
        dark: Whether the background is dark.

    Returns:
        Colour as `#rrggbb`.

    Example:
        >>> colour_of("UNKNOWN", dark=True) == DARK["ink"]
        True
    """
    colours = palette(dark=dark)
    return colours.get(role or "ink", colours["ink"])


def contrast(one: str, other: str) -> float:
    r"""Contrast of two colours, from 1 to 21.

    Arguments:
        one: A colour as `#rrggbb`.
        other: Another.

    Returns:
        $(L_1 + 0.05)/(L_2 + 0.05)$ with the relative luminances $L_1 \ge L_2$.

    Example:
        >>> round(contrast("#000000", "#ffffff"))
        21
    """
    light, shade = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (shade + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
