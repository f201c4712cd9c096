r"""What the atlas asks of a model: individuals, their measurements, and posteriors given some of the channels.

[`BundleStudy`][pulsebayes.calibration.identifiability.study.BundleStudy] gives all that for a trained bundle of one
channel or of several. Individuals are simulated anew by the recipe of the bundle, with a seed of their own; every
channel of every individual is measured, and channels are taken away afterwards, so that two sets of channels are
compared on the same individuals with the same noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float

from ...inference.bundle import Bundle
from ...simulators.channels import any_sensor_from_json
from ...simulators.registry import build
from ...simulators.sensors import SensorModel
from ...simulators.status import usable
from .noise import noise_reach, scale_noise

__all__ = ["BundleStudy", "People", "Study", "without"]

_SEED = 611_953
"""Added to the seed of the atlas, so that its individuals are not those of another verb."""


@dataclass(frozen=True)
class People:
    r"""Simulated individuals.

    Arguments:
        columns: Parameters and quantities of each, by name.
        theta: The estimator's outputs, each in its unit.
        waves: Waveforms of every channel before any sensor.

    Example:
        >>> People({"HR": np.array([60.0])}, np.array([[60.0]]), np.zeros((1, 1, 10), np.float32)).n
        1
    """

    columns: Mapping[str, Float[np.ndarray, " N"]]
    theta: Float[np.ndarray, "N D"]
    waves: Float[np.ndarray, "N C W"]

    @property
    def n(self) -> int:
        r"""Number of individuals."""
        return len(self.theta)

    def first(self, n: int) -> People:
        r"""The first of them.

        Arguments:
            n: How many.
        """
        return People({name: values[:n] for name, values in self.columns.items()}, self.theta[:n], self.waves[:n])


class Study(Protocol):
    r"""What the atlas asks of a model.

    Example:
        >>> def n_channels(study: Study) -> int:
        ...     return len(study.channels)
    """

    @property
    def name(self) -> str:
        r"""Name of the model."""

    @property
    def fingerprint(self) -> str:
        r"""What tells it from other models: results are only resumed for the same."""

    @property
    def channels(self) -> tuple[str, ...]:
        r"""Names of the channels."""

    @property
    def units(self) -> Mapping[str, str]:
        r"""Unit of each quantity."""

    @property
    def logarithmic(self) -> Mapping[str, bool]:
        r"""Whether a quantity is judged on the logarithm."""

    @property
    def prior(self) -> Mapping[str, Float[np.ndarray, " M"]]:
        r"""Draws of the prior of each quantity."""

    @property
    def reach(self) -> float:
        r"""Greatest factor on the noise that can be asked for."""

    def scaled(self, name: str, values: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
        r"""Values of a quantity on the scale on which it is judged."""

    def people(self, n: int, seed: int) -> People:
        r"""Simulates individuals that the model was not trained on."""

    def truth(self, people: People) -> Mapping[str, Float[np.ndarray, " N"]]:
        r"""True quantities of individuals."""

    def observe(self, people: People, factor: float, seed: int) -> Float[np.ndarray, "N C T"]:
        r"""Measures all channels, with a factor on the noise, 0 for noise as in training."""

    def draws(self, x: Float[np.ndarray, "N C T"], n: int, seed: int) -> Mapping[str, Float[np.ndarray, "N S"]]:
        r"""Draws of every quantity given the channels that are not NaN."""

    def log_prob(self, people: People, x: Float[np.ndarray, "N C T"]) -> Float[np.ndarray, " N"]:
        r"""Log density of the truth [nat]."""


def without(x: Float[np.ndarray, "N C T"], channels: tuple[str, ...], given: tuple[str, ...]) -> np.ndarray:
    r"""Windows of which only some channels are given.

    Arguments:
        x: Windows of all channels.
        channels: Names of all channels.
        given: Names of those to keep.

    Returns:
        The windows, NaN in the channels that are taken away.

    Example:
        >>> without(np.zeros((1, 2, 3)), ("a", "b"), ("b",))[0, :, 0].tolist()
        [nan, 0.0]
    """
    kept = np.array([name in given for name in channels])
    part = np.array(x, copy=True)
    part[:, ~kept] = np.nan
    return part


class BundleStudy:
    r"""A trained bundle as the atlas sees it.

    Arguments:
        bundle: The bundle; it must say which simulator and sensor it was trained on.

    Raises:
        ValueError: If it does not say so, or reads something else than waveforms of its simulator.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> BundleStudy(Bundle.load(find_bundle("radial-abp"))).channels
        ('ART',)
    """

    def __init__(self, bundle: Bundle) -> None:
        training = bundle.training
        lacks = [key for key in ("simulator", "simulator_config", "recipe", "fingerprint") if key not in training]
        if lacks:
            raise ValueError(
                f"bundle {bundle.name} must say what it was trained on, it lacks {', '.join(lacks)}: train it with "
                "`pulsebayes train`"
            )
        self.bundle = bundle.without_adapter()  # its individuals are of the fast simulator
        self._several = bool(bundle.contract.several)
        given = training.get("sensor")
        self.sensor: Any = any_sensor_from_json(given) if given else SensorModel.radial_line()

    @property
    def name(self) -> str:
        r"""Name of the bundle."""
        return self.bundle.name

    @property
    def fingerprint(self) -> str:
        r"""Fingerprint of its training set and the number of its epochs and weights."""
        counted = sum(float(weights.double().sum()) for weights in self.bundle.npe.state_dict().values())
        return f"{self.bundle.training['fingerprint']}-{counted:.6e}"

    @property
    def channels(self) -> tuple[str, ...]:
        r"""Names of its channels."""
        return self.bundle.contract.names

    @property
    def units(self) -> Mapping[str, str]:
        r"""Unit of each quantity that it reports."""
        return self.bundle.outputs.reported

    @property
    def logarithmic(self) -> Mapping[str, bool]:
        r"""Whether a quantity is judged on the logarithm."""
        return self.bundle.outputs.log_scaled

    @cached_property
    def prior(self) -> Mapping[str, Float[np.ndarray, " M"]]:
        r"""Draws of the prior of each quantity."""
        return self.bundle.outputs.derive(self.bundle.prior.astype(np.float64))

    @property
    def reach(self) -> float:
        r"""Greatest factor on the noise that the priors of its sensors hold."""
        return noise_reach(self.sensor)

    @cached_property
    def simulator(self) -> Any:
        r"""The simulator of its training set."""
        training = self.bundle.training
        return build(str(training["simulator"]), **dict(training["simulator_config"]))

    @property
    def sites(self) -> tuple[str, ...]:
        r"""Site of each channel."""
        recipe = self.bundle.training["recipe"]
        return tuple(one["site"] for one in recipe.get("channels", ())) or (str(recipe["site"]),)

    def scaled(self, name: str, values: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
        r"""Values of a quantity on the scale on which it is judged.

        Arguments:
            name: The quantity.
            values: Values in its unit.
        """
        if not self.logarithmic[name]:
            return np.asarray(values, dtype=np.float64)
        return np.asarray(np.log(np.maximum(values, self.bundle.outputs.floors[name])))

    def people(
        self, n: int, seed: int, *, batch: int = 256, progress: Callable[[int], None] = lambda _: None
    ) -> People:
        r"""Simulates individuals as the training set was, with another seed.

        Arguments:
            n: Number of individuals.
            seed: Seed.
            batch: Individuals simulated at a time.
            progress: Called with the number done.

        Raises:
            ValueError: If hardly any simulation is usable.
        """
        simulator, outputs = self.simulator, self.bundle.outputs
        places = [simulator.sites.index(site) for site in self.sites]
        rng = np.random.default_rng([seed, _SEED])
        size = min(batch, max(64, n))  # one size: simulators compile anew for another
        waves, theta, quantities, done, tried = [], [], [], 0, 0
        while done < n:
            asked = simulator.space.sample(rng, size)
            rows = simulator.simulate(asked, int(rng.integers(2**31)))
            columns = _columns(simulator, asked, rows.quantities)
            encoded = outputs.encode(columns)
            own = rows.waves[:, places]
            good = usable(rows.status) & np.isfinite(own).all((1, 2)) & np.isfinite(encoded).all(1)
            good &= outputs.space.contains(encoded)
            waves.append(own[good])
            theta.append(asked[good])
            quantities.append(rows.quantities[good])
            done, tried = done + int(good.sum()), tried + len(asked)
            if tried >= 2000 and done < tried / 50:
                raise ValueError(f"simulations must be usable, got {done} of {tried}: the model's recipe is at fault")
            progress(min(done, n))
        columns = _columns(simulator, np.concatenate(theta)[:n], np.concatenate(quantities)[:n])
        return People(columns, outputs.encode(columns), np.concatenate(waves)[:n])

    def truth(self, people: People) -> Mapping[str, Float[np.ndarray, " N"]]:
        r"""True quantities of individuals.

        Arguments:
            people: The individuals.
        """
        return self.bundle.outputs.derive(people.theta)

    def observe(self, people: People, factor: float, seed: int) -> Float[np.ndarray, "N C T"]:
        r"""Measures all channels of individuals.

        Arguments:
            people: The individuals.
            factor: Factor on the noise at the centre of the sensors' priors; 0 for noise as in training.
            seed: Seed of the sensors; the same draws whatever the factor.

        Raises:
            ValueError: If the factor is beyond the sensors' priors.
        """
        sensor, contract = scale_noise(self.sensor, factor), self.bundle.contract
        rng = np.random.default_rng([seed, _SEED, 2])
        rate = {"fs": contract.fs, "out_samples": contract.samples}
        if not self._several:
            return np.asarray(sensor.apply(people.waves[:, 0], rng, **rate))[:, None]
        everything = np.ones(people.waves.shape[:2], dtype=bool)
        return np.asarray(sensor.observe(people.waves, rng, everything, **rate))

    def draws(self, x: Float[np.ndarray, "N C T"], n: int, seed: int) -> Mapping[str, Float[np.ndarray, "N S"]]:
        r"""Draws every quantity given the channels that are not NaN.

        Arguments:
            x: Windows.
            n: Draws an individual.
            seed: Seed of the draws.
        """
        generator = torch.Generator().manual_seed(seed)
        parts = [self.bundle.npe.sample_together(part, n, generator) for part in self._windows(x)]
        return self.bundle.outputs.derive(np.concatenate(parts).astype(np.float64))

    def log_prob(self, people: People, x: Float[np.ndarray, "N C T"]) -> Float[np.ndarray, " N"]:
        r"""Log density of the truth [nat].

        Arguments:
            people: The individuals.
            x: Their windows.
        """
        windows = self._windows(x)
        theta = np.array_split(people.theta, np.cumsum([len(part) for part in windows])[:-1])
        return np.concatenate([self.bundle.npe.log_prob(t, part) for t, part in zip(theta, windows, strict=True)])

    def _windows(self, x: np.ndarray) -> list[torch.Tensor]:
        values = np.asarray(x if self._several else x[:, 0], np.float32)
        return [torch.from_numpy(values[i : i + 100]) for i in range(0, len(values), 100)]


def _columns(simulator: Any, theta: np.ndarray, quantities: np.ndarray) -> dict[str, np.ndarray]:
    named = {name: np.asarray(theta[:, d], np.float64) for d, name in enumerate(simulator.space.names)}
    return named | {name: np.asarray(quantities[:, d], np.float64) for d, name in enumerate(simulator.quantity_names)}
