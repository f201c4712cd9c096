r"""What a posterior says in words a person asks for: chances, dots to count, and what the doubt goes along with.

The chance of lying below a threshold is the share of draws below it. A **quantile dotplot** shows $n$ equally likely
values, the quantiles at $(i - \tfrac12)/n$: counting dots is reading chances. The **companions** of a quantity are the
other quantities whose uncertainty goes with its own, by the squared correlation of the logarithms (of the values where
one is not positive) over the draws of one window.

References:
    Kay, Kola, Hullman & Munson (2016), When (ish) is my bus?, CHI '16, 5092-5103 (quantile dotplots).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

__all__ = ["chance_below", "companions", "quantile_dots"]

FOLLOWS: Mapping[str, frozenset[str]] = {
    "CO": frozenset({"SV", "SVR", "CI"}),
    "SV": frozenset({"CO", "SVR", "CI"}),
    "SVR": frozenset({"CO", "SV", "CI"}),
    "MAP": frozenset({"SBP", "DBP"}),
    "SBP": frozenset({"MAP", "PP"}),
    "DBP": frozenset({"MAP", "PP"}),
    "PP": frozenset({"SBP", "DBP"}),
}
r"""Quantities that follow from each other draw by draw: to name them as each other's companion would say nothing."""


def chance_below(draws: Float[np.ndarray, " draw"], threshold: float) -> float:
    r"""Posterior probability of lying below a threshold.

    Arguments:
        draws: Posterior draws.
        threshold: The threshold, in their unit.

    Returns:
        Share of draws below it.

    Example:
        >>> chance_below(np.array([3.0, 4.0, 5.0, 6.0]), 4.5)
        0.5
    """
    return float(np.mean(np.asarray(draws) < threshold))


def quantile_dots(
    draws: Float[np.ndarray, " draw"], n: int = 50, *, bins: int = 15, edge: float = float("nan")
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    r"""Places of a quantile dotplot.

    Arguments:
        draws: Posterior draws.
        n: Number of dots, each with a probability of 1/n.
        bins: Columns in which dots are stacked.
        edge: A value that no column straddles, such as a threshold; NaN for none.

    Returns:
        Value of each dot and its place in its column, counted from 1.

    Raises:
        ValueError: If there are no draws or no dots.

    Example:
        >>> values, heights = quantile_dots(np.arange(100.0), 20)
        >>> len(values), float(heights.min())
        (20, 1.0)
    """
    draws = np.asarray(draws, dtype=np.float64)
    if not (len(draws) and n > 0 and bins > 0):
        raise ValueError(f"draws, n and bins must not be empty, got {len(draws)}, {n} and {bins}")
    values = np.quantile(draws, (np.arange(n) + 0.5) / n)
    low = values[0]
    width = (values[-1] - low) / bins or 1.0
    if np.isfinite(edge):
        low = edge - np.ceil((edge - low) / width) * width
    column = np.floor((values - low) / width + 1e-9).astype(int)
    if not np.isfinite(edge):
        column = np.minimum(column, bins - 1)
    heights = np.array([np.sum(column[: i + 1] == column[i]) for i in range(n)], dtype=np.float64)
    return low + (column + 0.5) * width, heights


def companions(draws: Mapping[str, Float[np.ndarray, " draw"]], name: str) -> dict[str, float]:
    r"""What the doubt about a quantity goes along with, the strongest first.

    Arguments:
        draws: Posterior draws of one window by quantity.
        name: The quantity.

    Returns:
        Squared correlation with every other quantity that does not follow from it draw by draw.

    Raises:
        ValueError: If there are no draws of the quantity.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> stiff = rng.lognormal(size=500)
        >>> found = companions({"CO": 5 / stiff, "C": 1 / stiff, "HR": rng.lognormal(size=500)}, "CO")
        >>> list(found)[0], round(found["C"], 2)
        ('C', 1.0)
    """
    if name not in draws:
        raise ValueError(f"name must be among {sorted(draws)}, got {name!r}")
    own = _scaled(draws[name])
    others = {k: _scaled(v) for k, v in draws.items() if k != name and k not in FOLLOWS.get(name, frozenset())}
    shares = {k: _squared_correlation(own, v) for k, v in others.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _scaled(values: Float[np.ndarray, " draw"]) -> Float[np.ndarray, " draw"]:
    values = np.asarray(values, dtype=np.float64)
    return np.log(values) if (values > 0).all() else values


def _squared_correlation(one: Float[np.ndarray, " draw"], other: Float[np.ndarray, " draw"]) -> float:
    if not (one.std() > 0 and other.std() > 0):
        return 0.0
    return float(np.corrcoef(one, other)[0, 1] ** 2)
