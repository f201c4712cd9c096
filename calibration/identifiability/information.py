r"""What a measurement tells of a quantity, in bits: the entropy that it takes away.

$$ I(\theta; x) = H(\theta) - \operatorname{E}_x H(\theta \mid x) , $$

on each quantity's own scale (the logarithm where it is positive). Entropies come from draws by spacings: with
$x_{(i)}$ in order and $m = 2$,

$$ H = \frac{1}{n-m} \sum_i \log \frac{(n+1)(x_{(i+m)} - x_{(i)})}{m} + \log m - \psi(m) . $$

References:
    Beirlant J. et al. (1997), Nonparametric entropy estimation: an overview, Int J Math Stat Sci 6:17 (spacings, the
    correction by the digamma function); Lindley D.V. (1956), Ann Math Stat 27:986 (information of an experiment).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

__all__ = ["entropy", "entropy_as", "information"]

_SPACING = 2
"""Draws from one end of a spacing to the other: few for little bias, the variance is averaged over individuals."""


def entropy(draws: Float[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch"]:
    r"""Differential entropy of what draws are from.

    Arguments:
        draws: Draws, on the scale on which the entropy is wanted.

    Returns:
        Entropy [bit].

    Raises:
        ValueError: If there are fewer than ten draws.

    Example:
        >>> bool(abs(entropy(np.random.default_rng(0).random(4000))) < 0.05)
        True
    """
    from scipy.special import digamma

    draws = np.sort(np.asarray(draws, dtype=np.float64), axis=-1)
    n = draws.shape[-1]
    if n < 10:
        raise ValueError(f"draws must be at least ten, got {n}")
    m = _SPACING
    gaps = np.maximum(draws[..., m:] - draws[..., :-m], 1e-12)
    nats = np.log((n + 1) / m * gaps).mean(-1) + np.log(m) - digamma(m)
    return np.asarray(nats / np.log(2))


def entropy_as(prior: Float[np.ndarray, " M"], n: int) -> float:
    r"""Entropy of many draws, from parts of a given size: with the bias that entropies of so few draws have.

    Arguments:
        prior: Draws, in no order.
        n: Size of the parts.

    Returns:
        Mean entropy of the parts [bit].

    Example:
        >>> abs(entropy_as(np.random.default_rng(0).random(4000), 500)) < 0.05
        True
    """
    n = min(n, len(prior))
    parts = np.asarray(prior)[: len(prior) // n * n].reshape(-1, n)
    return float(entropy(parts).mean())


def information(
    prior: Float[np.ndarray, " M"], draws: Float[np.ndarray, "N S"]
) -> tuple[float, float, Float[np.ndarray, " N"]]:
    r"""Mean entropy that measurements take away.

    Arguments:
        prior: Draws of the prior.
        draws: Draws of the posterior of each individual.

    Returns:
        Information [bit], its standard error over individuals, and the information of each of them; that of one may be
        negative: a measurement can leave somebody less certain.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found, error, _ = information(rng.normal(size=4000), 0.25 * rng.normal(size=(50, 500)))
        >>> abs(found - 2) < 0.1  # a quarter of the spread: two bits
        True
    """
    own = entropy_as(prior, draws.shape[-1]) - entropy(draws)
    return float(own.mean()), float(own.std(ddof=1) / np.sqrt(len(own))) if len(own) > 1 else float("nan"), own
