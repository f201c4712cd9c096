r"""The patient layer of a bundle: two files beside its own, made for that bundle and refused beside any other.

``patient.json`` holds what was measured, the hash of the bundle's weights and its own; ``patient.safetensors`` the
weights of the likelihoods. What was measured stands on ``patient.md``, for readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ..bundle import Bundle
from ..coverage import missed_coverage
from ..npe import NPE
from ..sealing import LayerFiles, narrow_state, widen_state
from ..weighting import effective_share, resampled
from .card import render_patient_card
from .heads import PatientHeads
from .info import Patient

__all__ = ["Informed", "PatientEvidence", "PatientLayer", "load_patient", "save_patient", "standardised"]

CARD = "patient.md"
"""Card of a layer, beside the card of its window model."""
PATIENT = LayerFiles("patient layer", "patient", 2, card=CARD)
"""Files of a layer."""
_OVERSAMPLED, _FEWEST = 4, 8000  # draws weighted for each that is kept, and fewest in all
LEAST_EFFECTIVE = 1 / 80
"""Effective share of the weighted draws below which wave and patient do not go together."""


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
        theta: The draws; of no use where wave and patient do not agree.
        effective: Effective number of the draws that were weighted.
        weighted: How many these were.

    Example:
        >>> Informed(np.zeros((0, 9)), 3.0, 8000).agrees
        False
    """

    theta: Float[np.ndarray, "n D"]
    effective: float
    weighted: int

    @property
    def agrees(self) -> bool:
        r"""Whether enough draws bear what is known of the patient."""
        return self.effective >= LEAST_EFFECTIVE * self.weighted


@dataclass(frozen=True)
class PatientEvidence:
    r"""A patient and the layer that can use what is known of them.

    Arguments:
        layer: The layer.
        patient: What is known.

    Raises:
        ValueError: If the layer cannot use it.

    Example:
        >>> PatientEvidence(PatientLayer(PatientHeads(9, 64)), Patient(age=63, sex="f")).known
        'age+sex'
    """

    layer: PatientLayer
    patient: Patient

    def __post_init__(self) -> None:
        lacking = self.layer.heads.lacks(self.patient)
        if lacking:
            raise ValueError(f"the patient layer cannot use {lacking}, got {self.patient.text}: leave it out")

    @property
    def known(self) -> str:
        r"""Names of what is known, as the layer's measures are named."""
        return "+".join(self.patient.given)

    def measured(self, alone: Mapping[str, Any], given: str) -> dict[str, Any]:
        r"""What was measured where the same was known, and what misses there or misses in windows alone.

        Arguments:
            alone: What was measured of the window model alone.
            given: The channels given, joined.
        """
        found = dict(self.layer.measured.get(self.known, {}))
        found |= found.get("given", {}).get(given, {})
        missed = missed_coverage(found.get("coverage", {}), " where the same is known")
        return {**found, "not_calibrated": {**alone.get("not_calibrated", {}), **missed}}

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
        theta = npe.sample(window, max(_OVERSAMPLED * n, _FEWEST), generator)[0]
        if not np.isfinite(theta).all():
            return Informed(theta[:n], float(len(theta)), len(theta))
        log = self.log_weights(npe, theta, npe.embedding(window)[0])
        rows = resampled(log, n, offset=float(torch.rand(1, generator=generator)))
        rows = rows[torch.randperm(n, generator=generator).numpy()]
        return Informed(theta[rows], len(log) * effective_share(log), len(theta))

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
    r"""Writes a layer beside a bundle, which names it from then on.

    Arguments:
        layer: The layer.
        folder: Folder of the bundle.

    Raises:
        BundleError: If the bundle was edited, or calibrated without the layer.

    Example:
        >>> save_patient(layer, Path("mine"))  # doctest: +SKIP
    """
    info = {"measured": dict(layer.measured), "training": dict(layer.training)}
    PATIENT.write(folder, narrow_state(layer.heads), info, card=render_patient_card(folder.name, layer.measured))


def load_patient(folder: Path, bundle: Bundle) -> PatientLayer | None:
    r"""Reads the layer of a bundle.

    Arguments:
        folder: Folder of the bundle.
        bundle: The bundle.

    Returns:
        The layer, or None where the bundle has none.

    Raises:
        BundleError: If the layer was edited, is damaged, of a newer schema or of another bundle, or is not there though
            the bundle names it.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> folder = find_bundle("radial-abp")
        >>> "age+height" in load_patient(folder, Bundle.load(folder)).measured
        True
    """

    def build(info: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> PatientLayer:
        dim, context = bundle.outputs.space.dim, bundle.npe.config.embedding.context
        heads = PatientHeads.of_state(widen_state(arrays), dim, context)  # before schema 2 without the aortic root
        return PatientLayer(heads, info["measured"], info["training"])

    return PATIENT.read(folder, build)
