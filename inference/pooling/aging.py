r"""How references grow old: what windows have of their own differs the more the farther they are apart.

The error of a window's median is what the pool shares and what the window has of its own (see ``network``). Own errors
do not leap from window to window, they wander: those of neighbours go together, after half an hour no longer, and then
they are larger than draws tell. With $u_i$ the error of a standardised output of window $i$ and $r_i^2$ the variance
that its draws keep where what the pool shares is known, that of the difference of two windows is

$$
\mathrm E\,(u_i - u_k)^2 = (r_i^2 + r_k^2)\, f(t_i - t_k), \qquad f(\Delta) = 1 + c\,\alpha(\Delta), \qquad
\alpha(\Delta) = 1 - e^{-|\Delta|/\tau},
$$

$c$ by output, an Ornstein-Uhlenbeck process seen from a distance. A pool alone hardly feels it, as what its windows
share errs several times more. A reference takes that away and leaves own errors. Those of its window and of the one
that is answered are therefore $f$ times as large in variance: its likelihood's variance grows from $\sigma^2 + r^2$ by
$\alpha v$, with $v$ what $r^2$ of the quantity grows by where $f = 1 + c$ (``anchors``), and the answer's draws hold
$\sqrt f\,\sigma_i \varepsilon_i$, with $\Delta$ the time to the nearest reference that bears on the output, of all
where none does. At its own window a reference is young, $\alpha = 0$.

References:
    Uhlenbeck G.E., Ornstein L.S. (1930), Phys Rev 36:823. Twice the variogram of geostatistics with an exponential
    model (Cressie N., Statistics for Spatial Data, 1993, section 2.3), its rise fitted (``aging_training``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["Aging"]


@dataclass(frozen=True)
class Aging:
    r"""How much larger own errors of two windows are, by their distance in time.

    Arguments:
        excess: The rise $c$ of their variance far apart over what draws tell, by output; where empty nothing ages.
        time_s: Time constant $\tau$ [s].

    Raises:
        ValueError: If a rise is negative, or the time constant not positive.

    Example:
        >>> one = Aging((0.6, 0.0), 600.0)
        >>> one.age(0.0), round(one.age(600.0), 3), one.growth(one.age(86400.0)).tolist()
        (0.0, 0.632, [1.6, 1.0])
    """

    excess: tuple[float, ...] = ()
    time_s: float = 600.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "excess", tuple(self.excess))
        if not (all(0.0 <= c < np.inf for c in self.excess) and 0.0 < self.time_s < np.inf):
            raise ValueError(f"excess must be 0 or more and time_s positive, got {self.excess} and {self.time_s}")

    def age(self, apart_s: float) -> float:
        r"""How old a reference is, $\alpha$ from 0 to 1.

        Arguments:
            apart_s: Time between its window and another [s], of either sign.
        """
        return -float(np.expm1(-abs(apart_s) / self.time_s)) if self.excess else 0.0

    def growth(self, age: float | Float[np.ndarray, " D"]) -> Float[np.ndarray, " D"]:
        r"""The factors $f$ on the variances of own errors, by output; none where nothing ages.

        Arguments:
            age: How old the reference is, of all outputs or of each.
        """
        return 1.0 + age * np.array(self.excess) if self.excess else np.zeros(0)

    def to_json(self) -> dict[str, object]:
        r"""Returns the numbers as a JSON-able dictionary."""
        return {"excess": list(self.excess), "time_s": self.time_s}
