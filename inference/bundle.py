r"""Bundles: a trained estimator as a folder that can be checked, read and passed on.

``weights.safetensors`` holds the network and draws of the prior, ``domain.safetensors`` (if present) the arrays of the
domain verdict, ``bundle.json`` everything else, ``card.md`` what a reader should know. ``bundle.json`` carries the
SHA-256 of the other files and of itself, so that a folder that was edited is refused; nothing is ever unpickled. It
names the layers that lie beside it (``layers``), with theirs, so that one cannot be lost unseen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from .contract import InputContract
from .npe import NPE, NPEConfig
from .outputs import OutputSpace

__all__ = [
    "SCHEMA",
    "Bundle",
    "BundleError",
    "InputContract",
    "find_bundle",
    "name_layer",
    "named_files",
    "of_one_channel",
    "own_hash",
    "reads_several",
    "refuse_calibrated",
    "sha256_of",
    "shipped_bundles",
]

SCHEMA = 3
"""Version of the folder's layout; a bundle with a greater one is refused. Models without an adapter are of version 2,
of one channel of version 1.
"""

_WEIGHTS, _DOMAIN, _INFO, _CARD = "weights.safetensors", "domain.safetensors", "bundle.json", "card.md"


class BundleError(ValueError):
    r"""A bundle cannot be used.

    Arguments:
        message: What is wrong.
        code: Short slug of the kind of fault.
        hint: What to try.

    Example:
        >>> BundleError("no bundle.json in radial", code="not-a-bundle", hint="name a folder").code
        'not-a-bundle'
    """

    def __init__(self, message: str, *, code: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


@dataclass(frozen=True)
class Bundle:
    r"""A trained estimator with what is needed to use and judge it.

    Arguments:
        name: Name of the model.
        npe: The estimator.
        prior: Draws of the outputs before any window is seen, each column in its unit.
        contract: What the model reads.
        training: Fingerprint of the training set, seeds, settings, rows used and left out, software versions.
        measured: What was measured on held-out simulations: coverage, error, contraction, SBC.
        uninformative: Share of the prior's interval above which a quantity is called uninformative.
        domain: Arrays of the domain verdict; empty when there is none.
        card: Text of the card.

    Raises:
        ValueError: If the prior's draws or the contract do not fit the estimator, or a weight or draw is not finite.
        TypeError: If ``training`` or ``measured`` is no dictionary.

    Example:
        >>> from pulsebayes.inference.npe import PRESETS
        >>> import tempfile
        >>> outputs = OutputSpace.from_names(("HR", "SV"))
        >>> prior = np.array([[60.0, 70.0], [80.0, 60.0]], np.float32)
        >>> bundle = Bundle("tiny", NPE(outputs, PRESETS["small"]), prior)
        >>> folder = Path(tempfile.mkdtemp()) / "tiny"
        >>> bundle.save(folder)
        >>> Bundle.load(folder).npe.outputs.names
        ('HR', 'SV')
    """

    name: str
    npe: NPE
    prior: Float[np.ndarray, "M D"]
    contract: InputContract = field(default_factory=InputContract)
    training: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)
    uninformative: float = 0.8
    domain: Mapping[str, np.ndarray] = field(default_factory=dict)
    card: str = ""

    def __post_init__(self) -> None:
        if self.prior.ndim != 2 or self.prior.shape[1] != self.npe.outputs.space.dim:
            raise ValueError(f"prior must have shape (M, {self.npe.outputs.space.dim}), got {self.prior.shape}")
        reads = self.npe.config.embedding
        if [c.name for c in self.contract.several] != [c.name for c in reads.channels]:
            raise ValueError(
                f"contract must have the network's channels, {[c.name for c in reads.channels]}, got "
                f"{[c.name for c in self.contract.several]}"
            )
        if (self.contract.samples, self.contract.fs) != (reads.samples, reads.fs):
            raise ValueError(
                f"contract must be the network's, {reads.samples} samples at {reads.fs:g} Hz, got "
                f"{self.contract.samples} at {self.contract.fs:g} Hz"
            )
        lost = [name for name, weights in self.npe.state_dict().items() if not weights.isfinite().all()]
        if lost or not np.isfinite(self.prior).all():
            raise ValueError(f"{lost[0] if lost else 'prior'} must be finite: the training diverged")
        for name, entry in (("training", self.training), ("measured", self.measured)):
            if not isinstance(entry, Mapping):
                raise TypeError(f"{name} must be a dictionary, got {type(entry).__name__}")
        if not self.uninformative > 0:
            raise ValueError(f"uninformative must be a positive share, got {self.uninformative}")

    @property
    def outputs(self) -> OutputSpace:
        r"""Outputs of the estimator."""
        return self.npe.outputs

    def without_adapter(self) -> Bundle:
        r"""The bundle with the estimator of the fast simulator, to read its waves; itself where there is no adapter."""
        npe = self.npe.without_adapter()
        return self if npe is self.npe else replace(self, npe=npe)

    def save(self, folder: Path, *, half: bool = False, force: bool = False) -> None:
        r"""Writes the folder.

        Arguments:
            folder: Folder to write.
            half: Whether weights are kept in half precision.
            force: Whether a bundle that is already there is replaced.

        Raises:
            FileExistsError: If the folder holds files and ``force`` is not given.
        """
        from safetensors.numpy import save

        if folder.exists() and any(folder.iterdir()) and not force:
            raise FileExistsError(f"{folder.name} already holds files: choose another name or use --force")
        folder.mkdir(parents=True, exist_ok=True)
        state = {f"npe/{k}": v.detach().cpu().numpy() for k, v in self.npe.state_dict().items()}
        tensors = {k: _narrow(v) if half else np.ascontiguousarray(v) for k, v in state.items()}
        tensors["prior"] = np.ascontiguousarray(self.prior, dtype=np.float32)
        (folder / _WEIGHTS).write_bytes(save(tensors))
        files = [_WEIGHTS, _CARD]
        (folder / _CARD).write_text(self.card, encoding="utf-8")
        (folder / _DOMAIN).unlink(missing_ok=True)
        if self.domain:
            (folder / _DOMAIN).write_bytes(save({k: np.ascontiguousarray(v) for k, v in self.domain.items()}))
            files.append(_DOMAIN)
        _write_info(folder, self._info() | {"files": {name: sha256_of(folder / name) for name in sorted(files)}})

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        r"""Reads and checks a folder.

        Arguments:
            folder: Folder of a bundle.

        Raises:
            BundleError: If the folder is no bundle, was edited, is damaged or is of a newer schema.
        """
        info = _read_info(folder)
        arrays = _read_arrays(folder / _WEIGHTS)
        try:
            outputs = OutputSpace.from_json(info["outputs"])
            npe = NPE(outputs, NPEConfig.from_json(info["network"]))
            state = {k[4:]: _widen(v) for k, v in arrays.items() if k.startswith("npe/")}
            npe.load_state_dict(state)
            contract = InputContract.from_json(info["input"])
            prior = arrays["prior"]
            known = {key: info[key] for key in ("name", "training", "measured", "uninformative")}
            domain = _read_arrays(folder / _DOMAIN) if _DOMAIN in info["files"] else {}
            card = (folder / _CARD).read_text(encoding="utf-8")
            return cls(npe=npe.eval(), prior=prior, contract=contract, domain=domain, card=card, **known)
        except BundleError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BundleError(
                f"bundle {folder.name} does not describe a model: {str(error).splitlines()[0]}",
                code="bundle-damaged",
                hint="fetch or train the bundle again",
            ) from error

    def _info(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA if self.npe.config.embedding.adapter else 1 + bool(self.contract.several),
            "name": self.name,
            "input": self.contract.to_json(),
            "outputs": self.outputs.to_json(),
            "network": self.npe.config.to_json(),
            "training": dict(self.training),
            "measured": dict(self.measured),
            "uninformative": self.uninformative,
        }


def shipped_bundles() -> dict[str, Path]:
    r"""Returns the folders of the models that the package ships, by name.

    Example:
        >>> all((folder / "bundle.json").is_file() for folder in shipped_bundles().values())
        True
    """
    home = Path(__file__).parent / "models"
    if not home.is_dir():
        return {}
    return {folder.name: folder for folder in sorted(home.iterdir()) if (folder / _INFO).is_file()}


def find_bundle(model: str | Path) -> Path:
    r"""Finds a bundle by the name of a shipped model or by its folder.

    Arguments:
        model: Name or folder.

    Raises:
        BundleError: If there is neither.

    Example:
        >>> find_bundle("no-such-model")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        pulsebayes.inference.bundle.BundleError: no model 'no-such-model': neither a shipped one nor a folder
    """
    shipped = shipped_bundles()
    if str(model) in shipped:
        return shipped[str(model)]
    folder = Path(model)
    if not folder.exists():
        raise BundleError(
            f"no model {folder.name!r}: neither a shipped one nor a folder",
            code="model-unknown",
            hint=f"shipped models: {', '.join(shipped) or 'none'}; or name the folder of a bundle",
        )
    return folder


def reads_several(folder: Path) -> bool:
    r"""Whether the model in a folder reads several channels, without loading its weights.

    Arguments:
        folder: Folder of a bundle.

    Example:
        >>> reads_several(find_bundle("radial-abp"))
        False
    """
    return "channels" in _read_info(folder).get("input", {})


def of_one_channel(bundle: Bundle, what: str) -> Bundle:
    r"""The bundle, if it reads a single channel; else the refusal of what needs one.

    Arguments:
        bundle: The bundle.
        what: What needs a model of one channel.

    Raises:
        BundleError: If the model reads several.

    Example:
        >>> of_one_channel(Bundle.load(find_bundle("radial-abp")), "RoPE").name
        'radial-abp'
    """
    if not bundle.contract.several:
        return bundle
    raise BundleError(
        f"{what} takes a model of one channel, {bundle.name} reads {bundle.contract.reads}",
        code="several-channels",
        hint=f"models of one channel: {', '.join(n for n, f in shipped_bundles().items() if not reads_several(f))}",
    )


def named_files(folder: Path, layer: str) -> dict[str, str]:
    r"""Files of a layer that a bundle says lie beside it, with their SHA-256; none where it names no such layer.

    Arguments:
        folder: Folder of the bundle.
        layer: Name of the layer: pooling, patient.

    Raises:
        BundleError: If the folder is no bundle or was edited.

    Example:
        >>> sorted(named_files(find_bundle("radial-abp"), "pooling"))
        ['pooling.json', 'pooling.md', 'pooling.safetensors']
    """
    return dict(_read_info(folder).get("layers", {}).get(layer, {}))


def name_layer(folder: Path, layer: str, files: Sequence[str]) -> None:
    r"""Names the files of a layer in ``bundle.json``, which is sealed anew; nothing else in it changes.

    Arguments:
        folder: Folder of the bundle.
        layer: Name of the layer.
        files: Its files; none to name the layer no longer.

    Raises:
        BundleError: If the folder is no bundle, was edited, or was calibrated as it is.

    Example:
        >>> name_layer(Path("mine"), "pooling", ("pooling.json", "pooling.safetensors"))  # doctest: +SKIP
    """
    info = _read_info(folder)
    before = info.get("layers", {})
    layers = {name: own for name, own in before.items() if name != layer}
    if files:
        layers[layer] = {name: sha256_of(folder / name) for name in sorted(files)}
    if layers == before:
        return
    refuse_calibrated(folder)
    rest = {key: value for key, value in info.items() if key not in ("layers", "hash")}
    _write_info(folder, rest | ({"layers": dict(sorted(layers.items()))} if layers else {}))


def refuse_calibrated(folder: Path) -> None:
    r"""Refuses a bundle that was calibrated: what was made for its ``bundle.json`` would be lost with a new layer.

    Arguments:
        folder: Folder of the bundle.

    Raises:
        BundleError: If another file carries the hash of its ``bundle.json``.

    Example:
        >>> refuse_calibrated(find_bundle("radial-abp"))
    """
    own = sha256_of(folder / _INFO).encode()
    others = [path for path in sorted(folder.glob("*.json")) if path.name not in (_INFO, "run.json")]
    bound = [path.name for path in others if path.is_file() and own in path.read_bytes()]
    if bound:
        raise BundleError(
            f"{bound[0]} was made for bundle {folder.name} as it is: a layer laid beside it now would undo that",
            code="calibrated",
            hint="lay the layer beside the model that was not calibrated yet, then calibrate",
        )


def _write_info(folder: Path, info: Mapping[str, Any]) -> None:
    sealed = {**info, "hash": own_hash(info)}
    (folder / _INFO).write_text(json.dumps(sealed, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _read_info(folder: Path) -> dict[str, Any]:
    if not folder.is_dir() or not (folder / _INFO).is_file():
        raise BundleError(
            f"{folder.name} is not a bundle: expected a folder with {_INFO}; pickled models are never opened",
            code="not-a-bundle",
            hint="name the folder that `pulsebayes train` wrote",
        )
    try:
        info = json.loads((folder / _INFO).read_text(encoding="utf-8"))
        schema = info["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{_INFO} of {folder.name} is not readable: {error}", code="bundle-damaged", hint="fetch the bundle again"
        ) from error
    if not isinstance(schema, int):
        raise BundleError(
            f"{_INFO} of {folder.name} is not readable: schema must be a number, got {schema!r}",
            code="bundle-damaged",
            hint="fetch the bundle again",
        )
    if schema > SCHEMA:
        raise BundleError(
            f"bundle {folder.name} has schema {schema}, this version reads up to {SCHEMA}",
            code="bundle-newer",
            hint="install a newer pulsebayes",
        )
    if info.get("hash") != own_hash(info):
        raise _edited(folder, _INFO)
    for name, digest in info["files"].items():
        if Path(name).name != name or not (folder / name).is_file() or sha256_of(folder / name) != digest:
            raise _edited(folder, name)
    return dict(info)


def _edited(folder: Path, name: str) -> BundleError:
    return BundleError(
        f"{name} of bundle {folder.name} is missing or differs from what was saved",
        code="bundle-edited",
        hint="fetch or train the bundle again; a bundle is not edited by hand",
    )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise BundleError(
            f"{path.name} of bundle {path.parent.name} is not readable: {error}",
            code="bundle-damaged",
            hint="fetch the bundle again",
        ) from error


def sha256_of(path: Path) -> str:
    r"""Hash of a file.

    Arguments:
        path: The file.

    Example:
        >>> len(sha256_of(find_bundle("radial-abp") / "bundle.json"))
        64
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()


def own_hash(info: Mapping[str, Any]) -> str:
    r"""Hash of a record, but for the hash that it carries itself.

    Arguments:
        info: The record, JSON-able.

    Example:
        >>> own_hash({"a": 1}) == own_hash({"a": 1, "hash": "anything"})
        True
    """
    rest = {key: value for key, value in info.items() if key != "hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _narrow(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.astype(np.float16) if values.dtype == np.float32 and values.ndim > 1 else values)


def _widen(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32) if values.dtype == np.float16 else values)
