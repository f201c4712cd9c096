r"""Frequency and amplitude of a pendulum whose damping the simulator does not know.

$$
x(t) = A \cos(\omega t + \varphi)\, e^{-\alpha t} + \varepsilon, \qquad \varphi \sim U(-\pi, \pi), \quad
\varepsilon \sim \mathcal{N}(0, .1^2),
$$

at 200 points of 10 s, with $\omega \sim U(0, 3)$ [1/s] and $A \sim U(.5, 10)$ [1]; the simulator has $\alpha = 0$,
reality $\alpha \sim U(0, 1)$ [1/s].

References:
    | Addressing misspecification in simulation-based inference through data-driven calibration (Wehenkel et al., 2025),
      https://arxiv.org/abs/2405.08719
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from ..parameters import Parameter, ParameterSpace

__all__ = ["PendulumTask"]


@dataclass(frozen=True)
class PendulumTask:
    r"""Frequency and amplitude of a damped pendulum.

    Arguments:
        noise: Standard deviation of the noise [1].
        damping: Largest damping of reality [1/s].
        samples: Points of an observation.

    Raises:
        ValueError: If a number is not positive.

    Example:
        >>> task, rng = PendulumTask(), np.random.default_rng(0)
        >>> task.observe(task.space.sample(rng, 3), rng).shape
        (3, 200)
    """

    noise: float = 0.1
    damping: float = 1.0
    samples: int = 200

    def __post_init__(self) -> None:
        if not (self.noise > 0 and self.damping > 0 and self.samples > 1):
            raise ValueError(
                f"noise, damping and samples must be positive, got {self.noise}, {self.damping}, {self.samples}"
            )

    @property
    def name(self) -> str:
        r"""Short name."""
        return "pendulum"

    @cached_property
    def space(self) -> ParameterSpace:
        r"""Frequency and amplitude."""
        return ParameterSpace((Parameter("omega", "1/s", 0.0, 3.0), Parameter("amplitude", "1", 0.5, 10.0)))

    def simulate(self, theta: Float[np.ndarray, "N 2"], rng: np.random.Generator) -> Float[np.ndarray, "N samples"]:
        r"""Oscillations without damping.

        Arguments:
            theta: Frequency and amplitude.
            rng: Source of randomness.
        """
        return self._wave(theta, np.zeros(len(theta)), rng)

    def observe(self, theta: Float[np.ndarray, "N 2"], rng: np.random.Generator) -> Float[np.ndarray, "N samples"]:
        r"""Damped oscillations.

        Arguments:
            theta: Frequency and amplitude.
            rng: Source of randomness.
        """
        return self._wave(theta, rng.uniform(0.0, self.damping, len(theta)), rng)

    def natural(self, theta: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        r"""The coordinates themselves.

        Arguments:
            theta: Frequency and amplitude.
        """
        return np.asarray(theta)

    def log_volume(self, theta: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch"]:
        r"""Zero.

        Arguments:
            theta: Frequency and amplitude.
        """
        return np.zeros(np.shape(theta)[:-1])

    def _wave(
        self, theta: Float[np.ndarray, "N 2"], alpha: Float[np.ndarray, " N"], rng: np.random.Generator
    ) -> Float[np.ndarray, "N samples"]:
        time = np.linspace(0.0, 10.0, self.samples)
        phase = rng.uniform(-np.pi, np.pi, (len(theta), 1))
        clean = theta[:, 1:] * np.cos(theta[:, :1] * time + phase) * np.exp(-alpha[:, None] * time)
        return np.asarray(clean + self.noise * rng.standard_normal(clean.shape))
