r"""How probable the labels of a recording are under its mixture, when only some quantities are labelled.

A label is of a reported quantity, measured or derived (cardiac output, resistance), seldom of all. Each labelled
quantity is scored by its own marginal density: a mixture of kernels around the components' draws of that quantity, on
the scale (logarithm or not) on which it is learned, plus the prior's share; a recording's score is the mean over its
labelled quantities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ...inference.outputs import OutputSpace
from .components import Components, log_kernels

__all__ = ["LabelScore"]


@dataclass(frozen=True)
class LabelScore:
    r"""Marginal log densities of partial labels.

    Arguments:
        names: Labelled quantities.
        labels: Labels of each recording, each in its unit; NaN where there is none.
        draws: Draws of each component, by quantity.
        prior: Draws of the prior, by quantity.
        floors: Least value whose logarithm is taken; minus infinity where none is.

    Raises:
        ValueError: If a recording has no label.

    Example:
        >>> draws = {"CO": np.full((3, 8), 5.0)}
        >>> score = LabelScore(("CO",), np.array([[5.0]]), draws, {"CO": np.linspace(2.0, 9.0, 50)}, {"CO": 0.2})
        >>> bool(score(np.full((1, 3), 1 / 3), np.array([0]), 0.2, 0.05)[0] > -1)
        True
    """

    names: tuple[str, ...]
    labels: Float[np.ndarray, "N Q"]
    draws: Mapping[str, Float[np.ndarray, "n S"]]
    prior: Mapping[str, Float[np.ndarray, " M"]]
    floors: Mapping[str, float]

    def __post_init__(self) -> None:
        if not np.isfinite(self.labels).any(1).all():
            rows = np.flatnonzero(~np.isfinite(self.labels).any(1))[:5].tolist()
            raise ValueError(f"each recording must have at least one label, got none in rows {rows}")

    @classmethod
    def of(
        cls,
        outputs: OutputSpace,
        components: Components,
        prior: Float[np.ndarray, "M D"],
        labels: Mapping[str, Float[np.ndarray, " N"]],
    ) -> LabelScore:
        r"""Takes draws from components and prior.

        Arguments:
            outputs: Outputs of the estimator and what follows from them.
            components: The components.
            prior: Draws of the prior.
            labels: Labels by quantity; those that the model does not report are left out.

        Raises:
            ValueError: If no labelled quantity is reported by the model.
        """
        names = tuple(name for name in labels if name in outputs.reported and np.isfinite(labels[name]).any())
        if not names:
            raise ValueError(f"pairs must label some of {list(outputs.reported)}, got {list(labels) or 'no quantity'}")
        theta = outputs.space.constrain(components.z.astype(np.float64))
        found, before = outputs.derive(theta), outputs.derive(prior)
        table = np.stack([labels[name] for name in names], axis=-1)
        return cls(names, table, {n: found[n] for n in names}, {n: before[n] for n in names}, outputs.floors)

    def __call__(
        self, weights: Float[np.ndarray, "k n"], rows: np.ndarray, bandwidth: float, share: float
    ) -> Float[np.ndarray, " k"]:
        r"""Mean log density of the labels of some recordings.

        Arguments:
            weights: Weights of the components for these recordings.
            rows: Which recordings they are.
            bandwidth: Width of the kernels in units of the prior's spread.
            share: Share of the prior.
        """
        total, count = np.zeros(len(rows)), np.zeros(len(rows))
        for q, name in enumerate(self.names):
            labels = self.labels[rows, q]
            known = np.isfinite(labels)
            if known.any():
                total[known] += self._marginal(name, labels[known], weights[known], bandwidth, share)
                count += known
        return np.asarray(total / np.maximum(count, 1))

    def _marginal(
        self,
        name: str,
        labels: Float[np.ndarray, " k"],
        weights: Float[np.ndarray, "k n"],
        bandwidth: float,
        share: float,
    ) -> Float[np.ndarray, " k"]:
        prior = self._scaled(name, self.prior[name])
        spread = float(prior.std())
        at = self._scaled(name, labels)[:, None]
        table = log_kernels(at, self._scaled(name, self.draws[name])[..., None], np.array([bandwidth * spread]))
        wide = np.array([1.06 * spread * len(prior) ** -0.2])
        before = log_kernels(at, prior[None, :, None], wide)[:, 0]
        top = table.max(1)
        with np.errstate(divide="ignore"):
            mixed = np.log((weights * np.exp(table - top[:, None])).sum(1)) + top
            log_p = np.logaddexp(np.log1p(-share) + mixed, np.log(share) + before)
        return np.asarray(log_p - (np.log(labels) if self.floors[name] > 0 else 0.0))

    def _scaled(self, name: str, values: np.ndarray) -> np.ndarray:
        floor = self.floors[name]
        return np.log(np.maximum(values, floor)) if floor > 0 else np.asarray(values, dtype=np.float64)
