r"""The order statistic of split conformal prediction and the law of its coverage.

With $n$ calibration scores exchangeable with the score of a new case, the limit is the $k$-th smallest of them,

$$
k = \lceil (n + 1)(1 - \alpha) \rceil, \qquad
\Pr(s_{n+1} \le s_{(k)}) \ge \frac{k}{n + 1} \ge 1 - \alpha,
$$

with equality on the left when scores have no ties. Where $k > n$ no finite limit can promise $1 - \alpha$, and the
limit is infinite: an unbounded region. Given the calibration set, coverage follows $\mathrm{Beta}(k, n + 1 - k)$, and
the number of hits among $m$ new cases the Beta-binomial of these parameters.

References:
    | Algorithmic Learning in a Random World (Vovk, Gammerman & Shafer, 2005)
    | Conditional validity of inductive conformal predictors (Vovk, 2012), https://arxiv.org/abs/1209.2673
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["CoverageLaw", "check_alpha", "conformal_limit", "coverage_law", "fewest", "order_index", "p_values"]


_SLACK = 1e-9
"""(n + 1)(1 - alpha) is a product of floats: 20 * .95 must not be rounded up to 20."""


def check_alpha(alpha: float) -> None:
    r"""Refuses a level outside (0, 1).

    Arguments:
        alpha: Share of new cases that may be missed.

    Raises:
        ValueError: If it is not strictly between 0 and 1.

    Example:
        >>> check_alpha(0.1)
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha:g}; try 0.1 for 90 % coverage")


def order_index(n: int, alpha: float) -> int:
    r"""Which order statistic is the limit: $k = \lceil (n + 1)(1 - \alpha) \rceil$, which may exceed ``n``.

    Arguments:
        n: Number of calibration cases.
        alpha: Share of new cases that may be missed.

    Example:
        >>> order_index(19, 0.05), order_index(10, 0.1), order_index(10, 0.05)
        (19, 10, 11)
    """
    check_alpha(alpha)
    return max(1, math.ceil((n + 1) * (1 - alpha) - _SLACK))


def fewest(alpha: float) -> int:
    r"""Fewest calibration cases that give a bounded region.

    Arguments:
        alpha: Share of new cases that may be missed.

    Example:
        >>> fewest(0.1), fewest(0.05)
        (9, 19)
    """
    check_alpha(alpha)
    return max(1, math.ceil(1 / alpha - 1 - _SLACK))


def conformal_limit(scores: Float[np.ndarray, " n"], alpha: float) -> float:
    r"""The limit below which a new score falls with probability at least $1 - \alpha$.

    Arguments:
        scores: Scores of the calibration cases.
        alpha: Share of new cases that may be missed.

    Returns:
        The $k$-th smallest score; infinity where there are too few.

    Raises:
        ValueError: If a score is not a number, or alpha is out of range.

    Example:
        >>> conformal_limit(np.arange(1.0, 11.0), 0.1), conformal_limit(np.arange(1.0, 11.0), 0.05)
        (10.0, inf)
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or np.isnan(scores).any():
        raise ValueError(f"scores must be a vector of numbers, got shape {scores.shape}, {np.isnan(scores).sum()} NaN")
    k = order_index(len(scores), alpha)
    return math.inf if k > len(scores) else float(np.partition(scores, k - 1)[k - 1])


def p_values(scores: Float[np.ndarray, " n"], new: Float[np.ndarray, "*m"]) -> Float[np.ndarray, "*m"]:
    r"""Conformal p-values $(1 + \#\{i : s_i \ge s\})/(n + 1)$.

    A new case is within the region of level $\alpha$ where its p-value exceeds $\alpha$.

    Arguments:
        scores: Scores of the calibration cases.
        new: New scores.

    Example:
        >>> p_values(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.5, 9.0]))
        array([1.  , 0.5 , 0.25])
    """
    below = np.searchsorted(np.sort(scores), new, side="left")
    return np.asarray((1.0 + len(scores) - below) / (len(scores) + 1.0))


@dataclass(frozen=True)
class CoverageLaw:
    r"""Law of the coverage that one calibration set gives, over calibration sets, for scores without ties.

    Arguments:
        n: Number of calibration cases.
        k: Which order statistic is the limit.

    Example:
        >>> law = coverage_law(100, 0.1)
        >>> round(law.mean, 4), round(law.sd, 4)
        (0.901, 0.0296)
    """

    n: int
    k: int

    @property
    def mean(self) -> float:
        r"""Mean coverage $k/(n + 1)$; 1 where the region is unbounded."""
        return min(1.0, self.k / (self.n + 1))

    @property
    def sd(self) -> float:
        r"""Standard deviation of the coverage over calibration sets."""
        a, b = self.k, self.n + 1 - self.k
        return 0.0 if b <= 0 else math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))

    def quantile(self, q: float) -> float:
        r"""Quantile of the coverage over calibration sets.

        Arguments:
            q: Probability.
        """
        from scipy.stats import beta

        return 1.0 if self.k > self.n else float(beta.ppf(q, self.k, self.n + 1 - self.k))

    def ks(self, hits: Float[np.ndarray, " repeats"], m: int, *, seed: int = 0) -> float:
        r"""Kolmogorov-Smirnov p-value of hit counts against the Beta-binomial law.

        The counts are discrete: each is replaced by a uniform draw between the law's probabilities below and up to it,
        which is exactly uniform under the law.

        Arguments:
            hits: Number of hits among ``m`` new cases, one for each calibration set.
            m: Number of new cases.
            seed: Seed of the uniform draws.
        """
        from scipy.stats import betabinom, kstest

        if self.k > self.n:
            return 1.0 if bool(np.all(np.asarray(hits) == m)) else 0.0
        law = betabinom(m, self.k, self.n + 1 - self.k)
        hits = np.asarray(hits)
        low, high = law.cdf(hits - 1), law.cdf(hits)
        u = low + (high - low) * np.random.default_rng(seed).random(hits.shape)
        return float(kstest(u, "uniform").pvalue)


def coverage_law(n: int, alpha: float) -> CoverageLaw:
    r"""Law of the coverage of split conformal prediction.

    Arguments:
        n: Number of calibration cases.
        alpha: Share of new cases that may be missed.

    Example:
        >>> coverage_law(10, 0.05).mean
        1.0
    """
    return CoverageLaw(n, order_index(n, alpha))
