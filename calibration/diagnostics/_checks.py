r"""What every diagnostic asks of its input: shapes that fit and values that are finite."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["checked", "finite", "logs"]

Draws = Float[np.ndarray, "N S D"]
Truth = Float[np.ndarray, "N D"]


def checked(draws: Draws, truth: Truth) -> tuple[Draws, Truth]:
    draws, truth = np.asarray(draws), np.asarray(truth)
    if draws.ndim != 3 or truth.shape != (draws.shape[0], draws.shape[2]):
        raise ValueError(f"draws must have shape (N, S, D) and truth (N, D), got {draws.shape} and {truth.shape}")
    finite(draws, "draws")
    finite(truth, "truth")
    return draws, truth


def finite(values: np.ndarray, name: str) -> None:
    wrong = ~np.isfinite(values)
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise ValueError(f"{name} must be finite, got {int(wrong.sum())} values that are not, first in row {row}")


def logs(values: Float[np.ndarray, "*batch D"], log_scaled: Bool[np.ndarray, " D"]) -> Float[np.ndarray, "*batch D"]:
    return np.where(log_scaled, np.log(np.where(log_scaled, values, 1.0)), values)
