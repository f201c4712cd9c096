r"""Infection and recovery rates from a year of counts; reality reports less at weekends and catches up on Mondays.

A susceptible-infected-recovered model whose reproduction number wanders,

$$
\dot s = -\gamma R s i, \qquad \dot i = \gamma R s i - \gamma i, \qquad
dR = .05 (\beta / \gamma - R)\,dt + .05 \sqrt{R}\,dW,
$$

for $N = 10^5$ people and 365 days from $(s, i) = (.999, .001)$, with $(\beta, \gamma)$ uniform on
$0 < \gamma < \beta < .5$ [1/day]. An observation is six summaries of the daily number of infected: log mean, log
median, log maximum, log of the day of the maximum plus one, log of the day by which half of the sum is reached, and the
autocorrelation at one day. Counts below one person enter a logarithm as one. Coordinates are $\beta$ and
$\gamma / \beta$.

References:
    | Robust neural posterior estimation and statistical model criticism (Ward et al., 2022),
      https://arxiv.org/abs/2210.06564
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from ..parameters import Beta, Parameter, ParameterSpace

__all__ = ["EpidemicTask"]

_PEOPLE, _DAYS = 1e5, 365


@dataclass(frozen=True)
class EpidemicTask:
    r"""Rates of an epidemic.

    Arguments:
        steps: Steps of the Euler scheme a day.
        weekend: Share of Saturday's and Sunday's counts that reality moves to Monday.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> task, rng = EpidemicTask(steps=2), np.random.default_rng(0)
        >>> task.observe(task.space.sample(rng, 3), rng).shape
        (3, 6)
    """

    steps: int = 4
    weekend: float = 0.05

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.weekend < 1:
            raise ValueError(f"steps must be positive and weekend in (0, 1), got {self.steps} and {self.weekend}")

    @property
    def name(self) -> str:
        r"""Short name."""
        return "sir"

    @property
    def samples(self) -> int:
        r"""Length of an observation."""
        return 6

    @cached_property
    def space(self) -> ParameterSpace:
        r"""Infection rate, and recovery rate as a share of it."""
        return ParameterSpace((Parameter("beta", "1/day", 0.0, 0.5, Beta(2.0, 1.0)), Parameter("ratio", "1", 0.0, 1.0)))

    def simulate(self, theta: Float[np.ndarray, "N 2"], rng: np.random.Generator) -> Float[np.ndarray, "N 6"]:
        r"""Summaries of the counts.

        Arguments:
            theta: Infection rate and ratio.
            rng: Source of randomness.
        """
        return _summaries(self.counts(theta, rng))

    def observe(self, theta: Float[np.ndarray, "N 2"], rng: np.random.Generator) -> Float[np.ndarray, "N 6"]:
        r"""Summaries of the counts as they are reported.

        Arguments:
            theta: Infection rate and ratio.
            rng: Source of randomness.
        """
        counts = self.counts(theta, rng)
        day = np.arange(_DAYS) % 7
        late = np.where((day == 5) | (day == 6), self.weekend * counts, 0.0)
        reported = counts - late
        for back in (1, 2):  # Monday follows Sunday and Saturday
            reported[:, back:] += np.where(day[back:] == 0, late[:, :-back], 0.0)
        return _summaries(reported)

    def counts(self, theta: Float[np.ndarray, "N 2"], rng: np.random.Generator) -> Float[np.ndarray, "N 365"]:
        r"""Number of infected at the end of each day.

        Arguments:
            theta: Infection rate and ratio.
            rng: Source of randomness.
        """
        theta = np.asarray(theta, dtype=np.float64)
        gamma = theta[:, 0] * theta[:, 1]
        s, i = np.full(len(theta), 0.999), np.full(len(theta), 0.001)
        target = 1.0 / theta[:, 1]
        number, dt = target.copy(), 1.0 / self.steps
        counts = np.empty((len(theta), _DAYS))
        for day in range(_DAYS):
            for noise in rng.standard_normal((self.steps, len(theta))):
                infected = np.minimum(gamma * number * i * dt, 1.0) * s
                i = i + infected - gamma * i * dt
                s = s - infected
                number = number + 0.05 * (target - number) * dt + 0.05 * np.sqrt(number * dt) * noise
                number = np.maximum(number, 0.0)
            counts[:, day] = _PEOPLE * i
        return counts

    def natural(self, theta: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        r"""Infection and recovery rate [1/day].

        Arguments:
            theta: Infection rate and ratio.
        """
        theta = np.asarray(theta)
        return np.stack((theta[..., 0], theta[..., 0] * theta[..., 1]), axis=-1)

    def log_volume(self, theta: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch"]:
        r"""Logarithm of the infection rate.

        Arguments:
            theta: Infection rate and ratio.
        """
        return np.asarray(np.log(np.asarray(theta)[..., 0]))


def _summaries(counts: Float[np.ndarray, "N 365"]) -> Float[np.ndarray, "N 6"]:
    at_least = np.maximum(counts, 1.0)
    cumulative = np.cumsum(counts, axis=1)
    half = (cumulative < 0.5 * cumulative[:, -1:]).sum(1) + 1
    centred = counts - counts.mean(1, keepdims=True)
    autocorrelation = (centred[:, 1:] * centred[:, :-1]).sum(1) / np.maximum((centred**2).sum(1), 1e-12)
    return np.stack(
        (
            np.log(at_least.mean(1)),
            np.log(np.median(at_least, axis=1)),
            np.log(at_least.max(1)),
            np.log(counts.argmax(1) + 1.0),
            np.log(half),
            autocorrelation,
        ),
        axis=-1,
    )
