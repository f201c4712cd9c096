r"""Recipes of pooling layers: a window model, simulated recordings, training, and what came of it."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..bundle import Bundle, find_bundle, of_one_channel
from ..checkpoint import Checkpoint
from .features import EmbeddedRecordings, make_embedded
from .layer import PoolingLayer, save_pooling
from .measure import measure_pooling
from .network import PooledNPE, PoolingConfig
from .segments import set_limit, train_detector
from .training import PoolTraining, train_pooled

__all__ = ["PoolingRecipe", "find_pooling_recipe", "produce_pooling"]

_HOME = Path(__file__).parents[1] / "recipes" / "pooling"


@dataclass(frozen=True)
class PoolingRecipe:
    r"""Everything that makes a pooling layer from a window model.

    Arguments:
        name: Name of the model that it makes.
        base: The window model, shipped or a folder.
        recordings: Sets of simulated recordings; the last one sets the detector's limit.
        test: The set on which the layer is measured, and its draws.
        network: Settings of the network.
        train: Settings of the training.
        detector: Steps of the detector and the splits an hour that its limit allows where nothing was spliced.

    Raises:
        TypeError: If a setting is unknown.

    Example:
        >>> find_pooling_recipe("radial-abp-pooled").base
        'radial-abp'
    """

    name: str
    base: str
    recordings: Sequence[Mapping[str, Any]]
    test: Mapping[str, Any]
    network: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    detector: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        PoolingConfig(**self.network)
        PoolTraining(**self.train)


def find_pooling_recipe(name: str) -> PoolingRecipe | None:
    r"""A recipe by the name of a shipped one, or None.

    Arguments:
        name: Name of the recipe.

    Example:
        >>> find_pooling_recipe("radial-abp") is None
        True
    """
    path = _HOME / f"{name}.toml"
    if Path(name).name != name or not path.is_file():
        return None
    return PoolingRecipe(**tomllib.loads(path.read_text(encoding="utf-8")))


def produce_pooling(
    recipe: PoolingRecipe, out: Path, work: Path, *, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    r"""Simulates, trains and measures a pooling layer beside a copy of its window model; goes on after a kill.

    Arguments:
        recipe: The recipe.
        out: Folder of the bundle to write.
        work: Folder of simulated recordings and checkpoints.
        tell: Told what goes on.

    Returns:
        What was measured.

    Example:
        >>> produce_pooling.__annotations__["out"]
        'Path'
    """
    torch.set_num_threads(1)
    folder = find_bundle(recipe.base)
    bundle = of_one_channel(Bundle.load(folder), "a pooling layer")
    sets = [_embedded(bundle, work, row, tell) for row in recipe.recordings]
    config = PoolTraining(**recipe.train)
    npe, history = train_pooled(
        sets[:-1],
        bundle.npe,
        PoolingConfig(**{"inputs": bundle.npe.config.embedding.context + bundle.outputs.space.dim, **recipe.network}),
        config,
        checkpoint=Checkpoint(work / "checkpoint"),
        progress=lambda step, loss, held: tell(f"step {step}: loss {loss:.3f}, held out {held:.3f}"),
    )
    with torch.no_grad():
        signatures = [_signatures(npe, bundle, data) for data in sets]
    pairs = list(zip(signatures, sets, strict=True))
    detector = train_detector(pairs[:-1], steps=int(recipe.detector.get("steps", 2000)), seed=config.seed)
    allowed = float(recipe.detector.get("false_an_hour", 0.02))
    set_limit(detector, *pairs[-1], false_an_hour=allowed)
    layer = PoolingLayer(npe, detector)
    test = {k: v for k, v in recipe.test.items() if k != "draws"}
    held_out = _embedded(bundle, work, {"name": "test", **test}, tell)
    measured = measure_pooling(bundle, layer, held_out, draws=int(recipe.test.get("draws", 400)))
    training = {"recordings": [dict(row) for row in recipe.recordings], **asdict(config), "history": _thin(history)}
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.resolve().parent != out.resolve():
            shutil.copyfile(path, out / path.name)
    save_pooling(PoolingLayer(npe, detector, measured, training), out)
    return measured


def _signatures(npe: PooledNPE, bundle: Bundle, data: EmbeddedRecordings) -> Tensor:
    """What the detector sees of every window, (R, W, signature)."""
    flat = torch.from_numpy(data.context).flatten(0, 1)
    parts: list[Tensor] = [npe.signature(npe.unit(bundle.npe, h)) for h in torch.split(flat, 8192)]
    return torch.cat(parts).reshape(*data.context.shape[:2], -1)


def _embedded(bundle: Bundle, work: Path, row: Mapping[str, Any], tell: Callable[[str], None]) -> EmbeddedRecordings:
    settings = {k: v for k, v in row.items() if k != "name"}
    return make_embedded(
        bundle,
        work / str(row["name"]),
        progress=lambda done: tell(f"{row['name']}: {done} recordings"),
        **settings,
    )


def _thin(history: list[dict[str, float]]) -> list[dict[str, float]]:
    rows = [{k: round(v, 4) for k, v in row.items() if k != "at" and np.isfinite(v)} for row in history]
    return rows[:: max(1, len(rows) // 12)]
