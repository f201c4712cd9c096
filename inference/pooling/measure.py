r"""What a pooling layer is worth on held-out simulated recordings: coverage by size of pool, and trends."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ..bundle import Bundle
from ..sampling import invert_flow
from .features import EmbeddedRecordings
from .layer import PoolingLayer
from .pools import pool_averages

__all__ = ["measure_pooling", "pooled_draws", "window_draws"]

SIZES = (1, 10, 200)
"""Windows of the pools on which coverage is measured."""
_LEVELS = (0.5, 0.9)
_ASKED = 20  # windows of each recording that are asked for


@torch.no_grad()
def pooled_draws(
    bundle: Bundle,
    layer: PoolingLayer,
    context: Float[np.ndarray, "W inputs"],
    time_s: Float[np.ndarray, " W"],
    n: int,
    *,
    at: Float[np.ndarray, " K"] | None = None,
    causal: bool = False,
    seed: int = 0,
) -> tuple[Float[np.ndarray, "K n S"], Float[np.ndarray, "K n D"]]:
    r"""Draws of slow and fast quantities of windows given their pool.

    Arguments:
        bundle: The window model.
        layer: The pooling layer.
        context: The window model's context vectors of the whole pool, in order of time.
        time_s: Start of every window [s].
        n: Draws of each window.
        at: Windows asked for; all where None.
        causal: Whether a window's pool ends with itself.
        seed: Seed of the draws.

    Example:
        >>> pooled_draws.__name__
        'pooled_draws'
    """
    npe = layer.npe
    rows = np.arange(len(context)) if at is None else np.asarray(at, int)
    h = torch.from_numpy(np.asarray(context, np.float32))
    unit = npe.unit(h)
    averages, counts = pool_averages(npe.features(unit).numpy(), time_s, causal=causal)
    flow_context = npe.context(unit[rows], torch.from_numpy(averages[rows]), torch.from_numpy(counts[rows]))
    generator = torch.Generator().manual_seed(seed)
    return npe.sample(bundle.npe, h[rows], flow_context, n, [generator] * len(rows))


@torch.no_grad()
def window_draws(
    bundle: Bundle, context: Float[np.ndarray, "W inputs"], n: int, *, seed: int = 0
) -> Float[np.ndarray, "W n D"]:
    r"""Draws of the window model from its context vectors.

    Arguments:
        bundle: The window model.
        context: Context vectors.
        n: Draws of each.
        seed: Seed of the draws.

    Example:
        >>> window_draws.__name__
        'window_draws'
    """
    npe, generator = bundle.npe, torch.Generator().manual_seed(seed)
    draws = np.empty((len(context), n, len(npe.z_mean)), np.float32)
    for i, c in enumerate(torch.from_numpy(np.asarray(context, np.float32))):
        z = invert_flow(npe.flow, c, torch.randn(n, len(npe.z_mean), generator=generator)) * npe.z_sd + npe.z_mean
        draws[i] = npe.outputs.space.constrain(z.double().numpy())
    return draws


def measure_pooling(
    bundle: Bundle, layer: PoolingLayer, data: EmbeddedRecordings, *, draws: int = 400
) -> dict[str, Any]:
    r"""Coverage with pools of 1, 10 and up to 200 windows, and the trend error against windows alone.

    Arguments:
        bundle: The window model.
        layer: The pooling layer.
        data: Held-out recordings.
        draws: Draws of each window.

    Returns:
        JSON-able: ``n`` windows, ``recordings``, ``coverage`` by level and quantity over all sizes, the same by size,
        and ``trend``, the median over recordings of the standard deviation of the log error.

    Example:
        >>> measure_pooling.__kwdefaults__["draws"]
        400
    """
    rng = np.random.default_rng(0)
    held: dict[int, list[dict[str, np.ndarray]]] = {size: [] for size in SIZES}
    trend: dict[str, list[tuple[float, float]]] = {"window": [], "recording": []}
    for r in range(len(data.context)):
        ok = np.flatnonzero(data.usable[r])
        for size in SIZES:
            size_here = min(size, len(ok))
            start = int(rng.integers(len(ok) - size_here + 1))
            rows = ok[start : start + size_here]
            at = np.unique(np.linspace(0, len(rows) - 1, min(_ASKED, len(rows))).astype(int))
            _, theta = pooled_draws(bundle, layer, data.context[r, rows], data.time_s[r, rows], draws, at=at, seed=r)
            truth = bundle.outputs.derive(data.theta[r, rows[at]].astype(np.float64))
            made = bundle.outputs.derive(theta)
            held[size].append({name: _ranks(made[name], truth[name]) for name in made})
            if size == SIZES[-1]:
                alone = bundle.outputs.derive(window_draws(bundle, data.context[r, rows[at]], draws, seed=r))
                for name, one in (("window", alone), ("recording", made)):
                    trend[name].append((_trend(one["SV"], truth["SV"]), _trend(one["CO"], truth["CO"])))
    by_size = {str(size): _coverage(parts) for size, parts in held.items()}
    return {
        "n": sum(len(next(iter(part.values()))) for parts in held.values() for part in parts),
        "recordings": len(data.context),
        "coverage": _coverage([part for parts in held.values() for part in parts]),
        "coverage_by_pool": by_size,
        "trend": {name: dict(zip(("SV", "CO"), _median(v), strict=True)) for name, v in trend.items()},
    }


def _ranks(draws: Float[np.ndarray, "K n"], truth: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
    return np.asarray((draws < truth[:, None]).mean(1))


def _coverage(parts: list[dict[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {
        f"{level:g}": {n: round(float(np.mean(np.abs(u - 0.5) <= 0.5 * level)), 4) for n, u in joined.items()}
        for level in _LEVELS
    }


def _trend(draws: Float[np.ndarray, "K n"], truth: Float[np.ndarray, " K"]) -> float:
    return float(np.std(np.log(np.maximum(np.median(draws, axis=1), 1e-6) / truth)))


def _median(values: list[tuple[float, float]]) -> list[float]:
    return [round(float(v), 4) for v in np.median(np.array(values), axis=0)]
