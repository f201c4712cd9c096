r"""Learning from real labels: candidates judged by subject-wise cross-validation, the best refitted on all subjects.

A candidate is kept only where it predicts the readings of subjects it has not seen better than the base model by more
than the gain's standard error, and its intervals cover them no worse. Where none does, the base model stays as it is:
that is an answer too. Conformal regions are laid over the result where conformal intervals were better on the same
subjects and their promise can be kept: over the base model, whose weights saw none of these subjects, or cross-fitted
with RoPE.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ...inference.bundle import Bundle
from ...inference.card import render_card
from ...waveforms.cohort_table import CohortTable
from ...waveforms.vitaldb.tracks import MONITORS
from ..conformal.bundles import calibrate_bundle
from ..conformal.cross_bundles import cross_bundle
from ..conformal.layer import ConformalLayer, save_layer
from ..conformal.order import fewest
from ..evaluate import measure
from ..pairs import Pairs, hash_subject
from ..rope.bundles import Bank, calibrate_rope
from ..rope.checks import labelled_pairs
from ..rope.layer import RoPELayer, save_rope
from ..rope.selection import folds_by_group
from .crossval import CANDIDATES, Learner, cross_validate, rope_config
from .fit import HybridConfig
from .judging import ALPHA, BASE, Sitting, choose, compare
from .readings import FLOWS, Readings
from .telling import with_section

__all__ = ["FEWEST", "Learned", "LearnPlan", "learn", "reference_errors", "save_learned", "thin_evenly"]

FEWEST = 6
"""Fewest subjects: folds of one, and five others to learn from."""
UNKNOWN_ERROR = 0.1
"""Error of a reference whose device is not known, as a share."""
HELD_SHARE = 0.15
"""Share of the simulations that are only measured on."""
_NOBODY = "The training data are simulated; no patient's data were used."
_SOMEBODY = "The training data are simulated; the weights also learned from labelled windows of {} subjects."


@dataclass(frozen=True)
class LearnPlan:
    r"""How a model learns from labels.

    Arguments:
        config: How the estimator goes on learning.
        folds: Folds of subjects.
        candidates: What is tried beside the base model.
        regions: Whether conformal regions may be laid over the result.
        quantities: Quantities to learn from; where empty output and resistance, or whatever else is labelled.
        seed: Seed of folds, order and draws.

    Raises:
        ValueError: If there are fewer than two folds.

    Example:
        >>> LearnPlan().folds
        5
    """

    config: HybridConfig = field(default_factory=HybridConfig)
    folds: int = 5
    candidates: tuple[str, ...] = CANDIDATES
    regions: bool = True
    quantities: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"folds must be 2 or more, got {self.folds}")


@dataclass(frozen=True)
class Learned:
    r"""What was learned.

    Arguments:
        bundle: The model, with its new weights or its own.
        found: The table of candidates, what was chosen and why; JSON-able.
        rope: RoPE layer, where that was chosen.
        conformal: Conformal layer, where one was laid over it.

    Example:
        >>> Learned.__dataclass_fields__["rope"].default is None
        True
    """

    bundle: Bundle
    found: Mapping[str, Any]
    rope: RoPELayer | None = None
    conformal: ConformalLayer | None = None


def thin_evenly(table: CohortTable, most: int) -> CohortTable:
    r"""At most so many labelled rows of each subject, evenly over its own.

    Arguments:
        table: A cohort.
        most: Most rows of a subject.

    Example:
        >>> labels = {"CO": np.arange(9.0)}
        >>> many = CohortTable("a", ("s",) * 9, (Path("a.hea"),) * 9, np.arange(9.0), np.arange(9.0) + 8, ("",) * 9,
        ...                    ("",) * 9, labels)
        >>> thin_evenly(many, 3).labels["CO"].tolist()
        [0.0, 4.0, 8.0]
    """
    labelled = np.isfinite(np.stack(list(table.labels.values()), -1)).any(1)
    subjects, kept = np.array(table.subjects), list[int]()
    for name in dict.fromkeys(table.subjects):
        rows = np.flatnonzero((subjects == name) & labelled)
        at = np.linspace(0, max(len(rows) - 1, 0), min(most, len(rows)))
        kept += rows[np.unique(np.round(at).astype(int))].tolist()
    return table.take(sorted(kept))


def reference_errors(devices: Sequence[str], stated: float) -> Float[np.ndarray, " N"]:
    r"""Error of each row's reference, as a share.

    Arguments:
        devices: Device of each row.
        stated: What the user states for all of them; negative for what is known of each device.

    Example:
        >>> reference_errors(["Vigilance", "another", "Truth"], -1.0).tolist()
        [0.1, 0.1, 0.0]
    """
    known = [MONITORS[d].precision if d in MONITORS else UNKNOWN_ERROR for d in devices]
    return np.full(len(devices), stated) if stated >= 0 else np.array(known, dtype=np.float64)


def learn(
    bundle: Bundle,
    pairs: Pairs,
    table: CohortTable,
    bank: Bank,
    plan: LearnPlan,
    *,
    reference_error: float = -1.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Learned:
    r"""Chooses what to learn from labelled windows, and learns it.

    Arguments:
        bundle: The base model, without layers.
        pairs: Labelled windows, cut from the table.
        table: The table they were cut from.
        bank: Simulated windows with their quantities; some are kept to measure on.
        plan: Folds, candidates and training.
        reference_error: Error of the references as a share; negative for what is known of each device.
        progress: Told what is being done.

    Returns:
        The model with what was chosen.

    Raises:
        ValueError: If there are too few subjects or simulations, no label fits or one is impossible.

    Example:
        >>> learn(bundle, pairs, table, simulate_bank(bundle, 4000), LearnPlan())  # doctest: +SKIP
    """
    pairs = _chosen_labels(labelled_pairs(pairs, bundle.outputs, bundle.prior), plan.quantities, bundle)
    _check_subjects(pairs)
    errors = reference_errors([table.devices[i] for i in pairs.rows.tolist()], reference_error)
    readings = Readings.of(bundle.outputs, pairs.labels, errors)
    mixed, held = _split(bank)
    config = dataclasses.replace(plan.config, seed=plan.seed)
    learner = Learner(bundle, pairs, readings, mixed, config, seed=plan.seed)
    sitting = _sitting(readings, pairs, table, plan)
    rows = compare(cross_validate(learner, sitting, plan.candidates, progress=progress), sitting)
    chosen, why = choose(rows)
    found = _described(plan, pairs, table, readings, errors, mixed) | {"table": rows, "chosen": chosen, "why": why}
    found |= _one_reading(next(row for row in rows if row["candidate"] == chosen))
    if chosen != BASE:
        progress(f"fitting {chosen} on all subjects")
    if chosen == BASE or chosen == "rope":
        return _laid_over(bundle, pairs, bank, found, plan)
    npe = learner.fit(chosen, np.arange(len(pairs)))
    made = dataclasses.replace(bundle, npe=npe)
    kept = sorted({hash_subject(str(s)) for s in pairs.subjects.tolist()})
    found |= {"subjects": kept, "regions": "no regions: they need subjects that did not train the weights"}
    return Learned(_measured(made, held, found), found)


def save_learned(learned: Learned, source: Path, out: Path, *, force: bool = False) -> None:
    r"""Writes the model; layers that lie beside the base's weights are kept where the weights are.

    Arguments:
        learned: What was learned.
        source: Folder of the base model.
        out: Folder to write.
        force: Whether files there are replaced.

    Raises:
        FileExistsError: If ``out`` holds files and ``force`` is not given.

    Example:
        >>> save_learned(learned, Path("base"), Path("mine"))  # doctest: +SKIP
    """
    from safetensors.numpy import load_file

    half = any(v.dtype == np.float16 for v in load_file(source / "weights.safetensors").values())
    learned.bundle.save(out, half=half, force=force)
    for stem in ("rope", "conformal", "pooling", "patient"):
        for suffix in ("json", "safetensors"):
            (out / f"{stem}.{suffix}").unlink(missing_ok=True)
    same = (out / "weights.safetensors").read_bytes() == (source / "weights.safetensors").read_bytes()
    for stem in ("pooling", "patient") if same else ():
        for suffix in ("json", "safetensors"):
            path = source / f"{stem}.{suffix}"
            if path.is_file():
                (out / path.name).write_bytes(path.read_bytes())
    if learned.rope is not None:
        save_rope(learned.rope, out)
    if learned.conformal is not None:
        save_layer(learned.conformal, out)


def _chosen_labels(pairs: Pairs, wanted: tuple[str, ...], bundle: Bundle) -> Pairs:
    """Only the labels that are learned from; windows without any of them are left out."""
    there = [n for n in pairs.labels if n in bundle.outputs.reported and np.isfinite(pairs.labels[n]).any()]
    missing = [name for name in wanted if name not in there]
    if missing:
        raise ValueError(f"quantities must be labelled and reported, got {missing}; there are {there}")
    names = wanted or tuple(n for n in there if n in FLOWS) or tuple(there)
    kept = dataclasses.replace(pairs, labels={name: pairs.labels[name] for name in names})
    has = np.isfinite(np.stack([pairs.labels[name] for name in names])).any(0)
    return kept if has.all() else kept.take(has)


def _check_subjects(pairs: Pairs) -> None:
    if pairs.n_subjects < FEWEST:
        raise ValueError(f"learning needs labelled windows of at least {FEWEST} subjects, got {pairs.n_subjects}")


def _split(bank: Bank) -> tuple[Bank, Bank]:
    """Simulations to learn from, and others to measure on."""
    n = round((1 - HELD_SHARE) * len(bank.x))
    parts = slice(0, n), slice(n, None)
    mixed, held = (Bank(bank.x[part], {k: v[part] for k, v in bank.columns.items()}) for part in parts)
    return mixed, held


def _sitting(readings: Readings, pairs: Pairs, table: CohortTable, plan: LearnPlan) -> Sitting:
    subjects = np.unique(pairs.subjects, return_inverse=True)[1]
    files = [str(table.recordings[i]) for i in pairs.rows.tolist()]
    recordings = np.unique(files, return_inverse=True)[1]
    folds = tuple(folds_by_group(pairs.subjects, plan.folds, plan.seed))
    return Sitting(readings, subjects, recordings, pairs.start_s, folds)


def _described(
    plan: LearnPlan, pairs: Pairs, table: CohortTable, readings: Readings, errors: np.ndarray, bank: Bank
) -> dict[str, Any]:
    return {
        "cohort": table.name,
        "subjects_n": pairs.n_subjects,
        "windows": len(pairs),
        "quantities": list(readings.names),
        "reference_error": float(f"{np.median(errors):.4g}"),
        "simulations": len(bank.x),
        "folds": plan.folds,
        "config": dataclasses.asdict(plan.config) | {"seed": plan.seed},
        "subjects": [],
    }


def _one_reading(row: Mapping[str, Any]) -> dict[str, Any]:
    """Whether one reading of a subject pays, on the chosen candidate."""
    one = row["one_reading"]
    pays = one["gain"] > one["gain_se"]
    word = "predicts later ones better" if pays else "does not predict later ones better beyond doubt"
    text = f"one reading of a subject {word} ({one['gain']:+.3f} nats, standard error {one['gain_se']:.3f})"
    return {"one_reading": {"pays": bool(pays), "why": text}}


def _laid_over(bundle: Bundle, pairs: Pairs, bank: Bank, found: dict[str, Any], plan: LearnPlan) -> Learned:
    """The base's weights with a RoPE layer where that was chosen, and regions where they were better."""
    row = next(one for one in found["table"] if one["candidate"] == found["chosen"])
    wanted, why = _regions_wanted(row, plan)
    rope = conformal = None
    try:
        if wanted and found["chosen"] == "rope":
            rope, conformal = cross_bundle(bundle, pairs, lambda: bank, folds=plan.folds, alpha=ALPHA, seed=plan.seed)
        elif wanted:
            conformal = calibrate_bundle(bundle, pairs, alpha=ALPHA, seed=plan.seed)
    except ValueError as error:
        why = f"no regions: {error}"
    if found["chosen"] == "rope" and rope is None:
        rope = calibrate_rope(bundle, pairs, bank, config=rope_config(pairs.n_subjects), seed=plan.seed)
    found |= {"regions": why}
    return Learned(_carded(bundle, found, bundle.card), found, rope, conformal)


def _regions_wanted(row: Mapping[str, Any], plan: LearnPlan) -> tuple[bool, str]:
    own = row["conformal"]
    if not plan.regions:
        return False, "no regions: not asked for"
    if own is None:
        return False, f"no regions: {1 - ALPHA:.0%} needs {fewest(ALPHA)} subjects or more in all but one fold"
    better = own["gain"] > own["gain_se"]
    missed = abs(row["coverage"] - (1 - ALPHA)) > 2 * row["coverage_se"]
    said = (
        f"conformal intervals hold {100 * own['coverage']:.0f} % of readings of unseen subjects (credible "
        f"{100 * row['coverage']:.0f} %), interval score better by {own['gain']:+.3f} (standard error "
        f"{own['gain_se']:.3f})"
    )
    if better or (missed and own["gain"] >= 0):
        return True, f"regions added: {said}"
    return False, f"no regions: {said}"


def _measured(bundle: Bundle, held: Bank, found: Mapping[str, Any]) -> Bundle:
    """The model measured anew on simulations that no step saw."""
    theta = bundle.outputs.encode(held.columns)
    good = bundle.outputs.space.contains(theta)
    npe = bundle.npe.without_adapter()  # they are of the fast simulator
    measured = measure(npe, held.x[good], theta[good], bundle.prior, n_draws=500, seed=0)
    rest = {k: v for k, v in bundle.measured.items() if k == "refused"}
    made = dataclasses.replace(bundle, measured={**measured, **rest})
    title = str(bundle.training.get("recipe", {}).get("title", ""))
    card = render_card(made.name, title, made.contract, made.training, made.measured, made.outputs.reported)
    return _carded(made, found, card.replace(_NOBODY, _SOMEBODY.format(found["subjects_n"])))


def _carded(bundle: Bundle, found: Mapping[str, Any], card: str) -> Bundle:
    """The model with what was learned on its card; an older table is replaced."""
    training = {**bundle.training, "hybrid": dict(found)}
    return dataclasses.replace(bundle, training=training, card=with_section(card, found))
