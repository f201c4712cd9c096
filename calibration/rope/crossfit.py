r"""RoPE fitted without each fold of patients in turn, for a limit from the same patients.

Nothing of a held-out patient enters a fold's fit: neither its labels nor its windows, in the tuning, the transport or
the choice of what the estimator keeps. The settings are fixed beforehand. All folds share components and their
embeddings; a fold keeps its own tuned embedding and potential.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ...inference.bundle import Bundle
from ..conformal.marginals import sharper_marginals
from ..diagnostics import coverage
from ..pairs import Pairs, hash_subject
from .bundles import LEVELS, Bank, RoPESetting
from .encoder import TuneConfig
from .fit import FEWEST_SUBJECTS, RoPE, RoPEConfig, fit_rope
from .folds import FoldFit
from .layer import RoPELayer

__all__ = ["cross_rope"]

_DRAWS = 500


def cross_rope(
    bundle: Bundle,
    pairs: Pairs,
    bank: Bank,
    folds: Int[np.ndarray, " N"],
    *,
    unlabelled: Pairs | None = None,
    tuning: TuneConfig | None = None,
    n_components: int = 1000,
    seed: int = 0,
) -> tuple[RoPELayer, tuple[FoldFit, ...]]:
    r"""Fits RoPE on all patients and without each fold.

    Arguments:
        bundle: The trained model.
        pairs: Labelled windows.
        bank: Fresh simulations; some become components.
        folds: Fold of each window; -1 for patients that serve every fit.
        unlabelled: Windows without labels; those of a held-out patient are left out of its fold's fit.
        tuning: How the embedding is tuned.
        n_components: Most simulations that become components.
        seed: Seed of splits and draws.

    Returns:
        The layer fitted on all patients, with coverage measured on held-out ones, and the folds' fits.

    Raises:
        ValueError: If there are too few patients or no label fits.

    Example:
        >>> cross_rope(bundle, pairs, bank, equal_folds(pairs.subjects, 5))  # doctest: +SKIP
    """
    reference = unlabelled or pairs
    config = tuning or TuneConfig(150, 3e-4, 32)
    setting = RoPESetting(bundle, pairs, bank, reference, config, n_components, seed)
    own = [np.flatnonzero(folds == k) for k in range(int(folds.max()) + 1)]
    others = references_without(pairs, folds, reference)
    fewest = min(part.n_subjects for part in others)
    fixed = RoPEConfig() if fewest >= FEWEST_SUBJECTS else RoPEConfig(tau=0.5)
    made, measured = [], _Measured(bundle, setting)
    for held, part in zip(own, others, strict=True):
        rows = np.setdiff1d(np.arange(len(pairs)), held)
        rope = _fit(setting, rows, part, fixed)
        made.append(FoldFit.of(rope, _sharper(bundle, rope, pairs.take(rows), seed)))
        measured.take(rope, held)
    layer = _fit(setting, np.arange(len(pairs)), reference, fixed)
    subjects = {*pairs.subjects.tolist(), *reference.subjects.tolist()}
    told = measured.told(len(own)) | {"reference_patients": reference.n_subjects}
    return RoPELayer(layer, told, tuple(sorted(hash_subject(str(s)) for s in subjects))), tuple(made)


def references_without(pairs: Pairs, folds: Int[np.ndarray, " N"], reference: Pairs) -> list[Pairs]:
    """Recordings for each fold's fit: those of patients outside it; too few patients in one are refused."""
    held = [pairs.subjects[folds == k] for k in range(int(folds.max()) + 1)]
    others = [reference.take(~np.isin(reference.subjects, own)) for own in held]
    fewest = min(part.n_subjects for part in others)
    if fewest < 5:
        raise ValueError(f"every fold must leave recordings of at least 5 patients, got {fewest}: give more")
    return others


def _fit(setting: RoPESetting, rows: np.ndarray, reference: Pairs, config: RoPEConfig) -> RoPE:
    return fit_rope(
        setting.encoder(rows), setting.whitening, setting.components, reference.x, setting.prior, config,
        subjects=reference.subjects,
    )  # fmt: skip


def _sharper(bundle: Bundle, rope: RoPE, pairs: Pairs, seed: int) -> tuple[str, ...]:
    """Quantities on which the estimator is the better even on the patients that RoPE was tuned on."""
    draws = bundle.outputs.derive(rope.posterior(pairs.x).sample(np.random.default_rng([seed, 11]), _DRAWS))
    return sharper_marginals(draws, _told(bundle, pairs.x, seed), pairs.labels)


def _told(bundle: Bundle, x: Float[np.ndarray, "N T"], seed: int) -> Mapping[str, Float[np.ndarray, "N S"]]:
    """The estimator's own draws for windows."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    theta = bundle.npe.sample(torch.from_numpy(np.asarray(x, dtype=np.float32)), _DRAWS, generator)
    return bundle.outputs.derive(np.asarray(theta))


class _Measured:
    """Coverage of the folds' intervals on the patients that each did not see."""

    def __init__(self, bundle: Bundle, setting: RoPESetting) -> None:
        self.bundle, self.setting, self.rng = bundle, setting, np.random.default_rng([setting.seed, 4])
        self.draws: dict[str, list[np.ndarray]] = {name: [] for name in setting.score.names}
        self.rows: list[np.ndarray] = []

    def take(self, rope: RoPE, held: np.ndarray) -> None:
        found = self.bundle.outputs.derive(rope.posterior(self.setting.pairs.x[held]).sample(self.rng, _DRAWS))
        for name, own in self.draws.items():
            own.append(found[name])
        self.rows.append(held)

    def told(self, folds: int) -> dict[str, Any]:
        rows, pairs = np.concatenate(self.rows), self.setting.pairs
        shares: dict[str, dict[str, float]] = {f"{level:g}": {} for level in LEVELS}
        for q, (name, own) in enumerate(self.draws.items()):
            truth = self.setting.score.labels[rows][:, [q]]
            known = np.isfinite(truth[:, 0])
            if known.any():
                found = coverage(np.concatenate(own)[known][..., None], truth[known], LEVELS)[:, 0]
                for level, share in zip(shares, found, strict=True):
                    shares[level][name] = round(float(share), 4)
        return {
            "patients": len(np.unique(pairs.subjects[rows])),
            "windows": len(rows),
            "coverage": shares,
            "folds": folds,
        }
