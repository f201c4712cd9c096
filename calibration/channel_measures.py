r"""What a model of several channels knows from each set of them: coverage, contraction and error by what is given.

All sets are measured on the same held-out recordings, of which other channels are then taken away, so that differences
between them are differences of what the channels tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ..inference.bundle import Bundle
from ..inference.contract import InputContract, joined
from ..simulators.channels import ChannelSensor
from .diagnostics.groups import Subgroup, subgroups
from .evaluate import measure

__all__ = ["given_sets", "given_windows", "groups_of", "measure_given"]

MOST_SETS = 7
"""Sets up to which all are measured; of more channels each alone and all together."""


def given_sets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    r"""Sets of channels that are measured: all of them for few channels, each alone and all together for many.

    Arguments:
        names: Names of the channels.

    Example:
        >>> given_sets(("ART", "PLETH"))
        [('ART',), ('PLETH',), ('ART', 'PLETH')]
    """
    every = [found for k in range(1, len(names) + 1) for found in combinations(names, k)]
    return every if len(every) <= MOST_SETS else [found for found in every if len(found) in (1, len(names))]


def measure_given(
    bundle: Bundle,
    sensor: ChannelSensor,
    waves: Float[np.ndarray, "N C T"],
    theta: Float[np.ndarray, "N D"],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    r"""Measures a model for each set of channels.

    Arguments:
        bundle: The model.
        sensor: Sensors of its channels.
        waves: Held-out waveforms.
        theta: Outputs that were simulated, each in its unit.
        draws: Draws a window.
        seed: Seed of sensors and draws.

    Returns:
        For each set, as `joined` names it, what [`measure`][pulsebayes.calibration.evaluate.measure] finds.

    Example:
        >>> measure_given(bundle, sensor, waves, theta)["ART"]["contraction"]["CO"]  # doctest: +SKIP
        0.72
    """
    windows = given_windows(bundle.contract, sensor, waves, seed=seed)
    return {name: measure(bundle.npe, x, theta, bundle.prior, n_draws=draws, seed=seed) for name, x in windows}


def given_windows(
    contract: InputContract, sensor: ChannelSensor, waves: Float[np.ndarray, "N C T"], *, seed: int = 0
) -> Iterator[tuple[str, Float[np.ndarray, "N C S"]]]:
    r"""Yields the same windows with each set of channels given, the others NaN.

    Arguments:
        contract: What the model reads.
        sensor: Sensors of its channels.
        waves: Held-out waveforms.
        seed: Seed of the sensors.

    Yields:
        The set, as `joined` names it, and its windows.

    Example:
        >>> [name for name, x in given_windows(contract, sensor, waves)]  # doctest: +SKIP
        ['ART', 'PLETH', 'ART+PLETH']
    """
    rng = np.random.default_rng([seed, 4])
    everything = np.ones((len(waves), len(contract.names)), bool)
    x = sensor.observe(waves, rng, everything, fs=contract.fs, out_samples=contract.samples)
    for names in given_sets(contract.names):
        without = [c for c, name in enumerate(contract.names) if name not in names]
        part = x.copy()
        part[:, without] = np.nan
        yield joined(names), part


def groups_of(
    contract: InputContract, columns: Mapping[str, Float[np.ndarray, " N"]], x: Float[np.ndarray, "N *window"]
) -> tuple[Subgroup, ...]:
    r"""Subgroups of held-out simulations; of several channels also by what is given, of many by how many are.

    Noise and pressure are told of the windows that hold a pressure: of another the pressure is not seen, and posteriors
    rightly lean to the middle in each such group. Rhythm is told from the first channel that a window holds.

    Arguments:
        contract: What the model reads.
        columns: Parameters and quantities that were simulated, by name.
        x: Windows.

    Example:
        >>> [g.label for g in groups_of(InputContract(), {"HR": np.array([50.0])}, np.zeros((1, 1000)))][:1]
        ['below 60 /min']
    """
    if not contract.several:
        found = subgroups(columns, x, fs=contract.fs, role=contract.role)
        return tuple(g for g in found if contract.unit == "mmHg" or g.by not in ("noise", "pressure"))
    given = np.isfinite(x).all(-1)
    shown = given[:, [c.unit == "mmHg" for c in contract.channels]].any(1)
    every: list[Subgroup] = []
    for names in given_sets(contract.names):
        rows = (given == [name in names for name in contract.names]).all(1)
        every.append(Subgroup("given", joined(names), rows))
    every += _by_number(given)
    for c, channel in enumerate(contract.channels):
        first = given[:, c] & ~given[:, :c].any(1)
        waves = np.where(first[:, None], x[:, c], 0.0)
        for group in subgroups(columns, waves, fs=contract.fs, role=channel.role):
            told = group.by in ("rhythm", "noise")
            if told and not (group.by == "noise" and channel.unit != "mmHg"):
                every.append(Subgroup(group.by, group.label, group.rows & first))
            elif not told and c == 0:
                every.append(group._replace(rows=group.rows & shown) if group.by == "pressure" else group)
    return _merged(every)


def _by_number(given: Bool[np.ndarray, "N C"]) -> list[Subgroup]:
    """Of many channels, whose sets are too many to tell apart: windows with two of them, and with more but not all."""
    n, count = given.shape[1], given.sum(1)
    if len(given_sets(tuple(map(str, range(n))))) > n + 1 or n < 4:
        return []
    return [
        Subgroup("given", f"two of {n}", count == 2),
        Subgroup("given", f"three to {n - 1} of {n}", (count > 2) & (count < n)),
    ]


def _merged(groups: list[Subgroup]) -> tuple[Subgroup, ...]:
    """Groups of the same label joined, those without a row left out."""
    rows: dict[tuple[str, str], Any] = {}
    for group in groups:
        key = (group.by, group.label)
        rows[key] = group.rows | rows[key] if key in rows else group.rows
    return tuple(Subgroup(*key, found) for key, found in rows.items() if found.any())
