r"""A trained equation transformer on disk: weights as safetensors, the rest as JSON, and a card."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .model import EquationTransformer, ModelConfig
from .tokens import VOCABULARY

__all__ = [
    "find_symbolic_model",
    "load_symbolic_model",
    "read_symbolic_info",
    "save_symbolic_model",
    "shipped_symbolic_models",
]

SCHEMA = 1
_WEIGHTS, _INFO, _CARD = "weights.safetensors", "symbolic.json", "card.md"


def save_symbolic_model(
    net: EquationTransformer, folder: Path, *, info: Mapping[str, Any], card: str, half: bool = True
) -> None:
    r"""Writes a model.

    Arguments:
        net: The network.
        folder: Its folder.
        info: What else is known: recipe, history, measures.
        card: The card.
        half: Whether weights are kept in half precision.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> save_symbolic_model(EquationTransformer(ModelConfig(width=8, heads=2)), folder, info={}, card="")
        >>> load_symbolic_model(folder).config.width
        8
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    dtype = torch.float16 if half else torch.float32
    tensors = {name: value.detach().to(dtype).contiguous() for name, value in net.state_dict().items()}
    partial = folder / f"{_WEIGHTS}.partial"
    save_file(tensors, partial)
    os.replace(partial, folder / _WEIGHTS)
    (folder / _CARD).write_text(card, encoding="utf-8")
    full = {"schema": SCHEMA, "kind": "symbolic", "config": asdict(net.config), "tokens": len(VOCABULARY), **info}
    (folder / _INFO).write_text(json.dumps(full, indent=1) + "\n", encoding="utf-8")


def load_symbolic_model(folder: Path) -> EquationTransformer:
    r"""Reads a model.

    Arguments:
        folder: Its folder.

    Raises:
        ValueError: If the folder holds no such model or one of another version.

    Example:
        >>> load_symbolic_model(Path("nowhere"))
        Traceback (most recent call last):
        ...
        ValueError: nowhere is no symbolic model: expected a folder with symbolic.json and weights.safetensors
    """
    from safetensors.torch import load_file

    info = read_symbolic_info(folder)
    if info.get("schema") != SCHEMA or info.get("tokens") != len(VOCABULARY):
        raise ValueError(f"{folder.name} is of another version: schema {info.get('schema')}, expected {SCHEMA}")
    net = EquationTransformer(ModelConfig(**info["config"]))
    net.load_state_dict({name: value.float() for name, value in load_file(folder / _WEIGHTS).items()})
    return net.eval()


def read_symbolic_info(folder: Path) -> dict[str, Any]:
    r"""Reads what is known of a model beside its weights.

    Arguments:
        folder: Its folder.

    Raises:
        ValueError: If the folder holds no such model.

    Example:
        >>> read_symbolic_info(find_symbolic_model(Path("symbolic-ode")))["kind"]
        'symbolic'
    """
    if not (folder / _INFO).is_file() or not (folder / _WEIGHTS).is_file():
        raise ValueError(f"{folder.name} is no symbolic model: expected a folder with {_INFO} and {_WEIGHTS}")
    info: dict[str, Any] = json.loads((folder / _INFO).read_text(encoding="utf-8"))
    return info


def shipped_symbolic_models() -> dict[str, Path]:
    r"""The models that the package ships, by name.

    Example:
        >>> sorted(shipped_symbolic_models())
        ['symbolic-ode', 'symbolic-scalar']
    """
    home = Path(__file__).parents[1] / "models"
    folders = sorted(home.iterdir()) if home.is_dir() else []
    return {folder.name: folder for folder in folders if (folder / _INFO).is_file()}


def find_symbolic_model(model: Path) -> Path:
    r"""Finds a model by its shipped name or its folder.

    Arguments:
        model: Name or folder.

    Raises:
        ValueError: If there is neither.

    Example:
        >>> find_symbolic_model(Path("symbolic-ode")).name
        'symbolic-ode'
    """
    shipped = shipped_symbolic_models()
    if str(model) in shipped:
        return shipped[str(model)]
    if not model.is_dir():
        raise ValueError(f"model must be one of {sorted(shipped)} or a folder, got {str(model)!r}")
    return model
