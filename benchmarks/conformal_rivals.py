r"""Rivals: ott's OTCP, and a plain OT-CP in a few lines of POT."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import numpy as np

MISSING = "not installed"


def ott_name() -> str:
    """Name with version."""
    try:
        return f"ott.tools.conformal.OTCP {version('ott-jax')}"
    except ImportError:
        return "ott.tools.conformal.OTCP"


def ott_scores(
    r: np.ndarray, *, epsilon: float = 0.1, n_target: int = 8192
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Scores of ott's OTCP fitted on residuals; None where ott-jax is absent."""
    try:
        import jax
        import jax.numpy as jnp
        from ott.tools import conformal
    except ImportError:
        return None
    model = conformal.OTCP(model=lambda x: jnp.zeros_like(x))
    data = jnp.asarray(r, dtype=jnp.float32)
    fitted = model.fit_transport(data, data, epsilon=epsilon, n_target=n_target, rng=jax.random.key(0))
    evaluate = jax.jit(lambda y: fitted.get_scores(jnp.zeros_like(y), y))
    size = 2000

    def score(y: np.ndarray) -> np.ndarray:
        padded = np.concatenate([y, np.zeros((-len(y) % size, y.shape[1]))]).astype(np.float32)
        parts = [np.asarray(evaluate(jnp.asarray(padded[i : i + size]))) for i in range(0, len(padded), size)]
        return np.concatenate(parts)[: len(y)].astype(np.float64)

    return score


def pot_scores(r: np.ndarray, seed: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """Plain OT-CP: exact plan by POT to as many reference points, no whitening, rank of the Laguerre cell."""
    import ot

    rng = np.random.default_rng(seed)
    n, d = r.shape
    centre, scale = r.mean(0), np.abs(r - r.mean(0)).max()
    source = (r - centre) / scale
    directions = rng.normal(size=(n, d))
    points = directions / np.linalg.norm(directions, axis=1, keepdims=True) * (np.arange(1, n + 1) / n)[:, None]
    weights = np.full(n, 1 / n)
    _, log = ot.emd(weights, weights, ot.dist(source, points), numItermax=2_000_000, log=True)
    offset = log["v"] - (points**2).sum(1)
    radius = np.linalg.norm(points, axis=1)

    def score(y: np.ndarray) -> np.ndarray:
        z = (y - centre) / scale
        blocks = [radius[(2 * z[i : i + 2000] @ points.T + offset).argmax(1)] for i in range(0, len(z), 2000)]
        return np.concatenate(blocks)

    return score
