r"""The same circuit by others: as svzerod describes it, and as equations for SciPy, written from the text alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np

from pulsebayes.simulators.closed_loop.activation import ATRIUM, VENTRICLE
from pulsebayes.simulators.closed_loop.circuit import COMPARTMENTS, PATHS, Circuit
from pulsebayes.simulators.closed_loop.parameters import ADULT, make_circuit

N_ROWS = 24
r"""Rows solved together by every test: little is compiled."""

Ring = dict[str, np.ndarray]


def median(**changes: float) -> dict[str, Any]:
    r"""The prior's medians, some of them changed."""
    values = {p.name: float(p.prior.ppf(np.array(0.5), p.low, p.high)) for p in ADULT.parameters} | changes
    return {name: jnp.asarray([value]) for name, value in values.items()}


def simple_circuit(**changes: float) -> Circuit:
    r"""Valves that are resistances one way and leak a little, vessels with inertance: what svzerod can describe."""
    circuit = make_circuit(median(**changes))
    valve = np.array([[1, 0, 1, 0]] * 2)[..., None]
    resistance = np.where(valve, 0.0075, circuit.resistance)
    return circuit._replace(
        resistance=jnp.asarray(resistance, circuit.rest.dtype),
        quadratic=0 * circuit.quadratic,
        leak=jnp.asarray(np.where(valve, 1 / 75.0, 1 / resistance), circuit.rest.dtype),
        leak_quadratic=0 * circuit.leak_quadratic,
        inertance=jnp.asarray(np.where(valve, 0.0, 5e-4) * np.ones_like(resistance), circuit.rest.dtype),
        root=0 * circuit.root,
    )


def ring(x: Any) -> np.ndarray:
    r"""Numbers of one circuit in the order of the ring."""
    return np.asarray(x, float)[..., 0].T.reshape(8)


def svzerod_case(circuit: Circuit, volume: np.ndarray, *, cycles: int, points: int) -> dict[str, Any]:
    r"""The circuit as svzerod reads it, started from volumes."""
    passive, active, rest = (ring(x) for x in (circuit.passive, circuit.active, circuit.rest))
    resistance, leak, inertance = (ring(x) for x in (circuit.resistance, circuit.leak, circuit.inertance))
    period, duration, lead = (float(x[0]) for x in (circuit.period, circuit.duration, circuit.lead))

    def chamber(i: int) -> dict[str, Any]:
        shape, shift = (ATRIUM, period - lead) if i % 4 == 0 else (VENTRICLE, 0.0)
        return {
            "type": "LinearElastanceChamber", "name": COMPARTMENTS[i],
            "values": {"Emax": active[i], "Epass": passive[i], "Vrest": rest[i]},
            "activation_function": {
                "type": "two_hill", "t_shift": shift, "tau_1": shape.rise * duration, "tau_2": shape.fall * duration,
                "m1": shape.rise_power, "m2": shape.fall_power,
            },
        }  # fmt: skip

    def vessel(i: int) -> dict[str, Any]:
        return {
            "vessel_name": COMPARTMENTS[i], "vessel_id": i, "vessel_length": 1.0,
            "zero_d_element_type": "BloodVesselCRL",
            "zero_d_element_values": {"C": 1 / passive[i], "R_poiseuille": resistance[i], "L": inertance[i]},
        }  # fmt: skip

    def valve(i: int) -> dict[str, Any]:
        return {
            "type": "PiecewiseValve", "name": PATHS[i],
            "params": {"Rmin": resistance[i], "Rmax": 1 / leak[i], "upstream_block": COMPARTMENTS[i],
                       "downstream_block": COMPARTMENTS[(i + 1) % 8]},
        }  # fmt: skip

    def junction(i: int) -> dict[str, Any]:
        return {
            "junction_name": f"J{i}", "junction_type": "NORMAL_JUNCTION", "inlet_blocks": [COMPARTMENTS[i]],
            "outlet_blocks": [COMPARTMENTS[(i + 1) % 8]],
        }  # fmt: skip

    return {
        "simulation_parameters": {
            "number_of_cardiac_cycles": cycles, "number_of_time_pts_per_cardiac_cycle": points,
            "output_variable_based": True, "output_all_cycles": False, "steady_initial": False,
            "cardiac_period": period,
        },
        "vessels": [vessel(i) for i in (2, 3, 6, 7)], "junctions": [junction(i) for i in (2, 3, 6, 7)],
        "boundary_conditions": [], "chambers": [chamber(i) for i in (0, 1, 4, 5)],
        "valves": [valve(i) for i in (0, 1, 4, 5)], "initial_condition": _start(volume, passive * (volume - rest)),
    }  # fmt: skip


def _start(volume: np.ndarray, pressure: np.ndarray) -> dict[str, float]:
    initial = {f"Vc:{COMPARTMENTS[i]}": volume[i] for i in (0, 1, 4, 5)}
    for i in range(8):
        end = (i + 1) % 8
        name = f"{PATHS[i]}:{COMPARTMENTS[end]}" if i in (0, 1, 4, 5) else f"J{i}:{COMPARTMENTS[end]}"
        initial[f"pressure:{name}"] = pressure[end]
    return initial


def hill(shape: Any, time: float, duration: float) -> float:
    r"""The two Hill functions in plain numbers, largest value one."""
    return float(_hills(shape, time / duration) / _highest(shape))


def _hills(shape: Any, x: Any) -> Any:
    g, h = (x / shape.rise) ** shape.rise_power, (x / shape.fall) ** shape.fall_power
    return g / (1 + g) / (1 + h)


@cache
def _highest(shape: Any) -> float:
    return float(_hills(shape, np.linspace(1e-3, 1, 2001)).max())


def _pressures(circuit: Circuit) -> Callable[[float, np.ndarray], np.ndarray]:
    r"""Pressures of the ring at a time, of its volumes."""
    passive, active, rest = (ring(x) for x in (circuit.passive, circuit.active, circuit.rest))
    period, duration, lead = (float(x[0]) for x in (circuit.period, circuit.duration, circuit.lead))
    septum = float(circuit.septum[0])

    def pressure(t: float, v: np.ndarray) -> np.ndarray:
        atria = hill(ATRIUM, (t + lead) % period, duration)
        ventricles = hill(VENTRICLE, t, duration)
        e = passive + active * np.where(np.arange(8) % 4 == 0, atria, ventricles)
        over = v - rest
        if septum > 0:
            stiff = 1 / septum
            bulge = (e[1] * over[1] - e[5] * over[5]) / (stiff + e[1] + e[5])
            over = over - bulge * (np.arange(8) == 1) + bulge * (np.arange(8) == 5)
        return np.asarray(e * over)

    return pressure


def scipy_beat(circuit: Circuit, volume: np.ndarray, flow: np.ndarray) -> Any:
    r"""One beat by Runge-Kutta in 3,000 steps or more; a valve that is shut keeps no flow."""
    from scipy.integrate import solve_ivp

    forward, square, leak, hole, inertance = (
        ring(x)
        for x in (circuit.resistance, circuit.quadratic, circuit.leak, circuit.leak_quadratic, circuit.inertance)
    )
    period = float(circuit.period[0])
    heavy, pressure = inertance > 0, _pressures(circuit)

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        v, q = y[:8], y[8:].copy()
        p = pressure(t, v)
        drive = p - np.roll(p, -1)
        with np.errstate(divide="ignore", invalid="ignore"):
            ahead = 2 * drive / (forward + np.sqrt(forward**2 + 4 * square * np.maximum(drive, 0)))
            back = 2 * drive * leak / (1 + np.sqrt(1 + 4 * leak**2 * hole * np.maximum(-drive, 0)))
        light = np.where(drive > 0, ahead, back)
        tight = leak == 0
        q = np.where(heavy, np.where(tight, np.maximum(q, 0), q), light)
        loss = np.where(q > 0, forward * q + square * q**2, q / np.maximum(leak, 1e-12) - hole * q**2)
        rate = np.where(heavy, (drive - np.where(tight & (q <= 0), 0, loss)) / np.where(heavy, inertance, 1), 0)
        shut = tight & (q <= 0) & (drive < 0)
        rate = np.where(shut, 0, rate)  # a closed valve keeps no flow
        return np.concatenate([np.roll(q, 1) - q, rate])

    return solve_ivp(
        slope, (0, period), np.concatenate([volume, flow]), "RK45", rtol=1e-6, atol=1e-6, max_step=period / 3000,
        dense_output=True,
    )  # fmt: skip
