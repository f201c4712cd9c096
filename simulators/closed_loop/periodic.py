r"""The periodic state of a batch of circuits: a start from mean flows, and beats that are accelerated.

The circuit's own mean flow, with each ventricle as its end-systolic and its diastolic line, is linear in the output and
gives the start. A beat then maps the volumes at its beginning to those at its end, $g(x)$, and Anderson's method takes
of the last beats the combination whose changes $f = g(x) - x$ would cancel best:

$$
x_{k+1} = g_k - \Delta G\,\gamma, \qquad \gamma = \arg\min_\gamma \| f_k - \Delta F\,\gamma \|
$$

in the norm of the energy stored, $\sum_i E_i f_i^2$. Combinations of circuits that hold the same blood hold it too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .circuit import Beat, Circuit, State, activations, record_beat, run_beat

__all__ = ["Settled", "settle", "starting_state"]

_MEMORY = 4
_FARTHEST = 30.0  # changes that a combination may leap: slow modes shrink by a few per cent a beat


class Settled(NamedTuple):
    r"""A periodic state: the state, its beat, the largest change over it [mmHg, mL], and the beats it took.

    `added` is the pressure at the aortic root beyond that of the circuit's own arteries, nothing without `respond`.

    Example:
        >>> Settled._fields
        ('state', 'beat', 'added', 'pressure_change', 'volume_change', 'beats')
    """

    state: State
    beat: Beat
    added: Float[Any, "n B"]
    pressure_change: Float[Any, " B"]
    volume_change: Float[Any, " B"]
    beats: Int[Any, " B"]


def starting_state(circuit: Circuit) -> State:
    r"""State at the onset of ventricular contraction with the volumes of the mean flow.

    Arguments:
        circuit: The circuits.

    Returns:
        The state, without flow.

    Example:
        >>> starting_state.__name__
        'starting_state'
    """
    zero = _volumes(circuit, jnp.zeros_like(circuit.total))
    slope = _volumes(circuit, jnp.ones_like(circuit.total)) - zero
    output = (circuit.total - zero.sum((0, 1))) / slope.sum((0, 1))
    volume = jnp.maximum(zero + jnp.maximum(output, 5.0) * slope, 0.5 * circuit.rest + 1.0)
    volume = volume * circuit.total / volume.sum((0, 1))
    none = jnp.zeros_like(volume)
    return State(volume, none, none)


def _volumes(circuit: Circuit, output: Float[Array, " B"]) -> Float[Array, "2 4 B"]:
    """Volumes at the end of diastole for a mean flow, whether or not they make the total."""
    (_, systemic, _, pulmonary), (_, venous, _, pulmonary_venous) = circuit.resistance
    stroke = output * circuit.period
    stiff = circuit.passive + circuit.active
    closing = jnp.maximum(circuit.closing, 0.0)
    artery = closing + output * (systemic + venous)
    for _ in range(3):
        left = stroke + artery / stiff[1, 0]
        la = circuit.passive[1, 0] * left
        pv = la + output * pulmonary_venous
        pa = pv + output * pulmonary
        right = stroke + pa / stiff[1, 2]
        ra = circuit.passive[1, 2] * right
        sv = ra + output * venous
        artery = jnp.where(circuit.closing > 0, closing, sv) + output * systemic
    p = jnp.stack([jnp.stack([la, artery, ra, pa]), jnp.stack([la, sv, ra, pv])])
    volumes: Array = circuit.rest + p / circuit.passive
    return volumes


class _Run(NamedTuple):
    """Where the iteration stands: `start` and `change` of the last beat, and how both differed from beat to beat."""

    state: State
    added: Float[Array, "n B"]
    start: Float[Array, "X B"]
    change: Float[Array, "X B"]
    starts: Float[Array, "m X B"]
    changes: Float[Array, "m X B"]
    done: Bool[Array, " B"]
    beats: Int[Array, " B"]
    number: Array


def settle(
    circuit: Circuit,
    *,
    n_steps: int,
    tolerance_mL: float,
    max_beats: int,
    accelerate: bool = True,
    respond: Callable[[Float[Array, "n B"]], Float[Array, "n B"]] | None = None,
    tolerance_mmHg: float = 0.05,
) -> Settled:
    r"""Runs every circuit until a beat changes no volume by more than a tolerance, and records one more beat.

    Arguments:
        circuit: The circuits.
        n_steps: Steps of a beat.
        tolerance_mL: Largest change of a volume over a beat [mL].
        max_beats: Most beats before the one that is recorded.
        accelerate: Whether volumes are combined after each beat; else beats just follow each other.
        respond: What the flow through the aortic valve adds to the pressure at the root beyond the circuit's own
            arteries, both at the middle of the steps; it is found together with the volumes.
        tolerance_mmHg: Largest change of that pressure from beat to beat [mmHg].

    Returns:
        The periodic state, or the last one.

    Example:
        >>> settle.__name__
        'settle'
    """
    limits = tolerance_mL, tolerance_mmHg, max_beats, accelerate
    if respond is None:
        alone: Settled = _alone(circuit, limits, n_steps=n_steps)
        return alone
    return _found(circuit, limits, n_steps, respond)


_Limits = tuple[float, float, int, bool]


@partial(jax.jit, static_argnames="n_steps")
def _alone(circuit: Circuit, limits: _Limits, *, n_steps: int) -> Settled:
    """Compiled once for a number of steps and of circuits, whatever the rest."""
    return _found(circuit, limits, n_steps, None)


def _found(
    circuit: Circuit,
    limits: _Limits,
    n_steps: int,
    respond: Callable[[Float[Array, "n B"]], Float[Array, "n B"]] | None,
) -> Settled:
    tolerance_mL, tolerance_mmHg, max_beats, accelerate = limits
    phi = activations(circuit, n_steps)
    own = jnp.sqrt(circuit.passive.reshape(8, -1))
    spread = jnp.broadcast_to(jnp.sqrt(1 / (circuit.passive[0, 1] * n_steps)), phi[:, 0].shape)
    weight = own if respond is None else jnp.concatenate([own, spread])

    def go_on(run: _Run) -> Array:
        return (run.number < max_beats) & ~run.done.all()

    def beat(run: _Run) -> _Run:
        after, flow = run_beat(circuit, run.state, phi, run.added)
        start, end = run.state.volume.reshape(8, -1), after.volume.reshape(8, -1)
        if respond is not None:
            start, end = jnp.concatenate([start, run.added]), jnp.concatenate([end, respond(flow)])
        change = end - start
        done = run.done | _still(change, tolerance_mL, tolerance_mmHg)
        new, starts, changes = _next(run, start, change, weight, accelerate)
        fresh = after._replace(volume=new[:8].reshape(after.volume.shape))
        state = State(*(jnp.where(done, old, other) for old, other in zip(run.state, fresh, strict=True)))
        added = run.added if respond is None else jnp.where(done, run.added, new[8:])
        beats = run.beats + ~run.done
        return _Run(state, added, start, change, starts, changes, done, beats, run.number + 1)

    none = jnp.zeros_like(weight)
    memory = jnp.zeros((_MEMORY, *none.shape), none.dtype)
    count = jnp.zeros(none.shape[1], jnp.int32)
    first = _Run(starting_state(circuit), 0 * phi[:, 0], none, none, memory, memory, count > 0, count, jnp.asarray(0))
    run = jax.lax.while_loop(go_on, beat, first)
    after, kept = record_beat(circuit, run.state, phi, run.added)
    change = jnp.abs(after.volume - run.state.volume)
    pressure = (circuit.passive * change).max((0, 1))
    if respond is not None:
        pressure = jnp.maximum(pressure, jnp.abs(respond(kept.flow[:, 1]) - run.added).max(0))
    return Settled(after, kept, run.added, pressure, change.max((0, 1)), run.beats + 1)


def _still(change: Float[Array, "X B"], tolerance_mL: float, tolerance_mmHg: float) -> Bool[Array, " B"]:
    """Whether a beat changed nothing to speak of, or can change nothing any more."""
    volume = jnp.abs(change[:8]).max(0)
    pressure = jnp.abs(change[8:]).max(0, initial=0.0)
    return ((volume <= tolerance_mL) & (pressure <= tolerance_mmHg)) | ~jnp.isfinite(volume + pressure)


def _next(
    run: _Run,
    start: Float[Array, "X B"],
    change: Float[Array, "X B"],
    weight: Float[Array, "X B"],
    accelerate: bool | Array,
) -> tuple[Array, Array, Array]:
    """Where the next beat begins, and what is remembered of those before it."""
    slot, second = jnp.mod(run.number, _MEMORY), run.number > 0
    starts = run.starts.at[slot].set(jnp.where(second, start - run.start, 0))
    changes = run.changes.at[slot].set(jnp.where(second, change - run.change, 0))
    new = jnp.where(accelerate, _combined(start, change, starts, changes, weight), start + change)
    return new, starts, changes


def _combined(
    start: Float[Array, "X B"],
    change: Float[Array, "X B"],
    starts: Float[Array, "m X B"],
    changes: Float[Array, "m X B"],
    weight: Float[Array, "X B"],
) -> Float[Array, "X B"]:
    """Anderson's combination; the plain end of the beat where it would empty a compartment or leap too far."""
    size = jnp.sqrt(((weight * changes) ** 2).sum(1)) + 1e-20
    basis = weight * changes / size[:, None]
    gram = jnp.einsum("icb,jcb->bij", basis, basis) + 1e-5 * jnp.eye(_MEMORY, dtype=weight.dtype)
    right = jnp.einsum("icb,cb->bi", basis, weight * change)
    gamma = jnp.linalg.solve(gram, right[..., None])[..., 0].T / size
    plain = start + change
    found = plain - jnp.einsum("ib,icb->cb", gamma, starts + changes)
    leap = jnp.sqrt(((weight * (found - plain)) ** 2).sum(0))
    far = leap > _FARTHEST * jnp.sqrt(((weight * change) ** 2).sum(0))
    bad = (found[:8] <= 0).any(0) | far | ~jnp.isfinite(leap)
    return jnp.where(bad, plain, found)
