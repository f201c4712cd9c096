r"""A heart at the root of the network: one step of a ring of compartments, compiled, solved together with the root.

The ring is that of [`circuit`][pulsebayes.simulators.closed_loop.circuit] with the network in the place of its systemic
arteries: flow through the aortic valve enters the root, what the beds give up enters the systemic veins. At the middle
of a step the valve's flow $q$ and the root's pressure obey

$$
P_{LV}(q) - P(z) = (R + L\,\tfrac{2}{dt})\,q + B q^2 - L\,\tfrac{2}{dt}\,q_n, \qquad q = A\,z^4\,(4 k z - w)
$$

with the outgoing invariant $w$ of the root, $z = \sqrt[4]{A_*/A_0}$ and $P(z) = P_{ext} + \beta (z^2 - 1)$: one
unknown, by Newton's method. The valve is shut where its pressure difference without flow, at $z = w / 4k$, would
drive blood back. The other paths are solved in closed form and two sweeps, as in the circuit. All of the ring is in
double precision. Units: SI.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from jaxtyping import Float

__all__ = ["Ring", "RingTrace", "no_ring", "ring_drain", "ring_step"]

PASSIVE, ACTIVE, REST, RESISTANCE, QUADRATIC, LEAK, LEAK_QUADRATIC, INERTANCE = range(8)
VOLUME, FLOW, MIDDLE = range(3)
_ITERATIONS = 3

_jit: Any = numba.njit(fastmath={"contract", "arcp", "nsz"}, error_model="numpy", nogil=True, cache=True)


class Ring(NamedTuple):
    r"""Rings of a batch: their numbers, by compartment and path, and where they stand.

    `numbers`: elastance at rest and what activation adds [Pa/m3], volume at rest [m3], resistance [Pa s/m3] and its
    quadratic part, leak and its quadratic part, inertance; (8, 8, B). `state`: volumes [m3], flows now and at the
    middle of the last step [m3/s], (3, 8, B); the third volume is the books of what the network holds. `beds`:
    conductance behind each outlet's capacitor [m3/s/Pa], (K, B). `phi`: activation of ventricles and atria at even
    phases, (2, T, B). The beds drain into the systemic veins, or at the drains' own pressure where that is higher.

    Example:
        >>> Ring._fields
        ('numbers', 'state', 'beds', 'phi')
    """

    numbers: Float[np.ndarray, "8 8 B"]
    state: Float[np.ndarray, "3 8 B"]
    beds: Float[np.ndarray, "K B"]
    phi: Float[np.ndarray, "2 T B"]


class RingTrace(NamedTuple):
    r"""Volumes [m3] and flows [m3/s] of rings at phases 0, 1/n, ..., 1, each (T, 8, B).

    Example:
        >>> RingTrace._fields
        ('volume', 'flow')
    """

    volume: Float[np.ndarray, "T 8 B"]
    flow: Float[np.ndarray, "T 8 B"]


def no_ring(lanes: int) -> tuple[np.ndarray, ...]:
    """What the kernel takes where inflow is prescribed.

    Arguments:
        lanes: Simulations side by side.

    Returns:
        Arrays without a number.

    Example:
        >>> no_ring(16)[0].shape
        (0, 8, 16)
    """
    return np.zeros((0, 8, lanes)), np.zeros((3, 8, lanes)), np.zeros((0, lanes)), np.zeros((0, 2, 8, lanes))


@_jit
def ring_drain(numbers, state, half, closing, drain):  # type: ignore[no-untyped-def]
    """Pressure into which the beds drain at the middle of the step: the veins' with the flows of the last step.

    Arguments:
        numbers: Numbers of the rings.
        state: Their state.
        half: Half a time step.
        closing: Pressure at which the veins close.
        drain: Pressure out.
    """
    for i in range(len(half)):
        volume = state[VOLUME, 3, i] + half[i] * (state[MIDDLE, 2, i] - state[MIDDLE, 3, i])
        pressure = numbers[PASSIVE, 3, i] * (volume - numbers[REST, 3, i])
        drain[i] = max(pressure, closing[i])


@_jit
def _pressure(numbers, state, work, half, c, i):  # type: ignore[no-untyped-def]
    """Pressure of a compartment at the middle of the step."""
    volume = state[VOLUME, c, i] + half * (work[1, (c + 7) % 8, i] - work[1, c, i])
    return work[0, c, i] * (volume - numbers[REST, c, i])


@_jit
def _path(numbers, c, i, drive, own):  # type: ignore[no-untyped-def]
    """Flow for a drive r = (R + own) q + B q|q|, forward, or back through a leak."""
    if drive > 0:
        forward = numbers[RESISTANCE, c, i] + own
        return 2 * drive / (forward + np.sqrt(forward * forward + 4 * numbers[QUADRATIC, c, i] * drive))
    leak = numbers[LEAK, c, i]
    back = 1 + leak * own
    return 2 * drive * leak / (back + np.sqrt(back * back - 4 * leak * leak * numbers[LEAK_QUADRATIC, c, i] * drive))


@_jit
def _joint(numbers, head, own, root, i):  # type: ignore[no-untyped-def]
    """Flow through the aortic valve, and the root's pressure: one unknown z, Newton; `head` without flow."""
    area, beta, speed, external, invariant = root[1, i], root[2, i], root[3, i], root[4, i], root[5, i]
    shut = invariant / (4 * speed)
    if head <= external + beta * (shut * shut - 1):
        root[0, i] = shut
        return 0.0
    resistance, quadratic = numbers[RESISTANCE, 1, i] + own, numbers[QUADRATIC, 1, i]
    z = max(root[0, i], shut)
    for _ in range(_ITERATIONS):
        cube, v = area * z * z * z, 4 * speed * z - invariant
        q, slope = cube * z * v, 4 * cube * (v + speed * z)
        miss = head - external - beta * (z * z - 1) - (resistance + quadratic * q) * q
        z = max(z + miss / (2 * beta * z + (resistance + 2 * quadratic * q) * slope), shut)
    root[0, i] = z
    return area * z * z * z * z * (4 * speed * z - invariant)


@_jit
def ring_step(numbers, state, work, root, phi, half, trace, record, commit):  # type: ignore[no-untyped-def]
    """One step of every ring; `root[0]` becomes the root's z.

    Arguments:
        numbers: Numbers of the rings.
        state: Their state, changed where the step is made.
        work: Room for elastances and flows; `work[1, 2]` holds the flow out of the beds.
        root: A guess of z, area, beta, speed, external pressure and outgoing invariant of the root.
        phi: Activation of ventricles and atria at the middle of the step.
        half: Half a time step.
        trace: Volumes now and flows out.
        record: Whether to write them.
        commit: Whether the step is made.
    """
    for i in range(len(half)):
        h = half[i]
        for c in range(8):
            work[0, c, i] = numbers[PASSIVE, c, i] + numbers[ACTIVE, c, i] * phi[1 if c % 4 == 0 else 0, i]
            if c != 2:
                work[1, c, i] = state[MIDDLE, c, i]
        for turn in range(16):
            c = turn % 8
            c = 2 * c if c < 4 else 2 * c - 7
            if c == 2:
                continue
            momentum = numbers[INERTANCE, c, i] / h
            old = momentum * state[FLOW, c, i]
            if c == 1:
                own = h * work[0, 1, i]
                head = _pressure(numbers, state, work, h, 1, i) + own * work[1, 1, i] + old
                work[1, 1, i] = _joint(numbers, head, own + momentum, root, i)
                continue
            d = (c + 1) % 8
            own = h * (work[0, c, i] + work[0, d, i])
            drive = _pressure(numbers, state, work, h, c, i) - _pressure(numbers, state, work, h, d, i)
            work[1, c, i] = _path(numbers, c, i, drive + own * work[1, c, i] + old, own + momentum)
        if record:
            for c in range(8):
                trace[0, c, i] = state[VOLUME, c, i]
                trace[1, c, i] = 0.5 * (state[MIDDLE, c, i] + work[1, c, i])
        if commit:
            for c in range(8):
                q = work[1, c, i]
                state[VOLUME, c, i] += 2 * h * (work[1, (c + 7) % 8, i] - q)
                flow = 2 * q - state[FLOW, c, i]
                state[FLOW, c, i] = max(flow, 0.0) if numbers[LEAK, c, i] == 0 else flow
                state[MIDDLE, c, i] = q
