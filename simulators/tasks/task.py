r"""What every benchmark problem with a wrong simulator offers: a prior, the simulator, and reality."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jaxtyping import Float

from ..parameters import ParameterSpace

__all__ = ["Task"]


class Task(Protocol):
    r"""A problem whose observations differ from what its simulator makes.

    Estimators work on coordinates that are independent and bounded (``space``); ``natural`` maps them to the parameters
    that the literature names, and ``log_volume`` is the logarithm of its volume factor: a log density with respect to
    the natural parameters is that of the coordinates minus it.

    Example:
        >>> def width(task: Task) -> int:
        ...     return task.samples
    """

    @property
    def name(self) -> str:
        r"""Short name."""

    @property
    def space(self) -> ParameterSpace:
        r"""Coordinates that are estimated, with their prior."""

    @property
    def samples(self) -> int:
        r"""Length of an observation."""

    def simulate(self, theta: Float[np.ndarray, "N D"], rng: np.random.Generator) -> Float[np.ndarray, "N samples"]:
        r"""Observations as the simulator makes them."""

    def observe(self, theta: Float[np.ndarray, "N D"], rng: np.random.Generator) -> Float[np.ndarray, "N samples"]:
        r"""Observations as reality makes them."""

    def natural(self, theta: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch D"]:
        r"""Natural parameters of the coordinates."""

    def log_volume(self, theta: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch"]:
        r"""Log volume factor of ``natural``."""
