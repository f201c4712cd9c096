r"""A thousand subjects of the public data set that ship with the package, in a few megabytes.

Waves are kept as whole multiples of a step (0.02 mmHg; 1/2,500 of the range of a photoplethysmogram), of which the
second differences compress well: what is loaded differs from what was simulated by half a step at most.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Float32, Int16, UInt8

from .training_set import TrainingSet

__all__ = ["DataSample", "load_sample", "write_sample"]

STEPS = {"pressure": 0.02, "ppg": 1 / 2500}
"""Steps of the waves: mmHg, and share of the range of a photoplethysmogram."""
_HOME = Path(__file__).parent / "data"
_KEPT = ("simulator", "version", "config", "seed", "fs", "sites", "fingerprint", "software")


@dataclass(frozen=True)
class DataSample:
    r"""Subjects of a data set, in memory.

    Arguments:
        theta: Parameters.
        waves: Waves, each site in its unit.
        quantities: Quantities.
        status: Status codes.
        theta_names: Names of the parameters.
        theta_units: Their units.
        sites: Names of the sites.
        quantity_names: Symbols of the quantities.
        quantity_units: Their units.
        steps: Step of each site's waves; the error is half of it at most.
        attributes: Simulator, version, configuration, seed, sampling rate, fingerprint and software.

    Example:
        >>> sample = load_sample()
        >>> sample.waves.shape, sample.sites
        ((1000, 4, 1250), ('AorticRoot', 'Radial', 'Femoral', 'Digital:ppg'))
        >>> sample.column("SV").shape, sample.wave("Radial").shape
        ((1000,), (1000, 1250))
    """

    theta: Float[np.ndarray, "N D"]
    waves: Float32[np.ndarray, "N site T"]
    quantities: Float32[np.ndarray, "N Q"]
    status: UInt8[np.ndarray, " N"]
    theta_names: tuple[str, ...]
    theta_units: tuple[str, ...]
    sites: tuple[str, ...]
    quantity_names: tuple[str, ...]
    quantity_units: tuple[str, ...]
    steps: tuple[float, ...]
    attributes: Mapping[str, Any]

    def wave(self, site: str) -> Float32[np.ndarray, "N T"]:
        r"""Returns the waves of a site.

        Arguments:
            site: Its name.

        Raises:
            ValueError: If the sample has no such site.
        """
        if site not in self.sites:
            raise ValueError(f"site must be one of {list(self.sites)}, got {site!r}")
        return self.waves[:, self.sites.index(site)]

    def column(self, name: str) -> Float[np.ndarray, " N"]:
        r"""Returns a quantity or a parameter of every subject.

        Arguments:
            name: Its symbol or name.

        Raises:
            ValueError: If the sample has neither.
        """
        if name in self.quantity_names:
            return self.quantities[:, self.quantity_names.index(name)].astype(np.float64)
        if name in self.theta_names:
            return self.theta[:, self.theta_names.index(name)]
        raise ValueError(f"name must be one of {[*self.quantity_names, *self.theta_names]}, got {name!r}")


def load_sample(path: str | os.PathLike[str] = "") -> DataSample:
    r"""Loads the shipped sample, or another.

    Arguments:
        path: File that ``write_sample`` wrote; empty for the shipped one.

    Raises:
        ValueError: If the file is no sample.

    Example:
        >>> load_sample().attributes["fs"]
        125.0
    """
    file = Path(path) if path else _HOME / "clinical-v1-sample.npz"
    try:
        with np.load(file, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        about = json.loads(arrays["about"].tobytes())
    except (ValueError, KeyError, OSError, EOFError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{file.name} must be a sample as write_sample writes it, got something else") from error
    waves = np.stack([_unpack(arrays[f"wave_{i}"], step) for i, step in enumerate(about["steps"])], axis=1)
    names = ("theta_names", "theta_units", "sites", "quantity_names", "quantity_units", "steps")
    return DataSample(
        arrays["theta"], waves, arrays["quantities"], arrays["status"],
        **{name: tuple(about[name]) for name in names}, attributes=about["attributes"],
    )  # fmt: skip


def write_sample(training_set: TrainingSet, path: str | os.PathLike[str]) -> None:
    r"""Writes a finished set as one small file.

    Arguments:
        training_set: The set.
        path: The file, ``*.npz``.

    Raises:
        ValueError: If a wave is not finite or too large.

    Example:
        >>> write_sample(TrainingSet.open("set.zarr"), "sample.npz")  # doctest: +SKIP
    """
    found, attributes = training_set, training_set.attributes
    waves = np.asarray(found.waves[...], np.float64)
    if not np.isfinite(waves).all():
        raise ValueError("a sample must have finite waves only: choose another seed, or solve in float64")
    steps = [STEPS["ppg" if site.endswith(":ppg") else "pressure"] for site in found.sites]
    about = {
        "theta_names": attributes["theta_names"], "theta_units": attributes["theta_units"], "sites": found.sites,
        "quantity_names": found.quantity_names, "quantity_units": attributes["quantity_units"], "steps": steps,
        "attributes": {key: attributes[key] for key in _KEPT},
    }  # fmt: skip
    packed = {f"wave_{i}": _pack(waves[:, i], step) for i, step in enumerate(steps)}
    text = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)
    np.savez_compressed(
        path, about=text, theta=found.theta, quantities=found.quantities, status=found.status, **cast("Any", packed)
    )


def _pack(waves: Float[np.ndarray, "N T"], step: float) -> Int16[np.ndarray, "N T"]:
    whole = np.rint(waves / step).astype(np.int32)
    packed = np.diff(whole, n=2, axis=1, prepend=np.zeros((len(whole), 2), np.int32))
    if np.abs(packed).max() > np.iinfo(np.int16).max:
        raise ValueError(f"waves must fit whole multiples of {step:g} in 16 bits, got up to {np.abs(waves).max():g}")
    return packed.astype(np.int16)


def _unpack(packed: Int16[np.ndarray, "N T"], step: float) -> Float32[np.ndarray, "N T"]:
    return (np.cumsum(np.cumsum(packed, axis=1, dtype=np.int32), axis=1) * step).astype(np.float32)
