r"""Windkessel outlets: characteristic resistance, bed resistance and compliance, and where they drain to.

Each terminal segment ends in R1-C-R2 to the outflow pressure $P_{out}$, $R_1 = Z_0 = \rho c/A$ at its distal end:

$$Y = \frac{1 + i\omega R_2C}{R_1(1 + i\omega R_2C) + R_2},\qquad
  I = \frac{P_{out}}{R_1(1 + i\omega R_2C) + R_2}.$$

The bed's resistance is shared among its terminals by distal area, added to $Z_0$, and all totals are scaled so that
in parallel they make the subject's peripheral resistance. Where a total is below $2 Z_0$ there is no room for
$R_1 = Z_0$: $R_1 = \min(Z_0, R_{tot}/2)$, and a row with $R_{tot} < Z_0$ anywhere is marked `terminal-mismatch`.

References:
    Alastruey J. et al. (2008), J Eng Math 62:19 (matching R1 to Z0); Charlton P.H. et al. (2019), Am J Physiol Heart
    Circ Physiol 317:H1062. Units: mmHg, mL, s.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from ..population import Subject
from .geometry import adult_network, vascular_beds
from .transmission import Tubes, line_constants


class Outlets(NamedTuple):
    """Windkessels of the terminal segments of a batch: r1, r2 [mmHg s/mL], compliance [mL/mmHg], each (K, B).

    Example:
        >>> Outlets._fields
        ('r1', 'r2', 'compliance', 'mismatch')
    """

    r1: Float[Array, "K B"]
    r2: Float[Array, "K B"]
    compliance: Float[Array, "K B"]
    mismatch: Bool[Array, " B"]


@cache
def _beds() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Resistance, compliance, arm flag of each terminal's bed and the matrix that sums areas over a bed."""
    network, beds = adult_network(), vascular_beds()
    names = [network.bed[i] for i in network.terminals]
    same = np.array([[a == b for b in names] for a in names], dtype=float)
    return (
        np.array([beds[name].resistance for name in names]),
        np.array([beds[name].compliance for name in names]),
        np.array([name.endswith("arm") for name in names], dtype=float),
        same,
    )


def make_outlets(subject: Subject, tubes: Tubes) -> Outlets:
    """Windkessels of every terminal segment of a batch of subjects.

    Arguments:
        subject: Adults, fields of shape (B,).
        tubes: Their segments, fields of shape (S, B).

    Returns:
        The outlets.

    Example:
        >>> from pulsebayes.simulators.population import HEALTHY, healthy_subject
        >>> from pulsebayes.simulators.network.linear import make_tubes
        >>> adult = healthy_subject(jnp.zeros((1, 7)).at[:, 0].set(25.0))
        >>> outlets = make_outlets(adult, make_tubes(adult))
        >>> total = 1 / (1 / (outlets.r1 + outlets.r2)).sum()
        >>> bool(abs(total / adult.resistance[0] - 1) < 1e-5)
        True
    """
    terminals = adult_network().terminals
    bed_resistance, bed_compliance, arm, same = (jnp.asarray(a, tubes.length.dtype) for a in _beds())
    area = jnp.pi * tubes.outlet_radius[terminals] ** 2
    share = area / (same @ area)
    _, inertance, compliance, _ = line_constants(tubes, terminals, np.ones(len(terminals)))
    characteristic = jnp.sqrt(inertance / compliance)
    arm = arm[:, None]
    resistance = bed_resistance[:, None] * (1 + arm * (subject.arm_resistance_factor - 1)) / share
    total = characteristic + resistance
    total = total * subject.resistance * (1 / total).sum(0)
    r1 = jnp.minimum(characteristic * subject.terminal_impedance_factor, 0.5 * total)
    r1 = jnp.where(
        (subject.terminal_impedance_factor == 1) & (total >= characteristic), jnp.minimum(characteristic, total), r1
    )
    bed_factor = subject.compliance_factor * (1 + arm * (subject.arm_compliance_factor - 1))
    return Outlets(r1, total - r1, bed_factor * bed_compliance[:, None] * share, (total < characteristic).any(0))


def outlet_admittance(
    outlets: Outlets, omega: Float[Array, "B F"], outflow_pressure: Complex[Array, "B F"]
) -> tuple[Complex[Array, "K B F"], Complex[Array, "K B F"]]:
    r"""Admittance of each outlet and the flow that its outflow pressure drives into the network.

    Arguments:
        outlets: Windkessels, fields of shape (K, B).
        omega: Angular frequencies [rad/s], with shape (B, F).
        outflow_pressure: Fourier coefficients of the outflow pressure [mmHg], with shape (B, F).

    Returns:
        Admittance [mL/s/mmHg] and current [mL/s], each with shape (K, B, F).

    Example:
        >>> one = jnp.ones((1, 1))
        >>> y, _ = outlet_admittance(Outlets(one, 3 * one, one, one[0] > 2), 0 * one, one + 0j)
        >>> float(y[0, 0, 0].real)
        0.25
    """
    lag = 1 + 1j * omega * (outlets.r2 * outlets.compliance)[..., None]
    bottom = 1 / (outlets.r1[..., None] * lag + outlets.r2[..., None])
    return lag * bottom, outflow_pressure * bottom
