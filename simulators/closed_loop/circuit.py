r"""The circuit: eight compartments in a ring, eight paths between them, and a step that loses no blood.

Compartments are four chambers, whose elastance changes within the beat, and four beds of vessels; blood goes round
left atrium, left ventricle, systemic arteries, systemic veins, right atrium, right ventricle, pulmonary arteries,
pulmonary veins. With volumes $V$ and flows $Q$,

$$
\dot V_i = Q_{i-1} - Q_i, \qquad P_i = E_i(t)\,(V_i - V_{0,i}), \qquad
P_i - P_{i+1} = R_i Q_i + B_i Q_i |Q_i| + L_i \dot Q_i .
$$

Valves are paths that let blood pass one way ($Q \ge 0$), or back through a leak of its own resistance and orifice.
Systemic veins may close at a pressure of their own. With a septum of compliance $1/E_s$ the ventricles feel each other
through the volume by which it bulges, $V_s = (E_l V_l - E_r V_r)/(E_s + E_l + E_r)$, volumes less those at rest.

The step is the implicit midpoint rule, second order and without a limit on the step: the flows at the middle of a step
are found in two sweeps over every second path, each path's own share of the pressure solved in closed form. Every flow
is taken from one compartment and given to the next, and the systemic veins hold what the others leave of the total, so
that no step can lose blood, in single precision neither.

References:
    | Regazzoni et al. (2022), J Comput Phys 457:111083 (the ring of chambers, valves and vessels)
    | Mynard et al. (2012), Int J Numer Method Biomed Eng 28:626 (Bernoulli resistance and inertance of valves)
    | Santamore & Burkhoff (1991), Am J Physiol 260:H146 (septum). Units: mmHg, mL, s.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .activation import ATRIUM, VENTRICLE

__all__ = ["COMPARTMENTS", "PATHS", "Beat", "Circuit", "State", "activations", "pressures", "record_beat", "run_beat"]

COMPARTMENTS = ("LA", "LV", "SA", "SV", "RA", "RV", "PA", "PV")
"""Compartments in the order in which blood passes them."""
PATHS = ("mitral", "aortic", "systemic", "venous", "tricuspid", "pulmonic", "pulmonary", "pulmonary-venous")
"""Paths, each from the compartment of its number to the next."""

_SWEEPS = 2


class Circuit(NamedTuple):
    r"""Numbers of a batch of circuits; the first axis tells even compartments and paths from odd ones, (2, 4, B).

    `passive`, `active`: elastance at rest and what full activation adds [mmHg/mL]; `rest` [mL]; forward `resistance`
    [mmHg s/mL] and `quadratic` [mmHg s2/mL2]; backward `leak` (conductance, 0: tight) [mL/s/mmHg] and
    `leak_quadratic`; `inertance` [mmHg s2/mL]. `root`: part of the resistance of aortic and pulmonary valve that lies
    behind the valve, (2, B). `septum`: compliance [mL/mmHg], 0: rigid; `closing`: pressure at which systemic veins
    close [mmHg]; `total`: volume of all [mL]; `period`, `duration` of contraction and atrial `lead` [s]; (B,) each.

    Example:
        >>> Circuit._fields[:3]
        ('passive', 'active', 'rest')
    """

    passive: Float[Any, "2 4 B"]
    active: Float[Any, "2 4 B"]
    rest: Float[Any, "2 4 B"]
    resistance: Float[Any, "2 4 B"]
    quadratic: Float[Any, "2 4 B"]
    leak: Float[Any, "2 4 B"]
    leak_quadratic: Float[Any, "2 4 B"]
    inertance: Float[Any, "2 4 B"]
    root: Float[Any, "2 B"]
    septum: Float[Any, " B"]
    closing: Float[Any, " B"]
    total: Float[Any, " B"]
    period: Float[Any, " B"]
    duration: Float[Any, " B"]
    lead: Float[Any, " B"]


class State(NamedTuple):
    r"""Volumes of the compartments [mL]; flows of the paths now, and at the middle of the last step [mL/s].

    Example:
        >>> State._fields
        ('volume', 'flow', 'middle')
    """

    volume: Float[Any, "2 4 B"]
    flow: Float[Any, "2 4 B"]
    middle: Float[Any, "2 4 B"]


class Beat(NamedTuple):
    r"""A beat at the middle of its steps: volumes [mL], pressures [mmHg], flows [mL/s], each (n, 8, B) in ring order.

    Example:
        >>> Beat._fields
        ('volume', 'pressure', 'flow')
    """

    volume: Float[Any, "n 8 B"]
    pressure: Float[Any, "n 8 B"]
    flow: Float[Any, "n 8 B"]


def activations(circuit: Circuit, n_steps: int) -> Float[Array, "n 2 B"]:
    r"""Activation of atria and ventricles at the middle of every step of a beat, which begins with the ventricles'.

    Arguments:
        circuit: The circuits.
        n_steps: Steps of a beat.

    Returns:
        Activations, atria first.

    Example:
        >>> activations.__name__
        'activations'
    """
    time = (jnp.arange(n_steps)[:, None] + 0.5) / n_steps * circuit.period
    atrial = jnp.mod(time + circuit.lead, circuit.period)
    return jnp.stack([ATRIUM.at(atrial, circuit.duration), VENTRICLE.at(time, circuit.duration)], axis=1)


def pressures(
    circuit: Circuit, elastance: Float[Array, "2 4 B"], volume: Float[Array, "2 4 B"]
) -> Float[Array, "2 4 B"]:
    r"""Pressure of every compartment.

    Arguments:
        circuit: The circuits.
        elastance: Elastances now [mmHg/mL].
        volume: Volumes [mL].

    Returns:
        Pressures [mmHg].

    Example:
        >>> pressures.__name__
        'pressures'
    """
    found = elastance * (volume - circuit.rest)
    left, right = found[1, 0], found[1, 2]
    bulge = circuit.septum * (left - right) / (1 + circuit.septum * (elastance[1, 0] + elastance[1, 2]))
    none = jnp.zeros_like(bulge)
    push = jnp.stack([elastance[1, 0] * bulge, none, -elastance[1, 2] * bulge, none])
    return jnp.stack([found[0], found[1] - push])


def _shifted(x: Float[Array, "4 B"], by: int) -> Float[Array, "4 B"]:
    return jnp.concatenate([x[-by:], x[:-by]])


class _Step(NamedTuple):
    """What one step knows before its flows: elastances, half the step, sums of elastances, momentum, pressure added."""

    elastance: Array
    half: Array
    beside: Array
    momentum: Array
    volume: Array
    added: Array


def _middle(flow: Float[Array, "2 4 B"], now: _Step) -> Float[Array, "2 4 B"]:
    """Volumes at the middle of the step."""
    even, odd = flow[0], flow[1]
    return now.volume + now.half * jnp.stack([_shifted(odd, 1) - even, even - odd])


def _difference(circuit: Circuit, flow: Float[Array, "2 4 B"], now: _Step) -> tuple[Array, Array, Array]:
    """Pressures at the middle of the step, and the differences that drive the even and the odd paths."""
    p = pressures(circuit, now.elastance, _middle(flow, now))
    ahead = p[1].at[1].set(jnp.maximum(p[1, 1], circuit.closing))
    behind = _shifted(p[0], -1)
    return p, p[0] - ahead, (p[1] - behind).at[0].add(-now.added)


def _path(circuit: Circuit, k: int, drive: Float[Array, "4 B"], own: Float[Array, "4 B"]) -> Float[Array, "4 B"]:
    r"""Flow for a drive $r = (R + o) Q + B Q|Q|$, forward or back through the leak."""
    forward = circuit.resistance[k] + own
    ahead = 2 * drive / (forward + jnp.sqrt(forward**2 + 4 * circuit.quadratic[k] * jnp.maximum(drive, 0)))
    leak = circuit.leak[k]
    back = 1 + leak * own
    root = jnp.sqrt(back**2 + 4 * leak**2 * circuit.leak_quadratic[k] * jnp.maximum(-drive, 0))
    return jnp.where(drive > 0, ahead, 2 * drive * leak / (back + root))


def _step(circuit: Circuit, state: State, inputs: tuple[Array, Array], dt: Array) -> tuple[State, _Step]:
    phi, added = inputs
    elastance = circuit.passive + circuit.active * phi[:, None]
    even, odd = elastance[0], elastance[1]
    half = 0.5 * dt
    own = half * jnp.stack([even + odd, odd + _shifted(even, -1)])
    momentum = (2 / dt) * circuit.inertance
    now = _Step(elastance, half, own, momentum * state.flow, state.volume, added)
    q = state.middle
    for _ in range(_SWEEPS):
        _, drive, _ = _difference(circuit, q, now)
        first = _path(circuit, 0, drive + own[0] * q[0] + now.momentum[0], own[0] + momentum[0])
        q = jnp.stack([first, q[1]])
        _, _, drive = _difference(circuit, q, now)
        second = _path(circuit, 1, drive + own[1] * q[1] + now.momentum[1], own[1] + momentum[1])
        q = jnp.stack([first, second])
    volume = 2 * _middle(q, now) - state.volume
    rest = volume[0].sum(0) + volume[1, 0] + volume[1, 2] + volume[1, 3]
    volume = volume.at[1, 1].set(circuit.total - rest)
    flow = 2 * q - state.flow
    flow = jnp.where(circuit.leak > 0, flow, jnp.maximum(flow, 0))
    return State(volume, flow, q), now


def run_beat(
    circuit: Circuit, state: State, phi: Float[Array, "n 2 B"], added: Float[Array, "n B"]
) -> tuple[State, Float[Array, "n B"]]:
    r"""Advances every circuit by one beat.

    Arguments:
        circuit: The circuits.
        state: State at the onset of ventricular contraction.
        phi: Activations at the middle of the steps.
        added: Pressure at the aortic root beyond that of the circuit's own arteries, at the middle of the steps [mmHg].

    Returns:
        State at its end, and the flow through the aortic valve at the middle of the steps [mL/s].

    Example:
        >>> run_beat.__name__
        'run_beat'
    """
    dt = circuit.period / phi.shape[0]

    def advance(state: State, inputs: tuple[Array, Array]) -> tuple[State, Array]:
        after, _ = _step(circuit, state, inputs, dt)
        return after, after.middle[1, 0]

    return jax.lax.scan(advance, state, (phi, added))


def record_beat(
    circuit: Circuit, state: State, phi: Float[Array, "n 2 B"], added: Float[Array, "n B"]
) -> tuple[State, Beat]:
    r"""Advances every circuit by one beat and keeps all of it.

    Arguments:
        circuit: The circuits.
        state: State at the onset of ventricular contraction.
        phi: Activations at the middle of the steps.
        added: Pressure at the aortic root beyond that of the circuit's own arteries, at the middle of the steps [mmHg].

    Returns:
        State at its end, and the beat.

    Example:
        >>> record_beat.__name__
        'record_beat'
    """
    dt = circuit.period / phi.shape[0]

    def advance(state: State, inputs: tuple[Array, Array]) -> tuple[State, Beat]:
        after, now = _step(circuit, state, inputs, dt)
        volume = _middle(after.middle, now)
        return after, Beat(*map(_ring, (volume, pressures(circuit, now.elastance, volume), after.middle)))

    return jax.lax.scan(advance, state, (phi, added))


def _ring(x: Float[Array, "2 4 B"]) -> Float[Array, "8 B"]:
    """Compartments or paths in the order of the ring."""
    return jnp.swapaxes(x, 0, 1).reshape(8, x.shape[-1])
