r"""One time step of the non-linear one-dimensional equations on a network, in JAX: the reference of every other kernel.

$$A_t + (Au)_x = 0,\qquad
  u_t + \Big(\frac{u^2}{2} + \frac{P}{\rho}\Big)_x = -\frac{2(\zeta+2)\pi\mu}{\rho}\frac{u}{A},\qquad
  P = P_{ext} + p,\; p = \beta\,(\sqrt{A/A_0} - 1)$$

plus, in vessels with a viscous wall, $\frac1\rho\,\partial_x\big(\Gamma A_0^{-1}A^{-1/2}(Au)_x\big)$ on the right of
the second equation. MUSCL-Hancock, second order: $p$ and $u$ are reconstructed with centred slopes, so that a network
at rest stays at rest at every pressure and with any taper; a half-step predictor with wall and friction; Rusanov's
flux with the local speed; friction by the trapezoidal rule; wall viscosity by Crank-Nicolson. Vessel ends are faces:
the outgoing Riemann invariant $u \pm 4c$ of the half-step end state meets the condition of the node in a star state,
whose flux is used by the end cell, so that volume is conserved exactly. Outlets keep their capacitor by the
trapezoidal rule.

References:
    Toro E.F. (2009), Riemann Solvers and Numerical Methods for Fluid Dynamics, ch. 13-14 (MUSCL-Hancock); Alastruey J.
    et al. (2012), Commun Comput Phys 11:317 (equations, invariants, junctions). Units: SI.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .grid import Grid, Physics

__all__ = ["Forcing", "State", "Tables", "initial_state", "make_tables", "pressure", "step"]

JUNCTION_ITERATIONS = 2
OUTLET_ITERATIONS = 2
INLET_ITERATIONS = 3


class State(NamedTuple):
    """Everything that goes from one step to the next, SI.

    `area`, `velocity`: (R, B); `capacitor`: pressure behind R1 of every outlet, (K, B); `end_pressure` (transmural) and
    `end_velocity` of the last star states, (E, B); `cfl`: largest Courant number since it was last reset, (B,).

    Example:
        >>> State._fields[2]
        'capacitor'
    """

    area: Float[Any, "R B"]
    velocity: Float[Any, "R B"]
    capacitor: Float[Any, "K B"]
    end_pressure: Float[Any, "E B"]
    end_velocity: Float[Any, "E B"]
    cfl: Float[Any, " B"]


class Forcing(NamedTuple):
    """Sources of a manufactured solution at the middle of the step: of area [m2/s] and velocity [m/s2], each (R, B).

    Example:
        >>> Forcing._fields
        ('area', 'velocity')
    """

    area: Float[Any, "R B"]
    velocity: Float[Any, "R B"]


class Tables(NamedTuple):
    """The grid as arrays, and what of the numbers can be had before the first step.

    Example:
        >>> "sign" in Tables._fields
        True
    """

    is_cell: Any
    back: Any
    ahead: Any
    single: Any
    interior: Any
    end_row: Any
    sign: Any
    member: Any
    node: Any
    end_area: Array
    end_beta: Array
    end_speed: Array
    end_external: Array
    dx: Array
    friction: Array


def make_tables(grid: Grid, physics: Physics) -> Tables:
    """Arrays that a step needs.

    Arguments:
        grid: The grid.
        physics: The numbers.

    Returns:
        The tables.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> from pulsebayes.simulators.network.nonlinear.grid import make_grid
        >>> from pulsebayes.simulators.network.nonlinear.physics import model_physics
        >>> model = load_network("common-carotid")
        >>> grid = make_grid(model, dx_mm=10.0)
        >>> make_tables(grid, model_physics(model, grid)).sign[:, 0].tolist()
        [-1.0, 1.0]
    """
    dtype = np.asarray(physics.period).dtype if not isinstance(physics.period, jax.Array) else physics.period.dtype
    rows = np.arange(grid.n_rows)
    vessel = grid.vessel_of_row
    has_back = grid.is_cell & (rows > grid.first[vessel] + 1)
    has_ahead = grid.is_cell & (rows < grid.last[vessel])
    back = np.where(has_back, np.where(has_ahead, 0.5, 1.0), 0.0)
    ahead = np.where(has_ahead, np.where(has_back, 0.5, 1.0), 0.0)
    faces = np.stack([grid.first, grid.last], axis=1).reshape(-1)
    end_beta = jnp.asarray(physics.face_beta)[faces]
    return Tables(
        is_cell=grid.is_cell[:, None],
        back=back[:, None].astype(dtype),
        ahead=ahead[:, None].astype(dtype),
        single=np.flatnonzero(grid.cells == 1),
        interior=has_ahead[:, None],
        end_row=np.stack([grid.first + 1, grid.last], axis=1).reshape(-1),
        sign=np.tile([-1.0, 1.0], len(grid.cells))[:, None].astype(dtype),
        member=np.concatenate([*grid.junctions, np.zeros(0, np.int64)]).astype(np.int64),
        node=np.repeat(np.arange(len(grid.junctions)), [len(j) for j in grid.junctions]),
        end_area=jnp.asarray(physics.face_area)[faces],
        end_beta=end_beta,
        end_speed=jnp.sqrt(end_beta * (0.5 / grid.density)),
        end_external=jnp.repeat(jnp.asarray(physics.external), 2, axis=0),
        dx=jnp.asarray(physics.dx)[vessel],
        friction=jnp.asarray(physics.friction)[vessel],
    )


def initial_state(grid: Grid, physics: Physics, start: Float[Any, " B"], capacitor: Float[Any, "K B"]) -> State:
    """A network at rest at a pressure.

    Arguments:
        grid: The grid.
        physics: The numbers.
        start: Pressure in the vessels [Pa], with shape (B,).
        capacitor: Pressure behind R1 of every outlet [Pa].

    Returns:
        The state.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> from pulsebayes.simulators.network.nonlinear.grid import make_grid
        >>> from pulsebayes.simulators.network.nonlinear.physics import model_physics
        >>> model = load_network("common-carotid")
        >>> grid = make_grid(model, dx_mm=10.0)
        >>> initial_state(grid, model_physics(model, grid), np.zeros(1), np.zeros((1, 1))).area.shape
        (14, 1)
    """
    transmural = start - physics.external
    alpha = 1 + transmural[grid.vessel_of_row] / physics.beta
    area = physics.area * np.where(alpha > 0, alpha, np.nan) ** 2  # a wall cannot hold less than -beta
    ends = np.repeat(transmural, 2, axis=0)
    keep = np.zeros_like(start)
    return State(area, np.zeros_like(area), capacitor + keep, ends, np.zeros_like(ends), keep)


def pressure(physics: Physics, area: Float[Array, "R B"]) -> Float[Array, "R B"]:
    """Transmural pressure of the wall law.

    Arguments:
        physics: The numbers.
        area: Lumen areas [m2].

    Returns:
        Pressure over external pressure [Pa].

    Example:
        >>> zero = jnp.zeros((1, 1))
        >>> numbers = Physics(*[zero] * 15)._replace(area=zero + 1.0, beta=zero + 2.0)
        >>> float(pressure(numbers, zero + 4.0)[0, 0])
        2.0
    """
    over: Float[Array, "R B"] = physics.beta * (jnp.sqrt(area / physics.area) - 1)
    return over


def _before(x: Float[Array, "R B"]) -> Float[Array, "R B"]:
    return jnp.concatenate([x[:1], x[:-1]])


def _after(x: Float[Array, "R B"]) -> Float[Array, "R B"]:
    return jnp.concatenate([x[1:], x[-1:]])


def step(
    grid: Grid,
    physics: Physics,
    tables: Tables,
    state: State,
    *,
    inflow: Float[Array, " B"],
    drain: Float[Array, "K B"],
    dt: Float[Array, " B"],
    forcing: Forcing | None = None,
) -> State:
    """Advance every simulation by its time step.

    Arguments:
        grid: The grid.
        physics: The numbers.
        tables: Their tables.
        state: State at the beginning of the step.
        inflow: Flow into the root at the middle of the step [m3/s].
        drain: Pressure behind every outlet at the middle of the step [Pa].
        dt: Time step of each simulation [s].
        forcing: Sources, for verification.

    Returns:
        State at its end.

    Example:
        >>> step.__name__
        'step'
    """
    half = 0.5 * dt
    low, high = _half_step(grid, physics, tables, state, half, forcing)
    fluxes, speed = _face_fluxes(grid, physics, low, high)
    star_p, star_u, capacitor = _star_states(grid, physics, tables, state, low, high, inflow, drain, half)
    star_a = tables.end_area * (1 + star_p / tables.end_beta) ** 2
    faces = np.stack([grid.first, grid.last], axis=1).reshape(-1)
    mass = jnp.where(tables.interior, fluxes[0], 0).at[faces].set(star_a * star_u)
    momentum = jnp.where(tables.interior, fluxes[1], 0).at[faces].set(0.5 * star_u**2 + star_p / grid.density)
    ratio = dt / tables.dx
    area = state.area - ratio * (mass - _before(mass))
    push = -ratio * (momentum - _before(momentum))
    if forcing is not None:
        area, push = area + dt * forcing.area, push + dt * forcing.velocity
    area = jnp.where(tables.is_cell, area, state.area)
    drag = half * tables.friction
    velocity = (state.velocity * (1 - drag / state.area) + push) / (1 + drag / area)
    velocity = jnp.where(tables.is_cell, velocity, 0)
    if grid.viscous.any():
        velocity = _wall_viscosity(grid, physics, tables, area, velocity, dt)
    fastest = jnp.where(tables.interior, speed * ratio, 0).max(0)
    ends = tables.end_speed * jnp.sqrt(1 + star_p / tables.end_beta) + jnp.abs(star_u)
    weight = np.repeat(grid.courant_weight, 2)[:, None].astype(ends.dtype)
    fastest = jnp.maximum(fastest, (ends * weight * ratio[tables.end_row]).max(0))
    return State(area, velocity, capacitor, star_p, star_u, jnp.maximum(state.cfl, fastest))


def _half_step(
    grid: Grid, physics: Physics, tables: Tables, state: State, half: Array, forcing: Forcing | None
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Transmural pressure and velocity at both sides of every cell, half a step ahead."""
    alpha = jnp.sqrt(state.area / physics.area)
    p, u = physics.beta * (alpha - 1), state.velocity
    slope_p = tables.back * (p - _before(p)) + tables.ahead * (_after(p) - p)
    slope_u = tables.back * (u - _before(u)) + tables.ahead * (_after(u) - u)
    if len(tables.single):
        rows, ends = grid.first[tables.single] + 1, 2 * tables.single
        slope_p = slope_p.at[rows].set(state.end_pressure[ends + 1] - state.end_pressure[ends])
        slope_u = slope_u.at[rows].set(state.end_velocity[ends + 1] - state.end_velocity[ends])
    p_low, p_high, u_low, u_high = p - slope_p / 2, p + slope_p / 2, u - slope_u / 2, u + slope_u / 2
    a_low = _before(physics.face_area) * (1 + p_low / _before(physics.face_beta)) ** 2
    a_high = physics.face_area * (1 + p_high / physics.face_beta) ** 2
    ratio = half / tables.dx
    d_area = -ratio * (a_high * u_high - a_low * u_low)
    d_u = -ratio * (0.5 * (u_high**2 - u_low**2) + slope_p / grid.density) - half * tables.friction * u / state.area
    if forcing is not None:
        d_area, d_u = d_area + half * forcing.area, d_u + half * forcing.velocity
    d_p = 0.5 * physics.beta / (physics.area * alpha) * d_area
    return (p_low + d_p, u_low + d_u), (p_high + d_p, u_high + d_u)


def _face_fluxes(
    grid: Grid, physics: Physics, low: tuple[Array, Array], high: tuple[Array, Array]
) -> tuple[tuple[Array, Array], Array]:
    """Rusanov's fluxes of area and velocity between neighbouring cells, and the local speed."""
    (p_left, u_left), (p_right, u_right) = high, (_after(low[0]), _after(low[1]))
    alpha_left, alpha_right = 1 + p_left / physics.face_beta, 1 + p_right / physics.face_beta
    a_left, a_right = physics.face_area * alpha_left**2, physics.face_area * alpha_right**2
    wave = jnp.sqrt((0.5 / grid.density) * physics.face_beta * jnp.maximum(alpha_left, alpha_right))
    speed = jnp.maximum(jnp.abs(u_left), jnp.abs(u_right)) + wave
    mass = 0.5 * (a_left * u_left + a_right * u_right - speed * (a_right - a_left))
    energy = 0.5 * (u_left**2 + u_right**2) + (p_left + p_right) / grid.density
    return (mass, 0.5 * (energy - speed * (u_right - u_left))), speed


def _star_states(
    grid: Grid,
    physics: Physics,
    tables: Tables,
    state: State,
    low: tuple[Array, Array],
    high: tuple[Array, Array],
    inflow: Array,
    drain: Array,
    half: Array,
) -> tuple[Array, Array, Array]:
    """Transmural pressure and velocity at every vessel end at the middle of the step, and the new capacitors."""
    outward = tables.sign > 0
    p = jnp.where(outward, high[0][tables.end_row], low[0][tables.end_row])
    u = jnp.where(outward, high[1][tables.end_row], low[1][tables.end_row])
    y = jnp.sqrt(1 + p / tables.end_beta)
    invariant = tables.sign * u + 4 * tables.end_speed * y
    if len(tables.member):
        y = _junctions(grid, tables, y, invariant)
    y = y.at[grid.root].set(_inlet(tables, y, invariant, grid.root, inflow))
    ends, capacitor = _outlets(grid, physics, tables, y, invariant, state.capacitor, drain, half)
    y = y.at[grid.drains].set(ends)
    velocity = tables.sign * (invariant - 4 * tables.end_speed * y)
    return tables.end_beta * (y**2 - 1), velocity, capacitor


def _junctions(grid: Grid, tables: Tables, y: Array, invariant: Array) -> Array:
    """Ends that meet share one pressure and lose no volume: Newton on an arrowhead matrix, solved in closed form."""
    m, n = tables.member, len(grid.junctions)
    area, beta, k, external, w = (
        t[m] for t in (tables.end_area, tables.end_beta, tables.end_speed, tables.end_external, invariant)
    )
    total = grid.has_total_pressure[tables.node]
    moving = np.where(total, grid.density, 0.0)[:, None].astype(y.dtype)
    z = y[m]
    for _ in range(JUNCTION_ITERATIONS):
        v = w - 4 * k * z
        head = external + beta * (z**2 - 1)
        slope = 2 * beta * z
        head, slope = head + 0.5 * moving * v**2, slope - 4 * moving * k * v
        flow, gain = area * z**4 * v, 4 * area * z**3 * (v - k * z) / slope
        top = jax.ops.segment_sum(gain * head - flow, tables.node, n)
        common = top / jax.ops.segment_sum(gain, tables.node, n)
        z = z + (common[tables.node] - head) / slope
    return y.at[m].set(z)


def _inlet(tables: Tables, y: Array, invariant: Array, end: int, inflow: Array) -> Array:
    area, k, w, z = tables.end_area[end], tables.end_speed[end], invariant[end], y[end]
    for _ in range(INLET_ITERATIONS):
        v = w - 4 * k * z
        z = z - (area * z**4 * v + inflow) / (4 * area * z**3 * (v - k * z))
    return z


def _outlets(
    grid: Grid,
    physics: Physics,
    tables: Tables,
    y: Array,
    invariant: Array,
    capacitor: Array,
    drain: Array,
    half: Array,
) -> tuple[Array, Array]:
    """R1-C-R2: the capacitor's pressure at mid-step is linear in the flow, a + b q; so is R1 alone, with b = 0."""
    e = grid.drains
    area, beta, k, external, w = (
        t[e] for t in (tables.end_area, tables.end_beta, tables.end_speed, tables.end_external, invariant)
    )
    has = physics.compliance > 0
    fill = jnp.where(has, half / jnp.where(has, physics.compliance, 1), 0)
    leak = jnp.where(has, fill / jnp.where(has, physics.r2, 1), 0)
    a = jnp.where(has, (capacitor + leak * drain) / (1 + leak), drain)
    b = fill / (1 + leak)
    z = y[e]
    for _ in range(OUTLET_ITERATIONS):
        v = w - 4 * k * z
        flow, gain = area * z**4 * v, 4 * area * z**3 * (v - k * z)
        miss = external + beta * (z**2 - 1) - (physics.r1 + b) * flow - a
        z = z - miss / (2 * beta * z - (physics.r1 + b) * gain)
    flow = area * z**4 * (w - 4 * k * z)
    return z, jnp.where(has, 2 * (a + b * flow) - capacitor, drain)


def _wall_viscosity(grid: Grid, physics: Physics, tables: Tables, area: Array, velocity: Array, dt: Array) -> Array:
    """Flow after diffusion by the viscous wall: one tridiagonal system a simulation, Crank-Nicolson."""
    alpha = jnp.sqrt(area / physics.area)
    stiff = physics.viscous * 2 / (alpha + _after(alpha))
    stiff = jnp.where(tables.interior, stiff, 0) * (0.5 * dt / (grid.density * tables.dx**2))
    flow = area * velocity
    above, below = area * stiff, area * _before(stiff)
    gained = above * (_after(flow) - flow) - below * (flow - _before(flow))
    solve: Any = jax.lax.linalg.tridiagonal_solve
    columns = [jnp.moveaxis(t, 0, -1) for t in (-below, 1 + above + below, -above, flow + gained)]
    flow = jnp.moveaxis(solve(*columns[:3], columns[3][..., None])[..., 0], -1, 0)
    return jnp.where(tables.is_cell, flow / area, 0)
