r"""Recipes of pooling layers: a window model, simulated recordings, training, and what came of it."""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_model, save_model
from torch import Tensor

from ...simulators.recorded import SensorChanges
from ..bundle import Bundle, find_bundle, refuse_calibrated
from ..checkpoint import Checkpoint
from ..contract import joined
from .aging import Aging
from .aging_training import fit_aging
from .features import FINE, EmbeddedRecordings, draw_subjects, make_embedded
from .layer import PoolingLayer, save_pooling
from .measure import measure_alike, measure_pooling
from .network import PooledNPE, PoolingConfig
from .patient_measure import fit_exponent, measure_informed
from .patients import PoolPatients, PoolPatientTraining, root_outputs, train_pool_heads
from .segment_training import (
    DetectorTraining,
    all_states,
    measure_detector,
    measure_quiet,
    set_limits,
    train_detector,
)
from .segments import ChangeDetector
from .stretching import fit_stretching, recording_tensors
from .training import PoolTraining, context_scales, train_pooled

__all__ = ["FEWEST_RECORDINGS", "PoolingRecipe", "find_pooling_recipe", "measure_layer", "produce_pooling"]

FEWEST_RECORDINGS = 32
"""Recordings of each set on which a layer is measured at least."""

_FINER = ("n", "recordings", "recordings_by_pool", "coverage_by_pool", "standard_error", "trend")
_HOME = Path(__file__).parents[1] / "recipes" / "pooling"


@dataclass(frozen=True)
class PoolingRecipe:
    r"""Everything that makes a pooling layer from a window model.

    Arguments:
        name: Name of the model that it makes.
        base: The window model, shipped or a folder.
        recordings: Sets of simulated recordings.
        changes: Sets for the detector alone, whose sensors change as said: the waves of one of those sets, ``of``,
            recorded once more, or recordings of their own.
        hours: Recordings back to back, on which draws are stretched and, where ``limits`` is empty, limits set.
        fit: Sets on which draws are stretched, with what the others hold and the hours.
        age: Name of that of them on which it is fitted how references grow old; they do not where empty.
        test: Sets on which the layer is measured.
        finer: Sets of the better simulator that the window model was adapted to, on which coverage is measured besides.
        alike: Names of those whose waves are recorded again with each set of channels in all windows, to compare pools
            with windows alone.
        quiet: The set on which the detector's false splits are counted; none where empty.
        limits: The set on which the detector's limits are set, where it is another than the hours.
        also: Names of those to fit on that the detector learns from besides.
        draws: Draws of each window there.
        network: Settings of the network.
        train: Settings of the training.
        detector: Settings of the detector's training.
        patients: Settings of the training of the likelihoods of age, height and aortic root; none are learned where
            empty.

    Raises:
        TypeError: If a setting is unknown.
        ValueError: If a set is named that is not there.

    Example:
        >>> find_pooling_recipe("radial-abp-pooled").base
        'radial-abp'
    """

    name: str
    base: str
    recordings: Sequence[Mapping[str, Any]]
    changes: Sequence[Mapping[str, Any]]
    hours: Mapping[str, Any]
    fit: Sequence[Mapping[str, Any]]
    test: Sequence[Mapping[str, Any]]
    finer: Sequence[Mapping[str, Any]] = ()
    age: str = ""
    alike: Sequence[str] = ()
    quiet: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    also: Sequence[str] = ()
    draws: int = 300
    network: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    detector: Mapping[str, Any] = field(default_factory=dict)
    patients: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        PoolingConfig(**self.network)
        DetectorTraining(**self.detector)
        PoolTraining(**self.train)
        PoolPatientTraining(**self.patients)
        if not self.changes:
            raise ValueError("changes must hold a set whose sensors change, for the detector")
        asked = {"fit": [*self.also, *([self.age] if self.age else [])], "test": self.alike}
        for sets, names in {**asked, "recordings": [row["of"] for row in self.changes if "of" in row]}.items():
            there = [row["name"] for row in getattr(self, sets)]
            lost = [name for name in names if name not in there]
            if lost:
                raise ValueError(f"{sets} must hold the set {lost[0]!r} that the recipe names, got {', '.join(there)}")


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
    bundle = Bundle.load(folder)
    refuse_calibrated(folder)
    simulated = _Simulated.of(recipe, bundle, work, PoolTraining(**recipe.train).held, tell)
    detector, limits = _detector(recipe, bundle, simulated, work, tell)
    npe, training = _trained(recipe, bundle, simulated, detector, work, tell)
    _stretch(recipe, bundle, simulated, npe, detector, work, tell)
    aging = _aging(recipe, bundle, PoolingLayer(npe, detector), work, tell)
    patients, learned = _patients(recipe, bundle, simulated, PoolingLayer(npe, detector), work, tell)
    layer = PoolingLayer(npe, detector, aging=aging, patients=patients)
    measured = measure_layer(recipe, bundle, layer, work, tell=tell)
    measured["changes"] = {"limits": limits, **measured["changes"]}
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.resolve().parent != out.resolve():
            shutil.copyfile(path, out / path.name)
    save_pooling(replace(layer, measured=measured, training=training | learned), out)
    return measured


def measure_layer(
    recipe: PoolingRecipe,
    bundle: Bundle,
    layer: PoolingLayer,
    work: Path,
    *,
    share: float = 1.0,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    r"""Measures a pooling layer on the recordings that its recipe holds out, or on fewer of them.

    Arguments:
        recipe: The recipe.
        bundle: The window model.
        layer: The layer.
        work: Folder of simulated recordings, kept.
        share: Share of the recordings of each set, of which `FEWEST_RECORDINGS` are taken at least.
        tell: Told what goes on.

    Returns:
        JSON-able: as `measure_pooling`, with standard errors; ``finer``, the same of the better simulator;
        ``changes``, what the detector finds and invents; ``patients``, as `measure_informed`; ``alike``, by the
        channels of whole pools and their windows, as `measure_alike`. Parts that a recipe has no sets for are left out.

    Example:
        >>> measure_layer.__kwdefaults__["share"]
        1.0
    """
    row, n = _fewer(recipe.recordings[-1], share, _held(recipe)[-1])
    calm = _embedded(bundle, work, row, tell).rows(slice(0, n))
    few = [_fewer(row, share)[0] for row in recipe.test]
    tests = [_embedded(bundle, work, row, tell) for row in few]
    measured = measure_pooling(bundle, layer, tests, calm=calm, draws=recipe.draws)
    if recipe.finer:
        finer = [_embedded(bundle, work, {**_fewer(row, share)[0], "model": FINE}, tell) for row in recipe.finer]
        found = measure_pooling(bundle, layer, finer, draws=recipe.draws)
        measured["finer"] = {"simulator": FINE, **{name: found[name] for name in _FINER}}
    measured["changes"] = _changes(recipe, bundle, layer, work, share, tell)
    if layer.patients is not None:
        subjects = [_subjects(bundle, row) for row in few]
        measured["patients"] = measure_informed(bundle, layer, tests, subjects, draws=recipe.draws)
    if recipe.alike:
        whole = [row for row in few if row["name"] in recipe.alike]
        measured["alike"] = _alike(recipe, bundle, layer, whole, work, tell)
    return measured


def _fewer(row: Mapping[str, Any], share: float, n: int = 0) -> tuple[dict[str, Any], int]:
    """Settings of a set with fewer recordings, and how many of them are asked for: of the first n where given."""
    part, most = int(row.get("part", 32)), int(row["recordings"])
    asked = min(n or most, max(FEWEST_RECORDINGS, round(share * (n or most))))
    return {**row, "recordings": min(most, -(-asked // part) * part) if n else asked}, asked


def _changes(
    recipe: PoolingRecipe,
    bundle: Bundle,
    layer: PoolingLayer,
    work: Path,
    share: float,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """What the detector finds, where its limits were set and in other recordings, and what it invents there."""

    def seen(row: Mapping[str, Any], n: int = 0) -> tuple[Tensor, EmbeddedRecordings]:
        settings, asked = _fewer(row, share, n)
        data = _embedded(bundle, work, settings, tell).rows(slice(0, asked))
        return (torch.from_numpy(data.context) - layer.npe.h_mean) / layer.npe.h_sd, data

    def splices(data: EmbeddedRecordings) -> int:
        return 1000 if share == 1.0 else len(data.context)  # more of few patients tell no more

    detector, (h, data) = layer.detector, seen(_limiting(recipe))
    found = {"splices": measure_detector(detector, h, data, splices=splices(data))["splices"]}
    changing = _changing(recipe, recipe.changes[0])
    own = seen(changing, int(changing.get("held", DetectorTraining(**recipe.detector).held)))
    found["sensors"] = measure_detector(detector, *own, splices=0)
    if recipe.quiet:
        h, data = seen({"name": "quiet", **recipe.quiet})
        found["quiet"] = measure_quiet(detector, h, data, splices=splices(data), names=bundle.contract.names)
    tell(f"detector: {found}")
    return found


def _limiting(recipe: PoolingRecipe) -> dict[str, Any]:
    """The set on which the detector's limits are set."""
    return {"name": "limits", **recipe.limits} if recipe.limits else {"name": "hours", **recipe.hours}


def _alike(
    recipe: PoolingRecipe,
    bundle: Bundle,
    layer: PoolingLayer,
    rows: Sequence[Mapping[str, Any]],
    work: Path,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """What pooling is worth where all windows of a pool have the same channels, by these and by set."""
    found: dict[str, Any] = {}
    names = bundle.contract.names
    for given in [one for n in range(1, len(names) + 1) for one in combinations(names, n)]:
        for row in rows:
            own = {"name": f"{row['name']}-{joined(given)}", "of": row["name"], "given": given}
            one = measure_alike(bundle, layer, _embedded(bundle, work, {**row, **own}, tell), recipe.draws)
            found.setdefault(joined(given), {})[str(row["windows"])] = one
            tell(f"{joined(given)}, {row['windows']} windows: {one}")
    return found


def _held(recipe: PoolingRecipe) -> list[int]:
    """Recordings of each set that are not trained on."""
    return [int(row.get("held", PoolTraining(**recipe.train).held)) for row in recipe.recordings]


def _trained(
    recipe: PoolingRecipe,
    bundle: Bundle,
    simulated: _Simulated,
    detector: ChangeDetector,
    work: Path,
    tell: Callable[[str], None],
) -> tuple[PooledNPE, dict[str, Any]]:
    """The posterior, and how it was made."""
    config, held = PoolTraining(**recipe.train), _held(recipe)
    npe, history = train_pooled(
        simulated.sets,
        bundle.npe,
        PoolingConfig(**{"inputs": bundle.npe.config.embedding.context + bundle.outputs.space.dim, **recipe.network}),
        config,
        held=held,
        states=[simulated.states(detector, data) for data in simulated.sets],
        checkpoint=Checkpoint(work / f"checkpoint-{simulated.key(held, asdict(config), recipe.network)}"),
        progress=lambda step, loss, held: tell(f"step {step}: loss {loss:.3f}, held out {held:.3f}"),
    )
    sets = {name: [dict(row) for row in getattr(recipe, name)] for name in ("recordings", "fit")}
    return npe, {**sets, **asdict(config), "history": _thin(history)}


def _stretch(
    recipe: PoolingRecipe,
    bundle: Bundle,
    simulated: _Simulated,
    npe: PooledNPE,
    detector: ChangeDetector,
    work: Path,
    tell: Callable[[str], None],
) -> None:
    """Stretches draws on recordings that were not trained on."""
    more = [_embedded(bundle, work, row, tell) for row in recipe.fit]
    held = [data.rows(slice(0, n)) for data, n in zip(simulated.sets, _held(recipe), strict=True)]
    apart = (*more, *held, simulated.hours)
    fit_stretching(
        npe, [recording_tensors(npe, bundle.npe, data, simulated.states(detector, data)) for data in apart], tell=tell
    )


def _aging(
    recipe: PoolingRecipe, bundle: Bundle, layer: PoolingLayer, work: Path, tell: Callable[[str], None]
) -> Aging:
    """How references grow old, from recordings that were not trained on."""
    if not recipe.age:
        return Aging()
    (row,) = (row for row in recipe.fit if row["name"] == recipe.age)
    return fit_aging(bundle, layer, [_embedded(bundle, work, row, tell)], tell=tell)


def _patients(
    recipe: PoolingRecipe,
    bundle: Bundle,
    simulated: _Simulated,
    layer: PoolingLayer,
    work: Path,
    tell: Callable[[str], None],
) -> tuple[PoolPatients | None, dict[str, Any]]:
    """Likelihoods of what is known of patients, from what course and flows learned from; and how they were made."""
    if not recipe.patients:
        return None, {}
    npe, detector = layer.npe, layer.detector
    sets = [recording_tensors(npe, bundle.npe, data, simulated.states(detector, data)) for data in simulated.sets]
    told = [_subjects(bundle, row) for row in recipe.recordings]
    config = PoolPatientTraining(**recipe.patients)
    held, beside = _held(recipe), root_outputs(bundle.outputs.space.names)
    heads, history = train_pool_heads(npe, sets, told, held=held, config=config, beside=beside, tell=tell)
    apart = [_embedded(bundle, work, row, tell) for row in recipe.fit]
    known = PoolPatients(heads, beside=beside)
    whole, who = replace(layer, patients=known), [_subjects(bundle, row) for row in recipe.fit]
    exponent = fit_exponent(bundle, whole, apart, who, draws=recipe.draws, tell=tell)
    return replace(known, exponent=exponent), {"patients": {**asdict(config), "history": history}}


@dataclass(frozen=True)
class _Simulated:
    """What is trained on, and the scales of the signatures."""

    sets: Sequence[EmbeddedRecordings]
    changing: Sequence[EmbeddedRecordings]
    hours: EmbeddedRecordings
    mean: Tensor
    sd: Tensor

    @classmethod
    def of(
        cls, recipe: PoolingRecipe, bundle: Bundle, work: Path, held: int, tell: Callable[[str], None]
    ) -> _Simulated:
        sets = [_embedded(bundle, work, row, tell) for row in recipe.recordings]
        changing = [_embedded(bundle, work, _changing(recipe, row), tell) for row in recipe.changes]
        hours = _embedded(bundle, work, {"name": "hours", **recipe.hours}, tell)
        return cls(sets, changing, hours, *context_scales(sets, held))

    def signatures(self, data: EmbeddedRecordings) -> Float[Tensor, "R W signature"]:
        return (torch.from_numpy(data.context) - self.mean) / self.sd

    def states(self, detector: ChangeDetector, data: EmbeddedRecordings) -> Int[np.ndarray, "R W"]:
        return all_states(detector, self.signatures(data), data.time_s)[0]

    def key(self, *settings: object) -> str:
        """A name of these recordings as this window model sees them, and of what is made of them how."""
        told = repr([data.context.shape for data in self.sets]) + "".join(repr(one) for one in settings)
        return hashlib.sha256(self.mean.numpy().tobytes() + told.encode()).hexdigest()[:10]


def _detector(
    recipe: PoolingRecipe, bundle: Bundle, simulated: _Simulated, work: Path, tell: Callable[[str], None]
) -> tuple[ChangeDetector, dict[str, Any]]:
    """The detector, from its file if there is one, and its limits."""
    trained = {k: v for k, v in recipe.detector.items() if k not in ("margin", "patient_an_hour", "sensor_an_hour")}
    more = [row for row in recipe.fit if row["name"] in recipe.also]
    path = work / f"detector-{simulated.key(trained, *map(dict, (*more, *recipe.changes)))}.safetensors"
    config = DetectorTraining(**recipe.detector)
    also = [_embedded(bundle, work, row, tell) for row in more]
    pairs = [(simulated.signatures(data), data) for data in (*simulated.sets, *also, *simulated.changing)]
    changed = [int(row.get("held", config.held)) for row in recipe.changes]
    if path.is_file():
        detector = ChangeDetector(pairs[0][0].shape[-1], **config.shape()).eval()
        load_model(detector, path)
    else:
        held = [config.held] * (len(pairs) - len(changed)) + changed
        detector = train_detector(pairs, config, held=held, progress=tell)
        save_model(detector, str(path))
    apart = simulated.hours if not recipe.limits else _embedded(bundle, work, _limiting(recipe), tell)
    rates = {"patient_an_hour": config.patient_an_hour, "sensor_an_hour": config.sensor_an_hour}
    limits = set_limits(detector, simulated.signatures(apart), apart, margin=config.margin, **rates)
    tell(f"detector: {limits}")
    return detector, limits


def _embedded(bundle: Bundle, work: Path, row: Mapping[str, Any], tell: Callable[[str], None]) -> EmbeddedRecordings:
    settings = {k: v for k, v in row.items() if k not in ("name", "held", "of")}
    if "of" in row:
        settings["solved"] = work / str(row["of"])
        settings["solved"].mkdir(parents=True, exist_ok=True)
    return make_embedded(
        bundle,
        work / str(row["name"]),
        progress=lambda done: tell(f"{row['name']}: {done} recordings"),
        **settings,
    )


def _changing(recipe: PoolingRecipe, row: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a set whose sensors change."""
    again = {k: row[k] for k in ("share", "slip") if k in row}
    own = {"changes": SensorChanges(**again), "name": "changes"} | {k: v for k, v in row.items() if k not in again}
    return next((dict(one) for one in recipe.recordings if one["name"] == row.get("of")), {}) | own


def _subjects(bundle: Bundle, row: Mapping[str, Any]) -> Float[np.ndarray, "R 3"]:
    """Ages, heights and aortic roots of the patients of a set of recordings."""
    return draw_subjects(bundle, **{k: v for k, v in row.items() if k not in ("name", "held", "of", "given")})


def _thin(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = [{k: v if isinstance(v, str) else round(v, 4) for k, v in row.items() if k != "at"} for row in history]
    kept = [{k: v for k, v in row.items() if isinstance(v, str) or np.isfinite(v)} for row in rows]
    return kept[:: max(1, len(kept) // 24)]
