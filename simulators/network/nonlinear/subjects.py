r"""Adults of the population on the grid of the 116-segment network: geometry, walls, outlets and inflow as numbers.

The wall is that of the linear network, $Eh/R = k_1e^{k_2R} + k_3$, and so are outlets and inflow; what a non-linear
network needs beside it is the pressure at which an adult has its radii, $P_{ext}$. In the healthy population it is the
mean diastolic pressure of the age, as in the Pulse Wave Database; in the clinical one it is the subject's own, the
pressure of its arteries, taken as one compartment, at the beginning of the steady beat.

References:
    Charlton P.H. et al. (2019), Am J Physiol Heart Circ Physiol 317:H1062. Units: SI in `Physics`.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ....waveforms.units import convert
from ...clinical import closing_share
from ...population import DENSITY, K2, Subject, diastolic_pressure
from ..geometry import adult_network
from ..inflow import aortic_flow
from ..linear import make_tubes, total_compliance
from ..outlets import Outlets, make_outlets
from ..rhythm import BeatTrain, Variability, steady_beat
from ..transmission import Tubes
from .compartments import make_compartments
from .grid import Grid, Physics, cells_per_vessel
from .periodic import finite_rows

__all__ = ["Adults", "adult_grid", "adult_physics", "prepare_adults"]

_STEADY = 256  # samples of the steady beat behind the external pressure
_VISCOUS_LENGTH = 11.0  # [mm]: shorter segments have no wall viscosity (PWDB)


class Adults(NamedTuple):
    """A batch of adults as the linear network describes them, with inflow and drain swing at even phases (B, T).

    Example:
        >>> Adults._fields[:2]
        ('subject', 'train')
    """

    subject: Subject
    train: BeatTrain
    tubes: Tubes
    outlets: Outlets
    inflow: Float[Array, "B T"]
    steady: Float[Array, "B T"]
    swing: Float[Array, "B T"]
    compliance: Float[Array, " B"]


@cache
def adult_grid(dx_mm: float) -> Grid:
    """The grid of the 116-segment network; cells stretch with the subject.

    Arguments:
        dx_mm: Longest cell of the baseline [mm].

    Returns:
        The grid.

    Example:
        >>> adult_grid(20.0).n_cells
        514
    """
    network = adult_network()
    return Grid(
        names=network.names,
        cells=cells_per_vessel(network.length, dx_mm),
        inlet=network.inlet,
        outlet=network.outlet,
        root=0,
        drains=2 * network.terminals + 1,
        density=DENSITY,
        total=True,
        viscous=network.length > _VISCOUS_LENGTH,
    )


def prepare_adults(subject: Subject, variability: Variability, train: BeatTrain, *, samples: int) -> Adults:
    """Everything of a batch of adults that does not depend on the grid (pure JAX).

    Arguments:
        subject: Adults, fields of shape (B,).
        variability: Their variability.
        train: Their beats, fields of shape (B,) or (B, N).
        samples: Even phases of the inflow.

    Returns:
        The adults.

    Example:
        >>> prepare_adults.__name__
        'prepare_adults'
    """
    tubes = make_tubes(subject)
    outlets = make_outlets(subject, tubes)
    steady = jax.vmap(partial(_flow, samples=_STEADY))(subject, jax.vmap(steady_beat)(subject))
    phase = jnp.arange(samples) / samples
    angle = 2 * jnp.pi * train.cycles[:, None] * phase + train.phase[:, None]
    amplitude = closing_share(subject) * variability.venous_swing
    inflow = jax.vmap(partial(_flow, samples=samples))(subject, train)
    swing = amplitude[:, None] * jnp.cos(angle)
    return Adults(subject, train, tubes, outlets, inflow, steady, swing, total_compliance(tubes, outlets))


def _flow(subject: Subject, train: BeatTrain, *, samples: int) -> Float[Array, " T"]:
    """Aortic flow at even phases [mL/s]; its mean is set to the beats' volume over the period."""
    time = train.period * jnp.arange(samples, dtype=train.period.dtype) / samples
    flow = aortic_flow(subject, train, time)
    real = jnp.arange(train.onset.shape[0]) < train.n_beats
    mean = jnp.where(real, train.stroke_volume, 0.0).sum() / train.period
    return flow + (mean - flow.mean())


def adult_physics(grid: Grid, adults: Adults, *, healthy: bool) -> tuple[Physics, Float[np.ndarray, " B"]]:
    """Numbers of a batch of adults.

    Arguments:
        grid: The grid.
        adults: The adults.
        healthy: Whether the external pressure is that of the age, else the subject's own.

    Returns:
        The numbers, float64, and the external pressure [mmHg].

    Example:
        >>> adult_physics.__name__
        'adult_physics'
    """
    a: Any = jax.tree.map(lambda x: np.asarray(x, np.float64), adults)
    subject, tubes, outlets = a.subject, a.tubes, a.outlets
    vessel, share = grid.vessel_of_row, grid.share_of_row
    number = np.arange(grid.n_rows) - grid.first[vessel]
    area, beta, _ = _wall(tubes, vessel, share)
    face_area, face_beta, viscous = _wall(tubes, vessel, number / grid.cells[vessel])
    age = np.asarray(diastolic_pressure(jnp.asarray(subject.age)), np.float64)
    guess = age if healthy else 0.85 * subject.mean_pressure
    size = (len(grid.cells), 1)
    physics = Physics(
        area, beta, face_area, face_beta, viscous,
        tubes.length / grid.cells[:, None],
        convert(np.broadcast_to(guess, (size[0], len(guess))), "mmHg", "Pa"),
        8 * np.pi * tubes.viscosity / DENSITY,
        convert(outlets.r1, "mmHg s/mL", "Pa s/m^3"), convert(outlets.r2, "mmHg s/mL", "Pa s/m^3"),
        convert(outlets.compliance, "mL/mmHg", "m^3/Pa"),
        convert(np.broadcast_to(subject.outflow_pressure, outlets.r1.shape), "mmHg", "Pa"),
        60.0 / subject.heart_rate,
        convert(a.steady.T, "mL/s", "m^3/s"), 0 * a.steady.T,
    )  # fmt: skip
    if not healthy:
        safe, finite = finite_rows(physics)
        own = np.where(finite, make_compartments(grid, safe).start(safe.inflow)[:, 0], np.nan)
        guess = convert(own, "Pa", "mmHg")
    external = convert(np.broadcast_to(guess, (size[0], len(guess))), "mmHg", "Pa")
    return physics._replace(
        external=external,
        period=a.train.period,
        inflow=convert(a.inflow.T, "mL/s", "m^3/s"),
        swing=convert(a.swing.T, "mmHg", "Pa"),
    ), guess


def _wall(tubes: Any, vessel: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""$A_0$ [m2], $\beta$ [Pa] and $\Gamma A_0^{-3/2}$ [Pa s/m2] at places along vessels."""
    start, end = tubes.inlet_radius[vessel], tubes.outlet_radius[vessel]
    radius = start + share[:, None] * (end - start)
    area = np.pi * radius**2
    beta = (4 / 3) * (tubes.k1[vessel] * np.exp(100 * K2 * radius) + tubes.k3[vessel])
    viscous = (tubes.b0[vessel] + tubes.b1[vessel] / (2 * radius)) / area**1.5
    return area, beta, viscous
