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

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .circuit import Beat, Circuit, State, activations, record_beat, run_beat

__all__ = ["Settled", "settle", "starting_state"]

_MEMORY = 4


class Settled(NamedTuple):
    r"""A periodic state: the state, its beat, the largest change over it [mmHg, mL], and the beats it took.

    Example:
        >>> Settled._fields
        ('state', 'beat', 'pressure_change', 'volume_change', 'beats')
    """

    state: State
    beat: Beat
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
    return circuit.rest + p / circuit.passive


class _Run(NamedTuple):
    """Where the iteration stands: `start` and `change` of the last beat, and how both differed from beat to beat."""

    state: State
    start: Float[Array, "8 B"]
    change: Float[Array, "8 B"]
    starts: Float[Array, "m 8 B"]
    changes: Float[Array, "m 8 B"]
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
) -> Settled:
    r"""Runs every circuit until a beat changes no volume by more than a tolerance, and records one more beat.

    Arguments:
        circuit: The circuits.
        n_steps: Steps of a beat.
        tolerance_mL: Largest change of a volume over a beat [mL].
        max_beats: Most beats before the one that is recorded.
        accelerate: Whether volumes are combined after each beat; else beats just follow each other.

    Returns:
        The periodic state, or the last one.

    Example:
        >>> settle.__name__
        'settle'
    """
    phi = activations(circuit, n_steps)
    added = jnp.zeros_like(phi[:, 0])
    weight = jnp.sqrt(circuit.passive.reshape(8, -1))

    def go_on(run: _Run) -> Array:
        return (run.number < max_beats) & ~run.done.all()

    def beat(run: _Run) -> _Run:
        after = run_beat(circuit, run.state, phi, added)
        start = run.state.volume.reshape(8, -1)
        change = after.volume.reshape(8, -1) - start
        slot = jnp.mod(run.number, _MEMORY)
        second = run.number > 0
        starts = run.starts.at[slot].set(jnp.where(second, start - run.start, 0))
        changes = run.changes.at[slot].set(jnp.where(second, change - run.change, 0))
        largest = jnp.abs(change).max(0)
        done = run.done | (largest <= tolerance_mL) | ~jnp.isfinite(largest)
        volume = start + change
        if accelerate:
            volume = _combined(start, change, starts, changes, weight)
        new = after._replace(volume=volume.reshape(after.volume.shape))
        state = State(*(jnp.where(done, old, fresh) for old, fresh in zip(run.state, new, strict=True)))
        beats = run.beats + ~run.done
        return _Run(state, start, change, starts, changes, done, beats, run.number + 1)

    first = starting_state(circuit)
    none = jnp.zeros_like(weight)
    memory = jnp.zeros((_MEMORY, *none.shape), none.dtype)
    nobody = jnp.zeros(none.shape[1], bool)
    run = _Run(first, none, none, memory, memory, nobody, jnp.zeros(none.shape[1], jnp.int32), jnp.asarray(0))
    run = jax.lax.while_loop(go_on, beat, run)
    after, kept = record_beat(circuit, run.state, phi, added)
    change = jnp.abs(after.volume - run.state.volume)
    pressure = (circuit.passive * change).max((0, 1))
    return Settled(after, kept, pressure, change.max((0, 1)), run.beats + 1)


def _combined(
    start: Float[Array, "8 B"],
    change: Float[Array, "8 B"],
    starts: Float[Array, "m 8 B"],
    changes: Float[Array, "m 8 B"],
    weight: Float[Array, "8 B"],
) -> Float[Array, "8 B"]:
    """Anderson's combination; the plain end of the beat where it would empty a compartment or leap too far."""
    size = jnp.sqrt(((weight * changes) ** 2).sum(1)) + 1e-20
    basis = weight * changes / size[:, None]
    gram = jnp.einsum("icb,jcb->bij", basis, basis) + 1e-5 * jnp.eye(_MEMORY, dtype=weight.dtype)
    right = jnp.einsum("icb,cb->bi", basis, weight * change)
    gamma = jnp.linalg.solve(gram, right[..., None])[..., 0].T / size
    plain = start + change
    found = plain - jnp.einsum("ib,icb->cb", gamma, starts + changes)
    leap = jnp.sqrt(((weight * (found - plain)) ** 2).sum(0))
    far = leap > 30 * jnp.sqrt(((weight * change) ** 2).sum(0))
    bad = (found <= 0).any(0) | far | ~jnp.isfinite(leap)
    return jnp.where(bad, plain, found)
