r"""Recordings as a sensor shows them: solved waves of patients through a line and a transducer that may change once.

Every recording has a sensor of its own. It stays, or changes once: a flush or a kinked line (new frequency and
damping), a new zero (another offset), or both. A zero may correct a transducer that had slipped, which widens its prior
before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from .catheter import CatheterLine
from .sensors import SensorModel

__all__ = ["RARE_CHANGES", "SensorChanges", "SimulatedRecordings", "SolvedRecordings", "record"]


@dataclass(frozen=True)
class SensorChanges:
    r"""How often and how much the sensor of a recording changes.

    Arguments:
        share: Share of recordings in which it changes, once.
        slip: Factor on the offset's prior before the change: above 1 the new zero corrects a transducer that slipped.

    Raises:
        ValueError: If the share is not in [0, 1], or the slip is below 1.

    Example:
        >>> SensorChanges(share=1.0).slip
        1.0
    """

    share: float = 0.3
    slip: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or not self.slip >= 1:
            raise ValueError(f"share must lie in [0, 1] and slip be at least 1, got {self.share} and {self.slip}")


RARE_CHANGES = SensorChanges()
"""Changes in three recordings of ten, of sensors that were well zeroed."""


@dataclass(frozen=True)
class SolvedRecordings:
    r"""Waves in the artery and what made them, before any sensor.

    Arguments:
        waves: Arterial pressure [mmHg], longer than the windows; of several channels each in its unit.
        quantities: Quantities of every window, in the order of the simulator's ``quantity_names``.
        compliance: Compliance of each patient at 90 mmHg [mL/mmHg], over time where beds drift.
        wave_speed: Carotid-femoral wave speed at 90 mmHg [m/s].
        usable: Whether a window was simulated without fault.
        time_s: Start of every window [s].

    Example:
        >>> SolvedRecordings.__dataclass_fields__["wave_speed"].type
        "Float[np.ndarray, ' R']"
    """

    waves: Float[np.ndarray, "R W *C T"]
    quantities: Float[np.ndarray, "R W Q"]
    compliance: Float[np.ndarray, "R W"]
    wave_speed: Float[np.ndarray, " R"]
    usable: UInt8[np.ndarray, "R W"]
    time_s: Float[np.ndarray, "R W"]


@dataclass(frozen=True)
class SimulatedRecordings:
    r"""Recorded windows of simulated patients and what made them.

    Arguments:
        waves: Recorded pressure [mmHg]; of several channels each in its unit, NaN where it is missing.
        quantities: Quantities of every window, in the order of the simulator's ``quantity_names``.
        compliance: Compliance of each patient at 90 mmHg [mL/mmHg], over time where beds drift.
        wave_speed: Carotid-femoral wave speed at 90 mmHg [m/s].
        usable: Whether a window was simulated without fault.
        time_s: Start of every window [s].
        change_s: When the sensor changed [s]; NaN where it did not.
        step_mmhg: By how much its offset changed then [mmHg].
        relined: Whether its frequency and damping changed.

    Example:
        >>> SimulatedRecordings.__dataclass_fields__["change_s"].type
        "Float[np.ndarray, ' R']"
    """

    waves: Float[np.ndarray, "R W *C T"]
    quantities: Float[np.ndarray, "R W Q"]
    compliance: Float[np.ndarray, "R W"]
    wave_speed: Float[np.ndarray, " R"]
    usable: UInt8[np.ndarray, "R W"]
    time_s: Float[np.ndarray, "R W"]
    change_s: Float[np.ndarray, " R"]
    step_mmhg: Float[np.ndarray, " R"]
    relined: UInt8[np.ndarray, " R"]


def record(
    solved: SolvedRecordings,
    sensor: SensorModel,
    rng: np.random.Generator,
    *,
    fs: float,
    out_samples: int = 1000,
    changes: SensorChanges = RARE_CHANGES,
) -> SimulatedRecordings:
    r"""Records solved recordings, each with a sensor of its own, which changes at most once.

    Arguments:
        solved: The waves.
        sensor: Prior of the sensors.
        rng: Source of randomness.
        fs: Sampling rate [Hz].
        out_samples: Samples of a window.
        changes: How often and how much sensors change.

    Example:
        >>> record.__kwdefaults__["out_samples"]
        1000
    """
    states = _states(solved.time_s, sensor, rng, changes)
    waves = _through(solved.waves, states, sensor, rng, fs, out_samples)
    first, last = states.offset[:, 0], states.offset[:, -1]
    own = (solved.quantities, solved.compliance, solved.wave_speed, solved.usable, solved.time_s)
    return SimulatedRecordings(waves, *own, states.change_s, last - first, states.relined)


@dataclass(frozen=True)
class _States:
    """State of the sensor in every window: what of it may change, and when and whether it did."""

    frequency: Float[np.ndarray, "R W"]
    damping: Float[np.ndarray, "R W"]
    offset: Float[np.ndarray, "R W"]
    change_s: Float[np.ndarray, " R"]
    relined: UInt8[np.ndarray, " R"]


def _states(
    time_s: Float[np.ndarray, "R W"], sensor: SensorModel, rng: np.random.Generator, changes: SensorChanges
) -> _States:
    r = len(time_s)
    changed = rng.random(r) < changes.share
    change_s = np.where(changed, rng.uniform(time_s[:, 0], time_s[:, -1] + 1e-9), np.nan)
    later = time_s >= np.where(changed, change_s, np.inf)[:, None]
    kind = np.asarray(rng.integers(3, size=r))  # line, zero, both

    def per_window(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.where(mask, second[:, None], first[:, None])

    new_line, new_zero = later & (kind != 1)[:, None], later & (kind != 0)[:, None]
    (f0, z0), (f1, z1) = sensor.line.draw(rng, r), sensor.line.draw(rng, r)
    slipped = np.where(changed & (kind != 0), changes.slip, 1.0)
    offset = per_window(slipped * sensor.offset.draw(rng, r), sensor.offset.draw(rng, r), new_zero)
    relined = np.asarray(changed & (kind != 1), np.uint8)
    return _States(per_window(f0, f1, new_line), per_window(z0, z1, new_line), offset, change_s, relined)


def _through(
    waves: Float[np.ndarray, "R W T"],
    states: _States,
    sensor: SensorModel,
    rng: np.random.Generator,
    fs: float,
    out_samples: int,
) -> Float[np.ndarray, "R W out"]:
    """Every window as its recording's sensor shows it."""
    r, w, length = waves.shape
    gain, sd, step = (np.repeat(part.draw(rng, r), w) for part in (sensor.gain, sensor.noise, sensor.quantisation))
    flat = np.ascontiguousarray(waves.reshape(-1, length), np.float32)
    if sensor.flush.share > 0:
        flat = sensor.flush.open(flat, rng, fs=fs)
    frequency, damping = (np.asarray(x.reshape(-1), np.float32) for x in (states.frequency, states.damping))
    frequency, settling_s = CatheterLine.settled(frequency, damping, margin_s=(length - out_samples) / fs)
    flat = CatheterLine.transmit(flat, frequency, damping, fs=fs)
    earliest = np.ceil(settling_s * fs).astype(np.int64)
    recorded = sensor.start.crop(flat, rng, earliest, fs=fs, out_samples=out_samples)
    recorded = recorded * gain[:, None] + states.offset.reshape(-1)[:, None].astype(np.float32)
    if sensor.respiration.sd > 0:
        recorded = sensor.respiration.add(recorded, rng, fs=fs)
    if sensor.drift.none_share < 1:
        recorded = sensor.drift.add(recorded, rng)
    recorded = sensor.noise.add(recorded, rng, sd)
    recorded = sensor.clipping.cut(recorded, rng) if sensor.clipping.share > 0 else recorded
    recorded = sensor.quantisation.digitise(recorded, step)
    recorded = sensor.dropouts.bridge(recorded, rng, fs=fs) if sensor.dropouts.share > 0 else recorded
    return recorded.reshape(r, w, out_samples).astype(np.float32)
