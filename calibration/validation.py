r"""Validation of a bundle on held-out simulations: everything that is measured, and what a bundle keeps of it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ..inference.bundle import Bundle
from ..inference.recipe import Recipe
from ..simulators.training_set import TrainingSet
from .channel_measures import groups_of
from .diagnostics.intervals import level_coverage, shortest_coverage
from .diagnostics.shrinkage import recovery, z_scores
from .diagnostics.verdict import LEVELS, Judgement, Samples, judge
from .evaluate import CURVE, measure_draws
from .faults import sensitivity
from .predictive_checks import predictive_check
from .produce import Held, read_rows
from .scores import acauc, lpp

__all__ = ["HeldOut", "draw_samples", "read_held_out", "save_validated", "simulate_held_out", "validate"]

_SECTION = "## Validated"
_DENSE = 128
"""Draws of each window whose density is taken."""


@dataclass(frozen=True)
class HeldOut:
    r"""Windows that a model is validated on.

    Arguments:
        x: Windows.
        theta: Outputs that were simulated, each in its unit.
        columns: All parameters and quantities that were simulated.
        source: Fingerprint of the set, or what was simulated.

    Example:
        >>> HeldOut(np.zeros((2, 5)), np.zeros((2, 1)), {}, "none").n
        2
    """

    x: Float[np.ndarray, "N *window"]
    theta: Float[np.ndarray, "N D"]
    columns: Mapping[str, Float[np.ndarray, " N"]]
    source: str

    @property
    def n(self) -> int:
        r"""Windows."""
        return len(self.x)


def recipe_of(bundle: Bundle) -> Recipe:
    r"""The recipe a bundle was trained by.

    Arguments:
        bundle: The bundle.

    Raises:
        ValueError: If it does not say.

    Example:
        >>> from pulsebayes.inference.bundle import find_bundle
        >>> recipe_of(Bundle.load(find_bundle("radial-abp"))).site
        'Radial'
    """
    fields = bundle.training.get("recipe")
    if not fields:
        raise ValueError(f"bundle {bundle.name} does not say by which recipe it was trained: train it again")
    return Recipe.from_json(fields)


def read_held_out(bundle: Bundle, found: TrainingSet, *, n: int, seed: int = 0) -> HeldOut:
    r"""Observes the first usable rows of a set; warns where another simulator made it than taught the model last.

    Arguments:
        bundle: The model.
        found: The set; not the one the model was trained on.
        n: Most windows.
        seed: Seed of the sensors.

    Raises:
        ValueError: If the model was trained on the set, or the set does not fit the model.

    Example:
        >>> read_held_out(bundle, TrainingSet.open("test.zarr"), n=2000).n  # doctest: +SKIP
        2000
    """
    finer = bundle.training.get("finer") or {}
    if found.fingerprint in (bundle.training.get("fingerprint"), finer.get("fingerprint")):
        raise ValueError(f"{bundle.name} was trained on this set: validate it on one of another seed")
    made_by, taught_by = found.attributes["simulator"], _taught_by(bundle)
    if taught_by and made_by != taught_by:
        told = f"{found.path.name} was made by {made_by}, {bundle.name} learned last from {taught_by}"
        warnings.warn(f"{told}: what is found holds for {made_by}", stacklevel=2)
    recipe = recipe_of(bundle)
    data = read_rows(Held(found, 0, found.n), recipe)
    keep = np.flatnonzero(data.usable(bundle.outputs)[0])[:n]
    waves = data.source.rows(0, int(keep[-1]) + 1 if len(keep) else 0)[keep]
    rng = np.random.default_rng([seed, 2])
    x = data.sensor.apply(waves, rng, fs=recipe.fs, out_samples=recipe.samples)
    theta = bundle.outputs.encode(data.columns)[keep]
    return HeldOut(x, theta, {k: v[keep] for k, v in data.columns.items()}, found.fingerprint)


def _taught_by(bundle: Bundle) -> str:
    """The simulator that taught a model last; the first where its adapter was taken away."""
    finer = bundle.training.get("finer") or {}
    adapted = ((bundle.training.get("recipe") or {}).get("finer") or {}).get("adapter")
    whole = not adapted or bundle.npe.config.embedding.adapter
    return str((finer if finer and whole else bundle.training).get("simulator") or "")


def simulate_held_out(
    bundle: Bundle, n: int, *, seed: int = 0, progress: Callable[[int], None] = lambda _: None
) -> HeldOut:
    r"""Simulates windows as the model's training set was, with another seed; of two simulators by the better one.

    Arguments:
        bundle: The model.
        n: Windows.
        seed: Seed.
        progress: Called with the number of windows done.

    Raises:
        ValueError: If the bundle does not say what it was trained on.

    Example:
        >>> simulate_held_out(bundle, 2000).n  # doctest: +SKIP
        2000
    """
    from .rope.bundles import simulate_bank

    made_by = dataclasses.replace(bundle, training={**bundle.training, **(bundle.training.get("finer") or {})})
    bank = simulate_bank(made_by, n, seed=seed + 104_729, progress=progress)
    theta = bundle.outputs.encode(bank.columns)
    keep = np.isfinite(theta).all(1) & bundle.outputs.space.contains(theta)
    columns = {name: np.asarray(column)[keep] for name, column in bank.columns.items()}
    return HeldOut(bank.x[keep], theta[keep], columns, f"simulated, seed {seed}")


def draw_samples(
    bundle: Bundle,
    held: HeldOut,
    *,
    n_draws: int = 1000,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[Samples, Float[np.ndarray, " N"]]:
    r"""Draws the posterior of every window, with densities and latents.

    Arguments:
        bundle: The model.
        held: Windows and truth.
        n_draws: Draws a window.
        seed: Seed of the draws.
        progress: Called with the number of windows done.

    Returns:
        The samples, and the log density of each truth in the outputs' units.

    Example:
        >>> samples, log_p = draw_samples(bundle, held)  # doctest: +SKIP
    """
    npe, space = bundle.npe, bundle.outputs.space
    generator = torch.Generator().manual_seed(seed)
    mean, sd = npe.z_mean.double().numpy(), npe.z_sd.double().numpy()
    parts: dict[str, list[np.ndarray]] = {k: [] for k in ("theta", "z", "log_draws", "log_truth", "latent", "context")}
    z_truth = space.unconstrain(held.theta)
    unit_truth = (z_truth - mean) / sd
    for start in range(0, held.n, 100):
        rows = slice(start, start + 100)
        x = torch.from_numpy(np.asarray(held.x[rows], np.float32))
        theta = npe.sample(x, n_draws, generator)
        some = theta[:, : min(_DENSE, n_draws)]
        finite = np.isfinite(some).all(-1, keepdims=True)
        unit = np.where(finite, (space.unconstrain(np.where(finite, some, held.theta[rows, None])) - mean) / sd, np.nan)
        with torch.no_grad():
            context = npe.embedding(x)
            at_draws = npe.flow(context[:, None].expand(-1, unit.shape[1], -1))
            at_truth, true = npe.flow(context), torch.from_numpy(unit_truth[rows]).float()
            log_draws = at_draws.log_prob(torch.from_numpy(np.nan_to_num(unit)).float())
            found = (theta, unit, log_draws, at_truth.log_prob(true), at_truth.transform(true), context)
        for name, values in zip(parts, found, strict=True):
            parts[name].append(np.asarray(values))
        progress(min(start + 100, held.n))
    done = {name: np.concatenate(values) for name, values in parts.items()}
    log_p = done["log_truth"].astype(float) - float(np.log(sd).sum()) - space.log_abs_det_jacobian(z_truth)
    names = tuple(bundle.outputs.reported)
    draws, truth = bundle.outputs.derive(done.pop("theta")), bundle.outputs.derive(held.theta)
    return Samples(names, draws, truth, bundle.outputs.names, z_truth=unit_truth, **done), log_p


def validate(
    bundle: Bundle,
    held: HeldOut,
    *,
    n_draws: int = 1000,
    seed: int = 0,
    n_faults: int = 100,
    n_predictive: int = 48,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Bundle, Judgement]:
    r"""Measures everything on held-out windows.

    Arguments:
        bundle: The model.
        held: Windows and truth.
        n_draws: Draws a window.
        seed: Seed of draws and tests.
        n_faults: Windows that every fault is put on; 0 for none.
        n_predictive: Windows of the posterior-predictive check; 0 for none.
        progress: Called with what is being done.

    Returns:
        The bundle with the new numbers and card, weights unchanged; and the judgement.

    Raises:
        ValueError: If there are too few windows or the bundle does not say what it was trained on.

    Example:
        >>> better, judgement = validate(bundle, simulate_held_out(bundle, 2000))  # doctest: +SKIP
    """
    samples, log_p = draw_samples(
        bundle, held, n_draws=n_draws, seed=seed, progress=lambda n: progress(f"{n} of {held.n} windows")
    )
    progress("tests")
    judgement = judge(samples, groups_of(bundle.contract, held.columns, held.x), seed=seed)
    good = samples.good()
    kept = samples if good.all() else samples.rows(good)
    measured = measure_draws(bundle.outputs, dict(kept.draws), held.theta[good], bundle.prior, keep=True)
    found: dict[str, Any] = {"draws": n_draws, "seed": seed, "source": held.source, **_judged(judgement)}
    found |= _described(bundle, kept) | {"lpp": _finite(dataclasses.asdict(lpp(log_p[good])))}
    if n_predictive:
        progress("posterior-predictive check")
        found["predictive"] = predictive_check(
            bundle, held.x[good], _some_draws(bundle, kept, n_predictive), n=n_predictive, seed=seed
        )
    if n_faults:
        found["faults"] = sensitivity(
            bundle, held.x, samples.truth, n=n_faults, seed=seed, progress=lambda name: progress(f"fault: {name}")
        )
    measured |= {"validation": found, "not_calibrated": judgement.not_calibrated()}
    better = dataclasses.replace(
        bundle, measured={**bundle.measured, **measured}, card=_with_section(bundle, judgement)
    )
    return better, judgement


def save_validated(bundle: Bundle, source: Path, out: Path, *, force: bool = False) -> None:
    r"""Writes a validated bundle with the calibration layers of the one it came from.

    Arguments:
        bundle: The bundle with its new numbers.
        source: Folder of the bundle that was validated.
        out: Folder to write.
        force: Whether files there are replaced.

    Raises:
        FileExistsError: If ``out`` holds files and ``force`` is not given.
        BundleError: If a layer cannot be used.

    Example:
        >>> save_validated(better, Path("mine"), Path("validated"))  # doctest: +SKIP
    """
    from .load import load_calibrated

    layers = load_calibrated(source)
    half = any(value.dtype == np.float16 for value in _stored(source).values())
    bundle.save(out, half=half, force=force)
    for name in (
        "rope.json",
        "rope.safetensors",
        "conformal.json",
        "conformal.safetensors",
        "pooling.json",
        "pooling.safetensors",
        "pooling.md",
        "patient.json",
        "patient.safetensors",
        "patient.md",
    ):
        (out / name).unlink(missing_ok=True)
    if layers.pooling is not None:
        from ..inference.pooling.layer import save_pooling

        save_pooling(layers.pooling, out)
    if layers.patient is not None:
        from ..inference.patient.layer import save_patient

        save_patient(layers.patient, out)
    if layers.rope is not None:  # bound to a bundle.json that names the layers above
        from .rope.layer import save_rope

        save_rope(layers.rope, out)
    if layers.conformal is not None:
        from .conformal.layer import save_layer

        save_layer(layers.conformal, out)


def _with_section(bundle: Bundle, judgement: Judgement) -> str:
    """The card with what the validation found; an older validation is replaced, nothing else changes."""
    head, _, rest = bundle.card.partition(_SECTION)
    after = rest.partition("\n## ")
    kept = head.rstrip() + ("\n\n## " + after[2].rstrip() if after[1] else "")
    said = "SBC and TARP pass and all coverages hold" if judgement.passes() else "Not every target is met"
    lines = [f"{_SECTION} on {judgement.n} held-out simulations\n", f"{said} (`validation.html` has everything)."]
    lines += [f"- {name} is not calibrated: {why}." for name, why in judgement.not_calibrated().items()]
    lines += [f"- {f.name} finds a fault in {f.of} (corrected p = {f.holm:.2g})." for f in judgement.tripped()]
    return kept + "\n\n" + "\n".join(lines) + "\n"


def _stored(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return dict(load_file(folder / "weights.safetensors"))


def _some_draws(bundle: Bundle, kept: Samples, n: int) -> dict[str, np.ndarray]:
    """The first draws of every quantity and every estimated output of some windows."""
    mean, sd = bundle.npe.z_mean.double().numpy(), bundle.npe.z_sd.double().numpy()
    theta = bundle.outputs.space.constrain(kept.z[:n] * sd + mean)
    own = {name: theta[..., d] for d, name in enumerate(bundle.outputs.names)}
    return {**{name: values[:n, : kept.z.shape[1]] for name, values in kept.draws.items()}, **own}


def _judged(judgement: Judgement) -> dict[str, Any]:
    band, curves = judgement.curves["band"], judgement.curves
    names = list(judgement.groups[0]["coverage"]["0.5"])
    joint = {"tarp": level_coverage(curves["tarp"], CURVE)}
    if "density" in curves:
        joint["density"] = level_coverage(curves["density"], CURVE)
    local = curves.get("local")
    return {
        "n": judgement.n,
        "lost": judgement.lost,
        "alpha": 0.01,
        "passes": judgement.passes(),
        "tests": [
            {"name": f.name, "of": f.of, "statistic": _digits(f.statistic), "p": _digits(f.p), "holm": _digits(f.holm)}
            for f in judgement.findings
        ],
        "groups": [dict(row) for row in judgement.groups],
        "misses": [dataclasses.asdict(miss) for miss in judgement.misses],
        "misses_by_chance": _digits(judgement.chance),
        "ecdf": {
            "grid": band.grid.round(4).tolist(), "low": band.low.round(5).tolist(), "high": band.high.round(5).tolist(),
            "values": {name: band.values[:, i].round(5).tolist() for i, name in enumerate(names)},
        },
        "joint": {key: {f"{a:g}": _digits(c) for a, c in zip(CURVE, row, strict=True)} for key, row in joint.items()},
        "acauc_density": _digits(curves["density"].mean() - 0.5) if "density" in curves else None,
        "local_share": None if local is None else _digits(float((local.local_p < 0.05).mean())),
    }  # fmt: skip


def _described(bundle: Bundle, kept: Samples) -> dict[str, Any]:
    """Highest-density coverage, ACAUC, z-scores and recovery, one quantity at a time."""
    floors, log_scaled = bundle.outputs.floors, bundle.outputs.log_scaled
    rows: dict[str, Any] = {
        "shortest": {f"{level:g}": {} for level in LEVELS},
        "acauc": {},
        "z_score": {},
        "recovery": {},
    }
    for name in kept.names:
        draws, true = kept.draws[name][..., None], kept.truth[name][:, None]
        for level, share in zip(LEVELS, shortest_coverage(draws, true, LEVELS)[:, 0], strict=True):
            rows["shortest"][f"{level:g}"][name] = _digits(share)
        rows["acauc"][name] = _digits(acauc(draws, true)[0])
        log = np.array([log_scaled[name]])
        draws, true = np.maximum(draws, floors[name]), np.maximum(true, floors[name])
        z = z_scores(draws, true, log)
        rows["z_score"][name] = {"mean": _digits(z.mean()), "sd": _digits(z.std())}
        found = recovery(draws, true, log)
        rows["recovery"][name] = {"correlation": _digits(found.correlation[0]), "slope": _digits(found.slope[0])}
    return rows


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _digits(value) if np.isfinite(value) else None for name, value in values.items()}


def _digits(value: float | np.floating[Any]) -> float:
    return float(f"{float(value):.6g}")
