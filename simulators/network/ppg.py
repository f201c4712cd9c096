r"""The photoplethysmogram of a network: the blood volume of the bed behind a terminal artery, scaled to 0..1.

The volume of a windkessel R1-C-R2 is $C$ times the pressure $P_c$ on its compliance. From the balance of flow there,
$(P - P_c)/R_1 = i\omega C P_c + (P_c - P_{out})/R_2$,

$$ P_c = \frac{R_2 P + R_1 P_{out}}{R_1 (1 + i\omega R_2 C) + R_2} . $$

References:
    Charlton P.H. et al. (2019), Am J Physiol Heart Circ Physiol 317:H1062 (the volume of a terminal's windkessel as its
    photoplethysmogram). Units: mmHg, mL, s.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from jaxtyping import Array, Complex, Float

from .outlets import Outlets

__all__ = ["bed_pressure", "scaled_ppg"]

AnyArray = TypeVar("AnyArray", np.ndarray, Array)


def bed_pressure(
    outlets: Outlets,
    terminal: int,
    omega: Float[Array, "B F"],
    pressure: Complex[Array, "B F"],
    outflow_pressure: Complex[Array, "B F"],
) -> Complex[Array, "B F"]:
    r"""Fourier coefficients of the pressure on a bed's compliance, to which its blood volume is proportional.

    Arguments:
        outlets: Windkessels, fields of shape (K, B).
        terminal: Which of them.
        omega: Angular frequencies [rad/s].
        pressure: Coefficients of the pressure at the end of the artery [mmHg].
        outflow_pressure: Coefficients of the pressure to which the bed drains [mmHg].

    Returns:
        Coefficients [mmHg].

    Example:
        >>> import jax.numpy as jnp
        >>> one = jnp.ones((1, 1))
        >>> bed = Outlets(one, 3 * one, one, one[0] > 2)
        >>> float(bed_pressure(bed, 0, 0 * one, 100 * one + 0j, 20 * one + 0j)[0, 0].real)
        80.0
    """
    r1, r2, compliance = (field[terminal][:, None] for field in outlets[:3])
    return (r2 * pressure + r1 * outflow_pressure) / (r1 * (1 + 1j * omega * r2 * compliance) + r2)


def scaled_ppg(volume: AnyArray, *, rotate: bool) -> AnyArray:
    """Blood volume as a photoplethysmogram: scaled to 0..1, and begun at its lowest point if it is one beat.

    Arguments:
        volume: Volume in any unit, with shape (*, T); a NumPy or a JAX array.
        rotate: Whether to begin at the lowest point.

    Returns:
        The photoplethysmogram.

    Example:
        >>> scaled_ppg(np.array([[2.0, 3.0, 1.0]]), rotate=True).tolist()
        [[0.0, 0.5, 1.0]]
    """
    xp = volume.__array_namespace__()
    low, high = volume.min(-1, keepdims=True), volume.max(-1, keepdims=True)
    scaled: AnyArray = (volume - low) / xp.where(high > low, high - low, 1.0)
    if rotate:
        place = xp.argmin(scaled, axis=-1)[..., None] + xp.arange(volume.shape[-1])
        scaled = xp.take_along_axis(scaled, place % volume.shape[-1], axis=-1)
    return scaled
