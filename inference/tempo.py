r"""Tempo: does the pulse go at a speed at which a heart of this rate ejects?

Played at half speed, a pulse keeps its shape; only its times are wrong together: the rate, the upstroke, the ejection.
A few small networks read the [`course`][pulsebayes.inference.pulse_shape] of the pulse in seconds, the upstroke, how
both bend, and the traits. Their mean tells two numbers: the log odds that the window was played at another speed and
now has a rate and ejection time of no simulated adult, and the ejection time itself. They were shown simulations at
their own speed and played from .4 to 2.5 times as slowly ([`calibration.tempo`][pulsebayes.calibration.tempo]).

Where a tempo has networks of a second kind, with convolutions along course and upstroke before their dense layers, the
odds are the lesser of the two kinds': of pulses unlike any simulated one both say something, seldom the same.

A window is impossible if its odds exceed the limit, which few simulations at their own speed do even with the sensor
at twice its width. NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .pulse_shape import TRAITS, PulseShape

__all__ = ["KERNEL", "NAMES", "SECOND", "VIEWS", "Reading", "Tempo", "arranged", "tempo_features"]

LAYERS = 3
NAMES = ("centre", "scale", "limit", "calibration", "edges", *(f"{k}{i}" for i in range(LAYERS) for k in ("w", "b")))
"""Arrays of a tempo, each under ``tempo/`` among those of a domain model; those of a second kind may be absent."""
VIEWS = ((3, 56), (2, 36))
"""Channels and length of what is convolved: the course, its slope and its bend; the upstroke and its slope."""
KERNEL = 5
SECOND = "second/"
"""Before the names of arrays of networks of the second kind."""
CLIP = 5.0
"""Features farther than this many scales from the centre count as this far."""
_RATE = list(TRAITS).index("rate")
ASK = "is the sampling rate right?"


class Reading(NamedTuple):
    r"""What a tempo reads of windows.

    Arguments:
        odds: Log odds that speed, and so rate and ejection, are impossible.
        ejection: Ejection time [ms].

    Example:
        >>> Reading(np.zeros(2), np.full(2, 300.0)).ejection.tolist()
        [300.0, 300.0]
    """

    odds: Float[np.ndarray, " N"]
    ejection: Float[np.ndarray, " N"]


_First = Callable[[Mapping[str, np.ndarray], np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Tempo:
    r"""A fitted tempo.

    Arguments:
        arrays: All of ``NAMES``: centre and scale of the features; weights of the networks, the first axis; the limit
            of the log odds; sorted log odds of simulations; and edges, rows of log rate, least and greatest ejection.
            With them, under ``SECOND``, centre, scale and weights of networks with convolutions, or none.

    Raises:
        ValueError: If an array is missing.

    Example:
        >>> sizes = ((248, 4), (4, 4), (4, 2))
        >>> layers = {f"w{i}": np.zeros((1, *size)) for i, size in enumerate(sizes)}
        >>> layers |= {f"b{i}": np.zeros((1, size[1])) for i, size in enumerate(sizes)}
        >>> edges = np.array([np.log([40.0, 120.0]), [250.0, 200.0], [400.0, 300.0]])
        >>> rest = {"limit": np.ones(1), "calibration": np.zeros(9), "edges": edges}
        >>> tempo = Tempo({"centre": np.zeros(248), "scale": np.ones(248)} | rest | layers)
        >>> still = PulseShape(np.zeros(48), np.zeros(36), np.zeros(len(TRAITS)), np.zeros(56))
        >>> tempo.impossible(still) is None
        True
    """

    arrays: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        missing = sorted(set(NAMES) - set(self.arrays))
        if missing:
            raise ValueError(f"a tempo needs the arrays {sorted(NAMES)}, got none named {missing}: fit it again")

    @property
    def limit(self) -> float:
        r"""Log odds beyond which a window may be refused."""
        return float(self.arrays["limit"][0])

    def read(self, features: Float[np.ndarray, "N F"]) -> Reading:
        r"""Reads windows.

        Arguments:
            features: Their features, as `tempo_features` gives them.
        """
        odds, ejection = _told(self.arrays, features, _same)
        if SECOND + "centre" in self.arrays:
            second = {k.removeprefix(SECOND): v for k, v in self.arrays.items() if k.startswith(SECOND)}
            odds = np.minimum(odds, _told(second, features, _convolved)[0])
        return Reading(odds, np.exp(ejection))

    def impossible(self, shape: PulseShape) -> tuple[float, str] | None:
        r"""Judges one window.

        Arguments:
            shape: Its pulse.

        Returns:
            The share of simulations with odds as high, and what no simulated adult has; None if nothing is wrong.
        """
        odds, ejection = (float(part[0]) for part in self.read(tempo_features(shape)[None]))
        if odds <= self.limit:
            return None
        calibration = self.arrays["calibration"]
        beyond = len(calibration) - int(np.searchsorted(calibration, odds, side="left"))
        return (1 + beyond) / (len(calibration) + 1), self._reason(float(shape.traits[_RATE]), ejection)

    def _reason(self, log_rate: float, ejection: float) -> str:
        rates, lowest, highest = self.arrays["edges"]
        beats = f"beats of {np.exp(log_rate):.0f} /min"
        if not rates[0] <= log_rate <= rates[-1]:
            return f"{beats}: simulated adults have {np.exp(rates[0]):.0f} to {np.exp(rates[-1]):.0f}; {ASK}"
        low, high = np.interp(log_rate, rates, lowest), np.interp(log_rate, rates, highest)
        if low <= ejection <= high:
            return f"{beats} that rise and fall as if played at another speed; {ASK}"
        known = f"simulated adults of this rate have {low:.0f} to {high:.0f}"
        return f"{beats} with an ejection of about {ejection:.0f} ms: {known}; {ASK}"


def tempo_features(shape: PulseShape) -> Float[np.ndarray, " F"]:
    r"""What the networks read of a pulse: its course and its upstroke, how they bend, and its traits.

    Arguments:
        shape: The pulse.

    Example:
        >>> tempo_features(PulseShape(np.zeros(48), np.zeros(36), np.zeros(len(TRAITS)), np.zeros(56))).shape
        (248,)
    """
    course, upstroke = shape.course, shape.upstroke
    bent = (np.diff(course), np.diff(upstroke), np.diff(course, 2))
    return np.concatenate([course, upstroke, *bent, shape.traits])


def arranged(features: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N A"]:
    r"""Features in the order of ``VIEWS``, differences filled up with zeros to its length, then the traits.

    Arguments:
        features: Scaled features, in the order of `tempo_features`.

    Example:
        >>> arranged(np.ones((2, 248))).shape
        (2, 252)
    """
    return np.concatenate([features, np.zeros((len(features), 1))], axis=1)[:, _PLACES]


def _places() -> list[int]:
    """Where each arranged feature stands; one beyond the last for zero."""
    course, upstroke = VIEWS[0][1], VIEWS[1][1]
    sizes = (course, upstroke, course - 1, upstroke - 1, course - 2, len(TRAITS))
    stops = np.cumsum(sizes).tolist()
    parts = [list(range(stop - size, stop)) for stop, size in zip(stops, sizes, strict=True)]
    for i, length in ((2, course), (3, upstroke), (4, course)):
        parts[i] += [stops[-1]] * (length - len(parts[i]))
    return [place for i in (0, 2, 4, 1, 3, 5) for place in parts[i]]


_PLACES = _places()


def _told(
    arrays: Mapping[str, np.ndarray], features: Float[np.ndarray, "N F"], first: _First
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Mean log odds and log ejection time over networks of one kind."""
    scaled = np.clip((features - arrays["centre"]) / arrays["scale"], -CLIP, CLIP)
    values = first(arrays, scaled)
    for i in range(LAYERS):
        values = _silu(values) if i else values
        values = values @ arrays[f"w{i}"].astype(np.float64) + arrays[f"b{i}"][:, None]
    return values[..., 0].mean(0), values[..., 1].mean(0)


def _same(arrays: Mapping[str, np.ndarray], scaled: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "1 N F"]:
    """What dense layers read where nothing comes before them."""
    return scaled[None]


def _convolved(arrays: Mapping[str, np.ndarray], scaled: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "M N B"]:
    """What dense layers read after convolutions: for each network both views convolved twice, and the traits."""
    features = arranged(scaled)
    parts, start = [], 0
    for view, (channels, length) in enumerate(VIEWS):
        values = features[None, :, start : start + channels * length].reshape(1, -1, channels, length)
        for part, stride in (("first", 1), ("second", 2)):
            weight, bias = (arrays[f"{part}{view}{kind}"].astype(np.float64) for kind in "wb")
            values = _silu(_convolution(values, weight, bias, stride))
        parts.append(values.reshape(*values.shape[:2], -1))
        start += channels * length
    rest = np.broadcast_to(features[None, :, start:], (*parts[0].shape[:2], features.shape[1] - start))
    return np.concatenate([*parts, rest], axis=2)


def _silu(values: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
    activated: Float[np.ndarray, "*N"] = values / (1 + np.exp(-values))
    return activated


def _convolution(
    values: Float[np.ndarray, "M N C L"],
    weight: Float[np.ndarray, "K O C W"],
    bias: Float[np.ndarray, "K O"],
    stride: int,
) -> Float[np.ndarray, "K N O S"]:
    """One convolution of each network, zeros beyond the ends."""
    reach = weight.shape[-1] // 2
    padded = np.pad(values, ((0, 0), (0, 0), (0, 0), (reach, reach)))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[-1], axis=3)[:, :, :, ::stride]
    pieces = pieces.transpose(0, 1, 3, 2, 4).reshape(*values.shape[:2], pieces.shape[3], -1)
    told = pieces @ weight.reshape(*weight.shape[:2], -1).transpose(0, 2, 1)[:, None] + bias[:, None, None]
    return np.moveaxis(told, 3, 2)
