r"""The pooling layer of a bundle: two files beside its own, made for that bundle and refused beside any other.

``pooling.json`` holds the shape of the network, what was measured, the hash of the bundle's weights and its own;
``pooling.safetensors`` the weights of the patient-level posterior and of the detector of spliced recordings.
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

from ..bundle import Bundle, BundleError
from .network import PooledNPE, PoolingConfig
from .segments import ChangeDetector

__all__ = ["PoolingLayer", "load_pooling", "save_pooling"]

_INFO, _ARRAYS, _SCHEMA = "pooling.json", "pooling.safetensors", 2


@dataclass(frozen=True)
class PoolingLayer:
    r"""A patient-level posterior and the detector that splits its pools.

    Arguments:
        npe: The posterior.
        detector: The detector.
        measured: What was measured on held-out simulated recordings.
        training: Seeds, sizes and steps.

    Example:
        >>> PoolingLayer.__dataclass_fields__["npe"].type
        'PooledNPE'
    """

    npe: PooledNPE
    detector: ChangeDetector
    measured: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


def save_pooling(layer: PoolingLayer, folder: Path) -> None:
    r"""Writes a layer beside a bundle.

    Arguments:
        layer: The layer.
        folder: Folder of the bundle.

    Example:
        >>> save_pooling(layer, Path("mine"))  # doctest: +SKIP
    """
    from safetensors.numpy import save

    arrays = {}
    for name, module in (("npe", layer.npe), ("detector", layer.detector)):
        for key, value in module.state_dict().items():
            own = value.detach().cpu().numpy()
            arrays[f"{name}/{key}"] = np.ascontiguousarray(own.astype(np.float16) if own.ndim > 1 else own)
    (folder / _ARRAYS).write_bytes(save(arrays))
    info: dict[str, Any] = {
        "schema": _SCHEMA,
        "network": layer.npe.config.to_json(),
        "detector": {"inputs": layer.detector.inputs, "hidden": layer.detector.hidden},
        "measured": dict(layer.measured),
        "training": dict(layer.training),
        "weights": _sha256(folder / "weights.safetensors"),
        "arrays": _sha256(folder / _ARRAYS),
    }
    info["hash"] = _own_hash(info)
    (folder / _INFO).write_text(json.dumps(info, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def load_pooling(folder: Path, bundle: Bundle) -> PoolingLayer | None:
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
        >>> load_pooling(folder, Bundle.load(folder)).npe.config.inputs
        73
    """
    if not (folder / _INFO).is_file():
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        info = json.loads((folder / _INFO).read_text(encoding="utf-8"))
        if int(info["schema"]) > _SCHEMA:
            raise _broken(folder, f"has schema {info['schema']}, this version reads up to {_SCHEMA}", "bundle-newer")
        if int(info["schema"]) < _SCHEMA:
            raise _broken(folder, f"has schema {info['schema']}, this version needs {_SCHEMA}", "bundle-older")
        sealed = info["hash"] == _own_hash(info) and info["arrays"] == _sha256(folder / _ARRAYS)
        if not sealed or info["weights"] != _sha256(folder / "weights.safetensors"):
            raise _broken(folder, "was edited or belongs to another bundle", "bundle-edited")
        arrays = {k: torch.from_numpy(v.astype(np.float32)) for k, v in load_file(folder / _ARRAYS).items()}
        npe = PooledNPE(bundle.outputs.space.dim, PoolingConfig.from_json(info["network"]))
        detector = ChangeDetector(**info["detector"])
        for name, module in (("npe", npe), ("detector", detector)):
            module.load_state_dict({k[len(name) + 1 :]: v for k, v in arrays.items() if k.startswith(f"{name}/")})
        return PoolingLayer(npe.eval(), detector.eval(), info["measured"], info["training"])
    except (KeyError, TypeError, RuntimeError, SafetensorError, OSError, json.JSONDecodeError) as error:
        raise _broken(folder, f"is damaged: {str(error).splitlines()[0]}", "bundle-damaged") from error


def _broken(folder: Path, what: str, code: str) -> BundleError:
    return BundleError(f"the pooling layer of bundle {folder.name} {what}", code=code, hint="fetch the bundle again")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _own_hash(info: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in info.items() if key != "hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
