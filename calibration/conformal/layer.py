r"""Conformal layers of a bundle: what ``calibrate conformal`` adds to its folder, and what ``infer`` reads from it.

A layer is two files beside the bundle's own, ``conformal.json`` and ``conformal.safetensors``, with the hashes of
every other file of the folder: edited, or put beside another bundle, it is refused. A set of quantities has a fitted
score, a limit and, for quick ranges, an outline: points on the border of the region in residual space. A cross-fitted
layer also has what differs between the folds' RoPE fits, and each set the scores of its held-out windows; one of pooled
answers says which pools.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from ...inference.bundle import BundleError, own_hash, sha256_of
from ...inference.pooling.answering import Pool
from ..rope.folds import FoldFit
from .cross import cross_promise
from .crossfit import CrossScore, HeldOut
from .draws import FittedPCP, QuantileBox
from .gauge import AbstractFittedGauge, FittedBox, FittedNorm, Whitening
from .prediction import Prediction
from .ranks import FittedEntropic
from .region import Coordinates, Region
from .residual import FittedResidualScore, PosteriorResidual
from .score import AbstractFittedScore

__all__ = ["ConformalLayer", "ConformalSet", "Pools", "load_layer", "save_layer"]

_INFO, _ARRAYS = "conformal.json", "conformal.safetensors"
_SCHEMA = 3
"""Schema of layers of pooled answers; cross-fitted ones are written as 2, the others as 1."""


@dataclass(frozen=True)
class Pools:
    r"""The pools that a layer's windows were answered in.

    Arguments:
        pool: ``recording`` or ``causal``.
        every_s: Pace of their windows [s].

    Raises:
        ValueError: If the pool is unknown or the pace is not positive.

    Example:
        >>> Pools("recording").told
        'windows answered given their whole recording, one every 8 s'
    """

    pool: Pool
    every_s: float = 8.0

    def __post_init__(self) -> None:
        """Check every field."""
        if self.pool not in _TOLD or not 0 < self.every_s < np.inf:
            raise ValueError(f"pools are {' or '.join(_TOLD)} at a positive pace, got {self.pool!r}, {self.every_s:g}")

    @property
    def told(self) -> str:
        r"""In words."""
        return f"windows answered given {_TOLD[self.pool]}, one every {self.every_s:g} s"


_TOLD: Final = {"recording": "their whole recording", "causal": "their recording up to them"}


@dataclass(frozen=True)
class ConformalSet:
    r"""A calibrated region for one set of quantities.

    Arguments:
        score_name: Name of the score, as ``calibrate conformal --score`` takes it.
        score: The fitted score.
        coordinates: Names, units and scales of the quantities.
        limit: Members of a region score at most this.
        alpha: Share of new patients whose window may be missed.
        n_patients: Calibration patients.
        n_windows: Calibration windows.
        guarantee: What is promised, in a sentence.
        outline: Residuals on the border of the region; none where the score has closed ranges.
        held: Held-out scores of a cross-fitted set; none where one posterior serves.

    Example:
        >>> ConformalSet.__dataclass_fields__["limit"].type
        'float'
    """

    score_name: str
    score: AbstractFittedScore
    coordinates: Coordinates
    limit: float
    alpha: float
    n_patients: int
    n_windows: int
    guarantee: str
    outline: Float[np.ndarray, "K d"]
    held: tuple[HeldOut, ...] = ()

    def region(self, prediction: Prediction) -> Region:
        r"""Region of one window.

        Arguments:
            prediction: Its posterior, as scored; of a cross-fitted set that of each fold.
        """
        if self.held:
            score = CrossScore((self.score,) * len(prediction), self.held[0])
            return Region(score, prediction, self.limit, self.coordinates, self.alpha)
        return Region(self.score, prediction, self.limit, self.coordinates, self.alpha)

    def to_json(self, prediction: Prediction) -> dict[str, Any]:
        r"""Region of one window as ``infer --json`` prints it.

        Arguments:
            prediction: Its posterior, as scored.
        """
        region = self.region(prediction)
        found = region.to_json()
        if len(self.outline) and region.bounded and isinstance(self.score, FittedResidualScore):
            border = self.coordinates.restore(self.score.residual.restore(prediction, self.outline)[0])
            for j, name in enumerate(self.coordinates.names):
                low, high = (float(f"{v:.6g}") for v in (border[:, j].min(), border[:, j].max()))
                found["ranges"][name] |= {"low": low, "high": high}
        if self.held:
            promise = cross_promise(self.n_patients, len(prediction), self.alpha)
            found["promise"] = float(np.floor(1000 * promise) / 1000)
        return {"method": self.score_name, "n_patients": self.n_patients, **found, "guarantee": self.guarantee}


@dataclass(frozen=True)
class ConformalLayer:
    r"""Every calibrated set of a bundle.

    Arguments:
        sets: The sets; the first is the one that stands under ``region``.
        n_draws: Posterior draws that regions are made from, as in the calibration.
        patients: Hashes of the calibration patients.
        folds: What each fold's RoPE fit differs in, where RoPE was cross-fitted with the limit.
        pools: Pools that windows were answered in; None where each was answered alone.

    Example:
        >>> ConformalLayer((), 1000, ()).regions({})
        []
    """

    sets: tuple[ConformalSet, ...]
    n_draws: int
    patients: tuple[str, ...]
    folds: tuple[FoldFit, ...] = ()
    pools: Pools | None = None

    def regions(self, draws: Mapping[str, Float[np.ndarray, "*fold draw"]]) -> list[dict[str, Any]]:
        r"""Regions of one window.

        Arguments:
            draws: Posterior draws by quantity, a row for each fold if there are any; the first ``n_draws`` are used.

        Returns:
            One dictionary for each set; none where there are fewer draws than in the calibration.
        """
        if any(np.shape(values)[-1] < self.n_draws for values in draws.values()):
            return []
        return [one.to_json(predict(draws, one.coordinates, self.n_draws)) for one in self.sets]


def predict(draws: Mapping[str, Float[np.ndarray, "*fold draw"]], coordinates: Coordinates, n_draws: int) -> Prediction:
    """The posterior of one window as it is scored: draws without a logarithm take the least that has one."""
    own = [np.atleast_2d(np.asarray(draws[name], dtype=np.float64))[:, :n_draws] for name in coordinates.names]
    theta = np.stack(own, axis=-1)
    positive = np.where(theta > 0, theta, np.inf).min(axis=1, keepdims=True)
    floors = np.where(np.isfinite(positive), positive, 1e-6)
    theta = np.where(np.array(coordinates.log) & (theta <= 0), floors, theta)
    return Prediction.from_draws(coordinates.transform(theta))


def save_layer(layer: ConformalLayer, folder: Path) -> None:
    r"""Writes a layer beside a bundle.

    Arguments:
        layer: The layer.
        folder: Folder of the bundle.

    Example:
        >>> save_layer(layer, Path("mine"))  # doctest: +SKIP
    """
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {}
    rows = []
    for i, one in enumerate(layer.sets):
        own = {**_arrays(one.score), "outline": one.outline}
        for held in one.held:
            own |= {"held_scores": held.scores, "held_mass": held.mass, "held_folds": held.folds}
        arrays |= {f"{i}/{name}": np.ascontiguousarray(values) for name, values in own.items()}
        rows.append(
            {
                "score": one.score_name,
                "kind": _kind(one.score),
                "names": one.coordinates.names,
                "units": one.coordinates.units,
                "log": one.coordinates.log,
                "limit": one.limit if np.isfinite(one.limit) else None,
                "alpha": one.alpha,
                "n_patients": one.n_patients,
                "n_windows": one.n_windows,
                "guarantee": one.guarantee,
            }
        )
    for k, fold in enumerate(layer.folds):
        arrays |= {f"fold{k}/encoder/{name}": np.ascontiguousarray(v) for name, v in fold.encoder.items()}
        arrays |= {f"fold{k}/potential": fold.potential, f"fold{k}/weight": fold.weight}
    (folder / _ARRAYS).write_bytes(save(arrays))
    info = {"schema": 1, "n_draws": layer.n_draws, "patients": layer.patients, "sets": rows}
    if layer.folds:
        folds = [{"epsilon": fold.epsilon, "sharper": fold.sharper} for fold in layer.folds]
        info |= {"schema": 2, "folds": folds}
    if layer.pools is not None:
        info |= {"schema": _SCHEMA, "pools": {"pool": layer.pools.pool, "every_s": layer.pools.every_s}}
    info["beside"] = _hashes(folder)
    info["hash"] = own_hash(info)
    (folder / _INFO).write_text(json.dumps(info, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def load_layer(folder: Path) -> ConformalLayer | None:
    r"""Reads the layer of a bundle.

    Arguments:
        folder: Folder of the bundle.

    Returns:
        The layer, or None where the bundle has none.

    Raises:
        BundleError: If the layer was edited, is damaged, of a newer schema or of another bundle.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> load_layer(find_bundle("radial-abp")) is None
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
        if info["hash"] != own_hash(info) or info["beside"] != _hashes(folder):
            raise _broken(folder, "was edited or belongs to another bundle", "bundle-edited")
        arrays = load_file(folder / _ARRAYS)
        sets = [_set(row, i, arrays) for i, row in enumerate(info["sets"])]
        folds = tuple(_fold(row, k, arrays) for k, row in enumerate(info.get("folds", ())))
        pools = Pools(**info["pools"]) if int(info["schema"]) == _SCHEMA else None
        return ConformalLayer(tuple(sets), int(info["n_draws"]), tuple(info["patients"]), folds, pools)
    except BundleError:
        raise
    except (KeyError, TypeError, SafetensorError, OSError, ValueError) as error:
        raise _broken(folder, f"is damaged: {str(error).splitlines()[0]}", "bundle-damaged") from error


def _set(row: Mapping[str, Any], i: int, arrays: Mapping[str, np.ndarray]) -> ConformalSet:
    own = {name.partition("/")[2]: values for name, values in arrays.items() if name.startswith(f"{i}/")}
    outline = own.pop("outline")
    held = ("held_scores", "held_mass", "held_folds")
    kept = (HeldOut(*(own.pop(name) for name in held)),) if held[0] in own else ()
    coordinates = Coordinates(tuple(row["names"]), tuple(row["units"]), tuple(row["log"]))
    limit = np.inf if row["limit"] is None else float(row["limit"])
    numbers = (float(row["alpha"]), int(row["n_patients"]), int(row["n_windows"]), str(row["guarantee"]))
    return ConformalSet(row["score"], _score(row["kind"], own), coordinates, limit, *numbers, outline, kept)


def _fold(row: Mapping[str, Any], k: int, arrays: Mapping[str, np.ndarray]) -> FoldFit:
    own = {name.partition("/")[2]: values for name, values in arrays.items() if name.startswith(f"fold{k}/")}
    state = {name[8:]: values for name, values in own.items() if name.startswith("encoder/")}
    return FoldFit(state, own["potential"], own["weight"], float(row["epsilon"]), tuple(row["sharper"]))


def _kind(score: AbstractFittedScore) -> str:
    return type(score.gauge).__name__ if isinstance(score, FittedResidualScore) else type(score).__name__


def _arrays(score: AbstractFittedScore) -> dict[str, np.ndarray]:
    if isinstance(score, FittedResidualScore) and isinstance(score.residual, PosteriorResidual):
        return score.gauge.arrays()
    if isinstance(score, FittedPCP):
        return {"scale": score.scale, "most": np.array([score.most])}
    if isinstance(score, QuantileBox):
        return {"level": np.array([score.level])}
    raise TypeError(f"{type(score).__name__} cannot be kept in a bundle: use otcp, mahalanobis, box or pcp")


def _score(kind: str, own: dict[str, np.ndarray]) -> AbstractFittedScore:
    if kind == "FittedPCP":
        return FittedPCP(own["scale"], int(own["most"][0]))
    if kind == "QuantileBox":
        return QuantileBox(float(own["level"][0]))
    gauge: AbstractFittedGauge
    if kind == "FittedBox":
        gauge = FittedBox(own["middle"], own["half"])
    elif kind == "FittedNorm":
        gauge = FittedNorm(Whitening(own["centre"], own["factor"]))
    elif kind == "FittedEntropic":
        numbers = [float(v) for v in own["numbers"]]
        gauge = FittedEntropic(Whitening(own["centre"], own["factor"]), own["points"], own["offset"], *numbers)
    else:
        raise KeyError(f"unknown score {kind}")
    return FittedResidualScore(PosteriorResidual(), gauge)


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name not in (_INFO, "run.json"))
    return {p.name: sha256_of(p) for p in files}


def _broken(folder: Path, what: str, code: str) -> BundleError:
    return BundleError(f"the conformal layer of bundle {folder.name} {what}", code=code, hint="calibrate it again")
