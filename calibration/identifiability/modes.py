r"""One mode or two: a likelihood-ratio test whose two hypotheses say nothing of a density but how often it turns.

In twenty bins of one width, the density with one mode of greatest likelihood rises, then falls; the one with two
rises and falls twice. Each rising or falling stretch is the pooled-adjacent-violators solution, and where the turns
are is tried out, so that

$$
\Lambda = 2 \Bigl( \max_{m_1 \le v \le m_2} \ell(m_1, v, m_2) - \max_m \ell(m) \Bigr) , \qquad
\ell = \sum_{\text{blocks}} n_b \log \frac{n_b}{w_b} .
$$

Skew, heavy tails, hard edges and flat tops are all one mode. The p-value is the share of samples of the fitted density
of one mode with a greater ratio, drawn until twenty are (Besag & Clifford). A small group far from a large one moves
the dip little and this ratio much; where two equal groups hardly part the dip is as good.

References:
    Robertson T., Wright F.T., Dykstra R.L. (1988), Order restricted statistical inference (pooled adjacent violators);
    Walther G. (2002), J Am Stat Assoc 97:508 (mixing found by likelihoods of monotone pieces); Besag J., Clifford P.
    (1991), Biometrika 78:301 (sequential Monte Carlo p-values).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numba import njit

__all__ = ["TwoModes", "two_modes"]

BINS = 20
NULL_DRAWS = 20_000
"""Most samples behind a p-value, which is never less than one over this number and one more."""
ENOUGH = 20
"""Samples with a greater ratio after which no more are drawn."""
_FAR = 6.0  # standard deviations from the median; beyond them no 3 in 100 can lie, and stragglers are left out


@dataclass(frozen=True)
class TwoModes:
    r"""What the test says.

    Arguments:
        ratio: Twice the difference of log likelihoods.
        p: Its p-value.
        cut: Where the valley between the two modes is: the middle of the lowest stretch.

    Example:
        >>> TwoModes(30.0, 1e-4, 0.5).cut
        0.5
    """

    ratio: float
    p: float
    cut: float


@njit(cache=True)
def _falling(counts: np.ndarray, first: int, sums: np.ndarray, widths: np.ndarray, out: np.ndarray) -> None:
    """Log likelihood of the best falling density on [first, v), for every v; the blocks are left in sums and widths."""
    top, total = 0, 0.0
    out[first] = 0.0
    for i in range(first, len(counts)):
        s, w = counts[i], 1.0
        while top > 0 and sums[top - 1] * w <= s * widths[top - 1]:
            top -= 1
            if sums[top] > 0:
                total -= sums[top] * np.log(sums[top] / widths[top])
            s += sums[top]
            w += widths[top]
        sums[top], widths[top] = s, w
        top += 1
        if s > 0:
            total += s * np.log(s / w)
        out[i + 1] = total
    if top < len(sums):
        widths[top] = 0.0


@njit(cache=True)
def _up_and_down(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log likelihood of the best density of one mode on [0, v), and where the mode begins, for every v."""
    n = len(counts)
    sums, widths, run = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1)
    best, where = np.full(n + 1, -np.inf), np.zeros(n + 1, np.int64)
    for m in range(n + 1):
        rising = 0.0
        if m > 0:
            _falling(counts[:m][::-1].copy(), 0, sums, widths, run)
            rising = run[m]
        _falling(counts, m, sums, widths, run)
        for v in range(m, n + 1):
            if rising + run[v] > best[v]:
                best[v], where[v] = rising + run[v], m
    return best, where


@njit(cache=True)
def _ratio(counts: np.ndarray) -> tuple[float, int, int]:
    """The statistic, where the second rise begins, and where the only mode does."""
    n = len(counts)
    left, where = _up_and_down(counts)
    right, _ = _up_and_down(counts[::-1].copy())
    best, at = -np.inf, 0
    for v in range(n + 1):
        if left[v] + right[n - v] > best:
            best, at = left[v] + right[n - v], v
    return 2 * (best - left[n]), at, where[n]


@njit(cache=True)
def _ratios(rows: np.ndarray) -> np.ndarray:
    found = np.empty(len(rows))
    for i in range(len(rows)):
        found[i] = _ratio(rows[i])[0]
    return found


def _fell(counts: np.ndarray) -> np.ndarray:
    """The best falling density of some bins, in counts."""
    sums, widths = np.zeros(len(counts) + 1), np.zeros(len(counts) + 1)
    _falling(counts, 0, sums, widths, np.zeros(len(counts) + 1))
    last = int(widths.cumsum().searchsorted(len(counts) - 0.5)) + 1
    return np.repeat(sums[:last] / widths[:last], widths[:last].astype(int))


def _one_mode(counts: np.ndarray, at: int) -> np.ndarray:
    """The best density that rises up to a place and falls from there, in counts."""
    rising = _fell(counts[:at][::-1].copy())[::-1] if at else counts[:0]
    return np.concatenate([rising, _fell(counts[at:].copy()) if at < len(counts) else counts[:0]])


def _valley(counts: np.ndarray, at: int) -> float:
    """Middle of the lowest stretch about the place where the second rise begins, in bins."""
    left, right = (_one_mode(part, int(_up_and_down(part)[1][-1])) for part in (counts[:at], counts[at:]))
    fitted = np.concatenate([left, right])
    low = min(fitted[max(at - 1, 0)], fitted[min(at, len(fitted) - 1)])
    first, last = at, at
    while first > 0 and fitted[first - 1] <= low:
        first -= 1
    while last < len(fitted) and fitted[last] <= low:
        last += 1
    return 0.5 * (first + last)


def two_modes(values: Float[np.ndarray, " N"], *, seed: int = 0) -> TwoModes:
    r"""Asks whether the density that a sample is from has two modes rather than one.

    Arguments:
        values: The sample.
        seed: Seed of the samples that it is compared with.

    Raises:
        ValueError: If there are fewer than a hundred values, or one is not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = two_modes(np.concatenate([rng.gamma(4, size=360), 14 + rng.normal(size=40)]))
        >>> found.p < 0.001, bool(9 < found.cut < 13)
        (True, True)
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 100 or not np.isfinite(values).all():
        raise ValueError(f"the test needs at least 100 values, all finite, got {len(values)}")
    middle, scale = float(np.median(values)), float(values.std())
    if not np.ptp(values) > 0:
        return TwoModes(0.0, 1.0, middle)
    near = values[np.abs(values - middle) <= _FAR * scale]
    whole, edges = np.histogram(near, BINS)
    counts = whole.astype(np.float64)
    ratio, at, mode = _ratio(counts)
    place = float(np.interp(_valley(counts, at), np.arange(BINS + 1), edges)) if 0 < at < BINS else middle
    fitted = _one_mode(counts, mode)
    return TwoModes(float(ratio), _p_value(ratio, fitted / fitted.sum(), len(near), seed), place)


def _p_value(ratio: float, density: np.ndarray, n: int, seed: int) -> float:
    """Share of samples of a density with a greater ratio, drawn until enough are."""
    rng = np.random.default_rng([seed, n, 1991])
    greater, drawn, size = 0, 0, 100
    while drawn < NULL_DRAWS:
        size = min(size, NULL_DRAWS - drawn)
        above = np.flatnonzero(_ratios(rng.multinomial(n, density, size).astype(np.float64)) >= ratio - 1e-9)
        if greater + len(above) >= ENOUGH:
            return ENOUGH / float(drawn + above[ENOUGH - greater - 1] + 1)
        greater, drawn, size = greater + len(above), drawn + size, min(2 * size, 2000)
    return (greater + 1) / (drawn + 1)
