r"""How strongly a chamber contracts: two Hill functions of the time since its onset, largest value one.

$$
\varphi(t) = \frac{1}{\varphi_m} \, \frac{(t/\tau_1)^{m_1}}{1 + (t/\tau_1)^{m_1}} \, \frac{1}{1 + (t/\tau_2)^{m_2}},
\qquad \tau_i = s_i D
$$

with the time scale $D$ of contraction. $D$ follows the beat $T$ such that a ventricle is stiffest $.2 + .15\,T$ after
its onset (in seconds): systole takes a larger share of a short beat.

References:
    | Mynard, Davidson, Penny & Smolich (2012), Int J Numer Method Biomed Eng 28:626 (shapes of ventricles and atria)
    | Stergiopulos, Meister & Westerhof (1996), Am J Physiol 270:H2050 (the function)
    | Simaan et al. (2009), IEEE Trans Control Syst Technol 17:11 (time of the largest elastance). Units: s.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["ATRIUM", "VENTRICLE", "TwoHill", "contraction_time"]


class TwoHill(NamedTuple):
    r"""Shape of a contraction: $\tau_1$ and $\tau_2$ over $D$ (`rise`, `fall`), and the powers $m_1$ and $m_2$.

    Example:
        >>> round(VENTRICLE.peak, 2)
        0.39
    """

    rise: float
    fall: float
    rise_power: float
    fall_power: float

    @property
    def peak(self) -> float:
        r"""When activation is largest, over $D$."""
        return _largest(self)[0]

    def at(self, time: Float[Array, "*shape"], duration: Float[Array, "*shape"] | float) -> Float[Array, "*shape"]:
        r"""Activation at times since the onset.

        Arguments:
            time: Times since the onset, not negative [s].
            duration: Time scale $D$ [s].

        Returns:
            Activation, from 0 to 1.
        """
        share = jnp.maximum(time / duration, 1e-6)
        rise = 1 / (1 + (self.rise / share) ** self.rise_power)
        found: Float[Array, "*shape"] = rise / (1 + (share / self.fall) ** self.fall_power) / _largest(self)[1]
        return found


VENTRICLE = TwoHill(0.269, 0.452, 1.32, 27.4)
"""Ventricles (given as Mynard's of 2012, whose time scale is the beat; not checked against the paper)."""
ATRIUM = TwoHill(0.110, 0.180, 1.32, 13.1)
"""Atria (the same)."""

_LONGEST = 1.66  # of the beat: the activation of ventricles is then under a thousandth at its end


@cache
def _largest(shape: TwoHill) -> tuple[float, float]:
    share = np.linspace(1e-4, 1.0, 100_001)
    value = 1 / (1 + (shape.rise / share) ** shape.rise_power) / (1 + (share / shape.fall) ** shape.fall_power)
    best = int(np.argmax(value))
    return float(share[best]), float(value[best])


def contraction_time(period: Float[Array, "*batch"] | float, systole: Float[Array, "*batch"] | float = 1.0) -> Array:
    r"""Time scale $D$ of the contraction for a length of the beat.

    Arguments:
        period: Length of the beat [s].
        systole: Multiple of the usual time from the onset to the largest elastance.

    Returns:
        Time scale [s].

    Example:
        >>> round(float(contraction_time(0.8)) * VENTRICLE.peak, 3)
        0.32
    """
    return jnp.minimum(systole * (0.2 + 0.15 * period) / VENTRICLE.peak, _LONGEST * jnp.asarray(period))
