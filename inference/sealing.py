r"""Files of a layer beside a bundle: JSON and arrays that are refused once edited, damaged or beside another bundle.

Layers with a card (pooling, patient) are named in ``bundle.json`` when they are written: one that was removed or
exchanged is an error, not a bundle without it. Of a bundle that names none, whatever lies beside it is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from .bundle import BundleError, name_layer, named_files, own_hash, refuse_calibrated, sha256_of

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
        card: Name of its card. The bundle names a layer with a card and its files in its own ``bundle.json``.

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
    card: str = ""

    @property
    def info(self) -> str:
        r"""Name of the JSON file."""
        return f"{self.stem}.json"

    @property
    def arrays(self) -> str:
        r"""Name of the file of arrays."""
        return f"{self.stem}.safetensors"

    def write(self, folder: Path, arrays: Mapping[str, np.ndarray], info: Mapping[str, Any], *, card: str = "") -> None:
        r"""Writes and seals both files, and the card; the bundle names them.

        Arguments:
            folder: Folder of the bundle.
            arrays: Arrays by name.
            info: What else is kept, JSON-able.
            card: Text of the card, where the layer has one.

        Raises:
            BundleError: If the bundle was edited, or was calibrated without the layer.
        """
        from safetensors.numpy import save

        if self.card:
            refuse_calibrated(folder)
        (folder / self.arrays).write_bytes(save({k: np.ascontiguousarray(v) for k, v in arrays.items()}))
        sealed: dict[str, Any] = {"schema": self.schema, **info, self.key: sha256_of(folder / self.beside)}
        sealed["arrays"] = sha256_of(folder / self.arrays)
        sealed["hash"] = own_hash(sealed)
        (folder / self.info).write_text(json.dumps(sealed, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        if self.card:
            (folder / self.card).write_text(card, encoding="utf-8")
            self.seal(folder)

    def seal(self, folder: Path) -> bool:
        r"""Lets the bundle name the layer as it lies beside it, or no longer, where it does not.

        Arguments:
            folder: Folder of the bundle.

        Returns:
            Whether there is such a layer.

        Raises:
            BundleError: If the layer is edited, damaged, of another bundle or there in part only, or the bundle is
                calibrated.
        """
        there = self.lies(folder)
        files = [name for name in (self.info, self.arrays, self.card) if there and (folder / name).is_file()]
        name_layer(folder, self.stem, files)
        return there

    def lies(self, folder: Path) -> bool:
        r"""Whether the layer lies beside the bundle, whether that names it or not.

        Arguments:
            folder: Folder of the bundle.

        Raises:
            BundleError: If it is edited, damaged, of another bundle, or only a part of it is there.
        """
        there = self.read(folder, lambda info, arrays: True, named=False) or False
        rest = [name for name in (self.arrays, self.card) if not there and name and (folder / name).is_file()]
        if rest:
            what = f"is not whole: {rest[0]} is there without {self.info}"
            raise self._broken(folder, what, "bundle-edited")
        return there

    def read(
        self,
        folder: Path,
        build: Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], Built],
        *,
        oldest: int = 1,
        named: bool = True,
    ) -> Built | None:
        r"""Reads a layer.

        Arguments:
            folder: Folder of the bundle.
            build: Makes the layer of its information and arrays.
            oldest: First schema that can be read.
            named: Whether it must be the one that the bundle names, if it names one.

        Returns:
            What was built, or None where the bundle has no such layer.

        Raises:
            BundleError: If the layer was edited, is damaged, of another schema or of another bundle, or the bundle
                names one that is not there.
        """
        if self.card and named:
            self._check_named(folder)
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
        except BundleError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError, OSError) as error:
            raise self._broken(folder, f"is damaged: {str(error).splitlines()[0]}", "bundle-damaged") from error

    def _check_named(self, folder: Path) -> None:
        for name, digest in named_files(folder, self.stem).items():
            if not (folder / name).is_file():
                what = f"is not whole: bundle.json names {name}, which is not there"
                raise self._broken(folder, what, "bundle-edited")
            if sha256_of(folder / name) != digest:
                what = f"was edited: {name} is not the one that bundle.json names"
                raise self._broken(folder, what, "bundle-edited")

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
