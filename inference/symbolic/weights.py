r"""A trained equation transformer on disk: weights as safetensors, the rest as JSON, and a card.

``symbolic.json`` carries the SHA-256 of the other files and of itself, as ``bundle.json`` does: a folder that was
edited is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..bundle import BundleError, own_hash, sha256_of
from .model import EquationTransformer, ModelConfig
from .tokens import VOCABULARY

__all__ = [
    "find_symbolic_model",
    "is_symbolic_model",
    "load_symbolic_model",
    "read_symbolic_info",
    "save_symbolic_model",
    "shipped_symbolic_models",
]

SCHEMA = 2
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
    full["files"] = {name: sha256_of(folder / name) for name in (_CARD, _WEIGHTS)}
    full["hash"] = own_hash(full)
    (folder / _INFO).write_text(json.dumps(full, indent=1) + "\n", encoding="utf-8")


def load_symbolic_model(folder: Path) -> EquationTransformer:
    r"""Reads a model.

    Arguments:
        folder: Its folder.

    Raises:
        ValueError: If the folder holds no such model.
        BundleError: If it is damaged, was edited or is of another version.

    Example:
        >>> load_symbolic_model(Path("nowhere"))
        Traceback (most recent call last):
        ...
        ValueError: nowhere is no symbolic model: expected a folder with symbolic.json and weights.safetensors
    """
    from safetensors.torch import load_file

    info = read_symbolic_info(folder)
    try:
        net = EquationTransformer(ModelConfig(**info["config"]))
        net.load_state_dict({name: value.float() for name, value in load_file(folder / _WEIGHTS).items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _broken(folder, f"does not describe a model: {str(error).splitlines()[0]}", "bundle-damaged") from error
    return net.eval()


def read_symbolic_info(folder: Path) -> dict[str, Any]:
    r"""Reads what is known of a model beside its weights, once its files are those that were saved.

    Arguments:
        folder: Its folder.

    Raises:
        ValueError: If the folder holds no such model.
        BundleError: If it is damaged, was edited or is of another version.

    Example:
        >>> read_symbolic_info(find_symbolic_model(Path("symbolic-ode")))["kind"]
        'symbolic'
    """
    if not (folder / _INFO).is_file() or not (folder / _WEIGHTS).is_file():
        raise ValueError(f"{folder.name} is no symbolic model: expected a folder with {_INFO} and {_WEIGHTS}")
    try:
        info: dict[str, Any] = json.loads((folder / _INFO).read_text(encoding="utf-8"))
        version = info["schema"], info["tokens"]
        if version != (SCHEMA, len(VOCABULARY)):
            what = f"has schema {version[0]} and {version[1]} tokens, expected {SCHEMA} and {len(VOCABULARY)}"
            raise _broken(folder, what, "bundle-version")
        same = own_hash(info) == info["hash"] and {_CARD, _WEIGHTS} <= info["files"].keys()
        changed = [] if same else [_INFO]
        for name, digest in info["files"].items():
            if Path(name).name != name or not (folder / name).is_file() or sha256_of(folder / name) != digest:
                changed.append(name)
    except (AttributeError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _broken(folder, f"has a damaged {_INFO}: {str(error).splitlines()[0]}", "bundle-damaged") from error
    if changed:
        raise _broken(folder, f"was edited: {changed[0]} is missing or differs from what was saved", "bundle-edited")
    return info


def _broken(folder: Path, what: str, code: str) -> BundleError:
    return BundleError(f"the model {folder.name} {what}", code=code, hint="fetch or train the model again")


def shipped_symbolic_models() -> dict[str, Path]:
    r"""The models that the package ships, by name.

    Example:
        >>> sorted(shipped_symbolic_models())
        ['symbolic-ode', 'symbolic-scalar']
    """
    home = Path(__file__).parents[1] / "models"
    folders = sorted(home.iterdir()) if home.is_dir() else []
    return {folder.name: folder for folder in folders if is_symbolic_model(folder)}


def is_symbolic_model(folder: Path) -> bool:
    r"""Whether a folder holds an equation transformer, whole or not.

    Arguments:
        folder: The folder.

    Example:
        >>> is_symbolic_model(find_symbolic_model(Path("symbolic-ode")))
        True
    """
    return (folder / _INFO).is_file()


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
