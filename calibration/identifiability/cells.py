r"""One cell of the atlas: what one set of channels at one level of noise tells of every quantity.

All cells see the same individuals with the same sensors, so that differences between cells are paired: their error is
that of the mean of differences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..diagnostics.rank_tests import ranks
from .information import entropy, entropy_as
from .regimes import modal_share
from .study import People, Study, without

__all__ = ["Cell", "CellKey", "measure_cell", "summary_of"]

LEVELS = (0.5, 0.9)
"""Levels of the intervals whose coverage is counted."""


@dataclass(frozen=True, order=True)
class CellKey:
    r"""Which cell: the channels that are given and the noise.

    Arguments:
        given: Names of the channels, in the model's order.
        noise: Factor on the noise; 0 for noise as in training.

    Example:
        >>> CellKey(("ART", "PLETH"), 4.0).label
        'ART+PLETH noise 4'
    """

    given: tuple[str, ...]
    noise: float = 0.0

    @property
    def set_name(self) -> str:
        r"""The channels, joined."""
        return "+".join(self.given)

    @property
    def label(self) -> str:
        r"""The cell in words."""
        return self.set_name + (f" noise {self.noise:g}" if self.noise else "")


@dataclass(frozen=True)
class Cell:
    r"""What was found for every individual.

    Arguments:
        key: Which cell.
        names: Quantities, the columns of what follows.
        low: Lower end of the 90 % interval of each individual.
        middle: Median.
        high: Upper end.
        rank: Rank of the truth among the draws, in [0, 1].
        entropy: Entropy of the posterior on the quantity's scale [bit].
        modal: Whether the posterior has several modes.
        modal_p: P-value of each quantity: more posteriors with several modes than by chance.
        correlation: Correlation of quantities in the posterior, the mean over individuals (through Fisher's z).
        log_prob: Log density of the truth [nat].

    Example:
        >>> cell = measure_cell(study, people, x, CellKey(("ART",)))  # doctest: +SKIP
    """

    key: CellKey
    names: tuple[str, ...]
    low: Float[np.ndarray, "N Q"]
    middle: Float[np.ndarray, "N Q"]
    high: Float[np.ndarray, "N Q"]
    rank: Float[np.ndarray, "N Q"]
    entropy: Float[np.ndarray, "N Q"]
    modal: Float[np.ndarray, "N Q"]
    modal_p: Float[np.ndarray, " Q"]
    correlation: Float[np.ndarray, "Q Q"]
    log_prob: Float[np.ndarray, " N"]

    def arrays(self) -> dict[str, np.ndarray]:
        r"""Returns the arrays by name, as they are kept on disk."""
        names = ("low", "middle", "high", "rank", "entropy", "modal", "modal_p", "correlation", "log_prob")
        return {name: np.asarray(getattr(self, name), np.float32) for name in names}

    @classmethod
    def of(cls, key: CellKey, names: tuple[str, ...], arrays: Mapping[str, np.ndarray]) -> Cell:
        r"""Rebuilds a cell.

        Arguments:
            key: Which cell.
            names: Quantities.
            arrays: What ``arrays`` gave.
        """
        return cls(key, names, **{name: np.asarray(values, np.float64) for name, values in arrays.items()})

    def widths(self, name: str) -> Float[np.ndarray, " N"]:
        r"""Widths of the 90 % intervals of a quantity, in its unit.

        Arguments:
            name: The quantity.
        """
        q = self.names.index(name)
        return np.asarray(self.high[:, q] - self.low[:, q])


def measure_cell(
    study: Study, people: People, x: Float[np.ndarray, "N C T"], key: CellKey, *, n_draws: int = 500, seed: int = 0
) -> Cell:
    r"""Measures a cell.

    Arguments:
        study: The model.
        people: Individuals.
        x: Windows of all channels at the cell's noise.
        key: Which cell.
        n_draws: Posterior draws an individual.
        seed: Seed of the draws.

    Returns:
        The cell.

    Raises:
        ValueError: If a channel is unknown, or a draw is not finite.

    Example:
        >>> measure_cell(study, people, x, CellKey(("ART",))).widths("CO").shape  # doctest: +SKIP
        (1000,)
    """
    unknown = [name for name in key.given if name not in study.channels]
    if unknown or not key.given:
        raise ValueError(f"channels must be among {', '.join(study.channels)}, got {', '.join(unknown) or 'none'}")
    part = without(x, study.channels, key.given)
    draws, truth = study.draws(part, n_draws, seed), study.truth(people)
    names = tuple(study.units)
    scaled = {name: study.scaled(name, draws[name]) for name in names}
    if not all(np.isfinite(values).all() for values in scaled.values()):
        raise ValueError(f"draws of {key.label} must be finite: the model cannot be used for it")
    low, middle, high = np.stack([np.quantile(draws[name], [0.05, 0.5, 0.95], axis=1) for name in names], -1)
    found = [modal_share(scaled[name]) for name in names]
    return Cell(
        key,
        names,
        low,
        middle,
        high,
        np.concatenate([ranks(draws[name][..., None], truth[name][:, None]) for name in names], 1),
        np.stack([entropy(scaled[name]) for name in names], -1),
        np.stack([modal for _, _, modal in found], -1).astype(float),
        np.array([p for _, p, _ in found]),
        _mean_correlation(np.stack([scaled[name] for name in names], -1)),
        study.log_prob(people, part),
    )


def _mean_correlation(draws: Float[np.ndarray, "N S Q"]) -> Float[np.ndarray, "Q Q"]:
    centred = draws - draws.mean(1, keepdims=True)
    centred /= np.maximum(np.sqrt((centred**2).sum(1, keepdims=True)), 1e-12)
    each = np.einsum("nsp,nsq->npq", centred, centred)
    return np.asarray(np.tanh(np.arctanh(np.clip(each, -0.9999, 0.9999)).mean(0)))


def summary_of(study: Study, people: People, cell: Cell, *, n_draws: int) -> dict[str, dict[str, Any]]:
    r"""Numbers of a cell by quantity, JSON-able.

    Arguments:
        study: The model.
        people: Individuals; the cell is of the first.
        cell: The cell.
        n_draws: Posterior draws behind it.

    Returns:
        For each quantity its ``unit``, ``interval`` (median width of the 90 % interval, in the unit), ``relative``
        (over that of the prior's), ``error`` (median, in the unit), ``error_share`` (median, relative to the truth),
        ``n`` (individuals), ``coverage`` by level with ``coverage_error``, ``bits`` with ``bits_error``, ``modal``
        (share of posteriors with several modes) and ``modal_p``.

    Example:
        >>> summary_of(study, people, cell, n_draws=400)["CO"]["bits"]  # doctest: +SKIP
        0.71
    """
    people = people.first(len(cell.log_prob))
    truth = study.truth(people)
    rows: dict[str, dict[str, Any]] = {}
    for q, name in enumerate(cell.names):
        prior = study.prior[name]
        before = float(np.quantile(prior, 0.95) - np.quantile(prior, 0.05))
        error = np.abs(cell.middle[:, q] - truth[name])
        bits = entropy_as(study.scaled(name, prior), n_draws) - cell.entropy[:, q]
        distance = np.abs(cell.rank[:, q] - 0.5)
        covered = {f"{level:g}": float((distance <= level / 2).mean()) for level in LEVELS}
        rows[name] = {
            "unit": study.units[name],
            "n": people.n,
            "interval": _digits(np.median(cell.widths(name))),
            "relative": _digits(np.median(cell.widths(name)) / before),
            "error": _digits(np.median(error)),
            "error_share": _digits(np.median(error / np.maximum(np.abs(truth[name]), 1e-9))),
            "coverage": {level: _digits(share) for level, share in covered.items()},
            "coverage_error": {f"{level:g}": _digits(np.sqrt(level * (1 - level) / people.n)) for level in LEVELS},
            "bits": _digits(bits.mean()),
            "bits_error": _digits(bits.std(ddof=1) / np.sqrt(people.n)),
            "modal": _digits(cell.modal[:, q].mean()),
            "modal_p": _digits(cell.modal_p[q]),
        }
    return rows


def _digits(value: Any) -> float:
    return float(f"{float(value):.5g}")
