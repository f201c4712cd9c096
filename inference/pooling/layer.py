r"""The pooling layer of a bundle: files beside its own, made for that bundle and refused beside any other.

``pooling.json`` holds the shape of the network, what was measured, the hash of the bundle's weights and its own;
``pooling.safetensors`` the weights of the patient-level posterior and of the detector of spliced recordings. What was
measured stands on ``pooling.md``, for readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..bundle import Bundle
from ..patient.heads import PatientHeads
from ..patient.info import Patient
from ..sealing import LayerFiles, narrow_state, widen_state
from .aging import Aging
from .card import render_pooling_card
from .network import SLOW, PooledNPE, PoolingConfig
from .patients import PoolPatients
from .segments import ChangeDetector

__all__ = ["PoolingLayer", "load_pooling", "save_pooling"]

CARD = "pooling.md"
"""Card of a layer, beside the card of its window model."""
POOLING = LayerFiles("pooling layer", "pooling", 9, card=CARD)
"""Files of a layer."""


@dataclass(frozen=True)
class PoolingLayer:
    r"""A patient-level posterior and the detector that splits its pools.

    Arguments:
        npe: The posterior.
        detector: The detector.
        measured: What was measured on held-out simulated recordings.
        training: Seeds, sizes and steps.
        aging: How references grow old.
        patients: Likelihoods of what is known of patients; None where none were learned.

    Example:
        >>> PoolingLayer.__dataclass_fields__["npe"].type
        'PooledNPE'
    """

    npe: PooledNPE
    detector: ChangeDetector
    measured: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    aging: Aging = field(default_factory=Aging)
    patients: PoolPatients | None = None

    def lacks(self, patient: Patient) -> str:
        r"""What of that which is known of a patient the layer cannot use, in words; empty where it can.

        Arguments:
            patient: What is known.
        """
        return "what is known of a patient" if self.patients is None else self.patients.heads.lacks(patient)


def save_pooling(layer: PoolingLayer, folder: Path) -> None:
    r"""Writes a layer beside a bundle, which names it from then on.

    Arguments:
        layer: The layer.
        folder: Folder of the bundle.

    Raises:
        BundleError: If the bundle was edited, or calibrated without the layer.

    Example:
        >>> save_pooling(layer, Path("mine"))  # doctest: +SKIP
    """
    parts: list[tuple[str, torch.nn.Module]] = [("npe", layer.npe), ("detector", layer.detector)]
    parts += [] if layer.patients is None else [("patients", layer.patients.heads)]
    arrays = {f"{name}/{key}": value for name, module in parts for key, value in narrow_state(module).items()}
    info = {
        "network": layer.npe.config.to_json(),
        "detector": layer.detector.shape(),
        "aging": layer.aging.to_json(),
        **({} if layer.patients is None else {"patients": layer.patients.to_json()}),
        "measured": dict(layer.measured),
        "training": dict(layer.training),
    }
    POOLING.write(folder, arrays, info, card=render_pooling_card(folder.name, layer.measured))


def load_pooling(folder: Path, bundle: Bundle) -> PoolingLayer | None:
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
        >>> load_pooling(folder, Bundle.load(folder)).npe.config.inputs
        73
    """

    def build(info: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> PoolingLayer:
        npe = PooledNPE(bundle.outputs.space.dim, PoolingConfig.from_json(info["network"]))
        detector = ChangeDetector(**info["detector"])
        state = widen_state(arrays)
        for name in ("shared_spread", "window_spread"):  # up to schema 4 both sides of draws were stretched alike
            setattr(npe, name, torch.zeros_like(state[f"npe/{name}"]))
        npe.load_state_dict(_part(state, "npe"))
        detector.load_state_dict(_part(state, "detector"))
        patients = None
        if "patients" in info:  # from schema 8 on, from 9 on of the aortic root too
            heads = PatientHeads.of_state(_part(state, "patients"), len(SLOW), npe.config.context)
            patients = PoolPatients(heads, **info["patients"])
            if not set(patients.beside) <= set(range(npe.outputs)):
                raise ValueError(f"beside must name outputs of the window model, got {list(patients.beside)}")
        aging = Aging(**info.get("aging", {}))  # up to schema 6 references did not grow old
        return PoolingLayer(npe.eval(), detector.eval(), info["measured"], info["training"], aging, patients)

    return POOLING.read(folder, build, oldest=3)


def _part(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Weights of one of the layer's networks."""
    return {key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(f"{name}/")}
