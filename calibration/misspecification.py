r"""Tests whether a cohort of recordings could have come from the simulator: in embedding space, and by prediction.

Each compares recordings with fresh simulations and has a p-value whose false-alarm rate is its level, whatever the
embedding: the maximum mean discrepancy by permutation, a classifier by the binomial law of its hits on held-out rows,
the posterior predictive discrepancy by the rank sum of recordings among simulations put through the same.

Rows must be independent: of each subject one window, see ``one_per_subject``. A test that does not reject has not shown
that the simulator is right; one that does has not shown that it matters for the quantities.

References:
    | A kernel two-sample test (Gretton et al., 2012), https://jmlr.org/papers/v13/gretton12a.html
    | Revisiting Classifier Two-Sample Tests (Lopez-Paz & Oquab, 2017), https://arxiv.org/abs/1610.06545
    | Detecting model misspecification in amortized Bayesian inference (Schmitt et al., 2024),
      https://arxiv.org/abs/2112.08866
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .diagnostics.rank_tests import holm

__all__ = [
    "CohortTest",
    "classifier_test",
    "cohort_tests",
    "mmd_test",
    "one_per_subject",
    "predictive_discrepancy",
    "predictive_test",
]

_FEWEST = 8


@dataclass(frozen=True)
class CohortTest:
    r"""Outcome of a test.

    Arguments:
        name: Which test.
        statistic: Its statistic.
        p: P-value under the hypothesis that recordings and simulations have one law.
        n: Recordings.

    Example:
        >>> CohortTest("mmd", 0.1, 0.004, 50).rejects(0.05)
        True
    """

    name: str
    statistic: float
    p: float
    n: int

    def rejects(self, level: float = 0.05) -> bool:
        r"""Tells whether the hypothesis is rejected.

        Arguments:
            level: False-alarm rate.
        """
        return self.p <= level


def one_per_subject(subjects: np.ndarray, *, seed: int = 0) -> np.ndarray:
    r"""One random row of each subject.

    Arguments:
        subjects: Subject of each row.
        seed: Seed of the choice.

    Returns:
        Rows, in order.

    Example:
        >>> len(one_per_subject(np.array(["a", "b", "a", "a"])))
        2
    """
    order = np.random.default_rng(seed).permutation(len(subjects))
    _, first = np.unique(np.asarray(subjects)[order], return_index=True)
    return np.sort(order[first])


def mmd_test(
    real: Float[np.ndarray, "m k"], simulated: Float[np.ndarray, "n k"], *, permutations: int = 500, seed: int = 0
) -> CohortTest:
    r"""Maximum mean discrepancy with a Gaussian kernel of the median distance, by permutation.

    $$
    \mathrm{MMD}^2 = \operatorname{mean}_{ij} k(x_i, x_j) + \operatorname{mean}_{ij} k(y_i, y_j)
    - 2 \operatorname{mean}_{ij} k(x_i, y_j)
    $$

    Arguments:
        real: Embedded recordings.
        simulated: Embedded simulations.
        permutations: Permutations; the least p-value is one over one more than that.
        seed: Seed of the permutations.

    Returns:
        The test.

    Raises:
        ValueError: If there are fewer than eight rows of either, or a value is not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> mmd_test(rng.normal(size=(60, 2)) + 1.0, rng.normal(size=(200, 2))).rejects()
        True
    """
    real, simulated = _checked(real, simulated)
    m, n = len(real), len(simulated)
    pool = np.concatenate([real, simulated])
    squares = (pool**2).sum(1)
    distance = np.maximum(squares[:, None] + squares - 2 * pool @ pool.T, 0.0)
    kernel = np.exp(-distance / np.median(distance[np.triu_indices(m + n, 1)]))
    rng = np.random.default_rng(seed)
    flags = np.zeros((permutations + 1, m + n))
    flags[0, :m] = 1.0
    for row in flags[1:]:
        row[rng.permutation(m + n)[:m]] = 1.0
    signs = flags / m - (1.0 - flags) / n
    values = np.einsum("pi,pi->p", signs @ kernel, signs)
    p = (1 + np.sum(values[1:] >= values[0] - 1e-12)) / (permutations + 1)
    return CohortTest("mmd", float(values[0]), float(p), m)


def classifier_test(
    real: Float[np.ndarray, "m k"], simulated: Float[np.ndarray, "n k"], *, seed: int = 0
) -> CohortTest:
    r"""Hits of a quadratic ridge classifier on held-out rows, by the binomial law.

    As many simulations as recordings are used; the classifier is fitted on one half of both and tested on the other.

    Arguments:
        real: Embedded recordings.
        simulated: Embedded simulations, at least as many.
        seed: Seed of the halves.

    Returns:
        The test; the statistic is the share of hits, one half where nothing can be told.

    Raises:
        ValueError: If there are too few rows or a value is not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> classifier_test(2.0 * rng.normal(size=(200, 2)), rng.normal(size=(200, 2))).rejects()
        True
    """
    from scipy import stats

    real, simulated = _checked(real, simulated)
    m = len(real)
    if len(simulated) < m:
        raise ValueError(f"simulated must have at least as many rows as real, got {len(simulated)} and {m}")
    rng = np.random.default_rng(seed)
    rows = [real[rng.permutation(m)], simulated[rng.permutation(len(simulated))[:m]]]
    centre, spread = rows[1].mean(0), rows[1].std(0) + 1e-12
    features = [_quadratic((part - centre) / spread) for part in rows]
    half = m // 2
    x = np.concatenate([part[:half] for part in features])
    sign = np.repeat([1.0, -1.0], half)
    weight = np.linalg.solve(x.T @ x + 0.1 * half * np.eye(x.shape[1]), x.T @ sign)
    score = np.concatenate([features[0][half:] @ weight, -(features[1][half:] @ weight)])
    hits, total = int((score > 0).sum()), len(score)
    return CohortTest("classifier", hits / total, float(stats.binom.sf(hits - 1, total, 0.5)), m)


def predictive_discrepancy(
    x: Float[np.ndarray, "N k"], replicates: Float[np.ndarray, "N R k"]
) -> Float[np.ndarray, " N"]:
    r"""Distance of each observation from what its posterior predicts, in the spread of the prediction.

    Arguments:
        x: Observations, or their embeddings.
        replicates: Simulations at draws of each observation's posterior, seen in the same way.

    Returns:
        Root mean square of the standardised differences.

    Raises:
        ValueError: If shapes do not fit.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> far = predictive_discrepancy(np.full((1, 2), 9.0), rng.normal(size=(1, 500, 2)))
        >>> bool(far[0] > 8)
        True
    """
    x, replicates = np.asarray(x, dtype=np.float64), np.asarray(replicates, dtype=np.float64)
    if replicates.ndim != 3 or x.shape != (replicates.shape[0], replicates.shape[2]) or replicates.shape[1] < 2:
        raise ValueError(f"x must have shape (N, k) and replicates (N, R, k), got {x.shape} and {replicates.shape}")
    gap = (x - replicates.mean(1)) / (replicates.std(1) + 1e-12)
    return np.asarray(np.sqrt((gap**2).mean(1)))


def predictive_test(real: Float[np.ndarray, " m"], simulated: Float[np.ndarray, " n"]) -> CohortTest:
    r"""Whether recordings lie further from their predictions than simulations from theirs, by the rank sum.

    Predictions use the data twice, so their own p-values are too large; against simulations that were inferred and
    predicted in the same way the level is exact.

    Arguments:
        real: Discrepancies of recordings, from ``predictive_discrepancy``.
        simulated: Discrepancies of simulations.

    Returns:
        The test; the statistic is the probability that a recording's is the greater.

    Raises:
        ValueError: If there are too few rows or a value is not finite.

    Example:
        >>> predictive_test(np.linspace(2, 3, 20), np.linspace(0, 1, 50)).statistic
        1.0
    """
    from scipy import stats

    real, simulated = (part[:, 0] for part in _checked(np.reshape(real, (-1, 1)), np.reshape(simulated, (-1, 1))))
    found = stats.mannwhitneyu(real, simulated, alternative="greater")
    return CohortTest(
        "predictive", float(found.statistic / (len(real) * len(simulated))), float(found.pvalue), len(real)
    )


def cohort_tests(
    real: Float[np.ndarray, "m k"],
    simulated: Float[np.ndarray, "n k"],
    *,
    discrepancy: tuple[Float[np.ndarray, " m"], Float[np.ndarray, " l"]] | None = None,
    seed: int = 0,
) -> dict[str, CohortTest]:
    r"""All tests of a cohort, with p-values corrected for their number.

    Arguments:
        real: Embedded recordings, one a subject.
        simulated: Embedded fresh simulations.
        discrepancy: Predictive discrepancies of recordings and of simulations, for the third test.
        seed: Seed of permutations and halves.

    Returns:
        Tests by name; their p-values hold together (Holm).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> sorted(cohort_tests(rng.normal(size=(50, 2)), rng.normal(size=(99, 2))))
        ['classifier', 'mmd']
    """
    tests = [mmd_test(real, simulated, seed=seed), classifier_test(real, simulated, seed=seed)]
    if discrepancy is not None:
        tests.append(predictive_test(*discrepancy))
    corrected = holm(np.array([test.p for test in tests]))
    return {t.name: CohortTest(t.name, t.statistic, float(p), t.n) for t, p in zip(tests, corrected, strict=True)}


def _quadratic(x: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n f"]:
    x = np.clip(x, -6.0, 6.0)
    return np.concatenate([np.ones((len(x), 1)), x, x**2 - 1.0], axis=1)


def _checked(
    real: Float[np.ndarray, "m k"], simulated: Float[np.ndarray, "n k"]
) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "n k"]]:
    real, simulated = np.asarray(real, dtype=np.float64), np.asarray(simulated, dtype=np.float64)
    if real.ndim != 2 or simulated.ndim != 2 or real.shape[1] != simulated.shape[1]:
        raise ValueError(f"real and simulated must have shapes (m, k) and (n, k), got {real.shape}, {simulated.shape}")
    if min(len(real), len(simulated)) < _FEWEST:
        raise ValueError(f"a cohort test needs at least {_FEWEST} rows of each, got {len(real)} and {len(simulated)}")
    if not (np.isfinite(real).all() and np.isfinite(simulated).all()):
        raise ValueError("real and simulated must be finite, got values that are not: leave those rows out by name")
    return real, simulated
