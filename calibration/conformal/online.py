r"""Regions for a stream of windows from one patient, whose long-run coverage holds under drift.

Windows of one patient drift, so no exchangeability is assumed. After each window whose truth becomes known (an
intermittent thermodilution, say) the level in use moves against the last error,

$$
\alpha_{t+1} = \alpha_t + \gamma\,(\alpha - e_t), \qquad e_t = 1\{s_t > \text{limit}_t\},
$$

with an unbounded region where $\alpha_t \le 0$ and an empty one where $\alpha_t \ge 1$. For *every* sequence, however
chosen,

$$
\Bigl| \frac1T \sum_{t \le T} e_t - \alpha \Bigr| \le \frac{\max(\alpha_1, 1 - \alpha_1) + \gamma}{T \gamma}.
$$

This is a promise about the average over time, not about any one window; unbounded regions are its price.

References:
    | Adaptive Conformal Inference Under Distribution Shift (Gibbs & Candes, 2021), https://arxiv.org/abs/2106.00170
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .order import check_alpha, conformal_limit

__all__ = ["OnlineLimit"]


@dataclass(frozen=True)
class OnlineLimit:
    r"""State of an online limit: what the next window's score is compared with.

    Arguments:
        alpha: Long-run share of windows that may be missed.
        gamma: Step of the level.
        memory: Number of latest scores that the limit is taken from.
        level: Level in use now.
        scores: Latest scores, oldest first; may start with those of calibration patients.
        n: Windows seen.
        missed: Windows missed.

    Raises:
        ValueError: If alpha, gamma or memory is out of range.

    Example:
        >>> state = OnlineLimit(alpha=0.1, level=0.1, scores=tuple(np.arange(1.0, 20.0)))
        >>> state.limit
        18.0
        >>> state.update(30.0).missed, round(state.update(30.0).level, 3)
        (1, 0.091)
    """

    alpha: float = 0.1
    gamma: float = 0.01
    memory: int = 500
    level: float = 0.1
    scores: tuple[float, ...] = ()
    n: int = 0
    missed: int = 0

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.gamma <= 0 or self.memory < 1:
            raise ValueError(f"gamma and memory must be positive, got {self.gamma:g} and {self.memory}")

    @property
    def limit(self) -> float:
        r"""Limit for the next window: infinity is unbounded, minus infinity empty."""
        if self.level <= 0:
            return math.inf
        if self.level >= 1:
            return -math.inf
        return conformal_limit(np.array(self.scores), self.level)

    def update(self, score: float) -> OnlineLimit:
        r"""The state after the truth of a window became known.

        Arguments:
            score: Score of the truth in that window.
        """
        error = bool(score > self.limit)
        level = self.level + self.gamma * (self.alpha - error)
        scores = (*self.scores, float(score))[-self.memory :]
        return replace(self, level=level, scores=scores, n=self.n + 1, missed=self.missed + error)

    @property
    def bound(self) -> float:
        r"""Largest distance of the long-run miss rate from alpha that any sequence of this length can bring."""
        if self.n == 0:
            return math.inf
        first = self.level - self.gamma * (self.n * self.alpha - self.missed)
        return (max(first, 1 - first) + self.gamma) / (self.n * self.gamma)
