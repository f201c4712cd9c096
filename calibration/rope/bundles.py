r"""RoPE for a bundle: from labelled windows and fresh simulations to a layer, measured on held-out patients.

The tuned embedding is fitted on all patients; what is measured comes from folds by patient: the embedding is tuned
without a fold's patients and their windows get inductive rows. Below five hundred patients a separate test set would
waste more than it tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import nn

from ...inference.bundle import Bundle
from ...simulators.registry import build
from ...simulators.sensors import SensorModel
from ...simulators.status import usable
from ..diagnostics import coverage
from ..pairs import Pairs, hash_subject
from ..scores import acauc, lpp
from .components import Components, DrawnPrior
from .encoder import BankTargets, TuneConfig, Whitening, embed, tune
from .fit import FEWEST_SUBJECTS, RoPEConfig, fit_rope
from .labels import LabelScore
from .layer import RoPELayer
from .mixture import Mixture
from .selection import Grid, folds_by_group, select

__all__ = ["Bank", "calibrate_rope", "simulate_bank"]

LEVELS = (0.5, 0.9)
"""Levels at which coverage on held-out patients is measured."""


@dataclass(frozen=True)
class Bank:
    r"""Fresh simulations, observed as the model's training set was.

    Arguments:
        x: Windows.
        columns: Quantities and parameters of each, by name.

    Example:
        >>> Bank(np.zeros((2, 1000)), {"HR": np.array([60.0, 70.0])}).x.shape
        (2, 1000)
    """

    x: Float[np.ndarray, "M T"]
    columns: Mapping[str, Float[np.ndarray, " M"]]


def simulate_bank(
    bundle: Bundle, n: int, *, seed: int = 0, batch: int = 256, progress: Callable[[int], None] = lambda done: None
) -> Bank:
    r"""Simulates windows with the simulator and sensor that the bundle was trained on.

    Arguments:
        bundle: The bundle.
        n: Number of windows.
        seed: Seed; not one of the training set's.
        batch: Windows simulated at a time.
        progress: Called with the number of windows done.

    Raises:
        ValueError: If the bundle does not say what it was trained on.

    Example:
        >>> simulate_bank(bundle, 2000)  # doctest: +SKIP
    """
    training = bundle.training
    if "simulator" not in training or "simulator_config" not in training:
        raise ValueError(f"bundle {bundle.name} does not say which simulator it was trained on: give --simulations")
    simulator = build(str(training["simulator"]), **dict(training["simulator_config"]))
    sensor = SensorModel.from_json(training["sensor"]) if training.get("sensor") else SensorModel.radial_line()
    rng = np.random.default_rng([seed, 991])
    site = simulator.sites.index(str(training.get("recipe", {}).get("site", simulator.sites[0])))
    windows, thetas, quantities, done = [], [], [], 0
    while done < n:
        theta = simulator.space.sample(rng, batch)
        rows = simulator.simulate(theta, int(rng.integers(2**31)))
        good = usable(rows.status) & np.isfinite(rows.waves[:, site]).all(1)
        waves = rows.waves[good, site]
        windows.append(sensor.apply(waves, rng, fs=bundle.contract.fs, out_samples=bundle.contract.samples))
        thetas.append(theta[good])
        quantities.append(rows.quantities[good])
        done += len(waves)
        progress(min(done, n))
    theta, found = np.concatenate(thetas)[:n], np.concatenate(quantities)[:n].astype(np.float64)
    columns = {name: theta[:, d] for d, name in enumerate(simulator.space.names)}
    columns |= {name: found[:, d] for d, name in enumerate(simulator.quantity_names)}
    return Bank(np.concatenate(windows)[:n], columns)


def calibrate_rope(
    bundle: Bundle,
    pairs: Pairs,
    bank: Bank,
    *,
    unlabelled: Pairs | None = None,
    config: RoPEConfig | None = None,
    grid: Grid | None = None,
    tuning: TuneConfig | None = None,
    n_components: int = 1000,
    folds: int = 4,
    seed: int = 0,
) -> RoPELayer:
    r"""Fits a RoPE layer and measures it on held-out patients.

    Arguments:
        bundle: The trained model.
        pairs: Labelled windows.
        bank: Fresh simulations; some become components, all are looked through for labels.
        unlabelled: Windows without labels, a sample of the population; None takes the pairs' windows.
        config: Settings; None chooses them on held-out patients, or takes the fixed ones for few.
        grid: What is tried.
        tuning: How the embedding is tuned.
        n_components: Most simulations that become components.
        folds: Folds of patients for what is measured.
        seed: Seed of splits and draws.

    Returns:
        The layer.

    Raises:
        ValueError: If there are too few patients, no label fits, or a simulation has no finite outputs.

    Example:
        >>> calibrate_rope(bundle, pairs, simulate_bank(bundle, 4000))  # doctest: +SKIP
    """
    setting = _Setting(
        bundle, pairs, bank, unlabelled or pairs, tuning or TuneConfig(150, 3e-4, 32), n_components, seed
    )
    setting.check(config)
    chosen = config or setting.choose(grid or Grid(prior_share=(0.05,)))
    measured = setting.measure(chosen, folds)
    encoder = setting.encoder(np.arange(len(pairs)))
    subjects = {*pairs.subjects.tolist(), *setting.reference.subjects.tolist()}
    return RoPELayer(setting.fit(encoder, chosen), measured, tuple(sorted(hash_subject(str(s)) for s in subjects)))


class _Setting:
    """Everything that fitting, choosing and measuring share."""

    def __init__(
        self, bundle: Bundle, pairs: Pairs, bank: Bank, reference: Pairs, tuning: TuneConfig, most: int, seed: int
    ) -> None:
        self.bundle, self.pairs, self.reference, self.tuning, self.seed = bundle, pairs, reference, tuning, seed
        outputs, npe = bundle.outputs, bundle.npe
        theta = outputs.encode(bank.columns)
        good = outputs.space.contains(theta)
        if good.sum() < 100:
            raise ValueError(f"at least 100 simulations must lie inside the outputs' intervals, got {int(good.sum())}")
        h = embed(npe.embedding, bank.x[good])
        self.whitening = Whitening.fit(h, outputs.space.unconstrain(theta[good]))
        self.white = self.whitening(h)
        few = np.random.default_rng([seed, 3]).permutation(len(h))[:most]
        self.components = Components.of(npe, h[few], seed=seed)
        self.prior = DrawnPrior(outputs.space, bundle.prior.astype(np.float64))
        self.score = LabelScore.of(outputs, self.components, bundle.prior, pairs.labels)
        known = outputs.derive(theta[good])
        self.scales = np.array([known[n].std() for n in self.score.names])
        self.quantities = np.stack([known[n] for n in self.score.names], -1) / self.scales
        self.kept: dict[bytes, nn.Module] = {}

    def check(self, config: RoPEConfig | None) -> None:
        """Refuses too few patients before any work is done."""
        hard = config is None or config.tau > 0.5
        if hard and self.reference.n_subjects < FEWEST_SUBJECTS:
            raise ValueError(
                f"tau above .5 needs recordings of at least {FEWEST_SUBJECTS} patients, got "
                f"{self.reference.n_subjects}: give more by --unlabelled, or --tau .5"
            )
        if self.pairs.n_subjects < 5:
            raise ValueError(f"pairs must be of at least 5 patients, got {self.pairs.n_subjects}: label more")

    def encoder(self, rows: np.ndarray) -> nn.Module:
        """The embedding tuned on some pairs; each set of rows is tuned once."""
        key = np.sort(rows).tobytes()
        if key not in self.kept:
            targets = BankTargets(self.white, self.quantities, self.score.labels[rows] / self.scales)
            pairs = self.pairs.take(rows)
            config = dataclasses.replace(self.tuning, seed=self.seed)
            self.kept[key] = tune(
                self.bundle.npe.embedding, self.whitening, pairs.x, targets, config, groups=pairs.subjects
            )
        return self.kept[key]

    def fit(self, encoder: nn.Module, config: RoPEConfig) -> Any:
        return fit_rope(
            encoder, self.whitening, self.components, self.reference.x, self.prior, config,
            subjects=self.reference.subjects,
        )  # fmt: skip

    def choose(self, grid: Grid) -> RoPEConfig:
        def score(mixture: Mixture, rows: np.ndarray) -> Float[np.ndarray, " N"]:
            return self.score(mixture.weights, rows, mixture.bandwidth, mixture.prior_share)

        return select(
            self.encoder, self.whitening, self.components, self.pairs.x, self.score.labels, self.reference.x,
            self.prior, grid, groups=self.pairs.subjects, subjects=self.reference.subjects, seed=self.seed, score=score,
        ).config  # fmt: skip

    def measure(self, config: RoPEConfig, folds: int) -> dict[str, Any]:
        """Log probability, coverage and area between the curves for patients the embedding was not tuned on."""
        n, names = len(self.pairs), self.score.names
        log_p, draws = np.full(n, np.nan), {name: np.full((n, 500), np.nan) for name in names}
        sizes = np.full(n, np.nan)
        rng = np.random.default_rng([self.seed, 4])
        for held in folds_by_group(self.pairs.subjects, folds, self.seed):
            rope = self.fit(self.encoder(np.setdiff1d(np.arange(n), held)), config)
            mixture = rope.posterior(self.pairs.x[held])
            log_p[held] = self.score(mixture.weights, held, config.bandwidth, config.prior_share)
            sizes[held] = mixture.effective
            found = self.bundle.outputs.derive(mixture.sample(rng, 500))
            for name in names:
                draws[name][held] = found[name]
        by_name = {name: (draws[name][..., None], self.score.labels[:, [q]]) for q, name in enumerate(names)}
        known = {name: (d[np.isfinite(t[:, 0])], t[np.isfinite(t[:, 0])]) for name, (d, t) in by_name.items()}
        covered = {name: coverage(d, t, LEVELS)[:, 0] for name, (d, t) in known.items()}
        score = lpp(log_p)
        return {
            "patients": self.pairs.n_subjects,
            "windows": n,
            "reference_patients": self.reference.n_subjects,
            "coverage": {f"{p:g}": {name: _digits(covered[name][i]) for name in names} for i, p in enumerate(LEVELS)},
            "acauc": {name: _digits(acauc(d, t)[0]) for name, (d, t) in known.items()},
            "lpp": None if not np.isfinite(score.mean) else _digits(score.mean),
            "lpp_infinite": _digits(score.infinite),
            "lpp_prior": _digits(self._prior_score()),
            "effective_size": _digits(np.median(sizes)),
            "simulations": self.components.n,
        }  # fmt: skip

    def _prior_score(self) -> float:
        """The same log probability with the prior in place of every posterior."""
        weights = np.full((len(self.pairs), self.components.n), 1.0 / self.components.n)
        return float(self.score(weights, np.arange(len(self.pairs)), 0.17, 1.0 - 1e-9).mean())


def _digits(value: float | np.floating[Any]) -> float:
    return round(float(value), 4)
