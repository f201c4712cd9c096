r"""The step of `scheme`, compiled by Numba: sixteen simulations side by side, one pass over memory for each half.

The equations and their order are those of [`scheme`][pulsebayes.simulators.network.nonlinear.scheme], which is the
reference; a test compares the two. What differs is the layout. Sixteen simulations (lanes) are the innermost,
contiguous axis; all numbers of a row stand together in one record, so that every access of an inner loop has a fixed
distance from the others and the compiler can prove that they do not overlap. Constants are single-precision numbers
that double precision holds exactly: the same source serves float32 and float64. Units: SI.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from .grid import LONE_CELL
from .heart import ring_drain, ring_step

__all__ = ["END_FIELDS", "LANES", "OUTLET_FIELDS", "ROW_FIELDS", "VESSEL_FIELDS", "run_period"]

LANES = 16
ROW_FIELDS = ("area", "velocity", "pressure", "inverse_area", "beta", "face_area", "face_beta", "inverse_face_beta",
              "first", "second")  # fmt: skip
END_FIELDS = ("area", "beta", "speed", "external", "half_pressure", "half_velocity", "pressure", "velocity",
              "old_pressure", "old_velocity", "root", "invariant")  # fmt: skip
VESSEL_FIELDS = ("ratio", "drag", "diffusion", "external", "inverse_dx")
OUTLET_FIELDS = ("resistance", "drain", "keep", "leak", "fill", "capacitor", "twice")

L = LANES
W = len(ROW_FIELDS) * L
EW = len(END_FIELDS) * L
A, U, P, IA, BETA, FA, FB, IFB, F1, F2 = (i * L for i in range(len(ROW_FIELDS)))
EA, EB, EK, EX, HP, HU, SP, SU, OP, OU, EY, EI = (i * L for i in range(len(END_FIELDS)))
LONE = np.float32(LONE_CELL)
HALF, ONE, TWO, FOUR, QUARTER, ZERO = (np.float32(x) for x in (0.5, 1.0, 2.0, 4.0, 0.25, 0.0))

_jit: Any = numba.njit(fastmath={"contract", "arcp", "nsz", "afn"}, error_model="numpy", nogil=True, cache=True)


@_jit
def _single_cell(row, low, high, ratio, drag, inverse_density):  # type: ignore[no-untyped-def]
    """Half-step states of a vessel's only cell, its slopes from the last star states of its two ends."""
    for i in range(L):
        p, u, a = row[W + P + i], row[W + U + i], row[W + A + i]
        sp, su = HALF * (high[SP + i] - low[SP + i]), HALF * (high[SU + i] - low[SU + i])
        left, right = ONE + (p - sp) * row[IFB + i], ONE + (p + sp) * row[W + IFB + i]
        r, b = HALF * ratio[i], row[W + BETA + i]
        gain = r * (row[FA + i] * left * left * (u - su) - row[W + FA + i] * right * right * (u + su))
        du = -r * TWO * (u * su + sp * inverse_density) - drag[i] * u / a
        dp = HALF * b * b * row[W + IA + i] / (b + p) * gain
        low[HP + i], low[HU + i] = p - sp + dp, u - su + du
        high[HP + i], high[HU + i] = p + sp + dp, u + su + du


@_jit
def _first_cell(row, low, ratio, drag, inverse_density):  # type: ignore[no-untyped-def]
    """Half-step states of a vessel's first cell: one-sided slopes, its left state kept for the inlet."""
    for i in range(L):
        p, u, a = row[W + P + i], row[W + U + i], row[W + A + i]
        sp, su = HALF * (row[2 * W + P + i] - p), HALF * (row[2 * W + U + i] - u)
        left, right = ONE + (p - sp) * row[IFB + i], ONE + (p + sp) * row[W + IFB + i]
        r, b = HALF * ratio[i], row[W + BETA + i]
        gain = r * (row[FA + i] * left * left * (u - su) - row[W + FA + i] * right * right * (u + su))
        du = -r * TWO * (u * su + sp * inverse_density) - drag[i] * u / a
        dp = HALF * b * b * row[W + IA + i] / (b + p) * gain
        low[HP + i], low[HU + i] = p - sp + dp, u - su + du
        row[W + F1 + i], row[W + F2 + i] = p + sp + dp, u + su + du


@_jit
def _inner_cell(row, ratio, drag, inverse_density, half_inverse):  # type: ignore[no-untyped-def]
    """Half-step states of a cell and the flux through its left face, with centred slopes.

    A right state is kept where the flux of that face will stand: each lane reads it just before it is written over.
    """
    for i in range(L):
        p, u, a = row[W + P + i], row[W + U + i], row[W + A + i]
        sp = QUARTER * (row[2 * W + P + i] - row[P + i])
        su = QUARTER * (row[2 * W + U + i] - row[U + i])
        fa, ifb = row[FA + i], row[IFB + i]
        left, right = ONE + (p - sp) * ifb, ONE + (p + sp) * row[W + IFB + i]
        r, b = HALF * ratio[i], row[W + BETA + i]
        gain = r * (fa * left * left * (u - su) - row[W + FA + i] * right * right * (u + su))
        inverse = ONE / (a * (b + p))
        du = -r * TWO * (u * su + sp * inverse_density) - drag[i] * u * (b + p) * inverse
        dp = HALF * b * b * row[W + IA + i] * a * inverse * gain
        row[W + F1 + i], row[W + F2 + i] = p + sp + dp, u + su + du
        p_left, u_left, p_right, u_right = row[F1 + i], row[F2 + i], p - sp + dp, u - su + du
        left, right = ONE + p_left * ifb, ONE + p_right * ifb
        a_left, a_right = fa * left * left, fa * right * right
        speed = max(abs(u_left), abs(u_right)) + np.sqrt(half_inverse * row[FB + i] * max(left, right))
        row[F1 + i] = HALF * (a_left * u_left + a_right * u_right - speed * (a_right - a_left))
        energy = HALF * (u_left * u_left + u_right * u_right) + (p_left + p_right) * inverse_density
        row[F2 + i] = HALF * (energy - speed * (u_right - u_left))


@_jit
def _update(d, ratio, drag, start, n):  # type: ignore[no-untyped-def]
    """Areas, velocities and pressures of a vessel at the end of the step, friction by the trapezoidal rule."""
    for c in range(n):
        row = d[start + c * W : start + (c + 2) * W]
        for i in range(L):
            a, u, f = row[W + A + i], row[W + U + i], drag[i]
            new = a - ratio[i] * (row[W + F1 + i] - row[F1 + i])
            push = ratio[i] * (row[F2 + i] - row[W + F2 + i])
            row[W + A + i] = new
            row[W + U + i] = (u * (a - f) + push * a) * new / (a * (new + f))
            row[W + P + i] = row[W + BETA + i] * (np.sqrt(new * row[W + IA + i]) - ONE)


@_jit
def _diffuse(d, factor, stiffness, r0, n, work):  # type: ignore[no-untyped-def]
    """Flow of a vessel after diffusion by its viscous wall, Crank-Nicolson: a tridiagonal solve."""
    for c in range(n):
        row = d[(r0 + c - 1) * W : (r0 + c + 2) * W] if c < n - 1 else d[(r0 + c - 1) * W : (r0 + c + 1) * W]
        for i in range(L):
            a, q = row[W + A + i], row[W + A + i] * row[W + U + i]
            alpha = ONE + row[W + P + i] / row[W + BETA + i]
            above, below, gained = ZERO * a, ZERO * a, q
            if c < n - 1:
                ahead = ONE + row[2 * W + P + i] / row[2 * W + BETA + i]
                above = a * factor[i] * stiffness[r0 + c, i] * TWO / (alpha + ahead)
                gained += above * (row[2 * W + A + i] * row[2 * W + U + i] - q)
            if c > 0:
                behind = ONE + row[P + i] / row[BETA + i]
                below = a * factor[i] * stiffness[r0 + c - 1, i] * TWO / (alpha + behind)
                gained += below * (row[A + i] * row[U + i] - q)
            work[3 * c, i], work[3 * c + 1, i], work[3 * c + 2, i] = below, above, gained
    for c in range(n):
        for i in range(L):
            below, above = work[3 * c, i], work[3 * c + 1, i]
            pivot = ONE + above + below
            if c > 0:
                pivot -= below * work[3 * c - 2, i]
                work[3 * c + 2, i] += below * work[3 * c - 1, i]
            work[3 * c + 1, i] = above / pivot
            work[3 * c + 2, i] /= pivot
    for c in range(n - 1, -1, -1):
        row = d[(r0 + c) * W : (r0 + c + 1) * W]
        for i in range(L):
            if c < n - 1:
                work[3 * c + 2, i] += work[3 * c + 1, i] * work[3 * c + 5, i]
            row[U + i] = work[3 * c + 2, i] / row[A + i]


@_jit
def _sweep(d, e, vessels, stiffness, flags, first, cells, inverse_density, half_inverse, moving, work):  # type: ignore[no-untyped-def]
    """Vessel by vessel, while it is near: end the last step, then half-step states and fluxes of the next."""
    for v in range(len(first)):
        o, n = first[v] * W, cells[v]
        ratio, drag = vessels[v, 0], vessels[v, 1]
        low, high = e[2 * v * EW : (2 * v + 1) * EW], e[(2 * v + 1) * EW : (2 * v + 2) * EW]
        if moving:
            _update(d, ratio, drag, o, n)
            if flags[v]:
                _diffuse(d, vessels[v, 2], stiffness, first[v] + 1, n, work)
        if n == 1:
            _single_cell(d[o : o + 2 * W], low, high, ratio, drag, inverse_density)
            continue
        _first_cell(d[o : o + 3 * W], low, ratio, drag, inverse_density)
        last = d[o + (n - 1) * W : o + (n + 2) * W]
        for i in range(L):  # the row after the last cell, another vessel's face, makes its slope one-sided
            last[2 * W + P + i] = TWO * last[W + P + i] - last[P + i]
            last[2 * W + U + i] = TWO * last[W + U + i] - last[U + i]
        for c in range(1, n):
            _inner_cell(d[o + c * W : o + (c + 3) * W], ratio, drag, inverse_density, half_inverse)
        for i in range(L):
            high[HP + i], high[HU + i] = last[W + F1 + i], last[W + F2 + i]


@_jit
def _invariants(e, n_ends, lanes):  # type: ignore[no-untyped-def]
    """Outgoing invariants, and the half-step state as a first guess of the star state."""
    for k in range(n_ends):
        end = e[k * EW : (k + 1) * EW]
        sign = ONE if k % 2 else -ONE
        for i in range(lanes):
            y = np.sqrt(ONE + end[HP + i] / end[EB + i])
            end[EY + i] = y
            end[EI + i] = sign * end[HU + i] + FOUR * end[EK + i] * y
            end[OP + i], end[OU + i] = end[SP + i], end[SU + i]


@_jit
def _stars(d, e, first, cells, inverse_density):  # type: ignore[no-untyped-def]
    """Star states and their fluxes from the solved roots."""
    for k in range(2 * len(first)):
        end = e[k * EW : (k + 1) * EW]
        r = first[k // 2] + (cells[k // 2] if k % 2 else 0)
        row = d[r * W : (r + 1) * W]
        sign = ONE if k % 2 else -ONE
        for i in range(L):
            y = end[EY + i]
            p = end[EB + i] * (y * y - ONE)
            u = sign * (end[EI + i] - FOUR * end[EK + i] * y)
            end[SP + i], end[SU + i] = p, u
            row[F1 + i] = end[EA + i] * y * y * y * y * u
            row[F2 + i] = HALF * u * u + p * inverse_density


@_jit
def _junctions(e, starts, members, total, density, work, lanes):  # type: ignore[no-untyped-def]
    """One pressure and no lost volume where ends meet: Newton on an arrowhead matrix, solved in closed form."""
    for j in range(len(starts) - 1):
        moving = density if starts[j + 1] - starts[j] == 2 else density * total  # two vessels in a row: total pressure
        weight, loss = HALF * moving, FOUR * moving
        for _ in range(2):
            for i in range(L):
                work[i], work[L + i] = ZERO, ZERO
            for m in range(starts[j], starts[j + 1]):
                end = e[members[m] * EW : (members[m] + 1) * EW]
                for i in range(L):
                    y, b, k = end[EY + i], end[EB + i], end[EK + i]
                    v = end[EI + i] - FOUR * k * y
                    head = end[EX + i] + b * (y * y - ONE) + weight * v * v
                    slope = TWO * b * y - loss * k * v
                    cube = end[EA + i] * y * y * y
                    gain = FOUR * cube * (v - k * y) / slope
                    work[i] += gain * head - cube * y * v
                    work[L + i] += gain
            for i in range(lanes):
                work[i] = work[i] / work[L + i]
            for m in range(starts[j], starts[j + 1]):
                end = e[members[m] * EW : (members[m] + 1) * EW]
                for i in range(L):
                    y, b, k = end[EY + i], end[EB + i], end[EK + i]
                    v = end[EI + i] - FOUR * k * y
                    head = end[EX + i] + b * (y * y - ONE) + weight * v * v
                    end[EY + i] = y + (work[i] - head) / (TWO * b * y - loss * k * v)


@_jit
def _inlet(end, inflow):  # type: ignore[no-untyped-def]
    for _ in range(3):
        for i in range(L):
            y, k = end[EY + i], end[EK + i]
            v = end[EI + i] - FOUR * k * y
            cube = end[EA + i] * y * y * y
            end[EY + i] = y - (cube * y * v + inflow[i]) / (FOUR * cube * (v - k * y))


@_jit
def _beating(end, ring, feed, pull, held, half, trace, record, commit):  # type: ignore[no-untyped-def]
    """The heart's step: its valve and the root's star state together; `held[0, 2]` is the flow out of the beds."""
    root = np.empty((6, L))
    for i in range(L):
        root[0, i], root[1, i], root[2, i], root[3, i] = end[EY + i], end[EA + i], end[EB + i], end[EK + i]
        root[4, i], root[5, i] = end[EX + i], end[EI + i]
    phi = np.empty((2, L))
    for i in range(L):
        phi[0, i], phi[1, i] = feed[i], pull[i]
    ring_step(ring[0], ring[1], held, root, phi, half, trace, record, commit)
    for i in range(L):
        end[EY + i] = root[0, i]


@_jit
def _given_up(e, drains, outlets, beds, before, drain, out):  # type: ignore[no-untyped-def]
    """Flow out of the beds at the middle of the step, all outlets together."""
    for i in range(L):
        out[i] = 0.0
    for k in range(len(drains)):
        end = e[drains[k] * EW : (drains[k] + 1) * EW]
        for i in range(L):
            if beds[k, i] > 0:
                out[i] += beds[k, i] * (0.5 * (before[k, i] + outlets[k, 5, i]) - drain[i])
            else:
                y = end[EY + i]
                out[i] += end[EA + i] * y * y * y * y * (end[EI + i] - FOUR * end[EK + i] * y)


@_jit
def _outlets(e, drains, outlets, swing):  # type: ignore[no-untyped-def]
    """Windkessels: pressure behind R1 at mid-step is linear in the flow; without a capacitor it is the drain's."""
    for k in range(len(drains)):
        end = e[drains[k] * EW : (drains[k] + 1) * EW]
        o = outlets[k]
        for i in range(L):
            held = o[2, i] * o[5, i] + o[3, i] * (o[1, i] + swing[i])
            r = o[0, i]
            y, b, s, w, area, x = end[EY + i], end[EB + i], end[EK + i], end[EI + i], end[EA + i], end[EX + i]
            v = w - FOUR * s * y
            cube = area * y * y * y
            y -= (x + b * (y * y - ONE) - r * cube * y * v - held) / (TWO * b * y - r * FOUR * cube * (v - s * y))
            v = w - FOUR * s * y
            cube = area * y * y * y
            y -= (x + b * (y * y - ONE) - r * cube * y * v - held) / (TWO * b * y - r * FOUR * cube * (v - s * y))
            end[EY + i] = y
            flow = area * y * y * y * y * (w - FOUR * s * y)
            new = held + o[4, i] * flow
            o[5, i] = new + o[6, i] * (new - o[5, i])


@_jit
def _check(d, vessels, first, cells, half_inverse, sample, cfl, failed):  # type: ignore[no-untyped-def]
    """Largest Courant number, and the first cell of each lane whose state is not finite."""
    for v in range(len(first)):
        ratio, weight = vessels[v, 0], LONE if cells[v] == 1 else ONE
        for c in range(1, cells[v] + 1):
            row = d[(first[v] + c) * W : (first[v] + c + 1) * W]
            bad = False
            for i in range(L):
                u, b = row[U + i], row[BETA + i]
                courant = (abs(u) + np.sqrt(half_inverse * (b + row[P + i]))) * ratio[i] * weight
                bad = bad or not (courant < np.float32(1e3))
                cfl[i] = max(cfl[i], courant)
            if bad:
                for i in range(L):
                    courant = (abs(row[U + i]) + np.sqrt(half_inverse * (row[BETA + i] + row[P + i]))) * ratio[i]
                    if failed[0, i] < 0 and not (courant < np.float32(1e3)):
                        failed[0, i], failed[1, i] = first[v] + c, sample


@_jit
def _record(d, e, vessels, stiffness, first, cells, rows, vessel_of, weights, n_rows, flags, out):  # type: ignore[no-untyped-def]
    """Waves at the probes: cells now, ends as the mean of the star states before and after."""
    for k in range(len(rows)):
        v = vessel_of[k]
        for i in range(L):
            out[0, k, i] = vessels[v, 3, i]
            out[1, k, i] = ZERO
            out[2, k, i] = ZERO
        for m in range(rows.shape[1]):
            w, r = weights[k, m], rows[k, m]
            if r >= n_rows:
                end = e[(r - n_rows) * EW : (r - n_rows + 1) * EW]
                for i in range(L):
                    p, u = HALF * (end[OP + i] + end[SP + i]), HALF * (end[OU + i] + end[SU + i])
                    alpha = ONE + p / end[EB + i]
                    out[0, k, i] += w * p
                    out[1, k, i] += w * end[EA + i] * alpha * alpha * u
                continue
            row = d[r * W : (r + 1) * W]
            for i in range(L):
                out[0, k, i] += w * row[P + i]
                out[1, k, i] += w * row[A + i] * row[U + i]
            if flags[v]:
                lower, upper = max(r - 1, first[v] + 1), min(r + 1, first[v] + cells[v])
                near, far = d[lower * W : (lower + 1) * W], d[upper * W : (upper + 1) * W]
                for i in range(L):
                    rise = far[A + i] * far[U + i] - near[A + i] * near[U + i]
                    rise = rise * vessels[v, 4, i] * (HALF if upper - lower == 2 else ONE)
                    out[2, k, i] -= w * rise * stiffness[r, i] / (ONE + row[P + i] / row[BETA + i])


@_jit
def _take_back(e, outlets, capacitors):  # type: ignore[no-untyped-def]
    """Undo the star states and capacitors of a step that is not made."""
    for k in range(len(e) // EW):
        end = e[k * EW : (k + 1) * EW]
        for i in range(L):
            end[SP + i], end[SU + i] = end[OP + i], end[OU + i]
    for k in range(len(outlets)):
        for i in range(L):
            outlets[k, 5, i] = capacitors[k, i]


@_jit
def run_period(  # type: ignore[no-untyped-def]
    d, e, vessels, outlets, stiffness, topology, flags, probes, weights, numbers, half, inflow, swing,
    n_steps, n_samples, waves, capacitors, cfl, failed, work, ring,
):  # fmt: skip
    """Advance sixteen simulations by one period; every array is changed in place.

    With a ring in it, a heart drives the root: `inflow` and `swing` are then the activation of ventricles and atria.

    Arguments:
        d: Records of rows.
        e: Records of ends.
        vessels: Numbers of vessels.
        outlets: Numbers of outlets.
        stiffness: Viscosity of the wall at faces.
        topology: First rows, cells, junction starts, junction members, drains, and the inflow's end.
        flags: Whether each vessel has a viscous wall.
        probes: Points and vessels of the probes.
        weights: Interpolation weights.
        numbers: Density, its inverse, half of that, and 1 where total pressure is continuous.
        half: Half a time step.
        inflow: Inflow at even phases.
        swing: Swing of the drains' pressure at even phases.
        n_steps: Steps of the period.
        n_samples: Samples of the period.
        waves: Waves out.
        capacitors: Capacitor pressures out.
        cfl: Largest Courant number out.
        failed: Row and sample of the first failure out.
        work: Room for intermediate values.
        ring: Numbers and state of the hearts, the beds' conductances, and their trace out; or `no_ring`.
    """
    first, cells, starts, members, drains, root = topology
    density, inverse, half_inverse, total = numbers
    between, fine, n_rows = n_steps // n_samples, len(inflow), len(stiffness)
    feed, pull = work[0], work[1]
    beats = len(ring[0]) > 0
    drain, before, held = pull.copy(), outlets[:, 5].copy(), np.zeros((2, 8, L))
    long_half, closing = half.astype(np.float64), outlets[:, 1].copy()
    if beats:
        outlets[:, 1] = ZERO  # the veins' pressure takes its place
    for n in range(n_steps + 1):
        place = (TWO * (n % n_steps) + ONE) * 0.5 * fine / n_steps
        left = int(place)
        share = place - left
        for i in range(L):
            feed[i] = inflow[left % fine, i] * (1.0 - share) + inflow[(left + 1) % fine, i] * share
            pull[i] = swing[left % fine, i] * (1.0 - share) + swing[(left + 1) % fine, i] * share
        _sweep(d, e, vessels, stiffness, flags, first, cells, inverse, half_inverse, n > 0, work[4:])
        _invariants(e, 2 * len(first), half.size)
        _junctions(e, starts, members, total, density, work[2:4].reshape(-1), half.size)
        if beats:
            ring_drain(ring[0], ring[1], long_half, closing[0], drain)
            before[:] = outlets[:, 5]
        else:
            drain[:] = pull
            _inlet(e[root * EW : (root + 1) * EW], feed)
        if n % between == 0:
            for k in range(len(drains)):
                for i in range(L):
                    capacitors[n // between, k, i] = outlets[k, 5, i]
        _outlets(e, drains, outlets, drain)
        if beats:
            _given_up(e, drains, outlets, ring[2], before, drain, held[1, 2])
            shown, now = n % between == 0, ring[3][n // between]
            _beating(e[root * EW : (root + 1) * EW], ring, feed, pull, held, long_half, now, shown, n < n_steps)
        _stars(d, e, first, cells, inverse)
        if n % between == 0:
            _check(d, vessels, first, cells, half_inverse, n // between, cfl, failed)
            found = waves[n // between]
            _record(d, e, vessels, stiffness, first, cells, probes[0], probes[1], weights, n_rows, flags, found)
    _take_back(e, outlets, capacitors[n_samples])  # the last step was only looked at, for the last sample
