r"""One small set of patients for RoPE and for the limit: both cross-fitted, with the promise that is left stated.

Patients with an answered window and every label are dealt into folds of one size. RoPE is fitted without each fold,
and the fold's windows are scored under that fit; the region of a new window is made from all folds' posteriors (see
``CrossScore``). The score itself is fitted on simulations, RoPE's settings are fixed beforehand, and which marginals
are the estimator's is decided in each fold from the patients it was fitted on: so nothing of a held-out patient is in
what scores it, and the promise is that of ``cross_promise``. The RoPE layer beside it, from which credible intervals
come, is fitted on all patients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from ...inference.answer import Answer
from ...inference.bundle import Bundle
from ..pairs import Pairs, hash_subject
from ..rope.bundles import Bank
from ..rope.checks import labelled_pairs
from ..rope.crossfit import cross_rope, references_without
from ..rope.encoder import TuneConfig
from ..rope.folds import FoldFit, region_draws
from ..rope.layer import RoPELayer
from .bundles import N_DRAWS, Fitter, answerer, conformal_sets, gather
from .cross import cross_promise
from .crossfit import HeldOut, equal_folds, wanted_mass
from .layer import ConformalLayer, ConformalSet
from .order import fewest

__all__ = ["cross_bundle"]

Draws = Mapping[str, np.ndarray]


def cross_bundle(
    bundle: Bundle,
    pairs: Pairs,
    bank: Callable[[], Bank],
    *,
    folds: int = 5,
    alpha: float = 0.1,
    score: str = "otcp",
    wanted: Sequence[Sequence[str]] = (),
    unlabelled: Pairs | None = None,
    tuning: TuneConfig | None = None,
    n_components: int = 1000,
    simulations: int = 384,
    seed: int = 0,
) -> tuple[RoPELayer, ConformalLayer]:
    r"""Fits RoPE and the limit on the same patients.

    Arguments:
        bundle: The bundle, without layers.
        pairs: Labelled windows of real patients.
        bank: Makes fresh simulations for RoPE; called once the patients are found to suffice.
        folds: Folds of patients; RoPE is fitted once more than that.
        alpha: Nominal share of new patients whose window may be missed.
        score: Name of the score, one of ``SCORES``.
        wanted: Joint sets; the default ones that the pairs label where empty.
        unlabelled: More windows without labels for RoPE.
        tuning: How the embedding is tuned.
        n_components: Most simulations that become components.
        simulations: Simulations the score is fitted on.
        seed: Seed of folds, draws, simulations and fits.

    Returns:
        The RoPE layer of all patients and the conformal layer.

    Raises:
        ValueError: If the score is unknown, a label is missing or the patients are too few for alpha and the folds.

    Example:
        >>> rope, layer = cross_bundle(bundle, pairs, lambda: simulate_bank(bundle, 4000))  # doctest: +SKIP
    """
    fitter = Fitter(bundle, score, alpha, simulations, seed)
    sets = conformal_sets(pairs, wanted)
    fitter.check(sets)
    unlabelled, pairs = unlabelled or pairs, labelled_pairs(pairs, bundle.outputs, bundle.prior)
    found = answerer(bundle, seed=seed)(pairs)
    own: list[Draws] = [a.draws if isinstance(a, Answer) else {} for a in found]
    place = _deal(pairs, _usable(pairs, own, sets), folds, alpha, seed)
    references_without(pairs, place, unlabelled)
    rope, parts = cross_rope(
        bundle, pairs, bank(), place, unlabelled=unlabelled, tuning=tuning, n_components=n_components, seed=seed
    )
    scored = _held_out(bundle, rope, parts, pairs, own, place, seed)
    made = tuple(_set(fitter, names, pairs, scored, place, folds) for names in sets)
    hashes = tuple(sorted({hash_subject(str(s)) for s in pairs.subjects.tolist()}))
    return rope, ConformalLayer(made, N_DRAWS, hashes, parts)


def _usable(pairs: Pairs, own: Sequence[Draws], sets: Sequence[tuple[str, ...]]) -> Bool[np.ndarray, " N"]:
    """Windows that are answered and have every label."""
    names = sorted({name for one in sets for name in one})
    labelled = np.isfinite(np.stack([pairs.labels[name] for name in names])).all(axis=0)
    return np.asarray(labelled & np.array([bool(draws) for draws in own]))


def _deal(pairs: Pairs, usable: np.ndarray, k: int, alpha: float, seed: int) -> Int[np.ndarray, " N"]:
    """Fold of every window of the patients with a usable one; -1 for the rest."""
    patients = pairs.subjects[usable]
    n = len(set(patients.tolist()))
    if n < k or n - n % k < fewest(alpha):
        raise ValueError(
            f"alpha {alpha:g} needs {fewest(alpha)} patients in {k} folds of one size, with an answered window and "
            f"every label, got {n}: give more, fewer folds or a larger alpha"
        )
    dealt = dict(zip(patients.tolist(), equal_folds(patients, k, seed=seed).tolist(), strict=True))
    return np.array([dealt.get(p, -1) for p in pairs.subjects.tolist()], dtype=np.int64)


def _held_out(
    bundle: Bundle,
    rope: RoPELayer,
    parts: Sequence[FoldFit],
    pairs: Pairs,
    own: Sequence[Draws],
    place: np.ndarray,
    seed: int,
) -> list[Draws]:
    """Draws for each answered window of a fold under the fit without it, as its region would be made from."""
    starts = pairs.start_s if len(pairs.start_s) else np.zeros(len(pairs))
    scored: list[Draws] = [{}] * len(pairs)
    for k, part in enumerate(parts):
        layer = RoPELayer(part.rope(rope.rope), rope.measured)
        for i in np.flatnonzero(place == k).tolist():
            if own[i]:
                draws = layer.draws(bundle, pairs.x[i], float(starts[i]), N_DRAWS, seed=seed)
                scored[i] = region_draws(draws, own[i], part.sharper)
    return scored


def _set(
    fitter: Fitter, names: tuple[str, ...], pairs: Pairs, scored: Sequence[Draws], place: np.ndarray, k: int
) -> ConformalSet:
    coordinates = fitter.coordinates(names)
    labels = np.stack([pairs.labels[name] for name in names], axis=1)
    rows = np.array([i for i, draws in enumerate(scored) if draws and np.isfinite(labels[i]).all()])
    prediction = gather([scored[i] for i in rows], coordinates)
    truth = coordinates.transform(labels[rows])
    if not np.isfinite(truth).all():
        raise ValueError(f"labels of {', '.join(names)} must be positive where a logarithm is taken")
    score = fitter.fit(coordinates)
    held = HeldOut.of(score.score(prediction, truth), pairs.subjects[rows], place[rows])
    n, alpha = held.n, fitter.alpha
    text = (
        f"one window of a new patient exchangeable with the {n} calibration patients is in its region with probability "
        f"at least {np.floor(1000 * cross_promise(n, k, alpha)) / 1000:g} (cross-fitted in {k} folds with RoPE on the "
        f"same patients; nominal {1 - alpha:g})"
    )
    outline = np.zeros((0, len(names)))
    return ConformalSet(
        fitter.name, score, coordinates, wanted_mass(n, alpha), alpha, n, len(rows), text, outline, (held,)
    )
