r"""Sensors that are more or less noisy than those of the training.

A level is a factor on the noise at the centre of the sensor's prior. Every individual then has that much of it instead
of a draw: of a pressure or flow sensor the white noise and the drift, of a photoplethysmograph both parts of the
optical noise. Gain, offset, line, respiration, motion, clipping, resolution and lost samples stay as they are. A factor
beyond the prior is refused: the estimator has never seen such a sensor.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from ...simulators.photoplethysmograph import PPGSensor
from ...simulators.sensors import SensorModel

__all__ = ["noise_reach", "scale_noise"]


def _ranges(sensor: SensorModel | PPGSensor) -> list[tuple[float, float]]:
    if isinstance(sensor, PPGSensor):
        return [(sensor.noise.white_low, sensor.noise.white_high), (sensor.noise.drift_low, sensor.noise.drift_high)]
    found = [(sensor.noise.sd_low, sensor.noise.sd_high)] if sensor.noise.none_share < 1 else []
    return found + ([(sensor.drift.sd_low, sensor.drift.sd_high)] if sensor.drift.none_share < 1 else [])


def noise_reach(sensor: Any) -> float:
    r"""Greatest factor on a sensor's noise that its prior holds; of several channels the least of theirs.

    Arguments:
        sensor: A sensor model.

    Example:
        >>> round(noise_reach(SensorModel()), 2)
        7.07
    """
    if hasattr(sensor, "channels"):
        return min(noise_reach(channel.sensor) for channel in sensor.channels)
    return min((math.sqrt(high / low) for low, high in _ranges(sensor)), default=math.inf)


def scale_noise(sensor: Any, factor: float) -> Any:
    r"""Returns a sensor with a given amount of noise.

    Arguments:
        sensor: A sensor model of one channel or of several.
        factor: Factor on the noise at the centre of the prior; 0 for the sensor as it is.

    Raises:
        ValueError: If the factor is beyond the prior of the sensor's noise.

    Example:
        >>> quiet = scale_noise(SensorModel(), 0.5)
        >>> quiet.noise.sd_low == quiet.noise.sd_high, round(quiet.noise.sd_low, 4)
        (True, 0.0707)
    """
    if factor == 0:
        return sensor
    reach = noise_reach(sensor)
    if not 1 / reach <= factor <= reach:
        raise ValueError(
            f"noise must be a factor between {1 / reach:.3g} and {reach:.3g}, what the sensors' priors hold, got "
            f"{factor:g}"
        )
    if hasattr(sensor, "channels"):
        channels = (dataclasses.replace(one, sensor=scale_noise(one.sensor, factor)) for one in sensor.channels)
        return dataclasses.replace(sensor, channels=tuple(channels))
    at = [factor * math.sqrt(low * high) for low, high in _ranges(sensor)]
    if isinstance(sensor, PPGSensor):
        white, drift = at
        noise = dataclasses.replace(sensor.noise, white_low=white, white_high=white, drift_low=drift, drift_high=drift)
        return dataclasses.replace(sensor, noise=noise)
    parts: dict[str, Any] = {}
    for name in ("noise", "drift"):
        part = getattr(sensor, name)
        if part.none_share < 1:
            sd = at.pop(0)
            parts[name] = dataclasses.replace(part, sd_low=sd, sd_high=sd, none_share=0.0)
    return dataclasses.replace(sensor, **parts)
