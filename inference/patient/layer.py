r"""The patient layer of a bundle: two files beside its own, made for that bundle and refused beside any other.

``patient.json`` holds what was measured, the hash of the bundle's weights and its own; ``patient.safetensors`` the
weights of the two likelihoods.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ..bundle import Bundle, BundleError
from ..npe import NPE
from .heads import PatientHeads
from .info import Patient

__all__ = ["Informed", "PatientEvidence", "PatientLayer", "load_patient", "save_patient", "standardised"]

_INFO, _ARRAYS, _WEIGHTS, _SCHEMA = "patient.json", "patient.safetensors", "weights.safetensors", 1
_OVERSAMPLED = 4  # draws weighted for each that is kept
LEAST_EFFECTIVE = 100.0
"""Effective draws below which wave and patient do not go together."""


@dataclass(frozen=True)
class PatientLayer:
    r"""Likelihoods of what is known of a patient, and what knowing it is worth.

    Arguments:
        heads: The likelihoods.
        measured: What was measured on held-out simulations, by what was known, such as ``"age+height"``.
        training: Seeds, sizes and steps.

    Example:
        >>> PatientLayer.__dataclass_fields__["heads"].type
        'PatientHeads'
    """

    heads: PatientHeads
    measured: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Informed:
    r"""Draws that know the patient.

    Arguments:
        theta: The draws; empty where wave and patient do not go together.
        effective: Effective number of the draws that were weighted.

    Example:
        >>> Informed(np.zeros((0, 9)), 3.0).agrees
        False
    """

    theta: Float[np.ndarray, "n D"]
    effective: float

    @property
    def agrees(self) -> bool:
        r"""Whether enough draws bear what is known of the patient."""
        return self.effective >= LEAST_EFFECTIVE


@dataclass(frozen=True)
class PatientEvidence:
    r"""A patient and the layer that can use what is known of them.

    Arguments:
        layer: The layer.
        patient: What is known.

    Example:
        >>> PatientEvidence(PatientLayer(PatientHeads(9, 64)), Patient(age=63, sex="f")).known
        'age+sex'
    """

    layer: PatientLayer
    patient: Patient

    @property
    def known(self) -> str:
        r"""Names of what is known, as the layer's measures are named."""
        return "+".join(self.patient.given)

    @property
    def measured(self) -> Mapping[str, Any]:
        r"""What was measured where the same was known."""
        return dict(self.layer.measured.get(self.known, {}))

    @torch.no_grad()
    def draw(self, npe: NPE, window: Float[torch.Tensor, "1 T"], n: int, generator: torch.Generator) -> Informed:
        r"""Draws of a window's posterior that know the patient.

        More draws than asked for are made, weighted by the patient's likelihood and resampled systematically.

        Arguments:
            npe: The window model.
            window: One window.
            n: Number of draws.
            generator: Source of randomness.
        """
        theta = npe.sample(window, _OVERSAMPLED * n, generator)[0]
        if not np.isfinite(theta).all():
            return Informed(theta[:n], float(len(theta)))
        log = self.log_weights(npe, theta, npe.embedding(window)[0])
        weights = np.exp(log - log.max())
        weights /= weights.sum()
        effective = float(1.0 / np.square(weights).sum())
        if effective < LEAST_EFFECTIVE:
            return Informed(theta[:0], effective)
        positions = (np.arange(n) + float(torch.rand(1, generator=generator))) / n
        rows = np.minimum(np.searchsorted(np.cumsum(weights), positions), len(weights) - 1)
        rows = rows[torch.randperm(n, generator=generator).numpy()]
        return Informed(theta[rows], effective)

    def log_weights(
        self, npe: NPE, theta: Float[np.ndarray, "N D"], context: Float[torch.Tensor, " context"]
    ) -> Float[np.ndarray, " N"]:
        r"""Log likelihood of what is known of the patient, for each draw.

        Arguments:
            npe: The window model.
            theta: Draws, each column in its unit.
            context: Context vector of the window.
        """
        return self.layer.heads.log_weights(self.patient, standardised(npe, theta), context)


def standardised(npe: NPE, theta: Float[np.ndarray, "N D"]) -> Float[torch.Tensor, "N D"]:
    r"""Outputs on the scale of the window model's flow.

    Arguments:
        npe: The window model.
        theta: Outputs, each column in its unit, inside their intervals.

    Example:
        >>> from pulsebayes.inference.npe import PRESETS
        >>> from pulsebayes.inference.outputs import OutputSpace
        >>> npe = NPE(OutputSpace.from_names(("HR", "SV")), PRESETS["small"])
        >>> standardised(npe, np.array([[70.0, 60.0]])).shape
        torch.Size([1, 2])
    """
    z = torch.from_numpy(npe.outputs.space.unconstrain(np.asarray(theta, np.float64))).float()
    return (z - npe.z_mean) / npe.z_sd


def save_patient(layer: PatientLayer, folder: Path) -> None:
    r"""Writes a layer beside a bundle.

    Arguments:
        layer: The layer.
        folder: Folder of the bundle.

    Example:
        >>> save_patient(layer, Path("mine"))  # doctest: +SKIP
    """
    from safetensors.numpy import save

    state = {key: value.detach().cpu().numpy() for key, value in layer.heads.state_dict().items()}
    arrays = {k: np.ascontiguousarray(v.astype(np.float16) if v.ndim > 1 else v) for k, v in state.items()}
    (folder / _ARRAYS).write_bytes(save(arrays))
    info: dict[str, Any] = {
        "schema": _SCHEMA,
        "measured": dict(layer.measured),
        "training": dict(layer.training),
        "weights": _sha256(folder / _WEIGHTS),
        "arrays": _sha256(folder / _ARRAYS),
    }
    info["hash"] = _own_hash(info)
    (folder / _INFO).write_text(json.dumps(info, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def load_patient(folder: Path, bundle: Bundle) -> PatientLayer | None:
    r"""Reads the layer of a bundle.

    Arguments:
        folder: Folder of the bundle.
        bundle: The bundle.

    Returns:
        The layer, or None where the bundle has none.

    Raises:
        BundleError: If the layer was edited, is damaged, of a newer schema or of another bundle.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> folder = find_bundle("radial-abp")
        >>> "age+height" in load_patient(folder, Bundle.load(folder)).measured
        True
    """
    if not (folder / _INFO).is_file():
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        info = json.loads((folder / _INFO).read_text(encoding="utf-8"))
        if int(info["schema"]) > _SCHEMA:
            raise _broken(folder, f"has schema {info['schema']}, this version reads up to {_SCHEMA}", "bundle-newer")
        sealed = info["hash"] == _own_hash(info) and info["arrays"] == _sha256(folder / _ARRAYS)
        if not sealed or info["weights"] != _sha256(folder / _WEIGHTS):
            raise _broken(folder, "was edited or belongs to another bundle", "bundle-edited")
        arrays = {k: torch.from_numpy(v.astype(np.float32)) for k, v in load_file(folder / _ARRAYS).items()}
        heads = PatientHeads(bundle.outputs.space.dim, bundle.npe.config.embedding.context)
        heads.load_state_dict(arrays)
        return PatientLayer(heads.eval(), info["measured"], info["training"])
    except (KeyError, TypeError, RuntimeError, SafetensorError, OSError, json.JSONDecodeError) as error:
        raise _broken(folder, f"is damaged: {str(error).splitlines()[0]}", "bundle-damaged") from error


def _broken(folder: Path, what: str, code: str) -> BundleError:
    return BundleError(f"the patient layer of bundle {folder.name} {what}", code=code, hint="fetch the bundle again")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _own_hash(info: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in info.items() if key != "hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
