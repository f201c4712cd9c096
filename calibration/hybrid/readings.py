r"""Readings of a monitor as what they are: noisy looks at some of the quantities, scored by how probable they were.

A reading $r$ of a quantity $q$ is scored on the scale on which the quantity is learned (its logarithm; pressures in
units of 50 mmHg) by the posterior's own prediction of it, the reading's error included,

$$
\log p(r \mid x) = \log \int N\bigl(r; q(\theta), \sigma_r\bigr)\, p(\theta \mid x)\, d\theta
\approx \log \tfrac1S \sum_s N\bigl(r; q(\theta_s), \sigma_r\bigr), \qquad \theta_s \sim p(\theta \mid x) .
$$

Quantities that are not labelled are integrated out by the draws, derived ones (cardiac output, resistance) come from
each draw, and a posterior is neither asked to be sharper than the monitor nor praised for being so. A window's score is
the mean over its labelled quantities: resistance repeats the monitor's output, a sum would count that reading twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ...inference.outputs import OutputSpace
from ..conformal.marginals import ranked_score

__all__ = ["Readings"]

FLOWS = ("CO", "SV", "SVR", "CI")
"""What a reference for cardiac output measures, with the error stated for it."""
LEAST = 0.03
"""Least error of a reading on its scale: windows are seconds long, readings minutes."""
PRESSURE = 50.0
"""What is one on the scale of a quantity of which no logarithm is taken, a pressure [mmHg]."""


@dataclass(frozen=True)
class Readings:
    r"""Labels of windows on the scale on which they are scored, with their errors.

    Arguments:
        names: Labelled quantities.
        values: Logarithm of each label, or a pressure in units of 50 mmHg; NaN where there is none.
        error: Standard deviation of each on the same scale.
        floors: Least value whose logarithm is taken; minus infinity where none is.

    Raises:
        ValueError: If a window has no label, or an error is not positive.

    Example:
        >>> one = Readings(("CO",), np.log([[5.0]]), np.full((1, 1), 0.1), {"CO": 0.2})
        >>> near, far = (float(one.log_score({"CO": np.full((1, 9), v)})[0, 0]) for v in (5.0, 8.0))
        >>> near > far
        True
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "N Q"]
    error: Float[np.ndarray, "N Q"]
    floors: Mapping[str, float]

    def __post_init__(self) -> None:
        if not np.isfinite(self.values).any(1).all():
            rows = np.flatnonzero(~np.isfinite(self.values).any(1))[:5].tolist()
            raise ValueError(f"each window must have at least one label, got none in rows {rows}")
        if not (self.error > 0).all():
            raise ValueError("errors of readings must be positive")

    @classmethod
    def of(
        cls,
        outputs: OutputSpace,
        labels: Mapping[str, Float[np.ndarray, " N"]],
        reference_error: Float[np.ndarray, " N"],
    ) -> Readings:
        r"""Puts labels on their scales.

        Arguments:
            outputs: Outputs of the estimator and what follows from them.
            labels: Labels by quantity, each in its unit; NaN where there is none.
            reference_error: Standard deviation of each window's reference, as a share of the value.

        Raises:
            ValueError: If no labelled quantity is reported by the model.
        """
        names = tuple(name for name in labels if name in outputs.reported and np.isfinite(labels[name]).any())
        if not names:
            raise ValueError(f"labels must be of some of {list(outputs.reported)}, got {list(labels) or 'none'}")
        floors = {name: outputs.floors[name] for name in names}
        values = np.stack([_scaled(np.asarray(labels[name], np.float64), floors[name]) for name in names], -1)
        stated = np.maximum(np.asarray(reference_error, np.float64), LEAST)
        error = [stated if name in FLOWS else np.full(len(stated), LEAST) for name in names]
        return cls(names, values, np.stack(error, -1), floors)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Readings:
        r"""Some of the windows.

        Arguments:
            rows: Which.
        """
        return Readings(self.names, self.values[rows], self.error[rows], self.floors)

    def scaled(self, draws: Mapping[str, Float[np.ndarray, "N S"]]) -> Float[np.ndarray, "N S Q"]:
        r"""Draws of the labelled quantities on the scale of the readings.

        Arguments:
            draws: Posterior draws by quantity, each in its unit.
        """
        return np.stack([_scaled(np.asarray(draws[n], np.float64), self.floors[n]) for n in self.names], -1)

    def log_score(self, draws: Mapping[str, Float[np.ndarray, "N S"]]) -> Float[np.ndarray, "N Q"]:
        r"""Log density of each reading under the posterior's prediction of it; NaN where there is none.

        Arguments:
            draws: Posterior draws by quantity, each in its unit.
        """
        apart = (self.values[:, None] - self.scaled(draws)) / self.error[:, None]
        log = -0.5 * apart**2
        top = np.nanmax(np.where(np.isfinite(log), log, -1e300), axis=1)
        mean = np.exp(log - top[:, None]).mean(1)
        return np.asarray(np.log(mean) + top - np.log(self.error) - 0.5 * math.log(2 * math.pi))

    def predicted(
        self, draws: Mapping[str, Float[np.ndarray, "N S"]], rng: np.random.Generator
    ) -> Float[np.ndarray, "N S Q"]:
        r"""What the monitor would read, by each draw.

        Arguments:
            draws: Posterior draws by quantity, each in its unit.
            rng: Source of the readings' errors.
        """
        scaled = self.scaled(draws)
        return np.asarray(scaled + self.error[:, None] * rng.standard_normal(scaled.shape))

    def ranked(self, predicted: Float[np.ndarray, "N S Q"]) -> Float[np.ndarray, "N Q"]:
        r"""Continuous ranked probability score of each reading; NaN where there is none.

        Arguments:
            predicted: Draws of the readings.
        """
        return np.stack([ranked_score(predicted[..., q], self.values[:, q]) for q in range(len(self.names))], -1)


def _scaled(values: np.ndarray, floor: float) -> np.ndarray:
    return np.log(np.maximum(values, floor)) if floor > 0 else values / PRESSURE
