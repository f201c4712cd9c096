r"""Posterior-predictive beats: what the simulator says the wave should look like if the estimates are right.

A few posterior draws are given to the simulator; everything that the estimator does not estimate (resistance and
compliance of the arm, viscosities, shape of the inflow, ...) is drawn from the prior, and the sensor's own errors are
left out. A patient's beats that stand outside the bundle of simulated ones show what the simulator gets wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..simulators.network.linear import QUANTITY_UNITS, LinearNetwork
from ..simulators.patient import SETTABLE, simulate_adults
from ..simulators.status import usable
from ..waveforms.beat_shapes import periodic_beat
from ..waveforms.units import S_PER_MIN

__all__ = ["PredictedBeats", "predict_beats"]

BLOCK = 8
r"""Adults simulated together: one compiled shape for all."""


@dataclass(frozen=True)
class PredictedBeats:
    r"""Simulated beats of some posterior draws at one site.

    Arguments:
        times: Times from the onset of each beat [s].
        values: Pressure of each beat [mmHg].
        phases: Phases of the beat at which the bands stand, from 0 to 1.
        low: 5 % quantile over the beats at each phase [mmHg].
        high: 95 % quantile [mmHg].

    Example:
        >>> PredictedBeats((), (), np.zeros(0), np.zeros(0), np.zeros(0)).n
        0
    """

    times: tuple[Float[np.ndarray, " phase"], ...]
    values: tuple[Float[np.ndarray, " phase"], ...]
    phases: Float[np.ndarray, " phase"]
    low: Float[np.ndarray, " phase"]
    high: Float[np.ndarray, " phase"]

    @property
    def n(self) -> int:
        r"""Number of beats."""
        return len(self.times)


def predict_beats(
    draws: Mapping[str, Float[np.ndarray, " draw"]],
    network: LinearNetwork,
    *,
    site: str = "Radial",
    n: int = 32,
    seed: int = 0,
) -> PredictedBeats:
    r"""Simulates beats of posterior draws.

    Arguments:
        draws: Posterior draws by quantity.
        network: A simulator of periodic beats of the clinical population that has the site.
        site: Name of the site.
        n: Number of draws to simulate, a multiple of 8.
        seed: Seed of the choice of draws and of what is drawn from the prior.

    Returns:
        The beats that the simulator could make.

    Raises:
        ValueError: If no draw has a quantity that can be set, or the simulator has no such site.

    Example:
        >>> network = LinearNetwork(beat="periodic", sites=("Radial",), n_frequencies=20)
        >>> rng = np.random.default_rng(0)
        >>> draws = {"HR": rng.normal(70, 1, 50), "SV": rng.normal(70, 5, 50), "MAP": rng.normal(85, 2, 50)}
        >>> predict_beats(draws, network, n=8).n > 4
        True
    """
    names = [name for name in SETTABLE if name in draws]
    if not names or site not in network.sites:
        raise ValueError(f"draws must hold one of {', '.join(SETTABLE)} and the network the site {site!r}")
    rng = np.random.default_rng([seed, 11])
    rows = rng.choice(len(draws[names[0]]), size=n, replace=n > len(draws[names[0]]))
    base = network.space.sample(rng, n)
    place, rate = network.sites.index(site), list(QUANTITY_UNITS).index("HR")
    times, values = [], []
    for first in range(0, n, BLOCK):
        part = slice(first, first + BLOCK)
        asked = {name: np.asarray(draws[name], dtype=np.float64)[rows[part]] for name in names}
        found = simulate_adults(network, asked, base[part], seed=seed)
        for i in np.flatnonzero(usable(found.status)):
            t, v = periodic_beat(found.waves[i, place], float(S_PER_MIN / found.quantities[i, rate]))
            times.append(t)
            values.append(v)
    stack = np.array(values) if values else np.zeros((1, 0))
    low, high = np.quantile(stack, [0.05, 0.95], axis=0)
    return PredictedBeats(tuple(times), tuple(values), np.arange(stack.shape[1]) / max(stack.shape[1], 1), low, high)
