r"""The periodic state of hearts that drive non-linear networks: whole beats, combined until nothing changes.

A beat maps everything that heart and network hold to what they hold after it. Anderson's method takes of the last beats
the combination whose changes of the slow part (volumes of the ring, pressures of the windkessels, mean pressure of the
arteries) would cancel best, in the norm of the energy stored, and combines all of the state by it: volumes, areas and
capacitors are combined linearly, so that combinations of states that hold the same blood hold it too. What is returned
is a beat in which nothing was combined. Units: SI.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ...waveforms.units import PA_PER_MMHG
from ..network.nonlinear.compartments import compliance_of_rows
from ..network.nonlinear.cycle import Waves
from ..network.nonlinear.grid import Grid, Physics
from ..network.nonlinear.heart import PASSIVE, VOLUME, Ring, RingTrace
from ..network.nonlinear.packing import heart_cycle
from ..network.nonlinear.scheme import State

__all__ = ["Beaten", "arterial_volume", "drive_network"]

_MEMORY = 4
_FARTHEST = 30.0  # changes that a combination may leap
_LARGEST_COURANT, _COURANT, _FIRST_COURANT = 0.98, 0.9, 0.85
_SLOW = (0, 1, 3, 4, 5, 6, 7)  # compartments of the ring; the third is the network
_KEPT = ("area", "velocity", "capacitor", "end_pressure", "end_velocity")


class Beaten(NamedTuple):
    r"""The last beat of a batch and how it came about.

    `change`: largest change of a volume over it [m3]; `swing`: largest change of a windkessel's or of mean arterial
    pressure [Pa]; `lost`: blood that heart and network hold after it less before [m3]; `failed`: not finite.

    Example:
        >>> Beaten._fields[:3]
        ('waves', 'trace', 'state')
    """

    waves: Waves
    trace: RingTrace
    state: State
    ring: Ring
    beats: Int[np.ndarray, " B"]
    steps: int
    courant: Float[np.ndarray, " B"]
    change: Float[np.ndarray, " B"]
    swing: Float[np.ndarray, " B"]
    lost: Float[np.ndarray, " B"]
    failed: np.ndarray


def arterial_volume(grid: Grid, physics: Physics, state: State) -> Float[np.ndarray, " B"]:
    r"""Blood that arteries and windkessels hold beyond what fills them without pressure.

    Arguments:
        grid: The grid.
        physics: The numbers.
        state: The state.

    Returns:
        Volumes [m3].

    Example:
        >>> arterial_volume.__name__
        'arterial_volume'
    """
    p = Physics(*(np.asarray(a, np.float64) for a in physics))
    empty = p.area * np.maximum(1 - p.external[grid.vessel_of_row] / p.beta, 0.0) ** 2
    held = (np.asarray(state.area, np.float64) - empty) * p.dx[grid.vessel_of_row]
    windkessels = (p.compliance * np.asarray(state.capacitor, np.float64)).sum(0)
    found: Float[np.ndarray, " B"] = np.where(grid.is_cell[:, None], held, 0.0).sum(0) + windkessels
    return found


class _Memory(NamedTuple):
    """The last beat's end and slow change, and how both differed from beat to beat."""

    end: np.ndarray | None
    change: np.ndarray | None
    ends: list[np.ndarray]
    changes: list[np.ndarray]


def drive_network(
    grid: Grid,
    physics: Physics,
    state: State,
    ring: Ring,
    probes: tuple[np.ndarray, np.ndarray],
    *,
    n_steps: int,
    n_samples: int,
    tolerance_mL: float,
    tolerance_mmHg: float,
    max_beats: int,
) -> Beaten:
    r"""Runs hearts with their networks until a beat changes nothing to speak of.

    Arguments:
        grid: The grid.
        physics: The numbers.
        state: State of the networks at the onset of ventricular contraction.
        ring: The hearts.
        probes: Where to take waves: `Grid.interpolation`.
        n_steps: Steps of a beat, a multiple of `n_samples`; more are taken where waves run too fast for them.
        n_samples: Samples of a beat.
        tolerance_mL: Largest change of a volume over a beat that is called periodic [mL].
        tolerance_mmHg: The same for pressures of the network [mmHg].
        max_beats: Most beats.

    Returns:
        The last beat.

    Example:
        >>> drive_network.__name__
        'drive_network'
    """
    memory = _Memory(None, None, [], [])
    beats = np.zeros(len(physics.period), int)
    scale = _scale(grid, physics, ring, state)
    done = np.zeros(len(beats), bool)
    for number in range(1, max_beats + 1):
        before = arterial_volume(grid, physics, state) + ring.state[VOLUME, _SLOW].sum(0)
        after, waves, moved, trace = heart_cycle(
            grid, physics, state, ring, probes, n_steps=n_steps, n_samples=n_samples
        )
        courant = np.asarray(after.cfl, np.float64)
        failed = (waves.failed_row >= 0) | ~np.isfinite(courant) | ~np.isfinite(moved.state).all((0, 1))
        worst = float(np.where(failed, 0.0, courant).max())
        if (failed.any() and number <= 3) or worst > _LARGEST_COURANT:
            n_steps = _whole(max(1.5 if failed.any() else 0.0, worst / _COURANT) * n_steps, n_samples)
            if number < max_beats:
                continue  # from the same state with smaller steps
        slow = _slow(grid, physics, after, moved, scale) - _slow(grid, physics, state, ring, scale)
        change = np.abs(moved.state[VOLUME, _SLOW] - ring.state[VOLUME, _SLOW]).max(0)
        swing = np.abs(slow[len(_SLOW) :] / scale[len(_SLOW) :]).max(0)
        beats[~done] = number
        done = ((change <= 1e-6 * tolerance_mL) & (swing <= PA_PER_MMHG * tolerance_mmHg)) | failed
        if done.all() or number == max_beats:
            break
        if number <= 2:
            n_steps = min(n_steps, _whole(n_steps * worst / _FIRST_COURANT, n_samples))  # the guess was a safe one
        state, ring, memory = _next(physics, (state, ring), (after, moved), slow, memory)
    held = arterial_volume(grid, physics, after) + moved.state[VOLUME, _SLOW].sum(0)
    return Beaten(waves, trace, after, moved, beats, n_steps, courant, change, swing, held - before, failed)


def _whole(steps: float, n_samples: int) -> int:
    return max(1, int(np.ceil(steps / n_samples))) * n_samples


def _scale(grid: Grid, physics: Physics, ring: Ring, state: State) -> Float[np.ndarray, "S B"]:
    """Root of the stiffness of each volume, of the compliance of each windkessel and of the arteries."""
    over = np.asarray(physics.beta * (np.sqrt(state.area / physics.area) - 1), np.float64)
    arteries = compliance_of_rows(grid, physics, over).sum(0)
    parts = np.sqrt(ring.numbers[PASSIVE, _SLOW]), np.sqrt(physics.compliance), np.sqrt(arteries)[None]
    return np.concatenate([np.asarray(p, np.float64) for p in parts])


def _slow(grid: Grid, physics: Physics, state: State, ring: Ring, scale: np.ndarray) -> Float[np.ndarray, "S B"]:
    over = np.asarray(physics.beta * (np.sqrt(state.area / physics.area) - 1), np.float64)
    weight = compliance_of_rows(grid, physics, over)
    mean = (weight * over).sum(0) / weight.sum(0)
    parts = ring.state[VOLUME, _SLOW], np.asarray(state.capacitor, np.float64), mean[None]
    found: Float[np.ndarray, "S B"] = np.concatenate(parts) * scale
    return found


def _flat(state: State, ring: Ring) -> Float[np.ndarray, "X B"]:
    parts = [np.asarray(getattr(state, name), np.float64) for name in _KEPT]
    return np.concatenate([*parts, ring.state.reshape(24, -1)])


def _unflat(x: Float[np.ndarray, "X B"], state: State, ring: Ring) -> tuple[State, Ring]:
    sizes = [len(getattr(state, name)) for name in _KEPT]
    *parts, own = np.split(x, np.cumsum(sizes))
    kind = np.asarray(state.area).dtype
    values = dict(zip(_KEPT, (p.astype(kind) for p in parts), strict=True))
    return state._replace(**values), ring._replace(state=own.reshape(ring.state.shape))


def _next(
    physics: Physics, start: tuple[State, Ring], end: tuple[State, Ring], change: np.ndarray, memory: _Memory
) -> tuple[State, Ring, _Memory]:
    """Where the next beat begins: Anderson's combination, or the plain end of the last where that leaps or empties."""
    x, g = _flat(*start), _flat(*end)
    ends, changes = memory.ends, memory.changes
    if memory.end is not None and memory.change is not None:
        ends, changes = [*ends, g - memory.end][-_MEMORY:], [*changes, change - memory.change][-_MEMORY:]
    fresh = _Memory(g, change, ends, changes)
    if not changes:
        return *end, fresh
    basis = np.stack(changes)  # (m, S, B)
    size = np.sqrt((basis**2).sum(1)) + 1e-30
    unit = basis / size[:, None]
    gram = np.einsum("isb,jsb->bij", unit, unit) + 1e-6 * np.eye(len(unit))
    right = np.einsum("isb,sb->bi", unit, change)
    finite = np.isfinite(gram).all((1, 2)) & np.isfinite(right).all(1)
    gram[~finite], right[~finite] = np.eye(len(unit)), 0.0
    gamma = np.linalg.solve(gram, right[..., None])[..., 0].T / size
    found = g - np.einsum("mb,mxb->xb", gamma, np.stack(ends))
    rows = len(physics.area)
    n = len(x) - 24
    leap = np.abs(found[n : n + 8] - g[n : n + 8]).max(0) / (np.abs(g[n : n + 8] - x[n : n + 8]).max(0) + 1e-30)
    bad = (found[:rows] <= 0).any(0) | (found[n : n + 8] < 0).any(0) | (leap > _FARTHEST) | ~np.isfinite(leap)
    return *_unflat(np.where(bad, g, found), *end), fresh
