r"""A model whose every posterior is known: two unknowns, five channels, posteriors on a grid."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pulsebayes.calibration.identifiability.study import People

SIDE = np.linspace(-4.0, 4.0, 121)
STEP = SIDE[1] - SIDE[0]
NOISE = {"first": 0.5, "second": 1.0, "sum": 0.2, "fold": 0.2}


class ToyStudy:
    r"""HR and SV are standard normal; every channel is one number and the standard deviation of its noise.

    `first` measures HR, `second` SV, `sum` HR + SV, `fold` the absolute value of HR, and `young` HR, ten times better
    below 50 years than above.
    """

    name = "toy"
    fingerprint = "toy-1"
    channels = ("first", "second", "sum", "fold", "young")
    reach = 8.0

    def __init__(self, *, overconfident: float = 1.0) -> None:
        self.overconfident = overconfident
        self.observed: list[float] = []
        rng = np.random.default_rng(1)
        self.prior: Mapping[str, np.ndarray] = {name: rng.normal(size=8000) for name in ("HR", "SV")}
        self.units = {"HR": "u", "SV": "v"}
        self.logarithmic = {"HR": False, "SV": False}

    def scaled(self, name: str, values: np.ndarray) -> np.ndarray:
        return np.asarray(values, float)

    def people(self, n: int, seed: int) -> People:
        rng = np.random.default_rng([seed, 5])
        theta = rng.normal(size=(n, 2))
        columns = {"HR": theta[:, 0], "SV": theta[:, 1], "age": rng.uniform(20, 80, n), "luck": rng.normal(size=n)}
        return People(columns, theta, np.zeros((n, 5, 1), np.float32))

    def truth(self, people: People) -> Mapping[str, np.ndarray]:
        return {"HR": people.theta[:, 0], "SV": people.theta[:, 1]}

    def observe(self, people: People, factor: float, seed: int) -> np.ndarray:
        self.observed.append(factor)
        sd = np.stack([np.full(people.n, value) for value in NOISE.values()], 1)
        sd = np.column_stack([sd, np.where(people.columns["age"] < 50, 0.1, 1.0)]) * (factor or 1.0)
        noise = np.random.default_rng([seed, 6]).normal(size=sd.shape)
        return np.stack([self._means(*people.theta.T).T + sd * noise, sd], -1)

    @staticmethod
    def _means(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.stack([a, b, a + b, np.abs(a), a])

    def _posterior(self, x: np.ndarray) -> np.ndarray:
        a, b = np.meshgrid(SIDE, SIDE, indexing="ij")
        means = self._means(a.ravel(), b.ravel())
        log_p = np.repeat(-0.5 * (a**2 + b**2).reshape(1, -1), len(x), 0)
        for c in range(len(self.channels)):
            given = np.isfinite(x[:, c]).all(-1)
            sd = x[given, c, 1:] / self.overconfident
            log_p[given] -= 0.5 * ((x[given, c, :1] - means[c]) / sd) ** 2
        weights = np.exp(log_p - log_p.max(1, keepdims=True))
        return weights / weights.sum(1, keepdims=True)

    def draws(self, x: np.ndarray, n: int, seed: int) -> Mapping[str, np.ndarray]:
        rng = np.random.default_rng([seed, 8])
        cells = np.stack([np.searchsorted(row.cumsum(), rng.random(n) * 0.999999) for row in self._posterior(x)])
        jitter = (rng.random((2, *cells.shape)) - 0.5) * STEP
        return {"HR": SIDE[cells // len(SIDE)] + jitter[0], "SV": SIDE[cells % len(SIDE)] + jitter[1]}

    def log_prob(self, people: People, x: np.ndarray) -> np.ndarray:
        at = np.clip(np.rint((people.theta + 4.0) / STEP), 0, len(SIDE) - 1).astype(int)
        weights = self._posterior(x)[np.arange(people.n), at[:, 0] * len(SIDE) + at[:, 1]]
        return np.log(np.maximum(weights / STEP**2, 1e-300))
