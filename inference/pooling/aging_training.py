r"""How references grow old, from recordings not trained on: variograms of the errors of courses.

For pairs of windows of a recording, from neighbours to its ends, the squared difference of the errors of two windows'
medians over the variances that draws keep where what the pool shares is known, $y_d = (u_{id} - u_{kd})^2 / (r_{id}^2
+ r_{kd}^2)$ for the standardised output $d$, has the mean $f_d(\Delta) = 1 + c_d (1 - e^{-\Delta/\tau})$ (``aging``).
Rises of 0 or more and the one time constant minimise $\sum \ln f_d + \min(y_d, 9) / f_d$, Gaussian quasi-likelihood
with accidents beyond three standard deviations held, every recording and output of the same weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from ..bundle import Bundle
from .aging import Aging
from .features import EmbeddedRecordings
from .held_pools import pooled_draws
from .layer import PoolingLayer

__all__ = ["fit_aging", "fit_variograms"]

_MOST = 9.0  # three standard deviations, squared
_SHORTEST_S, _LONGEST_S = 30.0, 86400.0  # time constants looked at


def fit_aging(
    bundle: Bundle,
    layer: PoolingLayer,
    sets: Sequence[EmbeddedRecordings],
    *,
    draws: int = 200,
    tell: Callable[[str], None] = lambda _: None,
) -> Aging:
    r"""Fits how much more own errors differ between windows far apart than draws tell.

    Arguments:
        bundle: The window model.
        layer: The pooling layer.
        sets: Recordings that were not trained on.
        draws: Draws of each window.
        tell: Told what was found.

    Example:
        >>> fit_aging.__kwdefaults__["draws"]
        200
    """
    long = [(data, r) for data in sets for r in range(len(data.context)) if data.usable[r].sum() > 1]
    found = [_pairs(bundle, layer, data, r, draws) for data, r in long]
    aging = fit_variograms(*(np.concatenate(part) for part in zip(*found, strict=True)))
    tell(f"aging: {aging} from {len(found)} recordings")
    return aging


def fit_variograms(
    apart_s: Float[np.ndarray, " pair"], ratio: Float[np.ndarray, "pair D"], weight: Float[np.ndarray, " pair"]
) -> Aging:
    r"""Fits rises and their time constant to pairs of windows.

    Arguments:
        apart_s: Time between the windows of each pair [s].
        ratio: Squared differences of the errors of their outputs over the variance that draws tell.
        weight: Weight of each pair.

    Example:
        >>> apart_s = np.geomspace(10.0, 1e5, 200)
        >>> one = fit_variograms(apart_s, 1 + np.array([0.6, 0.0]) * -np.expm1(-apart_s / 600.0)[:, None], np.ones(200))
        >>> [round(c, 2) for c in one.excess], round(one.time_s, -1)
        ([0.6, 0.0], 600.0)
    """
    from scipy.optimize import minimize

    most = np.minimum(ratio, _MOST)

    def loss(p: Float[np.ndarray, " D1"]) -> float:
        growth = 1.0 - np.expm1(-apart_s / np.exp(p[-1]))[:, None] * p[:-1]
        return float(np.average((np.log(growth) + most / growth).mean(1), weights=weight))

    dim = ratio.shape[1]
    bounds = [(0.0, 10.0)] * dim + [(np.log(_SHORTEST_S), np.log(_LONGEST_S))]
    made = minimize(loss, np.r_[np.full(dim, 0.5), np.log(600.0)], bounds=bounds, method="L-BFGS-B")
    return Aging(tuple(round(float(c), 3) for c in made.x[:-1]), round(float(np.exp(made.x[-1])), 1))


def _pairs(
    bundle: Bundle, layer: PoolingLayer, data: EmbeddedRecordings, r: int, draws: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances, ratios and weights of pairs of windows of a recording."""
    ok = np.flatnonzero(data.usable[r])
    at = _spread(np.random.default_rng([r, len(ok)]), len(ok))
    time_s, space, npe = data.time_s[r, ok], bundle.outputs.space, layer.npe
    shared, made = pooled_draws(bundle, layer, data.context[r, ok], time_s, draws, at=at, seed=r)
    size = npe.z_sd.double().numpy()
    z = space.unconstrain(made.astype(np.float64)) / size
    error = space.unconstrain(data.theta[r, ok[at]].astype(np.float64)) / size - np.median(z, axis=1)
    rows = np.concatenate((np.ones((draws, 1)), shared[0] - shared[0].mean(0)), axis=1).astype(np.float64)
    flat = np.moveaxis(z, 1, 0).reshape(draws, -1)
    left = flat - rows @ np.linalg.lstsq(rows, flat, rcond=None)[0]
    own = np.square(left).sum(0).reshape(error.shape) / (draws - rows.shape[1])
    i, k = np.triu_indices(len(at), 1)
    return time_s[at[k]] - time_s[at[i]], (error[i] - error[k]) ** 2 / (own[i] + own[k]), np.full(len(i), 1.0 / len(i))


def _spread(rng: np.random.Generator, windows: int) -> Int[np.ndarray, " K"]:
    """One window at random and those 1, 2, 4, ... before and after it."""
    steps = 2 ** np.arange(16)
    rows = rng.integers(windows) + np.concatenate((-steps, [0], steps))
    return np.unique(rows[(rows >= 0) & (rows < windows)])
