r"""The domain verdict on several channels: each against its own simulations, and their beats against each other.

Every channel that is given meets a [`DomainModel`][pulsebayes.inference.domain.DomainModel] of its own. One that is
outside is left out, and the window is answered from the others. With $k$ channels left the p-value is $\min(1, k \min_c
p_c)$ (Bonferroni). Channels of one patient beat together: where two rates differ by more than a factor of 1.25, one of
them is not of this patient, or its sampling rate is wrong, and the window is refused as outside. NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ..waveforms.quality import PULSATILE_ROLES
from .bundle import Bundle, BundleError
from .contract import InputContract
from .domain import SHIFTED_BELOW, DomainModel, DomainVerdict, fit_domain

if TYPE_CHECKING:
    from ..simulators.channels import ChannelSensor

__all__ = ["ChannelDomains", "fit_channel_domains"]

RATES_APART = 1.25
"""Factor between the heart rates of two channels above which they are not of one patient."""


@dataclass(frozen=True)
class ChannelDomains:
    r"""Domain models of the channels of a model.

    Arguments:
        models: Domain models by the channel's name; channels that have none are not judged.

    Example:
        >>> ChannelDomains({}).assess({"ART": np.zeros(1000)}, {"ART": 60.0})[0] is None
        True
    """

    models: Mapping[str, DomainModel]

    @classmethod
    def of(cls, bundle: Bundle) -> ChannelDomains:
        r"""The domain models that a bundle holds.

        Arguments:
            bundle: The bundle.

        Raises:
            BundleError: If its arrays are not those of domain models.
        """
        parts: dict[str, dict[str, np.ndarray]] = {}
        for key, array in bundle.domain.items():
            name, _, rest = key.rpartition(":")
            parts.setdefault(name, {})[rest] = array
        try:
            return cls({name: DomainModel.from_arrays(arrays) for name, arrays in parts.items()})
        except ValueError as error:
            raise BundleError(
                f"the domain models of {bundle.name} cannot be used: {error}",
                code="bundle-damaged",
                hint="fetch or train the bundle again",
            ) from error

    def assess(
        self, waves: Mapping[str, Float[np.ndarray, " T"]], rates: Mapping[str, float]
    ) -> tuple[DomainVerdict | None, dict[str, DomainVerdict]]:
        r"""Judges the channels of one window.

        Arguments:
            waves: Samples of the channels given, by name, none missing.
            rates: Heart rate of each, NaN where it has none [1/min].

        Returns:
            The verdict on what is left, ``outside`` where nothing is or the rates differ, None where no channel has a
            domain model; and the verdicts on the channels that are left out.
        """
        found = {name: self.models[name].assess(wave) for name, wave in waves.items() if name in self.models}
        out = {name: verdict for name, verdict in found.items() if verdict.verdict == "outside"}
        kept = [name for name in waves if name not in out]
        if not kept:
            name = next(iter(out))
            return _told(out[name], name, "outside", out[name].p), out
        apart = _apart({name: rates.get(name, np.nan) for name in kept})
        if apart is not None:
            return DomainVerdict("outside", 0.0, float("inf"), apart), out
        judged = {name: found[name] for name in kept if name in found}
        if not judged:
            return None, out
        least = min(judged, key=lambda name: judged[name].p)
        p = min(1.0, len(judged) * judged[least].p)
        verdict = "shifted" if p < SHIFTED_BELOW else "inside"
        return _told(judged[least], least, verdict, p), out


def fit_channel_domains(
    waves: Float[np.ndarray, "N C T"], sensor: ChannelSensor, contract: InputContract, *, seed: int = 0
) -> dict[str, np.ndarray]:
    r"""Fits a domain model to every channel that pulsates, each through its own sensor.

    Arguments:
        waves: Simulated waveforms of usable rows, longer than a window.
        sensor: The sensors of the channels.
        contract: What the model reads.
        seed: Seed of sensors and splits.

    Returns:
        The arrays of all models, as a bundle keeps them.

    Raises:
        ValueError: If fewer than 100 windows of a channel can be used.

    Example:
        >>> arrays = fit_channel_domains(waves, sensor, contract)  # doctest: +SKIP
    """
    arrays: dict[str, np.ndarray] = {}
    for c, (channel, own) in enumerate(zip(contract.channels, sensor.channels, strict=True)):
        if channel.role not in PULSATILE_ROLES:
            continue
        role = "PLETH" if channel.role == "PLETH" else "ART"
        model = fit_domain(waves[:, c], own.sensor, fs=contract.fs, samples=contract.samples, seed=seed, role=role)
        arrays |= {f"{channel.name}:{key}": array for key, array in model.to_arrays().items()}
    return arrays


def _told(verdict: DomainVerdict, name: str, word: str, p: float) -> DomainVerdict:
    reason = f"{name}: {verdict.reason}" if verdict.reason and word != "inside" else None
    return DomainVerdict(word, p, verdict.distance, reason)


def _apart(rates: Mapping[str, float]) -> str | None:
    """Says which two channels do not beat together, if any."""
    for (one, first), (other, second) in combinations(rates.items(), 2):
        if max(first, second) > RATES_APART * min(first, second):
            return (
                f"{one} beats at {first:.0f} /min and {other} at {second:.0f}: they are not of one patient, or the "
                "sampling rate of one is wrong"
            )
    return None
