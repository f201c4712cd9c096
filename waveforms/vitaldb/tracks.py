r"""Track names of VitalDB: which waves are arterial pressures, which numbers are references, and what those are.

A reference is *independent* where the monitor measures flow by itself (thermodilution, oesophageal Doppler) and
*derived* where it reads it off the same arterial wave. A monitor's number stands for the time before it: it is the
mean over some minutes, so that it lags by about half of them; `delay_s` is that lag, by which references are moved
back before they are paired with windows. The lags are round figures, stated with every table that is built with them.

References:
    H.-C. Lee et al. (2022), VitalDB, a high-fidelity multi-parameter vital signs database in surgical patients,
    Sci Data 9:279 (tracks and devices). Siegel L.C. et al. (1996), Anesthesiology 84, A533, and Lazor M.A. et al.
    (1997), J Cardiothorac Vasc Anesth 11, 704-707 (continuous thermodilution answers a change after minutes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import RecordingError
from ..quantities import QUANTITIES

if TYPE_CHECKING:
    from ..readers.vital import Numbers
    from ..recording import Recording

__all__ = ["MONITORS", "Monitor", "Tracks", "open_case"]


@dataclass(frozen=True)
class Monitor:
    r"""A device that gives reference values.

    Arguments:
        device: Name of the device, the part of a track's name before the stroke.
        kind: `independent` or `derived`.
        method: How it measures.
        delay_s: How far its numbers lag behind what they measure [s].
        precision: Standard deviation of its own error, as a share of the value.
        quantities: Quantity by track, and the unit of the track.

    Example:
        >>> MONITORS["Vigilance"].kind, MONITORS["EV1000"].kind
        ('independent', 'derived')
    """

    device: str
    kind: str
    method: str
    delay_s: float
    precision: float
    quantities: Mapping[str, tuple[str, str]]


_FLOW: Final = {"CO": ("CO", "L/min"), "SV": ("SV", "mL")}
_WITH_RESISTANCE: Final = {**_FLOW, "SVR": ("SVR", "dyn s cm^-5"), "CVP": ("CVP", "mmHg")}

_TRUE: Final = {name: (name, quantity.unit) for name, quantity in QUANTITIES.items()}

MONITORS: Final[dict[str, Monitor]] = {
    m.device: m
    for m in (
        Monitor("Vigilance", "independent", "continuous thermodilution", 120.0, 0.10, _WITH_RESISTANCE),
        Monitor("CardioQ", "independent", "oesophageal Doppler", 10.0, 0.10, _FLOW),
        Monitor("EV1000", "derived", "pulse contour of the arterial wave", 10.0, 0.10, _WITH_RESISTANCE),
        Monitor("Vigileo", "derived", "pulse contour of the arterial wave", 10.0, 0.10, _FLOW),
        Monitor("Truth", "independent", "the simulator that made a virtual cohort", 0.0, 0.0, _TRUE),
    )
}
r"""Devices of VitalDB that give cardiac output, and `Truth`, which only virtual cohorts have."""

ARTERIAL: Final = ("SNUADC/ART", "Intellivue/ART", "Intellivue/ABP")
OUTPUTS: Final = tuple(f"{device}/CO" for device in MONITORS if device != "Truth")


@dataclass(frozen=True)
class Tracks:
    r"""Tracks that a case must have: one of each group.

    Arguments:
        groups: Groups of names, of each of which one is enough.

    Example:
        >>> Tracks.parse("SNUADC/ART,EV1000/CO|Vigilance/CO").fits({"SNUADC/ART", "Vigilance/CO", "BIS/BIS"})
        True
        >>> Tracks.usual().fits({"SNUADC/PLETH", "Vigilance/CO"})
        False
    """

    groups: tuple[tuple[str, ...], ...]

    @classmethod
    def usual(cls) -> Tracks:
        r"""An arterial wave, and a cardiac output to compare with."""
        return cls((ARTERIAL, OUTPUTS))

    @classmethod
    def parse(cls, text: str) -> Tracks:
        r"""Reads `A,B|C`: A, and B or C.

        Arguments:
            text: The tracks.

        Raises:
            ValueError: If a name is not `device/track`.
        """
        groups = tuple(tuple(name.strip() for name in part.split("|")) for part in text.split(","))
        wrong = [name for group in groups for name in group if not all(name.partition("/")[::2])]
        if wrong:
            raise ValueError(
                f"tracks are written DEVICE/TRACK, got {wrong[0]!r}; try SNUADC/ART,EV1000/CO|Vigilance/CO"
            )
        return cls(groups)

    def fits(self, names: Iterable[str]) -> bool:
        r"""Whether a case with these tracks has one of each group.

        Arguments:
            names: The case's tracks.
        """
        there = set(names)
        return all(there.intersection(group) for group in self.groups)

    def missing(self, names: Iterable[str]) -> list[str]:
        r"""The groups of which nothing is there.

        Arguments:
            names: The case's tracks.
        """
        there = set(names)
        return [" or ".join(group) for group in self.groups if not there.intersection(group)]


def open_case(path: str | Path, tracks: Sequence[str] = ()) -> tuple[Recording, dict[str, Numbers]]:
    r"""Opens a `.vital` file: every wave at its native rate, every number at the times it was given.

    Arguments:
        path: The file.
        tracks: Tracks that must be there, with at least one sample or number.

    Returns:
        The recording, and the numbers by track.

    Raises:
        RecordingError: If the file is damaged or cut short, or a track is missing; the message names those there.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from pulsebayes.waveforms.writers import VitalNumbers, VitalWave, write_vital
        >>> path = Path(tempfile.mkdtemp()) / "1.vital"
        >>> wave = VitalWave("SNUADC/ART", np.full(250, 90.0), 125.0, "mmHg")
        >>> _ = write_vital(path, [wave], [VitalNumbers("Vigilance/CO", np.array([1.0]), np.array([5.0]), "L/min")])
        >>> recording, numbers = open_case(path, ["SNUADC/ART"])
        >>> recording.channel("ART").fs, numbers["Vigilance/CO"].values.tolist()
        (125.0, [5.0])
    """
    from ..readers.vital import read_numbers, read_vital

    recording, numbers = read_vital(path), read_numbers(path)
    there = {channel.name for channel in recording.channels} | set(numbers)
    missing = [name for name in tracks if name not in there]
    if missing:
        raise RecordingError(
            f"expected the tracks {', '.join(missing)}, found {', '.join(sorted(there))}",
            code="channel-missing",
            file=Path(path).name,
            hint="another case, or other --tracks",
        )
    return recording, numbers
