r"""Regions of a case whose posterior was fitted without each fold in turn: one score for every fold's posterior.

The same patients serve a correction of the posterior and the limit. Patients are dealt into K folds of one size; a
patient left over serves every fit and no limit. With $S_{-k}$ the score under the posterior that was fitted without
fold $k$, and windows of a patient weighing $m_i = 1 / N_i$, the region of a new window is

$$
\Bigl\{ y : \sum_i m_i\, 1\{ S_{-k(i)}(x, y) > s_i \} < (1 - \alpha)(n + 1) \Bigr\},
$$

and one answered window of a new patient, drawn at random from its own, lies in it with probability at least
``cross_promise(n, K, alpha)``: both terms of that bound hold with the masses, $q = n / K$.

The first asks only that no held-out patient is in its fold's fit. $p_k = (1 + A_k) / (q + 1)$, with $A_k$ the mass of
fold $k$ that scores at least as much as the new window, is a p-value of the hierarchical rule. A miss means
$\sum_k A_k \le \alpha (n + 1) - 1$, so a mean of the $p_k$ of at most $\alpha + (K - 1) / (n + K)$; and a mean of
p-values is at most $t$ with probability at most $2t$.

The second asks also that a fit treats its patients alike. Add $q - 1$ more new patients to the new fold, spread a mass
of one over the windows of each of the $n + q$, and call a window strange if it beats a mass of $(1 - \alpha)(n + 1)$ in
the other folds, each comparison by the fit without both folds. Strange windows of mass $s$ in all meet across folds in
pairs of mass at least $(s^2 - q s) / 2$; of each pair one does not beat the other; and a strange window fails to beat
at most $n - (1 - \alpha)(n + 1)$. So $s \le 2 \alpha (n + 1) + q - 2$, and a new window is strange, which is what a
miss is, with probability $E[s] / (n + q) \le 2 \alpha + (q - 1) / (n + q)$.

Every member scores within the pooled limit, the order statistic of all held-out scores, under some fold's posterior: so
the union of the folds' own regions at that limit holds the region, and volumes are free of bias.

References:
    | Predictive inference with the jackknife+ (Barber, Candes, Ramdas & Tibshirani, 2021), theorem 4,
      https://arxiv.org/abs/1905.02928
    | Combining p-values via averaging (Vovk & Wang, 2020), https://arxiv.org/abs/1212.4966
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from .cross import cross_promise, propose_union
from .order import check_alpha
from .patients import patient_codes
from .prediction import Prediction
from .score import AbstractFittedScore

__all__ = ["CrossScore", "HeldOut", "equal_folds", "wanted_mass"]


def equal_folds(patients: Sequence[object] | np.ndarray, k: int, *, seed: int = 0) -> Int[np.ndarray, " N"]:
    r"""Fold of each window, folds of one number of patients; -1 for the patients left over.

    Arguments:
        patients: Patient of each window.
        k: Number of folds.
        seed: Seed of the assignment.

    Raises:
        ValueError: If there are fewer patients than folds, or fewer than two folds.

    Example:
        >>> folds = equal_folds(list("aabcde"), 2)
        >>> sorted(folds[1:].tolist()), bool(folds[0] == folds[1])
        ([-1, 0, 0, 1, 1], True)
    """
    codes = patient_codes(patients)
    n = int(codes.max()) + 1 if len(codes) else 0
    if not 2 <= k <= n:
        raise ValueError(f"folds must be between 2 and the number of patients {n}, got {k}")
    place = np.random.default_rng(seed).permutation(n)
    return np.asarray(np.where(place < n - n % k, place % k, -1)[codes])


def wanted_mass(n: int, alpha: float) -> float:
    r"""Mass of held-out patients that a member may beat, as a limit: ``at most`` this is ``less than`` the mass.

    Arguments:
        n: Patients.
        alpha: Nominal share of misses.

    Returns:
        The mass; infinity where the patients are too few for alpha.

    Example:
        >>> round(wanted_mass(19, 0.1), 6), wanted_mass(8, 0.1)
        (18.0, inf)
    """
    check_alpha(alpha)
    mass = (1 - alpha) * (n + 1)
    return mass - 1e-9 if n >= mass - 1e-9 else math.inf


@dataclass(frozen=True)
class HeldOut:
    r"""Scores of calibration windows under the fits that did not see their patients.

    Arguments:
        scores: Score of each window.
        mass: Mass of each window; those of a patient sum to one.
        folds: Fold of each.

    Example:
        >>> held = HeldOut.of(np.array([1.0, 2.0, 3.0]), ["a", "a", "b"], np.array([0, 0, 1]))
        >>> held.mass.tolist(), held.n, held.pooled(1.2)
        ([0.5, 0.5, 1.0], 2, 3.0)
    """

    scores: Float[np.ndarray, " N"]
    mass: Float[np.ndarray, " N"]
    folds: Int[np.ndarray, " N"]

    @classmethod
    def of(
        cls, scores: Float[np.ndarray, " N"], patients: Sequence[object] | np.ndarray, folds: Int[np.ndarray, " N"]
    ) -> HeldOut:
        r"""Gives the windows of a patient one mass in all.

        Arguments:
            scores: Score of each window.
            patients: Patient of each.
            folds: Fold of each.

        Raises:
            ValueError: If lengths differ or a score is not a number.
        """
        scores, codes = np.asarray(scores, dtype=np.float64), patient_codes(patients)
        if not scores.shape == codes.shape == np.shape(folds) or np.isnan(scores).any():
            raise ValueError(
                f"scores, patients and folds must be vectors of one length without NaN, got shapes {scores.shape}, "
                f"{codes.shape} and {np.shape(folds)}"
            )
        return cls(scores, 1.0 / np.bincount(codes)[codes], np.asarray(folds))

    @property
    def n(self) -> int:
        r"""Number of patients."""
        return round(float(self.mass.sum()))

    def pooled(self, mass: float) -> float:
        r"""Least score with that mass at or below it.

        Arguments:
            mass: The mass.
        """
        order = np.argsort(self.scores, kind="stable")
        reached = np.cumsum(self.mass[order]) >= mass - 1e-9
        return float(self.scores[order][int(np.argmax(reached))]) if reached.any() else math.inf

    @cached_property
    def _ladders(self) -> list[tuple[np.ndarray, np.ndarray]]:
        made = []
        for k in range(int(self.folds.max()) + 1):
            own = self.folds == k
            order = np.argsort(self.scores[own], kind="stable")
            made.append((self.scores[own][order], np.concatenate([[0.0], np.cumsum(self.mass[own][order])])))
        return made

    def beaten(self, k: int, scores: Float[np.ndarray, "*m"]) -> Float[np.ndarray, "*m"]:
        r"""Mass of a fold's patients with a lower score.

        Arguments:
            k: The fold.
            scores: Scores under the fit without that fold.
        """
        ladder, below = self._ladders[k]
        return np.asarray(below[np.searchsorted(ladder, scores, side="left")])


@dataclass(frozen=True)
class CrossScore(AbstractFittedScore):
    r"""Mass of held-out patients that a candidate beats; its prediction has a row for each fold's fit.

    Arguments:
        parts: Score of each fold.
        held: Held-out scores.

    Example:
        >>> from .gauge import NormGauge
        >>> from .region import Coordinates, Region
        >>> from .residual import PlainResidual, ResidualScore
        >>> y = np.random.default_rng(0).normal(size=(40, 2))
        >>> part = ResidualScore(PlainResidual(), NormGauge(whiten=False)).fit(Prediction(0 * y), y)
        >>> held = HeldOut.of(part.score(Prediction(0 * y), y), range(40), np.arange(40) % 4)
        >>> score, limit = CrossScore((part,) * 4, held), wanted_mass(40, 0.1)
        >>> region = Region(score, Prediction(np.zeros((4, 2))), limit, Coordinates.plain(2), 0.1)
        >>> region.contains(np.array([[0.0, 0.0], [9.0, 0.0]])).tolist()
        [True, False]
    """

    parts: tuple[AbstractFittedScore, ...]
    held: HeldOut

    def evaluate(self, prediction: Prediction, y: Float[np.ndarray, "1 m d"]) -> Float[np.ndarray, "1 m"]:
        r"""Mass that candidates beat.

        Arguments:
            prediction: What each fold's fit says of one case.
            y: Candidates for it.

        Raises:
            ValueError: If there is not a row for each fold.
        """
        if len(prediction) != len(self.parts):
            raise ValueError(f"prediction must have {len(self.parts)} rows, one of each fold, got {len(prediction)}")
        each = [self.held.beaten(k, part.evaluate(prediction[k], y)) for k, part in enumerate(self.parts)]
        return np.asarray(np.sum(each, axis=0))

    def propose(
        self, prediction: Prediction, limit: float, n: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "m d"], Float[np.ndarray, " m"]]:
        r"""Points over the union of the folds' own regions at the pooled limit.

        Arguments:
            prediction: What each fold's fit says of one case.
            limit: The mass that members may beat; finite.
            n: Number of points, rounded to a multiple of the folds.
            rng: Source of randomness.
        """
        rows = [prediction[k] for k in range(len(self.parts))]
        return propose_union(self.parts, rows, self.held.pooled(limit), n, rng)

    def promise(self, alpha: float) -> float:
        r"""Coverage that is certain.

        Arguments:
            alpha: Nominal share of misses.
        """
        return cross_promise(self.held.n, len(self.parts), alpha)
