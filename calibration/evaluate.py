r"""Measures an estimator on held-out simulations: what goes to the bundle's ``measured`` and onto its card."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ..inference.npe import NPE
from ..inference.outputs import OutputSpace
from .diagnostics.intervals import coverage
from .diagnostics.rank_tests import ranks, sbc
from .diagnostics.shrinkage import contraction

__all__ = ["CURVE", "draw_quantities", "measure", "measure_draws"]

CURVE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Levels at which coverage is measured."""

_ABSOLUTE = ("MAP", "CVP", "SBP", "DBP", "PP")
"""Pressures, whose error is given in mmHg beside the share."""


def draw_quantities(
    npe: NPE,
    x: Float[np.ndarray, "N T"],
    *,
    n_draws: int = 1000,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Float[np.ndarray, "N S"]]:
    r"""Draws the posterior of every quantity for many windows.

    Arguments:
        npe: The estimator.
        x: Windows.
        n_draws: Draws a window.
        seed: Seed of the draws.
        progress: Called with the number of windows done.

    Example:
        >>> from pulsebayes.inference.npe import PRESETS
        >>> from pulsebayes.inference.outputs import OutputSpace
        >>> npe = NPE(OutputSpace.from_names(("HR", "SV")), PRESETS["small"])
        >>> draw_quantities(npe, np.full((2, 1000), 90.0, np.float32), n_draws=5)["CO"].shape
        (2, 5)
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, len(x), 100):
        theta = npe.sample(torch.from_numpy(np.asarray(x[start : start + 100], np.float32)), n_draws, generator)
        parts.append(theta)
        progress(min(start + 100, len(x)))
    return npe.outputs.derive(np.concatenate(parts))


def measure(
    npe: NPE,
    x: Float[np.ndarray, "N T"],
    theta: Float[np.ndarray, "N D"],
    prior: Float[np.ndarray, "M D"],
    *,
    n_draws: int = 1000,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    r"""Measures coverage, ranks, contraction, error and interval size of every quantity.

    Arguments:
        npe: The estimator.
        x: Held-out windows.
        theta: Outputs that were simulated, each in its unit.
        prior: Prior draws of the outputs.
        n_draws: Draws a window.
        seed: Seed of the draws.
        progress: Called with the number of windows done.

    Returns:
        A JSON-able dictionary: ``n``, ``draws``, ``coverage`` by level, ``sbc``, ``sbc_holm``, ``contraction``,
        ``median_error`` (share), ``median_error_mmHg``, ``interval`` (median width of the 90 % interval) and
        ``prior_range`` (5 and 95 %).

    Raises:
        ValueError: If a value is not finite or the shapes do not fit.

    Example:
        >>> from pulsebayes.inference.npe import PRESETS
        >>> from pulsebayes.inference.outputs import OutputSpace
        >>> outputs = OutputSpace.from_names(("HR", "SV"))
        >>> theta = np.random.default_rng(0).uniform([50, 40], [90, 90], (100, 2))
        >>> found = measure(NPE(outputs, PRESETS["small"]), np.full((100, 1000), 90.0), theta, theta, n_draws=20)
        >>> sorted(found["contraction"])
        ['CO', 'HR', 'SV']
    """
    by_name = draw_quantities(npe, x, n_draws=n_draws, seed=seed, progress=progress)
    return measure_draws(npe.outputs, by_name, theta, prior)


def measure_draws(
    outputs: OutputSpace,
    by_name: dict[str, Float[np.ndarray, "N S"]],
    theta: Float[np.ndarray, "N D"],
    prior: Float[np.ndarray, "M D"],
    *,
    keep: bool = False,
) -> dict[str, Any]:
    r"""Measures posterior draws that are there already.

    Arguments:
        outputs: The estimator's outputs.
        by_name: Draws of every quantity; emptied on the way unless ``keep``.
        theta: Outputs that were simulated, each in its unit.
        prior: Prior draws of the outputs.
        keep: Whether the draws are left in place.

    Returns:
        As `measure`.

    Raises:
        ValueError: If a value is not finite or the shapes do not fit.

    Example:
        >>> outputs = OutputSpace.from_names(("HR",))
        >>> rng = np.random.default_rng(0)
        >>> theta = rng.uniform(50, 90, (100, 1))
        >>> measure_draws(outputs, {"HR": theta + rng.normal(0, 1, (100, 50))}, theta, theta)["n"]
        100
    """
    names, n_draws = list(outputs.reported), len(next(iter(by_name.values()))[0])
    truth, before = outputs.derive(theta), outputs.derive(prior)
    rows: dict[str, dict[str, float]] = {key: {} for key in ("contraction", "median_error", "interval", "absolute")}
    covered, u = [], []
    for name in names:  # one quantity at a time: all of them together would not fit small machines
        draws, true = (by_name[name] if keep else by_name.pop(name))[..., None], truth[name][:, None]
        floor, log = outputs.floors[name], np.array([outputs.log_scaled[name]])
        prior_draws = np.maximum(before[name], floor)[:, None]
        covered.append(coverage(draws, true, CURVE)[:, 0])
        u.append(ranks(draws, true))
        rows["contraction"][name] = _digits(contraction(np.maximum(draws, floor), prior_draws, log)[0])
        low, median, high = np.quantile(draws[..., 0], [0.05, 0.5, 0.95], axis=1)
        error = np.abs(median - truth[name])
        rows["absolute"][name] = _digits(np.median(error))
        rows["median_error"][name] = _digits(np.median(error / np.maximum(np.abs(truth[name]), 1e-9)))
        rows["interval"][name] = _digits(np.median(high - low))
    tests = sbc(np.concatenate(u, axis=1), n_draws=n_draws)
    absolute = rows.pop("absolute")
    return {
        "n": len(theta),
        "draws": n_draws,
        "coverage": {
            f"{level:g}": _row(names, values) for level, values in zip(CURVE, np.stack(covered, 1), strict=True)
        },
        "sbc": _row(names, tests.ks),
        "sbc_holm": _row(names, tests.holm),
        **rows,
        "median_error_mmHg": {name: absolute[name] for name in names if name in _ABSOLUTE},
        "prior_range": {name: [_digits(v) for v in np.quantile(before[name], [0.05, 0.95])] for name in names},
    }


def _row(names: list[str], values: Float[np.ndarray, " Q"]) -> dict[str, float]:
    return {name: _digits(value) for name, value in zip(names, values, strict=True)}


def _digits(value: float | np.floating[Any]) -> float:
    return round(float(value), 6)
