r"""Recordings of several channels: a patient through all sensors of a monitor, some of which are away for a while.

A pressure goes through a line that stays or changes once, as in [`recorded`][pulsebayes.simulators.recorded]; where
there are several, the first one's may change. A clip keeps its veins and filters for the recording; breath, motion,
noise and what its recorder does are those of a window. Every channel's clock stays as far off as it is. Which channels
are given is drawn as for windows that stand alone, and stays for one half of the recordings; in the others it is drawn
anew again and again, every other window or now and then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from .channels import LATEST, ChannelSensor
from .recorded import RARE_CHANGES, SensorChanges, SimulatedRecordings, SolvedRecordings, _states, _through
from .sensors import SensorModel

__all__ = ["record_channels"]

_PARTLY = 0.5
"""Share of recordings in which the channels that are given change."""
_OFTEN = (0.02, 0.5)
"""How likely they are drawn anew at a window of such a recording, least and most [1]."""


def record_channels(
    solved: SolvedRecordings,
    sensor: ChannelSensor,
    rng: np.random.Generator,
    *,
    fs: float,
    out_samples: int = 1000,
    changes: SensorChanges = RARE_CHANGES,
    given: Sequence[str] = (),
) -> SimulatedRecordings:
    r"""Records solved recordings of several channels, each recording with sensors of its own.

    Arguments:
        solved: The waves, a channel each.
        sensor: Prior of the sensors, of their clocks and of what is given.
        rng: Source of randomness.
        fs: Sampling rate [Hz].
        out_samples: Samples of a window.
        changes: How often and how much the first pressure's sensor changes.
        given: Channels given in every window; as drawn where none is named.

    Returns:
        Recordings; when and how the sensor changed is that of the first pressure.

    Raises:
        ValueError: If the channels are not as many, the waves too short, or a channel given is unknown.

    Example:
        >>> from pulsebayes.simulators.channels import PPGSensor, SensedChannel
        >>> channels = SensedChannel("ART", SensorModel()), SensedChannel("PLETH", PPGSensor())
        >>> ones = np.ones((2, 5))
        >>> waves = 90 + np.random.default_rng(0).normal(size=(2, 5, 2, 1400))
        >>> solved = SolvedRecordings(waves, ones[..., None], ones, ones[:, 0], ones.astype(np.uint8), ones.cumsum(1))
        >>> record_channels(solved, ChannelSensor(channels), np.random.default_rng(0), fs=125.0).waves.shape
        (2, 5, 2, 1000)
    """
    r, w = solved.time_s.shape
    if set(given) - set(sensor.names):
        raise ValueError(f"given must name channels among {', '.join(sensor.names)}, got {', '.join(given)}")
    flat = solved.waves.reshape(r * w, *solved.waves.shape[2:])
    pieces = sensor.cut(flat, rng, fs=fs, out_samples=out_samples, together=w)
    seen = np.empty((r, w, len(sensor.channels), out_samples), np.float32)
    change_s, step, relined = np.full(r, np.nan), np.zeros(r), np.zeros(r, np.uint8)
    first = next((c for c, channel in enumerate(sensor.channels) if isinstance(channel.sensor, SensorModel)), -1)
    for c, channel in enumerate(sensor.channels):
        own = replace(channel.sensor, start=LATEST)
        if isinstance(own, SensorModel):
            states = _states(solved.time_s, own, rng, changes if c == first else SensorChanges(share=0.0))
            seen[:, :, c] = _through(pieces[:, c].reshape(r, w, -1), states, own, rng, fs, out_samples)
            if c == first:
                change_s, relined = states.change_s, states.relined
                step = states.offset[:, -1] - states.offset[:, 0]
        else:
            recorded = own.apply(pieces[:, c], rng, fs=fs, out_samples=out_samples, together=w)
            seen[:, :, c] = recorded.reshape(r, w, -1)
    always = np.isin(sensor.names, given)
    seen[~(always & np.ones((r, w, 1), bool) if given else _given(sensor, rng, r, w))] = np.nan
    known = (solved.quantities, solved.compliance, solved.wave_speed, solved.usable, solved.time_s)
    return SimulatedRecordings(seen, *known, change_s, step, relined)


def _given(sensor: ChannelSensor, rng: np.random.Generator, r: int, w: int) -> Bool[np.ndarray, "R W C"]:
    """Channels given in every window."""
    each = sensor.draw_given(rng, r * w).reshape(r, w, -1)
    often = np.exp(rng.uniform(math.log(_OFTEN[0]), math.log(_OFTEN[1]), (r, 1)))
    anew = (rng.random((r, w)) < often) & (rng.random((r, 1)) < _PARTLY)
    anew[:, 0] = True
    at = np.maximum.accumulate(np.where(anew, np.arange(w), 0), axis=1)
    return np.asarray(each[np.arange(r)[:, None], at])
