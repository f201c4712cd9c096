r"""What a model reads: a channel, or several of which any may be missing.

A window of a model of several channels is an array (C, T) in the order of its contract; a channel that is missing is a
row of NaN, and at least one is there. Channels are told apart by their names, which are their roles unless two share
one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..waveforms.roles import PRESSURE_ROLES, ROLES

__all__ = ["ChannelContract", "InputContract", "joined"]


def joined(names: tuple[str, ...] | list[str]) -> str:
    r"""The name of a set of channels.

    Arguments:
        names: Their names, in the order of the contract.

    Example:
        >>> joined(["ART", "PLETH"])
        'ART+PLETH'
    """
    return "+".join(names)


@dataclass(frozen=True)
class ChannelContract:
    r"""One of the channels that a model reads.

    Arguments:
        role: Role of the channel.
        unit: Its unit.
        name: Its name in the model, and in a recording where roles do not tell channels apart; empty for the role.
        uninformative: Share of the prior's interval above which a quantity is uninformative when no channel with a
            greater share is given; 0 for the model's.

    Raises:
        ValueError: If the role is unknown, a pressure is not in mmHg (as recordings give it), or the share is negative.

    Example:
        >>> ChannelContract("PLETH", "1").name
        'PLETH'
    """

    role: str = "ART"
    unit: str = "mmHg"
    name: str = ""
    uninformative: float = 0.0

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)}, got {self.role!r}")
        if self.role in PRESSURE_ROLES and self.unit != "mmHg":
            raise ValueError(f"unit of {self.role} must be mmHg, as recordings give pressures, got {self.unit!r}")
        if not self.uninformative >= 0:
            raise ValueError(f"uninformative must be a share, got {self.uninformative}")
        object.__setattr__(self, "name", self.name or self.role)

    def to_json(self) -> dict[str, Any]:
        r"""Returns the channel as a JSON-able dictionary."""
        return {"name": self.name, "role": self.role, "unit": self.unit, "uninformative": self.uninformative}


@dataclass(frozen=True)
class InputContract:
    r"""What a model reads.

    Arguments:
        role: Role of the channel; of the first where there are several.
        unit: Its unit.
        fs: Sampling rate of a window [Hz].
        samples: Samples of a window.
        several: Channels of a model of which any may be missing; empty for a model of one channel.

    Raises:
        ValueError: If the role is unknown, a pressure is not in mmHg (as recordings give it), a number is not
            positive, or several channels are fewer than two, share a name or do not begin with the role.

    Example:
        >>> InputContract().window_s
        8.0
        >>> both = InputContract(several=(ChannelContract(), ChannelContract("PLETH", "1")))
        >>> both.arrange({"PLETH": np.zeros(1000)}).shape
        (2, 1000)
    """

    role: str = "ART"
    unit: str = "mmHg"
    fs: float = 125.0
    samples: int = 1000
    several: tuple[ChannelContract, ...] = ()

    def __post_init__(self) -> None:
        ChannelContract(self.role, self.unit)
        if not (0 < self.fs < math.inf and self.samples >= 1):
            raise ValueError(f"fs [Hz] and samples must be positive, got {self.fs} and {self.samples}")
        several = tuple(c if isinstance(c, ChannelContract) else ChannelContract(**c) for c in self.several)
        object.__setattr__(self, "several", several)
        if not several:
            return
        names = [channel.name for channel in several]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"several channels must be two or more, each name once, got {names}")
        if (self.role, self.unit) != (several[0].role, several[0].unit):
            raise ValueError(f"role and unit must be those of {names[0]}, got {self.role} [{self.unit}]")

    @property
    def window_s(self) -> float:
        r"""Length of a window [s]."""
        return self.samples / self.fs

    @property
    def channels(self) -> tuple[ChannelContract, ...]:
        r"""The channels, one or several."""
        return self.several or (ChannelContract(self.role, self.unit),)

    @property
    def names(self) -> tuple[str, ...]:
        r"""Names of the channels."""
        return tuple(channel.name for channel in self.channels)

    @property
    def reads(self) -> str:
        r"""The channels in words."""
        said = [
            f"{c.role} [{c.unit}]" if c.name == c.role else f"{c.name} ({c.role} [{c.unit}])" for c in self.channels
        ]
        return said[0] if len(said) == 1 else f"any of {', '.join(said)}"

    def arrange(self, waves: Mapping[str, Float[np.ndarray, " T"]]) -> Float[np.ndarray, "C T"]:
        r"""Puts channels into the order of the model, NaN for those that are missing.

        Arguments:
            waves: Samples by the channel's name, in any order.

        Raises:
            ValueError: If a name is unknown.
        """
        unknown = sorted(set(waves) - set(self.names))
        if unknown:
            raise ValueError(f"channels must be among {', '.join(self.names)}, got {', '.join(unknown)}")
        values = np.full((len(self.names), self.samples), np.nan, np.float32)
        for name, wave in waves.items():
            values[self.names.index(name)] = wave
        return values

    def given(self, window: Float[np.ndarray, "*C T"]) -> tuple[str, ...]:
        r"""Names of the channels that a window holds: those without a missing sample.

        Arguments:
            window: Samples, (T,) of one channel or (C, T) of several.
        """
        whole = np.isfinite(window).all(-1).reshape(-1)
        return tuple(name for name, there in zip(self.names, whole, strict=True) if there)

    def check(self, window: Float[np.ndarray, "*C T"]) -> None:
        r"""Checks that a window is one that the model reads.

        Arguments:
            window: Samples, (T,) of one channel or (C, T) of several.

        Raises:
            ValueError: If it has another shape, or missing samples where none may be missing.
        """
        shape = (len(self.several), self.samples) if self.several else (self.samples,)
        if window.shape == shape and self.given(window) and (self.several or np.isfinite(window).all()):
            return
        what = f"{self.samples} finite samples at {self.fs:g} Hz"
        what = f"at least one of the channels {', '.join(self.names)} with {what}" if self.several else what
        raise ValueError(
            f"window must hold {what}, got shape {window.shape} with {int((~np.isfinite(window)).sum())} not finite: "
            "cut and gate it first"
        )

    def uninformative(self, given: tuple[str, ...], share: float) -> float:
        r"""Share of the prior's interval above which a quantity is uninformative: the greatest of the channels given.

        Arguments:
            given: Names of the channels given.
            share: Share of the model.
        """
        own = [channel.uninformative or share for channel in self.several if channel.name in given]
        return max(own, default=share)

    def to_json(self) -> dict[str, Any]:
        r"""Returns the contract as a JSON-able dictionary."""
        one = {"role": self.role, "unit": self.unit, "fs": self.fs, "samples": self.samples}
        return one | ({"channels": [channel.to_json() for channel in self.several]} if self.several else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> InputContract:
        r"""Rebuilds a contract; an unknown key is a TypeError.

        Arguments:
            data: What ``to_json`` gave.
        """
        fields = dict(data)
        return cls(several=tuple(fields.pop("channels", ())), **fields)
