r"""What the transformer sees: a trajectory as a few dozen local fits.

The points of a trajectory, however many and however uneven, are cut into windows of equal numbers of points that half
overlap; in each a parabola is fitted to every channel. Its value, slope, curvature and residual are what the network
reads: continuous features, in units in which each channel's largest magnitude is 1 and time runs from 0 to 10. Noise is
smoothed where points are many, and where they are few the parabola passes through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .tokens import MOST_STATES

__all__ = ["N_FEATURES", "Windows", "channels", "windows"]

_CHANNELS = MOST_STATES + 1
_PER_CHANNEL = 7
N_FEATURES = _CHANNELS * _PER_CHANNEL + 2
_Array = np.ndarray


def channels(x: Float[_Array, "*batch D"], u: Float[_Array, "*batch U"]) -> tuple[_Array, Sequence[int]]:
    r"""States and inputs side by side, and the channels that they are.

    Arguments:
        x: States.
        u: Inputs, at most one.

    Raises:
        ValueError: If there are more states or inputs than channels.

    Example:
        >>> values, names = channels(np.ones((3, 2)), np.ones((3, 1)))
        >>> values.shape, names
        ((3, 3), [0, 1, 4])
    """
    if x.shape[-1] > MOST_STATES or u.shape[-1] > 1:
        raise ValueError(f"expected at most {MOST_STATES} states and one input, got {x.shape[-1]} and {u.shape[-1]}")
    names = [*range(x.shape[-1]), *(MOST_STATES + k for k in range(u.shape[-1]))]
    return np.concatenate([x, u], axis=-1), names


@dataclass(frozen=True)
class Windows:
    r"""Windows of trajectories.

    Arguments:
        features: What the encoder reads.
        value: Fitted values in every channel, zero where there is none.
        slope: Fitted slopes.

    Example:
        >>> t = np.linspace(0, 10, 100)[None]
        >>> windows(t, np.sin(t)[..., None], [0]).features.shape == (1, 64, N_FEATURES)
        True
    """

    features: Float[_Array, "B W N"]
    value: Float[_Array, "B W C"]
    slope: Float[_Array, "B W C"]

    @classmethod
    def joined(cls, parts: Sequence[Windows]) -> Windows:
        r"""Windows of several trajectories of the same systems, side by side.

        Arguments:
            parts: Windows of each trajectory.
        """
        names = ("features", "value", "slope")
        return cls(*(np.concatenate([getattr(p, name) for p in parts], axis=1) for name in names))


def windows(
    t: Float[_Array, "B P"], y: Float[_Array, "B P C"], present: Sequence[int], *, n_windows: int = 64
) -> Windows:
    r"""Fits windows of trajectories.

    Arguments:
        t: Times, increasing, from 0 to 10.
        y: Channels, at most 1 in magnitude.
        present: Which channels they are.
        n_windows: Windows; where points are few they overlap.

    Returns:
        Fits and features of each window; zeros for channels that are not there.

    Raises:
        ValueError: If there are fewer than 4 points.

    Example:
        >>> t = np.linspace(0, 10, 100)[None]
        >>> float(abs(windows(t, t[..., None] / 10, [0]).slope[0, :, 0] - 0.1).max()) < 1e-6
        True
    """
    b, p, _ = y.shape
    if p < 4:
        raise ValueError(f"a trajectory needs at least 4 points, got {p}")
    width = min(max(4, -(-2 * p // n_windows)), p)
    first = np.round(np.linspace(0, p - width, n_windows)).astype(int)
    index = first[:, None] + np.arange(width)
    tw, yw = t[:, index], y[:, index]
    centre = tw.mean(-1, keepdims=True)
    half = np.maximum(np.ptp(tw, axis=-1)[..., None] / 2, 1e-6)
    s = (tw - centre) / half
    fit, residual = _parabolas(s, yw)
    h = half[..., 0, None]
    value, slope, curvature = fit[:, :, 0], fit[:, :, 1] / h, 2 * fit[:, :, 2] / h**2
    out = np.zeros((b, n_windows, _CHANNELS, _PER_CHANNEL), np.float32)
    columns = (
        value,
        np.arcsinh(20 * value) / 4,
        np.arcsinh(slope),
        np.arcsinh(20 * slope) / 4,
        np.arcsinh(curvature) / 2,
        np.log10(residual + 1e-4) / 2 + 1,
        np.ones_like(value),
    )
    out[:, :, list(present)] = np.stack(columns, axis=-1)
    times = np.stack([centre[..., 0] / 5 - 1, np.log10(half[..., 0])], axis=-1).astype(np.float32)
    full = np.zeros((2, b, n_windows, _CHANNELS))
    full[0][..., list(present)], full[1][..., list(present)] = value, slope
    return Windows(np.concatenate([out.reshape(b, n_windows, -1), times], axis=-1), full[0], full[1])


def _parabolas(s: Float[_Array, "B W M"], y: Float[_Array, "B W M C"]) -> tuple[_Array, _Array]:
    """Coefficients (B, W, 3, C) and root mean square residuals (B, W, C) of least-squares parabolas."""
    basis = np.stack([np.ones_like(s), s, s * s], axis=-1)
    gram = np.einsum("bwmi,bwmj->bwij", basis, basis) + 1e-6 * np.eye(3)
    fit = np.linalg.solve(gram, np.einsum("bwmi,bwmc->bwic", basis, y))
    residual = y - np.einsum("bwmi,bwic->bwmc", basis, fit)
    return fit, np.sqrt((residual**2).mean(2))
