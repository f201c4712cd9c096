r"""Candidates on subjects they have not seen: each fold's subjects are judged by fits on the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float

from ...inference.bundle import Bundle
from ...inference.npe import NPE
from ..evaluate import draw_quantities
from ..pairs import Pairs
from ..rope.bundles import Bank, RoPESetting
from ..rope.encoder import TuneConfig
from ..rope.fit import FEWEST_SUBJECTS, RoPEConfig
from .fit import PARTS, HybridConfig, Mix, fit_hybrid
from .judging import BASE, HeldOut, Sitting
from .readings import Readings

__all__ = ["CANDIDATES", "Learner", "cross_validate"]

CANDIDATES = (*PARTS, "rope")
"""What is tried beside the base model."""
N_DRAWS = 400


def rope_config(subjects: int) -> RoPEConfig:
    """RoPE's settings: the fixed ones, with a soft marginal where subjects are few."""
    return RoPEConfig(tau=0.5) if subjects < FEWEST_SUBJECTS else RoPEConfig()


@dataclass(frozen=True)
class Learner:
    r"""Everything that candidates are fitted from.

    Arguments:
        bundle: The base model.
        pairs: Labelled windows.
        readings: Their readings.
        bank: Simulated windows with their quantities.
        config: How the estimator goes on learning.
        tuning: How RoPE tunes the embedding.
        seed: Seed of draws.

    Example:
        >>> Learner.__dataclass_fields__["seed"].default
        0
    """

    bundle: Bundle
    pairs: Pairs
    readings: Readings
    bank: Bank
    config: HybridConfig = field(default_factory=HybridConfig)
    tuning: TuneConfig = field(default_factory=lambda: TuneConfig(150, 3e-4, 32))
    seed: int = 0

    @cached_property
    def simulated(self) -> tuple[Float[np.ndarray, "M T"], Float[np.ndarray, "M D"]]:
        r"""Simulated windows inside the outputs' intervals, and their unconstrained outputs."""
        space = self.bundle.outputs.space
        theta = self.bundle.outputs.encode(self.bank.columns)
        good = space.contains(theta)
        if good.sum() < self.config.batch:
            raise ValueError(
                f"at least {self.config.batch} simulations must lie inside the outputs' intervals, got "
                f"{int(good.sum())} of {len(good)}: simulate more"
            )
        return self.bank.x[good], space.unconstrain(theta[good])

    @cached_property
    def _rope(self) -> RoPESetting:
        labels = {name: self.pairs.labels[name] for name in self.readings.names}
        pairs = dataclasses.replace(self.pairs, labels=labels)
        most = min(1000, len(self.bank.x))
        return RoPESetting(self.bundle, pairs, self.bank, pairs, self.tuning, most, self.seed)

    def fit(self, part: str, rows: np.ndarray) -> NPE:
        r"""Trains a part of the network on simulations and some of the windows.

        Arguments:
            part: One of the parts of ``fit_hybrid``.
            rows: Which windows.
        """
        subjects = np.unique(self.pairs.subjects[rows], return_inverse=True)[1]
        mix = Mix(*self.simulated, self.pairs.x[rows], self.readings.take(rows), subjects)
        return fit_hybrid(self.bundle.npe, mix, part, self.config)  # type: ignore[arg-type]

    def draws(self, npe: NPE, rows: np.ndarray) -> Mapping[str, Float[np.ndarray, "k S"]]:
        r"""Posterior draws of some windows.

        Arguments:
            npe: The estimator.
            rows: Which windows.
        """
        return draw_quantities(npe, self.pairs.x[rows], n_draws=N_DRAWS, seed=self.seed)

    def held_out(self, candidate: str, rows: np.ndarray) -> Mapping[str, Float[np.ndarray, "k S"]]:
        r"""Draws of some windows by a candidate fitted on all other subjects.

        Arguments:
            candidate: Its name.
            rows: The windows that are held out; of every subject all or none.
        """
        if candidate == BASE:
            return self.draws(self.bundle.npe, rows)
        others = np.setdiff1d(np.arange(len(self.pairs)), rows)
        if candidate != "rope":
            return self.draws(self.fit(candidate, others), rows)
        mixture = self._rope.held_out(rope_config(len(np.unique(self.pairs.subjects[others]))), rows)
        return self.bundle.outputs.derive(mixture.sample(np.random.default_rng([self.seed, 5]), N_DRAWS))


def cross_validate(
    learner: Learner,
    sitting: Sitting,
    candidates: Sequence[str] = CANDIDATES,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, HeldOut]:
    r"""What every candidate predicts for subjects it has not seen.

    Arguments:
        learner: Everything that candidates are fitted from.
        sitting: Whose windows are judged, in folds of subjects.
        candidates: Names of candidates; the base model is always judged.
        progress: Told what is done.

    Returns:
        Predictions of each, the base model first.

    Raises:
        ValueError: If a candidate is unknown.

    Example:
        >>> cross_validate.__kwdefaults__["progress"]("fold 1")
    """
    unknown = [name for name in candidates if name not in CANDIDATES]
    if unknown:
        raise ValueError(f"candidates must be among {', '.join(CANDIDATES)}, got {unknown}")
    shape = sitting.readings.values.shape
    held = {name: HeldOut.empty(*shape) for name in (BASE, *candidates)}
    for k, rows in enumerate(sitting.folds):
        for name, own in held.items():
            progress(f"fold {k + 1} of {len(sitting.folds)}: {name}")
            own.put(rows, sitting.readings, learner.held_out(name, rows), np.random.default_rng([learner.seed, k]))
    return held
