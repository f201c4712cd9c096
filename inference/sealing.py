r"""Files of a layer beside a bundle: JSON and arrays that are refused once edited, damaged or beside another bundle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from .bundle import BundleError, own_hash, sha256_of

__all__ = ["LayerFiles", "narrow_state", "widen_state"]

Built = TypeVar("Built")


@dataclass(frozen=True)
class LayerFiles:
    r"""Where a layer stands and what it is bound to.

    Arguments:
        what: What it is called in errors.
        stem: Name of both files without suffix.
        schema: Version that is written.
        beside: File of the bundle whose hash the layer carries.
        key: Under which name.
        hint: What to do with one that cannot be used.

    Example:
        >>> LayerFiles("pooling layer", "pooling", 1).info
        'pooling.json'
    """

    what: str
    stem: str
    schema: int
    beside: str = "weights.safetensors"
    key: str = "weights"
    hint: str = "fetch the bundle again"

    @property
    def info(self) -> str:
        r"""Name of the JSON file."""
        return f"{self.stem}.json"

    @property
    def arrays(self) -> str:
        r"""Name of the file of arrays."""
        return f"{self.stem}.safetensors"

    def write(self, folder: Path, arrays: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> None:
        r"""Writes and seals both files.

        Arguments:
            folder: Folder of the bundle.
            arrays: Arrays by name.
            info: What else is kept, JSON-able.
        """
        from safetensors.numpy import save

        (folder / self.arrays).write_bytes(save({k: np.ascontiguousarray(v) for k, v in arrays.items()}))
        sealed: dict[str, Any] = {"schema": self.schema, **info, self.key: sha256_of(folder / self.beside)}
        sealed["arrays"] = sha256_of(folder / self.arrays)
        sealed["hash"] = own_hash(sealed)
        (folder / self.info).write_text(json.dumps(sealed, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def read(
        self, folder: Path, build: Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], Built], *, oldest: int = 1
    ) -> Built | None:
        r"""Reads a layer.

        Arguments:
            folder: Folder of the bundle.
            build: Makes the layer of its information and arrays.
            oldest: First schema that can be read.

        Returns:
            What was built, or None where the bundle has no such layer.

        Raises:
            BundleError: If the layer was edited, is damaged, of another schema or of another bundle.
        """
        if not (folder / self.info).is_file():
            return None
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            info = json.loads((folder / self.info).read_text(encoding="utf-8"))
            self._check_schema(folder, int(info["schema"]), oldest)
            hashes = own_hash(info), sha256_of(folder / self.beside), sha256_of(folder / self.arrays)
            if hashes != (info["hash"], info[self.key], info["arrays"]):
                raise self._broken(folder, "was edited or belongs to another bundle", "bundle-edited")
            return build(info, load_file(folder / self.arrays))
        except (KeyError, TypeError, RuntimeError, SafetensorError, OSError, json.JSONDecodeError) as error:
            raise self._broken(folder, f"is damaged: {str(error).splitlines()[0]}", "bundle-damaged") from error

    def _check_schema(self, folder: Path, found: int, oldest: int) -> None:
        if found > self.schema:
            what = f"has schema {found}, this version reads up to {self.schema}"
            raise self._broken(folder, what, "bundle-newer")
        if found < oldest:
            raise self._broken(folder, f"has schema {found}, this version needs {oldest}", "bundle-older")

    def _broken(self, folder: Path, what: str, code: str) -> BundleError:
        return BundleError(f"the {self.what} of bundle {folder.name} {what}", code=code, hint=self.hint)


def narrow_state(module: torch.nn.Module) -> dict[str, np.ndarray]:
    r"""Weights of a module as arrays, matrices in half precision.

    Arguments:
        module: The module.

    Example:
        >>> {k: str(v.dtype) for k, v in narrow_state(torch.nn.Linear(2, 1)).items()}
        {'weight': 'float16', 'bias': 'float32'}
    """
    state = {key: value.detach().cpu().numpy() for key, value in module.state_dict().items()}
    return {key: value.astype(np.float16) if value.ndim > 1 else value for key, value in state.items()}


def widen_state(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    r"""Arrays as weights in single precision.

    Arguments:
        arrays: Arrays by name.

    Example:
        >>> widen_state({"bias": np.zeros(1, np.float16)})["bias"].dtype
        torch.float32
    """
    return {key: torch.from_numpy(value.astype(np.float32)) for key, value in arrays.items()}
