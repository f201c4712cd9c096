r"""Recipes of patient layers: simulated windows of a window model's population, training, and what knowing is worth."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ..bundle import Bundle, find_bundle, refuse_calibrated
from ..contract import joined
from ..npe import NPE
from ..recipe import Recipe, Simulate, find_recipe
from ..sampling import invert_flow
from .heads import KNOWN_SHARE, PatientHeads, persons
from .info import Patient, draw_measured, draw_sex_and_weight, measured_root, root_of_sex
from .layer import LEAST_EFFECTIVE, PatientLayer, save_patient, standardised

__all__ = [
    "PatientRecipe",
    "PatientRows",
    "PatientTraining",
    "find_patient_recipe",
    "make_patient_rows",
    "measure_patient",
    "part_of",
    "produce_patient",
    "train_heads",
]

_HOME = Path(__file__).parents[1] / "recipes" / "patient"
_FIELDS = ("context", "theta", "age", "height", "aorta", "given")
_SAID = tuple("+".join(c) for n in range(1, 5) for c in combinations(("age", "sex", "height", "weight"), n))
KNOWN = (*_SAID, "aorta", *(f"{said}+aorta" for said in _SAID))
"""Everything that can be known of a patient."""
LEVELS = (0.5, 0.9)
_ROOT_SITE = "AorticRoot"


@dataclass(frozen=True)
class PatientTraining:
    r"""Settings of the training.

    Arguments:
        epochs: Passes over the rows.
        batch: Rows of a step.
        rate: First learning rate; it falls to zero along a cosine.
        seed: Seed of weights, order and masks.

    Raises:
        ValueError: If a setting is not positive.

    Example:
        >>> PatientTraining(epochs=2).batch
        1024
    """

    epochs: int = 8
    batch: int = 1024
    rate: float = 2.0e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.rate) <= 0:
            raise ValueError(f"epochs, batch and rate must be positive, got {self.epochs}, {self.batch}, {self.rate:g}")


@dataclass(frozen=True)
class PatientRecipe:
    r"""Everything that makes a patient layer from a window model.

    Arguments:
        name: Name of the model that it makes.
        base: The window model, shipped or a folder.
        rows: Number, seed and rows a part of the simulated windows.
        test: The same of those on which the layer is measured, their simulator (``model``) and their draws.
        train: Settings of the training.

    Raises:
        TypeError: If a setting is unknown.

    Example:
        >>> find_patient_recipe("radial-abp-patient").base
        'radial-abp'
    """

    name: str
    base: str
    rows: Mapping[str, Any]
    test: Mapping[str, Any]
    train: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        PatientTraining(**self.train)


@dataclass(frozen=True)
class PatientRows:
    r"""Windows as the window model sees them, with whose they are.

    Arguments:
        context: Context vectors.
        theta: The window model's outputs, each in its unit.
        age: Ages [years].
        height: Heights [m].
        aorta: Diameters of the aortic roots without error, on the mean of both sexes [mm].
        given: Channels that each was seen in, joined; empty of a model of one channel.

    Example:
        >>> PatientRows.__dataclass_fields__["age"].type
        "Float[np.ndarray, ' N']"
    """

    context: Float[np.ndarray, "N context"]
    theta: Float[np.ndarray, "N D"]
    age: Float[np.ndarray, " N"]
    height: Float[np.ndarray, " N"]
    aorta: Float[np.ndarray, " N"]
    given: np.ndarray = field(default_factory=lambda: np.zeros(0, "<U1"))


def find_patient_recipe(name: str) -> PatientRecipe | None:
    r"""A recipe by the name of a shipped one, or None.

    Arguments:
        name: Name of the recipe.

    Example:
        >>> find_patient_recipe("radial-abp") is None
        True
    """
    path = _HOME / f"{name}.toml"
    if Path(name).name != name or not path.is_file():
        return None
    return PatientRecipe(**tomllib.loads(path.read_text(encoding="utf-8")))


def produce_patient(
    recipe: PatientRecipe, out: Path, work: Path, *, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    r"""Simulates, trains and measures a patient layer beside a copy of its window model; goes on after a kill.

    Arguments:
        recipe: The recipe.
        out: Folder of the bundle to write.
        work: Folder of simulated rows.
        tell: Told what goes on.

    Returns:
        What was measured, by what was known.

    Example:
        >>> produce_patient.__annotations__["out"]
        'Path'
    """
    torch.set_num_threads(1)
    folder = find_bundle(recipe.base)
    bundle, window = Bundle.load(folder), find_recipe(recipe.base)
    refuse_calibrated(folder)
    rows = make_patient_rows(bundle, window, work / "rows", recipe.rows, tell)
    test = {k: v for k, v in recipe.test.items() if k != "draws"}
    held_out = make_patient_rows(bundle, window, work / "test", test, tell)
    config = PatientTraining(**recipe.train)
    heads, history = train_heads(bundle, rows, config, tell=tell)
    measured = measure_patient(bundle, heads, held_out, draws=recipe.test.get("draws", 1000))
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.resolve().parent != out.resolve():
            shutil.copyfile(path, out / path.name)
    training = {"rows": dict(recipe.rows), "test": dict(recipe.test), **asdict(config), "history": history}
    save_patient(PatientLayer(heads, measured, training), out)
    return measured


def make_patient_rows(
    bundle: Bundle,
    recipe: Recipe,
    folder: Path,
    settings: Mapping[str, Any],
    tell: Callable[[str], None],
) -> PatientRows:
    r"""Simulates windows of patients as the window model sees them, or goes on with a folder of them.

    They come in parts that are files with a seed of their own, under names that hold what they depend on. Those of the
    fast simulator are read without the window model's adapter, those of the better one with it.

    Arguments:
        bundle: The window model.
        recipe: Its recipe.
        folder: Where the parts are kept.
        settings: Number ``n``, ``seed``, rows a ``part`` and ``model``, the simulator; the recipe's first where none.
        tell: Told of every part.

    Raises:
        ValueError: If the recipe has no such simulator, or the window model lacks the adapter for it.

    Example:
        >>> make_patient_rows.__annotations__["return"]
        'PatientRows'
    """
    folder.mkdir(parents=True, exist_ok=True)
    n, part, parts = settings["n"], settings.get("part", 4096), []
    model = settings.get("model", "")
    key = _key(bundle, recipe, model, settings["seed"])
    for number in range(-(-n // part)):
        rows = min(part, n - number * part)
        path = folder / f"part-{number:05d}-{rows}-{key}.npz"
        if not _is_whole(path):
            made = _part(bundle, recipe, model, rows, settings["seed"] * 1_000_003 + number)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as stream:
                np.savez(stream, **made)  # type: ignore[arg-type]
            os.replace(partial, path)
            tell(f"{folder.name}: {min(n, (number + 1) * part)} windows simulated")
        parts.append(np.load(path, allow_pickle=False))
    return PatientRows(**{name: np.concatenate([one[name] for one in parts]) for name in _FIELDS})


def _world(bundle: Bundle, recipe: Recipe, model: str) -> tuple[NPE, Simulate]:
    """What reads a simulator's waves, and how it is asked for them."""
    finer = recipe.finer
    if finer is None or model != finer.simulate.model:
        if model not in ("", recipe.simulate.model):
            names = [recipe.simulate.model, *([finer.simulate.model] if finer else [])]
            raise ValueError(f"model must be one of {', '.join(names)}, got {model!r}: leave it out for the first")
        return bundle.npe.without_adapter(), recipe.simulate
    if finer.adapter and not bundle.npe.config.embedding.adapter:
        raise ValueError(f"{bundle.name} has no adapter for waves of {model!r}: use the bundle as it was trained")
    return bundle.npe, finer.simulate


def _key(bundle: Bundle, recipe: Recipe, model: str, seed: int) -> str:
    """What rows depend on: the window model's embedding, the simulator and the sensors, and the seed."""
    npe, world = _world(bundle, recipe, model)
    state = npe.embedding.state_dict()
    weights = hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()
    told = [weights, asdict(world), bundle.training.get("sensor"), seed]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:10]


def _is_whole(path: Path) -> bool:
    """Whether a part is there with all that is learned from; those of earlier versions hold no diameters."""
    if not path.is_file():
        return False
    with np.load(path, allow_pickle=False) as part:
        return set(_FIELDS) <= set(part.files)


def _part(bundle: Bundle, recipe: Recipe, model: str, n: int, seed: int) -> dict[str, np.ndarray]:
    """Adults of the population, their waves through a sensor of their own, and the window model's context."""
    from ...simulators.channels import any_sensor_from_json
    from ...simulators.registry import build
    from ...simulators.status import usable

    npe, world = _world(bundle, recipe, model)
    diameters = list(dict.fromkeys([*world.config.get("diameters", ()), _ROOT_SITE]))
    simulator = build(world.model, **{**world.config, "diameters": diameters})
    rng, step = np.random.default_rng([seed, 7]), world.batch_size
    theta = simulator.space.sample(rng, n)
    made = [simulator.simulate(theta[i : i + step], seed + i) for i in range(0, n, step)]
    sites = list(world.config["sites"])
    place: Any = [sites.index(c.site) for c in recipe.channels] or sites.index(recipe.site)
    waves = np.concatenate([np.asarray(part.waves)[:, place] for part in made])
    columns = dict(zip(simulator.space.names, theta.T, strict=True))
    quantities = np.concatenate([np.asarray(part.quantities) for part in made])
    columns |= dict(zip(simulator.quantity_names, quantities.T, strict=True))
    outputs = bundle.outputs.encode(columns)
    good = usable(np.concatenate([np.asarray(part.status) for part in made]))
    good = good & np.isfinite(outputs).all(1) & bundle.outputs.space.contains(outputs)
    fs, samples = bundle.contract.fs, bundle.contract.samples
    seen = any_sensor_from_json(bundle.training.get("sensor", {})).apply(waves[good], rng, fs=fs, out_samples=samples)
    several = bundle.contract.several
    with torch.no_grad():
        context = [npe.embedding(torch.from_numpy(seen[i : i + 512])).numpy() for i in range(0, len(seen), 512)]
    return {
        "context": np.concatenate(context),
        "theta": outputs[good],
        "age": np.asarray(columns["age"])[good],
        "height": np.asarray(columns["height"])[good],
        "aorta": measured_root(np.asarray(columns[f"D_{_ROOT_SITE}"])[good]),
        "given": np.array([joined(bundle.contract.given(x)) for x in seen] if several else [], dtype=np.str_),
    }


def train_heads(
    bundle: Bundle, rows: PatientRows, config: PatientTraining, *, tell: Callable[[str], None] = lambda _: None
) -> tuple[PatientHeads, list[float]]:
    r"""Trains the likelihoods; the last sixteenth of the rows is held out.

    Arguments:
        bundle: The window model.
        rows: Simulated windows.
        config: Settings.
        tell: Told of every epoch.

    Returns:
        The likelihoods, and the held-out loss of each epoch [nats].

    Example:
        >>> train_heads.__annotations__["rows"]
        'PatientRows'
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    heads = PatientHeads(bundle.outputs.space.dim, rows.context.shape[1])
    z, context = standardised(bundle.npe, rows.theta), torch.from_numpy(rows.context)
    given = torch.cat((z, context), dim=1)
    told = persons(np.stack([rows.age, rows.height, rows.aorta], axis=-1), np.random.default_rng([config.seed, 1]))
    kept = len(z) - max(1, len(z) // 16)
    batch = min(config.batch, kept)
    steps, history = config.epochs * (kept // batch), []
    optimiser = torch.optim.AdamW(heads.parameters(), lr=config.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for epoch in range(config.epochs):
        order = torch.from_numpy(rng.permutation(kept))
        for i in range(kept // batch):
            at = order[i * batch : (i + 1) * batch]
            loss = heads.loss(given[at], told[at], torch.rand(len(at), 3) < KNOWN_SHARE)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            history.append(round(float(heads.held_out_loss(given[kept:], told[kept:])), 4))
        tell(f"epoch {epoch + 1}: held-out loss {history[-1]:.4f}")
    return heads.eval(), history


@torch.no_grad()
def measure_patient(
    bundle: Bundle, heads: PatientHeads, rows: PatientRows, *, draws: int = 1000, seed: int = 5
) -> dict[str, Any]:
    r"""What knowing a patient is worth on held-out simulations, and whether intervals hold what they promise.

    Arguments:
        bundle: The window model.
        heads: The likelihoods.
        rows: Held-out windows.
        draws: Draws a window.
        seed: Seed of draws, sexes, weights and errors of diameters.

    Returns:
        By what is known, joined by ``+``, and empty of the windows alone: ``n`` windows, ``coverage`` by level and
        quantity, ``spread``, the root mean posterior variance over that of the window alone, by quantity (of the
        logarithm where positive), ``interval``, the median width of 90 % intervals, ``effective``, the mean effective
        share of draws, ``refused``, the share of windows that do not go with their patient, and ``standard_error`` of
        spread and effective share; of several channels the same by those given, under ``given``.

    Example:
        >>> measure_patient.__annotations__["rows"]
        'PatientRows'
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    male, weight = draw_sex_and_weight(rows.height, rng)
    aorta, error = draw_measured(root_of_sex(rows.aorta, male), rng)
    outputs, space = bundle.outputs, bundle.outputs.space
    truth = outputs.derive(rows.theta.astype(np.float32))
    found: dict[str, list[dict[str, Any]]] = {known: [] for known in ("", *KNOWN)}
    for i in range(len(rows.age)):
        context = torch.from_numpy(rows.context[i])
        z = invert_flow(bundle.npe.flow, context, torch.randn(draws, space.dim, generator=generator))
        theta = space.constrain((z * bundle.npe.z_sd + bundle.npe.z_mean).double().numpy())
        values = outputs.derive(theta.astype(np.float32))
        whole = {
            "age": float(rows.age[i]), "sex": "m" if male[i] else "f", "height": float(rows.height[i]),
            "weight": float(weight[i]), "aorta": float(aorta[i]),
        }  # fmt: skip
        patients = [part_of(whole, known, float(error[i])) for known in found]
        held = {name: float(column[i]) for name, column in truth.items()}
        logs = heads.log_weights_each(patients, z, context)
        for row, scores in zip(found.values(), _scored(logs, values, held, outputs.floors), strict=True):
            row.append(scores)
    sets = {name: np.flatnonzero(rows.given == name) for name in np.unique(rows.given)}
    measured = {known: _summary(row, found[""]) for known, row in found.items()}
    for known in found if sets else ():
        parts = {name: ([found[known][i] for i in at], [found[""][i] for i in at]) for name, at in sets.items()}
        measured[known]["given"] = {str(name): _summary(*part) for name, part in parts.items()}
    return measured


def part_of(whole: Mapping[str, Any], known: str, error: float) -> Patient:
    r"""A patient of whom only a part is known.

    Arguments:
        whole: All that could be.
        known: What is, joined by ``+``.
        error: Error with which the aortic root was measured [mm].

    Example:
        >>> part_of({"age": 60.0, "sex": "f", "aorta": 33.0}, "age+aorta", 1.0).text
        'age 60 years, aortic root 33+-1 mm'
    """
    return Patient(**{name: whole[name] for name in known.split("+") if name}, aorta_error=error)


def _scored(
    logs: Sequence[Float[np.ndarray, " N"]],
    values: Mapping[str, Float[np.ndarray, " N"]],
    truth: Mapping[str, float],
    floors: Mapping[str, float],
) -> list[dict[str, Any]]:
    """By log weights: ranks of truths, weighted variances and 90 % widths, and the effective share of the draws."""
    names, columns = list(values), np.stack([column.astype(np.float64) for column in values.values()])
    floor = np.array([[floors[name]] for name in names])
    scaled = np.where(floor > 0, np.log(np.maximum(columns, np.where(floor > 0, floor, 1.0))), columns)
    below = columns < np.array([[truth[name]] for name in names])
    order = np.argsort(columns, axis=1)
    ordered, row = np.take_along_axis(columns, order, axis=1), np.arange(len(names))
    scores = []
    for log in logs:
        w = np.exp(log - log.max())
        w /= w.sum()
        variances = (scaled - (scaled @ w)[:, None]) ** 2 @ w
        mass = np.cumsum(w[order], axis=1)
        low, high = ((mass < end).sum(1).clip(max=len(w) - 1) for end in (0.05, 0.95))
        found = {"rank": below @ w, "variance": variances, "width": ordered[row, high] - ordered[row, low]}
        named = {key: dict(zip(names, column.tolist(), strict=True)) for key, column in found.items()}
        scores.append({**named, "effective": float(1.0 / (np.square(w).sum() * len(w)))})
    return scores


def _summary(rows: list[dict[str, Any]], alone: list[dict[str, Any]]) -> dict[str, Any]:
    n, names = len(rows), list(rows[0]["rank"])
    ranks = {name: np.array([row["rank"][name] for row in rows]) for name in names}
    spread = {
        name: float(
            np.sqrt(np.mean([r["variance"][name] for r in rows]) / np.mean([r["variance"][name] for r in alone]))
        )
        for name in names
    }
    effective = np.array([row["effective"] for row in rows])
    error = {
        name: _ratio_error([r["variance"][name] for r in rows], [r["variance"][name] for r in alone]) for name in names
    }
    coverage = {f"{level:g}": {k: _share(np.abs(r - 0.5) < 0.5 * level) for k, r in ranks.items()} for level in LEVELS}
    return {
        "n": n,
        "coverage": coverage,
        "spread": {name: round(value, 3) for name, value in spread.items()},
        "interval": {name: float(f"{np.median([row['width'][name] for row in rows]):.4g}") for name in names},
        "effective": round(float(effective.mean()), 3),
        "refused": _share(effective < LEAST_EFFECTIVE),
        "standard_error": {"spread": error, "effective": float(f"{effective.std() / np.sqrt(n):.3g}")},
    }


def _ratio_error(above: Sequence[float], below: Sequence[float]) -> float:
    """Standard error of the root of a ratio of means, over windows."""
    a, b = np.array(above), np.array(below)
    root = np.sqrt(a.mean() / b.mean())
    return float(f"{0.5 / root * (a - root**2 * b).std() / b.mean() / np.sqrt(len(a)):.3g}")


def _share(hits: np.ndarray) -> float:
    return round(float(np.mean(hits)), 4)
