r"""What simulators of a periodic beat share: blocks of rows under one compilation, and windows cut out of the beat."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..parameters import ParameterSpace
from ..registry import Simulated

__all__ = ["BeatSimulator", "sample_beat"]


class BeatSimulator:
    r"""Simulator that solves one periodic beat of every row; a frozen dataclass of the fields below builds on it.

    Example:
        >>> from pulsebayes.simulators.closed_loop import ClosedLoop
        >>> issubclass(ClosedLoop, BeatSimulator), ClosedLoop(duration_s=4.0).n_samples
        (True, 500)
    """

    beat: str
    sites: tuple[str, ...]
    duration_s: float
    fs: float
    n_phases: int
    precision: str = "float32"
    _together = 64  # circuits settled together: as many beats as the slowest of them needs

    @cached_property
    def space(self) -> ParameterSpace:
        r"""Its parameters and their prior."""
        raise NotImplementedError

    @property
    def config(self) -> dict[str, Any]:
        r"""All fields, JSON-able."""
        return {**dataclasses.asdict(self), "sites": list(self.sites)}  # type: ignore[call-overload]

    @property
    def n_samples(self) -> int:
        r"""Samples of a returned wave."""
        return self.n_phases if self.beat == "periodic" else round(self.duration_s * self.fs)

    def simulate(self, theta: Float[np.ndarray, "N D"], seed: int) -> Simulated:
        r"""Simulates a batch of rows.

        Arguments:
            theta: Parameters in the order of `space`.
            seed: Seed of the windows' starts.

        Returns:
            Waves, quantities and the status of each row.

        Raises:
            ValueError: If ``theta`` has another shape.
        """
        theta = self._rows(theta)
        n = len(theta)
        rows = -(-n // self._together) * self._together if n > self._together else n
        padded = np.concatenate([theta, np.repeat(theta[-1:], rows - n, axis=0)])
        size, key = min(self._together, n), jax.random.key(seed)
        blocks = [
            self._block(jnp.asarray(padded[k : k + size]), _row_keys(key, np.arange(k, k + size)))
            for k in range(0, rows, size)
        ]
        return Simulated(*(np.concatenate([np.asarray(x) for x in parts])[:n] for parts in zip(*blocks, strict=True)))

    def _rows(self, theta: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        theta = np.asarray(theta, self.precision)
        if theta.ndim != 2 or theta.shape[1] != self.space.dim:
            raise ValueError(f"theta must have shape (N, {self.space.dim}), got {theta.shape}")
        if len(theta) == 0:
            raise ValueError("theta must hold at least one row, got none")
        return theta

    def _block(self, theta: Float[Array, "B D"], keys: Array) -> tuple[Array, Array, Array]:
        """Waves, quantities and status of the rows of a block."""
        found: tuple[Array, Array, Array] = self._shown(self._solved(theta), keys)
        return found

    @cached_property
    def _solved(self) -> Any:
        """The function that solves rows, compiled: what `solve` calls as well."""
        raise NotImplementedError

    @cached_property
    def _shown(self) -> Any:
        return jax.jit(self._outputs)

    def _outputs(self, solved: Any, keys: Array) -> tuple[Array, Array, Array]:
        """Waves, quantities and status of solved rows."""
        raise NotImplementedError

    def _sample(self, signals: Float[Array, "n K"], period: Array, key: Array) -> Float[Array, "K T"]:
        if self.beat == "periodic":
            return sample_beat(signals, jnp.arange(self.n_phases) / self.n_phases)
        start = jax.random.uniform(key, (), signals.dtype)
        return sample_beat(signals, start + jnp.arange(self.n_samples) / (self.fs * period))


@jax.jit
def _row_keys(key: Array, numbers: Array) -> Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


def sample_beat(signals: Float[Array, "n K"], phase: Float[Array, " T"]) -> Float[Array, "K T"]:
    r"""Samples of a beat at any phases, linear between the middles of its steps: valves make corners.

    Arguments:
        signals: Signals at the middle of the steps.
        phase: Times over the length of the beat.

    Returns:
        Samples.

    Example:
        >>> sample_beat(jnp.array([[0.0], [2.0], [4.0], [2.0]]), jnp.array([0.125, 0.5])).tolist()
        [[0.0, 3.0]]
    """
    n = signals.shape[0]
    place = jnp.mod(phase, 1.0) * n - 0.5
    left = jnp.floor(place)
    share = (place - left).astype(signals.dtype)[:, None]
    index = jnp.mod(left.astype(jnp.int32), n)
    found: Float[Array, "K T"] = ((1 - share) * signals[index] + share * signals[jnp.mod(index + 1, n)]).T
    return found
